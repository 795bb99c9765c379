/**
 * The writing direction of a connection, as its dispatcher sees it: how many bytes
 * it may send, and when it gets a write event.
 *
 * @module
 */

import { LONGEST_STALL, type Role, Stall } from "./backpressure.ts";
import type { Channel, CheckedChannel } from "./channel.ts";
import type { Closing } from "./closing.ts";
import type { Hook } from "./hooks.ts";
import type { Limits } from "./limits.ts";
import { textOf } from "./log.ts";
import { syncAnswer } from "./predicates.ts";
import { Socket, type SocketParts } from "./socket.ts";
import { WAKE } from "./symbols.ts";
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

/** The writing part of a connection. */
export abstract class SendingSocket extends Socket implements WriterListener {
  abstract readonly state: string;
  protected writing: keyof typeof WRITING_STATES = "open";
  readonly writer: Writer = new Writer(this);
  checked: CheckedChannel | null = null;
  /** The event of the hook that runs, or whose promise is pending. */
  protected event: "read" | "write" | null = null;
  /** Its closing, once that has begun. */
  closing: Closing | null = null;
  limits: Limits | null = null;
  /** Its role. Without the option, `connect()` makes it a client. */
  protected role: Role;
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

  /** How many accepted bytes were lost because they waited behind a producer. */
  lostBehind = 0;

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

  /** Accepts bytes: all, or none while earlier ones fill the room for them. */
  send(data: Uint8Array): number {
    const { writer } = this;
    if (this.checked === null) return 0;
    if (writer.failed || this.closed || this.closing !== null) return 0;
    if (this.writing !== "open") this.checkWritable();
    if (writer.pending > 0 && writer.pending >= this.#room) return 0;
    writer.append(data);
    if (this.reactor.turns.gathers) this.reactor.turns.sendSoon(this);
    else writer.start();
    return data.length;
  }

  /** Accepts all bytes, even if many wait already. `sendSoon()` sends them. */
  buffer(data: Uint8Array): number {
    if (!this.isSending) return 0;
    this.checkWritable();
    this.writer.append(data);
    return data.length;
  }

  /** Sends accepted bytes: at once, or together with the others of the pass. */
  sendSoon(): void {
    this.reactor.turns.sendSoon(this);
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
    // A dispatcher that had nothing to add waits until the write has ended.
    const isIdle = writer.pending > 0 && this.idleTick === reactor.tick;
    if (writer.pending >= this.#room || isIdle) this.#awaitsRoom = true;
    else {
      this.isWriteDue = true;
      reactor.queueWrite(this);
    }
  }

  override write(): void {
    if (this.held || this.closing !== null) return;
    if (this.isWakeDue) {
      try {
        this.isWakeDue = false;
        this.reactor.tick++;
        this.hooks.run(WAKEN);
      } catch (error) { // After an ExitNow, the write event still comes.
        if (this.isWriteDue) this.reactor.queueWrite(this);
        throw error;
      }
    }
    if (this.isWriteDue && this.joined && !this.held) this.#dispatchWrite();
  }

  #dispatchWrite(): void {
    this.isWriteDue = false;
    this.#acceptedBefore = this.writer.accepted;
    this.idleTick = this.reactor.tick;
    this.event = "write";
    try {
      this.hooks.run(WRITE);
    } finally {
      if (!this.held) this.afterWrite();
    }
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
    if (writer.pending <= this.#wakeBelow) this.wake();
    this.#stall?.touch();
    // Backpressure may have kept it from reading.
    if (!this.wantsRead) this.lookAgain();
    if (this.#awaitsRoom) this.reactor.notice();
    this.#awaitsRoom = false;
  }

  /** Warns of accepted bytes that were lost behind a producer. */
  loseBehind(bytes: number): void {
    this.lostBehind = bytes;
    this.warn(
      `was closed and lost ${bytes} bytes that waited for a producer`,
      { kind: "was closed and lost bytes behind a producer", lost: bytes },
    );
  }

  // Backpressure

  /** Wakes its dispatcher, once, when no more than `amount` bytes are pending. */
  wakeBelow(amount: number): void {
    this.#wakeBelow = amount;
    this.isWakeDue = false;
    if (this.writer.pending <= amount) this.wake();
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
          "its peer takes nothing. Where this side is the client, give it the " +
          'option role: "client"',
      );
      return true;
    });
  }
}
