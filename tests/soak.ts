/**
 * The soak: thousands of connections over real sockets, with random loads,
 * faults and errors in hooks, all drawn from a printed seed. Every byte that
 * should arrive is checked, and at the end all is as it was before:
 *
 *     deno task soak [MINUTES] [--seed SEED] [--only CONNECTION]
 *
 * With the number of a connection, only that one is made, again and again. The
 * first byte or hook that is wrong ends the soak. The last line counts what was
 * promised as tests are counted, and the exit code is 1 if something is wrong.
 *
 * It runs in a process of its own, so that this one can end it, whatever it
 * does.
 *
 * @module
 */

import {
  parseWhole,
  runCommand,
  UsageError,
} from "../examples/command_line.ts";
import { quote } from "../examples/quote.ts";
import { engineFlags } from "../tools/with_std.ts";
import type { Order } from "./soak/order.ts";

/** How long a soak may take, in ms, beyond twice its time. */
const GRACE = 60_000;
const USAGE = `\
Usage: deno task soak [MINUTES] [--seed SEED] [--only CONNECTION] [--help]

Runs thousands of connections with random loads and faults over real sockets.

  MINUTES            how long; by default 1
  --seed SEED        a number that all of it is drawn from; by default by chance
  --only CONNECTION  make only the one with this number, again and again`;

async function soak(order: Omit<Order, "directory">): Promise<number> {
  console.log(`seed ${order.seed}`);
  const directory = Deno.makeTempDirSync();
  const program = `${import.meta.dirname}/soak/run.ts`;
  const flags = ["-A", "--quiet", "--v8-flags=--expose-gc"];
  flags.push(...engineFlags(flags));
  try {
    const { code, signal } = await new Deno.Command(Deno.execPath(), {
      args: ["run", ...flags, program, JSON.stringify({ ...order, directory })],
      signal: AbortSignal.timeout(2 * order.minutes * 60_000 + GRACE),
    }).spawn().status;
    if (signal) console.log(`FAILED: its thread did not turn (${signal})`);
    return code;
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

/** How long, in minutes. */
function parseMinutes(text: string): number {
  const minutes = /^\d{1,4}(\.\d+)?$/.test(text) ? Number(text) : NaN;
  if (minutes > 0) return minutes;
  throw new UsageError(
    `MINUTES must be a number above 0 and below 10000, got ${quote(text)}`,
  );
}

/** The number that an option gives, or `null` without it. */
function parseNumber(name: string, text: string | undefined): number | null {
  return text === undefined ? null : parseWhole(name, text, 0, 9_999_999_999);
}

if (import.meta.main) {
  await runCommand({
    help: USAGE,
    options: { seed: { type: "string" }, only: { type: "string" } },
    operands: ["MINUTES"],
    isOptional: true,
  }, ({ seed, only }, [minutes = "1"]) =>
    soak({
      minutes: parseMinutes(minutes),
      only: parseNumber("--only", only),
      seed: parseNumber("--seed", seed) ??
        Math.floor(Math.random() * 2 ** 32),
    }));
}
