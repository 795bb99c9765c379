/**
 * The TLS handshake as a part of connecting: bounded in time.
 *
 * @module
 */

import { type Channel, closeQuietly } from "./channel.ts";

/** Starts a timer that can be cancelled. */
export type StartTimer = (
  delay: number,
  callback: () => void,
) => { cancel(): void };

/**
 * Waits for the handshake of a channel that has one.
 *
 * @returns The channel. If the handshake fails, it is closed.
 * @throws {Deno.errors.TimedOut} If it takes more than `timeout` ms.
 * @throws Why else it failed.
 */
export async function secure(
  channel: Channel,
  timeout: number,
  startTimer: StartTimer,
): Promise<Channel> {
  if (!channel.handshake) return channel;
  let isLate = false;
  const timer = timeout === Infinity ? null : startTimer(timeout, () => {
    isLate = true;
    closeQuietly(channel);
  });
  try {
    await channel.handshake();
    return channel;
  } catch (error) {
    closeQuietly(channel);
    if (!isLate) throw error;
    throw new Deno.errors.TimedOut(`No TLS handshake within ${timeout} ms`);
  } finally {
    timer?.cancel();
  }
}
