/** An AsyncChat that leaves collecting to the library, and takes what is there. */

import {
  assert,
  assertEquals,
  assertLess,
  assertLessOrEqual,
  assertNotStrictEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { AsyncChat, type AsyncChatOptions, type Channel } from "../mod.ts";
import {
  arrive,
  block,
  type Fake,
  splitsOf,
  talk,
  type TerminatorLike,
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
import { bytes, type TestMap, text, turn } from "./support.ts";

/** Takes text: `|` is written behind a message, `!` behind what is too long. */
class Taker extends AsyncChat {
  taken = "";
  readonly errors: unknown[] = [];

  constructor(
    map: TestMap,
    channel: Channel | null = null,
    options: AsyncChatOptions = {},
  ) {
    super(channel, { ...options, map });
  }
  override foundTerminator(): void | Promise<void> {
    this.taken += `${this.takeText()}|`;
  }
  override handleClose(): void | Promise<void> {
    this.taken += this.takeText();
    return super.handleClose();
  }
  override handleError(error: unknown): void | Promise<void> {
    this.errors.push(error);
    return super.handleError(error);
  }
}

/** Takes text as it comes. */
class Impatient extends Taker {
  override collectIncomingData(data: Uint8Array): void | Promise<void> {
    super.collectIncomingData(data);
    this.taken += this.takeText();
  }
}

/** Goes on after an overflow, with or without what there is too much of. */
class Lenient extends Taker {
  takesAll = true;
  override handleOverflow(): void | Promise<void> {
    this.taken += this.takesAll ? `${this.takeText()}!` : "!";
  }
}

/** A chat of `Class` with a terminator and a limit. */
function take<T extends AsyncChat = Taker>(
  terminator: TerminatorLike,
  Class: new (map: TestMap, channel: Channel | null) => T = Taker as never,
  maxLength = 65_536,
): Fake<T> & { logger: LogLines } {
  const logger = new LogLines();
  const fake = talk(Class, quietMap({ logger }));
  fake.chat.maxLength = maxLength;
  fake.chat.setTerminator(terminator);
  return { ...fake, logger };
}

/** Lets `parts` arrive, and then the end. */
async function arriveAll<T extends AsyncChat>(
  { chat, channel, map }: Fake<T>,
  parts: (string | Uint8Array)[],
): Promise<T> {
  channel.push(...parts, null);
  await loopToEnd(map);
  return chat;
}

/** What is decoded at once, a byte order mark too. */
function decoded(data: Uint8Array): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(data);
}

// Messages

for (
  const [terminator, whole, taken] of [
    ["\r\n", "spam\r\n\r\n\reggs\n\r\nham\r", "spam||\reggs\n|ham"],
    [bytes("\r\n"), "spam\r\n\r\n\reggs\n\r\nham", "spam||\reggs\n|ham"],
    ["aab", "aaab xaaaab aa", "a| xaa| "],
    [3, "abcdefgh", "abc|defgh"],
    [null, "a\r\nb\0c", "a\r\nb\0c"],
    [0, "a\r\nb\0c", "a\r\nb\0c"],
  ] as [TerminatorLike, string, string][]
) {
  Deno.test(`AsyncChat.takeText() gives what precedes ${JSON.stringify(terminator)}, however the input is split`, async () => {
    for (const parts of splitsOf(whole)) {
      const chat = await arriveAll(take(terminator), parts);
      assertEquals([chat.taken, chat.errors], [taken, []]);
      assertEquals(chat.takeText(), "", "each byte is taken once");
    }
  });
}

Deno.test("AsyncChat.setTerminator() in foundTerminator() changes between lines and blocks that the library collects", async () => {
  class Blocks extends Taker {
    override foundTerminator(): void {
      const message = this.takeText();
      this.taken += `${message}|`;
      const isBlock = typeof this.getTerminator() === "number";
      this.setTerminator(isBlock ? "\n" : Number(message));
    }
  }
  for (const parts of splitsOf("3\nabc4\n\n\n\n\n5\nab")) {
    const chat = await arriveAll(take("\n", Blocks), parts);
    assertEquals(chat.taken, "3|abc|4|\n\n\n\n|5|ab");
  }
});

Deno.test("AsyncChat.takeData() gives what several pieces and terminators have brought, until it is taken", async () => {
  const fake = take("\n");
  fake.chat.foundTerminator = () => {};
  await arrive(fake, "on", "e\ntw", "o\nthr");
  assertEquals(text(fake.chat.takeData()), "onetwothr");
  assertEquals(fake.chat.takeData(), new Uint8Array(0));
  await arrive(fake, "ee");
  assertEquals(text(fake.chat.takeData()), "ee");
});

Deno.test("AsyncChat.takeData() gives memory of the caller's own", async () => {
  for (const parts of splitsOf("spam eggs\n")) {
    const fake = take("\n");
    const { chat } = fake;
    const all: Uint8Array<ArrayBuffer>[] = [];
    chat.foundTerminator = () => void all.push(chat.takeData());
    await arriveAll(fake, [...parts, "ham\n"]);
    assertEquals(all.map(text), ["spam eggs", "ham"]);
    const [first, second] = all;
    assertNotStrictEquals(first!.buffer, second!.buffer);
    for (const { buffer, byteLength } of all) {
      assertEquals(buffer.byteLength, byteLength);
    }
    structuredClone(null, { transfer: [first!.buffer] });
    assertEquals(text(second!), "ham");
  }
});

Deno.test("AsyncChat without a collectIncomingData() of its own logs no error", async () => {
  const fake = take("\n");
  await arriveAll(fake, ["spam\n", "eg", "gs\n"]);
  assertEquals(fake.chat.taken, "spam|eggs|");
  assertEquals(fake.logger.lines, []);
});

Deno.test("AsyncChat that overrides no hook collects what comes without a terminator", async () => {
  const logger = new LogLines();
  const channel = new FakeChannel();
  const chat = new AsyncChat(channel, { map: quietMap({ logger }) });
  channel.push("spam\r\n", "eggs", null);
  await loopToEnd(chat.map as TestMap);
  assertEquals(chat.takeText(), "spam\r\neggs");
  assertEquals(logger.lines, []);
});

Deno.test("AsyncChat with a collectIncomingData() of its own has nothing to take", async () => {
  const fake = take("\n");
  fake.chat.collectIncomingData = () => {};
  const chat = await arriveAll(fake, ["spam\neggs"]);
  assertEquals([chat.taken, chat.takeData().length], ["|", 0]);
});

Deno.test("AsyncChat.collectIncomingData() collects the part that an override gives it", async () => {
  const fake = take("\n");
  const { chat } = fake;
  chat.collectIncomingData = (data) => {
    const head = data.subarray(0, 2);
    AsyncChat.prototype.collectIncomingData.call(chat, head);
    data.fill(0);
  };
  await arriveAll(fake, ["spam\n", "eggs\n"]);
  assertEquals(chat.taken, "sp|eg|");
});

Deno.test("AsyncChat.collectIncomingData() refuses what is no bytes", () => {
  const { chat } = take(null);
  for (const data of ["spam", undefined, [1], new ArrayBuffer(2)]) {
    const call = () => chat.collectIncomingData(data as never);
    assertThrows(call, TypeError, "data must be a Uint8Array");
  }
});

Deno.test("AsyncChat.takeText() has nothing before the first connection", () => {
  const chat = new AsyncChat();
  assertEquals([chat.takeText(), chat.takeData().length], ["", 0]);
});

// Letters

/** Whole letters of each length, and wrong bytes of each kind. */
const LETTERS: [name: string, data: Uint8Array][] = [
  ["letters of one to four bytes", bytes("aß→😀\u{10ffff}\0z")],
  ["byte order marks", bytes("\ufeffa\ufeff\ufeff")],
  ["a lone surrogate", Uint8Array.of(0xed, 0xa0, 0xbd, 97)],
  ["a letter that breaks off", Uint8Array.of(0xf0, 0x9f, 97, 0xe2, 0x86)],
  ["a beginning before a letter", Uint8Array.of(0xe2, 0x86, 0xc3, 0x9f)],
  ["continuations alone", Uint8Array.of(0x80, 0xbf, 0x80, 0xbf, 0x80, 97)],
  ["bytes that are never UTF-8", Uint8Array.of(0xc0, 0x80, 0xff, 0xf5, 0x90)],
  ["a letter that is too long", Uint8Array.of(0xe0, 0x80, 0x80, 0xf8, 0x88)],
  ["a letter beyond the last", Uint8Array.of(0xf4, 0x90, 0x80, 0x80, 97)],
];

for (const [name, data] of LETTERS) {
  Deno.test(`AsyncChat.takeText() takes ${name} in parts as it does in one`, async () => {
    const { length } = data;
    for (let first = 0; first <= length; first++) {
      for (let second = first; second <= length; second++) {
        const cuts = [[0, first], [first, second], [second, length]];
        const parts = cuts.map(([from, to]) => data.slice(from, to))
          .filter((part) => part.length > 0);
        const chat = await arriveAll(take(null, Impatient), parts);
        assertEquals(chat.taken, decoded(data), `${first}, ${second}`);
      }
    }
  });
}

Deno.test("AsyncChat.takeText() leaves an incomplete letter, which takeData() gives", async () => {
  const fake = take(null);
  fake.channel.push(bytes("a→").subarray(0, 3));
  await passes(fake.map, 4);
  assertEquals([fake.chat.takeText(), fake.chat.takeText()], ["a", ""]);
  const beginning = fake.chat.takeData();
  assertEquals(beginning, bytes("→").slice(0, 2));
  assertEquals(beginning.buffer.byteLength, 2, "and nothing else");
  await arrive(fake, "b");
  assertEquals(fake.chat.takeText(), "b");
});

Deno.test("AsyncChat.takeText() leaves nothing of a message that is complete", async () => {
  // The terminator is a part of a letter.
  const fake = take(Uint8Array.of(0x86));
  const chat = await arriveAll(fake, ["a→b→", "c"]);
  assertEquals(chat.taken, "a\ufffd|\ufffdb\ufffd|\ufffdc");
});

Deno.test("AsyncChat.takeText() keeps back a letter of the message behind a complete one", async () => {
  const fake = take("\n", Impatient);
  const [first, second] = [
    bytes("a\n→").subarray(0, 4),
    bytes("→\n").subarray(2),
  ];
  const chat = await arriveAll(fake, [first, second]);
  assertEquals(chat.taken, "a|→|");
});

Deno.test("AsyncChat.takeText() waits for nothing behind a byte that begins no letter", async () => {
  const fake = take(null);
  fake.channel.push(Uint8Array.of(0xff), Uint8Array.of(97));
  await passes(fake.map, 4);
  assertEquals(fake.chat.takeText(), "\ufffda");
  fake.channel.push(Uint8Array.of(0xf5));
  await passes(fake.map, 4);
  assertEquals(fake.chat.takeText(), "\ufffd");
});

Deno.test("AsyncChat.takeText() in handleEnd() leaves nothing", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const chat = new Taker(map, channel, { allowHalfOpen: true });
  chat.handleEnd = () => {
    chat.taken = `${chat.takeText()} at the end`;
    chat.close();
  };
  await arriveAll({ chat, channel, map }, [bytes("→").subarray(0, 2)]);
  assertEquals(chat.taken, "\ufffd at the end");
});

// Too much

const LONGER = "maxLength is 5; if the protocol has longer messages, give " +
  "AsyncChat a larger maxLength";

for (
  const [terminator, whole, taken, excess] of [
    [
      "\n",
      "abcde\nabcdef\n",
      "abcde|abcde",
      "more than 5 bytes without a terminator",
    ],
    [
      bytes("\r\n"),
      "ab\r\nabcde\r\r\n",
      "ab|abcde",
      "more than 5 bytes without a terminator",
    ],
    [
      null,
      "abcdef",
      "abcde",
      "more than 5 bytes wait for takeData() or takeText()",
    ],
    [
      0,
      "abcdef",
      "abcde",
      "more than 5 bytes wait for takeData() or takeText()",
    ],
    [6, "abcdef", "", "a block of 6 bytes is to come"],
    [
      5,
      "abcdefghijk",
      "abcde|fghij",
      "more than 5 bytes wait for takeData() or takeText()",
    ],
  ] as [TerminatorLike, string, string, string][]
) {
  Deno.test(`AsyncChat.maxLength bounds what is collected up to ${JSON.stringify(terminator)}, however the input is split`, async () => {
    for (const parts of splitsOf(whole)) {
      const fake = take(terminator, Taker, 5);
      await arriveAll(fake, parts);
      assertEquals(fake.chat.taken, taken, JSON.stringify(parts));
      const line = `error: closing <Taker connected>: ${excess}: ${LONGER}`;
      assertEquals(fake.logger.lines, [line]);
      assert(fake.channel.closed);
    }
  });
}

Deno.test("AsyncChat.maxLength bounds the messages that nobody takes", async () => {
  const fake = take("\n", Taker, 5);
  let found = 0;
  fake.chat.foundTerminator = () => void found++;
  await arriveAll(fake, ["abc\nde\nf\n"]);
  assertEquals(found, 2);
  const line = "error: closing <Taker connected>: more than 5 bytes wait for " +
    "takeData() or takeText(): maxLength is 5; call takeData() or takeText() in " +
    "foundTerminator(), or give AsyncChat a larger maxLength";
  assertEquals(fake.logger.lines, [line]);
  assertEquals(fake.chat.taken, "abcde");
});

Deno.test("AsyncChat.maxLength bounds a message behind others that were taken late", async () => {
  const fake = take("\n", Taker, 5);
  fake.chat.foundTerminator = () => {};
  await arrive(fake, "a\nb");
  assertEquals(fake.chat.takeText(), "ab");
  await arrive(fake, "c", "defgh", "i");
  assertStringIncludes(fake.logger.lines.join(), LONGER);
});

Deno.test("AsyncChat.handleOverflow() of a block that is too large runs before the block comes", async () => {
  const fake = take("\n", Taker, 5);
  const { chat } = fake;
  chat.foundTerminator = () => chat.setTerminator(Number(chat.takeText()));
  await arrive(fake, "1000\n");
  assert(fake.channel.closed);
  assertEquals(
    String(chat.closeReason),
    `RangeError: a block of 1000 bytes is to come: ${LONGER}`,
  );
});

Deno.test("AsyncChat.setTerminator() of a block that is too large tells of it in a later pass", async () => {
  const fake = take("\n", Taker, 5);
  await passes(fake.map);
  fake.chat.setTerminator(6);
  assert(!fake.channel.closed);
  await passes(fake.map, 2);
  assert(fake.channel.closed);
});

Deno.test("AsyncChat.collectIncomingData() outside of a hook tells of too many bytes in a later pass", async () => {
  const fake = take(null, Lenient, 5);
  await passes(fake.map);
  fake.chat.collectIncomingData(bytes("abcdef"));
  assertEquals(fake.chat.taken, "");
  await passes(fake.map, 2);
  assertEquals(fake.chat.taken + fake.chat.takeText(), "abcde!f");
});

Deno.test("AsyncChat.maxLength may grow behind setTerminator()", async () => {
  const fake = take(6, Taker, 5);
  fake.chat.maxLength = 6;
  await arriveAll(fake, ["abcdef"]);
  assertEquals(fake.chat.taken, "abcdef|");
});

Deno.test("AsyncChat.maxLength does not bound a block of a class that collects by itself", async () => {
  const fake = take(1_000, Taker, 5);
  let length = 0; // Not yet told, as no pass has run.
  fake.chat.collectIncomingData = (data) => void (length += data.length);
  await arriveAll(fake, [block(1_000)]);
  assertEquals([length, fake.chat.taken], [1_000, "|"]);
});

for (
  const [terminator, all, rest] of [
    ["\n", "abcde!fghij!klm|no|", "!!klm|no|"],
    [null, "abcde!fghij!klm\nn!o\n", "!!!o\n"],
    [3, "abc|defgh!ijklm!\nno\n", "abc|!!\nno\n"],
    [8, "!abcde!fgh|ijklm!\nno\n", "!!fgh|!\nno\n"],
  ] as [TerminatorLike, string, string][]
) {
  for (const takesAll of [true, false]) {
    const what = takesAll ? "with all bytes" : "without what it did not take";
    Deno.test(`AsyncChat.handleOverflow() may go on before ${JSON.stringify(terminator)} ${what}`, async () => {
      const fake = take(terminator, Lenient, 5);
      fake.chat.takesAll = takesAll;
      await arriveAll(fake, ["ab", "cdefghijklm\nno\n"]);
      assertEquals(fake.chat.taken, takesAll ? all : rest);
      assertEquals(fake.logger.lines, []);
    });
  }
}

Deno.test("AsyncChat.handleOverflow() that fails, or is async, drops what it did not take", async () => {
  for (
    const hook of [
      () => turn(),
      () => {
        throw new Error("failed");
      },
      () => Promise.reject(new Error("failed")),
    ]
  ) {
    const fake = take("\n", Taker, 5);
    fake.chat.handleOverflow = hook;
    fake.chat.handleError = () => {};
    await arriveAll(fake, ["abcdefg\nhi\n"]);
    assertEquals(fake.chat.taken, "fg|hi|");
  }
});

// The end of a connection

Deno.test("AsyncChat.takeText() gives the rest in handleClose(), and after it", async () => {
  for (const parts of [["spam"], ["sp", "am"]]) {
    const fake = take(10);
    await arriveAll(fake, parts);
    assertEquals(fake.chat.taken, "spam");
    const other = take(10);
    other.chat.handleClose = () => other.chat.close();
    await arriveAll(other, parts);
    assertEquals(other.chat.takeText(), "spam");
  }
});

for (const action of ["close", "abort", "closeWhenDone"] as const) {
  Deno.test(`AsyncChat.${action}() leaves what was collected to be taken`, async () => {
    const fake = take(10);
    await arrive(fake, "spam");
    fake.chat[action]();
    fake.channel.push("more", null);
    await loopToEnd(fake.map);
    assertEquals(fake.chat.taken + fake.chat.takeText(), "spam");
  });
}

Deno.test("AsyncChat.discardBuffers() drops what was collected", async () => {
  const fake = take("\n");
  await arrive(fake, "spam");
  fake.chat.discardBuffers();
  await arrive(fake, "eggs\n");
  assertEquals(fake.chat.taken, "eggs|");
});

/** A chat whose two connections lead to channels of the test, one by one. */
async function reconnecting() {
  const channels = [new FakeChannel(), new FakeChannel()] as const;
  const left = [...channels];
  const connect = () => Promise.resolve(left.shift()!);
  const network = Object.assign(new FakeNetwork(), { connect });
  const map = quietMap({ network });
  const chat = new Taker(map);
  const open = () => {
    chat.createSocket();
    chat.connect({ port: 7 });
  };
  chat.setTerminator("\n");
  open();
  channels[0].push("old");
  await passes(map, 4);
  return { chat, channels, map, open };
}

Deno.test("AsyncChat begins each connection with nothing collected", async () => {
  const { chat, channels: [first, second], map, open } = await reconnecting();
  let lives = 0;
  chat.handleClose = () => {
    chat.close();
    if (++lives === 1) open();
    chat.taken += `<${chat.takeText()}>`;
  };
  first.push(null);
  second.push("new\nrest", null);
  await loopToEnd(map);
  assertEquals(chat.taken, "<>new|<rest>");
});

Deno.test("AsyncChat.collectIncomingData() in a hook of the former connection collects nothing", async () => {
  const { chat, channels: [first, second], map, open } = await reconnecting();
  const lives: string[] = [];
  chat.handleClose = () => {
    lives.push(chat.taken);
    chat.close();
    if (lives.length === 1) open();
  };
  chat.handleRead = () => {
    // At the end of the stream, this runs handleClose().
    const result = AsyncChat.prototype.handleRead.call(chat);
    chat.collectIncomingData(bytes("late"));
    return result;
  };
  first.push(null);
  second.push("new\n", null);
  await loopToEnd(map);
  assertEquals([lives, chat.errors], [["", "new|"], []]);
});

Deno.test("AsyncChat.takeText() in async hooks gives what they were told of", async () => {
  const fake = take("\n");
  const { chat } = fake;
  chat.foundTerminator = async () => {
    await turn();
    chat.taken += `${chat.takeText()}|`;
    await turn();
  };
  await arriveAll(fake, ["one\ntwo\nthr", "ee\nfour"]);
  assertEquals(chat.taken, "one|two|three|four");
});

Deno.test("AsyncChat.recv() takes bytes before they are collected", async () => {
  const fake = take("\n");
  const { chat } = fake;
  chat.handleRead = () => {
    if (chat.taken === "") chat.taken = `${text(chat.recv(2))}!`;
    return AsyncChat.prototype.handleRead.call(chat);
  };
  await arriveAll(fake, ["spam\neg", "gs\n"]);
  assertEquals(chat.taken, "sp!am|eggs|");
});

Deno.test("AsyncChat that hands its connection on keeps what it has collected", async () => {
  const fake = take("\r\n");
  const { chat, channel, map } = fake;
  await arrive(fake, "one\r\ntw", "o\r");
  const next = new Taker(map, chat.socket as Channel);
  next.setTerminator("\r\n");
  next.collectIncomingData(chat.takeData());
  await arrive({ chat: next, channel, map }, "\nthree\r\n", null);
  await loopToEnd(map);
  assertEquals([chat.taken, next.taken], ["one|", "two|three|"]);
  assertEquals(chat.takeText(), "");
});

Deno.test("AsyncChat.startTls() refuses a message that has begun, unencrypted", async () => {
  const fake = take("\n");
  await arrive(fake, "220\nevil");
  const start = () => fake.chat.startTls();
  await assertRejects(start, Error, "unencrypted bytes wait to be collected");
  await rest(fake.map);
  assert(fake.channel.closed);
});

// What it costs

/** How large the memory is that `run` decodes text from, in bytes. */
function roomsOf(run: () => void): number[] {
  const rooms: number[] = [];
  const { decode } = TextDecoder.prototype;
  TextDecoder.prototype.decode = function (input, options) {
    rooms.push((input as Uint8Array).buffer.byteLength);
    return decode.call(this, input, options);
  };
  try {
    run();
  } finally {
    TextDecoder.prototype.decode = decode;
  }
  return rooms;
}

Deno.test("AsyncChat.takeText() keeps little memory for the beginning of a letter", async () => {
  const fake = take(null);
  fake.channel.push(block(60_000), bytes("→").subarray(0, 1));
  await passes(fake.map, 8);
  const rooms = roomsOf(() => {
    assertEquals(fake.chat.takeText().length, 60_000);
    assertEquals(fake.chat.takeText(), "");
  });
  assertLessOrEqual(rooms[0]!, 120_000, "twice the length");
  assertLessOrEqual(rooms[1]!, 64);
});

Deno.test("AsyncChat collects a short message into memory of its size", async () => {
  const fake = take(null);
  await arrive(fake, "spam");
  assertEquals(roomsOf(() => void fake.chat.takeText()), [4]);
});

/** How many bytes `run` copies into arrays that are there. */
async function countCopied(run: () => Promise<unknown>): Promise<number> {
  let count = 0;
  const { set } = Uint8Array.prototype;
  Uint8Array.prototype.set = function (source, offset) {
    count += source.length;
    set.call(this, source, offset);
  };
  try {
    await run();
  } finally {
    Uint8Array.prototype.set = set;
  }
  return count;
}

for (const terminator of ["\n", 9_999, null]) {
  Deno.test(`AsyncChat copies each byte a bounded number of times up to ${JSON.stringify(terminator)}, however many pieces there are`, async () => {
    const message = bytes(`${"x".repeat(9_999)}\n`);
    for (const size of [1, 7, 500]) {
      const pieces = Array.from(
        { length: Math.ceil(message.length / size) },
        (_, i) => message.slice(i * size, (i + 1) * size),
      );
      const fake = take(terminator);
      const count = await countCopied(() => arriveAll(fake, pieces));
      assertEquals(fake.chat.taken.replace("|", "").trim().length, 9_999);
      // The channel copies each once, too.
      assertLess(count / message.length, 5, `${size} at a time`);
    }
  });
}
