/**
 * The objects that a dispatcher wraps: a {@linkcode Channel} reads and writes
 * bytes, an {@linkcode Acceptor} takes connections. `Deno.Conn`, `Deno.TlsConn`,
 * `Deno.UnixConn`, `Deno.FsFile` and `Deno.Listener` fit these interfaces as they
 * are.
 *
 * @module
 */

import {
  checkFunction,
  checkInteger,
  checkMethods,
  showValue,
} from "./arguments.ts";
import { IN_PROCESS } from "./symbols.ts";
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
   * wrapper around a TCP connection should have this method. Without it, closing
   * the connection of a peer that still sends may reset it, and the peer loses
   * the bytes that it has not yet read.
   */
  closeWrite?(): Promise<void>;
  /** Agrees with the peer on encryption. The connection stands only after it. */
  handshake?(): Promise<unknown>;
  /**
   * The size of the largest read, in bytes, from 1 to 2^30. Reads begin small, and
   * grow up to this size while they fill their buffer. `Dispatcher.send()` accepts
   * more bytes while less than twice this size is on its way. A file is faster
   * with larger reads than a socket.
   *
   * @default {131_072 for reads, and 65_536 on their way}
   */
  readonly chunkSize?: number;
  /** The address of the peer, if it is known. */
  readonly remoteAddr?: Deno.Addr;
  /** The address of this side, if it is known. */
  readonly localAddr?: Deno.Addr;
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

/** 1 GiB: a typed array can be this large on every platform. */
const LARGEST_CHUNK = 2 ** 30;

/**
 * A channel that was checked, with its properties. They are read only once, at
 * the check: a getter that throws then throws to the caller of the check.
 */
export interface CheckedChannel {
  readonly channel: Channel;
  readonly chunkSize: number | undefined;
  readonly addr: Deno.Addr | null;
  readonly localAddr: Deno.Addr | null;
  /** It has a `closeWrite()`. */
  readonly endsWriting: boolean;
  /** It has a `handshake()`. */
  readonly shakesHands: boolean;
  /** Closing it with unread bytes takes nothing from the peer. */
  readonly isLocal: boolean;
}

/**
 * Checks that `value` is a {@linkcode Channel}, whether it comes from a user, a
 * network or a listener.
 *
 * @throws {TypeError} If it lacks a method, or a property has the wrong type.
 * @throws {RangeError} If its `chunkSize` is out of range.
 */
export function asChannel(name: string, value: unknown): CheckedChannel {
  checkMethods(name, value, ["read", "write", "close"]);
  const channel = value as Channel;
  const { closeWrite, handshake, chunkSize, remoteAddr, localAddr } = channel;
  checkMaybeFunction(name, "closeWrite", closeWrite);
  checkMaybeFunction(name, "handshake", handshake);
  if (chunkSize !== undefined) {
    checkInteger(`${name}.chunkSize`, chunkSize, 1, LARGEST_CHUNK);
  }
  checkAddr(name, "remoteAddr", remoteAddr);
  checkAddr(name, "localAddr", localAddr);
  const transport = remoteAddr?.transport;
  return {
    channel,
    chunkSize,
    addr: remoteAddr ?? null,
    localAddr: localAddr ?? null,
    endsWriting: closeWrite !== undefined,
    shakesHands: handshake !== undefined,
    isLocal: IN_PROCESS in channel || transport === "unix" ||
      transport === "unixpacket",
  };
}

/** Whether `channel` is a listener: it has an `accept()`. */
export function isAcceptor(channel: Channel | Acceptor): channel is Acceptor {
  return typeof (channel as Acceptor | null)?.accept === "function";
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
 * Checks an object that a network or a listener has handed over. If the check
 * throws, closes the object: nothing else holds it.
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

/** Builds the name of the argument only for an error: each connection comes here. */
function checkMaybeFunction(name: string, method: string, value: unknown) {
  if (value === undefined || typeof value === "function") return;
  checkFunction(`${name}.${method}`, value);
}

/**
 * Checks that an operation of a channel returned a promise. A foreign thenable is
 * wrapped in a promise, so that it settles only once.
 *
 * @throws {TypeError} If it returned something else.
 */
export function promiseOf<T>(given: Promise<T>, operation: string): Promise<T> {
  if (isPromise(given)) return toPromise(given as PromiseLike<T>);
  throw new TypeError(
    `The channel's ${operation}() gave no promise, but ${showValue(given)}`,
  );
}

/**
 * Closes something, and ignores errors: an object that cannot be closed, or was
 * closed already, is as good as closed here.
 *
 * @returns A promise that never rejects, if closing is async.
 */
export function closeQuietly(
  closable: { close(): void },
): Promise<void> | undefined {
  return quietly(() => closable.close());
}
