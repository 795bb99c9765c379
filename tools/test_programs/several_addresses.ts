/**
 * Connects to names that have several addresses, and prints a line for each: the
 * address that it has reached or the error, and how many attempts are left. A test
 * runs it with a hosts file of its own, in which these addresses are used:
 * somebody listens on 127.0.1.1, nobody answers on 127.0.0.2 and 127.0.0.3, and
 * nobody listens elsewhere.
 *
 *     deno run -A tools/test_programs/several_addresses.ts TIMEOUT NAME…
 */

import { Dispatcher, loop } from "../../mod.ts";

const LIVE = "127.0.1.1";
const SILENT = ["127.0.0.2", "127.0.0.3"];

class Client extends Dispatcher {
  outcome = "";
  override handleConnect(): void {
    this.outcome = this.addr!.hostname;
    this.abort();
  }
  override handleError(error: unknown): void {
    this.outcome = (error as Error).name;
  }
  override handleClose(): void {
    this.close();
  }
}

/** A listener whose queue is full: the system answers no further client. */
async function fill(hostname: string, port: number): Promise<Disposable[]> {
  const listener = Deno.listen({ hostname, port, tcpBacklog: 1 });
  const waiting = [1, 2].map(() => Deno.connect({ hostname, port }));
  return [listener, ...await Promise.all(waiting)];
}

/** How many attempts to connect to a port the system still makes. */
function countAttempts(port: number): number {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  const attempt = new RegExp(`:${hex} 02 `, "g"); // State 2 is SYN_SENT.
  return Deno.readTextFileSync("/proc/net/tcp").match(attempt)?.length ?? 0;
}

const [timeout, ...names] = Deno.args;
using listener = Deno.listen({ hostname: LIVE, port: 0 });
const { port } = listener.addr;
const filled = (await Promise.all(SILENT.map((host) => fill(host, port))))
  .flat();
for (const hostname of names) {
  const client = new Client();
  client.createSocket({ connectTimeout: Number(timeout) });
  client.connect({ hostname, port });
  const accepting = listener.accept();
  await loop();
  if (client.outcome !== LIVE) {
    (await Deno.connect({ hostname: LIVE, port })).close();
  }
  (await accepting).close();
  console.log(
    `${hostname}: ${client.outcome}, ${countAttempts(port)} left`,
  );
}
for (const one of filled) one[Symbol.dispose]();
