/** `connect(address, { signal })`: an attempt that its caller gives up. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { Dispatcher } from "../mod.ts";
import { SimNetwork } from "../testing/mod.ts";
import { FakeChannel, loopToEnd, passes, quietMap, Recorder } from "./fakes.ts";
import { fullListener, scopedMap, setUp } from "./scenes.ts";
import type { Any } from "./setups.ts";
import { turns } from "./support.ts";

const HOST = { hostname: "192.0.2.1", port: 7 };
const GIVEN_UP = ["handleError", "handleClose"];

/** A signal that counts its listeners. */
class Cancel {
  readonly #controller = new AbortController();
  readonly signal = this.#controller.signal;
  readonly reason = new Error("The user is tired of waiting");
  readonly #listeners = new Set<unknown>();

  constructor() {
    const { signal } = this;
    const { addEventListener, removeEventListener } = signal;
    signal.addEventListener = (...args: Any) => {
      this.#listeners.add(args[1]);
      addEventListener.apply(signal, args);
    };
    signal.removeEventListener = (...args: Any) => {
      this.#listeners.delete(args[1]);
      removeEventListener.apply(signal, args);
    };
  }

  get listeners(): number {
    return this.#listeners.size;
  }

  abort(): void {
    this.#controller.abort(this.reason);
  }
}

/** A dispatcher that has begun to connect to a network which does not answer. */
async function begin(options: { connectTimeout?: number } = {}) {
  const scene = setUp();
  const cancel = new Cancel();
  const client = new Recorder(scene.map);
  client.createSocket(options);
  client.connect(HOST, { signal: cancel.signal });
  await passes(scene.map, 2);
  const react = async () => {
    await turns();
    await passes(scene.map, 3);
  };
  return { ...scene, client, cancel, react };
}

Deno.test("connect() with a signal that has aborted is an event, and asks no network", async () => {
  const { map, network } = setUp();
  const cancel = new Cancel();
  cancel.abort();
  const client = new Recorder(map);
  client.createSocket();
  client.connect(HOST, { signal: cancel.signal });
  assertEquals([client.trace, client.connecting], [[], true]);
  await loopToEnd(map);
  assertEquals(client.trace, GIVEN_UP);
  assert(client.errors[0] === cancel.reason);
  assertEquals([network.signals.length, cancel.listeners], [0, 0]);
  assertEquals(client.closeReason, cancel.reason);
});

Deno.test("connect() ends when its signal aborts, and nothing of it is left", async () => {
  const { cancel, client, clock, map, network, react } = await begin({
    connectTimeout: 500,
  });
  assertEquals(cancel.listeners, 1);
  cancel.abort();
  assertEquals(client.trace, []); // In the loop, not in abort().
  await react();
  assertEquals(client.trace, GIVEN_UP);
  assert(client.errors[0] === cancel.reason);
  assertEquals(cancel.reason.message, "The user is tired of waiting");
  assert(network.signals[0]!.aborted);
  assertEquals([map.size, cancel.listeners, clock.armed], [0, 0, 0]);
});

Deno.test("connect() closes a connection that comes after its signal has aborted", async () => {
  const { cancel, client, network, react } = await begin();
  network.isStubborn = true;
  cancel.abort();
  await react();
  assertEquals(client.trace, GIVEN_UP);
  const channel = new FakeChannel();
  network.succeed(channel);
  await react();
  assertEquals([channel.closed, channel.reads], [true, 0]);
  assertEquals(client.trace, GIVEN_UP);
});

Deno.test("connect() ends in the midst of a handshake when its signal aborts", async () => {
  const { cancel, client, network, react } = await begin();
  const channel = Object.assign(new FakeChannel(), {
    handshake: () => new Promise(() => {}),
  });
  network.succeed(channel);
  await react();
  assertEquals([client.trace, cancel.listeners], [[], 1]);
  cancel.abort();
  await react();
  assertEquals(client.trace, GIVEN_UP);
  assertEquals([channel.closed, cancel.listeners], [true, 0]);
});

Deno.test("connect() ends when its signal aborts between success and handleConnect()", async () => {
  const { cancel, client, map, network } = await begin();
  const channel = new FakeChannel();
  network.succeed(channel);
  await turns(); // No pass yet.
  cancel.abort();
  await passes(map, 3);
  assertEquals(client.trace, GIVEN_UP);
  assert(client.errors[0] === cancel.reason);
  assertEquals([channel.closed, channel.reads], [true, 0]);
});

Deno.test("A signal that aborts when the connection stands has no effect", async () => {
  const { cancel, client, network, react } = await begin();
  const channel = new FakeChannel();
  network.succeed(channel);
  await react();
  assertEquals([client.trace, cancel.listeners], [["handleConnect"], 0]);
  cancel.abort();
  await react();
  assertEquals(client.trace, ["handleConnect"]);
  assert(client.connected && !channel.closed);
  client.abort();
  await turns();
});

Deno.test("connect() leaves its signal when it fails, times out or is closed", async () => {
  const failed = await begin();
  failed.network.fail(new Deno.errors.ConnectionRefused("refused"));
  await failed.react();
  const late = await begin({ connectTimeout: 500 });
  await late.clock.advance(500);
  await late.react();
  const closed = await begin();
  closed.network.isStubborn = true; // It does not settle.
  closed.client.close();
  const aborted = await begin();
  aborted.client.abort();
  for (const { cancel, client, react } of [failed, late, closed, aborted]) {
    assertEquals(cancel.listeners, 0);
    const before = [...client.trace];
    cancel.abort();
    await react();
    assertEquals(client.trace, before);
  }
});

Deno.test("A signal ends each connect() that it was given to, and its reason stays as it is", async () => {
  const { map } = setUp();
  const cancel = new Cancel();
  const clients = [1, 2, 3].map(() => new Recorder(map));
  for (const client of clients) {
    client.createSocket();
    client.connect(HOST, { signal: cancel.signal });
  }
  assertEquals(cancel.listeners, 3);
  cancel.abort();
  await loopToEnd(map);
  assertEquals(clients.map(({ trace }) => trace), clients.map(() => GIVEN_UP));
  assertEquals(cancel.reason.message, "The user is tired of waiting");
  assertEquals(cancel.listeners, 0);
});

Deno.test("A signal's reason may be anything, and the events wait for a map", async () => {
  const { map, network } = setUp();
  const controller = new AbortController();
  const client = new Recorder(map);
  client.createSocket();
  client.connect(HOST, { signal: controller.signal });
  client.delChannel();
  controller.abort("no time");
  assert(network.signals[0]!.aborted); // The attempt itself ends at once.
  await turns();
  assertEquals(client.trace, []);
  client.addChannel();
  await loopToEnd(map);
  assertEquals([client.trace, client.errors], [GIVEN_UP, ["no time"]]);
});

Deno.test("A dispatcher can connect again when its signal has aborted", async () => {
  const { cancel, client, network, react } = await begin();
  cancel.abort();
  await react();
  client.createSocket();
  client.connect(HOST, { signal: new AbortController().signal });
  network.succeed(new FakeChannel());
  await react();
  assertEquals(client.trace, [...GIVEN_UP, "handleConnect"]);
  client.abort();
  await turns();
});

Deno.test("connect() refuses what is no signal, and an unknown option", () => {
  const map = quietMap();
  const client = new Dispatcher(null, { map });
  const wrong: [unknown, string][] = [
    [{ signal: {} }, "signal has no addEventListener() method"],
    [{ signal: new AbortController() }, "signal has no addEventListener()"],
    [{ signal: null }, "signal must not be null: leave it out"],
    [{ sginal: undefined, signl: 3 }, 'did you mean "signal"?'],
    [
      new AbortController().signal,
      "options must be { signal }, got the signal",
    ],
    [500, "options must be an object like { name: value }, got 500"],
  ];
  for (const [options, message] of wrong) {
    client.createSocket();
    const connect = () => client.connect(HOST, options as Any);
    assertThrows(connect, TypeError, message);
    assertEquals([client.connecting, map.size], [false, 0]);
    client.close();
  }
});

for (const transport of ["tcp", "tls"] as const) {
  Deno.test({
    name: `A signal leaves nothing of a real attempt over ${transport} behind`,
    ignore: Deno.build.os !== "linux",
    async fn() { // The sanitizers see what is left.
      using listener = await fullListener();
      await using map = scopedMap();
      const cancel = new Cancel();
      const client = new Recorder(map);
      client.createSocket({ transport });
      client.connect(listener.addr as Any, { signal: cancel.signal });
      const looping = loopToEnd(map);
      setTimeout(() => cancel.abort(), 20);
      await looping;
      assertEquals(client.trace, GIVEN_UP);
      assert(client.errors[0] === cancel.reason);
    },
  });
}

Deno.test("A signal ends a real handshake that the server does not answer", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await using map = scopedMap();
  const cancel = new Cancel();
  const client = new Recorder(map);
  client.createSocket({ transport: "tls" });
  client.connect(listener.addr, { signal: cancel.signal });
  const accepting = listener.accept();
  const looping = loopToEnd(map);
  using conn = await accepting;
  await conn.read(new Uint8Array(4_096)); // The client's hello.
  assertEquals(client.trace, []);
  cancel.abort();
  await looping;
  assertEquals(client.trace, GIVEN_UP);
});

Deno.test("A signal ends connecting in a simulation, at the simulated time", async () => {
  const sim = new SimNetwork({ faults: { blackhole: 1 } });
  sim.host("server", () => {
    const server = new Dispatcher();
    server.createSocket();
    server.bind({ port: 7 });
    server.listen();
  });
  const told: [string, number][] = [];
  sim.host("client").run(() => {
    const controller = new AbortController();
    const client = new Dispatcher();
    client.handleError = (error) => void told.push([`${error}`, sim.now]);
    client.handleClose = () => void told.push(["close", sim.now]);
    client.createSocket();
    client.connect({ hostname: "server", port: 7 }, {
      signal: controller.signal,
    });
    client.map.callLater(1_500, () => controller.abort("too late"));
  });
  await sim.run();
  assertEquals(told, [["too late", 1_500], ["close", 1_500]]);
});
