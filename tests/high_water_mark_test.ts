/** `highWaterMark` that changes while much waits to be sent. */

import { assert, assertEquals, assertFalse } from "@std/assert";
import {
  type Channel,
  DispatcherWithSend,
  type DispatcherWithSendOptions,
  loop,
} from "../mod.ts";
import { block, never, Talker, Valve } from "./chats.ts";
import { FakeChannel, passes, quietMap, rest } from "./fakes.ts";
import { loopUntil, type TestMap, text, turns, until } from "./support.ts";

/** Takes in what comes, and sends what the test says. */
class Sender extends DispatcherWithSend {
  taken = "";
  drains = 0;

  give(data: Uint8Array): void {
    this.send(data);
  }
  override handleRead(): void {
    this.taken += text(this.recv());
  }
  override handleDrain(): void {
    this.drains++;
  }
}

/** The same as a conversation. */
class Chat extends Talker {
  constructor(channel: Channel, { map, ...options }: Options) {
    super(map, channel, options);
  }
  get drains(): number {
    return this.events.length;
  }
  give(data: Uint8Array): void {
    this.push(data);
  }
}

/** The same, with a predicate of its own. */
class Asked extends Sender {
  override readable(): boolean {
    return super.readable();
  }
}

/** The same, with bytes that wait for a producer. */
class Behind extends Chat {
  override give(data: Uint8Array): void {
    if (this.bufferedAmount === 0) this.pushWithProducer(never());
    super.give(data);
  }
}

type Options = DispatcherWithSendOptions & { map: TestMap };
/** One of the classes above. */
type Made<T extends Sender | Chat> = new (
  channel: Channel,
  options: Options,
) => T;

/** A dispatcher whose peer takes nothing until the valve lets it. */
function over<T extends Sender | Chat>(Class: Made<T>, mark: number) {
  const map = quietMap();
  const channel = new FakeChannel();
  const valve = new Valve(channel);
  const handler = new Class(channel, { map, highWaterMark: mark });
  return { map, channel, valve, handler };
}

const CLASSES: Made<Sender | Chat>[] = [Sender, Chat];

for (const Class of [...CLASSES, Asked, Behind]) {
  Deno.test(`${Class.name}.highWaterMark that is raised lets a full connection be read, without wake()`, async () => {
    const { map, channel, handler } = over(Class, 1_000);
    handler.give(block(5_000));
    channel.push("spam");
    await rest(map);
    assertEquals(handler.taken, "");
    // The loop waits already, with nothing else to wake it.
    const looping = loop({ map });
    await turns();
    handler.highWaterMark = 10_000;
    await until(() => handler.taken !== "", "what the peer said");
    assertEquals(handler.taken, "spam");
    handler.abort();
    await looping;
  });

  Deno.test(`${Class.name}.highWaterMark that is lowered below what waits holds the connection back`, async () => {
    const { map, channel, handler } = over(Class, 10_000);
    handler.give(block(5_000));
    channel.push("spam");
    await loopUntil(map, () => handler.taken === "spam");
    handler.highWaterMark = 5_000;
    channel.push("eggs", "ham");
    await rest(map);
    assertEquals(handler.taken, "spam");
    assertFalse(handler.readable());
    handler.highWaterMark = 5_001;
    await loopUntil(map, () => handler.taken === "spameggsham");
  });
}

for (const Class of CLASSES) {
  Deno.test(`${Class.name}.handleDrain() runs when a raised highWaterMark makes room`, async () => {
    const { map, handler } = over(Class, 1_000);
    handler.give(block(5_000));
    await rest(map);
    handler.highWaterMark = 9_000;
    await rest(map);
    assertEquals(handler.drains, 0, "more than half of it waits");
    handler.highWaterMark = 10_000;
    assertEquals(handler.drains, 0, "it is an event of the loop");
    await loopUntil(map, () => handler.drains === 1);
    await rest(map);
    assertEquals(handler.drains, 1);
  });

  Deno.test(`${Class.name}.handleDrain() runs at half of a highWaterMark that was lowered`, async () => {
    const { map, valve, handler } = over(Class, 10_000);
    for (const length of [1_000, 1_000, 500]) {
      handler.give(block(length));
      await passes(map, 2);
    }
    handler.highWaterMark = 2_000;
    await rest(map);
    valve.step();
    await loopUntil(map, () => handler.bufferedAmount === 1_500);
    await rest(map);
    assertEquals(handler.drains, 0);
    valve.step();
    await loopUntil(map, () => handler.drains === 1);
    valve.open();
    await loopUntil(map, () => handler.bufferedAmount === 0);
    await rest(map);
    assertEquals(handler.drains, 1);
  });

  Deno.test(`${Class.name}.highWaterMark that changes where little waits brings no handleDrain()`, async () => {
    const { map, handler } = over(Class, 1_000);
    handler.give(block(400));
    handler.highWaterMark = 500;
    handler.highWaterMark = 5_000;
    await rest(map);
    assertEquals(handler.drains, 0);
  });
}

Deno.test("AsyncChat.highWaterMark that is raised has lines handed out that waited in the middle of what was read", async () => {
  const { map, channel, handler } = over(Chat, 1_000);
  handler.setTerminator("\n");
  handler.foundTerminator = () => {
    handler.taken += "|";
    handler.push(block(600));
  };
  channel.push("\n".repeat(10));
  await loopUntil(map, () => handler.taken === "||");
  await rest(map);
  assertEquals(handler.taken, "||");
  handler.highWaterMark = 3_000;
  await loopUntil(map, () => handler.taken === "|||||");
  handler.highWaterMark = 1_000_000;
  await loopUntil(map, () => handler.taken === "|".repeat(10));
});

Deno.test("AsyncChat.highWaterMark may change before there is a socket, and after its end", async () => {
  for (const Class of CLASSES) {
    const { map, handler } = over(Class, 1_000);
    handler.give(block(5_000));
    handler.abort();
    handler.highWaterMark = 10;
    handler.highWaterMark = 10_000;
    await passes(map, 5);
    assertEquals(handler.drains, 0);
    handler.createSocket();
    handler.highWaterMark = 10;
    await passes(map, 5);
    assert(handler.readable());
    handler.close();
  }
});
