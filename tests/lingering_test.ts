/** What becomes of a closed connection's last bytes, and what is said of it. */

import {
  assert,
  assertEquals,
  assertFalse,
  assertLess,
  assertMatch,
} from "@std/assert";
import { toText } from "@std/streams";
import {
  type DispatcherOptions,
  DispatcherWithSend,
  FileDispatcher,
  type FileLike,
  loop,
} from "../mod.ts";
import {
  FakeChannel,
  FakeNetwork,
  LogLines,
  loopToEnd,
  passes,
  pattern,
  quietMap,
  watch,
} from "./fakes.ts";
import { MockClock } from "../testing/mock_clock.ts";
import {
  bytes,
  connectedPair,
  loopUntil,
  rawConnect,
  ScopedMap,
  type TestMap,
  TestServer,
  turns,
} from "./support.ts";

/** A map on a clock of its own, and what is logged in it. */
function setUp() {
  const clock = new MockClock();
  const logger = new LogLines();
  const network = new FakeNetwork();
  const map = quietMap({ clock, logger, network });
  return { clock, logger, network, map };
}

/** Sends, and leaves what comes in where it is. */
class Sender extends DispatcherWithSend {
  constructor(channel: FakeChannel | Deno.Conn | null, map: TestMap) {
    super(channel, { map });
  }
  override readable(): boolean {
    return false;
  }
}

// How long it takes

Deno.test("Dispatcher.close() is not held up by a closeWrite() that never settles", async () => {
  const { clock, logger, map } = setUp();
  const channel = new FakeChannel();
  channel.closeWrite = () => new Promise(() => {});
  const sender = new Sender(channel, map);
  sender.send(bytes("spam"));
  await passes(map, 1);
  channel.push("unread");
  sender.close();
  const done = watch(loop({ map }));
  await clock.advance(4_999);
  assertFalse(done.settled);
  assertEquals(map.lingering, 1);
  await clock.advance(1);
  assert(done.settled);
  assert(channel.closed);
  assertFalse(sender.closing);
  assertEquals(map.lingering, 0);
  assertEquals(logger.lines, [], "nothing was lost");
  assertEquals(clock.armed, 0);
});

Deno.test("Dispatcher.abort() ends the wait for a closeWrite() that never settles", async () => {
  const { clock, map } = setUp();
  const channel = new FakeChannel();
  channel.closeWrite = () => new Promise(() => {});
  const sender = new Sender(channel, map);
  sender.send(bytes("spam"));
  sender.close();
  const done = watch(loop({ map }));
  await turns();
  sender.abort();
  await turns();
  assert(done.settled);
  assert(channel.closed);
  assertEquals(clock.armed, 0);
});

Deno.test("Dispatcher.close() lets a slow but steady reader have everything", async () => {
  const { clock, logger, map } = setUp();
  const channel = new FakeChannel();
  channel.take = () =>
    new Promise((resolve) => clock.setTimeout(() => resolve(1), 4_000));
  const sender = new Sender(channel, map);
  sender.send(bytes("Spam! Spam! Spam!"));
  sender.close();
  const done = watch(loop({ map }));
  await clock.advance(17 * 4_000 - 1);
  assertFalse(done.settled);
  await clock.advance(1);
  await turns();
  assertEquals(channel.sent, "Spam! Spam! Spam!");
  assert(done.settled);
  assert(channel.closed);
  assertEquals(logger.lines, []);
});

Deno.test("Dispatcher.close() gives up on a reader that stops in the middle", async () => {
  const { clock, logger, map } = setUp();
  const channel = new FakeChannel();
  let left = 3;
  channel.take = () =>
    new Promise((resolve) => {
      if (left-- > 0) clock.setTimeout(() => resolve(1), 4_000);
    });
  const sender = new Sender(channel, map);
  sender.send(bytes("spam"));
  sender.close();
  const done = watch(loop({ map }));
  await clock.advance(12_000 + 4_999);
  assertEquals(channel.sent, "spa");
  assertFalse(done.settled);
  await clock.advance(10_000);
  assert(done.settled);
  assertEquals(logger.lines.length, 1);
  assertMatch(logger.lines[0]!, /lost 1 accepted bytes/);
});

Deno.test("Dispatcher.close() in a hook lets a peer that goes on talking have the answer", async () => {
  await using map = new ScopedMap();
  class Refusing extends DispatcherWithSend {
    override handleRead(): void {
      this.recv();
      this.send(bytes("No, thanks"));
      this.close();
    }
  }
  const server = new TestServer(map, (conn) => new Refusing(conn, { map }));
  using peer = await rawConnect(server.addr);
  const client = (async () => {
    await peer.write(bytes("May I send you a lot?"));
    for (let i = 0; i < 5; i++) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      await peer.write(new Uint8Array(1_000));
    }
    return await toText(peer.readable);
  })();
  const told = watch(client);
  await loopUntil(map, () => told.settled);
  assertEquals(await client, "No, thanks");
});

// Peers that talk before they listen

/** A channel whose peer takes nothing until all it sent has been read. */
class TalkativeChannel extends FakeChannel {
  readonly #heard: PromiseWithResolvers<void> = Promise.withResolvers();

  constructor(...words: string[]) {
    super();
    this.push(...words);
    this.take = (data) => this.#heard.promise.then(() => data.length);
  }
  override async read(target: Uint8Array): Promise<number | null> {
    const length = await super.read(target);
    if (this.unread === 0) this.#heard.resolve();
    return length;
  }
}

Deno.test("Dispatcher.close() reaches a peer that writes before it reads", async () => {
  const { clock, logger, map } = setUp();
  const channel = new TalkativeChannel("well", "er", "you see", "I mean");
  const sender = new Sender(channel, map);
  sender.send(bytes("spam"));
  await passes(map, 2);
  assertEquals(channel.reads, 0);
  sender.close();
  const done = watch(loop({ map }));
  await turns();
  assertEquals(channel.sent, "spam");
  channel.push(null);
  await clock.advance(250);
  assert(done.settled);
  assertEquals(logger.lines, []);
});

Deno.test("DispatcherWithSend.close() while connecting reaches a peer that writes before it reads", async () => {
  const { clock, network, map } = setUp();
  const sender = new Sender(null, map);
  sender.createSocket();
  sender.connect({ port: 7 });
  sender.send(bytes("spam"));
  sender.close();
  const done = watch(loop({ map }));
  const channel = new TalkativeChannel("well", "er", "you see");
  network.succeed(channel);
  await turns();
  assertEquals(channel.sent, "spam");
  channel.push(null);
  await clock.advance(250);
  assert(done.settled);
});

Deno.test("Dispatcher.close() reaches a real peer that writes before it reads", async () => {
  const map = quietMap();
  const [ours, theirs] = await connectedPair();
  const payload = pattern(8 << 20); // more than the kernel holds for both
  const sender = new Sender(ours, map);
  sender.send(payload);
  const peer = (async () => {
    for (let at = 0; at < payload.length;) {
      at += await theirs.write(payload.subarray(at));
    }
    let read = 0;
    const buffer = new Uint8Array(1 << 18);
    for (;;) {
      const length = await theirs.read(buffer);
      if (length === null) break;
      read += length;
    }
    theirs.close();
    return read;
  })();
  await passes(map, 2);
  sender.close();
  await loopToEnd(map);
  assertEquals(await peer, payload.length);
});

Deno.test("FileDispatcher.close() after a send does not read the rest of the file", async () => {
  const map = quietMap();
  const log: string[] = [];
  const file: FileLike = {
    read(target) {
      log.push("read");
      return Promise.resolve(log.length < 1_000 ? target.length : null);
    },
    write(data) {
      log.push("write");
      return Promise.resolve(data.length);
    },
    close: () => void log.push("close"),
  };
  class Writer extends FileDispatcher {
    override readable(): boolean {
      return false;
    }
  }
  for (const passesBefore of [0, 2]) {
    log.length = 0;
    const writer = new Writer(file, { map });
    writer.send(bytes("spam"));
    await passes(map, passesBefore);
    writer.close();
    await loopToEnd(map);
    assertEquals(log, ["write", "close"]);
  }
});

// What is said

/** As usual, "warning" is among what it does not log. */
class Quiet extends DispatcherWithSend {}

function stuckChannel(): FakeChannel {
  const channel = new FakeChannel();
  channel.take = () => new Promise(() => {});
  return channel;
}

function closeWithBytes(handler: DispatcherWithSend): void {
  handler.send(bytes("spam"));
  handler.send(bytes("eggs"));
  handler.close();
}

/** How accepted bytes are lost, and the reason that is given. */
const LOSSES: [
  string,
  (map: TestMap, network: FakeNetwork) => void,
  RegExp,
][] = [
  [
    "its peer takes nothing",
    (map) => closeWithBytes(new Quiet(stuckChannel(), { map })),
    /Error: its peer took nothing for 5000 ms/,
  ],
  ["its connect fails", (map, network) => {
    const client = new Quiet(null, { map });
    client.createSocket();
    client.connect({ port: 7 });
    closeWithBytes(client);
    network.fail(new Deno.errors.ConnectionRefused("spam"));
  }, /ConnectionRefused: Cannot connect to 127\.0\.0\.1:7: spam/],
  ["its connect had failed already", (map, network) => {
    const client = new Quiet(null, { map });
    client.createSocket();
    client.connect({ port: 7 });
    network.fail(new Deno.errors.ConnectionRefused("spam"));
    client.callLater(0, () => closeWithBytes(client));
  }, /ConnectionRefused: Cannot connect to 127\.0\.0\.1:7: spam/],
  ["its connect takes too long", (map) => {
    const client = new Quiet(null, { map });
    client.createSocket();
    client.connect({ port: 7 });
    closeWithBytes(client);
  }, /Error: its peer took nothing for 5000 ms/],
  ["its connection breaks", (map) => {
    const channel = new FakeChannel();
    channel.take = () => Promise.reject(new Deno.errors.BrokenPipe("spam"));
    closeWithBytes(new Quiet(channel, { map }));
  }, /BrokenPipe: spam/],
];

for (const [how, lose, reason] of LOSSES) {
  Deno.test(`Dispatcher that loses bytes after close() because ${how} says so in one warning`, async () => {
    const { clock, logger, network, map } = setUp();
    lose(map, network);
    const done = watch(loop({ map }));
    await clock.advance(6_000);
    assert(done.settled);
    assertEquals(logger.lines.length, 1, logger.lines.join("\n"));
    const line = logger.lines[0]!;
    assertMatch(line, /^warn: <Quiet[^>]*> was closed and lost 8 accepted /);
    assertMatch(line, reason);
    map.check();
  });
}

Deno.test("Dispatcher.abort() says nothing of what it was told to drop", async () => {
  const { clock, logger, map } = setUp();
  for (const options of [{}, { linger: 0 }] as DispatcherOptions[]) {
    const handler = new Quiet(stuckChannel(), { map, ...options });
    closeWithBytes(handler);
    handler.abort();
  }
  await clock.advance(6_000);
  await loopToEnd(map);
  assertEquals(logger.lines, []);
});

Deno.test("toString() that throws at the end of lingering disturbs nobody", async () => {
  const { clock, logger, map } = setUp();
  class Unspeakable extends DispatcherWithSend {
    override toString(): string {
      throw new Error("the name that must not be said");
    }
  }
  const channels = [stuckChannel(), stuckChannel()];
  for (const channel of channels) {
    closeWithBytes(new Unspeakable(channel, { map }));
  }
  const done = watch(loop({ map }));
  await clock.advance(5_000);
  assert(done.settled);
  assertEquals(done.error, undefined);
  assert(channels.every(({ closed }) => closed));
  assertEquals(map.lingering, 0);
  assertEquals(logger.lines.length, 2);
  assertMatch(logger.lines[0]!, /^warn: <Unspeakable: .*> was closed and lost/);
  map.check();
});

Deno.test("logInfo() that throws at the end of lingering is reported, and disturbs nobody", async () => {
  const { clock, map } = setUp();
  const failure = new Error("disk full");
  class Speechless extends DispatcherWithSend {
    override logInfo(): void {
      throw failure;
    }
  }
  const channel = stuckChannel();
  closeWithBytes(new Speechless(channel, { map }));
  const done = watch(loop({ map }));
  await clock.advance(5_000);
  assert(done.settled && channel.closed);
  assertEquals(map.errors, [failure]);
});

Deno.test("Dispatcher.close() leaves the runtime its turns beside a channel that always has more", async () => {
  const { promise: never } = Promise.withResolvers<number>();
  const most = 100_000;
  let reads = 0;
  const endless = {
    read: (target: Uint8Array) =>
      ++reads < most ? Promise.resolve(target.length) : never,
    write: () => never,
    closeWrite: () => Promise.resolve(),
    close: () => {},
  };
  const map = quietMap();
  const sender = new DispatcherWithSend(endless, { map });
  sender.send(bytes("spam"));
  sender.close();
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 0);
  await loop({ map, signal: controller.signal });
  assertLess(reads, most);
  sender.abort();
});
