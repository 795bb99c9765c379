/** Names that no certificate can have: TLS refuses them when TCP stands. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { loop } from "../mod.ts";
import { certificates } from "./certificates.ts";
import { loopToEnd, quietMap, Recorder } from "./fakes.ts";
import { connecting, scopedMap } from "./scenes.ts";
import { bytes, connectedPair, loopUntil } from "./support.ts";

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

for (const withCertificate of [false, true]) {
  const how = withCertificate
    ? "with a certificate connects to nobody"
    : "leaves no connection open";
  Deno.test(`connect() over TLS to a name that TLS refuses ${how}`, async () => {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const map = quietMap();
    // Of those that TLS refuses, this one can be connected to everywhere.
    const address = { hostname: "127.1", port: listener.addr.port };
    const client = connecting(new Recorder(map), address, {
      transport: "tls",
      ...(withCertificate && { tls: certificates().good }),
    });
    const conn = withCertificate ? null : await listener.accept();
    await loop({ map });
    assertEquals(client.trace, ["handleError", "handleClose"]);
    const told = String(client.errors[0]);
    assertStringIncludes(told, "Invalid hostname: '127.1'");
    if (conn) assertEquals(await rest(conn), "");
    map.check();
  });
}

for (const name of ["", ...REFUSED]) {
  Deno.test(`startTls() with the name ${JSON.stringify(name)} ends the connection without a word`, async () => {
    await using map = scopedMap();
    const [conn, peer] = await connectedPair();
    const client = new Recorder(map, conn);
    client.handleRead = () => {
      client.recv();
      client.startTls({ hostname: name }).catch(() => {});
      client.send(bytes("secret"));
    };
    await peer.write(bytes("220 go\r\n"));
    await loopUntil(map, () => map.size === 0, 20_000);
    assertEquals(client.trace, ["handleError", "handleClose"]);
    await loopToEnd(map);
    assertEquals(await rest(peer), "");
  });
}
