/**
 * Work that may hold a thread for long. Deno has 32 threads for files and the
 * lookup of names. A read of a FIFO, a terminal or a device holds one until data
 * comes, perhaps for ever. A lookup holds one until the resolver answers or gives
 * up. This module bounds both, so that threads are left for other files.
 *
 * @module
 */

import { systemClock } from "./clock.ts";

/**
 * Reads and lookups together may hold this many of Deno's 32 threads. A larger
 * number allows more FIFOs and lookups at once; a smaller one leaves more threads
 * for files when reads and lookups hang. The value is a choice, not measured.
 */
export const MOST_THREADS = 24;
/**
 * Reads may hold this many of `MOST_THREADS`; the others are left for lookups. A
 * FIFO may hold its thread for ever, but a lookup ends. A larger number allows
 * more FIFOs at once, a smaller one more lookups beside them. The value is a
 * choice, not measured.
 */
export const MOST_READS = 20;
/**
 * When all lookups under way were given up, this many more may begin, because the
 * resolver may answer again. A larger number finds out sooner that it does; but
 * each further lookup that hangs takes a thread that was left for files. The
 * value is a choice, not measured.
 */
export const MOST_TRIALS = 4;
/**
 * A lookup that was given up counts as over after this many ms: Deno does not
 * tell when the resolver ends. By default the system's resolver gives up then: it
 * asks each of three servers twice, for five seconds. A longer time keeps new
 * lookups waiting; a shorter one begins some while the old ones hold threads.
 */
export const LONGEST_LOOKUP = 30_000;

interface Lookup {
  /** The time from which it counts as over, in ms. */
  readonly until: number;
  /** Its caller has given up; the resolver may still be working. */
  isGivenUp: boolean;
}

/** How many threads the reads hold. */
let reads = 0;
/** The lookups that hold a thread; the oldest comes first. */
const lookups = new Set<Lookup>();
/** The reads and lookups that wait for a thread. Each function begins one. */
const waitingReads = new Set<() => void>();
const waitingLookups = new Set<() => void>();
/** A warning has said that reads wait. */
let isTold = false;
/** Runs when the oldest lookup is over, while reads or lookups wait. */
let timer: unknown = undefined;

/**
 * Whether a read of `file` may wait for something other than a disk. A FIFO, a
 * terminal and a device have no position, so seeking fails. `stat()` would tell
 * as well, but needs a permission and brings a prompt.
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
 * @param onWait Runs if no thread is free, unless a warning has said so already.
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
 * Gives back the thread of a read. Do not call it if the file was closed during
 * the read: the thread goes on waiting, and Deno does not tell when it ends.
 */
export function giveThread(): void {
  reads--;
  serve();
  if (reads < MOST_READS / 2) isTold = false;
}

/**
 * Runs `work`, which looks up `hostname`, when a thread is free. An IP address
 * needs no thread, so its `work` runs at once.
 *
 * @param signal Ends the wait for a thread. `work` has to heed it by itself.
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
 * Ends a lookup that was answered. The answer shows that the resolver works: the
 * older lookups that were given up do not hang, so they no longer count.
 */
function endLookup(lookup: Lookup): void {
  if (!lookups.has(lookup)) return; // Its LONGEST_LOOKUP is over.
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

/** Whether a host is an IP address rather than a name. */
function isAddress(hostname: string): boolean {
  return ADDRESS.test(hostname);
}

/** Whether a lookup may begin. */
function hasRoom(): boolean {
  return held() < MOST_THREADS ||
    (held() < MOST_THREADS + MOST_TRIALS && areAllGivenUp());
}

/** How many threads are held, as far as this module can know. */
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

/** Begins the work that waits while threads are free. Lookups come first: they end. */
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
 * Starts a timer for the time at which the oldest lookup counts as over. Deno
 * does not tell when a lookup ends that was given up, so nothing else would begin
 * the work that waits for its thread.
 */
function watchOldest(): void {
  systemClock.clearTimeout(timer);
  timer = undefined;
  const [oldest] = lookups;
  if (!oldest || waitingLookups.size + waitingReads.size === 0) return;
  const rest = oldest.until - systemClock.now();
  timer = systemClock.setTimeout(serve, Math.max(0, rest));
}
