/**
 * A network, its hosts and their time, all simulated: {@linkcode SimNetwork}.
 *
 * @module
 */

import {
  checkBoolean,
  checkFunction,
  checkInteger,
  checkMilliseconds,
  checkText,
  showValue,
} from "../core/arguments.ts";
import { checkOptions, type OptionNames } from "../core/option_names.ts";
import {
  type FaultEvent,
  type FaultLevel,
  type Faults,
  parseFaults,
} from "./faults.ts";
import { drawDiagram } from "./diagram.ts";
import { collect } from "./diagram_data.ts";
import { History } from "./history.ts";
import { hostContext } from "./host_context.ts";
import { MAX_HOSTS } from "./partitions.ts";
import { nameKey } from "./sim_address.ts";
import { importTraps, isolateHosts } from "./sim_globals.ts";
import { type CrashOptions, Host, type SimHost } from "./sim_host.ts";
import { SIMULATOR, Simulator } from "./simulator.ts";
import type { Decode } from "./packet.ts";
import type { TraceOptions } from "./trace.ts";

/** Options of a {@linkcode SimNetwork}. */
export interface SimNetworkOptions {
  /**
   * Where the random numbers begin: the same seed gives the same run.
   *
   * @default {1}
   */
  seed?: number | undefined;
  /**
   * How long a packet takes from host to host, at least and at most, in
   * simulated milliseconds.
   *
   * @default {[1, 20]}
   */
  latency?: readonly [least: number, most: number] | undefined;
  /**
   * How long a `sync()` of a disk takes, at least and at most, in simulated
   * milliseconds.
   *
   * @default {[1, 10]}
   */
  syncLatency?: readonly [least: number, most: number] | undefined;
  /**
   * How many bytes a second go from one host to another.
   *
   * @default {Infinity}
   */
  bandwidth?: number | undefined;
  /**
   * The longest packet between two hosts, in bytes (MTU): a datagram that is
   * longer by its headers of 28 bytes travels in fragments, and is lost if one
   * of them is.
   *
   * @default {1_500}
   */
  mtu?: number | undefined;
  /**
   * The faults that happen, and how often.
   *
   * @default {"none"}
   */
  faults?: Faults | FaultLevel | undefined;
  /**
   * The names of the faults that may happen: no others do. For what `shrink()`
   * has found.
   *
   * @default {all}
   */
  only?: Iterable<string> | undefined;
  /**
   * How many of the last events the trace keeps at least.
   *
   * @default {250_000}
   */
  traceLimit?: number | undefined;
  /**
   * Tells in the trace what the bytes of a packet mean. A packet may hold a part
   * of a message, or several. Without it, the trace has their number alone, and
   * no bytes are kept.
   */
  decode?: Decode | undefined;
  /**
   * Whether the trace tells of the hooks that classes override, of timers and of
   * clocks that are wrong, too. That takes time; the run stays the same.
   *
   * @default {false}
   */
  details?: boolean | undefined;
}

/** The default latency, in ms: of machines of one region. */
const LATENCY = [1, 20] as const;
/**
 * The default time of a `sync()`, in ms. A message and its answer take 2 to 40:
 * a sync that was forgotten shows by either order of the two.
 */
const SYNC_LATENCY = [1, 10] as const;

function checkRange(name: string, range: readonly [number, number]): void {
  const [least, most] = range;
  checkMilliseconds(`${name}[0]`, least, { finite: true });
  checkMilliseconds(`${name}[1]`, most, { min: least, finite: true });
}

/** The names of the options of a {@linkcode SimNetwork}. */
export const NETWORK_OPTIONS: OptionNames<SimNetworkOptions> = {
  seed: true,
  latency: true,
  syncLatency: true,
  bandwidth: true,
  mtu: true,
  faults: true,
  only: true,
  traceLimit: true,
  decode: true,
  details: true,
};

/** An event takes about 100 bytes, without what a packet carries: 50 MB at most. */
const TRACE_LIMIT = 250_000;
const TRACE_OPTIONS: OptionNames<TraceOptions> = {
  hosts: true,
  from: true,
  to: true,
  packets: true,
};

/** Options of {@linkcode SimNetwork.run}. */
export interface RunOptions {
  /** The run is over when this returns true. It is asked after each event. */
  until?: (() => boolean) | undefined;
  /**
   * How long to run at most, in simulated milliseconds from now.
   *
   * @default {60_000}
   */
  limit?: number | undefined;
}

/** The least that IPv4 allows. */
const LEAST_MTU = 68;

const RUN_OPTIONS: OptionNames<RunOptions> = { until: true, limit: true };

/** Options of {@linkcode SimNetwork.partition}. */
export interface PartitionOptions {
  /**
   * Whether only what the first hosts send to the others is lost.
   *
   * @default {false}
   */
  oneWay?: boolean | undefined;
}

const PARTITION_OPTIONS: OptionNames<PartitionOptions> = { oneWay: true };

/**
 * A simulated network: hosts that run unchanged dispatchers, in simulated time,
 * under faults that chance or the test brings. Nothing real is used, so it
 * needs no permission, and the same seed gives the same run, event by event.
 *
 * Connections keep what TCP promises, and nothing else: they are split and
 * coalesced, stall, fill up, end one way, are refused, lost and reset. On a host
 * dates, clocks, random numbers, the host name and the process id are the
 * host's own; timers, files, sockets, processes and the like of Deno and Node end
 * the run with a {@linkcode SimulationError} that says what to use instead. The
 * table in `docs/testing.md` has each call, and the few that stay real.
 *
 * TLS is simulated from outside: a handshake that takes time and fails against a
 * peer that speaks plainly; nothing is encrypted, and no certificate is looked
 * at. There is no `startTls()`: it throws. Datagrams of a `DatagramDispatcher`
 * get lost, doubled and late, as the faults say.
 *
 * @example An echo server and its client, on a bad line
 * ```ts
 * import { type Channel, Dispatcher, DispatcherWithSend } from "@asyncore/asyncore";
 * import { SimNetwork } from "@asyncore/asyncore/testing";
 * import { assertEquals } from "@std/assert";
 *
 * class Echo extends DispatcherWithSend {
 *   override handleRead() {
 *     this.send(this.recv());
 *   }
 * }
 *
 * class Server extends Dispatcher {
 *   override handleAccepted(conn: Channel) {
 *     new Echo(conn);
 *   }
 * }
 *
 * class Client extends DispatcherWithSend {
 *   answer = "";
 *   readonly #decoder = new TextDecoder();
 *   override handleRead() {
 *     this.answer += this.#decoder.decode(this.recv(), { stream: true });
 *   }
 * }
 *
 * const faults = { split: 0.5, stall: 0.1 };
 * const sim = new SimNetwork({ seed: 7, faults });
 * sim.host("server", () => {
 *   const server = new Server();
 *   server.createSocket();
 *   server.bind({ port: 7 });
 *   server.listen();
 * });
 * const client = sim.host("client").run(() => new Client());
 * client.createSocket();
 * client.connect({ hostname: "server", port: 7 });
 * client.send("spam, eggs and spam");
 * await sim.run({ until: () => client.answer.length === 19 });
 * assertEquals(client.answer, "spam, eggs and spam");
 * ```
 */
export class SimNetwork {
  /** Where the random numbers began. */
  readonly seed: number;
  readonly #simulator: Simulator;
  readonly #hosts = new Map<string, Host>();
  readonly #history = new History(() => this.now);
  #isRunning = false;

  /**
   * Makes a network without hosts.
   *
   * @param options Seed, latency, bandwidth, faults.
   * @throws {TypeError} If an option has the wrong type.
   * @throws {RangeError} If a number is out of range.
   */
  constructor(options: SimNetworkOptions = {}) {
    checkOptions(options, NETWORK_OPTIONS);
    const { seed = 1, bandwidth = Infinity, mtu = 1_500 } = options;
    const { latency = LATENCY, syncLatency = SYNC_LATENCY } = options;
    this.seed = checkInteger("seed", seed, 0, Number.MAX_SAFE_INTEGER);
    checkRange("latency", latency);
    checkRange("syncLatency", syncLatency);
    if (!(bandwidth > 0)) {
      const got = showValue(bandwidth);
      throw new RangeError(`bandwidth must be above 0 bytes/s, got ${got}`);
    }
    const { traceLimit = TRACE_LIMIT, decode, details = false } = options;
    checkBoolean("details", details);
    if (decode !== undefined) checkFunction("decode", decode);
    this.#simulator = new Simulator({
      seed,
      latency: [...latency],
      syncLatency: [...syncLatency],
      bandwidth,
      mtu: checkInteger("mtu", mtu, LEAST_MTU, 65_535),
      faults: parseFaults(options.faults ?? "none"),
      only: options.only === undefined ? null : new Set(options.only),
      traceLimit: checkInteger("traceLimit", traceLimit, 1),
      decode: decode ?? null,
      hasDetails: details,
    });
  }

  /**
   * The engine that runs it.
   *
   * @internal
   */
  get [SIMULATOR](): Simulator {
    return this.#simulator;
  }

  /** The simulated time, in ms since the beginning. */
  get now(): number {
    return this.#simulator.now;
  }

  /** A random number for the scenario, from 0 to 1, by the seed. */
  random(): number {
    return this.#simulator.random();
  }

  /** The hosts, in the order in which they were made. */
  get hosts(): readonly SimHost[] {
    return this.#simulator.hosts;
  }

  /** The faults that were injected so far. */
  get faultEvents(): readonly FaultEvent[] {
    return this.#simulator.faultPlan.events;
  }

  // Hosts

  /**
   * Makes a host, or gives the one of that name. Its loop is run for it, until
   * its program calls `loop()` or `poll()` itself.
   *
   * @param name By this name the others connect to it, in capitals or not.
   * @param start Its program: runs on the host now and at each restart. Without
   * it, the host never crashes by chance.
   * @throws {TypeError} If the name is no text or `start` no function.
   * @throws {Error} If there are too many, or one with `start` is there already.
   * @throws What `start` throws.
   */
  host(name: string, start?: (host: SimHost) => unknown): SimHost {
    checkText("name", name);
    if (start !== undefined) checkFunction("start", start);
    const known = this.#hosts.get(nameKey(name));
    if (known && start === undefined) return known;
    if (known) throw new Error(`Cannot make host ${name}: it is there already`);
    const number = this.#hosts.size + 1;
    if (number === MAX_HOSTS) {
      throw new Error(
        `Cannot make host ${name}: there are ${number - 1} already`,
      );
    }
    const host = new Host(this.#simulator, name, number, start ?? null);
    this.#hosts.set(nameKey(name), host);
    this.#simulator.add(host);
    host.start();
    return host;
  }

  #hostNamed(name: string): Host {
    const host = this.#hosts.get(nameKey(name));
    if (host) return host;
    const names = this.hosts.map(({ name }) => name).join(", ") || "none";
    throw new TypeError(`There is no host ${showValue(name)}, only: ${names}`);
  }

  /**
   * Ends a host's program: its dispatchers are gone, and by default its peers hear
   * nothing of it.
   *
   * @param name Which one.
   * @param options Whether the power fails, or only the program ends.
   * @throws {TypeError} If there is no such host.
   */
  crash(name: string, options: CrashOptions = {}): void {
    this.#hostNamed(name).crash(options);
  }

  /**
   * Starts a host again, with an empty map.
   *
   * @param name Which one; if it is up, it crashes first.
   * @param start What to run on it; by default, what it was made with.
   * @throws {TypeError} If there is no such host.
   * @throws What `start` throws.
   */
  restart(name: string, start?: (host: SimHost) => unknown): void {
    this.#hostNamed(name).restart(start ?? null);
  }

  /**
   * Cuts hosts off from others: what is sent waits to be sent again.
   *
   * @param some These …
   * @param others … and those.
   * @param options Whether one way only.
   * @throws {TypeError} If there is no such host.
   */
  partition(
    some: readonly string[],
    others: readonly string[],
    options: PartitionOptions = {},
  ): void {
    checkOptions(options, PARTITION_OPTIONS);
    const { oneWay = false } = options;
    const { partitions } = this.#simulator;
    const arrow = oneWay ? ">" : "|";
    const from = some.map((name) => this.#hostNamed(name));
    const to = others.map((name) => this.#hostNamed(name));
    this.note(`partition ${some.join(" ")} ${arrow} ${others.join(" ")}`);
    for (const a of from) {
      for (const b of to) {
        partitions.add(a.number, b.number);
        if (!oneWay) partitions.add(b.number, a.number);
      }
    }
  }

  /** Ends all partitions. */
  heal(): void {
    this.note("heal");
    this.#simulator.partitions.heal();
  }

  /**
   * Ends all partitions, and injects no more faults: whatever recovers from
   * faults now has the time to.
   */
  calm(): void {
    this.note("calm");
    this.#simulator.partitions.heal();
    Object.assign(this.#simulator.faultPlan.faults, parseFaults("none"));
  }

  /** Ends all hosts, without a word: nothing of them happens any more. */
  end(): void {
    this.#simulator.end();
  }

  // Time

  /**
   * Runs the hosts until `until` is true, or nothing is left to happen, or the
   * limit is reached. Time jumps from one event to the next.
   *
   * @param options Until when.
   * @throws {SimulationError} If `until` did not become true; if nobody
   * handled an error or a rejected promise; if something on a host does not
   * depend on the seed alone.
   * @throws {Error} If it is being run already.
   */
  async run(options: RunOptions = {}): Promise<void> {
    checkOptions(options, RUN_OPTIONS);
    const { until, limit = 60_000 } = options;
    checkMilliseconds("limit", limit);
    if (until !== undefined) checkFunction("until", until);
    if (this.#isRunning) throw new Error("Cannot run: it is running already");
    this.#isRunning = true;
    const restore = isolateHosts();
    // In a scenario, `simulate()` decides which runs are watched.
    const isOwn = importTraps.isNeeded && !hostContext.getStore();
    // It would end the process, and nobody would know the seed.
    const onRejection = (event: PromiseRejectionEvent) => {
      event.preventDefault();
      this.#simulator.onRejection(event.reason);
    };
    addEventListener("unhandledrejection", onRejection);
    let unwatch = () => {};
    try {
      if (isOwn) unwatch = await importTraps.acquire();
      await this.#simulator.run(until, this.now + limit);
    } finally {
      unwatch();
      removeEventListener("unhandledrejection", onRejection);
      restore();
      this.#isRunning = false;
    }
  }

  // The record of the run

  /**
   * All that has happened so far, as text: the simulated time in ms, and what
   * it was.
   *
   * @param which How many of the last events, or which ones; by default, all
   * that are kept. An event of no single host, such as a note of the scenario,
   * belongs to every choice of `hosts`.
   * @throws {TypeError} If an option is wrong, or there is no such host.
   *
   * @example What one host has to do with
   * ```ts
   * import { SimNetwork } from "@asyncore/asyncore/testing";
   * import { assertEquals } from "@std/assert";
   *
   * const sim = new SimNetwork();
   * for (const name of ["a", "b"]) sim.host(name);
   * sim.crash("a");
   * sim.crash("b");
   * sim.note("nobody is left");
   * assertEquals(
   *   sim.trace({ hosts: ["b"], packets: false }),
   *   "     0.000 b crashes\n     0.000 nobody is left\n",
   * );
   * ```
   */
  trace(which: number | TraceOptions = Infinity): string {
    const { trace } = this.#simulator;
    if (typeof which === "number") return trace.text(which);
    checkOptions(which, TRACE_OPTIONS);
    for (const name of which.hosts ?? []) this.#hostNamed(name);
    const lines = trace.select(which, [...this.#hosts.keys()]);
    return lines.map((line) => `${line}\n`).join("");
  }

  /**
   * A sequence diagram of the run, as a page of HTML that loads nothing else:
   * hosts are lanes, messages are arrows (also lost, late and resetting ones),
   * crashes and partitions are bands. A browser finds, filters and zooms in it.
   *
   * @param which Which events, as for {@linkcode SimNetwork.trace}.
   * @throws {TypeError} If an option is wrong, or there is no such host.
   *
   * @example A picture of what has happened
   * ```ts
   * import { SimNetwork } from "@asyncore/asyncore/testing";
   *
   * const sim = new SimNetwork();
   * sim.host("a");
   * sim.crash("a");
   * const page = sim.diagram(); // Deno.writeTextFileSync("a.html", page)
   * ```
   */
  diagram(which: TraceOptions = {}): string {
    checkOptions(which, TRACE_OPTIONS);
    for (const name of which.hosts ?? []) this.#hostNamed(name);
    const names = [...this.#hosts.keys()];
    const data = collect(this.#simulator.trace, names, which, this.now);
    return drawDiagram(data, `Seed ${this.seed}`);
  }

  /**
   * What the clients of this run called and were told, for
   * {@linkcode assertLinearizable}: empty, until the scenario records something.
   */
  history(): History {
    return this.#history;
  }

  /** How many events the trace has. */
  get eventCount(): number {
    return this.#simulator.trace.length;
  }

  /**
   * Adds a line to the trace: for what the scenario itself does.
   *
   * @param text What happened.
   */
  note(text: string): void {
    this.#simulator.note(text);
  }
}
