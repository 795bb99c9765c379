/**
 * A clock of the program's own, made fit for the engine.
 *
 * @module
 */

import { showValue } from "./arguments.ts";
import { type Clock, systemClock } from "./clock.ts";
import { isPromise, toPromise } from "./thenable.ts";

/** The real one, also where a test has replaced the global one. */
const { setImmediate: nextTurn } = globalThis;

/**
 * The clock that the engine uses for `clock`: the system's as it is, any other
 * one checked.
 *
 * @param tell Gets each error of the clock.
 */
export function checkedClock(
  clock: Clock,
  tell: (error: unknown) => void,
): Clock {
  return clock === systemClock ? clock : new CheckedClock(clock, tell);
}

/**
 * No method throws, the time is a number that never gets smaller, and a callback
 * runs at most once and never at once. So no other part of the engine has to
 * reckon with a clock that fails, wherever it asks for the time.
 */
class CheckedClock implements Clock {
  readonly #clock: Clock;
  readonly #tell: (error: unknown) => void;
  #isTelling = false;
  /** The latest time that the clock has shown. */
  #time = -Infinity;

  constructor(clock: Clock, tell: (error: unknown) => void) {
    this.#clock = clock;
    this.#tell = tell;
  }

  now(): number {
    try {
      const time: unknown = this.#clock.now();
      if (Number.isFinite(time)) {
        return this.#time = Math.max(this.#time, time as number);
      }
      if (isPromise(time)) toPromise(time).then(undefined, () => {});
      const given = showValue(time);
      throw new TypeError(`clock.now() must give a number, and gave ${given}`);
    } catch (error) {
      this.#failed(error);
      return this.#time === -Infinity ? 0 : this.#time;
    }
  }

  setTimeout(callback: () => void, delay: number): unknown {
    const call = new Call(callback);
    const ask = (clock: Clock) => {
      call.clock = clock;
      return call.id = clock.setTimeout(call.run, delay);
    };
    this.#do(() => ask(this.#clock), () => call.isOver || ask(systemClock));
    call.isAsked = true;
    return call;
  }

  clearTimeout(call: unknown): void {
    if (!(call instanceof Call) || call.isOver) return;
    call.isOver = true;
    this.#do(() => call.clock?.clearTimeout(call.id), () => {});
  }

  setImmediate(callback: () => void, isOverdue?: boolean): void {
    const call = new Call(callback);
    // A pass that was refused its turn goes on, to throw the error.
    this.#do(() => this.#clock.setImmediate(call.run, isOverdue), call.run);
    call.isAsked = true;
  }

  /** Asks the clock for something; if that fails, `onFailure` has to do. */
  #do(ask: () => unknown, onFailure: () => void): void {
    const failed = (error: unknown) => {
      onFailure();
      this.#failed(error);
    };
    try {
      const result = ask();
      if (isPromise(result)) toPromise(result).then(undefined, failed);
    } catch (error) {
      failed(error);
    }
  }

  /** Telling of an error may need the time as well. */
  #failed(error: unknown): void {
    if (this.#isTelling) return;
    this.#isTelling = true;
    try {
      this.#tell(error);
    } finally {
      this.#isTelling = false;
    }
  }
}

/** A callback that a clock is asked to run. */
class Call {
  /** Where it is to be cleared, and by what that clock knows it. */
  clock: Clock | null = null;
  id: unknown = undefined;
  /** The clock has had its say: from now on the callback may run. */
  isAsked = false;
  /** It has run, or is not to run any more. */
  isOver = false;
  readonly #callback: () => void;

  constructor(callback: () => void) {
    this.#callback = callback;
  }

  readonly run = (): void => {
    if (!this.isAsked) nextTurn(this.run);
    else if (!this.isOver) {
      this.isOver = true;
      this.#callback();
    }
  };
}
