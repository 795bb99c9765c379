/** A peer's text must not draw on a terminal, forge a line or fill a disk. */

import { assert, assertEquals, assertLess, assertMatch } from "@std/assert";
import {
  AsyncChat,
  compactTraceback,
  Dispatcher,
  DispatcherWithSend,
  SocketMap,
} from "../mod.ts";
import { logLine, printable } from "../core/log.ts";
import { FakeChannel, LogLines, loopToEnd, quietMap } from "./fakes.ts";
import { bytes, captureConsole, text } from "./support.ts";

/** One of each kind of harm, and how it is to be shown. */
const HARMS: [string, string, string][] = [
  ["ESC, which draws", "\u001b[2J", "\\x1b[2J"],
  ["a line feed, which forges a line", "\n", "\\n"],
  ["a carriage return, which overwrites one", "\r", "\\r"],
  ["a tab", "\t", "\\t"],
  ["NUL", "\0", "\\x00"],
  ["DEL", "\u007f", "\\x7f"],
  ["a CSI of C1, which draws too", "\u009b2J", "\\x9b2J"],
  ["a next line of C1", "\u0085", "\\x85"],
  ["a line separator", "\u2028", "\\u2028"],
  ["a paragraph separator", "\u2029", "\\u2029"],
  ["a right-to-left override", "\u202e", "\\u202e"],
  ["a right-to-left isolate", "\u2067", "\\u2067"],
  ["an Arabic letter mark", "\u061c", "\\u061c"],
  ["a left-to-right mark", "\u200e", "\\u200e"],
];
const ALL = HARMS.map(([, harm]) => harm).join("");
/** Every control character, separator and bidirectional control. */
const RAW = /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/u;

for (const [what, harm, shown] of HARMS) {
  Deno.test(`printable() and logLine() show ${what} as an escape`, () => {
    assertEquals(printable(`a${harm}b`), `a${shown}b`);
    assertEquals(logLine(`a${harm}b`), `a${shown}b`);
  });
}

Deno.test("printable() leaves nothing raw of all that Unicode has", () => {
  for (let code = 0; code <= 0x10ffff; code++) {
    const char = String.fromCodePoint(code);
    if (!RAW.test(char)) continue;
    assertMatch(printable(char), /^\\[nrt]$|^\\x[\da-f]{2}$|^\\u[\da-f]{4}$/);
  }
});

Deno.test("printable() escapes backslashes, so that an escape cannot be forged; logLine() leaves them", () => {
  assertEquals(printable("\\n"), "\\\\n");
  assertEquals(logLine(printable("\n \\n")), "\\n \\\\n");
});

Deno.test("printable() and logLine() cut what is too long", () => {
  assertEquals(printable("x".repeat(1e6)).length, 501);
  assertEquals(logLine("x".repeat(1e6)).length, 4_001);
  assertLess(logLine("\0".repeat(1e6)).length, 4 * 4_000 + 2);
});

/** Expects lines that are fit for a terminal, and something of `ALL` in them. */
function assertHarmless(lines: string[]): void {
  assertEquals(lines.filter((line) => RAW.test(line)), []);
  assertEquals(lines.filter((line) => line.length > 20_000), []);
  const isThere = lines.some((line) => line.includes("\\x1b[2J\\n\\r"));
  assert(isThere, lines.join());
}

/** A map whose log is looked at. */
function setUp() {
  const logger = new LogLines();
  return { map: quietMap({ logger }), lines: logger.lines };
}

/** A channel whose peer has an address of its own making. */
class Stranger extends FakeChannel {
  readonly remoteAddr: Deno.Addr = {
    transport: "tcp",
    hostname: ALL.repeat(100),
    port: 7,
  };
}

Deno.test("Dispatcher.log() and logInfo() write what they are given as one harmless line", () => {
  const message = ALL.repeat(1_000);
  using console = captureConsole();
  const dispatcher = new Dispatcher();
  dispatcher.log(message);
  dispatcher.logInfo(message);
  dispatcher.logInfo(message, "error");
  dispatcher.logInfo(message, ALL);
  assertEquals(console.err.length, 1);
  assertEquals(console.out.length, 3);
  assertHarmless([...console.err, ...console.out]);
  const logger = dispatcher.logger = new LogLines();
  for (const type of ["debug", "info", "error", ALL]) {
    dispatcher.logInfo(message, type);
  }
  dispatcher.log(message);
  assertEquals(logger.lines.length, 5);
  assertHarmless(logger.lines);
});

/** What a hook throws, made of what a peer has said. */
const THROWN: Record<string, (said: string) => unknown> = {
  "an error": (said) =>
    Object.assign(new TypeError(`no such: ${said}`, { cause: said }), {
      name: said,
    }),
  "text": (said) => said,
  "an object": (said) => ({ toString: () => said }),
  "a symbol": (said) => Symbol(said),
};

for (const [kind, make] of Object.entries(THROWN)) {
  Deno.test(`${kind} that carries a peer's text is logged as one harmless line`, async () => {
    const { map, lines } = setUp();
    const channel = new Stranger();
    const dispatcher = new Dispatcher(channel, { map });
    dispatcher.handleRead = () => {
      throw make(text(dispatcher.recv()));
    };
    channel.push(ALL.repeat(5_000));
    await loopToEnd(map);
    assertHarmless(lines);
  });
}

Deno.test("debug of a DispatcherWithSend shows what is sent as one harmless line", () => {
  const { map, lines } = setUp();
  const dispatcher = new DispatcherWithSend(new Stranger(), { map });
  dispatcher.debug = true;
  dispatcher.send(bytes(ALL.repeat(1_000)));
  assertHarmless(lines);
});

Deno.test("an overflow names its peer harmlessly", async () => {
  const { map, lines } = setUp();
  const channel = new Stranger();
  const chat = new AsyncChat(channel, { map, maxLength: 10 });
  chat.setTerminator("\n");
  chat.collectIncomingData = () => {};
  channel.push("x".repeat(20));
  await loopToEnd(map);
  assertHarmless(lines);
});

Deno.test("onError of a SocketMap logs what nobody handled as one harmless line", () => {
  const logger = new LogLines();
  new SocketMap({ logger }).onError(new Error(ALL.repeat(1_000)));
  assertHarmless(logger.lines);
  using console = captureConsole();
  new SocketMap().onError(ALL);
  assertHarmless(console.err);
});

Deno.test("compactTraceback() shows names of functions and files harmlessly", () => {
  const name = ALL.replaceAll("\n", "");
  const error = new Error("spam");
  error.stack = `Error: spam\n    at ${name} (file:///${name}:1:2)`;
  assertEquals(RAW.test(compactTraceback(error)), false);
});
