/**
 * The source over a file: a FIFO, a terminal, a device, or a socket that the process
 * was given as a standard stream.
 *
 * @module
 */

import type { ReadListener, WriteListener } from "../core/source.ts";
import type { Descriptor, Engine } from "./engine.ts";
import { C, ERRNO } from "./layout.ts";
import type { Libc, Memory } from "./libc.ts";
import { StreamSource } from "./source.ts";

/** The abilities of a descriptor. */
export interface FileKind {
  readonly reads: boolean;
  readonly writes: boolean;
  readonly isTerminal: boolean;
  /** It is a socket, which blocks: other processes may have the same one. */
  readonly isSocket: boolean;
}

/** Both directions of a file. */
export class FileSource extends StreamSource {
  readonly #kind: FileKind;

  constructor(
    engine: Engine,
    descriptor: Descriptor,
    listener: ReadListener,
    kind: FileKind,
  ) {
    // The system tells no event of an end that was there before.
    const events = C.EPOLLIN;
    // A terminal gives one line at a time, however many wait.
    const isCareful = true;
    const unsupported = !kind.reads;
    super(engine, descriptor, listener, { events, isCareful, unsupported });
    this.#kind = kind;
  }

  /** A file has no urgent data: a terminal means something else by that event. */
  override onEvents(events: number): void {
    super.onEvents(events & ~C.EPOLLPRI);
  }

  protected override receiveNow(
    libc: Libc,
    fd: number,
    target: Memory,
  ): number {
    const { length } = target;
    return this.#kind.isSocket
      ? libc.recv(fd, target, length, C.MSG_DONTWAIT)
      : libc.read(fd, target, length);
  }

  protected override sendNow(
    libc: Libc,
    fd: number,
    data: Memory,
    length: number,
  ): number {
    // Deno ignores SIGPIPE, so a write to a FIFO without a reader is an error, too.
    return this.#kind.isSocket
      ? libc.send(fd, data, length, C.MSG_DONTWAIT | C.MSG_NOSIGNAL)
      : libc.write(fd, data, length);
  }

  protected override errorOf(errno: number): Error {
    const isHungUp = errno === ERRNO.EIO && this.#kind.isTerminal;
    return isHungUp ? hungUp() : super.errorOf(errno);
  }

  override write(
    data: Uint8Array,
    size: number,
    listener: WriteListener,
  ): number {
    if (this.#kind.writes) return super.write(data, size, listener);
    const message = "The file is not open for writing";
    listener.onWriteError(new Deno.errors.NotSupported(message));
    return 0;
  }

  /** The same call would tell what a terminal has yet to show. */
  override get unacknowledged(): undefined {
    return undefined;
  }

  /** Does nothing, as for each file: only its close tells the reader of the end. */
  override closeWrite(): Promise<void> {
    return Promise.resolve();
  }
}

/** The end of a terminal, by a name that says that the stream is over. */
function hungUp(): Error {
  const error = new Deno.errors.BrokenPipe("The terminal has hung up");
  return Object.assign(error, { code: "EIO" });
}
