/**
 * All loads, in the order of the table.
 *
 * @module
 */

import { UsageError } from "../examples/command_line.ts";
import { quote } from "../examples/quote.ts";
import type { Load } from "./load.ts";
import { CHURN_LOAD, IDLE_LOAD } from "./loads/connections.ts";
import { echoLoad, type Phase } from "./loads/echo.ts";
import { FILES_LOAD } from "./loads/files.ts";
import { LINES_LOAD } from "./loads/lines.ts";
import { IMPORT_LOAD, TIMERS_LOAD } from "./loads/programs.ts";
import { TLS_LOAD } from "./loads/tls.ts";

const KIB = 1_024;
/** The numbers of connections that the plot shows. */
export const PLOTTED = [1, 8, 64, 512, 5_000];

function small(...active: number[]): Phase[] {
  return active.map((active) => ({ active, size: 64 }));
}

/** What each number of connections is asked for, with and without the plot. */
function phasesOf(connections: number, plot: boolean): Phase[] {
  switch (connections) {
    case 1:
      return small(1);
    case 64:
      return plot ? small(64, 1) : small(64);
    case 5_000:
      return small(64, 1, 5_000);
    default:
      return plot ? small(connections, 1) : [];
  }
}

/** The loads that `words` pick: all without any. */
export function pickLoads(words: string[], plot: boolean): Load[] {
  const loads = [
    ...PLOTTED.map((connections) => ({
      connections,
      phases: phasesOf(connections, plot),
    })).filter(({ phases }) => phases.length > 0)
      .map(({ connections, phases }) =>
        echoLoad(`echo-${connections}`, { connections, phases })
      ),
    ...[16, 256].map((kib) =>
      echoLoad(`echo-${kib}k`, {
        connections: 64,
        phases: [{ active: 64, size: kib * KIB }],
      })
    ),
    TLS_LOAD,
    CHURN_LOAD,
    IDLE_LOAD,
    LINES_LOAD,
    FILES_LOAD,
    TIMERS_LOAD,
    IMPORT_LOAD,
  ];
  for (const word of words) {
    if (loads.some(({ id }) => matches(id, word))) continue;
    throw new UsageError(
      `No load is called ${quote(word)}: take one of ${
        loads.map(({ id }) => id).join(", ")
      }`,
    );
  }
  if (words.length === 0) return loads;
  return loads.filter(({ id }) => words.some((word) => matches(id, word)));
}

/** `echo` stands for all whose names begin with it. */
function matches(id: string, word: string): boolean {
  return id === word || id.startsWith(`${word}-`);
}
