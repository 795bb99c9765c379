/**
 * Reads that may take for ever: of FIFOs, terminals and devices. Deno gives
 * each a thread out of 32, which files and the lookup of names need as well.
 *
 * @module
 */

/** How many threads such reads may hold; the rest is for everything else. */
export const MOST_BLOCKING_READS = 24;

let taken = 0;
/** It was said that somebody waits. */
let isTold = false;
const waiting: (() => void)[] = [];

/**
 * Tells whether a read of `file` may wait for something other than a disk: what
 * has no position is a FIFO, a terminal or the like. To ask for its kind would
 * need a permission, and bring a prompt.
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
 * Waits for a thread.
 *
 * @param onWait Runs if there is none, and that has not been said yet.
 */
export function takeThread(onWait: () => void): Promise<void> | void {
  if (taken < MOST_BLOCKING_READS) taken++;
  else {
    if (!isTold) onWait();
    isTold = true;
    return new Promise((resolve) => void waiting.push(resolve));
  }
}

/**
 * Gives a thread back. One whose file was closed while it waited is lost: it
 * goes on waiting, and nobody tells when it is done.
 */
export function giveThread(): void {
  const next = waiting.shift();
  if (next) next();
  else taken--;
  if (taken < MOST_BLOCKING_READS / 2) isTold = false;
}
