/**
 * The fate of the memory that the garbage collector frees. It belongs to the
 * whole process, so the tests look at a process of its own.
 */

import { assertGreaterOrEqual, assertLess } from "@std/assert";
import { runCommand } from "./peers.ts";

Deno.test({
  name:
    "recv() of large messages does not have its memory given back each time",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    const file =
      `${import.meta.dirname}/../tools/test_programs/large_messages.ts`;
    const args = ["run", "-A", "--no-check", file];
    const { out, err } = await runCommand(Deno.execPath(), args);
    const faults = Number(out || NaN);
    assertGreaterOrEqual(faults, 0, err);
    // Of four pages that a message has; with memory given back it is 2 and more.
    assertLess(faults, 1);
  },
});
