/** The second engine under what the kernel does rarely. */

import { assert, assertEquals, assertGreater, assertThrows } from "@std/assert";
import { Dispatcher, DispatcherWithSend, loop } from "../mod.ts";
import type { Libc } from "../epoll/libc.ts";
import { C, EPOLL_EVENT } from "../epoll/layout.ts";
import { LogLines } from "./fakes.ts";
import { Calls, fail, libc, networkWith, testEpoll } from "./epoll_faults.ts";
import { bytes, loopUntil, rawConnect, ScopedMap, text } from "./support.ts";

const EINTR = 4,
  EMFILE = 24,
  ENOSPC = 28,
  EPIPE = 32,
  EPROTO = 71,
  ECONNRESET = 104,
  ENOTCONN = 107;
const HERE = { hostname: "127.0.0.1", port: 0 };

class Echo extends DispatcherWithSend {
  override handleRead(): void {
    this.send(this.recv());
  }
  override handleAccepted(conn: ConstructorParameters<typeof Echo>[0]): void {
    new Echo(conn, { map: this.map });
  }
}

/** Sends some bytes, and takes as many. */
class Client extends DispatcherWithSend {
  #left: number;
  readonly received: number[] = [];

  constructor(map: ScopedMap, size: number) {
    super(null, { map });
    this.#left = size;
    this.createSocket();
  }
  override handleConnect(): void {
    this.send(Uint8Array.from({ length: this.#left }, (_, i) => i % 251));
  }
  override handleRead(): void {
    for (const byte of this.recv()) this.received.push(byte);
    if (this.received.length === this.#left) this.close();
  }
  /** Everything has come back as it was sent. */
  get isServed(): boolean {
    return this.received.length === this.#left &&
      this.received.every((byte, i) => byte === i % 251);
  }
}

/** A map over changed calls, and a server in it. */
function serverWith(changes: Partial<Libc>) {
  const logger = new LogLines();
  const map = new ScopedMap({ network: networkWith(changes), logger });
  const server = new Echo(null, { map });
  server.createSocket();
  server.bind(HERE);
  server.listen();
  return { map, server, lines: logger.lines };
}

/** Has a client exchange `size` bytes with the server. */
async function exchange(
  { map, server }: ReturnType<typeof serverWith>,
  size: number,
): Promise<void> {
  const client = new Client(map, size);
  client.connect(server.addr!);
  await loopUntil(map, () => client.received.length >= size);
  assert(client.isServed, "other bytes came back");
}

testEpoll("EINTR of each call leads to the same call again", async () => {
  const calls = new Calls();
  const system = libc();
  const changes: Record<string, unknown> = {};
  for (const name of ["recv", "send", "accept4", "epoll_wait"] as const) {
    const call = system[name] as (...args: unknown[]) => number;
    changes[name] = (...args: unknown[]) =>
      calls.count(name) % 2 === 1 ? fail(EINTR) : call(...args);
  }
  changes.connect = (...args: Parameters<Libc["connect"]>) => {
    calls.count("connect");
    system.connect(...args);
    return fail(EINTR); // It goes on by itself.
  };
  const scene = serverWith(changes as Partial<Libc>);
  await using _map = scene.map;
  await exchange(scene, 100_000);
  for (const count of Object.values(calls.counts)) assertGreater(count, 0);
  assertEquals(Object.keys(calls.counts).length, 5);
});

for (const name of ["eventfd", "epoll_create1", "epoll_ctl"] as const) {
  testEpoll(
    `${name}() that fails at the first use leaves nothing behind, and the next use works`,
    () => {
      const system = libc();
      const calls = new Calls();
      const held = new Set<unknown>();
      const hold = <T>(thing: T) => {
        if (typeof thing !== "number" || thing >= 0) held.add(thing);
        return thing;
      };
      const network = networkWith({
        malloc: (size) => hold(system.malloc(size)),
        eventfd: (...args) => hold(system.eventfd(...args)),
        epoll_create1: (...args) => hold(system.epoll_create1(...args)),
        free: (pointer) => {
          held.delete(pointer);
          system.free(pointer);
        },
        close: (fd) => {
          held.delete(fd);
          return system.close(fd);
        },
        [name]: (...args: never[]) =>
          calls.count(name) === 1
            ? fail(EMFILE)
            : (system[name] as (...args: never[]) => number)(...args),
      });
      const at = { transport: "tcp", ...HERE } as const;
      const listen = () => network.listen(at, { backlog: 1, reusePort: false });
      assertThrows(listen, Error, "Too many open files");
      assertEquals(held.size, 0);
      listen().close();
    },
  );
}

testEpoll("send() that takes three bytes at a time loses none", async () => {
  const { send } = libc();
  const scene = serverWith({
    send: (fd, data, length, flags) =>
      send(fd, data, Math.min(length, 3), flags),
  });
  await using _map = scene.map;
  await exchange(scene, 10_000);
});

testEpoll("each send() asks for an error in the place of SIGPIPE", async () => {
  const { send } = libc();
  const flags = new Set<number>();
  const scene = serverWith({
    send: (fd, data, length, flag) => {
      flags.add(flag);
      return send(fd, data, length, flag);
    },
  });
  await using _map = scene.map;
  await exchange(scene, 1_000);
  assertEquals([...flags], [C.MSG_NOSIGNAL]);
});

testEpoll("events that come twice, and for nothing, do no harm", async () => {
  const { epoll_wait } = libc();
  const before = new Uint8Array(4 * EPOLL_EVENT.words * 1_024);
  let kept = 0;
  const size = 4 * EPOLL_EVENT.words;
  const scene = serverWith({
    epoll_wait: (epoll, memory, most, timeout) => {
      const target = memory as Uint8Array;
      const count = epoll_wait(epoll, memory, most / 2, timeout);
      // The events of the last look once more, behind the new ones.
      target.set(before.subarray(0, kept * size), count * size);
      const both = count + kept;
      kept = count;
      before.set(target.subarray(0, count * size));
      return both;
    },
  });
  await using _map = scene.map;
  for (let round = 0; round < 5; round++) await exchange(scene, 10_000);
});

testEpoll("events that say more than is true do no harm", async () => {
  const { epoll_wait } = libc();
  const scene = serverWith({
    epoll_wait: (epoll, memory, ...rest) => {
      const count = epoll_wait(epoll, memory, ...rest);
      const events = new Uint32Array(
        (memory as Uint8Array<ArrayBuffer>).buffer,
      );
      for (let i = 0; i < count; i++) {
        events[i * EPOLL_EVENT.words]! |= C.EPOLLIN | C.EPOLLPRI |
          C.EPOLLOUT | C.EPOLLRDHUP | C.EPOLLHUP | C.EPOLLERR;
      }
      return count;
    },
  });
  await using _map = scene.map;
  for (let round = 0; round < 5; round++) await exchange(scene, 10_000);
});

testEpoll(
  "the engine closes each descriptor that it has opened once, and no other",
  async () => {
    const system = libc();
    const open = new Set<number>();
    const wrong: number[] = [];
    const opened = (fd: number) => {
      if (fd >= 0) open.add(fd);
      return fd;
    };
    const scene = serverWith({
      socket: (...args) => opened(system.socket(...args)),
      accept4: (...args) => opened(system.accept4(...args)),
      eventfd: (...args) => opened(system.eventfd(...args)),
      epoll_create1: (...args) => opened(system.epoll_create1(...args)),
      close: (fd) => {
        if (!open.delete(fd)) wrong.push(fd);
        return system.close(fd);
      },
    });
    const { map, server } = scene;
    for (let round = 0; round < 5; round++) await exchange(scene, 1_000);
    const refused = new Client(map, 100);
    refused.connect({ hostname: "127.0.0.1", port: 1 });
    const early = new Client(map, 100);
    early.connect(server.addr!);
    early.close();
    const reset = await rawConnect(server.addr);
    reset.close();
    await loopUntil(map, () => map.size === 1 && map.lingering === 0);
    const taken = new Set(open);
    server.close();
    await map[Symbol.asyncDispose]();
    assertEquals(wrong, []);
    // The listener has gone; what wakes the engine and its set stay.
    assertEquals([taken.size, open.size], [3, 2]);
    for (const fd of open) system.close(fd);
  },
);

/** A line of the log, as far as it is the same in each run. */
function withoutAddress(line: string): string {
  return line.replace(/^.*> /, "").replace(/: existing.*/, "");
}

testEpoll(
  "accept4() that fails for lack of descriptors is tried again",
  async () => {
    const { accept4 } = libc();
    const calls = new Calls();
    const scene = serverWith({
      accept4: (...args) =>
        calls.count("accept4") <= 2 ? fail(EMFILE) : accept4(...args),
    });
    await using _map = scene.map;
    await exchange(scene, 100);
    assertEquals(scene.lines.map(withoutAddress), [
      "accepting paused (Error: Too many open files (os error 24))",
      "accepting resumed",
    ]);
  },
);

testEpoll(
  "accept4() that fails for a client that has gone takes the next",
  async () => {
    const { accept4 } = libc();
    const calls = new Calls();
    const scene = serverWith({
      accept4: (...args) =>
        calls.count("accept4") === 1 ? fail(EPROTO) : accept4(...args),
    });
    await using _map = scene.map;
    await exchange(scene, 100);
    assertEquals(scene.server.clientsGone, 1);
  },
);

testEpoll(
  "a client that has reset before it is accepted counts as gone, and its descriptor is closed",
  async () => {
    const { getpeername, close } = libc();
    const calls = new Calls();
    const gone: number[] = [];
    const closed: number[] = [];
    const scene = serverWith({
      getpeername: (...args) => {
        if (calls.count("getpeername") > 1) return getpeername(...args);
        gone.push(args[0]);
        return fail(ENOTCONN);
      },
      close: (fd) => {
        closed.push(fd);
        return close(fd);
      },
    });
    await using map = scene.map;
    const refused = new Client(map, 100);
    refused.connect(scene.server.addr!);
    await loopUntil(map, () => !new Set<unknown>(map).has(refused));
    assertEquals(scene.server.clientsGone, 1);
    assertEquals(closed.slice(0, 1), gone);
    await exchange(scene, 100);
  },
);

testEpoll(
  "epoll_ctl() that refuses a connection costs only that one",
  async () => {
    const { epoll_ctl } = libc();
    const calls = new Calls();
    const scene = serverWith({
      epoll_ctl: (...args) =>
        // The wake-up, the listener, the client, and then what was accepted.
        calls.count("epoll_ctl") === 4 ? fail(ENOSPC) : epoll_ctl(...args),
    });
    await using map = scene.map;
    const refused = new Client(map, 100);
    refused.connect(scene.server.addr!);
    await loopUntil(map, () => !new Set<unknown>(map).has(refused));
    assertEquals(refused.received, []);
    await exchange(scene, 100);
    const told = scene.lines.map(withoutAddress);
    assertEquals(told.filter((line) => line.startsWith("accepting")), [
      "accepting paused (Error: No space left on device (os error 28))",
      "accepting resumed",
    ]);
  },
);

testEpoll(
  "socket() that fails for lack of descriptors ends connect() with its error",
  async () => {
    const { socket } = libc();
    const calls = new Calls();
    const scene = serverWith({
      socket: (...args) =>
        calls.count("socket") === 2 ? fail(EMFILE) : socket(...args),
    });
    await using map = scene.map;
    const client = new Client(map, 100);
    const errors: unknown[] = [];
    client.handleError = (error) => void errors.push(error);
    client.connect(scene.server.addr!);
    await loopUntil(map, () => errors.length > 0);
    assertEquals((errors[0] as { code: string }).code, "EMFILE");
  },
);

testEpoll(
  "recv() that fails closes its connection with the reason",
  async () => {
    const { recv } = libc();
    const calls = new Calls();
    const scene = serverWith({
      recv: (...args) =>
        calls.count("recv") === 1 ? fail(ECONNRESET) : recv(...args),
    });
    await using map = scene.map;
    const reasons: (Error | null)[] = [];
    scene.server.handleAccepted = (conn) => {
      const handler = new Echo(conn, { map });
      handler.handleClose = () => {
        reasons.push(handler.closeReason);
        handler.close();
      };
    };
    const client = new Client(map, 100);
    client.connect(scene.server.addr!);
    await loopUntil(map, () => reasons.length > 0);
    assert(reasons[0] instanceof Deno.errors.ConnectionReset);
  },
);

testEpoll(
  "send() that fails does not hide the peer's last bytes, whose event is late",
  async () => {
    const system = libc();
    let isMute = false;
    const network = networkWith({
      send: (...args) => isMute ? fail(EPIPE) : system.send(...args),
      epoll_wait: (...args) => isMute ? 0 : system.epoll_wait(...args),
      epoll_wait_aside: async (...args) => {
        const count = await system.epoll_wait_aside(...args);
        return isMute ? 0 : count;
      },
    });
    await using map = new ScopedMap({ network, logger: new LogLines() });
    const at = { transport: "tcp", ...HERE } as const;
    const listener = network.listen(at, { backlog: 1, reusePort: false });
    const [channel, peer] = await Promise.all([
      listener.accept(),
      rawConnect(listener.addr),
    ]);
    const trace: string[] = [];
    const reader = new Dispatcher(channel, { map });
    reader.handleRead = () => void trace.push(text(reader.recv()));
    reader.handleClose = () => {
      trace.push("handleClose");
      reader.close();
    };
    await loop({ map, count: 1, timeout: 0 });
    isMute = true;
    await peer.write(bytes("last words"));
    reader.send("x");
    await loopUntil(map, () => trace.length === 2);
    assertEquals(trace, ["last words", "handleClose"]);
    isMute = false;
    listener.close();
    peer.close();
  },
);

testEpoll("closeWrite() after a reset is no failure", async () => {
  const network = networkWith({ shutdown: () => fail(ENOTCONN) });
  const at = { transport: "tcp", ...HERE } as const;
  const listener = network.listen(at, { backlog: 1, reusePort: false });
  const [channel, peer] = await Promise.all([
    listener.accept(),
    rawConnect(listener.addr),
  ]);
  await channel.closeWrite!();
  for (const socket of [channel, peer, listener]) socket.close();
});
