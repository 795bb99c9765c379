/**
 * The socket that a call of a dispatcher works with, or the error that says why
 * the call cannot work now.
 *
 * @module
 */

import type { SocketAddress } from "./address.ts";
import {
  type Acceptor,
  asAcceptor,
  asChannel,
  type Channel,
  isAcceptor,
} from "./channel.ts";
import { Connection } from "./connection.ts";
import type { Accepted } from "./dispatcher_hooks.ts";
import { refuseOptionsFirst } from "./dispatcher_options.ts";
import { libraryMethods } from "./interest.ts";
import { Listener } from "./listener.ts";
import { nameOf, textOf } from "./log.ts";
import type { Socket, SocketParts } from "./socket.ts";

/**
 * The connection that a call of a dispatcher works with.
 *
 * @param present The dispatcher's socket now.
 * @param action The call, for the message.
 * @throws {Error} If it is no connection.
 */
export function connectionOf(
  dispatcher: object,
  present: Socket | null,
  action: string,
): Connection {
  const entry = present === null || present.former === null
    ? present
    : present.ofRunningHook;
  if (entry instanceof Connection) return entry;
  if (entry?.closed) return neverOpened(entry);
  const { phase = "created" } = entry ?? {};
  const advice = phase === "created"
    ? "call connect() first"
    : `it is ${phase}`;
  const what = `${nameOf(dispatcher)} is not connected: ${advice}`;
  throw new Error(`Cannot ${action}: ${what}`);
}

/**
 * The open socket that a call of a dispatcher works with.
 *
 * @throws {Error} If there is none.
 */
export function openSocket(
  dispatcher: object,
  present: Socket | null,
  action: string,
): Socket {
  if (present?.closed === false) return present;
  const what = `${nameOf(dispatcher)} has no socket: call createSocket() first`;
  throw new Error(`Cannot ${action}: ${what}`);
}

/** @throws {Error} If a dispatcher that is to get a socket has an open one. */
export function checkClosed(
  dispatcher: object,
  present: Socket | null,
  action: string,
): void {
  if (present === null || present.closed) return;
  const what = `${textOf(dispatcher)} has one already: call close() first`;
  throw new Error(`Cannot ${action}: ${what}`);
}

/**
 * A listener that is bound, and takes no connections yet.
 *
 * @throws {Error} If the socket is none.
 */
export function boundListener(dispatcher: object, socket: Socket): Listener {
  if (socket.phase === "bound") return socket as Listener;
  const state = socket.phase === "created"
    ? "is not bound: call bind() first"
    : `is ${socket.phase} already`;
  throw new Error(`Cannot listen: ${nameOf(dispatcher)} ${state}`);
}

/**
 * Takes the next waiting connection of a listener; `null` if none waits, or the
 * listener is closed.
 *
 * @throws {Error} If the dispatcher does not listen.
 */
export function acceptFrom(
  dispatcher: object,
  present: Socket | null,
): Accepted | null {
  if (present?.closed) return null;
  if (!(present instanceof Listener && present.listens)) {
    throw new Error(
      `Cannot accept: ${
        nameOf(dispatcher)
      } is not listening: call listen() first`,
    );
  }
  const checked = present.accept();
  if (checked === null) return null;
  const addr = checked.addr ?? present.addr!;
  return { conn: checked.channel, addr: addr as SocketAddress };
}

/** The sockets whose dispatchers were asked to leave their maps. */
const leaving = new WeakSet<Socket>();

/**
 * Closes a dispatcher's socket. As in Python, an overridden `delChannel()` is
 * called before that, once.
 *
 * @throws What `delChannel()` throws. The socket is closed nevertheless.
 */
export function closeSocket(
  dispatcher: { delChannel(): unknown },
  socket: Socket | null,
): void {
  if (socket === null || socket.closed) return;
  try {
    if (libraryMethods.has(dispatcher.delChannel)) return;
    if (leaving.has(socket)) return;
    leaving.add(socket);
    socket.reactor.follow(dispatcher.delChannel());
  } finally {
    socket.close();
  }
}

/** A closed connection, for a socket that was closed before it had one. */
function neverOpened({ pollable, reactor, options }: Socket): Connection {
  const parts = { pollable, reactor, options, timers: null };
  const connection = new Connection(parts);
  connection.closed = true;
  return connection;
}

/** The socket after an attempt to open it has failed: as it was created. */
export function failedSocket(socket: Socket): Socket {
  const created = socket.phase === "bound"
    ? (socket as Listener).unbind()
    : socket;
  if (created.phase === "created") created.fail();
  return created;
}

/**
 * The function that makes a socket of what a dispatcher is to wrap.
 *
 * @throws {TypeError | RangeError} If that is neither a channel nor a listener.
 */
export function adopterOf(
  wrapped: Channel | Acceptor,
): (parts: SocketParts) => Socket {
  refuseOptionsFirst(wrapped);
  if (isAcceptor(wrapped)) {
    asAcceptor("channel", wrapped);
    return (parts) => new Listener(parts, null, wrapped).listen();
  }
  const checked = asChannel("channel", wrapped);
  return (parts) => new Connection(parts).adopt(checked);
}
