/**
 * The clock of a loop. A test can bring its own.
 *
 * @module
 */

/**
 * A source of time. All times are in milliseconds.
 *
 * A faulty clock stops only its own map. If a method throws, or `now()` gives no
 * finite number, then the `loop()`, `poll()` or `shutdown()` that drives the map
 * throws the error. If none runs, `SocketMap.onError` gets it. If the clock
 * refuses a timeout or a turn, the system's clock takes its place. If the clock never calls
 * back, the map stands still.
 */
export interface Clock {
  /**
   * The time that has passed since some fixed moment. It must not go back: if it
   * does, the loop takes it as standing still until it has caught up.
   */
  now(): number;
  /**
   * Runs `callback` once, `delay` from now.
   *
   * @returns The identifier for {@linkcode Clock.clearTimeout}.
   */
  setTimeout(callback: () => void, delay: number): unknown;
  /** Cancels a timeout that has not run. */
  clearTimeout(id: unknown): void;
  /**
   * Runs `callback` in a later turn: what else is ready runs before it.
   *
   * @param isOverdue The loop has not waited on the system for more than 10 ms, so
   * this turn must look at the sockets. A clock on which every turn does so can
   * ignore it.
   */
  setImmediate(callback: () => void, isOverdue?: boolean): void;
}

/** The longest delay that `setTimeout` takes: 2^31 - 1 ms, almost 25 days. */
const LONGEST_DELAY = 0x7fffffff;

/** The runtime's own function, even if a test replaces the global one. */
const { setTimeout: sleep } = globalThis;

/** The clock of this machine. It is monotonic: a change of date moves no deadline. */
export const systemClock: Clock = {
  now: () => performance.now(),
  setTimeout: (callback, delay) =>
    setTimeout(callback, Math.min(Math.ceil(delay), LONGEST_DELAY)),
  clearTimeout: (id) => clearTimeout(id as ReturnType<typeof setTimeout>),
  // Deno looks at its sockets in one of 61 turns, and always before it sleeps.
  setImmediate: (callback, isOverdue) =>
    void (isOverdue ? sleep(callback, 0) : setImmediate(callback)),
};
