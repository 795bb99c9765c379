/**
 * Shows a report to people.
 *
 * @module
 */

import type { Case, Report } from "./report.ts";
import type { Summary } from "./stats.ts";
import { judge } from "./targets.ts";

/** How a metric is shown. */
interface Column {
  metric: string;
  title: (unit: string) => string;
  show: (value: number) => string;
  /** How it compares to the reference. */
  compare?: (summary: Summary) => string;
}

function decimals(count: number): (value: number) => string {
  return (value) =>
    value.toLocaleString("en", {
      minimumFractionDigits: count,
      maximumFractionDigits: count,
    });
}

function micros(metric: string, title: string): Column {
  return {
    metric,
    title: () => `${title} µs`,
    show: (value) => decimals(value < 10 ? 1 : 0)(value),
  };
}

const COLUMNS: Column[] = [
  {
    metric: "cpu",
    title: (unit) => `CPU µs/${unit}`,
    show: (value) => decimals(value < 10 ? 2 : 1)(value),
  },
  { metric: "rate", title: (unit) => `${unit}s/s`, show: decimals(0) },
  micros("p50", "p50"),
  micros("p99", "p99"),
  micros("p999", "p99.9"),
  {
    metric: "memory",
    title: () => "KB/connection",
    show: (value) => decimals(1)(value / 1_000),
  },
  ...["arm", "reset", "cancel"].map((metric) => ({
    metric,
    title: () => `${metric} µs`,
    show: decimals(2),
  })),
  {
    metric: "start",
    title: () => "ms",
    show: decimals(1),
    compare: ({ difference }) => `+${decimals(1)(difference)}`,
  },
];

function showRatio({ ratio }: Summary): string {
  return Number.isFinite(ratio) ? `×${decimals(2)(ratio)}` : "";
}

/** The cells of one case: a row of titles, then one for each server. */
function cellsOf({ unit, rows }: Case): string[][] {
  const reference = rows[0]!.metrics;
  const columns = COLUMNS.filter(({ metric }) => metric in reference);
  const head = ["", ...columns.flatMap(({ title }) => [title(unit), ""])];
  const body = rows.map(({ server, metrics }) => [
    `  ${server}`,
    ...columns.flatMap(({ metric, show, compare = showRatio }) => [
      show(metrics[metric]!.median),
      compare(metrics[metric]!),
    ]),
  ]);
  return [head, ...body];
}

/** Columns as wide as their widest cell, in all cases alike. */
function layOut(tables: string[][][]): string[][] {
  const widths: number[] = [];
  for (const row of tables.flat()) {
    for (const [i, cell] of row.entries()) {
      widths[i] = Math.max(widths[i] ?? 0, cell.length);
    }
  }
  const pad = (cell: string, i: number) =>
    i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!);
  return tables.map((rows) =>
    rows.map((row) =>
      row.map((cell, i) => `${pad(cell, i)}${i % 2 === 0 ? "  " : " "}`)
        .join("").trimEnd()
    )
  );
}

/** Where and how it was measured, and the tables; titles as `bold` makes them. */
export function showCases(
  { machine, rounds, seconds, cases }: Report,
  bold = (text: string) => text,
): string[] {
  const versions = Object.entries(machine.runtimes)
    .map(([name, { version }]) => `${name} ${version}`).join(", ");
  const tables = layOut(cases.map(cellsOf));
  return [
    `${versions}; ${machine.cores} × ${machine.cpu}, ${machine.system}`,
    `Median of ${rounds} rounds of ${seconds} s. ×: compared to the first row, ` +
    "round by round.",
    ...tables.flatMap((rows, i) => ["", bold(cases[i]!.title), ...rows]),
  ];
}

/** The report as text, `colour` with escape sequences. */
export function showReport(report: Report, colour: boolean): string {
  const bold = (text: string) => colour ? `\x1b[1m${text}\x1b[22m` : text;
  const lines = showCases(report, bold);
  const verdicts = judge(report);
  if (verdicts.length > 0) lines.push("", bold("Targets"));
  for (const { met, title, server, what, value, to, limit } of verdicts) {
    lines.push(
      `  ${met ? "met    " : bold("MISSED ")} ${title}, ${server}: ${what} ` +
        `${value}${to} (${limit})`,
    );
  }
  lines.push("");
  for (const text of report.skipped) lines.push(`Skipped: ${text}`);
  for (const text of report.failed) lines.push(bold(`Failed: ${text}`));
  return lines.join("\n").trimEnd();
}
