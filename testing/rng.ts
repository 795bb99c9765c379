/**
 * Random numbers that a seed repeats, for the simulator and for tests.
 *
 * The generator is counter-based (as Philox and Threefry are: Salmon et al.,
 * "Parallel random numbers: as easy as 1, 2, 3"): each number is a hash of the
 * seed and of a key, and there is no state. So a fault that is left out changes
 * no other one, and a schedule of faults can be shrunk. The hash is MurmurHash3
 * (32 bits): fast in JavaScript, and nobody has to be kept from guessing.
 *
 * @module
 */

/** Mixes a number into a hash, as in MurmurHash3. */
export function mix(hash: number, value: number): number {
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

/** Hashes a text to a number that is the same on every machine. */
export function hashText(text: string): number {
  let hash = text.length;
  for (let i = 0; i < text.length; i++) hash = mix(hash, text.charCodeAt(i));
  return finish(hash);
}

/** A random number for each key, by the seed. */
export class KeyedRng {
  readonly #seed: number;

  constructor(seed: number) {
    this.#seed = mix(mix(0x9747b28c, seed | 0), Math.floor(seed / 2 ** 32));
  }

  /** The number of this key, from 0 to 1, the latter excluded. */
  at(a: number, b: number = 0, c: number = 0): number {
    return finish(mix(mix(mix(this.#seed, a), b), c)) / 2 ** 32;
  }

  /** The number of this key, from `low` to `high`. */
  between(low: number, high: number, a: number, b = 0, c = 0): number {
    return low + (high - low) * this.at(a, b, c);
  }

  /**
   * A sequence of random numbers from 0 to 1, the latter excluded, for code that
   * has no key. Sequences of other names have nothing in common with it.
   */
  stream(name: string): () => number {
    const stream = hashText(name);
    let count = 0;
    return () => this.at(stream, ++count);
  }
}
