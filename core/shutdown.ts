/**
 * The end of a program that serves: {@linkcode shutdown}.
 *
 * @module
 */

import { checkMilliseconds } from "./arguments.ts";
import {
  checkMap,
  checkMapOptions,
  defaultMap,
  type SocketMap,
} from "../loop.ts";
import type { Entry, Reactor } from "./reactor.ts";
import { REACTOR } from "./symbols.ts";

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

/** What became of the dispatchers of a map. */
export interface ShutdownResult {
  /** How many listeners were closed. */
  listeners: number;
  /**
   * How many connections ended with all that they had to send, as far as can be
   * told: a peer that was quiet to the end may have left it unread.
   */
  closed: number;
  /**
   * How many were open at the deadline, or lost bytes that they had accepted, as
   * a warning says: their peers reset the connection, took nothing any more, or
   * went on talking instead of ending their side.
   */
  aborted: number;
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

/** One shutdown of one map. */
class Shutdown {
  readonly #reactor: Reactor;
  /** The connections that were there, or came since. */
  readonly #connections: Set<Entry>;
  /** Those of them that were aborted, or lost accepted bytes. */
  readonly #aborted = new Set<Entry>();
  #listeners = 0;
  #isLate = false;
  #stopWaiting = () => {};

  constructor(reactor: Reactor) {
    this.#reactor = reactor;
    this.#connections = new Set(closingOf(reactor));
  }

  async run(deadline: number): Promise<ShutdownResult> {
    const reactor = this.#reactor;
    const { clock } = reactor;
    const tell = (entry: Entry) => this.#tell(entry);
    reactor.onEnter.add(tell);
    const timer = deadline === Infinity
      ? null
      : clock.setTimeout(() => this.#onDeadline(), deadline);
    try {
      const members = [...reactor.members.values()];
      for (const entry of members) {
        if (!isListener(entry)) this.#connections.add(entry);
      }
      members.filter(isListener).forEach(tell);
      members.forEach(tell);
      while (!reactor.idle && !this.#isLate) await this.#pass();
      this.#abortRest();
      await reactor.released();
      return this.#result();
    } finally {
      if (timer !== null) clock.clearTimeout(timer);
      reactor.onEnter.delete(tell);
    }
  }

  #tell(entry: Entry): void {
    if (!entry.joined) return; // Another's hook has closed it, say.
    if (isListener(entry)) {
      this.#listeners++;
      this.#reactor.outside(() => {
        if (!this.#reactor.follow(entry.pollable.close())) entry.closeAnyway();
      });
      entry.close();
    } else {
      this.#connections.add(entry);
      this.#reactor.outside(() => entry.shutdown());
    }
  }

  #onDeadline(): void {
    this.#isLate = true;
    this.#reactor.wake();
    this.#stopWaiting();
  }

  /** Makes a pass, or waits until somebody else makes none any more. */
  #pass(): Promise<void> {
    const reactor = this.#reactor;
    if (!reactor.isRunning) return reactor.passAsGuest(Infinity, true);
    return new Promise((resolve) => {
      this.#stopWaiting = resolve;
      reactor.whenFree(resolve);
    });
  }

  #abortRest(): void {
    const reactor = this.#reactor;
    const reason = new Error("the deadline of shutdown() was over");
    for (const entry of [...reactor.members.values()]) {
      this.#connections.add(entry);
      this.#aborted.add(entry);
      entry.abort(reason);
    }
    for (const entry of [...reactor.lingering]) entry.abort(reason);
  }

  #result(): ShutdownResult {
    // A connection that lost something did not end well, however it ended.
    for (const entry of this.#connections) {
      if (entry.hasLost) this.#aborted.add(entry);
    }
    const { size: aborted } = this.#aborted;
    const closed = this.#connections.size - aborted;
    return { listeners: this.#listeners, closed, aborted };
  }
}

/** The closed connections that still have bytes to send. */
function closingOf(reactor: Reactor): Entry[] {
  return [...reactor.lingering].filter(({ closing }) => closing);
}

function isListener({ listens }: Entry): boolean {
  return listens;
}
