import { assert, assertEquals, assertFalse, assertThrows } from "@std/assert";
import {
  closeAll,
  Dispatcher,
  DispatcherWithSend,
  ExitNow,
  SocketMap,
  socketMap,
} from "../mod.ts";
import { FakeChannel, loopToEnd } from "./fakes.ts";
import {
  bytes,
  connectedPair,
  loopUntil,
  rawConnect,
  ScopedMap,
  TestServer,
} from "./support.ts";

/** Dispatchers in a map, and the channels under them. */
function makeDispatchers(
  map: SocketMap,
  count: number,
): { dispatchers: Dispatcher[]; channels: FakeChannel[] } {
  const channels = Array.from({ length: count }, () => new FakeChannel());
  const dispatchers = channels.map((channel) =>
    new Dispatcher(channel, { map })
  );
  return { dispatchers, channels };
}

/** A `close()` that fails, and closes nothing. */
class Stubborn extends Dispatcher {
  failure: unknown = new Error("close() failed");
  override close(): void {
    throw this.failure;
  }
}

const MAPS: [string, () => SocketMap][] = [
  ["the default map", () => socketMap],
  ["the map it is given", () => new SocketMap()],
];

for (const [name, makeMap] of MAPS) {
  Deno.test(`closeAll() closes everything in ${name}`, () => {
    const map = makeMap();
    const { dispatchers, channels } = makeDispatchers(map, 10);
    assertEquals<unknown>([...map], dispatchers);
    assertFalse(channels.some((channel) => channel.closed));
    if (map === socketMap) closeAll();
    else closeAll(map);
    assertEquals(map.size, 0);
    assert(channels.every((channel) => channel.closed));
  });
}

Deno.test("closeAll() leaves other maps alone", () => {
  const map = new SocketMap();
  const other = new SocketMap();
  makeDispatchers(map, 1);
  const { channels } = makeDispatchers(other, 1);
  const { channels: inDefault } = makeDispatchers(socketMap, 1);
  closeAll(map);
  assertEquals([map.size, other.size, socketMap.size], [0, 1, 1]);
  assertFalse(channels[0]!.closed);
  assertFalse(inDefault[0]!.closed);
  closeAll();
  assertEquals([other.size, socketMap.size], [1, 0]);
  closeAll(other);
});

Deno.test("closeAll() closes real connections and listeners", async () => {
  await using map = new ScopedMap();
  const accepted: Dispatcher[] = [];
  const server = new TestServer(map, (conn) => {
    accepted.push(new Dispatcher(conn, { map }));
  });
  const { addr } = server;
  using conn = await rawConnect(addr);
  await loopUntil(map, () => accepted.length === 1);
  closeAll(map);
  assertEquals(map.size, 0);
  assertEquals(await conn.read(new Uint8Array(1)), null);
});

Deno.test("closeAll() calls each close() once, in the order of the map", () => {
  const map = new SocketMap();
  const trace: string[] = [];
  class Traced extends Dispatcher {
    name = "";
    override close() {
      trace.push(this.name);
      super.close();
    }
  }
  for (const name of ["spam", "eggs", "ham"]) {
    new Traced(new FakeChannel(), { map }).name = name;
  }
  closeAll(map);
  assertEquals(trace, ["spam", "eggs", "ham"]);
  closeAll(map);
  assertEquals(trace.length, 3);
});

Deno.test("closeAll() runs no handleClose()", () => {
  const map = new SocketMap();
  let closes = 0;
  class Client extends Dispatcher {
    override handleClose() {
      closes++;
    }
  }
  new Client(new FakeChannel(), { map });
  closeAll(map);
  assertEquals(closes, 0);
});

Deno.test("closeAll() lets accepted bytes go out", async () => {
  await using map = new ScopedMap();
  const [ours, theirs] = await connectedPair();
  const sender = new DispatcherWithSend(ours, { map });
  sender.send(bytes("spam"));
  closeAll(map);
  const text = new Response(theirs.readable).text();
  await loopToEnd(map);
  assertEquals(await text, "spam");
});

Deno.test("closeAll() closes everybody before it throws what a close() threw", () => {
  const map = new SocketMap();
  const { channels } = makeDispatchers(map, 1);
  const stubborn = new FakeChannel();
  new Stubborn(stubborn, { map });
  const second = new Stubborn(new FakeChannel(), { map });
  second.failure = new Error("a later failure");
  const { channels: later } = makeDispatchers(map, 1);

  assertThrows(() => closeAll(map), Error, "close() failed");
  assertEquals(map.size, 0);
  for (const channel of [...channels, stubborn, ...later]) {
    assert(channel.closed);
  }
});

Deno.test("closeAll() with ignoreAll ignores what a close() threw", () => {
  const map = new SocketMap();
  const stubborn = new FakeChannel();
  new Stubborn(stubborn, { map });
  const { channels } = makeDispatchers(map, 1);
  closeAll(map, true);
  assertEquals(map.size, 0);
  assert(stubborn.closed);
  assert(channels[0]!.closed);
});

Deno.test("closeAll() with ignoreAll on the default map", () => {
  const stubborn = new FakeChannel();
  new Stubborn(stubborn);
  assertThrows(() => closeAll(), Error, "close() failed");
  const another = new FakeChannel();
  new Stubborn(another);
  closeAll(undefined, true);
  assertEquals(socketMap.size, 0);
  assert(stubborn.closed && another.closed);
});

Deno.test("closeAll() throws an ExitNow in both modes, after the others are closed", () => {
  for (const ignoreAll of [false, true]) {
    const map = new SocketMap();
    const exiting = new FakeChannel();
    new Stubborn(exiting, { map }).failure = new ExitNow("enough");
    const { channels } = makeDispatchers(map, 1);
    assertThrows(() => closeAll(map, ignoreAll), ExitNow, "enough");
    assertEquals(map.size, 0);
    assert(exiting.closed && channels[0]!.closed);
  }
});

Deno.test("closeAll() throws an ExitNow rather than an error it ignores", () => {
  const map = new SocketMap();
  new Stubborn(new FakeChannel(), { map });
  new Stubborn(new FakeChannel(), { map }).failure = new ExitNow("enough");
  assertThrows(() => closeAll(map, true), ExitNow, "enough");
  assertEquals(map.size, 0);
});

Deno.test("closeAll() closes a dispatcher whose close() forgets super.close()", () => {
  const map = new SocketMap();
  class Forgetful extends Dispatcher {
    override close() {}
  }
  const channel = new FakeChannel();
  new Forgetful(channel, { map });
  closeAll(map);
  assertEquals(map.size, 0);
  assert(channel.closed);
});

Deno.test("closeAll() closes also who joined while it ran", () => {
  const map = new SocketMap();
  const late = new FakeChannel();
  class Reconnecting extends Dispatcher {
    override close() {
      super.close();
      new Dispatcher(late, { map });
    }
  }
  new Reconnecting(new FakeChannel(), { map });
  closeAll(map);
  assertEquals(map.size, 0);
  assert(late.closed);
});

Deno.test("closeAll() survives a channel whose close() throws", () => {
  const map = new SocketMap();
  const gone = new FakeChannel();
  gone.close();
  new Dispatcher(gone, { map });
  const { channels } = makeDispatchers(map, 1);
  closeAll(map);
  assertEquals(map.size, 0);
  assert(channels[0]!.closed);
});

Deno.test("closeAll() takes nothing but a SocketMap", () => {
  for (const wrong of [null, {}, new Map()]) {
    assertThrows(
      () => closeAll(wrong as unknown as SocketMap),
      TypeError,
      "map must be a SocketMap",
    );
  }
});
