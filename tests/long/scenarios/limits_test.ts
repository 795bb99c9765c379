/**
 * Limits on a bad network, in simulated time: `idleTimeout` and `lifetime` end
 * a connection when they should and not before; `connectTimeout` a connect;
 * there are never more than `maxConnections`, and everybody gets a turn;
 * `shutdown()` is over at its deadline.
 */

import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import {
  AsyncChat,
  type Channel,
  Dispatcher,
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
  Life,
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

/** Asserts that a time has come, and only just. */
function assertDue(time: number, due: number) {
  assert(time > due - EXACT, `${due - time} ms too early`);
  assert(time < due + EXACT, `${time - due} ms too late`);
}

/** Answers what it gets, and knows when its time is over. */
class Timed extends DispatcherWithSend {
  readonly #limits: { idleTimeout: number; lifetime: number };
  readonly #start: number;
  #activeAt: number;

  constructor(
    conn: Channel,
    limits: { idleTimeout: number; lifetime: number },
  ) {
    super(conn, { ...limits, linger: 0 });
    this.#limits = limits;
    this.#start = this.#activeAt = this.#now;
  }

  get #now(): number {
    return this.map.clock.now();
  }

  override handleRead() {
    const { idleTimeout, lifetime } = this.#limits;
    const now = this.#now;
    assertLessOrEqual(now - this.#activeAt, idleTimeout + EXACT);
    assertLessOrEqual(now - this.#start, lifetime + EXACT);
    this.#activeAt = now;
    const data = this.recv();
    if (Math.random() < 0.5) this.send(data); // the host's own random number
  }

  override handleTimeout(kind: "idle" | "lifetime") {
    const { idleTimeout, lifetime } = this.#limits;
    if (kind === "idle") assertDue(this.#now, this.#activeAt + idleTimeout);
    else assertDue(this.#now, this.#start + lifetime);
    return super.handleTimeout(kind);
  }

  override handleClose() {
    this.close();
  }
}

/** Says something now and then. */
class Speaker extends DispatcherWithSend {
  readonly #sim: SimNetwork;

  constructor(sim: SimNetwork) {
    super(null, { idleTimeout: 60_000 });
    this.#sim = sim;
    this.createSocket({ connectTimeout: 5_000 });
    this.connect({ hostname: "server", port: PORT });
  }

  override handleConnect() {
    this.#speakLater();
  }

  #speakLater() {
    this.callLater(pick(this.#sim, 0, 4_000), () => {
      this.send(SPAM);
      this.#speakLater();
    });
  }

  override handleRead() {
    this.recv();
  }

  override handleClose() {
    this.close();
  }
}

testScenario(
  "idleTimeout and lifetime end a connection in time",
  async (sim) => {
    const idleTimeout = pick(sim, 1_000, 5_000);
    const lifetime = pick(sim, 3_000, 15_000);
    addHost(sim, "server", () => {
      new Listener(PORT, (conn) => {
        new Timed(conn, { idleTimeout, lifetime });
      });
    });
    for (let i = 0; i < 3; i++) {
      addHost(sim, `client${i}`, () => new Speaker(sim));
    }
    await sim.run({ limit: 20_000 });
    await endWell(sim);
  },
);

/** Connects, and knows when it should have. */
class Connecting extends Dispatcher {
  readonly #timeout: number;
  readonly #start: number;
  outcome: "connected" | "late" | "failed" | null = null;

  constructor(host: string, connectTimeout: number) {
    super();
    this.#timeout = connectTimeout;
    this.createSocket({ connectTimeout });
    this.#start = this.map.clock.now();
    this.connect({ hostname: host, port: PORT });
  }

  get #elapsed(): number {
    return this.map.clock.now() - this.#start;
  }

  override handleConnect() {
    assertEquals(this.outcome, null);
    assertLessOrEqual(this.#elapsed, this.#timeout + EXACT);
    this.outcome = "connected";
  }

  override handleError(error: unknown) {
    assertEquals(this.outcome, null, `${error}`);
    assert(error instanceof Error);
    const isLate = error.message.includes("No connection within");
    if (isLate) assertDue(this.#elapsed, this.#timeout);
    else assertLessOrEqual(this.#elapsed, this.#timeout + EXACT);
    this.outcome = isLate ? "late" : "failed";
  }

  override handleRead() {
    this.recv();
  }

  override handleClose() {
    assert(this.outcome !== null);
    this.close();
  }
}

const DEAF = {
  ...{ blackhole: 0.3, refuse: 0.1, lookup: 0.1, acceptDelay: 0.5 },
  ...{ partition: 10, skew: 60_000, drift: 0.0005 },
};

testScenario("connectTimeout ends a connect in time", async (sim) => {
  addSteadyHost(sim, "server").run(() => {
    new Listener(PORT, (conn) => {
      new DispatcherWithSend(conn, { idleTimeout: 30_000 });
    });
  });
  const attempts: Connecting[] = [];
  const client = addSteadyHost(sim, "client");
  for (let i = 0; i < 4; i++) {
    await sim.run({ limit: pick(sim, 0, 3_000) });
    client.run(() => {
      attempts.push(new Connecting("server", pick(sim, 20, 20_000)));
    });
  }
  await sim.run({ limit: 21_000 });
  for (const { outcome } of attempts) assert(outcome !== null);
  await endWell(sim);
}, { faults: DEAF });

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
  const life = new Life(server);
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
