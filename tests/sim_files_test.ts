/** The files of a simulated host, beside those of the real system, and over FileDispatcher. */

import {
  assert,
  assertEquals,
  assertGreater,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { FileDispatcher } from "../mod.ts";
import {
  type FaultLevel,
  type Faults,
  type SimHost,
  SimNetwork,
} from "../testing/mod.ts";
import { newSeed, randomFrom } from "./fakes.ts";
import { Scratch } from "./files.ts";
import { bytes, text } from "./support.ts";
import { importTraps, isolateHosts } from "../testing/sim_globals.ts";

// Thousands of runs: to exchange the global functions for each takes as long as it.
isolateHosts();
await importTraps.acquire();

/** The functions and files that `Deno` and `SimFiles` have in common. */
interface AnyFile extends Disposable {
  read(target: Uint8Array): Promise<number | null>;
  write(data: Uint8Array): Promise<number>;
  seek(offset: number, whence: Deno.SeekMode): Promise<number>;
  truncate(length: number): Promise<void>;
  sync(): Promise<void>;
  stat(): Promise<{ isFile: boolean; size: number }>;
}
interface AnyFiles {
  open(path: string, options: Deno.OpenOptions): Promise<AnyFile>;
  mkdir(path: string, options: Deno.MkdirOptions): Promise<void>;
  remove(path: string, options: Deno.RemoveOptions): Promise<void>;
  rename(path: string, newPath: string): Promise<void>;
  link(path: string, newPath: string): Promise<void>;
  stat(path: string): Promise<{ isFile: boolean; size: number }>;
  readDir(path: string): AsyncIterable<Deno.DirEntry>;
  readTextFile(path: string): Promise<string>;
  writeTextFile(
    path: string,
    text: string,
    options: Deno.WriteFileOptions,
  ): Promise<void>;
}

const PATHS = [
  ...["a", "b", "d", "d/a", "d/b", "e", "d/e", "d/e/a", "e/a", "e/e"],
  ...["./a", "d/../b", "a/a"],
];
const OPEN_OPTIONS: Deno.OpenOptions[] = [
  { read: true },
  { read: true, write: true, create: true },
  { write: true, create: true, truncate: true },
  { append: true, create: true },
  { read: true, write: true, createNew: true },
  { read: true, append: true },
];

/** Does what the random numbers say; returns what came of it. */
async function step(
  files: AnyFiles,
  open: AnyFile[],
  root: string,
  random: () => number,
): Promise<unknown> {
  const upTo = (most: number) => Math.floor(random() * most);
  const path = () => root + PATHS[upTo(PATHS.length)];
  const file = open[upTo(open.length)];
  const data = bytes(String.fromCharCode(97 + upTo(26)).repeat(upTo(6_000)));
  const recursive = upTo(2) === 1;
  switch (upTo(file ? 16 : 8)) {
    case 0:
      open.push(await files.open(path(), OPEN_OPTIONS[upTo(6)]!));
      return "open";
    case 1:
      return await files.mkdir(path(), { recursive });
    case 2:
      return await files.remove(path(), { recursive });
    case 3:
      return await files.rename(path(), path());
    case 4:
      return await files.link(path(), path());
    case 5: {
      const { isFile, size } = await files.stat(path());
      return isFile ? size : "folder";
    }
    case 6: {
      const options = [{}, { append: true }, { create: false }][upTo(3)]!;
      return await files.writeTextFile(path(), "spam".repeat(upTo(9)), options);
    }
    case 7:
      return await files.readTextFile(path());
    case 8:
    case 9:
    case 10: {
      const target = new Uint8Array(upTo(4_000));
      return [await file!.read(target), text(target)];
    }
    case 11:
    case 12:
      return await file!.write(data);
    case 13: {
      // Where a folder ends is up to the file system.
      if (!(await file!.stat()).isFile) return "folder";
      return await file!.seek(upTo(9_000) - 1_000, upTo(3));
    }
    case 14:
      await file!.truncate(upTo(9_000));
      return "cut";
    default:
      await file!.sync();
      return (await file!.stat()).isFile;
  }
}

/** What came of it, or the error. */
async function outcomeOf(work: Promise<unknown>): Promise<unknown> {
  try {
    return await work;
  } catch (error) {
    const { name, code } = error as Error & { code?: string };
    return `${name} ${code}`;
  }
}

/** All that is in a folder. */
async function tree(files: AnyFiles, path: string): Promise<string> {
  const entries: Deno.DirEntry[] = [];
  for await (const entry of files.readDir(path)) entries.push(entry);
  entries.sort((a, b) => a.name < b.name ? -1 : 1);
  let found = "";
  for (const { name, isFile } of entries) {
    const below = `${path}/${name}`;
    found += isFile
      ? `${name}: ${await files.readTextFile(below)}\n`
      : `${name}/\n${await tree(files, below)}`;
  }
  return found;
}

/** Runs the simulation until a promise has settled. */
async function wait<T>(sim: SimNetwork, promise: Promise<T>): Promise<T> {
  let isSettled = false;
  const settle = () => void (isSettled = true);
  promise.then(settle, settle);
  await sim.run({ until: () => isSettled });
  return await promise;
}

const onLinux = Deno.build.os === "linux";

Deno.test({
  name: "SimFiles does what the files of Linux do",
  ignore: !onLinux,
}, async () => {
  const first = newSeed();
  const outcomes = new Set<string>();
  for (let seed = first; seed < first + 25; seed++) {
    using scratch = new Scratch();
    const sim = new SimNetwork();
    const { files } = sim.host("server").disk;
    const open: AnyFile[] = [];
    const realOpen: AnyFile[] = [];
    for (let i = 0; i < 60; i++) {
      const key = seed * 1_000 + i;
      const real = await outcomeOf(
        step(Deno, realOpen, `${scratch.path}/`, randomFrom(key)),
      );
      const simulated = await wait(
        sim,
        outcomeOf(step(files, open, "", randomFrom(key))),
      );
      assertEquals(simulated, real, `seed ${seed}, step ${i}`);
      outcomes.add(String(real).split(" ")[0]!);
    }
    for (const file of [...open, ...realOpen]) file[Symbol.dispose]();
    const real = await tree(Deno, scratch.path);
    assertEquals(await wait(sim, tree(files, "/")), real, `seed ${seed}`);
  }
  for (const name of ["NotFound", "AlreadyExists", "IsADirectory", "Error"]) {
    assert(outcomes.has(name), `${name} never came: ${[...outcomes]}`);
  }
});

/** What an operation fails with, by its name and code. */
function errorOf(work: () => unknown): string {
  const error = assertThrows(work, Error) as Error & { code?: string };
  return `${error.name} ${error.code}`;
}

Deno.test("SimFiles says what is wrong with a mode, an option, a path or a closed file", async () => {
  const sim = new SimNetwork();
  const { files } = sim.host("server").disk;
  assertThrows(() => files.openSync("a", { read: false }), TypeError, "read");
  assertThrows(() => files.openSync("a", { create: true }), TypeError, "write");
  const wrong = { append: true, truncate: true };
  assertThrows(() => files.openSync("a", wrong), TypeError, "no append");
  // @ts-expect-error: a wrong name
  assertThrows(() => files.openSync("a", { reed: true }), TypeError, "read");
  assertThrows(() => files.readFileSync(""), TypeError, "path");
  files.writeTextFileSync("a", "spam");
  const file = files.openSync("a");
  assertEquals(errorOf(() => file.writeSync(bytes("x"))), "Error EBADF");
  assertEquals(errorOf(() => file.truncateSync(1)), "TypeError EINVAL");
  file.close();
  assertThrows(() => file.statSync(), Deno.errors.BadResource, "closed");
  await assertRejects(() => file.sync(), Deno.errors.BadResource);
  assertThrows(() => file.close(), Deno.errors.BadResource);
});

Deno.test("SimFiles does at once what its other half does later", async () => {
  const sim = new SimNetwork();
  const { files } = sim.host("server").disk;
  files.mkdirSync("d/e", { recursive: true });
  files.writeTextFileSync("d/a", "spam");
  files.writeFileSync("d/a", bytes(", eggs"), { append: true });
  files.linkSync("d/a", "d/b");
  files.renameSync("d/a", "d/e/c");
  assertEquals([...files.readDirSync("d")].map(({ name }) => name), ["b", "e"]);
  assertEquals(files.statSync("d/b").size, 10);
  assertEquals(files.readTextFileSync("/d/e/c"), "spam, eggs");
  using file = files.openSync("d/b", { read: true, write: true });
  assertEquals(file.seekSync(-4, Deno.SeekMode.End), 6);
  file.writeSync(bytes("ham"));
  file.truncateSync(9);
  assertEquals(await wait(sim, files.readTextFile("d/b")), "spam, ham");
  files.removeSync("d", { recursive: true });
  assertEquals([...files.readDirSync("/")], []);
});

/** Copies a file, as it would copy a real one. */
class Copy extends FileDispatcher {
  readonly #target: FileDispatcher;

  constructor(host: SimHost, from: string, to: string) {
    const { files } = host.disk;
    const options = { write: true, create: true };
    const target = files.openSync(to, options);
    super(files.openSync(from));
    this.#target = new FileDispatcher(target);
  }
  override handleRead(): void {
    this.#target.send(this.recv(1_000));
  }
  override handleClose(): void {
    this.close();
    this.#target.close();
  }
}

Deno.test("FileDispatcher works over the files of a simulated host", async () => {
  const sim = new SimNetwork();
  const host = sim.host("server");
  const content = "spam and eggs ".repeat(20_000);
  host.disk.files.writeTextFileSync("from", content);
  host.run(() => new Copy(host, "from", "to"));
  await sim.run({ until: () => [...host.map].length === 0 });
  assertEquals(host.disk.files.readTextFileSync("to"), content);
  assertGreater(sim.now, 0);
});

Deno.test("FileDispatcher over a simulated file that is full says so to handleError()", async () => {
  const sim = new SimNetwork({ faults: { diskFull: 0.2 }, seed: 3 });
  const errors: unknown[] = [];
  class Log extends FileDispatcher {
    override handleError(error: unknown): void {
      errors.push(error);
      this.close();
    }
  }
  const host = sim.host("server");
  const log = host.run(() =>
    new Log(host.disk.files.openSync("log", { append: true, create: true }))
  );
  host.map.callEvery(10, () => void log.send("spam"));
  await sim.run({ until: () => errors.length > 0 });
  assertEquals((errors[0] as Error & { code: string }).code, "ENOSPC");
});

/** A file that holds one number, and how it is replaced. */
type Replace = (host: SimHost, value: string) => Promise<void>;

async function writeAndSync(
  { disk: { files } }: SimHost,
  path: string,
  value: string,
): Promise<void> {
  const options = { write: true, create: true, truncate: true };
  using file = await files.open(path, options);
  await file.write(bytes(value));
  await file.sync();
}

async function syncRoot({ disk: { files } }: SimHost): Promise<void> {
  using folder = await files.open("/");
  await folder.sync();
}

const atomically: Replace = async (host, value) => {
  await writeAndSync(host, "new", value);
  await host.disk.files.rename("new", "value");
  await syncRoot(host);
};
const inPlace: Replace = async (host, value) => {
  await writeAndSync(host, "value", value);
  await syncRoot(host);
};
const withoutSyncOfFile: Replace = async (host, value) => {
  await host.disk.files.writeTextFile("new", value);
  await host.disk.files.rename("new", "value");
  await syncRoot(host);
};
const withoutSyncOfFolder: Replace = async (host, value) => {
  await writeAndSync(host, "new", value);
  await host.disk.files.rename("new", "value");
};

/** Longer than two pages, so that a part of it is no whole value. */
const valueOf = (i: number) => `${i}:${"x".repeat(9_000)}:${i}`;

/** Replaces the value until the power fails; says what is wrong with what is left. */
async function damageOf(
  replace: Replace,
  faults: Faults | FaultLevel,
  seed: number,
): Promise<string | null> {
  const sim = new SimNetwork({ seed, faults });
  const host = sim.host("server", () => {});
  let acknowledged = 0;
  host.map.callLater(0, async () => {
    for (let i = 1;; i++) {
      await replace(host, valueOf(i));
      acknowledged = i;
    }
  });
  await sim.run({ limit: 30 + sim.random() * 60 });
  host.crash();
  host.restart();
  let found: string;
  try {
    found = host.disk.files.readTextFileSync("value");
  } catch {
    return acknowledged === 0 ? null : "missing";
  }
  if (found === valueOf(acknowledged)) return null;
  if (found === valueOf(acknowledged + 1)) return null;
  return [...Array(acknowledged).keys()].some((i) => found === valueOf(i))
    ? "old"
    : "torn";
}

const CRUEL_CRASHES = { syncTorn: 0.5, diskEarly: 0.3, diskReorder: 0.5 };

for (const faults of ["none", "harsh", CRUEL_CRASHES] as const) {
  const name = typeof faults === "string" ? faults : "of cruel crashes";
  Deno.test(`A file that is replaced by rename, with both syncs, is old or new after a power failure, with faults ${name}`, async () => {
    const first = newSeed();
    for (let seed = first; seed < first + 200; seed++) {
      const damage = await damageOf(atomically, faults, seed);
      assertEquals(damage, null, `seed ${seed}`);
    }
  });
}

const WRONG: [string, Replace, Faults | FaultLevel, string][] = [
  ["in place", inPlace, "harsh", "torn"],
  ["without sync() of the file", withoutSyncOfFile, "none", "torn"],
  ["without sync() of the folder", withoutSyncOfFolder, "none", "missing"],
  ["without sync() of the folder", withoutSyncOfFolder, CRUEL_CRASHES, "old"],
];
for (const [how, replace, faults, damage] of WRONG) {
  Deno.test(`A file that is replaced ${how} is ${damage} after some power failure, with faults ${Deno.inspect(faults)}`, async () => {
    const seen = new Set<string | null>();
    for (let seed = 1; seed <= 100 && !seen.has(damage); seed++) {
      seen.add(await damageOf(replace, faults, seed));
    }
    assert(seen.has(damage), `seen: ${[...seen]}`);
  });
}

/** Appends and syncs at random until the power fails; returns what is left. */
async function appendLog(faults: Faults | FaultLevel, seed: number) {
  const sim = new SimNetwork({ seed, faults });
  const random = randomFrom(seed);
  const host = sim.host("server", () => {});
  const { files } = host.disk;
  const ends = [0];
  let safe = 0;
  host.map.callLater(0, async () => {
    using log = await files.open("log", { append: true, create: true });
    await syncRoot(host);
    for (;;) {
      const data = new Uint8Array(1 + Math.floor(random() * 10_000));
      const length = ends.at(-1)!;
      for (const i of data.keys()) data[i] = 1 + (length + i) % 251;
      await log.write(data);
      ends.push(length + data.length);
      if (random() < 0.5) continue;
      await log.sync();
      safe = ends.at(-1)!;
    }
  });
  await sim.run({ limit: 15 + random() * 40 });
  host.crash();
  host.restart();
  const found = [...files.readDirSync("/")].length > 0
    ? files.readFileSync("log")
    : new Uint8Array(0);
  return { found, ends, safe, trace: () => sim.trace() };
}

const isWhole = (bytes: Uint8Array) =>
  bytes.every((byte, i) => byte === 1 + i % 251);

for (const faults of ["none", "harsh"] as const) {
  Deno.test(`A file that grows keeps after a power failure what was synced, and some pages in order, with faults ${faults}`, async () => {
    const first = newSeed();
    let torn = 0;
    for (let seed = first; seed < first + 200; seed++) {
      const { found, ends, safe, trace } = await appendLog(faults, seed);
      const { length } = found;
      const message = `seed ${seed}, ${length} bytes, ${safe} safe\n${trace()}`;
      assert(isWhole(found) && length >= safe, message);
      assert(ends.includes(length) || length % 4_096 === 0, message);
      if (faults === "none") assertEquals(length, safe, message);
      if (!ends.includes(length)) torn++;
    }
    if (faults === "harsh") assertGreater(torn, 10);
  });
}

Deno.test("A file that grows loses pages in its middle by cruel crashes, but none that was synced", async () => {
  const first = newSeed();
  let holes = 0;
  for (let seed = first; seed < first + 200; seed++) {
    const { found, safe, trace } = await appendLog(CRUEL_CRASHES, seed);
    const message = `seed ${seed}, ${safe} safe\n${trace()}`;
    assert(found.length >= safe && isWhole(found.subarray(0, safe)), message);
    assert(found.every((byte, i) => byte === 0 || byte === 1 + i % 251));
    if (!isWhole(found)) holes++;
  }
  assertGreater(holes, 10);
});

Deno.test("A new file is gone after a power failure, until its folder is synced", async () => {
  for (const isSynced of [false, true]) {
    const sim = new SimNetwork();
    const host = sim.host("server", () => {});
    const writing = writeAndSync(host, "a", "spam");
    await wait(sim, isSynced ? writing.then(() => syncRoot(host)) : writing);
    host.crash();
    host.restart();
    const names = [...host.disk.files.readDirSync("/")];
    assertEquals(names.length, isSynced ? 1 : 0);
  }
});

Deno.test("SimFiles moves a file from folder to folder as a whole, whichever is synced", async () => {
  for (const synced of ["from", "to", "neither"]) {
    const sim = new SimNetwork();
    const host = sim.host("server", () => {});
    const { files } = host.disk;
    const sync = async (path: string) => {
      using file = await files.open(path);
      await file.sync();
    };
    await wait(
      sim,
      (async () => {
        await files.mkdir("from");
        await files.mkdir("to");
        await files.writeTextFile("from/a", "spam");
        for (const path of ["from/a", "/"]) await sync(path);
        await files.rename("from/a", "to/a");
        if (synced !== "neither") await sync(synced);
        if (synced === "to") await sync("from");
      })(),
    );
    host.crash();
    host.restart();
    const names = ["from", "to"].map((path) => [...files.readDirSync(path)]);
    assertEquals(
      names.map(({ length }) => length),
      synced === "neither" ? [0, 0] : [0, 1],
    );
  }
});

Deno.test("A dead program changes no file of its host", () => {
  const host = new SimNetwork().host("server", () => {});
  const { files } = host.disk;
  files.writeTextFileSync("a", "spam");
  const file = files.openSync("a", { read: true, write: true });
  host.crash({ process: true });
  assertEquals(file.writeSync(bytes("eggs")), 4);
  file.truncateSync(0);
  files.writeTextFileSync("a", "ham");
  files.writeTextFileSync("b", "ham");
  files.mkdirSync("c");
  files.linkSync("a", "d");
  files.renameSync("a", "e");
  files.removeSync("a");
  host.restart();
  assertEquals([...host.disk.files.readDirSync("/")].length, 1);
  assertEquals(host.disk.files.readTextFileSync("a"), "spam");
});

Deno.test("A simulated file that is corrupted differs by one bit", () => {
  const sim = new SimNetwork({ faults: { diskCorrupt: 1 } });
  const { files } = sim.host("server").disk;
  files.writeFileSync("a", new Uint8Array(1_000));
  const wrong = files.readFileSync("a").filter((byte) => byte !== 0);
  assertEquals(wrong.length, 1);
  assertEquals(sim.faultEvents.map(({ id }) => id), [
    "diskCorrupt server:/a 1",
  ]);
});

Deno.test("A simulated file that is written as the disk becomes full takes a part, then nothing", () => {
  // The first of its writes is the one of its name.
  const only = ["diskFull server:/a 2"];
  const sim = new SimNetwork({ faults: { diskFull: 1 }, only });
  const { files } = sim.host("server").disk;
  const file = files.openSync("a", { write: true, create: true });
  const written = file.writeSync(new Uint8Array(10_000));
  assert(written > 0 && written < 10_000);
  assertEquals(errorOf(() => file.writeSync(bytes("a"))), "Error ENOSPC");
  file.seekSync(0, Deno.SeekMode.Start);
  assertEquals(file.writeSync(bytes("a")), 1); // In its place.
});
