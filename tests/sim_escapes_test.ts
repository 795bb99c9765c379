import {
  assert,
  assertEquals,
  assertMatch,
  assertNotStrictEquals,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { randomInt } from "node:crypto";
import { readdir } from "node:fs/promises";
import { promisify } from "node:util";
import { Dispatcher, SocketMap } from "../mod.ts";
import { findEscapes } from "../testing/escapes.ts";
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

Deno.test("simulate() notices values that a program drew from what outlives the run", async () => {
  let runs = 0;
  const { message } = await assertRejects(
    () =>
      simulate({ seeds: 3 }, async (sim) => {
        const draws = ++runs;
        sim.host("server", () => {
          for (let i = 0; i < draws; i++) Math.random();
        });
        await sim.run();
      }),
    SimulationError,
    "Seed 1 gave two different runs",
  );
  assertMatch(message, /server asked 1 times for .*, and then 2 times$/);
});

Deno.test("A call of a function that was imported by its name ends a run", async () => {
  const sim = new SimNetwork();
  sim.host("a").map.callLater(1, () => void randomInt(5));
  const { message } = await assertRejects(() => sim.run(), SimulationError);
  assertMatch(message, /^a used randomInt\(\) of node:crypto, .*Math\.random/);
});

Deno.test("simulate() notices a call of an imported function in its first seed", async () => {
  await assertRejects(
    () =>
      simulate({ seeds: 2 }, async (sim) => {
        sim.host("a").map.callLater(1, () => void randomInt(5));
        await sim.run();
      }),
    SimulationError,
    "a used randomInt() of node:crypto",
  );
});

Deno.test("A promisified function of the program is none of Node's", async () => {
  const double = promisify((n: number, done: (e: null, n: number) => void) =>
    done(null, 2 * n)
  );
  assertEquals(typeof readdir, "function"); // It was promisified as well.
  const sim = new SimNetwork();
  const seen: unknown[] = [];
  sim.host("a").map.callLater(1, async () => void seen.push(await double(2)));
  await sim.run();
  assertEquals(seen, [4]);
});

Deno.test("simulate() does not let the scenario draw random keys", async () => {
  await assertRejects(
    () =>
      simulate({ seeds: 1 }, async () => {
        await crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"]);
      }),
    SimulationError,
    "The scenario used crypto.subtle.generateKey() with Ed25519",
  );
});

Deno.test("A host's crypto refuses what the real one refuses", async () => {
  const host = new SimNetwork().host("a");
  for (const view of [new Float32Array(1), new Uint8Array(70_000)]) {
    const fill = () => crypto.getRandomValues(view as Uint8Array<ArrayBuffer>);
    assertThrows(() => host.run(fill), DOMException);
  }
  await assertRejects(
    () =>
      host.run(() =>
        crypto.subtle.generateKey({ name: "AES-GCM", length: 100 }, true, [
          "encrypt",
        ])
      ),
    DOMException,
  );
});

Deno.test("Dates of a host are local dates of UTC", () => {
  const look = () => [
    new Date(2030, 6, 1, 5, 30).toISOString(),
    new Date("2030-07-01T05:30").toISOString(),
    new Date("2030-07-01T05:30+02:00").toISOString(),
    new Date("1 Jul 2030 05:30").toISOString(),
    new Date("2030-07-01").toISOString(),
    new Date(2030, 6, 1).toString(),
    new Date(NaN).toString(),
    `${new Date(new Date(0).setHours(5)).getHours()}`,
  ];
  assertEquals(new SimNetwork().host("a").run(look), [
    "2030-07-01T05:30:00.000Z",
    "2030-07-01T05:30:00.000Z",
    "2030-07-01T03:30:00.000Z",
    "2030-07-01T05:30:00.000Z",
    "2030-07-01T00:00:00.000Z",
    "Mon Jul 01 2030 00:00:00 GMT+0000 (Coordinated Universal Time)",
    "Invalid Date",
    "5",
  ]);
});

Deno.test("When no simulation runs, nothing is replaced", async () => {
  const owners = new Set<object>([
    ...findEscapes().map(({ owner }) => owner),
    ...[Date.prototype, Intl, Math, crypto, crypto.subtle, performance],
    ...[Object.getPrototypeOf(performance), Blob.prototype, Number.prototype],
  ]);
  const look = () => [...owners].map(Object.getOwnPropertyDescriptors);
  const before = look();
  const sim = new SimNetwork();
  sim.host("a", () => assertNotStrictEquals(look()[0], before[0]));
  await sim.run();
  for (const [i, descriptors] of look().entries()) {
    for (const name of Reflect.ownKeys(descriptors)) {
      const { value, get } = Reflect.get(descriptors, name);
      const old = Reflect.get(before[i]!, name);
      assertStrictEquals(value, old.value, String(name));
      assertStrictEquals(get, old.get, String(name));
    }
  }
});
