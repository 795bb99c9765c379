/** Listeners of the second engine for IPv6 alone, or for IPv4 as well. */

import { assertEquals, assertThrows } from "@std/assert";
import { type Channel, Dispatcher } from "../mod.ts";
import { epollNetwork, getOption } from "../epoll/mod.ts";
import { testEpoll } from "./epoll_faults.ts";
import {
  families,
  isMissing,
  loopUntil,
  rawConnect,
  ScopedMap,
  text,
} from "./support.ts";

const hasIpv6 = !isMissing(families[1]!);

function testDualStack(name: string, fn: (map: ScopedMap) => Promise<void>) {
  if (!hasIpv6) {
    Deno.test({ name: `${name} (skipped: no IPv6)`, ignore: true, fn() {} });
    return;
  }
  testEpoll(name, async () => {
    await using map = new ScopedMap({ network: epollNetwork });
    await fn(map);
  });
}

/** A server whose connections say its name, and note where they come from. */
function serve(
  map: ScopedMap,
  hostname: string,
  port: number,
  ipv6Only?: boolean,
) {
  const clients: string[] = [];
  const server = new Dispatcher(null, { map });
  server.createSocket({ ipv6Only });
  server.bind({ hostname, port });
  server.listen();
  server.handleAccepted = (conn: Channel, addr: Deno.Addr) => {
    clients.push((addr as Deno.NetAddr).hostname);
    const greeter = new Dispatcher(conn, { map });
    greeter.send(hostname);
    greeter.close();
  };
  return { server, clients, port: (server.addr as Deno.NetAddr).port };
}

/** What the server at an address says. */
async function greetingAt(
  map: ScopedMap,
  hostname: string,
  port: number,
): Promise<string> {
  using conn = await rawConnect({ transport: "tcp", hostname, port });
  let greeting: string | null = null;
  const buffer = new Uint8Array(16);
  conn.read(buffer).then((length) =>
    greeting = text(buffer.subarray(0, length ?? 0))
  );
  await loopUntil(map, () => greeting !== null);
  return greeting!;
}

testDualStack(
  "listeners on :: with ipv6Only and on 0.0.0.0 share a port",
  async (map) => {
    const six = serve(map, "::", 0, true);
    const four = serve(map, "0.0.0.0", six.port);
    assertEquals(await greetingAt(map, "::1", six.port), "::");
    assertEquals(await greetingAt(map, "127.0.0.1", six.port), "0.0.0.0");
    assertEquals([six.clients, four.clients], [["::1"], ["127.0.0.1"]]);
  },
);

testDualStack(
  "a listener on :: with ipv6Only false takes IPv4 clients as well",
  async (map) => {
    const { server, clients, port } = serve(map, "::", 0, false);
    assertEquals(getOption(server.socket, "IPV6_V6ONLY"), 0);
    assertEquals(await greetingAt(map, "::1", port), "::");
    assertEquals(await greetingAt(map, "127.0.0.1", port), "::");
    assertEquals(clients, ["::1", "::ffff:127.0.0.1"]);
    assertThrows(
      () => serve(map, "0.0.0.0", port),
      Deno.errors.AddrInUse,
    );
  },
);

testDualStack(
  "a listener on :: without ipv6Only does as the system is set up",
  async (map) => {
    const path = "/proc/sys/net/ipv6/bindv6only";
    const { server } = serve(map, "::", 0);
    assertEquals(
      getOption(server.socket, "IPV6_V6ONLY"),
      Number(await Deno.readTextFile(path)),
    );
  },
);

testEpoll("ipv6Only is refused for an IPv4 address", async () => {
  await using map = new ScopedMap({ network: epollNetwork });
  assertThrows(
    () => serve(map, "127.0.0.1", 0, true),
    TypeError,
    'ipv6Only is for an IPv6 address, such as "::", got "127.0.0.1"',
  );
});
