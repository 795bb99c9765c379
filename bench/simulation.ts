/**
 * How fast a simulation is: a server and three clients, each of which asks
 * something about every 100 ms for 60 simulated seconds, under harsh faults.
 *
 * ```sh
 * deno run bench/simulation.ts [SEEDS]
 * ```
 */

import { type Channel, Dispatcher, DispatcherWithSend } from "../mod.ts";
import { simulate } from "../testing/mod.ts";

const PORT = 7;
const SECONDS = 60;
const INTERVAL = 100;
const BACKOFF = 500;
const seeds = Number(Deno.args[0] ?? 1_000);

let answers = 0;

class Answerer extends DispatcherWithSend {
  override handleRead(): void {
    this.send(this.recv());
  }
}

class Server extends Dispatcher {
  constructor() {
    super();
    this.createSocket();
    this.bind({ port: PORT });
    this.listen();
  }
  override handleAccepted(conn: Channel): void {
    new Answerer(conn, { idleTimeout: 5_000 });
  }
}

/** Asks, and comes back when it was cut off. */
class Client extends DispatcherWithSend {
  #received = 0;
  static readonly #question = new Uint8Array(64);

  constructor() {
    super(null, { idleTimeout: 2_000 });
    this.createSocket({ connectTimeout: 2_000 });
    this.connect({ hostname: "server", port: PORT });
    this.callEvery(INTERVAL, () => {
      if (this.connected) this.send(Client.#question);
    });
  }
  override handleConnect(): void {}
  override handleRead(): void {
    this.#received += this.recv().length;
    while (this.#received >= Client.#question.length) {
      this.#received -= Client.#question.length;
      answers++;
    }
  }
  override handleError(): void {
    this.handleClose();
  }
  override handleClose(): void {
    this.close();
    this.map.callLater(BACKOFF, () => void new Client());
  }
}

const start = performance.now();
const result = await simulate({ seeds, faults: "harsh" }, async (sim) => {
  sim.host("server", () => new Server());
  for (const n of [1, 2, 3]) sim.host(`client${n}`, () => new Client());
  await sim.run({ limit: SECONDS * 1_000 });
});
const time = performance.now() - start;
const { events, faults, simulatedTime } = result;
console.log(
  `${seeds} seeds of 4 hosts and ${
    simulatedTime / seeds / 1_000
  } simulated s ` +
    `in ${(time / 1_000).toFixed(1)} s: ${(seeds * 1_000 / time).toFixed(1)} ` +
    `seeds/s, ${(time * 1_000 / events).toFixed(2)} µs/event ` +
    `(${events} events, ${faults} faults, ${answers} answers)`,
);
