/** Web streams that misbehave under channelFrom(), and misuse of toStreams(). */

import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { channelFrom, Dispatcher, toStreams } from "../mod.ts";
import { FakeChannel, Recorder, watch } from "./fakes.ts";
import { type Any, FAILURES, HANGS, MUTE, SHY, SPAM } from "./misbehaviours.ts";
import { bytes, turns } from "./support.ts";
import { assertTurns, neighbourhood, tryAll } from "./neighbourhood.ts";

/** Transfers the buffer of `chunk`, whose bytes are gone with it. */
function giveAway(chunk: Uint8Array): void {
  structuredClone(chunk, { transfer: [chunk.buffer as ArrayBuffer] });
}

const REASONS = [SPAM, undefined, null, "spam", 7, SHY, MUTE, Symbol("spam")];

// The streams of a channel

/** How a readable ends, or goes on, once it is asked. */
type Source = (controller: ReadableStreamDefaultController<Any>) => Any;

const CHUNKS = [7, "text", undefined, null, {}, SHY, new ArrayBuffer(8)];
const SOURCES: Record<string, Source> = {
  ...Object.fromEntries(REASONS.flatMap((reason, i) =>
    [
      [`errors with reason ${i}`, (controller) => controller.error(reason)],
      [`throws reason ${i}`, () => {
        throw reason;
      }],
    ] as [string, Source][]
  )),
  ...Object.fromEntries(CHUNKS.map((chunk, i): [string, Source] => [
    `gives nonsense ${i}`,
    (controller) => controller.enqueue(chunk),
  ])),
  "gives a transferred chunk": (controller) => {
    const chunk = bytes("spam");
    giveAway(chunk);
    controller.enqueue(chunk);
  },
};

for (const [name, pull] of Object.entries(SOURCES)) {
  Deno.test(`channelFrom() of a readable that ${name} costs its own dispatcher`, async () => {
    await using scene = neighbourhood();
    let pulls = 0;
    const readable = new ReadableStream<Any>({
      pull(controller) {
        if (pulls++ === 0) controller.enqueue(bytes("ham"));
        else return pull(controller);
      },
      cancel: () => Promise.reject(SPAM),
    }, { highWaterMark: 0 });
    const victim = new Recorder(scene.map, channelFrom({ readable }));
    await scene.settle();
    assertEquals(victim.received, "ham");
    // A stream that gives no reason has gone, which is no error.
    const isGone = /(errors with|throws) reason 1/.test(name);
    assertEquals(victim.errors.length, isGone ? 0 : 1);
    const { ConnectionAborted } = Deno.errors;
    assertEquals(victim.closeReason instanceof ConnectionAborted, isGone);
    assertEquals(victim.trace.at(-1), "handleClose");
  });
}

Deno.test("channelFrom() notices that the owner of a chunk transfers it before it is read to its end", async () => {
  await using scene = neighbourhood();
  const chunk = bytes("spam and eggs");
  const readable = new ReadableStream({
    start: (controller) => controller.enqueue(chunk),
  });
  const channel = Object.assign(channelFrom({ readable }), { chunkSize: 4 });
  const victim = new Recorder(scene.map, channel);
  victim.readable = () => victim.received === "";
  await scene.settle();
  assertEquals(victim.received, "spam");
  giveAway(chunk);
  victim.readable = () => true;
  scene.map.wake();
  await scene.settle();
  assertEquals(victim.errors.length, 1);
  assertStringIncludes(String(victim.errors[0]), "transferred");
});

Deno.test("channelFrom() of a readable that has nothing but empty chunks leaves others their turns", async () => {
  const readable = new ReadableStream({
    pull: (controller) => controller.enqueue(new Uint8Array(0)),
  });
  await assertTurns((map) => new Recorder(map, channelFrom({ readable })));
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
      await tryAll({ ...FAILURES, ...HANGS }, async (instead, name) => {
        await using scene = neighbourhood();
        const closed = Promise.withResolvers<void>();
        const sink = { [method]: () => instead(() => {}, closed.promise) };
        const channel = channelFrom({ writable: new WritableStream(sink) });
        const victim = new Recorder(scene.map, channel);
        await turns();
        victim.send(bytes("eggs"));
        end(victim);
        await scene.settle();
        assert(victim.errors.length <= 1, "told once");
        const isTold = method === "write" && when === "while it is open" &&
          name in FAILURES && !name.includes("undefined");
        if (isTold) assertEquals(victim.errors.length, 1);
        closed.resolve();
      });
    });
  }
}

// The streams of a dispatcher

/** The streams of a dispatcher in a neighbourhood. */
function streamed(prepare: (dispatcher: Dispatcher) => void = () => {}) {
  const scene = neighbourhood();
  const channel = new FakeChannel();
  const dispatcher = new Dispatcher(channel, { map: scene.map });
  prepare(dispatcher);
  return { ...scene, channel, dispatcher, ...toStreams(dispatcher) };
}

Deno.test("toStreams().writable refuses a transferred chunk, and aborts", async () => {
  await using scene = streamed();
  const { channel, readable, writable } = scene;
  const chunk = bytes("spam");
  giveAway(chunk);
  const write = () => writable.getWriter().write(chunk);
  await assertRejects(write, TypeError, "transferred");
  await assertRejects(() => new Response(readable).text(), TypeError);
  assert(channel.closed);
  assertEquals([channel.sent, channel.writeEnded], ["", false]);
});

Deno.test("toStreams().writable notices that a chunk is transferred while it is sent", async () => {
  await using scene = streamed();
  const { channel, writable } = scene;
  const gate = Promise.withResolvers<void>();
  channel.take = (data) => gate.promise.then(() => data.length);
  const chunk = new Uint8Array(200_000);
  const writing = watch(writable.getWriter().write(chunk));
  await turns();
  giveAway(chunk);
  gate.resolve();
  await scene.settle();
  assertStringIncludes(String(writing.error), "transferred");
  assert(channel.closed);
  assertEquals(channel.writeEnded, false, "the peer must not take it for all");
});

for (const method of ["close", "abort"] as const) {
  Deno.test(`toStreams() of a class whose ${method}() misbehaves ends the connection`, async () => {
    await tryAll({ ...FAILURES, ...HANGS }, async (instead) => {
      await using scene = streamed((dispatcher) => {
        dispatcher[method] = () => instead(() => {}, Promise.resolve());
      });
      const { channel, dispatcher, readable, writable } = scene;
      await turns();
      const writer = writable.getWriter();
      if (method === "abort") await writer.abort(SPAM);
      else await Promise.allSettled([writer.close(), readable.cancel()]);
      await scene.settle();
      if (method === "abort") assert(channel.closed);
      else Dispatcher.prototype.abort.call(dispatcher);
      scene.map.errors.length = 0; // Its own failure may be told.
    });
  });
}

Deno.test("toStreams() of a class whose toString() throws closes like any other", async () => {
  await using scene = streamed((dispatcher) => {
    dispatcher.toString = SHY.toString;
  });
  const { channel, dispatcher, readable } = scene;
  dispatcher.close();
  await scene.settle();
  assert(channel.closed);
  await assertRejects(() => new Response(readable).text());
});
