/** A peer that asks faster than it is answered, and is answered by producers. */

import { assert, assertEquals, assertLess } from "@std/assert";
import type { AsyncChatOptions, Channel, Producer } from "../mod.ts";
import { MockClock } from "../testing/mod.ts";
import { block, countTurns, Talker, Valve } from "./chats.ts";
import { FakeChannel, passes, quietMap, rest } from "./fakes.ts";
import { bytes, loopUntil, type TestMap } from "./support.ts";

/** How many producers may wait on one connection. */
const MOST = 1_000;
/** What is taken from the channel at a time is less than one line each. */
const LINES = 3 * MOST;

/** Answers each line with a producer of its own. */
abstract class Answering extends Talker {
  lines = 0;

  constructor(
    map: TestMap,
    channel: Channel,
    options: AsyncChatOptions = {},
  ) {
    super(map, channel, options);
    this.setTerminator("\n");
  }

  abstract answer(line: number): void;

  override foundTerminator(): void {
    this.answer(this.lines++);
  }
}

/** Its producers give their answers when the test says so. */
class Gated extends Answering {
  readonly gate = Promise.withResolvers<void>();

  override answer(line: number): void {
    const { gate } = this;
    this.pushWithProducer((async function* () {
      await gate.promise;
      yield `${line} `;
    })());
  }
}

/** A conversation over a channel whose other end the test is. */
function over<T extends Answering>(
  Class: new (map: TestMap, channel: Channel, options?: AsyncChatOptions) => T,
  options: AsyncChatOptions = {},
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
  const { map, channel, chat } = over(Gated);
  channel.push("\n".repeat(LINES));
  await loopUntil(map, () => chat.lines === MOST);
  await rest(map);
  assertEquals(chat.lines, MOST, "in the middle of what was read");
  assertEquals(chat.readable(), false);
  for (let i = 0; i < 9; i++) channel.push("\n".repeat(LINES));
  await rest(map);
  assertEquals(chat.lines, MOST);
  assert(channel.unread >= 8, `${channel.unread} packets are not read`);
  chat.gate.resolve();
  const all = answersTo(10 * LINES);
  await loopUntil(map, () => channel.written === all.length, 20_000);
  assertEquals(channel.sent, all);
  chat.abort();
});

Deno.test("AsyncChat of a client goes on, however many producers wait", async () => {
  const { map, channel, chat } = over(Gated, { role: "client" });
  channel.push("\n".repeat(LINES));
  await loopUntil(map, () => chat.lines === LINES);
  chat.gate.resolve();
  await loopUntil(map, () => channel.sent === answersTo(LINES));
  chat.abort();
});

Deno.test("AsyncChat that says itself when to read is asked about producers, too", async () => {
  class Sharing extends Gated {
    override readable(): boolean {
      return super.readable();
    }
  }
  class Greedy extends Gated {
    override readable(): boolean {
      return true;
    }
  }
  for (const [Class, most] of [[Sharing, MOST], [Greedy, LINES]] as const) {
    const { map, channel, chat } = over(Class);
    channel.push("\n".repeat(LINES));
    await loopUntil(map, () => chat.lines === most);
    await rest(map);
    assertEquals(chat.lines, most);
    chat.gate.resolve();
    await loopUntil(map, () => channel.sent === answersTo(LINES));
    chat.abort();
  }
});

Deno.test("AsyncChat is read again when its producers end without a byte", async () => {
  class Silent extends Answering {
    readonly gate = Promise.withResolvers<Uint8Array>();
    override answer(): void {
      this.pushWithProducer({ more: () => this.gate.promise });
    }
  }
  const { map, channel, chat } = over(Silent);
  channel.push("\n".repeat(MOST), "\n");
  await loopUntil(map, () => chat.lines === MOST);
  await rest(map);
  assertEquals(chat.lines, MOST);
  chat.gate.resolve(new Uint8Array(0));
  await loopUntil(map, () => chat.lines === MOST + 1);
  chat.abort();
});

Deno.test("AsyncChat counts what is pushed behind a producer as waiting", async () => {
  for (const answer of ["", "x"]) {
    class Pushing extends Answering {
      readonly gate = Promise.withResolvers<string>();
      override answer(line: number): void {
        if (line > 0) this.push(answer);
        else this.pushWithProducer({ more: () => this.gate.promise });
      }
    }
    const { map, channel, chat } = over(Pushing);
    channel.push("\n".repeat(LINES));
    // What is empty takes no place.
    const most = answer === "" ? LINES : MOST;
    await loopUntil(map, () => chat.lines === most);
    await rest(map);
    assertEquals(chat.lines, most);
    chat.gate.resolve("");
    await loopUntil(map, () => chat.lines === LINES);
    const expected = answer.repeat(LINES - 1);
    await loopUntil(map, () => channel.sent === expected);
    chat.abort();
  }
});

// Turns

/** Producers that have their answers at once. */
const PROMPT: Record<
  string,
  (text: string) => Parameters<
    Talker["pushWithProducer"]
  >[0]
> = {
  "an array": (text) => [text],
  "a generator": function* (text) {
    yield text;
  },
  "a Producer": (text) => {
    let rest = text;
    const more = () => {
      const piece = rest;
      rest = "";
      return piece;
    };
    return { more } satisfies Producer;
  },
  "an async generator": async function* (text) {
    yield await text;
  },
  "a stream": (text) => ReadableStream.from([bytes(text)]),
};

for (const [kind, produce] of Object.entries(PROMPT)) {
  Deno.test(`AsyncChat lets others have their turns between producers (${kind})`, async () => {
    class Prompt extends Answering {
      override answer(line: number): void {
        this.pushWithProducer(produce(`${line} `));
      }
    }
    const { map, channel, chat } = over(Prompt);
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
    chat.abort();
  });
}

Deno.test("AsyncChat goes on with producers for which a hook waits", async () => {
  for (const [kind, produce] of Object.entries(PROMPT)) {
    class Waiting extends Answering {
      override answer(): void {}
      override async foundTerminator(): Promise<void> {
        const last = Promise.withResolvers<string>();
        for (let i = 0; i < MOST; i++) this.pushWithProducer(produce("x"));
        this.pushWithProducer({
          more: () => {
            last.resolve(kind);
            return "";
          },
        });
        this.taken += await last.promise;
      }
    }
    const { map, channel, chat } = over(Waiting);
    channel.push("\n");
    await loopUntil(map, () => chat.taken === kind);
    await loopUntil(map, () => channel.written === MOST);
    chat.abort();
  }
});

Deno.test("AsyncChat of a client pauses between producers, but waits for nobody", async () => {
  class Large extends Answering {
    override answer(): void {
      this.pushWithProducer([block(1_000)]);
    }
  }
  const { map, channel, chat } = over(Large, { role: "client" });
  new Valve(channel);
  channel.push("\n".repeat(LINES));
  await loopUntil(map, () => chat.lines === LINES);
  chat.abort();
});

Deno.test("AsyncChat with lines behind a slow producer does not spin", async () => {
  class Pushing extends Answering {
    readonly gate = Promise.withResolvers<string>();
    override answer(line: number): void {
      if (line > 0) this.push(block(10_000));
      else this.pushWithProducer({ more: () => this.gate.promise });
    }
  }
  const clock = new MockClock();
  const map = quietMap({ clock });
  const channel = new FakeChannel();
  const chat = new Pushing(map, channel);
  channel.push("\n".repeat(50));
  assertLess(await countTurns(map, clock), 20);
  assertEquals(chat.lines, 8);
  chat.abort();
});

Deno.test("AsyncChat.handleDrain() does not wait for a slow producer", async () => {
  const { map, channel, chat } = over(Gated);
  const valve = new Valve(channel);
  chat.push(block(100_000));
  chat.answer(0);
  await rest(map);
  assertEquals(chat.events, []);
  valve.open();
  await loopUntil(map, () => chat.events.length > 0);
  assertEquals(chat.events, ["drain"]);
  chat.abort();
});

Deno.test("AsyncChat sends what a producer pushes behind that producer", async () => {
  const { map, channel, chat } = over(Gated);
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
  chat.abort();
});
