/**
 * The writing direction of a connection, as its dispatcher sees it: how many bytes
 * it may send, and when it gets a write event.
 *
 * @module
 */

import { LONGEST_STALL, type Role, Stall } from "./backpressure.ts";
import type { Channel, CheckedChannel } from "./channel.ts";
import type { Closing } from "./closing.ts";
import { warnOfFullSend } from "./full_send.ts";
import { Gate, type GatedConnection } from "./gate.ts";
import type { Hook } from "./hooks.ts";
import { interestOf } from "./interest.ts";
import type { Limits } from "./limits.ts";
import { textOf } from "./log.ts";
import { syncAnswer } from "./predicates.ts";
import { Socket, type SocketParts } from "./socket.ts";
import type { Source } from "./source.ts";
import { ENTRY, GATE, HAS_OUTPUT, WAKE } from "./symbols.ts";
import { Writer, type WriterListener } from "./writer.ts";

/** The states of the writing direction. */
export const WRITING_STATES = {
  open: { finish: "finishing", end: "ended" },
  /** This side will end, after the bytes that it has promised to send. */
  finishing: { resume: "open", end: "finished" },
  ended: { finish: "finished" },
  /** Ended and finishing. */
  finished: { resume: "ended" },
} as const;

/**
 * A connection is writable while fewer bytes than this are on their way. A larger
 * number keeps a peer on a slow link busier; a smaller one costs less memory for
 * each connection. The value is a choice: Linux takes about as much at once for a
 * new connection. Over the loopback, 16 and 256 KiB cost the same processor time,
 * within the noise.
 */
const WRITABLE_BELOW = 64 * 1024;

const WRITE: Hook = (pollable) => pollable.handleWriteEvent();
const WAKEN: Hook = (pollable) => pollable[WAKE]();
const EXPT: Hook = (pollable) => pollable.handleExptEvent();

/** The writing part of a connection. */
export abstract class SendingSocket extends Socket
  implements WriterListener, GatedConnection {
  abstract readonly state: string;
  abstract readonly source: Source | null;
  protected writing: keyof typeof WRITING_STATES = "open";
  writer: Writer = new Writer(this);
  /** The bytes that have to pass an overridden `send()` or `writable()`, if any. */
  gate: Gate | null = null;
  checked: CheckedChannel | null = null;
  /** The event of the hook that runs, or whose promise is pending. */
  protected event: "read" | "write" | null = null;
  /** Its closing, once that has begun. */
  closing: Closing | null = null;
  limits: Limits | null = null;
  /** The host name that connect() got. */
  hostname: string | undefined = undefined;
  /** Its role. Without the option, `connect()` makes it a client. */
  role: Role;
  /** Made when backpressure begins for the first time. */
  #stall: Stall | null = null;
  /** How many bytes had been accepted before the last write event. */
  #acceptedBefore = 0;
  /** A write event is due. */
  protected isWriteDue = false;
  /** A write event is wanted, and waits for room. */
  #awaitsRoom = false;
  /** It is woken when this many bytes or fewer are pending; -1 for never. */
  #wakeBelow = -1;
  protected isWakeDue = false;
  /** Urgent data has arrived that was not told yet. */
  #isUrgentDue = false;

  /** How many accepted bytes were lost because they waited behind a producer, say. */
  lostBehind = 0;
  /** Its bytes come from streams, and go to streams. Set by toStreams(). */
  hasStreams = false;
  /**
   * The bytes of the running hook go out when it returns: the system's knowledge of
   * the socket is still in the processor's caches, from its read.
   */
  protected sendsAfterHook = false;
  /** The running write event brings the yes of `writable()`, for one piece. */
  #hasYes = false;

  constructor(parts: SocketParts, former: Socket | null = null) {
    super(parts, former);
    this.role = this.options.role ?? "server";
  }

  override get localAddr(): Deno.Addr | null {
    return this.checked === null ? null : this.checked.localAddr;
  }

  override get wrapped(): Channel | null {
    return this.checked === null ? null : this.checked.channel;
  }

  /** Its writing direction has ended, or will end after the accepted bytes. */
  get hasEndedWriting(): boolean {
    return this.writing === "ended" || this.writing === "finished";
  }

  /** Accepted bytes can still be sent. */
  get isSending(): boolean {
    return !this.writer.failed && !this.closed && this.closing === null;
  }

  /** How many bytes may be on their way. */
  get #room(): number {
    const { chunkSize } = this.checked!;
    // While one chunk is written, the program can prepare the next one.
    return chunkSize === undefined ? WRITABLE_BELOW : 2 * chunkSize;
  }

  /** Fewer bytes than may be are on their way. */
  get hasRoom(): boolean {
    return this.writer.pending < this.#room;
  }

  /** How many accepted bytes have yet to leave for the peer. */
  get pending(): number {
    const { writer, gate } = this;
    return gate === null || writer.failed
      ? writer.pending
      : writer.pending + gate.bytes;
  }

  /** Accepts bytes: all, or none while earlier ones fill the room for them. */
  send(data: Uint8Array): number {
    const { writer, gate } = this;
    if (writer.failed || this.closing !== null) return 0;
    if (gate?.state !== "flushing") {
      if (this.closed || this.checked === null) return 0;
      const isBuffered = gate !== null && gate.isBusy; // Accepted before the end.
      if (this.writing !== "open" && !isBuffered) this.checkWritable();
      if (writer.pending > 0 && writer.pending >= this.#room) {
        if (data.length > 0 && !this.hasStreams) {
          warnOfFullSend(this.pollable, data.length, writer.pending);
        }
        return 0;
      }
    }
    writer.append(data);
    if (this.sendsAfterHook) return data.length;
    if (this.reactor.turns.gathers) this.reactor.turns.sendSoon(this);
    else writer.start();
    return data.length;
  }

  /** Accepts all bytes, even if many wait already. `sendSoon()` sends them. */
  buffer(data: Uint8Array): number {
    if (!this.isSending) return 0;
    this.checkWritable();
    const isGated = this.pollable[GATE]() !== "none" || this.isHeld ||
      this.sendsInEvents;
    if (isGated) this.ownGate.push(data);
    else this.writer.append(data);
    return data.length;
  }

  /** Its class overrides the hook of a write event, which sends what is buffered. */
  get sendsInEvents(): boolean {
    const interest = this.interest ?? interestOf(this.pollable);
    return interest.sendsInEvents && !this.hasStreams;
  }

  /** Bytes wait at the gate, and it sends on as it is woken. */
  get sendsOnWake(): boolean {
    return this.isHeld && !this.sendsInEvents;
  }

  /** It sends on in its next write event. */
  get awaitsEvent(): boolean {
    return this.sendsInEvents && this.event !== "write";
  }

  /** The gate of a class that overrides a method that has a say in sending. */
  get ownGate(): Gate {
    return this.gate ??= new Gate(this);
  }

  /** Buffered bytes have yet to pass the gate. */
  get isHeld(): boolean {
    return this.gate !== null && this.gate.bytes > 0;
  }

  /** Sends accepted bytes: at once, or together with the others of the pass. */
  sendSoon(): void {
    if (this.isHeld) this.sendThrough();
    else if (!this.sendsAfterHook) this.reactor.turns.sendSoon(this);
  }

  /** Sends the bytes of the hook that has returned. */
  protected sendAfterHook(): void {
    this.sendsAfterHook = false;
    this.writer.start();
  }

  /**
   * Sends what waits at the gate, as far as `writable()` and the room allow.
   *
   * @throws What `writable()` and `send()` throw.
   */
  override sendThrough(): void {
    if (this.gate === null || this.checked === null) return;
    this.gate.pass();
    if (this.pending <= this.#wakeBelow) this.wake();
  }

  /** It overrides `writable()`, so each pass asks it. */
  get asksWritable(): boolean {
    return this.pollable[GATE]() === "writable";
  }

  /** Whether an overridden `writable()` lets the next piece pass, or the close. */
  mayPass(): boolean {
    if (!this.asksWritable) return true;
    const hasYes = this.#hasYes;
    this.#hasYes = false;
    return hasYes || syncAnswer("writable", this.pollable.writable());
  }

  /** Nor has the program given the dispatcher another socket. */
  get mayFlush(): boolean {
    return !this.writer.failed && this.closing === null &&
      this.pollable[ENTRY] === this;
  }

  abstract settled(): void;

  /** Ends the writing direction, if it is to end. */
  passed(): void {
    if (this.hasEndedWriting) this.writer.end();
  }

  /**
   * Sends what waits at the gate, as this side closes: no predicate will be asked
   * any more. Warns of what `send()` does not take. If `send()` closes, this comes
   * when it has returned.
   */
  protected sendRest(): void {
    const { gate } = this;
    if (gate === null || gate.bytes === 0 || gate.isBusy) return;
    // After a failure, a hook tells of the loss.
    if (this.writer.failed || this.closing !== null) this.dropHeld(null);
    else {
      if (gate.state !== "failed") {
        this.reactor.outside(() => void gate.flush());
      }
      this.dropHeld("were held back by send()");
    }
  }

  /** Drops what waits at the gate. Warns of that if there is a reason. */
  protected dropHeld(reason: string | null): void {
    const bytes = this.gate === null ? 0 : this.gate.bytes;
    if (bytes === 0) return;
    this.gate!.clear();
    if (reason === null) this.lostBehind += bytes;
    else this.loseBehind(bytes, reason);
  }

  /**
   * Sends all that waits at the gate, as another dispatcher takes the connection.
   *
   * @throws {Error} If `send()` does not take it.
   */
  flushGate(): void {
    const { gate } = this;
    if (gate === null) return;
    try {
      if (gate.flush()) return;
    } finally {
      this.settled();
    }
    throw new Error(
      `${textOf(this.pollable)}: send() holds back ${gate.bytes} bytes`,
    );
  }

  /** Ends the writing direction when all accepted bytes have gone out. */
  protected endWriting(): void {
    if (!this.isHeld) this.writer.end();
  }

  /** Drops the bytes that have not begun to be sent. */
  discard(): void {
    this.writer.discard();
    if (this.isHeld) this.gate!.clear();
  }

  /** Resolves when all accepted bytes have gone out, or when writing has failed. */
  async sent(): Promise<void> {
    await this.gate?.whenPassed();
    await this.writer.done();
  }

  override startSending(): void {
    this.writer.start();
  }

  /** Throws if the writing direction of an open connection has ended. */
  checkWritable(): void {
    if (!this.hasEndedWriting || this.writer.failed || this.closed) return;
    throw new Error(
      `Cannot send: ${textOf(this.pollable)} has ended its writing direction`,
    );
  }

  protected override offerWrite(): void {
    this.isWriteDue = false;
    if (this.wantsWrite && this.state === "connected") this.offerWriteEvent();
  }

  protected offerWriteEvent(): void {
    const { writer, reactor } = this;
    if (writer.failed) return;
    if (this.#hasNoOutput) return;
    // A dispatcher that had nothing to add waits until something has happened. Only
    // a writable() of its own may have changed its mind.
    const isIdle = this.idleTick === reactor.tick &&
      (writer.pending > 0 || !this.asksWritable);
    if (writer.pending >= this.#room || isIdle) this.#awaitsRoom = true;
    else {
      this.isWriteDue = true;
      reactor.queueWrite(this);
    }
  }

  /**
   * A write event would do nothing, and keep the loop from waiting: the gate calls
   * `send()` again later, or the library sends for it, and has nothing to send.
   */
  get #hasNoOutput(): boolean {
    if (this.gate?.isRetrying) return true;
    return this.interest !== null && this.interest.sendsItself &&
      !this.isHeld && !this.pollable[HAS_OUTPUT]();
  }

  override enter(): void {
    super.enter();
    if (this.interest === null) return;
    if (this.isWakeDue) this.reactor.queueWrite(this);
    this.onUrgent();
  }

  override write(): void {
    if (this.held || this.closing !== null) return;
    try {
      if (this.isWakeDue) {
        this.isWakeDue = false;
        this.reactor.tick++;
        this.hooks.run(WAKEN);
      }
      if (this.isWriteDue && this.joined && !this.held) this.#dispatchWrite();
    } catch (error) { // After an ExitNow, the other events still come.
      this.queueWriteIfDue();
      throw error;
    }
    // In Python, urgent data comes behind the other events of a look.
    if (this.#isUrgentDue && this.joined && !this.held) this.#dispatchUrgent();
  }

  /** Gives it its turn to write, if an event is due in it. */
  protected queueWriteIfDue(): void {
    if (this.isWakeDue || this.isWriteDue || this.#isUrgentDue) {
      this.reactor.queueWrite(this);
    }
  }

  #dispatchWrite(): void {
    this.isWriteDue = false;
    this.#acceptedBefore = this.writer.accepted;
    this.idleTick = this.reactor.tick;
    this.event = "write";
    this.#hasYes = true;
    this.sendsAfterHook = this.writer.isImmediate;
    try {
      this.hooks.run(
        this.hasStreams && this.isHeld ? this.#passFirst() : WRITE,
      );
    } finally {
      if (this.sendsAfterHook) this.sendAfterHook();
      this.#hasYes = false;
      if (!this.held) this.afterWrite();
    }
  }

  /** A write event with bytes of streams at the gate: they pass before the hook. */
  #passFirst(): Hook {
    const { writes, sendsItself } = this.interest!;
    return (pollable) => {
      this.sendThrough();
      if (writes || sendsItself) return pollable.handleWriteEvent();
    };
  }

  /** Urgent data may have arrived: gives it its turn. */
  onUrgent(): void {
    this.#isUrgentDue = this.source?.urgent?.isDue === true;
    if (!this.#isUrgentDue || !this.joined) return;
    this.limits?.touch();
    this.reactor.queueWrite(this);
  }

  #dispatchUrgent(): void {
    const urgent = this.source?.urgent;
    this.#isUrgentDue = false;
    if (!urgent?.isDue) return; // The program has taken it already.
    urgent.next();
    this.onUrgent();
    this.reactor.tick++;
    this.hooks.run(EXPT);
  }

  hasError(): boolean {
    return this.source?.urgent?.hasError() ?? false;
  }

  /**
   * Sends accepted bytes as far as the system takes them.
   *
   * @returns Whether all have gone out.
   */
  flush(): boolean {
    this.writer.start();
    return this.pending === 0;
  }

  /** Counts the write event as news for others only if it brought bytes. */
  protected afterWrite(): void {
    this.event = null;
    if (this.writer.accepted > this.#acceptedBefore) this.reactor.tick++;
  }

  /** A write has ended, or writing has failed. */
  onProgress(): void {
    const { writer } = this;
    if (this.closing !== null) {
      this.closing.onProgress();
      return;
    }
    if (writer.failed) {
      this.wantsRead ||= !this.asks;
      this.queue();
      return;
    }
    this.limits?.touch();
    if (this.isHeld || this.pending <= this.#wakeBelow) this.wake();
    this.#stall?.touch();
    // Backpressure may have kept it from reading.
    if (!this.wantsRead) this.lookAgain();
    if (this.#awaitsRoom) this.reactor.notice();
    this.#awaitsRoom = false;
  }

  /** Warns of accepted bytes that were lost behind a producer, say. */
  loseBehind(bytes: number, reason: string): void {
    this.lostBehind += bytes;
    this.warn(
      `was closed and lost ${bytes} bytes that ${reason}`,
      { kind: `was closed and lost bytes that ${reason}`, lost: bytes },
    );
  }

  // Backpressure

  /** Wakes its dispatcher, once, when no more than `amount` bytes are pending. */
  wakeBelow(amount: number): void {
    this.#wakeBelow = amount;
    if (!this.isHeld) this.isWakeDue = false; // The gate waits for its turn.
    if (this.pending <= amount) this.wake();
  }

  /** It will wake its dispatcher when fewer bytes are pending. */
  get awaitsWake(): boolean {
    return this.#wakeBelow >= 0;
  }

  /** Wakes its dispatcher in its next turn. */
  wake(): void {
    this.#wakeBelow = -1;
    this.isWakeDue = true;
    if (this.joined) this.reactor.queueWrite(this);
  }

  /** Makes the loop ask again whether to read: there may be more room now. */
  lookAgain(): void {
    if (this.asks) this.reactor.notice();
    else this.queue();
  }

  /** Whether to read, if `isFull` says that the high-water mark is reached. */
  mayRead(isFull: boolean): boolean {
    const isHeldBack = isFull && this.role === "server";
    if (isHeldBack) this.#stall ??= this.#watchStall();
    this.#stall?.set(isHeldBack);
    return !isHeldBack;
  }

  #watchStall(): Stall {
    return new Stall(this.reactor.timers, this.timers, () => {
      // The peer may have taken bytes since the last time that readable() ran.
      if (syncAnswer("readable", this.pollable.readable())) return false;
      this.warn(
        `was not read for ${LONGEST_STALL} ms, as much waits to be sent and ` +
          "its peer takes nothing. If this side is the client, give it the " +
          'option role: "client"; a server that must read on overrides readable()',
      );
      return true;
    });
  }
}
