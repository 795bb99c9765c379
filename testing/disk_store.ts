/**
 * The disk of a simulated machine, which outlives its programs:
 * {@linkcode DiskStore}.
 *
 * @module
 */

import { type Change, DiskJournal, type SyncTarget } from "./disk_journal.ts";
import { FileNode, FolderNode } from "./disk_nodes.ts";
import { DiskValues } from "./disk_values.ts";
import { drawKind } from "./fault_plan.ts";
import { systemError } from "./system_error.ts";
import { hashText } from "./rng.ts";
import type { Simulation } from "./simulation.ts";

/**
 * How long an operation on a file takes, in simulated ms, but for `sync()`. The
 * value is a choice: a call to the cache of Linux on another thread takes as long.
 */
const OPERATION_TIME = 0.02;

const SYNC_TIME = drawKind("sync time");
const SYNC_STALL = drawKind("syncStall");
const SYNC_STALL_TIME = drawKind("sync stall time");
const SYNC_FAIL = drawKind("syncFail");
const SYNC_TORN = drawKind("syncTorn");
const SYNC_PART = drawKind("part of sync");
const EARLY = drawKind("diskEarly");
const EARLY_PART = drawKind("part of disk");
const REORDER = drawKind("diskReorder");
const REORDER_PART = drawKind("parts out of order");
const REORDER_LENGTH = drawKind("length without bytes");
const LAZY = drawKind("diskLazy");
const FULL = drawKind("diskFull");
const FULL_PART = drawKind("part of write");
const FULL_TIME = drawKind("disk full time");
const CORRUPT = drawKind("diskCorrupt");
const CORRUPT_PART = drawKind("corrupt part");

/** A `sync()` that is under way. */
interface Sync {
  readonly target: SyncTarget;
  /** The position in the journal up to which it makes safe what there is. */
  readonly end: number;
  /** The name of the target in faults: the host, and the path. */
  readonly where: string;
  readonly key: number;
  /** Counts those of `where`. */
  readonly nth: number;
}

/** A machine, as far as its disk needs it. */
export interface DiskHost {
  readonly name: string;
  readonly number: number;
}

/** The disk of a machine: what is safe, what is not yet, and its faults. */
export class DiskStore {
  readonly journal: DiskJournal = new DiskJournal();
  readonly values: DiskValues = new DiskValues(this.journal);
  readonly root: FolderNode = new FolderNode(this.journal, "/");
  readonly #simulation: Simulation;
  readonly #host: DiskHost;
  readonly #syncs = new Set<Sync>();
  /** When the last `sync()` of each target is done. */
  readonly #syncedAt = new Map<SyncTarget, number>();
  /** How often each kind of thing has happened where. */
  readonly #counts = new Map<string, number>();
  /** Counts power failures: what was under way before is over. */
  #failures = 0;
  #kills = 0;
  #fullUntil = 0;

  constructor(simulation: Simulation, host: DiskHost) {
    this.#simulation = simulation;
    this.#host = host;
  }

  /**
   * Makes safe what was written to a target so far.
   *
   * @param isAlive Whether the program that asks for it still runs.
   */
  sync(target: SyncTarget, isAlive: () => boolean): Promise<void> {
    const simulation = this.#simulation;
    const where = this.#nameOf(target.path);
    const sync: Sync = {
      target,
      end: this.journal.end,
      where,
      key: hashText(where),
      nth: this.#count(`sync ${where}`),
    };
    const failures = this.#failures;
    this.#syncs.add(sync);
    // In order: a program that awaits the later one has both.
    const done = Math.max(
      this.#syncedAt.get(target) ?? 0,
      simulation.now + this.#syncTime(sync),
    );
    this.#syncedAt.set(target, done);
    return new Promise((resolve, reject) => {
      simulation.after(done - simulation.now, () => {
        if (failures !== this.#failures) return;
        const error = this.#endSync(sync);
        if (!isAlive()) return;
        if (error === null) resolve();
        else reject(error);
      });
    });
  }

  #syncTime({ where, key, nth }: Sync): number {
    const { faultPlan } = this.#simulation;
    const { syncStall, syncStallTime } = faultPlan.faults;
    const [least, most] = this.#simulation.syncLatency;
    const time = faultPlan.between(least, most, SYNC_TIME, key, nth);
    if (!faultPlan.injects(SYNC_STALL, syncStall, where, key, nth)) return time;
    return time +
      faultPlan.between(0, syncStallTime, SYNC_STALL_TIME, key, nth);
  }

  #endSync(sync: Sync): Error | null {
    const { faultPlan } = this.#simulation;
    const { target, end, where, key, nth } = sync;
    this.#syncs.delete(sync);
    const changes = this.journal.of(target, end);
    const { syncFail } = faultPlan.faults;
    if (faultPlan.injects(SYNC_FAIL, syncFail, where, key, nth)) {
      // It may have come to any point.
      const most = faultPlan.upTo(changes.length + 1, SYNC_PART, key, nth) - 1;
      this.journal.settle(changes, changes.slice(0, most));
      return systemError("EIO");
    }
    this.journal.settle(changes, changes);
    const count = new Set(changes.map(({ part }) => part)).size;
    const what = target.path === "" ? `${count} values` : target.path;
    this.#simulation.note(`${this.#host.name} has synced ${what}`);
    return null;
  }

  /** A program was killed: the system goes on, and writes back what it left. */
  killed(): void {
    const { faultPlan } = this.#simulation;
    const { name, number } = this.#host;
    const changes = this.journal.all();
    const nth = ++this.#kills;
    const { diskLazy } = faultPlan.faults;
    if (changes.length === 0) return;
    if (faultPlan.injects(LAZY, diskLazy, name, number, nth)) return;
    this.journal.settle(changes, changes);
  }

  /** Loses what is not safe, but for what the faults keep of it. */
  powerFails(): void {
    const { name } = this.#host;
    const changes = this.journal.all();
    // Its time names a power failure, also where others are left out.
    const nth = Math.floor(this.#simulation.now);
    const kept = new Set([
      ...[...this.#syncs].flatMap((sync) => this.#torn(sync, nth)),
      ...this.#early(nth),
      ...this.#reorder(nth),
    ]);
    this.#failures++;
    this.#syncs.clear();
    this.#syncedAt.clear();
    if (changes.length > 0) {
      const lost = changes.length - kept.size;
      this.#simulation.note(
        `${name} loses ${lost} of ${changes.length} writes`,
      );
    }
    this.journal.settle(changes, kept);
    this.values.restore();
    this.root.restore();
  }

  /** The first writes of a sync that a power failure breaks off. */
  #torn({ target, end, where, key }: Sync, nth: number): Change[] {
    const { faultPlan } = this.#simulation;
    const { syncTorn } = faultPlan.faults;
    const changes = this.journal.of(target, end);
    if (changes.length === 0) return [];
    if (!faultPlan.injects(SYNC_TORN, syncTorn, where, key, nth)) return [];
    return changes.slice(
      0,
      faultPlan.upTo(changes.length, SYNC_PART, key, nth),
    );
  }

  /** The first of all writes, which the system made before it was told to. */
  #early(nth: number): readonly Change[] {
    const { faultPlan } = this.#simulation;
    const { name, number } = this.#host;
    const changes = this.journal.all();
    const { diskEarly } = faultPlan.faults;
    if (changes.length === 0) return [];
    if (!faultPlan.injects(EARLY, diskEarly, name, number, nth)) return [];
    return changes.slice(
      0,
      faultPlan.upTo(changes.length, EARLY_PART, number, nth),
    );
  }

  /** Stores some lengths without bytes; returns some parts, each of some moment. */
  #reorder(nth: number): Change[] {
    const { faultPlan } = this.#simulation;
    const { name, number } = this.#host;
    const changes = this.journal.all();
    const { diskReorder } = faultPlan.faults;
    if (changes.length === 0) return [];
    if (!faultPlan.injects(REORDER, diskReorder, name, number, nth)) return [];
    for (const target of new Set(changes.flatMap(({ targets }) => targets))) {
      const key = hashText(this.#nameOf(target.path));
      const isLengthened = faultPlan.upTo(2, REORDER_LENGTH, key, nth) === 1;
      if (target instanceof FileNode && isLengthened) target.storeLength();
    }
    const parts = Map.groupBy(
      changes,
      ({ targets, part }) => `${this.#nameOf(targets[0]!.path)} ${part}`,
    );
    return [...parts].flatMap(([where, versions]) => {
      const key = hashText(where);
      const count = versions.length + 1;
      const most = faultPlan.upTo(count, REORDER_PART, key, nth) - 1;
      return versions.slice(0, most);
    });
  }

  // Operations of programs

  /**
   * Does something with the disk's files. It takes a moment, as a thread of the
   * system does it.
   *
   * @param isAlive Whether the program that asks for it still runs.
   */
  later<T>(isAlive: () => boolean, work: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#simulation.after(OPERATION_TIME, () => {
        if (!isAlive()) return;
        try {
          resolve(work());
        } catch (error) {
          reject(error);
        }
      });
    });
  }

  /**
   * Takes space for what a write adds.
   *
   * @param path What is to be written.
   * @param bytes How much.
   * @returns For how much of it there is space, 1 or more.
   * @throws {Error} If the disk is full.
   */
  takeSpace(path: string, bytes: number = 1): number {
    const { faultPlan, now } = this.#simulation;
    const { diskFull, outage } = faultPlan.faults;
    if (diskFull === 0) return bytes;
    if (now >= this.#fullUntil) {
      const where = this.#nameOf(path);
      const key = hashText(where);
      const nth = this.#count(`write ${where}`);
      if (!faultPlan.injects(FULL, diskFull, where, key, nth)) return bytes;
      const time = faultPlan.between(0, outage, FULL_TIME, key, nth);
      this.#fullUntil = now + time;
      const taken = faultPlan.upTo(bytes, FULL_PART, key, nth) - 1;
      if (taken > 0) return taken;
    }
    throw systemError("ENOSPC");
  }

  /**
   * Draws whether a read goes wrong.
   *
   * @param path What is read.
   * @returns A random number that says how; `null` if the read is right.
   */
  drawCorruption(path: string): number | null {
    const { faultPlan } = this.#simulation;
    const { diskCorrupt } = faultPlan.faults;
    if (diskCorrupt === 0) return null;
    const where = this.#nameOf(path);
    const key = hashText(where);
    const nth = this.#count(`read ${where}`);
    if (!faultPlan.injects(CORRUPT, diskCorrupt, where, key, nth)) return null;
    return faultPlan.upTo(2 ** 31, CORRUPT_PART, key, nth);
  }

  #nameOf(path: string): string {
    const { name } = this.#host;
    return path === "" ? name : `${name}:${path}`;
  }

  #count(what: string): number {
    const count = (this.#counts.get(what) ?? 0) + 1;
    this.#counts.set(what, count);
    return count;
  }
}
