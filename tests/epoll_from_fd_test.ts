/** Sockets of the second engine that another program has opened. */

import { assertEquals, assertThrows } from "@std/assert";
import { Dispatcher, loop } from "../mod.ts";
import { C } from "../epoll/layout.ts";
import { epollNetwork, fileno, inheritedFds } from "../epoll/mod.ts";
import { HAS_EPOLL, libc, networkWith, testEpoll } from "./epoll_faults.ts";
import { Echo } from "./fakes.ts";
import { Child } from "./peers.ts";
import {
  bytes,
  canRun,
  loopUntil,
  rawConnect,
  ScopedMap,
  text,
} from "./support.ts";

/** Opens a listener, blocking and inheritable, as a service manager does. */
function foreignListener(): number {
  const { socket, bind, listen } = libc();
  const fd = socket(C.AF_INET, C.SOCK_STREAM, 0);
  const address = new Uint8Array(16);
  address.set([C.AF_INET, 0, 0, 0, 127, 0, 0, 1]);
  assertEquals(bind(fd, address, address.length), 0);
  assertEquals(listen(fd, 8), 0);
  return fd;
}

testEpoll(
  "fromFd() makes a listener of a descriptor that listens, and closes it",
  async () => {
    await using map = new ScopedMap();
    const fd = foreignListener();
    const server = new Dispatcher(epollNetwork.fromFd(fd), { map });
    server.handleAccepted = (conn) => void new Echo(conn, { map });
    const client = await rawConnect(server.addr);
    await client.write(bytes("spam"));
    let answer = "";
    const buffer = new Uint8Array(8);
    client.read(buffer).then((length) => {
      answer = text(buffer.subarray(0, length!));
    });
    await loopUntil(map, () => answer !== "");
    assertEquals(answer, "spam");
    client.close();
    server.close();
    assertThrows(
      () => epollNetwork.fromFd(fd),
      TypeError,
      "open stream socket",
    );
  },
);

testEpoll("fromFd() refuses a socket that the engine has", () => {
  const listener = epollNetwork.fromFd(foreignListener());
  for (const method of ["fromFd", "datagramsFromFd"] as const) {
    assertThrows(
      () => epollNetwork[method](fileno(listener)),
      TypeError,
      "which is a socket of epollNetwork",
    );
  }
  listener.close();
});

/** Opens the same socket once more. */
function duplicate(fd: number): number {
  const dup = { parameters: ["i32"], result: "i32" } as const;
  const library = Deno.dlopen("libc.so.6", { dup });
  try {
    return library.symbols.dup(fd);
  } finally {
    library.close();
  }
}

testEpoll(
  "a listener of fromFd() that is closed brings no event, though another process has it open",
  async () => {
    const events: number[] = [];
    const network = networkWith({
      epoll_wait: (...args) => {
        const count = libc().epoll_wait(...args);
        events.push(count);
        return count;
      },
    });
    await using map = new ScopedMap({ network });
    const fd = foreignListener();
    const server = new Dispatcher(network.fromFd(fd), { map });
    const { addr } = server;
    await loop({ map, count: 1, timeout: 0 });
    const copy = duplicate(fd); // As another process has one.
    server.close();
    const other = new Dispatcher(null, { map });
    other.createSocket();
    other.bind({ hostname: "127.0.0.1", port: 0 });
    other.listen();
    await loop({ map, count: 3, timeout: 10 });
    events.length = 0;
    using _client = await rawConnect(addr);
    await loop({ map, count: 20, timeout: 5 });
    assertEquals(events.filter((count) => count > 0), []);
    other.close();
    libc().close(copy);
  },
);

testEpoll(
  "fromFd() makes a connection of a descriptor that is connected",
  async () => {
    await using map = new ScopedMap();
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    const fd = libc().socket(C.AF_INET, C.SOCK_STREAM, 0);
    const address = new Uint8Array(16);
    address.set([C.AF_INET, 0, port >> 8, port & 255, 127, 0, 0, 1]);
    assertEquals(libc().connect(fd, address, address.length), 0);
    using peer = await listener.accept();
    const echo = new Echo(epollNetwork.fromFd(fd), { map });
    assertEquals(echo.addr, listener.addr);
    assertEquals(echo.localAddr, peer.remoteAddr);
    await peer.write(bytes("spam"));
    let length: number | null = 0;
    peer.read(new Uint8Array(8)).then((count) => length = count);
    await loopUntil(map, () => length !== 0);
    assertEquals(length, 4);
  },
);

testEpoll(
  "fromFd() refuses what is no stream socket, and leaves it open",
  () => {
    const file = Deno.openSync("/dev/null");
    const eventfd = libc().eventfd(0, C.EFD_CLOEXEC);
    for (const fd of [eventfd, 999_999]) {
      assertThrows(() => epollNetwork.fromFd(fd), TypeError, "stream socket");
    }
    assertThrows(() => epollNetwork.fromFd(-1), RangeError, "fd");
    assertEquals(libc().close(eventfd), 0); // It is still there.
    file.close();
  },
);

Deno.test("inheritedFds() is empty in a program that inherits none", () => {
  assertEquals(inheritedFds(), []);
});

/** What a service manager does: the socket is number 3, and the rest is said. */
const MANAGER = `
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ["LISTEN_PID"] = str(os.getpid())
os.environ["LISTEN_FDS"] = "1"
os.execv(sys.argv[1], sys.argv[1:])
`;

const hasPython = HAS_EPOLL && canRun("python3", "--version");

Deno.test({
  name: `inheritedFds() has the sockets of a service manager${
    hasPython ? "" : " (skipped: no python3)"
  }`,
  ignore: !hasPython,
  fn: async () => {
    const program = "tools/test_programs/inherited_server.ts";
    const deno = [Deno.execPath(), "run", "-A", "--no-check", program];
    await using server = new Child("python3", ["-c", MANAGER, ...deno]);
    const [count, port] = (await server.until(" ")).split(" ");
    assertEquals(count, "1");
    using client = await Deno.connect({ port: Number(port) });
    await client.write(bytes("spam"));
    const buffer = new Uint8Array(8);
    assertEquals(await client.read(buffer), 4);
    await client.closeWrite();
    assertEquals(await client.read(buffer), null);
    await server.endWell();
  },
});
