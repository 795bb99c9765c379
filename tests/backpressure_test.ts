/** A client that asks and takes no answers costs bounded memory. */

import {
  assertEquals,
  assertFalse,
  assertLess,
  assertThrows,
} from "@std/assert";
import {
  AsyncChat,
  type AsyncChatOptions,
  type Channel,
  DispatcherWithSend,
} from "../mod.ts";
import { Talker, Valve } from "./chats.ts";
import { loopToEnd, rest } from "./fakes.ts";
import { over, scopedMap } from "./scenes.ts";
import {
  DENO_CAN,
  loopUntil,
  rawConnect,
  type TestMap,
  TestServer,
} from "./support.ts";

const MARK = 64 * 1024;
/** What one read brings at most. */
const LARGEST_READ = 128 * 1024;

/** Sends back what it reads, as it comes. */
class Echo extends DispatcherWithSend {
  most = 0;
  received = 0;

  constructor(
    map: TestMap,
    channel: Channel,
    options: AsyncChatOptions = {},
  ) {
    super(channel, { ...options, map });
  }
  override handleRead(): void {
    const data = this.recv();
    this.received += data.length;
    this.send(data);
    this.most = Math.max(this.most, this.bufferedAmount);
  }
}

/** Answers a short line with a long one. */
class Amplifier extends Talker {
  most = 0;

  override foundTerminator(): void {
    this.push("x".repeat(10_000));
    this.taken += "|";
    this.most = Math.max(this.most, this.bufferedAmount);
  }
}

Deno.test("DispatcherWithSend is not read while its client takes nothing, and goes on when it does", async () => {
  const { map, channel, handler } = over(Echo);
  const valve = new Valve(channel);
  for (let i = 0; i < 200; i++) channel.push(new Uint8Array(64 * 1024));
  await rest(map);
  assertFalse(handler.readable());
  assertLess(handler.bufferedAmount, 2 * MARK);
  const { reads } = channel;
  await rest(map);
  assertEquals(channel.reads, reads);
  valve.open();
  channel.push(null);
  await loopToEnd(map);
  assertEquals(channel.sent.length, 200 * 64 * 1024);
  assertLess(handler.most, 2 * MARK);
});

Deno.test("DispatcherWithSend obeys a highWaterMark of its options", async () => {
  const { map, channel, handler } = over(Echo, { highWaterMark: 100 });
  new Valve(channel);
  for (let i = 0; i < 100; i++) channel.push("x".repeat(10));
  await rest(map);
  assertEquals(handler.bufferedAmount, 100);
  handler.abort();
});

Deno.test("DispatcherWithSend that says itself when to read is asked, and nobody else", async () => {
  const { map, channel, handler } = over(Echo);
  handler.readable = () => true;
  new Valve(channel);
  for (let i = 0; i < 20; i++) channel.push(new Uint8Array(64 * 1024));
  await loopUntil(map, () => handler.bufferedAmount === 20 * 64 * 1024);
  handler.abort();
});

Deno.test("a client's last bytes come although it was held back, and then its end", async () => {
  const { map, channel, handler } = over(Echo, { highWaterMark: 1 });
  const valve = new Valve(channel);
  channel.push("one", "two", "three", null);
  await rest(map);
  assertEquals(handler.received, 3);
  valve.open();
  await loopToEnd(map);
  assertEquals(channel.sent, "onetwothree");
});

Deno.test("a client that breaks while it is held back is told at once", async () => {
  const { map, channel, handler } = over(Echo, { highWaterMark: 1 });
  let fail = (_: Error) => {};
  channel.take = () => new Promise((_, reject) => fail = reject);
  channel.push("one", "two");
  await rest(map);
  assertFalse(handler.readable());
  fail(new Deno.errors.BrokenPipe("gone"));
  channel.push(null);
  await loopToEnd(map);
});

Deno.test("AsyncChat hands out no more lines while its client takes no answers", async () => {
  const { map, channel, handler } = over(Amplifier);
  const valve = new Valve(channel);
  handler.setTerminator("\n");
  // One packet of many lines would otherwise cost 10,000 bytes for each.
  channel.push("\n".repeat(5_000));
  await rest(map);
  assertFalse(handler.readable());
  assertLess(handler.most, MARK + 10_001);
  assertEquals(handler.taken.length, 7);
  valve.open();
  channel.push(null);
  await loopToEnd(map, 20_000);
  assertEquals(handler.taken.length, 5_000);
  assertLess(handler.most, MARK + 10_001);
  assertEquals(channel.sent.length, 5_000 * 10_000);
});

Deno.test("AsyncChat goes on with its lines when an unfinished producer was in the way", async () => {
  const piece = Promise.withResolvers<string>();
  class Mixed extends Amplifier {
    override foundTerminator(): void {
      if (this.taken === "") {
        this.pushWithProducer((async function* () {
          yield await piece.promise;
        })());
      }
      super.foundTerminator();
    }
  }
  const { map, channel, handler } = over(Mixed);
  handler.setTerminator("\n");
  channel.push("\n".repeat(50));
  await rest(map);
  assertFalse(handler.readable());
  assertEquals(handler.taken.length, 7, "the rest waits for the producer");
  piece.resolve("first ");
  channel.push(null);
  await loopToEnd(map);
  assertEquals(handler.taken.length, 50);
  assertEquals(channel.sent, "first " + "x".repeat(50 * 10_000));
});

Deno.test("AsyncChat.discardBuffers() makes room for what a client says", async () => {
  const { map, channel, handler } = over(Amplifier, { highWaterMark: 15_000 });
  handler.setTerminator("\n");
  new Valve(channel);
  channel.push("\n", "\n", "\n");
  await rest(map);
  assertEquals(handler.taken, "||", "one answer on its way, one behind it");
  handler.discardBuffers();
  await loopUntil(map, () => handler.taken === "|||");
  handler.abort();
});

for (const Class of [Echo, Amplifier]) {
  const name =
    `${Class.name} on a real socket costs no memory beyond the mark for a client that never reads`;
  Deno.test({ name, ignore: !DENO_CAN.endWrites }, async () => {
    await using map = scopedMap();
    let handler: Echo | Amplifier | undefined;
    const server = new TestServer(map, (conn) => {
      handler = new Class(map, conn);
      if (handler instanceof AsyncChat) handler.setTerminator("\n");
    });
    using peer = await rawConnect(server.addr);
    // It is through when the kernel's buffers are full both ways.
    const data = new TextEncoder().encode("a line\n".repeat(10_000));
    let isStuck = false;
    const flood = (async () => {
      while (!isStuck) {
        const late = setInterval(() => {
          isStuck ||= handler?.readable() === false;
        }, 300);
        await peer.write(data).catch(() => {});
        clearInterval(late);
      }
    })();
    try {
      await loopUntil(map, () => isStuck, 20_000);
      assertLess(handler!.most, MARK + LARGEST_READ);
      assertLess(handler!.bufferedAmount, MARK + LARGEST_READ);
    } finally {
      isStuck = true;
      handler?.abort();
      await flood;
    }
  });
}

Deno.test("AsyncChat takes its limits as options, and refuses wrong ones", () => {
  const { map, handler } = over(Talker, { maxLength: 5, highWaterMark: 7 });
  assertEquals([handler.maxLength, handler.highWaterMark], [5, 7]);
  for (const name of ["maxLength", "highWaterMark"]) {
    for (const wrong of [0, -1, 0.5, NaN]) {
      const make = () => new AsyncChat(null, { map, [name]: wrong });
      assertThrows(make, RangeError, `${name} must be an integer 1 or more`);
    }
  }
});
