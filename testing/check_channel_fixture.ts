/**
 * The parts of the checks of channels: two channels whose operations are
 * watched, bytes that tell where they belong, and waits that end.
 *
 * @module
 */

import type { Channel } from "../core/channel.ts";
import { isDisconnect } from "../core/errors.ts";
import { describeError } from "../core/log.ts";

/** The channels of a check, and its limits. */
export interface Fixture {
  /** Writes. */
  ours: Watched;
  /** Reads. */
  theirs: Watched;
  /** Written bytes are kept, and a read never waits. */
  isStored: boolean;
  /** How long the check may take, in ms. */
  timeout: number;
}

/** The result of a check that does not apply to these channels. */
export const SKIPPED = "skipped";

/** Fails if the channels do not do what its name says. */
export type Check = (fixture: Fixture) => Promise<void | typeof SKIPPED>;

/** Checks by their names. */
export type Checks = Readonly<Record<string, Check>>;

/** A channel does not do what it must; the message tells what came instead. */
export class CheckFailure extends Error {
  override name = "CheckFailure";
}

/** Fails unless `condition` is true. */
export function expect(
  condition: boolean,
  message: string,
): asserts condition {
  if (!condition) throw new CheckFailure(message);
}

/** A channel that tells which of its operations are pending. */
export class Watched implements Channel {
  /** The operations that have not settled. */
  readonly pending: Set<string> = new Set();
  readonly #name: string;
  readonly #channel: Channel;
  closeWrite?: () => Promise<void>;

  constructor(name: string, channel: Channel) {
    this.#name = name;
    this.#channel = channel;
    if (!channel.closeWrite) return;
    this.closeWrite = () =>
      this.#watch("closeWrite()", () => channel.closeWrite!());
  }

  read(target: Uint8Array): Promise<number | null> {
    return this.#watch("read()", () => this.#channel.read(target));
  }

  write(data: Uint8Array): Promise<number> {
    return this.#watch("write()", () => this.#channel.write(data));
  }

  close(): void {
    this.#channel.close();
  }

  #watch<T>(action: string, run: () => Promise<T>): Promise<T> {
    const name = `${action} of ${this.#name}`;
    this.pending.add(name);
    const operation = async () => {
      try {
        return await run();
      } finally {
        this.pending.delete(name);
      }
    };
    return started(operation());
  }
}

// Waits

/** One turn of the runtime: timers and sockets get theirs. */
export function turn(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}

const LATE = Symbol("late");

/** `promise`, or {@linkcode LATE} after `ms`. No timer is left behind. */
async function within<T>(
  promise: Promise<T>,
  ms: number,
): Promise<T | typeof LATE> {
  let id: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<typeof LATE>((resolve) => {
    id = setTimeout(() => resolve(LATE), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(id);
  }
}

/** `promise`; if it takes longer than `timeout` ms, an error with `what`. */
export async function inTime<T>(
  promise: Promise<T>,
  timeout: number,
  what: () => string,
): Promise<T> {
  const result = await within(promise, timeout);
  if (result !== LATE) return result as T;
  throw new CheckFailure(`not done after ${timeout} ms: ${what()}`);
}

/**
 * An operation that is still pending after this many ms counts as waiting for
 * the peer. A local write that has room takes less than 1 ms. Each check waits
 * for this time once or twice.
 */
const WAITS_AFTER = 50;

/** Whether `promise` is still pending when it has had its time. */
export async function isWaiting(promise: Promise<unknown>): Promise<boolean> {
  const settled = promise.then(() => {}, () => {});
  return await within(settled, WAITS_AFTER) === LATE;
}

/** An operation that a check awaits later, or never, if it fails before. */
export function started<T>(operation: Promise<T>): Promise<T> {
  operation.catch(() => {});
  return operation;
}

// Bytes

/** More than fits into a read or a write, and no round number. */
export const LARGE = 256 * 1024 + 7;

/** `length` bytes that tell where they belong, from place `start` on. */
export function pattern(length: number, start = 0): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) {
    const at = start + i;
    bytes[i] = at * 31 + (at >> 8) * 17 + (at >> 16) * 101;
  }
  return bytes;
}

/** Fails if bytes are not those of {@linkcode pattern} from place `start` on. */
export function expectPattern(actual: Uint8Array, start = 0): void {
  const expected = pattern(actual.length, start);
  const at = actual.findIndex((byte, i) => byte !== expected[i]);
  expect(
    at < 0,
    `byte ${start + at} arrived as ${actual[at]}, expected ${expected[at]}`,
  );
}

/** Writes once; how many bytes were taken. */
export async function writeOnce(
  channel: Channel,
  data: Uint8Array,
): Promise<number> {
  const { length } = data;
  const count = await channel.write(data);
  const isRight = Number.isInteger(count) && count >= 1 && count <= length;
  expect(
    isRight,
    `write() of ${length} bytes returned ${count}, ` +
      `expected a whole number from 1 to ${length}`,
  );
  return count;
}

/** Writes all of `data`. */
export async function writeAll(
  channel: Channel,
  data: Uint8Array,
): Promise<void> {
  for (let at = 0; at < data.length;) {
    at += await writeOnce(channel, data.subarray(at));
  }
}

/** Reads once; how many bytes came, or `null` at the end. */
export async function readOnce(
  channel: Channel,
  target: Uint8Array,
): Promise<number | null> {
  const { length } = target;
  const count = await channel.read(target);
  if (count === null) return null;
  const isRight = Number.isInteger(count) && count >= 1 && count <= length;
  expect(
    isRight,
    `read() into ${length} bytes returned ${count}, ` +
      `expected null or a whole number from 1 to ${length}`,
  );
  return count;
}

/** Reads so many bytes, in pieces of at most `size`. */
export async function readAll(
  channel: Channel,
  length: number,
  size = 64 * 1024,
): Promise<Uint8Array> {
  const all = new Uint8Array(length);
  for (let at = 0, reads = 1; at < length; reads++) {
    // Promises alone would keep the timeout of the check from its turn.
    if (reads % 1_000 === 0) await turn();
    const count = await readOnce(channel, all.subarray(at, at + size));
    expect(
      count !== null,
      `read() ended after ${at} of the ${length} bytes that were written`,
    );
    at += count;
  }
  return all;
}

/**
 * Writes while `read` reads, which may be what the write waits for; but what
 * there is room for is written before. `whenWritten` runs after the last byte.
 */
export async function exchange<T>(
  { ours, isStored }: Fixture,
  data: Uint8Array,
  read: () => Promise<T>,
  whenWritten: () => void = () => {},
): Promise<T> {
  const writing = started(writeAll(ours, data).then(whenWritten));
  if (isStored) await writing;
  else await turn();
  const [, result] = await Promise.all([writing, read()]);
  return result;
}

/** Fails unless nothing more comes but the end. */
export async function expectEnd(channel: Channel): Promise<void> {
  const count = await channel.read(new Uint8Array(8));
  expect(count === null, `read() at the end returned ${count}, expected null`);
}

/** Fails unless `error` says that a connection is over. */
export function expectDisconnect(error: unknown, action: string): void {
  if (error instanceof CheckFailure) throw error;
  expect(
    isDisconnect(error),
    `${action} failed with ${describeError(error)}, expected a disconnect ` +
      "such as Deno.errors.BadResource, Interrupted or BrokenPipe",
  );
}

/**
 * Fails unless `promise` ends as an operation may whose channel is closed: with
 * a disconnect, or something that `isRight`.
 */
export async function expectOver(
  promise: Promise<unknown>,
  action: string,
  isRight: (result: unknown) => boolean = () => false,
): Promise<void> {
  let result: unknown;
  try {
    result = await promise;
  } catch (error) {
    expectDisconnect(error, action);
    return;
  }
  expect(isRight(result), `${action} returned ${result}`);
}
