import { assert, assertEquals, assertLess, assertRejects } from "@std/assert";
import { Dispatcher, loop, poll } from "../mod.ts";
import { SimNetwork, SimulationError } from "../testing/mod.ts";
import {
  Client,
  clientOn,
  echoNetwork,
  EchoServer,
  Server,
} from "./sim_programs.ts";
import { bytes, PATIENCE } from "./support.ts";

Deno.test("A simulated run takes the time of its events, not the simulated time", async () => {
  const start = performance.now();
  const sim = new SimNetwork();
  const times: number[] = [];
  sim.host("a").map.callLater(3_600_000, () => void times.push(sim.now));
  await sim.run({ limit: Infinity });
  assertEquals(times, [3_600_000]);
  assertLess(performance.now() - start, PATIENCE);
});

Deno.test("What is due at the same simulated time happens in the order of scheduling", async () => {
  const sim = new SimNetwork();
  const names = ["a", "b", "c", "d", "e"];
  const order: string[] = [];
  for (const name of names) {
    sim.host(name).map.callLater(5, () => void order.push(name));
  }
  await sim.run();
  assertEquals(order, names);
});

for (const [kind, time] of [["idle", 30_020], ["lifetime", 90_020]] as const) {
  Deno.test(`The ${kind} timeout follows the simulated time`, async () => {
    const sim = echoNetwork({ latency: [10, 10] });
    const client = clientOn(
      sim.host("client"),
      kind === "idle" ? { idleTimeout: 30_000 } : { lifetime: 90_000 },
    );
    await sim.run({ until: () => client.events.length > 1, limit: 100_000 });
    assertEquals(client.events, ["connect", `timeout ${kind}`]);
    assertEquals(sim.now, time);
  });
}

Deno.test("loop(), poll() and callEvery() follow the simulated time", async () => {
  const sim = new SimNetwork();
  const times: number[] = [];
  const ticks: number[] = [];
  sim.host("a", async ({ map }) => {
    const server = new EchoServer();
    await loop({ timeout: 30_000, count: 2 });
    times.push(sim.now);
    await poll(500);
    times.push(sim.now);
    server.callEvery(250, () => void ticks.push(sim.now));
    map.callLater(600, () => server.close());
    await loop();
    times.push(sim.now);
  });
  await sim.run({ limit: 100_000 });
  assertEquals(times, [60_000, 60_500, 61_100]);
  assertEquals(ticks, [60_750, 61_000]);
});

Deno.test("Clocks of simulated hosts differ by skew and drift", async () => {
  const faults = { skew: 60_000, drift: 0.01 };
  const sim = new SimNetwork({ seed: 5, faults });
  const hosts = ["a", "b", "c"].map((name) => sim.host(name));
  const read = (clock: () => number) => hosts.map((host) => host.run(clock));
  const offsets = read(() => Date.now()).map((now) => now - Date.UTC(2030, 0));
  assertEquals(new Set(offsets).size, 3);
  assert(offsets.every((ms) => ms >= 0 && ms <= 60_000), `${offsets}`);
  assertEquals(read(() => new Date().getTime()), read(() => Date.now()));
  const before = read(() => performance.now());
  await sim.run({ limit: 10_000 });
  for (const [i, now] of read(() => performance.now()).entries()) {
    const error = Math.abs(now - before[i]! - 10_000);
    assert(error > 0 && error <= 100, `${error} ms`);
  }
});

Deno.test("A simulated clock that drifts runs every timer in the end", async () => {
  const sim = new SimNetwork({ seed: 9, faults: { drift: 0.99 } });
  let runs = 0;
  for (let i = 0; i < 50; i++) {
    const { map } = sim.host(`host${i}`);
    for (let n = 1; n <= 20; n++) {
      map.callLater(n * 777.7 + i / 7, () => void runs++);
    }
  }
  await sim.run({ until: () => runs === 1_000, limit: 10_000_000 });
});

Deno.test("SimNetwork.run() says what did not become true", async () => {
  const sim = new SimNetwork({ seed: 8 });
  const isTrue = () => false;
  const idle = await assertRejects(
    () => sim.run({ until: isTrue }),
    SimulationError,
    `Nothing is left to happen, and it is not true that ${isTrue}`,
  );
  assertEquals(idle.seed, 8);
  sim.host("a").map.callEvery(1_000, () => {});
  await assertRejects(
    () => sim.run({ until: isTrue, limit: 5_000 }),
    SimulationError,
    `After 5000 simulated ms it is not true that ${isTrue}`,
  );
});

Deno.test("SimNetwork.run() cannot be called while it runs", async () => {
  const sim = new SimNetwork();
  const run = sim.run();
  await assertRejects(() => sim.run(), Error, "running already");
  await run;
});

Deno.test("A simulated run leaves the real clocks and random numbers alone", async () => {
  const before = [Date, Math.random, setTimeout, Deno.connect, fetch];
  const sim = new SimNetwork();
  sim.host("a").map.callLater(5, () => {});
  await sim.run();
  assertEquals([Date, Math.random, setTimeout, Deno.connect, fetch], before);
});

Deno.test("Async hooks hold their dispatcher up while simulated time passes", async () => {
  const sim = new SimNetwork();
  const { map } = sim.host("server");
  const times: number[] = [];
  const serve = async () => {
    await new Promise<void>((resolve) => map.callLater(9_000, resolve));
    times.push(Math.floor(sim.now / 1_000));
  };
  new Server(serve, { map });
  for (const n of [1, 2]) clientOn(sim.host(`client${n}`)).send(bytes("a"));
  await sim.run({ until: () => times.length === 2 });
  assertEquals(times, [9, 18]);
});

Deno.test("Simulated time never goes back, also when hosts crash by chance after a rest", async () => {
  const sim = new SimNetwork({ faults: { crash: 30 } });
  await sim.run({ limit: 10_500 });
  let starts = 0;
  sim.host("server", () => {
    starts++;
    new Dispatcher().callEvery(100, () => {});
  });
  let last = 10_500;
  const until = () => {
    assert(sim.now >= last, `${last} ms, then ${sim.now} ms`);
    last = sim.now;
    return starts > 5;
  };
  await sim.run({ until, limit: 200_000 });
});

Deno.test("A simulated host that spins does not keep the time from passing", async () => {
  const sim = echoNetwork();
  let turns = 0;
  class Spinning extends Client {
    override writable(): boolean {
      return true;
    }
    override handleWrite(): void {
      turns++;
    }
  }
  sim.host("client").run(() => new Spinning());
  const most = 200_000;
  await sim.run({ until: () => sim.now > 900 || turns > most });
  assert(turns > 1_000 && turns < most, `${turns} turns in ${sim.now} ms`);
});
