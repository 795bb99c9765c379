/**
 * Tries each call of the table of escapes on a simulated host, beside another
 * one whose clock ticks, and prints what came of it.
 */

import { SimNetwork, SimulationError } from "../../testing/mod.ts";
import { importTraps, isolateHosts } from "../../testing/sim_globals.ts";
import { TABLE } from "../../tests/escape_table.ts";

/** What came of a call: the error that ended the run, or value and time. */
async function attempt(call: () => unknown): Promise<string> {
  const sim = new SimNetwork({ seed: 5 });
  let outcome = "nothing";
  sim.host("ticker").map.callEvery(1, () => {});
  sim.host("host", ({ map }) => {
    map.callLater(3, async () => {
      const value = await call();
      outcome = `value ${value} at ${sim.now}`;
    });
  });
  try {
    await sim.run({ limit: 100 });
  } catch (error) {
    if (!(error instanceof SimulationError)) throw error;
    outcome = error.message;
  } finally {
    sim.end();
  }
  return outcome;
}

// For all runs at once, which takes less time than for each.
isolateHosts();
await importTraps.acquire();
const outcomes: Record<string, string> = {};
for (const { calls } of TABLE) {
  for (const [name, call] of Object.entries(calls)) {
    outcomes[name] = await attempt(call);
  }
}
console.log(JSON.stringify(outcomes));
Deno.exit(); // Real calls have left timers and sockets behind.
