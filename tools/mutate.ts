/**
 * Shows that the tests notice: takes one protection after the other out of a
 * copy of the library, and expects the test that stands for it to fail.
 *
 *     deno task mutate [WORD…]
 *
 * With words, only the mutations whose promise, file or test contains them all.
 * The protections are listed in `tests/mutations`.
 *
 * @module
 */

import { dirname } from "node:path";
import { runCommand } from "../examples/command_line.ts";
import { quote } from "../examples/quote.ts";
import { type Mutation, MUTATIONS, placesOf } from "../tests/mutations/all.ts";
import { withStd } from "./with_std.ts";

const USAGE = `\
Usage: deno task mutate [WORD…] [--help]

Takes one protection after the other out of a copy of the library, and expects
the test that stands for it to fail.

  WORD  only those whose promise, file or test contains it, and all other words`;

const root = dirname(import.meta.dirname!);
/** How many ms a test may take: one that hangs has noticed, too. */
const LIMIT = 120_000;
const isColorful = Deno.stdout.isTerminal() && !Deno.noColor;

/** Copies what git knows, and what is new, into an empty directory. */
async function copyTo(directory: string): Promise<void> {
  const { stdout } = await new Deno.Command("git", {
    args: ["ls-files", "--cached", "--others", "--exclude-standard", "-z"],
    cwd: root,
  }).output();
  for (const path of new TextDecoder().decode(stdout).split("\0")) {
    if (path === "") continue;
    const folder = path.replace(/[^/]*$/, "");
    await Deno.mkdir(`${directory}/${folder}`, { recursive: true });
    await Deno.copyFile(`${root}/${path}`, `${directory}/${path}`)
      .catch((error) => {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      });
  }
}

/** Runs the test of a mutation in `directory`: whether it passes. */
async function passes(directory: string, mutation: Mutation): Promise<boolean> {
  const { test, filter } = mutation;
  const args = await withStd(["test", "-A", "--no-check", test]);
  if (filter !== undefined) args.push(`--filter=${filter}`);
  // The stand-ins of the copy, not those of this repository.
  const here = args.map((arg) => arg.replace(root, directory));
  const { success, stdout } = await new Deno.Command(Deno.execPath(), {
    args: here,
    cwd: directory,
    env: { NO_COLOR: "1" },
    stderr: "null",
    signal: AbortSignal.timeout(LIMIT),
  }).output();
  const report = new TextDecoder().decode(stdout);
  if (success && !/^ok \| [1-9]/m.test(report)) {
    throw new Error(`No test of ${test} is called "${filter}"`);
  }
  return success;
}

/** Puts the mutated text in the place of the original. */
function mutate(source: string, mutation: Mutation): string {
  const { file, from, to } = mutation;
  const places = placesOf(source, mutation);
  if (places.length !== 1) {
    throw new Error(`${file} has ${places.length} times: ${from}`);
  }
  const [found] = places[0]!;
  return source.replace(found, () => to);
}

/** Whether the test passes with the protection, and fails without it. */
async function isNoticed(
  directory: string,
  mutation: Mutation,
): Promise<boolean> {
  const path = `${directory}/${mutation.file}`;
  const original = await Deno.readTextFile(path);
  const mutated = mutate(original, mutation);
  if (!await passes(directory, mutation)) {
    throw new Error(`${mutation.test} fails with the protection in place`);
  }
  await Deno.writeTextFile(path, mutated);
  try {
    return !await passes(directory, mutation);
  } finally {
    await Deno.writeTextFile(path, original);
  }
}

function show(mark: "noticed" | "SURVIVED" | "BROKEN", text: string): void {
  const color = mark === "noticed" ? 32 : 31;
  const shown = isColorful ? `\x1b[${color}m${mark}\x1b[39m` : mark;
  console.log(`${shown} ${text}`);
}

async function main(words: string[]): Promise<number> {
  const chosen = MUTATIONS.filter(({ promise, file, test }) =>
    words.every((word) => `${promise} ${file} ${test}`.includes(word))
  );
  if (chosen.length === 0) {
    const all = words.map((word) => quote(word, Infinity)).join(" and ");
    console.error(`No mutation has ${all}`);
    return 1;
  }
  const directory = await Deno.makeTempDir();
  let bad = 0;
  try {
    await copyTo(directory);
    for (const [i, mutation] of chosen.entries()) {
      const { promise, file, test } = mutation;
      const text = `${i + 1}/${chosen.length} ${promise} (${file}, ${test})`;
      try {
        const noticed = await isNoticed(directory, mutation);
        if (!noticed) bad++;
        show(noticed ? "noticed" : "SURVIVED", text);
      } catch (error) {
        bad++;
        show("BROKEN", `${text}: ${(error as Error).message}`);
      }
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
  console.log(`${chosen.length - bad} of ${chosen.length} noticed`);
  return bad === 0 ? 0 : 1;
}

if (import.meta.main) {
  await runCommand(
    { help: USAGE, operands: ["WORD…"], isOptional: true },
    (_, words) => main(words),
  );
}
