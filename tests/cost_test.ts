import { assert, assertEquals, assertLess } from "@std/assert";
import { type Clock, Dispatcher, loop, poll } from "../mod.ts";
import { systemClock } from "../core/clock.ts";
import { DispatcherHooks } from "../core/dispatcher_hooks.ts";
import { libraryMethods } from "../core/interest.ts";
import {
  Echo,
  FakeChannel,
  passes,
  quietMap,
  Recorder,
  watch,
} from "./fakes.ts";
import { channels, over, setUp } from "./scenes.ts";
import {
  bytes,
  connectedPair,
  cpuTime,
  type TestMap,
  turn,
  turns,
  work,
} from "./support.ts";

const MIB = 1024 * 1024;

Deno.test("poll() next to an idle connection does not grow the heap", async () => {
  const map = quietMap();
  const [ours, theirs] = await connectedPair();
  const idle = new Recorder(map, ours);
  await poll(0, map);
  const before = Deno.memoryUsage().heapUsed;
  let most = before;
  for (let i = 0; i < 200_000; i++) {
    map.wake();
    await poll(0, map);
    if (i % 10_000 === 0) most = Math.max(most, Deno.memoryUsage().heapUsed);
  }
  const growth = Deno.memoryUsage().heapUsed - before;
  assertLess(growth, 25 * MIB);
  assertLess(most - before, 25 * MIB);
  idle.close();
  theirs.close();
});

Deno.test("loop() over 100 idle connections uses next to no processor time", async () => {
  const map = quietMap();
  const pairs = await Promise.all(
    Array.from({ length: 100 }, () => connectedPair()),
  );
  for (const [ours] of pairs) new Dispatcher(ours, { map });
  await poll(10, map);
  const controller = new AbortController();
  const id = setTimeout(() => controller.abort(), 1_000);
  const before = cpuTime();
  await loop({ map, signal: controller.signal });
  const used = cpuTime() - before;
  clearTimeout(id);
  // A loop that spins takes the whole second; the runtime's own threads some.
  assertLess(used, 400, "ms of processor time in a second");
  for (const member of [...map]) member.abort();
  for (const [, theirs] of pairs) theirs.close();
});

Deno.test("loop() waits although a dispatcher leaves every predicate at true", async () => {
  for (const Class of [Dispatcher, Echo]) {
    const { clock, map } = setUp();
    const channel = new FakeChannel();
    const handler = new Class(channel, { map });
    channel.push("nobody reads this");
    watch(loop({ map, timeout: 100 }));
    await turns();
    const { timeoutsSet } = clock;
    await clock.advance(1_000);
    assertEquals(clock.timeoutsSet - timeoutsSet, 10, Class.name);
    assert(handler.connected);
  }
});

Deno.test("loop() asks a dispatcher for more when something happened elsewhere", async () => {
  const { map } = setUp();
  const waiting: string[] = [];
  const target = new FakeChannel();
  const relay = new Dispatcher(target, { map });
  relay.handleWrite = () => {
    const next = waiting.shift();
    if (next !== undefined) relay.send(bytes(next));
  };
  const channel = new FakeChannel();
  const source = new Dispatcher(channel, { map });
  source.handleRead = () => {
    source.recv();
    waiting.push("one ", "two ", "three");
  };
  watch(loop({ map }));
  await turns();
  assertEquals(target.sent, "");
  channel.push("go");
  await turns();
  await turns();
  assertEquals(target.sent, "one two three");
});

/** A client that talks to an echo so many times, and then closes. */
async function talking(map: TestMap, times: number) {
  const [ours, theirs] = await connectedPair();
  new Echo(ours, { map });
  const talk = async () => {
    for (let i = 0; i < times; i++) {
      await theirs.write(bytes("x"));
      await theirs.read(new Uint8Array(16));
    }
    theirs.close();
  };
  return watch(talk());
}

Deno.test("loop() hears of its sockets within a few passes of a program that is always busy", async () => {
  const map = quietMap();
  const talk = await talking(map, 3);
  let steps = 0;
  for (; !talk.settled && steps < 150; steps++) {
    await loop({ map, timeout: 0, count: 1 });
    work(12);
  }
  assertLess(steps, 50, "passes for three round trips");
  await loop({ map });
});

Deno.test("loop() of a program that is always busy goes on under fake timers", async () => {
  const map = quietMap();
  const echo = new Echo(new FakeChannel(), { map });
  const { setTimeout } = globalThis;
  globalThis.setTimeout = (() => 0) as unknown as typeof setTimeout;
  try {
    for (let i = 0; i < 3; i++) {
      await loop({ map, timeout: 0, count: 1 });
      work(12);
    }
  } finally {
    globalThis.setTimeout = setTimeout;
  }
  echo.close();
});

/** Always wants to write. */
class Restless extends Dispatcher {
  isOn = true;
  writes = 0;
  onWrite = (): void => {};
  override writable(): boolean {
    return this.isOn;
  }
  override handleWrite(): void {
    this.writes++;
    this.onWrite();
  }
}

// Of 61 turns, one looks at the sockets, and a round trip needs two looks.
for (const [ms, most] of [[0, 1_000], [12, 50]] as const) {
  Deno.test(`loop() hears of its sockets while a dispatcher that is always writable works for ${ms} ms at a time`, async () => {
    const map = quietMap();
    const restless = new Restless(new FakeChannel(), { map });
    const talk = await talking(map, 5);
    restless.onWrite = () => {
      if (ms > 0) work(ms);
      if (talk.settled || restless.writes > 100_000) restless.close();
    };
    await loop({ map });
    assertLess(restless.writes / 5, most, "write events for a round trip");
  });
}

Deno.test("Dispatcher that asks to write answers without another turn of the runtime", async () => {
  let turns = 0;
  const clock: Clock = {
    ...systemClock,
    setImmediate: (callback) => {
      turns++;
      systemClock.setImmediate(callback);
    },
  };
  const map = quietMap({ clock });
  const channel = new FakeChannel();
  const dispatcher = new Dispatcher(channel, { map });
  let rest: Uint8Array | null = null;
  Object.assign(dispatcher, {
    readable: () => rest === null,
    writable: () => rest !== null,
    handleRead: () => void (rest = dispatcher.recv()),
    handleWrite: () => {
      dispatcher.send(rest!);
      rest = null;
    },
  });
  const looping = loop({ map });
  for (let i = 0; i < 20; i++) {
    channel.push("x");
    await turn();
  }
  assertEquals(channel.sent, "x".repeat(20));
  // One for the newcomer; without more, one for each answer.
  assertLess(turns, 10);
  dispatcher.abort();
  await looping;
});

Deno.test("Dispatcher that becomes writable for good after a wait leaves the runtime its turns", async () => {
  const map = quietMap();
  const restless = new Restless(new FakeChannel(), { map });
  restless.isOn = false;
  restless.onWrite = () => {
    if (restless.writes === 10_000) restless.abort(); // Nobody else gets a turn.
  };
  const looping = loop({ map });
  await turn();
  restless.isOn = true;
  map.wake();
  while (restless.writes === 0) await turn();
  for (let i = 0; i < 10; i++) await turn();
  assertLess(restless.writes, 100);
  restless.abort();
  await looping;
});

Deno.test("poll() asks no predicate that nobody overrides", async () => {
  const map = quietMap();
  const plain = DispatcherHooks.prototype;
  const { readable, writable } = plain;
  let asked = 0;
  const counting = () => ++asked > 0;
  libraryMethods.set(counting, "plain");
  plain.readable = plain.writable = counting;
  try {
    const handlers = channels(50).map((channel) => new Recorder(map, channel));
    await passes(map, 10);
    handlers[0]!.close();
    await passes(map, 10);
  } finally {
    Object.assign(plain, { readable, writable });
  }
  assertEquals(asked, 0);
});
Deno.test("poll() costs the same with many idle dispatchers as with few", async () => {
  const time = async (count: number) => {
    const map = quietMap();
    for (const channel of channels(count)) new Recorder(map, channel);
    await passes(map, 100);
    const started = cpuTime();
    await passes(map, 2_000);
    return cpuTime() - started;
  };
  await time(10);
  const few = await time(10);
  const many = await time(10_000);
  // Looking at each of them costs a hundred times as much.
  assertLess(many, 10 * few + 200);
});

Deno.test("Dispatcher that is idle holds a small read buffer", async () => {
  const map = quietMap();
  const sizes: number[] = [];
  const channel = new FakeChannel();
  const { read } = channel;
  channel.read = (target) => {
    sizes.push(target.length);
    return read.call(channel, target);
  };
  new Recorder(map, channel);
  await passes(map, 1);
  assert(sizes[0]! <= 4 * 1024, `${sizes[0]} bytes while idle`);
  for (let i = 0; i < 8; i++) {
    channel.push(new Uint8Array(256 * 1024));
    await passes(map, 8);
  }
  assertEquals(Math.max(...sizes), 128 * 1024);
  await passes(map, 100);
  for (let i = 0; i < 16; i++) {
    channel.push("x");
    await passes(map, 2);
  }
  assert(sizes.at(-1)! <= 4 * 1024, `${sizes.at(-1)} bytes when quiet again`);
});

Deno.test("recv() of a few bytes keeps no large buffer alive", async () => {
  const { channel, handler, map } = over(Recorder);
  const kept: Uint8Array[] = [];
  handler.handleRead = () => void kept.push(handler.recv());
  channel.push(new Uint8Array(512 * 1024));
  await passes(map, 20);
  channel.push("spam");
  await passes(map, 2);
  const [last] = kept.slice(-1);
  assertEquals(last!.length, 4);
  assertLess(last!.buffer.byteLength, 1_024);
});
