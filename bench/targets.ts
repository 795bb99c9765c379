/**
 * What the library is to reach, and whether it does.
 *
 * @module
 */

import type { Report } from "./report.ts";
import { median } from "./stats.ts";

/** One demand, on one server under one load. */
interface Target {
  title: string;
  server: string;
  metric: string;
  /** Whom to compare with: the better one of several. Without, the value itself. */
  against?: string[];
  /** Whether to compare by the difference and not by the ratio. */
  difference?: boolean;
  atMost?: number;
  atLeast?: number;
  /** What the value is divided by, and the unit that it then has. */
  scale?: number;
  unit?: string;
}

/** A target and what was measured. */
export interface Verdict {
  met: boolean;
  text: string;
}

const RAW = ["conn.read/write loop"];
const NET = ["node:net, Deno", "node:net, Node"];
const CPU = { metric: "cpu" };
const BUFFERED = { server: "asyncore, buffered", ...CPU };
const INTO = { server: "asyncore, recvInto", ...CPU };
const CLASSIC = { server: "asyncore, classic", ...CPU };
const ON_EPOLL = { server: "asyncore on epoll, buffered", ...CPU };
const ON_EPOLL_INTO = { server: "asyncore on epoll, recvInto", ...CPU };
const ON_EPOLL_CLASSIC = { server: "asyncore on epoll, classic", ...CPU };
const LINES = {
  server: "AsyncChat",
  ...CPU,
  title: "Lines of 60 B over one connection",
};
const IDLE = {
  server: "asyncore, buffered",
  title: "Accepting 10,000 idle connections",
};

const SMALL = [
  "1 of 1 active, 64 B",
  "64 of 64 active, 64 B",
  "64 of 5,000 active, 64 B",
  "1 of 5,000 active, 64 B",
];
/** The cost of a small message on epoll, against the loop by hand. */
const SMALL_ON_EPOLL = [0.75, 0.85, 0.7, 0.5];
const CHURN = "Connect, one message of 64 B, close; 64 at a time";
const LARGE = ["64 of 64 active, 16 KiB", "64 of 64 active, 256 KiB"];

const TARGETS: Target[] = [
  ...SMALL.flatMap((title) => [
    { ...BUFFERED, title, against: RAW, atMost: 1 },
    { ...BUFFERED, title, against: NET, atMost: 0.9 },
  ]),
  { ...CLASSIC, title: SMALL[1]!, against: RAW, atMost: 1.15 },
  { ...CLASSIC, title: SMALL[3]!, against: RAW, atMost: 3 },
  ...LARGE.flatMap((title) => [
    { ...INTO, title, against: RAW, atMost: 1.1 },
    { ...BUFFERED, title, against: RAW, atMost: 1.4 },
    { ...BUFFERED, title, against: NET, atMost: 1 },
  ]),
  ...SMALL.map((title, i) => ({
    ...ON_EPOLL,
    title,
    against: RAW,
    atMost: SMALL_ON_EPOLL[i]!,
  })),
  {
    ...ON_EPOLL,
    title: "5,000 of 5,000 active, 64 B",
    against: RAW,
    atMost: 0.45,
  },
  { ...ON_EPOLL_CLASSIC, title: SMALL[1]!, against: RAW, atMost: 0.95 },
  { ...ON_EPOLL_CLASSIC, title: SMALL[3]!, against: RAW, atMost: 2 },
  ...LARGE.map((title) => ({
    ...ON_EPOLL_INTO,
    title,
    against: RAW,
    atMost: 0.85,
  })),
  { ...ON_EPOLL, title: LARGE[0]!, against: RAW, atMost: 1.2 },
  { ...ON_EPOLL, title: CHURN, against: RAW, atMost: 0.6 },
  { ...IDLE, metric: "memory", atMost: 10, scale: 1_000, unit: " KB" },
  { ...IDLE, metric: "rate", against: RAW, atLeast: 1 },
  { ...LINES, against: ["asynchat, CPython"], atMost: 1 / 5 },
  { ...LINES, against: ["readline, Node"], atMost: 1 / 1.5 },
  {
    title: "Copying a file of 64 MiB",
    server: "FileDispatcher",
    metric: "rate",
    against: ["file.read loop"],
    atLeast: 0.9,
  },
  ...["arm", "reset", "cancel"].map((metric) => ({
    title: "Timers, 100,000 pending",
    server: "callLater",
    metric,
    atMost: 1,
    unit: " µs",
  })),
  {
    title: "A program from start to end",
    server: "import of mod.ts",
    metric: "start",
    against: ["empty program"],
    difference: true,
    atMost: 15,
    unit: " ms",
  },
];

/** The values that a target compares with, round by round: those of the better one. */
function rivalsOf(
  values: (number[] | undefined)[],
  better: (...values: number[]) => number,
): number[] | null {
  const known = values.filter((list) => list !== undefined);
  if (known.length === 0) return null;
  return known[0]!.map((_, i) => better(...known.map((list) => list[i]!)));
}

function judgeOne(target: Target, report: Report): Verdict | null {
  const { title, metric, against = [], unit = "", scale = 1 } = target;
  const found = report.cases.find((other) => other.title === title);
  const valuesOf = (server: string) =>
    found?.rows.find((row) => row.server === server)?.metrics[metric]?.values;
  const values = valuesOf(target.server);
  if (!values) return null;
  let compared = values.map((value) => value / scale);
  if (against.length > 0) {
    const better = target.atLeast === undefined ? Math.min : Math.max;
    const rivals = rivalsOf(against.map(valuesOf), better);
    if (!rivals) return null;
    compared = values.map((value, i) =>
      target.difference ? value - rivals[i]! : value / rivals[i]!
    );
  }
  const value = median(compared);
  const { atMost = Infinity, atLeast = -Infinity } = target;
  const limit = target.atMost === undefined
    ? `≥ ${atLeast.toFixed(2)}`
    : `≤ ${atMost.toFixed(2)}`;
  const rival = against.length > 0
    ? `${target.difference ? " over" : " ×"} ${against.join(" or ")}`
    : "";
  return {
    met: value <= atMost && value >= atLeast,
    text: `${title}, ${target.server}: ${metric} ${value.toFixed(2)}${unit}` +
      `${rival} (${limit})`,
  };
}

/** Judges all that was measured. */
export function judge(report: Report): Verdict[] {
  return TARGETS.map((target) => judgeOne(target, report))
    .filter((verdict) => verdict !== null);
}
