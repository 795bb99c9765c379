/**
 * What a dispatcher wraps: a {@linkcode Channel} that reads and writes bytes,
 * or an {@linkcode Acceptor} that takes connections; and what their errors
 * mean. `Deno.Conn`, `Deno.TlsConn`, `Deno.UnixConn`, `Deno.FsFile` and
 * `Deno.Listener` fit these interfaces as they are.
 *
 * @module
 */

import {
  checkFunction,
  checkInteger,
  checkMethods,
  showValue,
} from "./arguments.ts";
import { isPromise, quietly, toPromise } from "./thenable.ts";

/**
 * A two-way stream of bytes.
 *
 * @example A channel that answers each write with silence
 * ```ts
 * import type { Channel } from "@asyncore/asyncore";
 *
 * const silence: Channel = {
 *   read: () => Promise.resolve(null),
 *   write: (data) => Promise.resolve(data.length),
 *   close: () => {},
 * };
 * ```
 */
export interface Channel {
  /**
   * Reads up to `target.length` bytes into `target`.
   *
   * @param target Where the bytes go; it belongs to the channel until the
   * promise settles.
   * @returns The number of bytes read, or `null` at the end of the stream.
   */
  read(target: Uint8Array): Promise<number | null>;
  /**
   * Writes bytes from `data`, perhaps not all of them.
   *
   * @param data The bytes; the channel may look at them until the promise
   * settles.
   * @returns The number of bytes written.
   */
  write(data: Uint8Array): Promise<number>;
  /** Releases the channel. A pending read or write must settle. */
  close(): void;
  /**
   * Ends the writing direction, so that the peer reads the end of the stream. A
   * wrapper around a TCP connection should have it: without it, closing takes
   * from a peer that is talking what it has not yet read.
   */
  closeWrite?(): Promise<void>;
  /** Agrees with the peer on encryption: the connection stands only after it. */
  handshake?(): Promise<unknown>;
  /**
   * How many bytes a read asks for at most, from 1 to 2^30: reads that fill what
   * they were given become larger up to this. `Dispatcher.send()` accepts more
   * while less than twice as much is on its way. A file works faster with larger
   * pieces than a socket.
   *
   * @default {131_072 for reads, and 65_536 on their way}
   */
  readonly chunkSize?: number;
  /**
   * The address of the other side, where it is known; `null` where both sides
   * are in this process: closing such a channel takes nothing from the peer, so
   * `close()` does not wait for its end.
   */
  readonly remoteAddr?: Deno.Addr | null;
}

/** Something that takes connections, such as `Deno.Listener`. */
export interface Acceptor {
  /** Waits for the next connection. */
  accept(): Promise<Channel>;
  /** Stops listening. A pending `accept()` must settle. */
  close(): void;
  /** The address listened on. */
  readonly addr: Deno.Addr;
}

/** 1 GiB: what a typed array can hold everywhere. */
const LARGEST_CHUNK = 2 ** 30;

/**
 * A channel that was checked, and what it says of itself. That is asked once: a
 * getter may throw later, where nobody could be told.
 */
export interface CheckedChannel {
  readonly channel: Channel;
  readonly chunkSize: number | undefined;
  readonly addr: Deno.Addr | null;
  /** It has a `closeWrite()`. */
  readonly endsWriting: boolean;
  /** It has a `handshake()`. */
  readonly shakesHands: boolean;
  /** Closing it with unread bytes takes nothing from the peer. */
  readonly isLocal: boolean;
}

/**
 * Checks that `value` is a {@linkcode Channel}, wherever it comes from: a user,
 * a network, a listener.
 *
 * @throws {TypeError} If it lacks a method, or has one that is none.
 * @throws {RangeError} If its `chunkSize` is out of range.
 */
export function asChannel(name: string, value: unknown): CheckedChannel {
  checkMethods(name, value, ["read", "write", "close"]);
  const channel = value as Channel;
  const { closeWrite, handshake, chunkSize, remoteAddr } = channel;
  checkMaybeFunction(name, "closeWrite", closeWrite);
  checkMaybeFunction(name, "handshake", handshake);
  if (chunkSize !== undefined) {
    checkInteger(`${name}.chunkSize`, chunkSize, 1, LARGEST_CHUNK);
  }
  checkAddr(name, "remoteAddr", remoteAddr);
  const transport = remoteAddr?.transport;
  return {
    channel,
    chunkSize,
    addr: remoteAddr ?? null,
    endsWriting: closeWrite !== undefined,
    shakesHands: handshake !== undefined,
    isLocal: remoteAddr === null || transport === "unix" ||
      transport === "unixpacket",
  };
}

/**
 * Checks that `value` is an {@linkcode Acceptor}.
 *
 * @throws {TypeError} If it lacks a method.
 */
export function asAcceptor(name: string, value: unknown): Acceptor {
  checkMethods(name, value, ["accept", "close"]);
  const acceptor = value as Acceptor;
  checkAddr(name, "addr", acceptor.addr);
  return acceptor;
}

/**
 * Checks what a network or a listener has handed over: nobody else would close
 * what is refused.
 *
 * @throws What `check` throws.
 */
export function received<T>(
  check: (name: string, value: unknown) => T,
  name: string,
  value: unknown,
): T {
  try {
    return check(name, value);
  } catch (error) {
    closeQuietly(value as { close(): void });
    throw error;
  }
}

function checkAddr(name: string, property: string, value: unknown): void {
  if (value === undefined || value === null) return;
  if (typeof value === "object") return;
  throw new TypeError(
    `${name}.${property} must be a Deno.Addr, got ${showValue(value)}`,
  );
}

/** The message is made only where it is needed: each connection comes here. */
function checkMaybeFunction(name: string, method: string, value: unknown) {
  if (value === undefined || typeof value === "function") return;
  checkFunction(`${name}.${method}`, value);
}

/** The error codes and names by which a connection says that it is over. */
const DISCONNECTS: ReadonlySet<string> = new Set([
  ...["ECONNRESET", "ENOTCONN", "ESHUTDOWN", "ECONNABORTED", "EPIPE"],
  ...["ConnectionReset", "BrokenPipe", "ConnectionAborted", "NotConnected"],
  "UnexpectedEof",
  // What a pending operation says after our own close().
  ...["EINTR", "Interrupted", "EBADF", "BadResource"],
]);

const RESETS: ReadonlySet<string> = new Set([
  ...["ECONNRESET", "ECONNABORTED", "ConnectionReset", "ConnectionAborted"],
]);

const EXHAUSTIONS: ReadonlySet<string> = new Set([
  ...["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"],
]);

const CLIENTS_GONE: ReadonlySet<string> = new Set([
  ...["ENOTCONN", "ECONNRESET", "ECONNABORTED", "EINVAL"],
  ...["NotConnected", "ConnectionReset", "ConnectionAborted"],
]);

function isAmong(names: ReadonlySet<string>, error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  try {
    const { code } = error as Error & { code?: unknown };
    return names.has(error.name) ||
      (typeof code === "string" && names.has(code));
  } catch {
    return false; // A getter of an error that the system has not made.
  }
}

/** Tells whether `error` says that the connection is over. */
export function isDisconnect(error: unknown): boolean {
  return isAmong(DISCONNECTS, error);
}

/** Tells whether `error` says that the peer, or the way to it, broke the connection. */
export function isReset(error: unknown): boolean {
  return isAmong(RESETS, error);
}

/** Tells whether `accept()` failed because descriptors or memory ran out. */
export function isExhaustion(error: unknown): boolean {
  return isAmong(EXHAUSTIONS, error);
}

/** Tells whether `accept()` failed because the client left before its turn. */
export function isClientGone(error: unknown): boolean {
  return isAmong(CLIENTS_GONE, error);
}

/** Tells whether `error` says that the channel has no such direction at all. */
export function isUnsupported(error: unknown): boolean {
  return error instanceof Deno.errors.NotSupported;
}

/**
 * What an operation failed with, as an error: foreign code may reject with
 * anything.
 */
export function failureOf(operation: string, reason: unknown): Error {
  if (reason instanceof Error) return reason;
  const message = `${operation} failed with ${showValue(reason)}`;
  return new Error(message, { cause: reason });
}

/**
 * The promise that an operation of a channel gave. A thenable is made a promise,
 * which settles once.
 *
 * @throws {TypeError} If it gave none.
 */
export function promiseOf<T>(given: Promise<T>, operation: string): Promise<T> {
  if (isPromise(given)) return toPromise(given as PromiseLike<T>);
  throw new TypeError(
    `The channel's ${operation}() gave no promise, but ${showValue(given)}`,
  );
}

/**
 * Closes what may be closed already, for places that can do nothing about it:
 * closed by the peer or by the owner of the channel, it is closed, too.
 *
 * @returns A promise that never rejects, if closing is async.
 */
export function closeQuietly(
  closable: { close(): void },
): Promise<void> | undefined {
  return quietly(() => closable.close());
}
