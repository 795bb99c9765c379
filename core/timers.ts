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
export class TimerHeap {
  readonly #heap: HeapTimer[] = [];
  /** When they are due, side by side: each timer would need an object for that. */
  #due: Float64Array = new Float64Array(16);
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
    return this.#heap.length > 0 ? this.#due[0]! : Infinity;
  }

  /** When a pending timer is due. */
  dueOf({ index }: HeapTimer): number {
    return this.#due[index]!;
  }

  /**
   * Takes out the next timer that is due at `time` and was started as one of
   * the first `started`. A repeating one is set again.
   */
  takeDue(time: number, started: number): HeapTimer | null {
    const timer = this.#heap[0];
    const due = this.#due[0]!;
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

  add(timer: HeapTimer, due: number): void {
    timer.sequence = ++this.started;
    const { length } = this.#heap;
    if (length === this.#due.length) {
      const larger = new Float64Array(2 * length);
      larger.set(this.#due);
      this.#due = larger;
    }
    this.#place(timer, due, length);
    this.#rise(timer, due);
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
      const due = this.#due[this.#heap.length]!;
      this.#place(last, due, timer.index);
      this.#rise(last, due);
      this.#sink(last, due);
    }
    timer.index = -1;
  }

  #place(timer: HeapTimer, due: number, index: number): void {
    this.#heap[index] = timer;
    this.#due[index] = due;
    timer.index = index;
  }

  /** Whether the timer at one place comes before that at another. */
  #isBefore(a: number, b: number): boolean {
    const dueA = this.#due[a]!;
    const dueB = this.#due[b]!;
    if (dueA !== dueB) return dueA < dueB;
    return this.#heap[a]!.sequence < this.#heap[b]!.sequence;
  }

  #rise(timer: HeapTimer, due: number): void {
    for (let at = timer.index; at > 0;) {
      const parent = (at - 1) >> 1;
      if (this.#isBefore(parent, at)) return;
      this.#place(this.#heap[parent]!, this.#due[parent]!, at);
      this.#place(timer, due, parent);
      at = parent;
    }
  }

  #sink(timer: HeapTimer, due: number): void {
    const { length } = this.#heap;
    for (let at = timer.index;;) {
      let child = 2 * at + 1;
      if (child + 1 < length && this.#isBefore(child + 1, child)) child++;
      if (child >= length || this.#isBefore(at, child)) return;
      this.#place(this.#heap[child]!, this.#due[child]!, at);
      this.#place(timer, due, child);
      at = child;
    }
  }
}
