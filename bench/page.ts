/**
 * Renews the tables of the page on performance, so that all of them come from
 * one run.
 *
 * @module
 */

import { type Glance, glanceAt, type Point, round } from "./glance.ts";
import type { Report } from "./report.ts";
import { showCases } from "./table.ts";
import { judge, type Verdict } from "./targets.ts";

const TITLES = [
  "load",
  "loop by hand",
  "on epoll",
  "asyncore",
  "best other",
  "p99, ms: by hand, on epoll, asyncore",
];

function showPoint(point: Point | undefined): string {
  if (!point) return "–";
  const { label, into } = point;
  return into === null ? label : `${label} (\`recvInto()\` ${into.toFixed(2)})`;
}

function showWait(p99: number | undefined): string {
  return p99 === undefined ? "–" : round(p99 / 1_000);
}

/** The line of a load. */
function cellsOf(glance: Glance): string[] {
  const { title, metric, unit, byHand, points } = glance;
  const [onEpoll, onDeno] = ["asyncore on epoll", "asyncore"].map((name) =>
    points.find(({ peer }) => peer.name === name)
  );
  const [best] = points.filter(({ peer }) => !peer.isOurs)
    .toSorted((a, b) => a.ratio - b.ratio);
  const waits = metric === "cpu" && byHand.p99 !== undefined
    ? [byHand, onEpoll, onDeno].map((server) => showWait(server?.p99)).join(
      ", ",
    )
    : "";
  return [
    title,
    `${round(byHand.value)} ${unit}`,
    showPoint(onEpoll),
    showPoint(onDeno),
    best ? `${showPoint(best)}, ${best.server}` : "–",
    waits,
  ];
}

/** A table in Markdown, with columns as wide as their widest cell. */
function tableOf(rows: string[][]): string[] {
  const widths = rows[0]!.map((_, i) =>
    Math.max(...rows.map((row) => row[i]!.length))
  );
  const lines = rows.map((row) =>
    `| ${row.map((cell, i) => cell.padEnd(widths[i]!)).join(" | ")} |`
  );
  const rule = `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`;
  return [lines[0]!, rule, ...lines.slice(1)];
}

function showVerdict(verdict: Verdict | undefined): string {
  if (!verdict) return "";
  const { met, value, limit } = verdict;
  return met ? `${value} (${limit})` : `**${value}** (${limit}), missed`;
}

/** The load and the quantity: the same for both engines. */
function subjectOf({ title, what, server }: Verdict): string {
  const [, kind = "buffered"] = server.split(", ");
  return `${title}: ${what}${kind === "buffered" ? "" : `, ${kind}`}`;
}

/** The targets: a column for each engine. */
function targetsOf(report: Report): string[] {
  const verdicts = judge(report);
  const subjects = [...new Set(verdicts.map(subjectOf))];
  const rows = subjects.map((subject) => {
    const own = verdicts.filter((verdict) => subjectOf(verdict) === subject);
    const isOnEpoll = ({ server }: Verdict) => server.includes("on epoll");
    return [
      subject,
      showVerdict(own.find(isOnEpoll)),
      showVerdict(own.find((verdict) => !isOnEpoll(verdict))),
    ];
  });
  const missed = verdicts.filter(({ met }) => !met).length;
  return [
    `${missed} of ${verdicts.length} are missed.`,
    "",
    ...tableOf([["target", "on epoll", "asyncore"], ...rows]),
  ];
}

/** The text of each section. */
const SECTIONS: Record<string, (report: Report) => string[]> = {
  summary: (report) => tableOf([TITLES, ...glanceAt(report).map(cellsOf)]),
  targets: targetsOf,
  figures: (report) => [
    "```text",
    ...showCases(report),
    "",
    ...report.skipped.map((text) => `Skipped: ${text}`),
    "```",
  ],
};

/** The place of a section: from its mark to the mark of its end. */
function placeOf(page: string, name: string): [number, number] {
  const [start, end] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
  const from = page.indexOf(start);
  const to = page.indexOf(end, from);
  if (from >= 0 && to >= 0) return [from + start.length, to];
  throw new Error(`The page has no ${start} … ${end}`);
}

/**
 * Looks for the marks `<!-- NAME -->` and `<!-- /NAME -->` of each section.
 *
 * @throws {Error} If the page lacks a mark.
 */
export function checkPage(page: string): void {
  for (const name of Object.keys(SECTIONS)) placeOf(page, name);
}

/**
 * Puts the figures of a run between the marks of each section.
 *
 * @throws {Error} If the page lacks a mark.
 */
export function renewPage(page: string, report: Report): string {
  for (const [name, show] of Object.entries(SECTIONS)) {
    const [from, to] = placeOf(page, name);
    page = page.slice(0, from) + `\n\n${show(report).join("\n")}\n\n` +
      page.slice(to);
  }
  return page;
}
