/** Channels that do not keep to their interface cost their own dispatcher, and no more. */

import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { type Channel, Dispatcher, DispatcherWithSend } from "../mod.ts";
import { Echo, FakeChannel, passes, quietMap, Recorder } from "./fakes.ts";
import { bytes, turn } from "./support.ts";

/** Writes down its errors, and closes after them. */
class Sender extends DispatcherWithSend {
  readonly errors: unknown[] = [];
  override handleError(error: unknown): void {
    this.errors.push(error);
    this.close();
  }
}

for (const [what, count] of [["NaN", NaN], ["-1", -1], ["too much", 11]]) {
  Deno.test(`Channel.write() that says it took ${what} brings one handleError(), and no spin`, async () => {
    const map = quietMap();
    let writes = 0;
    let closed = false;
    const reading = Promise.withResolvers<null>();
    const channel: Channel = {
      read: () => reading.promise,
      write: () => Promise.resolve(++writes < 50 ? count as number : 1),
      close() {
        closed = true;
        reading.resolve(null);
      },
    };
    const sender = new Sender(channel, { map });
    const neighbour = new FakeChannel();
    new Echo(neighbour, { map });
    await passes(map, 1);
    sender.send(new Uint8Array(10));
    await turn();
    neighbour.push("spam");
    await passes(map, 3);
    assertEquals(writes, 1);
    assertEquals(sender.errors.length, 1);
    assertInstanceOf(sender.errors[0], Deno.errors.WriteZero);
    assert(sender.errors[0].message.includes(`${count}`));
    assert(closed);
    assertEquals(neighbour.sent, "spam");
    map.check();
  });
}

Deno.test("Channel.write() that takes more than it was given is found out though more was gathered", async () => {
  const map = quietMap();
  const gate = Promise.withResolvers<number>();
  const reading = Promise.withResolvers<null>();
  const channel: Channel = {
    read: () => reading.promise,
    write: () => gate.promise,
    close: () => reading.resolve(null),
  };
  const sender = new Sender(channel, { map });
  sender.send(bytes("spam"));
  sender.send(bytes("eggs")); // in the same buffer, not yet given
  gate.resolve(6);
  await passes(map, 3);
  assertInstanceOf(sender.errors[0], Deno.errors.WriteZero);
});

for (const [what, count] of [["NaN", NaN], ["-1", -1], ["too much", 1e9]]) {
  Deno.test(`Channel.read() that says it read ${what} brings one handleError(), and no spin`, async () => {
    const map = quietMap();
    let reads = 0;
    const channel: Channel = {
      read: () => Promise.resolve(++reads < 50 ? count as number : null),
      write: (data) => Promise.resolve(data.length),
      close() {},
    };
    const handler = new Recorder(map, channel);
    await passes(map, 5);
    assertEquals(handler.trace, ["handleRead", "handleError", "handleClose"]);
    assertInstanceOf(handler.errors[0], RangeError);
    assert(handler.errors[0].message.includes(`${count}`));
    assertEquals(handler.received, "");
    assertEquals(handler.closeReason, handler.errors[0]);
    assertEquals(reads, 1);
    map.check();
  });
}

Deno.test("Channel.read() that says too much is told to a class that does not read", async () => {
  const map = quietMap();
  const errors: unknown[] = [];
  class Deaf extends Dispatcher {
    override handleError(error: unknown): void {
      errors.push(error);
    }
  }
  const channel = new FakeChannel();
  channel.read = () => Promise.resolve(1e9);
  new Deaf(channel, { map });
  await passes(map, 5);
  assertEquals(errors.length, 1);
  assertInstanceOf(errors[0], RangeError);
  assertEquals(map.size, 0);
  assert(channel.closed);
});
