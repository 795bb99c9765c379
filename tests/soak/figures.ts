/** What must be after the soak as it was before. */

import type { Clock, SocketMap } from "../../mod.ts";
import { systemClock } from "../../core/clock.ts";
import { REACTOR } from "../../core/symbols.ts";
import type { Verdict } from "./messages.ts";
import { wait } from "./wait.ts";

/** Where the descriptors of this process are to be seen, by system. */
const DESCRIPTORS: Record<string, string> = {
  linux: "/proc/self/fd",
  darwin: "/dev/fd",
};

/** How much more the heap may hold afterwards, in bytes. */
const HEAP_ROOM = 1.5 * 1024 * 1024;
/** … and how much more the buffers, of which the library keeps up to 8 MiB. */
const BUFFER_ROOM = 12 * 1024 * 1024;
/** How often to look at least and at most, and how many ms apart. */
const LEAST_LOOKS = 8;
const MOST_LOOKS = 50;
const LOOK_EVERY = 100;

/** The real clock, and how many of its timeouts are armed. */
export class CountingClock implements Clock {
  readonly #armed = new Set<unknown>();

  get armed(): number {
    return this.#armed.size;
  }
  now(): number {
    return systemClock.now();
  }
  setTimeout(callback: () => void, delay: number): unknown {
    const id = systemClock.setTimeout(() => {
      this.#armed.delete(id);
      callback();
    }, delay);
    this.#armed.add(id);
    return id;
  }
  clearTimeout(id: unknown): void {
    this.#armed.delete(id);
    systemClock.clearTimeout(id);
  }
  setImmediate(callback: () => void, isOverdue?: boolean): void {
    systemClock.setImmediate(callback, isOverdue);
  }
}

/** What is counted before and after. */
export interface Figures {
  /** -1 where they cannot be counted. */
  descriptors: number;
  dispatchers: number;
  /** Timeouts of the clock, and maps whose loop still has a timer. */
  timers: number;
  heap: number;
  /** Outside of the heap. */
  buffers: number;
}

/** Counts what there is; `expected` descriptors are waited for. */
export async function takeFigures(
  maps: SocketMap[],
  clock: CountingClock,
  expected = Infinity,
): Promise<Figures> {
  let [dispatchers, timers] = [0, clock.armed];
  for (const map of maps) {
    dispatchers += countDispatchers(map);
    if (hasTimers(map)) timers++;
  }
  return { dispatchers, timers, ...await settle(expected) };
}

/** Those of a map, with the closed ones that linger. */
export function countDispatchers(map: SocketMap): number {
  return map.size + map.lingering;
}

/** A timer is armed in the loop of a map. */
export function hasTimers(map: SocketMap): boolean {
  return map[REACTOR].timers.nextDue < Infinity;
}

/**
 * The least descriptors and the least memory of a while: the runtime closes and
 * frees some of them later.
 */
async function settle(expected: number) {
  const { gc } = globalThis as { gc?: () => void };
  if (!gc) throw new Error("The soak needs --v8-flags=--expose-gc");
  let descriptors = Infinity;
  let heap = Infinity;
  let buffers = Infinity;
  for (let i = 0; i < MOST_LOOKS; i++) {
    if (i >= LEAST_LOOKS && descriptors <= expected) break;
    gc();
    await wait(LOOK_EVERY);
    descriptors = Math.min(descriptors, countDescriptors());
    const { heapUsed, external } = Deno.memoryUsage();
    heap = Math.min(heap, heapUsed);
    buffers = Math.min(buffers, external);
  }
  return { descriptors, heap, buffers };
}

function countDescriptors(): number {
  const directory = DESCRIPTORS[Deno.build.os];
  if (directory === undefined) return -1;
  return [...Deno.readDirSync(directory)].length;
}

/** Whether all has come back to where it was. */
export function compare(before: Figures, after: Figures): Verdict[] {
  const judge = (promise: string, isKept: boolean, wrong: string): Verdict => ({
    promise,
    wrong: isKept ? null : wrong,
  });
  const descriptors = after.descriptors - before.descriptors;
  const heap = after.heap - before.heap;
  const buffers = after.buffers - before.buffers;
  const { dispatchers, timers } = after;
  const verdicts = [
    judge("No dispatcher is left", dispatchers === 0, `${dispatchers} are`),
    judge("No timer is left", timers === 0, `${timers} are`),
    judge("The heap has not grown", heap <= HEAP_ROOM, `by ${mib(heap)}`),
    judge("Buffers are freed", buffers <= BUFFER_ROOM, `not ${mib(buffers)}`),
  ];
  if (after.descriptors < 0) return verdicts; // They cannot be counted here.
  const wrong = `${descriptors} are left open`;
  verdicts.unshift(
    judge("All descriptors are closed", descriptors <= 0, wrong),
  );
  return verdicts;
}

/** Bytes as people read them. */
export function mib(bytes: number): string {
  return `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
}
