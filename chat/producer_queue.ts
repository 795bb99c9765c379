/**
 * What is sent in a conversation and waits for a producer:
 * {@linkcode ProducerQueue}.
 *
 * @module
 */

import { checkBytes } from "../core/arguments.ts";
import type { Endpoint } from "../core/connection.ts";
import { Queue } from "../core/queue.ts";
import { isPromise, toPromise } from "../core/thenable.ts";
import { type Piece, type Source, sourceOf } from "./producer.ts";

const encoder = new TextEncoder();

/**
 * A server takes in nothing more while this many items wait. A larger number
 * lets a peer that asks for much, and reads nothing, take more memory; a
 * smaller one stops an honest peer that sends many short requests at once. The
 * number is a choice: 1,000 waiting `SimpleProducer`s were measured to take
 * 440 KB.
 */
const MOST_WAITING = 1_000;
/**
 * Sources are taken or asked this often in one pass. A larger number keeps the
 * other connections waiting; a smaller one makes more passes. At 256, the
 * neighbour of a peer that sends 300,000 lines waits about as long with
 * producers as with `push()`.
 */
const MOST_IN_A_ROW = 256;

/** A chat, as far as the queue of its producers needs it. */
export interface ProducerOwner {
  /** While this many bytes are on their way, producers are not asked. */
  readonly acOutBufferSize: number;
}

/**
 * Sources of bytes, and the bytes behind them, in order. It is empty most of the
 * time: bytes behind no source are in the connection's hands.
 */
export class ProducerQueue {
  readonly #owner: ProducerOwner;
  /** Has the chat call `move()`, and then do its other work. */
  readonly #goOn: (endpoint: Endpoint) => void;
  readonly #items = new Queue<Uint8Array | Source>();
  #bytes = 0;
  /** The first source has been asked for a piece, and has not yet answered. */
  #isAsking = false;
  /** How often sources were taken or asked since the last pause. */
  #inARow = 0;
  /** The error of the first source, until the chat tells of it. */
  #failure: { error: unknown } | null = null;

  constructor(owner: ProducerOwner, goOn: (endpoint: Endpoint) => void) {
    this.#owner = owner;
    this.#goOn = goOn;
  }

  /** How many sources and pieces wait. */
  get length(): number {
    return this.#items.length;
  }

  /** How many bytes wait behind sources. */
  get bytes(): number {
    return this.#bytes;
  }

  /** So many items wait that a server takes in nothing more. */
  get isFull(): boolean {
    return this.#items.length >= MOST_WAITING;
  }

  /** Many sources had their turn in a row: the next pass goes on. */
  get isPaused(): boolean {
    return this.#inARow >= MOST_IN_A_ROW;
  }

  /** A source has failed, and the chat has yet to tell of it. */
  get hasFailed(): boolean {
    return this.#failure !== null;
  }

  /**
   * At how many bytes on their way the queue goes on; -1 if it is empty, or
   * waits for the answer of a source.
   */
  get mark(): number {
    if (this.#items.length === 0 || this.#isAsking) return -1;
    return Math.floor(this.#owner.acOutBufferSize / 2);
  }

  /** Forgets the failures and pauses of a former connection. */
  restart(): void {
    this.#failure = null;
    this.#inARow = 0;
  }

  /** Puts bytes at the end. They must not change any more. */
  push(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#items.push(bytes);
    this.#bytes += bytes.length;
  }

  /**
   * Puts a source at the end.
   *
   * @throws {TypeError} If it is none, or a stream that is locked.
   */
  add(endpoint: Endpoint, producer: unknown): void {
    const source = sourceOf(producer);
    if (!endpoint.isSending) {
      source.cancel();
      return;
    }
    this.#items.push(source);
    endpoint.onEnd = () => {
      if (this.#bytes > 0) endpoint.loseBehind(this.#bytes);
      this.cancel();
    };
    this.#tally(endpoint);
    this.#goOn(endpoint);
  }

  /** Moves bytes into the connection, as far as it has room. */
  move(endpoint: Endpoint): void {
    const { outbound } = endpoint;
    while (this.#items.length > 0 && !this.#isAsking && !this.#failure) {
      if (!endpoint.isSending) break;
      const first = this.#items.first!;
      if (first instanceof Uint8Array) {
        this.#shift(endpoint);
        this.#bytes -= first.length;
        endpoint.buffer(first);
      } else if (
        outbound.pending >= this.#owner.acOutBufferSize || this.isPaused
      ) break;
      else this.#ask(endpoint, first);
      endpoint.reactor.sendSoon(endpoint);
    }
  }

  /** Takes the source that failed out of the queue, and gives its error. */
  takeFailure(endpoint: Endpoint): unknown {
    const { error } = this.#failure!;
    this.#failure = null;
    this.#shift(endpoint);
    return error;
  }

  /** Forgets all that waits, and releases the sources. */
  cancel(): void {
    const items = this.#items.takeAll();
    this.#bytes = 0;
    this.#isAsking = false;
    this.#failure = null;
    for (const item of items) if (!(item instanceof Uint8Array)) item.cancel();
  }

  /** Counts a source that was taken or asked: after many, the next pass goes on. */
  #tally(endpoint: Endpoint): void {
    if (++this.#inARow !== MOST_IN_A_ROW) return;
    endpoint.callSoon(() => {
      this.#inARow = 0;
      this.#goOn(endpoint);
    });
  }

  /** Takes out the first item: there may be room for another. */
  #shift(endpoint: Endpoint): void {
    this.#items.shift();
    if (this.#items.length === MOST_WAITING - 1) endpoint.lookAgain();
  }

  #ask(endpoint: Endpoint, source: Source): void {
    this.#tally(endpoint);
    this.#isAsking = true; // Pushes of the source itself wait behind it.
    try {
      const piece = source.pull();
      if (!isPromise(piece)) {
        this.#give(endpoint, source, piece);
        return;
      }
      const behind = (run: () => void) => endpoint.runOutsideHooks(run);
      toPromise(piece).then(
        (piece) => behind(() => this.#answered(endpoint, source, piece)),
        (error) => behind(() => this.#rejected(endpoint, source, error)),
      );
    } catch (error) {
      this.#fail(source, error);
    }
  }

  #answered(endpoint: Endpoint, source: Source, piece: Piece): void {
    if (this.#items.first !== source) return; // The connection ended meanwhile.
    try {
      this.#give(endpoint, source, piece);
    } catch (error) {
      this.#fail(source, error);
    }
    this.#goOn(endpoint);
    // A predicate may wait for the queue to be empty.
    if (this.#items.length === 0) endpoint.reactor.wake();
  }

  #rejected(endpoint: Endpoint, source: Source, error: unknown): void {
    if (this.#items.first !== source) return;
    this.#fail(source, error);
    this.#goOn(endpoint);
  }

  /** Sends the piece that a source gave. */
  #give(endpoint: Endpoint, source: Source, piece: Piece): void {
    if (this.#items.first !== source) return; // It closed, or discarded itself.
    this.#isAsking = false;
    if (piece === null) {
      this.#shift(endpoint);
      return;
    }
    const bytes = typeof piece === "string" ? encoder.encode(piece) : piece;
    checkBytes("What a producer gives", bytes);
    endpoint.buffer(bytes);
    endpoint.reactor.sendSoon(endpoint);
  }

  #fail(source: Source, error: unknown): void {
    if (this.#items.first !== source) return;
    this.#isAsking = false;
    source.cancel();
    // The source stays first until the error is told: no bytes overtake it.
    this.#failure = { error };
  }
}
