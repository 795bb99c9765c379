/**
 * Which hooks and predicates a dispatcher overrides. The engine does not call the
 * others: the library's own versions would do nothing, or the engine does their
 * work itself.
 *
 * @module
 */

import { DispatcherHooks } from "./dispatcher_hooks.ts";
import { SEND_THROUGH } from "./symbols.ts";

/** The events that a dispatcher's class is interested in. */
export interface Interest {
  /** A pass has to ask it: it overrides a predicate, or `handleWrite()`. */
  asks: boolean;
  /** It overrides `readable()`. */
  asksReadable: boolean;
  /** It overrides `writable()`. */
  asksWritable: boolean;
  /** It overrides the hook of a read event. */
  reads: boolean;
  /** It overrides the hook of a write event. */
  writes: boolean;
  /** The library sends for it: a write event calls nothing of its own. */
  sendsItself: boolean;
  /** It buffers, and what it buffers goes out in its own write events. */
  sendsInEvents: boolean;
  /** Its `readable()` is the library's backpressure. */
  hasBackpressure: boolean;
}

/**
 * The library's own methods, whose work the engine does itself. A `"plain"` method
 * is the default of a class without an override. A `"buffering"` method belongs
 * to a class that sends by itself, and tells when it would read again.
 */
export const libraryMethods: WeakMap<object, "plain" | "buffering"> =
  new WeakMap();

const PLAIN = [
  "readable",
  "writable",
  "handleRead",
  "handleWrite",
  "handleReadEvent",
  "handleWriteEvent",
] as const;
for (const name of PLAIN) {
  libraryMethods.set(DispatcherHooks.prototype[name], "plain");
}

/** Finds out what a dispatcher's class, or the dispatcher itself, overrides. */
export function interestOf(dispatcher: DispatcherHooks): Interest {
  const readable = libraryMethods.get(dispatcher.readable);
  const writable = libraryMethods.get(dispatcher.writable);
  const handleWrite = libraryMethods.get(dispatcher.handleWrite);
  const ownsEvent = isOwn(dispatcher.handleWriteEvent);
  const sendsItself = handleWrite === "buffering" && !ownsEvent;
  // Only a class that buffers has bytes to send piece by piece.
  const buffers =
    dispatcher[SEND_THROUGH] !== DispatcherHooks.prototype[SEND_THROUGH];
  const asksReadable = readable === undefined;
  const asksWritable = writable === undefined ||
    writable === "buffering" && !sendsItself;
  const reads = isOwn(dispatcher.handleRead) ||
    isOwn(dispatcher.handleReadEvent);
  const writes = handleWrite === undefined || ownsEvent;
  const sendsInEvents = buffers && !sendsItself;
  const hasBackpressure = readable === "buffering";
  const key = Number(asksReadable) | Number(asksWritable) << 1 |
    Number(reads) << 2 | Number(writes) << 3 | Number(sendsItself) << 4 |
    Number(hasBackpressure) << 5 | Number(sendsInEvents) << 6;
  return interests[key] ??= {
    asks: asksReadable || asksWritable || writes,
    asksReadable,
    asksWritable,
    reads,
    writes,
    sendsItself,
    sendsInEvents,
    hasBackpressure,
  };
}

/** Whether a hook is not the library's. */
function isOwn(hook: object): boolean {
  return libraryMethods.get(hook) !== "plain";
}

/** All interests that exist: thousands of connections share one object. */
const interests: Interest[] = [];
