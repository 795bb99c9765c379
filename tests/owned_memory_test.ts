/**
 * What a caller hands in may change afterwards, and what is handed out belongs
 * to the caller: for each kind of bytes, also for a `Buffer`, of which `slice()`
 * is no copy.
 */

import { assertEquals, assertNotStrictEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import {
  AsyncChat,
  type Channel,
  channelFrom,
  Dispatcher,
  DispatcherWithSend,
  type ProducerLike,
  SimpleProducer,
} from "../mod.ts";
import { memoryPair } from "../testing/mod.ts";
import { Slab } from "../testing/slab.ts";
import { talk, Valve } from "./chats.ts";
import { FakeChannel, loopToEnd, quietMap, rest } from "./fakes.ts";
import { bytes, loopUntil, text } from "./support.ts";

/** Bytes of each kind, a part of a larger buffer. */
const KINDS: Record<string, (text: string) => Uint8Array> = {
  "a Uint8Array": (text) => bytes(`<${text}>`).subarray(1, -1),
  "a Buffer": (text) => Buffer.from(`<${text}>`).subarray(1, -1),
};

for (const [kind, make] of Object.entries(KINDS)) {
  /** Bytes, and what spoils them. */
  const spoilable = (text: string) => {
    const data = make(text);
    return { data, spoil: () => void data.fill(0) };
  };

  Deno.test(`AsyncChat.push() copies ${kind}, before and behind a producer`, async () => {
    const { chat, channel, map } = talk();
    const gate = Promise.withResolvers<string>();
    const first = spoilable("first ");
    const last = spoilable("last");
    chat.push(first.data);
    first.spoil();
    chat.pushWithProducer((async function* () {
      yield await gate.promise;
    })());
    chat.push(last.data);
    last.spoil();
    gate.resolve("then ");
    await loopUntil(map, () => channel.sent === "first then last");
    chat.abort();
  });

  Deno.test(`AsyncChat.setTerminator() copies ${kind}, and getTerminator() gives a copy`, async () => {
    const { chat, channel, map } = talk();
    const { data, spoil } = spoilable("\r\n");
    chat.setTerminator(data);
    spoil();
    const got = chat.getTerminator() as Uint8Array;
    assertEquals(text(got), "\r\n");
    got.fill(0);
    assertNotStrictEquals(chat.getTerminator(), got);
    channel.push("a\r", "\nb\r\n");
    await loopUntil(map, () => chat.taken === "a|b|");
    chat.abort();
  });

  Deno.test(`SimpleProducer copies ${kind}`, () => {
    const { data, spoil } = spoilable("spam");
    const producer = new SimpleProducer(data, 3);
    spoil();
    const first = producer.more();
    assertEquals(text(first), "spa");
    first.fill(0);
    assertEquals(text(producer.more()), "m");
  });

  Deno.test(`AsyncChat copies ${kind} that a producer gives and fills again`, async () => {
    const { data } = spoilable("....");
    const fill = (text: string) => {
      data.set(bytes(text));
      return data;
    };
    const words = ["spam", "eggs", "fish"];
    const sources: ProducerLike[] = [
      (function* () {
        for (const word of words) yield fill(word);
      })(),
      (async function* () {
        for (const word of words) yield await fill(word);
      })(),
      { more: () => words.length > 0 ? fill(words.shift()!) : "" },
    ];
    for (const source of sources) {
      const { chat, channel, map } = talk();
      const valve = new Valve(channel);
      chat.pushWithProducer(source);
      await rest(map);
      data.fill(0);
      valve.open();
      await loopUntil(map, () => channel.sent === "spameggsfish");
      chat.abort();
    }
  });

  for (const Class of [Dispatcher, DispatcherWithSend]) {
    Deno.test(`${Class.name}.send() copies ${kind}`, async () => {
      const map = quietMap();
      const channel = new FakeChannel();
      const valve = new Valve(channel);
      const sender = new Class(channel, { map });
      for (const word of ["spam", "eggs"]) {
        const { data, spoil } = spoilable(word);
        assertEquals(sender.send(data), 4);
        spoil();
      }
      valve.open();
      await loopUntil(map, () => channel.sent === "spameggs");
      sender.abort();
    });
  }

  Deno.test(`channelFrom() copies ${kind} that is written`, async () => {
    const { readable, writable } = new TransformStream<Uint8Array>(
      undefined,
      { highWaterMark: 9 },
      { highWaterMark: 9 },
    );
    const channel = channelFrom({ writable });
    const { data, spoil } = spoilable("spam");
    await channel.write(data);
    spoil();
    await channel.closeWrite!();
    assertEquals(await new Response(readable).text(), "spam");
    channel.close();
  });

  Deno.test(`memoryPair() copies ${kind} that is written`, async () => {
    const [ours, theirs] = memoryPair();
    const { data, spoil } = spoilable("spam");
    await ours.write(data);
    spoil();
    const target = new Uint8Array(4);
    await theirs.read(target);
    assertEquals(text(target), "spam");
  });

  Deno.test(`Slab copies ${kind}, small or large`, () => {
    for (const length of [10, 10_000]) {
      const { data, spoil } = spoilable("x".repeat(length));
      const copy = new Slab().copy(data);
      spoil();
      const copied = copy.buffer.subarray(copy.start, copy.end);
      assertEquals(text(copied), "x".repeat(length));
    }
  });
}

Deno.test("AsyncChat takes lines apart where recv() is overridden and gives a Buffer", async () => {
  const taken: Uint8Array[] = [];
  class Buffered extends AsyncChat {
    constructor(channel: Channel) {
      super(channel, { map });
      this.setTerminator("\r\n");
    }
    override recv(size: number): Uint8Array {
      return Buffer.from(super.recv(size));
    }
    override collectIncomingData(data: Uint8Array): void {
      taken.push(data);
    }
    override foundTerminator(): void {}
  }
  const map = quietMap();
  const channel = new FakeChannel();
  new Buffered(channel);
  channel.push("one\r", "\ntwo\rthree\r\n", null);
  await loopToEnd(map);
  assertEquals(taken.map(text), ["one", "two\rthree"]);
});

Deno.test("Dispatcher.recv() gives bytes that nothing overwrites, nor the caller's changes reach", async () => {
  const pieces: Uint8Array[] = [];
  class Reader extends Dispatcher {
    override handleRead(): void {
      const piece = this.recv(3);
      pieces.push(piece);
      piece.fill(46); // "."
    }
  }
  const map = quietMap();
  const channel = new FakeChannel();
  new Reader(channel, { map });
  channel.push("spameggs", "more", null);
  await loopToEnd(map);
  const lengths = pieces.map(({ length }) => length).filter(Boolean);
  assertEquals(lengths, [3, 3, 2, 3, 1]);
  for (const piece of pieces) {
    assertEquals(text(piece), ".".repeat(piece.length));
  }
});
