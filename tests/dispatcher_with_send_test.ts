import {
  assert,
  assertEquals,
  assertFalse,
  assertGreater,
  assertMatch,
  assertThrows,
} from "@std/assert";
import { assertSpyCalls, spy } from "@std/testing/mock";
import { type Acceptor, type Channel, DispatcherWithSend } from "../mod.ts";
import { FakeChannel, LogLines, loopToEnd, passes, pattern } from "./fakes.ts";
import {
  bytes,
  connectedPair,
  type Family,
  loopUntil,
  rawConnect,
  ScopedMap,
  StrictDispatcher,
  testFamilies,
  type TestMap,
  TestServer,
  text,
} from "./support.ts";

/** Sends, never reads, and lets errors reach the test. */
class Sender extends DispatcherWithSend {
  constructor(map: TestMap, channel: Channel | Acceptor | null = null) {
    super(channel, { map });
  }
  override readable(): boolean {
    return false;
  }
  override handleConnect(): void {}
  override handleError(error: unknown): void {
    throw error;
  }
}

/** A server that gathers what arrives. */
class CaptureServer extends TestServer {
  text = "";
  ended = false;

  constructor(map: TestMap, family: Family) {
    super(map, (conn) => this.#capture(map, conn), family);
  }

  #capture(map: TestMap, conn: Channel): void {
    const addText = (more: string) => this.text += more;
    const end = () => this.ended = true;
    class Handler extends StrictDispatcher {
      override handleRead() {
        addText(text(this.recv(10)));
      }
      override handleClose() {
        end();
      }
    }
    new Handler(map, conn);
  }
}

testFamilies(
  "DispatcherWithSend.send() delivers in order, before and after connecting",
  async (family) => {
    await using map = new ScopedMap();
    const server = new CaptureServer(map, family);
    const sender = new Sender(map);
    sender.createSocket(family.options);
    sender.connect(server.addr!);
    assertEquals(sender.send(bytes("Suppose there isn't")), 19);
    assertEquals(sender.send(bytes(" a 16-ton")), 9);
    assertEquals(sender.bufferedAmount, 28);
    assert(sender.connecting);

    await loopUntil(map, () => sender.connected);
    sender.send(bytes(" weight"));
    sender.send(bytes("?\n"));
    await loopUntil(map, () => server.text.endsWith("\n"));
    assertEquals(server.text, "Suppose there isn't a 16-ton weight?\n");
    await loopUntil(map, () => sender.bufferedAmount === 0);
  },
);

testFamilies(
  "DispatcherWithSend.close() lets what was accepted go out",
  async (family) => {
    await using map = new ScopedMap();
    const server = new CaptureServer(map, family);
    const sender = new Sender(map);
    sender.createSocket(family.options);
    sender.connect(server.addr!);
    sender.send(bytes("before it "));
    sender.send(bytes("connects"));
    sender.close();
    await loopUntil(map, () => server.ended);
    assertEquals(server.text, "before it connects");
    assertEquals(sender.bufferedAmount, 0);
  },
);

testFamilies(
  "DispatcherWithSend.send() takes more at once than the system does",
  async (family) => {
    await using map = new ScopedMap();
    const data = pattern(8 << 20);
    const received = new Uint8Array(data.length);
    let length = 0;
    class Handler extends StrictDispatcher {
      override handleRead() {
        length += this.recvInto(received.subarray(length));
      }
    }
    const server = new TestServer(
      map,
      (conn) => new Handler(map, conn),
      family,
    );
    const sender = new Sender(map);
    sender.createSocket(family.options);
    sender.connect(server.addr!);
    for (let i = 0; i < 4; i++) {
      const quarter = data.subarray(i * (2 << 20), (i + 1) * (2 << 20));
      assertEquals(sender.send(quarter), 2 << 20);
    }
    assertEquals(sender.bufferedAmount, 8 << 20);
    await loopUntil(map, () => length === data.length);
    assert(sameBytes(received, data), "the bytes are those that were sent");
  },
);

/** Compares without building a report of megabytes. */
function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

Deno.test("DispatcherWithSend.send() leaves the data to its caller afterwards", async () => {
  await using map = new ScopedMap();
  const [ours, theirs] = await connectedPair();
  using _peer = theirs;
  const sender = new Sender(map, ours);
  const data = bytes("spam");
  sender.send(data);
  data.set(bytes("eggs"));
  sender.send(data);
  data.fill(0);
  sender.close();
  const received = readToEnd(theirs);
  await loopToEnd(map);
  assertEquals(await received, "spameggs");
});

async function readToEnd(conn: Deno.Conn): Promise<string> {
  return await new Response(conn.readable).text();
}

Deno.test("DispatcherWithSend.send() goes on where a write took only a part", async () => {
  await using map = new ScopedMap();
  const channel = new FakeChannel();
  channel.take = (data) => Math.min(data.length, 3);
  const sender = new Sender(map, channel);
  sender.send(bytes("Come again?"));
  sender.send(bytes(" I want cheese"));
  await loopUntil(map, () => sender.bufferedAmount === 0);
  assertEquals(channel.sent, "Come again? I want cheese");
  assertGreater(channel.writes.length, 8);
});

Deno.test("DispatcherWithSend.send() accepts nothing once the connection is over", async () => {
  await using map = new ScopedMap();
  const channel = new FakeChannel();
  channel.take = () => Promise.reject(new Deno.errors.BrokenPipe("gone"));
  const sender = new Sender(map, channel);
  assertEquals(sender.send(bytes("spam")), 4);
  await loopUntil(map, () => map.size === 0);
  assertEquals(sender.send(bytes("spam")), 0);

  const [ours, theirs] = await connectedPair();
  using _peer = theirs;
  const closed = new Sender(map, ours);
  closed.close();
  assertEquals(closed.send(bytes("spam")), 0);
});

Deno.test("DispatcherWithSend.send() throws where nothing was connected or data is no bytes", async () => {
  await using map = new ScopedMap();
  const sender = new Sender(map);
  assertThrows(
    () => sender.send(bytes("spam")),
    Error,
    "Cannot send: Sender is not connected: call connect() first",
  );
  sender.createSocket();
  assertThrows(() => sender.send(bytes("spam")), Error, "Cannot send");
  assertThrows(
    () => sender.send("spam" as unknown as Uint8Array),
    TypeError,
    "data must be a Uint8Array",
  );
  assertEquals(sender.bufferedAmount, 0);
});

Deno.test("DispatcherWithSend.bufferedAmount is what has not gone out", async () => {
  await using map = new ScopedMap();
  const channel = new FakeChannel();
  const grants: ((length: number) => void)[] = [];
  channel.take = () => new Promise((resolve) => grants.push(resolve));
  const sender = new Sender(map);
  assertEquals(sender.bufferedAmount, 0);
  sender.setSocket(channel);
  sender.send(new Uint8Array(100));
  sender.send(new Uint8Array(0));
  assertEquals(sender.bufferedAmount, 100);
  grants.shift()!(60);
  await loopUntil(map, () => sender.bufferedAmount < 100);
  assertEquals(sender.bufferedAmount, 40);
  grants.shift()!(40);
  await loopUntil(map, () => sender.bufferedAmount < 40);
  assertEquals(sender.bufferedAmount, 0);
});

Deno.test("DispatcherWithSend.writable() is true while connecting or while bytes wait", async () => {
  await using map = new ScopedMap();
  const server = new TestServer(map, (conn) => new Sender(map, conn));
  const sender = new Sender(map);
  assert(sender.writable());
  sender.createSocket();
  sender.connect(server.addr!);
  assert(sender.writable());
  await loopUntil(map, () => sender.connected);
  assertFalse(sender.writable());
  sender.send(bytes("spam"));
  assert(sender.writable());
  await loopUntil(map, () => !sender.writable());
  assertEquals(sender.bufferedAmount, 0);
});

Deno.test("DispatcherWithSend.initiateSend() sends what is buffered, and nothing otherwise", async () => {
  await using map = new ScopedMap();
  /** Holds back what is sent until it is let go. */
  class Corked extends Sender {
    corked = true;
    override initiateSend() {
      if (!this.corked) super.initiateSend();
    }
  }
  const channel = new FakeChannel();
  const sender = new Corked(map);
  new Sender(map).initiateSend(); // It does not even need a socket.
  sender.setSocket(channel);
  sender.send(bytes("spam"));
  sender.send(bytes("eggs"));
  await passes(map, 3);
  assertEquals(channel.writeCalls, 0);
  assertEquals(sender.bufferedAmount, 8);

  sender.corked = false;
  sender.initiateSend();
  sender.initiateSend();
  await loopUntil(map, () => sender.bufferedAmount === 0);
  assertEquals(channel.writes.map(text), ["spameggs"]);
  sender.initiateSend();
  assertEquals(channel.writeCalls, 1);
});

Deno.test("DispatcherWithSend.close() sends also what initiateSend() held back", async () => {
  await using map = new ScopedMap();
  class Corked extends Sender {
    override initiateSend() {}
  }
  const channel = new FakeChannel();
  const sender = new Corked(map, channel);
  sender.send(bytes("spam"));
  sender.close();
  await loopToEnd(map);
  assertEquals(channel.sent, "spam");
});

Deno.test("DispatcherWithSend.handleWrite() goes on sending", async () => {
  await using map = new ScopedMap();
  const sender = new Sender(map, new FakeChannel());
  using initiateSend = spy(sender, "initiateSend");
  sender.handleWrite();
  assertSpyCalls(initiateSend, 1);
});

// The mark

Deno.test("DispatcherWithSend.handleDrain() runs when half of a full buffer is gone", async () => {
  await using map = new ScopedMap();
  const channel = new FakeChannel();
  const grants: ((length: number) => void)[] = [];
  channel.take = () => new Promise((resolve) => grants.push(resolve));
  const drains: number[] = [];
  class DrainSender extends Sender {
    override handleDrain() {
      drains.push(this.bufferedAmount);
    }
  }
  const sender = new DrainSender(map, channel);
  sender.highWaterMark = 100;
  const grant = async (length: number) => {
    const left = sender.bufferedAmount - length;
    grants.shift()!(length);
    await loopUntil(map, () => sender.bufferedAmount === left);
    await passes(map, 3);
  };

  sender.send(new Uint8Array(99));
  await grant(99);
  assertEquals(drains, [], "the mark was not reached");

  sender.send(new Uint8Array(60));
  sender.send(new Uint8Array(40));
  await grant(49);
  assertEquals(drains, [], "more than half is left");
  await grant(1);
  assertEquals(drains, [50]);
  await grant(10);
  await grant(40);
  assertEquals(drains, [50], "once");

  sender.send(new Uint8Array(300));
  await grant(300);
  assertEquals(drains, [50, 0], "and again the next time");
});

Deno.test("DispatcherWithSend.handleDrain() lets a sender keep pace with a slow reader", async () => {
  await using map = new ScopedMap();
  const data = pattern(2 << 20);
  let most = 0;
  class Streamer extends Sender {
    sent = 0;
    fill() {
      while (
        this.sent < data.length && this.bufferedAmount < this.highWaterMark
      ) {
        this.sent += this.send(data.subarray(this.sent, this.sent + 10_000));
        most = Math.max(most, this.bufferedAmount);
      }
      if (this.sent === data.length) this.close();
    }
    override handleDrain() {
      this.fill();
    }
  }
  const server = new TestServer(map, (conn) => new Streamer(map, conn).fill());
  using conn = await rawConnect(server.addr);
  let received = 0;
  let same = true;
  const reading = (async () => {
    for await (const part of conn.readable) {
      same &&= part.every((byte, i) => byte === data[received + i]);
      received += part.length;
    }
    server.close();
  })();
  await loopToEnd(map);
  await reading;
  assertEquals(received, data.length);
  assert(same, "the bytes are those that were sent");
  assert(most < 64 * 1024 + 10_000, `never far beyond the mark: ${most}`);
});

Deno.test("DispatcherWithSend.highWaterMark is 64 KiB, or another number of bytes", () => {
  const sender = new DispatcherWithSend();
  assertEquals(sender.highWaterMark, 65_536);
  sender.highWaterMark = 1;
  assertEquals(sender.highWaterMark, 1);
  for (const wrong of [0, -1, 1.5, NaN]) {
    assertThrows(
      () => sender.highWaterMark = wrong,
      RangeError,
      "highWaterMark must be",
    );
  }
  assertThrows(
    () => sender.highWaterMark = "8" as unknown as number,
    TypeError,
    "highWaterMark must be a number",
  );
  assertEquals(sender.highWaterMark, 1, "a refused value changes nothing");
});

// The log

Deno.test("DispatcherWithSend.debug logs what is sent, escaped and cut", async () => {
  await using map = new ScopedMap();
  const logger = new LogLines();
  const sender = new Sender(map, new FakeChannel());
  sender.logger = logger;
  sender.send(bytes("quiet"));
  assertEquals(logger.lines, []);

  sender.debug = true;
  sender.send(bytes("spam"));
  sender.send(Uint8Array.of(0, 0x1b, 0x5b, 0x0d, 0x0a, 0xff, 0x9b));
  sender.send(new Uint8Array(200_000).fill(0x78));
  assertEquals(logger.lines[0], 'info: sending "spam"');
  assertEquals(logger.lines[1], 'info: sending "\\x00\\x1b[\\r\\nÿ\\x9b"');
  assertMatch(
    logger.lines[2]!,
    /^info: sending "x{50,500}" … \(200000 bytes\)$/,
  );
  assertEquals(logger.lines.length, 3);
});
