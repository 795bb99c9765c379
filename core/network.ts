/**
 * The {@linkcode Network}, which connects to addresses and listens on them, and
 * the options of a socket. A test or a simulation can bring its own network.
 *
 * @module
 */

import type { Transport } from "./address.ts";
import type { Acceptor, Channel } from "./channel.ts";
import type { DatagramSocket } from "./datagram_socket.ts";
import type { TlsOptions } from "./tls_options.ts";

/** Options of `createSocket()`. */
export interface SocketOptions {
  /**
   * The kind of socket. `"tcp"` and `"tls"` speak IPv4 or IPv6, as the address
   * says.
   *
   * @default {"tcp"}
   */
  transport?: Transport | undefined;
  /** Certificates and names of a TLS socket. */
  tls?: TlsOptions | undefined;
  /**
   * How many connections the system may keep waiting to be accepted, over `"tcp"`
   * and `"tls"`. For other transports Deno decides, and this option is refused.
   *
   * @default {511}
   */
  backlog?: number | undefined;
  /**
   * How many connections a listener may have at the same time. Connections at
   * their handshake count, connections of other listeners do not. At the limit
   * the listener stops accepting, and further clients wait in the backlog. It goes
   * on when one of its connections ends: by `close()`, by `using` or through its
   * Web streams. A warning tells when it stops, and when it goes on.
   *
   * @default {Infinity}
   */
  maxConnections?: number | undefined;
  /**
   * Lets several processes listen on the same TCP port (SO_REUSEPORT). Without
   * Deno's `--unstable-net`, `bind()` throws a `Deno.errors.NotSupported`.
   *
   * @default {false}
   */
  reusePort?: boolean | undefined;
  /**
   * Whether a listener on an IPv6 address such as `"::"` is for IPv6 alone
   * (IPV6_V6ONLY). At `false`, `"::"` takes IPv4 clients as well, at addresses like
   * `::ffff:192.0.2.1`; at `true`, another listener can have the same port of
   * `"0.0.0.0"`. Deno cannot choose: except with `epollNetwork`, `bind()` throws a
   * `Deno.errors.NotSupported`.
   *
   * @default {as the system is set up: on Linux, false}
   */
  ipv6Only?: boolean | undefined;
  /**
   * Whether bytes go out at once (TCP_NODELAY). At `false` the system gathers small
   * writes (Nagle's algorithm): fewer packets, but a small write behind another
   * one waits for the peer's acknowledgement, 40 ms perhaps.
   *
   * A listener gives this and `keepAlive` to each connection that it accepts. Deno
   * can set neither of them on the connections of a TLS listener, or of a TLS client
   * with a certificate of its own: there the system's default holds, `false`, and
   * `true` is refused. Unix sockets and vsock have neither of them, so both are
   * refused.
   *
   * @default {true}
   */
  noDelay?: boolean | undefined;
  /**
   * Whether the system asks a silent peer now and then whether it still lives
   * (SO_KEEPALIVE), and ends the connection if it does not. The system says how
   * often; on Linux, after two hours. For shorter times see
   * {@linkcode DispatcherOptions.idleTimeout}.
   *
   * @default {false}
   */
  keepAlive?: boolean | undefined;
  /**
   * How long, in milliseconds, `connect()` may take before it fails with
   * `Deno.errors.TimedOut`. The handshake does not count. Deno cannot give up an
   * attempt over TLS with a certificate of this side, or to a Unix socket: such an
   * attempt keeps the process alive until the system gives up.
   *
   * A name with several addresses has this time for all of them together. From Deno
   * 2.9 on, the next one is tried when one refuses, or has not answered for 250 ms
   * (RFC 8305).
   *
   * At most 24 attempts to connect to names, rather than IP addresses, are under
   * way at the same time, so that a resolver that hangs leaves threads for files.
   * Further attempts wait, and the wait counts.
   *
   * @default {Infinity: until the system gives up}
   */
  connectTimeout?: number | undefined;
  /**
   * How long, in milliseconds, a TLS handshake may take. A peer that is silent or
   * speaks another protocol costs only its own connection. While more than 256
   * clients of a listener are at their handshake, the oldest is cut off after one
   * second, so that the others need not wait. Deno keeps the descriptor of a
   * connection that was cut off until the peer sends or ends something.
   *
   * @default {10_000}
   */
  handshakeTimeout?: number | undefined;
}

/** Options of {@linkcode Dispatcher.connect}. */
export interface ConnectOptions {
  /**
   * Ends connecting when it aborts, whether the name is being looked up, the
   * connection made, or its TLS handshake under way. `handleError()` gets the
   * signal's reason, and then `handleClose()` runs; a signal that has aborted
   * before is no different. From `handleConnect()` on it has no effect. As with
   * {@linkcode SocketOptions.connectTimeout}, Deno cannot give up every attempt: one
   * that it cannot ends in the background, and its connection is closed. Deno keeps
   * the descriptor of a TLS connection that is closed at its handshake until the
   * peer sends or ends something.
   *
   * @default {none}
   */
  signal?: AbortSignal | undefined;
}

/** How a connection behaves, as far as that is up to the system. */
export interface NetworkConnectionOptions {
  /** Sends small writes at once, over TCP. */
  noDelay?: boolean | undefined;
  /** Asks a silent peer now and then whether it lives, over TCP. */
  keepAlive?: boolean | undefined;
  /** The TLS options, if the connection is to use TLS. */
  tls?: TlsOptions | undefined;
}

/** Options of {@linkcode Network.connect}. */
export interface NetworkConnectOptions extends NetworkConnectionOptions {
  /** Gives up the attempt. If it succeeds all the same, the caller closes it. */
  signal: AbortSignal;
}

/** Options of {@linkcode Network.listen}, and of the connections that come by it. */
export interface NetworkListenOptions extends NetworkConnectionOptions {
  /** How many connections may wait to be accepted. */
  backlog: number;
  /** Lets several listeners share the port. */
  reusePort: boolean;
  /** Takes IPv6 clients alone, or IPv4 clients as well; else as the system is set up. */
  ipv6Only?: boolean | undefined;
}

/** Options of {@linkcode Network.listenDatagram}. */
export interface NetworkDatagramOptions {
  /** Lets several sockets share the address, as `setReuseAddr()` asks for. */
  reuseAddress: boolean;
}

/**
 * Makes connections and listeners, and UDP sockets where it has them. The library checks them as it checks a user's
 * channel. If the check fails, the library closes the object, and the dispatcher
 * that asked for it gets the error.
 */
export interface Network {
  /** Connects to `address`. The promise rejects if that fails. */
  connect(
    address: Deno.Addr,
    options: NetworkConnectOptions,
  ): Promise<Channel>;
  /** Listens on `address` at once, or throws an error. */
  listen(address: Deno.Addr, options: NetworkListenOptions): Acceptor;
  /**
   * Opens a UDP socket on `address` at once, or throws an error. Without this
   * method, `bind()` of a `DatagramDispatcher` throws a `Deno.errors.NotSupported`.
   */
  listenDatagram?(
    address: Deno.NetAddr,
    options: NetworkDatagramOptions,
  ): DatagramSocket;
  /**
   * Turns an established plain connection into a TLS connection; the handshake
   * follows. If this method throws, the plain connection stays as it was. If its
   * promise rejects, the connection is over.
   */
  startTls?(
    channel: Channel,
    hostname: string,
    options: TlsOptions,
  ): Promise<Channel>;
}
