/**
 * From host names to addresses, by the system's resolver, as Deno does it.
 *
 * @module
 */

import { lookUp } from "../core/blocking_threads.ts";
import { hints, type SystemAddress, takeList, withPort } from "./address.ts";
import { C } from "./layout.ts";
import { type Libc, type Memory, textAt } from "./libc.ts";

/**
 * The arguments of a call of `getaddrinfo()`. A thread may use them: they must live
 * as long as the call, and outside of the JavaScript heap, which moves its objects.
 * So each is a view of an `ArrayBuffer`.
 */
interface Query {
  readonly name: Memory;
  readonly hints: Memory;
  /** Where the call writes the pointer to its list. */
  readonly head: BigUint64Array<ArrayBuffer>;
}

function queryFor(hostname: string, flags: number): Query {
  // As for Deno: an IPv6 address may have brackets, and no name means all addresses.
  const bare = hostname.replace(/^\[(.*)\]$/, "$1") || "0.0.0.0";
  const text = new TextEncoder().encode(`${bare}\0`);
  const name = new Uint8Array(new ArrayBuffer(text.length));
  name.set(text);
  const head = new BigUint64Array(new ArrayBuffer(8));
  return { name, hints: hints(flags), head };
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
  const head = new Uint8Array(query.head.buffer);
  const code = libc.getaddrinfo(query.name, null, query.hints, head);
  return code === 0 ? takeList(libc, query.head[0]!) : null;
}

function addressesOf(
  libc: Libc,
  code: number,
  { head }: Query,
  port: number,
): SystemAddress[] {
  if (code !== 0) {
    const reason = textAt(libc, libc.gai_strerror(code));
    throw new Error(`failed to lookup address information: ${reason}`);
  }
  return takeList(libc, head[0]!).map((address) => withPort(address, port));
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
  const head = new Uint8Array(query.head.buffer);
  const code = libc.getaddrinfo(query.name, null, query.hints, head);
  return addressesOf(libc, code, query, port);
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
  const head = new Uint8Array(query.head.buffer);
  const code = await libc.getaddrinfo_aside(
    query.name,
    null,
    query.hints,
    head,
  );
  return addressesOf(libc, code, query, port);
}

function checkName(hostname: string): void {
  if (hostname.includes("\0")) {
    throw new TypeError("hostname must not contain a zero byte");
  }
}
