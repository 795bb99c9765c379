/**
 * Bytes that grow, such as those of a file: {@linkcode GrowingBytes}.
 *
 * @module
 */

/** Bytes in a buffer that doubles when it is full. */
export class GrowingBytes {
  #buffer: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #length = 0;

  get length(): number {
    return this.#length;
  }
  /** A view of the bytes, until the next change. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#buffer.subarray(0, this.#length);
  }

  /** Writes at `start`, where zeros fill what lies before. */
  write(start: number, data: Uint8Array): void {
    if (data.length === 0) return;
    this.resize(Math.max(this.#length, start + data.length));
    this.#buffer.set(data, start);
  }

  /** Cuts them, or adds zeros. */
  resize(length: number): void {
    if (length > this.#buffer.length) {
      const { bytes } = this;
      this.#buffer = new Uint8Array(Math.max(length, 2 * bytes.length));
      this.#buffer.set(bytes);
    } else if (length < this.#length) {
      this.#buffer.fill(0, length, this.#length);
    }
    this.#length = length;
  }
}
