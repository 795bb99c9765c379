/** The matrix of CPython's own tests says what is so. */

import { assertEquals } from "@std/assert";
import {
  chapter,
  chapterInDocs,
  compareNames,
  listPython,
  runHere,
} from "../tools/python_suite.ts";

const names = await listPython();

Deno.test({
  name:
    "The matrix has each test of CPython's suite (skipped where there is no CPython 3.11 with its tests)",
  ignore: names === null,
  fn: () => assertEquals(compareNames(names!), []),
});

Deno.test("The matrix names tests that are here and pass", async () => {
  assertEquals(await runHere(), []);
});

Deno.test("docs/reliability.md shows the matrix", async () => {
  assertEquals(chapterInDocs(), await chapter());
});
