/**
 * The engine of a simulation: {@linkcode Simulator}.
 *
 * It takes the next event of its `EventQueue`, moves the time there, runs it,
 * and lets the promises react. A `Host` runs one `SimProcess` at a time, with a
 * `SocketMap` of its own, whose clock is a `SimClock`, and whose network makes
 * a connection by a `Handshake` (`sim_connect.ts`): two `SimChannel`s, and a
 * `Pipe` each way between them. Whether something fails, and how late it is,
 * the `FaultPlan` draws from the seed; everything is noted in the `Trace`.
 *
 * @module
 */

import { describeError } from "../core/log.ts";
import type { SocketMap } from "../loop.ts";
import { EventQueue, type ScheduledEvent } from "./event_queue.ts";
import type { Escape } from "./escape_group.ts";
import { Draws } from "./draws.ts";
import { drawKind, FaultPlan } from "./fault_plan.ts";
import type { AllFaults } from "./faults.ts";
import type { HostContext } from "./host_context.ts";
import {
  injectOutages,
  OUTAGE_INTERVAL,
  type OutageSimulation,
} from "./outages.ts";
import { Partitions, routeOf } from "./partitions.ts";
import { nameKey } from "./sim_address.ts";
import type { Fabric } from "./sim_connect.ts";
import type { Host } from "./sim_host.ts";
import type { SimProcess } from "./sim_process.ts";
import type { Decode } from "./packet.ts";
import type { Process } from "./simulation.ts";
import { Slab } from "./slab.ts";
import { SimulationError } from "./simulation_error.ts";
import { Trace, type TraceEvent } from "./trace.ts";

/**
 * How many microtasks an event gets before the next one at its time. A turn of
 * the runtime would let every reaction finish first, but takes 2.7 µs, and four
 * microtasks 0.4 µs. Before the time moves on, all reactions do finish.
 */
const MICROTASKS_PER_EVENT = 4;
const LATENCY = drawKind("latency");
/** The latency from a host to itself, in ms: a real one has 0.02 to 0.1. */
const LOOPBACK = 0.05;

// The real one: a simulated host's would be noticed.
const { setImmediate } = globalThis;

/** Waits until all that can happen without the passing of time has happened. */
function settle(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}

/** The name under which a network shows its simulator to this folder. */
export const SIMULATOR: unique symbol = Symbol("simulator");

/** The settings that a {@linkcode Simulator} begins with. */
export interface SimulatorOptions {
  seed: number;
  latency: readonly [least: number, most: number];
  syncLatency: readonly [least: number, most: number];
  bandwidth: number;
  mtu: number;
  faults: AllFaults;
  only: ReadonlySet<string> | null;
  traceLimit: number;
  decode: Decode | null;
  hasDetails: boolean;
}

/** Time, which jumps from one event to the next; hosts, faults, and the trace. */
export class Simulator implements Fabric, OutageSimulation {
  readonly seed: number;
  readonly mtu: number;
  readonly faultPlan: FaultPlan;
  readonly slab: Slab = new Slab();
  readonly #eventQueue = new EventQueue();
  readonly partitions: Partitions = new Partitions();
  readonly hosts: Host[] = [];
  readonly trace: Trace;
  readonly decode: Decode | null;
  readonly hasDetails: boolean;
  /** The times and random numbers that programs got. */
  readonly draws: Draws = new Draws();
  /** The scenario's own random numbers. */
  readonly random: () => number;
  now = 0;
  readonly #options: SimulatorOptions;
  /** Hosts by name and by address. */
  readonly #hostsByName = new Map<string, Host>();
  /** When each route is free, with a limited bandwidth. */
  readonly #freeAt = new Map<number, number>();
  #nextDraw = OUTAGE_INTERVAL;
  #connections = 0;
  /** How many promises hold the time. */
  #held = 0;
  #problem: SimulationError | null = null;

  constructor(options: SimulatorOptions) {
    this.#options = options;
    this.seed = options.seed;
    this.trace = new Trace(options.traceLimit);
    this.decode = options.decode;
    this.hasDetails = options.hasDetails;
    this.mtu = options.mtu;
    this.faultPlan = new FaultPlan(options.seed, options.faults, {
      only: options.only,
      now: () => this.now,
      note: (fault) => this.trace.add(this.now, fault),
    });
    this.random = this.faultPlan.rng.stream("scenario");
  }

  add(host: Host): void {
    this.hosts.push(host);
    this.#hostsByName.set(nameKey(host.name), host);
    this.#hostsByName.set(host.hostname, host);
  }

  find(name: string): SimProcess | undefined {
    return this.#hostsByName.get(nameKey(name))?.process;
  }

  /** Ends all hosts; the trace does not tell. */
  end(): void {
    for (const { process } of this.hosts) process.end();
  }

  // Time

  /** Runs until `until` is true, nothing is left to happen, or it is `end`. */
  async run(until: (() => boolean) | undefined, end: number): Promise<void> {
    await this.#remember();
    for (;;) {
      if (this.#problem) throw this.#takeProblem();
      if (until?.()) return;
      if (this.#eventQueue.nextTime > this.now) {
        await this.#remember();
        if (this.#eventQueue.nextTime <= this.now) continue;
        if (!this.#advance(until, end)) return;
      } else {
        while (this.#held > 0) await settle();
        this.#eventQueue.runNext();
        if (this.#eventQueue.nextTime > this.now) continue;
        for (let i = 0; i < MICROTASKS_PER_EVENT; i++) await undefined;
      }
    }
  }

  async #remember(): Promise<void> {
    do await settle(); while (this.#held > 0);
  }

  /** Moves the time to the next event; returns whether to go on. */
  #advance(until: (() => boolean) | undefined, end: number): boolean {
    if (this.#problem || until?.()) return true;
    const nextTime = this.#eventQueue.nextTime;
    const next = Math.min(nextTime, this.#nextOutage());
    if (next <= end && next < Infinity) {
      this.now = next;
      if (next === this.#nextDraw) this.#drawOutages();
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

  /** When outages are drawn again; never, if nothing else is to happen. */
  #nextOutage(): number {
    const { crash, partition } = this.faultPlan.faults;
    const isCalm = crash === 0 && partition === 0;
    if (isCalm || this.#eventQueue.nextTime === Infinity) return Infinity;
    // While nothing was to happen, none were drawn.
    const next = OUTAGE_INTERVAL * (Math.floor(this.now / OUTAGE_INTERVAL) + 1);
    this.#nextDraw = Math.max(this.#nextDraw, next);
    return this.#nextDraw;
  }

  #drawOutages(): void {
    injectOutages(this, this.#nextDraw / OUTAGE_INTERVAL);
    this.#nextDraw += OUTAGE_INTERVAL;
  }

  get syncLatency(): readonly [least: number, most: number] {
    return this.#options.syncLatency;
  }

  after(delay: number, callback: () => void): ScheduledEvent {
    return this.#eventQueue.schedule(this.now + delay, callback);
  }

  hold(promise: Promise<unknown>): void {
    this.#held++;
    const release = () => void this.#held--;
    promise.then(release, release);
  }

  // Errors

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

  /** A promise of some host or the scenario was rejected, and nobody handles it. */
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

  drew(host: string, value: number): void {
    this.draws.add(host, value);
  }

  // The network

  note(event: TraceEvent): void {
    this.trace.add(this.now, event);
  }

  delay(
    from: Process,
    to: Process,
    bytes: number,
    key: number,
    nth: number,
  ): number {
    if (from.number === to.number) return LOOPBACK;
    const { latency: [least, most], bandwidth } = this.#options;
    const latency = this.faultPlan.between(least, most, LATENCY, key, nth);
    if (bandwidth === Infinity) return latency;
    const route = routeOf(from.number, to.number);
    const start = Math.max(this.now, this.#freeAt.get(route) ?? 0);
    const end = start + bytes * 1_000 / bandwidth;
    this.#freeAt.set(route, end);
    return end - this.now + latency;
  }

  isUnreachable(from: Process, to: Process): boolean {
    return !to.isHostOn ||
      this.partitions.isPartitioned(from.number, to.number);
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
      identity: null,
      now: () => this.now,
      random: this.random,
      drew: (value) => this.drew("the scenario", value),
      // Whatever it holds itself, it holds until it ends.
      keep: () => {},
      // Before and after a run it may wait for what it likes.
      onEscape: (escape) =>
        escape.inScenario ? this.onEscape("The scenario", escape) : null,
      hold: (promise) => this.hold(promise),
    };
  }
}
