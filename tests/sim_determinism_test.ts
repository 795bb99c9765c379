import { assertEquals, assertGreater } from "@std/assert";
import { SimNetwork } from "../testing/mod.ts";
import { isAnswered } from "./sim_bugs.ts";

const SEEDS = 100;

async function traceOf(seed: number): Promise<string> {
  const sim = new SimNetwork({ seed, faults: "harsh" });
  sim.host("disk", async ({ disk, map }) => {
    map.callEvery(1_000, () => disk.set(`${Math.random()}`, Date.now()));
    await disk.sync();
  });
  await isAnswered(3_000)(sim);
  await sim.run({ limit: 60_000 });
  sim.end();
  return sim.trace();
}

Deno.test(`Each of ${SEEDS} seeds gives the same simulation twice, byte for byte`, async () => {
  const traces = new Set<string>();
  for (let seed = 1; seed <= SEEDS; seed++) {
    const trace = await traceOf(seed);
    assertEquals(await traceOf(seed), trace, `seed ${seed}`);
    traces.add(trace);
  }
  assertEquals(traces.size, SEEDS);
});

/** Runs the simulation of a child process without any permission. */
async function runChild(
  flags: string[] = [],
  env: Record<string, string> = {},
) {
  const child = `${import.meta.dirname}/../tools/test_programs/sim_child.ts`;
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "--no-prompt", ...flags, child],
    env: { NO_COLOR: "1", ...env },
  }).output();
  const [out, err] = [stdout, stderr].map((s) => new TextDecoder().decode(s));
  assertGreater(out!.length, 0, err);
  return JSON.parse(out!);
}

Deno.test("A simulation runs without any permission, the same in every process", async () => {
  const elsewhere = {
    TZ: "Asia/Kolkata",
    LANG: "tr_TR.UTF-8",
    LC_ALL: "tr_TR.UTF-8",
  };
  const [first, ...others] = await Promise.all([
    runChild(),
    runChild(),
    runChild(
      ["--seed=5", "--v8-flags=--no-opt,--stack-trace-limit=3"],
      elsewhere,
    ),
  ]);
  assertEquals(first.granted, []);
  assertGreater(first.events, 10_000);
  for (const other of others) assertEquals(other, first);
});
