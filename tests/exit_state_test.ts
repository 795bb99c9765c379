/** An `ExitNow` leaves the loop, and changes nothing else. */

import { assertEquals, assertInstanceOf } from "@std/assert";
import { ExitNow } from "../mod.ts";
import { FakeChannel } from "./fakes.ts";
import {
  type Hook,
  HOOKS,
  IDLE,
  LIFETIME,
  provoke,
  type Scene,
} from "./hook_scene.ts";
import { bytes, turn, turns } from "./support.ts";

/** How a hook ends. */
const ENDS: Record<string, () => void | Promise<void>> = {
  returns: () => {},
  "throws ExitNow": () => {
    throw new ExitNow();
  },
  "resolves": () => turn(),
  "rejects with ExitNow": async () => {
    await turn();
    throw new ExitNow();
  },
};

/** What a hook does before it ends. */
const WORK: Record<string, (scene: Scene, hook: Hook) => void> = {
  "does what is usual": ({ subject }, hook) => {
    if (hook === "handleRead") subject.recv();
  },
  "leaves all to the loop": () => {},
  "sends": ({ subject }) => {
    if (subject.connected) subject.send(bytes("answer"));
  },
  "closes": ({ subject }) => subject.close(),
  "leaves the map": ({ subject }) => subject.delChannel(),
};

/** What becomes of a dispatcher one of whose hooks ends like that. */
async function life(hook: Hook, work: string, end: string): Promise<unknown[]> {
  const story: unknown[] = [];
  const scene = await provoke(hook, (scene) => {
    WORK[work]!(scene, hook);
    return ENDS[end]!();
  });
  const { acceptor, channel, clock, map, subject } = scene;
  let heard = 0;
  const note = async () => {
    await turns();
    if (scene.looping.error !== undefined) {
      assertInstanceOf(scene.looping.error, ExitNow);
      await scene.loop();
    }
    const { connected, accepting, closing, closeReason } = subject;
    // Which pass each hook came in is not compared.
    const hooks = subject.trace.slice(heard).sort().join();
    heard = subject.trace.length;
    story.push({
      ...{ hooks, connected, accepting, closing, reason: closeReason?.name },
      ...{ size: map.size, lingering: map.lingering, sent: channel.sent },
    });
  };
  await note();
  channel.push("bytes");
  acceptor.push(new FakeChannel());
  await note();
  await clock.advance(IDLE);
  await note();
  await clock.advance(2 * IDLE);
  await note();
  if (!subject.closing && map.size === 0 && subject.socket) {
    subject.addChannel();
  }
  await note();
  channel.push(null);
  await note();
  await clock.advance(LIFETIME);
  await note();
  subject.abort();
  await note();
  assertEquals(map.errors, []);
  return story;
}

for (const hook of HOOKS) {
  for (const work of Object.keys(WORK)) {
    Deno.test(`ExitNow from a ${hook}() that ${work} changes nothing but the loop`, async () => {
      assertEquals(
        await life(hook, work, "throws ExitNow"),
        await life(hook, work, "returns"),
      );
      assertEquals(
        await life(hook, work, "rejects with ExitNow"),
        await life(hook, work, "resolves"),
      );
    });
  }
}
