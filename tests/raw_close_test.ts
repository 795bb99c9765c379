/** `this.socket.close()`, as programs for Python's asyncore call it. */

import {
  assert,
  assertEquals,
  assertFalse,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import {
  type Acceptor,
  AsyncChat,
  type Channel,
  Dispatcher,
  DispatcherWithSend,
  loop,
} from "../mod.ts";
import { memoryPair } from "../testing/mod.ts";
import {
  FakeAcceptor,
  FakeChannel,
  loopToEnd,
  Recorder,
  rest,
  watch,
} from "./fakes.ts";
import { gatedChannel, openChannel, over } from "./scenes.ts";
import { connected, listening, setUp } from "./setups.ts";
import { bytes, loopUntil, ScopedMap, text, turns } from "./support.ts";
import { TRANSPORTS } from "./transports.ts";

/** The channel of a dispatcher that has one. */
const channelOf = ({ socket }: Dispatcher) => socket as Channel & Disposable;

/** All that comes from a connection. */
async function allOf(conn: Channel): Promise<string> {
  const buffer = new Uint8Array(64);
  let all = "";
  for (;;) {
    const length = await conn.read(buffer);
    if (length === null) return all;
    all += text(buffer.subarray(0, length));
  }
}

const PAIRS = [
  ...TRANSPORTS,
  {
    name: "memory",
    ignore: false,
    connect: () => Promise.resolve<[Channel, Channel]>(memoryPair()),
  },
];

for (const { name, ignore, connect } of PAIRS) {
  for (const Class of [Dispatcher, DispatcherWithSend, AsyncChat]) {
    Deno.test({
      name:
        `this.socket.close() over ${name} sends all that ${Class.name} has accepted`,
      ignore,
      fn: async () => {
        await using map = new ScopedMap();
        const [ours, theirs] = await connect();
        const handler = new Class(ours, { map });
        handler.send(bytes("one "));
        handler.send(bytes("two "));
        handler.delChannel();
        channelOf(handler).close();
        let received = "";
        const reading = allOf(theirs).then((all) => received = all);
        await loopUntil(map, () => received !== "");
        await reading;
        theirs.close();
        assertEquals(received, "one two ");
        assertEquals(map.size, 0);
      },
    });
  }
}

Deno.test("this.socket.close() leaves the map, and no hook runs", async () => {
  const { channel, handler, map } = connected();
  const looping = watch(loop({ map }));
  await turns();
  handler.send("one ");
  handler.send("two");
  channelOf(handler).close();
  assertEquals([map.size, handler.socket, handler.closing], [0, null, true]);
  channel.push(bytes("late"));
  await turns();
  assert(looping.settled);
  assertEquals(channel.sent, "one two");
  assert(channel.closed);
  assertEquals(handler.trace, []);
});

Deno.test("using this.socket sends all that was accepted", async () => {
  const { channel, open } = gatedChannel();
  const close = channel.close.bind(channel); // Deno's does not call close().
  const disposed = Object.assign(channel, { [Symbol.dispose]: close });
  const { handler, map } = over(Recorder, {}, disposed);
  handler.send("spam");
  {
    using _ = channelOf(handler);
  }
  assertFalse(channel.closed);
  open();
  await loopToEnd(map);
  assertEquals(channel.sent, "spam");
  assert(channel.closed);
});

Deno.test("this.socket.close() twice, or behind the end, does no harm", async () => {
  const channel = openChannel();
  const { handler, map } = over(Recorder, {}, channel);
  const socket = channelOf(handler);
  handler.send("spam");
  socket.close();
  await rest(map);
  assert(handler.closing);
  socket.close(); // The peer has yet to end its side.
  assertFalse(channel.closed);
  channel.push(null);
  await loopToEnd(map);
  assert(channel.closed);
  socket.close();
});

Deno.test("this.socket is the connection itself, and untouched until it is taken", async () => {
  const [ours, theirs] = await TRANSPORTS[0]!.connect() as Deno.TcpConn[];
  using _ = theirs!;
  await using map = new ScopedMap();
  const handler = new Dispatcher(ours!, { map });
  await loop({ map, count: 1, timeout: 0 });
  assertFalse(Object.hasOwn(ours!, "close"));
  assertStrictEquals(channelOf(handler), ours);
  assertStrictEquals(channelOf(handler), ours);
  (handler.socket as Deno.TcpConn).setNoDelay(true);
});

const STRANGE: Record<string, (channel: FakeChannel) => FakeChannel> = {
  "frozen object": (channel) => {
    const { read, write, close } = channel;
    const methods = {
      read: read.bind(channel),
      write: write.bind(channel),
      close: close.bind(channel),
    };
    return Object.freeze(methods) as unknown as FakeChannel;
  },
  "proxy that forbids changes": (channel) =>
    new Proxy(channel, {
      get: (target, name) => {
        const value = Reflect.get(target, name);
        return typeof value === "function" ? value.bind(target) : value;
      },
      defineProperty() {
        throw new TypeError("no changes");
      },
    }),
};

for (const [what, make] of Object.entries(STRANGE)) {
  Deno.test(`this.socket that is a ${what} closes as it is`, async () => {
    const channel = new FakeChannel();
    const { handler, map } = over(Recorder, {}, make(channel));
    await rest(map);
    channelOf(handler).close();
    assert(channel.closed);
    await loopToEnd(map);
  });
}

Deno.test("this.socket.close() behind new Handler(this.socket) is the close of that handler", async () => {
  const { channel, handler, map } = connected();
  const socket = channelOf(handler);
  handler.send("one ");
  const next = new Dispatcher(socket, { map });
  next.send("two");
  assertEquals(map.size, 1);
  socket.close();
  assertEquals([map.size, next.closing], [0, true]);
  await loopToEnd(map);
  assertEquals(channel.sent, "one two");
  assert(channel.closed);
});

Deno.test("this.socket.close() behind detach() closes what detach() gave", async () => {
  const { channel, handler, map } = connected();
  const socket = channelOf(handler);
  handler.send("one ");
  handler.send("two");
  const detached = handler.detach();
  socket.close();
  await loopToEnd(map);
  assertEquals(channel.sent, "one two");
  assert(channel.closed);
  detached.close();
});

Deno.test("The plain socket of startTls() is not the connection any more", async () => {
  const secure = new FakeChannel();
  const { channel, handler, map, network } = connected({
    async handleRead() {
      this.recv();
      await this.startTls({ hostname: "localhost" });
    },
  }, { allowHalfOpen: true });
  Object.assign(network, { startTls: () => Promise.resolve(secure) });
  const plain = channelOf(handler);
  channel.push(bytes("go"));
  await rest(map);
  assertStrictEquals(channelOf(handler), secure);
  plain.close();
  assert(channel.closed);
  assert(handler.connected);
  handler.close();
  await loopToEnd(map);
});

Deno.test("this.socket.close() of a listener leaves the map", async () => {
  const { acceptor, log, map, server } = listening();
  const looping = watch(loop({ map }));
  await turns();
  (server.socket as Acceptor).close();
  assertEquals([acceptor.closed, server.accepting, map.size], [true, false, 0]);
  await turns();
  assert(looping.settled);
  assertEquals([server.trace, log.lines], [[], []]);
});

Deno.test("listen() that throws behind this.socket leaves a socket to bind again", () => {
  const { map, network } = setUp();
  const server = new Recorder(map);
  server.createSocket();
  server.bind({ port: 7 });
  assertStrictEquals(server.socket as Acceptor, network.acceptor);
  assertThrows(() => server.listen(-1), RangeError);
  assert(network.acceptor.closed);
  network.acceptor = new FakeAcceptor();
  server.bind({ port: 8 });
  assertEquals(map.size, 1);
});

Deno.test("A close() that ends in this.socket.close() is enough, and brings no warning", async () => {
  class Session extends Recorder {
    closes = 0;
    override close(): void {
      this.closes++;
      this.delChannel();
      channelOf(this).close();
    }
  }
  const { channel, handler, lines, map } = over(Session);
  channel.push(null);
  await loopToEnd(map);
  assert(channel.closed);
  assertEquals(handler.closes, 1);
  assertEquals(lines, []);
});
