import {
  assert,
  assertEquals,
  assertFalse,
  assertMatch,
  assertRejects,
  assertThrows,
} from "@std/assert";
import {
  AsyncChat,
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
import { FakeAcceptor, FakeChannel, quietMap } from "./fakes.ts";
import { type Any, setUp } from "./setups.ts";
import { bytes, families, isMissing, type TestMap } from "./support.ts";

type ErrorClass = new (message: string) => Error;

/** Expects an error of exactly this class; the map has then these members. */
async function assertRefused(
  map: TestMap,
  call: () => unknown,
  wanted: ErrorClass,
  message: RegExp,
  members: unknown[] = [...map],
): Promise<void> {
  const error = await assertRejects(async () => void await call(), wanted);
  assertEquals(error.constructor, wanted, `${error}`);
  assertMatch(error.message, message);
  assertEquals([...map], members);
  map.check();
}

// A value that is wrong

/** Dispatchers of one map that differ in their state. */
function makeAll() {
  const { map } = setUp();
  const bare = new Dispatcher(null, { map });
  const fresh = new Dispatcher(null, { map });
  fresh.createSocket();
  const open = new Dispatcher(new FakeChannel(), { map });
  const sender = new DispatcherWithSend(new FakeChannel(), { map });
  const chat = new AsyncChat(new FakeChannel(), { map });
  return { map, bare, fresh, open, sender, chat };
}

/** Values that a `RangeError` refuses, and those that a `TypeError` does. */
interface Values {
  range?: unknown[];
  type?: unknown[];
}

type Call = (value: Any, made: ReturnType<typeof makeAll>) => unknown;

/** Tests that each call refuses each value, and that nothing comes of it. */
function testRefused(
  name: string,
  message: RegExp,
  { range = [], type = [] }: Values,
  ...calls: Call[]
): void {
  Deno.test(name, async () => {
    for (const value of [...range, ...type]) {
      const wanted = range.includes(value) ? RangeError : TypeError;
      for (const call of calls) {
        const made = makeAll();
        const { map } = made;
        await assertRefused(map, () => call(value, made), wanted, message);
        assertEquals(map.size, 4);
        made.bare.createSocket(); // Nothing of the attempt is left.
        await loop({ map, count: 1, timeout: 0 });
        for (const member of [...map]) member.abort();
      }
    }
  });
}

const TIMES: Values = {
  range: [NaN, -1, -Infinity],
  type: ["100", null, {}, 10n, true],
};
testRefused(
  "loop() and poll() refuse a wrong timeout",
  /timeout/,
  TIMES,
  (timeout, { map }) => loop({ map, timeout }),
  (timeout, { map }) => poll(timeout, map),
);
testRefused(
  "callLater() refuses a wrong delay",
  /delay/,
  { ...TIMES, range: [...TIMES.range!, Infinity] },
  (delay, { map }) => map.callLater(delay, () => {}),
  (delay, { fresh }) => fresh.callLater(delay, () => {}),
);
testRefused(
  "callEvery() refuses a wrong interval",
  /interval/,
  { ...TIMES, range: [...TIMES.range!, Infinity, 0] },
  (interval, { map }) => map.callEvery(interval, () => {}),
  (interval, { fresh }) => fresh.callEvery(interval, () => {}),
);
testRefused(
  "Dispatcher refuses a wrong linger",
  /linger/,
  TIMES,
  (linger, { map }) => new Dispatcher(new FakeChannel(), { map, linger }),
);
testRefused(
  "Timers refuse a callback that is none",
  /callback must be a function/,
  { type: [undefined, null, 3, "callback", {}] },
  (callback, { map }) => map.callLater(1, callback),
  (callback, { map }) => map.callEvery(1, callback),
  (callback, { fresh }) => fresh.callLater(1, callback),
  (callback, { fresh }) => fresh.callEvery(1, callback),
);
testRefused(
  "loop() refuses a wrong count",
  /count/,
  { range: [NaN, -1, 1.5], type: ["3", {}, 3n] },
  (count, { map }) => loop({ map, count }),
);
testRefused(
  "loop() refuses a wrong signal",
  /signal/,
  { type: [{}, "signal", 3, new AbortController()] },
  (signal, { map }) => loop({ map, signal }),
);
testRefused(
  "A map that is none is refused",
  /map must be a SocketMap/,
  { type: [false, {}, new Map(), "map", 3, SocketMap] },
  (map) => loop({ map }),
  (map) => poll(0, map),
  (map) => closeAll(map),
  (map) => new Dispatcher(new FakeChannel(), { map }),
  (map, { fresh }) => fresh.addChannel(map),
  (map, { fresh }) => fresh.delChannel(map),
);
const SOCKET_OPTIONS: Record<string, Values> = {
  transport: { type: ["udp", "", "TCP", null, 3, {}, []] },
  backlog: { range: [0, -1, NaN, 1.5, Infinity, 2 ** 31], type: ["5", null] },
  reusePort: { type: ["yes", 1, null, {}] },
  noDelay: { type: ["yes", 1, null, {}] },
  keepAlive: { type: ["yes", 1, null, {}] },
};
for (const [option, values] of Object.entries(SOCKET_OPTIONS)) {
  testRefused(
    `createSocket() refuses a wrong ${option}`,
    new RegExp(option),
    values,
    (value, { bare }) => bare.createSocket({ [option]: value }),
  );
}
testRefused(
  "recv() refuses a wrong size",
  /size/,
  { range: [0, -1, NaN, 1.5], type: ["256", null, {}, new Uint8Array(3)] },
  (size, { bare }) => bare.recv(size),
  (size, { open }) => open.recv(size),
);
testRefused(
  "recvInto() refuses a target without room or that is none",
  /target/,
  {
    range: [new Uint8Array(0)],
    type: [undefined, null, 3, "target", [0], new ArrayBuffer(3)],
  },
  (target, { open }) => open.recvInto(target),
);
testRefused(
  "send() refuses what is neither bytes nor text",
  /data must be a Uint8Array or text, got/,
  { type: [undefined, null, 3, [1, 2], new ArrayBuffer(3), {}] },
  (data, { open }) => open.send(data),
  (data, { sender }) => sender.send(data),
);
testRefused(
  "AsyncChat.push() says that it takes text or bytes",
  /data must be a Uint8Array or text, got 5/,
  { type: [5] },
  (data, { chat }) => chat.push(data),
);
testRefused(
  "DispatcherWithSend refuses a wrong highWaterMark",
  /highWaterMark/,
  { range: [0, -1, NaN], type: ["64", null] },
  (value, { sender }) => sender.highWaterMark = value,
);
testRefused(
  "Dispatcher refuses a channel that is none",
  /channel/,
  { type: [3, "channel", true, Symbol("channel"), () => {}, {}] },
  (channel, { map }) => new Dispatcher(channel, { map }),
  (channel, { bare }) => bare.setSocket(channel),
);
testRefused(
  "Dispatcher.setSocket() refuses null and undefined",
  /channel/,
  { type: [null, undefined] },
  (channel, { bare }) => bare.setSocket(channel),
);
for (const method of ["read", "write", "close"]) {
  testRefused(
    `Dispatcher refuses a channel without ${method}()`,
    new RegExp(`channel.*${method}\\(\\)`),
    {
      type: [
        { read() {}, write() {}, close() {}, [method]: undefined },
        ...method === "close" ? [{ accept() {} }] : [],
      ],
    },
    (channel, { map }) => new Dispatcher(channel, { map }),
    (channel, { bare }) => bare.setSocket(channel),
  );
}
testRefused(
  "Dispatcher refuses a channel with a wrong chunkSize",
  /channel.chunkSize/,
  { range: [0, -5, 1.5, NaN, Infinity, 2 ** 31], type: ["64", null] },
  (chunkSize, { map }) => {
    const channel = Object.assign(new FakeChannel(), { chunkSize });
    return new Dispatcher(channel, { map });
  },
);
const NO_FILES: [RegExp, unknown[]][] = [
  [/file/, [null, undefined, 3, "path"]],
  [/file.*close\(\)/, [{}, { read() {}, close: undefined }]],
  [/file.*read\(\).*write\(\)/, [{ close() {} }]],
];
for (const [message, type] of NO_FILES) {
  testRefused(
    `FileDispatcher refuses what is no file, and says ${message}`,
    message,
    { type },
    (file, { map }) => new FileDispatcher(file, { map }),
    (file) => new FileWrapper(file),
  );
}

/** Seams that lack a method, and what is said of them. */
const method = () => {};
const NO_SEAMS: [Any, RegExp][] = [
  [{ network: {} }, /network has no connect\(\) method/],
  [{ network: { connect: method } }, /network has no listen\(\) method/],
  [{ network: "tcp" }, /network must be an object.*"tcp"/],
  [{ clock: {} }, /clock has no now\(\) method/],
  [{ clock: Date }, /clock must be an object/],
  [{ clock: performance }, /clock has no setTimeout\(\) method/],
  [{ logger: {} }, /logger has no debug\(\) method/],
  [{ logger: method }, /logger must be an object/],
  [{ logger: { debug: method, info: method } }, /logger has no warn\(\)/],
  [{ onError: 5 }, /onError must be a function, got 5/],
  [{ onError: {} }, /onError must be a function/],
];
for (const [options, message] of NO_SEAMS) {
  const name = `SocketMap refuses a seam, and says ${message}`;
  testRefused(name, message, { type: [options] }, (it) => new SocketMap(it));
}

Deno.test("SocketMap takes a console for a logger", () => {
  new SocketMap({ logger: console, onError: method });
});

Deno.test("loop() leaves the map free when its signal throws, and takes an endless count", async () => {
  const { map } = setUp();
  const addEventListener = () => {
    throw new SyntaxError("a signal of its own kind");
  };
  const signal = { addEventListener, removeEventListener() {} } as Any;
  const looping = () => loop({ map, signal });
  await assertRefused(map, looping, SyntaxError, /of its own kind/);
  await loop({ map, count: Infinity });
});

// An address that is wrong

/** Addresses that no socket of a transport can have, and what is said. */
const BAD_ADDRESSES: [Any, ErrorClass, RegExp, unknown[]][] = [
  ["tcp", TypeError, /address.*hostname.*port/, [undefined]],
  ["tcp", TypeError, /address/, [null, "127.0.0.1:80", 80, ["127.0.0.1", 80]]],
  ["tcp", TypeError, /address/, [{}, { hostname: "::1" }, { path: "/x" }]],
  ["tcp", TypeError, /hostname/, [{ hostname: 127, port: 80 }]],
  ["tcp", TypeError, /hostname/, [{ hostname: "", port: 80 }]],
  ["tcp", TypeError, /hostname/, [{ hostname: null, port: 80 }]],
  ["tcp", TypeError, /"host".*hostname/, [{ host: "127.0.0.1", port: 80 }]],
  ["tcp", TypeError, /"extra"/, [{ port: 80, path: "/x", extra: 1 }]],
  ["tcp", TypeError, /port/, [{ port: "80" }, { port: undefined }]],
  ["tcp", TypeError, /port/, [{ port: null }, { port: 80n }]],
  ["tcp", RangeError, /port/, [{ port: NaN }, { port: Infinity }]],
  ["tcp", RangeError, /port/, [{ port: -1 }, { port: 65_536 }, { port: 80.5 }]],
  ["unix", TypeError, /address.*path/, [undefined, { port: 80 }]],
  ["unix", TypeError, /address/, ["/tmp/socket"]],
  ["unix", TypeError, /path/, [{ path: "" }, { path: 3 }, { path: null }]],
  ["unix", TypeError, /"mode".*\{ path \}/, [{ path: "/x", mode: 0o600 }]],
];

for (const [transport, wanted, message, addresses] of BAD_ADDRESSES) {
  const shown = addresses.map((address) => Deno.inspect(address)).join(" ");
  Deno.test(`bind() and connect() refuse the ${transport} addresses ${shown}`, async () => {
    const { map } = setUp();
    for (const address of addresses as Any[]) {
      for (const action of ["bind", "connect"] as const) {
        const handler = new Dispatcher(null, { map });
        handler.createSocket({ transport });
        const said = new RegExp(`Cannot ${action}.*${message.source}`);
        const call = () => handler[action](address);
        await assertRefused(map, call, wanted, said, []);
        assertFalse(handler.connecting);
        assertEquals(handler.addr, null);
        // The socket is as good as it was.
        handler[action](transport === "tcp" ? { port: 7 } : { path: "/x" });
        assertEquals([...map], [handler]);
        handler.abort();
      }
    }
  });
}

Deno.test("Dispatcher.connect() refuses port 0, bind() takes it", async () => {
  const { map } = setUp();
  const client = new Dispatcher(null, { map });
  client.createSocket();
  const connect = () => client.connect({ port: 0 });
  await assertRefused(map, connect, RangeError, /Cannot connect.*port/, []);
  client.bind({ port: 0 });
});

Deno.test({
  name: "Dispatcher.bind() of a path in a folder that is missing throws",
  ignore: isMissing(families[2]!),
  fn() {
    const map = quietMap();
    const handler = new Dispatcher(null, { map });
    handler.createSocket({ transport: "unix" });
    const folder = Deno.makeTempDirSync();
    assertThrows(() => handler.bind({ path: `${folder}/missing/socket` }));
    Deno.removeSync(folder);
    assertFalse(handler.accepting);
    assertEquals(handler.addr, null);
    handler.close();
  },
});

Deno.test("Dispatcher.listen() refuses a wrong backlog, and gives the address back", async () => {
  const { map, network } = setUp();
  const handler = new Dispatcher(null, { map });
  handler.createSocket();
  const early = () => handler.listen();
  await assertRefused(map, early, Error, /listen.*bind\(\) first/, []);
  for (const backlog of [-1, NaN, 1.5, "5", null] as Any[]) {
    handler.bind({ port: 0 });
    network.acceptor.closed = false;
    const wanted = typeof backlog === "number" ? RangeError : TypeError;
    const listen = () => handler.listen(backlog);
    await assertRefused(map, listen, wanted, /backlog/, []);
    assert(network.acceptor.closed);
  }
  assertFalse(handler.accepting);
  handler.bind({ port: 0 });
  handler.listen(5);
  assert(handler.accepting);
});

// A call at the wrong time

/** Calls that need a state, and what they say elsewhere. */
const CALLS: Record<string, [RegExp, (handler: Dispatcher) => unknown]> = {
  createSocket: [/Cannot create a socket/, (it) => it.createSocket()],
  setSocket: [/Cannot set a socket/, (it) => it.setSocket(new FakeChannel())],
  bind: [/Cannot bind/, (it) => it.bind({ port: 7 })],
  listen: [/Cannot listen/, (it) => it.listen()],
  connect: [/Cannot connect/, (it) => it.connect({ port: 7 })],
  accept: [/Cannot accept/, (it) => it.accept()],
  send: [/Cannot send/, (it) => it.send(bytes("spam"))],
  recv: [/Cannot receive/, (it) => it.recv()],
  recvInto: [/Cannot receive/, (it) => it.recvInto(new Uint8Array(1))],
  addChannel: [/Cannot add a channel/, (it) => it.addChannel()],
};

class EchoClient extends DispatcherWithSend {}

const ALL = "bind listen connect accept send recv recvInto addChannel";

/** What a dispatcher refuses in a state, and a part of the reason. */
const REFUSALS: [state: string, calls: string, reason: RegExp][] = [
  ["without a socket", ALL, /Dispatcher/],
  ["with a buffer and without a socket", ALL, /EchoClient/],
  ["with a fresh socket", "createSocket setSocket", /Dispatcher/],
  ["with a fresh socket", "send recv recvInto", /not connected/],
  ["with a fresh socket", "accept", /not listening/],
  ["that is bound", "bind connect", /bound/],
  ["that is bound", "send recv recvInto", /not connected/],
  ["that is bound", "accept", /not listening/],
  ["that is listening", "createSocket setSocket", /Dispatcher/],
  ["that is listening", "bind connect listen", /listening/],
  ["that is listening", "send recv recvInto", /not connected/],
  ["that is connecting", "bind connect listen", /connecting/],
  ["that is connecting", "accept", /not listening/],
  ["that is connected", "createSocket setSocket", /Dispatcher/],
  ["that is connected", "bind connect listen", /connected/],
  ["that is connected", "accept", /not listening/],
  ["that is closed", "bind listen connect addChannel", /has no socket/],
];

function makeIn(state: string, map: TestMap): Dispatcher {
  const Class = state.includes("buffer") ? EchoClient : Dispatcher;
  const handler = new Class(null, { map });
  if (state.includes("without a socket")) return handler;
  if (state === "that is listening") handler.setSocket(new FakeAcceptor());
  else if (/connected|closed/.test(state)) handler.setSocket(new FakeChannel());
  else handler.createSocket();
  if (state === "that is bound") handler.bind({ port: 7 });
  if (state === "that is connecting") handler.connect({ port: 7 });
  if (state === "that is closed") handler.close();
  return handler;
}

for (const [state, calls, reason] of REFUSALS) {
  Deno.test(`Dispatcher ${state} refuses ${calls}`, async () => {
    const { map } = setUp();
    const handler = makeIn(state, map);
    for (const name of calls.split(" ")) {
      const [message, call] = CALLS[name]!;
      const refused = () => call(handler);
      await assertRefused(map, refused, Error, message);
      await assertRefused(map, refused, Error, reason);
    }
    handler.close();
    handler.createSocket(); // It begins anew.
  });
}

// Something else in the place of an argument

testRefused(
  "Dispatcher refuses a map in the place of its options",
  /options must be \{ map \}/,
  { type: [new SocketMap()] },
  (options) => new Dispatcher(new FakeChannel(), options),
  (options) => new DispatcherWithSend(null, options),
  (options) => new FileDispatcher(new FakeChannel(), options),
);
testRefused(
  "loop() and shutdown() refuse the map in the place of their options",
  /options must be \{ map \}, got the map/,
  { type: [new SocketMap()] },
  loop,
  shutdown,
);
testRefused(
  "Functions refuse a signal in the place of their options",
  /options must be .*, got the signal itself/,
  { type: [new AbortController().signal] },
  loop,
  shutdown,
  (options, { bare }) => bare.createSocket(options),
);
testRefused(
  "SocketMap refuses another map in the place of its options",
  /options.*SocketMap\(0\)/,
  { type: [new SocketMap()] },
  (options) => new SocketMap(options),
);
testRefused(
  "Functions refuse an array, or what else is no object of options, in the place of their options",
  /options must be an object/,
  { type: [[30], new Map([["timeout", 30]]), null, () => {}, "timeout", 30] },
  loop,
  shutdown,
  (options) => new SocketMap(options),
  (options) => new Dispatcher(new FakeChannel(), options),
  (options, { open }) => toStreams(open, options),
  (options, { bare }) => bare.createSocket(options),
);
testRefused(
  "loop() shows what it got in the place of its options",
  /options must be an object.*30/,
  { type: [30, "30"] },
  loop,
);
testRefused(
  "Dispatcher refuses options in the place of a channel",
  /options come second/,
  { type: [new SocketMap(), { map: new SocketMap() }, {}, { maxLength: 10 }] },
  (options) => new Dispatcher(options),
  (options) => new DispatcherWithSend(options),
  (options) => new AsyncChat(options),
);
testRefused(
  "poll() refuses options in the place of its timeout",
  /timeout must be a number of ms.*poll\(timeout, map\) takes no options/,
  { type: [{ timeout: 5 }, { map: new SocketMap() }, new SocketMap()] },
  (options) => poll(options),
);
testRefused(
  "poll() and closeAll() refuse options in the place of a map",
  /map must be a SocketMap.*give the map itself/,
  { type: [{ map: new SocketMap() }] },
  (options) => poll(0, options),
  (options) => closeAll(options),
  (options, { fresh }) => fresh.addChannel(options),
);
testRefused(
  "closeAll() refuses options in the place of ignoreAll",
  /ignoreAll must be true or false/,
  { type: [1, "yes", null, { ignoreAll: true }] },
  (ignoreAll, { map }) => closeAll(map, ignoreAll),
);
testRefused(
  "createSocket() says what to write instead of Python's AF_INET",
  /got 2.*createSocket\(\) is for TCP/,
  { type: [2] },
  (family, { bare }) => bare.createSocket(family),
);
testRefused(
  "DatagramDispatcher.createSocket() says that it needs no AF_INET",
  /got 2.*createSocket\(\) needs none/,
  { type: [2] },
  (family, { map }) =>
    (new DatagramDispatcher(null, { map }) as Any).createSocket(family),
);
testRefused(
  "createSocket() says how a transport is given",
  /got "(\w+)": createSocket\(\{ transport: "\1" \}\)/,
  { type: ["tcp", "tls", "unix"] },
  (transport, { bare }) => bare.createSocket(transport),
);

Deno.test("SocketMap shows itself in short", () => {
  assertEquals(Deno.inspect([new SocketMap()]), "[ SocketMap(0) ]");
});
