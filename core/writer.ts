/**
 * The writing side of a channel: bytes are copied when they are accepted, and
 * go out in order by themselves, one write in flight.
 *
 * @module
 */

import { isCount, showValue } from "./arguments.ts";
import { type Channel, promiseOf } from "./channel.ts";
import { failureOf, isDisconnect, isUnsupported } from "./errors.ts";
import { Queue } from "./queue.ts";

const SMALLEST_BUFFER = 1024;
/** What is gathered for the next write while one is in flight. */
const GATHER_BUFFER = 16 * 1024;
/** Larger buffers are not kept for reuse. */
const LARGEST_POOLED = 1024 * 1024;
/** How many bytes the free buffers may hold in all. */
const POOL_LIMIT = 8 * 1024 * 1024;

/** Free buffers by the logarithm of their size, shared by all channels. */
const pool: Uint8Array[][] = Array.from({ length: 21 }, () => []);
let pooledBytes = 0;

function takeBuffer(size: number): Uint8Array {
  if (size > LARGEST_POOLED) return new Uint8Array(size);
  const log = 32 - Math.clz32(Math.max(size, SMALLEST_BUFFER) - 1);
  const free = pool[log]!.pop();
  if (free === undefined) return new Uint8Array(1 << log);
  pooledBytes -= free.length;
  return free;
}

function giveBuffer(buffer: Uint8Array): void {
  const size = buffer.length;
  if (size > LARGEST_POOLED || pooledBytes + size > POOL_LIMIT) return;
  pool[31 - Math.clz32(size)]!.push(buffer);
  pooledBytes += size;
}

/** Accepted bytes behind those that go out first. */
interface Chunk {
  buffer: Uint8Array;
  end: number;
}

/** Who is told of writes. */
export interface OutboundEvents {
  /** A write has ended, or writing has failed. */
  onProgress(): void;
}

/** Writes a channel behind its owner. */
export class Outbound {
  /** Bytes accepted and not yet taken by the channel. */
  pending = 0;
  /** Bytes that the channel has taken so far. */
  written = 0;
  /** Bytes that were accepted and given up. */
  lost = 0;
  /**
   * Settles when the end that was asked for is written, `false` if it could not
   * be; `null` before all that precedes it has gone out.
   */
  writeClosed: Promise<boolean> | null = null;
  /** Nothing can be written any more. */
  failed = false;
  /** Why; `null` when it was given up on purpose. */
  error: Error | null = null;
  /** The channel is being closed from this side: that is why a write fails. */
  closing = false;

  readonly #listener: OutboundEvents;
  #channel: Channel | null = null;
  /** What goes out first: the bytes from `#start` to `#end`, and then … */
  #buffer: Uint8Array | null = null;
  #start = 0;
  #end = 0;
  /** … these. An idle or prompt connection has none. */
  #rest: Queue<Chunk> | null = null;
  #writing = false;
  /** Where in its buffer the write in flight ends. */
  #writingTo = 0;
  #whenDone: (() => void)[] | null = null;
  #ending = false;
  /** Bound with the first write: many connections never have one. */
  #written: ((length: number) => void) | null = null;
  #broken: ((error: unknown) => void) | null = null;

  constructor(listener: OutboundEvents) {
    this.#listener = listener;
  }

  /** Keeps what is accepted from now on for another channel. */
  detach(): void {
    this.#channel = null;
  }

  get isDetached(): boolean {
    return this.#channel === null;
  }

  /** A write is in flight. */
  get writing(): boolean {
    return this.#writing;
  }

  /** Bytes accepted so far. */
  get accepted(): number {
    return this.written + this.pending;
  }

  /** Gives what was accepted so far, and what will be, to `channel`. */
  attach(channel: Channel): void {
    this.#channel = channel;
    this.start();
    if (this.pending === 0) this.#allDone();
  }

  /** Accepts all of `data`, which the caller may change afterwards. */
  append(data: Uint8Array): void {
    const { length } = data;
    if (length === 0 || this.failed) return;
    this.pending += length;
    if (this.#buffer === null) {
      this.#buffer = takeBuffer(length);
      this.#start = 0;
      this.#end = length;
      this.#buffer.set(data);
    } else if (
      this.#rest === null && this.#buffer.length - this.#end >= length
    ) {
      this.#buffer.set(data, this.#end);
      this.#end += length;
    } else this.#appendToRest(data);
  }

  #appendToRest(data: Uint8Array): void {
    const { length } = data;
    const rest = this.#rest ??= new Queue();
    let tail = rest.last;
    if (tail === undefined || tail.buffer.length - tail.end < length) {
      tail = { buffer: takeBuffer(Math.max(length, GATHER_BUFFER)), end: 0 };
      rest.push(tail);
    }
    tail.buffer.set(data, tail.end);
    tail.end += length;
  }

  /** Starts writing, unless a write is in flight or nothing waits. */
  start(): void {
    if (this.#writing || this.#channel === null || this.#buffer === null) {
      return;
    }
    this.#writing = true;
    this.#writingTo = this.#end;
    try {
      const data = this.#buffer.subarray(this.#start, this.#end);
      promiseOf(this.#channel.write(data), "write").then(
        this.#written ??= (length) => this.#onWritten(length),
        this.#broken ??= (error) => this.#onError(error),
      );
    } catch (error) {
      this.#onError(error);
    }
  }

  /** Forgets what has not begun to go out. */
  discard(): void {
    this.#rest = null;
    if (this.#writing) {
      this.#end = this.#writingTo;
      this.pending = this.#end - this.#start;
    } else if (this.#buffer !== null) {
      giveBuffer(this.#buffer);
      this.#buffer = null;
      this.pending = 0;
      this.#allDone();
    }
  }

  /** Ends the writing direction when everything has gone out. */
  end(): void {
    this.#ending = true;
    if (this.pending === 0) this.#closeWrite();
  }

  /** Nothing is left to be written. */
  #allDone(): void {
    if (this.#ending) this.#closeWrite();
    if (this.#whenDone !== null) this.#tellDone();
  }

  #closeWrite(): void {
    const channel = this.#channel;
    if (channel === null || this.writeClosed !== null || this.failed) return;
    this.writeClosed = new Promise((resolve) => resolve(channel.closeWrite?.()))
      .then(() => true, (error) => this.#closeWriteFailed(error));
  }

  #closeWriteFailed(reason: unknown): false {
    const error = failureOf("The channel's closeWrite()", reason);
    // If the peer is gone, there is nothing left to end.
    if (!isDisconnect(error) && !isUnsupported(error)) this.#onError(error);
    return false;
  }

  #tellDone(): void {
    const waiting = this.#whenDone;
    this.#whenDone = null;
    for (const tell of waiting ?? []) tell();
  }

  /**
   * Settles when everything has gone out, and no handshake is under way, or
   * writing has failed.
   */
  done(): Promise<void> {
    const isDone = this.pending === 0 && this.#channel !== null;
    if (isDone || this.failed) return Promise.resolve();
    return new Promise((resolve) => void (this.#whenDone ??= []).push(resolve));
  }

  /** Gives up what has not gone out. */
  fail(error: Error | null): void {
    if (this.failed) return;
    this.failed = true;
    this.error = error;
    this.lost = this.pending;
    this.pending = 0;
    this.#buffer = null;
    this.#rest = null;
    this.#tellDone();
  }

  #onWritten(length: number): void {
    this.#writing = false;
    if (this.failed) {
      this.#listener.onProgress();
      return;
    }
    const asked = this.#writingTo - this.#start;
    if (!isCount(length, asked) || length === 0) {
      // Trying again at once could go on for ever.
      const taken = showValue(length);
      const message = `The channel took ${taken} bytes of those it was given`;
      this.#onError(new Deno.errors.WriteZero(message));
      return;
    }
    this.#start += length;
    this.pending -= length;
    this.written += length;
    if (this.#start === this.#end) this.#shift();
    if (this.pending > 0) this.start();
    else this.#allDone();
    this.#listener.onProgress();
  }

  /** Goes on with the next buffer, if there is one. */
  #shift(): void {
    giveBuffer(this.#buffer!);
    const next = this.#rest?.shift();
    if (next === undefined) this.#buffer = null;
    else {
      this.#buffer = next.buffer;
      this.#start = 0;
      this.#end = next.end;
      if (this.#rest!.length === 0) this.#rest = null;
    }
  }

  #onError(reason: unknown): void {
    this.#writing = false;
    if (!this.closing) this.fail(failureOf("The channel's write()", reason));
    this.#listener.onProgress();
  }
}
