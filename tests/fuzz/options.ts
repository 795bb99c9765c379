/** What `deno task fuzz` can be told. */

import {
  type Command,
  parseWhole,
  UsageError,
  type Values,
} from "../../examples/command_line.ts";
import { quote } from "../../examples/quote.ts";

/** How the properties are tried. */
export interface FuzzOptions {
  /** How many inputs a cheap property is tried with; a costly one with fewer. */
  runs: number;
  /** Try only properties whose names contain this. */
  only?: string;
  /** Where the random numbers begin. */
  seed: number;
  /** Try the one input that a failure was reported with. */
  path?: string;
}

const TEXT = { type: "string" } as const;
const OPTIONS = { only: TEXT, seed: TEXT, path: TEXT };

/** How it is called. */
export const COMMAND = {
  help: `\
Usage: deno task fuzz [RUNS] [--only TEXT] [--seed SEED] [--path PATH] [--help]

Throws random input at whatever takes bytes from a peer.

  RUNS         how many inputs a cheap property is tried with; 30,000 by default,
               which takes about a minute
  --only TEXT  try only properties whose names contain it
  --seed SEED  where the random numbers begin
  --path PATH  try the one input that a failure was reported with`,
  options: OPTIONS,
  operands: ["RUNS"],
  isOptional: true,
} satisfies Command<typeof OPTIONS>;

/**
 * Takes the arguments apart.
 *
 * @throws {UsageError} If one is wrong.
 */
export function readOptions(
  { only, seed, path }: Values<typeof OPTIONS>,
  [runs = "30000"]: string[],
): FuzzOptions {
  if (seed !== undefined && !/^-?\d{1,10}$/.test(seed)) {
    throw new UsageError(`--seed must be a whole number, got ${quote(seed)}`);
  }
  if (path !== undefined && !/^\d+(?::\d+)*$/.test(path)) {
    throw new UsageError(
      `--path must be numbers with colons between them, got ${quote(path)}`,
    );
  }
  return {
    runs: parseWhole("RUNS", runs, 1, 999_999_999),
    seed: seed === undefined
      ? Math.floor(Math.random() * 2 ** 31)
      : Number(seed) | 0,
    ...only !== undefined && { only },
    ...path !== undefined && { path },
  };
}
