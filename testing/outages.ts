/**
 * Which hosts cannot reach which, and the partitions and crashes that come by
 * chance.
 *
 * @module
 */

import { type Fate, kindOf } from "./faults.ts";
import { isRestartable, lifeOf, type SimHost } from "./sim_host.ts";

/** More than there can be hosts. */
export const MOST_HOSTS = 4_096;
/** How often chance is asked, in simulated ms. */
export const TICK = 1_000;
const TICKS_A_MINUTE = 60;

const CRASH = kindOf("crash");
const CRASH_KIND = kindOf("kind of crash");
const CRASH_TIME = kindOf("crash time");
const PARTITION = kindOf("partition");
const CUT_KIND = kindOf("kind of cut");
const CUT_TIME = kindOf("cut time");

/** What is cut off from what. */
export class Cuts {
  /** How many cuts there are from one host to another, by both numbers. */
  readonly #counts = new Map<number, number>();
  /** Changes with each `heal()`, so that an older cut does not end a newer one. */
  #healed = 0;

  isCut(from: number, to: number): boolean {
    if (this.#counts.size === 0) return false;
    return this.#counts.has(from * MOST_HOSTS + to);
  }

  /** Cuts one way; the returned function mends it. */
  add(from: number, to: number): () => void {
    const key = from * MOST_HOSTS + to;
    const healed = this.#healed;
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
    return () => {
      if (healed !== this.#healed) return;
      const count = this.#counts.get(key)! - 1;
      if (count > 0) this.#counts.set(key, count);
      else this.#counts.delete(key);
    };
  }

  /** Mends all. */
  heal(): void {
    this.#counts.clear();
    this.#healed++;
  }
}

/** What {@linkcode strikeOutages} needs of the simulation. */
export interface OutageScene {
  readonly fate: Fate;
  readonly cuts: Cuts;
  readonly hosts: readonly SimHost[];
  after(delay: number, callback: () => void): unknown;
  note(text: string): void;
  onError(host: string, error: unknown): void;
}

/** Lets chance cut hosts off and crash them, once each {@linkcode TICK}. */
export function strikeOutages(scene: OutageScene, tick: number): void {
  for (const host of scene.hosts) crashByChance(scene, host, tick);
  for (const [i, a] of scene.hosts.entries()) {
    for (const b of scene.hosts.slice(i + 1)) cutByChance(scene, a, b, tick);
  }
}

function crashByChance(scene: OutageScene, host: SimHost, tick: number): void {
  const { fate } = scene;
  const { crash, outage } = fate.faults;
  if (!host.isUp || !isRestartable(host)) return;
  const { number } = lifeOf(host);
  const chance = crash / TICKS_A_MINUTE;
  if (!fate.strikes(CRASH, chance, host.name, number, tick)) return;
  const isProcess = fate.between(0, 2, CRASH_KIND, number, tick) < 1;
  host.crash({ process: isProcess });
  const time = fate.between(0, outage, CRASH_TIME, number, tick);
  scene.after(time, () => {
    if (!host.isUp) restart(scene, host);
  });
}

function restart(scene: OutageScene, host: SimHost): void {
  try {
    host.restart();
  } catch (error) {
    scene.onError(host.name, error);
  }
}

function cutByChance(
  scene: OutageScene,
  a: SimHost,
  b: SimHost,
  tick: number,
): void {
  const { fate, cuts } = scene;
  const { partition, outage } = fate.faults;
  const where = `${a.name} ${b.name}`;
  const [from, to] = [lifeOf(a).number, lifeOf(b).number];
  const pair = from * MOST_HOSTS + to;
  const chance = partition / TICKS_A_MINUTE;
  if (!fate.strikes(PARTITION, chance, where, pair, tick)) return;
  const kind = Math.floor(fate.between(0, 4, CUT_KIND, pair, tick));
  const mends: (() => void)[] = [];
  // Half of them cut both ways, a quarter each one way.
  if (kind !== 0) mends.push(cuts.add(from, to));
  if (kind !== 1) mends.push(cuts.add(to, from));
  const arrow = kind === 0 ? "<" : kind === 1 ? ">" : "|";
  scene.note(`partition ${a.name} ${arrow} ${b.name}`);
  const time = fate.between(0, outage, CUT_TIME, pair, tick);
  scene.after(time, () => {
    for (const mend of mends) mend();
    scene.note(`partition ${a.name} ${arrow} ${b.name} ends`);
  });
}
