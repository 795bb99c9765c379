import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import type { Address } from "../mod.ts";
import { parseAddress } from "../core/address.ts";
import {
  FakeChannel,
  FakeNetwork,
  loopToEnd,
  passes,
  quietMap,
  Recorder,
} from "./fakes.ts";
import { MockClock } from "../testing/mock_clock.ts";
import { connectedPair, PATIENCE, ScopedMap, turns, work } from "./support.ts";

/** A dispatcher that connects to a network which does not answer. */
function connecting(connectTimeout?: number) {
  const network = new FakeNetwork();
  const clock = new MockClock();
  const map = quietMap({ network, clock });
  const dispatcher = new Recorder(map);
  const options = connectTimeout === undefined ? {} : { connectTimeout };
  dispatcher.createSocket(options);
  dispatcher.connect({ hostname: "192.0.2.1", port: 7 });
  return { network, clock, map, dispatcher };
}

Deno.test("connectTimeout ends an attempt with TimedOut", async () => {
  const { network, clock, map, dispatcher } = connecting(500);
  await passes(map, 2);
  await clock.advance(499);
  await passes(map, 2);
  assertEquals(dispatcher.trace, []);
  assert(dispatcher.connecting);
  await clock.advance(1);
  await passes(map, 3);
  assertEquals(dispatcher.trace, ["handleError", "handleClose"]);
  const [error] = dispatcher.errors;
  assertInstanceOf(error, Deno.errors.TimedOut);
  assertStringIncludes(
    error.message,
    "Cannot connect to 192.0.2.1:7: No connection within 500 ms",
  );
  assert(network.signals[0]!.aborted);
  assertEquals(map.size, 0);
  assertEquals(clock.armed, 0);
});

Deno.test("a connection that comes after connectTimeout is closed", async () => {
  const { network, clock, map, dispatcher } = connecting(500);
  network.isStubborn = true;
  await passes(map, 2);
  await clock.advance(500);
  await passes(map, 3);
  const channel = new FakeChannel();
  network.succeed(channel);
  await turns();
  assert(channel.closed);
  assertEquals(dispatcher.trace, ["handleError", "handleClose"]);
  assertEquals(channel.reads, 0);
});

Deno.test("a failure that comes after connectTimeout is not told", async () => {
  const { network, clock, map, dispatcher } = connecting(500);
  await passes(map, 2);
  await clock.advance(500);
  await passes(map, 3);
  network.fail(new Deno.errors.ConnectionRefused("late"));
  await turns();
  await passes(map, 2);
  assertEquals(dispatcher.trace, ["handleError", "handleClose"]);
  map.check();
});

Deno.test("a connection in time cancels connectTimeout", async () => {
  const { network, clock, map, dispatcher } = connecting(500);
  await passes(map, 2);
  await clock.advance(499);
  const channel = new FakeChannel();
  network.succeed(channel);
  await turns();
  await passes(map, 2);
  await clock.advance(10_000);
  await passes(map, 2);
  assertEquals(dispatcher.trace, ["handleConnect"]);
  assert(!channel.closed);
  dispatcher.abort();
  await turns();
});

Deno.test("connectTimeout does not count the handshake", async () => {
  const { network, clock, map, dispatcher } = connecting(500);
  await passes(map, 2);
  const shaken = Promise.withResolvers<void>();
  const channel = Object.assign(new FakeChannel(), {
    handshake: () => shaken.promise,
  });
  network.succeed(channel);
  await passes(map, 2);
  await clock.advance(5_000);
  await passes(map, 2);
  assertEquals(dispatcher.trace, []);
  shaken.resolve();
  await turns();
  await passes(map, 2);
  assertEquals(dispatcher.trace, ["handleConnect"]);
  dispatcher.abort();
  await turns();
});

Deno.test("without connectTimeout an attempt has no timer", async () => {
  const { network, clock, map, dispatcher } = connecting();
  await passes(map, 2);
  assertEquals(clock.timeoutsSet, 0);
  dispatcher.close();
  assert(network.signals[0]!.aborted);
  network.fail(new Error("aborted"));
  await turns();
  assertEquals(dispatcher.trace, []);
});

Deno.test("a connectTimeout of Infinity never ends an attempt", async () => {
  const { network, clock, map, dispatcher } = connecting(Infinity);
  await passes(map, 2);
  assertEquals(clock.timeoutsSet, 0);
  dispatcher.close();
  network.fail(new Error("aborted"));
  await turns();
});

Deno.test("close() cancels connectTimeout", async () => {
  const { clock, map, dispatcher } = connecting(500);
  await passes(map, 2);
  dispatcher.close();
  await clock.advance(1_000);
  assertEquals(clock.armed, 0);
  assertEquals(dispatcher.trace, []);
});

Deno.test("a connection that stands in the moment of close() is closed", async () => {
  const map = quietMap();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  // From one timer to the next: the connection is there before that one's turn,
  // and the news of it comes afterwards.
  await new Promise((resolve) => setTimeout(resolve, 1));
  const client = new Recorder(map);
  client.createSocket();
  client.connect(listener.addr);
  setTimeout(() => client.close(), 0);
  work(5);
  using conn = await listener.accept();
  const deadline = setTimeout(() => conn.close(), PATIENCE);
  assertEquals(await conn.read(new Uint8Array(1)), null);
  clearTimeout(deadline);
  await loopToEnd(map);
  assertEquals(client.trace, []);
});

Deno.test("a dispatcher that timed out can connect again", async () => {
  const { network, clock, map, dispatcher } = connecting(500);
  await passes(map, 2);
  await clock.advance(500);
  await passes(map, 3);
  dispatcher.createSocket({ connectTimeout: 500 });
  dispatcher.connect({ port: 7 });
  const channel = new FakeChannel();
  network.succeed(channel);
  await turns();
  await passes(map, 2);
  // Both attempts got the same channel: the late one closed it.
  assertEquals(network.signals.length, 2);
  assert(!network.signals[1]!.aborted);
  assertEquals(dispatcher.count("handleConnect"), 1);
  dispatcher.abort();
  await turns();
});

const vsock = (address: unknown, action: "bind" | "connect" = "connect") =>
  parseAddress(address, { action, transport: "vsock" });

Deno.test("a vsock address is a context identifier and a port", () => {
  assertEquals(vsock({ cid: 2, port: 7 }), {
    transport: "vsock",
    cid: 2,
    port: 7,
  });
  assertEquals(
    vsock({ cid: -1, port: 0xffffffff }, "bind"),
    { transport: "vsock", cid: -1, port: 0xffffffff },
  );
});

const BAD_VSOCK: [unknown, typeof TypeError | typeof RangeError, string][] = [
  [{ port: 7 }, TypeError, "the address of a vsock socket is { cid, port }"],
  [{ hostname: "a", port: 7 }, TypeError, "{ cid, port }"],
  [{ path: "/a" }, TypeError, "{ cid, port }"],
  [null, TypeError, "{ cid, port }"],
  [{ cid: "2", port: 7 }, TypeError, "cid"],
  [{ cid: 2 }, TypeError, "port"],
  [{ cid: 2.5, port: 7 }, RangeError, "cid"],
  [{ cid: -2, port: 7 }, RangeError, "cid"],
  [{ cid: 2 ** 32, port: 7 }, RangeError, "cid"],
  [{ cid: 2, port: -1 }, RangeError, "port"],
  [{ cid: 2, port: 2 ** 32 }, RangeError, "port"],
  [{ cid: 2, port: 7, flags: 1 }, TypeError, '"flags" is no part'],
];

for (const [address, type, message] of BAD_VSOCK) {
  Deno.test(`connect(${Deno.inspect(address)}) over vsock is refused`, () => {
    const map = quietMap({ network: new FakeNetwork() });
    const dispatcher = new Recorder(map);
    dispatcher.createSocket({ transport: "vsock" });
    const connect = () => dispatcher.connect(address as Address);
    assertThrows(connect, type, message);
    assertEquals(dispatcher.connecting, false);
    dispatcher.close();
    assertEquals(map.size, 0);
  });
}

/** Connects and accepts some times: what was to be reported before has been. */
async function exchangeOthers(): Promise<void> {
  for (let i = 0; i < 10; i++) {
    for (const conn of await connectedPair()) conn.close();
  }
}

/** A listener whose queue is full, and what fills it. */
async function fullListener() {
  const listener = Deno.listen({
    hostname: "127.0.0.1",
    port: 0,
    tcpBacklog: 1,
  });
  const { port } = listener.addr;
  const controller = new AbortController();
  const { signal } = controller;
  const waiting: Promise<Deno.Conn | null>[] = [];
  for (let isFull = false; !isFull;) {
    const conn = Deno.connect({ hostname: "127.0.0.1", port, signal })
      .catch(() => null);
    waiting.push(conn);
    const late = exchangeOthers().then(() => "late");
    isFull = await Promise.race([conn, late]) === "late";
    await late;
  }
  return {
    port,
    async [Symbol.asyncDispose](): Promise<void> {
      controller.abort();
      for (const conn of await Promise.all(waiting)) conn?.close();
      listener.close();
    },
  };
}

for (const transport of ["tcp", "tls"] as const) {
  Deno.test({
    name:
      `connectTimeout leaves nothing of a real attempt over ${transport} behind`,
    ignore: Deno.build.os !== "linux",
    async fn() { // The sanitizers see what is left.
      await using listener = await fullListener();
      await using map = new ScopedMap();
      const dispatcher = new Recorder(map);
      dispatcher.createSocket({ transport, connectTimeout: 50 });
      dispatcher.connect({ hostname: "127.0.0.1", port: listener.port });
      await loopToEnd(map);
      assertEquals(dispatcher.trace, ["handleError", "handleClose"]);
      assertInstanceOf(dispatcher.errors[0], Deno.errors.TimedOut);
    },
  });
}
