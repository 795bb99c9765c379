/**
 * The predicates that are asked in each pass, and a cache of their answers.
 *
 * A pass asks thousands of dispatchers for the sake of one, and to look at the
 * state of each would cost more than to ask it: that state lies all over the
 * memory. So the last answers lie here, side by side. A dispatcher that gives
 * the same answer again, with nothing left to do about it, needs no second look.
 *
 * @module
 */

import { isPromise, toPromise } from "./thenable.ts";

/** The answer of a predicate, which cannot be async. */
export function syncAnswer(predicate: string, answer: unknown): boolean {
  if (!isPromise(answer)) return answer as boolean;
  toPromise(answer).then(undefined, () => {});
  throw new TypeError(`${predicate}() must answer at once, and gave a promise`);
}

/**
 * The answer that a pass may skip: if the entry gives it again, the pass has
 * nothing to do.
 */
export const CachedAnswer = {
  /** Skip nothing: look at the entry. */
  unknown: 0,
  /** Skip "neither read nor write". */
  idle: 1,
  /** Skip "read only": a read is in flight. */
  reading: 2,
} as const;

/** One of the values of {@linkcode CachedAnswer}. */
export type CachedAnswer = typeof CachedAnswer[keyof typeof CachedAnswer];

/** The predicates of a dispatcher. */
interface Predicates {
  /** Whether it wants to read (or accept). */
  readable(): boolean;
  /** Whether it wants to write. */
  writable(): boolean;
}

/** The entry that acts on what a dispatcher answers. */
export interface Asked {
  /** The dispatcher. */
  readonly pollable: Predicates;
  /** Its place in the cache; negative outside it. */
  place: number;
  /**
   * Asks the predicates, and starts what they ask for.
   *
   * @param readable The answer of `readable()`, if the pass has it already.
   */
  ask(readable?: unknown): void;
  /** Starts what the predicates have asked for. */
  answer(readable: boolean, writable: boolean): void;
  /** A predicate threw. */
  refuse(error: unknown): void;
}

/** The entries that are asked, in the order in which they joined. */
export class PredicateCache {
  #entries: Asked[] = [];
  #pollables: (Predicates | null)[] = [];
  #answers: Uint8Array = new Uint8Array(16);
  #hasGaps = false;

  add(entry: Asked): void {
    const place = this.#entries.length;
    if (place === this.#answers.length) {
      const larger = new Uint8Array(2 * place);
      larger.set(this.#answers);
      this.#answers = larger;
    }
    this.#entries.push(entry);
    this.#pollables.push(entry.pollable);
    this.#answers[place] = CachedAnswer.unknown;
    entry.place = place;
  }

  /** Asks `entry` no more. Its place stays empty until the next pass. */
  remove(entry: Asked): void {
    const { place } = entry;
    if (place < 0) return;
    this.#pollables[place] = null;
    this.#answers[place] = CachedAnswer.unknown;
    this.#hasGaps = true;
    entry.place = -1;
  }

  /** Sets the answer of `entry` that a pass may skip. */
  remember({ place }: Asked, answer: CachedAnswer): void {
    if (place >= 0) this.#answers[place] = answer;
  }

  /** Asks each of them once, `readable()` first. */
  ask(): void {
    if (this.#hasGaps) this.#closeGaps();
    const pollables = this.#pollables;
    const answers = this.#answers;
    const { unknown, reading } = CachedAnswer;
    const { length } = pollables;
    for (let place = 0; place < length; place++) {
      const cached = answers[place];
      if (cached === unknown) {
        if (pollables[place] !== null) this.#entries[place]!.ask();
        continue;
      }
      const pollable = pollables[place]!;
      let readable: boolean;
      let writable = false;
      try {
        readable = pollable.readable();
        // It may be closed by now.
        if (typeof readable === "boolean" && answers[place] === cached) {
          writable = pollable.writable();
        }
      } catch (error) {
        this.#entries[place]!.refuse(error);
        continue;
      }
      if (typeof readable !== "boolean") this.#entries[place]!.ask(readable);
      else if (writable !== false || readable !== (cached === reading)) {
        this.#entries[place]!.answer(readable, writable);
      }
    }
  }

  #closeGaps(): void {
    this.#hasGaps = false;
    const entries = this.#entries;
    const stays = this.#pollables;
    const answers = this.#answers;
    this.#entries = [];
    this.#pollables = [];
    for (const [place, entry] of entries.entries()) {
      if (stays[place] === null) continue;
      const answer = answers[place] as CachedAnswer;
      this.add(entry);
      this.remember(entry, answer);
    }
  }
}
