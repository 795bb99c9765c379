import { assert, assertEquals, assertThrows } from "@std/assert";
import { closeAll, Dispatcher, ExitNow, SocketMap, socketMap } from "../mod.ts";
import { FakeChannel } from "./fakes.ts";
import { channels, Keeper, listening } from "./scenes.ts";
import { loopUntil, rawConnect, ScopedMap } from "./support.ts";

/** Channels of dispatchers in a map. */
function open(map: SocketMap, count = 1): FakeChannel[] {
  const made = channels(count);
  for (const channel of made) new Dispatcher(channel, { map });
  return made;
}

/** A channel of a dispatcher whose `close()` does what the test says. */
function openWith(map: SocketMap, close: () => void): FakeChannel {
  const channel = new FakeChannel();
  Object.assign(new Dispatcher(channel, { map }), { close });
  return channel;
}

/** A channel of a dispatcher whose `close()` fails, and closes nothing. */
function stubborn(map: SocketMap, error = new Error("close() failed")) {
  return openWith(map, () => {
    throw error;
  });
}

const isClosed = ({ closed }: FakeChannel) => closed;

Deno.test("closeAll() closes everything in the map it is given, and in no other", () => {
  const [map, other] = [new SocketMap(), new SocketMap()];
  const [ours, others, defaults] = [
    open(map, 10),
    open(other),
    open(socketMap),
  ];
  closeAll(map);
  assertEquals([map.size, other.size, socketMap.size], [0, 1, 1]);
  assert(ours.every(isClosed));
  assert(![...others, ...defaults].some(isClosed));
  closeAll();
  assertEquals([other.size, socketMap.size], [1, 0]);
  assert(defaults.every(isClosed));
  closeAll(other);
});

Deno.test("closeAll() closes real connections and listeners", async () => {
  await using map = new ScopedMap();
  const server = listening(new Keeper(map));
  const { addr } = server;
  using conn = await rawConnect(addr);
  await loopUntil(map, () => server.accepted.length === 1);
  new Dispatcher(server.accepted[0], { map });
  closeAll(map);
  assertEquals(map.size, 0);
  assertEquals(await conn.read(new Uint8Array(1)), null);
});

Deno.test("closeAll() calls each close() once, in the order of the map, and no handleClose()", () => {
  const map = new SocketMap();
  const trace: string[] = [];
  class Traced extends Dispatcher {
    name = "";
    override close() {
      trace.push(this.name);
      super.close();
    }
    override handleClose() {
      trace.push("handleClose");
    }
  }
  const names = ["spam", "eggs", "ham"];
  for (const name of names) new Traced(new FakeChannel(), { map }).name = name;
  closeAll(map);
  closeAll(map);
  assertEquals(trace, names);
});

Deno.test("closeAll() closes everybody before it throws what the first close() threw", () => {
  const map = new SocketMap();
  const all = [
    ...open(map),
    stubborn(map),
    stubborn(map, new Error("a later failure")),
    ...open(map),
  ];
  assertThrows(() => closeAll(map), Error, "close() failed");
  assertEquals(map.size, 0);
  assert(all.every(isClosed));
});

for (const map of [new SocketMap(), undefined]) {
  const which = map ? "a map" : "the default map";
  Deno.test(`closeAll() with ignoreAll ignores what a close() of ${which} threw`, () => {
    const all = [stubborn(map ?? socketMap), ...open(map ?? socketMap)];
    closeAll(map, true);
    assertEquals((map ?? socketMap).size, 0);
    assert(all.every(isClosed));
  });
}

for (const ignoreAll of [false, true]) {
  Deno.test(`closeAll() with ignoreAll ${ignoreAll} throws an ExitNow after the others are closed`, () => {
    const map = new SocketMap();
    const ignored = ignoreAll ? [stubborn(map)] : [];
    const exiting = stubborn(map, new ExitNow("enough"));
    const all = [...ignored, exiting, ...open(map)];
    assertThrows(() => closeAll(map, ignoreAll), ExitNow, "enough");
    assertEquals(map.size, 0);
    assert(all.every(isClosed));
  });
}

Deno.test("closeAll() closes also who joined while it ran", () => {
  const map = new SocketMap();
  const late: FakeChannel[] = [];
  openWith(map, () => void late.push(...open(map)));
  closeAll(map);
  assertEquals([map.size, late.length], [0, 1]);
  assert(late.every(isClosed));
});

Deno.test("closeAll() survives a channel whose close() throws", () => {
  const map = new SocketMap();
  const [gone, other] = open(map, 2);
  gone!.close();
  closeAll(map);
  assertEquals(map.size, 0);
  assert(other!.closed);
});

Deno.test("closeAll() takes nothing but a SocketMap", () => {
  for (const wrong of [3, {}, new Map()] as unknown as SocketMap[]) {
    assertThrows(() => closeAll(wrong), TypeError, "map must be a SocketMap");
  }
});
