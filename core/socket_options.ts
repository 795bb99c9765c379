/**
 * The options of `createSocket()`, and their effect on `bind()` and `connect()`. An
 * option that would have no effect is refused: the program relies on it.
 *
 * @module
 */

import { type Address, explain, parseAddress } from "./address.ts";
import {
  checkBoolean,
  checkInteger,
  checkMilliseconds,
  checkSignal,
  showValue,
} from "./arguments.ts";
import { type Acceptor, asAcceptor, received } from "./channel.ts";
import type {
  ConnectOptions,
  Network,
  NetworkConnectionOptions,
  SocketOptions,
} from "./network.ts";
import { checkOptions, type OptionNames } from "./option_names.ts";
import { checkTls, type TlsOptions } from "./tls_options.ts";

/**
 * Default backlog: how many connections may wait to be accepted. A larger one
 * takes larger bursts of clients; with a smaller one, clients see sooner that the
 * server is overloaded. The value is a choice.
 */
export const DEFAULT_BACKLOG = 511;

/** No options: sockets that are made without any share this object. */
export const NO_OPTIONS: SocketOptions = {};

const SOCKET_OPTIONS: OptionNames<SocketOptions> = {
  transport: true,
  tls: true,
  backlog: true,
  maxConnections: true,
  reusePort: true,
  ipv6Only: true,
  noDelay: true,
  keepAlive: true,
  connectTimeout: true,
  handshakeTimeout: true,
};

const CONNECT_OPTIONS: OptionNames<ConnectOptions> = { signal: true };

const TRANSPORTS: readonly unknown[] = ["tcp", "tls", "unix", "vsock"];

/** A hint for Python's arguments, and for a transport instead of options. */
function hintFor(options: unknown): string {
  if (typeof options === "number") {
    return ": the family and the type of a socket, as Python has them, are not " +
      'needed: createSocket() is for TCP, createSocket({ transport: "unix" }) ' +
      "for Unix sockets, and a DatagramDispatcher for UDP";
  }
  if (!TRANSPORTS.includes(options)) return "";
  return `: createSocket({ transport: ${showValue(options)} })`;
}

/**
 * Checks the options of `createSocket()`.
 *
 * @throws {TypeError} If one has the wrong type, or no effect on the transport.
 * @throws {RangeError} If a number is out of range.
 */
export function checkSocketOptions(options: SocketOptions): void {
  checkOptions(options, SOCKET_OPTIONS, hintFor(options));
  const { transport = "tcp", tls, backlog = DEFAULT_BACKLOG } = options;
  if (!TRANSPORTS.includes(transport)) {
    throw new TypeError(
      `transport must be "tcp", "tls", "unix" or "vsock", got ${
        showValue(transport)
      }`,
    );
  }
  if (tls !== undefined) {
    checkTls(tls);
    if (transport !== "tls") {
      throw new TypeError(`tls is for transport "tls", got "${transport}"`);
    }
  }
  checkInteger("backlog", backlog, 1, 0x7fffffff);
  const { maxConnections = Infinity, reusePort = false } = options;
  const { ipv6Only, noDelay, keepAlive = false } = options;
  const { connectTimeout = Infinity, handshakeTimeout = Infinity } = options;
  checkInteger("maxConnections", maxConnections, 1);
  checkBoolean("reusePort", reusePort);
  if (ipv6Only !== undefined) checkBoolean("ipv6Only", ipv6Only);
  if (noDelay !== undefined) checkBoolean("noDelay", noDelay);
  checkBoolean("keepAlive", keepAlive);
  if (transport === "unix" || transport === "vsock") {
    refuseOptions(
      ["backlog", "reusePort", "ipv6Only", "noDelay", "keepAlive"],
      // Its default is on, so that off is a wish as well.
      { ...options, noDelay: noDelay === undefined ? noDelay : true },
      `has no effect on transport "${transport}"`,
    );
  }
  checkMilliseconds("connectTimeout", connectTimeout);
  checkMilliseconds("handshakeTimeout", handshakeTimeout);
}

/** Refuses options that would be ignored. */
function refuseOptions(
  names: readonly (keyof SocketOptions)[],
  options: SocketOptions,
  reason: string,
): void {
  // At false, the others ask for nothing. ipv6Only may overrule the system.
  const isGiven = (name: keyof SocketOptions) =>
    options[name] !== undefined &&
    (options[name] !== false || name === "ipv6Only");
  const name = names.find(isGiven);
  if (name !== undefined) {
    throw new TypeError(`${name} ${reason}: leave it out`);
  }
}

/** The TLS options of a socket, if its transport is `"tls"`. */
function tlsOf(options: SocketOptions): TlsOptions | undefined {
  const { transport, tls = {} } = options;
  return transport === "tls" ? tls : undefined;
}

/** Where a connection goes to, and how. */
export interface ConnectTarget {
  address: Deno.Addr;
  /** The settings of the connection, and the signal that ends the attempt. */
  settings: NetworkConnectionOptions & ConnectOptions;
}

/** The settings of a socket's connections, for the network. */
function networkOptions(
  options: SocketOptions,
): NetworkConnectionOptions {
  const { noDelay = true, keepAlive = false } = options;
  return { noDelay, keepAlive, tls: tlsOf(options) };
}

/** Refuses what Deno cannot do, as it does not give the TCP socket below TLS. */
function refuseBelowTls(options: SocketOptions, whose: string): void {
  const reason = `cannot be set on ${whose}: Deno does not give its TCP socket`;
  refuseOptions(["noDelay", "keepAlive"], options, reason);
}

/**
 * Checks the address that a socket is to listen on.
 *
 * @param name Of the dispatcher's class, for the message.
 * @throws {TypeError} If the address does not fit the transport, or an option
 * is for clients.
 * @throws {RangeError} If the port is out of range.
 */
export function checkBind(
  address: Address,
  options: SocketOptions,
  name: string,
): Deno.Addr {
  const { transport = "tcp" } = options;
  const parsed = parseAddress(address, { action: "bind", transport });
  refuseOptions(
    ["connectTimeout"],
    options,
    "is for clients, and this socket is to listen",
  );
  const tls = tlsOf(options);
  if (tls && !tls.cert) {
    throw new TypeError(
      `Cannot bind: ${name} needs tls.cert and tls.key to listen`,
    );
  }
  if (tls) refuseBelowTls(options, "a connection of a TLS listener");
  if (tls?.caCerts || tls?.unsafelyDisableHostnameVerification) {
    throw new TypeError(
      "Cannot bind: tls.caCerts and tls.unsafelyDisableHostnameVerification " +
        "are for clients: a server asks for no certificate",
    );
  }
  return parsed;
}

/**
 * Checks the address that a socket is to connect to, and the options of that.
 *
 * @throws {TypeError} If the address does not fit the transport, an option is for
 * listeners, or `signal` is none.
 * @throws {RangeError} If the port is out of range.
 */
export function checkConnect(
  address: Address,
  options: SocketOptions,
  connectOptions: ConnectOptions,
): ConnectTarget {
  const { transport = "tcp" } = options;
  const parsed = parseAddress(address, { action: "connect", transport });
  checkOptions(connectOptions, CONNECT_OPTIONS);
  checkSignal(connectOptions.signal);
  refuseOptions(
    ["backlog", "reusePort", "ipv6Only", "maxConnections"],
    options,
    "is for listeners, and this socket is to connect",
  );
  if (tlsOf(options)?.cert !== undefined) {
    refuseBelowTls(options, "a TLS client that has a certificate");
  }
  const { signal } = connectOptions;
  return { address: parsed, settings: { ...networkOptions(options), signal } };
}

/**
 * Listens on an address that {@linkcode checkBind} has checked.
 *
 * @throws {Error} If the network throws: the address is in use, for example.
 */
export function listenOn(
  address: Deno.Addr,
  options: SocketOptions,
  network: Network,
): Acceptor {
  const { backlog = DEFAULT_BACKLOG, reusePort = false, ipv6Only } = options;
  const settings = {
    ...{ backlog, reusePort, ipv6Only },
    ...networkOptions(options),
  };
  try {
    const acceptor = network.listen(address, settings);
    return received(asAcceptor, "The network's listener", acceptor);
  } catch (error) {
    explain(error, "listen on", address);
    throw error;
  }
}
