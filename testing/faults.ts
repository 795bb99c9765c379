/**
 * Which faults a simulation may have, and how likely each is.
 *
 * @module
 */

import { showValue } from "../core/arguments.ts";
import { checkOptions, type OptionNames } from "../core/option_names.ts";
import { DISK_LEVELS, type DiskFaults, NO_DISK_FAULTS } from "./disk_faults.ts";

/**
 * How likely each kind of fault is. A chance is a number from 0 to 1, a rate
 * the average number of times in a simulated minute. By default both are 0.
 */
export interface Faults extends DiskFaults {
  /** The chance that a segment in flight resets its connection. */
  reset?: number | undefined;
  /** The chance that a segment is late, by up to {@linkcode Faults.stallTime}. */
  stall?: number | undefined;
  /**
   * How late a stalled segment may be, in simulated milliseconds.
   *
   * @default {5_000}
   */
  stallTime?: number | undefined;
  /** The chance that a write travels in several segments, or a read gets only a part. */
  split?: number | undefined;
  /** The chance that a write takes only a part of what it is given. */
  partial?: number | undefined;
  /** The chance that a connect is refused. */
  refuse?: number | undefined;
  /** The chance that a connect is never answered. */
  blackhole?: number | undefined;
  /** The chance that a name is not found, for the moment. */
  lookup?: number | undefined;
  /** The chance that a connection is accepted late, by up to a second. */
  acceptDelay?: number | undefined;
  /** The chance that a reset takes with it what has arrived and was not read. */
  resetDiscards?: number | undefined;
  /** The chance that a datagram, or one of its fragments, is lost. */
  datagramLoss?: number | undefined;
  /** The chance that a datagram arrives twice. */
  datagramDuplicate?: number | undefined;
  /**
   * The chance that a datagram is late, by up to {@linkcode Faults.stallTime},
   * and others pass it. Short times are as likely as long ones.
   */
  datagramReorder?: number | undefined;
  /** The chance that only the beginning of a datagram arrives. */
  datagramTruncate?: number | undefined;
  /** The chance that a datagram is lost because it travels in fragments. */
  fragmentLoss?: number | undefined;
  /**
   * The chance that the sender of a datagram for a port without a socket is told
   * so: its `handleError()` gets a `DatagramError`, as on Windows, and as with
   * the option `IP_RECVERR` on Linux. Otherwise it hears nothing, as by default
   * on Linux.
   */
  portUnreachable?: number | undefined;
  /** The rate of partitions of each pair of hosts, both ways or one way. */
  partition?: number | undefined;
  /** The rate of crashes of each host that was made with a program. */
  crash?: number | undefined;
  /**
   * How long a partition or a crash lasts at most, in simulated milliseconds.
   *
   * @default {10_000}
   */
  outage?: number | undefined;
  /** By how many milliseconds the clocks of hosts differ at most. */
  skew?: number | undefined;
  /** The largest speed error of a clock, as a fraction: 0.001 is 1 ms a second. */
  drift?: number | undefined;
}

/** A set of faults by its name. */
export type FaultLevel = "none" | "mild" | "harsh" | "cruel";

/** Every protocol over UDP survives these. Wi-Fi and mobile networks have them. */
const MILD_DATAGRAMS: Faults = {
  datagramLoss: 0.01,
  datagramDuplicate: 0.005,
  datagramReorder: 0.02,
  portUnreachable: 0.5,
};
const HARSH_DATAGRAMS: Faults = {
  datagramLoss: 0.1,
  datagramDuplicate: 0.05,
  datagramReorder: 0.1,
  fragmentLoss: 0.1,
  portUnreachable: 0.5,
};
const LEVELS: Record<FaultLevel, Faults> = {
  none: {},
  mild: {
    stall: 0.005,
    split: 0.2,
    partial: 0.05,
    acceptDelay: 0.05,
    ...MILD_DATAGRAMS,
    ...DISK_LEVELS.mild,
  },
  harsh: {
    ...HARSH_DATAGRAMS,
    reset: 0.001,
    stall: 0.01,
    split: 0.3,
    partial: 0.2,
    refuse: 0.02,
    blackhole: 0.01,
    lookup: 0.01,
    acceptDelay: 0.1,
    resetDiscards: 0.5,
    partition: 0.5,
    crash: 0.5,
    skew: 60_000,
    drift: 0.0005,
    ...DISK_LEVELS.harsh,
  },
  get cruel() {
    return { ...LEVELS.harsh, datagramTruncate: 0.01, ...DISK_LEVELS.cruel };
  },
};

const TIMES: readonly string[] = [
  "stallTime",
  "outage",
  "skew",
  "syncStallTime",
];
const RATES: readonly string[] = ["partition", "crash"];
/** A number for each kind of fault. */
export type AllFaults = Record<keyof Faults, number>;

const NO_FAULTS: AllFaults = {
  reset: 0,
  stall: 0,
  stallTime: 5_000,
  split: 0,
  partial: 0,
  refuse: 0,
  blackhole: 0,
  lookup: 0,
  acceptDelay: 0,
  resetDiscards: 0,
  datagramLoss: 0,
  datagramDuplicate: 0,
  datagramReorder: 0,
  datagramTruncate: 0,
  fragmentLoss: 0,
  portUnreachable: 0,
  partition: 0,
  crash: 0,
  outage: 10_000,
  skew: 0,
  drift: 0,
  ...NO_DISK_FAULTS,
};
const NAMES = Object.keys(NO_FAULTS) as (keyof Faults)[];
const FAULT_OPTIONS = Object.fromEntries(
  NAMES.map((name) => [name, true]),
) as OptionNames<Faults>;

/**
 * Makes a whole set of what a caller gave.
 *
 * @throws {TypeError} If it is neither a set nor the name of one.
 * @throws {RangeError} If a number is out of range.
 */
export function parseFaults(faults: Faults | FaultLevel): AllFaults {
  if (typeof faults === "string") {
    if (!Object.hasOwn(LEVELS, faults)) {
      throw new TypeError(
        `faults must be "none", "mild", "harsh", "cruel" or an object, got ${
          showValue(faults)
        }`,
      );
    }
    return parseFaults(LEVELS[faults]);
  }
  checkOptions(faults, FAULT_OPTIONS, "", "faults");
  const chosen = { ...NO_FAULTS };
  for (const name of NAMES) {
    const value = faults[name];
    if (value === undefined) continue;
    const most = TIMES.includes(name) || RATES.includes(name) ? Infinity : 1;
    if (!(value >= 0 && value <= most)) {
      const range = most === 1 ? "from 0 to 1" : "0 or more";
      throw new RangeError(`faults.${name} must be ${range}, got ${value}`);
    }
    chosen[name] = value;
  }
  return chosen;
}

/** A fault that happened. */
export interface FaultEvent {
  /** Its name, the same in every run with the same seed. */
  readonly id: string;
  /** When, in simulated ms. */
  readonly time: number;
}
