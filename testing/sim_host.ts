/**
 * A simulated host, for the scenario: {@linkcode SimHost}.
 *
 * @module
 */

import type { SocketMap } from "../loop.ts";
import { kindOf } from "./faults.ts";
import { hostContext } from "./host_context.ts";
import type { SimDisk } from "./sim_disk.ts";
import { isolateHosts } from "./sim_globals.ts";
import { HostLife, type Machine, type SimWorld } from "./sim_life.ts";

const FIRST_EPHEMERAL_PORT = 32_768;
const LAST_PORT = 65_535;
const SKEW = kindOf("skew");
const DRIFT = kindOf("drift");

/** Options of {@linkcode SimHost.crash}. */
export interface CrashOptions {
  /**
   * Whether only the program ends, and the system lives: it then closes the
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
  world: SimWorld,
  name: string,
  number: number,
  start: HostProgram | null,
) => SimHost;
/** The life of a host that goes on now, or was the last. */
export let lifeOf: (host: SimHost) => HostLife;
/** Whether a host knows how to start again. */
export let isRestartable: (host: SimHost) => boolean;
/** Starts the loop and the program of a host that was just made. */
export let beginHost: (host: SimHost) => void;
/** Ends the life of a host; nobody hears of it. */
export let endHost: (host: SimHost) => void;

/** A host of a simulated network: `SimNetwork.host()` makes it. */
export class SimHost {
  static {
    makeHost = (...args) => new SimHost(...args);
    lifeOf = (host) => host.#life;
    isRestartable = (host) => host.#start !== null;
    beginHost = (host) => host.#begin(host.#start);
    endHost = (host) => host.#life.end();
  }

  /** By this name the others connect to it. */
  readonly name: string;
  /** Its address, which does as well. */
  readonly hostname: string;
  readonly #world: SimWorld;
  readonly #machine: Machine;
  readonly #start: HostProgram | null;
  #life: HostLife;
  #lives = 0;
  #ports = FIRST_EPHEMERAL_PORT;

  private constructor(
    world: SimWorld,
    name: string,
    number: number,
    start: HostProgram | null,
  ) {
    const { fate } = world;
    const { skew, drift } = fate.faults;
    this.#world = world;
    this.name = name;
    this.hostname = `10.0.${number >> 8}.${number & 255}`;
    this.#start = start;
    this.#machine = {
      name,
      number,
      hostname: this.hostname,
      clockError: {
        offset: fate.between(0, skew, SKEW, number),
        rate: 1 + fate.between(-drift, drift, DRIFT, number),
      },
      stored: new Map(),
      isOn: true,
      boots: 1,
    };
    this.#life = this.#live();
  }

  #live(): HostLife {
    return new HostLife(
      this.#world,
      this.#machine,
      ++this.#lives,
      () => this.#nextPort(),
    );
  }

  /** Also in its next life a host takes another port than before. */
  #nextPort(): number {
    const port = this.#ports++;
    if (port === LAST_PORT) this.#ports = FIRST_EPHEMERAL_PORT;
    return port;
  }

  /** The map of its dispatchers; after a crash, another one. */
  get map(): SocketMap {
    return this.#life.map;
  }

  /** Its disk: what outlives a crash. */
  get disk(): SimDisk {
    return this.#life.disk;
  }

  /** Whether its program runs. */
  get isUp(): boolean {
    return this.#life.isAlive;
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
      return hostContext.run(this.#life, program);
    } finally {
      restore();
    }
  }

  #begin(program: HostProgram | null): void {
    const life = this.#life;
    this.run(() => {
      void life.drive();
      const result = program?.(this);
      if (!(result instanceof Promise)) return;
      result.catch((error) => life.onError(error));
    });
  }

  /**
   * Ends the life of the host, in the middle of whatever it does.
   *
   * @param options Whether the power fails, or only the program ends.
   */
  crash({ process = false }: CrashOptions = {}): void {
    const life = this.#life;
    const machine = this.#machine;
    if (process ? !life.isAlive : !machine.isOn) return;
    this.#world.note(`${this.name} ${process ? "is killed" : "crashes"}`);
    if (process) {
      for (const acceptor of [...life.listeners.values()]) acceptor.close();
      for (const channel of [...life.channels]) channel.close();
      life.disk.flush();
    } else machine.isOn = false;
    life.end();
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
    this.#world.note(`${this.name} starts`);
    this.#life = this.#live();
    this.#begin(program ?? this.#start);
  }
}
