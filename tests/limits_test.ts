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
  Dispatcher,
  type DispatcherOptions,
  DispatcherWithSend,
  loop,
  type SocketMap,
  type TimeoutKind,
} from "../mod.ts";
import { TimerHeap } from "../core/timers.ts";
import { FakeChannel, passes, quietMap, Recorder, watch } from "./fakes.ts";
import {
  channels,
  connecting,
  Keeper,
  listening,
  setUp,
  stuckChannel,
} from "./scenes.ts";
import { bytes, turns } from "./support.ts";

/** Writes down what runs out, and when. */
class Timed extends Recorder {
  /** What to do about it; the default by default. */
  onTimeout: (kind: TimeoutKind) => void | Promise<void> = (kind) =>
    super.handleTimeout(kind);

  override handleTimeout(kind: TimeoutKind): void | Promise<void> {
    this.trace.push(`${kind} at ${this.map.clock.now()}`);
    return this.onTimeout(kind);
  }
}

/** A loop that waits for as long as the test wants. */
function looped(map: SocketMap) {
  return watch(loop({ map, timeout: 1e6 }));
}

/** A connection with limits, in a map that is being looped. */
function connected(
  options: DispatcherOptions,
  channel: FakeChannel = new FakeChannel(),
) {
  const scene = setUp();
  const { map } = scene;
  const dispatcher = new Timed(map, channel, options);
  return { ...scene, channel, dispatcher, looping: looped(map) };
}

/** A hook that returns this promise is pending until the test says so. */
function pendingHook() {
  const { promise, resolve } = Promise.withResolvers<void>();
  const settle = async () => {
    resolve();
    await turns();
  };
  return { promise, settle };
}

// Idle

Deno.test("idleTimeout ends a connection on which nothing happens, by handleClose()", async () => {
  const limits = { idleTimeout: 1_000 };
  const { clock, channel, dispatcher, looping } = connected(limits);
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

Deno.test("idleTimeout of a former connection does not end the next one", async () => {
  const { clock, dispatcher } = connected({ idleTimeout: 1_000 });
  const next = new FakeChannel();
  dispatcher.handleClose = () => {
    dispatcher.trace.push("handleClose");
    dispatcher.close();
    dispatcher.setSocket(next);
    dispatcher.callLater(3_000, () => void dispatcher.trace.push("its timer"));
  };
  await clock.advance(1_000);
  for (let i = 0; i < 5; i++) {
    await clock.advance(700);
    next.push("x");
    await turns();
  }
  assertEquals(
    dispatcher.trace.filter((what) => what !== "handleRead"),
    ["idle at 1000", "handleClose", "its timer"],
  );
  assertEquals(dispatcher.received, "xxxxx");
  assert(dispatcher.connected);
  dispatcher.abort();
});

Deno.test("abort() of a former connection leaves the timers of the next one alone", async () => {
  const { clock, channel, dispatcher } = connected({});
  let ran = 0;
  dispatcher.handleRead = () => {
    throw new Error("spam");
  };
  dispatcher.handleError = (error) => {
    dispatcher.close();
    dispatcher.setSocket(new FakeChannel());
    dispatcher.callLater(1_000, () => void ran++);
    throw error; // The former one is closed hard.
  };
  channel.push("x");
  await turns();
  await clock.advance(1_000);
  assertEquals(ran, 1);
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
  const options = { idleTimeout: 1_000, linger: 100 };
  const { clock, channel, dispatcher, lines } = connected(
    options,
    stuckChannel(),
  );
  dispatcher.send(bytes("spam"));
  await clock.advance(1_000);
  assertEquals(dispatcher.trace, ["idle at 1000", "handleClose"]);
  await clock.advance(100);
  assert(channel.closed);
  assertStringIncludes(lines[0]!, "lost 4 accepted bytes");
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
  const hook = pendingHook();
  dispatcher.handleRead = () => {
    dispatcher.recv();
    return hook.promise;
  };
  channel.push("x");
  await clock.advance(450);
  assertEquals(dispatcher.trace, []);
  await hook.settle();
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
  looped(other);
  await clock.advance(40);
  assertEquals(dispatcher.trace, ["idle at 100", "handleClose"]);
});

Deno.test("idleTimeout starts when the connection stands, and not before", async () => {
  const { clock, map, network } = setUp();
  const dispatcher = connecting(new Timed(map, null, { idleTimeout: 100 }));
  looped(map);
  await clock.advance(500);
  assertEquals(dispatcher.trace, []);
  network.succeed(new FakeChannel());
  await turns();
  await clock.advance(99);
  assert(dispatcher.connected);
  await clock.advance(1);
  assertEquals(
    dispatcher.trace,
    ["handleConnect", "idle at 600", "handleClose"],
  );
});

// Lifetime

Deno.test("lifetime ends a peer that sends a byte a second", async () => {
  const limits = { idleTimeout: 2_000, lifetime: 10_000 };
  const { clock, channel, dispatcher } = connected(limits);
  for (let second = 1; second < 10; second++) {
    await clock.advance(1_000);
    channel.push("x");
    await turns();
  }
  await clock.advance(999);
  assert(dispatcher.connected);
  assertEquals(dispatcher.received, "xxxxxxxxx");
  await clock.advance(1);
  const ends = ["lifetime at 10000", "handleClose"];
  assertEquals(dispatcher.trace.slice(-2), ends);
  const { closeReason } = dispatcher;
  assertInstanceOf(closeReason, Deno.errors.TimedOut);
  assertEquals(closeReason.message, "the lifetime of 10000 ms is over");
  assert(channel.closed);
  assertEquals(clock.armed, 0);
});

Deno.test("lifetime ends a peer that takes a byte a second, in one more linger time", async () => {
  const limits = { lifetime: 10_000 };
  const { clock, channel, dispatcher, lines, looping } = connected(limits);
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
  assertStringIncludes(lines.at(-1)!, "Error: its lifetime is over");
});

Deno.test("lifetime cuts the connection although the promise of a hook is pending", async () => {
  const { clock, channel, dispatcher, looping } = connected({ lifetime: 100 });
  const hook = pendingHook();
  dispatcher.handleRead = () => hook.promise;
  channel.push("x");
  await clock.advance(100);
  assert(channel.closed, "at its time");
  assertEquals(dispatcher.trace, [], "one hook at a time");
  assertEquals(dispatcher.send(bytes("too late")), 0);
  await clock.advance(50);
  await hook.settle();
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
  const hook = pendingHook();
  dispatcher.handleRead = () => {
    dispatcher.recv();
    return hook.promise;
  };
  channel.push(null);
  await turns();
  dispatcher.shutdownWrite();
  await clock.advance(100);
  await hook.settle();
  assertEquals(dispatcher.trace, ["lifetime at 100", "handleClose"]);
  assertEquals(dispatcher.closeReason?.name, "TimedOut");
});

Deno.test("lifetime that passes while handleClose() is pending is no reason for the end", async () => {
  const { clock, channel, dispatcher, looping } = connected({ lifetime: 100 });
  const hook = pendingHook();
  const { close } = dispatcher;
  dispatcher.handleClose = () =>
    hook.promise.then(() => close.call(dispatcher));
  channel.push(null);
  await clock.advance(100);
  await hook.settle();
  assertEquals(dispatcher.closeReason, null);
  assert(looping.settled);
});

Deno.test("close() ends the limits with the connection, and another one begins its own", async () => {
  const limits = { idleTimeout: 100, lifetime: 150 };
  const { clock, dispatcher, looping } = connected(limits);
  await clock.advance(90);
  dispatcher.close();
  await turns();
  assert(looping.settled);
  assertEquals(clock.armed, 0);
  dispatcher.setSocket(new FakeChannel());
  looped(dispatcher.map);
  await clock.advance(99);
  assertEquals(dispatcher.trace, []);
  await clock.advance(1);
  assertEquals(dispatcher.trace, ["idle at 190", "handleClose"]);
});

Deno.test("idleTimeout costs a busy connection among 10,000 no work on the heap of timers", async () => {
  const { clock, map } = setUp();
  const all = channels(10_000);
  for (const channel of all) {
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
    for (let i = 0; i < 100; i++) all[i]!.push("x");
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
function limited(maxConnections: number) {
  const scene = setUp();
  const server = listening(new Keeper(scene.map), { maxConnections });
  looped(scene.map);
  const { acceptor } = scene.network;
  /** Brings so many more clients. */
  const knock = async (count: number) => {
    acceptor.push(...channels(count));
    for (let i = 0; i < count; i++) await turns();
  };
  return { ...scene, server, acceptor, clients: server.accepted, knock };
}

Deno.test("maxConnections stops accepting, and goes on when one is closed", async () => {
  const { clients, acceptor, knock } = limited(3);
  const other = limited(1); // has a limit of its own
  await knock(5);
  assertEquals(clients.length, 3);
  await other.knock(2);
  assertEquals(other.clients.length, 1);
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
  const { clients, clock, lines, knock } = limited(2);
  await knock(3);
  assertEquals(lines.length, 1);
  assertStringIncludes(
    lines[0]!,
    "accepting paused (maxConnections, 2, reached)",
  );
  clients[0]!.close();
  await turns();
  assertEquals(clients.length, 3);
  assertEquals(lines.length, 2);
  assertStringIncludes(lines[1]!, "accepting resumed");
  // Who comes and goes at the limit must not fill the log.
  for (let i = 1; i < 50; i++) {
    clients[i]!.close();
    await knock(1);
  }
  assertEquals(lines.length, 2);
  await clock.advance(10_000);
  assertEquals(lines.length, 3, "it is still reached");
});

Deno.test("maxConnections counts a closed connection that still sends", async () => {
  const { clients, map, knock } = limited(1);
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
  const { clients, acceptor, server } = limited(2);
  const handshakes = [1, 2, 3].map(() => Promise.withResolvers<void>());
  acceptor.push(...handshakes.map(({ promise }) => {
    return Object.assign(new FakeChannel(), { handshake: () => promise });
  }));
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

for (const name of ["idleTimeout", "lifetime", "maxConnections"]) {
  const isCount = name === "maxConnections";
  Deno.test(`Dispatcher refuses a wrong ${name}`, () => {
    const { map } = setUp();
    const make = (value: unknown) => () => {
      const options = { [name]: value };
      if (isCount) new Dispatcher(null, { map }).createSocket(options);
      else new Dispatcher(null, { map, ...options });
    };
    const what = isCount ? "an integer 1 or more" : "1 or more ms";
    for (const wrong of [0, -1, NaN, ...(isCount ? [1.5] : [])]) {
      assertThrows(make(wrong), RangeError, `${name} must be ${what}, got`);
    }
    assertThrows(make("1"), TypeError, `${name} must be a number`);
  });
}
