/**
 * A connection on its way from one dispatcher to the next, with all that it has
 * read ahead and all that it has accepted and not sent. A channel that a dispatcher
 * holds is never shared: `new Handler(this.socket)` takes the connection over.
 *
 * @module
 */

import type { Role } from "./backpressure.ts";
import type { Channel, CheckedChannel } from "./channel.ts";
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
  readonly hasEndedWriting: boolean;
  /** Sends the accepted bytes, and closes. */
  close(): void;
}

/** The holder of a channel. */
export interface Holder {
  /**
   * Gives the connection up; `null` if it is over.
   *
   * @throws {Error} If it cannot be handed over now.
   */
  handOver(): Handover | null;
}

const holders = new WeakMap<Channel, Holder>();

/** Notes who holds a channel. */
export function hold(channel: Channel, holder: Holder): void {
  holders.set(channel, holder);
}

/**
 * Takes a channel over from its holder.
 *
 * @returns `null` if nobody holds it.
 * @throws {Error} If it cannot be handed over now.
 */
export function takeOver(channel: Channel): Handover | null {
  const holder = channel instanceof DetachedChannel
    ? channel
    : holders.get(channel);
  return holder?.handOver() ?? null;
}

/** A connection that is to be handed over. */
interface Held {
  readonly pollable: { [HAND_OVER](): Uint8Array | null };
  readonly closed: boolean;
  readonly closing: object | null;
  readonly checked: CheckedChannel | null;
  readonly source: Source | null;
  readonly writer: Writer;
  readonly role: Role;
  readonly addr: Deno.Addr | null;
  readonly hostname: string | undefined;
  readonly hasEndedWriting: boolean;
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
  connection.flushGate();
  const bytes = connection.pollable[HAND_OVER]();
  const { writer, role, addr, hostname, hasEndedWriting } = connection;
  const source = connection.source!;
  const handover: Handover = {
    checked: connection.checked!,
    source: bytes === null ? source : unread(source, bytes),
    writer,
    role,
    addr,
    hostname,
    hasEndedWriting,
    close: () => {
      const heir = connection.heir();
      heir.inherit(handover);
      heir.close();
    },
  };
  return handover;
}

function checkHandover(connection: Held): void {
  const { pollable, closed, closing, source, writer } = connection;
  let obstacle: string;
  if (closed || closing !== null) obstacle = "it is closed, and still sends";
  else if (source === null) obstacle = "it is not connected yet";
  else if (writer.isDetached) obstacle = "a handshake is under way";
  else return;
  const self = textOf(pollable);
  throw new Error(`Cannot hand over the connection of ${self}: ${obstacle}`);
}

/** The channel of {@linkcode Dispatcher.detach}. */
export class DetachedChannel implements Channel, Holder, ReadListener {
  readonly remoteAddr?: Deno.Addr;
  readonly localAddr?: Deno.Addr;
  readonly chunkSize?: number;
  /** Only a channel that can end its writing direction has it. */
  readonly closeWrite?: () => Promise<void>;

  /** `null` when another dispatcher has taken it over, or it is closed. */
  #handover: Handover | null;
  #onReadable: (() => void) | null = null;

  constructor(handover: Handover) {
    const { checked, source, writer, addr } = handover;
    const { localAddr, chunkSize, endsWriting } = checked;
    if (addr) this.remoteAddr = addr;
    if (localAddr) this.localAddr = localAddr;
    if (chunkSize) this.chunkSize = chunkSize;
    if (endsWriting) this.closeWrite = () => this.#closeWrite();
    this.#handover = handover;
    hold(checked.channel, this);
    source.moveTo(this);
    source.inBackground = true;
    writer.moveTo({ onProgress() {} });
    writer.start();
  }

  handOver(): Handover {
    const handover = this.#open("hand over");
    if (this.#onReadable) {
      throw new Error("Cannot hand over a channel: a read of it is pending");
    }
    this.#handover = null;
    return handover;
  }

  async read(target: Uint8Array): Promise<number | null> {
    const { source } = this.#open("read");
    while (source.available === 0 && !source.ended && !source.unsupported) {
      const readable = new Promise<void>((done) => this.#onReadable = done);
      source.watch();
      await readable;
      this.#open("read");
    }
    if (source.available > 0) return source.takeInto(target);
    if (source.unsupported) {
      throw new Deno.errors.NotSupported("It cannot be read");
    }
    const error = source.takeError() ?? source.reason;
    if (error !== null) throw error;
    return null;
  }

  onReadable(): void {
    const wake = this.#onReadable;
    this.#onReadable = null;
    wake?.();
  }

  async write(data: Uint8Array): Promise<number> {
    const { source, writer } = this.#open("write");
    await writer.done(); // Accepted bytes go first.
    this.#open("write");
    if (writer.failed) throw writer.error;
    return await new Promise((resolve, reject) => {
      const length = source.write(data, {
        onWritable: resolve,
        onWriteError: reject,
      });
      if (length > 0) resolve(length);
    });
  }

  async #closeWrite(): Promise<void> {
    const { source, writer, hasEndedWriting } = this.#open("end writing");
    await writer.done();
    if (writer.failed) throw writer.error;
    if (!hasEndedWriting) await source.closeWrite();
  }

  /** Sends the accepted bytes, and closes. */
  close(): void {
    this.#handover?.close();
    this.#handover = null;
    this.onReadable(); // A pending read must settle.
  }

  #open(action: string): Handover {
    if (this.#handover !== null) return this.#handover;
    const what = "it is closed, or a dispatcher has taken it over";
    throw new Deno.errors.BadResource(`Cannot ${action} a channel: ${what}`);
  }
}
