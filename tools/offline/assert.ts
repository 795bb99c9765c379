/**
 * Stand-in for the parts of `@std/assert` that this repo calls.
 *
 * @module
 */

import { AssertionError as NodeAssertionError } from "node:assert";

/** What a failed assertion throws. */
export class AssertionError extends Error {
  override name = "AssertionError";
}

/** A value that `if` takes for false. */
export type Falsy = false | 0 | 0n | "" | null | undefined;

// deno-lint-ignore no-explicit-any
type Class<T> = abstract new (...args: any[]) => T;

/** Expects a truthy value. */
export function assert(expr: unknown, msg = ""): asserts expr {
  if (!expr) throw new AssertionError(msg);
}

/** Expects a falsy value. */
export function assertFalse(expr: unknown, msg = ""): asserts expr is Falsy {
  if (expr) throw new AssertionError(msg);
}

/** Fails. */
export function fail(msg?: string): never {
  throw failure("Failed", msg);
}

/** Expects anything but `null` and `undefined`. */
export function assertExists<T>(
  actual: T,
  msg?: string,
): asserts actual is NonNullable<T> {
  if (actual == null) throw failure(`Expected a value, got ${actual}`, msg);
}

/** Expects values of the same type with the same content, at every depth. */
export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  if (equal(actual, expected)) return;
  throw failure("Values differ", msg, difference(actual, expected));
}

/** Expects values that {@linkcode assertEquals} would tell apart. */
export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void {
  if (!equal(actual, expected)) return;
  throw failure(`Expected anything but ${show(expected)}`, msg);
}

/** Expects the same value or object, as `Object.is` sees it. */
export function assertStrictEquals<T>(
  actual: unknown,
  expected: T,
  msg?: string,
): asserts actual is T {
  if (Object.is(actual, expected)) return;
  if (isObject(actual) && equal(actual, expected)) {
    throw failure(
      `Values look alike but are not the same: ${show(actual)}`,
      msg,
    );
  }
  throw failure("Values differ", msg, difference(actual, expected));
}

/** Expects two values or objects that `Object.is` tells apart. */
export function assertNotStrictEquals<T>(
  actual: T,
  expected: T,
  msg?: string,
): void {
  if (!Object.is(actual, expected)) return;
  throw failure(`Expected another value than ${show(expected)}`, msg);
}

/** Expects an instance of a class. */
export function assertInstanceOf<T extends Class<unknown>>(
  actual: unknown,
  expectedType: T,
  msg = "",
): asserts actual is InstanceType<T> {
  if (actual instanceof expectedType) return;
  throw failure(
    `Expected ${aOrAn(expectedType.name)}, got ${show(actual)}`,
    msg,
  );
}

/** Expects a text that the pattern matches. */
export function assertMatch(
  actual: string,
  expected: RegExp,
  msg?: string,
): void {
  if (expected.test(actual)) return;
  throw failure(`Expected a match for ${expected} in ${show(actual)}`, msg);
}

/** Expects a text that contains another. */
export function assertStringIncludes(
  actual: string,
  expected: string,
  msg?: string,
): void {
  if (actual.includes(expected)) return;
  throw failure(`Expected ${show(expected)} in ${show(actual)}`, msg);
}

/** Expects that each element of `expected` has its equal in `actual`. */
export function assertArrayIncludes<T>(
  actual: ArrayLike<T> & object,
  expected: ArrayLike<T> & object,
  msg?: string,
): void {
  const missing = Array.from(expected).filter((wanted) =>
    !Array.from(actual).some((item) => equal(item, wanted))
  );
  if (missing.length === 0) return;
  throw failure(`Expected ${show(missing)} in ${show(actual)}`, msg);
}

/** Expects `actual > expected`. */
export function assertGreater<T>(actual: T, expected: T, msg?: string): void {
  assertOrder(actual > expected, actual, ">", expected, msg);
}

/** Expects `actual >= expected`. */
export function assertGreaterOrEqual<T>(
  actual: T,
  expected: T,
  msg?: string,
): void {
  assertOrder(actual >= expected, actual, ">=", expected, msg);
}

/** Expects `actual < expected`. */
export function assertLess<T>(actual: T, expected: T, msg?: string): void {
  assertOrder(actual < expected, actual, "<", expected, msg);
}

/** Expects `actual <= expected`. */
export function assertLessOrEqual<T>(
  actual: T,
  expected: T,
  msg?: string,
): void {
  assertOrder(actual <= expected, actual, "<=", expected, msg);
}

/** Expects a function to throw, and returns what it threw. */
export function assertThrows(fn: () => unknown, msg?: string): unknown;
/** Expects a function to throw an error of a class, and returns the error. */
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  ErrorClass: Class<E>,
  msgIncludes?: string,
  msg?: string,
): E;
export function assertThrows(
  fn: () => unknown,
  classOrMsg?: Class<Error> | string,
  msgIncludes?: string,
  msg?: string,
): unknown {
  const wanted = wantedError(classOrMsg, msgIncludes, msg);
  try {
    fn();
  } catch (error) {
    return checkError(error, wanted);
  }
  throw failure("Expected the function to throw", wanted.msg);
}

/** Expects a promise to be rejected, and returns the reason. */
export function assertRejects(
  fn: () => PromiseLike<unknown>,
  msg?: string,
): Promise<unknown>;
/** Expects a promise to be rejected with an error of a class, and returns the error. */
export function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  ErrorClass: Class<E>,
  msgIncludes?: string,
  msg?: string,
): Promise<E>;
export async function assertRejects(
  fn: () => PromiseLike<unknown>,
  classOrMsg?: Class<Error> | string,
  msgIncludes?: string,
  msg?: string,
): Promise<unknown> {
  const wanted = wantedError(classOrMsg, msgIncludes, msg);
  let promise;
  try {
    promise = fn();
  } catch (error) {
    throw failure(
      `Expected a rejected promise, but the function threw ${show(error)}`,
      wanted.msg,
    );
  }
  if (typeof promise?.then !== "function") {
    throw failure(`Expected a promise, got ${show(promise)}`, wanted.msg);
  }
  try {
    await promise;
  } catch (error) {
    return checkError(error, wanted);
  }
  throw failure("Expected the promise to be rejected", wanted.msg);
}

interface WantedError {
  errorClass?: Class<Error> | undefined;
  text?: string | undefined;
  msg?: string | undefined;
}

function wantedError(
  classOrMsg: Class<Error> | string | undefined,
  text: string | undefined,
  msg: string | undefined,
): WantedError {
  if (typeof classOrMsg === "string") return { msg: classOrMsg };
  return { errorClass: classOrMsg, text, msg };
}

function checkError(error: unknown, wanted: WantedError): unknown {
  const { errorClass, text, msg } = wanted;
  if (!errorClass) return error;
  if (!(error instanceof errorClass)) {
    throw failure(
      `Expected ${aOrAn(errorClass.name)}, got ${show(error)}`,
      msg,
    );
  }
  if (text && !error.message.includes(text)) {
    throw failure(
      `Expected ${show(text)} in the error's message, got ${
        show(error.message)
      }`,
      msg,
    );
  }
  return error;
}

function assertOrder(
  holds: boolean,
  actual: unknown,
  relation: string,
  expected: unknown,
  msg: string | undefined,
): void {
  if (holds) return;
  throw new AssertionError(
    msg ?? `Expected ${show(actual)} ${relation} ${show(expected)}`,
  );
}

/** Deep equality. Types count, the order in maps and sets does not, and 0 equals -0. */
function equal(a: unknown, b: unknown, assumed = new Map()): boolean {
  if (a === b || Object.is(a, b)) return true;
  if (!isObject(a) || !isObject(b) || kind(a) !== kind(b)) return false;
  // In a cycle the pair is met again while it is still being compared.
  if (assumed.get(a) === b) return true;
  assumed.set(a, b);
  const same = (x: unknown, y: unknown) => equal(x, y, assumed);

  if (a instanceof Date) return same(a.getTime(), (b as Date).getTime());
  if (a instanceof RegExp || a instanceof URL) return String(a) === String(b);
  if (a instanceof ArrayBuffer) {
    return sameItems(new Uint8Array(a), new Uint8Array(b as ArrayBuffer), same);
  }
  if (isTypedArray(a)) return sameItems(a, b as unknown as typeof a, same);
  if (a instanceof Set || a instanceof Map) {
    return sameMembers([...a], [...b as typeof a], same);
  }
  const names = allNames(a).union(allNames(b));
  return Object.keys(a).length === Object.keys(b).length &&
    names.values().every((name) =>
      name in a && name in b && same(Reflect.get(a, name), Reflect.get(b, name))
    );
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

/** The prototype; an object without one counts as a plain object. */
function kind(object: object): unknown {
  return Object.getPrototypeOf(object) ?? Object.prototype;
}

function isTypedArray(
  object: object,
): object is ArrayLike<number | bigint> & object {
  return ArrayBuffer.isView(object) && !(object instanceof DataView);
}

type Same = (a: unknown, b: unknown) => boolean;

function sameItems<T>(a: ArrayLike<T>, b: ArrayLike<T>, same: Same): boolean {
  return firstDifference(a, b, same) === -1;
}

function sameMembers(a: unknown[], b: unknown[], same: Same): boolean {
  if (a.length !== b.length) return false;
  const rest = new Set(b);
  return a.every((member) => {
    // A primitive finds itself at once; only objects need the search.
    if (rest.delete(member)) return true;
    for (const other of rest) {
      if (same(member, other)) return rest.delete(other);
    }
    return false;
  });
}

/** The names that count: a plain object's enumerable ones, all that an instance has or inherits. */
function allNames(object: object): Set<PropertyKey> {
  const names = new Set<PropertyKey>();
  const plain = kind(object) === Object.prototype || Array.isArray(object);
  let source: object | null = plain ? { ...object } : object;
  while (source && source !== Object.prototype) {
    for (const name of Reflect.ownKeys(source)) names.add(name);
    source = Object.getPrototypeOf(source);
  }
  return names;
}

/** The index at which two sequences part, or -1. */
function firstDifference<T>(
  a: ArrayLike<T>,
  b: ArrayLike<T>,
  same: Same = Object.is,
): number {
  const length = Math.max(a.length, b.length);
  for (let i = 0; i < length; i++) {
    if (i >= a.length || i >= b.length || !same(a[i], b[i])) return i;
  }
  return -1;
}

/** Longer sequences are told by their first difference: a full diff would take minutes. */
const DIFF_LIMIT = 4_096;

function difference(actual: unknown, expected: unknown): string {
  if (isSequence(actual) && isSequence(expected)) {
    if (Math.max(actual.length, expected.length) > DIFF_LIMIT) {
      const at = firstDifference<unknown>(actual, expected);
      const part = (whole: typeof actual) =>
        `${whole.length} long, from ${at}: ${show(whole.slice(at, at + 40))}`;
      return `actual   ${part(actual)}\nexpected ${part(expected)}`;
    }
  }
  const lines = (value: unknown) =>
    typeof value === "string" && value.includes("\n")
      ? value.split("\n")
      : value;
  const diff = new NodeAssertionError({
    actual: lines(actual),
    expected: lines(expected),
    operator: "deepStrictEqual",
  });
  return diff.message.slice(diff.message.indexOf("\n") + 1).trim();
}

function isSequence(value: unknown): value is string | Uint8Array {
  return typeof value === "string" || value instanceof Uint8Array;
}

function failure(what: string, msg?: string, details?: string): AssertionError {
  const first = msg ? `${what}: ${msg}` : what;
  return new AssertionError(details ? `${first}\n${details}` : first);
}

function show(value: unknown): string {
  if (value instanceof Error) return `${value.name}: ${value.message}`;
  return Deno.inspect(value, { depth: 8, sorted: true });
}

function aOrAn(name: string): string {
  return /^[AEIOU]/.test(name) ? `an ${name}` : `a ${name}`;
}
