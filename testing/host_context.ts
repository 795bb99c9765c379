/**
 * On whose behalf code runs: the host whose program it is, also behind an
 * `await`. So `new Dispatcher()` joins the map of that host, and what would
 * break the simulation is noticed.
 *
 * @module
 */

import { AsyncLocalStorage } from "node:async_hooks";
import { setDefaultMap, type SocketMap, socketMap } from "../loop.ts";
import type { Escape } from "./escapes.ts";

/** A host, as far as code that runs on it is concerned; or the scenario. */
export interface HostContext {
  /** The map that dispatchers join which name no other. */
  readonly map: SocketMap;
  /** The time of the host's clock, in ms. */
  now(): number;
  /** The next random number of the host. */
  random(): number;
  /**
   * Something was called whose outcome does not depend on the seed alone.
   *
   * @returns What the caller is to get; `null` if it may go on.
   */
  onEscape(escape: Escape): Error | null;
  /** Something real is waited for whose result is certain: time stands still. */
  hold(promise: Promise<unknown>): void;
}

/** The host that runs. */
export const hostContext: AsyncLocalStorage<HostContext> =
  new AsyncLocalStorage();

setDefaultMap(() => hostContext.getStore()?.map ?? socketMap);
