/**
 * The {@linkcode Network} of the second engine: {@linkcode epollNetwork}.
 *
 * @module
 */

import { checkMilliseconds } from "../core/arguments.ts";
import type { Acceptor, Channel } from "../core/channel.ts";
import type { DatagramSocket } from "../core/datagram_socket.ts";
import type {
  Network,
  NetworkConnectOptions,
  NetworkDatagramOptions,
  NetworkListenOptions,
} from "../core/network.ts";
import { POLLER, type Poller } from "../core/poller.ts";
import { FILE_CHANNEL } from "../core/symbols.ts";
import type { TlsOptions } from "../core/tls_options.ts";
import type { FileLike } from "../file_dispatcher.ts";
import { denoNetwork } from "../net/deno_network.ts";
import { StreamChannel } from "./channel.ts";
import { connect } from "./connecting.ts";
import { Engine } from "./engine.ts";
import { channelOfFile } from "./file_channel.ts";
import { SpinTime } from "./spin_time.ts";
import { datagramSocketOf, socketOf } from "./from_fd.ts";
import { findLibc, type Found } from "./libc.ts";
import { listen, listenDatagram } from "./listening.ts";

/**
 * For so long, in ms, the engine looks for events once a turn before it waits on a
 * thread. A longer time costs an idle program more; a shorter one makes a
 * connection that answers at once wait for a thread. Measured by the rows "1 of 1"
 * of `bench/`: without it, a message costs half as much again.
 */
const SPIN = 0.06;

/** A network over system calls of Linux: {@linkcode epollNetwork}. */
export interface EpollNetwork extends Network {
  /**
   * Whether it can be used here: on Linux, on x86-64 or aarch64, and with
   * `--allow-ffi`. It asks for no permission.
   */
  readonly available: boolean;
  /**
   * For how long, in milliseconds, a loop looks for events once a turn before it
   * waits on a thread. At 0 it waits at once. The time adapts: where it is spent in
   * vain, it is spent less often.
   *
   * @default {0.06}
   */
  spin: number;
  /**
   * Takes over a stream socket that is open, such as one of
   * {@linkcode inheritedFds}: a listener or a connection, for `setSocket()`. It is
   * closed with its dispatcher.
   *
   * @param fd The number of the descriptor.
   * @throws {TypeError | RangeError} If it is no descriptor of a stream socket.
   * @throws {Deno.errors.NotSupported} If the network is not available.
   * @throws {Error} If the system refuses. The descriptor stays open.
   */
  fromFd(fd: number): Channel | Acceptor;
  /**
   * Takes over a UDP socket that is open and bound, such as one of
   * {@linkcode inheritedFds}, for a `DatagramDispatcher`. It is closed with its
   * dispatcher.
   *
   * @param fd The number of the descriptor.
   * @throws {TypeError | RangeError} If it is no descriptor of a UDP socket.
   * @throws {Deno.errors.NotSupported} If the network is not available.
   * @throws {Error} If the system refuses. The descriptor stays open.
   */
  datagramsFromFd(fd: number): DatagramSocket;
}

/** A network whose sockets belong to Linux, and not to Deno. */
export class LinuxNetwork implements EpollNetwork {
  readonly #find: () => Found;
  readonly #spin = new SpinTime(SPIN);
  #engine: Engine | null = null;

  /** The engine of its connections, once there is one. */
  get [POLLER](): Poller | undefined {
    return this.#engine ?? undefined;
  }

  /**
   * Makes a network that opens nothing before its first use.
   *
   * @param find Finds the C library; a test can give another one.
   */
  constructor(find: () => Found) {
    this.#find = find;
  }

  get available(): boolean {
    return "libc" in this.#find();
  }

  get spin(): number {
    return this.#spin.longest;
  }
  set spin(ms: number) {
    checkMilliseconds("spin", ms, { finite: true });
    this.#spin.longest = ms;
  }

  async connect(
    address: Deno.Addr,
    options: NetworkConnectOptions,
  ): Promise<Channel> {
    const engine = this.#open();
    if (isOwn(address) && options.tls === undefined) {
      return await connect(engine, address, options);
    }
    return await denoNetwork.connect(address, options);
  }

  listen(address: Deno.Addr, options: NetworkListenOptions): Acceptor {
    const engine = this.#open();
    if (isOwn(address) && options.tls === undefined) {
      return listen(engine, address, options);
    }
    return denoNetwork.listen(address, options);
  }

  [FILE_CHANNEL](file: FileLike): Channel | null {
    return this.available ? channelOfFile(this.#open(), file) : null;
  }

  listenDatagram(
    address: Deno.NetAddr,
    options: NetworkDatagramOptions,
  ): DatagramSocket {
    return listenDatagram(this.#open(), address, options);
  }

  fromFd(fd: number): Channel | Acceptor {
    return socketOf(this.#open(), fd);
  }

  datagramsFromFd(fd: number): DatagramSocket {
    return datagramSocketOf(this.#open(), fd);
  }

  startTls(
    channel: Channel,
    hostname: string,
    options: TlsOptions,
  ): Promise<Channel> {
    if (channel instanceof StreamChannel) {
      throw new Deno.errors.NotSupported(
        "Deno starts TLS over its own connections only, and this one belongs to " +
          'epollNetwork: use transport "tls", or a map with the default network',
      );
    }
    return denoNetwork.startTls!(channel, hostname, options);
  }

  /**
   * The engine. It is made at its first use.
   *
   * @throws {Deno.errors.NotSupported} If it cannot be used here.
   */
  #open(): Engine {
    if (this.#engine !== null) return this.#engine;
    const found = this.#find();
    if ("obstacle" in found) {
      throw new Deno.errors.NotSupported(
        `epollNetwork cannot be used here: ${found.obstacle}`,
      );
    }
    return this.#engine = new Engine(found.libc, this.#spin);
  }
}

/** Addresses of the sockets that it makes by itself. */
function isOwn(address: Deno.Addr): address is Deno.NetAddr | Deno.UnixAddr {
  return address.transport === "tcp" || address.transport === "unix";
}

// Deno's test runner takes a library that a test opens for a leak: it is opened now.
findLibc();

/**
 * The network of this machine on system calls of Linux. TLS and vsock sockets are
 * Deno's, and live in the same loop. Each use throws a `Deno.errors.NotSupported`
 * where it is not {@linkcode EpollNetwork.available}.
 */
export const epollNetwork: EpollNetwork = new LinuxNetwork(findLibc);
