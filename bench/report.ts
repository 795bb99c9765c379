/**
 * All that a run has measured.
 *
 * @module
 */

import type { Competitor } from "./competitors.ts";
import type { Bench, Load, Session } from "./load.ts";
import type { Machine } from "./machine.ts";
import type { Options } from "./options.ts";
import { type Sample, summarize, type Summary } from "./stats.ts";

/** What was measured of one server. */
export interface Row {
  server: string;
  metrics: Record<string, Summary>;
}

/** What was measured under the same conditions. */
export interface Case {
  load: string;
  title: string;
  unit: string;
  /** The reference first. */
  rows: Row[];
}

/** What `--json` prints. Times are in µs (`start`: ms), memory in bytes. */
export interface Report {
  machine: Machine;
  rounds: number;
  seconds: number;
  cases: Case[];
  /** Who did not take part, and why. */
  skipped: string[];
  /** Who could not finish, and why. */
  failed: string[];
}

/** Tells how far the run has got. */
export type Progress = (text: string) => void;

/** From so many rounds on, servers are started anew halfway: a start may be a lucky one. */
const ENOUGH_FOR_TWO = 4;

/** Runs the loads, and puts together what they find. */
export async function measureAll(
  loads: Load[],
  bench: Bench,
  { rounds, seconds }: Options,
  progress: Progress,
): Promise<Report> {
  const { machine } = bench;
  const report: Report = {
    ...{ machine, rounds, seconds },
    ...{ cases: [], skipped: [], failed: [] },
  };
  for (const [i, load] of loads.entries()) {
    const takers = load.competitors.filter((competitor) =>
      takesPart(competitor, load, machine, report)
    );
    const cases = new Map<string, Map<Competitor, Sample[]>>();
    const run = { load, bench, cases, takers, report };
    const all = Math.min(rounds, load.mostRounds ?? Infinity);
    const half = all >= ENOUGH_FOR_TWO ? Math.ceil(all / 2) : all;
    for (const count of [half, all - half]) {
      if (count === 0) continue;
      await measureRounds(
        run,
        count,
        (text) => progress(`${i + 1}/${loads.length} ${load.id}: ${text}`),
      );
    }
    for (const [title, samples] of cases) {
      const rows = rowsOf(takers, samples);
      if (rows.length > 0) {
        report.cases.push({ load: load.id, title, unit: load.unit, rows });
      }
    }
  }
  report.skipped = [...new Set(report.skipped)];
  return report;
}

function takesPart(
  competitor: Competitor,
  load: Load,
  machine: Machine,
  report: Report,
): boolean {
  const { name, runtime } = competitor;
  const runtimes = { deno: "Deno", node: "Node", python: "CPython 3.11" };
  const reason = machine.runtimes[runtime]
    ? load.excludes?.(competitor) ?? null
    : `${runtimes[runtime]} is not here`;
  if (reason === null) return true;
  const where = machine.runtimes[runtime] ? ` under ${load.id}` : "";
  report.skipped.push(`${name}${where}: ${reason}`);
  return false;
}

interface Run {
  load: Load;
  bench: Bench;
  cases: Map<string, Map<Competitor, Sample[]>>;
  /** Who has not failed yet. */
  takers: Competitor[];
  report: Report;
}

/** Does `work`; if it fails, the competitor drops out. */
async function attempt(
  competitor: Competitor,
  { load, takers, report }: Run,
  work: () => Promise<void>,
): Promise<void> {
  try {
    await work();
  } catch (error) {
    const { message } = error as Error;
    report.failed.push(`${competitor.name} under ${load.id}: ${message}`);
    takers.splice(takers.indexOf(competitor), 1);
  }
}

/** Starts all, and measures them by turns. */
async function measureRounds(
  run: Run,
  count: number,
  progress: Progress,
): Promise<void> {
  const { load, bench, cases, takers } = run;
  await using stack = new AsyncDisposableStack();
  const sessions = new Map<Competitor, Session>();
  for (const competitor of [...takers]) {
    progress(`starting ${competitor.name}`);
    await attempt(competitor, run, async () => {
      const session = await load.open(competitor, bench);
      sessions.set(competitor, stack.use(session));
    });
  }
  for (let round = 1; round <= count; round++) {
    for (const competitor of [...takers]) {
      progress(`round ${round}, ${competitor.name}`);
      await attempt(competitor, run, async () => {
        const findings = await sessions.get(competitor)!.measure();
        for (const { title, sample } of findings) {
          const samples = cases.get(title) ?? new Map<Competitor, Sample[]>();
          cases.set(title, samples);
          samples.set(competitor, [...samples.get(competitor) ?? [], sample]);
        }
      });
    }
  }
}

/** Compares those who are left to the first of them. */
function rowsOf(
  takers: Competitor[],
  samples: Map<Competitor, Sample[]>,
): Row[] {
  const reference = samples.get(takers[0]!);
  if (!reference) return [];
  return takers.map((competitor) => ({
    server: competitor.name,
    metrics: summarize(samples.get(competitor)!, reference),
  }));
}
