/** The path of a Unix listener: whose it is, and when it is free. */

import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { type Channel, Dispatcher } from "../mod.ts";
import { ENTRY } from "../core/symbols.ts";
import { listenUnix } from "../net/unix_listener.ts";
import { LogLines, passes } from "./fakes.ts";
import { loopUntil, ScopedMap, type TestMap } from "./support.ts";

/** A folder of its own, and the path of a socket in it. */
class Place implements Disposable {
  readonly folder = Deno.makeTempDirSync();
  readonly path = `${this.folder}/socket`;

  /** What is in the folder. */
  get names(): string[] {
    return [...Deno.readDirSync(this.folder)].map(({ name }) => name);
  }
  [Symbol.dispose](): void {
    Deno.removeSync(this.folder, { recursive: true });
  }
}

function testPaths(name: string, test: (place: Place) => Promise<void>): void {
  Deno.test({
    name,
    ignore: Deno.build.os === "windows",
    fn: async () => {
      using place = new Place();
      await test(place);
    },
  });
}

/** A listener, and its accept that is in flight. */
function accepting(path: string) {
  const listener = listenUnix(path);
  const accepted = assertRejects(() => listener.accept());
  /** Has Deno let go of it, which takes a turn. */
  const close = async () => {
    listener.close();
    await accepted;
  };
  return { listener, close };
}

/** Expects that whoever connects to `path` gets to `listener`. */
async function assertReached(path: string, listener: Deno.UnixListener) {
  const accepted = listener.accept();
  (await Deno.connect({ transport: "unix", path })).close();
  (await accepted).close();
}

testPaths("A Unix listener leaves a free path behind", async ({ path }) => {
  const first = accepting(path);
  await first.close();
  using second = listenUnix(path);
  await assertReached(path, second);
});

testPaths(
  "A Unix listener without an accept leaves a free path at once",
  async ({ path }) => {
    listenUnix(path).close();
    using second = listenUnix(path);
    await assertReached(path, second);
  },
);

testPaths(
  "A Unix listener leaves the path to a successor that has taken it",
  async (place) => {
    const { path } = place;
    const first = accepting(path);
    Deno.removeSync(path); // As a program does that is to take over.
    using second = Deno.listen({ transport: "unix", path });
    await first.close();
    assertEquals(place.names, ["socket"]);
    await assertReached(path, second);
  },
);

testPaths(
  "A Unix listener without an accept leaves the path to a successor",
  async (place) => {
    const { path } = place;
    const first = listenUnix(path);
    Deno.removeSync(path);
    using second = Deno.listen({ transport: "unix", path });
    first.close();
    assertEquals(place.names, ["socket"]);
    await assertReached(path, second);
  },
);

testPaths(
  "A Unix listener leaves the path to a successor that takes it behind close()",
  async (place) => {
    const { path } = place;
    const first = accepting(path);
    const closed = first.close();
    Deno.removeSync(path);
    using second = listenUnix(path);
    await closed;
    assertEquals(place.names, ["socket"]);
    await assertReached(path, second);
  },
);

testPaths(
  "A Unix listener leaves the path to the last of two successors",
  async (place) => {
    const { path } = place;
    const first = accepting(path);
    Deno.removeSync(path);
    const second = accepting(path);
    const closed = [first.close()];
    Deno.removeSync(path);
    using third = listenUnix(path);
    closed.push(second.close());
    await Promise.all(closed);
    assertEquals(place.names, ["socket"]);
    await assertReached(path, third);
  },
);

testPaths(
  "A Unix listener brings no path back that its successor has left",
  async (place) => {
    const { path } = place;
    const first = accepting(path);
    const closed = first.close();
    Deno.removeSync(path);
    listenUnix(path).close();
    await closed;
    assertEquals(place.names, []);
  },
);

testPaths(
  "Dispatcher.close() leaves a successor's path alone",
  async (place) => {
    const { path } = place;
    await using map = new ScopedMap({ logger: new LogLines() });
    class Server extends Dispatcher {
      reached = false;
      override handleAccepted(conn: Channel): void {
        this.reached = true;
        conn.close();
      }
    }
    const open = (map: TestMap) => {
      const server = new Server(null, { map });
      server.createSocket({ transport: "unix" });
      server.bind({ path });
      server.listen();
      return server;
    };
    const first = open(map);
    await passes(map, 3); // Its accept is in flight.
    first.close();
    const gone = first[ENTRY]!.accepting!.whenClosed();
    Deno.removeSync(path);
    const second = open(map);
    await gone;
    (await Deno.connect({ transport: "unix", path })).close();
    await loopUntil(map, () => second.reached, 20_000);
    assertEquals(place.names, ["socket"]);
  },
);

testPaths(
  "Dispatcher.bind() of a socket that somebody has left behind says what to do",
  async (place) => {
    const { path } = place;
    const listener = Deno.listen({ transport: "unix", path: `${path}.former` });
    Deno.linkSync(`${path}.former`, path);
    listener.close(); // Nobody listens on the other name, as after a crash.
    await using map = new ScopedMap({ logger: new LogLines() });
    const server = new Dispatcher(null, { map });
    server.createSocket({ transport: "unix" });
    assertThrows(
      () => server.bind({ path }),
      Deno.errors.AddrInUse,
      "the file is there. Remove it if nobody listens on it",
    );
    assertEquals(place.names, ["socket"]);
    Deno.removeSync(path);
    server.bind({ path });
    server.close();
  },
);
