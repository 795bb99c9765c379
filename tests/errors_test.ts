import net from "node:net";
import {
  assert,
  assertEquals,
  assertFalse,
  assertInstanceOf,
  assertMatch,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import { type Channel, loop, poll } from "../mod.ts";
import {
  codedError,
  Echo,
  FakeChannel,
  type FakeNetwork,
  passes,
  quietMap,
  Recorder,
  rest,
  watch,
} from "./fakes.ts";
import {
  type Any,
  connected,
  connecting,
  listening,
  neighbourIn,
  recorder,
  setUp,
} from "./setups.ts";
import {
  bytes,
  DENO_CAN,
  families,
  isMissing,
  loopUntil,
  rawConnect,
  type TestMap,
  text,
  turns,
} from "./support.ts";

const SPAM = new Error("spam");
const EGGS = new Error("eggs");

function throwSpam(): never {
  throw SPAM;
}
function throwEggs(): never {
  throw EGGS;
}

// What a hook or a predicate throws

/** How a hook fails. */
const FAILURES = { throws: throwSpam, rejects: () => Promise.reject(SPAM) };
type Failure = keyof typeof FAILURES;

/** What the dispatcher makes of it. */
const HANDLINGS = {
  "the default handleError()": undefined,
  "a handleError() that throws": throwEggs,
  "a handleError() that rejects": () => Promise.reject(EGGS),
  "a handleError() that does nothing": () => {},
};
type Handling = keyof typeof HANDLINGS;

const FAILING = [
  ...["handleConnect", "handleRead", "handleWrite", "handleAccept"],
  ...["handleAccepted", "handleClose", "handleReadEvent", "handleWriteEvent"],
  ...["handleConnectEvent", "readable", "writable"],
];

/** Fails in one place, once, in one way. */
function makeVictim(
  map: TestMap,
  where: string,
  failure: Failure,
  handling: Handling,
): Recorder {
  let failed = false;
  const fail = function (this: Any, ...args: Any[]) {
    if (failed) return (Recorder.prototype as Any)[where].apply(this, args);
    failed = true;
    return FAILURES[failure]();
  };
  const handleError = HANDLINGS[handling];
  return recorder(map, null, {
    [where]: fail,
    ...handleError && { handleError },
  });
}

/** Makes happen what the place of the failure needs. */
function provoke(victim: Recorder, where: string, network: FakeNetwork) {
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
  where: string,
  failure: Failure,
  handling: Handling,
): Promise<void> {
  const { map, network } = setUp();
  const before = neighbourIn(map);
  const victim = makeVictim(map, where, failure, handling);
  const wrapped = provoke(victim, where, network);
  const after = neighbourIn(map);
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
  const isCalm = handling === "a handleError() that does nothing";
  const isDefault = handling === "the default handleError()";
  if (isCalm && where !== "handleClose") {
    assertFalse(wrapped.closed);
    if (where.startsWith("handleRead")) assertEquals(victim.received, "hello");
  } else {
    assert(wrapped.closed, "the socket is closed");
    assertEquals(map.size, 2);
    const closes = isDefault || where === "handleClose" ? 1 : 0;
    assertEquals(victim.count("handleClose"), closes);
  }
  assertEquals(map.errors, isCalm || isDefault ? [] : [EGGS]);
  victim.abort();
}

for (const where of FAILING) {
  for (const failure of Object.keys(FAILURES) as Failure[]) {
    if (failure === "rejects" && where.endsWith("able")) continue;
    for (const handling of Object.keys(HANDLINGS) as Handling[]) {
      Deno.test(
        `Dispatcher whose ${where}() ${failure}, with ${handling}, disturbs nobody`,
        () => testFailure(where, failure, handling),
      );
    }
  }
}

for (
  const [what, close] of [["throws", throwEggs], [
    "does not close",
    () => {},
  ]] as const
) {
  Deno.test(`Dispatcher whose close() ${what} is closed at the end of the stream`, async () => {
    const { map, channel, handler } = connected({ close });
    const neighbour = neighbourIn(map);
    channel.push(null);
    await passes(map, 4);
    assert(channel.closed);
    assertEquals(map.size, 1);
    assertEquals(handler.count("handleClose"), 1);
    neighbour.push("hello");
    await passes(map, 3);
    assertEquals(neighbour.sent, "hello");
  });
}

Deno.test("Dispatcher hands whatever is thrown to handleError()", async () => {
  const hostile = { toString: throwEggs };
  for (const value of [null, undefined, 0, "spam", hostile, Symbol("x")]) {
    const { map, channel, handler } = connected({
      handleRead() {
        throw value;
      },
    });
    channel.push("a");
    await passes(map, 3);
    assertEquals(handler.errors.length, 1);
    assertStrictEquals(handler.errors[0], value);
    assertEquals(map.errors, []);
    assertEquals(map.size, 0);
  }
});

Deno.test("Dispatcher with a toString() that throws is closed like any other", async () => {
  const { map, channel, handler } = connected({
    handleRead: throwSpam,
    toString: throwEggs,
  });
  channel.push("a");
  await passes(map, 3);
  assertEquals(map.size, 0);
  assertEquals(map.errors, []);
  assertEquals(handler.count("handleClose"), 1);
});

// A connection that fails

Deno.test("Dispatcher.connect() that is refused closes although handleError() does not", async () => {
  const { map, network, client } = connecting({ handleError() {} });
  network.fail(new Deno.errors.ConnectionRefused("spam"));
  await passes(map, 3);
  assertEquals(client.trace, ["handleError", "handleClose"]);
  assertEquals(map.size, 0);
});

Deno.test("Dispatcher.connect() that is refused waits for an async handleError()", async () => {
  const gate = Promise.withResolvers<void>();
  const { map, network, client } = connecting({
    handleError: () => gate.promise,
  });
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
  new DOMException("its message cannot be changed", "AbortError"),
  "no error at all",
];

for (const failure of CONNECT_FAILURES) {
  Deno.test(`Dispatcher.connect() reports its failure: ${failure}`, async () => {
    const { map, network, client } = connecting();
    network.fail(failure);
    await passes(map, 3);
    assertEquals(client.trace, ["handleError", "handleClose"]);
    assertStrictEquals(client.errors[0], failure);
    assertEquals([map.size, map.errors], [0, []]);
  });
}

Deno.test("Dispatcher.close() while connecting aborts the attempt, and no hook runs", async () => {
  const { map, network, client } = connecting();
  network.isStubborn = true;
  await passes(map, 1);
  client.close();
  assertEquals(network.signals.map((signal) => signal.aborted), [true]);
  const late = new FakeChannel();
  network.succeed(late);
  await turns();
  await poll(0, map);
  assert(late.closed, "a connection that comes too late is closed");
  assertFalse(client.connected);
  assertEquals(client.trace, []);
});

Deno.test("Dispatcher.close() before a finished connect was dispatched closes it", async () => {
  const { map, network, client } = connecting();
  const channel = new FakeChannel();
  network.succeed(channel);
  await turns();
  client.close();
  await poll(0, map);
  assert(channel.closed);
  assertEquals(client.trace, []);
});

// Accepting

/** A listener in a loop, beside a connection that keeps it going. */
function listenInLoop() {
  const scene = listening();
  neighbourIn(scene.map);
  watch(loop({ map: scene.map }));
  return scene;
}

for (const code of ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"]) {
  Deno.test(`Dispatcher pauses accepting, longer each time, while it fails with ${code}`, async () => {
    const { clock, log, map, acceptor, server } = listening();
    const neighbour = neighbourIn(map);
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
    assertEquals(log.lines.length, 1);
    assertMatch(log.lines[0]!, /^warn: <Recorder .*accepting paused.*/);
    assertStringIncludes(log.lines[0]!, code);
    assertEquals(server.errors, []);

    acceptor.otherwise = null;
    acceptor.push(new FakeChannel());
    await clock.advance(1_000);
    assertEquals(server.count("handleAccepted"), 1);
    assertEquals(log.lines.length, 2);
    assertMatch(log.lines[1]!, /^warn: <Recorder .*accepting resumed$/);
  });
}

Deno.test("Dispatcher begins with a short pause each time descriptors run out, and warns of it when it has been quiet", async () => {
  const { clock, log, acceptor, server } = listenInLoop();
  const runOut = async () => {
    const before = server.count("handleAccepted");
    acceptor.push(codedError("EMFILE"), codedError("EMFILE"));
    acceptor.push(new FakeChannel());
    await clock.advance(50);
    await clock.advance(100);
    assertEquals(server.count("handleAccepted"), before + 1);
  };
  await runOut();
  assertEquals(log.lines.length, 2);
  for (let time = 0; time < 20; time++) await runOut(); // 3 s in all
  assertEquals(log.lines.length, 2);
  await clock.advance(10_000);
  await runOut();
  assertEquals(log.lines.length, 4);
});

Deno.test("Dispatcher warns later of descriptors that ran out again at once, if they are still out", async () => {
  const { clock, log, acceptor } = listenInLoop();
  acceptor.push(codedError("EMFILE"), new FakeChannel());
  acceptor.otherwise = () => Promise.reject(codedError("EMFILE"));
  await clock.advance(9_000);
  assertEquals(log.lines.length, 2);
  await clock.advance(2_000);
  assertEquals(log.lines.length, 3);
  assertStringIncludes(log.lines[2]!, "accepting paused");
});

Deno.test("Dispatcher.close() while accepting pauses ends the pause", async () => {
  const { clock, acceptor, server } = listenInLoop();
  acceptor.push(codedError("EMFILE"));
  await clock.advance(10);
  server.close();
  const { accepts } = acceptor;
  await clock.advance(5_000);
  assertEquals(acceptor.accepts, accepts);
  assert(acceptor.closed);
});

Deno.test("Dispatcher that pauses accepting survives a log that throws", async () => {
  const { clock, log, map, acceptor, server } = listenInLoop();
  log.warn = throwEggs;
  acceptor.push(codedError("EMFILE"), new FakeChannel());
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
    const { map, log, acceptor, server } = listening();
    acceptor.push(error, error, error, new FakeChannel());
    await rest(map);
    assertEquals(server.clientsGone, 3);
    assertEquals(server.count("handleAccepted"), 1);
    assertEquals(server.errors, []);
    assertEquals(log.lines, []);
    assertFalse(acceptor.closed);
  });
}

Deno.test("Dispatcher whose clients are always gone does not starve its neighbours", async () => {
  const { map, acceptor, server } = listening();
  const neighbour = neighbourIn(map);
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

/** Connects, and resets. */
function resetClient({ port, hostname }: Deno.NetAddr): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, hostname);
    socket.on("connect", () => socket.resetAndDestroy());
    socket.on("close", () => resolve());
    socket.on("error", reject);
  });
}

for (const family of families.filter(({ name }) => name !== "Unix")) {
  Deno.test({
    name:
      `Dispatcher goes on serving after 100 clients that reset before they were accepted (${family.name})`,
    ignore: !DENO_CAN.reset || isMissing(family),
    async fn() {
      const map = quietMap();
      const server = recorder(map, null, {
        handleAccepted: (conn) => void new Echo(conn, { map }),
      });
      server.createSocket();
      server.bind(family.address());
      const addr = server.addr as Deno.NetAddr;
      await Promise.all(Array.from({ length: 100 }, () => resetClient(addr)));
      server.listen();
      using client = await rawConnect(addr);
      await client.write(bytes("still there?"));
      const buffer = new Uint8Array(64);
      let answer = "";
      client.read(buffer).then((length) => {
        answer = text(buffer.subarray(0, length ?? 0));
      });
      await loopUntil(map, () => answer !== "");
      assertEquals(answer, "still there?");
      assertEquals(server.errors, []);
      // Linux tells of each; others may not.
      if (Deno.build.os === "linux") assertEquals(server.clientsGone, 100);
      for (const member of [...map]) member.abort();
    },
  });
}

for (
  const how of [
    "rejects",
    "throws",
    "rejects, with a handleError() that does nothing",
  ]
) {
  Deno.test(`Dispatcher whose accept() ${how} gets handleError() and is closed`, async () => {
    const acts = how.includes("nothing") ? { handleError() {} } : {};
    const { map, acceptor, server } = listening(acts);
    const neighbour = neighbourIn(map);
    acceptor.otherwise = how === "throws"
      ? throwSpam
      : () => Promise.reject(SPAM);
    await passes(map, 5);
    assertEquals(server.trace, ["handleError", "handleClose"]);
    assertStrictEquals(server.errors[0], SPAM);
    assert(acceptor.closed);
    neighbour.push("x");
    await passes(map, 2);
    assertEquals(neighbour.sent, "x");
  });
}

for (const [how, handleAccepted] of Object.entries(FAILURES)) {
  Deno.test(`handleAccepted() that ${how} closes the connection it was given`, async () => {
    const acts = { handleAccepted, handleError() {} };
    const { map, acceptor, server } = listening(acts);
    const client = new FakeChannel();
    acceptor.push(client, new FakeChannel());
    await passes(map, 5);
    assert(client.closed);
    assertEquals(server.errors, [SPAM, SPAM]);
    assert(server.accepting);
  });
}

Deno.test("Dispatcher.close() of a listener closes a connection that waits in it", async () => {
  let wants = true;
  const { map, acceptor, server } = listening({ readable: () => wants });
  await passes(map, 1);
  wants = false;
  const client = new FakeChannel();
  acceptor.push(client);
  await passes(map, 3);
  assertFalse(client.closed);
  server.close();
  assert(client.closed);
  assertEquals(server.count("handleAccepted"), 0);
});

Deno.test("Dispatcher.close() of a listener closes a connection that comes too late", async () => {
  const gate = Promise.withResolvers<Channel>();
  const { map, acceptor, server } = listening();
  acceptor.otherwise = () => gate.promise;
  await passes(map, 1);
  server.close();
  const late = new FakeChannel();
  gate.resolve(late);
  await turns();
  assert(late.closed);
  assertEquals(server.trace, []);
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
    const { clock, map, channel, handler } = connected();
    channel.take = () => Promise.reject(error);
    watch(loop({ map }));
    handler.send(bytes("spam"));
    await clock.advance(1_000);
    assertEquals(handler.trace, ["handleClose"]);
    assert(channel.closed);
    assertEquals(map.size, 0);
  });

  Deno.test(`Dispatcher whose read fails with a disconnect is closed: ${error}`, async () => {
    const { map, channel, handler } = connected();
    channel.push("last", error);
    await passes(map, 4);
    assertEquals(handler.trace, ["handleRead", "handleRead", "handleClose"]);
    assertEquals(handler.received, "last");
    assertEquals(map.size, 0);
  });
}

for (const [how, fail] of Object.entries(FAILURES)) {
  Deno.test(`Dispatcher whose write ${how} for another reason gets handleError() once`, async () => {
    const { map, channel, handler } = connected();
    channel.write = fail;
    handler.send(bytes("spam"));
    await passes(map, 4);
    assertEquals(handler.trace, ["handleError", "handleClose"]);
    assertStrictEquals(handler.errors[0], SPAM);
    assertEquals(map.size, 0);
  });

  Deno.test(`Dispatcher whose read ${how} for another reason learns it in recv() and recvInto()`, async () => {
    for (const call of ["recv", "recvInto"] as const) {
      const caught: unknown[] = [];
      const { map } = setUp();
      const channel = Object.assign(new FakeChannel(), { read: fail });
      const handler = recorder(map, channel, {
        handleRead() {
          try {
            if (call === "recv") this.recv();
            else this.recvInto(new Uint8Array(8));
          } catch (error) {
            caught.push(error);
            throw error;
          }
        },
      });
      await passes(map, 3);
      assertEquals(caught, [SPAM]);
      assertEquals(handler.trace, ["handleRead", "handleError", "handleClose"]);
      assertStrictEquals(handler.errors[0], SPAM);
    }
  });
}

Deno.test("Dispatcher whose write failed accepts no more and tells handleError() once", async () => {
  const { map, channel, handler } = connected({ handleError() {} });
  channel.take = () => Promise.reject(SPAM);
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

Deno.test("Dispatcher whose read finds no memory fails alone", async () => {
  const { map, network, client } = connecting();
  const neighbour = neighbourIn(map);
  await passes(map, 3); // The neighbour is read already.
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
    await passes(map, 5);
  } finally {
    globalThis.Uint8Array = Real;
  }
  assertEquals(client.count("handleClose"), 1);
  assertInstanceOf(client.errors[0], RangeError);
  neighbour.push("hello");
  await passes(map, 3);
  assertEquals(neighbour.sent, "hello");
});
