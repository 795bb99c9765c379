/**
 * A list whose front costs as little as its end, for what a peer can make long.
 *
 * @module
 */

/** Fewer items than this are not worth moving. */
const FEW = 32;

/**
 * First in, first out. `Array.shift()` moves all that is left, so that the time
 * for a long list would grow with its square.
 */
export class Queue<T> {
  #items: (T | undefined)[] = [];
  /** Where the first item is; those before it are gone. */
  #start = 0;

  /** How many items wait. */
  get length(): number {
    return this.#items.length - this.#start;
  }

  /** The one that comes next; `undefined` if there is none. */
  get first(): T | undefined {
    return this.#items[this.#start];
  }

  /** The one that came last; `undefined` if there is none. */
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
    // Once in a while, and never more items than have gone since.
    if (this.length === 0 || this.#start >= Math.max(this.length, FEW)) {
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
