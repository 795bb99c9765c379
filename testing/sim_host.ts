/**
 * A simulated host: {@linkcode SimHost} as the scenario sees it, and
 * {@linkcode Host} behind it.
 *
 * @module
 */

import { checkOptions, type OptionNames } from "../core/option_names.ts";
import type { SocketMap } from "../loop.ts";
import { DiskStore } from "./disk_store.ts";
import { drawKind } from "./fault_plan.ts";
import { hostContext } from "./host_context.ts";
import type { Fabric } from "./sim_connect.ts";
import type { SimDisk } from "./sim_disk.ts";
import { isolateHosts } from "./sim_globals.ts";
import { SimPorts } from "./sim_ports.ts";
import { type Machine, SimProcess } from "./sim_process.ts";

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
  process?: boolean | undefined;
}

const CRASH_OPTIONS: OptionNames<CrashOptions> = { process: true };

/** A host of a simulated network: `SimNetwork.host()` makes it. */
export interface SimHost {
  /** The others connect to it by this name. */
  readonly name: string;
  /** Its address, which does as well. */
  readonly hostname: string;
  /** The map of its dispatchers; after a crash, another one. */
  readonly map: SocketMap;
  /** Its disk: what outlives a crash. */
  readonly disk: SimDisk;
  /** Whether its program runs. */
  readonly isUp: boolean;
  /**
   * Runs `program` on the host: dispatchers that name no map join the host's,
   * and clocks and random numbers are the host's own.
   *
   * @param program What to run, now.
   * @returns What the program returns.
   */
  run<T>(program: () => T): T;
  /**
   * Ends the program of the host, in the middle of whatever it does.
   *
   * @param options Whether the power fails, or only the program ends.
   */
  crash(options?: CrashOptions): void;
  /**
   * Starts the host again, with an empty map.
   *
   * @param program What to run on it; by default, what it was made with.
   */
  restart(program?: ((host: SimHost) => unknown) | null): void;
}

/** A host: a machine, and the process that runs on it. */
export class Host implements SimHost {
  readonly #fabric: Fabric;
  readonly #machine: Machine;
  readonly #program: ((host: SimHost) => unknown) | null;
  /** The process that runs, or ran last. */
  #process: SimProcess;
  #generation = 0;
  readonly #ports = new SimPorts();

  constructor(
    fabric: Fabric,
    name: string,
    number: number,
    program: ((host: SimHost) => unknown) | null,
  ) {
    const { faultPlan } = fabric;
    const { skew, drift } = faultPlan.faults;
    this.#fabric = fabric;
    this.#program = program;
    this.#machine = {
      name,
      number,
      hostname: `10.0.${number >> 8}.${number & 255}`,
      clockError: {
        offset: faultPlan.between(0, skew, SKEW, number),
        rate: 1 + faultPlan.between(-drift, drift, DRIFT, number),
      },
      disk: new DiskStore(fabric, { name, number }),
      isOn: true,
      boots: 1,
    };
    this.#process = this.#nextProcess();
  }

  #nextProcess(): SimProcess {
    return new SimProcess(
      this.#fabric,
      this.#machine,
      ++this.#generation,
      this.#ports,
    );
  }

  get name(): string {
    return this.#machine.name;
  }
  get number(): number {
    return this.#machine.number;
  }
  get hostname(): string {
    return this.#machine.hostname;
  }
  get process(): SimProcess {
    return this.#process;
  }
  get map(): SocketMap {
    return this.#process.map;
  }
  get disk(): SimDisk {
    return this.#process.disk;
  }
  get isUp(): boolean {
    return this.#process.isAlive;
  }
  /** It has a program to start again with. */
  get isRestartable(): boolean {
    return this.#program !== null;
  }

  run<T>(program: () => T): T {
    // Also outside of a run of the network, the real world is out of reach.
    const restore = isolateHosts();
    try {
      return hostContext.run(this.#process, program);
    } finally {
      restore();
    }
  }

  /** Starts the loop and the program. */
  start(program: ((host: SimHost) => unknown) | null = this.#program): void {
    const process = this.#process;
    this.run(() => {
      void process.drive();
      const result = program?.(this);
      if (!(result instanceof Promise)) return;
      result.catch((error) => process.onError(error));
    });
  }

  crash(options: CrashOptions = {}): void {
    checkOptions(options, CRASH_OPTIONS);
    const { process: isProcess = false } = options;
    const process = this.#process;
    const machine = this.#machine;
    if (isProcess ? !process.isAlive : !machine.isOn) return;
    this.#fabric.note(`${this.name} ${isProcess ? "is killed" : "crashes"}`);
    if (isProcess) {
      for (const acceptor of [...process.listeners.values()]) acceptor.close();
      for (const channel of [...process.channels]) channel.exit();
      machine.disk.killed();
    } else {
      machine.isOn = false;
      machine.disk.powerFails();
      this.#ports.clear();
    }
    process.end();
  }

  restart(program: ((host: SimHost) => unknown) | null = null): void {
    if (this.isUp) this.crash();
    if (!this.#machine.isOn) {
      this.#machine.isOn = true;
      this.#machine.boots++;
    }
    this.#fabric.note(`${this.name} starts`);
    this.#process = this.#nextProcess();
    this.start(program ?? this.#program);
  }
}
