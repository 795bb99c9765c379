/** The gate: what a send() and a writable() of one's own do to buffered bytes. */

import {
  assert,
  assertEquals,
  assertFalse,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { loop, SimpleProducer } from "../mod.ts";
import { MockClock } from "../testing/mock_clock.ts";
import { block, countTurns, talk, Talker, Valve } from "./chats.ts";
import {
  FakeNetwork,
  LogLines,
  loopToEnd,
  newSeed,
  passes,
  quietMap,
  randomFrom,
  rest,
  watch,
} from "./fakes.ts";
import { Counter, Odd, Throttled } from "./gates.ts";
import { bytes, text, turns, until } from "./support.ts";

// An own send()

Deno.test("AsyncChat.push() sends through an own send(), each pushed piece by itself", async () => {
  const { chat, channel, map } = talk(Counter);
  chat.push("one ");
  chat.pushWithProducer(["two ", "three "]);
  chat.push("four");
  chat.closeWhenDone();
  await loopToEnd(map);
  assertEquals(chat.pieces, ["one ", "two ", "three ", "four"]);
  assertEquals(channel.sent, "one two three four");
  assertEquals(chat.events, ["close"]);
});

Deno.test("AsyncChat.acOutBufferSize bounds what an own send() gets", async () => {
  const { chat, channel, map } = talk(Counter);
  chat.acOutBufferSize = 4;
  chat.push("spam and eggs");
  await passes(map, 4);
  assertEquals(chat.pieces, ["spam", " and", " egg", "s"]);
  assertEquals(channel.sent, "spam and eggs");
});

Deno.test("AsyncChat.push() copies what waits for an own send()", async () => {
  const { chat, channel, map } = talk(Throttled);
  const data = bytes("spam");
  chat.push(data);
  data.fill(0);
  chat.isOpen = true;
  await passes(map, 4);
  assertEquals(channel.sent, "spam");
});

Deno.test("AsyncChat.push() before the connection stands passes an own send() when it does", async () => {
  const network = new FakeNetwork();
  const map = quietMap({ network });
  const { channel } = talk();
  const chat = new Counter(map);
  chat.createSocket();
  chat.connect({ port: 7 });
  chat.push("spam");
  await passes(map, 2);
  assertEquals([chat.pieces.length, chat.bufferedAmount], [0, 4]);
  network.succeed(channel);
  await passes(map, 4);
  assertEquals([chat.pieces, channel.sent], [["spam"], "spam"]);
});

Deno.test("send() that takes a part gets the rest again", async () => {
  const { chat, channel, map } = talk(Odd);
  chat.take = (data) => chat.pass(data.subarray(0, 3));
  chat.push("spam and eggs");
  chat.push("!");
  chat.closeWhenDone();
  await loopToEnd(map);
  assertEquals(channel.sent, "spam and eggs!");
});

Deno.test("send() that takes nothing is called again 10 ms later, and blocks nobody meanwhile", async () => {
  const clock = new MockClock();
  const { chat, channel, map } = talk(Odd, quietMap({ clock }));
  let calls = 0;
  chat.take = (data) => ++calls < 4 ? 0 : chat.pass(data);
  chat.push("spam");
  chat.push("eggs"); // Waits, too: send() is not called for it.
  const looping = watch(loop({ map }));
  assertEquals(calls, 1);
  await clock.advance(9);
  assertEquals(calls, 1);
  await clock.advance(1);
  assertEquals(calls, 2);
  await clock.advance(20);
  assertEquals(channel.sent, "spameggs");
  chat.close();
  await clock.advance(5_000);
  assert(looping.settled);
});

Deno.test("send() that takes nothing is called again although closeWhenDone() comes in between", async () => {
  const clock = new MockClock();
  const { chat, channel, map } = talk(Odd, quietMap({ clock }));
  chat.take = () => 0;
  chat.push("spam");
  chat.take = (data) => chat.pass(data);
  chat.callLater(10, () => chat.closeWhenDone()); // In the very pass.
  const looping = watch(loop({ map }));
  await clock.advance(5_000);
  assertEquals([channel.sent, looping.settled], ["spam", true]);
});

Deno.test("send() that takes nothing does not keep the loop busy, nor do other overrides of its class", async () => {
  class Busy extends Odd {
    override handleWrite() {
      super.handleWrite();
    }
  }
  class Busier extends Busy {
    override writable() {
      return super.writable();
    }
  }
  for (const Class of [Odd, Busy, Busier]) {
    const clock = new MockClock();
    const { chat, map } = talk(Class, quietMap({ clock }));
    chat.take = () => 0;
    chat.push("spam");
    assertEquals(await countTurns(map, clock) < 250, true);
    chat.abort();
    await clock.advance(1_000);
  }
});

Deno.test("send() that takes nothing for want of room is called when there is some", async () => {
  const { chat, channel, map } = talk(Counter);
  const valve = new Valve(channel);
  chat.push(block(200_000));
  await passes(map, 4);
  assertEquals(chat.pieces.length, 1);
  valve.open();
  await rest(map);
  assertEquals(channel.written, 200_000);
});

Deno.test("send() that throws in push() throws there, and is called again for the same bytes", async () => {
  const clock = new MockClock();
  const { chat, channel, map } = talk(Odd, quietMap({ clock }));
  chat.take = () => {
    throw new Error("not now");
  };
  assertThrows(() => chat.push("spam"), Error, "not now");
  chat.take = (data) => chat.pass(data);
  const looping = watch(loop({ map }));
  await clock.advance(10);
  assertEquals(channel.sent, "spam");
  chat.close();
  await clock.advance(5_000);
  assert(looping.settled);
});

for (const kind of ["sync", "async"]) {
  Deno.test(`send() that throws costs the ${kind} producer of the piece nothing`, async () => {
    const clock = new MockClock({ autojump: true });
    const { chat, channel, map } = talk(Odd, quietMap({ clock }));
    const more = new SimpleProducer(bytes("0123456789"), 4);
    const given = { more: async () => await more.more() };
    let calls = 0;
    chat.strict = false;
    chat.take = (data) => {
      if (++calls === 2) throw new Error("not now");
      return chat.pass(data);
    };
    try {
      chat.pushWithProducer(kind === "sync" ? more : given);
    } catch (error) { // A producer that answers at once sends in the call.
      chat.errors.push(error);
    }
    chat.push("!");
    chat.closeWhenDone();
    await loopToEnd(map);
    assertEquals(channel.sent, "0123456789!");
    assertEquals(chat.errors.map(String), ["Error: not now"]);
  });
}

Deno.test("send() that fails for good loses the bytes with a warning, and once with an error", async () => {
  const clock = new MockClock({ autojump: true });
  const log = new LogLines();
  const { chat, channel, map } = talk(Odd, quietMap({ clock, logger: log }));
  chat.pushWithProducer({ more: () => Promise.resolve("spam") });
  chat.take = () => {
    throw new Error("never");
  };
  await loopToEnd(map);
  assertEquals([channel.sent, chat.events], ["", ["error", "close"]]);
  const warnings = log.lines.filter((line) => line.startsWith("warn"));
  assertEquals(warnings.length, 1);
  assertStringIncludes(warnings[0]!, "lost 4 bytes that were held back");
});

for (const result of [undefined, -1, 1.5, 5, "4"]) {
  Deno.test(`send() that returns ${result} for a piece of 4 bytes is a TypeError`, () => {
    const { chat } = talk(Odd);
    chat.take = () => result;
    chat.acOutBufferSize = 4;
    assertThrows(
      () => chat.push("spam and eggs"),
      TypeError,
      "send() must return how many bytes it took, from 0 to 4, got ",
    );
    chat.abort();
  });
}

Deno.test("send() that is async by mistake, and rejects, is a TypeError as well", () => {
  const { chat } = talk(Odd);
  chat.take = () => Promise.reject(new Error("spam"));
  assertThrows(() => chat.push("spam"), TypeError, "got Promise");
  chat.abort();
});

Deno.test("send() that pushes puts those bytes behind what waits", async () => {
  const { chat, channel, map } = talk(Odd);
  chat.acOutBufferSize = 4;
  chat.take = (data) => {
    if (text(data) === "spam") chat.push("!");
    return chat.pass(data);
  };
  chat.push("spam and eggs");
  await passes(map, 4);
  assertEquals(channel.sent, "spam and eggs!");
});

Deno.test("send() that discards keeps nothing of its own piece", async () => {
  const { chat, channel, map } = talk(Odd);
  chat.take = () => {
    chat.discardBuffers();
    return 0;
  };
  chat.push("spam");
  chat.take = (data) => chat.pass(data);
  chat.push("eggs");
  await passes(map, 4);
  assertEquals([channel.sent, chat.bufferedAmount], ["eggs", 0]);
});

Deno.test("send() that leaves the map gets the rest when the chat is back", async () => {
  const { chat, map } = talk(Odd);
  let taken = "";
  chat.acOutBufferSize = 4;
  chat.take = (data) => { // To another place.
    taken += text(data);
    chat.delChannel();
    return data.length;
  };
  chat.push("spam and eggs");
  await rest(map);
  assertEquals(taken, "spam");
  for (const all of ["spam and", "spam and egg", "spam and eggs"]) {
    chat.addChannel();
    await rest(map);
    assertEquals(taken, all);
  }
  chat.abort();
});

// An own writable()

Deno.test("writable() that says no holds back what is pushed, and closeWhenDone()", async () => {
  const { chat, channel, map } = talk(Throttled);
  chat.push("spam ");
  chat.pushWithProducer(["and ", "eggs"]);
  chat.closeWhenDone();
  await rest(map);
  assertEquals([chat.pieces.length, channel.sent], [0, ""]);
  assertFalse(channel.closed);
  chat.isOpen = true;
  await loopToEnd(map);
  assertEquals([channel.sent, chat.events], ["spam and eggs", ["close"]]);
});

Deno.test("closeWhenDone() from outside of the loop ends its wait, so that writable() is asked", async () => {
  const { chat, channel, map } = talk(Throttled);
  chat.isOpen = true;
  const looping = loop({ map, timeout: Infinity });
  await turns(); // The loop waits.
  chat.closeWhenDone();
  await until(() => channel.closed, "the close");
  await looping;
});

Deno.test("writable() that says no holds back a closeWhenDone() with nothing to send", async () => {
  const { chat, channel, map } = talk(Throttled);
  chat.closeWhenDone();
  await rest(map);
  assertFalse(channel.closed);
  chat.isOpen = true;
  await loopToEnd(map);
  assert(channel.closed);
});

Deno.test("writable() is asked before each piece, and before the close", async () => {
  class OneByOne extends Throttled {
    override send(data: Uint8Array) {
      this.isOpen = false;
      return super.send(data);
    }
  }
  const { chat, channel, map } = talk(OneByOne);
  for (const piece of ["a", "b", "c"]) chat.push(piece);
  chat.closeWhenDone();
  for (const sent of ["a", "ab", "abc"]) {
    chat.isOpen = true;
    await rest(map);
    assertEquals([channel.sent, channel.closed], [sent, false]);
  }
  chat.isOpen = true;
  await loopToEnd(map);
  assert(channel.closed);
});

Deno.test("writable() that says yes every third time lets all pass, and closes", async () => {
  class Third extends Counter {
    asked = 0;
    override writable() {
      return ++this.asked % 3 === 0 && super.writable();
    }
  }
  const clock = new MockClock({ autojump: true });
  const { chat, channel, map } = talk(Third, quietMap({ clock }));
  for (const piece of ["a", "b", "c"]) chat.push(piece);
  chat.closeWhenDone();
  const looping = watch(loop({ map, timeout: 10, count: 100 }));
  await clock.advance(10_000);
  assert(looping.settled);
  assertEquals([channel.sent, chat.events], ["abc", ["close"]]);
});

Deno.test("writable() that said yes to the loop is not asked again for the first piece", async () => {
  class Once extends Throttled {
    override writable() {
      const { isOpen } = this;
      this.isOpen = false;
      return isOpen;
    }
  }
  const { chat, channel, map } = talk(Once);
  chat.push("a");
  chat.push("b");
  chat.isOpen = true;
  await rest(map);
  assertEquals(channel.sent, "a");
  chat.abort();
});

Deno.test("writable() that says yes lets one piece of handleWrite() pass, however many that pushes", async () => {
  class Pushing extends Throttled {
    override writable() {
      const { isOpen } = this;
      this.isOpen = false;
      return isOpen;
    }
    override handleWrite() {
      for (const piece of ["a", "b", "c"]) this.push(piece);
    }
  }
  const { chat, channel, map } = talk(Pushing);
  chat.isOpen = true;
  await rest(map);
  assertEquals(channel.sent, "a");
});

Deno.test("writable() that says yes with nothing to send does not keep the loop busy", async () => {
  class Eager extends Counter {
    override writable() {
      return true;
    }
  }
  const clock = new MockClock();
  const { chat, map } = talk(Eager, quietMap({ clock }));
  assert(await countTurns(map, clock) < 250);
  chat.abort();
  await clock.advance(1_000);
});

Deno.test("writable() that throws in push() throws there, and is asked again 10 ms later", async () => {
  const clock = new MockClock();
  const { chat, channel, map } = talk(Throttled, quietMap({ clock }));
  const looping = watch(loop({ map }));
  await clock.advance(0);
  const { writable } = chat;
  chat.writable = () => {
    throw new Error("not now");
  };
  assertThrows(() => chat.push("spam"), Error, "not now");
  chat.writable = writable;
  chat.isOpen = true;
  await clock.advance(10);
  assertEquals(channel.sent, "spam");
  chat.close();
  await clock.advance(5_000);
  assert(looping.settled);
});

// initiateSend()

Deno.test("AsyncChat.initiateSend() of a class is called by push(), and holds bytes and producers back", async () => {
  class Corked extends Talker {
    isCorked = true;
    calls = 0;
    override initiateSend() {
      this.calls++;
      if (!this.isCorked) super.initiateSend();
    }
  }
  const clock = new MockClock({ autojump: true });
  const { chat, channel, map } = talk(Corked, quietMap({ clock }));
  chat.push("spam ");
  chat.pushWithProducer(["and ", "eggs"]);
  assertEquals(chat.calls, 2);
  const looping = watch(loop({ map }));
  await clock.advance(100);
  assertEquals([channel.sent, chat.bufferedAmount], ["", 5]);
  chat.isCorked = false; // It is called again, as in Python.
  await clock.advance(10);
  assertEquals(channel.sent, "spam and eggs");
  chat.isCorked = true;
  chat.push("!");
  await clock.advance(1);
  chat.isCorked = false;
  chat.initiateSend(); // At once.
  await clock.advance(0);
  assertEquals(channel.sent, "spam and eggs!");
  chat.closeWhenDone();
  await clock.advance(1_000);
  assert(looping.settled);
});

// In random order

Deno.test("AsyncChat sends each byte once, in order, in 150 random lives of send() and writable()", async () => {
  const random = randomFrom(newSeed());
  const pick = (most: number) => Math.floor(random() * most);
  for (let life = 0; life < 150; life++) {
    const clock = new MockClock({ autojump: true });
    const { chat, channel, map } = talk(Odd, quietMap({ clock }));
    channel.take = ({ length }) => 1 + pick(length);
    chat.strict = false;
    chat.acOutBufferSize = 1 + pick(9);
    chat.take = (data) => {
      const luck = random();
      if (luck < 0.1) throw new Error("bad luck");
      return luck < 0.3 ? 0 : chat.pass(data.subarray(0, 1 + pick(9)));
    };
    if (life % 2) chat.writable = () => random() < 0.5;
    let pushed = "";
    for (let i = 0; i < 12; i++) {
      const piece = String.fromCharCode(97 + i).repeat(pick(12));
      pushed += piece;
      try {
        if (pick(3) > 0) chat.push(piece);
        else {chat.pushWithProducer(
            new SimpleProducer(bytes(piece), 1 + pick(9)),
          );}
      } catch { /* send() threw: the piece waits. */ }
      if (pick(3) === 0) await passes(map);
    }
    chat.closeWhenDone();
    while (map.size > 0) await loop({ map, timeout: 5, count: 1 });
    await loopToEnd(map);
    assertEquals(channel.sent, pushed, `life ${life}`);
  }
});
