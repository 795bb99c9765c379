/**
 * One attempt to connect: it is bounded in time, and ends with the handshake if
 * the connection has one.
 *
 * @module
 */

import { explain } from "./address.ts";
import {
  asChannel,
  type Channel,
  type CheckedChannel,
  closeQuietly,
  received,
} from "./channel.ts";
import { shakeHands, type StartTimer } from "./handshake.ts";
import type { Network } from "./network.ts";
import type { ConnectTarget } from "./socket_options.ts";

/** How an attempt ended. */
export type Outcome = { checked: CheckedChannel } | { error: unknown };

/** The arguments of an attempt. */
export interface ConnectingOptions extends ConnectTarget {
  network: Network;
  /** How long connecting may take, without the handshake, in ms. */
  connectTimeout: number;
  /** How long the handshake may take, in ms. */
  handshakeTimeout: number;
  startTimer: StartTimer;
  /** Counts an operation of the system until it settles. */
  track(operation: Promise<unknown> | undefined): void;
  /** Runs once, when the attempt has ended. */
  ended(outcome: Outcome): void;
}

/** An attempt that is under way. */
export class Connecting {
  readonly #options: ConnectingOptions;
  readonly #abort = new AbortController();
  /** The timer of `connectTimeout`. */
  #timer: { cancel(): void } | null = null;
  /** The connection during its handshake. */
  #handshaking: Channel | null = null;
  #hasEnded = false;

  constructor(options: ConnectingOptions) {
    this.#options = options;
  }

  /** Starts it. The network may look at its connection, or close it, at once. */
  start(): void {
    const { track, settings: { signal } } = this.#options;
    if (signal?.aborted) {
      this.#end({ error: signal.reason });
      return;
    }
    signal?.addEventListener("abort", this.#onSignal);
    this.#timer = this.#startTimer();
    track(
      this.#open().finally(() => this.#timer?.cancel())
        .then((channel) => this.#shakeHands(channel))
        .then(
          (checked) => this.#end({ checked }),
          (error) => this.#fail(error),
        ),
    );
  }

  /** The outcome when its turn has come: the caller may have given up meanwhile. */
  look(outcome: Outcome): Outcome {
    const { signal } = this.#options.settings;
    if (!signal?.aborted || "error" in outcome) return outcome;
    this.#close(outcome.checked.channel);
    return { error: signal.reason };
  }

  readonly #onSignal = (): void => {
    // The reason is the caller's own, so its message stays as it is.
    this.#end({ error: this.#options.settings.signal!.reason });
    this.close();
  };

  /** Gives up the attempt, and closes the connection if there is one. */
  close(): void {
    this.#forget();
    this.#abort.abort();
    if (this.#handshaking) this.#close(this.#handshaking);
  }

  #open(): Promise<Channel> {
    const { address, network, settings } = this.#options;
    const { signal } = this.#abort;
    return new Promise((resolve) =>
      resolve(network.connect(address, { ...settings, signal }))
    );
  }

  async #shakeHands(channel: Channel): Promise<CheckedChannel> {
    const { signal } = this.#abort;
    if (signal.aborted) {
      this.#close(channel); // The network ignored the signal: it is too late.
      throw signal.reason;
    }
    const { handshakeTimeout, startTimer } = this.#options;
    const name = "The network's connection";
    const checked = received(asChannel, name, channel);
    this.#handshaking = channel;
    await shakeHands(checked, handshakeTimeout, startTimer);
    this.#handshaking = null;
    return checked;
  }

  #close(channel: Channel): void {
    this.#options.track(closeQuietly(channel));
  }

  /**
   * Starts the timer of `connectTimeout`. Deno cannot give up every attempt, so the
   * outcome is told before the attempt settles.
   */
  #startTimer(): { cancel(): void } | null {
    const { connectTimeout, startTimer } = this.#options;
    if (connectTimeout === Infinity) return null;
    return startTimer(connectTimeout, () => {
      const message = `No connection within ${connectTimeout} ms`;
      const error = new Deno.errors.TimedOut(message);
      this.#fail(error);
      this.#abort.abort(error);
    });
  }

  #fail(error: unknown): void {
    if (this.#hasEnded) return;
    explain(error, "connect to", this.#options.address);
    this.#end({ error });
  }

  #end(outcome: Outcome): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#forget();
    this.#options.ended(outcome);
  }

  /** Leaves the timer and the signal: a signal may outlive many connections. */
  #forget(): void {
    this.#timer?.cancel();
    this.#options.settings.signal?.removeEventListener("abort", this.#onSignal);
  }
}
