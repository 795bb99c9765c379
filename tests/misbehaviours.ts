/** Ways in which foreign code misbehaves: what it gives for a promise, and throws. */

import { assertEquals } from "@std/assert";
import type { MockClock } from "../testing/mock_clock.ts";
import type { FakeChannel } from "./fakes.ts";
import { turns } from "./support.ts";

// deno-lint-ignore no-explicit-any
export type Any = any;

export const SPAM = new Error("spam");

/** An object that cannot be shown. */
export const SHY = {
  toString(): string {
    throw new Error("no text form");
  },
  [Symbol.for("Deno.customInspect")](): string {
    throw new Error("not to be inspected");
  },
};

/** An error of which nothing can be asked. */
export const MUTE = Object.defineProperties(new Error("spam"), {
  name: { get: SHY.toString },
  code: { get: SHY.toString },
  message: { get: SHY.toString },
});

/** A thenable with a `then()` of its own. */
export function thenable(then: (resolve: Any, reject: Any) => void): Any {
  return { then };
}

/**
 * What an operation does instead. `well` is what it should do, and `closed`
 * settles when the channel is closed.
 */
export type Instead = (well: () => Any, closed: Promise<void>) => Any;

/** Ways to fail, whatever the operation. */
export const FAILURES: Record<string, Instead> = {
  "throws": () => {
    throw SPAM;
  },
  "throws undefined": () => {
    throw undefined;
  },
  "rejects": () => Promise.reject(SPAM),
  "rejects later": () => turns().then(() => Promise.reject(SPAM)),
  "rejects with undefined": () => Promise.reject(),
  "rejects with null": () => Promise.reject(null),
  "rejects with text": () => Promise.reject("spam"),
  "rejects with a shy object": () => Promise.reject(SHY),
  "rejects with a mute error": () => Promise.reject(MUTE),
  "gives a thenable that throws": () =>
    thenable(() => {
      throw SPAM;
    }),
  "gives a thenable that rejects twice": () =>
    thenable((_, reject) => {
      reject(SPAM);
      reject(SPAM);
    }),
  "gives an object whose then throws": () => ({
    get then() {
      throw SPAM;
    },
  }),
};

/** A promise of the runtime with a `then()` of its own, which `await` ignores. */
export const FALSE_PROMISE: Record<string, Instead> = {
  "gives a promise whose then() throws": () =>
    Object.assign(Promise.resolve(1), {
      then() {
        throw SPAM;
      },
    }),
};

/** Ways to keep the library waiting. */
export const HANGS: Record<string, Instead> = {
  "never settles": () => new Promise(() => {}),
  "gives a thenable that never settles": () => thenable(() => {}),
  "settles when it is closed": (well, closed) => closed.then(well),
  "fails when it is closed": (_, closed) =>
    closed.then(() => Promise.reject(undefined)),
};

/** Ways that do no harm. */
export const ODDITIES: Record<string, Instead> = {
  "settles twice": (well) =>
    thenable((resolve) => {
      const result = well();
      resolve(result);
      resolve(result);
    }),
};

/** Lets all happen that can, and a minute pass with what that brings. */
export async function rest(clock: MockClock): Promise<void> {
  for (let i = 0; i < 3; i++) {
    await turns();
    await clock.advance(20_000);
  }
  await turns();
}

/** Says something to a neighbour, who has to answer. */
export async function assertServed(neighbour: FakeChannel): Promise<void> {
  const before = neighbour.sent.length;
  neighbour.push("spam");
  await turns();
  assertEquals(neighbour.sent.slice(before), "spam");
}
