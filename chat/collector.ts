/**
 * What arrives in a conversation: {@linkcode Collector} cuts it at terminators.
 *
 * @module
 */

import { checkInteger, showValue } from "../core/arguments.ts";
import { libraryMethods } from "../core/interest.ts";
import { isPromise } from "../core/thenable.ts";
import { Collected } from "./collected.ts";
import { Terminator } from "./terminator.ts";

const encoder = new TextEncoder();
const NO_BYTES = new Uint8Array(0);

/** What ends a message: text or bytes, a number of bytes, or nothing. */
export type TerminatorLike = string | Uint8Array | number | null;

/** A chat, as far as its collector calls it. */
export interface CollectorHooks {
  /** Bytes have arrived. */
  collectIncomingData(data: Uint8Array): unknown;
  /** The terminator has arrived. */
  foundTerminator(): unknown;
  /** Too many bytes were collected. */
  handleOverflow(): unknown;
}

/** Cuts what arrives, and calls one hook at a time. */
export class Collector {
  /** How many bytes may arrive without a terminator, and may be kept. */
  maxLength: number;
  readonly #hooks: CollectorHooks;
  #terminator: TerminatorLike = null;
  /** How to find the terminator; `null` where it is a number or nothing. */
  #search: Terminator | null = null;
  /** The last text that was a terminator, and its search, to be used again. */
  #lastText: string | null = null;
  #lastSearch: Terminator | null = null;
  /** How many bytes of a counted block are still to come. */
  #left = 0;
  /** A counted block is complete, and `foundTerminator()` has yet to run. */
  #isDue = false;

  // Two parts of the input wait for their hook: the held beginning of the
  // terminator, as long as `#search.matched`, and then `#data` from `#at` on.
  #data: Uint8Array = NO_BYTES;
  /** The length that `#data` had at first: a transferred buffer has none. */
  #size = 0;
  #at = 0;
  /** Up to here, `#data` is known to hold no terminator. */
  #plainTo = 0;
  /** How many bytes were collected since the last terminator. */
  #collected = 0;

  /** The bytes that the chat's class leaves to the library; `null` if it never did. */
  #kept: Collected | null = null;
  /** It is to be told that a counted block will not fit into what may be kept. */
  #isTooLarge = false;
  /**
   * The next step tells of an overflow. After `handleOverflow()`, it drops the
   * bytes that this has not taken.
   */
  #isOverflowDue = false;
  /** What was too much in the last overflow. */
  #tooMuch = "too many bytes";

  constructor(hooks: CollectorHooks, maxLength: number) {
    this.#hooks = hooks;
    this.maxLength = maxLength;
  }

  /** The terminator; of a number of bytes how many are still to come. */
  get terminator(): TerminatorLike {
    const terminator = this.#terminator;
    if (typeof terminator === "number") return this.#left;
    if (!(terminator instanceof Uint8Array)) return terminator;
    return new Uint8Array(this.#search!.bytes);
  }

  /**
   * Sets the terminator of all input that has not been collected.
   *
   * @returns Whether a hook can run at once, without further input.
   * @throws {TypeError | RangeError} If it is none.
   */
  setTerminator(terminator: TerminatorLike): boolean {
    const search = this.#searchFor(terminator);
    const wasHolding = this.#search !== null && this.#search.matched > 0;
    if (wasHolding) this.#unhold();
    this.#plainTo = 0;
    this.#isDue = false;
    this.#terminator = terminator;
    this.#search = search;
    this.#startCount();
    return wasHolding || this.#isOverflowDue;
  }

  /** Starts to count down, if the terminator is a number. */
  #startCount(): void {
    this.#left = typeof this.#terminator === "number" ? this.#terminator : 0;
    this.#isTooLarge = this.#willNotFit;
    if (this.#isTooLarge) this.#isOverflowDue = true;
  }

  get #willNotFit(): boolean {
    return this.#left > this.maxLength &&
      libraryMethods.has(this.#hooks.collectIncomingData);
  }

  /** Protocols often go back and forth between a few terminators. */
  #searchFor(terminator: TerminatorLike): Terminator | null {
    if (typeof terminator === "string" && terminator === this.#lastText) {
      return this.#lastSearch;
    }
    const search = parseTerminator(terminator);
    if (typeof terminator === "string") {
      this.#lastText = terminator;
      this.#lastSearch = search;
    }
    return search;
  }

  /** Starts anew for the next connection, with the last terminator. */
  restart(): void {
    this.forget();
    this.#kept = null;
    this.#startCount();
  }

  /** Forgets the input that was not handed out. What is kept can be taken still. */
  forget(): void {
    this.feed(NO_BYTES);
    this.#collected = 0;
    this.#isDue = this.#isOverflowDue = false;
    if (this.#search) this.#search.matched = 0;
  }

  /** Takes the input that was not handed out; `null` if there is none. */
  takeRest(): Uint8Array | null {
    const isTransferred = this.#data.length < this.#size;
    if (isTransferred && !this.isDone) this.#refuseTransfer();
    if (!this.keepsBytes) return null;
    if (this.#search !== null) this.#unhold();
    const rest = this.#data.subarray(this.#at);
    this.forget();
    return rest;
  }

  /** A hook can run without further input. */
  get hasInput(): boolean {
    return this.#isDue || this.#isOverflowDue || this.#at < this.#data.length;
  }

  /** All input was looked at. Transferred input counts as not looked at. */
  get isDone(): boolean {
    return !this.#isDue && !this.#isOverflowDue && this.#at >= this.#size;
  }

  /** Bytes have arrived that were not handed out, the held ones included. */
  get keepsBytes(): boolean {
    const isHeld = this.#search !== null && this.#search.matched > 0;
    return isHeld || this.#at < this.#data.length;
  }

  /** Bytes of a message that is not complete have arrived. */
  get hasBegun(): boolean {
    const kept = this.#kept;
    return this.keepsBytes ||
      kept !== null && kept.length > 0 && !kept.isComplete;
  }

  // What the chat's class leaves to the library

  /**
   * Keeps a copy of bytes.
   *
   * @returns Whether there are too many now.
   */
  keep(data: Uint8Array): boolean {
    if (data.length === 0) return false;
    const kept = this.#kept ??= new Collected();
    kept.add(data);
    this.#isOverflowDue ||= kept.length > this.maxLength;
    return this.#isOverflowDue;
  }

  /** Takes the bytes that were kept. */
  takeData(): Uint8Array<ArrayBuffer> {
    return this.#kept?.takeData() ?? new Uint8Array(0);
  }

  /** Takes their text. `isEnd` says that no more bytes will follow. */
  takeText(isEnd: boolean): string {
    const kept = this.#kept;
    return kept === null ? "" : kept.takeText(isEnd || kept.isComplete);
  }

  /** Drops them. */
  dropKept(): void {
    this.#kept = null;
  }

  /** Goes on after an overflow that was told, and tells of the next one. */
  #tellOverflow(): unknown {
    const kept = this.#kept;
    const isTooLarge = this.#isTooLarge && this.#willNotFit;
    this.#isOverflowDue = this.#isTooLarge = false;
    kept?.endOverflow();
    if (isTooLarge) {
      return this.#overflow(`a block of ${this.#left} bytes is to come`);
    }
    if (kept === null || kept.length <= this.maxLength) return;
    const many = `more than ${this.maxLength} bytes`;
    return this.#overflow(`${many} wait for takeData() or takeText()`);
  }

  /** What was too much, and what to do about it. */
  get overflowReason(): string {
    const hint = this.#kept?.wasForgotten
      ? "call takeData() or takeText() in foundTerminator(), or"
      : "if the protocol has longer messages,";
    return `${this.#tooMuch}: maxLength is ${this.maxLength}; ${hint} ` +
      "give AsyncChat a larger maxLength";
  }

  #overflow(tooMuch: string): unknown {
    this.#tooMuch = tooMuch;
    this.#collected = 0;
    this.#kept?.beginOverflow(this.maxLength);
    this.#isOverflowDue = this.#kept !== null;
    return this.#hooks.handleOverflow();
  }

  // What arrives

  /** Replaces the input by the next. */
  feed(data: Uint8Array): void {
    this.#data = data;
    this.#size = data.length;
    this.#at = this.#plainTo = 0;
  }

  /** Puts the held bytes before the input that is still to be looked at. */
  #unhold(from = 0): void {
    const search = this.#search!;
    const held = search.bytes.subarray(from, search.matched);
    search.matched = 0;
    this.feed(concat(held, this.#data.subarray(this.#at)));
  }

  /**
   * Looks at the next piece of input, and calls its hook.
   *
   * @param connection Whether the connection may still have events.
   * @returns What the hook gave, perhaps a promise.
   */
  next(connection: { readonly mayTell: boolean }): unknown {
    if (this.#isOverflowDue) return this.#tellOverflow();
    if (this.#isDue) {
      this.#isDue = false;
      return this.#found();
    }
    if (this.#data.length < this.#size) this.#refuseTransfer();
    return this.#search === null
      ? this.#count()
      : this.#cut(connection, this.#search);
  }

  #found(): unknown {
    this.#collected = 0;
    if (this.#kept !== null) this.#kept.isComplete = true;
    return this.#hooks.foundTerminator();
  }

  /** A hook transferred its piece: the bytes behind it went with the buffer. */
  #refuseTransfer(): never {
    const lost = this.#size - this.#at;
    this.forget();
    throw new TypeError(
      `${this.#hooks}: ${lost} bytes that had arrived went with the buffer of ` +
        "what collectIncomingData() was given: transfer data.slice() instead",
    );
  }

  /** Collects all, or the bytes of a counted block. */
  #count(): unknown {
    const data = this.#data;
    const start = this.#at;
    let end = data.length;
    if (this.#left > 0) {
      end = Math.min(end, start + this.#left);
      this.#left -= end - start;
      this.#isDue = this.#left === 0;
    }
    this.#at = end;
    return this.#hooks.collectIncomingData(view(data, start, end));
  }

  /**
   * Collects what precedes the next terminator, and tells that it is there.
   *
   * The input is the held bytes of earlier input, and `#data` from `#at` on:
   *
   * ```text
   *        start             end
   *        v                 v
   *   held | data | terminator
   *   |--- plain -|-- tail --|
   * ```
   *
   * `plain` counts the bytes before the terminator, held ones among them. If only
   * the beginning of a terminator has arrived, the tail is that beginning, and is
   * held for the next input. Held bytes may belong to the tail, too.
   */
  #cut(connection: { readonly mayTell: boolean }, search: Terminator): unknown {
    const data = this.#data;
    const start = this.#at;
    if (start < this.#plainTo) {
      return this.#collectSome(search, this.#plainTo - start);
    }
    const held = search.matched;
    const after = search.find(data, start);
    const isFound = after >= 0;
    const end = isFound ? after : data.length;
    const tail = isFound ? search.bytes.length : search.matched;
    const plain = held + end - start - tail;
    if (plain > 0) {
      if (held > 0 || plain > this.maxLength - this.#collected) {
        search.matched = held;
        return this.#collectSome(search, plain);
      }
      const stop = start + plain;
      this.#at = isFound ? stop : end;
      this.#collected += plain;
      const result = this.#hooks.collectIncomingData(view(data, start, stop));
      if (!isFound || isPromise(result) || !connection.mayTell) return result;
      const isAsBefore = this.#search === search && this.#at === stop &&
        this.#data === data && !this.#isOverflowDue;
      if (!isAsBefore) return;
    }
    this.#at = end;
    return isFound ? this.#found() : undefined;
  }

  /**
   * The next `plain` bytes hold no terminator: collects the held ones among
   * them, or else as many as fit below the limit.
   */
  #collectSome(search: Terminator, plain: number): unknown {
    const { matched: held } = search;
    const room = this.maxLength - this.#collected;
    const start = this.#at;
    if (held === 0) this.#plainTo = start + plain;
    if (room <= 0) {
      const { maxLength } = this;
      return this.#overflow(
        `more than ${maxLength} bytes without a terminator`,
      );
    }
    if (held === 0) {
      this.#at = Math.min(start + room, this.#plainTo);
      this.#collected += this.#at - start;
      return this.#hooks.collectIncomingData(view(this.#data, start, this.#at));
    }
    const count = Math.min(held, plain, room);
    const piece = search.bytes.slice(0, count);
    // Where the limit falls between them, the rest does not begin like the
    // terminator.
    if (count < Math.min(held, plain)) this.#unhold(count);
    else search.matched -= count;
    this.#collected += count;
    return this.#hooks.collectIncomingData(piece);
  }
}

/**
 * Prepares the search for a terminator.
 *
 * @throws {TypeError | RangeError} If it is none.
 */
function parseTerminator(terminator: unknown): Terminator | null {
  if (terminator === null) return null;
  if (typeof terminator === "number") {
    checkInteger("terminator", terminator, 0, Number.MAX_SAFE_INTEGER);
    return null;
  }
  const bytes = typeof terminator === "string"
    ? encoder.encode(terminator)
    : terminator;
  if (!(bytes instanceof Uint8Array)) {
    throw new TypeError(
      `terminator must be text, bytes, a number or null, got ${
        showValue(terminator)
      }`,
    );
  }
  if (bytes.length === 0) throw new RangeError("terminator must not be empty");
  return new Terminator(new Uint8Array(bytes));
}

/**
 * The bytes from `start` to `end`, as a view: the input belongs to this chat, and
 * each byte is given out once. A copy would cost ten times as much as finding
 * the line.
 */
function view(data: Uint8Array, start: number, end: number): Uint8Array {
  if (end - start === data.length) return data;
  return new Uint8Array(data.buffer, data.byteOffset + start, end - start);
}

function concat(first: Uint8Array, second: Uint8Array): Uint8Array {
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}
