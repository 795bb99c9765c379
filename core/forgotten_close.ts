/**
 * Notices an override of `close()` that does not call `super.close()`, and warns
 * once for each class.
 *
 * @module
 */

import type { DispatcherHooks } from "./dispatcher_hooks.ts";
import type { CloseWatch } from "./hooks.ts";
import { libraryMethods } from "./interest.ts";
import { nameOf } from "./log.ts";
import { warn } from "./own_lines.ts";

/** The classes that a warning has named. */
const named = new WeakSet<object>();

/** Warns that the loop had to close a socket that `close()` left open. */
export function warnOfForgottenClose(dispatcher: DispatcherHooks): void {
  const { constructor } = dispatcher;
  if (named.has(constructor)) return;
  named.add(constructor);
  const name = nameOf(dispatcher);
  const message =
    `was closed by the loop: the close() of ${name} does not call super.close()`;
  warn(dispatcher, message);
}

/**
 * Watches whether an override of `close()` is called from now on.
 *
 * @returns `null` if there is no override, or it cannot be watched.
 */
export function watchClose(dispatcher: DispatcherHooks): CloseWatch | null {
  const close = overriddenClose(dispatcher);
  if (close === null) return null;
  const own = Object.getOwnPropertyDescriptor(dispatcher, "close");
  let isCalled = false;
  const value = () => {
    isCalled = true;
    return close.call(dispatcher);
  };
  const watched = { value, configurable: true };
  // A frozen dispatcher cannot be watched.
  if (!Reflect.defineProperty(dispatcher, "close", watched)) return null;
  return {
    stop: () => {
      if (own) Reflect.defineProperty(dispatcher, "close", own);
      else Reflect.deleteProperty(dispatcher, "close");
      return isCalled;
    },
  };
}

/** The override of `close()`, if there is one. */
function overriddenClose(dispatcher: DispatcherHooks): (() => void) | null {
  try {
    const { close } = dispatcher;
    return libraryMethods.has(close) ? null : close;
  } catch {
    return null; // A getter threw. It will throw again when close() is called.
  }
}
