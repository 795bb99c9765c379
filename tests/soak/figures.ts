/** What must be after the soak as it was before. */

import { type Clock, type SocketMap, socketMap } from "../../mod.ts";
import { REACTOR } from "../../core/symbols.ts";
import { wait } from "./random.ts";

/** How much more the heap may hold afterwards, in bytes. */
const HEAP_ROOM = 1.5 * 1024 * 1024;
/** … and how much more the buffers, of which the library keeps up to 8 MiB. */
const BUFFER_ROOM = 12 * 1024 * 1024;
/** How often to look at least and at most, and how many ms apart. */
const LEAST_LOOKS = 8;
const MOST_LOOKS = 50;
const LOOK_EVERY = 100;

const armed = new Set<unknown>();

/** The real clock, whose armed timeouts are counted. */
export const countingClock: Clock = {
  now: () => socketMap.clock.now(),
  setTimeout(callback, delay) {
    const id = socketMap.clock.setTimeout(() => {
      armed.delete(id);
      callback();
    }, delay);
    armed.add(id);
    return id;
  },
  clearTimeout(id) {
    armed.delete(id);
    socketMap.clock.clearTimeout(id);
  },
  setImmediate: (...args) => socketMap.clock.setImmediate(...args),
};

/** A timer is armed in the loop of a map. */
export function hasTimers(map: SocketMap): boolean {
  return map[REACTOR].timers.nextDue < Infinity;
}

export type Figures = Awaited<ReturnType<typeof takeFigures>>;

/**
 * Counts what there is: of descriptors and memory the least of a while, as the
 * runtime closes and frees some of them later. `expected` descriptors are
 * waited for.
 */
export async function takeFigures(maps: SocketMap[], expected = Infinity) {
  const dispatchers = maps.reduce((n, map) => n + map.size + map.lingering, 0);
  const timers = armed.size + maps.filter(hasTimers).length;
  let [descriptors, heap, buffers] = [Infinity, Infinity, Infinity];
  for (let i = 0; i < MOST_LOOKS; i++) {
    if (i >= LEAST_LOOKS && descriptors <= expected) break;
    (globalThis as unknown as { gc(): void }).gc();
    await wait(LOOK_EVERY);
    descriptors = Math.min(descriptors, countDescriptors());
    const { heapUsed, external } = Deno.memoryUsage();
    heap = Math.min(heap, heapUsed);
    buffers = Math.min(buffers, external);
  }
  return { descriptors, dispatchers, timers, heap, buffers };
}

/** How many descriptors this process has, or 0 where that is not to be seen. */
function countDescriptors(): number {
  const { os } = Deno.build;
  if (os === "windows") return 0;
  return [...Deno.readDirSync(os === "linux" ? "/proc/self/fd" : "/dev/fd")]
    .length;
}

/** What is promised of the figures, and whether it is kept. */
export function compare(
  before: Figures,
  after: Figures,
): Record<string, boolean> {
  return {
    "All descriptors are closed": after.descriptors <= before.descriptors,
    "No dispatcher is left": after.dispatchers === 0,
    "No timer is left": after.timers === 0,
    "The heap has not grown": after.heap - before.heap <= HEAP_ROOM,
    "Buffers are freed": after.buffers - before.buffers <= BUFFER_ROOM,
  };
}
