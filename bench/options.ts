/**
 * What the command line asks for.
 *
 * @module
 */

/** See the usage. */
export interface Options {
  words: string[];
  json: boolean;
  rounds: number;
  seconds: number;
  plot: string | null;
  pin: boolean;
}

/** Shown when the command line is wrong. */
export const USAGE =
  `deno task bench [--json] [--no-pin] [--rounds N] [--seconds S] [--plot FILE.svg] [WORD...]

  WORD         a load: echo, echo-1, echo-64, echo-5000, echo-16k, echo-256k,
               tls, churn, idle, lines, files, timers, import; all without any
  --rounds N   how often to measure each server, by turns; 12
  --seconds S  how long to measure each time; 0.25: many short turns see the
               same machine, whatever else it does
  --json       print all that was measured, for machines
  --no-pin     let the system choose the processors: where others are busy, too
  --plot FILE  draw the cost of a message against the number of connections`;

function numberOf(name: string, text: string | undefined): number {
  const value = Number(text);
  if (text && value > 0 && Number.isFinite(value)) return value;
  throw new TypeError(`${name} takes a number above 0, got "${text ?? ""}"`);
}

/**
 * Reads the command line.
 *
 * @throws {TypeError} If it is wrong.
 */
export function parseOptions(args: string[]): Options {
  const options: Options = {
    words: [],
    json: false,
    rounds: 12,
    seconds: 0.25,
    plot: null,
    pin: true,
  };
  const rest = args.flatMap((arg) =>
    arg.startsWith("--") ? arg.split(/=(.*)/, 2) : [arg]
  );
  for (let arg; (arg = rest.shift()) !== undefined;) {
    if (arg === "--json") options.json = true;
    else if (arg === "--no-pin") options.pin = false;
    else if (arg === "--rounds") {
      options.rounds = Math.ceil(numberOf(arg, rest.shift()));
    } else if (arg === "--seconds") {
      options.seconds = numberOf(arg, rest.shift());
    } else if (arg === "--plot") {
      const file = rest.shift();
      if (!file) throw new TypeError("--plot takes the name of a file");
      options.plot = file;
    } else if (arg.startsWith("-")) {
      throw new TypeError(`There is no option ${arg}`);
    } else options.words.push(arg);
  }
  return options;
}
