/**
 * Checks the matrix of CPython's own tests (`tests/python_suite.ts`): that it
 * has each of them, that the tests here which it names pass, and that
 * `docs/reliability.md` shows it.
 *
 *     deno task test:python [--write]
 *
 * @module
 */

import { runCommand } from "../examples/command_line.ts";
import { read, ROOT } from "../tests/modules.ts";
import { findPython } from "../tests/peers.ts";
import { type Counterpart, GROUPS } from "../tests/python_suite.ts";
import { formatMarkdown } from "./format_markdown.ts";
import { withStd } from "./with_std.ts";

const USAGE = `\
Usage: deno task test:python [--write] [--help]

Compares the matrix of CPython's own tests with CPython 3.11, if that and its
tests are here, runs the tests here that it names, and looks for it in the docs.

  --write  put it into the docs first`;

const PAGE = "docs/reliability.md";
const CHAPTER = /^## CPython's own tests\n[^]*?(?=^## |(?![^]))/m;

/** Prints the names of CPython's tests, with those that a class inherits. */
const LIST = `
import sys, unittest
import test.test_asyncore, test.test_asynchat

def show(tests):
    for test in tests:
        if isinstance(test, unittest.TestSuite):
            show(test)
        else:
            print(test.id().removeprefix("test."))

assert sys.version_info[:2] == (3, 11)
for module in (test.test_asyncore, test.test_asynchat):
    show(unittest.defaultTestLoader.loadTestsFromModule(module))
`;

/** Every row of the matrix, by the name of the test of CPython. */
const ROWS = new Map<string, Counterpart>(
  GROUPS.flatMap(({ module, classes, tests }) =>
    classes.flatMap((name) =>
      Object.entries(tests).map(([test, row]) =>
        [`${module}.${name}.${test}`, row] as const
      )
    )
  ),
);

/** The names of CPython 3.11's tests, or `null` where they cannot be had. */
export async function listPython(): Promise<string[] | null> {
  const found = await findPython(LIST);
  return found && found.out.trimEnd().split(/\r?\n/);
}

/** What is wrong with the matrix, by CPython's own names. */
export function compareNames(names: string[]): string[] {
  return [
    ...names.filter((name) => !ROWS.has(name))
      .map((name) => `The matrix lacks ${name} of CPython`),
    ...[...ROWS.keys()].filter((name) => !names.includes(name))
      .map((name) => `CPython has no ${name}`),
  ];
}

/** The tests here that the matrix names, once each. */
function namedHere(): [file: string, name: string][] {
  const tests = [...ROWS.values()].flatMap(({ here }) =>
    Object.entries(here).flatMap(([file, names]) =>
      names.map((name): [string, string] => [file, name])
    )
  );
  return [...new Map(tests.map((test) => [`${test}`, test])).values()];
}

/** Runs these tests here: what is wrong with which. */
export async function runHere(): Promise<string[]> {
  const named = namedHere();
  const pattern = named.map(([, name]) => RegExp.escape(name)).join("|");
  const flags = ["-A", "--no-check", `--filter=/^(?:${pattern})$/`];
  const files = new Set(named.map(([file]) => `tests/${file}`));
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: await withStd(["test", ...flags, ...files]),
    cwd: ROOT,
    env: { NO_COLOR: "1" },
    stderr: "null",
  }).output();
  const results = new Map<string, string>();
  let file = "";
  for (const line of new TextDecoder().decode(stdout).split("\n")) {
    file = /^running .* from \.\/tests\/(.+)$/.exec(line)?.[1] ?? file;
    const [, name, result] = /^(.+) \.\.\. (ok|ignored|FAILED)\b/.exec(line) ??
      [];
    if (name) results.set(`${[file, name]}`, result!);
  }
  return named.flatMap((test) => {
    const result = results.get(`${test}`) ?? "is not there";
    return result === "ok" ? [] : [`${test.join(": ")} ${result}`];
  });
}

/** A class of CPython and its tests as a table. */
function tableOf({ module, classes, tests }: typeof GROUPS[number]): string {
  const rows = Object.entries(tests).map(([test, { here, note = "" }]) => {
    const names = Object.entries(here).map(([file, names]) =>
      `\`${file}\`: ${names.map((name) => `\`${name}\``).join(", ")}`
    );
    return `| \`${test}\` | ${names.join("; ") || "none"} | ${note} |`;
  });
  const heading = classes.map((name) => `\`${name}\``).join(", ");
  return `### \`${module}\`: ${heading}

| test of CPython | tests here | difference |
| --- | --- | --- |
${rows.join("\n")}
`;
}

/** The chapter of the docs that shows the matrix. */
export async function chapter(): Promise<string> {
  const rows = [...ROWS.values()];
  const without = rows.filter(({ here }) => Object.keys(here).length === 0);
  const text = `## CPython's own tests

CPython 3.11 has ${rows.length} tests of \`asyncore\` and \`asynchat\`. For
${rows.length - without.length} of them, tests here check the same, or the
difference that is wanted; for the other ${without.length}, the tables say why
there is none. CPython runs some classes twice, with \`select()\` and with
\`poll()\`. Here is [one way to wait](porting.md#the-loop), so each pair has one
table. \`deno task test:python\` compares the tables with CPython, and runs the
tests that they name.

${GROUPS.map(tableOf).join("\n")}`;
  return await formatMarkdown(text);
}

/** The chapter as the docs have it. */
export function chapterInDocs(): string {
  return (CHAPTER.exec(read(PAGE))?.[0] ?? "").trimEnd() + "\n";
}

async function main(isWriting: boolean): Promise<number> {
  const wanted = await chapter();
  if (isWriting) {
    const page = read(PAGE).replace(CHAPTER, () => wanted);
    await Deno.writeTextFile(new URL(PAGE, ROOT), page);
  }
  const names = await listPython();
  const problems = [
    ...names ? compareNames(names) : [],
    ...await runHere(),
    ...chapterInDocs() === wanted ? [] : [`${PAGE} is out of date: --write it`],
  ];
  for (const problem of problems) console.error(problem);
  if (!names) console.log("No CPython 3.11 with its tests is here");
  console.log(
    `${ROWS.size} tests of CPython in the matrix, ${namedHere().length} tests here, ` +
      `problems: ${problems.length}`,
  );
  return problems.length === 0 ? 0 : 1;
}

if (import.meta.main) {
  await runCommand(
    { help: USAGE, options: { write: { type: "boolean" } } },
    ({ write = false }) => main(write),
  );
}
