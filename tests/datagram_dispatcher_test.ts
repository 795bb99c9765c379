/**
 * UDP. Over Deno's network, a test with a real socket needs `--unstable-net`, so
 * where the flag is missing a child process runs these tests.
 */

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  type Address,
  DatagramDispatcher,
  DatagramError,
  type DatagramSocket,
  type Dispatcher,
  ExitNow,
  loop,
  socketMap,
} from "../mod.ts";
import { withStd } from "../tools/with_std.ts";
import {
  Client,
  Echo,
  FakeSocket,
  gate,
  LOOPBACK,
  PEER,
  peer,
  Recorder,
  setUp,
} from "./datagrams.ts";
import {
  FakeChannel,
  LogLines,
  loopToEnd,
  passes,
  pattern,
  rest,
} from "./fakes.ts";
import {
  bytes,
  families,
  IS_ON_EPOLL,
  isMissing,
  loopUntil,
  PATIENCE,
  ScopedMap,
  TestMap,
  text,
  turn,
} from "./support.ts";

const hasDatagrams = IS_ON_EPOLL || typeof Deno.listenDatagram === "function";

// Receiving

Deno.test("DatagramDispatcher takes one datagram in each handleRead(), also one without bytes", async () => {
  const { map, socket, dispatcher } = setUp();
  for (let port = 1; port <= 20; port++) socket.push("spam", port);
  socket.push("");
  await loopUntil(map, () => dispatcher.received.length === 21);
  const expected = Array.from({ length: 20 }, (_, i) => `${i + 1}: spam`);
  assertEquals(dispatcher.received, [...expected, "7: "]);
  assertEquals(dispatcher.reads, 21);
});

Deno.test("DatagramDispatcher.recvFrom() gives bytes that nothing overwrites", async () => {
  const { map, socket, dispatcher } = setUp();
  const kept: Uint8Array[] = [];
  dispatcher.handleRead = () => void kept.push(dispatcher.recvFrom().data);
  socket.push("spam");
  socket.push("eggs");
  await loopUntil(map, () => kept.length === 2);
  assertEquals(kept.map(text), ["spam", "eggs"]);
});

Deno.test("DatagramDispatcher.recvFrom() would block when no datagram waits", async () => {
  const { map, socket, dispatcher } = setUp();
  const assertBlocked = (message = "") =>
    assertThrows(
      () => dispatcher.recvFrom(),
      Deno.errors.WouldBlock,
      message,
    );
  const { handleRead } = dispatcher;
  dispatcher.handleRead = () => {
    handleRead.call(dispatcher);
    assertBlocked(
      "no datagram waits for <Recorder 127.0.0.1:53>: call recvFrom() once",
    );
  };
  assertBlocked();
  socket.push("spam");
  await loopUntil(map, () => dispatcher.reads === 1);
  assertEquals(dispatcher.errors, []);
  socket.push("eggs");
  await turn(); // It is held, and dropped with the rest.
  dispatcher.close();
  assertBlocked();
});

Deno.test("DatagramDispatcher keeps a datagram while readable() is false", async () => {
  const { map, socket, dispatcher } = setUp();
  let isPatient = false;
  dispatcher.readable = () => !isPatient;
  await passes(map); // One receive() is under way.
  isPatient = true;
  socket.push("spam");
  socket.push("eggs");
  await passes(map, 5);
  assertEquals([dispatcher.reads, socket.receives], [0, 1]);
  isPatient = false;
  await loopUntil(map, () => dispatcher.reads === 2);
  assertEquals(dispatcher.received, ["7: spam", "7: eggs"]);
});

Deno.test("DatagramDispatcher without a handleRead() of its own is told once", async () => {
  const log = new LogLines();
  await using map = new ScopedMap({ logger: log });
  const socket = new FakeSocket();
  const dispatcher = new DatagramDispatcher(socket, { map });
  dispatcher.ignoreLogTypes.clear();
  socket.push("spam");
  socket.push("eggs");
  await rest(map);
  assertEquals(log.lines, ["warn: unhandled read event"]);
});

Deno.test("DatagramDispatcher goes on when a peer has refused a datagram", async () => {
  const { map, socket, dispatcher, log } = setUp();
  const refusal = new Deno.errors.ConnectionReset("(os error 10054)");
  socket.push(refusal);
  socket.push(new Deno.errors.ConnectionRefused("(os error 111)"));
  socket.push("spam");
  await loopUntil(map, () => dispatcher.reads + dispatcher.errors.length === 3);
  assertEquals(dispatcher.received, ["7: spam"]);
  const [error] = dispatcher.errors as DatagramError[];
  assertInstanceOf(error, DatagramError);
  assertEquals([error.addr, error.cause], [null, refusal]);
  assertEquals(
    log.lines[0],
    "error: <Recorder 127.0.0.1:53> lost a datagram " +
      "(DatagramError: Cannot send a datagram: (os error 10054))",
  );
});

for (
  const [what, error] of [
    ["another hand closes its socket", new Deno.errors.BadResource("closed")],
    ["receiving fails for good", new Deno.errors.PermissionDenied("closed")],
  ] as const
) {
  Deno.test(`DatagramDispatcher is closed after an error when ${what}`, async () => {
    const { map, socket, dispatcher, log } = setUp();
    await passes(map);
    socket.breakDown(error);
    await loopToEnd(map);
    assertEquals(dispatcher.errors.length, 1);
    assertStringIncludes((dispatcher.errors[0] as Error).message, "closed");
    assertEquals(dispatcher.closes, 1);
    assert(socket.closed);
    assertMatch(log.lines.join("\n"), /^error: uncaught exception, closing/);
  });
}

// Sending

Deno.test("DatagramDispatcher.sendTo() sends for a class whose writable() says no", async () => {
  class Server extends Recorder {
    override writable(): boolean {
      return false; // No write events, as servers in Python have it.
    }
  }
  const { map, socket, dispatcher } = setUp(Server);
  socket.push("spam");
  await loopUntil(map, () => dispatcher.reads === 1);
  assertEquals(dispatcher.sendTo("eggs", PEER), 4);
  await loopUntil(map, () => socket.sent.length === 1);
  assertEquals(socket.sent, ["7: eggs"]);
});

Deno.test("DatagramDispatcher.sendTo() copies, and sends in order, also datagrams without bytes", async () => {
  const { map, socket, dispatcher } = setUp();
  const open = gate(socket);
  const address = { hostname: "192.0.2.1", port: 0 };
  for (const word of ["spam", "", "", "eggs"]) {
    address.port++;
    const data = Buffer.from(word);
    assertEquals(dispatcher.sendTo(data, address), data.length);
    data.fill(0);
  }
  address.port = 9;
  open();
  await loopUntil(map, () => socket.sent.length === 4);
  assertEquals(socket.sent, ["1: spam", "2: ", "3: ", "4: eggs"]);
});

Deno.test("DatagramDispatcher.sendTo() keeps 200 datagrams of any length apart", async () => {
  const sizes = Array.from(pattern(200), (size) => size ** 2); // 0 to 65,025
  const { map, socket, dispatcher } = setUp();
  let next = 0;
  dispatcher.writable = () => next < sizes.length;
  dispatcher.handleWrite = () => {
    for (; next < sizes.length; next++) {
      const data = new Uint8Array(sizes[next]!).fill(next % 251);
      if (dispatcher.sendTo(data, peer(next)) < data.length) return;
    }
  };
  const arrived: number[] = [];
  socket.onSend = (data, { port }) => {
    assertEquals(port, arrived.length);
    assert(data.every((byte) => byte === port % 251));
    arrived.push(data.length);
  };
  await loopUntil(map, () => arrived.length === 200);
  assertEquals(arrived, sizes);
});

Deno.test("DatagramDispatcher.sendTo() says not now while 64 KiB wait", async () => {
  const { map, socket, dispatcher } = setUp();
  let writes = 0;
  dispatcher.writable = () => writes === 0;
  dispatcher.handleWrite = () => void writes++;
  const open = gate(socket);
  const data = new Uint8Array(1024);
  let accepted = 0;
  while (dispatcher.sendTo(data, PEER) > 0) accepted++;
  assertEquals(accepted, 64);
  await passes(map, 5);
  assertEquals(writes, 0);
  assertEquals(dispatcher.sendTo(data, PEER), 0);
  open();
  await loopUntil(map, () => writes === 1);
  assertEquals(dispatcher.sendTo(data, PEER), 1024);
  await loopUntil(map, () => socket.sent.length === 65);
});

Deno.test("DatagramDispatcher tells of each datagram that fails, and sends the others", async () => {
  const { map, socket, dispatcher, log } = setUp();
  const tooLong = new Error("Message too long (os error 90)");
  socket.onSend = (data) => {
    if (text(data) === "long") throw tooLong;
  };
  for (const data of ["spam", "long", "eggs"]) {
    dispatcher.sendTo(bytes(data), peer(1));
  }
  await loopUntil(map, () => dispatcher.errors.length === 1);
  await loopUntil(map, () => socket.sent.length === 2);
  assertEquals(socket.sent, ["1: spam", "1: eggs"]);
  const [error] = dispatcher.errors as DatagramError[];
  assertInstanceOf(error, DatagramError);
  const message =
    "Cannot send 4 bytes to 192.0.2.1:1: Message too long (os error 90)";
  assertEquals([error.name, error.message], ["DatagramError", message]);
  assertEquals([error.addr, error.cause], [peer(1), tooLong]);
  assertEquals(log.lines, [
    "error: <Recorder 127.0.0.1:53> lost a datagram " +
    `(DatagramError: ${message})`,
  ]);
  assertEquals([dispatcher.closes, dispatcher.closing], [0, false]);
  // It still receives.
  socket.push("spam");
  await loopUntil(map, () => dispatcher.reads === 1);
});

Deno.test("DatagramDispatcher's handleError() gets a failed send only inside the loop", async () => {
  const { map, socket, dispatcher } = setUp();
  socket.onSend = () => Promise.reject(new Error("no route"));
  dispatcher.sendTo(bytes("spam"), PEER);
  for (let i = 0; i < 5; i++) await turn();
  assertEquals(dispatcher.errors, []);
  await passes(map, 2);
  assertEquals(dispatcher.errors.length, 1);
});

Deno.test("DatagramDispatcher's handleError() waits for a hook's promise", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const { map, socket, dispatcher } = setUp();
  dispatcher.handleRead = () => {
    dispatcher.sendTo(bytes("spam"), dispatcher.recvFrom().addr);
    return promise;
  };
  socket.onSend = () => Promise.reject(new Error("no route"));
  socket.push("spam");
  await passes(map, 5);
  assertEquals(dispatcher.errors, []);
  resolve();
  await loopUntil(map, () => dispatcher.errors.length === 1);
});

Deno.test("DatagramDispatcher's handleError() may close, or leave the loop", async () => {
  const { map, socket, dispatcher } = setUp();
  let errors = 0;
  dispatcher.handleError = () => {
    if (++errors === 1) throw new ExitNow("enough");
    dispatcher.close();
  };
  socket.onSend = () => Promise.reject(new Error("no route"));
  dispatcher.sendTo(bytes("spam"), PEER);
  dispatcher.sendTo(bytes("spam"), PEER);
  await assertRejects(() => loop({ map }), ExitNow, "enough");
  await loopToEnd(map);
  assertEquals([errors, socket.closed], [2, true]);
});

Deno.test("DatagramDispatcher is closed by an error of its own hooks", async () => {
  const { map, socket, dispatcher, log } = setUp();
  dispatcher.handleRead = () => {
    throw new Error("spam");
  };
  socket.push("spam");
  await loopToEnd(map);
  assertEquals(dispatcher.closes, 1);
  assertMatch(
    log.lines[0]!,
    /^error: uncaught exception, closing channel <Recorder 127.0.0.1:53> \(Error: spam/,
  );
});

// The end

Deno.test("DatagramDispatcher.close() still sends what was accepted", async () => {
  const { map, socket, dispatcher } = setUp();
  const open = gate(socket);
  for (let i = 0; i < 10; i++) dispatcher.sendTo(bytes(`${i}`), peer(i));
  dispatcher.close();
  assertEquals([map.size, map.lingering], [0, 1]);
  assertEquals(dispatcher.sendTo(bytes("late"), PEER), 0);
  assertEquals(dispatcher.sendTo(bytes(""), PEER), 0);
  open();
  await loopToEnd(map);
  assertEquals(
    socket.sent,
    Array.from({ length: 10 }, (_, i) => `${i}: ${i}`),
  );
  assert(socket.closed);
});

Deno.test("DatagramDispatcher out of every map has a failed datagram only logged", async () => {
  const { map, socket, dispatcher, log } = setUp();
  new Recorder(map, new FakeSocket()); // Keeps the loop going.
  dispatcher.delChannel();
  socket.onSend = () => Promise.reject(new Error("no route"));
  dispatcher.sendTo(bytes("spam"), PEER);
  await loopUntil(map, () => log.lines.length === 1);
  assertEquals(dispatcher.errors, []);
});

Deno.test("DatagramDispatcher.abort() drops what was not sent, without a word", async () => {
  const { map, socket, dispatcher, log } = setUp();
  gate(socket);
  for (let i = 0; i < 10; i++) dispatcher.sendTo(bytes("spam"), PEER);
  dispatcher.abort();
  await loopToEnd(map);
  await turn();
  assertEquals([socket.sent, log.lines, dispatcher.errors], [[], [], []]);
  assert(socket.closed);
});

Deno.test("DatagramDispatcher can have another socket after close()", async () => {
  const { map, socket, dispatcher } = setUp();
  const open = gate(socket);
  dispatcher.sendTo(bytes("spam"), PEER);
  dispatcher.close();
  const next = new FakeSocket();
  dispatcher.setSocket(next);
  dispatcher.sendTo(bytes("eggs"), PEER);
  next.push("ham");
  await loopUntil(map, () => dispatcher.reads === 1);
  assertEquals([socket.sent, next.sent], [[], ["7: eggs"]]);
  open();
  await loopUntil(map, () => socket.sent.length === 1);
  assertEquals(dispatcher.received, ["7: ham"]);
});

Deno.test("DatagramDispatcher moves to another map with what it has", async () => {
  const { map, socket, dispatcher } = setUp();
  await using other = new ScopedMap();
  await passes(map);
  socket.push("spam");
  dispatcher.addChannel(other);
  assertEquals([map.size, other.size], [0, 1]);
  await loopUntil(other, () => dispatcher.reads === 1);
});

Deno.test("DatagramDispatcher has the state of a socket without connections", () => {
  const { dispatcher, socket } = setUp();
  const { connected, connecting, accepting, closing } = dispatcher;
  const states = [connected, connecting, accepting, closing];
  assertEquals(states, [false, false, false, false]);
  assertEquals(dispatcher.addr, socket.addr);
  assertEquals(`${dispatcher}`, "<Recorder 127.0.0.1:53>");
  dispatcher.close();
  assertEquals(dispatcher.socket, null);
});

// Misuse

Deno.test("DatagramDispatcher says what to call instead of a connection's methods", async () => {
  const { dispatcher } = setUp();
  const plain: Dispatcher = dispatcher;
  const cases: [() => unknown, string][] = [
    [() => plain.connect(PEER), "Cannot connect: <Recorder 127.0.0.1:53> is a"],
    [() => plain.connect(PEER), "sendTo() takes the address each time"],
    [() => plain.listen(), "bind() is enough"],
    [() => plain.accept(), "is not listening"],
    [() => plain.recv(4), "call recvFrom()"],
    [() => plain.recvInto(new Uint8Array(4)), "call recvFrom()"],
    [() => plain.send(bytes("spam")), "call sendTo()"],
    [() => plain.shutdownWrite(), "there is no stream to end"],
    [() => plain.bind(PEER), "is bound already"],
    [() => plain.createSocket(), "has one already"],
  ];
  for (const [misuse, message] of cases) {
    assertThrows(misuse, Error, message);
  }
  await assertRejects(() => plain.startTls(), Error, "it needs a connection");
});

const FORM = "the address of a datagram socket is { hostname, port }, got";
for (
  const [address, kind, message] of [
    [null, TypeError, FORM],
    [undefined, TypeError, FORM],
    [7, TypeError, FORM],
    ["spam", TypeError, FORM],
    [{}, TypeError, FORM],
    [{ path: "/spam" }, TypeError, FORM],
    [{ cid: 1, port: 2 }, TypeError, FORM],
    [{ hostname: "", port: 2 }, TypeError, "hostname must be"],
    [{ hostname: 7, port: 2 }, TypeError, "hostname must be"],
    [{ port: "2" }, TypeError, "port must be"],
    [{ port: 65_536 }, RangeError, "from 0 to 65535"],
    [{ port: -1 }, RangeError, "from 0 to 65535"],
  ] as const
) {
  Deno.test(`DatagramDispatcher.sendTo() refuses the address ${Deno.inspect(address)}`, () => {
    const send = () =>
      setUp().dispatcher.sendTo(bytes("spam"), address as never);
    const { message: said } = assertThrows(send, kind, message);
    assertStringIncludes(said, "Cannot send: ");
  });
}

Deno.test("DatagramDispatcher.sendTo() takes bytes or text, and an address without a hostname", async () => {
  const { map, socket, dispatcher } = setUp();
  const sendNumber = () => dispatcher.sendTo(4 as never, PEER);
  assertThrows(sendNumber, TypeError, "data must be a Uint8Array or text");
  assertEquals(dispatcher.sendTo(bytes("spam"), { port: 2 }), 4);
  assertEquals(dispatcher.sendTo("Käse", { port: 2 }), 5);
  await loopUntil(map, () => socket.sent.length === 2);
  assertEquals(socket.sent, ["2: spam", "2: Käse"]);
});

Deno.test("DatagramDispatcher refuses what is no datagram socket, and options for one", () => {
  const map = new TestMap();
  for (
    const [value, message] of [
      ["spam", 'socket must be an object, got "spam"'],
      [new FakeChannel(), "socket has no receive() method"],
    ] as const
  ) {
    const make = () => new DatagramDispatcher(value as never, { map });
    assertThrows(make, TypeError, message);
  }
  assertEquals(map.size, 0);
  const dispatcher = new DatagramDispatcher(null, { map });
  const refused = '"transport": createSocket() needs none for datagrams';
  const createTcp = () => dispatcher.createSocket({ transport: "tcp" });
  assertThrows(createTcp, TypeError, refused);
  assertThrows(() => dispatcher.createSocket(null!), TypeError);
});

Deno.test("DatagramDispatcher needs createSocket() and bind() first", () => {
  const dispatcher = new DatagramDispatcher(null, { map: new TestMap() });
  const assertUnbound = () => {
    const send = () => dispatcher.sendTo(bytes("spam"), PEER);
    const receive = () => dispatcher.recvFrom();
    const message = "<DatagramDispatcher> is not bound: call bind() first";
    assertThrows(send, Error, `Cannot send: ${message}`);
    assertThrows(receive, Error, `Cannot receive: ${message}`);
  };
  assertUnbound();
  const homeless = "Cannot bind: DatagramDispatcher has no socket: call";
  assertThrows(() => dispatcher.bind(LOOPBACK), Error, homeless);
  dispatcher.createSocket();
  assertUnbound();
  for (const address of [{ path: "/spam" }, null]) {
    const bind = () => dispatcher.bind(address as Address);
    assertThrows(bind, TypeError, `Cannot bind: ${FORM.slice(0, -5)}`);
  }
  dispatcher.close();
  assertThrows(() => dispatcher.bind(LOOPBACK), Error, homeless);
});

Deno.test({
  name: "DatagramDispatcher.bind() says what to do without --unstable-net",
  ignore: hasDatagrams,
  fn() {
    const dispatcher = new DatagramDispatcher(null, { map: new TestMap() });
    dispatcher.createSocket();
    assertThrows(
      () => dispatcher.bind(LOOPBACK),
      Deno.errors.NotSupported,
      "Cannot bind: this Deno runs without datagrams: start it with " +
        '--unstable-net, or put "unstable": ["net"] into deno.json',
    );
    dispatcher.close();
  },
});

// Real sockets

const REAL = "over UDP";

/** Adds a test to the process that has the flag. */
function testReal(
  name: string,
  fn: () => Promise<void>,
  ignore = false,
): void {
  if (hasDatagrams) Deno.test({ name: `${name} ${REAL}`, ignore, fn });
}

Deno.test({
  name: `DatagramDispatcher ${REAL}, in a process with --unstable-net`,
  ignore: hasDatagrams,
  async fn() {
    const args = ["test", "-A", "--unstable-net", "--no-check"];
    const filter = [`--filter=${REAL}`, import.meta.filename!];
    const { success, stdout, stderr } = await new Deno.Command(
      Deno.execPath(),
      {
        args: await withStd([...args, ...filter]),
        env: { NO_COLOR: "1" },
        signal: AbortSignal.timeout(4 * PATIENCE),
      },
    ).output();
    const report = text(stdout) + text(stderr);
    assert(success, report);
    assertMatch(report, /ok \| [1-9]\d* passed \| 0 failed/);
  },
});

for (const hostname of ["127.0.0.1", "::1"]) {
  testReal(`DatagramDispatcher echoes from ${hostname}`, async () => {
    await using map = new ScopedMap();
    const server = new Echo(map, { hostname, port: 0 });
    const client = new Client(map, { hostname, port: 0 });
    assert(server.port > 0 && server.port !== client.port);
    // Windows and macOS have a smaller limit by default.
    const length = Deno.build.os === "linux" ? 65_507 : 8_192;
    const sent = [bytes("spam"), bytes(""), pattern(length), bytes("eggs")];
    for (const [i, data] of sent.entries()) {
      // One after the other, as UDP promises no order.
      assertEquals(client.sendTo(data, server.addr!), data.length);
      await loopUntil(map, () => client.datagrams.length > i);
    }
    assertEquals(client.datagrams.map(({ data }) => data), sent);
    for (const { addr } of client.datagrams) {
      assertEquals([addr.hostname, addr.port], [hostname, server.port]);
    }
  }, hostname === "::1" && isMissing(families[1]!));
}

testReal("DatagramDispatcher.bind() says which address is taken", async () => {
  await using map = new ScopedMap();
  const { port } = new Echo(map);
  const second = new DatagramDispatcher(null, { map });
  second.createSocket();
  assertThrows(
    () => second.bind({ hostname: "127.0.0.1", port }),
    Deno.errors.AddrInUse,
    `Cannot bind 127.0.0.1:${port}: `,
  );
  second.bind(LOOPBACK); // It can try another.
  assert((second.addr as Deno.NetAddr).port > 0);
});

testReal("DatagramDispatcher.setReuseAddr() shares an address", async () => {
  await using map = new ScopedMap();
  const share = (port: number) => {
    const dispatcher = new DatagramDispatcher(null, { map });
    dispatcher.createSocket();
    dispatcher.setReuseAddr();
    dispatcher.bind({ hostname: "127.0.0.1", port });
    return (dispatcher.addr as Deno.NetAddr).port;
  };
  const port = share(0);
  assertEquals(share(port), port);
});

testReal("DatagramDispatcher goes on behind a datagram too long", async () => {
  await using map = new ScopedMap({ logger: new LogLines() });
  const server = new Echo(map);
  const client = new Client(map);
  client.sendTo(new Uint8Array(70_000), server.addr!);
  await loopUntil(map, () => client.errors.length === 1);
  const [error] = client.errors as DatagramError[];
  assertInstanceOf(error, DatagramError);
  assertMatch(error.message, /^Cannot send 70000 bytes to 127.0.0.1:\d+: /);
  client.sendTo(bytes("spam"), server.addr!);
  await loopUntil(map, () => client.datagrams.length === 1);
});

testReal("DatagramDispatcher survives a peer without a port", async () => {
  await using map = new ScopedMap({ logger: new LogLines() });
  const client = new Client(map);
  client.sendTo(bytes("spam"), { hostname: "127.0.0.1", port: 0 });
  client.sendTo(bytes("eggs"), client.addr!);
  await loopUntil(map, () => client.datagrams.length === 1);
  await loopUntil(map, () => client.errors.length > 0);
  for (const error of client.errors) assertInstanceOf(error, DatagramError);
});

/** A socket of the network that the tests run on. */
function openSocket(): DatagramSocket {
  const address = { transport: "udp", ...LOOPBACK } as const;
  return socketMap.network.listenDatagram!(address, { reuseAddress: false });
}

/** Closes a socket that waits for too long: its receive() fails then. */
function closeLate(socket: DatagramSocket): Disposable {
  const id = setTimeout(() => socket.close(), PATIENCE);
  return { [Symbol.dispose]: () => clearTimeout(id) };
}

testReal("DatagramDispatcher.close() sends all that was accepted", async () => {
  await using map = new ScopedMap();
  const peer = openSocket();
  using _deadline = closeLate(peer);
  const words = Array.from({ length: 50 }, (_, i) => `spam ${i}`);
  const client = new Client(map);
  for (const word of words) {
    const taken = client.sendTo(bytes(word), peer.addr as Address);
    assertEquals(taken, word.length);
  }
  client.close();
  await loopToEnd(map);
  const buffer = new Uint8Array(64);
  for (const word of words) {
    assertEquals(text((await peer.receive(buffer))[0]), word);
  }
  peer.close();
});

testReal(
  "DatagramDispatcher has its port free when its receive() has settled",
  async () => {
    await using map = new ScopedMap();
    const opened = openSocket();
    let settled = 0;
    const socket: DatagramSocket = {
      addr: opened.addr,
      receive: (target) => opened.receive(target).finally(() => settled++),
      send: (data, addr) => opened.send(data, addr),
      close: () => opened.close(),
    };
    const dispatcher = new Recorder(map, socket);
    await passes(map, 2); // A receive is in flight.
    dispatcher.close();
    await loopUntil(map, () => settled === 1);
    new Echo(map, opened.addr as Deno.NetAddr).close();
  },
);

testReal(
  "DatagramDispatcher takes over an open socket, and ends with it",
  async () => {
    await using map = new ScopedMap({ logger: new LogLines() });
    const opened = openSocket();
    const dispatcher = new Recorder(map, opened);
    assertEquals(dispatcher.addr, opened.addr);
    dispatcher.sendTo(bytes("spam"), dispatcher.addr as Address);
    await loopUntil(map, () => dispatcher.reads === 1);
    opened.close();
    await loopToEnd(map);
    assertEquals([dispatcher.errors.length, dispatcher.closes], [1, 1]);
  },
);

const PYTHON_CLIENT = `
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(20)
for data in [b"spam", b"", bytes(range(256)) * 32]:
    s.sendto(data, ("127.0.0.1", int(sys.argv[1])))
    answer, addr = s.recvfrom(65536)
    assert answer == data and addr[1] == int(sys.argv[1])
print("done")
`;
import { Buffer } from "node:buffer";
import { hasCommand, runCommand } from "./peers.ts";

testReal("DatagramDispatcher answers a Python socket", async () => {
  await using map = new ScopedMap();
  const server = new Echo(map);
  const client = runCommand("python3", ["-c", PYTHON_CLIENT, `${server.port}`])
    .finally(() => server.close());
  await loopToEnd(map, 2 * PATIENCE);
  assertEquals(await client, { code: 0, out: "done\n", err: "" });
}, !hasCommand("python3", "--version"));
