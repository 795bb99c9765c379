/**
 * Web streams both ways: {@linkcode channelFrom} makes a channel of streams,
 * {@linkcode toStreams} makes streams of a dispatcher.
 *
 * @module
 */

import {
  checkBytes,
  checkInteger,
  checkMethods,
  checkOptions,
  showValue,
} from "../core/arguments.ts";
import type { Channel } from "../core/channel.ts";
import type { Endpoint } from "../core/connection.ts";
import { ownMethods } from "../core/interest.ts";
import { textOf } from "../core/log.ts";
import { ExitNow } from "../core/reactor.ts";
import { CONNECTION } from "../core/symbols.ts";
import { quietly } from "../core/thenable.ts";
import { Dispatcher } from "../dispatcher.ts";

const NO_BYTES = new Uint8Array(0);
/**
 * So many empty chunks in a row are passed over. Then a read gives 0 bytes: a
 * stream that has nothing else must not keep the runtime from everything else.
 */
const MOST_EMPTY = 32;

// Streams to a channel

/**
 * What {@linkcode channelFrom} takes: a pair of byte streams, or one of them.
 * A `TransformStream`, a `CompressionStream`, a `Deno.Conn` and an open
 * `WebSocketStream` fit as they are.
 */
export interface ChannelStreams {
  /**
   * What the channel reads. Without it the channel is for writing only, and
   * its dispatcher gets no read event. Text in it, as a `WebSocketStream` may
   * bring, is an error.
   */
  readable?: ReadableStream<Uint8Array | string>;
  /** What the channel writes. Without it the channel is for reading only. */
  writable?: WritableStream<Uint8Array> | WritableStream<BufferSource>;
}

/**
 * Makes a dispatcher's channel of Web streams, and locks them: a child
 * process, a compression in between, a pipe to another part of the program.
 *
 * A write waits until the stream has taken it, so that backpressure reaches
 * the dispatcher. Closing the channel cancels the readable; it closes the
 * writable, or aborts it if a write had not yet ended. A `Deno.Conn` is a channel
 * already, and is given back as it is: its streams close the whole socket when
 * writing ends, and its peer loses what it has not read. A stream that its other
 * side aborts or cancels without saying why is a disconnect, which ends in
 * `handleClose()`; every other error goes to `handleError()`.
 *
 * A filter, such as a child process, may answer before it has taken all that it
 * is sent. A class that buffers what it sends then needs the
 * {@linkcode DispatcherOptions.role} `"client"`, to take the answers meanwhile.
 *
 * @param streams The readable, the writable, or both.
 * @returns The channel, for the constructor of a dispatcher.
 * @throws {TypeError} If there is neither, one is no stream, or one is locked.
 *
 * @example A child process as a dispatcher
 * ```ts
 * import { channelFrom, Dispatcher, loop } from "@asyncore/asyncore";
 * import { assertEquals } from "@std/assert";
 *
 * class Reader extends Dispatcher {
 *   text = "";
 *   readonly #decoder = new TextDecoder();
 *   override handleRead() {
 *     this.text += this.#decoder.decode(this.recv(), { stream: true });
 *   }
 * }
 *
 * const child = new Deno.Command(Deno.execPath(), {
 *   args: ["eval", "console.log('spam')"],
 *   stdout: "piped",
 * }).spawn();
 * const reader = new Reader(channelFrom({ readable: child.stdout }));
 * await loop();
 * await child.status;
 * assertEquals(reader.text, "spam\n");
 * ```
 */
export function channelFrom(streams: ChannelStreams): Channel {
  return isChannel(streams) ? streams : new StreamChannel(streams);
}

/** A connection of Deno's that has streams as well, which nobody has yet. */
function isChannel(
  streams: ChannelStreams,
): streams is ChannelStreams & Channel {
  checkMethods("streams", streams, []);
  const { read, write, close } = streams as Partial<Channel>;
  return [read, write, close].every((one) => typeof one === "function") &&
    !streams.readable?.locked && !streams.writable?.locked;
}

/** Streams that look like a socket. */
class StreamChannel implements Channel {
  readonly #reader: Reader | null;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array> | null;
  /** What was read and not yet delivered. */
  #rest: Uint8Array = NO_BYTES;
  #closed = false;
  /** How to end the operations in flight. */
  readonly #interrupts = new Set<(error: Error) => void>();
  #writing = false;
  #writeEnd: Promise<void> | null = null;

  constructor(streams: ChannelStreams) {
    checkMethods("streams", streams, []);
    const { readable, writable } = streams;
    if (readable === undefined && writable === undefined) {
      throw new TypeError("streams has neither a readable nor a writable");
    }
    if (readable) checkMethods("readable", readable, ["getReader"]);
    if (writable) checkMethods("writable", writable, ["getWriter"]);
    // Both or none: a failure leaves no lock behind.
    if (readable?.locked) throw new TypeError("The readable is locked already");
    this.#writer = (writable as WritableStream<Uint8Array>)?.getWriter() ??
      null;
    this.#reader = readable ? readerOf(readable) : null;
  }

  read(target: Uint8Array): Promise<number | null> {
    const reader = this.#reader;
    if (reader === null) return unsupported("readable");
    return this.#run("read", async () => {
      let skipped = 0;
      while (this.#rest.length === 0 && skipped++ < MOST_EMPTY) {
        checkOwned("A chunk of the readable", this.#rest);
        const { done, value } = await reader.next(target.length);
        if (done) return null;
        checkOwned("A chunk of the readable", value);
        this.#rest = value;
      }
      const length = Math.min(target.length, this.#rest.length);
      target.set(this.#rest.subarray(0, length));
      // What is consumed may be transferred.
      this.#rest = length < this.#rest.length
        ? this.#rest.subarray(length)
        : NO_BYTES;
      return length;
    });
  }

  write(data: Uint8Array): Promise<number> {
    const writer = this.#writer;
    if (writer === null) return unsupported("writable");
    return this.#run("write", async () => {
      // Whoever takes a chunk from a stream may keep it; `data` is only lent.
      this.#writing = true;
      await writer.write(new Uint8Array(data));
      this.#writing = false;
      return data.length;
    });
  }

  closeWrite(): Promise<void> {
    const writer = this.#writer;
    if (writer === null) return Promise.resolve();
    this.#writeEnd ??= this.#run("close the writable", () => writer.close());
    return this.#writeEnd;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const reason = new Deno.errors.Interrupted("The channel was closed");
    for (const interrupt of this.#interrupts) interrupt(reason);
    this.#interrupts.clear();
    this.#rest = NO_BYTES;
    // How that ends concerns nobody any more.
    quietly(() => this.#reader?.cancel(reason));
    const writer = this.#writer;
    if (this.#writing) quietly(() => writer?.abort(reason));
    else if (this.#writeEnd === null) quietly(() => writer?.close());
  }

  /** Runs an operation which settles at the latest with `close()`. */
  #run<T>(action: string, operation: () => Promise<T>): Promise<T> {
    if (this.#closed) {
      const message = `Cannot ${action}: the channel is closed`;
      return Promise.reject(new Deno.errors.BadResource(message));
    }
    return new Promise((resolve, reject) => {
      this.#interrupts.add(reject);
      operation().then(
        (result) => {
          this.#interrupts.delete(reject);
          resolve(result);
        },
        (error) => {
          this.#interrupts.delete(reject);
          reject(errorOf(action, error));
        },
      );
    });
  }
}

/** Reads the chunks of a stream. */
interface Reader {
  /** The next chunk; `size` is how many bytes are wanted, not a limit. */
  next(size: number): Promise<ReadableStreamReadResult<Uint8Array>>;
  cancel(reason: Error): Promise<void>;
}

function readerOf(readable: ReadableStream): Reader {
  try {
    return new ByobReader(readable.getReader({ mode: "byob" }));
  } catch {
    // Not a byte stream.
  }
  const reader = readable.getReader();
  return {
    next: () => reader.read(),
    cancel: (reason) => reader.cancel(reason),
  };
}

/**
 * Reads a byte stream into one buffer of its own, again and again. That saves
 * an allocation for each chunk, and no more is read than was asked for. The
 * target of `read()` will not do: it would be detached.
 */
class ByobReader implements Reader {
  readonly #reader: ReadableStreamBYOBReader;
  #buffer = new ArrayBuffer(0);

  constructor(reader: ReadableStreamBYOBReader) {
    this.#reader = reader;
  }

  async next(size: number): Promise<ReadableStreamReadResult<Uint8Array>> {
    const buffer = this.#buffer.byteLength < size
      ? new ArrayBuffer(size)
      : this.#buffer;
    const view = new Uint8Array(buffer, 0, size);
    const result = await this.#reader.read(view);
    if (result.value) this.#buffer = result.value.buffer;
    return result;
  }

  cancel(reason: Error): Promise<void> {
    return this.#reader.cancel(reason);
  }
}

function unsupported(direction: keyof ChannelStreams): Promise<never> {
  const message = `The channel has no ${direction} stream`;
  return Promise.reject(new Deno.errors.NotSupported(message));
}

/**
 * Checks a chunk. Whoever gave it may have transferred its buffer since: then its
 * bytes are gone.
 *
 * @throws {TypeError} If it holds no bytes.
 */
function checkOwned(name: string, chunk: unknown): asserts chunk is Uint8Array {
  checkBytes(name, chunk);
  if (!((chunk as Uint8Array).buffer as ArrayBuffer).detached) return;
  throw new TypeError(`${name} was transferred: its bytes are gone`);
}

/** What a stream failed with, as an error that says what it means. */
function errorOf(action: string, reason: unknown): Error {
  const aborted = reason instanceof Error && nameIn(reason) === "AbortError";
  if (reason instanceof Error && !aborted) return reason;
  if (reason !== undefined && !aborted) {
    const message = `Cannot ${action}: the stream failed: ${showValue(reason)}`;
    return new Error(message, { cause: reason });
  }
  const message = `Cannot ${action}: the other side of the stream gave it up`;
  const Disconnect = action === "read"
    ? Deno.errors.ConnectionAborted
    : Deno.errors.BrokenPipe;
  return Object.assign(new Disconnect(message), { cause: reason });
}

function nameIn(error: Error): unknown {
  try {
    return error.name;
  } catch {
    return undefined; // A getter of an error that the system has not made.
  }
}

// A dispatcher to streams

/** The streams of a dispatcher: see {@linkcode toStreams}. */
export interface StreamPair {
  /** What arrives: a byte stream. */
  readonly readable: ReadableStream<Uint8Array<ArrayBuffer>>;
  /** What is sent. */
  readonly writable: WritableStream<Uint8Array>;
}

/** Options of {@linkcode toStreams}. */
export interface ToStreamsOptions {
  /**
   * How many bytes may wait in each direction. When as many have arrived and
   * nobody reads them, the dispatcher stops reading, and the kernel makes the
   * peer wait. When as many were written and the peer does not take them, the
   * writer waits.
   *
   * @default {65_536}
   */
  highWaterMark?: number;
}

/** A large chunk is sent in pieces of this size, in bytes. */
const PIECE = 64 * 1024;

/** The connections that have their streams. */
const taken = new WeakSet<Endpoint>();

/** What {@linkcode toStreams} puts in the place of a dispatcher's own. */
type Overrides = Pick<
  Dispatcher,
  | "readable"
  | "handleConnectEvent"
  | "handleRead"
  | "handleEnd"
  | "handleClose"
  | "handleError"
>;

/**
 * Makes a pair of Web streams of a dispatcher that is connected or connecting.
 * Bytes flow only while its map is looped, so run {@linkcode loop} beside
 * whatever uses the streams.
 *
 * The streams take over what the dispatcher reads, so its class must not
 * override `readable()`, `handleRead()` or `handleReadEvent()`. Its
 * `handleConnect()` runs before any byte flows, and its `handleClose()` at the
 * end, as ever; the peer's end and errors reach the streams instead of
 * `handleEnd()` and `handleError()`. When the dispatcher is closed, it has its
 * hooks back and can make another socket.
 *
 * - The peer's end of stream closes the readable, when all before it is read.
 *   Writing goes on.
 * - Closing the writable sends the rest, and then ends the writing direction
 *   of the connection. Reading goes on.
 * - The connection ends when both have ended. So end both: a connection whose
 *   writable nobody closes stays open.
 * - Cancelling the readable drops what still arrives. Aborting the writable
 *   ends the connection at once, and drops what was not sent.
 * - When the connection fails or the dispatcher is closed, both streams fail,
 *   with the reason or a `Deno.errors.Interrupted`; the readable not before
 *   what had arrived is read.
 * - `write()` settles when fewer than {@linkcode ToStreamsOptions.highWaterMark}
 *   bytes are on their way; until then the chunk must not change. A chunk that is no `Uint8Array` is a `TypeError`,
 *   and aborts the writable.
 *
 * @param dispatcher Whose connection it is.
 * @param options The high water mark.
 * @returns The readable and the writable.
 * @throws {TypeError} If `dispatcher` is no `Dispatcher`, reads by itself, has
 * streams already or is for datagrams.
 * @throws {RangeError} If `highWaterMark` is not a whole number, 0 or more.
 * @throws {Error} If it is neither connected nor connecting.
 *
 * @example The lines that a server sends
 * ```ts
 * import { Dispatcher, loop, toStreams } from "@asyncore/asyncore";
 * import { assertEquals } from "@std/assert";
 * import { TextLineStream } from "@std/streams";
 *
 * class Server extends Dispatcher {
 *   override async handleAccepted(conn: Deno.Conn) {
 *     this.close(); // one client is enough
 *     await conn.write(new TextEncoder().encode("spam\neggs\n"));
 *     conn.close();
 *   }
 * }
 *
 * const server = new Server();
 * server.createSocket();
 * server.bind({ hostname: "127.0.0.1", port: 0 });
 * server.listen();
 *
 * const client = new Dispatcher();
 * client.createSocket();
 * client.connect(server.addr!);
 * const { readable, writable } = toStreams(client);
 * const lines = readable
 *   .pipeThrough(new TextDecoderStream())
 *   .pipeThrough(new TextLineStream());
 *
 * const [received] = await Promise.all([
 *   Array.fromAsync(lines),
 *   writable.close(), // nothing to say
 *   loop(),
 * ]);
 * assertEquals(received, ["spam", "eggs"]);
 * ```
 */
export function toStreams(
  dispatcher: Dispatcher,
  options: ToStreamsOptions = {},
): StreamPair {
  if (!(dispatcher instanceof Dispatcher)) {
    const got = showValue(dispatcher);
    throw new TypeError(`dispatcher must be a Dispatcher, got ${got}`);
  }
  checkOptions(options);
  const { highWaterMark = 64 * 1024 } = options;
  checkInteger("highWaterMark", highWaterMark, 0, Number.MAX_SAFE_INTEGER);
  const endpoint = dispatcher[CONNECTION]("make streams");
  if (endpoint.closed) {
    throw new Error(`Cannot make streams: ${dispatcher} is closed`);
  }
  if (endpoint.phase === "connected" && !dispatcher.connected) {
    // Datagrams are no stream of bytes, though the engine takes them for one.
    throw new TypeError(`Cannot make streams: ${dispatcher} has no connection`);
  }
  if (taken.has(endpoint)) {
    throw new TypeError(`Cannot make streams: ${dispatcher} has its streams`);
  }
  for (const name of ["readable", "handleRead", "handleReadEvent"] as const) {
    if (ownMethods.has(dispatcher[name])) continue;
    throw new TypeError(
      `Cannot make streams: ${dispatcher} has its own ${name}(), ` +
        "but the streams take all that arrives",
    );
  }
  taken.add(endpoint);
  const { readable, writable } = new Conversation(
    dispatcher,
    endpoint,
    highWaterMark,
  );
  return { readable, writable };
}

/** A connection as a pair of streams. */
class Conversation implements StreamPair {
  readonly readable: ReadableStream<Uint8Array<ArrayBuffer>>;
  readonly writable: WritableStream<Uint8Array>;

  readonly #dispatcher: Dispatcher;
  readonly #endpoint: Endpoint;
  readonly #highWaterMark: number;
  #source!: ReadableByteStreamController;
  #sink!: WritableStreamDefaultController;
  readonly #connected = Promise.withResolvers<void>();
  readonly #writingDone = Promise.withResolvers<void>();
  /** The readable has room. */
  #wanted = false;
  /** Bytes or the end are just being taken. */
  #receiving = false;
  /** The readable was cancelled: what arrives is dropped. */
  #dropping = false;
  /** Nothing will be put into the readable any more. */
  #readEnded = false;
  /** The writable is closed, or about to be, whatever fails now. */
  #writeEnding = false;
  /** Nothing more will be written. */
  #writeEnded = false;
  /** The peer has ended: what follows is up to the writable. */
  #halfOpen = false;
  #failure: { error: unknown } | null = null;
  #stopWaiting = () => {};

  constructor(dispatcher: Dispatcher, endpoint: Endpoint, mark: number) {
    this.#dispatcher = dispatcher;
    this.#endpoint = endpoint;
    this.#highWaterMark = mark;
    // In handleConnect() the connection stands, though `connected` is false.
    if (endpoint.channel !== null) this.#connected.resolve();
    this.readable = new ReadableStream({
      type: "bytes",
      start: (controller) => void (this.#source = controller),
      pull: () => this.#pull(),
      cancel: () => this.#cancel(),
    }, { highWaterMark: mark });
    this.writable = new WritableStream({
      start: (controller) => {
        this.#sink = controller;
        const { signal } = controller;
        // The sink's abort() would come only after a write in flight.
        signal.addEventListener("abort", () => this.#abort(signal.reason));
        return this.#connected.promise;
      },
      write: (chunk) => this.#write(chunk),
      close: () => this.#close(),
    });
    this.#takeOver();
  }

  #takeOver(): void {
    const dispatcher = this.#dispatcher;
    const endpoint = this.#endpoint;
    const { handleConnectEvent, handleClose } = dispatcher;
    const restore = override(dispatcher, {
      readable: () => this.#wanted || this.#dropping,
      handleConnectEvent: async () => {
        try {
          await handleConnectEvent.call(dispatcher);
        } catch (error) {
          // It is connected nevertheless; what else is thrown fails the streams.
          if (error instanceof ExitNow) this.#connected.resolve();
          throw error;
        }
        this.#connected.resolve();
      },
      handleRead: () => this.#receive(),
      handleEnd: () => this.#onPeerEnd(),
      handleClose: () => this.#onClose(() => handleClose.call(dispatcher)),
      handleError: (error) => {
        if (!this.#canTell(error)) endpoint.reactor.report(error);
        this.#fail(error);
        endpoint.hooks.close();
      },
    });
    endpoint.onEnd = () => {
      restore();
      this.#onEnd();
    };
    endpoint.waitsForReader = true;
    if (!endpoint.joined) return;
    // What the class cares for is looked at when it joins.
    endpoint.reactor.leave(endpoint);
    endpoint.reactor.join(endpoint);
  }

  // What arrives

  #pull(): void {
    if (this.#failure) this.#failReadable();
    else if (!this.#wanted) {
      this.#wanted = true;
      // Within a pass, the next one asks anyway.
      if (!this.#receiving) this.#endpoint.reactor.wake();
    }
  }

  #receive(): void {
    this.#receiving = true;
    try {
      const request = this.#source.byobRequest;
      if (this.#dropping || request === null) this.#enqueue();
      else {
        const { buffer, byteOffset, byteLength } = request.view!;
        const target = new Uint8Array(buffer, byteOffset, byteLength);
        const length = this.#endpoint.receiveInto(target);
        this.#wanted = false;
        if (length > 0) request.respond(length);
      }
    } finally {
      this.#receiving = false;
    }
  }

  #enqueue(): void {
    const data = this.#endpoint.receive(Infinity) as Uint8Array<ArrayBuffer>;
    this.#wanted = false;
    if (data.length > 0 && !this.#dropping) this.#source.enqueue(data);
  }

  #onPeerEnd(): void {
    this.#halfOpen = true;
    this.#dropping = false;
    if (this.#readEnded) return;
    this.#readEnded = true;
    this.#source.close();
    this.#source.byobRequest?.respond(0);
  }

  #cancel(): void {
    if (this.#failure || this.#readEnded) return;
    this.#readEnded = this.#dropping = true;
    this.#endpoint.reactor.wake();
    this.#endIfDone();
  }

  // What is sent

  async #write(chunk: Uint8Array): Promise<void> {
    try {
      this.#checkChunk(chunk);
      const { length } = chunk;
      for (let at = 0; at < length; at += PIECE) {
        this.#checkChunk(chunk);
        await this.#send(chunk.subarray(at, at + PIECE));
      }
    } catch (error) {
      this.#endWritable();
      throw error;
    }
  }

  #checkChunk(chunk: unknown): void {
    try {
      checkOwned("A chunk of the writable", chunk);
    } catch (error) {
      this.#abort(error);
      throw error;
    }
  }

  async #send(piece: Uint8Array): Promise<void> {
    const { outbound } = this.#endpoint;
    this.#endpoint.buffer(piece);
    outbound.start();
    if (outbound.pending >= this.#highWaterMark) await this.#sent();
    this.#checkSending();
  }

  async #close(): Promise<void> {
    const endpoint = this.#endpoint;
    try {
      await this.#sent();
      this.#checkSending();
      this.#writeEnding = true;
      await endpoint.channel?.closeWrite?.();
      if (!endpoint.closed) endpoint.shutdownWrite();
    } finally {
      this.#endWritable();
    }
  }

  /** All that was accepted has gone out, or none of it will. */
  #sent(): Promise<void> {
    return new Promise((resolve) => {
      this.#stopWaiting = resolve;
      this.#endpoint.outbound.done().then(resolve);
    });
  }

  /** Throws the reason, if nothing can be sent any more. */
  #checkSending(): void {
    const { outbound } = this.#endpoint;
    if (this.#failure === null && !outbound.failed) return;
    throw (this.#failure ?? outbound).error;
  }

  #endWritable(): void {
    this.#writeEnding = this.#writeEnded = true;
    this.#writingDone.resolve();
    this.#endIfDone();
  }

  /** The listener of a signal calls this, too: nobody would catch its errors. */
  #abort(reason: unknown): void {
    this.#fail(reason);
    const { reactor } = this.#endpoint;
    reactor.outside(() => void reactor.follow(this.#dispatcher.abort()));
    this.#endpoint.abort();
  }

  // The end

  #endIfDone(): void {
    if (!this.#readEnded || !this.#writeEnded || this.#halfOpen) return;
    if (this.#endpoint.closed) return;
    const isAsync = this.#endpoint.reactor.follow(this.#dispatcher.close());
    if (!isAsync) this.#endpoint.closeAnyway();
  }

  /** The peer has ended, or the connection is broken. */
  #onClose(handleClose: () => void | Promise<void>): void | Promise<void> {
    const { closeReason } = this.#endpoint;
    if (closeReason) this.#fail(closeReason);
    // It comes at the peer's end, or when both sides have ended.
    const isEnd = this.#receiving || this.#writeEnded;
    if (!isEnd || this.#failure) return handleClose();
    this.#onPeerEnd();
    if (this.#writeEnded) return handleClose();
    return this.#writingDone.promise.then(() => {
      if (!this.#endpoint.closed) return handleClose();
    });
  }

  #onEnd(): void {
    if (!this.#readEnded || !this.#writeEnded) {
      const message = `${textOf(this.#dispatcher)} was closed`;
      this.#fail(new Deno.errors.Interrupted(message));
    }
    this.#writingDone.resolve();
    this.#stopWaiting();
  }

  /** Whether one of the streams tells of the error, or has told. */
  #canTell(error: unknown): boolean {
    if (this.#failure) return this.#failure.error === error;
    if (!this.#readEnded || !this.#writeEnding) return true;
    const { outbound } = this.#endpoint;
    return outbound.failed && error === outbound.error;
  }

  #fail(error: unknown): void {
    if (this.#failure) return;
    this.#failure = { error };
    // An abort would take it for an error of before.
    if (!this.#sink.signal.aborted) this.#sink.error(error);
    this.#connected.resolve();
    this.#failReadable();
  }

  /** Not before what had arrived is read: the error would throw it away. */
  #failReadable(): void {
    if (this.#readEnded) return;
    if (this.#source.desiredSize! < this.#highWaterMark) return;
    this.#readEnded = true;
    this.#source.error(this.#failure!.error);
  }
}

/** Gives an object other methods; the returned function gives it its own back. */
function override(dispatcher: Dispatcher, methods: Overrides): () => void {
  const own = Object.keys(methods).map((name) =>
    [name, Object.getOwnPropertyDescriptor(dispatcher, name)] as const
  );
  Object.assign(dispatcher, methods);
  return () => {
    for (const [name, descriptor] of own) {
      if (descriptor) Object.defineProperty(dispatcher, name, descriptor);
      else Reflect.deleteProperty(dispatcher, name);
    }
  };
}
