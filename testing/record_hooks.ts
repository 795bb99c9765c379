/**
 * Records the events of a dispatcher, in order: {@linkcode recordHooks}.
 *
 * @module
 */

import { checkMethods, showValue } from "../core/arguments.ts";
import { libraryMethods } from "../core/interest.ts";
import type { Dispatcher } from "../dispatcher.ts";
import { describeError, printable } from "../core/log.ts";
import { formatAddress } from "../core/address.ts";

/** Methods of such a name are hooks, also those that a class adds. */
const HOOK =
  /^(?:handle[A-Z].*(?<!Event)|collectIncomingData|foundTerminator)$/;

/** The hooks of a dispatcher that were called: see {@linkcode recordHooks}. */
export interface HookRecord extends Disposable {
  /**
   * The calls in order, with their arguments: `handleConnect()`,
   * `handleTimeout(idle)`, `collectIncomingData("spam")`.
   */
  readonly calls: readonly string[];
  /**
   * How many times a hook was called.
   *
   * @param hook Its name, such as `"handleRead"`.
   * @throws {TypeError} If the dispatcher has no such hook.
   */
  count(hook: string): number;
}

/** An argument in a few characters. */
function show(value: unknown): string {
  if (value instanceof Uint8Array) {
    return `"${printable(new TextDecoder().decode(value), 60)}"`;
  }
  if (value instanceof Error) return describeError(value);
  if (typeof value !== "object" || value === null) {
    return printable(String(value), 60);
  }
  if ("transport" in value) return formatAddress(value as Deno.Addr);
  return value.constructor?.name || "object";
}

/** A call in a few words: `handleTimeout(idle)`. */
export function showCall(name: string, args: readonly unknown[]): string {
  return `${name}(${args.map(show).join(", ")})`;
}

/**
 * Writes down which hooks of a dispatcher are called, and lets them run: what
 * they return or throw, and what the loop makes of the class, stays as it is. A
 * call is written down when it begins.
 *
 * Hooks are the methods whose names begin with `handle`, also those that a
 * class adds, without the layer above them (`handleReadEvent()` and the like);
 * and those of `AsyncChat`. Predicates are not recorded. A call by `super`
 * is part of the hook that makes it, and not another call.
 *
 * @param dispatcher Whose hooks.
 * @returns The record; disposing of it ends the recording.
 * @throws {TypeError} If it is no dispatcher.
 *
 * @example The life of a connection
 * ```ts
 * import { AsyncChat, loop, SocketMap } from "@asyncore/asyncore";
 * import { memoryPair, recordHooks } from "@asyncore/asyncore/testing";
 * import { assertEquals } from "@std/assert";
 *
 * class Lines extends AsyncChat {
 *   override collectIncomingData() {}
 *   override foundTerminator() {}
 * }
 *
 * const map = new SocketMap();
 * const [ours, theirs] = memoryPair();
 * const lines = new Lines(ours, { map });
 * lines.setTerminator("\n");
 * using record = recordHooks(lines);
 * await theirs.write(new TextEncoder().encode("spam\n"));
 * theirs.close();
 * await loop({ map });
 * assertEquals(record.calls, [
 *   "handleRead()",
 *   'collectIncomingData("spam")',
 *   "foundTerminator()",
 *   "handleRead()",
 *   "handleClose()",
 * ]);
 * ```
 */
export function recordHooks(dispatcher: Dispatcher): HookRecord {
  checkMethods("dispatcher", dispatcher, ["handleRead", "handleClose"]);
  const calls: string[] = [];
  const names = hooksOf(dispatcher);
  const stops = names.map((name) =>
    recordHook(dispatcher, name, (args) => {
      calls.push(showCall(name, args));
    })
  );
  return {
    calls,
    count: (hook) => {
      if (names.includes(hook)) {
        return calls.filter((call) => call.startsWith(`${hook}(`)).length;
      }
      throw new TypeError(
        `${dispatcher} has no hook ${showValue(hook)}, only ${
          names.join(", ")
        }`,
      );
    },
    [Symbol.dispose]: () => {
      for (const stop of stops) stop();
    },
  };
}

/** The names of the hooks, of the object and its classes. */
export function hooksOf(dispatcher: Dispatcher): string[] {
  const names = new Set<string>();
  let owner: object | null = dispatcher;
  while (owner !== null) {
    const descriptors = Object.getOwnPropertyDescriptors(owner);
    for (const [name, { value }] of Object.entries(descriptors)) {
      if (HOOK.test(name) && typeof value === "function") names.add(name);
    }
    owner = Object.getPrototypeOf(owner);
  }
  return [...names];
}

/** Puts a recorder in front of a hook; the returned function takes it away. */
export function recordHook(
  dispatcher: Dispatcher,
  name: string,
  note: (args: unknown[]) => void,
): () => void {
  const before = Object.getOwnPropertyDescriptor(dispatcher, name);
  const hook = Reflect.get(dispatcher, name) as (...args: unknown[]) => unknown;
  let isOn = true;
  const recorder = (...args: unknown[]): unknown => {
    if (isOn) note(args);
    return hook.apply(dispatcher, args);
  };
  // The loop looks at what a class overrides: a recorded default is no override.
  const kind = libraryMethods.get(hook);
  if (kind) libraryMethods.set(recorder, kind);
  Object.defineProperty(dispatcher, name, {
    value: recorder,
    configurable: true,
    writable: true,
    enumerable: before?.enumerable ?? false,
  });
  return () => {
    isOn = false;
    // Somebody may have put something else in its place meanwhile.
    if (Reflect.get(dispatcher, name) !== recorder) return;
    if (before) Object.defineProperty(dispatcher, name, before);
    else Reflect.deleteProperty(dispatcher, name);
  };
}
