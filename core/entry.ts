/**
 * The engine's view of a dispatcher: {@linkcode Pollable} has the hooks and
 * predicates that the engine calls, {@linkcode Entry} is the state of its socket.
 *
 * @module
 */

import type { Asked } from "./predicates.ts";

/**
 * The result of a hook: anything, so that `return this.send(data)` is fine. If it
 * is a promise, the dispatcher gets no other event until the promise settles; a
 * rejection goes to `handleError()`.
 */
// Only with `any` may an override return a number, and another one return what
// the hook that it overrides has returned.
// deno-lint-ignore no-explicit-any
export type HookResult = any;

/**
 * A member of a {@linkcode SocketMap}: the part of a dispatcher that the loop
 * calls. Every `Dispatcher` is a `Pollable`.
 */
export interface Pollable {
  /** Whether the connection is established. */
  readonly connected: boolean;
  /** Whether it is a listener that takes connections. */
  readonly accepting: boolean;
  /** Whether an attempt to connect is under way. */
  readonly connecting: boolean;
  /** Whether it is closed, and still sends or waits for the peer to end its side. */
  readonly closing: boolean;
  /** The address of the peer, or of the listener. */
  readonly addr: Deno.Addr | null;
  /** Whether it wants to read (or accept). */
  readable(): boolean;
  /** Whether it wants to write. */
  writable(): boolean;
  /** Runs when there are bytes to read, or connections to accept. */
  handleReadEvent(): HookResult;
  /** Runs when bytes can be written. */
  handleWriteEvent(): HookResult;
  /** Runs when the connection is established. */
  handleConnectEvent(): HookResult;
  /** Runs when the connection is over. */
  handleClose(): HookResult;
  /** Runs when a hook or a predicate has thrown, or an operation has failed. */
  handleError(error: unknown): HookResult;
  /** Logs a hit, such as a request. */
  log(message: string): void;
  /** Logs a message of a type, such as `"warning"`. */
  logInfo(message: string, type?: string): void;
  /** Leaves the map. Accepted bytes still go out. */
  close(): void;
  /** Leaves the map, and drops unsent bytes. */
  abort(): void;
}

/** The state of a dispatcher's socket, as the engine needs it. */
export interface Entry extends Asked {
  /** The dispatcher. */
  readonly pollable: Pollable;
  /** The engine that it is registered with. */
  readonly reactor: object;
  /** It is registered, so it may get events. */
  joined: boolean;
  /** Each pass asks its predicates. */
  readonly asks: boolean;
  /** It is on the ready list. */
  queued: boolean;
  /** It is on the list of entries that get a write event. */
  writeQueued: boolean;
  /** It is on the list of entries that are read again. */
  readQueued: boolean;
  /** Runs in its first pass after it has joined the map. */
  enter(): void;
  /** Dispatches a connect, a read or an accept. */
  read(): void;
  /** Dispatches a write. */
  write(): void;
  /** Starts to send accepted bytes. */
  startSending(): void;
  /** Starts to read or accept. */
  startReading(): void;
  /** Runs `handleShutdown()`. */
  shutdown(): void;
  /** The entry that this one has become. */
  readonly successor: Entry | null;
  /** It has heard of the end of the program. */
  readonly isShutDown: boolean;
  /** Closes the socket without the dispatcher's `close()`. Accepted bytes go out. */
  close(): void;
  /** Closes the socket if an override of `close()` has not done so, and warns. */
  closeAnyway(): void;
  /** Closes the socket without the dispatcher's `close()`, and drops unsent bytes. */
  abort(reason?: Error): void;
  /** After many turns, an operation of the closed socket is still in flight. */
  waitForRelease(): void;
  /** It is a listener that takes connections. */
  readonly listens: boolean;
  /** It is closed, and lingers for its accepted bytes. */
  readonly lingers: boolean;
  /** Accepted bytes did not reach the peer, as far as this side can know. */
  readonly hasLost: boolean;
}
