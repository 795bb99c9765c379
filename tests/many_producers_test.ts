/** A peer that asks faster than it is answered, and is answered by producers. */

import { assert, assertEquals, assertLess } from "@std/assert";
import type { AsyncChatOptions, Channel, ProducerLike } from "../mod.ts";
import { MockClock } from "../testing/mod.ts";
import {
  block,
  countTurns,
  never,
  talk,
  Talker,
  talkInLines,
  Valve,
} from "./chats.ts";
import { FakeChannel, passes, quietMap, rest } from "./fakes.ts";
import { bytes, loopUntil, type TestMap } from "./support.ts";

/** How many producers may wait on one connection. */
const MOST = 1_000;
/** What is taken from the channel at a time is less than one line each. */
const LINES = 3 * MOST;

/** Answers each line. */
class Answering extends Talker {
  lines = 0;
  /** Settles when the producers may give their answers. */
  readonly gate = Promise.withResolvers<string>();

  constructor(map: TestMap, channel: Channel, options: AsyncChatOptions = {}) {
    super(map, channel, options);
    this.setTerminator("\n");
  }

  override foundTerminator(): void {
    this.answer(this.lines++);
  }
  answer(line: number): void {
    this.pushWithProducer(this.#produce(line));
  }
  async *#produce(line: number): AsyncGenerator<string> {
    await this.gate.promise;
    yield `${line} `;
  }
}

/** A conversation over a channel whose other end the test is. */
function over(
  options: AsyncChatOptions = {},
  Class: typeof Answering = Answering,
) {
  const map = quietMap();
  const channel = new FakeChannel();
  return { map, channel, chat: new Class(map, channel, options) };
}

/** All answers in order. */
function answersTo(lines: number): string {
  return Array.from({ length: lines }, (_, i) => `${i} `).join("");
}

Deno.test("AsyncChat hands out no more lines while 1,000 producers wait", async () => {
  const { map, channel, chat } = over();
  channel.push("\n".repeat(LINES));
  await loopUntil(map, () => chat.lines === MOST);
  await rest(map);
  assertEquals(chat.lines, MOST, "in the middle of what was read");
  assertEquals(chat.readable(), false);
  for (let i = 0; i < 9; i++) channel.push("\n".repeat(LINES));
  await rest(map);
  assertEquals(chat.lines, MOST);
  assert(channel.unread >= 8, `${channel.unread} packets are not read`);
  chat.gate.resolve("");
  const all = answersTo(10 * LINES);
  await loopUntil(map, () => channel.written === all.length, 20_000);
  assertEquals(channel.sent, all);
});

Deno.test("AsyncChat of a client goes on, however many producers wait", async () => {
  const { map, channel, chat } = over({ role: "client" });
  channel.push("\n".repeat(LINES));
  await loopUntil(map, () => chat.lines === LINES);
  chat.gate.resolve("");
  await loopUntil(map, () => channel.sent === answersTo(LINES));
});

Deno.test("AsyncChat that says itself when to read is asked about producers, too", async () => {
  class Sharing extends Answering {
    override readable(): boolean {
      return super.readable();
    }
  }
  class Greedy extends Answering {
    override readable(): boolean {
      return true;
    }
  }
  for (const [Class, most] of [[Sharing, MOST], [Greedy, LINES]] as const) {
    const { map, channel, chat } = over({}, Class);
    channel.push("\n".repeat(LINES));
    await loopUntil(map, () => chat.lines === most);
    await rest(map);
    assertEquals(chat.lines, most);
    chat.gate.resolve("");
    await loopUntil(map, () => channel.sent === answersTo(LINES));
  }
});

Deno.test("AsyncChat is read again when its producers end without a byte", async () => {
  const { map, channel, chat } = over();
  const more = () => chat.gate.promise;
  chat.answer = () => chat.pushWithProducer({ more });
  channel.push("\n".repeat(MOST), "\n");
  await loopUntil(map, () => chat.lines === MOST);
  await rest(map);
  assertEquals(chat.lines, MOST);
  chat.gate.resolve("");
  await loopUntil(map, () => chat.lines === MOST + 1);
});

/** Answers by `push()`, but the first line by a producer. */
function pushes(chat: Answering, answer: string | Uint8Array): void {
  const more = () => chat.gate.promise;
  chat.answer = (line) =>
    line > 0 ? chat.push(answer) : chat.pushWithProducer({ more });
}

// What is empty takes no place.
for (const [answer, most] of [["", LINES], ["x", MOST]] as const) {
  Deno.test(`AsyncChat hands out ${most} lines that are answered by "${answer}" behind a producer`, async () => {
    const { map, channel, chat } = over();
    pushes(chat, answer);
    channel.push("\n".repeat(LINES));
    await loopUntil(map, () => chat.lines === most);
    await rest(map);
    assertEquals(chat.lines, most);
    chat.gate.resolve("");
    await loopUntil(map, () => chat.lines === LINES);
    const expected = answer.repeat(LINES - 1);
    await loopUntil(map, () => channel.sent === expected);
  });
}

// Turns

/** Producers that have their answers at once. */
const PROMPT: Record<string, (text: string) => ProducerLike> = {
  "an array": (text) => [text],
  "a generator": function* (text) {
    yield text;
  },
  "a Producer": (text) => {
    const pieces = [text];
    return { more: () => pieces.pop() ?? "" };
  },
  "an async generator": async function* (text) {
    yield await text;
  },
  "a stream": (text) => ReadableStream.from([bytes(text)]),
};

for (const [kind, produce] of Object.entries(PROMPT)) {
  Deno.test(`AsyncChat lets others have their turns between producers (${kind})`, async () => {
    const { map, channel, chat } = over();
    chat.answer = (line) => chat.pushWithProducer(produce(`${line} `));
    const count = 5 * MOST;
    channel.push("\n".repeat(count));
    let before = 0;
    while (chat.lines < count) {
      await passes(map);
      assertLess(chat.lines - before, 600, "in one pass");
      before = chat.lines;
    }
    const all = answersTo(count);
    await loopUntil(map, () => channel.written === all.length);
    assertEquals(channel.sent, all);
  });

  Deno.test(`AsyncChat goes on with producers for which a hook waits (${kind})`, async () => {
    const last = Promise.withResolvers<void>();
    const more = () => {
      last.resolve();
      return "";
    };
    const { chat, channel, map } = talkInLines({
      found: () => {
        for (let i = 0; i < MOST; i++) chat.pushWithProducer(produce("x"));
        chat.pushWithProducer({ more });
        return last.promise.then(() => void (chat.taken += "done"));
      },
    });
    channel.push("\n");
    await loopUntil(map, () => chat.taken === "|done");
    await loopUntil(map, () => channel.written === MOST);
  });
}

Deno.test("AsyncChat of a client pauses between producers, but waits for nobody", async () => {
  const { map, channel, chat } = over({ role: "client" });
  chat.answer = () => chat.pushWithProducer([block(1_000)]);
  new Valve(channel);
  channel.push("\n".repeat(LINES));
  await loopUntil(map, () => chat.lines === LINES);
});

Deno.test("AsyncChat with lines behind a slow producer does not spin", async () => {
  const clock = new MockClock();
  const map = quietMap({ clock });
  const channel = new FakeChannel();
  const chat = new Answering(map, channel);
  pushes(chat, block(10_000));
  channel.push("\n".repeat(50));
  assertLess(await countTurns(map, clock), 20);
  assertEquals(chat.lines, 8);
});

Deno.test("AsyncChat.handleDrain() does not wait for a slow producer", async () => {
  const { chat, channel, map } = talk();
  const valve = new Valve(channel);
  chat.push(block(100_000));
  chat.pushWithProducer(never());
  await rest(map);
  assertEquals(chat.events, []);
  valve.open();
  await loopUntil(map, () => chat.events.length > 0);
  assertEquals(chat.events, ["drain"]);
});

Deno.test("AsyncChat sends what a producer pushes behind that producer", async () => {
  const { map, channel, chat } = talk();
  const pieces = ["one ", "two "];
  const more = () => {
    const piece = pieces.shift() ?? "";
    chat.push(`(${piece}) `);
    chat.pushWithProducer([`[${piece}] `]);
    return piece;
  };
  chat.pushWithProducer({ more });
  await loopUntil(map, () => channel.sent.endsWith("[] "));
  assertEquals(channel.sent, "one two (one ) [one ] (two ) [two ] () [] ");
});
