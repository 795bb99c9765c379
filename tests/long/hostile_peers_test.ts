/** A thousand hostile peers at once, and how a hundred honest ones fare. */

import { assert, assertLess, assertLessOrEqual } from "@std/assert";
import {
  beHonest,
  pause,
  startAttack,
  startServer,
  statsOf,
} from "../../bench/hostile_peers.ts";
import { hasCommand } from "../peers.ts";
import { PATIENCE } from "../support.ts";

const KIB = 1024;
const HONEST = 100;
/** So many answers each of them gets beside the hostile ones. */
const ANSWERS = 3;

Deno.test({
  name:
    "AsyncChat with its limits serves a hundred honest clients beside a thousand hostile ones",
  ignore: !hasCommand("python3", "--version") ||
    !hasCommand("nice", "--version"),
  async fn() {
    await using server = await startServer();
    const port = server.number;
    const before = await statsOf(port);
    await using _attack = await startAttack(port, 0);
    let isOver = false;
    const goesOn = () => !isOver;
    const times = Array.from({ length: HONEST }, (): number[] => []);
    const talking = Promise.all(times.map((of) => beHonest(port, goesOn, of)));

    // How long an answer takes is for the bench to say: here, each client gets
    // its answers, and each limit cuts those that it is there for.
    const deadline = performance.now() + 3 * PATIENCE;
    let during = before;
    const isDone = () =>
      Math.min(during.idle, during.lifetime, during.overflow) > 0 &&
      during.mostBuffered >= 64 * KIB &&
      times.every(({ length }) => length >= ANSWERS);
    try {
      while (!isDone()) {
        await Promise.race([pause(100), talking]);
        during = await statsOf(port);
        assertLess(
          performance.now(),
          deadline,
          Deno.inspect({ during, times }),
        );
      }
    } finally {
      isOver = true;
      await talking;
    }

    assertLessOrEqual(during.mostHeld, 1 * KIB);
    // The mark, and the one answer that goes over it.
    assertLessOrEqual(during.mostBuffered, (64 + 17) * KIB);
    assertLessOrEqual(during.rss - before.rss, 512 * KIB * KIB);
    assert(during.peers > 20, `${during.peers} were there`);
  },
});
