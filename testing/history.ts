/**
 * The calls of clients and their results, with times: {@linkcode History}.
 *
 * @module
 */

import { checkText } from "../core/arguments.ts";
import { canonical } from "./canonical.ts";

/** One operation of a client, from its call to its return. */
export interface Operation {
  /** The name of the client. */
  readonly client: string;
  /** The name of the operation: `"write"`, say. */
  readonly name: string;
  /** Its arguments. */
  readonly args: readonly unknown[];
  /** Its place among all calls and returns: the order in which they happened. */
  readonly called: number;
  /** The place of its return; `Infinity` as long as there is none. */
  readonly returned: number;
  /** Its result; `undefined` as long as it has none. */
  readonly result: unknown;
  /** When it was called and has returned, in simulated milliseconds. */
  readonly times: readonly [call: number, end: number];
}

/** An operation that was called and may return: see {@linkcode History.call}. */
export interface Call extends Operation {
  /**
   * Records that it has returned.
   *
   * @param result What the client was told; it is copied.
   * @throws {Error} If it has returned before.
   */
  returns(result?: unknown): void;
  /**
   * Takes it out: it certainly had no effect, and never will have. A call whose
   * effect is not known, as after a lost connection, is left without a return: it
   * may take effect at any time, or never.
   */
  forget(): void;
}

class RecordedCall implements Call {
  readonly client: string;
  readonly name: string;
  readonly args: readonly unknown[];
  readonly called: number;
  returned: number = Infinity;
  result: unknown = undefined;
  readonly times: [call: number, end: number];
  readonly #history: HistoryClock;

  constructor(
    history: HistoryClock,
    client: string,
    name: string,
    args: readonly unknown[],
  ) {
    this.#history = history;
    this.client = client;
    this.name = name;
    this.args = args;
    this.called = history.next();
    this.times = [history.now(), Infinity];
  }

  returns(result?: unknown): void {
    if (this.returned !== Infinity) {
      throw new Error(`${this} has returned before`);
    }
    this.returned = this.#history.next();
    this.result = structuredClone(result);
    this.times[1] = this.#history.now();
  }

  forget(): void {
    this.#history.forget(this);
  }

  toString(): string {
    return `${this.client}: ${labelOf(this)}`;
  }
}

/** An operation in a few words, without its client. */
export function labelOf(operation: Operation): string {
  const { name, args, returned, result } = operation;
  const call = `${name}(${args.map(canonical).join(", ")})`;
  if (returned === Infinity) return `${call} → ?`;
  return result === undefined ? call : `${call} → ${canonical(result)}`;
}

/** The history of a call, as far as the call needs it. */
interface HistoryClock {
  /** The place of the next call or return. */
  next(): number;
  /** The simulated time. */
  now(): number;
  /** Takes a call out. */
  forget(call: Call): void;
}

/**
 * The operations of the clients of a run, for
 * {@linkcode assertLinearizable} and {@linkcode checkHistory}.
 * `SimNetwork.history()` has the one of a simulation.
 *
 * @example What two clients were told
 * ```ts
 * import { assertLinearizable, History, registerModel } from "@asyncore/asyncore/testing";
 * import { assertThrows } from "@std/assert";
 *
 * const history = new History();
 * history.call("x", "write", 1).returns();
 * history.call("y", "read").returns(1);
 * assertLinearizable(history, registerModel());
 * history.call("x", "read").returns(0); // The value of before.
 * assertThrows(() => assertLinearizable(history, registerModel()));
 * ```
 */
export class History {
  readonly #calls = new Set<Call>();
  readonly #clock: HistoryClock;

  /**
   * Makes an empty history.
   *
   * @param now Tells the time, for pictures; by default, counts the events.
   */
  constructor(now?: () => number) {
    let count = 0;
    this.#clock = {
      next: () => count++,
      now: now ?? (() => count),
      forget: (call) => void this.#calls.delete(call),
    };
  }

  /** The operations, in the order of their calls. */
  get operations(): readonly Operation[] {
    return [...this.#calls];
  }

  /**
   * Records that a client calls an operation.
   *
   * @param client The name of the client, which makes one call at a time.
   * @param name The name of the operation, as the model knows it.
   * @param args The arguments, which are copied.
   * @returns The call, which is told of its return.
   * @throws {TypeError} If a name is no text.
   */
  call(client: string, name: string, ...args: unknown[]): Call {
    checkText("client", client);
    checkText("name", name);
    const call = new RecordedCall(
      this.#clock,
      client,
      name,
      structuredClone(args),
    );
    this.#calls.add(call);
    return call;
  }

  /**
   * Records a call, and its return when the promise of `run` is fulfilled. If it
   * is rejected, the call has no end: it may have had its effect.
   *
   * @param client The name of the client.
   * @param name The name of the operation.
   * @param args The arguments.
   * @param run Makes the call.
   * @returns What the promise of `run` gives.
   * @throws What `run` throws.
   */
  async record<T>(
    client: string,
    name: string,
    args: readonly unknown[],
    run: () => Promise<T>,
  ): Promise<T> {
    const call = this.call(client, name, ...args);
    const result = await run();
    call.returns(result);
    return result;
  }
}
