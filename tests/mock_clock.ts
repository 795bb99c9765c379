/** A clock whose time moves only when a test says so. */

import type { Clock } from "../mod.ts";
import { turn } from "./support.ts";

interface Timeout {
  due: number;
  callback: () => void;
}

/** How many turns of the runtime a loop gets to react to the time. */
const TURNS = 6;

/** Time at the disposal of a test. */
export class MockClock implements Clock {
  #now = 0;
  #lastId = 0;
  readonly #timeouts = new Map<number, Timeout>();

  /** How many timeouts have been set so far. */
  get timeoutsSet(): number {
    return this.#lastId;
  }

  /** How many timeouts are armed. */
  get armed(): number {
    return this.#timeouts.size;
  }

  readonly now = (): number => this.#now;

  setTimeout(callback: () => void, delay: number): number {
    this.#timeouts.set(++this.#lastId, { due: this.#now + delay, callback });
    return this.#lastId;
  }

  clearTimeout(id: unknown): void {
    this.#timeouts.delete(id as number);
  }

  setImmediate(callback: () => void): void {
    setImmediate(callback);
  }

  /** Lets `ms` pass without running anything, as a busy process would. */
  skip(ms: number): void {
    this.#now += ms;
  }

  /** Lets `ms` pass: each timeout runs when it is due, and is reacted to. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    await turns();
    for (;;) {
      const next = this.#next();
      if (next === null || next[1].due > end) break;
      const [id, { due, callback }] = next;
      this.#timeouts.delete(id);
      this.#now = Math.max(this.#now, due);
      callback();
      await turns();
    }
    this.#now = end;
  }

  #next(): [number, Timeout] | null {
    let next: [number, Timeout] | null = null;
    for (const entry of this.#timeouts) {
      if (next === null || entry[1].due < next[1].due) next = entry;
    }
    return next;
  }
}

/** Enough turns of the runtime for a loop to have done what it can. */
export async function turns(): Promise<void> {
  for (let i = 0; i < TURNS; i++) await turn();
}
