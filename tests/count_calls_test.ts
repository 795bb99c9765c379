import { assertEquals, assertLessOrEqual } from "@std/assert";
import { read, ROOT } from "./modules.ts";
import { runCommand } from "./peers.ts";

Deno.test("A message passes few calls, as many as docs/design.md says", async () => {
  const program = new URL("tools/count_calls.ts", ROOT).pathname;
  const { out, err } = await runCommand(Deno.execPath(), [
    "run",
    "-A",
    "--no-check",
    program,
  ]);
  const counts = [...out.matchAll(/: (\d+) calls$/gm)].map(([, n]) => +n!);
  assertEquals(counts.length, 3, err);
  const [reads, writes, closes] = counts as [number, number, number];
  assertLessOrEqual(reads, 14);
  assertLessOrEqual(writes, 8);
  assertEquals(closes, 1);
  const [, inDocs, outDocs] =
    /there are (\d+) calls\s[^.]*`handleRead\(\)`, (\d+)\s+from `send\(\)`/
      .exec(read("docs/design.md")) ?? [];
  assertEquals([inDocs, outDocs], [`${reads}`, `${writes}`]);
});
