/**
 * Work that may hold a thread for long. Deno has 32 threads for files and the
 * lookup of names, and gives one to each read of a FIFO, a terminal or a device,
 * perhaps for ever, and to each lookup, until the resolver answers or gives up.
 *
 * @module
 */

import { systemClock } from "./clock.ts";

/**
 * How many threads reads and lookups may hold together. Of Deno's 32, eight are
 * left for files: more would leave fewer FIFOs and lookups, less could stop all
 * files where many reads and lookups hang.
 */
export const MOST_THREADS = 24;
/**
 * How many of them reads may hold. A FIFO may hold its thread for ever, so four
 * threads are left for lookups, which end.
 */
export const MOST_READS = 20;
/**
 * How many more lookups may begin where all before them were given up: the
 * resolver may answer again. Each trial that hangs takes one of the eight
 * threads for files until it is over.
 */
export const MOST_TRIALS = 4;
/**
 * A lookup counts as over after this many ms: the system's resolver gives up
 * then, with its default of two times five seconds for each of three servers,
 * and Deno does not tell when it does.
 */
export const LONGEST_LOOKUP = 30_000;

interface Lookup {
  /** From this time on it counts as over. */
  readonly until: number;
  /** Its caller has given up; the resolver may still be at it. */
  isGivenUp: boolean;
}

/** How many threads reads hold. */
let reads = 0;
/** The lookups that hold a thread; the oldest comes first. */
const lookups = new Set<Lookup>();
/** The reads and lookups that wait for a thread: each function begins one. */
const waitingReads = new Set<() => void>();
const waitingLookups = new Set<() => void>();
/** A warning has told that reads wait. */
let isTold = false;
/** Runs when the oldest lookup is over, while reads or lookups wait. */
let timer: unknown = undefined;

/**
 * Tells whether a read of `file` may wait for something other than a disk: a
 * FIFO, a terminal and the like have no position. `stat()` would need a
 * permission, and bring a prompt.
 */
export function mayBlock(file: object): boolean {
  if (file === Deno.stdin) return true;
  const { seekSync } = file as Partial<Deno.FsFile>;
  if (typeof seekSync !== "function") return false;
  try {
    seekSync.call(file, 0, Deno.SeekMode.Current);
    return false;
  } catch (error) {
    return !(error instanceof Deno.errors.BadResource); // It is closed.
  }
}

/**
 * Waits for a thread to read with.
 *
 * @param onWait Runs if there is none, and that has not been said yet.
 */
export function takeThread(onWait: () => void): Promise<void> | void {
  if (canRead()) reads++;
  else {
    if (!isTold) onWait();
    isTold = true;
    return new Promise((resolve) => {
      waitingReads.add(resolve);
      watchOldest();
    });
  }
}

/**
 * Gives the thread of a read back. Do not call it where the file was closed
 * during the read: the thread goes on waiting, and Deno does not tell until when.
 */
export function giveThread(): void {
  reads--;
  serve();
  if (reads < MOST_READS / 2) isTold = false;
}

/**
 * Runs `work`, which looks `hostname` up, when there is a thread for it. An IP
 * address needs none.
 *
 * @param signal Gives up the wait for a thread; `work` sees to itself.
 * @throws The signal's reason, or what `work` throws.
 */
export function lookUp<T>(
  hostname: string,
  work: () => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  return isAddress(hostname) ? work() : lookUpName(work, signal);
}

async function lookUpName<T>(
  work: () => Promise<T>,
  signal: AbortSignal | undefined,
): Promise<T> {
  signal?.throwIfAborted();
  const lookup = hasRoom() ? beginLookup() : await untilBegun(signal);
  try {
    return await work();
  } catch (error) {
    lookup.isGivenUp = signal?.aborted ?? false;
    throw error;
  } finally {
    if (!lookup.isGivenUp) endLookup(lookup);
    serve();
  }
}

function beginLookup(): Lookup {
  const until = systemClock.now() + LONGEST_LOOKUP;
  const lookup = { until, isGivenUp: false };
  lookups.add(lookup);
  return lookup;
}

/**
 * Ends a lookup that was answered. The resolver works, then: the lookups before
 * it that were given up did not hang in it, so they count no more.
 */
function endLookup(lookup: Lookup): void {
  if (!lookups.has(lookup)) return; // It took so long that it counts as over.
  for (const former of lookups) {
    if (former === lookup) break;
    if (former.isGivenUp) lookups.delete(former);
  }
  lookups.delete(lookup);
}

function untilBegun(signal: AbortSignal | undefined): Promise<Lookup> {
  return new Promise((resolve, reject) => {
    const begin = () => {
      signal?.removeEventListener("abort", giveUp);
      resolve(beginLookup());
    };
    const giveUp = () => {
      waitingLookups.delete(begin);
      watchOldest();
      reject(signal!.reason);
    };
    signal?.addEventListener("abort", giveUp, { once: true });
    waitingLookups.add(begin);
    watchOldest();
  });
}

const BYTE = "(?:25[0-5]|2[0-4]\\d|1?\\d?\\d)";
const ADDRESS = new RegExp(
  `^(?:${BYTE}(?:\\.${BYTE}){3}|[\\da-f:.]*:[\\da-f:.]*)$`,
  "i",
);

/** Tells an IP address, which needs no lookup, from a name. */
function isAddress(hostname: string): boolean {
  return ADDRESS.test(hostname);
}

/** Whether a lookup may begin. */
function hasRoom(): boolean {
  return held() < MOST_THREADS ||
    (held() < MOST_THREADS + MOST_TRIALS && areAllGivenUp());
}

/** How many threads are held, as far as is known. */
function held(): number {
  const now = systemClock.now();
  for (const lookup of lookups) {
    if (lookup.until > now) break;
    lookups.delete(lookup);
  }
  return reads + lookups.size;
}

function areAllGivenUp(): boolean {
  for (const { isGivenUp } of lookups) if (!isGivenUp) return false;
  return true;
}

function canRead(): boolean {
  return held() < MOST_THREADS && reads < MOST_READS;
}

/** Begins waiting work, as far as there is room: lookups first, as they end. */
function serve(): void {
  for (const begin of waitingLookups) {
    if (!hasRoom()) break;
    waitingLookups.delete(begin);
    begin();
  }
  for (const begin of waitingReads) {
    if (!canRead()) break;
    waitingReads.delete(begin);
    reads++;
    begin();
  }
  watchOldest();
}

/**
 * Deno does not tell that a lookup has ended which was given up: a timer begins
 * what waits for it.
 */
function watchOldest(): void {
  systemClock.clearTimeout(timer);
  timer = undefined;
  const [oldest] = lookups;
  if (!oldest || waitingLookups.size + waitingReads.size === 0) return;
  const rest = oldest.until - systemClock.now();
  timer = systemClock.setTimeout(serve, Math.max(0, rest));
}
