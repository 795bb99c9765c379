/** A thousand hostile peers at once, and what a hundred honest ones feel. */

import { assert, assertGreater, assertLessOrEqual } from "@std/assert";
import { measure, percentile } from "../bench/hostile_peers.ts";
import { hasCommand } from "./peers.ts";

const KIB = 1024;

Deno.test({
  name:
    "AsyncChat with its limits serves a hundred honest clients beside a thousand hostile ones",
  ignore: !hasCommand("python3", "--version") ||
    !hasCommand("nice", "--version"),
  async fn() {
    const { quiet, hostile, before, during } = await measure(6_000);
    const [alone, beside] = [quiet, hostile].map((times) =>
      percentile(times, 0.99)
    );
    // The target is three times as much; the machine may have more to do.
    assertLessOrEqual(beside!, Math.max(15 * alone!, 2_000));
    assertGreater(hostile.length, quiet.length / 10);
    for (const kind of ["idle", "lifetime", "overflow"] as const) {
      assertGreater(during[kind], 0, kind);
    }
    assertLessOrEqual(during.mostHeld, 1 * KIB);
    // The mark, and the one answer that goes over it.
    assertGreater(during.mostBuffered, 64 * KIB - 1);
    assertLessOrEqual(during.mostBuffered, (64 + 17) * KIB);
    assertLessOrEqual(during.rss - before.rss, 512 * KIB * KIB);
    assert(during.peers > 20, `${during.peers} were there`);
  },
});
