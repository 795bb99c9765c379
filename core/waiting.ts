/**
 * How a pass waits: for an event, for the next timer, or for one turn of the
 * runtime.
 *
 * @module
 */

import type { Clock } from "./clock.ts";
import type { TimerHeap } from "./timers.ts";

/**
 * How long passes may follow one another without a wait, in ms. Then one turn is a
 * short sleep, which makes Deno look at all sockets. A longer time starves the
 * connections of a program that never waits; a shorter one costs more such sleeps,
 * of 1 to 2 ms each. Measured: with 10 ms of work a pass and no such sleep, a
 * round trip took 600 ms instead of 23.
 */
const LONGEST_BUSY = 10;

/** The one wait of a map. */
export class Wait {
  readonly #clock: Clock;
  readonly #timers: TimerHeap;
  /** Ends the present wait. */
  #resume: (() => void) | null = null;
  #deadline = 0;
  #timeout: unknown = undefined;
  /** When the clock's timeout is due; NaN if none is set. */
  #timeoutDue = NaN;
  /** When the first turn after the last wait came; `null` before it. */
  #busySince: number | null = null;

  constructor(clock: Clock, timers: TimerHeap) {
    this.#clock = clock;
    this.#timers = timers;
  }

  /** A wait is under way. */
  get isOn(): boolean {
    return this.#resume !== null;
  }

  /** Yields to the runtime for one turn, in which sockets and timers run. */
  turn(): Promise<void> {
    const now = this.#clock.now();
    const isOverdue = now - (this.#busySince ??= now) >= LONGEST_BUSY;
    if (isOverdue) this.#busySince = null;
    return new Promise((resolve) =>
      this.#clock.setImmediate(resolve, isOverdue)
    );
  }

  /** Waits until {@linkcode Wait.end}, the next timer, or `timeout` ms. */
  start(timeout: number): Promise<void> {
    const now = this.#clock.now();
    this.#deadline = Math.min(now + timeout, this.#timers.nextDue);
    if (this.#deadline <= now) return this.turn();
    // A clock may run other callbacks in setTimeout(). They may call end(), so
    // #resume is set before.
    const waiting = new Promise<void>((resolve) => this.#resume = resolve);
    this.#arm(now);
    return waiting;
  }

  /** Ends the wait, if one is under way. */
  end(): void {
    const resume = this.#resume;
    if (resume === null) return;
    this.#resume = null;
    this.#busySince = null;
    resume();
  }

  /**
   * Sets the clock's timeout, unless one is due earlier. Setting and clearing one
   * costs more than a pass, so one timeout serves many passes.
   */
  #arm(now: number): void {
    if (this.#timeoutDue <= this.#deadline) return;
    this.disarm();
    this.#timeoutDue = this.#deadline;
    const delay = this.#deadline - now;
    this.#timeout = this.#clock.setTimeout(this.#onTimeout, delay);
  }

  /** Clears the clock's timeout. */
  disarm(): void {
    if (this.#timeout !== undefined) this.#clock.clearTimeout(this.#timeout);
    this.#timeout = undefined;
    this.#timeoutDue = NaN;
  }

  readonly #onTimeout = (): void => {
    // Deno before 2.7.3 may run a cleared timeout. Then another one may be set.
    this.disarm();
    if (this.#resume === null) return;
    const now = this.#clock.now();
    if (now >= this.#deadline) this.end();
    else this.#arm(now);
  };
}
