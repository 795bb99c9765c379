/**
 * Addresses of sockets: what a caller may give, and how people write them.
 *
 * @module
 */

import { checkInteger, checkText, showValue } from "./arguments.ts";

/**
 * The kinds of socket that `createSocket()` makes. Deno ends the process at the
 * first `bind()` or `connect()` of a `"vsock"` unless it was started with
 * `--unstable-vsock`. A program cannot tell beforehand whether it was, so no
 * error can come instead.
 */
export type Transport = "tcp" | "tls" | "unix" | "vsock";

/**
 * Where to connect or listen: a host and a port, the path of a Unix socket, or
 * the context identifier and port of a virtual machine (vsock).
 * A `Deno.Addr` fits, so the `addr` of a server is what its client connects to.
 */
export type Address =
  | { readonly hostname?: string | undefined; readonly port: number }
  | { readonly path: string }
  | { readonly cid: number; readonly port: number };

/** The address of a Unix socket, as a part of {@linkcode SocketAddress}. */
export interface UnixSocketAddress extends Deno.UnixAddr {
  /** A Unix socket has no host. */
  hostname: never;
  /** A Unix socket has no port. */
  port: never;
}

/** The address of a vsock socket, as a part of {@linkcode SocketAddress}. */
export interface VsockSocketAddress extends Deno.VsockAddr {
  /** A vsock socket has no host. */
  hostname: never;
}

/**
 * The address of a socket: a `Deno.Addr` whose `port` and `hostname` can be read
 * without a cast, as almost every program is for TCP or UDP. `transport` tells the
 * kinds apart: where it is `"unix"`, there is a `path`, and no port.
 */
export type SocketAddress =
  | Deno.NetAddr
  | UnixSocketAddress
  | VsockSocketAddress;

/** A wrong address is the fault of the call that got it, so it says which. */
export interface AddressPurpose {
  /** The verb of the message. */
  action: "bind" | "connect" | "send";
  /** What the socket was created for; `"udp"` for datagrams. */
  transport: Transport | "udp";
}

/** What an address must look like. */
interface AddressForm {
  /** The kind of socket, as messages call it. */
  socket: string;
  /** The key without which it is no such address. */
  key: "port" | "path" | "cid";
  /** The whole form, as messages show it. */
  form: string;
  /** The keys that it may have. */
  keys: ReadonlySet<string>;
}

/** The keys of every `Deno.Addr` of a stream socket, whichever it is. */
const STREAM_KEYS = new Set(["hostname", "port", "path", "cid", "transport"]);
/** The keys of an address of UDP. */
const DATAGRAM_KEYS = new Set(["hostname", "port", "transport"]);

const FORMS: Record<AddressPurpose["transport"], AddressForm> = {
  tcp: streamForm("tcp", "port", "{ hostname, port }"),
  tls: streamForm("tls", "port", "{ hostname, port }"),
  unix: streamForm("unix", "path", "{ path }"),
  vsock: streamForm("vsock", "cid", "{ cid, port }"),
  udp: {
    socket: "datagram",
    key: "port",
    form: "{ hostname, port }",
    keys: DATAGRAM_KEYS,
  },
};

function streamForm(
  socket: Transport,
  key: AddressForm["key"],
  form: string,
): AddressForm {
  return { socket, key, form, keys: STREAM_KEYS };
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
  const parts = checkForm(address, action, FORMS[transport]);
  const { path, cid, port } = parts;
  if (transport === "unix") {
    return { transport, path: checkText(`Cannot ${action}: path`, path) };
  }
  if (transport === "vsock") {
    return {
      transport,
      cid: checkInteger(`Cannot ${action}: cid`, cid, -1, 0xffffffff),
      port: checkInteger(`Cannot ${action}: port`, port, 0, 0xffffffff),
    };
  }
  const { hostname = action === "bind" ? "0.0.0.0" : "127.0.0.1" } = parts;
  // A received datagram may come from port 0, so an answer to it is no misuse.
  const least = action === "connect" ? 1 : 0;
  return {
    transport: transport === "udp" ? "udp" : "tcp",
    hostname: checkText(`Cannot ${action}: hostname`, hostname),
    port: checkInteger(`Cannot ${action}: port`, port, least, 65_535),
  };
}

/** Checks which parts an address has, and gives them. */
function checkForm(
  address: unknown,
  action: string,
  { socket, key, form, keys }: AddressForm,
): Record<string, unknown> {
  const parts = (address ?? {}) as Record<string, unknown>;
  const wanted = `the address of a ${socket} socket is ${form}`;
  if (typeof address !== "object" || !(key in parts)) {
    throw new TypeError(
      `Cannot ${action}: ${wanted}, got ${showValue(address)}`,
    );
  }
  const unknown = Object.keys(parts).find((key) => !keys.has(key));
  if (unknown !== undefined) {
    throw new TypeError(
      `Cannot ${action}: "${unknown}" is no part of an address: ${wanted}, ` +
        `got ${showValue(address)}`,
    );
  }
  return parts;
}

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
