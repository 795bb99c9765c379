/**
 * What the errors of channels and listeners mean: over, reset, exhausted,
 * unsupported.
 *
 * @module
 */

import { showValue } from "./arguments.ts";

/** The error codes and names by which a connection says that it is over. */
const DISCONNECTS: ReadonlySet<string> = new Set([
  ...["ECONNRESET", "ENOTCONN", "ESHUTDOWN", "ECONNABORTED", "EPIPE"],
  ...["ConnectionReset", "BrokenPipe", "ConnectionAborted", "NotConnected"],
  "UnexpectedEof",
  // A pending operation fails with these after our own close().
  ...["EINTR", "Interrupted", "EBADF", "BadResource"],
]);

const RESETS: ReadonlySet<string> = new Set([
  ...["ECONNRESET", "ECONNABORTED", "ConnectionReset", "ConnectionAborted"],
]);

const EXHAUSTIONS: ReadonlySet<string> = new Set([
  ...["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"],
  "ENOSPC", // There are too many registrations with epoll.
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
    return false; // A getter of a foreign error may throw.
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

/** Makes an error of a reason: foreign code may reject with anything. */
export function failureOf(operation: string, reason: unknown): Error {
  if (reason instanceof Error) return reason;
  const message = `${operation} failed with ${showValue(reason)}`;
  return new Error(message, { cause: reason });
}
