/** `AsyncChat.discardBuffers()` at every point of a life. */

import {
  assert,
  assertEquals,
  assertFalse,
  assertMatch,
  assertThrows,
} from "@std/assert";
import {
  block,
  connecting,
  failing,
  gated,
  never,
  talk,
  Talker,
  talkInLines,
  Valve,
} from "./chats.ts";
import {
  type FakeChannel,
  FakeNetwork,
  LogLines,
  loopToEnd,
  newSeed,
  passes,
  quietMap,
  randomFrom,
  rest,
} from "./fakes.ts";
import { loopUntil, ScopedMap } from "./support.ts";

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
  });

  Deno.test(`AsyncChat.discardBuffers() while connecting drops ${what}, and the connection stands`, async () => {
    const { chat, network, channel, map } = connecting();
    wait(chat);
    chat.discardBuffers();
    network.succeed(channel);
    await loopUntil(map, () => chat.connected);
    chat.push("new");
    await loopUntil(map, () => channel.sent === "new");
  });

  Deno.test(`AsyncChat.discardBuffers() while connecting keeps the end of writing, with ${what}`, async () => {
    const { chat, network, channel, map } = connecting();
    wait(chat);
    chat.shutdownWrite();
    chat.discardBuffers();
    network.succeed(channel);
    await loopUntil(map, () => channel.writeEnded);
    assertEquals(channel.sent, "");
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

Deno.test("AsyncChat.discardBuffers() of a socket that is not used yet changes nothing", () => {
  const chat = new Talker(quietMap());
  chat.discardBuffers();
  chat.createSocket();
  chat.discardBuffers();
  assertEquals(chat.bufferedAmount, 0);
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
});

// In each hook

/** What brings each hook. */
const HOOKS = {
  collectIncomingData: (_, channel) => channel.push("lost\n"),
  foundTerminator: (_, channel) => channel.push("lost\n"),
  handleOverflow: (_, channel) => channel.push("x".repeat(20)),
  handleDrain: (chat) => chat.push(block(70_000)),
  handleError: (chat) => chat.pushWithProducer(failing()),
} satisfies Record<string, (chat: Talker, channel: FakeChannel) => void>;

for (const hook of Object.keys(HOOKS) as (keyof typeof HOOKS)[]) {
  Deno.test(`AsyncChat.discardBuffers() in ${hook}() drops what waits, and goes on`, async () => {
    const { chat, channel, map } = talkInLines();
    chat.maxLength = 10;
    let runs = 0;
    const usual = chat[hook] as (data: Uint8Array) => void;
    const discard = (data: Uint8Array) =>
      runs++ === 0 ? chat.discardBuffers() : usual.call(chat, data);
    Object.assign(chat, { [hook]: discard });
    HOOKS[hook](chat, channel);
    await loopUntil(map, () => runs > 0);
    chat.push("new");
    channel.push("\nline\n");
    await loopUntil(map, () => chat.taken.endsWith("|line|"));
    await loopUntil(map, () => channel.sent.endsWith("new"));
    chat.closeWhenDone();
    await loopToEnd(map);
  });
}

Deno.test("AsyncChat.discardBuffers() in handleClose() leaves nothing to send", async () => {
  const { chat, channel, map } = talk();
  chat.handleClose = () => {
    chat.discardBuffers();
    chat.close();
  };
  chat.pushWithProducer(never());
  chat.push("old");
  channel.push(null);
  await loopToEnd(map);
  assertEquals(channel.sent, "");
});

/** A chat that is made or stands, and what the test has in its hands. */
function newLife(isMade: boolean) {
  const { network, map, channel, chat } = isMade
    ? connecting()
    : { network: new FakeNetwork(), ...talk() };
  chat.setTerminator("\n");
  chat.handleError = (error) => {
    throw error;
  };
  const gates: ReturnType<typeof gated>[] = [];
  return { network, map, channel, chat, gates, valve: new Valve(channel) };
}

/** What may happen to it. */
const STEPS: ((life: ReturnType<typeof newLife>) => void)[] = [
  ({ chat }) => chat.push(block(1_000)),
  ({ chat }) => chat.pushWithProducer([block(1_000), block(100_000)]),
  ({ chat, gates }) => {
    const gate = gated();
    gates.push(gate);
    chat.pushWithProducer(gate.producer);
  },
  ({ gates }) => gates.shift()?.give(""),
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

Deno.test("AsyncChat ends whatever is discarded, and when, in 400 random lives", async () => {
  const random = randomFrom(newSeed());
  const pick = (below: number) => Math.floor(random() * below);
  for (let round = 0; round < 400; round++) {
    const life = newLife(pick(2) === 0);
    const { network, map, channel, chat, gates, valve } = life;
    for (let left = 2 + pick(8); left > 0; left--) {
      try {
        STEPS[pick(STEPS.length)]!(life);
      } catch (error) {
        // After the end of writing.
        assertMatch((error as Error).message, /^Cannot (push|send)/);
      }
      if (pick(2) === 0) await passes(map, pick(3));
    }
    // What is under way comes to its end.
    network.succeed(channel);
    valve.open();
    for (const { give } of gates) give("");
    channel.push(null);
    // Nothing else ends a connection whose writing goes on.
    if (chat.connected || chat.connecting) chat.closeWhenDone();
    await loopToEnd(map);
    assert(chat.events.filter((event) => event === "close").length <= 1);
  }
});
