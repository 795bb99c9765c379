/** How a map is emptied in good order. */

import {
  assert,
  assertEquals,
  assertFalse,
  assertMatch,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
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
  type ShutdownResult,
  type SocketMap,
} from "../mod.ts";
import { talk, Valve } from "./chats.ts";
import {
  FakeAcceptor,
  FakeChannel,
  passes,
  quietMap,
  Recorder,
  watch,
} from "./fakes.ts";
import {
  channels,
  connecting,
  gatedChannel,
  Keeper,
  listening,
  over,
  readAll,
  scopedMap,
  setUp,
  stuckChannel,
} from "./scenes.ts";
import {
  bytes,
  loopUntil,
  rawConnect,
  type TestMap,
  turns,
} from "./support.ts";

/** Says goodbye. */
class Polite extends DispatcherWithSend {
  shutdowns = 0;

  constructor(map: TestMap, channel: Channel | null = null) {
    super(channel, { map });
  }
  override handleShutdown(): void | Promise<void> {
    this.shutdowns++;
    this.send(bytes("bye"));
    this.close();
  }
}

/** A shutdown that has ended. */
function result(
  listeners: number,
  closed: number,
  aborted: number,
): ShutdownResult {
  return { listeners, closed, aborted };
}

Deno.test("shutdown() of an empty map ends at once", async () => {
  const { map, clock } = setUp();
  assertEquals(await shutdown({ map }), result(0, 0, 0));
  assertEquals(clock.armed, 0);
});

Deno.test("shutdown() closes listeners, and lets each connection say goodbye", async () => {
  const { map, clock } = setUp();
  const acceptors = [new FakeAcceptor(), new FakeAcceptor()];
  const listeners = acceptors.map((acceptor) => new Recorder(map, acceptor));
  const three = channels(3);
  const handlers = three.map((channel) => new Polite(map, channel));
  const ended = shutdown({ map });
  assert(acceptors.every(({ closed }) => closed), "before anything else");
  assertEquals(await ended, result(2, 3, 0));
  assertEquals(three.map(({ sent }) => sent), ["bye", "bye", "bye"]);
  assert(three.every(({ closed }) => closed));
  assertEquals(handlers.map(({ shutdowns }) => shutdowns), [1, 1, 1]);
  assertEquals(listeners.flatMap(({ trace }) => trace), []);
  assertEquals(map.size + map.lingering + clock.armed, 0);
});

Deno.test("handleShutdown() by default runs handleClose(), and lets out what was accepted", async () => {
  const { channel, handler, map } = over(Recorder);
  handler.send(bytes("spam"));
  assertEquals(await shutdown({ map }), result(0, 1, 0));
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
  assertEquals(await shutdown({ map }), result(0, 1, 0));
  assertEquals(channel.sent, "0 1 2 3 4 end");
  assertEquals(chat.events, ["close"]);
});

Deno.test("handleShutdown() waits for the promise of a hook", async () => {
  const { channel, clock, handler, map } = over(Polite);
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

for (const failure of ["throws", "rejects"]) {
  Deno.test(`handleShutdown() that ${failure} is an error like any other`, async () => {
    const { handler, map } = over(Recorder);
    const error = new Error("spam");
    handler.handleShutdown = () => {
      if (failure === "throws") throw error;
      return Promise.reject(error);
    };
    const neighbour = new FakeChannel();
    new Polite(map, neighbour);
    assertEquals(await shutdown({ map }), result(0, 2, 0));
    assertEquals(handler.errors, [error]);
    assertEquals(neighbour.sent, "bye");
  });
}

Deno.test("shutdown() aborts at the deadline what is not over", async () => {
  const { map, clock } = setUp();
  const stuck = stuckChannel(); // lingers
  const [patient, quick] = channels(2);
  new Polite(map, stuck);
  new Polite(map, patient).handleShutdown = () => {}; // stays open
  new Polite(map, quick);
  const ended = shutdown({ map, deadline: 3_000 });
  const watched = watch(ended);
  await clock.advance(2_999);
  assertFalse(watched.settled);
  assert(quick!.closed);
  assertFalse(patient!.closed || stuck.closed);
  await clock.advance(1);
  assertEquals(await ended, result(0, 1, 2));
  assert(patient!.closed && stuck.closed);
  assertEquals(map.size + map.lingering + clock.armed, 0);
});

Deno.test("shutdown() aborts at the deadline whoever makes a new socket whenever it is closed", async () => {
  const map = quietMap();
  const again = new Dispatcher(null, { map });
  let sockets = 1;
  again.createSocket();
  again.handleClose = () => {
    sockets++;
    again.close();
    again.createSocket();
  };
  const { aborted } = await shutdown({ map, deadline: 20 });
  assertEquals(aborted, 1);
  assertEquals(map.size, 0);
  assert(sockets > 1);
});

Deno.test("shutdown() counts a connection that was closing already", async () => {
  const { channel, open } = gatedChannel();
  const { clock, handler, map } = over(Polite, {}, channel);
  handler.send(bytes("spam"));
  handler.close();
  const ended = shutdown({ map });
  await turns();
  open();
  assertEquals(await ended, result(0, 1, 0));
  assertEquals(handler.shutdowns, 0);
  assertEquals(clock.armed, 0);
});

Deno.test("shutdown() counts a connection that lost bytes behind a producer", async () => {
  const { lines, map } = setUp();
  const chat = new AsyncChat(new FakeChannel(), { map });
  chat.handleShutdown = () => chat.close();
  chat.pushWithProducer({ more: () => new Promise<string>(() => {}) });
  chat.push("important");
  assertEquals(await shutdown({ map }), result(0, 0, 1));
  assertMatch(lines.join(), /lost 9 bytes that waited for a producer/);
});

Deno.test("shutdown() counts a connection that another's handleShutdown() closes", async () => {
  const { handler, map } = over(Recorder);
  handler.handleShutdown = () => closeAll(map);
  const other = new Recorder(map, stuckChannel(), { linger: 0 });
  other.send(bytes("spam"));
  assertEquals(await shutdown({ map }), result(0, 1, 1));
});

Deno.test("shutdown() tells who joins meanwhile, too", async () => {
  const { channel, handler, map, network } = over(Recorder);
  let lives = 0;
  handler.handleClose = () => {
    handler.close();
    if (++lives < 3) connecting(handler);
  };
  const late = new FakeChannel();
  channel.take = () => {
    new Polite(map, late);
    return 4;
  };
  handler.send(bytes("spam"));
  assertEquals(await shutdown({ map }), result(0, 4, 0));
  assertEquals(lives, 3);
  assertEquals(network.signals.length, 2);
  assertEquals(late.sent, "bye");
});

// Beside a loop

/** A chat that has something to say to a peer that does not take it yet. */
function heldUp() {
  const { chat, channel, map } = talk();
  const valve = new Valve(channel);
  chat.push("spam");
  return { map, valve };
}

Deno.test("shutdown() beside a loop lets that make the passes, and end", async () => {
  const { map, valve } = heldUp();
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
  const { map, valve } = heldUp();
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
  const { map, valve } = heldUp();
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
  const { channel, clock, handler, map } = over(Polite);
  const neighbour = new FakeChannel();
  new Polite(map, neighbour);
  let ended: Promise<ShutdownResult> | undefined;
  handler.handleRead = () => {
    handler.recv();
    ended = shutdown({ map });
  };
  channel.push("shut down");
  const looping = watch(loop({ map }));
  await clock.advance(250); // The peer has spoken, and may go on.
  assert(looping.settled);
  assertEquals(await ended, result(0, 2, 0));
  assertEquals([channel.sent, neighbour.sent], ["bye", "bye"]);
});

Deno.test("a second shutdown() can be in more of a hurry", async () => {
  const { clock, handler, map } = over(Polite);
  handler.handleShutdown = () => void handler.shutdowns++;
  const first = shutdown({ map });
  await turns();
  const second = shutdown({ map, deadline: 0 });
  await clock.advance(0);
  assertEquals(await second, result(0, 0, 1));
  assertEquals(await first, result(0, 1, 0));
  assertEquals(handler.shutdowns, 1);
  assertEquals(clock.armed, 0);
});

Deno.test("close() of a listener that throws is reported, and holds up nobody", async () => {
  const { map } = setUp();
  const acceptor = new FakeAcceptor();
  const error = new Error("spam");
  const listener = new Recorder(map, acceptor);
  listener.close = () => {
    throw error;
  };
  assertEquals(await shutdown({ map }), result(1, 0, 0));
  assert(acceptor.closed);
  assertEquals(map.errors, [error]);
});

Deno.test("shutdown() hands an ExitNow to whoever makes the pass", async () => {
  const exit = new ExitNow("enough");
  const { chat, channel, map } = talk();
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

Deno.test("shutdown() on real sockets: clients get all, and the port is free at once", async () => {
  await using map = scopedMap();
  const server = listening(new Keeper(map));
  const addr = server.addr as Deno.NetAddr;
  const clients = await Promise.all(
    Array.from({ length: 20 }, () => rawConnect(addr)),
  );
  await loopUntil(map, () => server.accepted.length === 20);
  for (const conn of server.accepted) {
    new DispatcherWithSend(conn, { map }).send(new Uint8Array(1_000_000));
  }
  await passes(map, 5);
  const received = clients.map(async (client) => {
    const { length } = await readAll(client);
    client.close();
    return length;
  });
  assertEquals(await shutdown({ map }), result(1, 20, 0));
  assertEquals(await Promise.all(received), Array(20).fill(1_000_000));
  const again = listening(new Keeper(map), {}, addr);
  assertEquals(again.addr, addr);
  again.close();
});
