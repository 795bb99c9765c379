/**
 * The second engine over system calls that a test changes: what the kernel does
 * once in a thousand times happens each time.
 */

import { assertEquals } from "@std/assert";
import { C } from "../epoll/layout.ts";
import type { Channel } from "../mod.ts";
import { fileno } from "../epoll/mod.ts";
import { findLibc, type Libc } from "../epoll/libc.ts";
import { LinuxNetwork } from "../epoll/network.ts";
import { until } from "./support.ts";

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

/** A blocking client of system calls only: it can do what Deno cannot. */
export function rawClient(address: Deno.Addr | null): number {
  const { port } = address as Deno.NetAddr;
  const fd = libc().socket(C.AF_INET, C.SOCK_STREAM, 0);
  const bytes = new Uint8Array(16);
  bytes.set([C.AF_INET, 0, port >> 8, port & 255, 127, 0, 0, 1]);
  assertEquals(libc().connect(fd, bytes, bytes.length), 0);
  return fd;
}

/** Sends a short text from such a client. */
export function rawSend(fd: number, text: string, flags = 0): void {
  const data = new TextEncoder().encode(text);
  assertEquals(libc().send(fd, data, data.length, flags), data.length);
}

/** Whether all that such a client has sent has arrived. */
export function hasArrived(fd: number): boolean {
  const SIOCOUTQ = 0x5411;
  const unacknowledged = new Uint8Array(4);
  return libc().ioctl(fd, SIOCOUTQ, unacknowledged) === 0 &&
    unacknowledged.every((byte) => byte === 0);
}

/** Waits until all that such a client has sent has arrived. */
export function untilArrived(fd: number): Promise<void> {
  return until(() => hasArrived(fd), "the arrival of what was sent");
}

/** Whether the peer's end has arrived over TCP, and so all before it. */
export function hasPeerEnded(conn: Channel): boolean {
  const [IPPROTO_TCP, TCP_INFO, TCP_CLOSE_WAIT] = [6, 11, 8];
  const state = new Uint8Array(1);
  const length = new Uint8Array(Uint32Array.of(1).buffer);
  const fd = fileno(conn);
  libc().getsockopt(fd, IPPROTO_TCP, TCP_INFO, state, length);
  return state[0] === TCP_CLOSE_WAIT;
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
