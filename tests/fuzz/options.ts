/** What `deno task fuzz` can be told. */

/** How the properties are tried. */
export interface FuzzOptions {
  /** How many inputs a cheap property is tried with; a costly one with fewer. */
  runs: number;
  /** Try only properties whose names contain this. */
  only?: string;
  /** Where the random numbers begin. */
  seed?: number;
  /** Try the one input that a failure was reported with. */
  path?: string;
}

/** With so many runs, all properties together take about a minute. */
const RUNS = 30_000;

export const USAGE =
  "Usage: deno task fuzz [RUNS] [--only TEXT] [--seed SEED] [--path PATH]";

/** Takes the arguments apart; `null` if they are unclear. */
export function parseOptions(args: string[]): FuzzOptions | null {
  const options: FuzzOptions = { runs: RUNS };
  for (let at = 0; at < args.length; at++) {
    const arg = args[at]!;
    if (/^\d{1,9}$/.test(arg) && Number(arg) > 0) options.runs = Number(arg);
    else {
      const value = args[++at];
      if (value === undefined) return null;
      if (arg === "--only") options.only = value;
      else if (arg === "--seed" && /^-?\d{1,10}$/.test(value)) {
        options.seed = Number(value) | 0;
      } else if (arg === "--path" && /^\d+(?::\d+)*$/.test(value)) {
        options.path = value;
      } else return null;
    }
  }
  return options;
}
