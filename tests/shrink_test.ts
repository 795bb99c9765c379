import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { Dispatcher } from "../mod.ts";
import {
  shrink,
  SimNetwork,
  simulate,
  SimulationError,
} from "../testing/mod.ts";
import { clientOn, EchoServer, PORT } from "./sim_programs.ts";

const FAULTS = { refuse: 0.3, acceptDelay: 0.3, lookup: 0.1, split: 0.3 };
const CLIENTS = 12;

/** Fails when `most` clients or more cannot connect. */
function failsWhenRefused(most: number) {
  return async (sim: SimNetwork): Promise<void> => {
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
async function failingSeed(most: number): Promise<number> {
  const error = await assertRejects(
    () => simulate({ seeds: 100, faults: FAULTS }, failsWhenRefused(most)),
    SimulationError,
  );
  return error.seed;
}

for (const most of [1, 2]) {
  Deno.test(`shrink() finds the ${most} of many faults that matter`, async () => {
    const seed = await failingSeed(most);
    let printed = "";
    const print = (text: string) => printed = text;
    const scenario = failsWhenRefused(most);
    const result = await shrink({ seed, faults: FAULTS, print }, scenario);
    assert(result.before > 10, `${result.before}`);
    assertEquals(result.faults.length, most);
    for (const { id } of result.faults) assertMatch(id, /^refuse #\d+$/);
    assert(result.attempts < 60, `${result.attempts} runs`);
    assertEquals(result.error.seed, seed);
    assertEquals(`${result}`, printed);
    const [first, ...lines] = printed.split("\n");
    assertEquals(
      first,
      `Seed ${seed} fails with ${most} of ${result.before} faults ` +
        `(${result.attempts} runs):`,
    );
    assertMatch(lines[0]!, /^ +\d+\.\d{3} refuse #\d+$/);
    assertEquals(lines.at(-1), `Seed ${seed}: Error: ${most} refused`);
    // The schedule can be run again, and each of its faults is needed.
    const only = result.faults.map(({ id }) => id);
    await assertRejects(() =>
      scenario(new SimNetwork({ seed, faults: FAULTS, only }))
    );
    for (const one of only) {
      const others = only.filter((id) => id !== one);
      await scenario(new SimNetwork({ seed, faults: FAULTS, only: others }));
    }
  });
}

Deno.test("shrink() finds that a crash matters, and that it alone does", async () => {
  const scenario = async (sim: SimNetwork): Promise<void> => {
    let starts = 0;
    sim.host("server", () => {
      starts++;
      new EchoServer();
    });
    clientOn(sim.host("client")).callEvery(500, () => {});
    await sim.run({ limit: 60_000 });
    if (starts > 1) throw new Error("It has crashed");
  };
  const options = { faults: { crash: 2, partition: 2, skew: 5_000 } };
  const error = await assertRejects(
    () => simulate({ ...options, seeds: 100 }, scenario),
    SimulationError,
  );
  const print = () => {};
  const result = await shrink(
    { ...options, seed: error.seed, print },
    scenario,
  );
  assertEquals(result.faults.length, 1);
  assertMatch(result.faults[0]!.id, /^crash server \d+$/);
});

Deno.test("shrink() finds that no fault matters", async () => {
  const print = () => {};
  const result = await shrink({ faults: FAULTS, print }, async (sim) => {
    await failsWhenRefused(99)(sim);
    throw new Error("spam");
  });
  assertEquals([result.faults, result.attempts], [[], 2]);
  assert(result.before > 0);
});

Deno.test("shrink() tries again what was needed only together with another fault", async () => {
  const options = { faults: { lookup: 1 }, print: () => {} };
  const result = await shrink(options, async (sim) => {
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
  const seed = await failingSeed(2);
  let runs = 0;
  const print = () => {};
  const options = { seed, faults: FAULTS, attempts: 3, print };
  const result = await shrink(options, async (sim) => {
    runs++;
    await failsWhenRefused(2)(sim);
  });
  assertEquals([runs, result.attempts], [3, 3]);
  assert(result.faults.length > 2);
});

Deno.test("shrink() says that the seed does not fail", async () => {
  await assertRejects(
    () => shrink({ seed: 5 }, () => {}),
    Error,
    "Cannot shrink: the run with seed 5 succeeds",
  );
});

Deno.test("A fault that is left out changes no other fault of the same kind", async () => {
  const run = async (only?: string[]): Promise<string[]> => {
    const options = { seed: 5, faults: { lookup: 0.5 } };
    const sim = new SimNetwork(only ? { ...options, only } : options);
    sim.host("server");
    for (let i = 0; i < 20; i++) {
      sim.host("client").run(() => {
        const client = new Dispatcher();
        client.createSocket();
        client.connect({ hostname: "server", port: PORT });
      });
    }
    await sim.run();
    return sim.faultEvents.map(({ id }) => id);
  };
  const all = await run();
  assert(all.length > 4, `${all}`);
  assertEquals(await run(all.slice(1)), all.slice(1));
});
