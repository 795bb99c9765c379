import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  Dispatcher,
  type DispatcherOptions,
  DispatcherWithSend,
  poll,
} from "../mod.ts";
import {
  FakeChannel,
  LogLines,
  loopToEnd,
  passes,
  pattern,
  quietMap,
} from "./fakes.ts";
import {
  bytes,
  connectedPair,
  loopUntil,
  ScopedMap,
  type TestMap,
  text,
  turn,
} from "./support.ts";

/** Writes down what it reads and which hooks run. */
class Half extends DispatcherWithSend {
  readonly trace: string[] = [];
  received = "";

  constructor(
    map: TestMap,
    conn: ConstructorParameters<typeof DispatcherWithSend>[0],
    options: DispatcherOptions = {},
  ) {
    super(conn, { map, ...options });
  }
  override handleConnect(): void {}
  override handleRead(): void {
    this.received += text(this.recv());
  }
  override handleClose(): void {
    this.trace.push("handleClose");
    this.close();
  }
  override handleError(error: unknown): void {
    this.trace.push(`handleError ${error}`);
    this.close();
  }
}

/** A half-open one, which does nothing at the end of the stream. */
class Patient extends Half {
  constructor(map: TestMap, conn: Deno.Conn | FakeChannel | null) {
    super(map, conn, { allowHalfOpen: true });
  }
  override handleEnd(): void {
    this.trace.push("handleEnd");
  }
}

const quiet = () => new ScopedMap({ logger: new LogLines() });

/** Reads to the end of the stream. */
async function readAll(conn: Deno.Conn): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  const buffer = new Uint8Array(65_536);
  for (;;) {
    const length = await conn.read(buffer);
    if (length === null) break;
    parts.push(buffer.slice(0, length));
  }
  return new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer());
}

Deno.test("shutdownWrite() ends the peer's reading, and ours goes on", async () => {
  await using map = quiet();
  const [conn, peer] = await connectedPair();
  const half = new Half(map, conn);
  half.send(bytes("question"));
  half.shutdownWrite();
  assertEquals(text(await readAll(peer)), "question");
  await peer.write(bytes("answer"));
  await loopUntil(map, () => half.received === "answer");
  assert(half.connected);
  peer.close();
  await loopToEnd(map);
  assertEquals(half.trace, ["handleClose"]);
});

Deno.test("shutdownWrite() lets out all that was accepted first", async () => {
  await using map = quiet();
  const [conn, peer] = await connectedPair();
  const half = new Half(map, conn);
  const data = pattern(8 * 1024 * 1024);
  half.send(data);
  assert(half.bufferedAmount > 0);
  half.shutdownWrite();
  const received = await readAll(peer);
  assertEquals(received.length, data.length);
  assert(received.every((byte, index) => byte === data[index]));
  assert(half.connected);
  peer.close();
  await loopToEnd(map);
});

Deno.test("send() after shutdownWrite() throws and sends nothing", async () => {
  await using map = quiet();
  const channel = new FakeChannel();
  const half = new Half(map, channel);
  half.shutdownWrite();
  const message = "has ended its writing direction";
  assertThrows(() => half.send(bytes("late")), Error, message);
  half.shutdownWrite(); // The second one does nothing.
  assertEquals(half.bufferedAmount, 0);
  assertEquals(channel.writes, []);
  assert(channel.writeEnded);
  half.abort();
});

Deno.test("shutdownWrite() before connect() is refused", () => {
  const map = new ScopedMap();
  const half = new Half(map, null);
  assertThrows(() => half.shutdownWrite(), Error, "call connect() first");
  half.createSocket();
  assertThrows(() => half.shutdownWrite(), Error, "call connect() first");
  half.bind({ hostname: "127.0.0.1", port: 0 });
  half.listen();
  assertThrows(() => half.shutdownWrite(), Error, "it is listening");
  half.close();
});

Deno.test("shutdownWrite() while connecting ends writing once it stands", async () => {
  await using map = quiet();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const half = new Half(map, null);
  half.createSocket();
  half.connect(listener.addr);
  half.send(bytes("early"));
  half.shutdownWrite();
  const accepted = listener.accept();
  await loopUntil(map, () => half.connected);
  using peer = await accepted;
  assertEquals(text(await readAll(peer)), "early");
  await peer.write(bytes("answer"));
  await loopUntil(map, () => half.received === "answer");
});

Deno.test("shutdownWrite() after close() and after abort() does nothing", async () => {
  await using map = quiet();
  for (const method of ["close", "abort"] as const) {
    const half = new Half(map, new FakeChannel());
    half[method]();
    half.shutdownWrite();
    assertEquals(half.connected, false);
  }
});

Deno.test("by default the peer's end of stream closes", async () => {
  await using map = quiet();
  const [conn, peer] = await connectedPair();
  const half = new Half(map, conn);
  let ends = 0;
  half.handleEnd = () => void ends++;
  await peer.closeWrite();
  await loopToEnd(map);
  assertEquals(half.trace, ["handleClose"]);
  assertEquals(ends, 0);
  peer.close();
});

Deno.test("allowHalfOpen tells of the end once, and writing goes on", async () => {
  await using map = quiet();
  const [conn, peer] = await connectedPair();
  const half = new Patient(map, conn);
  await peer.write(bytes("question"));
  await peer.closeWrite();
  await loopUntil(map, () => half.trace.length > 0);
  await loopUntil(map, () => true);
  assertEquals(half.received, "question");
  assertEquals(half.trace, ["handleEnd"]);
  const data = pattern(1024 * 1024);
  half.send(data);
  const reading = readAll(peer);
  await loopUntil(map, () => half.bufferedAmount === 0);
  assertEquals(half.trace, ["handleEnd"]);
  assert(half.connected);
  half.shutdownWrite();
  await loopToEnd(map);
  assertEquals(half.trace, ["handleEnd", "handleClose"]);
  assertEquals((await reading).length, data.length);
  peer.close();
});

Deno.test("handleClose() waits for what was accepted when both sides end", async () => {
  await using map = quiet();
  const [conn, peer] = await connectedPair();
  const half = new Patient(map, conn);
  await peer.closeWrite();
  await loopUntil(map, () => half.trace.length > 0);
  half.send(new Uint8Array(8 * 1024 * 1024));
  half.shutdownWrite();
  await loopUntil(map, () => true);
  assertEquals(half.trace, ["handleEnd"]);
  const reading = readAll(peer);
  await loopToEnd(map);
  assertEquals(half.trace, ["handleEnd", "handleClose"]);
  assertEquals((await reading).length, 8 * 1024 * 1024);
  peer.close();
});

Deno.test("allowHalfOpen ends its own side by default", async () => {
  await using map = quiet();
  const [conn, peer] = await connectedPair();
  const half = new Half(map, conn, { allowHalfOpen: true });
  half.send(bytes("answer"));
  await peer.closeWrite();
  const reading = readAll(peer);
  await loopToEnd(map);
  assertEquals(text(await reading), "answer");
  assertEquals(half.trace, ["handleClose"]);
  peer.close();
});

Deno.test("an end after shutdownWrite() closes without handleEnd()", async () => {
  await using map = quiet();
  const [conn, peer] = await connectedPair();
  const half = new Patient(map, conn);
  half.shutdownWrite();
  assertEquals((await readAll(peer)).length, 0);
  await peer.closeWrite();
  await loopToEnd(map);
  assertEquals(half.trace, ["handleClose"]);
  peer.close();
});

Deno.test("an end while the last bytes go out loses none of them", async () => {
  await using map = quiet();
  const [conn, peer] = await connectedPair();
  const half = new Patient(map, conn);
  half.send(new Uint8Array(8 * 1024 * 1024));
  half.shutdownWrite();
  await peer.closeWrite();
  const reading = readAll(peer);
  await loopToEnd(map);
  assertEquals((await reading).length, 8 * 1024 * 1024);
  assertEquals(half.trace, ["handleClose"]);
  peer.close();
});

Deno.test("close() after shutdownWrite() sends what was accepted", async () => {
  await using map = quiet();
  const [conn, peer] = await connectedPair();
  const half = new Half(map, conn);
  half.send(new Uint8Array(4 * 1024 * 1024));
  half.shutdownWrite();
  half.close();
  const reading = readAll(peer).finally(() => peer.close());
  await loopToEnd(map);
  assertEquals((await reading).length, 4 * 1024 * 1024);
  assertEquals(half.trace, []);
});

Deno.test("close() while half open releases the connection", async () => {
  await using map = quiet();
  const [conn, peer] = await connectedPair();
  const half = new Patient(map, conn);
  await peer.closeWrite();
  await loopUntil(map, () => half.trace.length > 0);
  half.close();
  await loopToEnd(map);
  assertEquals(half.trace, ["handleEnd"]);
  assertEquals((await readAll(peer)).length, 0);
  peer.close();
});

Deno.test("a peer that goes while half open ends in handleClose() once", async () => {
  await using map = quiet();
  const [conn, peer] = await connectedPair();
  const half = new Patient(map, conn);
  await peer.closeWrite();
  await loopUntil(map, () => half.trace.length > 0);
  // Closed with bytes unread: the kernel answers with a reset.
  half.send(bytes("unread"));
  await loopUntil(map, () => half.bufferedAmount === 0);
  peer.close();
  await loopUntil(map, () => {
    if (half.connected) half.send(new Uint8Array(1024));
    return !half.connected;
  });
  assertEquals(half.trace, ["handleEnd", "handleClose"]);
  assert(half.closeReason instanceof Error);
});

Deno.test("an async handleEnd() may answer before it ends its side", async () => {
  await using map = quiet();
  const [conn, peer] = await connectedPair();
  const half = new Patient(map, conn);
  const gate = Promise.withResolvers<void>();
  half.handleEnd = async () => {
    half.trace.push("handleEnd");
    await gate.promise;
    half.send(bytes("answer"));
    half.shutdownWrite();
  };
  await peer.closeWrite();
  await loopUntil(map, () => half.trace.length > 0);
  const reading = readAll(peer);
  gate.resolve();
  await loopToEnd(map);
  assertEquals(text(await reading), "answer");
  assertEquals(half.trace, ["handleEnd", "handleClose"]);
  peer.close();
});

Deno.test("what handleEnd() throws goes to handleError()", async () => {
  await using map = quiet();
  const channel = new FakeChannel();
  const half = new Patient(map, channel);
  half.handleEnd = () => {
    throw new Error("spam");
  };
  channel.push(null);
  await loopToEnd(map);
  assertEquals(half.trace, ["handleError Error: spam"]);
  assert(channel.closed);
});

Deno.test("a class without handleRead() is told of the end, too", async () => {
  await using map = quiet();
  const trace: string[] = [];
  class Deaf extends DispatcherWithSend {
    override handleEnd(): void {
      trace.push("handleEnd");
      this.shutdownWrite();
    }
    override handleClose(): void {
      trace.push("handleClose");
      this.close();
    }
  }
  const channel = new FakeChannel();
  new Deaf(channel, { map, allowHalfOpen: true });
  channel.push(null);
  await loopToEnd(map);
  assertEquals(trace, ["handleEnd", "handleClose"]);
  assert(channel.closed);
});

for (const allowHalfOpen of ["yes", 1, null]) {
  Deno.test(`allowHalfOpen: ${Deno.inspect(allowHalfOpen)} is refused`, () => {
    const options = { allowHalfOpen } as unknown as DispatcherOptions;
    assertThrows(
      () => new DispatcherWithSend(null, options),
      TypeError,
      "allowHalfOpen",
    );
  });
}

Deno.test("an end that was told is not told again when an async hook settles", async () => {
  await using map = quiet();
  const [conn, peer] = await connectedPair();
  let reads = 0;
  class Async extends DispatcherWithSend {
    override async handleRead() {
      reads++;
      this.recv();
      await Promise.resolve();
    }
    override handleEnd() {}
  }
  const half = new Async(conn, { map, allowHalfOpen: true });
  await peer.closeWrite();
  await loopUntil(map, () => reads > 0);
  for (let pass = 0; pass < 5; pass++) await poll(0, map);
  assertEquals(reads, 1);
  half.abort();
  peer.close();
});

Deno.test("an end that recv() finds in handleClose() is told by no handleEnd()", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const trace: string[] = [];
  class Closing extends Dispatcher {
    override handleEnd(): void {
      trace.push("handleEnd");
    }
    override handleClose(): void {
      trace.push("handleClose");
      this.recv();
    }
  }
  const closing = new Closing(channel, { map, allowHalfOpen: true });
  closing.readable = () => channel.reads === 0;
  channel.take = () => Promise.reject(new Deno.errors.BrokenPipe("spam"));
  await passes(map, 2);
  channel.push(null);
  await turn();
  closing.send(bytes("eggs"));
  await loopToEnd(map);
  assertEquals(trace, ["handleClose"]);
});
