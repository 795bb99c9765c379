/**
 * STARTTLS: an established connection becomes a TLS connection.
 *
 * @module
 */

import { checkText } from "./arguments.ts";
import {
  asChannel,
  type Channel,
  type CheckedChannel,
  received,
} from "./channel.ts";
import type { DispatcherHooks } from "./dispatcher_hooks.ts";
import type { StartTlsOptions } from "./dispatcher_options.ts";
import type { Hooks } from "./hooks.ts";
import { describeError, textOf } from "./log.ts";
import type { Network } from "./network.ts";
import type { OptionNames } from "./option_names.ts";
import { warn } from "./own_lines.ts";
import { CONNECTION, ENTRY, MAP } from "./symbols.ts";
import { checkTls, TLS_OPTIONS, type TlsOptions } from "./tls_options.ts";
import type { Pollable } from "./entry.ts";
import type { Reactor } from "./reactor.ts";
import type { Release } from "./release.ts";
import type { Reader } from "./source.ts";
import { inheritClose } from "./channel_end.ts";
import type { Writer } from "./writer.ts";

/** A connection, as far as this module needs it. */
export interface Upgradable {
  readonly pollable: Pollable;
  readonly reactor: Reactor;
  readonly hooks: Hooks;
  readonly writer: Writer;
  /** How many accepted bytes have yet to leave for the peer. */
  readonly pending: number;
  readonly source: Reader | null;
  readonly release: Release;
  checked: CheckedChannel | null;
  readonly closed: boolean;
  /** The host name that `connect()` got, if it was called. */
  readonly hostname: string | undefined;
  /** Its channel was closed. */
  readonly isReleased: boolean;
  /** Its writing direction has ended, or will end after the accepted bytes. */
  readonly hasEndedWriting: boolean;
  /** Waits for the handshake of a channel. */
  shakeHands(checked: CheckedChannel): Promise<void>;
  /** Uses another channel from now on. */
  attach(checked: CheckedChannel): void;
  /** Gives it a turn in the loop, to tell of a failure. */
  queue(): void;
}

/** A dispatcher with a connection to secure. */
interface Conversing extends DispatcherHooks {
  readonly [MAP]: DispatcherHooks[typeof MAP] & { readonly network: Network };
  [CONNECTION](action: string): Upgradable;
}

/** `cert` and `key` are refused with a reason. */
const START_TLS_OPTIONS: OptionNames<StartTlsOptions & TlsOptions> = {
  ...TLS_OPTIONS,
  hostname: true,
};

/**
 * Asks for TLS over the connection of a dispatcher.
 */
export function requestTls(
  dispatcher: Conversing,
  options: StartTlsOptions,
): Promise<void> {
  try {
    checkTls(options, START_TLS_OPTIONS, "");
    if ((options as TlsOptions).cert !== undefined) {
      throw new TypeError(
        'Cannot start TLS with a certificate: Deno shows one only on a socket of transport "tls"',
      );
    }
    const connection = dispatcher[CONNECTION]("start TLS");
    const asked = connection.hostname || hostOf(dispatcher.addr);
    const { hostname = asked, ...tls } = options;
    if (!connection.closed && hostname === "") {
      // Deno would check the name "localhost" instead.
      const message = "Cannot start TLS: hostname must not be empty";
      return endWithoutTls(connection, new TypeError(message));
    }
    if (!connection.closed) checkText("hostname", hostname);
    return startTls(connection, dispatcher[MAP].network, hostname, tls);
  } catch (error) {
    return refuseTls(dispatcher, error);
  }
}

/** The host of a peer, for a connection that was not made by `connect()`. */
function hostOf(addr: Deno.Addr | null): string {
  return addr && "hostname" in addr ? addr.hostname : "";
}

/**
 * The promise of a refused `startTls()`. A warning tells of the refusal unless
 * `handleError()` got it. If nobody awaits the promise, the process goes on.
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

/** The obstacle that the peer causes, or an attacker between. */
const UNREAD = "unencrypted bytes wait to be read";

/**
 * Turns a connection into a TLS connection. No event comes meanwhile, and bytes
 * that are sent meanwhile go out afterwards.
 *
 * @throws {Error} If unencrypted bytes are under way, or it cannot use TLS.
 */
function startTls(
  connection: Upgradable,
  network: Network,
  hostname: string,
  tls: TlsOptions,
): Promise<void> {
  const obstacle = findObstacle(connection, network);
  if (obstacle !== null) {
    const error = new Error(
      `Cannot start TLS: ${textOf(connection.pollable)}: ${obstacle}`,
    );
    if (obstacle === UNREAD) return endWithoutTls(connection, error);
    throw error;
  }
  const { writer, release, hooks, checked } = connection;
  let opening: Promise<Channel>;
  try {
    opening = network.startTls!(checked!.channel, hostname, tls);
  } catch (error) {
    // Over another network, the same program has TLS: the next bytes are secret.
    if (!(error instanceof Deno.errors.NotSupported)) throw error;
    return endWithoutTls(connection, error);
  }
  writer.detach();
  const upgrade = goOnWith(connection, opening);
  release.track(upgrade.catch((error: Error) => {
    writer.fail(error);
    connection.queue();
  }));
  hooks.hold(upgrade);
  return upgrade;
}

/**
 * Ends a connection that cannot have the TLS that it asked for. Its next bytes are
 * secret, and the bytes that have arrived may come from an attacker.
 */
export function endWithoutTls(
  connection: Upgradable,
  reason: Error,
): Promise<never> {
  connection.source?.discard();
  connection.writer.detach();
  connection.writer.fail(reason);
  connection.queue();
  const refusal = Promise.reject(reason);
  refusal.catch(() => {}); // handleError() gets the error in any case.
  return refusal;
}

function findObstacle(
  { closed, checked, writer, pending, source, hasEndedWriting }: Upgradable,
  network: Network,
): string | null {
  if (closed || checked === null) return "it is not connected";
  if (writer.isDetached) return "another handshake is under way";
  if (checked.shakesHands) return "it speaks TLS already";
  if (hasEndedWriting) return "its writing direction has ended";
  if (!network.startTls) return "its network has no startTls()";
  if (source!.isWatching) return "a read is in flight: call it inside a hook";
  if (source!.available > 0) return UNREAD;
  if (pending > 0) return "unencrypted bytes are being sent";
  return null;
}

async function goOnWith(
  connection: Upgradable,
  opening: Promise<Channel>,
): Promise<void> {
  const name = "The network's TLS connection";
  const checked = received(asChannel, name, await opening);
  inheritClose(connection.checked!.channel, checked.channel);
  connection.checked = checked;
  if (connection.isReleased) connection.release.close(checked.channel);
  await connection.shakeHands(checked);
  connection.attach(checked);
}
