/**
 * Limits how many lines of one kind the library logs by itself: a peer that causes
 * the same line again and again must not fill the log.
 *
 * @module
 */

import { HeapTimer, type TimerHeap } from "./timers.ts";

/**
 * So many lines of one kind are written within one window. More lines show more
 * cases, but let a peer fill the log faster; with this value, it causes two lines
 * a second. The value is a choice.
 */
const MOST_LINES = 20;
/**
 * The window, in ms. A longer one makes an operator wait longer for the number of
 * lines left out; a shorter one lets a peer fill the log faster. The value is a
 * choice.
 */
const WINDOW = 10_000;

/** A log line that may be left out. */
export interface LimitedLine {
  /** Makes the text. It is not called for a line that is left out, to save time. */
  text(): string;
  /** Writes the text, or a text that says how many lines were left out. */
  write(text: string): void;
  /** How many bytes were lost. */
  lost?: number;
}

/** The lines of one kind since the first one. */
interface Window {
  readonly end: number;
  written: number;
  leftOut: number;
  /** How many bytes were lost with the lines that were left out. */
  lost: number;
  /** Writes how many lines were left out, with one of them as a sample. */
  tell: (count: string) => void;
  /** Ends the window, if lines were left out. */
  timer: HeapTimer | null;
  /** `flush()` has already written about lines that were left out. */
  isFlushed: boolean;
}

/**
 * Writes the first 20 lines of each kind within 10 s, and counts the others. At
 * the end of that time, one more line says how many were left out.
 */
export class LogQuota {
  readonly #timers: TimerHeap;
  /** Runs a function, and reports its errors. */
  readonly #outside: (run: () => void) => void;
  readonly #windows = new Map<string, Window>();

  constructor(timers: TimerHeap, outside: (run: () => void) => void) {
    this.#timers = timers;
    this.#outside = outside;
  }

  /** Writes a line, or counts it. */
  add(kind: string, line: LimitedLine): void {
    const window = this.#windowOf(kind);
    if (window.written < MOST_LINES) {
      window.written++;
      line.write(line.text());
      return;
    }
    window.leftOut++;
    window.lost += line.lost ?? 0;
    if (window.timer === null) this.#leaveOut(kind, window, line);
  }

  #windowOf(kind: string): Window {
    // If no loop runs, no timer has ended the window.
    const before = this.#windows.get(kind);
    if (before && this.#timers.now() >= before.end) this.#end(kind, before);
    const known = this.#windows.get(kind);
    if (known) return known;
    const window: Window = {
      end: this.#timers.now() + WINDOW,
      written: 0,
      leftOut: 0,
      lost: 0,
      tell: () => {},
      timer: null,
      isFlushed: false,
    };
    this.#windows.set(kind, window);
    return window;
  }

  /** The first line that is left out is the sample. */
  #leaveOut(kind: string, window: Window, { text, write }: LimitedLine): void {
    const end = () => this.#end(kind, window);
    window.timer = new HeapTimer(this.#timers, WINDOW, false, end, null);
    window.timer.startAt(window.end);
    const sample = text();
    window.tell = (count) => write(`${count}: ${sample}`);
  }

  #end(kind: string, window: Window): void {
    this.#windows.delete(kind);
    this.#tell(window);
  }

  /** Tells of the lines left out so far: the program may end before the window. */
  flush(): void {
    for (const window of this.#windows.values()) {
      if (window.isFlushed || window.leftOut === 0) continue;
      window.isFlushed = true;
      this.#tell(window);
    }
  }

  #tell(window: Window): void {
    const { leftOut, lost, tell } = window;
    if (leftOut === 0) return;
    window.timer?.cancel();
    window.timer = null;
    window.leftOut = window.lost = 0;
    const bytes = lost > 0 ? `, with ${lost} bytes in all` : "";
    this.#outside(() => tell(`left out ${leftOut} more like this${bytes}`));
  }
}
