/**
 * Hooks, timers and clock of a simulated host, for the trace:
 * {@linkcode recordDetails}.
 *
 * @module
 */

import type { Entry } from "../core/entry.ts";
import { isLibraryClass } from "../core/option_names.ts";
import { REACTOR } from "../core/symbols.ts";
import { Dispatcher } from "../dispatcher.ts";
import type { SocketMap } from "../loop.ts";
import { hooksOf, recordHook, showCall } from "./record_hooks.ts";

/**
 * Notes which hooks run that a class overrides, and which timers. It draws no
 * random number and takes no turn, so the run stays the same.
 */
export function recordDetails(
  map: SocketMap,
  note: (text: string) => void,
): void {
  const reactor = map[REACTOR];
  const seen = new WeakSet<object>();
  const join = reactor.join.bind(reactor);
  reactor.join = (entry: Entry): void => {
    const { pollable } = entry;
    if (pollable instanceof Dispatcher && !seen.has(pollable)) {
      seen.add(pollable);
      recordOverrides(pollable, note);
    }
    join(entry);
  };
  const { timers } = reactor;
  const takeDue = timers.takeDue.bind(timers);
  timers.takeDue = (time, started) => {
    const timer = takeDue(time, started);
    if (timer !== null) {
      note(`timer ${timer.callback.name || "without a name"}`);
    }
    return timer;
  };
}

function recordOverrides(
  dispatcher: Dispatcher,
  note: (text: string) => void,
): void {
  const { name: type } = dispatcher.constructor;
  for (const name of hooksOf(dispatcher)) {
    if (!isOverridden(dispatcher, name)) continue;
    recordHook(dispatcher, name, (args) => {
      note(`${type} ${showCall(name, args)}`);
    });
  }
}

/** Whether a class of the user's, or the object itself, has this method. */
function isOverridden(dispatcher: Dispatcher, name: string): boolean {
  let owner: object = dispatcher;
  while (!isLibraryClass(owner)) {
    if (Object.hasOwn(owner, name)) return true;
    owner = Object.getPrototypeOf(owner);
  }
  return false;
}

/** How a clock differs from the simulated time, in words; "" if it does not. */
export function describeClockError(
  { offset, rate }: { offset: number; rate: number },
): string {
  const parts: string[] = [];
  if (offset !== 0) parts.push(`${offset.toFixed(3)} ms ahead`);
  const drift = (rate - 1) * 1_000;
  if (drift !== 0) {
    const word = drift > 0 ? "fast" : "slow";
    parts.push(`${Math.abs(drift).toFixed(3)} ms a second too ${word}`);
  }
  return parts.join(", ");
}
