/**
 * A connection on its way from one dispatcher to the next, with all that it has
 * read ahead and all that it has accepted and not sent. A channel that a dispatcher
 * holds is never shared: `new Handler(this.socket)` takes the connection over.
 *
 * @module
 */

import type { Role } from "./backpressure.ts";
import type { Channel, CheckedChannel } from "./channel.ts";
import type { Entry } from "./entry.ts";
import { hold, type Holder, holderOf } from "./holders.ts";
import { textOf } from "./log.ts";
import type { ReadListener, Source } from "./source.ts";
import { HAND_OVER } from "./symbols.ts";
import { unread } from "./unread_source.ts";
import type { Writer } from "./writer.ts";

/** A connection without a dispatcher. */
export interface Handover {
  readonly checked: CheckedChannel;
  /** What has arrived, and what arrives. */
  readonly source: Source;
  /** The accepted bytes that are not sent yet. */
  readonly writer: Writer;
  /** Its role, unless the next dispatcher has another one. */
  readonly role: Role;
  readonly addr: Deno.Addr | null;
  /** The host name that connect() got. */
  readonly hostname: string | undefined;
  /** Its writing direction has ended, or ends after the accepted bytes. */
  hasEndedWriting: boolean;
  /** The connection of the dispatcher that has given it up. */
  readonly former: Held;
}

/** The holder of a channel, which can hand it over. */
export interface ChannelHolder extends Holder {
  /**
   * Gives the connection up.
   *
   * @throws {Error} If it is closed, or cannot be handed over now.
   */
  handOver(): Handover;
}

/**
 * Takes a channel over from its holder.
 *
 * @returns `null` if nobody holds it.
 * @throws {Error} If it is closed, or cannot be handed over now.
 */
export function takeOver(channel: Channel): Handover | null {
  const own = channel instanceof DetachedChannel ? channel.wrapped : channel;
  const holder = holderOf(own) as ChannelHolder | undefined;
  return holder?.handOver() ?? null;
}

/** A connection that is to be handed over. */
interface Held {
  readonly pollable: { [HAND_OVER](flush: () => void): Uint8Array | null };
  readonly closed: boolean;
  readonly closing: object | null;
  readonly checked: CheckedChannel | null;
  readonly source: Source | null;
  readonly writer: Writer;
  readonly role: Role;
  readonly addr: Deno.Addr | null;
  readonly hostname: string | undefined;
  readonly hasEndedWriting: boolean;
  /** The bytes that have arrived are in the hands of toStreams(). */
  readonly hasStreams: boolean;
  /** The connection that goes on for this one. */
  successor: Entry | null;
  /** Sends what an overridden `send()` has yet to send. */
  flushGate(): void;
  /** Another connection of the same dispatcher. */
  heir(): { inherit(handover: Handover): void; close(): void };
}

/**
 * All that the next dispatcher of a connection gets.
 *
 * @throws {Error} If the connection is not connected, or bytes of it cannot be
 * given up now.
 */
export function handoverOf(connection: Held): Handover {
  checkHandover(connection);
  const bytes = connection.pollable[HAND_OVER](() => {
    connection.flushGate();
    checkHandover(connection); // An override of send() may have closed it.
  });
  const { writer, role, addr, hostname, hasEndedWriting } = connection;
  const source = connection.source!;
  return {
    checked: connection.checked!,
    source: bytes === null ? source : unread(source, bytes),
    writer,
    role,
    addr,
    hostname,
    hasEndedWriting,
    former: connection,
  };
}

function checkHandover(connection: Held): void {
  const { pollable, closed, closing, source, writer, hasStreams } = connection;
  let obstacle: string;
  if (closed || closing !== null) obstacle = "it is closed";
  else if (source === null) obstacle = "it is not connected yet";
  else if (writer.isDetached) obstacle = "a handshake is under way";
  else if (hasStreams) obstacle = "its streams are in use";
  else return;
  const self = textOf(pollable);
  throw new Error(`Cannot hand over the connection of ${self}: ${obstacle}`);
}

/** The channel of {@linkcode Dispatcher.detach}. */
export class DetachedChannel implements Channel, ChannelHolder, ReadListener {
  readonly remoteAddr?: Deno.Addr;
  readonly localAddr?: Deno.Addr;
  readonly chunkSize?: number;
  /** Only a channel that can end its writing direction has it. */
  readonly closeWrite?: () => Promise<void>;
  /** The channel that the dispatcher had. */
  readonly wrapped: Channel;

  /** `null` when a dispatcher has taken it over, or it is closed. */
  #handover: Handover | null;
  /** Wakes the pending read. */
  #wake: (() => void) | null = null;

  constructor(handover: Handover) {
    const { checked, source, writer, addr } = handover;
    const { localAddr, chunkSize, endsWriting, channel } = checked;
    if (addr) this.remoteAddr = addr;
    if (localAddr) this.localAddr = localAddr;
    if (chunkSize) this.chunkSize = chunkSize;
    if (endsWriting) this.closeWrite = () => this.#closeWrite();
    this.wrapped = channel;
    this.#handover = handover;
    hold(channel, this);
    source.moveTo(this);
    writer.moveTo({ onProgress() {} });
    writer.start();
  }

  get isReleased(): boolean {
    return this.#handover === null;
  }

  handOver(): Handover {
    const handover = this.#open("hand over");
    if (this.#wake !== null) {
      throw new Error("Cannot hand over a channel: a read of it is pending");
    }
    this.#handover = null;
    return handover;
  }

  async read(target: Uint8Array): Promise<number | null> {
    const { source } = this.#open("read");
    if (this.#wake !== null) {
      throw new Deno.errors.Busy("Cannot read: another read is pending");
    }
    while (source.available === 0 && !source.ended && !source.unsupported) {
      const readable = new Promise<void>((wake) => this.#wake = wake);
      source.watch();
      await readable;
      this.#open("read");
    }
    if (source.available > 0) {
      if (source.discarded > 0) throw dropped("read", source.discarded);
      return source.takeInto(target);
    }
    if (source.unsupported) {
      throw new Deno.errors.NotSupported("The channel cannot be read");
    }
    const error = source.takeError() ?? source.reason;
    if (error !== null) throw error;
    return null;
  }

  onReadable(): void {
    const wake = this.#wake;
    this.#wake = null;
    wake?.();
  }

  async write(data: Uint8Array): Promise<number> {
    const { writer, hasEndedWriting } = this.#open("write");
    if (hasEndedWriting) {
      const what = "its writing direction has ended";
      throw new Deno.errors.BrokenPipe(`Cannot write to a channel: ${what}`);
    }
    // Behind the bytes that were accepted before.
    writer.append(data);
    writer.start();
    await writer.done();
    if (writer.failed) throw writer.error;
    return data.length;
  }

  async #closeWrite(): Promise<void> {
    const handover = this.#open("end writing");
    const { writer } = handover;
    handover.hasEndedWriting = true;
    writer.end();
    await writer.done();
    await writer.closed;
    if (writer.failed) throw writer.error;
  }

  /** Sends the accepted bytes, and closes. */
  close(): void {
    const handover = this.#handover;
    if (handover === null) return;
    this.#handover = null;
    const heir = handover.former.heir();
    heir.inherit(handover);
    heir.close();
    this.onReadable(); // A pending read must settle.
  }

  #open(action: string): Handover {
    if (this.#handover !== null) return this.#handover;
    const what = "it is closed, or a dispatcher has taken it over";
    throw new Deno.errors.BadResource(`Cannot ${action} a channel: ${what}`);
  }
}

/** The error of an action that would skip bytes. */
export function dropped(action: string, bytes: number): Error {
  return new Error(
    `Cannot ${action}: ${bytes} earlier bytes were dropped, as the dispatcher ` +
      "that had them has no handleRead() and called no recv()",
  );
}
