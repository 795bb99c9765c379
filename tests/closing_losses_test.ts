/**
 * The reports, by a warning and by `shutdown()`, of a closed connection whose
 * peer did not get everything, or perhaps did not.
 */

import { assert, assertEquals, assertFalse, assertMatch } from "@std/assert";
import {
  type Channel,
  channelFrom,
  Dispatcher,
  type DispatcherOptions,
  DispatcherWithSend,
  FileDispatcher,
  shutdown,
  type ShutdownResult,
} from "../mod.ts";
import { denoNetwork } from "../net/deno_network.ts";
import { memoryPair } from "../testing/mod.ts";
import { certificates } from "./certificates.ts";
import { FakeChannel, LogLines, loopToEnd, passes, quietMap } from "./fakes.ts";
import { connecting, openChannel, setUp, stuckChannel } from "./scenes.ts";
import { bytes, turns, until } from "./support.ts";
import { readToEnd, TRANSPORTS } from "./transports.ts";

/** A connection that has sent a word. */
function sending<C extends Channel>(
  channel: C,
  options: DispatcherOptions = {},
  word: string | Uint8Array = "spam",
) {
  const scene = setUp();
  const handler = new DispatcherWithSend(channel, {
    ...options,
    map: scene.map,
  });
  handler.send(typeof word === "string" ? bytes(word) : word);
  return { ...scene, channel, handler };
}

/** A shutdown that has ended, without listeners. */
function result(closed: number, aborted: number): ShutdownResult {
  return { listeners: 0, closed, aborted };
}

const RESET = new Deno.errors.ConnectionReset("spam");
const A_LOT = 20_000_000; // more than a kernel takes

// Peers that reset

for (const { name, ignore, hasResets, kernel, connect } of TRANSPORTS) {
  Deno.test({
    name:
      `shutdown() counts a connection as aborted that its peer resets after all was sent, over ${name}`,
    // Over TLS, Deno tells of a reset as of an end in good order.
    ignore: ignore || name === "TLS" || !hasResets,
    fn: async () => {
      const [conn, peer] = await connect();
      const { handler, lines, map } = sending(conn, {}, new Uint8Array(kernel));
      handler.ignoreLogTypes = new Set();
      await until(() => handler.bufferedAmount === 0, "the kernel");
      const ended = shutdown({ map });
      await until(() => handler.closing, "the close");
      peer.close(); // with unread bytes
      assertEquals(await ended, result(0, 1));
      assertMatch(
        lines.at(-1)!,
        /^warn: <Dispatcher.*> was closed, and its peer reset the connection: /,
      );
      assertEquals(handler.closeReason?.name, "ConnectionReset");
    },
  });

  Deno.test({
    name:
      `shutdown() counts a connection as aborted that its peer resets amid the sending, over ${name}`,
    ignore,
    fn: async () => {
      const [conn, peer] = await connect();
      const { handler, lines, map } = sending(conn, {}, new Uint8Array(A_LOT));
      const ended = shutdown({ map });
      await peer.read(new Uint8Array(1));
      assert(handler.closing);
      peer.close();
      assertEquals(await ended, result(0, 1));
      assertMatch(
        lines.join(),
        /^warn: <.*> was closed and lost \d+ accepted bytes \((?!.*took nothing)/,
      );
    },
  });

  Deno.test({
    name:
      `shutdown() says nothing of a peer that has read all and is gone, over ${name}`,
    ignore,
    fn: async () => {
      const [conn, peer] = await connect();
      const { handler, lines, map } = sending(conn, {}, new Uint8Array(kernel));
      const ended = shutdown({ map });
      const { length } = await readToEnd(peer);
      peer.close();
      assertEquals(await ended, result(1, 0));
      assertEquals(length, kernel);
      assertEquals(lines, []);
      assertEquals(handler.closeReason, null);
    },
  });
}

for (
  const [length, ignored, isTold] of [
    [65_536, "warning", false], // As in Python.
    [65_536, "nothing", true],
    [65_537, "warning", true],
  ] as const
) {
  Deno.test(
    `Dispatcher.close() that ignores "${ignored}" ${
      isTold ? "tells" : "says nothing"
    } of a peer that hangs up after ${length} bytes`,
    async () => {
      const { channel, handler, lines, map } = sending(
        openChannel(),
        {},
        new Uint8Array(length),
      );
      handler.ignoreLogTypes = new Set([ignored]);
      const ended = shutdown({ map });
      await turns();
      channel.push(RESET);
      assertEquals(await ended, result(0, 1));
      const told = lines.join().includes("its peer reset the connection");
      assertEquals(told, isTold);
    },
  );
}

Deno.test("shutdown() counts a connection as aborted that is reset before it has closed", async () => {
  const { channel, handler, lines, map } = sending(new FakeChannel());
  handler.handleShutdown = () => {}; // has more to say
  handler.handleRead = () => void handler.recv();
  const ended = shutdown({ map });
  await turns();
  channel.push(RESET);
  assertEquals(await ended, result(0, 1));
  assertEquals(lines, [], "its hooks have heard of it");
});

// Peers that keep their side open

for (const linger of [5_000, 100]) {
  Deno.test(`Dispatcher.close() cuts a peer that talks for six linger times of ${linger} ms, and says so`, async () => {
    const { channel, clock, lines, map } = sending(openChannel(), { linger });
    const ended = shutdown({ map, deadline: Infinity });
    await turns();
    for (let i = 0; i < 60; i++) {
      assertFalse(channel.closed);
      channel.push("blah");
      await clock.advance(linger / 10);
    }
    assert(channel.closed);
    assertEquals(await ended, result(0, 1));
    assertEquals(lines.length, 1);
    assertMatch(lines[0]!, /was closed, and its peer went on talking: /);
    assertEquals(clock.armed, 0);
  });
}

Deno.test("Dispatcher.close() gives a quiet peer a linger time, and says nothing of it", async () => {
  const { channel, clock, lines, map } = sending(openChannel());
  const ended = shutdown({ map });
  await turns();
  await clock.advance(4_999);
  assertFalse(channel.closed, "the kernel may hold megabytes for it");
  await clock.advance(1);
  assert(channel.closed);
  assertEquals(await ended, result(1, 0));
  assertEquals(lines, []);
});

// No time to linger

Deno.test("Dispatcher with a linger of 0 drops what was not sent, and says so", async () => {
  const { clock, handler, lines, map } = sending(stuckChannel(), { linger: 0 });
  assertEquals(await shutdown({ map }), result(0, 1));
  assertMatch(lines.join(), /lost 4 accepted bytes \(.*linger is 0\)/);
  assertMatch(String(handler.closeReason), /its linger is 0/);
  assertEquals(clock.armed, 0);
});

for (const isStubborn of [false, true]) {
  const how = isStubborn ? "cannot be given up" : "can be given up";
  Deno.test(`Dispatcher with a linger of 0 drops what waits for its connect, which ${how}, and says so`, async () => {
    const { clock, lines, map, network } = setUp();
    network.isStubborn = isStubborn;
    const client = connecting(new DispatcherWithSend(null, { map, linger: 0 }));
    client.send(bytes("spam"));
    client.close();
    await loopToEnd(map);
    assertMatch(lines.join(), /lost 4 accepted bytes \(.*linger is 0\)/);
    assertEquals(clock.armed, 0);
  });
}

Deno.test("Dispatcher with a linger of 0 waits for no peer's end", async () => {
  const options = { linger: 0 };
  const { channel, clock, handler, lines, map } = sending(
    openChannel(),
    options,
  );
  await passes(map, 2);
  handler.close();
  assert(channel.closed);
  await loopToEnd(map);
  assertEquals([lines, clock.armed], [[], 0]);
});

// The deadline of shutdown()

Deno.test("shutdown() says at its deadline what was lost", async () => {
  const { clock, lines, map } = setUp();
  const open = new DispatcherWithSend(stuckChannel(), { map });
  open.handleShutdown = () => {};
  open.send(bytes("spam"));
  const closed = new DispatcherWithSend(stuckChannel(), { map });
  closed.send(bytes("spam and eggs"));
  closed.close();
  const client = connecting(new DispatcherWithSend(null, { map }));
  client.send(bytes("spam, spam"));
  client.close();
  const ended = shutdown({ map, deadline: 1_000 });
  await clock.advance(1_000);
  assertEquals(await ended, result(0, 3));
  const losses = lines.map((line) =>
    /lost (\d+) accepted bytes \((.*)\)/.exec(line)?.slice(1)
  );
  const reason = "Error: the deadline of shutdown() was over";
  assertEquals(losses.sort(), [["10", reason], ["13", reason], ["4", reason]]);
  assertEquals([map.size, map.lingering, clock.armed], [0, 0, 0]);
});

Deno.test("shutdown() counts a connection as closed whose peer is quiet at the deadline", async () => {
  const { channel, clock, lines, map } = sending(openChannel());
  const ended = shutdown({ map, deadline: 1_000 });
  await clock.advance(1_000);
  assertEquals(await ended, result(1, 0));
  assert(channel.closed);
  assertEquals(lines, [], "nobody knows whether something was lost");
});

Deno.test("shutdown() counts a connection as aborted whose peer talks at the deadline", async () => {
  const { channel, clock, lines, map } = sending(openChannel());
  const ended = shutdown({ map, deadline: 1_000 });
  await turns();
  channel.push("blah");
  await clock.advance(1_000);
  assertEquals(await ended, result(0, 1));
  assert(channel.closed);
  assertMatch(lines.join(), /its peer went on talking/);
});

// Connections that need not wait

for (const { name, ignore, connect } of TRANSPORTS) {
  Deno.test({
    name: `loop() waits for no peer's end when nothing was sent over ${name}`,
    ignore,
    fn: async () => {
      const { clock, map } = setUp();
      const [conn, peer] = await connect();
      const handler = new Dispatcher(conn, { map });
      await passes(map, 2);
      handler.close();
      await loopToEnd(map);
      assertEquals(clock.armed, 0);
      peer.close();
    },
  });
}

const unix = TRANSPORTS.find(({ name }) => name === "Unix")!;

Deno.test({
  name: "loop() waits for no peer's end over a Unix socket",
  ignore: unix.ignore,
  fn: async () => {
    const [conn, peer] = await unix.connect();
    const { clock, handler, lines, map } = sending(conn);
    handler.close();
    await loopToEnd(map);
    assertEquals(await readToEnd(peer), { length: 4, last: "end" });
    assertEquals([lines, clock.armed], [[], 0]);
    peer.close();
  },
});

Deno.test("loop() waits for no peer's end over a memoryPair()", async () => {
  const [ours, theirs] = memoryPair();
  const { clock, handler, lines, map } = sending(ours);
  await theirs.write(bytes("unread"));
  handler.close();
  await loopToEnd(map);
  assertEquals(await readToEnd(theirs), { length: 4, last: "end" });
  assertEquals([lines, clock.armed], [[], 0]);
});

Deno.test("loop() waits for nothing but the writing of a file", async () => {
  const { clock, map } = setUp();
  const path = await Deno.makeTempFile();
  const file = await Deno.open(path, { write: true });
  const handler = new FileDispatcher(file, { map });
  handler.send(bytes("spam"));
  handler.close();
  await loopToEnd(map);
  assertEquals(await Deno.readTextFile(path), "spam");
  assertEquals(clock.armed, 0);
  await Deno.remove(path);
});

// Peers that read late

Deno.test("channelFrom() of a connection lets a peer that reads late have everything", async () => {
  const { connect, kernel } = TRANSPORTS[0]!;
  const [conn, peer] = await connect();
  const data = new Uint8Array(kernel);
  const { handler, lines, map } = sending(channelFrom(conn), {}, data);
  const ended = loopToEnd(map);
  await until(() => handler.bufferedAmount === 0, "the kernel");
  handler.close();
  await turns();
  await peer.write(bytes("well"));
  await turns();
  assertEquals(await readToEnd(peer), { length: kernel, last: "end" });
  peer.close();
  await ended;
  assertEquals(lines, []);
});

Deno.test("close() right after startTls() and send() lets a peer that reads late have everything", async () => {
  const { ca, good } = certificates();
  const logger = new LogLines();
  // Deno starts TLS over its own connections only.
  const map = quietMap({ logger, network: denoNetwork });
  const here = { hostname: "127.0.0.1", port: 0 };
  using listener = Deno.listenTls({ ...here, ...good });
  class Client extends DispatcherWithSend {
    override handleConnect(): void {
      this.startTls({ caCerts: [ca], hostname: "localhost" });
      this.send(new Uint8Array(1_500_000));
      this.close();
    }
  }
  const client = connecting(new Client(null, { map }), listener.addr);
  const serve = async () => {
    using conn = await listener.accept();
    await conn.handshake();
    await until(() => client.bufferedAmount === 0, "the kernel");
    await turns();
    assert(client.closing, "we have not ended our side");
    await conn.write(bytes("well"));
    return await readToEnd(conn);
  };
  const received = serve();
  await loopToEnd(map);
  assertEquals(await received, { length: 1_500_000, last: "end" });
  assertEquals(logger.lines, []);
});
