/**
 * The options of sockets: their numbers, which are the same on both architectures,
 * and the calls that read and write them.
 *
 * @module
 */

import type { NetworkConnectionOptions } from "../core/network.ts";
import type { Libc } from "./libc.ts";
import { systemError } from "./system_error.ts";

/** An option, as calls name it. */
export type Option = readonly [level: number, number: number];

const SOL_SOCKET = 1;
const IPPROTO_IP = 0;
const IPPROTO_TCP = 6;
const IPPROTO_IPV6 = 41;

/** The name of an option whose value is a number, as in C. */
export type SocketOption =
  | "IPV6_RECVERR"
  | "IPV6_TCLASS"
  | "IPV6_UNICAST_HOPS"
  | "IPV6_V6ONLY"
  | "IP_RECVERR"
  | "IP_TOS"
  | "IP_TTL"
  | "SO_ACCEPTCONN"
  | "SO_BROADCAST"
  | "SO_BUSY_POLL"
  | "SO_DOMAIN"
  | "SO_INCOMING_CPU"
  | "SO_KEEPALIVE"
  | "SO_MARK"
  | "SO_OOBINLINE"
  | "SO_PRIORITY"
  | "SO_PROTOCOL"
  | "SO_RCVBUF"
  | "SO_RCVLOWAT"
  | "SO_REUSEADDR"
  | "SO_REUSEPORT"
  | "SO_SNDBUF"
  | "SO_TYPE"
  | "TCP_CORK"
  | "TCP_DEFER_ACCEPT"
  | "TCP_FASTOPEN"
  | "TCP_KEEPCNT"
  | "TCP_KEEPIDLE"
  | "TCP_KEEPINTVL"
  | "TCP_LINGER2"
  | "TCP_MAXSEG"
  | "TCP_NODELAY"
  | "TCP_NOTSENT_LOWAT"
  | "TCP_QUICKACK"
  | "TCP_SYNCNT"
  | "TCP_USER_TIMEOUT"
  | "TCP_WINDOW_CLAMP";

/** The options, by the names of the C library: their level, and their number. */
export const OPTIONS: Readonly<Record<SocketOption, Option>> = {
  SO_REUSEADDR: [SOL_SOCKET, 2],
  SO_TYPE: [SOL_SOCKET, 3],
  SO_BROADCAST: [SOL_SOCKET, 6],
  SO_SNDBUF: [SOL_SOCKET, 7],
  SO_RCVBUF: [SOL_SOCKET, 8],
  SO_KEEPALIVE: [SOL_SOCKET, 9],
  SO_OOBINLINE: [SOL_SOCKET, 10],
  SO_PRIORITY: [SOL_SOCKET, 12],
  SO_REUSEPORT: [SOL_SOCKET, 15],
  SO_RCVLOWAT: [SOL_SOCKET, 18],
  SO_ACCEPTCONN: [SOL_SOCKET, 30],
  SO_MARK: [SOL_SOCKET, 36],
  SO_PROTOCOL: [SOL_SOCKET, 38],
  SO_DOMAIN: [SOL_SOCKET, 39],
  SO_BUSY_POLL: [SOL_SOCKET, 46],
  SO_INCOMING_CPU: [SOL_SOCKET, 49],
  IP_TOS: [IPPROTO_IP, 1],
  IP_TTL: [IPPROTO_IP, 2],
  IP_RECVERR: [IPPROTO_IP, 11],
  IPV6_UNICAST_HOPS: [IPPROTO_IPV6, 16],
  IPV6_RECVERR: [IPPROTO_IPV6, 25],
  IPV6_V6ONLY: [IPPROTO_IPV6, 26],
  IPV6_TCLASS: [IPPROTO_IPV6, 67],
  TCP_NODELAY: [IPPROTO_TCP, 1],
  TCP_MAXSEG: [IPPROTO_TCP, 2],
  TCP_CORK: [IPPROTO_TCP, 3],
  TCP_KEEPIDLE: [IPPROTO_TCP, 4],
  TCP_KEEPINTVL: [IPPROTO_TCP, 5],
  TCP_KEEPCNT: [IPPROTO_TCP, 6],
  TCP_SYNCNT: [IPPROTO_TCP, 7],
  TCP_LINGER2: [IPPROTO_TCP, 8],
  TCP_DEFER_ACCEPT: [IPPROTO_TCP, 9],
  TCP_WINDOW_CLAMP: [IPPROTO_TCP, 10],
  TCP_QUICKACK: [IPPROTO_TCP, 12],
  TCP_USER_TIMEOUT: [IPPROTO_TCP, 18],
  TCP_FASTOPEN: [IPPROTO_TCP, 23],
  TCP_NOTSENT_LOWAT: [IPPROTO_TCP, 25],
};

/** The options that have no place among the others. */
export const OTHER_OPTIONS = {
  /** A read takes the pending error away. */
  SO_ERROR: [SOL_SOCKET, 4],
  /** `struct linger`: on or off, and seconds. */
  SO_LINGER: [SOL_SOCKET, 13],
  /** `struct ucred`: process, user and group. */
  SO_PEERCRED: [SOL_SOCKET, 17],
} as const satisfies Record<string, Option>;

/** The options to switch on for a TCP connection. The system has both off. */
export function settingsOf(
  { noDelay, keepAlive }: NetworkConnectionOptions,
): Option[] {
  const settings: Option[] = [];
  if (noDelay) settings.push(OPTIONS.TCP_NODELAY);
  if (keepAlive) settings.push(OPTIONS.SO_KEEPALIVE);
  return settings;
}

/**
 * The value of an option: `count` numbers of 32 bits.
 *
 * @throws {Error} If the system refuses.
 */
export function readOption(
  libc: Libc,
  fd: number,
  [level, number]: Option,
  count: number,
): Int32Array {
  const value = new Int32Array(new ArrayBuffer(4 * count));
  const size = new Uint32Array(new ArrayBuffer(4)).fill(value.byteLength);
  const bytes = new Uint8Array(value.buffer);
  const length = new Uint8Array(size.buffer);
  if (libc.getsockopt(fd, level, number, bytes, length) === 0) return value;
  throw systemError(libc, libc.errno());
}

/**
 * Sets an option.
 *
 * @throws {Error} If the system refuses.
 */
export function writeOption(
  libc: Libc,
  fd: number,
  [level, number]: Option,
  value: number[],
): void {
  const bytes = new Uint8Array(Int32Array.from(value).buffer);
  if (libc.setsockopt(fd, level, number, bytes, bytes.length) === 0) return;
  throw systemError(libc, libc.errno());
}
