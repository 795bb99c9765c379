/**
 * Groups of calls that escape from a simulation, and the advice for each.
 *
 * @module
 */

/** A call that escapes. */
export interface Escape {
  /** The call as a program has it: `fetch()`, `new Worker()`. */
  readonly call: string;
  /** The replacement to use, as the end of a sentence. */
  readonly instead: string;
  /**
   * It is refused to the scenario as well, which may use files and sockets
   * before and after a run: it waits for real time, or draws random numbers.
   */
  readonly inScenario: boolean;
}

/** Functions, classes and values of one object, with the same advice. */
export interface Group {
  readonly owner: object | undefined;
  readonly prefix: string;
  /** Which of them; without it, all functions. */
  readonly names?: readonly string[];
  /** These are none, although the object has them. */
  readonly except?: readonly string[];
  readonly instead: string;
  readonly inScenario?: boolean;
  /** The module of Node that exports them. */
  readonly module?: string;
}

export const words = (text: string): string[] => text.split(/\s+/);

/** Advice for what waits for real time. */
export const TIMERS =
  "use callLater() or callEvery() of a dispatcher or its map, " +
  "which follow the simulated time";
export const SOCKETS = "use the sockets of a dispatcher, whose map has the " +
  "simulated network";
export const FILES = "use the disk of the host, or read the file before the " +
  "simulation and keep what it says in memory";
export const OUTSIDE = "do without it, or give the program a stand-in for it";
export const SURROUNDINGS =
  "ask before the simulation, and give the program the " +
  "answer";
export const CLOCKS = "use performance.now(), which follows the simulated time";
export const EXIT = "let the scenario crash the host with { process: true }";
export const RANDOM =
  "use crypto.getRandomValues() or Math.random(), which follow " +
  "the seed";
/** Advice for what draws random numbers on its own. */
export const KEYS =
  "make keys before the simulation, and encrypt and sign with " +
  "AES, HMAC, Ed25519 or RSASSA-PKCS1-v1_5, which need no random numbers";
export const THREADS = "use the function whose name ends in Sync";
