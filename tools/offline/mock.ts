/**
 * Stand-in for the parts of `@std/testing/mock` that this repo uses.
 *
 * @module
 */

import { assertEquals, AssertionError, assertThrows } from "@std/assert";

/** A spy that cannot be made or undone. */
export class MockError extends Error {
  override name = "MockError";
}

// deno-lint-ignore no-explicit-any
type Any = any;

/** One call of a spy. */
export interface SpyCall<
  Self = Any,
  Args extends unknown[] = Any[],
  Return = Any,
> {
  /** What it was called with. */
  args: Args;
  /** What it returned. */
  returned?: Return;
  /** What it threw. */
  error?: Error;
  /** What it was called on. */
  self?: Self;
}

/** A function that remembers its calls. */
export interface Spy<
  Self = Any,
  Args extends unknown[] = Any[],
  Return = Any,
> {
  (this: Self, ...args: Args): Return;
  /** What the spy calls. */
  original: (this: Self, ...args: Args) => Return;
  /** The calls so far. */
  calls: SpyCall<Self, Args, Return>[];
  /** Whether the method is back. */
  restored: boolean;
  /** Puts the method back. */
  restore(): void;
}

/** A method that remembers its calls, until it is disposed of. */
export interface MethodSpy<
  Self = Any,
  Args extends unknown[] = Any[],
  Return = Any,
> extends Spy<Self, Args, Return>, Disposable {}

type ArgsOf<Self, Name extends keyof Self> = Self[Name] extends
  (...args: infer Args) => unknown ? Args : unknown[];
type ReturnOf<Self, Name extends keyof Self> = Self[Name] extends
  (...args: Any[]) => infer Return ? Return : unknown;

/** A function that does nothing but remember its calls. */
export function spy<
  Self = Any,
  Args extends unknown[] = Any[],
  Return = undefined,
>(): Spy<Self, Args, Return>;
/** Wraps a function. */
export function spy<Self, Args extends unknown[], Return>(
  func: (this: Self, ...args: Args) => Return,
): Spy<Self, Args, Return>;
/** Wraps a method in its place. */
export function spy<Self, Name extends keyof Self>(
  self: Self,
  property: Name,
): MethodSpy<Self, ArgsOf<Self, Name>, ReturnOf<Self, Name>>;
export function spy(target?: Any, property?: PropertyKey): Spy {
  if (property !== undefined) return methodSpy(target, property);
  return recorder(target ?? (() => {}), () => {
    throw new MockError("Cannot restore: the spy is not a method");
  });
}

function methodSpy(self: Any, name: PropertyKey): MethodSpy {
  const original = self[name];
  const own = Object.getOwnPropertyDescriptor(self, name);
  if (typeof original !== "function") {
    throw new MockError(`Cannot spy: ${String(name)} is not a method`);
  }
  if ("calls" in original && "restored" in original) {
    throw new MockError(`Cannot spy: ${String(name)} is a spy already`);
  }
  if (own && !own.configurable) {
    throw new MockError(`Cannot spy: ${String(name)} is not configurable`);
  }
  const method = recorder(original, () => {
    if (method.restored) {
      throw new MockError("Cannot restore: the method is back already");
    }
    if (own) Object.defineProperty(self, name, own);
    else delete self[name];
    method.restored = true;
  });
  Object.defineProperty(self, name, {
    configurable: true,
    enumerable: own?.enumerable ?? false,
    writable: own?.writable ?? false,
    value: method,
  });
  return Object.assign(method, { [Symbol.dispose]: method.restore });
}

function recorder(original: Spy["original"], restore: () => void): Spy {
  const calls: SpyCall[] = [];
  const record = function (this: unknown, ...args: unknown[]): unknown {
    const call: SpyCall = { args };
    if (this) call.self = this;
    try {
      return call.returned = original.apply(this, args);
    } catch (error) {
      call.error = error as Error;
      throw error;
    } finally {
      calls.push(call);
    }
  };
  return Object.assign(record, { original, calls, restored: false, restore });
}

/** Expects a number of calls. */
export function assertSpyCalls<Self, Args extends unknown[], Return>(
  spy: Spy<Self, Args, Return>,
  expectedCalls: number,
): void {
  const made = spy.calls.length;
  if (made === expectedCalls) return;
  throw new AssertionError(`Expected ${expectedCalls} calls, got ${made}`);
}

/** What {@linkcode assertSpyCall} looks at: the fields that are present. */
export interface ExpectedSpyCall<
  Self = Any,
  Args extends unknown[] = Any[],
  Return = Any,
> {
  /** What it was called with. */
  args?: [...Args, ...unknown[]];
  /** What it was called on. */
  self?: Self;
  /** What it returned. */
  returned?: Return;
  /** What it threw. */
  error?: {
    /** The class of the error. */
    Class?: new (...args: Any[]) => Error;
    /** A part of the error's message. */
    msgIncludes?: string;
  };
}

/** Expects the call with that index, made as described. */
export function assertSpyCall<Self, Args extends unknown[], Return>(
  spy: Spy<Self, Args, Return>,
  callIndex: number,
  expected: ExpectedSpyCall<Self, Args, Return> = {},
): void {
  const call: SpyCall | undefined = spy.calls[callIndex];
  if (!call) {
    throw new AssertionError(
      `Expected a call ${callIndex}, got ${spy.calls.length} calls`,
    );
  }
  if (expected.args) {
    assertEquals<unknown>(call.args, expected.args, "the call's arguments");
  }
  if ("self" in expected) {
    assertEquals(call.self, expected.self, "what it was called on");
  }
  if ("returned" in expected) {
    if ("error" in expected) {
      throw new TypeError("Expect either an error or a returned value");
    }
    if (call.error) throw new AssertionError(`The call threw ${call.error}`);
    assertEquals(call.returned, expected.returned, "what it returned");
  }
  if ("error" in expected) {
    if ("returned" in call) {
      throw new AssertionError("The call returned instead of throwing");
    }
    assertThrows(
      () => {
        throw call.error;
      },
      expected.error?.Class ?? Error,
      expected.error?.msgIncludes,
    );
  }
}
