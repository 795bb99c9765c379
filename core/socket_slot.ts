/**
 * Which socket a dispatcher has: one after the other, each with a life of its
 * own.
 *
 * @module
 */

import { Endpoint, type Owner } from "./connection.ts";
import type { DispatcherHooks } from "./dispatcher_hooks.ts";
import { endpointOptions, type Life } from "./dispatcher_options.ts";
import { warnOfForgottenClose, watchClose } from "./forgotten_close.ts";
import { interestOf } from "./interest.ts";
import { nameOf } from "./log.ts";
import type { SocketOptions } from "./network.ts";
import { warn } from "./own_lines.ts";
import { MAP, REACTOR } from "./symbols.ts";
import { TimerGroup } from "./timers.ts";

/** What the engine needs of dispatchers. */
const OWNER: Owner = {
  interest: (of) => interestOf(of as DispatcherHooks),
  warn: (of, message, about) => warn(of as DispatcherHooks, message, about),
  handleEnd: (of) => (of as DispatcherHooks).handleEnd(),
  handleTimeout: (of, kind) => (of as DispatcherHooks).handleTimeout(kind),
  handleShutdown: (of) => (of as DispatcherHooks).handleShutdown(),
  watchClose: (of) => watchClose(of as DispatcherHooks),
  closeForgotten: (of) => warnOfForgottenClose(of as DispatcherHooks),
};

/** The place of a dispatcher's socket. */
export class SocketSlot {
  readonly #dispatcher: DispatcherHooks;
  /** What each of its connections begins with. */
  readonly life: Life;
  #socket: Endpoint | null = null;
  /** The one before, while the hook that closed it goes on. */
  #former: Endpoint | null = null;
  /** Those that were started while there was no socket. */
  #timers: TimerGroup | null = null;

  constructor(dispatcher: DispatcherHooks, life: Life) {
    this.#dispatcher = dispatcher;
    this.life = life;
  }

  /** The present socket, or the last one; `null` before the first. */
  get socket(): Endpoint | null {
    return this.#socket;
  }

  /** The timers that end with the socket. */
  get timers(): TimerGroup {
    return this.#socket?.timers ?? (this.#timers ??= new TimerGroup());
  }

  /**
   * The open socket.
   *
   * @throws {Error} If there is none.
   */
  open(action: string): Endpoint {
    const socket = this.#socket;
    if (socket && !socket.closed) return socket;
    const name = nameOf(this.#dispatcher);
    throw new Error(
      `Cannot ${action}: ${name} has no socket: call createSocket() first`,
    );
  }

  /**
   * The open socket, if it is neither bound nor connected.
   *
   * @throws {Error} If there is none.
   */
  unused(action: string): Endpoint {
    const socket = this.open(action);
    if (socket.phase === "created") return socket;
    throw new Error(
      `Cannot ${action}: ${this.#dispatcher} is ${socket.phase} already`,
    );
  }

  /**
   * The connection that has a peer, will have one or had one.
   *
   * @throws {Error} If there is none.
   */
  connection(action: string): Endpoint {
    const socket = this.#former === null ? this.#socket : this.#talking;
    const phase = socket?.phase ?? "created";
    if (phase === "connected" || phase === "connecting" || phase === "closed") {
      return socket!;
    }
    const advice = phase === "created"
      ? "call connect() first"
      : `it is ${phase}`;
    throw new Error(
      `Cannot ${action}: ${
        nameOf(this.#dispatcher)
      } is not connected: ${advice}`,
    );
  }

  /**
   * The socket that a running hook talks to. `recv()` may run `handleClose()`,
   * which may make a new socket: the hook that called `recv()` goes on with its
   * own.
   */
  get #talking(): Endpoint | null {
    const { isBusy, isCloseDone } = this.#former!.hooks;
    if (!isBusy) this.#former = null;
    else if (isCloseDone || this.#socket?.phase === "created") {
      return this.#former;
    }
    return this.#socket;
  }

  /**
   * Begins with another socket.
   *
   * @throws {Error} If there is an open one.
   */
  begin(action: string, options: SocketOptions): Endpoint {
    if (this.#socket?.closed === false) {
      throw new Error(
        `Cannot ${action}: ${this.#dispatcher} has one already: call close() first`,
      );
    }
    const timers = this.#timers?.ended ? null : this.#timers;
    this.#timers = null;
    const socket = new Endpoint(
      this.#dispatcher,
      OWNER,
      this.#dispatcher[MAP][REACTOR],
      timers,
      endpointOptions(this.life, options),
    );
    // No two hooks at a time, also where they belong to different sockets.
    if (this.#socket?.hooks.isBusy) this.#former = this.#socket;
    if (this.#former?.hooks.isBusy) this.#former.hooks.precede(socket.hooks);
    else this.#former = null;
    this.#socket = socket;
    return socket;
  }

  close(): void {
    this.#socket?.close();
    this.#timers?.end();
  }

  abort(): void {
    this.#socket?.abort();
    this.#timers?.end();
  }
}
