/**
 * What a dispatcher's socket is good for now: errors of calls that it is not
 * ready for.
 *
 * @module
 */

import { Connection } from "./connection.ts";
import { nameOf } from "./log.ts";
import type { Socket } from "./socket.ts";

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
  if (entry?.closed) return Connection.neverOpened(entry);
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
