/**
 * The events of a simulation that are still to come: {@linkcode EventQueue}.
 *
 * @module
 */

import { type HeapEntry, TimeHeap } from "../core/heap.ts";

/** Something that will happen. */
export class ScheduledEvent implements HeapEntry {
  index = -1;
  sequence = 0;
  readonly run: () => void;
  readonly #heap: TimeHeap<ScheduledEvent>;

  constructor(heap: TimeHeap<ScheduledEvent>, run: () => void) {
    this.#heap = heap;
    this.run = run;
  }

  /** Does nothing if it has run or was cancelled. */
  cancel(): void {
    if (this.index >= 0) this.#heap.remove(this);
  }
}

/**
 * Events in order of time; those of the same time in the order in which they
 * were scheduled.
 */
export class EventQueue {
  readonly #heap = new TimeHeap<ScheduledEvent>();

  /** When the next event is due; `Infinity` if there is none. */
  get nextTime(): number {
    return this.#heap.nextDue;
  }

  schedule(time: number, run: () => void): ScheduledEvent {
    const event = new ScheduledEvent(this.#heap, run);
    this.#heap.add(event, time);
    return event;
  }

  /** Takes out the next event and runs it. */
  runNext(): void {
    const event = this.#heap.first!;
    event.cancel();
    event.run();
  }
}
