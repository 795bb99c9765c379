/** Files that change, break or never answer while they are read and written. */

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertLess,
  assertStringIncludes,
} from "@std/assert";
import {
  giveThread,
  mayBlock,
  MOST_READS,
  takeThread,
} from "../core/blocking_threads.ts";
import { LogLines, loopToEnd, pattern } from "./fakes.ts";
import { runCommand } from "./peers.ts";
import { bytes, loopUntil, ScopedMap, type TestMap } from "./support.ts";
import { hasFifos, onWindows, Reader, Scratch } from "./files.ts";
import { Buffer } from "node:buffer";

const isLinux = Deno.build.os === "linux";

const LARGE = pattern(4 << 20);

/** A reader that has begun with a large file. */
async function begin(map: TestMap, scratch: Scratch) {
  const path = scratch.file(LARGE);
  const reader = new Reader(map, await Deno.open(path));
  await loopUntil(map, () => reader.chunks.length > 0);
  return { path, reader };
}

Deno.test("FileDispatcher ends in good order when its file is truncated while it is read", async () => {
  await using map = new ScopedMap();
  using scratch = new Scratch();
  const { path, reader } = await begin(map, scratch);
  Deno.truncateSync(path, 0);
  await loopToEnd(map);
  assertEquals([reader.closes, reader.errors], [1, []]);
  const received = Buffer.concat(reader.chunks);
  assertLess(received.length, LARGE.length);
  assert(received.equals(LARGE.subarray(0, received.length)));
});

Deno.test({
  name: "FileDispatcher reads a file out that is deleted meanwhile",
  ignore: onWindows, // which refuses to delete it
  async fn() {
    await using map = new ScopedMap();
    using scratch = new Scratch();
    const { path, reader } = await begin(map, scratch);
    Deno.removeSync(path);
    await loopToEnd(map);
    assertEquals([reader.closes, reader.errors], [1, []]);
    assert(Buffer.concat(reader.chunks).equals(LARGE));
  },
});

Deno.test("FileDispatcher reads what is appended while it is read", async () => {
  await using map = new ScopedMap();
  using scratch = new Scratch();
  const { path, reader } = await begin(map, scratch);
  Deno.writeTextFileSync(path, "and more", { append: true });
  await loopToEnd(map);
  assertEquals(Buffer.concat(reader.chunks).length, LARGE.length + 8);
});

Deno.test({
  name: "FileDispatcher of a directory ends with one error that says so",
  ignore: onWindows, // There it cannot even be opened.
  async fn() {
    await using map = new ScopedMap();
    const reader = new Reader(map, await Deno.open("."));
    await loopToEnd(map);
    assertEquals([reader.chunks, reader.closes], [[], 0]);
    assertEquals(reader.errors.length, 1);
    assertInstanceOf(reader.errors[0], Deno.errors.IsADirectory);
  },
});

for (const closes of [false, true]) {
  const how = closes ? "close() warns of bytes" : "tells that bytes are lost";

  Deno.test({
    name: `FileDispatcher ${how} on a full disk`,
    ignore: !isLinux,
    async fn() {
      const logger = new LogLines();
      await using map = new ScopedMap({ logger });
      const full = await Deno.open("/dev/full", { write: true });
      const writer = new Reader(map, full);
      writer.send(bytes("spam"));
      if (closes) writer.close();
      await loopToEnd(map);
      const told = closes ? logger.lines : writer.errors.map(String);
      assertEquals(told.length, 1);
      assertStringIncludes(told[0]!, "No space left");
      if (closes) assertStringIncludes(told[0]!, "lost 4 accepted bytes");
      assertEquals(writer.closes, 0);
    },
  });
}

// What may wait for ever

Deno.test({
  name: "40 FIFOs without a writer stall neither files nor the lookup of names",
  ignore: !hasFifos,
  async fn() {
    using scratch = new Scratch();
    const program =
      `${import.meta.dirname}/../tools/test_programs/many_fifos.ts`;
    const { out, err } = await runCommand(Deno.execPath(), [
      ...["run", "-A", "--quiet", "--no-check", program, scratch.path],
    ]);
    const [warning, ...lines] = out.trim().split("\n");
    assertEquals(lines, [
      "a file: spam",
      "a name: looked up",
      "the first: eggs",
      "the last: ",
      "the last, now: eggs",
    ]);
    assertStringIncludes(warning!, "warning: <Reader connected> waits to be");
    assertStringIncludes(warning!, "FIFOs, terminals and devices hold 20 of");
    assertEquals(err, "");
  },
});

Deno.test({
  name:
    "mayBlock() tells a FIFO and standard input from a file and a directory",
  ignore: !hasFifos,
  async fn() {
    using scratch = new Scratch();
    const [input, output] = await scratch.fifo();
    using file = await Deno.open(scratch.file("spam"));
    using directory = await Deno.open(scratch.path);
    const kinds = [input, Deno.stdin, file, directory, { read: () => {} }];
    assertEquals(kinds.map(mayBlock), [true, true, false, false, false]);
    input.close();
    output.close();
    assertEquals(mayBlock(input), false, "a closed one fails by itself");
  },
});

Deno.test("mayBlock() does not ask for the kind of file, which could bring a prompt", () => {
  let asked = 0;
  const ask = () => {
    asked++;
    throw new Deno.errors.NotCapable("Requires read access");
  };
  const file = { seekSync: () => 0, statSync: ask, stat: ask };
  assertEquals(mayBlock(file), false);
  assertEquals(asked, 0);
});

Deno.test("takeThread() gives to who waits first, and says once that somebody waits", async () => {
  let warnings = 0;
  const warn = () => void warnings++;
  const taken: (Promise<void> | void)[] = [];
  // Some may be lost to FIFOs that other tests have closed.
  while (taken.at(-1) === undefined || taken.length === 0) {
    taken.push(takeThread(warn));
  }
  assert(taken.length <= MOST_READS + 1);
  const order: number[] = [];
  const first = Promise.resolve(taken.at(-1)).then(() => order.push(1));
  const second = Promise.resolve(takeThread(warn)).then(() => order.push(2));
  assertEquals(warnings, 1);
  giveThread();
  await first;
  assertEquals(order, [1]);
  giveThread();
  await second;
  for (let i = 0; i < taken.length - 1; i++) giveThread();
  assertEquals(takeThread(warn), undefined);
  giveThread();
  assertEquals(warnings, 1);
});
