/**
 * Time, as the loop uses it: a seam, so that a test can bring its own.
 *
 * @module
 */

/**
 * A source of time. All times are in milliseconds.
 *
 * A clock that fails costs its own map: what a method throws, or gives in place
 * of a time, is thrown by the `loop()`, `poll()` or `shutdown()` that drives the
 * map. Where none does, `SocketMap.onError` gets it. A timeout or a turn that was
 * refused comes from the system's clock. A map whose clock never calls back
 * stands still.
 */
export interface Clock {
  /**
   * The time that has passed since some fixed moment. It never goes back: one
   * that does is taken to stand still until it has caught up.
   */
  now(): number;
  /**
   * Runs `callback` once, `delay` from now.
   *
   * @returns What {@linkcode Clock.clearTimeout} takes to forget it.
   */
  setTimeout(callback: () => void, delay: number): unknown;
  /** Forgets a timeout that has not run. */
  clearTimeout(id: unknown): void;
  /**
   * Runs `callback` after whatever else is ready has had its turn.
   *
   * @param isOverdue Nothing has waited for long. A clock whose turns do not
   * all ask the system what has come must see that this one does.
   */
  setImmediate(callback: () => void, isOverdue?: boolean): void;
}

/** The longest delay that `setTimeout` takes: 2^31 - 1 ms, almost 25 days. */
const LONGEST_DELAY = 0x7fffffff;

/** The real one, also where a test has replaced the global one. */
const { setTimeout: sleep } = globalThis;

/** The clock of this machine: monotonic, so a change of date moves no deadline. */
export const systemClock: Clock = {
  now: () => performance.now(),
  setTimeout: (callback, delay) =>
    setTimeout(callback, Math.min(Math.ceil(delay), LONGEST_DELAY)),
  clearTimeout: (id) => clearTimeout(id as ReturnType<typeof setTimeout>),
  // Deno asks the system in one of 61 turns, and always before it sleeps.
  setImmediate: (callback, isOverdue) =>
    void (isOverdue ? sleep(callback, 0) : setImmediate(callback)),
};
