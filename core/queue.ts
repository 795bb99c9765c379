/**
 * A first-in, first-out queue for lists that a peer can make long.
 *
 * @module
 */

/**
 * A queue drops its empty front only when that has this many places. A larger
 * value keeps more empty places; a smaller one copies a short queue more often.
 * Measured: a push and a shift cost 60 ns for each value from 8 to 512, and a
 * sixth more with 0 and a queue of four items.
 */
const COMPACT_FROM = 32;

/**
 * First in, first out. `Array.shift()` moves all remaining items, so emptying a
 * long list would take quadratic time; here it takes linear time.
 */
export class Queue<T> {
  #items: (T | undefined)[] = [];
  /** Where the first item is. The places before it are empty. */
  #start = 0;

  /** How many items wait. */
  get length(): number {
    return this.#items.length - this.#start;
  }

  /** The next item; `undefined` if there is none. */
  get first(): T | undefined {
    return this.#items[this.#start];
  }

  /** The last item; `undefined` if there is none. */
  get last(): T | undefined {
    return this.#items.at(-1);
  }

  /** Puts `item` at the end. */
  push(item: T): void {
    this.#items.push(item);
  }

  /** Takes the first item; `undefined` if there is none. */
  shift(): T | undefined {
    if (this.length === 0) return undefined;
    const item = this.#items[this.#start];
    this.#items[this.#start++] = undefined;
    // Drop the empty places. As many items as are moved have gone before, so the
    // cost of one shift stays constant.
    if (
      this.length === 0 || this.#start >= Math.max(this.length, COMPACT_FROM)
    ) {
      this.#items = this.#items.slice(this.#start);
      this.#start = 0;
    }
    return item;
  }

  /** Takes all items, in order. */
  takeAll(): T[] {
    const items = this.#items.slice(this.#start) as T[];
    this.#items = [];
    this.#start = 0;
    return items;
  }
}
