/**
 * Files of Deno as channels of the engine: FIFOs, terminals and other devices, and
 * the standard streams. A regular file stays with Deno: it is always ready.
 *
 * @module
 */

import { mayBlock } from "../core/blocking_threads.ts";
import { type FileLike, LARGEST_READ } from "../file_dispatcher.ts";
import { DescriptorChannel } from "./channel.ts";
import { type Descriptor, type Engine, NOBODY } from "./engine.ts";
import { descriptorOf, pathBytes } from "./file_descriptor.ts";
import { type FileKind, FileSource } from "./file_source.ts";
import { C } from "./layout.ts";
import type { Libc } from "./libc.ts";
import { OPTIONS, readOption } from "./option_table.ts";

/** A file over a descriptor of its own. It closes the file of Deno, too. */
export class FileChannel extends DescriptorChannel {
  /** As of a `FileWrapper`, so that `send()` accepts as much over both. */
  readonly chunkSize: number = LARGEST_READ;
  readonly #file: FileLike;

  constructor(
    engine: Engine,
    descriptor: Descriptor,
    file: FileLike,
    kind: FileKind,
  ) {
    super(
      engine,
      (listener) => new FileSource(engine, descriptor, listener, kind),
    );
    this.#file = file;
  }

  /** Closes the descriptor and the file. A second call does nothing. */
  override close(): void {
    if (this.fd < 0) return;
    super.close();
    this.#file.close();
  }
}

/** A descriptor of the engine's own. */
interface OpenFile extends FileKind {
  readonly fd: number;
}

/**
 * Makes a channel of a file of Deno.
 *
 * @returns `null` if Deno has to read and write it: a regular file, an object of the
 * program, or a file whose descriptor cannot be had.
 */
export function channelOfFile(
  engine: Engine,
  file: FileLike,
): FileChannel | null {
  const { libc } = engine;
  const open = openStandardStream(libc, file) ?? openFsFile(libc, file);
  if (open === null) return null;
  let descriptor: Descriptor;
  try {
    descriptor = engine.addOwn(open.fd, NOBODY);
  } catch {
    return null; // The system cannot tell when such a device is ready.
  }
  engine.share(open.fd);
  if (!open.isSocket) {
    const flags = libc.fcntl(open.fd, C.F_GETFL, 0);
    libc.fcntl(open.fd, C.F_SETFL, flags | C.O_NONBLOCK);
  }
  return new FileChannel(engine, descriptor, file, open);
}

/**
 * Opens a standard stream once more: to make the first one non-blocking would do so
 * for each process that has it, such as the shell.
 */
function openStandardStream(libc: Libc, file: FileLike): OpenFile | null {
  const streams: FileLike[] = [Deno.stdin, Deno.stdout, Deno.stderr];
  const number = streams.indexOf(file);
  if (number < 0 || isReplaced(file) || isClosed(number)) return null;
  const { reads, writes } = accessOf(libc, number);
  const isRead = reads && file.read !== undefined;
  const isWritten = writes && file.write !== undefined;
  if (!isRead && !isWritten) return null;
  const kind = { reads: isRead, writes: isWritten };
  if (isStreamSocket(libc, number)) {
    const fd = libc.fcntl(number, C.F_DUPFD_CLOEXEC, 0);
    return fd < 0 ? null : { fd, ...kind, isTerminal: false, isSocket: true };
  }
  const isTerminal = isPlainTerminal(libc, number);
  const isFifo = libc.fcntl(number, C.F_GETPIPE_SZ, 0) >= 0;
  // Another device that is opened once more may be another thing.
  if (!isTerminal && !isFifo) return null;
  const flags = (isRead ? C.O_RDONLY : C.O_WRONLY) | C.O_NONBLOCK |
    C.O_CLOEXEC | C.O_NOCTTY;
  const fd = libc.open(pathBytes(`/proc/self/fd/${number}`), flags, 0);
  return fd < 0 ? null : { fd, ...kind, isTerminal, isSocket: false };
}

/** Takes a second number for a file that `Deno.open()` has opened, which is only ours. */
function openFsFile(libc: Libc, file: FileLike): OpenFile | null {
  if (!(file instanceof Deno.FsFile) || isReplaced(file)) return null;
  if (!mayBlock(file)) return null;
  const number = descriptorOf(libc, file);
  if (number === null) return null;
  const fd = libc.fcntl(number, C.F_DUPFD_CLOEXEC, 0);
  if (fd < 0) return null;
  const isTerminal = libc.isatty(fd) === 1;
  return { fd, ...accessOf(libc, fd), isTerminal, isSocket: false };
}

/** Whether the program has put methods of its own into a file of Deno. */
function isReplaced(file: FileLike): boolean {
  return Object.hasOwn(file, "read") || Object.hasOwn(file, "write");
}

/**
 * Whether the program has closed a standard stream: Deno leaves its descriptor
 * open. These calls do nothing to a stream that is no terminal, and fail if it is
 * closed.
 */
function isClosed(number: number): boolean {
  const stream = [Deno.stdin, Deno.stdout, Deno.stderr][number]!;
  try {
    if (stream.isTerminal()) return false;
    if ("setRaw" in stream) stream.setRaw(false);
    else stream.writeSync(new Uint8Array(0));
    return false;
  } catch {
    return true;
  }
}

/** The directions for which a descriptor is open; neither if it is closed. */
function accessOf(libc: Libc, fd: number): Pick<FileKind, "reads" | "writes"> {
  const flags = libc.fcntl(fd, C.F_GETFL, 0);
  const access = flags < 0 ? -1 : flags & (C.O_WRONLY | C.O_RDWR);
  return {
    reads: access === C.O_RDONLY || access === C.O_RDWR,
    writes: access === C.O_WRONLY || access === C.O_RDWR,
  };
}

/** Whether it is a terminal, and not the master of one, of which each open makes a new. */
function isPlainTerminal(libc: Libc, fd: number): boolean {
  if (libc.isatty(fd) !== 1) return false;
  return libc.ioctl(fd, C.TIOCGPTN, new Uint8Array(4)) < 0;
}

function isStreamSocket(libc: Libc, fd: number): boolean {
  try {
    return readOption(libc, fd, OPTIONS.SO_TYPE, 1)[0] === C.SOCK_STREAM;
  } catch {
    return false;
  }
}
