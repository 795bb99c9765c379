/**
 * What needs no client: timers, and the start of a program.
 *
 * @module
 */

import { PROGRAMS, TIMERS } from "../competitors.ts";
import { type Load, openSession } from "../load.ts";
import { type Launch, Program } from "../program.ts";
import { median, type Sample } from "../stats.ts";

const STARTS = 3;

/** Arm, reset and cancel among 100,000 pending timers. */
export const TIMERS_LOAD: Load = {
  id: "timers",
  unit: "timer",
  competitors: TIMERS,
  open: (competitor, bench) =>
    openSession(async (stack) => {
      const program = stack.use(new Program(bench.launchOf(competitor)));
      await program.ask("warm up");
      return async () => {
        const sample: Sample = JSON.parse(await program.ask("measure"));
        return [{ title: "Timers, 100,000 pending", sample }];
      };
    }),
};

/** How long a program takes from start to end, in ms. */
async function timeOf({ command, args }: Launch): Promise<number> {
  const program = new Deno.Command(command, {
    args,
    cwd: `${import.meta.dirname}/..`,
  });
  const start = performance.now();
  const { success, stderr } = await program.output();
  const time = performance.now() - start;
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  return time;
}

/** What it takes to start a program. */
export const IMPORT_LOAD: Load = {
  id: "import",
  unit: "program",
  competitors: PROGRAMS,
  mostRounds: 5,
  open: (competitor, bench) =>
    openSession(async () => {
      const launch = bench.launchOf(competitor, false);
      await timeOf(launch); // Fills the caches.
      return async () => {
        const times: number[] = [];
        for (let i = 0; i < STARTS; i++) times.push(await timeOf(launch));
        const title = "A program from start to end";
        return [{ title, sample: { start: median(times) } }];
      };
    }),
};
