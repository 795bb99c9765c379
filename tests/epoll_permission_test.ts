/** What the second engine needs, in processes with that permission and without. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { HAS_EPOLL } from "./epoll_faults.ts";
import { Child } from "./peers.ts";

const PROGRAM = "tools/test_programs/epoll_pair.ts";

/** The C library, where Debian and others have it. */
const LIBC = `/lib/${Deno.build.arch}-linux-gnu/libc.so.6`;

function isThere(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

/** What the program prints with a permission. */
async function run(...permissions: string[]): Promise<string> {
  const args = ["run", "--quiet", "--no-prompt", "--no-check", ...permissions];
  await using child = new Child(Deno.execPath(), [...args, PROGRAM]);
  return await child.endWell();
}

Deno.test({
  name: "epollNetwork needs --allow-ffi for the C library, and nothing else",
  ignore: !HAS_EPOLL || !isThere(LIBC),
  fn: async () => {
    assertEquals(await run(`--allow-ffi=${LIBC}`), "served");
  },
});

Deno.test("epollNetwork without --allow-ffi says what it needs", async () => {
  const said = await run();
  const what = "false NotSupported: ";
  assertEquals(said.slice(0, what.length), what);
  const needs = Deno.build.os === "linux" ? "--allow-ffi" : "Linux";
  assertStringIncludes(
    said,
    `epollNetwork cannot be used here: it needs ${needs}`,
  );
});
