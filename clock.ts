/**
 * Time, as the loop uses it: a seam, so that a test can bring its own.
 *
 * @module
 */

/** A source of time. All times are in milliseconds. */
export interface Clock {
  /** The time that has passed since some fixed moment; it never goes back. */
  now(): number;
  /**
   * Runs `callback` once, `delay` from now.
   *
   * @returns What {@linkcode Clock.clearTimeout} takes to forget it.
   */
  setTimeout(callback: () => void, delay: number): unknown;
  /** Forgets a timeout that has not run. */
  clearTimeout(id: unknown): void;
  /** Runs `callback` after whatever else is ready has had its turn. */
  setImmediate(callback: () => void): void;
}

/** The longest delay that `setTimeout` takes: 2^31 - 1 ms, almost 25 days. */
const LONGEST_DELAY = 0x7fffffff;

/** The clock of this machine: monotonic, so a change of date moves no deadline. */
export const systemClock: Clock = {
  now: () => performance.now(),
  setTimeout: (callback, delay) =>
    setTimeout(callback, Math.min(Math.ceil(delay), LONGEST_DELAY)),
  clearTimeout: (id) => clearTimeout(id as ReturnType<typeof setTimeout>),
  setImmediate: (callback) => void setImmediate(callback),
};
