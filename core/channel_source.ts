/**
 * The source over a {@linkcode Channel}. The promises of a channel tell that an
 * operation is complete; a source tells what can be read and written now. So it
 * reads ahead into one buffer, and has one write in flight.
 *
 * @module
 */

import { isCount, showValue } from "./arguments.ts";
import { type Channel, type CheckedChannel, promiseOf } from "./channel.ts";
import { failureOf, isDisconnect, isUnsupported } from "./errors.ts";
import { keepFreedMemory, LARGE_BUFFER } from "./memory.ts";
import type { ReadListener, Source, WriteListener } from "./source.ts";

/**
 * First read buffer, in bytes. Each idle connection holds one while its read
 * waits. A larger buffer takes a longer message in the first read; a smaller one
 * saves memory. With 2 KiB, an idle connection took a third more memory in all
 * (14 KB instead of 10.6; see `idle` in `bench/`).
 */
const SMALLEST_BUFFER = 1024;
/**
 * Largest read buffer, in bytes, for a channel without a `chunkSize`. A larger
 * buffer needs fewer calls for the same bytes; a smaller one saves memory, as
 * each busy connection holds one. Measured with the rows "256 KiB" of `bench/`:
 * 128 KiB was faster than 64, and 256 KiB no faster (docs/performance.md).
 */
const LARGEST_BUFFER = 128 * 1024;
/**
 * Most bytes that wait unread for a class without `handleRead()`. Reading goes on
 * behind them, as only a read tells of the peer's end. A larger number drops
 * nothing for longer; a smaller one bounds the memory that one peer can cost. The
 * value is a choice, not measured.
 */
const MOST_UNREAD = 64 * 1024;

/** Reads a channel ahead by one buffer, and has one write in flight. */
export class ChannelSource implements Source {
  available = 0;
  taken = 0;
  discarded = 0;
  isWatching = false;
  ended = false;
  reason: Error | null = null;
  unsupported = false;
  isClosing = false;
  /** Deno brings its events in any case. */
  inBackground = false;

  readonly #channel: Channel;
  #listener: ReadListener;
  readonly #largestBuffer: number;
  #buffer: Uint8Array | null = null;
  /** Where in the buffer the waiting bytes begin. */
  #start = 0;
  #nextSize: number;
  #error: Error | null = null;
  /** How many bytes the write in flight has; 0 if none is in flight. */
  #writing = 0;
  /** Made with the first write: many connections never write. */
  #writer: WriteListener | null = null;
  #onWritten: ((length: number) => void) | null = null;
  #onWriteError: ((error: unknown) => void) | null = null;

  constructor(
    { channel, chunkSize = LARGEST_BUFFER }: CheckedChannel,
    listener: ReadListener,
  ) {
    this.#channel = channel;
    this.#largestBuffer = chunkSize;
    this.#nextSize = Math.min(SMALLEST_BUFFER, chunkSize);
    this.#listener = listener;
  }

  get isBusy(): boolean {
    return this.isWatching || this.#writing > 0;
  }

  get isReadable(): boolean {
    return this.available > 0 || this.ended;
  }

  moveTo(listener: ReadListener): void {
    this.#listener = listener;
  }

  watch(): void {
    if (this.isWatching || this.unsupported || this.ended) return;
    if (this.available > 0) return;
    this.#start = 0;
    this.isWatching = true;
    try {
      this.#read(this.#buffer ??= new Uint8Array(this.#nextSize));
    } catch (error) {
      this.#onReadError(error);
    }
  }

  watchBehind(): boolean {
    if (this.isWatching || this.unsupported || this.ended) return true;
    if (this.available === 0) this.watch();
    else if (this.available >= MOST_UNREAD) return false;
    else {
      this.isWatching = true;
      try {
        this.#read(this.#roomBehind());
      } catch (error) {
        this.#onReadError(error);
      }
    }
    return true;
  }

  /** The room behind the waiting bytes, in a larger buffer if need be. */
  #roomBehind(): Uint8Array {
    const buffer = this.#buffer!;
    const end = this.#start + this.available;
    const length = Math.min(2 * buffer.length, MOST_UNREAD);
    if (length - this.available <= buffer.length - end) {
      return buffer.subarray(end);
    }
    const waiting = buffer.subarray(this.#start, end);
    this.#buffer = new Uint8Array(length);
    this.#buffer.set(waiting);
    this.#start = 0;
    return this.#buffer.subarray(waiting.length);
  }

  #read(target: Uint8Array): void {
    promiseOf(this.#channel.read(target), "read")
      .then(this.#onRead, this.#onReadError);
  }

  take(size: number): Uint8Array {
    const length = Math.min(size, this.available);
    const from = this.#start;
    // Faster than slice(): this copy need not fill its target with zeros first.
    const data = new Uint8Array(this.#buffer!.subarray(from, from + length));
    this.taken += length;
    this.#advance(length);
    return data;
  }

  takeInto(target: Uint8Array): number {
    const length = Math.min(target.length, this.available);
    target.set(this.#buffer!.subarray(this.#start, this.#start + length));
    this.taken += length;
    this.#advance(length);
    return length;
  }

  takeError(): Error | null {
    const error = this.#error;
    this.#error = null;
    return error;
  }

  discard(): void {
    this.discarded += this.available;
    this.#advance(this.available);
  }

  #advance(length: number): void {
    this.#start += length;
    this.available -= length;
    // A read behind the waiting bytes is in flight: it fills the same buffer.
    if (this.available > 0 || this.isWatching) return;
    this.#start = 0;
    // The next read wants another size: the connection is busier or quieter.
    if (this.#buffer?.length !== this.#nextSize) this.#buffer = null;
  }

  readonly #onRead = (length: number | null): void => {
    this.isWatching = false;
    const { length: size } = this.#buffer!;
    if (length === null) this.ended = true;
    else if (
      !Number.isInteger(length) || length < 0 ||
      length > size - this.#start - this.available
    ) {
      const given = showValue(length);
      this.#onReadError(new RangeError(`The channel read ${given} bytes`));
      return;
    } else {
      this.available += length;
      // A read that fills the buffer makes the next one larger, a small read
      // makes it smaller.
      if (length === size) {
        this.#nextSize = Math.min(4 * size, this.#largestBuffer);
        if (this.#nextSize >= LARGE_BUFFER) keepFreedMemory();
      } else if (4 * length <= size && size > SMALLEST_BUFFER) {
        this.#nextSize = Math.max(size >> 1, SMALLEST_BUFFER);
      }
    }
    this.#listener.onReadable();
  };

  readonly #onReadError = (reason: unknown): void => {
    const error = failureOf("The channel's read()", reason);
    this.isWatching = false;
    if (isUnsupported(error)) this.unsupported = true;
    else {
      this.ended = true;
      if (!this.isClosing) this.reason = error;
      if (!isDisconnect(error)) this.#error = error;
    }
    this.#listener.onReadable();
  };

  write(data: Uint8Array, size: number, listener: WriteListener): number {
    this.#writing = size;
    this.#writer = listener;
    const onError = this.#onWriteError ??= (error: unknown) => {
      this.#writing = 0;
      this.#writer!.onWriteError(error);
    };
    this.#onWritten ??= (length) => {
      const asked = this.#writing;
      const writer = this.#writer!;
      this.#writing = 0;
      if (isCount(length, asked) && length > 0) writer.onWritable(length);
      // A channel that takes nothing could do so for ever: do not try again.
      else writer.onWriteError(notTaken(length));
    };
    try {
      promiseOf(this.#channel.write(data.subarray(0, size)), "write")
        .then(this.#onWritten, onError);
    } catch (error) {
      onError(error);
    }
    return 0;
  }

  closeWrite(): Promise<void> {
    return new Promise((resolve) => resolve(this.#channel.closeWrite?.()));
  }
}

function notTaken(length: unknown): Error {
  return new Deno.errors.WriteZero(
    `The channel took ${showValue(length)} bytes of those it was given`,
  );
}
