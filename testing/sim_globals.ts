/**
 * Isolates simulated hosts from the real world: clocks and random numbers are
 * the host's own, and escapes are noticed. Code that runs elsewhere sees no
 * difference.
 *
 * @module
 */

import { type Escape, ESCAPES } from "./escapes.ts";
import { type HostContext, hostContext } from "./host_context.ts";

/** Work of other threads, in real time, but with a result that is always the same. */
const DETERMINISTIC: readonly string[] = [
  ...["digest", "encrypt", "decrypt", "sign", "verify", "deriveBits"],
  ...["deriveKey", "importKey", "exportKey", "generateKey", "wrapKey"],
  "unwrapKey",
];

/** The simulated time 0 as a date: the first of January 2030. */
const EPOCH = 1_893_456_000_000;

function dateNow(host: HostContext): number {
  return EPOCH + Math.floor(host.now());
}

type AnyFunction = (...args: unknown[]) => unknown;

/** Replaces a function on simulated hosts, and nowhere else. */
function onHost(
  original: AnyFunction,
  replacement: (host: HostContext, ...args: unknown[]) => unknown,
): AnyFunction {
  return function (this: unknown, ...args: unknown[]): unknown {
    const host = hostContext.getStore();
    if (host) return replacement(host, ...args);
    return original.apply(this, args);
  };
}

/** Makes a function or class throw on simulated hosts, by the escape. */
function trap<T extends AnyFunction>(original: T, escape: Escape): T {
  const check = (): void => {
    const error = hostContext.getStore()?.onEscape(escape);
    if (error) throw error;
  };
  return new Proxy(original, {
    apply(target, self, args) {
      check();
      return Reflect.apply(target, self, args);
    },
    construct(target, args, newTarget) {
      check();
      return Reflect.construct(target, args, newTarget);
    },
  });
}

/** Makes the simulated time wait for the promise of a function. */
function held(original: AnyFunction): AnyFunction {
  return function (this: unknown, ...args: unknown[]): unknown {
    const promise = original.apply(this, args) as Promise<unknown>;
    hostContext.getStore()?.hold(promise);
    return promise;
  };
}

/** A `Date` that shows the time of the host that asks. */
function dateOf(RealDate: DateConstructor): DateConstructor {
  const now = onHost(RealDate.now, dateNow);
  return new Proxy(RealDate, {
    get: (target, name, receiver) =>
      name === "now" ? now : Reflect.get(target, name, receiver),
    construct: (target, args, newTarget) =>
      Reflect.construct(target, args.length > 0 ? args : [now()], newTarget),
    apply: () => new RealDate(now() as number).toString(),
  });
}

function instant(host: HostContext): Temporal.Instant {
  return Temporal.Instant.fromEpochMilliseconds(dateNow(host));
}

function fill(host: HostContext, view: unknown): unknown {
  const { buffer, byteOffset, byteLength } = view as DataView;
  const bytes = new Uint8Array(buffer, byteOffset, byteLength);
  for (let i = 0; i < bytes.length; i++) bytes[i] = host.random() * 256;
  return view;
}

function uuid(host: HostContext): string {
  const bytes = fill(host, new Uint8Array(16)) as Uint8Array;
  bytes[6] = bytes[6]! & 0x0f | 0x40;
  bytes[8] = bytes[8]! & 0x3f | 0x80;
  return bytes.toHex().replace(
    /(.{8})(.{4})(.{4})(.{4})(.{12})/,
    "$1-$2-$3-$4-$5",
  );
}

let users = 0;
let restore: (() => void)[] = [];

function replace(
  owner: object,
  name: string,
  make: (original: never) => unknown,
): void {
  const holder = Object.hasOwn(owner, name)
    ? owner
    : Object.getPrototypeOf(owner);
  const descriptor = Object.getOwnPropertyDescriptor(holder, name);
  if (descriptor === undefined) return; // This Deno has no such thing.
  const value = make(Reflect.get(owner, name) as never);
  Object.defineProperty(holder, name, {
    value,
    configurable: true,
    writable: true,
    enumerable: descriptor.enumerable ?? false,
  });
  restore.push(() => Object.defineProperty(holder, name, descriptor));
}

/** Puts the replacements in place; the returned function takes them away. */
export function isolateHosts(): () => void {
  if (users++ === 0) replaceAll();
  return () => {
    if (--users > 0) return;
    for (const undo of restore.reverse()) undo();
    restore = [];
  };
}

function replaceAll(): void {
  for (const escape of ESCAPES) {
    replace(escape.owner, escape.name, (original) => trap(original, escape));
  }
  for (const name of DETERMINISTIC) replace(crypto.subtle, name, held);
  replace(globalThis, "Date", dateOf);
  const by = (answer: (host: HostContext, ...args: unknown[]) => unknown) =>
  (
    original: AnyFunction,
  ) => onHost(original, answer);
  if (globalThis.Temporal) replace(Temporal.Now, "instant", by(instant));
  replace(performance, "now", by((host) => host.now()));
  replace(Math, "random", by((host) => host.random()));
  replace(crypto, "getRandomValues", by(fill));
  replace(crypto, "randomUUID", by(uuid));
}
