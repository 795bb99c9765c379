/**
 * Which host the code that runs belongs to, also behind an `await`. So
 * `new Dispatcher()` joins the map of that host, and escapes are noticed.
 *
 * @module
 */

import { AsyncLocalStorage } from "node:async_hooks";
import { setDefaultMap, type SocketMap, socketMap } from "../loop.ts";
import type { Escape } from "./escape_group.ts";

/** The host that code runs on, or the scenario, as the code sees it. */
export interface HostContext {
  /** The map of dispatchers that name no other. */
  readonly map: SocketMap;
  /** The name of the host and the id of its process; the scenario has none. */
  readonly identity: { readonly name: string; readonly pid: number } | null;
  /** The time of the host's clock, in ms. */
  now(): number;
  /** The next random number of the host. */
  random(): number;
  /**
   * Reports a call whose outcome does not depend on the seed alone.
   *
   * @returns The error to throw; `null` if the call may go on.
   */
  onEscape(escape: Escape): Error | null;
  /** Notes a time or a random number that the program got: runs are compared. */
  drew(value: number): void;
  /** Keeps an object from being collected until the process ends. */
  keep(target: unknown): void;
  /** The time stands still until `promise` settles. */
  hold(promise: Promise<unknown>): void;
}

/** The host whose code runs. */
export const hostContext: AsyncLocalStorage<HostContext> =
  new AsyncLocalStorage();

setDefaultMap(() => hostContext.getStore()?.map ?? socketMap);
