/**
 * The disk of a simulated host: {@linkcode SimDisk}.
 *
 * @module
 */

import { corruptValue } from "./corrupt.ts";
import type { DiskStore } from "./disk_store.ts";
import { SimFiles } from "./sim_files.ts";

/**
 * The disk of a simulated host: values by name. A crash of the program keeps
 * all that was written, a power failure only what `sync()` has made safe, and
 * what {@linkcode Faults.syncTorn} and the like keep besides.
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
  /** The files of the disk, beside its values. */
  readonly files: SimFiles;
  readonly #store: DiskStore;
  readonly #isAlive: () => boolean;

  /**
   * Made by its host, once for each process.
   *
   * @param store The disk of the machine.
   * @param isAlive Whether the process still runs.
   */
  constructor(store: DiskStore, isAlive: () => boolean) {
    this.#store = store;
    this.#isAlive = isAlive;
    this.files = new SimFiles(store, isAlive);
  }

  /** The names, in the order in which they were first written. */
  keys(): IterableIterator<string> {
    return this.#store.values.current.keys();
  }

  /**
   * Reads.
   *
   * @param name What to read.
   * @returns A copy of the value; `undefined` if there is none.
   */
  get(name: string): unknown {
    const value = structuredClone(this.#store.values.current.get(name));
    if (!this.#isAlive()) return value;
    const corruption = this.#store.drawCorruption(name);
    return corruption === null ? value : corruptValue(value, corruption);
  }

  /**
   * Writes.
   *
   * @param name What to write.
   * @param value The value, which is copied; `undefined` removes it.
   * @throws {DOMException} If the value cannot be copied, as a function cannot.
   * @throws {Error} If the disk is full: `code` is `"ENOSPC"`.
   */
  set(name: string, value: unknown): void {
    const copy = structuredClone(value);
    if (!this.#isAlive()) return;
    if (value !== undefined) this.#store.takeSpace(name);
    this.#store.values.set(name, copy);
  }

  /**
   * Makes all values that were written so far safe from a power failure. It
   * takes some simulated milliseconds. A failure in between loses all of it, or
   * leaves a part: see {@linkcode Faults.syncTorn}.
   *
   * @throws {Error} If it fails, by {@linkcode Faults.syncFail}: `code` is
   * `"EIO"`. Nobody knows then which of the values are safe, and a later `sync()`
   * does not write them again.
   */
  sync(): Promise<void> {
    return this.#store.sync(this.#store.values, this.#isAlive);
  }
}
