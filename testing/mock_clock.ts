/**
 * A clock whose time moves only when a test says so: {@linkcode MockClock}.
 *
 * @module
 */

import { checkBoolean, checkMilliseconds } from "../core/arguments.ts";
import { checkOptions, type OptionNames } from "../core/option_names.ts";
import type { Clock } from "../core/clock.ts";

/** Options of a {@linkcode MockClock}. */
export interface MockClockOptions {
  /**
   * Whether the time jumps to the next timeout by itself when nothing else can
   * happen.
   *
   * @default {false}
   */
  autojump?: boolean | undefined;
  /**
   * For how many real milliseconds nothing must have happened before the time
   * jumps. At 0, a few turns of the runtime without a pass of the loop are
   * enough: that is right for channels in memory. Sockets, files, and child
   * processes are slower, and what they bring would come after the jump.
   *
   * @default {0}
   */
  threshold?: number | undefined;
  /**
   * How far the time may get by jumps, in milliseconds. Beyond it, the loop
   * ends with an error: what the test waits for does not come.
   *
   * @default {86_400_000, a day}
   */
  limit?: number | undefined;
}

const CLOCK_OPTIONS: OptionNames<MockClockOptions> = {
  autojump: true,
  threshold: true,
  limit: true,
};

interface Timeout {
  due: number;
  callback: () => void;
}

/**
 * How many turns of the runtime a loop gets to react to an event. Six are
 * enough, and twice as many before Deno 2.7.3, where promises wait for the end
 * of a turn. Each takes 3 µs.
 */
const TURNS = 12;

/**
 * Time at the disposal of a test: give it to a `SocketMap`, and thirty seconds
 * take no time. Timers, timeouts and waits of the map's loop all follow it.
 *
 * Without `autojump`, time passes in {@linkcode MockClock.advance}. With it,
 * `await loop({ map })` needs no help: whenever all wait, it is later.
 *
 * @example A timeout of half a minute
 * ```ts
 * import { Dispatcher, loop, SocketMap } from "@asyncore/asyncore";
 * import { memoryPair, MockClock } from "@asyncore/asyncore/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const clock = new MockClock({ autojump: true });
 * const map = new SocketMap({ clock });
 * const [ours] = memoryPair();
 * const silent = new Dispatcher(ours, { map, idleTimeout: 30_000 });
 * await loop({ map });
 * assertEquals(clock.now(), 30_000);
 * assertEquals(silent.closeReason?.name, "TimedOut");
 * ```
 *
 * @example Time by hand
 * ```ts
 * import { closeAll, Dispatcher, loop, SocketMap } from "@asyncore/asyncore";
 * import { memoryPair, MockClock } from "@asyncore/asyncore/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const clock = new MockClock();
 * const map = new SocketMap({ clock });
 * const [ours] = memoryPair();
 * new Dispatcher(ours, { map });
 * const ticks: number[] = [];
 * map.callEvery(1_000, () => void ticks.push(clock.now()));
 * const looping = loop({ map });
 * await clock.advance(2_500);
 * assertEquals(ticks, [1_000, 2_000]);
 * closeAll(map);
 * await looping;
 * ```
 */
export class MockClock implements Clock {
  #now = 0;
  #lastId = 0;
  readonly #timeouts = new Map<number, Timeout>();
  readonly #autojump: boolean;
  readonly #threshold: number;
  readonly #limit: number;
  /** Counts what happens, to see whether nothing does. */
  #activity = 0;
  /** How many calls of `advance()` are under way: they move the time. */
  #advancing = 0;
  #isWatching = false;
  /** Ends the wait of the threshold. */
  #endWait = () => {};

  /**
   * Makes a clock that shows 0.
   *
   * @param options Whether it jumps by itself, when, and how far.
   * @throws {TypeError} If an option has the wrong type.
   * @throws {RangeError} If a number is negative or NaN.
   */
  constructor(options: MockClockOptions = {}) {
    checkOptions(options, CLOCK_OPTIONS);
    const { autojump = false, threshold = 0, limit = 86_400_000 } = options;
    checkBoolean("autojump", autojump);
    this.#autojump = autojump;
    const finite = { finite: true };
    this.#threshold = checkMilliseconds("threshold", threshold, finite);
    this.#limit = checkMilliseconds("limit", limit);
  }

  /** How many timeouts have been set so far. */
  get timeoutsSet(): number {
    return this.#lastId;
  }

  /** How many timeouts are set and have neither run nor been cleared. */
  get armed(): number {
    return this.#timeouts.size;
  }

  /**
   * The time, in ms. With `autojump`, do not ask it again and again until it is
   * late enough: that a loop asks for the time shows that it is at work.
   */
  readonly now = (): number => {
    this.#activity++;
    return this.#now;
  };

  /**
   * Sets a timeout: it runs when the time has come there. Of those due at the
   * same time, the one that was set first runs first.
   *
   * @throws {RangeError} If `delay` is NaN.
   * @throws {Error} If jumps have brought the time beyond the limit.
   */
  setTimeout(callback: () => void, delay: number): number {
    checkMilliseconds("delay", delay, { min: -Infinity });
    if (this.#autojump && this.#now > this.#limit) {
      throw new Error(
        `The time has jumped to ${this.#now} ms, beyond the limit of ` +
          `${this.#limit} ms: what the loop waits for does not come. If it ` +
          "would, give MockClock a larger limit",
      );
    }
    this.#activity++;
    const due = this.#now + Math.max(delay, 0);
    this.#timeouts.set(++this.#lastId, { due, callback });
    if (this.#autojump && !this.#isWatching) void this.#watch();
    return this.#lastId;
  }

  /** Forgets a timeout. */
  clearTimeout(id: unknown): void {
    this.#activity++;
    this.#timeouts.delete(id as number);
    if (this.#timeouts.size === 0) this.#endWait();
  }

  /** Runs `callback` in the next turn of the runtime: that is no time. */
  setImmediate(callback: () => void): void {
    this.#activity++;
    setImmediate(callback);
  }

  /**
   * Lets `ms` pass without running anything, as a busy process would.
   *
   * @param ms How long, in milliseconds.
   * @throws {TypeError | RangeError} If it is no finite number of 0 or more.
   */
  skip(ms: number): void {
    this.#now += checkMilliseconds("ms", ms, { finite: true });
  }

  /**
   * Lets `ms` pass: each timeout runs when it is due, and is reacted to.
   *
   * @param ms How long, in milliseconds.
   * @throws {TypeError | RangeError} If it is no finite number of 0 or more.
   * @throws What a timeout's callback threw; the time is then when it was due.
   */
  async advance(ms: number): Promise<void> {
    const end = this.#now + checkMilliseconds("ms", ms, { finite: true });
    this.#advancing++;
    try {
      await turns();
      while (this.#jump(end)) await turns();
      this.#now = Math.max(this.#now, end);
    } finally {
      this.#advancing--;
    }
  }

  /** Jumps to the next timeout until `end`, and runs it; whether there was one. */
  #jump(end: number): boolean {
    let next: [number, Timeout] | null = null;
    for (const entry of this.#timeouts) {
      if (next === null || entry[1].due < next[1].due) next = entry;
    }
    if (next === null || next[1].due > end) return false;
    const [id, { due, callback }] = next;
    this.#activity++;
    this.#timeouts.delete(id);
    this.#now = Math.max(this.#now, due);
    callback();
    return true;
  }

  /** Jumps when nothing happens, as long as a timeout is set. */
  async #watch(): Promise<void> {
    this.#isWatching = true;
    try {
      while (this.#timeouts.size > 0) {
        const before = this.#activity;
        await this.#calm();
        if (this.#activity !== before || this.#advancing > 0) continue;
        if (!this.#jump(Number.MAX_VALUE)) break;
      }
    } finally {
      this.#isWatching = false;
    }
  }

  async #calm(): Promise<void> {
    if (this.#threshold === 0) return await turns();
    await new Promise<void>((resolve) => {
      const id = setTimeout(resolve, this.#threshold);
      this.#endWait = () => {
        clearTimeout(id);
        resolve();
      };
    });
  }
}

/** Enough turns of the runtime for a loop to have done what it can. */
export async function turns(): Promise<void> {
  for (let i = 0; i < TURNS; i++) {
    await new Promise<void>((resolve) => void setImmediate(resolve));
  }
}
