/** What a peer says must not draw on a terminal, forge a line or fill a disk. */

import { assertEquals, assertLess, assertMatch } from "@std/assert";
import {
  AsyncChat,
  compactTraceback,
  Dispatcher,
  DispatcherWithSend,
  type Logger,
  SocketMap,
} from "../mod.ts";
import { logLine, printable } from "../core/log.ts";
import { FakeChannel, loopToEnd, passes, quietMap } from "./fakes.ts";
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

/** Keeps what it gets. */
class Lines implements Logger {
  readonly lines: string[] = [];
  readonly debug = (line: string): void => void this.lines.push(line);
  readonly info = this.debug;
  readonly warn = this.debug;
  readonly error = this.debug;
}

/** Expects lines that are fit for a terminal, and something of `ALL` in them. */
function assertHarmless(lines: string[], part = "\\x1b[2J\\n\\r"): void {
  assertEquals(lines.filter((line) => RAW.test(line)), []);
  assertEquals(lines.filter((line) => line.length > 20_000), []);
  assertEquals(lines.some((line) => line.includes(part)), true, lines.join());
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
  const logger = dispatcher.logger = new Lines();
  for (const type of ["debug", "info", "error", ALL]) {
    dispatcher.logInfo(message, type);
  }
  dispatcher.log(message);
  assertEquals(logger.lines.length, 5);
  assertHarmless(logger.lines);
});

Deno.test("an error that carries a peer's text is logged as one harmless line", async () => {
  const logger = new Lines();
  const map = quietMap({ logger });
  class Failing extends Dispatcher {
    override handleRead(): void {
      const said = text(this.recv());
      const error = new TypeError(`no such command: ${said}`, { cause: said });
      error.name = said;
      throw error;
    }
  }
  const channel = new Stranger();
  new Failing(channel, { map });
  channel.push(ALL.repeat(5_000));
  await loopToEnd(map);
  assertHarmless(logger.lines);
});

for (const thrown of [ALL, { toString: () => ALL }, Symbol(ALL)]) {
  Deno.test(`${typeof thrown} thrown with a peer's text is logged as one harmless line`, async () => {
    const logger = new Lines();
    const map = quietMap({ logger });
    class Failing extends Dispatcher {
      override handleRead(): void {
        this.recv();
        throw thrown;
      }
    }
    const channel = new FakeChannel();
    new Failing(channel, { map });
    channel.push("x");
    await loopToEnd(map);
    assertHarmless(logger.lines);
  });
}

Deno.test("debug of a DispatcherWithSend shows what is sent as one harmless line", () => {
  const logger = new Lines();
  const dispatcher = new DispatcherWithSend(new Stranger(), {
    map: quietMap({ logger }),
  });
  dispatcher.debug = true;
  dispatcher.send(bytes(ALL.repeat(1_000)));
  assertHarmless(logger.lines, "\\x1b[2J\\n\\r");
  dispatcher.abort();
});

Deno.test("an overflow names its peer harmlessly", async () => {
  const logger = new Lines();
  const map = quietMap({ logger });
  const channel = new Stranger();
  const chat = new AsyncChat(channel, { map, maxLength: 10 });
  chat.setTerminator("\n");
  chat.collectIncomingData = () => {};
  channel.push("x".repeat(20));
  await passes(map, 4);
  assertHarmless(logger.lines);
  await loopToEnd(map);
});

Deno.test("onError of a SocketMap logs what nobody handled as one harmless line", async () => {
  const logger = new Lines();
  const map = new SocketMap({ logger });
  map.onError(new Error(ALL.repeat(1_000)));
  assertHarmless(logger.lines);
  using console = captureConsole();
  new SocketMap().onError(ALL);
  assertHarmless(console.err);
  await Promise.resolve();
});

Deno.test("compactTraceback() shows names of functions and files harmlessly", () => {
  const error = new Error("spam");
  error.stack = `Error: spam\n    at ${ALL.replaceAll("\n", "")} (file:///${
    ALL.replaceAll("\n", "")
  }:1:2)`;
  assertEquals(RAW.test(compactTraceback(error)), false);
});
