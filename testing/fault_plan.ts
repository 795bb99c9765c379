/**
 * Which faults happen in a run: {@linkcode FaultPlan}.
 *
 * @module
 */

import type { AllFaults, FaultEvent } from "./faults.ts";
import { hashText, KeyedRng } from "./rng.ts";

/** The purpose of a random number: a fault, or the length of a delay. */
export interface DrawKind {
  readonly name: string;
  /** Keeps its random numbers apart from those of the other kinds. */
  readonly number: number;
}

/** Makes a kind. Another name gives other numbers, and so another run. */
export function drawKind(name: string): DrawKind {
  return { name, number: hashText(name) };
}

/** There are many faults, and few names are asked for, so a name is made on demand. */
class Fault implements FaultEvent {
  readonly time: number;
  readonly #kind: DrawKind;
  readonly #where: string;
  readonly #nth: number;

  constructor(time: number, kind: DrawKind, where: string, nth: number) {
    this.time = time;
    this.#kind = kind;
    this.#where = where;
    this.#nth = nth;
  }

  get id(): string {
    return faultId(this.#kind, this.#where, this.#nth);
  }
  toString(): string {
    return `fault ${this.id}`;
  }
}

function faultId(kind: DrawKind, where: string, nth: number): string {
  return nth === 0 ? `${kind.name} ${where}` : `${kind.name} ${where} ${nth}`;
}

/** A simulation, as far as its {@linkcode FaultPlan} needs it. */
export interface FaultPlanOptions {
  /** The names of faults that may happen; `null` for all. */
  only: ReadonlySet<string> | null;
  now: () => number;
  /** Adds a fault to the trace. */
  note: (fault: { toString(): string }) => void;
}

/**
 * Decides which faults happen, by the seed, and records them. Every fault has a
 * name of its own, by which it can be left out of the next run.
 */
export class FaultPlan {
  readonly rng: KeyedRng;
  readonly faults: AllFaults;
  /** The faults so far, in order. */
  readonly events: FaultEvent[] = [];
  readonly #options: FaultPlanOptions;

  constructor(
    seed: number,
    faults: AllFaults,
    options: FaultPlanOptions,
  ) {
    this.rng = new KeyedRng(seed);
    this.faults = faults;
    this.#options = options;
  }

  /**
   * Whether a fault of this kind happens, with this chance, to the `nth` event at
   * `where`. The number of `where` is `key`.
   */
  injects(
    kind: DrawKind,
    chance: number,
    where: string,
    key: number,
    nth: number = 0,
  ): boolean {
    if (chance === 0) return false;
    if (this.rng.at(kind.number, key, nth) >= chance) return false;
    const { only, now, note } = this.#options;
    if (only !== null && !only.has(faultId(kind, where, nth))) return false;
    const fault = new Fault(now(), kind, where, nth);
    this.events.push(fault);
    note(fault);
    return true;
  }

  /** A number from `low` to `high`. */
  between(
    low: number,
    high: number,
    kind: DrawKind,
    key: number,
    nth: number = 0,
  ): number {
    return this.rng.between(low, high, kind.number, key, nth);
  }

  /** A whole number from 1 to `most`. */
  upTo(most: number, kind: DrawKind, key: number, nth: number = 0): number {
    return 1 + Math.floor(this.rng.at(kind.number, key, nth) * most);
  }
}
