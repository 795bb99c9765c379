/**
 * The recipe of docs/porting.md, "Reconnecting after a pause": `handleClose()`
 * makes a new socket, and hooks that were under way go on behind it.
 */

import { assertEquals } from "@std/assert";
import {
  AsyncChat,
  Dispatcher,
  DispatcherWithSend,
  type SocketMap,
} from "../mod.ts";
import { block, Valve } from "./chats.ts";
import { FakeChannel, LogLines, passes, quietMap } from "./fakes.ts";
import { bytes, loopUntil, ScopedMap, text, turn } from "./support.ts";

const LIVES = 3;

/** What the recipe needs to know. */
interface Reconnecting {
  ends: number;
  errors: unknown[];
}

/** The recipe. */
function reconnect(it: Dispatcher & Reconnecting, addr: Deno.Addr): void {
  it.close();
  if (++it.ends === LIVES) return;
  it.createSocket();
  it.callLater(10, () => it.connect(addr));
}

/** Its hooks, for each class that echoes. */
type Made = new (map: SocketMap, addr: Deno.Addr) => Dispatcher & Reconnecting;

class PlainEcho extends Dispatcher implements Reconnecting {
  ends = 0;
  errors: unknown[] = [];
  readonly #addr: Deno.Addr;

  constructor(map: SocketMap, addr: Deno.Addr) {
    super(null, { map });
    this.#addr = addr;
  }
  override writable(): boolean {
    return false;
  }
  override handleConnect(): void {}
  override handleRead(): void | Promise<void> {
    this.send(this.recv());
  }
  override handleClose(): void | Promise<void> {
    reconnect(this, this.#addr);
  }
  override handleError(error: unknown): void {
    this.errors.push(error);
  }
}

class BufferedEcho extends DispatcherWithSend implements Reconnecting {
  ends = 0;
  errors: unknown[] = [];
  readonly #addr: Deno.Addr;

  constructor(map: SocketMap, addr: Deno.Addr) {
    super(null, { map });
    this.#addr = addr;
  }
  override handleConnect(): void {}
  override handleRead(): void | Promise<void> {
    this.send(this.recv());
  }
  override handleClose(): void | Promise<void> {
    reconnect(this, this.#addr);
  }
  override handleError(error: unknown): void {
    this.errors.push(error);
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
class SlowToClose extends BufferedEcho {
  override async handleClose(): Promise<void> {
    super.handleClose();
    await turn();
  }
}

/** Reads twice, and wants to end its writing: all of it after the end, too. */
class Thorough extends BufferedEcho {
  override handleRead(): void {
    this.send(this.recv(2));
    if (this.ends === 0 || this.connected) return;
    this.send(this.recv());
    this.shutdownWrite();
  }
}

class ChatEcho extends AsyncChat implements Reconnecting {
  ends = 0;
  errors: unknown[] = [];
  readonly #addr: Deno.Addr;

  constructor(map: SocketMap, addr: Deno.Addr) {
    super(null, { map });
    this.#addr = addr;
    this.setTerminator(null);
  }
  override handleConnect(): void {}
  override collectIncomingData(data: Uint8Array): void {
    this.push(data);
  }
  override handleRead(): void | Promise<void> {
    const result = super.handleRead();
    this.push("");
    this.pushWithProducer([]);
    return result;
  }
  override handleClose(): void | Promise<void> {
    reconnect(this, this.#addr);
  }
  override handleError(error: unknown): void {
    this.errors.push(error);
  }
}

for (
  const Class of [
    PlainEcho,
    BufferedEcho,
    AsyncEcho,
    SlowToClose,
    Thorough,
    ChatEcho,
  ] as Made[]
) {
  Deno.test(`${Class.name} that makes a new socket in handleClose() lives ${LIVES} times without an error`, async () => {
    await using map = new ScopedMap({ logger: new LogLines() });
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const client = new Class(map, listener.addr);
    client.createSocket();
    client.connect(listener.addr);
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
    await loopUntil(map, () => client.ends === LIVES, 20_000);
    await serving;
    assertEquals(answers, Array(LIVES).fill("abc"));
    assertEquals(client.errors, []);
  });
}

// Whose bytes they are

/** Takes a new connection at once when one has ended. */
class Restless extends AsyncChat {
  readonly lives: FakeChannel[];
  readonly errors: unknown[] = [];
  taken = "";

  constructor(map: SocketMap, lives: FakeChannel[]) {
    super(lives.shift(), { map });
    this.lives = lives;
    this.setTerminator("\n");
  }
  override collectIncomingData(data: Uint8Array): void {
    this.taken += text(data);
  }
  override foundTerminator(): void {
    this.taken += "|";
  }
  override handleClose(): void {
    this.close();
    const next = this.lives.shift();
    if (next === undefined) return;
    this.setSocket(next);
    this.push("hello ");
  }
  override handleError(error: unknown): void {
    this.errors.push(error);
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
    const [first, second] = [new FakeChannel(), new FakeChannel()];
    const chat = new Stale(map, [first, second]);
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
  const [first, second] = [new FakeChannel(), new FakeChannel()];
  class Moving extends Restless {
    override foundTerminator(): void {
      super.foundTerminator();
      if (this.socket !== first) return;
      this.close();
      this.setSocket(second);
      this.push("hello");
    }
  }
  const chat = new Moving(map, [first]);
  first.push("moved\nlost\n");
  await loopUntil(map, () => second.sent === "hello");
  second.push("new\n");
  await loopUntil(map, () => chat.taken === "moved|new|");
  assertEquals(chat.errors, []);
  chat.abort();
});

Deno.test("AsyncChat keeps the end of writing of one connection from the next", async () => {
  const map = quietMap();
  const [first, second] = [new FakeChannel(), new FakeChannel()];
  const valve = new Valve(first);
  const chat = new Restless(map, [first]);
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
  let message = "";
  try {
    client.send(bytes("x"));
  } catch (error) {
    message = (error as Error).message;
  }
  assertEquals(
    message,
    "Cannot send: Dispatcher is not connected: call connect() first",
  );
  client.close();
});
