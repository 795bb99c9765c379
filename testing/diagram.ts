/**
 * A picture of a run: {@linkcode drawDiagram}.
 *
 * @module
 */

import type { Arrow, Band, DiagramData, Note } from "./diagram_data.ts";
import { SCRIPT, STYLE } from "./diagram_page.ts";
import { LINE, Scale } from "./diagram_scale.ts";

/** Left of the lanes stand the times, above them the names. In pixels. */
const LEFT = 84;
const TOP = 56;
/** Lanes share this width, and are no narrower than their texts need. */
const WIDTH = 1_120;
const NARROWEST = 160;
const WIDEST = 330;
/** Right of the lanes stand the notes of the scenario. */
const RIGHT = 170;
/** The width of a letter of the texts, on average. */
const LETTER = 6.1;
/** Two times at the left edge stand so far apart at least. */
const TIME_STEP = 22;

/** Draws one self-contained page of HTML. `title` stands above it. */
export function drawDiagram(data: DiagramData, title: string): string {
  const svg = new Drawing(data).svg();
  return `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>${escape(title)}</title>
<style>${STYLE.page}</style></head><body>
<header><h1>${escape(title)}</h1>
<label>Find <input id="find" type="search" placeholder="any text"></label>
<label><input type="checkbox" id="packets" checked> messages</label>
<label><input type="checkbox" id="events" checked> events</label>
<label><input type="checkbox" id="faults" checked> faults</label>
<label>Zoom <input id="zoom" type="range" min="20" max="200" value="100"></label>
<span id="hint">A click on a name hides the host; the mouse on a line tells more</span>
</header>
<main>${svg}</main>
<script>${SCRIPT}</script>
</body></html>
`;
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;")
    .replaceAll('"', "&quot;");
}

function isBad({ kind }: Arrow): boolean {
  return kind === "lost" || kind === "reset";
}

function round(value: number): string {
  return `${Math.round(value * 10) / 10}`;
}

class Drawing {
  readonly #data: DiagramData;
  readonly #scale: Scale;
  readonly #pitch: number;
  readonly #width: number;
  /** Where labels stand, by the lane at their right. */
  readonly #labels = new Map<number, number[]>();

  constructor(data: DiagramData) {
    this.#data = data;
    this.#scale = new Scale(data, TOP + LINE);
    const count = Math.max(1, data.lanes.length);
    const right = data.notes.some(({ lane }) => lane < 0) ? RIGHT : 16;
    const share = (WIDTH - right) / count;
    this.#pitch = Math.min(WIDEST, Math.max(NARROWEST, share));
    this.#width = LEFT + this.#pitch * count + right;
  }

  svg(): string {
    const { notes, bands, lanes } = this.#data;
    // Above the others: a message that failed may be the cause.
    const arrows = this.#data.arrows.toSorted((a, b) =>
      Number(isBad(a)) - Number(isBad(b))
    );
    const width = round(this.#width);
    const height = round(this.#scale.height);
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" ` +
      `height="${height}" viewBox="0 0 ${width} ${height}">
<style>${STYLE.drawing}</style>
<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="hatch" width="2" height="6"/></pattern></defs>
<rect class="ground" x="0" y="0" width="${width}" height="${height}"/>
${this.#times()}
${bands.map((band) => this.#band(band)).join("\n")}
${lanes.map((_, lane) => this.#line(lane)).join("\n")}
${arrows.map((arrow) => this.#arrow(arrow)).join("\n")}
${notes.map((note) => this.#note(note)).join("\n")}
<g id="names"><rect class="ground" x="0" y="0" width="${width}" height="${
        TOP - 12
      }"/>
${lanes.map((name, lane) => this.#name(name, lane)).join("\n")}</g>
</svg>`;
  }

  #x(lane: number): number {
    return LEFT + this.#pitch * lane + 28;
  }

  #times(): string {
    const lines: string[] = [];
    let last = -Infinity;
    for (const time of this.#scale.moments) {
      const y = this.#scale.at(time);
      if (y - last < TIME_STEP) continue;
      last = y;
      lines.push(
        `<text class="time" x="${LEFT - 14}" y="${round(y + 4)}">${
          time.toFixed(time < 10_000 ? 1 : 0)
        }</text><path class="grid" d="M${LEFT - 8} ${round(y)}H${
          round(this.#width - 8)
        }"/>`,
      );
    }
    return lines.join("\n");
  }

  #line(lane: number): string {
    const x = round(this.#x(lane));
    const end = round(this.#scale.height - LINE);
    return `<path class="lane h${lane}" d="M${x} ${TOP - 10}V${end}"/>`;
  }

  #name(name: string, lane: number): string {
    const x = this.#x(lane);
    const width = Math.min(this.#pitch - 16, name.length * 8 + 24);
    return `<g class="name" data-lane="${lane}"><rect x="${
      round(x - 12)
    }" y="12" width="${round(width)}" height="26" rx="6"/><text x="${
      round(x)
    }" y="30">${escape(this.#cut(name, 8))}</text></g>`;
  }

  #cut(text: string, letter: number = LETTER): string {
    const most = Math.floor((this.#pitch - 24) / letter);
    return text.length > most ? `${text.slice(0, most - 1)}…` : text;
  }

  #band({ lane, from, to, kind, text }: Band): string {
    const y = this.#scale.at(from);
    const height = Math.max(3, this.#scale.at(to) - y);
    const [x, width] = kind === "cut"
      ? [this.#x(lane) - 13, 5]
      : [this.#x(lane) - 7, 14];
    return `<rect class="${kind} band h${lane}" x="${round(x)}" y="${
      round(y)
    }" width="${width}" height="${round(height)}" rx="2"><title>${
      escape(`${text}, ${from.toFixed(3)} to ${to.toFixed(3)} ms`)
    }</title></rect>`;
  }

  #arrow({ from, to, sent, end, kind, label, text }: Arrow): string {
    const [x1, y1] = [this.#x(from), this.#scale.at(sent)];
    let [x2, y2] = [this.#x(to), this.#scale.at(end)];
    let head: string;
    if (kind === "lost") {
      // It ends on its way.
      x2 = x1 + (x2 - x1) * 0.6;
      y2 = y1 + (y2 - y1) * 0.6;
      const [a, b, c, d] = [x2 - 4, x2 + 4, y2 - 4, y2 + 4].map(round);
      head =
        `<path class="cross" d="M${a} ${c}L${b} ${d}M${a} ${d}L${b} ${c}"/>`;
    } else head = this.#head(x1, y1, x2, y2);
    const path = from === to
      ? `M${round(x1)} ${round(y1)}h18V${round(y2)}h-18`
      : `M${round(x1)} ${round(y1)}L${round(x2)} ${round(y2)}`;
    const times = `${sent.toFixed(3)} to ${end.toFixed(3)} ms`;
    return `<g class="arrow ${kind} h${from} h${to}"><path class="touch" d="${path}"/><path d="${path}"/>${head}${
      this.#label(x1, y1, x2, y2, label)
    }<title>${escape(`${text}, ${kind}, ${times}`)}</title></g>`;
  }

  #head(x1: number, y1: number, x2: number, y2: number): string {
    const length = Math.hypot(x2 - x1, y2 - y1) || 1;
    const [dx, dy] = [(x2 - x1) / length * 8, (y2 - y1) / length * 8];
    const points = [
      [x2, y2],
      [x2 - dx - dy * 0.45, y2 - dy + dx * 0.45],
      [x2 - dx + dy * 0.45, y2 - dy - dx * 0.45],
    ];
    return `<polygon points="${
      points.map((point) => point.map(round).join()).join(" ")
    }"/>`;
  }

  /** A label, where there is room for it: the mouse shows each of them. */
  #label(
    x1: number,
    y1: number,
    x2: number,
    y2: number,
    label: string,
  ): string {
    const right = Math.max(x1, x2);
    const x = right - 14;
    const y = y1 + (y2 - y1) * (x - x1) / (x2 - x1 || 1) - 3;
    const column = Math.round(right / this.#pitch);
    const others = this.#labels.get(column) ?? [];
    this.#labels.set(column, others);
    if (x1 === x2 || others.some((other) => Math.abs(y - other) < LINE - 2)) {
      return "";
    }
    others.push(y);
    const short = label.slice(0, Math.floor(this.#pitch * 0.45 / LETTER));
    const text = short.length < label.length ? `${short}…` : label;
    return `<text class="label" x="${round(x)}" y="${round(y)}">${
      escape(text)
    }</text>`;
  }

  #note({ lane, time, kind, text }: Note): string {
    const y = this.#scale.nextRow(lane, time);
    const title = `<title>${escape(`${text}, ${time.toFixed(3)} ms`)}</title>`;
    if (lane < 0) {
      const line = `M${LEFT - 8} ${round(y)}H${round(this.#width - 8)}`;
      return `<g class="note ${kind}"><path d="${line}"/><text x="${
        round(this.#width - 14)
      }" y="${round(y - 3)}">${escape(text.slice(0, 160))}</text>${title}</g>`;
    }
    const x = this.#x(lane);
    return `<g class="note ${kind} h${lane}"><circle cx="${round(x)}" cy="${
      round(y)
    }" r="3.2"/><text x="${round(x + 9)}" y="${round(y + 4)}">${
      escape(this.#cut(text))
    }</text>${title}</g>`;
  }
}
