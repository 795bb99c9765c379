/** Classes with a `close()` of their own, which may forget `super.close()`. */

import { assert, assertEquals, assertFalse, assertMatch } from "@std/assert";
import {
  type Channel,
  closeAll,
  Dispatcher,
  type DispatcherOptions,
  loop,
  shutdown,
} from "../mod.ts";
import {
  FakeAcceptor,
  FakeChannel,
  FakeNetwork,
  LogLines,
  quietMap,
  watch,
} from "./fakes.ts";
import { MockClock } from "../testing/mock_clock.ts";
import { bytes, type TestMap, turn, turns } from "./support.ts";

/** A loop in a map of its own. */
function setUp() {
  const clock = new MockClock();
  const logger = new LogLines();
  const network = new FakeNetwork();
  const map = quietMap({ clock, logger, network });
  return { clock, logger, network, map };
}

/** What a class knows of its calls. */
class Counted extends Dispatcher {
  closes = 0;
  ends = 0;
  constructor(
    map: TestMap,
    channel: Channel | null,
    options: DispatcherOptions = {},
  ) {
    super(channel, { map, ...options });
  }
  override handleRead(): void {
    this.recv();
  }
}

/** Classes whose `close()` forgets `super.close()`: new ones for each test. */
const FORGETFUL = new Map<string, () => typeof Counted>([
  ["whose close() does nothing", () =>
    class Lazy extends Counted {
      override close(): void {
        this.closes++;
      }
    }],
  ["whose close() ends what it can reach", () =>
    class Porter extends Counted {
      override close(): void {
        this.closes++;
        this.delChannel();
        this.socket?.close();
      }
    }],
  ["whose close() is async", () =>
    class Slow extends Counted {
      override async close(): Promise<void> {
        this.closes++;
        await turn();
      }
    }],
  ["whose close() is a property", () =>
    class Arrow extends Counted {
      override close = () => void this.closes++;
    }],
  ["whose handleClose() calls it", () =>
    class Calling extends Counted {
      override close(): void {
        this.closes++;
      }
      override handleClose(): void {
        this.ends++;
        this.close();
      }
    }],
  [
    "whose async handleClose() calls it",
    () =>
      class AsyncCalling extends Counted {
        override close(): void {
          this.closes++;
        }
        override async handleClose(): Promise<void> {
          this.ends++;
          await turn();
          this.close();
        }
      },
  ],
  [
    "whose handleClose() leaves it to the loop",
    () =>
      class Leaving extends Counted {
        override close(): void {
          this.closes++;
        }
        override handleClose(): void {
          this.ends++;
        }
      },
  ],
  [
    "whose handleClose() calls it and throws",
    () =>
      class Throwing extends Counted {
        override close(): void {
          this.closes++;
        }
        override handleClose(): void {
          this.ends++;
          this.close();
          throw new Error("spam");
        }
      },
  ],
]);

/** How a connection ends without its dispatcher. */
const ENDS: Record<
  string,
  (channel: FakeChannel, clock: MockClock, map: TestMap) => unknown
> = {
  "its peer ends": (channel) => channel.push(null),
  "its peer resets": (channel) =>
    channel.push(new Deno.errors.ConnectionReset("spam")),
  "its lifetime is over": (_channel, clock) => clock.advance(10_000),
  "shutdown() ends it": (_channel, _clock, map) => void shutdown({ map }),
};

for (const [what, make] of FORGETFUL) {
  for (const [end, happen] of Object.entries(ENDS)) {
    Deno.test(`Dispatcher ${what} is closed by the loop when ${end}`, async () => {
      const { clock, logger, map } = setUp();
      const Class = make();
      for (let i = 0; i < 3; i++) {
        const channel = new FakeChannel();
        const looping = watch(loop({ map }));
        const handler = new Class(map, channel, { lifetime: 10_000 });
        await turns();
        await happen(channel, clock, map);
        await turns();
        assertEquals(handler.closes, 1, "close() runs once");
        assert(channel.closed);
        assertFalse(handler.connected);
        assert(looping.settled);
        assertEquals(map.errors, []);
      }
      const lines = logger.lines.filter((line) => line.includes("super.close"));
      assertEquals(lines.length, 1, "each class is told of once");
      assertMatch(
        lines[0]!,
        new RegExp(`the close\\(\\) of ${Class.name} does not call super`),
      );
    });
  }
}

Deno.test("Dispatcher that failed to connect is closed though its close() forgets to", async () => {
  const { logger, map, network } = setUp();
  const client = new (FORGETFUL.get("whose close() does nothing")!())(
    map,
    null,
  );
  client.createSocket();
  client.connect({ port: 7 });
  const looping = watch(loop({ map }));
  network.fail(new Deno.errors.ConnectionRefused("spam"));
  await turns();
  assert(looping.settled);
  assertEquals(client.closes, 1);
  assertMatch(logger.lines.at(-1)!, /Lazy does not call super\.close\(\)/);
});

Deno.test("closeAll() closes those whose close() forgets to, and tells of the class", () => {
  const { logger, map } = setUp();
  const Class = FORGETFUL.get("whose close() does nothing")!();
  const channels = [new FakeChannel(), new FakeChannel()];
  const handlers = channels.map((channel) => new Class(map, channel));
  closeAll(map);
  assertEquals(handlers.map(({ closes }) => closes), [1, 1]);
  assert(channels.every(({ closed }) => closed));
  assertEquals(logger.lines.length, 1);
  assertMatch(logger.lines[0]!, /^warn: .* was closed by the loop: the close/);
});

Deno.test("shutdown() closes a listener whose close() forgets to, and tells of the class", async () => {
  const { logger, map } = setUp();
  const Class = FORGETFUL.get("whose close() does nothing")!();
  const acceptor = new FakeAcceptor();
  const listener = new Class(map, null);
  listener.setSocket(acceptor);
  const { listeners } = await shutdown({ map });
  assertEquals([listeners, listener.closes, acceptor.closed], [1, 1, true]);
  assertEquals(logger.lines.length, 1);
  assertMatch(logger.lines[0]!, /Lazy does not call super\.close\(\)/);
});

Deno.test("close() that calls super.close() brings no warning", async () => {
  const { logger, map } = setUp();
  class Good extends Counted {
    override close(): void {
      this.closes++;
      super.close();
    }
  }
  class Late extends Counted {
    override async close(): Promise<void> {
      this.closes++;
      await turn();
      super.close();
    }
  }
  for (const Class of [Good, Late]) {
    const channel = new FakeChannel();
    const handler = new Class(map, channel);
    const looping = watch(loop({ map }));
    channel.push(null);
    await turns();
    assert(looping.settled);
    assert(channel.closed);
    assertEquals(handler.closes, 1);
    new Class(map, new FakeChannel());
    closeAll(map);
  }
  await turns();
  assertEquals(logger.lines, []);
});

Deno.test("close() that is async may say goodbye after an await, as the loop waits for it", async () => {
  const { logger, map } = setUp();
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
  const channel = new FakeChannel();
  const handler = new Polite(map, channel);
  const looping = watch(loop({ map }));
  channel.push(null);
  await turns();
  assert(handler.connected);
  assertFalse(looping.settled);
  gate.resolve();
  await turns();
  assertEquals([channel.sent, handler.closes], ["bye", 1]);
  assert(looping.settled);
  assertEquals(logger.lines, []);
});

for (const how of ["throws", "rejects"]) {
  Deno.test(`close() that ${how} once is told to the map, and the socket closed`, async () => {
    const { map } = setUp();
    const failure = new Error("spam");
    class Failing extends Counted {
      override close(): void | Promise<void> {
        this.closes++;
        if (how === "throws") throw failure;
        return Promise.reject(failure);
      }
      override handleClose(): void {} // leaves it to the loop
    }
    const channel = new FakeChannel();
    const handler = new Failing(map, channel);
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
  const { map } = setUp();
  class Frozen extends Dispatcher {
    constructor(channel: Channel) {
      super(channel, { map });
      this.ignoreLogTypes = new Set(["warning", "error"]);
      Object.freeze(this);
    }
    override handleRead(): void {
      this.recv();
    }
    override close(): void {
      super.close();
    }
  }
  const channel = new FakeChannel();
  new Frozen(channel);
  channel.push(null);
  const looping = watch(loop({ map }));
  await turns();
  assert(looping.settled);
  assert(channel.closed);
});

Deno.test("A getter in the place of close() that throws keeps no loop going", async () => {
  const { map } = setUp();
  class Broken extends Dispatcher {
    override handleRead(): void {
      this.recv();
    }
  }
  Object.defineProperty(Broken.prototype, "close", {
    get() {
      throw new Error("no close() today");
    },
  });
  const channel = new FakeChannel();
  new Broken(channel, { map });
  channel.push(null);
  const looping = watch(loop({ map }));
  await turns();
  assert(looping.settled);
  assert(channel.closed);
  assertMatch(`${map.errors[0]}`, /no close\(\) today/);
});

Deno.test("using closes a dispatcher whose close() forgets super.close()", () => {
  const { logger, map } = setUp();
  class Lazy extends Counted {
    override close(): void {
      this.closes++;
    }
  }
  const channel = new FakeChannel();
  {
    using lazy = new Lazy(map, channel);
    assertEquals(lazy.closes, 0);
  }
  assert(channel.closed);
  assertEquals(map.size, 0);
  assertMatch(logger.lines.join(), /does not call super\.close\(\)/);
});
