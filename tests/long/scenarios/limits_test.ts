/**
 * Limits on a bad network, in simulated time: there are never more than
 * `maxConnections`, and everybody gets a turn; `shutdown()` is over at its
 * deadline.
 */

import { assertEquals, assertLessOrEqual } from "@std/assert";
import {
  AsyncChat,
  type Channel,
  DispatcherWithSend,
  shutdown,
  type ShutdownResult,
} from "../../../mod.ts";
import type { SimHost, SimNetwork } from "../../../testing/mod.ts";
import { Flow } from "./flow.ts";
import {
  addHost,
  addSteadyHost,
  endWell,
  HostRun,
  Listener,
  pattern,
  pick,
  pickOne,
  sleep,
  testScenario,
} from "./scenario.ts";

const PORT = 7;
/** What rounding may do to a time, in ms. */
const EXACT = 0.01;
const SPAM = new TextEncoder().encode("spam");

/** Greets, and is one of those of whom there may be only so many. */
class Guest extends DispatcherWithSend {
  readonly #open: Set<Guest>;

  constructor(conn: Channel, open: Set<Guest>, most: number) {
    super(conn, { idleTimeout: 4_000 });
    this.#open = open;
    open.add(this);
    assertLessOrEqual(open.size, most, "too many connections");
    this.send(SPAM);
  }

  override handleRead() {
    this.recv();
  }

  override close() {
    super.close();
    this.#open.delete(this);
  }

  override handleClose() {
    this.close();
  }
}

/** Waits to be greeted, stays a while, and leaves; comes again if cut off. */
class Visitor extends DispatcherWithSend {
  readonly #sim: SimNetwork;
  readonly #served: Set<string>;
  readonly #name: string;

  constructor(sim: SimNetwork, name: string, served: Set<string>) {
    super(null, { idleTimeout: 60_000 });
    this.#sim = sim;
    this.#served = served;
    this.#name = name;
    this.createSocket({ connectTimeout: 10_000 });
    this.connect({ hostname: "server", port: PORT });
  }

  override handleConnect() {}

  override handleRead() {
    if (this.recv().length === 0) return;
    this.#served.add(this.#name);
    this.callLater(pick(this.#sim, 0, 3_000), () => this.close());
  }

  override handleClose() {
    this.close();
    if (this.#served.has(this.#name)) return;
    this.map.callLater(1_000, () => {
      new Visitor(this.#sim, this.#name, this.#served);
    });
  }
}

testScenario(
  "maxConnections are not exceeded, and all are served",
  async (sim) => {
    const maxConnections = pick(sim, 1, 3);
    const served = new Set<string>();
    addHost(sim, "server", () => {
      const open = new Set<Guest>();
      new Listener(PORT, (conn) => {
        new Guest(conn, open, maxConnections);
      }, { maxConnections });
    });
    const names = ["ann", "bob", "eve", "joe", "pam"];
    for (const name of names) {
      addHost(sim, name, () => new Visitor(sim, name, served));
    }
    await sim.run({ limit: 5_000 });
    sim.calm();
    const areServed = () => names.every((name) => served.has(name));
    await sim.run({ until: areServed, limit: 600_000 });
    await endWell(sim);
  },
);

/** What connections may be at when the program ends. */
type Task = (chat: Chat, flow: Flow) => void;

const TASKS: Task[] = [
  (chat, { data }) => chat.push(data),
  (chat, { data }) => chat.pushWithProducer([data, new Uint8Array(0)]),
  (chat, { data }) => chat.pushWithProducer(chat.slowly(data)),
];

/** Sends something, and ends as `AsyncChat` does. */
class Chat extends AsyncChat {
  readonly #sim: SimNetwork;
  readonly #host: SimHost;

  constructor(sim: SimNetwork, host: SimHost, conn: Channel) {
    super(conn);
    this.#sim = sim;
    this.#host = host;
    this.setTerminator("\n");
  }

  async *slowly(data: Uint8Array) {
    for (let at = 0; at < data.length; at += 10_000) {
      await sleep(this.#host, pick(this.#sim, 0, 500));
      yield data.subarray(at, at + 10_000);
    }
  }

  override collectIncomingData() {}

  /** A hook that may take longer than there is time. */
  override foundTerminator() {
    return sleep(this.#host, pick(this.#sim, 0, 8_000));
  }
}

/** Takes what it is sent, slowly or not at all. */
class Taker extends DispatcherWithSend {
  readonly flow: Flow;
  readonly #pace: number;
  #isBusy = false;

  constructor(flow: Flow, pace: number) {
    super(null, { idleTimeout: 60_000 });
    this.flow = flow;
    this.#pace = pace;
    this.createSocket();
    this.connect({ hostname: "server", port: PORT });
    this.send(SPAM);
  }

  override readable() {
    return !this.#isBusy;
  }

  override handleConnect() {}

  override handleRead() {
    this.flow.receive(this.recv());
    if (this.#pace === 0) return;
    this.#isBusy = true;
    if (this.#pace === Infinity) return;
    this.callLater(this.#pace, () => void (this.#isBusy = false));
  }

  /** What it has not taken by then, it does not want. */
  override handleShutdown() {
    this.abort();
  }

  override handleClose() {
    if (this.closeReason === null) this.flow.hasEnded = true;
    this.close();
  }
}

testScenario("shutdown() is over at its deadline", async (sim) => {
  const deadline = pick(sim, 0, 6_000);
  const server = addSteadyHost(sim, "server");
  const life = new HostRun(server);
  /** By the client's address. */
  const flows = new Map<string, Flow>();
  server.run(() => {
    new Listener(PORT, (conn) => {
      const flow = flows.get((conn.remoteAddr as Deno.NetAddr).hostname)!;
      const chat = new Chat(sim, server, conn);
      flow.sender = life;
      const task = pickOne(sim, TASKS);
      task(chat, flow);
      if (sim.random() < 0.3) {
        // Who closes has bytes to send, but no producer any more.
        if (task === TASKS[0]) chat.close();
        else chat.closeWhenDone();
      }
    });
  });
  for (let i = 0; i < 4; i++) {
    const client = addHost(sim, `client${i}`);
    const flow = new Flow(pattern(sim, pick(sim, 0, 100_000)));
    flows.set(client.hostname, flow);
    const pace = pickOne(sim, [0, 100, 2_000, Infinity]);
    client.run(() => new Taker(flow, pace));
  }
  await sim.run({ limit: pick(sim, 0, 3_000) });
  const before = server.map.size - 1 + server.map.lingering;
  let result: ShutdownResult | null = null;
  const start = server.map.clock.now();
  let end = 0;
  server.run(async () => {
    result = await shutdown({ deadline });
    end = server.map.clock.now();
  });
  await sim.run({ until: () => result !== null, limit: deadline + 100 });
  assertLessOrEqual(end - start, deadline + EXACT);
  assertEquals(server.map.size + server.map.lingering, 0);
  const { listeners, closed, aborted } = result!;
  assertEquals([listeners, closed + aborted], [1, before]);
  await endWell(sim);
  if (aborted === 0) { for (const flow of flows.values()) flow.check(); }
});
