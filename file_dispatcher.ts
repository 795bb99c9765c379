/**
 * Files as objects with hooks: {@linkcode FileDispatcher}, over a
 * {@linkcode FileWrapper} that makes a file look like a socket.
 *
 * @module
 */

import { checkMethods, isCount, showValue } from "./core/arguments.ts";
import {
  giveThread,
  mayBlock,
  MOST_READS,
  takeThread,
} from "./core/blocking_threads.ts";
import type { Channel } from "./core/channel.ts";
import { checkClosed } from "./core/socket_access.ts";
import { CURRENT, ENTRY, FILE_CHANNEL, MAP } from "./core/symbols.ts";
import { Dispatcher, type DispatcherOptions } from "./dispatcher.ts";
import { isPromise, quietly } from "./core/thenable.ts";

/**
 * A file that a {@linkcode FileWrapper} can wrap: a `Deno.FsFile`, `Deno.stdin`
 * (no `write`), `Deno.stdout` or `Deno.stderr` (no `read`), or the like. The
 * wrapper closes it: when it has closed `Deno.stdout`, `console.log()` fails.
 */
export interface FileLike {
  /** Reads bytes. A file without it is for writing only. */
  read?(target: Uint8Array): Promise<number | null>;
  /** Writes bytes. A file without it is for reading only. */
  write?(data: Uint8Array): Promise<number>;
  /** Releases the file. */
  close(): void;
}

/**
 * The size of the first read ahead, in bytes. Each full read makes the next one
 * four times as large. A larger size saves calls for files of medium size; a
 * smaller one saves memory for small files and terminals. The value is a choice: for
 * a file of 100 KB, 4 and 64 KiB cost the same processor time, within the noise.
 */
const FIRST_READ = 16 * 1024;
/**
 * The size of the largest read ahead, in bytes. A larger size saves calls to the
 * system; a smaller one saves memory, as a file holds two such buffers. Measured
 * by copying a file: 384 KiB and 1 MiB were no faster (docs/performance.md).
 */
export const LARGEST_READ: number = 512 * 1024;

/** Sets the function that runs when a read of a wrapper must wait for a thread. */
let watchWaits: (wrapper: FileWrapper, onWait: () => void) => void;

/**
 * Makes a file look like a socket. It reads ahead, so that a small `read()` costs
 * a copy and not a call to the system. The file belongs to the wrapper, which
 * closes it.
 *
 * The file is always read and written by Deno, whatever the network of the map.
 *
 * Reading ahead moves the position in the file beyond the delivered bytes. So open
 * a file twice if you both read and write it.
 *
 * @example Read a file in small pieces
 * ```ts
 * import { FileWrapper } from "@asyncore/asyncore";
 * import { assertEquals } from "@std/assert";
 *
 * const path = await Deno.makeTempFile();
 * await Deno.writeTextFile(path, "It's not dead, it's sleeping!");
 *
 * const file = new FileWrapper(await Deno.open(path));
 * const piece = new Uint8Array(13);
 * await file.read(piece);
 * assertEquals(new TextDecoder().decode(piece), "It's not dead");
 * file.close();
 * await Deno.remove(path);
 * ```
 */
export class FileWrapper implements Channel, Disposable {
  static {
    watchWaits = (wrapper, onWait) => void (wrapper.#onWait = onWait);
  }

  /**
   * {@linkcode Channel.chunkSize}, in bytes: half a MiB.
   *
   * @default {524_288}
   */
  readonly chunkSize: number = LARGEST_READ;

  readonly #file: FileLike;
  readonly #mayBlock: boolean;
  #onWait = () => {};
  #interrupt = () => {};
  #closed = false;
  /** The bytes that were read and not yet delivered: a part of one of the buffers. */
  #held: Uint8Array = new Uint8Array(0);
  /** The read that runs ahead; its promise never rejects. */
  #ahead: Promise<Outcome> | null = null;
  #buffer: Uint8Array<ArrayBuffer> = new Uint8Array(FIRST_READ);
  #otherBuffer: Uint8Array<ArrayBuffer> | null = null;

  /**
   * Takes over a file.
   *
   * @param file The file. The wrapper closes it.
   * @throws {TypeError} If it has no `close()`, or neither `read()` nor `write()`.
   */
  constructor(file: FileLike) {
    checkFile(file);
    this.#file = file;
    this.#mayBlock = mayBlock(file);
  }

  /**
   * Reads up to `target.length` bytes. Wait for one call before the next.
   *
   * @param target Where the bytes go.
   * @returns How many bytes were read, or `null` at the end of the file.
   * @throws {Deno.errors.NotSupported} If the file is not open for reading.
   * @throws {Deno.errors.BadResource} If the wrapper is closed.
   * @throws {Error} If the system cannot read the file.
   */
  async read(target: Uint8Array): Promise<number | null> {
    this.#checkOpen("read");
    if (this.#held.length === 0) {
      const outcome = await (this.#ahead ?? this.#readAhead());
      this.#ahead = null;
      if ("error" in outcome) throw outcome.error;
      if (outcome.length === null) return null;
      this.#deliver(outcome.length);
    }
    const length = Math.min(target.length, this.#held.length);
    target.set(this.#held.subarray(0, length));
    this.#held = this.#held.subarray(length);
    return length;
  }

  /**
   * Writes bytes, perhaps not all of them.
   *
   * @param data The bytes.
   * @returns How many bytes were written.
   * @throws {Deno.errors.NotSupported} If the file is not open for writing.
   * @throws {Deno.errors.BadResource} If the wrapper is closed.
   * @throws {Error} If the system cannot write: the disk is full, for example.
   */
  async write(data: Uint8Array): Promise<number> {
    this.#checkOpen("write");
    try {
      if (this.#file.write) {
        return await this.#unlessClosed(this.#file.write(data));
      }
    } catch (error) {
      if (!isWrongDirection(error)) throw error;
    }
    throw new Deno.errors.NotSupported("The file is not open for writing");
  }

  /** Closes the file. A second call does nothing. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#interrupt();
    return this.#file.close(); // It may be async, against its type.
  }

  /** Rejects at `close()`: Deno itself does not end a write to a full FIFO. */
  #unlessClosed<T>(writing: T | PromiseLike<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const message = "The file was closed";
      this.#interrupt = () => reject(new Deno.errors.Interrupted(message));
      Promise.resolve(writing).then(resolve, reject);
    });
  }

  /** Closes the file: `using file = new FileWrapper(…)`. */
  [Symbol.dispose](): void {
    const closing: unknown = this.close();
    quietly(() => closing);
  }

  #checkOpen(action: string): void {
    if (!this.#closed) return;
    throw new Deno.errors.BadResource(`Cannot ${action}: the file is closed`);
  }

  /** Holds the first `length` bytes of the buffer for delivery. */
  #deliver(length: number): void {
    const buffer = this.#buffer;
    this.#held = buffer.subarray(0, length);
    // A file that fills the buffer probably has more bytes, so read ahead. A
    // terminal or a slow pipe does not fill it, and is read on demand.
    if (length < buffer.length) return;
    const size = Math.min(4 * length, LARGEST_READ);
    const free = this.#otherBuffer;
    this.#otherBuffer = buffer;
    this.#buffer = free?.length === size ? free : new Uint8Array(size);
    this.#ahead = this.#readAhead();
  }

  async #readAhead(): Promise<Outcome> {
    try {
      if (!this.#file.read) throw new Deno.errors.NotSupported(UNREADABLE);
      if (this.#mayBlock) await takeThread(this.#onWait);
      const length = await this.#readFile();
      if (length === null || isCount(length, this.#buffer.length)) {
        return { length };
      }
      throw new RangeError(`The file read ${showValue(length)} bytes`);
    } catch (error) {
      if (!isWrongDirection(error)) return { error };
      return { error: new Deno.errors.NotSupported(UNREADABLE) };
    }
  }

  async #readFile(): Promise<number | null> {
    if (!this.#mayBlock) return await this.#file.read!(this.#buffer);
    let isLost = false;
    try {
      this.#checkOpen("read");
      isLost = true; // if it is closed meanwhile
      const length = await this.#file.read!(this.#buffer);
      isLost = false;
      return length;
    } finally {
      if (!(isLost && this.#closed)) giveThread();
    }
  }
}

/** @throws {TypeError} If `file` is no open file. */
function checkFile(file: FileLike): void {
  if (typeof file === "string") {
    throw new TypeError(
      `file must be an open file, got ${
        showValue(file)
      }: use await Deno.open()`,
    );
  }
  if (isPromise(file)) {
    throw new TypeError("file must be an open file, got a promise: await it");
  }
  checkMethods("file", file, ["close"]);
  const { read, write } = file;
  if (typeof read !== "function" && typeof write !== "function") {
    throw new TypeError("file has neither a read() nor a write() method");
  }
}

const UNREADABLE = "The file is not open for reading";
const TOO_MANY =
  `waits to be read: FIFOs, terminals and devices hold ${MOST_READS} of Deno's 32 ` +
  "threads, or names that are looked up hold the rest of what is for both. " +
  "Close some, or have their data come over sockets";

/** A network, as far as it takes files. */
interface FileNetwork {
  [FILE_CHANNEL]?(file: FileLike): Channel | null;
}

/** How a read of a file ended. */
type Outcome = { length: number | null } | { error: unknown };

/** Whether an operation failed because the file is open for the other direction. */
function isWrongDirection(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  // The error on Windows.
  if (error instanceof Deno.errors.PermissionDenied) return true;
  try {
    return (error as Error & { code?: unknown }).code === "EBADF";
  } catch {
    return false; // A getter of a foreign error may throw.
  }
}

/**
 * A file, a FIFO or a standard stream as a dispatcher: `handleRead()` and
 * `recv()` read it, `send()` writes it. It is connected from the start. A file
 * that is not open for reading gets no read event.
 *
 * A read of a FIFO, a terminal or a device holds one of Deno's 32 threads until
 * data comes, even if the file is closed. At most 20 such reads run at the same
 * time, so that other files and the lookup of names go on. Further reads wait, and
 * a warning says so. In a map whose network is `epollNetwork`, FIFOs, terminals and
 * standard streams hold no thread, and are free at once when they are closed.
 * `Deno.open()` of a FIFO holds a thread, too, until the other side is open. With
 * `{ read: true, write: true }`, Linux opens it at once; it then never ends.
 *
 * @example Read a file to its end
 * ```ts
 * import { FileDispatcher, loop } from "@asyncore/asyncore";
 * import { assertEquals } from "@std/assert";
 *
 * class Reader extends FileDispatcher {
 *   text = "";
 *   readonly #decoder = new TextDecoder();
 *   override handleRead() {
 *     this.text += this.#decoder.decode(this.recv(), { stream: true });
 *   }
 * }
 *
 * const path = await Deno.makeTempFile();
 * await Deno.writeTextFile(path, "spam");
 * const reader = new Reader(await Deno.open(path));
 * await loop();
 * assertEquals(reader.text, "spam");
 * await Deno.remove(path);
 * ```
 */
export class FileDispatcher extends Dispatcher {
  /**
   * Takes over a file and joins the map.
   *
   * @param file The file. The dispatcher closes it.
   * @param options The map, and how long to linger.
   * @throws {TypeError} If `file` has no `close()`, or neither `read()` nor
   * `write()`; or if an option is wrong.
   * @throws {RangeError} If a time is NaN or negative, or a timeout 0.
   */
  constructor(file: FileLike, options?: DispatcherOptions) {
    super(null, options);
    this.setFile(file);
  }

  /**
   * Takes over another file, after {@linkcode Dispatcher.close}.
   *
   * @param file The file. The dispatcher closes it.
   * @throws {TypeError} If it has no `close()`, or neither `read()` nor `write()`.
   * @throws {Error} If the dispatcher has an open file already.
   */
  setFile(file: FileLike): void {
    const wrapper = file instanceof FileWrapper ? file : this.#wrap(file);
    this.setSocket(wrapper);
    if (wrapper instanceof FileWrapper) {
      watchWaits(wrapper, () => this[CURRENT]?.warn(TOO_MANY));
    }
  }

  /** Wraps the file by the map's network, or by a {@linkcode FileWrapper}. */
  #wrap(file: FileLike): Channel {
    checkFile(file);
    checkClosed(this, this[ENTRY], "set a socket"); // before anything is opened
    const network: object = this[MAP].network;
    return (network as FileNetwork)[FILE_CHANNEL]?.(file) ??
      new FileWrapper(file);
  }
}
