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

import { runWithStd } from "../../tools/with_std.ts";
import { parseOptions, USAGE } from "./options.ts";

const folder = import.meta.dirname!;

/** Runs the files whose names end in `_fuzz.ts`, all with one seed. */
async function fuzz(args: string[]): Promise<number> {
  const options = parseOptions(args);
  if (options === null) {
    console.error(USAGE);
    return 2;
  }
  const files = Array.from(Deno.readDirSync(folder), ({ name }) => name)
    .filter((name) => name.endsWith("_fuzz.ts"))
    .map((name) => `${folder}/${name}`)
    .sort();
  if (options.seed === undefined) {
    const seed = Math.floor(Math.random() * 2 ** 31);
    args = [...args, "--seed", `${seed}`];
  }
  const flags = ["-A"];
  if (options.only) flags.push(`--filter=${options.only}`);
  return await runWithStd(["test", ...flags, ...files, "--", ...args]);
}

Deno.exit(await fuzz(Deno.args));
