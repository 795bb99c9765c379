/**
 * Addresses as the system has them, and as Deno has them.
 *
 * @module
 */

import { ADDRINFO, C, LARGEST_ADDRESS, SOCKADDR } from "./layout.ts";
import type { Libc, Memory } from "./libc.ts";
import { systemError } from "./system_error.ts";

/** An address that the system can bind to or connect to. */
export interface SystemAddress {
  readonly family: number;
  readonly bytes: Memory;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/**
 * The address of a Unix socket. A path that begins with a zero byte is abstract: it
 * is no file.
 *
 * @throws {TypeError} If the path is too long, or has a zero byte inside.
 */
export function unixAddress(path: string): SystemAddress {
  const name = encoder.encode(path);
  const isAbstract = name[0] === 0;
  const most = SOCKADDR.un.size - SOCKADDR.un.path - (isAbstract ? 0 : 1);
  if (name.length > most) {
    throw new TypeError(
      `path must have at most ${most} bytes, got ${name.length}: ${path}`,
    );
  }
  if (!isAbstract && name.includes(0)) {
    throw new TypeError("path must not contain a zero byte behind the first");
  }
  // The zero byte at the end belongs to a path, but not to an abstract name.
  const length = SOCKADDR.un.path + name.length + (isAbstract ? 0 : 1);
  const bytes = new Uint8Array(length);
  bytes[SOCKADDR.family] = C.AF_UNIX;
  bytes.set(name, SOCKADDR.un.path);
  return { family: C.AF_UNIX, bytes };
}

/** Takes the addresses that calls give. */
export class AddressReader {
  readonly #libc: Libc;
  /** The call writes an address into it. */
  readonly bytes: Memory = new Uint8Array(LARGEST_ADDRESS);
  readonly #length = new Uint32Array(1);
  /** The call gets the size of the memory from it, and writes that of the address. */
  readonly length: Memory = new Uint8Array(this.#length.buffer);

  constructor(libc: Libc) {
    this.#libc = libc;
  }

  /** Prepares the memory for a call. */
  reset(): void {
    this.#length[0] = LARGEST_ADDRESS;
  }

  /** The address that a call has written. */
  read(): Deno.Addr {
    const length = Math.min(this.#length[0]!, LARGEST_ADDRESS);
    return toAddr(this.#libc, this.bytes.subarray(0, length));
  }

  /**
   * The address of the peer of a socket.
   *
   * @throws {Error} If the system does not know it.
   */
  remoteAddress(fd: number): Deno.Addr {
    this.reset();
    const libc = this.#libc;
    if (libc.getpeername(fd, this.bytes, this.length) === 0) return this.read();
    throw systemError(libc, libc.errno());
  }

  /**
   * The address of this side of a socket.
   *
   * @throws {Error} If the system does not know it.
   */
  localAddress(fd: number): Deno.Addr {
    this.reset();
    const libc = this.#libc;
    if (libc.getsockname(fd, this.bytes, this.length) === 0) return this.read();
    throw systemError(libc, libc.errno());
  }
}

/** The address that the bytes of the system mean. */
export function toAddr(libc: Libc, bytes: Memory): Deno.Addr {
  const { family: at, in: in4, in6, un, port } = SOCKADDR;
  const family = bytes[at]! | bytes[at + 1]! << 8;
  if (family === C.AF_UNIX) {
    const path = unixPath(bytes.subarray(un.path));
    return { transport: "unix", path } as Deno.UnixAddr;
  }
  const ip = family === C.AF_INET
    ? bytes.subarray(in4.addr, in4.addr + 4).join(".")
    : textOfIPv6(libc, bytes.subarray(in6.addr, in6.addr + 16));
  return {
    transport: "tcp",
    hostname: ip,
    port: bytes[port]! << 8 | bytes[port + 1]!,
  };
}

function textOfIPv6({ inet_ntop }: Libc, address: Memory): string {
  const text = new Uint8Array(64);
  inet_ntop(C.AF_INET6, address, text, text.length);
  return decoder.decode(text.subarray(0, text.indexOf(0)));
}

/** A path, an abstract name with its zero byte, or `null` for a socket without. */
function unixPath(bytes: Memory): string | null {
  if (bytes.length === 0) return null;
  if (bytes[0] === 0) return decoder.decode(bytes);
  const end = bytes.indexOf(0);
  return decoder.decode(end < 0 ? bytes : bytes.subarray(0, end));
}

/** The question to `getaddrinfo()`: `struct addrinfo`. */
export function hints(flags: number): Memory {
  const view = new DataView(new ArrayBuffer(ADDRINFO.size));
  view.setInt32(ADDRINFO.flags, flags, true);
  view.setInt32(ADDRINFO.socktype, C.SOCK_STREAM, true);
  return new Uint8Array(view.buffer);
}

/** Copies the addresses of a list that `getaddrinfo()` has made, and frees it. */
export function takeList(libc: Libc, head: bigint): SystemAddress[] {
  const addresses: SystemAddress[] = [];
  const info = new DataView(new ArrayBuffer(ADDRINFO.size));
  const bytes = new Uint8Array(info.buffer);
  for (let at = head; at !== 0n; at = info.getBigUint64(ADDRINFO.next, true)) {
    libc.memcpy_from(bytes, at, bytes.length);
    const family = info.getInt32(ADDRINFO.family, true);
    const size = info.getUint32(ADDRINFO.addrlen, true);
    const address = info.getBigUint64(ADDRINFO.addr, true);
    if (address === 0n || size > LARGEST_ADDRESS) continue;
    const copy = new Uint8Array(new ArrayBuffer(size));
    libc.memcpy_from(copy, address, size);
    addresses.push({ family, bytes: copy });
  }
  if (head !== 0n) libc.freeaddrinfo(head);
  return addresses;
}

/** The same address with a port. */
export function withPort(address: SystemAddress, port: number): SystemAddress {
  address.bytes[SOCKADDR.port] = port >> 8;
  address.bytes[SOCKADDR.port + 1] = port & 0xff;
  return address;
}
