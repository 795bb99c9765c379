/** Random choices that a seed repeats. */

import { KeyedRng } from "../../testing/rng.ts";
import { randomFrom } from "../fakes.ts";

/** Makes one seed of two numbers, so that neighbours have nothing in common. */
export function mix(a: number, b: number): number {
  return new KeyedRng(a).at(b) * 2 ** 32;
}

/** Makes choices. */
export class RandomChoices {
  readonly #random: () => number;

  constructor(seed: number) {
    this.#random = randomFrom(seed);
  }

  /** From `least` to `most`, all alike. */
  int(least: number, most: number): number {
    return least + Math.floor(this.#random() * (most - least + 1));
  }

  /** From `least` to `most`, each order of magnitude alike. */
  log(least: number, most: number): number {
    const number = least * (most / least) ** this.#random();
    return Math.min(most, Math.max(least, Math.round(number)));
  }

  chance(probability: number): boolean {
    return this.#random() < probability;
  }

  one<T>(choices: readonly T[]): T {
    return choices[this.int(0, choices.length - 1)]!;
  }

  /** One of the keys, as often as their weights say. */
  weighted<T extends string>(weights: Record<T, number>): T {
    const entries = Object.entries(weights) as [T, number][];
    const sum = entries.reduce((sum, [, weight]) => sum + weight, 0);
    let left = this.#random() * sum;
    for (const [key, weight] of entries) {
      left -= weight;
      if (left < 0) return key;
    }
    return entries[0]![0];
  }
}

/** Waits for so many ms, if any. */
export async function wait(ms: number): Promise<void> {
  if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms));
}
