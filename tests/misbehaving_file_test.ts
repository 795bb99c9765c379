/** Files of the program's own that misbehave, under FileDispatcher. */

import { assert, assertEquals } from "@std/assert";
import { type FileLike, FileWrapper, loop } from "../mod.ts";
import { MockClock } from "../testing/mock_clock.ts";
import { Echo, FakeChannel, LogLines, quietMap, watch } from "./fakes.ts";
import {
  type Any,
  assertServed,
  FAILURES,
  FALSE_PROMISE,
  HANGS,
  type Instead,
  ODDITIES,
  rest,
  SHY,
  SPAM,
} from "./misbehaviours.ts";
import { bytes, captureRejections, turns } from "./support.ts";
import { Reader } from "./files.ts";

/** Answers that are no number of bytes. */
const NONSENSE: Record<string, Instead> = Object.fromEntries(
  [NaN, -1, 1e9, 0.5, "text", undefined, Symbol("spam"), 10n, {}, SHY].flatMap(
    (value, i) => [
      [`gives nonsense ${i}`, () => value],
      [`resolves with nonsense ${i}`, () => Promise.resolve(value)],
    ],
  ),
);

const WAYS = { ...FAILURES, ...NONSENSE, ...HANGS, ...ODDITIES };

/** A file of which one operation misbehaves after `well` calls. */
function fileOf(
  operation: "read" | "write" | "close",
  instead: Instead,
  well: number,
) {
  const end = Promise.withResolvers<void>();
  let calls = 0;
  const file: FileLike & Any = {
    // It fills the buffer: so more is read ahead, which nobody awaits.
    read: (target: Uint8Array) => Promise.resolve(target.length),
    write: (data: Uint8Array) => Promise.resolve(data.length),
    close: () => end.resolve(),
  };
  const right = file[operation];
  file[operation] = (...args: Any[]) => {
    if (operation === "close") end.resolve();
    if (calls++ < well) return right(...args);
    return instead(() => right(...args), end.promise);
  };
  return file as FileLike;
}

const POINTS: Record<string, (victim: Reader) => void> = {
  "while it is open": () => {},
  "after close()": (victim) => victim.close(),
  "in abort()": (victim) => victim.abort(),
};

for (const operation of ["read", "write", "close"] as const) {
  for (const [when, play] of Object.entries(POINTS)) {
    Deno.test(`FileDispatcher whose file's ${operation}() misbehaves ${when} is closed, and nobody else`, async () => {
      for (const [name, instead] of Object.entries(WAYS)) {
        for (const well of operation === "read" ? [0, 1, 2] : [0]) {
          using rejections = captureRejections();
          const clock = new MockClock();
          const map = quietMap({ clock, logger: new LogLines() });
          const gate = Promise.withResolvers<void>();
          const isLate = when !== "while it is open";
          const file = fileOf(operation, (right, closed) => {
            if (!isLate) return instead(right, closed);
            return gate.promise.then(() => instead(right, closed));
          }, well);
          if (operation !== "read") delete file.read;
          const victim = new Reader(map, file);
          const neighbour = new FakeChannel();
          const echo = new Echo(neighbour, { map });
          const ending = watch(loop({ map }));
          const what = `${name}, after ${well} calls`;
          if (operation === "write") victim.send(bytes("eggs"));
          if (operation === "read" && name in ODDITIES) victim.close();
          await turns();
          play(victim);
          gate.resolve();
          await rest(clock);
          const fails = name in FAILURES || name in NONSENSE;
          const isTold = fails && operation !== "close" && !isLate;
          assertEquals(victim.errors.length, isTold ? 1 : 0, what);
          await assertServed(neighbour);
          victim.close();
          echo.close();
          await rest(clock);
          assert(ending.settled, what);
          assertEquals([ending.error, map.lingering], [undefined, 0], what);
          assertEquals([map.errors, rejections.reasons], [[], []], what);
        }
      }
    });
  }
}

Deno.test("using a FileWrapper whose file's close() rejects ends no process", async () => {
  using rejections = captureRejections();
  for (const instead of Object.values({ ...FAILURES, ...FALSE_PROMISE })) {
    try {
      using _ = new FileWrapper(fileOf("close", instead, 0));
    } catch (error) {
      assert(error === SPAM || error === undefined);
    }
    await turns();
  }
  assertEquals(rejections.reasons, []);
});
