import net from "node:net";
import {
  assert,
  assertEquals,
  assertFalse,
  assertInstanceOf,
  assertMatch,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { type Channel, Dispatcher, loop, poll } from "../mod.ts";
import {
  codedError,
  Echo,
  FakeAcceptor,
  FakeChannel,
  FakeNetwork,
  LogLines,
  passes,
  quietMap,
  Recorder,
  rest,
  watch,
} from "./fakes.ts";
import { MockClock } from "../testing/mock_clock.ts";
import {
  bytes,
  DENO_CAN,
  loopUntil,
  StrictDispatcher,
  type TestMap,
  TestServer,
  text,
  turns,
} from "./support.ts";

// What a hook or a predicate throws

/** How a hook fails. */
type Failure = "throws" | "rejects";
/** What the dispatcher makes of it. */
type Handling =
  | "the default handleError()"
  | "a handleError() that throws"
  | "a handleError() that rejects"
  | "a handleError() that does nothing";

const SPAM = new Error("spam");
const EGGS = new Error("eggs");

const FAILING = [
  "handleConnect",
  "handleRead",
  "handleWrite",
  "handleAccept",
  "handleAccepted",
  "handleClose",
  "handleReadEvent",
  "handleWriteEvent",
  "handleConnectEvent",
  "readable",
  "writable",
] as const;
type Failing = typeof FAILING[number];

/** Fails in one place, once, in one way. */
function makeVictim(
  map: TestMap,
  where: Failing,
  failure: Failure,
  handling: Handling,
) {
  class Victim extends Recorder {
    override handleError(error: unknown): void | Promise<void> {
      if (handling === "the default handleError()") {
        return super.handleError(error);
      }
      this.note("handleError");
      this.errors.push(error);
      if (handling === "a handleError() that throws") throw EGGS;
      if (handling === "a handleError() that rejects") {
        return Promise.reject(EGGS);
      }
    }
  }
  const victim = new Victim(map);
  let failed = false;
  const original = victim[where] as (...args: unknown[]) => unknown;
  const fail = (...args: unknown[]) => {
    if (failed) return original.apply(victim, args);
    failed = true;
    if (where === "handleClose") victim.trace.push("handleClose");
    if (failure === "rejects") return Promise.reject(SPAM);
    throw SPAM;
  };
  Object.defineProperty(victim, where, { value: fail });
  return victim;
}

/** Makes happen what the place of the failure needs. */
function provoke(victim: Recorder, where: Failing, network: FakeNetwork) {
  const channel = new FakeChannel();
  const { acceptor } = network;
  if (where.startsWith("handleConnect")) {
    victim.createSocket();
    victim.connect({ port: 7 });
    network.succeed(channel);
    return channel;
  }
  if (where.startsWith("handleAccept")) {
    acceptor.push(channel);
    victim.setSocket(acceptor);
    return acceptor;
  }
  if (where === "handleClose") channel.push(null);
  else if (where.startsWith("handleRead")) channel.push("hello");
  victim.setSocket(channel);
  return channel;
}

async function testFailure(
  where: Failing,
  failure: Failure,
  handling: Handling,
): Promise<void> {
  const network = new FakeNetwork();
  const map = quietMap({ network });
  const before = new FakeChannel();
  const after = new FakeChannel();
  new Echo(before, { map });
  const victim = makeVictim(map, where, failure, handling);
  const wrapped = provoke(victim, where, network);
  new Echo(after, { map });
  for (const round of ["one", "two", "three"]) {
    before.push(round);
    after.push(round);
    await passes(map, 3);
    await turns();
  }
  assertEquals(before.sent, "onetwothree");
  assertEquals(after.sent, "onetwothree");

  assertEquals(victim.errors.length, 1);
  assertStrictEquals(victim.errors[0], SPAM);
  const survives = handling === "a handleError() that does nothing";
  const isDefault = handling === "the default handleError()";
  if (!survives) {
    assert(wrapped.closed, "the socket is closed");
    assertEquals(map.size, 2);
    const closes = isDefault || where === "handleClose" ? 1 : 0;
    assertEquals(victim.count("handleClose"), closes);
  }
  assertEquals(map.errors, survives || isDefault ? [] : [EGGS]);
  victim.abort();
}

const HANDLINGS: Handling[] = [
  "the default handleError()",
  "a handleError() that throws",
  "a handleError() that rejects",
  "a handleError() that does nothing",
];

for (const where of FAILING) {
  const failures: Failure[] = where.endsWith("able")
    ? ["throws"]
    : ["throws", "rejects"];
  for (const failure of failures) {
    for (const handling of HANDLINGS) {
      Deno.test(
        `Dispatcher whose ${where}() ${failure}, with ${handling}, disturbs nobody`,
        () => testFailure(where, failure, handling),
      );
    }
  }
}

Deno.test("Dispatcher whose handleError() does nothing goes on after an error", async () => {
  const map = quietMap();
  for (const where of ["handleRead", "handleWrite", "readable"] as const) {
    const channel = new FakeChannel();
    const handling = "a handleError() that does nothing";
    const victim = makeVictim(map, where, "throws", handling);
    victim.setSocket(channel);
    channel.push("spam", "eggs");
    await passes(map, 5);
    assertEquals(victim.errors.length, 1, where);
    assertEquals(victim.received, "spameggs");
    victim.close();
  }
});

Deno.test("Dispatcher whose handleError() does nothing is closed when handleClose() throws", async () => {
  for (const failure of ["throws", "rejects"] as const) {
    const map = quietMap();
    const handling = "a handleError() that does nothing";
    const victim = makeVictim(map, "handleClose", failure, handling);
    const channel = new FakeChannel();
    channel.push("last words", null);
    victim.setSocket(channel);
    await passes(map, 5);
    await turns();
    await passes(map, 5);
    assertEquals(map.size, 0, failure);
    assert(channel.closed);
    assertEquals(victim.count("handleClose"), 1);
  }
});

Deno.test("Dispatcher whose close() throws is closed hard", async () => {
  const map = quietMap();
  class Stubborn extends Recorder {
    override close(): void {
      this.note("close");
      throw EGGS;
    }
  }
  const channel = new FakeChannel();
  const victim = new Stubborn(map, channel);
  const neighbour = new FakeChannel();
  new Echo(neighbour, { map });
  channel.push(null);
  await passes(map, 3);
  assert(channel.closed);
  assertEquals(map.size, 1);
  assertEquals(victim.count("handleClose"), 1);
  neighbour.push("hello");
  await passes(map, 3);
  assertEquals(neighbour.sent, "hello");
});

Deno.test("Dispatcher that overrides handleClose() without closing is closed nevertheless", async () => {
  const map = quietMap();
  class Forgetful extends Recorder {
    override handleClose(): void {
      this.note("handleClose");
    }
  }
  const channel = new FakeChannel();
  const handler = new Forgetful(map, channel);
  channel.push("spam", null);
  await passes(map, 4);
  assertEquals(handler.trace, ["handleRead", "handleRead", "handleClose"]);
  assert(channel.closed);
  assertEquals(map.size, 0);
});

Deno.test("Dispatcher whose close() does not close is closed at the end of the stream", async () => {
  const map = quietMap();
  class Lazy extends Recorder {
    override close(): void {
      this.note("close");
    }
  }
  const channel = new FakeChannel();
  const handler = new Lazy(map, channel);
  channel.push(null);
  await passes(map, 4);
  assertEquals(handler.count("handleClose"), 1);
  assert(channel.closed);
  assertEquals(map.size, 0);
});

Deno.test("Dispatcher hands whatever is thrown to handleError()", async () => {
  const hostile = {
    toString() {
      throw new Error("no text");
    },
  };
  for (const value of [null, undefined, 0, "spam", hostile, Symbol("x")]) {
    const map = quietMap();
    const channel = new FakeChannel();
    class Thrower extends Recorder {
      override handleRead(): void {
        throw value;
      }
    }
    const handler = new Thrower(map, channel);
    channel.push("a");
    await passes(map, 3);
    assertEquals(handler.errors.length, 1);
    assertStrictEquals(handler.errors[0], value);
    assertEquals(map.errors, []);
    assertEquals(map.size, 0);
  }
});

Deno.test("Dispatcher with a toString() that throws is closed like any other", async () => {
  const map = quietMap();
  class Mute extends Recorder {
    override handleRead(): void {
      throw SPAM;
    }
    override toString(): string {
      throw EGGS;
    }
  }
  const channel = new FakeChannel();
  const handler = new Mute(map, channel);
  channel.push("a");
  await passes(map, 3);
  assertEquals(map.size, 0);
  assertEquals(map.errors, []);
  assertEquals(handler.count("handleClose"), 1);
});

Deno.test("Dispatcher with a logger that throws is closed hard", async () => {
  const map = quietMap();
  class Thrower extends Recorder {
    override handleRead(): void {
      throw SPAM;
    }
  }
  const channel = new FakeChannel();
  const handler = new Thrower(map, channel);
  const logger = new LogLines();
  logger.error = () => {
    throw EGGS;
  };
  handler.logger = logger;
  channel.push("a");
  await passes(map, 3);
  assertEquals(map.errors, [EGGS]);
  assert(channel.closed);
});

Deno.test("Client's exception on a real server closes that client alone", async () => {
  const map = quietMap();
  class Picky extends Echo {
    override handleRead(): void {
      const data = this.recv();
      if (text(data) === "boom") throw SPAM;
      this.send(data);
    }
  }
  const server = new TestServer(map, (conn) => new Picky(conn, { map }));
  const { port } = server.addr as Deno.NetAddr;
  const clients = await Promise.all(
    [0, 1, 2].map(() => Deno.connect({ port })),
  );
  const answers: (string | null)[] = [];
  const buffer = new Uint8Array(16);
  const talk = (async () => {
    for (const [i, message] of ["spam", "boom", "eggs", "more"].entries()) {
      const client = clients[i % 3]!;
      await client.write(bytes(message));
      const length = await client.read(buffer);
      answers.push(length === null ? null : text(buffer.subarray(0, length)));
    }
  })();
  let done = false;
  talk.then(() => done = true);
  await loopUntil(map, () => done);
  assertEquals(answers, ["spam", null, "eggs", "more"]);
  clients.forEach((client) => client.close());
  server.close();
  await loopUntil(map, () => map.size === 0);
});

// A connection that fails

Deno.test("Dispatcher.connect() that is refused: handleError() once, then handleClose() once", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  const map = quietMap();
  const client = new Recorder(map);
  client.createSocket();
  client.connect({ hostname: "127.0.0.1", port });
  await loopUntil(map, () => map.size === 0);
  assertEquals(client.trace, ["handleError", "handleClose"]);
  assertInstanceOf(client.errors[0], Deno.errors.ConnectionRefused);
  await passes(map, 2);
  assertEquals(client.trace.length, 2);
});

Deno.test("Dispatcher.connect() that is refused closes although handleError() does not", async () => {
  const network = new FakeNetwork();
  const map = quietMap({ network });
  class Calm extends Recorder {
    override handleError(error: unknown): void {
      this.note("handleError");
      this.errors.push(error);
    }
  }
  const client = new Calm(map);
  client.createSocket();
  client.connect({ port: 7 });
  network.fail(new Deno.errors.ConnectionRefused("spam"));
  await passes(map, 3);
  assertEquals(client.trace, ["handleError", "handleClose"]);
  assertEquals(map.size, 0);
});

Deno.test("Dispatcher.connect() that is refused waits for an async handleError()", async () => {
  const network = new FakeNetwork();
  const map = quietMap({ network });
  const gate = Promise.withResolvers<void>();
  class Patient extends Recorder {
    override handleError(error: unknown): Promise<void> {
      this.note("handleError");
      this.errors.push(error);
      return gate.promise;
    }
  }
  const client = new Patient(map);
  client.createSocket();
  client.connect({ port: 7 });
  network.fail(new Deno.errors.ConnectionRefused("spam"));
  await passes(map, 3);
  assertEquals(client.trace, ["handleError"]);
  gate.resolve();
  await turns();
  await poll(0, map);
  assertEquals(client.trace, ["handleError", "handleClose"]);
  assertEquals(map.size, 0);
});

const CONNECT_FAILURES: unknown[] = [
  new Deno.errors.NetworkUnreachable("unreachable"),
  new Deno.errors.TimedOut("timed out"),
  new Deno.errors.ConnectionReset("reset"),
  new Deno.errors.NotCapable("not allowed"),
  new Error("failed to lookup address information: Name or service not known"),
  "no error at all",
];

for (const failure of CONNECT_FAILURES) {
  Deno.test(`Dispatcher.connect() reports its failure: ${failure}`, async () => {
    const network = new FakeNetwork();
    const map = quietMap({ network });
    const client = new Recorder(map);
    client.createSocket();
    client.connect({ hostname: "name.invalid", port: 7 });
    network.fail(failure);
    await passes(map, 3);
    assertEquals(client.trace, ["handleError", "handleClose"]);
    assertStrictEquals(client.errors[0], failure);
    assertEquals(map.size, 0);
  });
}

Deno.test("Dispatcher.connect() over a network that throws throws, or tells handleError()", async () => {
  const map = quietMap({
    network: {
      connect() {
        throw SPAM;
      },
      listen() {
        throw SPAM;
      },
    },
  });
  const client = new Recorder(map);
  client.createSocket();
  let thrown: unknown = null;
  try {
    client.connect({ port: 7 });
  } catch (error) {
    thrown = error;
  }
  await passes(map, 2);
  if (thrown === null) assertEquals(client.errors, [SPAM]);
  else assertFalse(client.connecting, "nothing is under way");
  client.abort();
});

Deno.test("Dispatcher.close() while connecting aborts the attempt, and no hook runs", async () => {
  const network = new FakeNetwork();
  network.isStubborn = true;
  const map = quietMap({ network });
  const client = new StrictDispatcher(map);
  client.createSocket();
  client.connect({ port: 7 });
  await passes(map, 1);
  client.close();
  assertEquals(network.signals.map((signal) => signal.aborted), [true]);
  const late = new FakeChannel();
  network.succeed(late);
  await turns();
  await poll(0, map);
  assert(late.closed, "a connection that comes too late is closed");
  assertFalse(client.connected);
  map.check();
});

Deno.test("Dispatcher.close() before a finished connect was dispatched closes it", async () => {
  const network = new FakeNetwork();
  const map = quietMap({ network });
  const client = new StrictDispatcher(map);
  client.createSocket();
  client.connect({ port: 7 });
  const channel = new FakeChannel();
  network.succeed(channel);
  await turns();
  client.close();
  await poll(0, map);
  assert(channel.closed);
  map.check();
});

// Accepting

/** A listener on a clock of its own, with a client that was there before. */
function listenOnFake() {
  const clock = new MockClock();
  const logger = new LogLines();
  const map = quietMap({ clock, logger });
  const acceptor = new FakeAcceptor();
  const neighbour = new FakeChannel();
  new Echo(neighbour, { map });
  const server = new Recorder(map, acceptor);
  return { clock, logger, map, acceptor, neighbour, server };
}

for (const code of ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"]) {
  Deno.test(`Dispatcher pauses accepting, longer each time, while it fails with ${code}`, async () => {
    const { clock, logger, map, acceptor, neighbour, server } = listenOnFake();
    acceptor.otherwise = () => Promise.reject(codedError(code));
    watch(loop({ map }));
    await turns();
    for (const delay of [50, 100, 200, 400, 800, 1_000, 1_000]) {
      const before = acceptor.accepts;
      await clock.advance(delay - 1);
      assertEquals(acceptor.accepts, before, `${delay} ms`);
      await clock.advance(1);
      assertEquals(acceptor.accepts, before + 1, `${delay} ms`);
      neighbour.push("x");
      await turns();
    }
    assertEquals(neighbour.sent, "xxxxxxx");
    assertEquals(logger.lines.length, 1);
    assertMatch(logger.lines[0]!, /^warn: <Recorder .*accepting paused.*/);
    assertStringIncludes(logger.lines[0]!, code);
    assertEquals(server.errors, []);

    acceptor.otherwise = null;
    const client = new FakeChannel();
    acceptor.push(client);
    await clock.advance(1_000);
    assertEquals(server.count("handleAccepted"), 1);
    assertEquals(logger.lines.length, 2);
    assertMatch(logger.lines[1]!, /^warn: <Recorder .*accepting resumed$/);
  });
}

Deno.test("Dispatcher begins with a short pause each time descriptors run out, and warns of it when it has been quiet", async () => {
  const { clock, logger, map, acceptor, server } = listenOnFake();
  watch(loop({ map }));
  const runOut = async () => {
    const before = server.count("handleAccepted");
    acceptor.push(codedError("EMFILE"), codedError("EMFILE"));
    acceptor.push(new FakeChannel());
    await clock.advance(50);
    await clock.advance(100);
    assertEquals(server.count("handleAccepted"), before + 1);
  };
  await runOut();
  assertEquals(logger.lines.length, 2);
  for (let time = 0; time < 20; time++) await runOut(); // 3 s in all
  assertEquals(logger.lines.length, 2);
  await clock.advance(10_000);
  await runOut();
  assertEquals(logger.lines.length, 4);
});

Deno.test("Dispatcher warns later of descriptors that ran out again at once, if they are still out", async () => {
  const { clock, logger, map, acceptor } = listenOnFake();
  watch(loop({ map }));
  acceptor.push(codedError("EMFILE"), new FakeChannel());
  acceptor.otherwise = () => Promise.reject(codedError("EMFILE"));
  await clock.advance(9_000);
  assertEquals(logger.lines.length, 2);
  await clock.advance(2_000);
  assertEquals(logger.lines.length, 3);
  assertStringIncludes(logger.lines[2]!, "accepting paused");
});

Deno.test("Dispatcher.close() while accepting pauses ends the pause", async () => {
  const { clock, map, acceptor, server } = listenOnFake();
  acceptor.push(codedError("EMFILE"));
  watch(loop({ map }));
  await clock.advance(10);
  server.close();
  const { accepts } = acceptor;
  await clock.advance(5_000);
  assertEquals(acceptor.accepts, accepts);
  assert(acceptor.closed);
});

Deno.test("Dispatcher that pauses accepting survives a log that throws", async () => {
  const { clock, logger, map, acceptor, server } = listenOnFake();
  logger.warn = () => {
    throw EGGS;
  };
  acceptor.push(codedError("EMFILE"), new FakeChannel());
  watch(loop({ map }));
  await clock.advance(50);
  assertEquals(server.count("handleAccepted"), 1);
  assertEquals(map.errors, [EGGS, EGGS]);
});

const GONE: Error[] = [
  new Deno.errors.NotConnected("spam"),
  new Deno.errors.ConnectionReset("spam"),
  new Deno.errors.ConnectionAborted("spam"),
  codedError("EINVAL"),
];

for (const error of GONE) {
  Deno.test(`Dispatcher counts a client that is gone before its turn: ${error}`, async () => {
    const { map, logger, acceptor, server } = listenOnFake();
    acceptor.push(error, error, error, new FakeChannel());
    await rest(map);
    assertEquals(server.clientsGone, 3);
    assertEquals(server.count("handleAccepted"), 1);
    assertEquals(server.errors, []);
    assertEquals(logger.lines, []);
    assertFalse(acceptor.closed);
  });
}

Deno.test("Dispatcher whose clients are always gone does not starve its neighbours", async () => {
  const { map, acceptor, neighbour, server } = listenOnFake();
  acceptor.otherwise = () =>
    Promise.reject(new Deno.errors.NotConnected("spam"));
  for (let i = 0; i < 10; i++) {
    neighbour.push("x");
    await passes(map, 3);
  }
  assertEquals(neighbour.sent, "x".repeat(10));
  assert(server.clientsGone > 5);
  server.close();
});

/** Connects to `port` and resets, `count` times. */
async function resetClients(port: number, count: number): Promise<void> {
  const resetOne = () =>
    new Promise<void>((resolve, reject) => {
      const socket = net.connect(port, "127.0.0.1");
      socket.on("connect", () => socket.resetAndDestroy());
      socket.on("close", () => resolve());
      socket.on("error", reject);
    });
  await Promise.all(Array.from({ length: count }, resetOne));
}

const resets = { ignore: !DENO_CAN.reset };

Deno.test(
  "Dispatcher goes on serving after 100 clients that reset before they were accepted",
  resets,
  async () => {
    const map = quietMap();
    const server = new Dispatcher(null, { map });
    server.createSocket();
    server.bind({ hostname: "127.0.0.1", port: 0 });
    const { port } = server.addr as Deno.NetAddr;
    await resetClients(port, 100);
    server.handleAccepted = (conn) => void new Echo(conn, { map });
    server.handleError = (error) => {
      throw error;
    };
    server.listen();
    using client = await Deno.connect({ hostname: "127.0.0.1", port });
    await client.write(bytes("still there?"));
    const buffer = new Uint8Array(64);
    let answer: string | null = null;
    const reading = client.read(buffer).then((length) => {
      answer = text(buffer.subarray(0, length ?? 0));
    });
    await loopUntil(map, () => answer !== null);
    await reading;
    assertEquals(answer, "still there?");
    // Linux tells of each; others may not.
    if (Deno.build.os === "linux") assertEquals(server.clientsGone, 100);
    for (const member of [...map]) member.abort();
  },
);

Deno.test("Dispatcher that cannot accept for another reason gets handleError() and is closed", async () => {
  const { map, acceptor, neighbour, server } = listenOnFake();
  const error = new Deno.errors.PermissionDenied("spam");
  acceptor.push(error);
  await passes(map, 3);
  assertEquals(server.trace, ["handleError", "handleClose"]);
  assertStrictEquals(server.errors[0], error);
  assert(acceptor.closed);
  neighbour.push("x");
  await passes(map, 2);
  assertEquals(neighbour.sent, "x");
});

Deno.test("Dispatcher that cannot accept is closed although handleError() does nothing", async () => {
  const map = quietMap();
  const acceptor = new FakeAcceptor();
  class Calm extends Recorder {
    override handleError(error: unknown): void {
      this.note("handleError");
      this.errors.push(error);
    }
  }
  const server = new Calm(map, acceptor);
  acceptor.push(SPAM);
  await passes(map, 5);
  assertEquals(server.trace, ["handleError", "handleClose"]);
  assert(acceptor.closed);
  assertEquals(map.size, 0);
});

Deno.test("Dispatcher whose acceptor throws instead of rejecting is told the same", async () => {
  const map = quietMap();
  const acceptor = new FakeAcceptor();
  acceptor.otherwise = () => {
    throw SPAM;
  };
  const server = new Recorder(map, acceptor);
  await passes(map, 3);
  assertEquals(server.trace, ["handleError", "handleClose"]);
});

Deno.test("handleAccepted() that throws closes the connection it was given", async () => {
  const map = quietMap();
  const acceptor = new FakeAcceptor();
  const client = new FakeChannel();
  class Thrower extends Recorder {
    override handleAccepted(): void {
      throw SPAM;
    }
    override handleError(error: unknown): void {
      this.errors.push(error);
    }
  }
  const server = new Thrower(map, acceptor);
  acceptor.push(client, new FakeChannel());
  await passes(map, 5);
  assert(client.closed);
  assertEquals(server.errors, [SPAM, SPAM]);
  assert(server.accepting);
});

Deno.test("Dispatcher.close() of a listener closes a connection that waits in it", async () => {
  const map = quietMap();
  const acceptor = new FakeAcceptor();
  class Deaf extends Recorder {
    wants = true;
    override readable(): boolean {
      return this.wants;
    }
  }
  const server = new Deaf(map, acceptor);
  await passes(map, 1);
  server.wants = false;
  const client = new FakeChannel();
  acceptor.push(client);
  await passes(map, 3);
  assertFalse(client.closed);
  server.close();
  assert(client.closed);
  assertEquals(server.count("handleAccepted"), 0);
});

Deno.test("Dispatcher.close() of a listener closes a connection that comes too late", async () => {
  const map = quietMap();
  const gate = Promise.withResolvers<Channel>();
  const acceptor = new FakeAcceptor();
  acceptor.otherwise = () => gate.promise;
  const server = new StrictDispatcher(map, acceptor);
  await passes(map, 1);
  server.close();
  const late = new FakeChannel();
  gate.resolve(late);
  await turns();
  assert(late.closed);
});

// Reading and writing that fails

const DISCONNECTS: Error[] = [
  new Deno.errors.BrokenPipe("spam"),
  new Deno.errors.ConnectionReset("spam"),
  new Deno.errors.ConnectionAborted("spam"),
  new Deno.errors.NotConnected("spam"),
  new Deno.errors.UnexpectedEof("spam"),
  codedError("ESHUTDOWN"),
];

for (const error of DISCONNECTS) {
  Deno.test(`Dispatcher whose write fails with a disconnect is closed: ${error}`, async () => {
    const clock = new MockClock();
    const map = quietMap({ clock });
    const channel = new FakeChannel();
    channel.take = () => Promise.reject(error);
    const handler = new Recorder(map, channel);
    watch(loop({ map }));
    handler.send(bytes("spam"));
    await clock.advance(1_000);
    assertEquals(handler.trace, ["handleClose"]);
    assert(channel.closed);
    assertEquals(map.size, 0);
  });

  Deno.test(`Dispatcher whose read fails with a disconnect is closed: ${error}`, async () => {
    const map = quietMap();
    const channel = new FakeChannel();
    const handler = new Recorder(map, channel);
    channel.push("last", error);
    await passes(map, 4);
    assertEquals(handler.trace, ["handleRead", "handleRead", "handleClose"]);
    assertEquals(handler.received, "last");
    assertEquals(map.size, 0);
  });
}

for (const how of ["rejects", "throws"] as const) {
  Deno.test(`Dispatcher whose write ${how} for another reason gets handleError() once`, async () => {
    const map = quietMap();
    const channel = new FakeChannel();
    channel.take = () => Promise.reject(SPAM);
    if (how === "throws") {
      channel.write = () => {
        throw SPAM;
      };
    }
    const handler = new Recorder(map, channel);
    handler.send(bytes("spam"));
    await passes(map, 4);
    assertEquals(handler.trace, ["handleError", "handleClose"]);
    assertStrictEquals(handler.errors[0], SPAM);
    assertEquals(map.size, 0);
  });

  Deno.test(`Dispatcher whose read ${how} for another reason learns it in recv()`, async () => {
    for (const call of ["recv", "recvInto"] as const) {
      const map = quietMap();
      const channel = new FakeChannel();
      if (how === "rejects") channel.push(SPAM);
      else {
        channel.read = () => {
          throw SPAM;
        };
      }
      const caught: unknown[] = [];
      class Catcher extends Recorder {
        override handleRead(): void {
          this.note("handleRead");
          try {
            if (call === "recv") this.recv();
            else this.recvInto(new Uint8Array(8));
          } catch (error) {
            caught.push(error);
            throw error;
          }
        }
      }
      const handler = new Catcher(map, channel);
      await passes(map, 3);
      assertEquals(caught, [SPAM]);
      assertEquals(handler.trace, ["handleRead", "handleError", "handleClose"]);
      assertStrictEquals(handler.errors[0], SPAM);
    }
  });
}

Deno.test("Dispatcher whose write failed accepts no more and tells handleError() once", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  channel.take = () => Promise.reject(SPAM);
  class Calm extends Recorder {
    override handleError(error: unknown): void {
      this.note("handleError");
      this.errors.push(error);
    }
  }
  const handler = new Calm(map, channel);
  handler.send(bytes("spam"));
  await passes(map, 4);
  assertEquals(handler.send(bytes("eggs")), 0);
  await passes(map, 4);
  assertEquals(handler.trace, ["handleError"]);
  assertEquals(channel.writeCalls, 1);
  channel.push("still here");
  await passes(map, 3);
  assertEquals(handler.received, "still here");
  assertEquals(handler.count("handleError"), 1);
  handler.abort();
});

Deno.test(
  "Dispatcher on a real connection that its peer resets is closed once",
  resets,
  async () => {
    const map = quietMap();
    let handler: Recorder | null = null;
    const server = new TestServer(map, (conn) => {
      handler = new Recorder(map, conn);
    });
    const { port } = server.addr as Deno.NetAddr;
    const socket = net.connect(port, "127.0.0.1");
    const closed = new Promise((resolve) => socket.on("close", resolve));
    await loopUntil(map, () => handler !== null);
    socket.resetAndDestroy();
    await closed;
    await loopUntil(map, () => map.size === 1);
    assertEquals(handler!.count("handleClose"), 1);
    assertEquals(handler!.errors, []);
    server.close();
  },
);

Deno.test("Dispatcher.connect() takes a failure whose message cannot be changed", async () => {
  const network = new FakeNetwork();
  const map = quietMap({ network });
  const client = new Recorder(map);
  client.createSocket();
  client.connect({ port: 7 });
  const failure = new DOMException("given up", "AbortError");
  network.fail(failure);
  await passes(map, 3);
  assertEquals(client.trace, ["handleError", "handleClose"]);
  assertStrictEquals(client.errors[0], failure);
  assertEquals(map.errors, []);
});

Deno.test("Dispatcher.connect() and bind() name the address that failed", async () => {
  const map = quietMap();
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const server = new Recorder(map);
  server.createSocket();
  assertThrows(
    () => server.bind({ hostname: "127.0.0.1", port }),
    Deno.errors.AddrInUse,
    `Cannot listen on 127.0.0.1:${port}: `,
  );
  server.close();
  listener.close();
  const client = new Recorder(map);
  client.createSocket();
  client.connect({ hostname: "127.0.0.1", port });
  await loop({ map });
  assertInstanceOf(client.errors[0], Deno.errors.ConnectionRefused);
  assertMatch(
    (client.errors[0] as Error).message,
    new RegExp(`^Cannot connect to 127.0.0.1:${port}: `),
  );
});

Deno.test("Dispatcher whose read finds no memory fails alone", async () => {
  const network = new FakeNetwork();
  const map = quietMap({ network, logger: new LogLines() });
  const neighbour = new Recorder(map, new FakeChannel());
  await passes(map, 3); // It reads already.
  const handler = new Recorder(map);
  handler.createSocket();
  handler.connect({ port: 1 });
  await passes(map, 1);
  const { Uint8Array: Real } = globalThis;
  // The buffer that it reads into is the first of this size.
  globalThis.Uint8Array = new Proxy(Real, {
    construct(target, args) {
      if (args[0] !== 1_024) return Reflect.construct(target, args);
      globalThis.Uint8Array = Real;
      throw new RangeError("Array buffer allocation failed");
    },
  });
  try {
    network.succeed(new FakeChannel());
    await loopUntil(map, () => handler.count("handleClose") > 0);
  } finally {
    globalThis.Uint8Array = Real;
  }
  assertEquals(handler.count("handleClose"), 1);
  assertInstanceOf(handler.errors[0], RangeError);
  assert(neighbour.connected);
  neighbour.abort();
});
