import {
  assert,
  assertEquals,
  assertFalse,
  assertGreater,
  assertMatch,
  assertThrows,
} from "@std/assert";
import { assertSpyCalls, spy } from "@std/testing/mock";
import {
  type Acceptor,
  type Channel,
  Dispatcher,
  DispatcherWithSend,
} from "../mod.ts";
import {
  FakeChannel,
  LogLines,
  loopToEnd,
  passes,
  pattern,
  quietMap,
  Recorder,
} from "./fakes.ts";
import {
  bytes,
  type Family,
  IS_ON_EPOLL,
  loopUntil,
  rawConnect,
  ScopedMap,
  testFamilies,
  TestMap,
  TestServer,
  text,
} from "./support.ts";
import { Buffer } from "node:buffer";

const MARK = 64 * 1024;

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

/** Holds back what is sent until it is let go. */
class Corked extends Sender {
  isCorked = true;
  override initiateSend() {
    if (!this.isCorked) super.initiateSend();
  }
}

/** A sender over a fake channel. */
function faked<T extends Sender = Sender>(
  Class: new (map: TestMap, channel: Channel) => T = Sender as never,
) {
  const map = quietMap();
  const channel = new FakeChannel();
  return { map, channel, sender: new Class(map, channel) };
}

/** Takes what is granted. */
function meter(channel: FakeChannel): (length: number) => void {
  const waiting: ((length: number) => void)[] = [];
  channel.take = () => new Promise((resolve) => waiting.push(resolve));
  return (length) => waiting.shift()!(length);
}

/** A sender that connects to a server, and what that server takes in. */
function connected(map: TestMap, family?: Family) {
  const trace: string[] = [];
  const peer = new Recorder(map, null, { trace });
  const take = (conn: Channel) => peer.setSocket(conn);
  const server = new TestServer(map, take, family);
  const sender = new Sender(map);
  sender.createSocket(family?.options);
  sender.connect(server.addr!);
  return { sender, peer };
}

testFamilies(
  "DispatcherWithSend.send() delivers in order, before and after connecting",
  async (family) => {
    await using map = new ScopedMap();
    const { sender, peer } = connected(map, family);
    assertEquals(sender.send(bytes("Suppose there isn't")), 19);
    assertEquals(sender.send(bytes(" a 16-ton")), 9);
    assertEquals(sender.bufferedAmount, 28);
    assert(sender.connecting);
    await loopUntil(map, () => sender.connected);
    sender.send(bytes(" weight"));
    sender.send(bytes("?\n"));
    await loopUntil(map, () => peer.received.endsWith("\n"));
    assertEquals(peer.received, "Suppose there isn't a 16-ton weight?\n");
    await loopUntil(map, () => sender.bufferedAmount === 0);
  },
);

testFamilies(
  "DispatcherWithSend.close() lets what was accepted go out",
  async (family) => {
    await using map = new ScopedMap();
    const { sender, peer } = connected(map, family);
    sender.send(bytes("before it "));
    sender.send(bytes("connects"));
    sender.close();
    await loopUntil(map, () => peer.count("handleClose") === 1);
    assertEquals(peer.received, "before it connects");
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
    const { sender, peer } = connected(map, family);
    peer.handleRead = () => {
      length += peer.recvInto(received.subarray(length));
    };
    for (let at = 0; at < data.length; at += 2 << 20) {
      assertEquals(sender.send(data.subarray(at, at + (2 << 20))), 2 << 20);
    }
    assertEquals(sender.bufferedAmount, data.length);
    await loopUntil(map, () => length === data.length);
    assertEquals(Buffer.compare(received, data), 0);
  },
);

Deno.test("DispatcherWithSend.send() goes on where a write took only a part", async () => {
  const { map, channel, sender } = faked();
  channel.take = (data) => Math.min(data.length, 3);
  sender.send(bytes("Come again?"));
  sender.send(bytes(" I want cheese"));
  await loopUntil(map, () => sender.bufferedAmount === 0);
  assertEquals(channel.sent, "Come again? I want cheese");
  assertGreater(channel.writes.length, 8);
});

Deno.test("DispatcherWithSend.send() accepts nothing once the connection is over", async () => {
  const { map, channel, sender } = faked();
  channel.take = () => Promise.reject(new Deno.errors.BrokenPipe("gone"));
  assertEquals(sender.send(bytes("spam")), 4);
  await loopUntil(map, () => map.size === 0);
  assertEquals(sender.send(bytes("spam")), 0);

  const { sender: closed } = faked();
  closed.close();
  assertEquals(closed.send(bytes("spam")), 0);
});

Deno.test("DispatcherWithSend.send() throws where nothing was connected or data is neither bytes nor text", () => {
  const sender = new Sender(new TestMap());
  const missing = "Cannot send: Sender is not connected: call connect() first";
  assertThrows(() => sender.send(bytes("spam")), Error, missing);
  sender.createSocket();
  assertThrows(() => sender.send(bytes("spam")), Error, "Cannot send");
  assertThrows(
    () => sender.send(5 as never),
    TypeError,
    "data must be a Uint8Array or text, got 5",
  );
  assertEquals(sender.bufferedAmount, 0);
});

Deno.test("send() takes text as UTF-8, and counts its bytes", async () => {
  const channels = [new FakeChannel(), new FakeChannel()] as const;
  const map = new TestMap();
  const senders = [
    new Dispatcher(channels[0], { map }),
    new DispatcherWithSend(channels[1], { map }),
  ];
  for (const sender of senders) {
    assertEquals(sender.send("Größe \u{1F9C0}\ud800"), 15);
    assertEquals(sender.send(""), 0);
    assertEquals(sender.send(bytes("!")), 1);
  }
  const sent = "Größe \u{1F9C0}\ufffd!"; // Half a pair has no UTF-8.
  await loopUntil(map, () => channels.every((it) => it.sent === sent));
  for (const sender of senders) {
    sender.abort();
    assertEquals(sender.send("spam"), 0);
  }
});

Deno.test("DispatcherWithSend.bufferedAmount is what has not gone out", async () => {
  const { map, channel, sender } = faked();
  const take = meter(channel);
  assertEquals(sender.bufferedAmount, 0);
  sender.send(new Uint8Array(100));
  sender.send(new Uint8Array(0));
  assertEquals(sender.bufferedAmount, 100);
  for (const [taken, left] of [[60, 40], [40, 0]] as const) {
    take(taken);
    await loopUntil(map, () => sender.bufferedAmount === left);
  }
});

Deno.test("DispatcherWithSend.writable() is true while connecting or while bytes wait", async () => {
  await using map = new ScopedMap();
  assert(new Sender(map).writable());
  const { sender } = connected(map);
  assert(sender.writable());
  await loopUntil(map, () => sender.connected);
  assertFalse(sender.writable());
  sender.send(bytes("spam"));
  assert(sender.writable() || IS_ON_EPOLL); // That takes it at once.
  await loopUntil(map, () => !sender.writable());
  assertEquals(sender.bufferedAmount, 0);
});

Deno.test("DispatcherWithSend.initiateSend() sends what is buffered, and nothing otherwise", async () => {
  const { map, channel, sender } = faked(Corked);
  new Sender(map).initiateSend(); // It does not even need a socket.
  sender.send(bytes("spam"));
  sender.send(bytes("eggs"));
  await passes(map, 3);
  assertEquals([channel.writeCalls, sender.bufferedAmount], [0, 8]);

  sender.isCorked = false;
  sender.initiateSend();
  sender.initiateSend();
  await loopUntil(map, () => sender.bufferedAmount === 0);
  assertEquals(channel.writes.map(text), ["spameggs"]);
  sender.initiateSend();
  assertEquals(channel.writeCalls, 1);
});

Deno.test("DispatcherWithSend.close() sends also what initiateSend() held back", async () => {
  const { map, channel, sender } = faked(Corked);
  sender.send(bytes("spam"));
  sender.close();
  await loopToEnd(map);
  assertEquals(channel.sent, "spam");
});

Deno.test("DispatcherWithSend.handleWrite() goes on sending", () => {
  const { sender } = faked();
  using initiateSend = spy(sender, "initiateSend");
  sender.handleWrite();
  assertSpyCalls(initiateSend, 1);
});

// The mark

Deno.test("DispatcherWithSend.handleDrain() runs when half of a full buffer is gone", async () => {
  const { map, channel, sender } = faked();
  const take = meter(channel);
  const drains: number[] = [];
  sender.handleDrain = () => void drains.push(sender.bufferedAmount);
  sender.highWaterMark = 100;
  const grant = async (length: number) => {
    const left = sender.bufferedAmount - length;
    take(length);
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
  const server = new TestServer(map, (conn) => {
    const sender = new Sender(map, conn);
    let at = 0;
    sender.handleDrain = () => {
      while (at < data.length && sender.bufferedAmount < MARK) {
        at += sender.send(data.subarray(at, at + 10_000));
        most = Math.max(most, sender.bufferedAmount);
      }
      if (at === data.length) sender.close();
    };
    sender.handleDrain();
    server.close();
  });
  using conn = await rawConnect(server.addr);
  const received = new Response(conn.readable).bytes();
  await loopToEnd(map);
  assertEquals(Buffer.compare(await received, data), 0);
  assert(most < MARK + 10_000, `never far beyond the mark: ${most}`);
});

Deno.test("DispatcherWithSend.highWaterMark is 64 KiB, or another number of bytes", () => {
  const sender = new DispatcherWithSend();
  assertEquals(sender.highWaterMark, MARK);
  sender.highWaterMark = 1;
  for (const wrong of [0, -1, 1.5, NaN, "8"]) {
    assertThrows(
      () => void (sender.highWaterMark = wrong as number),
      typeof wrong === "number" ? RangeError : TypeError,
      "highWaterMark must be",
    );
  }
  assertEquals(sender.highWaterMark, 1, "a refused value changes nothing");
});

// The log

Deno.test("DispatcherWithSend.debug logs what is sent, escaped and cut", () => {
  const { sender } = faked();
  const logger = sender.logger = new LogLines();
  sender.send(bytes("quiet"));
  sender.debug = true;
  sender.send(bytes("spam"));
  sender.send(Uint8Array.of(0, 0x1b, 0x5b, 0x0d, 0x0a, 0xff, 0x9b));
  sender.send(new Uint8Array(200_000).fill(0x78));
  const [spam, escaped, cut, ...rest] = logger.lines;
  assertEquals(spam, 'info: sending "spam"');
  assertEquals(escaped, 'info: sending "\\x00\\x1b[\\r\\nÿ\\x9b"');
  assertMatch(cut!, /^info: sending "x{50,500}" … \(200000 bytes\)$/);
  assertEquals(rest, []);
});
