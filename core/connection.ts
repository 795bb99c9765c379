/**
 * One life of a dispatcher's socket, from `createSocket()` to its end: what
 * state it is in, what it has read and accepted, and how each event reaches
 * the hooks.
 *
 * @module
 */

import { type AcceptEvents, Accepting } from "./accepting.ts";
import {
  type Acceptor,
  asChannel,
  type Channel,
  type CheckedChannel,
  closeQuietly,
  failureOf,
  isDisconnect,
  isReset,
  received,
} from "./channel.ts";
import type { Clock } from "./clock.ts";
import { Deadlines, type TimeoutKind } from "./limits.ts";
import { Closing } from "./closing.ts";
import { describeError, textOf } from "./log.ts";
import { secure, type StartTimer } from "./handshake.ts";
import { type CloseWatch, type Hook, Hooks, type HookTarget } from "./hooks.ts";
import type { Interest } from "./interest.ts";
import { Inbound, type InboundEvents } from "./reader.ts";
import { explain, type Network, type TlsOptions } from "./network.ts";
import type { About } from "./own_lines.ts";
import { Outbound, type OutboundEvents } from "./writer.ts";
import { atOnce, Settled } from "./predicates.ts";
import type { Entry, Pollable, Reactor } from "./reactor.ts";
import { LONGEST_STALL, Stall } from "./stall.ts";
import { HeapTimer, TimerGroup } from "./timers.ts";
import { inheritClose } from "./watch_close.ts";

/** A sender that has this many bytes on their way is not writable. */
const WRITABLE_BELOW = 64 * 1024;
/** How long a broken connection may still deliver what the peer sent, in ms. */
const LAST_WORDS = 250;

const NO_BYTES = new Uint8Array(0);
/** Why not to start TLS, where it is the peer's doing, or somebody's in between. */
const UNREAD = "unencrypted bytes wait to be read";

const READ: Hook = (pollable) => pollable.handleReadEvent();
const WRITE: Hook = (pollable) => pollable.handleWriteEvent();
const CONNECT: Hook = (pollable) => pollable.handleConnectEvent();

/** Where a socket is in its life. */
export type Phase =
  | "created"
  | "bound"
  | "listening"
  | "connecting"
  | "connected"
  | "closed";

/**
 * Which side of a conversation a connection is. The server is not read while
 * too much waits to be sent; a client always is, as two ends that do so would
 * wait for one another.
 */
export type Role = "server" | "client";

/** How a connect ended. */
type Outcome = { checked: CheckedChannel } | { error: unknown };

/** How a connection is to be made, and to end. */
export interface EndpointOptions {
  /** How long a closed connection tries to send without progress, in ms. */
  linger: number;
  /** How long connecting may take, in ms. */
  connectTimeout: number;
  /** How long a handshake may take, in ms. */
  handshakeTimeout: number;
  /** Writing goes on after the peer's end of the stream. */
  allowHalfOpen: boolean;
  /** Without one, what this side connects is a client, everything else a server. */
  role: Role | undefined;
  /** How long nothing may be read or written, in ms. */
  idleTimeout: number;
  /** How long the connection may last, in ms. */
  lifetime: number;
  /** How many connections a listener may have at the same time. */
  maxConnections: number;
}

/** What endpoints need of dispatchers: the same for all of them. */
export interface Owner {
  /** Looks at the class, in the first pass, when the constructor has run. */
  interest(of: Pollable): Interest;
  /** Reports what an operator must see, whatever log types are ignored. */
  warn(of: Pollable, message: string, about: About): void;
  /** The peer has ended its side, and ours stays open. */
  handleEnd(of: Pollable): unknown;
  /** The connection was silent for too long, or lasted too long. */
  handleTimeout(of: Pollable, kind: TimeoutKind): unknown;
  /** The program ends. */
  handleShutdown(of: Pollable): unknown;
  /** Notes whether `close()` is called, where the class overrides it. */
  watchClose(of: Pollable): CloseWatch | null;
  /** An override of `close()` has left the connection open. */
  closeForgotten(of: Pollable): void;
}

/** One socket of a dispatcher. */
export class Endpoint
  implements Entry, HookTarget, InboundEvents, OutboundEvents {
  joined = false;
  reactor: Reactor;
  readonly pollable: Pollable;
  phase: Phase = "created";
  #interest: Interest | null = null;
  /** It is out of its map because nothing came of it. */
  #hasFailed = false;
  #wantsRead = true;
  #wantsWrite = true;
  #held = false;
  /** A read is in flight, so none has to be started. */
  #armed = false;
  /** A write event is to be given. */
  #writeDue = false;

  asks = false;
  place = -1;
  queued = false;
  writeQueued = false;
  readQueued = false;
  readonly hooks: Hooks = new Hooks(this);
  readonly outbound: Outbound;
  addr: Deno.Addr | null = null;
  acceptor: Acceptor | null = null;
  accepting: Accepting | null = null;
  /** Why this side gave the connection up, if it did. */
  givenUp: Error | null = null;
  /** A broken write is no news while what the peer sent waits for a reader. */
  waitsForReader = false;
  /** Runs when this life ends, however it does. */
  onEnd: (() => void) | null = null;

  /** Made with the first timer: most connections never have one. */
  #timers: TimerGroup | null;
  readonly #owner: Owner;
  readonly #options: EndpointOptions;
  /** How much had been accepted when the last write event was given. */
  #acceptedBefore = 0;
  /** What the hook that runs, or whose promise is pending, was told. */
  #event: "read" | "write" | null = null;
  #inbound: Inbound | null = null;
  #checked: CheckedChannel | null = null;
  #attempt: AbortController | null = null;
  #outcome: Outcome | null = null;
  /** A connection that is at its handshake. */
  #securing: Channel | null = null;
  /** How many bytes waited when the last read event was given. */
  #waitedBefore = 0;
  /** The last read event took nothing. */
  #tookNothing = false;
  /** Somebody has called recv() and got something. */
  #hasReceived = false;
  #failureTold = false;
  #lastWords: HeapTimer | null = null;
  /** The reactor's activity when the last fruitless write event was given. */
  #seen = -1;
  #awaitsRoom = false;
  /** When no more than this is pending, `#onDrain` is due; -1 for never. */
  #drainAt = -1;
  #drainDue = false;
  #onDrain: Hook | null = null;
  /** What it accepted is still on its way, though it is closed or about to be. */
  #closing: Closing | null = null;
  /** It was closed for the system as well, as far as that is up to us. */
  #isReleased = false;
  #isAborted = false;
  /** It broke before it was closed, which its dispatcher has heard. */
  #isLossTold = false;
  #lostBehind = 0;
  /** How many operations are in flight besides a read and a write. */
  #operations = 0;
  /** A timeout that waits for operations which the system does not end. */
  #stopHolding: (() => void) | null = null;
  /** Events that wait until it is in a map and no hook's promise is pending. */
  #due: (() => void)[] | null = null;
  #deadlines: Deadlines | null = null;
  #isShutDown = false;
  #role: Role;
  /** Made when the connection is held back for the first time. */
  #stall: Stall | null = null;
  /** The end of the peer's stream was told, and writing goes on. */
  #endTold = false;
  #writeEnded = false;
  /** What is to be sent goes out to its end, whenever the peer's side ends. */
  #isFinishing = false;

  constructor(
    pollable: Pollable,
    owner: Owner,
    reactor: Reactor,
    timers: TimerGroup | null,
    options: EndpointOptions,
  ) {
    this.pollable = pollable;
    this.#owner = owner;
    this.reactor = reactor;
    this.#timers = timers;
    this.#options = options;
    this.#role = options.role ?? "server";
    this.outbound = new Outbound(this);
  }

  get channel(): Channel | null {
    return this.#checked === null ? null : this.#checked.channel;
  }

  get closed(): boolean {
    return this.phase === "closed";
  }

  get listens(): boolean {
    return this.phase === "listening";
  }

  /** It is in a map, and its end has not been told: there may be more to tell. */
  get mayTell(): boolean {
    return this.joined && !this.hooks.hasClosed;
  }

  /** The timers that end with this life. */
  get timers(): TimerGroup {
    if (this.#timers === null) {
      this.#timers = new TimerGroup();
      if (this.closed) this.#timers.end();
    }
    return this.#timers;
  }

  /** Closed, with accepted bytes still on their way. */
  get closing(): boolean {
    return this.closed && this.#closing !== null && !this.#isReleased;
  }

  get held(): boolean {
    return this.#held;
  }
  set held(isHeld: boolean) {
    this.#held = isHeld;
    this.reactor.predicates.settle(this, Settled.never);
  }

  /** Says what was accepted, and is given up because a producer is before it. */
  loseBehind(bytes: number): void {
    this.#lostBehind = bytes;
    this.warn(
      `was closed and lost ${bytes} bytes that waited for a producer`,
      { kind: "was closed and lost bytes behind a producer", lost: bytes },
    );
  }

  /** Something that was accepted did not reach the peer, as far as one can tell. */
  get hasLost(): boolean {
    return this.outbound.lost + this.#lostBehind > 0 || this.#wasReset ||
      this.#wasCut;
  }

  /** The peer has reset the connection: the kernel dropped what it still held. */
  get #wasReset(): boolean {
    return this.outbound.written > 0 && isReset(this.#inbound?.reason);
  }

  /** It ended while its peer was talking, which is answered with a reset. */
  get #wasCut(): boolean {
    return this.#closing?.isCut ?? false;
  }

  /** The error that ended the connection, if one did. */
  get closeReason(): Error | null {
    return this.givenUp ?? this.#inbound?.reason ?? this.outbound.error;
  }

  /** Registers with `reactor`, leaving the one before. */
  join(reactor: Reactor): void {
    this.#hasFailed = false;
    if (this.joined && this.reactor === reactor) return;
    if (!this.joined) this.#deadlines?.touch();
    this.reactor.leave(this);
    if (this.reactor !== reactor) {
      this.reactor.forget(this, reactor);
      this.#timers?.moveTo(reactor.timers);
      if (this.reactor.givenClock !== reactor.givenClock) {
        this.#changeClock(reactor.clock);
      }
      this.reactor = reactor;
    }
    reactor.join(this);
  }

  #changeClock(clock: Clock): void {
    const change = clock.now() - this.reactor.clock.now();
    this.#deadlines?.shift(change);
    this.accepting?.shift(change);
  }

  // Opening

  /**
   * Runs what makes something of a new socket: a listener, a connection. Where
   * it throws, nobody may hold the dispatcher any more, as its constructor has
   * thrown: so the socket becomes what it was when it was created, and leaves
   * its map until something comes of it.
   */
  attempt(open: () => void): void {
    try {
      open();
    } catch (error) {
      if (this.phase === "created" || this.phase === "bound") this.#unbind();
      throw error;
    }
    if (this.#hasFailed) this.join(this.reactor);
  }

  #unbind(): void {
    if (this.acceptor) closeQuietly(this.acceptor);
    this.acceptor = this.addr = null;
    this.phase = "created";
    if (!this.joined) return;
    this.reactor.leave(this);
    this.#hasFailed = true;
  }

  /** Takes over a channel that is connected. */
  adopt(checked: CheckedChannel): void {
    this.phase = "connected";
    this.addr = checked.addr;
    this.#attach(checked);
    this.#startDeadlines();
  }

  /** Takes over a listener. */
  bind(acceptor: Acceptor): void {
    this.phase = "bound";
    this.acceptor = acceptor;
    this.addr = acceptor.addr;
  }

  /** Starts to take connections. */
  listen(): void {
    this.phase = "listening";
    const { maxConnections } = this.#options;
    const warn = (isPaused: boolean, reason: string) =>
      this.warn(
        isPaused
          ? `accepting paused (${reason}): existing connections go on, new ones wait`
          : "accepting resumed",
      );
    const events: AcceptEvents = {
      ready: () => this.reactor.queue(this),
      wanted: () => this.joined && this.#wantsRead,
      ...this.#time(),
      exhausted: (isOn, error) => warn(isOn, describeError(error)),
      full: (isOn) => warn(isOn, `maxConnections, ${maxConnections}, reached`),
      secure: (checked) => this.#secure(checked),
    };
    this.accepting = new Accepting(this.acceptor!, maxConnections, events);
    this.opened();
  }

  /** There is something to wait for since now, where it is in a map already. */
  opened(): void {
    if (!this.joined || this.#interest === null) return; // enter() is to come.
    if (this.asks) this.reactor.notice();
    else this.#armRead();
  }

  /** Says what an operator must see. */
  warn(message: string, about: About = {}): void {
    this.reactor.outside(() => this.#owner.warn(this.pollable, message, about));
  }

  #secure(checked: CheckedChannel): Promise<void> {
    const { handshakeTimeout } = this.#options;
    return secure(checked, handshakeTimeout, this.#time().startTimer);
  }

  /** Starts to connect; the outcome is an event. */
  connect(
    address: Deno.Addr,
    network: Network,
    tls: TlsOptions | undefined,
  ): void {
    this.phase = "connecting";
    this.#role = this.#options.role ?? "client";
    this.addr = address;
    const attempt = this.#attempt = new AbortController();
    const { signal } = attempt;
    const timer = this.#watchConnect(attempt);
    this.#track(
      new Promise<Channel>((resolve) => {
        resolve(network.connect(address, { signal, tls }));
      }).then(async (channel) => {
        timer?.cancel();
        if (!signal.aborted) {
          const name = "The network's connection";
          const checked = received(asChannel, name, channel);
          this.#securing = channel;
          await this.#secure(checked);
          return checked;
        }
        this.#closeChannel(channel); // It came after all, but too late.
        throw signal.reason;
      }).then(
        (checked) => {
          this.#securing = null;
          this.#onOutcome({ checked });
        },
        (error) => {
          timer?.cancel();
          if (attempt === this.#attempt) this.#onOutcome({ error });
        },
      ),
    );
  }

  /** Not every attempt can be given up: its end is not waited for. */
  #watchConnect(attempt: AbortController): HeapTimer | null {
    const { connectTimeout } = this.#options;
    if (connectTimeout === Infinity) return null;
    return this.#startTimer(connectTimeout, () => {
      const message = `No connection within ${connectTimeout} ms`;
      const error = new Deno.errors.TimedOut(message);
      this.#attempt = null;
      attempt.abort(error);
      this.#onOutcome({ error });
    });
  }

  #onOutcome(outcome: Outcome): void {
    if ("error" in outcome) explain(outcome.error, "connect to", this.addr!);
    if (!this.closed) {
      this.#outcome = outcome;
      if (this.joined) this.reactor.queue(this);
    } else if ("error" in outcome) {
      if (!this.#isReleased) this.#connectFailed(outcome.error);
    } else if (this.closing) {
      // Bytes accepted before the connection stood are still to go out.
      this.#attach(outcome.checked);
    } else this.#closeChannel(outcome.checked.channel);
  }

  #connectFailed(error: unknown): void {
    this.outbound.fail(failureOf("connect()", error));
  }

  /**
   * Turns the connection into a TLS one. No event comes meanwhile, and what is
   * sent goes out afterwards.
   *
   * @throws {Error} If something unencrypted is still under way.
   */
  startTls(network: Network, hostname: string, tls: TlsOptions): Promise<void> {
    const { outbound } = this;
    const obstacle = this.#tlsObstacle(network);
    if (obstacle !== null) {
      const error = new Error(
        `Cannot start TLS: ${textOf(this.pollable)}: ${obstacle}`,
      );
      if (obstacle === UNREAD) return this.refuseTls(error);
      throw error;
    }
    const tlsChannel = network.startTls!(this.channel!, hostname, tls);
    outbound.detach();
    const upgrade = this.#upgrade(tlsChannel);
    this.#track(upgrade.catch((error: Error) => {
      outbound.fail(error);
      if (this.joined) this.reactor.queue(this);
    }));
    this.hooks.hold(upgrade);
    return upgrade;
  }

  /**
   * Ends the connection of one that counts on TLS and must not have it: what it
   * says next is not for everybody, and what has arrived may be anybody's.
   */
  refuseTls(reason: Error): Promise<never> {
    this.#inbound?.discard();
    this.outbound.detach();
    this.outbound.fail(reason);
    if (this.joined) this.reactor.queue(this);
    const refusal = Promise.reject(reason);
    refusal.catch(() => {}); // handleError() is told, whether it is awaited or not.
    return refusal;
  }

  #tlsObstacle({ startTls }: Network): string | null {
    const inbound = this.#inbound;
    if (this.closed || this.channel === null) return "it is not connected";
    if (this.outbound.isDetached) return "another handshake is under way";
    if (this.#checked!.shakesHands) return "it speaks TLS already";
    if (this.#writeEnded) return "its writing direction has ended";
    if (!startTls) return "its network has no startTls()";
    if (inbound!.reading) return "a read is in flight: call it inside a hook";
    if (inbound!.available > 0) return UNREAD;
    if (this.outbound.pending > 0) return "unencrypted bytes are being sent";
    return null;
  }

  async #upgrade(tlsChannel: Promise<Channel>): Promise<void> {
    const name = "The network's TLS connection";
    const checked = received(asChannel, name, await tlsChannel);
    const { channel } = checked;
    inheritClose(this.channel!, channel);
    this.#checked = checked;
    if (this.#isReleased) this.#closeChannel(channel);
    await this.#secure(checked);
    this.#attach(checked);
  }

  #attach(checked: CheckedChannel): void {
    this.#checked = checked;
    this.#inbound = new Inbound(checked, this);
    this.outbound.attach(checked.channel);
    this.#closing?.attach(checked, this.#inbound);
  }

  #startDeadlines(): void {
    const { idleTimeout, lifetime } = this.#options;
    if (idleTimeout === Infinity && lifetime === Infinity) return;
    this.#deadlines = new Deadlines(this.#options, {
      ...this.#time(),
      expired: (kind) => this.#onExpired(kind),
    });
  }

  #onExpired(kind: TimeoutKind): void {
    const tell = () => {
      this.reactor.activity++;
      this.hooks.run((it) => this.#owner.handleTimeout(it, kind));
    };
    if (this.joined && !this.held) tell();
    // While a hook's promise is pending, the silence is on our side; but no
    // hook makes a life longer.
    else if (kind === "lifetime") this.#cut(tell);
  }

  /** Ends the connection at once; the hooks hear of it when they may. */
  #cut(tell: () => void): void {
    const { lifetime } = this.#options;
    const reason = `the lifetime of ${lifetime} ms is over`;
    const { hooks } = this;
    if (!hooks.hasClosed) this.givenUp ??= new Deno.errors.TimedOut(reason);
    this.#endConnection(false);
    const end = () => hooks.whenSettled(() => hooks.closeForGood());
    this.whenMay(() => hooks.inAnyCase(tell, end), true);
  }

  /**
   * Runs `tell` in the loop, in a map and when no hook's promise is pending;
   * before what waits for that already, if it `isFirst`.
   */
  whenMay(tell: () => void, isFirst = false): void {
    const due = this.#due ??= [];
    if (isFirst) due.unshift(tell);
    else due.push(tell);
    if (this.joined) this.reactor.queue(this);
  }

  /** Runs what is no hook and may call an override: its error has its turn. */
  runOutsideHooks(run: () => void): void {
    try {
      run();
    } catch (error) {
      const tell = () => this.hooks.fail(error);
      if (this.closed) this.reactor.outside(tell);
      else this.whenMay(tell);
    }
  }

  /** Has the connection end, by `handleClose()`, with a reason of our own. */
  giveUp(reason: Error | null): void {
    this.givenUp ??= reason;
    this.hooks.close();
  }

  /** Runs `handleShutdown()`, once, when no hook's promise is pending. */
  shutdown(): void {
    if (this.#isShutDown) return;
    this.#isShutDown = true;
    const tell = () => this.hooks.run((it) => this.#owner.handleShutdown(it));
    if (this.hooks.mayRun) tell();
    else this.whenMay(tell);
  }

  /** A read has ended. */
  onReady(): void {
    this.#armed = false;
    this.reactor.predicates.settle(this, Settled.never);
    if (this.#isReleased) {
      this.#lookWhetherFree();
      return;
    }
    if (this.#deadlines !== null) this.#deadlines.touch();
    if (this.#lastWords !== null) {
      this.#lastWords.cancel();
      this.#lastWords = null;
    }
    if (this.joined) this.reactor.queue(this);
  }

  /** Time as this connection's map has it, for those who wait. */
  #time(): { now(): number; startTimer: StartTimer } {
    return {
      now: () => this.reactor.clock.now(),
      startTimer: (delay, callback) => this.#startTimer(delay, callback),
    };
  }

  #startTimer(delay: number, callback: () => void): HeapTimer {
    const { timers } = this.reactor;
    const timer = new HeapTimer(timers, delay, false, callback, this.timers);
    timer.reset();
    return timer;
  }

  /** Runs `callback` in the next pass, whatever hook's promise is pending. */
  callSoon(callback: () => void): void {
    this.#startTimer(0, () => this.runOutsideHooks(callback));
  }

  // The loop's side

  enter(): void {
    const interest = this.#lookAtClass();
    if (interest === null) return;
    this.#interest = interest;
    // Who overrides handleWrite() but not writable() would be called in each
    // pass, as in Python, and keep the loop from ever waiting. It is called
    // when something happened since it last had nothing to write.
    this.asks = interest.asksReadable || interest.asksWritable ||
      interest.writes;
    if (this.#outcome || this.outbound.failed || this.#due) {
      this.reactor.queue(this);
    }
    if (this.#drainDue) this.reactor.queueWrite(this);
    if (!this.asks && !this.held) this.#armRead();
  }

  /** A getter in the place of a method may throw: then there is no telling. */
  #lookAtClass(): Interest | null {
    try {
      return this.#owner.interest(this.pollable);
    } catch (error) {
      this.hooks.failForGood(error);
      return null;
    }
  }

  ask(readable?: unknown): void {
    if (this.held) return;
    const { asksReadable, asksWritable, writes } = this.#interest!;
    const { pollable } = this;
    let reads: boolean;
    let isToWrite: boolean;
    try {
      reads = asksReadable
        ? atOnce("readable", readable ?? pollable.readable())
        : !this.isFull;
      if (!this.joined) return;
      isToWrite = asksWritable
        ? atOnce("writable", pollable.writable())
        : writes && this.#seen !== this.reactor.activity;
    } catch (error) {
      this.refuse(error);
      return;
    }
    this.#want(reads, isToWrite);
  }

  answer(readable: boolean, writable: boolean): void {
    try {
      atOnce("readable", readable);
      atOnce("writable", writable);
    } catch (error) {
      this.refuse(error);
      return;
    }
    this.#want(readable, writable);
  }

  refuse(error: unknown): void {
    // One that stays open is asked again, and goes on with what has arrived.
    const goOn = () => this.#want(this.#wantsRead, false);
    this.hooks.inAnyCase(() => this.hooks.fail(error), goOn);
  }

  #want(reads: boolean, isToWrite: boolean): void {
    this.#wantsRead = reads;
    this.#wantsWrite = isToWrite;
    this.#writeDue = false;
    if (!this.joined) return;
    if (reads && !this.#armed) this.reactor.readSoon(this);
    if (isToWrite && this.phase === "connected") this.#offerWrite();
    this.#settle();
  }

  #settle(): void {
    this.reactor.predicates.settle(this, this.#settled);
  }

  /** What there is to do if the predicates give the same answers again. */
  get #settled(): Settled {
    const { asksWritable, pacesItself } = this.#interest!;
    if (this.#wantsWrite || this.held || !asksWritable || pacesItself) {
      return Settled.never;
    }
    if (!this.#wantsRead) return Settled.idle;
    return this.#armed ? Settled.reading : Settled.never;
  }

  /** The peer takes nothing of what it is sent, so nothing is taken from it. */
  get isFull(): boolean {
    return this.#interest !== null && this.#interest.pacesItself &&
      !atOnce("readable", this.pollable.readable());
  }

  /** Whether to read, where `isFull` tells that much waits to be sent. */
  mayRead(isFull: boolean): boolean {
    const isHeldBack = isFull && this.#role === "server";
    if (isHeldBack) this.#stall ??= this.#watchStall();
    this.#stall?.set(isHeldBack);
    return !isHeldBack;
  }

  #watchStall(): Stall {
    return new Stall(this.reactor.timers, this.timers, () => {
      // It may not have been asked since its peer took what was waiting.
      if (atOnce("readable", this.pollable.readable())) return false;
      this.warn(
        `was not read for ${LONGEST_STALL} ms, as much waits to be sent and ` +
          "its peer takes nothing. Where this side is the client, give it the " +
          'option role: "client"',
      );
      return true;
    });
  }

  startSending(): void {
    this.outbound.start();
  }

  startReading(): void {
    if (!this.joined || this.held || !this.#wantsRead) return;
    this.#armRead();
    if (this.asks) this.#settle();
  }

  #armRead(): void {
    const source = this.accepting ?? this.#inbound;
    if (source === null) return;
    if (!source.ready) {
      source.arm();
      this.#armed = this.#inbound?.reading ?? false;
    } else if (this.#isUnheard) this.#readUnheard();
    else if (!this.#isHalfOpen) this.reactor.queue(this);
  }

  /** A class without a handleRead() of its own is told once what waits. */
  get #isUnheard(): boolean {
    return this.accepting === null && this.#interest?.reads === false &&
      this.#tookNothing;
  }

  /** Nobody will call recv(), which tells other classes of the end. */
  #readUnheard(): void {
    const inbound = this.#inbound!;
    // One that calls recv() from elsewhere is to have all before the end.
    const isToCome = this.#hasReceived && inbound.available > 0;
    if (inbound.ended) {
      if (!this.#endTold && !isToCome) this.#tellEnd();
    } else if (!inbound.armBehind() && !isToCome) {
      inbound.discard();
      inbound.arm();
    }
  }

  /** The peer has ended its side and was heard; only writing goes on. */
  get #isHalfOpen(): boolean {
    return this.#endTold &&
      (this.#inbound?.available === 0 || this.#isUnheard);
  }

  #offerWrite(): void {
    const { outbound, reactor } = this;
    if (outbound.failed) return;
    // While a write is in flight, whoever had nothing to add waits for it.
    const isIdle = outbound.pending > 0 && this.#seen === reactor.activity;
    if (outbound.pending >= this.#room || isIdle) this.#awaitsRoom = true;
    else {
      this.#writeDue = true;
      reactor.queueWrite(this);
    }
  }

  read(): void {
    // A newcomer that is broken is to be read before that is told.
    if (this.held || this.#interest === null) return;
    if (this.outbound.failed) this.#askAgain();
    if (!this.joined) return;
    if (this.#due) this.#tellDue();
    else if (this.#isEnding) return;
    else if (this.#outcome) this.#dispatchConnect();
    else if (this.#isHalfOpen && !this.#mustTellFailure()) return;
    else if (this.accepting?.ended) this.#dispatchAcceptFailure();
    else if (this.#mustTellFailure()) this.#dispatchWriteFailure();
    else if (this.#isUnheard) this.#readUnheard();
    else if (this.accepting?.ready || this.#inbound?.ready) {
      if (this.#decidesToRead()) this.#dispatchRead();
    } else if (!this.asks) this.#armRead();
  }

  /** Whether to read, where that is not asked in each pass. */
  #decidesToRead(): boolean {
    try {
      if (!this.asks) this.#wantsRead = !this.isFull;
    } catch (error) {
      this.refuse(error);
      return false;
    }
    return this.#wantsRead;
  }

  /** Nothing waits to be sent any more, which may have kept it from reading. */
  #askAgain(): void {
    if (this.asks && !this.#wantsRead && !this.#failureTold) this.ask();
  }

  /** Tells of one event that had to wait; the others have their turn after it. */
  #tellDue(): void {
    const tell = this.#due!.shift()!;
    if (this.#due!.length === 0) this.#due = null;
    this.reactor.queue(this);
    tell();
  }

  #dispatchRead(): void {
    const inbound = this.#inbound;
    this.reactor.activity++;
    this.#waitedBefore = inbound?.available ?? 0;
    this.#event = "read";
    try {
      this.hooks.run(READ);
    } finally { // An ExitNow must not leave a deaf dispatcher behind.
      if (!this.held && this.joined) this.#goOnReading();
    }
  }

  #goOnReading(): void {
    this.#afterRead();
    if (!this.joined) return;
    if (this.#mustTellFailure()) this.reactor.queue(this);
    if (!this.asks) this.reactor.readSoon(this);
  }

  #afterRead(): void {
    this.#event = null;
    const inbound = this.#inbound;
    if (inbound === null) return;
    this.#tookNothing = inbound.available === this.#waitedBefore;
    if (this.#isUnheard) this.#readUnheard();
  }

  write(): void {
    if (this.held || this.#isEnding) return;
    if (this.#drainDue) {
      try {
        this.#dispatchDrain();
      } catch (error) { // An ExitNow must not cost it the write event.
        if (this.#writeDue) this.reactor.queueWrite(this);
        throw error;
      }
    }
    if (this.#writeDue && this.joined && !this.held) this.#dispatchWrite();
  }

  #dispatchWrite(): void {
    this.#writeDue = false;
    this.#acceptedBefore = this.outbound.accepted;
    this.#seen = this.reactor.activity;
    this.#event = "write";
    try {
      this.hooks.run(WRITE);
    } finally {
      if (!this.held) this.#afterWrite();
    }
  }

  /** A write event that brought nothing is no news to anybody. */
  #afterWrite(): void {
    this.#event = null;
    if (this.outbound.accepted > this.#acceptedBefore) this.reactor.activity++;
  }

  #dispatchDrain(): void {
    this.#drainDue = false;
    this.reactor.activity++;
    this.hooks.run(this.#onDrain!);
  }

  #dispatchConnect(): void {
    const outcome = this.#outcome!;
    this.#outcome = null;
    this.reactor.activity++;
    if ("error" in outcome) {
      this.#connectFailed(outcome.error);
      this.hooks.failForGood(outcome.error);
      return;
    }
    const { checked } = outcome;
    this.addr = checked.addr ?? this.addr;
    this.#attach(checked);
    this.#startDeadlines();
    this.hooks.run(CONNECT, () => this.#connected());
  }

  #connected(): void {
    if (this.closed) return;
    this.phase = "connected";
    if (!this.joined) return;
    // Python's select() reports the connect as a write event, so the first
    // handleWrite() follows at once.
    if (this.#wantsWrite) this.#offerWrite();
    if (!this.asks) this.#armRead();
  }

  #dispatchAcceptFailure(): void {
    this.hooks.failForGood(this.accepting!.error);
  }

  /** The peer's last bytes come before the news that it is gone. */
  #mustTellFailure(): boolean {
    if (!this.outbound.failed || this.#failureTold) return false;
    const inbound = this.#inbound;
    if (inbound === null) return false;
    if (this.outbound.isDetached) return true; // Nothing more is to be trusted.
    if (this.waitsForReader && !this.#wantsRead && !inbound.ended) return false;
    return !(inbound.available > 0 && this.#wantsRead && !this.#tookNothing);
  }

  #dispatchWriteFailure(): void {
    const { error } = this.outbound;
    // A handshake that was cut off has failed, however that came.
    const broken = isDisconnect(error) && !this.outbound.isDetached;
    // While a hook's promise was pending, nothing was read.
    if (broken && this.#wantsRead) this.#inbound!.arm();
    if (broken && this.#inbound!.reading && this.#lastWords?.index !== -1) {
      // Where this thread was late, what has come is read within two turns.
      const { clock } = this.reactor;
      this.#lastWords ??= this.#startTimer(
        LAST_WORDS,
        () =>
          clock.setImmediate(() =>
            clock.setImmediate(() => this.reactor.queue(this))
          ),
      );
      return;
    }
    this.#failureTold = true;
    this.reactor.activity++;
    const isTold = this.hooks.lastFailure === error;
    if (broken || isTold) this.hooks.closeForGood();
    else if (this.outbound.isDetached) this.hooks.failForGood(error);
    else this.hooks.fail(error);
  }

  /** A write has ended, or writing has failed. */
  onProgress(): void {
    const { outbound, reactor } = this;
    if (this.#isReleased) {
      this.#lookWhetherFree();
      return;
    }
    if (this.#closing !== null) {
      this.#closing.onProgress();
      return;
    }
    if (outbound.failed) {
      this.#wantsRead ||= !this.asks;
      if (this.joined) reactor.queue(this);
      return;
    }
    this.#deadlines?.touch();
    if (outbound.pending <= this.#drainAt) this.#drained();
    this.#stall?.touch();
    // What was pending may have kept it from reading.
    if (!this.#wantsRead) this.lookAgain();
    if (this.#awaitsRoom) reactor.notice();
    this.#awaitsRoom = false;
  }

  /** There may be more room than before: has the loop ask again whether to read. */
  lookAgain(): void {
    if (this.asks) this.reactor.notice();
    else if (this.joined) this.reactor.queue(this);
  }

  settled(): void {
    this.#deadlines?.touch();
    if (this.#event === "write") this.#afterWrite();
    else this.reactor.activity++;
    if (this.#event === "read" && this.joined) this.#afterRead();
    if (!this.joined) return;
    this.reactor.queue(this);
    if (this.#drainDue || this.#writeDue) this.reactor.queueWrite(this);
  }

  // The dispatcher's side

  /**
   * How many connections an accept event may take: where many dispatchers have
   * their turns in a pass, newcomers must not wait a pass each.
   */
  get share(): number {
    return Math.max(1, this.reactor.crowd);
  }

  /** Takes a connection that waits, if one does. */
  accept(): CheckedChannel | null {
    return this.accepting?.take() ?? null;
  }

  /** Bytes that were received; empty at the end, when `handleClose()` has run. */
  receive(size: number): Uint8Array {
    return this.#receivable() ? this.#inbound!.take(size) : NO_BYTES;
  }

  /** The same into `target`; 0 at the end. */
  receiveInto(target: Uint8Array): number {
    return this.#receivable() ? this.#inbound!.takeInto(target) : 0;
  }

  #receivable(): boolean {
    if (this.closed || this.#isEnding) return false;
    const inbound = this.#inbound;
    if (inbound !== null && inbound.available > 0) {
      if (inbound.discarded > 0) {
        throw new Error(
          `Cannot receive: ${inbound.discarded} earlier bytes were dropped, ` +
            `as ${this.pollable} has no handleRead() and called no recv()`,
        );
      }
      // Read outside of a hook: the next read has to be started.
      if (this.#tookNothing && this.joined) this.reactor.queue(this);
      this.#tookNothing = false;
      this.#hasReceived = true;
      return true;
    }
    if (!inbound?.ended) {
      throw new Deno.errors.WouldBlock(
        `Cannot receive: no bytes wait for ${textOf(this.pollable)}: ` +
          "call recv() once in each handleRead()",
      );
    }
    this.#endOfStream(inbound);
    return false;
  }

  /** Tells of the end of what the peer sends, or throws why reading has failed. */
  #endOfStream(inbound: Inbound): void {
    const { error } = inbound;
    inbound.error = null;
    if (error !== null) throw error;
    const { allowHalfOpen } = this.#options;
    const isEnd = inbound.reason === null &&
      (allowHalfOpen || this.#isFinishing);
    if (!isEnd) this.hooks.close();
    else if (!this.#endTold && !this.hooks.hasClosed) {
      this.#endTold = true;
      if (this.#writeEnded) this.#endBothWhenSent();
      else if (allowHalfOpen) {
        this.hooks.run((it) => this.#owner.handleEnd(it));
      }
    }
  }

  /** The end of the stream, where no recv() tells of it. */
  #tellEnd(): void {
    try {
      this.#endOfStream(this.#inbound!);
    } catch (error) {
      this.hooks.failForGood(error);
    }
  }

  /**
   * Has the end of the peer's side change nothing, as what is to be sent will
   * end the connection or its writing; or takes that back.
   */
  finish(isFinishing: boolean): void {
    const isTaken = this.#isFinishing && !isFinishing && !this.#writeEnded;
    this.#isFinishing = isFinishing;
    // An end that was passed over is told after all.
    if (isTaken && !this.#options.allowHalfOpen) this.#endTold = false;
  }

  /** Ends the writing direction when all that was accepted has gone out. */
  shutdownWrite(): void {
    if (this.#writeEnded) return;
    this.#writeEnded = true;
    this.outbound.end();
    if (this.#endTold) this.#endBothWhenSent();
  }

  /** Nothing more is to come either way: `handleClose()` is due. */
  #endBothWhenSent(): void {
    const { outbound } = this;
    outbound.done().then(() => outbound.writeClosed)
      .then(() => this.whenMay(() => this.hooks.closeForGood()));
  }

  /** Accepts bytes: all, or none while earlier ones fill the room for them. */
  send(data: Uint8Array): number {
    const { outbound } = this;
    if (this.channel === null || !this.isSending) return 0;
    this.checkWritable();
    if (outbound.pending >= this.#room) return 0;
    outbound.append(data);
    this.reactor.sendSoon(this);
    return data.length;
  }

  /** Accepts all bytes, whatever waits already; `sendSoon()` sends them. */
  buffer(data: Uint8Array): number {
    if (!this.isSending) return 0;
    this.checkWritable();
    this.outbound.append(data);
    return data.length;
  }

  /** How many bytes may be on their way. */
  get #room(): number {
    const { chunkSize } = this.#checked!;
    // While one chunk is being written, the next one can be got ready.
    return chunkSize === undefined ? WRITABLE_BELOW : 2 * chunkSize;
  }

  /** Throws if the writing direction of a connection that stands was ended. */
  checkWritable(): void {
    if (!this.#writeEnded || this.outbound.failed || this.closed) return;
    throw new Error(
      `Cannot send: ${textOf(this.pollable)} has ended its writing direction`,
    );
  }

  /** Has `onDrain` run, once, when no more than `amount` bytes are pending. */
  notifyAt(amount: number, onDrain: Hook): void {
    this.#drainAt = amount;
    this.#drainDue = false;
    this.#onDrain = onDrain;
    if (this.outbound.pending <= amount) this.#drained();
  }

  /** What `notifyAt()` asked for is still to come. */
  get awaitsDrain(): boolean {
    return this.#drainAt >= 0;
  }

  #drained(): void {
    this.#drainAt = -1;
    this.#drainDue = true;
    if (this.joined) this.reactor.queueWrite(this);
  }

  /** What is accepted has a way to go. */
  get isSending(): boolean {
    return !this.outbound.failed && !this.closed && !this.#isEnding;
  }

  // Ending

  /** Leaves the map now; what was accepted goes out in the background. */
  close(): void {
    if (this.closed) return;
    const isEnding = this.#isEnding;
    const isConnecting = this.phase === "connecting";
    this.#leave();
    if (!isEnding) this.#endConnection(isConnecting);
  }

  /** {@linkcode close}, where an override of the dispatcher's has not. */
  closeAnyway(): void {
    if (this.closed) return;
    this.close();
    this.#owner.closeForgotten(this.pollable);
  }

  watchClose(): CloseWatch | null {
    return this.#owner.watchClose(this.pollable);
  }

  /**
   * Closes at once, dropping what was not sent. With a reason of the library's,
   * it is told how much that was.
   */
  abort(reason: Error | null = null): void {
    const hasBegun = this.closed || this.#isEnding;
    if (!hasBegun) {
      this.#isLossTold = reason === null || this.#hasHeardOfFailure;
    }
    this.#leave();
    this.#isAborted = true;
    this.outbound.fail(reason);
    if (this.#stopHolding !== null) this.#freed();
    else if (this.#closing === null) {
      if (!this.#isReleased) this.#release();
    } else if (reason === null) this.#closing.finish();
    else this.#closing.cut();
  }

  #leave(): void {
    if (this.closed) return;
    this.phase = "closed";
    this.reactor.leave(this);
    this.#timers?.end();
    this.#due = null;
    this.onEnd?.();
    this.onEnd = null;
  }

  /** Its end has begun, and the dispatcher has yet to hear of it. */
  get #isEnding(): boolean {
    return !this.closed && (this.#closing !== null || this.#isReleased);
  }

  /** Sends what was accepted, if need be, and closes. */
  #endConnection(isConnecting: boolean): void {
    const { outbound, reactor } = this;
    const { linger } = this.#options;
    this.#isLossTold = this.#hasHeardOfFailure;
    const isUnsent = outbound.pending > 0 && !outbound.failed &&
      (this.#checked !== null || isConnecting);
    if (linger === 0 || !(isUnsent || this.#mayBeReset)) {
      outbound.start(); // As it would have been begun outside of a crowd.
      this.#release();
      return;
    }
    const outcome = this.#outcome;
    this.#outcome = null;
    reactor.lingering.add(this);
    this.#closing = new Closing(outbound, {
      clock: reactor.clock,
      linger,
      isOver: () => this.#deadlines?.isOver ?? false,
      finished: () => this.#release(),
    });
    if (outcome && "checked" in outcome) this.#attach(outcome.checked);
    else if (outcome) this.#connectFailed(outcome.error);
    else if (this.#checked !== null && !outbound.isDetached) {
      outbound.start();
      this.#closing.attach(this.#checked, this.#inbound!);
    }
  }

  /**
   * Closing could take something from the peer: what it has said and nobody has
   * read, or what it will say, is answered with a reset.
   */
  get #mayBeReset(): boolean {
    const { outbound } = this;
    if (!this.#checked?.endsWriting || outbound.written === 0) return false;
    if (outbound.failed) return false;
    return outbound.isDetached || !this.#inbound!.ended;
  }

  /** The connection broke, and a hook of the dispatcher was told so. */
  get #hasHeardOfFailure(): boolean {
    return this.outbound.failed && (this.#failureTold || this.hooks.hasClosed);
  }

  /** Closes for the system what there is. */
  #release(): void {
    this.#isReleased = true;
    this.outbound.closing = true;
    this.#attempt?.abort();
    if (this.#outcome && "checked" in this.#outcome) {
      this.#closeChannel(this.#outcome.checked.channel);
    }
    this.#outcome = null;
    if (this.#inbound) {
      this.#inbound.closing = true;
      this.#inbound.listener = this;
    }
    if (this.#securing) this.#closeChannel(this.#securing);
    const { accepting, acceptor, channel } = this;
    accepting?.close();
    if (acceptor) this.#track(closeQuietly(acceptor));
    if (accepting) this.#track(accepting.whenClosed());
    if (channel) this.#closeChannel(channel);
    this.reactor.lingering.add(this);
    this.#lookWhetherFree();
    if (this.#isFree) return;
    this.reactor.hold(this);
    const hasAddress = acceptor !== null || this.addr?.transport === "udp";
    if (hasAddress) this.reactor.addressesHeld.add(this);
  }

  #closeChannel(channel: Channel): void {
    this.#track(closeQuietly(channel));
  }

  /** Counts an operation as in flight until it settles. */
  #track(operation: Promise<unknown> | null | undefined): void {
    if (!operation) return;
    this.#operations++;
    const settled = operation.finally(() => {
      this.#operations--;
      this.#lookWhetherFree();
    });
    this.reactor.follow(settled);
  }

  /** The system holds nothing of this connection any more. */
  get #isFree(): boolean {
    return this.#operations === 0 && !this.outbound.writing &&
      !this.#inbound?.reading;
  }

  #lookWhetherFree(): void {
    if (this.#isReleased && this.#isFree) this.#freed();
  }

  /**
   * The system goes on with an operation although it was closed, such as a
   * connect to a host that does not answer: there is no way to end it.
   */
  stillHeld(): void {
    const { linger } = this.#options;
    const { clock } = this.reactor;
    const hasLingered = linger === 0 || this.#closing !== null;
    if (this.#isAborted || hasLingered) this.#freed();
    else {
      const timer = clock.setTimeout(() => this.#freed(), linger);
      this.#stopHolding = () => clock.clearTimeout(timer);
    }
  }

  #freed(): void {
    const { outbound, reactor } = this;
    if (!reactor.lingering.delete(this)) return;
    reactor.releasing.delete(this);
    reactor.addressesHeld.delete(this);
    this.#stopHolding?.();
    // Only a close() without linger time leaves something here.
    if (outbound.pending > 0) outbound.fail(new Error("its linger is 0"));
    reactor.freed();
    if (outbound.lost > 0) {
      if (this.#isLossTold || outbound.error === null) return;
      this.warn(
        `was closed and lost ${outbound.lost} accepted bytes (${
          describeError(outbound.error)
        })`,
        { kind: "was closed and lost bytes", lost: outbound.lost },
      );
    } else if (this.#closing && (this.#wasReset || this.#wasCut)) {
      const how = this.#wasCut ? "went on talking" : "reset the connection";
      this.warn(
        `was closed, and its peer ${how}: what that had not yet read is lost`,
      );
    }
  }
}
