/** Whether this thread comes round in time: a busy machine proves nothing about haste. */

/** Later than this, in ms, a turn tells that there is enough to do. */
const MOST_LAG = 50;

let laggedAt = -Infinity;

/** A turn that was due after `wanted` ms came after `taken`; is that late? */
export function noteTurn(wanted: number, taken: number): boolean {
  const isLate = taken > wanted + MOST_LAG;
  if (isLate) laggedAt = performance.now();
  return isLate;
}

/** Whether all turns since `time` have come in time. */
export function wasPunctualSince(time: number): boolean {
  return laggedAt < time;
}
