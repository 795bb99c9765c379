/**
 * The loop that the program owns: {@linkcode SocketMap} holds the dispatchers,
 * {@linkcode loop} and {@linkcode poll} drive them, {@linkcode closeAll} and
 * {@linkcode shutdown} end them.
 *
 * @module
 */

import {
  checkBoolean,
  checkFunction,
  checkInteger,
  checkMethods,
  checkMilliseconds,
  checkSignal,
  showValue,
} from "./core/arguments.ts";
import { type Clock, systemClock } from "./core/clock.ts";
import { type Logger, uncaughtLine } from "./core/log.ts";
import type { Network } from "./core/network.ts";
import type { Pollable } from "./core/entry.ts";
import {
  type AnyNames,
  checkOptions,
  type OptionNames,
} from "./core/option_names.ts";
import { ExitNow, Reactor } from "./core/reactor.ts";
import { Shutdown, type ShutdownResult } from "./core/shutdown.ts";
import { REACTOR } from "./core/symbols.ts";
import { isPromise, toPromise } from "./core/thenable.ts";
import { HeapTimer, type Timer, type TimerGroup } from "./core/timers.ts";

export { ExitNow } from "./core/reactor.ts";
export type { Clock, Pollable, ShutdownResult, Timer };

/** Options of a {@linkcode SocketMap}. */
export interface SocketMapOptions {
  /**
   * Makes the connections and listeners.
   *
   * @default {the network of this machine}
   */
  network?: Network | undefined;
  /**
   * Tells the time and runs the timeouts.
   *
   * @default {the monotonic clock of this machine}
   */
  clock?: Clock | undefined;
  /**
   * Gets the log lines of each dispatcher that has no logger of its own.
   *
   * @default {none: the console}
   */
  logger?: Logger | undefined;
  /**
   * Gets the errors that no dispatcher can handle: from timers, from a logger,
   * from a `handleError()`, from a hook whose dispatcher has closed, and from a
   * clock while no loop runs. If this function throws or rejects, the console gets
   * both errors.
   *
   * @default {logs them as errors, a limited number: see `Logger`}
   */
  onError?: ((error: unknown) => void) | undefined;
}

const MAP_OPTIONS: OptionNames<SocketMapOptions> = {
  network: true,
  clock: true,
  logger: true,
  onError: true,
};
const CLOCK_METHODS = ["now", "setTimeout", "clearTimeout", "setImmediate"];
const LOG_METHODS = ["debug", "info", "warn", "error"];

/**
 * The live dispatchers of one loop. Maps are independent of each other, and each
 * can have a loop of its own.
 *
 * @example A second map
 * ```ts
 * import { Dispatcher, loop, SocketMap } from "@asyncore/asyncore";
 *
 * const map = new SocketMap();
 * const server = new Dispatcher(null, { map });
 * server.createSocket();
 * console.log(map.size); // 1
 * server.close();
 * await loop({ map }); // ends at once: no dispatcher is left
 * ```
 */
export class SocketMap implements Iterable<Pollable> {
  /** Tells the time. */
  readonly clock: Clock;
  /** Gets the log lines of each dispatcher that has no logger of its own. */
  logger: Logger | null;
  /** Gets the errors that no dispatcher can handle. */
  onError: (error: unknown) => void;

  #network: Network | null;
  readonly #reactor: Reactor;

  /**
   * Makes an empty map.
   *
   * @param options The network, the clock, the logger, and onError.
   * @throws {TypeError} If one of them lacks a method, or has the wrong type or an
   * unknown name.
   */
  constructor(options: SocketMapOptions = {}) {
    checkOptions(options, MAP_OPTIONS);
    const { network, clock = systemClock } = options;
    if (network !== undefined) checkNetwork(network);
    checkMethods("clock", clock, CLOCK_METHODS);
    if (options.logger) checkMethods("logger", options.logger, LOG_METHODS);
    if (options.onError) checkFunction("onError", options.onError);
    this.#network = network ?? null;
    this.clock = clock;
    this.logger = options.logger ?? null;
    this.onError = options.onError ??
      ((error) => this.#log(error));
    this.#reactor = new Reactor(clock, (error) => this.#report(error));
  }

  /** Gives an error to `onError()`. If that fails, the console gets both. */
  #report(error: unknown): void {
    try {
      this.#watch(error, this.onError(error));
    } catch (second) {
      this.#toConsole(error, second);
    }
  }

  /** `onError()` or a logger may be async, and reject later. */
  #watch(error: unknown, result: unknown): void {
    if (!isPromise(result)) return;
    toPromise(result).then(
      undefined,
      (second) => this.#reactor.outside(() => this.#toConsole(error, second)),
    );
  }

  /** The default of `onError`: logs the error. */
  #log(error: unknown): void {
    this.#reactor.logQuota.add("uncaught exception", {
      text: () => uncaughtLine(error),
      write: (line) => this.#watch(error, (this.logger ?? console).error(line)),
    });
  }

  /** The last resort: `second` is the error of the function that got `error`. */
  #toConsole(error: unknown, second: unknown): void {
    if (second instanceof ExitNow) throw second;
    this.#reactor.logQuota.add("onError() failed", {
      text: () => uncaughtLine(error, second),
      write: (line) => {
        try {
          console.error(line);
        } catch {
          // There is none.
        }
      },
    });
  }

  /**
   * Makes the connections and listeners. It can be replaced while the map is empty.
   *
   * @throws {TypeError} If the new value lacks a method.
   * @throws {Error} If the map has dispatchers: their sockets belong to the old one.
   */
  get network(): Network {
    return this.#network ?? defaultNetwork!;
  }
  set network(network: Network) {
    checkNetwork(network);
    if (this.size > 0) {
      throw new Error(
        `Cannot set the network of ${this}: it must be empty. Set it before the ` +
          "first createSocket()",
      );
    }
    this.#network = network;
  }

  /**
   * The engine that runs its passes.
   *
   * @ignore
   */
  get [REACTOR](): Reactor {
    return this.#reactor;
  }

  /** How many dispatchers are in the map. */
  get size(): number {
    return this.#reactor.members.size;
  }

  /**
   * How many closed dispatchers linger: they still send accepted bytes, wait for
   * the peer to end its side (see {@linkcode DispatcherOptions.linger}), or wait
   * for an operation of the system. A program that makes its own passes should go
   * on until {@linkcode SocketMap.size} and this are 0.
   */
  get lingering(): number {
    return this.#reactor.lingering.entries.size;
  }

  /** The dispatchers, in the order in which they were added. */
  [Symbol.iterator](): IterableIterator<Pollable> {
    return this.#reactor.members.keys();
  }

  /**
   * Ends the current wait, so that the next pass asks every dispatcher again. If
   * no wait is under way, the next pass does not wait. Call it from code outside
   * the loop that has changed the answer of a `readable()` or `writable()`.
   */
  wake(): void {
    this.#reactor.wake();
  }

  /**
   * Runs `callback` once, inside a later pass of the loop. An error of the callback
   * goes to {@linkcode SocketMap.onError}; only an {@linkcode ExitNow} leaves the
   * loop. A loop whose map is empty runs the timers that are due, and ends even if
   * others are pending.
   *
   * @param delay In milliseconds; at 0 it runs in the next pass.
   * @throws {TypeError} If `delay` is no number or `callback` no function.
   * @throws {RangeError} If `delay` is NaN, negative or infinite.
   *
   * @example Give up after ten seconds
   * ```ts
   * import { closeAll, SocketMap } from "@asyncore/asyncore";
   *
   * const map = new SocketMap();
   * using deadline = map.callLater(10_000, () => closeAll(map));
   * deadline.reset(); // ten more seconds from now
   * ```
   */
  callLater(delay: number, callback: () => unknown): Timer {
    return startTimer(this, delay, callback, false, null);
  }

  /**
   * Runs `callback` each `interval`, inside the loop. A late call does not delay
   * the next ones. Calls that were missed are skipped, and so are calls that are
   * due while the callback's promise is pending.
   *
   * @param interval In milliseconds, at least 0.001.
   * @throws {TypeError} If `interval` is no number or `callback` no function.
   * @throws {RangeError} If `interval` is NaN, less than 0.001 or infinite.
   */
  callEvery(interval: number, callback: () => unknown): Timer {
    return startTimer(this, interval, callback, true, null);
  }

  /** The map's text form, for messages: `SocketMap(2)`. */
  toString(): string {
    return `SocketMap(${this.size})`;
  }

  /** The text that `console.log(map)` shows. */
  [Symbol.for("Deno.customInspect")](): string {
    return this.toString();
  }
}

function checkNetwork(network: unknown): void {
  checkMethods("network", network, ["connect", "listen"]);
}

/** The default map, for dispatchers and loops that name no other. */
export const socketMap: SocketMap = new SocketMap();

let findDefaultMap = (): SocketMap => socketMap;

/** The map of a dispatcher or a loop that names no other. */
export function defaultMap(): SocketMap {
  return findDefaultMap();
}

/** Replaces the default map. A simulation does so for each of its hosts. */
export function setDefaultMap(find: () => SocketMap): void {
  findDefaultMap = find;
}

/** `net/deno_network.ts` sets it; each entry of the library loads that module. */
let defaultNetwork: Network | null = null;

/** Sets the network of each map that was given none. */
export function setDefaultNetwork(network: Network): void {
  defaultNetwork = network;
}

/** Options of {@linkcode loop}. */
export interface LoopOptions {
  /**
   * How long one pass may wait for an event, in milliseconds. It does not bound
   * the loop: use `count`, `signal` or a timer for that.
   *
   * At 0 a pass does not wait, but yields to the runtime for one turn. Deno looks
   * at its sockets only in some turns, and always before it sleeps. So when the
   * loop has not waited for 10 ms, its turn is a short sleep of 1 to 2 ms.
   *
   * @default {30_000}
   */
  timeout?: number | undefined;
  /**
   * The most passes to make.
   *
   * @default {Infinity}
   */
  count?: number | undefined;
  /**
   * The map to drive.
   *
   * @default {socketMap}
   */
  map?: SocketMap | null | undefined;
  /** Ends the loop when it aborts. `loop()` then returns, and closes nothing. */
  signal?: AbortSignal | undefined;
}

const LOOP_OPTIONS: OptionNames<LoopOptions> = {
  timeout: true,
  count: true,
  map: true,
  signal: true,
};

/**
 * Drives the dispatchers of a map, pass after pass. It ends when the map is empty
 * and no closed dispatcher lingers, when it has made `count` passes, when `signal`
 * aborts, or when a hook, a predicate or a timer throws {@linkcode ExitNow}.
 *
 * @param options Timeout, count, map, signal.
 * @throws {ExitNow} If a hook, a predicate or a timer throws it.
 * @throws The error of the map's clock: see {@linkcode Clock}.
 * @throws {TypeError | RangeError} If an option is wrong, or has an unknown name.
 * @throws {Error} If a loop runs on this map already. A hook runs inside of one,
 * so it cannot call `loop()`.
 *
 * @example One pass at a time, for a program with a loop of its own
 * ```ts
 * import { loop, socketMap } from "@asyncore/asyncore";
 *
 * while (socketMap.size + socketMap.lingering > 0) {
 *   await loop({ timeout: 10, count: 1 });
 *   // … something else …
 * }
 * ```
 */
export async function loop(options: LoopOptions = {}): Promise<void> {
  checkMapOptions(options, LOOP_OPTIONS);
  const { timeout = 30_000, signal } = options;
  checkMilliseconds("timeout", timeout);
  let passes = checkInteger("count", options.count ?? Infinity, 0);
  const map = mapOf(options.map);
  checkSignal(signal);
  const reactor = map[REACTOR];
  const wake = () => reactor.wake();
  const handover = reactor.start();
  if (handover) await handover;
  try {
    signal?.addEventListener("abort", wake);
    // A program may call loop() on an empty map again and again: its timers must
    // run, and the rest of the process, too.
    if (reactor.isIdle) {
      if (passes-- > 0 && !signal?.aborted) await reactor.pass(0, false);
      else await reactor.turn();
    }
    const goesOn = () => passes-- > 0 && !signal?.aborted && !reactor.isIdle;
    await reactor.passes(timeout, true, goesOn);
    reactor.throwExit();
  } finally {
    if (reactor.lingering.releasing.size > 0) {
      await reactor.lingering.released();
    }
    reactor.stop();
    signal?.removeEventListener("abort", wake);
    const settled = reactor.pollers.settled();
    if (settled !== null) await settled;
  }
}

/**
 * Makes one pass: asks the dispatchers, waits for at most `timeout`, and
 * dispatches the events. If the map is empty, it sleeps for `timeout`.
 *
 * @param timeout In milliseconds.
 * @param map The map to drive; by default, and for `null`, the default map.
 * @throws {ExitNow} If a hook, a predicate or a timer throws it.
 * @throws The error of the map's clock: see {@linkcode Clock}.
 * @throws {TypeError | RangeError} If an argument is wrong.
 * @throws {Error} If a loop runs on this map already.
 *
 * @example Sixty frames a second, and the network in the time between
 * ```ts
 * import { poll } from "@asyncore/asyncore";
 *
 * const frame = 1_000 / 60;
 * let next = performance.now() + frame;
 * for (let frames = 0; frames < 6; frames++, next += frame) {
 *   do await poll(Math.max(0, next - performance.now()));
 *   while (performance.now() < next);
 *   // … move, draw …
 * }
 * ```
 */
export async function poll(
  timeout: number = 0,
  map?: SocketMap | null,
): Promise<void> {
  if (typeof timeout === "object") {
    throw new TypeError(
      `timeout must be a number of ms, got ${showValue(timeout)}: ` +
        "poll(timeout, map) takes no options",
    );
  }
  checkMilliseconds("timeout", timeout);
  const reactor = mapOf(map)[REACTOR];
  const handover = reactor.start();
  if (handover) await handover;
  try {
    await reactor.pass(timeout, false);
  } finally {
    if (reactor.lingering.releasing.size > 0) {
      await reactor.lingering.released();
    }
    reactor.stop();
    const settled = reactor.pollers.settled();
    if (settled !== null) await settled;
  }
}

/**
 * Calls `close()` of every dispatcher of a map, so that the map is empty. If a
 * `close()` throws, the dispatcher is closed all the same, and the others are
 * closed, too. Accepted bytes go out in the background.
 *
 * @param map The map to empty; by default, and for `null`, the default map.
 * @param ignoreAll Whether to ignore the errors of `close()`. An
 * {@linkcode ExitNow} is never ignored.
 * @throws {TypeError} If an argument is wrong.
 * @throws The first error of a `close()`, after all dispatchers are closed.
 */
export function closeAll(
  map?: SocketMap | null,
  ignoreAll: boolean = false,
): void {
  const reactor = mapOf(map)[REACTOR];
  checkBoolean("ignoreAll", ignoreAll);
  const errors: unknown[] = [];
  for (const entry of [...reactor.members.values()]) {
    try {
      // An override may be async: its rejection is reported, not awaited.
      if (!reactor.follow(entry.pollable.close())) entry.closeAnyway();
    } catch (error) {
      if (!ignoreAll || error instanceof ExitNow) errors.push(error);
    }
  }
  for (const entry of [...reactor.members.values()]) entry.close();
  if (errors.length > 0) throw errors[0];
}

/** Options of {@linkcode shutdown}. */
export interface ShutdownOptions {
  /**
   * The map to empty.
   *
   * @default {socketMap}
   */
  map?: SocketMap | null | undefined;
  /**
   * How long, in milliseconds from now, the connections may take to end. Then
   * the others are aborted.
   *
   * @default {10_000}
   */
  deadline?: number | undefined;
}

const SHUTDOWN_OPTIONS: OptionNames<ShutdownOptions> = {
  map: true,
  deadline: true,
};

/**
 * Ends the dispatchers of a map in good order. Listeners close at once, so that
 * the next process can listen on their ports. Every other dispatcher gets a
 * `handleShutdown()`, in which it can finish its work; a dispatcher that joins
 * later gets it as well. At the deadline, the remaining connections are aborted,
 * even closed ones that still send.
 *
 * If a loop runs, it goes on, and ends when the map is empty. If none runs,
 * `shutdown()` makes the passes itself, until a loop starts. A hook may call
 * `shutdown()`, but should not await it: `shutdown()` waits for the hook.
 *
 * @param options The map and the deadline.
 * @returns How many listeners and connections were closed, and how.
 * @throws {TypeError | RangeError} If an option is wrong, or has an unknown name.
 * @throws {ExitNow} If a hook throws it in a pass that `shutdown()` makes.
 * @throws The error of the map's clock in such a pass.
 *
 * @example Serve, and end in good order, at Ctrl-C for example
 * ```ts
 * import { Dispatcher, loop, shutdown } from "@asyncore/asyncore";
 * import { assertEquals } from "@std/assert";
 *
 * const server = new Dispatcher();
 * server.createSocket();
 * server.bind({ hostname: "127.0.0.1", port: 0 });
 * server.listen();
 * const serving = loop();
 *
 * // Deno.addSignalListener("SIGINT", async () => {
 * const ended = await shutdown({ deadline: 5_000 });
 * // });
 * assertEquals(ended, { listeners: 1, closed: 0, aborted: 0 });
 * await serving;
 * ```
 */
export async function shutdown(
  options: ShutdownOptions = {},
): Promise<ShutdownResult> {
  checkMapOptions(options, SHUTDOWN_OPTIONS);
  const { deadline = 10_000 } = options;
  const map = mapOf(options.map);
  checkMilliseconds("deadline", deadline);
  return await new Shutdown(map[REACTOR]).run(deadline);
}

/**
 * The map that is meant: `undefined` and `null` mean the default map.
 *
 * @throws {TypeError} If it is no {@linkcode SocketMap}.
 */
export function mapOf(map: SocketMap | null | undefined): SocketMap {
  if (map === undefined || map === null) return defaultMap();
  if (map instanceof SocketMap) return map;
  const isInside = (map as { map?: unknown }).map instanceof SocketMap;
  throw new TypeError(
    `map must be a SocketMap, got ${showValue(map)}${
      isInside ? ": give the map itself" : ""
    }`,
  );
}

/**
 * Checks an object of options, one of which is a map.
 *
 * @throws {TypeError} If it is no object, or the map itself.
 */
export function checkMapOptions(options: unknown, names: AnyNames): void {
  if (options instanceof SocketMap) {
    throw new TypeError("options must be { map }, got the map itself");
  }
  checkOptions(options, names);
}

/**
 * Shortest interval of a repeating timer, in ms. A shorter one would gain nothing:
 * a timer runs at most once a pass. The value is a choice.
 */
const SHORTEST_INTERVAL = 0.001;

/** Checks the arguments of a timer, and starts it. It ends with its group, if any. */
export function startTimer(
  map: SocketMap,
  delay: number,
  callback: () => unknown,
  repeats: boolean,
  group: TimerGroup | null,
): Timer {
  const name = repeats ? "interval" : "delay";
  checkMilliseconds(name, delay, {
    min: repeats ? SHORTEST_INTERVAL : 0,
    finite: true,
  });
  checkFunction("callback", callback);
  const { timers } = map[REACTOR];
  const timer = new HeapTimer(timers, delay, repeats, callback, group);
  timer.reset();
  return timer;
}
