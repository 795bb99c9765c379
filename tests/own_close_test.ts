/** Classes with a `close()` of their own, which may forget `super.close()`. */

import { assert, assertEquals, assertFalse, assertMatch } from "@std/assert";
import {
  type Channel,
  closeAll,
  Dispatcher,
  type DispatcherOptions,
  loop,
  shutdown,
  type SocketMap,
} from "../mod.ts";
import { FakeAcceptor, FakeChannel, watch } from "./fakes.ts";
import { channels, connecting, over, setUp } from "./scenes.ts";
import { bytes, turn, turns } from "./support.ts";

/** Knows how often it was closed. */
class Counted extends Dispatcher {
  closes = 0;

  constructor(
    map: SocketMap,
    channel: Channel | null = null,
    options: DispatcherOptions = {},
  ) {
    super(channel, { map, ...options });
  }
  override handleRead(): void {
    this.recv();
  }
}

type Act = (it: Counted) => void | Promise<void>;

/** A new class whose `close()` forgets `super.close()`. */
function forgetful(close: Act = () => {}, handleClose?: Act): typeof Counted {
  class Forgetful extends Counted {
    override close(): void | Promise<void> {
      this.closes++;
      return close(this);
    }
  }
  if (handleClose) {
    Forgetful.prototype.handleClose = function (this: Counted) {
      return handleClose(this);
    };
  }
  return Forgetful;
}

const FORGETFUL: Record<string, () => typeof Counted> = {
  "whose close() does nothing": () => forgetful(),
  "whose close() is async": () => forgetful(() => turn()),
  "whose close() is a property": () =>
    class Forgetful extends Counted {
      override close = () => void this.closes++;
    },
  "whose handleClose() calls it": () =>
    forgetful(undefined, (it) => it.close()),
  "whose async handleClose() calls it": () =>
    forgetful(undefined, (it) => turn().then(() => it.close())),
  "whose handleClose() leaves it to the loop": () =>
    forgetful(undefined, () => {}),
  "whose handleClose() calls it and throws": () =>
    forgetful(undefined, (it) => {
      it.close();
      throw new Error("spam");
    }),
};

const TOLD = /the close\(\) of Forgetful does not call super\.close\(\)/;

type Scene = ReturnType<typeof setUp> & { channel: FakeChannel };

/** How a connection ends without its dispatcher. */
const ENDS: Record<string, (scene: Scene) => unknown> = {
  "its peer ends": ({ channel }) => channel.push(null),
  "its peer resets": ({ channel }) =>
    channel.push(new Deno.errors.ConnectionReset("spam")),
  "its lifetime is over": ({ clock }) => clock.advance(10_000),
  "shutdown() ends it": ({ map }) => void shutdown({ map }),
};

for (const [what, make] of Object.entries(FORGETFUL)) {
  for (const [end, happen] of Object.entries(ENDS)) {
    Deno.test(`Dispatcher ${what} is closed by the loop when ${end}`, async () => {
      const scene = setUp();
      const { lines, map } = scene;
      const Class = make();
      for (let i = 0; i < 3; i++) {
        const channel = new FakeChannel();
        const looping = watch(loop({ map }));
        const handler = new Class(map, channel, { lifetime: 10_000 });
        await turns();
        await happen({ ...scene, channel });
        await turns();
        assertEquals(handler.closes, 1, "close() runs once");
        assert(channel.closed);
        assertFalse(handler.connected);
        assert(looping.settled);
        assertEquals(map.errors, []);
      }
      const told = lines.filter((line) => line.includes("super.close"));
      assertEquals(told.length, 1, "each class is told of once");
      assertMatch(told[0]!, TOLD);
    });
  }
}

Deno.test("Dispatcher that failed to connect is closed though its close() forgets to", async () => {
  const { lines, map, network } = setUp();
  const client = connecting(new (forgetful())(map));
  const looping = watch(loop({ map }));
  network.fail(new Deno.errors.ConnectionRefused("spam"));
  await turns();
  assert(looping.settled);
  assertEquals(client.closes, 1);
  assertMatch(lines.at(-1)!, TOLD);
});

Deno.test("closeAll() closes those whose close() forgets to, and tells of the class", () => {
  const { lines, map } = setUp();
  const Class = forgetful();
  const pair = channels(2);
  const handlers = pair.map((channel) => new Class(map, channel));
  closeAll(map);
  assertEquals(handlers.map(({ closes }) => closes), [1, 1]);
  assert(pair.every(({ closed }) => closed));
  assertEquals(lines.length, 1);
  assertMatch(lines[0]!, /^warn: .* was closed by the loop: the close/);
});

Deno.test("shutdown() closes a listener whose close() forgets to, and tells of the class", async () => {
  const { lines, map } = setUp();
  const acceptor = new FakeAcceptor();
  const listener = new (forgetful())(map);
  listener.setSocket(acceptor);
  const { listeners } = await shutdown({ map });
  assertEquals([listeners, listener.closes, acceptor.closed], [1, 1, true]);
  assertEquals(lines.length, 1);
  assertMatch(lines[0]!, TOLD);
});

Deno.test("using closes a dispatcher whose close() forgets super.close()", () => {
  const { channel, handler, lines, map } = over(forgetful());
  {
    using _ = handler;
    assertEquals(handler.closes, 0);
  }
  assert(channel.closed);
  assertEquals(map.size, 0);
  assertMatch(lines.join(), TOLD);
});

for (const isAsync of [false, true]) {
  const how = isAsync ? ", after an await," : "";
  Deno.test(`close() that calls super.close()${how} brings no warning`, async () => {
    class Good extends Counted {
      override close(): void | Promise<void> {
        this.closes++;
        if (!isAsync) return super.close();
        return turn().then(() => super.close());
      }
    }
    const { channel, handler, lines, map } = over(Good);
    const looping = watch(loop({ map }));
    channel.push(null);
    await turns();
    assert(looping.settled);
    assert(channel.closed);
    assertEquals(handler.closes, 1);
    new Good(map, new FakeChannel());
    closeAll(map);
    await turns();
    assertEquals(lines, []);
  });
}

Deno.test("close() that is async may say goodbye after an await, as the loop waits for it", async () => {
  const gate = Promise.withResolvers<void>();
  class Polite extends Counted {
    override async close(): Promise<void> {
      this.closes++;
      await gate.promise;
      this.send(bytes("bye"));
      super.close();
    }
    override handleClose(): void {} // leaves it to the loop
  }
  const { channel, handler, lines, map } = over(Polite);
  const looping = watch(loop({ map }));
  channel.push(null);
  await turns();
  assert(handler.connected);
  assertFalse(looping.settled);
  gate.resolve();
  await turns();
  assertEquals([channel.sent, handler.closes], ["bye", 1]);
  assert(looping.settled);
  assertEquals(lines, []);
});

for (const how of ["throws", "rejects"]) {
  Deno.test(`close() that ${how} once is told to the map, and the socket closed`, async () => {
    const failure = new Error("spam");
    const Failing = forgetful(() => {
      if (how === "throws") throw failure;
      return Promise.reject(failure);
    }, () => {}); // handleClose() leaves it to the loop.
    const { channel, handler, map } = over(Failing);
    const looping = watch(loop({ map }));
    channel.push(null);
    await turns();
    assert(channel.closed);
    assertEquals(handler.closes, 1);
    assertEquals(map.errors, [failure]);
    assert(looping.settled);
  });
}

Deno.test("A frozen dispatcher with a close() of its own ends", async () => {
  class Frozen extends Counted {
    constructor(map: SocketMap, channel: Channel) {
      super(map, channel);
      this.ignoreLogTypes = new Set(["warning", "error"]);
      Object.freeze(this);
    }
    override close(): void {
      super.close();
    }
  }
  const { channel, map } = over(Frozen);
  channel.push(null);
  const looping = watch(loop({ map }));
  await turns();
  assert(looping.settled);
  assert(channel.closed);
});

Deno.test("A getter in the place of close() that throws keeps no loop going", async () => {
  class Broken extends Counted {}
  Object.defineProperty(Broken.prototype, "close", {
    get() {
      throw new Error("no close() today");
    },
  });
  const { channel, map } = over(Broken);
  channel.push(null);
  const looping = watch(loop({ map }));
  await turns();
  assert(looping.settled);
  assert(channel.closed);
  assertMatch(`${map.errors[0]}`, /no close\(\) today/);
});
