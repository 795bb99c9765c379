/**
 * What a simulated connection needs of its surroundings: the line it runs over,
 * and the lives of the hosts at its ends.
 *
 * @module
 */

import type { Plan } from "./agenda.ts";
import type { Fate } from "./faults.ts";
import type { Slab } from "./slab.ts";

/** What carries packets. */
export interface Wire {
  readonly fate: Fate;
  /** Where copies of what is sent lie. */
  readonly slab: Slab;
  /** The simulated time, in ms. */
  readonly now: number;
  /** Runs `callback` after `delay` ms. */
  after(delay: number, callback: () => void): Plan;
  /** How long a piece takes from one host to another, in ms. */
  delay(from: Life, to: Life, bytes: number, key: number, nth: number): number;
  /** Whether nothing gets from one host to another. */
  isCut(from: Life, to: Life): boolean;
  /** Writes down what happened, perhaps to so many bytes. */
  note(text: string, bytes?: number): void;
}

/** One life of a host's program, from a start to a crash. */
export interface Life {
  /** The name of the host. */
  readonly name: string;
  /** The number of the host. */
  readonly number: number;
  /** Its address. */
  readonly hostname: string;
  /** The program runs. */
  readonly isAlive: boolean;
  /** The system that it runs or ran on has had power ever since. */
  readonly hasSystem: boolean;
  /** The host has power now, perhaps in a later life. */
  readonly isReachable: boolean;
  /** Its connections that are open. */
  readonly channels: Set<{ close(): void }>;
}
