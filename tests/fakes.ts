/**
 * Channels, listeners and networks that do what a test says, a dispatcher that
 * writes down what happens to it, and ways to wait that cannot hang.
 */

import {
  type Acceptor,
  type Channel,
  Dispatcher,
  type DispatcherOptions,
  type Logger,
  loop,
  type Network,
  type SocketMapOptions,
} from "../mod.ts";
import { KeyedRng } from "../testing/rng.ts";
import { bytes, PATIENCE, TestMap, text, turns } from "./support.ts";

/** What a fake channel will read: bytes, the end, or a failure. */
type Incoming = Uint8Array | null | Error;

interface PendingRead {
  target: Uint8Array;
  resolve: (length: number | null) => void;
  reject: (error: Error) => void;
}

/** A channel whose peer is the test. */
export class FakeChannel implements Channel {
  /** What was written, one element for each write. */
  readonly writes: Uint8Array[] = [];
  /** How many times `read()` was called. */
  reads = 0;
  /** How many times `write()` was called. */
  writeCalls = 0;
  closed = false;
  writeEnded = false;
  /** Whether the peer leaves its side open when it has read the end of ours. */
  staysOpen = false;
  /** How many bytes a write takes, when, or why not. */
  take: (data: Uint8Array) => number | Promise<number> = (data) => data.length;

  readonly #incoming: Incoming[] = [];
  #pending: PendingRead | null = null;
  readonly #whenClosed: ((error: Error) => void)[] = [];

  /** All that was written, as text. */
  get sent(): string {
    return this.writes.map(text).join("");
  }

  /** How many bytes were written. */
  get written(): number {
    return this.writes.reduce((sum, { length }) => sum + length, 0);
  }

  /** How many things were pushed and not yet read. */
  get unread(): number {
    return this.#incoming.length;
  }

  /** Gives the channel something to read: one element for each read. */
  push(...incoming: (string | Incoming)[]): void {
    for (const item of incoming) {
      this.#incoming.push(typeof item === "string" ? bytes(item) : item);
    }
    this.#deliver();
  }

  read(target: Uint8Array): Promise<number | null> {
    this.reads++;
    return new Promise((resolve, reject) => {
      this.#pending = { target, resolve, reject };
      this.#deliver();
    });
  }

  #deliver(): void {
    if (this.#pending === null || this.#incoming.length === 0) return;
    const { target, resolve, reject } = this.#pending;
    this.#pending = null;
    const item = this.#incoming.shift()!;
    if (item === null) resolve(null);
    else if (item instanceof Error) reject(item);
    else {
      const length = Math.min(item.length, target.length);
      target.set(item.subarray(0, length));
      if (length < item.length) this.#incoming.unshift(item.subarray(length));
      resolve(length);
    }
  }

  write(data: Uint8Array): Promise<number> {
    this.writeCalls++;
    return new Promise((resolve, reject) => {
      this.#whenClosed.push(reject);
      Promise.resolve(this.take(data)).then((length) => {
        if (length > 0) this.writes.push(data.slice(0, length));
        resolve(length);
      }).catch(reject);
    });
  }

  closeWrite(): Promise<void> {
    this.writeEnded = true;
    if (!this.staysOpen) this.push(null);
    return Promise.resolve();
  }

  close(): void {
    if (this.closed) throw new Deno.errors.BadResource("closed already");
    this.closed = true;
    const error = new Deno.errors.Interrupted("closed");
    this.#pending?.reject(error);
    for (const reject of this.#whenClosed) reject(error);
  }
}

/** A listener whose clients are the test's. */
export class FakeAcceptor implements Acceptor {
  readonly addr: Deno.Addr = {
    transport: "tcp",
    hostname: "127.0.0.1",
    port: 7,
  };
  closed = false;
  /** How many times `accept()` was called. */
  accepts = 0;
  /** Answers an `accept()` for which nothing was pushed, if it is set. */
  otherwise: (() => Promise<Channel>) | null = null;
  readonly #queue: (Channel | Error)[] = [];
  #pending: PromiseWithResolvers<Channel> | null = null;

  /** Brings clients, or failures of `accept()`. */
  push(...items: (Channel | Error)[]): void {
    this.#queue.push(...items);
    this.#deliver();
  }

  accept(): Promise<Channel> {
    this.accepts++;
    if (this.otherwise && this.#queue.length === 0) return this.otherwise();
    this.#pending = Promise.withResolvers();
    const { promise } = this.#pending;
    this.#deliver();
    return promise;
  }

  #deliver(): void {
    if (this.#pending === null || this.#queue.length === 0) return;
    const { resolve, reject } = this.#pending;
    this.#pending = null;
    const item = this.#queue.shift()!;
    if (item instanceof Error) reject(item);
    else resolve(item);
  }

  close(): void {
    this.closed = true;
    this.#pending?.reject(new Deno.errors.BadResource("closed"));
    this.#pending = null;
  }
}

/** A network that connects to what the test gives it. */
export class FakeNetwork implements Network {
  /** The one listener. */
  acceptor: FakeAcceptor = new FakeAcceptor();
  /** The signals of the attempts to connect. */
  readonly signals: AbortSignal[] = [];
  /** An attempt goes on when it is given up, as some of Deno's do. */
  isStubborn = false;
  readonly #outcome = Promise.withResolvers<Channel>();

  /** Ends the attempts to connect. */
  succeed(channel: Channel): void {
    this.#outcome.resolve(channel);
  }
  /** Ends the attempts to connect. */
  fail(error: unknown): void {
    this.#outcome.reject(error);
  }

  connect(
    _address: Deno.Addr,
    { signal }: { signal: AbortSignal },
  ): Promise<Channel> {
    this.signals.push(signal);
    return new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => {
        if (!this.isStubborn) reject(signal.reason);
      });
      this.#outcome.promise.then((channel) => {
        if (signal.aborted && !this.isStubborn) channel.close();
        else resolve(channel);
      }, reject);
    });
  }

  listen(): Acceptor {
    return this.acceptor;
  }
}

/** An error as Deno reports it where it has no class of its own. */
export function codedError(code: string): Error {
  return Object.assign(new Error(`os error: ${code}`), { code });
}

/** Keeps what is logged, one `level: message` each. */
export class LogLines implements Logger {
  readonly lines: string[] = [];
  debug(message: string): void {
    this.lines.push(`debug: ${message}`);
  }
  info(message: string): void {
    this.lines.push(`info: ${message}`);
  }
  warn(message: string): void {
    this.lines.push(`warn: ${message}`);
  }
  error(message: string): void {
    this.lines.push(`error: ${message}`);
  }
}

/** A map that keeps its log to itself. */
export function quietMap(options: SocketMapOptions = {}): TestMap {
  return new TestMap({ logger: new LogLines(), ...options });
}

/** What a {@linkcode Recorder} may be told. */
export interface RecorderOptions extends DispatcherOptions {
  /** Stands before each entry of the trace. */
  label?: string;
  /** A trace that several share. */
  trace?: string[];
}

/** Writes down each hook that is called, and does what the default does. */
export class Recorder extends Dispatcher {
  readonly label: string;
  readonly trace: string[];
  readonly errors: unknown[] = [];
  received = "";

  constructor(
    map: TestMap,
    channel: Channel | Acceptor | null = null,
    { label = "", trace = [], ...options }: RecorderOptions = {},
  ) {
    super(channel, { map, ...options });
    this.label = label;
    this.trace = trace;
  }

  /** How many times a hook was called. */
  count(hook: string): number {
    return this.trace.filter((entry) => entry === this.entry(hook)).length;
  }
  protected entry(hook: string): string {
    return this.label ? `${this.label}.${hook}` : hook;
  }
  protected note(hook: string): void {
    this.trace.push(this.entry(hook));
  }

  override handleConnect(): void | Promise<void> {
    this.note("handleConnect");
  }
  override handleRead(): void | Promise<void> {
    this.note("handleRead");
    this.received += text(this.recv());
  }
  override handleAccepted(conn: Channel): void | Promise<void> {
    this.note("handleAccepted");
    conn.close();
  }
  override handleClose(): void | Promise<void> {
    this.note("handleClose");
    this.close();
  }
  override handleError(error: unknown): void | Promise<void> {
    this.note("handleError");
    this.errors.push(error);
    return super.handleError(error);
  }
}

/** Sends back what it receives. */
export class Echo extends Dispatcher {
  override handleRead(): void {
    this.send(this.recv());
  }
  override handleClose(): void {
    this.close();
  }
}

/** A promise and whether it has settled. */
export interface Watched {
  settled: boolean;
  error: unknown;
}

/** Watches a promise without waiting for it. */
export function watch(promise: Promise<unknown>): Watched {
  const watched: Watched = { settled: false, error: undefined };
  promise.then(() => watched.settled = true, (error) => {
    watched.settled = true;
    watched.error = error;
  });
  return watched;
}

/**
 * Loops until the map is empty.
 *
 * @throws If that takes longer than `limit` ms, or an error went unhandled.
 */
export async function loopToEnd(
  map: TestMap,
  limit = PATIENCE,
): Promise<void> {
  const controller = new AbortController();
  const { signal } = controller;
  const id = setTimeout(() => controller.abort(), limit);
  try {
    await loop({ map, signal });
  } finally {
    clearTimeout(id);
  }
  map.check();
  if (signal.aborted) throw new Error(`The loop goes on after ${limit} ms`);
}

/** Makes `count` passes that do not wait. */
export async function passes(map: TestMap, count = 1): Promise<void> {
  await loop({ map, count, timeout: 0 });
}

/** Makes passes until nothing is left to do without new input. */
export async function rest(map: TestMap): Promise<void> {
  const controller = new AbortController();
  const looping = loop({ map, signal: controller.signal });
  try {
    await Promise.race([turns(), looping]);
  } finally {
    controller.abort();
    await looping;
  }
}

/** A source of numbers from 0 to 1 that a seed repeats. */
export function randomFrom(seed: number): () => number {
  return new KeyedRng(seed).stream("test");
}

/** A seed for {@linkcode randomFrom}: the one of `TEST_SEED`, or a new one. */
export function newSeed(): number {
  const given = Deno.env.get("TEST_SEED");
  const seed = given === undefined
    ? Math.floor(Math.random() * 2 ** 32)
    : Number(given);
  console.log(`TEST_SEED=${seed}`);
  return seed;
}

/** `length` bytes that look like no other stretch of themselves. */
export function pattern(length: number): Uint8Array {
  const data = new Uint8Array(length);
  const random = randomFrom(length);
  const words = new Uint32Array(data.buffer, 0, length >> 2);
  for (let i = 0; i < words.length; i++) words[i] = random() * 2 ** 32;
  for (let i = words.length * 4; i < length; i++) data[i] = random() * 256;
  return data;
}
