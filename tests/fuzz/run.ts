/**
 * Throws random input at whatever takes bytes from a peer:
 *
 *     deno task fuzz [RUNS] [--only TEXT] [--seed SEED] [--path PATH]
 *
 * A property that is cheap to try is tried with RUNS inputs, 30,000 by default,
 * and a costly one with fewer in proportion. All of them together take about a
 * minute, and with 1,000 runs some ten seconds. A failure tells the smallest
 * input that was found, and the command that tries it again.
 *
 * @module
 */

import { runCommand } from "../../examples/command_line.ts";
import { quote } from "../../examples/quote.ts";
import { runWithStd } from "../../tools/with_std.ts";
import { COMMAND, type FuzzOptions, readOptions } from "./options.ts";

const folder = import.meta.dirname!;

/** The names of the properties in a file. */
function propertiesOf(path: string): string[] {
  const lines = Deno.readTextFileSync(path).matchAll(/^ {2}name: "(.+)",$/gm);
  return Array.from(lines, ([, name]) => name!);
}

/** Runs the files whose names end in `_fuzz.ts`, all with one seed. */
async function fuzz(options: FuzzOptions): Promise<number> {
  const files = Array.from(Deno.readDirSync(folder), ({ name }) => name)
    .filter((name) => name.endsWith("_fuzz.ts"))
    .map((name) => `${folder}/${name}`)
    .sort();
  const { only } = options;
  const names = files.flatMap(propertiesOf);
  if (only !== undefined && !names.some((name) => name.includes(only))) {
    console.error(`No property has ${quote(only)}`);
    return 1;
  }
  const flags = ["-A"];
  if (only) flags.push(`--filter=${only}`);
  const told = JSON.stringify(options);
  return await runWithStd(["test", ...flags, ...files, "--", told]);
}

await runCommand(
  COMMAND,
  (values, operands) => fuzz(readOptions(values, operands)),
);
