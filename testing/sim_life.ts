/**
 * What a crash takes with it: the program of a simulated host, from a start to
 * a crash.
 *
 * @module
 */

import type { Network } from "../core/network.ts";
import { REACTOR } from "../core/symbols.ts";
import { SocketMap } from "../loop.ts";
import { Sequence } from "./dice.ts";
import type { Escape } from "./escapes.ts";
import type { HostContext } from "./host_context.ts";
import type { SimAcceptor } from "./sim_acceptor.ts";
import { SimClock, type Timeline } from "./sim_clock.ts";
import { type Exchange, networkOf, type Station } from "./sim_connect.ts";
import { SimDisk } from "./sim_disk.ts";
import { portable } from "./trace.ts";

/** What the hosts know of their simulation. */
export interface SimWorld extends Exchange, Timeline {
  /** An error that nobody on a host handled: the run ends with it. */
  onError(host: string, error: unknown): void;
  /** Something does not depend on the seed alone: the run ends, by this error. */
  onEscape(host: string, escape: Escape): Error;
  /** Time stands still until `promise` settles. */
  hold(promise: Promise<unknown>): void;
}

/** The machine that a program runs on. */
export interface Machine {
  readonly name: string;
  readonly number: number;
  readonly hostname: string;
  /** How its clock differs from the simulated time. */
  readonly clockError: { offset: number; rate: number };
  /** What is on its disk. */
  readonly stored: Map<string, unknown>;
  /** It has power; counts how often it was switched on. */
  isOn: boolean;
  boots: number;
}

/** One life of a host. */
export class HostLife implements Station, HostContext {
  readonly map: SocketMap;
  readonly disk: SimDisk;
  readonly listeners: Map<string, SimAcceptor> = new Map();
  readonly channels: Set<{ close(): void }> = new Set();
  readonly random: () => number;
  readonly name: string;
  readonly number: number;
  readonly hostname: string;
  isAlive = true;
  readonly #world: SimWorld;
  readonly #machine: Machine;
  readonly #boot: number;
  readonly #clock: SimClock;
  readonly #nextPort: () => number;

  /** `lives` counts them, this one included. */
  constructor(
    world: SimWorld,
    machine: Machine,
    lives: number,
    nextPort: () => number,
  ) {
    const { name, number, hostname, clockError, boots } = machine;
    this.name = name;
    this.number = number;
    this.hostname = hostname;
    this.#world = world;
    this.#machine = machine;
    this.#boot = boots;
    this.#nextPort = nextPort;
    this.#clock = new SimClock(world, clockError, () => this.isAlive);
    this.random = new Sequence(world.fate.dice, `${name} ${lives}`).next;
    this.disk = new SimDisk(world, machine, () => this.isAlive);
    const network: Network = networkOf(world, this);
    const log = (line: string) => {
      if (this.isAlive) world.note(`${name}: ${portable(line)}`);
    };
    this.map = new SocketMap({
      network,
      clock: this.#clock,
      logger: { debug: log, info: log, warn: log, error: log },
      onError: (error) => this.onError(error),
    });
  }

  get hasSystem(): boolean {
    return this.#machine.isOn && this.#machine.boots === this.#boot;
  }
  get isReachable(): boolean {
    return this.#machine.isOn;
  }
  now(): number {
    return this.#clock.now();
  }
  nextPort(): number {
    return this.#nextPort();
  }
  onError(error: unknown): void {
    if (this.isAlive) this.#world.onError(this.name, error);
  }
  onEscape(escape: Escape): Error {
    return this.#world.onEscape(this.name, escape);
  }
  hold(promise: Promise<unknown>): void {
    this.#world.hold(promise);
  }

  /**
   * Makes the passes of the loop, until the program does so itself: with
   * `loop()` or `poll()`.
   */
  async drive(): Promise<void> {
    const reactor = this.map[REACTOR];
    try {
      while (this.isAlive && !reactor.isRunning) {
        await reactor.passAsGuest(Infinity, false);
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
    // A pass that is under way dispatches nothing more; there is no next one,
    // for this life's clock does not go on.
    const reactor = this.map[REACTOR];
    for (const entry of reactor.members.values()) {
      entry.joined = false;
      reactor.predicates.remove(entry);
    }
    reactor.timers.clear();
  }
}
