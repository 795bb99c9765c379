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
  /** A look in the next turn. */
  turn: 0,
  /** A look on a thread without a wait, so that Deno looks at its sockets. */
  rest: 1,
  /** A wait on a thread. */
  wait: 2,
} as const;

/**
 * A look in vain costs this score one point, and one that pays brings one. At 0,
 * only one in `PROBES` idle times begins with looks per turn.
 */
const BEST_SCORE = 16;
const PROBES = 8;
/**
 * Of so many looks in vain, one reads the clock, for some 0.1 µs. A larger number
 * ends the looks later. The value is a choice.
 */
const LOOKS_PER_CLOCK = 4;

/**
 * Decides how long the engine looks once a turn before it waits on a thread. A
 * thread costs time when it wakes up, and each look costs time, too. So the looks
 * stop after a while, and a program for which they were in vain makes fewer.
 */
export class SpinTime {
  /** How long the engine looks once a turn after the last event, in ms. */
  longest: number;
  readonly #now: () => number;
  #score = BEST_SCORE;
  #waits = 0;
  /** How many looks were in vain since the last event. */
  #looks = 0;
  /** When the clock was read for the first time since. */
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
    const looks = ++this.#looks;
    if (looks === 1) {
      const isWorthIt = this.#score > 0 || ++this.#waits % PROBES === 0;
      return this.longest > 0 && isWorthIt ? Next.turn : Next.wait;
    }
    if (looks % LOOKS_PER_CLOCK !== 0 || !this.#isOver(looks)) return Next.turn;
    this.#score = Math.max(this.#score - 1, 0);
    return Next.wait;
  }

  /** Whether the looks in vain have taken long enough. */
  #isOver(looks: number): boolean {
    const now = this.#now();
    if (looks === LOOKS_PER_CLOCK) this.#idleSince = now;
    return now - this.#idleSince >= this.longest;
  }

  #isRestDue(): boolean {
    if (this.#count < EVENTS_PER_CLOCK) return false;
    this.#count = 0;
    return this.#now() - this.#restedAt >= LONGEST_BUSY;
  }
}
