/**
 * The engine of a simulation and its parts, as the other parts see them.
 *
 * @module
 */

import type { Escape } from "./escape_group.ts";
import type { ScheduledEvent } from "./event_queue.ts";
import type { FaultPlan } from "./fault_plan.ts";
import type { Slab } from "./slab.ts";

/** The engine: time, faults and the trace. */
export interface Simulation {
  readonly faultPlan: FaultPlan;
  /** The simulated time, in ms. */
  readonly now: number;
  /** How long a `sync()` of a disk takes, in ms. */
  readonly syncLatency: readonly [least: number, most: number];
  /** Runs `callback` after `delay` ms. */
  after(delay: number, callback: () => void): ScheduledEvent;
  /** The time stands still until `promise` settles. */
  hold(promise: Promise<unknown>): void;
  /** A host's program got this time or random number. */
  drew(host: string, value: number): void;
  /** Adds an event to the trace, perhaps of so many bytes. */
  note(text: string, bytes?: number): void;
  /** An error that nobody on a host handled: the run ends with it. */
  onError(host: string, error: unknown): void;
  /** Something does not depend on the seed alone: the run ends, by this error. */
  onEscape(host: string, escape: Escape): Error;
}

/** The carrier of packets from host to host. */
export interface Wire extends Simulation {
  /** Where copies of what is sent lie. */
  readonly slab: Slab;
  /** How long a packet takes from one host to another, in ms. */
  delay(
    from: Process,
    to: Process,
    bytes: number,
    key: number,
    nth: number,
  ): number;
  /** Whether a partition or a lost host keeps packets from arriving. */
  isUnreachable(from: Process, to: Process): boolean;
}

/** One run of a host's program, from a start to a crash. */
export interface Process {
  /** The name of the host. */
  readonly name: string;
  /** The number of the host. */
  readonly number: number;
  /** The address of the host. */
  readonly hostname: string;
  /** The program runs. */
  readonly isAlive: boolean;
  /** The host has had power since the program started: its kernel still acts. */
  readonly hasKernel: boolean;
  /** The host has power now, perhaps for a later process. */
  readonly isHostOn: boolean;
  /** Its connections that are open. */
  readonly channels: Set<{ exit(): void }>;
}
