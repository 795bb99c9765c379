/**
 * Checks of channels: bytes arrive as they are, and buffers are used as agreed.
 *
 * @module
 */

import type { Channel } from "../core/channel.ts";
import {
  type Checks,
  exchange,
  expect,
  expectPattern,
  type Fixture,
  LARGE,
  pattern,
  readAll,
  readOnce,
  started,
  turn,
  writeAll,
  writeOnce,
} from "./check_channel_fixture.ts";

/** Has `length` bytes written and read, then the end, in pieces of `size`. */
async function transfer(
  fixture: Fixture,
  length: number,
  size?: number,
): Promise<void> {
  const { ours, theirs } = fixture;
  const received = await exchange(
    fixture,
    pattern(length),
    () => readAll(theirs, length, size),
    () => ours.close(),
  );
  expectPattern(received);
  const rest = await theirs.read(new Uint8Array(8));
  expect(
    rest === null,
    `read() brought more than the ${length} bytes that were written`,
  );
}

/** Reads to the end; how many bytes came. */
async function countToEnd(channel: Channel): Promise<number> {
  const target = new Uint8Array(64 * 1024);
  for (let total = 0;;) {
    const count = await readOnce(channel, target);
    if (count === null) return total;
    total += count;
  }
}

/** The duties of `read()`. */
const READS: Checks = {
  "read() gives what fits, and the rest later": async (fixture) => {
    const read = () => readAll(fixture.theirs, 100, 7);
    expectPattern(await exchange(fixture, pattern(100), read));
  },

  "read() writes only as far as it says": async (fixture) => {
    const buffer = new Uint8Array(64).fill(7);
    const target = buffer.subarray(16, 48);
    const read = () => readOnce(fixture.theirs, target);
    const count = await exchange(fixture, Uint8Array.of(1), read);
    expect(count === 1, `read() of the only byte returned ${count}`);
    expect(buffer.length === 64, "read() detached the buffer of its target");
    const byte = buffer[16];
    expect(byte === 1, `the byte arrived as ${byte}, expected 1`);
    buffer[16] = 7;
    const isUntouched = buffer.every((other) => other === 7);
    expect(isUntouched, "read() wrote where it did not say that it read");
  },

  "read() leaves its target alone afterwards": async (fixture) => {
    const { theirs } = fixture;
    const target = new Uint8Array(64);
    const read = () => readOnce(theirs, target);
    await exchange(fixture, Uint8Array.of(1), read);
    await exchange(fixture, Uint8Array.of(2, 2, 2), () => readAll(theirs, 3));
    const isUntouched = target.every((byte, i) => byte === (i === 0 ? 1 : 0));
    expect(isUntouched, "the target of a read() changed after it had settled");
  },

  "read() into no room takes nothing": async (fixture) => {
    const { theirs } = fixture;
    const received = await exchange(fixture, pattern(4), async () => {
      const count = await theirs.read(new Uint8Array(0));
      expect(count === 0, `read() into 0 bytes returned ${count}, expected 0`);
      return await readAll(theirs, 4);
    });
    expectPattern(received);
  },
};

/** Overwrites bytes as soon as they are said to be taken. */
async function overwrite({ ours, theirs, isStored }: Fixture): Promise<void> {
  const data = pattern(1_000);
  const write = async () => {
    for (let at = 0; at < data.length;) {
      const count = await writeOnce(ours, data.subarray(at));
      data.fill(0, at, at + count);
      at += count;
    }
  };
  const writing = started(write());
  if (isStored) await writing;
  await turn();
  const [, received] = await Promise.all([writing, readAll(theirs, 1_000)]);
  expectPattern(received);
}

/** The duties of `write()`. */
const WRITES: Checks = {
  "write() says how many bytes it took": async (
    { ours, theirs, isStored },
  ) => {
    const writing = started(writeOnce(ours, pattern(LARGE)));
    if (isStored) await writing;
    // A channel may take all of it, but only while it is read.
    const reading = started(countToEnd(theirs));
    const count = await writing;
    ours.close();
    const total = await reading;
    expect(
      total === count,
      `write() returned ${count}, and ${total} bytes arrived`,
    );
  },

  "write() sends the part of a buffer that it is given": async (fixture) => {
    const buffer = new Uint8Array(300).fill(7);
    buffer.set(pattern(100), 100);
    const read = () => readAll(fixture.theirs, 100);
    expectPattern(await exchange(fixture, buffer.subarray(100, 200), read));
  },

  "write() leaves its bytes as they are": async (fixture) => {
    const data = pattern(1_000);
    await exchange(fixture, data, () => readAll(fixture.theirs, 1_000));
    expect(data.length === 1_000, "write() detached the buffer of its bytes");
    const before = pattern(1_000);
    const isUntouched = data.every((byte, i) => byte === before[i]);
    expect(isUntouched, "write() changed the bytes that it was given");
  },

  "write() does not look at its bytes afterwards": overwrite,

  "write() of no bytes sends nothing": async ({ ours, theirs, isStored }) => {
    const write = async () => {
      const count = await ours.write(new Uint8Array(0));
      expect(count === 0, `write() of 0 bytes returned ${count}, expected 0`);
      await writeAll(ours, pattern(4));
    };
    const writing = started(write());
    if (isStored) await writing;
    const [, received] = await Promise.all([writing, readAll(theirs, 4)]);
    expectPattern(received);
  },
};

/** The duties of all channels. */
export const BYTES: Checks = {
  "carries bytes as they are": (fixture) => transfer(fixture, 1_000),
  "carries a large amount": (fixture) => transfer(fixture, LARGE),
  "carries a large amount in small pieces": (fixture) =>
    transfer(fixture, LARGE, 1_021),
  ...READS,
  ...WRITES,
};
