/** Connections over each transport, one end of which no dispatcher has. */

import { certificates } from "./certificates.ts";
import { families, type Family, isMissing } from "./support.ts";

/** One end of a connection. */
export type Conn = Deno.TcpConn | Deno.UnixConn | Deno.TlsConn;

/** How to make connections. */
export interface Transport {
  name: string;
  /** It cannot be had here. */
  ignore: boolean;
  /** Closing with unread bytes takes from the peer what it has not yet read. */
  hasResets: boolean;
  /** How many bytes the kernel holds for somebody who does not read. */
  kernel: number;
  /** Both ends of a new connection. */
  connect(): Promise<[Conn, Conn]>;
}

async function connectPlain(family: Family): Promise<[Conn, Conn]> {
  const address = family.address();
  if ("path" in address) {
    const at = { transport: "unix", path: address.path! } as const;
    using listener = Deno.listen(at);
    return await Promise.all([listener.accept(), Deno.connect(at)]);
  }
  using listener = Deno.listen(address as Deno.TcpListenOptions);
  const { hostname, port } = listener.addr;
  return await Promise.all([
    listener.accept(),
    Deno.connect({ hostname, port }),
  ]);
}

async function connectTls(): Promise<[Conn, Conn]> {
  const { ca, good } = certificates();
  using listener = Deno.listenTls({ hostname: "localhost", port: 0, ...good });
  const { port } = listener.addr as Deno.NetAddr;
  return await Promise.all([
    listener.accept(),
    Deno.connectTls({ hostname: "localhost", port, caCerts: [ca] }),
  ]);
}

/** IPv4, IPv6, Unix sockets and TLS. */
export const TRANSPORTS: readonly Transport[] = [
  ...families.map((family) => ({
    name: family.name,
    ignore: isMissing(family),
    hasResets: family.name !== "Unix",
    kernel: family.name === "Unix" ? 100_000 : 1_500_000,
    connect: () => connectPlain(family),
  })),
  {
    name: "TLS",
    ignore: false,
    hasResets: true,
    kernel: 1_500_000,
    connect: connectTls,
  },
];

/** Reads to the end, or to an error: how many bytes came, and what came last. */
export async function readToEnd(
  conn: Conn,
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
