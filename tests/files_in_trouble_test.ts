/** Files that change, break or never answer while they are read and written. */

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertLess,
  assertStringIncludes,
} from "@std/assert";
import { FileDispatcher, type FileLike } from "../mod.ts";
import {
  giveThread,
  mayBlock,
  MOST_READS,
  takeThread,
} from "../core/blocking_threads.ts";
import { LogLines, loopToEnd, pattern } from "./fakes.ts";
import { runCommand } from "./peers.ts";
import { bytes, loopUntil, ScopedMap, type TestMap } from "./support.ts";

const isLinux = Deno.build.os === "linux";
const isWindows = Deno.build.os === "windows";

/** Reads to the end, and writes down what else happens. */
class Reader extends FileDispatcher {
  readonly chunks: Uint8Array[] = [];
  readonly errors: unknown[] = [];
  closes = 0;

  constructor(map: TestMap, file: FileLike) {
    super(file, { map });
  }
  get length(): number {
    return this.chunks.reduce((sum, { length }) => sum + length, 0);
  }
  override handleRead(): void {
    const data = this.recv();
    if (data.length > 0) this.chunks.push(data);
  }
  override handleError(error: unknown): void {
    this.errors.push(error);
    this.close();
  }
  override handleClose(): void {
    this.closes++;
    this.close();
  }
}

/** A file with something in it, that goes with the test. */
function fileOf(data: Uint8Array) {
  const path = Deno.makeTempFileSync();
  Deno.writeFileSync(path, data);
  const remove = () => {
    try {
      Deno.removeSync(path);
    } catch {
      // The test has done it.
    }
  };
  return { path, [Symbol.dispose]: remove };
}

const LARGE = pattern(4 << 20);

Deno.test("FileDispatcher ends in good order when its file is truncated while it is read", async () => {
  await using map = new ScopedMap();
  using file = fileOf(LARGE);
  const reader = new Reader(map, await Deno.open(file.path));
  await loopUntil(map, () => reader.chunks.length > 0);
  Deno.truncateSync(file.path, 0);
  await loopToEnd(map);
  assertEquals([reader.closes, reader.errors], [1, []]);
  const received = await new Blob(reader.chunks as BlobPart[]).bytes();
  assertLess(received.length, LARGE.length);
  assertEquals(received, LARGE.subarray(0, received.length));
});

Deno.test({
  name: "FileDispatcher reads a file out that is deleted meanwhile",
  ignore: isWindows, // which refuses to delete it
  async fn() {
    await using map = new ScopedMap();
    using file = fileOf(LARGE);
    const reader = new Reader(map, await Deno.open(file.path));
    await loopUntil(map, () => reader.chunks.length > 0);
    Deno.removeSync(file.path);
    await loopToEnd(map);
    assertEquals([reader.closes, reader.errors], [1, []]);
    assertEquals(reader.length, LARGE.length);
  },
});

Deno.test("FileDispatcher reads what is appended while it is read", async () => {
  await using map = new ScopedMap();
  using file = fileOf(LARGE);
  const reader = new Reader(map, await Deno.open(file.path));
  await loopUntil(map, () => reader.chunks.length > 0);
  Deno.writeTextFileSync(file.path, "and more", { append: true });
  await loopToEnd(map);
  assertEquals(reader.length, LARGE.length + 8);
});

Deno.test({
  name: "FileDispatcher of a directory ends with one error that says so",
  ignore: isWindows, // which does not open it
  async fn() {
    await using map = new ScopedMap();
    const reader = new Reader(map, await Deno.open("."));
    await loopToEnd(map);
    assertEquals([reader.chunks, reader.closes], [[], 0]);
    assertEquals(reader.errors.length, 1);
    assertStringIncludes(String(reader.errors[0]), "directory");
  },
});

Deno.test({
  name: "FileDispatcher on a full disk ends with one error that says so",
  ignore: !isLinux,
  async fn() {
    await using map = new ScopedMap();
    const full = await Deno.open("/dev/full", { write: true });
    const writer = new Reader(map, full);
    writer.send(bytes("spam"));
    await loopToEnd(map);
    assertEquals(writer.errors.length, 1);
    assertInstanceOf(writer.errors[0], Error);
    assertStringIncludes(String(writer.errors[0]), "No space left");
    assertEquals(writer.closes, 0);
  },
});

Deno.test({
  name: "FileDispatcher.close() with bytes for a full disk warns of their loss",
  ignore: !isLinux,
  async fn() {
    const logger = new LogLines();
    await using map = new ScopedMap({ logger });
    const full = await Deno.open("/dev/full", { write: true });
    const writer = new Reader(map, full);
    writer.send(bytes("spam"));
    writer.close();
    await loopToEnd(map);
    assertEquals(logger.lines.length, 1);
    assertStringIncludes(logger.lines[0]!, "lost 4 accepted bytes");
    assertStringIncludes(logger.lines[0]!, "No space left");
  },
});

// What may wait for ever

Deno.test({
  name: "40 FIFOs without a writer stall neither files nor the lookup of names",
  ignore: isWindows,
  async fn() {
    const folder = Deno.makeTempDirSync();
    try {
      const program =
        `${import.meta.dirname}/../tools/test_programs/many_fifos.ts`;
      const { out, err } = await runCommand(Deno.execPath(), [
        ...["run", "-A", "--quiet", "--no-check", program, folder],
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
    } finally {
      Deno.removeSync(folder, { recursive: true });
    }
  },
});

Deno.test({
  name:
    "mayBlock() tells a FIFO and standard input from a file and a directory",
  ignore: isWindows,
  async fn() {
    using regular = fileOf(bytes("spam"));
    const folder = Deno.makeTempDirSync();
    const path = `${folder}/fifo`;
    await runCommand("mkfifo", [path]);
    const both = { read: true, write: true };
    using fifo = await Deno.open(path, both);
    using file = await Deno.open(regular.path, both);
    using directory = await Deno.open(folder);
    Deno.removeSync(folder, { recursive: true });
    const kinds = [fifo, Deno.stdin, file, directory, { read: () => {} }];
    assertEquals(kinds.map(mayBlock), [true, true, false, false, false]);
    fifo.close();
    assertEquals(mayBlock(fifo), false, "a closed one fails by itself");
    Object.assign(fifo, { [Symbol.dispose]: () => {} });
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
