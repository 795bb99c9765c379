/** Clients that end their side behind the request, and want the whole answer. */

import { assert, assertEquals } from "@std/assert";
import { type Channel, type ProducerLike, shutdown } from "../mod.ts";
import { memoryPair } from "../testing/mod.ts";
import { talk, Talker, Valve } from "./chats.ts";
import { loopToEnd, passes, quietMap, rest, watch } from "./fakes.ts";
import { readAll } from "./scenes.ts";
import { bytes, loopUntil, type TestMap } from "./support.ts";
import { TRANSPORTS } from "./transports.ts";

const PIECE = 64 * 1024;
const PIECES = 64;
const filled = () => new Uint8Array(PIECE).fill(120);

/** `PIECES` pieces, in each way in which producers give them. */
const SOURCES: Record<string, () => ProducerLike> = {
  "an iterable": () => Array.from({ length: PIECES }, () => filled()),
  "an async iterable": async function* () {
    for (let i = 0; i < PIECES; i++) {
      // Later than the client's end.
      if (i % 16 === 0) await new Promise((resolve) => setTimeout(resolve, 20));
      yield filled();
    }
  },
  "a Producer": () => {
    let left = PIECES;
    return { more: () => left-- > 0 ? filled() : "" };
  },
  "a stream": () => {
    let left = PIECES;
    return new ReadableStream({
      pull: (sink) => left-- > 0 ? sink.enqueue(filled()) : sink.close(),
    });
  },
};

/** How an answer is finished. */
const FINISHES: Record<string, (chat: Talker) => void> = {
  "closeWhenDone()": (chat) => chat.closeWhenDone(),
  "shutdownWrite()": (chat) => chat.shutdownWrite(),
  "shutdown()": (chat) => void shutdown({ map: chat.map }),
};

/** A client asks, ends its side, and reads what it gets: all of the answer. */
async function ask(
  [ours, client]: [Channel, Channel],
  source: string,
  finish: string,
): Promise<void> {
  const map = quietMap();
  const chat = new Talker(map, ours);
  chat.setTerminator("\n");
  chat.foundTerminator = () => {
    chat.push("first ");
    chat.pushWithProducer(SOURCES[source]!());
    chat.push(" then ");
    chat.pushWithProducer(["last"]);
    FINISHES[finish]!(chat);
  };
  const read = async () => {
    await client.write(bytes("GET\n"));
    await client.closeWrite!();
    const { length } = await readAll(client);
    assertEquals(length, "first  then last".length + PIECES * PIECE);
    client.close();
  };
  const reading = watch(read());
  await loopToEnd(map);
  await loopUntil(map, () => reading.settled);
  assertEquals(reading.error, undefined);
  assertEquals(chat.events.filter((event) => event !== "drain"), ["close"]);
  assertEquals(chat.closeReason, null);
}

for (const source of Object.keys(SOURCES)) {
  for (const finish of Object.keys(FINISHES)) {
    Deno.test(`AsyncChat that ends by ${finish} gives a half-closed client all of ${source}`, () =>
      ask(memoryPair(), source, finish));
  }
}

for (const { name, ignore, connect } of TRANSPORTS) {
  Deno.test({
    name: `AsyncChat gives a half-closed client all of its answer over ${name}`,
    ignore,
    fn: async () =>
      await ask(await connect(), "an async iterable", "closeWhenDone()"),
  });
}

/** A chat that is asked, and whose producer waits for the gate. */
function gated() {
  const { chat, channel, map } = talk();
  const gate = Promise.withResolvers<string>();
  let isReleased = false;
  const producer = (async function* () {
    try {
      yield await gate.promise;
      yield "end";
    } finally {
      isReleased = true;
    }
  })();
  return { chat, channel, map, gate, producer, isReleased: () => isReleased };
}

Deno.test("AsyncChat.closeWhenDone() outlasts an end that came before the producer was pushed", async () => {
  const { chat, channel, map } = talk();
  const gate = Promise.withResolvers<void>();
  chat.foundTerminator = async () => {
    await gate.promise;
    chat.pushWithProducer(["one ", "two"]);
    chat.closeWhenDone();
  };
  chat.setTerminator("\n");
  channel.push("GET\n", null);
  await rest(map);
  gate.resolve();
  await loopToEnd(map);
  assertEquals(channel.sent, "one two");
  assertEquals(chat.events, ["close"]);
});

Deno.test("AsyncChat.closeWhenDone() outlasts an end behind bytes that nobody reads any more", async () => {
  const { chat, channel, map, gate, producer } = gated();
  chat.pushWithProducer(producer);
  chat.closeWhenDone();
  channel.push("and more", "of this", null);
  await rest(map);
  assertEquals(chat.events, []);
  gate.resolve("begin ");
  await loopToEnd(map);
  assertEquals(channel.sent, "begin end");
  assertEquals(chat.taken, "");
  assertEquals(chat.events, ["close"]);
});

Deno.test("AsyncChat.closeWhenDone() outlasts the end until the peer has taken all", async () => {
  const { chat, channel, map } = talk();
  const valve = new Valve(channel);
  chat.pushWithProducer(["short"]);
  chat.closeWhenDone();
  channel.push(null);
  await rest(map);
  assertEquals(chat.events, []);
  assert(chat.connected);
  valve.open();
  await loopToEnd(map);
  assertEquals(chat.events, ["close"]);
  assertEquals(channel.sent, "short");
});

Deno.test("AsyncChat without closeWhenDone() ends with its peer, the producers too", async () => {
  const { chat, channel, map, producer, gate, isReleased } = gated();
  chat.pushWithProducer(producer);
  await passes(map, 4);
  channel.push(null);
  await loopToEnd(map);
  assertEquals(chat.events, ["close"]);
  gate.resolve("late");
  await loopUntil(map, isReleased);
  assertEquals(channel.sent, "");
});

Deno.test("AsyncChat.closeWhenDone() does not outlast a reset behind the end", async () => {
  const { chat, channel, map, producer, gate, isReleased } = gated();
  channel.take = () => Promise.reject(new Deno.errors.ConnectionReset("gone"));
  chat.pushWithProducer(producer);
  chat.closeWhenDone();
  channel.push(null);
  await rest(map);
  assertEquals(chat.events, []);
  gate.resolve("begin");
  await loopToEnd(map);
  assertEquals(chat.events, ["close"]);
  assert(chat.closeReason instanceof Deno.errors.ConnectionReset);
  await loopUntil(map, isReleased);
});

Deno.test("AsyncChat.closeWhenDone() does not outlast a reset in place of the end", async () => {
  const { chat, channel, map, producer, gate, isReleased } = gated();
  chat.pushWithProducer(producer);
  chat.closeWhenDone();
  await passes(map, 4);
  channel.push(new Deno.errors.ConnectionReset("gone"));
  await loopToEnd(map);
  assertEquals(chat.events, ["close"]);
  gate.resolve("late");
  await loopUntil(map, isReleased);
});

Deno.test("AsyncChat.discardBuffers() that takes closeWhenDone() back tells the end after all", async () => {
  const { chat, channel, map, producer } = gated();
  chat.pushWithProducer(producer);
  chat.closeWhenDone();
  channel.push(null);
  await rest(map);
  assertEquals(chat.events, []);
  chat.discardBuffers();
  await loopToEnd(map);
  assertEquals(chat.events, ["close"]);
});

Deno.test("AsyncChat with allowHalfOpen hears of the end behind closeWhenDone(), once", async () => {
  class Open extends Talker {
    constructor(map: TestMap, channel: Channel | null) {
      super(map, channel, { allowHalfOpen: true });
    }
    override handleEnd(): void {
      this.events.push("end");
    }
  }
  const { chat, channel, map } = talk(Open);
  const gate = Promise.withResolvers<string>();
  chat.pushWithProducer({ more: () => gate.promise });
  chat.closeWhenDone();
  channel.push(null);
  await loopUntil(map, () => chat.events.length > 0);
  gate.resolve("");
  await loopToEnd(map);
  assertEquals(chat.events, ["end", "close"]);
});
