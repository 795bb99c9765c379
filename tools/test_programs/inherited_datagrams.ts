/**
 * Answers one datagram on the UDP socket that it has inherited. Prints its port.
 *
 * @module
 */

import { DatagramDispatcher, loop } from "../../mod.ts";
import { epollNetwork, inheritedFds } from "../../epoll/mod.ts";

class Server extends DatagramDispatcher {
  override handleRead(): void {
    const { data, addr } = this.recvFrom();
    this.sendTo(data, addr);
    this.close();
  }
}

const [fd] = inheritedFds();
const server = new Server(epollNetwork.datagramsFromFd(fd!));
console.log("port", server.addr!.port);
await loop();
