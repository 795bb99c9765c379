/**
 * Errors of the system, as Deno names and words them.
 *
 * @module
 */

import { type Libc, textAt } from "./libc.ts";

type ErrorClass = new (message: string) => Error;

const {
  AddrInUse,
  AddrNotAvailable,
  AlreadyExists,
  BrokenPipe,
  ConnectionAborted,
  ConnectionRefused,
  ConnectionReset,
  Interrupted,
  NotADirectory,
  NotConnected,
  NotFound,
  NotSupported,
  PermissionDenied,
  TimedOut,
  WouldBlock,
} = Deno.errors;

/** The names of error numbers, and their classes where Deno has one. */
export const ERRORS: Readonly<
  Record<number, [code: string, type?: ErrorClass]>
> = {
  1: ["EPERM", PermissionDenied],
  2: ["ENOENT", NotFound],
  4: ["EINTR", Interrupted],
  5: ["EIO"],
  9: ["EBADF"],
  11: ["EAGAIN", WouldBlock],
  12: ["ENOMEM"],
  13: ["EACCES", PermissionDenied],
  17: ["EEXIST", AlreadyExists],
  20: ["ENOTDIR", NotADirectory],
  22: ["EINVAL", TypeError],
  23: ["ENFILE"],
  24: ["EMFILE"],
  28: ["ENOSPC"],
  32: ["EPIPE", BrokenPipe],
  36: ["ENAMETOOLONG"],
  64: ["ENONET"],
  71: ["EPROTO"],
  90: ["EMSGSIZE"],
  91: ["EPROTOTYPE"],
  92: ["ENOPROTOOPT"],
  95: ["EOPNOTSUPP", NotSupported],
  97: ["EAFNOSUPPORT"],
  98: ["EADDRINUSE", AddrInUse],
  99: ["EADDRNOTAVAIL", AddrNotAvailable],
  100: ["ENETDOWN"],
  101: ["ENETUNREACH"],
  103: ["ECONNABORTED", ConnectionAborted],
  104: ["ECONNRESET", ConnectionReset],
  105: ["ENOBUFS"],
  107: ["ENOTCONN", NotConnected],
  108: ["ESHUTDOWN"],
  110: ["ETIMEDOUT", TimedOut],
  111: ["ECONNREFUSED", ConnectionRefused],
  112: ["EHOSTDOWN"],
  113: ["EHOSTUNREACH"],
};

/** The error of a call that has failed with `errno`. */
export function systemError(libc: Libc, errno: number): Error {
  const [code, ErrorClass = Error] = ERRORS[errno] ?? [`E${errno}`];
  const text = textAt(libc, libc.strerror(errno));
  return Object.assign(new ErrorClass(`${text} (os error ${errno})`), { code });
}

/** The error of an operation that was ended by the closing of its socket. */
export function cancelled(): Error {
  return Object.assign(new Interrupted("operation canceled"), {
    code: "EINTR",
  });
}
