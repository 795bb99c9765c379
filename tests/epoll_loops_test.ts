/** Loops, waits and ends of programs on the second engine. */

import { assert, assertEquals } from "@std/assert";
import {
  Dispatcher,
  DispatcherWithSend,
  ExitNow,
  loop,
  type Network,
  poll,
  type SocketMap,
} from "../mod.ts";
import { denoNetwork } from "../net/deno_network.ts";
import type { Libc } from "../epoll/libc.ts";
import { Engine } from "../epoll/engine.ts";
import { epollNetwork } from "../epoll/mod.ts";
import { SpinTime } from "../epoll/spin_time.ts";
import { libc, networkWith, testEpoll } from "./epoll_faults.ts";
import { Echo, LogLines } from "./fakes.ts";
import { Child } from "./peers.ts";
import {
  loopUntil,
  PATIENCE,
  rawConnect,
  ScopedMap,
  turn,
  until,
} from "./support.ts";

const HERE = { hostname: "127.0.0.1", port: 0 };

function epollMap(network: Network = epollNetwork): ScopedMap {
  return new ScopedMap({ network, logger: new LogLines() });
}

/** A server that echoes, and so keeps its map's loop. */
function echoIn(map: SocketMap): Dispatcher {
  const server = new Dispatcher(null, { map });
  server.createSocket();
  server.bind(HERE);
  server.listen();
  server.handleAccepted = (conn) => void new Echo(conn, { map });
  return server;
}

/** Calls whose thread waits until a test says that it has come back. */
function heldThread() {
  const threads: ((count: number) => void)[] = [];
  let wakes = 0;
  const changes = {
    epoll_wait_aside: () =>
      new Promise<number>((resolve) => threads.push(resolve)),
    write: () => ++wakes,
  } as Partial<Libc>;
  return { threads, changes, wakes: () => wakes };
}

testEpoll(
  "Engine wakes its thread once more if poll() has taken the event of a wake-up",
  async () => {
    const { threads, changes, wakes } = heldThread();
    const engine = new Engine({ ...libc(), ...changes }, new SpinTime(0));
    engine.hold();
    await until(() => threads.length === 1, "the wait on a thread");
    engine.release(); // Wakes it …
    engine.hold();
    engine.poll(); // … and takes the event of that away.
    assertEquals(wakes(), 1);
    engine.release();
    assertEquals(wakes(), 2);
    threads[0]!(0);
    await turn();
  },
);

testEpoll(
  "loop() ends though the next one of another map keeps the engine's thread",
  async () => {
    const { threads, changes } = heldThread();
    const network = networkWith(changes);
    network.spin = 0;
    const maps = [epollMap(network), epollMap(network)] as const;
    const servers = maps.map(echoIn);
    const controller = new AbortController();
    const first = loop({ map: maps[0], signal: controller.signal });
    await until(() => threads.length === 1, "the wait on a thread");
    controller.abort();
    await turn();
    const second = loop({ map: maps[1] });
    await first; // The thread still waits.
    for (const server of servers) server.close();
    await until(() => {
      threads.at(-1)!(0);
      return maps[1].size + maps[1].lingering === 0;
    }, "the end of the second loop");
    for (const done of threads) done(0);
    await second;
  },
);

testEpoll(
  "the thread that waits writes into no memory of JavaScript",
  async () => {
    const targets: unknown[] = [];
    const network = networkWith({
      epoll_wait_aside: (...args) => {
        targets.push(args[1]);
        return libc().epoll_wait_aside(...args);
      },
    });
    network.spin = 0;
    await using map = epollMap(network);
    const server = echoIn(map);
    await loopUntil(map, () => targets.length > 0);
    assert(targets.every((target) => !ArrayBuffer.isView(target)));
    server.close();
  },
);

testEpoll(
  "the thread that looks up a name reads and writes no memory of JavaScript, and its own is freed",
  async () => {
    const system = libc();
    const allocated = new Set<unknown>();
    let targets: unknown[] = [];
    const network = networkWith({
      malloc: (size) => {
        const pointer = system.malloc(size);
        allocated.add(pointer);
        return pointer;
      },
      free: (pointer) => {
        allocated.delete(pointer);
        system.free(pointer);
      },
      getaddrinfo_aside: (...args) => {
        targets = args.filter((arg) => arg !== null);
        assert(targets.every((target) => allocated.has(target)));
        return system.getaddrinfo_aside(...args);
      },
    });
    await using map = epollMap(network);
    const server = echoIn(map);
    const client = new Dispatcher(null, { map });
    client.createSocket();
    const { port } = server.addr as Deno.NetAddr;
    client.connect({ hostname: "localhost", port });
    await loopUntil(map, () => client.connected);
    assertEquals(targets.length, 3);
    assertEquals(allocated.size, 1); // The memory of the thread that waits.
    client.close();
    server.close();
  },
);

testEpoll("the thread that waits comes back within a minute", async () => {
  const timeouts: number[] = [];
  const network = networkWith({
    epoll_wait_aside: (...args) => {
      timeouts.push(args[3]);
      return libc().epoll_wait_aside(...args);
    },
  });
  network.spin = 0;
  await using map = epollMap(network);
  const server = echoIn(map);
  await loopUntil(map, () => timeouts.length > 0);
  server.close();
  for (const timeout of timeouts) {
    assert(timeout >= 0 && timeout <= 60_000, `${timeout}`);
  }
});

testEpoll(
  "no event is lost to hooks that throw, or leave the loop, in the midst of a batch",
  async () => {
    await using map = epollMap();
    const received: number[] = [];
    const server = new Dispatcher(null, { map });
    server.createSocket();
    server.bind(HERE);
    server.listen();
    let exits = 0;
    server.handleAccepted = (conn) => {
      const at = received.push(0) - 1;
      const reader = new Dispatcher(conn, { map });
      reader.handleRead = () => {
        received[at]! += reader.recv().length;
        if (at % 3 === 0) throw new ExitNow();
        if (at % 3 === 1) throw new Error("planned");
      };
      reader.handleError = () => {};
    };
    const peers = await Promise.all(
      Array.from({ length: 20 }, () => rawConnect(server.addr)),
    );
    for (let round = 1; round <= 5; round++) {
      await Promise.all(peers.map((peer) => peer.write(new Uint8Array(10))));
      const isDone = () =>
        received.length === 20 &&
        received.every((count) => count === 10 * round);
      while (!isDone()) {
        try {
          await loopUntil(map, isDone);
        } catch (error) {
          if (!(error instanceof ExitNow)) throw error;
          exits++;
        }
      }
    }
    assert(exits >= 5);
    for (const peer of peers) peer.close();
  },
);

testEpoll(
  "a dispatcher moves to a map on Deno's network, and back",
  async () => {
    await using ours = epollMap();
    await using theirs = epollMap(denoNetwork);
    const server = echoIn(ours);
    let echo: Dispatcher | null = null;
    server.handleAccepted = (conn) =>
      void (echo = new Echo(conn, { map: ours }));
    const peer = await rawConnect(server.addr);
    await loopUntil(ours, () => echo !== null);
    const buffer = new Uint8Array(8);
    for (const map of [ours, theirs, ours, theirs]) {
      if (echo!.map !== map) echo!.addChannel(map);
      let length = 0;
      peer.read(buffer).then((count) => length = count!);
      await peer.write(new Uint8Array(3));
      await loopUntil(map, () => length === 3);
    }
    peer.close();
  },
);

testEpoll(
  "poll(0) without a wait serves both epoll and Deno's sockets",
  async () => {
    await using map = epollMap();
    const server = echoIn(map);
    const peer = await rawConnect(server.addr);
    let rounds = 0;
    const talking = (async () => {
      const buffer = new Uint8Array(8);
      for (; rounds < 10; rounds++) {
        await peer.write(new Uint8Array(3));
        await peer.read(buffer);
      }
    })();
    let isOver = false;
    void talking.finally(() => isOver = true);
    const deadline = performance.now() + PATIENCE;
    while (!isOver && performance.now() < deadline) await poll(0, map);
    await talking;
    assertEquals(rounds, 10);
    peer.close();
  },
);

for (const spin of [0, 0.06, 100]) {
  testEpoll(
    `busy sockets leave time to timers, fetch() and files, with spin ${spin}`,
    async () => {
      const network = networkWith({});
      network.spin = spin;
      await using map = epollMap(network);
      const server = echoIn(map);
      const echoes = Array.from({ length: 16 }, () => {
        const client = new DispatcherWithSend(null, { map });
        client.createSocket();
        client.connect(server.addr!);
        client.handleConnect = () => void client.send("spam");
        client.handleRead = () => void client.send(client.recv());
        return client;
      });
      const looping = loop({ map });
      const others = { timers: 0, fetches: 0, files: 0 };
      const interval = setInterval(() => others.timers++, 1);
      const web = Deno.serve(
        { ...HERE, onListen() {} },
        () => new Response("x"),
      );
      const address = `http://127.0.0.1:${web.addr.port}/`;
      for (; others.fetches < 5; others.fetches++) {
        await (await fetch(address)).text();
      }
      for (; others.files < 5; others.files++) {
        await Deno.stat(import.meta.filename!);
      }
      await until(() => others.timers >= 5, "the timers");
      clearInterval(interval);
      await web.shutdown();
      for (const client of echoes) client.close();
      server.close();
      for (const member of [...map]) member.close();
      map.wake();
      await looping;
    },
  );
}

/** A program that makes a server, connects to it and does what `rest` says. */
function program(rest: string): string[] {
  const modules = JSON.stringify(import.meta.resolve("../mod.ts"));
  const engine = JSON.stringify(import.meta.resolve("../epoll/mod.ts"));
  const code = `
    import { Dispatcher, DispatcherWithSend, ExitNow, loop, socketMap } from ${modules};
    import { epollNetwork } from ${engine};
    socketMap.network = epollNetwork;
    const server = new Dispatcher();
    server.createSocket();
    server.bind({ hostname: "127.0.0.1", port: 0 });
    server.listen();
    server.handleAccepted = (conn) => {
      const echo = new DispatcherWithSend(conn);
      echo.handleRead = () => void echo.send(echo.recv());
    };
    ${rest}`;
  return [
    "run",
    "-A",
    "--quiet",
    `data:text/typescript,${encodeURIComponent(code)}`,
  ];
}

testEpoll("a program that leaves its loop with open sockets ends", async () => {
  await using child = new Child(
    Deno.execPath(),
    program(`
      const client = new Dispatcher();
      client.createSocket();
      client.connect(server.addr);
      client.handleConnect = () => { throw new ExitNow(); };
      await loop().catch(() => console.log("left"));`),
  );
  assertEquals(await child.endWell(), "left");
});

testEpoll(
  "a worker that is terminated in its loop leaves the process alone",
  async () => {
    const url = JSON.stringify(program("postMessage(0); await loop();").at(-1));
    await using child = new Child(
      Deno.execPath(),
      program(`
        const worker = new Worker(${url}, { type: "module" });
        await new Promise((resolve) => worker.onmessage = resolve);
        worker.terminate();
        server.close();
        await loop();
        console.log("over");`),
    );
    assertEquals(await child.endWell(), "over");
  },
);

testEpoll(
  "a server that has no descriptor left goes on when there are some again",
  async () => {
    const args = program(`
      // Deno needs some for this, and later there are none.
      Deno.addSignalListener("SIGUSR1", () => {});
      const warn = (line) => console.log(line.includes("paused") ? "paused" : "");
      socketMap.logger = { debug() {}, info() {}, error() {}, warn };
      const idle = [];
      class Idle extends DispatcherWithSend {
        constructor() {
          super();
          this.createSocket();
          this.connect(server.addr);
        }
        handleError() { this.close(); }
        handleClose() { this.close(); }
      }
      class Client extends Idle {
        handleConnect() { this.send("spam"); }
        handleRead() {
          this.recv();
          console.log("served");
          Deno.exit();
        }
        handleClose() {
          this.close();
          server.callLater(50, () => void new Client());
        }
      }
      for (let i = 0; i < 100; i++) idle.push(new Idle());
      server.callLater(500, () => {
        for (const client of idle) client.abort();
        new Client();
      });
      await loop();`);
    const command = 'ulimit -n 80; exec "$@"';
    const deno = [Deno.execPath(), ...args];
    await using child = new Child("sh", ["-c", command, "sh", ...deno]);
    await child.until("paused");
    await child.until("served");
  },
);
