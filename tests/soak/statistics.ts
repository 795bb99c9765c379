/** What is counted over the whole run, and what is said of it at the end. */

import type { Connection } from "./connection.ts";
import { type Figures, mib } from "./figures.ts";
import type { Verdict } from "./messages.ts";
import { missing } from "./missing.ts";
import { FAULT_KINDS, TRANSPORTS } from "./plan.ts";

/** With fewer connections, a kind of fault may not come at all. */
export const LEAST_CONNECTIONS = 1_000;
/** What comes beside the faults that a plan names. */
const TROUBLES = ["halfClose", "split", "stall"];

/** What is counted over the whole run. */
export class Statistics {
  connections = 0;
  /** How many there were at the same time. */
  most = 0;
  /** How many bytes had to arrive. */
  promised = 0;
  readonly faults = new Map<string, number>();
  readonly transports = new Map<string, number>();
  /** What the sides count. */
  readonly counts = { hookErrors: 0, received: 0 };
  /** How many errors were ExitNow, and left the loop. */
  exits = 0;

  add({ plan, fired, server, client, promised }: Connection): void {
    this.connections++;
    this.promised += promised;
    count(this.transports, plan.transport);
    if (plan.fault && fired) count(this.faults, plan.fault.kind);
    if (server.party === null) return;
    if (server.hasEndedWriting || client.hasEndedWriting) {
      count(this.faults, "halfClose");
    }
    if (plan.server.splits > 0) count(this.faults, "split");
    if (server.stalls + client.stalls > 0) count(this.faults, "stall");
  }

  addResets(number: number): void {
    count(this.faults, "resetBeforeAccept", number);
  }

  /** Each byte that is wrong, and the like, ends the soak before this. */
  judge(isWhole: boolean): Verdict[] {
    const verdicts: Verdict[] = [
      "Each byte that had to arrive has, unchanged, once and in order",
      "Each hook ran when it should, and none after close()",
      "What failed has cost its own connection alone",
    ].map((promise) => ({
      promise,
      wrong: this.promised > 0 ? null : "nothing was sent",
    }));
    if (!isWhole) return verdicts;
    const never = [...FAULT_KINDS, ...TROUBLES]
      .filter((kind) => !this.faults.has(kind));
    verdicts.push({
      promise: "Each kind of fault has come",
      wrong: never.length > 0 ? `never: ${never.join(", ")}` : null,
    });
    return verdicts;
  }

  /** The figures, in columns. */
  table(before: Figures, after: Figures): string {
    const { connections, most, counts } = this;
    const left = TRANSPORTS.filter((name) => missing(name) !== null)
      .map((name) => `, no ${name}: ${missing(name)}`).join("");
    const change = (show: (figures: Figures) => string | number) =>
      `${show(before)} before, ${show(after)} after`;
    const faults = [...this.faults].sort(([, a], [, b]) => b - a)
      .map(([name, times]) => [`  ${name}`, number(times)]);
    const rows = [
      ["connections", `${number(connections)} (${most} at the same time)`],
      ["by transport", `${list(this.transports)}${left}`],
      ["bytes checked", number(counts.received)],
      ["had to arrive", number(this.promised)],
      ["hook errors", `${number(counts.hookErrors)} (${this.exits} ExitNow)`],
      ["faults", ""],
      ...faults,
      ["descriptors", change(({ descriptors }) => descriptors)],
      ["dispatchers", change(({ dispatchers }) => dispatchers)],
      ["timers", change(({ timers }) => timers)],
      ["heap", change(({ heap }) => mib(heap))],
      ["buffers", change(({ buffers }) => mib(buffers))],
    ];
    const width = Math.max(...rows.map(([name]) => name!.length));
    return rows.map(([name, value]) => `${name!.padEnd(width)}  ${value}`)
      .map((row) => row.trimEnd()).join("\n");
  }
}

function count(counts: Map<string, number>, name: string, times = 1): void {
  counts.set(name, (counts.get(name) ?? 0) + times);
}

function list(counts: Map<string, number>): string {
  return [...counts].sort(([, a], [, b]) => b - a)
    .map(([name, times]) => `${name} ${number(times)}`).join(", ");
}

function number(count: number): string {
  return count.toLocaleString("en");
}
