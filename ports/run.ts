/**
 * Runs each original and its port beside one another, drives both with the same
 * clients, and compares what these saw and what the programs logged.
 *
 *     deno task ports [--write] [NAME…]
 *
 * A pair is `ports/NAME.py`, `ports/NAME.ts` and `ports/drivers/NAME.py`. The
 * permissions of the port stand in the command that it opens with. The driver
 * opens with a line such as `Needs: curl, nc`: the clients that it starts.
 *
 * @module
 */

import { runCommand, UsageError } from "../examples/command_line.ts";
import { quote } from "../examples/quote.ts";
import { read, ROOT } from "../tests/modules.ts";
import { findPython, hasCommand } from "../tests/peers.ts";
import { formatMarkdown } from "../tools/format_markdown.ts";

const USAGE = `\
Usage: deno task ports [--write] [--help] [NAME…]

Runs each program of ports/ and its original in Python, or those that are
named, and compares what their clients see.

  --write  put the table of all pairs into docs/porting.md`;

export const PAGE = "docs/porting.md";
const TABLE =
  /(?<=<!-- ports: deno task ports --write -->\n)[^]*?(?=<!-- \/ports -->)/;
/** A driver that has not ended by then, in ms, waits for something in vain. */
const PATIENCE = 120_000;
/** How many lines of a difference are shown. */
const MOST_SHOWN = 40;

/** An original, its port, and the driver of both. */
export interface Pair {
  name: string;
  /** The clients that the driver starts. */
  clients: string[];
  /** The flags of the port's `deno run`. */
  flags: string[];
}

/** Every pair of the folder, by its name. */
export function findPairs(): Pair[] {
  return [...Deno.readDirSync(new URL("ports/", ROOT))]
    .filter(({ name }) => name.endsWith(".py"))
    .map(({ name }) => pairOf(name.slice(0, -".py".length)))
    .sort((a, b) => a.name < b.name ? -1 : 1);
}

function pairOf(name: string): Pair {
  const [, intro = ""] =
    /^"""([^]*?)"""/.exec(read(`ports/drivers/${name}.py`)) ?? [];
  const [, clients = ""] = /^Needs: (.*)$/m.exec(intro) ?? [];
  const [, flags = ""] =
    / deno run ((?:--\S+ )+)/.exec(read(`ports/${name}.ts`)) ?? [];
  return {
    name,
    clients: clients.split(", ").filter(Boolean),
    // A name in capitals, as in --allow-read=FOLDER, stands for an argument.
    flags: flags.trim().split(" ").map((flag) => flag.replace(/=[A-Z]+$/, "")),
  };
}

/** The needs of a pair that are not on this machine. */
export function missingFor(pair: Pair, python: string | null): string[] {
  return [
    // Elsewhere sockets and signals differ.
    ...Deno.build.os === "linux" ? [] : ["Linux"],
    ...python === null ? ["Python with asyncore"] : [],
    ...pair.clients.filter((client) => !hasCommand(client, "--version")),
  ];
}

/** The Python that has asyncore, asynchat and smtpd; `null` if none is here. */
export async function findOriginals(): Promise<string | null> {
  // Its own path: a wrapper, as of pyenv, would cost each start a shell.
  const program =
    "import asyncore, asynchat, smtpd, sys; print(sys.executable)";
  const found = await findPython(program);
  return found && found.out.trim();
}

/**
 * Drives the original of a pair or its port.
 *
 * @returns The transcript.
 * @throws {Error} If the driver fails: it waited for something in vain.
 */
async function drive(
  { name }: Pair,
  python: string,
  program: string[],
): Promise<string> {
  const child = new Deno.Command(python, {
    args: ["-W", "ignore", `ports/drivers/${name}.py`, ...program],
    cwd: ROOT,
    env: { PYTHONDONTWRITEBYTECODE: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const deadline = setTimeout(() => child.kill("SIGTERM"), PATIENCE);
  const { success, stdout, stderr } = await child.output();
  clearTimeout(deadline);
  const [out, err] = [stdout, stderr].map((data) =>
    new TextDecoder().decode(data)
  );
  if (success) return out!;
  throw new Error(`The driver of ${program.join(" ")} failed:\n${out}${err}`);
}

/** Drives a pair, both at once: the two transcripts. */
export async function runPair(
  pair: Pair,
  python: string,
): Promise<{ original: string; port: string }> {
  const file = `ports/${pair.name}`;
  const runs = [
    drive(pair, python, [python, "-W", "ignore", `${file}.py`]),
    drive(pair, python, [Deno.execPath(), "run", ...pair.flags, `${file}.ts`]),
  ] as const;
  await Promise.allSettled(runs); // If one fails, the other one ends, too.
  const [original, port] = await Promise.all(runs);
  return { original, port };
}

/** The lines in which two transcripts differ, with the last line before them. */
export function differences(original: string, port: string): string[] {
  if (original === port) return [];
  const [a, b] = [original.split("\n"), port.split("\n")];
  let start = 0;
  while (a[start] === b[start] && start < a.length) start++;
  let same = 0;
  const most = Math.min(a.length, b.length) - start;
  while (same < most && a.at(-1 - same) === b.at(-1 - same)) same++;
  const shown = [
    ...a.slice(Math.max(0, start - 1), start).map((line) => `  ${line}`),
    ...a.slice(start, a.length - same).map((line) => `- ${line}`),
    ...b.slice(start, b.length - same).map((line) => `+ ${line}`),
  ];
  const more = shown.length - MOST_SHOWN;
  return more <= 0
    ? shown
    : [...shown.slice(0, MOST_SHOWN), `  … ${more} more lines`];
}

/** The table of the docs. */
export async function table(pairs: Pair[]): Promise<string> {
  const count = (path: string) => read(path).trimEnd().split("\n").length;
  const rows = pairs.map(({ name, clients }) =>
    `| \`${name}\` | ${count(`ports/${name}.py`)} | ${
      count(`ports/${name}.ts`)
    } | ${clients.join(", ") || "none"} | the same |`
  );
  const text =
    `| pair | lines of Python | lines of the port | other clients | transcripts |
| --- | --- | --- | --- | --- |
${rows.join("\n")}
`;
  return `\n${await formatMarkdown(text)}\n`;
}

/** The table as the docs have it. */
export function tableInDocs(): string {
  return TABLE.exec(read(PAGE))?.[0] ?? "";
}

/** Runs a pair and prints a line about it, and how it differs. */
async function report(pair: Pair, python: string | null): Promise<boolean> {
  const missing = missingFor(pair, python);
  const name = pair.name.padEnd(18);
  if (missing.length > 0) {
    console.log(`${name} skipped: no ${missing.join(", no ")}`);
    return true;
  }
  const start = performance.now();
  const { original, port } = await runPair(pair, python!);
  const wrong = differences(original, port);
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  const lines = original.trimEnd().split("\n").length;
  const result = wrong.length > 0 ? "DIFFERS" : "the same";
  console.log(`${name} ${lines} lines, ${seconds} s: ${result}`);
  for (const line of wrong) console.log(`    ${line}`);
  return wrong.length === 0;
}

async function main(isWriting: boolean, names: string[]): Promise<number> {
  const pairs = findPairs();
  const unknown = names.find((name) =>
    !pairs.some((pair) => pair.name === name)
  );
  if (unknown !== undefined) {
    const known = pairs.map(({ name }) => name).join(", ");
    throw new UsageError(
      `There is no pair called ${quote(unknown)}: take one of ${known}`,
    );
  }
  const python = await findOriginals();
  let isWell = true;
  for (const pair of pairs) {
    if (names.length > 0 && !names.includes(pair.name)) continue;
    isWell = await report(pair, python).catch((error) => {
      console.log(`${pair.name.padEnd(18)} FAILED\n${error.message}`);
      return false;
    }) && isWell;
  }
  const wanted = await table(pairs);
  if (isWriting) {
    const page = read(PAGE).replace(TABLE, () => wanted);
    await Deno.writeTextFile(new URL(PAGE, ROOT), page);
  } else if (tableInDocs() !== wanted) {
    console.log(`${PAGE} is out of date: --write it`);
    isWell = false;
  }
  return isWell ? 0 : 1;
}

if (import.meta.main) {
  await runCommand(
    {
      help: USAGE,
      options: { write: { type: "boolean" } },
      operands: ["NAME…"],
      isOptional: true,
    },
    ({ write = false }, names) => main(write, names),
  );
}
