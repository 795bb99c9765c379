import {
  assert,
  assertEquals,
  assertFalse,
  assertGreater,
  assertLess,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { AsyncChat, loop } from "../mod.ts";
import {
  arrive,
  block,
  connecting,
  countTurns,
  failing,
  type Fake,
  gated,
  talk,
  Talker,
  talkInLines,
  Valve,
} from "./chats.ts";
import { loopToEnd, passes, quietMap, rest, watch } from "./fakes.ts";
import { MockClock } from "../testing/mock_clock.ts";
import { text, turns } from "./support.ts";

// push()

Deno.test("AsyncChat.push() sends in order", async () => {
  const { chat, channel, map } = talk();
  for (const word of ["spam", "eggs", "→"]) chat.push(word);
  await passes(map, 4);
  assertEquals(channel.sent, "spameggs→");
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
});

Deno.test("AsyncChat.push() without a connection to be is an error", () => {
  const chat = new AsyncChat();
  for (
    const action of [
      () => chat.push("spam"),
      () => chat.pushWithProducer(["spam"]),
      () => chat.closeWhenDone(),
    ]
  ) assertThrows(action, Error, "AsyncChat is not connected: call connect()");
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
  const { producer, give } = gated();
  chat.push("a");
  chat.pushWithProducer(["b", "c"]);
  chat.pushWithProducer(producer);
  chat.push("e");
  chat.closeWhenDone();
  await rest(map);
  assertFalse(channel.closed);
  give("d");
  await loopToEnd(map);
  assertEquals([channel.sent, chat.events], ["abcde", ["close"]]);
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

for (const early of [true, false]) {
  const when = early ? "before connect() has ended" : "in handleConnect()";

  Deno.test(`AsyncChat.closeWhenDone() ${when} waits for the connection to stand`, async () => {
    for (const words of ["", "spam"]) {
      const { chat, network, channel, map } = connecting();
      const end = () => {
        if (words) chat.push(words);
        chat.closeWhenDone();
      };
      chat.handleConnect = () => {
        chat.events.push("connect");
        if (!early) end();
      };
      if (early) end();
      await passes(map, 4);
      assertEquals(chat.events, []);
      network.succeed(channel);
      await loopToEnd(map);
      assertEquals(chat.events, ["connect", "close"]);
      assertEquals(channel.sent, words);
    }
  });
}

Deno.test("AsyncChat.closeWhenDone() waits for the connection where readable() is overridden", async () => {
  const { chat, network, channel, map } = connecting();
  chat.readable = () => true;
  chat.closeWhenDone();
  await passes(map, 4);
  assertEquals(chat.events, []);
  network.succeed(channel);
  await loopToEnd(map);
  assertEquals(chat.events, ["close"]);
});

Deno.test("AsyncChat.closeWhenDone() while connecting does not spin", async () => {
  const clock = new MockClock();
  const { chat, network, channel, map } = connecting({ clock });
  chat.closeWhenDone();
  assertLess(await countTurns(map, clock), 20);
  network.succeed(channel);
  await clock.advance(10);
  assertEquals(chat.events, ["close"]);
});

Deno.test("AsyncChat.closeWhenDone() waits for the connection after a producer's failure", async () => {
  const { chat, network, channel, map } = connecting();
  chat.strict = false;
  chat.pushWithProducer(failing());
  chat.closeWhenDone();
  await rest(map);
  assertEquals(chat.events, ["error"]);
  network.succeed(channel);
  await loopToEnd(map);
  assertEquals(chat.events, ["error", "close"]);
});

Deno.test("AsyncChat.closeWhenDone() is not forgotten over an error in a hook", async () => {
  const fake = talkInLines({
    found: () => {
      throw new Error("failed");
    },
  });
  const { chat } = fake;
  const valve = new Valve(fake.channel);
  chat.strict = false;
  chat.push("bye");
  await arrive(fake, "a\n");
  chat.closeWhenDone();
  await passes(fake.map, 4);
  assertEquals(chat.events, ["error"]);
  valve.open();
  await loopToEnd(fake.map);
  assertEquals(chat.events, ["error", "close"]);
});

Deno.test("AsyncChat refuses to push after closeWhenDone()", () => {
  const { chat } = talk();
  chat.push("spam");
  chat.closeWhenDone();
  const message = "Cannot push: <Talker connected> closes when done";
  assertThrows(() => chat.push("eggs"), Error, message);
  assertThrows(() => chat.pushWithProducer(["eggs"]), Error, message);
});

/** Says goodbye, once: a second push() would be an error. */
function sayBye({ chat }: Fake<Talker>): void {
  chat.push("bye");
  chat.closeWhenDone();
}

Deno.test("AsyncChat.closeWhenDone() goes on reading, but hands out nothing more", async () => {
  const fake = talkInLines({ found: () => sayBye(fake) });
  const valve = new Valve(fake.channel);
  await arrive(fake, "quit\nmore\n", "and more\n", "and more");
  assertEquals(fake.channel.unread, 0);
  assertEquals(fake.chat.taken, "quit|");
  valve.open();
  await loopToEnd(fake.map);
  assertEquals([fake.channel.sent, fake.chat.events], ["bye", ["close"]]);
});

Deno.test("AsyncChat.closeWhenDone() in collectIncomingData() hands out no terminator", async () => {
  const fake = talkInLines({ collect: () => sayBye(fake) });
  await arrive(fake, "quit\nmore\n");
  assertEquals(fake.chat.taken, "quit");
  await loopToEnd(fake.map);
  assertEquals([fake.channel.sent, fake.chat.errors], ["bye", []]);
});

Deno.test("AsyncChat.closeWhenDone() is not hurried by an earlier drain", async () => {
  // The drain is due, and in the same pass more is pushed.
  const { chat, channel, map } = talkInLines({
    found: () => {
      chat.push(block(300_000));
      chat.closeWhenDone();
    },
  });
  const valve = new Valve(channel);
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
  const { chat, channel, map } = talk();
  chat.handleClose = () => {
    throw new Error("clumsy");
  };
  chat.closeWhenDone();
  await loopToEnd(map);
  assert(channel.closed);
  assertEquals(chat.events, ["error"]);
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
});

Deno.test("AsyncChat with bytes behind a slow producer does not spin", async () => {
  const clock = new MockClock();
  const { chat, channel, map } = talk(Talker, quietMap({ clock }));
  const { producer, give } = gated();
  chat.highWaterMark = 10;
  chat.pushWithProducer(producer);
  chat.push(block(1_000));
  chat.closeWhenDone();
  assertLess(await countTurns(map, clock), 20);
  give("x");
  await clock.advance(10);
  await turns();
  assertEquals(channel.sent.length, 1_001);
  assertEquals(chat.events, ["close"]);
});

Deno.test("AsyncChat.bufferedAmount counts what waits behind a producer", async () => {
  const { chat, channel, map } = talk();
  const valve = new Valve(channel);
  const { producer, give } = gated();
  chat.push("abc");
  chat.pushWithProducer(producer);
  chat.push("defgh");
  assertEquals(chat.bufferedAmount, 8);
  valve.open();
  await passes(map, 4);
  assertEquals(chat.bufferedAmount, 5);
  give("");
  await passes(map, 4);
  assertEquals([chat.bufferedAmount, channel.sent], [0, "abcdefgh"]);
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
});

// close()

Deno.test("AsyncChat.close() still sends what was pushed, but no more of a producer", async () => {
  const { chat, channel, map } = talk();
  const valve = new Valve(channel);
  chat.push("spam ");
  chat.pushWithProducer(["eggs "]);
  chat.push("ham ");
  chat.acOutBufferSize = 20;
  let pulls = 0;
  const more = () => {
    pulls++;
    return "beans ";
  };
  chat.pushWithProducer({ more });
  const before = pulls;
  chat.close();
  valve.open();
  await loopToEnd(map);
  assertStringIncludes(channel.sent, "spam eggs ham beans ");
  assertEquals(pulls, before);
  assertGreater(pulls, 0);
  assertLess(text(channel.writes.at(-1)!).length, 40);
});
