/**
 * A connection that is not read because its peer takes nothing: two ends that
 * wait for one another look like that, and would do so for ever.
 *
 * @module
 */

import { HeapTimer, type TimerGroup, type TimerHeap } from "./timers.ts";

/** How long it may last before it is told, in ms. */
export const LONGEST_STALL = 5_000;

/** Watches one connection. */
export class Stall {
  readonly #timer: HeapTimer;
  #isOn = false;
  #isTold = false;

  /** `tell` runs when a stall has lasted; once it returned true, no more. */
  constructor(heap: TimerHeap, group: TimerGroup, tell: () => boolean) {
    const due = () => void (this.#isTold = tell());
    this.#timer = new HeapTimer(heap, LONGEST_STALL, false, due, group);
  }

  /** The connection is held back, or is not any more. */
  set(isOn: boolean): void {
    if (isOn === this.#isOn) return;
    this.#isOn = isOn;
    this.touch();
  }

  /** The peer has taken something. */
  touch(): void {
    if (this.#isTold) return;
    if (this.#isOn) this.#timer.reset();
    else this.#timer.cancel();
  }
}
