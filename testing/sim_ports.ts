/**
 * The ports of a simulated host: {@linkcode SimPorts}.
 *
 * @module
 */

import type { Bytes } from "./slab.ts";

/** The ephemeral ports of Linux (`ip_local_port_range`). */
const FIRST_PORT = 32_768;
const LAST_PORT = 60_999;
/** How long the side that ended first keeps its port after the end, in ms, as on Linux. */
export const TIME_WAIT = 60_000;

/** The port of a connection, at the side that has connected. */
export interface PortLease {
  readonly port: number;
  /** Another connection may have the port, but to another address. */
  readonly remote: string;
  /** When it is free again, in simulated ms. */
  until: number;
}

/** A datagram that has arrived. */
export interface Arrived {
  readonly bytes: Bytes;
  /** Who sent it. */
  readonly addr: Deno.NetAddr;
}

/** A UDP socket, as far as its host needs it. */
export interface DatagramPort {
  /** Whether it shares its port with others that do so. */
  readonly isShared: boolean;
  /** Gets a datagram that has come by this way. */
  push(arrived: Arrived, way: string): void;
}

/** What a host knows of its ports. It outlives the programs of the host. */
export class SimPorts {
  /** Counts on over all programs: an old peer must not meet a new connection. */
  #next = FIRST_PORT;
  readonly #leases = new Map<number, PortLease[]>();
  readonly #sockets = new Map<number, DatagramPort[]>();
  /** How many datagrams went each way. */
  readonly #datagrams = new Map<string, number>();

  /** The next ephemeral port that is not taken; `null` if there is none. */
  #take(isTaken: (port: number) => boolean): number | null {
    for (let tries = FIRST_PORT; tries <= LAST_PORT; tries++) {
      const port = this.#next;
      this.#next = port === LAST_PORT ? FIRST_PORT : port + 1;
      if (!isTaken(port)) return port;
    }
    return null;
  }

  /** The next ephemeral port for a listener or a datagram socket. */
  takeFree(isTaken: (port: number) => boolean): number {
    const port = this.#take(isTaken);
    if (port !== null) return port;
    throw new Deno.errors.AddrInUse("Address already in use");
  }

  // Connections

  /** Takes a port for a connection to `remote`, which begins now. */
  lease(
    remote: string,
    now: number,
    isListening: (port: number) => boolean,
  ): PortLease {
    const port = this.#take((port) =>
      isListening(port) ||
      this.#leasesOf(port, now).some((lease) => lease.remote === remote)
    );
    if (port === null) {
      throw new Deno.errors.AddrNotAvailable("Cannot assign requested address");
    }
    const lease = { port, remote, until: Infinity };
    const others = this.#leases.get(port);
    if (others) others.push(lease);
    else this.#leases.set(port, [lease]);
    return lease;
  }

  /** Whether a connection has the port, or had it shortly before. */
  isLeased(port: number, now: number): boolean {
    return this.#leasesOf(port, now).length > 0;
  }

  /** The leases of a port that are not over; forgets the others. */
  #leasesOf(port: number, now: number): readonly PortLease[] {
    const leases = this.#leases.get(port);
    if (leases === undefined) return [];
    const left = leases.filter(({ until }) => until > now);
    if (left.length > 0) this.#leases.set(port, left);
    else this.#leases.delete(port);
    return left;
  }

  // Datagrams

  /** The socket that gets the datagrams for a port: of several, the last one. */
  socketOf(port: number): DatagramPort | undefined {
    return this.#sockets.get(port)?.at(-1);
  }

  /** Adds a socket to a port, if the port is free or all share it. */
  addSocket(port: number, socket: DatagramPort): void {
    const sockets = this.#sockets.get(port) ?? [];
    if (!sockets.every(({ isShared }) => isShared && socket.isShared)) {
      throw new Deno.errors.AddrInUse("Address already in use");
    }
    sockets.push(socket);
    this.#sockets.set(port, sockets);
  }

  removeSocket(port: number, socket: DatagramPort): void {
    const sockets = this.#sockets.get(port) ?? [];
    const rest = sockets.filter((other) => other !== socket);
    if (rest.length > 0) this.#sockets.set(port, rest);
    else this.#sockets.delete(port);
  }

  /** The number of the next datagram this way, whichever program sends it. */
  nextDatagram(way: string): number {
    const nth = (this.#datagrams.get(way) ?? 0) + 1;
    this.#datagrams.set(way, nth);
    return nth;
  }

  /** The power fails: no port is taken any more. */
  clear(): void {
    this.#leases.clear();
    this.#sockets.clear();
  }
}
