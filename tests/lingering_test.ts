/** The last bytes of a closed connection, and the warnings about them. */

import {
  assert,
  assertEquals,
  assertFalse,
  assertLess,
  assertMatch,
} from "@std/assert";
import {
  type Channel,
  DispatcherWithSend,
  FileDispatcher,
  type FileLike,
  loop,
} from "../mod.ts";
import {
  FakeChannel,
  type FakeNetwork,
  loopToEnd,
  passes,
  pattern,
  quietMap,
  watch,
} from "./fakes.ts";
import { connecting, over, readAll, setUp, stuckChannel } from "./scenes.ts";
import { bytes, connectedPair, type TestMap, turns } from "./support.ts";

/** Sends, and leaves what comes in where it is. */
class Sender extends DispatcherWithSend {
  constructor(map: TestMap, channel: Channel | null = null) {
    super(channel, { map });
  }
  override readable(): boolean {
    return false;
  }
}

// How long it takes

for (const isAborted of [false, true]) {
  const how = isAborted
    ? "abort() ends the"
    : "close() has a linger time for the";
  Deno.test(`Dispatcher.${how} wait for a closeWrite() that never settles`, async () => {
    const { channel, clock, handler, lines, map } = over(Sender);
    channel.closeWrite = () => new Promise(() => {});
    handler.send(bytes("spam"));
    await passes(map, 1);
    channel.push("unread");
    handler.close();
    const done = watch(loop({ map }));
    await clock.advance(4_999);
    assertFalse(done.settled);
    assertEquals(map.lingering, 1);
    if (isAborted) handler.abort();
    else await clock.advance(1);
    await turns();
    assert(done.settled);
    assert(channel.closed);
    assertFalse(handler.closing);
    assertEquals([map.lingering, clock.armed], [0, 0]);
    assertEquals(lines, [], "nothing was lost");
  });
}

/** A closed connection whose peer takes so many bytes, one each four seconds. */
function closeBefore(reader: number) {
  const { channel, clock, handler, lines, map } = over(Sender);
  let left = reader;
  channel.take = () =>
    new Promise((resolve) => {
      if (left-- > 0) clock.setTimeout(() => resolve(1), 4_000);
    });
  handler.send(bytes("Spam! Spam!"));
  handler.close();
  return { channel, clock, lines, done: watch(loop({ map })) };
}

Deno.test("Dispatcher.close() lets a slow but steady reader have everything", async () => {
  const { channel, clock, lines, done } = closeBefore(Infinity);
  await clock.advance(11 * 4_000 - 1);
  assertFalse(done.settled);
  await clock.advance(1);
  await turns();
  assertEquals(channel.sent, "Spam! Spam!");
  assert(done.settled);
  assert(channel.closed);
  assertEquals(lines, []);
});

Deno.test("Dispatcher.close() gives up on a reader that stops in the middle", async () => {
  const { channel, clock, lines, done } = closeBefore(4);
  await clock.advance(4 * 4_000 + 4_999);
  assertEquals(channel.sent, "Spam");
  assertFalse(done.settled);
  await clock.advance(1);
  assert(done.settled);
  assertEquals(lines.length, 1);
  assertMatch(lines[0]!, /lost 7 accepted bytes/);
});

Deno.test("Dispatcher.close() in a hook lets a peer that goes on talking have the answer", async () => {
  const map = quietMap();
  const [ours, peer] = await connectedPair();
  const refusing = new DispatcherWithSend(ours, { map });
  refusing.handleRead = () => {
    refusing.recv();
    refusing.send(bytes("No, thanks"));
    refusing.close();
  };
  const talk = async () => {
    await peer.write(bytes("May I send you a lot?"));
    for (let i = 0; i < 5; i++) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      await peer.write(new Uint8Array(1_000));
    }
    return await new Response(peer.readable).text();
  };
  const [answer] = await Promise.all([talk(), loopToEnd(map)]);
  assertEquals(answer, "No, thanks");
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
  const channel = new TalkativeChannel("well", "er", "you see", "I mean");
  const { clock, handler, lines, map } = over(Sender, {}, channel);
  handler.send(bytes("spam"));
  await passes(map, 2);
  assertEquals(channel.reads, 0);
  handler.close();
  const done = watch(loop({ map }));
  await turns();
  assertEquals(channel.sent, "spam");
  channel.push(null);
  await clock.advance(250);
  assert(done.settled);
  assertEquals(lines, []);
});

Deno.test("DispatcherWithSend.close() while connecting reaches a peer that writes before it reads", async () => {
  const { clock, network, map } = setUp();
  const sender = connecting(new Sender(map));
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
  const sender = new Sender(map, ours);
  sender.send(payload);
  const talk = async () => {
    for (let at = 0; at < payload.length;) {
      at += await theirs.write(payload.subarray(at));
    }
    const { length } = await readAll(theirs);
    theirs.close();
    return length;
  };
  const talking = talk();
  await passes(map, 2);
  sender.close();
  await loopToEnd(map);
  assertEquals(await talking, payload.length);
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
  for (const passesBefore of [0, 2]) {
    log.length = 0;
    const writer = new FileDispatcher(file, { map });
    writer.readable = () => false;
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

function closeWithBytes(handler: DispatcherWithSend): void {
  handler.send(bytes("spam"));
  handler.send(bytes("eggs"));
  handler.close();
}

const refused = () => new Deno.errors.ConnectionRefused("spam");
const CANNOT_CONNECT =
  /ConnectionRefused: Cannot connect to 127\.0\.0\.1:7: spam/;

type Lose = (map: TestMap, network: FakeNetwork) => void;

/** How accepted bytes are lost, and the reason that is given. */
const LOSSES: [how: string, reason: RegExp, lose: Lose][] = [
  [
    "its peer takes nothing",
    /Error: its peer took nothing for 5000 ms/,
    (map) => closeWithBytes(new Quiet(stuckChannel(), { map })),
  ],
  ["its connect fails", CANNOT_CONNECT, (map, network) => {
    closeWithBytes(connecting(new Quiet(null, { map })));
    network.fail(refused());
  }],
  ["its connect had failed already", CANNOT_CONNECT, (map, network) => {
    const client = connecting(new Quiet(null, { map }));
    network.fail(refused());
    client.callLater(0, () => closeWithBytes(client));
  }],
  [
    "its connect takes too long",
    /Error: its peer took nothing for 5000 ms/,
    (map) => closeWithBytes(connecting(new Quiet(null, { map }))),
  ],
  ["its connection breaks", /BrokenPipe: spam/, (map) => {
    const channel = new FakeChannel();
    channel.take = () => Promise.reject(new Deno.errors.BrokenPipe("spam"));
    closeWithBytes(new Quiet(channel, { map }));
  }],
];

for (const [how, reason, lose] of LOSSES) {
  Deno.test(`Dispatcher that loses bytes after close() because ${how} says so in one warning`, async () => {
    const { clock, lines, network, map } = setUp();
    lose(map, network);
    const done = watch(loop({ map }));
    await clock.advance(6_000);
    assert(done.settled);
    assertEquals(lines.length, 1, lines.join("\n"));
    assertMatch(
      lines[0]!,
      /^warn: <Quiet[^>]*> was closed and lost 8 accepted /,
    );
    assertMatch(lines[0]!, reason);
    map.check();
  });
}

Deno.test("Dispatcher.abort() says nothing of what it was told to drop", async () => {
  const { clock, lines, map } = setUp();
  for (const options of [{}, { linger: 0 }]) {
    const handler = new Quiet(stuckChannel(), { map, ...options });
    closeWithBytes(handler);
    handler.abort();
  }
  await clock.advance(6_000);
  await loopToEnd(map);
  assertEquals(lines, []);
});

Deno.test("toString() that throws at the end of lingering disturbs nobody", async () => {
  const { clock, lines, map } = setUp();
  class Unspeakable extends DispatcherWithSend {
    override toString(): string {
      throw new Error("the name that must not be said");
    }
  }
  const stuck = [stuckChannel(), stuckChannel()];
  for (const channel of stuck) {
    closeWithBytes(new Unspeakable(channel, { map }));
  }
  const done = watch(loop({ map }));
  await clock.advance(5_000);
  assert(done.settled);
  assertEquals(done.error, undefined);
  assert(stuck.every(({ closed }) => closed));
  assertEquals(map.lingering, 0);
  assertEquals(lines.length, 2);
  assertMatch(lines[0]!, /^warn: <Unspeakable: .*> was closed and lost/);
  map.check();
});

Deno.test("logInfo() that throws at the end of lingering is reported, and disturbs nobody", async () => {
  const { clock, map } = setUp();
  const failure = new Error("disk full");
  const channel = stuckChannel();
  const speechless = new DispatcherWithSend(channel, { map });
  speechless.logInfo = () => {
    throw failure;
  };
  closeWithBytes(speechless);
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
