/**
 * Where channels come from: addresses, and the {@linkcode Network} that
 * connects to them and listens on them. The network is a seam: a test or a
 * simulation can bring its own.
 *
 * @module
 */

import {
  checkBoolean,
  checkInteger,
  checkOptions,
  checkText,
  showValue,
} from "./arguments.ts";
import { lookUp } from "./blocking_threads.ts";
import { type Acceptor, type Channel, closeQuietly } from "./channel.ts";
import { listenUnix } from "../net/unix_listener.ts";

/**
 * The kinds of socket that `createSocket()` makes. Deno ends the process at the
 * first `bind()` or `connect()` of a `"vsock"` unless it was started with
 * `--unstable-vsock`. A program cannot tell beforehand whether it was, so no
 * error can come instead.
 */
export type Transport = "tcp" | "tls" | "unix" | "vsock";

/** What a TLS connection is secured with. All certificates and keys are PEM. */
export interface TlsOptions {
  /**
   * Certificate authorities that a client trusts besides those of the system. A
   * server asks for no certificate.
   *
   * @default {none}
   */
  caCerts?: string[];
  /** Our own certificate: a server must have one, a client may. */
  cert?: string;
  /** The private key of `cert`. */
  key?: string;
  /**
   * The protocols to offer or accept (ALPN, RFC 7301), the preferred first.
   *
   * @default {none}
   */
  alpnProtocols?: string[];
  /**
   * Does not check that the certificate is for the host that was asked for.
   * For tests; it makes the connection open to whoever sits in between.
   *
   * @default {false}
   */
  unsafelyDisableHostnameVerification?: boolean;
}

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

/**
 * Where to connect or listen: a host and a port, the path of a Unix socket, or
 * the context identifier and port of a virtual machine (vsock).
 * A `Deno.Addr` fits, so the `addr` of a server is what its client connects to.
 */
export type Address =
  | { readonly hostname?: string; readonly port: number }
  | { readonly path: string }
  | { readonly cid: number; readonly port: number };

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

/** The network of this machine, through Deno. Needs `--allow-net`, and for Unix sockets `--allow-read --allow-write` as well. */
export const denoNetwork: Network = {
  async connect(address, { signal, tls }) {
    if (address.transport === "tcp") {
      const { hostname, port } = address;
      // Only connectTls() can show a certificate, and only connect() can be
      // given up.
      if (tls?.cert) {
        const options = { hostname, port, ...withKey(tls) };
        return await lookUp(hostname, () => Deno.connectTls(options), signal);
      }
      const connect = () => connectTcp(hostname, port, signal);
      const conn = await lookUp(hostname, connect, signal);
      return tls ? await startTls(conn, hostname, tls) : conn;
    }
    if (address.transport === "unix") {
      return await Deno.connect({ transport: "unix", path: address.path });
    }
    if (address.transport === "vsock") {
      const { cid, port } = address;
      return await Deno.connect({ transport: "vsock", cid, port });
    }
    throw new TypeError(`Cannot connect over ${address.transport}`);
  },
  listen(address, { backlog, reusePort, tls }) {
    if (address.transport === "tcp") {
      if (reusePort) checkReusePort();
      const { hostname, port } = address;
      const options = { hostname, port, reusePort, tcpBacklog: backlog };
      if (!tls) return Deno.listen(options);
      const listener = Deno.listenTls({ ...options, ...withKey(tls) });
      // Before Deno 2.9, the address does not say what it is of.
      Object.assign(listener.addr, { transport: "tcp" });
      return listener;
    }
    if (address.transport === "unix") {
      return listenUnix(address.path);
    }
    if (address.transport === "vsock") {
      const { cid, port } = address;
      return Deno.listen({ transport: "vsock", cid, port });
    }
    throw new TypeError(`Cannot listen over ${address.transport}`);
  },
  startTls(channel, hostname, tls) {
    const transport = channel.remoteAddr?.transport;
    if (transport !== "tcp") {
      throw new Error(
        `Deno starts TLS over a TCP connection only, not over ${
          transport ?? "a channel of another kind"
        }`,
      );
    }
    return startTls(channel as Deno.TcpConn, hostname, tls);
  },
};

/**
 * Deno leaves the connection open when it refuses the name, such as `127.1` or
 * an IPv6 address in brackets.
 */
async function startTls(
  conn: Deno.TcpConn,
  hostname: string,
  tls: TlsOptions,
): Promise<Deno.TlsConn> {
  try {
    return await Deno.startTls(conn, { hostname, ...tls });
  } catch (error) {
    closeQuietly(conn);
    throw error;
  }
}

/**
 * Deno ends the process at a `reusePort` without the flag, so it is not asked.
 * What else the flag brings tells whether it is there.
 *
 * @throws {Deno.errors.NotSupported} If it is not, or the system has no such thing.
 */
function checkReusePort(): void {
  if (Deno.build.os === "windows") {
    throw new Deno.errors.NotSupported("Windows has no reusePort");
  }
  if (typeof Deno.listenDatagram === "function") return;
  throw new Deno.errors.NotSupported(
    "reusePort needs --unstable-net: start Deno with that flag, or put " +
      '"unstable": ["net"] into deno.json',
  );
}

/**
 * A connection that stands at the moment in which it is given up is returned:
 * Deno would throw instead, and leave it open with nobody to close it.
 */
async function connectTcp(
  hostname: string,
  port: number,
  signal: AbortSignal,
): Promise<Deno.TcpConn> {
  signal.throwIfAborted();
  const deaf = AbortSignal.any([signal]);
  deaf.throwIfAborted = () => {};
  try {
    return await Deno.connect({ hostname, port, signal: deaf });
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  }
}

/** Deno's types ask for both `cert` and `key`, which were checked to go together. */
function withKey(tls: TlsOptions): TlsOptions & Deno.TlsCertifiedKeyPem {
  return tls as TlsOptions & Deno.TlsCertifiedKeyPem;
}

/**
 * Checks the options of a TLS socket.
 *
 * @throws {TypeError} If one has the wrong type, or `cert` lacks its `key`.
 */
export function checkTls(tls: TlsOptions): void {
  checkOptions(tls);
  const { unsafelyDisableHostnameVerification: unsafe = false } = tls;
  checkBoolean("tls.unsafelyDisableHostnameVerification", unsafe);
  for (const name of ["cert", "key"] as const) {
    const value: unknown = tls[name];
    if (value === undefined || typeof value === "string") continue;
    throw new TypeError(
      `tls.${name} must be text in PEM, got ${showValue(value)}`,
    );
  }
  if ((tls.cert === undefined) !== (tls.key === undefined)) {
    const missing = tls.cert === undefined ? "cert" : "key";
    throw new TypeError(`tls.${missing} is missing: cert and key go together`);
  }
  for (const name of ["caCerts", "alpnProtocols"] as const) {
    const value: unknown = tls[name];
    if (value === undefined) continue;
    if (Array.isArray(value) && value.every((v) => typeof v === "string")) {
      continue;
    }
    throw new TypeError(
      `tls.${name} must be an array of text, got ${showValue(value)}`,
    );
  }
}

const ADDRESS_KEYS = new Set(["hostname", "port", "path", "cid", "transport"]);

/** A wrong address is the fault of the call that got it, so it says which. */
export interface AddressPurpose {
  /** The verb of the message. */
  action: "bind" | "connect";
  /** What the socket was created for. */
  transport: Transport;
}

/**
 * Turns what a caller gave into a whole address.
 *
 * @throws {TypeError} If the address does not fit the transport or a part of
 * it has the wrong type.
 * @throws {RangeError} If the port is out of range.
 */
export function parseAddress(
  address: unknown,
  { action, transport }: AddressPurpose,
): Deno.Addr {
  const wanted = ADDRESS_FORMS[transport];
  const parts = (address ?? {}) as Record<string, unknown>;
  const fits = typeof address === "object" && wanted.key in parts;
  if (!fits) {
    throw new TypeError(
      `Cannot ${action}: the address of a ${transport} socket is ${wanted.form}, got ${
        showValue(address)
      }`,
    );
  }
  const unknown = Object.keys(parts).find((key) => !ADDRESS_KEYS.has(key));
  if (unknown !== undefined) {
    throw new TypeError(
      `Cannot ${action}: "${unknown}" is no part of an address: the address of ` +
        `a ${transport} socket is ${wanted.form}, got ${showValue(address)}`,
    );
  }
  if (transport === "unix") {
    return {
      transport,
      path: checkText(`Cannot ${action}: path`, parts["path"]),
    };
  }
  const least = action === "bind" ? 0 : 1;
  const { port, cid } = parts;
  if (transport === "vsock") {
    return {
      transport,
      cid: checkInteger(`Cannot ${action}: cid`, cid, -1, 0xffffffff),
      port: checkInteger(`Cannot ${action}: port`, port, 0, 0xffffffff),
    };
  }
  const { hostname = action === "bind" ? "0.0.0.0" : "127.0.0.1" } = parts;
  return {
    transport: "tcp",
    hostname: checkText(`Cannot ${action}: hostname`, hostname),
    port: checkInteger(`Cannot ${action}: port`, port, least, 65_535),
  };
}

/** What an address must have, by the transport. */
const ADDRESS_FORMS: Record<Transport, { key: string; form: string }> = {
  tcp: { key: "port", form: "{ hostname, port }" },
  tls: { key: "port", form: "{ hostname, port }" },
  unix: { key: "path", form: "{ path }" },
  vsock: { key: "cid", form: "{ cid, port }" },
};

/** Puts what failed, and with which address, in front of a system's error. */
export function explain(error: unknown, action: string, addr: Deno.Addr): void {
  if (!(error instanceof Error)) return;
  try {
    error.message = `Cannot ${action} ${formatAddress(addr)}: ${error.message}`;
  } catch {
    // The message of a DOMException, say, cannot be changed.
  }
}

/** An address as people write it: `127.0.0.1:80`, `[::1]:80`, `/run/socket`. */
export function formatAddress(addr: Deno.Addr): string {
  if ("path" in addr) return addr.path ?? "";
  if ("cid" in addr) return `vsock:${addr.cid}:${addr.port}`;
  const { hostname, port } = addr;
  // The address of a foreign channel may lack its parts.
  return hostname?.includes(":")
    ? `[${hostname}]:${port}`
    : `${hostname}:${port}`;
}
