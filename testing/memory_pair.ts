/**
 * Two channels that are connected in memory: {@linkcode memoryPair}.
 *
 * @module
 */

import { checkBytes, checkInteger } from "../core/arguments.ts";
import { checkOptions, type OptionNames } from "../core/option_names.ts";
import type { Channel } from "../core/channel.ts";
import { IN_PROCESS } from "../core/symbols.ts";
import { Queue } from "../core/queue.ts";
import type { PendingRead, PendingWrite } from "./pending.ts";

/** Options of {@linkcode memoryPair}. */
export interface MemoryPairOptions {
  /**
   * How many bytes may wait to be read, each way. A write takes what there is
   * room for; without room, it waits.
   *
   * @default {65_536}
   */
  capacity?: number | undefined;
  /**
   * How many bytes one read or one write moves at most. With 1, each byte comes
   * alone: whoever takes a read for a message is found out.
   *
   * @default {Infinity}
   */
  piece?: number | undefined;
}

const PAIR_OPTIONS: OptionNames<MemoryPairOptions> = {
  capacity: true,
  piece: true,
};

/**
 * Makes two connected channels in memory. They behave as a connection does: an
 * end comes after the bytes before it, a peer that is gone is a broken pipe.
 * They need no permission, and take no time but turns of the promises.
 *
 * @param options How much may wait, and how much moves at once.
 * @returns Both ends, which are alike.
 * @throws {TypeError} If an option is no number.
 * @throws {RangeError} If an option is not a whole number of 1 or more.
 *
 * @example A dispatcher and its peer, without a socket
 * ```ts
 * import { DispatcherWithSend, poll, SocketMap } from "@asyncore/asyncore";
 * import { memoryPair } from "@asyncore/asyncore/testing";
 * import { assertEquals } from "@std/assert";
 *
 * class Echo extends DispatcherWithSend {
 *   override handleRead() {
 *     this.send(this.recv());
 *   }
 * }
 *
 * const map = new SocketMap();
 * const [ours, theirs] = memoryPair();
 * new Echo(ours, { map });
 * await theirs.write(new TextEncoder().encode("spam"));
 * await poll(10, map);
 * const answer = new Uint8Array(4);
 * await theirs.read(answer);
 * assertEquals(new TextDecoder().decode(answer), "spam");
 * ```
 */
export function memoryPair(
  options: MemoryPairOptions = {},
): [Channel, Channel] {
  checkOptions(options, PAIR_OPTIONS);
  const { capacity = 64 * 1024, piece = Infinity } = options;
  checkInteger("capacity", capacity, 1);
  checkInteger("piece", piece, 1);
  const there = new MemoryPipe(capacity, piece);
  const back = new MemoryPipe(capacity, piece);
  return [new MemoryChannel(back, there), new MemoryChannel(there, back)];
}

/** One direction: one read and one write may wait at a time. */
class MemoryPipe {
  readonly #capacity: number;
  readonly #piece: number;
  readonly #waiting = new Queue<Uint8Array>();
  /** How many bytes of the first that waits were read. */
  #taken = 0;
  #bytes = 0;
  #reading: PendingRead | null = null;
  #writing: PendingWrite | null = null;
  #isEnded = false;
  /** Nobody reads it any more. */
  #isBroken = false;

  constructor(capacity: number, piece: number) {
    this.#capacity = capacity;
    this.#piece = piece;
  }

  read(target: Uint8Array): Promise<number | null> {
    return new Promise((resolve, reject) => {
      checkBytes("target", target);
      if (this.#reading !== null) reject(busyError("read"));
      else if (target.length === 0) resolve(0);
      else {
        this.#reading = { bytes: target, resolve, reject };
        this.#move();
      }
    });
  }

  write(data: Uint8Array): Promise<number> {
    return new Promise((resolve, reject) => {
      checkBytes("data", data);
      if (this.#writing !== null) reject(busyError("write"));
      else if (this.#isBroken) {
        reject(new Deno.errors.BrokenPipe("Broken pipe"));
      } else if (data.length === 0) resolve(0);
      else {
        this.#writing = { bytes: data, resolve, reject };
        this.#move();
      }
    });
  }

  #move(): void {
    const writing = this.#writing;
    const room = this.#capacity - this.#bytes;
    if (writing !== null && room > 0) {
      this.#writing = null;
      const most = Math.min(room, this.#piece);
      // A copy: slice() of a Buffer would be none.
      const taken = new Uint8Array(writing.bytes.subarray(0, most));
      this.#waiting.push(taken);
      this.#bytes += taken.length;
      writing.resolve(taken.length);
    }
    const reading = this.#reading;
    if (reading === null || (this.#bytes === 0 && !this.#isEnded)) return;
    this.#reading = null;
    reading.resolve(this.#bytes > 0 ? this.#take(reading.bytes) : null);
  }

  #take(target: Uint8Array): number {
    const most = Math.min(target.length, this.#piece, this.#bytes);
    let length = 0;
    while (length < most) {
      const first = this.#waiting.first!;
      const end = this.#taken + most - length;
      const part = first.subarray(this.#taken, end);
      target.set(part, length);
      length += part.length;
      this.#bytes -= part.length;
      this.#taken += part.length;
      if (this.#taken < first.length) continue;
      this.#waiting.shift();
      this.#taken = 0;
    }
    if (this.#writing !== null) this.#move();
    return length;
  }

  /** Nothing more is written. */
  end(): void {
    this.#isEnded = true;
    this.#move();
  }

  /** Nothing more is read. */
  break(): void {
    this.#isBroken = true;
    this.#waiting.takeAll();
    this.#bytes = this.#taken = 0;
    this.#writing?.reject(new Deno.errors.BrokenPipe("Broken pipe"));
    this.#writing = null;
  }

  /** The reading end is closed. */
  stopReading(error: Error): void {
    this.#reading?.reject(error);
    this.#reading = null;
    this.break();
  }

  /** The writing end is closed. */
  stopWriting(error: Error): void {
    this.#writing?.reject(error);
    this.#writing = null;
    this.end();
  }
}

/** One end of two pipes. */
class MemoryChannel implements Channel {
  readonly [IN_PROCESS] = true;
  readonly #in: MemoryPipe;
  readonly #out: MemoryPipe;
  #isClosed = false;
  #isWriteEnded = false;

  constructor(from: MemoryPipe, to: MemoryPipe) {
    this.#in = from;
    this.#out = to;
  }

  read(target: Uint8Array): Promise<number | null> {
    if (this.#isClosed) return Promise.reject(closedError("read"));
    return this.#in.read(target);
  }

  write(data: Uint8Array): Promise<number> {
    if (this.#isClosed) return Promise.reject(closedError("write"));
    if (!this.#isWriteEnded) return this.#out.write(data);
    const message = "Cannot write: the writing direction has ended";
    return Promise.reject(new Deno.errors.BrokenPipe(message));
  }

  closeWrite(): Promise<void> {
    if (this.#isClosed) return Promise.reject(closedError("end writing"));
    this.#isWriteEnded = true;
    this.#out.end();
    return Promise.resolve();
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const interrupted = new Deno.errors.Interrupted("The channel was closed");
    this.#in.stopReading(interrupted);
    this.#out.stopWriting(interrupted);
  }
}

function closedError(action: string): Error {
  const message = `Cannot ${action}: the channel is closed`;
  return new Deno.errors.BadResource(message);
}

function busyError(action: string): Error {
  const message = `Cannot ${action}: another ${action} is pending`;
  return new Deno.errors.Busy(message);
}
