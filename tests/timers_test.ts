import {
  assert,
  assertEquals,
  assertFalse,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
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
  LogLines,
  newSeed,
  quietMap,
  randomFrom,
  Recorder,
  watch,
} from "./fakes.ts";
import { MockClock } from "../testing/mock_clock.ts";
import { bytes, turns } from "./support.ts";

/** A map on a clock of its own, and the times at which its timers ran. */
function setUp() {
  const clock = new MockClock();
  const map = quietMap({ clock });
  const ran: number[] = [];
  return {
    clock,
    map,
    ran,
    note: () => void ran.push(clock.now()),
    /** Lets `ms` pass at once, then makes a pass. */
    async pass(ms = 0) {
      clock.skip(ms);
      await poll(0, map);
    },
  };
}

Deno.test("SocketMap.callLater() runs its callback once, when it is due", async () => {
  const { map, ran, note, pass } = setUp();
  map.callLater(10, note);
  await pass(9.9);
  assertEquals(ran, []);
  await pass(0.1);
  await pass(10);
  await pass(100);
  assertEquals(ran, [10]);
});

Deno.test("SocketMap.callLater() runs a callback that is late", async () => {
  const { map, ran, note, pass } = setUp();
  map.callLater(10, note);
  await pass(500);
  assertEquals(ran, [500]);
});

Deno.test("SocketMap.callLater() runs nothing outside a pass", async () => {
  const { clock, map, ran, note } = setUp();
  map.callLater(10, note);
  await clock.advance(100);
  assertEquals(ran, []);
});

Deno.test("SocketMap.callLater() ends the wait of a pass when it is due", async () => {
  const { clock, map, ran, note } = setUp();
  new Echo(new FakeChannel(), { map });
  map.callLater(10, note);
  const done = watch(loop({ map, timeout: 1_000, count: 2 }));
  await clock.advance(500);
  assertEquals(ran, [10]);
  assertFalse(done.settled);
});

Deno.test("SocketMap.callLater() during a wait shortens it", async () => {
  const { clock, map, ran, note } = setUp();
  new Echo(new FakeChannel(), { map });
  map.callLater(50, note);
  watch(loop({ map, timeout: 1_000 }));
  await clock.advance(5);
  map.callLater(10, note);
  await clock.advance(100);
  assertEquals(ran, [15, 50]);
});

Deno.test("poll() of an empty map runs the timers that come due", async () => {
  const { clock, map, ran, note } = setUp();
  map.callLater(10, note);
  const done = watch(poll(50, map));
  await clock.advance(10);
  assertEquals(ran, [10]);
  assert(done.settled);
});

Deno.test("SocketMap.callLater() does not keep the loop of an empty map going", async () => {
  const { clock, map, ran, note } = setUp();
  map.callLater(10, note);
  map.callEvery(10, note);
  const done = watch(loop({ map }));
  await turns();
  assert(done.settled);
  assertEquals(clock.timeoutsSet, 0);
  assertEquals(ran, []);
});

Deno.test("SocketMap.callEvery() keeps the beat although it comes late", async () => {
  const { map, ran, note, pass } = setUp();
  map.callEvery(10, note);
  await pass(13);
  await pass(6); // 19: not yet.
  assertEquals(ran, [13]);
  await pass(1); // 20
  await pass(10);
  assertEquals(ran, [13, 20, 30]);
});

Deno.test("SocketMap.callEvery() skips the turns that were missed", async () => {
  const { map, ran, note, pass } = setUp();
  map.callEvery(10, note);
  await pass(57);
  await pass(2); // 59: not yet.
  assertEquals(ran, [57]);
  await pass(1); // 60
  assertEquals(ran, [57, 60]);
  await pass(20); // 80, exactly a beat late.
  await pass(9);
  assertEquals(ran, [57, 60, 80]);
  await pass(1);
  assertEquals(ran, [57, 60, 80, 90]);
});

Deno.test("SocketMap.callEvery() skips its turns while its promise is pending", async () => {
  const { map, ran, note, pass } = setUp();
  const gate = Promise.withResolvers<void>();
  map.callEvery(10, () => {
    note();
    return gate.promise;
  });
  await pass(10);
  await pass(10);
  await pass(10);
  assertEquals(ran, [10]);
  gate.resolve();
  await turns();
  await pass(0);
  assertEquals(ran, [10]);
  await pass(10);
  assertEquals(ran, [10, 40]);
});

Deno.test("SocketMap.callEvery() goes on with intervals of a fraction", async () => {
  const { map, ran, note, pass } = setUp();
  const timer = map.callEvery(0.1, note);
  for (let i = 0; i < 100; i++) await pass(0.1);
  assert(ran.length >= 98 && ran.length <= 100);
  timer.cancel();
});

Deno.test("Timer.cancel() forgets the callback", async () => {
  const { map, ran, note, pass } = setUp();
  const later = map.callLater(10, note);
  const every = map.callEvery(10, note);
  later.cancel();
  every.cancel();
  later.cancel();
  every.cancel();
  await pass(100);
  assertEquals(ran, []);
});

Deno.test("Timer.cancel() after the callback has run does nothing", async () => {
  const { map, ran, note, pass } = setUp();
  const timer = map.callLater(10, note);
  const other = map.callLater(20, note);
  await pass(10);
  timer.cancel();
  await pass(10);
  assertEquals(ran, [10, 20]);
  other.cancel();
});

Deno.test("Timer.cancel() in its own callback ends a repeating timer", async () => {
  const { map, ran, note, pass } = setUp();
  const timer = map.callEvery(10, () => {
    note();
    timer.cancel();
  });
  await pass(10);
  await pass(10);
  assertEquals(ran, [10]);
});

Deno.test("Timer.cancel() in the callback of another stops one due at that time", async () => {
  const { map, ran, note, pass } = setUp();
  let second: Timer | null = null;
  map.callLater(10, () => second!.cancel());
  second = map.callLater(10, note);
  map.callLater(10, note);
  await pass(10);
  assertEquals(ran, [10]);
});

Deno.test("Timer.reset() of a pending timer starts the whole delay again", async () => {
  const { map, ran, note, pass } = setUp();
  const timer = map.callLater(10, note);
  await pass(7);
  timer.reset();
  await pass(9);
  assertEquals(ran, []);
  await pass(1);
  assertEquals(ran, [17]);
});

Deno.test("Timer.reset() makes a timer run again after it has run", async () => {
  const { map, ran, note, pass } = setUp();
  const timer = map.callLater(10, note);
  await pass(10);
  timer.reset();
  await pass(9);
  await pass(1);
  await pass(10);
  assertEquals(ran, [10, 20]);
});

Deno.test("Timer.reset() revives a timer that was cancelled", async () => {
  const { map, ran, note, pass } = setUp();
  const later = map.callLater(10, note);
  later.cancel();
  later.reset();
  await pass(10);
  await pass(10);
  assertEquals(ran, [10]);
});

Deno.test("Timer.reset() moves the beat of a repeating timer", async () => {
  const { map, ran, note, pass } = setUp();
  const timer = map.callEvery(10, note);
  await pass(5);
  timer.reset();
  await pass(9);
  assertEquals(ran, []);
  await pass(1); // 15
  await pass(10);
  assertEquals(ran, [15, 25]);
});

Deno.test("Timer.reset() in its own callback starts one delay, not two", async () => {
  const { map, ran, note, pass } = setUp();
  const timer = map.callLater(10, () => {
    note();
    if (ran.length < 3) timer.reset();
  });
  await pass(10);
  await pass(10);
  await pass(10);
  await pass(10);
  assertEquals(ran, [10, 20, 30]);
});

Deno.test("Timer is cancelled at the end of a using block", async () => {
  const { map, ran, note, pass } = setUp();
  {
    using _timer = map.callLater(10, note);
    await pass(9);
  }
  await pass(10);
  assertEquals(ran, []);
});

Deno.test("SocketMap runs timers in the order in which they are due", async () => {
  const { map, pass } = setUp();
  const order: string[] = [];
  map.callLater(30, () => void order.push("30"));
  map.callLater(10, () => void order.push("10 first"));
  map.callLater(20, () => void order.push("20"));
  map.callLater(10, () => void order.push("10 second"));
  map.callLater(10, () => void order.push("10 third"));
  await pass(100);
  assertEquals(order, ["10 first", "10 second", "10 third", "20", "30"]);
});

Deno.test("Timer.reset() puts a timer behind those due at the same time", async () => {
  const { map, pass } = setUp();
  const order: string[] = [];
  const first = map.callLater(10, () => void order.push("first"));
  map.callLater(10, () => void order.push("second"));
  first.reset();
  await pass(10);
  assertEquals(order, ["second", "first"]);
});

Deno.test("SocketMap.callLater(0) runs in the next pass, not in the one that started it", async () => {
  const { map, ran, note, pass } = setUp();
  let started = 0;
  const again = () => {
    note();
    if (++started < 3) map.callLater(0, again);
  };
  map.callLater(0, again);
  map.callLater(0, note);
  await pass(0);
  assertEquals(ran.length, 2);
  await pass(0);
  assertEquals(ran.length, 3);
  await pass(0);
  assertEquals(ran.length, 4);
  await pass(0);
  assertEquals(ran.length, 4);
});

Deno.test("SocketMap.callLater(0) keeps the next pass from waiting", async () => {
  const { map, ran, note } = setUp();
  new Echo(new FakeChannel(), { map });
  map.callLater(0, () => {
    note();
    map.callLater(0, note);
  });
  const done = watch(loop({ map, count: 2 }));
  await turns();
  assert(done.settled);
  assertEquals(ran, [0, 0]);
});

Deno.test("Timer that resets itself at 0 ms does not keep a pass from ending", async () => {
  const { map, ran, note, pass } = setUp();
  const timer = map.callLater(0, () => {
    note();
    if (ran.length < 1_000) timer.reset();
  });
  await pass(0);
  assertEquals(ran.length, 1);
  timer.cancel();
});

Deno.test("SocketMap reports what a timer throws and goes on", async () => {
  const { map, ran, note, pass } = setUp();
  const error = new Error("spam");
  const every = map.callEvery(10, () => {
    note();
    throw error;
  });
  map.callLater(10, note);
  await pass(10);
  assertEquals(ran, [10, 10]);
  await pass(10);
  assertEquals(ran, [10, 10, 20]);
  assertEquals(map.errors, [error, error]);
  assertStrictEquals(map.errors[0], error);
  every.cancel();
});

Deno.test("SocketMap reports the rejection of a timer and goes on", async () => {
  const { map, pass } = setUp();
  const error = new Error("spam");
  let calls = 0;
  map.callEvery(10, () => {
    calls++;
    return Promise.reject(error);
  });
  await pass(10);
  await turns();
  assertEquals(map.errors, [error]);
  await pass(10);
  await turns();
  assertEquals(calls, 2);
  assertEquals(map.errors.length, 2);
});

Deno.test("SocketMap survives an onError() that throws", async () => {
  const { map, ran, note, pass } = setUp();
  map.onError = () => {
    throw new Error("eggs");
  };
  map.callLater(10, () => {
    throw new Error("spam");
  });
  map.callLater(10, () => Promise.reject(new Error("spam")));
  map.callLater(10, note);
  const lines: string[] = [];
  const { error } = console;
  console.error = (line: string) => void lines.push(line);
  try {
    await pass(10);
    await turns();
  } finally {
    console.error = error;
  }
  assertEquals(ran, [10]);
  assertEquals(lines.length, 2);
  for (const line of lines) assertStringIncludes(line, "eggs");
});

Deno.test("SocketMap logs what a timer throws by default", async () => {
  const { clock } = setUp();
  const logger = new LogLines();
  const map = new SocketMap({ clock, logger });
  map.callLater(0, () => {
    throw new TypeError("spam");
  });
  await poll(0, map);
  assertEquals(logger.lines.length, 1);
  assertStringIncludes(logger.lines[0]!, "error: uncaught exception");
  assertStringIncludes(logger.lines[0]!, "TypeError: spam");
});

Deno.test("ExitNow of a timer leaves the loop, and the next timers still run", async () => {
  const { clock, map, ran, note } = setUp();
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
  const { clock, map } = setUp();
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
  const { map, pass } = setUp();
  map.callLater(0, () => Promise.reject(new ExitNow("enough")));
  await pass(0);
  await turns();
  await assertRejects(() => poll(1_000, map), ExitNow, "enough");
  await pass(0);
});

Deno.test("Dispatcher.callLater() is cancelled by close()", async () => {
  const { map, ran, note, pass } = setUp();
  const handler = new Recorder(map, new FakeChannel());
  const later = handler.callLater(10, note);
  const every = handler.callEvery(10, note);
  await pass(10);
  assertEquals(ran, [10, 10]);
  later.reset();
  handler.close();
  await pass(10);
  later.reset();
  every.reset();
  handler.callLater(0, note).reset();
  handler.callEvery(1, note);
  await pass(10);
  assertEquals(ran, [10, 10]);
});

Deno.test("Dispatcher.callLater() is cancelled although bytes still go out", async () => {
  const { clock, map, ran, note } = setUp();
  const channel = new FakeChannel();
  const gate = Promise.withResolvers<number>();
  channel.take = () => gate.promise;
  const handler = new Recorder(map, channel);
  handler.callLater(10, note);
  handler.send(bytes("spam"));
  handler.close();
  const done = watch(loop({ map }));
  await clock.advance(20);
  assertFalse(done.settled);
  gate.resolve(4);
  await turns();
  assert(done.settled);
  assertEquals(ran, []);
});

Deno.test("Dispatcher.callLater() does not outlive a close() in its callback", async () => {
  const { map, ran, note, pass } = setUp();
  const handler = new Recorder(map, new FakeChannel());
  handler.callEvery(10, () => {
    note();
    handler.close();
  });
  handler.callLater(10, note);
  await pass(10);
  await pass(10);
  assertEquals(ran, [10]);
});

Deno.test("Dispatcher.callLater() works again with a new socket", async () => {
  const { map, ran, note, pass } = setUp();
  const handler = new Recorder(map, new FakeChannel());
  const old = handler.callLater(10, note);
  handler.close();
  handler.setSocket(new FakeChannel());
  handler.callLater(10, note);
  old.reset();
  await pass(10);
  assertEquals(ran, [10]);
});

Deno.test("Dispatcher.callLater() works before there is a socket", async () => {
  const { map, ran, note, pass } = setUp();
  const handler = new Dispatcher(null, { map });
  handler.callLater(10, note);
  await pass(10);
  assertEquals(ran, [10]);
});

for (
  const [way, end] of Object.entries({
    "close()": (dispatcher: Dispatcher) => dispatcher.close(),
    "abort()": (dispatcher: Dispatcher) => dispatcher.abort(),
    "a using block": (dispatcher: Dispatcher) => dispatcher[Symbol.dispose](),
  })
) {
  Deno.test(`Dispatcher.callLater() without a socket is cancelled by ${way}`, async () => {
    const { map, ran, note, pass } = setUp();
    const dispatcher = new Dispatcher(null, { map });
    const once = dispatcher.callLater(10, note);
    dispatcher.callEvery(10, note);
    end(dispatcher);
    dispatcher.callLater(10, note);
    once.reset();
    await pass(10);
    await pass(10);
    assertEquals(ran, []);
    dispatcher.createSocket();
    dispatcher.callLater(10, note);
    await pass(10);
    assertEquals(ran, [30], "a new life has timers of its own");
    dispatcher.close();
  });
}

Deno.test("Dispatcher.callLater() before createSocket() ends with that socket", async () => {
  const { map, ran, note, pass } = setUp();
  const dispatcher = new Dispatcher(null, { map });
  dispatcher.callEvery(10, note);
  dispatcher.createSocket();
  await pass(10);
  assertEquals(ran, [10]);
  dispatcher.close();
  await pass(10);
  assertEquals(ran, [10]);
});

Deno.test("SocketMap takes a clock whose methods use this", async () => {
  class OwnClock {
    #now = 0;
    now(): number {
      return this.#now++;
    }
    setTimeout(callback: () => void): unknown {
      return setTimeout(callback, 0);
    }
    clearTimeout(id: unknown): void {
      clearTimeout(id as number);
    }
    setImmediate(callback: () => void): void {
      setImmediate(callback);
    }
  }
  const map = quietMap({ clock: new OwnClock() });
  let ran = 0;
  map.callLater(1, () => void ran++);
  for (let i = 0; i < 5; i++) await poll(10, map);
  assertEquals(ran, 1);
});

/** The simplest timers that can be right: a list that is searched. */
class Model {
  now = 0;
  readonly fired: number[] = [];
  #sequence = 0;
  readonly #delays: number[] = [];
  readonly #repeats: boolean[] = [];
  #pending: { id: number; due: number; sequence: number }[] = [];

  add(delay: number, repeats: boolean): number {
    const id = this.#delays.push(delay) - 1;
    this.#repeats.push(repeats);
    this.start(id, this.now + delay);
    return id;
  }
  reset(id: number): void {
    this.cancel(id);
    this.start(id, this.now + this.#delays[id]!);
  }
  start(id: number, due: number): void {
    this.#pending.push({ id, due, sequence: ++this.#sequence });
  }
  cancel(id: number): void {
    this.#pending = this.#pending.filter((timer) => timer.id !== id);
  }
  advance(ms: number): void {
    this.now += ms;
    const due = this.#pending.filter((timer) => timer.due <= this.now);
    due.sort((a, b) => a.due - b.due || a.sequence - b.sequence);
    for (const { id, due: at } of due) {
      this.fired.push(id);
      this.cancel(id);
      if (!this.#repeats[id]) continue;
      let next = at;
      while (next <= this.now) next += this.#delays[id]!;
      this.start(id, next);
    }
  }
}

function startRandomTimer(
  map: SocketMap,
  model: Model,
  fired: number[],
  random: () => number,
): Timer {
  const repeats = random() < 0.2;
  const delay = Math.floor(random() * 1_000) + (repeats ? 1 : 0);
  const id = model.add(delay, repeats);
  const note = () => void fired.push(id);
  return repeats ? map.callEvery(delay, note) : map.callLater(delay, note);
}

Deno.test("SocketMap runs thousands of random timers as a simple model does", async () => {
  const random = randomFrom(newSeed());
  const { map, pass } = setUp();
  const model = new Model();
  const timers: Timer[] = [];
  const fired: number[] = [];
  const pick = () => Math.floor(random() * timers.length);
  for (let round = 0; round < 300; round++) {
    for (let i = 0; i < 10; i++) {
      timers.push(startRandomTimer(map, model, fired, random));
    }
    for (let i = 0; i < 6; i++) {
      const cancelled = pick();
      timers[cancelled]!.cancel();
      model.cancel(cancelled);
      const restarted = pick();
      timers[restarted]!.reset();
      model.reset(restarted);
    }
    const ms = Math.floor(random() * 30);
    model.advance(ms);
    await pass(ms);
    assertEquals(fired.length, model.fired.length, `round ${round}`);
  }
  assertEquals(fired, model.fired);
  assert(fired.length > 3_000);
});

Deno.test("Timer.reset() in its own async callback makes a timer that runs once run again", async () => {
  const { map, ran, note, pass } = setUp();
  const gate = Promise.withResolvers<void>();
  const timer = map.callLater(10, async () => {
    note();
    if (ran.length > 1) return;
    timer.reset();
    await gate.promise;
  });
  await pass(10);
  await pass(9);
  assertEquals(ran, [10]);
  await pass(1);
  await pass(100);
  assertEquals(ran, [10, 20]);
  gate.resolve();
  await pass(100);
  assertEquals(ran, [10, 20]);
});
