/**
 * The accepting side of a listener: at most one accept in flight, at most one
 * connection held, and a pause when descriptors run out.
 *
 * @module
 */

import {
  type Acceptor,
  type Channel,
  closeQuietly,
  isClientGone,
  isExhaustion,
} from "./channel.ts";

import { exhaustion } from "./log.ts";

/** How long accepting pauses at first when descriptors ran out, in ms. */
const SHORTEST_PAUSE = 50;
/** What that pause grows to while they stay out. */
const LONGEST_PAUSE = 1_000;

/** How many clients may be at their handshake at the same time. */
const MOST_HANDSHAKES = 256;

/** What the owner of a listener is told. */
export interface AcceptEvents {
  /** An accept has ended. */
  ready(): void;
  /** Runs `resume` after `delay` ms. */
  pause(delay: number, resume: () => void): void;
  /** Accepting has begun to fail for want of descriptors or memory. */
  exhausted(error: unknown): void;
  /** Accepting works again. */
  recovered(): void;
  /** Waits for the handshake of a connection that has one. */
  secure(channel: Channel): Promise<Channel>;
}

/** Accepts ahead of its owner by one connection. */
export class Accepting {
  /** An accept is in flight, or will be when the pause is over. */
  busy = false;
  /** Why accepting ended. */
  error: unknown = undefined;
  ended = false;
  /** How many clients left, or failed at their handshake, before they were accepted. */
  clientsGone = 0;

  readonly #acceptor: Acceptor;
  readonly #events: AcceptEvents;
  /** Connections for the owner: one, or those whose handshakes have ended. */
  #waiting: Channel[] = [];
  readonly #handshakes = new Set<Channel>();
  #closed = false;
  #pause = 0;

  constructor(acceptor: Acceptor, events: AcceptEvents) {
    this.#acceptor = acceptor;
    this.#events = events;
  }

  /** A connection or an error waits for the owner. */
  get ready(): boolean {
    return this.#waiting.length > 0 || this.ended;
  }

  /** Starts an accept, unless one is in flight or something waits already. */
  arm(): void {
    if (this.busy || this.ready || this.#closed) return;
    if (this.#handshakes.size >= MOST_HANDSHAKES) return;
    this.busy = true;
    try {
      this.#acceptor.accept().then(this.#onAccept, this.#onError);
    } catch (error) {
      this.#onError(error);
    }
  }

  /** Takes the connection that waits. */
  take(): Channel | null {
    return this.#waiting.shift() ?? null;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#endPause();
    closeQuietly(this.#acceptor);
    for (const channel of this.#waiting) closeQuietly(channel);
    for (const channel of this.#handshakes) closeQuietly(channel);
    this.#waiting = [];
  }

  #endPause(): void {
    if (this.#pause > 0) exhaustion.listeners--;
    this.#pause = 0;
  }

  readonly #onAccept = (channel: Channel): void => {
    this.busy = false;
    if (this.#closed) {
      closeQuietly(channel);
      return;
    }
    if (this.#pause > 0) {
      this.#endPause();
      this.#events.recovered();
    }
    if (channel.handshake) this.#secure(channel);
    else this.#waiting.push(channel);
    this.#events.ready();
  };

  /** A silent client must not keep others waiting, so handshakes run side by side. */
  #secure(channel: Channel): void {
    this.#handshakes.add(channel);
    this.#events.secure(channel).then(() => {
      if (this.#closed) closeQuietly(channel);
      else this.#waiting.push(channel);
    }, () => this.clientsGone++).finally(() => {
      this.#handshakes.delete(channel);
      if (!this.#closed) this.#events.ready();
    });
  }

  readonly #onError = (error: unknown): void => {
    this.busy = false;
    if (this.#closed) return;
    if (isClientGone(error)) {
      // The owner's next turn arms again: a listener that fails for ever must
      // not keep everyone else from theirs.
      this.clientsGone++;
      this.#events.ready();
    } else if (isExhaustion(error)) {
      if (this.#pause === 0) {
        exhaustion.listeners++;
        this.#events.exhausted(error);
      }
      this.#pause = Math.min(
        Math.max(2 * this.#pause, SHORTEST_PAUSE),
        LONGEST_PAUSE,
      );
      this.busy = true;
      this.#events.pause(this.#pause, () => {
        this.busy = false;
        this.arm();
      });
    } else {
      this.error = error;
      this.ended = true;
      this.#events.ready();
    }
  };
}
