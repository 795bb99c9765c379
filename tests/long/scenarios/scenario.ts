/**
 * Helpers of the scenarios: hosts whose log must not tell of a bug, the end of
 * a run, and bytes that tell where they belong.
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  Dispatcher,
  type Logger,
  shutdown,
  type ShutdownResult,
  type SocketMap,
} from "../../../mod.ts";
import {
  type Faults,
  type Scenario,
  type SimHost,
  type SimNetwork,
  type SimNetworkOptions,
  simulate,
  SimulationError,
} from "../../../testing/mod.ts";
import { pattern as patternOf } from "../../fakes.ts";

/** How many schedules of faults each scenario must stand. */
const SEEDS = 1_000;

/**
 * All that a network may do that breaks no connection. A program that causes a
 * reset loses by it what it can.
 */
export const SOUND: Faults = {
  split: 0.3,
  partial: 0.2,
  acceptDelay: 0.1,
  resetDiscards: 1,
};

/** What the network may do to anybody: no error of a program. */
const EXPLAINED = new RegExp([
  "Connection refused",
  "Connection timed out",
  "Connection reset",
  "failed to lookup address",
  "No connection within",
  "No TLS handshake within",
  "tls handshake eof",
].join("|"));

/** A test that runs a scenario over many seeds; the first that fails is named. */
export function testScenario(
  name: string,
  scenario: Scenario,
  network: Omit<SimNetworkOptions, "seed"> = {},
): void {
  Deno.test(name, async () => {
    await simulate({ seeds: SEEDS, faults: "harsh", ...network }, scenario);
  });
}

/** The places in a log line, which tell also of who has called the scenario. */
const PLACES = / \[[^\]|]*\|[^\]|]*\|\d+\]/g;

/** Writes into the trace; an error that no fault explains fails the run. */
export function strictLogger(sim: SimNetwork, name: string): Logger {
  const note = (line: string) =>
    sim.note(`${name}: ${line.replace(PLACES, "")}`);
  return {
    debug: note,
    info: note,
    warn: note,
    error: (line: string) => {
      note(line);
      if (!EXPLAINED.test(line)) throw new Error(line);
    },
  };
}

/** Makes a host with a strict log; at each start it runs `start`. */
export function addHost(
  sim: SimNetwork,
  name: string,
  start: (host: SimHost) => unknown = () => {},
): SimHost {
  return sim.host(name, (host) => {
    host.map.logger = strictLogger(sim, name);
    return start(host);
  });
}

/** A host that never crashes by chance. */
export function addSteadyHost(sim: SimNetwork, name: string): SimHost {
  const host = sim.host(name);
  host.map.logger = strictLogger(sim, name);
  return host;
}

/**
 * Ends a run: the faults end, each host shuts down, and of what there was
 * nothing must be left. Returns how the hosts ended.
 */
export async function endWell(
  sim: SimNetwork,
  deadline = 60_000,
): Promise<Map<string, ShutdownResult>> {
  sim.calm();
  await sim.run({ until: () => sim.hosts.every(({ isUp }) => isUp) });
  const results = new Map<string, ShutdownResult>();
  for (const host of sim.hosts) {
    host.run(async () => {
      results.set(host.name, await shutdown({ deadline }));
    });
  }
  await expectIdle(sim);
  for (const { name, map } of sim.hosts) {
    assert(results.has(name), `${name} has not ended`);
    assertEquals([...map].map(String), [], `${name} has dispatchers`);
    assertEquals(map.lingering, 0, `${name} is still sending`);
  }
  return results;
}

/** Runs until nothing is left to happen: no packet, no timer. */
async function expectIdle(sim: SimNetwork): Promise<void> {
  const error = await assertRejects(
    () => sim.run({ until: () => false, limit: 3_600_000 }),
    SimulationError,
  );
  const isIdle = error.message.startsWith("Nothing is left to happen");
  if (!isIdle) throw error;
}

/** A program of a host, from a start to a crash. */
export class HostRun {
  readonly #host: SimHost;
  readonly #map: SocketMap;

  constructor(host: SimHost) {
    this.#host = host;
    this.#map = host.map;
  }

  get isAlive(): boolean {
    return this.#host.isUp && this.#host.map === this.#map;
  }
}

/** Waits on a host, in simulated time, as for a disk: no loop is needed. */
export function sleep(host: SimHost, delay: number): Promise<void> {
  const { clock } = host.map;
  return new Promise((resolve) => void clock.setTimeout(resolve, delay));
}

/** A whole number from `least` to `most`. */
export function pick(sim: SimNetwork, least: number, most: number): number {
  return least + Math.floor(sim.random() * (most - least + 1));
}

/** One of these. */
export function pickOne<T>(sim: SimNetwork, list: readonly T[]): T {
  return list[pick(sim, 0, list.length - 1)]!;
}

const PATTERN_LENGTH = 512 * 1024;
const PATTERN = patternOf(PATTERN_LENGTH);

/** So many bytes of which each tells where it belongs. */
export function pattern(sim: SimNetwork, length: number): Uint8Array {
  const start = pick(sim, 0, PATTERN_LENGTH - length);
  return PATTERN.subarray(start, start + length);
}

/** Where two arrays of bytes begin to differ; -1 if they do not. */
export function findDifference(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return i;
  return a.length === b.length ? -1 : length;
}

type Serve = Dispatcher["handleAccepted"];

/** Listens on a port of the host it runs on, and makes something of clients. */
export class Listener extends Dispatcher {
  constructor(
    port: number,
    serve: Serve,
    options: Parameters<Dispatcher["createSocket"]>[0] = {},
  ) {
    super();
    this.handleAccepted = serve;
    this.createSocket(options);
    this.bind({ port });
    this.listen();
  }
}
