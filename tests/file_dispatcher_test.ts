import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertLess,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { TextLineStream } from "@std/streams";
import {
  Dispatcher,
  FileDispatcher,
  type FileLike,
  FileWrapper,
} from "../mod.ts";
import { loopToEnd, passes, pattern } from "./fakes.ts";
import {
  bytes,
  DENO_CAN,
  loopUntil,
  ScopedMap,
  type TestMap,
  text,
  turn,
} from "./support.ts";

const onWindows = Deno.build.os === "windows";
const SLEEPING = "It's not dead, it's sleeping!";

/** A directory that goes away with the test. */
class Scratch implements Disposable {
  readonly path: string = Deno.makeTempDirSync();

  /** A new file with that content. */
  file(content: string | Uint8Array = ""): string {
    const path = `${this.path}/file`;
    const data = typeof content === "string" ? bytes(content) : content;
    Deno.writeFileSync(path, data);
    return path;
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}

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

/** Reads a file in chunks, and writes down how it went. */
class Reader extends FileDispatcher {
  readonly chunks: Uint8Array[] = [];
  readonly errors: unknown[] = [];
  closes = 0;
  readonly #size: number;

  constructor(map: TestMap, file: FileLike, size = 256) {
    super(file, { map });
    this.#size = size;
  }

  get text(): string {
    return this.chunks.map(text).join("");
  }

  override handleRead(): void {
    const chunk = this.recv(this.#size);
    if (chunk.length > 0) this.chunks.push(chunk);
  }
  override handleClose(): void {
    this.closes++;
  }
  override handleError(error: unknown): void | Promise<void> {
    this.errors.push(error);
    this.close();
  }
}

// FileWrapper

Deno.test("FileWrapper.read() goes through the file", async () => {
  using scratch = new Scratch();
  const path = scratch.file(SLEEPING);
  using file = new FileWrapper(await Deno.open(path));
  assertEquals(await readText(file, 13), "It's not dead");
  assertEquals(await readText(file, 6), ", it's");
  assertEquals(await readText(file, 100), " sleeping!");
  assertEquals(await file.read(new Uint8Array(1)), null);
  assertEquals(await file.read(new Uint8Array(1)), null);
});

Deno.test("FileWrapper.write() adds to the file", async () => {
  using scratch = new Scratch();
  const path = scratch.file(SLEEPING);
  const file = new FileWrapper(await Deno.open(path, { append: true }));
  assertEquals(await file.write(bytes("Come again?")), 11);
  assertEquals(await file.write(bytes("I want cheese.")), 14);
  file.close();
  assertEquals(
    await Deno.readTextFile(path),
    SLEEPING + "Come again?I want cheese.",
  );
});

Deno.test("FileWrapper refuses to work once it is closed", async () => {
  using scratch = new Scratch();
  const path = scratch.file(SLEEPING);
  const file = new FileWrapper(await Deno.open(path, { write: true }));
  file.close();
  const { BadResource } = Deno.errors;
  await assertRejects(() => file.read(new Uint8Array(1)), BadResource);
  await assertRejects(() => file.write(bytes("spam")), BadResource);
  assertEquals(await Deno.readTextFile(path), SLEEPING);
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

Deno.test("FileWrapper.close() is a no-op the second time", async () => {
  using scratch = new Scratch();
  const fsFile = await Deno.open(scratch.file());
  const file = new FileWrapper(fsFile);
  file.close();
  assertThrows(() => fsFile.close(), Deno.errors.BadResource);
  file.close();
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
  file.close(); // It counts as closed all the same.
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
  const target = new Uint8Array(256);
  let at = 0;
  let same = true;
  for (;;) {
    const length = await file.read(target);
    if (length === null) break;
    for (let i = 0; i < length; i++) same &&= target[i] === data[at + i];
    at += length;
  }
  assertEquals(at, data.length);
  assert(same, "the bytes are those of the file");
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
  await using map = new ScopedMap();
  using scratch = new Scratch();
  let got = "";
  class Plain extends Dispatcher {
    override handleRead() {
      got += text(this.recv());
    }
  }
  const file = new FileWrapper(await Deno.open(scratch.file(SLEEPING)));
  new Plain(file, { map });
  await loopToEnd(map);
  assertEquals(got, SLEEPING);
  await assertRejects(
    () => file.read(new Uint8Array(1)),
    Deno.errors.BadResource,
  );
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

Deno.test("FileDispatcher reads a file in chunks to its end, and closes once", async () => {
  await using map = new ScopedMap();
  using scratch = new Scratch();
  const content = SLEEPING.repeat(30); // 870 bytes
  const reader = new Reader(map, await Deno.open(scratch.file(content)));
  assert(reader.connected, "from the start");
  assertEquals([...map].length, 1);
  await loopToEnd(map);
  assertEquals(reader.text, content);
  assertEquals(reader.chunks.map(({ length }) => length), [256, 256, 256, 102]);
  assertEquals(reader.closes, 1);
  assertEquals(reader.errors, []);
});

Deno.test("FileDispatcher reads a file whose size is a multiple of the chunk", async () => {
  await using map = new ScopedMap();
  using scratch = new Scratch();
  const content = "spam".repeat(128);
  const reader = new Reader(map, await Deno.open(scratch.file(content)));
  await loopToEnd(map);
  assertEquals(reader.chunks.map(({ length }) => length), [256, 256]);
  assertEquals(reader.text, content);
  assertEquals(reader.closes, 1);
});

Deno.test("FileDispatcher finds the end of an empty file at once", async () => {
  await using map = new ScopedMap();
  using scratch = new Scratch();
  const reader = new Reader(map, await Deno.open(scratch.file()));
  await loopToEnd(map);
  assertEquals(reader.chunks, []);
  assertEquals([reader.closes, reader.errors.length], [1, 0]);
});

Deno.test("FileDispatcher reads a large file byte for byte", async () => {
  await using map = new ScopedMap();
  using scratch = new Scratch();
  const data = pattern((4 << 20) + 7);
  const received = new Uint8Array(data.length + 1);
  let length = 0;
  class LargeReader extends Reader {
    override handleRead() {
      length += this.recvInto(received.subarray(length));
    }
  }
  const reader = new LargeReader(map, await Deno.open(scratch.file(data)));
  await loopToEnd(map);
  assertEquals(length, data.length);
  assert(data.every((byte, i) => byte === received[i]));
  assertEquals(reader.closes, 1);
});

Deno.test("FileDispatcher reads on from where the file stands", async () => {
  await using map = new ScopedMap();
  using scratch = new Scratch();
  const file = await Deno.open(scratch.file(SLEEPING));
  await file.seek(15, Deno.SeekMode.Start);
  const reader = new Reader(map, file);
  await loopToEnd(map);
  assertEquals(reader.text, "it's sleeping!");
});

Deno.test({
  name:
    "FileDispatcher.handleError() gets the reason why a directory cannot be read",
  ignore: onWindows, // There it cannot even be opened.
  async fn() {
    await using map = new ScopedMap();
    using scratch = new Scratch();
    const reader = new Reader(map, await Deno.open(scratch.path));
    await loopToEnd(map);
    assertEquals(reader.errors.length, 1);
    assertInstanceOf(reader.errors[0], Deno.errors.IsADirectory);
    assertEquals(reader.chunks, []);
  },
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
  assertEquals(writer.send(bytes(" I want cheese.")), 15);
  await passes(map, 3);
  assertEquals([writer.closes, writer.errors.length], [0, 0], "no read event");
  assertEquals(map.size, 1, "a file for writing has no end");
  writer.close();
  await loopToEnd(map);
  assertEquals(
    await Deno.readTextFile(path),
    SLEEPING + "Come again? I want cheese.",
  );
});

Deno.test("FileDispatcher writes a large file byte for byte", async () => {
  await using map = new ScopedMap();
  using scratch = new Scratch();
  const path = scratch.file();
  const data = pattern((4 << 20) + 7);
  class Writer extends Reader {
    at = 0;
    override writable() {
      return this.at < data.length;
    }
    override handleWrite() {
      this.at += this.send(data.subarray(this.at, this.at + 100_000));
      if (this.at === data.length) this.close();
    }
  }
  new Writer(map, await Deno.open(path, { write: true }));
  await loopToEnd(map);
  const written = await Deno.readFile(path);
  assertEquals(written.length, data.length);
  assert(data.every((byte, i) => byte === written[i]));
});

Deno.test("FileDispatcher.handleError() tells once that the file is not open for writing", async () => {
  await using map = new ScopedMap();
  using scratch = new Scratch();
  const path = scratch.file(SLEEPING);
  class Wrong extends Reader {
    override readable() {
      return false;
    }
  }
  const wrong = new Wrong(map, await Deno.open(path));
  wrong.send(bytes("spam"));
  await loopToEnd(map);
  assertEquals(wrong.errors.length, 1);
  assertInstanceOf(wrong.errors[0], Deno.errors.NotSupported);
  assertEquals(await Deno.readTextFile(path), SLEEPING);
});

Deno.test("FileDispatcher copies one file into another", async () => {
  await using map = new ScopedMap();
  using source = new Scratch();
  using target = new Scratch();
  const data = pattern(300_000);
  const path = target.file();
  const writer = new Reader(map, await Deno.open(path, { write: true }));
  class Copier extends Reader {
    #rest: Uint8Array = new Uint8Array(0);
    override handleRead() {
      if (this.#rest.length === 0) this.#rest = this.recv();
      this.#rest = this.#rest.subarray(writer.send(this.#rest));
    }
    override handleClose() {
      writer.close();
    }
  }
  new Copier(map, await Deno.open(source.file(data)));
  await loopToEnd(map);
  assertEquals(await Deno.readFile(path), data);
});

// FIFOs and the standard streams

Deno.test({
  name: "FileDispatcher reads a FIFO that trickles, and its end",
  ignore: onWindows || !DENO_CAN.openFifos,
  async fn() {
    await using map = new ScopedMap();
    using scratch = new Scratch();
    const path = `${scratch.path}/fifo`;
    const made = await new Deno.Command("mkfifo", { args: [path] }).output();
    assert(made.success);
    // Either open waits for the other.
    const [input, output] = await Promise.all([
      Deno.open(path, { read: true }),
      Deno.open(path, { write: true }),
    ]);
    const reader = new Reader(map, input);
    for (const [i, piece] of ["Come ", "again", "?"].entries()) {
      await output.write(bytes(piece));
      await loopUntil(map, () => reader.chunks.length === i + 1);
      assertEquals(reader.text.endsWith(piece), true);
    }
    assertEquals(reader.closes, 0);
    output.close();
    await loopToEnd(map);
    assertEquals(reader.text, "Come again?");
    assertEquals([reader.closes, reader.errors.length], [1, 0]);
  },
});

Deno.test({
  name: "FileDispatcher.close() does not wait for a FIFO that is silent",
  ignore: onWindows || !DENO_CAN.openFifos,
  async fn() {
    await using map = new ScopedMap();
    using scratch = new Scratch();
    const path = `${scratch.path}/fifo`;
    const made = await new Deno.Command("mkfifo", { args: [path] }).output();
    assert(made.success);
    const [input, output] = await Promise.all([
      Deno.open(path, { read: true }),
      Deno.open(path, { write: true }),
    ]);
    const reader = new Reader(map, input);
    await passes(map, 3);
    reader.close();
    await loopToEnd(map);
    assertEquals([reader.closes, reader.errors.length], [0, 0]);
    output.close(); // Lets the system's own read end.
  },
});

Deno.test({
  name: "FileDispatcher writes a FIFO, and learns that its reader has left",
  ignore: onWindows || !DENO_CAN.openFifos,
  async fn() {
    await using map = new ScopedMap();
    using scratch = new Scratch();
    const path = `${scratch.path}/fifo`;
    const made = await new Deno.Command("mkfifo", { args: [path] }).output();
    assert(made.success);
    const [input, output] = await Promise.all([
      Deno.open(path, { read: true }),
      Deno.open(path, { write: true }),
    ]);
    const writer = new Reader(map, output);
    writer.send(bytes("spam"));
    const target = new Uint8Array(16);
    assertEquals(await input.read(target), 4);
    input.close();
    writer.send(bytes("more spam"));
    await loopToEnd(map);
    assertEquals([writer.closes, writer.errors.length], [1, 0]);
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
    output.send(new TextEncoder().encode(text.toUpperCase()));
  }
  handleClose() {
    output.send(new TextEncoder().encode("THE END\\n"));
    output.close();
  }
}
new Input(Deno.stdin);
await loop();
`;

/** Runs a program with pipes for standard input and output. */
function spawnProgram(code: string): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-config", "--no-check", code],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
}

Deno.test("FileDispatcher reads and writes the standard streams", async () => {
  await using child = spawnProgram(UPPER);
  const input = child.stdin.getWriter();
  const output = child.stdout.pipeThrough(new TextDecoderStream())
    .pipeThrough(new TextLineStream()).getReader();
  const answers: (string | undefined)[] = [];
  // Each line waits for the answer to the one before: the pipe trickles.
  for (const line of ["Come again?", "I want to buy some cheese."]) {
    await input.write(bytes(`${line}\n`));
    answers.push((await output.read()).value);
  }
  await input.close();
  answers.push((await output.read()).value);
  assertEquals(answers, [
    "COME AGAIN?",
    "I WANT TO BUY SOME CHEESE.",
    "THE END",
  ]);
  assertEquals((await output.read()).done, true);
  assertEquals((await child.status).code, 0);
});
