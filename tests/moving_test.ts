/** The things a dispatcher takes along when it leaves its map, or changes it. */

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
import { type Acts, connected, recorder } from "./setups.ts";
import { bytes, type TestMap, turn, turns } from "./support.ts";

// Events

/** Takes a byte at a time, and is asked for nothing. */
const UNASKED: Acts = {
  handleRead() {
    this.recv(1);
  },
};
/** The same, but the loop asks it in each pass. */
const ASKED: Acts = {
  ...UNASKED,
  readable: () => true,
  writable: () => true,
  handleWrite() {},
};

/** Leaves for another map, and is back at once. */
function goThereAndBack(handler: Dispatcher, other: TestMap): void {
  const { map } = handler;
  handler.addChannel(other);
  handler.addChannel(map);
}

for (const [name, acts] of Object.entries({ UNASKED, ASKED })) {
  Deno.test(`Dispatcher.addChannel() there and back gives each event once in a pass: ${name}`, async () => {
    const { map, channel, handler } = connected(acts);
    const other = quietMap();
    await passes(map, 2);
    channel.push("Nobody expects");
    await turn();
    goThereAndBack(handler, other);
    for (let pass = 0; pass < 3; pass++) {
      handler.trace.length = 0;
      await poll(0, map);
      assertEquals(handler.trace.toSorted(), Object.keys(acts).toSorted());
    }
    await poll(0, other);
    assertEquals(handler.count("handleRead"), 1);
  });
}

Deno.test("Dispatcher that another's hook sends there and back gets each event once", async () => {
  const other = quietMap();
  const { map, channel: signal } = connected({
    handleRead() {
      this.recv();
      goThereAndBack(moving, other);
      goThereAndBack(moving, other);
    },
  });
  const channel = new FakeChannel();
  const moving = recorder(map, channel, ASKED);
  await passes(map, 2);
  channel.push("Nobody expects");
  signal.push("go");
  await turn();
  moving.trace.length = 0;
  const reads = () => moving.count("handleRead");
  for (let pass = 1; pass < 5; pass++) {
    await poll(0, map);
    assert(reads() <= pass, `${reads()} reads in ${pass} passes`);
  }
  assert(reads() >= 3);
});

// handleDrain()

/** A sender with more than enough to send, to a peer that the test holds up. */
async function fillUp(map: TestMap) {
  const channel = new FakeChannel();
  const gate = Promise.withResolvers<void>();
  channel.take = (data) => gate.promise.then(() => data.length);
  const trace: string[] = [];
  const sender = new DispatcherWithSend(null, { map, highWaterMark: 100 });
  sender.handleDrain = () => void trace.push("handleDrain");
  sender.setSocket(channel);
  await passes(map, 1);
  sender.send(new Uint8Array(200));
  const drain = async () => {
    gate.resolve();
    await turn();
    assertEquals(sender.bufferedAmount, 0);
  };
  return { sender, trace, drain };
}

Deno.test("handleDrain() that falls due outside the map follows addChannel()", async () => {
  const map = quietMap();
  const { sender, trace, drain } = await fillUp(map);
  sender.delChannel();
  await drain();
  await poll(0, map);
  assertEquals(trace, []);
  sender.addChannel();
  await passes(map, 5);
  assertEquals(trace, ["handleDrain"]);
});

for (const when of ["before", "after"]) {
  Deno.test(`handleDrain() follows a move to another map, ${when} it falls due`, async () => {
    const [map, other] = [quietMap(), quietMap()];
    new Echo(new FakeChannel(), { map });
    const { sender, trace, drain } = await fillUp(map);
    if (when === "after") await drain();
    sender.addChannel(other);
    if (when === "before") await drain();
    await passes(map, 3);
    assertEquals(trace, []);
    await passes(other, 3);
    assertEquals(trace, ["handleDrain"]);
  });
}

Deno.test("handleDrain() that leaves the map is followed by no handleWrite()", async () => {
  const map = quietMap();
  const { sender, trace, drain } = await fillUp(map);
  // The loop asks for it anew when it comes back.
  sender.delChannel();
  sender.writable = () => true;
  sender.handleWrite = () => void trace.push("handleWrite");
  sender.handleDrain = () => sender.delChannel();
  sender.addChannel();
  await passes(map, 1);
  assertEquals(trace, ["handleWrite"]);
  await drain();
  await passes(map, 1);
  assertEquals(map.size, 0, "handleDrain() has run");
  assertEquals(trace, ["handleWrite"]);
});

// Timers

/** Two maps, the clock of the second of which shows another time. */
function setUpClocks(ahead: number) {
  const [here, there] = [new MockClock(), new MockClock()];
  here.skip(2_000_000);
  there.skip(2_000_000 + ahead);
  const map = quietMap({ clock: here });
  return { here, there, map, other: quietMap({ clock: there }) };
}

Deno.test("Dispatcher.addChannel() takes the timers along, with what is left of their time", async () => {
  const { here, there, map, other } = setUpClocks(-2_000_000);
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
