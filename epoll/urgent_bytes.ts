/**
 * The urgent data of one connection. The system keeps only the last byte, and tells
 * of it again with each arrival until it is read. So the engine takes each byte at
 * once, and keeps it for the dispatcher.
 *
 * @module
 */

import type { Urgent } from "../core/source.ts";
import { C, ERRNO } from "./layout.ts";
import type { Libc, Memory } from "./libc.ts";
import { OPTIONS, OTHER_OPTIONS, readOption } from "./option_table.ts";

/**
 * Most urgent bytes that wait for their events. Of more, the oldest are dropped: the
 * system keeps one. The value is a choice.
 */
const MOST_WAITING = 64;

/** An event without a byte: that stays among the others (`SO_OOBINLINE`), or is lost. */
const NO_BYTE = -1;

/** A socket, as its urgent data need it. */
interface UrgentSocket {
  readonly fd: number;
  readonly libc: Libc;
  /** The connection is over, by this error. */
  end(errno: number): void;
}

/** The urgent bytes of a connection that has had some. */
export class UrgentBytes implements Urgent {
  /** Urgent data stays among the other bytes: the program has asked for that. */
  isInline = false;
  /**
   * How many bytes have to be taken before those that begin at urgent data. It is
   * negative if they are taken, or if there are none.
   */
  mark = -1;
  readonly #socket: UrgentSocket;
  readonly #byte: Memory = new Uint8Array(1);
  /** The bytes whose events are due, the oldest first. */
  readonly #waiting: number[] = [];
  /** The byte of the last event, until it is taken. */
  #current = NO_BYTE;
  /** An event without a byte was told, and the mark is not passed. */
  #isTold = false;

  constructor(socket: UrgentSocket) {
    this.#socket = socket;
  }

  /** Looks for a byte. Returns whether there is another one than before. */
  look(): boolean {
    const { libc, fd } = this.#socket;
    if (libc.recv(fd, this.#byte, 1, C.MSG_OOB) === 1) {
      this.isInline = false;
      this.#add(this.#byte[0]!);
      return true;
    }
    // It was taken before, it stays among the others, or a reset came behind it.
    const isReset = libc.errno() === ERRNO.ENOTCONN;
    const { SO_OOBINLINE } = OPTIONS;
    this.isInline = readOption(libc, fd, SO_OOBINLINE, 1)[0] !== 0;
    if (this.#isTold || !this.isInline && !isReset) return false;
    this.#isTold = true;
    this.#add(NO_BYTE);
    return true;
  }

  #add(byte: number): void {
    if (this.#waiting.length === MOST_WAITING) this.#waiting.shift();
    this.#waiting.push(byte);
  }

  /** A read has begun at urgent data, behind `before` bytes that wait. */
  passed(before: number): void {
    this.#isTold = false;
    this.mark = this.isInline ? before : -1;
  }

  get isDue(): boolean {
    return this.#waiting.length > 0;
  }

  next(): void {
    this.#current = this.#waiting.shift()!;
  }

  /** Takes the byte of the last event, or else the oldest; `null` if there is none. */
  take(): number | null {
    const byte = this.#current;
    this.#current = NO_BYTE;
    if (byte !== NO_BYTE) return byte;
    if (this.#waiting.length === 0) this.look();
    const oldest = this.#waiting[0] ?? NO_BYTE;
    return oldest === NO_BYTE ? null : this.#waiting.shift()!;
  }

  hasError(): boolean {
    const { libc, fd } = this.#socket;
    if (fd < 0) return false;
    const errno = readOption(libc, fd, OTHER_OPTIONS.SO_ERROR, 1)[0]!;
    if (errno !== 0) this.#socket.end(errno);
    return errno !== 0;
  }
}

const answer = new Int32Array(new ArrayBuffer(4));
const answerBytes = new Uint8Array(answer.buffer);

/**
 * Whether the next read begins at urgent data, as `sockatmark(3)` tells. Unix sockets
 * of Linux before 5.15 have none, and refuse the question.
 */
export function isAtMark({ libc, fd }: UrgentSocket): boolean {
  return libc.ioctl(fd, C.SIOCATMARK, answerBytes) === 0 && answer[0] !== 0;
}
