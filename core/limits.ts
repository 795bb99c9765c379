/**
 * How long a connection may be silent, and how long it may last.
 *
 * @module
 */

import type { StartTimer } from "./handshake.ts";

/**
 * What has run out: `"idle"`, the time in which nothing was read or written,
 * or `"lifetime"`, that of the connection as a whole.
 */
export type TimeoutKind = "idle" | "lifetime";

/** How long, in ms. */
export interface DeadlineOptions {
  /** Nothing is read or written. */
  idleTimeout: number;
  /** The connection stands. */
  lifetime: number;
}

/** What {@linkcode Deadlines} need of their connection. */
export interface DeadlineEvents {
  now(): number;
  startTimer: StartTimer;
  /** One of the times has run out. */
  expired(kind: TimeoutKind): void;
}

/**
 * The deadlines of one connection. What is read or written only notes the
 * time; the timer looks at the note when it is due, and is started again for
 * the rest. So a busy connection costs the heap no more than an idle one.
 */
export class Deadlines {
  readonly #options: DeadlineOptions;
  readonly #events: DeadlineEvents;
  #activeAt: number;
  #end: number;

  /** Starts them. */
  constructor(options: DeadlineOptions, events: DeadlineEvents) {
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

  /** Something was read or written. */
  touch(): void {
    this.#activeAt = this.#events.now();
  }

  /** The clock is about to become another one, which shows `change` more. */
  shift(change: number): void {
    this.#activeAt = this.#events.now() + change;
    this.#end += change;
  }

  /** The lifetime is over. */
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
      } finally { // One that stays open has another idle time, also after an ExitNow.
        this.#waitIdle(idleTimeout);
      }
    });
  }
}
