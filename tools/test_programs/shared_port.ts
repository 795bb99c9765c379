/**
 * Two listeners on one port, if this Deno lets them share it. A test runs it in
 * a process of its own, with and without `--unstable-net`.
 *
 *     deno run -A [--unstable-net] tools/test_programs/shared_port.ts
 */

import { closeAll, Dispatcher } from "../../mod.ts";

function listenOn(port: number): Dispatcher {
  const server = new Dispatcher();
  server.createSocket({ reusePort: true });
  server.bind({ hostname: "127.0.0.1", port });
  return server;
}

try {
  const first = listenOn(0);
  listenOn((first.addr as Deno.NetAddr).port);
  console.log("shared");
} catch (error) {
  console.log(String(error));
}
closeAll();
console.log("goes on");
