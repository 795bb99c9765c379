/**
 * Takes lines in with {@linkcode AsyncChat}. Prints its port, and takes marks.
 * Answers a line `END` with the number of lines before it. "epoll" as an argument
 * puts it on the second engine.
 *
 * @module
 */

import {
  AsyncChat,
  type Channel,
  Dispatcher,
  loop,
  socketMap,
} from "../../mod.ts";
import { epollNetwork } from "../../epoll/mod.ts";
import { answerMarks } from "./control.mjs";

const NO_BYTES = new Uint8Array(0);

class Lines extends AsyncChat {
  #line: Uint8Array = NO_BYTES;
  #count = 0;

  constructor(conn: Channel) {
    super(conn);
    this.setTerminator("\r\n");
  }
  override collectIncomingData(data: Uint8Array): void {
    const line = this.#line;
    if (line.length === 0) this.#line = data;
    else {
      this.#line = new Uint8Array(line.length + data.length);
      this.#line.set(line);
      this.#line.set(data, line.length);
    }
  }
  override foundTerminator(): void {
    const line = this.#line;
    this.#line = NO_BYTES;
    if (line.length === 3 && new TextDecoder().decode(line) === "END") {
      this.push(`${this.#count}\n`);
      this.#count = 0;
    } else this.#count++;
  }
}

class Server extends Dispatcher {
  constructor() {
    super();
    this.createSocket();
    this.bind({ hostname: "127.0.0.1", port: 0 });
    this.listen();
    answerMarks((this.addr as Deno.NetAddr).port);
  }
  override handleAccepted(conn: Channel): void {
    new Lines(conn);
  }
}

if (Deno.args[0] === "epoll") socketMap.network = epollNetwork;
new Server();
await loop();
