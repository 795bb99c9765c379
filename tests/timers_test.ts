import {
  assert,
  assertEquals,
  assertFalse,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import {
  Dispatcher,
  ExitNow,
  loop,
  poll,
  SocketMap,
  type Timer,
} from "../mod.ts";
import {
  Echo,
  FakeChannel,
  type LogLines,
  newSeed,
  quietMap,
  randomFrom,
  Recorder,
  watch,
} from "./fakes.ts";
import { gatedChannel, setUp } from "./scenes.ts";
import { bytes, captureConsole, type TestMap, turns } from "./support.ts";

/** A map, and the times at which its timers ran. */
function timed() {
  const { clock, map } = setUp();
  const ran: number[] = [];
  return {
    clock,
    map,
    ran,
    note: () => void ran.push(clock.now()),
    /** Makes a pass at each of these times. */
    async at(...times: number[]) {
      for (const time of times) {
        clock.skip(time - clock.now());
        await poll(0, map);
      }
    },
  };
}

/** Expects the callbacks of what is started at 0 to run at these times. */
async function assertRuns(
  passes: number[],
  ran: number[],
  start: (map: TestMap, note: () => void) => void,
): Promise<void> {
  const scene = timed();
  start(scene.map, scene.note);
  await scene.at(...passes);
  assertEquals(scene.ran, ran);
  scene.map.check();
}

Deno.test("SocketMap.callLater() runs its callback once, when it is due", () =>
  assertRuns([9.9, 10, 20, 120], [10], (map, note) => map.callLater(10, note)));

Deno.test("SocketMap.callLater() runs a callback that is late", () =>
  assertRuns([500], [500], (map, note) => map.callLater(10, note)));

Deno.test("SocketMap.callEvery() keeps the beat although it comes late", () =>
  assertRuns(
    [13, 19, 20, 30],
    [13, 20, 30],
    (map, note) => map.callEvery(10, note),
  ));

Deno.test("SocketMap.callEvery() skips the turns that were missed", () =>
  assertRuns(
    [57, 59, 60, 80, 89, 90],
    [57, 60, 80, 90],
    (map, note) => map.callEvery(10, note),
  ));

Deno.test("Timer.cancel() forgets the callback", () =>
  assertRuns([100], [], (map, note) => {
    const timers = [map.callLater(10, note), map.callEvery(10, note)];
    for (const timer of [...timers, ...timers]) timer.cancel();
  }));

Deno.test("Timer.cancel() after the callback has run does nothing", () =>
  assertRuns([10, 15, 20], [10, 20], (map, note) => {
    const timer = map.callLater(10, note);
    map.callLater(15, () => timer.cancel());
    map.callLater(20, note);
  }));

Deno.test("Timer.cancel() in its own callback ends a repeating timer", () =>
  assertRuns([10, 20], [10], (map, note) => {
    const timer = map.callEvery(10, () => {
      note();
      timer.cancel();
    });
  }));

Deno.test("Timer.cancel() in the callback of another stops one due at that time", () =>
  assertRuns([10], [10], (map, note) => {
    map.callLater(10, () => second.cancel());
    const second = map.callLater(10, note);
    map.callLater(10, note);
  }));

Deno.test("Timer is cancelled at the end of a using block", () =>
  assertRuns([10], [], (map, note) => {
    using _timer = map.callLater(10, note);
  }));

Deno.test("Timer.reset() of a pending timer starts the whole delay again", () =>
  assertRuns([7, 16, 17, 27], [17], (map, note) => {
    const timer = map.callLater(10, note);
    map.callLater(7, () => timer.reset());
  }));

Deno.test("Timer.reset() makes a timer run again after it has run", () =>
  assertRuns([10, 11, 20, 21, 31], [10, 21], (map, note) => {
    const timer = map.callLater(10, note);
    map.callLater(11, () => timer.reset());
  }));

Deno.test("Timer.reset() revives a timer that was cancelled", () =>
  assertRuns([10, 20], [10], (map, note) => {
    const timer = map.callLater(10, note);
    timer.cancel();
    timer.reset();
  }));

Deno.test("Timer.reset() moves the beat of a repeating timer", () =>
  assertRuns([5, 14, 15, 25], [15, 25], (map, note) => {
    const timer = map.callEvery(10, note);
    map.callLater(5, () => timer.reset());
  }));

Deno.test("Timer.reset() in its own callback starts one delay, not two", () =>
  assertRuns([10, 20, 30, 40], [10, 20, 30], (map, note) => {
    let left = 3;
    const timer = map.callLater(10, () => {
      note();
      if (--left > 0) timer.reset();
    });
  }));

Deno.test("Timer.reset() in its own async callback makes a timer run again", () =>
  assertRuns([10, 19, 20, 120], [10, 20], (map, note) => {
    let left = 2;
    const timer = map.callLater(10, () => {
      note();
      if (--left === 0) return;
      timer.reset();
      return new Promise<void>(() => {});
    });
  }));

Deno.test("Timer.reset() at 0 ms in its own callback lets the pass end", () =>
  assertRuns([0, 0], [0, 0], (map, note) => {
    const timer = map.callLater(0, () => {
      note();
      timer.reset();
    });
  }));

Deno.test("Dispatcher.callLater() works before there is a socket", () =>
  assertRuns(
    [10],
    [10],
    (map, note) => new Dispatcher(null, { map }).callLater(10, note),
  ));

Deno.test("Dispatcher.callLater() does not outlive a close() in its callback", () =>
  assertRuns([10, 20], [10], (map, note) => {
    const handler = new Recorder(map, new FakeChannel());
    handler.callEvery(10, () => {
      note();
      handler.close();
    });
    handler.callLater(10, note);
  }));

Deno.test("Dispatcher.callEvery() before createSocket() ends with that socket", () =>
  assertRuns([10, 15, 20], [10], (map, note) => {
    const dispatcher = new Dispatcher(null, { map });
    dispatcher.callEvery(10, note);
    dispatcher.createSocket();
    map.callLater(15, () => dispatcher.close());
  }));

Deno.test("Dispatcher.callLater() behind the end never runs, though there was no timer before", () =>
  assertRuns([100], [], (map, note) => {
    const closed = new Recorder(map, new FakeChannel());
    closed.abort();
    closed.callLater(10, note).reset();
    closed.callEvery(10, note);
  }));

// Between passes

Deno.test("SocketMap.callLater() runs nothing outside a pass", async () => {
  const { clock, map, ran, note } = timed();
  map.callLater(10, note);
  await clock.advance(100);
  assertEquals(ran, []);
});

Deno.test("SocketMap.callLater() ends the wait of a pass when it is due", async () => {
  const { clock, map, ran, note } = timed();
  new Echo(new FakeChannel(), { map });
  map.callLater(10, note);
  const done = watch(loop({ map, timeout: 1_000, count: 2 }));
  await clock.advance(500);
  assertEquals(ran, [10]);
  assertFalse(done.settled);
});

Deno.test("SocketMap.callLater() during a wait shortens it", async () => {
  const { clock, map, ran, note } = timed();
  new Echo(new FakeChannel(), { map });
  map.callLater(50, note);
  watch(loop({ map, timeout: 1_000 }));
  await clock.advance(5);
  map.callLater(10, note);
  await clock.advance(100);
  assertEquals(ran, [15, 50]);
});

Deno.test("poll() of an empty map runs the timers that come due", async () => {
  const { clock, map, ran, note } = timed();
  map.callLater(10, note);
  const done = watch(poll(50, map));
  await clock.advance(10);
  assertEquals(ran, [10]);
  assert(done.settled);
});

Deno.test("loop() of an empty map runs the timers that are due, and returns", async () => {
  const { map, clock, ran, note } = timed();
  map.callLater(10, note);
  map.callLater(20, note);
  await clock.advance(10);
  await loop({ map, count: 0 });
  await loop({ map, signal: AbortSignal.abort() });
  assertEquals(ran, []);
  await loop({ map, timeout: 1_000, count: 1 });
  assertEquals(ran, [10]);
});

Deno.test("SocketMap.callLater() does not keep the loop of an empty map going", async () => {
  const { clock, map, ran, note } = timed();
  map.callLater(10, note);
  map.callEvery(10, note);
  const done = watch(loop({ map }));
  await turns();
  assert(done.settled);
  assertEquals(clock.timeoutsSet, 0);
  assertEquals(ran, []);
});

Deno.test("SocketMap.callLater(0) keeps the next pass from waiting, and runs in that one", async () => {
  const { map, ran, note, at } = timed();
  new Echo(new FakeChannel(), { map });
  map.callLater(0, () => {
    note();
    map.callLater(0, note);
  });
  await at(0);
  assertEquals(ran, [0]);
  const done = watch(loop({ map, count: 1 }));
  await turns();
  assert(done.settled);
  assertEquals(ran, [0, 0]);
});

Deno.test("SocketMap.callEvery() skips its turns while its promise is pending", async () => {
  const { map, ran, note, at } = timed();
  const gate = Promise.withResolvers<void>();
  map.callEvery(10, () => {
    note();
    return gate.promise;
  });
  await at(10, 20, 30);
  gate.resolve();
  await turns();
  await at(30, 40);
  assertEquals(ran, [10, 40]);
});

Deno.test("SocketMap.callEvery() goes on with intervals of a fraction", async () => {
  const { map, ran, note, at } = timed();
  map.callEvery(0.1, note);
  for (let i = 1; i <= 100; i++) await at(i * 0.1);
  assert(ran.length >= 98 && ran.length <= 100);
});

Deno.test("SocketMap runs timers in the order in which they are due", async () => {
  const { map, at } = timed();
  const order: string[] = [];
  const start = (delay: number, name: string) =>
    map.callLater(delay, () => void order.push(name));
  start(30, "30");
  const last = start(10, "10 reset");
  start(20, "20");
  start(10, "10 first");
  start(10, "10 second");
  last.reset();
  await at(100);
  assertEquals(order, ["10 first", "10 second", "10 reset", "20", "30"]);
});

Deno.test("SocketMap runs thousands of random timers in the order in which they are due", async () => {
  const random = randomFrom(newSeed());
  const upTo = (end: number) => Math.floor(random() * end);
  const { clock, map, at } = timed();
  interface Entry {
    timer: Timer;
    delay: number;
    due: number;
    sequence: number;
  }
  const entries: Entry[] = [];
  const pending = new Set<Entry>();
  const fired: number[] = [];
  let sequence = 0;
  const start = (entry: Entry) => {
    entry.due = clock.now() + entry.delay;
    entry.sequence = ++sequence;
    pending.add(entry);
  };
  for (let round = 0; round < 300; round++) {
    for (let i = 0; i < 10; i++) {
      const delay = upTo(1_000);
      const timer = map.callLater(delay, () => void fired.push(entry.sequence));
      const entry: Entry = { timer, delay, due: 0, sequence: 0 };
      start(entry);
      entries.push(entry);
    }
    for (let i = 0; i < 6; i++) {
      const cancelled = entries[upTo(entries.length)]!;
      cancelled.timer.cancel();
      pending.delete(cancelled);
      const restarted = entries[upTo(entries.length)]!;
      restarted.timer.reset();
      start(restarted);
    }
    await at(clock.now() + upTo(30));
    const due = [...pending].filter(({ due }) => due <= clock.now())
      .sort((a, b) => a.due - b.due || a.sequence - b.sequence);
    for (const entry of due) pending.delete(entry);
    assertEquals(fired.splice(0), due.map(({ sequence }) => sequence));
  }
  assert(sequence - pending.size > 3_000);
});

// Failures

Deno.test("SocketMap reports what a timer throws or rejects with, and goes on", async () => {
  const { map, ran, note, at } = timed();
  const [thrown, rejected] = [new Error("spam"), new Error("eggs")];
  map.callEvery(10, () => {
    throw thrown;
  });
  map.callEvery(10, () => Promise.reject(rejected));
  map.callEvery(10, note);
  for (const time of [10, 20]) {
    await at(time);
    await turns();
  }
  assertEquals(ran, [10, 20]);
  assertEquals(map.errors, [thrown, rejected, thrown, rejected]);
});

Deno.test("SocketMap survives an onError() that throws", async () => {
  const { map, ran, note, at } = timed();
  map.onError = () => {
    throw new Error("eggs");
  };
  map.callLater(10, () => {
    throw new Error("spam");
  });
  map.callLater(10, () => Promise.reject(new Error("spam")));
  map.callLater(10, note);
  using output = captureConsole();
  await at(10);
  await turns();
  assertEquals(ran, [10]);
  assertEquals(output.err.length, 2);
  for (const line of output.err) assertStringIncludes(line, "eggs");
});

Deno.test("SocketMap logs what a timer throws by default", async () => {
  const { logger, clock } = quietMap();
  const map = new SocketMap({ clock, logger: logger! });
  map.callLater(0, () => {
    throw new TypeError("spam");
  });
  await poll(0, map);
  const { lines } = logger as LogLines;
  assertEquals(lines.length, 1);
  assertStringIncludes(lines[0]!, "error: uncaught exception");
  assertStringIncludes(lines[0]!, "TypeError: spam");
});

Deno.test("ExitNow of a timer leaves the loop, and the next timers still run", async () => {
  const { clock, map, ran, note } = timed();
  new Echo(new FakeChannel(), { map });
  map.callLater(10, () => {
    throw new ExitNow("enough");
  });
  map.callLater(10, note);
  const done = watch(loop({ map }));
  await clock.advance(10);
  assertInstanceOf(done.error, ExitNow);
  assertEquals(map.errors, []);
  assertEquals(map.size, 1);
  await poll(0, map);
  assertEquals(ran, [10]);
});

Deno.test("ExitNow of a timer's promise ends the wait of the loop", async () => {
  const { clock, map } = timed();
  new Echo(new FakeChannel(), { map });
  const gate = Promise.withResolvers<void>();
  map.callLater(10, () => gate.promise);
  const done = watch(loop({ map }));
  await clock.advance(20);
  assertFalse(done.settled);
  gate.reject(new ExitNow("enough"));
  await turns();
  assertInstanceOf(done.error, ExitNow);
  assertEquals(map.errors, []);
});

Deno.test("ExitNow of a promise waits for a loop that can throw it", async () => {
  const { map, at } = timed();
  map.callLater(0, () => Promise.reject(new ExitNow("enough")));
  await at(0);
  await turns();
  await assertRejects(() => poll(1_000, map), ExitNow, "enough");
  await at(0);
});

// Timers of dispatchers

Deno.test("Dispatcher.callLater() is cancelled although bytes still go out", async () => {
  const { clock, map, ran, note } = timed();
  const { channel, open } = gatedChannel();
  const handler = new Recorder(map, channel);
  handler.callLater(10, note);
  handler.send(bytes("spam"));
  handler.close();
  const done = watch(loop({ map }));
  await clock.advance(20);
  assertFalse(done.settled);
  open();
  await turns();
  assert(done.settled);
  assertEquals(ran, []);
});

const ENDS: Record<string, (dispatcher: Dispatcher) => void> = {
  "close()": (dispatcher) => dispatcher.close(),
  "abort()": (dispatcher) => dispatcher.abort(),
  "a using block": (dispatcher) => dispatcher[Symbol.dispose](),
};

for (const [way, end] of Object.entries(ENDS)) {
  for (const socket of ["with", "without"]) {
    Deno.test(`Dispatcher.callLater() ${socket} a socket is cancelled by ${way}`, async () => {
      const { map, ran, note, at } = timed();
      const channel = socket === "with" ? new FakeChannel() : null;
      const dispatcher = new Dispatcher(channel, { map });
      const once = dispatcher.callLater(10, note);
      const every = dispatcher.callEvery(10, note);
      await at(10);
      assertEquals(ran.splice(0), [10, 10]);
      once.reset();
      end(dispatcher);
      await at(20);
      once.reset();
      every.reset();
      dispatcher.callLater(0, note).reset();
      dispatcher.callEvery(1, note);
      await at(30, 40);
      assertEquals(ran, []);
      dispatcher.createSocket();
      dispatcher.callLater(10, note);
      once.reset();
      await at(50);
      assertEquals(ran, [50], "a new life has timers of its own");
      dispatcher.close();
    });
  }
}
