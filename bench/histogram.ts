/**
 * Counts times in classes of 1 % width, so that millions of them take the space
 * of a few thousand numbers.
 *
 * @module
 */

const LEAST = 0.01;
const WIDTH = Math.log(1.01);
const CLASSES = 2_400;

/** A histogram of times in µs, from 0.01 µs to minutes. */
export class Histogram {
  readonly #counts = new Uint32Array(CLASSES);
  #total = 0;

  /** Adds one time, in µs. */
  add(time: number): void {
    const at = time <= LEAST ? 0 : Math.log(time / LEAST) / WIDTH;
    this.#counts[Math.min(Math.floor(at), CLASSES - 1)]!++;
    this.#total++;
  }

  /** The time, in µs, that `share` (0 to 1) of all do not exceed; NaN without any. */
  quantile(share: number): number {
    let left = Math.max(1, Math.ceil(share * this.#total));
    for (const [at, count] of this.#counts.entries()) {
      left -= count;
      if (left <= 0) return LEAST * Math.exp((at + 0.5) * WIDTH);
    }
    return NaN;
  }
}
