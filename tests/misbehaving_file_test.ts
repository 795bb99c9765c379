/** Files of the program's own that misbehave, under FileDispatcher. */

import { assert, assertEquals } from "@std/assert";
import { type FileLike, FileWrapper } from "../mod.ts";
import { Reader } from "./files.ts";
import {
  type Any,
  FAILURES,
  FALSE_PROMISE,
  HANGS,
  type Instead,
  ODDITIES,
  SHY,
  SPAM,
} from "./misbehaviours.ts";
import { neighbourhood, nonsense, tryAll } from "./neighbourhood.ts";
import { bytes, captureRejections, turns } from "./support.ts";

/** Answers that are no number of bytes. */
const NONSENSE: Record<string, Instead> = nonsense(
  [NaN, -1, 1e9, 0.5, "text", undefined, Symbol("spam"), 10n, {}, SHY],
);

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
  if (operation !== "read") delete file.read;
  return file as FileLike;
}

const OPEN = "while it is open";
const POINTS: Record<string, (victim: Reader) => void> = {
  [OPEN]: () => {},
  "after close()": (victim) => victim.close(),
  "in abort()": (victim) => victim.abort(),
};

for (const operation of ["read", "write", "close"] as const) {
  for (const [when, play] of Object.entries(POINTS)) {
    Deno.test(`FileDispatcher whose file's ${operation}() misbehaves ${when} is closed, and nobody else`, async () => {
      const fails = { ...FAILURES, ...NONSENSE };
      const ways = { ...fails, ...HANGS, ...ODDITIES };
      for (const well of operation === "read" ? [0, 1, 2] : [0]) {
        await tryAll(ways, async (instead, name) => {
          await using scene = neighbourhood();
          const gate = Promise.withResolvers<void>();
          const late: Instead = (right, closed) =>
            gate.promise.then(() => instead(right, closed));
          const file = fileOf(operation, when === OPEN ? instead : late, well);
          const victim = new Reader(scene.map, file);
          if (operation === "write") victim.send(bytes("eggs"));
          if (operation === "read" && name in ODDITIES) victim.close();
          await turns();
          play(victim);
          gate.resolve();
          await scene.settle();
          const isTold = name in fails && operation !== "close" &&
            when === OPEN;
          assertEquals(victim.errors.length, isTold ? 1 : 0);
        });
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
