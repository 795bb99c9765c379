/**
 * Answers each line with the same line, for `bench/hostile_peers.ts`: an
 * {@linkcode AsyncChat} with every limit in place. Prints its port. A line
 * `BIG` is answered with 16 KiB, a line `STATS` with what it has seen, as JSON.
 *
 *     deno run -A bench/hostile_server.ts
 *
 * @module
 */

import {
  AsyncChat,
  type Channel,
  Dispatcher,
  loop,
  socketMap,
  type TimeoutKind,
} from "../mod.ts";

/** How many times each limit has cut a peer, and what it cost until then. */
const seen = {
  idle: 0,
  lifetime: 0,
  overflow: 0,
  mostBuffered: 0,
  mostHeld: 0,
};

const BIG = new Uint8Array(16_384).fill(120);
const decoder = new TextDecoder();

class Lines extends AsyncChat {
  #line: Uint8Array[] = [];
  #held = 0;

  constructor(conn: Channel) {
    super(conn, {
      idleTimeout: 5_000,
      lifetime: 8_000,
      maxLength: 1_024,
      linger: 500,
    });
    this.setTerminator("\n");
  }
  override collectIncomingData(data: Uint8Array): void {
    this.#line.push(data);
    this.#held += data.length;
    seen.mostHeld = Math.max(seen.mostHeld, this.#held);
  }
  override foundTerminator(): void {
    const [first] = this.#line;
    const word = first && first.length < 6 ? decoder.decode(first) : "";
    if (word === "BIG") this.push(BIG);
    else if (word === "STATS") this.push(describe());
    else for (const data of this.#line) this.push(data);
    this.push("\n");
    this.#line = [];
    this.#held = 0;
    seen.mostBuffered = Math.max(seen.mostBuffered, this.bufferedAmount);
  }
  override handleOverflow(): void | Promise<void> {
    seen.overflow++;
    this.ignoreLogTypes.add("error");
    return super.handleOverflow();
  }
  override handleTimeout(kind: TimeoutKind): void | Promise<void> {
    seen[kind]++;
    return super.handleTimeout(kind);
  }
}

function describe(): string {
  const rss = Deno.memoryUsage().rss;
  return JSON.stringify({ ...seen, rss, peers: socketMap.size });
}

class Server extends Dispatcher {
  override handleAccepted(conn: Channel): void {
    new Lines(conn);
  }
}

const server = new Server();
server.logger = { debug() {}, info() {}, warn: console.error, error() {} };
server.createSocket({ backlog: 4_096 });
server.bind({ hostname: "127.0.0.1", port: 0 });
server.listen();
socketMap.logger = { debug() {}, info() {}, warn() {}, error() {} };
console.log((server.addr as Deno.NetAddr).port);
await loop();
