/**
 * The options of dispatchers: defaults and checks.
 *
 * @module
 */

import { checkBoolean, checkMilliseconds, showValue } from "./arguments.ts";
import type { SocketSettings } from "./socket.ts";
import type { SocketOptions } from "./network.ts";
import type { OptionNames } from "./option_names.ts";
import { NO_OPTIONS } from "./socket_options.ts";
import { REACTOR } from "./symbols.ts";
import type { TlsOptions } from "./tls_options.ts";

/** How a connection behaves, and how long it may take: a part of {@linkcode DispatcherOptions}. */
export interface ConnectionOptions {
  /**
   * How long, in milliseconds, a closed connection waits for a peer that neither
   * takes, sends nor ends anything. The accepted bytes go out, the writing
   * direction ends, and input is read and dropped until the peer ends its side,
   * too. For the system resets a TCP connection that is closed with unread input,
   * and the peer then loses bytes that it has not yet read, megabytes perhaps. A
   * peer that goes on talking and takes nothing is cut after six times as long.
   * A warning tells of lost bytes.
   *
   * On `epollNetwork`, the system tells what a TCP peer has acknowledged. A peer
   * that takes nothing for `linger` is cut, though it talks; a peer that takes
   * something is waited for, though it is silent; and a peer that has ended its
   * side is waited for until it has acknowledged everything. The warning tells how
   * many bytes it had not acknowledged. The system goes on sending those that it
   * holds, so they may still arrive.
   *
   * A connection that has sent nothing does not wait; a Unix socket or a file
   * waits only until all is written. At 0, `close()` drops unsent bytes.
   *
   * @default {5_000}
   */
  linger?: number | undefined;
  /**
   * Whether writing goes on when the peer has ended its side. Then `recv()` at
   * the end of the stream runs {@linkcode Dispatcher.handleEnd} instead of
   * `handleClose()`, which follows when both sides have ended.
   *
   * @default {false}
   */
  allowHalfOpen?: boolean | undefined;
  /**
   * Which side of the conversation this one is, for classes that buffer what
   * they send ({@linkcode DispatcherWithSend}, {@linkcode AsyncChat}). A
   * `"server"` is not read while {@linkcode
   * DispatcherWithSendOptions.highWaterMark} bytes wait to be sent: a peer that
   * asks and never takes the answers costs no more memory than that. A
   * `"client"` is always read: one that sends many requests before it takes the
   * answers would wait for ever for a server that does the same.
   *
   * A connection that was not read for five seconds for that reason, while its
   * peer took nothing, brings one warning.
   *
   * @default {`"client"` for what `connect()` makes; else `"server"`: for what
   * a listener accepted, in a wrapper or not, and for channels from elsewhere}
   */
  role?: "server" | "client" | undefined;
  /**
   * How long, in milliseconds, a connection may stand without anything being
   * read or written, before {@linkcode Dispatcher.handleTimeout} runs. The time
   * in which a hook's promise is pending, or the dispatcher is in no map, does
   * not count. A move to a map with another clock starts it anew.
   *
   * @default {Infinity}
   */
  idleTimeout?: number | undefined;
  /**
   * How long, in milliseconds, a connection may last in all, before
   * {@linkcode Dispatcher.handleTimeout} runs. It protects against a peer that
   * sends or takes a byte now and then. This limit does not wait for hooks, or for
   * a dispatcher that is in no map: the connection ends at its time, and
   * `handleTimeout()` and `handleClose()` run when the pending hook has settled
   * and the dispatcher is in a map. A closed connection whose lifetime is over lingers for at most one more
   * {@linkcode DispatcherOptions.linger}.
   *
   * @default {Infinity}
   */
  lifetime?: number | undefined;
}

/** The names of the options of a connection. */
export const CONNECTION_OPTIONS: OptionNames<ConnectionOptions> = {
  linger: true,
  allowHalfOpen: true,
  role: true,
  idleTimeout: true,
  lifetime: true,
};

/** The names of the options of a `Dispatcher`. */
export const DISPATCHER_OPTIONS = { ...CONNECTION_OPTIONS, map: true } as const;

/** The names of the options of a `DispatcherWithSend`. */
export const WITH_SEND_OPTIONS = {
  ...DISPATCHER_OPTIONS,
  highWaterMark: true,
} as const;

/** Options of {@linkcode Dispatcher.startTls}. */
export interface StartTlsOptions extends Omit<TlsOptions, "cert" | "key"> {
  /**
   * The name that the peer's certificate must be for.
   *
   * @default {the host that `connect()` was given}
   */
  hostname?: string | undefined;
}

/** In ms. At 0, which elsewhere means "never", nothing could ever be read. */
const SHORTEST_TIMEOUT = 1;

/** What each connection of a dispatcher begins with. */
export type ConnectionSettings = Pick<
  SocketSettings,
  "linger" | "allowHalfOpen" | "role" | "idleTimeout" | "lifetime"
>;

/** Most dispatchers are made without options, and share these. */
const DEFAULT_SETTINGS: ConnectionSettings = {
  linger: 5_000,
  allowHalfOpen: false,
  role: undefined,
  idleTimeout: Infinity,
  lifetime: Infinity,
};
const DEFAULTS: SocketSettings = {
  ...DEFAULT_SETTINGS,
  connectTimeout: Infinity,
  handshakeTimeout: 10_000,
  maxConnections: Infinity,
};

/** The options of a socket's connection: a dispatcher's and those of `createSocket()`. */
export function socketSettings(
  connection: ConnectionSettings,
  options: SocketOptions,
): SocketSettings {
  if (connection === DEFAULT_SETTINGS && options === NO_OPTIONS) {
    return DEFAULTS;
  }
  const { connectTimeout = DEFAULTS.connectTimeout } = options;
  const { handshakeTimeout = DEFAULTS.handshakeTimeout } = options;
  const { maxConnections = DEFAULTS.maxConnections } = options;
  return { ...connection, connectTimeout, handshakeTimeout, maxConnections };
}

/**
 * Checks the options of a dispatcher.
 *
 * @throws {TypeError} If one has the wrong type.
 * @throws {RangeError} If a time is NaN or negative, or a timeout 0.
 */
export function connectionSettings(
  options: ConnectionOptions,
): ConnectionSettings {
  const { linger = DEFAULT_SETTINGS.linger } = options;
  const { allowHalfOpen = DEFAULT_SETTINGS.allowHalfOpen } = options;
  const { role, idleTimeout = Infinity, lifetime = Infinity } = options;
  const isDefault = linger === DEFAULT_SETTINGS.linger &&
    allowHalfOpen === false &&
    role === undefined && idleTimeout === Infinity && lifetime === Infinity;
  if (isDefault) return DEFAULT_SETTINGS;
  checkMilliseconds("linger", linger);
  checkBoolean("allowHalfOpen", allowHalfOpen);
  checkMilliseconds("idleTimeout", idleTimeout, { min: SHORTEST_TIMEOUT });
  checkMilliseconds("lifetime", lifetime, { min: SHORTEST_TIMEOUT });
  if (role !== undefined && role !== "server" && role !== "client") {
    throw new TypeError(
      `role must be "server" or "client", got ${showValue(role)}`,
    );
  }
  return { linger, allowHalfOpen, role, idleTimeout, lifetime };
}

/**
 * Refuses options and maps in the place of a channel, which Python's
 * `dispatcher(map=…)` suggests.
 *
 * @throws {TypeError} If `channel` is one of them.
 */
export function refuseOptionsFirst(channel: unknown): void {
  if (typeof channel !== "object" || channel === null) return;
  const isPlain = Object.getPrototypeOf(channel) === Object.prototype;
  const methods = ["read", "write", "close", "accept"];
  const isOptions = REACTOR in channel ||
    isPlain && !methods.some((name) => name in channel);
  if (!isOptions) return;
  throw new TypeError(
    `channel must be a channel, a listener or null, got ${
      showValue(channel)
    }: ` +
      "options come second, as in new Dispatcher(null, { map })",
  );
}
