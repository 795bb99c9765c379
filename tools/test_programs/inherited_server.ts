/**
 * An echo server on the descriptors that it has inherited, for one client. Prints
 * their number, and the address of the first.
 *
 * @module
 */

import {
  type Channel,
  Dispatcher,
  DispatcherWithSend,
  loop,
} from "../../mod.ts";
import { epollNetwork, inheritedFds } from "../../epoll/mod.ts";

class Echo extends DispatcherWithSend {
  override handleRead(): void {
    this.send(this.recv());
  }
}

class Server extends Dispatcher {
  override handleAccepted(conn: Channel): void {
    new Echo(conn);
    this.close();
  }
}

const fds = inheritedFds();
const server = new Server(epollNetwork.fromFd(fds[0]!));
console.log(fds.length, (server.addr as Deno.NetAddr).port);
await loop();
