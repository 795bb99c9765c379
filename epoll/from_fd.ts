/**
 * Sockets that another program has opened, such as a service manager.
 *
 * @module
 */

import { checkInteger, showValue } from "../core/arguments.ts";
import type { Acceptor, Channel } from "../core/channel.ts";
import { StreamAcceptor } from "./acceptor.ts";
import { AddressReader } from "./address.ts";
import { StreamChannel } from "./channel.ts";
import { UdpSocket } from "./datagram_socket.ts";
import { type Engine, NOBODY } from "./engine.ts";
import { C } from "./layout.ts";
import type { Libc } from "./libc.ts";
import { OPTIONS, readOption } from "./option_table.ts";
import { systemError } from "./system_error.ts";

/** The first of the descriptors that a service manager passes on. */
const FIRST = 3;

/**
 * Makes a socket of the engine of a descriptor that is open.
 *
 * @throws {TypeError | RangeError} If it is no descriptor of a stream socket.
 * @throws {Error} If the system refuses. The descriptor stays open.
 */
export function socketOf(engine: Engine, fd: number): Channel | Acceptor {
  const { libc } = engine;
  prepare(engine, fd, STREAM);
  if (readOption(libc, fd, OPTIONS.SO_ACCEPTCONN, 1)[0] !== 0) {
    const acceptor = new StreamAcceptor(engine, fd);
    engine.share(fd);
    return acceptor;
  }
  const reader = new AddressReader(libc);
  const remoteAddr = reader.remoteAddress(fd);
  const localAddr = reader.localAddress(fd);
  const descriptor = engine.add(fd, NOBODY);
  engine.share(fd);
  const isCareful = remoteAddr.transport === "unix";
  const ends = { remoteAddr, localAddr };
  return new StreamChannel(engine, descriptor, ends, { isCareful });
}

/**
 * Makes a UDP socket of the engine of a descriptor that is open.
 *
 * @throws {TypeError | RangeError} If it is no descriptor of a UDP socket.
 * @throws {Error} If the system refuses. The descriptor stays open.
 */
export function datagramSocketOf(engine: Engine, fd: number): UdpSocket {
  prepare(engine, fd, UDP);
  const socket = new UdpSocket(engine, fd);
  engine.share(fd);
  return socket;
}

/** A kind of sockets that can be taken over. */
interface Kind {
  readonly name: string;
  readonly type: number;
  readonly families: readonly unknown[];
  /** The method that takes such a socket over. */
  readonly method: string;
}

const INTERNET = [C.AF_INET, C.AF_INET6];
const STREAM: Kind = {
  name: "stream socket",
  type: C.SOCK_STREAM,
  families: [C.AF_UNIX, ...INTERNET],
  method: "fromFd()",
};
const UDP: Kind = {
  name: "UDP socket",
  type: C.SOCK_DGRAM,
  families: INTERNET,
  method: "datagramsFromFd()",
};

/**
 * Makes a descriptor as the engine needs it.
 *
 * @throws {TypeError | RangeError} If it is none of such a socket, or the engine has
 * it.
 */
function prepare(engine: Engine, fd: number, wanted: Kind): void {
  checkInteger("fd", fd, 0, 0x7fffffff);
  if (engine.has(fd)) {
    throw new TypeError(
      `fd must be a descriptor that another program has opened, got ${fd}, ` +
        "which is a socket of epollNetwork",
    );
  }
  const { libc } = engine;
  const kind = [STREAM, UDP].find((kind) => isOf(libc, fd, kind));
  if (kind !== wanted) {
    const found = kind ? `a ${kind.name}: call ${kind.method}` : "none";
    throw new TypeError(
      `fd must be an open ${wanted.name}, got ${
        showValue(fd)
      }, which is ${found}`,
    );
  }
  set(libc, fd, C.FIONBIO);
  set(libc, fd, C.FIOCLEX);
}

function isOf(libc: Libc, fd: number, { type, families }: Kind): boolean {
  try {
    return readOption(libc, fd, OPTIONS.SO_TYPE, 1)[0] === type &&
      families.includes(readOption(libc, fd, OPTIONS.SO_DOMAIN, 1)[0]);
  } catch {
    return false; // It is no socket.
  }
}

/** Makes a descriptor non-blocking, or closed in child processes. */
function set(libc: Libc, fd: number, request: number): void {
  const one = new Uint8Array(Int32Array.of(1).buffer);
  if (libc.ioctl(fd, request, one) === 0) return;
  throw systemError(libc, libc.errno());
}

/**
 * The descriptors that a service manager has opened for this process (`LISTEN_PID`
 * and `LISTEN_FDS`, see sd_listen_fds(3)). It is empty if the program was started in
 * another way. Needs `--allow-env=LISTEN_PID,LISTEN_FDS`.
 *
 * @throws {Deno.errors.NotCapable} If the permission is missing.
 *
 * @example A server on the socket of a service manager, or on a port of its own
 * ```ts
 * import { Dispatcher } from "@asyncore/asyncore";
 * import { epollNetwork, inheritedFds } from "@asyncore/asyncore/epoll";
 *
 * const [fd] = inheritedFds();
 * const server = new Dispatcher();
 * if (fd !== undefined) server.setSocket(epollNetwork.fromFd(fd));
 * else {
 *   server.createSocket();
 *   server.bind({ port: 8007 });
 *   server.listen();
 * }
 * server.close();
 * ```
 */
export function inheritedFds(): number[] {
  if (Deno.env.get("LISTEN_PID") !== String(Deno.pid)) return [];
  const count = Number(Deno.env.get("LISTEN_FDS"));
  if (!Number.isInteger(count) || count < 0) return [];
  return Array.from({ length: count }, (_, i) => FIRST + i);
}
