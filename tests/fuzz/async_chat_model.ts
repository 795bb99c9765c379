/** What `AsyncChat` is to take in, worked out in the simplest way. */

import { type Binary, toBytes, utf8 } from "./inputs.ts";

/** A terminator, in a form that shows what it is. */
export type Mark =
  | { text: string }
  | { bytes: Binary }
  | { count: number }
  | null;

/** Stand in what was taken in for what is no byte. */
export const FOUND = "\u2190";
export const OVERFLOW = "\u2191";

/** What the model, and the conversation that it is a model of, go by. */
export interface Rules {
  /** The terminator to begin with, and those that follow, round and round. */
  marks: [Mark, ...Mark[]];
  maxLength: number;
  /** An overflow is the end. */
  isStrict: boolean;
  /** An overflow brings the next terminator, as a terminator does. */
  isTurning: boolean;
}

/** What {@linkcode AsyncChat.setTerminator} takes. */
export function terminatorOf(
  mark: Mark,
): string | Uint8Array | number | null {
  if (mark === null) return null;
  if ("text" in mark) return mark.text;
  return "bytes" in mark ? toBytes(mark.bytes) : mark.count;
}

/** The bytes to look for, or none. */
export function needleOf(mark: Mark): Binary {
  if (mark === null || "count" in mark) return "";
  return "text" in mark ? utf8(mark.text) : mark.bytes;
}

/** Keeps all that was not taken in, and looks at all of it again and again. */
export class Model {
  /** The bytes that were taken in, with {@linkcode FOUND} and {@linkcode OVERFLOW}. */
  taken = "";
  isOver = false;
  maxLength: number;
  /** How many bytes of a counted block are still to come. */
  left = 0;

  readonly #rules: Rules;
  #mark: Mark = null;
  #turn = 0;
  #rest = "";
  #collected = 0;

  constructor(rules: Rules) {
    this.#rules = rules;
    this.maxLength = rules.maxLength;
    this.setMark(rules.marks[0]);
  }

  /** Sets what to look for in all that was not taken in. */
  setMark(mark: Mark): void {
    this.#mark = mark;
    this.left = mark !== null && "count" in mark ? mark.count : 0;
    this.#take();
  }

  arrive(bytes: Binary): void {
    this.#rest += bytes;
    this.#take();
  }

  #take(): void {
    let goesOn = true;
    while (goesOn && !this.isOver) {
      const needle = needleOf(this.#mark);
      if (needle !== "") goesOn = this.#search(needle);
      else if (this.left > 0) goesOn = this.#count();
      else {
        this.taken += this.#cut(this.#rest.length);
        goesOn = false;
      }
    }
  }

  #cut(length: number): Binary {
    const cut = this.#rest.slice(0, length);
    this.#rest = this.#rest.slice(length);
    return cut;
  }

  /** Takes what belongs to a counted block; whether it is complete. */
  #count(): boolean {
    const block = this.#cut(this.left);
    this.taken += block;
    this.left -= block.length;
    if (this.left > 0) return false;
    this.#found();
    return true;
  }

  /** Takes what cannot be part of the terminator; whether it was found. */
  #search(needle: Binary): boolean {
    const at = this.#rest.indexOf(needle);
    let plain = at;
    if (at < 0) {
      let held = Math.min(needle.length - 1, this.#rest.length);
      while (!this.#rest.endsWith(needle.slice(0, held))) held--;
      plain = this.#rest.length - held;
    }
    for (; plain > 0; plain--) {
      if (this.#collected >= this.maxLength) return this.#overflow();
      this.taken += this.#cut(1);
      this.#collected++;
    }
    if (at < 0) return false;
    this.#cut(needle.length);
    this.#found();
    return true;
  }

  /** Whether it goes on. */
  #overflow(): boolean {
    this.taken += OVERFLOW;
    this.#collected = 0;
    this.isOver = this.#rules.isStrict;
    if (this.#rules.isTurning) this.#next();
    return !this.isOver;
  }

  #found(): void {
    this.taken += FOUND;
    this.#collected = 0;
    this.#next();
  }

  #next(): void {
    const { marks } = this.#rules;
    if (marks.length === 1) return;
    this.#turn = (this.#turn + 1) % marks.length;
    const mark = marks[this.#turn]!;
    this.#mark = mark;
    this.left = mark !== null && "count" in mark ? mark.count : 0;
  }
}
