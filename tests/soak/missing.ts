/** What cannot be had on this machine. */

import type { Transport } from "./plan.ts";

/** Why a kind of socket cannot be had here, or nothing. */
export function missing(transport: Transport): string | null {
  if (transport === "unix" && Deno.build.os === "windows") {
    return "Deno has no Unix sockets on Windows";
  }
  return null;
}
