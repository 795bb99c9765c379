import { assert, assertEquals, assertMatch } from "@std/assert";
import { compactTraceback } from "../mod.ts";

function throwSpam(): never {
  throw new Error("I don't like spam!");
}

function order(): never {
  throwSpam();
}

/** The error that a function throws. */
function errorOf(failing: () => unknown): unknown {
  try {
    failing();
  } catch (error) {
    return error;
  }
  throw new Error("Nothing was thrown");
}

/** An error with a given stack, as another system would write it. */
function errorWith(stack: string | undefined): Error {
  return Object.assign(new Error("spam"), { stack });
}

Deno.test("compactTraceback() names the file, the function and the line that threw", () => {
  const source = Deno.readTextFileSync(import.meta.filename!).split("\n");
  const number = source.findIndex((line) => line.includes("like spam!")) + 1;
  const [last] = compactTraceback(errorOf(throwSpam)).split("] ").slice(-1);
  assertMatch(last!, /^\[[^|\]]*compact_traceback_test\.ts\|throwSpam\|/);
  assert(last!.endsWith(`|${number}]`), last);
});

Deno.test("compactTraceback() is one line from the outermost call to the one that threw", () => {
  const line = compactTraceback(errorOf(order));
  assertMatch(line, /^\[[^|\]]+\|[^|\]]+\|\d+\]( \[[^|\]]+\|[^|\]]+\|\d+\])+$/);
  assertMatch(line, /\|errorOf\|\d+\] [^ ]+\|order\|\d+\] [^ ]+\|throwSpam\|/);
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
  const error = errorWith(`Error: spam
    at inner (file:///home/me/menu.ts:7:9)
    at async outer (https://example.com/mod.ts:30:1)
    at file:///home/me/main.ts:2:3`);
  assertEquals(
    compactTraceback(error),
    "[/home/me/main.ts|<anonymous>|2] [https://example.com/mod.ts|outer|30] " +
      "[/home/me/menu.ts|inner|7]",
  );
});

Deno.test("compactTraceback() of anything without a stack is empty", () => {
  const thrown = [undefined, null, 7, "spam", {}, Symbol("spam")];
  const errors = [undefined, "", "Error: spam"].map((stack) =>
    errorWith(stack)
  );
  const lookalike = { stack: "    at a (b.ts:1:2)" };
  for (const error of [...thrown, ...errors, lookalike]) {
    assertEquals(compactTraceback(error), "");
  }
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
