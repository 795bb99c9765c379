/**
 * A `startTls()` that is refused.
 *
 * @module
 */

import type { DispatcherHooks } from "./dispatcher_hooks.ts";
import { describeError } from "./log.ts";
import { warn } from "./own_lines.ts";
import { ENTRY } from "./symbols.ts";

/**
 * The promise of a `startTls()` that is refused. If nobody awaits it, the
 * refusal is logged and does not end the process.
 */
export function refuseTls(
  dispatcher: DispatcherHooks,
  error: unknown,
): Promise<never> {
  const refusal = Promise.reject(error);
  refusal.catch(() => {
    const hooks = dispatcher[ENTRY]?.hooks;
    const tell = () => {
      if (hooks?.lastFailure === error) return;
      const message = `was refused startTls(), and goes on as it was: ${
        describeError(error)
      }`;
      warn(dispatcher, message, { kind: "no TLS" });
    };
    if (hooks) hooks.whenSettled(tell);
    else tell();
  });
  return refusal;
}
