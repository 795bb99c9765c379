import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
} from "@std/assert";
import { FakeChannel, loopToEnd, passes, quietMap, Recorder } from "./fakes.ts";
import { connecting, fullListener, scopedMap, setUp } from "./scenes.ts";
import { PATIENCE, turns, work } from "./support.ts";

const HOST = { hostname: "192.0.2.1", port: 7 };

/** A dispatcher that has begun to connect to a network which does not answer. */
async function begin(options: { connectTimeout?: number } = {}) {
  const scene = setUp();
  const client = connecting(new Recorder(scene.map), HOST, options);
  await passes(scene.map, 2);
  /** Lets `ms` pass, and what happens then be told. */
  const advance = async (ms: number) => {
    await scene.clock.advance(ms);
    await passes(scene.map, 3);
  };
  /** Ends the attempt, and lets that be told. */
  const succeed = async (channel: FakeChannel) => {
    scene.network.succeed(channel);
    await turns();
    await passes(scene.map, 2);
  };
  return { ...scene, client, advance, succeed };
}

const TIMED_OUT = ["handleError", "handleClose"];

Deno.test("connectTimeout ends an attempt with TimedOut", async () => {
  const { advance, client, clock, map, network } = await begin({
    connectTimeout: 500,
  });
  await advance(499);
  assertEquals(client.trace, []);
  assert(client.connecting);
  await advance(1);
  assertEquals(client.trace, TIMED_OUT);
  const [error] = client.errors;
  assertInstanceOf(error, Deno.errors.TimedOut);
  assertMatch(
    error.message,
    /Cannot connect to 192\.0\.2\.1:7: No connection within 500 ms/,
  );
  assert(network.signals[0]!.aborted);
  assertEquals([map.size, clock.armed], [0, 0]);
});

Deno.test("connectTimeout closes a connection that comes later", async () => {
  const { advance, client, network, succeed } = await begin({
    connectTimeout: 500,
  });
  network.isStubborn = true;
  await advance(500);
  const channel = new FakeChannel();
  await succeed(channel);
  assert(channel.closed);
  assertEquals(client.trace, TIMED_OUT);
  assertEquals(channel.reads, 0);
});

Deno.test("connectTimeout does not tell of a failure that comes later", async () => {
  const { advance, client, map, network } = await begin({
    connectTimeout: 500,
  });
  await advance(500);
  network.fail(new Deno.errors.ConnectionRefused("late"));
  await turns();
  await passes(map, 2);
  assertEquals(client.trace, TIMED_OUT);
  map.check();
});

Deno.test("connectTimeout does not end a connection that came in time", async () => {
  const { advance, client, succeed } = await begin({ connectTimeout: 500 });
  await advance(499);
  const channel = new FakeChannel();
  await succeed(channel);
  await advance(10_000);
  assertEquals(client.trace, ["handleConnect"]);
  assert(!channel.closed);
  client.abort();
  await turns();
});

Deno.test("connectTimeout does not count the handshake", async () => {
  const { advance, client, map, succeed } = await begin({
    connectTimeout: 500,
  });
  const shaken = Promise.withResolvers<void>();
  const handshake = () => shaken.promise;
  await succeed(Object.assign(new FakeChannel(), { handshake }));
  await advance(5_000);
  assertEquals(client.trace, []);
  shaken.resolve();
  await turns();
  await passes(map, 2);
  assertEquals(client.trace, ["handleConnect"]);
  client.abort();
  await turns();
});

for (const options of [{}, { connectTimeout: Infinity }]) {
  Deno.test(`connect() with ${Deno.inspect(options)} sets no timer`, async () => {
    const { client, clock, network } = await begin(options);
    assertEquals(clock.timeoutsSet, 0);
    client.close();
    assert(network.signals[0]!.aborted);
    network.fail(new Error("aborted"));
    await turns();
    assertEquals(client.trace, []);
  });
}

Deno.test("connectTimeout ends with close()", async () => {
  const { client, clock } = await begin({ connectTimeout: 500 });
  client.close();
  await clock.advance(1_000);
  assertEquals(clock.armed, 0);
  assertEquals(client.trace, []);
});

Deno.test("connectTimeout lets a dispatcher connect again", async () => {
  const { advance, client, network, succeed } = await begin({
    connectTimeout: 500,
  });
  await advance(500);
  connecting(client, HOST, { connectTimeout: 500 });
  await succeed(new FakeChannel());
  // Both attempts got the same channel: the late one closed it.
  assertEquals(network.signals.map(({ aborted }) => aborted), [true, false]);
  assertEquals(client.count("handleConnect"), 1);
  client.abort();
  await turns();
});

for (const transport of ["tcp", "tls"] as const) {
  Deno.test({
    name:
      `connectTimeout leaves nothing of a real attempt over ${transport} behind`,
    ignore: Deno.build.os !== "linux",
    async fn() { // The sanitizers see what is left.
      using listener = await fullListener();
      await using map = scopedMap();
      const options = { transport, connectTimeout: 50 };
      const client = connecting(new Recorder(map), listener.addr, options);
      await loopToEnd(map);
      assertEquals(client.trace, TIMED_OUT);
      assertInstanceOf(client.errors[0], Deno.errors.TimedOut);
    },
  });
}

Deno.test("close() closes a connection that stands in that moment", async () => {
  const map = quietMap();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  // From one timer to the next: the connection is there before that one's turn,
  // and the news of it comes afterwards.
  await new Promise((resolve) => setTimeout(resolve, 1));
  const client = connecting(new Recorder(map), listener.addr);
  setTimeout(() => client.close(), 0);
  work(5);
  using conn = await listener.accept();
  const deadline = setTimeout(() => conn.close(), PATIENCE);
  assertEquals(await conn.read(new Uint8Array(1)), null);
  clearTimeout(deadline);
  await loopToEnd(map);
  assertEquals(client.trace, []);
});
