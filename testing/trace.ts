/**
 * The record of a simulation: what happened, and when. Most of its many events
 * are never read, so the text is made when it is asked for.
 *
 * @module
 */

import { Loss, Packet } from "./packet.ts";

/** Something that happened: a text, or an object that makes one when asked. */
export type TraceEvent = string | { toString(): string };

/** Which events {@linkcode SimNetwork.trace} tells of. */
export interface TraceOptions {
  /**
   * The names of hosts: events of other hosts are left out.
   *
   * @default {all}
   */
  hosts?: readonly string[] | undefined;
  /**
   * The first moment, in simulated milliseconds.
   *
   * @default {0}
   */
  from?: number | undefined;
  /**
   * The last moment, in simulated milliseconds.
   *
   * @default {Infinity}
   */
  to?: number | undefined;
  /**
   * Whether single packets are told of, too.
   *
   * @default {true}
   */
  packets?: boolean | undefined;
}

/** How many lines a message of a failure shows at its beginning and its end. */
const STORY_BEGINNING = 20;
const STORY_END = 40;

/** A list of events with their times. Of very many it keeps the last ones. */
export class Trace {
  readonly #limit: number;
  #times: number[] = [];
  #events: TraceEvent[] = [];
  /** How many events before these were dropped. */
  #dropped = 0;

  /** Keeps `limit` events or more, and at most twice as many. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** How many events there were. */
  get length(): number {
    return this.#dropped + this.#events.length;
  }

  add(time: number, event: TraceEvent): void {
    if (this.#events.length >= 2 * this.#limit) this.#drop();
    this.#times.push(time);
    this.#events.push(event);
  }

  /** Half of them at a time: so each event is moved only once. */
  #drop(): void {
    const count = this.#events.length - this.#limit;
    this.#times = this.#times.slice(count);
    this.#events = this.#events.slice(count);
    this.#dropped += count;
  }

  /** The events that are kept, in order. */
  *entries(): Generator<[time: number, event: TraceEvent]> {
    for (const [i, event] of this.#events.entries()) {
      yield [this.#times[i]!, event];
    }
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
    const dropped = this.#dropped;
    let text = from < dropped ? `${elided(dropped - from)}\n` : "";
    for (let i = Math.max(0, from - dropped); i < to - dropped; i++) {
      text += `${formatTime(this.#times[i]!)} ${this.#events[i]}\n`;
    }
    return text;
  }

  /** The lines of some events, in a network of hosts of these names. */
  select(options: TraceOptions, names: readonly string[]): string[] {
    const { hosts, from = 0, to = Infinity, packets = true } = options;
    const hostsOf = hosts && this.hostFinder(names);
    const lines: string[] = [];
    for (const [time, event] of this.entries()) {
      if (time < from || time > to) continue;
      if (!packets && event instanceof Packet) continue;
      const found = hostsOf?.(event) ?? [];
      if (found.length > 0 && !found.some((name) => hosts!.includes(name))) {
        continue;
      }
      lines.push(`${formatTime(time)} ${event}`);
    }
    return lines;
  }

  /**
   * Finds the hosts of events, in a network of hosts of these names. An event
   * of the whole network, and a note of the scenario, has none.
   */
  hostFinder(names: readonly string[]): (event: TraceEvent) => string[] {
    const subjectOf = (text: string): string | undefined => {
      const name = /^\S+?(?=:? )/.exec(text)?.[0];
      return name !== undefined && names.includes(name) ? name : undefined;
    };
    // A fault of a connection may name no host.
    const connections = new Map<string, Set<string>>();
    for (const event of this.#events) {
      if (typeof event !== "string") continue;
      const id = /^\S+ (#\d+) /.exec(event)?.[1];
      const subject = subjectOf(event);
      if (id === undefined || subject === undefined) continue;
      const known = connections.get(id);
      if (known) known.add(subject);
      else connections.set(id, new Set([subject]));
    }
    return (event) => {
      const packet = event instanceof Loss ? event.packet : event;
      if (packet instanceof Packet) return [packet.route.from, packet.route.to];
      const text = `${event}`;
      const subject = subjectOf(text);
      if (subject !== undefined) return [subject];
      if (!OF_NETWORK.test(text)) return [];
      const words = text.split(/[ >]/);
      const found = words.filter((word) => names.includes(word));
      if (found.length > 0) return found;
      return words.flatMap((word) => [...connections.get(word) ?? []]);
    };
  }

  /**
   * How a failure came: the lines from a moment on, without single packets. A
   * long story is told by its beginning and its end.
   */
  story(from: number): string {
    const lines = this.select({ from, packets: false }, []);
    const rest = lines.length - STORY_BEGINNING - STORY_END;
    if (rest > 1) lines.splice(STORY_BEGINNING, rest, elided(rest));
    return lines.map((line) => `${line}\n`).join("");
  }
}

/** Events of the network itself, which may name hosts anywhere. */
const OF_NETWORK = /^(?:fault|partition|clog|#)/;

function elided(count: number): string {
  return `${"…".padStart(10)} ${count} events`;
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
