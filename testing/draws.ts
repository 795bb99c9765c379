/**
 * The times and random numbers that user code got, as far as the comparison of
 * two runs needs them: {@linkcode Draws}.
 *
 * @module
 */

import { mix } from "./rng.ts";

/** How many values a program got, and a hash of all of them. */
interface Drawn {
  count: number;
  hash: number;
}

/** The values that the program of each host got. */
export class Draws {
  readonly #drawn = new Map<string, Drawn>();

  /** Adds a value to those of a host. */
  add(host: string, value: number): void {
    let drawn = this.#drawn.get(host);
    if (!drawn) this.#drawn.set(host, drawn = { count: 0, hash: 0 });
    drawn.count++;
    // A fraction has its own bits in the low half of a large number.
    drawn.hash = mix(drawn.hash, value * 2 ** 32 % 2 ** 32);
    drawn.hash = mix(drawn.hash, value);
  }

  /**
   * Finds a host whose program got other values than in another run.
   *
   * @returns The difference as a sentence; `null` if there is none.
   */
  differenceTo(other: Draws): string | null {
    const hosts = new Set([...this.#drawn.keys(), ...other.#drawn.keys()]);
    for (const host of hosts) {
      const [one, two] = [this.#of(host), other.#of(host)];
      if (one.count !== two.count) {
        return `${host} asked ${one.count} times for a time or a random ` +
          `number, and then ${two.count} times`;
      }
      if (one.hash !== two.hash) {
        return `${host} got other times or random numbers, ${one.count} of ` +
          "them each time";
      }
    }
    return null;
  }

  #of(host: string): Drawn {
    return this.#drawn.get(host) ?? { count: 0, hash: 0 };
  }
}
