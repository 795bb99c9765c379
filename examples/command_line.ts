/**
 * Reads the arguments of the examples and of the repository's tasks: `--help`
 * prints the usage, and a wrong call gets one line on standard error and the
 * exit code 2.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { quote } from "./quote.ts";

/** A wrong call: the message names the argument and its value. */
export class UsageError extends Error {}

/** Options by their names: a `"string"` takes a value, a `"boolean"` none. */
export type Options = Record<string, { type: "string" | "boolean" }>;

/** The options that were given. */
export type Values<O extends Options> = {
  [Name in keyof O]?: O[Name]["type"] extends "string" ? string : boolean;
};

/** The arguments that a program takes. */
export interface Command<O extends Options> {
  /** The text that `--help` prints. Its first line is the usage. */
  help: string;
  options?: O;
  /** Names of the arguments that are no options; after `URL…` come any number. */
  operands?: string[];
  /** The operands may be left out, all together. */
  isOptional?: boolean;
}

/** Runs a program with the arguments of this process, and sets the exit code. */
export async function runCommand<const O extends Options>(
  command: Command<O>,
  main: (values: Values<O>, operands: string[]) => number | Promise<number>,
): Promise<void> {
  try {
    const given = parse(command, Deno.args);
    if (given === null) console.log(command.help);
    else Deno.exitCode = await main(given.values, given.operands);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    const [usage] = command.help.split("\n", 1);
    console.error(`${error.message}. ${usage}`);
    Deno.exitCode = 2;
  }
}

/** The options and operands in `args`, or `null` if they ask for help. */
function parse<O extends Options>(command: Command<O>, args: string[]) {
  const help = { type: "boolean", short: "h" } as const;
  const options: Options = { ...command.options, help };
  const { values, positionals, tokens } = parseArgs({
    args,
    options,
    allowPositionals: true,
    tokens: true,
    strict: false, // its own complaints take several lines and name no value
  });
  if (values["help"] === true) return null;
  const seen = new Set<string>();
  for (const token of tokens) {
    if (token.kind !== "option") continue;
    const { name, rawName, value, index } = token;
    if (!Object.hasOwn(options, name)) {
      const shown = rawName.startsWith("--") ? rawName : args[index]!;
      throw new UsageError(`Unknown option ${quote(shown)}`);
    }
    if (seen.has(name)) throw new UsageError(`${rawName} is given twice`);
    seen.add(name);
    const { type } = options[name]!;
    if (type === "string" && value === undefined) {
      throw new UsageError(`${rawName} needs a value`);
    }
    if (type === "boolean" && value !== undefined) {
      throw new UsageError(`${rawName} takes no value, got ${quote(value)}`);
    }
  }
  checkOperands(command, positionals);
  return { values: values as Values<O>, operands: positionals };
}

function checkOperands(
  { operands: names = [], isOptional = false }: Command<Options>,
  given: string[],
) {
  if (given.length === 0 && isOptional) return;
  const missing = names[given.length];
  if (missing) throw new UsageError(`${missing} is missing`);
  const unexpected = given[names.length];
  if (unexpected === undefined || names.at(-1)?.endsWith("…")) return;
  throw new UsageError(`Unexpected argument ${quote(unexpected)}`);
}

/**
 * The whole number that is called `name`.
 *
 * @throws {UsageError} If the text is none, or not in the range.
 */
export function parseWhole(
  name: string,
  text: string,
  lowest: number,
  highest: number,
): number {
  const number = /^\d{1,15}$/.test(text) ? Number(text) : NaN;
  if (number >= lowest && number <= highest) return number;
  throw new UsageError(
    `${name} must be a whole number from ${lowest} to ${highest}, got ${
      quote(text)
    }`,
  );
}

/**
 * The number of a port; without a text 0, which stands for any free one.
 *
 * @throws {UsageError} If it is none, or lower than `lowest`.
 */
export function parsePort(text = "0", lowest = 0): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : NaN;
  if (port >= lowest && port <= 65_535) return port;
  throw new UsageError(
    `PORT must be from ${lowest} to 65535, got ${quote(text)}`,
  );
}
