/** The values on the disk of a simulated host, and how a power failure leaves them. */

import {
  assert,
  assertEquals,
  assertGreater,
  assertMatch,
  assertRejects,
  assertThrows,
} from "@std/assert";
import {
  type FaultLevel,
  type Faults,
  shrink,
  SimNetwork,
  type SimNetworkOptions,
} from "../testing/mod.ts";
import { NO_DISK_FAULTS } from "../testing/disk_faults.ts";
import { parseFaults } from "../testing/faults.ts";
import { KeyedRng } from "../testing/rng.ts";
import { newSeed } from "./fakes.ts";
import { importTraps, isolateHosts } from "../testing/sim_globals.ts";

// Thousands of runs: to exchange the global functions for each takes as long as it.
isolateHosts();
await importTraps.acquire();

type Write = [name: string, value: number | undefined];

/** What a host wrote, up to a power failure, and what was there afterwards. */
interface Story {
  writes: Write[];
  /** So many of the writes were synced. */
  safe: number;
  /** `sync()` was at work on the writes up to this one. */
  syncing: number;
  found: Map<string, unknown>;
  sim: SimNetwork;
}

/** Writes, removes and syncs at random, until the power fails. */
async function tell(
  faults: Faults | FaultLevel,
  seed: number,
): Promise<Story> {
  const sim = new SimNetwork({ seed, faults });
  const random = new KeyedRng(seed).stream("test");
  const upTo = (most: number) => Math.floor(random() * most);
  const writes: Write[] = [];
  let safe = 0;
  let syncing = 0;
  const host = sim.host("server");
  const { disk } = host;
  const write = (i: number) => {
    const write: Write = ["abcde"[upTo(5)]!, upTo(5) ? i : undefined];
    disk.set(...write);
    writes.push(write);
  };
  host.map.callLater(0, async () => {
    for (;;) {
      for (let i = upTo(8); i > 0; i--) write(i);
      const count = writes.length;
      syncing = count;
      const done = disk.sync().then(() => safe = Math.max(safe, count));
      for (let i = upTo(3); i > 0; i--) write(-i);
      // Perhaps two at the same time.
      if (upTo(4) > 0) await done;
    }
  });
  await sim.run({ limit: 20 + random() * 40 });
  host.crash();
  host.restart();
  await sim.run({ limit: 20 });
  assert(!/crashes[^]*has synced/.test(sim.trace()), sim.trace());
  const found = new Map(
    [...host.disk.keys()].map((name) => [name, host.disk.get(name)]),
  );
  return { writes, safe, syncing, found, sim };
}

function valuesAfter(writes: Write[]): Map<string, unknown> {
  const values = new Map<string, unknown>();
  for (const [name, value] of writes) {
    if (value === undefined) values.delete(name);
    else values.set(name, value);
  }
  return values;
}

/** After how many writes the values were as they were found; none if never. */
function prefixesOf({ writes, found }: Story): number[] {
  const sorted = (map: Map<string, unknown>) => [...map].sort().join(" ");
  return Array.from({ length: writes.length + 1 }, (_, i) => i)
    .filter((i) => sorted(valuesAfter(writes.slice(0, i))) === sorted(found));
}

const SEEDS = 300;
const HARSH_DISK: Faults = { syncTorn: 0.5, diskEarly: 0.2, syncStall: 0.02 };

const FIRST_WRITES: [Faults | FaultLevel, (story: Story) => number][] = [
  ["none", ({ safe }) => safe],
  [{ syncTorn: 1 }, ({ safe, syncing }) => Math.max(safe, syncing)],
  ["harsh", ({ writes }) => writes.length],
];
for (const [faults, most] of FIRST_WRITES) {
  const name = typeof faults === "string" ? faults : JSON.stringify(faults);
  Deno.test(`SimDisk keeps what was synced, and in order some of the rest, with faults ${name}`, async () => {
    let more = 0;
    const first = newSeed();
    for (let seed = first; seed < first + SEEDS; seed++) {
      const story = await tell(faults, seed);
      const { safe, sim } = story;
      const ends = prefixesOf(story).filter((end) =>
        end >= safe && end <= most(story)
      );
      assertGreater(ends.length, 0, `seed ${seed}\n${sim.trace()}`);
      if (Math.min(...ends) > safe) more++;
    }
    if (faults === "none") assertEquals(more, 0);
    else assertGreater(more, SEEDS / 20);
  });
}

Deno.test("SimDisk keeps each value as it was synced or later, with faults cruel", async () => {
  let outOfOrder = 0;
  const faults = { syncTorn: 0.5, diskEarly: 0.2, diskReorder: 0.5 };
  const first = newSeed();
  for (let seed = first; seed < first + SEEDS; seed++) {
    const story = await tell(faults, seed);
    const { writes, safe, found, sim } = story;
    for (const name of "abcde") {
      const versions = writes.slice(safe).filter(([other]) => other === name)
        .map(([, value]) => value);
      versions.push(valuesAfter(writes.slice(0, safe)).get(name) as number);
      const value = found.get(name) as number | undefined;
      assert(versions.includes(value), `seed ${seed}: ${name}\n${sim.trace()}`);
    }
    if (prefixesOf(story).length === 0) outOfOrder++;
  }
  assertGreater(outOfOrder, SEEDS / 20);
});

/** A host with one synced value, and what a test does then. */
function disk(options: SimNetworkOptions) {
  const sim = new SimNetwork(options);
  const host = sim.host("server", () => {});
  host.disk.set("a", 1);
  const wait = async <T>(promise: Promise<T>): Promise<T> => {
    let isDone = false;
    const done = () => void (isDone = true);
    promise.then(done, done);
    await sim.run({ until: () => isDone });
    return await promise;
  };
  return { sim, host, wait };
}

Deno.test("SimDisk loses what a failed sync() held, though it can be read and synced again", async () => {
  const faults = { syncFail: 1 };
  const lost = new Set<unknown>();
  for (let seed = 1; seed <= 20; seed++) {
    const { sim, host, wait } = disk({ seed, faults });
    const error = await assertRejects(() => wait(host.disk.sync()), Error);
    assertEquals((error as Error & { code: string }).code, "EIO");
    sim.calm();
    assertEquals(host.disk.get("a"), 1);
    await wait(host.disk.sync());
    host.crash();
    host.restart();
    lost.add(host.disk.get("a"));
  }
  // It may have failed before or after it wrote the value.
  assertEquals(lost, new Set([1, undefined]));
});

Deno.test("SimDisk is full for a while, and then is not", async () => {
  const faults = { diskFull: 1, outage: 1_000 };
  const sim = new SimNetwork({ faults });
  const { disk } = sim.host("server");
  const error = assertThrows(() => disk.set("a", 1), Error, "No space left");
  assertEquals((error as Error & { code: string }).code, "ENOSPC");
  disk.set("a", undefined); // Takes no space.
  assertEquals(sim.faultEvents.map(({ id }) => id), ["diskFull server:a 1"]);
  const only: string[] = [];
  const second = new SimNetwork({ faults, only });
  second.host("server").disk.set("a", 1);
  // The fault lasts: another write fails by the same one.
  assertThrows(() => disk.set("b", 1), Error, "No space left");
  assertEquals(sim.faultEvents.length, 1);
  sim.host("server").map.callLater(1_000, () => {});
  await sim.run();
  assertThrows(() => disk.set("a", 1), Error, "No space left");
  assertEquals(sim.faultEvents.length, 2);
});

Deno.test("SimDisk reads corrupted values, and right ones the next time", () => {
  const values = [5, true, "spam", [1, "a"], { a: { b: false } }];
  for (const value of [...values, new Uint8Array(3), new Map([["a", 0]])]) {
    const sim = new SimNetwork({ faults: { diskCorrupt: 0.5 } });
    const { disk } = sim.host("server");
    disk.set("a", value);
    const reads = Array.from({ length: 50 }, () => Deno.inspect(disk.get("a")));
    const right = Deno.inspect(value);
    const wrong = reads.filter((read) => read !== right);
    assertEquals(wrong.length, sim.faultEvents.length, right);
    assertGreater(wrong.length, 10);
    assertGreater(reads.length - wrong.length, 10);
  }
});

Deno.test("SimDisk leaves a killed program's writes to the system, which may be lazy", () => {
  for (const [diskLazy, found] of [[0, 1], [1, undefined]] as const) {
    const sim = new SimNetwork({ faults: { diskLazy } });
    const host = sim.host("server", () => {});
    host.disk.set("a", 1);
    host.crash({ process: true });
    host.restart();
    assertEquals(host.disk.get("a"), 1);
    host.crash();
    host.restart();
    assertEquals(host.disk.get("a"), found);
  }
});

Deno.test("SimDisk ends a sync() of a killed program that the system was lazy about", async () => {
  const { sim, host } = disk({ faults: { diskLazy: 1 } });
  let isTold = false;
  void host.disk.sync().then(() => isTold = true);
  host.crash({ process: true });
  await sim.run();
  host.restart();
  host.crash();
  host.restart();
  assertEquals([isTold, host.disk.get("a")], [false, 1]);
});

Deno.test("SimDisk stalls a sync(), the later ones of the same host as well", async () => {
  const options = { syncLatency: [3, 5], faults: { syncStall: 0.2 } } as const;
  const sim = new SimNetwork({ ...options, seed: 3 });
  const { disk } = sim.host("server");
  const ended: number[] = [];
  for (let i = 0; i < 20; i++) {
    const done = disk.sync();
    void done.then(() => ended.push(i));
  }
  await sim.run({ until: () => ended.length === 20 });
  const stalls = sim.faultEvents.filter(({ id }) => /^syncStall /.test(id));
  assertGreater(stalls.length, 0);
  assertEquals(ended, [...Array(20).keys()]);
  assertGreater(sim.now, 5);
  const calm = new SimNetwork({ ...options, faults: "none" });
  let isDone = false;
  void calm.host("server").disk.sync().then(() => isDone = true);
  await calm.run({ until: () => isDone });
  assert(calm.now >= 3 && calm.now <= 5, `${calm.now}`);
});

Deno.test("shrink() finds the torn sync that breaks a program", async () => {
  const result = await shrink(
    { seed: 1, faults: { ...HARSH_DISK, crash: 20 }, print: () => {} },
    async (sim) => {
      sim.host("server", async ({ disk }) => {
        // The two belong together, and nothing says whether both are there.
        const values = ["a", "b"].map((name) => disk.get(name));
        assertEquals(values[0], values[1]);
        for (let i = 0;; i++) {
          disk.set("a", i);
          disk.set("b", i);
          await disk.sync();
        }
      });
      await sim.run({ limit: 120_000 });
    },
  );
  const [crash, torn, ...rest] = result.faults.map(({ id }) => id);
  assertMatch(crash!, /^crash server /);
  assertMatch(torn!, /^(?:syncTorn|diskEarly) server /);
  assertEquals(rest, []);
});

Deno.test("docs/testing.md names each fault of disks, and the level from which on it comes", async () => {
  const page = await Deno.readTextFile(
    new URL("../docs/testing.md", import.meta.url),
  );
  const rows = [...page.matchAll(/^\| `(sync\w+|disk\w+)` +\| (\w+) /gm)];
  const kinds = Object.keys(NO_DISK_FAULTS).filter((name) =>
    !name.endsWith("Time")
  );
  assertEquals(rows.map(([, name]) => name).sort(), kinds.sort());
  const levels = ["none", "mild", "harsh", "cruel"] as const;
  for (const [, name, level] of rows) {
    const first = levels.find((level) =>
      parseFaults(level)[name as keyof Faults] > 0
    );
    assertEquals(first, level as FaultLevel, name);
  }
});
