/**
 * Properties of global objects that are another thing on simulated hosts, and
 * how they are put in place and taken away.
 *
 * @module
 */

import { type HostContext, hostContext } from "./host_context.ts";

/** Any function. */
export type AnyFunction = (...args: unknown[]) => unknown;

/** What becomes of one property. */
export interface Replacement {
  readonly owner: object | undefined;
  readonly name: PropertyKey;
  /** Makes the new value of the old one. */
  readonly make: (original: never) => unknown;
  /** Whether `make` is given and makes the property's getter. */
  readonly isGetter?: boolean;
}

/** The outcome of a call on a host. `self` is what it was called on. */
export type OnHost = (
  host: HostContext,
  args: unknown[],
  self: unknown,
) => unknown;

/** Replaces a function on simulated hosts, and nowhere else. */
export function onHost(
  original: AnyFunction,
  replacement: OnHost,
): AnyFunction {
  return new Proxy(original, {
    apply(target, self, args) {
      const host = hostContext.getStore();
      if (host) return replacement(host, args, self);
      return Reflect.apply(target, self, args);
    },
  });
}

/** Functions of one object that hosts have by themselves. */
export function functions(
  owner: object | undefined,
  replacements: Record<string, OnHost>,
): Replacement[] {
  return Object.entries(replacements).map(([name, replacement]) => ({
    owner,
    name,
    make: (original: AnyFunction) => onHost(original, replacement),
  }));
}

/** Values of one object that hosts have by themselves. */
export function values(
  owner: object | undefined,
  replacements: Record<string, OnHost>,
): Replacement[] {
  return Object.entries(replacements).map(([name, replacement]) => ({
    owner,
    name,
    isGetter: true,
    make: (original: AnyFunction) => onHost(original, replacement),
  }));
}

/** A property as it is, and as it is to be. */
class Exchange {
  readonly owner: object;
  readonly #replacement: Replacement;
  /** The property as it was. */
  before: PropertyDescriptor | undefined;
  #instead: PropertyDescriptor | undefined;

  constructor(owner: object, replacement: Replacement) {
    this.owner = owner;
    this.#replacement = replacement;
  }

  get name(): PropertyKey {
    return this.#replacement.name;
  }

  /**
   * The property as a place for a value, if both its values can be assigned: that
   * takes a tenth of the time of a definition.
   */
  get #place(): Record<PropertyKey, unknown> | null {
    return this.before?.writable && this.#instead?.writable
      ? this.owner as Record<PropertyKey, unknown>
      : null;
  }

  install(): void {
    const { name } = this.#replacement;
    const place = this.#place;
    if (place !== null && place[name] === this.before!.value) {
      place[name] = this.#instead!.value;
      return;
    }
    const found = Object.getOwnPropertyDescriptor(this.owner, name);
    if (found === undefined) return;
    const isKnown = found.value === this.before?.value &&
      found.get === this.before?.get;
    this.before = found;
    if (!isKnown || this.#instead === undefined) {
      this.#instead = this.#exchange(found);
    }
    Object.defineProperty(this.owner, name, this.#instead);
  }

  #exchange(found: PropertyDescriptor): PropertyDescriptor {
    const { make, isGetter = false } = this.#replacement;
    const owner = this.owner;
    const { enumerable = false } = found;
    const common = { configurable: true, enumerable };
    if (isGetter) {
      const get = found.get ?? (() => found.value);
      return { ...common, get: make(get as never) as () => unknown };
    }
    // Some globals are made by a getter when they are first asked for.
    const original = found.get ? found.get.call(owner) : found.value;
    return { ...common, writable: true, value: make(original as never) };
  }

  restore(): void {
    if (this.before === undefined) return;
    const { name } = this.#replacement;
    const place = this.#place;
    if (place !== null) place[name] = this.before.value;
    else Object.defineProperty(this.owner, name, this.before);
  }
}

/** The object on the prototype chain that has the property, if it may change. */
export function holderOf(
  owner: object | undefined,
  name: PropertyKey,
): object | undefined {
  for (let at: object | null = owner ?? null; at !== null;) {
    const found = Object.getOwnPropertyDescriptor(at, name);
    if (found) return found.configurable ? at : undefined;
    at = Object.getPrototypeOf(at);
  }
  return undefined;
}

/** All properties that are replaced, which several may have asked for. */
export class Exchanges {
  readonly #find: () => readonly Replacement[];
  #exchanges: Exchange[] | null = null;
  #users = 0;

  /** `find` is called once, when it is first needed: it loads modules. */
  constructor(find: () => readonly Replacement[]) {
    this.#find = find;
  }

  /** Puts the replacements in place; the returned function takes them away. */
  install(): () => void {
    if (this.#users++ === 0) {
      this.#exchanges ??= this.#all();
      for (const exchange of this.#exchanges) exchange.install();
    }
    let isDone = false;
    return () => {
      if (isDone) return;
      isDone = true;
      if (--this.#users > 0) return;
      for (const exchange of this.#exchanges!.toReversed()) exchange.restore();
    };
  }

  /** A property as it is on no host. */
  originalOf(owner: object, name: string): PropertyDescriptor | undefined {
    const exchange = this.#exchanges?.find((candidate) =>
      candidate.owner === owner && candidate.name === name
    );
    return exchange?.before ?? Object.getOwnPropertyDescriptor(owner, name);
  }

  #all(): Exchange[] {
    return this.#find().flatMap((replacement) => {
      const holder = holderOf(replacement.owner, replacement.name);
      return holder ? [new Exchange(holder, replacement)] : [];
    });
  }
}
