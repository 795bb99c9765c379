/** Files on the second engine: which it takes, and what a dispatcher gets from them. */

import { assert, assertEquals, assertGreater } from "@std/assert";
import {
  type Dispatcher,
  FileDispatcher,
  type FileLike,
  loop,
} from "../mod.ts";
import { FILE_CHANNEL } from "../core/symbols.ts";
import { checkChannel } from "../testing/mod.ts";
import { epollNetwork, fileno } from "../epoll/mod.ts";
import { descriptorOf } from "../epoll/file_descriptor.ts";
import { C, EPOLL_EVENT } from "../epoll/layout.ts";
import type { Libc } from "../epoll/libc.ts";
import type { LinuxNetwork } from "../epoll/network.ts";
import { Calls, fail, libc, networkWith, testEpoll } from "./epoll_faults.ts";
import { LogLines, loopToEnd, pattern } from "./fakes.ts";
import { Reader, Scratch } from "./files.ts";
import { runCommand } from "./peers.ts";
import { bytes, loopUntil, ScopedMap, until } from "./support.ts";

const EPERM = 1, EINTR = 4, EACCES = 13, EMFILE = 24;
/** Unlocks the other side of a terminal; no part of the library. */
const TIOCSPTLCK = 0x40045431;
const BOTH = { read: true, write: true };

/** A map on the engine, or on another network, and what it logs. */
function epollMap(network = epollNetwork) {
  const logger = new LogLines();
  const map = new ScopedMap({ network, logger });
  return Object.assign(map, { lines: logger.lines });
}

/** Whether a dispatcher's file is a descriptor of the engine. */
function isOfEngine({ socket }: Dispatcher): boolean {
  try {
    return fileno(socket) > 2;
  } catch {
    return false;
  }
}

/** How many descriptors this process has. */
function descriptors(): number {
  return [...Deno.readDirSync("/proc/self/fd")].length;
}

/** New FIFOs, each open for both directions, so that none has an end. */
async function openFifos(scratch: Scratch, count: number) {
  const paths = Array.from({ length: count }, (_, i) => `${scratch.path}/${i}`);
  await runCommand("mkfifo", paths);
  return paths.map((path) => Deno.openSync(path, BOTH));
}

// Which descriptor

testEpoll(
  "descriptorOf() tells files apart that are the same FIFO",
  async () => {
    using scratch = new Scratch();
    const [input, output] = await scratch.fifo();
    const both = await Deno.open(`${scratch.path}/fifo`, BOTH);
    const again = await Deno.open(`${scratch.path}/fifo`, BOTH);
    const files = [input, output, both, again];
    const numbers = files.map((file) => descriptorOf(libc(), file)!);
    assertEquals(new Set(numbers).size, 4);
    const access = numbers.map((fd) => libc().fcntl(fd, C.F_GETFL, 0) & 3);
    assertEquals(access, [C.O_RDONLY, C.O_WRONLY, C.O_RDWR, C.O_RDWR]);
    // Only that one is gone when a file is closed.
    for (const [i, file] of files.entries()) {
      file.close();
      const open = numbers.filter((fd) => libc().fcntl(fd, C.F_GETFL, 0) >= 0);
      assertEquals(open, numbers.slice(i + 1));
      assertEquals(descriptorOf(libc(), file), null);
    }
  },
);

testEpoll(
  "FileDispatcher leaves a file to Deno that is locked, and its lock as it is",
  async () => {
    using scratch = new Scratch();
    await using map = epollMap();
    const [file] = await openFifos(scratch, 1);
    const other = Deno.openSync(`${scratch.path}/0`, BOTH);
    for (const locks of [file!, other]) {
      locks.lockSync(true);
      assertEquals(descriptorOf(libc(), file!), null);
      const second = Deno.openSync(`${scratch.path}/0`, BOTH);
      assertEquals(second.tryLockSync(false), false, "it was locked for all");
      second.close();
      locks.unlockSync();
    }
    other.lockSync(true);
    const reader = new Reader(map, file!);
    assert(!isOfEngine(reader));
    await other.write(bytes("spam"));
    await loopUntil(map, () => reader.text === "spam");
    reader.close();
    await other.write(bytes("last")); // Lets the system's own read end.
    other.close();
  },
);

testEpoll(
  "FileDispatcher leaves to Deno what only looks like a file of Deno's",
  async () => {
    using scratch = new Scratch();
    await using map = epollMap();
    const [file] = await openFifos(scratch, 1);
    const read = (target: Uint8Array) => {
      target.set(bytes("own"));
      return Promise.resolve(3);
    };
    const wrapped: FileLike = { read, close: () => file!.close() };
    const changed = Object.assign(
      Deno.openSync(`${scratch.path}/0`, BOTH),
      { read },
    );
    for (const own of [wrapped, changed]) {
      const reader = new Reader(map, own);
      assert(!isOfEngine(reader));
      await loopUntil(map, () => reader.text.startsWith("own"));
      reader.close();
    }
  },
);

// Reading

testEpoll(
  "40 silent FIFOs hold no thread, and each gets its data",
  async () => {
    using scratch = new Scratch();
    await using map = epollMap();
    const files = await openFifos(scratch, 40);
    const readers = files.map((file) => new Reader(map, file));
    assertEquals(readers.filter(isOfEngine).length, 40);
    for (const { socket } of readers) {
      const flags = libc().fcntl(fileno(socket), C.F_GETFL, 0);
      assertEquals(flags & C.O_NONBLOCK, C.O_NONBLOCK);
    }
    const before = descriptors();
    await loop({ map, count: 3, timeout: 10 });
    // All of this needs one of the 32 threads.
    assertEquals(await Deno.readTextFile(scratch.file("spam")), "spam");
    const refused = Deno.connect({ hostname: "localhost", port: 1 });
    assert(await refused.then(() => false, () => true));
    for (const i of files.keys()) {
      await Deno.writeTextFile(`${scratch.path}/${i}`, `spam ${i}`);
    }
    await loopUntil(map, () => readers.every(({ text }) => text !== ""));
    assertEquals(
      readers.map(({ text }) => text),
      files.map((_, i) => `spam ${i}`),
    );
    for (const reader of readers) reader.close();
    // At once: of each, the engine's descriptor, and Deno's.
    assertEquals(descriptors(), before - 80);
    assertEquals(map.lines, []);
  },
);

testEpoll(
  "FileDispatcher reads a FIFO to its end, however late it begins",
  async () => {
    for (const late of [false, true]) {
      using scratch = new Scratch();
      await using map = epollMap();
      const [input, output] = await scratch.fifo();
      await output.write(bytes("spam"));
      if (late) output.close(); // The system tells no event of that any more.
      const reader = new Reader(map, input, 3);
      assert(isOfEngine(reader));
      await loopUntil(map, () => reader.text === "spam");
      assertEquals(reader.closes, 0);
      if (!late) output.close();
      await loopToEnd(map);
      assertEquals([reader.text, reader.closes, reader.errors], [
        "spam",
        1,
        [],
      ]);
    }
  },
);

testEpoll(
  "FileDispatcher of an empty FIFO without a writer is at its end",
  async () => {
    using scratch = new Scratch();
    await using map = epollMap();
    const [input, output] = await scratch.fifo();
    output.close();
    const reader = new Reader(map, input);
    assert(isOfEngine(reader));
    await loopToEnd(map);
    assertEquals([reader.text, reader.closes, reader.errors], ["", 1, []]);
  },
);

// Writing

testEpoll(
  "FileDispatcher fills a FIFO, waits for its reader, and loses no byte",
  async () => {
    using scratch = new Scratch();
    await using map = epollMap();
    const [input, output] = await scratch.fifo();
    const data = pattern(1 << 20);
    const writer = new Reader(map, output);
    assert(isOfEngine(writer));
    assertEquals(writer.send(data), data.length);
    writer.close();
    assert(writer.closing, "it lingers until the reader has taken all");
    const received = new Uint8Array(data.length + 1);
    let at = 0;
    const reading = (async () => {
      for (let length; (length = await input.read(received.subarray(at)));) {
        at += length;
      }
    })();
    await loopToEnd(map);
    await reading;
    assertEquals(at, data.length);
    assertEquals(received.subarray(0, at), data);
    input.close();
    assertEquals(map.lines, []);
  },
);

testEpoll(
  "FileDispatcher.close() gives up a full FIFO after linger, and says what is lost",
  async () => {
    using scratch = new Scratch();
    await using map = epollMap();
    const [input, output] = await scratch.fifo();
    const writer = new FileDispatcher(output, { map, linger: 20 });
    writer.send(new Uint8Array(1 << 20));
    const before = descriptors();
    writer.close();
    await loopToEnd(map);
    assertEquals(descriptors(), before - 2, "Deno's, and the engine's");
    assertEquals(map.lines.length, 1);
    assert(
      /lost \d+ accepted bytes \(Error: its peer took nothing for 20 ms/
        .test(map.lines[0]!),
      map.lines[0],
    );
    input.close();
  },
);

testEpoll(
  "FileDispatcher.send() into a FIFO without a reader runs handleClose()",
  async () => {
    for (const hasWritten of [false, true]) {
      using scratch = new Scratch();
      await using map = epollMap();
      const [input, output] = await scratch.fifo();
      const writer = new Reader(map, output);
      if (hasWritten) {
        writer.send("spam");
        await input.read(new Uint8Array(4));
      }
      input.close();
      await loop({ map, count: 3, timeout: 1 });
      assertEquals(writer.closes, 0, "a file for writing has no end");
      writer.send("spam");
      await loopToEnd(map);
      assertEquals([writer.closes, writer.errors], [1, []]);
      assert(writer.closeReason instanceof Deno.errors.BrokenPipe);
    }
  },
);

testEpoll(
  "FileDispatcher of a FIFO says which way it is not open",
  async () => {
    using scratch = new Scratch();
    await using map = epollMap();
    const [input, output] = await scratch.fifo();
    const reader = new Reader(map, input);
    const writer = new Reader(map, output);
    reader.send("spam");
    await loopUntil(map, () => reader.errors.length === 1);
    const [error] = reader.errors;
    assert(error instanceof Deno.errors.NotSupported);
    assertEquals(error.message, "The file is not open for writing");
    assertEquals([writer.closes, writer.errors], [0, []]);
    writer.close();
  },
);

// Its life

testEpoll(
  "FileDispatcher.setFile() of a dispatcher with a file opens nothing, and closes nothing",
  async () => {
    using scratch = new Scratch();
    await using map = epollMap();
    const [first, second] = await openFifos(scratch, 2);
    const reader = new Reader(map, first!);
    const before = descriptors();
    let message = "";
    try {
      reader.setFile(second!);
    } catch (error) {
      message = String(error);
    }
    assert(message.includes("has one already"), message);
    assertEquals(descriptors(), before);
    second!.close(); // It is still open.
    reader.close();
    assert(!isOpenFile(first!));
  },
);

function isOpenFile(file: Deno.FsFile): boolean {
  try {
    file.tryLockSync(false);
    file.unlockSync();
    return true;
  } catch {
    return false;
  }
}

testEpoll(
  "FileDispatcher.close() leaves no registration, though the file stays open",
  async () => {
    using scratch = new Scratch();
    let epoll = -1;
    const network = networkWith({
      epoll_create1: (flags) => epoll = libc().epoll_create1(flags),
    });
    await using map = epollMap(network);
    const [file] = await openFifos(scratch, 1);
    const close = () => {};
    const reader = new Reader(map, Object.assign(file!, { close }));
    const registered = () =>
      Deno.readTextFileSync(`/proc/self/fdinfo/${epoll}`).match(/^tfd:/mg)!;
    assertEquals(registered().length, 2, "the file, and what ends a wait");
    reader.close();
    assertEquals(registered().length, 1);
    Deno.FsFile.prototype.close.call(file!);
  },
);

testEpoll(
  "detach() of a FileDispatcher gives a channel that reads and writes on",
  async () => {
    using scratch = new Scratch();
    await using map = epollMap();
    const [file] = await openFifos(scratch, 1);
    const reader = new Reader(map, file!);
    await loop({ map, count: 1, timeout: 0 });
    const channel = reader.detach();
    const buffer = new Uint8Array(8);
    const reading = channel.read(buffer);
    assertEquals(await channel.write(bytes("spam")), 4);
    assertEquals(await reading, 4);
    channel.close();
    await until(() => !isOpenFile(file!), "the close of the file");
  },
);

testEpoll(
  "the master of a terminal is over when the terminal is closed",
  async () => {
    await using map = epollMap();
    const { ioctl, open, write, close } = libc();
    const master = Deno.openSync("/dev/ptmx", BOTH);
    const fd = descriptorOf(libc(), master)!;
    const number = new Uint8Array(4);
    assertEquals(ioctl(fd, TIOCSPTLCK, number), 0);
    assertEquals(ioctl(fd, C.TIOCGPTN, number), 0);
    const [n] = new Uint32Array(number.buffer);
    const path = bytes(`/dev/pts/${n}\0`) as Uint8Array<ArrayBuffer>;
    const terminal = open(path, C.O_RDWR | C.O_NOCTTY, 0);
    const reader = new Reader(map, master);
    assert(isOfEngine(reader));
    const said = bytes("spam") as Uint8Array<ArrayBuffer>;
    write(terminal, said, said.length);
    await loopUntil(map, () => reader.text === "spam");
    close(terminal);
    await loopToEnd(map);
    assertEquals([reader.closes, reader.errors], [1, []]);
    const { name, message } = reader.closeReason!;
    assertEquals([name, message], ["BrokenPipe", "The terminal has hung up"]);
  },
);

testEpoll(
  "checkChannel() finds no fault in a FIFO of epollNetwork",
  async () => {
    using scratch = new Scratch();
    const network = epollNetwork as LinuxNetwork;
    await runCommand("mkfifo", [`${scratch.path}/fifo`]);
    const names = await checkChannel(async () => {
      const path = `${scratch.path}/fifo`;
      const [input, output] = await Promise.all([
        Deno.open(path),
        Deno.open(path, { write: true }),
      ]);
      const [reader, writer] = [input, output].map((file) =>
        network[FILE_CHANNEL](file)
      );
      return [writer!, reader!];
    }, { kind: "pipe" });
    assertGreater(names.length, 10);
  },
);

// What the kernel does rarely

/** Sends bytes through a FIFO, both of whose ends are the engine's. */
async function exchange(network: LinuxNetwork): Promise<void> {
  using scratch = new Scratch();
  await using map = epollMap(network);
  const [input, output] = await scratch.fifo();
  const reader = new Reader(map, input);
  const writer = new Reader(map, output);
  assert(isOfEngine(reader) && isOfEngine(writer));
  const data = pattern(5_000);
  writer.send(data);
  writer.close();
  await loopToEnd(map);
  assertEquals([reader.closes, reader.errors], [1, []]);
  const received = new Uint8Array(data.length);
  let at = 0;
  for (const chunk of reader.chunks) {
    received.set(chunk, at);
    at += chunk.length;
  }
  assertEquals([at, received], [data.length, data]);
}

/** Whether a write ends the engine's wait; it is not interrupted, nor cut. */
function isWake(length: number): boolean {
  return length === 8;
}

/** Faults of read() and write() of a file. */
const FAULTS: Record<string, (calls: Calls) => Partial<Libc>> = {
  "EINTR of every other call": (calls) => ({
    read: (...args) =>
      calls.count("read") % 2 ? fail(EINTR) : libc().read(...args),
    write: (fd, data, length) =>
      isWake(length) || calls.count("write") % 2 === 0
        ? libc().write(fd, data, length)
        : fail(EINTR),
  }),
  "reads and writes of seven bytes": (calls) => ({
    read: (fd, target, length) => {
      calls.count("read");
      return libc().read(fd, target, Math.min(length, 7));
    },
    write: (fd, data, length) => {
      calls.count("write");
      const most = isWake(length) ? length : 7;
      return libc().write(fd, data, Math.min(length, most));
    },
  }),
  "events that come twice, and for nothing": (calls) => {
    const size = 4 * EPOLL_EVENT.words;
    const before = new Uint8Array(1_024 * size);
    let kept = 0;
    return {
      epoll_wait: (epoll, memory, most, timeout) => {
        const target = memory as Uint8Array;
        const count = libc().epoll_wait(epoll, memory, most / 2, timeout);
        for (const name of ["read", "write"]) calls.count(name);
        target.set(before.subarray(0, kept * size), count * size);
        const both = count + kept;
        kept = count;
        before.set(target.subarray(0, count * size));
        return both;
      },
    };
  },
};

for (const [name, changes] of Object.entries(FAULTS)) {
  testEpoll(`FileDispatcher loses nothing by ${name}`, async () => {
    const calls = new Calls();
    await exchange(networkWith(changes(calls)));
    assertGreater(calls.counts.read!, 1);
    assertGreater(calls.counts.write!, 1);
  });
}

/** Calls whose failure leaves a file to Deno. */
const REFUSALS: Record<string, (calls: Calls) => Partial<Libc>> = {
  "/proc cannot be read": () => ({ open: () => fail(EACCES) }),
  "descriptors run out": () => ({
    fcntl: (fd, call, value) =>
      call === C.F_DUPFD_CLOEXEC ? fail(EMFILE) : libc().fcntl(fd, call, value),
  }),
  "epoll cannot watch it": (calls) => ({
    epoll_ctl: (...args) =>
      // The first one is the engine's own.
      calls.count("epoll_ctl") === 1 ? libc().epoll_ctl(...args) : fail(EPERM),
  }),
};

for (const [why, changes] of Object.entries(REFUSALS)) {
  testEpoll(`FileDispatcher leaves a file to Deno if ${why}`, async () => {
    using scratch = new Scratch();
    await using map = epollMap(networkWith(changes(new Calls())));
    const [file] = await openFifos(scratch, 1);
    const before = descriptors();
    const reader = new Reader(map, file!);
    assert(!isOfEngine(reader));
    assertEquals(descriptors(), before + 2, "those of the engine");
    await loop({ map, count: 2, timeout: 0 });
    assert(reader.connected);
    await Deno.writeTextFile(`${scratch.path}/0`, "spam");
    await loopUntil(map, () => reader.text === "spam");
    reader.close();
    // Lets the system's own read end.
    await Deno.writeTextFile(`${scratch.path}/0`, "last");
  });
}
