/** How long a connection may be silent or last, and how many there may be. */

import {
  assert,
  assertEquals,
  assertFalse,
  assertInstanceOf,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  type Channel,
  Dispatcher,
  type DispatcherOptions,
  DispatcherWithSend,
  loop,
  SocketMap,
  type TimeoutKind,
} from "../mod.ts";
import { TimerHeap } from "../core/timers.ts";
import {
  FakeAcceptor,
  FakeChannel,
  FakeNetwork,
  LogLines,
  passes,
  quietMap,
  Recorder,
  type RecorderOptions,
  watch,
} from "./fakes.ts";
import { MockClock } from "../testing/mock_clock.ts";
import {
  bytes,
  loopUntil,
  PATIENCE,
  rawConnect,
  ScopedMap,
  type TestMap,
  turns,
} from "./support.ts";

/** Writes down what runs out, and when. */
class Timed extends Recorder {
  readonly #clock: MockClock;
  /** What to do about it; the default by default. */
  onTimeout: (kind: TimeoutKind) => void | Promise<void> = (kind) =>
    super.handleTimeout(kind);

  constructor(
    map: TestMap,
    clock: MockClock,
    channel: Channel | null,
    options: RecorderOptions,
  ) {
    super(map, channel, options);
    this.#clock = clock;
  }
  override handleTimeout(kind: TimeoutKind): void | Promise<void> {
    this.trace.push(`${kind} at ${this.#clock.now()}`);
    return this.onTimeout(kind);
  }
}

/** A connection with limits, in a map that is being looped. */
function connected(options: DispatcherOptions) {
  const clock = new MockClock();
  const logger = new LogLines();
  const map = quietMap({ clock, logger });
  const channel = new FakeChannel();
  const dispatcher = new Timed(map, clock, channel, options);
  const looping = watch(loop({ map, timeout: 1e6 }));
  return { clock, logger, map, channel, dispatcher, looping };
}

// Idle

Deno.test("idleTimeout ends a connection on which nothing happens, by handleClose()", async () => {
  const { clock, channel, dispatcher, looping } = connected({
    idleTimeout: 1_000,
  });
  await clock.advance(999);
  assertEquals(dispatcher.trace, []);
  await clock.advance(1);
  assertEquals(dispatcher.trace, ["idle at 1000", "handleClose"]);
  assertInstanceOf(dispatcher.closeReason, Deno.errors.TimedOut);
  assertEquals(
    dispatcher.closeReason.message,
    "nothing read or written for 1000 ms",
  );
  assert(channel.closed);
  assert(looping.settled);
  assertEquals(clock.armed, 0);
});

/** Goes on with another channel when one has ended. */
class Successor extends Timed {
  successor: Channel | null = null;

  override handleClose(): void {
    this.note("handleClose");
    this.close();
    if (this.successor === null) return;
    this.setSocket(this.successor);
    this.successor = null;
    this.callLater(3_000, () => this.note("its timer"));
  }
}

Deno.test("idleTimeout of a former connection does not end the next one", async () => {
  const clock = new MockClock();
  const map = quietMap({ clock, logger: new LogLines() });
  const next = new FakeChannel();
  const options = { idleTimeout: 1_000 };
  const dispatcher = new Successor(map, clock, new FakeChannel(), options);
  dispatcher.successor = next;
  watch(loop({ map, timeout: 1e6 }));
  await clock.advance(1_000);
  assertEquals(dispatcher.trace, ["idle at 1000", "handleClose"]);
  for (let i = 0; i < 5; i++) {
    await clock.advance(700);
    next.push("x");
    await turns();
  }
  assertEquals(dispatcher.received, "xxxxx");
  assert(dispatcher.connected);
  assertEquals(dispatcher.trace.filter((what) => what.startsWith("idle")), [
    "idle at 1000",
  ]);
  assertEquals(dispatcher.count("its timer"), 1);
  dispatcher.abort();
});

Deno.test("callLater() of a dispatcher after its end never runs, though it had no timer before", async () => {
  const clock = new MockClock();
  const map = quietMap({ clock });
  const channel = new FakeChannel();
  const closed = new Recorder(map, channel);
  new Recorder(map, new FakeChannel());
  closed.abort();
  const ran: string[] = [];
  const timer = closed.callLater(10, () => void ran.push("later"));
  closed.callEvery(10, () => void ran.push("every"));
  timer.reset();
  watch(loop({ map, timeout: 1e6 }));
  await clock.advance(100);
  assertEquals(ran, []);
  for (const member of [...map]) member.abort();
});

Deno.test("abort() of a former connection leaves the timers of the next one alone", async () => {
  const clock = new MockClock();
  const map = quietMap({ clock, logger: new LogLines() });
  class Stubborn extends Timed {
    override handleError(error: unknown): void {
      this.close();
      this.setSocket(new FakeChannel());
      this.callLater(1_000, () => this.note("its timer"));
      throw error; // The former one is closed hard.
    }
  }
  const channel = new FakeChannel();
  const dispatcher = new Stubborn(map, clock, channel, {});
  dispatcher.handleRead = () => {
    throw new Error("spam");
  };
  watch(loop({ map, timeout: 1e6 }));
  channel.push("x");
  await turns();
  await clock.advance(1_000);
  assertEquals(dispatcher.count("its timer"), 1);
  dispatcher.abort();
});

Deno.test("idleTimeout counts from the last byte that was read", async () => {
  const { clock, channel, dispatcher } = connected({ idleTimeout: 1_000 });
  for (let i = 0; i < 5; i++) {
    await clock.advance(900);
    channel.push("x");
    await turns();
  }
  assertEquals(dispatcher.received, "xxxxx");
  await clock.advance(999);
  assert(dispatcher.connected);
  await clock.advance(1);
  assertEquals(dispatcher.trace.at(-2), "idle at 5500");
});

Deno.test("idleTimeout counts from the last bytes that the peer took", async () => {
  const { clock, channel, dispatcher } = connected({ idleTimeout: 1_000 });
  channel.take = () =>
    new Promise((resolve) => clock.setTimeout(() => resolve(1), 900));
  dispatcher.send(bytes("spam"));
  await clock.advance(4 * 900 + 999);
  assert(dispatcher.connected);
  assertEquals(channel.sent, "spam");
  await clock.advance(1);
  assertEquals(dispatcher.trace, ["idle at 4600", "handleClose"]);
});

Deno.test("idleTimeout ends a peer that takes nothing of what waits for it", async () => {
  const { clock, channel, dispatcher, logger } = connected({
    idleTimeout: 1_000,
    linger: 100,
  });
  channel.take = () => new Promise(() => {});
  dispatcher.send(bytes("spam"));
  await clock.advance(1_000);
  assertEquals(dispatcher.trace, ["idle at 1000", "handleClose"]);
  await clock.advance(100);
  assert(channel.closed);
  assertStringIncludes(logger.lines[0]!, "lost 4 accepted bytes");
});

Deno.test("handleTimeout() that does not close is called again after another idle time", async () => {
  const { clock, channel, dispatcher } = connected({ idleTimeout: 100 });
  dispatcher.onTimeout = () => {};
  await clock.advance(250);
  channel.push("x");
  await turns();
  await clock.advance(150);
  const kinds = dispatcher.trace.filter((hook) => hook !== "handleRead");
  assertEquals(kinds, ["idle at 100", "idle at 200", "idle at 350"]);
  assertEquals(dispatcher.closeReason, null);
  dispatcher.abort();
});

Deno.test("idleTimeout does not count while the promise of a hook is pending", async () => {
  const { clock, channel, dispatcher } = connected({ idleTimeout: 100 });
  const { promise, resolve } = Promise.withResolvers<void>();
  dispatcher.handleRead = () => {
    dispatcher.recv();
    return promise;
  };
  channel.push("x");
  await clock.advance(450);
  assertEquals(dispatcher.trace, []);
  resolve();
  await turns();
  await clock.advance(99);
  assertEquals(dispatcher.trace, []);
  await clock.advance(1);
  assertEquals(dispatcher.trace, ["idle at 550", "handleClose"]);
});

for (const failure of ["throws", "rejects"]) {
  Deno.test(`handleTimeout() that ${failure} is an error like any other`, async () => {
    const { clock, dispatcher } = connected({ idleTimeout: 100 });
    const error = new Error("spam");
    dispatcher.onTimeout = () => {
      if (failure === "throws") throw error;
      return Promise.reject(error);
    };
    await clock.advance(100);
    assertEquals(dispatcher.errors, [error]);
    assertFalse(dispatcher.connected);
  });
}

Deno.test("idleTimeout moves to another map with its connection", async () => {
  const { clock, dispatcher, looping } = connected({ idleTimeout: 100 });
  const other = quietMap({ clock });
  await clock.advance(60);
  dispatcher.addChannel(other);
  await turns();
  assert(looping.settled);
  watch(loop({ map: other, timeout: 1e6 }));
  await clock.advance(40);
  assertEquals(dispatcher.trace, ["idle at 100", "handleClose"]);
});

Deno.test("idleTimeout starts when the connection stands, and not before", async () => {
  const clock = new MockClock();
  const network = new FakeNetwork();
  const map = quietMap({ clock, network });
  const dispatcher = new Timed(map, clock, null, { idleTimeout: 100 });
  dispatcher.createSocket();
  dispatcher.connect({ port: 7 });
  watch(loop({ map, timeout: 1e6 }));
  await clock.advance(500);
  assertEquals(dispatcher.trace, []);
  network.succeed(new FakeChannel());
  await turns();
  await clock.advance(99);
  assert(dispatcher.connected);
  await clock.advance(1);
  const trace = ["handleConnect", "idle at 600", "handleClose"];
  assertEquals(dispatcher.trace, trace);
});

// Lifetime

Deno.test("lifetime ends a peer that sends a byte a second", async () => {
  const { clock, channel, dispatcher } = connected({
    idleTimeout: 2_000,
    lifetime: 10_000,
  });
  for (let second = 1; second < 10; second++) {
    await clock.advance(1_000);
    channel.push("x");
    await turns();
  }
  await clock.advance(999);
  assert(dispatcher.connected);
  assertEquals(dispatcher.received, "xxxxxxxxx");
  await clock.advance(1);
  assertEquals(dispatcher.trace.slice(-2), [
    "lifetime at 10000",
    "handleClose",
  ]);
  const { closeReason } = dispatcher;
  assertInstanceOf(closeReason, Deno.errors.TimedOut);
  assertEquals(closeReason.message, "the lifetime of 10000 ms is over");
  assert(channel.closed);
  assertEquals(clock.armed, 0);
});

Deno.test("lifetime ends a peer that takes a byte a second, in one more linger time", async () => {
  const { clock, channel, dispatcher, logger, looping } = connected({
    lifetime: 10_000,
  });
  channel.take = () =>
    new Promise((resolve) => clock.setTimeout(() => resolve(1), 1_000));
  dispatcher.send(new Uint8Array(1_000));
  await clock.advance(10_000);
  assertEquals(dispatcher.trace, ["lifetime at 10000", "handleClose"]);
  await clock.advance(4_999);
  assertFalse(channel.closed);
  await clock.advance(1);
  assert(channel.closed);
  assert(looping.settled);
  assertStringIncludes(logger.lines.at(-1)!, "Error: its lifetime is over");
});

Deno.test("lifetime cuts the connection although the promise of a hook is pending", async () => {
  const { clock, channel, dispatcher, looping } = connected({ lifetime: 100 });
  const hook = Promise.withResolvers<void>();
  dispatcher.handleRead = () => hook.promise;
  channel.push("x");
  await clock.advance(100);
  assert(channel.closed, "at its time");
  assertEquals(dispatcher.trace, [], "one hook at a time");
  assertEquals(dispatcher.send(bytes("too late")), 0);
  await clock.advance(50);
  hook.resolve();
  await turns();
  assertEquals(dispatcher.trace, ["lifetime at 150", "handleClose"]);
  assertEquals(dispatcher.closeReason?.name, "TimedOut");
  assert(looping.settled);
  assertEquals(clock.armed, 0);
});

Deno.test("lifetime ends once; handleTimeout() may let the connection go on", async () => {
  const { clock, channel, dispatcher } = connected({ lifetime: 100 });
  dispatcher.onTimeout = () => {};
  await clock.advance(1_000);
  assertEquals(dispatcher.trace, ["lifetime at 100"]);
  channel.push(null);
  await turns();
  assertEquals(dispatcher.closeReason, null);
});

Deno.test("lifetime is told before an end in good order that waits for the same hook", async () => {
  const options = { lifetime: 100, allowHalfOpen: true };
  const { clock, channel, dispatcher } = connected(options);
  const hook = Promise.withResolvers<void>();
  dispatcher.handleRead = () => {
    dispatcher.recv();
    return hook.promise;
  };
  channel.push(null);
  await turns();
  dispatcher.shutdownWrite();
  await clock.advance(100);
  hook.resolve();
  await turns();
  assertEquals(dispatcher.trace, ["lifetime at 100", "handleClose"]);
  assertEquals(dispatcher.closeReason?.name, "TimedOut");
});

Deno.test("lifetime that passes while handleClose() is pending is no reason for the end", async () => {
  const { clock, channel, dispatcher, looping } = connected({ lifetime: 100 });
  const hook = Promise.withResolvers<void>();
  const { close } = dispatcher;
  dispatcher.handleClose = () =>
    hook.promise.then(() => close.call(dispatcher));
  channel.push(null);
  await clock.advance(100);
  hook.resolve();
  await turns();
  assertEquals(dispatcher.closeReason, null);
  assert(looping.settled);
});

Deno.test("close() ends the limits with the connection, and another one begins its own", async () => {
  const { clock, dispatcher, looping } = connected({
    idleTimeout: 100,
    lifetime: 150,
  });
  await clock.advance(90);
  dispatcher.close();
  await turns();
  assert(looping.settled);
  assertEquals(clock.armed, 0);
  dispatcher.setSocket(new FakeChannel());
  watch(loop({ map: dispatcher.map, timeout: 1e6 }));
  await clock.advance(99);
  assertEquals(dispatcher.trace, []);
  await clock.advance(1);
  assertEquals(dispatcher.trace, ["idle at 190", "handleClose"]);
});

for (const name of ["idleTimeout", "lifetime"] as const) {
  Deno.test(`Dispatcher refuses a wrong ${name}`, () => {
    const map = quietMap();
    for (const wrong of [0, -1, NaN]) {
      const make = () => new Dispatcher(null, { map, [name]: wrong });
      assertThrows(make, RangeError, `${name} must be 1 or more ms, got`);
    }
    const make = () => new Dispatcher(null, { map, [name]: "1" as never });
    assertThrows(make, TypeError, `${name} must be a number of ms`);
  });
}

Deno.test("idleTimeout costs a busy connection among 10,000 no work on the heap of timers", async () => {
  const clock = new MockClock();
  const map = quietMap({ clock });
  const channels = Array.from({ length: 10_000 }, () => new FakeChannel());
  for (const channel of channels) {
    new Recorder(map, channel, { idleTimeout: 60_000, lifetime: 600_000 });
  }
  await passes(map, 2);
  let changes = 0;
  const { add, remove } = TimerHeap.prototype;
  TimerHeap.prototype.add = function (timer, due) {
    changes++;
    add.call(this, timer, due);
  };
  TimerHeap.prototype.remove = function (timer) {
    changes++;
    remove.call(this, timer);
  };
  try {
    clock.skip(30_000);
    for (let i = 0; i < 100; i++) channels[i]!.push("x");
    await passes(map, 3);
    assertEquals(changes, 0);
    clock.skip(30_000);
    await passes(map, 3);
    assertEquals(map.size, 100, "those that were busy stay");
    // Two timers of each of the others are gone; one of each that stays is set
    // again.
    assertEquals(changes, 2 * 9_900 + 2 * 100);
  } finally {
    Object.assign(TimerHeap.prototype, { add, remove });
  }
  for (const member of [...map]) member.abort();
});

// How many

/** A listener with a limit, in a map that is being looped. */
function listening(maxConnections: number) {
  const clock = new MockClock();
  const logger = new LogLines();
  const network = new FakeNetwork();
  const map = quietMap({ clock, logger, network });
  const clients: Channel[] = [];
  class Server extends Recorder {
    override handleAccepted(conn: Channel): void {
      clients.push(conn);
    }
  }
  const server = new Server(map);
  server.createSocket({ maxConnections });
  server.bind({ port: 0 });
  server.listen();
  watch(loop({ map, timeout: 1e6 }));
  const { acceptor } = network;
  assertInstanceOf(acceptor, FakeAcceptor);
  /** Brings so many more clients. */
  const knock = async (count: number) => {
    acceptor.push(...Array.from({ length: count }, () => new FakeChannel()));
    for (let i = 0; i < count; i++) await turns();
  };
  return { clock, logger, map, server, acceptor, clients, knock };
}

Deno.test("maxConnections stops accepting, and goes on when one is closed", async () => {
  const { clients, acceptor, knock } = listening(3);
  await knock(5);
  assertEquals(clients.length, 3);
  assertEquals(acceptor.accepts, 3, "the others stay in the backlog");
  clients[1]!.close();
  await turns();
  assertEquals(clients.length, 4);
  clients[0]!.close();
  assertThrows(() => clients[0]!.close()); // and does not count twice
  clients[2]!.close();
  await turns();
  assertEquals(clients.length, 5);
  await knock(5);
  assertEquals(clients.length, 6);
});

Deno.test("maxConnections says once that it is reached, and once that it is not", async () => {
  const { clients, clock, logger, knock } = listening(2);
  await knock(3);
  assertEquals(logger.lines.length, 1);
  assertStringIncludes(
    logger.lines[0]!,
    "accepting paused (maxConnections, 2, reached)",
  );
  clients[0]!.close();
  await turns();
  assertEquals(clients.length, 3);
  assertEquals(logger.lines.length, 2);
  assertStringIncludes(logger.lines[1]!, "accepting resumed");
  // Who comes and goes at the limit must not fill the log.
  for (let i = 1; i < 50; i++) {
    clients[i]!.close();
    await knock(1);
  }
  assertEquals(logger.lines.length, 2);
  await clock.advance(10_000);
  assertEquals(logger.lines.length, 3, "it is still reached");
});

Deno.test("maxConnections counts a closed connection that still sends", async () => {
  const { clients, map, knock } = listening(1);
  await knock(2);
  const channel = clients[0] as FakeChannel;
  let take = (_: number) => {};
  channel.take = () => new Promise((resolve) => take = resolve);
  const handler = new DispatcherWithSend(channel, { map });
  handler.send(bytes("spam"));
  handler.close();
  await turns();
  assertEquals(clients.length, 1);
  take(4);
  await turns();
  assertEquals(channel.sent, "spam");
  assertEquals(clients.length, 2);
});

Deno.test("maxConnections counts those at their handshake", async () => {
  const { clients, acceptor, server } = listening(2);
  const handshakes: PromiseWithResolvers<void>[] = [];
  const make = () => {
    const handshake = Promise.withResolvers<void>();
    handshakes.push(handshake);
    const close = () => handshake.reject(new Deno.errors.Interrupted());
    return Object.assign(new FakeChannel(), {
      handshake: () => handshake.promise,
      close,
    });
  };
  acceptor.push(make(), make(), make());
  await turns();
  await turns();
  assertEquals(acceptor.accepts, 2);
  handshakes[0]!.reject(new Error("garbage"));
  await turns();
  assertEquals(acceptor.accepts, 3);
  assertEquals(server.clientsGone, 1);
  handshakes[1]!.resolve();
  handshakes[2]!.resolve();
  await turns();
  assertEquals(clients.length, 2);
});

Deno.test("Dispatcher refuses a wrong maxConnections", () => {
  const server = new Dispatcher(null, { map: new SocketMap() });
  for (const wrong of [0, -1, 1.5, NaN]) {
    const create = () => server.createSocket({ maxConnections: wrong });
    assertThrows(create, RangeError, "maxConnections must be an integer 1 or");
  }
  const create = () => server.createSocket({ maxConnections: "1" as never });
  assertThrows(create, TypeError, "maxConnections must be a number");
});

Deno.test("maxConnections on real sockets serves the next client when one leaves", async () => {
  await using map = new ScopedMap({ logger: new LogLines() });
  class Echo extends DispatcherWithSend {
    override handleRead(): void {
      this.send(this.recv());
    }
  }
  class Server extends Dispatcher {
    override handleAccepted(conn: Channel): void {
      // Nobody waits for its end: that would take longer than this test.
      new Echo(conn, { map, linger: 10 * PATIENCE });
    }
  }
  const [server, other] = [0, 0].map(() => {
    const server = new Server(null, { map });
    server.createSocket({ maxConnections: 2 });
    server.bind({ hostname: "127.0.0.1", port: 0 });
    server.listen();
    return server;
  });
  const ask = async (conn: Deno.Conn) => {
    await conn.write(bytes("x"));
    return await conn.read(new Uint8Array(1)) === 1;
  };
  const conns = [];
  for (let i = 0; i < 3; i++) conns.push(await rawConnect(server!.addr));
  using elsewhere = await rawConnect(other!.addr); // has a limit of its own
  const served = conns.map((conn) => watch(ask(conn)));
  const there = watch(ask(elsewhere));
  await loopUntil(map, () => there.settled && served[0]!.settled);
  await loopUntil(map, () => served[1]!.settled);
  for (let i = 0; i < 20; i++) await passes(map);
  assertFalse(served[2]!.settled);
  conns[0]!.close();
  await loopUntil(map, () => served[2]!.settled);
  conns[1]!.close();
  conns[2]!.close();
});
