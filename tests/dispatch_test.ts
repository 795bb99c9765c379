import {
  assert,
  assertEquals,
  assertFalse,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { type Channel, Dispatcher, ExitNow, poll } from "../mod.ts";
import { FakeChannel, loopToEnd, passes, rest } from "./fakes.ts";
import {
  bytes,
  loopUntil,
  PATIENCE,
  rawConnect,
  ScopedMap,
  type TestMap,
  text,
} from "./support.ts";

/** What an event calls, from the layer that the loop sees to the hooks. */
const onListener = [
  "readable",
  "handleReadEvent",
  "handleAccept",
  "handleAccepted",
] as const;
const onClient = [
  "writable",
  "handleConnectEvent",
  "handleConnect",
  "handleWriteEvent",
  "handleWrite",
  "handleRead",
  "handleClose",
] as const;
type Part = (typeof onListener)[number] | (typeof onClient)[number];

/** Writes down what is called, and throws once, where the test says. */
class Probe extends Dispatcher {
  readonly calls: Part[] = [];
  readonly errors: unknown[] = [];
  readonly #part: Part;
  #failure: unknown;
  received = "";

  constructor(map: TestMap, part: Part, failure: unknown) {
    super(null, { map });
    this.#part = part;
    this.#failure = failure;
  }

  get failed(): boolean {
    return this.#failure === null;
  }

  #visit(part: Part): void {
    this.calls.push(part);
    const failure = this.#failure;
    if (part !== this.#part || failure === null) return;
    this.#failure = null;
    throw failure;
  }

  override readable(): boolean {
    this.#visit("readable");
    return super.readable();
  }
  override writable(): boolean {
    this.#visit("writable");
    return super.writable();
  }
  override handleReadEvent(): void | Promise<void> {
    this.#visit("handleReadEvent");
    return super.handleReadEvent();
  }
  override handleWriteEvent(): void | Promise<void> {
    this.#visit("handleWriteEvent");
    return super.handleWriteEvent();
  }
  override handleConnectEvent(): void | Promise<void> {
    this.#visit("handleConnectEvent");
    return super.handleConnectEvent();
  }
  override handleAccept(): void | Promise<void> {
    this.#visit("handleAccept");
    return super.handleAccept();
  }
  override handleAccepted(conn: Channel): void {
    conn.close(); // An ExitNow leaves it as it is.
    this.#visit("handleAccepted");
  }
  override handleConnect(): void {
    this.#visit("handleConnect");
  }
  override handleWrite(): void {
    this.#visit("handleWrite");
  }
  override handleRead(): void {
    this.#visit("handleRead");
    this.received += new TextDecoder().decode(this.recv());
  }
  override handleClose(): void {
    this.#visit("handleClose");
  }
  override handleError(error: unknown): void {
    this.errors.push(error);
  }
}

/** A probe in a situation in which each of its parts is called. */
interface Scene extends Disposable {
  probe: Probe;
  peer: Promise<void>;
}

/** The probe connects; its peer accepts, says something and leaves. */
function clientScene(map: TestMap, part: Part, failure: unknown): Scene {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const probe = new Probe(map, part, failure);
  probe.createSocket();
  probe.connect(listener.addr as Deno.NetAddr);
  const peer = (async () => {
    using conn = await listener.accept();
    await conn.write(bytes("spam"));
  })();
  return { probe, peer, [Symbol.dispose]: () => listener.close() };
}

/** The probe listens, and a client comes and stays. */
function listenerScene(map: TestMap, part: Part, failure: unknown): Scene {
  const probe = new Probe(map, part, failure);
  probe.createSocket();
  probe.bind({ hostname: "127.0.0.1", port: 0 });
  probe.listen();
  let conn: Deno.Conn | undefined;
  const peer = rawConnect(probe.addr).then((made) => void (conn = made));
  return { probe, peer, [Symbol.dispose]: () => conn?.close() };
}

const scenes = [
  ...onListener.map((part) => ({ part, makeScene: listenerScene })),
  ...onClient.map((part) => ({ part, makeScene: clientScene })),
];

for (const { part, makeScene } of scenes) {
  Deno.test(`loop() passes on an ExitNow from ${part}(), and goes on when called again`, async () => {
    await using map = new ScopedMap();
    const exit = new ExitNow("enough");
    using scene = makeScene(map, part, exit);
    const { probe } = scene;
    const thrown = await assertRejects(() => loopToEnd(map));
    await scene.peer;
    assertStrictEquals(thrown, exit);
    assert(probe.failed);
    assertEquals(probe.errors, []);
    // It leaves the loop and changes nothing else: handleClose() is the end.
    assertEquals([...map], part === "handleClose" ? [] : [probe]);

    if (part === "handleClose") return;
    if (makeScene === listenerScene) {
      using _second = await rawConnect(probe.addr);
      const before = probe.calls.length;
      await loopUntil(
        map,
        () => probe.calls.slice(before).includes("handleAccepted"),
      );
    } else {
      await loopUntil(map, () => map.size === 0);
      assertEquals(probe.received, "spam");
      assertEquals(probe.calls.filter((call) => call === "handleClose"), [
        "handleClose",
      ]);
    }
    assertEquals(probe.errors, []);
  });

  Deno.test(`poll() passes on an ExitNow from ${part}()`, async () => {
    await using map = new ScopedMap();
    const exit = new ExitNow("enough");
    using scene = makeScene(map, part, exit);
    const deadline = performance.now() + PATIENCE;
    const thrown = await assertRejects(async () => {
      while (performance.now() < deadline) await poll(50, map);
    });
    await scene.peer;
    assertStrictEquals(thrown, exit);
    assertEquals(scene.probe.errors, []);
  });

  Deno.test(`Dispatcher.handleError() gets any other error from ${part}()`, async () => {
    await using map = new ScopedMap();
    const failure = new RangeError("spam");
    using scene = makeScene(map, part, failure);
    const { probe } = scene;
    await loopUntil(map, () => probe.errors.length > 0);
    await scene.peer;
    await passes(map, 3);
    assertEquals(probe.errors.length, 1);
    assertStrictEquals(probe.errors[0], failure);
    assertEquals(map.errors, [], "the map has nothing to do with it");
  });
}

Deno.test("Dispatcher.handleError() gets what is no Error as well", async () => {
  await using map = new ScopedMap();
  using scene = clientScene(map, "handleRead", "just a text");
  await loopUntil(map, () => scene.probe.errors.length > 0);
  await scene.peer;
  assertEquals(scene.probe.errors, ["just a text"]);
});

Deno.test("loop() passes on an ExitNow from handleError()", async () => {
  await using map = new ScopedMap();
  const exit = new ExitNow("enough");
  class Failing extends Dispatcher {
    override handleRead() {
      this.recv();
      throw new Error("spam");
    }
    override handleError() {
      throw exit;
    }
  }
  const channel = new FakeChannel();
  const failing = new Failing(channel, { map });
  channel.push("spam");
  assertStrictEquals(await assertRejects(() => loopToEnd(map)), exit);
  assertEquals([...map], [failing]);
  assertFalse(channel.closed);
});

Deno.test("loop() passes on an ExitNow from an async hook", async () => {
  await using map = new ScopedMap();
  const exit = new ExitNow("enough");
  class Reader extends Dispatcher {
    override async handleRead() {
      this.recv();
      await Promise.resolve();
      throw exit;
    }
  }
  const channel = new FakeChannel();
  new Reader(channel, { map });
  channel.push("spam");
  assertStrictEquals(await assertRejects(() => loopToEnd(map)), exit);
  channel.push(null);
});

Deno.test("loop() accepts an ExitNow from a subclass of it", async () => {
  await using map = new ScopedMap();
  class Quit extends ExitNow {}
  map.callLater(0, () => {
    throw new Quit("bye");
  });
  new Dispatcher(new FakeChannel(), { map });
  await assertRejects(() => loopToEnd(map), Quit, "bye");
});

Deno.test("Dispatcher is connected also when handleConnect() threw and handleError() forgave it", async () => {
  await using map = new ScopedMap();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  let connects = 0;
  let errors = 0;
  class Client extends Dispatcher {
    override handleConnect() {
      connects++;
      throw new Error("spam");
    }
    override handleError() {
      errors++;
    }
  }
  const client = new Client(null, { map });
  client.createSocket();
  client.connect(listener.addr as Deno.NetAddr);
  using conn = await listener.accept();
  await loopUntil(map, () => client.connected);
  await passes(map, 3);
  assertEquals([connects, errors], [1, 1]);
  client.send(bytes("spam"));
  assertEquals(await conn.read(new Uint8Array(16)), 4);
});

// What the others get

/** Two dispatchers that are ready in the same pass; the first one exits. */
class Pair {
  readonly trace: string[] = [];
  readonly #throwsIn: string;

  constructor(map: TestMap, throwsIn: string) {
    this.#throwsIn = throwsIn;
    this.#make(map, "first");
    this.#make(map, "second");
  }

  #make(map: TestMap, name: string): void {
    const visit = (what: string) => {
      this.trace.push(`${name} ${what}`);
      if (`${name} ${what}` === this.#throwsIn) throw new ExitNow("enough");
    };
    let written = false;
    class Member extends Dispatcher {
      override writable() {
        return !written;
      }
      override handleRead() {
        visit(`read ${this.recv().length}`);
      }
      override handleWrite() {
        written = true;
        visit("write");
      }
    }
    const channel = new FakeChannel();
    new Member(channel, { map });
    channel.push("spam");
  }
}

Deno.test("poll() gives the events that an ExitNow cut off in the next pass", async () => {
  for (const from of ["first read 4", "first write", "second read 4"]) {
    await using map = new ScopedMap();
    const { trace } = new Pair(map, from);
    await assertRejects(() => poll(0, map), ExitNow);
    assertEquals(trace.at(-1), from, "nothing runs after it");
    await poll(0, map);
    await poll(0, map);
    assertEquals(trace.toSorted(), [
      "first read 4",
      "first write",
      "second read 4",
      "second write",
    ], `each gets its events once, after an ExitNow from ${from}`);
  }
});

Deno.test("poll() gives the others their events after an ExitNow from a predicate", async () => {
  await using map = new ScopedMap();
  let exits = 1;
  class Picky extends Dispatcher {
    override readable() {
      if (exits-- > 0) throw new ExitNow("enough");
      return true;
    }
  }
  const reads: number[] = [];
  class Reader extends Dispatcher {
    override handleRead() {
      reads.push(this.recv().length);
    }
  }
  const channel = new FakeChannel();
  new Picky(new FakeChannel(), { map });
  new Reader(channel, { map });
  channel.push("spam");
  await assertRejects(() => poll(0, map), ExitNow);
  assertEquals(reads, []);
  await poll(0, map);
  assertEquals(reads, [4]);
});

Deno.test("poll() gives the others their events in the same pass after any other error", async () => {
  await using map = new ScopedMap();
  const errors: unknown[] = [];
  const reads: number[] = [];
  class Failing extends Dispatcher {
    override handleRead() {
      this.recv();
      throw new Error("spam");
    }
    override handleError(error: unknown) {
      errors.push(error);
    }
  }
  class Reader extends Dispatcher {
    override handleRead() {
      reads.push(this.recv().length);
    }
  }
  for (const Class of [Failing, Reader]) {
    const channel = new FakeChannel();
    new Class(channel, { map });
    channel.push("spam");
  }
  await poll(0, map);
  assertEquals(errors.length, 1);
  assertEquals(reads, [4]);
});

// Which event calls which hook

Deno.test("Dispatcher gets only the events that happened", async () => {
  await using map = new ScopedMap();
  const channel = new FakeChannel();
  const trace: string[] = [];
  let wanted = false;
  class Reader extends Dispatcher {
    override writable() {
      return wanted;
    }
    override handleRead() {
      trace.push(`read ${this.recv().length}`);
    }
    override handleWrite() {
      wanted = false;
      trace.push("write");
    }
    override handleConnect() {
      trace.push("connect");
    }
    override handleAccept() {
      trace.push("accept");
    }
    override handleExpt() {
      trace.push("expt");
    }
    override handleClose() {
      trace.push("close");
    }
    override handleError() {
      trace.push("error");
    }
  }
  new Reader(channel, { map });
  await passes(map, 3);
  assertEquals(trace, []);
  channel.push("spam");
  await passes(map, 3);
  assertEquals(trace.splice(0), ["read 4"]);
  wanted = true;
  await passes(map, 3);
  assertEquals(trace.splice(0), ["write"]);
  channel.push(null);
  await passes(map, 3);
  assertEquals(trace.splice(0), ["close", "read 0"]);
  assertEquals(map.size, 0);
});

Deno.test("Dispatcher takes a failed read for the end, or for an error, by its kind", async () => {
  await using map = new ScopedMap();
  const failure = new Error("the disk is on fire");
  for (
    const [cause, expected] of [
      [new Deno.errors.ConnectionReset("reset"), ["close"]],
      [failure, [failure, "close"]],
    ] as const
  ) {
    const channel = new FakeChannel();
    const trace: unknown[] = [];
    class Reader extends Dispatcher {
      override handleRead() {
        this.recv();
      }
      override handleClose() {
        trace.push("close");
      }
      override handleError(error: unknown) {
        trace.push(error);
      }
    }
    new Reader(channel, { map });
    channel.push(cause);
    await loopUntil(map, () => map.size === 0);
    assertEquals<readonly unknown[]>(trace, expected);
    assert(channel.closed);
  }
});

// Classes that do not read

Deno.test("recv() outside a hook makes a class without handleRead() read on", async () => {
  await using map = new ScopedMap();
  for (const asks of [false, true]) {
    class Asked extends Dispatcher {
      override readable(): boolean {
        return true;
      }
    }
    const channel = new FakeChannel();
    const handler = new (asks ? Asked : Dispatcher)(channel, { map });
    const buffer = new Uint8Array(8);
    for (const word of ["spam", "eggs", "rice", "more"]) {
      channel.push(word);
      await passes(map, 3);
      assertEquals(handler.recv(1), bytes(word.slice(0, 1)));
      assertEquals(handler.recvInto(buffer), 3);
      await passes(map, 2);
    }
    handler.close();
  }
});

for (const cause of [null, new Deno.errors.ConnectionReset("spam")]) {
  const end = cause === null ? "the end" : "a reset";
  Deno.test(`handleClose() tells a class without handleRead() of ${end}`, async () => {
    await using map = new ScopedMap();
    let closes = 0;
    class Deaf extends Dispatcher {
      override handleClose(): void {
        closes++;
        this.close();
      }
    }
    class AskedDeaf extends Deaf {
      override readable(): boolean {
        return true;
      }
    }
    for (const Class of [Deaf, AskedDeaf]) {
      closes = 0;
      const channel = new FakeChannel();
      const handler = new Class(channel, { map });
      await passes(map, 2);
      channel.push(cause);
      await passes(map, 4);
      assertEquals(closes, 1, Class.name);
      assert(channel.closed);
      assertStrictEquals(handler.closeReason, cause);
    }
  });
}

/** It has no handleRead(). */
class Deaf extends Dispatcher {
  closes = 0;
  unread = "";
  override handleClose(): void {
    this.closes++;
    try {
      this.unread = text(this.recv());
    } catch {
      // Nothing is left.
    }
  }
}

Deno.test("handleClose() tells a class without handleRead() of the end behind bytes", async () => {
  await using map = new ScopedMap();
  const channel = new FakeChannel();
  const handler = new Deaf(channel, { map });
  channel.push("spam", "eggs", null);
  await rest(map);
  assertEquals(handler.closes, 1);
  assertEquals(handler.unread, "spameggs", "recv() still gives them");
  assert(channel.closed);
});

Deno.test("handleClose() tells a class without handleRead() of the end behind many bytes", async () => {
  await using map = new ScopedMap();
  const channel = new FakeChannel();
  const handler = new Deaf(channel, { map });
  for (let i = 0; i < 1_000; i++) channel.push("x".repeat(1_000));
  channel.push(null);
  await loopUntil(map, () => handler.closes > 0);
  assert(handler.unread.length <= 65_536);
});

Deno.test("handleClose() waits for bytes that a class without handleRead() takes elsewhere", async () => {
  await using map = new ScopedMap();
  const channel = new FakeChannel();
  const handler = new Deaf(channel, { map });
  channel.push("spam", "eggs", null);
  await passes(map, 1);
  assertEquals(handler.recv(2), bytes("sp"));
  await rest(map);
  assertEquals(handler.closes, 0);
  assertEquals(text(handler.recv()), "ameggs");
  await loopUntil(map, () => handler.closes > 0);
  assertEquals(handler.unread, "");
});
