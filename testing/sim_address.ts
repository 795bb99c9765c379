/**
 * Whose an address of a simulation is: {@linkcode resolve}.
 *
 * @module
 */

/** Addresses by which a host means itself, beside 127.0.0.0/8. */
const LOCAL: ReadonlySet<string> = new Set([
  ...["localhost", "0.0.0.0", "::", "::1"],
]);
/** A number of an IPv4 address. */
const BYTE = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
const IPV4 = new RegExp(`^${BYTE}(?:\\.${BYTE}){3}$`);
/** How an IPv6 socket writes an IPv4 address. */
const MAPPED = "::ffff:";
/** The longest path of a Unix socket, in bytes: 108 with the 0 at its end. */
const LONGEST_PATH = 107;

/** Names ignore case. */
export function nameKey(name: string): string {
  return name.toLowerCase();
}

/** The form in which addresses and names are compared. */
function normalize(hostname: string): string {
  const name = nameKey(hostname).replace(/^\[(.*)\]$/, "$1");
  const rest = name.slice(MAPPED.length);
  return name.startsWith(MAPPED) && IPV4.test(rest) ? rest : name;
}

/** Whether it is an IP address, and no name. */
export function isIpAddress(hostname: string): boolean {
  const name = normalize(hostname);
  return name.includes(":") || IPV4.test(name);
}

/** Whether a host means itself by it. */
export function isLocal(hostname: string): boolean {
  const name = normalize(hostname);
  return LOCAL.has(name) || name.startsWith("127.") && IPV4.test(name);
}

/**
 * Finds the owner of an address or a name.
 *
 * @returns `null` if nobody has the address, `undefined` if no host has the name.
 */
export function resolve<Owner>(
  hostname: string,
  asker: Owner,
  hosts: { find(name: string): Owner | undefined },
): Owner | null | undefined {
  if (isLocal(hostname)) return asker;
  return hosts.find(normalize(hostname)) ??
    (isIpAddress(hostname) ? null : undefined);
}

/**
 * Checks that a host may bind an address: it must be its own.
 *
 * @throws {Deno.errors.AddrNotAvailable} If it is another's, or nobody's.
 * @throws {Error} If no host has the name.
 */
export function checkOwn<Owner extends { readonly number: number }>(
  hostname: string,
  asker: Owner,
  hosts: { find(name: string): Owner | undefined },
): void {
  const owner = resolve(hostname, asker, hosts);
  if (owner === undefined) throw notFound();
  if (owner?.number === asker.number) return;
  throw new Deno.errors.AddrNotAvailable("Cannot assign requested address");
}

/**
 * Checks the path of a Unix socket.
 *
 * @throws {TypeError} If it is too long.
 */
export function checkPath(path: string): void {
  if (new TextEncoder().encode(path).length <= LONGEST_PATH) return;
  throw new TypeError("path must be shorter than SUN_LEN");
}

/** What a lookup says of a name that no host has. */
export function notFound(reason: string = "Name or service not known"): Error {
  return new Error(`failed to lookup address information: ${reason}`);
}
