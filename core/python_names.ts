/**
 * Notices hooks that a class has left in Python's spelling. Nothing calls them, and
 * the compiler takes them for methods of the class's own.
 *
 * @module
 */

import type { DispatcherHooks } from "./dispatcher_hooks.ts";
import { isLibraryClass } from "./option_names.ts";
import { warn } from "./own_lines.ts";

const HOOK = /^(?:handle_[a-z_]+|found_terminator|collect_incoming_data)$/;

/** The prototypes of the classes that were looked at. */
const seen = new WeakSet<object>();

/** Warns of the hooks in Python's spelling, once for each class. */
export function warnOfPythonNames(dispatcher: DispatcherHooks): void {
  const prototype = Object.getPrototypeOf(dispatcher);
  if (seen.has(prototype)) return;
  seen.add(prototype);
  const names = ownNames(dispatcher);
  for (const name of names) {
    if (!HOOK.test(name)) continue;
    const hook = name.replace(/_[a-z]/g, ([, letter]) => letter!.toUpperCase());
    // A hook in both spellings may call the other one.
    if (names.has(hook) || !(hook in dispatcher)) continue;
    warn(dispatcher, `has ${name}(): here the hook is called ${hook}()`);
  }
}

/** The names that a dispatcher has besides those of the library's classes. */
function ownNames(dispatcher: object): Set<string> {
  const names = new Set<string>();
  let owner = dispatcher;
  while (!isLibraryClass(owner)) {
    for (const name of Object.getOwnPropertyNames(owner)) names.add(name);
    owner = Object.getPrototypeOf(owner);
  }
  return names;
}
