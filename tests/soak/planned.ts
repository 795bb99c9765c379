/** The errors that the soak throws itself. */

import { ExitNow } from "../../mod.ts";

/** An error that was planned. */
export class PlannedError extends Error {
  override name = "PlannedError";
}

/** The planned way out of the loop. */
export class PlannedExit extends ExitNow {
}

/** Tells whether an error is one of ours. */
export function isPlanned(error: unknown): boolean {
  return error instanceof PlannedError || error instanceof PlannedExit;
}
