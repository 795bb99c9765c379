/** Who has nothing to write, or nobody to take it, must not keep a loop busy. */

import { assert, assertEquals, assertGreater, assertLess } from "@std/assert";
import { Dispatcher, DispatcherWithSend, loop } from "../mod.ts";
import { Echo, FakeChannel, quietMap, watch } from "./fakes.ts";
import { MockClock } from "../testing/mock_clock.ts";
import { bytes, text, turns } from "./support.ts";

/** A map that is being looped, on a clock of its own. */
function setUp() {
  const clock = new MockClock();
  const map = quietMap({ clock });
  const channel = new FakeChannel();
  const start = () => watch(loop({ map, timeout: 100 }));
  /** How often the loop waits in ten times its timeout. */
  const countWaits = async () => {
    const { timeoutsSet } = clock;
    await clock.advance(1_000);
    return clock.timeoutsSet - timeoutsSet;
  };
  return { map, channel, start, countWaits };
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
    const { map, channel, start, countWaits } = setUp();
    const grants: ((length: number) => void)[] = [];
    channel.take = () => new Promise((resolve) => grants.push(resolve));
    const handler = new Class(channel, { map });
    handler.send(new Uint8Array(1_000));
    start();
    await turns();
    assertEquals(await countWaits(), 10);
    assertLess(handler.events, 4);

    const before = handler.events;
    grants.shift()!(400);
    await turns();
    assertGreater(handler.events, before, "there is room again");
    assertEquals(await countWaits(), 10);
    assertLess(handler.events - before, 4);

    if (Class === AlwaysWritable) return; // rightly called in each pass
    grants.shift()!(600);
    await turns();
    assertEquals(channel.writes.map(({ length }) => length), [400, 600]);
    assertEquals(await countWaits(), 10);
  });
}

/** Adds something in each write event. */
class Pump extends DispatcherWithSend {
  left = 5;
  override writable(): boolean {
    return this.left > 0;
  }
  override handleWrite(): void | Promise<void> {
    if (this.left-- > 0) this.send(new Uint8Array(100));
    return super.handleWrite();
  }
}

Deno.test("DispatcherWithSend that has more to add gets its write events although one is in flight", async () => {
  const { map, channel, start } = setUp();
  channel.take = () => new Promise(() => {});
  const pump = new Pump(channel, { map });
  start();
  await turns();
  await turns();
  assertEquals(pump.left, 0);
  assertEquals(pump.bufferedAmount, 500);
});

for (const kind of ["sync", "async"]) {
  Deno.test(`handleWrite() that is ${kind} and has no writable() runs once, and again when something happened`, async () => {
    const { map, channel, start, countWaits } = setUp();
    let writes = 0;
    class Writer extends Dispatcher {
      override handleWrite(): void | Promise<void> {
        writes++;
        if (kind === "async") return Promise.resolve();
      }
    }
    new Writer(channel, { map });
    const neighbour = new FakeChannel();
    new Echo(neighbour, { map });
    start();
    await turns();
    assertEquals(await countWaits(), 10);
    assertEquals(writes, 1);
    neighbour.push("spam");
    await turns();
    assertEquals(writes, 2);
    assertEquals(await countWaits(), 10);
    map.wake();
    await turns();
    assertEquals(writes, 3);
    assertEquals(await countWaits(), 10);
  });
}

Deno.test("readable() that looks at bufferedAmount is asked again when that falls", async () => {
  const { map, channel, start } = setUp();
  class Turnwise extends DispatcherWithSend {
    override readable(): boolean {
      return this.bufferedAmount === 0;
    }
    override handleRead(): void {
      this.send(this.recv());
    }
  }
  const grants: ((length: number) => void)[] = [];
  channel.take = () => new Promise((resolve) => grants.push(resolve));
  const handler = new Turnwise(channel, { map });
  start();
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
  const { map, channel, start } = setUp();
  const words = ["spam", "eggs", "rice"];
  class Turnwise extends DispatcherWithSend {
    override readable(): boolean {
      return false;
    }
    override writable(): boolean {
      return this.bufferedAmount === 0 && words.length > 0;
    }
    override handleWrite(): void {
      this.send(bytes(words.shift()!));
    }
  }
  channel.take = async (data) => {
    await turns();
    return data.length;
  };
  const handler = new Turnwise(channel, { map });
  start();
  for (let i = 0; i < 6; i++) await turns();
  assertEquals(channel.sent, "spameggsrice");
  assert(handler.connected);
});
