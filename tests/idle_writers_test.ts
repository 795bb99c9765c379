/** A dispatcher with nothing to write, or no peer that takes it, does not keep a loop busy. */

import { assert, assertEquals, assertGreater, assertLess } from "@std/assert";
import { Dispatcher, DispatcherWithSend, loop } from "../mod.ts";
import { MockClock } from "../testing/mod.ts";
import { countTurns, gated, talk, Talker } from "./chats.ts";
import { Echo, FakeChannel, quietMap, watch } from "./fakes.ts";
import { setUp, stuckChannel } from "./scenes.ts";
import { bytes, text, turns } from "./support.ts";

/** A map that is to be looped, and a channel each write of which is granted. */
function granting() {
  const { clock, map } = setUp();
  const grants: ((length: number) => void)[] = [];
  const channel = new FakeChannel();
  channel.take = () => new Promise((resolve) => grants.push(resolve));
  const start = async () => {
    watch(loop({ map, timeout: 100 }));
    await turns();
  };
  /** The loop waits, and waits again whenever its timeout is over. */
  const assertRests = async () => {
    const { timeoutsSet } = clock;
    await clock.advance(1_000);
    assertEquals(clock.timeoutsSet - timeoutsSet, 10);
  };
  return { map, channel, grants, start, assertRests };
}

/** Buffers what it sends, and takes part in it. */
abstract class Busy extends DispatcherWithSend {
  events = 0;
}
class OwnHandleWrite extends Busy {
  override handleWrite(): void | Promise<void> {
    this.events++;
    return super.handleWrite();
  }
}
class OwnWritable extends Busy {
  override writable(): boolean {
    return super.writable();
  }
  override handleWriteEvent(): void | Promise<void> {
    this.events++;
    return super.handleWriteEvent();
  }
}
class OwnBoth extends OwnHandleWrite {
  override writable(): boolean {
    return super.writable();
  }
}
class AlwaysWritable extends OwnHandleWrite {
  override writable(): boolean {
    return true;
  }
}

for (const Class of [OwnHandleWrite, OwnWritable, OwnBoth, AlwaysWritable]) {
  Deno.test(`DispatcherWithSend rests while its peer takes nothing, and then goes on: ${Class.name}`, async () => {
    const { map, channel, grants, start, assertRests } = granting();
    const handler = new Class(channel, { map });
    handler.send(new Uint8Array(1_000));
    await start();
    await assertRests();
    assertLess(handler.events, 4);

    const before = handler.events;
    grants.shift()!(400);
    await turns();
    assertGreater(handler.events, before, "there is room again");
    await assertRests();
    assertLess(handler.events - before, 4);

    if (Class === AlwaysWritable) return; // rightly called in each pass
    grants.shift()!(600);
    await turns();
    assertEquals(channel.writes.map(({ length }) => length), [400, 600]);
    await assertRests();
  });
}

/** Calls the default hook, and counts. */
class OwnChat extends Talker {
  writes = 0;
  override handleWrite(): void | Promise<void> {
    this.writes++;
    return super.handleWrite();
  }
}
class OwnChatBoth extends OwnChat {
  override writable(): boolean {
    return super.writable();
  }
}
class OwnChatSend extends OwnChat {
  override send(data: Uint8Array): number {
    return super.send(data);
  }
}

for (const Class of [OwnChat, OwnChatBoth, OwnChatSend]) {
  Deno.test(`AsyncChat rests while a producer is pending, and then goes on: ${Class.name}`, async () => {
    const clock = new MockClock();
    const { chat, channel, map } = talk(Class, quietMap({ clock }));
    const { producer, give } = gated();
    chat.pushWithProducer(producer);
    chat.push(" and eggs");
    chat.closeWhenDone();
    assertLess(await countTurns(map, clock), 250);
    assertLess(chat.writes, 4);
    give("spam");
    await turns();
    assertEquals([channel.sent, channel.closed], ["spam and eggs", true]);
    await clock.advance(10_000);
  });
}

Deno.test("AsyncChat with a handleWrite() rests while its initiateSend() holds back bytes", async () => {
  class Corked extends OwnChat {
    isCorked = true;
    override initiateSend(): void {
      if (!this.isCorked) super.initiateSend();
    }
  }
  const clock = new MockClock();
  const { chat, channel, map } = talk(Corked, quietMap({ clock }));
  chat.push("spam");
  assertLess(await countTurns(map, clock), 500);
  chat.isCorked = false;
  await clock.advance(10);
  assertEquals(channel.sent, "spam");
  chat.abort();
  await clock.advance(1_000);
});

Deno.test("DispatcherWithSend that has more to add gets its write events although one is in flight", async () => {
  const { map, start } = granting();
  const pump = new DispatcherWithSend(stuckChannel(), { map });
  const { handleWrite } = pump;
  let left = 5;
  pump.writable = () => left > 0;
  pump.handleWrite = () => {
    if (left-- > 0) pump.send(new Uint8Array(100));
    return handleWrite.call(pump);
  };
  await start();
  await turns();
  assertEquals(left, 0);
  assertEquals(pump.bufferedAmount, 500);
});

for (const kind of ["sync", "async"]) {
  Deno.test(`handleWrite() that is ${kind} and has no writable() runs once, and again when something happened`, async () => {
    const { map, channel, start, assertRests } = granting();
    let writes = 0;
    new Dispatcher(channel, { map }).handleWrite = () => {
      writes++;
      return kind === "async" ? Promise.resolve() : undefined;
    };
    const neighbour = new FakeChannel();
    new Echo(neighbour, { map });
    await start();
    await assertRests();
    assertEquals(writes, 1);
    neighbour.push("spam");
    await turns();
    assertEquals(writes, 2);
    await assertRests();
    map.wake();
    await turns();
    assertEquals(writes, 3);
    await assertRests();
  });
}

Deno.test("readable() that looks at bufferedAmount is asked again when that falls", async () => {
  const { map, channel, grants, start } = granting();
  const handler = new DispatcherWithSend(channel, { map });
  handler.readable = () => handler.bufferedAmount === 0;
  handler.handleRead = () => void handler.send(handler.recv());
  await start();
  for (const word of ["spam", "eggs", "rice"]) {
    channel.push(word);
    await turns();
    assertEquals(handler.bufferedAmount, 4);
    channel.push("more");
    await turns();
    assertEquals(handler.bufferedAmount, 4, "not before the answer is out");
    grants.shift()!(4); // no time passes
    await turns();
    assertEquals(text(channel.writes.at(-1)!), word);
    grants.shift()!(4);
    await turns();
  }
  assertEquals(channel.sent, "spammoreeggsmorericemore");
});

Deno.test("writable() that looks at bufferedAmount is asked again when that falls", async () => {
  const { map, channel, start } = granting();
  const words = ["spam", "eggs", "rice"];
  channel.take = async (data) => {
    await turns();
    return data.length;
  };
  const handler = new DispatcherWithSend(channel, { map });
  Object.assign(handler, {
    readable: () => false,
    writable: () => handler.bufferedAmount === 0 && words.length > 0,
    handleWrite: () => void handler.send(bytes(words.shift()!)),
  });
  await start();
  for (let i = 0; i < 6; i++) await turns();
  assertEquals(channel.sent, "spameggsrice");
  assert(handler.connected);
});
