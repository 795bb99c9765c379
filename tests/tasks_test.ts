/** How the developer's tasks are called: what is wrong is said in one line. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { findPairs } from "../ports/run.ts";
import { Child, type Result, runCommand } from "./peers.ts";

const WITH_STD = import.meta.resolve("../tools/with_std.ts");

/** Runs a task with arguments that keep it from its work. */
async function run(task: string, ...args: string[]): Promise<Result> {
  const command = ["task", "--quiet", task, ...args];
  await using child = new Child(Deno.execPath(), command);
  return await child.end();
}

/** What is wrong with each call. */
const REFUSALS: Record<string, [args: string[], complaint: string][]> = {
  fuzz: [
    ...["abc", "0", "1.5", ""].map((runs): [string[], string] => [
      [runs],
      `RUNS must be a whole number from 1 to 999999999, got "${runs}"`,
    ]),
    [["-5"], 'Unknown option "-5"'],
    [["-12"], 'Unknown option "-12"'],
    [["5", "6"], 'Unexpected argument "6"'],
    [["--seed", "x"], '--seed must be a whole number, got "x"'],
    [["--seed=1", "--seed=2"], "--seed is given twice"],
    [
      ["--path", "x"],
      '--path must be numbers with colons between them, got "x"',
    ],
  ],
  soak: [
    ...["abc", "0", "0.0"].map((minutes): [string[], string] => [
      [minutes],
      `MINUTES must be a number above 0 and below 10000, got "${minutes}"`,
    ]),
    [["-1"], 'Unknown option "-1"'],
    [["--seed"], "--seed needs a value"],
    [
      ["--seed", "x", "0.01"],
      '--seed must be a whole number from 0 to 9999999999, got "x"',
    ],
    [
      ["--only=1.5"],
      '--only must be a whole number from 0 to 9999999999, got "1.5"',
    ],
  ],
  bench: [
    [["--foo"], 'Unknown option "--foo"'],
    [["--rounds", "x"], '--rounds must be a number above 0, got "x"'],
    [["--seconds"], "--seconds needs a value"],
  ],
  mutate: [[["--foo"], 'Unknown option "--foo"']],
  ports: [
    [["--foo"], 'Unknown option "--foo"'],
    [
      ["spam"],
      `There is no pair called "spam": take one of ${
        findPairs().map(({ name }) => name).join(", ")
      }`,
    ],
  ],
  "test:python": [[["spam"], 'Unexpected argument "spam"']],
};

for (const [task, cases] of Object.entries(REFUSALS)) {
  Deno.test(`deno task ${task} says what is wrong with which value`, async () => {
    for (const [args, complaint] of cases) {
      const { code, out, err } = await run(task, ...args);
      assertEquals({ code, out }, { code: 2, out: "" });
      const prefix = `${complaint}. Usage: deno task ${task} `;
      assert(err.startsWith(prefix), err);
      assertMatch(err, /^.+\n$/);
    }
  });

  Deno.test(`deno task ${task} explains itself with --help`, async () => {
    const { code, out, err } = await run(task, "--help");
    assertEquals({ code, err }, { code: 0, err: "" });
    assertMatch(out, RegExp(`^Usage: deno task ${task} .*\n\n.+\n`));
  });
}

Deno.test("deno task bench names a load that there is not, and all that there are", async () => {
  const { code, out, err } = await run("bench", "zzz");
  assertEquals({ code, out }, { code: 2, out: "" });
  assertMatch(err, /^No load is called "zzz": take one of echo-1, .+\n$/);
});

Deno.test("deno task test says which Deno the tests need", async () => {
  const program = `
    import { withStd } from ${JSON.stringify(WITH_STD)};
    for (const deno of ["2.6.10", "2.9.4", "2.9.5", "2.10.0", "3.0.0"]) {
      Object.defineProperty(Deno, "version", {
        configurable: true,
        value: { deno },
      });
      await withStd(["test", "--no-config"]); // how test:core runs
      await withStd(["test"]).catch(({ message }) => console.log(message));
    }`;
  const { code, out } = await runCommand(Deno.execPath(), ["eval", program]);
  assertEquals(code, 0);
  const [first, second, ...rest] = out.trimEnd().split("\n");
  assertMatch(first!, /^The tests need Deno 2\.9\.5 .* this is 2\.6\.10: .+$/);
  assertMatch(second!, /^The tests need Deno 2\.9\.5 .* this is 2\.9\.4: .+$/);
  assertEquals(rest, []);
});

Deno.test("deno task mutate and fuzz name the words that nothing has", async () => {
  assertEquals(await run("mutate", "spam", "e\ngg"), {
    code: 1,
    out: "",
    err: 'No mutation has "spam" and "e\\ngg"\n',
  });
  assertEquals(await run("fuzz", "--only", "spam"), {
    code: 1,
    out: "",
    err: 'No property has "spam"\n',
  });
});
