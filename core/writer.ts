/**
 * The buffer of the writing direction: it copies bytes when it accepts them, and
 * writes them in order, with one write in flight.
 *
 * @module
 */

import { failureOf, isDisconnect, isUnsupported } from "./errors.ts";
import { Queue } from "./queue.ts";
import type { Sink, WriteListener } from "./source.ts";

/**
 * Smallest buffer, in bytes. A larger one takes more small messages before it
 * needs another buffer; a smaller one costs less memory while a short message
 * waits. The value is a choice: 128 bytes and 8 KiB cost an echo of 64 bytes the
 * same processor time.
 */
const SMALLEST_BUFFER = 1024;
/**
 * Size of the buffers behind the first one, in bytes, which gather messages while
 * a write is in flight. A larger one makes fewer writes of many small messages; a
 * smaller one costs less memory while they wait. Measured with messages of 100
 * bytes over one connection: 4 KiB cost a quarter more processor time, 64 KiB
 * gained nothing.
 */
const GATHER_BUFFER = 16 * 1024;
/**
 * Largest buffer that is kept for reuse, in bytes. A larger value saves
 * allocations to programs that often send large messages; a smaller one gives
 * memory back sooner. Measured with messages of 512 KiB: 64 KiB cost 1.8 times the
 * processor time, 4 MiB gained nothing.
 */
const LARGEST_POOLED = 1024 * 1024;
/**
 * Most bytes of all free buffers together. A larger value saves allocations in the
 * next burst; a smaller one leaves less memory in use after a burst. The value is
 * a choice. Without any pool, a message of 100 bytes cost a tenth more.
 */
const POOL_LIMIT = 8 * 1024 * 1024;

/**
 * Bytes from so many on go to a sink that takes them at once without a copy, unless
 * others wait. A larger number gathers more messages into one write; a smaller one
 * copies less. The value is a choice.
 */
const COPIED_BELOW = 8 * 1024;

/** Free buffers by the logarithm of their size. All connections share them. */
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

/** A buffer of accepted bytes that go out later. */
interface Chunk {
  buffer: Uint8Array;
  end: number;
}

/** The listener of a writer. */
export interface WriterListener {
  /** A write has ended, or writing has failed. */
  onProgress(): void;
}

/** Accepts bytes, and writes them to a sink. */
export class Writer implements WriteListener {
  /** How many accepted bytes the sink has not yet taken. */
  pending = 0;
  /** How many bytes the sink has taken so far. */
  written = 0;
  /** How many accepted bytes were lost. */
  lost = 0;
  /**
   * Resolves when the writing direction has ended: with `false` if that failed.
   * `null` until all accepted bytes have gone out.
   */
  closed: Promise<boolean> | null = null;
  /** Writing has failed: no more bytes can be written. */
  failed = false;
  /** The reason of the failure; `null` if the program aborted. */
  error: Error | null = null;
  /** This side closes the channel, so a write may fail without a fault. */
  isClosing = false;
  /** A write is in flight. */
  isWriting = false;
  /** {@linkcode Sink.isImmediate} */
  isImmediate = false;

  #listener: WriterListener;
  #sink: Sink | null = null;
  /** The bytes from `#start` to `#end` of this buffer go out first. */
  #buffer: Uint8Array | null = null;
  #start = 0;
  #end = 0;
  /** The buffers behind it. There are none while the peer keeps pace. */
  #rest: Queue<Chunk> | null = null;
  /** Where in its buffer the write in flight ends. */
  #writingTo = 0;
  #whenDone: (() => void)[] | null = null;
  #isEnding = false;

  constructor(listener: WriterListener) {
    this.#listener = listener;
  }

  /** Tells another listener from now on: another dispatcher takes the bytes over. */
  moveTo(listener: WriterListener): void {
    this.#listener = listener;
  }

  /** Takes away the sink: bytes that are accepted from now on wait for another. */
  detach(): void {
    this.#sink = null;
  }

  /** It has no sink: it is connecting, or at a handshake. */
  get isDetached(): boolean {
    return this.#sink === null;
  }

  /** How many bytes were accepted so far. */
  get accepted(): number {
    return this.written + this.pending;
  }

  /** Sets the sink, and starts writing. */
  attach(sink: Sink): void {
    this.#sink = sink;
    this.isImmediate = sink.isImmediate === true;
    this.start();
    if (this.pending === 0) this.#allDone();
  }

  /** Accepts all of `data`. The caller may change it afterwards. */
  append(data: Uint8Array): void {
    const { length } = data;
    if (length === 0 || this.failed) return;
    this.pending += length;
    const isDirect = length >= COPIED_BELOW && this.#buffer === null &&
      this.#sink !== null && this.isImmediate;
    const rest = isDirect ? this.#writeNow(data, this.#sink!) : data;
    if (rest.length > 0 && !this.failed) this.#store(rest);
  }

  /** Writes bytes without a copy. Returns those that the sink did not take. */
  #writeNow(data: Uint8Array, sink: Sink): Uint8Array {
    const length = sink.write(data, data.length, this);
    if (length === 0) return data;
    this.pending -= length;
    this.written += length;
    this.#listener.onProgress();
    return data.subarray(length);
  }

  /** Copies accepted bytes. */
  #store(data: Uint8Array): void {
    const { length } = data;
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
    if (this.isWriting) return;
    let taken = 0;
    while (this.#sink !== null && this.#buffer !== null) {
      this.isWriting = true;
      this.#writingTo = this.#end;
      const start = this.#start;
      const size = this.#end - start;
      // A view costs as much as its bytes.
      const data = start === 0 ? this.#buffer : this.#buffer.subarray(start);
      const length = this.#sink.write(data, size, this);
      if (length === 0) break; // The sink will tell when more can be written.
      this.isWriting = false;
      this.#took(length);
      taken += length;
    }
    if (taken > 0) this.#listener.onProgress();
  }

  /** Drops the bytes that are not in a write. */
  discard(): void {
    this.#rest = null;
    if (this.isWriting) {
      this.#end = this.#writingTo;
      this.pending = this.#end - this.#start;
    } else if (this.#buffer !== null) {
      giveBuffer(this.#buffer);
      this.#buffer = null;
      this.pending = 0;
      this.#allDone();
    }
  }

  /** Ends the writing direction when all accepted bytes have gone out. */
  end(): void {
    this.#isEnding = true;
    if (this.pending === 0) this.#closeWrite();
  }

  /** All accepted bytes have gone out. */
  #allDone(): void {
    if (this.#isEnding) this.#closeWrite();
    if (this.#whenDone !== null) this.#tellDone();
  }

  #closeWrite(): void {
    if (this.#sink === null || this.closed !== null || this.failed) return;
    this.closed = this.#sink.closeWrite()
      .then(() => true, (error) => this.#closeWriteFailed(error));
  }

  #closeWriteFailed(reason: unknown): false {
    const error = failureOf("The channel's closeWrite()", reason);
    // A peer that is gone cannot read the end, so that is no failure.
    if (!isDisconnect(error) && !isUnsupported(error)) this.onWriteError(error);
    return false;
  }

  #tellDone(): void {
    const waiting = this.#whenDone;
    this.#whenDone = null;
    for (const tell of waiting ?? []) tell();
  }

  /**
   * Resolves when all accepted bytes have gone out and no handshake is under way,
   * or when writing has failed.
   */
  done(): Promise<void> {
    const isDone = this.pending === 0 && this.#sink !== null;
    if (isDone || this.failed) return Promise.resolve();
    return new Promise((resolve) => void (this.#whenDone ??= []).push(resolve));
  }

  /** Stops writing, and counts the pending bytes as lost. */
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

  onWritable(length: number): void {
    this.isWriting = false;
    if (!this.failed) {
      if (length > 0) this.#took(length);
      this.start();
    }
    this.#listener.onProgress();
  }

  #took(length: number): void {
    this.#start += length;
    this.pending -= length;
    this.written += length;
    if (this.#start === this.#end) this.#shift();
    if (this.pending === 0) this.#allDone();
  }

  /** Goes on with the next buffer, if any. */
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

  onWriteError(reason: unknown): void {
    this.isWriting = false;
    if (!this.isClosing) this.fail(failureOf("The channel's write()", reason));
    this.#listener.onProgress();
  }
}
