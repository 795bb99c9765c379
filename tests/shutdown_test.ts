/** How a map is emptied in good order. */

import {
  assert,
  assertEquals,
  assertFalse,
  assertMatch,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { toText } from "@std/streams";
import {
  AsyncChat,
  type Channel,
  closeAll,
  Dispatcher,
  DispatcherWithSend,
  ExitNow,
  loop,
  poll,
  shutdown,
  type SocketMap,
} from "../mod.ts";
import { talk, Valve } from "./chats.ts";
import {
  FakeAcceptor,
  FakeChannel,
  FakeNetwork,
  LogLines,
  passes,
  quietMap,
  Recorder,
  watch,
} from "./fakes.ts";
import { MockClock } from "../testing/mock_clock.ts";
import {
  bytes,
  loopUntil,
  rawConnect,
  ScopedMap,
  type TestMap,
  TestServer,
  turns,
} from "./support.ts";

/** A map on a clock of its own. */
function setUp() {
  const clock = new MockClock();
  const logger = new LogLines();
  const network = new FakeNetwork();
  return { clock, network, map: quietMap({ clock, logger, network }) };
}

/** Says goodbye. */
class Polite extends DispatcherWithSend {
  shutdowns = 0;
  closes = 0;

  constructor(map: TestMap, channel: Channel | null = null) {
    super(channel, { map });
  }
  override handleShutdown(): void | Promise<void> {
    this.shutdowns++;
    this.send(bytes("bye"));
    this.close();
  }
  override handleClose(): void {
    this.closes++;
    this.close();
  }
}

Deno.test("shutdown() of an empty map ends at once", async () => {
  const { map, clock } = setUp();
  const result = await shutdown({ map });
  assertEquals(result, { listeners: 0, closed: 0, aborted: 0 });
  assertEquals(clock.armed, 0);
});

Deno.test("shutdown() closes listeners, and lets each connection say goodbye", async () => {
  const { map, clock } = setUp();
  const acceptors = [new FakeAcceptor(), new FakeAcceptor()];
  const listeners = acceptors.map((acceptor) => new Recorder(map, acceptor));
  const channels = [new FakeChannel(), new FakeChannel(), new FakeChannel()];
  const handlers = channels.map((channel) => new Polite(map, channel));
  const ended = shutdown({ map });
  assert(acceptors.every(({ closed }) => closed), "before anything else");
  assertEquals(await ended, { listeners: 2, closed: 3, aborted: 0 });
  assertEquals(channels.map(({ sent }) => sent), ["bye", "bye", "bye"]);
  assert(channels.every(({ closed }) => closed));
  assertEquals(handlers.map(({ shutdowns }) => shutdowns), [1, 1, 1]);
  assertEquals(listeners.flatMap(({ trace }) => trace), []);
  assertEquals(map.size + map.lingering + clock.armed, 0);
});

Deno.test("handleShutdown() by default runs handleClose(), and lets out what was accepted", async () => {
  const { map } = setUp();
  const channel = new FakeChannel();
  const handler = new Recorder(map, channel);
  handler.send(bytes("spam"));
  assertEquals((await shutdown({ map })).closed, 1);
  assertEquals(handler.trace, ["handleClose"]);
  assertEquals(channel.sent, "spam");
});

Deno.test("handleShutdown() of an AsyncChat finishes its producers", async () => {
  const { chat, channel, map } = talk();
  chat.pushWithProducer((async function* () {
    for (let i = 0; i < 5; i++) {
      await turns();
      yield `${i} `;
    }
  })());
  chat.push("end");
  const result = await shutdown({ map });
  assertEquals(result, { listeners: 0, closed: 1, aborted: 0 });
  assertEquals(channel.sent, "0 1 2 3 4 end");
  assertEquals(chat.events, ["close"]);
});

Deno.test("handleShutdown() waits for the promise of a hook", async () => {
  const { map, clock } = setUp();
  const channel = new FakeChannel();
  const handler = new Polite(map, channel);
  const saved = Promise.withResolvers<void>();
  handler.handleRead = async () => {
    handler.recv();
    await saved.promise;
    handler.send(bytes("saved "));
  };
  channel.push("message");
  await passes(map, 3);
  const ended = watch(shutdown({ map }));
  await turns();
  assertEquals(handler.shutdowns, 0);
  saved.resolve();
  await clock.advance(250); // The peer has spoken, and may go on.
  assert(ended.settled);
  assertEquals(channel.sent, "saved bye");
});

Deno.test("shutdown() aborts at the deadline what is not over", async () => {
  const { map, clock } = setUp();
  const [stuck, patient, quick] = [0, 0, 0].map(() => new FakeChannel());
  stuck!.take = () => new Promise(() => {}); // lingers
  new Polite(map, stuck);
  new Polite(map, patient).handleShutdown = () => {}; // stays open
  new Polite(map, quick);
  const ended = shutdown({ map, deadline: 3_000 });
  const watched = watch(ended);
  await clock.advance(2_999);
  assertFalse(watched.settled);
  assert(quick!.closed);
  assertFalse(patient!.closed || stuck!.closed);
  await clock.advance(1);
  assertEquals(await ended, { listeners: 0, closed: 1, aborted: 2 });
  assert(patient!.closed && stuck!.closed);
  assertEquals(map.size + map.lingering + clock.armed, 0);
});

Deno.test("shutdown() counts a connection that was closing already", async () => {
  const { map, clock } = setUp();
  const channel = new FakeChannel();
  let take = () => {};
  channel.take = (data) =>
    new Promise((resolve) => take = () => resolve(data.length));
  const handler = new Polite(map, channel);
  handler.send(bytes("spam"));
  handler.close();
  const ended = shutdown({ map });
  await turns();
  take();
  assertEquals(await ended, { listeners: 0, closed: 1, aborted: 0 });
  assertEquals(handler.shutdowns, 0);
  assertEquals(clock.armed, 0);
});

Deno.test("shutdown() tells who joins meanwhile, too", async () => {
  const { map, network } = setUp();
  class Reconnecting extends Recorder {
    lives = 0;
    override handleClose(): void {
      super.handleClose();
      if (++this.lives === 3) return;
      this.createSocket();
      this.connect({ port: 7 });
    }
  }
  const channel = new FakeChannel();
  const handler = new Reconnecting(map, channel);
  const late = new FakeChannel();
  channel.take = () => {
    new Polite(map, late);
    return 4;
  };
  handler.send(bytes("spam"));
  const result = await shutdown({ map });
  assertEquals(result, { listeners: 0, closed: 4, aborted: 0 });
  assertEquals(handler.lives, 3);
  assertEquals(network.signals.length, 2);
  assertEquals(late.sent, "bye");
});

Deno.test("shutdown() beside a loop lets that make the passes, and end", async () => {
  const { map } = setUp();
  const { chat, channel } = talk(undefined, map);
  const valve = new Valve(channel);
  chat.push("spam");
  const looping = watch(loop({ map }));
  await turns();
  const ended = watch(shutdown({ map }));
  await turns();
  assertFalse(ended.settled || looping.settled);
  valve.open();
  await turns();
  assert(ended.settled && looping.settled);
  assertEquals([ended.error, looping.error], [undefined, undefined]);
});

Deno.test("shutdown() makes way for whoever makes a pass, and goes on afterwards", async () => {
  const { map } = setUp();
  const { chat, channel } = talk(undefined, map);
  const valve = new Valve(channel);
  chat.push("spam");
  const ended = watch(shutdown({ map }));
  for (let i = 0; i < 3; i++) {
    await turns();
    await poll(0, map);
    await loop({ map, count: 1, timeout: 0 });
  }
  assertFalse(ended.settled);
  const second = watch(loop({ map }));
  await turns();
  await assertRejects(() => loop({ map }), Error, "is being looped already");
  valve.open();
  await turns();
  assert(ended.settled && second.settled);
  assertEquals(ended.error, undefined);
});

Deno.test("shutdown() goes on when the loop beside it stops early", async () => {
  const { map } = setUp();
  const { chat, channel } = talk(undefined, map);
  const valve = new Valve(channel);
  chat.push("spam");
  const controller = new AbortController();
  const looping = watch(loop({ map, signal: controller.signal }));
  const ended = watch(shutdown({ map }));
  await turns();
  controller.abort();
  await turns();
  assert(looping.settled);
  assertFalse(ended.settled);
  valve.open();
  await turns();
  assert(ended.settled);
});

Deno.test("shutdown() in a hook ends the loop that runs the hook", async () => {
  const { map, clock } = setUp();
  const channel = new FakeChannel();
  const handler = new Polite(map, channel);
  const neighbour = new FakeChannel();
  new Polite(map, neighbour);
  let ended: ReturnType<typeof shutdown> | undefined;
  handler.handleRead = () => {
    handler.recv();
    ended = shutdown({ map });
  };
  channel.push("shut down");
  const looping = watch(loop({ map }));
  await clock.advance(250); // The peer has spoken, and may go on.
  assert(looping.settled);
  assertEquals(await ended, { listeners: 0, closed: 2, aborted: 0 });
  assertEquals([channel.sent, neighbour.sent], ["bye", "bye"]);
});

Deno.test("a second shutdown() can be in more of a hurry", async () => {
  const { map, clock } = setUp();
  const channel = new FakeChannel();
  const handler = new Polite(map, channel);
  handler.handleShutdown = () => void handler.shutdowns++;
  const first = shutdown({ map });
  await turns();
  const second = shutdown({ map, deadline: 0 });
  await clock.advance(0);
  assertEquals(await second, { listeners: 0, closed: 0, aborted: 1 });
  assertEquals(await first, { listeners: 0, closed: 1, aborted: 0 });
  assertEquals(handler.shutdowns, 1);
  assertEquals(clock.armed, 0);
});

for (const failure of ["throws", "rejects"]) {
  Deno.test(`handleShutdown() that ${failure} is an error like any other`, async () => {
    const { map } = setUp();
    const channel = new FakeChannel();
    const error = new Error("spam");
    const handler = new Recorder(map, channel);
    handler.handleShutdown = () => {
      if (failure === "throws") throw error;
      return Promise.reject(error);
    };
    const neighbour = new FakeChannel();
    new Polite(map, neighbour);
    assertEquals((await shutdown({ map })).closed, 2);
    assertEquals(handler.errors, [error]);
    assertEquals(neighbour.sent, "bye");
  });
}

Deno.test("close() of a listener that throws is reported, and holds up nobody", async () => {
  const { map } = setUp();
  const acceptor = new FakeAcceptor();
  const error = new Error("spam");
  const listener = new Recorder(map, acceptor);
  listener.close = () => {
    throw error;
  };
  const result = await shutdown({ map });
  assertEquals(result, { listeners: 1, closed: 0, aborted: 0 });
  assert(acceptor.closed);
  assertEquals(map.errors, [error]);
});

Deno.test("shutdown() hands an ExitNow to whoever makes the pass", async () => {
  const { map } = setUp();
  const exit = new ExitNow("enough");
  const { chat, channel } = talk(undefined, map);
  channel.push("x");
  chat.handleShutdown = () => {};
  chat.collectIncomingData = () => {
    throw exit;
  };
  const error = await assertRejects(() => shutdown({ map }), ExitNow);
  assertStrictEquals(error, exit);
  chat.abort();
});

Deno.test("shutdown() refuses wrong options", async () => {
  await assertRejects(() => shutdown({ deadline: -1 }), RangeError, "deadline");
  const map = {} as SocketMap;
  await assertRejects(() => shutdown({ map }), TypeError, "map must be");
});

// Real sockets

Deno.test("shutdown() on real sockets: clients get all, and the port is free at once", async () => {
  await using map = new ScopedMap({ logger: new LogLines() });
  const large = new Uint8Array(1_000_000);
  class Giver extends DispatcherWithSend {
    override handleRead(): void {
      this.recv();
      this.send(large);
    }
  }
  let count = 0;
  const server = new TestServer(map, (conn) => {
    count++;
    new Giver(conn, { map });
  });
  const { addr } = server;
  const clients = await Promise.all(
    Array.from({ length: 20 }, () => rawConnect(addr)),
  );
  for (const client of clients) await client.write(bytes("x"));
  await loopUntil(map, () => count === 20);
  for (let i = 0; i < 5; i++) await loop({ map, count: 1, timeout: 10 });
  const texts = Promise.all(
    clients.map((client) => toText(client.readable).catch(() => "")),
  );
  const result = await shutdown({ map });
  assertEquals(result, { listeners: 1, closed: 20, aborted: 0 });
  const lengths = (await texts).map(({ length }) => length);
  assertEquals(lengths.filter((length) => length !== large.length), []);

  const again = new Dispatcher(null, { map });
  again.createSocket();
  again.bind(addr as Deno.NetAddr);
  again.listen();
  using client = await rawConnect(again.addr);
  assertEquals(
    (client.remoteAddr as Deno.NetAddr).port,
    (addr as Deno.NetAddr).port,
  );
  again.close();
});

Deno.test("shutdown() aborts at the deadline whoever makes a new socket whenever it is closed", async () => {
  const map = quietMap();
  class Again extends Dispatcher {
    sockets = 0;
    constructor() {
      super(null, { map });
      this.again();
    }
    again(): void {
      this.sockets++;
      this.createSocket();
    }
    override handleClose(): void {
      this.close();
      this.again();
    }
  }
  const dispatcher = new Again();
  const { aborted } = await shutdown({ map, deadline: 20 });
  assertEquals(aborted, 1);
  assertEquals(map.size, 0);
  assert(dispatcher.sockets > 1);
});

Deno.test("shutdown() counts a connection that lost bytes behind a producer", async () => {
  const { map } = setUp();
  const logger = map.logger as LogLines;
  class Hasty extends AsyncChat {
    override handleShutdown(): void {
      this.close();
    }
  }
  const chat = new Hasty(new FakeChannel(), { map });
  chat.pushWithProducer({ more: () => new Promise<string>(() => {}) });
  chat.push("important");
  const result = await shutdown({ map });
  assertEquals(result, { listeners: 0, closed: 0, aborted: 1 });
  assertMatch(logger.lines.join(), /lost 9 bytes that waited for a producer/);
});

Deno.test("shutdown() counts a connection that another's handleShutdown() closes", async () => {
  const map = quietMap();
  class Closing extends Dispatcher {
    override handleShutdown(): void {
      closeAll(map);
    }
  }
  new Closing(new FakeChannel(), { map });
  const channel = new FakeChannel();
  channel.take = () => new Promise(() => {});
  const other = new DispatcherWithSend(channel, { map, linger: 0 });
  other.send(bytes("spam"));
  const result = await shutdown({ map });
  assertEquals(result, { listeners: 0, closed: 1, aborted: 1 });
});
