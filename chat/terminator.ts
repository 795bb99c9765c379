/**
 * Finds a terminator in a stream of bytes, however the bytes are split, looking
 * at each of them once (the algorithm of Knuth, Morris and Pratt).
 *
 * @module
 */

/** How far to look without the help of `indexOf()`, whose call costs more. */
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
