/**
 * The proxy between bad networks: what comes out is what went in; the end of
 * one direction is carried across, and the other goes on; both sides are closed
 * at the end; memory is bounded.
 */

import { assert, assertEquals } from "@std/assert";
import { Proxy } from "../../../examples/tcp_proxy.ts";
import { type Channel, DispatcherWithSend } from "../../../mod.ts";
import type { SimHost, SimNetwork } from "../../../testing/mod.ts";
import { Flow } from "./flow.ts";
import {
  addHost,
  endWell,
  HostRun,
  Listener,
  pattern,
  pick,
  pickOne,
  SOUND,
  strictLogger,
  testScenario,
} from "./scenario.ts";

const FRONT = 8080;
const BACK = 80;
/** What one side of the proxy may hold: the mark, and what it read last. */
const MOST_HELD = 2 * 64 * 1024;

interface Transfer {
  up: Flow;
  down: Flow;
  /** The target speaks when the client has ended its direction, not before. */
  isPolite: boolean;
  /** The receivers take their time. */
  isSlow: boolean;
}

/** A client or a target. */
class End extends DispatcherWithSend {
  readonly life: HostRun;
  readonly #proxy: SimHost;
  readonly #isTarget: boolean;
  #transfer: Transfer | null = null;
  #isBusy = false;
  #hasSaidAll = false;
  isOver = false;

  constructor(host: SimHost, proxy: SimHost, conn: Channel | null = null) {
    super(conn, { allowHalfOpen: true, idleTimeout: 60_000, linger: 60_000 });
    this.life = new HostRun(host);
    this.#proxy = proxy;
    this.#isTarget = conn !== null;
  }

  get #out(): Flow {
    const { up, down } = this.#transfer!;
    return this.#isTarget ? down : up;
  }
  get #in(): Flow {
    const { up, down } = this.#transfer!;
    return this.#isTarget ? up : down;
  }

  /** Makes a client of it. */
  call(id: number): this {
    this.createSocket();
    this.connect({ hostname: "proxy", port: FRONT });
    this.send(Uint8Array.of(id));
    this.begin(transfers[id]!);
    return this;
  }

  begin(transfer: Transfer) {
    this.#transfer = transfer;
    this.#out.sender = this.life;
    if (!this.#isTarget || !transfer.isPolite) this.fill();
  }

  override readable() {
    return !this.#isBusy;
  }

  override handleConnect() {}

  override handleRead() {
    assert(!this.isOver);
    this.#checkMemory();
    let data = this.recv();
    if (data.length === 0) return;
    if (this.#transfer === null) {
      this.begin(transfers[data[0]!]!);
      data = data.subarray(1);
    }
    this.#in.receive(data);
    if (!this.#transfer!.isSlow) return;
    this.#isBusy = true;
    this.callLater(150, () => void (this.#isBusy = false));
  }

  #checkMemory() {
    for (const side of this.#proxy.map) {
      if (!(side instanceof DispatcherWithSend)) continue;
      assert(side.bufferedAmount < MOST_HELD, `${side.bufferedAmount} bytes`);
    }
  }

  override handleDrain() {
    this.fill();
  }

  /** Sends until there is enough on the way, or ends this direction. */
  fill() {
    const flow = this.#out;
    while (flow.accepted < flow.data.length) {
      if (this.bufferedAmount >= this.highWaterMark) return;
      const piece = flow.data.subarray(flow.accepted, flow.accepted + 30_000);
      const accepted = this.send(piece);
      if (accepted === 0) return; // It is over, and will be told.
      flow.accepted += accepted;
    }
    if (this.#hasSaidAll) return;
    this.#hasSaidAll = true;
    this.shutdownWrite();
  }

  override handleEnd() {
    assert(!this.isOver);
    if (this.#transfer === null) return this.handleClose(); // Cut off at once.
    this.#in.hasEnded = true;
    if (this.#isTarget && this.#transfer.isPolite) this.fill();
  }

  /** Whoever has waited until now, waits in vain. */
  override handleShutdown() {
    this.isOver = true;
    this.abort();
  }

  /** Who has ended its own direction is told of the other's end like this. */
  override handleClose() {
    assert(!this.isOver, "it ended twice");
    this.isOver = true;
    const isEnd = this.closeReason === null && this.#transfer !== null;
    if (isEnd) this.#in.hasEnded = true;
    this.close();
  }
}

/** What the target may be asked for. */
let transfers: Transfer[] = [];

function makeTransfer(sim: SimNetwork): Transfer {
  const most = pickOne(sim, [0, 1, 1_000, 50_000, 400_000]);
  return {
    up: new Flow(pattern(sim, pick(sim, 0, most))),
    down: new Flow(pattern(sim, pick(sim, 0, most))),
    isPolite: sim.random() < 0.5,
    isSlow: sim.random() < 0.3,
  };
}

/** A run of a few transfers; returns whether the proxy broke one off. */
async function run(sim: SimNetwork): Promise<boolean> {
  transfers = [];
  const ends: End[] = [];
  let isBroken = false;
  const proxy = addHost(sim, "proxy", () => {
    const logger = strictLogger(sim, "proxy");
    const warn = (line: string) => {
      isBroken = true;
      logger.warn(line);
    };
    const options = { connectTimeout: 10_000 };
    new Proxy(
      { address: { hostname: "0.0.0.0", port: FRONT }, options: {} },
      { address: { hostname: "target", port: BACK }, options },
      { ...logger, warn },
    );
  });
  addHost(sim, "target", (host) => {
    new Listener(BACK, (conn) => void ends.push(new End(host, proxy, conn)));
  });
  const clients = pick(sim, 1, 2);
  for (let id = 0; id < clients; id++) {
    const host = addHost(sim, `client${id}`);
    transfers[id] = makeTransfer(sim);
    host.run(() => ends.push(new End(host, proxy).call(id)));
  }
  const first = new HostRun(proxy);
  await sim.run({ limit: 20_000 });
  const { aborted } = (await endWell(sim, 120_000)).get("proxy")!;
  const isPlain = !sim.faultEvents.some(({ id }) => /^(crash|reset) /.test(id));
  if (isPlain) assertEquals(aborted, 0, "a pair was left open");
  for (const end of ends) {
    if (end.life.isAlive) assert(end.isOver, `${end} was not told its end`);
  }
  return isBroken || !first.isAlive;
}

testScenario("tcp_proxy carries what it is given", async (sim) => {
  if (await run(sim)) return;
  for (const { up, down } of transfers) {
    up.check();
    down.check();
  }
});

testScenario("tcp_proxy carries all on a sound network", async (sim) => {
  assert(!await run(sim));
  for (const { up, down } of transfers) {
    assert(up.isReceived && up.hasEnded);
    assert(down.isReceived && down.hasEnded);
  }
}, { faults: SOUND });
