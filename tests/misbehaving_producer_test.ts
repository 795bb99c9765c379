/**
 * Producers that misbehave in each way, at each point: the chat that pushed them
 * is told while it is open, and nobody else notices.
 */

import { assert, assertEquals } from "@std/assert";
import { type ProducerLike, shutdown } from "../mod.ts";
import { Talker } from "./chats.ts";
import { FakeChannel, watch } from "./fakes.ts";
import {
  type Any,
  FAILURES,
  FALSE_PROMISE,
  HANGS,
  type Instead,
  ODDITIES,
  SHY,
  SPAM,
} from "./misbehaviours.ts";
import {
  assertTurns,
  neighbourhood,
  nonsense,
  tryAll,
} from "./neighbourhood.ts";
import { bytes, turns } from "./support.ts";

/** A chat beside a neighbour, in a loop. */
function setUp() {
  const scene = neighbourhood();
  const channel = new FakeChannel();
  const chat = new Talker(scene.map, channel);
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  const close = channel.close.bind(channel);
  channel.close = () => {
    resolve();
    close();
  };
  const end = async () => {
    await scene[Symbol.asyncDispose]();
    assert(channel.closed, "it is left open");
  };
  return { ...scene, chat, channel, closed, [Symbol.asyncDispose]: end };
}

type Scene = ReturnType<typeof setUp>;

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
const HARMLESS: Record<string, Instead> = { ...HANGS, ...ODDITIES };

function waysOf({ piece }: Shape): Record<string, Instead> {
  const wrong = nonsense(NO_PIECES, piece);
  return { ...FAILURES, ...FALSE_PROMISE, ...wrong, ...HARMLESS };
}

/** When a source misbehaves. */
interface Point {
  /** How many pieces it gives before that. */
  well: number;
  /** The chat is still there to be told. */
  tells: boolean;
  /** What follows when the source is pushed. */
  play(scene: Scene): void | Promise<void>;
}

const POINTS: Record<string, Point> = {
  "at first": { well: 0, tells: true, play: () => {} },
  "in the middle": {
    well: 1,
    tells: true,
    play: ({ chat }) => chat.push("behind"),
  },
  "after closeWhenDone()": {
    well: 1,
    tells: true,
    play: ({ chat }) => chat.closeWhenDone(),
  },
  "after shutdownWrite()": {
    well: 1,
    tells: true,
    play: ({ chat }) => chat.shutdownWrite(),
  },
  "in shutdown()": {
    well: 1,
    tells: true,
    play: async ({ map, settle }) => {
      const ending = watch(shutdown({ map, deadline: 1_000 }));
      await settle();
      assert(ending.settled, "shutdown() has not ended");
    },
  },
  "after close()": {
    well: 1,
    tells: false,
    play: ({ chat }) => chat.close(),
  },
  "in discardBuffers()": {
    well: 1,
    tells: false,
    play: ({ chat }) => chat.discardBuffers(),
  },
};

/** Has a source misbehave at a point; `isTold` says whether the chat must hear. */
async function play(
  scene: Scene,
  point: Point,
  source: ProducerLike,
  isTold: boolean,
): Promise<void> {
  const { chat, channel, settle } = scene;
  if (!point.tells) channel.take = () => turns().then(() => 1);
  chat.pushWithProducer(source);
  await point.play(scene);
  await settle();
  assertEquals(chat.errors.length, isTold && point.tells ? 1 : 0, "told");
}

for (const [shapeName, shape] of Object.entries(SHAPES)) {
  for (const [pointName, point] of Object.entries(POINTS)) {
    Deno.test(`AsyncChat whose producer's ${shapeName} misbehaves ${pointName} is told, and nobody else`, async () => {
      await tryAll(waysOf(shape), async (instead, name) => {
        await using scene = setUp();
        let pulls = 0;
        const source = shape.make(() => {
          if (pulls++ < point.well) return shape.piece("x");
          if (pulls > point.well + 1) return shape.end;
          return instead(() => shape.piece("y"), scene.closed);
        });
        await play(scene, point, source, !(name in HARMLESS));
        if (!(name in ODDITIES && point.tells)) return;
        const behind = pointName === "in the middle" ? "behind" : "";
        const expected = `${"x".repeat(point.well)}y${behind}`;
        assertEquals(scene.channel.sent, expected);
      });
    });
  }
}

// What ends before they do

for (const end of ["close", "abort", "discardBuffers"] as const) {
  for (const [shapeName, shape] of Object.entries(SHAPES)) {
    Deno.test(`AsyncChat.${end}() while its producer's ${shapeName} is pending hears nothing more of that`, async () => {
      await tryAll(waysOf(shape), async (instead) => {
        await using scene = setUp();
        const { chat, closed } = scene;
        const gate = Promise.withResolvers<void>();
        const source = shape.make(() =>
          gate.promise.then(() => instead(() => shape.piece("y"), closed))
        );
        chat.pushWithProducer(source);
        await turns();
        chat[end]();
        gate.resolve();
        await scene.settle();
        assertEquals(chat.errors, []);
      });
    });
  }

  for (const kind of [Symbol.iterator, Symbol.asyncIterator]) {
    Deno.test(`AsyncChat.${end}() whose ${kind.description} misbehaves in return() hears nothing of it`, async () => {
      const ways = { ...FAILURES, ...FALSE_PROMISE, ...HARMLESS };
      await tryAll(ways, async (instead) => {
        await using scene = setUp();
        const { chat, closed } = scene;
        const iterator = {
          next: () => new Promise(() => {}),
          return: () => instead(() => ({ done: true }), closed),
        };
        chat.pushWithProducer({ [kind]: () => iterator } as never);
        await turns();
        chat[end]();
        await scene.settle();
        assertEquals(chat.errors, []);
      });
    });
  }
}

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

for (const [pointName, point] of Object.entries(POINTS)) {
  Deno.test(`AsyncChat whose ReadableStream misbehaves ${pointName} is told, and nobody else`, async () => {
    await tryAll(SOURCES, async (pull, name) => {
      await using scene = setUp();
      let pulls = 0;
      const source = new ReadableStream({
        pull(controller): Any {
          if (pulls++ < point.well) return controller.enqueue(bytes("x"));
          if (pulls > point.well + 1) return controller.close();
          return pull(controller);
        },
        cancel: () => Promise.reject(SPAM),
      }, { highWaterMark: 0 });
      await play(scene, point, source, name !== "gives text");
    });
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
  Deno.test(`AsyncChat whose ${kind} gives empty pieces without end leaves others their turns`, () =>
    assertTurns((map) => {
      const chat = new Talker(map, new FakeChannel());
      chat.pushWithProducer(make());
      return chat;
    }));
}
