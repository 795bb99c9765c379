import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { Dispatcher, SocketMap } from "../mod.ts";
import { SimNetwork, simulate, SimulationError } from "../testing/mod.ts";
import { bytes, clientOn, EchoServer } from "./sim_programs.ts";

/** A server whose hook does what it must not. */
class Escaping extends EchoServer {
  readonly #escape: () => unknown;
  constructor(escape: () => unknown) {
    super();
    this.#escape = escape;
  }
  override async handleAccepted(): Promise<void> {
    await Promise.resolve(); // Also behind an await.
    await this.#escape();
  }
}

function escaping(escape: () => unknown) {
  return async (sim: SimNetwork): Promise<void> => {
    sim.host("server", () => new Escaping(escape));
    clientOn(sim.host("client")).send(bytes("spam"));
    await sim.run();
  };
}

const ESCAPES: [call: string, escape: () => unknown, instead: RegExp][] = [
  [
    "setTimeout()",
    () => new Promise((resolve) => setTimeout(resolve, 1)),
    /callLater\(\)/,
  ],
  ["setInterval()", () => setInterval(() => {}, 1), /callEvery\(\)/],
  ["setImmediate()", () => setImmediate(() => {}), /callLater\(\)/],
  ["AbortSignal.timeout()", () => AbortSignal.timeout(1), /callLater\(\)/],
  ["fetch()", () => fetch("data:,"), /stand-in/],
  ["new WebSocket()", () => new WebSocket("ws://localhost"), /stand-in/],
  ["new Deno.Command()", () => new Deno.Command("true").output(), /stand-in/],
  ["Deno.readTextFile()", () => Deno.readTextFile("x"), /the disk of the host/],
  ["Deno.open()", () => Deno.open("x"), /the disk of the host/],
  [
    "Deno.connect()",
    () => Deno.connect({ port: 1 }),
    /sockets of a dispatcher/,
  ],
  ["Deno.exit()", () => Deno.exit(), /crash the host/],
  [
    "Temporal.Now.plainDateISO()",
    () => Temporal.Now.plainDateISO(),
    /Temporal\.Now\.instant\(\)/,
  ],
];

for (const [call, escape, instead] of ESCAPES) {
  Deno.test(`A simulation ends when a hook uses ${call}, and says what to use`, async () => {
    const sim = new SimNetwork({ seed: 6 });
    const error = await assertRejects(
      () => escaping(escape)(sim),
      SimulationError,
    );
    const start = `server used ${call}, so the same seed would not give the ` +
      "same run: ";
    assertEquals(error.message.slice(0, start.length), start);
    assertMatch(error.message, instead);
    assertEquals(error.seed, 6);
    assert(error.trace.includes(`server escape ${call}`));
  });
}

Deno.test("A simulation has its own clocks and random numbers", async () => {
  const look = async (): Promise<unknown[]> => {
    const sim = new SimNetwork({ seed: 6 });
    const seen: unknown[] = [];
    await escaping(() => {
      seen.push(Date.now(), new Date().toISOString(), performance.now());
      seen.push(Temporal.Now.instant().toString(), Math.random());
      seen.push(
        crypto.randomUUID(),
        crypto.getRandomValues(new Uint16Array(3)),
      );
      seen.push(new Date(5).getTime(), new Date() instanceof Date);
    })(sim);
    return seen;
  };
  const seen = await look();
  assertEquals(await look(), seen);
  assertMatch(`${seen[1]}`, /^2030-01-01T00:00:00\.\d+Z$/);
  assertMatch(`${seen[5]}`, /^[\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[89ab]/);
  assertEquals(seen.slice(7), [5, true]);
});

Deno.test("A host has its own random numbers outside of a run, too", () => {
  const look = (): unknown =>
    new SimNetwork({ seed: 6 }).host("a").run(() => [
      Math.random(),
      Date.now(),
    ]);
  assertEquals(look(), look());
  assertThrows(
    () => new SimNetwork().host("a").run(() => setTimeout(() => {}, 1)),
    SimulationError,
    "a used setTimeout()",
  );
});

Deno.test("Simulated time stands still while something certain is computed", async () => {
  const sim = new SimNetwork();
  const times: number[] = [];
  await escaping(async () => {
    times.push(sim.now);
    for (let i = 0; i < 5; i++) {
      await crypto.subtle.digest("SHA-512", new Uint8Array(1_000_000));
    }
    times.push(sim.now);
  })(sim);
  assertEquals(times[1], times[0]);
});

Deno.test("simulate() notices what outlives a run", async () => {
  let runs = 0;
  const error = await assertRejects(
    () =>
      simulate({ seeds: 3 }, async (sim) => {
        const size = ++runs;
        sim.host("server", () => new EchoServer());
        clientOn(sim.host("client")).send(new Uint8Array(size));
        await sim.run();
      }),
    SimulationError,
  );
  assertMatch(error.message, /^Seed 1 gave two different runs/);
  assertMatch(error.message, /client>server 1 bytes\nand then\n.* 2 bytes$/);
});

Deno.test("simulate() seeds the random numbers and times of the scenario itself", async () => {
  const seen: unknown[] = [];
  await simulate({ seeds: [4] }, (sim) => {
    seen.push([Math.random(), Date.now(), sim.random()]);
  });
  assertEquals(seen.length, 2);
  assertEquals(seen[0], seen[1]);
  assertEquals((seen[0] as number[])[1], Date.UTC(2030, 0));
});

Deno.test("simulate() does not let the scenario wait for a real timer", async () => {
  const error = await assertRejects(
    () =>
      simulate({ seeds: 1 }, async () => {
        await new Promise((resolve) => setTimeout(resolve, 1));
      }),
    SimulationError,
  );
  assertMatch(error.message, /The scenario used setTimeout\(\)/);
});

Deno.test("simulate() says that a dispatcher of the scenario needs the map of a host", async () => {
  const error = await assertRejects(
    () => simulate({ seeds: 1 }, () => void new Dispatcher()),
    SimulationError,
  );
  assertMatch(error.message, /A scenario is no host: .*\{ map: host\.map \}/);
  await simulate({ seeds: 1 }, () => {
    new Dispatcher(null, { map: new SocketMap() });
  });
});
