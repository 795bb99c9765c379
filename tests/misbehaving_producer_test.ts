/**
 * Producers that misbehave in each way, at each point: the chat that pushed them
 * is told while it is open, and nobody else notices.
 */

import { assert, assertEquals } from "@std/assert";
import { loop, type ProducerLike, shutdown } from "../mod.ts";
import { MockClock } from "../testing/mock_clock.ts";
import { Talker } from "./chats.ts";
import { Echo, FakeChannel, LogLines, quietMap, watch } from "./fakes.ts";
import {
  type Any,
  assertServed,
  FAILURES,
  FALSE_PROMISE,
  HANGS,
  type Instead,
  ODDITIES,
  rest,
  SHY,
  SPAM,
} from "./misbehaviours.ts";
import { bytes, captureRejections, turns, until } from "./support.ts";

// Producers and iterators

/** A kind of source: what it is made of, and what it gives for a piece. */
interface Shape {
  make(step: () => Any): ProducerLike;
  piece(value: unknown): unknown;
  end: unknown;
}

const SHAPES: Record<string, Shape> = {
  "more()": { make: (more) => ({ more }), piece: (value) => value, end: "" },
  "next()": {
    make: (next) => ({ [Symbol.iterator]: () => ({ next }) }),
    piece: (value) => ({ value }),
    end: { done: true },
  },
  "next() of an async iterator": {
    make: (next) => ({ [Symbol.asyncIterator]: () => ({ next }) }),
    piece: (value) => ({ value }),
    end: { done: true },
  },
};

/** What is neither bytes nor text. */
const NO_PIECES = [7, NaN, true, {}, [1], Symbol("spam"), 10n, SHY];

interface Way {
  name: string;
  instead: Instead;
  fails: boolean;
}

function waysOf({ piece }: Shape): Way[] {
  const ways = (kind: Record<string, Instead>, fails: boolean): Way[] =>
    Object.entries(kind).map(([name, instead]) => ({ name, instead, fails }));
  const nonsense = NO_PIECES.flatMap((value, i): [string, Instead][] => [
    [`gives nonsense ${i}`, () => piece(value)],
    [`resolves with nonsense ${i}`, () => Promise.resolve(piece(value))],
  ]);
  return [
    ...ways(FAILURES, true),
    ...ways(FALSE_PROMISE, true),
    ...ways(Object.fromEntries(nonsense), true),
    ...ways(HANGS, false),
    ...ways(ODDITIES, false),
  ];
}

/** A chat beside a neighbour, in a loop. */
function setUp() {
  const clock = new MockClock();
  const map = quietMap({ clock, logger: new LogLines() });
  const channel = new FakeChannel();
  const chat = new Talker(map, channel);
  const neighbour = new FakeChannel();
  const echo = new Echo(neighbour, { map });
  const ending = watch(loop({ map }));
  const closed = Promise.withResolvers<void>();
  const close = channel.close.bind(channel);
  channel.close = () => {
    closed.resolve();
    close();
  };
  const end = async () => {
    if (echo.connected) await assertServed(neighbour);
    chat.close();
    echo.close();
    await rest(clock);
    assert(ending.settled, "the loop has not ended");
    assertEquals([ending.error, map.size, map.lingering], [undefined, 0, 0]);
    assertEquals(map.errors, [], "onError() was told");
    assert(channel.closed, "it is left open");
  };
  return { clock, map, chat, channel, closed: closed.promise, end };
}

type Scene = ReturnType<typeof setUp>;

/** When a source misbehaves. */
interface Point {
  name: string;
  /** How many pieces it gives before that. */
  well: number;
  play(scene: Scene, source: ProducerLike): Promise<void>;
  /** The chat is still there to be told. */
  tells: boolean;
}

const POINTS: Point[] = [
  {
    name: "at first",
    well: 0,
    play: async ({ chat, clock }, source) => {
      chat.pushWithProducer(source);
      await rest(clock);
    },
    tells: true,
  },
  {
    name: "in the middle",
    well: 1,
    play: async ({ chat, clock }, source) => {
      chat.pushWithProducer(source);
      chat.push("behind");
      await rest(clock);
    },
    tells: true,
  },
  {
    name: "after closeWhenDone()",
    well: 1,
    play: async ({ chat, clock }, source) => {
      chat.pushWithProducer(source);
      chat.closeWhenDone();
      await rest(clock);
    },
    tells: true,
  },
  {
    name: "after shutdownWrite()",
    well: 1,
    play: async ({ chat, clock }, source) => {
      chat.pushWithProducer(source);
      chat.shutdownWrite();
      await rest(clock);
    },
    tells: true,
  },
  {
    name: "in shutdown()",
    well: 1,
    play: async ({ chat, clock, map }, source) => {
      chat.pushWithProducer(source);
      const ending = watch(shutdown({ map, deadline: 1_000 }));
      await rest(clock);
      assert(ending.settled, "shutdown() has not ended");
    },
    tells: true,
  },
  {
    name: "after close()",
    well: 1,
    play: async ({ chat, channel, clock }, source) => {
      channel.take = () => turns().then(() => 1);
      chat.pushWithProducer(source);
      chat.close();
      await rest(clock);
    },
    tells: false,
  },
  {
    name: "in discardBuffers()",
    well: 1,
    play: async ({ chat, channel, clock }, source) => {
      channel.take = () => turns().then(() => 1);
      chat.pushWithProducer(source);
      chat.discardBuffers();
      await rest(clock);
    },
    tells: false,
  },
];

for (const [shapeName, shape] of Object.entries(SHAPES)) {
  for (const point of POINTS) {
    Deno.test(`AsyncChat whose producer's ${shapeName} misbehaves ${point.name} is told, and nobody else`, async () => {
      for (const { name, instead, fails } of waysOf(shape)) {
        using rejections = captureRejections();
        const scene = setUp();
        const { chat, channel, closed } = scene;
        let pulls = 0;
        const source = shape.make(() => {
          if (pulls++ < point.well) return shape.piece("x");
          if (pulls > point.well + 1) return shape.end;
          return instead(() => shape.piece("y"), closed);
        });
        try {
          await point.play(scene, source);
          const isTold = fails && point.tells;
          assertEquals(chat.errors.length, isTold ? 1 : 0, "told");
          if (!fails && name === "settles twice" && point.tells) {
            const behind = point.name === "in the middle" ? "behind" : "";
            assertEquals(channel.sent, `${"x".repeat(point.well)}y${behind}`);
          }
          await scene.end();
          assertEquals(rejections.reasons, []);
        } catch (error) {
          throw new Error(name, { cause: error });
        }
      }
    });
  }

  Deno.test(`AsyncChat that is closed while its producer's ${shapeName} is pending hears nothing more`, async () => {
    for (const end of ["close", "abort", "discardBuffers"] as const) {
      for (const { name, instead } of waysOf(shape)) {
        using rejections = captureRejections();
        const scene = setUp();
        const { chat, closed } = scene;
        const gate = Promise.withResolvers<void>();
        const source = shape.make(() =>
          gate.promise.then(() => instead(() => shape.piece("y"), closed))
        );
        chat.pushWithProducer(source);
        await turns();
        chat[end]();
        gate.resolve();
        await rest(scene.clock);
        assertEquals(chat.errors, [], name);
        await scene.end();
        assertEquals(rejections.reasons, [], name);
      }
    }
  });
}

for (const kind of [Symbol.iterator, Symbol.asyncIterator]) {
  Deno.test(`AsyncChat whose ${kind.description} misbehaves in return() hears nothing of it`, async () => {
    for (const end of ["close", "abort", "discardBuffers"] as const) {
      const ways = { ...FAILURES, ...FALSE_PROMISE, ...HANGS, ...ODDITIES };
      for (const [name, instead] of Object.entries(ways)) {
        using rejections = captureRejections();
        const scene = setUp();
        const { chat, closed } = scene;
        const iterator = {
          next: () => new Promise(() => {}),
          return: () => instead(() => ({ done: true }), closed),
        };
        chat.pushWithProducer({ [kind]: () => iterator } as never);
        await turns();
        chat[end]();
        await rest(scene.clock);
        assertEquals(chat.errors, [], name);
        await scene.end();
        assertEquals(rejections.reasons, [], name);
      }
    }
  });
}

Deno.test("AsyncChat whose async generators reject on return() and while they end hears of the latter", async () => {
  using rejections = captureRejections();
  const scene = setUp();
  const fail = () => turns().then(() => Promise.reject(SPAM));
  async function* stubborn() {
    try {
      yield "x";
      await new Promise(() => {});
    } finally {
      await fail();
    }
  }
  async function* broken() {
    try {
      yield "y";
    } finally {
      await fail();
    }
  }
  scene.chat.strict = false;
  scene.chat.pushWithProducer(broken());
  scene.chat.pushWithProducer(stubborn());
  await rest(scene.clock);
  assertEquals(scene.chat.errors, [SPAM]);
  assertEquals(scene.channel.sent, "yx");
  scene.chat.close();
  await scene.end();
  assertEquals(rejections.reasons, []);
});

// Streams

/** Ways of a stream's source to end it, or to go on. */
const SOURCES: Record<
  string,
  (controller: ReadableStreamDefaultController<Any>) => unknown
> = {
  "errors": (controller) => controller.error(SPAM),
  "errors with undefined": (controller) => controller.error(),
  "errors with a shy object": (controller) => controller.error(SHY),
  "throws undefined": () => {
    throw undefined;
  },
  "rejects": () => Promise.reject(SPAM),
  "gives text": (controller) => controller.enqueue("spam"),
  "gives numbers": (controller) => controller.enqueue(7),
  "gives nothing": (controller) => controller.enqueue(undefined),
  "gives shy objects": (controller) => controller.enqueue(SHY),
};

for (const point of POINTS) {
  Deno.test(`AsyncChat whose ReadableStream misbehaves ${point.name} is told, and nobody else`, async () => {
    for (const [name, pull] of Object.entries(SOURCES)) {
      using rejections = captureRejections();
      const scene = setUp();
      let pulls = 0;
      const source = new ReadableStream({
        pull(controller): Any {
          if (pulls++ < point.well) return controller.enqueue(bytes("x"));
          if (pulls > point.well + 1) return controller.close();
          return pull(controller);
        },
        cancel: () => Promise.reject(SPAM),
      }, { highWaterMark: 0 });
      try {
        await point.play(scene, source);
        const isTold = point.tells && name !== "gives text";
        assertEquals(scene.chat.errors.length, isTold ? 1 : 0, "told");
        await scene.end();
        assertEquals(rejections.reasons, []);
      } catch (error) {
        throw new Error(name, { cause: error });
      }
    }
  });
}

const EMPTY: Record<string, () => ProducerLike> = {
  "ReadableStream": () =>
    new ReadableStream({
      pull: (controller) => controller.enqueue(new Uint8Array(0)),
    }),
  "generator": function* () {
    for (;;) yield "";
  },
  "async generator": async function* () {
    for (;;) yield "";
  },
};

for (const [kind, make] of Object.entries(EMPTY)) {
  Deno.test(`AsyncChat whose ${kind} gives empty pieces without end leaves others their turns`, async () => {
    const map = quietMap();
    const chat = new Talker(map, new FakeChannel());
    const neighbour = new FakeChannel();
    const echo = new Echo(neighbour, { map });
    const looping = loop({ map });
    chat.pushWithProducer(make());
    for (const word of ["spam", "eggs", "ham"]) {
      neighbour.push(word);
      await until(() => neighbour.sent.endsWith(word), "the echo");
    }
    chat.close();
    echo.close();
    await looping;
    map.check();
  });
}
