/**
 * What is made of the samples of several rounds.
 *
 * @module
 */

/** What one round has measured of one server, by the name of the metric. */
export type Sample = Record<string, number>;

/** A metric of one server over all rounds. */
export interface Summary {
  /** The median of the rounds. */
  median: number;
  /** The median of the ratios to the reference in the same round. */
  ratio: number;
  /** The median of the differences to the reference in the same round. */
  difference: number;
  /** One value for each round. */
  values: number[];
}

/** The middle value, or the mean of the two middle ones; NaN without any. */
export function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? sorted[middle]!
    : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Sums up each metric, compared round by round to the reference. */
export function summarize(
  samples: Sample[],
  reference: Sample[],
): Record<string, Summary> {
  const summaries: Record<string, Summary> = {};
  for (const metric of Object.keys(samples[0] ?? {})) {
    const values = samples.map((sample) => sample[metric]!);
    const rivals = reference.map((sample) => sample[metric]!);
    summaries[metric] = {
      median: median(values),
      ratio: median(values.map((value, i) => value / rivals[i]!)),
      difference: median(values.map((value, i) => value - rivals[i]!)),
      values,
    };
  }
  return summaries;
}
