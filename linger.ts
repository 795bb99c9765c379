/**
 * The end of a connection that has sent all it had: how it is closed so that
 * the peer receives all of it.
 *
 * @module
 */

import type { Channel } from "./channel.ts";
import type { Clock } from "./clock.ts";
import type { Inbound } from "./inbound.ts";

/** A peer that was still sending has stopped when it is quiet for this long, in ms. */
const QUIET = 200;

/**
 * Reads and drops what the peer sends while it is to take what it is sent: a
 * peer that writes before it reads would wait for ever otherwise.
 */
export function discardInput(inbound: Inbound, clock: Clock): void {
  // A turn between two reads: a channel that always has something must not
  // keep the runtime from everything else.
  const again = () =>
    clock.setImmediate(() => {
      if (inbound.closing || inbound.onReady !== again) return;
      inbound.discard();
      inbound.arm();
    });
  inbound.onReady = again;
  inbound.discard();
  inbound.arm();
}

/**
 * Ends the writing direction, then reads and drops what the peer still sends,
 * until it ends or falls quiet. The kernel answers a close with a reset when
 * there are bytes that nobody has read, and a reset throws away what the peer
 * has not yet received (RFC 1122, section 4.2.2.13).
 */
export async function drain(
  channel: Channel,
  inbound: Inbound,
  clock: Clock,
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
      // What lies in the kernel is read within a turn; only a peer known to be
      // talking is worth a real wait.
      const timeout = heard
        ? clock.setTimeout(() => resolve(true), QUIET)
        : clock.setImmediate(() => clock.setImmediate(() => resolve(true)));
      inbound.onReady = () => {
        if (heard) clock.clearTimeout(timeout);
        resolve(false);
      };
    });
    if (silent) return;
    await new Promise<void>((resolve) => clock.setImmediate(resolve));
  }
}
