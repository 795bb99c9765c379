/** What asynchat's own tests check, over real sockets; and what else a conversation needs. */

import { assert, assertEquals, assertGreater, assertThrows } from "@std/assert";
import { AsyncChat, type Channel, SimpleProducer } from "../mod.ts";
import { talk, Talker, type TerminatorLike } from "./chats.ts";
import { FakeChannel, LogLines, loopToEnd, passes, quietMap } from "./fakes.ts";
import {
  bytes,
  loopUntil,
  ScopedMap,
  type TestMap,
  TestServer,
  text,
} from "./support.ts";

const QUIT = "QUIT\n";

/** Collects until `QUIT`, then sends all of it back in pieces, and closes. */
class DelayedEcho extends AsyncChat {
  received = "";
  readonly #size: number;

  constructor(conn: Channel, map: TestMap, size: number) {
    super(conn, { map });
    this.#size = size;
  }
  override collectIncomingData(data: Uint8Array): void {
    this.received += text(data);
    if (!this.received.endsWith(QUIT)) return;
    this.#echo(bytes(this.received.slice(0, -QUIT.length)));
  }
  /** A piece in each pass of the loop. */
  #echo(data: Uint8Array): void {
    if (data.length === 0) return this.closeWhenDone();
    this.push(data.subarray(0, this.#size));
    this.callLater(0, () => this.#echo(data.subarray(this.#size)));
  }
}

/** What a client takes in of its own words, which `say` pushes. */
async function echoed(
  terminator: TerminatorLike,
  say: (client: Talker) => void,
  size = 1,
): Promise<Talker> {
  await using map = new ScopedMap({ logger: new LogLines() });
  const server = new TestServer(map, (conn) => {
    new DelayedEcho(conn, map, size);
    server.close();
  });
  const client = new Talker(map);
  client.createSocket();
  client.connect(server.addr as Deno.NetAddr);
  client.setTerminator(terminator);
  say(client);
  await loopToEnd(map);
  assertEquals(client.errors, []);
  return client;
}

for (const terminator of ["\n", "\r\n", "qqq"]) {
  for (const size of [1, 2, 3]) {
    Deno.test(`AsyncChat finds ${JSON.stringify(terminator)} in pieces of ${size}`, async () => {
      const { taken } = await echoed(terminator, (client) => {
        client.push("hello ");
        client.push(`world${terminator}`);
        client.push(`I'm not dead yet!${terminator}`);
        client.push(QUIT);
      }, size);
      assertEquals(taken, "hello world|I'm not dead yet!|");
    });
  }
}

const SENTENCE = "hello world, I'm not dead yet!\n";

for (const count of [1, 6]) {
  Deno.test(`AsyncChat takes in ${count} bytes by number, then the rest`, async () => {
    const { taken } = await echoed(count, (client) => {
      client.push(SENTENCE);
      client.push(QUIT);
    });
    assertEquals(
      taken,
      `${SENTENCE.slice(0, count)}|${SENTENCE.slice(count)}`,
    );
  });
}

Deno.test("AsyncChat without a terminator never finds one", async () => {
  const { taken } = await echoed(null, (client) => {
    client.push(SENTENCE);
    client.push(QUIT);
  });
  assertEquals(taken, SENTENCE);
});

const TWO_LINES = "hello world\nI'm not dead yet!\n";

Deno.test("AsyncChat.pushWithProducer() takes a SimpleProducer, bytes and text", async () => {
  const all = TWO_LINES + QUIT;
  const producers = [new SimpleProducer(bytes(all), 8), bytes(all), all];
  for (const producer of producers) {
    const { messages } = await echoed(
      "\n",
      (client) => client.pushWithProducer(producer),
    );
    assertEquals(messages, ["hello world", "I'm not dead yet!"]);
  }
});

Deno.test("AsyncChat finds an empty line", async () => {
  const { messages } = await echoed("\n", (client) => {
    client.push("hello world\n\nI'm not dead yet!\n");
    client.push(QUIT);
  });
  assertEquals(messages, ["hello world", "", "I'm not dead yet!"]);
});

Deno.test("AsyncChat.closeWhenDone() closes before the answer, after the last byte", async () => {
  await using map = new ScopedMap({ logger: new LogLines() });
  let echo: DelayedEcho | undefined;
  const server = new TestServer(map, (conn) => {
    echo = new DelayedEcho(conn, map, 1);
    server.close();
  });
  const client = new Talker(map);
  client.createSocket();
  client.connect(server.addr as Deno.NetAddr);
  client.setTerminator("\n");
  client.push(TWO_LINES + QUIT);
  client.closeWhenDone();
  await loopToEnd(map);
  assertEquals(client.messages, []);
  assertEquals(client.events, ["close"]);
  assertGreater(echo!.received.length, 0);
  assertEquals(echo!.received, TWO_LINES + QUIT);
});

Deno.test("AsyncChat.push() takes bytes of every kind and text, and nothing else", async () => {
  const { messages } = await echoed("\n", (client) => {
    client.push("text\n");
    client.push(bytes("bytes\n"));
    client.push(new TextEncoder().encode("view\n.").subarray(0, 5));
    client.push(new Uint8Array(0));
    client.push("");
    const wrong = [10, null, undefined, [10], new ArrayBuffer(2), {}];
    for (const value of wrong) {
      assertThrows(
        () => client.push(value as never),
        TypeError,
        "data must be a Uint8Array or text, got",
      );
    }
    client.push(QUIT);
  });
  assertEquals(messages, ["text", "bytes", "view"]);
});

Deno.test("AsyncChat.handleRead() with nothing to read is no error", () => {
  const { chat } = talk();
  chat.handleRead();
  assertEquals(chat.errors, []);
  assert(chat.connected);
  chat.abort();
});

Deno.test("AsyncChat that overrides no hook says so", async () => {
  for (const input of ["spam", "\n"]) {
    const map = quietMap();
    const channel = new FakeChannel();
    const errors: unknown[] = [];
    class Bare extends AsyncChat {
      override handleError(error: unknown): void {
        errors.push(error);
        this.close();
      }
    }
    new Bare(channel, { map }).setTerminator("\n");
    channel.push(input);
    await loopToEnd(map);
    const hook = input === "spam" ? "collectIncomingData" : "foundTerminator";
    assertEquals(errors.map(String), [`Error: ${hook}() must be overridden`]);
  }
});

// The life of a connection

Deno.test("AsyncChat closes when the peer does, and once", async () => {
  const { chat, channel, map } = talk();
  chat.setTerminator("\n");
  channel.push("spam\neggs", null);
  await loopToEnd(map);
  assertEquals(chat.taken, "spam|eggs");
  assertEquals(chat.events, ["close"]);
  assert(channel.closed);
});

/** Ends the life of `chat`, and begins another with a channel of its own. */
async function reborn(chat: Talker): Promise<FakeChannel> {
  const map = chat.map as TestMap;
  chat.abort();
  await passes(map, 2);
  chat.taken = "";
  chat.events.length = 0;
  const channel = new FakeChannel();
  chat.setSocket(channel);
  return channel;
}

Deno.test("AsyncChat takes nothing received over to its next connection", async () => {
  const cases: [TerminatorLike, string, string, string][] = [
    ["\r\n", "spam\r", "\neggs\r\n", "\neggs|"],
    ["aab", "xaa", "b aab", "b |"],
    [5, "abc", "defgh", "defgh|"],
    [3, "abcdef", "ghij", "ghi|j"],
  ];
  for (const [terminator, before, after, expected] of cases) {
    const { chat, channel, map } = talk();
    chat.setTerminator(terminator);
    channel.push(before);
    await passes(map, 4);
    const next = await reborn(chat);
    assertEquals(chat.getTerminator(), terminator);
    next.push(after);
    await passes(map, 4);
    assertEquals(chat.taken, expected, `${terminator}`);
    chat.abort();
  }
});

Deno.test("AsyncChat counts maxLength anew in its next connection", async () => {
  const { chat, channel, map } = talk();
  chat.maxLength = 5;
  chat.setTerminator("\n");
  channel.push("spam");
  await passes(map, 4);
  const next = await reborn(chat);
  next.push("eggs\n");
  await passes(map, 4);
  assertEquals(chat.taken, "eggs|");
  chat.abort();
});

Deno.test("AsyncChat that closes within a message leaves the rest of it behind", async () => {
  class Closing extends Talker {
    override foundTerminator(): void {
      super.foundTerminator();
      if (this.taken.endsWith("spam|")) this.close();
    }
  }
  const { chat, channel, map } = talk(Closing);
  chat.setTerminator("\n");
  channel.push("ham\nspam\neggs\nbacon");
  await loopToEnd(map);
  assertEquals(chat.taken, "ham|spam|");
  const next = new FakeChannel();
  chat.setSocket(next);
  next.push("beans\n");
  await passes(map, 4);
  assertEquals(chat.taken, "ham|spam|beans|");
  chat.abort();
});

Deno.test("AsyncChat may connect anew while a hook of the former life is pending", async () => {
  const gate = Promise.withResolvers<void>();
  class Slow extends Talker {
    override async foundTerminator(): Promise<void> {
      super.foundTerminator();
      if (this.taken === "spam|") await gate.promise;
    }
  }
  const { chat, channel, map } = talk(Slow);
  chat.setTerminator("\n");
  channel.push("spam\neggs\n");
  await passes(map, 4);
  const next = await reborn(chat);
  gate.resolve();
  await passes(map, 4);
  next.push("ham\n");
  await passes(map, 4);
  assertEquals(chat.taken, "ham|");
  chat.abort();
});

Deno.test("AsyncChat takes nothing to send over to its next connection", async () => {
  const { chat, channel, map } = talk();
  channel.take = () => new Promise(() => {});
  chat.push("spam");
  chat.pushWithProducer(function* () {
    yield "eggs";
    for (;;) yield "x".repeat(100_000);
  }());
  chat.push("ham");
  chat.closeWhenDone();
  await passes(map, 4);
  const next = await reborn(chat);
  assertEquals(chat.bufferedAmount, 0);
  chat.push("beans");
  await passes(map, 4);
  assertEquals(next.sent, "beans");
  assertEquals(chat.events, []);
  assert(chat.connected);
  chat.abort();
});

Deno.test("AsyncChat connects again over real sockets", async () => {
  await using map = new ScopedMap({ logger: new LogLines() });
  const served: string[] = [];
  const server = new TestServer(map, (conn) => {
    const handler = new Talker(map, conn);
    handler.setTerminator("\n");
    handler.handleClose = () => {
      served.push(handler.taken);
      handler.close();
    };
    handler.push("welcome\n");
  });
  class Client extends Talker {
    visits = 0;
    visit(): void {
      this.visits++;
      this.createSocket();
      this.connect(server.addr as Deno.NetAddr);
      this.push(`visit ${this.visits}\n`);
    }
    override foundTerminator(): void {
      super.foundTerminator();
      this.closeWhenDone();
    }
    override handleClose(): void {
      this.close();
      if (this.visits < 3) this.visit();
    }
  }
  const client = new Client(map);
  client.setTerminator("\n");
  client.visit();
  await loopUntil(map, () => served.length === 3);
  assertEquals(served, ["visit 1|", "visit 2|", "visit 3|"]);
  assertEquals(client.taken, "welcome|welcome|welcome|");
});

/** Takes each line's bytes over, as `postMessage()` with a transfer would. */
class Mover extends Talker {
  override collectIncomingData(data: Uint8Array): void {
    super.collectIncomingData(structuredClone(data, {
      transfer: [data.buffer as ArrayBuffer],
    }));
  }
}

Deno.test("collectIncomingData() that transfers what more bytes lie in is an error", async () => {
  await using map = new ScopedMap({ logger: new LogLines() });
  const channel = new FakeChannel();
  const chat = new Mover(map, channel);
  chat.strict = false;
  chat.setTerminator("\n");
  channel.push("alone\n");
  await passes(map, 3);
  assertEquals([chat.taken, chat.errors], ["alone|", []]);
  channel.push("spam\neggs\nham\n");
  await passes(map, 3);
  assertEquals(chat.taken, "alone|spam|");
  assertEquals(chat.errors.map(String), [
    "TypeError: <Mover connected>: 9 bytes that had arrived went with the " +
    "buffer of what collectIncomingData() was given: transfer data.slice() " +
    "instead",
  ]);
  channel.push("more\n");
  await passes(map, 3);
  assertEquals(chat.taken, "alone|spam|more|");
});
