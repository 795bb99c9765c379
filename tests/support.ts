/**
 * Helpers of all tests: a map that fails the test on an error nobody handled,
 * the three families of sockets, and a handler that accepts no surprise.
 */

import { Socket } from "node:net";
import { cpuUsage } from "node:process";
import {
  type Acceptor,
  type Address,
  type Channel,
  type Clock,
  Dispatcher,
  loop,
  SocketMap,
  socketMap,
  type SocketMapOptions,
  type SocketOptions,
} from "../mod.ts";
import { epollNetwork } from "../epoll/mod.ts";

/** Whether the tests run on the second engine: `deno task test:epoll`. */
export const IS_ON_EPOLL: boolean = socketMap.network === epollNetwork;

/**
 * How long a test waits for anything, in ms. It bounds a test that fails; a
 * busy machine must not reach it.
 */
export const PATIENCE = 30_000;

/** Whether this Deno is at least version 2.`minor`.`patch`. */
function isDeno(minor: number, patch: number): boolean {
  const [major = 0, ours = 0, last = 0] = Deno.version.deno.split(/[.+-]/)
    .map(Number);
  return major > 2 || ours > minor || ours === minor && last >= patch;
}

/** What only a later Deno does, and the library does not need, for its tests. */
export const DENO_CAN = {
  /** Ends a write that waits for the peer when its connection is closed. */
  endWrites: isDeno(9, 5),
  /** Goes on while a FIFO is opened whose other end is not. */
  openFifos: isDeno(8, 0),
  /** Tries the addresses of a name one after the other. */
  tryAddresses: isDeno(9, 0),
  /** Resets a connection. */
  reset: "resetAndDestroy" in Socket.prototype,
};

/** How often the loops of {@linkcode TestMap}s have used their clocks. */
let clockUses = 0;
/** How many of the turns that they asked for have not come yet. */
let turnsDue = 0;

/** A clock, watched for {@linkcode turns}: a loop at work uses it in each pass. */
class WatchedClock implements Clock {
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }
  now(): number {
    clockUses++;
    return this.#clock.now();
  }
  setTimeout(callback: () => void, delay: number): unknown {
    clockUses++;
    return this.#clock.setTimeout(callback, delay);
  }
  clearTimeout(id: unknown): void {
    this.#clock.clearTimeout(id);
  }
  setImmediate(callback: () => void, isOverdue?: boolean): void {
    turnsDue++;
    this.#clock.setImmediate(() => {
      turnsDue--;
      callback();
    }, isOverdue);
  }
}

const watchedClocks = new WeakMap<Clock, Clock>();

/** Each clock stays one clock, so that dispatchers can move between its maps. */
function watched(clock: Clock): Clock {
  const known = watchedClocks.get(clock);
  if (known) return known;
  const watching = new WatchedClock(clock);
  watchedClocks.set(clock, watching);
  return watching;
}

/** A map that keeps the errors which no dispatcher handled. */
export class TestMap extends SocketMap {
  readonly errors: unknown[] = [];

  constructor(options: SocketMapOptions = {}) {
    const { clock = socketMap.clock } = options;
    super({ ...options, clock: watched(clock) });
    this.onError = (error) => void this.errors.push(error);
  }

  /** Throws the first error that nobody handled. */
  check(): void {
    if (this.errors.length > 0) throw this.errors[0];
  }
}

/**
 * Makes passes until `done()` is true.
 *
 * @throws If that takes longer than `limit` ms, or an error went unhandled.
 */
export async function loopUntil(
  map: TestMap,
  done: () => boolean,
  limit = PATIENCE,
): Promise<void> {
  const deadline = performance.now() + limit;
  while (!done()) {
    map.check();
    if (performance.now() > deadline) {
      throw new Error(`Not done within ${limit} ms: ${done}`);
    }
    await loop({ map, timeout: 10, count: 1 });
    // An empty map ends the loop at once; timers and sockets need their turn.
    if (map.size === 0) await pause();
  }
  map.check();
}

/**
 * How many ms this process has had a processor: unlike the time on the wall,
 * this leaves out what other processes do.
 */
export function cpuTime(): number {
  const { user, system } = cpuUsage();
  return (user + system) / 1_000;
}

/** Works for `ms` without a pause. */
export function work(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

/** One turn of the runtime. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Lets the runtime sleep for a moment: before that, it looks at its sockets. */
function pause(): Promise<void> {
  return new Promise((resolve) => void setTimeout(resolve, 1));
}

/** For so many turns nothing happens where all wait. */
const QUIET_TURNS = 6;

/**
 * Waits until the loops of the {@linkcode TestMap}s have done all that they
 * can without new input, however many turns that takes. What the system does,
 * for sockets and files, is not seen here: wait for that with {@linkcode until}.
 *
 * @throws If they go on for longer than {@linkcode PATIENCE}.
 */
export async function turns(): Promise<void> {
  const deadline = performance.now() + PATIENCE;
  for (let quiet = 0, before = -1; quiet < QUIET_TURNS; quiet++) {
    if (turnsDue > 0 || clockUses !== before) quiet = 0;
    before = clockUses;
    await turn();
    if (performance.now() > deadline) {
      throw new Error(`A loop does not come to rest within ${PATIENCE} ms`);
    }
  }
}

/**
 * Waits until `condition()` is true, while others make the passes.
 *
 * @param what Names in the error what was waited for.
 * @throws If that takes longer than {@linkcode PATIENCE}.
 */
export async function until(
  condition: () => boolean,
  what: string,
): Promise<void> {
  const deadline = performance.now() + PATIENCE;
  while (!condition()) {
    if (performance.now() > deadline) {
      throw new Error(`Waited ${PATIENCE} ms in vain for ${what}`);
    }
    await pause();
  }
}

/** A kind of socket that a test is repeated for. */
export interface Family {
  name: string;
  options: SocketOptions;
  /** A fresh address to listen on. */
  address(): Address;
}

const directories: string[] = [];

/** A directory that is there until the test file has run. */
function temporaryDirectory(): string {
  const path = Deno.makeTempDirSync();
  directories.push(path);
  return path;
}

addEventListener("unload", () => {
  for (const path of directories) Deno.removeSync(path, { recursive: true });
});

export const families: Family[] = [
  {
    name: "IPv4",
    options: { transport: "tcp" },
    address: () => ({ hostname: "127.0.0.1", port: 0 }),
  },
  {
    name: "IPv6",
    options: { transport: "tcp" },
    address: () => ({ hostname: "::1", port: 0 }),
  },
  {
    name: "Unix",
    options: { transport: "unix" },
    address: () => ({ path: `${temporaryDirectory()}/socket` }),
  },
];

/** Why a family cannot be tested here, or nothing. */
export function isMissing(family: Family): boolean {
  if (family.name === "Unix") return Deno.build.os === "windows";
  if (family.name === "IPv4") return false;
  try {
    Deno.listen({ hostname: "::1", port: 0 }).close();
    return false;
  } catch {
    return true;
  }
}

/** Runs a test once for each family of sockets. */
export function testFamilies(
  name: string,
  test: (family: Family) => Promise<void>,
): void {
  for (const family of families) {
    Deno.test({
      name: `${name} (${family.name})`,
      ignore: isMissing(family),
      fn: () => test(family),
    });
  }
}

/** Fails on every hook that a test did not override: nothing comes unexpected. */
export class StrictDispatcher extends Dispatcher {
  constructor(map: TestMap, channel: Channel | Acceptor | null = null) {
    super(channel, { map });
  }
  override handleAccept(): void {
    throw new Error("handleAccept() was not expected");
  }
  override handleConnect(): void {
    throw new Error("handleConnect() was not expected");
  }
  override handleRead(): void {
    throw new Error("handleRead() was not expected");
  }
  override handleExpt(): void {
    throw new Error("handleExpt() was not expected");
  }
  override handleClose(): void {
    throw new Error("handleClose() was not expected");
  }
  /** What is thrown here reaches the map, and so the test. */
  override handleError(error: unknown): void {
    throw error;
  }
}

/** Listens, and makes a handler of each connection. */
export class TestServer extends Dispatcher {
  readonly #handler: (conn: Channel) => unknown;

  constructor(
    map: TestMap,
    handler: (conn: Channel) => unknown,
    { options, address }: Family = families[0]!,
  ) {
    super(null, { map });
    this.#handler = handler;
    this.createSocket(options);
    this.bind(address());
    this.listen();
  }

  override handleAccepted(conn: Channel): void {
    this.#handler(conn);
  }
  override handleError(error: unknown): void {
    throw error;
  }
}

/** `text` as bytes. */
export function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** Bytes as text. */
export function text(data: Uint8Array): string {
  return new TextDecoder().decode(data);
}

/** Two connected `Deno` connections over loopback. */
export async function connectedPair(): Promise<[Deno.Conn, Deno.Conn]> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  return await Promise.all([
    Deno.connect({ hostname: "127.0.0.1", port }),
    listener.accept(),
  ]);
}

/** A map for one test: what is left in it is closed when the test ends. */
export class ScopedMap extends TestMap implements AsyncDisposable {
  async [Symbol.asyncDispose](): Promise<void> {
    for (const member of [...this]) member.abort();
    // Closed connections send the rest, for as long as they linger.
    const controller = new AbortController();
    const id = setTimeout(() => controller.abort(), PATIENCE);
    await loop({ map: this, signal: controller.signal });
    clearTimeout(id);
    await turn();
    this.check();
  }
}

/** Connects without a dispatcher, to test one from outside. */
export function rawConnect(addr: Deno.Addr | null): Promise<Deno.Conn> {
  if (addr?.transport === "tcp") {
    const { hostname, port } = addr;
    return Deno.connect({ hostname, port });
  }
  if (addr?.transport === "unix" && addr.path) {
    return Deno.connect({ transport: "unix", path: addr.path });
  }
  throw new TypeError(`Cannot connect to ${Deno.inspect(addr)}`);
}

/** What a test wrote to the console, kept out of the report. */
export interface ConsoleOutput extends Disposable {
  /** The lines of `console.log()`. */
  readonly out: string[];
  /** The lines of `console.error()`. */
  readonly err: string[];
}

/** Takes the console's lines until it is disposed of. */
export function captureConsole(): ConsoleOutput {
  const { log, error } = console;
  const out: string[] = [];
  const err: string[] = [];
  console.log = (line) => void out.push(line);
  console.error = (line) => void err.push(line);
  const restore = () => void Object.assign(console, { log, error });
  return { out, err, [Symbol.dispose]: restore };
}

/** The rejections that nobody handled. */
export interface Rejections extends Disposable {
  readonly reasons: unknown[];
}

/** Takes the rejections that nobody handles until it is disposed of. */
export function captureRejections(): Rejections {
  const reasons: unknown[] = [];
  const hear = (event: PromiseRejectionEvent) => {
    event.preventDefault();
    reasons.push(event.reason);
  };
  addEventListener("unhandledrejection", hear);
  const stop = () => removeEventListener("unhandledrejection", hear);
  return { reasons, [Symbol.dispose]: stop };
}

/** Whether a command can be run on this machine, and ends well. */
export function canRun(command: string, ...args: string[]): boolean {
  try {
    return new Deno.Command(command, { args, stdout: "null", stderr: "null" })
      .outputSync().success;
  } catch {
    return false;
  }
}
