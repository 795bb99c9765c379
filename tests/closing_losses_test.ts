/**
 * What is said of a closed connection whose peer did not get everything, or may
 * not have got it: in a warning, and by `shutdown()`.
 */

import { assert, assertEquals, assertFalse, assertMatch } from "@std/assert";
import {
  AsyncChat,
  channelFrom,
  Dispatcher,
  DispatcherWithSend,
  FileDispatcher,
  shutdown,
  type ShutdownResult,
} from "../mod.ts";
import {
  FakeChannel,
  FakeNetwork,
  LogLines,
  loopToEnd,
  passes,
  quietMap,
  watch,
} from "./fakes.ts";
import { memoryPair } from "../testing/memory_pair.ts";
import { MockClock } from "../testing/mock_clock.ts";
import { certificates, testTls } from "./certificates.ts";
import { bytes, turns, until } from "./support.ts";
import { readToEnd, TRANSPORTS } from "./transports.ts";

/** A map on a clock of its own, and what is logged in it. */
function setUp() {
  const clock = new MockClock();
  const logger = new LogLines();
  const network = new FakeNetwork();
  return { clock, logger, network, map: quietMap({ clock, logger, network }) };
}

/** A shutdown that has ended, without listeners. */
function result(closed: number, aborted: number): ShutdownResult {
  return { listeners: 0, closed, aborted };
}

const A_LOT = 20_000_000; // more than a kernel takes

// Peers that reset

for (const { name, ignore, hasResets, kernel, connect } of TRANSPORTS) {
  // Over TLS, Deno tells of a reset as of an end in good order.
  const isIgnored = ignore || name === "TLS" || !hasResets;
  Deno.test({
    name:
      `shutdown() counts a connection as aborted that its peer resets after all was sent, over ${name}`,
    ignore: isIgnored,
    fn: async () => {
      const { logger, map } = setUp();
      const [conn, peer] = await connect();
      const chat = new AsyncChat(conn, { map });
      chat.push(new Uint8Array(kernel));
      await until(() => chat.bufferedAmount === 0, "the kernel");
      const ended = shutdown({ map });
      await until(() => chat.closing, "the close");
      peer.close(); // with unread bytes
      assertEquals(await ended, result(0, 1));
      assertEquals(logger.lines.length, 1);
      assertMatch(
        logger.lines[0]!,
        /^warn: <AsyncChat .*> was closed, and its peer reset the connection: /,
      );
      assertEquals(chat.closeReason?.name, "ConnectionReset");
    },
  });

  Deno.test({
    name:
      `shutdown() counts a connection as aborted that its peer resets amid the sending, over ${name}`,
    ignore,
    fn: async () => {
      const { logger, map } = setUp();
      const [conn, peer] = await connect();
      const chat = new DispatcherWithSend(conn, { map });
      chat.send(new Uint8Array(A_LOT));
      const ended = shutdown({ map });
      await peer.read(new Uint8Array(1));
      assert(chat.closing);
      peer.close();
      assertEquals(await ended, result(0, 1));
      assertMatch(
        logger.lines.join(),
        /^warn: <.*> was closed and lost \d+ accepted bytes \((?!.*took nothing)/,
      );
    },
  });

  Deno.test({
    name:
      `shutdown() says nothing of a peer that has read all and is gone, over ${name}`,
    ignore,
    fn: async () => {
      const { logger, map } = setUp();
      const [conn, peer] = await connect();
      const chat = new AsyncChat(conn, { map });
      chat.push(new Uint8Array(kernel));
      const ended = shutdown({ map });
      const { length } = await readToEnd(peer);
      peer.close();
      assertEquals(await ended, result(1, 0));
      assertEquals(length, kernel);
      assertEquals(logger.lines, []);
      assertEquals(chat.closeReason, null);
    },
  });
}

Deno.test("Dispatcher.close() tells of a reset that a read brings while it lingers", async () => {
  const { logger, map } = setUp();
  const channel = new FakeChannel();
  channel.staysOpen = true;
  const handler = new DispatcherWithSend(channel, { map });
  handler.send(bytes("spam"));
  const ended = shutdown({ map });
  await turns();
  channel.push(new Deno.errors.ConnectionReset("spam"));
  assertEquals(await ended, result(0, 1));
  assertMatch(logger.lines.join(), /its peer reset the connection/);
});

Deno.test("shutdown() counts a connection as aborted that is reset before it has closed", async () => {
  const { logger, map } = setUp();
  const channel = new FakeChannel();
  const handler = new DispatcherWithSend(channel, { map });
  handler.handleShutdown = () => {}; // has more to say
  handler.handleRead = () => void handler.recv();
  handler.send(bytes("spam"));
  const ended = shutdown({ map });
  await turns();
  channel.push(new Deno.errors.ConnectionReset("spam"));
  assertEquals(await ended, result(0, 1));
  assertEquals(logger.lines, [], "its hooks have heard of it");
});

// Peers that talk without end

Deno.test("Dispatcher.close() cuts a peer that talks for six linger times, and says so", async () => {
  for (const linger of [5_000, 100]) {
    const { clock, logger, map } = setUp();
    const channel = new FakeChannel();
    channel.staysOpen = true;
    const handler = new DispatcherWithSend(channel, { map, linger });
    handler.send(bytes("spam"));
    const ended = watch(shutdown({ map, deadline: Infinity }));
    await turns();
    for (let i = 0; i < 60; i++) {
      assertFalse(channel.closed);
      channel.push("blah");
      await clock.advance(linger / 10);
    }
    assert(channel.closed);
    assert(ended.settled);
    assertEquals(logger.lines.length, 1);
    assertMatch(logger.lines[0]!, /was closed, and its peer went on talking: /);
    assertEquals(clock.armed, 0);
  }
});

Deno.test("shutdown() counts a connection as aborted that was cut while its peer talked", async () => {
  const { clock, map } = setUp();
  const channel = new FakeChannel();
  channel.staysOpen = true;
  const handler = new DispatcherWithSend(channel, { map, linger: 100 });
  handler.send(bytes("spam"));
  const ended = shutdown({ map });
  for (let i = 0; i < 7; i++) {
    await turns();
    channel.push("blah");
    await clock.advance(90);
  }
  assertEquals(await ended, result(0, 1));
});

Deno.test("Dispatcher.close() gives a quiet peer a linger time, and says nothing of it", async () => {
  const { clock, logger, map } = setUp();
  const channel = new FakeChannel();
  channel.staysOpen = true;
  const handler = new DispatcherWithSend(channel, { map, linger: 100 });
  handler.send(bytes("spam"));
  const ended = shutdown({ map });
  await turns();
  await clock.advance(99);
  assertFalse(channel.closed);
  await clock.advance(1);
  assert(channel.closed);
  assertEquals(await ended, result(1, 0));
  assertEquals(logger.lines, []);
});

// No time to linger

Deno.test("Dispatcher with a linger of 0 drops what was not sent, and says so", async () => {
  const { clock, logger, map } = setUp();
  const channel = new FakeChannel();
  channel.take = () => new Promise(() => {});
  const handler = new DispatcherWithSend(channel, { map, linger: 0 });
  handler.send(bytes("spam"));
  assertEquals(await shutdown({ map }), result(0, 1));
  assertMatch(logger.lines.join(), /lost 4 accepted bytes \(.*linger is 0\)/);
  assertMatch(String(handler.closeReason), /its linger is 0/);
  assertEquals(clock.armed, 0);
});

Deno.test("Dispatcher with a linger of 0 drops what waits for its connect, and says so", async () => {
  for (const isStubborn of [false, true]) {
    const { clock, logger, map, network } = setUp();
    network.isStubborn = isStubborn;
    const client = new DispatcherWithSend(null, { map, linger: 0 });
    client.createSocket();
    client.connect({ port: 7 });
    client.send(bytes("spam"));
    client.close();
    await loopToEnd(map);
    assertMatch(logger.lines.join(), /lost 4 accepted bytes \(.*linger is 0\)/);
    assertEquals(clock.armed, 0);
  }
});

Deno.test("Dispatcher with a linger of 0 waits for no peer's end", async () => {
  const { clock, logger, map } = setUp();
  const channel = new FakeChannel();
  channel.staysOpen = true;
  const handler = new DispatcherWithSend(channel, { map, linger: 0 });
  handler.send(bytes("spam"));
  await passes(map, 2);
  handler.close();
  assert(channel.closed);
  await loopToEnd(map);
  assertEquals(logger.lines, []);
  assertEquals(clock.armed, 0);
});

// The deadline of shutdown()

Deno.test("shutdown() says at its deadline what was lost", async () => {
  const { clock, logger, map } = setUp();
  const [first, second] = [new FakeChannel(), new FakeChannel()];
  first.take = second.take = () => new Promise(() => {});
  const open = new DispatcherWithSend(first, { map });
  open.handleShutdown = () => {};
  open.send(bytes("spam"));
  const closed = new DispatcherWithSend(second, { map });
  closed.send(bytes("spam and eggs"));
  closed.close();
  const client = new DispatcherWithSend(null, { map });
  client.createSocket();
  client.connect({ port: 7 });
  client.send(bytes("spam, spam"));
  client.close();
  const ended = shutdown({ map, deadline: 1_000 });
  await clock.advance(1_000);
  assertEquals(await ended, result(0, 3));
  const losses = logger.lines.map((line) =>
    /lost (\d+) accepted bytes \((.*)\)/.exec(line)?.slice(1)
  );
  const reason = "Error: the deadline of shutdown() was over";
  assertEquals(losses.sort(), [["10", reason], ["13", reason], ["4", reason]]);
  assertEquals([map.size, map.lingering, clock.armed], [0, 0, 0]);
});

Deno.test("shutdown() counts a connection as closed whose peer is quiet at the deadline", async () => {
  const { clock, logger, map } = setUp();
  const channel = new FakeChannel();
  channel.staysOpen = true;
  new DispatcherWithSend(channel, { map }).send(bytes("spam"));
  const ended = shutdown({ map, deadline: 1_000 });
  await clock.advance(1_000);
  assertEquals(await ended, result(1, 0));
  assert(channel.closed);
  assertEquals(logger.lines, [], "nobody knows whether something was lost");
});

Deno.test("shutdown() counts a connection as aborted whose peer talks at the deadline", async () => {
  const { clock, logger, map } = setUp();
  const channel = new FakeChannel();
  channel.staysOpen = true;
  new DispatcherWithSend(channel, { map }).send(bytes("spam"));
  const ended = shutdown({ map, deadline: 1_000 });
  await turns();
  channel.push("blah");
  await clock.advance(1_000);
  assertEquals(await ended, result(0, 1));
  assert(channel.closed);
  assertMatch(logger.lines.join(), /its peer went on talking/);
});

// Who need not wait

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

Deno.test({
  name: "loop() waits for no peer's end over a Unix socket",
  ignore: TRANSPORTS.find(({ name }) => name === "Unix")!.ignore,
  fn: async () => {
    const { clock, logger, map } = setUp();
    const { connect } = TRANSPORTS.find(({ name }) => name === "Unix")!;
    const [conn, peer] = await connect();
    const handler = new DispatcherWithSend(conn, { map });
    handler.send(bytes("spam"));
    handler.close();
    await loopToEnd(map);
    assertEquals(await readToEnd(peer), { length: 4, last: "end" });
    assertEquals([logger.lines, clock.armed], [[], 0]);
    peer.close();
  },
});

Deno.test("loop() waits for nothing but the writing of a file", async () => {
  const { clock, map } = setUp();
  const path = await Deno.makeTempFile();
  const file = new FileDispatcher(await Deno.open(path, { write: true }), {
    map,
  });
  file.send(bytes("spam"));
  file.close();
  await loopToEnd(map);
  assertEquals(await Deno.readTextFile(path), "spam");
  assertEquals(clock.armed, 0);
  await Deno.remove(path);
});

Deno.test("loop() waits for no peer's end over a memoryPair()", async () => {
  const { clock, logger, map } = setUp();
  const [ours, theirs] = memoryPair();
  const handler = new DispatcherWithSend(ours, { map });
  handler.send(bytes("spam"));
  await theirs.write(bytes("unread"));
  handler.close();
  await loopToEnd(map);
  const buffer = new Uint8Array(9);
  assertEquals(await theirs.read(buffer), 4);
  assertEquals(await theirs.read(buffer), null);
  assertEquals([logger.lines, clock.armed], [[], 0]);
});

Deno.test("channelFrom() of a connection lets a peer that reads late have everything", async () => {
  const { logger, map } = setUp();
  const { connect, kernel } = TRANSPORTS[0]!;
  const [conn, peer] = await connect();
  const handler = new DispatcherWithSend(channelFrom(conn), { map });
  handler.send(new Uint8Array(kernel));
  const ended = loopToEnd(map);
  await until(() => handler.bufferedAmount === 0, "the kernel");
  handler.close();
  await turns();
  await peer.write(bytes("well"));
  await turns();
  assertEquals(await readToEnd(peer), { length: kernel, last: "end" });
  peer.close();
  await ended;
  assertEquals(logger.lines, []);
});

// TLS that begins late

testTls(
  "close() right after startTls() and send() lets a peer that reads late have everything",
  async () => {
    const { ca, good } = certificates();
    const logger = new LogLines();
    const map = quietMap({ logger });
    using listener = Deno.listenTls({
      hostname: "127.0.0.1",
      port: 0,
      ...good,
    });
    class Client extends DispatcherWithSend {
      override handleConnect(): void {
        this.startTls({ caCerts: [ca], hostname: "localhost" });
        this.send(new Uint8Array(1_500_000));
        this.close();
      }
    }
    const client = new Client(null, { map });
    client.createSocket();
    client.connect(listener.addr as Deno.NetAddr);
    const received = listener.accept().then(async (conn) => {
      await conn.handshake();
      await until(() => client.bufferedAmount === 0, "the kernel");
      await turns();
      assert(client.closing, "we have not ended our side");
      await conn.write(bytes("well"));
      const read = await readToEnd(conn);
      conn.close();
      return read;
    });
    await loopToEnd(map);
    assertEquals(await received, { length: 1_500_000, last: "end" });
    assertEquals(logger.lines, []);
  },
);
