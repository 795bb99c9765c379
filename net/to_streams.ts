/**
 * A dispatcher as Web streams: {@linkcode toStreams}.
 *
 * @module
 */

import { checkInteger, checkOwned, showValue } from "../core/arguments.ts";
import type { Connection } from "../core/connection.ts";
import { RETRY_AFTER, sendPiece } from "../core/gate.ts";
import { libraryMethods } from "../core/interest.ts";
import { textOf } from "../core/log.ts";
import { checkOptions, type OptionNames } from "../core/option_names.ts";
import { ExitNow } from "../core/reactor.ts";
import { CONNECTION } from "../core/symbols.ts";
import { Dispatcher, DispatcherWithSend } from "../dispatcher.ts";

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
  highWaterMark?: number | undefined;
}

const STREAM_OPTIONS: OptionNames<ToStreamsOptions> = { highWaterMark: true };

/**
 * A large chunk is sent in pieces of this many bytes. Larger pieces pass the
 * high-water mark by more, smaller ones cost more writes. The size is that of
 * the default mark, so that by default at most twice the mark is on its way.
 */
const PIECE = 64 * 1024;

/** The connections that have their streams. */
const taken = new WeakSet<Connection>();

/** The methods of a dispatcher that {@linkcode toStreams} replaces. */
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
 * - What is written goes through the `send()` of a class that overrides it, piece
 *   by piece, and waits while its own `writable()` says no.
 * - `write()` settles when fewer than {@linkcode ToStreamsOptions.highWaterMark}
 *   bytes are on their way; until then the chunk must not change. A chunk that
 *   is no `Uint8Array` is a `TypeError`, and aborts the writable.
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
  checkOptions(options, STREAM_OPTIONS);
  const { highWaterMark = 64 * 1024 } = options;
  checkInteger("highWaterMark", highWaterMark, 0, Number.MAX_SAFE_INTEGER);
  const connection = dispatcher[CONNECTION]("make streams");
  if (connection.closed) {
    throw new Error(`Cannot make streams: ${dispatcher} is closed`);
  }
  if (connection.phase === "connected" && !dispatcher.connected) {
    // Datagrams are no stream of bytes, though the engine takes them for one.
    throw new TypeError(`Cannot make streams: ${dispatcher} has no connection`);
  }
  if (taken.has(connection)) {
    throw new TypeError(`Cannot make streams: ${dispatcher} has its streams`);
  }
  for (const name of ["readable", "handleRead", "handleReadEvent"] as const) {
    if (libraryMethods.has(dispatcher[name])) continue;
    throw new TypeError(
      `Cannot make streams: ${dispatcher} has its own ${name}(), ` +
        "but the streams take all that arrives",
    );
  }
  taken.add(connection);
  const { readable, writable } = new Conversation(
    dispatcher,
    connection,
    highWaterMark,
  );
  return { readable, writable };
}

/** A connection as a pair of streams. */
class Conversation implements StreamPair {
  readonly readable: ReadableStream<Uint8Array<ArrayBuffer>>;
  readonly writable: WritableStream<Uint8Array>;

  readonly #dispatcher: Dispatcher;
  readonly #connection: Connection;
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

  constructor(dispatcher: Dispatcher, connection: Connection, mark: number) {
    this.#dispatcher = dispatcher;
    this.#connection = connection;
    this.#highWaterMark = mark;
    // In handleConnect() the connection stands, though `connected` is false.
    if (connection.checked !== null) this.#connected.resolve();
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
    const connection = this.#connection;
    const { handleConnectEvent, handleClose } = dispatcher;
    const restore = override(dispatcher, {
      readable: () => this.#wanted || this.#dropping,
      handleConnectEvent: async () => {
        try {
          await handleConnectEvent.call(dispatcher);
        } catch (error) {
          // After an ExitNow the connection stands; other errors fail the streams.
          if (error instanceof ExitNow) this.#connected.resolve();
          throw error;
        }
        this.#connected.resolve();
      },
      handleRead: () => this.#receive(),
      handleEnd: () => this.#onPeerEnd(),
      handleClose: () => this.#onClose(() => handleClose.call(dispatcher)),
      handleError: (error) => {
        if (!this.#canTell(error)) connection.reactor.report(error);
        this.#fail(error);
        connection.hooks.close();
      },
    });
    connection.whenEnded(() => {
      restore();
      this.#onEnd();
    });
    connection.hasStreams = true;
    if (!connection.joined) return;
    // The engine looks at the methods of a dispatcher when it joins.
    connection.reactor.leave(connection);
    connection.reactor.join(connection);
  }

  // What arrives

  #pull(): void {
    if (this.#failure) this.#failReadable();
    else if (!this.#wanted) {
      this.#wanted = true;
      // Within a pass, the next one asks anyway.
      if (!this.#receiving) this.#connection.reactor.wake();
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
        const length = this.#connection.receiveInto(target);
        this.#wanted = false;
        if (length > 0) request.respond(length);
      }
    } finally {
      this.#receiving = false;
    }
  }

  #enqueue(): void {
    const data = this.#connection.receive(Infinity) as Uint8Array<ArrayBuffer>;
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
    this.#connection.reactor.wake();
    this.#endIfDone();
  }

  // What is sent

  async #write(chunk: Uint8Array): Promise<void> {
    try {
      this.#checkChunk(chunk);
      const { length } = chunk;
      for (let at = 0; at < length; at += PIECE) {
        this.#checkChunk(chunk); // It may be transferred meanwhile.
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
    const connection = this.#connection;
    const dispatcher = this.#dispatcher;
    if (
      dispatcher instanceof DispatcherWithSend &&
      dispatcher.send !== DispatcherWithSend.prototype.send
    ) await this.#sendThrough(dispatcher, piece);
    else {
      connection.buffer(piece);
      connection.sendThrough();
    }
    connection.writer.start();
    if (connection.pending >= this.#highWaterMark) await this.#sent();
    this.#checkSending();
  }

  /** Sends a piece through the overridden `send()` of a class that buffers in it. */
  async #sendThrough(
    dispatcher: DispatcherWithSend,
    piece: Uint8Array,
  ): Promise<void> {
    for (let at = 0; at < piece.length;) {
      this.#checkSending();
      const taken = sendPiece(dispatcher, piece.subarray(at));
      at += taken;
      if (taken === 0) await this.#pause();
    }
  }

  /** Waits for a moment, or until the connection ends. */
  #pause(): Promise<void> {
    return new Promise((resolve) => {
      this.#stopWaiting = resolve;
      this.#connection.startTimer(RETRY_AFTER, resolve);
    });
  }

  async #close(): Promise<void> {
    const connection = this.#connection;
    try {
      await this.#sent();
      this.#checkSending();
      this.#writeEnding = true;
      try {
        await connection.checked?.channel.closeWrite?.();
      } finally { // If that fails, there is nothing more to be written, either.
        if (!connection.closed) connection.shutdownWrite();
      }
    } finally {
      this.#endWritable();
    }
  }

  /** Waits until all accepted bytes are sent, or sending has failed. */
  #sent(): Promise<void> {
    return new Promise((resolve) => {
      this.#stopWaiting = resolve;
      this.#connection.sent().then(resolve);
    });
  }

  /** Throws the reason, if nothing can be sent any more. */
  #checkSending(): void {
    const { writer } = this.#connection;
    if (this.#failure === null && !writer.failed) return;
    throw (this.#failure ?? writer).error;
  }

  #endWritable(): void {
    this.#writeEnding = this.#writeEnded = true;
    this.#writingDone.resolve();
    this.#endIfDone();
  }

  /** Never throws: the listener of a signal calls this, too. */
  #abort(reason: unknown): void {
    this.#fail(reason);
    const { reactor } = this.#connection;
    reactor.outside(() => void reactor.follow(this.#dispatcher.abort()));
    this.#connection.abort();
  }

  // The end

  #endIfDone(): void {
    if (!this.#readEnded || !this.#writeEnded || this.#halfOpen) return;
    if (this.#connection.closed) return;
    const isAsync = this.#connection.reactor.follow(this.#dispatcher.close());
    if (!isAsync) this.#connection.closeAnyway();
  }

  /** The peer has ended, or the connection is broken. */
  #onClose(handleClose: () => void | Promise<void>): void | Promise<void> {
    const { closeReason } = this.#connection;
    if (closeReason) this.#fail(closeReason);
    // handleClose() comes at the peer's end, or when both sides have ended.
    const isEnd = this.#receiving || this.#writeEnded;
    if (!isEnd || this.#failure) return handleClose();
    this.#onPeerEnd();
    if (this.#writeEnded) return handleClose();
    return this.#writingDone.promise.then(() => {
      if (!this.#connection.closed) return handleClose();
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

  /** Whether the user of the streams hears of the error from one of them. */
  #canTell(error: unknown): boolean {
    if (this.#failure) return this.#failure.error === error;
    if (!this.#readEnded || !this.#writeEnding) return true;
    const { writer } = this.#connection;
    return writer.failed && error === writer.error;
  }

  #fail(error: unknown): void {
    if (this.#failure) return;
    this.#failure = { error };
    // A writable that is being aborted would take it for an earlier error.
    if (!this.#sink.signal.aborted) this.#sink.error(error);
    this.#connected.resolve();
    this.#failReadable();
  }

  /** Waits until the arrived bytes are read: an error would drop them. */
  #failReadable(): void {
    if (this.#readEnded) return;
    if (this.#source.desiredSize! < this.#highWaterMark) return;
    this.#readEnded = true;
    this.#source.error(this.#failure!.error);
  }
}

/** Replaces methods of an object; the returned function restores its own. */
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
