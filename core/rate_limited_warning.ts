/**
 * A warning that begins and ends with a state, such as "descriptors ran out".
 *
 * @module
 */

import type { StartTimer } from "./handshake.ts";

/**
 * After the end of a state, its next beginning is told only when this time is
 * over, in ms. A longer time tells an operator later that the trouble goes on; a
 * shorter one fills the log faster. The value is a choice.
 */
const QUIET_TIME = 10_000;

/** What {@linkcode RateLimitedWarning} needs. */
export interface WarningEvents {
  now(): number;
  startTimer: StartTimer;
  /** Logs that the state has begun, or is over. */
  tell(isOn: boolean): void;
}

/**
 * Tells once that a state begins, and once that it ends. A state that begins and
 * ends again and again must not fill the log, so after its end, the next beginning
 * is told only after a quiet time.
 */
export class RateLimitedWarning {
  /** The state is on. */
  isOn = false;
  readonly #events: WarningEvents;
  #isTold = false;
  #quietUntil = -Infinity;
  #isWaiting = false;

  constructor(events: WarningEvents) {
    this.#events = events;
  }

  /** The map's clock is replaced by one that shows `change` ms more. */
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
    if (!isOn) this.#quietUntil = now() + QUIET_TIME;
    tell(isOn);
  }
}
