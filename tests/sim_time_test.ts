import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { Dispatcher, loop, poll } from "../mod.ts";
import { SimNetwork } from "../testing/mod.ts";
import { bytes, Client, clientOn, EchoServer, PORT } from "./sim_programs.ts";

/** Real ms that an hour or less of simulated time may take on a busy machine. */
const SOON = 30_000;

Deno.test("A simulated run takes the time of its events, not the simulated time", async () => {
  const start = performance.now();
  const sim = new SimNetwork();
  const times: number[] = [];
  const { map } = sim.host("a");
  map.callLater(3_600_000, () => void times.push(sim.now));
  await sim.run({ limit: Infinity });
  assertEquals(times, [3_600_000]);
  const time = performance.now() - start;
  assert(time < SOON, `${time} real ms`);
});

Deno.test("What is due at the same simulated time happens in the order of planning", async () => {
  const sim = new SimNetwork();
  const names = ["a", "b", "c", "d", "e"];
  const order: string[] = [];
  for (const name of names) {
    sim.host(name).map.callLater(5, () => void order.push(name));
  }
  await sim.run();
  assertEquals(order, names);
});

Deno.test("callEvery() follows the simulated time", async () => {
  const sim = new SimNetwork();
  const times: number[] = [];
  sim.host("a").run(() => {
    new Dispatcher().callEvery(250, () => void times.push(sim.now));
  });
  await sim.run({ limit: 1_000 });
  assertEquals(times, [250, 500, 750, 1_000]);
});

for (const [kind, time] of [["idle", 30_020], ["lifetime", 90_020]] as const) {
  Deno.test(`The ${kind} timeout follows the simulated time`, async () => {
    const sim = new SimNetwork({ latency: [10, 10] });
    sim.host("server", () => new EchoServer());
    const client = clientOn(
      sim.host("client"),
      kind === "idle" ? { idleTimeout: 30_000 } : { lifetime: 90_000 },
    );
    await sim.run({ until: () => client.events.length > 1, limit: 100_000 });
    assertEquals(client.events, ["connect", `timeout ${kind}`]);
    assertEquals(sim.now, time);
  });
}

Deno.test("loop() and poll() wait for the simulated time", async () => {
  const sim = new SimNetwork();
  const times: number[] = [];
  sim.host("a", async ({ map }) => {
    const listener = new Dispatcher();
    listener.createSocket();
    listener.bind({ port: PORT });
    await loop({ timeout: 30_000, count: 2 });
    times.push(sim.now);
    await poll(500);
    times.push(sim.now);
    map.callLater(100, () => listener.close());
    await loop({ map });
    times.push(sim.now);
  });
  await sim.run({ limit: 100_000 });
  assertEquals(times, [60_000, 60_500, 60_600]);
});

Deno.test("Clocks of simulated hosts differ by skew and drift", async () => {
  const sim = new SimNetwork({
    seed: 5,
    faults: { skew: 60_000, drift: 0.01 },
  });
  const hosts = ["a", "b", "c"].map((name) => sim.host(name));
  const look = (): number[][] =>
    hosts.map((host) =>
      host.run(() => [Date.now(), new Date().getTime(), performance.now()])
    );
  const looks: number[][][] = [];
  sim.host("watch").map.callLater(0, () => void looks.push(look()));
  sim.host("watch").map.callLater(10_000, () => void looks.push(look()));
  await sim.run();
  const [before, after] = looks as [number[][], number[][]];
  const offsets = before.map(([now]) => now! - Date.UTC(2030, 0));
  assertEquals(new Set(offsets).size, 3);
  assert(offsets.every((ms) => ms >= 0 && ms <= 60_000), `${offsets}`);
  for (const [i, [date, newDate, now]] of after.entries()) {
    assertEquals(date, newDate);
    const passed = now! - before[i]![2]!;
    assert(passed !== 10_000, `${passed} ms`);
    // The clock of the host that waits drifts too.
    assert(Math.abs(passed - 10_000) <= 202, `${passed} ms`);
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
  const idle = await assertRejects(() => sim.run({ until: () => 1 > 2 }));
  assertMatch(
    (idle as Error).message,
    /^Nothing is left to happen, and it is not true that \(\) ?=> ?1 > 2$/,
  );
  assertEquals((idle as { seed?: number }).seed, 8);
  sim.host("a").map.callEvery(1_000, () => {});
  const late = await assertRejects(() =>
    sim.run({ until: () => 1 > 2, limit: 5_000 })
  );
  assertMatch(
    (late as Error).message,
    /^After 5000 simulated ms it is not true that \(\) ?=> ?1 > 2$/,
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
  const answers: string[] = [];
  class Slow extends EchoServer {
    override async handleAccepted(): Promise<void> {
      await new Promise<void>((resolve) => this.map.callLater(9_000, resolve));
      answers.push(`${Math.floor(sim.now / 1_000)} s`);
    }
  }
  sim.host("server", () => new Slow());
  for (const n of [1, 2]) clientOn(sim.host(`client${n}`)).send(bytes("a"));
  await sim.run({ until: () => answers.length === 2 });
  assertEquals(answers, ["9 s", "18 s"]);
});

Deno.test("Simulated time never goes back, also when chance crashes hosts after a rest", async () => {
  const sim = new SimNetwork({ faults: { crash: 30 } });
  await sim.run({ limit: 10_500 });
  let starts = 0;
  sim.host("server", () => {
    starts++;
    new EchoServer().callEvery(100, () => {});
  });
  let last = 0;
  const isLate = () => {
    assert(sim.now >= last, `${last} ms, then ${sim.now} ms`);
    last = sim.now;
    return starts > 5;
  };
  await sim.run({ until: isLate, limit: 200_000 });
  assert(last > 10_500, `${last} ms`);
});

Deno.test("A simulated host that spins does not keep the time from passing", async () => {
  const sim = new SimNetwork();
  let turns = 0;
  class Spinning extends Client {
    override writable(): boolean {
      return true;
    }
    override handleWrite(): void {
      turns++;
    }
  }
  sim.host("server", () => new EchoServer());
  sim.host("client").run(() => new Spinning());
  const most = 200_000;
  await sim.run({ until: () => sim.now > 900 || turns > most });
  assert(turns > 1_000 && turns < most, `${turns} turns in ${sim.now} ms`);
});
