/**
 * Clocks that misbehave in each way, at each point: they cost their own map, and
 * nothing else.
 */

import { assert, assertEquals, assertFalse } from "@std/assert";
import {
  type Clock,
  closeAll,
  Dispatcher,
  DispatcherWithSend,
  loop,
  poll,
  shutdown,
  SocketMap,
} from "../mod.ts";
import { MockClock } from "../testing/mock_clock.ts";
import {
  codedError,
  Echo,
  FakeAcceptor,
  FakeChannel,
  LogLines,
  loopToEnd,
  quietMap,
  watch,
} from "./fakes.ts";
import { type Any, neighbourIn } from "./setups.ts";
import { bytes, captureRejections, PATIENCE } from "./support.ts";

const SPAM = new Error("the clock has stopped");

function throwSpam(): never {
  throw SPAM;
}
const reject = () => Promise.reject(SPAM);

/** What a method does instead of `well`, which may be given another callback. */
type Instead = (
  well: (callback?: () => void) => Any,
  callback: () => void,
) => Any;

/** A method that misbehaves, and how. */
type Way = [method: keyof Clock, how: string, instead: Instead];

/** Ways that leave a pass without its time. */
const FAILURES: Way[] = [
  ["now", "throws", throwSpam],
  ["now", "rejects", reject],
  ["now", "gives NaN", () => NaN],
  ["now", "gives Infinity", () => Infinity],
  ["now", "gives text", () => "5"],
  ["now", "gives a bigint", () => 5n],
  ["now", "gives nothing", () => {}],
  ["setTimeout", "throws", throwSpam],
  ["setTimeout", "rejects", reject],
  ["setImmediate", "throws", throwSpam],
  ["setImmediate", "rejects", reject],
];

/** How often the clocks have been asked that go back at times. */
let asked = 0;

/** Ways that a map can live with. */
const ODDITIES: Way[] = [
  ["now", "goes back", (well) => well() - ++asked % 5],
  ["setTimeout", "gives nothing", (well) => void well()],
  ["setTimeout", "calls back at once", (_, callback) => callback()],
  ["setTimeout", "calls back twice", (well, callback) =>
    well(() => {
      callback();
      callback();
    })],
  ["clearTimeout", "does nothing", () => {}],
  ["setImmediate", "calls back at once", (_, callback) => callback()],
  ["setImmediate", "calls back twice", (well, callback) => {
    well();
    setImmediate(callback);
  }],
];

/** A clock of which one method misbehaves while `isBad`. */
class BadClock extends MockClock {
  isBad = false;

  constructor([method, , instead]: Way) {
    super();
    const well = (this[method] as Any).bind(this);
    const value = (first: Any, ...rest: Any[]) => {
      if (!this.isBad) return well(first, ...rest);
      return instead((other = first) => well(other, ...rest), first);
    };
    Object.defineProperty(this, method, { value });
  }
}

/** A map whose clock may misbehave, and what it tells. */
function setUp(...way: Way) {
  const clock = new BadClock(way);
  const errors: unknown[] = [];
  const onError = (error: unknown) => void errors.push(error);
  const map = new SocketMap({ clock, onError, logger: new LogLines() });
  return { clock, map, errors };
}

/** A channel that takes nothing until it is opened. */
function gated() {
  const channel = new FakeChannel();
  const gate = Promise.withResolvers<void>();
  channel.take = (data) => gate.promise.then(() => data.length);
  return { channel, open: () => gate.resolve() };
}

/** Has a map do all that needs a clock; returns a channel to speak to it. */
function occupy(map: SocketMap): FakeChannel {
  const channel = new FakeChannel();
  new Echo(channel, { map, idleTimeout: 60_000, lifetime: 900_000 });
  map.callEvery(50, () => {});
  const acceptor = new FakeAcceptor();
  acceptor.push(codedError("EMFILE"));
  new Dispatcher(acceptor, { map });
  const sender = new DispatcherWithSend(gated().channel, { map, linger: 200 });
  sender.send(bytes("spam"));
  sender.close();
  return channel;
}

/** A map of its own, which must not notice. */
async function assertOthersServed(): Promise<void> {
  const map = quietMap();
  const channel = neighbourIn(map);
  channel.push("spam", null);
  await loopToEnd(map);
  assertEquals(channel.sent, "spam");
}

/** Lets the clock's time pass, and the system's, until `done()`. */
async function advanceUntil(
  clock: MockClock,
  done: () => boolean,
  what: string,
  step = 100,
): Promise<void> {
  const deadline = performance.now() + PATIENCE;
  while (!done()) {
    if (performance.now() > deadline) throw new Error(`In vain for ${what}`);
    await clock.advance(step);
  }
}

/** Empties a map whose clock is well again. */
async function assertEnds(map: SocketMap, clock: BadClock): Promise<void> {
  clock.isBad = false;
  closeAll(map);
  const ending = watch(loop({ map }));
  await advanceUntil(clock, () => ending.settled, "the end of the loop");
  assertEquals([ending.error, map.size, map.lingering], [undefined, 0, 0]);
}

function assertClockError(error: unknown): void {
  const isTold = error === SPAM ||
    error instanceof TypeError && error.message.startsWith("clock.now()");
  assert(isTold, Deno.inspect(error));
}

/** Has passes made until one needs what the clock refuses. */
async function assertRejected(
  clock: BadClock,
  drive: () => Promise<unknown>,
): Promise<void> {
  for (let left = 9; left > 0; left--) {
    const ending = watch(drive());
    await advanceUntil(clock, () => ending.settled, "the end of a pass", 1);
    if (ending.error === undefined) continue;
    assertClockError(ending.error);
    return;
  }
  throw new Error(`No error of ${drive}`);
}

// A clock that fails

/** A map in which a clock has misbehaved: others are served, and it ends. */
async function tryClock(
  way: Way,
  play: (scene: ReturnType<typeof setUp>) => Promise<void>,
): Promise<void> {
  using rejections = captureRejections();
  const scene = setUp(...way);
  await play(scene);
  await assertOthersServed();
  await assertEnds(scene.map, scene.clock);
  scene.errors.forEach(assertClockError);
  assertEquals(rejections.reasons, []);
}

for (const way of FAILURES) {
  const name = `Clock whose ${way[0]}() ${way[1]}`;

  Deno.test(`${name} while loop() waits ends that loop, and no other`, () =>
    tryClock(way, async ({ clock, map }) => {
      const channel = occupy(map);
      const ending = watch(loop({ map }));
      await clock.advance(10);
      clock.isBad = true;
      channel.push("ham");
      await advanceUntil(clock, () => ending.settled, "the end of the loop");
      assertClockError(ending.error);
    }));

  Deno.test(`${name} from the start has loop(), poll() and shutdown() reject`, () =>
    tryClock(way, async ({ clock, map }) => {
      clock.isBad = true;
      occupy(map);
      await assertRejected(clock, () => loop({ map }));
      await assertRejected(clock, () => poll(9, map));
      await assertRejected(clock, () => shutdown({ map }));
    }));

  Deno.test(`${name} while no loop runs is told to onError()`, () =>
    tryClock(way, async ({ clock, map, errors }) => {
      const { channel, open } = gated();
      const sender = new DispatcherWithSend(channel, { map, linger: 1_000 });
      sender.send(bytes("spam"));
      await loop({ map, count: 2, timeout: 0 });
      clock.isBad = true;
      sender.close();
      open();
      channel.push("ham", "ham");
      map.callLater(10, () => {});
      await clock.advance(10_000);
      assert(errors.length > 0);
      clock.isBad = false;
      sender.abort();
    }));
}

// A clock that is odd

for (const way of ODDITIES) {
  Deno.test(`Clock whose ${way[0]}() ${way[1]} leaves its map working`, () =>
    tryClock(way, async ({ clock, map, errors }) => {
      clock.isBad = true;
      let ticks = 0;
      map.callEvery(50, () => void ticks++);
      const options = { map, idleTimeout: 1_000 };
      const idle = new Dispatcher(new FakeChannel(), options);
      const channel = occupy(map);
      const ending = watch(loop({ map }));
      channel.push("ham");
      await advanceUntil(clock, () => channel.sent === "ham", "the echo");
      await advanceUntil(clock, () => ticks > 20, "the ticks");
      await advanceUntil(clock, () => !idle.connected, "the idle timeout");
      await advanceUntil(clock, () => map.lingering === 0, "the linger time");
      const ended = watch(shutdown({ map, deadline: 1_000 }));
      await advanceUntil(clock, () => ended.settled, "the end of shutdown()");
      await advanceUntil(clock, () => ending.settled, "the end of the loop");
      assertEquals([ending.error, ended.error], [undefined, undefined]);
      assertEquals([map.size, map.lingering, errors], [0, 0, []]);
    }));
}

Deno.test("Clock.now() that goes back stands still until it has caught up", async () => {
  let lead = 5_000;
  const { clock, map } = setUp("now", "", (well) => well() + lead);
  clock.isBad = true;
  const ticks: number[] = [];
  map.callEvery(1_000, () => void ticks.push(clock.now()));
  const echo = new Echo(new FakeChannel(), { map });
  const ending = watch(loop({ map }));
  await advanceUntil(clock, () => ticks.length === 2, "the second tick");
  lead = 0;
  await advanceUntil(clock, () => ticks.length === 4, "the fourth tick");
  assertEquals(ticks, [6_000, 7_000, 8_000, 9_000]);
  echo.close();
  await advanceUntil(clock, () => ending.settled, "the end of the loop");
});

for (const method of ["setTimeout", "setImmediate"] as const) {
  Deno.test(`Clock whose ${method}() never calls back costs its own map only`, async () => {
    using rejections = captureRejections();
    const { clock, map, errors } = setUp(method, "", () => {});
    clock.isBad = true;
    const channel = occupy(map);
    const ending = watch(loop({ map }));
    channel.push("ham");
    await assertOthersServed();
    await clock.advance(60_000);
    await assertOthersServed();
    assertFalse(ending.settled);
    assertEquals([errors, rejections.reasons], [[], []]);
    for (const member of [...map]) member.abort();
  });
}

Deno.test("SocketMap whose clock fails tells nobody twice, though telling takes the time", async () => {
  const { clock, map } = setUp("now", "throws", throwSpam);
  const log = new LogLines();
  const plain = new SocketMap({ clock, logger: log });
  clock.isBad = true;
  plain.callLater(10, () => {});
  assertEquals(log.lines.length, 1, "the default onError()");
  assertEquals(map.size, 0);
  await assertOthersServed();
});
