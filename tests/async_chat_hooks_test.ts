import {
  assert,
  assertEquals,
  assertFalse,
  assertGreaterOrEqual,
  assertRejects,
} from "@std/assert";
import { type Channel, ExitNow, loop } from "../mod.ts";
import {
  arrive,
  block,
  splitsOf,
  takenFrom,
  talk,
  Talker,
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
  class Slow extends Talker {
    busy = 0;
    async #work(note: string): Promise<void> {
      assertEquals(this.busy++, 0, "one at a time");
      await turn();
      this.taken += note;
      this.busy--;
    }
    override collectIncomingData(data: Uint8Array): Promise<void> {
      return this.#work(text(data));
    }
    override foundTerminator(): Promise<void> {
      return this.#work("|");
    }
  }
  for (const parts of splitsOf("ab\r\n\r\ncd\r\n")) {
    const { chat, channel, map } = talk(Slow);
    chat.setTerminator("\r\n");
    channel.push(...parts, null);
    await loopToEnd(map);
    assertEquals(chat.taken, "ab||cd|");
    assertEquals(chat.busy, 0);
  }
});

Deno.test("AsyncChat changes its terminator in an async foundTerminator()", async () => {
  class Slow extends Talker {
    override async foundTerminator(): Promise<void> {
      await turn();
      super.foundTerminator();
    }
  }
  for (const parts of splitsOf("GET\r\n12345PUT\r\n")) {
    const { chat, channel, map } = talk(Slow);
    chat.terminators = ["\r\n", 5];
    chat.setTerminator("\r\n");
    channel.push(...parts, null);
    await loopToEnd(map);
    assertEquals(chat.taken, "GET|12345|PUT|");
  }
});

Deno.test("AsyncChat reads nothing while a hook is pending", async () => {
  const gate = Promise.withResolvers<void>();
  class Slow extends Talker {
    override foundTerminator(): Promise<void> {
      this.taken += "|";
      return gate.promise;
    }
  }
  const fake = talk(Slow);
  fake.chat.setTerminator("\n");
  await arrive(fake, "a\nb\n", "c\n", "d\n", "e\n");
  assertEquals(fake.chat.taken, "a|");
  assertGreaterOrEqual(fake.channel.unread, 2, "at most one buffer is held");
  gate.resolve();
  await rest(fake.map);
  assertEquals(fake.chat.taken, "a|b|c|d|e|");
  fake.chat.abort();
});

// Errors

/** Throws at each of the given messages, at once or later. */
class Failing extends Talker {
  at = "";
  where: "collect" | "found" = "found";
  later = false;

  #fail(): void | Promise<void> {
    const error = new TypeError(`at ${this.at}`);
    if (this.later) return turn().then(() => Promise.reject(error));
    throw error;
  }
  override collectIncomingData(data: Uint8Array): void | Promise<void> {
    super.collectIncomingData(data);
    if (this.where === "collect" && text(data) === this.at) return this.#fail();
  }
  override foundTerminator(): void | Promise<void> {
    super.foundTerminator();
    const isHere = this.taken.endsWith(`${this.at}|`);
    if (this.where === "found" && isHere) return this.#fail();
  }
}

const FAILURES = ([false, true] as const).flatMap((later) =>
  (["collect", "found"] as const).map((where) => ({ later, where }))
);

Deno.test("AsyncChat hands a hook's error to handleError(), which closes", async () => {
  for (const how of FAILURES) {
    const { chat, channel, map } = talk(Failing);
    Object.assign(chat, how, { at: "b" });
    chat.setTerminator("\n");
    channel.push("a\nb\nc\n");
    await loopToEnd(map);
    assertEquals(chat.taken, how.where === "collect" ? "a|b" : "a|b|");
    assertEquals(chat.events, ["error", "close"]);
    assertEquals(chat.errors.map(String), ["TypeError: at b"]);
    assert(channel.closed);
  }
});

Deno.test("AsyncChat goes on with what it received after an error that did not close", async () => {
  for (const how of FAILURES) {
    for (const terminator of ["\n", 2]) {
      const { chat, channel, map } = talk(Failing);
      chat.terminators = [terminator];
      Object.assign(chat, how, { strict: false });
      chat.at = terminator === 2 ? "b\n" : "b";
      chat.setTerminator(terminator);
      channel.push("a\nb\nc\nb\nd\n");
      const expected = terminator === 2 ? "a\n|b\n|c\n|b\n|d\n|" : "a|b|c|b|d|";
      await loopUntil(map, () => chat.taken.length >= expected.length);
      assertEquals(chat.taken, expected, Deno.inspect({ how, terminator }));
      assertEquals(chat.errors.length, 2);
      chat.abort();
    }
  }
});

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
  class Patient extends Failing {
    override handleError(): Promise<void> {
      this.events.push("error");
      return gate.promise;
    }
  }
  const { chat, channel, map } = talk(Patient);
  chat.at = "a";
  chat.setTerminator("\n");
  channel.push("a\nb\n");
  await rest(map);
  assertEquals(chat.taken, "a|");
  gate.resolve();
  await rest(map);
  assertEquals(chat.taken, "a|b|");
  assertEquals(chat.events, ["error"]);
  chat.abort();
});

Deno.test("AsyncChat that fails at every line holds no more than one buffer", async () => {
  class Broken extends Talker {
    override foundTerminator(): void {
      this.taken += "|";
      throw new Error("always");
    }
  }
  const { chat, channel, map } = talk(Broken);
  chat.strict = false;
  chat.setTerminator("\n");
  for (let i = 0; i < 20; i++) channel.push("a\n".repeat(10));
  await passes(map, 20);
  assert(channel.unread > 10, `${channel.unread} unread`);
  await passes(map, 400);
  assertEquals(chat.taken, "a|".repeat(200));
  chat.abort();
});

Deno.test("AsyncChat passes ExitNow to the loop's caller, and goes on in the next loop", async () => {
  class Leaving extends Talker {
    override foundTerminator(): void {
      super.foundTerminator();
      if (this.taken === "a|") throw new ExitNow("leaving");
    }
  }
  const { chat, channel, map } = talk(Leaving);
  chat.setTerminator("\n");
  channel.push("a\nb\n");
  await assertRejects(() => loop({ map }), ExitNow, "leaving");
  assertEquals(chat.taken, "a|");
  await passes(map, 4);
  assertEquals(chat.taken, "a|b|");
  assertEquals(chat.errors, []);
  chat.abort();
});

// Closing

Deno.test("AsyncChat takes nothing more in once a hook has closed it", async () => {
  for (const how of ["close", "abort", "handleClose"] as const) {
    for (const where of ["collect", "found"]) {
      class Closing extends Talker {
        override collectIncomingData(data: Uint8Array): void {
          super.collectIncomingData(data);
          if (where === "collect" && text(data) === "b") this[how]();
        }
        override foundTerminator(): void {
          super.foundTerminator();
          if (where === "found" && this.taken.endsWith("b|")) this[how]();
        }
      }
      const { chat, channel, map } = talk(Closing);
      chat.setTerminator("\n");
      channel.push("a\nb\nc\n", "d\n");
      await loopToEnd(map);
      assertEquals(chat.taken, where === "collect" ? "a|b" : "a|b|");
    }
  }
});

Deno.test("AsyncChat.discardBuffers() in a hook ends what was received", async () => {
  class Forgetting extends Talker {
    override foundTerminator(): void {
      super.foundTerminator();
      if (this.taken === "a|") this.discardBuffers();
    }
  }
  const fake = talk(Forgetting);
  fake.chat.setTerminator("\n");
  await arrive(fake, "a\nb\nc", "d\n");
  assertEquals(fake.chat.taken, "a|d|");
  fake.chat.abort();
});

Deno.test("AsyncChat.discardBuffers() forgets a terminator's beginning", async () => {
  const fake = talk();
  fake.chat.setTerminator("\r\n");
  await arrive(fake, "a\r");
  fake.chat.discardBuffers();
  await arrive(fake, "\nb\r\n");
  assertEquals(fake.chat.taken, "a\nb|");
  fake.chat.abort();
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
      "error: closing <Talker connected>: more than 5 bytes without a terminator",
    ]);
  }
});

Deno.test("AsyncChat.handleOverflow() may go on, however the input is split", async () => {
  const cases = [
    ["\r\n", "abcdefghijk\r\nabc\r\nabcd\r\nabcde\r\n", 4],
    ["aab", "aaaaaaaabaabcaaaab", 2],
    ["aab", "aaaaaaaabaabcaaaab", 1],
    ["aaaaab", "aaaaaaaaaaaabaaaaaaab", 3],
  ] as const;
  const expected = [
    "abcd!efgh!ijk|abc|abcd|abcd!e|",
    "aa!aa!aa||ca!a|",
    "a!a!a!a!a!a||c!a!a|",
    "aaa!aaa!a|aa|",
  ];
  for (const [i, [terminator, whole, maxLength]] of cases.entries()) {
    for (const parts of splitsOf(whole)) {
      const taken = await takenFrom(parts, [terminator], (chat) => {
        chat.maxLength = maxLength;
        chat.strict = false;
      });
      assertEquals(taken, expected[i], JSON.stringify(parts));
    }
  }
});

Deno.test("AsyncChat.handleOverflow() may skip the rest by another terminator", async () => {
  class Skipping extends Talker {
    override handleOverflow(): Promise<void> {
      this.taken += "!";
      this.setTerminator(null);
      return Promise.resolve();
    }
  }
  const fake = talk(Skipping);
  fake.chat.maxLength = 3;
  fake.chat.setTerminator("\n");
  await arrive(fake, "abcdefgh\nij\n", "kl");
  await passes(fake.map, 4);
  assertEquals(fake.chat.taken, "abc!defgh\nij\nkl");
  fake.chat.abort();
});

Deno.test("AsyncChat.handleOverflow() may look for another terminator in the rest", async () => {
  class Lenient extends Talker {
    override handleOverflow(): void {
      this.taken += "!";
      this.setTerminator("f");
    }
  }
  const fake = talk(Lenient);
  fake.chat.maxLength = 3;
  fake.chat.setTerminator("\n");
  await arrive(fake, "abcdefgh\n");
  assertEquals(fake.chat.taken, "abc!de|gh\n");
  fake.chat.abort();
});

Deno.test("AsyncChat.maxLength counts anew after a counted block", async () => {
  const fake = talk();
  fake.chat.maxLength = 5;
  fake.chat.setTerminator("\n");
  await arrive(fake, "spam");
  fake.chat.setTerminator(2);
  fake.chat.terminators = ["\n"];
  await arrive(fake, "xxeggs\n");
  assertEquals(fake.chat.taken, "spamxx|eggs|");
  fake.chat.abort();
});

Deno.test("AsyncChat.maxLength bounds only what a terminator is looked for in", async () => {
  for (const terminator of [null, 0, 20]) {
    const taken = await takenFrom(["x".repeat(30)], [terminator], (chat) => {
      chat.maxLength = 3;
      chat.terminators = [];
    });
    const [head, tail] = terminator === 20 ? [20, 10] : [30, 0];
    const mark = terminator === 20 ? "|" : "";
    assertEquals(taken, "x".repeat(head) + mark + "x".repeat(tail));
  }
});

Deno.test("AsyncChat.maxLength is 64 KiB by default", async () => {
  const limit = 65_536;
  const inOrder = "x".repeat(limit);
  assertEquals(await takenFrom([`${inOrder}\n`], ["\n"]), `${inOrder}|`);
  assertEquals(await takenFrom([`${inOrder}x\n`], ["\n"]), `${inOrder}!`);
});

Deno.test("AsyncChat.maxLength and highWaterMark refuse what is no length", () => {
  const { chat } = talk();
  for (const name of ["maxLength", "highWaterMark"] as const) {
    for (const value of [0, -1, 1.5, NaN, "5", null]) {
      let error: unknown;
      try {
        chat[name] = value as number;
      } catch (thrown) {
        error = thrown;
      }
      assert(
        error instanceof (typeof value === "number" ? RangeError : TypeError),
      );
    }
    assertEquals(chat[name], 65_536);
    chat[name] = Infinity;
    assertEquals(chat[name], Infinity);
  }
  chat.abort();
});

// STARTTLS

/** A network whose handshakes lead to `secured`. */
class SecuringNetwork extends FakeNetwork {
  readonly secured = new FakeChannel();
  startTls(): Promise<Channel> {
    return Promise.resolve(this.secured);
  }
}

class Securing extends Talker {
  override async foundTerminator(): Promise<void> {
    super.foundTerminator();
    if (this.taken === "220|") await this.startTls({ hostname: "localhost" });
  }
}

Deno.test("AsyncChat.startTls() in foundTerminator() goes on encrypted", async () => {
  const network = new SecuringNetwork();
  const fake = talk(Securing, quietMap({ network }));
  fake.chat.setTerminator("\r\n");
  await arrive(fake, "220\r\n");
  fake.chat.push("secret");
  network.secured.push("250\r\n");
  await rest(fake.map);
  assertEquals(network.secured.sent, "secret");
  assertEquals(fake.channel.sent, "");
  assertEquals(fake.chat.taken, "220|250|");
  fake.chat.abort();
});

Deno.test("AsyncChat.startTls() refuses what came before it, unencrypted", async () => {
  for (const rest of ["\r", "250 evil\r\n", "x"]) {
    const network = new SecuringNetwork();
    const { chat, channel, map } = talk(Securing, quietMap({ network }));
    chat.setTerminator("\r\n");
    channel.push(`220\r\n${rest}`);
    await loopToEnd(map);
    assertEquals(chat.errors.map(String), [
      "Error: Cannot start TLS: <Securing connected>: " +
      "unencrypted bytes wait to be collected",
    ]);
    assertEquals(chat.taken, "220|");
  }
});

Deno.test("AsyncChat.startTls() ends the connection when a beginning of a terminator is held back", async () => {
  const fake = talk(Talker, quietMap({ network: new SecuringNetwork() }));
  fake.chat.setTerminator("\r\n");
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
  const fake = talk(Talker, quietMap({ network: new SecuringNetwork() }));
  fake.chat.pushWithProducer({ more: () => new Promise<never>(() => {}) });
  await assertRejects(() => fake.chat.startTls(), Error, "is unfinished");
  fake.chat.abort();
});

// Whose the data is

Deno.test("AsyncChat gives data away for good: changing it changes nothing else", async () => {
  class Filling extends Talker {
    readonly pieces: Uint8Array[] = [];
    override collectIncomingData(data: Uint8Array): void {
      super.collectIncomingData(data);
      this.pieces.push(data);
      data.fill(bytes("#")[0]!);
    }
  }
  const whole = "spam\r\n\reggs\r\nabab ababab\r\nham\r";
  for (const parts of splitsOf(whole)) {
    for (const terminator of ["\r\n", "ababc", 3, null, "\n"]) {
      const { chat, channel, map } = talk(Filling);
      chat.setTerminator(terminator);
      chat.terminators = [terminator];
      channel.push(...parts, null);
      await loopToEnd(map);
      const expected = await takenFrom(parts, [terminator]);
      assertEquals(chat.taken, expected);
      for (const piece of chat.pieces) {
        assertEquals(text(piece), "#".repeat(piece.length));
      }
    }
  }
});

Deno.test("AsyncChat never overwrites data that it gave away", async () => {
  class Keeping extends Talker {
    readonly pieces: Uint8Array[] = [];
    override collectIncomingData(data: Uint8Array): void {
      this.pieces.push(data);
    }
  }
  const { chat, channel, map } = talk(Keeping);
  chat.setTerminator("\n");
  const lines = Array.from({ length: 2_000 }, (_, i) => `line ${i}`);
  channel.push(...lines.map((line) => `${line}\n`), null);
  await loopToEnd(map);
  assertEquals(chat.pieces.map(text), lines);
});

Deno.test("AsyncChat.acInBufferSize bounds what is taken at a time", async () => {
  class Measuring extends Talker {
    longest = 0;
    override collectIncomingData(data: Uint8Array): void {
      super.collectIncomingData(data);
      this.longest = Math.max(this.longest, data.length);
    }
  }
  const { chat, channel, map } = talk(Measuring);
  chat.acInBufferSize = 7;
  channel.push(block(1_000), null);
  await loopToEnd(map);
  assertEquals(chat.longest, 7);
  assertEquals(chat.taken, text(block(1_000)));
  assertFalse(chat.connected);
});

// Events that end a parse

Deno.test("AsyncChat hands out nothing while it is outside the map, and the rest afterwards", async () => {
  const { chat, channel, map } = talk();
  chat.setTerminator("\n");
  const { collectIncomingData } = chat;
  chat.collectIncomingData = (data) => {
    collectIncomingData.call(chat, data);
    chat.delChannel();
  };
  channel.push("spam\neggs\n");
  await passes(map, 4);
  assertEquals(chat.taken, "spam");
  chat.addChannel();
  await passes(map, 4);
  assertEquals(chat.taken, "spam|eggs");
  chat.abort();
});

Deno.test("AsyncChat hands out nothing while its handleClose() is pending", async () => {
  const gate = Promise.withResolvers<void>();
  class Leaving extends Talker {
    override handleClose(): Promise<void> {
      this.events.push("close");
      return gate.promise;
    }
  }
  const { chat, channel, map } = talk(Leaving);
  chat.setTerminator("\n");
  chat.maxLength = 4;
  channel.push("spamspam\neggs\n");
  await passes(map, 4);
  assertEquals(chat.taken, "spam!");
  gate.resolve();
  await loopToEnd(map);
  assertEquals(chat.taken, "spam!");
  assertEquals(chat.events, ["close"]);
});

Deno.test("AsyncChat hands out nothing after its readable() has closed it", async () => {
  const { chat, channel, map } = talk();
  chat.setTerminator("\n");
  chat.highWaterMark = 1;
  channel.take = () => new Promise(() => {});
  let isDue = false;
  chat.readable = () => {
    if (isDue) chat.abort();
    return true;
  };
  chat.foundTerminator = () => {
    chat.taken += "|";
    isDue = true;
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
  assertEquals(asked, 1);
  assertEquals(chat.events, []);
});
