/**
 * A closed socket is closed for the system, too, when `loop()`, `poll()` or
 * `shutdown()` has returned, and in a later timer. UDP needs `--unstable-net`,
 * so where the flag is missing a child process runs those tests.
 */

import {
  assert,
  assertEquals,
  assertFalse,
  assertMatch,
  assertRejects,
} from "@std/assert";
import {
  type Address,
  type Channel,
  closeAll,
  DatagramDispatcher,
  Dispatcher,
  DispatcherWithSend,
  ExitNow,
  loop,
  poll,
  shutdown,
  type SocketOptions,
} from "../mod.ts";
import { withStd } from "../tools/with_std.ts";
import {
  FakeAcceptor,
  FakeChannel,
  loopToEnd,
  Recorder,
  watch,
} from "./fakes.ts";
import {
  connecting,
  fullListener,
  listening,
  scopedMap,
  setUp,
} from "./scenes.ts";
import { rawConnect, type TestMap, text, turns, until } from "./support.ts";
import { type Conn, TRANSPORTS } from "./transports.ts";

/** Something that has an address, and calls the test when somebody comes. */
interface Bound extends Dispatcher {
  onKnock: () => void;
}

interface Kind {
  name: string;
  ignore: boolean;
  /** Takes the address, or a free one. */
  bind(map: TestMap, address?: Deno.Addr): Bound;
  /** Comes to the address. */
  knock(address: Deno.Addr): Promise<Disposable>;
}

class Server extends Dispatcher implements Bound {
  onKnock = () => {};
  constructor(map: TestMap, options: SocketOptions, address: Address) {
    super(null, { map });
    listening(this, options, address);
  }
  override handleAccepted(conn: Channel): void {
    conn.close();
    this.onKnock();
  }
}

class Socket extends DatagramDispatcher implements Bound {
  onKnock = () => {};
  constructor(map: TestMap, address: Address) {
    super(null, { map });
    this.createSocket();
    this.bind(address);
  }
  override handleRead(): void {
    this.recvFrom();
    this.onKnock();
  }
}

const LOOPBACK: Address = { hostname: "127.0.0.1", port: 0 };
const hasDatagrams = "listenDatagram" in Deno;
const OVER_UDP = "over UDP";

const UDP: Kind = {
  name: "UDP",
  ignore: false,
  bind: (map, address) => new Socket(map, (address ?? LOOPBACK) as Address),
  async knock(address) {
    const peer = Deno.listenDatagram({
      transport: "udp",
      hostname: "127.0.0.1",
      port: 0,
    });
    await peer.send(new Uint8Array(1), address);
    return { [Symbol.dispose]: () => peer.close() };
  },
};

const STREAMS: Kind[] = TRANSPORTS.map((transport) => ({
  ...transport,
  bind: (map, address) =>
    new Server(
      map,
      transport.options,
      (address ?? transport.address()) as Address,
    ),
  knock: transport.call,
}));

/** Where the server closes, and where its address is taken again. */
interface Scene {
  map: TestMap;
  server: Bound;
  kind: Kind;
  /** Takes the address again. */
  takeAgain(): void;
}

/** Keeps a loop going, until the address is taken again. */
function keepUntilTaken({ map, takeAgain }: Scene): () => void {
  const keeper = new Dispatcher(null, { map });
  keeper.createSocket();
  return () => {
    keeper.close();
    takeAgain();
  };
}

type Way = (scene: Scene) => Promise<unknown>;

/** The address is taken again when all is done. */
const WAYS: Record<string, Way> = {
  "close(), once loop() has returned": ({ map, server }) => {
    server.close();
    return loop({ map });
  },
  "close(), once poll() has returned": ({ map, server }) => {
    server.close();
    return poll(0, map);
  },
  "closeAll(), once loop() has returned": ({ map }) => {
    closeAll(map);
    return loop({ map });
  },
  "abort(), once loop() has returned": ({ map, server }) => {
    server.abort();
    return loop({ map });
  },
  "delChannel() and close(), once loop() has returned": ({ map, server }) => {
    server.delChannel();
    server.close();
    return loop({ map });
  },
  "shutdown()": ({ map }) => shutdown({ map }),
  "shutdown() at its deadline": ({ map, server }) => {
    // A listener is closed without asking it, a datagram socket is not.
    server.handleShutdown = () => {};
    return shutdown({ map, deadline: 0 });
  },
  "close() and an ExitNow in a hook": async ({ kind, map, server }) => {
    server.onKnock = () => {
      server.close();
      throw new ExitNow();
    };
    using _peer = await kind.knock(server.addr!);
    await assertRejects(() => loop({ map }), ExitNow);
  },
  "close() in a hook, once poll() has returned": async (scene) => {
    const { kind, map, server } = scene;
    server.onKnock = () => server.close();
    using _peer = await kind.knock(server.addr!);
    while (map.size > 0) await poll(10, map);
  },
};

/** The address is taken again in a timer. */
const WAYS_WITH_TIMERS: Record<string, Way> = {
  "close() in a hook, in a timer": async (scene) => {
    const { kind, map, server } = scene;
    const takeAgain = keepUntilTaken(scene);
    server.onKnock = () => {
      server.close();
      map.callLater(0, takeAgain);
    };
    using _peer = await kind.knock(server.addr!);
    await loopToEnd(map);
  },
  "close() in a timer, in another of the same pass": (scene) => {
    const { map, server } = scene;
    map.callLater(1, () => server.close());
    map.callLater(1, keepUntilTaken(scene));
    return loopToEnd(map);
  },
  "close() in a timer, in the next timer": (scene) => {
    const { map, server } = scene;
    const takeAgain = keepUntilTaken(scene);
    map.callLater(0, () => {
      server.close();
      map.callLater(0, takeAgain);
    });
    return loopToEnd(map);
  },
  "close() in a timer, in the next timer of a busy map": (scene) => {
    const { map, server } = scene;
    const busy = new Dispatcher({
      read: (target) => Promise.resolve(target.length),
      write: (data) => Promise.resolve(data.length),
      close() {},
    }, { map });
    busy.handleRead = () => void busy.recv();
    map.callLater(0, () => {
      server.close();
      map.callLater(0, () => {
        busy.close();
        scene.takeAgain();
      });
    });
    return loopToEnd(map);
  },
};

function testFree(kind: Kind, suffix: string): void {
  for (const [way, close] of Object.entries({ ...WAYS, ...WAYS_WITH_TIMERS })) {
    Deno.test({
      name: `An address is free after ${way} ${suffix}`,
      ignore: kind.ignore,
      fn: async () => {
        await using map = scopedMap();
        await using other = scopedMap();
        const server = kind.bind(map);
        // An operation is in flight, which Deno does not give up at once.
        await poll(0, map);
        let times = 0;
        const takeAgain = () => {
          times++;
          kind.bind(other, server.addr!).close();
        };
        await close({ kind, map, server, takeAgain });
        map.check();
        if (times === 0) takeAgain();
        assertEquals(times, 1);
      },
    });
  }
}

Deno.test("An address is free after close() amid a handshake", async () => {
  await using map = scopedMap();
  const kind = STREAMS.find(({ name }) => name === "TLS")!;
  const server = kind.bind(map);
  const address = server.addr!;
  using _silent = await rawConnect(address);
  await poll(0, map); // The client is accepted; the rest it never says.
  server.close();
  await loop({ map });
  kind.bind(map, address).close();
});

for (const kind of STREAMS) testFree(kind, `over ${kind.name}`);
if (hasDatagrams) testFree(UDP, OVER_UDP);

// Connections

/** The sockets that this process has. */
function sockets(): Set<string> {
  const paths = [...Deno.readDirSync("/proc/self/fd")].map(({ name }) => {
    try {
      return Deno.readLinkSync(`/proc/self/fd/${name}`);
    } catch {
      return ""; // It was the directory itself.
    }
  });
  return new Set(paths.filter((path) => path.startsWith("socket:")));
}

/** How a connection is closed. */
const ENDS: Record<string, (handler: DispatcherWithSend) => void> = {
  "close()": (handler) => handler.close(),
  "abort()": (handler) => handler.abort(),
  "closeAll()": ({ map }) => closeAll(map),
  "shutdown()": ({ map }) => void shutdown({ map }),
};

for (const { name, ignore, connect } of TRANSPORTS) {
  for (const [way, end] of Object.entries(ENDS)) {
    Deno.test({
      name: `loop() after ${way} leaves no descriptor open over ${name}`,
      ignore: ignore || Deno.build.os !== "linux",
      fn: async () => {
        await using map = scopedMap();
        const before = sockets();
        const handlers: DispatcherWithSend[] = [];
        const peers: Conn[] = [];
        for (let i = 0; i < 10; i++) {
          const [conn, peer] = await connect();
          handlers.push(new DispatcherWithSend(conn, { map }));
          peers.push(peer);
        }
        const made = sockets().difference(before);
        await poll(0, map); // All of them are being read.
        handlers.forEach(end);
        await loop({ map });
        const left = () => made.intersection(sockets()).size;
        // Deno itself says goodbye to a TLS peer, in the background.
        if (name === "TLS") await until(() => left() === 10, "Deno");
        assertEquals(left(), 10, "those of the peers");
        for (const peer of peers) peer.close();
      },
    });
  }
}

for (const [way, end] of Object.entries(ENDS)) {
  Deno.test({
    name: `loop() after ${way} while connecting leaves no descriptor open`,
    ignore: Deno.build.os !== "linux",
    fn: async () => {
      await using map = scopedMap();
      using full = await fullListener();
      const before = sockets();
      const handler = new DispatcherWithSend(null, { map });
      const client = connecting(handler, full.addr);
      await poll(10, map);
      assert(client.connecting);
      assertEquals(sockets().difference(before).size, 1);
      end(client);
      await loop({ map });
      assertEquals(sockets().difference(before).size, 0);
    },
  });
}

// Operations that nobody ends

const ENDLESS: Record<
  string,
  (scene: ReturnType<typeof setUp>) => Dispatcher
> = {
  "a connect that cannot be given up": ({ map, network }) => {
    network.isStubborn = true;
    return connecting(new Recorder(map));
  },
  "an accept that goes on": ({ map }) => {
    const acceptor = new FakeAcceptor();
    acceptor.close = () => {};
    return new Recorder(map, acceptor);
  },
  "a close() of a channel that never settles": ({ map }) => {
    const channel = new FakeChannel();
    channel.close = () => new Promise(() => {}) as unknown as void;
    return new Recorder(map, channel);
  },
};

for (const [what, start] of Object.entries(ENDLESS)) {
  Deno.test(`loop() and shutdown() wait a linger time for ${what}, and poll() does not`, async () => {
    for (const wait of [loop, shutdown]) {
      const scene = setUp();
      const { clock, map } = scene;
      const dispatcher = start(scene);
      await poll(0, map);
      if (wait === loop) dispatcher.close();
      await poll(0, map);
      const waiting = watch(wait({ map }));
      await turns();
      await clock.advance(4_999);
      assertFalse(waiting.settled);
      assertEquals(map.lingering, 1);
      assertFalse(dispatcher.closing, "nothing is left to be sent");
      await clock.advance(1);
      assert(waiting.settled);
      start(scene).abort();
      await loop({ map });
      assertEquals([map.lingering, clock.armed], [0, 0]);
    }
  });
}

/** A client that connects, and whose attempt cannot be given up. */
function stubborn() {
  const scene = setUp();
  scene.network.isStubborn = true;
  return { ...scene, client: connecting(new Recorder(scene.map)) };
}

Deno.test("loop() ends as soon as such a connect has ended", async () => {
  const { clock, map, client, network } = stubborn();
  const looping = watch(loop({ map }));
  await turns();
  client.close();
  await clock.advance(1_000);
  network.fail(new Deno.errors.ConnectionRefused("spam"));
  await turns();
  assert(looping.settled);
  assertEquals([map.lingering, clock.armed], [0, 0]);
});

Deno.test("A connection that comes after its linger time is closed", async () => {
  const { clock, client, network } = stubborn();
  client.close();
  await clock.advance(5_000);
  const channel = new FakeChannel();
  network.succeed(channel);
  await turns();
  assert(channel.closed);
  assertEquals(client.trace, []);
});

Deno.test("loop() does not sleep on when a write outlives the linger time", async () => {
  const { clock, map } = setUp();
  const channel = new FakeChannel();
  channel.write = () => new Promise(() => {}); // also after close()
  const sender = new DispatcherWithSend(channel, { map, linger: 300 });
  sender.send(new Uint8Array(9));
  const looping = watch(loop({ map, timeout: 30_000 }));
  await turns();
  sender.close();
  await clock.advance(300);
  await turns();
  assert(looping.settled, "and not after its timeout");
  assertEquals([map.lingering, clock.armed], [0, 0]);
});

Deno.test({
  name:
    `An address is free after close() ${OVER_UDP}, in a process with --unstable-net`,
  ignore: hasDatagrams,
  fn: async () => {
    const { success, stdout, stderr } = await new Deno.Command(
      Deno.execPath(),
      {
        args: await withStd([
          ...["test", "-A", "--unstable-net", "--no-check"],
          ...[`--filter=${OVER_UDP}`, import.meta.filename!],
        ]),
        env: { NO_COLOR: "1" },
        signal: AbortSignal.timeout(60_000),
      },
    ).output();
    const report = text(stdout) + text(stderr);
    assert(success, report);
    assertMatch(report, /ok \| [1-9]\d* passed \| 0 failed/);
  },
});
