import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertLess,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { Buffer } from "node:buffer";
import { TextLineStream } from "@std/streams";
import { FileDispatcher, type FileLike, FileWrapper } from "../mod.ts";
import { loopToEnd, passes, pattern, quietMap, Recorder } from "./fakes.ts";
import { hasFifos, Reader, Scratch } from "./files.ts";
import { bytes, loopUntil, ScopedMap, text, turn } from "./support.ts";

const SLEEPING = "It's not dead, it's sleeping!";

async function readText(file: FileWrapper, size: number): Promise<string> {
  const target = new Uint8Array(size);
  const length = await file.read(target);
  return text(target.subarray(0, length ?? 0));
}

/** A file that serves from memory and counts how it is asked. */
class MemoryFile implements FileLike {
  readonly reads: number[] = [];
  #at = 0;
  readonly #data: Uint8Array;
  readonly #most: number;

  constructor(data: Uint8Array, most = Infinity) {
    this.#data = data;
    this.#most = most;
  }

  read(target: Uint8Array): Promise<number | null> {
    this.reads.push(target.length);
    const size = Math.min(target.length, this.#most);
    const part = this.#data.subarray(this.#at, this.#at + size);
    target.set(part);
    this.#at += part.length;
    return Promise.resolve(part.length || null);
  }
  close(): void {}
}

// FileWrapper

Deno.test("FileWrapper reads and writes its file until it is closed", async () => {
  using scratch = new Scratch();
  const path = scratch.file(SLEEPING);
  using input = new FileWrapper(await Deno.open(path));
  const output = new FileWrapper(await Deno.open(path, { append: true }));
  assertEquals(await readText(input, 13), "It's not dead");
  assertEquals(await readText(input, 6), ", it's");
  assertEquals(await readText(input, 100), " sleeping!");
  for (let i = 0; i < 2; i++) {
    assertEquals(await input.read(new Uint8Array(1)), null);
  }
  assertEquals(await output.write(bytes("Come again?")), 11);
  assertEquals(await output.write(bytes("I want cheese.")), 14);
  output.close();
  const { BadResource } = Deno.errors;
  await assertRejects(() => output.read(new Uint8Array(1)), BadResource);
  await assertRejects(() => output.write(bytes("spam")), BadResource);
  const all = `${SLEEPING}Come again?I want cheese.`;
  assertEquals(await Deno.readTextFile(path), all);
});

Deno.test("FileWrapper.read() gives nothing once it is closed, not even what it holds", async () => {
  const file = new FileWrapper(new MemoryFile(bytes(SLEEPING)));
  assertEquals(await readText(file, 13), "It's not dead");
  file.close();
  await assertRejects(
    () => file.read(new Uint8Array(1)),
    Deno.errors.BadResource,
    "Cannot read: the file is closed",
  );
});

Deno.test("FileWrapper.close() says so when somebody else has closed the file", async () => {
  using scratch = new Scratch();
  const fsFile = await Deno.open(scratch.file(SLEEPING));
  const file = new FileWrapper(fsFile);
  fsFile.close();
  await assertRejects(
    () => file.read(new Uint8Array(1)),
    Deno.errors.BadResource,
  );
  assertThrows(() => file.close(), Deno.errors.BadResource);
  file.close(); // It counts as closed all the same: this does nothing.
});

Deno.test("FileWrapper says which way the file is not open", async () => {
  using scratch = new Scratch();
  const path = scratch.file(SLEEPING);
  using readOnly = new FileWrapper(await Deno.open(path));
  using writeOnly = new FileWrapper(await Deno.open(path, { write: true }));
  const { NotSupported } = Deno.errors;
  await assertRejects(() => readOnly.write(bytes("spam")), NotSupported);
  await assertRejects(
    () => writeOnly.read(new Uint8Array(1)),
    NotSupported,
    "not open for reading",
  );
  assertEquals(await readText(readOnly, 100), SLEEPING);
  assertEquals(await writeOnly.write(bytes("It's")), 4);
});

Deno.test("FileWrapper asks the system rarely, however small its reads are", async () => {
  const data = pattern(1 << 20);
  const memory = new MemoryFile(data);
  using file = new FileWrapper(memory);
  const received = new Uint8Array(data.length + 256);
  let at = 0;
  for (;;) {
    const length = await file.read(received.subarray(at, at + 256));
    if (length === null) break;
    at += length;
  }
  assertEquals(Buffer.compare(received.subarray(0, at), data), 0);
  assertLess(memory.reads.length, 20); // Of 4,096 that were made.
});

Deno.test("FileWrapper reads ahead while a full buffer is delivered", async () => {
  const memory = new MemoryFile(new Uint8Array(1 << 20));
  using file = new FileWrapper(memory);
  await file.read(new Uint8Array(1));
  assertEquals(memory.reads.length, 2);
  await turn();
  assertEquals(memory.reads.length, 2, "and no further");
});

Deno.test("FileWrapper does not read ahead of a file that trickles", async () => {
  const memory = new MemoryFile(bytes(SLEEPING), 5);
  using file = new FileWrapper(memory);
  assertEquals(await readText(file, 3), "It'");
  await turn();
  assertEquals(memory.reads.length, 1);
  assertEquals(await readText(file, 100), "s ");
  assertEquals(memory.reads.length, 1);
  assertEquals(await readText(file, 100), "not d");
  assertEquals(memory.reads.length, 2);
});

Deno.test("FileWrapper is a channel for a plain Dispatcher", async () => {
  using scratch = new Scratch();
  const file = new FileWrapper(await Deno.open(scratch.file(SLEEPING)));
  const map = quietMap();
  const plain = new Recorder(map, file);
  await loopToEnd(map);
  assertEquals(plain.received, SLEEPING);
  const read = () => file.read(new Uint8Array(1));
  await assertRejects(read, Deno.errors.BadResource);
});

Deno.test("FileWrapper and FileDispatcher take nothing but a file", async () => {
  await using map = new ScopedMap();
  const wrong: [unknown, string][] = [
    [null, "file must be an object"],
    ["path.txt", 'got "path.txt": use await Deno.open()'],
    [Promise.resolve(), "got a promise: await it"],
    [{}, "file has no close() method"],
    [{ close() {} }, "file has neither a read() nor a write() method"],
  ];
  for (const [file, message] of wrong) {
    const wrap = () => new FileWrapper(file as FileLike);
    const dispatch = () => new FileDispatcher(file as FileLike, { map });
    assertThrows(wrap, TypeError, message);
    assertThrows(dispatch, TypeError, message);
  }
  assertEquals(map.size, 0);
});

// FileDispatcher, reading

for (
  const [length, expected] of [
    [870, [256, 256, 256, 102]],
    [512, [256, 256]],
    [0, []],
  ] as [number, number[]][]
) {
  Deno.test(`FileDispatcher reads a file of ${length} bytes to its end, and closes once`, async () => {
    await using map = new ScopedMap();
    using scratch = new Scratch();
    const data = pattern(length);
    const file = await Deno.open(scratch.file(data));
    const reader = new Reader(map, file, 256);
    assert(reader.connected, "from the start");
    assertEquals(map.size, 1);
    await loopToEnd(map);
    assertEquals(reader.lengths, expected);
    assertEquals(Buffer.concat(reader.chunks), Buffer.from(data));
    assertEquals([reader.closes, reader.errors], [1, []]);
  });
}

Deno.test("FileDispatcher reads a large file byte for byte, from where it stands", async () => {
  await using map = new ScopedMap();
  using scratch = new Scratch();
  const data = pattern((4 << 20) + 7);
  const file = await Deno.open(scratch.file(data));
  await file.seek(15, Deno.SeekMode.Start);
  const received = new Uint8Array(data.length + 1);
  received.set(data.subarray(0, 15));
  let at = 15;
  const reader = new Reader(map, file);
  reader.handleRead = () => {
    at += reader.recvInto(received.subarray(at));
  };
  await loopToEnd(map);
  assertEquals(Buffer.compare(received.subarray(0, at), data), 0);
  assertEquals(reader.closes, 1);
});

Deno.test("FileDispatcher survives that somebody else closes the file", async () => {
  await using map = new ScopedMap();
  using scratch = new Scratch();
  const file = await Deno.open(scratch.file(SLEEPING));
  const reader = new Reader(map, file);
  file.close();
  await loopToEnd(map);
  assertEquals(reader.closes, 1);
  assertEquals(reader.text, "");
});

Deno.test("FileDispatcher.close() closes the file", async () => {
  await using map = new ScopedMap();
  using scratch = new Scratch();
  const file = await Deno.open(scratch.file(SLEEPING));
  const reader = new Reader(map, file);
  reader.close();
  assertEquals(map.size, 0);
  assertThrows(() => file.close(), Deno.errors.BadResource);
  assertEquals(reader.closes, 0, "handleClose() is for what others do");
});

Deno.test("FileDispatcher.setFile() goes on with another file", async () => {
  await using map = new ScopedMap();
  using first = new Scratch();
  using second = new Scratch();
  const reader = new Reader(map, await Deno.open(first.file("spam ")));
  using extra = await Deno.open(second.file("eggs"));
  assertThrows(() => reader.setFile(extra), Error, "has one already");
  await loopToEnd(map);
  reader.setFile(await Deno.open(second.file("eggs")));
  assert(reader.connected);
  await loopToEnd(map);
  assertEquals(reader.text, "spam eggs");
  assertEquals(reader.closes, 2);
});

// FileDispatcher, writing

Deno.test("FileDispatcher writes what it is sent, in order", async () => {
  await using map = new ScopedMap();
  using scratch = new Scratch();
  const path = scratch.file(SLEEPING);
  const writer = new Reader(map, await Deno.open(path, { append: true }));
  assertEquals(writer.send(bytes("Come again?")), 11);
  assertEquals(writer.send(" I want Käse."), 14);
  await passes(map, 3);
  assertEquals([writer.closes, writer.errors.length], [0, 0], "no read event");
  assertEquals(map.size, 1, "a file for writing has no end");
  writer.close();
  await loopToEnd(map);
  assertEquals(
    await Deno.readTextFile(path),
    SLEEPING + "Come again? I want Käse.",
  );
});

Deno.test("FileDispatcher writes a large file byte for byte", async () => {
  await using map = new ScopedMap();
  using scratch = new Scratch();
  const path = scratch.file();
  const data = pattern((4 << 20) + 7);
  const writer = new Reader(map, await Deno.open(path, { write: true }));
  let at = 0;
  writer.writable = () => at < data.length;
  writer.handleWrite = () => {
    at += writer.send(data.subarray(at, at + 100_000));
    if (at === data.length) writer.close();
  };
  await loopToEnd(map);
  assertEquals(Buffer.compare(await Deno.readFile(path), data), 0);
});

Deno.test("FileDispatcher.handleError() tells once that the file is not open for writing", async () => {
  await using map = new ScopedMap();
  using scratch = new Scratch();
  const path = scratch.file(SLEEPING);
  const wrong = new Reader(map, await Deno.open(path));
  wrong.readable = () => false;
  wrong.send(bytes("spam"));
  await loopToEnd(map);
  assertEquals(wrong.errors.length, 1);
  assertInstanceOf(wrong.errors[0], Deno.errors.NotSupported);
  assertEquals(await Deno.readTextFile(path), SLEEPING);
});

// FIFOs and the standard streams

Deno.test({
  name: "FileDispatcher reads a FIFO that trickles, and its end",
  ignore: !hasFifos,
  async fn() {
    await using map = new ScopedMap();
    using scratch = new Scratch();
    const [input, output] = await scratch.fifo();
    const reader = new Reader(map, input);
    for (const [i, piece] of ["Come ", "again", "?"].entries()) {
      await output.write(bytes(piece));
      await loopUntil(map, () => reader.chunks.length === i + 1);
      assert(reader.text.endsWith(piece));
    }
    assertEquals(reader.closes, 0);
    output.close();
    await loopToEnd(map);
    assertEquals(reader.text, "Come again?");
    assertEquals([reader.closes, reader.errors], [1, []]);
  },
});

Deno.test({
  name: "FileDispatcher.close() does not wait for a FIFO that is silent",
  ignore: !hasFifos,
  async fn() {
    await using map = new ScopedMap();
    using scratch = new Scratch();
    const [input, output] = await scratch.fifo();
    const reader = new Reader(map, input);
    await passes(map, 3);
    reader.close();
    await loopToEnd(map);
    assertEquals([reader.closes, reader.errors], [0, []]);
    output.close(); // Lets the system's own read end.
  },
});

Deno.test({
  name: "FileDispatcher writes a FIFO, and learns that its reader has left",
  ignore: !hasFifos,
  async fn() {
    await using map = new ScopedMap();
    using scratch = new Scratch();
    const [input, output] = await scratch.fifo();
    const writer = new Reader(map, output);
    writer.send(bytes("spam"));
    assertEquals(await input.read(new Uint8Array(16)), 4);
    input.close();
    writer.send(bytes("more spam"));
    await loopToEnd(map);
    assertEquals([writer.closes, writer.errors], [1, []]);
  },
});

const module = new URL("../mod.ts", import.meta.url).href;

/** Turns its input into capitals, then tells how it ended. */
const UPPER = `
import { FileDispatcher, loop } from ${JSON.stringify(module)};
const output = new FileDispatcher(Deno.stdout);
class Input extends FileDispatcher {
  handleRead() {
    const text = new TextDecoder().decode(this.recv(8));
    output.send(text.toUpperCase());
  }
  handleClose() {
    output.send("THE END\\n");
    output.close();
  }
}
new Input(Deno.stdin);
await loop();
`;

Deno.test("FileDispatcher reads and writes the standard streams", async () => {
  await using child = new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-config", "--no-check", UPPER],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const input = child.stdin.getWriter();
  const output = child.stdout.pipeThrough(new TextDecoderStream())
    .pipeThrough(new TextLineStream()).getReader();
  // Each line waits for the answer to the one before: the pipe trickles.
  for (const line of ["Come again?", "I want to buy some cheese."]) {
    await input.write(bytes(`${line}\n`));
    assertEquals((await output.read()).value, line.toUpperCase());
  }
  await input.close();
  assertEquals((await output.read()).value, "THE END");
  assertEquals((await output.read()).done, true);
  assertEquals((await child.status).code, 0);
});
