/**
 * Both directions of an established connection, as readiness: a source says what
 * can be read and written now, and tells its listener when that changes.
 *
 * A connection knows only its source. `ChannelSource` is the source over a
 * {@linkcode Channel}. A channel can bring a source of its own, by a method with
 * the name {@linkcode SOURCE}.
 *
 * @module
 */

import type { Channel, CheckedChannel } from "./channel.ts";
import type { Poller } from "./poller.ts";

/** The listener of the reading direction. */
export interface ReadListener {
  /** Bytes, the end or an error have arrived. */
  onReadable(): void;
  /** Urgent data has arrived: {@linkcode Source.urgent} has it. */
  onUrgent?(): void;
}

/** The urgent data of a connection, apart from its other bytes. */
export interface Urgent {
  /** Some of it has yet to be told. */
  readonly isDue: boolean;
  /** Goes on to the next urgent byte: its event is dispatched now. */
  next(): void;
  /** Whether the system has an error for the socket (`SO_ERROR`). */
  hasError(): boolean;
}

/** The listener of the writing direction. */
export interface WriteListener {
  /** More can be written: `length` bytes of the last write were taken. */
  onWritable(length: number): void;
  /** Writing has failed: no more bytes can be written. */
  onWriteError(error: unknown): void;
}

/** The reading direction. */
export interface Reader {
  /** How many bytes can be taken now. */
  readonly available: number;
  /** How many bytes were taken so far. */
  taken: number;
  /** How many bytes were dropped, because the dispatcher did not take them. */
  readonly discarded: number;
  /** A read is in flight: the listener will be told. */
  readonly isWatching: boolean;
  /** No more bytes will come: the end of the stream, or an error. */
  readonly ended: boolean;
  /** Bytes or the end wait, or may wait: a look at `available` tells. */
  readonly isReadable: boolean;
  /** Takes the error that ended reading, unless it was a disconnect. */
  takeError(): Error | null;
  /** The error that ended reading, unless this side has closed. */
  reason: Error | null;
  /** The channel cannot be read at all. */
  readonly unsupported: boolean;
  /** Starts a read, unless bytes wait already. The listener is told the result. */
  watch(): void;
  /**
   * Starts a read behind the waiting bytes, to learn of the end.
   *
   * @returns Whether there was room for it.
   */
  watchBehind(): boolean;
  /** Takes at most `size` bytes. They belong to the caller. */
  take(size: number): Uint8Array;
  /** Copies as many bytes as fit into `target`, and returns how many. */
  takeInto(target: Uint8Array): number;
  /** Drops the waiting bytes. */
  discard(): void;
}

/** The writing direction. */
export interface Sink {
  /**
   * Its calls take effect at once: a write keeps no reference to the bytes, and a
   * watch starts nothing in the system.
   */
  readonly isImmediate?: boolean | undefined;
  /**
   * Writes the first `length` bytes of `data`. The caller must not change them until
   * the listener is told.
   *
   * @returns How many bytes were taken at once. After 0, the listener is told.
   */
  write(data: Uint8Array, length: number, listener: WriteListener): number;
  /** Ends the writing direction. */
  closeWrite(): Promise<void>;
  /**
   * How many written bytes the peer's system has not acknowledged. It is
   * `undefined` if the system of this side does not tell. Over a local socket, it
   * only falls when the peer reads: its unit is not the byte.
   */
  readonly unacknowledged?: number | undefined;
  /**
   * Tells the listener once, by `onWritable(0)`, when that number may have become
   * 0, or the connection may be over. Writing has ended before. A source that
   * knows the number has this method.
   */
  watchAcknowledged?(listener: WriteListener): void;
}

/** Both directions of one connection. */
export interface Source extends Reader, Sink {
  /** The engine that brings its events, if Deno does not. */
  readonly poller?: Poller | undefined;
  /** Its urgent data, once some has arrived. Deno's channels have none. */
  readonly urgent?: Urgent | null | undefined;
  /** It needs its events though no loop runs: it lingers, or is detached. */
  inBackground: boolean;
  /** This side closes the channel, so an operation may fail without a fault. */
  isClosing: boolean;
  /** A read or a write is in flight, so the system still holds the channel. */
  readonly isBusy: boolean;
  /** Tells another listener from now on: another dispatcher takes the channel over. */
  moveTo(listener: ReadListener): void;
}

/** The name of the method by which a channel brings a source of its own. */
export const SOURCE: unique symbol = Symbol("asyncore.source");

/** A channel that brings a source of its own. */
export interface SourceChannel extends Channel {
  /** Makes the one source of the channel. */
  [SOURCE](listener: ReadListener): Source;
}

/** The source that a channel brings, if it brings one. */
export function ownSource(
  { channel }: CheckedChannel,
  listener: ReadListener,
): Source | null {
  return (channel as Partial<SourceChannel>)[SOURCE]?.(listener) ?? null;
}
