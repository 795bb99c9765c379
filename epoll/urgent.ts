/**
 * Urgent data (`MSG_OOB`): one byte apart from the others, that tells the peer to
 * look at once.
 *
 * @module
 */

import { checkInteger } from "../core/arguments.ts";
import type { Acceptor, Channel } from "../core/channel.ts";
import { holderOf } from "../core/holders.ts";
import { C, ERRNO } from "./layout.ts";
import { openedConnection } from "./opened.ts";
import { systemError } from "./system_error.ts";

/**
 * Sends an urgent byte, as `sock.send(b"!", socket.MSG_OOB)` does in Python. It keeps
 * its place behind the bytes that `send()` has accepted: they go out first. While some
 * of them wait for the peer, nothing is sent: try again in `handleWrite()`. The
 * queue of an `AsyncChat` was not sent yet, so the byte overtakes it.
 *
 * @param socket `Dispatcher.socket`, or what `handleAccepted()` gets.
 * @param byte From 0 to 255. TCP marks one byte as urgent; of a longer text it would
 * be the last one.
 * @returns Whether it was sent.
 * @throws {TypeError | RangeError} If it is no open connection of the engine, or
 * `byte` is none.
 * @throws {Error} If the system refuses: the peer is gone, say.
 *
 * @example Interrupt what a telnet server does
 * ```ts
 * import { Dispatcher } from "@asyncore/asyncore";
 * import { sendUrgent } from "@asyncore/asyncore/epoll";
 *
 * const IAC = 255, INTERRUPT = 244, DATA_MARK = 242;
 *
 * class Terminal extends Dispatcher {
 *   interrupt(): boolean {
 *     this.send(Uint8Array.of(IAC, INTERRUPT, IAC));
 *     return sendUrgent(this.socket, DATA_MARK);
 *   }
 * }
 * ```
 */
export function sendUrgent(
  socket: Channel | Acceptor | null,
  byte: number,
): boolean {
  checkInteger("byte", byte, 0, 255);
  const { libc, fd } = openedConnection(socket);
  const holder = holderOf(socket!);
  const hasEarlier = holder !== undefined && !holder.isReleased &&
    holder.flush?.() === false;
  if (hasEarlier) return false;
  const data = Uint8Array.of(byte);
  for (;;) {
    const sent = libc.send(fd, data, 1, C.MSG_OOB | C.MSG_NOSIGNAL);
    if (sent === 1) return true;
    const errno = libc.errno();
    if (errno === ERRNO.EAGAIN) return false;
    if (errno !== ERRNO.EINTR) throw systemError(libc, errno);
  }
}

/**
 * Takes the urgent byte whose `handleExpt()` runs, as `sock.recv(1, socket.MSG_OOB)`
 * does in Python. A byte that is not taken is gone with the next one.
 *
 * The system knows the last urgent byte only. Where another one is sent before this
 * side has read past it, the earlier byte comes among the others, too. With
 * `setOption(socket, "SO_OOBINLINE", 1)`, all urgent bytes come among the others:
 * `handleExpt()` still runs, and {@linkcode isAtMark} tells the place.
 *
 * @param socket `Dispatcher.socket`, or what `handleAccepted()` gets.
 * @returns From 0 to 255, or `null` if there is no such byte.
 * @throws {TypeError} If it is no open connection of the engine.
 *
 * @example Note each interruption
 * ```ts
 * import { Dispatcher } from "@asyncore/asyncore";
 * import { recvUrgent } from "@asyncore/asyncore/epoll";
 *
 * class Handler extends Dispatcher {
 *   override handleExpt() {
 *     this.log(`urgent: ${recvUrgent(this.socket)}`);
 *   }
 * }
 * ```
 */
export function recvUrgent(socket: Channel | Acceptor | null): number | null {
  return openedConnection(socket).takeUrgent();
}

/**
 * Whether all bytes before the urgent byte have been received, and none behind it
 * (`sockatmark(3)`). One `recv()` never gives bytes of both sides. With `SO_OOBINLINE`,
 * the next one begins with the urgent byte.
 *
 * @param socket `Dispatcher.socket`, or what `handleAccepted()` gets.
 * @throws {TypeError} If it is no open connection of the engine.
 */
export function isAtMark(socket: Channel | Acceptor | null): boolean {
  return openedConnection(socket).isAtMark;
}
