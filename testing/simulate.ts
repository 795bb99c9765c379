/**
 * One scenario under many schedules of faults: {@linkcode simulate}.
 *
 * @module
 */

import { checkFunction, checkInteger, showValue } from "../core/arguments.ts";
import { describeError } from "../core/log.ts";
import { checkOptions, type OptionNames } from "../core/option_names.ts";
import type { Draws } from "./draws.ts";
import type { FaultEvent } from "./faults.ts";
import { hostContext } from "./host_context.ts";
import { importTraps, isolateHosts } from "./sim_globals.ts";
import {
  NETWORK_OPTIONS,
  SimNetwork,
  type SimNetworkOptions,
} from "./sim_network.ts";
import { SIMULATOR } from "./simulator.ts";
import { SimulationError } from "./simulation_error.ts";

/**
 * A test in a simulation: makes hosts, runs them and checks the outcome. It
 * fails by throwing.
 */
export type Scenario = (sim: SimNetwork) => void | Promise<void>;

/** Options of {@linkcode simulate}. */
export interface SimulateOptions extends Omit<SimNetworkOptions, "seed"> {
  /**
   * The seeds to try: a number n for 1 to n, or a list.
   *
   * @default {100}
   */
  seeds?: number | readonly number[] | undefined;
}

const { seed: _, ...COMMON_OPTIONS } = NETWORK_OPTIONS;
const SIMULATE_OPTIONS: OptionNames<SimulateOptions> = {
  ...COMMON_OPTIONS,
  seeds: true,
};

/** The sums over all runs of {@linkcode simulate}. */
export interface SimulateResult {
  /** How many seeds. */
  seeds: number;
  /** How many events there were in all. */
  events: number;
  /** How many faults. */
  faults: number;
  /** How long the hosts lived, in simulated milliseconds. */
  simulatedTime: number;
}

/** How many lines of the trace a message shows: a screen full. */
const TRACE_END = 30;

/**
 * Runs a scenario once for each seed. The first seed, and one that fails, is
 * run twice: if the two runs differ, or the times and random numbers that the
 * programs got, something in the scenario does not depend on the seed alone.
 *
 * @param options Which seeds, and the network's.
 * @param scenario What to run.
 * @returns The sums over all runs.
 * @throws {SimulationError} If a run fails, for the first seed whose run does:
 * the message names the seed and shows the end of the trace, `cause` is what
 * the scenario threw. If two runs of a seed differ.
 * @throws {TypeError | RangeError} If an option is wrong.
 *
 * @example A connection that stands a hundred bad networks
 * ```ts
 * import { DispatcherWithSend } from "@asyncore/asyncore";
 * import { simulate } from "@asyncore/asyncore/testing";
 * import { assertEquals } from "@std/assert";
 *
 * class Server extends DispatcherWithSend {
 *   static received = 0;
 *   override handleAccepted(conn: Deno.Conn) {
 *     new Server(conn);
 *   }
 *   override handleRead() {
 *     Server.received += this.recv().length;
 *   }
 * }
 *
 * const faults = { split: 0.5, stall: 0.05, partial: 0.2 };
 * await simulate({ seeds: 20, faults }, async (sim) => {
 *   Server.received = 0;
 *   sim.host("server", () => {
 *     const server = new Server();
 *     server.createSocket();
 *     server.bind({ port: 7 });
 *     server.listen();
 *   });
 *   const client = sim.host("client").run(() => new DispatcherWithSend());
 *   client.createSocket();
 *   client.connect({ hostname: "server", port: 7 });
 *   client.send(new Uint8Array(100_000));
 *   client.close();
 *   await sim.run();
 *   assertEquals(Server.received, 100_000);
 * });
 * ```
 */
export async function simulate(
  options: SimulateOptions,
  scenario: Scenario,
): Promise<SimulateResult> {
  checkOptions(options, SIMULATE_OPTIONS);
  checkFunction("scenario", scenario);
  const { seeds = 100, ...rest } = options;
  const list = seedsOf(seeds);
  // Once for all runs, not for each.
  const restore = isolateHosts();
  try {
    return await runSeeds(list, rest, scenario);
  } finally {
    restore();
  }
}

async function runSeeds(
  list: readonly number[],
  rest: SimNetworkOptions,
  scenario: Scenario,
): Promise<SimulateResult> {
  const result = { seeds: 0, events: 0, faults: 0, simulatedTime: 0 };
  for (const seed of list) {
    const isFirst = result.seeds === 0;
    const run = isFirst
      ? await runWatched({ ...rest, seed }, scenario)
      : await runScenario({ ...rest, seed }, scenario);
    if (run.error !== null || isFirst) {
      await compareRuns(run, { ...rest, seed }, scenario);
    }
    if (run.error !== null) throw run.error;
    result.seeds++;
    result.events += run.events;
    result.faults += run.faults.length;
    result.simulatedTime += run.time;
  }
  return result;
}

function seedsOf(seeds: number | readonly number[]): readonly number[] {
  if (typeof seeds === "number") {
    checkInteger("seeds", seeds, 1, Number.MAX_SAFE_INTEGER);
    return Array.from({ length: seeds }, (_, i) => i + 1);
  }
  if (Array.isArray(seeds) && seeds.length > 0) return seeds;
  throw new TypeError(
    `seeds must be a number or an array of numbers, got ${showValue(seeds)}`,
  );
}

/** One run, and how it ended. */
export interface Run {
  readonly seed: number;
  /** Why it failed; `null` if it did not. */
  readonly error: SimulationError | null;
  readonly faults: readonly FaultEvent[];
  readonly events: number;
  readonly time: number;
  readonly draws: Draws;
  readonly trace: () => string;
}

/** Runs a scenario once, and notices what it imported and should not call. */
async function runWatched(
  options: SimNetworkOptions,
  scenario: Scenario,
): Promise<Run> {
  const unwatch = await importTraps.acquire();
  try {
    return await runScenario(options, scenario);
  } finally {
    unwatch();
  }
}

/** Runs a scenario once. */
export async function runScenario(
  options: SimNetworkOptions,
  scenario: Scenario,
): Promise<Run> {
  const sim = new SimNetwork(options);
  let error: SimulationError | null = null;
  const restore = isolateHosts();
  try {
    await hostContext.run(sim[SIMULATOR].context, () => scenario(sim));
  } catch (thrown) {
    error = failureOf(sim, thrown);
  } finally {
    restore();
    sim.end();
  }
  const { seed, faultEvents, eventCount, now } = sim;
  return {
    seed,
    error,
    faults: faultEvents,
    events: eventCount,
    time: now,
    draws: sim[SIMULATOR].draws,
    trace: () => sim.trace(),
  };
}

function failureOf(sim: SimNetwork, error: unknown): SimulationError {
  const { seed } = sim;
  const message = `Seed ${seed}: ${describeError(error)}\n` +
    `The last of ${sim.eventCount} events, in simulated ms:\n` +
    `${sim.trace(TRACE_END)}Run it again with seeds: [${seed}]; find the ` +
    `faults that matter with shrink({ seed: ${seed}, … }, scenario)`;
  return new SimulationError(
    message,
    seed,
    sim[SIMULATOR].trace.snapshot(),
    error,
  );
}

/** Runs a seed again, and finds the first event that is another one. */
async function compareRuns(
  run: Run,
  options: SimNetworkOptions,
  scenario: Scenario,
): Promise<void> {
  const second = await runWatched(options, scenario);
  const trace = run.trace();
  const difference = differenceOf(run, second);
  if (difference === null) return;
  throw new SimulationError(
    `Seed ${run.seed} gave two different runs, so something does not depend ` +
      "on the seed alone: a variable that outlives the run, or something " +
      `real that is waited for. ${difference}`,
    run.seed,
    () => trace,
    run.error ?? second.error,
  );
}

/** How two runs differ; `null` if they do not. */
function differenceOf(run: Run, second: Run): string | null {
  const [trace, other] = [run.trace(), second.trace()];
  if (trace !== other) {
    const lines = trace.split("\n");
    const others = other.split("\n");
    let at = 0;
    while (lines[at] === others[at]) at++;
    return `Event ${at + 1} was\n${lines[at] || "missing"}\nand then\n` +
      `${others[at] || "missing"}`;
  }
  const isSame = run.time === second.time &&
    (run.error === null) === (second.error === null);
  if (isSame) return run.draws.differenceTo(second.draws);
  const ends = [run, second].map(({ error, time }) =>
    `${error ? "failed" : "succeeded"} after ${time} simulated ms`
  );
  return `One ${ends.join(", the other ")}`;
}
