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
import { TextLineStream, toText } from "@std/streams";
import {
  AsyncChat,
  type Channel,
  channelFrom,
  Dispatcher,
  DispatcherWithSend,
  FileDispatcher,
  type StreamPair,
  toStreams,
  type ToStreamsOptions,
} from "../mod.ts";
import {
  bytes,
  connectedPair,
  loopUntil,
  ScopedMap,
  StrictDispatcher,
  type TestMap,
  text,
  turn,
  turns,
} from "./support.ts";
import {
  Echo,
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
import { Buffer } from "node:buffer";
import { Scratch } from "./files.ts";
import { runCommand } from "./peers.ts";

const MIB = 1024 * 1024;
const MARK = 64 * 1024;
const LARGEST_BUFFER = 128 * 1024;

/** Loops until `work` has settled. */
async function drive<T>(map: TestMap, work: Promise<T>): Promise<T> {
  const watched = watch(work);
  await loopUntil(map, () => watched.settled);
  return await work;
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

/** Expects a lot of bytes, without a report of megabytes. */
async function assertBrings(
  map: TestMap,
  readable: ReadableStream<Uint8Array>,
  expected: Uint8Array,
): Promise<void> {
  const actual = await drive(map, new Response(readable).bytes());
  assertEquals(Buffer.compare(actual, expected), 0);
}

/** Expects that all of `work` fails with `reason`. */
async function assertFail(
  map: TestMap,
  work: Promise<unknown>[],
  reason: unknown,
): Promise<void> {
  const results = await drive(map, Promise.allSettled(work));
  const failure = { status: "rejected", reason } as const;
  assertEquals(results, work.map(() => failure));
}

/** Writes down the hooks that its streams leave to it. */
class Client extends Dispatcher {
  readonly trace: string[] = [];
  override handleConnect(): void | Promise<void> {
    this.trace.push("handleConnect");
  }
  override handleEnd(): void {
    this.trace.push("handleEnd");
  }
  override handleError(): void {
    this.trace.push("handleError");
  }
  override handleClose(): void {
    this.trace.push("handleClose");
  }
}

/** The streams of a client over a fake channel. */
function streamed(
  options: ToStreamsOptions & { allowHalfOpen?: boolean } = {},
) {
  const { allowHalfOpen = false, ...others } = options;
  const map = quietMap();
  const channel = new FakeChannel();
  const client = new Client(channel, { map, allowHalfOpen, linger: 100 });
  return { map, channel, client, ...toStreams(client, others) };
}

/** The streams of a client that is connecting. */
function connecting() {
  const network = new FakeNetwork();
  const map = quietMap({ network });
  const client = new Client(null, { map });
  client.createSocket();
  client.connect({ port: 7 });
  const channel = new FakeChannel();
  return { network, map, channel, client, ...toStreams(client) };
}

/** The streams of a real connection, and what is at its other end. */
async function connected(map: TestMap, options: ToStreamsOptions = {}) {
  const [conn, peer] = await connectedPair();
  const dispatcher = new DispatcherWithSend(conn, { map });
  return { conn, peer, dispatcher, ...toStreams(dispatcher, options) };
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

for (const end of ["close", "shutdownWrite"] as const) {
  Deno.test(`Dispatcher.${end}() sends the rest through streams and closes the writable`, async () => {
    await using map = new ScopedMap();
    const gzip = new CompressionStream("gzip");
    const channel = channelFrom({ writable: gzip.writable });
    const sender = new DispatcherWithSend(channel, { map });
    const data = pattern(MIB);
    sender.send(data);
    sender[end]();
    const readable = gzip.readable
      .pipeThrough(new DecompressionStream("gzip"));
    await assertBrings(map, readable, data);
    assertEquals(map.size, end === "close" ? 0 : 1);
  });
}

/** A child process with pipes. */
function spawn(program: string) {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["eval", program],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const streams = { readable: child.stdout, writable: child.stdin };
  return { child, channel: channelFrom(streams) };
}

Deno.test("channelFrom() makes a dispatcher of a child process", async () => {
  await using map = new ScopedMap();
  const { child, channel } = spawn(
    "await Deno.stdin.readable.pipeTo(Deno.stdout.writable)",
  );
  const { readable, writable } = toStreams(new Dispatcher(channel, { map }));
  const data = pattern(MIB);
  const piped = chunked(data).pipeTo(writable);
  await assertBrings(map, readable, data);
  await piped;
  assertEquals((await child.status).code, 0);
  await loopToEnd(map);
});

Deno.test("channelFrom() tells that a child process has gone", async () => {
  const map = quietMap();
  const { child, channel } = spawn("");
  await child.status;
  const client = new Recorder(map, channel);
  client.send(bytes("spam"));
  await loopUntil(map, () => client.socket === null);
  assertEquals([client.count("handleClose"), client.errors], [1, []]);
});

const MODULE = import.meta.resolve("../mod.ts");

/** What an open WebSocketStream is, whose type needs a flag. */
interface WebSocketConnection {
  readable: ReadableStream<string | Uint8Array<ArrayBuffer>>;
  writable: WritableStream<string | Uint8Array>;
}

Deno.test("channelFrom() makes a channel of a WebSocketStream", async () => {
  const _fits = (socket: WebSocketConnection) => channelFrom(socket);
  const script = `
    import { channelFrom, Dispatcher, loop } from "${MODULE}";
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
  const args = ["eval", "--ext=ts", "--unstable-net", script];
  const { code, out, err } = await runCommand(Deno.execPath(), args);
  assertEquals([code, err], [0, ""]);
  assertEquals(
    out,
    "spam\nTypeError: A chunk of the readable must be a Uint8Array, " +
      'got "text": encode text with new TextEncoder().encode(text)\n',
  );
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
  await turn();
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
  await turn();
  assertEquals(ends, ["close"]);
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
  const writer = channelFrom({ writable: new WritableStream() });
  const { NotSupported } = Deno.errors;
  const write = () => reader.write(new Uint8Array(1));
  await assertRejects(write, NotSupported, "The channel has no writable");
  const read = () => writer.read(new Uint8Array(1));
  await assertRejects(read, NotSupported, "The channel has no readable");
  reader.close();
  writer.close();
});

Deno.test("channelFrom() of a writable brings its dispatcher no read event", async () => {
  await using map = new ScopedMap();
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const sender = new StrictDispatcher(map, channelFrom({ writable }));
  sender.send(bytes("spam"));
  await passes(map, 5);
  const { value } = await readable.getReader().read();
  assertEquals(text(value!), "spam");
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
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const streams = { readable: new ReadableStream<Uint8Array>(), writable };
  const client = new Recorder(map, channelFrom(streams));
  await readable.cancel();
  client.send(bytes("spam"));
  await loopToEnd(map);
  assertEquals(client.trace, ["handleClose"]);
  assertInstanceOf(client.closeReason, Deno.errors.BrokenPipe);
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
  refuse({ readable, writable }, "locked");
  assertFalse(readable.locked);
  writer.releaseLock();
  channelFrom({ readable, writable }).close();
});

// toStreams(): bytes

Deno.test("toStreams() pipes 16 MiB to the streams of another, byte for byte", async () => {
  await using map = new ScopedMap();
  const here = await connected(map);
  const front = toStreams(new Dispatcher(here.peer, { map }));
  const there = await connected(map);
  const back = toStreams(new Dispatcher(there.peer, { map }));
  const data = pattern(16 * MIB);
  const work = Promise.all([
    chunked(data).pipeTo(here.writable),
    front.readable.pipeTo(back.writable),
    there.writable.close(),
    back.readable.pipeTo(front.writable),
  ]);
  await assertBrings(map, there.readable, data);
  await assertBrings(map, here.readable, new Uint8Array(0));
  await drive(map, work);
  await loopToEnd(map);
});

Deno.test("toStreams() feeds TextLineStream, however the bytes are split", async () => {
  const lines = ["spam", "", "crème brûlée €", "last"];
  const data = bytes(lines.join("\r\n"));
  for (let at = 0; at <= data.length; at++) {
    const { map, channel, readable, writable } = streamed();
    channel.push(data.slice(0, at), data.slice(at), null);
    const received = Array.fromAsync(
      readable.pipeThrough(new TextDecoderStream())
        .pipeThrough(new TextLineStream()),
    );
    assertEquals(await drive(map, received), lines, `split at ${at}`);
    await writable.close();
    await loopToEnd(map);
  }
});

Deno.test("toStreams() fills the buffers of a BYOB reader", async () => {
  const { map, channel, client, readable } = streamed({ highWaterMark: 0 });
  const reader = readable.getReader({ mode: "byob" });
  const read = async (size: number) => {
    const { value } = await drive(map, reader.read(new Uint8Array(size)));
    return text(value!);
  };
  channel.push("spam and eggs");
  assertEquals(await read(4), "spam");
  assertFalse(client.readable());
  assertEquals(await read(5), " and ");
  assertEquals(await read(100), "eggs");
  channel.push(null);
  assertEquals(await read(8), "");
});

Deno.test("toStreams() gives a pending BYOB read its failure", async () => {
  const { map, channel, readable } = streamed();
  const read = readable.getReader({ mode: "byob" }).read(new Uint8Array(8));
  await passes(map, 3);
  const failure = new Deno.errors.ConnectionReset("gone");
  channel.push(failure);
  await assertFail(map, [read], failure);
});

Deno.test("toStreams() loses nothing that had arrived before it", async () => {
  const map = quietMap();
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
  const { network, map, channel, client, writable } = connecting();
  const ready = Promise.withResolvers<void>();
  client.handleConnect = () => {
    client.send(bytes("hello "));
    return ready.promise;
  };
  const work = ReadableStream.from([bytes("spam")]).pipeTo(writable);
  const sent = watch(work);
  await passes(map, 3);
  network.succeed(channel);
  await loopUntil(map, () => channel.sent !== "");
  await passes(map, 3);
  assertFalse(sent.settled, "handleConnect() has not ended");
  assertEquals(channel.sent, "hello ");
  ready.resolve();
  await drive(map, work);
  assertEquals(channel.sent, "hello spam");
  assert(channel.writeEnded);
});

Deno.test("toStreams() fails when the connect fails", async () => {
  const { network, map, client, readable, writable } = connecting();
  const writer = writable.getWriter();
  const write = writer.write(bytes("spam"));
  const failure = new Deno.errors.ConnectionRefused("no");
  network.fail(failure);
  await assertFail(map, [write, writer.close(), toText(readable)], failure);
  assertEquals(client.trace, ["handleClose"]);
});

Deno.test("toStreams() gives up connecting when the writable is aborted", async () => {
  const { network, map, readable, writable } = connecting();
  const reason = new Error("changed my mind");
  await writable.abort(reason);
  assert(network.signals[0]!.aborted);
  assertEquals(map.size, 0);
  await assertFail(map, [toText(readable)], reason);
  network.fail(new Error("aborted"));
});

// toStreams(): backpressure

for (const highWaterMark of [0, 1, 1000, MARK, 3 * MARK]) {
  Deno.test(`toStreams() holds at most a highWaterMark of ${highWaterMark} and one buffer`, async () => {
    const { map, channel, client, readable } = streamed({ highWaterMark });
    let taken = 0;
    const { read } = channel;
    channel.read = async (target) => {
      channel.push(new Uint8Array(target.length)); // always more
      const length = await read.call(channel, target);
      taken += length!;
      return length;
    };
    await rest(map);
    assertFalse(client.readable());
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
  });
}

Deno.test("toStreams() closes the kernel's window when nobody reads", async () => {
  await using map = new ScopedMap();
  const { conn, peer, dispatcher, readable } = await connected(map);
  let taken = 0;
  const { read } = conn;
  conn.read = async (target) => {
    const length = await read.call(conn, target);
    taken += length ?? 0;
    return length;
  };
  const data = pattern(32 * MIB); // more than the kernel holds
  let isWritten = false;
  const writing = new Blob([data as BlobPart]).stream().pipeTo(peer.writable)
    .then(() => isWritten = true);
  await loopUntil(map, () => !dispatcher.readable());
  await rest(map);
  assertFalse(isWritten || dispatcher.readable());
  assertLess(taken, MARK + LARGEST_BUFFER);
  await assertBrings(map, readable, data);
  await writing;
});

/** Passes chunks on, and looks at what waits in `dispatcher` meanwhile. */
function meter(dispatcher: DispatcherWithSend) {
  const most = { buffered: 0 };
  const stream = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      most.buffered = Math.max(most.buffered, dispatcher.bufferedAmount);
      controller.enqueue(chunk);
    },
  });
  return { most, stream };
}

for (const isHalf of [false, true]) {
  const when = isHalf ? ", also after the peer's end" : "";

  Deno.test(`toStreams() makes the writer wait for a peer that does not read${when}`, async () => {
    await using map = new ScopedMap();
    const { peer, dispatcher, readable, writable } = await connected(map);
    if (isHalf) {
      await peer.closeWrite();
      assertEquals(await drive(map, toText(readable)), "");
    }
    const data = pattern(32 * MIB);
    const { most, stream } = meter(dispatcher);
    const work = chunked(data).pipeThrough(stream).pipeTo(writable);
    const sent = watch(work);
    await loopUntil(map, () => dispatcher.bufferedAmount > 0);
    await rest(map);
    assertFalse(sent.settled);
    await assertBrings(map, peer.readable, data);
    await work;
    assertLess(most.buffered, MARK + LARGEST_BUFFER);
  });
}

Deno.test("toStreams() copies a large chunk piece by piece", async () => {
  await using map = new ScopedMap();
  const { peer, dispatcher, writable } = await connected(map);
  const writer = writable.getWriter();
  const data = pattern(16 * MIB);
  const work = writer.write(data).then(() => writer.close());
  const received = new Response(peer.readable).bytes();
  let most = 0;
  const watched = watch(received);
  await loopUntil(map, () => {
    most = Math.max(most, dispatcher.bufferedAmount);
    return watched.settled;
  });
  await work;
  assertEquals(Buffer.compare(await received, data), 0);
  assertLessOrEqual(most, MARK + LARGEST_BUFFER);
});

Deno.test("toStreams() lets a write settle below the high water mark", async () => {
  const { map, channel, writable } = streamed({ highWaterMark: 10 });
  const gate = Promise.withResolvers<number>();
  channel.take = () => gate.promise;
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

for (const allowHalfOpen of [false, true]) {
  for (const order of ["read", "write"]) {
    const name = `the ${order} side first, allowHalfOpen: ${allowHalfOpen}`;

    Deno.test(`toStreams() runs handleClose() when both have ended (${name})`, async () => {
      const { map, channel, client, readable, writable } = streamed({
        allowHalfOpen,
      });
      channel.staysOpen = true;
      const ends = [
        () => {
          channel.push(null);
          return drive(map, toText(readable));
        },
        () => drive(map, writable.close()),
      ];
      if (order === "write") ends.reverse();
      await ends[0]!();
      await passes(map, 5);
      assertEquals([map.size, channel.closed, client.trace], [1, false, []]);
      await ends[1]!();
      await loopToEnd(map);
      assertEquals([channel.closed, client.trace], [true, ["handleClose"]]);
      assert(channel.writeEnded);
    });

    Deno.test(`toStreams() goes on after the peer's end when cancelled (${name})`, async () => {
      const { map, channel, client, readable, writable } = streamed({
        allowHalfOpen,
      });
      await readable.cancel();
      channel.push("spam", null);
      if (order === "read") await passes(map, 5);
      assertEquals(client.readable(), order === "write");
      await drive(map, ReadableStream.from([bytes("eggs")]).pipeTo(writable));
      await loopToEnd(map);
      assertEquals([channel.sent, channel.closed], ["eggs", true]);
    });
  }
}

Deno.test("toStreams() gives the dispatcher its hooks back, to connect again", async () => {
  const map = quietMap();
  const client = new Dispatcher(new FakeChannel(), { map });
  const handleError = client.handleError = () => {};
  const { writable } = toStreams(client);
  assert(client.handleError !== handleError);
  await writable.abort();
  assertStrictEquals(client.handleError, handleError);
  const own = Object.keys(client).filter((name) => /^handle/.test(name));
  assertEquals(own, ["handleError"]);
  const channel = new FakeChannel();
  client.setSocket(channel);
  const { readable } = toStreams(client);
  channel.push("spam", null);
  assertEquals(await drive(map, toText(readable)), "spam");
});

Deno.test("toStreams() reads and writes files", async () => {
  await using map = new ScopedMap();
  using scratch = new Scratch();
  const path = scratch.file();
  const data = pattern(MIB);
  const file = await Deno.open(path, { write: true });
  const out = toStreams(new FileDispatcher(file, { map }));
  await out.readable.cancel();
  await drive(map, chunked(data).pipeTo(out.writable));
  await loopToEnd(map);
  const copy = toStreams(new FileDispatcher(await Deno.open(path), { map }));
  await copy.writable.close();
  await assertBrings(map, copy.readable, data);
  await loopToEnd(map);
});

// toStreams(): failures

Deno.test("toStreams() lets what had arrived be read before the failure", async () => {
  const { map, channel, readable, writable } = streamed();
  const failure = new Deno.errors.ConnectionReset("gone");
  channel.push("spam", "eggs", failure);
  await loopToEnd(map);
  const reader = readable.getReader();
  assertEquals(text((await reader.read()).value!), "spam");
  assertEquals(text((await reader.read()).value!), "eggs");
  const write = writable.getWriter().write(bytes("ham"));
  await assertFail(map, [reader.read(), write], failure);
});

Deno.test("toStreams() fails with the error of a read, which no hook gets", async () => {
  const { map, channel, client, readable, writable } = streamed();
  const failure = new Error("disk on fire");
  channel.push(failure);
  const { closed } = writable.getWriter();
  await assertFail(map, [toText(readable), closed], failure);
  await loopToEnd(map);
  assertEquals(client.trace, ["handleClose"]);
  assert(channel.closed);
});

Deno.test("toStreams() fails with the error of a hook", async () => {
  const { network, map, channel, client, readable } = connecting();
  const failure = new Error("not today");
  client.handleConnect = () => {
    throw failure;
  };
  network.succeed(channel);
  await assertFail(map, [toText(readable)], failure);
  assert(channel.closed);
});

for (const size of [4, 2 * MARK]) {
  Deno.test(`toStreams() fails a write of ${size} bytes that breaks`, async () => {
    const { map, channel, readable, writable } = streamed();
    const failure = new Deno.errors.BrokenPipe("gone");
    channel.take = () => Promise.reject(failure);
    const write = new Blob([new Uint8Array(size)]).stream().pipeTo(writable);
    await assertFail(map, [write, toText(readable)], failure);
    await loopToEnd(map);
    assert(channel.closed);
  });

  Deno.test(`toStreams() ends when a write of ${size} bytes breaks after the peer's end`, async () => {
    const { map, channel, readable, writable } = streamed();
    channel.push(null);
    assertEquals(await drive(map, toText(readable)), "");
    const failure = new Error("line cut");
    channel.take = () => Promise.reject(failure);
    const write = new Blob([new Uint8Array(size)]).stream().pipeTo(writable);
    await assertFail(map, [write], failure);
    await loopToEnd(map);
    assert(channel.closed);
  });
}

Deno.test("toStreams() fails to close when the end cannot be sent", async () => {
  const { map, channel, readable, writable } = streamed();
  const failure = new Deno.errors.NotConnected("gone");
  channel.closeWrite = () => Promise.reject(failure);
  await assertFail(map, [writable.close()], failure);
  await readable.cancel();
  await loopToEnd(map);
  assert(channel.closed);
});

Deno.test("toStreams() ends the connection when neither end can be sent", async () => {
  const { map, channel, readable, writable } = streamed();
  channel.push(null);
  assertEquals(await drive(map, toText(readable)), "");
  const failure = new Deno.errors.NotConnected("gone");
  channel.closeWrite = () => Promise.reject(failure);
  await assertFail(map, [writable.close()], failure);
  await loopToEnd(map);
  assert(channel.closed);
});

Deno.test("toStreams() fails a write after Dispatcher.shutdownWrite()", async () => {
  const { map, channel, client, readable, writable } = streamed();
  client.shutdownWrite();
  await assertRejects(
    () => writable.getWriter().write(bytes("spam")),
    Error,
    "Cannot send: <Client connected> has ended its writing direction",
  );
  channel.push(null);
  assertEquals(await drive(map, toText(readable)), "");
  await loopToEnd(map);
});

for (const end of ["close", "abort"] as const) {
  for (const pending of ["write", "close", "nothing"]) {
    Deno.test(`toStreams() fails all at Dispatcher.${end}() while ${pending} is pending`, async () => {
      const { map, channel, client, readable, writable } = streamed();
      const gate = Promise.withResolvers<number>();
      gate.promise.catch(() => {});
      channel.take = () => gate.promise;
      const writer = writable.getWriter();
      const work: Promise<unknown>[] = [toText(readable), writer.closed];
      if (pending === "write") work.push(writer.write(new Uint8Array(MARK)));
      if (pending === "close") {
        await writer.write(new Uint8Array(4));
        work.push(writer.close());
      }
      const results = Promise.allSettled(work);
      await passes(map, 3);
      client[end]();
      for (const result of await results) {
        const { reason } = result as PromiseRejectedResult;
        assertInstanceOf(reason, Deno.errors.Interrupted);
        assertStringIncludes(reason.message, "<Client closed> was closed");
      }
      gate.reject(new Error("enough"));
      await loopToEnd(map);
      assert(channel.closed);
    });
  }
}

Deno.test("toStreams() runs no hook after Dispatcher.close() in a half-open connection", async () => {
  const { map, channel, client, readable, writable } = streamed();
  channel.push(null);
  assertEquals(await drive(map, toText(readable)), "");
  client.close();
  await assertRejects(() => writable.close());
  await loopToEnd(map);
  assertEquals(client.trace, []);
});

Deno.test("toStreams().writable.abort() ends a pending write, and the connection", async () => {
  await using map = new ScopedMap();
  const { peer, dispatcher, readable, writable } = await connected(map);
  const writer = writable.getWriter();
  const write = writer.write(new Uint8Array(64 * MIB));
  const work = [write, toText(readable), writer.closed];
  for (const pending of work) pending.catch(() => {});
  await passes(map, 5);
  const reason = new Error("changed my mind");
  await drive(map, writer.abort(reason));
  await assertFail(map, work, reason);
  assertEquals([map.size, dispatcher.closing], [0, false]);
  assertLess((await new Response(peer.readable).bytes()).length, 64 * MIB);
});

Deno.test("toStreams().readable.cancel() drops what arrives, and lets writing go on", async () => {
  await using map = new ScopedMap();
  const { peer, readable, writable } = await connected(map);
  const reader = readable.getReader();
  await peer.write(bytes("spam"));
  await drive(map, reader.read());
  await reader.cancel("enough");
  // The peer is not held up.
  const data = new Blob([new Uint8Array(16 * MIB)]).stream();
  await drive(map, data.pipeTo(peer.writable, { preventClose: true }));
  await peer.closeWrite();
  const writer = writable.getWriter();
  await drive(map, writer.write(bytes("eggs")));
  assertEquals(map.size, 1);
  const closed = writer.close();
  await assertBrings(map, peer.readable, bytes("eggs"));
  await closed;
  await loopToEnd(map);
});

for (const order of ["readable", "writable"]) {
  Deno.test(`toStreams() closes when both are ended, the ${order} first`, async () => {
    const { map, channel, readable, writable } = streamed();
    const ends = [() => readable.cancel(), () => writable.close()];
    if (order === "writable") ends.reverse();
    for (const end of ends) {
      assertEquals(map.size, 1);
      await end();
    }
    await loopToEnd(map);
    assert(channel.closed);
  });
}

Deno.test("toStreams().writable refuses chunks that are no bytes, and aborts", async () => {
  for (const chunk of ["spam", new ArrayBuffer(4), null]) {
    const { channel, readable, writable } = streamed();
    const write = writable.getWriter().write(chunk as unknown as Uint8Array);
    for (const result of await Promise.allSettled([write, toText(readable)])) {
      const { reason } = result as PromiseRejectedResult;
      assertInstanceOf(reason, TypeError);
      assertStringIncludes(reason.message, "must be a Uint8Array, got");
    }
    assert(channel.closed);
  }
});

Deno.test("toStreams() lets a slow reader have all that came before a write broke", async () => {
  await using map = new ScopedMap();
  const { peer, readable, writable } = await connected(map, {
    highWaterMark: 1_000,
  });
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
  await assertRejects(() => drive(map, read()), "a broken one is no end");
  assertEquals(Buffer.compare(Buffer.concat(received), sent), 0);
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
  const chat = new AsyncChat(new FakeChannel(), { map });
  const shy = new Dispatcher(new FakeChannel(), { map });
  shy.readable = () => false;
  const { client, writable } = streamed();
  for (
    const [dispatcher, kind, message] of [
      [{} as Dispatcher, TypeError, "dispatcher must be a Dispatcher, got {}"],
      [
        new Dispatcher(null, { map }),
        Error,
        "Cannot make streams: Dispatcher is not connected",
      ],
      [chat, TypeError, "has its own handleRead()"],
      [shy, TypeError, "has its own readable()"],
      [client, TypeError, "has its streams"],
    ] as const
  ) assertThrows(() => toStreams(dispatcher), kind, message);
  for (const highWaterMark of [-1, 0.5, NaN, Infinity]) {
    const make = () => streamed({ highWaterMark });
    assertThrows(make, RangeError, "highWaterMark must be");
  }
  await writable.abort();
  assertThrows(() => toStreams(client), Error, "is closed");
});
