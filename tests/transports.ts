/** Connections over each transport, one end of which no dispatcher has. */

import type { Channel } from "../mod.ts";
import { certificates } from "./certificates.ts";
import { families, type Family, isMissing, rawConnect } from "./support.ts";

/** One end of a connection. */
export type Conn = Deno.TcpConn | Deno.UnixConn | Deno.TlsConn;

/** A family of sockets, or TLS. */
export interface Transport extends Family {
  /** It cannot be had here. */
  ignore: boolean;
  /** Closing with unread bytes takes from the peer what it has not yet read. */
  hasResets: boolean;
  /** How many bytes the kernel holds for somebody who does not read. */
  kernel: number;
  /** Comes to a listener. */
  call(addr: Deno.Addr | null): Promise<Conn>;
  /** Both ends of a new connection. */
  connect(): Promise<[Conn, Conn]>;
}

function callTls(addr: Deno.Addr | null): Promise<Deno.TlsConn> {
  const { port } = addr as Deno.NetAddr;
  const caCerts = [certificates().ca];
  return Deno.connectTls({ hostname: "localhost", port, caCerts });
}

/** Both ends of a connection to a listener. */
async function connect(
  listener: Deno.Listener<Conn, Deno.Addr>,
  call: Transport["call"],
): Promise<[Conn, Conn]> {
  using _listener = listener;
  return await Promise.all([listener.accept(), call(listener.addr)]);
}

/** IPv4, IPv6, Unix sockets and TLS. */
export const TRANSPORTS: readonly Transport[] = [
  ...families.map((family) => {
    const isUnix = family.name === "Unix";
    const call = rawConnect as Transport["call"];
    return {
      ...family,
      ignore: isMissing(family),
      hasResets: !isUnix,
      kernel: isUnix ? 100_000 : 1_500_000,
      call,
      connect: () => {
        const { transport } = family.options;
        const at = { transport, ...family.address() };
        return connect(Deno.listen(at as Deno.TcpListenOptions), call);
      },
    };
  }),
  {
    name: "TLS",
    options: { transport: "tls", tls: certificates().good },
    address: families[0]!.address,
    ignore: false,
    hasResets: true,
    kernel: 1_500_000,
    call: callTls,
    connect: () => {
      const at = { hostname: "localhost", port: 0, ...certificates().good };
      return connect(Deno.listenTls(at), callTls);
    },
  },
];

/** Reads to the end, or to an error: how many bytes came, and what came last. */
export async function readToEnd(
  conn: Channel,
): Promise<{ length: number; last: string }> {
  const buffer = new Uint8Array(64 * 1024);
  let length = 0;
  try {
    for (;;) {
      const count = await conn.read(buffer);
      if (count === null) return { length, last: "end" };
      length += count;
    }
  } catch (error) {
    return { length, last: (error as Error).name };
  }
}
