/**
 * The clock of a simulated host: it follows the simulated time, not quite as
 * fast and not from the same moment as the clocks of the others.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";
import type { ScheduledEvent } from "./event_queue.ts";
import type { Simulation } from "./simulation.ts";

/**
 * Turns in a row that take no simulated time; each further one takes 1 ms, so
 * that time passes for a program that spins, too. A pass takes one or two turns:
 * this is enough for a burst of passes at one instant.
 */
const FREE_TURNS = 32;

/** One host's clock, for one process of the host. */
export class SimClock implements Clock {
  readonly #simulation: Simulation;
  readonly #offset: number;
  readonly #rate: number;
  readonly #isAlive: () => boolean;
  #turns = 0;
  #turnsAt = -1;

  constructor(
    simulation: Simulation,
    { offset, rate }: { offset: number; rate: number },
    isAlive: () => boolean,
  ) {
    this.#simulation = simulation;
    this.#offset = offset;
    this.#rate = rate;
    this.#isAlive = isAlive;
  }

  readonly now = (): number => this.#offset + this.#simulation.now * this.#rate;

  setTimeout(callback: () => void, delay: number): unknown {
    if (delay === Infinity) return null;
    return this.#after(Math.max(0, delay) / this.#rate, callback);
  }

  clearTimeout(id: unknown): void {
    (id as ScheduledEvent | null | undefined)?.cancel();
  }

  setImmediate(callback: () => void): void {
    const { now } = this.#simulation;
    if (now !== this.#turnsAt) this.#turns = 0;
    this.#turnsAt = now;
    this.#after(++this.#turns > FREE_TURNS ? 1 : 0, callback);
  }

  #after(delay: number, callback: () => void): ScheduledEvent {
    return this.#simulation.after(delay, () => {
      if (this.#isAlive()) callback();
    });
  }
}
