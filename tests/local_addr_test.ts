/** `addr` and `localAddr`, from before the socket to behind its end. */

import { assertEquals, assertMatch } from "@std/assert";
import type { SocketAddress } from "../mod.ts";
import {
  loopUntil,
  StrictDispatcher,
  testFamilies,
  TestMap,
} from "./support.ts";
import { connecting, listening } from "./setups.ts";
import { TRANSPORTS } from "./transports.ts";

/** Both addresses of a dispatcher. */
function addresses(
  { addr, localAddr }: {
    addr: SocketAddress | null;
    localAddr: SocketAddress | null;
  },
): unknown[] {
  return [addr, localAddr];
}

testFamilies(
  "localAddr is the peer's addr, also after close()",
  async (family) => {
    const map = new TestMap();
    const accepted: StrictDispatcher[] = [];
    class Server extends StrictDispatcher {
      override handleAccept() {
        accepted.push(new StrictDispatcher(map, this.accept()!.conn));
      }
    }
    class Client extends StrictDispatcher {
      override handleConnect() {}
    }
    const server = new Server(map);
    assertEquals(addresses(server), [null, null]);
    server.createSocket(family.options);
    assertEquals(addresses(server), [null, null]);
    server.bind(family.address());
    server.listen();
    assertEquals(server.localAddr, server.addr);

    const client = new Client(map);
    client.createSocket(family.options);
    client.connect(server.addr!);
    assertEquals(addresses(client), [server.addr, null]);
    await loopUntil(map, () => client.connected && accepted.length === 1);
    const [handler] = accepted;
    const before = [server, client, handler!].map(addresses);
    assertEquals(client.addr, server.addr);
    assertEquals(handler!.localAddr, server.addr);
    if (family.name !== "Unix") assertEquals(handler!.addr, client.localAddr);

    for (const dispatcher of [server, client, handler!]) dispatcher.close();
    assertEquals([server, client, handler!].map(addresses), before);
    assertMatch(String(client), /^<Client closed .+>$/);
    await loopUntil(map, () => map.size === 0 && map.lingering === 0);
    assertEquals([server, client, handler!].map(addresses), before);
  },
);

for (const { name, ignore, connect } of TRANSPORTS) {
  Deno.test({
    name: `localAddr of a connection that was wrapped is its own (${name})`,
    ignore,
    fn: async () => {
      const [ours, theirs] = await connect();
      const map = new TestMap();
      const dispatcher = new StrictDispatcher(map, ours);
      assertEquals(addresses(dispatcher), [ours.remoteAddr, ours.localAddr]);
      dispatcher.abort();
      theirs.close();
    },
  });
}

Deno.test("addr in handleClose() of a failed connect is the one that was tried", async () => {
  const seen: unknown[] = [];
  const { network, map, client } = connecting({
    handleError() {},
    handleClose() {
      seen.push(this.addr, this.localAddr);
      this.close();
    },
  });
  network.fail(new Deno.errors.ConnectionRefused("no"));
  await loopUntil(map, () => seen.length > 0);
  const tried = { transport: "tcp" as const, hostname: "127.0.0.1", port: 7 };
  assertEquals(seen, [tried, null]);
  assertEquals(addresses(client), [tried, null]);
  assertEquals(String(client), "<Recorder closed 127.0.0.1:7>");
});

Deno.test("toString() of a listener that was closed says so", () => {
  const { server } = listening();
  assertMatch(String(server), /^<Recorder listening /);
  server.close();
  assertMatch(String(server), /^<Recorder closed /);
});
