/**
 * The engine of a simulation: time, which jumps from one event to the next, and
 * the record of what happened.
 *
 * @module
 */

import { describeError } from "../core/log.ts";
import type { SocketMap } from "../loop.ts";
import { Agenda, type Plan } from "./agenda.ts";
import { Sequence } from "./dice.ts";
import type { Escape } from "./escapes.ts";
import { Fate, type Faults, kindOf } from "./faults.ts";
import type { HostContext } from "./host_context.ts";
import { Cuts, MOST_HOSTS, strikeOutages, TICK } from "./outages.ts";
import { endHost, lifeOf, type SimHost } from "./sim_host.ts";
import type { HostLife, SimWorld } from "./sim_life.ts";
import type { Life } from "./sim_wire.ts";
import { Slab } from "./slab.ts";
import { SimulationError } from "./simulation_error.ts";
import { Trace } from "./trace.ts";

/** How many turns of the promises an event gets before the next at its time. */
const HOPS = 4;
const LATENCY = kindOf("latency");
/** A latency from a host to itself, in ms. */
const LOOPBACK = 0.05;

// The real one: a simulated host's would be noticed.
const { setImmediate } = globalThis;

/** Waits until all that can happen without the passing of time has happened. */
function settle(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}

/** What a {@linkcode World} begins with. */
export interface WorldOptions {
  seed: number;
  latency: readonly [least: number, most: number];
  bandwidth: number;
  faults: Required<Faults>;
  only: ReadonlySet<string> | null;
}

/** A simulation. */
export class World implements SimWorld {
  readonly seed: number;
  readonly fate: Fate;
  readonly slab: Slab = new Slab();
  readonly agenda: Agenda = new Agenda();
  readonly cuts: Cuts = new Cuts();
  readonly hosts: SimHost[] = [];
  readonly trace: Trace = new Trace();
  /** The scenario's own random numbers. */
  readonly random: () => number;
  now = 0;
  readonly #options: WorldOptions;
  /** Hosts by name and by address. */
  readonly #stations = new Map<string, SimHost>();
  /** When the line from one host to another is free, by both numbers. */
  readonly #freeAt = new Map<number, number>();
  #nextTick = TICK;
  #connections = 0;
  /** How many promises keep the time from passing. */
  #held = 0;
  #problem: SimulationError | null = null;

  constructor(options: WorldOptions) {
    this.#options = options;
    this.seed = options.seed;
    this.fate = new Fate(options.seed, options.faults, {
      only: options.only,
      now: () => this.now,
      note: (fault) => this.trace.add(this.now, fault),
    });
    this.random = new Sequence(this.fate.dice, "scenario").next;
  }

  add(host: SimHost): void {
    this.hosts.push(host);
    this.#stations.set(host.name, host);
    this.#stations.set(host.hostname, host);
  }

  find(name: string): HostLife | undefined {
    const host = this.#stations.get(name);
    return host && lifeOf(host);
  }

  /** Ends all hosts, without a word. */
  end(): void {
    for (const host of this.hosts) endHost(host);
  }

  // Time

  /** Runs until `until` is true, nothing is left to happen, or it is `end`. */
  async run(until: (() => boolean) | undefined, end: number): Promise<void> {
    await this.#settle();
    for (;;) {
      if (this.#problem) throw this.#takeProblem();
      if (until?.()) return;
      if (this.agenda.nextTime > this.now) {
        await this.#settle();
        if (this.agenda.nextTime <= this.now) continue;
        if (!this.#advance(until, end)) return;
      } else {
        while (this.#held > 0) await settle();
        this.agenda.take()!.run!();
        if (this.agenda.nextTime > this.now) continue;
        for (let i = 0; i < HOPS; i++) await undefined;
      }
    }
  }

  async #settle(): Promise<void> {
    do await settle(); while (this.#held > 0);
  }

  /** Lets the time jump; returns whether there is something left to do. */
  #advance(until: (() => boolean) | undefined, end: number): boolean {
    if (this.#problem || until?.()) return true;
    const nextTime = this.agenda.nextTime;
    const next = Math.min(nextTime, this.#nextOutage());
    if (next <= end && next < Infinity) {
      this.now = next;
      if (next === this.#nextTick) this.#tick();
      return true;
    }
    const isIdle = nextTime === Infinity;
    if (end < Infinity && !(until && isIdle)) this.now = end;
    if (!until) return false;
    throw this.#error(
      isIdle
        ? `Nothing is left to happen, and it is not true that ${until}`
        : `After ${this.now} simulated ms it is not true that ${until}`,
    );
  }

  /** When chance is asked again; never, if nothing else is to happen. */
  #nextOutage(): number {
    const { crash, partition } = this.fate.faults;
    const isCalm = crash === 0 && partition === 0;
    if (isCalm || this.agenda.nextTime === Infinity) return Infinity;
    // While nothing was to happen, it was not asked.
    const next = TICK * (Math.floor(this.now / TICK) + 1);
    this.#nextTick = Math.max(this.#nextTick, next);
    return this.#nextTick;
  }

  #tick(): void {
    strikeOutages(this, this.#nextTick / TICK);
    this.#nextTick += TICK;
  }

  after(delay: number, callback: () => void): Plan {
    return this.agenda.add(this.now + delay, callback);
  }

  hold(promise: Promise<unknown>): void {
    this.#held++;
    const release = () => void this.#held--;
    promise.then(release, release);
  }

  // What goes wrong

  #takeProblem(): SimulationError {
    const problem = this.#problem!;
    this.#problem = null;
    return problem;
  }

  #error(message: string, cause?: unknown): SimulationError {
    const trace = this.trace.snapshot();
    return new SimulationError(message, this.seed, trace, cause);
  }

  onError(host: string, error: unknown): void {
    this.note(`${host} error ${describeError(error)}`);
    this.#problem ??= this.#error(
      `Nobody handled an error on ${host}: ${describeError(error)}`,
      error,
    );
  }

  /** A promise was rejected, by whichever host, and nobody looks at it. */
  onRejection(reason: unknown): void {
    this.note(`unhandled rejection ${describeError(reason)}`);
    this.#problem ??= this.#error(
      `Nobody handled a promise that was rejected: ${describeError(reason)}`,
      reason,
    );
  }

  onEscape(host: string, { call, instead }: Escape): SimulationError {
    this.note(`${host} escape ${call}`);
    const error = this.#error(
      `${host} used ${call}, so the same seed would not give the same run: ` +
        instead,
    );
    this.#problem ??= error;
    return error;
  }

  // What happens

  note(text: string, bytes?: number): void {
    this.trace.add(this.now, text, bytes);
  }

  delay(from: Life, to: Life, bytes: number, key: number, nth: number): number {
    if (from.number === to.number) return LOOPBACK;
    const { latency: [least, most], bandwidth } = this.#options;
    const latency = this.fate.between(least, most, LATENCY, key, nth);
    if (bandwidth === Infinity) return latency;
    const line = from.number * MOST_HOSTS + to.number;
    const start = Math.max(this.now, this.#freeAt.get(line) ?? 0);
    const end = start + bytes * 1_000 / bandwidth;
    this.#freeAt.set(line, end);
    return end - this.now + latency;
  }

  isCut(from: Life, to: Life): boolean {
    return !to.isReachable || this.cuts.isCut(from.number, to.number);
  }

  nextConnection(): number {
    return ++this.#connections;
  }

  // The scenario, which is no host

  /** Where the scenario runs: with the seed's random numbers, and no map. */
  get context(): HostContext {
    return {
      get map(): SocketMap {
        throw new Error(
          "A scenario is no host: give the dispatcher the map of one, as in " +
            "{ map: host.map }, or make it inside host.run()",
        );
      },
      now: () => this.now,
      random: this.random,
      // Before and after a run it may wait for what it likes.
      onEscape: (escape) =>
        escape.isTimer ? this.onEscape("The scenario", escape) : null,
      hold: (promise) => this.hold(promise),
    };
  }
}
