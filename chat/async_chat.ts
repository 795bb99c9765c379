/**
 * Conversations: {@linkcode AsyncChat} cuts what arrives at terminators and
 * queues what is to be sent, as Python's `asynchat` does.
 *
 * @module
 */

import { checkBytes, checkInteger } from "../core/arguments.ts";
import type { Acceptor, Channel } from "../core/channel.ts";
import type { Endpoint } from "../core/connection.ts";
import type { StartTlsOptions } from "../core/dispatcher_options.ts";
import type { Hook } from "../core/hooks.ts";
import { ownMethods } from "../core/interest.ts";
import { textOf } from "../core/log.ts";
import { logLimited } from "../core/own_lines.ts";
import { atOnce } from "../core/predicates.ts";
import { CONNECTION, ENTRY } from "../core/symbols.ts";
import { isPromise } from "../core/thenable.ts";
import { refuseTls } from "../core/tls_request.ts";
import {
  Dispatcher,
  type DispatcherWithSendOptions,
  markOf,
} from "../dispatcher.ts";
import { Collector } from "./collector.ts";
import type { ProducerLike } from "./producer.ts";
import { ProducerQueue } from "./producer_queue.ts";

const encoder = new TextEncoder();
const NO_BYTES = new Uint8Array(0);

const WOKEN: Hook = (pollable) => woken(pollable as AsyncChat);
let woken: (chat: AsyncChat) => unknown;

/** Options of an {@linkcode AsyncChat}. */
export interface AsyncChatOptions extends DispatcherWithSendOptions {
  /**
   * How many bytes may arrive without a terminator that is looked for.
   *
   * @default {65_536}
   */
  maxLength?: number;
}

/**
 * A dispatcher for protocols that talk in lines, or in blocks of known length,
 * or in both by turns. Override {@linkcode AsyncChat.collectIncomingData} and
 * {@linkcode AsyncChat.foundTerminator}.
 *
 * @example Answer each line in capitals
 * ```ts
 * import { AsyncChat, type Channel, Dispatcher, loop } from "@asyncore/asyncore";
 * import { assertEquals } from "@std/assert";
 *
 * class Shouter extends AsyncChat {
 *   #line = "";
 *   readonly #decoder = new TextDecoder();
 *   constructor(conn: Channel) {
 *     super(conn);
 *     this.setTerminator("\r\n");
 *   }
 *   override collectIncomingData(data: Uint8Array) {
 *     this.#line += this.#decoder.decode(data, { stream: true });
 *   }
 *   override foundTerminator() {
 *     this.push(`${this.#line.toUpperCase()}\r\n`);
 *     this.#line = "";
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
  static {
    woken = (chat) => chat.#woken();
  }

  /** The most bytes to take from the connection at a time. */
  acInBufferSize = 65_536;
  /** While so many bytes are on their way, producers are not asked for more. */
  acOutBufferSize = 65_536;

  #highWaterMark: number;

  /** The connection that the following fields belong to. */
  #life: Endpoint | null = null;
  readonly #input: Collector;
  readonly #output: ProducerQueue;
  #closesWhenDone = false;
  #endsWhenDone = false;
  /** The high-water mark was reached: `handleDrain()` is to run below it. */
  #wasFull = false;

  /**
   * Makes a chat; with a channel it joins the map at once.
   *
   * @param channel As for {@linkcode Dispatcher}.
   * @param options As for {@linkcode Dispatcher}, and the limits.
   * @throws {TypeError} If the channel lacks a method or an option is wrong.
   * @throws {RangeError} If a number is out of range.
   */
  constructor(
    channel: Channel | Acceptor | null = null,
    options: AsyncChatOptions = {},
  ) {
    const highWaterMark = markOf(options);
    const { maxLength = 64 * 1024 } = options;
    checkInteger("maxLength", maxLength, 1);
    super(channel, options);
    this.#highWaterMark = highWaterMark;
    this.#input = new Collector(this, maxLength);
    const goOn = (endpoint: Endpoint) => this.#pump(endpoint);
    this.#output = new ProducerQueue(this, goOn);
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
    const endpoint = this.#begin();
    const isHeld = this.#input.setTerminator(terminator);
    if (isHeld) endpoint?.notifyAt(Infinity, WOKEN); // To look at it again.
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
   * How many bytes may arrive without a terminator that is looked for; beyond
   * it, {@linkcode AsyncChat.handleOverflow} runs. In bytes. A number of bytes
   * as terminator bounds itself.
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
   * Bytes have arrived, none of them part of a terminator. Override it.
   *
   * @param _data The bytes, to keep or to change: they will not be looked at
   * again. Other pieces lie in the same `data.buffer`, so copy what is to be
   * kept for long. Transferring that buffer is an error if more bytes lie in
   * it; transfer `data.slice()`.
   */
  collectIncomingData(_data: Uint8Array): void | Promise<void> {
    throw new Error("collectIncomingData() must be overridden");
  }

  /** What was collected is complete. Override it. */
  foundTerminator(): void | Promise<void> {
    throw new Error("foundTerminator() must be overridden");
  }

  /**
   * {@linkcode AsyncChat.maxLength} bytes were collected, and more follow. By
   * default that is logged, and the connection is over: `handleClose()` runs.
   * An override that does not close gets the rest as if it were a message of
   * its own.
   */
  handleOverflow(): void | Promise<void> {
    const reason =
      `more than ${this.#input.maxLength} bytes without a terminator`;
    logLimited(this, {
      type: "error",
      kind: "overflow",
      text: (self) => `closing ${self}: ${reason}`,
    });
    this[ENTRY]?.giveUp(new RangeError(reason));
  }

  /**
   * Takes what has arrived apart. After an error in a hook that did not close
   * the connection, it goes on behind what that hook was given.
   */
  override handleRead(): void | Promise<void> {
    const endpoint = this.#begin();
    if (this.#input.isDone) {
      const data = this.#receive();
      if (data.length === 0 || this.#closesWhenDone) return;
      this.#input.feed(data);
    }
    return this.#parse(endpoint!);
  }

  #receive(): Uint8Array {
    try {
      return this.recv(this.acInBufferSize);
    } catch (error) {
      if (error instanceof Deno.errors.WouldBlock) return NO_BYTES;
      throw error;
    }
  }

  /** Forgets what belongs to a former connection. */
  #begin(): Endpoint | null {
    const endpoint = this[ENTRY];
    if (endpoint === this.#life) return endpoint;
    this.#life = endpoint;
    this.#input.restart();
    this.#output.restart();
    this.#closesWhenDone = this.#endsWhenDone = this.#wasFull = false;
    return endpoint;
  }

  /** Calls hook after hook until no input is left, or a hook is async. */
  #parse(endpoint: Endpoint): void | Promise<void> {
    const input = this.#input;
    try {
      while (!endpoint.closed) {
        if (input.hasInput && this.#mustPause(endpoint)) {
          this.#watch(endpoint); // To go on.
          return;
        }
        if (input.isDone) {
          input.feed(NO_BYTES); // An idle connection keeps no large buffer.
          return;
        }
        const result = input.next(endpoint);
        if (isPromise(result)) return this.#parseAfter(endpoint, result);
      }
    } catch (error) {
      endpoint.notifyAt(Infinity, WOKEN); // To go on, if it stays open.
      throw error;
    }
  }

  async #parseAfter(
    endpoint: Endpoint,
    result: PromiseLike<unknown>,
  ): Promise<void> {
    try {
      await result;
    } catch (error) {
      endpoint.notifyAt(Infinity, WOKEN);
      throw error;
    }
    return this.#parse(endpoint);
  }

  // What is sent

  /**
   * Queues bytes, or text as UTF-8. They go out by themselves, in order. The
   * caller may change `data` afterwards. When the connection is over, they are
   * dropped.
   *
   * @param data What to send.
   * @throws {TypeError} If it is neither bytes nor text.
   * @throws {Error} After {@linkcode AsyncChat.closeWhenDone}, or if there was
   * no `connect()` and no connection.
   */
  push(data: Uint8Array | string): void {
    const bytes = typeof data === "string" ? encoder.encode(data) : data;
    checkBytes("data", bytes, "a Uint8Array or text");
    const endpoint = this.#pushable();
    if (endpoint.closed) return;
    if (this.#output.length === 0) endpoint.buffer(bytes);
    // What goes out later must not change meanwhile.
    else this.#output.push(bytes === data ? new Uint8Array(bytes) : bytes);
    endpoint.reactor.sendSoon(endpoint);
    if (this.bufferedAmount >= this.#highWaterMark) this.#watch(endpoint);
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
    this.#output.add(this.#pushable(), producer);
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
    const endpoint = this[CONNECTION]("close when done");
    if (endpoint !== this.#begin()) return;
    this.#closesWhenDone = true;
    this.#input.forget();
    endpoint.finish(true);
    this.#watch(endpoint);
  }

  /**
   * Ends the writing direction when all that was pushed is sent, the producers
   * to their ends, also where the peer ends its side first: the peer reads the
   * end of the stream, and can still send. Nothing can be pushed after it.
   *
   * @throws {Error} If there was no `connect()` and no connection.
   */
  override shutdownWrite(): void {
    const endpoint = this[CONNECTION]("shut down writing");
    if (endpoint !== this.#begin()) return;
    if (this.#output.length === 0) super.shutdownWrite();
    else {
      this.#endsWhenDone = true;
      endpoint.finish(true);
    }
  }

  /**
   * Forgets what was received and not collected, and what was pushed and has
   * not begun to be sent, {@linkcode AsyncChat.closeWhenDone} too. An end of
   * writing that was asked for stays, and comes at once. For emergencies.
   */
  discardBuffers(): void {
    const endpoint = this.#begin();
    this.#input.forget();
    this.#output.cancel();
    this.#closesWhenDone = false;
    if (endpoint === null) return;
    endpoint.outbound.discard();
    this.#pump(endpoint); // The end of writing may be due.
    endpoint.finish(false);
    endpoint.lookAgain();
  }

  /** Bytes that were pushed and have not yet left for the peer. */
  get bufferedAmount(): number {
    return this.#output.bytes + (this[ENTRY]?.outbound.pending ?? 0);
  }

  /**
   * How many pushed bytes are many: a sender should stop at this number and
   * wait for {@linkcode AsyncChat.handleDrain}. In bytes. A new number holds at
   * once, for what waits already too.
   *
   * @default {65_536}
   */
  get highWaterMark(): number {
    return this.#highWaterMark;
  }
  set highWaterMark(bytes: number) {
    this.#highWaterMark = checkInteger("highWaterMark", bytes, 1);
    const endpoint = this.#begin();
    if (endpoint === null) return;
    endpoint.lookAgain();
    this.#watch(endpoint);
  }

  /**
   * {@linkcode AsyncChat.bufferedAmount} has fallen from `highWaterMark` or
   * more to half of it or less: go on pushing. Does not run after
   * {@linkcode AsyncChat.closeWhenDone}.
   */
  handleDrain(): void | Promise<void> {}

  /**
   * Whether to read: a {@linkcode DispatcherOptions.role} of `"server"` does
   * not while as many bytes as {@linkcode AsyncChat.highWaterMark} wait to be
   * sent, or 1,000 producers. Input that was read already is not handed out
   * meanwhile, either. Override it to decide otherwise.
   */
  override readable(): boolean {
    return this[ENTRY]?.mayRead(this.#isFull) ?? true;
  }

  /** So much waits to be sent that a server takes in nothing more. */
  get #isFull(): boolean {
    return this.bufferedAmount >= this.#highWaterMark || this.#output.isFull;
  }

  /** Whether the next piece of input must wait. */
  #mustPause(endpoint: Endpoint): boolean {
    const output = this.#output;
    const waiting = output.bytes + endpoint.outbound.pending;
    return output.isPaused ||
      (waiting >= this.#highWaterMark || output.isFull) &&
        this.#isHeldBack(endpoint) ||
      !endpoint.mayTell; // Perhaps by what a readable() of its own has done.
  }

  /** Input waits for room, unless an override wants to read all the same. */
  #isHeldBack(endpoint: Endpoint): boolean {
    return !endpoint.mayRead(this.#isFull) &&
      !atOnce("readable", this.readable());
  }

  /** Goes on sending. */
  override handleWrite(): void | Promise<void> {
    const endpoint = this.#begin();
    if (endpoint) this.#pump(endpoint);
  }

  /** The connection stands. */
  override handleConnectEvent(): void | Promise<void> {
    const endpoint = this.#begin();
    if (endpoint) this.#watch(endpoint); // closeWhenDone() may have been called.
    return super.handleConnectEvent();
  }

  /**
   * As {@linkcode Dispatcher.startTls}. What came unencrypted behind the answer
   * to STARTTLS must not pass for something said in secret: then the connection
   * is over. While producers are unfinished, it is an error.
   *
   * @param options The name to check, and what to secure the connection with.
   * @returns A promise of the end of the handshake.
   * @throws {TypeError} If an option has the wrong type.
   * @throws {Error} If something unencrypted is under way.
   */
  override startTls(options: StartTlsOptions = {}): Promise<void> {
    const endpoint = this.#begin();
    const isWaiting = this.#input.keepsBytes;
    if (!isWaiting && this.#output.length === 0) return super.startTls(options);
    const obstacle = isWaiting
      ? "unencrypted bytes wait to be collected"
      : "a producer is unfinished";
    const error = new Error(`Cannot start TLS: ${textOf(this)}: ${obstacle}`);
    if (isWaiting) this.#input.forget();
    return isWaiting && endpoint && !endpoint.closed
      ? endpoint.refuseTls(error)
      : refuseTls(this, error);
  }

  /** The program ends: {@linkcode AsyncChat.closeWhenDone}. */
  override handleShutdown(): void | Promise<void> {
    if (this.connected || this.connecting) this.closeWhenDone();
    else return super.handleShutdown();
  }

  /** The connection is over: closes. */
  override handleClose(): void | Promise<void> {
    return this.close();
  }

  #pushable(): Endpoint {
    const endpoint = this[CONNECTION]("push");
    // A hook of the former connection has nothing to say to this one.
    if (endpoint !== this.#begin()) return endpoint;
    if (this.#closesWhenDone) {
      throw new Error(`Cannot push: ${this} closes when done`);
    }
    if (this.#endsWhenDone) {
      throw new Error(`Cannot push: ${this} ends its writing when done`);
    }
    endpoint.checkWritable();
    return endpoint;
  }

  /** Has the connection call `#woken()` as soon as there is something to do. */
  #watch(endpoint: Endpoint): void {
    if (endpoint.outbound.failed) return;
    if (this.bufferedAmount >= this.#highWaterMark) this.#wasFull = true;
    const mark = this.#nextMark(endpoint);
    if (mark >= 0) endpoint.notifyAt(mark, WOKEN);
  }

  /**
   * At how many bytes on their way there is something to do; `Infinity` for at
   * once, -1 for never.
   */
  #nextMark(endpoint: Endpoint): number {
    const output = this.#output;
    if (output.hasFailed) return Infinity;
    if (output.isPaused) return -1; // The next pass goes on.
    const half = Math.floor(this.#highWaterMark / 2) - output.bytes;
    let mark = output.mark;
    if (this.#input.hasInput) {
      if (!this.#isHeldBack(endpoint)) return Infinity;
      if (!output.isFull) mark = Math.max(mark, half);
    }
    if (this.#wasFull && !this.#closesWhenDone) mark = Math.max(mark, half);
    const isLast = this.#closesWhenDone && endpoint.channel !== null;
    return output.length === 0 && isLast ? Math.max(mark, 0) : mark;
  }

  /** Hands out input, tells of a failure, or goes on sending: what is due. */
  #woken(): void | Promise<void> {
    const endpoint = this.#begin()!;
    const output = this.#output;
    const mayHandOut = this.#input.hasInput && !this.#isHeldBack(endpoint);
    if (mayHandOut && !output.isPaused) {
      this.#watch(endpoint);
      return this.#parse(endpoint);
    }
    if (output.hasFailed) {
      const error = output.takeFailure(endpoint);
      endpoint.notifyAt(Infinity, WOKEN); // To go on, if it stays open.
      throw error;
    }
    this.#pump(endpoint);
    if (!endpoint.mayTell) return; // A producer has closed it, say.
    if (this.#closesWhenDone) {
      const isDone = this.bufferedAmount === 0 && output.length === 0;
      if (isDone && endpoint.channel !== null) endpoint.hooks.close();
    } else if (
      this.#wasFull && this.bufferedAmount <= this.#highWaterMark / 2
    ) {
      this.#wasFull = false;
      return this.handleDrain();
    }
  }

  /** Sends what may be sent, and ends the writing if that is due. */
  #pump(endpoint: Endpoint): void {
    this.#output.move(endpoint);
    if (endpoint.closed) return;
    if (this.#endsWhenDone && this.#output.length === 0) {
      this.#endsWhenDone = false;
      super.shutdownWrite();
    }
    this.#watch(endpoint);
  }
}

ownMethods.set(AsyncChat.prototype.handleWrite, "self-driven");
ownMethods.set(AsyncChat.prototype.readable, "self-driven");
