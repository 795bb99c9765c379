/**
 * The addresses of datagrams. Each datagram has two of them, so those that come
 * again are not made anew.
 *
 * @module
 */

import { AddressReader, type SystemAddress, withPort } from "./address.ts";
import { C, SOCKADDR } from "./layout.ts";
import type { Libc } from "./libc.ts";
import { numericAddress } from "./resolve.ts";

/** Takes the addresses of senders. */
export class SenderReader {
  /** A call writes the address into it. */
  readonly reader: AddressReader;
  readonly #words: Uint32Array;
  /** The part of the last address that makes its hostname. */
  readonly #last = new Uint32Array(HOST_WORDS);
  #hostname = "";

  constructor(libc: Libc) {
    this.reader = new AddressReader(libc);
    this.#words = new Uint32Array(this.reader.bytes.buffer);
  }

  /** The address that a call has written. */
  read(): Deno.NetAddr {
    const { bytes } = this.reader;
    if (this.#isOther()) {
      this.#hostname = (this.reader.read() as Deno.NetAddr).hostname;
    }
    const { port } = SOCKADDR;
    return {
      transport: "udp",
      hostname: this.#hostname,
      port: bytes[port]! << 8 | bytes[port + 1]!,
    };
  }

  /** The host is another one than that of the last address. */
  #isOther(): boolean {
    const words = this.#words;
    const last = this.#last;
    let isOther = this.#hostname === "";
    for (let i = 0; i < HOST_WORDS; i++) {
      const word = i === 0 ? words[0]! & FAMILY : words[i]!;
      if (last[i] === word) continue;
      last[i] = word;
      isOther = true;
    }
    return isOther;
  }
}

/** The family, the port, and the longest host: so many words of 32 bits. */
const HOST_WORDS = (SOCKADDR.in6.addr + 16) / 4;
/** The bits of the first word that are the family; the others are the port. */
const FAMILY = 0xffff;

/** Makes the addresses of receivers that need no lookup. */
export class ReceiverWriter {
  readonly #libc: Libc;
  readonly #ipv4: SystemAddress = {
    family: C.AF_INET,
    bytes: new Uint8Array(SOCKADDR.in.size),
  };
  #hostname = "";
  #address: SystemAddress | null = null;

  constructor(libc: Libc) {
    this.#libc = libc;
    this.#ipv4.bytes[SOCKADDR.family] = C.AF_INET;
  }

  /** The address, until the next call; `null` if the host is a name. */
  write({ hostname, port }: Deno.NetAddr): SystemAddress | null {
    if (hostname !== this.#hostname) {
      this.#hostname = hostname;
      this.#address = writeIPv4(hostname, this.#ipv4.bytes)
        ? this.#ipv4
        : numericAddress(this.#libc, hostname);
    }
    return this.#address && withPort(this.#address, port);
  }
}

const DOT = 46, ZERO = 48;

/**
 * Writes an address such as `192.0.2.1`. That takes a tenth of the time of a call.
 *
 * @returns Whether it is one; if not, the system decides what it is.
 */
function writeIPv4(hostname: string, bytes: Uint8Array): boolean {
  let value = -1;
  let place = 0;
  for (let i = 0; i < hostname.length; i++) {
    const code = hostname.charCodeAt(i);
    const digit = code - ZERO;
    if (code === DOT) {
      if (value < 0 || place === 3) return false;
      bytes[SOCKADDR.in.addr + place++] = value;
      value = -1;
    } else if (digit < 0 || digit > 9 || value === 0) {
      return false; // A number that begins with 0 is octal.
    } else {
      value = value < 0 ? digit : 10 * value + digit;
      if (value > 255) return false;
    }
  }
  bytes[SOCKADDR.in.addr + 3] = value;
  return place === 3 && value >= 0;
}
