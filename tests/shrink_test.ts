import {
  assertEquals,
  assertGreater,
  assertLess,
  assertMatch,
  assertRejects,
} from "@std/assert";
import {
  type Scenario,
  shrink,
  SimNetwork,
  simulate,
  SimulationError,
} from "../testing/mod.ts";
import { clientOn, EchoServer } from "./sim_programs.ts";

const FAULTS = { refuse: 0.3, acceptDelay: 0.3, lookup: 0.1, split: 0.3 };
const CLIENTS = 12;
const print = () => {};

/** Fails when `most` clients or more cannot connect. */
function failsWhenRefused(most: number): Scenario {
  return async (sim) => {
    sim.host("server", () => new EchoServer());
    const clients = Array.from(
      { length: CLIENTS },
      (_, i) => clientOn(sim.host(`client${i}`)),
    );
    for (const client of clients) client.send(new Uint8Array(500));
    await sim.run();
    const refused = clients.filter(({ events }) =>
      events[0] === "error ConnectionRefused"
    );
    if (refused.length >= most) throw new Error(`${refused.length} refused`);
  };
}

/** The first seed that fails. */
async function failingSeed(scenario: Scenario): Promise<number> {
  const error = await assertRejects(
    () => simulate({ seeds: 100, faults: FAULTS }, scenario),
    SimulationError,
  );
  return error.seed;
}

for (const most of [1, 2]) {
  Deno.test(`shrink() finds the ${most} of many faults that matter`, async () => {
    const scenario = failsWhenRefused(most);
    const network = {
      seed: await failingSeed(scenario),
      faults: FAULTS,
    };
    const { seed } = network;
    let printed = "";
    const print = (text: string) => printed = text;
    const result = await shrink({ ...network, print }, scenario);
    const { before, attempts, faults, error } = result;
    assertGreater(before, 10);
    assertLess(attempts, 60);
    assertEquals([faults.length, error.seed], [most, seed]);
    assertEquals(`${result}`, printed);
    const [first, line, ...more] = printed.split("\n");
    assertEquals(
      first,
      `Seed ${seed} fails with ${most} of ${before} faults (${attempts} runs):`,
    );
    assertMatch(line!, /^ +\d+\.\d{3} refuse #\d+$/);
    assertEquals(more.at(-1), `Seed ${seed}: Error: ${most} refused`);
    // The schedule can be run again, and each of its faults is needed.
    const only = faults.map(({ id }) => id);
    const run = async (only: string[]) =>
      await scenario(new SimNetwork({ ...network, only }));
    await assertRejects(() => run(only));
    for (const one of only) await run(only.filter((id) => id !== one));
  });
}

Deno.test("shrink() finds that no fault matters", async () => {
  const result = await shrink({ faults: FAULTS, print }, async (sim) => {
    await failsWhenRefused(99)(sim);
    throw new Error("spam");
  });
  assertEquals([result.faults, result.attempts], [[], 2]);
  assertGreater(result.before, 0);
});

Deno.test("shrink() tries again what was needed only together with another fault", async () => {
  const result = await shrink({ faults: { lookup: 1 }, print }, async (sim) => {
    sim.host("server");
    for (let i = 0; i < 4; i++) clientOn(sim.host("client"));
    await sim.run();
    const [first, , third, fourth] = [1, 2, 3, 4].map((n) =>
      sim.faultEvents.some(({ id }) => id === `lookup #${n}`)
    );
    if (fourth && (first || !third)) throw new Error("spam");
  });
  assertEquals(result.faults.map(({ id }) => id), ["lookup #4"]);
});

Deno.test("shrink() spends no more runs than it may", async () => {
  const scenario = failsWhenRefused(2);
  const seed = await failingSeed(scenario);
  let runs = 0;
  const options = { seed, faults: FAULTS, attempts: 3, print };
  const result = await shrink(options, (sim) => {
    runs++;
    return scenario(sim);
  });
  assertEquals([runs, result.attempts], [3, 3]);
  assertGreater(result.faults.length, 2);
});

Deno.test("shrink() says that the seed does not fail", async () => {
  await assertRejects(
    () => shrink({ seed: 5 }, () => {}),
    Error,
    "Cannot shrink: the run with seed 5 succeeds",
  );
});

Deno.test("A fault that is left out changes no other fault of the same kind", async () => {
  const run = async (options = {}): Promise<string[]> => {
    const faults = { lookup: 0.5 };
    const sim = new SimNetwork({ seed: 5, faults, ...options });
    sim.host("server");
    for (let i = 0; i < 20; i++) clientOn(sim.host("client"));
    await sim.run();
    return sim.faultEvents.map(({ id }) => id);
  };
  const all = await run();
  assertGreater(all.length, 4);
  const only = all.slice(1);
  assertEquals(await run({ only }), only);
});
