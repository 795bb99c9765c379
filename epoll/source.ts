/**
 * The source over a descriptor: readiness as the system tells it. Bytes wait in the
 * kernel until the connection has its turn, so an idle connection has no buffer.
 *
 * @module
 */

import { isDisconnect } from "../core/errors.ts";
import { keepFreedMemory, LARGE_BUFFER } from "../core/memory.ts";
import type { Poller } from "../core/poller.ts";
import type { ReadListener, Source, WriteListener } from "../core/source.ts";
import type { Descriptor, Engine, Watched } from "./engine.ts";
import { C, ERRNO } from "./layout.ts";
import { lengthOf, type Libc, type Memory } from "./libc.ts";
import { cancelled, systemError } from "./system_error.ts";
import { isAtMark, UrgentBytes } from "./urgent_bytes.ts";

/** Events that concern the reading direction. */
const READABLE = C.EPOLLIN | C.EPOLLPRI | C.EPOLLRDHUP | C.EPOLLHUP |
  C.EPOLLERR;
/** Events that concern the writing direction. */
const WRITABLE = C.EPOLLOUT | C.EPOLLHUP | C.EPOLLERR;
/**
 * After one of these, a read that does not fill its buffer proves nothing: the end
 * or an error follows, or the read has stopped at urgent data.
 */
const NOT_DRAINED = READABLE & ~C.EPOLLIN;
/**
 * Most bytes that wait unread for a class without `handleRead()`, as over any
 * other channel.
 */
const MOST_UNREAD = 64 * 1024;

const NO_BYTES: Memory = new Uint8Array(0);

/** The number that `ioctl()` fills in. */
const count = new Int32Array(new ArrayBuffer(4));
const countBytes: Memory = new Uint8Array(count.buffer);

/** The state of a descriptor that becomes a source. */
export interface StreamState {
  /** The events that it has had so far. */
  events?: number;
  /** A read may stop before the kernel's buffer is empty. */
  isCareful?: boolean;
  /** It cannot be read. */
  unsupported?: boolean;
}

/** Both directions of a stream socket. */
export class StreamSource implements Source, Watched {
  taken = 0;
  discarded = 0;
  isWatching = false;
  reason: Error | null = null;
  readonly unsupported: boolean;
  isClosing = false;
  readonly isImmediate = true;
  /** The system holds nothing of a socket that is closed. */
  readonly isBusy = false;
  urgent: UrgentBytes | null = null;

  readonly #engine: Engine;
  readonly #descriptor: Descriptor;
  #listener: ReadListener;
  /** There may be something to read: the system has said so. */
  #mayRead: boolean;
  /** It has read everything only when the system says so. */
  #isCareful: boolean;
  /**
   * The next read may pass urgent data unseen, as one was made since the last event.
   * A Unix socket or a file is read to its end each time, and urgent data is rare
   * there: it costs these looks only after its first urgent byte.
   */
  #mayPass = false;
  readonly #isReadToEnd: boolean;
  #hasEnded = false;
  #error: Error | null = null;
  /** The bytes that were read and not taken: often in the buffer of all. */
  #buffer: Memory = NO_BYTES;
  #start = 0;
  #length = 0;
  /** A write that waits for room. */
  #writer: WriteListener | null = null;
  #hasEndedWriting = false;
  #inBackground = false;
  /** The engine looks for its events though no loop runs. */
  #isHeld = false;

  constructor(
    engine: Engine,
    descriptor: Descriptor,
    listener: ReadListener,
    { events = 0, isCareful = false, unsupported = false }: StreamState = {},
  ) {
    this.unsupported = unsupported;
    this.#engine = engine;
    this.#descriptor = descriptor;
    this.#listener = listener;
    this.#mayRead = (events & READABLE) !== 0 && !unsupported;
    this.#isCareful = isCareful || (events & NOT_DRAINED) !== 0;
    this.#isReadToEnd = isCareful;
    descriptor.watched = this;
    if ((events & C.EPOLLPRI) !== 0) this.#onUrgent();
  }

  get poller(): Poller {
    return this.#engine;
  }

  get libc(): Libc {
    return this.#engine.libc;
  }

  /** The number of the descriptor; -1 when it is closed. */
  get fd(): number {
    return this.#descriptor.fd;
  }

  moveTo(listener: ReadListener): void {
    this.#listener = listener;
  }

  get inBackground(): boolean {
    return this.#inBackground;
  }
  set inBackground(isInBackground: boolean) {
    this.#inBackground = isInBackground;
    this.#holdIfNeeded();
  }

  /** Makes the engine look for events, if something waits that needs no loop. */
  #holdIfNeeded(): void {
    const isNeeded = this.#writer !== null ||
      this.#inBackground && this.isWatching;
    if (isNeeded === this.#isHeld) return;
    this.#isHeld = isNeeded;
    if (isNeeded) this.#engine.hold();
    else this.#engine.release();
  }

  onEvents(events: number): void {
    if ((events & READABLE) !== 0 && !this.unsupported) {
      this.#mayRead = true;
      this.#mayPass = false;
      if ((events & NOT_DRAINED) !== 0) this.#isCareful = true;
      if ((events & C.EPOLLPRI) !== 0) this.#onUrgent();
      if (this.isWatching) {
        if (this.#length > 0) this.#readBehind();
        this.tell();
      }
    }
    if (this.#writer !== null && (events & WRITABLE) !== 0) {
      const writer = this.#writer;
      this.#writer = null;
      writer.onWritable(0);
      this.#holdIfNeeded();
    }
  }

  /** There is urgent data, perhaps that of an earlier event. */
  #onUrgent(): void {
    this.urgent ??= new UrgentBytes(this);
    if (this.urgent.look()) this.#listener.onUrgent?.();
  }

  /** Takes an urgent byte; `null` if there is none. */
  takeUrgent(): number | null {
    this.urgent ??= new UrgentBytes(this);
    return this.urgent.take();
  }

  /** Tells the listener, if it wants to know. */
  tell(): void {
    if (!this.isWatching) return;
    this.isWatching = false;
    if (this.#isHeld) this.#holdIfNeeded();
    this.#listener.onReadable();
  }

  // Reading

  get isReadable(): boolean {
    return this.#length > 0 || this.#mayRead || this.#hasEnded;
  }

  get available(): number {
    if (this.#mayRead && this.#length === 0) this.#read();
    return this.#length;
  }

  get ended(): boolean {
    if (this.#mayRead && this.#length === 0) this.#read();
    return this.#hasEnded;
  }

  /** Reads into the buffer of all. */
  #read(): void {
    const buffer = this.#engine.lendBuffer(this);
    const length = this.#receive(buffer);
    if (length === 0) return;
    this.#buffer = buffer;
    this.#start = 0;
    this.#length = length;
  }

  /** Reads behind the waiting bytes, to learn of the end. */
  #readBehind(): void {
    const waiting = this.#length;
    // There may be more of them: a read of this connection takes all that is there.
    if (waiting >= MOST_UNREAD) return;
    const buffer = new Uint8Array(MOST_UNREAD);
    buffer.set(this.#waiting());
    this.#buffer = buffer;
    this.#start = 0;
    this.#length += this.#receive(buffer.subarray(waiting));
  }

  #waiting(): Memory {
    return this.#buffer.subarray(this.#start, this.#start + this.#length);
  }

  /** Receives what is there. Returns how many bytes; 0 if none, or at the end. */
  #receive(target: Memory): number {
    const { libc } = this.#engine;
    const { fd } = this.#descriptor;
    const isAtMark = (this.#mayPass || this.urgent?.isInline === true) &&
      this.#beginsAtMark();
    this.#mayPass = !this.#isReadToEnd || this.urgent !== null;
    for (;;) {
      const length = this.receiveNow(libc, fd, target);
      if (length > 0) {
        if (isAtMark) this.urgent!.passed(this.#length);
        // Each later arrival brings an event of its own.
        if (length < target.length && !this.#isCareful) this.#mayRead = false;
        return length;
      }
      const errno = length === 0 ? 0 : libc.errno();
      if (errno === ERRNO.EINTR) continue;
      this.#mayRead = false;
      if (errno !== ERRNO.EAGAIN) this.end(errno);
      return 0;
    }
  }

  // The calls, which are others for a file

  /** Receives into `target`. */
  protected receiveNow(libc: Libc, fd: number, target: Memory): number {
    return libc.recv(fd, target, target.length, 0);
  }

  /** Sends as much as there is room for. */
  protected sendNow(
    libc: Libc,
    fd: number,
    data: Memory,
    length: number,
  ): number {
    return libc.send(fd, data, length, C.MSG_NOSIGNAL);
  }

  /** The error of a call that has failed with `errno`. */
  protected errorOf(errno: number): Error {
    return systemError(this.#engine.libc, errno);
  }

  /**
   * Whether the next read begins at urgent data. A read stops there, and the one
   * behind it passes it, so its byte is taken before.
   */
  #beginsAtMark(): boolean {
    if (!isAtMark(this)) return false;
    this.#isCareful = true;
    this.#onUrgent();
    return true;
  }

  /** Whether the dispatcher has read all bytes before urgent data, and no other. */
  get isAtMark(): boolean {
    return this.urgent !== null && this.urgent.mark === 0 ||
      this.#length === 0 && this.fd >= 0 && isAtMark(this);
  }

  /** The connection is over, by the error with this number, or at its end (0). */
  end(errno: number): void {
    this.#hasEnded = true;
    if (errno === 0) return;
    const error = this.errorOf(errno);
    if (!this.isClosing) this.reason = error;
    if (!isDisconnect(error)) this.#error = error;
  }

  /** Another source needs the buffer of all: keeps the rest of its bytes. */
  leaveBuffer(): void {
    if (this.#length === 0) this.#buffer = NO_BYTES;
    else if (this.#buffer === this.#engine.buffer) {
      this.#buffer = new Uint8Array(this.#waiting());
      this.#start = 0;
    }
  }

  watch(): void {
    if (this.isWatching || this.#hasEnded || this.#length > 0) return;
    if (this.#descriptor.fd < 0 || this.unsupported) return;
    this.#watch();
  }

  watchBehind(): boolean {
    if (this.isWatching || this.#hasEnded || this.unsupported) return true;
    if (this.#length >= MOST_UNREAD) return false;
    if (this.#mayRead && this.#length > 0) this.#readBehind();
    this.#watch();
    return true;
  }

  #watch(): void {
    this.isWatching = true;
    if (this.#inBackground) this.#holdIfNeeded();
    // The caller expects no call back before this one has returned.
    if (this.#mayRead || this.#hasEnded) this.#engine.tellSoon(this);
  }

  take(size: number): Memory {
    const length = Math.min(size, this.available);
    const from = this.#start;
    if (length >= LARGE_BUFFER) keepFreedMemory();
    // Faster than slice(): this copy need not fill its target with zeros first.
    const data = new Uint8Array(this.#buffer.subarray(from, from + length));
    this.#advance(length);
    return data;
  }

  takeInto(target: Uint8Array): number {
    const length = Math.min(target.length, this.available);
    target.set(this.#buffer.subarray(this.#start, this.#start + length));
    this.#advance(length);
    return length;
  }

  #advance(length: number): void {
    this.taken += length;
    if (this.urgent !== null) this.urgent.mark -= length;
    this.#start += length;
    this.#length -= length;
    if (this.#length === 0) this.#buffer = NO_BYTES;
  }

  discard(): void {
    this.discarded += this.#length;
    if (this.urgent !== null) this.urgent.mark -= this.#length;
    this.#length = 0;
    this.#buffer = NO_BYTES;
  }

  takeError(): Error | null {
    const error = this.#error;
    this.#error = null;
    return error;
  }

  // Writing

  write(data: Uint8Array, size: number, listener: WriteListener): number {
    const { libc } = this.#engine;
    const { fd } = this.#descriptor;
    const length = Math.min(size, lengthOf(data));
    for (;;) {
      const sent = this.sendNow(libc, fd, data as Memory, length);
      if (sent >= 0) return sent;
      const errno = libc.errno();
      if (errno === ERRNO.EINTR) continue;
      if (errno === ERRNO.EAGAIN) {
        this.#writer = listener;
        this.#holdIfNeeded();
      } else {
        // The last bytes of the peer have arrived, even if their event is late.
        this.#mayRead = !this.unsupported;
        listener.onWriteError(this.errorOf(errno));
      }
      return 0;
    }
  }

  closeWrite(): Promise<void> {
    const { libc } = this.#engine;
    if (libc.shutdown(this.#descriptor.fd, C.SHUT_WR) === 0) {
      this.#hasEndedWriting = true;
      return Promise.resolve();
    }
    return Promise.reject(systemError(libc, libc.errno()));
  }

  /**
   * The answer of `SIOCOUTQ`. Of a Unix socket, it is the memory of what the peer has
   * not read.
   */
  get unacknowledged(): number | undefined {
    const { libc } = this.#engine;
    const { fd } = this.#descriptor;
    if (libc.ioctl(fd, C.SIOCOUTQ, countBytes) !== 0) return undefined;
    // TCP counts the end of the stream as one byte more.
    return Math.max(0, count[0]! - (this.#hasEndedWriting ? 1 : 0));
  }

  /**
   * After the end of writing, the system brings an event when the state of the
   * connection changes: the end is acknowledged, or the connection is over.
   */
  watchAcknowledged(listener: WriteListener): void {
    this.#writer = listener;
    this.#holdIfNeeded();
  }

  /** Closes the descriptor. It is free when this returns. */
  close(): void {
    this.#engine.close(this.#descriptor);
    this.#mayRead = false;
    this.#hasEnded = true;
    if (!this.isClosing) this.reason ??= cancelled();
    this.discard();
    const writer = this.#writer;
    this.#writer = null;
    this.tell();
    this.#holdIfNeeded();
    writer?.onWriteError(cancelled());
  }
}
