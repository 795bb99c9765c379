/**
 * A priority queue in order of time: {@linkcode TimeHeap}.
 *
 * @module
 */

/** The fields of an entry that a {@linkcode TimeHeap} sets. */
export interface HeapEntry {
  /** The place in the heap; -1 if it is not in the heap. */
  index: number;
  /** The number of its addition: entries due at the same time keep their order. */
  sequence: number;
}

/**
 * A binary heap: adding and removing cost O(log n), looking at the next entry
 * O(1). Each entry knows its place, so it can be removed from the middle: a
 * cancelled timer frees its memory at once.
 */
export class TimeHeap<T extends HeapEntry> {
  readonly #heap: T[] = [];
  /** The times at which the entries are due. An array of numbers needs no objects. */
  #due: Float64Array = new Float64Array(16);
  /** How many entries have been added so far. */
  added = 0;
  /** How many entries there are. */
  size = 0;

  /** The next entry. */
  get first(): T | undefined {
    return this.#heap[0];
  }

  /** When the next entry is due; `Infinity` if the heap is empty. */
  get nextDue(): number {
    return this.#heap.length > 0 ? this.#due[0]! : Infinity;
  }

  /** When an entry of the heap is due. */
  dueOf({ index }: T): number {
    return this.#due[index]!;
  }

  add(entry: T, due: number): void {
    entry.sequence = ++this.added;
    const { length } = this.#heap;
    if (length === this.#due.length) {
      const larger = new Float64Array(2 * length);
      larger.set(this.#due);
      this.#due = larger;
    }
    this.#place(entry, due, length);
    this.#rise(entry, due);
    this.size++;
  }

  remove(entry: T): void {
    const last = this.#heap.pop()!;
    this.size--;
    if (last !== entry) {
      const due = this.#due[this.#heap.length]!;
      this.#place(last, due, entry.index);
      this.#rise(last, due);
      this.#sink(last, due);
    }
    entry.index = -1;
  }

  /** Removes all entries. */
  clear(): void {
    for (const entry of this.#heap) entry.index = -1;
    this.#heap.length = this.size = 0;
  }

  #place(entry: T, due: number, index: number): void {
    this.#heap[index] = entry;
    this.#due[index] = due;
    entry.index = index;
  }

  /** Whether the entry at place `a` comes before the entry at place `b`. */
  #isBefore(a: number, b: number): boolean {
    const dueA = this.#due[a]!;
    const dueB = this.#due[b]!;
    if (dueA !== dueB) return dueA < dueB;
    return this.#heap[a]!.sequence < this.#heap[b]!.sequence;
  }

  #rise(entry: T, due: number): void {
    for (let at = entry.index; at > 0;) {
      const parent = (at - 1) >> 1;
      if (this.#isBefore(parent, at)) return;
      this.#place(this.#heap[parent]!, this.#due[parent]!, at);
      this.#place(entry, due, parent);
      at = parent;
    }
  }

  #sink(entry: T, due: number): void {
    const { length } = this.#heap;
    for (let at = entry.index;;) {
      let child = 2 * at + 1;
      if (child + 1 < length && this.#isBefore(child + 1, child)) child++;
      if (child >= length || this.#isBefore(at, child)) return;
      this.#place(this.#heap[child]!, this.#due[child]!, at);
      this.#place(entry, due, child);
      at = child;
    }
  }
}
