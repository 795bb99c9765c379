import {
  assert,
  assertEquals,
  assertFalse,
  assertGreater,
  assertInstanceOf,
  assertLess,
  assertMatch,
} from "@std/assert";
import {
  type Channel,
  closeAll,
  Dispatcher,
  type DispatcherOptions,
  DispatcherWithSend,
  loop,
  poll,
} from "../mod.ts";
import {
  FakeChannel,
  FakeNetwork,
  LogLines,
  loopToEnd,
  newSeed,
  passes,
  pattern,
  quietMap,
  randomFrom,
  Recorder,
  rest,
  watch,
} from "./fakes.ts";
import { MockClock } from "../testing/mock_clock.ts";
import {
  bytes,
  connectedPair,
  loopUntil,
  PATIENCE,
  StrictDispatcher,
  type TestMap,
  TestServer,
  text,
  turns,
} from "./support.ts";

const SENDERS = [Dispatcher, DispatcherWithSend];

/** Waits, where the lateness of a peer is the point. */
function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Reads a connection to its end, and ends it too; tells of bytes that come. */
async function readAll(
  conn: Deno.Conn,
  onBytes: (length: number) => void | Promise<void> = () => {},
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  const buffer = new Uint8Array(64 * 1024);
  for (;;) {
    const length = await conn.read(buffer);
    if (length === null) break;
    chunks.push(buffer.slice(0, length));
    await onBytes(length);
  }
  await conn.closeWrite().catch(() => {}); // It may be broken.
  return new Uint8Array(await new Blob(chunks as BlobPart[]).arrayBuffer());
}

/** Compares megabytes without printing them. */
function assertSameBytes(actual: Uint8Array, expected: Uint8Array): void {
  assertEquals(actual.length, expected.length);
  const at = actual.findIndex((byte, i) => byte !== expected[i]);
  assertEquals(at, -1, `differs at ${at}`);
}

/** A channel whose writes wait for the test. */
function gatedChannel() {
  const channel = new FakeChannel();
  const gate = Promise.withResolvers<void>();
  channel.take = (data) => gate.promise.then(() => data.length);
  return { channel, open: () => gate.resolve() };
}

// Closing with bytes on their way

for (const Sender of SENDERS) {
  Deno.test(`${Sender.name}.close() after an 8 MiB send() reaches a reader that starts late`, async () => {
    const map = quietMap();
    const payload = pattern(8 * 1024 * 1024);
    let read = 0;
    const server = new TestServer(map, (conn) => {
      server.close();
      const handler = new Sender(conn, { map });
      assertEquals(handler.send(payload), payload.length);
      handler.close();
      assertEquals(map.size, 0);
      assert(handler.closing);
    });
    const { port } = server.addr as Deno.NetAddr;
    const client = await Deno.connect({ hostname: "127.0.0.1", port });
    const reading = delay(300)
      .then(() => readAll(client, (length) => void (read += length)))
      .finally(() => client.close());
    await loopToEnd(map);
    assertGreater(read, 0, "loop() ended before the reader had begun");
    assertSameBytes(await reading, payload);
  });

  Deno.test(`${Sender.name}.close() lets out what was accepted, then closes; loop() ends after it`, async () => {
    const clock = new MockClock();
    const map = quietMap({ clock });
    const { channel, open } = gatedChannel();
    const handler = new Sender(channel, { map });
    handler.send(bytes("spam"));
    handler.send(bytes("eggs"));
    handler.close();
    assertEquals(map.size, 0);
    assert(handler.closing);
    assertFalse(handler.connected);
    const done = watch(loop({ map }));
    await clock.advance(1_000);
    assertFalse(done.settled);
    assertFalse(channel.closed);
    open();
    await turns();
    assert(done.settled);
    assertEquals(channel.sent, "spameggs");
    assert(channel.closed);
    assertFalse(handler.closing);
    assertEquals(clock.armed, 0);
  });

  Deno.test(`${Sender.name}.send() leaves the caller free to change the bytes`, async () => {
    const map = quietMap();
    const { channel, open } = gatedChannel();
    const handler = new Sender(channel, { map });
    const data = bytes("spam");
    for (const word of ["spam", "eggs", "rice"]) {
      data.set(bytes(word));
      handler.send(data);
    }
    const large = pattern(40_000);
    const copy = large.slice();
    handler.send(large);
    large.fill(0);
    data.fill(0);
    handler.close();
    open();
    await loopToEnd(map);
    const all = new Uint8Array(
      await new Blob(channel.writes as BlobPart[]).arrayBuffer(),
    );
    assertEquals(text(all.subarray(0, 12)), "spameggsrice");
    assertSameBytes(all.subarray(12), copy);
  });

  Deno.test(`${Sender.name}.send() gathers small sends while a write is in flight`, async () => {
    const map = quietMap();
    const { channel, open } = gatedChannel();
    const handler = new Sender(channel, { map });
    for (let i = 0; i < 100; i++) handler.send(bytes("spam"));
    open();
    await turns();
    assertEquals(channel.sent, "spam".repeat(100));
    assert(channel.writeCalls <= 2, `${channel.writeCalls} writes`);
    handler.close();
  });

  Deno.test(`${Sender.name}.send() goes on after a partial write`, async () => {
    const seed = newSeed();
    const random = randomFrom(seed);
    const map = quietMap();
    const channel = new FakeChannel();
    channel.take = async (data) => {
      if (random() < 0.5) await turns();
      return 1 + Math.floor(random() * data.length);
    };
    const handler = new Sender(channel, { map });
    let expected = "";
    for (let i = 0; i < 200; i++) {
      const word = `<${i}>`.repeat(1 + Math.floor(random() * 50));
      if (handler.send(bytes(word)) > 0) expected += word;
      if (random() < 0.3) await poll(0, map);
    }
    handler.close();
    await loopToEnd(map);
    assertEquals(channel.sent === expected, true, `seed ${seed}`);
  });

  Deno.test(`${Sender.name} to which a channel takes no bytes gets an error, and no spin`, async () => {
    const map = quietMap();
    const channel = new FakeChannel();
    channel.take = () => 0;
    const errors: unknown[] = [];
    class Sending extends Sender {
      override handleError(error: unknown): void {
        errors.push(error);
        this.close();
      }
    }
    const handler = new Sending(channel, { map });
    handler.send(bytes("spam"));
    await passes(map, 5);
    assertEquals(channel.writeCalls, 1);
    assertEquals(errors.length, 1);
    assertInstanceOf(errors[0], Deno.errors.WriteZero);
    assert(channel.closed);
  });
}

/** A dispatcher whose peer takes nothing, and that has something to send. */
function makeStuck(options: DispatcherOptions, clock = new MockClock()) {
  const logger = new LogLines();
  const map = quietMap({ clock, logger });
  const { channel, open } = gatedChannel();
  class Noisy extends Dispatcher {}
  const handler = new Noisy(channel, { map, ...options });
  handler.ignoreLogTypes = new Set();
  handler.send(bytes("spam"));
  return { clock, map, logger, channel, handler, open };
}

for (const linger of [undefined, 100]) {
  const ms = linger ?? 5_000;
  Deno.test(`Dispatcher.close() gives up when its linger time of ${ms} ms is over`, async () => {
    const { clock, map, logger, channel, handler } = makeStuck(
      linger === undefined ? {} : { linger },
    );
    handler.close();
    const done = watch(loop({ map }));
    await clock.advance(ms - 1);
    assertFalse(done.settled);
    assertFalse(channel.closed);
    assertEquals(logger.lines, []);
    await clock.advance(1);
    assert(channel.closed);
    assertEquals(logger.lines.length, 1);
    assertMatch(
      logger.lines[0]!,
      /^warn: <Noisy> was closed and lost 4 accepted bytes \(.*\d+ ms\)$/,
    );
    await turns();
    assert(done.settled);
    assertFalse(handler.closing);
    assertEquals(clock.armed, 0);
  });
}

Deno.test("Dispatcher.close() gives up on a real peer that never reads", async () => {
  const map = quietMap();
  const [ours, theirs] = await connectedPair();
  const [others, far] = await connectedPair();
  const patient = new Recorder(map, others, { linger: 10 * PATIENCE });
  const handler = new Recorder(map, ours, { linger: 50 });
  const started = performance.now();
  for (const one of [patient, handler]) {
    one.send(new Uint8Array(32 * 1024 * 1024));
    one.close();
  }
  await loopUntil(map, () => !handler.closing);
  assertGreater(performance.now() - started, 45);
  assert(patient.closing, "for as long as its own linger time says");
  patient.abort();
  far.close();
  await loopToEnd(map);
  assertEquals(handler.trace, []);
  theirs.close();
});

Deno.test("Dispatcher.close() with no linger time drops what was not sent", async () => {
  const { map, channel, handler, clock } = makeStuck({ linger: 0 });
  handler.close();
  assert(channel.closed);
  assertFalse(handler.closing);
  const done = watch(loop({ map }));
  await turns();
  assert(done.settled);
  assertEquals(clock.timeoutsSet, 0);
});

Deno.test("Dispatcher.abort() drops what was not sent", async () => {
  const { map, channel, handler } = makeStuck({});
  handler.abort();
  assert(channel.closed);
  assertEquals(map.size, 0);
  const done = watch(loop({ map }));
  await turns();
  assert(done.settled);
  assertEquals(channel.sent, "");
});

Deno.test("Dispatcher.abort() after close() cuts the lingering short", async () => {
  const { map, channel, handler, clock } = makeStuck({});
  handler.close();
  const done = watch(loop({ map }));
  await turns();
  assertFalse(done.settled);
  handler.abort();
  assert(channel.closed);
  await turns();
  assert(done.settled);
  assertFalse(handler.closing);
  assertEquals(clock.armed, 0);
});

Deno.test("Dispatcher.close() lingers on although the peer's connection fails", async () => {
  const { map, channel, handler, logger } = makeStuck({});
  channel.take = () => Promise.reject(new Deno.errors.BrokenPipe("spam"));
  const other = makeStuck({});
  other.channel.take = () => Promise.reject(new Error("spam"));
  handler.abort();
  other.channel.close();
  other.handler.close();
  await loopToEnd(map);
  await loopToEnd(other.map);
  assertEquals(logger.lines, []);
});

Deno.test("closeAll() lets accepted bytes go out", async () => {
  const { map, channel, open } = makeStuck({});
  const done = watch(loop({ map }));
  closeAll(map);
  await turns();
  assertFalse(done.settled);
  open();
  await turns();
  assertEquals(channel.sent, "spam");
  assert(done.settled);
});

Deno.test("loop({ signal }) returns although bytes are on their way, and loop() waits for them", async () => {
  const { map, channel, handler, open } = makeStuck({});
  handler.close();
  const controller = new AbortController();
  const first = watch(loop({ map, signal: controller.signal }));
  await turns();
  controller.abort();
  await turns();
  assert(first.settled);
  const second = watch(loop({ map }));
  await turns();
  assertFalse(second.settled);
  open();
  await turns();
  assert(second.settled);
  assertEquals(channel.sent, "spam");
});

Deno.test("Dispatcher.close() outside its map still sends", async () => {
  const { map, channel, handler, open } = makeStuck({});
  handler.delChannel();
  handler.close();
  const done = watch(loop({ map }));
  open();
  await turns();
  assertEquals(channel.sent, "spam");
  assert(channel.closed);
  assert(done.settled);
});

Deno.test("Dispatcher.close() is a no-op the second time", async () => {
  const { map, channel, handler, open } = makeStuck({});
  handler.close();
  handler.close();
  open();
  await loopToEnd(map);
  handler.close();
  handler[Symbol.dispose]();
  handler.abort();
  assertEquals(channel.sent, "spam");
  new Dispatcher(null, { map }).close();
  assertEquals(map.size, 0);
});

Deno.test("Dispatcher.close() is called by a using block", () => {
  const map = quietMap();
  const channel = new FakeChannel();
  {
    using handler = new Recorder(map, channel);
    assert(handler.connected);
  }
  assert(channel.closed);
  assertEquals(map.size, 0);
});

Deno.test("Dispatcher.close() keeps the state of a dispatcher that is over", () => {
  const map = quietMap();
  const handler = new Recorder(map, new FakeChannel());
  handler.close();
  assertEquals(
    [handler.connected, handler.accepting, handler.connecting, handler.closing],
    [false, false, false, false],
  );
  assertEquals(handler.socket, null);
  assertEquals(handler.send(bytes("spam")), 0);
  assertEquals(handler.recv().length, 0);
});

// Closing while connecting

/** A buffered client that has accepted bytes and is closed while connecting. */
function closeWhileConnecting() {
  const network = new FakeNetwork();
  const clock = new MockClock();
  const map = quietMap({ network, clock });
  class Silent extends DispatcherWithSend {
    override handleConnect(): void {
      throw new Error("handleConnect() was not expected");
    }
    override handleError(error: unknown): void {
      throw error;
    }
    override handleClose(): void {
      throw new Error("handleClose() was not expected");
    }
  }
  const client = new Silent(null, { map });
  client.createSocket();
  client.connect({ port: 7 });
  assertEquals(client.send(bytes("spam")), 4);
  client.close();
  const done = watch(loop({ map }));
  return { network, clock, map, client, done };
}

Deno.test("DispatcherWithSend.close() while connecting sends what was accepted", async () => {
  const { network, map, client, done } = closeWhileConnecting();
  await turns();
  assert(client.closing);
  assertFalse(done.settled);
  assertFalse(network.signals[0]!.aborted);
  const channel = new FakeChannel();
  network.succeed(channel);
  await turns();
  assertEquals(channel.sent, "spam");
  assert(channel.closed);
  assert(done.settled);
  map.check();
});

Deno.test("DispatcherWithSend.close() while connecting ends when the connect fails", async () => {
  const { network, map, done } = closeWhileConnecting();
  await turns();
  network.fail(new Deno.errors.ConnectionRefused("spam"));
  await turns();
  assert(done.settled);
  map.check();
});

Deno.test("DispatcherWithSend.close() while connecting aborts after the linger time", async () => {
  const { network, clock, map, done } = closeWhileConnecting();
  await clock.advance(4_999);
  assertFalse(network.signals[0]!.aborted);
  await clock.advance(1);
  assert(network.signals[0]!.aborted);
  await turns();
  assert(done.settled);
  map.check();
});

Deno.test("DispatcherWithSend.close() sends although the finished connect was not dispatched", async () => {
  const network = new FakeNetwork();
  const map = quietMap({ network });
  const client = new DispatcherWithSend(null, { map });
  client.createSocket();
  client.connect({ port: 7 });
  client.send(bytes("spam"));
  const channel = new FakeChannel();
  network.succeed(channel);
  await turns();
  client.close();
  await loopToEnd(map);
  assertEquals(channel.sent, "spam");
  assert(channel.closed);
});

Deno.test("DispatcherWithSend.send() then close() reaches a real server", async () => {
  const map = quietMap();
  const payload = pattern(1024 * 1024);
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const client = new DispatcherWithSend(null, { map });
  client.createSocket();
  client.connect(listener.addr);
  client.send(payload);
  client.close();
  const receiving = listener.accept().then(async (conn) => {
    const data = await readAll(conn);
    conn.close();
    return data;
  });
  await loopToEnd(map);
  assertSameBytes(await receiving, payload);
});

// No hook after close()

Deno.test("Dispatcher gets no hook after close()", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  class Quiet extends StrictDispatcher {
    override handleWrite(): void {
      throw new Error("handleWrite() was not expected");
    }
  }
  const handler = new Quiet(map, channel);
  handler.callLater(0, () => {
    throw new Error("a timer was not expected");
  });
  handler.close();
  channel.push("spam", null);
  await poll(0, map);
  await poll(0, map);
  map.check();
});

Deno.test("Dispatcher gets no hook after close(), whatever was ready", async () => {
  const ends = [
    "spam",
    null,
    new Deno.errors.ConnectionReset("x"),
    new Error(),
  ];
  for (const end of ends) {
    const clock = new MockClock();
    const map = quietMap({ clock });
    const channel = new FakeChannel();
    const handler = new StrictDispatcher(map, channel);
    const other = new Recorder(map, new FakeChannel());
    await passes(map, 1);
    handler.send(bytes("spam"));
    channel.push(end);
    await turns();
    handler.close();
    await passes(map, 5);
    await clock.advance(10_000);
    map.check();
    other.close();
  }
});

Deno.test("handleClose() runs once, whichever way the connection ends twice", async () => {
  const clock = new MockClock();
  const map = quietMap({ clock });
  const channel = new FakeChannel();
  channel.take = () => Promise.reject(new Deno.errors.BrokenPipe("spam"));
  class Twice extends Recorder {
    override handleClose(): void {
      this.note("handleClose");
      this.recv();
      assert(this.connected, "it is this hook that closes");
      this.close();
      this.recv();
    }
  }
  const handler = new Twice(map, channel);
  handler.send(bytes("spam"));
  channel.push(null);
  watch(loop({ map }));
  await clock.advance(1_000);
  assertEquals(handler.count("handleClose"), 1);
  assertEquals(map.size, 0);
  assertEquals(map.errors, []);
});

// What the peer sends is not lost, nor what it has yet to receive

Deno.test("Dispatcher.close() with unread bytes does not reset away its answer", async () => {
  const map = quietMap();
  const answer = pattern(4 * 1024 * 1024);
  let isAsked = false;
  class Rude extends Dispatcher {
    override readable(): boolean {
      return false;
    }
  }
  const server = new TestServer(map, (conn) => {
    server.close();
    const handler = new Rude(conn, { map });
    handler.callEvery(1, () => {
      if (!isAsked) return;
      handler.send(answer);
      handler.close();
    });
  });
  const { port } = server.addr as Deno.NetAddr;
  const client = await Deno.connect({ hostname: "127.0.0.1", port });
  await client.write(pattern(64 * 1024));
  isAsked = true; // It has arrived, and lies unread.
  let chunks = 0;
  const reading = readAll(client, async () => {
    if (++chunks % 16 === 0) await delay(1);
  }).finally(() => client.close());
  await loopToEnd(map);
  assertSameBytes(await reading, answer);
});

Deno.test("Dispatcher.close() while the peer still pushes does not reset away its answer", async () => {
  const map = quietMap();
  const answer = pattern(1024 * 1024);
  class Rude extends Dispatcher {
    override readable(): boolean {
      return false;
    }
  }
  const server = new TestServer(map, (conn) => {
    server.close();
    const handler = new Rude(conn, { map });
    handler.callLater(10, () => {
      handler.send(answer);
      handler.close();
    });
  });
  const { port } = server.addr as Deno.NetAddr;
  using client = await Deno.connect({ hostname: "127.0.0.1", port });
  const pushing = (async () => {
    for (let i = 0; i < 60; i++) {
      await client.write(pattern(8 * 1024));
      await delay(2);
    }
    await client.closeWrite();
  })();
  const reading = pushing.then(() => readAll(client));
  await Promise.all([loopToEnd(map), pushing]);
  assertSameBytes(await reading, answer);
});

Deno.test("Dispatcher.close() of an answer already sent does not reset it away either", async () => {
  const map = quietMap();
  const answer = pattern(1024 * 1024);
  let isClosed = false;
  class Rude extends Dispatcher {
    override readable(): boolean {
      return false;
    }
  }
  const server = new TestServer(map, (conn) => {
    server.close();
    const handler = new Rude(conn, { map });
    handler.callLater(10, () => void handler.send(answer));
    handler.callLater(50, () => {
      handler.close();
      isClosed = true;
    });
  });
  const { port } = server.addr as Deno.NetAddr;
  const client = await Deno.connect({ hostname: "127.0.0.1", port });
  await client.write(pattern(64 * 1024));
  await loopUntil(map, () => isClosed);
  const reading = readAll(client).finally(() => client.close());
  await loopToEnd(map);
  assertSameBytes(await reading, answer);
});

/** A dispatcher that reads nothing, though its peer sends, and has answered. */
async function leaveUnread() {
  const clock = new MockClock();
  const map = quietMap({ clock });
  const channel = new FakeChannel();
  channel.staysOpen = true;
  const handler = new Moody(map, channel);
  handler.wants = false;
  handler.send(bytes("answer"));
  await turns();
  channel.push("unread");
  return { clock, map, channel, handler, done: watch(loop({ map })) };
}

Deno.test("Dispatcher.close() ends the writing direction and reads what nobody wants", async () => {
  const { clock, channel, handler, done } = await leaveUnread();
  handler.close();
  assert(handler.closing);
  await turns();
  assert(channel.writeEnded);
  assertEquals(channel.unread, 0);
  assertFalse(channel.closed);
  for (const more of ["more", "and more"]) {
    await clock.advance(150);
    assertFalse(channel.closed, "a peer that talks gets time to stop");
    channel.push(more);
    await turns();
    assertEquals(channel.unread, 0);
  }
  assertFalse(done.settled);
  channel.push(null);
  await turns();
  assert(channel.closed);
  assert(done.settled);
  assertEquals(handler.trace, []);
  assertEquals(clock.armed, 0);
});

Deno.test("Dispatcher.close() between two pieces of a peer's lets it go on talking", async () => {
  const clock = new MockClock();
  const map = quietMap({ clock });
  const channel = new FakeChannel();
  channel.staysOpen = true;
  const handler = new Recorder(map, channel);
  const done = watch(loop({ map }));
  channel.push("first");
  await turns(); // and a read waits for the next
  handler.send(bytes("answer"));
  handler.close();
  await turns();
  assert(channel.writeEnded);
  await clock.advance(4_900);
  assertFalse(channel.closed, "what comes now would be answered with a reset");
  channel.push("second", null);
  await turns();
  assert(channel.closed);
  assert(done.settled);
  assertEquals(channel.unread, 0);
  assertEquals(clock.armed, 0);
});

Deno.test("Dispatcher.close() waits a linger time for the end of a peer that is quiet", async () => {
  const { clock, channel, handler, done } = await leaveUnread();
  handler.close();
  await clock.advance(4_999);
  assertFalse(channel.closed, "the kernel may hold megabytes for it");
  assertFalse(done.settled);
  await clock.advance(1);
  assert(channel.closed);
  assert(done.settled);
});

Deno.test("Dispatcher.close() gives up on a peer that never stops talking", async () => {
  const { clock, channel, handler, done } = await leaveUnread();
  handler.close();
  for (let ms = 0; ms < 30_000; ms += 500) {
    assertFalse(channel.closed);
    channel.push("blah");
    await clock.advance(500);
  }
  assert(channel.closed, "after six linger times");
  assert(done.settled);
  assertEquals(clock.armed, 0);
});

Deno.test("Dispatcher.close() waits for nothing when nothing was sent", async () => {
  const clock = new MockClock();
  const map = quietMap({ clock });
  const channel = new FakeChannel();
  const handler = new Recorder(map, channel);
  await passes(map, 2);
  channel.push("unread");
  handler.close();
  assert(channel.closed);
  assertFalse(handler.closing);
});

Deno.test("Dispatcher.close() waits for nothing when the peer has ended its side", async () => {
  const clock = new MockClock();
  const map = quietMap({ clock });
  const channel = new FakeChannel();
  const handler = new Moody(map, channel);
  handler.send(bytes("answer"));
  channel.push(null);
  await turns();
  handler.wants = true;
  await passes(map, 1);
  handler.close();
  assert(channel.closed);
  assertFalse(handler.closing);
});

// Sending

Deno.test("Dispatcher.send() takes nothing while 64 KiB are on their way", async () => {
  const clock = new MockClock();
  const map = quietMap({ clock });
  const { channel, open } = gatedChannel();
  const data = new Uint8Array(64 * 1024);
  class Sender extends Recorder {
    override handleWrite(): void {
      this.note("handleWrite");
    }
  }
  const handler = new Sender(map, channel);
  assertEquals(handler.send(data), data.length);
  assertEquals(handler.send(data), 0);
  watch(loop({ map }));
  await turns();
  assertEquals(handler.count("handleWrite"), 0);
  open();
  await turns();
  assertEquals(handler.count("handleWrite"), 1);
  assertEquals(handler.send(data), data.length);
  await turns();
  assertEquals(channel.writes.length, 2);
});

// Receiving

Deno.test("recv() gives bytes that later reads leave alone", async () => {
  const random = randomFrom(newSeed());
  const map = quietMap();
  const channel = new FakeChannel();
  const kept: Uint8Array[] = [];
  class Keeper extends Recorder {
    override handleRead(): void {
      const data = random() < 0.7
        ? this.recv()
        : this.recv(1 + Math.floor(random() * 3_000));
      if (data.length > 0) kept.push(data);
    }
  }
  new Keeper(map, channel);
  const sizes = [
    1,
    2,
    1_000,
    1_024,
    2_047,
    2_048,
    2_049,
    8_192,
    40_000,
    65_536,
  ];
  const sent: Uint8Array[] = [];
  for (let i = 0; i < 200; i++) {
    const data = pattern(sizes[Math.floor(random() * sizes.length)]!)
      .map((byte) => byte ^ i);
    sent.push(data);
    channel.push(data);
  }
  channel.push(null);
  await loopToEnd(map);
  const join = (chunks: Uint8Array[]) =>
    new Blob(chunks as BlobPart[]).arrayBuffer().then((all) =>
      new Uint8Array(all)
    );
  assertSameBytes(await join(kept), await join(sent));
});

Deno.test("recv() gives bytes that the caller may change", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const kept: string[] = [];
  class Vandal extends Recorder {
    override handleRead(): void {
      const data = this.recv(4);
      kept.push(text(data));
      data.fill(0);
      new Uint8Array(data.buffer).fill(0);
    }
  }
  const handler = new Vandal(map, channel);
  channel.push("spameggsrice");
  await rest(map);
  assertEquals(kept, ["spam", "eggs", "rice"]);
  handler.close();
});

Deno.test("recv(size) that leaves bytes brings another handleRead(), without a read", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const kept: string[] = [];
  class Sipper extends Recorder {
    override handleRead(): void {
      kept.push(text(this.recv(3)));
    }
  }
  const handler = new Sipper(map, channel);
  channel.push("0123456789");
  await passes(map, 4);
  assertEquals(kept, ["012", "345", "678", "9"]);
  await passes(map, 3);
  assertEquals(kept.length, 4);
  assertEquals(channel.reads, 2);
  handler.close();
});

Deno.test("recvInto() fills the target and leaves the rest for another handleRead()", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const kept: string[] = [];
  class Sipper extends Recorder {
    readonly target = new Uint8Array(4);
    override handleRead(): void {
      const length = this.recvInto(this.target);
      kept.push(text(this.target.subarray(0, length)));
    }
  }
  const handler = new Sipper(map, channel);
  channel.push("0123456789", "xy", null);
  await rest(map);
  assertEquals(kept, ["0123", "4567", "89", "xy", ""]);
  assertEquals(handler.trace, ["handleClose"]);
});

Deno.test("recv() twice in one handleRead() says that nothing waits", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  class Greedy extends Recorder {
    override handleRead(): void {
      this.recv();
      this.recv();
    }
  }
  const handler = new Greedy(map, channel);
  channel.push("spam");
  await passes(map, 3);
  assertInstanceOf(handler.errors[0], Deno.errors.WouldBlock);
});

/** Reads only while it wants to. */
class Moody extends Recorder {
  wants = true;
  override readable(): boolean {
    return this.wants;
  }
}

Deno.test("Dispatcher that is not readable() holds at most one buffer", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const handler = new Moody(map, channel);
  handler.wants = false;
  channel.push("a", "b", "c", "d");
  await passes(map, 5);
  assertEquals(channel.reads, 0);
  handler.wants = true;
  await passes(map, 1);
  assertEquals(handler.received, "a");
  await passes(map, 1);
  handler.wants = false;
  await passes(map, 5);
  const { received } = handler;
  assert(channel.reads - received.length <= 1, "more than one read ahead");
  assertEquals(handler.received, received);
  handler.wants = true;
  await passes(map, 5);
  assertEquals(handler.received, "abcd");
});

Deno.test("Dispatcher delivers later what arrived while it was not readable()", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const handler = new Moody(map, channel);
  await passes(map, 1); // A read is in flight.
  handler.wants = false;
  channel.push("spam", null);
  await passes(map, 5);
  assertEquals(handler.trace, []);
  assertEquals(channel.reads, 1);
  handler.wants = true;
  await passes(map, 4);
  assertEquals(handler.received, "spam");
  assertEquals(handler.trace, ["handleRead", "handleRead", "handleClose"]);
});

Deno.test("Dispatcher that is not readable() closes the window of a real peer", async () => {
  const map = quietMap();
  const [ours, theirs] = await connectedPair();
  const payload = pattern(16 * 1024 * 1024);
  const kept: Uint8Array[] = [];
  class Keeper extends Moody {
    override handleRead(): void {
      const data = this.recv();
      if (data.length > 0) kept.push(data);
    }
  }
  const handler = new Keeper(map, ours);
  handler.wants = false;
  let written = 0;
  const writing = (async () => {
    while (written < payload.length) {
      written += await theirs.write(payload.subarray(written));
    }
    theirs.close();
  })();
  for (let before = -1; before !== written;) {
    before = written;
    await poll(50, map);
  }
  assertLess(written, payload.length, "the peer could send everything");
  assertEquals(kept.length, 0);
  handler.wants = true;
  await Promise.all([writing, loopToEnd(map)]);
  const all = await new Blob(kept as BlobPart[]).arrayBuffer();
  assertSameBytes(new Uint8Array(all), payload);
});

// A connection that broke

/** Starts a loop over a dispatcher whose connection breaks as it writes. */
function breakWhileSending() {
  const clock = new MockClock();
  const map: TestMap = quietMap({ clock });
  const channel = new FakeChannel();
  channel.take = () => Promise.reject(new Deno.errors.BrokenPipe("spam"));
  const handler = new Moody(map, channel);
  watch(loop({ map }));
  return { clock, map, channel, handler };
}

Deno.test("Dispatcher delivers the last bytes of a broken connection before handleClose()", async () => {
  const { clock, map, channel, handler } = breakWhileSending();
  await turns();
  handler.send(bytes("spam"));
  await clock.advance(10);
  assertEquals(handler.trace, []);
  channel.push("last ");
  await turns();
  channel.push("words", null);
  await clock.advance(1_000);
  assertEquals(handler.received, "last words");
  assertEquals(handler.trace.at(-1), "handleClose");
  assertEquals(handler.count("handleClose"), 1);
  assertEquals(map.size, 0);
});

Deno.test("Dispatcher reads a connection that broke before the loop has looked at it", async () => {
  const map = quietMap();
  const pass = poll(0, map);
  const channel = new FakeChannel();
  channel.take = () => Promise.reject(new Deno.errors.BrokenPipe("spam"));
  channel.push("eggs", null);
  const handler = new Moody(map, channel);
  handler.send(bytes("spam"));
  await pass;
  await loopToEnd(map);
  assertEquals(handler.received, "eggs");
  assertEquals(handler.count("handleClose"), 1);
});

Deno.test("Dispatcher delivers last bytes that come as the wait for them ends", async () => {
  const { clock, map, channel, handler } = breakWhileSending();
  await turns();
  handler.send(bytes("spam"));
  await turns();
  // This thread was busy: it sees the timer first, and the read a turn later.
  clock.skip(300);
  map.wake();
  setImmediate(() => channel.push("late", null));
  await turns();
  assertEquals(handler.received, "late");
  assertEquals(handler.count("handleClose"), 1);
  assertEquals(map.size, 0);
});

Deno.test("Dispatcher delivers bytes that it held when the connection broke", async () => {
  const { clock, map, channel, handler } = breakWhileSending();
  await turns();
  handler.wants = false;
  channel.push("held");
  await clock.advance(10);
  handler.send(bytes("spam"));
  await turns();
  handler.wants = true;
  map.wake();
  await clock.advance(1_000);
  assertEquals(handler.received, "held");
  assertEquals(handler.trace, ["handleRead", "handleClose"]);
});

Deno.test("Dispatcher delivers the last bytes of a connection that broke while a hook was pending", async () => {
  const { clock, map, channel, handler } = breakWhileSending();
  const hook = Promise.withResolvers<void>();
  const { handleRead } = handler;
  handler.handleRead = () => {
    handler.handleRead = handleRead;
    handler.recv();
    return hook.promise;
  };
  channel.push("first");
  await turns();
  channel.push("last words"); // and nobody reads meanwhile
  handler.send(bytes("spam"));
  await turns();
  hook.resolve();
  await clock.advance(1_000);
  assertEquals(handler.received, "last words");
  assertEquals(handler.trace, ["handleRead", "handleClose"]);
  assertEquals(map.size, 0);
});

Deno.test("Dispatcher of a broken and silent connection gets handleClose() soon", async () => {
  const { clock, map, handler } = breakWhileSending();
  await turns();
  handler.send(bytes("spam"));
  await clock.advance(1_000);
  assertEquals(handler.trace, ["handleClose"]);
  assertEquals(map.size, 0);
});

Deno.test("Dispatcher delivers what a real peer sent before it went away", async () => {
  const map = quietMap();
  const [ours, theirs] = await connectedPair();
  class Chatty extends Recorder {
    override handleWrite(): void {
      this.send(new Uint8Array(1024));
    }
  }
  await theirs.write(bytes("good bye"));
  theirs.close();
  const handler = new Chatty(map, ours);
  await loopToEnd(map);
  assertEquals(handler.received, "good bye");
  assertEquals(handler.count("handleClose"), 1);
  assertEquals(handler.errors, []);
});

Deno.test("Dispatcher that echoes at full speed loses and reorders nothing", async () => {
  const random = randomFrom(newSeed());
  const map = quietMap();
  const payload = pattern(3 * 1024 * 1024);
  class Copier extends DispatcherWithSend {
    override handleRead(): void {
      this.send(this.recv(1 + Math.floor(random() * 100_000)));
    }
    override handleClose(): void {
      this.close();
    }
  }
  const server = new TestServer(map, (conn: Channel) => {
    server.close();
    new Copier(conn, { map });
  });
  const { port } = server.addr as Deno.NetAddr;
  using client = await Deno.connect({ hostname: "127.0.0.1", port });
  let all: Uint8Array | null = null;
  readAll(client).then((data) => all = data);
  const writing = (async () => {
    for (let at = 0; at < payload.length;) {
      const end = at + 1 + Math.floor(random() * 50_000);
      at += await client.write(payload.subarray(at, end));
    }
    await client.closeWrite();
  })();
  await loopUntil(map, () => all !== null);
  await writing;
  assertSameBytes(all!, payload);
});

Deno.test("a reader held back by what it sends has the last bytes before a failed write is told", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const gate = Promise.withResolvers<never>();
  channel.take = () => gate.promise;
  const trace: string[] = [];
  class Full extends DispatcherWithSend {
    override writable(): boolean {
      return false; // So its predicates are asked.
    }
    override handleRead(): void {
      trace.push(text(this.recv()));
    }
    override handleClose(): void {
      trace.push("handleClose");
      this.close();
    }
  }
  const full = new Full(channel, { map, highWaterMark: 4 });
  full.send(bytes("spam"));
  await passes(map, 3);
  channel.push("eggs", null);
  gate.reject(new Deno.errors.BrokenPipe("its peer has closed"));
  await loopToEnd(map);
  assertEquals(trace, ["eggs", "handleClose"]);
});
