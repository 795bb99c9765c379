/**
 * The object that a `DatagramDispatcher` wraps: {@linkcode DatagramSocket}.
 *
 * @module
 */

import { checkMethods } from "./arguments.ts";

/** A socket for a `DatagramDispatcher`: a `Deno.DatagramConn` for UDP fits. */
export interface DatagramSocket {
  /**
   * Waits for the next datagram.
   *
   * @param target Where its bytes go; what does not fit is cut off.
   * @returns The bytes, and who sent them.
   */
  receive(target: Uint8Array): Promise<[Uint8Array, Deno.Addr]>;
  /** Sends one datagram, and gives its length. */
  send(data: Uint8Array, addr: Deno.Addr): Promise<number>;
  /** Releases the socket. A pending operation must settle. */
  close(): void;
  /** The address that datagrams can be sent to. */
  readonly addr: Deno.Addr;
}

/**
 * Checks that `value` is a {@linkcode DatagramSocket}.
 *
 * @throws {TypeError} If it lacks a method.
 */
export function asDatagramSocket(name: string, value: unknown): DatagramSocket {
  checkMethods(name, value, ["receive", "send", "close"]);
  return value as DatagramSocket;
}
