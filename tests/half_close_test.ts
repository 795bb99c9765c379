import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  type Channel,
  Dispatcher,
  type DispatcherOptions,
  DispatcherWithSend,
} from "../mod.ts";
import { FakeChannel, loopToEnd, passes, pattern } from "./fakes.ts";
import { connecting, listening, readAll, scopedMap, setUp } from "./scenes.ts";
import {
  bytes,
  connectedPair,
  loopUntil,
  type TestMap,
  text,
  turn,
} from "./support.ts";

/** Writes down what it reads and which hooks run. */
class Half extends DispatcherWithSend {
  readonly trace: string[] = [];
  received = "";

  constructor(
    map: TestMap,
    conn: Channel | null,
    options: DispatcherOptions = {},
  ) {
    super(conn, { map, ...options });
  }
  override handleConnect(): void {}
  override handleRead(): void {
    this.received += text(this.recv());
  }
  override handleClose(): void {
    this.trace.push("handleClose");
    this.close();
  }
  override handleError(error: unknown): void {
    this.trace.push(`handleError ${error}`);
    this.close();
  }
}

/** A half-open one, which does nothing at the end of the stream. */
class Patient extends Half {
  constructor(map: TestMap, conn: Channel | null) {
    super(map, conn, { allowHalfOpen: true });
  }
  override handleEnd(): void {
    this.trace.push("handleEnd");
  }
}

/** A connection, and its peer without a dispatcher. */
async function open(Class: typeof Half = Half, options = {}) {
  const map = scopedMap();
  const [conn, peer] = await connectedPair();
  return {
    map,
    peer,
    half: new Class(map, conn, options),
    async [Symbol.asyncDispose]() {
      peer.close();
      await map[Symbol.asyncDispose]();
    },
  };
}

/** The same, and the peer has ended its side already. */
async function openHalf(question = "") {
  const scene = await open(Patient);
  await scene.peer.write(bytes(question));
  await scene.peer.closeWrite();
  await loopUntil(scene.map, () => scene.half.trace.length > 0);
  return scene;
}

const LARGE = 8 * 1024 * 1024; // more than the kernel takes

Deno.test("shutdownWrite() lets out what was accepted and ends the peer's reading; ours goes on", async () => {
  await using scene = await open();
  const { map, half, peer } = scene;
  const data = pattern(LARGE);
  half.send(data);
  assert(half.bufferedAmount > 0);
  half.shutdownWrite();
  const received = await readAll(peer);
  assertEquals(received.length, data.length);
  assert(received.every((byte, index) => byte === data[index]));
  await peer.write(bytes("answer"));
  await loopUntil(map, () => half.received === "answer");
  assert(half.connected);
  await peer.closeWrite();
  await loopToEnd(map);
  assertEquals(half.trace, ["handleClose"]);
});

Deno.test("shutdownWrite() makes a later send() throw", () => {
  const { map } = setUp();
  const channel = new FakeChannel();
  const half = new Half(map, channel);
  half.shutdownWrite();
  const message = "has ended its writing direction";
  assertThrows(() => half.send(bytes("late")), Error, message);
  half.shutdownWrite(); // The second one does nothing.
  assertEquals(half.bufferedAmount, 0);
  assertEquals(channel.writes, []);
  assert(channel.writeEnded);
  half.abort();
});

Deno.test("shutdownWrite() before connect() is refused", () => {
  const { map } = setUp();
  const half = new Half(map, null);
  assertThrows(() => half.shutdownWrite(), Error, "call connect() first");
  half.createSocket();
  assertThrows(() => half.shutdownWrite(), Error, "call connect() first");
  half.close();
  listening(half);
  assertThrows(() => half.shutdownWrite(), Error, "it is listening");
  half.close();
});

Deno.test("shutdownWrite() while connecting ends writing once it stands", async () => {
  await using map = scopedMap();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const half = connecting(new Half(map, null), listener.addr);
  half.send(bytes("early"));
  half.shutdownWrite();
  const accepted = listener.accept();
  await loopUntil(map, () => half.connected);
  using peer = await accepted;
  assertEquals(text(await readAll(peer)), "early");
  await peer.write(bytes("answer"));
  await loopUntil(map, () => half.received === "answer");
});

for (const method of ["close", "abort"] as const) {
  Deno.test(`shutdownWrite() after ${method}() does nothing`, () => {
    const { map } = setUp();
    const half = new Half(map, new FakeChannel());
    half[method]();
    half.shutdownWrite();
    assertEquals(half.connected, false);
  });
}

Deno.test("handleClose() comes at the peer's end by default, and no handleEnd()", async () => {
  await using scene = await open();
  const { map, half, peer } = scene;
  half.handleEnd = () => void half.trace.push("handleEnd");
  await peer.closeWrite();
  await loopToEnd(map);
  assertEquals(half.trace, ["handleClose"]);
});

Deno.test("allowHalfOpen tells of the end once, and handleClose() waits for what is sent then", async () => {
  await using scene = await openHalf("question");
  const { map, half, peer } = scene;
  assertEquals(half.received, "question");
  await passes(map, 2);
  half.send(new Uint8Array(LARGE));
  half.shutdownWrite();
  await passes(map, 2);
  assert(half.connected);
  assertEquals(half.trace, ["handleEnd"]);
  const reading = readAll(peer);
  await loopToEnd(map);
  assertEquals(half.trace, ["handleEnd", "handleClose"]);
  assertEquals((await reading).length, LARGE);
});

Deno.test("allowHalfOpen ends its own side by default", async () => {
  await using scene = await open(Half, { allowHalfOpen: true });
  const { map, half, peer } = scene;
  half.send(bytes("answer"));
  await peer.closeWrite();
  const reading = readAll(peer);
  await loopToEnd(map);
  assertEquals(text(await reading), "answer");
  assertEquals(half.trace, ["handleClose"]);
});

for (const size of [0, LARGE]) {
  Deno.test(`handleEnd() does not run behind a shutdownWrite() of ${size} bytes, none of which is lost`, async () => {
    await using scene = await open(Patient);
    const { map, half, peer } = scene;
    half.send(new Uint8Array(size));
    half.shutdownWrite();
    if (size === 0) assertEquals((await readAll(peer)).length, 0);
    await peer.closeWrite();
    const reading = readAll(peer);
    await loopToEnd(map);
    assertEquals((await reading).length, size);
    assertEquals(half.trace, ["handleClose"]);
  });
}

Deno.test("close() after shutdownWrite() sends what was accepted", async () => {
  await using scene = await open();
  const { map, half, peer } = scene;
  half.send(new Uint8Array(LARGE));
  half.shutdownWrite();
  half.close();
  const reading = readAll(peer);
  reading.then(() => peer.closeWrite());
  await loopToEnd(map);
  assertEquals((await reading).length, LARGE);
  assertEquals(half.trace, []);
});

Deno.test("close() while half open releases the connection", async () => {
  await using scene = await openHalf();
  const { map, half, peer } = scene;
  half.close();
  await loopToEnd(map);
  assertEquals(half.trace, ["handleEnd"]);
  assertEquals((await readAll(peer)).length, 0);
});

Deno.test("handleClose() runs once when a peer goes while half open", async () => {
  const { map } = setUp();
  const channel = new FakeChannel();
  const half = new Patient(map, channel);
  channel.push(null);
  await loopUntil(map, () => half.trace.length > 0);
  channel.take = () => Promise.reject(new Deno.errors.ConnectionReset("gone"));
  half.send(bytes("unread"));
  await loopToEnd(map);
  assertEquals(half.trace, ["handleEnd", "handleClose"]);
  assert(half.closeReason instanceof Deno.errors.ConnectionReset);
});

Deno.test("handleEnd() that is async may answer before it ends its side", async () => {
  await using scene = await open(Patient);
  const { map, half, peer } = scene;
  const gate = Promise.withResolvers<void>();
  half.handleEnd = async () => {
    half.trace.push("handleEnd");
    await gate.promise;
    half.send(bytes("answer"));
    half.shutdownWrite();
  };
  await peer.closeWrite();
  await loopUntil(map, () => half.trace.length > 0);
  const reading = readAll(peer);
  gate.resolve();
  await loopToEnd(map);
  assertEquals(text(await reading), "answer");
  assertEquals(half.trace, ["handleEnd", "handleClose"]);
});

Deno.test("handleEnd() that throws is an error like any other", async () => {
  const { map } = setUp();
  const channel = new FakeChannel();
  const half = new Patient(map, channel);
  half.handleEnd = () => {
    throw new Error("spam");
  };
  channel.push(null);
  await loopToEnd(map);
  assertEquals(half.trace, ["handleError Error: spam"]);
  assert(channel.closed);
});

Deno.test("handleEnd() runs in a class without handleRead(), too", async () => {
  const { map } = setUp();
  const channel = new FakeChannel();
  const deaf = new DispatcherWithSend(channel, { map, allowHalfOpen: true });
  let ends = 0;
  deaf.handleEnd = () => {
    ends++;
    deaf.shutdownWrite();
  };
  channel.push(null);
  await loopToEnd(map);
  assertEquals(ends, 1);
  assert(channel.closed);
});

Deno.test("handleEnd() is not told again when an async hook settles", async () => {
  await using scene = await open(Patient);
  const { map, half, peer } = scene;
  let reads = 0;
  half.handleRead = async () => {
    reads++;
    half.recv();
    await Promise.resolve();
  };
  await peer.closeWrite();
  await loopUntil(map, () => reads > 0);
  await passes(map, 5);
  assertEquals([reads, half.trace], [1, ["handleEnd"]]);
});

Deno.test("handleEnd() does not tell of an end that recv() finds in handleClose()", async () => {
  const { map } = setUp();
  const channel = new FakeChannel();
  const trace: string[] = [];
  const closing = new Dispatcher(channel, { map, allowHalfOpen: true });
  closing.handleEnd = () => void trace.push("handleEnd");
  closing.handleClose = () => {
    trace.push("handleClose");
    closing.recv();
  };
  closing.readable = () => channel.reads === 0;
  channel.take = () => Promise.reject(new Deno.errors.BrokenPipe("spam"));
  await passes(map, 2);
  channel.push(null);
  await turn();
  closing.send(bytes("eggs"));
  await loopToEnd(map);
  assertEquals(trace, ["handleClose"]);
});

Deno.test("allowHalfOpen must be a boolean", () => {
  for (const allowHalfOpen of ["yes", 1, null] as never[]) {
    assertThrows(
      () => new DispatcherWithSend(null, { allowHalfOpen }),
      TypeError,
      "allowHalfOpen",
    );
  }
});
