import { assert, assertEquals, assertMatch } from "@std/assert";
import { Dispatcher, poll, SocketMap } from "../mod.ts";
import { FakeChannel, LogLines, passes, quietMap, Recorder } from "./fakes.ts";
import { type Any, connected } from "./setups.ts";
import {
  captureConsole,
  type Family,
  loopUntil,
  ScopedMap,
  StrictDispatcher,
  testFamilies,
  TestServer,
  until,
} from "./support.ts";

/** How a listener's address is written. */
function written(family: Family, addr: Deno.Addr | null): string {
  if (addr?.transport === "unix") return addr.path!;
  const { hostname, port } = addr as Deno.NetAddr;
  return family.name === "IPv6" ? `[${hostname}]:${port}` : `127.0.0.1:${port}`;
}

Deno.test("Dispatcher.prototype.ignoreLogTypes can be set for all, as in Python", () => {
  class Quiet extends Dispatcher {}
  assertEquals([...Quiet.prototype.ignoreLogTypes], ["warning"]);
  const [one, other] = [new Quiet(), new Quiet()];
  one.ignoreLogTypes.add("info");
  assertEquals([...other.ignoreLogTypes], ["warning"]);
  try {
    Dispatcher.prototype.ignoreLogTypes = new Set(["debug"]);
    assertEquals([...new Quiet().ignoreLogTypes], ["debug"]);
    assertEquals([...one.ignoreLogTypes], ["warning", "info"]);
  } finally {
    Reflect.deleteProperty(Dispatcher.prototype, "ignoreLogTypes");
  }
});

// The text form

class EchoClient extends Dispatcher {}

Deno.test("Dispatcher.toString() of a bare dispatcher is its class", async () => {
  await using map = new ScopedMap();
  assertEquals(`${new Dispatcher()}`, "<Dispatcher>");
  const client = new EchoClient(null, { map });
  assertEquals(`${client}`, "<EchoClient>");
  client.createSocket();
  assertEquals(`${client}`, "<EchoClient>");
  const nameless = new (class extends Dispatcher {})();
  assertEquals(`${nameless}`, "<Dispatcher>");
  assertEquals(Deno.inspect(client), "<EchoClient>");
  assertEquals(Deno.inspect([client]), "[ <EchoClient> ]");
});

testFamilies(
  "Dispatcher.toString() tells the state and the address",
  async (family) => {
    await using map = new ScopedMap();
    const handlers: Dispatcher[] = [];
    const server = new TestServer(map, (conn) => {
      handlers.push(new StrictDispatcher(map, conn));
    }, family);
    const address = written(family, server.addr);
    assertEquals(`${server}`, `<TestServer listening ${address}>`);

    const client = new EchoClient(null, { map });
    client.createSocket(family.options);
    client.connect(server.addr!);
    assertEquals(`${client}`, `<EchoClient connecting ${address}>`);
    await loopUntil(map, () => client.connected && handlers.length === 1);
    assertEquals(`${client}`, `<EchoClient connected ${address}>`);

    const handler = handlers[0]!;
    // A client over a Unix socket has no address.
    const peer = family.name === "Unix"
      ? ""
      : ` ${written(family, handler.addr)}`;
    assertEquals(`${handler}`, `<StrictDispatcher connected${peer}>`);
    if (peer) assertEquals(handler.addr, (client.socket as Any).localAddr);
    handler.abort();
    client.close();
    server.close();
    assertEquals(`${client}`, `<EchoClient closed ${address}>`);
    assertEquals(`${server}`, `<TestServer closed ${address}>`);
  },
);

Deno.test("Dispatcher.toString() makes the peer's text harmless", async () => {
  await using map = new ScopedMap();
  const hostname = "evil\n\r\t\u001b[31m\u0085\u2028\\host";
  const remoteAddr: Deno.Addr = { transport: "tcp", hostname, port: 7 };
  const channel = Object.assign(new FakeChannel(), { remoteAddr });
  const dispatcher = new Dispatcher(channel, { map });
  assertEquals(
    `${dispatcher}`,
    "<Dispatcher connected evil\\n\\r\\t\\x1b[31m\\x85\\u2028\\\\host:7>",
  );
});

// log() and logInfo()

Deno.test("Dispatcher.log() writes to standard error, logInfo() to standard output", () => {
  using console = captureConsole();
  const dispatcher = new Dispatcher();
  dispatcher.log("Lovely spam!");
  dispatcher.logInfo("without spam?", "EGGS");
  dispatcher.logInfo("egg and spam");
  dispatcher.logInfo("nothing but spam", "error");
  assertEquals(console.err, ["log: Lovely spam!"]);
  assertEquals(console.out, [
    "EGGS: without spam?",
    "info: egg and spam",
    "error: nothing but spam",
  ]);
});

Deno.test("Dispatcher.logInfo() leaves out the types in ignoreLogTypes", () => {
  using console = captureConsole();
  const [dispatcher, other] = [new Dispatcher(), new Dispatcher()];
  dispatcher.logInfo("ignored from the start", "warning");
  dispatcher.ignoreLogTypes.add("EGGS");
  dispatcher.logInfo("ignored now", "EGGS");
  dispatcher.ignoreLogTypes.delete("warning");
  dispatcher.logInfo("wanted now", "warning");
  other.logInfo("each has a set of its own", "EGGS");
  assertEquals(console.out, [
    "warning: wanted now",
    "EGGS: each has a set of its own",
  ]);
});

const ADDR: Deno.Addr = { transport: "tcp", hostname: "127.0.0.1", port: 7 };

/** Calls every hook that a program may leave out. */
function callAllHooks(dispatcher: Dispatcher): void {
  dispatcher.handleExpt();
  dispatcher.handleRead();
  dispatcher.handleWrite();
  dispatcher.handleConnect();
  dispatcher.handleAccepted(new FakeChannel(), ADDR);
  dispatcher.handleClose();
}

Deno.test("Dispatcher warns of the events that nobody handles, unless warnings are ignored", () => {
  using console = captureConsole();
  callAllHooks(new Dispatcher());
  assertEquals(console.out, []);
  const dispatcher = new Dispatcher();
  dispatcher.ignoreLogTypes = new Set();
  callAllHooks(dispatcher);
  assertEquals(console.out, [
    "warning: unhandled incoming priority event",
    "warning: unhandled read event",
    "warning: unhandled write event",
    "warning: unhandled connect event",
    "warning: unhandled accepted event",
    "warning: unhandled close event",
  ]);
  assertEquals(console.err, []);
});

Deno.test("Dispatcher.handleAccepted() and handleClose() close by default", () => {
  const channel = new FakeChannel();
  new Dispatcher().handleAccepted(channel, ADDR);
  assert(channel.closed);
  const map = quietMap();
  new Dispatcher(new FakeChannel(), { map }).handleClose();
  assertEquals(map.size, 0);
});

// Loggers

/** Logs once in every way. */
function logAll(dispatcher: Dispatcher): void {
  dispatcher.log("a hit");
  dispatcher.logInfo("plain");
  dispatcher.logInfo("detail", "debug");
  dispatcher.logInfo("ignored", "warning");
  dispatcher.ignoreLogTypes.delete("warning");
  dispatcher.logInfo("strange", "warning");
  dispatcher.logInfo("broken", "error");
  dispatcher.logInfo("own type", "EGGS");
}

const ALL_LOGGED = [
  "info: a hit",
  "info: plain",
  "debug: detail",
  "warn: strange",
  "error: broken",
  "info: EGGS: own type",
];

Deno.test("SocketMap.logger gets the log by level, Dispatcher.logger that of its dispatcher", () => {
  using console = captureConsole();
  const [shared, own] = [new LogLines(), new LogLines()];
  const map = quietMap({ logger: shared });
  logAll(new Dispatcher(null, { map }));
  assertEquals(shared.lines, ALL_LOGGED);

  const dispatcher = new Dispatcher(null, { map });
  dispatcher.logger = own;
  logAll(dispatcher);
  assertEquals(own.lines, ALL_LOGGED);
  assertEquals(shared.lines, ALL_LOGGED, "and no more than before");
  assertEquals([...console.out, ...console.err], []);
});

Deno.test("Dispatcher.logger may be a console", () => {
  using output = captureConsole();
  const dispatcher = new Dispatcher();
  dispatcher.logger = console;
  dispatcher.logInfo("broken", "error");
  assertEquals(output.err, ["broken"]);
});

Deno.test("Dispatcher.logInfo() can be overridden", () => {
  const lines: string[] = [];
  class Quiet extends Dispatcher {
    override logInfo(message: string, type = "info") {
      lines.push(`${type}/${message}`);
    }
  }
  new Quiet().handleRead();
  assertEquals(lines, ["warning/unhandled read event"]);
});

Deno.test("Dispatcher.logInfo() that calls super writes a warning for the operator, and no other", async () => {
  const logger = new LogLines();
  const map = new SocketMap({ logger });
  const types: string[] = [];
  class Prefixed extends Dispatcher {
    override logInfo(message: string, type = "info") {
      types.push(type);
      super.logInfo(`log: ${message}`, type);
    }
  }
  const dispatcher = new Prefixed(null, { map });
  dispatcher.handleRead();
  dispatcher.startTls();
  await until(() => types.length === 2, "the refusal");
  dispatcher.logInfo("ignored again", "warning");
  assertEquals(types, Array(3).fill("warning"));
  assertEquals(logger.lines.length, 1);
  assertMatch(logger.lines[0]!, /^warn: log: <Prefixed> was refused startTls/);
});

// The default handleError()

function throwSpam(): never {
  throw new TypeError("I don't like spam!");
}

Deno.test("Dispatcher.handleError() logs the channel, the error and its stack, then closes", async () => {
  class Failing extends Recorder {
    override handleRead() {
      throwSpam();
    }
  }
  const log = new LogLines();
  const map = quietMap({ logger: log });
  const channel = Object.assign(new FakeChannel(), { remoteAddr: ADDR });
  const failing = new Failing(map, channel);
  channel.push("x");
  await passes(map, 3);
  assertEquals(failing.count("handleClose"), 1);
  assertEquals([failing.connected, channel.closed], [false, true]);
  assertEquals(log.lines.length, 1);
  const [line] = log.lines as [string];
  const start = "error: uncaught exception, closing channel " +
    "<Failing connected 127.0.0.1:7> (TypeError: I don't like spam! [";
  assert(line.startsWith(start), line);
  assertMatch(
    line,
    /(\[[^|\]]+\|[^|\]]+\|\d+\] ?)+ \[[^|\]]*dispatcher_log_test\.ts\|Failing\.handleRead\|\d+\] \[[^|\]]*dispatcher_log_test\.ts\|throwSpam\|\d+\]\)$/,
  );
});

Deno.test("Dispatcher.handleError() writes to the console without a logger", () => {
  using console = captureConsole();
  new Dispatcher().handleError(new RangeError("spam"));
  assertEquals(console.out.length, 1);
  assertMatch(
    console.out[0]!,
    /^error: uncaught exception, closing channel <Dispatcher> \(RangeError: spam \[.+\|.+\|\d+\]\)$/,
  );
});

Deno.test("Dispatcher.handleError() calls handleClose() also without a socket", () => {
  let closes = 0;
  const bare = new Dispatcher();
  bare.handleClose = () => void closes++;
  bare.logger = new LogLines();
  bare.handleError(new Error("spam"));
  assertEquals(closes, 1);
});

/** What a dispatcher logs of what was thrown. */
function logged(...thrown: unknown[]): string[] {
  const log = new LogLines();
  const dispatcher = new Dispatcher(null, { map: quietMap({ logger: log }) });
  for (const error of thrown) dispatcher.handleError(error);
  const start = "error: uncaught exception, closing channel <Dispatcher> ";
  return log.lines.map((line) => line.replace(start, ""));
}

Deno.test("Dispatcher.handleError() keeps an error's text in one harmless line", () => {
  const [first, second, third] = logged(
    new Error("\u001b]0;title\u0007 got\r\nerror: forged\u2028\u009b\\n"),
    new Error("x".repeat(100_000)),
    "not an Error:\n" + "y".repeat(100_000),
  ) as [string, string, string];
  const harmless =
    "(Error: \\x1b]0;title\\x07 got\\r\\nerror: forged\\u2028\\x9b\\\\n [";
  assert(first.startsWith(harmless), first);
  for (const line of [first, second, third]) {
    // deno-lint-ignore no-control-regex
    assertEquals(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/.exec(line), null);
  }
  assertMatch(second, /\(Error: x{100,1000}… \[/);
  assertMatch(third, /\(string: not an Error:\\ny{100,1000}…\)$/);
});

Deno.test("Dispatcher.handleError() takes whatever was thrown", () => {
  const broken = { toString: throwSpam };
  assertEquals(logged(undefined, null, 7, "spam", Symbol("s"), broken), [
    "(undefined: undefined)",
    "(object: null)",
    "(number: 7)",
    "(string: spam)",
    "(symbol: Symbol(s))",
    "(object)",
  ]);
});

/** An `Error` of which one property is another. */
function odd(name: string, value: unknown): Error {
  return Object.defineProperty(new Error("spam"), name, { value });
}

/** An `Error` of which one property throws when it is looked at. */
function trapped(name: string): Error {
  return Object.defineProperty(new Error("spam"), name, { get: throwSpam });
}

/** Errors as no library would make them, and what the log shows of them. */
const ODD_ERRORS: [string, unknown, string][] = [
  ["a message that is a number", odd("message", 42), "(Error: 42)"],
  ["a message that is a symbol", odd("message", Symbol("spam")), "(object)"],
  ["no message", odd("message", undefined), "(Error)"],
  ["a stack that is a list", odd("stack", ["at home"]), "(Error: spam)"],
  ["a name that is a symbol", odd("name", Symbol("n")), "(Symbol(n): spam)"],
  ["a message that throws", trapped("message"), "(object)"],
  ["a name that throws", trapped("name"), "(object)"],
  ["a stack that throws", trapped("stack"), "(Error: spam)"],
  ["no prototype", Object.create(null), "(object)"],
];

for (const [what, error, line] of ODD_ERRORS) {
  Deno.test(`SocketMap and Dispatcher.handleError() log an error with ${what}`, async () => {
    const { map, log, channel, handler } = connected({
      handleRead() {
        throw error;
      },
    });
    channel.push("x");
    await passes(map, 3);
    assertEquals(handler.count("handleClose"), 1);
    assert(channel.closed);
    const plain = new SocketMap({ logger: log });
    plain.callLater(0, () => {
      throw error;
    });
    await poll(0, plain);
    assertEquals(log.lines.length, 2);
    assertMatch(log.lines[0]!, /^error: uncaught exception, closing channel/);
    for (const logged of log.lines) {
      const withoutStack = logged.replace(/ \[.*\]\)$/, ")");
      assert(withoutStack.endsWith(` ${line}`), logged);
    }
  });
}
