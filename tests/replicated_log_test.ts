/**
 * The replicated log: over some seeds in a simulated network, and as programs
 * on real sockets and files. `long/replicated_log_seeds_test.ts` has thousands.
 */

import {
  assert,
  assertEquals,
  assertGreater,
  assertLess,
  assertLessOrEqual,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { type Disk, FileDisk, Records } from "../examples/replicated_disk.ts";
import { Follower, LogClient } from "../examples/replicated_follower.ts";
import { LineChat } from "../examples/replicated_link.ts";
import { Primary, Session } from "../examples/replicated_primary.ts";
import { AsyncChat, type Channel, Dispatcher, loop } from "../mod.ts";
import {
  memoryPair,
  shrink,
  type ShrinkResult,
  SimNetwork,
  simulate,
  SimulationError,
} from "../testing/mod.ts";
import { Caller, Child } from "./peers.ts";
import {
  addMembers,
  ADDRESS,
  diskOf,
  FAULTS,
  logScenario,
} from "./replicated_log_scenario.ts";
import { captureRejections, until } from "./support.ts";

/** Within so many seeds, a bug that was put in must be found. */
const FEW_SEEDS = 200;
const isWindows = Deno.build.os === "windows";

// In a simulated network

const SIMULATION = { seeds: FEW_SEEDS, faults: FAULTS };

Deno.test(`replicated_log loses nothing that it acknowledged, with ${FEW_SEEDS} seeds`, async () => {
  const { seeds } = await simulate(SIMULATION, logScenario());
  assertEquals(seeds, FEW_SEEDS);
});

/** Acknowledges what is in its memory, and on no disk. */
class Hasty extends Primary {
  override countCommitted(): number {
    return this.records.list.length;
  }
}

/** Acknowledges what its own disk has. */
class Lonely extends Primary {
  override countCommitted(): number {
    return this.records.stored;
  }
}

/** Does not know a record again that is sent twice. */
class Forgetful extends Primary {
  override append(key: string, text: string): number {
    this.records.append(`${key} ${text}`);
    return this.records.list.length;
  }
}

for (const Member of [Hasty, Lonely, Forgetful]) {
  Deno.test(`replicated_log with a ${Member.name} primary is found out within ${FEW_SEEDS} seeds`, async () => {
    const scenario = logScenario({ Member });
    await assertRejects(() => simulate(SIMULATION, scenario), SimulationError);
  });
}

Deno.test("replicated_log with a Hasty primary fails without any fault, if the disks are looked at", async () => {
  const options = { seed: 1, faults: FAULTS, print: () => {} };
  const result = await shrink(options, logScenario({ Member: Hasty }));
  assertEquals(result.faults, []);
});

/** What a client sees of a Hasty primary: the smallest schedule of faults. */
async function shrinkHasty(): Promise<ShrinkResult> {
  const scenario = logScenario({ Member: Hasty, seesDisks: false });
  const { seed } = await assertRejects(
    () => simulate(SIMULATION, scenario),
    SimulationError,
  );
  return await shrink({ seed, faults: FAULTS, print: () => {} }, scenario);
}

/** The schedule; and what happened since the first fault, but for connections. */
function reportOf(result: ShrinkResult): string {
  const lines = result.error.trace.trimEnd().split("\n");
  const first = lines.findIndex((line) => line.includes(" fault "));
  const events = lines.slice(first)
    .filter((line) => line.includes(" fault ") || !line.includes(" #"));
  return [String(result), "", ...events].join("\n");
}

Deno.test("docs/testing.md shows the seed, the schedule and the trace as they are", async () => {
  const result = await shrinkHasty();
  assertLess(result.faults.length, result.before / 10);
  assertMatch(result.faults.map(({ id }) => id).join(), /crash primary/);
  assertMatch(result.error.message, /"\w+ spam" is lost/);
  const report = reportOf(result);
  const page = new URL("../docs/testing.md", import.meta.url);
  const docs = await Deno.readTextFile(page);
  const block = /(?<=```text\n)Seed [^]*?(?=\n```)/;
  if (Deno.env.has("UPDATE_DOCS")) {
    await Deno.writeTextFile(page, docs.replace(block, () => report));
  } else assertEquals(block.exec(docs)?.[0], report, "run it with UPDATE_DOCS");
});

Deno.test("replicated_log followers catch up with much", async () => {
  const sim = new SimNetwork();
  const much = Array.from(
    { length: 3_000 },
    (_, i) => `k${i} ${"spam".repeat(30)}`,
  );
  const done = () => Promise.resolve();
  const disk: Disk = { read: () => much, write: done, sync: done };
  const primary = sim.host("primary");
  primary.run(() => new Primary(ADDRESS.port, disk, ["a"]));
  const host = sim.host("a");
  const { records } = host.run(() => new Follower("a", ADDRESS, diskOf(host)));
  let mostBuffered = 0;
  const until = () => {
    for (const member of primary.map) {
      if (!(member instanceof Session)) continue;
      mostBuffered = Math.max(mostBuffered, member.bufferedAmount);
    }
    return records.stored === much.length;
  };
  await sim.run({ until });
  assertEquals(records.list, much);
  assert(mostBuffered > 0 && mostBuffered < 70_000, `${mostBuffered}`);
});

Deno.test("replicated_log connects again later and later, and not all at once", async () => {
  const sim = new SimNetwork();
  sim.host("primary"); // refuses
  for (const name of ["a", "b"]) {
    sim.host(name).run(() => new LogClient(ADDRESS));
  }
  await sim.run({ limit: 60_000 });
  const delays = (name: string) =>
    [...sim.trace().matchAll(RegExp(` ${name}: .* in (\\d+) ms`, "g"))]
      .map(([, delay]) => Number(delay));
  assertGreater(delays("a").length, 10);
  for (const [i, delay] of delays("a").entries()) {
    const longest = Math.min(100 * 2 ** i, 5_000);
    assert(delay >= longest / 2 && delay <= longest, `${delay} of ${longest}`);
  }
  assertNotEquals(delays("a"), delays("b"));
  assert(!sim.trace().includes("uncaught exception"));

  sim.restart("primary", (host) => {
    new Primary(ADDRESS.port, diskOf(host), []);
  });
  await sim.run({ limit: 10_000 }); // a ping, and its answer
  sim.crash("primary", { process: true });
  const before = delays("a").length;
  await sim.run({ until: () => delays("a").length > before });
  assertLessOrEqual(delays("a").at(-1)!, 100);
});

Deno.test("replicated_log followers take only the record that is next", async () => {
  const sim = new SimNetwork();
  /** A primary that leaves out a record. */
  class Babbler extends Dispatcher {
    override handleAccepted(conn: Channel) {
      new AsyncChat(conn).push("record 1 k1 spam\nrecord 3 k3 ham\n");
    }
  }
  const babbler = sim.host("primary").run(() => new Babbler());
  babbler.createSocket();
  babbler.bind({ port: ADDRESS.port });
  babbler.listen();
  const host = sim.host("a");
  const { records } = host.run(() => new Follower("a", ADDRESS, diskOf(host)));
  await sim.run({ until: () => sim.trace().includes("lost the primary") });
  assertEquals(records.list, ["k1 spam"]);
  assertStringIncludes(sim.trace(), "Not the next record: record 3 k3 ham");
});

Deno.test("replicated_log notices that the other end is gone without a word", async () => {
  const sim = new SimNetwork();
  const [primary] = addMembers(sim);
  let isAppended = false;
  sim.host("client").map.callLater(0, async () => {
    await new LogClient(ADDRESS).append("spam", "k1");
    isAppended = true;
  });
  await sim.run({ until: () => isAppended });
  assertEquals(primary!.map.size, 4); // the listener and three connections
  sim.partition(["primary"], ["a", "b", "client"]);
  await sim.run({ limit: 10_000 });
  assertMatch(sim.trace(), / client: lost the primary/);
  await sim.run({ limit: 120_000 });
  assertEquals(primary!.map.size, 1);
});

Deno.test("replicated_log shows nothing that may still be lost", async () => {
  const sim = new SimNetwork();
  const [primary] = addMembers(sim);
  await sim.run({ limit: 1_000 });
  sim.partition(["primary"], ["a", "b"]);
  const { map } = sim.host("client");
  let seen: string[] | null = null;
  map.callLater(0, () => new LogClient(ADDRESS).append("spam", "k1"));
  await sim.run({ until: () => primary!.records.stored === 1 });
  map.callLater(0, async () => {
    seen = await new LogClient(ADDRESS).read();
  });
  await sim.run({ limit: 30_000 });
  assertEquals(seen, null);
  sim.heal();
  await sim.run({ until: () => seen !== null });
  assertEquals(seen, ["k1 spam"]);
});

const NO_RECORDS: [text: string, key: string][] = [
  ["", "k1"],
  ["spam\nappend k2 eggs", "k1"],
  ["spam", "two words"],
  ["spam", ""],
  ["spam".repeat(251), "k1"],
];

Deno.test("LogClient refuses records that are no line, and keys that are no word", async () => {
  const sim = new SimNetwork();
  const client = sim.host("client").run(() => new LogClient(ADDRESS));
  for (const [text, key] of NO_RECORDS) {
    await assertRejects(() => client.append(text, key), TypeError, "A record");
  }
});

// On real sockets and files

/** A log of three processes, each with a file. */
class Cluster implements AsyncDisposable {
  readonly folder = Deno.makeTempDirSync();
  readonly members = new Map<string, Child>();
  port = 0;

  static async start(): Promise<Cluster> {
    const cluster = new Cluster();
    await cluster.startPrimary();
    for (const role of ["a", "b"]) await cluster.follow(role);
    return cluster;
  }

  /** Starts the primary, once more perhaps, at the port it had. */
  async startPrimary(): Promise<void> {
    await this.kill("primary");
    await this.#spawn("primary");
    const line = await this.until("listening on 127.0.0.1:");
    this.port = Number(line.split(":").at(-1));
  }

  /** Starts a follower; returns what the primary says of it. */
  async follow(role: string): Promise<string> {
    await this.#spawn(role);
    return await this.until(`${role} follows`);
  }

  async #spawn(role: string): Promise<void> {
    const { folder, port } = this;
    const member = await Child.start(
      ["--allow-net", `--allow-read=${folder}`, `--allow-write=${folder}`],
      "replicated_log",
      ...[role, `${port}`, `${folder}/${role}.log`],
    );
    this.members.set(role, member);
  }

  /** Waits until the primary says something. */
  async until(part: string): Promise<string> {
    return await this.members.get("primary")!.until(part);
  }

  /** Ends a member in the middle of whatever it does. */
  async kill(role: string): Promise<void> {
    await this.members.get(role)?.[Symbol.asyncDispose]();
    this.members.delete(role);
  }

  linesOf(role: string): string[] {
    const text = Deno.readTextFileSync(`${this.folder}/${role}.log`);
    return text.split("\n").slice(0, -1);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const role of [...this.members.keys()]) await this.kill(role);
    Deno.removeSync(this.folder, { recursive: true });
  }
}

/** Says something, and expects an answer. */
async function ask(client: Caller, said: string, answer: string) {
  await client.say(said);
  const last = answer.split("\n").at(-2);
  assertEquals(await client.until(`${last}\n`), answer);
}

Deno.test("replicated_log survives the end of each of its three processes", async () => {
  await using cluster = await Cluster.start();
  using client = await Caller.connect(cluster.port);
  await ask(client, "append k1 spam\n", "ok 1\n");
  await cluster.kill("b");
  const more = "append k2 eggs and ham\r\nappend k1 spam\n";
  await ask(client, more, "ok 2\nok 1\n");
  await cluster.kill("a");
  await client.say("append k3 bacon\nread\n");
  await cluster.follow("b");
  const log = "record 1 k1 spam\nrecord 2 k2 eggs and ham\n" +
    "record 3 k3 bacon\nend\n";
  assertEquals(await client.until("end\n"), `ok 3\n${log}`);
  assertEquals(cluster.linesOf("a").length, 2, "a was not there");
  assertEquals(cluster.linesOf("b"), cluster.linesOf("primary"));

  await cluster.startPrimary();
  using other = await Caller.connect(cluster.port);
  await ask(other, "read\nappend k4 sausage\n", `${log}ok 4\n`);
  const line = await cluster.follow("a");
  assertStringIncludes(line, "a follows from 2 on");
});

const ENDINGS: [role: string, signal: Deno.Signal][] = [
  ["b", "SIGINT"],
  ["a", "SIGTERM"],
  ["primary", "SIGTERM"],
];

Deno.test({
  name: "replicated_log ends each member at Ctrl-C or SIGTERM",
  ignore: isWindows, // there are no signals to send
  async fn() {
    await using cluster = await Cluster.start();
    using client = await Caller.connect(cluster.port);
    await ask(client, "append k1 spam\n", "ok 1\n");
    const rest = client.rest();
    for (const [role, signal] of ENDINGS) {
      const member = cluster.members.get(role)!;
      member.kill(signal);
      const { code, out, err } = await member.end();
      assertEquals({ role, code, err }, { role, code: 0, err: "" });
      assertStringIncludes(out, `${role}: ${signal}: closing`);
    }
    assertEquals(await rest, "");
    assertEquals(cluster.linesOf("primary"), ["k1 spam"]);
  },
});

Deno.test({
  name: "replicated_log stores what it has taken before it ends",
  ignore: isWindows, // there are no signals to send
  async fn() {
    await using cluster = new Cluster();
    await cluster.startPrimary();
    using client = await Caller.connect(cluster.port);
    // Again and again, so that the disk is at work when the signal comes.
    let count = 0;
    const isWritten = () => cluster.linesOf("primary").length > 0;
    while (!isWritten()) await client.say(`append k${++count} spam\n`);
    await client.say(`append last ${"spam".repeat(200)}\n`.repeat(100));
    const primary = cluster.members.get("primary")!;
    primary.kill("SIGTERM");
    const { code, err } = await primary.end();
    assertEquals({ code, err }, { code: 0, err: "" });
  },
});

Deno.test("replicated_log answers a client that has ended its side", async () => {
  await using cluster = await Cluster.start();
  const log = "record 1 k1 spam\nend\n";
  for (const more of ["", "ping\n"]) {
    using client = await Caller.connect(cluster.port);
    await client.say(`${more}append k1 spam\nread\n`);
    await client.closeWrite();
    assertEquals(await client.rest(), `${more && "pong\n"}ok 1\n${log}`);
  }
  // Nothing is acknowledged before a majority has it, however long that takes.
  await cluster.kill("a");
  await cluster.kill("b");
  using client = await Caller.connect(cluster.port);
  await client.say("append k2 eggs\n");
  await client.closeWrite();
  await cluster.follow("b");
  assertEquals(await client.rest(), "ok 2\n");
});

Deno.test("replicated_log hangs up on a web browser, and appends nothing", async () => {
  await using cluster = await Cluster.start();
  for (const verb of ["POST", "put", "OPTIONS"]) {
    using browser = await Caller.connect(cluster.port);
    await browser.say(`${verb} / HTTP/1.1\r\n\r\nappend k1 spam\r\nread\r\n`);
    assertEquals(await browser.rest(), "");
  }
  using client = await Caller.connect(cluster.port);
  await ask(client, "append k2 GET / HTTP/1.1\n", "ok 1\n");
});

const REFUSED: [line: string, complaint: string][] = [
  ["follow eve 0", "Nobody is called eve"],
  ["follow a 1", "a has 1 records, the primary 0"],
];

Deno.test("replicated_log answers what is no command, and refuses strange followers", async () => {
  await using cluster = new Cluster();
  await cluster.startPrimary();
  using client = await Caller.connect(cluster.port);
  for (const line of ["", "append", "append k1", "follow a", "stored 1", "x"]) {
    await ask(client, `${line}\n`, "? append KEY TEXT, or read\n");
  }
  using chatterbox = await Caller.connect(cluster.port);
  await chatterbox.say(`append k1 ${"spam".repeat(2_000)}`);
  assertEquals(await chatterbox.rest(), "");
  for (const [line, complaint] of REFUSED) {
    using follower = await Caller.connect(cluster.port);
    await follower.say(`${line}\n`);
    assertEquals(await follower.rest(), "");
    await cluster.until(complaint);
  }
});

Deno.test("replicated_log shows how it works, without a file", async () => {
  await using child = await Child.start(["--allow-net"], "replicated_log");
  const { code, out, err } = await child.end();
  assertEquals({ code, err }, { code: 0, err: "" });
  assertMatch(
    out,
    /b fails.*a fails.*waits.*catches up.*the log is spam, eggs, ham$/s,
  );
});

const MISUSES: [args: string[], complaint: string][] = [
  [["primary"], "PORT is missing"],
  [["a", "8010"], "FILE is missing"],
  [["c", "8010", "log"], 'ROLE must be primary, a or b, got "c"'],
  [["a", "8010", "log", "more"], 'Unexpected argument "more"'],
  [["a", "0", "log"], 'PORT must be from 1 to 65535, got "0"'],
  [["primary", "spam", "log"], 'PORT must be from 0 to 65535, got "spam"'],
];

Deno.test("replicated_log says what is wrong with its arguments", async () => {
  await Promise.all(MISUSES.map(async ([args, complaint]) => {
    await using child = await Child.start([], "replicated_log", ...args);
    const err =
      `${complaint}. Usage: replicated_log.ts [ROLE PORT FILE] [--help]\n`;
    assertEquals(await child.end(), { code: 2, out: "", err });
  }));
  const args = ["primary", "0", "no/such/file"];
  await using child = await Child.start(["-A"], "replicated_log", ...args);
  const { code, err } = await child.end();
  assertEquals(code, 1);
  assertMatch(err, /^Cannot be primary: .*no\/such\/file.*\n$/);
});

Deno.test("FileDisk drops half a line that a crash has left", async () => {
  const path = Deno.makeTempFileSync();
  try {
    Deno.writeTextFileSync(path, "k1 spam\nk2 eg");
    using disk = new FileDisk(path);
    assertEquals(disk.read(), ["k1 spam"]);
    await disk.write(["k2 eggs", "k3 ham"]);
    await disk.sync();
    assertEquals(disk.read(), ["k1 spam", "k2 eggs", "k3 ham"]);
  } finally {
    Deno.removeSync(path);
  }
});

Deno.test("Records count as stored what was read only when it is synced", async () => {
  const syncs: PromiseWithResolvers<void>[] = [];
  const sync = (): Promise<void> => {
    syncs.push(Promise.withResolvers());
    return syncs.at(-1)!.promise;
  };
  const write = () => Promise.resolve();
  const records = new Records({ read: () => ["k1 spam"], write, sync });
  const endSync = async (nth: number) => {
    await until(() => syncs.length > nth, "a sync");
    assertEquals(records.stored, nth);
    syncs[nth]!.resolve();
  };
  void records.append("k2 eggs"); // while the first sync is under way
  await endSync(0);
  await endSync(1);
  await records.store();
  assertEquals(records.stored, 2);
});

Deno.test("LineChat does not carry a broken letter into the next line", async () => {
  const lines: string[] = [];
  class Lines extends LineChat {
    override handleLine(line: string) {
      lines.push(line);
    }
  }
  const [mine, theirs] = memoryPair();
  new Lines(mine).setTerminator("\n");
  await theirs.write(Uint8Array.of(0x61, 0xc3, 0x0a, 0x62, 0xc3));
  await theirs.write(Uint8Array.of(0xa9, 0x0a));
  theirs.close();
  await loop();
  assertEquals(lines, ["a\ufffd", "bé"]);
});

Deno.test("Records end the program when the disk fails", async () => {
  using rejections = captureRejections();
  const full = new Error("No space left on device");
  const records = new Records({
    read: () => [],
    write: () => Promise.reject(full),
    sync: () => Promise.resolve(),
  });
  records.append("k1 spam");
  await until(() => rejections.reasons.length > 0, "the failure");
  assertEquals(rejections.reasons, [full]);
  assertEquals(records.stored, 0);
});
