/**
 * Web streams as a channel: {@linkcode channelFrom}.
 *
 * @module
 */

import { checkMethods, checkOwned, showValue } from "../core/arguments.ts";
import type { Channel } from "../core/channel.ts";
import { checkOptions, type OptionNames } from "../core/option_names.ts";
import { quietly } from "../core/thenable.ts";

const NO_BYTES = new Uint8Array(0);
/**
 * One read passes over this many empty chunks in a row, and then gives 0 bytes.
 * With a larger number, a stream of empty chunks keeps the runtime from other
 * work for longer; with a smaller one, each few empty chunks cost a pass. The
 * number is a guess: honest streams have few empty chunks.
 */
const MOST_EMPTY = 32;

/**
 * What {@linkcode channelFrom} takes: a pair of byte streams, or one of them.
 * A `TransformStream`, a `CompressionStream`, a `Deno.Conn` and an open
 * `WebSocketStream` fit as they are.
 */
export interface ChannelStreams {
  /**
   * What the channel reads. Without it the channel is for writing only, and
   * its dispatcher gets no read event. Text in it, as a `WebSocketStream` may
   * bring, is an error.
   */
  readable?: ReadableStream<Uint8Array | string> | undefined;
  /** What the channel writes. Without it the channel is for reading only. */
  writable?:
    | WritableStream<Uint8Array>
    | WritableStream<BufferSource>
    | undefined;
}

const STREAMS: OptionNames<ChannelStreams> = { readable: true, writable: true };

/**
 * Makes a dispatcher's channel of Web streams, and locks them: a child
 * process, a compression in between, a pipe to another part of the program.
 *
 * A write waits until the stream has taken it, so that backpressure reaches
 * the dispatcher. Closing the channel cancels the readable; it closes the
 * writable, or aborts it if a write had not yet ended. A `Deno.Conn` is a channel
 * already, and is given back as it is: its streams close the whole socket when
 * writing ends, and its peer loses what it has not read. A stream that its other
 * side aborts or cancels without saying why is a disconnect, which ends in
 * `handleClose()`; every other error goes to `handleError()`.
 *
 * A filter, such as a child process, may answer before it has taken all that it
 * is sent. A class that buffers what it sends then needs the
 * {@linkcode DispatcherOptions.role} `"client"`, to take the answers meanwhile.
 *
 * @param streams The readable, the writable, or both.
 * @returns The channel, for the constructor of a dispatcher.
 * @throws {TypeError} If there is neither, one is no stream, or one is locked; if
 * one is missing, and `streams` has something of an unknown name.
 *
 * @example A child process as a dispatcher
 * ```ts
 * import { channelFrom, Dispatcher, loop } from "@asyncore/asyncore";
 * import { assertEquals } from "@std/assert";
 *
 * class Reader extends Dispatcher {
 *   text = "";
 *   readonly #decoder = new TextDecoder();
 *   override handleRead() {
 *     this.text += this.#decoder.decode(this.recv(), { stream: true });
 *   }
 * }
 *
 * const child = new Deno.Command(Deno.execPath(), {
 *   args: ["eval", "console.log('spam')"],
 *   stdout: "piped",
 * }).spawn();
 * const reader = new Reader(channelFrom({ readable: child.stdout }));
 * await loop();
 * await child.status;
 * assertEquals(reader.text, "spam\n");
 * ```
 */
export function channelFrom(streams: ChannelStreams): Channel {
  return isChannel(streams) ? streams : new StreamChannel(streams);
}

/** Whether it is a connection of Deno's whose streams are not in use. */
function isChannel(
  streams: ChannelStreams,
): streams is ChannelStreams & Channel {
  checkMethods("streams", streams, []);
  const { read, write, close } = streams as Partial<Channel>;
  return [read, write, close].every((one) => typeof one === "function") &&
    !streams.readable?.locked && !streams.writable?.locked;
}

/** Streams that look like a socket. */
class StreamChannel implements Channel {
  readonly #reader: Reader | null;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array> | null;
  /** What was read and not yet delivered. */
  #rest: Uint8Array = NO_BYTES;
  #closed = false;
  /** How to end the operations in flight. */
  readonly #interrupts = new Set<(error: Error) => void>();
  #writing = false;
  #writeEnd: Promise<void> | null = null;

  constructor(streams: ChannelStreams) {
    checkMethods("streams", streams, []);
    const { readable, writable } = streams;
    // A pair may bring more along, as that of a WebSocketStream does.
    const isPlain = Object.getPrototypeOf(streams) === Object.prototype;
    if (isPlain && !(readable && writable)) checkOptions(streams, STREAMS);
    if (readable === undefined && writable === undefined) {
      throw new TypeError("streams has neither a readable nor a writable");
    }
    if (readable) checkMethods("readable", readable, ["getReader"]);
    if (writable) checkMethods("writable", writable, ["getWriter"]);
    // Both or none: a failure leaves no lock behind.
    if (readable?.locked) throw new TypeError("The readable is locked already");
    this.#writer = (writable as WritableStream<Uint8Array>)?.getWriter() ??
      null;
    this.#reader = readable ? readerOf(readable) : null;
  }

  read(target: Uint8Array): Promise<number | null> {
    const reader = this.#reader;
    if (reader === null) return unsupported("readable");
    return this.#run("read", async () => {
      let skipped = 0;
      while (this.#rest.length === 0 && skipped++ < MOST_EMPTY) {
        checkOwned("A chunk of the readable", this.#rest);
        const { done, value } = await reader.next(target.length);
        if (done) return null;
        checkOwned("A chunk of the readable", value);
        this.#rest = value;
      }
      const length = Math.min(target.length, this.#rest.length);
      target.set(this.#rest.subarray(0, length));
      // The giver may transfer a chunk that is consumed.
      this.#rest = length < this.#rest.length
        ? this.#rest.subarray(length)
        : NO_BYTES;
      return length;
    });
  }

  write(data: Uint8Array): Promise<number> {
    const writer = this.#writer;
    if (writer === null) return unsupported("writable");
    return this.#run("write", async () => {
      // A stream may keep its chunks; `data` is only lent.
      this.#writing = true;
      await writer.write(new Uint8Array(data));
      this.#writing = false;
      return data.length;
    });
  }

  closeWrite(): Promise<void> {
    const writer = this.#writer;
    if (writer === null) return Promise.resolve();
    this.#writeEnd ??= this.#run("close the writable", () => writer.close());
    return this.#writeEnd;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const reason = new Deno.errors.Interrupted("The channel was closed");
    for (const interrupt of this.#interrupts) interrupt(reason);
    this.#interrupts.clear();
    this.#rest = NO_BYTES;
    // Nobody waits for the end of this.
    quietly(() => this.#reader?.cancel(reason));
    const writer = this.#writer;
    if (this.#writing) quietly(() => writer?.abort(reason));
    else if (this.#writeEnd === null) quietly(() => writer?.close());
  }

  /** Runs an operation which settles at the latest with `close()`. */
  #run<T>(action: string, operation: () => Promise<T>): Promise<T> {
    if (this.#closed) {
      const message = `Cannot ${action}: the channel is closed`;
      return Promise.reject(new Deno.errors.BadResource(message));
    }
    return new Promise((resolve, reject) => {
      this.#interrupts.add(reject);
      operation().then(
        (result) => {
          this.#interrupts.delete(reject);
          resolve(result);
        },
        (error) => {
          this.#interrupts.delete(reject);
          reject(errorOf(action, error));
        },
      );
    });
  }
}

/** Reads the chunks of a stream. */
interface Reader {
  /** The next chunk; `size` is how many bytes are wanted, not a limit. */
  next(size: number): Promise<ReadableStreamReadResult<Uint8Array>>;
  cancel(reason: Error): Promise<void>;
}

function readerOf(readable: ReadableStream): Reader {
  try {
    return new ByobReader(readable.getReader({ mode: "byob" }));
  } catch {
    // Not a byte stream.
  }
  const reader = readable.getReader();
  return {
    next: () => reader.read(),
    cancel: (reason) => reader.cancel(reason),
  };
}

/**
 * Reads a byte stream into one buffer of its own, again and again. That saves
 * an allocation for each chunk, and no more is read than was asked for. The
 * target of `read()` will not do: it would be detached.
 */
class ByobReader implements Reader {
  readonly #reader: ReadableStreamBYOBReader;
  #buffer = new ArrayBuffer(0);

  constructor(reader: ReadableStreamBYOBReader) {
    this.#reader = reader;
  }

  async next(size: number): Promise<ReadableStreamReadResult<Uint8Array>> {
    const buffer = this.#buffer.byteLength < size
      ? new ArrayBuffer(size)
      : this.#buffer;
    const view = new Uint8Array(buffer, 0, size);
    const result = await this.#reader.read(view);
    if (result.value) this.#buffer = result.value.buffer;
    return result;
  }

  cancel(reason: Error): Promise<void> {
    return this.#reader.cancel(reason);
  }
}

function unsupported(direction: keyof ChannelStreams): Promise<never> {
  const message = `The channel has no ${direction} stream`;
  return Promise.reject(new Deno.errors.NotSupported(message));
}

/** What a stream failed with, as an error that says what it means. */
function errorOf(action: string, reason: unknown): Error {
  const aborted = reason instanceof Error && nameIn(reason) === "AbortError";
  if (reason instanceof Error && !aborted) return reason;
  if (reason !== undefined && !aborted) {
    const message = `Cannot ${action}: the stream failed: ${showValue(reason)}`;
    return new Error(message, { cause: reason });
  }
  const message = `Cannot ${action}: the other side of the stream gave it up`;
  const Disconnect = action === "read"
    ? Deno.errors.ConnectionAborted
    : Deno.errors.BrokenPipe;
  return Object.assign(new Disconnect(message), { cause: reason });
}

function nameIn(error: Error): unknown {
  try {
    return error.name;
  } catch {
    return undefined; // A getter of a foreign error may throw.
  }
}
