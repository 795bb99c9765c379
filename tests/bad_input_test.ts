import {
  assert,
  assertEquals,
  assertFalse,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  AsyncChat,
  type Channel,
  closeAll,
  DatagramDispatcher,
  Dispatcher,
  DispatcherWithSend,
  FileDispatcher,
  FileWrapper,
  loop,
  poll,
  shutdown,
  SocketMap,
  toStreams,
} from "../mod.ts";
import { FakeAcceptor, FakeChannel, FakeNetwork, quietMap } from "./fakes.ts";
import { bytes, families, isMissing, type TestMap } from "./support.ts";

// deno-lint-ignore no-explicit-any
type Any = any;
type ErrorClass = new (message: string) => Error;

/** What a call must throw: exactly this class, with all of this in its message. */
type Expected = [ErrorClass, ...string[]];

function assertError(error: unknown, [wanted, ...parts]: Expected): void {
  assertInstanceOf(error, wanted);
  assertEquals(error.constructor, wanted, `${error}`);
  for (const part of parts) assertStringIncludes(error.message, part);
}

/** Expects a call to throw and to leave the map as it was. */
function assertRefused(
  map: TestMap,
  call: () => unknown,
  expected: Expected,
): void {
  const before = [...map];
  assertError(assertThrows(call), expected);
  assertEquals([...map], before);
  map.check();
}

/** The same of a call that was to open a socket: it has left the map. */
function assertNotOpened(
  map: TestMap,
  call: () => unknown,
  expected: Expected,
): void {
  assertError(assertThrows(call), expected);
  assertEquals([...map], []);
  map.check();
}

/** A dispatcher with a socket that is neither bound nor connected. */
function fresh(map: TestMap, options?: Any): Dispatcher {
  const handler = new Dispatcher(null, { map });
  handler.createSocket(options);
  return handler;
}

/** Values that are no number of milliseconds, and what is said of them. */
const BAD_TIMES: [unknown, ErrorClass][] = [
  [NaN, RangeError],
  [-1, RangeError],
  [-Infinity, RangeError],
  ["100", TypeError],
  [null, TypeError],
  [{}, TypeError],
  [10n, TypeError],
  [true, TypeError],
];

for (const [value, wanted] of BAD_TIMES) {
  Deno.test(`loop(), poll() and timers refuse the time ${String(value)} (${typeof value})`, async () => {
    const map = quietMap();
    const time = value as number;
    const refused = [
      await assertRejects(() => loop({ map, timeout: time })),
      await assertRejects(() => poll(time, map)),
    ];
    for (const error of refused) assertError(error, [wanted, "timeout"]);
    const callback = () => {};
    const handler = fresh(map);
    for (const owner of [map, handler]) {
      const later = () => owner.callLater(time, callback);
      assertRefused(map, later, [wanted, "delay"]);
      const every = () => owner.callEvery(time, callback);
      assertRefused(map, every, [wanted, "interval"]);
    }
    const linger = () =>
      new Dispatcher(new FakeChannel(), { map, linger: time });
    assertRefused(map, linger, [wanted, "linger"]);
    handler.close();
    await loop({ map });
  });
}

Deno.test("loop() and poll() take an endless timeout, timers do not", () => {
  const map = quietMap();
  const callback = () => {};
  for (const owner of [map, fresh(map)]) {
    const later = () => owner.callLater(Infinity, callback);
    assertRefused(map, later, [RangeError, "delay"]);
    const every = () => owner.callEvery(Infinity, callback);
    assertRefused(map, every, [RangeError, "interval"]);
    const never = () => owner.callEvery(0, callback);
    assertRefused(map, never, [RangeError, "interval"]);
  }
});

Deno.test("loop() refuses a wrong count", async () => {
  const map = quietMap();
  const bad: [unknown, ErrorClass][] = [
    [NaN, RangeError],
    [-1, RangeError],
    [1.5, RangeError],
    ["3", TypeError],
    [{}, TypeError],
    [3n, TypeError],
  ];
  for (const [count, wanted] of bad) {
    const error = await assertRejects(() =>
      loop({ map, count: count as number })
    );
    assertError(error, [wanted, "count"]);
  }
  await loop({ map, count: Infinity });
});

Deno.test("loop() refuses a wrong signal and leaves the map free", async () => {
  const map = quietMap();
  const handler = fresh(map);
  for (const signal of [{}, "signal", 3, new AbortController()] as Any[]) {
    const error = await assertRejects(() => loop({ map, signal }));
    assertError(error, [TypeError, "signal"]);
  }
  const addEventListener = () => {
    throw new SyntaxError("a signal of its own kind");
  };
  const signal = { addEventListener, removeEventListener() {} } as Any;
  assertError(await assertRejects(() => loop({ map, signal })), [SyntaxError]);
  await loop({ map, count: 1, timeout: 0 });
  await poll(0, map);
  handler.close();
});

const NO_MAPS: unknown[] = [null, {}, new Map(), "map", 3, SocketMap];

for (const value of NO_MAPS) {
  Deno.test(`A map that is none is refused: ${typeof value} ${Object.prototype.toString.call(value)}`, async () => {
    const map = value as SocketMap;
    const expected: Expected = [TypeError, "map must be a SocketMap"];
    assertError(await assertRejects(() => loop({ map })), expected);
    assertError(await assertRejects(() => poll(0, map)), expected);
    assertError(assertThrows(() => closeAll(map)), expected);
    const own = quietMap();
    const channel = new FakeChannel();
    assertRefused(own, () => new Dispatcher(channel, { map }), expected);
    const handler = fresh(own);
    assertRefused(own, () => handler.addChannel(map), expected);
    assertRefused(own, () => handler.delChannel(map), expected);
    assertEquals(channel.reads, 0);
  });
}

for (const value of [undefined, null, 3, "callback", {}]) {
  Deno.test(`Timers refuse a callback that is none: ${value}`, () => {
    const map = quietMap();
    const callback = value as () => void;
    const expected: Expected = [TypeError, "callback must be a function"];
    for (const owner of [map, fresh(map)]) {
      assertRefused(map, () => owner.callLater(1, callback), expected);
      assertRefused(map, () => owner.callEvery(1, callback), expected);
    }
  });
}

Deno.test("Dispatcher refuses a channel that lacks a method", () => {
  const map = quietMap();
  const whole = { read() {}, write() {}, close() {} };
  for (const method of ["read", "write", "close"]) {
    const channel: Any = { ...whole, [method]: undefined };
    const expected: Expected = [TypeError, "channel", `${method}()`];
    assertRefused(map, () => new Dispatcher(channel, { map }), expected);
    const handler = new Dispatcher(null, { map });
    assertRefused(map, () => handler.setSocket(channel), expected);
    assertFalse(handler.connected);
    handler.setSocket(new FakeChannel());
  }
  const listener: Any = { accept() {} };
  const expected: Expected = [TypeError, "channel", "close()"];
  assertRefused(map, () => new Dispatcher(listener, { map }), expected);
});

for (const value of [3, "channel", true, Symbol("channel"), () => {}, {}]) {
  Deno.test(`Dispatcher refuses a channel that is none: ${String(value)}`, () => {
    const map = quietMap();
    const channel = value as unknown as Channel;
    const expected: Expected = [TypeError, "channel"];
    assertRefused(map, () => new Dispatcher(channel, { map }), expected);
    const handler = new Dispatcher(null, { map });
    assertRefused(map, () => handler.setSocket(channel), expected);
  });
}

Deno.test("Dispatcher.setSocket() refuses null and undefined", () => {
  const map = quietMap();
  const handler = new Dispatcher(null, { map });
  for (const value of [null, undefined] as Any[]) {
    assertRefused(map, () => handler.setSocket(value), [TypeError, "channel"]);
  }
});

Deno.test("FileDispatcher refuses what is no file", () => {
  const map = quietMap();
  const whole = { read() {}, close() {} };
  const bad: [Any, ...string[]][] = [
    [null, "file"],
    [undefined, "file"],
    [3, "file"],
    ["path", "file"],
    [{}, "file", "close()"],
    [{ ...whole, close: undefined }, "file", "close()"],
    [{ close() {} }, "file", "read()", "write()"],
  ];
  for (const [file, ...parts] of bad) {
    const expected: Expected = [TypeError, ...parts];
    assertRefused(map, () => new FileDispatcher(file, { map }), expected);
    assertRefused(map, () => new FileWrapper(file), expected);
  }
});

Deno.test("Dispatcher.createSocket() refuses an unknown transport", () => {
  const map = quietMap();
  for (const transport of ["udp", "", "TCP", null, 3, {}, []]) {
    const handler = new Dispatcher(null, { map });
    const call = () => handler.createSocket({ transport } as Any);
    assertRefused(map, call, [TypeError, "transport"]);
    handler.createSocket(); // Nothing of the attempt is left.
    handler.close();
  }
});

Deno.test("Dispatcher.createSocket() refuses a wrong backlog", () => {
  const map = quietMap();
  const bad: [unknown, ErrorClass][] = [
    [0, RangeError],
    [-1, RangeError],
    [NaN, RangeError],
    [1.5, RangeError],
    [Infinity, RangeError],
    [2 ** 31, RangeError],
    ["5", TypeError],
    [null, TypeError],
  ];
  for (const [backlog, wanted] of bad) {
    const handler = new Dispatcher(null, { map });
    const call = () => handler.createSocket({ backlog } as Any);
    assertRefused(map, call, [wanted, "backlog"]);
    assertThrows(() => handler.bind({ port: 0 }), Error, "has no socket");
  }
});

Deno.test("Dispatcher.createSocket() refuses a wrong reusePort", () => {
  const map = quietMap();
  for (const reusePort of ["yes", 1, null, {}]) {
    const handler = new Dispatcher(null, { map });
    const call = () => handler.createSocket({ reusePort } as Any);
    assertRefused(map, call, [TypeError, "reusePort"]);
  }
});

Deno.test("Dispatcher.createSocket() refuses a second socket", () => {
  const map = quietMap({ network: new FakeNetwork() });
  const handlers = [
    fresh(map),
    new Dispatcher(new FakeChannel(), { map }),
    new Dispatcher(new FakeAcceptor(), { map }),
  ];
  for (const handler of handlers) {
    const call = () => handler.createSocket();
    assertRefused(map, call, [Error, "Cannot create a socket", "Dispatcher"]);
    const set = () => handler.setSocket(new FakeChannel());
    assertRefused(map, set, [Error, "Cannot set a socket", "Dispatcher"]);
  }
  const [first] = handlers;
  first!.close();
  first!.createSocket();
});

/** Addresses that no socket of a transport can have. */
const BAD_ADDRESSES: [Any, Any, ErrorClass, ...string[]][] = [
  ["tcp", undefined, TypeError, "address", "hostname", "port"],
  ["tcp", null, TypeError, "address"],
  ["tcp", "127.0.0.1:80", TypeError, "address"],
  ["tcp", 80, TypeError, "address"],
  ["tcp", ["127.0.0.1", 80], TypeError, "address"],
  ["tcp", {}, TypeError, "address"],
  ["tcp", { hostname: "127.0.0.1" }, TypeError, "address"],
  ["tcp", { path: "/tmp/socket" }, TypeError, "address"],
  ["tcp", { hostname: 127, port: 80 }, TypeError, "hostname"],
  ["tcp", { hostname: "", port: 80 }, TypeError, "hostname"],
  ["tcp", { host: "127.0.0.1", port: 80 }, TypeError, '"host"', "hostname"],
  ["tcp", { port: 80, path: "/x", extra: 1 }, TypeError, '"extra"'],
  ["tcp", { hostname: null, port: 80 }, TypeError, "hostname"],
  ["tcp", { port: "80" }, TypeError, "port"],
  ["tcp", { port: undefined }, TypeError, "port"],
  ["tcp", { port: null }, TypeError, "port"],
  ["tcp", { port: 80n }, TypeError, "port"],
  ["tcp", { port: NaN }, RangeError, "port"],
  ["tcp", { port: Infinity }, RangeError, "port"],
  ["tcp", { port: -1 }, RangeError, "port"],
  ["tcp", { port: 65_536 }, RangeError, "port"],
  ["tcp", { port: 80.5 }, RangeError, "port"],
  ["unix", undefined, TypeError, "address", "path"],
  ["unix", { port: 80 }, TypeError, "address", "path"],
  ["unix", "/tmp/socket", TypeError, "address"],
  ["unix", { path: "" }, TypeError, "path"],
  ["unix", { path: 3 }, TypeError, "path"],
  ["unix", { path: null }, TypeError, "path"],
  ["unix", { path: "/x", mode: 0o600 }, TypeError, '"mode"', "{ path }"],
];

for (const [transport, address, wanted, ...parts] of BAD_ADDRESSES) {
  const shown = Deno.inspect(address);
  Deno.test(`bind() and connect() refuse the ${transport} address ${shown}`, () => {
    const map = quietMap({ network: new FakeNetwork() });
    for (const action of ["bind", "connect"] as const) {
      const handler = fresh(map, { transport });
      const expected: Expected = [wanted, `Cannot ${action}`, ...parts];
      assertNotOpened(map, () => handler[action](address), expected);
      assertFalse(handler.connecting);
      assertEquals(handler.addr, null);
      // The socket is as good as it was.
      handler[action](transport === "tcp" ? { port: 7 } : { path: "/x" });
      assertEquals([...map], [handler]);
      handler.abort();
    }
  });
}

Deno.test("Dispatcher.connect() refuses port 0, bind() takes it", () => {
  const map = quietMap({ network: new FakeNetwork() });
  const client = fresh(map);
  const connect = () => client.connect({ port: 0 });
  assertNotOpened(map, connect, [RangeError, "Cannot connect", "port"]);
  fresh(map).bind({ port: 0 });
});

Deno.test("Dispatcher.bind() of a port in use throws and can be tried again", () => {
  const map = quietMap();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const handler = fresh(map);
  const call = () => handler.bind({ hostname: "127.0.0.1", port });
  assertNotOpened(map, call, [Deno.errors.AddrInUse]);
  assertNotOpened(map, () => handler.listen(), [Error, "not bound"]);
  handler.bind({ hostname: "127.0.0.1", port: 0 });
  handler.listen();
  assert(handler.accepting);
  handler.close();
});

Deno.test({
  name: "Dispatcher.bind() of a path in a folder that is missing throws",
  ignore: isMissing(families[2]!),
  fn() {
    const map = quietMap();
    const handler = fresh(map, { transport: "unix" });
    const folder = Deno.makeTempDirSync();
    assertThrows(() => handler.bind({ path: `${folder}/missing/socket` }));
    Deno.removeSync(folder);
    assertFalse(handler.accepting);
    assertEquals(handler.addr, null);
    handler.close();
  },
});

Deno.test("Dispatcher without a socket refuses what needs one", () => {
  const map = quietMap({ network: new FakeNetwork() });
  const calls: [string, (handler: Dispatcher) => unknown][] = [
    ["Cannot bind", (handler) => handler.bind({ port: 7 })],
    ["Cannot listen", (handler) => handler.listen()],
    ["Cannot connect", (handler) => handler.connect({ port: 7 })],
    ["Cannot accept", (handler) => handler.accept()],
    ["Cannot send", (handler) => handler.send(bytes("spam"))],
    ["Cannot receive", (handler) => handler.recv()],
    ["Cannot receive", (handler) => handler.recvInto(new Uint8Array(1))],
    ["Cannot add a channel", (handler) => handler.addChannel()],
  ];
  class EchoClient extends DispatcherWithSend {}
  for (const [message, call] of calls) {
    for (const Class of [Dispatcher, EchoClient]) {
      const handler = new Class(null, { map });
      const expected: Expected = [Error, message, Class.name];
      assertRefused(map, () => call(handler), expected);
    }
  }
  assertEquals(map.size, 0);
});

Deno.test("Dispatcher that is not connected refuses to send and receive", () => {
  const map = quietMap({ network: new FakeNetwork() });
  const bound = fresh(map);
  bound.bind({ port: 0 });
  const listening = new Dispatcher(new FakeAcceptor(), { map });
  for (const handler of [fresh(map), bound, listening]) {
    const send = () => handler.send(bytes("spam"));
    assertRefused(map, send, [Error, "Cannot send", "not connected"]);
    const recv = () => handler.recv();
    assertRefused(map, recv, [Error, "Cannot receive", "not connected"]);
    const into = () => handler.recvInto(new Uint8Array(1));
    assertRefused(map, into, [Error, "Cannot receive", "not connected"]);
  }
});

Deno.test("Dispatcher refuses what its state does not allow", () => {
  const map = quietMap({ network: new FakeNetwork() });
  const bound = fresh(map);
  bound.bind({ port: 0 });
  const listening = new Dispatcher(new FakeAcceptor(), { map });
  const connecting = fresh(map);
  connecting.connect({ port: 7 });
  const connected = new Dispatcher(new FakeChannel(), { map });
  const states = { bound, listening, connecting, connected };
  for (const [state, handler] of Object.entries(states)) {
    const bind = () => handler.bind({ port: 0 });
    assertRefused(map, bind, [Error, "Cannot bind", state]);
    const connect = () => handler.connect({ port: 7 });
    assertRefused(map, connect, [Error, "Cannot connect", state]);
    if (state !== "bound") {
      const listen = () => handler.listen();
      assertRefused(map, listen, [Error, "Cannot listen", state]);
    }
    if (state !== "listening") {
      const accept = () => handler.accept();
      assertRefused(map, accept, [Error, "Cannot accept", "not listening"]);
    }
  }
  const listen = () => fresh(map).listen();
  const error = assertThrows(listen, Error, "Cannot listen");
  assertStringIncludes(error.message, "bind() first");
});

Deno.test("Dispatcher that is closed takes no new address without a new socket", () => {
  const map = quietMap({ network: new FakeNetwork() });
  const handler = new Dispatcher(new FakeChannel(), { map });
  handler.close();
  const calls: [string, () => unknown][] = [
    ["Cannot bind", () => handler.bind({ port: 7 })],
    ["Cannot listen", () => handler.listen()],
    ["Cannot connect", () => handler.connect({ port: 7 })],
    ["Cannot add a channel", () => handler.addChannel()],
  ];
  for (const [message, call] of calls) {
    assertRefused(map, call, [Error, message, "has no socket"]);
  }
});

Deno.test("Dispatcher.listen() refuses a wrong backlog", () => {
  const network = new FakeNetwork();
  const map = quietMap({ network });
  const handler = fresh(map);
  const bad: [unknown, ErrorClass][] = [
    [-1, RangeError],
    [NaN, RangeError],
    [1.5, RangeError],
    ["5", TypeError],
    [null, TypeError],
  ];
  for (const [backlog, wanted] of bad) {
    handler.bind({ port: 0 });
    network.acceptor.closed = false;
    const call = () => handler.listen(backlog as number);
    assertNotOpened(map, call, [wanted, "backlog"]);
    assert(network.acceptor.closed, "the address is given back");
  }
  assertFalse(handler.accepting);
  handler.bind({ port: 0 });
  handler.listen(5);
  assert(handler.accepting);
});

Deno.test("Dispatcher.recv() refuses a wrong size", () => {
  const map = quietMap();
  const bad: [unknown, ErrorClass][] = [
    [0, RangeError],
    [-1, RangeError],
    [NaN, RangeError],
    [1.5, RangeError],
    ["256", TypeError],
    [null, TypeError],
    [{}, TypeError],
    [new Uint8Array(3), TypeError],
  ];
  for (const channel of [null, new FakeChannel()]) {
    const handler = new Dispatcher(channel, { map });
    for (const [size, wanted] of bad) {
      const call = () => handler.recv(size as number);
      assertRefused(map, call, [wanted, "size"]);
    }
  }
});

Deno.test("Dispatcher.recvInto() refuses a target without room or that is none", () => {
  const map = quietMap();
  const handler = new Dispatcher(new FakeChannel(), { map });
  const empty = () => handler.recvInto(new Uint8Array(0));
  assertRefused(map, empty, [RangeError, "target"]);
  for (const value of [undefined, null, 3, "target", [0], new ArrayBuffer(3)]) {
    const call = () => handler.recvInto(value as unknown as Uint8Array);
    assertRefused(map, call, [TypeError, "target"]);
  }
});

Deno.test("Dispatcher.send() refuses what is not bytes", () => {
  const map = quietMap();
  const values = [undefined, null, 3, [1, 2], new ArrayBuffer(3), {}];
  for (const Class of [Dispatcher, DispatcherWithSend]) {
    const channel = new FakeChannel();
    const handler = new Class(channel, { map });
    for (const value of values) {
      const call = () => handler.send(value as unknown as Uint8Array);
      assertRefused(map, call, [TypeError, "data must be a Uint8Array"]);
    }
    const call = () => handler.send("spam" as unknown as Uint8Array);
    assertRefused(map, call, [TypeError, "data", "TextEncoder"]);
    assertEquals(channel.writeCalls, 0);
  }
});

Deno.test("DispatcherWithSend refuses a wrong highWaterMark", () => {
  const map = quietMap();
  const handler = new DispatcherWithSend(new FakeChannel(), { map });
  const bad: [unknown, ErrorClass][] = [
    [0, RangeError],
    [-1, RangeError],
    [NaN, RangeError],
    ["64", TypeError],
    [null, TypeError],
  ];
  for (const [value, wanted] of bad) {
    const call = () => void (handler.highWaterMark = value as number);
    assertRefused(map, call, [wanted, "highWaterMark"]);
  }
  assertEquals(handler.highWaterMark, 65_536);
});

Deno.test("SocketMap refuses seams that lack a method", () => {
  const method = () => {};
  const wrong: [Any, ...string[]][] = [
    [null, "options"],
    [{ network: {} }, "network has no connect() method"],
    [{ network: { connect: method } }, "network has no listen() method"],
    [{ network: "tcp" }, "network must be an object", '"tcp"'],
    [{ clock: {} }, "clock has no now() method"],
    [{ clock: Date }, "clock must be an object"],
    [{ clock: performance }, "clock has no setTimeout() method"],
    [{ logger: {} }, "logger has no debug() method"],
    [{ logger: method }, "logger must be an object"],
    [{ logger: { debug: method, info: method } }, "logger has no warn()"],
    [{ onError: 5 }, "onError must be a function, got 5"],
    [{ onError: {} }, "onError must be a function"],
  ];
  for (const [options, ...parts] of wrong) {
    const error = assertThrows(() => new SocketMap(options));
    assertError(error, [TypeError, ...parts]);
  }
  new SocketMap({ logger: console, onError: method });
});

Deno.test("Dispatcher refuses a map in the place of its options", () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const expected: Expected = [TypeError, "options must be { map }"];
  assertRefused(map, () => new Dispatcher(channel, map as Any), expected);
  assertRefused(map, () => new DispatcherWithSend(null, map as Any), expected);
  const file = () => new FileDispatcher(channel, map as Any);
  assertRefused(map, file, expected);
  assertFalse(channel.closed);
});

Deno.test("loop() refuses a bare timeout in the place of its options", async () => {
  for (const options of [30, "30", null] as Any[]) {
    const error = await assertRejects(() => loop(options));
    assertError(error, [TypeError, "options must be an object", `${options}`]);
  }
});

/** What is no object of options, though an object or a function. */
const NO_OPTIONS: [string, Any][] = [
  ["an array", [30]],
  ["a Map", new Map([["timeout", 30]])],
  ["null", null],
  ["a function", () => {}],
  ["text", "timeout"],
  ["a number", 30],
];

for (const [what, options] of NO_OPTIONS) {
  Deno.test(`loop(), shutdown() and SocketMap refuse ${what} in the place of their options`, async () => {
    const map = quietMap();
    const expected: Expected = [TypeError, "options must be an object"];
    assertError(await assertRejects(() => loop(options)), expected);
    assertError(await assertRejects(() => shutdown(options)), expected);
    assertRefused(map, () => new SocketMap(options), expected);
    const channel = new FakeChannel();
    assertRefused(map, () => new Dispatcher(channel, options), expected);
    const handler = new Dispatcher(channel, { map });
    assertRefused(map, () => toStreams(handler, options), expected);
    const bare = new Dispatcher(null, { map });
    assertRefused(map, () => bare.createSocket(options), expected);
    handler.abort();
  });
}

Deno.test("loop() and shutdown() refuse the map in the place of their options", async () => {
  const map = quietMap();
  const handler = fresh(map); // The default map is empty: it would do nothing.
  const expected: Expected = [
    TypeError,
    "options must be { map }, got the map",
  ];
  assertError(await assertRejects(() => loop(map as Any)), expected);
  assertError(await assertRejects(() => shutdown(map as Any)), expected);
  assertEquals(map.size, 1);
  handler.close();
});

Deno.test("SocketMap refuses another map in the place of its options", () => {
  const expected: Expected = [TypeError, "options", "SocketMap(0)"];
  assertError(assertThrows(() => new SocketMap(quietMap() as Any)), expected);
});

Deno.test("loop() refuses a signal in the place of its options", async () => {
  const { signal } = new AbortController();
  const error = await assertRejects(() => loop(signal as Any));
  assertError(error, [TypeError, "options must be { signal }"]);
});

Deno.test("poll() and closeAll() refuse options in the place of their arguments", async () => {
  const map = quietMap();
  const handler = fresh(map);
  const noOptions: Expected = [
    TypeError,
    "timeout must be a number of ms",
    "poll(timeout, map) takes no options",
  ];
  for (const timeout of [{ timeout: 5 }, { map }, map] as Any[]) {
    assertError(await assertRejects(() => poll(timeout)), noOptions);
  }
  const noMap: Expected = [
    TypeError,
    "map must be a SocketMap",
    "give the map itself",
  ];
  const options = { map } as Any;
  assertError(await assertRejects(() => poll(0, options)), noMap);
  assertError(assertThrows(() => closeAll(options)), noMap);
  assertRefused(map, () => handler.addChannel(options), noMap);
  for (const ignoreAll of [1, "yes", null, { ignoreAll: true }] as Any[]) {
    const error = assertThrows(() => closeAll(map, ignoreAll));
    assertError(error, [TypeError, "ignoreAll must be true or false"]);
  }
  assertEquals(map.size, 1);
  closeAll(map, true);
});

Deno.test("Dispatcher.createSocket() says what to write instead of Python's arguments", () => {
  const map = quietMap();
  const stream = new Dispatcher(null, { map }) as Any;
  const datagram = new DatagramDispatcher(null, { map }) as Any;
  const python = () => stream.createSocket(2, 1); // AF_INET, SOCK_STREAM
  assertRefused(map, python, [TypeError, "got 2", "createSocket() is for TCP"]);
  const udp = () => datagram.createSocket(2, 2); // AF_INET, SOCK_DGRAM
  assertRefused(map, udp, [TypeError, "got 2", "createSocket() needs none"]);
  for (const transport of ["tcp", "tls", "unix"]) {
    assertRefused(map, () => stream.createSocket(transport), [
      TypeError,
      `got "${transport}": createSocket({ transport: "${transport}" })`,
    ]);
  }
});

Deno.test("SocketMap shows itself in short", () => {
  assertEquals(Deno.inspect([new SocketMap()]), "[ SocketMap(0) ]");
});

for (const chunkSize of [0, -5, 1.5, NaN, Infinity, 2 ** 31, "64", null]) {
  Deno.test(`Dispatcher refuses a channel whose chunkSize is ${chunkSize}`, () => {
    const map = quietMap();
    const channel = Object.assign(new FakeChannel(), { chunkSize });
    const wanted = typeof chunkSize === "number" ? RangeError : TypeError;
    assertRefused(map, () => new Dispatcher(channel as Any, { map }), [
      wanted,
      "channel.chunkSize",
    ]);
  });
}

Deno.test("shutdown() refuses a signal in the place of its options", async () => {
  const { signal } = new AbortController();
  const error = await assertRejects(() => shutdown(signal as Any));
  assertError(error, [TypeError, "options must be { signal }"]);
});

Deno.test("Dispatcher refuses options in the place of a channel", () => {
  const map = quietMap();
  for (const options of [map, { map }, {}, { maxLength: 10 }]) {
    for (const Class of [Dispatcher, DispatcherWithSend, AsyncChat]) {
      const error = assertThrows(() => new Class(options as Any));
      assertError(error, [TypeError, "options come second"]);
    }
  }
  assertEquals(map.size, 0);
});

Deno.test("AsyncChat.push() says that it takes text or bytes", () => {
  const map = quietMap();
  const chat = new AsyncChat(new FakeChannel(), { map });
  const error = assertThrows(() => chat.push(5 as Any));
  assertError(error, [TypeError, "data must be a Uint8Array or text, got 5"]);
  chat.abort();
});
