/** Loops, waits and ends of programs on the second engine. */

import { assert, assertEquals, assertLess, assertRejects } from "@std/assert";
import {
  type Channel,
  closeAll,
  Dispatcher,
  DispatcherWithSend,
  ExitNow,
  loop,
  poll,
  type SocketMap,
} from "../mod.ts";
import { POLLER } from "../core/poller.ts";
import {
  type ReadListener,
  SOURCE,
  type SourceChannel,
} from "../core/source.ts";
import type { Libc } from "../epoll/libc.ts";
import { Engine } from "../epoll/engine.ts";
import { epollNetwork } from "../epoll/mod.ts";
import { Next, SpinTime } from "../epoll/spin_time.ts";
import { libc, networkWith, testEpoll } from "./epoll_faults.ts";
import { Echo, LogLines } from "./fakes.ts";
import { loopUntil, rawConnect, ScopedMap, turn, until } from "./support.ts";

const HERE = { hostname: "127.0.0.1", port: 0 };

function epollMap(network = epollNetwork): ScopedMap {
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
