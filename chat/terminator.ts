/**
 * Finds a terminator in a stream of bytes, however the bytes are split, looking
 * at each of them once (the algorithm of Knuth, Morris and Pratt).
 *
 * @module
 */

/**
 * This many bytes are looked at one by one, and the rest by `indexOf()`, whose
 * call costs as much as 50 of them. A larger number is slower for long lines, a
 * smaller one for short lines. Measured, for lines of 60 bytes: 38 to 43 ns each
 * with 0 to 32, 31 ns from 64 on; for lines of 300 bytes: 122 ns with 0, 134 ns
 * with 64.
 */
const NEAR = 64;

/** A terminator, and how much of it the bytes so far end with. */
export class Terminator {
  /** The bytes to find. */
  readonly bytes: Uint8Array;
  /** How many of them the stream ends with so far. */
  matched = 0;
  /** For each length of a match, the length to go on with when it breaks. */
  readonly #fallback: Uint32Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.#fallback = new Uint32Array(bytes.length + 1);
    for (let end = 1, length = 0; end < bytes.length; end++) {
      while (length > 0 && bytes[end] !== bytes[length]) {
        length = this.#fallback[length]!;
      }
      if (bytes[end] === bytes[length]) length++;
      this.#fallback[end + 1] = length;
    }
  }

  /**
   * Looks at `data` from `start` on.
   *
   * @returns The index after the terminator, or -1: then `matched` tells how
   * much of it the data ends with.
   */
  find(data: Uint8Array, start: number): number {
    const { bytes } = this;
    const { length } = data;
    const first = bytes[0]!;
    let { matched } = this;
    let at = start;
    for (;;) {
      if (matched === 0) {
        const near = Math.min(at + NEAR, length);
        while (at < near && data[at] !== first) at++;
        if (at === near && at < length) at = data.indexOf(first, at);
        if (at < 0 || at === length) break;
        matched = 1;
        at++;
      } else if (at === length) break;
      else if (data[at] === bytes[matched]) {
        matched++;
        at++;
      } else {
        matched = this.#fallback[matched]!;
        continue;
      }
      if (matched === bytes.length) {
        this.matched = 0;
        return at;
      }
    }
    this.matched = matched;
    return -1;
  }
}
