/**
 * What foreign code gives for a promise.
 *
 * @module
 */

/** Tells a promise from what other hooks return. */
export function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null &&
    typeof (value as PromiseLike<unknown>).then === "function";
}

/**
 * A promise that settles once and tells of it later, as those of the runtime do:
 * a thenable of the user's may throw, call back twice or at once.
 */
export function toPromise<T>(promise: PromiseLike<T>): Promise<T> {
  const isPlain = promise instanceof Promise &&
    promise.constructor === Promise && promise.then === Promise.prototype.then;
  return isPlain ? promise : new Promise((resolve) => resolve(promise));
}

/**
 * Calls what may fail without harm to anybody, at once or by its promise.
 *
 * @returns A promise of its end that never rejects, if it gave one.
 */
export function quietly(call: () => unknown): Promise<void> | undefined {
  try {
    const result = call();
    if (isPromise(result)) return toPromise(result).then(() => {}, () => {});
  } catch {
    // As if it had rejected.
  }
  return undefined;
}
