/**
 * What this repo relies on in the `@std` packages, tried on whichever is
 * mapped: the packages themselves, or the stand-ins beside this file.
 *
 * `tools/with_std.ts` loads this file to see whether the packages resolve, so
 * every one that the repo uses is imported here.
 *
 * @module
 */

import {
  assert,
  assertArrayIncludes,
  assertEquals,
  assertExists,
  assertFalse,
  assertGreater,
  assertGreaterOrEqual,
  assertInstanceOf,
  AssertionError,
  assertLess,
  assertLessOrEqual,
  assertMatch,
  assertNotEquals,
  assertNotStrictEquals,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
  fail,
} from "@std/assert";
import {
  BaseHandler,
  ConsoleHandler,
  type LevelName,
  Logger,
  LogLevels,
  type LogRecord,
} from "@std/log";
import { DelimiterStream, TextLineStream, toText } from "@std/streams";
import {
  assertSpyCall,
  assertSpyCalls,
  MockError,
  spy,
} from "@std/testing/mock";

// The assertions are under test, so that these two do without them.

/** What the assertion throws; a message given to it must be in there. */
function failureOf(assertion: () => void): string {
  try {
    assertion();
  } catch (error) {
    if (error instanceof AssertionError) return error.message;
    throw new Error("Not an AssertionError", { cause: error });
  }
  throw new Error(`Did not fail: ${assertion}`);
}

async function rejectionOf(assertion: () => Promise<unknown>): Promise<string> {
  try {
    await assertion();
  } catch (error) {
    if (error instanceof AssertionError) return error.message;
    throw new Error("Not an AssertionError", { cause: error });
  }
  throw new Error(`Did not fail: ${assertion}`);
}

class Point {
  #x: number;
  constructor(x: number) {
    this.#x = x;
  }
  get x() {
    return this.#x;
  }
}

function ring(size: number): object {
  const node = { size, next: {} };
  node.next = node;
  return node;
}

const EQUAL: Record<string, [unknown, unknown]> = {
  "NaN": [NaN, NaN],
  "0 and -0": [[0], [-0]],
  "bigints": [1n, 1n],
  "plain objects in any order": [{ a: 1, b: [2] }, { b: [2], a: 1 }],
  "an object without prototype": [
    Object.assign(Object.create(null), { a: 1 }),
    {
      a: 1,
    },
  ],
  "instances": [new Point(1), new Point(1)],
  "dates": [new Date(7), new Date(7)],
  "regular expressions": [/a/g, /a/g],
  "URLs": [new URL("http://a/b"), new URL("http://a/b")],
  "bytes": [new Uint8Array([1, 2]), new Uint8Array([0, 1, 2]).subarray(1)],
  "buffers": [new Uint8Array([1]).buffer, new Uint8Array([1]).buffer],
  "maps in any order": [
    new Map([[1, "a"], [2, "b"]]),
    new Map([[2, "b"], [1, "a"]]),
  ],
  "maps with objects as keys": [
    new Map([[{ a: 1 }, 2]]),
    new Map([[{ a: 1 }, 2]]),
  ],
  "sets in any order": [new Set([1, 2]), new Set([2, 1])],
  "sets of objects in any order": [
    new Set([{ a: 1 }, { a: 2 }]),
    new Set([{ a: 2 }, { a: 1 }]),
  ],
  "cycles": [ring(1), ring(1)],
};

const DIFFERENT: Record<string, [unknown, unknown]> = {
  "a number and its text": [1, "1"],
  "null and undefined": [null, undefined],
  "an undefined property and none": [{ a: undefined }, {}],
  "undefined properties of other names": [{ a: undefined }, { b: undefined }],
  "a hole and undefined": [new Array(1), [undefined]],
  "lengths": [[1], [1, 2]],
  "symbol properties": [{ [Symbol.for("a")]: 1 }, { [Symbol.for("a")]: 2 }],
  "bytes and an array": [new Uint8Array([1]), [1]],
  "bytes and wider numbers": [new Uint8Array([1]), new Uint16Array([1])],
  "bytes": [new Uint8Array([1, 2]), new Uint8Array([1, 3])],
  "byte lengths": [new Uint8Array(2), new Uint8Array(3)],
  "buffers": [new Uint8Array([1]).buffer, new Uint8Array([2]).buffer],
  "an instance and its look-alike": [new Point(1), { x: 1 }],
  "private state behind a getter": [new Point(1), new Point(2)],
  "dates": [new Date(7), new Date(8)],
  "flags of regular expressions": [/a/g, /a/i],
  "URLs": [new URL("http://a/b"), new URL("http://a/c")],
  "map values": [new Map([[1, { a: 1 }]]), new Map([[1, { a: 2 }]])],
  "map keys with undefined": [
    new Map([["a", undefined]]),
    new Map([["b", undefined]]),
  ],
  "set members": [new Set([1]), new Set([2])],
  "a set and a map": [new Set(), new Map()],
  "messages of errors": [new Error("a"), new Error("b")],
  "classes of errors": [new TypeError("a"), new RangeError("a")],
  "functions": [() => 1, () => 1],
  "cycles": [ring(1), ring(2)],
};

Deno.test("assertEquals() accepts what has the same content", async (t) => {
  for (const [what, [a, b]] of Object.entries(EQUAL)) {
    await t.step(what, () => {
      assertEquals(a, b);
      assertEquals(b, a);
      failureOf(() => assertNotEquals(a, b));
    });
  }
});

Deno.test("assertEquals() tells apart what differs", async (t) => {
  for (const [what, [a, b]] of Object.entries(DIFFERENT)) {
    await t.step(what, () => {
      failureOf(() => assertEquals(a, b));
      failureOf(() => assertEquals(b, a));
      assertNotEquals(a, b);
    });
  }
});

Deno.test("assertEquals() shows both values and the given message", () => {
  const message = failureOf(() =>
    assertEquals({ a: 1, b: 22 }, { a: 1, b: 33 }, "why")
  );
  for (const part of ["22", "33", "why"]) assertStringIncludes(message, part);
});

Deno.test("assertStrictEquals() goes by identity", () => {
  const object = { a: 1 };
  assertStrictEquals(object, object);
  assertStrictEquals(NaN, NaN);
  assertNotStrictEquals({ a: 1 }, { a: 1 });
  assertNotStrictEquals(0, -0);
  failureOf(() => assertStrictEquals({ a: 1 }, { a: 1 }));
  failureOf(() => assertStrictEquals(0, -0));
  failureOf(() => assertNotStrictEquals(object, object));
  assertMatch(failureOf(() => assertStrictEquals(1, 2, "why")), /why/);
});

Deno.test("assert() and assertFalse() go by truth and narrow the type", () => {
  const value: string | undefined = ["text"][0];
  assert(value);
  assertStrictEquals(value.length, 4);
  assertFalse("");
  assertFalse(0);
  assertStrictEquals(failureOf(() => assert("", "why")), "why");
  assertStrictEquals(failureOf(() => assertFalse("x", "why")), "why");
  assertStrictEquals(failureOf(() => assert(null)), "");
});

Deno.test("assertExists() refuses null and undefined only", () => {
  const value: string | undefined = ["text"][0];
  assertExists(value);
  assertStrictEquals(value.length, 4);
  for (const falsy of [0, "", false, NaN]) assertExists(falsy);
  assertMatch(failureOf(() => assertExists(null, "why")), /null.*why/);
  assertMatch(failureOf(() => assertExists(undefined)), /undefined/);
});

Deno.test("assertInstanceOf() narrows the type and names both classes", () => {
  const value: unknown = new TypeError("text");
  assertInstanceOf(value, Error);
  assertStrictEquals(value.message, "text");
  assertMatch(
    failureOf(() => assertInstanceOf(value, RangeError)),
    /RangeError.*TypeError/,
  );
  assertMatch(
    failureOf(() => assertInstanceOf(null, Date, "why")),
    /Date.*null.*why/,
  );
});

Deno.test("assertMatch() and assertStringIncludes() show the text", () => {
  assertMatch("abc", /b./);
  assertStringIncludes("abc", "bc");
  assertMatch(failureOf(() => assertMatch("abc", /x/, "why")), /abc.*why/);
  assertMatch(
    failureOf(() => assertStringIncludes("abc", "x", "why")),
    /abc.*why/,
  );
});

Deno.test("assertArrayIncludes() compares by content", () => {
  assertArrayIncludes([{ a: 1 }, { a: 2 }], [{ a: 2 }]);
  assertArrayIncludes(new Uint8Array([1, 2]), [2]);
  assertMatch(failureOf(() => assertArrayIncludes([1], [1, 2], "why")), /why/);
});

Deno.test("assertGreater() and its kin compare as the operators do", () => {
  assertGreater(2, 1);
  assertGreaterOrEqual(2, 2);
  assertLess(1n, 2n);
  assertLessOrEqual("a", "a");
  failureOf(() => assertGreater(2, 2));
  failureOf(() => assertGreaterOrEqual(1, 2));
  failureOf(() => assertLess(2, 2));
  failureOf(() => assertLessOrEqual(3, 2));
  failureOf(() => assertGreater(1, NaN));
  assertStrictEquals(failureOf(() => assertLess(2, 1, "why")), "why");
});

Deno.test("fail() fails", () => {
  assertMatch(failureOf(() => fail("why")), /why/);
});

Deno.test("AssertionError is an Error with its own name and a cause", () => {
  const error = new AssertionError("text", { cause: 1 });
  assertInstanceOf(error, Error);
  assertEquals([error.name, error.message, error.cause], [
    "AssertionError",
    "text",
    1,
  ]);
});

Deno.test("assertThrows() returns what was thrown", () => {
  const thrown = new TypeError("some text");
  const raise = () => {
    throw thrown;
  };
  assertStrictEquals(assertThrows(raise), thrown);
  assertStrictEquals(assertThrows(raise, "why"), thrown);
  const error: TypeError = assertThrows(raise, TypeError, "me te");
  assertStrictEquals(error, thrown);
  assertStrictEquals(assertThrows(raise, Error), thrown);
  assertStrictEquals(
    assertThrows(() => {
      throw 5;
    }),
    5,
  );
});

Deno.test("assertThrows() checks that, the class and the message", () => {
  const raise = () => {
    throw new TypeError("some text");
  };
  const raiseNumber = () => {
    throw 5;
  };
  assertMatch(failureOf(() => assertThrows(() => {}, "why")), /why/);
  failureOf(() => assertThrows(() => Promise.resolve()));
  failureOf(() => assertThrows(raiseNumber, Error));
  assertMatch(
    failureOf(() => assertThrows(raise, RangeError, "some", "why")),
    /RangeError.*TypeError.*why/,
  );
  assertMatch(
    failureOf(() => assertThrows(raise, TypeError, "other", "why")),
    /other.*some text.*why/,
  );
});

Deno.test("assertRejects() returns the reason", async () => {
  const reason = new TypeError("some text");
  const reject = () => Promise.reject(reason);
  assertStrictEquals(await assertRejects(reject), reason);
  assertStrictEquals(await assertRejects(reject, "why"), reason);
  const error: TypeError = await assertRejects(reject, TypeError, "me te");
  assertStrictEquals(error, reason);
  assertStrictEquals(await assertRejects(() => Promise.reject(5)), 5);
});

Deno.test("assertRejects() checks that, the class and the message", async () => {
  const reject = () => Promise.reject(new TypeError("some text"));
  assertMatch(
    await rejectionOf(() => assertRejects(() => Promise.resolve(), "why")),
    /why/,
  );
  await rejectionOf(() => assertRejects(() => Promise.reject(5), Error));
  assertMatch(
    await rejectionOf(() => assertRejects(reject, RangeError, "some", "why")),
    /RangeError.*TypeError.*why/,
  );
  assertMatch(
    await rejectionOf(() => assertRejects(reject, TypeError, "other", "why")),
    /other.*some text.*why/,
  );
});

Deno.test("assertRejects() refuses a function that throws or returns no promise", async () => {
  const raise = () => {
    throw new TypeError("some text");
  };
  await rejectionOf(() => assertRejects(raise));
  await rejectionOf(() => assertRejects(raise, TypeError));
  await rejectionOf(() => assertRejects(() => 1 as unknown as Promise<void>));
});

Deno.test("spy() records arguments, results, errors and what it was called on", () => {
  const half = spy((n: number) => {
    if (n % 2) throw new RangeError(`Odd: ${n}`);
    return n / 2;
  });
  assertStrictEquals(half(4), 2);
  assertThrows(() => half(3), RangeError);
  const receiver = { half };
  receiver.half(6);

  assertSpyCalls(half, 3);
  assertSpyCall(half, 0, { args: [4], returned: 2, self: undefined });
  assertSpyCall(half, 1, { error: { Class: RangeError, msgIncludes: "Odd" } });
  assertSpyCall(half, 2, { self: receiver });
  assertEquals(half.calls[0], { args: [4], returned: 2 });
  assertThrows(() => half.restore(), MockError);
});

Deno.test("spy() without a function does nothing but record", () => {
  const nothing = spy();
  assertStrictEquals(nothing(1, "two"), undefined);
  assertSpyCalls(nothing, 1);
  assertSpyCall(nothing, 0, { args: [1, "two"] });
});

Deno.test("spy() wraps a method until it is restored", () => {
  const dog = {
    name: "Rex",
    bark(times: number) {
      return this.name + "!".repeat(times);
    },
  };
  const original = dog.bark;
  {
    using bark = spy(dog, "bark");
    assertStrictEquals(dog.bark(2), "Rex!!");
    assertSpyCall(bark, 0, { args: [2], self: dog, returned: "Rex!!" });
    assertFalse(bark.restored);
    assertThrows(() => spy(dog, "bark"), MockError);
  }
  assertStrictEquals(dog.bark, original);
  assertThrows(() => spy(dog, "name"), MockError);
  const bark = spy(dog, "bark");
  bark.restore();
  assert(bark.restored);
  assertThrows(() => bark.restore(), MockError);
});

Deno.test("spy() wraps an inherited method for one object", () => {
  class Animal {
    legs() {
      return 4;
    }
  }
  const animal = new Animal();
  const legs = spy(animal, "legs");
  animal.legs();
  new Animal().legs();
  assertSpyCalls(legs, 1);
  legs.restore();
  assertFalse(Object.hasOwn(animal, "legs"));
});

Deno.test("assertSpyCalls() and assertSpyCall() fail on what did not happen", () => {
  const add = spy((a: number, b: number) => a + b);
  add(1, 2);
  failureOf(() => assertSpyCalls(add, 0));
  failureOf(() => assertSpyCalls(add, 2));
  failureOf(() => assertSpyCall(add, 1));
  failureOf(() => assertSpyCall(add, 0, { args: [1, 3] }));
  failureOf(() => assertSpyCall(add, 0, { returned: 4 }));
  failureOf(() => assertSpyCall(add, 0, { self: {} }));
  failureOf(() => assertSpyCall(add, 0, { error: { Class: Error } }));
});

Deno.test("toText() joins text, and decodes bytes across chunks", async () => {
  assertStrictEquals(await toText(ReadableStream.from(["ab", "", "c"])), "abc");
  const [first, second, ...rest] = new TextEncoder().encode("é€");
  const chunks = [[first!], [second!, ...rest]].map((bytes) =>
    Uint8Array.from(bytes)
  );
  assertStrictEquals(await toText(ReadableStream.from(chunks)), "é€");
  assertStrictEquals(
    await toText(ReadableStream.from([Uint8Array.of(0xc3)])),
    "\ufffd",
  );
});

Deno.test("TextLineStream splits at line ends across chunks", async () => {
  const lines = (chunks: string[], options?: { allowCR: boolean }) =>
    Array.fromAsync(
      ReadableStream.from(chunks).pipeThrough(new TextLineStream(options)),
    );
  assertEquals(await lines(["a\nb\r", "\n\nc", "d"]), ["a", "b", "", "cd"]);
  assertEquals(await lines(["a\n"]), ["a"]);
  assertEquals(await lines([]), []);
  assertEquals(await lines(["a\rb\n"]), ["a\rb"]);
  assertEquals(await lines(["a\rb\r", "\nc\r", "d\r"], { allowCR: true }), [
    "a",
    "b",
    "c",
    "d",
  ]);
});

Deno.test("DelimiterStream splits at delimiters across chunks", async () => {
  const split = async (delimiter: string, chunks: string[]) => {
    const pieces = ReadableStream.from(chunks)
      .pipeThrough(new TextEncoderStream())
      .pipeThrough(new DelimiterStream(new TextEncoder().encode(delimiter)));
    const decoder = new TextDecoder();
    return (await Array.fromAsync(pieces)).map((piece) => decoder.decode(piece))
      .join("|");
  };
  assertStrictEquals(await split(";", ["a;", "bc", "d;;e"]), "a|bcd||e");
  assertStrictEquals(await split(";", ["a;b;"]), "a|b|");
  assertStrictEquals(await split(";", [";a"]), "|a");
  assertStrictEquals(await split(";", []), "");
  assertStrictEquals(await split("\r\n", ["a\r", "\nb\r\r\n", "c"]), "a|b\r|c");
  assertStrictEquals(await split("aab", ["xaaab", "aaaba"]), "xa|a|a");
  assertStrictEquals(await split("\r\n", ["one", " and", " no"]), "one and no");
});

class MemoryHandler extends BaseHandler {
  readonly records: LogRecord[] = [];
  readonly texts: string[] = [];

  override handle(logRecord: LogRecord): void {
    this.records.push(logRecord);
    super.handle(logRecord);
  }

  override log(msg: string): void {
    this.texts.push(msg);
  }
}

Deno.test("Logger hands a record to every handler", () => {
  const handlers = [new MemoryHandler("DEBUG"), new MemoryHandler("DEBUG")];
  const logger = new Logger("Client", "DEBUG", { handlers });
  const start = Date.now();
  logger.warn("hello", 1, "two");
  for (const { records } of handlers) {
    const record = records[0];
    assertExists(record);
    assertEquals(
      [
        record.loggerName,
        record.msg,
        record.levelName,
        record.level,
        record.args,
      ],
      ["Client", "hello", "WARN", 30, [1, "two"]],
    );
    assertGreaterOrEqual(record.datetime.getTime(), start);
  }
});

Deno.test("Logger has a method for each level and skips those below its own", () => {
  const handler = new MemoryHandler("NOTSET");
  const logger = new Logger("Client", "NOTSET", { handlers: [handler] });
  const logAll = () => {
    logger.debug("d");
    logger.info("i");
    logger.warn("w");
    logger.error("e");
    logger.critical("c");
  };
  logAll();
  assertEquals(handler.texts, [
    "DEBUG d",
    "INFO i",
    "WARN w",
    "ERROR e",
    "CRITICAL c",
  ]);
  logger.levelName = "ERROR";
  assertStrictEquals(logger.level, LogLevels.ERROR);
  logAll();
  assertEquals(handler.texts.slice(5), ["ERROR e", "CRITICAL c"]);
  logger.level = LogLevels.CRITICAL;
  assertStrictEquals(logger.levelName, "CRITICAL");
});

Deno.test("Logger returns the message and calls a function only if needed", () => {
  const handler = new MemoryHandler("DEBUG");
  const logger = new Logger("Client", "INFO", { handlers: [handler] });
  const costly = spy(() => "text");
  assertStrictEquals(logger.debug(costly), undefined);
  assertSpyCalls(costly, 0);
  assertStrictEquals(logger.info(costly), "text");
  assertStrictEquals(logger.debug("dropped"), "dropped");
  assertEquals(handler.texts, ["INFO text"]);
});

Deno.test("Logger turns any value into text", () => {
  const handler = new MemoryHandler("DEBUG", { formatter: ({ msg }) => msg });
  const logger = new Logger("Client", "DEBUG", { handlers: [handler] });
  const error = new Error("text");
  for (const value of [1, null, { a: "b", c: [2] }, error]) logger.info(value);
  assertEquals(handler.texts, [
    "1",
    "null",
    '{"a":"b","c":{"0":2}}',
    error.stack,
  ]);
});

Deno.test("a handler writes from its level on, in the form it is given", () => {
  const handler = new MemoryHandler("WARN", {
    formatter: ({ loggerName, msg }) => `${loggerName}: ${msg}`,
  });
  const logger = new Logger("Client", "DEBUG", { handlers: [handler] });
  logger.info("quiet");
  logger.error("loud");
  assertEquals(handler.texts, ["Client: loud"]);
});

Deno.test("an unknown level is refused", () => {
  const unknown = "LOUD" as LevelName;
  assertThrows(() => new Logger("Client", unknown), Error, "LOUD");
  assertThrows(() => new ConsoleHandler(unknown), Error, "LOUD");
});

Deno.test("ConsoleHandler writes to console.log()", () => {
  const formatter = ({ msg }: LogRecord) => `<${msg}>`;
  const handler = new ConsoleHandler("DEBUG", { formatter, useColors: false });
  const written = spy();
  const { log } = console;
  console.log = written;
  try {
    new Logger("Client", "DEBUG", { handlers: [handler] }).error("text");
  } finally {
    console.log = log;
  }
  assertEquals(written.calls.map(({ args }) => args), [["<text>"]]);
});
