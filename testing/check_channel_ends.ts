/**
 * Checks of channels: ends and closings are told, and nothing stays pending.
 *
 * @module
 */

import { isDisconnect } from "../core/errors.ts";
import { describeError } from "../core/log.ts";
import { fill } from "./check_channel_flow.ts";
import {
  CheckFailure,
  type Checks,
  exchange,
  expect,
  expectDisconnect,
  expectEnd,
  expectOver,
  expectPattern,
  pattern,
  readAll,
  started,
  turn,
  writeAll,
} from "./check_channel_fixture.ts";

const isCount = (result: unknown) => Number.isInteger(result);
const isEnd = (result: unknown) => result === null;

/** The duties of all channels. */
export const ENDS: Checks = {
  "close() tells the peer of the end, after all bytes": async (fixture) => {
    const { ours, theirs } = fixture;
    const read = () => readAll(theirs, 500);
    const close = () => ours.close();
    expectPattern(await exchange(fixture, pattern(500), read, close));
    await expectEnd(theirs);
  },

  "read() at the end gives null again and again": async ({ ours, theirs }) => {
    ours.close();
    for (let i = 0; i < 3; i++) await expectEnd(theirs);
  },

  "close() settles a read that is pending": async ({ theirs }) => {
    const reading = theirs.read(new Uint8Array(8));
    await turn();
    theirs.close();
    await expectOver(reading, "the pending read()", isEnd);
  },

  "close() a second time does no harm": ({ ours, theirs }) => {
    for (const channel of [ours, theirs]) {
      channel.close();
      try {
        channel.close();
      } catch (error) {
        expect(
          isDisconnect(error),
          `the second close() threw ${describeError(error)}, expected ` +
            "nothing or Deno.errors.BadResource",
        );
      }
    }
    return Promise.resolve();
  },

  "read() after close() gives no bytes": async (
    { ours, theirs, isStored },
  ) => {
    const writing = started(writeAll(ours, pattern(4)));
    if (isStored) await writing;
    else await turn();
    theirs.close();
    const reading = theirs.read(new Uint8Array(8));
    await expectOver(reading, "read() after close()", isEnd);
  },

  "write() after close() fails with a disconnect": async ({ ours }) => {
    ours.close();
    await expectOver(ours.write(pattern(4)), "write() after close()");
  },
};

/** The duties of channels that wait for each other. */
export const ENDS_WAITED_FOR: Checks = {
  "read() that waits is told of the end": async ({ ours, theirs }) => {
    const reading = theirs.read(new Uint8Array(8));
    await turn();
    ours.close();
    const count = await reading;
    expect(count === null, `read() at the end returned ${count}`);
  },

  "close() settles a write that is pending": async ({ ours }) => {
    const { writing } = await fill(ours);
    ours.close();
    await expectOver(writing, "the pending write()", isCount);
  },

  "write() that is pending is told that the peer has left": async (
    { ours, theirs },
  ) => {
    const { writing } = await fill(ours);
    theirs.close();
    await expectOver(writing, "the pending write()", isCount);
  },

  "write() to a peer that has left fails with a disconnect": async (
    { ours, theirs, timeout },
  ) => {
    theirs.close();
    // It may take some before it hears of it.
    const end = performance.now() + timeout / 2;
    while (performance.now() < end) {
      try {
        await ours.write(pattern(1_000));
      } catch (error) {
        expectDisconnect(error, "write()");
        return;
      }
      await turn();
    }
    throw new CheckFailure("write() went on succeeding, expected a disconnect");
  },
};
