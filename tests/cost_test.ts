import process from "node:process";
import {
  assert,
  assertEquals,
  assertFalse,
  assertGreater,
  assertLess,
} from "@std/assert";
import { type Clock, Dispatcher, DispatcherHooks, loop, poll } from "../mod.ts";
import { systemClock } from "../core/clock.ts";
import { ownMethods } from "../core/interest.ts";
import { ENTRY } from "../core/symbols.ts";
import {
  Echo,
  FakeChannel,
  passes,
  quietMap,
  Recorder,
  watch,
} from "./fakes.ts";
import { MockClock } from "../testing/mock_clock.ts";
import {
  bytes,
  connectedPair,
  cpuTime,
  loopUntil,
  type TestMap,
  TestServer,
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
  const before = process.cpuUsage();
  await loop({ map, signal: controller.signal });
  const { user, system } = process.cpuUsage(before);
  clearTimeout(id);
  // A loop that spins takes the whole second; the runtime's own threads some.
  assertLess((user + system) / 1_000, 400, "ms of processor time in a second");
  for (const member of [...map]) member.abort();
  for (const [, theirs] of pairs) theirs.close();
});

/** A loop over dispatchers that a test says, and how often it waited. */
async function countWaits(map: TestMap, clock: MockClock): Promise<number> {
  watch(loop({ map, timeout: 100 }));
  await turns();
  const { timeoutsSet } = clock;
  await clock.advance(1_000);
  return clock.timeoutsSet - timeoutsSet;
}

Deno.test("loop() waits although a dispatcher leaves every predicate at true", async () => {
  class Passive extends Dispatcher {}
  class Writer extends Dispatcher {
    writes = 0;
    override handleWrite(): void {
      this.writes++;
    }
  }
  for (const Class of [Passive, Writer, Echo]) {
    const clock = new MockClock();
    const map = quietMap({ clock });
    const channel = new FakeChannel();
    const handler = new Class(channel, { map });
    channel.push("nobody reads this");
    assertEquals(await countWaits(map, clock), 10, Class.name);
    if (handler instanceof Writer) assertLess(handler.writes, 20);
    assert(handler.connected);
  }
});

Deno.test("loop() does not spin over bytes that nobody takes", async () => {
  const clock = new MockClock();
  const map = quietMap({ clock });
  const channel = new FakeChannel();
  const handler = new Dispatcher(channel, { map });
  const taken = new Recorder(map, new FakeChannel());
  channel.push("spam");
  assertEquals(await countWaits(map, clock), 10);
  assertFalse(channel.closed);
  assert(handler.connected && taken.connected);
});

Deno.test("loop() asks a dispatcher for more when something happened elsewhere", async () => {
  const clock = new MockClock();
  const map = quietMap({ clock });
  class Relay extends Dispatcher {
    readonly waiting: string[] = [];
    override handleWrite(): void {
      const next = this.waiting.shift();
      if (next !== undefined) this.send(bytes(next));
    }
  }
  const target = new FakeChannel();
  const relay = new Relay(target, { map });
  class Source extends Recorder {
    override handleRead(): void {
      this.recv();
      relay.waiting.push("one ", "two ", "three");
    }
  }
  const source = new FakeChannel();
  new Source(map, source);
  watch(loop({ map }));
  await turns();
  assertEquals(target.sent, "");
  source.push("go");
  await turns();
  await turns();
  assertEquals(target.sent, "one two three");
});

/** Sends a byte, and another when that came back, `count` times. */
async function makeRoundTrips(
  map: TestMap,
  client: Deno.Conn,
  count: number,
): Promise<void> {
  let left = count;
  const buffer = new Uint8Array(16);
  const talking = (async () => {
    for (; left > 0; left--) {
      await client.write(bytes("x"));
      await client.read(buffer);
    }
  })();
  await loopUntil(map, () => left === 0);
  await talking;
}

Deno.test("Dispatcher that is always writable hardly slows its neighbour", async () => {
  const map = quietMap();
  class Restless extends Dispatcher {
    writes = 0;
    override writable(): boolean {
      return true;
    }
    override handleWrite(): void {
      this.writes++;
    }
  }
  const [ours, theirs] = await connectedPair();
  const server = new TestServer(map, (conn) => new Echo(conn, { map }));
  const { port } = server.addr as Deno.NetAddr;
  const client = await Deno.connect({ hostname: "127.0.0.1", port });
  await makeRoundTrips(map, client, 5);
  const restless = new Restless(ours, { map });
  await makeRoundTrips(map, client, 50);
  assertGreater(restless.writes, 50);
  // Of 61 turns, one looks at the sockets, and a round trip needs two looks.
  assertLess(restless.writes / 50, 1_000, "write events for a round trip");
  for (const member of [...map]) member.close();
  client.close();
  theirs.close();
  await loop({ map });
});

Deno.test("loop() hears of its sockets within a few passes of a program that is always busy", async () => {
  const map = quietMap();
  const [ours, theirs] = await connectedPair();
  const echo = new Echo(ours, { map });
  const buffer = new Uint8Array(16);
  let left = 3;
  const talking = (async () => {
    for (; left > 0; left--) {
      await theirs.write(bytes("x"));
      await theirs.read(buffer);
    }
  })();
  let steps = 0;
  while (left > 0 && steps < 150) {
    await loop({ map, timeout: 0, count: 1 });
    work(12);
    steps++;
  }
  assertLess(steps, 50, "passes for three round trips");
  await talking;
  echo.close();
  theirs.close();
});

Deno.test("loop() of a program that is always busy goes on under fake timers", async () => {
  const map = quietMap();
  const [ours, theirs] = await connectedPair();
  const echo = new Echo(ours, { map });
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
  theirs.close();
});

Deno.test("loop() hears of its sockets while a dispatcher that is always writable works", async () => {
  const map = quietMap();
  const [ours, theirs] = await connectedPair();
  const [side, other] = await connectedPair();
  let writes = 0;
  class Busy extends Dispatcher {
    override writable(): boolean {
      return true;
    }
    override handleWrite(): void {
      writes++;
      work(12);
    }
  }
  const busy = new Busy(side, { map });
  const echo = new Echo(ours, { map });
  const talking = theirs.write(bytes("x"))
    .then(() => theirs.read(new Uint8Array(16)))
    .finally(() => {
      busy.close();
      echo.close();
      theirs.close();
      other.close();
    });
  busy.callLater(5_000, () => busy.close());
  await loop({ map });
  assertLess(writes, 50, "write events for a round trip");
  await talking;
});

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
  class Classic extends Dispatcher {
    #rest: Uint8Array | null = null;

    override readable(): boolean {
      return this.#rest === null;
    }
    override writable(): boolean {
      return this.#rest !== null;
    }
    override handleRead(): void {
      this.#rest = this.recv();
    }
    override handleWrite(): void {
      this.send(this.#rest!);
      this.#rest = null;
    }
  }
  const channel = new FakeChannel();
  const dispatcher = new Classic(channel, { map });
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
  class Restless extends Dispatcher {
    isOn = false;
    writes = 0;
    override writable(): boolean {
      return this.isOn;
    }
    override handleWrite(): void {
      if (++this.writes === 10_000) this.abort(); // Nobody else gets a turn.
    }
  }
  const restless = new Restless(new FakeChannel(), { map });
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

const IDLE = 2_000;

/** Many idle dispatchers, one that is busy, and a count of looks at the idle. */
async function setUpCrowd() {
  const map = quietMap();
  const idle = Array.from({ length: IDLE }, () => {
    const channel = new FakeChannel();
    return { channel, handler: new Recorder(map, channel) };
  });
  const busy = new FakeChannel();
  const handler = new Recorder(map, busy);
  await passes(map, 3);
  let looks = 0;
  for (const { handler } of idle) {
    const endpoint = handler[ENTRY]! as unknown as Record<string, unknown>;
    for (const name of ["joined", "asks", "place", "queued", "writeQueued"]) {
      let value = endpoint[name];
      Object.defineProperty(endpoint, name, {
        get() {
          looks++;
          return value;
        },
        set(next) {
          looks++;
          value = next;
        },
      });
    }
  }
  return { map, idle, busy, handler, looks: () => looks };
}

/** Counts the calls of the predicates that nobody overrides while `run` runs. */
async function countCalls(
  names: ("readable" | "writable")[],
  run: () => Promise<void>,
): Promise<number> {
  const plain = DispatcherHooks.prototype;
  const originals = names.map((name) => plain[name]);
  let calls = 0;
  for (const name of names) {
    const counting = () => {
      calls++;
      return true;
    };
    ownMethods.set(counting, "plain");
    plain[name] = counting;
  }
  try {
    await run();
  } finally {
    names.forEach((name, i) => plain[name] = originals[i]!);
  }
  return calls;
}

Deno.test("poll() looks at no idle dispatcher", async () => {
  const { map, idle, busy, handler, looks } = await setUpCrowd();
  for (let i = 0; i < 20; i++) {
    busy.push("x");
    await passes(map, 2);
  }
  assertEquals(handler.received, "x".repeat(20));
  assertEquals(looks(), 0);
  for (const { channel } of idle) assertEquals(channel.reads, 1);
  // The count counts: an event for one of them shows.
  idle[7]!.channel.push("x");
  await passes(map, 2);
  assertGreater(looks(), 0);
  assertLess(looks(), 50);
});

Deno.test("poll() asks no predicate that nobody overrides", async () => {
  const map = quietMap();
  const asked = await countCalls(["readable", "writable"], async () => {
    const handlers = Array.from(
      { length: 50 },
      () => new Recorder(map, new FakeChannel()),
    );
    await passes(map, 10);
    handlers[0]!.close();
    await passes(map, 10);
  });
  assertEquals(asked, 0);
});

Deno.test("poll() costs the same with many idle dispatchers as with few", async () => {
  const time = async (count: number) => {
    const map = quietMap();
    for (let i = 0; i < count; i++) new Recorder(map, new FakeChannel());
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
  const map = quietMap();
  const channel = new FakeChannel();
  const kept: Uint8Array[] = [];
  class Keeper extends Recorder {
    override handleRead(): void {
      kept.push(this.recv());
    }
  }
  new Keeper(map, channel);
  channel.push(new Uint8Array(512 * 1024));
  await passes(map, 20);
  channel.push("spam");
  await passes(map, 2);
  const [last] = kept.slice(-1);
  assertEquals(last!.length, 4);
  assertLess(last!.buffer.byteLength, 1_024);
});
