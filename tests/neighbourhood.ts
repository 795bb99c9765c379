/** A loop in which something misbehaves beside a neighbour who has to be served. */

import { assert, assertEquals } from "@std/assert";
import { type Dispatcher, loop } from "../mod.ts";
import { MockClock } from "../testing/mod.ts";
import { Echo, FakeChannel, quietMap, watch } from "./fakes.ts";
import { assertServed, rest } from "./misbehaviours.ts";
import { captureRejections, type TestMap, until } from "./support.ts";

/**
 * A running loop, on a clock of its own. When it is disposed of, all is closed,
 * and must have ended without an error that anybody else had to hear of.
 */
export function neighbourhood() {
  const rejections = captureRejections();
  const clock = new MockClock();
  const map = quietMap({ clock });
  const neighbour = new FakeChannel();
  const echo = new Echo(neighbour, { map });
  const ending = watch(loop({ map }));
  const end = async () => {
    using _ = rejections;
    if (echo.connected) await assertServed(neighbour);
    for (const member of [...map]) member.close();
    await rest(clock);
    assert(ending.settled, "the loop has not ended");
    assertEquals([ending.error, map.size, map.lingering], [undefined, 0, 0]);
    assertEquals(map.errors, [], "onError() was told");
    assertEquals(rejections.reasons, []);
  };
  const settle = () => rest(clock);
  return { clock, map, settle, [Symbol.asyncDispose]: end };
}

/** Expects that a neighbour has its turns while a dispatcher is never done. */
export async function assertTurns(
  make: (map: TestMap) => Dispatcher,
): Promise<void> {
  const map = quietMap();
  const victim = make(map);
  const neighbour = new FakeChannel();
  const echo = new Echo(neighbour, { map });
  const looping = loop({ map });
  for (const word of ["spam", "eggs", "ham"]) {
    neighbour.push(word);
    await until(() => neighbour.sent.endsWith(word), "the echo");
  }
  assert(victim.connected);
  victim.close();
  echo.close();
  await looping;
  map.check();
}

/** Tries each of `ways`; an error tells which one it was. */
export async function tryAll<T>(
  ways: Record<string, T>,
  attempt: (way: T, name: string) => Promise<void>,
): Promise<void> {
  for (const [name, way] of Object.entries(ways)) {
    try {
      await attempt(way, name);
    } catch (error) {
      throw new Error(name, { cause: error });
    }
  }
}

/** Answers that are nothing that may be given: as they are, and in a promise. */
export function nonsense(
  values: unknown[],
  wrap = (value: unknown): unknown => value,
): Record<string, () => unknown> {
  return Object.fromEntries(
    values.flatMap((value, i) => [
      [`gives nonsense ${i}`, () => wrap(value)],
      [`resolves with nonsense ${i}`, () => Promise.resolve(wrap(value))],
    ]),
  );
}
