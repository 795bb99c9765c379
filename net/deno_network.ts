/**
 * The network of this machine: {@linkcode denoNetwork}, Deno's own sockets.
 * Loading this module makes it the default of every map.
 *
 * @module
 */

import { lookUp } from "../core/blocking_threads.ts";
import { closeQuietly } from "../core/channel.ts";
import type {
  Network,
  NetworkConnectionOptions,
  NetworkDatagramOptions,
} from "../core/network.ts";
import type { TlsOptions } from "../core/tls_options.ts";
import { setDefaultNetwork } from "../loop.ts";
import { listenUnix } from "./unix_listener.ts";

/**
 * The network of this machine, through Deno. Needs `--allow-net`, and for Unix
 * sockets `--allow-read --allow-write` as well.
 */
export const denoNetwork: Network = {
  async connect(address, { signal, tls, ...settings }) {
    if (address.transport === "tcp") {
      const { hostname, port } = address;
      // Only connectTls() can show a certificate, and only connect() can be
      // given up.
      if (tls?.cert) {
        const options = { hostname, port, ...withKey(tls) };
        return await lookUp(hostname, () => Deno.connectTls(options), signal);
      }
      const connect = () => connectTcp(hostname, port, signal);
      const connected = await lookUp(hostname, connect, signal);
      const conn = configured(connected, settings);
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
  listen(address, { backlog, reusePort, ipv6Only, tls, ...settings }) {
    if (address.transport === "tcp") {
      if (ipv6Only !== undefined) throw noIpv6Only(tls !== undefined);
      if (reusePort) checkReusePort();
      const { hostname, port } = address;
      const options = { hostname, port, reusePort, tcpBacklog: backlog };
      if (!tls) return configuring(Deno.listen(options), settings);
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
  listenDatagram,
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
 * Opens a UDP socket.
 *
 * @throws {Deno.errors.NotSupported} If Deno runs without the flag for it.
 */
function listenDatagram(
  { hostname, port }: Deno.NetAddr,
  { reuseAddress }: NetworkDatagramOptions,
): Deno.DatagramConn {
  if (typeof Deno.listenDatagram !== "function") {
    throw new Deno.errors.NotSupported(
      "Cannot bind: this Deno runs without datagrams: start it with " +
        '--unstable-net, or put "unstable": ["net"] into deno.json',
    );
  }
  const transport = "udp";
  return Deno.listenDatagram({ transport, hostname, port, reuseAddress });
}

/** The settings of a TCP connection. */
type Settings = Omit<NetworkConnectionOptions, "tls">;

/** Gives a connection its settings. The system's default is `false` for both. */
function configured(
  conn: Deno.TcpConn,
  { noDelay, keepAlive }: Settings,
): Deno.TcpConn {
  try {
    if (noDelay) conn.setNoDelay(true);
    if (keepAlive) conn.setKeepAlive(true);
  } catch {
    // Some systems refuse that when the peer has reset the connection.
  }
  return conn;
}

/** Gives each connection of a listener its settings. */
function configuring(
  listener: Deno.TcpListener,
  settings: Settings,
): Deno.TcpListener {
  if (!settings.noDelay && !settings.keepAlive) return listener;
  const { accept } = listener;
  listener.accept = () =>
    accept.call(listener).then((conn) => configured(conn, settings));
  return listener;
}

/**
 * Starts TLS, or closes the connection: Deno leaves it open when it refuses the
 * name, such as `127.1` or an IPv6 address in brackets.
 */
async function startTls(
  conn: Deno.TcpConn,
  hostname: string,
  tls: TlsOptions,
): Promise<Deno.TlsConn> {
  try {
    return await Deno.startTls(conn, { hostname, ...given(tls) });
  } catch (error) {
    closeQuietly(conn);
    throw error;
  }
}

function noIpv6Only(isTls: boolean): Error {
  const advice = isTls
    ? 'over TLS leave it out, or give the address of one family, such as "0.0.0.0"'
    : "leave it out, or give the map epollNetwork of @asyncore/asyncore/epoll";
  return new Deno.errors.NotSupported(`Deno cannot set ipv6Only: ${advice}`);
}

/**
 * Checks that `reusePort` works here. Without the flag, Deno would end the
 * process; another thing that the flag brings tells whether it is there.
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
 * Connects, and returns a connection that stands in the moment of its abort, for
 * the caller to close: Deno would throw instead, and leave it open.
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

/** The TLS options as Deno's types want them: none of them is `undefined`. */
type DenoTls = { [Name in keyof TlsOptions]: NonNullable<TlsOptions[Name]> };

function given(tls: TlsOptions): DenoTls {
  const entries = Object.entries(tls);
  return Object.fromEntries(entries.filter(([_, it]) => it !== undefined));
}

/** Tells the compiler that `cert` and `key` go together, as `checkTls()` found. */
function withKey(tls: TlsOptions): DenoTls & Deno.TlsCertifiedKeyPem {
  return given(tls) as DenoTls & Deno.TlsCertifiedKeyPem;
}

setDefaultNetwork(denoNetwork);
