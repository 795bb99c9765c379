/**
 * Options are checked by name: a name with a typing error would go unnoticed, and
 * the program would run without the option.
 *
 * @module
 */

import { showValue } from "./arguments.ts";

/**
 * The names of the options of an interface. The compiler refuses a list that lacks
 * one of them, or has another one.
 */
export type OptionNames<Options> = {
  readonly [Name in keyof Options]-?: true;
};

/** The names of whichever options. */
export type AnyNames = Readonly<Record<string, true>>;

/**
 * Checks an object of options. An array, a `SocketMap` and other iterables are
 * refused: they hold no options, so a mistake would go unnoticed. An option whose
 * value is `undefined` is as if it were absent. `null` is refused, but for `map`.
 *
 * @param names The options that there are.
 * @param hint Advice for the end of the message, if there are no options at all, or
 * something else was given.
 * @param owner The option that holds these options, if they are inside of others.
 * @throws {TypeError} If it is no object, or an iterable one, or has an option of
 * another name, or one that is `null`.
 */
export function checkOptions(
  options: unknown,
  names: AnyNames,
  hint: string = "",
  owner: string = "",
): void {
  if (
    typeof options !== "object" || options === null ||
    Symbol.iterator in options
  ) {
    throw new TypeError(
      `options must be an object like { name: value }, got ${
        showValue(options)
      }${hint}`,
    );
  }
  for (const name in options) {
    if (names[name] !== true) refuseUnknown(options, name, names, hint, owner);
    else if ((options as Record<string, unknown>)[name] === null) {
      refuseNull(name, owner);
    }
  }
}

/** Refuses `null`, which would not always count as absent. */
function refuseNull(name: string, owner: string): void {
  if (name === "map") return; // The default map, as in Python.
  throw new TypeError(
    `${prefixOf(owner)}${name} must not be null: leave it out`,
  );
}

function prefixOf(owner: string): string {
  return owner === "" ? "" : `${owner}.`;
}

function refuseUnknown(
  options: object,
  name: string,
  names: AnyNames,
  hint: string,
  owner: string,
): void {
  // A program may have added a name to all objects.
  if (name in Object.prototype && !Object.hasOwn(options, name)) return;
  if ((options as Record<string, unknown>)[name] === undefined) return;
  if (options instanceof AbortSignal) {
    const wanted = names["signal"]
      ? "{ signal }"
      : "an object of other options";
    throw new TypeError(`options must be ${wanted}, got the signal itself`);
  }
  const prefix = prefixOf(owner);
  const known = Object.keys(names);
  const near = nearest(name, known);
  const advice = near === null
    ? known.length === 0 ? hint : `: there are ${known.join(", ")}`
    : `: did you mean "${prefix}${near}"?`;
  throw new TypeError(`Unknown option ${showValue(prefix + name)}${advice}`);
}

/** The name that was probably meant; `null` if none is similar. */
export function nearest(name: string, known: readonly string[]): string | null {
  const given = plain(name);
  let found: string | null = null;
  let fewest = Infinity;
  for (const candidate of known) {
    const wanted = plain(candidate);
    const changes = changesBetween(given, wanted);
    if (changes < fewest && isSimilar(given, wanted, changes)) {
      found = candidate;
      fewest = changes;
    }
  }
  return found;
}

/** Without what Python's way to write a name adds: `keep_alive` is `keepAlive`. */
function plain(name: string): string {
  return name.replaceAll(/[^a-z0-9]/gi, "").toLowerCase();
}

/** Whether one is a part of the other, or at most a third of the letters differ. */
function isSimilar(given: string, wanted: string, changes: number): boolean {
  if (given.length < 3) return changes <= 1;
  return wanted.includes(given) || given.includes(wanted) ||
    3 * changes <= wanted.length;
}

/** How many letters have to be added, removed or replaced to make `b` of `a`. */
export function changesBetween(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 0; i < a.length; i++) {
    const next = [i + 1];
    for (let j = 0; j < b.length; j++) {
      const replaced = row[j]! + (a[i] === b[j] ? 0 : 1);
      next.push(Math.min(replaced, row[j + 1]! + 1, next[j]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}

/** Where a class of dispatchers keeps the names of its options. */
const NAMES = Symbol("names of the options");

/**
 * Sets the names of the options of a class of dispatchers: its constructor, and
 * those of the classes that it extends, take them.
 */
export function nameOptions<Options>(
  type: { readonly prototype: object },
  names: OptionNames<Options>,
): OptionNames<Options> {
  Object.defineProperty(type.prototype, NAMES, { value: names });
  return names;
}

/** Whether an object is the prototype of a class of the library's own. */
export function isLibraryClass(prototype: object): boolean {
  return Object.hasOwn(prototype, NAMES);
}

/** The names of the options of a dispatcher, by its class. */
export function optionNamesOf(dispatcher: object): AnyNames {
  return (dispatcher as { [NAMES]: AnyNames })[NAMES];
}
