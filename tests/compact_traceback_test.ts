import { assert, assertEquals, assertMatch } from "@std/assert";
import { compactTraceback } from "../mod.ts";

const here = /^\[[^|\]]*compact_traceback_test\.ts$/;

/** The parts of each `[file|function|line]`. */
function framesOf(error: unknown): string[][] {
  const line = compactTraceback(error);
  return line.split("] ").map((frame) => frame.replace(/\]$/, "").split("|"));
}

/** The line that it is called from. */
function lineNumber(): number {
  const caller = new Error().stack!.split("\n")[2]!;
  return Number(/:(\d+):\d+\)?$/.exec(caller)![1]);
}

let thrownAt = 0;

function throwSpam(): never {
  thrownAt = lineNumber() + 1;
  throw new Error("I don't like spam!");
}

function order(): never {
  throwSpam();
}

/** What a function throws. */
function errorOf(failing: () => unknown): unknown {
  try {
    failing();
  } catch (error) {
    return error;
  }
  throw new Error("Nothing was thrown");
}

/** An error with a given stack, as another system would write it. */
function errorWith(stack: string | undefined, message = "spam"): Error {
  const error = new Error(message);
  error.stack = stack as string;
  return error;
}

Deno.test("compactTraceback() names the file, the function and the line that threw", () => {
  const [file, name, line] = framesOf(errorOf(throwSpam)).at(-1)!;
  assertMatch(file!, here);
  assertEquals(name, "throwSpam");
  assertEquals(Number(line), thrownAt);
});

Deno.test("compactTraceback() goes from the outermost call to the one that threw", () => {
  const names = framesOf(errorOf(order)).map(([_file, name]) => name);
  assertEquals(names.slice(-3), ["errorOf", "order", "throwSpam"]);
});

Deno.test("compactTraceback() is one line of [file|function|line]", () => {
  assertMatch(
    compactTraceback(errorOf(order)),
    /^\[[^|\]]+\|[^|\]]+\|\d+\]( \[[^|\]]+\|[^|\]]+\|\d+\])+$/,
  );
});

Deno.test("compactTraceback() knows methods, constructors and async functions", async () => {
  class Menu {
    constructor(broken: boolean) {
      if (broken) throwSpam();
    }
    async read(): Promise<void> {
      await Promise.resolve();
      throwSpam();
    }
  }
  const inConstructor = compactTraceback(errorOf(() => new Menu(true)));
  assertMatch(inConstructor, /\|new Menu\|\d+\] \[[^|]+\|throwSpam\|\d+\]$/);
  const rejection = await new Menu(false).read().catch((error) => error);
  assertMatch(
    compactTraceback(rejection),
    /\|Menu\.read\|\d+\] \[[^|]+\|throwSpam\|\d+\]$/,
  );
});

Deno.test("compactTraceback() writes paths, not URLs of files", () => {
  const error = errorWith(
    [
      "Error: spam",
      "    at inner (file:///home/me/menu.ts:7:9)",
      "    at async outer (https://example.com/mod.ts:30:1)",
      "    at file:///home/me/main.ts:2:3",
    ].join("\n"),
  );
  assertEquals(
    compactTraceback(error),
    "[/home/me/main.ts|<anonymous>|2] [https://example.com/mod.ts|outer|30] " +
      "[/home/me/menu.ts|inner|7]",
  );
});

Deno.test("compactTraceback() of anything without a stack is empty", () => {
  for (const thrown of [undefined, null, 7, "spam", {}, Symbol("spam")]) {
    assertEquals(compactTraceback(thrown), "");
  }
  assertEquals(compactTraceback(errorWith(undefined)), "");
  assertEquals(compactTraceback(errorWith("")), "");
  assertEquals(compactTraceback(errorWith("Error: spam")), "");
  assertEquals(compactTraceback({ stack: "    at a (b.ts:1:2)" }), "");
});

Deno.test("compactTraceback() takes no line of the message for a call", () => {
  function receive(): never {
    throw new Error("bad request: x\n    at login (/etc/passwd:1:2)");
  }
  const line = compactTraceback(errorOf(receive));
  assert(!line.includes("passwd"), line);
  assertMatch(line, /\|receive\|\d+\]$/);
});

Deno.test("compactTraceback() escapes and bounds what it shows", () => {
  const error = errorWith(
    "Error\n    at evil\u001b[31m\u0000\u009b (a\u0007b.ts:1:2)",
  );
  assertEquals(
    compactTraceback(error),
    "[a\\x07b.ts|evil\\x1b[31m\\x00\\x9b|1]",
  );
  const frame = "    at spam (file:///home/me/menu.ts:7:9)\n";
  const long = compactTraceback(errorWith("Error\n" + frame.repeat(10_000)));
  assert(long.length < 10_000, `${long.length} characters`);
});

Deno.test("compactTraceback() keeps the call that threw, however deep it was", () => {
  const deep = "    at outer (file:///home/me/menu.ts:7:9)\n".repeat(1_000);
  const line = compactTraceback(
    errorWith(
      `Error: spam\n    at inner (file:///home/me/egg.ts:1:2)\n${deep}`,
    ),
  );
  assert(line.includes("[/home/me/egg.ts|inner|1]"), line.slice(-100));
});

Deno.test("compactTraceback() stays the same when the message is changed later", () => {
  const error = errorOf(order) as Error;
  const line = compactTraceback(error);
  const messages = [
    "",
    `Cannot order: ${error.message}`,
    "compact_traceback_test.ts",
    "x".repeat(error.stack!.length / 2),
  ];
  for (const message of messages) {
    error.message = message;
    assertEquals(compactTraceback(error), line);
  }
});
