/**
 * What was closed is closed for the system, too, when `loop()`, `poll()` or
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
import { certificates, testTls } from "./certificates.ts";
import {
  FakeChannel,
  FakeNetwork,
  LogLines,
  loopToEnd,
  quietMap,
  Recorder,
  watch,
} from "./fakes.ts";
import { MockClock } from "../testing/mock_clock.ts";
import {
  families,
  isMissing,
  loopUntil,
  rawConnect,
  ScopedMap,
  type TestMap,
  text,
  turns,
  until,
} from "./support.ts";
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
    this.createSocket(options);
    this.bind(address);
    this.listen();
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

const STREAMS: Kind[] = families.map((family) => ({
  name: family.name,
  ignore: isMissing(family),
  bind: (map, address) =>
    new Server(map, family.options, (address ?? family.address()) as Address),
  knock: (address) => rawConnect(address),
}));

const TLS: Kind = {
  name: "TLS",
  ignore: false,
  bind: (map, address) =>
    new Server(
      map,
      { transport: "tls", tls: certificates().good },
      (address ?? LOOPBACK) as Address,
    ),
  knock(address) {
    const { port } = address as Deno.NetAddr;
    const caCerts = [certificates().ca];
    return Deno.connectTls({ hostname: "localhost", port, caCerts });
  },
};

/** Where the server closes, and where its address is taken again. */
interface Scene {
  map: TestMap;
  server: Bound;
  kind: Kind;
  /** Takes the address again. */
  takeAgain(): void;
}

/** Keeps a loop going. */
function keepGoing(map: TestMap): Dispatcher {
  const keeper = new Dispatcher(null, { map });
  keeper.createSocket();
  return keeper;
}

/** Each ends when the address was taken again. */
const WAYS = new Map<string, (scene: Scene) => Promise<void>>([
  ["close(), once loop() has returned", async (scene) => {
    scene.server.close();
    await loop({ map: scene.map });
    scene.takeAgain();
  }],
  ["close(), once a loop({ count }) has returned", async (scene) => {
    const keeper = keepGoing(scene.map);
    scene.server.close();
    await loop({ map: scene.map, count: 1, timeout: 0 });
    scene.takeAgain();
    keeper.close();
  }],
  ["close(), once poll() has returned", async (scene) => {
    scene.server.close();
    await poll(0, scene.map);
    scene.takeAgain();
  }],
  ["closeAll(), once loop() has returned", async (scene) => {
    closeAll(scene.map);
    await loop({ map: scene.map });
    scene.takeAgain();
  }],
  ["abort(), once loop() has returned", async (scene) => {
    scene.server.abort();
    await loop({ map: scene.map });
    scene.takeAgain();
  }],
  ["shutdown()", async (scene) => {
    await shutdown({ map: scene.map });
    scene.takeAgain();
  }],
  ["shutdown() at its deadline", async (scene) => {
    // A listener is closed without asking it, a datagram socket is not.
    scene.server.handleShutdown = () => {};
    await shutdown({ map: scene.map, deadline: 0 });
    scene.takeAgain();
  }],
  ["close() and an ExitNow in a hook", async (scene) => {
    const { kind, map, server } = scene;
    server.onKnock = () => {
      server.close();
      throw new ExitNow();
    };
    using _peer = await kind.knock(server.addr!);
    await assertRejects(() => loop({ map }), ExitNow);
    scene.takeAgain();
  }],
  ["close() in a hook, once poll() has returned", async (scene) => {
    const { kind, map, server } = scene;
    server.onKnock = () => server.close();
    using _peer = await kind.knock(server.addr!);
    while (map.size > 0) await poll(10, map);
    scene.takeAgain();
  }],
  ["close() in a timer, in the next timer of a busy map", async (scene) => {
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
    await loopToEnd(map);
  }],
  ["close() in a timer, in the next timer", async (scene) => {
    const { map, server } = scene;
    const keeper = keepGoing(map);
    map.callLater(0, () => {
      server.close();
      map.callLater(0, () => {
        keeper.close();
        scene.takeAgain();
      });
    });
    await loopToEnd(map);
  }],
  ["close() in a hook, in a timer", async (scene) => {
    const { kind, map, server } = scene;
    const keeper = keepGoing(map);
    server.onKnock = () => {
      server.close();
      map.callLater(0, () => {
        keeper.close();
        scene.takeAgain();
      });
    };
    using _peer = await kind.knock(server.addr!);
    await loopToEnd(map);
  }],
  ["delChannel() and close(), once loop() has returned", async (scene) => {
    scene.server.delChannel();
    scene.server.close();
    await loop({ map: scene.map });
    scene.takeAgain();
  }],
]);

function testFree(kind: Kind, suffix: string): void {
  for (const [way, close] of WAYS) {
    Deno.test({
      name: `An address is free after ${way} ${suffix}`,
      ignore: kind.ignore,
      fn: async () => {
        await using map = new ScopedMap();
        await using other = new ScopedMap();
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
        assertEquals(times, 1);
      },
    });
  }
}

testTls("An address is free after close() amid a handshake", async () => {
  await using map = new ScopedMap();
  const server = TLS.bind(map);
  const address = server.addr!;
  using _silent = await rawConnect(address);
  await poll(0, map); // The client is accepted; the rest it never says.
  server.close();
  await loop({ map });
  TLS.bind(map, address).close();
});

for (const kind of [...STREAMS, TLS]) testFree(kind, `over ${kind.name}`);
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

/** How a connection is closed, and what it had to do before. */
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
        await using map = new ScopedMap({ logger: new LogLines() });
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

/** Fills the queue of a listener: nobody else can connect until it accepts. */
async function fullListener(): Promise<Disposable & { addr: Deno.Addr }> {
  const listener = Deno.listen({
    hostname: "127.0.0.1",
    port: 0,
    tcpBacklog: 1,
  });
  const { addr } = listener;
  const conns = await Promise.all([1, 2].map(() => rawConnect(addr)));
  return {
    addr,
    [Symbol.dispose]() {
      for (const closable of [...conns, listener]) closable.close();
    },
  };
}

for (const [way, end] of Object.entries(ENDS)) {
  Deno.test({
    name: `loop() after ${way} while connecting leaves no descriptor open`,
    ignore: Deno.build.os !== "linux",
    fn: async () => {
      await using map = new ScopedMap({ logger: new LogLines() });
      using full = await fullListener();
      const before = sockets();
      const client = new DispatcherWithSend(null, { map });
      client.createSocket();
      client.connect(full.addr as Deno.NetAddr);
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

/** A map on a clock of its own whose attempts to connect cannot be given up. */
function stubborn(linger?: number) {
  const clock = new MockClock();
  const network = new FakeNetwork();
  network.isStubborn = true;
  const map = quietMap({ clock, network });
  const client = new Recorder(
    map,
    null,
    linger === undefined ? {} : { linger },
  );
  client.createSocket();
  client.connect({ port: 7 });
  return { clock, network, map, client };
}

Deno.test("loop() waits a linger time for a connect that cannot be given up", async () => {
  const { clock, map, client, network } = stubborn();
  const looping = watch(loop({ map }));
  await turns();
  client.close();
  await turns();
  await clock.advance(4_999);
  assertFalse(looping.settled);
  assertEquals(map.lingering, 1);
  assertFalse(client.closing, "nothing is left to be sent");
  await clock.advance(1);
  assert(looping.settled);
  assertEquals(map.lingering, 0);

  const channel = new FakeChannel();
  network.succeed(channel);
  await turns();
  assert(channel.closed, "it came after all, and nobody wants it");
  assertEquals(client.trace, []);
});

Deno.test("loop() ends as soon as such a connect has ended", async () => {
  const { clock, map, client, network } = stubborn();
  const looping = watch(loop({ map }));
  await turns();
  client.close();
  await turns();
  await clock.advance(1_000);
  network.fail(new Deno.errors.ConnectionRefused("spam"));
  await turns();
  assert(looping.settled);
  assertEquals([map.lingering, clock.armed], [0, 0]);
});

Deno.test("shutdown() waits a linger time for such a connect, and abort() for nothing", async () => {
  const { clock, map } = stubborn();
  const ended = watch(shutdown({ map }));
  await turns();
  await clock.advance(4_999);
  assertFalse(ended.settled);
  await clock.advance(1);
  assert(ended.settled);

  for (const { map, client, clock } of [stubborn(), stubborn(0)]) {
    client.abort();
    await loop({ map });
    assertEquals([map.lingering, clock.armed], [0, 0]);
  }
});

Deno.test("loop() after close() with a linger of 0 waits for no operation", async () => {
  const { clock, map, client } = stubborn(0);
  client.close();
  await loop({ map });
  assertEquals([map.lingering, clock.armed], [0, 0]);
});

Deno.test("poll() does not wait for a connect that cannot be given up", async () => {
  const { clock, map, client } = stubborn();
  client.close();
  await poll(0, map);
  assertEquals(map.lingering, 1);
  await clock.advance(5_000);
  assertEquals(map.lingering, 0);
});

Deno.test("loop() waits a linger time for a channel whose close() never settles", async () => {
  const clock = new MockClock();
  const map = quietMap({ clock });
  const channel = new FakeChannel();
  const close = channel.close.bind(channel);
  channel.close = () => {
    close();
    return new Promise(() => {}) as unknown as void;
  };
  const handler = new Recorder(map, channel);
  const looping = watch(loop({ map }));
  await turns();
  handler.close();
  await turns();
  await clock.advance(4_999);
  assertFalse(looping.settled);
  assertEquals(map.lingering, 1);
  await clock.advance(1);
  assert(looping.settled);
  assertEquals([map.lingering, clock.armed], [0, 0]);
});

Deno.test("loop() does not sleep on when a write outlives the linger time", async () => {
  const clock = new MockClock();
  const map = quietMap({ clock });
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

Deno.test("An address is free in a timer of the same pass as the close()", async () => {
  await using map = new ScopedMap();
  const local = { hostname: "127.0.0.1", port: 0 };
  const server = new Server(map, {}, local);
  const addr = server.addr as Deno.NetAddr;
  await poll(10, map); // An accept is in flight.
  let again: Server | undefined;
  map.callLater(1, () => server.close());
  map.callLater(1, () => void (again = new Server(map, {}, addr)));
  await loopUntil(map, () => again !== undefined);
  assertEquals(again!.addr, addr);
  again!.close();
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
