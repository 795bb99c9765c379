import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  type SimHost,
  SimNetwork,
  simulate,
  SimulationError,
} from "../testing/mod.ts";
import { bytes, Client, clientOn, EchoServer, SERVER } from "./sim_programs.ts";

Deno.test("SimNetwork runs unchanged classes, and restarts them after a crash", async () => {
  const seed = 42;
  const sim = new SimNetwork({
    seed,
    latency: [1, 20],
    bandwidth: 1_000_000,
    faults: { stall: 0.01, split: 0.3 },
  });
  const server = sim.host("server"), client = sim.host("client");
  new EchoServer({ map: server.map });
  const first = clientOn(client);
  first.send(bytes("spam"));
  await sim.run({ until: () => first.answer === "spam", limit: 60_000 });
  sim.partition(["client"], ["server"]);
  first.send(bytes(" and eggs"));
  await sim.run({ limit: 1_000 });
  assertEquals(first.answer, "spam");
  sim.heal();
  await sim.run({ until: () => first.answer === "spam and eggs" });
  sim.crash("server");
  sim.restart("server", () => new EchoServer({ map: server.map }));
  first.send(bytes("?"));
  await sim.run({ until: () => first.events.length > 1 });
  assertEquals(first.events, ["connect", "close ConnectionReset"]);
  const second = clientOn(client);
  second.send(bytes("again"));
  await sim.run({ until: () => second.answer === "again" });
  assertMatch(sim.trace(), /client #1 is connected/);
});

Deno.test("SimNetwork lets a scenario crash and restart hosts from inside a run", async () => {
  const sim = new SimNetwork();
  sim.host("server", () => new EchoServer());
  const { map } = sim.host("client");
  const client = clientOn(sim.host("client"));
  map.callLater(1_000, () => sim.crash("server"));
  map.callLater(2_000, () => sim.restart("server"));
  map.callLater(3_000, () => void client.send(bytes("?")));
  await sim.run({ until: () => client.events.length > 1 });
  assertEquals(client.events, ["connect", "close ConnectionReset"]);
});

/** A conversation that a thousand bad networks must not break. */
class Persistent extends Client {
  readonly #done: () => void;
  constructor(done: () => void) {
    super({ idleTimeout: 3_000 }, { connectTimeout: 3_000 });
    this.#done = done;
    this.send(bytes("spam and eggs"));
  }
  override handleRead(): void {
    super.handleRead();
    if (this.answer === "spam and eggs") {
      this.#done();
      this.close();
    }
  }
  override handleError(): void {
    this.handleClose();
  }
  override handleTimeout(): void {
    this.handleClose();
  }
  override handleClose(): void {
    this.close();
    this.map.callLater(200, () => void new Persistent(this.#done));
  }
}

Deno.test("simulate() runs a scenario for a thousand seeds", async () => {
  const seen = new Set<number>();
  const result = await simulate(
    { seeds: 1_000, faults: "harsh" },
    async (sim) => {
      seen.add(sim.seed);
      let done = 0;
      sim.host("server", () => new EchoServer());
      sim.host("client").run(() => new Persistent(() => done++));
      await sim.run({ until: () => done === 1, limit: 300_000 });
    },
  );
  assertEquals([seen.size, result.seeds], [1_000, 1_000]);
  assertEquals([Math.min(...seen), Math.max(...seen)], [1, 1_000]);
  assert(result.events > 10_000 && result.faults > 1_000, `${result.faults}`);
  assert(result.simulatedTime > 0);
});

Deno.test("simulate() names the seed that fails, and shows the end of the trace", async () => {
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
  const { seed } = error;
  assert(seed > 1, `${seed}`);
  assert(error.message.startsWith(`Seed ${seed}: AssertionError: `));
  assertMatch(error.message, /The last of \d+ events, in simulated ms:\n/);
  assertMatch(error.message, /fault refuse #1\n.*client #1 is refused\n/);
  assert(error.message.includes(`seeds: [${seed}]`));
  assert(error.message.includes(`shrink({ seed: ${seed}, … }`));
  assertEquals((error.cause as Error).name, "AssertionError");
  assertMatch(error.trace, /^ +0\.000 server listens/);
});

Deno.test("simulate() fails where only the run fails: an error that nobody handled", async () => {
  const error = await assertRejects(
    () =>
      simulate({ seeds: 1 }, async (sim) => {
        sim.host("a").map.callLater(5, () => {
          throw new TypeError("no spam");
        });
        await sim.run();
      }),
    SimulationError,
  );
  assertMatch(error.message, /^Seed 1: .*error on a: TypeError: no spam/);
});

Deno.test("simulate() says which option is wrong", async () => {
  const nothing = () => {};
  const wrong = (
    options: unknown,
    type: typeof TypeError | typeof RangeError,
  ) => assertRejects(() => simulate(options as never, nothing), type);
  await wrong({ seeds: 0 }, RangeError);
  await wrong({ seeds: "spam" }, TypeError);
  await wrong({ seeds: [] }, TypeError);
  await wrong({ seeds: 1, faults: "spam" }, TypeError);
  await wrong({ seeds: 1, faults: { spam: 1 } }, TypeError);
  await wrong({ seeds: 1, faults: { reset: 2 } }, RangeError);
  await assertRejects(() => simulate({}, null as never), TypeError);
});

Deno.test("simulate() names each fault once when it is asked for another", async () => {
  const faults = { spam: 1 } as never;
  const { message } = await assertRejects(
    () => simulate({ seeds: 1, faults }, () => {}),
    TypeError,
    'faults has no "spam": there are ',
  );
  const names = message.split(": there are ")[1]!.split(", ");
  assert(names.includes("skew") && names.includes("stallTime"));
  assertEquals(names, [...new Set(names)]);
});

Deno.test("SimNetwork says which option is wrong", () => {
  const make = (options: unknown) => () => new SimNetwork(options as never);
  assertThrows(make({ seed: -1 }), RangeError, "seed");
  assertThrows(make({ seed: "1" }), TypeError, "seed");
  assertThrows(make({ latency: [5, 1] }), RangeError, "latency[1]");
  assertThrows(make({ bandwidth: 0 }), RangeError, "bandwidth");
  assertThrows(make({ faults: { stall: NaN } }), RangeError, "faults.stall");
  assertThrows(() => new SimNetwork().host(""), Error);
});

Deno.test("A host of a SimNetwork is found by its name and by its address", async () => {
  const sim = new SimNetwork();
  const { hostname } = sim.host("server", () => new EchoServer());
  assertEquals(hostname, "10.0.0.1");
  const client = sim.host("client").run(() => new Client());
  client.close();
  client.createSocket();
  client.connect({ ...SERVER, hostname });
  client.send(bytes("spam"));
  await sim.run({ until: () => client.answer === "spam" });
});

for (
  const [how, reject] of [
    ["in a hook", (host: SimHost) => {
      host.map.callLater(1, () => void Promise.reject(new Error("spam")));
    }],
    ["of a program that nobody awaits", (host: SimHost) => {
      void host.run(() => Promise.reject(new Error("spam")));
    }],
  ] as const
) {
  Deno.test(`a rejected promise ${how} ends the run, with its seed and trace`, async () => {
    const error = await assertRejects(
      () =>
        simulate({ seeds: [5] }, async (sim) => {
          reject(sim.host("a"));
          await sim.run({ limit: 10 });
        }),
      SimulationError,
      "Nobody handled a promise that was rejected: Error: spam",
    );
    assertEquals(error.seed, 5);
    assertStringIncludes(error.message, "unhandled rejection Error: spam");
  });
}

Deno.test("simulate() notices runs that differ in nothing but how they end", async () => {
  for (const failing of [1, 2]) {
    let runs = 0;
    await assertRejects(
      () =>
        simulate({ seeds: 1 }, async (sim) => {
          sim.host("a");
          await sim.run({ limit: 10 });
          if (++runs === failing) throw new Error("spam");
        }),
      SimulationError,
      "gave two different runs",
    );
  }
  let limit = 0;
  await assertRejects(
    () => simulate({ seeds: 1 }, (sim) => sim.run({ limit: limit += 100 })),
    SimulationError,
    "succeeded after 100 simulated ms, the other succeeded after 200",
  );
});
