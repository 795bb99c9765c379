/**
 * When a pass waits, and when it does not: a map that is empty ends the loop,
 * wherever that happens, and a pass with nothing ready takes its time.
 */

import { assert, assertEquals, assertFalse } from "@std/assert";
import {
  AsyncChat,
  closeAll,
  DatagramDispatcher,
  Dispatcher,
  DispatcherWithSend,
  loop,
  poll,
  shutdown,
  SocketMap,
} from "../mod.ts";
import { FakeSocket } from "./datagrams.ts";
import {
  FakeAcceptor,
  FakeChannel,
  FakeNetwork,
  quietMap,
  Recorder,
  watch,
} from "./fakes.ts";
import { MockClock } from "../testing/mock_clock.ts";
import { bytes, type TestMap, turn, turns } from "./support.ts";

/** A map whose time the test moves. */
function setUp() {
  const clock = new MockClock();
  const network = new FakeNetwork();
  return { clock, network, map: quietMap({ clock, network }) };
}

/** How the last dispatcher of a map leaves it. */
const LEAVES: Record<string, (last: Dispatcher) => void> = {
  closes: (last) => last.close(),
  aborts: (last) => last.abort(),
  "calls closeAll()": (last) => closeAll(last.map),
  "leaves by delChannel()": (last) => last.delChannel(),
  "moves to another map": (last) => last.addChannel(new SocketMap()),
};

/** Makes the one dispatcher of a map, which leaves somewhere. */
type Place = (
  map: TestMap,
  leave: (last: Dispatcher) => void,
) => Dispatcher;

/** Where it does so. */
const PLACES = new Map<string, Place>([
  ["in readable()", (map, leave) =>
    new class extends Dispatcher {
      override readable(): boolean {
        leave(this);
        return false;
      }
    }(new FakeChannel(), { map })],
  ["in writable()", (map, leave) =>
    new class extends Dispatcher {
      override writable(): boolean {
        leave(this);
        return true;
      }
    }(new FakeChannel(), { map })],
  [
    "in handleError() after a readable() that throws",
    (map, leave) =>
      new class extends Dispatcher {
        override readable(): boolean {
          throw new Error("spam");
        }
        override handleError(): void {
          leave(this);
        }
      }(new FakeChannel(), { map }),
  ],
  ["in handleRead()", (map, leave) => {
    const channel = new FakeChannel();
    channel.push("spam");
    return new class extends Dispatcher {
      override handleRead(): void {
        this.recv();
        leave(this);
      }
    }(channel, { map });
  }],
  ["in an async handleRead()", (map, leave) => {
    const channel = new FakeChannel();
    channel.push("spam");
    return new class extends Dispatcher {
      override async handleRead(): Promise<void> {
        this.recv();
        await turn();
        leave(this);
      }
    }(channel, { map });
  }],
  ["in handleWrite()", (map, leave) =>
    new class extends Dispatcher {
      override handleWrite(): void {
        leave(this);
      }
    }(new FakeChannel(), { map })],
  ["in handleDrain()", (map, leave) => {
    const last = new class extends DispatcherWithSend {
      override handleDrain(): void {
        leave(this);
      }
    }(new FakeChannel(), { map, highWaterMark: 4 });
    last.send(bytes("spam"));
    return last;
  }],
  ["in handleAccepted()", (map, leave) => {
    const acceptor = new FakeAcceptor();
    acceptor.push(new FakeChannel());
    return new class extends Dispatcher {
      override handleAccepted(): void {
        leave(this);
      }
    }(acceptor, { map });
  }],
  ["in a timer", (map, leave) => {
    const last = new Dispatcher(new FakeChannel(), { map });
    last.callLater(0, () => leave(last));
    return last;
  }],
  ["in the async callback of a timer", (map, leave) => {
    const last = new Dispatcher(new FakeChannel(), { map });
    last.callLater(0, async () => {
      await turn();
      leave(last);
    });
    return last;
  }],
  ["during the wait", (map, leave) => {
    const last = new Dispatcher(new FakeChannel(), { map });
    setImmediate(() => leave(last));
    return last;
  }],
]);

for (const [place, prepare] of PLACES) {
  Deno.test(`loop() ends at once when its last dispatcher leaves ${place}`, async () => {
    for (const [how, leave] of Object.entries(LEAVES)) {
      const { clock, map } = setUp();
      const last = prepare(map, leave);
      const looping = watch(loop({ map, timeout: Infinity }));
      await turns();
      assert(looping.settled, how);
      assertEquals([looping.error, clock.armed], [undefined, 0]);
      last.abort();
      map.check();
    }
  });
}

Deno.test("poll() sleeps though its last dispatcher closes while it is asked", async () => {
  const { clock, map } = setUp();
  PLACES.get("in readable()")!(map, (last) => last.close());
  const polling = watch(poll(1_000, map));
  await clock.advance(999);
  assertEquals(map.size, 0);
  assertFalse(polling.settled);
  await clock.advance(1);
  assert(polling.settled);
});

Deno.test("loop() ends at once when the last of two closes the other in readable()", async () => {
  const { map } = setUp();
  const first = new Dispatcher(new FakeChannel(), { map });
  PLACES.get("in readable()")!(map, (last) => {
    first.close();
    last.close();
  });
  const looping = watch(loop({ map, timeout: Infinity }));
  await turns();
  assert(looping.settled);
});

Deno.test("loop() ends when the last lingering connection has sent all", async () => {
  const { clock, map } = setUp();
  const channel = new FakeChannel();
  const { promise, resolve } = Promise.withResolvers<number>();
  channel.take = () => promise;
  const last = new DispatcherWithSend(channel, { map });
  last.send(bytes("spam"));
  last.close();
  const looping = watch(loop({ map, timeout: Infinity }));
  await turns();
  assertFalse(looping.settled);
  resolve(4);
  await turns();
  assert(looping.settled);
  assertEquals(clock.armed, 0);
});

Deno.test("shutdown() ends at once though each end brings another socket", async () => {
  const { clock, map } = setUp();
  let lives = 0;
  class Reborn extends Dispatcher {
    override handleClose(): void {
      this.close();
      if (++lives === 5) return;
      new Reborn(null, { map }).createSocket();
    }
  }
  new Reborn(new FakeChannel(), { map });
  const ended = watch(shutdown({ map, deadline: Infinity }));
  await turns();
  assert(ended.settled);
  assertEquals([lives, map.size, clock.armed], [5, 0, 0]);
});

// A pass with nothing ready

type Prepare = (map: TestMap, network: FakeNetwork) => void | Promise<void>;

/** What was done before; nothing is ready then. */
const STATES = new Map<string, Prepare>([
  ["listen()", (map) => {
    const server = new Dispatcher(null, { map });
    server.createSocket();
    server.bind({ port: 0 });
    server.listen();
  }],
  ["setSocket() of a listener", (map) => {
    new Dispatcher(new FakeAcceptor(), { map });
  }],
  ["createSocket()", (map) => new Dispatcher(null, { map }).createSocket()],
  ["connect()", (map) => {
    const client = new DispatcherWithSend(null, { map });
    client.createSocket();
    client.connect({ port: 7 });
  }],
  ["a connect that succeeded", async (map, network) => {
    const client = new Recorder(map);
    client.createSocket();
    client.connect({ port: 7 });
    network.succeed(new FakeChannel());
    await turns();
    await poll(0, map);
    assert(client.connected);
  }],
  ["a new connection", (map) => {
    new Recorder(map, new FakeChannel());
  }],
  ["a new connection of a class with predicates", (map) => {
    new class extends Recorder {
      override readable(): boolean {
        return true;
      }
      override writable(): boolean {
        return false;
      }
    }(map, new FakeChannel());
  }],
  ["a new AsyncChat", (map) => void new AsyncChat(new FakeChannel(), { map })],
  ["a new datagram socket", (map) => {
    new DatagramDispatcher(new FakeSocket(), { map });
  }],
  ["send() of what was taken at once", async (map) => {
    new DispatcherWithSend(new FakeChannel(), { map }).send(bytes("spam"));
    await turns();
  }],
  ["a handleRead()", async (map) => {
    const channel = new FakeChannel();
    const handler = new Recorder(map, channel);
    channel.push("spam");
    while (handler.received === "") await poll(0, map);
  }],
  ["close() of another", (map) => {
    new Recorder(map, new FakeChannel());
    new Recorder(map, new FakeChannel()).close();
  }],
  ["close() of another in a hook", async (map) => {
    const channel = new FakeChannel();
    new Recorder(map, new FakeChannel());
    const other = new Recorder(map, channel);
    other.handleRead = () => other.close();
    channel.push("spam");
    while (map.size > 1) await poll(0, map);
  }],
  ["the end of a lingering connection", async (map) => {
    new Recorder(map, new FakeChannel());
    const other = new DispatcherWithSend(new FakeChannel(), { map });
    other.send(bytes("spam"));
    other.close();
    await turns();
    assertEquals(map.lingering, 0);
  }],
  ["delChannel() and addChannel()", async (map) => {
    const handler = new Recorder(map, new FakeChannel());
    await poll(0, map);
    handler.delChannel();
    await poll(0, map);
    handler.addChannel();
  }],
  ["a move from another map", async (map) => {
    const other = quietMap({ clock: map.clock });
    const handler = new Recorder(other, new FakeChannel());
    await poll(0, other);
    handler.addChannel(map);
  }],
  ["a pass that waited in vain", async (map) => {
    new Recorder(map, new FakeChannel());
    const polling = poll(1, map);
    await turns();
    map.wake();
    await polling;
  }],
]);

for (const [state, prepare] of STATES) {
  Deno.test(`poll() waits for its whole timeout after ${state}`, async () => {
    const { clock, map, network } = setUp();
    await prepare(map, network);
    for (let pass = 0; pass < 3; pass++) {
      const polling = watch(poll(1_000, map));
      await turns();
      await clock.advance(999);
      assertFalse(polling.settled, `pass ${pass}`);
      await clock.advance(1);
      assert(polling.settled, `pass ${pass}`);
    }
    closeAll(map);
    await turns();
    map.check();
  });
}

Deno.test("poll() waits on though a lingering connection ends meanwhile", async () => {
  const { clock, map } = setUp();
  const channel = new FakeChannel();
  const { promise, resolve } = Promise.withResolvers<number>();
  channel.take = () => promise;
  const other = new DispatcherWithSend(channel, { map });
  other.send(bytes("spam"));
  other.close();
  const polling = watch(poll(1_000, map));
  await clock.advance(500);
  resolve(4);
  await turns();
  assertEquals(map.lingering, 0);
  await clock.advance(499);
  assertFalse(polling.settled);
  await clock.advance(1);
  assert(polling.settled);
});
