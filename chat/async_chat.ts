/**
 * Conversations: {@linkcode AsyncChat} cuts what arrives at terminators and
 * queues what is to be sent, as Python's `asynchat` does.
 *
 * @module
 */

import { checkBytes, checkInteger, showValue } from "../core/arguments.ts";
import {
  Dispatcher,
  type DispatcherWithSendOptions,
  markOf,
} from "../dispatcher.ts";
import type { Acceptor, Channel } from "../core/channel.ts";
import type { Endpoint } from "../core/connection.ts";
import type { StartTlsOptions } from "../core/dispatcher_options.ts";
import type { Hook } from "../core/hooks.ts";
import { ownMethods } from "../core/interest.ts";
import { textOf } from "../core/log.ts";
import { logLimited } from "../core/own_lines.ts";
import {
  type Piece,
  type ProducerLike,
  type Source,
  sourceOf,
} from "./producer.ts";
import { atOnce } from "../core/predicates.ts";
import { Queue } from "../core/queue.ts";
import { refuseTls } from "../core/tls_request.ts";
import { CONNECTION, ENTRY } from "../core/symbols.ts";
import { Terminator } from "./terminator.ts";
import { isPromise, toPromise } from "../core/thenable.ts";

const encoder = new TextEncoder();
const NO_BYTES = new Uint8Array(0);
/** A server is given no more to do while so many producers wait, and pieces behind them. */
const MOST_WAITING = 1_000;
/** So often sources are taken or asked in a pass: then others have their turns. */
const MOST_IN_A_ROW = 256;

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

  #maxLength: number;
  #highWaterMark: number;

  /** The connection that what follows belongs to. */
  #life: Endpoint | null = null;

  // What arrives. Not yet handed out: the beginning of the terminator that is
  // held back, as long as `#search.matched`, and `#data` from `#at` on.
  #terminator: string | Uint8Array | number | null = null;
  #search: Terminator | null = null;
  /** The last terminator looked for, ready to be looked for again. */
  #lastSearch: Terminator | null = null;
  #lastText: string | null = null;
  /** How many bytes of a counted block are still to come. */
  #left = 0;
  /** A counted block is complete, which has not been told. */
  #isDue = false;
  #data: Uint8Array = NO_BYTES;
  /** The length of `#data`, which has none when its buffer was transferred. */
  #size = 0;
  #at = 0;
  /** Up to here, `#data` is known to hold no terminator. */
  #plainTo = 0;
  /** How many bytes were collected since the last terminator. */
  #collected = 0;

  // What is sent. Only a source keeps bytes in the queue: those that wait for
  // nothing but the peer are in the connection's hands.
  readonly #queue = new Queue<Uint8Array | Source>();
  #queuedBytes = 0;
  /** The source that comes first is being asked. */
  #pulling = false;
  /** How often a source was taken or asked in a row. */
  #inARow = 0;
  #failure: { error: unknown } | null = null;
  #closesWhenDone = false;
  #endsWhenDone = false;
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
    this.#maxLength = maxLength;
    this.#highWaterMark = highWaterMark;
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
    const search = this.#searchFor(terminator);
    const endpoint = this.#begin();
    if (this.#search !== null && this.#search.matched > 0) {
      this.#unhold();
      endpoint?.notifyAt(Infinity, WOKEN); // To look at it again.
    }
    this.#plainTo = 0;
    this.#isDue = false;
    this.#terminator = terminator;
    this.#search = search;
    this.#left = typeof terminator === "number" ? terminator : 0;
  }

  /** Protocols that go back and forth between a few terminators do so often. */
  #searchFor(terminator: string | Uint8Array | number | null) {
    if (typeof terminator === "string" && terminator === this.#lastText) {
      return this.#lastSearch;
    }
    const search = parseTerminator(terminator);
    if (typeof terminator === "string") {
      this.#lastText = terminator;
      this.#lastSearch = search;
    }
    return search;
  }

  /**
   * The terminator: of bytes a copy, of a number of bytes how many are still to
   * come.
   */
  getTerminator(): string | Uint8Array | number | null {
    this.#begin();
    const terminator = this.#terminator;
    if (typeof terminator === "number") return this.#left;
    if (!(terminator instanceof Uint8Array)) return terminator;
    return new Uint8Array(this.#search!.bytes);
  }

  /**
   * How many bytes may arrive without a terminator that is looked for; beyond
   * it, {@linkcode AsyncChat.handleOverflow} runs. In bytes. A number of bytes
   * as terminator bounds itself.
   *
   * @default {65_536}
   */
  get maxLength(): number {
    return this.#maxLength;
  }
  set maxLength(bytes: number) {
    this.#maxLength = checkInteger("maxLength", bytes, 1);
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
    const reason = `more than ${this.#maxLength} bytes without a terminator`;
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
    if (!this.#isDue && this.#at >= this.#size) {
      const data = this.#receive();
      if (data.length === 0 || this.#closesWhenDone) return;
      this.#hold(data);
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
    this.#forgetInput();
    if (typeof this.#terminator === "number") this.#left = this.#terminator;
    this.#closesWhenDone = this.#endsWhenDone = this.#wasFull = false;
    this.#failure = null;
    this.#inARow = 0;
    return endpoint;
  }

  #forgetInput(): void {
    this.#hold(NO_BYTES);
    this.#collected = 0;
    this.#isDue = false;
    if (this.#search) this.#search.matched = 0;
  }

  /** Something that has arrived is not yet handed out. */
  get #hasInput(): boolean {
    return this.#isDue || this.#at < this.#data.length;
  }

  /** Has `data` looked at next. */
  #hold(data: Uint8Array): void {
    this.#data = data;
    this.#size = data.length;
    this.#at = this.#plainTo = 0;
  }

  /** Puts what is held back before what is still to be looked at. */
  #unhold(from = 0): void {
    const search = this.#search!;
    const held = search.bytes.subarray(from, search.matched);
    search.matched = 0;
    this.#hold(concat(held, this.#data.subarray(this.#at)));
  }

  /** Calls one hook after the other until nothing is left, or one is async. */
  #parse(endpoint: Endpoint): void | Promise<void> {
    try {
      while (!endpoint.closed) {
        if (this.#hasInput && this.#mustPause(endpoint)) {
          this.#watch(endpoint); // To go on.
          return;
        }
        let result: unknown;
        if (this.#isDue) {
          this.#isDue = false;
          this.#collected = 0;
          result = this.foundTerminator();
        } else if (this.#at >= this.#size) {
          // An idle connection is not to hold on to a large buffer.
          this.#hold(NO_BYTES);
          return;
        } else if (this.#data.length < this.#size) this.#refuseTransfer();
        else if (this.#search === null) result = this.#count();
        else result = this.#cut(endpoint, this.#search);
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

  /** What follows a piece whose buffer was transferred went with it. */
  #refuseTransfer(): never {
    const lost = this.#size - this.#at;
    this.#forgetInput();
    throw new TypeError(
      `${this}: ${lost} bytes that had arrived went with the buffer of what ` +
        "collectIncomingData() was given: transfer data.slice() instead",
    );
  }

  /** Collects all, or what belongs to a counted block. */
  #count(): unknown {
    const data = this.#data;
    const start = this.#at;
    let end = data.length;
    if (this.#left > 0) {
      end = Math.min(end, start + this.#left);
      this.#left -= end - start;
      this.#isDue = this.#left === 0;
    }
    this.#at = end;
    return this.collectIncomingData(view(data, start, end));
  }

  /** Collects what precedes the next terminator, and tells that it is there. */
  #cut(endpoint: Endpoint, search: Terminator): unknown {
    const data = this.#data;
    const start = this.#at;
    if (start < this.#plainTo) {
      return this.#collectSome(search, this.#plainTo - start);
    }
    const held = search.matched;
    const after = search.find(data, start);
    const isFound = after >= 0;
    const end = isFound ? after : data.length;
    const tail = isFound ? search.bytes.length : search.matched;
    const plain = held + end - start - tail;
    if (plain > 0) {
      if (held > 0 || plain > this.#maxLength - this.#collected) {
        search.matched = held;
        return this.#collectSome(search, plain);
      }
      const stop = start + plain;
      this.#at = isFound ? stop : end;
      this.#collected += plain;
      const result = this.collectIncomingData(view(data, start, stop));
      if (!isFound || isPromise(result) || !endpoint.mayTell) return result;
      const isAsBefore = this.#search === search && this.#at === stop &&
        this.#data === data;
      if (!isAsBefore) return;
    }
    this.#at = end;
    if (!isFound) return;
    this.#collected = 0;
    return this.foundTerminator();
  }

  /**
   * Collects of the next `plain` bytes those that are held back, or those that
   * fit below the limit.
   */
  #collectSome(search: Terminator, plain: number): unknown {
    const { matched: held } = search;
    const room = this.#maxLength - this.#collected;
    const start = this.#at;
    if (held === 0) this.#plainTo = start + plain;
    if (room <= 0) {
      this.#collected = 0;
      return this.handleOverflow();
    }
    if (held === 0) {
      this.#at = Math.min(start + room, this.#plainTo);
      this.#collected += this.#at - start;
      return this.collectIncomingData(view(this.#data, start, this.#at));
    }
    const count = Math.min(held, plain, room);
    const piece = search.bytes.slice(0, count);
    // Where the limit falls between them, the rest does not begin like the
    // terminator.
    if (count < Math.min(held, plain)) this.#unhold(count);
    else search.matched -= count;
    this.#collected += count;
    return this.collectIncomingData(piece);
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
    if (this.#queue.length === 0) endpoint.buffer(bytes);
    else if (bytes.length > 0) {
      // What goes out later must not change meanwhile.
      this.#queue.push(bytes === data ? new Uint8Array(bytes) : bytes);
      this.#queuedBytes += bytes.length;
    }
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
    const endpoint = this.#pushable();
    const source = sourceOf(producer);
    if (!endpoint.isSending) {
      source.cancel();
      return;
    }
    this.#queue.push(source);
    endpoint.onEnd = () => {
      if (this.#queuedBytes > 0) endpoint.loseBehind(this.#queuedBytes);
      this.#cancelSources();
    };
    this.#tally(endpoint);
    this.#pump(endpoint);
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
    this.#forgetInput();
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
    if (this.#queue.length === 0) super.shutdownWrite();
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
    this.#forgetInput();
    this.#cancelSources();
    this.#closesWhenDone = false;
    if (endpoint === null) return;
    endpoint.outbound.discard();
    this.#pump(endpoint); // The end of writing may be due.
    endpoint.finish(false);
    endpoint.lookAgain();
  }

  /** Bytes that were pushed and have not yet left for the peer. */
  get bufferedAmount(): number {
    return this.#queuedBytes + (this[ENTRY]?.outbound.pending ?? 0);
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

  /** So much waits to be sent that a server takes nothing more in. */
  get #isFull(): boolean {
    return this.bufferedAmount >= this.#highWaterMark ||
      this.#queue.length >= MOST_WAITING;
  }

  /** Nothing more that has arrived is to be handed out now. */
  #mustPause(endpoint: Endpoint): boolean {
    const waiting = this.#queuedBytes + endpoint.outbound.pending;
    return this.#inARow >= MOST_IN_A_ROW ||
      (waiting >= this.#highWaterMark || this.#queue.length >= MOST_WAITING) &&
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
    if (endpoint) this.#watch(endpoint); // Perhaps there is nothing to send.
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
    const isHeld = this.#search !== null && this.#search.matched > 0;
    const isWaiting = isHeld || this.#at < this.#data.length;
    if (!isWaiting && this.#queue.length === 0) return super.startTls(options);
    const obstacle = isWaiting
      ? "unencrypted bytes wait to be collected"
      : "a producer is unfinished";
    const error = new Error(`Cannot start TLS: ${textOf(this)}: ${obstacle}`);
    if (isWaiting) this.#forgetInput();
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

  /** Asks to be woken as soon as there is something to do. */
  #watch(endpoint: Endpoint): void {
    if (endpoint.outbound.failed) return;
    if (this.bufferedAmount >= this.#highWaterMark) this.#wasFull = true;
    const mark = this.#nextMark(endpoint);
    if (mark >= 0) endpoint.notifyAt(mark, WOKEN);
  }

  /** At how many pending bytes there is something to do; -1 for never. */
  #nextMark(endpoint: Endpoint): number {
    if (this.#failure !== null) return Infinity;
    if (this.#inARow >= MOST_IN_A_ROW) return -1; // The next pass goes on.
    const half = Math.floor(this.#highWaterMark / 2) - this.#queuedBytes;
    let mark = -1;
    if (this.#hasInput) {
      if (!this.#isHeldBack(endpoint)) return Infinity;
      if (this.#queue.length < MOST_WAITING) mark = half;
    }
    if (this.#wasFull && !this.#closesWhenDone) mark = Math.max(mark, half);
    if (this.#queue.length === 0) {
      if (!this.#closesWhenDone || endpoint.channel === null) return mark;
      return Math.max(mark, 0);
    }
    // While a source is asked, what comes next depends on it.
    if (this.#pulling) return mark;
    return Math.max(mark, Math.floor(this.acOutBufferSize / 2));
  }

  /** Does what is to be done, of which there may be nothing. */
  #woken(): void | Promise<void> {
    const endpoint = this.#begin()!;
    const isInTurn = this.#inARow < MOST_IN_A_ROW;
    if (this.#hasInput && !this.#isHeldBack(endpoint) && isInTurn) {
      this.#watch(endpoint);
      return this.#parse(endpoint);
    }
    if (this.#failure !== null) {
      const { error } = this.#failure;
      this.#failure = null;
      this.#shift(endpoint);
      endpoint.notifyAt(Infinity, WOKEN); // To go on, if it stays open.
      throw error;
    }
    this.#pump(endpoint);
    if (!endpoint.mayTell) return; // A producer has closed it, say.
    if (this.#closesWhenDone) {
      const isDone = this.bufferedAmount === 0 && this.#queue.length === 0;
      if (isDone && endpoint.channel !== null) endpoint.hooks.close();
    } else if (
      this.#wasFull && this.bufferedAmount <= this.#highWaterMark / 2
    ) {
      this.#wasFull = false;
      return this.handleDrain();
    }
  }

  /** Moves what is queued into the connection, as far as there is room. */
  #pump(endpoint: Endpoint): void {
    const { outbound } = endpoint;
    while (this.#queue.length > 0 && !this.#pulling && !this.#failure) {
      if (!endpoint.isSending) break;
      const first = this.#queue.first!;
      if (first instanceof Uint8Array) {
        this.#shift(endpoint);
        this.#queuedBytes -= first.length;
        endpoint.buffer(first);
      } else if (
        outbound.pending >= this.acOutBufferSize ||
        this.#inARow >= MOST_IN_A_ROW
      ) break;
      else this.#pull(endpoint, first);
      endpoint.reactor.sendSoon(endpoint);
    }
    if (endpoint.closed) return;
    if (this.#endsWhenDone && this.#queue.length === 0) {
      this.#endsWhenDone = false;
      super.shutdownWrite();
    }
    this.#watch(endpoint);
  }

  /** A source was taken or asked: after many, the next pass goes on. */
  #tally(endpoint: Endpoint): void {
    if (++this.#inARow !== MOST_IN_A_ROW) return;
    endpoint.callSoon(() => {
      this.#inARow = 0;
      this.#pump(endpoint);
    });
  }

  /** Takes the first out of the queue: there may be room for another. */
  #shift(endpoint: Endpoint): void {
    this.#queue.shift();
    if (this.#queue.length === MOST_WAITING - 1) endpoint.lookAgain();
  }

  #pull(endpoint: Endpoint, source: Source): void {
    this.#tally(endpoint);
    this.#pulling = true; // Its own pushes wait behind it.
    try {
      const piece = source.pull();
      if (!isPromise(piece)) {
        this.#give(endpoint, source, piece);
        return;
      }
      const behind = (run: () => void) => endpoint.runOutsideHooks(run);
      toPromise(piece).then(
        (piece) => behind(() => this.#pulled(endpoint, source, piece)),
        (error) => behind(() => this.#giveUp(endpoint, source, error)),
      );
    } catch (error) {
      this.#giveUp(endpoint, source, error);
    }
  }

  #pulled(endpoint: Endpoint, source: Source, piece: Piece): void {
    if (this.#queue.first !== source) return; // The connection ended meanwhile.
    try {
      this.#give(endpoint, source, piece);
    } catch (error) {
      this.#giveUp(endpoint, source, error);
    }
    this.#pump(endpoint);
    // A predicate may wait for the end of what is being answered.
    if (this.#queue.length === 0) endpoint.reactor.wake();
  }

  /** Sends what a source gave. */
  #give(endpoint: Endpoint, source: Source, piece: Piece): void {
    if (this.#queue.first !== source) return; // It closed, or discarded itself.
    this.#pulling = false;
    if (piece === null) {
      this.#shift(endpoint);
      return;
    }
    const bytes = typeof piece === "string" ? encoder.encode(piece) : piece;
    checkBytes("What a producer gives", bytes);
    endpoint.buffer(bytes);
    endpoint.reactor.sendSoon(endpoint);
  }

  #giveUp(endpoint: Endpoint, source: Source, error: unknown): void {
    if (this.#queue.first !== source) return;
    this.#pulling = false;
    source.cancel();
    // It stays in the queue until that is told: nothing overtakes the error.
    this.#failure = { error };
    this.#watch(endpoint);
  }

  #cancelSources(): void {
    const queue = this.#queue.takeAll();
    this.#queuedBytes = 0;
    this.#pulling = false;
    this.#failure = null;
    for (const item of queue) if (!(item instanceof Uint8Array)) item.cancel();
  }
}

ownMethods.set(AsyncChat.prototype.handleWrite, "self-driven");
ownMethods.set(AsyncChat.prototype.readable, "self-driven");

/**
 * Prepares the search for a terminator.
 *
 * @throws {TypeError | RangeError} If it is none.
 */
function parseTerminator(terminator: unknown): Terminator | null {
  if (terminator === null) return null;
  if (typeof terminator === "number") {
    checkInteger("terminator", terminator, 0, Number.MAX_SAFE_INTEGER);
    return null;
  }
  const bytes = typeof terminator === "string"
    ? encoder.encode(terminator)
    : terminator;
  if (!(bytes instanceof Uint8Array)) {
    throw new TypeError(
      `terminator must be text, bytes, a number or null, got ${
        showValue(terminator)
      }`,
    );
  }
  if (bytes.length === 0) throw new RangeError("terminator must not be empty");
  return new Terminator(new Uint8Array(bytes));
}

/**
 * The bytes from `start` to `end`. What was received belongs to this chat, and
 * no byte of it is given out twice, so a view is as good as a copy, which would
 * cost ten times as much as finding the line.
 */
function view(data: Uint8Array, start: number, end: number): Uint8Array {
  if (end - start === data.length) return data;
  return new Uint8Array(data.buffer, data.byteOffset + start, end - start);
}

function concat(first: Uint8Array, second: Uint8Array): Uint8Array {
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}
