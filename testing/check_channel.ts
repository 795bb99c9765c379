/**
 * Checks of the duties of every channel: {@linkcode checkChannel}.
 *
 * @module
 */

import {
  checkFunction,
  checkMethods,
  checkMilliseconds,
  showValue,
} from "../core/arguments.ts";
import { checkOptions, type OptionNames } from "../core/option_names.ts";
import { type Channel, closeQuietly } from "../core/channel.ts";
import { describeError } from "../core/log.ts";
import { BYTES } from "./check_channel_bytes.ts";
import { ENDS, ENDS_WAITED_FOR } from "./check_channel_ends.ts";
import { BOTH_WAYS, WAITING } from "./check_channel_flow.ts";
import {
  type Check,
  CheckFailure,
  type Checks,
  inTime,
  SKIPPED,
  Watched,
} from "./check_channel_fixture.ts";

/** Makes two channels of which the second reads what the first writes. */
export type MakeChannels = () =>
  | readonly [Channel, Channel]
  | Promise<readonly [Channel, Channel]>;

/**
 * How two channels are related:
 *
 * - `"connection"`: each reads what the other writes, as of a socket;
 * - `"pipe"`: the first only writes and the second only reads, as of a FIFO;
 * - `"file"`: as of a pipe, but what is written is kept: a write never waits,
 *   and a read finds the end where nothing more is written.
 */
export type ChannelKind = "connection" | "pipe" | "file";

/** Options of {@linkcode checkChannel}. */
export interface CheckChannelOptions {
  /**
   * How the two channels are related.
   *
   * @default {"connection"}
   */
  kind?: ChannelKind | undefined;
  /**
   * How long one check may take, in milliseconds. Most take less than one.
   *
   * @default {5_000}
   */
  timeout?: number | undefined;
}

const CHECK_OPTIONS: OptionNames<CheckChannelOptions> = {
  kind: true,
  timeout: true,
};

/** The checks of each kind. */
const CHECKS: Record<ChannelKind, Checks> = {
  file: { ...BYTES, ...ENDS },
  pipe: { ...BYTES, ...ENDS, ...WAITING, ...ENDS_WAITED_FOR },
  connection: {
    ...BYTES,
    ...ENDS,
    ...WAITING,
    ...ENDS_WAITED_FOR,
    ...BOTH_WAYS,
  },
};

/** One check as it is to be made. */
interface PlannedCheck {
  name: string;
  check: Check;
  /** The channels change their roles. */
  isSwapped: boolean;
}

/**
 * Checks that channels behave as the loop expects: nothing lost, doubled or
 * reordered; buffers used as agreed; ends and closings told; no operation
 * left pending after its channel is closed. For anyone's own `Channel`, in any
 * test runner.
 *
 * Of a connection, each check is made a second time with the channels in each
 * other's place, so one of them may be something well known, such as a socket.
 *
 * @param make Makes a pair, a new one for each check. The channels are closed
 * after it. If they have a `handshake()`, it is awaited first.
 * @param options What kind of channels they are, and the timeout.
 * @returns The names of the checks that were made; all have succeeded. Left out
 * are those of what the channels do not have, such as `closeWrite()`.
 * @throws {AggregateError} If some failed: the message names each, with what
 * was expected and what came; `errors` are the failures.
 * @throws {TypeError | RangeError} If an argument is wrong.
 * @throws What `make` or a handshake failed with.
 *
 * @example Channels in memory
 * ```ts
 * import { checkChannel, memoryPair } from "@asyncore/asyncore/testing";
 *
 * await checkChannel(() => memoryPair());
 * ```
 *
 * @example A channel that doubles what is written
 * ```ts
 * import type { Channel } from "@asyncore/asyncore";
 * import { checkChannel, memoryPair } from "@asyncore/asyncore/testing";
 * import { assertRejects } from "@std/assert";
 *
 * function doubling(channel: Channel): Channel {
 *   return {
 *     read: (target) => channel.read(target),
 *     write: async (data) => {
 *       await channel.write(data);
 *       return await channel.write(data);
 *     },
 *     close: () => channel.close(),
 *   };
 * }
 *
 * const make = () => {
 *   const [ours, theirs] = memoryPair();
 *   return [doubling(ours), theirs] as const;
 * };
 * await assertRejects(
 *   () => checkChannel(make, { timeout: 100 }),
 *   AggregateError,
 *   "carries bytes as they are: read() brought more than the 1000 bytes",
 * );
 * ```
 */
export async function checkChannel(
  make: MakeChannels,
  options: CheckChannelOptions = {},
): Promise<string[]> {
  checkFunction("make", make);
  checkOptions(options, CHECK_OPTIONS);
  const { kind = "connection", timeout = 5_000 } = options;
  if (!Object.hasOwn(CHECKS, kind)) {
    const got = showValue(kind);
    throw new TypeError(
      `kind must be "connection", "pipe" or "file", got ${got}`,
    );
  }
  checkMilliseconds("timeout", timeout, { min: 1, finite: true });
  const made: string[] = [];
  const failures: Error[] = [];
  for (const plan of plansFor(kind)) {
    const channels = await prepare(make, timeout);
    try {
      const result = await runCheck(channels, plan, kind, timeout);
      if (result !== SKIPPED) made.push(plan.name);
    } catch (error) {
      made.push(plan.name);
      const what = error instanceof CheckFailure
        ? error.message
        : describeError(error);
      failures.push(new Error(`${plan.name}: ${what}`, { cause: error }));
    } finally {
      for (const channel of channels) closeQuietly(channel);
    }
  }
  if (failures.length === 0) return made;
  const list = failures.map(({ message }) => `\n- ${message}`).join("");
  const count = `${failures.length} of ${made.length}`;
  throw new AggregateError(
    failures,
    `The channels fail ${count} checks:${list}`,
  );
}

function plansFor(kind: ChannelKind): PlannedCheck[] {
  const plans = (checks: Checks, isSwapped: boolean): PlannedCheck[] =>
    Object.entries(checks).map(([name, check]) => ({
      name: isSwapped ? `${name} (second to first)` : name,
      check,
      isSwapped,
    }));
  const checks = CHECKS[kind];
  const there = plans(checks, false);
  return kind === "connection" ? [...there, ...plans(checks, true)] : there;
}

/** A fresh pair, connected. */
async function prepare(
  make: MakeChannels,
  timeout: number,
): Promise<readonly [Channel, Channel]> {
  const making = async () => await make();
  const pair = await inTime(making(), timeout, () => "make() is pending");
  if (!Array.isArray(pair) || pair.length !== 2) {
    throw new TypeError(
      `make() must give two channels, got ${showValue(pair)}`,
    );
  }
  for (const channel of pair) {
    checkMethods("A channel", channel, ["read", "write", "close"]);
  }
  try {
    const shaking = Promise.all(pair.map((channel) => channel.handshake?.()));
    await inTime(shaking, timeout, () => "a handshake() is pending");
  } catch (error) {
    for (const channel of pair) closeQuietly(channel);
    throw error;
  }
  return pair;
}

async function runCheck(
  [first, second]: readonly [Channel, Channel],
  { check, isSwapped }: PlannedCheck,
  kind: ChannelKind,
  timeout: number,
): Promise<unknown> {
  const one = new Watched("the first channel", first);
  const two = new Watched("the second channel", second);
  const [ours, theirs] = isSwapped ? [two, one] : [one, two];
  const isStored = kind === "file";
  const pending = () => {
    const names = [...one.pending, ...two.pending].join(" and ");
    return names === "" ? "nothing is pending" : `${names} did not settle`;
  };
  const fixture = { ours, theirs, isStored, timeout };
  return await inTime(check(fixture), timeout, pending);
}
