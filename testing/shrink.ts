/**
 * The smallest schedule of faults that still breaks a scenario:
 * {@linkcode shrink}.
 *
 * @module
 */

import { checkFunction, checkInteger } from "../core/arguments.ts";
import { checkOptions, type OptionNames } from "../core/option_names.ts";
import type { FaultEvent } from "./faults.ts";
import { NETWORK_OPTIONS, type SimNetworkOptions } from "./sim_network.ts";
import { type Run, runScenario, type Scenario } from "./simulate.ts";
import type { SimulationError } from "./simulation_error.ts";
import { formatTime } from "./trace.ts";

/** Options of {@linkcode shrink}. */
export interface ShrinkOptions extends SimNetworkOptions {
  /**
   * How many runs to spend.
   *
   * @default {500}
   */
  attempts?: number | undefined;
  /**
   * Gets the smallest schedule as text.
   *
   * @default {console.log}
   */
  print?: ((schedule: string) => void) | undefined;
}

const SHRINK_OPTIONS: OptionNames<ShrinkOptions> = {
  ...NETWORK_OPTIONS,
  attempts: true,
  print: true,
};

/** The smallest schedule that {@linkcode shrink} has found. */
export class ShrinkResult {
  /** The seed that fails. */
  readonly seed: number;
  /**
   * The faults that are left: without any one of them, the run succeeds, unless
   * the attempts did not suffice to find out. Their `id` is what the network's
   * `only` takes.
   */
  readonly faults: readonly FaultEvent[];
  /** How many there were at first. */
  readonly before: number;
  /** How many runs it took. */
  readonly attempts: number;
  /** The error of the smallest run; its `trace` tells how it came. */
  readonly error: SimulationError;

  /**
   * Made by {@linkcode shrink}.
   *
   * @param smallest The run with the fewest faults.
   * @param before How many faults there were at first.
   * @param attempts How many runs it took.
   */
  constructor(smallest: ShrinkResultRun, before: number, attempts: number) {
    this.seed = smallest.seed;
    this.faults = smallest.faults;
    this.error = smallest.error;
    this.before = before;
    this.attempts = attempts;
  }

  /** The schedule as text: a line for each fault, with its simulated time. */
  toString(): string {
    const { faults, before, attempts, seed } = this;
    const first = `Seed ${seed} fails with ${faults.length} of ${before} ` +
      `faults (${attempts} runs)`;
    const lines = faults.map(({ time, id }) => `${formatTime(time)} ${id}`);
    const error = this.error.message.split("\n", 1)[0];
    return [`${first}:`, ...lines, error].join("\n");
  }
}

/** The run that a {@linkcode ShrinkResult} tells of. */
export interface ShrinkResultRun {
  /** The seed. */
  readonly seed: number;
  /** The faults that happened. */
  readonly faults: readonly FaultEvent[];
  /** The error of the run. */
  readonly error: SimulationError;
}

/**
 * Takes faults out of a failing run as long as it still fails, and prints the
 * smallest schedule. Any failure counts: where a scenario can fail in two ways,
 * what is left may be the other one, so look at the error that is printed.
 *
 * @param options The network's, with the seed that fails, and the attempts.
 * @param scenario What was run.
 * @returns The smallest schedule of faults.
 * @throws {Error} If the seed does not fail.
 * @throws {TypeError | RangeError} If an option is wrong.
 *
 * @example Which of many faults breaks a client
 * ```ts
 * import { Dispatcher } from "@asyncore/asyncore";
 * import { shrink } from "@asyncore/asyncore/testing";
 * import { assertEquals } from "@std/assert";
 *
 * // Tries to connect once, and never again.
 * class Hasty extends Dispatcher {
 *   static connects = 0;
 *   override handleConnect() {
 *     Hasty.connects++;
 *   }
 * }
 *
 * const options = { seed: 4, faults: { refuse: 0.3, acceptDelay: 0.5 } };
 * const result = await shrink(options, async (sim) => {
 *   Hasty.connects = 0;
 *   sim.host("server", () => {
 *     const server = new Dispatcher();
 *     server.createSocket();
 *     server.bind({ port: 7 });
 *     server.listen();
 *   });
 *   for (const name of ["a", "b", "c", "d", "e", "f"]) {
 *     const client = sim.host(name).run(() => new Hasty());
 *     client.createSocket();
 *     client.connect({ hostname: "server", port: 7 });
 *   }
 *   await sim.run();
 *   assertEquals(Hasty.connects, 6);
 * });
 * assertEquals(result.faults.length, 1);
 * console.log(result.faults[0]!.id); // refuse #3, say
 * ```
 */
export async function shrink(
  options: ShrinkOptions,
  scenario: Scenario,
): Promise<ShrinkResult> {
  checkOptions(options, SHRINK_OPTIONS);
  checkFunction("scenario", scenario);
  const { attempts = 500, print = console.log, ...network } = options;
  checkInteger("attempts", attempts, 1);
  checkFunction("print", print);
  const shrinking = new Shrinking(network, scenario, attempts);
  const result = await shrinking.run();
  print(`${result}`);
  return result;
}

/** A run that failed. */
type Failure = Run & { readonly error: SimulationError };

/** Finds a small schedule by leaving out ever smaller parts (delta debugging). */
class Shrinking {
  readonly #network: SimNetworkOptions;
  readonly #scenario: Scenario;
  readonly #most: number;
  #attempts = 0;

  constructor(network: SimNetworkOptions, scenario: Scenario, most: number) {
    this.#network = network;
    this.#scenario = scenario;
    this.#most = most;
  }

  async run(): Promise<ShrinkResult> {
    const first = await this.#try(this.#network);
    if (first === null) {
      const { seed = 1 } = this.#network;
      throw new Error(`Cannot shrink: the run with seed ${seed} succeeds`);
    }
    // It may fail without any fault.
    let smallest = await this.#tryOnly([]) ?? first;
    let size = Math.ceil(smallest.faults.length / 2);
    while (size >= 1 && this.#attempts < this.#most) {
      const smaller = await this.#dropParts(smallest, size);
      smallest = smaller ?? smallest;
      // A part that was needed before may not be any more: once again.
      if (size > 1) size = Math.ceil(size / 2);
      else if (smaller === null) break;
    }
    return new ShrinkResult(smallest, first.faults.length, this.#attempts);
  }

  /** Tries to do without each part of `size` faults; `null` if none goes. */
  async #dropParts(failure: Failure, size: number): Promise<Failure | null> {
    let current = failure;
    for (let at = 0; at < current.faults.length;) {
      if (this.#attempts >= this.#most) break;
      const { faults } = current;
      const rest = [...faults.slice(0, at), ...faults.slice(at + size)];
      const smaller = await this.#tryOnly(rest);
      if (smaller === null) at += size;
      else current = smaller;
    }
    return current === failure ? null : current;
  }

  /** Runs with no other faults than these: how it fails, if it does. */
  #tryOnly(faults: readonly FaultEvent[]): Promise<Failure | null> {
    return this.#try({ ...this.#network, only: faults.map(({ id }) => id) });
  }

  async #try(network: SimNetworkOptions): Promise<Failure | null> {
    this.#attempts++;
    const run = await runScenario(network, this.#scenario);
    const { error } = run;
    return error === null ? null : { ...run, error };
  }
}
