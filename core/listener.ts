/**
 * A listener: it has an address, takes connections, and gives each to its
 * dispatcher.
 *
 * @module
 */

import { type AcceptEvents, Accepting } from "./accepting.ts";
import type { Acceptor, CheckedChannel } from "./channel.ts";
import { closeQuietly } from "./channel.ts";
import { shakeHands, type StartTimer } from "./handshake.ts";
import { hold, type Holder, holderOf } from "./holders.ts";
import type { Hook } from "./hooks.ts";
import { describeError, textOf } from "./log.ts";
import type { Reactor } from "./reactor.ts";
import { Socket, type SocketParts } from "./socket.ts";
import { type EventOf, next } from "./states.ts";

/**
 * The states of a listener, and the events that lead from one to another. An
 * event that a state does not list changes nothing.
 */
export const LISTENER_STATES = {
  /** It has its address, and takes no connections yet. */
  bound: { listen: "listening", close: "closed", handOver: "handedOver" },
  listening: { close: "closed", handOver: "handedOver" },
  closed: {},
  /** Another dispatcher has its acceptor. */
  handedOver: { listen: "listening" },
} as const;

const ACCEPT: Hook = (pollable) => pollable.handleReadEvent();

/** One listener of a dispatcher. */
export class Listener extends Socket implements Holder {
  #state: keyof typeof LISTENER_STATES = "bound";
  readonly acceptor: Acceptor;
  accepting: Accepting | null = null;
  #isAborted = false;
  /** The accepting side of the listener that had the acceptor before, if any. */
  #inherited: Accepting | null;

  /**
   * Takes over an acceptor, from the dispatcher that has it, if any.
   *
   * @throws {Error} If that is closed.
   */
  constructor(parts: SocketParts, former: Socket | null, acceptor: Acceptor) {
    const holder = holderOf(acceptor) as Listener | undefined;
    super(holder === undefined ? parts : limitedAs(holder, parts), former);
    this.acceptor = acceptor;
    this.addr = acceptor.addr;
    this.#inherited = holder === undefined ? null : holder.#handOver(this);
    hold(acceptor, this);
  }

  /**
   * Gives its acceptor up, with the connections that wait.
   *
   * @throws {Error} If it is closed.
   */
  #handOver(successor: Listener): Accepting | null {
    const { accepting } = this;
    if (this.closed) {
      const self = textOf(this.pollable);
      throw new Error(`Cannot hand over the listener of ${self}: it is closed`);
    }
    this.accepting = null;
    this.#go("handOver");
    this.leave();
    this.successor = successor;
    return accepting;
  }

  protected override regain(heir: Listener): void {
    this.#inherited = heir.#handOver(this);
    super.regain(heir);
    hold(this.acceptor, this);
    this.listen();
  }

  override get phase(): string {
    return this.#state === "handedOver" ? "handed over" : this.#state;
  }

  override get localAddr(): Deno.Addr | null {
    return this.addr;
  }

  override get wrapped(): Acceptor {
    return this.acceptor;
  }

  get isReleased(): boolean {
    return this.closed;
  }

  override get listens(): boolean {
    return this.#state === "listening";
  }

  /** Starts to take connections. */
  listen(): this {
    this.#go("listen");
    const events = this.#acceptEvents();
    this.accepting = this.#inherited?.moveTo(events) ??
      new Accepting(this.acceptor, this.options.maxConnections, events);
    if (!this.joined || this.interest === null) return this; // enter() comes.
    if (this.asks) this.reactor.notice();
    else this.watch();
    return this;
  }

  #acceptEvents(): AcceptEvents {
    const { maxConnections, handshakeTimeout } = this.options;
    const warn = (isPaused: boolean, reason: string) =>
      this.warn(
        isPaused
          ? `accepting paused (${reason}): existing connections go on, new ones wait`
          : "accepting resumed",
      );
    const startTimer: StartTimer = (delay, callback) =>
      this.startTimer(delay, callback, this.accepting!.timers);
    return {
      now: () => this.reactor.clock.now(),
      startTimer,
      ready: () => this.reactor.queue(this),
      wanted: () => this.joined && this.wantsRead,
      exhausted: (isOn, error) => warn(isOn, describeError(error)),
      full: (isOn) => warn(isOn, `maxConnections, ${maxConnections}, reached`),
      shakeHands: (checked) =>
        shakeHands(checked, handshakeTimeout, startTimer),
    };
  }

  /** Gives its address back, and becomes a socket as `createSocket()` made it. */
  unbind(): Socket {
    const socket = this.become(new Socket(this, this));
    closeQuietly(this.acceptor);
    return socket;
  }

  override get clientsGone(): number {
    return this.accepting?.clientsGone ?? 0;
  }

  /** Takes the first waiting connection, or `null`. */
  accept(): CheckedChannel | null {
    return this.accepting?.take() ?? null;
  }

  /**
   * How many connections an accept event may take: as many as there are entries
   * with a turn. In a crowded pass, new clients must not wait one pass each.
   */
  override get acceptBatch(): number {
    return Math.max(1, this.reactor.turns.readyCount);
  }

  override join(reactor: Reactor): void {
    const timers = this.accepting?.timers;
    super.join(reactor);
    if (timers && timers.heap !== reactor.timers) timers.moveTo(reactor.timers);
  }

  protected override shiftTime(change: number): void {
    this.accepting?.shift(change);
  }

  protected override watch(): void {
    const accepting = this.accepting;
    if (accepting === null) return;
    if (accepting.ready) this.reactor.queue(this);
    else accepting.arm();
  }

  override read(): void {
    if (this.held || this.interest === null) return;
    const accepting = this.accepting;
    if (this.due !== null) this.tellDue();
    else if (accepting === null) return;
    else if (accepting.ended) this.hooks.closeWithError(accepting.error);
    else if (!accepting.ready) {
      if (!this.asks) this.watch();
    } else if (this.asks ? this.wantsRead : this.#decidesToAccept()) {
      this.#dispatchAccept();
    }
  }

  #decidesToAccept(): boolean {
    try {
      return this.wantsRead = !this.isHeldBack;
    } catch (error) {
      this.refuse(error);
      return false;
    }
  }

  #dispatchAccept(): void {
    this.reactor.tick++;
    try {
      this.hooks.run(ACCEPT);
    } finally { // An ExitNow must not leave a deaf listener behind.
      const goesOn = !this.held && this.joined && !this.asks;
      if (goesOn) this.reactor.turns.readSoon(this);
    }
  }

  override get releaseTimeout(): number {
    return this.#isAborted ? 0 : this.options.linger;
  }

  override abort(reason: Error | null = null): void {
    if (!this.closed) this.ownReason ??= reason;
    this.#isAborted = true;
    if (this.closed && this.release.isWaiting) this.release.free();
    else this.close();
  }

  override close(): void {
    if (this.closed) return;
    this.#go("close");
    this.leave();
    this.accepting?.close();
    this.release.close(this.acceptor);
    this.release.track(this.accepting?.whenClosed());
    this.release.begin(true);
  }

  #go(event: EventOf<typeof LISTENER_STATES>): void {
    this.#state = next(LISTENER_STATES, this.#state, event);
  }
}

/** The parts of a listener that takes over another one, with its limits. */
function limitedAs({ options }: Listener, parts: SocketParts): SocketParts {
  const { maxConnections, handshakeTimeout } = options;
  const limits = { maxConnections, handshakeTimeout };
  return { ...parts, options: { ...parts.options, ...limits } };
}
