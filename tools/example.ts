/**
 * Runs an example by its name: `deno task example echo_server --serve 8080`.
 *
 * @module
 */

import { runWithStd } from "./with_std.ts";

const folder = `${import.meta.dirname}/../examples`;
const names = Array.from(Deno.readDirSync(folder), (entry) => entry.name)
  .filter((name) => name.endsWith(".ts") && isProgram(`${folder}/${name}`))
  .map((name) => name.slice(0, -".ts".length))
  .sort();

/** A program opens with its command; the modules that programs share do not. */
function isProgram(path: string): boolean {
  return Deno.readTextFileSync(path).includes(" deno run --allow-");
}

const usage = `\
Usage: deno task example NAME [ARGS], where NAME is one of ${names.join(", ")}

Most of them tell about their ARGS with --help.`;

const [given = "", ...args] = Deno.args;
if (given === "--help" || given === "-h") {
  console.log(usage);
  Deno.exit(0);
}
const name = given.replace(/\.ts$/, "");
if (!names.includes(name)) {
  const problem = given
    ? `There is no example ${JSON.stringify(given)}`
    : "NAME is missing";
  console.error(`${problem}. ${usage.split("\n", 1)}`);
  Deno.exit(2);
}

// A task starts at the repo's root; a path in ARGS is meant from where the user is.
Deno.chdir(Deno.env.get("INIT_CWD") ?? ".");
// What an example may do stands in the command that it opens with.
const [, flags = ""] = / deno run ((?:--allow-\S+ )*)/
  .exec(Deno.readTextFileSync(`${folder}/${name}.ts`)) ?? [];
// A name in capitals, as in --allow-read=ROOT, stands for one of ARGS.
const permissions = flags.split(" ").filter(Boolean)
  .map((flag) => flag.replace(/=[A-Z]+$/, ""));
Deno.exit(
  await runWithStd(["run", ...permissions, `${folder}/${name}.ts`, ...args]),
);
