/**
 * The content of a sequence diagram of a trace: {@linkcode collect}.
 *
 * @module
 */

import { Loss, Packet } from "./packet.ts";
import type { Trace, TraceOptions } from "./trace.ts";

/** An arrow from host to host; hosts are numbers of lanes. */
export interface Arrow {
  readonly from: number;
  readonly to: number;
  readonly sent: number;
  readonly end: number;
  readonly kind: "data" | "late" | "lost" | "reset" | "end" | "open";
  /** The text at the arrow. */
  readonly label: string;
  readonly text: string;
}

/** A text beside a lane; the scenario has the lane -1. */
export interface Note {
  readonly lane: number;
  readonly time: number;
  readonly kind: "fault" | "error" | "event" | "scenario";
  readonly text: string;
}

/** Something that lasts, on one lane. */
export interface Band {
  readonly lane: number;
  readonly from: number;
  readonly to: number;
  readonly kind: "down" | "cut" | "paused";
  readonly text: string;
}

/** All that a diagram shows. */
export interface DiagramData {
  readonly lanes: readonly string[];
  readonly arrows: readonly Arrow[];
  readonly notes: readonly Note[];
  readonly bands: readonly Band[];
  readonly from: number;
  readonly to: number;
}

/** Collects what the events of a trace mean, for hosts of these names. */
export function collect(
  trace: Trace,
  names: readonly string[],
  options: TraceOptions,
  now: number,
): DiagramData {
  return new Collector(trace, names, options, now).data();
}

class Collector {
  readonly #trace: Trace;
  readonly #lanes: readonly string[];
  readonly #hostsOf: (event: string) => string[];
  readonly #options: TraceOptions;
  readonly #end: number;
  readonly #arrows: Arrow[] = [];
  readonly #notes: Note[] = [];
  readonly #bands: Band[] = [];
  /** Bands that have begun, by what ends them. */
  readonly #open = new Map<string, Omit<Band, "to">[]>();
  /** Connects that have no answer yet, by the number of the connection. */
  readonly #connects = new Map<string, { lane: number; time: number }>();

  constructor(
    trace: Trace,
    names: readonly string[],
    options: TraceOptions,
    now: number,
  ) {
    this.#trace = trace;
    this.#options = options;
    const { hosts = names, to = Infinity } = options;
    this.#lanes = names.filter((name) => hosts.includes(name));
    this.#hostsOf = trace.hostFinder(names);
    this.#end = Math.min(now, to);
  }

  data(): DiagramData {
    for (const [time, event] of this.#trace.entries()) {
      if (time > this.#end) break;
      if (event instanceof Packet) this.#addPacket(event, time);
      else if (event instanceof Loss) this.#addLoss(event, time);
      else this.#addText(`${event}`, time);
    }
    for (const key of [...this.#open.keys()]) this.#endBands(key, this.#end);
    const { from = 0, packets = true } = this.#options;
    return {
      lanes: this.#lanes,
      arrows: packets ? this.#arrows.filter(({ end }) => end >= from) : [],
      notes: this.#notes.filter(({ time }) => time >= from),
      bands: this.#bands.filter(({ to }) => to >= from),
      from,
      to: this.#end,
    };
  }

  #arrow(packet: Packet, sent: number, end: number, kind: Arrow["kind"]): void {
    const from = this.#lanes.indexOf(packet.route.from);
    const to = this.#lanes.indexOf(packet.route.to);
    if (from < 0 || to < 0) return;
    const { content } = packet;
    const label = content.replace(/^\d+ bytes: /, "");
    this.#arrows.push({ from, to, sent, end, kind, label, text: `${packet}` });
  }

  #addPacket(packet: Packet, time: number): void {
    const kind = packet.isReset
      ? "reset"
      : packet.isLate || packet.losses > 0
      ? "late"
      : packet.segment === "end"
      ? "end"
      : "data";
    this.#arrow(packet, packet.sent, time, kind);
  }

  #addLoss({ packet }: Loss, time: number): void {
    const sent = time > packet.arrival ? time : packet.sent;
    this.#arrow(packet, sent, time, "lost");
  }

  #addText(text: string, time: number): void {
    const hosts = this.#hostsOf(text);
    const lanes = hosts.map((name) => this.#lanes.indexOf(name))
      .filter((lane) => lane >= 0);
    if (hosts.length > 0 && lanes.length === 0) return;
    this.#followConnect(text, time, lanes);
    this.#followBands(text, time, lanes);
    const kind = text.startsWith("fault ")
      ? "fault"
      : /^(?:\S+ )?(?:error|escape|unhandled)\b/.test(text)
      ? "error"
      : lanes.length === 0
      ? "scenario"
      : "event";
    const [lane = -1] = lanes;
    const name = this.#lanes[lane] ?? "";
    const rest = text.startsWith(`${name} `) || text.startsWith(`${name}:`)
      ? text.slice(name.length).replace(/^:? /, "")
      : text;
    this.#notes.push({ lane, time, kind, text: rest });
  }

  /** A connection that opens is an arrow, from the first packet to the last. */
  #followConnect(text: string, time: number, [lane]: number[]): void {
    const [, id, what] = /^\S+ (#\d+) (.*)$/.exec(text) ?? [];
    if (id === undefined || what === undefined || lane === undefined) return;
    if (what.startsWith("connects to")) this.#connects.set(id, { lane, time });
    const connect = this.#connects.get(id);
    if (what !== "may be accepted" || connect === undefined) return;
    const { lane: from, time: sent } = connect;
    // The note at its beginning tells more than a label could.
    const about = { kind: "open", label: "", text: `connects ${id}` } as const;
    this.#arrows.push({ from, to: lane, sent, end: time, ...about });
  }

  #followBands(text: string, time: number, lanes: readonly number[]): void {
    const [lane = -1] = lanes;
    if (/ (?:crashes|is killed)$/.test(text)) {
      this.#begin(`down ${lane}`, [{ lane, from: time, kind: "down", text }]);
    } else if (/ starts$/.test(text)) this.#endBands(`down ${lane}`, time);
    else if (/ pauses$/.test(text)) {
      this.#begin(`paused ${lane}`, [{
        lane,
        from: time,
        kind: "paused",
        text,
      }]);
    } else if (/ goes on$/.test(text)) this.#endBands(`paused ${lane}`, time);
    else if (text === "heal" || text === "calm") {
      const cuts = [...this.#open.keys()].filter((key) =>
        /^partition/.test(key)
      );
      for (const key of cuts) this.#endBands(key, time);
    } else if (/^partition .* ends$/.test(text)) {
      this.#endBands(text.replace(/ ends$/, ""), time);
    } else if (/^partition /.test(text)) {
      const band = { from: time, kind: "cut", text } as const;
      this.#begin(text, lanes.map((lane) => ({ lane, ...band })));
    }
  }

  #begin(key: string, bands: Omit<Band, "to">[]): void {
    this.#open.set(key, [...this.#open.get(key) ?? [], ...bands]);
  }

  #endBands(key: string, to: number): void {
    for (const band of this.#open.get(key) ?? []) {
      this.#bands.push({ ...band, to });
    }
    this.#open.delete(key);
  }
}
