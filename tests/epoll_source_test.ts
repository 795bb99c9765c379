/** Connections of the second engine: what a dispatcher gets from them. */

import { assert, assertEquals, assertFalse, assertLess } from "@std/assert";
import { type Channel, Dispatcher, DispatcherWithSend, loop } from "../mod.ts";
import { POLLER } from "../core/poller.ts";
import { SOURCE, type SourceChannel } from "../core/source.ts";
import type { Engine } from "../epoll/engine.ts";
import { C } from "../epoll/layout.ts";
import { epollNetwork, fileno, setOption } from "../epoll/mod.ts";
import { OTHER_OPTIONS, writeOption } from "../epoll/option_table.ts";
import {
  libc,
  rawClient,
  rawSend,
  testEpoll,
  untilArrived,
} from "./epoll_faults.ts";
import { Echo, LogLines } from "./fakes.ts";
import {
  bytes,
  loopUntil,
  rawConnect,
  ScopedMap,
  text,
  turn,
  until,
} from "./support.ts";

const HERE = { hostname: "127.0.0.1", port: 0 };
const never = new AbortController().signal;

function epollMap(): ScopedMap {
  return new ScopedMap({ network: epollNetwork, logger: new LogLines() });
}

/** A listener that makes a handler of each connection. */
function serve(map: ScopedMap, handle: (conn: Channel) => unknown) {
  const server = new Dispatcher(null, { map });
  server.createSocket();
  server.bind(HERE);
  server.listen();
  server.handleAccepted = (conn) => void handle(conn);
  return server;
}

/** Both ends of a connection; the first is the engine's. */
async function pairWithDeno(): Promise<[Channel, Deno.Conn]> {
  const at = { transport: "tcp", ...HERE } as const;
  const listener = epollNetwork.listen(at, { backlog: 8, reusePort: false });
  const ends = await Promise.all([
    listener.accept(),
    rawConnect(listener.addr),
  ]);
  listener.close();
  return ends;
}

testEpoll(
  "recv(1) leaves the rest of a message where other connections' reads do not reach it",
  async () => {
    await using map = epollMap();
    const received = ["", "", ""];
    const peers = await Promise.all(received.map(async (_, i) => {
      const [channel, peer] = await pairWithDeno();
      const reader = new Dispatcher(channel, { map });
      reader.handleRead = () => void (received[i] += text(reader.recv(1)));
      return peer;
    }));
    const messages = ["aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc"];
    await Promise.all(peers.map((peer, i) => peer.write(bytes(messages[i]!))));
    await loopUntil(map, () => received.join("").length === 30);
    assertEquals(received, messages);
    for (const peer of peers) peer.close();
  },
);

testEpoll("recv() reads on behind urgent data", async () => {
  await using map = epollMap();
  let received = "";
  const server = serve(map, (conn) => {
    const reader = new Dispatcher(conn, { map });
    reader.handleRead = () => void (received += text(reader.recv()));
  });
  const fd = rawClient(server.addr as Deno.NetAddr);
  rawSend(fd, "one ");
  rawSend(fd, "!", C.MSG_OOB);
  rawSend(fd, "two");
  await untilArrived(fd);
  // No further event would come: all has arrived before the first look.
  await loopUntil(map, () => received.length >= 7);
  assertEquals(received, "one two");
  libc().close(fd);
});

testEpoll(
  "detach() gives a channel that reads and writes though no loop runs",
  async () => {
    await using map = epollMap();
    const [channel, peer] = await pairWithDeno();
    const dispatcher = new Dispatcher(channel, { map });
    await loop({ map, count: 1, timeout: 0 });
    const detached = dispatcher.detach();
    const buffer = new Uint8Array(8);
    const reading = detached.read(buffer);
    await peer.write(bytes("spam"));
    assertEquals(await reading, 4);
    await detached.write(bytes("eggs"));
    assertEquals(await peer.read(buffer), 4);
    detached.close();
    assertEquals(await peer.read(buffer), null);
    peer.close();
  },
);

testEpoll("close() sends and lingers though no loop runs", async () => {
  const map = epollMap();
  const [channel, peer] = await pairWithDeno();
  const sender = new DispatcherWithSend(channel, { map, linger: 600_000 });
  await loop({ map, count: 1, timeout: 0 });
  const size = 8_000_000; // More than the kernel takes at once.
  sender.send(new Uint8Array(size));
  sender.close();
  assert(sender.bufferedAmount > 0);
  const buffer = new Uint8Array(65_536);
  let received = 0;
  for (let length; (length = await peer.read(buffer)) !== null;) {
    received += length;
  }
  assertEquals(received, size);
  peer.close();
  await until(() => map.lingering === 0, "the end of the connection");
});

testEpoll("Engine serves hundreds of busy connections alike", async () => {
  await using map = epollMap();
  const served: number[] = [];
  const server = serve(map, (conn) => {
    const at = served.push(0) - 1;
    const echo = new Echo(conn, { map });
    echo.handleRead = () => {
      served[at]!++;
      echo.send(echo.recv());
    };
  });
  const clients = Array.from({ length: 300 }, () => {
    const client = new Dispatcher(null, { map });
    client.createSocket();
    client.connect(server.addr!);
    client.handleConnect = () => void client.send("spam");
    client.handleRead = () => void client.send(client.recv());
    return client;
  });
  const total = () => served.reduce((sum, count) => sum + count, 0);
  await loopUntil(map, () => served.length === clients.length);
  served.fill(0);
  await loopUntil(map, () => total() >= 30_000);
  assertLess(Math.max(...served), 2 * Math.min(...served));
});

testEpoll(
  "handleClose() comes for a peer that resets, and closeReason says so",
  async () => {
    await using map = epollMap();
    const reasons: (Error | null)[] = [];
    const server = serve(map, (conn) => {
      const handler = new Echo(conn, { map });
      handler.handleClose = () => {
        reasons.push(handler.closeReason);
        handler.close();
      };
    });
    const fd = rawClient(server.addr as Deno.NetAddr);
    await loop({ map, count: 2, timeout: 10 });
    writeOption(libc(), fd, OTHER_OPTIONS.SO_LINGER, [1, 0]);
    libc().close(fd);
    await loopUntil(map, () => reasons.length > 0);
    assert(reasons[0] instanceof Deno.errors.ConnectionReset);
  },
);

testEpoll(
  "read() and write() of a channel wait for one another, and for room",
  async () => {
    const [channel, peer] = await pairWithDeno();
    const one = new Uint8Array(2);
    const two = new Uint8Array(2);
    const reading = Promise.all([channel.read(one), channel.read(two)]);
    await peer.write(bytes("abcd"));
    await reading;
    assertEquals(text(one) + text(two), "abcd");

    const large = new Uint8Array(4_000_000);
    let written = 0;
    const writing = (async () => {
      while (written < large.length) {
        written += await channel.write(large.subarray(written));
      }
      await channel.closeWrite!();
    })();
    let received = 0;
    const buffer = new Uint8Array(65_536);
    for (let length; (length = await peer.read(buffer)) !== null;) {
      received += length;
    }
    await writing;
    assertEquals(received, large.length);
    const pending = channel.read(one);
    channel.close();
    const error = await pending.then(() => null, (error) => error);
    assert(error instanceof Deno.errors.Interrupted);
    peer.close();
    await epollNetwork.connect(
      { transport: "tcp", hostname: "127.0.0.1", port: 1 },
      { signal: never },
    ).catch((error) => assert(error instanceof Deno.errors.ConnectionRefused));
  },
);

testEpoll("a channel that the program closes ends its dispatcher", async () => {
  await using map = epollMap();
  const [channel, peer] = await pairWithDeno();
  const reasons: (Error | null)[] = [];
  const reader = new Dispatcher(channel, { map });
  reader.handleClose = () => {
    reasons.push(reader.closeReason);
    reader.close();
  };
  await loop({ map, count: 1, timeout: 0 });
  channel.close();
  await loopUntil(map, () => reasons.length > 0);
  assert(reasons[0] instanceof Deno.errors.Interrupted);
  peer.close();
});

testEpoll("send() goes on though no loop runs", async () => {
  await using map = epollMap();
  const [channel, peer] = await pairWithDeno();
  const sender = new DispatcherWithSend(channel, { map });
  await loop({ map, count: 1, timeout: 0 });
  const size = 8_000_000; // More than the kernel takes at once.
  sender.send(new Uint8Array(size));
  const buffer = new Uint8Array(65_536);
  for (let received = 0; received < size;) {
    received += (await peer.read(buffer))!;
  }
  assertEquals(sender.bufferedAmount, 0);
  peer.close();
});

/** How many bytes the kernel holds for a descriptor. */
function unread(fd: number): number {
  const FIONREAD = 0x541B;
  const count = new Int32Array(1);
  libc().ioctl(fd, FIONREAD, new Uint8Array(count.buffer));
  return count[0]!;
}

testEpoll(
  "an event harms nobody while more bytes wait than one look behind brings",
  async () => {
    const at = { transport: "tcp", ...HERE } as const;
    const listener = epollNetwork.listen(at, { backlog: 8, reusePort: false });
    setOption(listener, "SO_RCVBUF", 1 << 20);
    const fd = rawClient(listener.addr as Deno.NetAddr);
    const channel = await listener.accept() as SourceChannel;
    listener.close();
    const say = (data: Uint8Array<ArrayBuffer>) =>
      assertEquals(libc().send(fd, data, data.length, 0), data.length);
    say(new Uint8Array(320 * 1024));
    await until(() => unread(fileno(channel)) >= 300 * 1024, "the bytes");
    const engine = (epollNetwork as unknown as { [POLLER]: Engine })[POLLER];
    const source = channel[SOURCE]({ onReadable() {} });
    engine.poll();
    assertEquals(source.available, 128 * 1024); // One read, and more is there.
    source.take(source.available - 1_000);
    assert(source.watchBehind());
    source.take(source.available);
    assertEquals(source.available, 128 * 1024);
    assert(source.isWatching);
    say(Uint8Array.of(1));
    engine.poll();
    assertFalse(source.isWatching);
    assertEquals(source.available, 128 * 1024);
    channel.close();
    libc().close(fd);
    await turn(); // That of watchBehind().
  },
);

testEpoll("write() sends no more than the bytes of its array", async () => {
  const [channel, peer] = await pairWithDeno();
  const liar = bytes("spam");
  Object.defineProperty(liar, "length", { value: 5_000 });
  assertEquals(await channel.write(liar), 4);
  const buffer = new Uint8Array(8);
  assertEquals(await peer.read(buffer), 4);
  channel.close();
  peer.close();
});
