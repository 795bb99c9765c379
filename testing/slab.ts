/**
 * Many small copies of bytes in few buffers: a buffer for each costs more than
 * all the rest of a simulated packet.
 *
 * @module
 */

const SLAB_SIZE = 64 * 1024;
/** What is larger has a buffer of its own. */
const LARGEST = 4 * 1024;
/** Up to so many bytes, a loop is faster than a view. */
const FEW = 48;

/** Some bytes of a buffer that may hold others too. */
export interface Bytes {
  readonly buffer: Uint8Array;
  readonly start: number;
  readonly end: number;
}

/** Makes copies. */
export class Slab {
  #buffer = new Uint8Array(0);
  #used = 0;

  copy(data: Uint8Array): Bytes {
    const { length } = data;
    if (length > LARGEST) {
      return { buffer: new Uint8Array(data), start: 0, end: length };
    }
    if (this.#used + length > this.#buffer.length) {
      this.#buffer = new Uint8Array(SLAB_SIZE);
      this.#used = 0;
    }
    const start = this.#used;
    this.#buffer.set(data, start);
    this.#used += length;
    return { buffer: this.#buffer, start, end: this.#used };
  }
}

/** Copies a part of a buffer into another one. */
export function copyInto(
  target: Uint8Array,
  at: number,
  source: Uint8Array,
  start: number,
  end: number,
): void {
  if (end - start > FEW) target.set(source.subarray(start, end), at);
  else for (let i = start; i < end; i++) target[at++] = source[i]!;
}
