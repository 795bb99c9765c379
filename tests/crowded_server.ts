/**
 * An echo server that uses up its descriptors when a client says `fill`, gives
 * them back at `free`, and throws at `throw`. A test runs it with few.
 */

import { type Channel, Dispatcher, loop } from "../mod.ts";
import { bytes, text } from "./support.ts";

const files: Deno.FsFile[] = [];

/** Opens files until that fails, and says how it went. */
function fill(): string {
  try {
    for (;;) files.push(Deno.openSync("/dev/null"));
  } catch {
    return "filled";
  }
}

function free(): string {
  for (const file of files.splice(0)) file.close();
  return "freed";
}

class Handler extends Dispatcher {
  override handleRead(): void {
    this.send(bytes(this.answer(text(this.recv()))));
  }
  answer(question: string): string {
    if (question === "throw") throw new Error("told to");
    if (question === "fill") return fill();
    return question === "free" ? free() : question;
  }
}

class Server extends Dispatcher {
  override handleAccepted(conn: Channel): void {
    new Handler(conn);
  }
}

const server = new Server();
server.createSocket();
server.bind({ hostname: "127.0.0.1", port: 0 });
server.listen();
console.log(`port ${(server.addr as Deno.NetAddr).port}`);
await loop();
