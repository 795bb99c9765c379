import {
  assert,
  assertEquals,
  assertFalse,
  assertGreater,
  assertLess,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  AsyncChat,
  type Channel,
  loop,
  type Producer,
  type ProducerLike,
  SimpleProducer,
} from "../mod.ts";
import { talk, Talker, Valve } from "./chats.ts";
import {
  FakeChannel,
  LogLines,
  loopToEnd,
  passes,
  quietMap,
  rest,
  watch,
} from "./fakes.ts";
import { MockClock } from "../testing/mock_clock.ts";
import {
  bytes,
  connectedPair,
  loopUntil,
  TestMap,
  turn,
  turns,
} from "./support.ts";

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

function streamOf(give: Give, seen: Observed): ReadableStream<Uint8Array> {
  const pull = (controller: ReadableStreamDefaultController<Uint8Array>) => {
    let piece: string | null = null;
    try {
      piece = give(seen.pulls++);
    } finally {
      seen.released = piece === null;
    }
    if (piece === null) controller.close();
    else controller.enqueue(bytes(piece));
  };
  const cancel = () => void (seen.released = true);
  return new ReadableStream({ pull, cancel }, { highWaterMark: 0 });
}

/** A producer has nothing to release. */
function producerOf(give: Give, seen: Observed): Producer {
  seen.released = true;
  return { more: () => give(seen.pulls++) ?? "" };
}

function asyncProducerOf(give: Give, seen: Observed): Producer {
  const { more } = producerOf(give, seen);
  return {
    more: async () => {
      await Promise.resolve();
      return more();
    },
  };
}

/** The same source in each shape that can be pushed. */
const SHAPES: Record<string, Shape> = {
  "a Producer": producerOf,
  "an async Producer": asyncProducerOf,
  "a generator": generate,
  "an async generator": generateAsync,
  "a ReadableStream": streamOf,
};

/** Runs a test once for each shape of a source. */
function testShapes(
  name: string,
  test: (shape: (give: Give) => Observed) => Promise<void>,
): void {
  for (const [kind, shape] of Object.entries(SHAPES)) {
    const observe = (give: Give): Observed => {
      const seen: Observed = { producer: "", pulls: 0, released: false };
      seen.producer = shape(give, seen);
      return seen;
    };
    Deno.test(`${name} (${kind})`, () => test(observe));
  }
}

const upTo = (count: number, piece: (i: number) => string): Give => (i) =>
  i < count ? piece(i) : null;

testShapes(
  "AsyncChat.pushWithProducer() keeps the order among pushes",
  async (shape) => {
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
  },
);

testShapes(
  "AsyncChat.pushWithProducer() pulls only as the peer drains",
  async (shape) => {
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
  },
);

testShapes(
  "AsyncChat.acOutBufferSize bounds what is pulled ahead",
  async (shape) => {
    const { chat, channel, map } = talk();
    new Valve(channel);
    chat.acOutBufferSize = 50;
    const source = shape(() => "0123456789");
    chat.pushWithProducer(source.producer);
    await rest(map);
    assertEquals(source.pulls, 5);
    chat.abort();
    await turns();
  },
);

testShapes(
  "AsyncChat releases a producer when the connection ends",
  async (shape) => {
    for (const end of ["close", "abort", "peer", "broken"] as const) {
      const map = quietMap();
      const channel = new FakeChannel();
      // It is read, although its peer takes nothing.
      const chat = new Talker(map, channel, { role: "client" });
      new Valve(channel);
      const sources = [1, 2, 3].map(() => shape(() => "x".repeat(40_000)));
      for (const { producer } of sources) chat.pushWithProducer(producer);
      await rest(map);
      const pulls = sources.map((source) => source.pulls);
      assertEquals(pulls, [2, 0, 0]);
      if (end === "peer") channel.push(null);
      else if (end === "broken") {
        channel.push(new Deno.errors.ConnectionReset("gone"));
      } else chat[end]();
      await rest(map);
      await turns();
      assertFalse(chat.connected, end);
      // A generator that never began has nothing to release.
      assert(sources[0]!.released, end);
      assertEquals(sources.map((source) => source.pulls), pulls);
      chat.abort();
      await passes(map, 2);
    }
  },
);

testShapes(
  "AsyncChat hands what a producer throws to handleError(), which closes",
  async (shape) => {
    const { chat, channel, map } = talk();
    const source = shape((pull) => {
      if (pull === 1) throw new TypeError("out of spam");
      return "spam ";
    });
    chat.push("first ");
    chat.pushWithProducer(source.producer);
    chat.push("never");
    await loopToEnd(map);
    assertEquals(chat.errors.map(String), ["TypeError: out of spam"]);
    assertEquals(chat.events, ["error", "close"]);
    assertEquals(channel.sent, "first spam ");
    assert(source.released);
  },
);

testShapes(
  "AsyncChat goes on behind a failed producer if handleError() does not close",
  async (shape) => {
    const { chat, channel, map } = talk();
    chat.strict = false;
    for (const word of ["a ", "b "]) {
      const source = shape((pull) => {
        if (pull === 1) throw new Error("failed");
        return word;
      });
      chat.pushWithProducer(source.producer);
      chat.push("then ");
    }
    chat.closeWhenDone();
    await loopToEnd(map);
    assertEquals(channel.sent, "a then b then ");
    assertEquals(chat.events, ["error", "error", "close"]);
  },
);

Deno.test("AsyncChat refuses what a producer must not give, and releases it", async () => {
  for (const [kind, shape] of Object.entries(SHAPES)) {
    const { chat, channel, map } = talk();
    const seen: Observed = { producer: "", pulls: 0, released: false };
    const wrong = 5 as never;
    // What makes bytes of text in these would not let it pass.
    const isStrict = kind === "an async generator" || shape === streamOf;
    if (isStrict) {
      seen.producer = async function* () {
        try {
          await Promise.resolve();
          yield wrong;
        } finally {
          seen.released = true;
        }
      }();
    } else seen.producer = shape(() => wrong, seen);
    chat.pushWithProducer(seen.producer);
    chat.push("never");
    await loopToEnd(map);
    assertEquals(chat.errors.map(String), [
      "TypeError: What a producer gives must be a Uint8Array, got 5",
    ], kind);
    assertEquals(channel.sent, "");
    assert(seen.released, kind);
  }
});

Deno.test("AsyncChat tells a producer's failure in the loop, after the hook that pushed it", async () => {
  const trace: string[] = [];
  class Pushing extends Talker {
    override foundTerminator(): void {
      this.pushWithProducer({
        more: () => {
          throw new Error("at once");
        },
      });
      trace.push("pushed");
    }
    override handleError(error: unknown): void {
      trace.push("error");
      super.handleError(error);
    }
  }
  const { chat, channel, map } = talk(Pushing);
  chat.setTerminator("\n");
  channel.push("\n");
  await loopToEnd(map);
  assertEquals(trace, ["pushed", "error"]);
});

Deno.test("AsyncChat waits for an async handleError() before it sends what follows", async () => {
  const gate = Promise.withResolvers<void>();
  class Patient extends Talker {
    override handleError(): Promise<void> {
      this.events.push("error");
      return gate.promise;
    }
  }
  const { chat, channel, map } = talk(Patient);
  chat.pushWithProducer({
    more: () => {
      throw new Error("at once");
    },
  });
  chat.push("then");
  await rest(map);
  assertEquals(channel.sent, "");
  gate.resolve();
  await rest(map);
  assertEquals(channel.sent, "then");
  assertEquals(chat.events, ["error"]);
  chat.abort();
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
  const gate = Promise.withResolvers<Uint8Array>();
  chat.pushWithProducer({ more: () => gate.promise });
  await passes(map, 4);
  chat.close();
  const next = new FakeChannel();
  chat.setSocket(next);
  chat.push("new");
  gate.resolve(bytes("old"));
  await passes(map, 4);
  assertEquals([channel.sent, next.sent], ["", "new"]);
  assertEquals(chat.errors, []);
  chat.abort();
});

Deno.test("AsyncChat asks a source once at a time, also after a former life's", async () => {
  const { chat, map } = talk();
  const old = Promise.withResolvers<Uint8Array>();
  chat.pushWithProducer({ more: () => old.promise });
  await passes(map, 4);
  chat.close();
  chat.setSocket(new FakeChannel());
  let pulls = 0;
  const more = () => {
    pulls++;
    return new Promise<never>(() => {});
  };
  chat.pushWithProducer({ more });
  old.resolve(bytes("old"));
  await passes(map, 4);
  chat.pushWithProducer(["more"]);
  await passes(map, 4);
  assertEquals(pulls, 1);
  chat.abort();
});

Deno.test("AsyncChat ignores a source that fails to stop", async () => {
  const stop = () => {
    throw new Error("will not stop");
  };
  const pending = () => new Promise<never>(() => {});
  const sources: ProducerLike[] = [
    {
      [Symbol.iterator]: () => ({ next: () => ({ value: "x" }), return: stop }),
    },
    {
      [Symbol.asyncIterator]: () => ({
        next: pending,
        return: () => Promise.reject(new Error("will not stop")),
      }),
    },
    { [Symbol.asyncIterator]: () => ({ next: pending, return: stop }) },
    { [Symbol.asyncIterator]: () => ({ next: pending }) },
    new ReadableStream({ pull: pending, cancel: stop }),
  ];
  for (const source of sources) {
    const { chat, channel, map } = talk();
    new Valve(channel);
    chat.pushWithProducer(source);
    await passes(map, 4);
    chat.abort();
    await passes(map, 2);
    await turns();
    map.check();
    assertEquals(chat.errors, []);
  }
});

Deno.test("AsyncChat.pushWithProducer() on a closed connection releases the source", async () => {
  const map = quietMap();
  const { chat } = talk(Talker, map);
  chat.close();
  let released = false;
  const stream = new ReadableStream<Uint8Array>({
    cancel: () => void (released = true),
  });
  chat.pushWithProducer(stream);
  await turns();
  assert(released);
  assertEquals(chat.bufferedAmount, 0);
});

Deno.test("AsyncChat pulls nothing from an endless producer once writing has failed", async () => {
  const { chat, channel, map } = talk();
  channel.take = () => Promise.reject(new Deno.errors.BrokenPipe("gone"));
  let pulls = 0;
  chat.pushWithProducer(function* () {
    for (;;) {
      pulls++;
      yield "x".repeat(1_000);
    }
  }());
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
  const source = { pulls: 0, producer: "", released: false };
  chat.pushWithProducer(generate((pull) => pull < 9_999 ? "x" : null, source));
  await passes(map, 4);
  assertEquals(source.pulls, 0);
  channel.push(null);
  await loopToEnd(map);
});

Deno.test("AsyncChat drops a producer's failure after the connection ended", async () => {
  const { chat, map } = talk();
  const gate = Promise.withResolvers<Uint8Array>();
  chat.pushWithProducer({ more: () => gate.promise });
  await passes(map, 4);
  chat.close();
  gate.reject(new Error("too late"));
  await turns();
  map.check();
  assertEquals(chat.errors, []);
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
  chat.abort();
});

Deno.test("AsyncChat.pushWithProducer() skips empty pieces of an iterable", async () => {
  const { chat, channel, map } = talk();
  chat.pushWithProducer(["a", "", new Uint8Array(0), "b"]);
  chat.closeWhenDone();
  await loopToEnd(map);
  assertEquals(channel.sent, "ab");
});

Deno.test("AsyncChat may be closed by the producer that it asks", async () => {
  for (const end of ["close", "abort", "discardBuffers"] as const) {
    const { chat, channel, map } = talk();
    chat.push("before ");
    const more = () => {
      chat[end]();
      return "after";
    };
    chat.pushWithProducer({ more } satisfies Producer);
    await passes(map, 4);
    chat.abort();
    await passes(map, 2);
    assertFalse(channel.sent.includes("after"), end);
  }
});

Deno.test("SimpleProducer gives pieces of 512 bytes, or of a given size", () => {
  const data = bytes("x".repeat(1_025));
  const sizes = (producer: SimpleProducer) => {
    const lengths: number[] = [];
    for (;;) {
      const { length } = producer.more();
      if (length === 0) return lengths;
      lengths.push(length);
    }
  };
  assertEquals(sizes(new SimpleProducer(data)), [512, 512, 1]);
  assertEquals(sizes(new SimpleProducer(data, 500)), [500, 500, 25]);
  assertEquals(sizes(new SimpleProducer(data, Infinity)), [1_025]);
  assertEquals(sizes(new SimpleProducer(new Uint8Array(0))), []);
  for (const size of [0, -1, 1.5, NaN]) {
    assertThrows(() => new SimpleProducer(data, size), RangeError);
  }
  assertThrows(() => new SimpleProducer("text" as never), TypeError);
});

Deno.test("AsyncChat.pushWithProducer() sends async pieces larger than its buffer", async () => {
  const map = new TestMap();
  const [near, far] = await connectedPair();
  const chat = new AsyncChat(near, { map });
  async function* pieces() {
    for (let i = 0; i < 5; i++) yield await new Uint8Array(3 * 65_536);
  }
  chat.pushWithProducer(pieces());
  chat.closeWhenDone();
  const received = new Response(far.readable).bytes();
  await loopToEnd(map);
  assertEquals((await received).length, 5 * 3 * 65_536);
});

// The end of writing

for (const kind of ["sync", "async"]) {
  Deno.test(`AsyncChat.shutdownWrite() sends producers that are ${kind} to their ends, and what follows them`, async () => {
    const { chat, channel, map } = talk();
    channel.staysOpen = true;
    chat.pushWithProducer(
      kind === "sync"
        ? Array(100).fill("x".repeat(5_000))
        : (async function* () {
          for (const piece of Array(100).fill("x".repeat(5_000))) yield piece;
        })(),
    );
    chat.push("tail");
    chat.shutdownWrite();
    assertThrows(() => chat.push("more"), Error, "ends its writing when done");
    await loopUntil(map, () => channel.writeEnded);
    assertEquals(channel.sent.length, 500_004);
    assertEquals(channel.sent.slice(-6), "xxtail");
    assertThrows(() => chat.push("more"), Error, "ended its writing direction");
    chat.abort();
  });
}

Deno.test("AsyncChat with allowHalfOpen ends its answer before it ends writing", async () => {
  class Answering extends Talker {
    constructor(map: TestMap, channel: Channel | null) {
      super(map, channel, { allowHalfOpen: true });
    }
    override foundTerminator(): void {
      this.pushWithProducer((async function* () {
        yield "one ";
        await turn();
        yield "two";
      })());
    }
  }
  const { chat, channel, map } = talk(Answering);
  chat.setTerminator("\n");
  channel.push("GET\n", null);
  await loopToEnd(map);
  assertEquals(channel.sent, "one two");
  assertEquals(chat.events, ["close"]);
});

Deno.test("AsyncChat releases a generator that closes it", async () => {
  const { chat, map } = talk();
  let isReleased = false;
  chat.pushWithProducer((function* () {
    try {
      chat.close();
      yield "never sent";
    } finally {
      isReleased = true;
    }
  })());
  await passes(map, 2);
  assert(isReleased);
});

Deno.test("AsyncChat.close() warns of what is lost behind a producer", () => {
  const logger = new LogLines();
  const { chat } = talk();
  chat.logger = logger;
  chat.pushWithProducer({ more: () => new Promise<never>(() => {}) });
  chat.push("12345");
  chat.close();
  assertEquals(logger.lines.length, 1);
  assertStringIncludes(logger.lines[0]!, "lost 5 bytes");
});

Deno.test("AsyncChat asks no producer after its lifetime has ended the connection", async () => {
  const clock = new MockClock();
  const map = quietMap({ clock });
  const channel = new FakeChannel();
  const chat = new Talker(map, channel, { lifetime: 100 });
  const gate = Promise.withResolvers<void>();
  chat.collectIncomingData = () => gate.promise;
  const looping = watch(loop({ map }));
  channel.push("spam");
  await clock.advance(100);
  let asked = 0;
  chat.pushWithProducer({
    more: () => {
      asked++;
      return "eggs";
    },
  });
  assertEquals(asked, 0);
  gate.resolve();
  await turns();
  assert(looping.settled);
});
