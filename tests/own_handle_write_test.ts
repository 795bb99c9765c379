/** A handleWrite() of a class that buffers: it sends what is buffered, as in Python. */

import { assert, assertEquals, assertGreater, assertLess } from "@std/assert";
import { DispatcherWithSend, loop } from "../mod.ts";
import { MockClock } from "../testing/mod.ts";
import { block, countTurns, gated, talk, Talker, Valve } from "./chats.ts";
import { FakeChannel, loopToEnd, quietMap, rest } from "./fakes.ts";
import { loopUntil, type TestMap, turns, until } from "./support.ts";

const SIZE = 500_000;
const PIECE = 65_536;

/** Whether `handleWrite()` goes on sending, and how often it was called. */
class Chat extends Talker {
  goesOn = true;
  writes = 0;

  override handleWrite(): void | Promise<void> {
    this.writes++;
    if (this.goesOn) return super.handleWrite();
  }
}
class Sender extends DispatcherWithSend {
  goesOn = true;
  writes = 0;

  constructor(map: TestMap, channel: FakeChannel) {
    super(channel, { map });
  }
  override handleWrite(): void | Promise<void> {
    this.writes++;
    if (this.goesOn) return super.handleWrite();
  }
  push(data: Uint8Array): void {
    this.send(data);
  }
}
/** The same by the layer above. */
class EventChat extends Talker {
  goesOn = true;
  writes = 0;

  override handleWriteEvent(): void | Promise<void> {
    this.writes++;
    if (this.goesOn) return super.handleWriteEvent();
  }
}
/** With a predicate of its own. */
class AskedChat extends Chat {
  override writable(): boolean {
    return super.writable();
  }
}

/** A conversation of one of these classes, and the channel that it sends to. */
function start(Class: typeof Chat | typeof Sender | typeof EventChat) {
  const map = quietMap();
  const channel = new FakeChannel();
  const chat = new Class(map, channel);
  return { map, channel, chat };
}

for (const Class of [Chat, Sender, EventChat, AskedChat]) {
  Deno.test(`handleWrite() is called for what is buffered: ${Class.name}`, async () => {
    const { map, channel, chat } = start(Class);
    chat.push(block(SIZE));
    await loopUntil(map, () => channel.written === SIZE);
    assertGreater(chat.writes, 5);
    chat.abort();
  });
}

for (const Class of [Chat, Sender, EventChat]) {
  Deno.test(`handleWrite() without super holds back all but a piece, and the close sends the rest: ${Class.name}`, async () => {
    const { map, channel, chat } = start(Class);
    chat.goesOn = false;
    chat.push(block(SIZE));
    await rest(map);
    assertEquals(channel.written, PIECE);
    chat.close();
    await loopToEnd(map);
    assertEquals(channel.written, SIZE);
  });

  Deno.test(`handleWrite() that goes on after a while sends the rest: ${Class.name}`, async () => {
    const { map, channel, chat } = start(Class);
    chat.goesOn = false;
    chat.push(block(SIZE));
    await rest(map);
    map.callLater(1, () => void (chat.goesOn = true));
    await loopUntil(map, () => channel.written === SIZE);
    chat.abort();
  });

  Deno.test(`handleWrite() that leaves bytes waiting does not keep the loop busy: ${Class.name}`, async () => {
    const clock = new MockClock();
    const map = quietMap({ clock });
    const chat = new Class(map, new FakeChannel());
    chat.goesOn = false;
    chat.push(block(SIZE));
    assertLess(await countTurns(map, clock), 250);
    chat.abort();
    await clock.advance(1_000);
  });
}

Deno.test("handleWrite() without super holds back all but a piece of acOutBufferSize bytes", async () => {
  const { chat, channel, map } = talk(Chat);
  chat.goesOn = false;
  chat.acOutBufferSize = 4;
  chat.push("spam and eggs");
  await rest(map);
  assertEquals(channel.sent, "spam");
  chat.abort();
});

Deno.test("handleWrite() without super holds back the pieces of a producer, too", async () => {
  const { map, channel, chat } = start(Chat);
  const talker = chat as Chat;
  talker.goesOn = false;
  talker.pushWithProducer(["spam ", "and ", "eggs"]);
  await rest(map);
  assertEquals(channel.sent, "spam ");
  talker.goesOn = true;
  talker.closeWhenDone();
  await loopToEnd(map);
  assertEquals(channel.sent, "spam and eggs");
});

Deno.test("handleWrite() without super and with a producer does not keep the loop busy", async () => {
  const clock = new MockClock();
  const { chat, map } = talk(Chat, quietMap({ clock }));
  chat.goesOn = false;
  chat.pushWithProducer(new Array(9).fill(block(PIECE)));
  assertLess(await countTurns(map, clock), 250);
  chat.abort();
  await clock.advance(1_000);
});

Deno.test("handleWrite() sends what an async producer gives, to the end of the writing", async () => {
  const { chat, channel, map } = talk(Chat);
  const { producer, give } = gated();
  chat.pushWithProducer(producer);
  chat.push("!");
  chat.shutdownWrite();
  await rest(map);
  assertEquals(chat.writes, 0);
  give("spam");
  await loopUntil(map, () => channel.writeEnded);
  assertEquals(channel.sent, "spam!");
  assertGreater(chat.writes, 0);
  chat.abort();
});

Deno.test("handleWrite() is called for what an async producer gives while the loop waits", async () => {
  const { chat, channel, map } = talk(Chat);
  const { producer, give } = gated();
  chat.pushWithProducer(producer);
  const looping = loop({ map, timeout: Infinity });
  await turns(); // The loop waits.
  give("spam");
  await until(() => channel.sent === "spam", "the piece");
  chat.close();
  await looping;
});

Deno.test("handleWrite() without super holds back what an async producer gives", async () => {
  const { chat, channel, map } = talk(Chat);
  chat.goesOn = false;
  const { producer, give } = gated();
  chat.pushWithProducer(producer);
  give("spam");
  await loopUntil(map, () => chat.bufferedAmount === 4);
  await rest(map);
  assertEquals(channel.sent, "");
  chat.abort();
});

Deno.test("handleWrite() that is async sends on after an await", async () => {
  class Late extends Chat {
    override async handleWrite() {
      await Promise.resolve();
      await super.handleWrite();
    }
  }
  const { chat, channel, map } = talk(Late);
  chat.push(block(SIZE));
  await loopUntil(map, () => channel.written === SIZE);
  chat.abort();
});

Deno.test("handleWrite() is called as the peer takes bytes, and not before", async () => {
  const { chat, channel, map } = talk(Chat);
  const valve = new Valve(channel);
  chat.push(block(SIZE));
  await rest(map);
  const { writes } = chat;
  assertLess(writes, 2);
  valve.step();
  await rest(map);
  assertGreater(chat.writes, writes);
  valve.open();
  await loopUntil(map, () => channel.written === SIZE);
  assert(chat.connected);
  chat.abort();
});
