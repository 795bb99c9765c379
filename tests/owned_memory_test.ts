/**
 * A caller may change the bytes that it handed in, and owns the bytes that it was
 * given: for each kind of bytes, also for a `Buffer`, whose `slice()` makes no
 * copy.
 */

import { assertEquals, assertNotStrictEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import {
  channelFrom,
  Dispatcher,
  DispatcherWithSend,
  type ProducerLike,
  SimpleProducer,
} from "../mod.ts";
import { memoryPair } from "../testing/mod.ts";
import { gated, talk, Valve } from "./chats.ts";
import { FakeChannel, loopToEnd, quietMap, rest } from "./fakes.ts";
import { bytes, loopUntil, text } from "./support.ts";
import { Slab } from "../testing/slab.ts";

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
    const { producer, give } = gated();
    const first = spoilable("first ");
    const last = spoilable("last");
    chat.push(first.data);
    first.spoil();
    chat.pushWithProducer(producer);
    chat.push(last.data);
    last.spoil();
    give("then ");
    await loopUntil(map, () => channel.sent === "first then last");
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
      { [Symbol.iterator]: () => words.values().map(fill) },
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
    const target = new Uint8Array(4);
    const { data, spoil } = spoilable("spam");
    await ours.write(data);
    spoil();
    await theirs.read(target);
    assertEquals(text(target), "spam");
  });

  Deno.test(`Slab copies ${kind}, small or large`, () => {
    for (const length of [10, 10_000]) {
      const { data, spoil } = spoilable("x".repeat(length));
      const { buffer, start, end } = new Slab().copy(data);
      spoil();
      assertEquals(text(buffer.subarray(start, end)), "x".repeat(length));
    }
  });
}

Deno.test("AsyncChat takes lines apart where recv() is overridden and gives a Buffer", async () => {
  const { chat, channel, map } = talk();
  const { recv } = chat;
  chat.recv = (size) => Buffer.from(recv.call(chat, size));
  chat.setTerminator("\r\n");
  channel.push("one\r", "\ntwo\rthree\r\n", null);
  await loopToEnd(map);
  assertEquals(chat.taken, "one|two\rthree|");
});

Deno.test("Dispatcher.recv() gives bytes that nothing overwrites, nor the caller's changes reach", async () => {
  const pieces: Uint8Array[] = [];
  const map = quietMap();
  const channel = new FakeChannel();
  const reader = new Dispatcher(channel, { map });
  reader.handleRead = () => void pieces.push(reader.recv(3).fill(46)); // "."
  channel.push("spameggs", "more", null);
  await loopToEnd(map);
  assertEquals(
    pieces.map(text).filter(Boolean),
    ["...", "...", "..", "...", "."],
  );
});
