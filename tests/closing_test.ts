/**
 * Connections that are closed while their peer is late, talks or is quiet: what
 * was accepted arrives all the same. On real sockets, whose kernel may hold
 * megabytes; only the time of the map is the test's.
 */

import { assertEquals } from "@std/assert";
import { AsyncChat, closeAll, loop, shutdown } from "../mod.ts";
import { watch } from "./fakes.ts";
import { setUp } from "./scenes.ts";
import { bytes, until } from "./support.ts";
import { type Conn, readToEnd, TRANSPORTS } from "./transports.ts";

const IDLE = 60_000;

/** Answers a line in a way of the test's. */
class Answering extends AsyncChat {
  answer = () => {};
  override collectIncomingData(): void {}
  override foundTerminator(): void {
    this.answer();
  }
}

/** A connection of which only the peer is left. */
function open([conn, peer]: [Conn, Conn], idleTimeout: number) {
  const scene = setUp();
  let said = 0;
  let heard = 0;
  const read = conn.read.bind(conn);
  conn.read = async (target) => {
    const length = await read(target);
    heard += length ?? 0;
    return length;
  };
  const chat = new Answering(conn, { map: scene.map, idleTimeout });
  chat.setTerminator("\n");
  /** Says something, and waits until that is heard, or nobody is left to hear. */
  const talk = async (what: string) => {
    said += await peer.write(bytes(what)).catch(() => 0);
    const isOver = () => !chat.connected && !chat.closing;
    await until(() => heard === said || isOver(), what);
  };
  return { ...scene, chat, peer, talk };
}

type Scene = ReturnType<typeof open>;

/** How a connection is closed. */
const WAYS: Record<string, (scene: Scene) => void> = {
  "close()": ({ chat }) => chat.close(),
  "closeWhenDone()": ({ chat }) => chat.closeWhenDone(),
  "closeAll()": ({ map }) => closeAll(map),
  "shutdown()": ({ map }) => void shutdown({ map, deadline: Infinity }),
  idleTimeout: ({ clock }) => void clock.advance(IDLE),
};

/** When it is closed; it is idle in the first case only. */
const MOMENTS = ["all is in the kernel", "bytes are pending", "in a hook"];

/** What the peer does before it reads. */
const PEERS: Record<string, (scene: Scene) => Promise<void>> = {
  "is quiet for a second, and talks": async ({ clock, talk }) => {
    await clock.advance(1_000);
    await talk("well");
  },
  "talks whenever a linger time is almost over": async ({ clock, talk }) => {
    for (const word of ["well", "er", "you see"]) {
      await clock.advance(4_900);
      await talk(word);
    }
  },
  "is quiet for a second, and ends its side": async ({ clock, peer }) => {
    await clock.advance(1_000);
    await peer.closeWrite();
  },
  "talks, and ends its side": async ({ peer, talk }) => {
    await talk("well");
    await peer.closeWrite();
  },
};

for (const { name, ignore, kernel, hasResets, connect } of TRANSPORTS) {
  for (const [way, close] of Object.entries(WAYS)) {
    const isIdle = way === "idleTimeout";
    const moments = isIdle ? MOMENTS.slice(0, 1) : MOMENTS;
    Deno.test({
      name: `${way} over ${name} lets a peer that reads late have everything`,
      ignore,
      fn: async () => {
        for (const moment of moments) {
          for (const [behaviour, behave] of Object.entries(PEERS)) {
            const scene = open(await connect(), isIdle ? IDLE : Infinity);
            const { chat, lines, map } = scene;
            using peer = scene.peer;
            const looping = watch(loop({ map }));
            const isPending = moment !== "all is in the kernel";
            chat.answer = () => {
              chat.push(new Uint8Array(kernel));
              if (isPending) close(scene);
            };
            if (moment === "in a hook") await scene.talk("go\n");
            else chat.answer();
            if (!isPending) {
              await until(() => chat.bufferedAmount === 0, "the kernel");
              close(scene);
            }
            await until(() => map.size === 0, "the close");

            await behave(scene);
            const { length, last } = await readToEnd(peer);
            const what = `${moment}, the peer ${behaviour}`;
            assertEquals(length, kernel, what);
            if (hasResets) assertEquals(last, "end", what);
            await peer.closeWrite().catch(() => {});
            await until(() => looping.settled, `the loop: ${what}`);
            assertEquals(lines, [], what);
            map.check();
          }
        }
      },
    });
  }
}
