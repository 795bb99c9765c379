/**
 * A connection: when its dispatcher gets which event. Other files have its parts:
 * connecting.ts, sending.ts, closing.ts, limits.ts.
 *
 * `read()` looks at these things in order, and acts on the first that it finds:
 *
 * 1. a hook that had to wait: it belongs to an earlier event;
 * 2. a closed connection: its dispatcher gets no events any more;
 * 3. the outcome of connect(): before it there is nothing to read;
 * 4. a failed write, unless the peer's last bytes come first;
 * 5. a peer whose end was told: there is nothing left to read;
 * 6. a class without handleRead(): it reads on only to find the end;
 * 7. no bytes and no end: it starts the next read;
 * 8. bytes or the end: a read event, if `readable()` allows it.
 *
 * @module
 */

import type { CheckedChannel } from "./channel.ts";
import { ChannelSource } from "./channel_source.ts";
import { Closing, type ClosingConnection } from "./closing.ts";
import { Connecting, type Outcome } from "./connecting.ts";
import { failureOf, isReset } from "./errors.ts";
import { shakeHands } from "./handshake.ts";
import {
  type ChannelHolder,
  dropped,
  type Handover,
  handoverOf,
  takeOver,
} from "./handover.ts";
import { hold } from "./holders.ts";
import type { Hook } from "./hooks.ts";
import { Limits, type TimeoutKind } from "./limits.ts";
import { textOf } from "./log.ts";
import type { Network } from "./network.ts";
import { pollerOf } from "./poller.ts";
import { CachedAnswer, syncAnswer } from "./predicates.ts";
import { SendingSocket, WRITING_STATES } from "./sending.ts";
import type { Reactor } from "./reactor.ts";
import type { ConnectTarget } from "./socket_options.ts";
import { type EventOf, next } from "./states.ts";
import { ownSource, type ReadListener, type Source } from "./source.ts";
import type { Upgradable } from "./start_tls.ts";
import { Unheard } from "./unheard.ts";
import { Writer } from "./writer.ts";
import { WriteFailure } from "./write_failure.ts";

/**
 * The states of a connection, and the events that lead from one to another. An
 * event that a state does not list changes nothing.
 *
 * After `close()`, the dispatcher sees that it is closed; while it lingers,
 * `Dispatcher.closing` is true.
 */
export const CONNECTION_STATES = {
  created: { connect: "connecting", adopt: "connected" },
  /** An attempt is under way, or handleConnect() has not ended. */
  connecting: {
    established: "connected",
    linger: "lingering",
    release: "releasing",
    handOver: "handedOver",
  },
  connected: {
    linger: "lingering",
    release: "releasing",
    handOver: "handedOver",
  },
  /** It sends its accepted bytes, and waits for the peer to end its side. */
  lingering: { release: "releasing" },
  /** The channel is closed, and an operation of the system has not settled. */
  releasing: { free: "free" },
  /** The system has released the socket. */
  free: {},
  /** Another dispatcher has taken it over, or detach() has. */
  handedOver: { adopt: "connected" },
} as const;

/** The states of the reading direction. */
export const READING_STATES = {
  open: { end: "ended" },
  /** The peer's end was told, or ignored as this side is about to end, too. */
  ended: { resume: "open" },
} as const;

/** The states in which it has given its channel up. */
const RELEASED: ReadonlySet<string> = new Set([
  "releasing",
  "free",
  "handedOver",
]);

const NO_BYTES = new Uint8Array(0);

const READ: Hook = (pollable) => pollable.handleReadEvent();
const CONNECT: Hook = (pollable) => pollable.handleConnectEvent();

/** One connection of a dispatcher. */
export class Connection extends SendingSocket
  implements ReadListener, ClosingConnection, Upgradable, ChannelHolder {
  state: keyof typeof CONNECTION_STATES = "created";
  #reading: keyof typeof READING_STATES = "open";
  source: Source | null = null;
  /** The attempt to connect, until handleConnect() has run. */
  connecting: Connecting | null = null;
  /** How the attempt ended, until the loop dispatches it. */
  outcome: Outcome | null = null;
  /** How it tells of a failed write, once there is one. */
  failure: WriteFailure | null = null;
  /** How many bytes had been taken before the last read event. */
  #takenBefore = 0;
  /** The last read event took no bytes. */
  tookNothing = false;
  #unheard: Unheard | null = null;

  override get phase(): string {
    if (this.state === "handedOver") return "handed over";
    if (this.closed) return "closed";
    const isConnecting = this.state === "connecting" ||
      this.connecting !== null;
    return isConnecting ? "connecting" : "connected";
  }

  override get closeReason(): Error | null {
    return this.ownReason ?? this.source?.reason ?? this.writer.error;
  }

  override join(reactor: Reactor): void {
    if (!this.joined) this.limits?.touch();
    super.join(reactor);
    this.reactor.pollers.use(this.source?.poller);
  }

  protected override shiftTime(change: number): void {
    this.limits?.shift(change);
  }

  // Opening

  /**
   * Takes over a connected channel, from the dispatcher that has it, if any.
   *
   * @throws {Error} If that cannot give it up now.
   */
  adopt(checked: CheckedChannel): this {
    const handover = takeOver(checked.channel);
    if (handover === null) {
      this.go("adopt");
      this.addr = checked.addr;
      this.attach(checked);
    } else this.inherit(handover);
    this.#startLimits();
    return this;
  }

  /** Goes on with the connection of another dispatcher. */
  inherit(handover: Handover): void {
    const { checked, source, writer, role, addr, hostname } = handover;
    handover.former.successor = this;
    this.go("adopt");
    this.role = this.options.role ?? role;
    this.addr = addr;
    this.hostname = hostname;
    if (handover.hasEndedWriting) {
      this.writing = next(WRITING_STATES, this.writing, "end");
    }
    this.writer = writer;
    writer.moveTo(this);
    source.moveTo(this);
    source.inBackground = false;
    this.attach(checked, source);
  }

  /**
   * Gives the connection up, with what has arrived and what is still to be sent. Its
   * dispatcher leaves the map, and gets no further event.
   *
   * @throws {Error} If it is not connected, or bytes of it cannot be given up.
   */
  handOver(): Handover {
    const handover = handoverOf(this);
    this.go("handOver");
    this.source = null;
    this.writer = new Writer(this);
    this.leave();
    return handover;
  }

  protected override regain(heir: Connection): void {
    const handover = heir.handOver();
    super.regain(heir);
    this.inherit(handover);
    this.#startLimits();
  }

  /** Another connection of the same dispatcher, which never joins its map. */
  heir(): Connection {
    const { pollable, reactor, options } = this;
    return new Connection({ pollable, reactor, options, timers: null });
  }

  /** Starts to connect; the outcome is an event. */
  connect(network: Network, target: ConnectTarget): this {
    const address = this.addr = target.address;
    this.go("connect");
    this.role = this.options.role ?? "client";
    if ("hostname" in address) this.hostname = address.hostname;
    this.connecting = new Connecting({
      ...this.options,
      ...target,
      network,
      startTimer: this.time.startTimer,
      track: (operation) => this.release.track(operation),
      ended: (outcome) => this.#onOutcome(outcome),
    });
    this.connecting.start();
    this.reactor.pollers.use(pollerOf(network));
    return this;
  }

  #onOutcome(outcome: Outcome): void {
    if (!this.closed) {
      this.outcome = outcome;
      this.queue();
    } else this.closing!.onOutcome(outcome);
  }

  /** Uses `checked` from now on: a new channel, or the same one over TLS. */
  attach(checked: CheckedChannel, source?: Source): void {
    const taken = this.source?.taken ?? 0;
    this.checked = checked;
    hold(checked.channel, this);
    this.source = source ?? ownSource(checked, this) ??
      new ChannelSource(checked, this);
    this.source.taken = taken;
    this.reactor.pollers.use(this.source.poller);
    this.writer.attach(this.source);
    this.closing?.attach(checked, this.source);
  }

  shakeHands(checked: CheckedChannel): Promise<void> {
    const { handshakeTimeout } = this.options;
    return shakeHands(checked, handshakeTimeout, this.time.startTimer);
  }

  #startLimits(): void {
    const { idleTimeout, lifetime } = this.options;
    if (idleTimeout === Infinity && lifetime === Infinity) return;
    this.limits = new Limits(this.options, {
      ...this.time,
      expired: (kind) => this.#onExpired(kind),
    });
  }

  #onExpired(kind: TimeoutKind): void {
    const tell = () => {
      this.reactor.tick++;
      this.hooks.run((it) => it.handleTimeout(kind));
    };
    if (this.joined && !this.held) tell();
    // A pending hook causes the silence itself, so only a lifetime counts then.
    else if (kind === "lifetime") this.#cut(tell);
  }

  /** Ends the connection at once. The hooks run when no promise is pending. */
  #cut(tell: () => void): void {
    const { hooks } = this;
    const reason = `the lifetime of ${this.options.lifetime} ms is over`;
    if (!hooks.hasClosed) this.ownReason ??= new Deno.errors.TimedOut(reason);
    this.sendRest();
    this.#beginClosing();
    const end = () => hooks.whenSettled(() => hooks.closeInAnyCase());
    this.whenMay(() => hooks.inAnyCase(tell, end), true);
  }

  // Reading

  onReadable(): void {
    if (this.closing !== null) {
      this.closing.onReadable();
      return;
    }
    if (this.place >= 0) {
      this.reactor.predicates.remember(this, CachedAnswer.unknown);
    }
    this.limits?.touch();
    this.failure?.onReadable();
    if (this.joined) this.reactor.queue(this);
  }

  protected override get isWatching(): boolean {
    // A read behind bytes that wait tells of the end only.
    return this.source !== null && this.source.isWatching &&
      !this.source.isReadable;
  }

  protected override watch(): void {
    const { source } = this;
    if (source === null) return;
    if (!source.isReadable) source.watch();
    else if (this.tookNothing && this.#isUnheard) this.#readUnheard();
    else if (this.#reading === "open" || !this.#isHalfOpen) {
      this.reactor.queue(this);
    }
  }

  /** Bytes wait, and the class has no handleRead(): one read event was enough. */
  get #isUnheard(): boolean {
    return this.tookNothing && this.interest?.reads === false;
  }

  /**
   * Reads on for a class without handleRead(), to tell it of the end: for other
   * classes, recv() does that.
   */
  #readUnheard(): void {
    const source = this.source!;
    // A dispatcher that calls recv() from elsewhere gets all bytes before the end.
    const hasReader = source.taken > 0 && source.available > 0;
    if (source.ended) {
      if (this.#reading === "open" && !hasReader) this.#tellEnd();
    } else if (!source.watchBehind() && !hasReader) {
      (this.#unheard ??= new Unheard(this)).drop();
    }
  }

  /** The dispatcher knows that the peer has ended its side; only writing goes on. */
  get #isHalfOpen(): boolean {
    return this.#reading === "ended" &&
      (this.source!.available === 0 || this.#isUnheard);
  }

  protected override get hasNews(): boolean {
    return super.hasNews || this.outcome !== null || this.writer.failed;
  }

  /** Gives it its turn to read. The head of this file tells the order of the steps. */
  override read(): void {
    // A failed entry is read once all the same: its last bytes come first.
    if (this.held || this.interest === null) return;
    if (this.writer.failed) this.#askAgain();
    if (!this.joined) return;
    const { source } = this;
    if (this.due !== null) this.tellDue();
    else if (this.closing !== null) return;
    else if (this.outcome !== null) this.#dispatchConnect(this.outcome);
    else if (this.writer.failed && this.#failureOf().isDue) {
      this.#failureOf().tell();
    } else if (source === null) return;
    else if (this.#reading === "ended" && this.#isHalfOpen) return;
    else if (this.tookNothing && this.#isUnheard) this.#readUnheard();
    else if (source.available === 0 && !source.ended) {
      if (!this.asks) this.watch();
    } else if (this.interest.asks) {
      if (this.wantsRead) this.#dispatchRead();
    } else {
      this.wantsRead = true; // An own readable() may have said no, and be gone.
      if (!this.interest.hasBackpressure || this.#hasRoom()) {
        this.#dispatchRead();
      }
    }
  }

  /** Whether backpressure lets it read. For entries that a pass does not ask. */
  #hasRoom(): boolean {
    try {
      return this.wantsRead = syncAnswer("readable", this.pollable.readable());
    } catch (error) {
      this.refuse(error);
      return false;
    }
  }

  /** Asks again after a failed write: it has ended the backpressure, if any. */
  #askAgain(): void {
    if (this.asks && !this.wantsRead && !this.failure?.isTold) this.ask();
  }

  #dispatchRead(): void {
    this.reactor.tick++;
    this.#takenBefore = this.source!.taken;
    this.event = "read";
    this.sendsAfterHook = this.writer.isImmediate;
    try {
      this.hooks.run(READ);
    } finally { // An ExitNow must not leave a deaf dispatcher behind.
      if (this.sendsAfterHook) this.sendAfterHook();
      if (!this.held && this.joined) this.#goOnReading();
    }
  }

  #goOnReading(): void {
    this.#afterRead();
    if (!this.joined) return;
    if (this.writer.failed && this.#failureOf().isDue) this.queue();
    if (!this.asks) this.reactor.turns.readSoon(this, this.writer.isImmediate);
  }

  #afterRead(): void {
    this.event = null;
    this.tookNothing = this.source!.taken === this.#takenBefore;
    if (this.tookNothing && this.#isUnheard) this.#readUnheard();
  }

  #dispatchConnect(told: Outcome): void {
    const outcome = this.connecting!.look(told);
    this.outcome = null;
    this.reactor.tick++;
    if ("error" in outcome) {
      this.writer.fail(failureOf("connect()", outcome.error));
      this.hooks.closeWithError(outcome.error);
      return;
    }
    const { checked } = outcome;
    this.addr = checked.addr ?? this.addr;
    this.attach(checked);
    this.onUrgent();
    this.#startLimits();
    this.hooks.run(CONNECT, () => this.#connected());
  }

  #connected(): void {
    if (this.closed) return;
    this.go("established");
    this.connecting = null;
    if (!this.joined) return;
    // Python's select() reports the connect as a write event, so the first
    // handleWrite() follows at once.
    if (this.wantsWrite) this.offerWriteEvent();
    if (!this.asks) this.watch();
  }

  #failureOf(): WriteFailure {
    return this.failure ??= new WriteFailure(this);
  }

  /** Received bytes; none at the end of the stream, when `handleClose()` has run. */
  receive(size: number): Uint8Array {
    return this.#canReceive() ? this.source!.take(size) : NO_BYTES;
  }

  /** Copies received bytes into `target`; returns 0 at the end of the stream. */
  receiveInto(target: Uint8Array): number {
    return this.#canReceive() ? this.source!.takeInto(target) : 0;
  }

  #canReceive(): boolean {
    if (this.closed || this.closing !== null) return false;
    const { source } = this;
    if (source !== null && source.available > 0) {
      if (source.discarded > 0) throw dropped("receive", source.discarded);
      // recv() was called outside of a hook: start the next read.
      if (this.tookNothing && this.joined) this.reactor.queue(this);
      this.tookNothing = false;
      return true;
    }
    if (!source?.ended) throw nothingWaits(this.pollable);
    this.#endOfStream();
    return false;
  }

  /** Tells of the end of the stream, or throws the error that ended it. */
  #endOfStream(): void {
    const source = this.source!;
    const error = source.takeError();
    if (error !== null) throw error;
    const { allowHalfOpen } = this.options;
    const isFinishing = this.writing === "finishing" ||
      this.writing === "finished";
    const goesOn = source.reason === null && (allowHalfOpen || isFinishing);
    if (!goesOn) this.hooks.close();
    else if (this.#reading === "open" && !this.hooks.hasClosed) {
      this.#reading = next(READING_STATES, this.#reading, "end");
      if (this.hasEndedWriting) this.#endBothWhenSent();
      else if (allowHalfOpen) this.hooks.run((it) => it.handleEnd());
    }
  }

  /** Tells of the end of the stream, where no recv() does so. */
  #tellEnd(): void {
    try {
      this.#endOfStream();
    } catch (error) {
      this.hooks.closeWithError(error);
    }
  }

  // Writing

  /**
   * Promises that this side ends the connection, or its writing, after the bytes
   * that are still to be sent: until then, the peer's end changes nothing. `false`
   * takes the promise back.
   */
  finish(isFinishing: boolean): void {
    const isTakenBack = this.writing === "finishing" && !isFinishing;
    const event = isFinishing ? "finish" : "resume";
    this.writing = next(WRITING_STATES, this.writing, event);
    // The peer may have ended its side since: tell of it now.
    if (isTakenBack && !this.options.allowHalfOpen) {
      this.#reading = next(READING_STATES, this.#reading, "resume");
    }
  }

  /** Ends the writing direction when all accepted bytes have gone out. */
  shutdownWrite(): void {
    if (this.hasEndedWriting) return;
    this.writing = next(WRITING_STATES, this.writing, "end");
    this.endWriting();
    if (this.#reading === "ended") this.#endBothWhenSent();
  }

  /** Both sides have ended: `handleClose()` runs when all bytes have gone out. */
  #endBothWhenSent(): void {
    this.sent().then(() => this.writer.closed)
      .then(() => this.whenMay(() => this.hooks.closeInAnyCase()));
  }

  override resume(): void {
    this.limits?.touch();
    if (this.event === "write") this.afterWrite();
    else this.reactor.tick++;
    if (this.event === "read" && this.joined) this.#afterRead();
    if (!this.joined) return;
    this.reactor.queue(this);
    this.queueWriteIfDue();
  }

  // Ending: see closing.ts

  /** Changes the state by an event of `CONNECTION_STATES`. */
  go(event: EventOf<typeof CONNECTION_STATES>): void {
    this.state = next(CONNECTION_STATES, this.state, event);
  }

  override get lingers(): boolean {
    return this.closed && this.state === "lingering";
  }

  /** The peer has reset the connection: the kernel dropped what it still held. */
  get wasReset(): boolean {
    return this.writer.written > 0 && isReset(this.source?.reason);
  }

  override get hasLost(): boolean {
    return this.writer.lost + this.lostBehind > 0 || this.wasReset ||
      (this.closing?.hasLost ?? false);
  }

  override get isBusy(): boolean {
    return this.source !== null && this.source.isBusy;
  }

  override get releaseTimeout(): number {
    return this.closing!.releaseTimeout;
  }

  get isReleased(): boolean {
    return RELEASED.has(this.state);
  }

  #beginClosing(): void {
    // An override of send() has closed or aborted it. settled() goes on.
    if (this.closing !== null || this.gate?.isBusy) return;
    this.closing = new Closing(this);
    this.closing.begin();
  }

  override close(): void {
    if (this.closed) return;
    this.sendRest();
    if (!this.closed) this.leave(); // An override of send() may have closed it.
    this.#beginClosing();
  }

  override settled(): void {
    if (!this.closed || this.isReleased) return;
    this.sendRest();
    this.#beginClosing();
  }

  override abort(reason: Error | null = null): void {
    this.dropHeld(reason && "were held back by its class");
    this.leave();
    this.closing ??= new Closing(this);
    this.closing.abort(reason);
  }

  override onFree(): void {
    this.closing!.onFree();
  }
}

function nothingWaits(pollable: object): Error {
  return new Deno.errors.WouldBlock(
    `Cannot receive: no bytes wait for ${textOf(pollable)}: ` +
      "call recv() once in each handleRead()",
  );
}
