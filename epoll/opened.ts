/**
 * The open sockets of the engine, among all that a program may give to a function of
 * the entry.
 *
 * @module
 */

import { showValue } from "../core/arguments.ts";
import type { Acceptor, Channel } from "../core/channel.ts";
import { StreamAcceptor } from "./acceptor.ts";
import { DescriptorChannel, StreamChannel } from "./channel.ts";

/**
 * A socket of the engine that is open.
 *
 * @throws {TypeError} If it is none.
 */
export function opened(
  socket: Channel | Acceptor | null,
): DescriptorChannel | StreamAcceptor {
  const isOwn = socket instanceof DescriptorChannel ||
    socket instanceof StreamAcceptor;
  if (isOwn && socket.fd >= 0) return socket;
  throw new TypeError(
    `socket must be an open socket of epollNetwork, got ${
      isOwn ? "a closed one" : showValue(socket)
    }`,
  );
}

/**
 * A connection of the engine that is open.
 *
 * @throws {TypeError} If it is none.
 */
export function openedConnection(
  socket: Channel | Acceptor | null,
): StreamChannel {
  const own = opened(socket);
  if (own instanceof StreamChannel) return own;
  throw new TypeError("socket must be a connection, got a listener or a file");
}
