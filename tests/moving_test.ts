/** What a dispatcher takes along when it leaves its map, or changes it. */

import { assert, assertEquals, assertFalse } from "@std/assert";
import {
  closeAll,
  Dispatcher,
  DispatcherWithSend,
  loop,
  poll,
} from "../mod.ts";
import {
  codedError,
  Echo,
  FakeAcceptor,
  FakeChannel,
  loopToEnd,
  passes,
  quietMap,
  watch,
} from "./fakes.ts";
import { MockClock } from "../testing/mock_clock.ts";
import { bytes, type TestMap, turn, turns } from "./support.ts";

// Events

/** Counts what happens to it, and takes a byte at a time. */
class Counting extends Dispatcher {
  asked = 0;
  reads = 0;
  writes = 0;
  override readable(): boolean {
    this.asked++;
    return true;
  }
  override writable(): boolean {
    return true;
  }
  override handleRead(): void {
    this.reads++;
    this.recv(1);
  }
  override handleWrite(): void {
    this.writes++;
  }
}

/** The same, but the loop knows without asking what it wants. */
class Unasked extends Dispatcher {
  asked = 1;
  reads = 0;
  writes = 1;
  override handleRead(): void {
    this.reads++;
    this.recv(1);
  }
}

/** Leaves for another map, and is back at once. */
function goThereAndBack(handler: Dispatcher, other: TestMap): void {
  const { map } = handler;
  handler.addChannel(other);
  handler.addChannel(map);
}

for (const Class of [Counting, Unasked]) {
  Deno.test(`Dispatcher.addChannel() there and back gives each event once in a pass: ${Class.name}`, async () => {
    const [map, other] = [quietMap(), quietMap()];
    const channel = new FakeChannel();
    const handler = new Class(channel, { map });
    await passes(map, 2);
    channel.push("Nobody expects");
    await turn();
    goThereAndBack(handler, other);
    for (let pass = 0; pass < 3; pass++) {
      handler.asked = Class === Counting ? 0 : 1;
      handler.writes = Class === Counting ? 0 : 1;
      handler.reads = 0;
      await poll(0, map);
      const { asked, reads, writes } = handler;
      assertEquals({ asked, reads, writes }, { asked: 1, reads: 1, writes: 1 });
    }
    await poll(0, other);
    assertEquals(handler.reads, 1);
  });
}

Deno.test("Dispatcher that another's hook sends there and back gets each event once", async () => {
  const [map, other] = [quietMap(), quietMap()];
  let moving: Counting | null = null;
  class Mover extends Dispatcher {
    override handleRead(): void {
      this.recv();
      goThereAndBack(moving!, other);
      goThereAndBack(moving!, other);
    }
  }
  const signal = new FakeChannel();
  new Mover(signal, { map });
  const channel = new FakeChannel();
  moving = new Counting(channel, { map });
  await passes(map, 2);
  channel.push("Nobody expects");
  signal.push("go");
  await turn();
  moving.reads = 0;
  for (let pass = 1; pass < 5; pass++) {
    await poll(0, map);
    assert(moving.reads <= pass, `${moving.reads} reads in ${pass} passes`);
  }
  assert(moving.reads >= 3);
});

// handleDrain()

/** Counts how often it may go on sending. */
class Sender extends DispatcherWithSend {
  drains = 0;
  override handleDrain(): void {
    this.drains++;
  }
}

/** A sender with more than enough to send, to a peer that the test holds up. */
async function fillUp(map: TestMap) {
  const channel = new FakeChannel();
  const gate = Promise.withResolvers<void>();
  channel.take = (data) => gate.promise.then(() => data.length);
  const sender = new Sender(channel, { map });
  sender.highWaterMark = 100;
  await passes(map, 1);
  sender.send(new Uint8Array(200));
  const drain = async () => {
    gate.resolve();
    await turn();
    assertEquals(sender.bufferedAmount, 0);
  };
  return { sender, drain };
}

Deno.test("handleDrain() that falls due outside the map follows addChannel()", async () => {
  const map = quietMap();
  const { sender, drain } = await fillUp(map);
  sender.delChannel();
  await drain();
  await poll(0, map);
  assertEquals(sender.drains, 0);
  sender.addChannel();
  await passes(map, 5);
  assertEquals(sender.drains, 1);
});

for (const when of ["before", "after"]) {
  Deno.test(`handleDrain() follows a move to another map, ${when} it falls due`, async () => {
    const [map, other] = [quietMap(), quietMap()];
    new Echo(new FakeChannel(), { map });
    const { sender, drain } = await fillUp(map);
    if (when === "after") await drain();
    sender.addChannel(other);
    if (when === "before") await drain();
    await passes(map, 3);
    assertEquals(sender.drains, 0);
    await passes(other, 3);
    assertEquals(sender.drains, 1);
  });
}

Deno.test("handleDrain() that leaves the map is followed by no handleWrite()", async () => {
  const map = quietMap();
  let writes = 0;
  class Leaving extends DispatcherWithSend {
    override writable(): boolean {
      return true;
    }
    override handleWrite(): void {
      writes++;
    }
    override handleDrain(): void {
      this.delChannel();
    }
  }
  const channel = new FakeChannel();
  const gate = Promise.withResolvers<void>();
  channel.take = (data) => gate.promise.then(() => data.length);
  const sender = new Leaving(channel, { map });
  sender.highWaterMark = 10;
  await passes(map, 1);
  sender.send(bytes("x".repeat(20)));
  await passes(map, 1);
  gate.resolve();
  await turn();
  writes = 0;
  await passes(map, 1);
  assertEquals(map.size, 0, "handleDrain() has run");
  assertEquals(writes, 0);
});

// Timers

Deno.test("Dispatcher.addChannel() takes the timers along, with what is left of their time", async () => {
  const [here, there] = [new MockClock(), new MockClock()];
  here.skip(1_000_000);
  const map = quietMap({ clock: here });
  const other = quietMap({ clock: there });
  new Echo(new FakeChannel(), { map });
  const handler = new Echo(new FakeChannel(), { map });
  const ran: [string, number][] = [];
  handler.callLater(10, () => void ran.push(["once", there.now()]));
  handler.callEvery(20, () => void ran.push(["again", there.now()]));
  const cancelled = handler.callLater(10, () => void ran.push(["never", 0]));
  here.skip(4);
  handler.addChannel(other);
  cancelled.cancel();
  here.skip(1_000);
  await poll(0, map);
  assertEquals(ran, []);
  for (let ms = 0; ms < 40; ms++) {
    there.skip(1);
    await poll(0, other);
  }
  assertEquals(ran, [["once", 6], ["again", 16], ["again", 36]]);
  handler.close();
  there.skip(100);
  await poll(0, other);
  assertEquals(ran.length, 3);
});

Deno.test("Dispatcher.addChannel() to a map that waits wakes it for the timers it brings", async () => {
  const clock = new MockClock();
  const [map, other] = [quietMap({ clock }), quietMap({ clock })];
  new Echo(new FakeChannel(), { map: other });
  const handler = new Echo(new FakeChannel(), { map });
  let runs = 0;
  handler.callLater(10, () => {
    runs++;
    for (const member of [...other]) member.close();
  });
  const done = loop({ map: other });
  await clock.advance(5);
  handler.addChannel(other);
  await clock.advance(4);
  assertEquals(runs, 0);
  await clock.advance(1);
  assertEquals(runs, 1);
  await done;
  await loopToEnd(map);
});

Deno.test("Dispatcher.addChannel() takes along a timer that is not pending", async () => {
  const clock = new MockClock();
  const here = quietMap({ clock });
  const there = quietMap({ clock });
  const dispatcher = new Dispatcher(new FakeChannel(), { map: here });
  let ran = 0;
  const timer = dispatcher.callLater(5, () => void ran++);
  timer.cancel();
  dispatcher.addChannel(there);
  timer.reset();
  const passing = poll(10, there);
  await clock.advance(5);
  await passing;
  assertEquals(ran, 1);
  dispatcher.abort();
});

// Clocks

/** Two maps, the clock of the second of which began at another time. */
function setUpClocks(ahead: number) {
  const [here, there] = [new MockClock(), new MockClock()];
  here.skip(2_000_000);
  there.skip(2_000_000 + ahead);
  return {
    here,
    there,
    map: quietMap({ clock: here }),
    other: quietMap({ clock: there }),
  };
}

for (const ahead of [1_000_000, -1_000_000]) {
  const name = `to a clock that shows ${ahead} ms more`;

  Deno.test(`Dispatcher.addChannel() ${name} begins the idle time anew`, async () => {
    const { here, there, map, other } = setUpClocks(ahead);
    const idle = new Echo(new FakeChannel(), { map, idleTimeout: 100 });
    const looping = watch(loop({ map }));
    await here.advance(60);
    idle.addChannel(other);
    await turns();
    assert(looping.settled);
    const going = watch(loop({ map: other }));
    await there.advance(99);
    assertFalse(going.settled);
    await there.advance(1);
    assertEquals(idle.closeReason?.name, "TimedOut");
    assert(going.settled);
    assertEquals([here.armed, there.armed], [0, 0]);
  });

  Deno.test(`Dispatcher.addChannel() ${name} leaves the rest of the lifetime`, async () => {
    const { here, there, map, other } = setUpClocks(ahead);
    const channel = new FakeChannel();
    channel.take = () =>
      new Promise((resolve) => there.setTimeout(() => resolve(1), 1_000));
    const mortal = new Echo(channel, { map, lifetime: 100 });
    watch(loop({ map }));
    mortal.send(bytes("a slow reader"));
    await here.advance(60);
    mortal.addChannel(other);
    const going = watch(loop({ map: other }));
    await there.advance(39);
    assert(mortal.connected);
    await there.advance(1);
    assertFalse(mortal.connected);
    // One more linger time for what it had accepted, however it is taken.
    await there.advance(4_999);
    assertFalse(going.settled);
    await there.advance(1);
    assert(going.settled);
    assertEquals(here.armed, 0);
  });

  Deno.test(`Dispatcher.addChannel() ${name} goes on with a pause of accepting`, async () => {
    const { here, there, map, other } = setUpClocks(ahead);
    const acceptor = new FakeAcceptor();
    const listener = new Dispatcher(acceptor, { map });
    acceptor.push(codedError("EMFILE"));
    watch(loop({ map }));
    await here.advance(20);
    assertEquals(acceptor.accepts, 1);
    listener.addChannel(other);
    const going = watch(loop({ map: other }));
    await there.advance(29);
    assertEquals(acceptor.accepts, 1);
    await there.advance(1);
    assertEquals(acceptor.accepts, 2);
    listener.close();
    await turns();
    assert(going.settled);
  });
}

// Ends

Deno.test("Dispatcher whose lifetime ended outside of its map can go to another one", async () => {
  const clock = new MockClock();
  const [map, other] = [quietMap({ clock }), quietMap({ clock })];
  const channel = new FakeChannel();
  const handler = new DispatcherWithSend(channel, { map, lifetime: 100 });
  new Echo(new FakeChannel(), { map }); // Keeps the loop going.
  watch(loop({ map }));
  channel.staysOpen = true; // So it lingers.
  handler.send(bytes("spam"));
  await turns();
  handler.delChannel();
  await clock.advance(100);
  handler.addChannel(other);
  const there = watch(loop({ map: other }));
  await clock.advance(5_000);
  assertEquals(map.lingering, 0);
  assert(there.settled);
  assertEquals(handler.closeReason?.name, "TimedOut");
  closeAll(map);
});
