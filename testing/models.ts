/**
 * The meaning of a service, as if it did one operation at a time:
 * {@linkcode Model}.
 *
 * @module
 */

import { canonical } from "./canonical.ts";

/** The effect of an operation on a state. */
export interface Outcome<State> {
  /** The state after it; the one before it must stay as it was. */
  readonly state: State;
  /** Its result; without this member, any result is right. */
  readonly result?: unknown;
}

/**
 * The meaning of a service. States and results are compared by value:
 * they consist of texts, numbers, arrays, maps, sets and plain objects.
 *
 * @example A counter
 * ```ts
 * import { assertLinearizable, History, type Model } from "@asyncore/asyncore/testing";
 *
 * const counter: Model<number> = {
 *   initial: 0,
 *   apply: (state, name) =>
 *     name === "add" ? { state: state + 1 } : { state, result: state },
 * };
 * const history = new History();
 * history.call("x", "add").returns();
 * history.call("y", "get").returns(1);
 * assertLinearizable(history, counter);
 * ```
 */
export interface Model<State> {
  /** The state at first. */
  readonly initial: State;
  /**
   * Makes the next state, and the result.
   *
   * @param state The state before; it must not be changed.
   * @param name The name of the operation.
   * @param args Its arguments.
   */
  apply(state: State, name: string, args: readonly unknown[]): Outcome<State>;
  /**
   * Tells the part of the service that an operation is about, such as a key. If
   * each operation concerns one part alone, each part is checked by itself,
   * which costs far less.
   */
  partOf?(name: string, args: readonly unknown[]): string;
}

function unknownOperation(name: string, known: string): TypeError {
  return new TypeError(`The model has no operation "${name}", only ${known}`);
}

/**
 * A register: `write(value)`, `read()`, and `cas(old, new)`, which writes if the
 * value is `old`, and returns whether it was.
 *
 * @param initial Its first value.
 */
export function registerModel(initial: unknown = undefined): Model<unknown> {
  return {
    initial,
    apply: (state, name, [first, second]) => {
      if (name === "read") return { state, result: state };
      if (name === "write") return { state: first };
      if (name !== "cas") throw unknownOperation(name, "read, write, cas");
      const isOld = canonical(state) === canonical(first);
      return { state: isOld ? second : state, result: isOld };
    },
  };
}

/**
 * A map, a register for each key: `put(key, value)`, `get(key)`, `delete(key)`,
 * and `cas(key, old, new)`. A key that is not there has the value `undefined`.
 */
export function mapModel(): Model<unknown> {
  const register = registerModel();
  return {
    initial: undefined,
    partOf: (_, [key]) => canonical(key),
    apply: (state, name, [, ...rest]) => {
      if (name === "get") return { state, result: state };
      if (name === "put") return { state: rest[0] };
      if (name === "delete") return { state: undefined };
      if (name === "cas") return register.apply(state, name, rest);
      throw unknownOperation(name, "get, put, delete, cas");
    },
  };
}

/** A list: `append(value)`, and `read()`, which returns all values in order. */
export function listModel(): Model<readonly unknown[]> {
  return {
    initial: [],
    apply: (state, name, [value]) => {
      if (name === "read") return { state, result: state };
      if (name === "append") return { state: [...state, value] };
      throw unknownOperation(name, "append, read");
    },
  };
}

/**
 * A queue: `push(value)`, and `pop()`, which returns the first value, or
 * `undefined` if there is none.
 */
export function queueModel(): Model<readonly unknown[]> {
  return {
    initial: [],
    apply: (state, name, [value]) => {
      if (name === "push") return { state: [...state, value] };
      if (name === "pop") return { state: state.slice(1), result: state[0] };
      throw unknownOperation(name, "push, pop");
    },
  };
}
