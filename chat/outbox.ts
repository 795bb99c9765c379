/**
 * What is sent in a conversation: when the chat asks its producers for more, when
 * it reads, when it closes, and when its connection has to wake it.
 *
 * @module
 */

import type { HighWaterMark } from "../core/backpressure.ts";
import type { Connection } from "../core/connection.ts";
import { textOf } from "../core/log.ts";
import { syncAnswer } from "../core/predicates.ts";
import { INITIATES } from "../core/symbols.ts";
import { ProducerQueue } from "./producer_queue.ts";

/** A chat, as its outbox needs it. */
export interface OutboxChat {
  /** While this many bytes are on their way, producers are not asked. */
  readonly acOutBufferSize: number;
  readable(): boolean;
  /** Calls {@linkcode Outbox.pump}, unless an override holds that back. */
  initiateSend(): void;
  /** It overrides `initiateSend()`. */
  readonly [INITIATES]: boolean;
}

// Who wakes whom: watch() asks the connection to wake the chat, and the connection
// calls the chat's [WAKE](), in a turn of the loop. [WAKE]() takes one step: it
// hands out input, throws a producer's error, or calls pump(), through an overridden
// initiateSend(). pump() sends, and calls watch() for the next step. The producer
// queue calls pump(), too, when it can go on.

/** The sending half of one chat. */
export class Outbox {
  readonly mark: HighWaterMark;
  readonly queue: ProducerQueue;
  /** closeWhenDone() was called. */
  closesWhenDone = false;
  /** The writing direction ends when all is sent. */
  endsWhenDone = false;
  /** initiateSend() has called pump(). */
  #hasPumped = false;
  readonly #chat: OutboxChat;
  readonly #input: { readonly hasInput: boolean };

  /** @throws {TypeError | RangeError} If the mark is no positive integer. */
  constructor(
    chat: OutboxChat,
    mark: HighWaterMark,
    input: { readonly hasInput: boolean },
  ) {
    this.#chat = chat;
    this.mark = mark;
    this.#input = input;
    this.queue = new ProducerQueue(chat, (connection) => this.goOn(connection));
  }

  /** Forgets what belongs to a former connection. */
  restart(): void {
    this.queue.restart();
    this.closesWhenDone = this.endsWhenDone = false;
  }

  /** How many bytes have yet to leave for the peer. */
  amount(connection: Connection | null): number {
    return this.queue.bytes + (connection === null ? 0 : connection.pending);
  }

  /** So much waits to be sent that a server takes in nothing more. */
  isFull(connection: Connection): boolean {
    return this.amount(connection) >= this.mark.bytes || this.queue.isFull;
  }

  /** Whether the next piece of input must wait. */
  mustPause(connection: Connection): boolean {
    return this.queue.isPaused ||
      this.isFull(connection) && this.isHeldBack(connection) ||
      !connection.mayTell; // Perhaps by what a readable() of its own has done.
  }

  /** Input waits, and can be handed out now. */
  mayHandOut(connection: Connection): boolean {
    return this.#input.hasInput && !this.queue.isPaused &&
      !this.isHeldBack(connection);
  }

  /** Input waits for room, unless an override wants to read all the same. */
  isHeldBack(connection: Connection): boolean {
    return !connection.mayRead(this.isFull(connection)) &&
      !syncAnswer("readable", this.#chat.readable());
  }

  /** @throws {Error} If nothing can be pushed any more. */
  checkPush(connection: Connection): void {
    const { closesWhenDone, endsWhenDone } = this;
    if (closesWhenDone || endsWhenDone) {
      const what = closesWhenDone ? "closes" : "ends its writing";
      throw new Error(`Cannot push: ${textOf(this.#chat)} ${what} when done`);
    }
    connection.checkWritable();
  }

  /** Sends bytes, behind all producers. They must not change any more. */
  push(connection: Connection, bytes: Uint8Array): void {
    if (this.queue.length === 0) connection.buffer(bytes);
    else this.queue.push(bytes);
    if (this.#chat[INITIATES]) this.initiate(connection);
    else connection.sendSoon();
    if (this.amount(connection) >= this.mark.bytes) this.watch(connection);
  }

  /**
   * Sends what a producer gives, behind all others.
   *
   * @throws {TypeError} If it is none, or a stream that is locked.
   */
  pushProducer(connection: Connection, producer: unknown): void {
    if (this.queue.add(connection, producer)) this.initiate(connection);
  }

  /** Goes on by itself. An own `handleWrite()` does so, in the next write event. */
  goOn(connection: Connection): void {
    if (connection.sendsInEvents) this.#goOnLater(connection);
    else this.initiate(connection);
  }

  /** {@linkcode pump}, by the `initiateSend()` of a class that overrides it. */
  initiate(connection: Connection): void {
    if (!this.#chat[INITIATES]) {
      this.pump(connection);
      return;
    }
    this.#hasPumped = false;
    connection.reactor.follow(this.#chat.initiateSend());
    if (!this.#hasPumped) connection.ownGate.wakeLater();
  }

  /** Sends what may be sent, and ends the writing if that is due. */
  pump(connection: Connection): void {
    this.#hasPumped = true;
    if (!connection.awaitsEvent) connection.sendThrough();
    this.queue.move(connection);
    if (connection.awaitsEvent) connection.sendThrough(); // One piece.
    this.#goOnLater(connection);
  }

  /** Ends the writing if that is due, and asks for the next step. */
  #goOnLater(connection: Connection): void {
    if (connection.closed) return;
    if (this.endsWhenDone && this.queue.length === 0) {
      this.endsWhenDone = false;
      connection.shutdownWrite();
    }
    this.watch(connection);
    if (connection.awaitsEvent) connection.lookAgain();
  }

  /**
   * Takes the next step: throws a producer's error, or goes on sending, and closes
   * if that is due.
   *
   * @returns Whether `handleDrain()` is due.
   * @throws The error of a producer, and what an own `send()` throws.
   */
  step(connection: Connection): boolean {
    if (this.queue.hasFailed) {
      const error = this.queue.takeFailure(connection);
      connection.wake(); // To go on, if it stays open.
      throw error;
    }
    this.goOn(connection);
    if (!connection.mayTell) return false; // A producer has closed it, say.
    if (!this.closesWhenDone) {
      return this.mark.takeDrain(connection, this.amount(connection));
    }
    this.closeIfDone(connection);
    return false;
  }

  /** Asks the connection to wake the chat when the next step is possible. */
  watch(connection: Connection): void {
    if (connection.writer.failed) return;
    this.mark.note(connection, this.amount(connection));
    if (this.queue.hasFailed) connection.wake();
    else if (this.queue.isPaused) return; // The next pass goes on.
    else if (this.#input.hasInput && !this.isHeldBack(connection)) {
      connection.wake();
    } else {
      const amount = this.#nextMark(connection);
      if (amount >= 0) connection.wakeBelow(amount);
    }
  }

  /** The number of pending bytes at which the chat must be woken; -1 for never. */
  #nextMark(connection: Connection): number {
    const { queue, mark, closesWhenDone } = this;
    const isDrainDue = mark.isReachedBy(connection) && !closesWhenDone;
    let amount = connection.sendsInEvents ? -1 : queue.mark;
    if (isDrainDue || this.#input.hasInput && !queue.isFull) {
      amount = Math.max(amount, mark.low - queue.bytes);
    }
    // A pass that asks writable() brings a write event, which closes.
    const isAsked = this.isDone(connection) && connection.asksWritable;
    const isLast = closesWhenDone && connection.checked !== null && !isAsked;
    return queue.length === 0 && isLast ? Math.max(amount, 0) : amount;
  }

  /** Something is to be sent or closed that waits for no producer's answer. */
  isReady(connection: Connection | null): boolean {
    return this.queue.mark >= 0 || this.isDone(connection) ||
      connection !== null && connection.pending > 0;
  }

  /** closeWhenDone() was called, and all is sent. */
  isDone(connection: Connection | null): boolean {
    return this.closesWhenDone && this.amount(connection) === 0 &&
      this.queue.length === 0;
  }

  /** Closes after closeWhenDone(), unless an overridden writable() holds that back. */
  closeIfDone(connection: Connection): void {
    if (!this.isDone(connection) || connection.checked === null) return;
    if (connection.mayPass()) connection.hooks.close();
  }

  /** @throws {Error} If a producer is unfinished: its bytes cannot be handed over. */
  checkHandover(): void {
    if (this.queue.length === 0) return;
    throw new Error(
      `Cannot hand over the connection of ${
        textOf(this.#chat)
      }: a producer is ` +
        "unfinished: wait until bufferedAmount is 0, or call discardBuffers()",
    );
  }
}
