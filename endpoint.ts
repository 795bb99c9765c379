/**
 * One life of a dispatcher's socket, from `createSocket()` to its end: what
 * state it is in, what it has read and accepted, and how each event reaches
 * the hooks.
 *
 * @module
 */

import { type AcceptEvents, Accepting, wasAccepted } from "./accepting.ts";
import {
  type Acceptor,
  type Channel,
  closeQuietly,
  isDisconnect,
} from "./channel.ts";
import { Deadlines, type TimeoutKind } from "./deadlines.ts";
import { describeError } from "./log.ts";
import { secure, type StartTimer } from "./handshake.ts";
import { type Hook, Hooks, type HookTarget } from "./hooks.ts";
import { Inbound, type InboundEvents } from "./inbound.ts";
import { discardInput, drain } from "./linger.ts";
import { explain, type Network, type TlsOptions } from "./network.ts";
import { Outbound, type OutboundEvents } from "./outbound.ts";
import { Settled } from "./predicates.ts";
import {
  type Entry,
  isPromise,
  type Pollable,
  type Reactor,
} from "./reactor.ts";
import { HeapTimer, TimerGroup } from "./timers.ts";

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

/** Which events a dispatcher's class cares for, by what it overrides. */
export interface Interest {
  /** It overrides `readable()`. */
  asksReadable: boolean;
  /** It overrides `writable()`. */
  asksWritable: boolean;
  /** It has something to do in a read event. */
  reads: boolean;
  /** It has something to do in a write event. */
  writes: boolean;
  /** Its `readable()` is the library's: what waits to be sent keeps it from reading. */
  pacesItself: boolean;
}

/** How a connect ended. */
type Outcome = { channel: Channel } | { error: unknown };

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
  /** How long nothing may be read or written, in ms. */
  idleTimeout: number;
  /** How long the connection may last, in ms. */
  lifetime: number;
  /** How many connections a listener may have at the same time. */
  maxConnections: number;
}

/** What a warning is about, for a log that a peer must not fill. */
export interface About {
  /** Warnings of one kind are counted together. By default the message. */
  kind?: string;
  /** How many bytes were lost. */
  lost?: number;
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
}

/** The answer of a predicate, which cannot be async. */
function atOnce(predicate: string, answer: unknown): boolean {
  if (!isPromise(answer)) return answer as boolean;
  answer.then(undefined, () => {});
  throw new TypeError(`${predicate}() must answer at once, and gave a promise`);
}

/** One socket of a dispatcher. */
export class Endpoint
  implements Entry, HookTarget, InboundEvents, OutboundEvents {
  joined = false;
  reactor: Reactor;
  readonly pollable: Pollable;
  phase: Phase = "created";
  #interest: Interest | null = null;
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
  /** Closed, with accepted bytes still on their way. */
  closing = false;
  addr: Deno.Addr | null = null;
  channel: Channel | null = null;
  acceptor: Acceptor | null = null;
  accepting: Accepting | null = null;
  /** The connection was accepted: its peer came by itself. */
  isAccepted = false;
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
  #attempt: AbortController | null = null;
  #outcome: Outcome | null = null;
  /** A connection that is at its handshake. */
  #securing: Channel | null = null;
  /** How many bytes waited when the last read event was given. */
  #waitedBefore = 0;
  /** The last read event took nothing. */
  #tookNothing = false;
  #failureTold = false;
  #lastWords: HeapTimer | null = null;
  /** The reactor's activity when the last fruitless write event was given. */
  #seen = -1;
  #awaitsRoom = false;
  /** When no more than this is pending, `#onDrain` is due; -1 for never. */
  #drainAt = -1;
  #drainDue = false;
  #onDrain: Hook | null = null;
  #lingerTimer: unknown = undefined;
  #deadlines: Deadlines | null = null;
  #isShutDown = false;
  /** The end of the peer's stream was told, and writing goes on. */
  #endTold = false;
  #writeEnded = false;

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
    this.outbound = new Outbound(this);
  }

  get closed(): boolean {
    return this.phase === "closed";
  }

  /** The timers that end with this life. */
  get timers(): TimerGroup {
    if (this.#timers === null) {
      this.#timers = new TimerGroup();
      if (this.closed) this.#timers.end();
    }
    return this.#timers;
  }

  get held(): boolean {
    return this.#held;
  }
  set held(isHeld: boolean) {
    this.#held = isHeld;
    this.reactor.predicates.settle(this, Settled.never);
  }

  /** The error that ended the connection, if one did. */
  get closeReason(): Error | null {
    const { error } = this.outbound;
    return this.givenUp ?? this.#inbound?.reason ??
      (error instanceof Error ? error : null);
  }

  /** Registers with `reactor`, leaving the one before. */
  join(reactor: Reactor): void {
    if (this.joined && this.reactor === reactor) return;
    this.reactor.leave(this);
    if (this.reactor !== reactor) {
      this.reactor.forget(this);
      this.#timers?.moveTo(reactor.timers);
      this.reactor = reactor;
    }
    reactor.join(this);
  }

  // Opening

  /** Takes over a channel that is connected. */
  adopt(channel: Channel): void {
    this.phase = "connected";
    this.addr = channel.remoteAddr ?? null;
    this.isAccepted = wasAccepted(channel);
    this.#attach(channel);
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
      secure: (channel) => this.#secure(channel),
    };
    this.accepting = new Accepting(this.acceptor!, maxConnections, events);
    if (this.joined) this.reactor.queue(this);
  }

  /** Says what an operator must see. */
  warn(message: string, about: About = {}): void {
    this.reactor.outside(() => this.#owner.warn(this.pollable, message, about));
  }

  #secure(channel: Channel): Promise<Channel> {
    const { handshakeTimeout } = this.#options;
    return secure(channel, handshakeTimeout, this.#time().startTimer);
  }

  /** Starts to connect; the outcome is an event. */
  connect(
    address: Deno.Addr,
    network: Network,
    tls: TlsOptions | undefined,
  ): void {
    this.phase = "connecting";
    this.addr = address;
    const attempt = this.#attempt = new AbortController();
    const { signal } = attempt;
    const timer = this.#watchConnect(attempt);
    new Promise<Channel>((resolve) => {
      resolve(network.connect(address, { signal, tls }));
    }).then((channel) => {
      timer?.cancel();
      if (!signal.aborted) {
        this.#securing = channel;
        return this.#secure(channel);
      }
      closeQuietly(channel); // It came after all, but too late.
      throw signal.reason;
    }).then(
      (channel) => {
        this.#securing = null;
        this.#onOutcome({ channel });
      },
      (error) => {
        timer?.cancel();
        if (attempt === this.#attempt) this.#onOutcome({ error });
      },
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
      this.outbound.fail(outcome.error);
    } else if (this.closing) {
      // Bytes accepted before the connection stood are still to go out.
      this.#attach(outcome.channel);
      if (this.channel?.closeWrite) {
        discardInput(this.#inbound!, this.reactor.clock);
      }
    } else closeQuietly(outcome.channel);
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
        `Cannot start TLS: ${this.pollable}: ${obstacle}`,
      );
      if (obstacle === UNREAD) return this.refuseTls(error);
      throw error;
    }
    const tlsChannel = network.startTls!(this.channel!, hostname, tls);
    outbound.detach();
    const upgrade = this.#upgrade(tlsChannel);
    upgrade.catch((error) => {
      outbound.fail(error);
      if (this.joined) this.reactor.queue(this);
    });
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
    return Promise.reject(reason);
  }

  #tlsObstacle({ startTls }: Network): string | null {
    const inbound = this.#inbound;
    if (this.closed || this.channel === null) return "it is not connected";
    if (this.outbound.isDetached) return "another handshake is under way";
    if (this.channel.handshake) return "it speaks TLS already";
    if (this.#writeEnded) return "its writing direction has ended";
    if (!startTls) return "its network has no startTls()";
    if (inbound!.reading) return "a read is in flight: call it inside a hook";
    if (inbound!.available > 0) return UNREAD;
    if (this.outbound.pending > 0) return "unencrypted bytes are being sent";
    return null;
  }

  async #upgrade(tlsChannel: Promise<Channel>): Promise<void> {
    this.channel = await tlsChannel;
    if (this.closed) closeQuietly(this.channel);
    this.#attach(await this.#secure(this.channel));
  }

  #attach(channel: Channel): void {
    this.channel = channel;
    this.#inbound = new Inbound(channel, this);
    this.outbound.attach(channel);
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
    // While a hook's promise is pending, the silence is on our side; but no
    // hook makes a life longer.
    if (kind === "idle" && this.held) return;
    this.reactor.activity++;
    this.hooks.run((it) => this.#owner.handleTimeout(it, kind));
  }

  /** Has the connection end, by `handleClose()`, with a reason of our own. */
  giveUp(reason: Error): void {
    this.givenUp ??= reason;
    this.hooks.close();
  }

  /** Runs `handleShutdown()`, once, when no hook's promise is pending. */
  shutdown(): void {
    if (this.#isShutDown) return;
    this.#isShutDown = true;
    this.hooks.whenSettled(() => {
      if (!this.closed) this.hooks.run((it) => this.#owner.handleShutdown(it));
    });
  }

  /** A read has ended. */
  onReady(): void {
    this.#armed = false;
    this.reactor.predicates.settle(this, Settled.never);
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

  // The loop's side

  enter(): void {
    const interest = this.#owner.interest(this.pollable);
    this.#interest = interest;
    // Who overrides handleWrite() but not writable() would be called in each
    // pass, as in Python, and keep the loop from ever waiting. It is called
    // when something happened since it last had nothing to write.
    this.asks = interest.asksReadable || interest.asksWritable ||
      interest.writes;
    if (this.#outcome || this.outbound.failed) this.reactor.queue(this);
    if (this.#drainDue) this.reactor.queueWrite(this);
    if (!this.asks) this.#armRead();
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
    this.hooks.fail(error);
    // Whoever stays open is asked again, and goes on with what has arrived.
    this.#want(this.#wantsRead, false);
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
      !this.pollable.readable();
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
    } else if (!this.#isUnheard && !this.#isHalfOpen) this.reactor.queue(this);
  }

  /** A class without a handleRead() of its own is told once what waits. */
  get #isUnheard(): boolean {
    return this.accepting === null && this.#interest?.reads === false &&
      this.#tookNothing;
  }

  /** The peer has ended its side and was heard; only writing goes on. */
  get #isHalfOpen(): boolean {
    return this.#endTold && this.#inbound?.available === 0;
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
    if (this.#outcome) this.#dispatchConnect();
    else if (this.#isHalfOpen && !this.#mustTellFailure()) return;
    else if (this.accepting?.ended) this.#dispatchAcceptFailure();
    else if (this.#mustTellFailure()) this.#dispatchWriteFailure();
    else if (this.accepting?.ready || this.#inbound?.ready) {
      if (!this.asks) this.#wantsRead = !this.isFull;
      if (this.#wantsRead) this.#dispatchRead();
    } else if (!this.asks) this.#armRead();
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
    // Nobody will call recv(), which tells the others of the end.
    if (!this.#isUnheard || inbound.available > 0 || !inbound.ended) return;
    if (inbound.error !== undefined) this.#failForGood(inbound.error);
    else this.#tellEnd();
  }

  write(): void {
    if (this.held) return;
    if (this.#drainDue) this.#dispatchDrain();
    if (!this.#writeDue || !this.joined || this.held) return;
    this.#writeDue = false;
    this.#acceptedBefore = this.outbound.accepted;
    this.#seen = this.reactor.activity;
    this.#event = "write";
    this.hooks.run(WRITE);
    if (!this.held) this.#afterWrite();
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
      this.outbound.fail(outcome.error);
      this.#failForGood(outcome.error);
      return;
    }
    this.#attach(outcome.channel);
    this.addr = outcome.channel.remoteAddr ?? this.addr;
    this.hooks.run(CONNECT, () => this.#connected());
  }

  #connected(): void {
    if (this.closed) return;
    this.phase = "connected";
    this.#startDeadlines();
    if (!this.joined) return;
    // Python's select() reports the connect as a write event, so the first
    // handleWrite() follows at once.
    if (this.#wantsWrite) this.#offerWrite();
    if (!this.asks) this.#armRead();
  }

  #dispatchAcceptFailure(): void {
    this.#failForGood(this.accepting!.error);
  }

  /** For an error that leaves nothing to go on with. */
  #failForGood(error: unknown): void {
    try {
      this.hooks.fail(error);
    } finally { // An ExitNow must not leave a dead dispatcher behind.
      this.hooks.whenSettled(() => this.hooks.closeForGood());
    }
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
    else if (this.outbound.isDetached) this.#failForGood(error);
    else this.hooks.fail(error);
  }

  /** A write has ended, or writing has failed. */
  onProgress(): void {
    const { outbound, reactor } = this;
    if (this.closed) return;
    if (outbound.failed) {
      this.#wantsRead ||= !this.asks;
      if (this.joined) reactor.queue(this);
      return;
    }
    this.#deadlines?.touch();
    if (outbound.pending <= this.#drainAt) this.#drained();
    // What was pending may have kept it from reading.
    if (!this.#wantsRead) this.lookAgain();
    if (this.#awaitsRoom) reactor.wake();
    this.#awaitsRoom = false;
  }

  /** Less is pending than before: has the loop ask again whether to read. */
  lookAgain(): void {
    if (this.asks) this.reactor.wake();
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
  accept(): Channel | null {
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
    if (this.closed) return false;
    const inbound = this.#inbound;
    if (inbound !== null && inbound.available > 0) {
      // Read outside of a hook: the next read has to be started.
      if (this.#tookNothing) this.reactor.queue(this);
      this.#tookNothing = false;
      return true;
    }
    if (!inbound?.ended) {
      throw new Deno.errors.WouldBlock(
        `Cannot receive: no bytes wait for ${this.pollable}: ` +
          "call recv() once in each handleRead()",
      );
    }
    const { error } = inbound;
    inbound.error = undefined;
    if (error !== undefined) throw error;
    const isEnd = inbound.reason === null && this.#options.allowHalfOpen;
    if (!isEnd) this.hooks.close();
    else if (!this.#endTold) {
      this.#endTold = true;
      if (this.#writeEnded) this.#endBothWhenSent();
      else this.hooks.run((it) => this.#owner.handleEnd(it));
    }
    return false;
  }

  /** The end of the stream, where no recv() tells of it. */
  #tellEnd(): void {
    try {
      this.#receivable();
    } catch (error) {
      this.#failForGood(error);
    }
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
    const { outbound, reactor } = this;
    outbound.done().then(() => outbound.writeClosed).then(() =>
      reactor.outside(() => this.hooks.closeForGood())
    );
  }

  /** Accepts bytes: all, or none while earlier ones fill the room for them. */
  send(data: Uint8Array): number {
    const { outbound } = this;
    if (this.channel === null || outbound.failed || this.closed) return 0;
    this.#checkWritable();
    if (outbound.pending >= this.#room) return 0;
    outbound.append(data);
    this.reactor.sendSoon(this);
    return data.length;
  }

  /** Accepts all bytes, whatever waits already; `sendSoon()` sends them. */
  buffer(data: Uint8Array): number {
    if (this.outbound.failed || this.closed) return 0;
    this.#checkWritable();
    this.outbound.append(data);
    return data.length;
  }

  /** How many bytes may be on their way. */
  get #room(): number {
    const { chunkSize } = this.channel!;
    // While one chunk is being written, the next one can be got ready.
    return chunkSize === undefined ? WRITABLE_BELOW : 2 * chunkSize;
  }

  #checkWritable(): void {
    if (!this.#writeEnded) return;
    throw new Error(
      `Cannot send: ${this.pollable} has ended its writing direction`,
    );
  }

  /** Has `onDrain` run, once, when no more than `amount` bytes are pending. */
  notifyAt(amount: number, onDrain: Hook): void {
    this.#drainAt = amount;
    this.#drainDue = false;
    this.#onDrain = onDrain;
    if (this.outbound.pending <= amount) this.#drained();
  }

  #drained(): void {
    this.#drainAt = -1;
    this.#drainDue = true;
    if (this.joined) this.reactor.queueWrite(this);
  }

  // Ending

  /** Leaves the map now; what was accepted goes out in the background. */
  close(): void {
    if (this.closed) return;
    const { channel, outbound } = this;
    const unsent = outbound.pending > 0 && !outbound.failed &&
      (channel !== null || this.phase === "connecting");
    this.#leave();
    if (this.#options.linger > 0 && (unsent || this.#mayBeReset())) {
      this.#finish();
    } else {
      outbound.start(); // As it would have been begun outside of a crowd.
      this.#release();
    }
  }

  /** Closes at once, dropping what was not sent. */
  abort(): void {
    this.#leave();
    this.outbound.fail(null);
    this.#finished();
    this.#release();
  }

  #leave(): void {
    this.phase = "closed";
    this.reactor.leave(this);
    this.#timers?.end();
    this.onEnd?.();
    this.onEnd = null;
  }

  #release(): void {
    this.#attempt?.abort();
    if (this.#outcome && "channel" in this.#outcome) {
      closeQuietly(this.#outcome.channel);
    }
    this.#outcome = null;
    if (this.#inbound) this.#inbound.closing = true;
    if (this.#securing) closeQuietly(this.#securing);
    this.accepting?.close();
    if (this.acceptor) closeQuietly(this.acceptor);
    if (this.channel) closeQuietly(this.channel);
  }

  /** Something may lie unread in the kernel, which would turn a close into a reset. */
  #mayBeReset(): boolean {
    const inbound = this.#inbound;
    if (!inbound || !this.channel?.closeWrite) return false;
    if (this.outbound.written === 0) return false;
    return !inbound.ended && (inbound.available > 0 || !inbound.reading);
  }

  /** Sends what was accepted, and then closes. */
  async #finish(): Promise<void> {
    const { reactor, outbound } = this;
    this.closing = true;
    reactor.lingering.add(this);
    this.#watchLinger(outbound.written);
    const outcome = this.#outcome;
    if (outcome && "channel" in outcome) this.#attach(outcome.channel);
    else if (outcome) outbound.fail(outcome.error);
    outbound.start();
    const inbound = this.#inbound;
    // Also while a read waits: between two of its pieces a peer is silent, too.
    const mayGoOn = inbound !== null && inbound.hasSpoken;
    if (this.channel?.closeWrite) discardInput(this.#inbound!, reactor.clock);
    await outbound.done();
    if (!outbound.failed) {
      await drain(this.channel!, this.#inbound!, reactor.clock, mayGoOn);
    }
    this.#finished();
  }

  /** Gives up when a whole linger time has brought no progress. */
  #watchLinger(written: number): void {
    const { outbound, reactor } = this;
    const { linger } = this.#options;
    this.#lingerTimer = reactor.clock.setTimeout(() => {
      const isGoingOn = outbound.written > written;
      if (isGoingOn && !this.#deadlines?.isOver) {
        this.#watchLinger(outbound.written);
        return;
      }
      if (outbound.pending > 0) {
        const reason = isGoingOn
          ? "its lifetime is over"
          : `its peer took nothing for ${linger} ms`;
        outbound.fail(new Error(reason));
      }
      this.#finished();
    }, linger);
  }

  #finished(): void {
    if (!this.closing) return;
    const { outbound, reactor } = this;
    this.closing = false;
    reactor.clock.clearTimeout(this.#lingerTimer);
    this.#release();
    reactor.lingering.delete(this);
    reactor.wake();
    if (outbound.lost > 0 && outbound.error !== null) {
      this.warn(
        `was closed and lost ${outbound.lost} accepted bytes (${
          describeError(outbound.error)
        })`,
        { kind: "was closed and lost bytes", lost: outbound.lost },
      );
    }
  }
}
