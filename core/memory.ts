/**
 * Keeps memory that the garbage collector has freed, for later allocations.
 *
 * @module
 */

/**
 * Just below 32 MiB. glibc keeps freed memory up to twice the size of the largest
 * block that was freed, and takes no larger block into account: see
 * `M_MMAP_THRESHOLD` in mallopt(3). A smaller block would keep less memory for
 * large messages; a larger one would have no effect.
 */
const BLOCK = 32 * 1024 * 1024 - 64 * 1024;

/**
 * The first read buffer, or received message, of this size in bytes makes the
 * process keep memory that it frees. A larger value leaves more programs without that
 * gain; a smaller one changes the allocator for programs of small messages. The
 * value is a choice: docs/performance.md has the gain for messages of 16 KiB.
 */
export const LARGE_BUFFER = 16 * 1024;

let isKept = false;

/**
 * Makes the process keep up to 64 MiB of freed memory for its next allocations.
 *
 * Each `recv()` returns memory of its own, and the collector frees thousands of
 * such blocks at once. By default, glibc gives them back to the system, and asks
 * for them again page by page; that costs more than the rest of a large message.
 * But glibc adapts when a large block is freed: it expects that the process needs
 * as much again. So this function allocates a large block, and frees it. The block
 * is never touched: it costs address space for a moment, and no memory.
 */
export function keepFreedMemory(): void {
  if (isKept || Deno.build.os !== "linux") return;
  isKept = true;
  try {
    new ArrayBuffer(BLOCK).transfer(0);
  } catch {
    // The address space is too small for it, so do not keep memory.
  }
}
