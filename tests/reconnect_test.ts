/**
 * The recipe of docs/porting.md, "Reconnecting after a pause": `handleClose()`
 * makes a new socket, and hooks that were under way go on behind it.
 */

import { assertEquals, assertThrows } from "@std/assert";
import {
  AsyncChat,
  Dispatcher,
  type DispatcherOptions,
  DispatcherWithSend,
} from "../mod.ts";
import { block, Talker, Valve } from "./chats.ts";
import { type FakeChannel, passes, quietMap } from "./fakes.ts";
import { channels, connecting, scopedMap } from "./scenes.ts";
import { bytes, loopUntil, type TestMap, text, turn } from "./support.ts";

const LIVES = 3;

class PlainEcho extends Dispatcher {
  override writable(): boolean {
    return false;
  }
  override handleRead(): void {
    this.send(this.recv());
  }
}

class BufferedEcho extends DispatcherWithSend {
  override handleRead(): void | Promise<void> {
    this.send(this.recv());
  }
}

class AsyncEcho extends BufferedEcho {
  override async handleRead(): Promise<void> {
    const data = this.recv();
    await turn();
    this.send(data);
  }
}

/** Its socket is there before the promise of handleClose() has settled. */
class SlowToClose extends BufferedEcho {}

/** Reads twice, and wants to end its writing: all of it after the end, too. */
class Thorough extends BufferedEcho {
  override handleRead(): void {
    this.send(this.recv(2));
    if (this.connected) return;
    this.send(this.recv());
    this.shutdownWrite();
  }
}

class ChatEcho extends AsyncChat {
  override collectIncomingData(data: Uint8Array): void {
    this.push(data);
  }
  override handleRead(): void | Promise<void> {
    const result = super.handleRead();
    this.push("");
    this.pushWithProducer([]);
    return result;
  }
}

type Made = new (channel: null, options: DispatcherOptions) => Dispatcher;
const ECHOES: Made[] = [
  ...[PlainEcho, BufferedEcho, AsyncEcho, SlowToClose, Thorough, ChatEcho],
];

for (const Class of ECHOES) {
  Deno.test(`${Class.name} that makes a new socket in handleClose() lives ${LIVES} times without an error`, async () => {
    await using map = scopedMap();
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const client = new Class(null, { map });
    if (client instanceof AsyncChat) client.setTerminator(null);
    let ends = 0;
    const errors: unknown[] = [];
    client.handleError = (error) => void errors.push(error);
    client.handleClose = () => {
      client.close();
      if (++ends < LIVES) {
        client.createSocket();
        client.callLater(10, () => client.connect(listener.addr));
      }
      return Class === SlowToClose ? turn() : undefined;
    };
    connecting(client, listener.addr);
    const answers: string[] = [];
    const serving = (async () => {
      for (let life = 0; life < LIVES; life++) {
        using conn = await listener.accept();
        await conn.write(bytes("abc"));
        let answer = "";
        const buffer = new Uint8Array(9);
        while (answer.length < 3) {
          const length = await conn.read(buffer);
          if (length === null) break;
          answer += text(buffer.subarray(0, length));
        }
        answers.push(answer);
      }
    })().catch(() => {}); // What is missing shows below.
    await loopUntil(map, () => ends === LIVES);
    await serving;
    assertEquals(answers, Array(LIVES).fill("abc"));
    assertEquals(errors, []);
  });
}

// Which connection bytes belong to

/** Takes a new connection at once when one has ended. */
class Restless extends Talker {
  override strict = false;
  lives: FakeChannel[] = [];

  constructor(map: TestMap, channel: FakeChannel) {
    super(map, channel);
    this.setTerminator("\n");
  }
  override handleClose(): void {
    this.close();
    const next = this.lives.shift();
    if (next === undefined) return;
    this.setSocket(next);
    this.push("hello ");
  }
}

const STALE: Record<string, (chat: Restless) => void> = {
  "push()": (chat) => chat.push("stale"),
  "pushWithProducer()": (chat) => chat.pushWithProducer(["stale"]),
  "closeWhenDone()": (chat) => chat.closeWhenDone(),
  "shutdownWrite()": (chat) => chat.shutdownWrite(),
};

for (const [name, act] of Object.entries(STALE)) {
  Deno.test(`AsyncChat.${name} behind the end of a connection does nothing to the next one`, async () => {
    class Stale extends Restless {
      override handleRead(): void | Promise<void> {
        const before = this.socket;
        const result = super.handleRead();
        if (this.socket !== before) act(this);
        return result;
      }
    }
    const map = quietMap();
    const [first, second] = channels(2) as [FakeChannel, FakeChannel];
    const chat = new Stale(map, first);
    chat.lives = [second];
    first.push("a\n", null);
    await loopUntil(map, () => first.closed);
    second.push("b\n");
    await loopUntil(map, () => chat.taken === "a|b|");
    chat.push("and on");
    await loopUntil(map, () => second.sent === "hello and on");
    await passes(map, 5);
    assertEquals([chat.connected, second.writeEnded], [true, false]);
    assertEquals(chat.errors, []);
    chat.abort();
  });
}

Deno.test("AsyncChat.push() in a hook that closes and goes elsewhere is for the new connection", async () => {
  const map = quietMap();
  const [first, second] = channels(2) as [FakeChannel, FakeChannel];
  class Moving extends Restless {
    override foundTerminator(): void | Promise<void> {
      const result = super.foundTerminator();
      if (this.socket !== first) return result;
      this.close();
      this.setSocket(second);
      this.push("hello");
    }
  }
  const chat = new Moving(map, first);
  first.push("moved\nlost\n");
  await loopUntil(map, () => second.sent === "hello");
  second.push("new\n");
  await loopUntil(map, () => chat.taken === "moved|new|");
  assertEquals(chat.errors, []);
  chat.abort();
});

Deno.test("AsyncChat keeps the end of writing of one connection from the next", async () => {
  const map = quietMap();
  const [first, second] = channels(2) as [FakeChannel, FakeChannel];
  const valve = new Valve(first);
  const chat = new Restless(map, first);
  chat.push(block(100_000));
  const more = () => {
    chat.close();
    chat.setSocket(second);
    return "stale";
  };
  chat.pushWithProducer({ more });
  chat.shutdownWrite();
  valve.open();
  await loopUntil(map, () => chat.socket === second);
  await passes(map, 5);
  chat.push("new");
  await loopUntil(map, () => second.sent === "new");
  assertEquals([second.writeEnded, first.sent.length], [false, 100_000]);
  assertEquals(chat.errors, []);
  chat.abort();
});

Deno.test("Dispatcher without a hook under way must connect before it sends", () => {
  const client = new Dispatcher(null, { map: quietMap() });
  client.createSocket();
  client.close();
  client.createSocket();
  assertThrows(
    () => client.send(bytes("x")),
    Error,
    "Cannot send: Dispatcher is not connected: call connect() first",
  );
  client.close();
});
