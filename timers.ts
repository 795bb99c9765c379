/**
 * Timers that run inside the loop: a binary heap, so that arming, resetting
 * and cancelling cost O(log n), and looking at the next one nothing.
 *
 * @module
 */

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
export class HeapTimer implements Timer {
  due = 0;
  /** The place in the heap; -1 outside it. */
  index = -1;
  /** Counts startings, so that timers due at the same time keep their order. */
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
    const remaining = this.due - this.heap.now();
    this.cancel();
    this.heap = heap;
    this.startAt(heap.now() + remaining);
  }

  startAt(due: number): void {
    if (this.group?.ended) return;
    this.group?.add(this);
    this.due = due;
    this.heap.add(this);
  }

  [Symbol.dispose](): void {
    this.cancel();
  }
}

function isBefore(a: HeapTimer, b: HeapTimer): boolean {
  return a.due < b.due || (a.due === b.due && a.sequence < b.sequence);
}

/** All timers of one map, the next one first. */
export class TimerHeap {
  readonly #heap: HeapTimer[] = [];
  readonly #onEarlier: () => void;
  readonly now: () => number;
  /** How many timers have been started so far. */
  started = 0;

  /** `onEarlier` runs when the next timer has become an earlier one. */
  constructor(now: () => number, onEarlier: () => void) {
    this.now = now;
    this.#onEarlier = onEarlier;
  }

  /** When the next timer is due; `Infinity` when there is none. */
  get nextDue(): number {
    return this.#heap[0]?.due ?? Infinity;
  }

  /**
   * Takes out the next timer that is due at `time` and was started as one of
   * the first `started`. A repeating one is set again.
   */
  takeDue(time: number, started: number): HeapTimer | null {
    const timer = this.#heap[0];
    if (timer === undefined || timer.due > time) return null;
    if (timer.sequence > started) return null;
    timer.cancel();
    if (timer.repeats) {
      // Keeps the beat: what fell due meanwhile is skipped, not caught up.
      const missed = Math.floor((time - timer.due) / timer.delay);
      timer.startAt(timer.due + (missed + 1) * timer.delay);
    }
    return timer;
  }

  add(timer: HeapTimer): void {
    timer.sequence = ++this.started;
    timer.index = this.#heap.length;
    this.#heap.push(timer);
    this.#rise(timer);
    if (timer.index === 0) this.#onEarlier();
  }

  /** Forgets all timers. */
  clear(): void {
    for (const timer of this.#heap) timer.index = -1;
    this.#heap.length = 0;
  }

  remove(timer: HeapTimer): void {
    const last = this.#heap.pop()!;
    if (last !== timer) {
      this.#place(last, timer.index);
      this.#rise(last);
      this.#sink(last);
    }
    timer.index = -1;
  }

  #place(timer: HeapTimer, index: number): void {
    this.#heap[index] = timer;
    timer.index = index;
  }

  #rise(timer: HeapTimer): void {
    while (timer.index > 0) {
      const at = timer.index;
      const parent = this.#heap[(at - 1) >> 1]!;
      if (isBefore(parent, timer)) return;
      this.#place(timer, parent.index);
      this.#place(parent, at);
    }
  }

  #sink(timer: HeapTimer): void {
    for (;;) {
      const at = timer.index;
      const left = this.#heap[2 * at + 1];
      const right = this.#heap[2 * at + 2];
      const child = left && right && isBefore(right, left) ? right : left;
      if (child === undefined || isBefore(timer, child)) return;
      this.#place(timer, child.index);
      this.#place(child, at);
    }
  }
}
