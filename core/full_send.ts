/**
 * Notices a `send()` that takes nothing, as many bytes are on their way, of a class
 * that would not send them later either. Python's system often takes as much, so
 * that a port may lose bytes that its original did not lose.
 *
 * @module
 */

import type { DispatcherHooks } from "./dispatcher_hooks.ts";
import { libraryMethods } from "./interest.ts";
import { nameOf } from "./log.ts";
import { warn } from "./own_lines.ts";

/** The prototypes of the classes that were looked at. */
const seen = new WeakSet<object>();

/** Warns, once for each class, if it has no `handleWrite()` of its own. */
export function warnOfFullSend(
  dispatcher: DispatcherHooks,
  refused: number,
  pending: number,
): void {
  const prototype = Object.getPrototypeOf(dispatcher);
  if (seen.has(prototype)) return;
  seen.add(prototype);
  const { handleWrite, handleWriteEvent } = dispatcher;
  for (const hook of [handleWrite, handleWriteEvent]) {
    if (libraryMethods.get(hook) !== "plain") return; // It sends later.
  }
  const name = nameOf(dispatcher);
  const message = `sent none of ${refused} bytes, as ${pending} are on their ` +
    `way, and ${name} has no handleWrite(): look at the result of send(), and ` +
    `keep the bytes for handleWrite(), or derive ${name} from DispatcherWithSend`;
  warn(dispatcher, message);
}
