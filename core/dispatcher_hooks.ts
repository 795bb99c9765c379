/**
 * What the loop calls, and what a class overrides: the hooks of a dispatcher,
 * its predicates and its log, with what they do by default; and the state of
 * its socket, which they look at.
 *
 * @module
 */

import { formatAddress, type SocketAddress } from "./address.ts";
import { type Acceptor, type Channel, closeQuietly } from "./channel.ts";
import type { HookResult, Pollable } from "./entry.ts";
import { type GateKind, sendPiece } from "./gate.ts";
import { lend } from "./holders.ts";
import type { Hooks } from "./hooks.ts";
import type { TimeoutKind } from "./limits.ts";
import { errorLine, type Logger, logLine, nameOf, printable } from "./log.ts";
import { logLimited } from "./own_lines.ts";
import { ExitNow, type Reactor } from "./reactor.ts";
import {
  ENTRY,
  GATE,
  HAND_OVER,
  HAS_OUTPUT,
  IGNORES,
  MAP,
  REACTOR,
  SEND_THROUGH,
  WAKE,
  WRITE_LINE,
} from "./symbols.ts";
import { isPromise } from "./thenable.ts";

/** The present life of a dispatcher's socket, as its hooks see it. */
export interface HookedEntry {
  readonly phase: string;
  readonly listens: boolean;
  readonly closed: boolean;
  readonly lingers: boolean;
  readonly closeReason: Error | null;
  /** What is wrapped. */
  readonly wrapped: Channel | Acceptor | null;
  readonly clientsGone: number;
  readonly addr: Deno.Addr | null;
  readonly localAddr: Deno.Addr | null;
  /** How long the connection may be silent, and last, in ms. */
  readonly options: { readonly idleTimeout: number; readonly lifetime: number };
  readonly hooks: Hooks;
  /** Whether the system has an error for it. Only a connection is asked. */
  hasError?(): boolean;
  /** How many connections to accept in this turn. */
  readonly acceptBatch: number;
  /** Ends it by `handleClose()`, for this reason. */
  closeBecause(reason: Error | null): void;
  /** Sends what waits for `send()` and `writable()`. */
  sendThrough(): void;
}

/** The map of a dispatcher, as its log sees it. */
export interface HookedMap {
  readonly logger: Logger | null;
  readonly [REACTOR]: Reactor;
}

/** A connection that {@linkcode Dispatcher.accept} took. */
export interface Accepted {
  /** The connection: hand it to a dispatcher, or close it. */
  conn: Channel;
  /** The client's address. */
  addr: SocketAddress;
}

/**
 * The hooks of a {@linkcode Dispatcher}, its log and its state: what the loop
 * calls, what a class may override, and what it does by default. This is a part
 * of every dispatcher, and not a class to derive from: derive from `Dispatcher`.
 */
export abstract class DispatcherHooks implements Pollable {
  // These lie on the prototype, as in Python: most programs never change them,
  // and thousands of connections share them.

  /**
   * Whether to log details that help to debug, such as the bytes sent. Any value
   * that JavaScript takes for true turns it on: a class may have a `debug` field
   * of any type.
   *
   * @default {false}
   */
  declare debug: unknown;
  /**
   * {@linkcode Dispatcher.logInfo} leaves out lines of these types. Each
   * dispatcher has a set of its own.
   *
   * @default {new Set(["warning"])}
   */
  declare ignoreLogTypes: Set<string>;
  /**
   * Gets this dispatcher's log. Without one, the logger of the map gets it, or
   * the console.
   *
   * @default {null}
   */
  declare logger: Logger | null;

  /** A line that must be seen is being logged: no type is ignored. */
  #isLoud = false;

  static {
    const plain = DispatcherHooks.prototype;
    plain.debug = false;
    plain.logger = null;
    Object.defineProperty(plain, "ignoreLogTypes", {
      configurable: true,
      get(this: DispatcherHooks): Set<string> {
        const types = new Set(["warning"]);
        // On a prototype it would be everybody's.
        if (#isLoud in this) this.ignoreLogTypes = types;
        return types;
      },
      set(this: DispatcherHooks, value: Set<string>): void {
        const own = { writable: true, enumerable: true, configurable: true };
        Object.defineProperty(this, "ignoreLogTypes", { value, ...own });
      },
    });
  }

  // What a dispatcher brings along

  /**
   * The present life of its socket, if any.
   *
   * @ignore
   */
  abstract get [ENTRY](): HookedEntry | null;

  /**
   * Its map, which an override of `map` cannot hide.
   *
   * @ignore
   */
  abstract get [MAP](): HookedMap;

  /** Takes the connection that waits: see {@linkcode Dispatcher.accept}. */
  abstract accept(): Accepted | null;

  /** Accepts bytes to be sent: see {@linkcode Dispatcher.send}. */
  abstract send(data: Uint8Array): number;

  /** Ends the writing direction: see {@linkcode Dispatcher.shutdownWrite}. */
  abstract shutdownWrite(): void;

  /** Leaves the map: see {@linkcode Dispatcher.close}. */
  abstract close(): void;

  /** Drops what was not sent: see {@linkcode Dispatcher.abort}. */
  abstract abort(): void;

  // State

  /** Whether the connection stands. `handleConnect()` runs just before that. */
  get connected(): boolean {
    return this[ENTRY]?.phase === "connected";
  }

  /** Whether it listens for connections. */
  get accepting(): boolean {
    return this[ENTRY]?.listens ?? false;
  }

  /** Whether a connection is being made. */
  get connecting(): boolean {
    return this[ENTRY]?.phase === "connecting";
  }

  /**
   * Whether it lingers: it is closed, but accepted bytes are still on their way,
   * or the peer has yet to end its side (see
   * {@linkcode DispatcherOptions.linger}).
   */
  get closing(): boolean {
    return this[ENTRY]?.lingers ?? false;
  }

  /**
   * The peer's address, or the one listened on; `null` before there is one. Of a
   * connection that could not be made, it is the address that was tried. It stays
   * readable after {@linkcode Dispatcher.close}.
   */
  get addr(): SocketAddress | null {
    return this[ENTRY]?.addr as SocketAddress ?? null;
  }

  /**
   * The address of this side, as `getsockname()` gives it in Python; `null` before
   * it is known: until the connection stands, or the listener is bound. It stays
   * readable after {@linkcode Dispatcher.close}.
   */
  get localAddr(): SocketAddress | null {
    return this[ENTRY]?.localAddr as SocketAddress ?? null;
  }

  /** The channel or the listener; `null` before there is one, and after `close()`. */
  get socket(): Channel | Acceptor | null {
    const entry = this[ENTRY];
    if (entry === null || entry.closed) return null;
    return entry.wrapped && lend(entry.wrapped);
  }

  /**
   * The error that ended the connection, such as a
   * `Deno.errors.ConnectionReset`; `null` while it stands, and when the peer
   * ended it in good order. Python's dispatchers do not have it.
   */
  get closeReason(): Error | null {
    return this[ENTRY]?.closeReason ?? null;
  }

  /** How many clients were gone again before this listener could accept them. */
  get clientsGone(): number {
    return this[ENTRY]?.clientsGone ?? 0;
  }

  // Predicates

  /** Whether to read or accept. Asked once in each pass where overridden. */
  readable(): boolean {
    return true;
  }

  /** Whether to write. Asked once in each pass where overridden. */
  writable(): boolean {
    return true;
  }

  // Hooks. Each may be async: until its promise settles, this dispatcher gets
  // no other event.

  /** The connection stands. */
  handleConnect(): HookResult {
    this.#logUnhandled("unhandled connect event");
  }

  /** {@linkcode Dispatcher.recv} has bytes, or the end of the stream. */
  handleRead(): HookResult {
    this.#logUnhandled("unhandled read event");
  }

  /** {@linkcode Dispatcher.send} will accept bytes. */
  handleWrite(): HookResult {
    this.#logUnhandled("unhandled write event");
  }

  /**
   * A connection waits for {@linkcode Dispatcher.accept}. By default it goes to
   * {@linkcode Dispatcher.handleAccepted}, and is closed if that throws. In a
   * pass in which many dispatchers have something to do, one call takes as many
   * connections as there are such dispatchers.
   */
  handleAccept(): HookResult {
    for (let left = this[ENTRY]?.acceptBatch ?? 1; left > 0; left--) {
      const pair = this.accept();
      if (pair === null) return;
      const result = this.#handOver(pair);
      // While it is pending, the others wait.
      if (isPromise(result)) return result;
      if (!this.accepting) return;
    }
  }

  #handOver({ conn, addr }: Accepted): HookResult {
    try {
      const result = this.handleAccepted(conn, addr);
      if (!isPromise(result)) return;
      return Promise.resolve(result).catch((error) =>
        dropAccepted(conn, error)
      );
    } catch (error) {
      dropAccepted(conn, error);
    }
  }

  /**
   * A connection was accepted: make a dispatcher of it. By default it is closed.
   * It is also closed when this throws, except an {@linkcode ExitNow}: that
   * leaves it open for the dispatcher that has taken it over.
   *
   * @param conn The connection. An override may name the type that it gets, such
   * as `Deno.TcpConn`, `Deno.TlsConn` or `Deno.UnixConn`.
   * @param _addr The client's address. An override may name the type that it gets,
   * such as `Deno.NetAddr` or `Deno.UnixAddr`.
   */
  handleAccepted(conn: Channel, _addr: Deno.Addr): HookResult {
    closeQuietly(conn);
    this.#logUnhandled("unhandled accepted event");
  }

  /**
   * The peer has ended its side, and
   * {@linkcode DispatcherOptions.allowHalfOpen} keeps ours open. By default our
   * side ends, too.
   */
  handleEnd(): HookResult {
    return this.shutdownWrite();
  }

  /**
   * The connection was idle for {@linkcode DispatcherOptions.idleTimeout}, or
   * has lasted for {@linkcode DispatcherOptions.lifetime}. By default a warning
   * says so, and the connection is over: `handleClose()` runs, and
   * {@linkcode Dispatcher.closeReason} is a `Deno.errors.TimedOut`. An override
   * that does not close is called again after another idle time. The lifetime
   * ends once. If it ends while another hook's promise is pending, the
   * connection has ended before this runs.
   *
   * @param kind Which of the two times is over.
   */
  handleTimeout(kind: TimeoutKind): HookResult {
    const reason = kind === "idle"
      ? `nothing read or written for ${this[ENTRY]?.options.idleTimeout} ms`
      : `the lifetime of ${this[ENTRY]?.options.lifetime} ms is over`;
    logLimited(this, {
      type: "warning",
      kind: `timeout: ${kind}`,
      text: (self) => `closing ${self}: ${reason}`,
    });
    this[ENTRY]?.closeBecause(new Deno.errors.TimedOut(reason));
  }

  /**
   * The program ends, by {@linkcode shutdown}: send the last words, and close.
   * By default the connection is over: `handleClose()` runs, and the accepted
   * bytes go out. A listener is closed without a hook. An override may close
   * later, until the deadline. A class that makes a new socket in
   * `handleClose()` overrides this as well. The call waits for the promise of
   * another hook, and outside of a map for {@linkcode Dispatcher.addChannel}.
   */
  handleShutdown(): HookResult {
    this[ENTRY]?.hooks.close();
  }

  /**
   * Urgent data has arrived: `recvUrgent()` of `@asyncore/asyncore/epoll` has the
   * byte. This runs once for each, whether the byte is taken or not, and whatever
   * the predicates say. Only the connections of `epollNetwork` tell of urgent data:
   * over Deno's network, the loop never calls this.
   */
  handleExpt(): HookResult {
    this.#logUnhandled("unhandled incoming priority event");
  }

  /**
   * The connection is over. This runs once, and the dispatcher is closed after
   * it, also when it throws or does not call `close()`. At the end of the stream
   * it runs inside of the `recv()` that finds the end; otherwise it waits for the
   * promise of another hook.
   */
  handleClose(): HookResult {
    this.#logUnhandled("unhandled close event");
    return this.close();
  }

  /**
   * A hook or a predicate threw, or an operation failed. By default the error
   * is logged and the connection is over.
   *
   * @param error The error, or whatever else was thrown.
   */
  handleError(error: unknown): HookResult {
    logLimited(this, {
      type: "error",
      kind: "uncaught exception",
      text: (self) =>
        `uncaught exception, closing channel ${self} ${errorLine(error)}`,
    });
    const entry = this[ENTRY];
    if (!entry) return this.handleClose();
    entry.closeBecause(error instanceof Error ? error : null);
  }

  // The layer above the hooks, which the loop calls.

  /** Something can be read or accepted. */
  handleReadEvent(): HookResult {
    return this[ENTRY]?.listens ? this.handleAccept() : this.handleRead();
  }

  /** Something can be written. */
  handleWriteEvent(): HookResult {
    return this.handleWrite();
  }

  /** The connection stands; when this is done, `connected` turns true. */
  handleConnectEvent(): HookResult {
    return this.handleConnect();
  }

  /** Urgent data has arrived, or an error with it: then the connection is over. */
  handleExptEvent(): HookResult {
    const entry = this[ENTRY];
    if (entry?.hasError?.()) entry.hooks.close();
    else return this.handleExpt();
  }

  // Logging

  /**
   * Logs a hit: by default to standard error, as `log: message`.
   *
   * @param message One line. As it may come from a peer, it is cut after 4,000
   * characters, and its control characters are written as escapes.
   * @throws The error of the logger. A rejection of its promise goes to
   * {@linkcode SocketMap.onError}.
   */
  log(message: string): void {
    const logger = this.logger ?? this[MAP].logger;
    const line = logLine(message);
    if (logger) this.#watch(logger.info(line));
    else console.error(`log: ${line}`);
  }

  /**
   * Logs what happens: by default to the console, as `type: message`. A logger
   * gets `debug`, `warning` and `error` by the methods of these names and
   * everything else as `info`.
   *
   * The library's own lines come here as well, so an override gets them too.
   * Their number is limited: see {@linkcode Logger}.
   *
   * @param message One line, as in {@linkcode Dispatcher.log}.
   * @param type The line is left out if this is among the `ignoreLogTypes`.
   * @throws As {@linkcode Dispatcher.log}.
   */
  logInfo(message: string, type: string = "info"): void {
    if (this.ignoreLogTypes.has(type) && !this.#isLoud) return;
    const logger = this.logger ?? this[MAP].logger;
    const line = logLine(message);
    if (logger === null) console.log(`${logLine(type)}: ${line}`);
    else if (type === "debug") this.#watch(logger.debug(line));
    else if (type === "warning") this.#watch(logger.warn(line));
    else if (type === "error") this.#watch(logger.error(line));
    else {
      const text = type === "info" ? line : `${logLine(type)}: ${line}`;
      this.#watch(logger.info(text));
    }
  }

  /**
   * Goes on with what waited for room, or for its turn.
   *
   * @ignore
   */
  [WAKE](): HookResult {
    this[ENTRY]?.sendThrough();
  }

  /** @ignore */
  [GATE](): GateKind {
    return "none";
  }

  /** @ignore */
  [SEND_THROUGH](data: Uint8Array): number {
    return sendPiece(this, data);
  }

  /** @ignore */
  [HAS_OUTPUT](): boolean {
    return false;
  }

  /** @ignore */
  [HAND_OVER](flush: () => void): Uint8Array | null {
    flush();
    return null;
  }

  /**
   * Whether nobody would see a line of this type.
   *
   * @ignore
   */
  [IGNORES](type: string): boolean {
    const isPlain = this.logInfo === DispatcherHooks.prototype.logInfo;
    return isPlain && this.ignoreLogTypes.has(type);
  }

  /**
   * Logs a line of the library's own. A loud one is written whatever types are
   * ignored, also where an override of `logInfo()` calls the one it overrides.
   *
   * @ignore
   */
  [WRITE_LINE](message: string, type: string, isLoud: boolean): unknown {
    const wasLoud = this.#isLoud;
    this.#isLoud ||= isLoud;
    try {
      return this.logInfo(message, type);
    } finally {
      this.#isLoud = wasLoud;
    }
  }

  /** Reports a logger that fails later. */
  #watch(result: unknown): void {
    this[MAP][REACTOR].follow(result);
  }

  #logUnhandled(event: string): void {
    logLimited(this, { type: "warning", kind: event, text: () => event });
  }

  /** The class, the state and the address: `<EchoServer listening [::1]:7>`. */
  toString(): string {
    const parts = [nameOf(this)];
    if (this[ENTRY]?.closed) parts.push(this[ENTRY].phase);
    else if (this.accepting) parts.push("listening");
    else if (this.connected) parts.push("connected");
    else if (this.connecting) parts.push("connecting");
    const address = this.addr && formatAddress(this.addr);
    if (address) parts.push(printable(address));
    return `<${parts.join(" ")}>`;
  }

  /** `console.log(dispatcher)` shows the text form. */
  [Symbol.for("Deno.customInspect")](): string {
    return this.toString();
  }
}

/** Closes a connection that `handleAccepted()` has failed to take over. */
function dropAccepted(conn: Channel, error: unknown): never {
  // An ExitNow is no failure: it leaves the loop, and changes nothing else.
  if (!(error instanceof ExitNow)) closeQuietly(conn);
  throw error;
}
