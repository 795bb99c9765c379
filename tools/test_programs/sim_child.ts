/**
 * A simulation in a process of its own, which has no permission at all: prints
 * a hash of the traces of its first seeds, and how many events there were.
 */

import { type Channel, Dispatcher, DispatcherWithSend } from "../../mod.ts";
import { SimNetwork } from "../../testing/mod.ts";

const SEEDS = 8;
const SERVER = { hostname: "server", port: 7 };

class Echo extends DispatcherWithSend {
  override handleRead(): void {
    this.send(this.recv());
  }
}

class Server extends Dispatcher {
  constructor() {
    super();
    this.createSocket();
    this.bind({ port: SERVER.port });
    this.listen();
  }
  override handleAccepted(conn: Channel): void {
    this.logInfo(`since ${performance.now()} ${crypto.randomUUID()}`, "info");
    new Echo(conn, { idleTimeout: 5_000 });
  }
}

class Client extends DispatcherWithSend {
  constructor() {
    super(null, { idleTimeout: 3_000 });
    this.createSocket({ connectTimeout: 3_000 });
    this.connect(SERVER);
    this.callEvery(100, () => {
      if (!this.connected) return;
      const size = Math.ceil(Math.random() * 3_000);
      this.send(crypto.getRandomValues(new Uint8Array(size)));
    });
  }
  override handleConnect(): void {
    this.logInfo(`connected on ${new Date().toISOString()}`, "info");
  }
  override handleRead(): void {
    this.recv(1 + Math.floor(Math.random() * 5_000));
  }
  override async handleClose(): Promise<void> {
    this.close();
    const { map } = this;
    const key = new TextEncoder().encode(`${this.closeReason}`);
    const hash = await crypto.subtle.digest("SHA-256", key);
    this.logInfo(`closed ${new Uint8Array(hash).toHex()}`, "info");
    map.callLater(new Uint8Array(hash)[0]!, () => void new Client());
  }
}

async function run(seed: number): Promise<string> {
  const sim = new SimNetwork({ seed, faults: "harsh" });
  sim.host("server", () => new Server());
  for (const n of [1, 2, 3]) sim.host(`client${n}`, () => new Client());
  await sim.run({ limit: 20_000 });
  sim.end();
  return sim.trace();
}

let all = "";
for (let seed = 1; seed <= SEEDS; seed++) all += await run(seed);
const digest = await crypto.subtle.digest(
  "SHA-256",
  new TextEncoder().encode(all),
);
const permissions = [
  "net",
  "read",
  "write",
  "env",
  "run",
  "sys",
  "ffi",
] as const;
const granted = permissions.filter((name) =>
  Deno.permissions.querySync({ name }).state === "granted"
);
console.log(JSON.stringify({
  hash: new Uint8Array(digest).toHex(),
  events: all.split("\n").length,
  granted,
}));
