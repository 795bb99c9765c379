/**
 * All loads, in the order of the table.
 *
 * @module
 */

import { UsageError } from "../examples/command_line.ts";
import { quote } from "../examples/quote.ts";
import { SMALL_ECHO } from "./competitors.ts";
import type { Load } from "./load.ts";
import { CHURN_LOAD, IDLE_LOAD } from "./loads/connections.ts";
import { echoLoad } from "./loads/echo.ts";
import { FILES_LOAD } from "./loads/files.ts";
import { LINES_LOAD } from "./loads/lines.ts";
import { IMPORT_LOAD, TIMERS_LOAD } from "./loads/programs.ts";
import { TLS_LOAD } from "./loads/tls.ts";

const KIB = 1_024;

/** Messages of 64 bytes over so many connections, of which so many are active. */
function small(connections: number, active: number[]): Load {
  const phases = active.map((active) => ({ active, size: 64 }));
  return echoLoad(`echo-${connections}`, { connections, phases }, SMALL_ECHO);
}

/** The loads that `words` pick: all without any. */
export function pickLoads(words: string[]): Load[] {
  const loads = [
    small(1, [1]),
    small(64, [64]),
    small(5_000, [64, 1, 5_000]),
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
