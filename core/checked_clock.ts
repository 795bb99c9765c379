/**
 * Protects the engine from a faulty clock of the program.
 *
 * @module
 */

import { showValue } from "./arguments.ts";
import { type Clock, systemClock } from "./clock.ts";
import { isPromise, toPromise } from "./thenable.ts";

/** The runtime's own function, even if a test replaces the global one. */
const { setImmediate: nextTurn } = globalThis;

/**
 * The clock that the engine uses for `clock`: the system's clock as it is, any
 * other one in a wrapper that checks it.
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
 * No method throws. The time is a finite number that never gets smaller. A
 * callback runs at most once, and never before the call that asked for it has
 * returned. So no other part of the engine has to expect a faulty clock.
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
    // If the clock refuses the turn, the pass goes on, and throws the error.
    this.#do(() => this.#clock.setImmediate(call.run, isOverdue), call.run);
    call.isAsked = true;
  }

  /** Calls the clock; if that throws or rejects, runs `onFailure`. */
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

  /** Reports an error. The report may ask for the time, and fail at that again. */
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
  /** The clock that was asked, and the timeout's identifier there. */
  clock: Clock | null = null;
  id: unknown = undefined;
  /** The call of the clock has returned: from now on the callback may run. */
  isAsked = false;
  /** The callback has run, or was cancelled. */
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
