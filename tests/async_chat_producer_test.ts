import {
  assert,
  assertEquals,
  assertFalse,
  assertGreater,
  assertLess,
  assertThrows,
} from "@std/assert";
import {
  AsyncChat,
  loop,
  type Producer,
  type ProducerLike,
  SimpleProducer,
} from "../mod.ts";
import {
  failing,
  type Fake,
  gated,
  talk,
  Talker,
  talkInLines,
  Valve,
} from "./chats.ts";
import {
  FakeChannel,
  loopToEnd,
  passes,
  quietMap,
  rest,
  watch,
} from "./fakes.ts";
import { MockClock } from "../testing/mock_clock.ts";
import { bytes, connectedPair, loopUntil, TestMap, turns } from "./support.ts";

/** A source that a test can look at. */
interface Observed {
  producer: ProducerLike;
  /** How many pieces it was asked for. */
  pulls: number;
  released: boolean;
}

/** What a source gives out, or throws, at each pull. */
type Give = (pull: number) => string | null;

/** What a source of each shape is made of. */
type Shape = (give: Give, seen: Observed) => ProducerLike;

function* generate(give: Give, seen: Observed) {
  try {
    for (;;) {
      const piece = give(seen.pulls++);
      if (piece === null) return;
      yield piece;
    }
  } finally {
    seen.released = true;
  }
}

async function* generateAsync(give: Give, seen: Observed) {
  for (const piece of generate(give, seen)) {
    await Promise.resolve();
    yield bytes(piece);
  }
}

/** A producer has nothing to release. */
function producerOf(give: Give, seen: Observed): Producer {
  seen.released = true;
  return { more: () => give(seen.pulls++) ?? "" };
}

/** The same source in each shape that can be pushed. */
const SHAPES: Record<string, Shape> = {
  "a Producer": producerOf,
  "an async Producer": (give, seen) => {
    const { more } = producerOf(give, seen);
    return { more: async () => await more() };
  },
  "a generator": generate,
  "an async generator": generateAsync,
  "a ReadableStream": (give, seen) =>
    ReadableStream.from(generateAsync(give, seen)),
};

/** A source of that shape. */
function observe(shape: Shape, give: Give): Observed {
  const seen: Observed = { producer: "", pulls: 0, released: false };
  seen.producer = shape(give, seen);
  return seen;
}

const upTo = (count: number, piece: (i: number) => string): Give => (i) =>
  i < count ? piece(i) : null;

const ENDS: Record<string, (fake: Fake<Talker>) => void> = {
  "close()": ({ chat }) => chat.close(),
  "abort()": ({ chat }) => chat.abort(),
  "the peer": ({ channel }) => channel.push(null),
  "a reset": ({ channel }) =>
    channel.push(new Deno.errors.ConnectionReset("gone")),
};

/** Gives one piece, and then throws. */
const failAfter = (piece: string): Give => (pull) => {
  if (pull === 1) throw new TypeError("out of spam");
  return piece;
};

for (const [kind, make] of Object.entries(SHAPES)) {
  const shape = (give: Give) => observe(make, give);

  Deno.test(`AsyncChat.pushWithProducer() keeps the order among pushes (${kind})`, async () => {
    const { chat, channel, map } = talk();
    const first = shape(upTo(3, (i) => `a${i} `));
    const empty = shape(() => null);
    const second = shape(upTo(2, (i) => `b${i} `));
    chat.push("start ");
    chat.pushWithProducer(first.producer);
    chat.push("between ");
    chat.push("and ");
    chat.pushWithProducer(empty.producer);
    chat.pushWithProducer(second.producer);
    chat.push("end");
    chat.closeWhenDone();
    await loopToEnd(map);
    assertEquals(channel.sent, "start a0 a1 a2 between and b0 b1 end");
    for (const source of [first, empty, second]) assert(source.released);
    assertEquals([first.pulls, empty.pulls, second.pulls], [4, 1, 3]);
  });

  Deno.test(`AsyncChat.pushWithProducer() pulls only as the peer drains (${kind})`, async () => {
    const { chat, channel, map } = talk();
    const valve = new Valve(channel);
    const source = shape(() => "x".repeat(1_000));
    chat.pushWithProducer(source.producer);
    await rest(map);
    assertEquals(source.pulls, 66, "64 KiB of them");
    assertLess(chat.bufferedAmount, 67_000);
    for (let i = 0; i < 20; i++) {
      valve.step();
      await rest(map);
      assertLess(chat.bufferedAmount, 67_000);
    }
    const sent = channel.sent.length;
    assertEquals(source.pulls * 1_000, sent + chat.bufferedAmount);
    assertGreater(sent, 200_000);
    chat.abort();
    await turns();
    assert(source.released);
  });

  Deno.test(`AsyncChat.acOutBufferSize bounds what is pulled ahead (${kind})`, async () => {
    const { chat, channel, map } = talk();
    new Valve(channel);
    chat.acOutBufferSize = 50;
    const source = shape(() => "0123456789");
    chat.pushWithProducer(source.producer);
    await rest(map);
    assertEquals(source.pulls, 5);
  });

  for (const [end, play] of Object.entries(ENDS)) {
    Deno.test(`AsyncChat releases a producer when ${end} ends the connection (${kind})`, async () => {
      const map = quietMap();
      const channel = new FakeChannel();
      // It is read, although its peer takes nothing.
      const chat = new Talker(map, channel, { role: "client" });
      new Valve(channel);
      const sources = [1, 2, 3].map(() => shape(() => "x".repeat(40_000)));
      for (const { producer } of sources) chat.pushWithProducer(producer);
      await rest(map);
      play({ chat, channel, map });
      await rest(map);
      await turns();
      assertFalse(chat.connected);
      // A generator that never began has nothing to release.
      assert(sources[0]!.released);
      assertEquals(sources.map(({ pulls }) => pulls), [2, 0, 0]);
      chat.abort();
      await passes(map, 2);
    });
  }

  Deno.test(`AsyncChat hands what a producer throws to handleError(), which closes (${kind})`, async () => {
    const { chat, channel, map } = talk();
    const source = shape(failAfter("spam "));
    chat.push("first ");
    chat.pushWithProducer(source.producer);
    chat.push("never");
    await loopToEnd(map);
    assertEquals(chat.errors.map(String), ["TypeError: out of spam"]);
    assertEquals(chat.events, ["error", "close"]);
    assertEquals(channel.sent, "first spam ");
    assert(source.released);
  });

  Deno.test(`AsyncChat goes on behind a failed producer if handleError() does not close (${kind})`, async () => {
    const { chat, channel, map } = talk();
    chat.strict = false;
    for (const word of ["a ", "b "]) {
      chat.pushWithProducer(shape(failAfter(word)).producer);
      chat.push("then ");
    }
    chat.closeWhenDone();
    await loopToEnd(map);
    assertEquals(channel.sent, "a then b then ");
    assertEquals(chat.events, ["error", "error", "close"]);
  });
}

Deno.test("AsyncChat refuses what a producer must not give, and releases it", async () => {
  const { chat, channel, map } = talk();
  const source = observe(generate, () => 5 as never);
  chat.pushWithProducer(source.producer);
  chat.push("never");
  await loopToEnd(map);
  assertEquals(chat.errors.map(String), [
    "TypeError: What a producer gives must be a Uint8Array, got 5",
  ]);
  assertEquals([channel.sent, source.released], ["", true]);
});

Deno.test("AsyncChat tells a producer's failure in the loop, after the hook that pushed it", async () => {
  const { chat, channel, map } = talkInLines({
    found: () => {
      chat.pushWithProducer(failing());
      chat.events.push("pushed");
    },
  });
  channel.push("\n");
  await loopToEnd(map);
  assertEquals(chat.events, ["pushed", "error", "close"]);
});

Deno.test("AsyncChat waits for an async handleError() before it sends what follows", async () => {
  const gate = Promise.withResolvers<void>();
  const { chat, channel, map } = talk();
  chat.handleError = () => gate.promise;
  chat.pushWithProducer(failing());
  chat.push("then");
  await rest(map);
  assertEquals(channel.sent, "");
  gate.resolve();
  await rest(map);
  assertEquals(channel.sent, "then");
});

Deno.test("AsyncChat cancels a ReadableStream whose read is pending", async () => {
  const { chat, map } = talk();
  let reason: unknown = "not yet";
  chat.pushWithProducer(
    new ReadableStream<Uint8Array>({
      pull: () => new Promise(() => {}),
      cancel: (given) => void (reason = given),
    }),
  );
  await passes(map, 4);
  chat.close();
  await turns();
  assertEquals(reason, undefined);
});

Deno.test("AsyncChat drops a piece that comes after the connection ended", async () => {
  const { chat, channel, map } = talk();
  const { producer, give } = gated();
  chat.pushWithProducer(producer);
  await passes(map, 4);
  chat.close();
  const next = new FakeChannel();
  chat.setSocket(next);
  chat.push("new");
  give("old");
  await passes(map, 4);
  assertEquals([channel.sent, next.sent], ["", "new"]);
  assertEquals(chat.errors, []);
});

Deno.test("AsyncChat asks a source once at a time, also after a former life's", async () => {
  const { chat, map } = talk();
  const { producer, give } = gated();
  chat.pushWithProducer(producer);
  await passes(map, 4);
  chat.close();
  chat.setSocket(new FakeChannel());
  let pulls = 0;
  const more = () => {
    pulls++;
    return new Promise<never>(() => {});
  };
  chat.pushWithProducer({ more });
  give("old");
  await passes(map, 4);
  chat.pushWithProducer(["more"]);
  await passes(map, 4);
  assertEquals(pulls, 1);
});

Deno.test("AsyncChat.pushWithProducer() on a closed connection releases the source", async () => {
  const { chat } = talk();
  chat.close();
  let released = false;
  const cancel = () => void (released = true);
  chat.pushWithProducer(new ReadableStream<Uint8Array>({ cancel }));
  await turns();
  assert(released);
  assertEquals(chat.bufferedAmount, 0);
});

Deno.test("AsyncChat pulls nothing from an endless producer once writing has failed", async () => {
  const { chat, channel, map } = talk();
  channel.take = () => Promise.reject(new Deno.errors.BrokenPipe("gone"));
  let pulls = 0;
  const more = () => {
    pulls++;
    return "x".repeat(1_000);
  };
  chat.pushWithProducer({ more });
  await passes(map, 4);
  assertEquals(pulls, 66);
  channel.push(null);
  await loopToEnd(map);
  assertEquals(chat.events, ["close"]);
});

Deno.test("AsyncChat pulls nothing for a connection whose failure is not told yet", async () => {
  const { chat, channel, map } = talk();
  channel.take = () => Promise.reject(new Deno.errors.BrokenPipe("gone"));
  chat.push("spam");
  await passes(map, 4); // The peer's last words may still come.
  assert(chat.connected);
  let asked = 0;
  chat.pushWithProducer({ more: () => `${asked++}` });
  await passes(map, 4);
  assertEquals(asked, 0);
  channel.push(null);
  await loopToEnd(map);
});

Deno.test("AsyncChat.pushWithProducer() refuses what is no source", async () => {
  const { chat } = talk();
  for (const value of [null, undefined, 5, true, {}, () => "x", { more: 5 }]) {
    assertThrows(
      () => chat.pushWithProducer(value as never),
      TypeError,
      "producer must have a more() method",
    );
  }
  const locked = new ReadableStream<Uint8Array>();
  const reader = locked.getReader();
  assertThrows(() => chat.pushWithProducer(locked), TypeError);
  chat.acOutBufferSize = 0;
  assertThrows(() => chat.pushWithProducer([]), RangeError, "acOutBufferSize");
  await reader.cancel();
});

Deno.test("AsyncChat.pushWithProducer() skips empty pieces of an iterable", async () => {
  const { chat, channel, map } = talk();
  chat.pushWithProducer(["a", "", new Uint8Array(0), "b"]);
  chat.closeWhenDone();
  await loopToEnd(map);
  assertEquals(channel.sent, "ab");
});

for (const end of ["close", "abort", "discardBuffers"] as const) {
  Deno.test(`AsyncChat.${end}() in a generator releases that, and sends nothing of it`, async () => {
    const { chat, channel, map } = talk();
    let released = false;
    chat.push("before ");
    chat.pushWithProducer((function* () {
      try {
        chat[end]();
        yield "after";
      } finally {
        released = true;
      }
    })());
    await passes(map, 4);
    assert(released);
    assertFalse(channel.sent.includes("after"));
    chat.abort();
    await passes(map, 2);
  });
}

for (
  const [length, size, expected] of [
    [1_025, undefined, [512, 512, 1]],
    [1_025, 500, [500, 500, 25]],
    [1_025, Infinity, [1_025]],
    [0, undefined, []],
  ] as const
) {
  Deno.test(`SimpleProducer gives ${length} bytes in pieces of ${size ?? 512}`, () => {
    const producer = new SimpleProducer(new Uint8Array(length), size);
    for (const piece of [...expected, 0]) {
      assertEquals(producer.more().length, piece);
    }
  });
}

Deno.test("SimpleProducer refuses what is no size, and what are no bytes", () => {
  for (const size of [0, -1, 1.5, NaN]) {
    assertThrows(() => new SimpleProducer(bytes("spam"), size), RangeError);
  }
  assertThrows(() => new SimpleProducer("text" as never), TypeError);
});

Deno.test("AsyncChat.pushWithProducer() sends async pieces larger than its buffer", async () => {
  const map = new TestMap();
  const [near, far] = await connectedPair();
  const chat = new AsyncChat(near, { map });
  const pieces = Array.from({ length: 5 }, () => new Uint8Array(200_000));
  chat.pushWithProducer(ReadableStream.from(pieces));
  chat.closeWhenDone();
  const received = new Response(far.readable).bytes();
  await loopToEnd(map);
  assertEquals((await received).length, 1_000_000);
});

// The end of writing

const pieces = Array(100).fill("x".repeat(5_000));
const kinds = { sync: () => pieces, async: () => ReadableStream.from(pieces) };
for (const [kind, produce] of Object.entries(kinds)) {
  Deno.test(`AsyncChat.shutdownWrite() sends producers that are ${kind} to their ends, and what follows them`, async () => {
    const { chat, channel, map } = talk();
    channel.staysOpen = true;
    chat.pushWithProducer(produce());
    chat.push("tail");
    chat.shutdownWrite();
    assertThrows(() => chat.push("more"), Error, "ends its writing when done");
    await loopUntil(map, () => channel.writeEnded);
    assertEquals(channel.sent.length, 500_004);
    assertEquals(channel.sent.slice(-6), "xxtail");
    assertThrows(() => chat.push("more"), Error, "ended its writing direction");
  });
}

Deno.test("AsyncChat with allowHalfOpen ends its answer before it ends writing", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const chat = new Talker(map, channel, { allowHalfOpen: true });
  chat.setTerminator("\n");
  const { producer, give } = gated();
  chat.act.found = () => chat.pushWithProducer(producer);
  channel.push("GET\n", null);
  await rest(map);
  give("the answer");
  await loopToEnd(map);
  assertEquals([channel.sent, chat.events], ["the answer", ["close"]]);
});

Deno.test("AsyncChat asks no producer after its lifetime has ended the connection", async () => {
  const clock = new MockClock();
  const map = quietMap({ clock });
  const channel = new FakeChannel();
  const chat = new Talker(map, channel, { lifetime: 100 });
  const gate = Promise.withResolvers<void>();
  chat.act.collect = () => gate.promise;
  const looping = watch(loop({ map }));
  channel.push("spam");
  await clock.advance(100);
  let asked = 0;
  chat.pushWithProducer({ more: () => `${asked++}` });
  assertEquals(asked, 0);
  gate.resolve();
  await turns();
  assert(looping.settled);
});
