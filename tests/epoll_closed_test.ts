/** Sockets of the second engine after their close, and descriptors used again. */

import {
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  type Acceptor,
  type Channel,
  Dispatcher,
  DispatcherWithSend,
  loop,
} from "../mod.ts";
import {
  epollNetwork,
  fileno,
  getOption,
  peerCredentials,
  setLinger,
  setOption,
} from "../epoll/mod.ts";
import { C } from "../epoll/layout.ts";
import type { Memory } from "../epoll/libc.ts";
import { fail, libc, networkWith, testEpoll } from "./epoll_faults.ts";
import { LogLines } from "./fakes.ts";
import { bytes, loopUntil, rawConnect, ScopedMap } from "./support.ts";

const EAGAIN = 11;
const HERE = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;

type Closed = Channel & Deno.TcpConn & Acceptor & Disposable;

/** A connection and a listener, both closed. */
async function closedSockets(): Promise<{ channel: Closed; acceptor: Closed }> {
  const acceptor = epollNetwork.listen(HERE, { backlog: 1, reusePort: false });
  const [channel, peer] = await Promise.all([
    acceptor.accept(),
    rawConnect(acceptor.addr),
  ]);
  for (const socket of [channel, acceptor, peer]) socket.close();
  return { channel: channel as Closed, acceptor: acceptor as Closed };
}

const METHODS: [name: string, use: (channel: Closed) => unknown][] = [
  ["read", (channel) => channel.read(new Uint8Array(4))],
  ["write", (channel) => channel.write(new Uint8Array(4))],
  ["closeWrite", (channel) => channel.closeWrite!()],
  ["close", (channel) => channel.close()],
  ["setNoDelay", (channel) => channel.setNoDelay()],
  ["setKeepAlive", (channel) => channel.setKeepAlive()],
  ["readable", (channel) => channel.readable.getReader().read()],
  [
    "writable",
    (channel) => channel.writable.getWriter().write(new Uint8Array(1)),
  ],
];

for (const [name, use] of METHODS) {
  testEpoll(`${name} of a closed connection is a BadResource`, async () => {
    const { channel } = await closedSockets();
    await assertRejects(
      async () => await use(channel),
      Deno.errors.BadResource,
    );
  });
}

testEpoll(
  "accept() and close() of a closed listener are BadResources",
  async () => {
    const { acceptor } = await closedSockets();
    await assertRejects(() => acceptor.accept(), Deno.errors.BadResource);
    assertThrows(() => acceptor.close(), Deno.errors.BadResource);
  },
);

testEpoll(
  "close() of a listener ends each accept() with a BadResource",
  async () => {
    const acceptor = epollNetwork.listen(HERE, {
      backlog: 1,
      reusePort: false,
    });
    const accepting = [acceptor.accept(), acceptor.accept()];
    acceptor.close();
    for (const accept of accepting) {
      await assertRejects(() => accept, Deno.errors.BadResource);
    }
  },
);

testEpoll(
  "disposing of a closed socket does nothing, and it keeps its addresses",
  async () => {
    const { channel, acceptor } = await closedSockets();
    channel[Symbol.dispose]();
    acceptor[Symbol.dispose]();
    assertEquals(channel.localAddr, acceptor.addr);
  },
);

testEpoll("the functions for options refuse a closed socket", async () => {
  const { channel, acceptor } = await closedSockets();
  for (const socket of [channel, acceptor]) {
    for (
      const use of [
        () => getOption(socket, "SO_RCVBUF"),
        () => setOption(socket, "SO_RCVBUF", 9_000),
        () => setLinger(socket, 0),
        () => peerCredentials(socket),
        () => fileno(socket),
      ]
    ) assertThrows(use, TypeError, "a closed one");
  }
});

testEpoll("a dispatcher that gets a closed connection closes", async () => {
  await using map = new ScopedMap({ logger: new LogLines() });
  const { channel } = await closedSockets();
  const reader = new Dispatcher(channel, { map });
  const trace: string[] = [];
  reader.handleClose = () => {
    trace.push("handleClose");
    reader.close();
  };
  await loopUntil(map, () => trace.length > 0);
  assertEquals([trace, map.size], [["handleClose"], 0]);
});

testEpoll(
  "a read that a dispatcher cuts short by taking the channel says so",
  async () => {
    await using map = new ScopedMap();
    const acceptor = epollNetwork.listen(HERE, {
      backlog: 1,
      reusePort: false,
    });
    const [channel, peer] = await Promise.all([
      acceptor.accept(),
      rawConnect(acceptor.addr),
    ]);
    acceptor.close();
    const reading = channel.read(new Uint8Array(4));
    const reader = new Dispatcher(channel, { map });
    await assertRejects(() => reading, Error, "taken over");
    let length = 0;
    reader.handleRead = () => void (length = reader.recv().length);
    await peer.write(new Uint8Array(3));
    await loopUntil(map, () => length === 3);
    peer.close();
  },
);

testEpoll(
  "a write that waits when a dispatcher takes the channel says so, and so does a later one",
  async () => {
    await using map = new ScopedMap();
    let isFull = true;
    const network = networkWith({
      send: (...args) => isFull ? fail(EAGAIN) : libc().send(...args),
      // No event tells of room.
      epoll_ctl: (epoll, how, fd, memory) => {
        new Uint32Array((memory as Memory).buffer)[0]! &= ~C.EPOLLOUT;
        return libc().epoll_ctl(epoll, how, fd, memory);
      },
    });
    const acceptor = network.listen(HERE, { backlog: 1, reusePort: false });
    const [channel, peer] = await Promise.all([
      acceptor.accept(),
      rawConnect(acceptor.addr),
    ]);
    acceptor.close();
    let reason = "";
    channel.write(bytes("spam")).catch(({ message }) => reason = message);
    const sender = new DispatcherWithSend(channel, { map });
    await loopUntil(map, () => reason !== "");
    assertStringIncludes(reason, "taken over");
    isFull = false;
    await assertRejects(() => channel.write(bytes("eggs")), Error, "taken");
    sender.send("ham");
    sender.close();
    const received = new Response(peer.readable).text();
    await loop({ map });
    assertEquals(await received, "ham");
  },
);

/** Says one letter again and again, and wants no other one back. */
class Speaker extends DispatcherWithSend {
  readonly letter: number;
  heard = 0;
  wrong = 0;

  constructor(map: ScopedMap, letter: number) {
    super(null, { map, linger: 0 });
    this.letter = letter;
    this.createSocket();
  }
  override handleConnect(): void {
    this.send(new Uint8Array(8).fill(this.letter));
  }
  override handleRead(): void {
    const data = this.recv();
    this.heard += data.length;
    if (data.some((byte) => byte !== this.letter)) this.wrong++;
    if (data.length > 0) this.send(new Uint8Array(4).fill(this.letter));
  }
}

testEpoll(
  "hooks that close other connections, whose numbers are used again at once, mix up none",
  async () => {
    await using map = new ScopedMap({
      network: epollNetwork,
      logger: new LogLines(),
    });
    const handlers: Dispatcher[] = [];
    const dead = new Set<Dispatcher>();
    let late = 0;
    const server = new Dispatcher(null, { map });
    server.createSocket();
    server.bind(HERE);
    server.listen();
    server.handleAccepted = (conn) => {
      const handler = new DispatcherWithSend(conn, { map });
      handlers.push(handler);
      handler.handleRead = () => {
        if (dead.has(handler)) late++;
        handler.send(handler.recv());
        // Each third read ends the oldest connection, in the midst of a pass.
        if (++reads % 3 > 0 || handlers.length < 10) return;
        const victim = handlers.shift()!;
        victim.abort();
        dead.add(victim);
      };
    };
    let reads = 0;
    const speakers: Speaker[] = [];
    const speak = () => {
      const speaker = new Speaker(map, speakers.length % 251);
      speakers.push(speaker);
      speaker.connect(server.addr!);
      speaker.handleClose = () => {
        speaker.close();
        if (speakers.length < 500) speak();
      };
    };
    for (let i = 0; i < 30; i++) speak();
    await loopUntil(map, () => speakers.length === 500);
    assertEquals(speakers.filter(({ wrong }) => wrong > 0), []);
    assertEquals(late, 0);
    await loop({ map, count: 1, timeout: 0 });
  },
);
