import {
  assert,
  assertEquals,
  assertFalse,
  assertGreater,
  assertInstanceOf,
  assertLess,
  assertLessOrEqual,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { DelimiterStream, TextLineStream, toText } from "@std/streams";
import {
  AsyncChat,
  type Channel,
  channelFrom,
  Dispatcher,
  DispatcherWithSend,
  FileDispatcher,
  loop,
  type StreamPair,
  toStreams,
} from "../mod.ts";
import {
  bytes,
  connectedPair,
  loopUntil,
  PATIENCE,
  rawConnect,
  ScopedMap,
  StrictDispatcher,
  testFamilies,
  type TestMap,
  TestServer,
  text,
  turns,
} from "./support.ts";
import {
  FakeChannel,
  FakeNetwork,
  loopToEnd,
  passes,
  pattern,
  quietMap,
  Recorder,
  rest,
  watch,
} from "./fakes.ts";

const MIB = 1024 * 1024;
const MARK = 64 * 1024;
const LARGEST_BUFFER = 128 * 1024;

/** Loops until `work` has settled. */
async function drive<T>(map: TestMap, work: Promise<T>): Promise<T> {
  const watched = watch(work);
  await loopUntil(map, () => watched.settled);
  return await work;
}

/** Loops until many passes have brought no progress. */
async function untilQuiet(map: TestMap, progress: () => number): Promise<void> {
  let before = -1;
  for (let quiet = 0; quiet < 20; quiet++) {
    await loop({ map, count: 1, timeout: 5 });
    if (progress() !== before) quiet = 0;
    before = progress();
  }
}

/** Two dispatchers over a real connection, as streams. */
async function streamPairs(map: TestMap): Promise<[StreamPair, StreamPair]> {
  const [one, other] = await connectedPair();
  return [
    toStreams(new Dispatcher(one, { map })),
    toStreams(new Dispatcher(other, { map })),
  ];
}

/** A stream of `data` in chunks of many sizes. */
function chunked(data: Uint8Array): ReadableStream<Uint8Array> {
  let at = 0;
  let size = 1;
  return new ReadableStream({
    pull(controller) {
      if (at >= data.length) return controller.close();
      size = (size * 7) % 200_003;
      controller.enqueue(data.slice(at, at + size));
      at += size;
    },
  });
}

/** Everything that a stream brings. */
async function toBytes(
  readable: ReadableStream<Uint8Array>,
): Promise<Uint8Array> {
  const chunks = await Array.fromAsync(readable);
  return new Uint8Array(await new Blob(chunks as BlobPart[]).arrayBuffer());
}

/** Compares a lot of bytes; a difference is told in few words. */
function assertSameBytes(actual: Uint8Array, expected: Uint8Array): void {
  assertEquals(actual.length, expected.length);
  const at = actual.findIndex((byte, i) => byte !== expected[i]);
  assertEquals(at, -1, `differs at ${at}`);
}

/** What a channel reads, with a target of `size` bytes each time. */
async function readAll(channel: Channel, size: number): Promise<string[]> {
  const pieces: string[] = [];
  const target = new Uint8Array(size);
  for (;;) {
    const length = await channel.read(target);
    if (length === null) return pieces;
    pieces.push(text(target.subarray(0, length)));
  }
}

// channelFrom()

for (const type of [undefined, "bytes"] as const) {
  const kind = type === "bytes" ? "a byte stream" : "a plain stream";

  Deno.test(`channelFrom() fills no more than the target from ${kind}`, async () => {
    const chunks = ["spam", "", "eggs and ham", "x"].map(bytes);
    const readable = new ReadableStream<Uint8Array>({
      type: type as undefined,
      pull(controller) {
        const chunk = chunks.shift();
        if (chunk === undefined) {
          controller.close();
          (controller as unknown as ReadableByteStreamController)
            .byobRequest?.respond(0);
        } else if (chunk.length > 0 || type === undefined) {
          controller.enqueue(chunk);
        } else return this.pull!(controller);
      },
    });
    const channel = channelFrom({ readable });
    assertEquals(
      await readAll(channel, 5),
      ["spam", "eggs ", "and h", "am", "x"],
    );
    channel.close();
  });
}

Deno.test("channelFrom() reads a byte stream into targets of any size", async () => {
  const data = pattern(300_000);
  const channel = channelFrom({
    readable: new Blob([data as BlobPart]).stream(),
  });
  const received: Uint8Array[] = [];
  for (let size = 1;; size = (size * 5) % 100_003) {
    const target = new Uint8Array(size);
    const length = await channel.read(target);
    if (length === null) break;
    assertEquals(target.length, size, "the target is still there");
    received.push(target.subarray(0, length));
  }
  assertSameBytes(await toBytes(ReadableStream.from(received)), data);
  channel.close();
});

Deno.test("channelFrom() reads no more of a byte stream than it is asked for", async () => {
  const asked: number[] = [];
  const readable = new ReadableStream({
    type: "bytes",
    pull({ byobRequest }) {
      asked.push(byobRequest!.view!.byteLength);
      byobRequest!.respond(1);
    },
  });
  const channel = channelFrom({ readable });
  for (const size of [7, 100, 3]) await channel.read(new Uint8Array(size));
  assertEquals(asked, [7, 100, 3]);
  channel.close();
});

Deno.test("channelFrom() makes two dispatchers talk over TransformStreams", async () => {
  await using map = new ScopedMap();
  const there = new TransformStream<Uint8Array, Uint8Array>();
  const back = new TransformStream<Uint8Array, Uint8Array>();
  class Echo extends DispatcherWithSend {
    override handleRead() {
      this.send(this.recv());
    }
  }
  const echo = new Echo(
    channelFrom({ readable: there.readable, writable: back.writable }),
    { map },
  );
  const client = new Recorder(
    map,
    channelFrom({ readable: back.readable, writable: there.writable }),
  );
  assertEquals(client.send(bytes("spam")), 4);
  await loopUntil(map, () => client.received === "spam");
  assertEquals(client.send(bytes(" eggs")), 5);
  await loopUntil(map, () => client.received === "spam eggs");
  client.close(); // closes both ways in good order
  await loopUntil(map, () => echo.socket === null);
  assertStrictEquals(echo.closeReason, null);
});

Deno.test("channelFrom() loops back through a TransformStream", async () => {
  await using map = new ScopedMap();
  const client = new Recorder(map, channelFrom(new TransformStream()));
  client.send(bytes("spam"));
  await loopUntil(map, () => client.received === "spam");
});

Deno.test("channelFrom() sends through a CompressionStream", async () => {
  await using map = new ScopedMap();
  const gzip = new CompressionStream("gzip");
  const readable = gzip.readable
    .pipeThrough(new DecompressionStream("gzip"));
  const sender = new DispatcherWithSend(
    channelFrom({ writable: gzip.writable }),
    { map },
  );
  const data = pattern(MIB);
  sender.send(data);
  sender.close();
  const received = toBytes(
    toStreams(new Dispatcher(channelFrom({ readable }), { map })).readable,
  );
  assertSameBytes(await drive(map, received), data);
});

Deno.test("channelFrom() makes a dispatcher of a child process", async () => {
  await using map = new ScopedMap();
  const child = new Deno.Command(Deno.execPath(), {
    args: ["eval", "await Deno.stdin.readable.pipeTo(Deno.stdout.writable)"],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const { readable, writable } = toStreams(
    new Dispatcher(
      channelFrom({ readable: child.stdout, writable: child.stdin }),
      { map },
    ),
  );
  const data = pattern(MIB);
  const [, received] = await drive(
    map,
    Promise.all([chunked(data).pipeTo(writable), toBytes(readable)]),
  );
  assertSameBytes(received, data);
  assertEquals((await child.status).code, 0);
  await loopToEnd(map);
});

Deno.test("channelFrom() tells that a child process has gone", async () => {
  const map = quietMap();
  const child = new Deno.Command(Deno.execPath(), {
    args: ["eval", ""],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  await child.status;
  const client = new Recorder(
    map,
    channelFrom({ readable: child.stdout, writable: child.stdin }),
  );
  client.send(bytes("spam"));
  await loopUntil(map, () => client.socket === null);
  assertEquals(client.count("handleClose"), 1);
  assertEquals(client.errors, []);
});

/** What an open WebSocketStream is, whose type needs a flag. */
interface WebSocketConnection {
  readable: ReadableStream<string | Uint8Array<ArrayBuffer>>;
  writable: WritableStream<string | Uint8Array>;
}

Deno.test("channelFrom() makes a channel of a WebSocketStream", async () => {
  const _fits = (socket: WebSocketConnection) => channelFrom(socket);
  const script = `
    import { channelFrom, Dispatcher, loop } from "${new URL(
    "../mod.ts",
    import.meta.url,
  )}";
    const server = Deno.serve({ port: 0, onListen() {} }, (request) => {
      const { socket, response } = Deno.upgradeWebSocket(request);
      socket.binaryType = "arraybuffer";
      socket.onmessage = ({ data }) =>
        data.byteLength === 4 ? socket.send(data) : socket.send("text");
      return response;
    });
    const { port } = server.addr;
    const { opened } = new WebSocketStream(\`ws://127.0.0.1:\${port}\`);
    class Client extends Dispatcher {
      override handleRead() {
        console.log(new TextDecoder().decode(this.recv()));
        this.send(Uint8Array.of(1));
      }
      override handleError(error: unknown) {
        console.log(String(error));
        this.close();
      }
    }
    const client = new Client(channelFrom(await opened));
    client.send(new TextEncoder().encode("spam"));
    await loop();
    await server.shutdown();
  `;
  await using _done = { [Symbol.asyncDispose]: () => Deno.remove(path) };
  const path = await Deno.makeTempFile({ suffix: ".ts" });
  await Deno.writeTextFile(path, script);
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--unstable-net", path],
    signal: AbortSignal.timeout(2 * PATIENCE),
  }).output();
  assertEquals(text(stderr), "");
  assertEquals(
    text(stdout),
    "spam\nTypeError: A chunk of the readable must be a Uint8Array, " +
      'got "text": encode text with new TextEncoder().encode(text)\n',
  );
  assertEquals(code, 0);
});

Deno.test("channelFrom() makes the dispatcher wait for a slow writable", async () => {
  await using map = new ScopedMap();
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const sender = new DispatcherWithSend(channelFrom({ writable }), { map });
  sender.send(new Uint8Array(1000));
  sender.send(new Uint8Array(2000));
  await rest(map);
  assertEquals(sender.bufferedAmount, 3000);
  const reader = readable.getReader();
  assertEquals((await reader.read()).value?.length, 1000);
  await loopUntil(map, () => sender.bufferedAmount === 2000);
  assertEquals((await reader.read()).value?.length, 2000);
  await loopUntil(map, () => sender.bufferedAmount === 0);
});

Deno.test("channelFrom() gives the writable bytes that are its own", async () => {
  const kept: Uint8Array[] = [];
  const writable = new WritableStream<Uint8Array>({
    write: (chunk) => void kept.push(chunk),
  });
  const channel = channelFrom({ writable });
  const data = bytes("spam");
  assertEquals(await channel.write(data), 4);
  data.fill(0);
  assertEquals(kept.map(text), ["spam"]);
  channel.close();
});

Deno.test("channelFrom().closeWrite() closes the writable after the writes, once", async () => {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const channel = channelFrom({ writable });
  const received = toText(readable);
  await Promise.all([
    channel.write(bytes("spam")),
    channel.closeWrite!(),
    channel.closeWrite!(),
  ]);
  assertEquals(await received, "spam");
  channel.close();
  await channelFrom({ readable: new Blob().stream() }).closeWrite!();
});

Deno.test("channelFrom().close() settles what is pending, and cancels and aborts", async () => {
  const reasons: unknown[] = [];
  const readable = new ReadableStream<Uint8Array>({
    cancel: (reason) => void reasons.push(reason),
  });
  const stuck = Promise.withResolvers<void>();
  const writable = new WritableStream<Uint8Array>({
    write: () => stuck.promise,
    abort: (reason) => void reasons.push(reason),
  });
  const channel = channelFrom({ readable, writable });
  const pending = [
    channel.read(new Uint8Array(4)),
    channel.write(new Uint8Array(4)),
    channel.closeWrite!(),
  ];
  channel.close();
  for (const operation of pending) {
    await assertRejects(() => operation, Deno.errors.Interrupted);
  }
  channel.close();
  for (const operation of [channel.read, channel.write]) {
    await assertRejects(
      () => operation.call(channel, new Uint8Array(4)),
      Deno.errors.BadResource,
      "the channel is closed",
    );
  }
  stuck.resolve();
  await new Promise((resolve) => setImmediate(resolve));
  assertEquals(reasons.length, 2);
  for (const reason of reasons) {
    assertInstanceOf(reason, Deno.errors.Interrupted);
  }
});

Deno.test("channelFrom().close() closes the writable in good order when nothing is pending", async () => {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const channel = channelFrom({ writable });
  const received = toText(readable);
  await channel.write(bytes("spam"));
  channel.close();
  assertEquals(await received, "spam");
});

Deno.test("channelFrom().close() lets a writable that is closing go on", async () => {
  const gate = Promise.withResolvers<void>();
  const ends: string[] = [];
  const writable = new WritableStream<Uint8Array>({
    close: () => gate.promise.then(() => void ends.push("close")),
    abort: () => void ends.push("abort"),
  });
  const channel = channelFrom({ writable });
  const closing = channel.closeWrite!();
  channel.close();
  await assertRejects(() => closing, Deno.errors.Interrupted);
  gate.resolve();
  await new Promise((resolve) => setImmediate(resolve));
  assertEquals(ends, ["close"]);
});

Deno.test("Dispatcher.shutdownWrite() closes the writable of its streams", async () => {
  await using map = new ScopedMap();
  const gzip = new CompressionStream("gzip");
  const sender = new DispatcherWithSend(
    channelFrom({
      readable: new ReadableStream(),
      writable: gzip.writable,
    }),
    { map },
  );
  const data = new Uint8Array(MIB);
  sender.send(data);
  sender.shutdownWrite();
  const received = toBytes(
    gzip.readable.pipeThrough(new DecompressionStream("gzip")),
  );
  assertSameBytes(await drive(map, received), data);
  assertEquals(map.size, 1);
});

Deno.test("Dispatcher.close() sends the rest through streams", async () => {
  await using map = new ScopedMap();
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const sender = new DispatcherWithSend(channelFrom({ writable }), { map });
  const data = pattern(MIB);
  sender.send(data);
  sender.close();
  assert(sender.closing);
  assertSameBytes(await drive(map, toBytes(readable)), data);
});

Deno.test("Dispatcher.abort() aborts the writable of its streams", async () => {
  await using map = new ScopedMap();
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const sender = new DispatcherWithSend(channelFrom({ writable }), { map });
  sender.send(new Uint8Array(8));
  sender.abort();
  await assertRejects(() => toText(readable), Deno.errors.Interrupted);
});

Deno.test("channelFrom() of one direction supports no other", async () => {
  const reader = channelFrom({ readable: new Blob(["spam"]).stream() });
  await assertRejects(
    () => reader.write(new Uint8Array(1)),
    Deno.errors.NotSupported,
    "The channel has no writable stream",
  );
  reader.close();
  const writer = channelFrom({ writable: new WritableStream() });
  await assertRejects(
    () => writer.read(new Uint8Array(1)),
    Deno.errors.NotSupported,
    "The channel has no readable stream",
  );
  writer.close();
});

Deno.test("channelFrom() of a writable brings its dispatcher no read event", async () => {
  await using map = new ScopedMap();
  const written: string[] = [];
  const writable = new WritableStream<Uint8Array>({
    write: (chunk) => void written.push(text(chunk)),
  });
  const sender = new StrictDispatcher(map, channelFrom({ writable }));
  sender.send(bytes("spam"));
  await passes(map, 5);
  assertEquals(written, ["spam"]);
});

Deno.test("channelFrom() carries a stream's error to handleError()", async () => {
  const map = quietMap();
  const failure = new Error("no more spam");
  const readable = new ReadableStream<Uint8Array>({
    pull(controller) {
      controller.enqueue(bytes("spam"));
      controller.error(failure);
    },
  }, { highWaterMark: 0 });
  // The error throws away what was not read yet: so do streams.
  const client = new Recorder(map, channelFrom({ readable }));
  await loopToEnd(map);
  assertEquals(client.errors, [failure]);
  assertStrictEquals(client.closeReason, failure);
});

Deno.test("channelFrom() makes an error of any other reason", async () => {
  for (const reason of ["no spam", null, 42]) {
    const readable = new ReadableStream<Uint8Array>({
      start: (controller) => controller.error(reason),
    });
    const error = await assertRejects(
      () => channelFrom({ readable }).read(new Uint8Array(4)),
      Error,
      "Cannot read: the stream failed: ",
    );
    assertStrictEquals(error.cause, reason);
  }
});

Deno.test("channelFrom() takes an abort without a reason for a disconnect", async () => {
  for (const reason of [undefined, new DOMException("gone", "AbortError")]) {
    const map = quietMap();
    const there = new TransformStream<Uint8Array, Uint8Array>();
    const client = new Recorder(map, channelFrom({ readable: there.readable }));
    there.writable.abort(reason).catch(() => {});
    await loopToEnd(map);
    assertEquals(client.trace, ["handleRead", "handleClose"]);
    assertInstanceOf(client.closeReason, Deno.errors.ConnectionAborted);
    assertStrictEquals(client.closeReason.cause, reason);
  }
});

Deno.test("channelFrom() takes a cancelled reader for a disconnect", async () => {
  const map = quietMap();
  const back = new TransformStream<Uint8Array, Uint8Array>();
  const readable = new ReadableStream<Uint8Array>();
  const client = new Recorder(
    map,
    channelFrom({ readable, writable: back.writable }),
  );
  await back.readable.cancel();
  client.send(bytes("spam"));
  await loopToEnd(map);
  assertEquals(client.trace, ["handleClose"]);
  assertInstanceOf(client.closeReason, Deno.errors.BrokenPipe);
});

Deno.test("channelFrom() refuses chunks that are no bytes", async () => {
  for (const chunk of ["spam", new ArrayBuffer(4), [1], null]) {
    const readable = ReadableStream.from([chunk]);
    await assertRejects(
      () =>
        channelFrom({ readable: readable as ReadableStream<string> })
          .read(new Uint8Array(4)),
      TypeError,
      "A chunk of the readable must be a Uint8Array, got",
    );
  }
});

Deno.test("channelFrom() refuses what are no streams, and locks both or none", () => {
  const refuse = (streams: unknown, message: string) =>
    assertThrows(() => channelFrom(streams as never), TypeError, message);
  refuse(null, "streams must be an object, got null");
  refuse({}, "streams has neither a readable nor a writable");
  refuse({ readable: 1 }, "readable must be an object, got 1");
  refuse({ writable: {} }, "writable has no getWriter() method");
  const { readable, writable } = new TransformStream();
  const reader = readable.getReader();
  refuse({ readable, writable }, "The readable is locked already");
  assertFalse(writable.locked);
  reader.releaseLock();
  const writer = writable.getWriter();
  assertThrows(() => channelFrom({ readable, writable }), TypeError, "locked");
  assertFalse(readable.locked);
  writer.releaseLock();
  channelFrom({ readable, writable }).close();
});

// toStreams(): bytes

testFamilies("toStreams() carries bytes both ways", async (family) => {
  await using map = new ScopedMap();
  const server = new TestServer(map, (conn) => {
    const { readable, writable } = toStreams(new Dispatcher(conn, { map }));
    readable.pipeTo(writable);
    server.close();
  }, family);
  const client = new Dispatcher(null, { map });
  client.createSocket(family.options);
  client.connect(server.addr as Deno.NetAddr);
  const { readable, writable } = toStreams(client);
  const data = pattern(300_000);
  const [, received] = await drive(
    map,
    Promise.all([chunked(data).pipeTo(writable), toBytes(readable)]),
  );
  assertSameBytes(received, data);
  await loopToEnd(map);
});

Deno.test("toStreams() pipes 16 MiB to the streams of another, byte for byte", async () => {
  await using map = new ScopedMap();
  const [here, front] = await streamPairs(map);
  const [back, there] = await streamPairs(map);
  const data = pattern(16 * MIB);
  const work = Promise.all([
    chunked(data).pipeTo(here.writable),
    front.readable.pipeTo(back.writable),
    toBytes(there.readable),
    there.writable.close(),
    back.readable.pipeTo(front.writable),
    toText(here.readable),
  ]);
  const [, , received, , , nothing] = await drive(map, work);
  assertSameBytes(received, data);
  assertEquals(nothing, "");
  await loopToEnd(map);
});

Deno.test("toStreams() goes through a CompressionStream at either end", async () => {
  await using map = new ScopedMap();
  const [here, there] = await streamPairs(map);
  const data = new Uint8Array(MIB); // zeros: a few small packets
  const work = Promise.all([
    chunked(data).pipeThrough(
      new CompressionStream("gzip") as TransformStream<Uint8Array, Uint8Array>,
    ).pipeTo(here.writable),
    toBytes(there.readable.pipeThrough(new DecompressionStream("gzip"))),
  ]);
  assertSameBytes((await drive(map, work))[1], data);
});

Deno.test("toStreams() feeds TextLineStream, however the bytes are split", async () => {
  const lines = ["spam", "", "crème brûlée €", "last"];
  const data = bytes(lines.join("\r\n"));
  for (let at = 0; at <= data.length; at++) {
    const map = quietMap();
    const channel = new FakeChannel();
    channel.push(data.slice(0, at), data.slice(at), null);
    const { readable, writable } = toStreams(new Dispatcher(channel, { map }));
    const received = Array.fromAsync(
      readable.pipeThrough(new TextDecoderStream())
        .pipeThrough(new TextLineStream()),
    );
    assertEquals(await drive(map, received), lines, `split at ${at}`);
    await writable.close();
    await loopToEnd(map);
  }
});

Deno.test("toStreams() feeds DelimiterStream and toText()", async () => {
  await using map = new ScopedMap();
  const [here, there] = await streamPairs(map);
  const writer = here.writable.getWriter();
  const pieces = Array.fromAsync(
    there.readable.pipeThrough(new DelimiterStream(bytes("\0\0"))),
    text,
  );
  const answer = toText(here.readable);
  for (const part of ["spam\0", "\0eg", "gs\0\0\0\0", "ham"]) {
    await drive(map, writer.write(bytes(part)));
  }
  await drive(map, writer.close());
  assertEquals(await drive(map, pieces), ["spam", "eggs", "", "ham"]);
  await drive(
    map,
    ReadableStream.from([bytes("thanks")]).pipeTo(there.writable),
  );
  assertEquals(await drive(map, answer), "thanks");
  await loopToEnd(map);
});

Deno.test("toStreams() fills the buffers of a BYOB reader", async () => {
  await using map = new ScopedMap();
  const channel = new FakeChannel();
  const dispatcher = new Dispatcher(channel, { map });
  const { readable } = toStreams(dispatcher, { highWaterMark: 0 });
  const reader = readable.getReader({ mode: "byob" });
  const read = async (size: number) => {
    const { value } = await drive(map, reader.read(new Uint8Array(size)));
    return text(value!);
  };
  channel.push("spam and eggs");
  assertEquals(await read(4), "spam");
  assertFalse(dispatcher.readable());
  assertEquals(await read(5), " and ");
  assertEquals(await read(100), "eggs");
  const last = reader.read(new Uint8Array(8));
  channel.push(null);
  const { done, value } = await drive(map, last);
  assert(done);
  assertEquals(value?.byteLength, 0);
});

Deno.test("toStreams() gives a pending BYOB read its failure", async () => {
  await using map = new ScopedMap();
  const channel = new FakeChannel();
  const { readable } = toStreams(new Dispatcher(channel, { map }));
  const reader = readable.getReader({ mode: "byob" });
  const read = reader.read(new Uint8Array(8));
  await passes(map, 3);
  channel.push(new Deno.errors.ConnectionReset("gone"));
  await assertRejects(
    () => drive(map, read),
    Deno.errors.ConnectionReset,
    "gone",
  );
});

Deno.test("toStreams() loses nothing that had arrived before it", async () => {
  await using map = new ScopedMap();
  const channel = new FakeChannel();
  const dispatcher = new Dispatcher(channel, { map });
  channel.push("spam");
  await passes(map, 4); // "unhandled read event"
  assertEquals(channel.unread, 0);
  const { readable } = toStreams(dispatcher);
  channel.push(" eggs", null);
  assertEquals(await drive(map, toText(readable)), "spam eggs");
});

// toStreams(): connecting

Deno.test("toStreams() sends what is written before the connection stands", async () => {
  const network = new FakeNetwork();
  await using map = new ScopedMap({ network });
  const trace: string[] = [];
  const ready = Promise.withResolvers<void>();
  class Client extends Dispatcher {
    override handleConnect() {
      trace.push("handleConnect");
      this.send(bytes("hello "));
      return ready.promise;
    }
  }
  const client = new Client(null, { map });
  client.createSocket();
  client.connect({ port: 7 });
  const { writable } = toStreams(client);
  const work = ReadableStream.from([bytes("spam")]).pipeTo(writable);
  const sent = watch(work);
  await passes(map, 3);
  const channel = new FakeChannel();
  network.succeed(channel);
  await loopUntil(map, () => trace.length > 0);
  await passes(map, 3);
  assertFalse(sent.settled, "handleConnect() has not ended");
  assertEquals(channel.sent, "hello ");
  ready.resolve();
  await drive(map, work);
  assertEquals(channel.sent, "hello spam");
  assert(channel.writeEnded);
});

Deno.test("toStreams() fails when the connect fails", async () => {
  const network = new FakeNetwork();
  const map = quietMap({ network });
  const trace: string[] = [];
  class Client extends Dispatcher {
    override handleError() {
      trace.push("handleError");
    }
    override handleClose() {
      trace.push("handleClose");
    }
  }
  const client = new Client(null, { map });
  client.createSocket();
  client.connect({ port: 7 });
  const { readable, writable } = toStreams(client);
  const writer = writable.getWriter();
  const work = [
    writer.write(bytes("spam")),
    writer.close(),
    toText(readable),
  ];
  const failure = new Deno.errors.ConnectionRefused("no");
  network.fail(failure);
  for (const result of await drive(map, Promise.allSettled(work))) {
    assertEquals(result, { status: "rejected", reason: failure });
  }
  assertEquals(trace, ["handleClose"]);
});

Deno.test("toStreams() gives up connecting when the writable is aborted", async () => {
  const network = new FakeNetwork();
  const map = quietMap({ network });
  const client = new Dispatcher(null, { map });
  client.createSocket();
  client.connect({ port: 7 });
  const { readable, writable } = toStreams(client);
  const reason = new Error("changed my mind");
  await writable.abort(reason);
  assert(network.signals[0]!.aborted);
  assertEquals(map.size, 0);
  assertStrictEquals(await assertRejects(() => toText(readable)), reason);
  network.fail(new Error("aborted"));
});

// toStreams(): backpressure

Deno.test("toStreams() holds at most the high water mark and one buffer", async () => {
  for (const highWaterMark of [0, 1, 1000, MARK, 3 * MARK]) {
    await using map = new ScopedMap();
    const channel = new FakeChannel();
    let taken = 0;
    const { read } = channel;
    channel.read = async (target) => {
      channel.push(new Uint8Array(target.length)); // always more
      const length = await read.call(channel, target);
      taken += length!;
      return length;
    };
    const dispatcher = new Dispatcher(channel, { map });
    const { readable } = toStreams(dispatcher, { highWaterMark });
    await rest(map);
    assertFalse(dispatcher.readable());
    assertLessOrEqual(taken, Math.max(0, highWaterMark - 1 + LARGEST_BUFFER));
    if (highWaterMark === 0) assertEquals(taken, 0);
    else assertGreater(taken, highWaterMark - 1);
    // Each read lets about as much more in.
    const reader = readable.getReader();
    let consumed = 0;
    for (let i = 0; i < 20; i++) {
      consumed += (await drive(map, reader.read())).value!.length;
      await passes(map, 5);
      assertLessOrEqual(taken - consumed, highWaterMark + LARGEST_BUFFER);
    }
  }
});

Deno.test("toStreams() closes the kernel's window when nobody reads", async () => {
  await using map = new ScopedMap();
  const [conn, peer] = await connectedPair();
  let taken = 0;
  const { read } = conn;
  conn.read = async (target) => {
    const length = await read.call(conn, target);
    taken += length ?? 0;
    return length;
  };
  const dispatcher = new Dispatcher(conn, { map });
  const { readable } = toStreams(dispatcher);
  const data = pattern(32 * MIB); // more than the kernel holds
  let written = 0;
  const writing = (async () => {
    while (written < data.length) {
      written += await peer.write(data.subarray(written, written + MARK));
    }
    peer.close();
  })();
  await loopUntil(map, () => !dispatcher.readable());
  await untilQuiet(map, () => written);
  assertLess(written, data.length);
  assertFalse(dispatcher.readable());
  assertLess(taken, MARK + LARGEST_BUFFER);
  assertSameBytes(await drive(map, toBytes(readable)), data);
  await writing;
});

Deno.test("toStreams() makes the writer wait for a peer that does not read", async () => {
  await using map = new ScopedMap();
  const [conn, peer] = await connectedPair();
  const dispatcher = new DispatcherWithSend(conn, { map });
  const { writable } = toStreams(dispatcher);
  const data = pattern(32 * MIB);
  const most = { buffered: 0, written: 0 };
  const source = new ReadableStream<Uint8Array>({
    pull(controller) {
      most.buffered = Math.max(most.buffered, dispatcher.bufferedAmount);
      const { written } = most;
      if (written === data.length) return controller.close();
      controller.enqueue(data.subarray(written, written + 50_000));
      most.written = Math.min(written + 50_000, data.length);
    },
  });
  const work = source.pipeTo(writable);
  await loopUntil(map, () => dispatcher.bufferedAmount >= MARK);
  await untilQuiet(map, () => most.written);
  assertLess(most.written, data.length);
  const [received] = await drive(
    map,
    Promise.all([toBytes(peer.readable), work]),
  );
  assertSameBytes(received, data);
  assertLess(most.buffered, MARK + 50_000);
});

Deno.test("toStreams() copies a large chunk piece by piece", async () => {
  await using map = new ScopedMap();
  const [conn, peer] = await connectedPair();
  const dispatcher = new DispatcherWithSend(conn, { map });
  const writer = toStreams(dispatcher).writable.getWriter();
  const data = pattern(16 * MIB);
  const work = writer.write(data).then(() => writer.close());
  let most = 0;
  const received = watch(
    toBytes(peer.readable).then((received) => {
      assertSameBytes(received, data);
    }),
  );
  await loopUntil(map, () => {
    most = Math.max(most, dispatcher.bufferedAmount);
    return received.settled;
  });
  await work;
  assertEquals(received.error, undefined);
  assertLessOrEqual(most, MARK + LARGEST_BUFFER);
});

Deno.test("toStreams() lets a write settle below the high water mark", async () => {
  await using map = new ScopedMap();
  const channel = new FakeChannel();
  const gate = Promise.withResolvers<number>();
  channel.take = () => gate.promise;
  const { writable } = toStreams(new Dispatcher(channel, { map }), {
    highWaterMark: 10,
  });
  const writer = writable.getWriter();
  await writer.write(new Uint8Array(9));
  const full = watch(writer.write(new Uint8Array(1)));
  await passes(map, 5);
  assertFalse(full.settled);
  assertEquals(writer.desiredSize, 0);
  channel.take = (data) => data.length;
  gate.resolve(9);
  await loopUntil(map, () => full.settled);
  assertEquals(writer.desiredSize, 1);
});

// toStreams(): the end

Deno.test("toStreams() ends one direction at a time", async () => {
  await using map = new ScopedMap();
  const [here, there] = await streamPairs(map);
  const question = here.writable.getWriter();
  await drive(map, question.write(bytes("spam?")));
  await drive(map, question.close());
  assertEquals(await drive(map, toText(there.readable)), "spam?");
  await passes(map, 5);
  assertEquals(map.size, 2, "both still stand");
  const answer = there.writable.getWriter();
  await drive(map, answer.write(bytes("eggs!")));
  await drive(map, answer.close());
  assertEquals(await drive(map, toText(here.readable)), "eggs!");
  await loopToEnd(map);
});

Deno.test("toStreams() goes on writing after the peer's end, with backpressure", async () => {
  await using map = new ScopedMap();
  const [conn, peer] = await connectedPair();
  const dispatcher = new DispatcherWithSend(conn, { map });
  const { readable, writable } = toStreams(dispatcher);
  await peer.closeWrite();
  assertEquals(await drive(map, toText(readable)), "");
  const data = pattern(16 * MIB);
  let most = 0;
  const work = Promise.all([
    chunked(data).pipeThrough(
      new TransformStream({
        transform(chunk, controller) {
          most = Math.max(most, dispatcher.bufferedAmount);
          controller.enqueue(chunk);
        },
      }),
    ).pipeTo(writable),
    toBytes(peer.readable),
  ]);
  assertSameBytes((await drive(map, work))[1], data);
  assertLessOrEqual(most, MARK + LARGEST_BUFFER);
  await loopToEnd(map);
});

for (const allowHalfOpen of [false, true]) {
  for (const order of ["read", "write"]) {
    const name = `the ${order} side first, allowHalfOpen: ${allowHalfOpen}`;

    Deno.test(`toStreams() runs handleClose() when both have ended (${name})`, async () => {
      const map = quietMap();
      const channel = new FakeChannel();
      channel.staysOpen = true;
      const trace: string[] = [];
      class Client extends Dispatcher {
        override handleEnd() {
          trace.push("handleEnd");
        }
        override handleClose() {
          trace.push("handleClose");
          this.close();
        }
      }
      const client = new Client(channel, { map, allowHalfOpen });
      const { readable, writable } = toStreams(client);
      const ends = [
        async () => {
          channel.push(null);
          assertEquals(await drive(map, toText(readable)), "");
        },
        () => drive(map, writable.close()),
      ];
      if (order === "write") ends.reverse();
      await ends[0]!();
      await passes(map, 5);
      assertEquals([map.size, channel.closed, trace], [1, false, []]);
      await ends[1]!();
      await loopToEnd(map);
      assertEquals([channel.closed, trace], [true, ["handleClose"]]);
      assert(channel.writeEnded);
    });

    Deno.test(`toStreams() goes on after the peer's end when cancelled (${name})`, async () => {
      const map = quietMap();
      const channel = new FakeChannel();
      const client = new Dispatcher(channel, { map, allowHalfOpen });
      const { readable, writable } = toStreams(client);
      await readable.cancel();
      channel.push("spam", null);
      if (order === "read") await passes(map, 5);
      assertEquals(client.readable(), order === "write");
      await drive(map, ReadableStream.from([bytes("eggs")]).pipeTo(writable));
      await loopToEnd(map);
      assertEquals(channel.sent, "eggs");
      assert(channel.closed);
    });
  }
}

Deno.test("toStreams() gives the dispatcher its hooks back, to connect again", async () => {
  await using map = new ScopedMap();
  class Client extends Dispatcher {
    override handleError = (_error: unknown) => {};
  }
  const client = new Client(new FakeChannel(), { map });
  const { handleError } = client;
  const { writable } = toStreams(client);
  assert(client.handleError !== handleError);
  await writable.abort();
  assertStrictEquals(client.handleError, handleError);
  assertEquals(
    Object.getOwnPropertyNames(client).filter((name) => /^handle/.test(name)),
    ["handleError"],
  );
  const channel = new FakeChannel();
  client.setSocket(channel);
  const { readable } = toStreams(client);
  channel.push("spam", null);
  assertEquals(await drive(map, toText(readable)), "spam");
});

Deno.test("toStreams() reads and writes files", async () => {
  await using map = new ScopedMap();
  const path = await Deno.makeTempFile();
  try {
    const data = pattern(MIB);
    const file = await Deno.open(path, { write: true });
    const out = toStreams(new FileDispatcher(file, { map }));
    await out.readable.cancel();
    await drive(map, chunked(data).pipeTo(out.writable));
    await loopToEnd(map);
    assertSameBytes(await Deno.readFile(path), data);
    const copy = toStreams(new FileDispatcher(await Deno.open(path), { map }));
    const [received] = await drive(
      map,
      Promise.all([toBytes(copy.readable), copy.writable.close()]),
    );
    assertSameBytes(received, data);
    await loopToEnd(map);
  } finally {
    await Deno.remove(path);
  }
});

// toStreams(): failures

Deno.test("toStreams() lets what had arrived be read before the failure", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const { readable, writable } = toStreams(new Dispatcher(channel, { map }));
  const failure = new Deno.errors.ConnectionReset("gone");
  channel.push("spam", "eggs", failure);
  await loopToEnd(map);
  const reader = readable.getReader();
  assertEquals(text((await reader.read()).value!), "spam");
  assertEquals(text((await reader.read()).value!), "eggs");
  assertStrictEquals(await assertRejects(() => reader.read()), failure);
  const write = () => writable.getWriter().write(bytes("ham"));
  assertStrictEquals(await assertRejects(write), failure);
});

Deno.test("toStreams() fails with the error of a read, which no hook gets", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const trace: string[] = [];
  class Client extends Dispatcher {
    override handleError() {
      trace.push("handleError");
    }
    override handleClose() {
      trace.push("handleClose");
    }
  }
  const { readable, writable } = toStreams(new Client(channel, { map }));
  const failure = new Error("disk on fire");
  const read = toText(readable);
  const { closed } = writable.getWriter();
  const results = Promise.allSettled([read, closed]);
  channel.push(failure);
  for (const result of await drive(map, results)) {
    assertEquals(result, { status: "rejected", reason: failure });
  }
  await loopToEnd(map);
  assertEquals(trace, ["handleClose"]);
  assert(channel.closed);
});

Deno.test("toStreams() fails with the error of a hook", async () => {
  const failure = new Error("not today");
  const network = new FakeNetwork();
  const map = quietMap({ network });
  class Client extends Dispatcher {
    override handleConnect() {
      throw failure;
    }
  }
  const client = new Client(null, { map });
  client.createSocket();
  client.connect({ port: 7 });
  const { readable } = toStreams(client);
  const channel = new FakeChannel();
  network.succeed(channel);
  const error = await assertRejects(() => drive(map, toText(readable)));
  assertStrictEquals(error, failure);
  assert(channel.closed);
});

Deno.test("toStreams() fails a write that breaks, pending or later", async () => {
  for (const size of [4, 2 * MARK]) {
    const map = quietMap();
    const channel = new FakeChannel();
    const failure = new Deno.errors.BrokenPipe("gone");
    channel.take = () => Promise.reject(failure);
    const { readable, writable } = toStreams(new Dispatcher(channel, { map }));
    const work = Promise.allSettled([
      new Blob([new Uint8Array(size)]).stream().pipeTo(writable),
      toText(readable),
    ]);
    for (const result of await drive(map, work)) {
      assertEquals(result, { status: "rejected", reason: failure });
    }
    await loopToEnd(map);
    assert(channel.closed);
  }
});

Deno.test("toStreams() ends when a write breaks after the peer's end", async () => {
  for (const size of [4, 2 * MARK]) {
    const map = quietMap();
    const channel = new FakeChannel();
    const { readable, writable } = toStreams(new Dispatcher(channel, { map }));
    channel.push(null);
    assertEquals(await drive(map, toText(readable)), "");
    const failure = new Error("line cut");
    channel.take = () => Promise.reject(failure);
    const work = new Blob([new Uint8Array(size)]).stream().pipeTo(writable);
    assertStrictEquals(await assertRejects(() => drive(map, work)), failure);
    await loopToEnd(map);
    assert(channel.closed);
  }
});

Deno.test("toStreams() fails to close when the end cannot be sent", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const failure = new Deno.errors.NotConnected("gone");
  channel.closeWrite = () => Promise.reject(failure);
  const { readable, writable } = toStreams(new Dispatcher(channel, { map }));
  assertStrictEquals(await assertRejects(() => writable.close()), failure);
  await readable.cancel();
  await loopToEnd(map);
  assert(channel.closed);
});

Deno.test("toStreams() fails a write after Dispatcher.shutdownWrite()", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const dispatcher = new Dispatcher(channel, { map });
  const { readable, writable } = toStreams(dispatcher);
  dispatcher.shutdownWrite();
  await assertRejects(
    () => writable.getWriter().write(bytes("spam")),
    Error,
    "Cannot send: <Dispatcher connected> has ended its writing direction",
  );
  channel.push(null);
  assertEquals(await drive(map, toText(readable)), "");
  await loopToEnd(map);
});

for (const end of ["close", "abort"] as const) {
  Deno.test(`toStreams() fails all that is pending at Dispatcher.${end}()`, async () => {
    for (const pending of ["write", "close", "nothing"]) {
      const map = quietMap();
      const channel = new FakeChannel();
      const gate = Promise.withResolvers<number>();
      gate.promise.catch(() => {});
      channel.take = () => gate.promise;
      const dispatcher = new Dispatcher(channel, { map, linger: 100 });
      const { readable, writable } = toStreams(dispatcher);
      const writer = writable.getWriter();
      const work: Promise<unknown>[] = [toText(readable), writer.closed];
      if (pending === "write") work.push(writer.write(new Uint8Array(MARK)));
      if (pending === "close") {
        await writer.write(new Uint8Array(4));
        work.push(writer.close());
      }
      const results = Promise.allSettled(work);
      await passes(map, 3);
      dispatcher[end]();
      for (const result of await results) {
        assertEquals(result.status, "rejected", pending);
        const { reason } = result as PromiseRejectedResult;
        assertInstanceOf(reason, Deno.errors.Interrupted);
        assertStringIncludes(reason.message, "<Dispatcher> was closed");
      }
      gate.reject(new Error("enough"));
      await loopToEnd(map);
      assert(channel.closed);
    }
  });
}

Deno.test("toStreams() runs no hook after Dispatcher.close() in a half-open connection", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  class Client extends Dispatcher {
    override handleClose() {
      throw new Error("handleClose() was not expected");
    }
  }
  const dispatcher = new Client(channel, { map });
  const { readable, writable } = toStreams(dispatcher);
  channel.push(null);
  assertEquals(await drive(map, toText(readable)), "");
  dispatcher.close();
  await assertRejects(() => writable.close());
  await loopToEnd(map);
});

Deno.test("toStreams().writable.abort() ends a pending write, and the connection", async () => {
  await using map = new ScopedMap();
  const [conn, peer] = await connectedPair();
  const dispatcher = new DispatcherWithSend(conn, { map });
  const { readable, writable } = toStreams(dispatcher);
  const writer = writable.getWriter();
  const read = toText(readable);
  const write = writer.write(new Uint8Array(64 * MIB));
  const results = Promise.allSettled([write, read, writer.closed]);
  await passes(map, 5);
  const reason = new Error("changed my mind");
  await drive(map, writer.abort(reason));
  for (const result of await results) {
    assertEquals(result, { status: "rejected", reason });
  }
  assertEquals([map.size, dispatcher.closing], [0, false]);
  assertLess((await toBytes(peer.readable)).length, 64 * MIB);
});

Deno.test("toStreams().readable.cancel() drops what arrives, and lets writing go on", async () => {
  await using map = new ScopedMap();
  const [conn, peer] = await connectedPair();
  const { readable, writable } = toStreams(new Dispatcher(conn, { map }));
  const read = readable.getReader();
  await peer.write(bytes("spam"));
  await drive(map, read.read());
  await read.cancel("enough");
  // The peer is not held up.
  const sending = (async () => {
    const data = new Uint8Array(MIB);
    for (let i = 0; i < 16; i++) {
      for (let at = 0; at < data.length;) {
        at += await peer.write(data.subarray(at));
      }
    }
    await peer.closeWrite();
  })();
  await drive(map, sending);
  const writer = writable.getWriter();
  await drive(map, writer.write(bytes("eggs")));
  assertEquals(map.size, 1);
  const [answer] = await drive(
    map,
    Promise.all([toText(peer.readable), writer.close()]),
  );
  assertEquals(answer, "eggs");
  await loopToEnd(map);
});

Deno.test("toStreams() closes when the readable is cancelled and the writable closed", async () => {
  for (const order of ["cancel first", "close first"]) {
    const map = quietMap();
    const channel = new FakeChannel();
    const { readable, writable } = toStreams(new Dispatcher(channel, { map }));
    const ends = [() => readable.cancel(), () => writable.close()];
    if (order === "close first") ends.reverse();
    for (const end of ends) {
      assertEquals(map.size, 1, order);
      await end();
    }
    await loopToEnd(map);
    assert(channel.closed);
  }
});

Deno.test("toStreams().writable refuses chunks that are no bytes, and aborts", async () => {
  for (const chunk of ["spam", new ArrayBuffer(4), null]) {
    const map = quietMap();
    const channel = new FakeChannel();
    const { readable, writable } = toStreams(new Dispatcher(channel, { map }));
    const read = toText(readable);
    const results = Promise.allSettled([
      writable.getWriter().write(chunk as unknown as Uint8Array),
      read,
    ]);
    for (const result of await results) {
      assertEquals(result.status, "rejected");
      const { reason } = result as PromiseRejectedResult;
      assertInstanceOf(reason, TypeError);
      assertStringIncludes(reason.message, "must be a Uint8Array, got");
    }
    assert(channel.closed);
  }
});

Deno.test("toStreams() fails when the peer is reset", async () => {
  await using map = new ScopedMap();
  const server = new TestServer(map, (conn) => {
    const { readable, writable } = toStreams(new Dispatcher(conn, { map }));
    void (result = Promise.allSettled([
      toText(readable),
      new ReadableStream<Uint8Array>({
        pull: (controller) => controller.enqueue(new Uint8Array(MARK)),
      }).pipeTo(writable),
    ]));
  });
  let result: Promise<PromiseSettledResult<unknown>[]> | undefined;
  const peer = await drive(map, rawConnect(server.addr));
  await loopUntil(map, () => result !== undefined);
  await drive(map, peer.read(new Uint8Array(8)));
  peer.close(); // with bytes unread: the kernel resets
  for (const { status } of await drive(map, result!)) {
    assertEquals(status, "rejected");
  }
  assertEquals(map.size, 1, "only the server is left");
});

Deno.test("toStreams() lets a slow reader have all that came before a write broke", async () => {
  await using map = new ScopedMap();
  const [ours, peer] = await connectedPair();
  const dispatcher = new Dispatcher(ours, { map });
  const options = { highWaterMark: 1_000 };
  const { readable, writable } = toStreams(dispatcher, options);
  const sent = pattern(50_000);
  const writer = writable.getWriter();
  writer.closed.catch(() => {});
  await drive(map, Promise.all([peer.write(sent), writer.write(bytes("x"))]));
  peer.close(); // with a byte unread: the kernel resets
  const broken = async () => {
    for (;;) await writer.write(new Uint8Array(100_000));
  };
  await assertRejects(() => drive(map, broken()));
  const received: Uint8Array[] = [];
  const read = async () => {
    for await (const chunk of readable) {
      received.push(chunk);
      await turns();
    }
  };
  await assertRejects(
    () => drive(map, read()),
    "a broken connection is no end",
  );
  assertEquals(await new Blob(received as BlobPart[]).bytes(), sent);
});

for (const kind of ["sync", "async"]) {
  Deno.test(`toStreams() in a handleConnect() that is ${kind} lets bytes flow`, async () => {
    await using map = new ScopedMap();
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    let streams: StreamPair | undefined;
    class Client extends Dispatcher {
      override handleConnect(): void | Promise<void> {
        streams = toStreams(this);
        const writer = streams.writable.getWriter();
        const written = writer.write(bytes("spam")).then(() => writer.close());
        if (kind === "async") return written;
      }
    }
    const client = new Client(null, { map });
    client.createSocket();
    client.connect(listener.addr);
    const peer = await drive(map, listener.accept());
    assertEquals(await drive(map, toText(peer.readable)), "spam");
    await drive(map, toText(streams!.readable));
  });
}

// toStreams(): misuse

Deno.test("toStreams() refuses what it cannot take over", async () => {
  const map = quietMap();
  assertThrows(
    () => toStreams({} as Dispatcher),
    TypeError,
    "dispatcher must be a Dispatcher, got {}",
  );
  assertThrows(
    () => toStreams(new Dispatcher(null, { map })),
    Error,
    "Cannot make streams: Dispatcher is not connected",
  );
  assertThrows(
    () => toStreams(new AsyncChat(new FakeChannel(), { map })),
    TypeError,
    "has its own handleRead()",
  );
  class Shy extends Dispatcher {
    override readable() {
      return false;
    }
  }
  assertThrows(
    () => toStreams(new Shy(new FakeChannel(), { map })),
    TypeError,
    "has its own readable()",
  );
  const dispatcher = new Dispatcher(new FakeChannel(), { map });
  for (const highWaterMark of [-1, 0.5, NaN, Infinity]) {
    assertThrows(
      () => toStreams(dispatcher, { highWaterMark }),
      RangeError,
      "highWaterMark must be",
    );
  }
  const { writable } = toStreams(dispatcher);
  assertThrows(() => toStreams(dispatcher), TypeError, "has its streams");
  await writable.abort();
  assertThrows(() => toStreams(dispatcher), Error, "is closed");
  for (const member of [...map]) member.abort();
});
