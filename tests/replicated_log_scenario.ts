/**
 * The replicated log in a simulated network: three members that crash and are
 * cut off from one another, and two clients that want to know in the end where
 * their records are.
 */

import { assert, assertEquals } from "@std/assert";
import type { Disk } from "../examples/replicated_disk.ts";
import { Follower, LogClient } from "../examples/replicated_follower.ts";
import { Primary } from "../examples/replicated_primary.ts";
import { shutdown } from "../mod.ts";
import type { Faults, Scenario, SimHost, SimNetwork } from "../testing/mod.ts";

/** As bad as "harsh", and each host is cut off or crashes in most runs. */
export const FAULTS: Faults = {
  reset: 0.002,
  stall: 0.01,
  split: 0.3,
  partial: 0.2,
  refuse: 0.02,
  blackhole: 0.01,
  lookup: 0.01,
  acceptDelay: 0.1,
  resetDiscards: 0.5,
  partition: 4,
  crash: 4,
  outage: 5_000,
  skew: 60_000,
  drift: 0.0005,
};

/** Where the primary is. */
export const ADDRESS = { hostname: "primary", port: 8010 };
const FOLLOWERS = ["a", "b"];
const CLIENTS = ["x", "y"];
/** What each client does. */
const STEPS = 8;
/** How long the faults last, in simulated ms. */
const TROUBLE = 10_000;
/** How long a client rests between two steps at most, and a sync takes. */
const LONGEST_REST = 1_500;
const LONGEST_SYNC = 200;

function sleep({ map }: SimHost, most: number): Promise<void> {
  return new Promise((resolve) =>
    void map.callLater(Math.random() * most, resolve)
  );
}

/** Makes an error that a host logs one that ends the run. */
function beStrict({ map }: SimHost) {
  const { info } = map.logger!;
  map.logger = {
    ...map.logger!,
    error: (line: string) => {
      info(line);
      throw new Error(line);
    },
  };
}

/** The records of a host, on its disk, which is slow at times. */
export function diskOf(
  host: SimHost,
  onSafe: (records: string[]) => void = () => {},
): Disk {
  const { disk } = host;
  const records = [...disk.keys()].map((name) => String(disk.get(name)));
  return {
    read: () => [...records],
    write: (more) => {
      for (const record of more) disk.set(`${records.push(record)}`, record);
      return Promise.resolve();
    },
    sync: async () => {
      const written = [...records];
      await sleep(host, LONGEST_SYNC);
      await disk.sync();
      onSafe(written);
    },
  };
}

/** What clients have been told. */
class Witness {
  /** What would be on each disk after a power failure. */
  readonly safe = new Map<string, string[]>();
  readonly seesDisks: boolean;
  readonly sim: SimNetwork;
  /** What is acknowledged, by client. */
  readonly acknowledged = new Map<string, string[]>();
  readonly reads: string[][] = [];
  done = 0;

  constructor(sim: SimNetwork, seesDisks: boolean) {
    this.sim = sim;
    this.seesDisks = seesDisks;
    for (const name of CLIENTS) this.acknowledged.set(name, []);
  }

  acknowledge(name: string, record: string) {
    this.sim.note(`${name}: "${record}" is acknowledged`);
    this.acknowledged.get(name)!.push(record);
    if (!this.seesDisks) return;
    const disks = [...this.safe.values()];
    const copies = disks.filter((list) => list.includes(record)).length;
    assert(copies >= 2, `"${record}" is acknowledged with ${copies} copies`);
  }

  /** Nothing acknowledged before a read is missing from it. */
  check(records: string[], before: string[]) {
    const lost = before.filter((record) => !records.includes(record));
    assert(lost.length === 0, `"${lost}" is lost`);
    this.reads.push(records);
  }

  /** Each read saw the log's beginning; each client's records are in order. */
  checkAll(log: string[]) {
    for (const records of this.reads) {
      assertEquals(records, log.slice(0, records.length));
    }
    for (const [name, records] of this.acknowledged) {
      const own = log.filter((record) => record.startsWith(name));
      assertEquals(own.join(), records.join());
    }
  }
}

/** Appends records, one after the other, and sometimes reads all. */
async function work(host: SimHost, name: string, witness: Witness) {
  const client = new LogClient(ADDRESS);
  for (let step = 1; step <= STEPS; step++) {
    await sleep(host, LONGEST_REST);
    const before = [...witness.acknowledged.values()].flat();
    if (step % 4 === 0) witness.check(await client.read(), before);
    else {
      await client.append("spam", `${name}${step}`);
      witness.acknowledge(name, `${name}${step} spam`);
    }
  }
  witness.done++;
}

/** Makes the hosts of the members; returns those that live, primary first. */
export function addMembers(
  sim: SimNetwork,
  Member = Primary,
  onSafe: (name: string, records: string[]) => void = () => {},
): (Primary | Follower)[] {
  const members: (Primary | Follower)[] = [];
  for (const [i, name] of ["primary", ...FOLLOWERS].entries()) {
    sim.host(name, (host) => {
      beStrict(host);
      const disk = diskOf(host, (records) => onSafe(name, records));
      members[i] = i === 0
        ? new Member(ADDRESS.port, disk, FOLLOWERS)
        : new Follower(name, ADDRESS, disk);
    });
  }
  return members;
}

/**
 * Makes the scenario of a class of primary. With `seesDisks` it looks at the
 * disks too, which a client cannot.
 */
export function logScenario(
  { Member = Primary, seesDisks = true } = {},
): Scenario {
  return async (sim) => {
    const witness = new Witness(sim, seesDisks);
    const members = addMembers(sim, Member, (name, records) => {
      witness.safe.set(name, records);
    });
    const host = sim.host("clients");
    beStrict(host);
    for (const name of CLIENTS) {
      host.map.callLater(0, () => work(host, name, witness));
    }
    await sim.run({ limit: TROUBLE });
    sim.calm();
    await sim.run({ until: () => witness.done === CLIENTS.length });
    await checkEnd(sim, witness, members);
  };
}

/** Now that nothing goes wrong any more. */
async function checkEnd(
  sim: SimNetwork,
  witness: Witness,
  members: (Primary | Follower)[],
) {
  let log: string[] | null = null;
  const host = sim.host("clients");
  const client = host.run(() => new LogClient(ADDRESS));
  host.map.callLater(0, async () => void (log = await client.read()));
  await sim.run({ until: () => log !== null });
  witness.checkAll(log!);
  await sim.run({ until: () => sim.hosts.every(({ isUp }) => isUp) });
  await sim.run({
    until: () => members.every(({ records }) => records.stored === log!.length),
  });
  for (const { records } of members) assertEquals(records.list, log);
  host.run(() => void client.append("spam", "z"));
  await sim.run({ until: () => members[0]!.records.list.length > log!.length });
  await shutDown(sim); // In the middle of it.
}

/** Everything closes. */
async function shutDown(sim: SimNetwork) {
  let ended = 0;
  for (const host of sim.hosts) {
    host.run(() => shutdown({ deadline: 60_000 }).then(() => ended++));
  }
  await sim.run({ until: () => ended === sim.hosts.length, limit: 120_000 });
  await sim.run({ limit: 10_000 }); // Nobody is to be surprised by what comes.
  for (const { map, name } of sim.hosts) {
    assertEquals([...map].map(String), [], `${name} has dispatchers`);
    assertEquals(map.lingering, 0, `${name} is still sending`);
  }
}
