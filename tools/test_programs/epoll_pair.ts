/**
 * A client and a server of the second engine in one process, by name. Prints
 * "served", or why the engine cannot be used.
 *
 * @module
 */

import { type Channel, Dispatcher, loop, socketMap } from "../../mod.ts";
import { epollNetwork } from "../../epoll/mod.ts";

socketMap.network = epollNetwork;

class Server extends Dispatcher {
  override handleAccepted(conn: Channel): void {
    conn.close();
    this.close();
  }
}

class Client extends Dispatcher {
  override handleClose(): void {
    this.close();
    console.log("served");
  }
  override handleRead(): void {
    this.recv();
  }
}

try {
  const server = new Server();
  server.createSocket();
  server.bind({ hostname: "localhost", port: 0 });
  server.listen();
  const client = new Client();
  client.createSocket();
  const { port } = server.addr as Deno.NetAddr;
  client.connect({ hostname: "localhost", port });
  await loop();
} catch (error) {
  console.log(epollNetwork.available, String(error));
}
