/**
 * News for an operator: that something is wrong, and that it is over.
 *
 * @module
 */

import type { StartTimer } from "./handshake.ts";

/** A state that comes and goes is told at most this often, in ms. */
const QUIET = 10_000;

/** What an {@linkcode Alarm} needs. */
export interface AlarmEvents {
  now(): number;
  startTimer: StartTimer;
  /** Tells of a change. */
  tell(isOn: boolean): void;
}

/**
 * Tells of a state at both ends, once each. One that comes and goes without
 * rest must not fill the log: after its end, the next beginning is told only
 * when it has been quiet for a while.
 */
export class Alarm {
  /** The state is on. */
  isOn = false;
  readonly #events: AlarmEvents;
  #isTold = false;
  #quietUntil = -Infinity;
  #isWaiting = false;

  constructor(events: AlarmEvents) {
    this.#events = events;
  }

  /** The clock is about to become another one, which shows `change` more. */
  shift(change: number): void {
    this.#quietUntil += change;
  }

  set(isOn: boolean): void {
    this.isOn = isOn;
    if (isOn === this.#isTold || this.#isWaiting) return;
    const { now, startTimer, tell } = this.#events;
    const quiet = isOn ? this.#quietUntil - now() : 0;
    if (quiet > 0) {
      this.#isWaiting = true;
      startTimer(quiet, () => {
        this.#isWaiting = false;
        this.set(this.isOn);
      });
      return;
    }
    this.#isTold = isOn;
    if (!isOn) this.#quietUntil = now() + QUIET;
    tell(isOn);
  }
}
