import {
  assert,
  assertEquals,
  assertFalse,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { type Channel, closeAll, ExitNow, loop, poll } from "../mod.ts";
import {
  Echo,
  FakeAcceptor,
  FakeChannel,
  FakeNetwork,
  loopToEnd,
  passes,
  quietMap,
  Recorder,
  type RecorderOptions,
  watch,
} from "./fakes.ts";
import { MockClock } from "../testing/mock_clock.ts";
import {
  bytes,
  connectedPair,
  type TestMap,
  text,
  turns,
  until,
} from "./support.ts";

/** The hooks that a {@linkcode Gated} can make wait. */
type Hook =
  | "handleConnect"
  | "handleRead"
  | "handleWrite"
  | "handleAccepted"
  | "handleClose"
  | "handleError";

/** A recorder one of whose hooks waits for the test. */
class Gated extends Recorder {
  readonly gate: PromiseWithResolvers<void> = Promise.withResolvers();
  readonly #hook: Hook;

  constructor(
    map: TestMap,
    hook: Hook,
    channel: ConstructorParameters<typeof Recorder>[1] = null,
    options: RecorderOptions = {},
  ) {
    super(map, channel, options);
    this.#hook = hook;
  }

  #after(hook: Hook): Promise<void> | undefined {
    return hook === this.#hook ? this.gate.promise : undefined;
  }

  override handleConnect(): void | Promise<void> {
    this.note("handleConnect");
    return this.#after("handleConnect");
  }
  override handleRead(): void | Promise<void> {
    this.note("handleRead");
    this.received += text(this.recv());
    return this.#after("handleRead");
  }
  override handleWrite(): void | Promise<void> {
    this.note("handleWrite");
    return this.#after("handleWrite");
  }
  override handleAccepted(conn: Channel): void | Promise<void> {
    this.note("handleAccepted");
    void conn;
    return this.#after("handleAccepted");
  }
  override handleClose(): void | Promise<void> {
    this.note("handleClose");
    return this.#after("handleClose");
  }
  override handleError(error: unknown): void | Promise<void> {
    this.note("handleError");
    this.errors.push(error);
    return this.#after("handleError");
  }
}

/** How often a hook other than the given one was called. */
function others(handler: Recorder, hook: Hook): string[] {
  return handler.trace.filter((entry) => entry !== hook);
}

Deno.test("Dispatcher gets no event while its handleRead() is pending", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const handler = new Gated(map, "handleRead", channel);
  const neighbour = new FakeChannel();
  new Echo(neighbour, { map });
  channel.push("a");
  await passes(map, 2);
  handler.trace.length = 0;
  channel.push("b", "c");
  map.wake();
  neighbour.push("hello");
  await passes(map, 5);
  neighbour.push(" world");
  await passes(map, 5);
  assertEquals(handler.trace, []);
  assertEquals(neighbour.sent, "hello world");
  handler.gate.resolve();
  await turns();
  await passes(map, 5);
  assertEquals(handler.received, "abc");
});

Deno.test("Dispatcher whose hook has settled goes on at once", async () => {
  const clock = new MockClock();
  const map = quietMap({ clock });
  const channel = new FakeChannel();
  const handler = new Gated(map, "handleRead", channel);
  channel.push("a", "b");
  watch(loop({ map }));
  await turns();
  assertEquals(handler.received, "a");
  handler.gate.resolve();
  await turns();
  assertEquals(handler.received, "ab");
  assertEquals(clock.now(), 0);
});

Deno.test("Dispatcher gets its bytes in order through slow hooks", async () => {
  const map = quietMap();
  const [ours, theirs] = await connectedPair();
  class Slow extends Recorder {
    override async handleRead(): Promise<void> {
      const data = text(this.recv(3));
      await turns();
      this.received += data;
    }
  }
  const handler = new Slow(map, ours);
  const message = "all work and no play makes jack a dull boy".repeat(3);
  const sending = (async () => {
    for (const word of message.split(/(?<= )/)) await theirs.write(bytes(word));
    theirs.close();
  })();
  await Promise.all([sending, loopToEnd(map)]);
  assertEquals(handler.received, message);
  assertEquals(handler.trace, ["handleClose"]);
});

Deno.test("Dispatcher gets no read while its handleWrite() is pending", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const handler = new Gated(map, "handleWrite", channel);
  await passes(map, 1);
  assertEquals(handler.trace, ["handleWrite"]);
  channel.push("spam");
  await passes(map, 5);
  assertEquals(handler.trace, ["handleWrite"]);
  handler.gate.resolve();
  await turns();
  await passes(map, 3);
  assertEquals(handler.received, "spam");
});

Deno.test("Dispatcher keeps its other events while handleRead() is pending after EOF", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const handler = new Gated(map, "handleRead", channel);
  channel.push("spam", null);
  await passes(map, 5);
  assertEquals(handler.count("handleClose"), 0);
  handler.gate.resolve();
  await turns();
  await passes(map, 5);
  assertEquals(handler.count("handleClose"), 1);
  assertFalse(handler.connected);
});

Deno.test("handleConnect() that is async makes connected true when it is done", async () => {
  const network = new FakeNetwork();
  const map = quietMap({ network });
  const handler = new Gated(map, "handleConnect");
  handler.createSocket();
  handler.connect({ port: 7 });
  const channel = new FakeChannel();
  channel.push("spam");
  network.succeed(channel);
  await passes(map, 5);
  assertEquals(handler.trace, ["handleConnect"]);
  assertFalse(handler.connected);
  assert(handler.connecting);
  handler.gate.resolve();
  await turns();
  assert(handler.connected);
  await passes(map, 3);
  assertEquals(handler.count("handleWrite"), 1);
  assertEquals(handler.received, "spam");
  assertEquals(handler.count("handleConnect"), 1);
});

Deno.test("handleClose() that is async is followed by the close when it is done", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const handler = new Gated(map, "handleClose", channel);
  channel.push(null);
  await passes(map, 5);
  assertEquals(handler.count("handleClose"), 1);
  assertEquals(map.size, 1);
  assertFalse(channel.closed);
  const seen = handler.trace.length;
  await passes(map, 5);
  assertEquals(handler.trace.length, seen);
  handler.gate.resolve();
  await turns();
  assert(channel.closed);
  assertEquals(map.size, 0);
  assertEquals(handler.count("handleClose"), 1);
});

Deno.test("handleClose() that is async keeps the loop going until it is done", async () => {
  const clock = new MockClock();
  const map = quietMap({ clock });
  const channel = new FakeChannel();
  const handler = new Gated(map, "handleClose", channel);
  channel.push(null);
  const done = watch(loop({ map }));
  await turns();
  assertFalse(done.settled);
  handler.gate.resolve();
  await turns();
  assert(done.settled);
});

Deno.test("handleClose() that rejects goes to handleError(), which closes", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  class Failing extends Recorder {
    override handleClose(): Promise<void> {
      this.note("handleClose");
      return turns().then(() => Promise.reject(new Error("spam")));
    }
  }
  const handler = new Failing(map, channel);
  channel.push(null);
  await passes(map, 3);
  await turns();
  await turns();
  await poll(0, map);
  assertEquals(handler.trace, ["handleRead", "handleClose", "handleError"]);
  assert(channel.closed);
  assertEquals(map.size, 0);
  assertEquals(map.errors, []);
});

Deno.test("handleError() that is async holds back further events", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  class Failing extends Gated {
    override handleRead(): void {
      super.handleRead();
      if (this.received === "a") throw new Error("spam");
    }
  }
  const handler = new Failing(map, "handleError", channel);
  channel.push("a", "b");
  await passes(map, 5);
  assertEquals(handler.received, "a");
  assertEquals(handler.count("handleError"), 1);
  handler.gate.resolve();
  await turns();
  await passes(map, 5);
  assertEquals(handler.received, "ab");
});

Deno.test("handleError() that rejects closes hard, and the error is reported", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  class Failing extends Gated {
    override handleRead(): void {
      super.handleRead();
      throw new Error("spam");
    }
  }
  const handler = new Failing(map, "handleError", channel);
  const neighbour = new FakeChannel();
  new Echo(neighbour, { map });
  channel.push("a");
  await passes(map, 3);
  const second = new Error("eggs");
  handler.gate.reject(second);
  await turns();
  assertEquals(map.errors.length, 1);
  assertStrictEquals(map.errors[0], second);
  assert(channel.closed);
  assertEquals(map.size, 1);
  assertEquals(handler.count("handleClose"), 0);
  neighbour.push("hello");
  await passes(map, 2);
  assertEquals(neighbour.sent, "hello");
});

Deno.test("handleError() that rejects with ExitNow leaves the loop", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  class Failing extends Gated {
    override handleRead(): void {
      this.recv();
      throw new Error("spam");
    }
  }
  const handler = new Failing(map, "handleError", channel);
  channel.push("a");
  await passes(map, 3);
  handler.gate.reject(new ExitNow("enough"));
  await turns();
  await assertRejects(() => loop({ map }), ExitNow, "enough");
  assertEquals(map.errors, []);
});

Deno.test("handleAccepted() that is async holds back the next connection", async () => {
  const map = quietMap();
  const acceptor = new FakeAcceptor();
  const server = new Gated(map, "handleAccepted", acceptor);
  acceptor.push(new FakeChannel(), new FakeChannel());
  await passes(map, 5);
  assertEquals(server.count("handleAccepted"), 1);
  server.gate.resolve();
  await turns();
  await passes(map, 5);
  assertEquals(server.count("handleAccepted"), 2);
});

Deno.test("handleAccepted() that rejects closes its connection", async () => {
  const map = quietMap();
  const acceptor = new FakeAcceptor();
  const server = new Gated(map, "handleAccepted", acceptor);
  const first = new FakeChannel();
  acceptor.push(first);
  await passes(map, 3);
  assertFalse(first.closed);
  const error = new Error("spam");
  server.gate.reject(error);
  await turns();
  assert(first.closed);
  assertStrictEquals(server.errors[0], error);
  assert(
    server.accepting,
    "handleError() decides what becomes of the listener",
  );
});

/** Brings a dispatcher to the point where one of its hooks is pending. */
async function bringTo(hook: Hook, map: TestMap, network: FakeNetwork) {
  const channel = new FakeChannel();
  if (hook === "handleConnect") {
    const handler = new Gated(map, hook);
    handler.createSocket();
    handler.connect({ port: 7 });
    network.succeed(channel);
    await passes(map, 3);
    return handler;
  }
  const acceptor = new FakeAcceptor();
  if (hook === "handleAccepted") acceptor.push(channel);
  if (hook === "handleRead") channel.push("spam");
  if (hook === "handleClose") channel.push(null);
  const wrapped = hook === "handleAccepted" ? acceptor : channel;
  const handler = new Gated(map, hook, wrapped);
  await passes(map, 3);
  return handler;
}

const HOOKS: Hook[] = [
  "handleConnect",
  "handleRead",
  "handleWrite",
  "handleAccepted",
  "handleClose",
];

for (const hook of HOOKS) {
  Deno.test(`${hook}() that rejects brings handleError() once, with the reason`, async () => {
    const network = new FakeNetwork();
    const map = quietMap({ network });
    const handler = await bringTo(hook, map, network);
    assertEquals(handler.count(hook), 1);
    const error = new Error("spam");
    handler.gate.reject(error);
    await turns();
    assertEquals(handler.errors.length, 1);
    assertStrictEquals(handler.errors[0], error);
    assertEquals(map.errors, []);
    handler.abort();
  });

  Deno.test(`${hook}() that rejects with ExitNow leaves a loop that waits`, async () => {
    const clock = new MockClock();
    const network = new FakeNetwork();
    const map = quietMap({ network, clock });
    const handler = await bringTo(hook, map, network);
    const exit = new ExitNow("enough");
    const done = watch(loop({ map }));
    await turns();
    assertFalse(done.settled);
    handler.gate.reject(exit);
    await turns();
    assertStrictEquals(done.error, exit);
    assertEquals(handler.errors, []);
    assertEquals(map.errors, []);
    handler.abort();
  });

  Deno.test(`${hook}() that rejects with ExitNow between two passes leaves the next`, async () => {
    const network = new FakeNetwork();
    const map = quietMap({ network });
    const handler = await bringTo(hook, map, network);
    handler.gate.reject(new ExitNow("enough"));
    await turns();
    await assertRejects(() => poll(0, map), ExitNow, "enough");
    await poll(0, map);
    handler.abort();
  });

  for (const how of ["close", "abort"] as const) {
    Deno.test(`${hook}() that rejects after ${how}() is reported to the map`, async () => {
      const network = new FakeNetwork();
      const map = quietMap({ network });
      const handler = await bringTo(hook, map, network);
      const before = others(handler, hook);
      handler[how]();
      const error = new Error("spam");
      handler.gate.reject(error);
      await turns();
      await poll(0, map);
      assertEquals(map.errors.length, 1);
      assertStrictEquals(map.errors[0], error);
      assertEquals(others(handler, hook), before);
      assertEquals(handler.errors, []);
    });
  }

  Deno.test(`${hook}() that fulfils after close() changes nothing`, async () => {
    const network = new FakeNetwork();
    const map = quietMap({ network });
    const handler = await bringTo(hook, map, network);
    const before = [...handler.trace];
    handler.close();
    handler.gate.resolve();
    await turns();
    await poll(0, map);
    assertEquals(handler.trace, before);
    assertFalse(handler.connected);
    assertEquals(map.errors, []);
    assertEquals(map.size, 0);
  });
}

Deno.test("Dispatcher whose hook is pending may leave the map and come back", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const handler = new Gated(map, "handleRead", channel);
  channel.push("a", "b");
  await passes(map, 3);
  handler.delChannel();
  handler.gate.resolve();
  await turns();
  await poll(0, map);
  assertEquals(handler.received, "a");
  handler.addChannel();
  await passes(map, 3);
  assertEquals(handler.received, "ab");
});

Deno.test("Dispatcher with a new socket waits for a hook of the old one", async () => {
  const map = quietMap();
  const old = new FakeChannel();
  const handler = new Gated(map, "handleRead", old);
  old.push("old");
  await passes(map, 3);
  handler.close();
  const fresh = new FakeChannel();
  fresh.push("new");
  handler.setSocket(fresh);
  await passes(map, 3);
  assertEquals(handler.received, "old", "no two hooks at a time");
  handler.gate.reject(new Error("spam"));
  await turns();
  assertFalse(fresh.closed, "the old socket's failure must not close the new");
  await passes(map, 3);
  assertEquals(handler.received, "oldnew");
});

Deno.test("Thenable of a hook counts as a promise", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  class Thenable extends Recorder {
    override handleRead(): Promise<void> {
      super.handleRead();
      const reject = (_: unknown, onError: (error: unknown) => void) =>
        onError(new Error("spam"));
      return { then: reject } as unknown as Promise<void>;
    }
  }
  const handler = new Thenable(map, channel);
  channel.push("a");
  await passes(map, 3);
  assertEquals(handler.errors.length, 1);
  assertInstanceOf(handler.errors[0], Error);
});

/** Takes four bytes at a time, a turn after it was told. */
class SlowReader extends Recorder {
  override async handleRead(): Promise<void> {
    this.note("handleRead");
    await turns();
    this.received += text(this.recv(4));
  }
}

Deno.test("handleRead() that takes bytes after an await gets all of them before a failed write is told", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const gate = Promise.withResolvers<number>();
  channel.take = () => gate.promise;
  const handler = new SlowReader(map, channel);
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
class LateFailure extends Recorder {
  static readonly FAILURE = new Error("could not say goodbye");

  override async close(): Promise<void> {
    super.close();
    await turns();
    throw LateFailure.FAILURE;
  }
  override handleClose(): void {} // leaves the close to the loop
}

Deno.test("close() that is async and rejects is reported, at the end of the stream", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  new LateFailure(map, channel);
  channel.push(null);
  await passes(map, 3);
  await until(() => map.errors.length > 0, "the failure");
  assert(channel.closed);
  assertEquals(map.errors, [LateFailure.FAILURE]);
});

Deno.test("close() that is async and rejects is reported by closeAll()", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  new LateFailure(map, channel);
  closeAll(map);
  await turns();
  await turns();
  assert(channel.closed);
  assertEquals(map.errors, [LateFailure.FAILURE]);
});

Deno.test("handleError() waits for the promise of a handleClose() that the failing hook has run", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const error = new Error("spam");
  class Failing extends Gated {
    override handleRead(): void {
      super.handleRead();
      throw error;
    }
  }
  const failing = new Failing(map, "handleClose", channel);
  channel.push(null);
  await passes(map, 4);
  assertEquals(failing.trace, ["handleRead", "handleClose"]);
  failing.gate.resolve();
  await loop({ map });
  assertEquals(failing.trace, ["handleRead", "handleClose"]);
  assertEquals(map.errors, [error], "it was closed by then");
});

Deno.test("handleError() waits for the promise of the hook in which handleClose() rejects", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const trace: string[] = [];
  class Failing extends Recorder {
    override async handleRead(): Promise<void> {
      trace.push("handleRead");
      this.recv();
      await turns();
      trace.push("handleRead is done");
    }
    override handleClose(): Promise<void> {
      return Promise.reject(new Error("spam"));
    }
    override handleError(): void {
      trace.push("handleError");
    }
  }
  new Failing(map, channel);
  channel.push(null);
  await loopToEnd(map);
  assertEquals(trace, ["handleRead", "handleRead is done", "handleError"]);
});
