/**
 * A queue whose cost does not grow with its length, as that of `shift()` on a
 * long array does.
 *
 * @module
 */

/** First in, first out. */
export class Queue<T> {
  #items: (T | undefined)[] = [];
  /** Where the first item is; before it, all were taken. */
  #head = 0;

  /** How many items wait. */
  get length(): number {
    return this.#items.length - this.#head;
  }

  /** The item that comes next, if there is one. */
  get first(): T | undefined {
    return this.#items[this.#head];
  }

  /** Adds an item at the end. */
  push(item: T): void {
    this.#items.push(item);
  }

  /** Takes the first item, if there is one. */
  shift(): T | undefined {
    if (this.length === 0) return undefined;
    const item = this.#items[this.#head];
    this.#items[this.#head++] = undefined; // The taker alone holds it now.
    // Each item is moved at most once for each that was taken.
    if (2 * this.#head >= this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }
}
