/** Names that no certificate can have: TLS refuses them when TCP stands. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { loop } from "../mod.ts";
import { certificates, testTls } from "./certificates.ts";
import { loopToEnd, quietMap, Recorder } from "./fakes.ts";
import { bytes, connectedPair, loopUntil, ScopedMap } from "./support.ts";

/** What `new URL()` gives, what people type, and nonsense. */
const REFUSED = ["127.1", "[::1]", "a b", " ", "-a", "a..b", "1.2.3.4.5"];

/** Everything that comes until the peer ends its side, which must be soon. */
async function rest(conn: Deno.Conn): Promise<string> {
  const late = setTimeout(() => conn.close(), 20_000);
  try {
    return await new Response(conn.readable).text();
  } finally {
    clearTimeout(late);
  }
}

Deno.test("connect() over TLS to a name that TLS refuses leaves no connection open", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const map = quietMap();
  const client = new Recorder(map);
  client.createSocket({ transport: "tls" });
  // Of those that TLS refuses, this one can be connected to everywhere.
  client.connect({ hostname: "127.1", port: listener.addr.port });
  const conn = await listener.accept();
  await loop({ map });
  assertEquals(client.trace, ["handleError", "handleClose"]);
  assertStringIncludes(String(client.errors[0]), "Invalid hostname: '127.1'");
  assertEquals(await rest(conn), "");
  map.check();
});

testTls(
  "connect() with a certificate to a name that TLS refuses connects to nobody",
  async () => {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const map = quietMap();
    const client = new Recorder(map);
    client.createSocket({ transport: "tls", tls: certificates().good });
    client.connect({ hostname: "127.1", port: listener.addr.port });
    await loop({ map });
    assertEquals(client.trace, ["handleError", "handleClose"]);
    assertStringIncludes(String(client.errors[0]), "Invalid hostname: '127.1'");
  },
);

/** Starts TLS as soon as the peer has spoken, and then says a secret. */
class Upgrading extends Recorder {
  name = "";
  override handleRead(): void {
    this.recv();
    this.startTls({ hostname: this.name }).catch(() => {});
    this.send(bytes("secret"));
  }
}

for (const name of ["", ...REFUSED]) {
  Deno.test(`startTls() with the name ${JSON.stringify(name)} ends the connection without a word`, async () => {
    await using map = new ScopedMap({ logger: quietMap().logger! });
    const [conn, peer] = await connectedPair();
    const client = new Upgrading(map, conn);
    client.name = name;
    await peer.write(bytes("220 go\r\n"));
    await loopUntil(map, () => map.size === 0, 20_000);
    assertEquals(client.trace, ["handleError", "handleClose"]);
    await loopToEnd(map);
    assertEquals(await rest(peer), "");
  });
}
