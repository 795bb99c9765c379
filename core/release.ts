/**
 * The release of a closed socket by the system. While a read, a write, an accept
 * or a connect has not settled, the socket keeps its address and its descriptor.
 *
 * @module
 */

import { closeQuietly } from "./channel.ts";
import type { Entry } from "./entry.ts";
import type { Reactor } from "./reactor.ts";

/** A socket that can be closed. */
export interface Releasable extends Entry {
  readonly reactor: Reactor;
  /** A read or a write is in flight. */
  readonly isBusy: boolean;
  /** How long an operation that does not settle may count as lingering, in ms. */
  readonly releaseTimeout: number;
  /** Runs when the system has released the socket. */
  onFree(): void;
}

/** Counts the operations of one socket, and tells when the last one has settled. */
export class Release {
  readonly #socket: Releasable;
  /** How many operations are in flight besides a read and a write. */
  #operations = 0;
  #hasBegun = false;
  #isFree = false;
  /** Cancels the release timeout. */
  #stopWaiting: (() => void) | null = null;

  constructor(socket: Releasable) {
    this.#socket = socket;
  }

  /** Counts an operation as in flight until it settles. */
  track(operation: Promise<unknown> | null | undefined): void {
    if (!operation) return;
    this.#operations++;
    const settled = operation.finally(() => {
      this.#operations--;
      this.look();
    });
    this.#socket.reactor.follow(settled);
  }

  /** Closes a channel, and counts that as an operation. */
  close(closable: { close(): void }): void {
    this.track(closeQuietly(closable));
  }

  /** This side has closed the socket. It is free when no operation is in flight. */
  begin(hasAddress: boolean): void {
    const { reactor } = this.#socket;
    this.#hasBegun = true;
    reactor.lingering.add(this.#socket);
    this.look();
    if (this.#isFree) return;
    reactor.hold(this.#socket, hasAddress);
  }

  /** Frees the socket if no operation is in flight. */
  look(): void {
    const isHeld = this.#operations > 0 || this.#socket.isBusy;
    if (this.#hasBegun && !isHeld) this.free();
  }

  /**
   * Starts the release timeout. The system goes on with an operation of a closed
   * channel, such as a connect to a host that does not answer, and cannot end it.
   */
  waitForRelease(): void {
    const { releaseTimeout, reactor } = this.#socket;
    if (releaseTimeout === 0) this.free();
    else {
      const timer = reactor.clock.setTimeout(() => this.free(), releaseTimeout);
      this.#stopWaiting = () => reactor.clock.clearTimeout(timer);
    }
  }

  /** The release timeout runs. */
  get isWaiting(): boolean {
    return this.#stopWaiting !== null;
  }

  /** Counts the socket as free, even if an operation has not settled. */
  free(): void {
    const { reactor } = this.#socket;
    if (!reactor.lingering.delete(this.#socket)) return;
    this.#isFree = true;
    this.#stopWaiting?.();
    this.#socket.onFree();
    reactor.lingering.freed();
  }
}
