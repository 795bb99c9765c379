/**
 * Draws what a message costs against the number of connections.
 *
 * @module
 */

import { titleOf } from "./loads/echo.ts";
import { PLOTTED } from "./loads.ts";
import type { Report } from "./report.ts";

interface Point {
  connections: number;
  /** Processor time of the server, in µs per message. */
  cost: number;
}

interface Curve {
  server: string;
  points: Point[];
}

interface Panel {
  title: string;
  curves: Curve[];
}

const WIDTH = 860;
const HEIGHT = 400;
const TOP = 48;
const BOTTOM = 292;
const PANEL_WIDTH = 350;
const LEFTS = [56, 486];
/** Costs that the axis names, in µs: all that may occur. */
const TICKS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000];

/** Neither too dark for a dark background nor too light for a light one. */
const LOOKS: Record<string, string> = {
  "conn.read/write loop": 'stroke="#888888" stroke-width="4"',
  "asyncore, buffered": 'stroke="#2f81f7" stroke-width="3"',
  "asyncore, recvInto": 'stroke="#1fa3a3" stroke-width="2"',
  "asyncore, classic": 'stroke="#a371f7" stroke-width="2"',
  "node:net, Deno": 'stroke="#d29922" stroke-width="2" stroke-dasharray="6 3"',
  "node:net, Node": 'stroke="#3fa34d" stroke-width="2" stroke-dasharray="6 3"',
  "asyncore, CPython":
    'stroke="#e5534b" stroke-width="2" stroke-dasharray="2 3"',
};

function panelOf(
  report: Report,
  title: string,
  activeOf: (connections: number) => number,
): Panel {
  const curves = Object.keys(LOOKS).map((server) => {
    const points = PLOTTED.flatMap((connections) => {
      const active = activeOf(connections);
      const wanted = titleOf(connections, { active, size: 64 });
      const cost = report.cases.find(({ title }) => title === wanted)?.rows
        .find((row) => row.server === server)?.metrics.cpu?.median;
      return cost === undefined ? [] : [{ connections, cost }];
    });
    return { server, points };
  });
  return { title, curves: curves.filter(({ points }) => points.length > 0) };
}

/** A scale of the logarithm of `least` to `most`, from one place to another. */
function scale(
  least: number,
  most: number,
  from: number,
  to: number,
): (value: number) => number {
  const whole = Math.log(most / least);
  return (value) => from + Math.log(value / least) / whole * (to - from);
}

function round(value: number): string {
  return value.toFixed(1).replace(/\.0$/, "");
}

/** The least and the most tick around all costs. */
function rangeOf(panels: Panel[]): [number, number] {
  const costs = panels.flatMap(({ curves }) =>
    curves.flatMap(({ points }) => points.map(({ cost }) => cost))
  );
  const least = Math.min(...costs, 10);
  const most = Math.max(...costs, 20);
  return [
    TICKS.findLast((tick) => tick <= least) ?? TICKS[0]!,
    TICKS.find((tick) => tick >= most) ?? TICKS.at(-1)!,
  ];
}

function drawPanel(
  { title, curves }: Panel,
  left: number,
  [least, most]: [number, number],
): string[] {
  const right = left + PANEL_WIDTH;
  const x = scale(PLOTTED[0]!, PLOTTED.at(-1)!, left, right);
  const y = scale(least, most, BOTTOM, TOP);
  const lines = [
    `<text class="title" x="${left}" y="${TOP - 16}">${title}</text>`,
  ];
  for (const tick of TICKS) {
    if (tick < least || tick > most) continue;
    const at = round(y(tick));
    lines.push(
      `<line class="grid" x1="${left}" y1="${at}" x2="${right}" y2="${at}"/>`,
      `<text x="${left - 8}" y="${at}" dy="4" text-anchor="end">${tick}</text>`,
    );
  }
  for (const connections of PLOTTED) {
    const text = connections.toLocaleString("en");
    const at = `x="${round(x(connections))}" y="${BOTTOM + 20}"`;
    lines.push(`<text ${at} text-anchor="middle">${text}</text>`);
  }
  for (const { server, points } of curves) {
    const places = points.map(({ connections, cost }) => ({
      x: round(x(connections)),
      y: round(y(cost)),
    }));
    const list = places.map(({ x, y }) => `${x},${y}`).join(" ");
    lines.push(`<g fill="none" ${LOOKS[server]}>`);
    lines.push(`<polyline points="${list}"/>`);
    for (const { x, y } of places) {
      lines.push(
        `<circle cx="${x}" cy="${y}" r="2.5" stroke-dasharray="none"/>`,
      );
    }
    lines.push("</g>");
  }
  return lines;
}

/** The names of the servers, in rows of four. */
function drawLegend(servers: string[]): string[] {
  return servers.flatMap((server, i) => {
    const x = LEFTS[0]! + (i % 4) * 200;
    const y = HEIGHT - 44 + Math.floor(i / 4) * 24;
    return [
      `<line x1="${x}" y1="${y}" x2="${x + 28}" y2="${y}" ${LOOKS[server]}/>`,
      `<text x="${x + 36}" y="${y}" dy="4">${server}</text>`,
    ];
  });
}

/** The picture, as the text of an SVG file. */
export function drawPlot(report: Report): string {
  const panels = [
    panelOf(report, "All connections active", (connections) => connections),
    panelOf(report, "One connection active, the others idle", () => 1),
  ];
  const range = rangeOf(panels);
  const servers = Object.keys(LOOKS).filter((server) =>
    panels.some(({ curves }) => curves.some((curve) => curve.server === server))
  );
  const middle = (LEFTS[0]! + LEFTS[1]! + PANEL_WIDTH) / 2;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" ` +
    `role="img" font-family="system-ui, sans-serif" font-size="13">`,
    "<title>Processor time of an echo server per message of 64 bytes</title>",
    "<style>",
    "text { fill: #59636e } .title { font-weight: 600 }",
    ".grid { stroke: #88888855 }",
    "@media (prefers-color-scheme: dark) { text { fill: #9aa4ae } }",
    "</style>",
    `<text class="title" x="8" y="14">µs per message</text>`,
    ...panels.flatMap((panel, i) => drawPanel(panel, LEFTS[i]!, range)),
    `<text x="${middle}" y="${
      BOTTOM + 42
    }" text-anchor="middle">connections</text>`,
    ...drawLegend(servers),
    "</svg>",
    "",
  ].join("\n");
}
