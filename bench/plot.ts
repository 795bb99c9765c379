/**
 * Draws a run at a glance: a panel for each load, a line for each peer, and
 * its cost against that of the loop by hand.
 *
 * @module
 */

import {
  type Glance,
  glanceAt,
  type Peer,
  PEERS,
  type Point,
  round,
} from "./glance.ts";
import type { Report } from "./report.ts";

/** The width at which GitHub shows a page. All lengths are in pixels. */
const WIDTH = 800;
const MARGIN = 16;
/** The names of the peers stand left of the panels. */
const NAMES = 148;
const COLUMNS = 5;
const HEAD = 70;
/** From one panel to the next. */
const PITCH = (WIDTH - NAMES - MARGIN / 2) / COLUMNS;
const PANEL_HEAD = 40;
const LINE = 21;
const PANEL_HEIGHT = PANEL_HEAD + LINE * PEERS.length + 40;
/** Beside the scale, for a value that stands next to its point. */
const PAD = 29;
const RADIUS = 4.5;
/** The scales of costs and of memory: the loop by hand has large buffers. */
const SCALES = { cpu: [1 / 4, 1 / 2, 1, 2], memory: [1 / 32, 1 / 8, 1] };
const FRACTIONS: Record<number, string> = {
  0.03125: "1/32",
  0.125: "⅛",
  0.25: "¼",
  0.5: "½",
};

/**
 * The picture has a ground of its own: a page may be dark where the system is
 * light. Blue and orange differ for colour-blind readers, too.
 */
const STYLE = `
svg { --ground: #ffffff; --frame: #d1d9e0; --grid: #e4e8ec; --one: #59636e;
  --text: #59636e; --strong: #1f2328; --other: #8c959f;
  --epoll: #0069b4; --deno: #c2520a }
@media (prefers-color-scheme: dark) { svg {
  --ground: #0d1117; --frame: #3d444d; --grid: #262c36; --one: #9198a1;
  --text: #9198a1; --strong: #f0f6fc; --other: #7d8590;
  --epoll: #58b0f5; --deno: #f0883e } }
.ground { fill: var(--ground); stroke: var(--frame) }
.grid { stroke: var(--grid) } .one { stroke: var(--one) }
.other { stroke: var(--other); fill: var(--other); stroke-width: 1.5 }
.epoll { stroke: var(--epoll); fill: var(--epoll); stroke-width: 3 }
.deno { stroke: var(--deno); fill: var(--deno); stroke-width: 3 }
.ring { fill: var(--ground); stroke-width: 2 }
text { stroke: none; fill: var(--text) }
.strong { fill: var(--strong); font-weight: 600 }
text.other { fill: var(--text); stroke: none }
text.epoll, text.deno { font-weight: 600; stroke: none }
text.value { stroke: var(--ground); stroke-width: 4; paint-order: stroke }
.middle { text-anchor: middle } .end { text-anchor: end }
`;

function classOf(peer: Peer): string {
  if (!peer.isOurs) return "other";
  return peer === PEERS[0] ? "epoll" : "deno";
}

/** The attributes of an element; lengths to a tenth of a pixel. */
function attributes(values: Record<string, string | number>): string {
  return Object.entries(values).map(([name, value]) =>
    ` ${name}="${
      typeof value === "string" ? value : Math.round(value * 10) / 10
    }"`
  ).join("");
}

function write(x: number, y: number, name: string, text: string): string {
  return `<text${attributes({ class: name, x, y })}>${text}</text>`;
}

/** The place of a ratio in a panel; a place at the end for one beyond it. */
function scaleOf(ticks: number[], left: number): (ratio: number) => number {
  const [least, most] = [ticks[0]!, ticks.at(-1)!];
  const length = PITCH - 2 * PAD;
  return (ratio) => {
    const inside = Math.min(Math.max(ratio, least), most);
    return left + PAD +
      length * Math.log(inside / least) / Math.log(most / least);
  };
}

/** A point; beyond an end of the scale (-1 or 1), an arrow. */
function drawMark(name: string, x: number, y: number, end = 0): string {
  if (end === 0) {
    return `<circle${attributes({ class: name, cx: x, cy: y, r: RADIUS })}/>`;
  }
  const [back, front] = [x - end * RADIUS, x + end * RADIUS];
  const points = `${back},${y - RADIUS} ${front},${y} ${back},${y + RADIUS}`;
  return `<polygon${attributes({ class: name, points })}/>`;
}

/** A line from the loop by hand to what a peer costs. */
function drawPoint(
  { peer, ratio, label, into }: Point,
  ticks: number[],
  left: number,
  y: number,
): string[] {
  const name = classOf(peer);
  const x = scaleOf(ticks, left);
  const value = (ratio: number, side: number, text: string) =>
    write(
      x(ratio) + side * (RADIUS + 4),
      y + 4,
      `value ${name} ${side < 0 ? "end" : ""}`.trim(),
      text,
    );
  const line = { class: name, x1: x(into ?? 1), y1: y, x2: x(ratio), y2: y };
  const end = ratio > ticks.at(-1)! ? 1 : ratio < ticks[0]! ? -1 : 0;
  const drawn = [
    value(ratio, into === null && ratio < 1 ? -1 : 1, label),
    ...(into === null ? [] : [value(into, -1, into.toFixed(2))]),
    `<line${attributes(line)}/>`,
    drawMark(name, x(ratio), y, end),
  ];
  if (into !== null) drawn.push(drawMark(`${name} ring`, x(into), y));
  return drawn;
}

function drawPanel(glance: Glance, left: number, top: number): string[] {
  const { title, metric, unit, byHand, points } = glance;
  const ticks = SCALES[metric];
  const x = scaleOf(ticks, left);
  const first = top + PANEL_HEAD;
  const end = first + LINE * PEERS.length;
  const drawn = [
    write(left + PITCH / 2, top + 14, "strong middle", title),
    write(x(1), first - 6, "middle", `${round(byHand.value)} ${unit}`),
  ];
  for (const tick of ticks) {
    const name = tick === 1 ? "one" : "grid";
    const line = { class: name, x1: x(tick), y1: first, x2: x(tick), y2: end };
    drawn.push(
      `<line${attributes(line)}/>`,
      write(x(tick), end + 15, "middle", FRACTIONS[tick] ?? String(tick)),
    );
  }
  for (const [i, peer] of PEERS.entries()) {
    const y = first + LINE * (i + 0.5);
    const point = points.find((point) => point.peer === peer);
    if (point) drawn.push(...drawPoint(point, ticks, left, y));
    else drawn.push(write(x(1) + 8, y + 4, "value", "–"));
  }
  return drawn;
}

/** The texts left of a row of panels. */
function drawNames(glances: Glance[], top: number): string[] {
  const areLarge = glances.some(({ isLarge }) => isLarge);
  const first = top + PANEL_HEAD;
  return [
    write(
      MARGIN,
      top + 14,
      "",
      areLarge ? "○ by recvInto()" : "64 B: active of open",
    ),
    write(MARGIN, first - 6, "", "loop by hand"),
    ...PEERS.map((peer, i) =>
      write(MARGIN, first + LINE * (i + 0.5) + 4, classOf(peer), peer.name)
    ),
  ];
}

/** The picture, as the text of an SVG file. */
export function drawPlot(report: Report): string {
  const glances = glanceAt(report);
  const rows = Array.from(
    { length: Math.ceil(glances.length / COLUMNS) },
    (_, row) => glances.slice(row * COLUMNS, (row + 1) * COLUMNS),
  );
  const height = HEAD + rows.length * PANEL_HEIGHT;
  const title = "Processor time per message, against a loop by hand";
  const size = { width: WIDTH, height, viewBox: `0 0 ${WIDTH} ${height}` };
  const font = { "font-family": "system-ui, sans-serif", "font-size": "12" };
  const xmlns = "http://www.w3.org/2000/svg";
  const frame = { x: 0.5, y: 0.5, width: WIDTH - 1, height: height - 1, rx: 8 };
  return [
    `<svg${attributes({ xmlns, role: "img", ...size, ...font })}>`,
    `<title>${title}</title>`,
    `<style>${STYLE}</style>`,
    `<rect${attributes({ class: "ground", ...frame })}/>`,
    `<g font-size="16">${write(MARGIN, 30, "strong", title)}</g>`,
    write(
      MARGIN,
      51,
      "",
      "The line at 1 is a loop of conn.read() and conn.write(). " +
        "Left of it is cheaper: ½ is half the cost (log scale).",
    ),
    ...rows.flatMap((glances, row) => {
      const top = HEAD + row * PANEL_HEIGHT;
      return [
        ...drawNames(glances, top),
        ...glances.flatMap((glance, column) =>
          drawPanel(glance, NAMES + column * PITCH, top)
        ),
      ];
    }),
    "</svg>",
    "",
  ].join("\n");
}
