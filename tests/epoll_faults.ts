/**
 * The second engine over system calls that a test changes: what the kernel does
 * once in a thousand times happens each time.
 */

import { findLibc, type Libc } from "../epoll/libc.ts";
import { LinuxNetwork } from "../epoll/network.ts";

/** Whether the engine can be tested here; a name says so where it cannot. */
export const HAS_EPOLL: boolean = "libc" in findLibc();

/** Tests the engine where it is. */
export function testEpoll(name: string, fn: () => void | Promise<void>): void {
  const suffix = HAS_EPOLL ? "" : " (skipped: no Linux, or no --allow-ffi)";
  Deno.test({ name: name + suffix, ignore: !HAS_EPOLL, fn });
}

/** The C library. */
export function libc(): Libc {
  const found = findLibc();
  if ("libc" in found) return found.libc;
  throw new Error(found.obstacle);
}

/** The error number of a call that a test lets fail. */
let injected = 0;

/** Makes the next error number `errno`, and gives the result of a failed call. */
export function fail(errno: number): -1 {
  injected = errno;
  return -1;
}

function lastErrno(): number {
  const errno = injected || libc().errno();
  injected = 0;
  return errno;
}

/** A network whose calls are those of the system, but for some. */
export function networkWith(changes: Partial<Libc>): LinuxNetwork {
  return new LinuxNetwork(() => ({
    libc: { ...libc(), errno: lastErrno, ...changes },
  }));
}

/** How often each of some calls was made. */
export class Calls {
  readonly counts: Record<string, number> = {};

  count(name: string): number {
    return this.counts[name] = (this.counts[name] ?? 0) + 1;
  }
}

/** The descriptors that this process has open. */
export function openDescriptors(): string[] {
  return [...Deno.readDirSync("/proc/self/fd")].map(({ name }) => {
    try {
      return Deno.readLinkSync(`/proc/self/fd/${name}`);
    } catch {
      return "gone"; // That of the directory itself.
    }
  }).filter((target) => target.startsWith("socket:"));
}
