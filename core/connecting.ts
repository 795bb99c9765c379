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
import type { Network, NetworkConnectionOptions } from "./network.ts";

/** How an attempt ended. */
export type Outcome = { checked: CheckedChannel } | { error: unknown };

/** The arguments of an attempt. */
export interface ConnectingOptions {
  address: Deno.Addr;
  network: Network;
  /** What the network is told of the connection. */
  settings: NetworkConnectionOptions;
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
  /** The connection during its handshake. */
  #handshaking: Channel | null = null;
  #hasEnded = false;

  constructor(options: ConnectingOptions) {
    this.#options = options;
  }

  /** Starts it. The network may look at its connection, or close it, at once. */
  start(): void {
    const { track } = this.#options;
    const timer = this.#startTimer();
    track(
      this.#open().finally(() => timer?.cancel())
        .then((channel) => this.#shakeHands(channel))
        .then(
          (checked) => this.#end({ checked }),
          (error) => this.#end({ error }),
        ),
    );
  }

  /** Gives up the attempt, and closes the connection if there is one. */
  close(): void {
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
      this.#end({ error });
      this.#abort.abort(error);
    });
  }

  #end(outcome: Outcome): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    if ("error" in outcome) {
      explain(outcome.error, "connect to", this.#options.address);
    }
    this.#options.ended(outcome);
  }
}
