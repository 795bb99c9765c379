/**
 * The TLS handshake of a new connection, bounded in time.
 *
 * @module
 */

import { type CheckedChannel, closeQuietly } from "./channel.ts";
import { failureOf } from "./errors.ts";

/** Starts a timer that can be cancelled. */
export type StartTimer = (
  delay: number,
  callback: () => void,
) => { cancel(): void };

/**
 * Waits for the handshake of a channel, if it has one. If the handshake fails,
 * closes the channel.
 *
 * @throws {Deno.errors.TimedOut} If it takes more than `timeout` ms, even if the
 * channel's promise does not settle when the channel is closed.
 * @throws {Error} If the handshake fails.
 */
export async function shakeHands(
  { channel, shakesHands }: CheckedChannel,
  timeout: number,
  startTimer: StartTimer,
): Promise<void> {
  if (!shakesHands) return;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const timer = timeout === Infinity ? null : startTimer(timeout, () => {
    const message = `No TLS handshake within ${timeout} ms`;
    reject(new Deno.errors.TimedOut(message));
  });
  new Promise((resolve) => resolve(channel.handshake!())).then(
    () => resolve(),
    (error) => reject(failureOf("The channel's handshake()", error)),
  );
  try {
    await promise;
  } catch (error) {
    closeQuietly(channel);
    throw error;
  } finally {
    timer?.cancel();
  }
}
