/** How the second engine looks for events, and what it does with descriptors. */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  type Channel,
  Dispatcher,
  loop,
  poll,
  shutdown,
  SocketMap,
} from "../mod.ts";
import { C, EPOLL_EVENT } from "../epoll/layout.ts";
import { epollNetwork } from "../epoll/mod.ts";
import { LinuxNetwork } from "../epoll/network.ts";
import { Engine } from "../epoll/engine.ts";
import { Next, SpinTime } from "../epoll/spin_time.ts";
import { checkChannel } from "../testing/mod.ts";
import { certificates, testTls } from "./certificates.ts";
import { HAS_EPOLL, libc, openDescriptors, testEpoll } from "./epoll_faults.ts";
import { Echo, LogLines, Recorder } from "./fakes.ts";
import {
  bytes,
  captureRejections,
  connectedPair,
  families,
  type Family,
  isMissing,
  loopUntil,
  ScopedMap,
  text,
  turn,
} from "./support.ts";

const HERE = { hostname: "127.0.0.1", port: 0 };

function epollMap(): ScopedMap {
  return new ScopedMap({ network: epollNetwork, logger: new LogLines() });
}

/** A listener of the engine at an address of a family. */
function listenAt({ options, address }: Family) {
  const at = { transport: options.transport, ...address() } as Deno.Addr;
  return epollNetwork.listen(at, { backlog: 8, reusePort: false });
}

const never = new AbortController().signal;

async function connectedBy(family: Family): Promise<[Channel, Channel]> {
  const listener = listenAt(family);
  try {
    return await Promise.all([
      epollNetwork.connect(listener.addr, { signal: never }),
      listener.accept(),
    ]);
  } finally {
    listener.close();
  }
}

for (const family of families) {
  Deno.test({
    name:
      `checkChannel() finds no fault in a connection of epollNetwork (${family.name})`,
    ignore: !HAS_EPOLL || isMissing(family),
    fn: async () => {
      const names = await checkChannel(() => connectedBy(family));
      assert(names.length > 45);
    },
  });
}

testEpoll(
  "Engine drops an event of a closed descriptor whose number is used again",
  () => {
    const { epoll_wait } = libc();
    let stale: Uint32Array | null = null;
    const closed: number[] = [];
    const engine = new Engine({
      ...libc(),
      close: (fd) => {
        closed.push(fd);
        return libc().close(fd);
      },
      epoll_wait: (...args) => {
        const memory = args[1] as Uint8Array<ArrayBuffer>;
        if (stale === null) return epoll_wait(...args);
        new Uint32Array(memory.buffer).set(stale);
        return 1;
      },
    }, new SpinTime(0));
    const told: string[] = [];
    const open = (name: string) =>
      engine.add(libc().eventfd(1, C.EFD_CLOEXEC), {
        onEvents: () => void told.push(name),
      });
    const first = open("first");
    const { fd, generation } = first;
    engine.poll();
    assertEquals(told, ["first"]);
    engine.close(first);
    const second = open("second");
    assertEquals(second.fd, fd);

    const event = new Uint32Array(EPOLL_EVENT.words);
    event[0] = C.EPOLLIN;
    event[EPOLL_EVENT.data] = fd;
    event[EPOLL_EVENT.data + 1] = generation;
    stale = event;
    engine.poll();
    assertEquals(told, ["first"]);
    event[EPOLL_EVENT.data + 1] = second.generation;
    engine.poll();
    assertEquals(told, ["first", "second"]);
    engine.close(second);
    engine.close(second);
    assertEquals(closed, [fd, fd]); // Each of the two once.
  },
);

testEpoll(
  "SpinTime looks for a while, then waits, and gives up where it was in vain",
  () => {
    let time = 0;
    const spin = new SpinTime(1, () => time);
    /** How many looks in vain come before it waits. */
    const looksBeforeWait = () => {
      spin.begin();
      let looks = 0;
      for (; spin.next(0) !== Next.wait; looks++) time += 0.25;
      return looks;
    };
    assertEquals(looksBeforeWait(), 7);
    const looks = Array.from({ length: 100 }, looksBeforeWait);
    assert(looks.slice(50).filter((count) => count === 0).length > 40);
    assert(looks.slice(50).some((count) => count > 0));
    // Looks that find something bring the others back.
    for (let round = 0; round < 200; round++) {
      spin.begin();
      spin.next(0);
      spin.next(1);
    }
    assertEquals(looksBeforeWait(), 7);
    spin.longest = 0;
    assertEquals(looksBeforeWait(), 0);
  },
);

testEpoll(
  "SpinTime lets Deno look at its sockets after five busy milliseconds",
  () => {
    let time = 0;
    const spin = new SpinTime(1, () => time);
    spin.begin();
    const answers: number[] = [];
    for (; time < 20; time += 0.25) {
      answers.push(spin.next(64));
      if (answers.at(-1) === Next.rest) spin.begin();
    }
    const rests = answers.filter((answer) => answer === Next.rest).length;
    assertEquals(rests, 3);
  },
);

/** A listener in a map, which keeps its loop waiting. */
function serverIn(map: SocketMap): Dispatcher {
  const server = new Dispatcher(null, { map });
  server.createSocket();
  server.bind(HERE);
  server.listen();
  return server;
}

testEpoll(
  "a wait of loop() is ended by wake(), a timer, the signal and a socket of Deno's",
  async () => {
    await using map = epollMap();
    serverIn(map);
    await loop({ map, count: 1, timeout: 20 });
    for (
      const end of [
        () => void setTimeout(() => map.wake(), 20),
        () => void map.callLater(20, () => {}),
      ]
    ) {
      end();
      await loop({ map, count: 1, timeout: 60_000 });
    }
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 20);
    await loop({ map, timeout: 60_000, signal: controller.signal });

    const [conn, peer] = await connectedPair();
    using _peer = peer;
    const heard = new AbortController();
    const reader = new Dispatcher(conn, { map });
    reader.handleRead = () => {
      assertEquals(text(reader.recv()), "spam");
      heard.abort();
    };
    setTimeout(() => peer.write(bytes("spam")), 20);
    await loop({ map, timeout: 60_000, signal: heard.signal });
  },
);

testEpoll("poll() and shutdown() leave no operation behind", async () => {
  const map = epollMap();
  serverIn(map);
  await poll(5, map); // It waits on a thread. The sanitizer of operations looks on.
  await poll(0, map);
  assertEquals(await shutdown({ map }), {
    listeners: 1,
    closed: 0,
    aborted: 0,
  });
});

testEpoll(
  "loops of two maps share the engine, and neither ends the other's wait",
  async () => {
    await using one = epollMap();
    await using other = epollMap();
    const server = serverIn(one);
    server.handleAccepted = (conn) => void new Echo(conn, { map: one });
    const controller = new AbortController();
    const serving = loop({ map: one, signal: controller.signal });
    let answer = "";
    for (let round = 0; round < 20; round++) {
      const client = new Dispatcher(null, { map: other });
      client.createSocket();
      client.connect(server.addr!);
      client.handleConnect = () => void client.send("spam");
      client.handleRead = () => {
        answer += text(client.recv());
        client.close();
      };
      await loop({ map: other });
    }
    assertEquals(answer, "spam".repeat(20));
    controller.abort();
    await serving;
  },
);

testTls(
  "a map of epollNetwork serves TLS, epoll sockets, timers and fetch() together",
  async () => {
    if (!HAS_EPOLL) return;
    await using map = epollMap();
    const { ca, good } = certificates();
    const plain = serverIn(map);
    const secure = new Dispatcher(null, { map });
    secure.createSocket({ transport: "tls", tls: good });
    secure.bind(HERE);
    secure.listen();
    for (const server of [plain, secure]) {
      server.handleAccepted = (conn) => void new Echo(conn, { map });
    }
    const http = Deno.serve(
      { ...HERE, onListen() {} },
      () => new Response("ok"),
    );
    const done = { plain: 0, secure: 0, fetched: 0, ticks: 0 };
    map.callEvery(1, () => done.ticks++);
    const talk = (name: "plain" | "secure") => {
      const client = new Dispatcher(null, { map });
      client.createSocket(
        name === "plain" ? {} : { transport: "tls", tls: { caCerts: [ca] } },
      );
      const { port } = (name === "plain" ? plain : secure).addr as Deno.NetAddr;
      client.connect({ hostname: "localhost", port });
      client.handleConnect = () => void client.send("spam");
      client.handleRead = () => {
        client.send(client.recv());
        done[name]++;
      };
    };
    talk("plain");
    talk("secure");
    const fetching = (async () => {
      for (; done.fetched < 20; done.fetched++) {
        const answer = await fetch(`http://127.0.0.1:${http.addr.port}`);
        await answer.text();
      }
    })();
    const least = () => Math.min(...Object.values(done));
    await loopUntil(map, () => least() >= 20);
    await fetching;
    await http.shutdown();
  },
);

testEpoll(
  "connections that come and go leave no descriptor behind",
  async () => {
    const before = openDescriptors().length;
    {
      await using map = epollMap();
      const server = serverIn(map);
      server.handleAccepted = (conn) => void new Echo(conn, { map });
      for (let round = 0; round < 50; round++) {
        const client = new Dispatcher(null, { map });
        client.createSocket();
        client.connect(server.addr!);
        client.handleConnect = () => void client.send("spam");
        client.handleRead = () => {
          client.recv();
          if (round % 2 === 0) client.close();
          else client.abort();
        };
        await loopUntil(map, () => !new Set<unknown>(map).has(client));
      }
    }
    // Sockets of earlier tests may have ended meanwhile.
    assert(openDescriptors().length <= before);
  },
);

testEpoll("connect() that is given up closes its descriptor", async () => {
  const at = { transport: "tcp", ...HERE } as const;
  const listener = epollNetwork.listen(at, { backlog: 1, reusePort: false });
  const connect = (signal = never) =>
    epollNetwork.connect(listener.addr, { signal });
  // Linux takes one more than the backlog, and then answers nobody.
  const clients = [await connect(), await connect()];
  const before = openDescriptors().length;
  const controller = new AbortController();
  const connecting = connect(controller.signal);
  await turn();
  assertEquals(openDescriptors().length, before + 1);
  controller.abort(new Error("enough"));
  await assertRejects(() => connecting, Error, "enough");
  assertEquals(openDescriptors().length, before);
  for (const client of clients) client.close();
  listener.close();
});

for (const family of families.filter(({ name }) => name !== "Unix")) {
  Deno.test({
    name:
      `epollNetwork.connect() to a name finds the same listener as Deno (${family.name})`,
    ignore: !HAS_EPOLL || isMissing(family),
    fn: async () => {
      const listener = listenAt(family);
      const { port } = listener.addr as Deno.NetAddr;
      const hostname = "localhost";
      const outcome = (connecting: Promise<Channel>) =>
        connecting.then((channel) => {
          channel.close();
          return (channel.remoteAddr as Deno.NetAddr).hostname;
        }, (error) => error.message);
      const addr = { transport: "tcp", hostname, port } as const;
      assertEquals(
        await outcome(epollNetwork.connect(addr, { signal: never })),
        await outcome(Deno.connect({ hostname, port })),
      );
      listener.close();
    },
  });
}

testEpoll(
  "epollNetwork.connect() to a name that is none fails as Deno's",
  async () => {
    const addr = {
      transport: "tcp",
      hostname: "none.invalid",
      port: 9,
    } as const;
    const denos = await Deno.connect({ hostname: addr.hostname, port: 9 })
      .then(() => null, (error) => error);
    const error = await epollNetwork.connect(addr, { signal: never })
      .then(() => null, (error) => error);
    assertEquals([error.name, error.message], [denos.name, denos.message]);
  },
);

testEpoll(
  "epollNetwork takes abstract Unix addresses, which are no files",
  async () => {
    const path = `\0asyncore-test-${crypto.randomUUID()}`;
    const at = { transport: "unix", path } as const;
    const options = { backlog: 1, reusePort: false };
    const listener = epollNetwork.listen(at, options);
    assertEquals(listener.addr, at);
    const [client, server] = await Promise.all([
      epollNetwork.connect(at, { signal: never }),
      listener.accept(),
    ]);
    await client.write(bytes("spam"));
    const buffer = new Uint8Array(8);
    assertEquals(await server.read(buffer), 4);
    client.close();
    assertEquals(await server.read(buffer), null);
    server.close();
    listener.close();
    epollNetwork.listen(at, options).close(); // It is free at once.
    const long = { transport: "unix", path: "x".repeat(108) } as const;
    assertThrows(
      () => epollNetwork.listen(long, options),
      TypeError,
      "107 bytes",
    );
  },
);

testEpoll(
  "epollNetwork.listen() with reusePort shares a port without a flag",
  () => {
    const options = { backlog: 1, reusePort: true };
    const at = { transport: "tcp", ...HERE } as const;
    const first = epollNetwork.listen(at, options);
    const second = epollNetwork.listen(first.addr, options);
    assertThrows(
      () => epollNetwork.listen(first.addr, { ...options, reusePort: false }),
      Deno.errors.AddrInUse,
    );
    second.close();
    first.close();
  },
);

Deno.test("epollNetwork that cannot be had says why, and is not available", async () => {
  const obstacle = "it needs Linux, and this is a toaster";
  const network = new LinuxNetwork(() => ({ obstacle }));
  assertEquals(network.available, false);
  const at = { transport: "tcp", ...HERE } as const;
  const message = `epollNetwork cannot be used here: ${obstacle}`;
  assertThrows(
    () => network.listen(at, { backlog: 1, reusePort: false }),
    Deno.errors.NotSupported,
    message,
  );
  await assertRejects(
    () => network.connect(at, { signal: never }),
    Deno.errors.NotSupported,
    message,
  );
});

testEpoll(
  "startTls() over epollNetwork is refused, and says what to do",
  async () => {
    const [client, server] = await connectedBy(families[0]!);
    assertThrows(
      () => epollNetwork.startTls!(client, "localhost", {}),
      Deno.errors.NotSupported,
      'use transport "tls"',
    );
    client.close();
    server.close();
  },
);

testEpoll(
  "startTls() over epollNetwork that is not awaited sends nothing unencrypted",
  async () => {
    await using map = epollMap();
    using listener = Deno.listen(HERE);
    const client = new Recorder(map);
    client.createSocket();
    client.connect(listener.addr as Deno.NetAddr);
    const peer = await listener.accept();
    const rejections = captureRejections();
    client.handleConnect = () => {
      void client.startTls({ hostname: "localhost" });
      client.send("a secret");
    };
    let heard = "";
    const ended = (async () => {
      const buffer = new Uint8Array(64);
      for (let length; (length = await peer.read(buffer)) !== null;) {
        heard += text(buffer.subarray(0, length));
      }
    })().catch((error) => heard += error);
    await loopUntil(map, () => client.trace.includes("handleClose"));
    await ended;
    peer.close();
    rejections[Symbol.dispose]();
    assertEquals(heard, "");
    assertEquals(client.trace, ["handleError", "handleClose"]);
    assert(client.errors[0] instanceof Deno.errors.NotSupported);
    assertEquals(rejections.reasons, []);
  },
);

Deno.test("SocketMap.network can be replaced while the map is empty", () => {
  const map = new SocketMap();
  map.network = epollNetwork;
  assertEquals(map.network, epollNetwork);
  const dispatcher = new Dispatcher(null, { map });
  dispatcher.createSocket();
  assertThrows(
    () => map.network = epollNetwork,
    Error,
    "Cannot set the network of SocketMap(1): it must be empty",
  );
  dispatcher.close();
  assertThrows(() => map.network = {} as typeof map.network, TypeError);
});
