/** `AsyncChat.discardBuffers()` at every point of a life. */

import { assert, assertEquals, assertFalse, assertThrows } from "@std/assert";
import { type Channel, loop } from "../mod.ts";
import { block, talk, Talker, Valve } from "./chats.ts";
import {
  FakeChannel,
  FakeNetwork,
  LogLines,
  loopToEnd,
  newSeed,
  passes,
  quietMap,
  randomFrom,
  rest,
} from "./fakes.ts";
import { loopUntil, PATIENCE, ScopedMap, type TestMap } from "./support.ts";

/** A producer that never gives anything. */
const never = () => ({ more: () => new Promise<never>(() => {}) });

/** A chat that is connecting. */
function connecting() {
  const network = new FakeNetwork();
  const map = quietMap({ network });
  const channel = new FakeChannel();
  const chat = new Talker(map);
  chat.createSocket();
  chat.connect({ port: 7 });
  return { network, map, channel, chat };
}

/** What may wait to be sent. */
const WAITING: Record<string, (chat: Talker) => void> = {
  "nothing": () => {},
  "bytes": (chat) => chat.push("old"),
  "a producer": (chat) => chat.pushWithProducer(["old", "old"]),
  "a pending producer": (chat) => chat.pushWithProducer(never()),
  "bytes behind a pending producer": (chat) => {
    chat.pushWithProducer(never());
    chat.push("old");
  },
};

for (const [what, wait] of Object.entries(WAITING)) {
  Deno.test(`AsyncChat.discardBuffers() after shutdownWrite() ends the writing, with ${what}`, async () => {
    const { chat, channel, map } = talk();
    channel.staysOpen = true;
    new Valve(channel).open();
    wait(chat);
    chat.shutdownWrite();
    chat.discardBuffers();
    await loopUntil(map, () => channel.writeEnded);
    assertThrows(() => chat.push("more"), Error, "ended its writing direction");
    assertEquals(chat.bufferedAmount, 0);
    channel.push(null);
    await loopToEnd(map);
    assertEquals(chat.events, ["close"]);
  });

  Deno.test(`AsyncChat.discardBuffers() after closeWhenDone() goes on, with ${what}`, async () => {
    const { chat, channel, map } = talk();
    chat.setTerminator("\n");
    const valve = new Valve(channel);
    chat.push("begun ");
    await passes(map, 2);
    wait(chat);
    chat.closeWhenDone();
    chat.discardBuffers();
    chat.push("new");
    valve.open();
    channel.push("line\n");
    await loopUntil(map, () => chat.taken === "line|");
    await loopUntil(map, () => channel.sent === "begun new");
    assertEquals(chat.events, []);
    chat.abort();
  });

  Deno.test(`AsyncChat.discardBuffers() while connecting drops ${what}, and the connection stands`, async () => {
    const { chat, network, channel, map } = connecting();
    wait(chat);
    chat.discardBuffers();
    network.succeed(channel);
    await loopUntil(map, () => chat.connected);
    chat.push("new");
    await loopUntil(map, () => channel.sent === "new");
    chat.abort();
  });

  Deno.test(`AsyncChat.discardBuffers() while connecting keeps the end of writing, with ${what}`, async () => {
    const { chat, network, channel, map } = connecting();
    wait(chat);
    chat.shutdownWrite();
    chat.discardBuffers();
    network.succeed(channel);
    await loopUntil(map, () => channel.writeEnded);
    assertEquals(channel.sent, "");
    chat.abort();
  });

  Deno.test(`AsyncChat.discardBuffers() behind close() gives a connection up that is being made, with ${what}`, async () => {
    const { chat, network, channel, map } = connecting();
    wait(chat);
    chat.close();
    chat.discardBuffers();
    await loopToEnd(map);
    assertEquals(map.lingering, 0);
    assert(network.signals[0]!.aborted);
    network.succeed(channel);
    await loopUntil(map, () => channel.closed);
    assertEquals(channel.sent, "");
  });

  Deno.test(`AsyncChat.discardBuffers() behind close() leaves nothing to linger for, with ${what}`, async () => {
    const { chat, channel, map } = talk();
    const valve = new Valve(channel);
    chat.push("begun ");
    await passes(map, 2);
    wait(chat);
    chat.close();
    chat.discardBuffers();
    assertEquals(chat.bufferedAmount, "begun ".length);
    valve.open();
    await loopToEnd(map);
    assert(channel.closed);
    chat.discardBuffers();
    assertEquals(channel.sent, "begun ");
  });
}

Deno.test("AsyncChat.discardBuffers() behind close() gives up a real connection that is being made", async () => {
  await using map = new ScopedMap({ logger: new LogLines() });
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const chat = new Talker(map);
  chat.createSocket();
  chat.connect(listener.addr);
  chat.push("hello");
  chat.close();
  chat.discardBuffers();
  await loopToEnd(map);
  assertEquals(map.lingering, 0);
});

Deno.test("AsyncChat.discardBuffers() of a socket that is not used yet changes nothing", async () => {
  const network = new FakeNetwork();
  const map = quietMap({ network });
  const channel = new FakeChannel();
  const chat = new Talker(map);
  chat.discardBuffers();
  chat.createSocket();
  chat.discardBuffers();
  chat.connect({ port: 7 });
  network.succeed(channel);
  await loopUntil(map, () => chat.connected);
  chat.push("spam");
  await loopUntil(map, () => channel.sent === "spam");
  chat.abort();
});

Deno.test("AsyncChat.discardBuffers() waits for the write in flight before it ends writing", async () => {
  const { chat, channel, map } = talk();
  const valve = new Valve(channel);
  chat.push("begun");
  await passes(map, 2);
  chat.push("dropped");
  chat.pushWithProducer(never());
  chat.shutdownWrite();
  chat.discardBuffers();
  await rest(map);
  assertFalse(channel.writeEnded);
  valve.open();
  await loopUntil(map, () => channel.writeEnded);
  assertEquals(channel.sent, "begun");
  chat.abort();
});

// In each hook

/** Discards in one of its hooks. */
class Discarding extends Talker {
  where = "";

  at(hook: string): void {
    if (hook !== this.where) return;
    this.where = "";
    this.events.push(hook);
    this.discardBuffers();
  }
  override collectIncomingData(data: Uint8Array): void {
    super.collectIncomingData(data);
    this.at("collectIncomingData");
  }
  override foundTerminator(): void {
    super.foundTerminator();
    this.at("foundTerminator");
  }
  override handleOverflow(): void {
    this.at("handleOverflow");
  }
  override handleDrain(): void {
    this.at("handleDrain");
  }
  override handleError(): void {
    this.at("handleError");
  }
  override handleClose(): void {
    this.at("handleClose");
    this.close();
  }
}

/** What brings each of them. */
const HOOKS: Record<string, (chat: Discarding, channel: FakeChannel) => void> =
  {
    collectIncomingData: (_, channel) => channel.push("lost\n"),
    foundTerminator: (_, channel) => channel.push("lost\n"),
    handleOverflow: (_, channel) => channel.push("x".repeat(20)),
    handleDrain: (chat) => chat.push(block(70_000)),
    handleError: (chat) => {
      const more = () => {
        throw new Error("no more");
      };
      chat.pushWithProducer({ more });
    },
    more: (chat) => {
      const more = () => {
        chat.at("more");
        return "";
      };
      chat.pushWithProducer({ more });
    },
  };

for (const [hook, bring] of Object.entries(HOOKS)) {
  Deno.test(`AsyncChat.discardBuffers() in ${hook}() drops what waits, and goes on`, async () => {
    const map = quietMap();
    const channel = new FakeChannel();
    const chat = new Discarding(map, channel, { maxLength: 10 });
    chat.setTerminator("\n");
    chat.where = hook;
    bring(chat, channel);
    await loopUntil(map, () => chat.events.length > 0);
    assertEquals(chat.events, [hook]);
    chat.taken = "";
    chat.push("new");
    channel.push("\nline\n");
    await loopUntil(map, () => chat.taken.endsWith("|line|"));
    await loopUntil(map, () => channel.sent.endsWith("new"));
    chat.closeWhenDone();
    await loopToEnd(map);
  });
}

Deno.test("AsyncChat.discardBuffers() in handleClose() leaves nothing to send", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const chat = new Discarding(map, channel);
  chat.where = "handleClose";
  chat.pushWithProducer(never());
  chat.push("old");
  channel.push(null);
  await loopToEnd(map);
  assertEquals([channel.sent, chat.events], ["", ["handleClose"]]);
});

// Whatever happens

/** Whose errors reach the test. */
class Random extends Talker {
  override handleError(error: unknown): void {
    throw error;
  }
}

/** Something that may happen to a chat. */
type Step = (life: Life) => void;

/** A chat, and what the test has in its hands. */
interface Life {
  map: TestMap;
  network: FakeNetwork;
  channel: FakeChannel;
  valve: Valve;
  chat: Random;
  gates: PromiseWithResolvers<string>[];
}

function pushGated({ chat, gates }: Life): void {
  const gate = Promise.withResolvers<string>();
  gates.push(gate);
  chat.pushWithProducer({ more: () => gate.promise });
}

const STEPS: Step[] = [
  ({ chat }) => chat.push(block(1_000)),
  ({ chat }) => chat.pushWithProducer([block(1_000), block(100_000)]),
  pushGated,
  ({ gates }) => gates.shift()?.resolve(""),
  ({ chat }) => chat.closeWhenDone(),
  ({ chat }) => chat.shutdownWrite(),
  ({ chat }) => chat.discardBuffers(),
  ({ chat }) => chat.discardBuffers(),
  ({ chat }) => chat.close(),
  ({ network, channel }) => network.succeed(channel),
  ({ channel }) => channel.push("line\nand ano", "ther\n"),
  ({ channel }) => channel.push(null),
  ({ valve }) => valve.step(),
  ({ valve }) => valve.open(),
];

/** Brings whatever is under way to its end. */
function letGo({ network, channel, valve, chat, gates }: Life): void {
  network.succeed(channel);
  valve.open();
  for (const gate of gates) gate.resolve("");
  channel.push(null);
  // Nothing else ends a connection whose writing goes on.
  if (chat.connected || chat.connecting) chat.closeWhenDone();
}

Deno.test("AsyncChat ends whatever is discarded, and when, in 400 random lives", async () => {
  const random = randomFrom(newSeed());
  const pick = (below: number) => Math.floor(random() * below);
  for (let round = 0; round < 400; round++) {
    const network = new FakeNetwork();
    const map = quietMap({ network });
    const channel: FakeChannel = new FakeChannel();
    const chat = new Random(map, pick(2) === 0 ? null : channel as Channel);
    chat.setTerminator("\n");
    if (chat.socket === null) {
      chat.createSocket();
      chat.connect({ port: 7 });
    }
    const valve = new Valve(channel);
    const life = { map, network, channel, valve, chat, gates: [] };
    for (let left = 2 + pick(8); left > 0; left--) {
      try {
        STEPS[pick(STEPS.length)]!(life);
      } catch (error) {
        // After the end of writing.
        assert(
          /^Cannot (push|send)/.test((error as Error).message),
          `${error}`,
        );
      }
      if (pick(2) === 0) await passes(map, pick(3));
    }
    letGo(life);
    const controller = new AbortController();
    const late = setTimeout(() => controller.abort(), PATIENCE);
    await loop({ map, signal: controller.signal });
    clearTimeout(late);
    assertFalse(controller.signal.aborted, `round ${round} does not end`);
    map.check();
    assert(chat.events.filter((event) => event === "close").length <= 1);
  }
});
