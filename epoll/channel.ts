/**
 * A descriptor of the engine as a {@linkcode Channel}, for a program that reads and
 * writes by itself. A dispatcher uses its source.
 *
 * @module
 */

import { readableOf, writableOf } from "../core/channel_end.ts";
import {
  type ReadListener,
  SOURCE,
  type Source,
  type SourceChannel,
} from "../core/source.ts";
import type { Descriptor, Engine } from "./engine.ts";
import type { Libc } from "./libc.ts";
import { type Option, OPTIONS, writeOption } from "./option_table.ts";
import { StreamSource, type StreamState } from "./source.ts";
import { cancelled } from "./system_error.ts";

/** The addresses of a connection. */
export interface Ends {
  readonly remoteAddr: Deno.Addr;
  readonly localAddr: Deno.Addr;
}

/** A stream over a descriptor: a connection or a file. */
export abstract class DescriptorChannel
  implements SourceChannel, ReadListener, Disposable {
  readonly #engine: Engine;
  readonly #source: StreamSource;
  /** Made with the first read and write: a dispatcher makes none. */
  #reads: Line | null = null;
  #writes: Line | null = null;
  /** Ends the wait of the read that is under way. */
  #onReadable: (() => void) | null = null;
  /** Ends the wait of the write that is under way, by an error. */
  #onWriteError: ((error: Error) => void) | null = null;
  /** A dispatcher reads it. */
  #isTaken = false;

  constructor(
    engine: Engine,
    makeSource: (listener: ReadListener) => StreamSource,
  ) {
    this.#engine = engine;
    this.#source = makeSource(this);
  }

  /** The number of the descriptor; -1 when it is closed. */
  get fd(): number {
    return this.#source.fd;
  }

  get libc(): Libc {
    return this.#engine.libc;
  }

  [SOURCE](listener: ReadListener): Source {
    this.#source.inBackground = false;
    this.#source.moveTo(listener);
    this.#isTaken = true;
    // What the program itself reads and writes ends here.
    this.onReadable();
    this.#onWriteError?.(takenOver());
    return this.#source;
  }

  onReadable(): void {
    const wake = this.#onReadable;
    this.#onReadable = null;
    wake?.();
  }

  read(target: Uint8Array): Promise<number | null> {
    const reads = this.#reads ??= new Line();
    return this.#engine.untilSettled(reads.add(() => this.#read(target)));
  }

  async #read(target: Uint8Array): Promise<number | null> {
    const source = this.openSource();
    if (target.length === 0) return 0;
    while (source.available === 0 && !source.ended) {
      const readable = new Promise<void>((done) => this.#onReadable = done);
      source.inBackground = true;
      source.watch();
      await readable;
      if (source.fd < 0) throw cancelled();
      if (this.#isTaken) throw takenOver();
    }
    if (source.available > 0) return source.takeInto(target);
    if (source.reason !== null) throw source.reason;
    return null;
  }

  write(data: Uint8Array): Promise<number> {
    const writes = this.#writes ??= new Line();
    return this.#engine.untilSettled(writes.add(() => this.#write(data)));
  }

  async #write(data: Uint8Array): Promise<number> {
    for (;;) {
      const source = this.openSource();
      // The source has one writer. A write of no bytes waits for nothing: it asks
      // for an error.
      if (this.#isTaken && data.length > 0) throw takenOver();
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const length = source.write(data, data.length, {
        onWritable: () => resolve(),
        onWriteError: reject,
      });
      if (length > 0) return length;
      if (data.length === 0) resolve();
      this.#onWriteError = reject;
      await promise;
      if (data.length === 0) return 0;
    }
  }

  /**
   * Closes the channel at once.
   *
   * @throws {Deno.errors.BadResource} If it is closed already.
   */
  close(): void {
    this.openSource().close();
  }

  [Symbol.dispose](): void {
    if (this.#source.fd >= 0) this.close();
  }

  protected openSource(): StreamSource {
    if (this.#source.fd >= 0) return this.#source;
    throw new Deno.errors.BadResource("The channel is closed");
  }
}

/** A connection over a stream socket. */
export class StreamChannel extends DescriptorChannel {
  readonly remoteAddr: Deno.Addr;
  readonly localAddr: Deno.Addr;
  #readable: ReadableStream<Uint8Array> | null = null;
  #writable: WritableStream<Uint8Array> | null = null;

  constructor(
    engine: Engine,
    descriptor: Descriptor,
    { remoteAddr, localAddr }: Ends,
    state?: StreamState,
  ) {
    super(
      engine,
      (listener) => new StreamSource(engine, descriptor, listener, state),
    );
    this.remoteAddr = remoteAddr;
    this.localAddr = localAddr;
  }

  /** The input, as a stream that closes the connection at its end. */
  get readable(): ReadableStream<Uint8Array> {
    return this.#readable ??= readableOf(this);
  }

  /** The output, as a stream that closes the connection at its end. */
  get writable(): WritableStream<Uint8Array> {
    return this.#writable ??= writableOf(this);
  }

  async closeWrite(): Promise<void> {
    try {
      await this.openSource().closeWrite();
    } catch (error) {
      // After a reset there is nothing to end, and reading tells of the reset.
      if (!(error instanceof Deno.errors.NotConnected)) throw error;
    }
  }

  /** Sends small messages at once, over TCP. */
  setNoDelay(isOn: boolean = true): void {
    this.#switch(OPTIONS.TCP_NODELAY, isOn);
  }

  /** Finds out by itself whether a silent peer is still there, over TCP. */
  setKeepAlive(isOn: boolean = true): void {
    this.#switch(OPTIONS.SO_KEEPALIVE, isOn);
  }

  /** Takes an urgent byte; `null` if there is none. */
  takeUrgent(): number | null {
    return this.openSource().takeUrgent();
  }

  /** Whether all bytes before urgent data have been read, and no other. */
  get isAtMark(): boolean {
    return this.openSource().isAtMark;
  }

  #switch(option: Option, isOn: boolean): void {
    const { fd, libc } = this.openSource();
    writeOption(libc, fd, option, [isOn ? 1 : 0]);
  }
}

/** Operations that wait for one another. */
class Line {
  #last: Promise<unknown> | null = null;

  /** Runs an operation after the one before, whether that has failed or not. */
  add<T>(run: () => Promise<T>): Promise<T> {
    const last = this.#last;
    const operation = last === null ? run() : last.then(run, run);
    this.#last = operation;
    const leave = () => {
      if (this.#last === operation) this.#last = null;
    };
    operation.then(leave, leave);
    return operation;
  }
}

function takenOver(): Error {
  return new Error("A dispatcher has taken over the connection");
}
