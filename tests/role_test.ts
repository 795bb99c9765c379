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
import { memoryPair } from "../testing/mod.ts";
import { Valve } from "./chats.ts";
import { FakeAcceptor, FakeChannel, loopToEnd, quietMap } from "./fakes.ts";
import { connecting, Keeper, over, scopedMap, setUp } from "./scenes.ts";
import {
  connectedPair,
  loopUntil,
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
  override handleRead(): void {
    const data = this.recv();
    this.received += data.length;
    this.send(data);
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
  const server = new Keeper(map, acceptor);
  acceptor.push(new FakeChannel());
  await loopUntil(map, () => server.accepted.length > 0);
  server.close();
  return server.accepted[0]!;
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
    await using map = scopedMap();
    const chat = new AsyncChat(await make(map), { map });
    const other = new DispatcherWithSend(await make(map), { map });
    assert(chat.readable() && other.readable());
    chat.push(new Uint8Array(MARK));
    other.send(new Uint8Array(MARK));
    assertFalse(chat.readable() || other.readable());
    chat.abort();
    other.abort();
  });
}

Deno.test('DispatcherOptions.role is "client" where this side connects', async () => {
  const { map, network } = setUp();
  const channel = new FakeChannel();
  new Valve(channel);
  const client = connecting(new Echo(map));
  client.send(new Uint8Array(2 * MARK));
  network.succeed(channel);
  channel.push("spam");
  await loopUntil(map, () => client.received === 4);
  assert(client.readable());
  client.abort();
});

Deno.test('DispatcherOptions.role "client" has a ready-made channel read on', async () => {
  const { channel, handler, map } = over(Echo, { role: "client" });
  const valve = new Valve(channel);
  for (let i = 0; i < 20; i++) channel.push(new Uint8Array(MARK));
  channel.push(null);
  await loopUntil(map, () => handler.received === 20 * MARK);
  valve.open();
  await loopToEnd(map);
  assertEquals(channel.sent.length, 20 * MARK);
});
Deno.test('DispatcherOptions.role "server" holds back what this side connects, too', () => {
  const { map } = setUp();
  const client = connecting(new Echo(map, null, { role: "server" }));
  client.send(new Uint8Array(MARK));
  assertFalse(client.readable());
  client.abort();
});

Deno.test("DispatcherOptions.role by default follows each new socket", () => {
  const { handler } = over(Echo);
  const isFullyRead = () => {
    handler.send(new Uint8Array(MARK));
    const answer = handler.readable();
    handler.abort();
    return answer;
  };
  assertFalse(isFullyRead());
  connecting(handler);
  assert(isFullyRead());
  handler.setSocket(new FakeChannel());
  assertFalse(isFullyRead());
});

Deno.test("DispatcherOptions.role must be one of the two", () => {
  const map = quietMap();
  for (const role of ["Server", "", 5, true] as never[]) {
    assertThrows(
      () => new Dispatcher(null, { map, role }),
      TypeError,
      'role must be "server" or "client", got',
    );
  }
});

Deno.test("Two dispatchers that send much before they read do not wait for one another", async () => {
  await using map = scopedMap();
  const size = 20_000_000;
  const server = new TestServer(map, (conn) => new Echo(map, conn));
  const client = connecting(new Echo(map), server.addr);
  let left = size;
  client.handleRead = () => {
    left -= client.recv().length;
    if (left === 0) client.close();
  };
  client.send(new Uint8Array(size));
  await loopUntil(map, () => left === 0);
  server.close();
});

// What the log says

/** An echo that has read so much, whose peer takes nothing, and more has come. */
function stalling(size: number, options: DispatcherOptions = {}) {
  const { channel, clock, handler, lines, map } = over(Echo, options);
  const valve = new Valve(channel);
  loop({ map });
  channel.push(new Uint8Array(size), "more");
  const end = async () => {
    handler.abort();
    await turns();
  };
  return { clock, valve, handler, lines, end };
}

Deno.test("DispatcherOptions.role is named once where a connection is not read for five seconds", async () => {
  const { clock, lines, end } = stalling(MARK);
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
  await end();
});

Deno.test("DispatcherOptions.role is not named while the peer takes something", async () => {
  const { clock, valve, handler, lines, end } = stalling(MARK);
  for (let i = 0; i < 10; i++) handler.send(new Uint8Array(MARK));
  for (let i = 0; i < 5; i++) {
    await clock.advance(4_000);
    valve.step();
  }
  assertEquals(lines, []);
  assertFalse(handler.readable());
  await clock.advance(5_000);
  assertEquals(lines.length, 1);
  await end();
});

Deno.test("DispatcherOptions.role is not named when the connection is read again", async () => {
  const { clock, valve, handler, lines, end } = stalling(MARK);
  await clock.advance(4_000);
  valve.open();
  await clock.advance(600_000);
  assertEquals(handler.received, MARK + 4);
  assertEquals(lines, []);
  await end();
});

Deno.test("DispatcherOptions.role is not named by a client, nor where little waits", async () => {
  for (const [size, role] of [[MARK, "client"], [100, "server"]] as const) {
    const { clock, lines, end } = stalling(size, { role });
    await clock.advance(600_000);
    assertEquals(lines, []);
    await end();
  }
});
