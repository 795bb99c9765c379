import { assertEquals, assertLess, assertThrows } from "@std/assert";
import { AsyncChat } from "../mod.ts";
import { Terminator } from "../chat/terminator.ts";
import {
  arrive,
  block,
  splitsOf,
  takenFrom,
  talk,
  type TerminatorLike,
} from "./chats.ts";
import { loopToEnd, passes } from "./fakes.ts";
import { bytes, cpuTime } from "./support.ts";

const SPLIT: [TerminatorLike[], whole: string, taken: string][] = [
  [["\r\n"], "spam\r\n\r\n\reggs\n\r\nham\r", "spam||\reggs\n|ham"],
  [[bytes("\r\n")], "spam\r\n\r\n\reggs\n\r\nham\r", "spam||\reggs\n|ham"],
  [["\n"], "one\ntwo\n\nthree", "one|two||three"],
  [["qqq"], "helloqqqqworldqqq", "hello|qworld|"],
  // These overlap themselves.
  [["aab"], "aab aaab xaaaab aa", "| a| xaa| "],
  [["aaab"], "aaab aaaab baaab aa", "| a| b| "],
  [["ababc"], "abababc abcababc", "ab| abc|"],
  [["aaa"], "aaaaaaa", "||"],
  [["abcabd"], "abcabcabdabcab", "abc|"],
  [[3], "abcdefgh", "abc|def|gh"],
  [[1], "abc", "a|b|c|"],
  [[3], "abc", "abc|"],
  [[null], "a\r\nb\0c", "a\r\nb\0c"],
  [[0], "a\r\nb\0c", "a\r\nb\0c"],
  [
    ["\r\n", 5],
    "GET\r\n12345PUT\r\n\r\n678X",
    "GET|12345|PUT|\r\n678|X",
  ],
  [["--", "\n", null], "ab--\nrest\n--", "ab||rest\n--"],
  [["\n", 2, "\n"], "2\nab0\n", "2|ab|0|"],
];

for (const [terminators, whole, taken] of SPLIT) {
  Deno.test(`AsyncChat takes ${JSON.stringify(whole)} apart at ${Deno.inspect(terminators)} however it is split`, async () => {
    for (const parts of splitsOf(whole)) {
      const message = JSON.stringify(parts);
      assertEquals(await takenFrom(parts, terminators), taken, message);
    }
  });
}

Deno.test("AsyncChat finds a terminator of several bytes of UTF-8", async () => {
  const { chat, channel, map } = talk();
  chat.setTerminator("→");
  for (const byte of bytes("spam→eggs→")) channel.push(Uint8Array.of(byte));
  channel.push(null);
  await loopToEnd(map);
  assertEquals(chat.messages, ["spam", "eggs"]);
});

Deno.test("AsyncChat collects everything after a counted block that stays", async () => {
  // As in Python, the number counts down to 0.
  for (const parts of splitsOf("abcdefgh")) {
    const fake = talk();
    fake.chat.setTerminator(3);
    await arrive(fake, ...parts);
    assertEquals(fake.chat.taken, "abc|defgh");
    assertEquals(fake.chat.getTerminator(), 0);
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
});

// Changed elsewhere

for (
  const [terminator, atOnce, afterwards] of [
    [null, "xxab", "xxabyy"],
    [0, "xxab", "xxabyy"],
    ["b", "xxa|", "xxa|yy"],
    ["byy", "xxa", "xxa|"],
    [2, "xxab|", "xxab|yy"],
    [3, "xxab", "xxaby|y"],
    ["abc", "xx", "xxabyy"],
  ] as [TerminatorLike, string, string][]
) {
  Deno.test(`AsyncChat.setTerminator(${JSON.stringify(terminator)}) looks again at a beginning held back`, async () => {
    const fake = talk();
    fake.chat.setTerminator("abc");
    await arrive(fake, "xxab");
    assertEquals(fake.chat.taken, "xx");
    fake.chat.setTerminator(terminator);
    await passes(fake.map, 4);
    assertEquals(fake.chat.taken, atOnce);
    await arrive(fake, "yy");
    assertEquals(fake.chat.taken, afterwards);
  });
}

for (
  const [before, after, expected] of [
    ["\r\n", "\n", "spam\r|eggs|"],
    ["\r\n", null, "spam\r\neggs\n"],
    ["\r\n", 3, "spam\r\ne|ggs|\n"],
    [4, "s", "spam\r\negg|\n"],
    [4, 2, "spam\r\n|eg|gs|\n"],
  ] as [TerminatorLike, TerminatorLike, string][]
) {
  Deno.test(`AsyncChat.setTerminator() in collectIncomingData() holds for what follows: ${JSON.stringify([before, after])}`, async () => {
    const fake = talk();
    const { chat } = fake;
    chat.terminators = [after];
    chat.act.collect = (data) => {
      if (chat.taken === data) chat.setTerminator(after);
    };
    chat.setTerminator(before);
    await arrive(fake, "spam\r\neggs\n");
    assertEquals(chat.taken, expected);
  });
}

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

/** `input` in parts of `size`. */
function cut(input: string, size: number): string[] {
  return input.match(new RegExp(`[^]{1,${size}}`, "g"))!;
}

const LONG = `${"a".repeat(999)}b`;
const LENGTH = 10_000;

for (
  const [name, terminator, input] of [
    ["one line", "\r\n", "x".repeat(LENGTH)],
    ["short lines", "\r\n", "xyz\r\n".repeat(LENGTH / 5)],
    ["half terminators", "\r\n", "\r".repeat(LENGTH)],
    ["a long terminator", LONG, "a".repeat(LENGTH)],
    ["near misses", LONG, LONG.slice(1).repeat(LENGTH / 999)],
    ["a period", `${"ab".repeat(400)}b`, "ab".repeat(LENGTH / 2)],
  ] as const
) {
  Deno.test(`AsyncChat looks at each byte of ${name} a bounded number of times`, async () => {
    for (const size of [1, 7, 500, LENGTH]) {
      const steps = await countSteps(async () => {
        await takenFrom(cut(input, size), [terminator]);
      });
      assertLess(steps / input.length, 5, `${size} at a time`);
    }
  });
}

Deno.test("AsyncChat looks at each byte a bounded number of times beyond maxLength", async () => {
  for (const [terminator, letter] of [["\r\n", "x"], [LONG.slice(900), "a"]]) {
    for (const size of [1, 500, LENGTH]) {
      const parts = cut(letter!.repeat(LENGTH), size);
      const steps = await countSteps(async () => {
        await takenFrom(parts, [terminator!], (chat) => {
          Object.assign(chat, { maxLength: 3, strict: false });
        });
      });
      assertLess(steps / LENGTH, 7, `${size} at a time`);
    }
  }
});

Deno.test("AsyncChat takes in a long line byte by byte at a cost that does not grow", () => {
  const costOf = (length: number): number => {
    const { chat } = talk();
    let next = 0;
    let found = 0;
    Object.assign(chat, {
      maxLength: length,
      recv: () => Uint8Array.of(next),
      collectIncomingData: () => {},
      foundTerminator: () => void found++,
    });
    chat.setTerminator("\r\n");
    const line = [...block(length - 2), 13, 10];
    const rounds = 100_000 / length;
    const start = cpuTime();
    for (let i = 0; i < rounds; i++) {
      for (next of line) chat.handleRead();
    }
    assertEquals(found, rounds);
    return cpuTime() - start;
  };
  costOf(100);
  const short = Math.min(costOf(100), costOf(100), costOf(100));
  const long = Math.min(costOf(50_000), costOf(50_000), costOf(50_000));
  assertLess(long / short, 50, "a quadratic cost would be 500 times as high");
});
