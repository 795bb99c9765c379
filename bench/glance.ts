/**
 * A run at a glance: ten loads, and the peers beside the loop by hand.
 *
 * @module
 */

import { titleOf } from "./loads/echo.ts";
import { CHURN_TITLE } from "./loads/connections.ts";
import { LINES_TITLE } from "./loads/lines.ts";
import type { Report, Row } from "./report.ts";

/** A server as the reader knows it. Under another load it has another name. */
export interface Peer {
  name: string;
  isOurs: boolean;
  /** Its rows in the report, whichever the load has. */
  servers: string[];
  /** Its row that reads into a buffer of its own, as the loop by hand does. */
  into?: string;
}

/** The peers, from the top of each panel. */
export const PEERS: Peer[] = [
  {
    name: "asyncore on epoll",
    isOurs: true,
    servers: ["asyncore on epoll, buffered", "AsyncChat on epoll"],
    into: "asyncore on epoll, recvInto",
  },
  {
    name: "asyncore",
    isOurs: true,
    servers: ["asyncore, buffered", "AsyncChat"],
    into: "asyncore, recvInto",
  },
  {
    name: "node:net on Node",
    isOurs: false,
    servers: ["node:net, Node", "readline, Node"],
  },
  {
    name: "node:net on Deno",
    isOurs: false,
    servers: ["node:net, Deno", "readline, Deno"],
  },
  {
    name: "asyncore on CPython",
    isOurs: false,
    servers: ["asyncore, CPython", "asynchat, CPython"],
  },
];

/** A load, and how it is told at a glance. */
interface Subject {
  title: string;
  /** The title of the case in the report. */
  of: string;
  metric: "cpu" | "memory";
  unit: string;
  /** Messages are large enough that copies cost more than calls. */
  isLarge?: boolean;
}

function small(active: number, connections: number): Subject {
  return {
    title: titleOf(connections, { active, size: 64 }).split(" active")[0]!,
    of: titleOf(connections, { active, size: 64 }),
    metric: "cpu",
    unit: "µs",
  };
}

function large(kib: number): Subject {
  return {
    title: `64 of 64, ${kib} KiB`,
    of: titleOf(64, { active: 64, size: kib * 1_024 }),
    metric: "cpu",
    unit: "µs",
    isLarge: true,
  };
}

const SUBJECTS: Subject[] = [
  small(1, 1),
  small(64, 64),
  small(64, 5_000),
  small(1, 5_000),
  small(5_000, 5_000),
  large(16),
  large(256),
  {
    title: "Connect, close",
    of: CHURN_TITLE,
    metric: "cpu",
    unit: "µs",
  },
  { title: "Lines of 60 B", of: LINES_TITLE, metric: "cpu", unit: "µs" },
  {
    title: "Memory per client",
    of: titleOf(5_000, { active: 5_000, size: 64 }),
    metric: "memory",
    unit: "KB",
  },
];

/** The cost of a peer, in processor time or memory, against the loop by hand. */
export interface Point {
  peer: Peer;
  /** Its name under this load. */
  server: string;
  ratio: number;
  /** The ratio in words; memory itself, which says more. */
  label: string;
  /** The ratio by `recvInto()`, where messages are large. */
  into: number | null;
  /** In µs. */
  p99: number | undefined;
}

/** One load. */
export interface Glance {
  title: string;
  metric: "cpu" | "memory";
  unit: string;
  isLarge: boolean;
  /** The cost of the loop by hand; the p99 in µs. */
  byHand: { value: number; p99: number | undefined };
  points: Point[];
}

/** The loads that the report has. */
export function glanceAt(report: Report): Glance[] {
  return SUBJECTS.flatMap(({ title, of, metric, unit, isLarge = false }) => {
    const rows = report.cases.find((other) => other.title === of)?.rows ?? [];
    if (rows[0]?.metrics[metric] === undefined) return [];
    const find = (...servers: (string | undefined)[]) =>
      rows.find(({ server }) => servers.includes(server));
    const valueOf = ({ metrics }: Row) =>
      metrics[metric]!.median / (metric === "memory" ? 1_000 : 1);
    const points = PEERS.flatMap((peer): Point[] => {
      const row = find(...peer.servers);
      if (!row) return [];
      const { ratio } = row.metrics[metric]!;
      const into = isLarge && find(peer.into)?.metrics[metric]?.ratio;
      return [{
        peer,
        server: row.server,
        ratio,
        label: metric === "memory"
          ? `${round(valueOf(row))} ${unit}`
          : ratio.toFixed(2),
        into: into || null,
        p99: row.metrics.p99?.median,
      }];
    });
    const byHand = {
      value: valueOf(rows[0]),
      p99: rows[0].metrics.p99?.median,
    };
    return [{ title, metric, unit, isLarge, byHand, points }];
  });
}

/** Three digits at most, as far as they say something. */
export function round(value: number): string {
  const decimals = value < 1 ? 2 : value < 100 ? 1 : 0;
  return value.toLocaleString("en", {
    minimumFractionDigits: decimals,
    maximumFractionDigits: decimals,
  });
}
