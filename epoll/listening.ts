/**
 * Opens listeners and UDP sockets.
 *
 * @module
 */

import { showValue } from "../core/arguments.ts";
import type {
  NetworkDatagramOptions,
  NetworkListenOptions,
} from "../core/network.ts";
import { StreamAcceptor } from "./acceptor.ts";
import { type SystemAddress, unixAddress } from "./address.ts";
import { UdpSocket } from "./datagram_socket.ts";
import type { Engine } from "./engine.ts";
import { C } from "./layout.ts";
import type { Libc } from "./libc.ts";
import {
  type Option,
  OPTIONS,
  settingsOf,
  writeOption,
} from "./option_table.ts";
import { resolveNow } from "./resolve.ts";
import { systemError } from "./system_error.ts";

/**
 * Listens on an address.
 *
 * @throws {Error} If the system refuses.
 */
export function listen(
  engine: Engine,
  address: Deno.NetAddr | Deno.UnixAddr,
  options: NetworkListenOptions,
): StreamAcceptor {
  const { libc } = engine;
  const { backlog, reusePort, ipv6Only } = options;
  if ("path" in address) {
    const { path } = address;
    const fd = bind(libc, unixAddress(path), C.SOCK_STREAM, new Map());
    const onClose = path.startsWith("\0") ? undefined : ownerOf(path);
    return open(engine, fd, backlog, onClose);
  }
  const first = resolveNow(libc, address)[0]!;
  // Linux gives an accepted connection what its listener has.
  const isOn = [OPTIONS.SO_REUSEADDR, ...settingsOf(options)];
  if (reusePort) isOn.push(OPTIONS.SO_REUSEPORT);
  const values = new Map(isOn.map((option) => [option, 1]));
  if (ipv6Only !== undefined) {
    if (first.family !== C.AF_INET6) throw noIpv6(address);
    values.set(OPTIONS.IPV6_V6ONLY, Number(ipv6Only));
  }
  const fd = bind(libc, first, C.SOCK_STREAM, values);
  return open(engine, fd, backlog);
}

function noIpv6({ hostname }: Deno.NetAddr): Error {
  return new TypeError(
    `ipv6Only is for an IPv6 address, such as "::", got ${showValue(hostname)}`,
  );
}

/**
 * Opens a UDP socket on an address.
 *
 * @throws {Error} If the system refuses.
 */
export function listenDatagram(
  engine: Engine,
  address: Deno.NetAddr,
  { reuseAddress }: NetworkDatagramOptions,
): UdpSocket {
  const { libc } = engine;
  const [first] = resolveNow(libc, address);
  const values = new Map(reuseAddress ? [[OPTIONS.SO_REUSEADDR, 1]] : []);
  const fd = bind(libc, first!, C.SOCK_DGRAM, values);
  try {
    return new UdpSocket(engine, fd);
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

/** Makes a socket with an address, and with these values of options. */
function bind(
  libc: Libc,
  { family, bytes }: SystemAddress,
  kind: number,
  values: ReadonlyMap<Option, number>,
): number {
  const type = kind | C.SOCK_NONBLOCK | C.SOCK_CLOEXEC;
  const fd = libc.socket(family, type, 0);
  if (fd < 0) throw systemError(libc, libc.errno());
  try {
    for (const [option, value] of values) {
      writeOption(libc, fd, option, [value]);
    }
    if (libc.bind(fd, bytes, bytes.length) === 0) return fd;
    throw systemError(libc, libc.errno());
  } catch (error) {
    libc.close(fd);
    if (family === C.AF_UNIX && error instanceof Deno.errors.AddrInUse) {
      error.message += ": the file is there. Remove it if nobody listens on it";
    }
    throw error;
  }
}

/** Makes a listener of a socket with an address, or closes it. */
function open(
  engine: Engine,
  fd: number,
  backlog: number,
  onClose?: () => void,
): StreamAcceptor {
  const { libc } = engine;
  try {
    if (libc.listen(fd, backlog) !== 0) {
      throw systemError(libc, libc.errno());
    }
    return new StreamAcceptor(engine, fd, onClose);
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

/**
 * Removes the path of a listener at its close, as Deno does: but only if it still
 * names this socket, and no other program's.
 */
function ownerOf(path: string): () => void {
  const own = identify(path);
  return () => {
    if (own === null || identify(path) !== own) return;
    try {
      Deno.removeSync(path);
    } catch {
      // It may not be removed, so it stays.
    }
  };
}

/** The file that a path names; `null` where that cannot be seen. */
function identify(path: string): string | null {
  try {
    const { dev, ino } = Deno.lstatSync(path);
    return `${dev} ${ino}`;
  } catch {
    return null;
  }
}
