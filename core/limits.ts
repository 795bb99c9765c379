/**
 * The limits of a connection in time: how long it may be idle, and how long it
 * may last.
 *
 * @module
 */

import type { StartTimer } from "./handshake.ts";

/**
 * The limit that a connection has reached: `"idle"` when nothing was read or
 * written for `idleTimeout`, `"lifetime"` when the connection has lasted for
 * `lifetime`.
 */
export type TimeoutKind = "idle" | "lifetime";

/** The limits, in ms. */
export interface LimitOptions {
  /** How long nothing may be read or written. */
  idleTimeout: number;
  /** How long the connection may last. */
  lifetime: number;
}

/** What {@linkcode Limits} needs of its connection. */
export interface LimitEvents {
  now(): number;
  startTimer: StartTimer;
  /** The connection has reached a limit. */
  expired(kind: TimeoutKind): void;
}

/**
 * The limits of one connection. A read or a write only notes the time. When the
 * timer is due, it looks at the note, and starts again for the rest. So the timer
 * of a busy connection costs no more than that of an idle one.
 */
export class Limits {
  readonly #options: LimitOptions;
  readonly #events: LimitEvents;
  #activeAt: number;
  #end: number;

  /** Starts the timers. */
  constructor(options: LimitOptions, events: LimitEvents) {
    this.#options = options;
    this.#events = events;
    const { idleTimeout, lifetime } = options;
    this.#activeAt = events.now();
    this.#end = this.#activeAt + lifetime;
    if (idleTimeout < Infinity) this.#waitIdle(idleTimeout);
    if (lifetime < Infinity) {
      events.startTimer(lifetime, () => events.expired("lifetime"));
    }
  }

  /** Bytes were read or written. */
  touch(): void {
    this.#activeAt = this.#events.now();
  }

  /** The map's clock is replaced by one that shows `change` ms more. */
  shift(change: number): void {
    this.#activeAt = this.#events.now() + change;
    this.#end += change;
  }

  /** Whether the lifetime is over. */
  get isOver(): boolean {
    return this.#events.now() >= this.#end;
  }

  #waitIdle(delay: number): void {
    this.#events.startTimer(delay, () => {
      const { idleTimeout } = this.#options;
      const rest = this.#activeAt + idleTimeout - this.#events.now();
      if (rest > 0) {
        this.#waitIdle(rest);
        return;
      }
      this.touch();
      try {
        this.#events.expired("idle");
      } finally { // Even after an ExitNow, a connection that stays open has its next idle time.
        this.#waitIdle(idleTimeout);
      }
    });
  }
}
