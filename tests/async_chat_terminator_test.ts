import { assertEquals, assertLess, assertThrows } from "@std/assert";
import { AsyncChat } from "../mod.ts";
import { Terminator } from "../chat/terminator.ts";
import {
  arrive,
  block,
  splitsOf,
  takenFrom,
  talk,
  Talker,
  type TerminatorLike,
} from "./chats.ts";
import { loopToEnd, newSeed, passes, randomFrom } from "./fakes.ts";
import { bytes, cpuTime } from "./support.ts";

/** Checks one conversation for each way to split `whole`. */
async function checkSplits(
  whole: string,
  terminators: TerminatorLike[],
  expected: string,
): Promise<void> {
  for (const parts of splitsOf(whole)) {
    const message = `${JSON.stringify(parts)} at ${Deno.inspect(terminators)}`;
    assertEquals(await takenFrom(parts, terminators), expected, message);
  }
}

Deno.test("AsyncChat finds text and bytes however the input is split", async () => {
  const whole = "spam\r\n\r\n\reggs\n\r\nham\r";
  for (const terminator of ["\r\n", bytes("\r\n")]) {
    await checkSplits(whole, [terminator], "spam||\reggs\n|ham");
  }
  await checkSplits("one\ntwo\n\nthree", ["\n"], "one|two||three");
  await checkSplits("helloqqqqworldqqq", ["qqq"], "hello|qworld|");
});

Deno.test("AsyncChat finds terminators that overlap themselves however split", async () => {
  await checkSplits("aab aaab xaaaab aa", ["aab"], "| a| xaa| ");
  await checkSplits("aaab aaaab baaab aa", ["aaab"], "| a| b| ");
  await checkSplits("abababc abcababc", ["ababc"], "ab| abc|");
  await checkSplits("aaaaaaa", ["aaa"], "||");
  await checkSplits("abcabcabdabcab", ["abcabd"], "abc|");
});

Deno.test("AsyncChat counts bytes however the input is split", async () => {
  await checkSplits("abcdefgh", [3], "abc|def|gh");
  await checkSplits("abc", [1], "a|b|c|");
  await checkSplits("abc", [3], "abc|");
});

Deno.test("AsyncChat collects everything without a terminator", async () => {
  await checkSplits("a\r\nb\0c", [null], "a\r\nb\0c");
  await checkSplits("a\r\nb\0c", [0], "a\r\nb\0c");
});

Deno.test("AsyncChat finds a terminator of several bytes of UTF-8", async () => {
  const { chat, channel, map } = talk();
  chat.setTerminator("→");
  for (const byte of bytes("spam→eggs→")) channel.push(Uint8Array.of(byte));
  channel.push(null);
  await loopToEnd(map);
  assertEquals(chat.messages, ["spam", "eggs"]);
});

Deno.test("AsyncChat goes from lines to counted bytes and back however split", async () => {
  await checkSplits(
    "GET\r\n12345PUT\r\n\r\n678X",
    ["\r\n", 5],
    "GET|12345|PUT|\r\n678|X",
  );
  await checkSplits("ab--\nrest\n--", ["--", "\n", null], "ab||rest\n--");
  await checkSplits("2\nab0\n", ["\n", 2, "\n"], "2|ab|0|");
});

Deno.test("AsyncChat collects everything after a counted block that stays", async () => {
  // As in Python, the number counts down to 0.
  for (const parts of splitsOf("abcdefgh")) {
    const { chat, channel, map } = talk();
    chat.setTerminator(3);
    await arrive({ chat, channel, map }, ...parts);
    assertEquals(chat.taken, "abc|defgh");
    assertEquals(chat.getTerminator(), 0);
    chat.abort();
  }
});

Deno.test("AsyncChat.getTerminator() tells what was set, and what is still to come", async () => {
  const fake = talk();
  const { chat } = fake;
  assertEquals(chat.getTerminator(), null);
  const terminator = bytes("\r\n");
  for (const value of ["spam", terminator, null, 0, 7]) {
    chat.setTerminator(value);
    assertEquals(chat.getTerminator(), value);
  }
  await arrive(fake, "abc");
  assertEquals(chat.getTerminator(), 4);
  await arrive(fake, "defg");
  assertEquals(chat.getTerminator(), 0);
  assertEquals(chat.taken, "abcdefg|");
  chat.abort();
});

Deno.test("AsyncChat.setTerminator() keeps its own copy of bytes", async () => {
  const fake = talk();
  const terminator = bytes("\r\n");
  fake.chat.setTerminator(terminator);
  terminator.fill(0);
  await arrive(fake, "spam\r\n");
  assertEquals(fake.chat.messages, ["spam"]);
  fake.chat.abort();
});

// Changed elsewhere

Deno.test("AsyncChat.setTerminator() looks again at a beginning held back", async () => {
  const cases: [TerminatorLike, string, string][] = [
    [null, "xxab", "xxabyy"],
    [0, "xxab", "xxabyy"],
    ["b", "xxa|", "xxa|yy"],
    ["byy", "xxa", "xxa|"],
    [2, "xxab|", "xxab|yy"],
    [3, "xxab", "xxaby|y"],
    ["abc", "xx", "xxabyy"],
  ];
  for (const [terminator, atOnce, afterwards] of cases) {
    const fake = talk();
    fake.chat.setTerminator("abc");
    await arrive(fake, "xxab");
    assertEquals(fake.chat.taken, "xx");
    fake.chat.setTerminator(terminator);
    await passes(fake.map, 4);
    assertEquals(fake.chat.taken, atOnce, `at once: ${terminator}`);
    await arrive(fake, "yy");
    assertEquals(fake.chat.taken, afterwards, `afterwards: ${terminator}`);
    fake.chat.abort();
  }
});

Deno.test("AsyncChat.setTerminator() in collectIncomingData() holds for what follows", async () => {
  class Header extends Talker {
    override collectIncomingData(data: Uint8Array): void {
      const first = this.taken === "";
      super.collectIncomingData(data);
      if (first) this.setTerminator(this.terminators[0]!);
    }
  }
  const cases: [TerminatorLike, TerminatorLike, string, string][] = [
    ["\r\n", "\n", "spam\r\neggs\n", "spam\r|eggs|"],
    ["\r\n", null, "spam\r\neggs\n", "spam\r\neggs\n"],
    ["\r\n", 3, "spam\r\neggs\n", "spam\r\ne|ggs|\n"],
    [4, "s", "spam\r\neggs\n", "spam\r\negg|\n"],
    [4, 2, "spam\r\neggs\n", "spam\r\n|eg|gs|\n"],
  ];
  for (const [before, after, whole, expected] of cases) {
    const fake = talk(Header);
    fake.chat.terminators = [after];
    fake.chat.setTerminator(before);
    await arrive(fake, whole);
    assertEquals(fake.chat.taken, expected, `${before} to ${after}`);
    fake.chat.abort();
  }
});

// Wrong ones

Deno.test("AsyncChat.setTerminator() refuses what ends no message", () => {
  const chat = new AsyncChat();
  chat.setTerminator("\r\n");
  for (const value of ["", new Uint8Array(0)]) {
    assertThrows(() => chat.setTerminator(value), RangeError, "empty");
  }
  for (const value of [-1, 1.5, NaN, Infinity, -Infinity, 2 ** 53]) {
    assertThrows(() => chat.setTerminator(value), RangeError, "terminator");
  }
  const wrong = [undefined, true, {}, [], [13, 10], 5n, new ArrayBuffer(2)];
  for (const value of wrong) {
    assertThrows(
      () => chat.setTerminator(value as never),
      TypeError,
      "terminator must be text, bytes, a number or null, got",
    );
  }
  assertEquals(chat.getTerminator(), "\r\n");
});

// Random ones against a model

/** What a chat is to take in, the simple way: over the whole input. */
function model(
  input: string,
  terminators: TerminatorLike[],
  maxLength: number,
): string {
  let taken = "";
  let rest = input;
  for (let turn = 0; rest.length > 0;) {
    const terminator = terminators[turn]!;
    let plain = rest.length;
    let end = -1;
    if (typeof terminator === "string") {
      const index = rest.indexOf(terminator);
      plain = index;
      end = index + terminator.length;
      if (index < 0) {
        let held = Math.min(terminator.length - 1, rest.length);
        while (!rest.endsWith(terminator.slice(0, held))) held--;
        plain = rest.length - held;
        end = -1;
      }
      const blocks: string[] = [];
      for (let at = 0; at < plain; at += maxLength) {
        blocks.push(rest.slice(at, Math.min(at + maxLength, plain)));
      }
      taken += blocks.join("!");
    } else {
      if (typeof terminator === "number" && terminator > 0) {
        plain = Math.min(plain, terminator);
        if (plain === terminator) end = plain;
      }
      taken += rest.slice(0, plain);
    }
    if (end < 0) return taken;
    taken += "|";
    rest = rest.slice(end);
    turn = (turn + 1) % terminators.length;
  }
  return taken;
}

Deno.test("AsyncChat takes in 10,000 random conversations as a simple model does", async () => {
  const random = randomFrom(newSeed());
  const below = (limit: number) => Math.floor(random() * limit);
  const letters = (length: number, count: number) =>
    Array.from({ length }, () => "abc"[below(count)]).join("");
  const terminator = (): TerminatorLike => {
    const kind = below(20);
    if (kind === 0) return null;
    if (kind < 6) return 1 + below(6);
    return letters(1 + below(kind < 12 ? 2 : 6), 2);
  };
  for (let i = 0; i < 10_000; i++) {
    const input = letters(below(60), 2 + below(2));
    const terminators = Array.from({ length: 1 + below(3) }, terminator);
    const maxLength = below(3) === 0 ? 1 + below(6) : 100;
    const parts: string[] = [];
    for (let at = 0; at < input.length;) {
      const length = 1 + below(below(4) === 0 ? 30 : 4);
      parts.push(input.slice(at, at + length));
      at += length;
    }
    const taken = await takenFrom(parts, terminators, (chat) => {
      chat.maxLength = maxLength;
      chat.strict = false;
      chat.acInBufferSize = 1 + below(40);
    });
    const message = JSON.stringify({ parts, terminators, maxLength });
    assertEquals(taken, model(input, terminators, maxLength), message);
  }
});

// What it costs

/** How many bytes searches look at meanwhile, those that they look at twice twice. */
async function countSteps(run: () => Promise<void>): Promise<number> {
  let steps = 0;
  const { find } = Terminator.prototype;
  Terminator.prototype.find = function (data, start) {
    const counted = new Proxy(data, {
      get(target, name) {
        if (name === "length") return target.length;
        if (name === "indexOf") {
          return (byte: number, from: number) => {
            const index = target.indexOf(byte, from);
            steps += (index < 0 ? target.length : index + 1) - from;
            return index;
          };
        }
        steps++;
        return target[Number(name)];
      },
    });
    return find.call(this, counted, start);
  };
  try {
    await run();
  } finally {
    Terminator.prototype.find = find;
  }
  return steps;
}

Deno.test("AsyncChat looks at each byte a bounded number of times", async () => {
  const long = `${"a".repeat(999)}b`;
  const length = 10_000;
  const plain = "x".repeat(length);
  const inputs: [string, string, string][] = [
    ["one line", "\r\n", plain],
    ["short lines", "\r\n", "xyz\r\n".repeat(length / 5)],
    ["half terminators", "\r\n", "\r".repeat(length)],
    ["a long terminator", long, "a".repeat(length)],
    ["near misses", long, `${"a".repeat(998)}b`.repeat(length / 999)],
    ["a period", `${"ab".repeat(400)}b`, "ab".repeat(length / 2)],
  ];
  for (const [name, terminator, input] of inputs) {
    for (const size of [1, 7, 500, length]) {
      const parts: string[] = [];
      for (let at = 0; at < input.length; at += size) {
        parts.push(input.slice(at, at + size));
      }
      const steps = await countSteps(async () => {
        await takenFrom(parts, [terminator]);
      });
      assertLess(steps / input.length, 5, `${name}, ${size} at a time`);
    }
  }
});

Deno.test("AsyncChat looks at each byte a bounded number of times beyond maxLength", async () => {
  const long = `${"a".repeat(99)}b`;
  for (const terminator of ["\r\n", long]) {
    const input = (terminator === long ? "a" : "x").repeat(10_000);
    for (const parts of [[input], input.match(/.{1,500}/g)!, [...input]]) {
      const steps = await countSteps(async () => {
        await takenFrom(parts, [terminator], (chat) => {
          chat.maxLength = 3;
          chat.strict = false;
        });
      });
      assertLess(steps / input.length, 7, `${parts.length} parts`);
    }
  }
});

Deno.test("AsyncChat takes in a long line byte by byte at a cost that does not grow", () => {
  class Fed extends AsyncChat {
    found = 0;
    override recv(): Uint8Array {
      return Uint8Array.of(this.next);
    }
    next = 0;
    override collectIncomingData(): void {}
    override foundTerminator(): void {
      this.found++;
    }
  }
  const costOf = (length: number): number => {
    const { map, channel } = talk();
    const chat = new Fed(channel, { map });
    chat.maxLength = length;
    chat.setTerminator("\r\n");
    const line = [...block(length - 2), 13, 10];
    const rounds = 100_000 / length;
    const start = cpuTime();
    for (let i = 0; i < rounds; i++) {
      for (const byte of line) {
        chat.next = byte;
        chat.handleRead();
      }
    }
    assertEquals(chat.found, rounds);
    for (const member of map) member.abort();
    return cpuTime() - start;
  };
  costOf(100);
  const short = Math.min(costOf(100), costOf(100), costOf(100));
  const long = Math.min(costOf(50_000), costOf(50_000), costOf(50_000));
  assertLess(long / short, 50, "a quadratic cost would be 500 times as high");
});
