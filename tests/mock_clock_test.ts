import {
  assertEquals,
  assertGreater,
  assertLess,
  assertRejects,
} from "@std/assert";
import { DispatcherWithSend, loop, poll } from "../mod.ts";
import {
  MockClock,
  type MockClockOptions,
  turns,
} from "../testing/mock_clock.ts";
import { memoryPair } from "../testing/mod.ts";
import { loopToEnd, quietMap, Recorder } from "./fakes.ts";
import { bytes, connectedPair, turn } from "./support.ts";

/** Sets timeouts; each writes down its place and the time. */
function timeline(clock: MockClock, ...delays: number[]): string[] {
  const lines: string[] = [];
  for (const [i, delay] of delays.entries()) {
    clock.setTimeout(() => void lines.push(`${i}@${clock.now()}`), delay);
  }
  return lines;
}

Deno.test("MockClock does not move by itself", async () => {
  const clock = new MockClock();
  const lines = timeline(clock, 0, 1);
  await turns();
  assertEquals([clock.now(), lines, clock.armed], [0, [], 2]);
});

const ADVANCES: [delays: number[], ms: number, ran: string[]][] = [
  [[30, 10, 20, 41], 40, ["1@10", "2@20", "0@30"]],
  [[-7, 0], 0, ["0@0", "1@0"]],
];

for (const [delays, ms, ran] of ADVANCES) {
  Deno.test(`MockClock.advance(${ms}) runs what falls due of ${delays}`, async () => {
    const clock = new MockClock();
    const lines = timeline(clock, ...delays);
    await clock.advance(ms);
    assertEquals(lines, ran);
    assertEquals([clock.now(), clock.armed], [ms, delays.length - ran.length]);
  });
}

Deno.test("MockClock runs what is due at the same time in the order of setting", async () => {
  const clock = new MockClock();
  const lines = timeline(clock, 5, 5);
  await clock.advance(3);
  clock.setTimeout(() => void lines.push("last"), 2);
  await clock.advance(2);
  assertEquals(lines, ["0@5", "1@5", "last"]);
});

Deno.test("MockClock.advance() lets what a timeout brings about happen before the next", async () => {
  const clock = new MockClock();
  const lines = timeline(clock, 2);
  clock.setTimeout(async () => {
    await turn();
    lines.push(`after the first: ${clock.now()}`);
  }, 1);
  await clock.advance(2);
  assertEquals(lines, ["after the first: 1", "0@2"]);
});

Deno.test("MockClock.clearTimeout() forgets a timeout, also from another", async () => {
  const clock = new MockClock();
  const lines: string[] = [];
  clock.setTimeout(() => clock.clearTimeout(second), 1);
  const second = clock.setTimeout(() => void lines.push("second"), 1);
  await clock.advance(10);
  assertEquals([lines, clock.armed], [[], 0]);
});

Deno.test("MockClock.skip() runs nothing; what it passed over runs late", async () => {
  const clock = new MockClock();
  const lines = timeline(clock, 10);
  clock.skip(50);
  await turns();
  assertEquals(lines, []);
  await clock.advance(1);
  assertEquals([lines, clock.now()], [["0@50"], 51]);
});

Deno.test("MockClock never goes back when it is advanced twice at once", async () => {
  const clock = new MockClock();
  const times: number[] = [];
  const sample = () => void times.push(clock.now());
  timeline(clock, 1, 2, 15);
  await Promise.all([
    clock.advance(10).then(sample),
    clock.advance(20).then(sample),
    turn().then(() => clock.skip(30)).then(sample),
  ]);
  sample();
  assertEquals(times, times.toSorted((a, b) => a - b));
  assertEquals(times.at(-1), 30);
});

Deno.test("MockClock.advance() fails with what a timeout throws, and can go on", async () => {
  const clock = new MockClock();
  clock.setTimeout(() => {
    throw new TypeError("spam");
  }, 5);
  const lines = timeline(clock, 5, 8);
  await assertRejects(() => clock.advance(10), TypeError, "spam");
  assertEquals(clock.now(), 5);
  await clock.advance(5);
  assertEquals(lines, ["0@5", "1@8"]);
});

Deno.test("MockClock tells a map's loop the time: timers, repeats, and its timeout", async () => {
  const clock = new MockClock();
  const map = quietMap({ clock });
  const handler = new Recorder(map, memoryPair()[0]);
  const lines: string[] = [];
  map.callLater(25, () => void lines.push(`later@${clock.now()}`));
  handler.callEvery(10, () => void lines.push(`every@${clock.now()}`));
  const looping = loop({ map, count: 3, timeout: 1_000 });
  await clock.advance(29);
  await looping;
  assertEquals(lines, ["every@10", "every@20", "later@25"]);
  const polling = poll(500, map);
  await clock.advance(500);
  await polling;
  assertEquals(lines.length, 4, "one pass, at 30 ms");
  handler.abort();
});

// Jumps

/** A map whose time jumps. */
function jumping(options: MockClockOptions = {}) {
  const clock = new MockClock({ autojump: true, ...options });
  return { clock, map: quietMap({ clock }) };
}

Deno.test("MockClock with autojump jumps from timeout to timeout", async () => {
  const { clock, map } = jumping();
  const [ours] = memoryPair();
  const handler = new Recorder(map, ours, { idleTimeout: 90_000 });
  const minutes: number[] = [];
  handler.callEvery(60_000, () => void minutes.push(clock.now()));
  const start = performance.now();
  await loopToEnd(map);
  assertEquals([minutes, clock.now()], [[60_000], 90_000]);
  assertLess(performance.now() - start, 60_000, "less than it stands for");
});

Deno.test("MockClock with autojump does not jump while a conversation goes on", async () => {
  const { clock, map } = jumping();
  let rounds = 0;
  class Pong extends DispatcherWithSend {
    override handleRead(): void {
      this.send(this.recv());
      if (++rounds === 1_000) this.close();
    }
  }
  const [one] = memoryPair()
    .map((channel) => new Pong(channel, { map, idleTimeout: 1 }));
  one!.send(bytes("x"));
  await loopToEnd(map);
  assertGreater(rounds, 900);
  assertEquals(clock.now(), 0);
});

Deno.test("MockClock with autojump waits for a hook's promise of a few turns", async () => {
  const { clock, map } = jumping();
  const [ours, theirs] = memoryPair();
  let readAt = -1;
  class Slow extends DispatcherWithSend {
    override async handleRead(): Promise<void> {
      this.recv();
      await turn();
      await turn();
      readAt = clock.now();
      this.close();
    }
  }
  new Slow(ours, { map, idleTimeout: 10 });
  await theirs.write(bytes("x"));
  await loopToEnd(map);
  assertEquals(readAt, 0);
});

Deno.test("MockClock with autojump jumps to no timeout that never comes", async () => {
  const { clock, map } = jumping();
  const [ours, theirs] = memoryPair();
  const handler = new Recorder(map, ours);
  const polling = poll(Infinity, map);
  await turns();
  await turns();
  assertEquals(clock.now(), 0);
  theirs.close();
  await polling;
  assertEquals(clock.now(), 0);
  assertEquals(handler.trace, ["handleRead", "handleClose"]);
});

// As long as two waits for calm: setting the second timeout broke the first.
for (let offset = 0; offset < 24; offset += 3) {
  Deno.test(`MockClock with autojump leaves the time to advance() that comes after ${offset} turns`, async () => {
    const clock = new MockClock({ autojump: true });
    const lines = timeline(clock, 10, 1_000);
    for (let i = 0; i < offset; i++) await turn();
    await clock.advance(5);
    assertEquals([lines, clock.now()], [[], 5]);
    await clock.advance(495);
    assertEquals([lines, clock.now()], [["0@10"], 500]);
    for (let i = 0; lines.length < 2 && i < 10; i++) await turns();
    assertEquals(lines, ["0@10", "1@1000"]);
  });
}

Deno.test("MockClock with autojump ends a loop that waits for what does not come", async () => {
  const { clock, map } = jumping({ limit: 100_000 });
  const handler = new Recorder(map, memoryPair()[0]);
  await assertRejects(
    () => loop({ map }),
    Error,
    "The time has jumped to 120000 ms, beyond the limit of 100000 ms: what " +
      "the loop waits for does not come",
  );
  assertEquals(clock.armed, 0);
  handler.abort();
});

Deno.test("MockClock with a threshold waits for sockets of this machine", async () => {
  const { clock, map } = jumping({ threshold: 1_000 });
  const [ours, theirs] = await connectedPair();
  const handler = new Recorder(map, ours, { idleTimeout: 30_000 });
  const talk = async () => {
    for (let i = 0; i < 20; i++) {
      await new Promise((resolve) => setTimeout(resolve, 60));
      await theirs.write(bytes("x"));
    }
    return clock.now();
  };
  const start = performance.now();
  const [spoken] = await Promise.all([talk(), loopToEnd(map)]);
  assertEquals(spoken, 0, "1,200 ms of talk were no silence");
  assertEquals(handler.received.length, 20);
  assertEquals(clock.now(), 30_000);
  assertGreater(performance.now() - start, 1_000);
  theirs.close();
});

Deno.test("MockClock with a threshold leaves no real timer behind", async () => {
  const { map } = jumping({ threshold: 60_000 });
  const [ours, theirs] = memoryPair();
  new Recorder(map, ours, { idleTimeout: 30_000 });
  theirs.close();
  await loopToEnd(map);
});

const WRONG: [() => unknown, typeof TypeError, string][] = [
  [() => new MockClock(null!), TypeError, "options must be an object"],
  [
    () => new MockClock({ autojump: 1 as never }),
    TypeError,
    "autojump must be",
  ],
  [() => new MockClock({ threshold: -1 }), RangeError, "threshold must be"],
  [() => new MockClock({ limit: NaN }), RangeError, "limit must be"],
  [() => new MockClock().setTimeout(() => {}, NaN), RangeError, "delay must"],
  [() => new MockClock().skip(-1), RangeError, "ms must be"],
  [() => new MockClock().advance(-1), RangeError, "ms must be"],
  [() => new MockClock().advance(Infinity), RangeError, "ms must be"],
];

for (const [run, Class, message] of WRONG) {
  Deno.test(`MockClock says what is wrong: ${run}`, async () => {
    await assertRejects(async () => await run(), Class, message);
  });
}
