/**
 * The thread of the soak: warms up, counts, runs, counts again. It tells the
 * thread that started it how it gets on.
 */

import { hasCommand } from "../certificates.ts";
import { Connection } from "./connection.ts";
import { fillTable } from "./content.ts";
import { Dice, mix } from "./dice.ts";
import { drawPlan } from "./draw.ts";
import { compare, CountingClock, mib, takeFigures } from "./figures.ts";
import { complain, type Order, tell } from "./messages.ts";
import { missing } from "./missing.ts";
import { noteTurn } from "./pace.ts";
import type { Plan } from "./plan.ts";
import { LEAST_CONNECTIONS, Statistics } from "./statistics.ts";
import { wait } from "./wait.ts";
import { World } from "./world.ts";

/** How often connections are made and looked at, in ms. */
const TICK = 10;
/** How often the other thread hears of us, in ms. */
const NEWS = 1_000;
/** The most connections that are made in a tick. */
const AT_ONCE = 10;
/** The most bytes that all connections of a moment are to send. */
const MOST_BYTES = 48 * 1024 * 1024;
/** The number of the first connection of the warm-up. */
const WARM_UP = 1_000_000_000;
/** How long the warm-up takes, in ms, at most this part of the whole. */
const WARM_UP_TIME = 10_000;
const WARM_UP_PART = 0.25;
/** How many clients are reset before they are accepted, and how often, in ms. */
const RESETS = 25;
const RESETS_EVERY = 5_000;
const RESETTING = `${import.meta.dirname}/../python/resetting_clients.py`;
/** A soak makes at least so many connections, and its warm-up does. */
const FEW = 100;
/** So long before its time is over, in ms, the last connections are made. */
const LAST_CALL = 5_000;

/** The soak. */
class Soak {
  readonly #order: Order;
  #statistics = new Statistics();
  readonly #running: Int32Array;
  readonly #clock = new CountingClock();
  readonly #startedAt = performance.now();
  #id = 0;
  #world: World | null = null;
  /** The machine has more to do than it can. */
  #isBusy = false;

  constructor(order: Order) {
    this.#order = order;
    this.#running = new Int32Array(order.running);
    addEventListener("unhandledrejection", (event) => {
      event.preventDefault();
      complain(`unhandled rejection: ${Deno.inspect(event.reason)}`, "");
    });
  }

  async run(): Promise<void> {
    const { seed, minutes } = this.#order;
    fillTable(seed);
    const news = setInterval(() => this.#tellNews(), NEWS);
    const time = minutes * 60_000;
    const warmUp = Math.min(WARM_UP_TIME, time * WARM_UP_PART);
    const warmUpMaps = await this.#inWorld(WARM_UP, warmUp);
    const before = await takeFigures(warmUpMaps, this.#clock);
    this.#statistics = new Statistics();
    const left = this.#startedAt + time - performance.now() - LAST_CALL;
    const maps = await this.#inWorld(0, left);
    const after = await takeFigures(maps, this.#clock, before.descriptors);
    clearInterval(news);
    const statistics = this.#statistics;
    tell({
      type: "done",
      table: statistics.table(before, after),
      verdicts: [
        ...statistics.judge(this.#isWhole),
        ...compare(before, after),
      ],
    });
  }

  /** Long enough that each kind of fault comes, however busy the machine is. */
  get #isWhole(): boolean {
    const { minutes, only } = this.#order;
    return minutes >= 1 && only === null;
  }

  /** Makes connections from `number` on, for so many ms, and sees them end. */
  async #inWorld(number: number, time: number) {
    const { directory, seed } = this.#order;
    const world = this.#world = new World(this.#clock, directory);
    const end = performance.now() + time;
    const dice = new Dice(mix(seed, number));
    let resets = Promise.resolve();
    let resetsAt = performance.now();
    let target = 0;
    let targetUntil = 0;
    const isWarmUp = number >= WARM_UP;
    const least = this.#isWhole && !isWarmUp ? LEAST_CONNECTIONS : FEW;
    const enough = number + least;
    while (performance.now() < end || number < enough) {
      if (performance.now() > targetUntil) {
        target = dice.log(50, 400);
        targetUntil = performance.now() + dice.int(500, 3_000);
      }
      if (performance.now() > resetsAt) {
        resetsAt = Infinity; // One after the other.
        resets = this.#reset(world).then(() => {
          resetsAt = performance.now() + RESETS_EVERY;
        });
      }
      number = this.#spawn(world, number, target);
      await this.#tick(world);
    }
    while (world.open.size > 0) await this.#tick(world);
    await resets;
    while (world.greetings > 0) await this.#tick(world);
    await world.close();
    this.#statistics.exits += world.exits;
    return world.maps;
  }

  async #tick(world: World): Promise<void> {
    const before = performance.now();
    await wait(TICK);
    this.#isBusy = noteTurn(TICK, performance.now() - before);
    for (const connection of world.sweep()) this.#statistics.add(connection);
  }

  /** Makes connections until there are enough; returns the next number. */
  #spawn(world: World, number: number, target: number): number {
    const statistics = this.#statistics;
    if (this.#isBusy) return number;
    let bytes = 0;
    for (const { size } of world.open.values()) bytes += size;
    for (let i = 0; i < AT_ONCE; i++) {
      if (world.open.size >= target || bytes > MOST_BYTES) break;
      const plan = this.#draw(number++);
      const { counts } = statistics;
      const connection = new Connection(
        ++this.#id,
        plan,
        counts,
        this.#running,
      );
      bytes += connection.size;
      world.connect(connection);
    }
    statistics.most = Math.max(statistics.most, world.open.size);
    return number;
  }

  #draw(number: number): Plan {
    const { seed, only } = this.#order;
    const plan = drawPlan(seed, only ?? number);
    if (missing(plan.transport) === null) return plan;
    if (plan.fault?.kind === "badHandshake") plan.fault = null;
    return { ...plan, transport: "tcp" };
  }

  /** Has clients come and be reset before they are accepted. */
  async #reset(world: World): Promise<void> {
    if (!hasPython) return;
    const { success } = await new Deno.Command("python3", {
      args: [RESETTING, `${RESETS}`, "127.0.0.1", `${world.port}`],
      stdout: "null",
      stderr: "null",
    }).output();
    if (success) this.#statistics.addResets(RESETS);
  }

  #tellNews(): void {
    const { connections, counts } = this.#statistics;
    const { heapUsed } = Deno.memoryUsage();
    const open = this.#world?.open.size ?? 0;
    tell({
      type: "progress",
      line: `${connections} connections, ${open} open, ` +
        `${mib(counts.received)} checked, heap ${mib(heapUsed)}`,
      waitsFor: `${this.#world}`,
    });
  }
}

const hasPython = hasCommand("python3", "--version");

addEventListener("message", (event) => {
  void new Soak((event as MessageEvent<Order>).data).run();
});
tell({ type: "ready" });
