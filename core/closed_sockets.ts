/**
 * The closed sockets of a map that linger: they still send, wait for their peer's
 * end, or wait until the system has released them.
 *
 * @module
 */

import type { Clock } from "./clock.ts";
import type { Entry } from "./entry.ts";

/**
 * The operations of a closed socket get so many turns to settle. Deno ends them in
 * the first or second turn; an operation that takes longer may never end. More
 * turns delay a pass for such an operation; fewer would count one that is about to
 * settle as lingering. The value is a choice.
 */
const RELEASE_TURNS = 16;

/** The lingering sockets of one map. */
export class ClosedSockets {
  /** All lingering sockets. */
  readonly entries: Set<Entry> = new Set();
  /** The sockets among them that only wait for the system to release them. */
  readonly releasing: Set<Entry> = new Set();
  /** The releasing sockets with an address that another listener may want. */
  readonly addressesHeld: Set<Entry> = new Set();
  readonly #clock: Clock;
  /** Runs when the system has released a socket. */
  readonly #onFree: () => void;
  /** `releaseAll()` runs. */
  #isReleasing = false;

  constructor(clock: Clock, onFree: () => void) {
    this.#clock = clock;
    this.#onFree = onFree;
  }

  add(entry: Entry): void {
    this.entries.add(entry);
  }

  /** A socket waits for the system to release it. */
  hold(entry: Entry, hasAddress: boolean): void {
    this.releasing.add(entry);
    if (hasAddress) this.addressesHeld.add(entry);
  }

  /** The system has released a socket. Returns whether it lingered. */
  delete(entry: Entry): boolean {
    this.releasing.delete(entry);
    this.addressesHeld.delete(entry);
    return this.entries.delete(entry);
  }

  /** A socket was released, and has given its warnings. */
  freed(): void {
    this.#onFree();
  }

  /** Moves a socket to another map. */
  move(entry: Entry, next: ClosedSockets): void {
    // A lifetime may have ended it before its dispatcher is told.
    if (this.releasing.delete(entry)) next.releasing.add(entry);
    if (this.entries.delete(entry)) next.entries.add(entry);
    this.#onFree();
  }

  /** Waits for the releasing sockets, beside a pass whose wait may be long. */
  async releaseAll(): Promise<void> {
    if (this.#isReleasing) return;
    this.#isReleasing = true;
    while (this.releasing.size > 0) await this.released();
    this.#isReleasing = false;
  }

  /**
   * Waits until the system has released the sockets that were closed so far, or
   * `isInterrupted()` says that the pass has other work. A socket that takes more
   * than `RELEASE_TURNS` goes on with its release timeout.
   */
  async released(isInterrupted = () => false): Promise<void> {
    const entries = [...this.releasing];
    const isHeld = (entry: Entry) => this.releasing.has(entry);
    for (let left = RELEASE_TURNS; left > 0 && entries.some(isHeld); left--) {
      await new Promise<void>((resolve) => this.#clock.setImmediate(resolve));
      if (isInterrupted()) return;
    }
    for (const entry of entries.filter(isHeld)) {
      this.releasing.delete(entry);
      this.addressesHeld.delete(entry);
      entry.waitForRelease();
    }
  }
}
