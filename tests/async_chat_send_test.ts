import {
  assert,
  assertEquals,
  assertFalse,
  assertGreater,
  assertLess,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { AsyncChat, type Channel, loop } from "../mod.ts";
import { arrive, block, countTurns, talk, Talker, Valve } from "./chats.ts";
import {
  FakeChannel,
  FakeNetwork,
  loopToEnd,
  passes,
  quietMap,
  rest,
  watch,
} from "./fakes.ts";
import { MockClock } from "../testing/mock_clock.ts";
import { bytes, type TestMap, text, turns } from "./support.ts";

/** A chat that is connecting; `network.succeed(channel)` ends that. */
function connecting<T extends Talker = Talker>(
  Class: new (map: TestMap, channel: Channel | null) => T = Talker as never,
) {
  const network = new FakeNetwork();
  const map = quietMap({ network });
  const channel = new FakeChannel();
  const chat = new Class(map, null);
  chat.createSocket();
  chat.connect({ port: 7 });
  return { network, map, channel, chat };
}

// push()

Deno.test("AsyncChat.push() sends in order, and the caller may change the bytes", async () => {
  const { chat, channel, map } = talk();
  const valve = new Valve(channel);
  const data = bytes("spam");
  for (const word of ["spam", "eggs", "ham "]) {
    data.set(bytes(word.padEnd(4)));
    chat.push(data);
  }
  data.fill(0);
  chat.push("→");
  valve.open();
  await passes(map, 4);
  assertEquals(channel.sent, "spameggsham →");
  chat.abort();
});

Deno.test("AsyncChat.push() behind a producer copies the bytes as well", async () => {
  const { chat, channel, map } = talk();
  const gate = Promise.withResolvers<Uint8Array>();
  const data = bytes("spam");
  chat.pushWithProducer([]);
  chat.pushWithProducer(async function* () {
    yield await gate.promise;
  }());
  chat.push(data);
  data.fill(0);
  gate.resolve(bytes("eggs "));
  await passes(map, 4);
  assertEquals(channel.sent, "eggs spam");
  chat.abort();
});

Deno.test("AsyncChat.push() before the connection stands sends when it does", async () => {
  const { chat, network, channel, map } = connecting();
  chat.push("spam ");
  chat.pushWithProducer(["eggs ", "ham "]);
  chat.push("beans");
  await passes(map, 2);
  assertEquals(chat.bufferedAmount, 19);
  network.succeed(channel);
  await passes(map, 4);
  assertEquals(channel.sent, "spam eggs ham beans");
  assertEquals(chat.bufferedAmount, 0);
  chat.abort();
});

Deno.test("AsyncChat.push() without a connection to be is an error", () => {
  const chat = new AsyncChat();
  const actions = {
    push: () => chat.push("spam"),
    pushWithProducer: () => chat.pushWithProducer(["spam"]),
    closeWhenDone: () => chat.closeWhenDone(),
  };
  for (const action of Object.values(actions)) {
    assertThrows(action, Error, "AsyncChat is not connected: call connect()");
  }
});

Deno.test("AsyncChat.push() after the end sends nothing and is no error", async () => {
  const { chat, channel, map } = talk();
  chat.close();
  chat.push("spam");
  chat.closeWhenDone();
  await loopToEnd(map);
  assertEquals(channel.sent, "");
  assertEquals(chat.bufferedAmount, 0);
  assertEquals(chat.events, []);
});

// closeWhenDone()

Deno.test("AsyncChat.closeWhenDone() waits however long the peer takes", async () => {
  const clock = new MockClock();
  const map = quietMap({ clock });
  const { chat, channel } = talk(Talker, map);
  const valve = new Valve(channel);
  chat.push("spam");
  chat.push(block(200_000));
  chat.closeWhenDone();
  const running = watch(loop({ map }));
  for (let i = 0; i < 10; i++) {
    await clock.advance(60_000);
    assertFalse(channel.closed);
    assertEquals(chat.events, []);
  }
  valve.step();
  await clock.advance(60_000);
  assertFalse(channel.closed);
  valve.open();
  await clock.advance(1_000);
  assert(channel.closed && running.settled);
  assertEquals(channel.sent.length, 200_004);
  assertEquals(chat.events, ["close"]);
});

Deno.test("AsyncChat.closeWhenDone() lets producers end, however slow", async () => {
  const { chat, channel, map } = talk();
  const gate = Promise.withResolvers<string>();
  chat.push("a");
  chat.pushWithProducer(["b", "c"]);
  chat.pushWithProducer(async function* () {
    yield await gate.promise;
    yield "e";
  }());
  chat.push("f");
  chat.closeWhenDone();
  await rest(map);
  assertFalse(channel.closed);
  gate.resolve("d");
  await loopToEnd(map);
  assertEquals(channel.sent, "abcdef");
  assertEquals(chat.events, ["close"]);
});

Deno.test("AsyncChat.closeWhenDone() with nothing to send closes in the loop, once", async () => {
  const { chat, channel, map } = talk();
  chat.closeWhenDone();
  chat.closeWhenDone();
  assertFalse(channel.closed);
  await loopToEnd(map);
  assertEquals(chat.events, ["close"]);
  assert(channel.closed);
});

Deno.test("AsyncChat.closeWhenDone() waits for the connection to stand", async () => {
  for (const words of ["", "spam"]) {
    for (const early of [true, false]) {
      class Client extends Talker {
        override handleConnect(): void {
          this.events.push("connect");
          if (!early) this.#end();
        }
        #end(): void {
          if (words) this.push(words);
          this.closeWhenDone();
        }
        start(): void {
          if (early) this.#end();
        }
      }
      const { chat, network, channel, map } = connecting(Client);
      chat.start();
      await passes(map, 4);
      assertEquals(chat.events, []);
      network.succeed(channel);
      await loopToEnd(map);
      assertEquals(chat.events, ["connect", "close"]);
      assertEquals(channel.sent, words);
    }
  }
});

Deno.test("AsyncChat.closeWhenDone() waits for the connection where readable() is overridden", async () => {
  class Asking extends Talker {
    override readable(): boolean {
      return true;
    }
  }
  const { chat, network, channel, map } = connecting(Asking);
  chat.closeWhenDone();
  await passes(map, 4);
  assertEquals(chat.events, []);
  network.succeed(channel);
  await loopToEnd(map);
  assertEquals(chat.events, ["close"]);
});

Deno.test("AsyncChat.closeWhenDone() while connecting does not spin", async () => {
  const clock = new MockClock();
  const network = new FakeNetwork();
  const map = quietMap({ clock, network });
  const chat = new Talker(map);
  chat.createSocket();
  chat.connect({ port: 7 });
  chat.closeWhenDone();
  assertLess(await countTurns(map, clock), 20);
  network.succeed(new FakeChannel());
  await clock.advance(10);
  assertEquals(chat.events, ["close"]);
});

Deno.test("AsyncChat.closeWhenDone() waits for the connection after a producer's failure", async () => {
  const { chat, network, channel, map } = connecting();
  chat.strict = false;
  chat.pushWithProducer({
    more: () => {
      throw new Error("failed");
    },
  });
  chat.closeWhenDone();
  await rest(map);
  assertEquals(chat.events, ["error"]);
  network.succeed(channel);
  await loopToEnd(map);
  assertEquals(chat.events, ["error", "close"]);
});

Deno.test("AsyncChat.closeWhenDone() is not forgotten over an error in a hook", async () => {
  class Failing extends Talker {
    override foundTerminator(): void {
      super.foundTerminator();
      throw new Error("failed");
    }
  }
  const fake = talk(Failing);
  const valve = new Valve(fake.channel);
  fake.chat.strict = false;
  fake.chat.setTerminator("\n");
  fake.chat.push("bye");
  await arrive(fake, "a\n");
  fake.chat.closeWhenDone();
  await passes(fake.map, 4);
  assertEquals(fake.chat.events, ["error"]);
  valve.open();
  await loopToEnd(fake.map);
  assertEquals(fake.chat.events, ["error", "close"]);
});

Deno.test("AsyncChat refuses to push after closeWhenDone()", () => {
  const { chat } = talk();
  chat.push("spam");
  chat.closeWhenDone();
  const message = "Cannot push: <Talker connected> closes when done";
  assertThrows(() => chat.push("eggs"), Error, message);
  assertThrows(() => chat.pushWithProducer(["eggs"]), Error, message);
  chat.abort();
});

Deno.test("AsyncChat.closeWhenDone() goes on reading, but hands out nothing more", async () => {
  class Polite extends Talker {
    override foundTerminator(): void {
      super.foundTerminator();
      this.push("bye");
      this.closeWhenDone(); // A second push() would be an error.
    }
  }
  const fake = talk(Polite);
  const valve = new Valve(fake.channel);
  fake.chat.setTerminator("\n");
  await arrive(fake, "quit\nmore\n", "and more\n", "and more");
  assertEquals(fake.channel.unread, 0);
  assertEquals(fake.chat.taken, "quit|");
  valve.open();
  await loopToEnd(fake.map);
  assertEquals(fake.channel.sent, "bye");
  assertEquals(fake.chat.events, ["close"]);
});

Deno.test("AsyncChat.closeWhenDone() in collectIncomingData() hands out no terminator", async () => {
  class Curt extends Talker {
    override collectIncomingData(data: Uint8Array): void {
      super.collectIncomingData(data);
      this.push("bye");
      this.closeWhenDone();
    }
  }
  const fake = talk(Curt);
  fake.chat.setTerminator("\n");
  await arrive(fake, "quit\nmore\n");
  assertEquals(fake.chat.taken, "quit");
  await loopToEnd(fake.map);
  assertEquals(fake.channel.sent, "bye");
  assertEquals(fake.chat.errors, []);
});

Deno.test("AsyncChat.closeWhenDone() is not hurried by an earlier drain", async () => {
  // The drain is due, and in the same pass more is pushed.
  class Late extends Talker {
    override foundTerminator(): void {
      this.push(block(300_000));
      this.closeWhenDone();
    }
  }
  const { chat, channel, map } = talk(Late);
  const valve = new Valve(channel);
  chat.setTerminator("\n");
  chat.push(block(100_000));
  await passes(map, 2);
  channel.push("\n");
  valve.step();
  await rest(map);
  assertFalse(channel.closed);
  assertEquals(chat.events, []);
  valve.open();
  await loopToEnd(map);
  assertEquals(channel.sent.length, 400_000);
});

Deno.test("AsyncChat.closeWhenDone() is over when the peer breaks the connection", async () => {
  const { chat, channel, map } = talk();
  channel.take = () => Promise.reject(new Deno.errors.BrokenPipe("gone"));
  chat.push("spam");
  chat.closeWhenDone();
  channel.push(null);
  await loopToEnd(map);
  assertEquals(chat.events, ["close"]);
});

Deno.test("AsyncChat.handleClose() that throws after closeWhenDone() still closes", async () => {
  class Clumsy extends Talker {
    override handleClose(): void {
      this.events.push("close");
      throw new Error("clumsy");
    }
  }
  const { chat, channel, map } = talk(Clumsy);
  chat.closeWhenDone();
  await loopToEnd(map);
  assert(channel.closed);
  assertEquals(chat.events, ["close", "error"]);
});

// handleDrain(), highWaterMark, bufferedAmount

Deno.test("AsyncChat.handleDrain() runs once the buffer fell to half the mark", async () => {
  const { chat, channel, map } = talk();
  const valve = new Valve(channel);
  chat.highWaterMark = 1_000;
  chat.push(block(600));
  assertEquals(chat.bufferedAmount, 600);
  await passes(map, 2);
  chat.push(block(600));
  assertEquals(chat.bufferedAmount, 1_200);
  await passes(map, 2);
  assertEquals(chat.events, []);
  valve.step();
  await passes(map, 4);
  assertEquals(chat.bufferedAmount, 600);
  assertEquals(chat.events, []);
  valve.step();
  await passes(map, 4);
  assertEquals(chat.events, ["drain"]);
  chat.push(block(999));
  valve.open();
  await passes(map, 4);
  assertEquals(chat.events, ["drain"], "the mark was not reached again");
  chat.push(block(1_000));
  await passes(map, 4);
  assertEquals(chat.events, ["drain", "drain"]);
  chat.abort();
});

Deno.test("AsyncChat.handleDrain() follows highWaterMark, whatever acOutBufferSize is", async () => {
  const { chat, channel, map } = talk();
  const valve = new Valve(channel);
  chat.acOutBufferSize = 10;
  chat.highWaterMark = 1_000;
  chat.push(block(600));
  chat.push(block(500));
  await passes(map, 2);
  valve.step();
  await passes(map, 4);
  assertEquals(chat.bufferedAmount, 500);
  assertEquals(chat.events, ["drain"]);
  chat.abort();
});

Deno.test("AsyncChat.handleDrain() keeps a sender from filling the memory", async () => {
  class Sender extends Talker {
    left = 500;
    most = 0;
    fill(): void {
      while (this.left > 0 && this.bufferedAmount < this.highWaterMark) {
        this.left--;
        this.push(block(10_000));
        this.most = Math.max(this.most, this.bufferedAmount);
      }
      if (this.left === 0) this.closeWhenDone();
    }
    override handleDrain(): void {
      this.fill();
    }
  }
  const { chat, channel, map } = talk(Sender);
  chat.fill();
  await loopToEnd(map);
  assertEquals(channel.sent.length, 5_000_000);
  assertLess(chat.most, 80_000);
  assertEquals(chat.events, ["close"]);
});

Deno.test("AsyncChat with bytes behind a slow producer does not spin", async () => {
  const clock = new MockClock();
  const map = quietMap({ clock });
  const { chat, channel } = talk(Talker, map);
  const gate = Promise.withResolvers<string>();
  chat.highWaterMark = 10;
  chat.pushWithProducer(async function* () {
    yield await gate.promise;
  }());
  chat.push(block(1_000));
  chat.closeWhenDone();
  assertLess(await countTurns(map, clock), 20);
  gate.resolve("x");
  await clock.advance(10);
  await turns();
  assertEquals(channel.sent.length, 1_001);
  assertEquals(chat.events, ["close"]);
});

Deno.test("AsyncChat.bufferedAmount counts what waits behind a producer", async () => {
  const { chat, channel, map } = talk();
  const valve = new Valve(channel);
  const gate = Promise.withResolvers<string>();
  chat.push("abc");
  chat.pushWithProducer(async function* () {
    yield await gate.promise;
  }());
  chat.push("defgh");
  assertEquals(chat.bufferedAmount, 8);
  valve.open();
  await passes(map, 4);
  assertEquals(chat.bufferedAmount, 5);
  gate.resolve("");
  await passes(map, 4);
  assertEquals(chat.bufferedAmount, 0);
  assertEquals(channel.sent, "abcdefgh");
  chat.abort();
});

// discardBuffers()

Deno.test("AsyncChat.discardBuffers() drops what has not begun to be sent", async () => {
  const { chat, channel, map } = talk();
  const valve = new Valve(channel);
  let released = false;
  chat.push("begun ");
  await passes(map, 2);
  chat.push("dropped ");
  chat.pushWithProducer(function* () {
    try {
      for (;;) yield "dropped ";
    } finally {
      released = true;
    }
  }());
  chat.push("dropped ");
  chat.discardBuffers();
  assert(released);
  chat.push("421 sorry");
  valve.open();
  await passes(map, 4);
  assertEquals(channel.sent, "begun 421 sorry");
  chat.abort();
});

Deno.test("AsyncChat.discardBuffers() takes closeWhenDone() back, as in Python", async () => {
  const { chat, channel, map } = talk();
  const valve = new Valve(channel);
  chat.push("begun ");
  await passes(map, 2);
  chat.closeWhenDone();
  chat.discardBuffers();
  chat.push("and on");
  valve.open();
  await passes(map, 4);
  assertEquals(channel.sent, "begun and on");
  assert(chat.connected);
  assertEquals(chat.events, []);
  chat.closeWhenDone();
  await loopToEnd(map);
});

Deno.test("AsyncChat.discardBuffers() lets a waiting sender go on", async () => {
  const { chat, map, channel } = talk();
  const valve = new Valve(channel);
  chat.push(block(100));
  await passes(map, 2);
  chat.push(block(200_000));
  chat.discardBuffers();
  await passes(map, 4);
  assertEquals(chat.events, ["drain"]);
  valve.open();
  chat.abort();
});

Deno.test("AsyncChat.discardBuffers() does nothing without a connection", () => {
  const chat = new AsyncChat();
  chat.discardBuffers();
  assertEquals(chat.bufferedAmount, 0);
});

// A reconnecting client keeps sending in order

Deno.test("AsyncChat.close() still sends what was pushed, but no more of a producer", async () => {
  const { chat, channel, map } = talk();
  const valve = new Valve(channel);
  chat.push("spam ");
  chat.pushWithProducer(["eggs "]);
  chat.push("ham ");
  chat.acOutBufferSize = 20;
  let pulls = 0;
  chat.pushWithProducer(function* () {
    for (;;) {
      pulls++;
      yield "beans ";
    }
  }());
  const before = pulls;
  chat.close();
  valve.open();
  await loopToEnd(map);
  assertStringIncludes(channel.sent, "spam eggs ham beans ");
  assertEquals(pulls, before);
  assertGreater(pulls, 0);
  assertLess(text(channel.writes.at(-1)!).length, 40);
});
