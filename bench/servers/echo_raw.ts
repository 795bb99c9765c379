/**
 * The measure of all others: an echo server of nothing but `conn.read()` and
 * `conn.write()`. With a certificate and its key (two paths) it speaks TLS.
 *
 * @module
 */

import { answerMarks, BACKLOG } from "./control.mjs";

const BUFFER = 64 * 1024;
const [cert, key] = Deno.args.map((path) => Deno.readTextFileSync(path));
const place = { hostname: "127.0.0.1", port: 0, tcpBacklog: BACKLOG };
const listener = cert && key
  ? Deno.listenTls({ ...place, cert, key })
  : Deno.listen(place);
answerMarks((listener.addr as Deno.NetAddr).port);

for (;;) echo(await listener.accept()).catch(() => {});

async function echo(conn: Deno.Conn): Promise<void> {
  if ("setNoDelay" in conn) (conn as Deno.TcpConn).setNoDelay();
  const buffer = new Uint8Array(BUFFER);
  for (let length; (length = await conn.read(buffer)) !== null;) {
    for (let at = 0; at < length;) {
      at += await conn.write(buffer.subarray(at, length));
    }
  }
  conn.close();
}
