import {
  assert,
  assertEquals,
  assertGreater,
  assertMatch,
  assertRejects,
  assertThrows,
} from "@std/assert";
import {
  type Scenario,
  SimNetwork,
  type SimNetworkOptions,
  simulate,
  SimulationError,
} from "../testing/mod.ts";
import { isAnswered } from "./sim_bugs.ts";
import { clientOn, echoNetwork, EchoServer, SERVER } from "./sim_programs.ts";
import { bytes } from "./support.ts";

Deno.test("simulate() runs a scenario for a thousand seeds", async () => {
  const seen = new Set<number>();
  const options = { seeds: 1_000, faults: "harsh" } as const;
  const result = await simulate(options, async (sim) => {
    seen.add(sim.seed);
    await isAnswered(3_000)(sim);
  });
  assertEquals([seen.size, result.seeds], [1_000, 1_000]);
  assertEquals([Math.min(...seen), Math.max(...seen)], [1, 1_000]);
  assertGreater(result.events, 10_000);
  assertGreater(result.faults, 1_000);
  assertGreater(result.simulatedTime, 0);
});

Deno.test("simulate() names the seed that fails, and shows the trace from its first fault on", async () => {
  const error = await assertRejects(
    () =>
      simulate({ seeds: 50, faults: { refuse: 0.1 } }, async (sim) => {
        sim.host("server", () => new EchoServer());
        const client = clientOn(sim.host("client"));
        await sim.run();
        assertEquals(client.events, ["connect"]);
      }),
    SimulationError,
  );
  const { seed, message, cause, trace } = error;
  assertGreater(seed, 1);
  assert(message.startsWith(`Seed ${seed}: AssertionError: `));
  // The listener and the connect were before the fault.
  assertMatch(
    message,
    /in simulated ms:\n +\d+\.\d+ fault refuse #1\n.*client #1 is refused\n/,
  );
  assert(message.includes(`seeds: [${seed}]`));
  assert(message.includes(`shrink({ seed: ${seed}, … }`));
  assertEquals((cause as Error).name, "AssertionError");
  assertMatch(trace, /^ +0\.000 server listens/);
});

const spam = () => Promise.reject(new Error("spam"));

/** What goes wrong on a host, and what the run says. */
const UNHANDLED: [string, Scenario, message: string][] = [
  ["an error of a timer", (sim) => {
    sim.host("a").map.callLater(5, () => {
      throw new Error("spam");
    });
  }, "an error on a: Error: spam"],
  [
    "a rejected promise of a timer",
    (sim) => void sim.host("a").map.callLater(1, () => void spam()),
    "a promise that was rejected: Error: spam",
  ],
  [
    "a program that fails",
    (sim) => void sim.host("a", spam),
    "an error on a: Error: spam",
  ],
  [
    "a rejected promise of host.run()",
    (sim) => void sim.host("a").run(spam),
    "a promise that was rejected: Error: spam",
  ],
];

for (const [what, scenario, message] of UNHANDLED) {
  Deno.test(`simulate() fails by what nobody handles: ${what}`, async () => {
    const { seed, cause } = await assertRejects(
      () =>
        simulate({ seeds: [5] }, async (sim) => {
          scenario(sim);
          await sim.run({ limit: 10 });
        }),
      SimulationError,
      `Nobody handled ${message}`,
    );
    assertEquals(seed, 5);
    assert((cause as Error).cause instanceof Error);
  });
}

const WRONG: [SimNetworkOptions, typeof TypeError, message: string][] = [
  [{ seed: -1 }, RangeError, "seed"],
  [{ seed: "1" as never }, TypeError, "seed"],
  [{ latency: [5, 1] }, RangeError, "latency[1]"],
  [{ bandwidth: 0 }, RangeError, "bandwidth"],
  [{ faults: "spam" as never }, TypeError, 'faults must be "none", "mild"'],
  [{ faults: { stall: NaN } }, RangeError, "faults.stall"],
  [{ faults: { reset: 2 } }, RangeError, "faults.reset"],
];

for (const [options, Class, message] of WRONG) {
  Deno.test(`SimNetwork says which option is wrong: ${Deno.inspect(options)}`, () => {
    assertThrows(() => new SimNetwork(options), Class, message);
  });
}

Deno.test("simulate() says which option is wrong", async () => {
  const nothing = () => {};
  for (const seeds of [0, "spam", []]) {
    const options = { seeds } as never;
    await assertRejects(() => simulate(options, nothing), Error, "seeds");
  }
  await assertRejects(() => simulate({}, null as never), TypeError);
});

Deno.test("simulate() names each fault once when it is asked for another", async () => {
  const faults = { spam: 1 } as never;
  const { message } = await assertRejects(
    () => simulate({ seeds: 1, faults }, () => {}),
    TypeError,
    'Unknown option "faults.spam": there are ',
  );
  const names = message.split(": there are ")[1]!.split(", ");
  assert(names.includes("skew") && names.includes("stallTime"));
  assertEquals(names, [...new Set(names)]);
});

Deno.test("A host of a SimNetwork is found by its name and by its address", async () => {
  const sim = echoNetwork();
  const { hostname } = sim.host("server");
  assertEquals(hostname, "10.0.0.1");
  const client = clientOn(sim.host("client"));
  client.close();
  client.createSocket();
  client.connect({ ...SERVER, hostname });
  client.send(bytes("spam"));
  await sim.run({ until: () => client.answer === "spam" });
});

for (const failing of [1, 2]) {
  Deno.test(`simulate() notices that of two runs only run ${failing} fails`, async () => {
    let runs = 0;
    await assertRejects(
      () =>
        simulate({ seeds: 1 }, () => {
          if (++runs === failing) throw new Error("spam");
        }),
      SimulationError,
      "gave two different runs",
    );
  });
}

Deno.test("simulate() notices that two runs end at different times", async () => {
  let limit = 0;
  await assertRejects(
    () => simulate({ seeds: 1 }, (sim) => sim.run({ limit: limit += 100 })),
    SimulationError,
    "succeeded after 100 simulated ms, the other succeeded after 200",
  );
});
