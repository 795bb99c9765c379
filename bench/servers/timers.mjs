/**
 * What a timer costs among many pending ones. The caller says how its timers
 * are started, reset and cancelled.
 *
 * @module
 */

import { answerLines } from "./control.mjs";

const PENDING = 100_000;
const MORE = 50_000;
const SHORTEST = 60_000;
const LONGEST = 600_000;

/**
 * Answers each line with the µs that one of `MORE` further timers takes.
 *
 * @template T
 * @param {{
 *   arm: (delay: number) => T,
 *   reset: (timer: T, delay: number) => T,
 *   cancel: (timer: T) => void,
 * }} timers
 */
export function measureTimers({ arm, reset, cancel }) {
  const randomDelay = () => SHORTEST + Math.random() * (LONGEST - SHORTEST);
  const pending = Array.from({ length: PENDING }, () => arm(randomDelay()));
  answerLines(() => {
    const delays = Array.from({ length: MORE }, randomDelay);
    /** @type {T[]} */
    let timers = [];
    /** @param {() => void} work */
    const measure = (work) => {
      const start = performance.now();
      work();
      return (performance.now() - start) * 1_000 / MORE;
    };
    const armed = measure(() => {
      for (const delay of delays) timers.push(arm(delay));
    });
    const resetting = measure(() => {
      timers = timers.map((timer, i) => reset(timer, delays[i]));
    });
    const cancelled = measure(() => {
      for (const timer of timers) cancel(timer);
    });
    if (pending.length !== PENDING) throw new Error("Timers are missing");
    return { arm: armed, reset: resetting, cancel: cancelled };
  });
}
