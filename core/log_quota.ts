/**
 * Limits how many lines of one kind the library writes by itself: a peer that
 * causes the same line again and again must not fill the log.
 *
 * @module
 */

import { HeapTimer, type TimerHeap } from "./timers.ts";

/**
 * So many lines of one kind are written within one window. More show no more of
 * the cause; a peer that repeats it fills the log with two lines a second.
 */
const MOST_LINES = 20;
/** In ms: an operator waits so long for the number of lines left out. */
const WINDOW = 10_000;

/** A line that may have to be left out. */
export interface LimitedLine {
  /** Makes the text, which costs too much for a line that is left out. */
  text(): string;
  /** Writes this text, or the one that says how many lines were left out. */
  write(text: string): void;
  /** How many bytes were lost. */
  lost?: number;
}

/** The lines of one kind since the first of them. */
interface Window {
  readonly end: number;
  written: number;
  leftOut: number;
  /** How many bytes were lost with the lines that were left out. */
  lost: number;
  /** Writes how many lines were left out, with one of them as a sample. */
  tell: (count: string) => void;
  /** Runs at the end, if lines were left out. */
  timer: HeapTimer | null;
  /** `flush()` has already written about lines that were left out. */
  isFlushed: boolean;
}

/**
 * Writes the first 20 lines of each kind within 10 s, and counts the others. At
 * the end of that time, one line says how many there were.
 */
export class LogQuota {
  readonly #timers: TimerHeap;
  /** Runs a function whose caller cannot handle its errors. */
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

  /** Writes about lines left out so far: the program may be over before the end. */
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
