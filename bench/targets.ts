/**
 * What the library is to reach, and whether it does.
 *
 * @module
 */

import { CHURN_TITLE } from "./loads/connections.ts";
import { titleOf } from "./loads/echo.ts";
import { LINES_TITLE } from "./loads/lines.ts";
import type { Report } from "./report.ts";
import { median } from "./stats.ts";

/** One demand, on one server under one load. */
interface Target {
  title: string;
  /** The quantity, in words. */
  what: string;
  server: string;
  metric: string;
  /** The servers to compare with, one by one. Without, the value itself counts. */
  against?: string[];
  /** Whether to compare by the difference and not by the ratio. */
  difference?: boolean;
  atMost?: number;
  atLeast?: number;
  below?: number;
  /** What the value is divided by, and the unit that it then has. */
  scale?: number;
  unit?: string;
}

/** A target and what was measured. */
export interface Verdict {
  met: boolean;
  title: string;
  what: string;
  server: string;
  /** The measured value, with its unit. */
  value: string;
  /** The server to compare with, in words. */
  to: string;
  limit: string;
}

const RAW = ["conn.read/write loop"];
const PEERS = ["node:net, Deno", "node:net, Node", "asyncore, CPython"];
const SMALL = [[1, 1], [64, 64], [64, 5_000], [1, 5_000], [5_000, 5_000]]
  .map(([active, connections]) =>
    titleOf(connections!, { active: active!, size: 64 })
  );
const [ALONE, SOME, , ONE_OF_MANY, MANY] = SMALL as [
  ...[string, string, string, string, string],
];
const LARGE = [16, 256].map((kib) =>
  titleOf(64, { active: 64, size: kib * 1_024 })
);

const KILOBYTES = { scale: 1_000, unit: " KB" };

/** The targets of an engine; ratios are to the loop by hand. */
interface Engine {
  name: string;
  /** For each of the loads of small messages. */
  small: number[];
  /** Messages a second over one connection, and over 64. */
  rates: [number, number];
  /** Whether it is to cost less than each peer. */
  isLeast: boolean;
  /** 64 of 64, and 1 of 5,000. */
  classic: [number, number];
  into: number;
  recv: number;
  /** In KB. */
  memory: number;
  churn: number;
  chat: string;
  /** To Node's readline. */
  lines: number;
  /** 64 of 64, and 5,000 of 5,000. */
  p99: [number, number];
}

const ENGINES: Engine[] = [
  {
    name: "asyncore on epoll",
    small: [0.75, 0.85, 0.7, 0.5, 0.45],
    rates: [2.5, 1.15],
    isLeast: true,
    classic: [0.95, 2],
    into: 0.85,
    recv: 1.2,
    memory: 6,
    churn: 0.6,
    chat: "AsyncChat on epoll",
    lines: 0.6,
    p99: [1, 0.5],
  },
  {
    name: "asyncore",
    small: [1.1, 1.1, 1.15, 1, 1.2],
    rates: [0.95, 0.9],
    isLeast: false,
    classic: [1.15, 3],
    into: 1.1,
    recv: 1.6,
    memory: 20,
    churn: 1.1,
    chat: "AsyncChat",
    lines: 0.7,
    p99: [1.5, 1.5],
  },
];

function targetsOf(engine: Engine): Target[] {
  const server = `${engine.name}, buffered`;
  const cpu = { server, metric: "cpu", what: "CPU", against: RAW };
  const classic = ["classic", "writable alone"].map((kind) => ({
    ...cpu,
    server: `${engine.name}, ${kind}`,
  }));
  const into = { ...cpu, server: `${engine.name}, recvInto` };
  const rate = { ...cpu, metric: "rate", what: "rate" };
  const p99 = { ...cpu, metric: "p99", what: "p99" };
  const peers = { ...cpu, what: "CPU to each peer", against: PEERS, below: 1 };
  return [
    ...SMALL.map((title, i) => ({ ...cpu, title, atMost: engine.small[i]! })),
    { ...rate, title: ALONE, atLeast: engine.rates[0] },
    { ...rate, title: SOME, atLeast: engine.rates[1] },
    ...(engine.isLeast ? SMALL.map((title) => ({ ...peers, title })) : []),
    ...classic.flatMap((target) => [
      { ...target, title: SOME, atMost: engine.classic[0] },
      { ...target, title: ONE_OF_MANY, atMost: engine.classic[1] },
    ]),
    ...LARGE.map((title) => ({ ...into, title, atMost: engine.into })),
    { ...cpu, title: LARGE[0]!, atMost: engine.recv },
    {
      ...{ title: MANY, what: "memory of a connection", server },
      ...{ metric: "memory", atMost: engine.memory, ...KILOBYTES },
    },
    { ...cpu, title: CHURN_TITLE, atMost: engine.churn },
    {
      ...{ title: LINES_TITLE, what: "CPU to Node's readline" },
      ...{ server: engine.chat, metric: "cpu", against: ["readline, Node"] },
      atMost: engine.lines,
    },
    { ...p99, title: SOME, atMost: engine.p99[0] },
    { ...p99, title: MANY, atMost: engine.p99[1] },
  ];
}

const IDLE = {
  server: "asyncore, buffered",
  title: "Accepting 10,000 idle connections",
};

const TARGETS: Target[] = [
  ...ENGINES.flatMap(targetsOf),
  {
    ...IDLE,
    ...{ what: "memory of a connection", metric: "memory", atMost: 10 },
    ...KILOBYTES,
  },
  { ...IDLE, what: "rate", metric: "rate", against: RAW, atLeast: 1 },
  {
    ...{ title: LINES_TITLE, what: "CPU to CPython's asynchat" },
    ...{ server: "AsyncChat", metric: "cpu", against: ["asynchat, CPython"] },
    atMost: 1 / 5,
  },
  {
    ...{ title: "Copying a file of 64 MiB", what: "rate" },
    ...{ server: "FileDispatcher", metric: "rate" },
    ...{ against: ["file.read loop"], atLeast: 0.9 },
  },
  ...["arm", "reset", "cancel"].map((metric) => ({
    ...{ title: "Timers, 100,000 pending", what: metric, server: "callLater" },
    ...{ metric, atMost: 1, unit: " µs" },
  })),
  {
    ...{ title: "A program from start to end", what: "time" },
    ...{ server: "import of mod.ts", metric: "start" },
    ...{ against: ["empty program"], difference: true },
    ...{ atMost: 15, unit: " ms" },
  },
];

/** How a target compares to one server, or by itself. */
interface Comparison {
  value: number;
  /** The server, in words. */
  to: string;
}

/** The comparison to each server that is here, round by round. */
function compare(
  { against, difference = false, scale = 1 }: Target,
  values: number[],
  valuesOf: (server: string) => number[] | undefined,
): Comparison[] {
  if (!against) {
    return [{ value: median(values.map((value) => value / scale)), to: "" }];
  }
  return against.flatMap((server) => {
    const rivals = valuesOf(server);
    if (!rivals) return [];
    const compared = values.map((value, i) =>
      difference ? value - rivals[i]! : value / rivals[i]!
    );
    const to = `${difference ? " over" : " ×"} ${server}`;
    return [{ value: median(compared), to }];
  });
}

function judgeOne(target: Target, report: Report): Verdict | null {
  const { title, what, server, metric, unit = "" } = target;
  const found = report.cases.find((other) => other.title === title);
  const valuesOf = (name: string) =>
    found?.rows.find((row) => row.server === name)?.metrics[metric]?.values;
  const values = valuesOf(server);
  if (!values) return null;
  const isMore = target.atLeast !== undefined;
  // The server that is hardest to beat comes first.
  const [hardest] = compare(target, values, valuesOf).toSorted((a, b) =>
    isMore ? a.value - b.value : b.value - a.value
  );
  if (!hardest) return null;
  const { value, to } = hardest;
  const { atMost = Infinity, atLeast = -Infinity, below = Infinity } = target;
  const limit = isMore
    ? `≥ ${atLeast.toFixed(2)}`
    : below < Infinity
    ? `< ${below.toFixed(2)}`
    : `≤ ${atMost.toFixed(2)}`;
  return {
    met: value <= atMost && value >= atLeast && value < below,
    ...{ title, what, server, value: value.toFixed(2) + unit, to, limit },
  };
}

/** Judges all that was measured. */
export function judge(report: Report): Verdict[] {
  return TARGETS.map((target) => judgeOne(target, report))
    .filter((verdict) => verdict !== null);
}
