/** Web streams that misbehave under channelFrom(), and misuse of toStreams(). */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { channelFrom, Dispatcher, loop, toStreams } from "../mod.ts";
import { MockClock } from "../testing/mock_clock.ts";
import {
  Echo,
  FakeChannel,
  LogLines,
  quietMap,
  Recorder,
  watch,
} from "./fakes.ts";
import {
  type Any,
  assertServed,
  FAILURES,
  HANGS,
  MUTE,
  rest,
  SHY,
  SPAM,
} from "./misbehaviours.ts";
import { bytes, captureRejections, turns, until } from "./support.ts";

/** A map with a neighbour, in a loop. */
function setUp() {
  const clock = new MockClock();
  const map = quietMap({ clock, logger: new LogLines() });
  const neighbour = new FakeChannel();
  const echo = new Echo(neighbour, { map });
  const ending = watch(loop({ map }));
  const end = async () => {
    await assertServed(neighbour);
    echo.close();
    for (const member of [...map]) member.close();
    await rest(clock);
    assert(ending.settled, "the loop has not ended");
    assertEquals([ending.error, map.size, map.lingering], [undefined, 0, 0]);
    assertEquals(map.errors, [], "onError() was told");
  };
  return { clock, map, end };
}

/** Transfers the buffer of `chunk`, whose bytes are gone with it. */
function giveAway(chunk: Uint8Array): void {
  structuredClone(chunk, { transfer: [chunk.buffer as ArrayBuffer] });
}

const REASONS = [SPAM, undefined, null, "spam", 7, SHY, MUTE, Symbol("spam")];

// The streams of a channel

/** How a readable ends, or goes on, once it is asked. */
type Source = (controller: ReadableStreamDefaultController<Any>) => Any;

const SOURCES: [name: string, pull: Source][] = [
  ...REASONS.map((reason, i): [string, Source] => [
    `errors with reason ${i}`,
    (controller) => controller.error(reason),
  ]),
  ...REASONS.map((reason, i): [string, Source] => [
    `throws reason ${i}`,
    () => {
      throw reason;
    },
  ]),
  ...[7, "text", undefined, null, {}, SHY, new ArrayBuffer(8), Symbol("spam")]
    .map((chunk, i): [string, Source] => [
      `gives nonsense ${i}`,
      (controller) => controller.enqueue(chunk),
    ]),
  ["gives a transferred chunk", (controller) => {
    const chunk = bytes("spam");
    giveAway(chunk);
    controller.enqueue(chunk);
  }],
];

for (const [name, pull] of SOURCES) {
  Deno.test(`channelFrom() of a readable that ${name} costs its own dispatcher`, async () => {
    using rejections = captureRejections();
    const { map, clock, end } = setUp();
    let pulls = 0;
    const cancel = () => Promise.reject(SPAM);
    const readable = new ReadableStream<Any>({
      pull(controller) {
        if (pulls++ === 0) controller.enqueue(bytes("ham"));
        else return pull(controller);
      },
      cancel,
    }, { highWaterMark: 0 });
    const victim = new Recorder(map, channelFrom({ readable }));
    await rest(clock);
    assertEquals(victim.received, "ham");
    // A stream that gives no reason has gone, which is no error.
    const isGone = victim.closeReason instanceof Deno.errors.ConnectionAborted;
    assertEquals(victim.errors.length, isGone ? 0 : 1);
    assertEquals(
      isGone,
      name === "errors with reason 1" ||
        name === "throws reason 1",
    );
    assertEquals(victim.trace.at(-1), "handleClose");
    await end();
    assertEquals(rejections.reasons, []);
  });
}

Deno.test("channelFrom() notices that the owner of a chunk transfers it before it is read to its end", async () => {
  const { map, clock, end } = setUp();
  const chunk = bytes("spam and eggs");
  const readable = new ReadableStream({
    start: (controller) => controller.enqueue(chunk),
  });
  class Slow extends Recorder {
    isOpen = true;
    override readable(): boolean {
      return this.isOpen;
    }
    override handleRead(): void {
      super.handleRead();
      this.isOpen = false;
    }
  }
  const channel = Object.assign(channelFrom({ readable }), { chunkSize: 4 });
  const victim = new Slow(map, channel);
  await rest(clock);
  assertEquals(victim.received, "spam");
  giveAway(chunk);
  victim.isOpen = true;
  map.wake();
  await rest(clock);
  assertEquals(victim.errors.length, 1);
  assert(String(victim.errors[0]).includes("transferred"));
  await end();
});

Deno.test("channelFrom() of a readable that has nothing but empty chunks leaves others their turns", async () => {
  const map = quietMap();
  const neighbour = new FakeChannel();
  const echo = new Echo(neighbour, { map });
  const readable = new ReadableStream({
    pull: (controller) => controller.enqueue(new Uint8Array(0)),
  });
  const victim = new Recorder(map, channelFrom({ readable }));
  const looping = loop({ map });
  for (const word of ["spam", "eggs", "ham"]) {
    neighbour.push(word);
    await until(() => neighbour.sent.endsWith(word), "the echo");
  }
  assert(victim.connected);
  victim.close();
  echo.close();
  await looping;
  map.check();
});

/** Ways to end a connection over streams. */
const ENDS: Record<string, (victim: Dispatcher) => void> = {
  "while it is open": () => {},
  "after close()": (victim) => victim.close(),
  "in abort()": (victim) => victim.abort(),
  "in shutdownWrite()": (victim) => victim.shutdownWrite(),
};

for (const method of ["write", "close", "abort"] as const) {
  for (const [when, end] of Object.entries(ENDS)) {
    Deno.test(`channelFrom() of a writable whose ${method}() misbehaves ${when} costs its own dispatcher`, async () => {
      for (const [name, instead] of Object.entries({ ...FAILURES, ...HANGS })) {
        using rejections = captureRejections();
        const scene = setUp();
        const closed = Promise.withResolvers<void>();
        const sink = { [method]: () => instead(() => {}, closed.promise) };
        const channel = channelFrom({ writable: new WritableStream(sink) });
        const victim = new Recorder(scene.map, channel);
        await turns();
        victim.send(bytes("eggs"));
        end(victim);
        await rest(scene.clock);
        try {
          assert(victim.errors.length <= 1, "told once");
          const isTold = method === "write" && when === "while it is open" &&
            name in FAILURES && !name.includes("undefined");
          if (isTold) assertEquals(victim.errors.length, 1);
          closed.resolve();
          await scene.end();
          assertEquals(rejections.reasons, []);
        } catch (error) {
          throw new Error(name, { cause: error });
        }
      }
    });
  }
}

// The streams of a dispatcher

Deno.test("toStreams().writable refuses a transferred chunk, and aborts", async () => {
  using rejections = captureRejections();
  const { map, end } = setUp();
  const channel = new FakeChannel();
  const dispatcher = new Dispatcher(channel, { map });
  const { writable, readable } = toStreams(dispatcher);
  const writer = writable.getWriter();
  const chunk = bytes("spam");
  giveAway(chunk);
  await assertRejects(() => writer.write(chunk), TypeError, "transferred");
  await assertRejects(() => new Response(readable).text(), TypeError);
  assert(channel.closed);
  assertEquals([channel.sent, channel.writeEnded], ["", false]);
  await end();
  assertEquals(rejections.reasons, []);
});

Deno.test("toStreams().writable notices that a chunk is transferred while it is sent", async () => {
  using rejections = captureRejections();
  const { map, clock, end } = setUp();
  const channel = new FakeChannel();
  const gate = Promise.withResolvers<void>();
  channel.take = (data) => gate.promise.then(() => data.length);
  const dispatcher = new Dispatcher(channel, { map });
  const { writable } = toStreams(dispatcher);
  const chunk = new Uint8Array(200_000);
  const writing = watch(writable.getWriter().write(chunk));
  await turns();
  giveAway(chunk);
  gate.resolve();
  await rest(clock);
  assert(String(writing.error).includes("transferred"));
  assert(channel.closed);
  assertEquals(channel.writeEnded, false, "the peer must not take it for all");
  await end();
  assertEquals(rejections.reasons, []);
});

for (const method of ["close", "abort"] as const) {
  Deno.test(`toStreams() of a class whose ${method}() misbehaves ends the connection`, async () => {
    for (const [name, instead] of Object.entries({ ...FAILURES, ...HANGS })) {
      using rejections = captureRejections();
      const { map, clock } = setUp();
      const channel = new FakeChannel();
      const dispatcher = new Dispatcher(channel, { map });
      dispatcher[method] = () => instead(() => {}, Promise.resolve());
      const { readable, writable } = toStreams(dispatcher);
      await turns();
      const writer = writable.getWriter();
      if (method === "abort") await writer.abort(SPAM);
      else {
        await watch(writer.close());
        await watch(readable.cancel());
      }
      await rest(clock);
      for (const member of [...map]) member.abort();
      await rest(clock);
      if (method === "abort") assert(channel.closed, name);
      assertEquals(rejections.reasons, [], name);
    }
  });
}

Deno.test("toStreams() of a class whose toString() throws closes like any other", async () => {
  const { map, clock, end } = setUp();
  class Shy extends Dispatcher {
    override toString = SHY.toString;
  }
  const channel = new FakeChannel();
  const dispatcher = new Shy(channel, { map });
  const { readable } = toStreams(dispatcher);
  dispatcher.close();
  await rest(clock);
  assert(channel.closed);
  await assertRejects(() => new Response(readable).text());
  await end();
});

Deno.test("toStreams() and channelFrom() refuse streams that are locked, and lock nothing", () => {
  const map = quietMap();
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const reader = readable.getReader();
  assertThrows(() => channelFrom({ readable, writable }), TypeError, "locked");
  assertEquals(writable.locked, false);
  reader.releaseLock();
  const writer = writable.getWriter();
  assertThrows(() => channelFrom({ readable, writable }), TypeError, "locked");
  assertEquals(readable.locked, false);
  writer.releaseLock();
  const victim = new Dispatcher(channelFrom({ readable, writable }), { map });
  assertThrows(() => channelFrom({ readable }), TypeError, "locked");
  victim.abort();
});
