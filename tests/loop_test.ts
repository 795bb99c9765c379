import {
  assert,
  assertEquals,
  assertFalse,
  assertGreater,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import { systemClock } from "../core/clock.ts";
import { TimerHeap } from "../core/timers.ts";
import { Wait } from "../core/waiting.ts";
import {
  type Channel,
  type Clock,
  Dispatcher,
  ExitNow,
  loop,
  poll,
} from "../mod.ts";
import {
  FakeAcceptor,
  FakeChannel,
  loopToEnd,
  passes,
  quietMap,
  Recorder,
  watch,
} from "./fakes.ts";
import { connected, neighbourIn, setUp } from "./setups.ts";
import { bytes, text, turns } from "./support.ts";

/** A recorder whose predicates are written down too, and can do things. */
class Asked extends Recorder {
  wantsRead = true;
  wantsWrite = true;
  whenAskedToRead: () => void = () => {};
  whenAskedToWrite: () => void = () => {};
  onRead: () => void = () => {};
  onWrite: () => void = () => {};

  override readable(): boolean {
    this.note("readable");
    this.whenAskedToRead();
    return this.wantsRead;
  }
  override writable(): boolean {
    this.note("writable");
    this.whenAskedToWrite();
    return this.wantsWrite;
  }
  override handleRead(): void {
    super.handleRead();
    this.onRead();
  }
  override handleWrite(): void {
    this.note("handleWrite");
    this.onWrite();
  }
}

/** One dispatcher that is asked in each pass, and at first not to write. */
function makeOne() {
  const scene = setUp();
  const channel = new FakeChannel();
  const handler = new Asked(scene.map, channel);
  handler.wantsWrite = false;
  return { ...scene, channel, handler };
}

/** Three dispatchers in the order a, b, c, with one trace. */
function makeThree() {
  const { map } = setUp();
  const trace: string[] = [];
  const make = (label: string) => {
    const channel = new FakeChannel();
    return { channel, handler: new Asked(map, channel, { label, trace }) };
  };
  return { map, trace, a: make("a"), b: make("b"), c: make("c") };
}

/** Those entries of a trace that are events. */
function events(trace: string[]): string[] {
  return trace.filter((entry) => entry.includes("handle"));
}

// How long a pass waits

Deno.test("poll() sleeps for its timeout when the map is empty", async () => {
  const { clock, map } = setUp();
  const pass = watch(poll(50, map));
  await clock.advance(49.9);
  assertFalse(pass.settled);
  await clock.advance(0.1);
  assert(pass.settled);
});

Deno.test("loop() waits for up to 30 s a pass by default", async () => {
  const { clock, map } = connected();
  const done = watch(loop({ map, count: 1 }));
  await clock.advance(29_999);
  assertFalse(done.settled);
  await clock.advance(1);
  assert(done.settled);
});

Deno.test("poll() by default, and loop() of an empty map, do not wait", async () => {
  const { clock, map } = setUp();
  for (const pass of [() => poll(undefined, map), () => loop({ map })]) {
    const done = watch(pass());
    await turns();
    assert(done.settled);
  }
  assertEquals(clock.timeoutsSet, 0);
});

Deno.test("loop() waits though handleWrite() finds nothing to send", async () => {
  const { clock, map, handler } = connected({ handleWrite() {} });
  watch(loop({ map }));
  await turns();
  assertEquals(handler.trace, ["handleWrite"]);
  assertEquals(clock.armed, 1);
});

Deno.test("loop({ count }) makes so many passes", async () => {
  const { map, handler } = makeOne();
  for (const count of [0, 1, 3]) {
    handler.trace.length = 0;
    await loop({ map, count, timeout: 0 });
    assertEquals(handler.count("readable"), count);
  }
});

Deno.test("loop({ timeout }) bounds the wait of each pass, not the loop", async () => {
  const { clock, map, handler } = makeOne();
  const done = watch(loop({ map, timeout: 100, count: 5 }));
  await clock.advance(350);
  assertEquals(handler.count("readable"), 4);
  assertFalse(done.settled);
  await clock.advance(150);
  assertEquals(handler.count("readable"), 5);
  assert(done.settled);
});

Deno.test("loop() sets one timeout for many waits, and leaves none behind", async () => {
  const { clock, map, channel, handler } = connected();
  const done = watch(loop({ map, count: 100 }));
  for (let i = 0; i < 100; i++) {
    await turns();
    assertEquals(clock.armed, 1);
    clock.skip(1);
    channel.push("x");
  }
  await turns();
  assert(done.settled);
  assertEquals(handler.received.length, 100);
  assertEquals([clock.timeoutsSet, clock.armed], [1, 0]);
});

Deno.test("loop({ signal }) makes no pass when the signal has aborted", async () => {
  const { map, handler } = makeOne();
  await loop({ map, signal: AbortSignal.abort() });
  assertEquals(handler.trace, []);
  assertEquals(map.size, 1);
});

Deno.test("loop({ signal }) returns from a wait and closes nothing", async () => {
  const { map, channel, handler } = connected();
  const controller = new AbortController();
  const done = watch(loop({ map, signal: controller.signal }));
  await turns();
  assertFalse(done.settled);
  controller.abort();
  await turns();
  assert(done.settled);
  assertEquals(done.error, undefined);
  assert(handler.connected);
  assertEquals([...map], [handler]);
  assertFalse(channel.closed);
  channel.push("spam");
  await passes(map, 3);
  assertEquals(handler.received, "spam");
});

Deno.test("loop({ signal }) leaves no listener on the signal", async () => {
  const { map, handler } = connected();
  const { signal } = new AbortController();
  const listeners = new Set<unknown>();
  const add = signal.addEventListener.bind(signal);
  signal.addEventListener = (type: string, listener: unknown) => {
    listeners.add(listener);
    add(type, listener as EventListener);
  };
  signal.removeEventListener = (_type: string, listener: unknown) =>
    void listeners.delete(listener);
  await loop({ map, count: 1, timeout: 0, signal });
  handler.callLater(0, () => {
    throw new ExitNow("enough");
  });
  await assertRejects(() => loop({ map, signal }), ExitNow);
  assertEquals(listeners.size, 0);
});

Deno.test("SocketMap.wake() makes the loop ask again", async () => {
  const { map, channel, handler } = makeOne();
  handler.onWrite = () => {
    handler.send(bytes("spam"));
    handler.wantsWrite = false;
  };
  watch(loop({ map }));
  await turns();
  assertEquals(handler.count("handleWrite"), 0);
  handler.wantsWrite = true;
  map.wake();
  await turns();
  assertEquals(channel.sent, "spam");
  assertEquals(handler.count("handleWrite"), 1);
});

Deno.test("SocketMap.wake() before a wait is not lost, and counts once", async () => {
  const { map } = connected();
  map.wake();
  map.wake();
  const first = watch(poll(1_000, map));
  await turns();
  assert(first.settled);
  const second = watch(poll(1_000, map));
  await turns();
  assertFalse(second.settled);
});

Deno.test("SocketMap.wake() from a hook keeps the next pass from waiting", async () => {
  const { map, channel, handler } = makeOne();
  handler.onRead = () => map.wake();
  channel.push("spam");
  watch(loop({ map }));
  await turns();
  // One to start the read, one to dispatch it, one for the wake, one waiting.
  assertEquals(handler.count("handleRead"), 1);
  const trace = handler.trace.slice(handler.trace.indexOf("handleRead"));
  assertEquals(trace.filter((entry) => entry === "readable").length, 2);
});

// What a pass asks and dispatches, and in which order

Deno.test("SocketMap keeps the order in which dispatchers were added", () => {
  const { map, a, b, c } = makeThree();
  assertEquals([...map], [a.handler, b.handler, c.handler]);
  assertEquals(map.size, 3);
  a.handler.delChannel();
  assertEquals([...map], [b.handler, c.handler]);
  a.handler.addChannel();
  assertEquals([...map], [b.handler, c.handler, a.handler]);
});

Deno.test("poll() asks each predicate once, readable first, in the order added", async () => {
  const { map, trace, a } = makeThree();
  const predicates = (labels: string[]) =>
    labels.flatMap((label) => [`${label}.readable`, `${label}.writable`]);
  const asked = () => trace.splice(0).filter((entry) => /able$/.test(entry));
  for (let pass = 0; pass < 2; pass++) {
    await poll(0, map);
    assertEquals(asked(), predicates(["a", "b", "c"]));
  }
  a.handler.delChannel();
  a.handler.addChannel();
  await poll(0, map);
  assertEquals(asked(), predicates(["b", "c", "a"]));
});

Deno.test("poll() asks once who left and came back", async () => {
  const { map, handler } = makeOne();
  const leaveAndComeBack = () => {
    handler.delChannel();
    handler.addChannel();
  };
  leaveAndComeBack();
  await poll(0, map);
  assertEquals(handler.count("readable"), 1);
  handler.whenAskedToRead = leaveAndComeBack;
  await poll(0, map);
  handler.whenAskedToRead = () => {};
  handler.trace.length = 0;
  await poll(0, map);
  assertEquals(handler.count("readable"), 1);
});

Deno.test("poll() dispatches reads before writes", async () => {
  const { map, trace, a, b } = makeThree();
  await passes(map, 1); // The reads are on their way.
  trace.length = 0;
  a.channel.push("spam");
  b.channel.push("eggs");
  await passes(map, 1);
  assertEquals(events(trace), [
    "a.handleRead",
    "b.handleRead",
    "a.handleWrite",
    "b.handleWrite",
    "c.handleWrite",
  ]);
});

Deno.test("poll() dispatches connects before writes", async () => {
  const { map, network } = setUp();
  const trace: string[] = [];
  const client = new Asked(map, null, { label: "client", trace });
  new Asked(map, new FakeChannel(), { label: "other", trace });
  client.createSocket();
  client.connect({ port: 7 });
  await passes(map, 2);
  assertEquals(client.count("handleWrite"), 0);
  trace.length = 0;
  network.succeed(new FakeChannel());
  await passes(map, 1);
  assertEquals(events(trace), [
    "client.handleConnect",
    "other.handleWrite",
    "client.handleWrite",
  ]);
});

Deno.test("poll() gives at most one read and one write to a dispatcher", async () => {
  const { map, channel, handler } = makeOne();
  handler.wantsWrite = true;
  handler.onWrite = () => handler.send(bytes("x"));
  channel.push(..."spam".split(""));
  for (let pass = 0; pass < 8; pass++) {
    handler.trace.length = 0;
    await passes(map, 1);
    assertEquals(handler.count("handleWrite"), 1);
    assert(handler.count("handleRead") <= 1);
  }
  assertEquals(handler.received, "spam");
});

Deno.test("Dispatcher that listens never gets write events", async () => {
  const map = quietMap();
  const acceptor = new FakeAcceptor();
  const server = new Asked(map, acceptor);
  await passes(map, 2);
  acceptor.push(new FakeChannel());
  await passes(map, 3);
  assertEquals(server.count("handleAccepted"), 1);
  assertGreater(server.count("writable"), 0);
  assertEquals(server.count("handleWrite"), 0);
});

Deno.test("Dispatcher accepts one connection in a pass", async () => {
  const map = quietMap();
  const acceptor = new FakeAcceptor();
  const server = new Recorder(map, acceptor);
  acceptor.push(...Array.from({ length: 5 }, () => new FakeChannel()));
  let before = 0;
  for (let pass = 0; pass < 8; pass++) {
    await passes(map, 1);
    const count = server.count("handleAccepted");
    assert(count - before <= 1);
    before = count;
  }
  assertEquals(before, 5);
});

// Dispatchers that leave and join in the middle of a pass

/** How a dispatcher leaves its map. */
const LEAVES: Record<string, (it: Dispatcher) => void> = {
  "closes": (it) => it.close(),
  "takes out of the map": (it) => it.delChannel(),
  "moves to another map": (it) => it.addChannel(quietMap()),
};

for (const [how, leave] of Object.entries(LEAVES)) {
  Deno.test(`Dispatcher that another's hook ${how} gets nothing in that pass`, async () => {
    const { map, trace, a, b, c } = makeThree();
    await passes(map, 1);
    a.handler.onRead = () => leave(b.handler);
    c.handler.onWrite = () => leave(a.handler);
    for (const { channel } of [a, b, c]) channel.push("spam");
    await turns();
    trace.length = 0;
    await passes(map, 2);
    const expected = ["a.handleRead", "c.handleRead", "a.handleWrite"];
    assertEquals(events(trace).slice(0, 4), [...expected, "c.handleWrite"]);
    assertEquals(b.handler.received, "");
    assertEquals([...map], [c.handler]);
  });
}

Deno.test("Dispatcher closed by another's predicate gets nothing in that pass", async () => {
  const { map, trace, a, b, c } = makeThree();
  await passes(map, 1);
  for (const { channel } of [a, b, c]) channel.push("spam");
  await turns();
  b.handler.whenAskedToRead = () => {
    a.handler.close();
    c.handler.close();
  };
  trace.length = 0;
  await passes(map, 1);
  assertEquals(trace.filter((entry) => !entry.startsWith("b.")), [
    "a.readable",
    "a.writable",
  ]);
  assertEquals(b.handler.received, "spam");
});

for (
  const [where, action, trace] of [
    ["handleRead()", "onRead", ["handleRead"]],
    ["readable()", "whenAskedToRead", ["readable"]],
    ["writable()", "whenAskedToWrite", ["readable", "writable"]],
  ] as const
) {
  Deno.test(`Dispatcher that closes itself in ${where} is asked and told nothing after it`, async () => {
    const { map, channel, handler } = makeOne();
    await passes(map, 1);
    handler.wantsWrite = true;
    handler[action] = () => handler.close();
    channel.push("spam");
    await turns();
    handler.trace.length = 0;
    await passes(map, 2);
    const shown = action === "onRead" ? events(handler.trace) : handler.trace;
    assertEquals(shown, [...trace]);
  });
}

Deno.test("Dispatcher added by a hook is served from the next pass on", async () => {
  const { map, trace, a } = makeThree();
  const channel = new FakeChannel();
  channel.push("eggs");
  let added: Asked | null = null;
  a.handler.onRead = () => {
    added = new Asked(map, channel, { label: "new", trace });
  };
  await passes(map, 1);
  a.channel.push("spam");
  await passes(map, 1);
  assertEquals(map.size, 4);
  assertEquals(trace.filter((entry) => entry.startsWith("new")), []);
  await passes(map, 2);
  assertEquals(added!.received, "eggs");
  assertEquals([...map].at(-1), added!);
});

Deno.test("Dispatcher added by a predicate is served too", async () => {
  const { map, trace, b } = makeThree();
  const channel = new FakeChannel();
  channel.push("eggs");
  let added: Asked | null = null;
  b.handler.whenAskedToRead = () => {
    added ??= new Asked(map, channel, { label: "new", trace });
  };
  await passes(map, 4);
  assertEquals(added!.received, "eggs");
  assertEquals(map.size, 4);
});

Deno.test("Dispatcher added during a wait is served at once", async () => {
  const { map } = connected();
  const done = watch(loop({ map }));
  await turns();
  const channel = new FakeChannel();
  channel.push("spam");
  const late = new Recorder(map, channel);
  await turns();
  assertEquals(late.received, "spam");
  assertFalse(done.settled);
});

Deno.test("Dispatcher.delChannel() of another map does nothing", () => {
  const { map, handler } = connected();
  handler.delChannel(quietMap());
  assertEquals(map.size, 1);
});

Deno.test("Dispatcher outside its map still sends what it accepted", async () => {
  const { channel, handler } = connected();
  handler.delChannel();
  assertEquals(handler.send(bytes("spam")), 4);
  await turns();
  assertEquals(channel.sent, "spam");
});

Deno.test("Dispatcher.addChannel() moves a dispatcher to another map", async () => {
  const { map, channel, handler } = connected();
  const other = quietMap();
  await passes(map, 1);
  handler.addChannel(other);
  assertEquals([map.size, other.size], [0, 1]);
  assertStrictEquals(handler.map, other);
  channel.push("spam");
  await poll(0, map);
  assertEquals(handler.received, "");
  await passes(other, 2);
  assertEquals(handler.received, "spam");
  channel.push(null);
  await passes(other, 2);
  assertEquals(other.size, 0);
});

// Loops beside and within loops

Deno.test("loop() drives two maps side by side", async () => {
  const scenes = [connected(), connected()];
  for (const { channel } of scenes) channel.push("spam", null);
  await Promise.all(scenes.map(({ map }) => loopToEnd(map)));
  for (const { handler } of scenes) assertEquals(handler.received, "spam");
});

Deno.test("loop() of one map is not woken or ended by another", async () => {
  const { clock, map, handler } = makeOne();
  const other = quietMap({ clock });
  const channel = new FakeChannel();
  new Recorder(other, channel);
  const done = watch(loop({ map }));
  const otherDone = watch(loop({ map: other }));
  await turns();
  const asked = handler.count("readable");
  other.wake();
  channel.push(new Error("spam"));
  await turns();
  assert(otherDone.settled);
  assertFalse(done.settled);
  assertEquals(handler.count("readable"), asked);
  handler.close();
  await turns();
  assert(done.settled);
});

Deno.test("loop() refuses a map that is being looped", async () => {
  const { map, channel, handler } = connected();
  const done = watch(loop({ map }));
  await turns();
  for (let i = 0; i < 2; i++) {
    await assertRejects(() => loop({ map }), Error, "being looped already");
    await assertRejects(() => poll(0, map), Error, "being looped already");
  }
  channel.push("spam");
  await turns();
  assertEquals(handler.received, "spam");
  assertFalse(done.settled);
  channel.push(null);
  await turns();
  assert(done.settled);
  await loop({ map });
});

Deno.test("loop() and poll() from a hook reject, and leave the outer loop unharmed", async () => {
  const refusals: unknown[] = [];
  const { map, channel, handler } = connected({
    async handleRead() {
      this.received += text(this.recv());
      if (!this.connected) return;
      // What would throw, instead of rejecting, would reach handleError().
      await loop({ map: this.map }).catch((error) => refusals.push(error));
      await poll(0, this.map).catch((error) => refusals.push(error));
    },
  });
  const neighbour = neighbourIn(map);
  channel.push("spam", "eggs", null);
  neighbour.push("hello", null);
  await loopToEnd(map);
  assertEquals(refusals.length, 4);
  for (const error of refusals) {
    assertInstanceOf(error, Error);
    assertStringIncludes(error.message, "being looped already");
    assertStringIncludes(error.message, "hook");
  }
  assertEquals(handler.errors, []);
  assertEquals(handler.received, "spameggs");
  assertEquals(neighbour.sent, "hello");
});

Deno.test("loop() can run inside a hook when it has a map of its own", async () => {
  const inner = connected();
  const { map, channel } = connected({
    async handleRead() {
      this.recv();
      await loop({ map: inner.map });
      this.close();
    },
  });
  inner.channel.push("spam", null);
  channel.push("spam");
  await loopToEnd(map);
  assertEquals(inner.handler.received, "spam");
});

// A loop that never waits

/** Never lets the loop wait. */
class Restless extends Dispatcher {
  writes = 0;
  override readable(): boolean {
    return true;
  }
  override writable(): boolean {
    return true;
  }
  override handleWrite(): void {
    this.writes++;
  }
}

Deno.test("loop() runs its timers while a dispatcher is always writable", async () => {
  const map = quietMap();
  const restless = new Restless(new FakeChannel(), { map });
  let fired = 0;
  map.callEvery(1, () => {
    if (++fired === 5) restless.close();
  });
  await loopToEnd(map);
  assertEquals(fired, 5);
  assertGreater(restless.writes, 5);
});

Deno.test("loop() that never waits does not starve the timeouts of the process", async () => {
  const map = quietMap();
  const restless = new Restless(new FakeChannel(), { map });
  const controller = new AbortController();
  const { signal } = controller;
  const id = setTimeout(() => controller.abort(), 20);
  await loop({ map, signal, count: 1_000_000 });
  clearTimeout(id);
  assert(signal.aborted);
  assertGreater(restless.writes, 20);
  restless.close();
});

Deno.test("poll() in a loop of its own does not starve other sockets", async () => {
  const map = quietMap();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const restless = new Restless(new FakeChannel(), { map });
  let accepted: Channel | null = null;
  const accepting = listener.accept().then((conn) => accepted = conn);
  using _client = await Deno.connect({ port: listener.addr.port });
  for (let i = 0; i < 100_000 && accepted === null; i++) await poll(0, map);
  assert(accepted !== null);
  (await accepting).close();
  restless.close();
});

Deno.test("loop() goes on with who joins while the last hook's promise settles", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const successor = new FakeChannel();
  class Last extends Recorder {
    override async handleClose(): Promise<void> {
      this.close();
      await null;
      new Recorder(map, successor);
    }
  }
  new Last(map, channel);
  channel.push(null);
  successor.push("x", null);
  await loop({ map });
  assertEquals(map.size, 0);
  assert(successor.closed);
});

Deno.test("loop() leaves no timeout behind where one that is cleared still runs", async () => {
  const pending = new Map<unknown, () => void>();
  let cleared = 0;
  const clock: Clock = {
    ...systemClock,
    setTimeout(callback, delay) {
      const id = systemClock.setTimeout(callback, delay);
      pending.set(id, callback);
      return id;
    },
    clearTimeout(id) {
      systemClock.clearTimeout(id);
      const callback = pending.get(id)!;
      pending.delete(id);
      // The first one was due already.
      if (++cleared === 1) setImmediate(callback);
    },
  };
  // A map uses no clock but the system's without checking it.
  const wait = new Wait(clock, new TimerHeap(clock.now, () => {}));
  void wait.start(1_000);
  wait.end();
  wait.disarm();
  const waiting = wait.start(30_000);
  await turns();
  wait.end();
  wait.disarm();
  await waiting;
  assertEquals(pending.size, 0);
  assertGreater(cleared, 1);
});
