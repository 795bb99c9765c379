/**
 * Checks of channels: who waits for whom, and both directions at once.
 *
 * @module
 */

import type { Channel } from "../core/channel.ts";
import {
  CheckFailure,
  type Checks,
  exchange,
  expect,
  expectEnd,
  expectPattern,
  type Fixture,
  isWaiting,
  LARGE,
  pattern,
  readAll,
  readOnce,
  SKIPPED,
  started,
  turn,
  writeAll,
  writeOnce,
} from "./check_channel_fixture.ts";

/** How much one write offers: as much as one read of the loop may take. */
const PIECE = 64 * 1024;
/**
 * More than any kernel takes for a peer that does not read: Linux has at most
 * 4 MiB to send and 6 MiB to receive by default (`tcp_wmem`, `tcp_rmem`).
 */
const MOST = 64 * 1024 * 1024;

/** The bytes that a channel took before a write had to wait. */
export interface Filled {
  /** How many bytes. */
  taken: number;
  /** The write that waits. */
  writing: Promise<number>;
}

/** Writes until a write waits for the peer to read. */
export async function fill(channel: Channel): Promise<Filled> {
  let piece = pattern(0);
  for (let taken = 0; taken < MOST;) {
    if (piece.length === 0) piece = pattern(PIECE, taken);
    const writing = started(writeOnce(channel, piece));
    if (await isWaiting(writing)) return { taken, writing };
    const count = await writing;
    taken += count;
    piece = piece.subarray(count);
    await turn(); // The check's own timeout must have its chance.
  }
  throw new CheckFailure(
    `write() took ${MOST} bytes that nobody reads: it must wait at some time, ` +
      "or memory fills up",
  );
}

/** Carries a large amount, and leaves the channels open. */
async function carry(from: Channel, to: Channel): Promise<void> {
  const writing = writeAll(from, pattern(LARGE));
  const reading = readAll(to, LARGE);
  const [, received] = await Promise.all([writing, reading]);
  expectPattern(received);
}

/** The duties of channels that wait for each other. */
export const WAITING: Checks = {
  "read() waits for bytes that come later": async ({ ours, theirs }) => {
    const target = new Uint8Array(8);
    const reading = started(readOnce(theirs, target));
    if (!await isWaiting(reading)) {
      const count = await reading;
      throw new CheckFailure(
        `read() returned ${count}, though nothing was written`,
      );
    }
    await writeAll(ours, Uint8Array.of(9));
    const count = await reading;
    expect(count === 1, `read() of one byte returned ${count}`);
    expect(target[0] === 9, `the byte arrived as ${target[0]}, expected 9`);
  },

  "write() waits for a peer that does not read, then goes on": async (
    { ours, theirs },
  ) => {
    const { taken, writing } = await fill(ours);
    expectPattern(await readAll(theirs, taken));
    // Without any buffer between them, it goes on only while the peer reads.
    const target = new Uint8Array(PIECE);
    const reading = started(readOnce(theirs, target));
    const more = await writing;
    const count = await reading ?? 0;
    expect(
      count <= more,
      `write() returned ${more}, and ${count} bytes arrived`,
    );
    expectPattern(target.subarray(0, count), taken);
    expectPattern(await readAll(theirs, more - count), taken + count);
    ours.close();
    await expectEnd(theirs);
  },
};

/** The duties of channels that go both ways. */
export const BOTH_WAYS: Checks = {
  "carries bytes both ways at once": async ({ ours, theirs }) => {
    await Promise.all([carry(ours, theirs), carry(theirs, ours)]);
  },

  "writes while a read is pending": async (fixture) => {
    const { ours, theirs } = fixture;
    const target = new Uint8Array(8);
    const reading = started(readOnce(ours, target));
    await turn();
    const read = () => readAll(theirs, 10);
    expectPattern(await exchange(fixture, pattern(10), read));
    await writeAll(theirs, Uint8Array.of(9));
    const count = await reading;
    expect(count === 1, `read() of one byte returned ${count}`);
  },

  "reads while a write is pending": async (fixture) => {
    const { ours, theirs } = fixture;
    await fill(ours);
    const back = { ...fixture, ours: theirs, theirs: ours };
    const read = () => readAll(ours, 10);
    expectPattern(await exchange(back, pattern(10), read));
  },

  "closeWrite() ends one direction, and leaves the other": async (fixture) =>
    fixture.ours.closeWrite ? await halfClose(fixture) : SKIPPED,
};

async function halfClose(fixture: Fixture): Promise<void> {
  const { ours, theirs } = fixture;
  const target = new Uint8Array(20);
  const reading = started(readOnce(ours, target));
  const there = () => readAll(theirs, 10);
  expectPattern(await exchange(fixture, pattern(10), there));
  await ours.closeWrite!();
  await expectEnd(theirs);
  const back = { ...fixture, ours: theirs, theirs: ours };
  const received = await exchange(back, pattern(20), async () => {
    const count = await reading ?? 0;
    const rest = await readAll(ours, 20 - count);
    return Uint8Array.of(...target.subarray(0, count), ...rest);
  });
  expectPattern(received);
  theirs.close();
  await expectEnd(ours);
}
