/** What waits at the gate when a connection ends, goes over, or becomes a stream. */

import {
  assert,
  assertEquals,
  assertFalse,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  type Channel,
  Dispatcher,
  DispatcherWithSend,
  loop,
  shutdown,
  toStreams,
} from "../mod.ts";
import { MockClock } from "../testing/mock_clock.ts";
import { block, talk, Talker, Valve } from "./chats.ts";
import {
  codedError,
  FakeChannel,
  LogLines,
  loopToEnd,
  passes,
  quietMap,
  rest,
  watch,
} from "./fakes.ts";
import { Counter, Odd, Throttled, ThrottledSender } from "./gates.ts";
import { text } from "./support.ts";

/** A chat that holds back "spam and eggs", and its log. */
function held() {
  const clock = new MockClock({ autojump: true });
  const log = new LogLines();
  const map = quietMap({ clock, logger: log });
  const fake = talk(Throttled, map);
  fake.chat.push("spam and eggs");
  return { ...fake, log };
}

// The end

Deno.test("AsyncChat.close() sends through send() what writable() holds back", async () => {
  const { chat, channel, map } = held();
  chat.acOutBufferSize = 4;
  chat.close();
  assertEquals(chat.pieces, ["spam", " and", " egg", "s"]);
  await loopToEnd(map);
  assertEquals(channel.sent, "spam and eggs");
});

Deno.test("AsyncChat.close() sends through send() more than there is room for", async () => {
  const { chat, channel, map } = talk(Counter);
  const valve = new Valve(channel);
  chat.push(block(200_000));
  chat.close();
  valve.open();
  await loopToEnd(map);
  assertEquals(channel.written, 200_000);
});

for (const limit of ["idleTimeout", "lifetime"]) {
  Deno.test(`${limit} that ends a chat sends what writable() holds back`, async () => {
    const clock = new MockClock({ autojump: true });
    const map = quietMap({ clock });
    const channel = new FakeChannel();
    const limited = new Throttled(map, channel, { [limit]: 1_000 });
    limited.push("spam");
    await loopToEnd(map);
    assertEquals([channel.sent, limited.pieces], ["spam", ["spam"]]);
  });
}

Deno.test("lifetime that ends while a hook is pending sends what writable() holds back", async () => {
  const clock = new MockClock();
  const map = quietMap({ clock });
  const channel = new FakeChannel();
  const chat = new Throttled(map, channel, { lifetime: 1_000 });
  chat.setTerminator("\n");
  const { promise, resolve } = Promise.withResolvers<void>();
  chat.act.found = () => {
    chat.push("spam");
    return promise;
  };
  channel.push("hello\n");
  const looping = watch(loop({ map }));
  await clock.advance(1_000);
  assertEquals([channel.sent, chat.pieces], ["spam", ["spam"]]);
  resolve();
  await clock.advance(10_000);
  assert(looping.settled);
});

Deno.test("AsyncChat.close() warns of what send() does not take", async () => {
  const log = new LogLines();
  const { chat, channel, map } = talk(Odd, quietMap({ logger: log }));
  chat.take = (data) => chat.pieces.length ? 0 : chat.pass(data.subarray(0, 4));
  chat.push("spam and eggs");
  chat.close();
  await loopToEnd(map);
  assertEquals(channel.sent, "spam");
  assertStringIncludes(log.lines.join(), "lost 9 bytes that were held back");
});

for (const when of ["before", "after"]) {
  Deno.test(`AsyncChat.close() in send(), ${when} its piece was sent, sends the rest behind it`, async () => {
    const log = new LogLines();
    const { chat, channel, map } = talk(Odd, quietMap({ logger: log }));
    const valve = new Valve(channel);
    let calls = 0;
    chat.acOutBufferSize = 10_000;
    chat.take = (data) => {
      const isThird = ++calls === 3;
      if (isThird && when === "before") chat.close();
      const taken = chat.pass(data);
      if (isThird && when === "after") chat.close();
      return taken;
    };
    chat.push(block(220_000));
    assertEquals([chat.connected, map.size], [false, 0]);
    valve.open();
    await loopToEnd(map);
    assertEquals([channel.written, chat.events, log.lines], [220_000, [], []]);
  });
}

Deno.test("AsyncChat.close() in send() warns of what that does not take afterwards", async () => {
  const log = new LogLines();
  const { chat, channel, map } = talk(Odd, quietMap({ logger: log }));
  chat.acOutBufferSize = 4;
  chat.take = (data) => {
    if (!chat.connected) return 0;
    const taken = chat.pass(data);
    chat.close();
    return taken;
  };
  chat.push("spam and eggs");
  await loopToEnd(map); // Nothing reaches onError(), either.
  assertEquals([channel.sent, chat.bufferedAmount], ["spam", 0]);
  assertStringIncludes(log.lines.join(), "lost 9 bytes that were held back");
});

Deno.test("AsyncChat.close() in writable() sends the rest", async () => {
  const { chat, channel, map } = talk(Counter);
  chat.writable = () => {
    chat.close();
    return true;
  };
  chat.push("spam");
  await loopToEnd(map);
  assertEquals([channel.sent, chat.pieces], ["spam", ["spam"]]);
});

Deno.test("AsyncChat.close() in send() that close() calls sends the rest once", async () => {
  const { chat, channel, map } = talk(Odd);
  chat.acOutBufferSize = 4;
  chat.take = () => 0;
  chat.push("spam and eggs");
  chat.take = (data) => {
    chat.close();
    return chat.pass(data);
  };
  chat.close();
  await loopToEnd(map);
  assertEquals(channel.sent, "spam and eggs");
});

Deno.test("AsyncChat.close() in send() that throws leaves the map, and a warning tells what is lost", async () => {
  const log = new LogLines();
  const { chat, channel, map } = talk(Odd, quietMap({ logger: log }));
  chat.take = () => {
    chat.close();
    throw new Error("closed");
  };
  assertThrows(() => chat.push("spam"), Error, "closed");
  await loopToEnd(map);
  assert(channel.closed);
  assertStringIncludes(log.lines.join(), "lost 4 bytes that were held back");
});

Deno.test("AsyncChat.close() in send() gives the next socket nothing of the rest", async () => {
  const log = new LogLines();
  const { chat, channel, map } = talk(Odd, quietMap({ logger: log }));
  const next = new FakeChannel();
  chat.acOutBufferSize = 4;
  chat.take = (data) => {
    const taken = chat.pass(data);
    chat.close();
    chat.setSocket(next);
    return taken;
  };
  chat.push("spam and eggs");
  chat.close();
  await loopToEnd(map);
  assertEquals([channel.sent, next.sent], ["spam", ""]);
  assertStringIncludes(log.lines.join(), "lost 9 bytes that were held back");
});

Deno.test("shutdown() waits for what writable() holds back, and tells at its deadline that it is lost", async () => {
  for (const opens of [true, false]) {
    const { chat, channel, map, log } = held();
    chat.callLater(1_000, () => void (chat.isOpen = opens));
    const result = await shutdown({ map, deadline: 2_000 });
    const lost = opens ? 0 : 1;
    assertEquals(result, { listeners: 0, closed: 1 - lost, aborted: lost });
    assertEquals(channel.sent, opens ? "spam and eggs" : "");
    assertEquals(log.lines.join().includes("lost 13 bytes"), !opens);
  }
});

Deno.test("AsyncChat.abort() drops what waits at the gate, without a warning", async () => {
  const { chat, channel, map, log } = held();
  chat.abort();
  assertEquals(chat.bufferedAmount, 0);
  await loopToEnd(map);
  assertEquals([channel.sent, chat.pieces, log.lines], ["", [], []]);
});

Deno.test("AsyncChat over a broken connection has nothing buffered, and calls no send()", async () => {
  const { chat, channel, map, log } = held();
  channel.take = () => Promise.reject(codedError("EPIPE"));
  chat.send(new Uint8Array(1));
  let left = -1;
  chat.handleClose = () => {
    left = chat.bufferedAmount;
    chat.close();
  };
  await loopToEnd(map);
  assertEquals([chat.pieces.length, left, chat.bufferedAmount], [1, 0, 0]);
  assertEquals(log.lines, []); // handleClose() tells of it.
});

Deno.test("AsyncChat.discardBuffers() drops what waits at the gate, and the end of writing comes", async () => {
  const { chat, channel, map } = held();
  chat.shutdownWrite();
  await rest(map);
  assertFalse(channel.writeEnded);
  chat.discardBuffers();
  await rest(map);
  assert(channel.writeEnded);
  assertEquals([channel.sent, chat.bufferedAmount], ["", 0]);
  chat.abort();
});

Deno.test("AsyncChat.shutdownWrite() comes behind what writable() holds back", async () => {
  const { chat, channel, map } = held();
  chat.shutdownWrite();
  await rest(map);
  assertFalse(channel.writeEnded);
  chat.isOpen = true;
  await rest(map);
  assertEquals([channel.sent, channel.writeEnded], ["spam and eggs", true]);
  chat.abort();
});

// Backpressure

Deno.test("AsyncChat counts what waits at the gate, and drains when it has passed", async () => {
  const { chat, channel, map } = talk(Throttled);
  chat.highWaterMark = 10;
  chat.push("spam and eggs");
  await rest(map);
  assertEquals([chat.bufferedAmount, chat.readable()], [13, false]);
  assertEquals(chat.events, []);
  chat.isOpen = true;
  await rest(map);
  assertEquals([channel.sent, chat.events], ["spam and eggs", ["drain"]]);
  chat.abort();
});

// DispatcherWithSend

/** A throttled sender over a fake channel. */
function sending() {
  const map = quietMap();
  const channel = new FakeChannel();
  return { map, channel, sender: new ThrottledSender(map, channel) };
}

Deno.test("DispatcherWithSend.writable() that says no holds back what is sent, and close() sends it", async () => {
  const { sender, channel, map } = sending();
  sender.send("spam ");
  await rest(map);
  assertEquals([channel.sent, sender.bufferedAmount], ["", 5]);
  sender.isOpen = true;
  await rest(map);
  assertEquals(channel.sent, "spam ");
  sender.isOpen = false;
  sender.send("eggs");
  sender.close();
  await loopToEnd(map);
  assertEquals(channel.sent, "spam eggs");
  assertEquals(sender.given, channel.sent); // An own send() sees each byte once.
});

Deno.test("DispatcherWithSend.handleDrain() waits for what writable() holds back", async () => {
  const { sender, channel, map } = sending();
  const valve = new Valve(channel);
  sender.isOpen = true;
  sender.send(block(80)); // In flight.
  sender.isOpen = false;
  sender.send(block(80));
  valve.step();
  await rest(map);
  assertEquals([sender.bufferedAmount, sender.drains], [80, 0]);
  sender.isOpen = true;
  valve.open();
  await rest(map);
  assertEquals([sender.bufferedAmount, sender.drains], [0, 1]);
  sender.abort();
});

Deno.test("DispatcherWithSend.initiateSend() of a class holds back, too, what writable() lets pass", async () => {
  class Corked extends ThrottledSender {
    isCorked = true;
    override initiateSend() {
      if (!this.isCorked) super.initiateSend();
    }
  }
  const map = quietMap();
  const channel = new FakeChannel();
  const valve = new Valve(channel);
  const sender = new Corked(map, channel);
  sender.isOpen = true;
  sender.isCorked = false;
  sender.send("spam ");
  sender.isCorked = true;
  sender.send("eggs");
  await rest(map);
  valve.open(); // There is room again.
  await passes(map, 4);
  assertEquals(channel.sent, "spam ");
  sender.isCorked = false;
  await passes(map, 4);
  assertEquals(channel.sent, "spam eggs");
  sender.abort();
});

// Another owner

Deno.test("new Dispatcher(this.socket) gets the connection behind what writable() holds back", async () => {
  const { chat, channel, map } = held();
  const next = new DispatcherWithSend(chat.socket as Channel, { map });
  next.send("!");
  next.close();
  await loopToEnd(map);
  assertEquals(channel.sent, "spam and eggs!");
  assertEquals(chat.pieces, ["spam and eggs"]);
});

Deno.test("new Dispatcher(this.socket) is an error while send() takes nothing", async () => {
  const { chat, channel, map } = talk(Odd);
  chat.take = () => 0;
  chat.push("spam");
  const take = () => new Dispatcher(chat.socket as Channel, { map });
  assertThrows(take, Error, "send() holds back 4 bytes");
  chat.take = (data) => chat.pass(data); // The chat goes on.
  chat.close();
  await loopToEnd(map);
  assertEquals(channel.sent, "spam");
});

Deno.test("new Dispatcher(this.socket) is an error if send() closes, and the bytes arrive", async () => {
  const { chat, channel, map } = talk(Odd);
  chat.acOutBufferSize = 4;
  chat.take = () => 0;
  chat.push("spam and eggs");
  chat.take = (data) => {
    chat.close();
    return chat.pass(data);
  };
  const take = () => new Dispatcher(chat.socket as Channel, { map });
  assertThrows(take, Error, "it is closed");
  await loopToEnd(map);
  assertEquals([channel.sent, channel.closed], ["spam and eggs", true]);
});

Deno.test("new Dispatcher(this.socket) in send() is an error, and sends nothing twice", async () => {
  const { chat, channel, map } = talk(Odd);
  chat.take = (data) => {
    const take = () => new Dispatcher(chat.socket as Channel, { map });
    assertThrows(take, Error, "send() holds back 4 bytes");
    return chat.pass(data);
  };
  chat.push("spam");
  chat.closeWhenDone();
  await loopToEnd(map);
  assertEquals(channel.sent, "spam");
});

Deno.test("AsyncChat.startTls() is refused while bytes wait at the gate", async () => {
  const { chat, map } = held();
  await assertRejects(
    () => chat.startTls({ hostname: "localhost" }),
    Error,
    "unencrypted bytes are being sent",
  );
  chat.abort();
  await loopToEnd(map);
});

Deno.test("Dispatchers of one pass have a gate each", async () => {
  const map = quietMap();
  const fakes = [Counter, Throttled, Talker, Odd].map((Class) =>
    talk(Class, map)
  );
  for (const { chat, channel } of fakes) {
    chat.setTerminator("\n");
    chat.act.found = () => {
      for (const word of ["I ", "heard ", "you"]) chat.push(word);
      chat.closeWhenDone();
      if (chat instanceof Throttled) chat.isOpen = true;
    };
    channel.push("hello\n");
  }
  await loopToEnd(map);
  for (const { channel } of fakes) assertEquals(channel.sent, "I heard you");
});

// Streams

/** Classes that note in `seen` what their send() takes of the bytes of a stream. */
function oddOf(Base: typeof Dispatcher | typeof DispatcherWithSend) {
  return class extends (Base as typeof Dispatcher) {
    seen = "";
    calls = 0;
    override send(data: Uint8Array): number {
      if (++this.calls % 3 === 0) return 0;
      const taken = super.send(data.subarray(0, 20_000));
      this.seen += text(data.subarray(0, taken));
      return taken;
    }
  };
}
/** Their writable() says no after each piece, until time has passed. */
function slowOf(Base: typeof Dispatcher | typeof DispatcherWithSend) {
  return class extends (Base as typeof Dispatcher) {
    seen = "";
    isOpen = true;
    override writable(): boolean {
      return this.isOpen && super.writable();
    }
    override send(data: Uint8Array): number {
      this.isOpen = false;
      this.callLater(100, () => void (this.isOpen = true));
      this.seen += text(data);
      return super.send(data);
    }
  };
}
const OddDispatcher = oddOf(Dispatcher);
const OddSender = oddOf(DispatcherWithSend);
const SlowDispatcher = slowOf(Dispatcher);
const SlowSender = slowOf(DispatcherWithSend);

const classes = { OddDispatcher, OddSender, SlowDispatcher, SlowSender };
for (const [name, Class] of Object.entries(classes)) {
  Deno.test(`toStreams() of a class like ${name} sends each byte through its send() once`, async () => {
    const clock = new MockClock({ autojump: true });
    const map = quietMap({ clock });
    const channel = new FakeChannel();
    const dispatcher = new Class(channel, { map });
    const { readable, writable } = toStreams(dispatcher);
    const sent = "spam and eggs ".repeat(15_000);
    const writing = new Blob([sent]).stream().pipeTo(writable);
    await Promise.all([writing, readable.cancel(), loopToEnd(map)]);
    assertEquals(channel.sent === sent, true);
    assertEquals(dispatcher.seen === sent, true);
  });
}

Deno.test("toStreams() waits for a writable() that says no", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const dispatcher = new SlowDispatcher(channel, { map });
  dispatcher.isOpen = false;
  const { writable } = toStreams(dispatcher);
  const writer = writable.getWriter();
  await writer.write(new Uint8Array(9));
  const closing = writer.close();
  await rest(map);
  assertEquals(channel.written, 0);
  dispatcher.isOpen = true;
  await rest(map);
  await closing;
  assertEquals([channel.written, channel.writeEnded], [9, true]);
  dispatcher.abort();
});
