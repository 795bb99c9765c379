/**
 * What the system's allocator does with memory that the garbage collector
 * frees.
 *
 * @module
 */

/**
 * Just below 32 MiB, the largest block from which glibc learns: see
 * `M_MMAP_THRESHOLD` in its manual page mallopt(3).
 */
const BLOCK = 32 * 1024 * 1024 - 64 * 1024;

let isKept = false;

/**
 * Has the process keep up to 64 MiB of freed memory for its next allocations.
 *
 * Each `recv()` hands out memory of its own, which the collector frees by the
 * ten thousand. glibc gives such memory back to the system at once and asks for
 * it again, page by page, which costs more than everything else about a large
 * message: until a large block is freed, which tells it that this process will
 * need the like again. The block is never touched, so it costs address space for
 * a moment, and elsewhere nothing.
 */
export function keepFreedMemory(): void {
  if (isKept || Deno.build.os !== "linux") return;
  isKept = true;
  try {
    new ArrayBuffer(BLOCK).transfer(0);
  } catch {
    // There is no room for it: then memory is better given back.
  }
}
