/**
 * How the servers end: at Ctrl-C, in good order.
 *
 * @module
 */

import { type Logger, shutdown } from "@asyncore/asyncore";

/** How many ms the clients get to finish. */
const GRACE = 5_000;

/**
 * Ends all connections at Ctrl-C, and so the loop. A second Ctrl-C does not
 * wait for the clients.
 *
 * @returns What takes Ctrl-C back.
 */
export function shutdownAtCtrlC(logger: Logger): Disposable {
  let deadline = GRACE;
  const onSignal = async () => {
    logger.info("SIGINT: closing");
    const ended = shutdown({ deadline });
    deadline = 0;
    const { aborted } = await ended;
    if (aborted > 0) {
      logger.info(
        `${aborted} connection${aborted > 1 ? "s were" : " was"} cut`,
      );
    }
  };
  Deno.addSignalListener("SIGINT", onSignal);
  return {
    [Symbol.dispose]: () => Deno.removeSignalListener("SIGINT", onSignal),
  };
}
