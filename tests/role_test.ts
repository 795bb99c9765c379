/** Which end of a conversation is read while its peer takes nothing. */

import {
  assert,
  assertEquals,
  assertFalse,
  assertMatch,
  assertThrows,
} from "@std/assert";
import {
  AsyncChat,
  type Channel,
  channelFrom,
  Dispatcher,
  type DispatcherOptions,
  DispatcherWithSend,
  loop,
} from "../mod.ts";
import { memoryPair, MockClock } from "../testing/mod.ts";
import { Valve } from "./chats.ts";
import {
  FakeAcceptor,
  FakeChannel,
  FakeNetwork,
  LogLines,
  loopToEnd,
  quietMap,
  rest,
} from "./fakes.ts";
import {
  connectedPair,
  loopUntil,
  ScopedMap,
  type TestMap,
  TestServer,
  turns,
} from "./support.ts";

const MARK = 64 * 1024;

/** Sends back what it reads. */
class Echo extends DispatcherWithSend {
  received = 0;

  constructor(
    map: TestMap,
    channel: Channel | null = null,
    options: DispatcherOptions = {},
  ) {
    super(channel, { ...options, map });
  }
  override handleConnect(): void {}
  override handleRead(): void {
    const data = this.recv();
    this.received += data.length;
    this.send(data);
  }
  override handleClose(): void {
    this.close();
  }
}

/** The same as a conversation. */
class EchoChat extends AsyncChat {
  constructor(map: TestMap, channel: Channel, options: DispatcherOptions = {}) {
    super(channel, { ...options, map });
    this.setTerminator(null);
  }
  override collectIncomingData(data: Uint8Array): void {
    this.push(data);
  }
}

/** A wrapper that knows nothing of what it wraps. */
function wrap(channel: Channel): Channel {
  return {
    read: (target) => channel.read(target),
    write: (data) => channel.write(data),
    close: () => channel.close(),
  };
}

/** Has a listener of the library take a connection. */
async function accepted(map: TestMap): Promise<Channel> {
  const acceptor = new FakeAcceptor();
  let taken: Channel | undefined;
  class Server extends Dispatcher {
    override handleAccepted(conn: Channel): void {
      taken = conn;
    }
  }
  const server = new Server(acceptor, { map });
  acceptor.push(new FakeChannel());
  await loopUntil(map, () => taken !== undefined);
  server.close();
  return taken!;
}

type Origin = (map: TestMap) => Channel | Promise<Channel>;

/** Where the channel of a server may come from. */
const ORIGINS: Record<string, Origin> = {
  "a listener of the library": accepted,
  "a listener of the library, in a wrapper": async (map) =>
    wrap(await accepted(map)),
  "Deno.listen()": async () => {
    const [client, server] = await connectedPair();
    client.close();
    return server;
  },
  "Web streams": () => channelFrom(new TransformStream()),
  "memoryPair()": () => memoryPair()[0],
  "nowhere": () => new FakeChannel(),
};

for (const [origin, make] of Object.entries(ORIGINS)) {
  Deno.test(`DispatcherOptions.role is "server" where the channel is from ${origin}`, async () => {
    await using map = new ScopedMap({ logger: new LogLines() });
    for (const Class of [Echo, EchoChat]) {
      const handler = new Class(map, await make(map));
      assert(handler.readable());
      if (handler instanceof AsyncChat) handler.push(new Uint8Array(MARK));
      else handler.send(new Uint8Array(MARK));
      assertFalse(handler.readable(), Class.name);
      handler.abort();
    }
  });
}

Deno.test('DispatcherOptions.role is "client" where this side connects', async () => {
  const network = new FakeNetwork();
  const map = quietMap({ network });
  const channel = new FakeChannel();
  new Valve(channel);
  const client = new Echo(map);
  client.createSocket();
  client.connect({ port: 7 });
  client.send(new Uint8Array(2 * MARK));
  network.succeed(channel);
  channel.push("spam");
  await loopUntil(map, () => client.received === 4);
  assert(client.readable());
  client.abort();
});

Deno.test('DispatcherOptions.role "client" has a ready-made channel read on', async () => {
  for (const role of ["client", "server"] as const) {
    const map = quietMap();
    const channel = new FakeChannel();
    const valve = new Valve(channel);
    const handler = new Echo(map, channel, { role });
    for (let i = 0; i < 20; i++) channel.push(new Uint8Array(MARK));
    channel.push(null);
    if (role === "client") {
      await loopUntil(map, () => handler.received === 20 * MARK);
    } else {
      await rest(map);
      assertEquals(handler.received, MARK);
    }
    valve.open();
    await loopToEnd(map);
    assertEquals(channel.sent.length, 20 * MARK);
  }
});

Deno.test('DispatcherOptions.role "server" holds back what this side connects, too', () => {
  const network = new FakeNetwork();
  const client = new Echo(quietMap({ network }), null, { role: "server" });
  client.createSocket();
  client.connect({ port: 7 });
  client.send(new Uint8Array(MARK));
  assertFalse(client.readable());
  client.abort();
});

Deno.test("DispatcherOptions.role by default follows each new socket", () => {
  const map = quietMap({ network: new FakeNetwork() });
  const handler = new Echo(map, new FakeChannel());
  const isFullyRead = () => {
    handler.send(new Uint8Array(MARK));
    const answer = handler.readable();
    handler.abort();
    return answer;
  };
  assertFalse(isFullyRead());
  handler.createSocket();
  handler.connect({ port: 7 });
  assert(isFullyRead());
  handler.setSocket(new FakeChannel());
  assertFalse(isFullyRead());
});

Deno.test("DispatcherOptions.role must be one of the two", () => {
  const map = quietMap();
  for (const role of ["Server", "", 5, null, true] as never[]) {
    assertThrows(
      () => new Dispatcher(null, { map, role }),
      TypeError,
      'role must be "server" or "client", got',
    );
  }
});

Deno.test("Two dispatchers that send much before they read do not wait for one another", async () => {
  await using map = new ScopedMap();
  const size = 20_000_000;
  const server = new TestServer(map, (conn) => new Echo(map, conn));
  class Asker extends Echo {
    override handleRead(): void {
      this.received += this.recv().length;
      if (this.received === size) this.close();
    }
  }
  const client = new Asker(map);
  client.createSocket();
  client.connect(server.addr!);
  client.send(new Uint8Array(size));
  await loopUntil(map, () => client.received === size, 30_000);
  server.close();
});

// What the log says

/** An echo whose peer takes nothing until the valve is opened. */
function stalling(options: DispatcherOptions = {}) {
  const clock = new MockClock();
  const logger = new LogLines();
  const map = quietMap({ clock, logger });
  const channel = new FakeChannel();
  const valve = new Valve(channel);
  const handler = new Echo(map, channel, options);
  loop({ map });
  const { lines } = logger;
  return { clock, channel, valve, handler, lines };
}

Deno.test("DispatcherOptions.role is named once where a connection is not read for five seconds", async () => {
  const { clock, channel, handler, lines } = stalling();
  channel.push(new Uint8Array(MARK), "more");
  await clock.advance(4_999);
  assertEquals(lines, []);
  await clock.advance(1);
  assertEquals(lines.length, 1);
  assertMatch(
    lines[0]!,
    /^warn: <Echo connected> was not read for 5000 ms.*its peer takes nothing.*role: "client"/,
  );
  await clock.advance(600_000);
  assertEquals(lines.length, 1);
  handler.abort();
  await turns();
});

Deno.test("DispatcherOptions.role is not named while the peer takes something", async () => {
  const { clock, channel, valve, handler, lines } = stalling();
  channel.push(new Uint8Array(MARK), "more");
  for (let i = 0; i < 10; i++) handler.send(new Uint8Array(MARK));
  for (let i = 0; i < 5; i++) {
    await clock.advance(4_000);
    valve.step();
  }
  assertEquals(lines, []);
  assertFalse(handler.readable());
  await clock.advance(5_000);
  assertEquals(lines.length, 1);
  handler.abort();
  await turns();
});

Deno.test("DispatcherOptions.role is not named when the connection is read again", async () => {
  const { clock, channel, valve, handler, lines } = stalling();
  channel.push(new Uint8Array(MARK), "more");
  await clock.advance(4_000);
  valve.open();
  await clock.advance(600_000);
  assertEquals(handler.received, MARK + 4);
  assertEquals(lines, []);
  handler.abort();
  await turns();
});

Deno.test("DispatcherOptions.role is not named by a client, nor where little waits", async () => {
  for (const [size, role] of [[MARK, "client"], [100, "server"]] as const) {
    const { clock, channel, handler, lines } = stalling({ role });
    channel.push(new Uint8Array(size), "more");
    await clock.advance(600_000);
    assertEquals(lines, []);
    handler.abort();
    await turns();
  }
});
