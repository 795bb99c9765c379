/**
 * The system's knowledge of a socket of the engine: its number, its options, and the
 * process at the other end of a Unix socket.
 *
 * @module
 */

import { checkInteger, showValue } from "../core/arguments.ts";
import { nearest } from "../core/option_names.ts";
import { type EngineSocket, opened } from "./opened.ts";
import {
  type Option,
  OPTIONS,
  OTHER_OPTIONS,
  readOption,
  type SocketOption,
  writeOption,
} from "./option_table.ts";

/** The process at the other end of a Unix socket, as the system saw it connect. */
export interface PeerCredentials {
  /** The process. */
  pid: number;
  /** The user. */
  uid: number;
  /** The group. */
  gid: number;
}

/**
 * The number of the descriptor of a socket, or of a FIFO, a terminal or a standard
 * stream of a `FileDispatcher`. It belongs to the engine: do not close
 * it.
 *
 * @param socket `Dispatcher.socket`, or what `handleAccepted()` gets.
 * @throws {TypeError} If it is no open socket of the engine.
 */
export function fileno(socket: EngineSocket | null): number {
  return opened(socket).fd;
}

/**
 * The value of an option of a socket.
 *
 * @param socket `Dispatcher.socket`, or what `handleAccepted()` gets.
 * @param name The name in C, such as `"SO_RCVBUF"`.
 * @throws {TypeError} If it is no open socket of the engine, or there is no such
 * option.
 * @throws {Error} If the system refuses.
 */
export function getOption(
  socket: EngineSocket | null,
  name: SocketOption,
): number {
  const { libc, fd } = opened(socket);
  const option = optionOf(name);
  return naming(
    `Cannot get ${name}`,
    () => readOption(libc, fd, option, 1),
  )[0]!;
}

/**
 * Sets an option of a socket.
 *
 * @param socket `Dispatcher.socket`, or what `handleAccepted()` gets. A listener has
 * one after `bind()`, a client in `handleConnect()`. Linux gives most options of a
 * listener to what it accepts.
 * @param name The name in C, such as `"TCP_KEEPIDLE"`.
 * @param value In the unit of C; 1 and 0 for on and off.
 * @throws {TypeError} If it is no open socket of the engine, or there is no such
 * option, or the value is no number.
 * @throws {RangeError} If the value is no integer of 32 bits.
 * @throws {Error} If the system refuses.
 *
 * @example Notice a peer that is gone after half a minute
 * ```ts
 * import { Dispatcher } from "@asyncore/asyncore";
 * import { setOption } from "@asyncore/asyncore/epoll";
 *
 * class Handler extends Dispatcher {
 *   override handleConnect() {
 *     setOption(this.socket, "SO_KEEPALIVE", 1);
 *     setOption(this.socket, "TCP_KEEPIDLE", 15);
 *     setOption(this.socket, "TCP_KEEPINTVL", 5);
 *     setOption(this.socket, "TCP_KEEPCNT", 3);
 *   }
 * }
 * ```
 */
export function setOption(
  socket: EngineSocket | null,
  name: SocketOption,
  value: number,
): void {
  checkInteger("value", value, -0x80000000, 0x7fffffff);
  const { libc, fd } = opened(socket);
  const option = optionOf(name);
  naming(
    `Cannot set ${name} to ${value}`,
    () => writeOption(libc, fd, option, [value]),
  );
}

/**
 * Sets how `close(2)` ends a socket (`SO_LINGER`). With 0 s, it resets the
 * connection at once.
 *
 * @param socket `Dispatcher.socket`, or what `handleAccepted()` gets.
 * @param seconds How long the system may keep the process waiting; `null` for not at
 * all, the default.
 * @throws {TypeError | RangeError} If it is no open socket of the engine, or
 * `seconds` is no such number.
 */
export function setLinger(
  socket: EngineSocket | null,
  seconds: number | null,
): void {
  if (seconds !== null) checkInteger("seconds", seconds, 0, 0x7fffffff);
  const value = seconds === null ? [0, 0] : [1, seconds];
  const { libc, fd } = opened(socket);
  writeOption(libc, fd, OTHER_OPTIONS.SO_LINGER, value);
}

/**
 * How `close(2)` ends a socket (`SO_LINGER`): see {@linkcode setLinger}.
 *
 * @param socket `Dispatcher.socket`, or what `handleAccepted()` gets.
 * @returns Seconds, or `null` if it is off, the default.
 * @throws {TypeError} If it is no open socket of the engine.
 */
export function getLinger(socket: EngineSocket | null): number | null {
  const { libc, fd } = opened(socket);
  const [isOn, seconds] = readOption(libc, fd, OTHER_OPTIONS.SO_LINGER, 2);
  return isOn === 0 ? null : seconds!;
}

/**
 * The process at the other end of a Unix socket, by the system's word, not the peer's.
 *
 * @param socket `Dispatcher.socket`, or what `handleAccepted()` gets.
 * @throws {TypeError} If it is no open socket of the engine.
 * @throws {Deno.errors.NotSupported} If the system does not know: over TCP, say.
 */
export function peerCredentials(
  socket: EngineSocket | null,
): PeerCredentials {
  const { libc, fd } = opened(socket);
  const { SO_PEERCRED } = OTHER_OPTIONS;
  const [pid = 0, uid = 0, gid = 0] = readOption(libc, fd, SO_PEERCRED, 3);
  // Linux reports no error, but no user: a program must not take it for one.
  if (uid === NO_USER) {
    throw new Deno.errors.NotSupported(
      "The system knows no process at the other end: only Unix sockets have one",
    );
  }
  return { pid, uid: uid >>> 0, gid: gid >>> 0 };
}

/** The user, in `SO_PEERCRED`, of a socket that has no such peer: `(uid_t) -1`. */
const NO_USER = -1;

/** Options that are no plain numbers, and what to do instead. */
const INSTEAD: Readonly<Record<string, string>> = {
  SO_ERROR: "a look takes the error away. See Dispatcher.closeReason",
  SO_LINGER: "call getLinger() or setLinger()",
  SO_PEERCRED: "call peerCredentials()",
};

function optionOf(name: SocketOption): Option {
  if (Object.hasOwn(OPTIONS, name)) return OPTIONS[name];
  throw new TypeError(
    `name must be that of an option, such as "SO_RCVBUF", got ${
      showValue(name)
    }${adviceOn(name)}`,
  );
}

function adviceOn(name: unknown): string {
  if (typeof name !== "string") return "";
  if (Object.hasOwn(INSTEAD, name)) return `: ${INSTEAD[name]}`;
  const near = nearest(name, Object.keys(OPTIONS));
  return near === null ? "" : `: did you mean "${near}"?`;
}

/** Calls the system. An error of the system says what the program wanted. */
function naming<T>(what: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    if (error instanceof Error) error.message = `${what}: ${error.message}`;
    throw error;
  }
}
