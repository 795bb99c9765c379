/**
 * How the servers end: in good order at Ctrl-C, and at SIGTERM, which service
 * managers, containers and `kill` send.
 *
 * @module
 */

import { type Logger, shutdown } from "@asyncore/asyncore";

/** How many ms the clients get to finish. */
const GRACE = 5_000;
/** Windows has no SIGTERM. */
const SIGNALS: Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT"]
  : ["SIGINT", "SIGTERM"];

/**
 * Ends all connections at a signal, and so the loop. A second signal, of either
 * kind, does not wait for the clients.
 *
 * @returns Disposed of, it leaves the signals to Deno again.
 */
export function shutdownAtSignal(logger: Logger): Disposable {
  let deadline = GRACE;
  const end = async (signal: Deno.Signal) => {
    logger.info(`${signal}: closing`);
    const ended = shutdown({ deadline });
    deadline = 0;
    const { aborted } = await ended;
    if (aborted > 0) {
      logger.info(
        `${aborted} connection${aborted > 1 ? "s were" : " was"} cut`,
      );
    }
  };
  const listeners = SIGNALS.map((signal) =>
    [signal, () => end(signal)] as const
  );
  for (const [signal, listener] of listeners) {
    Deno.addSignalListener(signal, listener);
  }
  return {
    [Symbol.dispose]() {
      for (const [signal, listener] of listeners) {
        Deno.removeSignalListener(signal, listener);
      }
    },
  };
}
