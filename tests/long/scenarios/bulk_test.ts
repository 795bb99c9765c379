/**
 * `DispatcherWithSend` with much to send, one way or both: what arrives is what
 * was sent; `close()` after `send()` loses nothing, unless the connection is
 * reset, which is told; each end comes once; memory is bounded.
 */

import { assert, assertLess } from "@std/assert";
import {
  type Channel,
  DispatcherWithSend,
  type SocketOptions,
} from "../../../mod.ts";
import type { SimHost, SimNetwork } from "../../../testing/mod.ts";
import { Flow } from "./flow.ts";
import {
  addHost,
  endWell,
  Life,
  Listener,
  pattern,
  pick,
  pickOne,
  SOUND,
  testScenario,
} from "./scenario.ts";

const PORT = 7;
const MARK = 16 * 1024;
/** Longer than an outage: who closes does not give up before it is over. */
const LINGER = 120_000;
/** The most bytes that the library reads at a time. */
const LARGEST_READ = 128 * 1024;

/**
 * What the two ends of a connection do with `up`, which the client has, and
 * `down`, which the server has.
 */
const MODES = [
  "upload", // the client sends all, and closes at once
  "download", // the server does
  "both", // whoever has sent and received all closes
  "hang up", // the server sends all and closes, while the client still sends
  "echo", // the server sends back what comes, to a client that reads slowly
] as const;

interface Transfer {
  mode: typeof MODES[number];
  up: Flow;
  down: Flow;
}

/** Either end of a transfer. */
class Peer extends DispatcherWithSend {
  out: Flow | null = null;
  in: Flow | null = null;
  mode: Transfer["mode"] = "both";
  readonly life: Life;
  readonly isServer: boolean;
  ends = 0;
  #isOver = false;
  #isBusy = false;

  constructor(host: SimHost, conn: Channel | null = null) {
    const options = { highWaterMark: MARK, linger: LINGER };
    super(conn, { ...options, idleTimeout: 300_000 });
    this.life = new Life(host);
    this.isServer = conn !== null;
  }

  take({ mode, up, down }: Transfer) {
    this.mode = mode;
    this.out = this.isServer ? down : up;
    this.in = this.isServer ? up : down;
    this.out.sender = this.life;
  }

  override readable() {
    return !this.#isBusy && super.readable();
  }

  override handleConnect() {
    assert(!this.#isOver);
  }

  override handleRead() {
    assert(!this.#isOver, "a hook ran after the end");
    if (this.isServer) assertLess(this.bufferedAmount, MARK);
    const data = this.recv();
    if (this.isServer) return this.serve(data);
    this.in!.receive(data);
    if (this.mode === "echo") this.#rest();
    this.#closeWhenComplete();
  }

  #rest() {
    this.#isBusy = true;
    this.callLater(200, () => void (this.#isBusy = false));
  }

  /** The first byte that comes to a server says which transfer it is. */
  serve(data: Uint8Array) {
    if (this.in === null) {
      if (data.length === 0) return;
      this.take(transfers[data[0]!]!);
      data = data.subarray(1);
      if (this.mode !== "echo" && this.mode !== "upload") this.fill();
      if (this.#isOver) return;
    }
    this.in!.receive(data);
    if (this.mode === "echo") {
      this.out!.accepted += this.send(data);
      const bound = MARK + LARGEST_READ;
      assert(this.bufferedAmount < bound, `${this.bufferedAmount} bytes`);
      if (this.in!.isReceived) this.finish();
    } else this.#closeWhenComplete();
  }

  override handleDrain() {
    assert(!this.#isOver);
    if (this.mode !== "echo" || !this.isServer) this.fill();
  }

  /** Sends until there is enough on the way, or all of it. */
  fill() {
    const flow = this.out!;
    while (flow.accepted < flow.data.length && this.bufferedAmount < MARK) {
      const piece = flow.data.subarray(flow.accepted, flow.accepted + 9_000);
      const accepted = this.send(piece);
      if (accepted === 0) return; // It is over, and will be told.
      flow.accepted += accepted;
    }
    if (flow.accepted < flow.data.length) return;
    const sends = this.isServer ? ["download", "hang up"] : ["upload"];
    if (sends.includes(this.mode)) this.finish();
    else this.#closeWhenComplete();
  }

  #closeWhenComplete() {
    const { in: incoming, out } = this;
    if (this.#isOver || this.mode !== "both") return;
    const hasSent = out!.accepted === out!.data.length;
    if (hasSent && incoming!.isReceived) this.finish();
  }

  finish() {
    this.#isOver = true;
    this.close();
  }

  override handleClose() {
    assert(!this.#isOver, "it ended twice, or after close()");
    this.#isOver = true;
    this.ends++;
    if (this.in && this.closeReason === null) this.in.hasEnded = true;
    this.close();
  }

  get isOver(): boolean {
    return this.#isOver;
  }
}

/** What the server may be asked for. */
let transfers: Transfer[] = [];

function makeTransfer(sim: SimNetwork): Transfer {
  const mode = pickOne(sim, MODES);
  const most = pickOne(sim, [100, 5_000, 120_000]);
  const up = pattern(sim, pick(sim, 0, most));
  if (mode === "echo") return { mode, up: new Flow(up), down: new Flow(up) };
  const down = pattern(sim, mode === "upload" ? 0 : pick(sim, 0, most));
  const isOneWay = mode === "download";
  const nothing = up.subarray(0, 0);
  return { mode, up: new Flow(isOneWay ? nothing : up), down: new Flow(down) };
}

/** In some runs, the connections are TLS. */
function socketOptions(isSecret: boolean): SocketOptions {
  const tls = { cert: "a certificate", key: "its key" };
  return isSecret ? { transport: "tls", tls } : {};
}

/** Begins a transfer from a client. */
function begin(
  sim: SimNetwork,
  id: number,
  peers: Peer[],
  options: SocketOptions,
) {
  const transfer = makeTransfer(sim);
  transfers[id] = transfer;
  const { mode, up } = transfer;
  sim.note(`transfer ${id}: ${mode}, ${up.data.length} bytes up`);
  const client = addHost(sim, `client${id}`);
  client.run(() => {
    const peer = new Peer(client);
    peers.push(peer);
    peer.createSocket(options);
    peer.connect({ hostname: "server", port: PORT });
    peer.take(transfer);
    peer.send(Uint8Array.of(id));
    if (mode === "upload") { // Before the connection stands, with no pauses.
      up.accepted += peer.send(up.data);
      peer.finish();
    } else peer.fill();
  });
}

/** A run of a few transfers, to the end of all of them. */
async function run(sim: SimNetwork): Promise<void> {
  const peers: Peer[] = [];
  transfers = [];
  const options = socketOptions(sim.random() < 0.3);
  addHost(sim, "server", (host) => {
    const serve = (conn: Channel) => void peers.push(new Peer(host, conn));
    new Listener(PORT, serve, options);
  });
  const clients = pick(sim, 1, 3);
  for (let id = 0; id < clients; id++) begin(sim, id, peers, options);
  await sim.run({ limit: 60_000 });
  await endWell(sim, 400_000);
  for (const peer of peers) {
    if (peer.life.isAlive) assert(peer.isOver, `${peer} was not told its end`);
    assert(peer.ends <= 1);
  }
}

testScenario("DispatcherWithSend tells when something is lost", async (sim) => {
  await run(sim);
  for (const { up, down } of transfers) {
    up.check();
    down.check();
  }
}, { bandwidth: 20_000 });

testScenario(
  "DispatcherWithSend loses nothing on a sound network",
  async (sim) => {
    await run(sim);
    for (const { mode, up, down } of transfers) {
      assert(down.isReceived);
      assert(up.isReceived || mode === "hang up");
    }
  },
  { faults: SOUND },
);
