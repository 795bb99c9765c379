import {
  assert,
  assertEquals,
  assertFalse,
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
import { FakeChannel, loopToEnd, passes, pattern, quietMap } from "./fakes.ts";
import {
  bytes,
  connectedPair,
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

/** Connects to a server of the family, and expects nothing else. */
class Client extends StrictDispatcher {
  constructor(map: TestMap, server: Dispatcher, family: Family) {
    super(map);
    this.createSocket(family.options);
    this.connect(server.addr!);
  }
  override handleConnect(): void {}
}

/** A server whose handlers expect nothing. */
function quietServer(map: TestMap, family: Family): TestServer {
  return new TestServer(map, (conn) => new StrictDispatcher(map, conn), family);
}

/** Answers with what it gets. */
class EchoHandler extends StrictDispatcher {
  override handleRead(): void {
    this.send(this.recv());
  }
  override handleClose(): void {}
}

// What happens on a connection

testFamilies(
  "Dispatcher.handleConnect() runs once, just before connected turns true",
  async (family) => {
    await using map = new ScopedMap();
    const server = quietServer(map, family);
    const seen: boolean[] = [];
    class TestClient extends Client {
      override handleConnect() {
        seen.push(this.connected);
      }
    }
    const client = new TestClient(map, server, family);
    assertEquals(seen, [], "connect() returns before anything happens");
    await loopUntil(map, () => client.connected);
    await passes(map, 3);
    assertEquals(seen, [false]);
  },
);

testFamilies(
  "Dispatcher.handleAccept() runs when a client connects",
  async (family) => {
    await using map = new ScopedMap();
    let accepts = 0;
    class Listener extends StrictDispatcher {
      override handleAccept() {
        accepts++;
        const { conn } = this.accept()!;
        conn.close();
        assertEquals(this.accept(), null, "no second client waits");
      }
    }
    const listener = new Listener(map);
    listener.createSocket(family.options);
    listener.bind(family.address());
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
    class Listener extends Dispatcher {
      override handleAccepted(conn: Channel, addr: Deno.Addr) {
        clients.push({ conn, addr });
      }
    }
    const listener = new Listener(null, { map });
    listener.createSocket(family.options);
    listener.bind(family.address());
    listener.listen();
    using first = await rawConnect(listener.addr);
    using second = await rawConnect(listener.addr);
    await loopUntil(map, () => clients.length === 2);

    for (const { conn } of clients) {
      await conn.write(bytes("spam"));
      conn.close();
    }
    for (const conn of [first, second]) {
      const data = new Uint8Array(16);
      assertEquals(await conn.read(data), 4);
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
    let reads = 0;
    class TestClient extends Client {
      override handleRead() {
        if (++reads === 3) assertEquals(this.recv(), bytes("x".repeat(1024)));
      }
    }
    const server = new TestServer(map, (conn) => {
      new StrictDispatcher(map, conn).send(bytes("x".repeat(1024)));
    }, family);
    new TestClient(map, server, family);
    await loopUntil(map, () => reads >= 3);
    await passes(map, 5);
    assertEquals(reads, 3, "nothing is left to read");
  },
);

testFamilies(
  "Dispatcher.handleWrite() runs once connected, and what it sends arrives",
  async (family) => {
    await using map = new ScopedMap();
    const states: boolean[] = [];
    class TestClient extends Client {
      override writable() {
        return states.length === 0;
      }
      override handleWrite() {
        states.push(this.connected);
        this.send(bytes("spam"));
      }
    }
    let got = "";
    class Handler extends StrictDispatcher {
      override handleRead() {
        got += text(this.recv());
      }
    }
    const server = new TestServer(
      map,
      (conn) => new Handler(map, conn),
      family,
    );
    new TestClient(map, server, family);
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
    class TestClient extends Client {
      override handleRead() {
        events.push("read");
        const data = this.recv(1024);
        events.push(`got ${data.length}`);
      }
      override handleClose() {
        events.push("close"); // Without a call of close().
      }
    }
    const server = new TestServer(map, (conn) => conn.close(), family);
    const client = new TestClient(map, server, family);
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
    let closes = 0;
    // No handleRead(): only the sending can find out.
    class TestClient extends Dispatcher {
      override handleConnect() {}
      override handleWrite() {
        this.send(new Uint8Array(128));
      }
      override handleClose() {
        closes++;
        this.close();
      }
      override handleError(error: unknown) {
        throw error;
      }
    }
    class Handler extends StrictDispatcher {
      override handleRead() {
        this.recv(128);
        this.close();
      }
      override writable() {
        return false;
      }
    }
    const server = new TestServer(
      map,
      (conn) => new Handler(map, conn),
      family,
    );
    const client = new TestClient(null, { map });
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
    class Handler extends StrictDispatcher {
      override handleRead() {
        this.recv();
        this.send(new Uint8Array(1024));
      }
      override handleClose() {
        events.push("close");
      }
    }
    const server = new TestServer(
      map,
      (conn) => new Handler(map, conn),
      family,
    );
    const conn = await rawConnect(server.addr);
    await conn.write(bytes("spam"));
    const answered = conn.read(new Uint8Array(1));
    let done = false;
    answered.then(() => done = true);
    await loopUntil(map, () => done);
    conn.close(); // The rest of the answer is unread: the peer gets a reset.
    await loopUntil(map, () => events.length > 0);
    assertEquals(events, ["close"]);
    assertEquals([...map], [server]);
  },
);

testFamilies(
  "Dispatcher.handleError() gets what a hook threw",
  async (family) => {
    await using map = new ScopedMap();
    const failure = new TypeError("spam");
    const errors: unknown[] = [];
    class TestClient extends Client {
      override writable() {
        return errors.length === 0;
      }
      override handleWrite() {
        throw failure;
      }
      override handleError(error: unknown) {
        errors.push(error);
      }
    }
    const server = quietServer(map, family);
    const client = new TestClient(map, server, family);
    await loopUntil(map, () => errors.length > 0);
    await passes(map, 3);
    assertEquals(errors.length, 1);
    assertStrictEquals(errors[0], failure);
    assert(client.connected, "an override decides what becomes of it");
  },
);

testFamilies(
  "Dispatcher tells a client that nobody listens there",
  async (family) => {
    await using map = new ScopedMap();
    const server = quietServer(map, family);
    const { addr } = server;
    server.close();
    const events: unknown[] = [];
    class TestClient extends StrictDispatcher {
      override handleError(error: unknown) {
        events.push(error);
      }
      override handleClose() {
        events.push("close");
      }
    }
    const client = new TestClient(map);
    client.createSocket(family.options);
    client.connect(addr!);
    await loopUntil(map, () => map.size === 0);
    assertEquals(events.length, 2);
    const { ConnectionRefused, NotFound } = Deno.errors;
    // A Unix listener takes its path with it.
    const reason = family.name === "Unix" ? NotFound : ConnectionRefused;
    assertInstanceOf(events[0], reason);
    assertEquals(events[1], "close");
  },
);

// State

/** The four flags at once. */
function flags(dispatcher: Dispatcher): Record<string, boolean> {
  const { accepting, closing, connected, connecting } = dispatcher;
  return { accepting, closing, connected, connecting };
}

const IDLE = {
  accepting: false,
  closing: false,
  connected: false,
  connecting: false,
};

testFamilies(
  "Dispatcher's state follows a connection through its life",
  async (family) => {
    await using map = new ScopedMap();
    const handlers: Dispatcher[] = [];
    const server = new TestServer(map, (conn) => {
      handlers.push(new EchoHandler(map, conn));
    }, family);
    const client = new Client(map, server, family);
    assertEquals(flags(server), { ...IDLE, accepting: true });
    assertEquals(flags(client), { ...IDLE, connecting: true });
    assertEquals(client.socket, null);

    await loopUntil(map, () => client.connected && handlers.length === 1);
    assertEquals(flags(server), { ...IDLE, accepting: true });
    assertEquals(flags(client), { ...IDLE, connected: true });
    assertEquals(flags(handlers[0]!), { ...IDLE, connected: true });
    assertEquals(client.addr, server.addr);
    assertInstanceOf(client.socket, Object);

    client.send(bytes("spam"));
    client.close();
    assertEquals(flags(client), { ...IDLE, closing: true });
    assertEquals(client.socket, null);
    assertEquals([...map], [server, handlers[0]]);
    await loopUntil(map, () => !client.closing && map.size === 1);
    assertEquals(flags(client), IDLE);
    assertEquals(flags(handlers[0]!), IDLE);
    assertEquals(flags(server), { ...IDLE, accepting: true });

    server.close();
    assertEquals(flags(server), IDLE);
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
    assertEquals(flags(dispatcher), IDLE);
    assertEquals(dispatcher.addr, null);
    await passes(map, 3);

    assertThrows(() => dispatcher.createSocket(), Error, "has one already");
    dispatcher.bind(family.address());
    assertEquals(dispatcher.addr!.transport, family.options.transport);
    assertStrictEquals((dispatcher.socket as Acceptor).addr, dispatcher.addr);
    assertEquals(flags(dispatcher), IDLE);
    dispatcher.listen();
    assertEquals(flags(dispatcher), { ...IDLE, accepting: true });
  },
);

testFamilies(
  "Dispatcher.createSocket() makes another socket after close()",
  async (family) => {
    await using map = new ScopedMap();
    const server = new TestServer(
      map,
      (conn) => new EchoHandler(map, conn),
      family,
    );
    const client = new Client(map, server, family);
    await loopUntil(map, () => client.connected);
    client.close();
    assertFalse([...map].includes(client));
    client.createSocket(family.options);
    assertEquals(flags(client), IDLE);
    client.connect(server.addr!);
    await loopUntil(map, () => client.connected);
    assertEquals([...map].filter((member) => member === client).length, 1);
  },
);

testFamilies(
  "Dispatcher.bind() throws AddrInUse where somebody listens already",
  async (family) => {
    await using map = new ScopedMap();
    const first = new StrictDispatcher(map);
    first.createSocket(family.options);
    first.bind(family.address());
    const second = new StrictDispatcher(map);
    second.createSocket(family.options);
    assertThrows(() => second.bind(first.addr!), Deno.errors.AddrInUse);

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
    const address = family.address();
    const dispatcher = new StrictDispatcher(map);
    dispatcher.createSocket(family.options);
    dispatcher.bind(address);
    const { addr } = dispatcher;
    const whole = { ...address, ...family.options, ...portOf(addr) };
    assertEquals<unknown>(addr, whole);
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
      let ended = false;
      conn.read(new Uint8Array(1)).then(() => ended = true);
      await loopUntil(map, () => ended);
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
    class Handler extends EchoHandler {
      constructor(map: TestMap, conn: Channel) {
        super(map, conn);
        this.send(bytes("spam"));
      }
    }
    const server = new TestServer(
      map,
      (conn) => new Handler(map, conn),
      family,
    );
    const visit = async (reads: boolean) => {
      using conn = await rawConnect(server.addr);
      // Closing with a part of the greeting unread resets the connection.
      if (reads) await conn.read(new Uint8Array(1));
    };
    let done = false;
    const visits = Array.from({ length: 10 }, (_, i) => visit(i % 2 === 0));
    Promise.all(visits).then(() => done = true);
    await loopUntil(map, () => done && map.size === 1);
    assertEquals([...map], [server]);

    let greeting = "";
    class LateClient extends Client {
      override handleRead() {
        greeting += text(this.recv());
      }
    }
    new LateClient(map, server, family);
    await loopUntil(map, () => greeting === "spam");
  },
);

/** The port of an address that has one. */
function portOf(addr: Deno.Addr | null): { port: number } | null {
  if (addr === null || !("port" in addr)) return null;
  assertNotEquals(addr.port, 0);
  return { port: addr.port };
}

// The rules that hold for every dispatcher

Deno.test("Dispatcher.readable() and writable() are true by default", () => {
  const dispatcher = new Dispatcher();
  assertStrictEquals(dispatcher.readable(), true);
  assertStrictEquals(dispatcher.writable(), true);
});

Deno.test("Dispatcher gives its first write event in the pass that connects", async () => {
  await using map = new ScopedMap();
  const server = quietServer(map, families[0]!);
  const log: string[] = [];
  class TestClient extends Client {
    override handleConnect() {
      log.push("connect");
    }
    override handleWrite() {
      log.push("write");
    }
  }
  new TestClient(map, server, families[0]!);
  await loopUntil(map, () => log.length > 0);
  assertEquals(log, ["connect", "write"]);
});

Deno.test("Dispatcher gives no write event to a listener", async () => {
  await using map = new ScopedMap();
  let writes = 0;
  class Listener extends TestServer {
    override writable() {
      return true;
    }
    override handleWrite() {
      writes++;
    }
  }
  const listener = new Listener(map, (conn) => conn.close());
  using conn = await rawConnect(listener.addr);
  let ended = false;
  conn.read(new Uint8Array(1)).then(() => ended = true);
  await loopUntil(map, () => ended);
  await passes(map, 3);
  assertEquals(writes, 0);
});

Deno.test("Dispatcher reads nothing while readable() is false, and loses nothing", async () => {
  await using map = new ScopedMap();
  const [ours, theirs] = await connectedPair();
  using _peer = theirs;
  let wanted = false;
  let got = "";
  class Reader extends StrictDispatcher {
    override readable() {
      return wanted;
    }
    override handleRead() {
      got += text(this.recv());
    }
  }
  new Reader(map, ours);
  await theirs.write(bytes("spam"));
  await passes(map, 5);
  assertEquals(got, "");
  wanted = true;
  map.wake();
  await loopUntil(map, () => got === "spam");
});

Deno.test("Dispatcher holds what arrived until readable() is true again", async () => {
  await using map = new ScopedMap();
  const channel = new FakeChannel();
  let wanted = true;
  let got = "";
  class Reader extends StrictDispatcher {
    override readable() {
      return wanted;
    }
    override handleRead() {
      got += text(this.recv());
    }
  }
  new Reader(map, channel);
  await passes(map, 3);
  assertEquals(channel.reads, 1, "a read is under way");
  wanted = false;
  channel.push("spam", "eggs");
  await passes(map, 3);
  assertEquals(got, "");
  assertEquals(channel.reads, 1, "and no other follows");
  wanted = true;
  await passes(map, 3);
  assertEquals(got, "spameggs");
});

Deno.test("Dispatcher.handleExptEvent() calls handleExpt(), and the loop calls neither", async () => {
  await using map = new ScopedMap();
  let expts = 0;
  let events = 0;
  let got = "";
  class TestClient extends Client {
    override handleRead() {
      got += text(this.recv());
    }
    override handleExpt() {
      expts++;
    }
    override handleExptEvent() {
      events++;
      return super.handleExptEvent();
    }
  }
  const server = new TestServer(map, (conn) => new EchoHandler(map, conn));
  const client = new TestClient(map, server, families[0]!);
  await loopUntil(map, () => client.connected);
  client.send(bytes("spam"));
  await loopUntil(map, () => got === "spam");
  assertEquals([events, expts], [0, 0]);
  client.handleExptEvent();
  assertEquals([events, expts], [1, 1]);
});

Deno.test("Dispatcher.accept() returns null when no client waits", async () => {
  await using map = new ScopedMap();
  const server = quietServer(map, families[0]!);
  assertEquals(server.accept(), null);
  server.close();
  assertEquals(server.accept(), null);
  assertThrows(
    () => new Dispatcher().accept(),
    Error,
    "Cannot accept: Dispatcher is not listening",
  );
});

Deno.test("Dispatcher.handleAccept() closes a connection that handleAccepted() failed on", async () => {
  await using map = new ScopedMap();
  const failure = new Error("no room");
  const server = new TestServer(map, () => {
    throw failure;
  });
  server.handleError = (error) => assertStrictEquals(error, failure);
  const handleError = spy(server, "handleError");
  using conn = await rawConnect(server.addr);
  let answer: number | null | undefined;
  conn.read(new Uint8Array(1)).then((length) => answer = length);
  await loopUntil(map, () => answer !== undefined);
  assertEquals(answer, null);
  assertSpyCalls(handleError, 1);
  assert(server.accepting);
});

Deno.test("Dispatcher.close() is a no-op the second time", async () => {
  await using map = new ScopedMap();
  const server = quietServer(map, families[0]!);
  const { addr } = server;
  server.close();
  server.close();
  assertEquals(map.size, 0);
  await assertRejects(
    () => rawConnect(addr),
    Deno.errors.ConnectionRefused,
  );
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

Deno.test("Dispatcher closes when the peer has left, though close() forgets super.close()", async () => {
  await using map = new ScopedMap();
  let closes = 0;
  class Forgetful extends StrictDispatcher {
    override handleRead() {
      this.recv();
    }
    override handleClose() {}
    override close() {
      closes++;
    }
  }
  const channel = new FakeChannel();
  new Forgetful(map, channel);
  channel.push(null);
  await loopToEnd(map, 1_000);
  assertEquals(closes, 1);
  assert(channel.closed);
});

Deno.test("Dispatcher takes over a listener that is there already", async () => {
  await using map = new ScopedMap();
  let accepted = 0;
  class Server extends StrictDispatcher {
    override handleAccept() {
      accepted++;
      this.accept()!.conn.close();
    }
  }
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const server = new Server(map, listener);
  assert(server.accepting);
  assertEquals(server.addr, listener.addr);
  using _conn = await rawConnect(listener.addr);
  await loopUntil(map, () => accepted === 1);
});

Deno.test("recv() in a class without handleRead() gives no stream with a hole", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const late = new Dispatcher(channel, { map });
  for (let i = 0; i < 200; i++) channel.push(pattern(1_000));
  await passes(map, 400);
  assertThrows(() => late.recv(), Error, "earlier bytes were dropped");
  late.abort();
});
