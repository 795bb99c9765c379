/**
 * From host names to addresses, by the system's resolver, as Deno does it.
 *
 * @module
 */

import { lookUp } from "../core/blocking_threads.ts";
import { hints, type SystemAddress, takeList, withPort } from "./address.ts";
import { C } from "./layout.ts";
import { allocate, type Libc, type Memory, textAt } from "./libc.ts";

/** The arguments of a call of `getaddrinfo()`. */
interface Query {
  readonly name: Memory;
  readonly hints: Memory;
  /** Where the call writes the pointer to its list. */
  readonly head: Memory;
}

function queryFor(hostname: string, flags: number): Query {
  // As for Deno: an IPv6 address may have brackets, and no name means all addresses.
  const bare = hostname.replace(/^\[(.*)\]$/, "$1") || "0.0.0.0";
  const name = new TextEncoder().encode(`${bare}\0`);
  return { name, hints: hints(flags), head: new Uint8Array(8) };
}

/** Asks the resolver. Returns the number of its error, or 0. */
function ask(libc: Libc, { name, hints, head }: Query): number {
  return libc.getaddrinfo(name, null, hints, head);
}

/** Asks on a thread. If a worker ends meanwhile, the memory of its question stays. */
async function askAside(libc: Libc, query: Query): Promise<number> {
  const copies = [query.name, query.hints, query.head].map((bytes) => {
    const pointer = allocate(libc, bytes.length);
    libc.memcpy_to(pointer, bytes, bytes.length);
    return pointer;
  });
  const [name, hints, head] = copies;
  try {
    const code = await libc.getaddrinfo_aside(name!, null, hints!, head!);
    libc.memcpy(query.head, head!, query.head.length);
    return code;
  } finally {
    for (const pointer of copies) libc.free(pointer);
  }
}

/** The address that `hostname` is; `null` if it is a name. */
export function numericAddress(
  libc: Libc,
  hostname: string,
): SystemAddress | null {
  return hostname.includes("\0") ? null : numeric(libc, hostname)?.[0] ?? null;
}

/** The address that `hostname` is, if it is no name. */
function numeric(libc: Libc, hostname: string): SystemAddress[] | null {
  const query = queryFor(hostname, C.AI_NUMERICHOST);
  return ask(libc, query) === 0 ? takeList(libc, listOf(query)) : null;
}

/** The pointer to the list that a call has made. */
function listOf({ head }: Query): bigint {
  return new DataView(head.buffer).getBigUint64(0, true);
}

function addressesOf(
  libc: Libc,
  code: number,
  query: Query,
  port: number,
): SystemAddress[] {
  if (code !== 0) {
    const reason = textAt(libc, libc.gai_strerror(code));
    throw new Error(`failed to lookup address information: ${reason}`);
  }
  return takeList(libc, listOf(query)).map((address) =>
    withPort(address, port)
  );
}

/**
 * The addresses of a host, for a listener. A name keeps the program waiting.
 *
 * @throws {Error} If it has none.
 */
export function resolveNow(
  libc: Libc,
  { hostname, port }: Deno.NetAddr,
): SystemAddress[] {
  checkName(hostname);
  const query = queryFor(hostname, C.AI_PASSIVE);
  return addressesOf(libc, ask(libc, query), query, port);
}

/**
 * The addresses of a host, for a client. A name is looked up on a thread.
 *
 * @throws {Error} If it has none. The signal's reason, if it waits for a thread.
 */
export async function resolve(
  libc: Libc,
  address: Deno.NetAddr,
  signal: AbortSignal,
): Promise<SystemAddress[]> {
  const known = knownAddresses(libc, address);
  if (known !== null) return known;
  const look = () => lookUpAddresses(libc, address);
  return await lookUp(address.hostname, look, signal);
}

/** The addresses of a host that is no name. */
function knownAddresses(
  libc: Libc,
  { hostname, port }: Deno.NetAddr,
): SystemAddress[] | null {
  checkName(hostname);
  const addresses = numeric(libc, hostname);
  return addresses && addresses.map((address) => withPort(address, port));
}

/**
 * The addresses of a host. A name is looked up on a thread, whether one is free or
 * not.
 *
 * @throws {Error} If it has none.
 */
export async function lookUpAddresses(
  libc: Libc,
  address: Deno.NetAddr,
): Promise<SystemAddress[]> {
  const known = knownAddresses(libc, address);
  if (known !== null) return known;
  const { hostname, port } = address;
  const query = queryFor(hostname, 0);
  return addressesOf(libc, await askAside(libc, query), query, port);
}

function checkName(hostname: string): void {
  if (hostname.includes("\0")) {
    throw new TypeError("hostname must not contain a zero byte");
  }
}
