/**
 * A dispatcher's socket, from `createSocket()` to its end. A {@linkcode Socket} has
 * the parts that connections and listeners share: the place in a map, the hooks,
 * the timers, and the answers of the predicates. A new socket is neither of the
 * two, and waits to become one of them.
 *
 * @module
 */

import type { Role } from "./backpressure.ts";
import type { Acceptor, Channel } from "./channel.ts";
import type { DispatcherHooks } from "./dispatcher_hooks.ts";
import type { StartTimer } from "./handshake.ts";
import { type CloseWatch, Hooks, type HookTarget } from "./hooks.ts";
import { type Interest, interestOf } from "./interest.ts";
import { warnOfForgottenClose, watchClose } from "./forgotten_close.ts";
import { type About, warn } from "./own_lines.ts";
import { CachedAnswer, syncAnswer } from "./predicates.ts";
import type { Entry } from "./entry.ts";
import { warnOfPythonNames } from "./python_names.ts";
import type { Reactor } from "./reactor.ts";
import { type Releasable, Release } from "./release.ts";
import { ENTRY } from "./symbols.ts";
import { HeapTimer, TimerGroup } from "./timers.ts";

/** The options of a socket. Times are in ms. */
export interface SocketSettings {
  /** How long a closed connection lingers while its peer is inactive. */
  linger: number;
  /** How long connecting may take, without the handshake. */
  connectTimeout: number;
  /** How long a handshake may take. */
  handshakeTimeout: number;
  /** This side can still write when the peer has ended its side. */
  allowHalfOpen: boolean;
  /** By default, `connect()` makes a client; every other connection is a server. */
  role: Role | undefined;
  /** How long nothing may be read or written. */
  idleTimeout: number;
  /** How long the connection may last. */
  lifetime: number;
  /** How many connections a listener may have at the same time. */
  maxConnections: number;
}

/** The arguments of a socket. */
export interface SocketParts {
  readonly pollable: DispatcherHooks;
  readonly reactor: Reactor;
  readonly options: SocketSettings;
  /** The timers that end with it, if any. */
  readonly timers: TimerGroup | null;
}

/** The time of a socket's map. */
export interface SocketTime {
  now(): number;
  startTimer: StartTimer;
}

/** One socket of a dispatcher. */
export class Socket implements Entry, HookTarget, Releasable {
  readonly pollable: DispatcherHooks;
  readonly options: SocketSettings;
  readonly hooks: Hooks;
  reactor: Reactor;
  joined = false;
  place = -1;
  queued = false;
  writeQueued = false;
  readQueued = false;
  /** Its dispatcher has closed it, or it has become another socket. */
  closed = false;
  addr: Deno.Addr | null = null;
  /** The events that its class is interested in; known from its first pass on. */
  interest: Interest | null = null;
  /** It is out of its map because bind(), listen() or connect() has thrown. */
  #hasFailed = false;
  /** The dispatcher's socket before, while a hook of that one is busy. */
  former: Socket | null = null;
  /** The reason why this side has closed it, if there is one. */
  ownReason: Error | null = null;
  /** Its `readable()` wants to read. */
  wantsRead = true;
  protected wantsWrite = true;
  /** The reactor's tick at the last write event. */
  protected idleTick = -1;
  /** A hook's promise is pending, so no event comes until it settles. */
  held = false;
  /** The events that wait until it is in a map and no hook's promise is pending. */
  protected due: (() => void)[] | null = null;
  /** Made with the first timer: most connections never have one. */
  #timers: TimerGroup | null;
  /** Made with the first operation of the system that is counted. */
  #release: Release | null = null;
  /** The socket that this one has become. */
  successor: Socket | null = null;
  /** It has heard of shutdown(). */
  isShutDown = false;
  /** The callbacks that run when this socket is closed. */
  #whenEnded: (() => void)[] | null = null;

  /** @param former The socket that becomes this one. */
  constructor(parts: SocketParts, former: Socket | null = null) {
    this.pollable = parts.pollable;
    this.reactor = parts.reactor;
    this.options = parts.options;
    this.hooks = former?.hooks ?? new Hooks();
    if (former === null) {
      this.hooks.target = this;
      this.#timers = parts.timers;
    } else {
      this.#timers = former.#timers;
      this.held = former.held;
      this.due = former.due;
      this.isShutDown = former.isShutDown;
      this.#whenEnded = former.#whenEnded;
      this.ownReason = former.ownReason;
      this.former = former.former;
      former.former = null;
    }
  }

  /** Its state, in a word for messages. */
  get phase(): string {
    return this.closed ? "closed" : "created";
  }

  /** It takes connections. */
  get listens(): boolean {
    return false;
  }

  /** Its predicates are asked in each pass. */
  get asks(): boolean {
    return this.interest !== null && this.interest.asks;
  }

  /** The address of this side, once it is known. */
  get localAddr(): Deno.Addr | null {
    return null;
  }

  /** The channel or the acceptor that the dispatcher wraps. */
  get wrapped(): Channel | Acceptor | null {
    return null;
  }

  /** How many clients left, or failed at their handshake, before they were accepted. */
  get clientsGone(): number {
    return 0;
  }

  /** How many connections an accept event may take. */
  get acceptBatch(): number {
    return 1;
  }

  /** It is in a map, and handleClose() was not called, so it may get events. */
  get mayTell(): boolean {
    return this.joined && !this.hooks.hasClosed;
  }

  /** The error that ended it, if one did. */
  get closeReason(): Error | null {
    return this.ownReason;
  }

  /** Makes its hooks wait for those of the socket before: they run one at a time. */
  succeed(before: Socket): void {
    const former = before.hooks.isBusy ? before : before.former;
    before.former = null; // A chain of all sockets before would never end.
    if (!former?.hooks.isBusy) return;
    this.former = former;
    former.hooks.precede(this.hooks);
  }

  /**
   * The socket that a running hook works with. In the midst of a hook, recv() may
   * run handleClose(), which may make a new socket: the hook still works with its
   * own one.
   */
  get ofRunningHook(): Socket {
    const former = this.former;
    if (former === null) return this;
    const { isBusy, isCloseDone } = former.hooks;
    if (isBusy && (isCloseDone || this.phase === "created")) return former;
    if (!isBusy) this.former = null;
    return this;
  }

  // The map and its time

  /** Registers with `reactor`, and leaves the reactor before. */
  join(reactor: Reactor): void {
    this.#hasFailed = false;
    if (this.joined && this.reactor === reactor) return;
    this.reactor.leave(this);
    if (this.reactor !== reactor) {
      this.reactor.forget(this, reactor);
      this.idleTick = -1; // Each reactor counts its own.
      this.#timers?.moveTo(reactor.timers);
      if (this.reactor.givenClock !== reactor.givenClock) {
        this.shiftTime(reactor.clock.now() - this.reactor.clock.now());
      }
      this.reactor = reactor;
    }
    reactor.join(this);
  }

  /** The map's clock is replaced by one that shows `change` ms more. */
  protected shiftTime(_change: number): void {}

  /** Puts `next` in its place in the map. */
  become<T extends Socket>(next: T): T {
    this.closed = true;
    this.successor = next;
    this.hooks.target = next;
    if (this.joined) this.reactor.replace(this, next);
    else if (this.#hasFailed) next.join(this.reactor);
    return next;
  }

  /**
   * Takes it out of its map until an attempt to open it succeeds. If the attempt
   * was in a constructor that throws, the dispatcher must not keep a loop going.
   */
  fail(): void {
    if (!this.joined) return;
    this.reactor.leave(this);
    this.#hasFailed = true;
  }

  /** The timers that end with this socket. */
  get timers(): TimerGroup {
    if (this.#timers === null) {
      this.#timers = new TimerGroup();
      if (this.closed) this.#timers.end();
    }
    return this.#timers;
  }

  /** The time of the map, even after a move to another map. */
  get time(): SocketTime {
    return {
      now: () => this.reactor.clock.now(),
      startTimer: (delay, callback) => this.startTimer(delay, callback),
    };
  }

  /** Starts a timer, by default one that ends with this socket. */
  startTimer(
    delay: number,
    callback: () => void,
    group: TimerGroup = this.timers,
  ): HeapTimer {
    const { timers } = this.reactor;
    const timer = new HeapTimer(timers, delay, false, callback, group);
    timer.reset();
    return timer;
  }

  /** Runs `callback` in the next pass, even if a hook's promise is pending. */
  callSoon(callback: () => void): void {
    this.startTimer(0, () => this.runOutsideHooks(callback));
  }

  /** Puts it on the ready list. */
  queue(): void {
    if (this.joined) this.reactor.queue(this);
  }

  /** Logs a warning for the operator. */
  warn(message: string, about: About = {}): void {
    this.reactor.outside(() => warn(this.pollable, message, about));
  }

  // Hooks

  hold(isHeld: boolean): void {
    this.held = isHeld;
    this.reactor.predicates.remember(this, CachedAnswer.unknown);
  }

  /**
   * Runs `tell` in the loop, as soon as it is in a map and no hook's promise is
   * pending.
   *
   * @param isFirst Whether it comes before the events that wait already.
   */
  whenMay(tell: () => void, isFirst = false): void {
    const due = this.due ??= [];
    if (isFirst) due.unshift(tell);
    else due.push(tell);
    this.queue();
  }

  /** Dispatches one event that had to wait. The others follow, one a turn. */
  protected tellDue(): void {
    const tell = this.due!.shift()!;
    if (this.due!.length === 0) this.due = null;
    this.reactor.queue(this);
    tell();
  }

  /** Runs code that may call an override. handleError() gets its error in a turn. */
  runOutsideHooks(run: () => void): void {
    try {
      run();
    } catch (error) {
      const tell = () => this.hooks.fail(error);
      if (this.closed) this.reactor.outside(tell);
      else this.whenMay(tell);
    }
  }

  /** Runs `handleClose()`, with a reason of this side. */
  closeBecause(reason: Error | null): void {
    this.ownReason ??= reason;
    this.hooks.close();
  }

  /** Runs `handleShutdown()`, once, when no hook's promise is pending. */
  shutdown(): void {
    if (this.isShutDown) return;
    this.isShutDown = true;
    const tell = () => this.hooks.run((it) => it.handleShutdown());
    if (this.hooks.mayRun) tell();
    else this.whenMay(tell);
  }

  resume(): void {
    this.reactor.tick++;
    this.queue();
  }

  watchClose(): CloseWatch | null {
    return watchClose(this.pollable);
  }

  // The calls of the loop

  enter(): void {
    const interest = this.#lookAtClass();
    if (interest === null) return;
    this.interest = interest;
    // In Python, a class that overrides handleWrite() but not writable() is called
    // in each pass, and the loop never waits. Here, after a handleWrite() that
    // wrote nothing, it is called again only when an event has come since.
    if (this.hasNews) this.reactor.queue(this);
    if (!this.asks && !this.held) this.watch();
    warnOfPythonNames(this.pollable);
  }

  /** The interest of the class; `null` if a getter in the place of a method throws. */
  #lookAtClass(): Interest | null {
    try {
      return interestOf(this.pollable);
    } catch (error) {
      this.hooks.closeWithError(error);
      return null;
    }
  }

  /** An event came before the first pass. */
  protected get hasNews(): boolean {
    return this.due !== null;
  }

  ask(readable?: unknown): void {
    if (this.held) return;
    const { asksReadable, asksWritable, writes } = this.interest!;
    const { pollable } = this;
    let reads: boolean;
    let isToWrite: boolean;
    try {
      reads = asksReadable
        ? syncAnswer("readable", readable ?? pollable.readable())
        : !this.isHeldBack;
      if (!this.joined) return;
      isToWrite = asksWritable
        ? syncAnswer("writable", pollable.writable())
        : writes && this.idleTick !== this.reactor.tick;
    } catch (error) {
      this.refuse(error);
      return;
    }
    this.#want(reads, isToWrite);
  }

  answer(readable: boolean, writable: boolean): void {
    try {
      syncAnswer("readable", readable);
      syncAnswer("writable", writable);
    } catch (error) {
      this.refuse(error);
      return;
    }
    this.#want(readable, writable);
  }

  refuse(error: unknown): void {
    // If handleError() leaves it open, it goes on, and is asked again.
    const goOn = () => this.#want(this.wantsRead, false);
    this.hooks.inAnyCase(() => this.hooks.fail(error), goOn);
  }

  #want(reads: boolean, isToWrite: boolean): void {
    this.wantsRead = reads;
    this.wantsWrite = isToWrite;
    if (!this.joined) return;
    if (reads && !this.isWatching) this.reactor.turns.readSoon(this);
    this.offerWrite();
    this.#remember();
  }

  #remember(): void {
    this.reactor.predicates.remember(this, this.#cachedAnswer);
  }

  /** Whether the same answers of the predicates would leave nothing to do. */
  get #cachedAnswer(): CachedAnswer {
    const { asksWritable, hasBackpressure } = this.interest!;
    if (this.wantsWrite || this.held || !asksWritable || hasBackpressure) {
      return CachedAnswer.unknown;
    }
    if (!this.wantsRead) return CachedAnswer.idle;
    return this.isWatching ? CachedAnswer.reading : CachedAnswer.unknown;
  }

  /** Backpressure: it does not read, because many bytes wait to be sent. */
  get isHeldBack(): boolean {
    return this.interest !== null && this.interest.hasBackpressure &&
      !syncAnswer("readable", this.pollable.readable());
  }

  startReading(): void {
    if (!this.joined || this.held || !this.wantsRead) return;
    this.watch();
    if (this.asks) this.#remember();
  }

  read(): void {
    if (this.held || this.interest === null) return;
    if (this.due !== null) this.tellDue();
  }

  write(): void {}

  startSending(): void {}

  /** Sends what waits for `send()` and `writable()`. */
  sendThrough(): void {}

  /** A read or an accept is in flight, so the loop will be told. */
  protected get isWatching(): boolean {
    return false;
  }

  /** Starts a read or an accept, so that the loop is told of its result. */
  protected watch(): void {}

  /** Asks for a write event, if it wants one and there is room. */
  protected offerWrite(): void {}

  // Ending

  get lingers(): boolean {
    return false;
  }

  get hasLost(): boolean {
    return false;
  }

  get isBusy(): boolean {
    return false;
  }

  get releaseTimeout(): number {
    return this.options.linger;
  }

  /** The operations of the system that hold it. */
  get release(): Release {
    return this.#release ??= new Release(this);
  }

  /** Runs `then` when this socket is closed or aborted. */
  whenEnded(then: () => void): void {
    (this.#whenEnded ??= []).push(then);
  }

  /** Leaves the map at once. Accepted bytes go out in the background. */
  close(): void {
    this.leave();
  }

  /** Closes it if an override of the dispatcher's `close()` has not, and warns. */
  closeAnyway(): void {
    if (this.closed) return;
    this.close();
    warnOfForgottenClose(this.pollable);
  }

  /** Closes at once, and drops unsent bytes. */
  abort(reason: Error | null = null): void {
    if (!this.closed) this.ownReason ??= reason;
    this.leave();
  }

  /** Leaves the map for good. */
  protected leave(): void {
    if (this.closed) return;
    this.closed = true;
    this.reactor.leave(this);
    this.#timers?.end();
    this.due = null;
    const whenEnded = this.#whenEnded;
    this.#whenEnded = null;
    for (const then of whenEnded ?? []) then();
  }

  takeBack(): boolean {
    const heir = this.#freshHeir;
    if (heir === null) return false;
    try {
      this.regain(heir);
    } catch { // It has bytes that cannot be given up.
      heir.abort();
      return false;
    }
    this.join(this.reactor);
    return true;
  }

  /** The socket that goes on for this one, if its dispatcher has had no turn. */
  get #freshHeir(): Socket | null {
    if (this.pollable[ENTRY] !== this) return null; // There is a new socket.
    let heir = this.successor;
    while (heir?.successor) heir = heir.successor;
    return heir === null || heir.closed || heir.interest !== null ? null : heir;
  }

  /** Opens it again, with what it has handed to `_heir`. */
  protected regain(_heir: Socket): void {
    this.closed = false;
    this.successor = null;
    this.#timers = null;
  }

  waitForRelease(): void {
    this.release.waitForRelease();
  }

  onFree(): void {}
}
