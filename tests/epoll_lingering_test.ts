/**
 * Lingering over the second engine: it sees what the peer has acknowledged.
 *
 * Peers have small buffers, and read only where a test says so. The time is a
 * mock clock's: it passes only in `clock.advance()`.
 */

import {
  assert,
  assertEquals,
  assertGreater,
  assertLess,
  assertMatch,
} from "@std/assert";
import {
  AsyncChat,
  type Channel,
  type DispatcherOptions,
  DispatcherWithSend,
  loop,
  type Network,
  shutdown,
} from "../mod.ts";
import { epollNetwork, fileno, setOption } from "../epoll/mod.ts";
import { MockClock } from "../testing/mod.ts";
import { libc, networkWith, testEpoll } from "./epoll_faults.ts";
import { LogLines, quietMap, watch } from "./fakes.ts";
import { bytes, turns, until } from "./support.ts";

const TCP = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;
/** More than the kernel holds for both sides. */
const A_LOT = 1_000_000;
/** No more than the kernel holds for both sides, and more than the peer's part. */
const HELD = 60_000;
const LINGER = 5_000;

const SIOCOUTQ = 0x5411;
const FIONREAD = 0x541B;

/** A number that the system tells about a descriptor. */
function ask(fd: number, request: number): number {
  const answer = new Int32Array(new ArrayBuffer(4));
  libc().ioctl(fd, request, new Uint8Array(answer.buffer));
  return answer[0]!;
}

/** The other end, which reads only when told. */
class Peer {
  readonly channel: Channel;
  received = 0;

  constructor(channel: Channel) {
    this.channel = channel;
  }

  /** How many bytes its system has acknowledged. */
  get acknowledged(): number {
    return this.received + ask(fileno(this.channel), FIONREAD);
  }

  /** Reads what is there, if only a little. Returns whether there was an end. */
  async read(): Promise<boolean> {
    const length = await this.channel.read(new Uint8Array(65_536));
    this.received += length ?? 0;
    return length === null;
  }

  /** Reads no more than a few bytes. */
  readPart(): void {
    const target = new Uint8Array(4_096);
    this.received += libc().recv(fileno(this.channel), target, 4_096, 0);
  }

  async readToEnd(): Promise<void> {
    while (!await this.read());
  }
}

/** Both ends of a connection with small buffers. */
async function connected(
  network: Network,
  address: Deno.Addr = TCP,
): Promise<[ours: Channel, peer: Peer]> {
  const listener = epollNetwork.listen(address, {
    backlog: 1,
    reusePort: false,
  });
  setOption(listener, "SO_RCVBUF", 4_096);
  const [ours, theirs] = await Promise.all([
    network.connect(listener.addr, { signal: new AbortController().signal }),
    listener.accept(),
  ]);
  listener.close();
  if (address === TCP) setOption(ours, "SO_SNDBUF", 65_536);
  return [ours, new Peer(theirs)];
}

/** Closes when its peer has ended, and drops what comes in. */
class Sender extends DispatcherWithSend {
  override handleRead(): void {
    this.recv();
  }
  override handleClose(): void {
    this.close();
  }
}

interface SceneOptions extends DispatcherOptions {
  /** How many bytes are sent. */
  size: number;
  network?: Network;
  address?: Deno.Addr;
}

/** A connection whose peer has taken what its system holds, and reads nothing. */
async function sent(
  { size, network = epollNetwork, address, ...options }: SceneOptions,
) {
  const clock = new MockClock();
  const logger = new LogLines();
  const map = quietMap({ clock, logger, network });
  const [ours, peer] = await connected(network, address);
  const handler = new Sender(ours, { ...options, map });
  handler.ignoreLogTypes = new Set();
  const done = watch(loop({ map }));
  handler.send(new Uint8Array(size));
  const fd = fileno(ours);
  const held = () => ask(fd, SIOCOUTQ);
  const isSettled = () =>
    address !== undefined ||
    held() + peer.acknowledged === size - handler.bufferedAmount;
  // The first bytes are there, and the rest has no room.
  await until(() => peer.acknowledged > 0 && isSettled(), "the peer");
  const { lines } = logger;
  /** Has the peer talk, and waits until that has arrived. */
  const hear = async () => {
    await peer.channel.write(bytes("blah"));
    await until(() => ask(fd, FIONREAD) === 0, "the word");
    await turns();
  };
  return { clock, done, handler, hear, held, lines, map, peer };
}

type Scene = Awaited<ReturnType<typeof sent>>;

/** Has the peer read, and waits until that is acknowledged. */
async function take({ peer, held }: Scene): Promise<void> {
  const before = held();
  await peer.read();
  await until(() => held() < before, "an acknowledgement");
}

testEpoll(
  "Dispatcher.close() waits for a silent peer that takes a little in each linger, and then talks",
  async () => {
    const scene = await sent({ size: HELD });
    const { clock, done, handler, hear, lines, peer } = scene;
    handler.close();
    let steps = 0;
    while (peer.received < HELD) {
      await clock.advance(LINGER - 1_000);
      assert(handler.closing, `it has gone after ${peer.received} bytes`);
      // After six times the linger, a word resets a connection that is closed.
      if (++steps === 9) await hear();
      await take(scene);
    }
    assertGreater(steps, 9);
    await peer.readToEnd();
    peer.channel.close();
    await until(() => done.settled, "the end");
    assertEquals(peer.received, HELD);
    assertEquals(lines, []);
  },
);

for (const size of [HELD, A_LOT]) {
  testEpoll(
    `Dispatcher.close() gives up on a peer that takes nothing of ${size} bytes after a linger, and counts what it lacks`,
    async () => {
      const { clock, done, handler, lines, map, peer } = await sent({ size });
      const ended = shutdown({ map, deadline: Infinity });
      await until(() => handler.closing, "the close");
      await clock.advance(LINGER - 1);
      assert(handler.closing);
      const lacking = size - peer.acknowledged;
      await clock.advance(1);
      await until(() => done.settled, "the end");
      assertEquals(await ended, { listeners: 0, closed: 0, aborted: 1 });
      assertEquals(lines.length, 1);
      assertMatch(
        lines[0]!,
        RegExp(
          `was closed before its peer had acknowledged ${lacking} accepted ` +
            "bytes \\(Error: its peer took nothing for 5000 ms\\)",
        ),
      );
      assertMatch(String(handler.closeReason), /took nothing for 5000 ms/);
      assertEquals(clock.armed, 0);
      peer.channel.close();
    },
  );
}

testEpoll(
  "Dispatcher.close() gives up after 1.2 lingers on a peer that stops right after it has taken something",
  async () => {
    const scene = await sent({ size: HELD });
    const { clock, done, handler, lines, peer } = scene;
    handler.close();
    await take(scene);
    await clock.advance(1.2 * LINGER - 1);
    assert(handler.closing);
    await clock.advance(1);
    await until(() => done.settled, "the end");
    assertMatch(lines.join(), /acknowledged \d+ accepted bytes/);
    peer.channel.close();
  },
);

for (const size of [HELD, A_LOT]) {
  testEpoll(
    `Dispatcher.close() gives up after a linger on a peer that talks, but takes nothing of ${size} bytes`,
    async () => {
      const { clock, done, handler, hear, lines, peer } = await sent({ size });
      const lacking = size - peer.acknowledged;
      handler.close();
      for (let i = 0; i < 5; i++) {
        assert(handler.closing);
        await hear();
        await clock.advance(1_000);
      }
      await until(() => done.settled, "the end");
      assertEquals(lines.length, 1);
      assertMatch(
        lines[0]!,
        RegExp(`acknowledged ${lacking} .*took nothing for 5000 ms`),
      );
      peer.channel.close();
    },
  );
}

testEpoll(
  "Dispatcher.close() gives a peer that has acknowledged everything, and talks, six lingers",
  async () => {
    const { clock, done, handler, hear, lines, peer } = await sent({
      size: 100,
    });
    handler.close();
    for (let i = 0; i < 30; i++) {
      assert(handler.closing);
      await hear();
      await clock.advance(1_000);
    }
    await until(() => done.settled, "the end");
    assertMatch(lines.join(), /its peer went on talking: what .* is lost$/);
    peer.channel.close();
  },
);

testEpoll(
  "Dispatcher.close() says nothing of a silent peer that has acknowledged everything",
  async () => {
    const { clock, done, handler, lines, map, peer } = await sent({
      size: 100,
    });
    const ended = shutdown({ map, deadline: Infinity });
    await until(() => handler.closing, "the close");
    await clock.advance(LINGER - 1);
    assert(handler.closing);
    await clock.advance(1);
    await until(() => done.settled, "the end");
    assertEquals(await ended, { listeners: 0, closed: 1, aborted: 0 });
    assertEquals(lines, []);
    peer.channel.close();
  },
);

for (const size of [HELD, A_LOT]) {
  testEpoll(
    `Dispatcher.close() counts what a peer that resets lacks of ${size} bytes`,
    async () => {
      const { clock, done, handler, lines, map, peer } = await sent({ size });
      const ended = shutdown({ map, deadline: Infinity });
      await until(() => handler.closing, "the close");
      await turns();
      const lacking = size - peer.acknowledged;
      peer.channel.close(); // with unread bytes
      await until(() => done.settled, "the end");
      assertEquals(await ended, { listeners: 0, closed: 0, aborted: 1 });
      assertEquals(lines.length, 1);
      assertMatch(
        lines[0]!,
        size === HELD
          ? RegExp(
            `reset the connection: .* is lost, at least ${lacking} bytes`,
          )
          : RegExp(`was closed and lost ${lacking} accepted bytes`),
      );
      assertEquals(clock.now(), 0);
    },
  );
}

// Peers that have ended their side

/** Has the peer end its side, and this side close after that. */
async function closeBehind(
  { handler, peer }: Scene,
): Promise<void> {
  const closed = Promise.withResolvers<void>();

  handler.handleClose = () => {
    handler.close();
    closed.resolve();
  };
  await peer.channel.closeWrite!();
  await closed.promise;
}

testEpoll(
  "Dispatcher.close() waits until a half-closed peer has acknowledged everything, and no longer",
  async () => {
    const scene = await sent({ size: HELD });
    const { clock, done, handler, lines, peer } = scene;
    await closeBehind(scene);
    while (peer.received < HELD / 2) {
      await clock.advance(LINGER - 1_000);
      assert(handler.closing, `it has gone after ${peer.received} bytes`);
      await take(scene);
    }
    const time = clock.now();
    await peer.readToEnd();
    await until(() => done.settled, "the end");
    assertEquals([peer.received, clock.now()], [HELD, time]);
    assertEquals(lines, []);
    peer.channel.close();
  },
);

testEpoll(
  "Dispatcher.close() gives up on a half-closed peer that takes nothing after a linger",
  async () => {
    const scene = await sent({ size: HELD });
    const { clock, done, handler, lines, peer } = scene;
    await closeBehind(scene);
    await clock.advance(LINGER - 1);
    assert(handler.closing);
    const lacking = HELD - peer.acknowledged;
    await clock.advance(1);
    await until(() => done.settled, "the end");
    assertMatch(lines.join(), RegExp(`had acknowledged ${lacking} accepted`));
    // The system goes on sending what it holds.
    await peer.readToEnd();
    assertEquals(peer.received, HELD);
    peer.channel.close();
  },
);

testEpoll(
  "Dispatcher.close() hears of a reset by a half-closed peer",
  async () => {
    const scene = await sent({ size: HELD });
    const { clock, done, handler, lines, map, peer } = scene;
    await closeBehind(scene);
    const ended = shutdown({ map });
    const lacking = HELD - peer.acknowledged;
    peer.channel.close();
    await until(() => done.settled, "the end");
    assertEquals(await ended, { listeners: 0, closed: 0, aborted: 1 });
    assertMatch(
      lines.join(),
      RegExp(`reset .* lost, at least ${lacking} bytes`),
    );
    assertEquals(handler.closeReason?.name, "ConnectionReset");
    assertEquals(clock.now(), 0);
  },
);

testEpoll(
  "Dispatcher.close() waits for no half-closed peer that has acknowledged everything",
  async () => {
    const scene = await sent({ size: 100 });
    const { clock, done, handler, lines, peer } = scene;
    handler.handleClose = () => {
      handler.close();
      assertEquals(handler.closing, false);
    };
    await peer.channel.closeWrite!();
    await until(() => done.settled, "the end");
    assertEquals([lines, clock.now(), clock.armed], [[], 0, 0]);
    peer.channel.close();
  },
);

// Other ends

testEpoll(
  "shutdown() counts at its deadline what a peer had not acknowledged",
  async () => {
    const { clock, done, handler, lines, map, peer } = await sent({
      size: HELD,
    });
    const ended = shutdown({ map, deadline: 1_500 });
    await until(() => handler.closing, "the close");
    const lacking = HELD - peer.acknowledged;
    await clock.advance(1_500);
    assertEquals(await ended, { listeners: 0, closed: 0, aborted: 1 });
    await until(() => done.settled, "the end");
    assertMatch(
      lines.join(),
      RegExp(`acknowledged ${lacking} .*deadline of shutdown\\(\\) was over`),
    );
    peer.channel.close();
  },
);

testEpoll(
  "Dispatcher.abort() says nothing of what a peer had not acknowledged",
  async () => {
    const { clock, done, handler, lines, peer } = await sent({ size: HELD });
    handler.close();
    await clock.advance(1_000);
    handler.abort();
    await until(() => done.settled, "the end");
    assertEquals([lines, clock.armed], [[], 0]);
    peer.channel.close();
  },
);

testEpoll(
  "Dispatcher with a linger of 0 waits for no acknowledgement",
  async () => {
    const { clock, done, handler, lines, peer } = await sent({
      size: HELD,
      linger: 0,
    });
    handler.close();
    await until(() => done.settled, "the end");
    assertEquals([lines, clock.armed], [[], 0]);
    await peer.readToEnd();
    assertEquals(peer.received, HELD);
    peer.channel.close();
  },
);

testEpoll(
  "Dispatcher whose lifetime is over gives its peer one linger, though it takes something",
  async () => {
    const scene = await sent({
      size: HELD,
      lifetime: 2_000,
    });
    const { clock, done, handler, lines, peer } = scene;
    await clock.advance(1_000);
    handler.close();
    for (let i = 0; i < 5; i++) {
      assert(handler.closing, `it has gone after ${i} s`);
      await take(scene);
      await clock.advance(1_000);
    }
    await until(() => done.settled, "the end");
    assertLess(peer.received, HELD);
    assertMatch(
      lines.join(),
      /acknowledged .* \(Error: its lifetime is over\)/,
    );
    peer.channel.close();
  },
);

testEpoll(
  "a connection that was handed over with unread bytes counts what its peer lacks",
  async () => {
    const { clock, done, handler, lines, map, peer } = await sent({
      size: HELD,
    });
    const chat = new (class extends AsyncChat {
      override collectIncomingData(): void {}
      override foundTerminator(): void {}
    })(handler.socket as Channel, { map });
    chat.setTerminator("\r\n\r\n");
    await peer.channel.write(bytes("no end\r\n"));
    await until(
      () => ask(fileno(chat.socket as Channel), FIONREAD) === 0,
      "it",
    );
    await turns();
    const next = new DispatcherWithSend(chat.socket as Channel, { map });
    next.readable = () => false;
    next.close();
    const lacking = HELD - peer.acknowledged;
    await clock.advance(LINGER);
    await until(() => done.settled, "the end");
    assertMatch(lines.join(), RegExp(`had acknowledged ${lacking} accepted`));
    peer.channel.close();
  },
);

testEpoll(
  "the channel of detach() waits for its peer after close(), too",
  async () => {
    const { clock, done, handler, lines, map, peer } = await sent({
      size: HELD,
    });
    const channel = handler.detach();
    channel.close();
    const lacking = HELD - peer.acknowledged;
    await clock.advance(LINGER - 1);
    assertEquals(map.lingering, 1);
    await clock.advance(1);
    await until(() => done.settled, "the end");
    assertMatch(lines.join(), RegExp(`had acknowledged ${lacking} accepted`));
    peer.channel.close();
  },
);

testEpoll(
  "Dispatcher.close() over a Unix socket waits for a peer that reads less in each linger than makes room",
  async () => {
    const folder = await Deno.makeTempDir();
    const path = `${folder}/socket`;
    const { clock, done, handler, held, lines, peer } = await sent({
      size: A_LOT,
      address: { transport: "unix", path },
    });
    handler.close();
    for (let i = 0; i < 4; i++) {
      const before = held();
      assertGreater(before, 0);
      while (held() === before) peer.readPart();
      await clock.advance(LINGER - 1_000);
      assert(handler.closing, `it has gone after ${peer.received} bytes`);
    }
    await peer.readToEnd();
    await until(() => done.settled, "the end");
    assertEquals([peer.received, lines], [A_LOT, []]);
    peer.channel.close();
    await Deno.remove(folder, { recursive: true });
  },
);

testEpoll(
  "Dispatcher.close() over a Unix socket waits for no half-closed peer to read",
  async () => {
    const folder = await Deno.makeTempDir();
    const path = `${folder}/socket`;
    const scene = await sent({
      size: 100,
      address: { transport: "unix", path },
    });
    const { clock, done, lines, peer } = scene;
    await closeBehind(scene);
    await until(() => done.settled, "the end");
    await peer.readToEnd();
    assertEquals([peer.received, lines, clock.now()], [100, [], 0]);
    peer.channel.close();
    await Deno.remove(folder, { recursive: true });
  },
);

/** Connects, says so, and reads to the end once it goes on. */
const CHILD = `
  const port = Number(Deno.args[0]);
  const conn = await Deno.connect({ port });
  let received = 0;
  for await (const { length } of conn.readable) received += length;
  console.log(received);
`;

testEpoll(
  "Dispatcher.close() gives up on the peer in a process that is stopped after a linger",
  async () => {
    const clock = new MockClock();
    const logger = new LogLines();
    const map = quietMap({ clock, logger, network: epollNetwork });
    const listener = epollNetwork.listen(TCP, { backlog: 1, reusePort: false });
    setOption(listener, "SO_SNDBUF", 200_000);
    const { port } = listener.addr as Deno.NetAddr;
    const child = new Deno.Command(Deno.execPath(), {
      args: ["eval", CHILD, `${port}`],
      stdout: "piped",
    }).spawn();
    const ours = await listener.accept();
    listener.close();
    child.kill("SIGSTOP");
    const stat = `/proc/${child.pid}/stat`;
    const isStopped = () => / T /.test(Deno.readTextFileSync(stat));
    await until(isStopped, "the process to stop");
    const handler = new DispatcherWithSend(ours, { map });
    handler.send(new Uint8Array(A_LOT));
    const done = watch(loop({ map }));
    const fd = fileno(ours);
    let last = 0;
    await turns();
    const pending = handler.bufferedAmount;
    assertGreater(pending, 0);
    handler.close();
    for (let i = 0; handler.closing; i++) {
      assertLess(i, 10);
      last = ask(fd, SIOCOUTQ);
      await clock.advance(1_000);
    }
    await until(() => done.settled, "the end");
    assertMatch(
      logger.lines.join(),
      RegExp(`acknowledged ${pending + last} accepted .* nothing for 5000 ms`),
    );
    child.kill("SIGCONT");
    // The system has gone on sending what it held.
    const { stdout } = await child.output();
    assertEquals(
      Number(new TextDecoder().decode(stdout)),
      A_LOT - pending,
    );
  },
);

// Systems that do not tell

for (const size of [HELD, A_LOT]) {
  testEpoll(
    `Dispatcher.close() treats a peer of ${size} bytes as over other engines when ioctl() fails`,
    async () => {
      const { ioctl } = libc();
      const network = networkWith({
        ioctl: (fd, request, data) => {
          if (request !== SIOCOUTQ) return ioctl(fd, request, data);
          (data as Uint8Array)[0] = 1; // not to be taken for an answer
          return -1;
        },
      });
      const { clock, done, handler, hear, lines, peer } = await sent({
        size,
        network,
      });
      handler.close();
      for (let i = 0; i < 30; i++) {
        assert(handler.closing);
        await hear();
        await clock.advance(1_000);
      }
      await until(() => done.settled, "the end");
      assertMatch(
        lines.join(),
        size === HELD
          ? /its peer went on talking/
          : /was closed and lost \d+ .*took nothing for 30000 ms/,
      );
      peer.channel.close();
    },
  );
}
