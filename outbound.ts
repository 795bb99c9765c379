/**
 * The writing side of a channel: bytes are copied when they are accepted, and
 * go out in order by themselves, one write in flight.
 *
 * @module
 */

import type { Channel } from "./channel.ts";

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

/** A buffer of accepted bytes: those from `start` to `end` have yet to go. */
interface Chunk {
  buffer: Uint8Array;
  start: number;
  end: number;
}

/** Writes a channel behind its owner. */
export class Outbound {
  /** Bytes accepted and not yet taken by the channel. */
  pending = 0;
  /** Bytes that the channel has taken so far. */
  written = 0;
  /** Bytes that were accepted and given up. */
  lost = 0;
  /** Settles when the end that was asked for is written. */
  writeClosed: Promise<void> | undefined = undefined;
  /** Nothing can be written any more. */
  failed = false;
  /** Why; `null` when it was given up on purpose. */
  error: unknown = null;

  readonly #onProgress: () => void;
  #channel: Channel | null = null;
  #chunks: Chunk[] = [];
  #writing = false;
  /** Where in its chunk the write in flight ends. */
  #writingTo = 0;
  #whenDone: (() => void)[] = [];
  #ending = false;

  /** `onProgress` runs after each write, and when writing has failed. */
  constructor(onProgress: () => void) {
    this.#onProgress = onProgress;
  }

  /** Keeps what is accepted from now on for another channel. */
  detach(): void {
    this.#channel = null;
  }

  get isDetached(): boolean {
    return this.#channel === null;
  }

  /** Bytes accepted so far. */
  get accepted(): number {
    return this.written + this.pending;
  }

  /** Gives what was accepted so far, and what will be, to `channel`. */
  attach(channel: Channel): void {
    this.#channel = channel;
    this.start();
    if (this.#ending && this.pending === 0) this.#closeWrite();
  }

  /** Accepts all of `data`, which the caller may change afterwards. */
  append(data: Uint8Array): void {
    const { length } = data;
    if (length === 0 || this.failed) return;
    this.pending += length;
    let tail = this.#chunks.at(-1);
    if (tail === undefined || tail.buffer.length - tail.end < length) {
      const least = tail === undefined ? 0 : GATHER_BUFFER;
      tail = { buffer: takeBuffer(Math.max(length, least)), start: 0, end: 0 };
      this.#chunks.push(tail);
    }
    tail.buffer.set(data, tail.end);
    tail.end += length;
  }

  /** Starts writing, unless a write is in flight or nothing waits. */
  start(): void {
    if (this.#writing || this.#channel === null || this.pending === 0) return;
    this.#writing = true;
    const { buffer, start, end } = this.#chunks[0]!;
    this.#writingTo = end;
    try {
      this.#channel.write(buffer.subarray(start, end))
        .then(this.#onWritten, this.#onError);
    } catch (error) {
      this.#onError(error);
    }
  }

  /** Forgets what has not begun to go out. */
  discard(): void {
    const first = this.#writing ? this.#chunks[0] : undefined;
    if (first) first.end = this.#writingTo;
    this.#chunks = first ? [first] : [];
    this.pending = first ? first.end - first.start : 0;
  }

  /** Ends the writing direction when everything has gone out. */
  end(): void {
    this.#ending = true;
    if (this.pending === 0) this.#closeWrite();
  }

  #closeWrite(): void {
    // The peer may be gone: then there is nothing left to end.
    this.writeClosed = this.#channel?.closeWrite?.().catch(() => {});
  }

  #tellDone(): void {
    for (const tell of this.#whenDone.splice(0)) tell();
  }

  /** Settles when everything has gone out or writing has failed. */
  done(): Promise<void> {
    if (this.pending === 0 || this.failed) return Promise.resolve();
    return new Promise((resolve) => void this.#whenDone.push(resolve));
  }

  /** Gives up what has not gone out. */
  fail(error: unknown): void {
    if (this.failed) return;
    this.failed = true;
    this.error = error;
    this.lost = this.pending;
    this.pending = 0;
    this.#chunks = [];
    this.#tellDone();
  }

  readonly #onWritten = (length: number): void => {
    this.#writing = false;
    if (this.failed) return;
    const chunk = this.#chunks[0]!;
    const asked = this.#writingTo - chunk.start;
    if (!Number.isInteger(length) || length < 1 || length > asked) {
      // Trying again at once could go on for ever.
      const message = `The channel took ${length} bytes of those it was given`;
      this.#onError(new Deno.errors.WriteZero(message));
      return;
    }
    chunk.start += length;
    this.pending -= length;
    this.written += length;
    if (chunk.start === chunk.end) {
      this.#chunks.shift();
      giveBuffer(chunk.buffer);
    }
    if (this.pending > 0) this.start();
    else {
      if (this.#ending) this.#closeWrite();
      this.#tellDone();
    }
    this.#onProgress();
  };

  readonly #onError = (error: unknown): void => {
    this.#writing = false;
    if (this.failed) return;
    this.fail(error);
    this.#onProgress();
  };
}
