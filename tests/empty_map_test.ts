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
  type FakeNetwork,
  quietMap,
  Recorder,
  watch,
} from "./fakes.ts";
import { type Acts, recorder, setUp } from "./setups.ts";
import { bytes, type TestMap, turn, turns } from "./support.ts";

/** A connection that has `incoming` to read. */
function open(map: TestMap, acts: Acts = {}, ...incoming: string[]): Recorder {
  const channel = new FakeChannel();
  channel.push(...incoming);
  return recorder(map, channel, acts);
}

/** A connection that is closed, and lingers until the test takes its bytes. */
function linger(map: TestMap): () => void {
  const channel = new FakeChannel();
  const { promise, resolve } = Promise.withResolvers<number>();
  channel.take = () => promise;
  const last = new DispatcherWithSend(channel, { map });
  last.send(bytes("spam"));
  last.close();
  return () => resolve(4);
}

/** Expects that a pass takes `ms`, and then ends. */
async function assertWaits(
  pass: Promise<void>,
  { clock }: ReturnType<typeof setUp>,
  ms: number,
): Promise<void> {
  const polling = watch(pass);
  await turns();
  await clock.advance(ms - 1);
  assertFalse(polling.settled);
  await clock.advance(1);
  assert(polling.settled);
}

/** How the last dispatcher of a map leaves it. */
type Leave = (last: Dispatcher) => void;

const LEAVES: Record<string, Leave> = {
  closes: (last) => last.close(),
  aborts: (last) => last.abort(),
  "calls closeAll()": (last) => closeAll(last.map),
  "leaves by delChannel()": (last) => last.delChannel(),
  "moves to another map": (last) => last.addChannel(new SocketMap()),
};

/** Makes the one dispatcher of a map, which leaves in a certain place. */
type Place = (map: TestMap, leave: Leave) => Dispatcher;

function leavesIn(hook: string, acts: Acts = {}): Place {
  return (map, leave) => {
    const act = function (this: Recorder) {
      leave(this);
      return hook === "writable"; // It is asked for nothing else.
    };
    return open(map, { ...acts, [hook]: act }, "spam");
  };
}

const PLACES: Record<string, Place> = {
  "in readable()": leavesIn("readable"),
  "in writable()": leavesIn("writable"),
  "in handleRead()": leavesIn("handleRead"),
  "in handleWrite()": leavesIn("handleWrite"),
  "in handleError() after a readable() that throws": leavesIn("handleError", {
    readable() {
      throw new Error("spam");
    },
  }),
  "in an async handleRead()": (map, leave) =>
    open(map, {
      async handleRead() {
        await turn();
        leave(this);
      },
    }, "spam"),
  "in handleDrain()": (map, leave) => {
    const options = { map, highWaterMark: 4 };
    const last = new DispatcherWithSend(new FakeChannel(), options);
    last.handleDrain = () => leave(last);
    last.send(bytes("spam"));
    return last;
  },
  "in handleAccepted()": (map, leave) => {
    const acceptor = new FakeAcceptor();
    acceptor.push(new FakeChannel());
    return recorder(map, acceptor, {
      handleAccepted() {
        leave(this);
      },
    });
  },
  "in a timer": (map, leave) => {
    const last = open(map);
    last.callLater(0, () => leave(last));
    return last;
  },
  "in the async callback of a timer": (map, leave) => {
    const last = open(map);
    last.callLater(0, () => turn().then(() => leave(last)));
    return last;
  },
  "during the wait": (map, leave) => {
    const last = open(map);
    setImmediate(() => leave(last));
    return last;
  },
};

for (const [place, prepare] of Object.entries(PLACES)) {
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
  const scene = setUp();
  const { map } = scene;
  PLACES["in readable()"]!(map, (last) => last.close());
  await assertWaits(poll(1_000, map), scene, 1_000);
  assertEquals(map.size, 0);
});

Deno.test("loop() ends at once when the last of two closes the other in readable()", async () => {
  const { map } = setUp();
  const first = new Dispatcher(new FakeChannel(), { map });
  PLACES["in readable()"]!(map, (last) => {
    first.close();
    last.close();
  });
  const looping = watch(loop({ map, timeout: Infinity }));
  await turns();
  assert(looping.settled);
});

Deno.test("loop() ends when the last lingering connection has sent all", async () => {
  const { clock, map } = setUp();
  const take = linger(map);
  const looping = watch(loop({ map, timeout: Infinity }));
  await turns();
  assertFalse(looping.settled);
  take();
  await turns();
  assert(looping.settled);
  assertEquals(clock.armed, 0);
});

Deno.test("shutdown() ends at once though each end brings another socket", async () => {
  const { clock, map } = setUp();
  let lives = 0;
  const reborn: Acts = {
    handleClose() {
      this.close();
      if (++lives < 5) recorder(map, null, reborn).createSocket();
    },
  };
  open(map, reborn);
  const ended = watch(shutdown({ map, deadline: Infinity }));
  await turns();
  assert(ended.settled);
  assertEquals([lives, map.size, clock.armed], [5, 0, 0]);
});

// A pass with nothing ready

/** What was done before; nothing is ready then. */
type Prepare = (map: TestMap, network: FakeNetwork) => unknown;

/** To a socket that is new. */
const BEGINNINGS: Record<string, Prepare> = {
  "listen()": (map) => {
    const server = new Dispatcher(null, { map });
    server.createSocket();
    server.bind({ port: 0 });
    server.listen();
  },
  "setSocket() of a listener": (map) => {
    new Dispatcher(new FakeAcceptor(), { map });
  },
  "createSocket()": (map) => new Dispatcher(null, { map }).createSocket(),
  "connect()": (map) => {
    const client = new DispatcherWithSend(null, { map });
    client.createSocket();
    client.connect({ port: 7 });
  },
  "a connect that succeeded": async (map, network) => {
    const client = new Recorder(map);
    client.createSocket();
    client.connect({ port: 7 });
    network.succeed(new FakeChannel());
    await turns();
    await poll(0, map);
    assert(client.connected);
  },
  "a new connection": (map) => open(map),
  "a new connection of a class with predicates": (map) =>
    open(map, { readable: () => true, writable: () => false }),
  "a new AsyncChat": (map) => new AsyncChat(new FakeChannel(), { map }),
  "a new datagram socket": (map) =>
    new DatagramDispatcher(new FakeSocket(), { map }),
};

/** To a connection. */
const EVENTS: Record<string, Prepare> = {
  "send() of what was taken at once": async (map) => {
    new DispatcherWithSend(new FakeChannel(), { map }).send(bytes("spam"));
    await turns();
  },
  "a handleRead()": async (map) => {
    const handler = open(map, {}, "spam");
    while (handler.received === "") await poll(0, map);
  },
  "close() of another": (map) => {
    open(map);
    open(map).close();
  },
  "close() of another in a hook": async (map) => {
    open(map);
    PLACES["in handleRead()"]!(map, (other) => other.close());
    while (map.size > 1) await poll(0, map);
  },
  "the end of a lingering connection": async (map) => {
    open(map);
    linger(map)();
    await turns();
    assertEquals(map.lingering, 0);
  },
  "delChannel() and addChannel()": async (map) => {
    const handler = open(map);
    await poll(0, map);
    handler.delChannel();
    await poll(0, map);
    handler.addChannel();
  },
  "a move from another map": async (map) => {
    const other = quietMap({ clock: map.clock });
    const handler = open(other);
    await poll(0, other);
    handler.addChannel(map);
  },
  "a pass that waited in vain": async (map) => {
    open(map);
    const polling = poll(1, map);
    await turns();
    map.wake();
    await polling;
  },
};

for (const [state, prepare] of Object.entries({ ...BEGINNINGS, ...EVENTS })) {
  Deno.test(`poll() waits for its whole timeout after ${state}`, async () => {
    const scene = setUp();
    const { map, network } = scene;
    await prepare(map, network);
    for (let pass = 0; pass < 3; pass++) {
      await assertWaits(poll(1_000, map), scene, 1_000);
    }
    closeAll(map);
    await turns();
    map.check();
  });
}

Deno.test("poll() waits on though a lingering connection ends meanwhile", async () => {
  const scene = setUp();
  const { clock, map } = scene;
  const take = linger(map);
  const polling = poll(1_000, map);
  await clock.advance(500);
  take();
  await turns();
  assertEquals(map.lingering, 0);
  await assertWaits(polling, scene, 500);
});
