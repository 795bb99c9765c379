/** The programs of `ports/` do what their originals in Python do. */

import { assertEquals, assertGreater } from "@std/assert";
import {
  differences,
  findOriginals,
  findPairs,
  missingFor,
  runPair,
  table,
  tableInDocs,
} from "../ports/run.ts";
import { ROOT } from "./modules.ts";
import { runCommand } from "./peers.ts";

const pairs = findPairs();
const python = await findOriginals();

for (const pair of pairs) {
  const missing = missingFor(pair, python);
  const skipped = missing.length > 0
    ? ` (skipped: there is no ${missing.join(", no ")})`
    : "";
  Deno.test({
    name: `ports/${pair.name}.ts does what its original does${skipped}`,
    ignore: missing.length > 0,
    async fn() {
      const { original, port } = await runPair(pair, python!);
      assertGreater(original.split("\n").length, 10);
      assertEquals(differences(original, port), []);
    },
  });
}

Deno.test("docs/porting.md shows the pairs", async () => {
  assertGreater(pairs.length, 0);
  assertEquals(tableInDocs(), await table(pairs));
});

Deno.test("ports/ passes the strictest checks of types", async () => {
  const files = pairs.map(({ name }) => `${ROOT.href}ports/${name}.ts`);
  const config = `${import.meta.dirname}/../ports/strict.json`;
  const check = ["check", "--config", config, ...files];
  const { code, err } = await runCommand(Deno.execPath(), check);
  assertEquals(code, 0, err);
});

Deno.test("differences() shows the lines that two transcripts do not share", () => {
  assertEquals(differences("a\nb\n", "a\nb\n"), []);
  assertEquals(differences("a\nb\nc\nd\n", "a\nB\nC\nd\n"), [
    "  a",
    "- b",
    "- c",
    "+ B",
    "+ C",
  ]);
  assertEquals(differences("a\n", "a\na\n"), ["  a", "+ a"]);
  assertEquals(differences("", "a\n"), ["+ a"]);
  const many = "a\n".repeat(100);
  assertEquals(differences("", many).at(-1), "  … 60 more lines");
});
