/** The hooks of a conversation: async, failing, closing, and what they are given. */

import {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { type Channel, ExitNow, loop } from "../mod.ts";
import {
  arrive,
  block,
  never,
  splitsOf,
  takenFrom,
  talk,
  Talker,
  talkInLines,
  Valve,
} from "./chats.ts";
import {
  FakeChannel,
  FakeNetwork,
  LogLines,
  loopToEnd,
  passes,
  quietMap,
  rest,
} from "./fakes.ts";
import { bytes, loopUntil, text, turn } from "./support.ts";

// Asynchronous hooks

Deno.test("AsyncChat waits for a hook's promise before it calls the next hook", async () => {
  for (const parts of splitsOf("GET\r\n12345PUT\r\n\r\n")) {
    const { chat, channel, map } = talk();
    let busy = 0;
    const work = async () => {
      assertEquals(busy++, 0, "one at a time");
      await turn();
      busy--;
    };
    Object.assign(chat.act, { collect: work, found: work });
    chat.terminators = ["\r\n", 5];
    chat.setTerminator("\r\n");
    channel.push(...parts, null);
    await loopToEnd(map);
    assertEquals([chat.taken, busy], ["GET|12345|PUT|\r\n", 0]);
  }
});

Deno.test("AsyncChat reads nothing while a hook is pending", async () => {
  const gate = Promise.withResolvers<void>();
  const fake = talkInLines({ found: () => gate.promise });
  await arrive(fake, "a\nb\n", "c\n", "d\n", "e\n");
  assertEquals(fake.chat.taken, "a|");
  assertGreaterOrEqual(fake.channel.unread, 2, "at most one buffer is held");
  gate.resolve();
  await rest(fake.map);
  assertEquals(fake.chat.taken, "a|b|c|d|e|");
});

// Errors

/** A chat that fails in a hook, at once or later, wherever it has taken `at` in. */
function talkUntil(at: string, later: boolean) {
  const fail = (): void | Promise<void> => {
    if (!fake.chat.taken.endsWith(at)) return;
    const error = new TypeError(`at ${at}`);
    if (later) return turn().then(() => Promise.reject(error));
    throw error;
  };
  const fake = talkInLines({ collect: fail, found: fail });
  return fake;
}

for (const later of [false, true]) {
  const how = later ? "rejects" : "throws";

  Deno.test(`AsyncChat whose hook ${how} hands that to handleError(), which closes`, async () => {
    for (const at of ["b", "b|"]) {
      const { chat, channel, map } = talkUntil(at, later);
      channel.push("a\nb\nc\n");
      await loopToEnd(map);
      assertEquals(chat.taken, `a|${at}`);
      assertEquals(chat.events, ["error", "close"]);
      assertEquals(chat.errors.map(String), [`TypeError: at ${at}`]);
      assert(channel.closed);
    }
  });

  Deno.test(`AsyncChat whose hook ${how} goes on with what it received if that does not close`, async () => {
    for (
      const [at, terminator, expected] of [
        ["b", "\n", "a|b|c|b|d|"],
        ["b|", "\n", "a|b|c|b|d|"],
        ["b\n", 2, "a\n|b\n|c\n|b\n|d\n|"],
        ["b\n|", 2, "a\n|b\n|c\n|b\n|d\n|"],
      ] as const
    ) {
      const { chat, channel, map } = talkUntil(at, later);
      chat.strict = false;
      chat.terminators = [terminator];
      chat.setTerminator(terminator);
      channel.push("a\nb\nc\nb\nd\n");
      await loopUntil(map, () => chat.taken.length >= expected.length);
      assertEquals([chat.taken, chat.errors.length], [expected, 2]);
    }
  });
}

Deno.test("AsyncChat hands a failed read to handleError()", async () => {
  const { chat, channel, map } = talk();
  channel.push("spam", new TypeError("unreadable"));
  await loopToEnd(map);
  assertEquals(chat.taken, "spam");
  assertEquals(chat.errors.map(String), ["TypeError: unreadable"]);
  assertEquals(chat.events, ["error", "close"]);
});

Deno.test("AsyncChat waits for an async handleError() before it goes on", async () => {
  const gate = Promise.withResolvers<void>();
  const { chat, channel, map } = talkUntil("a|", false);
  chat.handleError = () => gate.promise;
  channel.push("a\nb\n");
  await rest(map);
  assertEquals(chat.taken, "a|");
  gate.resolve();
  await rest(map);
  assertEquals(chat.taken, "a|b|");
});

Deno.test("AsyncChat that fails at every line holds no more than one buffer", async () => {
  const { chat, channel, map } = talkUntil("|", false);
  chat.strict = false;
  for (let i = 0; i < 20; i++) channel.push("a\n".repeat(10));
  await passes(map, 20);
  assert(channel.unread > 10, `${channel.unread} unread`);
  await passes(map, 400);
  assertEquals(chat.taken, "a|".repeat(200));
});

Deno.test("AsyncChat passes ExitNow to the loop's caller, and goes on in the next loop", async () => {
  const { chat, channel, map } = talkInLines({
    found: () => {
      if (chat.taken === "a|") throw new ExitNow("leaving");
    },
  });
  channel.push("a\nb\n");
  await assertRejects(() => loop({ map }), ExitNow, "leaving");
  assertEquals(chat.taken, "a|");
  await passes(map, 4);
  assertEquals([chat.taken, chat.errors], ["a|b|", []]);
});

// Closing

for (const how of ["close", "abort", "handleClose"] as const) {
  Deno.test(`AsyncChat takes nothing more in once a hook has called ${how}()`, async () => {
    for (const at of ["b", "b|"]) {
      const end = () => {
        if (chat.taken.endsWith(at)) return chat[how]();
      };
      const { chat, channel, map } = talkInLines({ collect: end, found: end });
      channel.push("a\nb\nc\n", "d\n");
      await loopToEnd(map);
      assertEquals(chat.taken, `a|${at}`);
    }
  });
}

Deno.test("AsyncChat.discardBuffers() in a hook ends what was received", async () => {
  const fake = talkInLines({
    found: () => {
      if (fake.chat.taken === "a|") fake.chat.discardBuffers();
    },
  });
  await arrive(fake, "a\nb\nc", "d\n");
  assertEquals(fake.chat.taken, "a|d|");
});

Deno.test("AsyncChat.discardBuffers() forgets a terminator's beginning", async () => {
  const fake = talk();
  fake.chat.setTerminator("\r\n");
  await arrive(fake, "a\r");
  fake.chat.discardBuffers();
  await arrive(fake, "\nb\r\n");
  assertEquals(fake.chat.taken, "a\nb|");
});

// Too long

Deno.test("AsyncChat.handleOverflow() logs and closes, however the input is split", async () => {
  for (const parts of splitsOf("abc\r\nabcdef\r\n")) {
    const logger = new LogLines();
    const { chat, channel, map } = talk(Talker, quietMap({ logger }));
    chat.maxLength = 5;
    chat.setTerminator("\r\n");
    channel.push(...parts);
    await loopToEnd(map);
    assertEquals(chat.taken, "abc|abcde!");
    assert(channel.closed);
    assertEquals(logger.lines, [
      "error: closing <Talker connected>: more than 5 bytes without a " +
      "terminator: maxLength is 5; if the protocol has longer messages, give " +
      "AsyncChat a larger maxLength",
    ]);
  }
});

for (
  const [terminator, whole, maxLength, expected] of [
    [
      "\r\n",
      "abcdefghijk\r\nabc\r\nabcd\r\nabcde\r\n",
      4,
      "abcd!efgh!ijk|abc|abcd|abcd!e|",
    ],
    ["aab", "aaaaaaaabaabcaaaab", 2, "aa!aa!aa||ca!a|"],
    ["aab", "aaaaaaaabaabcaaaab", 1, "a!a!a!a!a!a||c!a!a|"],
    ["aaaaab", "aaaaaaaaaaaabaaaaaaab", 3, "aaa!aaa!a|aa|"],
  ] as const
) {
  Deno.test(`AsyncChat.handleOverflow() may go on after ${maxLength} bytes without ${JSON.stringify(terminator)}, however the input is split`, async () => {
    for (const parts of splitsOf(whole)) {
      const taken = await takenFrom(parts, [terminator], (chat) => {
        chat.maxLength = maxLength;
        chat.strict = false;
      });
      assertEquals(taken, expected, JSON.stringify(parts));
    }
  });
}

Deno.test("AsyncChat.handleOverflow() may look for another terminator, or none, in the rest", async () => {
  for (
    const [next, expected] of [
      [null, "abc!defgh\n"],
      ["f", "abc!de|gh\n"],
    ]
  ) {
    const fake = talkInLines();
    const { chat } = fake;
    chat.maxLength = 3;
    chat.handleOverflow = () => {
      chat.taken += "!";
      chat.setTerminator(next!);
      return Promise.resolve();
    };
    await arrive(fake, "abcdefgh\n");
    assertEquals(chat.taken, expected);
  }
});

Deno.test("AsyncChat.maxLength counts anew after a counted block", async () => {
  const fake = talkInLines();
  fake.chat.maxLength = 5;
  await arrive(fake, "spam");
  fake.chat.setTerminator(2);
  fake.chat.terminators = ["\n"];
  await arrive(fake, "xxeggs\n");
  assertEquals(fake.chat.taken, "spamxx|eggs|");
});

Deno.test("AsyncChat.maxLength bounds only what a terminator is looked for in", async () => {
  const all = "x".repeat(30);
  const counted = `${"x".repeat(20)}|${"x".repeat(10)}`;
  for (const [terminator, expected] of [[null, all], [0, all], [20, counted]]) {
    const taken = await takenFrom([all], [terminator as number], (chat) => {
      chat.maxLength = 3;
      chat.terminators = [];
    });
    assertEquals(taken, expected);
  }
});

Deno.test("AsyncChat.maxLength is 64 KiB by default", async () => {
  const inOrder = "x".repeat(65_536);
  assertEquals(await takenFrom([`${inOrder}\n`], ["\n"]), `${inOrder}|`);
  assertEquals(await takenFrom([`${inOrder}x\n`], ["\n"]), `${inOrder}!`);
});

for (const name of ["maxLength", "highWaterMark"] as const) {
  Deno.test(`AsyncChat.${name} refuses what is no length`, () => {
    const { chat } = talk();
    for (const value of [0, -1, 1.5, NaN, "5", null]) {
      const kind = typeof value === "number" ? RangeError : TypeError;
      assertThrows(() => void (chat[name] = value as number), kind);
    }
    assertEquals(chat[name], 65_536);
    chat[name] = Infinity;
    assertEquals(chat[name], Infinity);
  });
}

// STARTTLS

/** A network whose handshakes lead to `secured`. */
class SecuringNetwork extends FakeNetwork {
  readonly secured = new FakeChannel();
  startTls(): Promise<Channel> {
    return Promise.resolve(this.secured);
  }
}

/** A chat that encrypts behind its first line. */
function securing() {
  const network = new SecuringNetwork();
  const fake = talk(Talker, quietMap({ network }));
  fake.chat.setTerminator("\r\n");
  fake.chat.act.found = async () => {
    if (fake.chat.taken !== "220|") return;
    await fake.chat.startTls({ hostname: "localhost" });
  };
  return { ...fake, secured: network.secured };
}

Deno.test("AsyncChat.startTls() in foundTerminator() goes on encrypted", async () => {
  const { chat, channel, map, secured } = securing();
  await arrive({ chat, channel, map }, "220\r\n");
  chat.push("secret");
  secured.push("250\r\n");
  await rest(map);
  assertEquals([secured.sent, channel.sent], ["secret", ""]);
  assertEquals(chat.taken, "220|250|");
});

Deno.test("AsyncChat.startTls() refuses what came before it, unencrypted", async () => {
  for (const rest of ["\r", "250 evil\r\n", "x"]) {
    const { chat, channel, map } = securing();
    channel.push(`220\r\n${rest}`);
    await loopToEnd(map);
    assertEquals(chat.errors.map(String), [
      "Error: Cannot start TLS: <Talker connected>: " +
      "unencrypted bytes wait to be collected",
    ]);
    assertEquals(chat.taken, "220|");
  }
});

Deno.test("AsyncChat.startTls() ends the connection when a beginning of a terminator is held back", async () => {
  const fake = securing();
  await arrive(fake, "a\r");
  const start = () => fake.chat.startTls();
  await assertRejects(start, Error, "wait to be collected");
  fake.chat.push("secret");
  await arrive(fake, "\nmore\r\n");
  assertEquals(fake.chat.taken, "a");
  assertEquals(fake.chat.events, ["error", "close"]);
  assertEquals(fake.channel.sent, "");
});

Deno.test("AsyncChat.startTls() refuses an unfinished producer", async () => {
  const { chat } = securing();
  chat.pushWithProducer(never());
  await assertRejects(() => chat.startTls(), Error, "is unfinished");
});

// Whose the data is

Deno.test("AsyncChat gives data away for good: changing it changes nothing else", async () => {
  const whole = "spam\r\n\reggs\r\nabab ababab\r\nham\r";
  for (const parts of splitsOf(whole)) {
    for (const terminator of ["\r\n", "ababc", 3, null, "\n"]) {
      const pieces: Uint8Array[] = [];
      const taken = await takenFrom(parts, [terminator], (chat) => {
        const { collectIncomingData } = chat;
        chat.collectIncomingData = (data) => {
          collectIncomingData.call(chat, data);
          pieces.push(data.fill(bytes("#")[0]!));
        };
      });
      assertEquals(taken, await takenFrom(parts, [terminator]));
      for (const piece of pieces) {
        assertEquals(text(piece), "#".repeat(piece.length));
      }
    }
  }
});

Deno.test("AsyncChat.acInBufferSize bounds what is taken at a time", async () => {
  const { chat, channel, map } = talk();
  const lengths: number[] = [];
  chat.act.collect = ({ length }) => void lengths.push(length);
  chat.acInBufferSize = 7;
  channel.push(block(1_000), null);
  await loopToEnd(map);
  assertEquals(Math.max(...lengths), 7);
  assertEquals(chat.taken, text(block(1_000)));
});

// Events that end a parse

Deno.test("AsyncChat hands out nothing while it is outside the map, and the rest afterwards", async () => {
  const { chat, channel, map } = talkInLines({
    collect: () => chat.delChannel(),
  });
  channel.push("spam\neggs\n");
  await passes(map, 4);
  assertEquals(chat.taken, "spam");
  chat.addChannel();
  await passes(map, 4);
  assertEquals(chat.taken, "spam|eggs");
});

Deno.test("AsyncChat hands out nothing while its handleClose() is pending", async () => {
  const gate = Promise.withResolvers<void>();
  const { chat, channel, map } = talkInLines();
  chat.handleClose = () => gate.promise;
  chat.maxLength = 4;
  channel.push("spamspam\neggs\n");
  await passes(map, 4);
  assertEquals(chat.taken, "spam!");
  gate.resolve();
  await loopToEnd(map);
  assertEquals(chat.taken, "spam!");
});

Deno.test("AsyncChat hands out nothing after its readable() has closed it", async () => {
  const { chat, channel, map } = talkInLines();
  chat.highWaterMark = 1;
  channel.take = () => new Promise(() => {});
  chat.readable = () => {
    if (chat.taken.endsWith("|")) chat.abort();
    return true;
  };
  chat.push("a");
  channel.push("spam\neggs\n");
  await loopToEnd(map);
  assertEquals(chat.taken, "spam|");
});

Deno.test("AsyncChat whose producer closes it gets no handleDrain()", async () => {
  const { chat, channel, map } = talk();
  chat.highWaterMark = 10;
  chat.acOutBufferSize = 10;
  const valve = new Valve(channel);
  chat.push("spam, spam and spam");
  let asked = 0;
  chat.pushWithProducer({
    more: () => {
      if (++asked === 1) chat.close();
      return "";
    },
  });
  valve.open();
  await loopToEnd(map);
  assertEquals([asked, chat.events], [1, []]);
});
