/**
 * What is still to happen in a simulation, in order of time; what happens at
 * the same time, in the order in which it was planned.
 *
 * @module
 */

/** Something that is to happen. */
export interface Plan {
  readonly time: number;
  readonly sequence: number;
  /** `null` when it was cancelled. */
  run: (() => void) | null;
}

function isBefore(a: Plan, b: Plan): boolean {
  return a.time < b.time || (a.time === b.time && a.sequence < b.sequence);
}

/** A binary heap of plans. */
export class Agenda {
  readonly #heap: Plan[] = [];
  #planned = 0;

  /** When the next plan is due; `Infinity` if there is none. */
  get nextTime(): number {
    this.#dropCancelled();
    return this.#heap[0]?.time ?? Infinity;
  }

  add(time: number, run: () => void): Plan {
    const plan = { time, sequence: ++this.#planned, run };
    const heap = this.#heap;
    let at = heap.length;
    heap.push(plan);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(plan, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = plan;
    return plan;
  }

  /** Takes out the next plan. */
  take(): Plan | null {
    this.#dropCancelled();
    return this.#heap.length > 0 ? this.#pop() : null;
  }

  #dropCancelled(): void {
    while (this.#heap.length > 0 && this.#heap[0]!.run === null) this.#pop();
  }

  #pop(): Plan {
    const heap = this.#heap;
    const first = heap[0]!;
    const last = heap.pop()!;
    if (last === first) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      const right = child + 1;
      if (right < heap.length && isBefore(heap[right]!, heap[child]!)) {
        child = right;
      }
      if (!isBefore(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}
