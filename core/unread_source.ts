/**
 * Bytes that were taken from a source, and are put back: those that a dispatcher
 * has received and not used when it hands its connection over.
 *
 * @module
 */

import type { Poller } from "./poller.ts";
import type { ReadListener, Source, Urgent, WriteListener } from "./source.ts";

/** A source that has `bytes` before all that `source` has. */
export function unread(source: Source, bytes: Uint8Array): Source {
  return source instanceof UnreadSource
    ? source.after(bytes)
    : new UnreadSource(bytes, source);
}

/** A source, with bytes before all that it has: they were taken, and not used. */
class UnreadSource implements Source {
  readonly #source: Source;
  #bytes: Uint8Array;
  taken = 0;
  /** How many of its own bytes were dropped. */
  #dropped = 0;

  constructor(bytes: Uint8Array, source: Source) {
    this.#bytes = bytes;
    this.#source = source;
  }

  /** The same source, with `bytes` before these. */
  after(bytes: Uint8Array): UnreadSource {
    const all = new Uint8Array(bytes.length + this.#bytes.length);
    all.set(bytes);
    all.set(this.#bytes, bytes.length);
    return new UnreadSource(all, this.#source);
  }

  get available(): number {
    return this.#bytes.length + this.#source.available;
  }
  get isReadable(): boolean {
    return this.#bytes.length > 0 || this.#source.isReadable;
  }
  get isImmediate(): boolean | undefined {
    return this.#source.isImmediate;
  }
  get unacknowledged(): number | undefined {
    return this.#source.unacknowledged;
  }
  get poller(): Poller | undefined {
    return this.#source.poller;
  }
  get urgent(): Urgent | null | undefined {
    return this.#source.urgent;
  }
  get inBackground(): boolean {
    return this.#source.inBackground;
  }
  set inBackground(isInBackground: boolean) {
    this.#source.inBackground = isInBackground;
  }
  get discarded(): number {
    return this.#dropped + this.#source.discarded;
  }
  get isWatching(): boolean {
    return this.#source.isWatching;
  }
  get ended(): boolean {
    return this.#source.ended;
  }
  get reason(): Error | null {
    return this.#source.reason;
  }
  set reason(error: Error | null) {
    this.#source.reason = error;
  }
  get unsupported(): boolean {
    return this.#source.unsupported;
  }
  get isClosing(): boolean {
    return this.#source.isClosing;
  }
  set isClosing(isClosing: boolean) {
    this.#source.isClosing = isClosing;
  }
  get isBusy(): boolean {
    return this.#source.isBusy;
  }

  moveTo(listener: ReadListener): void {
    this.#source.moveTo(listener);
  }
  takeError(): Error | null {
    return this.#source.takeError();
  }
  watch(): void {
    if (this.#bytes.length === 0) this.#source.watch();
  }
  watchBehind(): boolean {
    return this.#source.watchBehind();
  }

  take(size: number): Uint8Array {
    const fromHere = this.#bytes.slice(0, size);
    this.#bytes = this.#bytes.subarray(fromHere.length);
    const data = fromHere.length > 0 ? fromHere : this.#source.take(size);
    this.taken += data.length;
    return data;
  }

  takeInto(target: Uint8Array): number {
    let { length } = this.#bytes.subarray(0, target.length);
    target.set(this.#bytes.subarray(0, length));
    this.#bytes = this.#bytes.subarray(length);
    if (length === 0) length = this.#source.takeInto(target);
    this.taken += length;
    return length;
  }

  discard(): void {
    this.#dropped += this.#bytes.length;
    this.#bytes = this.#bytes.subarray(this.#bytes.length);
    this.#source.discard();
  }

  write(data: Uint8Array, length: number, listener: WriteListener): number {
    return this.#source.write(data, length, listener);
  }
  closeWrite(): Promise<void> {
    return this.#source.closeWrite();
  }
  watchAcknowledged(listener: WriteListener): void {
    this.#source.watchAcknowledged?.(listener);
  }
}
