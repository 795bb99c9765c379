/**
 * A program that runs on a simulated host: {@linkcode SimProcess}.
 *
 * @module
 */

import type { Network } from "../core/network.ts";
import { REACTOR } from "../core/symbols.ts";
import { SocketMap } from "../loop.ts";
import type { Escape } from "./escape_group.ts";
import type { DiskStore } from "./disk_store.ts";
import type { HostContext } from "./host_context.ts";
import type { SimAcceptor } from "./sim_acceptor.ts";
import { SimClock } from "./sim_clock.ts";
import { type Fabric, type NetStack, networkOf } from "./sim_connect.ts";
import { listenDatagram } from "./sim_datagrams.ts";
import { describeClockError, recordDetails } from "./sim_details.ts";
import { SimDisk } from "./sim_disk.ts";
import type { SimPorts } from "./sim_ports.ts";
import { portable } from "./trace.ts";

/** A process id tells by its thousands which host it is of. */
const PIDS_PER_HOST = 1_000;

/** The machine that a program runs on. */
export interface Machine {
  readonly name: string;
  readonly number: number;
  readonly hostname: string;
  /** How its clock differs from the simulated time. */
  readonly clockError: { offset: number; rate: number };
  readonly disk: DiskStore;
  /** It has power; counts how often it was switched on. */
  isOn: boolean;
  boots: number;
}

/** One run of a host's program, from a start to a crash, and its resources. */
export class SimProcess implements NetStack, HostContext {
  readonly map: SocketMap;
  readonly disk: SimDisk;
  readonly listeners: Map<string, SimAcceptor> = new Map();
  readonly channels: Set<{ exit(): void }> = new Set();
  readonly random: () => number;
  readonly name: string;
  readonly number: number;
  readonly hostname: string;
  readonly ports: SimPorts;
  readonly identity: { name: string; pid: number };
  isAlive = true;
  /** Objects that no run may see collected. */
  readonly #kept: unknown[] = [];
  readonly #fabric: Fabric;
  readonly #machine: Machine;
  readonly #boot: number;
  readonly #clock: SimClock;

  /** `generation` counts the processes of the host, this one included. */
  constructor(
    fabric: Fabric,
    machine: Machine,
    generation: number,
    ports: SimPorts,
  ) {
    const { name, number, hostname, clockError, boots } = machine;
    this.name = name;
    this.number = number;
    this.hostname = hostname;
    this.identity = { name, pid: number * PIDS_PER_HOST + generation };
    this.#fabric = fabric;
    this.#machine = machine;
    this.#boot = boots;
    this.ports = ports;
    this.#clock = new SimClock(fabric, clockError, () => this.isAlive);
    this.random = fabric.faultPlan.rng.stream(`${name} ${generation}`);
    this.disk = new SimDisk(machine.disk, () => this.isAlive);
    const network: Network = {
      ...networkOf(fabric, this),
      listenDatagram: (address, options) =>
        listenDatagram(fabric, this, address, options),
    };
    const log = (line: string) => {
      if (this.isAlive) fabric.note(`${name}: ${portable(line)}`);
    };
    this.map = new SocketMap({
      network,
      clock: this.#clock,
      logger: { debug: log, info: log, warn: log, error: log },
      onError: (error) => this.onError(error),
    });
    if (fabric.hasDetails) this.#recordDetails(clockError);
  }

  #recordDetails(clockError: { offset: number; rate: number }): void {
    const error = describeClockError(clockError);
    if (error) this.#fabric.note(`${this.name} clock is ${error}`);
    recordDetails(this.map, (text) => {
      if (this.isAlive) this.#fabric.note(`${this.name} ${text}`);
    });
  }

  get hasKernel(): boolean {
    return this.#machine.isOn && this.#machine.boots === this.#boot;
  }
  get isHostOn(): boolean {
    return this.#machine.isOn;
  }
  now(): number {
    return this.#clock.now();
  }
  onError(error: unknown): void {
    if (this.isAlive) this.#fabric.onError(this.name, error);
  }
  onEscape(escape: Escape): Error {
    return this.#fabric.onEscape(this.name, escape);
  }
  drew(value: number): void {
    this.#fabric.drew(this.name, value);
  }
  keep(target: unknown): void {
    this.#kept.push(target);
  }
  hold(promise: Promise<unknown>): void {
    this.#fabric.hold(promise);
  }

  /**
   * Makes the passes of the loop, until the program does so itself: with
   * `loop()` or `poll()`.
   */
  async drive(): Promise<void> {
    const reactor = this.map[REACTOR];
    try {
      while (this.isAlive && !reactor.isRunning) {
        await reactor.passForShutdown(Infinity, false);
      }
    } catch (error) {
      // An ExitNow has left the loop, and nobody drives it any more.
      this.onError(error);
    }
  }

  /** Ends it, in the middle of whatever it does. */
  end(): void {
    if (!this.isAlive) return;
    this.isAlive = false;
    this.#kept.length = 0;
    // A pass that is under way dispatches nothing more; there is no next one,
    // for this process's clock does not go on.
    const reactor = this.map[REACTOR];
    for (const entry of reactor.members.values()) {
      entry.joined = false;
      reactor.predicates.remove(entry);
    }
    reactor.timers.clear();
  }
}
