/**
 * The descriptor behind a file of Deno. Deno does not tell its number, and `stat()`
 * tells the file only, which may be open several times, and asks for a permission.
 * So the file is locked for a moment (`flock`): the system lists each lock with the
 * descriptor that holds it.
 *
 * @module
 */

import { C, ERRNO } from "./layout.ts";
import type { Libc, Memory } from "./libc.ts";

/**
 * So much is read of a page of `/proc`, in bytes. The size of the table of
 * descriptors stands in the first half kilobyte of its page; the page about a
 * descriptor has about 100 bytes, and as many for each lock. The value is a choice.
 */
const PAGE = 1_024;

/** A file that can be locked, as `Deno.FsFile` can. */
export type Lockable = Pick<Deno.FsFile, "tryLockSync" | "unlockSync">;

/**
 * The number of the descriptor of `file`; `null` if it cannot be told for certain.
 * That is so if the program has closed the file, if another program has locked it,
 * or while any FIFO, terminal or device of this process is locked.
 *
 * @param file A file that has no position.
 */
export function descriptorOf(libc: Libc, file: Lockable): number | null {
  const candidates = filesWithoutPosition(libc);
  // The lock of the program itself would be replaced, and then be gone.
  if (candidates.some((fd) => isLocked(libc, fd))) return null;
  try {
    if (!file.tryLockSync(false)) return null;
  } catch {
    return null; // It is closed.
  }
  try {
    const locked = candidates.filter((fd) => isLocked(libc, fd));
    return locked.length === 1 ? locked[0]! : null;
  } finally {
    file.unlockSync();
  }
}

/** The descriptors that block, and have no position: those of files that may wait. */
function filesWithoutPosition(libc: Libc): number[] {
  const status = readPage(libc, "/proc/self/status");
  const size = Number(/^FDSize:\t(\d+)$/m.exec(status)?.[1] ?? 0);
  const found: number[] = [];
  for (let fd = 0; fd < size; fd++) {
    const flags = libc.fcntl(fd, C.F_GETFL, 0);
    if (flags < 0 || (flags & C.O_NONBLOCK) !== 0) continue;
    if (libc.lseek(fd, 0n, C.SEEK_CUR) < 0) found.push(fd);
  }
  return found;
}

function isLocked(libc: Libc, fd: number): boolean {
  return /^lock:/m.test(readPage(libc, `/proc/self/fdinfo/${fd}`));
}

/** The beginning of a page of `/proc`; nothing if there is none. */
function readPage(libc: Libc, path: string): string {
  const fd = libc.open(pathBytes(path), C.O_RDONLY | C.O_CLOEXEC, 0);
  if (fd < 0) return "";
  const page = new Uint8Array(PAGE);
  let end = 0;
  while (end < page.length) {
    const rest = page.subarray(end);
    const length = libc.read(fd, rest, rest.length);
    if (length > 0) end += length;
    else if (length === 0 || libc.errno() !== ERRNO.EINTR) break;
  }
  libc.close(fd);
  return new TextDecoder().decode(page.subarray(0, end));
}

/** A path as C has it, with a zero byte at its end. */
export function pathBytes(path: string): Memory {
  return new TextEncoder().encode(`${path}\0`);
}
