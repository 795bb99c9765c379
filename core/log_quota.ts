/**
 * How many lines of one kind the library writes by itself: a peer that repeats
 * what is worth a line must not fill the log.
 *
 * @module
 */

import { HeapTimer, type TimerHeap } from "./timers.ts";

/** How many lines of one kind are written … */
const MOST_LINES = 20;
/** … within this time, in ms. */
const WINDOW = 10_000;

/** A line that may have to be left out. */
export interface LimitedLine {
  /** Makes the text: of a line that is left out, that is not worth its cost. */
  text(): string;
  /** Writes the text, or the one that tells how many were left out. */
  write(text: string): void;
  /** How many bytes were lost. */
  lost?: number;
}

/** The lines of one kind since the first of them. */
interface Window {
  readonly end: number;
  written: number;
  leftOut: number;
  /** How many bytes were lost with those that were left out. */
  lost: number;
  /** Writes how many were left out, with one of them as a sample. */
  tell: (count: string) => void;
  /** Runs at the end, if some were left out. */
  timer: HeapTimer | null;
  /** `flush()` has told of some before the end. */
  isFlushed: boolean;
}

/**
 * Lets the first 20 lines of each kind through within 10 s, and counts the
 * others. How many those were is told at the end of that time.
 */
export class LogQuota {
  readonly #timers: TimerHeap;
  /** Runs what has no caller that could handle its errors. */
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
    // Where no loop runs, no timer has ended it.
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

  /** The first that is left out is the sample. */
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

  /** Tells what was left out so far: the program may be over before the end. */
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
