/**
 * What is sent in a conversation and waits for a producer:
 * {@linkcode ProducerQueue}.
 *
 * @module
 */

import { checkBytes } from "../core/arguments.ts";
import type { Connection } from "../core/connection.ts";
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
  /** Calls the chat's `#pump()`, which calls `move()`. */
  readonly #goOn: (connection: Connection) => void;
  readonly #items = new Queue<Uint8Array | Source>();
  #bytes = 0;
  /** The connection whose end releases the sources. */
  #connection: Connection | null = null;
  /** The first source has been asked for a piece, and has not yet answered. */
  #isAsking = false;
  /** How often sources were taken or asked since the last pause. */
  #inARow = 0;
  /** The error of the first source, until the chat tells of it. */
  #failure: { error: unknown } | null = null;

  constructor(owner: ProducerOwner, goOn: (connection: Connection) => void) {
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
   * @returns Whether it is there: not if nothing can be sent any more.
   * @throws {TypeError} If it is none, or a stream that is locked.
   */
  add(connection: Connection, producer: unknown): boolean {
    const source = sourceOf(producer);
    if (!connection.isSending) {
      source.cancel();
      return false;
    }
    this.#items.push(source);
    if (this.#connection !== connection) this.#endWith(connection);
    this.#tally(connection);
    return true;
  }

  /** Releases the sources when the connection ends, and says what is lost. */
  #endWith(connection: Connection): void {
    this.#connection = connection;
    connection.whenEnded(() => {
      if (this.#bytes > 0) {
        connection.loseBehind(this.#bytes, "waited for a producer");
      }
      this.cancel();
    });
  }

  /** Moves bytes into the connection, as far as it has room. */
  move(connection: Connection): void {
    while (this.#items.length > 0 && !this.#isAsking && !this.#failure) {
      if (!connection.isSending) break;
      const first = this.#items.first!;
      if (first instanceof Uint8Array) {
        this.#shift(connection);
        this.#bytes -= first.length;
        connection.buffer(first);
      } else if (
        connection.pending >= this.#owner.acOutBufferSize || this.isPaused
      ) break;
      else this.#ask(connection, first);
      if (!connection.awaitsEvent) connection.sendSoon();
    }
  }

  /** Takes the source that failed out of the queue, and gives its error. */
  takeFailure(connection: Connection): unknown {
    const { error } = this.#failure!;
    this.#failure = null;
    this.#shift(connection);
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
  #tally(connection: Connection): void {
    if (++this.#inARow !== MOST_IN_A_ROW) return;
    connection.callSoon(() => {
      this.#inARow = 0;
      this.#goOn(connection);
    });
  }

  /** Takes out the first item: there may be room for another. */
  #shift(connection: Connection): void {
    this.#items.shift();
    if (this.#items.length === MOST_WAITING - 1) connection.lookAgain();
  }

  #ask(connection: Connection, source: Source): void {
    this.#tally(connection);
    this.#isAsking = true; // Pushes of the source itself wait behind it.
    try {
      const piece = source.pull();
      if (!isPromise(piece)) {
        this.#give(connection, source, piece);
        return;
      }
      const behind = (run: () => void) => connection.runOutsideHooks(run);
      toPromise(piece).then(
        (piece) => behind(() => this.#answered(connection, source, piece)),
        (error) => behind(() => this.#rejected(connection, source, error)),
      );
    } catch (error) {
      this.#fail(source, error);
    }
  }

  #answered(connection: Connection, source: Source, piece: Piece): void {
    if (this.#items.first !== source) return; // The connection ended meanwhile.
    try {
      this.#give(connection, source, piece);
    } catch (error) {
      this.#fail(source, error);
    }
    if (!connection.isHeld) connection.sendSoon();
    this.#goOn(connection);
    // A predicate may wait for the queue to be empty.
    if (this.#items.length === 0) connection.reactor.wake();
  }

  #rejected(connection: Connection, source: Source, error: unknown): void {
    if (this.#items.first !== source) return;
    this.#fail(source, error);
    this.#goOn(connection);
  }

  /** Accepts the piece that a source gave. The caller sends it. */
  #give(connection: Connection, source: Source, piece: Piece): void {
    if (this.#items.first !== source) return; // It closed, or discarded itself.
    this.#isAsking = false;
    if (piece === null) {
      this.#shift(connection);
      return;
    }
    const bytes = typeof piece === "string" ? encoder.encode(piece) : piece;
    checkBytes("What a producer gives", bytes);
    connection.buffer(bytes);
  }

  #fail(source: Source, error: unknown): void {
    if (this.#items.first !== source) return;
    this.#isAsking = false;
    source.cancel();
    // The source stays first until the error is told: no bytes overtake it.
    this.#failure = { error };
  }
}
