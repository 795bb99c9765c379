/**
 * A simulated host, for the scenario: {@linkcode SimHost}.
 *
 * @module
 */

import type { SocketMap } from "../loop.ts";
import { drawKind } from "./fault_plan.ts";
import { hostContext } from "./host_context.ts";
import type { SimDisk } from "./sim_disk.ts";
import { isolateHosts } from "./sim_globals.ts";
import type { Fabric } from "./sim_connect.ts";
import { type Machine, SimProcess } from "./sim_process.ts";

const FIRST_EPHEMERAL_PORT = 32_768;
const LAST_PORT = 65_535;
const SKEW = drawKind("skew");
const DRIFT = drawKind("drift");

/** Options of {@linkcode SimHost.crash}. */
export interface CrashOptions {
  /**
   * Whether only the program ends, and the kernel lives: it then closes the
   * connections, refuses new ones, and keeps what was written to the disk.
   * Otherwise the power fails.
   *
   * @default {false}
   */
  process?: boolean;
}

/** A program of a host. */
export type HostProgram = (host: SimHost) => unknown;

/** Makes a host, for the network. */
export let makeHost: (
  fabric: Fabric,
  name: string,
  number: number,
  start: HostProgram | null,
) => SimHost;
/** The process that runs on a host, or ran last. */
export let processOf: (host: SimHost) => SimProcess;
/** Whether a host knows how to start again. */
export let isRestartable: (host: SimHost) => boolean;
/** Starts the loop and the program of a host that was just made. */
export let beginHost: (host: SimHost) => void;
/** Ends the process of a host; its peers hear nothing of it. */
export let endHost: (host: SimHost) => void;

/** A host of a simulated network: `SimNetwork.host()` makes it. */
export class SimHost {
  static {
    makeHost = (...args) => new SimHost(...args);
    processOf = (host) => host.#process;
    isRestartable = (host) => host.#start !== null;
    beginHost = (host) => host.#begin(host.#start);
    endHost = (host) => host.#process.end();
  }

  /** By this name the others connect to it. */
  readonly name: string;
  /** Its address, which does as well. */
  readonly hostname: string;
  readonly #fabric: Fabric;
  readonly #machine: Machine;
  readonly #start: HostProgram | null;
  #process: SimProcess;
  #generation = 0;
  #ports = FIRST_EPHEMERAL_PORT;

  private constructor(
    fabric: Fabric,
    name: string,
    number: number,
    start: HostProgram | null,
  ) {
    const { faultPlan } = fabric;
    const { skew, drift } = faultPlan.faults;
    this.#fabric = fabric;
    this.name = name;
    this.hostname = `10.0.${number >> 8}.${number & 255}`;
    this.#start = start;
    this.#machine = {
      name,
      number,
      hostname: this.hostname,
      clockError: {
        offset: faultPlan.between(0, skew, SKEW, number),
        rate: 1 + faultPlan.between(-drift, drift, DRIFT, number),
      },
      stored: new Map(),
      isOn: true,
      boots: 1,
    };
    this.#process = this.#startProcess();
  }

  #startProcess(): SimProcess {
    return new SimProcess(
      this.#fabric,
      this.#machine,
      ++this.#generation,
      () => this.#nextPort(),
    );
  }

  /** Counts on over all processes: an old peer must not meet a new connection. */
  #nextPort(): number {
    const port = this.#ports++;
    if (port === LAST_PORT) this.#ports = FIRST_EPHEMERAL_PORT;
    return port;
  }

  /** The map of its dispatchers; after a crash, another one. */
  get map(): SocketMap {
    return this.#process.map;
  }

  /** Its disk: what outlives a crash. */
  get disk(): SimDisk {
    return this.#process.disk;
  }

  /** Whether its program runs. */
  get isUp(): boolean {
    return this.#process.isAlive;
  }

  /**
   * Runs `program` on the host: dispatchers that name no map join the host's,
   * and clocks and random numbers are the host's own.
   *
   * @param program What to run, now.
   * @returns What the program returns.
   */
  run<T>(program: () => T): T {
    // Also outside of a run of the network, the real world is out of reach.
    const restore = isolateHosts();
    try {
      return hostContext.run(this.#process, program);
    } finally {
      restore();
    }
  }

  #begin(program: HostProgram | null): void {
    const process = this.#process;
    this.run(() => {
      void process.drive();
      const result = program?.(this);
      if (!(result instanceof Promise)) return;
      result.catch((error) => process.onError(error));
    });
  }

  /**
   * Ends the program of the host, in the middle of whatever it does.
   *
   * @param options Whether the power fails, or only the program ends.
   */
  crash({ process = false }: CrashOptions = {}): void {
    const running = this.#process;
    const machine = this.#machine;
    if (process ? !running.isAlive : !machine.isOn) return;
    this.#fabric.note(`${this.name} ${process ? "is killed" : "crashes"}`);
    if (process) {
      for (const acceptor of [...running.listeners.values()]) acceptor.close();
      for (const channel of [...running.channels]) channel.close();
      running.disk.flush();
    } else machine.isOn = false;
    running.end();
  }

  /**
   * Starts the host again, with an empty map.
   *
   * @param program What to run on it; by default, what it was made with.
   */
  restart(program: ((host: SimHost) => unknown) | null = null): void {
    if (this.isUp) this.crash();
    if (!this.#machine.isOn) {
      this.#machine.isOn = true;
      this.#machine.boots++;
    }
    this.#fabric.note(`${this.name} starts`);
    this.#process = this.#startProcess();
    this.#begin(program ?? this.#start);
  }
}
