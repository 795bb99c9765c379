/**
 * The record of a simulation: what happened, and when. Most of its many events
 * are never read, so the text is made when it is asked for.
 *
 * @module
 */

/** A list of events with their times. */
export class Trace {
  readonly #times: number[] = [];
  readonly #events: { toString(): string }[] = [];
  readonly #sizes: number[] = [];

  /** How many events there are. */
  get length(): number {
    return this.#events.length;
  }

  /** Adds an event, perhaps of so many bytes. */
  add(time: number, event: { toString(): string }, bytes: number = 0): void {
    this.#times.push(time);
    this.#events.push(event);
    this.#sizes.push(bytes);
  }

  /** The text of all events until now, made later. */
  snapshot(): () => string {
    const { length } = this;
    return () => this.#lines(0, length);
  }

  /** A line for each of the last events: the time in ms, and what it was. */
  text(last: number = Infinity): string {
    return this.#lines(Math.max(0, this.length - last), this.length);
  }

  #lines(from: number, to: number): string {
    let text = "";
    for (let i = from; i < to; i++) {
      const bytes = this.#sizes[i]!;
      const size = bytes > 0 ? ` ${bytes} bytes` : "";
      text += `${formatTime(this.#times[i]!)} ${this.#events[i]}${size}\n`;
    }
    return text;
  }
}

/** A simulated time, in ms, as the columns of a trace have it. */
export function formatTime(time: number): string {
  return time.toFixed(3).padStart(10);
}

/** The calls of a traceback in a log line, up to the one that threw. */
const TRACEBACK =
  /(?:… )?(?:\[[^|\]]*\|[^|]*\|\d+\] )*\[(?:[^|\]]*[/\\])?([^|\]/\\]*)\|([^|]*)\|(\d+)\]/g;

/** A log line without the paths of files, which differ from machine to machine. */
export function portable(line: string): string {
  return line.includes("|") ? line.replace(TRACEBACK, "[$1|$2|$3]") : line;
}
