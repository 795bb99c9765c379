import { assertEquals, assertGreater } from "@std/assert";
import { SimNetwork } from "../testing/mod.ts";
import { acknowledgedIsStored, StoresFirst } from "./sim_bugs.ts";

const SEEDS = 100;

async function traceOf(seed: number): Promise<string> {
  const sim = new SimNetwork({ seed, faults: "harsh" });
  try {
    await acknowledgedIsStored(StoresFirst)(sim);
    return sim.trace();
  } finally {
    sim.end();
  }
}

Deno.test(`Each of ${SEEDS} seeds gives the same simulation twice, byte for byte`, async () => {
  const traces: string[] = [];
  for (let seed = 1; seed <= SEEDS; seed++) traces.push(await traceOf(seed));
  assertEquals(new Set(traces).size, SEEDS);
  for (let seed = 1; seed <= SEEDS; seed++) {
    assertEquals(await traceOf(seed), traces[seed - 1], `seed ${seed}`);
  }
});

interface ChildResult {
  hash: string;
  events: number;
  granted: string[];
}

/** Runs the simulation of a child process without any permission. */
async function runChild(
  flags: string[] = [],
  env: Record<string, string> = {},
): Promise<ChildResult> {
  const child = `${import.meta.dirname}/../tools/test_programs/sim_child.ts`;
  const { stdout, stderr, success } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "--no-prompt", ...flags, child],
    env: { NO_COLOR: "1", ...env },
  }).output();
  const told = new TextDecoder().decode(stderr);
  if (!success) throw new Error(`The child has failed: ${told}`);
  return JSON.parse(new TextDecoder().decode(stdout));
}

Deno.test("A simulation runs without any permission, the same in every process", async () => {
  const [first, ...others] = await Promise.all([
    runChild(),
    runChild(),
    runChild(["--seed=5", "--v8-flags=--no-opt,--stack-trace-limit=3"], {
      TZ: "Asia/Kolkata",
      LANG: "tr_TR.UTF-8",
      LC_ALL: "tr_TR.UTF-8",
    }),
  ]);
  assertEquals(first!.granted, []);
  assertGreater(first!.events, 10_000);
  for (const other of others) assertEquals(other, first);
});
