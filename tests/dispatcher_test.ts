import {
  assert,
  assertEquals,
  assertFalse,
  assertGreater,
  assertInstanceOf,
  assertNotEquals,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { assertSpyCalls, spy } from "@std/testing/mock";
import {
  type Acceptor,
  type Address,
  type Channel,
  Dispatcher,
} from "../mod.ts";
import { MockClock } from "../testing/mod.ts";
import { FakeChannel, loopToEnd, passes, pattern, quietMap } from "./fakes.ts";
import { runCommand } from "./peers.ts";
import {
  bytes,
  families,
  type Family,
  isMissing,
  loopUntil,
  PATIENCE,
  rawConnect,
  ScopedMap,
  StrictDispatcher,
  testFamilies,
  type TestMap,
  TestServer,
  text,
  turn,
} from "./support.ts";

/** What a dispatcher does; any other hook fails the test. */
type Acts = Partial<Dispatcher> & ThisType<Dispatcher>;

function make(map: TestMap, acts: Acts): StrictDispatcher {
  return Object.assign(new StrictDispatcher(map), acts);
}

/** Connects to a server of the family. */
function makeClient(
  map: TestMap,
  server: Dispatcher,
  family: Family,
  acts: Acts = {},
): StrictDispatcher {
  const client = make(map, { handleConnect() {}, ...acts });
  client.createSocket(family.options);
  client.connect(server.addr!);
  return client;
}

/** Has an address to listen on. */
function makeBound(
  map: TestMap,
  family: Family,
  acts: Acts = {},
): StrictDispatcher {
  const dispatcher = make(map, acts);
  dispatcher.createSocket(family.options);
  dispatcher.bind(family.address());
  return dispatcher;
}

/** Makes a handler of each connection. */
function makeServer(
  map: TestMap,
  family: Family,
  acts: Acts = {},
): TestServer {
  const handle = (conn: Channel) => make(map, acts).setSocket(conn);
  return new TestServer(map, handle, family);
}

/** Answers with what it gets. */
const ECHO: Acts = {
  handleRead() {
    this.send(this.recv());
  },
  handleClose() {},
};

/** Whether a connection from outside has come to its end, or has had a byte. */
function watchRead(conn: Deno.Conn): { done: boolean } {
  const watched = { done: false };
  conn.read(new Uint8Array(1)).then(() => watched.done = true);
  return watched;
}

/** Expects the address in an error's text. */
function assertNames({ message }: Error, addr: Deno.Addr): void {
  const { path, hostname, port } = addr as Deno.UnixAddr & Deno.NetAddr;
  for (const part of path ? [path] : [hostname, `:${port}: `]) {
    assert(message.includes(part), message);
  }
}

// What happens on a connection

testFamilies(
  "Dispatcher.handleAccept() runs when a client connects",
  async (family) => {
    await using map = new ScopedMap();
    let accepts = 0;
    const listener = makeBound(map, family, {
      handleAccept() {
        accepts++;
        this.accept()!.conn.close();
        assertEquals(this.accept(), null, "no second client waits");
      },
    });
    listener.listen(5);
    await passes(map, 3);
    assertEquals(accepts, 0);

    using _conn = await rawConnect(listener.addr);
    await loopUntil(map, () => accepts > 0);
    await passes(map, 3);
    assertEquals(accepts, 1);
  },
);

testFamilies(
  "Dispatcher.handleAccepted() gets each client's connection and address",
  async (family) => {
    await using map = new ScopedMap();
    const clients: { conn: Channel; addr: Deno.Addr }[] = [];
    const listener = makeBound(map, family, {
      handleAccept: Dispatcher.prototype.handleAccept,
      handleAccepted: (conn, addr) => void clients.push({ conn, addr }),
    });
    listener.listen();
    using first = await rawConnect(listener.addr);
    using second = await rawConnect(listener.addr);
    await loopUntil(map, () => clients.length === 2);

    for (const { conn } of clients) {
      await conn.write(bytes("spam"));
      conn.close();
    }
    for (const conn of [first, second]) {
      assertEquals(await conn.read(new Uint8Array(16)), 4);
    }
    if (family.name === "Unix") return; // Clients there have no address.
    assertEquals(clients.map(({ addr }) => addr), [
      first.localAddr,
      second.localAddr,
    ]);
  },
);

testFamilies(
  "Dispatcher.handleRead() runs when bytes have arrived, until they are taken",
  async (family) => {
    await using map = new ScopedMap();
    const server = new TestServer(map, (conn) => {
      new StrictDispatcher(map, conn).send(bytes("x".repeat(1024)));
    }, family);
    let reads = 0;
    makeClient(map, server, family, {
      handleRead() {
        if (++reads === 3) assertEquals(this.recv(), bytes("x".repeat(1024)));
      },
    });
    await loopUntil(map, () => reads >= 3);
    await passes(map, 5);
    assertEquals(reads, 3, "nothing is left to read");
  },
);

testFamilies(
  "Dispatcher.handleWrite() runs once connected, and what it sends arrives",
  async (family) => {
    await using map = new ScopedMap();
    let got = "";
    const server = makeServer(map, family, {
      handleRead() {
        got += text(this.recv());
      },
    });
    const states: boolean[] = [];
    makeClient(map, server, family, {
      writable: () => states.length === 0,
      handleWrite() {
        states.push(this.connected);
        this.send(bytes("spam"));
      },
    });
    await loopUntil(map, () => got === "spam");
    await passes(map, 3);
    assertEquals(states, [true]);
  },
);

testFamilies(
  "Dispatcher.handleClose() runs once when the other side has closed",
  async (family) => {
    await using map = new ScopedMap();
    const events: string[] = [];
    const server = new TestServer(map, (conn) => conn.close(), family);
    const client = makeClient(map, server, family, {
      handleRead() {
        events.push("read");
        const data = this.recv(1024);
        events.push(`got ${data.length}`);
      },
      handleClose() {
        events.push("close"); // Without a call of close().
      },
    });
    await loopUntil(map, () => events.includes("close"));
    assertEquals(events, ["read", "close", "got 0"]);
    assertEquals([...map], [server], "the client is closed after it");
    assertFalse(client.connected);
    await passes(map, 3);
    assertEquals(events.length, 3);
  },
);

testFamilies(
  "Dispatcher.handleClose() runs when a sender that never reads has lost its peer",
  async (family) => {
    await using map = new ScopedMap();
    const server = makeServer(map, family, {
      handleRead() {
        this.recv(128);
        this.close();
      },
      writable: () => false,
    });
    let closes = 0;
    // No handleRead(): only the sending can find out.
    const client = Object.assign(new Dispatcher(null, { map }), {
      handleConnect() {},
      handleWrite: () => void client.send(new Uint8Array(128)),
      handleClose() {
        closes++;
        client.close();
      },
      handleError(error: unknown) {
        throw error;
      },
    });
    client.createSocket(family.options);
    client.connect(server.addr!);
    await loopUntil(map, () => closes > 0);
    assertEquals([...map], [server]);
    await passes(map, 3);
    assertEquals(closes, 1);
  },
);

testFamilies(
  "Dispatcher.handleClose() runs when a peer leaves in the middle of a transfer",
  async (family) => {
    await using map = new ScopedMap();
    const events: string[] = [];
    const server = makeServer(map, family, {
      handleRead() {
        this.recv();
        this.send(new Uint8Array(1024));
      },
      handleClose() {
        events.push("close");
      },
    });
    const conn = await rawConnect(server.addr);
    await conn.write(bytes("spam"));
    const answer = watchRead(conn);
    await loopUntil(map, () => answer.done);
    conn.close(); // The rest of the answer is unread: the peer gets a reset.
    await loopUntil(map, () => events.length > 0);
    assertEquals(events, ["close"]);
    assertEquals([...map], [server]);
  },
);

testFamilies(
  "Dispatcher.handleError() gets what handleWrite() throws",
  async (family) => {
    await using map = new ScopedMap();
    const server = makeServer(map, family);
    const spam = new Error("spam");
    const errors: unknown[] = [];
    const client = makeClient(map, server, family, {
      writable: () => errors.length === 0,
      handleWrite() {
        throw spam;
      },
      handleError: (error) => void errors.push(error),
    });
    await loopUntil(map, () => errors.length > 0);
    await passes(map, 3);
    assertEquals(errors.length, 1);
    assertStrictEquals(errors[0], spam);
    assert(client.connected, "handleError() did not close it");
  },
);

testFamilies(
  "Dispatcher tells a client that nobody listens there",
  async (family) => {
    await using map = new ScopedMap();
    const server = makeServer(map, family);
    server.close();
    const events: unknown[] = [];
    makeClient(map, server, family, {
      handleError: (error) => void events.push(error),
      handleClose: () => void events.push("close"),
    });
    await loopUntil(map, () => map.size === 0);
    assertEquals(events.length, 2);
    const { ConnectionRefused, NotFound } = Deno.errors;
    // A Unix listener takes its path with it.
    const reason = family.name === "Unix" ? NotFound : ConnectionRefused;
    const [error, end] = events;
    assertInstanceOf(error, reason);
    assert(error.message.startsWith("Cannot connect to "), error.message);
    assertNames(error, server.addr!);
    assertEquals(end, "close");
  },
);

// State

/** Which of the four flags are set. */
function flags(dispatcher: Dispatcher): string[] {
  return (["accepting", "closing", "connected", "connecting"] as const)
    .filter((flag) => dispatcher[flag]);
}

testFamilies(
  "Dispatcher's state follows a connection through its life",
  async (family) => {
    await using map = new ScopedMap();
    const handlers: Dispatcher[] = [];
    const server = new TestServer(map, (conn) => {
      const handler = make(map, ECHO);
      handler.setSocket(conn);
      handlers.push(handler);
    }, family);
    const atConnect: string[][] = [];
    const client = makeClient(map, server, family, {
      handleConnect() {
        atConnect.push(flags(this));
      },
    });
    assertEquals(flags(server), ["accepting"]);
    assertEquals(flags(client), ["connecting"]);
    assertEquals(client.socket, null);

    await loopUntil(map, () => client.connected && handlers.length === 1);
    assertEquals(atConnect, [["connecting"]]);
    assertEquals(flags(server), ["accepting"]);
    assertEquals(flags(client), ["connected"]);
    assertEquals(flags(handlers[0]!), ["connected"]);
    assertEquals(client.addr, server.addr);
    assertInstanceOf(client.socket, Object);

    client.send(bytes("spam"));
    client.close();
    assertEquals(flags(client), ["closing"]);
    assertEquals(client.socket, null);
    assertEquals([...map], [server, handlers[0]]);
    await loopUntil(map, () => !client.closing && map.size === 1);
    assertEquals(flags(client), []);
    assertEquals(flags(handlers[0]!), []);
    assertEquals(flags(server), ["accepting"]);

    client.createSocket(family.options); // It begins anew.
    assertEquals(flags(client), []);
    client.connect(server.addr!);
    await loopUntil(map, () => client.connected);
    assertEquals([...map].filter((member) => member === client).length, 1);
    for (const member of [client, handlers[1]!]) member.abort();

    server.close();
    assertEquals(flags(server), []);
    assertEquals(server.socket, null);
    assertEquals(map.size, 0);
  },
);

testFamilies(
  "Dispatcher.createSocket() joins the map and waits to learn what it becomes",
  async (family) => {
    await using map = new ScopedMap();
    const dispatcher = new StrictDispatcher(map);
    assertEquals(map.size, 0);
    dispatcher.createSocket(family.options);
    assertEquals([...map], [dispatcher]);
    assertEquals(flags(dispatcher), []);
    assertEquals(dispatcher.addr, null);
    await passes(map, 3);

    assertThrows(() => dispatcher.createSocket(), Error, "has one already");
    dispatcher.bind(family.address());
    assertEquals(dispatcher.addr!.transport, family.options.transport);
    assertStrictEquals((dispatcher.socket as Acceptor).addr, dispatcher.addr);
    assertEquals(flags(dispatcher), []);
    dispatcher.listen();
    assertEquals(flags(dispatcher), ["accepting"]);
  },
);

/** The sockets among the descriptors of a process, but for its standard streams. */
async function socketsOf(pid: number | "self"): Promise<string[]> {
  const { out } = await runCommand("ls", ["-l", `/proc/${pid}/fd`]);
  return [...out.matchAll(/ (\d+) -> (socket:\[\d+\])/g)]
    .filter(([, fd]) => Number(fd) > 2).map(([, , socket]) => socket!);
}

testFamilies(
  "Dispatcher's sockets are of the address's family, and no child process gets them",
  async (family) => {
    await using map = new ScopedMap();
    const server = makeServer(map, family, ECHO);
    const client = makeClient(map, server, family);
    await loopUntil(map, () => client.connected);
    for (const addr of [server.addr!, client.addr!]) {
      assertEquals(addr.transport, family.options.transport);
      if (addr.transport !== "tcp") continue;
      assertEquals(addr.hostname.includes(":"), family.name === "IPv6");
    }
    if (Deno.build.os !== "linux") return; // Others do not tell of sockets.
    const ours = await socketsOf(Deno.pid);
    const inChild = await socketsOf("self");
    assertGreater(ours.length, 1);
    assertEquals(inChild.filter((socket) => ours.includes(socket)), []);
  },
);

testFamilies(
  "Dispatcher.bind() throws AddrInUse where somebody listens already",
  async (family) => {
    await using map = new ScopedMap();
    const first = makeBound(map, family);
    const second = new StrictDispatcher(map);
    second.createSocket(family.options);
    const bind = () => second.bind(first.addr!);
    const error = assertThrows(bind, Deno.errors.AddrInUse, "Cannot listen on");
    assertNames(error, first.addr!);
    assertEquals(second.addr, null);
    second.bind(family.address()); // The failure has left it as it was.
    assertNotEquals(second.addr, first.addr);
    assertThrows(() => second.bind(family.address()), Error, "bound already");
  },
);

testFamilies(
  "Dispatcher.bind() knows the real address at once",
  async (family) => {
    await using map = new ScopedMap();
    const addr = makeBound(map, family).addr!;
    if (addr.transport === "tcp") assertNotEquals(addr.port, 0);
    assertEquals(addr.transport, family.options.transport);
    using conn = await rawConnect(addr); // It waits in the backlog.
    assertInstanceOf(conn, Object);
  },
);

/** Binds as soon as the listener that was closed just now is really gone. */
async function bindSoon(dispatcher: Dispatcher, addr: Address): Promise<void> {
  const deadline = performance.now() + PATIENCE; // TIME_WAIT lasts twice as long.
  for (;;) {
    try {
      return dispatcher.bind(addr);
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await turn();
    }
  }
}

for (const family of families.filter(({ name }) => name !== "Unix")) {
  Deno.test({
    name:
      `Dispatcher.setReuseAddr() lets a server come back on its port at once (${family.name})`,
    ignore: isMissing(family),
    async fn() {
      await using map = new ScopedMap();
      // The side that closes first keeps the port in TIME_WAIT.
      const server = new TestServer(map, (conn) => conn.close(), family);
      using conn = await rawConnect(server.addr);
      const end = watchRead(conn);
      await loopUntil(map, () => end.done);
      const { addr } = server;
      server.close();
      const heir = new StrictDispatcher(map);
      heir.createSocket(family.options);
      heir.setReuseAddr();
      await bindSoon(heir, addr as Deno.NetAddr);
      heir.listen();
      assertEquals(heir.addr, addr);
      assert(heir.accepting);
    },
  });
}

testFamilies(
  "Dispatcher goes on serving when clients connect and leave at once",
  async (family) => {
    await using map = new ScopedMap();
    const server = new TestServer(map, (conn) => {
      const handler = make(map, ECHO);
      handler.setSocket(conn);
      handler.send(bytes("spam"));
    }, family);
    const visit = async (reads: boolean) => {
      using conn = await rawConnect(server.addr);
      // Closing with a part of the greeting unread resets the connection.
      if (reads) await conn.read(new Uint8Array(1));
    };
    // One more finds the server as well as the first ten.
    for (const count of [10, 1]) {
      let done = false;
      const visits = Array.from(
        { length: count },
        (_, i) => visit(i % 2 === 0),
      );
      Promise.all(visits).then(() => done = true);
      await loopUntil(map, () => done && map.size === 1);
      assertEquals([...map], [server]);
    }
  },
);

// The rules that hold for every dispatcher

Deno.test("Dispatcher.readable() and writable() are true by default", () => {
  const dispatcher = new Dispatcher();
  assertStrictEquals(dispatcher.readable(), true);
  assertStrictEquals(dispatcher.writable(), true);
});

Deno.test("Dispatcher reads nothing while readable() is false, and loses nothing", async () => {
  await using map = new ScopedMap();
  const channel = new FakeChannel();
  let wanted = false;
  let got = "";
  make(map, {
    readable: () => wanted,
    handleRead() {
      got += text(this.recv());
    },
  }).setSocket(channel);
  channel.push("lovely ");
  await passes(map, 3);
  assertEquals([channel.reads, got], [0, ""]);
  wanted = true;
  await passes(map, 3);
  assertEquals([channel.reads, got], [2, "lovely "], "a read is under way");
  wanted = false;
  channel.push("spam", "eggs");
  await passes(map, 3);
  assertEquals([channel.reads, got], [2, "lovely "], "and no other follows");
  wanted = true;
  await passes(map, 3);
  assertEquals(got, "lovely spameggs");
});

Deno.test("Dispatcher.handleExptEvent() calls handleExpt(), and the loop calls neither", async () => {
  await using map = new ScopedMap();
  const log: string[] = [];
  const channel = new FakeChannel();
  const dispatcher = make(map, {
    handleRead() {
      log.push(text(this.recv()));
    },
    handleExpt: () => void log.push("handleExpt"),
    handleExptEvent() {
      log.push("handleExptEvent");
      return Dispatcher.prototype.handleExptEvent.call(this);
    },
  });
  dispatcher.setSocket(channel);
  channel.push("spam");
  await passes(map, 3);
  assertEquals(log, ["spam"]);
  dispatcher.handleExptEvent();
  assertEquals(log, ["spam", "handleExptEvent", "handleExpt"]);
});

Deno.test("Dispatcher.accept() returns null when no client waits", async () => {
  await using map = new ScopedMap();
  const server = makeServer(map, families[0]!);
  assertEquals(server.accept(), null);
  server.close();
  assertEquals(server.accept(), null);
});

Deno.test("Dispatcher.close() is a no-op the second time", async () => {
  await using map = new ScopedMap();
  const server = makeServer(map, families[0]!);
  const { addr } = server;
  server.close();
  server.close();
  assertEquals(map.size, 0);
  await assertRejects(() => rawConnect(addr), Deno.errors.ConnectionRefused);
  new Dispatcher().close(); // Nor does it need a socket.
});

Deno.test("Dispatcher.close() closes the connection once, when all has gone out", async () => {
  await using map = new ScopedMap();
  const channel = new FakeChannel();
  const { promise, resolve } = Promise.withResolvers<number>();
  channel.take = () => promise;
  using close = spy(channel, "close");
  const dispatcher = new StrictDispatcher(map, channel);
  dispatcher.send(bytes("spam"));
  dispatcher.close();
  dispatcher.close();
  assert(dispatcher.closing);
  await passes(map, 3);
  assertSpyCalls(close, 0);
  resolve(4);
  await loopToEnd(map);
  dispatcher.close();
  assertSpyCalls(close, 1);
  assertEquals(channel.sent, "spam");
});

Deno.test("Dispatcher takes over a listener that is there already", async () => {
  await using map = new ScopedMap();
  let accepted = 0;
  const server = make(map, {
    handleAccept() {
      accepted++;
      this.accept()!.conn.close();
    },
  });
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  server.setSocket(listener);
  assert(server.accepting);
  assertEquals(server.addr, listener.addr);
  using _conn = await rawConnect(listener.addr);
  await loopUntil(map, () => accepted === 1);
});

Deno.test("recv() in a class without handleRead() gives no stream with a hole", async () => {
  const clock = new MockClock();
  const map = quietMap({ clock });
  const channel = new FakeChannel();
  const late = new Dispatcher(channel, { map });
  for (let i = 0; i < 200; i++) channel.push(pattern(1_000));
  await passes(map, 400);
  await clock.advance(5_000);
  await passes(map, 400);
  assertThrows(() => late.recv(), Error, "earlier bytes were dropped");
  late.abort();
});
