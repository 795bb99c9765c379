/**
 * Timers that run inside the loop.
 *
 * @module
 */

import { type HeapEntry, TimeHeap } from "./heap.ts";

/**
 * A callback that the loop will run: see `SocketMap.callLater()` and
 * `SocketMap.callEvery()`. `using` cancels it at the end of a block.
 */
export interface Timer extends Disposable {
  /** Cancels the callback. Does nothing if it has run or was cancelled. */
  cancel(): void;
  /**
   * Starts the whole delay (or interval) again from now, even if the callback has
   * run or was cancelled. A timer of a dispatcher does nothing after the
   * dispatcher has closed.
   */
  reset(): void;
}

/** The timers of one owner, which are cancelled when the owner ends. */
export class TimerGroup {
  ended = false;
  /** The heap of the map that the owner has moved to. */
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

  /** Moves the pending timers to another map. */
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

/** All timers of one map; the next one comes first. */
export class TimerHeap extends TimeHeap<HeapTimer> {
  readonly #onEarlier: () => void;
  readonly now: () => number;

  /** @param onEarlier Runs when a timer becomes the next one. */
  constructor(now: () => number, onEarlier: () => void) {
    super();
    this.now = now;
    this.#onEarlier = onEarlier;
  }

  /**
   * Takes the next timer if it is due at `time` and was among the first `started`
   * timers. A repeating timer is set again.
   */
  takeDue(time: number, started: number): HeapTimer | null {
    const timer = this.first;
    const due = this.nextDue;
    if (timer === undefined || due > time) return null;
    if (timer.sequence > started) return null;
    timer.cancel();
    if (timer.repeats) {
      // Keeps the beat: turns that were missed are skipped, not caught up.
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
