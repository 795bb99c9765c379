/**
 * Takes lines in with `node:readline` on a socket. Answers a line `END` with
 * the number of lines before it.
 *
 * @module
 */

import net from "node:net";
import { createInterface } from "node:readline";
import { answerMarks } from "./control.mjs";

const server = net.createServer((socket) => {
  let count = 0;
  socket.on("error", () => {});
  createInterface({ input: socket, crlfDelay: Infinity }).on("line", (line) => {
    if (line === "END") {
      socket.write(`${count}\n`);
      count = 0;
    } else count++;
  });
});
server.listen({ host: "127.0.0.1", port: 0 }, () => {
  answerMarks(/** @type {net.AddressInfo} */ (server.address()).port);
});
