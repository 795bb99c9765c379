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
  checkOptions,
  showValue,
} from "./core/arguments.ts";
import { type Clock, systemClock } from "./core/clock.ts";
import { type Logger, uncaughtLine } from "./core/log.ts";
import type { Network } from "./core/network.ts";
import { ExitNow, type Pollable, Reactor } from "./core/reactor.ts";
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
  network?: Network;
  /**
   * Tells the time and runs the timeouts.
   *
   * @default {the monotonic clock of this machine}
   */
  clock?: Clock;
  /**
   * Gets the log of each dispatcher that has no logger of its own.
   *
   * @default {none: the console}
   */
  logger?: Logger;
  /**
   * Gets the errors that no dispatcher can handle: of timers, of a logger, of a
   * `handleError()` that threw, of a hook whose dispatcher has closed, of a clock
   * while no loop runs. If it throws or rejects itself, the console gets both
   * errors.
   *
   * @default {logs them as errors, a limited number: see `Logger`}
   */
  onError?: (error: unknown) => void;
}

const CLOCK_METHODS = ["now", "setTimeout", "clearTimeout", "setImmediate"];
const LOG_METHODS = ["debug", "info", "warn", "error"];

/**
 * The live dispatchers of one loop. Maps are independent: what happens in one
 * never touches another, and each can have its own loop running.
 *
 * @example A map of one's own
 * ```ts
 * import { Dispatcher, loop, SocketMap } from "@asyncore/asyncore";
 *
 * const map = new SocketMap();
 * const server = new Dispatcher(null, { map });
 * server.createSocket();
 * console.log(map.size); // 1
 * server.close();
 * await loop({ map }); // ends at once: nobody is left
 * ```
 */
export class SocketMap implements Iterable<Pollable> {
  /** Tells the time. */
  readonly clock: Clock;
  /** Gets the log of each dispatcher that has none of its own. */
  logger: Logger | null;
  /** Gets the errors that no dispatcher can handle. */
  onError: (error: unknown) => void;

  readonly #network: Network | null;
  readonly #reactor: Reactor;

  /**
   * Makes an empty map.
   *
   * @param options The seams: network, clock, logger, onError.
   * @throws {TypeError} If one of them lacks a method.
   */
  constructor(options: SocketMapOptions = {}) {
    checkOptions(options);
    const { network, clock = systemClock } = options;
    if (network !== undefined) {
      checkMethods("network", network, ["connect", "listen"]);
    }
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

  /** Tells `onError()`; if that fails, the console. */
  #report(error: unknown): void {
    try {
      this.#watch(error, this.onError(error));
    } catch (second) {
      this.#toConsole(error, second);
    }
  }

  /** Telling of `error` may be async, and fail later. */
  #watch(error: unknown, told: unknown): void {
    if (!isPromise(told)) return;
    toPromise(told).then(
      undefined,
      (second) => this.#reactor.outside(() => this.#toConsole(error, second)),
    );
  }

  /** What `onError` does by default. */
  #log(error: unknown): void {
    this.#reactor.logQuota.add("uncaught exception", {
      text: () => uncaughtLine(error),
      write: (line) => this.#watch(error, (this.logger ?? console).error(line)),
    });
  }

  /** The last way to tell of an error. */
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

  /** Makes the connections and listeners. */
  get network(): Network {
    return this.#network ?? defaultNetwork!;
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
   * How many are closed, and not done: accepted bytes are still on their way, the
   * peer has yet to end its side (see {@linkcode DispatcherOptions.linger}), or
   * the system goes on with an operation. A program that owns the loop goes on
   * until this is 0 as well.
   */
  get lingering(): number {
    return this.#reactor.lingering.size;
  }

  /** The dispatchers, in the order in which they were added. */
  [Symbol.iterator](): IterableIterator<Pollable> {
    return this.#reactor.members.keys();
  }

  /**
   * Ends the current wait; the next pass asks every dispatcher again. For code
   * outside the loop that has changed what `readable()` or `writable()` will
   * answer. Without a wait under way, the next pass does not wait.
   */
  wake(): void {
    this.#reactor.wake();
  }

  /**
   * Runs `callback` once, inside a later pass of the loop. What it throws goes
   * to {@linkcode SocketMap.onError}; only an {@linkcode ExitNow} leaves the
   * loop. Timers do not keep a loop going whose map is empty.
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
  callLater(delay: number, callback: () => void | Promise<void>): Timer {
    return startTimer(this, delay, callback, false, null);
  }

  /**
   * Runs `callback` each `interval`, inside the loop. A turn that comes late
   * keeps the beat; turns that were missed are skipped, and so are those that
   * come while the callback's promise is pending.
   *
   * @param interval In milliseconds, at least 0.001.
   * @throws {TypeError} If `interval` is no number or `callback` no function.
   * @throws {RangeError} If `interval` is NaN, less than 0.001 or infinite.
   */
  callEvery(interval: number, callback: () => void | Promise<void>): Timer {
    return startTimer(this, interval, callback, true, null);
  }

  /** How the map shows itself in messages: `SocketMap(2)`. */
  toString(): string {
    return `SocketMap(${this.size})`;
  }

  /** What `console.log(map)` shows: its text form. */
  [Symbol.for("Deno.customInspect")](): string {
    return this.toString();
  }
}

/** The default map: that of every dispatcher and loop which names no other. */
export const socketMap: SocketMap = new SocketMap();

let findDefaultMap = (): SocketMap => socketMap;

/** The map of a dispatcher or loop that names none. */
export function defaultMap(): SocketMap {
  return findDefaultMap();
}

/** Has another map be the default: a simulation does so for each of its hosts. */
export function setDefaultMap(find: () => SocketMap): void {
  findDefaultMap = find;
}

/** An entry of the library loads `net/deno_network.ts`, which sets it. */
let defaultNetwork: Network | null = null;

/** Has maps that were given no network use this one. */
export function setDefaultNetwork(network: Network): void {
  defaultNetwork = network;
}

/** Options of {@linkcode loop}. */
export interface LoopOptions {
  /**
   * How long one pass may wait for something to happen, in milliseconds. It
   * does not bound the loop: use `count`, `signal` or a timer for that.
   * At 0 a pass takes what is there, and gives the other sockets and timers one
   * turn. After 10 ms without a wait of the loop's own that turn takes 1 to 2 ms:
   * Deno does not look at its sockets in each, and always before it sleeps.
   *
   * @default {30_000}
   */
  timeout?: number;
  /**
   * The most passes to make.
   *
   * @default {Infinity}
   */
  count?: number;
  /**
   * The map to drive.
   *
   * @default {socketMap}
   */
  map?: SocketMap;
  /** Ends the loop when it aborts: `loop()` then returns, and closes nothing. */
  signal?: AbortSignal;
}

/**
 * Drives the dispatchers of a map, pass after pass, until the map is empty and
 * nothing of what was closed lingers, or `count` passes are made, or `signal`
 * aborts, or something throws {@linkcode ExitNow}.
 *
 * @param options Timeout, count, map, signal.
 * @throws {ExitNow} What a hook, a predicate or a timer threw.
 * @throws What the map's clock threw: see {@linkcode Clock}.
 * @throws {TypeError | RangeError} If an option is wrong.
 * @throws {Error} If the map is being looped already: by another call, or
 * because the call comes from a hook.
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
  checkMapOptions(options);
  const { timeout = 30_000, map = defaultMap(), signal } = options;
  checkMilliseconds("timeout", timeout);
  let passes = checkInteger("count", options.count ?? Infinity, 0);
  checkMap(map);
  if (signal !== undefined) {
    checkMethods("signal", signal, ["addEventListener", "removeEventListener"]);
  }
  const reactor = map[REACTOR];
  const wake = () => reactor.wake();
  const guest = reactor.start();
  if (guest) await guest;
  try {
    signal?.addEventListener("abort", wake);
    // Also a loop that is called again and again on an empty map must not keep
    // the runtime from everything else.
    if (reactor.idle) await reactor.turn();
    while (passes-- > 0 && !signal?.aborted && !reactor.idle) {
      await reactor.pass(timeout, true);
    }
    reactor.throwExit();
  } finally {
    if (reactor.releasing.size > 0) await reactor.released();
    reactor.stop();
    signal?.removeEventListener("abort", wake);
  }
}

/**
 * Makes one pass: asks the dispatchers, waits for at most `timeout`, and
 * dispatches what is ready. With nothing registered it sleeps for `timeout`.
 *
 * @param timeout In milliseconds.
 * @param map The map to drive.
 * @throws {ExitNow} What a hook, a predicate or a timer threw.
 * @throws What the map's clock threw: see {@linkcode Clock}.
 * @throws {TypeError | RangeError} If an argument is wrong.
 * @throws {Error} If the map is being looped already.
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
  map: SocketMap = defaultMap(),
): Promise<void> {
  if (typeof timeout === "object") {
    throw new TypeError(
      `timeout must be a number of ms, got ${showValue(timeout)}: ` +
        "poll(timeout, map) takes no options",
    );
  }
  checkMilliseconds("timeout", timeout);
  checkMap(map);
  const reactor = map[REACTOR];
  const guest = reactor.start();
  if (guest) await guest;
  try {
    await reactor.pass(timeout, false);
  } finally {
    if (reactor.releasing.size > 0) await reactor.released();
    reactor.stop();
  }
}

/**
 * Closes every dispatcher of a map by its own `close()`, and leaves the map
 * empty. One whose `close()` throws is closed all the same, and the others
 * still get their turn. What was accepted goes out in the background.
 *
 * @param map The map to empty.
 * @param ignoreAll Whether to ignore what a `close()` throws. An
 * {@linkcode ExitNow} is never ignored.
 * @throws {TypeError} If an argument is wrong.
 * @throws The first error of a `close()`, after all are closed.
 */
export function closeAll(
  map: SocketMap = defaultMap(),
  ignoreAll: boolean = false,
): void {
  checkMap(map);
  checkBoolean("ignoreAll", ignoreAll);
  const reactor = map[REACTOR];
  const errors: unknown[] = [];
  for (const entry of [...reactor.members.values()]) {
    try {
      // An override may be async, though nothing waits for it.
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
  map?: SocketMap;
  /**
   * How long, in milliseconds from now, the connections may take to end. What
   * is left then is aborted.
   *
   * @default {10_000}
   */
  deadline?: number;
}

/**
 * Ends what a map holds, in good order. Listeners close at once, so that the
 * next process can listen on their ports. Every other dispatcher's
 * `handleShutdown()` runs, in which it finishes what it is at; one that joins
 * later is told as well. What is not over at the deadline is aborted, closed
 * connections that still have bytes to send too.
 *
 * A loop that runs goes on, and ends when the map is empty. Where none runs,
 * `shutdown()` makes the passes itself, and makes way when one comes. A hook
 * should call it without waiting for it, as it waits for the hook.
 *
 * @param options The map and the deadline.
 * @returns How many were closed, and how.
 * @throws {TypeError | RangeError} If an option is wrong.
 * @throws {ExitNow} What a hook threw, in a pass that `shutdown()` made.
 * @throws What the map's clock threw, in such a pass.
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
  checkMapOptions(options);
  const { map = defaultMap(), deadline = 10_000 } = options;
  checkMap(map);
  checkMilliseconds("deadline", deadline);
  return await new Shutdown(map[REACTOR]).run(deadline);
}

/**
 * Checks that `map` is one.
 *
 * @throws {TypeError} If it is anything else.
 */
export function checkMap(map: unknown): void {
  if (map instanceof SocketMap) return;
  const isInside = (map as { map?: unknown } | null)?.map instanceof SocketMap;
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
export function checkMapOptions(options: unknown): void {
  if (options instanceof SocketMap) {
    throw new TypeError("options must be { map }, got the map itself");
  }
  if (options instanceof AbortSignal) {
    throw new TypeError("options must be { signal }, got the signal itself");
  }
  checkOptions(options);
}

/** In ms; more often than the loop's pass it would run only once a pass. */
const SHORTEST_INTERVAL = 0.001;

/** Checks and starts a timer, which ends with its group if it has one. */
export function startTimer(
  map: SocketMap,
  delay: number,
  callback: () => void | Promise<void>,
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
