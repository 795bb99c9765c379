/**
 * The faults of simulated disks.
 *
 * @module
 */

/** How likely each fault of a disk is: chances from 0 to 1, by default 0. */
export interface DiskFaults {
  /** The chance that a `sync()` is late, by up to {@linkcode DiskFaults.syncStallTime}. */
  syncStall?: number | undefined;
  /**
   * How late a stalled `sync()` may be, in simulated milliseconds.
   *
   * @default {2_000}
   */
  syncStallTime?: number | undefined;
  /**
   * The chance that a power failure in the midst of a `sync()` leaves a part of
   * what it was to make safe: the first writes, in order.
   */
  syncTorn?: number | undefined;
  /**
   * The chance that a power failure leaves a part of what was written and not
   * synced, too: the first writes, in order. A system writes before it is told to.
   */
  diskEarly?: number | undefined;
  /**
   * The chance that a power failure leaves any part of what was not safe, out of
   * order: later values without earlier ones, pages without those before them,
   * the new length of a file without its bytes.
   */
  diskReorder?: number | undefined;
  /**
   * The chance that the system has not yet written back what a killed program has
   * left behind: the next program reads it, and a power failure still takes it.
   */
  diskLazy?: number | undefined;
  /**
   * The chance that a `sync()` fails. As on Linux, what it was to make safe can
   * still be read, and no later `sync()` writes it again.
   */
  syncFail?: number | undefined;
  /**
   * The chance that a write finds the disk full. It stays so for up to
   * {@linkcode Faults.outage}.
   */
  diskFull?: number | undefined;
  /** The chance that a read gives something else than what was written. */
  diskCorrupt?: number | undefined;
}

/** Of a disk that holds what POSIX promises: what a crash-safe program survives. */
const MILD: DiskFaults = { syncStall: 0.01, syncTorn: 0.2 };
const HARSH: DiskFaults = { syncStall: 0.02, syncTorn: 0.5, diskEarly: 0.2 };
/** Of a disk that fails: what many programs do not promise to survive. */
const CRUEL: DiskFaults = {
  ...HARSH,
  diskReorder: 0.3,
  diskLazy: 0.5,
  syncFail: 0.005,
  diskFull: 0.001,
  diskCorrupt: 0.002,
};

/** The faults of disks at each level. The values are a choice. */
export const DISK_LEVELS: Readonly<
  Record<"mild" | "harsh" | "cruel", DiskFaults>
> = { mild: MILD, harsh: HARSH, cruel: CRUEL };

/** A number for each kind of fault of a disk. */
export const NO_DISK_FAULTS: Record<keyof DiskFaults, number> = {
  syncStall: 0,
  syncStallTime: 2_000,
  syncTorn: 0,
  diskEarly: 0,
  diskReorder: 0,
  diskLazy: 0,
  syncFail: 0,
  diskFull: 0,
  diskCorrupt: 0,
};
