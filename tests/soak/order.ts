/** What the soak is to do, and what it says when something is wrong. */

import { ExitNow } from "../../mod.ts";

export interface Order {
  seed: number;
  minutes: number;
  /** The one connection to make again and again, or `null` for all. */
  only: number | null;
  /** Where the Unix sockets are. */
  directory: string;
}

export const order: Order = JSON.parse(Deno.args[0]!);

/** Says what is wrong, and on a connection of which plan; and ends the soak. */
export function complain(text: string, plan: number | null = null): never {
  const { seed, minutes, only } = order;
  const again = `deno task soak ${minutes} --seed ${seed}`;
  console.log(`\nWRONG: ${text}\n\nThe same again: ${again}`);
  if (plan !== null) {
    console.log(
      `Nothing but such connections: ${again} --only ${only ?? plan}`,
    );
  }
  Deno.exit(1);
}

/** An error that was planned. */
export class PlannedError extends Error {
  override name = "PlannedError";
}

/** The planned way out of the loop. */
export class PlannedExit extends ExitNow {}

/** Tells whether an error is one of ours. */
export function isPlanned(error: unknown): boolean {
  return error instanceof PlannedError || error instanceof PlannedExit;
}
