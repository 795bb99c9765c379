/**
 * The open sockets of the engine, among all that a program may give to a function of
 * the entry.
 *
 * @module
 */

import { showValue } from "../core/arguments.ts";
import type { Acceptor, Channel } from "../core/channel.ts";
import type { DatagramSocket } from "../core/datagram_socket.ts";
import { DispatcherHooks } from "../core/dispatcher_hooks.ts";
import { DatagramChannel } from "../net/datagram_channel.ts";
import { StreamAcceptor } from "./acceptor.ts";
import { DescriptorChannel, StreamChannel } from "./channel.ts";
import { UdpSocket } from "./datagram_socket.ts";

/** A socket that a dispatcher wraps, or that `handleAccepted()` gets. */
export type EngineSocket = Channel | Acceptor | DatagramSocket;

/**
 * A socket of the engine that is open.
 *
 * @throws {TypeError} If it is none.
 */
export function opened(
  socket: EngineSocket | null,
): DescriptorChannel | StreamAcceptor | UdpSocket {
  // The socket of a DatagramDispatcher lies in a channel of the library's own.
  const found = socket instanceof DatagramChannel ? socket.socket : socket;
  const isOwn = found instanceof DescriptorChannel ||
    found instanceof StreamAcceptor || found instanceof UdpSocket;
  if (isOwn && found.fd >= 0) return found;
  throw new TypeError(
    `socket must be an open socket of epollNetwork, got ${
      isOwn ? "a closed one" : showValue(socket) + adviceOn(socket)
    }`,
  );
}

function adviceOn(value: unknown): string {
  if (value === null) {
    return ": a dispatcher has its socket after bind(), and in handleConnect()";
  }
  if (value instanceof DispatcherHooks) return ": give its socket";
  return ": set the network of the SocketMap before " +
    "createSocket(). The sockets of TLS and vsock are Deno's";
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
  const what = own instanceof UdpSocket
    ? "a UDP socket"
    : "a listener or a file";
  throw new TypeError(`socket must be a connection, got ${what}`);
}
