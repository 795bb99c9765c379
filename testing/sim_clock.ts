/**
 * The clock of a simulated host: it follows the simulated time, not quite as
 * fast and not from the same moment as the clocks of the others.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";
import type { Agenda, Plan } from "./agenda.ts";

/** How many turns in a row a host gets in no time; each other one takes 1 ms. */
const FREE_TURNS = 32;

/** What goes by simulated time. */
export interface Timeline {
  readonly agenda: Agenda;
  readonly now: number;
}

/** One host's clock, in one life of the host. */
export class SimClock implements Clock {
  readonly #timeline: Timeline;
  readonly #offset: number;
  readonly #rate: number;
  readonly #isAlive: () => boolean;
  #turns = 0;
  #turnsAt = -1;

  constructor(
    timeline: Timeline,
    { offset, rate }: { offset: number; rate: number },
    isAlive: () => boolean,
  ) {
    this.#timeline = timeline;
    this.#offset = offset;
    this.#rate = rate;
    this.#isAlive = isAlive;
  }

  readonly now = (): number => this.#offset + this.#timeline.now * this.#rate;

  setTimeout(callback: () => void, delay: number): unknown {
    if (delay === Infinity) return null;
    const wait = Math.max(0, delay) / this.#rate;
    return this.#add(this.#timeline.now + wait, callback);
  }

  clearTimeout(id: unknown): void {
    if (id) (id as Plan).run = null;
  }

  setImmediate(callback: () => void): void {
    const { now } = this.#timeline;
    if (now !== this.#turnsAt) this.#turns = 0;
    this.#turnsAt = now;
    // A program that spins must not keep the time from passing.
    this.#add(++this.#turns > FREE_TURNS ? now + 1 : now, callback);
  }

  #add(time: number, callback: () => void): Plan {
    return this.#timeline.agenda.add(time, () => {
      if (this.#isAlive()) callback();
    });
  }
}
