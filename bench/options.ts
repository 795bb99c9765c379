/**
 * What the command line asks for.
 *
 * @module
 */

import {
  type Command,
  UsageError,
  type Values,
} from "../examples/command_line.ts";
import { quote } from "../examples/quote.ts";

/** See the usage. */
export interface Options {
  words: string[];
  json: boolean;
  rounds: number;
  seconds: number;
  /** The file of a run that was saved; `null` to measure. */
  from: string | null;
  plot: string | null;
  page: string | null;
  pin: boolean;
}

const FLAG = { type: "boolean" } as const;
const VALUE = { type: "string" } as const;
const OPTIONS = {
  json: FLAG,
  "no-pin": FLAG,
  rounds: VALUE,
  seconds: VALUE,
  from: VALUE,
  plot: VALUE,
  page: VALUE,
};

/** How it is called. */
export const COMMAND = {
  help: `\
Usage: deno task bench [OPTION…] [WORD…] [--help]

Measures the library next to its peers.

  WORD         a load: echo, echo-1, echo-64, echo-5000, echo-16k, echo-256k,
               tls, churn, idle, lines, files, timers, import; all without any
  --rounds N   how often to measure each server, by turns; 12
  --seconds S  how long to measure each time; 0.25: many short turns see the
               same machine, whatever else it does
  --json       print all that was measured, for machines
  --no-pin     let the system choose the processors: where others are busy, too
  --from FILE  measure nothing: show what an earlier run with --json printed
  --plot FILE  draw ten loads at a glance
  --page FILE  renew the tables of a Markdown file, between its marks`,
  options: OPTIONS,
  operands: ["WORD…"],
  isOptional: true,
} satisfies Command<typeof OPTIONS>;

/**
 * Reads the command line.
 *
 * @throws {UsageError} If an option has a wrong value.
 */
export function readOptions(
  values: Values<typeof OPTIONS>,
  words: string[],
): Options {
  const { json = false, "no-pin": noPin = false } = values;
  const { from = null, plot = null, page = null } = values;
  for (const [name, file] of Object.entries({ from, plot, page })) {
    if (file === "") throw new UsageError(`--${name} needs the name of a file`);
  }
  if (from !== null && words.length > 0) {
    throw new UsageError(
      `--from shows a whole run: take away ${quote(words[0]!)}`,
    );
  }
  const { rounds = "12", seconds = "0.25" } = values;
  return {
    words,
    json,
    rounds: Math.ceil(numberOf("--rounds", rounds)),
    seconds: numberOf("--seconds", seconds),
    ...{ from, plot, page },
    pin: !noPin,
  };
}

function numberOf(name: string, text: string): number {
  const value = Number(text);
  if (value > 0 && Number.isFinite(value)) return value;
  throw new UsageError(
    `${name} must be a number above 0, got ${quote(text)}`,
  );
}
