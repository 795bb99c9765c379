/**
 * The second engine: sockets over system calls of Linux (`epoll`). Dispatchers run
 * on it unchanged. Where many connections are busy, a message costs less processor
 * time than over Deno's sockets; `deno task bench` tells how much on a machine.
 *
 * ```ts
 * import { socketMap } from "@asyncore/asyncore";
 * import { epollNetwork } from "@asyncore/asyncore/epoll";
 *
 * if (epollNetwork.available) socketMap.network = epollNetwork;
 * ```
 *
 * It is for Linux, on x86-64 and aarch64, with glibc or musl. It needs
 * `--allow-ffi`, which means the trust of the whole machine: a program that may
 * call the C library may do all that its user may, whatever other permissions it
 * has. The narrow form is `--allow-ffi=PATH` with the path of the C library, such
 * as `/lib/x86_64-linux-gnu/libc.so.6`. That keeps other libraries out, but not
 * other calls. Deno does not check `--allow-net` for its sockets. The paths of
 * Unix listeners are removed at their close only with `--allow-read
 * --allow-write`.
 *
 * Sockets of the transports `"tcp"` and `"unix"`, the UDP sockets of
 * `DatagramDispatcher`, and the FIFOs, terminals and standard streams of
 * `FileDispatcher` belong to the engine. A read of such a file holds no thread, so
 * hundreds can be open at once. Sockets of `"tls"` and `"vsock"` and regular files
 * are Deno's, and live in the same loop. (A device that epoll cannot watch, and a
 * FIFO or terminal that a program locks, stay with Deno.) `startTls()` over a
 * connection of the engine is refused, and ends it: give a map that needs it the
 * default network. The engine waits on one of Deno's 32 threads for files, so leave
 * it one: a FIFO that the program itself reads holds a thread until data come, and
 * `Deno.open(path, { read: true })` of a FIFO until somebody opens it for writing.
 * Beyond Deno's network, a path of a Unix socket that begins with a zero byte is an
 * abstract name, and UDP and `reusePort` need no flag.
 * {@linkcode getOption} and {@linkcode setOption} take the options of a socket by
 * their names in C, and {@linkcode peerCredentials} tells who is at the other end of
 * a Unix socket. Urgent data runs `handleExpt()`: see {@linkcode recvUrgent} and
 * {@linkcode sendUrgent}. `createSocket()` takes `ipv6Only`.
 * {@linkcode EpollNetwork.fromFd} and {@linkcode EpollNetwork.datagramsFromFd} take
 * over the sockets of a service
 * manager. A closed connection sees what its peer has acknowledged: see
 * `ConnectionOptions.linger`.
 *
 * @module
 */

import "../core/runtime.ts";
import "../net/deno_network.ts";
export { inheritedFds } from "./from_fd.ts";
export { type EpollNetwork, epollNetwork } from "./network.ts";
export {
  fileno,
  getLinger,
  getOption,
  type PeerCredentials,
  peerCredentials,
  setLinger,
  setOption,
} from "./options.ts";
export type { EngineSocket } from "./opened.ts";
export type { SocketOption } from "./option_table.ts";
export { isAtMark, recvUrgent, sendUrgent } from "./urgent.ts";
