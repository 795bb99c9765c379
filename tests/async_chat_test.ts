/** The checks of asynchat's own tests, over real sockets; and more about conversations. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { AsyncChat, type Channel, SimpleProducer } from "../mod.ts";
import { talk, Talker, talkInLines, type TerminatorLike } from "./chats.ts";
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
): Promise<Talker & { heard: string }> {
  await using map = new ScopedMap({ logger: new LogLines() });
  let echo: DelayedEcho | undefined;
  const server = new TestServer(map, (conn) => {
    echo = new DelayedEcho(conn, map, size);
    server.close();
  });
  const client = new Talker(map);
  client.createSocket();
  client.connect(server.addr as Deno.NetAddr);
  client.setTerminator(terminator);
  say(client);
  client.push(QUIT);
  await loopToEnd(map);
  assertEquals(client.errors, []);
  return Object.assign(client, { heard: echo!.received });
}

for (const terminator of ["\n", "\r\n", "qqq"]) {
  for (const size of [1, 2, 3]) {
    Deno.test(`AsyncChat finds ${JSON.stringify(terminator)} in pieces of ${size}`, async () => {
      const { taken } = await echoed(terminator, (client) => {
        client.push("hello ");
        client.push(`world${terminator}${terminator}`);
        client.push(`I'm not dead yet!${terminator}`);
      }, size);
      assertEquals(taken, "hello world||I'm not dead yet!|");
    });
  }
}

for (
  const [terminator, expected] of [
    [1, "h|ello world, I'm not dead yet!\n"],
    [6, "hello |world, I'm not dead yet!\n"],
    [null, "hello world, I'm not dead yet!\n"],
  ] as const
) {
  Deno.test(`AsyncChat with the terminator ${terminator} takes in that many bytes, then the rest`, async () => {
    const say = (client: Talker) =>
      client.push("hello world, I'm not dead yet!\n");
    assertEquals((await echoed(terminator, say)).taken, expected);
  });
}

const TWO_LINES = "hello world\nI'm not dead yet!\n";

Deno.test("AsyncChat.pushWithProducer() takes a SimpleProducer, bytes and text", async () => {
  const data = bytes(TWO_LINES);
  for (const producer of [new SimpleProducer(data, 8), data, TWO_LINES]) {
    const say = (client: Talker) => client.pushWithProducer(producer);
    const { messages } = await echoed("\n", say);
    assertEquals(messages, ["hello world", "I'm not dead yet!"]);
  }
});

Deno.test("AsyncChat.closeWhenDone() closes before the answer, after the last byte", async () => {
  const { messages, events, heard } = await echoed("\n", (client) => {
    client.push(TWO_LINES);
    client.handleConnect = () => client.closeWhenDone();
  });
  assertEquals([messages, events], [[], ["close"]]);
  assertEquals(heard, TWO_LINES + QUIT);
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
  });
  assertEquals(messages, ["text", "bytes", "view"]);
});

Deno.test("AsyncChat.handleRead() with nothing to read is no error", () => {
  const { chat } = talk();
  chat.handleRead();
  assertEquals(chat.errors, []);
  assert(chat.connected);
});

Deno.test("AsyncChat that does not override foundTerminator() says so", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const errors: unknown[] = [];
  const chat = new AsyncChat(channel, { map });
  chat.handleError = (error) => {
    errors.push(error);
    chat.close();
  };
  chat.setTerminator("\n");
  channel.push("spam\n");
  await loopToEnd(map);
  const expected = "Error: foundTerminator() must be overridden";
  assertEquals(errors.map(String), [expected]);
});

// The life of a connection

Deno.test("AsyncChat closes when the peer does, and once", async () => {
  const { chat, channel, map } = talkInLines();
  channel.push("spam\neggs", null);
  await loopToEnd(map);
  assertEquals([chat.taken, chat.events], ["spam|eggs", ["close"]]);
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

for (
  const [terminator, before, after, expected] of [
    ["\r\n", "spam\r", "\neggs\r\n", "\neggs|"],
    ["aab", "xaa", "b aab", "b |"],
    [5, "abc", "defgh", "defgh|"],
    [3, "abcdef", "ghij", "ghi|j"],
    ["\n", "12345", "eggs\n", "eggs|"],
  ] as const
) {
  Deno.test(`AsyncChat takes nothing received over to its next connection: ${JSON.stringify(before)}`, async () => {
    const { chat, channel, map } = talk();
    chat.maxLength = 6;
    chat.setTerminator(terminator);
    channel.push(before);
    await passes(map, 4);
    const next = await reborn(chat);
    assertEquals(chat.getTerminator(), terminator);
    next.push(after);
    await passes(map, 4);
    assertEquals(chat.taken, expected);
  });
}

Deno.test("AsyncChat that closes within a message leaves the rest of it behind", async () => {
  const { chat, channel, map } = talkInLines({
    found: () => {
      if (chat.taken.endsWith("spam|")) chat.close();
    },
  });
  channel.push("ham\nspam\neggs\nbacon");
  await loopToEnd(map);
  assertEquals(chat.taken, "ham|spam|");
  const next = await reborn(chat);
  next.push("beans\n");
  await passes(map, 4);
  assertEquals(chat.taken, "beans|");
});

Deno.test("AsyncChat may connect anew while a hook of the former life is pending", async () => {
  const gate = Promise.withResolvers<void>();
  const { chat, channel, map } = talkInLines({
    found: () => chat.taken === "spam|" ? gate.promise : undefined,
  });
  channel.push("spam\neggs\n");
  await passes(map, 4);
  const next = await reborn(chat);
  gate.resolve();
  await passes(map, 4);
  next.push("ham\n");
  await passes(map, 4);
  assertEquals(chat.taken, "ham|");
});

Deno.test("AsyncChat takes nothing to send over to its next connection", async () => {
  const { chat, channel, map } = talk();
  channel.take = () => new Promise(() => {});
  chat.push("spam");
  chat.pushWithProducer({ more: () => "x".repeat(100_000) });
  chat.push("ham");
  chat.closeWhenDone();
  await passes(map, 4);
  const next = await reborn(chat);
  assertEquals(chat.bufferedAmount, 0);
  chat.push("beans");
  await passes(map, 4);
  assertEquals([next.sent, chat.events], ["beans", []]);
  assert(chat.connected);
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
  const client = new Talker(map);
  let visits = 0;
  const visit = () => {
    client.createSocket();
    client.connect(server.addr as Deno.NetAddr);
    client.push(`visit ${++visits}\n`);
  };
  client.act.found = () => client.closeWhenDone();
  client.handleClose = () => {
    client.close();
    if (visits < 3) visit();
  };
  client.setTerminator("\n");
  visit();
  await loopUntil(map, () => served.length === 3);
  assertEquals(served, ["visit 1|", "visit 2|", "visit 3|"]);
  assertEquals(client.taken, "welcome|welcome|welcome|");
});

Deno.test("collectIncomingData() that transfers what more bytes lie in is an error", async () => {
  const { chat, channel, map } = talkInLines();
  const { collectIncomingData } = chat;
  chat.collectIncomingData = (data) => {
    const transfer = [data.buffer as ArrayBuffer];
    return collectIncomingData.call(chat, structuredClone(data, { transfer }));
  };
  chat.strict = false;
  channel.push("alone\n");
  await passes(map, 3);
  assertEquals([chat.taken, chat.errors], ["alone|", []]);
  channel.push("spam\neggs\nham\n");
  await passes(map, 3);
  assertEquals(chat.taken, "alone|spam|");
  assertEquals(chat.errors.map(String), [
    "TypeError: <Talker connected>: 9 bytes that had arrived went with the " +
    "buffer of what collectIncomingData() was given: transfer data.slice() " +
    "instead",
  ]);
  channel.push("more\n");
  await passes(map, 3);
  assertEquals(chat.taken, "alone|spam|more|");
});
