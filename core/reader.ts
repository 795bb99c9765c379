/**
 * The reading side of a channel: at most one read in flight, at most one
 * buffer held.
 *
 * @module
 */

import { isCount, showValue } from "./arguments.ts";
import { type Channel, type CheckedChannel, promiseOf } from "./channel.ts";
import { failureOf, isDisconnect, isUnsupported } from "./errors.ts";
import { keepFreedMemory } from "./memory.ts";

/** What an idle connection costs while its read waits. */
const SMALLEST_BUFFER = 1024;
/** What a busy connection reads at a time. */
const LARGEST_BUFFER = 128 * 1024;
/** Buffers of this size and more are worth keeping memory for. */
const LARGE_BUFFER = 16 * 1024;
/** How much may wait unread while reading goes on behind it. */
const MOST_UNREAD = 64 * 1024;

/** Who is told of reads. */
export interface InboundEvents {
  /** A read has ended. */
  onReady(): void;
}

/** Reads a channel ahead of its owner by one buffer. */
export class Inbound {
  /** A read is in flight. */
  reading = false;
  /** Nothing will come any more: the end of the stream, or an error. */
  ended = false;
  /** Why reading ended, when it was neither the end nor a disconnect. */
  error: Error | null = null;
  /** Why reading ended, when it was not the end nor our own close. */
  reason: Error | null = null;
  /** How many bytes were thrown away. */
  discarded = 0;
  /** The channel is being closed from this side. */
  closing = false;
  /** The channel cannot be read at all, so there is nothing to wait for. */
  unsupported = false;

  /** Hears of each read that has ended. */
  listener: InboundEvents;
  /** {@linkcode Channel.chunkSize}, if the channel has one. */
  readonly chunkSize: number | undefined;

  readonly #channel: Channel;
  #buffer: Uint8Array | null = null;
  #start = 0;
  #end = 0;
  #nextSize: number;

  constructor(
    { channel, chunkSize }: CheckedChannel,
    listener: InboundEvents,
  ) {
    this.#channel = channel;
    this.chunkSize = chunkSize;
    this.#nextSize = Math.min(SMALLEST_BUFFER, chunkSize ?? LARGEST_BUFFER);
    this.listener = listener;
  }

  /** How many bytes wait to be taken. */
  get available(): number {
    return this.#end - this.#start;
  }

  /** Bytes, the end or an error wait for the owner. */
  get ready(): boolean {
    return this.#end > this.#start || this.ended;
  }

  /** Starts a read, unless one is in flight or something waits already. */
  arm(): void {
    if (this.reading || this.unsupported || this.ready) return;
    this.#start = this.#end = 0;
    this.reading = true;
    try {
      this.#read(this.#buffer ??= new Uint8Array(this.#nextSize));
    } catch (error) {
      this.#onError(error);
    }
  }

  /**
   * Goes on reading behind what waits, to hear of the end.
   *
   * @returns Whether there was room for it.
   */
  armBehind(): boolean {
    if (this.reading || this.unsupported || this.ended) return true;
    if (this.available === 0) this.arm();
    else if (this.available >= MOST_UNREAD) return false;
    else {
      this.reading = true;
      try {
        this.#makeRoom();
        this.#read(this.#buffer!.subarray(this.#end));
      } catch (error) {
        this.#onError(error);
      }
    }
    return true;
  }

  #makeRoom(): void {
    const buffer = this.#buffer!;
    const length = Math.min(2 * buffer.length, MOST_UNREAD);
    if (length - this.available <= buffer.length - this.#end) return;
    const waiting = buffer.subarray(this.#start, this.#end);
    this.#buffer = new Uint8Array(length);
    this.#buffer.set(waiting);
    this.#start = 0;
    this.#end = waiting.length;
  }

  #read(target: Uint8Array): void {
    promiseOf(this.#channel.read(target), "read")
      .then(this.#onRead, this.#onError);
  }

  /** Takes at most `size` bytes. They are the caller's own. */
  take(size: number): Uint8Array {
    const length = Math.min(size, this.available);
    const from = this.#start;
    // Faster than slice(): what is copied into needs no zeros first.
    const data = new Uint8Array(this.#buffer!.subarray(from, from + length));
    this.#advance(length);
    return data;
  }

  /** Copies as many bytes as fit into `target`, and returns how many. */
  takeInto(target: Uint8Array): number {
    const length = Math.min(target.length, this.available);
    target.set(this.#buffer!.subarray(this.#start, this.#start + length));
    this.#advance(length);
    return length;
  }

  /** Forgets what is held. */
  discard(): void {
    this.discarded += this.available;
    this.#advance(this.available);
  }

  #advance(length: number): void {
    this.#start += length;
    // A read behind what waits goes into the same buffer.
    if (this.#start < this.#end || this.reading) return;
    this.#start = this.#end = 0;
    // Too small for a busy connection, or too large for one that fell quiet.
    if (this.#buffer?.length !== this.#nextSize) this.#buffer = null;
  }

  readonly #onRead = (length: number | null): void => {
    this.reading = false;
    if (length === null) this.ended = true;
    else if (!isCount(length, this.#buffer!.length - this.#end)) {
      const given = showValue(length);
      this.#onError(new RangeError(`The channel read ${given} bytes`));
      return;
    } else {
      this.#end += length;
      this.#adapt(length);
    }
    this.listener.onReady();
  };

  readonly #onError = (reason: unknown): void => {
    const error = failureOf("The channel's read()", reason);
    this.reading = false;
    if (isUnsupported(error)) {
      this.unsupported = true;
      this.listener.onReady();
      return;
    }
    this.ended = true;
    if (!this.closing) this.reason = error;
    if (!isDisconnect(error)) this.error = error;
    this.listener.onReady();
  };

  /** Reads that fill the buffer ask for a larger one, small ones for a smaller. */
  #adapt(length: number): void {
    const size = this.#buffer!.length;
    if (length === size) {
      this.#nextSize = Math.min(4 * size, this.chunkSize ?? LARGEST_BUFFER);
      if (this.#nextSize >= LARGE_BUFFER) keepFreedMemory();
    } else if (4 * length <= size && size > SMALLEST_BUFFER) {
      this.#nextSize = Math.max(size >> 1, SMALLEST_BUFFER);
    }
  }
}
