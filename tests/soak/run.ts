/** The process of the soak: warms up, counts, runs, counts again. */

import { canRun, IS_ON_EPOLL } from "../support.ts";
import { Connection } from "./connection.ts";
import { mix, RandomChoices, wait } from "./random.ts";
import { compare, type Figures, takeFigures } from "./figures.ts";
import { complain, order } from "./order.ts";
import { drawPlan, FAULT_KINDS, type Plan } from "./plan.ts";
import { counts } from "./side.ts";
import { World } from "./world.ts";

/** How often connections are made and looked at, in ms, and how many at most. */
const TICK = 10;
const AT_ONCE = 10;
/** A tick that is so much later, in ms, tells that there is enough to do. */
const MOST_LAG = 50;
/** The most bytes that all connections of a moment are to send. */
const MOST_BYTES = 48 * 1024 * 1024;
/** How often to tell how it gets on, in ms. */
const NEWS = 5_000;
/** The number of the first connection of the warm-up. */
const WARM_UP = 1_000_000_000;
/** How long the warm-up takes, in ms, at most this part of the whole. */
const WARM_UP_TIME = 10_000;
const WARM_UP_PART = 0.25;
/** How many clients are reset before they are accepted, and how often, in ms. */
const RESETS = 25;
const RESETS_EVERY = 5_000;
/** A soak makes at least so many connections: else some faults may not come. */
const LEAST_CONNECTIONS = 1_000;
/** … and one of less than a minute, or a warm-up, so many. */
const FEW = 100;
/** So long before its time is over, in ms, the last connections are made. */
const LAST_CALL = 5_000;

const { seed, minutes, only } = order;
const isWhole = minutes >= 1 && only === null;
const startedAt = performance.now();
const hasPython = canRun("python3", "--version");
const tally = newTally();
let id = 0;
let world: World;

function newTally() {
  return {
    connections: 0,
    most: 0,
    promised: 0,
    exits: 0,
    transports: new Map<string, number>(),
    faults: new Map<string, number>(),
  };
}

function count(counts: Map<string, number>, name: string, times = 1): void {
  counts.set(name, (counts.get(name) ?? 0) + times);
}

/** Counts a connection that is over. */
function add({ plan, fired, server, client, promised }: Connection): void {
  const { faults } = tally;
  tally.connections++;
  tally.promised += promised;
  count(tally.transports, plan.transport);
  if (fired) count(faults, plan.fault.kind);
  const isHalf = plan.server.ending === "halves";
  if (isHalf && plan.fault.kind === "none") count(faults, "halfClose");
  if (plan.server.splits > 0) count(faults, "split");
  if (server.stalls + client.stalls > 0) count(faults, "stall");
}

function draw(number: number): Plan {
  const plan = drawPlan(seed, only ?? number);
  if (!world.has(plan.transport)) plan.transport = "tcp";
  return plan;
}

/** Makes connections until there are `target`; returns the next number. */
function spawn(number: number, target: number): number {
  let bytes = 0;
  for (const { size } of world.open.values()) bytes += size;
  for (let i = 0; i < AT_ONCE; i++) {
    if (world.open.size >= target || bytes > MOST_BYTES) break;
    const connection = new Connection(++id, draw(number++));
    bytes += connection.size;
    world.connect(connection);
  }
  tally.most = Math.max(tally.most, world.open.size);
  return number;
}

/** Waits for a moment; tells whether the machine has more to do than it can. */
async function tick(): Promise<boolean> {
  const before = performance.now();
  await wait(TICK);
  const isBusy = performance.now() - before > TICK + MOST_LAG;
  for (const connection of world.sweep()) add(connection);
  return isBusy;
}

/** Has clients come and be reset before they are accepted, as long as it goes. */
async function resetClients(signal: AbortSignal): Promise<void> {
  const program = `${import.meta.dirname}/../python/resetting_clients.py`;
  const args = [program, `${RESETS}`, "127.0.0.1", `${world.port}`];
  while (hasPython && !signal.aborted) {
    const { success } = await new Deno.Command("python3", { args }).output();
    if (success) count(tally.faults, "resetBeforeAccept", RESETS);
    for (let i = 0; i < RESETS_EVERY / 100 && !signal.aborted; i++) {
      await wait(100);
    }
  }
}

/** Makes connections from `first` on, until `end`, and sees them end. */
async function inWorld(first: number, end: number, least: number) {
  world = new World();
  const random = new RandomChoices(mix(seed, first));
  const controller = new AbortController();
  const resets = resetClients(controller.signal);
  let number = first;
  let target = 0;
  let targetUntil = 0;
  let isBusy = false;
  while (performance.now() < end || number < first + least) {
    if (performance.now() > targetUntil) {
      target = random.log(50, 400);
      targetUntil = performance.now() + random.int(500, 3_000);
    }
    if (!isBusy) number = spawn(number, target);
    isBusy = await tick();
  }
  controller.abort();
  await resets;
  while (!world.isQuiet) await tick();
  await world.close();
  tally.exits += world.exits;
  return world.maps;
}

function mib(bytes: number): string {
  return `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
}

function list(counts: Map<string, number>): string {
  return [...counts].sort(([, a], [, b]) => b - a)
    .map(([name, times]) => `${name} ${times}`).join(", ");
}

/** Prints the figures, and what became of each promise; returns how many failed. */
function report(before: Figures, after: Figures): number {
  const { connections, most, promised, exits, transports, faults } = tally;
  console.log(`
engine         ${IS_ON_EPOLL ? "epoll" : "Deno"}
connections    ${connections} (${most} at the same time; ${list(transports)})
bytes checked  ${counts.received}, of which ${promised} had to arrive
hook errors    ${counts.hookErrors} (${exits} ExitNow)
faults         ${list(faults)}`);
  for (const name of Object.keys(before) as (keyof Figures)[]) {
    const show = name === "heap" || name === "buffers" ? mib : String;
    const change = `${show(before[name])} before, ${show(after[name])} after`;
    console.log(`${name.padEnd(15)}${change}`);
  }
  const kinds = [...FAULT_KINDS, "halfClose", "split", "stall"];
  const promises = {
    // The first that is not kept ends the soak before this.
    "Each byte that had to arrive has, unchanged, once and in order":
      promised > 0,
    "Each hook ran when it should, and none after close()": true,
    "What failed has cost its own connection alone": true,
    ...isWhole &&
      {
        "Each kind of fault has come": kinds.every((kind) => faults.has(kind)),
      },
    ...compare(before, after),
  };
  console.log();
  for (const [promise, isKept] of Object.entries(promises)) {
    console.log(`${promise} ... ${isKept ? "ok" : "FAILED"}`);
  }
  const all = Object.values(promises);
  const failed = all.filter((isKept) => !isKept).length;
  const time = Math.round((performance.now() - startedAt) / 1_000);
  const mark = failed === 0 ? "ok" : "FAILED";
  console.log(
    `\n${mark} | ${all.length - failed} passed | ${failed} failed (${time}s)`,
  );
  return failed;
}

addEventListener("unhandledrejection", (event) => {
  event.preventDefault();
  complain(`unhandled rejection: ${Deno.inspect(event.reason)}`);
});
const time = minutes * 60_000;
const news = setInterval(() => {
  const { heapUsed } = Deno.memoryUsage();
  const seconds = Math.round((performance.now() - startedAt) / 1_000);
  console.log(
    `${seconds} of ${Math.round(time / 1_000)} s: ` +
      `${tally.connections} connections, ${world.open.size} open, ` +
      `${mib(counts.received)} checked, heap ${mib(heapUsed)}`,
  );
}, NEWS);
const late = setTimeout(
  () => complain(`it does not end: ${world}`),
  2 * time + 30_000,
);

const warmUp = Math.min(WARM_UP_TIME, time * WARM_UP_PART);
const before = await takeFigures(
  await inWorld(WARM_UP, startedAt + warmUp, FEW),
);
Object.assign(tally, newTally());
Object.assign(counts, { hookErrors: 0, received: 0 });
const least = isWhole ? LEAST_CONNECTIONS : FEW;
const maps = await inWorld(0, startedAt + time - LAST_CALL, least);
const after = await takeFigures(maps, before.descriptors);
clearInterval(news);
clearTimeout(late);
if (report(before, after) > 0) complain("a promise is not kept");
