/**
 * How long the engine looks for events by itself, before it waits on a thread.
 *
 * @module
 */

/**
 * For so long, in ms, the engine looks once a turn before Deno looks at its own
 * sockets and timers, which it does before it sleeps and otherwise in one of 61
 * turns. A longer time keeps them waiting; a shorter one costs more switches to a
 * thread, of some 50 µs each. The value is a choice.
 */
const LONGEST_BUSY = 5;
/**
 * After so many events the clock is read, to see whether `LONGEST_BUSY` is over. A
 * look counts as `EVENTS_PER_LOOK` at least. A larger number sees it later; a
 * smaller one reads the clock more often, for some 0.1 µs. The value is a choice.
 */
const EVENTS_PER_CLOCK = 64;
const EVENTS_PER_LOOK = 8;

/** The next step after a look for events. */
export const Next = {
  /** Another look at once. */
  look: 0,
  /** A look in the next turn of the runtime. */
  turn: 1,
  /** A look on a thread without a wait, so that Deno looks at its sockets. */
  rest: 2,
  /** A wait on a thread. */
  wait: 3,
} as const;

/**
 * A look in vain costs this score one point, and one that pays brings one. At 0,
 * only one in `PROBES` idle times begins with looks per turn.
 */
const BEST_SCORE = 16;
const PROBES = 8;
/**
 * After so many looks in vain comes a turn of the runtime, and the clock is read. A
 * larger number keeps the rest of the program waiting, for some 0.5 to 1.5 µs a
 * look; a smaller one costs more turns, of 1 to 3 µs and 300 bytes each. Measured with
 * a lone connection: with one look a turn, three of four turns were in vain, and
 * their garbage was half of all that a connection brought.
 */
const LOOKS_PER_TURN = 8;

/**
 * Decides how long the engine looks for events before it waits on a thread. A
 * thread costs time when it wakes up, and each look costs time, too. So the looks
 * stop after a while, and a program for which they were in vain makes fewer.
 */
export class SpinTime {
  /** How long the engine looks for events after the last one, in ms. */
  longest: number;
  readonly #now: () => number;
  #score = BEST_SCORE;
  #waits = 0;
  /** How many looks were in vain since the last event. */
  #looks = 0;
  /** When the first of them was. */
  #idleSince = 0;
  /** When Deno has last looked at its sockets. */
  #restedAt = 0;
  /** How many events there were since the clock was read. */
  #count = 0;

  constructor(longest: number, now = () => performance.now()) {
    this.longest = longest;
    this.#now = now;
  }

  /** Looks per turn begin: Deno has just looked at its sockets, or will soon. */
  begin(): void {
    this.#looks = 0;
    this.#restedAt = this.#now();
    this.#count = 0;
  }

  /** The next step after a look that found `count` events. */
  next(count: number): typeof Next[keyof typeof Next] {
    if (count > 0) {
      if (this.#looks > 0) {
        this.#score = Math.min(this.#score + 1, BEST_SCORE);
        this.#looks = 0;
      }
      this.#count += Math.max(count, EVENTS_PER_LOOK);
      return this.#isRestDue() ? Next.rest : Next.turn;
    }
    if (this.#looks++ === 0) {
      const isWorthIt = this.#score > 0 || ++this.#waits % PROBES === 0;
      if (this.longest === 0 || !isWorthIt) return Next.wait;
      this.#idleSince = this.#now();
    }
    if (this.#looks % LOOKS_PER_TURN !== 0) return Next.look;
    if (this.#now() - this.#idleSince < this.longest) return Next.turn;
    this.#score = Math.max(this.#score - 1, 0);
    return Next.wait;
  }

  #isRestDue(): boolean {
    if (this.#count < EVENTS_PER_CLOCK) return false;
    this.#count = 0;
    return this.#now() - this.#restedAt >= LONGEST_BUSY;
  }
}
