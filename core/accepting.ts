/**
 * How a listener takes connections: one `accept()` is in flight at a time, some
 * connections are taken before the dispatcher asks for them, `maxConnections` is
 * kept, and accepting pauses when descriptors run out.
 *
 * @module
 */

import { RateLimitedWarning } from "./rate_limited_warning.ts";
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
import type { Poller } from "./poller.ts";
import { onClose } from "./channel_end.ts";
import { TimerGroup } from "./timers.ts";

/**
 * Accepting goes on without the dispatcher's turn until so many connections wait
 * for it. A larger number takes a burst of clients in fewer passes; a smaller one
 * loses fewer connections when the listener closes before the dispatcher takes
 * them. The value is a choice: with a burst of 400 clients, 1, 64 and 512 cost the
 * same processor time, within the noise.
 */
const AHEAD = 64;

/**
 * First pause of accepting when descriptors ran out, in ms. Each further pause is
 * twice as long, up to `LONGEST_PAUSE`. A shorter pause tries more often in vain;
 * a longer one keeps clients waiting when descriptors are free again. Both values
 * are a choice, not measured.
 */
const SHORTEST_PAUSE = 50;
/** Longest pause of accepting, in ms. */
const LONGEST_PAUSE = 1_000;

/**
 * With more clients than this at their handshake, accepting stops until one of
 * them is done. A larger number lets silent clients hold more descriptors; a
 * smaller one makes a burst of clients wait. The value is a choice, not measured.
 */
const MOST_HANDSHAKES = 256;
/**
 * Beyond `MOST_HANDSHAKES`, the oldest handshake is cut off when it has taken
 * this long, in ms. More time lets silent clients hold up the others for longer;
 * less cuts off honest clients on slow links. The value is a choice, not measured.
 */
const LEAST_HANDSHAKE_TIME = 1_000;

/** The name of the method of an acceptor that needs no promise. */
export const ACCEPT_NEXT: unique symbol = Symbol("accept next");

/** An acceptor of an engine that brings its events by itself. */
export interface AcceptsNext {
  readonly poller: Poller;
  /**
   * Waits for the next connection, while a loop runs. It may call back at once.
   */
  [ACCEPT_NEXT](
    accepted: (channel: Channel) => void,
    failed: (error: unknown) => void,
  ): void;
}

/** Whether an acceptor belongs to such an engine. */
export function acceptsNext(
  acceptor: Acceptor,
): acceptor is Acceptor & AcceptsNext {
  return ACCEPT_NEXT in acceptor;
}

/** What the accepting side needs of its listener. */
export interface AcceptEvents {
  /** An accept has ended, or another may begin. */
  ready(): void;
  /** Whether the dispatcher wanted connections when it was last asked. */
  wanted(): boolean;
  now(): number;
  /** Starts a timer of {@linkcode Accepting.timers}. */
  startTimer: StartTimer;
  /** Accepting fails because descriptors or memory ran out, or works again. */
  exhausted(isExhausted: boolean, error: unknown): void;
  /** The listener has `maxConnections` connections, or fewer again. */
  full(isFull: boolean): void;
  /** Waits for the handshake of a connection. */
  shakeHands(channel: CheckedChannel): Promise<void>;
}

/** Takes connections, and keeps them until the dispatcher asks for them. */
export class Accepting {
  /** An accept is in flight, or accepting pauses. */
  busy = false;
  /** Why accepting ended. */
  error: unknown = undefined;
  ended = false;
  /** How many clients left, or failed at their handshake, before they were accepted. */
  clientsGone = 0;

  /** The timers, which go to the next listener together with the acceptor. */
  readonly timers: TimerGroup = new TimerGroup();

  readonly #acceptor: Acceptor;
  #events: AcceptEvents;
  readonly #maxConnections: number;
  /** How many connections were taken and are not closed. */
  #open = 0;
  /** The connections that the dispatcher has not yet taken. */
  #waiting: CheckedChannel[] = [];
  /** The connections at their handshake, and since when. The oldest comes first. */
  readonly #handshakes = new Map<Channel, number>();
  #closed = false;
  /** The acceptor's `accept()` has not settled. */
  #isAccepting = false;
  #quiet: PromiseWithResolvers<void> | null = null;
  #pause = 0;
  #failure: unknown = undefined;
  readonly #exhausted: RateLimitedWarning;
  readonly #full: RateLimitedWarning;

  constructor(
    acceptor: Acceptor,
    maxConnections: number,
    events: AcceptEvents,
  ) {
    this.#acceptor = acceptor;
    this.#maxConnections = maxConnections;
    this.#events = events;
    const now = () => this.#events.now();
    const startTimer: StartTimer = (delay, callback) =>
      this.#events.startTimer(delay, callback);
    this.#exhausted = new RateLimitedWarning({
      now,
      startTimer,
      tell: (isOn) => this.#events.exhausted(isOn, this.#failure),
    });
    this.#full = new RateLimitedWarning({
      now,
      startTimer,
      tell: (isOn) => this.#events.full(isOn),
    });
  }

  /** Goes on for another listener, with the connections that wait. */
  moveTo(events: AcceptEvents): this {
    this.shift(events.now() - this.#events.now());
    this.#events = events;
    return this;
  }

  /** A connection or an error waits for the dispatcher. */
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
      const acceptor = this.#acceptor;
      if (acceptsNext(acceptor)) {
        acceptor[ACCEPT_NEXT](this.#onAccept, this.#onError);
        return;
      }
      const accepted: unknown = acceptor.accept();
      // A foreign acceptor may give no promise, or one that breaks the rules.
      Promise.resolve(accepted).then(this.#onAccept, this.#onError);
    } catch (error) {
      this.#onError(error);
    }
  }

  /** Takes the first waiting connection, or `null`. */
  take(): CheckedChannel | null {
    const checked = this.#waiting.shift();
    if (checked === undefined) return null;
    if (this.#maxConnections < Infinity) this.#count(checked.channel);
    return checked;
  }

  /** Counts a connection until it is closed. If its end cannot be seen, closes it. */
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
    this.timers.end();
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
   * @returns `null` if no accept and no handshake is in flight.
   */
  whenClosed(): Promise<void> | null {
    if (this.#isQuiet) return null;
    return (this.#quiet ??= Promise.withResolvers()).promise;
  }

  /** The map's clock is replaced by one that shows `change` ms more. */
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
    if (checked.shakesHands) this.#shakeHands(checked);
    else this.#waiting.push(checked);
    this.#lookAtRoom();
    // Clients in the backlog are taken at once, not one a pass.
    if (this.#waiting.length < AHEAD && this.#events.wanted()) this.#start();
  };

  /** Handshakes run side by side: a silent client must not keep others waiting. */
  #shakeHands(checked: CheckedChannel): void {
    const { channel } = checked;
    this.#handshakes.set(channel, this.#events.now());
    this.#makeRoom();
    this.#events.shakeHands(checked).then(() => {
      if (this.#closed) closeQuietly(channel);
      else this.#waiting.push(checked);
    }, () => this.clientsGone++).finally(() => {
      this.#handshakes.delete(channel);
      this.#lookWhetherQuiet();
      this.#lookAtRoom();
    });
  }

  /** Cuts off the oldest handshake, as soon as it has had its `LEAST_HANDSHAKE_TIME`. */
  #makeRoom(): void {
    if (this.#handshakes.size <= MOST_HANDSHAKES || this.#closed) return;
    const { now, startTimer } = this.#events;
    const [oldest, since] = this.#handshakes.entries().next().value!;
    const rest = since + LEAST_HANDSHAKE_TIME - now();
    if (rest > 0) startTimer(rest, () => this.#makeRoom());
    else closeQuietly(oldest); // Its handshake fails with it.
  }

  readonly #onError = (error: unknown): void => {
    this.#accepted();
    if (this.#closed) return;
    if (isClientGone(error)) {
      // The next accept starts in the listener's next turn. An acceptor that
      // fails each time would otherwise keep the other dispatchers from theirs.
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
