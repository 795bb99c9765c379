import {
  assert,
  assertEquals,
  assertFalse,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { closeAll, ExitNow, loop, poll } from "../mod.ts";
import {
  FakeAcceptor,
  FakeChannel,
  loopToEnd,
  passes,
  watch,
} from "./fakes.ts";
import {
  type Acts,
  connected,
  neighbourIn,
  recorder,
  setUp,
} from "./setups.ts";
import { bytes, text, turns, until } from "./support.ts";

const SPAM = new Error("spam");

/** The hooks that {@linkcode bringTo} can make wait. */
const HOOKS = [
  "handleConnect",
  "handleRead",
  "handleWrite",
  "handleAccepted",
  "handleClose",
] as const;
type Hook = typeof HOOKS[number] | "handleError";

/** Brings a dispatcher to the point where the promise of a hook is pending. */
async function bringTo(hook: Hook, ...incoming: string[]) {
  const scene = setUp();
  const { map, network } = scene;
  const channel = new FakeChannel();
  const gate = Promise.withResolvers<void>();
  const acts: Acts = {
    handleRead() {
      this.received += text(this.recv());
      if (hook === "handleError" && this.received === "a") throw SPAM;
      return hook === "handleRead" ? gate.promise : undefined;
    },
    handleClose() {},
    handleError() {},
  };
  if (hook !== "handleRead") acts[hook] = () => gate.promise;
  const handler = recorder(map, null, acts);
  channel.push(...incoming);
  if (hook === "handleClose") channel.push(null);
  else if (incoming.length === 0) channel.push("spam");
  const acceptor = new FakeAcceptor();
  if (hook === "handleConnect") {
    handler.createSocket();
    handler.connect({ port: 7 });
    network.succeed(channel);
  } else if (hook === "handleAccepted") {
    acceptor.push(channel);
    handler.setSocket(acceptor);
  } else handler.setSocket(channel);
  await passes(map, 3);
  assertEquals(handler.count(hook), 1);
  return { ...scene, channel, acceptor, gate, handler };
}

Deno.test("Dispatcher gets no event while its handleRead() is pending", async () => {
  const { map, channel, gate, handler } = await bringTo("handleRead", "a");
  const neighbour = neighbourIn(map);
  handler.trace.length = 0;
  channel.push("b", "c");
  map.wake();
  neighbour.push("hello");
  await passes(map, 5);
  neighbour.push(" world");
  await passes(map, 5);
  assertEquals(handler.trace, []);
  assertEquals(neighbour.sent, "hello world");
  gate.resolve();
  await turns();
  await passes(map, 5);
  assertEquals(handler.received, "abc");
});

Deno.test("Dispatcher whose hook has settled goes on at once", async () => {
  const { clock, map, gate, handler } = await bringTo("handleRead", "a", "b");
  watch(loop({ map }));
  await turns();
  assertEquals(handler.received, "a");
  gate.resolve();
  await turns();
  assertEquals(handler.received, "ab");
  assertEquals(clock.now(), 0);
});

Deno.test("Dispatcher keeps its other events while handleRead() is pending after EOF", async () => {
  const { map, channel, gate, handler } = await bringTo("handleRead");
  channel.push(null);
  await passes(map, 5);
  assertEquals(handler.count("handleClose"), 0);
  gate.resolve();
  await turns();
  await passes(map, 5);
  assertEquals(handler.count("handleClose"), 1);
  assertFalse(handler.connected);
});

Deno.test("handleConnect() that is async makes connected true when it is done", async () => {
  const { map, gate, handler } = await bringTo("handleConnect");
  assertEquals(handler.trace, ["handleConnect"]);
  assertFalse(handler.connected);
  assert(handler.connecting);
  gate.resolve();
  await turns();
  assert(handler.connected);
  await passes(map, 3);
  assertEquals(handler.received, "spam");
  assertEquals(handler.trace, ["handleConnect", "handleRead"]);
});

Deno.test("handleClose() that is async is followed by the close when it is done, and by the end of the loop", async () => {
  const { map, channel, gate, handler } = await bringTo("handleClose");
  assertEquals(map.size, 1);
  assertFalse(channel.closed);
  const done = watch(loop({ map }));
  await turns();
  assertFalse(done.settled);
  assertEquals(handler.trace, ["handleRead", "handleClose"]);
  gate.resolve();
  await turns();
  assert(done.settled);
  assert(channel.closed);
  assertEquals(map.size, 0);
  assertEquals(handler.count("handleClose"), 1);
});

Deno.test("handleError() that rejects with ExitNow leaves the loop", async () => {
  const { map, gate } = await bringTo("handleError", "a");
  gate.reject(new ExitNow("enough"));
  await turns();
  await assertRejects(() => loop({ map }), ExitNow, "enough");
  assertEquals(map.errors, []);
});

Deno.test("handleAccepted() that is async holds back the next connection", async () => {
  const { map, acceptor, gate, handler } = await bringTo("handleAccepted");
  acceptor.push(new FakeChannel());
  await passes(map, 5);
  assertEquals(handler.count("handleAccepted"), 1);
  gate.resolve();
  await turns();
  await passes(map, 5);
  assertEquals(handler.count("handleAccepted"), 2);
});

for (const hook of HOOKS) {
  Deno.test(`${hook}() that rejects brings handleError() once, with the reason`, async () => {
    const { map, gate, handler } = await bringTo(hook);
    gate.reject(SPAM);
    await turns();
    assertEquals(handler.errors.length, 1);
    assertStrictEquals(handler.errors[0], SPAM);
    assertEquals(map.errors, []);
    handler.abort();
  });

  Deno.test(`${hook}() that rejects with ExitNow leaves a loop that waits`, async () => {
    const { map, gate, handler } = await bringTo(hook);
    const exit = new ExitNow("enough");
    const done = watch(loop({ map }));
    await turns();
    assertFalse(done.settled);
    gate.reject(exit);
    await turns();
    assertStrictEquals(done.error, exit);
    assertEquals([handler.errors, map.errors], [[], []]);
    handler.abort();
  });

  Deno.test(`${hook}() that rejects with ExitNow between two passes leaves the next`, async () => {
    const { map, gate, handler } = await bringTo(hook);
    gate.reject(new ExitNow("enough"));
    await turns();
    await assertRejects(() => poll(0, map), ExitNow, "enough");
    await poll(0, map);
    handler.abort();
  });

  for (const how of ["close", "abort"] as const) {
    Deno.test(`${hook}() that settles after ${how}() brings no other hook, and the map hears of an error`, async () => {
      for (const reason of [null, SPAM]) {
        const { map, gate, handler } = await bringTo(hook);
        const before = [...handler.trace];
        handler[how]();
        if (reason) gate.reject(reason);
        else gate.resolve();
        await turns();
        await poll(0, map);
        assertEquals(map.errors, reason ? [reason] : []);
        assertEquals(handler.trace, before);
        assertFalse(handler.connected);
        assertEquals(map.size, 0);
      }
    });
  }
}

Deno.test("Dispatcher whose hook is pending may leave the map and come back", async () => {
  const { map, gate, handler } = await bringTo("handleRead", "a", "b");
  handler.delChannel();
  gate.resolve();
  await turns();
  await poll(0, map);
  assertEquals(handler.received, "a");
  handler.addChannel();
  await passes(map, 3);
  assertEquals(handler.received, "ab");
});

Deno.test("Thenable of a hook counts as a promise", async () => {
  const { map, channel, handler } = connected({
    handleRead() {
      this.recv();
      const then = (_: unknown, reject: (error: unknown) => void) =>
        reject(SPAM);
      return { then } as unknown as Promise<void>;
    },
  });
  channel.push("a");
  await passes(map, 3);
  assertEquals(handler.errors, [SPAM]);
});

Deno.test("handleRead() that takes bytes after an await gets all of them before a failed write is told", async () => {
  const { map, channel, handler } = connected({
    async handleRead() {
      await turns();
      this.received += text(this.recv(4));
    },
  });
  const gate = Promise.withResolvers<number>();
  channel.take = () => gate.promise;
  handler.send(bytes("answer"));
  channel.push("one two three four five six.", null);
  await passes(map, 2);
  assertEquals(handler.count("handleRead"), 1);
  gate.reject(new Deno.errors.BrokenPipe("gone"));
  await loopToEnd(map);
  assertEquals(handler.received, "one two three four five six.");
  assertEquals(handler.trace.at(-1), "handleClose");
  assertEquals(handler.count("handleClose"), 1);
  assertEquals(handler.errors, []);
});

/** Closes, and fails afterwards. */
const FAILS_LATE: Acts = {
  async close() {
    this.abort();
    await turns();
    throw SPAM;
  },
  handleClose() {}, // leaves the close to the loop
};

Deno.test("close() that is async and rejects is reported, by closeAll() and at the end of the stream", async () => {
  for (const isEnd of [false, true]) {
    const { map, channel } = connected(FAILS_LATE);
    if (isEnd) channel.push(null);
    else closeAll(map);
    await loop({ map });
    await until(() => map.errors.length > 0, "the failure");
    assert(channel.closed);
    assertEquals(map.errors, [SPAM]);
  }
});

Deno.test("handleError() waits for the promise of a handleClose() that the failing hook has run", async () => {
  const gate = Promise.withResolvers<void>();
  const { map, channel, handler } = connected({
    handleRead() {
      this.recv();
      throw SPAM;
    },
    handleClose: () => gate.promise,
  });
  channel.push(null);
  await passes(map, 4);
  assertEquals(handler.trace, ["handleRead", "handleClose"]);
  gate.resolve();
  await loop({ map });
  assertEquals(handler.trace, ["handleRead", "handleClose"]);
  assertEquals(map.errors, [SPAM], "it was closed by then");
});

Deno.test("handleError() waits for the promise of the hook in which handleClose() rejects", async () => {
  const { map, channel, handler } = connected({
    async handleRead() {
      this.recv();
      await turns();
      this.trace.push("handleRead is done");
    },
    handleClose: () => Promise.reject(SPAM),
    handleError() {},
  });
  channel.push(null);
  await loopToEnd(map);
  assertEquals(handler.trace, [
    "handleRead",
    "handleClose",
    "handleRead is done",
    "handleError",
  ]);
});
