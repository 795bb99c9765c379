/**
 * Which events a dispatcher's class cares for, by what it overrides. The engine
 * neither asks nor calls what would do nothing.
 *
 * @module
 */

import { DispatcherHooks } from "./dispatcher_hooks.ts";

/** Which events a dispatcher's class cares for. */
export interface Interest {
  /** It overrides `readable()`. */
  asksReadable: boolean;
  /** It overrides `writable()`. */
  asksWritable: boolean;
  /** It has something to do in a read event. */
  reads: boolean;
  /** It has something to do in a write event. */
  writes: boolean;
  /** Its `readable()` is the library's: unsent bytes may keep it from reading. */
  pacesItself: boolean;
}

/**
 * The library's own methods that the engine does the work of. A `"plain"` one is
 * the default, which a class without an override has. A `"self-driven"` one
 * belongs to a class that sends by itself and tells when it would read again.
 */
export const ownMethods: WeakMap<object, "plain" | "self-driven"> =
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
  ownMethods.set(DispatcherHooks.prototype[name], "plain");
}

/** Looks at what a dispatcher's class, or the dispatcher itself, overrides. */
export function interestOf(dispatcher: DispatcherHooks): Interest {
  const readable = ownMethods.get(dispatcher.readable);
  const writable = ownMethods.get(dispatcher.writable);
  const handleWrite = ownMethods.get(dispatcher.handleWrite);
  const hasOwn = (
    name: "handleRead" | "handleReadEvent" | "handleWriteEvent",
  ) => ownMethods.get(dispatcher[name]) !== "plain";
  const sendsItself = handleWrite === "self-driven";
  return shared({
    asksReadable: readable === undefined,
    asksWritable: writable === undefined ||
      writable === "self-driven" && !sendsItself,
    reads: hasOwn("handleRead") || hasOwn("handleReadEvent"),
    writes: !sendsItself &&
      (handleWrite === undefined || hasOwn("handleWriteEvent")),
    pacesItself: readable === "self-driven",
  });
}

/** All possible interests: thousands of connections share one object. */
const interests: Interest[] = [];

function shared(interest: Interest): Interest {
  const { asksReadable, asksWritable, reads, writes, pacesItself } = interest;
  const key = Number(asksReadable) | Number(asksWritable) << 1 |
    Number(reads) << 2 | Number(writes) << 3 | Number(pacesItself) << 4;
  return interests[key] ??= interest;
}
