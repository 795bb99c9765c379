/**
 * One end of a simulated connection, as `Deno.Conn` would be.
 *
 * @module
 */

import type { Channel } from "../core/channel.ts";
import { kindOf } from "./faults.ts";
import { type Piece, Pipe, type PipeEnd } from "./sim_pipe.ts";
import type { Life, Wire } from "./sim_wire.ts";
import { type Bytes, copyInto } from "./slab.ts";

const SPLIT = kindOf("split");
const PART = kindOf("part");
const PARTIAL = kindOf("partial");
const TAKEN = kindOf("taken");
const RESET_DISCARDS = kindOf("resetDiscards");
/** What a program that does not speak TLS sees of a handshake. */
const HELLO: Bytes = {
  buffer: Uint8Array.of(22, 3, 1, 0, 0),
  start: 0,
  end: 5,
};

interface PendingRead {
  target: Uint8Array;
  resolve: (length: number | null) => void;
  reject: (error: Error) => void;
}

interface PendingWrite {
  data: Uint8Array;
  resolve: (length: number) => void;
  reject: (error: Error) => void;
}

/** Whose end it is, and the addresses. */
export interface SimChannelOptions {
  life: Life;
  isClient: boolean;
  localAddr: Deno.Addr;
  remoteAddr: Deno.Addr;
  /** Whether it speaks TLS, as far as anybody can tell from outside. */
  isTls: boolean;
}

/** Reads, writes, ends and breaks as a TCP connection does. */
export class SimChannel implements Channel, PipeEnd {
  readonly life: Life;
  readonly isClient: boolean;
  readonly localAddr: Deno.Addr;
  readonly remoteAddr: Deno.Addr;
  /** Set where the connection is TLS. */
  readonly handshake?: () => Promise<void>;

  readonly #wire: Wire;
  readonly #readName: string;
  readonly #writeName: string;
  #out!: Pipe;
  #in!: Pipe;
  readonly #inbox: Bytes[] = [];
  /** Where in the first of them what is unread begins. */
  #start = 0;
  #available = 0;
  #ended = false;
  #failure: Error | null = null;
  #reading: PendingRead | null = null;
  #writing: PendingWrite | null = null;
  #shaking: { resolve(): void; reject(error: Error): void } | null = null;
  #hasHello = false;
  #closed = false;
  #writeEnded = false;
  #reads = 0;
  #writes = 0;

  constructor(wire: Wire, id: number, options: SimChannelOptions) {
    this.#wire = wire;
    this.#readName = `#${id} read by ${options.life.name}`;
    this.#writeName = `#${id} write by ${options.life.name}`;
    this.life = options.life;
    this.isClient = options.isClient;
    this.localAddr = options.localAddr;
    this.remoteAddr = options.remoteAddr;
    if (options.isTls) this.handshake = () => this.#shakeHands();
    this.life.channels.add(this);
  }

  /** Makes a connection of two ends. */
  static connect(wire: Wire, id: number, a: SimChannel, b: SimChannel): void {
    a.#out = b.#in = new Pipe(wire, id, a, b);
    b.#out = a.#in = new Pipe(wire, id, b, a);
  }

  get isBlocked(): boolean {
    return this.#writing !== null;
  }

  /** It broke before anybody had it. */
  get isBroken(): boolean {
    return this.#failure !== null;
  }

  // TLS: nothing is secret, but nobody can speak before both have said hello.

  #shakeHands(): Promise<void> {
    return new Promise((resolve, reject) => {
      if (!this.life.isAlive) return; // Nobody is there to hear of it.
      if (this.#closed) return reject(badResource("shake hands"));
      this.#shaking = { resolve, reject };
      this.#out.send("hello");
      this.#tryShake();
    });
  }

  #tryShake(): void {
    const shaking = this.#shaking;
    if (shaking === null) return;
    let error: Error | null = null;
    if (this.#failure !== null) error = this.#failure;
    else if (!this.#hasHello) {
      if (this.#available > 0) {
        const message = "received corrupt message of type InvalidContentType";
        error = new Deno.errors.InvalidData(message);
      } else if (this.#ended) {
        error = new Deno.errors.UnexpectedEof("tls handshake eof");
      } else return;
    }
    this.#shaking = null;
    if (error === null) shaking.resolve();
    else shaking.reject(error);
  }

  // Reading

  read(target: Uint8Array): Promise<number | null> {
    return new Promise((resolve, reject) => {
      if (!this.life.isAlive) return; // Nobody is there to hear of it.
      if (this.#closed) reject(badResource("read"));
      else {
        this.#reading = { target, resolve, reject };
        this.#tryRead();
      }
    });
  }

  #tryRead(): void {
    const reading = this.#reading;
    if (reading === null) return;
    if (this.#available > 0) {
      this.#reading = null;
      reading.resolve(this.#take(reading.target));
    } else if (this.#failure !== null) {
      this.#reading = null;
      reading.reject(this.#failure);
    } else if (this.#ended) {
      this.#reading = null;
      reading.resolve(null);
    }
  }

  #take(target: Uint8Array): number {
    const { fate } = this.#wire;
    const nth = ++this.#reads;
    let wanted = Math.min(target.length, this.#available);
    const key = -this.#in.key;
    const { split } = fate.faults;
    if (wanted > 1 && fate.strikes(SPLIT, split, this.#readName, key, nth)) {
      wanted = fate.upTo(wanted - 1, PART, key, nth);
    }
    let length = 0;
    while (length < wanted) {
      const { buffer, end } = this.#inbox[0]!;
      const start = this.#start;
      const next = Math.min(end, start + wanted - length);
      copyInto(target, length, buffer, start, next);
      length += next - start;
      this.#start = next;
      if (next === end) this.#dropFirst();
    }
    this.#available -= length;
    this.#in.release(length);
    return length;
  }

  #dropFirst(): void {
    this.#inbox.shift();
    this.#start = this.#inbox[0]?.start ?? 0;
  }

  // Writing

  write(data: Uint8Array): Promise<number> {
    return new Promise((resolve, reject) => {
      if (!this.life.isAlive) return; // Nobody is there to hear of it.
      if (this.#closed) reject(badResource("write"));
      else if (data.length === 0) resolve(0);
      else {
        this.#writing = { data, resolve, reject };
        this.resume();
      }
    });
  }

  /** Goes on with a write, if there is room for it. */
  resume(): void {
    const writing = this.#writing;
    if (writing === null) return;
    if (this.#failure !== null || this.#writeEnded) {
      this.#writing = null;
      writing.reject(new Deno.errors.BrokenPipe("Broken pipe"));
      return;
    }
    const { room } = this.#out;
    if (room <= 0) return;
    this.#writing = null;
    const { fate } = this.#wire;
    const { key } = this.#out;
    const nth = ++this.#writes;
    let length = Math.min(room, writing.data.length);
    const { partial } = fate.faults;
    const where = this.#writeName;
    if (length > 1 && fate.strikes(PARTIAL, partial, where, key, nth)) {
      length = fate.upTo(length - 1, TAKEN, key, nth);
    }
    this.#out.write(writing.data.subarray(0, length));
    writing.resolve(length);
  }

  closeWrite(): Promise<void> {
    if (!this.life.isAlive) return new Promise(() => {});
    if (this.#closed) return Promise.reject(badResource("close"));
    if (this.#failure !== null) {
      return Promise.reject(new Deno.errors.NotConnected("Not connected"));
    }
    this.#sendEnd();
    return Promise.resolve();
  }

  #sendEnd(): void {
    if (this.#writeEnded) return;
    this.#writeEnded = true;
    this.#out.send("end");
  }

  // The end

  close(): void {
    if (this.#closed) throw badResource("close");
    this.#forget();
    if (!this.life.isAlive || this.#failure !== null) return;
    // The system answers bytes that nobody has read with a reset.
    if (this.#available > 0) this.#out.send("reset");
    else this.#sendEnd();
  }

  /** Has it never have been: who speaks to it gets a reset. */
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
    this.life.channels.delete(this);
    if (!this.life.isAlive) return;
    const interrupted = new Deno.errors.Interrupted("operation canceled");
    this.#reading?.reject(interrupted);
    this.#writing?.reject(interrupted);
    this.#shaking?.reject(interrupted);
    this.#reading = this.#writing = this.#shaking = null;
  }

  // What the wire brings

  receive(piece: Piece): void {
    const isGone = !this.life.isAlive || this.#closed ||
      this.#failure !== null;
    if (isGone) {
      // Nobody knows of this connection any more.
      if (piece !== "end" && piece !== "reset") this.#out.send("reset");
    } else if (piece === "reset") {
      this.fail(new Deno.errors.ConnectionReset("Connection reset by peer"));
    } else if (piece === "end") this.#ended = true;
    else if (piece === "hello" && this.handshake) this.#hasHello = true;
    else {
      const bytes = piece === "hello" ? HELLO : piece;
      if (this.#inbox.push(bytes) === 1) this.#start = bytes.start;
      this.#available += bytes.end - bytes.start;
    }
  }

  wake(): void {
    if (!this.life.isAlive || this.#closed) return;
    this.#tryShake();
    this.#tryRead();
  }

  fail(error: Error): void {
    if (this.#failure !== null || !this.life.isAlive) return;
    this.#failure = error;
    const { fate } = this.#wire;
    const { resetDiscards } = fate.faults;
    const where = this.#readName;
    const { key } = this.#in;
    if (
      this.#available > 0 &&
      fate.strikes(RESET_DISCARDS, resetDiscards, where, key)
    ) {
      this.#available = this.#inbox.length = 0;
    }
    this.#writing?.reject(error);
    this.#writing = null;
    this.wake();
  }
}

function badResource(action: string): Error {
  return new Deno.errors.BadResource(`Cannot ${action}: it is closed`);
}
