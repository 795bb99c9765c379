/**
 * Whose predicates are asked in each pass, and what they answered last.
 *
 * Thousands are asked for the sake of one, and to look at the state of each
 * would cost more than to ask it: it lies all over the memory. So what is known
 * of the answers lies here, side by side. Whoever gives the same answer again,
 * with nothing left to do about it, needs no second look.
 *
 * @module
 */

import { isPromise, toPromise } from "./thenable.ts";

/** The answer of a predicate, which cannot be async. */
export function atOnce(predicate: string, answer: unknown): boolean {
  if (!isPromise(answer)) return answer as boolean;
  toPromise(answer).then(undefined, () => {});
  throw new TypeError(`${predicate}() must answer at once, and gave a promise`);
}

/** What there is to do about an answer, as long as nothing else happens. */
export const Settled = {
  /** That has to be looked into. */
  never: 0,
  /** Nothing, if it is neither to read nor to write. */
  idle: 1,
  /** Nothing, if it is to read only: a read is in flight. */
  reading: 2,
} as const;

/** One of the values of {@linkcode Settled}. */
export type Settled = typeof Settled[keyof typeof Settled];

/** The predicates of a dispatcher. */
interface Predicates {
  /** Whether it wants to read (or accept). */
  readable(): boolean;
  /** Whether it wants to write. */
  writable(): boolean;
}

/** Who acts on what a dispatcher answers. */
export interface Asked {
  /** The dispatcher. */
  readonly pollable: Predicates;
  /** Its place on the list of those to ask; negative outside it. */
  place: number;
  /**
   * Asks the predicates, and starts what they ask for. What `readable()` has
   * answered already, whatever that was, is taken for its answer.
   */
  ask(readable?: unknown): void;
  /** Starts what the predicates have asked for. */
  answer(readable: boolean, writable: boolean): void;
  /** A predicate threw. */
  refuse(error: unknown): void;
}

/** The entries that are asked, in the order in which they joined. */
export class PredicateList {
  #entries: Asked[] = [];
  #pollables: (Predicates | null)[] = [];
  #settled: Uint8Array = new Uint8Array(16);
  #someLeft = false;

  add(entry: Asked): void {
    const place = this.#entries.length;
    if (place === this.#settled.length) {
      const larger = new Uint8Array(2 * place);
      larger.set(this.#settled);
      this.#settled = larger;
    }
    this.#entries.push(entry);
    this.#pollables.push(entry.pollable);
    this.#settled[place] = Settled.never;
    entry.place = place;
  }

  /** Asks `entry` no more. Its place stays empty until the next pass. */
  remove(entry: Asked): void {
    const { place } = entry;
    if (place < 0) return;
    this.#pollables[place] = null;
    this.#settled[place] = Settled.never;
    this.#someLeft = true;
    entry.place = -1;
  }

  /** Says what is known of the next answer of `entry`. */
  settle({ place }: Asked, settled: Settled): void {
    if (place >= 0) this.#settled[place] = settled;
  }

  /** Asks each of them once, `readable()` first. */
  ask(): void {
    if (this.#someLeft) this.#closeGaps();
    const pollables = this.#pollables;
    const allSettled = this.#settled;
    const { never, reading } = Settled;
    const { length } = pollables;
    for (let place = 0; place < length; place++) {
      const settled = allSettled[place];
      if (settled === never) {
        if (pollables[place] !== null) this.#entries[place]!.ask();
        continue;
      }
      const pollable = pollables[place]!;
      let readable: boolean;
      let writable = false;
      try {
        readable = pollable.readable();
        // It may be closed by now.
        if (typeof readable === "boolean" && allSettled[place] === settled) {
          writable = pollable.writable();
        }
      } catch (error) {
        this.#entries[place]!.refuse(error);
        continue;
      }
      if (typeof readable !== "boolean") this.#entries[place]!.ask(readable);
      else if (writable !== false || readable !== (settled === reading)) {
        this.#entries[place]!.answer(readable, writable);
      }
    }
  }

  #closeGaps(): void {
    this.#someLeft = false;
    const old = this.#entries;
    const stays = this.#pollables;
    const settled = this.#settled;
    this.#entries = [];
    this.#pollables = [];
    for (const [place, entry] of old.entries()) {
      if (stays[place] === null) continue;
      const known = settled[place] as Settled;
      this.add(entry);
      this.settle(entry, known);
    }
  }
}
