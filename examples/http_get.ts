// Gets a page over HTTP/1.0 and prints the answer as it comes:
//     deno run --allow-net examples/http_get.ts [URL]

import * as asyncore from "@asyncore/asyncore";
const stdout = Deno.stdout.writable.getWriter();

class HttpGet extends asyncore.Dispatcher {
  #unsent: Uint8Array;
  constructor({ protocol, hostname, port, pathname, search, host }: URL) {
    super();
    if (protocol !== "http:") throw new TypeError(`Not http: "${protocol}"`);
    const head = `GET ${pathname}${search} HTTP/1.0\r\nHost: ${host}\r\n\r\n`;
    this.#unsent = new TextEncoder().encode(head);
    this.createSocket();
    this.connect({ hostname, port: Number(port || 80) });
  }
  override writable() {
    return this.#unsent.length > 0;
  }
  override handleWrite() {
    this.#unsent = this.#unsent.subarray(this.send(this.#unsent));
  }
  override async handleRead() {
    await stdout.write(this.recv()); // the server waits for a slow terminal
  }
}

const get = new HttpGet(new URL(Deno.args[0] ?? "http://example.com/"));
await asyncore.loop();
if (get.closeReason !== null) Deno.exitCode = 1;
