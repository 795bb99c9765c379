/**
 * Chance without a state: what falls depends on the seed and on what is asked,
 * not on what was asked before. So a fault that is left out changes no other
 * one, and a schedule of faults can be shrunk.
 *
 * @module
 */

/** Mixes a number into a hash, as in MurmurHash3 (32 bits). */
function mix(hash: number, value: number): number {
  let k = Math.imul(value, 0xcc9e2d51);
  k = (k << 15) | (k >>> 17);
  hash ^= Math.imul(k, 0x1b873593);
  hash = (hash << 13) | (hash >>> 19);
  return (Math.imul(hash, 5) + 0xe6546b64) | 0;
}

function finish(hash: number): number {
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** A number for a text, the same on every machine. */
export function hashText(text: string): number {
  let hash = text.length;
  for (let i = 0; i < text.length; i++) hash = mix(hash, text.charCodeAt(i));
  return finish(hash);
}

/** The dice of one seed. */
export class Dice {
  readonly #seed: number;

  constructor(seed: number) {
    this.#seed = mix(mix(0x9747b28c, seed | 0), Math.floor(seed / 2 ** 32));
  }

  /** A number from 0 to 1, the latter excluded, for these numbers. */
  roll(a: number, b: number = 0, c: number = 0): number {
    return finish(mix(mix(mix(this.#seed, a), b), c)) / 2 ** 32;
  }

  /** A number from `low` to `high` for these numbers. */
  between(low: number, high: number, a: number, b = 0, c = 0): number {
    return low + (high - low) * this.roll(a, b, c);
  }
}

/** A sequence of random numbers, for code that asks without saying what for. */
export class Sequence {
  readonly #dice: Dice;
  readonly #name: number;
  #count = 0;

  constructor(dice: Dice, name: string) {
    this.#dice = dice;
    this.#name = hashText(name);
  }

  /** The next number from 0 to 1, the latter excluded. */
  readonly next = (): number => this.#dice.roll(this.#name, ++this.#count);
}
