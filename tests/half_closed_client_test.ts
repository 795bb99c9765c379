/** Clients that end their side behind the request, and want the whole answer. */

import { assert, assertEquals, assertFalse } from "@std/assert";
import { type Channel, type ProducerLike, shutdown } from "../mod.ts";
import { memoryPair } from "../testing/mod.ts";
import { certificates, testTls } from "./certificates.ts";
import { talk, Talker, Valve } from "./chats.ts";
import {
  FakeChannel,
  LogLines,
  loopToEnd,
  passes,
  quietMap,
  rest,
} from "./fakes.ts";
import {
  bytes,
  families,
  type Family,
  loopUntil,
  rawConnect,
  ScopedMap,
  testFamilies,
  type TestMap,
  TestServer,
} from "./support.ts";

const PIECE = 64 * 1024;
const PIECES = 64;

/** `PIECES` pieces, in each way in which producers give them. */
const SOURCES: Record<string, () => ProducerLike> = {
  "an iterable": () => Array.from({ length: PIECES }, () => filled()),
  "an async iterable": async function* () {
    for (let i = 0; i < PIECES; i++) {
      // Later than the client's end.
      if (i % 16 === 0) await new Promise((resolve) => setTimeout(resolve, 20));
      yield filled();
    }
  },
  "a Producer": () => {
    let left = PIECES;
    return { more: () => left-- > 0 ? filled() : "" };
  },
  "a stream": () => {
    let left = PIECES;
    return new ReadableStream({
      pull: (sink) => left-- > 0 ? sink.enqueue(filled()) : sink.close(),
    });
  },
};

const filled = () => new Uint8Array(PIECE).fill(120);

/** How an answer is finished. */
type Finish = (chat: Talker) => void;

const FINISHES: Record<string, Finish> = {
  "closeWhenDone()": (chat) => chat.closeWhenDone(),
  "shutdownWrite()": (chat) => chat.shutdownWrite(),
  "shutdown()": (chat) => void shutdown({ map: chat.map }),
};

/** Answers a line with a long answer. */
class Answering extends Talker {
  produce: () => ProducerLike = SOURCES["an iterable"]!;
  finish: Finish = FINISHES["closeWhenDone()"]!;

  constructor(map: TestMap, channel: Channel | null) {
    super(map, channel);
    this.setTerminator("\n");
  }
  override handleDrain(): void {}
  override foundTerminator(): void {
    this.push("first ");
    this.pushWithProducer(this.produce());
    this.push(" then ");
    this.pushWithProducer(["last"]);
    this.finish(this);
  }
}

const LENGTH = "first  then last".length + PIECES * PIECE;

/** What a client reads to the end. */
async function countAll(channel: Channel): Promise<number> {
  const buffer = new Uint8Array(PIECE);
  let count = 0;
  for (;;) {
    const length = await channel.read(buffer);
    if (length === null) return count;
    count += length;
  }
}

/** A client asks, ends its side, and reads what it gets. */
async function ask(
  map: TestMap,
  server: Answering | (() => Answering | undefined),
  client: Channel,
): Promise<void> {
  await client.write(bytes("GET\n"));
  await client.closeWrite!();
  let count = -1;
  countAll(client).then((length) => count = length);
  await loopUntil(map, () => count >= 0, 30_000);
  assertEquals(count, LENGTH);
  const chat = typeof server === "function" ? server()! : server;
  await loopUntil(map, () => chat.events.length > 0);
  assertEquals(chat.events, ["close"]);
  assertEquals(chat.closeReason, null);
}

for (const [kind, produce] of Object.entries(SOURCES)) {
  for (const [name, finish] of Object.entries(FINISHES)) {
    Deno.test(`AsyncChat that ends by ${name} gives a half-closed client all of ${kind}`, async () => {
      const map = quietMap();
      const [ours, theirs] = memoryPair();
      const chat = new Answering(map, ours);
      chat.produce = produce;
      chat.finish = finish;
      await ask(map, chat, theirs);
      theirs.close();
      await loopToEnd(map);
      assertEquals(chat.events, ["close"]);
    });
  }
}

/** The same over a real socket. */
async function askOver(
  family: Family,
  connect: (addr: Deno.Addr) => Promise<Channel>,
): Promise<void> {
  await using map = new ScopedMap({ logger: new LogLines() });
  let chat: Answering | undefined;
  const server = new TestServer(map, (conn) => {
    chat = new Answering(map, conn);
    chat.produce = SOURCES["an async iterable"]!;
  }, family);
  // The handshake of TLS needs passes, too.
  let client: Channel | undefined;
  connect(server.addr!).then((conn) => client = conn);
  await loopUntil(map, () => client !== undefined);
  await ask(map, () => chat, client!);
  client!.close();
  server.close();
}

testFamilies(
  "AsyncChat gives a half-closed client all of its answer",
  (family) => askOver(family, rawConnect),
);

testTls(
  "AsyncChat gives a half-closed client all of its answer (TLS)",
  async () => {
    const { ca, good } = await certificates();
    await askOver({
      ...families[0]!,
      options: { transport: "tls", tls: good },
    }, (addr) => {
      const { hostname, port } = addr as Deno.NetAddr;
      return Deno.connectTls({ hostname, port, caCerts: [ca] });
    });
  },
);

/** A chat that is asked, and whose producer waits for the gate. */
function gated() {
  const { chat, channel, map } = talk();
  const gate = Promise.withResolvers<string>();
  let isReleased = false;
  const producer = (async function* () {
    try {
      yield await gate.promise;
      yield "end";
    } finally {
      isReleased = true;
    }
  })();
  return { chat, channel, map, gate, producer, isReleased: () => isReleased };
}

Deno.test("AsyncChat.closeWhenDone() outlasts an end that came before the producer was pushed", async () => {
  class Slow extends Talker {
    readonly gate = Promise.withResolvers<void>();
    override async foundTerminator(): Promise<void> {
      await this.gate.promise;
      this.pushWithProducer(["one ", "two"]);
      this.closeWhenDone();
    }
  }
  const { chat, channel, map } = talk(Slow);
  chat.setTerminator("\n");
  channel.push("GET\n", null);
  await rest(map);
  chat.gate.resolve();
  await loopToEnd(map);
  assertEquals(channel.sent, "one two");
  assertEquals(chat.events, ["close"]);
});

Deno.test("AsyncChat.closeWhenDone() outlasts an end behind bytes that nobody reads any more", async () => {
  const { chat, channel, map, gate, producer } = gated();
  chat.pushWithProducer(producer);
  chat.closeWhenDone();
  channel.push("and more", "of this", null);
  await rest(map);
  assertEquals(chat.events, []);
  gate.resolve("begin ");
  await loopToEnd(map);
  assertEquals(channel.sent, "begin end");
  assertEquals(chat.taken, "");
  assertEquals(chat.events, ["close"]);
});

Deno.test("AsyncChat.closeWhenDone() outlasts the end until the peer has taken all", async () => {
  const { chat, channel, map } = talk();
  const valve = new Valve(channel);
  chat.pushWithProducer(["short"]);
  chat.closeWhenDone();
  channel.push(null);
  await rest(map);
  assertEquals(chat.events, []);
  assert(chat.connected);
  valve.open();
  await loopToEnd(map);
  assertEquals(chat.events, ["close"]);
  assertEquals(channel.sent, "short");
});

Deno.test("AsyncChat without closeWhenDone() ends with its peer, the producers too", async () => {
  const { chat, channel, map, producer, gate, isReleased } = gated();
  chat.pushWithProducer(producer);
  await passes(map, 4);
  channel.push(null);
  await loopToEnd(map);
  assertEquals(chat.events, ["close"]);
  gate.resolve("late");
  await loopUntil(map, isReleased);
  assertEquals(channel.sent, "");
});

Deno.test("AsyncChat.closeWhenDone() does not outlast a reset behind the end", async () => {
  const { chat, channel, map, producer, gate, isReleased } = gated();
  channel.take = () => Promise.reject(new Deno.errors.ConnectionReset("gone"));
  chat.pushWithProducer(producer);
  chat.closeWhenDone();
  channel.push(null);
  await rest(map);
  assertEquals(chat.events, []);
  gate.resolve("begin");
  await loopToEnd(map);
  assertEquals(chat.events, ["close"]);
  assert(chat.closeReason instanceof Deno.errors.ConnectionReset);
  await loopUntil(map, isReleased);
});

Deno.test("AsyncChat.closeWhenDone() does not outlast a reset in place of the end", async () => {
  const { chat, channel, map, producer, gate, isReleased } = gated();
  chat.pushWithProducer(producer);
  chat.closeWhenDone();
  await passes(map, 4);
  channel.push(new Deno.errors.ConnectionReset("gone"));
  await loopToEnd(map);
  assertEquals(chat.events, ["close"]);
  gate.resolve("late");
  await loopUntil(map, isReleased);
});

Deno.test("AsyncChat.closeWhenDone() does not outlast a client that is gone (TCP)", async () => {
  await using map = new ScopedMap({ logger: new LogLines() });
  let chat: Talker | undefined;
  let pulls = 0;
  const server = new TestServer(map, (conn) => {
    chat = new Talker(map, conn);
    chat.pushWithProducer((function* () {
      for (;; pulls++) yield filled();
    })());
    chat.closeWhenDone();
  });
  const client = await rawConnect(server.addr);
  await client.closeWrite();
  await loopUntil(map, () => pulls > 0);
  client.close();
  await loopUntil(map, () => chat!.events.length > 0, 20_000);
  assertEquals(chat!.events, ["close"]);
  assertFalse(chat!.connected);
  server.close();
});

Deno.test("AsyncChat.discardBuffers() that takes closeWhenDone() back tells the end after all", async () => {
  const { chat, channel, map, producer } = gated();
  chat.pushWithProducer(producer);
  chat.closeWhenDone();
  channel.push(null);
  await rest(map);
  assertEquals(chat.events, []);
  chat.discardBuffers();
  await loopToEnd(map);
  assertEquals(chat.events, ["close"]);
});

Deno.test("AsyncChat with allowHalfOpen hears of the end behind closeWhenDone(), once", async () => {
  class Open extends Talker {
    constructor(map: TestMap, channel: Channel | null) {
      super(map, channel, { allowHalfOpen: true });
    }
    override handleEnd(): void {
      this.events.push("end");
    }
  }
  const map = quietMap();
  const channel = new FakeChannel();
  const chat = new Open(map, channel);
  const gate = Promise.withResolvers<string>();
  chat.pushWithProducer({ more: () => gate.promise });
  chat.closeWhenDone();
  channel.push(null);
  await loopUntil(map, () => chat.events.length > 0);
  gate.resolve("");
  await loopToEnd(map);
  assertEquals(chat.events, ["end", "close"]);
});
