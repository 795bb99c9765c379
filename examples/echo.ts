// Sends back to each client what it sent, until Ctrl-C:
//     deno run --allow-net examples/echo.ts [PORT]

import * as asyncore from "@asyncore/asyncore";

class EchoHandler extends asyncore.DispatcherWithSend {
  override handleRead() {
    this.send(this.recv());
  }
}

class EchoServer extends asyncore.Dispatcher {
  override handleAccepted(conn: asyncore.Channel, { port }: Deno.NetAddr) {
    console.log(`A client comes from port ${port}`);
    new EchoHandler(conn);
  }
}

const server = new EchoServer();
server.createSocket();
server.bind({ hostname: "127.0.0.1", port: Number(Deno.args[0] ?? 8007) });
server.listen();
const { port } = server.addr!;
console.log(`Listening on 127.0.0.1:${port}`);
Deno.addSignalListener("SIGINT", () => asyncore.shutdown());
await asyncore.loop();
console.log("All clients are gone");
