/**
 * The accepting side of a listener: at most one accept in flight, a handful of
 * connections held, no more of them than it may have, and a pause when
 * descriptors run out.
 *
 * @module
 */

import { Alarm } from "./rate_limited_warning.ts";
import {
  type Acceptor,
  asChannel,
  type Channel,
  type CheckedChannel,
  closeQuietly,
  received,
} from "./channel.ts";
import { isClientGone, isExhaustion } from "./errors.ts";
import type { StartTimer } from "./handshake.ts";
import { exhaustion } from "./log.ts";
import { onClose } from "./watch_close.ts";

/** How many connections are taken ahead of the owner. */
const AHEAD = 64;

/** How long accepting pauses at first when descriptors ran out, in ms. */
const SHORTEST_PAUSE = 50;
/** What that pause grows to while they stay out. */
const LONGEST_PAUSE = 1_000;

/** With more clients at their handshake, the oldest has to make room … */
const MOST_HANDSHAKES = 256;
/** … when it has had this long, in ms. Until then the next ones wait. */
const FAIR_SHARE = 1_000;

/** What the owner of a listener is told, and what it lends. */
export interface AcceptEvents {
  /** An accept has ended, or another may begin. */
  ready(): void;
  /** The owner wanted connections when it was last asked. */
  wanted(): boolean;
  now(): number;
  startTimer: StartTimer;
  /** Accepting has begun to fail for want of descriptors or memory, or works again. */
  exhausted(isExhausted: boolean, error: unknown): void;
  /** There are as many connections as there may be, or fewer again. */
  full(isFull: boolean): void;
  /** Waits for the handshake of a connection that has one. */
  secure(channel: CheckedChannel): Promise<void>;
}

/** Accepts ahead of its owner. */
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
  readonly #maxConnections: number;
  /** How many connections were taken and are not closed. */
  #open = 0;
  /** Connections for the owner. */
  #waiting: CheckedChannel[] = [];
  /** Those at their handshake, and since when; the oldest comes first. */
  readonly #handshakes = new Map<Channel, number>();
  #closed = false;
  /** The acceptor owes the answer to an `accept()`. */
  #isAccepting = false;
  #quiet: PromiseWithResolvers<void> | null = null;
  #pause = 0;
  #failure: unknown = undefined;
  readonly #exhausted: Alarm;
  readonly #full: Alarm;

  constructor(
    acceptor: Acceptor,
    maxConnections: number,
    events: AcceptEvents,
  ) {
    this.#acceptor = acceptor;
    this.#maxConnections = maxConnections;
    this.#events = events;
    this.#exhausted = new Alarm({
      ...events,
      tell: (isOn) => events.exhausted(isOn, this.#failure),
    });
    this.#full = new Alarm({ ...events, tell: events.full });
  }

  /** A connection or an error waits for the owner. */
  get ready(): boolean {
    return this.#waiting.length > 0 || this.ended;
  }

  /** Starts an accept, unless one is in flight or something waits already. */
  arm(): void {
    if (!this.ready) this.#start();
  }

  #start(): void {
    if (this.busy || this.#closed || this.#isFull) return;
    if (this.#handshakes.size > MOST_HANDSHAKES) return;
    this.busy = true;
    this.#isAccepting = true;
    try {
      const accepted: unknown = this.#acceptor.accept();
      // It may be no promise, or one that breaks the rules.
      Promise.resolve(accepted).then(this.#onAccept, this.#onError);
    } catch (error) {
      this.#onError(error);
    }
  }

  /** Takes the connection that waits. */
  take(): CheckedChannel | null {
    const checked = this.#waiting.shift();
    if (checked === undefined) return null;
    if (this.#maxConnections < Infinity) this.#count(checked.channel);
    return checked;
  }

  /** Counts a connection until its end, or gives it up where that cannot be seen. */
  #count(channel: Channel): void {
    try {
      onClose(channel, () => {
        this.#open--;
        this.#lookAtRoom();
      });
      this.#open++;
    } catch (error) {
      closeQuietly(channel);
      throw error;
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#endPause();
    closeQuietly(this.#acceptor);
    for (const { channel } of this.#waiting) closeQuietly(channel);
    for (const channel of this.#handshakes.keys()) closeQuietly(channel);
    this.#waiting = [];
  }

  /**
   * Waits, after {@linkcode close}, until the system has the address back: Deno
   * keeps it as long as an accept is in flight.
   *
   * @returns `null` if no accept is in flight and no handshake.
   */
  whenClosed(): Promise<void> | null {
    if (this.#isQuiet) return null;
    return (this.#quiet ??= Promise.withResolvers()).promise;
  }

  /** The clock is about to become another one, which shows `change` more. */
  shift(change: number): void {
    for (const [channel, since] of this.#handshakes) {
      this.#handshakes.set(channel, since + change);
    }
    this.#exhausted.shift(change);
    this.#full.shift(change);
  }

  get #isQuiet(): boolean {
    return !this.#isAccepting && this.#handshakes.size === 0;
  }

  #lookWhetherQuiet(): void {
    if (this.#closed && this.#isQuiet) this.#quiet?.resolve();
  }

  get #isFull(): boolean {
    const { size } = this.#handshakes;
    return this.#open + this.#waiting.length + size >= this.#maxConnections;
  }

  /** A connection has come or gone. */
  #lookAtRoom(): void {
    if (this.#closed) return;
    this.#full.set(this.#isFull);
    this.#events.ready();
  }

  #endPause(): void {
    if (this.#pause > 0) exhaustion.listeners--;
    this.#pause = 0;
  }

  /** An accept has ended. */
  #accepted(): void {
    this.busy = false;
    this.#isAccepting = false;
    this.#lookWhetherQuiet();
  }

  readonly #onAccept = (value: unknown): void => {
    this.#accepted();
    if (this.#closed) {
      closeQuietly(value as Channel);
      return;
    }
    let checked: CheckedChannel;
    try {
      checked = received(asChannel, "The connection", value);
    } catch (error) {
      this.#onError(error);
      return;
    }
    this.#endPause();
    this.#exhausted.set(false);
    if (checked.shakesHands) this.#secure(checked);
    else this.#waiting.push(checked);
    this.#lookAtRoom();
    // Whoever waits in the backlog is at hand at once.
    if (this.#waiting.length < AHEAD && this.#events.wanted()) this.#start();
  };

  /** A silent client must not keep others waiting, so handshakes run side by side. */
  #secure(checked: CheckedChannel): void {
    const { channel } = checked;
    this.#handshakes.set(channel, this.#events.now());
    this.#makeRoom();
    this.#events.secure(checked).then(() => {
      if (this.#closed) closeQuietly(channel);
      else this.#waiting.push(checked);
    }, () => this.clientsGone++).finally(() => {
      this.#handshakes.delete(channel);
      this.#lookWhetherQuiet();
      this.#lookAtRoom();
    });
  }

  /** Silent clients must not hold up the others for their whole time. */
  #makeRoom(): void {
    if (this.#handshakes.size <= MOST_HANDSHAKES || this.#closed) return;
    const { now, startTimer } = this.#events;
    const [oldest, since] = this.#handshakes.entries().next().value!;
    const rest = since + FAIR_SHARE - now();
    if (rest > 0) startTimer(rest, () => this.#makeRoom());
    else closeQuietly(oldest); // Its handshake fails with it.
  }

  readonly #onError = (error: unknown): void => {
    this.#accepted();
    if (this.#closed) return;
    if (isClientGone(error)) {
      // The owner's next turn arms again: a listener that fails for ever must
      // not keep everyone else from theirs.
      this.clientsGone++;
      this.#events.ready();
    } else if (isExhaustion(error)) this.#pauseFor(error);
    else {
      this.error = error;
      this.ended = true;
      this.#events.ready();
    }
  };

  #pauseFor(error: unknown): void {
    if (this.#pause === 0) exhaustion.listeners++;
    this.#failure = error;
    this.#exhausted.set(true);
    this.#pause = Math.min(
      Math.max(2 * this.#pause, SHORTEST_PAUSE),
      LONGEST_PAUSE,
    );
    this.busy = true;
    this.#events.startTimer(this.#pause, () => {
      this.busy = false;
      this.arm();
    });
  }
}
