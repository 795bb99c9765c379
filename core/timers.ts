/**
 * Timers that run inside the loop.
 *
 * @module
 */

import { type HeapEntry, TimeHeap } from "./heap.ts";

/** A callback that the loop will run; see `SocketMap.callLater()`. */
export interface Timer extends Disposable {
  /** Forgets the callback. Does nothing when it has run or was cancelled. */
  cancel(): void;
  /**
   * Starts the whole delay (or interval) again from now, also after the
   * callback has run or was cancelled. Does nothing once the dispatcher that
   * the timer belongs to is closed.
   */
  reset(): void;
}

/** The timers that end with their owner. */
export class TimerGroup {
  ended = false;
  /** Where they run, when their owner has moved to another map. */
  heap: TimerHeap | null = null;
  /** Made with the first timer: most connections never have one. */
  #timers: Set<HeapTimer> | null = null;

  add(timer: HeapTimer): void {
    this.#timers ??= new Set();
    this.#timers.add(timer);
  }

  delete(timer: HeapTimer): void {
    this.#timers?.delete(timer);
  }

  /** Takes the timers that are pending to another map. */
  moveTo(heap: TimerHeap): void {
    this.heap = heap;
    for (const timer of [...this.#timers ?? []]) timer.moveTo(heap);
  }

  end(): void {
    this.ended = true;
    for (const timer of this.#timers ?? []) timer.cancel();
  }
}

/** A timer and its place in the heap. */
export class HeapTimer implements Timer, HeapEntry {
  index = -1;
  sequence = 0;
  /** The callback's promise is pending: a repeating timer skips its turn. */
  busy = false;

  heap: TimerHeap;
  readonly delay: number;
  readonly repeats: boolean;
  readonly callback: () => unknown;
  readonly group: TimerGroup | null;

  constructor(
    heap: TimerHeap,
    delay: number,
    repeats: boolean,
    callback: () => unknown,
    group: TimerGroup | null,
  ) {
    this.heap = heap;
    this.delay = delay;
    this.repeats = repeats;
    this.callback = callback;
    this.group = group;
  }

  cancel(): void {
    this.group?.delete(this);
    if (this.index >= 0) this.heap.remove(this);
  }

  reset(): void {
    this.cancel();
    this.heap = this.group?.heap ?? this.heap;
    this.startAt(this.heap.now() + this.delay);
  }

  moveTo(heap: TimerHeap): void {
    const remaining = this.heap.dueOf(this) - this.heap.now();
    this.cancel();
    this.heap = heap;
    this.startAt(heap.now() + remaining);
  }

  startAt(due: number): void {
    if (this.group?.ended) return;
    this.group?.add(this);
    this.heap.add(this, due);
  }

  [Symbol.dispose](): void {
    this.cancel();
  }
}

/** All timers of one map, the next one first. */
export class TimerHeap extends TimeHeap<HeapTimer> {
  readonly #onEarlier: () => void;
  readonly now: () => number;

  /** `onEarlier` runs when the next timer has become an earlier one. */
  constructor(now: () => number, onEarlier: () => void) {
    super();
    this.now = now;
    this.#onEarlier = onEarlier;
  }

  /**
   * Takes out the next timer that is due at `time` and was started as one of
   * the first `started`. A repeating one is set again.
   */
  takeDue(time: number, started: number): HeapTimer | null {
    const timer = this.first;
    const due = this.nextDue;
    if (timer === undefined || due > time) return null;
    if (timer.sequence > started) return null;
    timer.cancel();
    if (timer.repeats) {
      // Keeps the beat: what fell due meanwhile is skipped, not caught up.
      const missed = Math.floor((time - due) / timer.delay);
      timer.startAt(due + (missed + 1) * timer.delay);
    }
    return timer;
  }

  override add(timer: HeapTimer, due: number): void {
    super.add(timer, due);
    if (timer.index === 0) this.#onEarlier();
  }
}
