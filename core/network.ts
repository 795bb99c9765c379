/**
 * The {@linkcode Network} that connects to addresses and listens on them, and
 * the options of a socket. The network is a seam: a test or a simulation can
 * bring its own.
 *
 * @module
 */

import type { Transport } from "./address.ts";
import type { Acceptor, Channel } from "./channel.ts";
import type { TlsOptions } from "./tls_options.ts";

// Left for `connection.ts` and `dispatcher.ts`, which still look for them here.
export { explain, formatAddress, parseAddress } from "./address.ts";
export type { Address } from "./address.ts";
export { checkTls } from "./tls_options.ts";
export type { TlsOptions };

/** Options of `createSocket()`. */
export interface SocketOptions {
  /**
   * What the socket speaks. `"tcp"` and `"tls"` cover IPv4 and IPv6: the
   * address decides.
   *
   * @default {"tcp"}
   */
  transport?: Transport;
  /** What a TLS socket is secured with. */
  tls?: TlsOptions;
  /**
   * How many connections may wait to be accepted, over `"tcp"` and `"tls"`. For
   * other transports Deno decides, and the option is refused.
   *
   * @default {511}
   */
  backlog?: number;
  /**
   * How many connections a listener may have at the same time, those at their
   * handshake among them. With so many it stops accepting, and goes on when one
   * of them ends, by `close()`, by `using` or through its Web streams; further
   * clients wait in the backlog. Each of the two is said in a warning. Only its
   * own connections count.
   *
   * @default {Infinity}
   */
  maxConnections?: number;
  /**
   * Lets several processes listen on the same TCP port (SO_REUSEPORT). Without
   * Deno's `--unstable-net`, `bind()` throws a `Deno.errors.NotSupported`.
   *
   * @default {false}
   */
  reusePort?: boolean;
  /**
   * How long, in milliseconds, `connect()` may take without the handshake,
   * before it fails with `Deno.errors.TimedOut`. Deno cannot give up an attempt
   * that shows a certificate of our own, or one to a Unix socket: it then holds
   * the process until the system gives up.
   * At most 24 attempts to connect to names, rather than IP addresses, are under
   * way at the same time, so that a resolver that hangs leaves threads for files:
   * the others wait, and this time counts.
   *
   * @default {Infinity, that is until the system gives up}
   */
  connectTimeout?: number;
  /**
   * How long, in milliseconds, a TLS handshake may take: a peer that is silent
   * or speaks something else costs only its own connection. While more than 256
   * clients of a listener are at their handshake, the oldest of them has only
   * one second, so that the others need not wait.
   *
   * @default {10_000}
   */
  handshakeTimeout?: number;
}

/** Options of {@linkcode Network.connect}. */
export interface NetworkConnectOptions {
  /** Gives the attempt up. What is connected nevertheless is closed by the caller. */
  signal: AbortSignal;
  /** What to secure the connection with, if it is to be TLS. */
  tls?: TlsOptions | undefined;
}

/** Options of {@linkcode Network.listen}. */
export interface NetworkListenOptions {
  /** How many connections may wait to be accepted. */
  backlog: number;
  /** Lets several listeners share the port. */
  reusePort: boolean;
  /** What to secure the connections with, if they are to be TLS. */
  tls?: TlsOptions | undefined;
}

/**
 * Makes connections and listeners. What it gives is checked as a user's channel
 * is; what is refused is closed, and is an error of the dispatcher that asked.
 */
export interface Network {
  /** Connects to `address`; rejects with the reason. */
  connect(
    address: Deno.Addr,
    options: NetworkConnectOptions,
  ): Promise<Channel>;
  /** Listens on `address` at once, or throws the reason. */
  listen(address: Deno.Addr, options: NetworkListenOptions): Acceptor;
  /**
   * Turns a plain connection that stands into a TLS one, whose handshake is to
   * follow. What it throws at once, rather than rejects with, leaves the plain
   * connection as it was.
   */
  startTls?(
    channel: Channel,
    hostname: string,
    options: TlsOptions,
  ): Promise<Channel>;
}
