/**
 * An echo server with `node:net`, for Deno and for Node. With a certificate
 * and its key (two paths) it speaks TLS.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import net from "node:net";
import process from "node:process";
import tls from "node:tls";
import { answerMarks, BACKLOG } from "./control.mjs";

/** @param {net.Socket} socket A client. */
function echo(socket) {
  socket.on("data", (data) => socket.write(data));
  socket.on("error", () => {});
}

const [cert, key] = process.argv.slice(2).map((path) => readFileSync(path));
const server = cert && key
  ? tls.createServer({ cert, key, noDelay: true }, echo)
  : net.createServer({ noDelay: true }, echo);
server.listen({ host: "127.0.0.1", port: 0, backlog: BACKLOG }, () => {
  answerMarks(/** @type {net.AddressInfo} */ (server.address()).port);
});
