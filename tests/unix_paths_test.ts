/** The path of a Unix listener: whose it is, and when it is free. */

import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { Dispatcher, poll } from "../mod.ts";
import { listenUnix } from "../net/unix_listener.ts";
import { Keeper, listening, scopedMap } from "./scenes.ts";
import { IS_ON_EPOLL, loopUntil } from "./support.ts";

interface Place {
  path: string;
  /** The names in its folder. */
  names: () => string[];
}

/** Runs a test with a path in a folder of its own. */
function test(name: string, fn: (place: Place) => Promise<void>): void {
  Deno.test({
    name,
    ignore: Deno.build.os === "windows",
    fn: async () => {
      const folder = await Deno.makeTempDir();
      const names = () => [...Deno.readDirSync(folder)].map(({ name }) => name);
      try {
        await fn({ path: `${folder}/socket`, names });
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    },
  });
}

/** A listener whose accept is in flight; returns how to close it. */
function accepting(path: string): () => Promise<unknown> {
  const listener = listenUnix(path);
  const accepted = assertRejects(() => listener.accept());
  return () => {
    listener.close();
    return accepted; // Deno lets go of it, which takes a turn.
  };
}

/** Expects that whoever connects to `path` gets to `listener`. */
async function assertReached(path: string, listener: Deno.UnixListener) {
  const accepted = listener.accept();
  (await Deno.connect({ transport: "unix", path })).close();
  (await accepted).close();
}

/** How a listener was used before it is closed. */
const LISTENERS: Record<string, (path: string) => () => unknown> = {
  "with an accept in flight": accepting,
  "without an accept": (path) => {
    const listener = listenUnix(path);
    return () => listener.close();
  },
};

for (const [how, listen] of Object.entries(LISTENERS)) {
  test(`A Unix listener ${how} leaves a free path behind`, async ({ path }) => {
    await listen(path)();
    using second = listenUnix(path);
    await assertReached(path, second);
  });

  test(
    `A Unix listener ${how} leaves the path to a successor that has taken it`,
    async ({ path, names }) => {
      const close = listen(path);
      Deno.removeSync(path); // As a program does that is to take over.
      using second = Deno.listen({ transport: "unix", path });
      await close();
      assertEquals(names(), ["socket"]);
      await assertReached(path, second);
    },
  );
}

test(
  "A Unix listener leaves the path to a successor that takes it behind close()",
  async ({ path, names }) => {
    const closed = accepting(path)();
    Deno.removeSync(path);
    using second = listenUnix(path);
    await closed;
    assertEquals(names(), ["socket"]);
    await assertReached(path, second);
  },
);

test(
  "A Unix listener leaves the path to the last of two successors",
  async ({ path, names }) => {
    const closeFirst = accepting(path);
    Deno.removeSync(path);
    const closeSecond = accepting(path);
    const closed = closeFirst();
    Deno.removeSync(path);
    using third = listenUnix(path);
    await Promise.all([closed, closeSecond()]);
    assertEquals(names(), ["socket"]);
    await assertReached(path, third);
  },
);

test(
  "A Unix listener brings no path back that its successor has left",
  async ({ path, names }) => {
    const closed = accepting(path)();
    Deno.removeSync(path);
    listenUnix(path).close();
    await closed;
    assertEquals(names(), []);
  },
);

test(
  "Dispatcher.close() leaves a successor's path alone",
  async ({ path, names }) => {
    await using map = scopedMap();
    await using others = scopedMap();
    const listen = (within = map) =>
      listening(new Keeper(within), { transport: "unix" }, { path });
    const first = listen(others);
    await poll(0, others); // Its accept is in flight.
    first.close();
    if (!IS_ON_EPOLL) Deno.removeSync(path); // That has removed it.
    const second = listen();
    await poll(0, others); // Deno has let go of the first.
    (await Deno.connect({ transport: "unix", path })).close();
    await loopUntil(map, () => second.accepted.length > 0);
    second.accepted[0]!.close();
    assertEquals(names(), ["socket"]);
  },
);

test(
  "Dispatcher.bind() of a socket that somebody has left behind says what to do",
  async ({ path, names }) => {
    const listener = Deno.listen({ transport: "unix", path: `${path}.former` });
    Deno.linkSync(`${path}.former`, path);
    listener.close(); // Nobody listens on the other name, as after a crash.
    await using map = scopedMap();
    const server = new Dispatcher(null, { map });
    server.createSocket({ transport: "unix" });
    assertThrows(
      () => server.bind({ path }),
      Deno.errors.AddrInUse,
      "the file is there. Remove it if nobody listens on it",
    );
    assertEquals(names(), ["socket"]);
    Deno.removeSync(path);
    server.bind({ path });
    server.close();
  },
);
