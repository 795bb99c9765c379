/** An ExitNow leaves the loop; what it leaves behind must not spoil the next one. */

import {
  assert,
  assertEquals,
  assertFalse,
  assertInstanceOf,
  assertRejects,
} from "@std/assert";
import { Dispatcher, ExitNow, loop, poll } from "../mod.ts";
import {
  Echo,
  FakeAcceptor,
  FakeChannel,
  FakeNetwork,
  loopToEnd,
  passes,
  quietMap,
  watch,
} from "./fakes.ts";
import { bytes, type TestMap, turns } from "./support.ts";

/** Leaves the loop from the hook that a test says. */
class Leaver extends Dispatcher {
  readonly trace: string[] = [];
  #leaveIn: string | null;

  constructor(map: TestMap, leaveIn: string) {
    super(null, { map });
    this.#leaveIn = leaveIn;
  }
  #note(hook: string): void {
    this.trace.push(hook);
    if (hook !== this.#leaveIn) return;
    this.#leaveIn = null;
    throw new ExitNow(hook);
  }
  override handleRead(): void {
    this.recv();
  }
  override handleError(error: unknown): void | Promise<void> {
    this.#note("handleError");
    return super.handleError(error);
  }
  override handleClose(): void {
    this.#note("handleClose");
    this.close();
  }
}

/** The same, with a predicate to be asked. */
class AskedLeaver extends Leaver {
  override readable(): boolean {
    return !this.connected;
  }
}

/** What ends a dispatcher, and which hooks hear of it. */
const ENDS: [
  string,
  string[],
  (leaver: Leaver, network: FakeNetwork) => FakeChannel | null,
][] = [
  ["a refused connect", ["handleError", "handleClose"], (leaver, network) => {
    leaver.createSocket();
    leaver.connect({ port: 7 });
    network.fail(new Deno.errors.ConnectionRefused("spam"));
    return null;
  }],
  ["a listener that fails", ["handleError", "handleClose"], (leaver) => {
    const acceptor = new FakeAcceptor();
    acceptor.push(new Error("spam"));
    leaver.setSocket(acceptor);
    return null;
  }],
  ["a broken connection", ["handleClose"], (leaver) => {
    const channel = new FakeChannel();
    channel.take = () => Promise.reject(new Deno.errors.BrokenPipe("spam"));
    leaver.setSocket(channel);
    leaver.send(bytes("x"));
    return channel;
  }],
];

for (const Class of [Leaver, AskedLeaver]) {
  for (const [end, hooks, start] of ENDS) {
    for (const hook of hooks) {
      Deno.test(`ExitNow from ${hook}() after ${end} leaves nobody behind: ${Class.name}`, async () => {
        const network = new FakeNetwork();
        const map = quietMap({ network });
        const leaver = new Class(map, hook);
        const channel = start(leaver, network);
        await assertRejects(() => loopToEnd(map), ExitNow, hook);
        await loopToEnd(map, 1_000);
        assertEquals(map.size, 0);
        assertEquals(leaver.trace, hooks, "each once");
        assertFalse(leaver.connecting || leaver.accepting || leaver.connected);
        if (channel) assert(channel.closed);
      });
    }
  }
}

Deno.test("ExitNow from onError() leaves no open dispatcher", async () => {
  const map = quietMap();
  map.onError = () => {
    throw new ExitNow("enough");
  };
  class Hopeless extends Dispatcher {
    override handleRead(): void {
      throw new Error("spam");
    }
    override handleError(): void {
      throw new Error("eggs");
    }
  }
  const channel = new FakeChannel();
  new Hopeless(channel, { map });
  channel.push("x");
  await assertRejects(() => loopToEnd(map), ExitNow, "enough");
  assertEquals(map.size, 0);
  assert(channel.closed);
});

/** Closes itself in a hook whose promise rejects with an ExitNow. */
class LateLeaver extends Dispatcher {
  readonly gate: PromiseWithResolvers<void> = Promise.withResolvers();
  override async handleRead(): Promise<void> {
    this.recv();
    this.close();
    await this.gate.promise;
    throw new ExitNow("late");
  }
}

Deno.test("ExitNow of an async hook that has closed the last dispatcher comes from that loop()", async () => {
  const map = quietMap();
  class AsyncLeaver extends Dispatcher {
    // deno-lint-ignore require-await
    override async handleRead(): Promise<void> {
      this.recv();
      this.close();
      throw new ExitNow("at once");
    }
  }
  const channel = new FakeChannel();
  new AsyncLeaver(channel, { map });
  channel.push("x");
  await assertRejects(() => loopToEnd(map), ExitNow, "at once");
  await loopToEnd(map); // once
  map.check();
});

Deno.test("ExitNow of a hook whose loop() has returned comes from the next one", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const leaver = new LateLeaver(channel, { map });
  channel.push("x");
  await loopToEnd(map);
  leaver.gate.resolve();
  await turns();
  const handler = new Dispatcher(new FakeChannel(), { map });
  const next = watch(loop({ map }));
  await turns();
  assert(next.settled);
  assertInstanceOf(next.error, ExitNow);
  assert(handler.connected);
  await passes(map, 2);
  await poll(0, map);
  map.check();
});

Deno.test("ExitNow of a hook whose loop() has returned comes from the next one, though nobody is left", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const leaver = new LateLeaver(channel, { map });
  channel.push("x");
  await loopToEnd(map);
  leaver.gate.resolve();
  await turns();
  await assertRejects(() => loop({ map }), ExitNow, "late");
  await loop({ map });
});

Deno.test("ExitNow in a pass in which another has moved leaves nobody unheard", async () => {
  class Reader extends Dispatcher {
    readonly #act: () => void;
    heard = 0;

    constructor(map: TestMap, act: (reader: Reader) => void) {
      const channel = new FakeChannel();
      channel.push("spam", null);
      super(channel, { map });
      this.#act = () => act(this);
    }
    override handleRead(): void {
      if (this.recv().length === 0) return;
      this.heard++;
      this.#act();
    }
    override handleClose(): void {
      this.close();
    }
  }
  const [map, other] = [quietMap(), quietMap()];
  new Reader(map, (mover) => mover.addChannel(other));
  new Reader(map, () => {
    throw new ExitNow("spam");
  });
  const third = new Reader(map, () => {});
  await assertRejects(() => loopToEnd(map), ExitNow, "spam");
  assertEquals(third.heard, 0);
  await loopToEnd(map);
  await loopToEnd(other);
  assertEquals(third.heard, 1);
});

Deno.test("ExitNow from handleAccepted() leaves its connection to whoever took it", async () => {
  for (const isAsync of [false, true]) {
    const map = quietMap();
    const acceptor = new FakeAcceptor();
    class Server extends Dispatcher {
      override handleAccepted(conn: FakeChannel): void | Promise<void> {
        new Echo(conn, { map });
        this.close();
        if (isAsync) return Promise.reject(new ExitNow("served"));
        throw new ExitNow("served");
      }
    }
    new Server(acceptor, { map });
    const client = new FakeChannel();
    acceptor.push(client);
    await assertRejects(() => loopToEnd(map), ExitNow, "served");
    assertFalse(client.closed);
    client.push("spam", null);
    await loopToEnd(map);
    assertEquals(client.sent, "spam");
  }
});

Deno.test("ExitNow from handleAccepted() leaves the other clients of a crowd", async () => {
  const map = quietMap();
  const acceptor = new FakeAcceptor();
  const taken: FakeChannel[] = [];
  class Server extends Dispatcher {
    override handleAccepted(conn: FakeChannel): void {
      taken.push(conn);
      if (taken.length === 3) this.close();
      throw new ExitNow("served");
    }
  }
  new Server(acceptor, { map });
  const clients = [1, 2, 3].map(() => new FakeChannel());
  acceptor.push(...clients);
  for (let i = 0; i < 3; i++) {
    await assertRejects(() => loopToEnd(map), ExitNow, "served");
  }
  await loopToEnd(map);
  assertEquals(taken.length, 3);
  assert(taken.every(({ closed }) => !closed));
});
