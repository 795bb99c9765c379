/**
 * One end of a simulated connection, as `Deno.Conn` would be.
 *
 * @module
 */

import type { Channel } from "../core/channel.ts";
import { drawKind } from "./fault_plan.ts";
import type { Segment } from "./packet.ts";
import type { PendingRead, PendingWrite } from "./pending.ts";
import { Pipe, type PipeEnd } from "./sim_pipe.ts";
import { type PortLease, TIME_WAIT } from "./sim_ports.ts";
import type { Process, Wire } from "./simulation.ts";
import { type Bytes, copyInto } from "./slab.ts";

const SPLIT = drawKind("split");
const PART = drawKind("part");
const PARTIAL = drawKind("partial");
const TAKEN = drawKind("taken");
const RESET_DISCARDS = drawKind("resetDiscards");
/** A TLS record header: what a peer that does not speak TLS reads of a handshake. */
const HELLO: Bytes = {
  buffer: Uint8Array.of(22, 3, 1, 0, 0),
  start: 0,
  end: 5,
};

/** Options of a {@linkcode SimChannel}. */
export interface SimChannelOptions {
  process: Process;
  /** The port that it has taken; `null` for a listener's. */
  lease: PortLease | null;
  isClient: boolean;
  localAddr: Deno.Addr;
  remoteAddr: Deno.Addr;
  /** Whether it makes a TLS handshake; nothing is encrypted. */
  isTls: boolean;
}

/** Reads, writes, ends and breaks as a TCP connection does. */
export class SimChannel implements Channel, PipeEnd {
  readonly process: Process;
  readonly isClient: boolean;
  readonly localAddr: Deno.Addr;
  readonly remoteAddr: Deno.Addr;
  /** Set where the connection is TLS. */
  readonly handshake?: () => Promise<void>;

  readonly #wire: Wire;
  readonly #lease: PortLease | null;
  readonly #readName: string;
  readonly #writeName: string;
  #out!: Pipe;
  #in!: Pipe;
  readonly #receiveQueue: Bytes[] = [];
  /** Where the unread bytes of the first of them begin. */
  #start = 0;
  #unread = 0;
  #ended = false;
  #failure: Error | null = null;
  #reading: PendingRead | null = null;
  #writing: PendingWrite | null = null;
  #handshaking: { resolve(): void; reject(error: Error): void } | null = null;
  #hasHello = false;
  #closed = false;
  #writeEnded = false;
  /** This side has ended before the other one. */
  #endedFirst = false;
  #reads = 0;
  #writes = 0;

  constructor(wire: Wire, id: number, options: SimChannelOptions) {
    this.#wire = wire;
    this.#readName = `#${id} read by ${options.process.name}`;
    this.#writeName = `#${id} write by ${options.process.name}`;
    this.process = options.process;
    this.#lease = options.lease;
    this.isClient = options.isClient;
    this.localAddr = options.localAddr;
    this.remoteAddr = options.remoteAddr;
    if (options.isTls) this.handshake = () => this.#startHandshake();
    this.process.channels.add(this);
  }

  /** Makes a connection of two ends. */
  static connect(wire: Wire, id: number, a: SimChannel, b: SimChannel): void {
    a.#out = b.#in = new Pipe(wire, id, a, b);
    b.#out = a.#in = new Pipe(wire, id, b, a);
  }

  get isBlocked(): boolean {
    return this.#writing !== null;
  }

  /** The connection is broken: a reset, or a peer that was given up. */
  get isBroken(): boolean {
    return this.#failure !== null;
  }

  // TLS: nothing is encrypted, but both must say hello before they can speak.

  #startHandshake(): Promise<void> {
    return new Promise((resolve, reject) => {
      if (!this.process.isAlive) return; // Its program is gone.
      if (this.#closed) return reject(badResource("shake hands"));
      this.#handshaking = { resolve, reject };
      this.#out.send("hello");
      this.#tryHandshake();
    });
  }

  #tryHandshake(): void {
    const handshaking = this.#handshaking;
    if (handshaking === null) return;
    let error: Error | null = null;
    if (this.#failure !== null) error = this.#failure;
    else if (!this.#hasHello) {
      if (this.#unread > 0) {
        const message = "received corrupt message of type InvalidContentType";
        error = new Deno.errors.InvalidData(message);
      } else if (this.#ended) {
        error = new Deno.errors.UnexpectedEof("tls handshake eof");
      } else return;
    }
    this.#handshaking = null;
    if (error === null) handshaking.resolve();
    else handshaking.reject(error);
  }

  // Reading

  read(target: Uint8Array): Promise<number | null> {
    return new Promise((resolve, reject) => {
      if (!this.process.isAlive) return; // Its program is gone.
      if (this.#closed) reject(badResource("read"));
      else {
        this.#reading = { bytes: target, resolve, reject };
        this.#tryRead();
      }
    });
  }

  #tryRead(): void {
    const reading = this.#reading;
    if (reading === null) return;
    if (this.#unread > 0) {
      this.#reading = null;
      reading.resolve(this.#take(reading.bytes));
    } else if (this.#ended) { // It has come before a failure, if there is one.
      this.#reading = null;
      reading.resolve(null);
    } else if (this.#failure !== null) {
      this.#reading = null;
      reading.reject(this.#failure);
    }
  }

  #take(target: Uint8Array): number {
    const { faultPlan } = this.#wire;
    const nth = ++this.#reads;
    let wanted = Math.min(target.length, this.#unread);
    const key = -this.#in.key;
    const { split } = faultPlan.faults;
    if (
      wanted > 1 && faultPlan.injects(SPLIT, split, this.#readName, key, nth)
    ) {
      wanted = faultPlan.upTo(wanted - 1, PART, key, nth);
    }
    let length = 0;
    while (length < wanted) {
      const { buffer, end } = this.#receiveQueue[0]!;
      const start = this.#start;
      const next = Math.min(end, start + wanted - length);
      copyInto(target, length, buffer, start, next);
      length += next - start;
      this.#start = next;
      if (next === end) this.#dropFirst();
    }
    this.#unread -= length;
    this.#in.release(length);
    return length;
  }

  #dropFirst(): void {
    this.#receiveQueue.shift();
    this.#start = this.#receiveQueue[0]?.start ?? 0;
  }

  // Writing

  write(data: Uint8Array): Promise<number> {
    return new Promise((resolve, reject) => {
      if (!this.process.isAlive) return; // Its program is gone.
      if (this.#closed) reject(badResource("write"));
      else if (data.length === 0) resolve(0);
      else {
        this.#writing = { bytes: data, resolve, reject };
        this.resume();
      }
    });
  }

  /** Takes bytes of the pending write, if the window is open. */
  resume(): void {
    const writing = this.#writing;
    if (writing === null) return;
    if (this.#failure !== null || this.#writeEnded) {
      this.#writing = null;
      writing.reject(brokenPipe());
      return;
    }
    const { window } = this.#out;
    if (window <= 0) return;
    this.#writing = null;
    const { faultPlan } = this.#wire;
    const { key } = this.#out;
    const nth = ++this.#writes;
    let length = Math.min(window, writing.bytes.length);
    const { partial } = faultPlan.faults;
    const where = this.#writeName;
    if (length > 1 && faultPlan.injects(PARTIAL, partial, where, key, nth)) {
      length = faultPlan.upTo(length - 1, TAKEN, key, nth);
    }
    this.#out.write(writing.bytes.subarray(0, length));
    writing.resolve(length);
  }

  closeWrite(): Promise<void> {
    if (!this.process.isAlive) return new Promise(() => {});
    if (this.#closed) return Promise.reject(badResource("close"));
    if (this.#failure === null) this.#sendEnd();
    return Promise.resolve();
  }

  #sendEnd(): void {
    if (this.#writeEnded) return;
    this.#writeEnded = true;
    this.#endedFirst = !this.#ended;
    this.#out.send("end");
  }

  // The end

  close(): void {
    this.exit();
  }

  /** Closes it as its process ends: a dispatcher may have replaced `close()`. */
  exit(): void {
    if (this.#closed) throw badResource("close");
    this.#forget();
    if (!this.process.isAlive || this.#failure !== null) return;
    // As a kernel does: bytes that nobody has read are answered with a reset.
    if (this.#unread > 0) this.#out.send("reset");
    else {
      this.#sendEnd();
      if (this.#endedFirst) this.#keepPort();
    }
  }

  /** Keeps the port of this side, as the kernel waits for late segments. */
  #keepPort(): void {
    if (this.#lease) this.#lease.until = this.#wire.now + TIME_WAIT;
  }

  #freePort(): void {
    if (this.#lease) this.#lease.until = 0;
  }

  /** Forgets the connection: a peer that sends something gets a reset. */
  drop(): void {
    if (!this.#closed) this.#forget();
  }

  /** Breaks the connection, and tells the peer. */
  reset(): void {
    this.drop();
    if (this.#failure === null) this.#out.send("reset");
  }

  #forget(): void {
    this.#closed = true;
    this.#freePort();
    this.process.channels.delete(this);
    if (!this.process.isAlive) return;
    const interrupted = new Deno.errors.Interrupted("operation canceled");
    this.#reading?.reject(interrupted);
    this.#writing?.reject(interrupted);
    this.#handshaking?.reject(interrupted);
    this.#reading = this.#writing = this.#handshaking = null;
  }

  // Arrivals from the pipe

  receive(segment: Segment): void {
    const isGone = !this.process.isAlive || this.#closed ||
      this.#failure !== null;
    if (isGone) {
      // The connection is forgotten here.
      if (segment !== "end" && segment !== "reset") this.#out.send("reset");
      if (segment !== "end") this.#freePort();
      else if (this.#closed && this.#failure === null) this.#keepPort();
    } else if (segment === "reset") {
      this.fail(new Deno.errors.ConnectionReset("Connection reset by peer"));
    } else if (segment === "end") this.#ended = true;
    else if (segment === "hello" && this.handshake) this.#hasHello = true;
    else {
      const bytes = segment === "hello" ? HELLO : segment;
      if (this.#receiveQueue.push(bytes) === 1) this.#start = bytes.start;
      this.#unread += bytes.end - bytes.start;
    }
  }

  wake(): void {
    if (!this.process.isAlive || this.#closed) return;
    this.#tryHandshake();
    this.#tryRead();
  }

  fail(error: Error): void {
    if (this.#failure !== null || !this.process.isAlive) return;
    this.#failure = error;
    this.#freePort();
    const { faultPlan } = this.#wire;
    const { resetDiscards } = faultPlan.faults;
    const where = this.#readName;
    const { key } = this.#in;
    if (
      this.#unread > 0 &&
      faultPlan.injects(RESET_DISCARDS, resetDiscards, where, key)
    ) {
      this.#unread = this.#receiveQueue.length = 0;
      this.#ended = false; // The loss must show.
    }
    this.#writing?.reject(this.#ended ? brokenPipe() : error);
    this.#writing = null;
    this.wake();
  }
}

function brokenPipe(): Error {
  return new Deno.errors.BrokenPipe("Broken pipe");
}

function badResource(action: string): Error {
  return new Deno.errors.BadResource(`Cannot ${action}: it is closed`);
}
