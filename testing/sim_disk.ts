/**
 * The disk of a simulated host: {@linkcode SimDisk}.
 *
 * @module
 */

import type { Simulation } from "./simulation.ts";

/**
 * How long `sync()` takes, in simulated ms. A message and its answer take 2 to
 * 40 by default: a sync that was forgotten shows by either order of the two.
 */
const MIN_SYNC = 1;
const MAX_SYNC = 10;
/** Keeps these random numbers apart from all others. */
const SYNC_TIME = 0x51c;

/** A host, as far as its disk needs it. */
export interface DiskHost {
  readonly name: string;
  readonly number: number;
  /** The values that would be there after a power failure. */
  readonly stored: Map<string, unknown>;
}

/**
 * The disk of a simulated host: values by name. A crash of the program keeps
 * all that was written, a power failure only what `sync()` has made safe.
 *
 * @example A record that outlives a power failure
 * ```ts
 * import { SimNetwork } from "@asyncore/asyncore/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const sim = new SimNetwork();
 * const found: unknown[] = [];
 * sim.host("server", async ({ disk }) => {
 *   found.push(disk.get("safe"), disk.get("unsafe"));
 *   disk.set("safe", "spam");
 *   await disk.sync();
 *   disk.set("unsafe", "eggs");
 * });
 * await sim.run();
 * sim.crash("server");
 * sim.restart("server");
 * await sim.run();
 * assertEquals(found, [undefined, undefined, "spam", undefined]);
 * ```
 */
export class SimDisk {
  readonly #simulation: Simulation;
  readonly #host: DiskHost;
  readonly #isAlive: () => boolean;
  readonly #values: Map<string, unknown>;
  /** The keys whose values `sync()` has still to make safe. */
  #changed = new Set<string>();
  #syncs = 0;
  #syncedAt = 0;

  /** Made by its host, once for each process. */
  constructor(
    simulation: Simulation,
    host: DiskHost,
    isAlive: () => boolean,
  ) {
    this.#simulation = simulation;
    this.#host = host;
    this.#isAlive = isAlive;
    this.#values = new Map(host.stored);
  }

  /** The names, in the order in which they were first written. */
  keys(): IterableIterator<string> {
    return this.#values.keys();
  }

  /**
   * Reads.
   *
   * @param name What to read.
   * @returns A copy of the value; `undefined` if there is none.
   */
  get(name: string): unknown {
    return structuredClone(this.#values.get(name));
  }

  /**
   * Writes.
   *
   * @param name What to write.
   * @param value The value, which is copied; `undefined` removes it.
   * @throws {DOMException} If the value cannot be copied, as a function cannot.
   */
  set(name: string, value: unknown): void {
    this.#changed.add(name);
    if (value === undefined) this.#values.delete(name);
    else this.#values.set(name, structuredClone(value));
  }

  /**
   * Makes all that was written so far safe from a power failure. It takes
   * some simulated milliseconds; a failure in between loses all of it.
   */
  sync(): Promise<void> {
    const changes = this.#take();
    const nth = ++this.#syncs;
    const { rng } = this.#simulation.faultPlan;
    const { number, name } = this.#host;
    const time = rng.between(MIN_SYNC, MAX_SYNC, SYNC_TIME, number, nth);
    const { now } = this.#simulation;
    // In order: an older value must not come last.
    this.#syncedAt = Math.max(this.#syncedAt, now + time);
    return new Promise((resolve) => {
      this.#simulation.after(this.#syncedAt - now, () => {
        if (!this.#isAlive()) return;
        this.#simulation.note(`${name} has synced ${changes.size} values`);
        this.#store(changes);
        resolve();
      });
    });
  }

  /** The program ends, the system generation: it writes all to the disk. */
  flush(): void {
    this.#store(this.#values);
    for (const name of this.#host.stored.keys()) {
      if (!this.#values.has(name)) this.#host.stored.delete(name);
    }
  }

  #take(): Map<string, unknown> {
    const names = [...this.#changed];
    this.#changed = new Set();
    return new Map(names.map((name) => [name, this.#values.get(name)]));
  }

  #store(values: Map<string, unknown>): void {
    const { stored } = this.#host;
    for (const [name, value] of values) {
      if (value === undefined) stored.delete(name);
      else stored.set(name, value);
    }
  }
}
