import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { Dispatcher, SocketMap } from "../mod.ts";
import { SimNetwork, simulate, SimulationError } from "../testing/mod.ts";
import { clientOn, EchoServer, Server } from "./sim_programs.ts";

/** Runs `escape` in a hook of a server. */
async function inHook(escape: () => unknown): Promise<SimNetwork> {
  const sim = new SimNetwork({ seed: 6 });
  const serve = async () => {
    await Promise.resolve(); // Also behind an await.
    await escape();
  };
  sim.host("server", () => new Server(serve));
  clientOn(sim.host("client"));
  await sim.run();
  return sim;
}

const ESCAPES: [call: string, escape: () => unknown, instead: string][] = [
  ["setTimeout()", () => setTimeout(() => {}, 1), "callLater()"],
  ["setInterval()", () => setInterval(() => {}, 1), "callEvery()"],
  ["setImmediate()", () => setImmediate(() => {}), "callLater()"],
  ["AbortSignal.timeout()", () => AbortSignal.timeout(1), "callLater()"],
  ["fetch()", () => fetch("data:,"), "stand-in"],
  ["new WebSocket()", () => new WebSocket("ws://localhost"), "stand-in"],
  ["new Deno.Command()", () => new Deno.Command("true").output(), "stand-in"],
  ["Deno.readTextFile()", () => Deno.readTextFile("x"), "the disk of the host"],
  ["Deno.open()", () => Deno.open("x"), "the disk of the host"],
  [
    "Deno.connect()",
    () => Deno.connect({ port: 1 }),
    "sockets of a dispatcher",
  ],
  ["Deno.exit()", () => Deno.exit(), "crash the host"],
  [
    "Temporal.Now.plainDateISO()",
    () => Temporal.Now.plainDateISO(),
    "Temporal.Now.instant()",
  ],
];

for (const [call, escape, instead] of ESCAPES) {
  Deno.test(`A simulation ends when a hook uses ${call}, and says what to use`, async () => {
    const error = await assertRejects(
      () => inHook(escape),
      SimulationError,
      `server used ${call}, so the same seed would not give the same run: `,
    );
    assert(error.message.includes(instead), error.message);
    assertEquals(error.seed, 6);
    assert(error.trace.includes(`server escape ${call}`));
  });
}

Deno.test("A simulation has its own clocks and random numbers", async () => {
  const look = async (): Promise<unknown[]> => {
    const seen: unknown[] = [];
    await inHook(() => {
      seen.push(new Date().toISOString(), crypto.randomUUID());
      seen.push(new Date(5).getTime(), new Date() instanceof Date);
      seen.push(Date.now(), performance.now(), Math.random());
      seen.push(crypto.getRandomValues(new Uint16Array(3)));
      seen.push(Temporal.Now.instant().toString());
    });
    return seen;
  };
  const seen = await look();
  assertEquals(await look(), seen);
  assertMatch(`${seen[0]}`, /^2030-01-01T00:00:00\.\d+Z$/);
  assertMatch(`${seen[1]}`, /^[\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[89ab]/);
  assertEquals(seen.slice(2, 4), [5, true]);
});

Deno.test("A host has its own random numbers outside of a run, too", () => {
  const look = () =>
    new SimNetwork().host("a").run(() => [Math.random(), Date.now()]);
  assertEquals(look(), look());
  assertThrows(
    () => new SimNetwork().host("a").run(() => setTimeout(() => {}, 1)),
    SimulationError,
    "a used setTimeout()",
  );
});

Deno.test("Simulated time stands still while a digest is computed", async () => {
  const times = new Set<number>();
  const sim = await inHook(async () => {
    for (let i = 0; i < 5; i++) {
      times.add(performance.now());
      await crypto.subtle.digest("SHA-512", new Uint8Array(1_000_000));
    }
    times.add(performance.now());
  });
  assertEquals([times.size, sim.hosts.length], [1, 2]);
});

Deno.test("simulate() notices what outlives a run", async () => {
  let runs = 0;
  const { message } = await assertRejects(
    () =>
      simulate({ seeds: 3 }, async (sim) => {
        sim.host("server", () => new EchoServer());
        clientOn(sim.host("client")).send(new Uint8Array(++runs));
        await sim.run();
      }),
    SimulationError,
    "Seed 1 gave two different runs",
  );
  assertMatch(message, /client>server 1 bytes\nand then\n.* 2 bytes$/);
});

Deno.test("simulate() seeds the random numbers and times of the scenario itself", async () => {
  const seen: unknown[] = [];
  await simulate({ seeds: [4] }, (sim) => {
    seen.push([Math.random(), sim.random()]);
    assertEquals(Date.now(), Date.UTC(2030, 0));
  });
  assertEquals(seen, [seen[1], seen[0]]);
});

Deno.test("simulate() does not let the scenario wait for a real timer", async () => {
  await assertRejects(
    () => simulate({ seeds: 1 }, () => void setTimeout(() => {}, 1)),
    SimulationError,
    "The scenario used setTimeout()",
  );
});

Deno.test("simulate() says that a dispatcher of the scenario needs the map of a host", async () => {
  const { message } = await assertRejects(
    () => simulate({ seeds: 1 }, () => void new Dispatcher()),
    SimulationError,
  );
  assertMatch(message, /A scenario is no host: .*\{ map: host\.map \}/);
  const map = new SocketMap();
  await simulate({ seeds: 1 }, () => void new Dispatcher(null, { map }));
});
