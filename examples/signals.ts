/**
 * Ends the servers in good order at Ctrl-C, and at SIGTERM, which service
 * managers, containers and `kill` send.
 *
 * @module
 */

import { type Logger, shutdown } from "@asyncore/asyncore";

/** The ms that clients get to finish. */
const GRACE = 5_000;
/**
 * A signal within so many ms of another is its echo. One Ctrl-C, or one SIGTERM
 * of `timeout`, reaches all processes of a group, and `deno task` and the tools
 * of this repository pass signals on: a server gets it twice or more.
 */
export const ECHO = 500;
/** Windows has no SIGTERM. */
const SIGNALS: Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT"]
  : ["SIGINT", "SIGTERM"];

/**
 * Ends all connections at a signal, and so the loop. A second signal, of either
 * kind and later than {@linkcode ECHO}, does not wait for the clients.
 *
 * @returns Disposed of, it leaves the signals to Deno again.
 */
export function shutdownAtSignal(logger: Logger): Disposable {
  let deadline = GRACE;
  let echoesUntil = 0;
  const end = async (signal: Deno.Signal) => {
    const now = performance.now();
    if (now < echoesUntil) return;
    echoesUntil = now + ECHO;
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
