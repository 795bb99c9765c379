/**
 * The end of a connection that has sent all it had: how it is closed so that
 * the peer receives all of it.
 *
 * @module
 */

import type { Channel } from "./channel.ts";
import type { Clock } from "./clock.ts";
import type { Inbound } from "./inbound.ts";

/** One that has spoken, and was not listened to since, may go on within this time, in ms. */
const FIRST_QUIET = 250;
/** One that was still sending has stopped when it is quiet for this long, in ms. */
const QUIET = 1_000;

/**
 * Reads and drops what the peer sends while it is to take what it is sent: a
 * peer that writes before it reads would wait for ever otherwise.
 */
export function discardInput(inbound: Inbound, clock: Clock): void {
  // A turn between two reads: a channel that always has something must not
  // keep the runtime from everything else.
  const again = {
    onReady: () =>
      clock.setImmediate(() => {
        if (inbound.closing || inbound.listener !== again) return;
        inbound.discard();
        inbound.arm();
      }),
  };
  inbound.listener = again;
  inbound.discard();
  inbound.arm();
}

/**
 * Ends the writing direction, then reads and drops what the peer still sends,
 * until it ends or falls quiet. The kernel answers bytes that nobody has read or
 * will read with a reset, and a reset throws away what the peer has not yet
 * taken (RFC 1122, section 4.2.2.13; RFC 9112, section 9.6).
 */
export async function drain(
  channel: Channel,
  inbound: Inbound,
  clock: Clock,
  mayGoOn: boolean,
): Promise<void> {
  if (!channel.closeWrite) return; // A file, say: closing it loses nothing.
  try {
    await channel.closeWrite();
  } catch {
    return; // The peer is gone already.
  }
  for (;;) {
    inbound.discard();
    const heard = inbound.discarded > 0;
    if (inbound.ended || inbound.unsupported || inbound.closing) return;
    inbound.arm();
    const silent = await new Promise<boolean>((resolve) => {
      // What lies in the kernel is read within a turn; only a peer that may be
      // talking is worth a real wait.
      const isWaiting = heard || mayGoOn;
      const timeout = isWaiting
        ? clock.setTimeout(() => resolve(true), heard ? QUIET : FIRST_QUIET)
        : clock.setImmediate(() => clock.setImmediate(() => resolve(true)));
      const onReady = () => {
        if (isWaiting) clock.clearTimeout(timeout);
        resolve(false);
      };
      inbound.listener = { onReady };
    });
    if (silent) return;
    await new Promise<void>((resolve) => clock.setImmediate(resolve));
  }
}
