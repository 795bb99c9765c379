/**
 * Promises and thenables of foreign code.
 *
 * @module
 */

/** Whether the result of foreign code is a promise or a thenable. */
export function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null &&
    typeof (value as PromiseLike<unknown>).then === "function";
}

/**
 * Wraps a thenable in a promise of the runtime, which settles once and calls back
 * later. A foreign thenable may throw, call back twice, or call back at once.
 */
export function toPromise<T>(promise: PromiseLike<T>): Promise<T> {
  const isPlain = promise instanceof Promise &&
    promise.constructor === Promise && promise.then === Promise.prototype.then;
  return isPlain ? promise : new Promise((resolve) => resolve(promise));
}

/**
 * Calls a function, and ignores its error or the rejection of its promise.
 *
 * @returns A promise that settles with it and never rejects, if it is async.
 */
export function quietly(call: () => unknown): Promise<void> | undefined {
  try {
    const result = call();
    if (isPromise(result)) return toPromise(result).then(() => {}, () => {});
  } catch {
    // Ignored, as a rejection is.
  }
  return undefined;
}
