/**
 * Partitions and crashes that come by chance: {@linkcode injectOutages}.
 *
 * @module
 */

import { drawKind } from "./fault_plan.ts";
import { type Partitions, routeOf } from "./partitions.ts";
import type { Host } from "./sim_host.ts";
import type { Simulation } from "./simulation.ts";

/**
 * How often an outage may begin, in simulated ms. A second is short beside an
 * outage (10 s by default), and drawing for each pair of hosts costs little.
 */
export const OUTAGE_INTERVAL = 1_000;
const INTERVALS_A_MINUTE = 60_000 / OUTAGE_INTERVAL;

const CRASH = drawKind("crash");
const CRASH_KIND = drawKind("kind of crash");
const CRASH_TIME = drawKind("crash time");
const PARTITION = drawKind("partition");
const PARTITION_KIND = drawKind("kind of cut");
const PARTITION_TIME = drawKind("cut time");

/** A simulation, as far as {@linkcode injectOutages} needs it. */
export interface OutageSimulation extends Simulation {
  readonly partitions: Partitions;
  readonly hosts: readonly Host[];
}

/** Draws for each host and each pair of hosts, in the `nth` interval. */
export function injectOutages(simulation: OutageSimulation, nth: number): void {
  const { hosts } = simulation;
  for (const host of hosts) drawCrash(simulation, host, nth);
  for (const [i, a] of hosts.entries()) {
    for (const b of hosts.slice(i + 1)) drawPartition(simulation, a, b, nth);
  }
}

function drawCrash(
  simulation: OutageSimulation,
  host: Host,
  nth: number,
): void {
  const { faultPlan } = simulation;
  const { crash, outage } = faultPlan.faults;
  if (!host.isUp || !host.isRestartable) return;
  const { number } = host;
  const chance = crash / INTERVALS_A_MINUTE;
  if (!faultPlan.injects(CRASH, chance, host.name, number, nth)) return;
  const isProcess = faultPlan.between(0, 2, CRASH_KIND, number, nth) < 1;
  host.crash({ process: isProcess });
  const time = faultPlan.between(0, outage, CRASH_TIME, number, nth);
  simulation.after(time, () => {
    if (!host.isUp) restart(simulation, host);
  });
}

function restart(simulation: OutageSimulation, host: Host): void {
  try {
    host.restart();
  } catch (error) {
    simulation.onError(host.name, error);
  }
}

function drawPartition(
  simulation: OutageSimulation,
  a: Host,
  b: Host,
  nth: number,
): void {
  const { faultPlan, partitions } = simulation;
  const { partition, outage } = faultPlan.faults;
  const where = `${a.name} ${b.name}`;
  const [from, to] = [a.number, b.number];
  const pair = routeOf(from, to);
  const chance = partition / INTERVALS_A_MINUTE;
  if (!faultPlan.injects(PARTITION, chance, where, pair, nth)) return;
  const kind = Math.floor(faultPlan.between(0, 4, PARTITION_KIND, pair, nth));
  const ends: (() => void)[] = [];
  // Half of them go both ways, a quarter each one way.
  if (kind !== 0) ends.push(partitions.add(from, to));
  if (kind !== 1) ends.push(partitions.add(to, from));
  const arrow = kind === 0 ? "<" : kind === 1 ? ">" : "|";
  simulation.note(`partition ${a.name} ${arrow} ${b.name}`);
  const time = faultPlan.between(0, outage, PARTITION_TIME, pair, nth);
  simulation.after(time, () => {
    for (const end of ends) end();
    simulation.note(`partition ${a.name} ${arrow} ${b.name} ends`);
  });
}
