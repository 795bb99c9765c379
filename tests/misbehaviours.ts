/** Ways in which foreign code misbehaves: what it gives for a promise, and throws. */

import { assert, assertEquals } from "@std/assert";
import { Dispatcher, loop, shutdown, type SocketMapOptions } from "../mod.ts";
import { MockClock } from "../testing/mock_clock.ts";
import {
  Echo,
  FakeChannel,
  LogLines,
  quietMap,
  watch,
  type Watched,
} from "./fakes.ts";
import { captureRejections, type TestMap, turns } from "./support.ts";

// deno-lint-ignore no-explicit-any
export type Any = any;

export const SPAM = new Error("spam");

function throwSpam(): never {
  throw SPAM;
}

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
  "throws": throwSpam,
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
  "gives a thenable that throws": () => thenable(throwSpam),
  "gives a thenable that rejects twice": () =>
    thenable((_, reject) => {
      reject(SPAM);
      reject(SPAM);
    }),
  "gives an object whose then throws": () =>
    Object.defineProperty({}, "then", { get: throwSpam }),
};

/** A promise of the runtime with a `then()` of its own, which `await` ignores. */
export const FALSE_PROMISE: Record<string, Instead> = {
  "gives a promise whose then() throws": () =>
    Object.assign(Promise.resolve(1), { then: throwSpam }),
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

/** A loop in which somebody misbehaves, beside a neighbour who must not notice. */
export class Trial implements Disposable {
  readonly rejections = captureRejections();
  readonly clock = new MockClock();
  readonly log = new LogLines();
  readonly map: TestMap;
  readonly neighbour = new FakeChannel();
  readonly echo: Echo;
  #ending: Watched | null = null;

  constructor(options: SocketMapOptions = {}) {
    const { clock, log } = this;
    this.map = quietMap({ clock, logger: log, ...options });
    this.echo = new Echo(this.neighbour, { map: this.map });
  }

  /** Starts the loop. */
  async begin(): Promise<void> {
    this.#ending = watch(loop({ map: this.map }));
    await turns();
  }

  rest(): Promise<void> {
    return rest(this.clock);
  }

  /** Shuts the map down, and expects that this has an end. */
  async shutDown(): Promise<void> {
    const ended = watch(shutdown({ map: this.map, deadline: 1_000 }));
    await this.rest();
    assert(ended.settled, "shutdown() has not ended");
    assertEquals(ended.error, undefined);
  }

  /** Closes all, and expects that the loop ends and nothing went unhandled. */
  async end(...victims: Dispatcher[]): Promise<void> {
    if (this.echo.connected) await assertServed(this.neighbour);
    for (const victim of victims) Dispatcher.prototype.close.call(victim);
    this.echo.close();
    await this.rest();
    assert(this.#ending?.settled, "the loop has not ended");
    assertEquals(this.#ending.error, undefined);
    assertEquals([this.map.size, this.map.lingering], [0, 0]);
    assertEquals(this.rejections.reasons, []);
  }

  [Symbol.dispose](): void {
    this.rejections[Symbol.dispose]();
  }
}

/** Tries one after the other; an error tells with which it came. */
export async function tryEach<T>(
  items: Iterable<T>,
  attempt: (item: T) => Promise<void>,
): Promise<void> {
  for (const item of items) {
    try {
      await attempt(item);
    } catch (error) {
      throw new Error(`With ${Deno.inspect(item)}`, { cause: error });
    }
  }
}
