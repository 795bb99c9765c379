/**
 * Conversations: {@linkcode AsyncChat} cuts what arrives at terminators and
 * queues what is to be sent, as Python's `asynchat` does.
 *
 * @module
 */

import { checkBytes, checkInteger, toBytes } from "../core/arguments.ts";
import { HighWaterMark } from "../core/backpressure.ts";
import type { Acceptor, Channel } from "../core/channel.ts";
import type { Connection } from "../core/connection.ts";
import {
  type StartTlsOptions,
  WITH_SEND_OPTIONS,
} from "../core/dispatcher_options.ts";
import type { HookResult } from "../core/entry.ts";
import { type GateKind, sendPiece } from "../core/gate.ts";
import { libraryMethods } from "../core/interest.ts";
import { textOf } from "../core/log.ts";
import { nameOptions } from "../core/option_names.ts";
import { logLimited } from "../core/own_lines.ts";
import { endWithoutTls, refuseTls } from "../core/start_tls.ts";
import {
  CONNECTION,
  CURRENT,
  ENTRY,
  GATE,
  HAND_OVER,
  HAS_OUTPUT,
  INITIATES,
  SEND_THROUGH,
  WAKE,
} from "../core/symbols.ts";
import { isPromise } from "../core/thenable.ts";
import { Dispatcher, type DispatcherWithSendOptions } from "../dispatcher.ts";
import { Collector } from "./collector.ts";
import { Outbox } from "./outbox.ts";
import type { ProducerLike } from "./producer.ts";

const NO_BYTES = new Uint8Array(0);

/** Options of an {@linkcode AsyncChat}. */
export interface AsyncChatOptions extends DispatcherWithSendOptions {
  /**
   * The most bytes of a message: see {@linkcode AsyncChat.maxLength}.
   *
   * @default {65_536}
   */
  maxLength?: number | undefined;
}

/**
 * A dispatcher for protocols that talk in lines, or in blocks of known length,
 * or in both by turns. Override {@linkcode AsyncChat.foundTerminator}, and take
 * there what has arrived, by {@linkcode AsyncChat.takeText} or
 * {@linkcode AsyncChat.takeData}.
 *
 * @example Answer each line in capitals
 * ```ts
 * import { AsyncChat, type Channel, Dispatcher, loop } from "@asyncore/asyncore";
 * import { assertEquals } from "@std/assert";
 *
 * class Shouter extends AsyncChat {
 *   constructor(conn: Channel) {
 *     super(conn);
 *     this.setTerminator("\r\n");
 *   }
 *   override foundTerminator() {
 *     this.push(`${this.takeText().toUpperCase()}\r\n`);
 *   }
 * }
 *
 * const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * const { port } = listener.addr;
 * const client = await Deno.connect({ port });
 * const chat = new Shouter(await listener.accept());
 * await client.write(new TextEncoder().encode("spam\r\neggs\r\n"));
 * await client.closeWrite();
 * await loop();
 *
 * assertEquals(await new Response(client.readable).text(), "SPAM\r\nEGGS\r\n");
 * listener.close();
 * ```
 */
export class AsyncChat extends Dispatcher {
  /** The most bytes to take from the connection at a time. */
  acInBufferSize = 65_536;
  /**
   * While so many bytes are on their way, producers are not asked for more. An
   * overridden `send()` gets at most so many bytes a call.
   */
  acOutBufferSize = 65_536;

  /** The connection that the following fields belong to. */
  #connection: Connection | null = null;
  readonly #input: Collector;
  readonly #output: Outbox;

  /**
   * Makes a chat; with a channel it joins the map at once.
   *
   * @param channel As for {@linkcode Dispatcher}.
   * @param options As for {@linkcode Dispatcher}, and the limits.
   * @throws {TypeError} If the channel lacks a method or an option is wrong.
   * @throws {RangeError} If a number is out of range.
   * @throws {Error} As {@linkcode Dispatcher.setSocket}.
   */
  constructor(
    channel: Channel | Acceptor | null = null,
    options: AsyncChatOptions = {},
  ) {
    const mark = new HighWaterMark(options?.highWaterMark);
    const { maxLength = 64 * 1024 } = options ?? {};
    checkInteger("maxLength", maxLength, 1);
    super(channel, options);
    this.#input = new Collector(this, maxLength);
    this.#output = new Outbox(this, mark, this.#input);
  }

  // What arrives

  /**
   * Sets what ends a message: text (as UTF-8) or bytes to look for, a number of
   * bytes, or nothing (`null`, or 0 as in Python): then all is collected as it
   * comes. It may change at any time, best in
   * {@linkcode AsyncChat.foundTerminator}, and holds for all that has not been
   * collected, received or not. A connection that follows a `close()` begins
   * with the terminator that was set last.
   *
   * @param terminator The terminator. The caller may change bytes afterwards.
   * @throws {TypeError} If it is of another type.
   * @throws {RangeError} If it is empty, negative or fractional.
   */
  setTerminator(terminator: string | Uint8Array | number | null): void {
    const connection = this.#begin();
    const isDue = this.#input.setTerminator(terminator);
    // Before the connection stands, no hook of it may run.
    if (isDue && connection?.checked) connection.wake();
  }

  /**
   * The terminator: of bytes a copy, of a number of bytes how many are still to
   * come.
   */
  getTerminator(): string | Uint8Array | number | null {
    this.#begin();
    return this.#input.terminator;
  }

  /**
   * The most bytes of a message: that arrive without a terminator that is looked
   * for, or that wait for {@linkcode AsyncChat.takeData}. Beyond it,
   * {@linkcode AsyncChat.handleOverflow} runs. It may change at any time, as the
   * terminator does: a command is shorter than what follows it.
   *
   * @default {65_536}
   */
  get maxLength(): number {
    return this.#input.maxLength;
  }
  set maxLength(bytes: number) {
    this.#input.maxLength = checkInteger("maxLength", bytes, 1);
  }

  /**
   * Bytes have arrived, none of them part of a terminator. Collects a copy of
   * them for {@linkcode AsyncChat.takeData}. Override it to use them as they
   * come.
   *
   * @param data The bytes, to keep or to change: they will not be looked at
   * again. Other pieces lie in the same `data.buffer`, so copy what is to be
   * kept for long. Transferring that buffer is an error if more bytes lie in
   * it; transfer `data.slice()`.
   * @throws {TypeError} If `data` is not a `Uint8Array`.
   */
  collectIncomingData(data: Uint8Array): HookResult {
    checkBytes("data", data);
    const connection = this.#begin();
    const entry = this[ENTRY];
    // A hook of the former connection must not add to what this one collects.
    if (entry !== null && entry !== entry.ofRunningHook) return;
    if (this.#input.keep(data)) connection?.wake();
  }

  /**
   * Takes what was collected since it was last taken, at any time, also in
   * `handleClose()`. A new connection begins with none.
   *
   * @example Blocks, each behind a line with its length
   * ```ts
   * import { AsyncChat, loop } from "@asyncore/asyncore";
   * import { memoryPair } from "@asyncore/asyncore/testing";
   * import { assertEquals } from "@std/assert";
   *
   * const [conn, peer] = memoryPair();
   * const chat = new AsyncChat(conn);
   * const blocks: Uint8Array[] = [];
   * chat.setTerminator("\n");
   * chat.foundTerminator = () => {
   *   const isLength = chat.getTerminator() === "\n";
   *   if (!isLength) blocks.push(chat.takeData());
   *   chat.setTerminator(isLength ? Number(chat.takeText()) : "\n");
   * };
   * await peer.write(new TextEncoder().encode("4\nspam2\nab"));
   * peer.close();
   * await loop();
   *
   * assertEquals(blocks.map(String), ["115,112,97,109", "97,98"]);
   * ```
   *
   * @returns The bytes, in an array of the caller's own.
   */
  takeData(): Uint8Array<ArrayBuffer> {
    this.#begin();
    return this.#input.takeData();
  }

  /**
   * {@linkcode AsyncChat.takeData} as text, of UTF-8: wrong bytes become U+FFFD,
   * and a byte order mark stays. Before the message is complete, or the peer has
   * ended its side, an incomplete letter is left for the next call.
   *
   * @returns The text; the empty one if nothing was collected.
   */
  takeText(): string {
    const connection = this.#begin();
    const input = this.#input;
    return input.takeText(connection !== null && isAtEnd(connection, input));
  }

  /**
   * What was collected is complete: take it by {@linkcode AsyncChat.takeText} or
   * {@linkcode AsyncChat.takeData}. Override it.
   */
  foundTerminator(): HookResult {
    throw new Error("foundTerminator() must be overridden");
  }

  /**
   * {@linkcode AsyncChat.maxLength} bytes were collected, and more follow. It
   * also runs as soon as a larger number is the terminator of a class that does
   * not override `collectIncomingData()`. By default that is logged, and the
   * connection is over: `handleClose()` runs. After an override that does not
   * close, what it did not take is dropped, and the rest is a message of its own.
   */
  handleOverflow(): HookResult {
    const reason = this.#input.overflowReason;
    const text = (self: string) => `closing ${self}: ${reason}`;
    logLimited(this, { type: "error", kind: "overflow", text });
    this[CURRENT]?.closeBecause(new RangeError(reason));
  }

  /**
   * Cuts received bytes into messages. After an error in a hook that did not
   * close the connection, it goes on behind the bytes that the hook was given.
   */
  override handleRead(): HookResult {
    const connection = this.#begin();
    if (this.#input.isDone) {
      const data = receive(this);
      if (data.length === 0 || this.#output.closesWhenDone) return;
      this.#input.feed(data);
    }
    return this.#parse(connection!);
  }

  /** Forgets what belongs to a former connection. */
  #begin(): Connection | null {
    const connection = this[CURRENT];
    if (connection === this.#connection) return connection;
    this.#connection = connection;
    this.#input.restart();
    this.#output.restart();
    return connection;
  }

  /** Calls hook after hook until no input is left, or a hook is async. */
  #parse(connection: Connection): void | Promise<void> {
    const input = this.#input;
    try {
      while (!connection.closed) {
        if (input.hasInput && this.#output.mustPause(connection)) {
          this.#output.watch(connection); // To go on.
          return;
        }
        if (input.isDone) {
          input.feed(NO_BYTES); // An idle connection keeps no large buffer.
          return;
        }
        const result = input.next(connection);
        if (isPromise(result)) return this.#parseAfter(connection, result);
      }
    } catch (error) {
      connection.wake(); // To go on, if it stays open.
      throw error;
    }
  }

  async #parseAfter(
    connection: Connection,
    result: PromiseLike<unknown>,
  ): Promise<void> {
    try {
      await result;
    } catch (error) {
      connection.wake();
      throw error;
    }
    return this.#parse(connection);
  }

  // What is sent

  /**
   * Queues bytes, or text as UTF-8. They go out by themselves, in order. The
   * caller may change `data` afterwards. When the connection is over, they are
   * dropped.
   *
   * If a class overrides `send()`, `writable()` or `initiateSend()`, they go out
   * through these: see {@linkcode AsyncChat.initiateSend}.
   *
   * @param data What to send.
   * @throws {TypeError} If it is neither bytes nor text.
   * @throws What an overridden `send()` or `writable()` throws. The bytes wait.
   * @throws {Error} After {@linkcode AsyncChat.closeWhenDone}, or if there was
   * no `connect()` and no connection.
   */
  push(data: Uint8Array | string): void {
    const bytes = toBytes("data", data);
    const connection = this.#pushable();
    if (connection.closed) return;
    const isShared = bytes === data && this.#output.queue.length > 0;
    // What goes out later must not change meanwhile.
    this.#output.push(connection, isShared ? new Uint8Array(bytes) : bytes);
  }

  /**
   * Queues a source of bytes: a {@linkcode Producer}, anything iterable or
   * async iterable, a `ReadableStream`. It is asked for more only as the peer
   * takes what it gave, and released when the connection ends. What it throws
   * goes to `handleError()`; if that does not close, what was pushed after it
   * follows. Bytes and text are pushed as they are. While 1,000 producers wait,
   * a server hands out nothing of what arrives: see
   * {@linkcode AsyncChat.readable}.
   *
   * @param producer The source.
   * @throws {TypeError} If it is none of these, or a stream that is locked.
   * @throws {RangeError} If `acOutBufferSize` is not a positive integer.
   * @throws {Error} As {@linkcode AsyncChat.push}.
   */
  pushWithProducer(producer: ProducerLike): void {
    if (typeof producer === "string" || producer instanceof Uint8Array) {
      this.push(producer);
      return;
    }
    checkInteger("acOutBufferSize", this.acOutBufferSize, 1);
    this.#output.pushProducer(this.#pushable(), producer);
  }

  /**
   * Closes, by `handleClose()`, when all that was pushed is sent, however long
   * that takes, and not before the connection stands. Nothing can be pushed
   * after it, and nothing that arrives is handed out: the conversation is over.
   * A peer that ends its side meanwhile, as a client may behind its request,
   * gets all of it nevertheless, the producers to their ends.
   *
   * @throws {Error} If there was no `connect()` and no connection.
   */
  closeWhenDone(): void {
    const connection = this[CONNECTION]("close when done");
    if (connection !== this.#begin()) return;
    this.#output.closesWhenDone = true;
    this.#input.forget();
    connection.finish(true);
    this.#output.watch(connection);
    if (connection.asks) connection.lookAgain(); // An own writable() must be asked.
  }

  /**
   * Ends the writing direction when all that was pushed is sent, the producers
   * to their ends, also where the peer ends its side first: the peer reads the
   * end of the stream, and can still send. Nothing can be pushed after it.
   *
   * @throws {Error} If there was no `connect()` and no connection.
   */
  override shutdownWrite(): void {
    const connection = this[CONNECTION]("shut down writing");
    if (connection !== this.#begin()) return;
    if (this.#output.queue.length === 0) super.shutdownWrite();
    else {
      this.#output.endsWhenDone = true;
      connection.finish(true);
    }
  }

  /**
   * Forgets what was received and not taken, and what was pushed and has not
   * begun to be sent, {@linkcode AsyncChat.closeWhenDone} too. An end of
   * writing that was asked for stays, and comes at once. For emergencies.
   */
  discardBuffers(): void {
    const connection = this.#begin();
    this.#input.forget();
    this.#input.dropKept();
    this.#output.queue.cancel();
    this.#output.closesWhenDone = false;
    if (connection === null) return;
    connection.discard();
    this.#output.pump(connection); // The end of writing may be due.
    connection.finish(false);
    connection.lookAgain();
  }

  /** Bytes that were pushed and have not yet left for the peer. */
  get bufferedAmount(): number {
    return this.#output.amount(this[CURRENT]);
  }

  /**
   * A sender should stop at so many pushed bytes, and wait for
   * {@linkcode AsyncChat.handleDrain}. A new number holds for what waits, too.
   *
   * @default {65_536}
   */
  get highWaterMark(): number {
    return this.#output.mark.bytes;
  }
  set highWaterMark(bytes: number) {
    this.#output.mark.bytes = bytes;
    const connection = this.#begin();
    if (connection === null) return;
    connection.lookAgain();
    this.#output.watch(connection);
  }

  /**
   * {@linkcode AsyncChat.bufferedAmount} has fallen from `highWaterMark` or
   * more to half of it or less: go on pushing. Does not run after
   * {@linkcode AsyncChat.closeWhenDone}.
   */
  handleDrain(): HookResult {}

  /**
   * Whether to read: a {@linkcode DispatcherOptions.role} of `"server"` does
   * not while as many bytes as {@linkcode AsyncChat.highWaterMark} wait to be
   * sent, or 1,000 producers. Input that was read already is not handed out
   * meanwhile, either. Override it to decide otherwise.
   */
  override readable(): boolean {
    const connection = this[CURRENT];
    return connection?.mayRead(this.#output.isFull(connection)) ?? true;
  }

  /**
   * Whether something waits to be sent, or the connection is not yet established;
   * `false` while all that waits does so for the answer of an async producer. While
   * an override answers `false`, nothing that was pushed goes out, and
   * {@linkcode AsyncChat.closeWhenDone} does not close. It is asked in each pass,
   * and before each piece. After {@linkcode Dispatcher.close}, what was pushed goes
   * out without a question.
   */
  override writable(): boolean {
    return !this.connected || this.#output.isReady(this[CURRENT]);
  }

  /**
   * Sends what may be sent now; {@linkcode AsyncChat.push} and the loop do so by
   * themselves. An override holds everything back until it calls this.
   *
   * If the class overrides `send()` or `writable()`, the bytes go out through them:
   * while `writable()` answers `true`, `send()` gets at most
   * {@linkcode AsyncChat.acOutBufferSize} bytes a call, each pushed piece by
   * itself, and returns how many it took. The rest comes again; after 10 ms if it
   * took none although there was room, or threw.
   *
   * @throws What these throw.
   * @throws {TypeError} If `send()` does not return how many bytes it took.
   */
  initiateSend(): void {
    const connection = this.#begin();
    if (connection) this.#output.pump(connection);
  }

  /** Goes on sending, and closes if {@linkcode AsyncChat.closeWhenDone} says so. */
  override handleWrite(): HookResult {
    const connection = this.#begin();
    if (connection === null) return;
    this.#output.initiate(connection);
    if (connection.mayTell) this.#output.closeIfDone(connection);
  }

  /** The connection stands. */
  override handleConnectEvent(): HookResult {
    const connection = this.#begin();
    if (connection) this.#output.watch(connection); // For closeWhenDone()
    return super.handleConnectEvent();
  }

  /**
   * As {@linkcode Dispatcher.startTls}. Bytes that came unencrypted behind the
   * answer to STARTTLS may be an attacker's. If there are any, the connection
   * ends. While producers are unfinished, it is an error.
   *
   * @param options The name to check, and what to secure the connection with.
   * @returns A promise of the end of the handshake.
   * @throws {TypeError} If an option has the wrong type.
   * @throws {Error} If something unencrypted is under way.
   */
  override startTls(options: StartTlsOptions = {}): Promise<void> {
    const connection = this.#begin();
    const isWaiting = this.#input.hasBegun;
    if (!isWaiting && this.#output.queue.length === 0) {
      return super.startTls(options);
    }
    const obstacle = isWaiting
      ? "unencrypted bytes wait to be collected"
      : "a producer is unfinished";
    const error = new Error(`Cannot start TLS: ${textOf(this)}: ${obstacle}`);
    if (isWaiting) this.#input.forget();
    return isWaiting && connection && !connection.closed
      ? endWithoutTls(connection, error)
      : refuseTls(this, error);
  }

  /** Calls {@linkcode AsyncChat.closeWhenDone}, as the program ends. */
  override handleShutdown(): HookResult {
    const isOpen = this.connected || this.connecting;
    return isOpen ? this.closeWhenDone() : super.handleShutdown();
  }

  /** The connection is over: closes. */
  override handleClose(): HookResult {
    return this.close();
  }

  #pushable(): Connection {
    const connection = this[CONNECTION]("push");
    // A hook of the former connection must not push to this one.
    if (connection === this.#begin()) this.#output.checkPush(connection);
    return connection;
  }

  /** @ignore */
  override [WAKE](): HookResult {
    const connection = this.#begin()!;
    const output = this.#output;
    if (output.mayHandOut(connection)) {
      if (connection.isHeld) output.goOn(connection);
      output.watch(connection);
      return this.#parse(connection);
    }
    if (output.step(connection)) return this.handleDrain();
  }

  /** @ignore */
  override [GATE](): GateKind {
    if (this.writable !== AsyncChat.prototype.writable) return "writable";
    const isPlain = this.send === AsyncChat.prototype.send;
    return isPlain && !this[INITIATES] ? "none" : "send";
  }

  /** @ignore */
  get [INITIATES](): boolean {
    return this.initiateSend !== AsyncChat.prototype.initiateSend;
  }

  /** @ignore */
  override [SEND_THROUGH](data: Uint8Array): number {
    checkInteger("acOutBufferSize", this.acOutBufferSize, 1);
    return sendPiece(this, data, this.acOutBufferSize);
  }

  /** @ignore */
  override [HAND_OVER](flush: () => void): Uint8Array | null {
    this.#output.checkHandover();
    flush();
    return this.#input.takeRest();
  }

  /** @ignore */
  override [HAS_OUTPUT](): boolean {
    return this.#output.isDone(this[CURRENT]);
  }
}

for (const name of ["readable", "writable", "handleWrite"] as const) {
  libraryMethods.set(AsyncChat.prototype[name], "buffering");
}
libraryMethods.set(AsyncChat.prototype.collectIncomingData, "plain");
nameOptions<AsyncChatOptions>(AsyncChat, {
  ...WITH_SEND_OPTIONS,
  maxLength: true,
});

/** What `recv()` gives; nothing if nothing has arrived. */
function receive(chat: AsyncChat): Uint8Array {
  try {
    return chat.recv(chat.acInBufferSize);
  } catch (error) {
    if (error instanceof Deno.errors.WouldBlock) return NO_BYTES;
    throw error;
  }
}

/** No more bytes will be handed out. */
function isAtEnd(connection: Connection, input: Collector): boolean {
  const { closed, hooks, source } = connection;
  if (closed || hooks.hasClosed) return true;
  return !input.hasInput && source !== null && source.ended &&
    source.available === 0;
}
