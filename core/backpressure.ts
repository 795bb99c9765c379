/**
 * Backpressure: a program accepts bytes faster than its peer takes them. This
 * module says when to stop reading, when there is room again, and when that has
 * lasted so long that something is probably wrong.
 *
 * @module
 */

import { checkInteger } from "./arguments.ts";
import { HeapTimer, type TimerGroup, type TimerHeap } from "./timers.ts";

/**
 * The side of a conversation. A server does not read while too many bytes wait
 * to be sent. A client always reads: two sides that both stop reading would wait
 * for each other for ever.
 */
export type Role = "server" | "client";

/**
 * A warning comes when this side has not read, and the peer has taken nothing,
 * for this long, in ms. Two sides that wait for each other look like this, but so
 * does a slow reader. A shorter time warns of slow readers; a longer one tells of
 * a deadlock later. The value is a choice, not measured.
 */
export const LONGEST_STALL = 5_000;

/**
 * Default high-water mark, in bytes. A larger mark keeps a fast link busy through
 * longer pauses of the sender; a smaller one bounds the memory that a peer costs
 * which never takes its answers. Measured with messages of 100 bytes: 16 KiB cost a
 * fifth more processor time, 256 KiB gained nothing.
 */
const DEFAULT_MARK = 64 * 1024;

/** How many bytes a sender may have waiting before it should pause. */
export class HighWaterMark {
  #bytes: number;
  /** The connection that reached the mark, and has not drained since. */
  #reachedBy: unknown = null;

  /**
   * @throws {TypeError | RangeError} If `bytes` is no positive integer.
   */
  constructor(bytes: number = DEFAULT_MARK) {
    this.#bytes = checkInteger("highWaterMark", bytes, 1);
  }

  get bytes(): number {
    return this.#bytes;
  }
  set bytes(bytes: number) {
    this.#bytes = checkInteger("highWaterMark", bytes, 1);
  }

  /** `handleDrain()` runs when this many bytes or fewer wait. */
  get low(): number {
    return Math.floor(this.#bytes / 2);
  }

  /** Notes how many bytes wait for the peer of a connection. */
  note(connection: object, waiting: number): void {
    if (waiting >= this.#bytes) this.#reachedBy = connection;
  }

  /** Whether a connection has reached the mark, and has not drained since. */
  isReachedBy(connection: object): boolean {
    return this.#reachedBy === connection;
  }

  /** Whether `handleDrain()` is due. A second call answers no. */
  takeDrain(connection: object, waiting = 0): boolean {
    if (this.#reachedBy !== connection || waiting > this.low) return false;
    this.#reachedBy = null;
    return true;
  }
}

/** Watches how long backpressure keeps one connection from reading. */
export class Stall {
  readonly #timer: HeapTimer;
  #isOn = false;
  #isTold = false;

  /** @param tell Runs when a stall has lasted. Once it returns true, it is done. */
  constructor(heap: TimerHeap, group: TimerGroup, tell: () => boolean) {
    const due = () => void (this.#isTold = tell());
    this.#timer = new HeapTimer(heap, LONGEST_STALL, false, due, group);
  }

  /** Backpressure begins, or ends. */
  set(isOn: boolean): void {
    if (isOn === this.#isOn) return;
    this.#isOn = isOn;
    this.touch();
  }

  /** The peer has taken something. */
  touch(): void {
    if (this.#isTold) return;
    if (this.#isOn) this.#timer.reset();
    else this.#timer.cancel();
  }
}
