/**
 * Echoes messages of 16 KiB over 64 connections, each message with memory of its
 * own, and prints how many pages of memory the system had to provide for each of
 * the later ones.
 */

import {
  type Channel,
  Dispatcher,
  DispatcherWithSend,
  loop,
} from "../../mod.ts";

const CONNECTIONS = 64;
const SIZE = 16 * 1024;
/** For each connection; as many as it takes to collect garbage a few times. */
const MESSAGES = 300;

/** Pages that this process was given so far. */
function pageFaults(): number {
  const stat = Deno.readTextFileSync("/proc/self/stat");
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[7]);
}

class Echo extends DispatcherWithSend {
  override handleRead(): void {
    this.send(this.recv());
  }
  override handleClose(): void {
    this.close();
  }
}

class Server extends Dispatcher {
  constructor() {
    super();
    this.createSocket();
    this.bind({ hostname: "127.0.0.1", port: 0 });
    this.listen();
  }
  override handleAccepted(conn: Channel): void {
    new Echo(conn);
  }
}

const server = new Server();
const looping = loop();
const conns = await Promise.all(
  Array.from({ length: CONNECTIONS }, async () => {
    const { port } = server.addr as Deno.NetAddr;
    const conn = await Deno.connect({ hostname: "127.0.0.1", port });
    return { conn, buffer: new Uint8Array(SIZE) };
  }),
);

/** One message to and fro on each connection, `count` times. */
async function talk(count: number): Promise<void> {
  await Promise.all(conns.map(async ({ conn, buffer }) => {
    for (let i = 0; i < count; i++) {
      for (let at = 0; at < SIZE;) at += await conn.write(buffer.subarray(at));
      for (let at = 0; at < SIZE;) {
        at += (await conn.read(buffer.subarray(at)))!;
      }
    }
  }));
}

await talk(MESSAGES);
const before = pageFaults();
await talk(MESSAGES);
console.log((pageFaults() - before) / (MESSAGES * CONNECTIONS));
for (const { conn } of conns) conn.close();
server.close();
await looping;
