/** UDP over the second engine, without an unstable flag. */

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertLess,
  assertLessOrEqual,
  assertMatch,
  assertRejects,
  assertThrows,
} from "@std/assert";
import {
  type Address,
  DatagramDispatcher,
  DatagramError,
  type DatagramSocket,
} from "../mod.ts";
import { C } from "../epoll/layout.ts";
import { epollNetwork, fileno, getOption, setOption } from "../epoll/mod.ts";
import { Client, Echo, LOOPBACK, Recorder } from "./datagrams.ts";
import {
  HAS_EPOLL,
  libc,
  networkWith,
  openDescriptors,
  testEpoll,
} from "./epoll_faults.ts";
import { LogLines, loopToEnd, pattern } from "./fakes.ts";
import { Child, hasCommand, runCommand } from "./peers.ts";
import {
  bytes,
  families,
  isMissing,
  loopUntil,
  PATIENCE,
  ScopedMap,
  text,
} from "./support.ts";

const HAS_IPV6 = !isMissing(families[1]!);
const HAS_PYTHON = HAS_EPOLL && hasCommand("python3", "--version");

function epollMap(): ScopedMap {
  return new ScopedMap({ network: epollNetwork, logger: new LogLines() });
}

/** A socket of the engine, without a dispatcher. */
function openSocket(address: Partial<Deno.NetAddr> = {}): DatagramSocket {
  const at = { transport: "udp", ...LOOPBACK, ...address } as const;
  return epollNetwork.listenDatagram!(at, { reuseAddress: false });
}

/** A UDP socket as another program has it: of no engine, and blocking. */
function foreignSocket(): number {
  const { socket, bind } = libc();
  const fd = socket(C.AF_INET, C.SOCK_DGRAM, 0);
  const address = new Uint8Array(16);
  address.set([C.AF_INET, 0, 0, 0, 127, 0, 0, 1]);
  assertEquals(bind(fd, address, address.length), 0);
  return fd;
}

/** An address from which the system refuses datagrams. */
function freeAddress(): Deno.NetAddr {
  const socket = openSocket();
  socket.close();
  return socket.addr as Deno.NetAddr;
}

for (const hostname of HAS_IPV6 ? ["127.0.0.1", "::1"] : ["127.0.0.1"]) {
  testEpoll(
    `DatagramDispatcher echoes datagrams of any length from ${hostname} over epollNetwork`,
    async () => {
      await using map = epollMap();
      const server = new Echo(map, { hostname, port: 0 });
      const client = new Client(map, { hostname, port: 0 });
      const sent = [bytes("spam"), bytes(""), pattern(65_507), bytes("eggs")];
      for (const [i, data] of sent.entries()) {
        assertEquals(client.sendTo(data, server.addr!), data.length);
        await loopUntil(map, () => client.datagrams.length > i);
      }
      assertEquals(client.datagrams.map(({ data }) => data), sent);
      for (const { addr } of client.datagrams) {
        assertEquals(addr, server.addr as Deno.NetAddr);
      }
      assertEquals(client.errors, []);
    },
  );
}

testEpoll(
  "DatagramDispatcher over epollNetwork tells hosts and ports of senders apart",
  async () => {
    await using map = epollMap();
    const server = new Client(map, { hostname: "0.0.0.0", port: 0 });
    const { port } = server;
    const hosts = ["127.0.0.1", "127.0.0.2", "127.1.2.3", "127.0.0.1"];
    const senders = hosts.map((hostname) =>
      new Client(map, { hostname, port: 0 })
    );
    for (const [i, sender] of senders.entries()) {
      sender.sendTo("spam", { port });
      await loopUntil(map, () => server.datagrams.length > i);
    }
    assertEquals(
      server.datagrams.map(({ addr }) => addr),
      senders.map(({ addr }) => addr as Deno.NetAddr),
    );
  },
);

testEpoll(
  "DatagramDispatcher over epollNetwork sends to each spelling of an address, and to names, in order",
  async () => {
    await using map = epollMap();
    const server = new Client(map);
    const client = new Client(map);
    const hosts = ["127.0.0.1", "localhost", "127.1", "0177.0.0.1"];
    hosts.push("localhost", "2130706433", "127.0.0.1");
    for (const hostname of hosts) {
      client.sendTo(hostname, { hostname, port: server.port });
    }
    await loopUntil(map, () => server.datagrams.length === hosts.length);
    assertEquals(server.datagrams.map(({ data }) => text(data)), hosts);
  },
);

testEpoll(
  "DatagramDispatcher over epollNetwork loses only the datagrams to names that do not exist",
  async () => {
    await using map = epollMap();
    const client = new Client(map);
    client.sendTo("eggs", { hostname: "none.invalid", port: 7 });
    client.sendTo("eggs", { hostname: "no name", port: 7 });
    client.sendTo("spam", client.addr!);
    await loopUntil(map, () => client.datagrams.length === 1);
    await loopUntil(map, () => client.errors.length === 2);
    for (const error of client.errors) {
      assertInstanceOf(error, DatagramError);
      assertMatch(
        error.message,
        /^Cannot send 4 bytes to no.*failed to lookup/,
      );
    }
  },
);

testEpoll(
  "DatagramDispatcher over epollNetwork tells of a datagram that is too long, and goes on",
  async () => {
    await using map = epollMap();
    const client = new Client(map);
    client.sendTo(new Uint8Array(65_508), client.addr!);
    client.sendTo("spam", client.addr!);
    await loopUntil(map, () => client.datagrams.length === 1);
    await loopUntil(map, () => client.errors.length === 1);
    const [error] = client.errors as DatagramError[];
    assertInstanceOf(error, DatagramError);
    assertMatch(
      error.message,
      /^Cannot send 65508 bytes to 127.*: Message too long \(os error 90\)$/,
    );
  },
);

if (HAS_IPV6) {
  testEpoll(
    "DatagramDispatcher over epollNetwork on :: answers a client of IPv4",
    async () => {
      await using map = epollMap();
      const server = new Echo(map, { hostname: "::", port: 0 });
      const client = new Client(map);
      client.sendTo("spam", { hostname: "127.0.0.1", port: server.port });
      await loopUntil(map, () => client.datagrams.length === 1);
      assertEquals(client.datagrams[0]!.addr.hostname, "127.0.0.1");
    },
  );
}

testEpoll(
  "DatagramDispatcher over epollNetwork gives broadcasts away with SO_BROADCAST only",
  async () => {
    await using map = epollMap();
    const server = new Client(map, { hostname: "0.0.0.0", port: 0 });
    const client = new Client(map);
    const everybody = { hostname: "127.255.255.255", port: server.port };
    client.sendTo("spam", everybody);
    await loopUntil(map, () => client.errors.length === 1);
    const [error] = client.errors as DatagramError[];
    assertInstanceOf(error!.cause, Deno.errors.PermissionDenied);
    setOption(client.socket, "SO_BROADCAST", 1);
    client.sendTo("eggs", everybody);
    await loopUntil(map, () => server.datagrams.length === 1);
    assertEquals(text(server.datagrams[0]!.data), "eggs");
  },
);

testEpoll(
  "DatagramDispatcher over epollNetwork names the address that has refused, with IP_RECVERR",
  async () => {
    await using map = epollMap();
    const client = new Client(map);
    setOption(client.socket, "IP_RECVERR", 1);
    const gone = [freeAddress(), freeAddress(), freeAddress()];
    for (const addr of gone) client.sendTo("spam", addr);
    // Each send but the first finds the refusal of the one before, and goes on.
    client.sendTo("spam", client.addr!);
    await loopUntil(map, () => client.datagrams.length === 1);
    await loopUntil(map, () => client.errors.length === gone.length);
    const errors = client.errors as DatagramError[];
    assertEquals(errors.map(({ addr }) => addr), gone);
    for (const error of errors) {
      assertMatch(
        error.message,
        /^Cannot send a datagram to 127.0.0.1:\d+: Connection refused/,
      );
    }
  },
);

testEpoll(
  "A socket of epollNetwork for UDP has its port free when close() has returned",
  async () => {
    await using map = epollMap();
    const before = openDescriptors().length;
    let { addr } = new Echo(map);
    for (let round = 0; round < 3; round++) {
      for (const member of map) member.close();
      assertEquals(openDescriptors().length, before);
      ({ addr } = new Echo(map, addr as Address));
    }
    assertThrows(
      () => openSocket(addr as Deno.NetAddr),
      Deno.errors.AddrInUse,
    );
    assertEquals(openDescriptors().length, before + 1);
  },
);

testEpoll(
  "DatagramDispatcher.setReuseAddr() shares an address over epollNetwork",
  async () => {
    await using map = epollMap();
    const share = (port: number) => {
      const dispatcher = new DatagramDispatcher(null, { map });
      dispatcher.createSocket();
      dispatcher.setReuseAddr();
      dispatcher.bind({ hostname: "127.0.0.1", port });
      return dispatcher;
    };
    const first = share(0);
    assertEquals(getOption(first.socket, "SO_REUSEADDR"), 1);
    assertEquals(share(first.addr!.port).addr, first.addr);
  },
);

testEpoll(
  "A datagram that leaves brings no event of its own over epollNetwork",
  async () => {
    const { epoll_wait } = libc();
    let events = 0;
    const network = networkWith({
      epoll_wait: (...args) => {
        const count = epoll_wait(...args);
        events += Math.max(count, 0);
        return count;
      },
    });
    await using map = new ScopedMap({ network });
    const sink = openSocket();
    const sender = new Echo(map);
    for (let i = 0; i < 50; i++) sender.sendTo("spam", sink.addr as Address);
    const target = new Uint8Array(8);
    let taken = 0;
    (async () => {
      for (; taken < 50; taken++) await sink.receive(target);
    })();
    await loopUntil(map, () => taken === 50);
    assertEquals(events, 0);
    sink.close();
  },
);

// Several datagrams of one event

/** Fills the socket of `receiver` before its loop looks at it. */
async function fill(receiver: DatagramDispatcher, count: number) {
  const sender = openSocket();
  for (let i = 0; i < count; i++) {
    await sender.send(bytes(`${i}`), receiver.addr as Deno.NetAddr);
  }
  sender.close();
}

/** Counts the events that bring its datagrams. */
class Counter extends Client {
  events = 0;
  get words(): string[] {
    return this.datagrams.map(({ data }) => text(data));
  }
  override handleReadEvent() {
    this.events++;
    return super.handleReadEvent();
  }
}

function numbers(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${i}`);
}

testEpoll(
  "DatagramDispatcher over epollNetwork takes many datagrams in one event, and no more than 16",
  async () => {
    await using map = epollMap();
    const receiver = new Counter(map);
    await fill(receiver, 100);
    const sizes: number[] = [];
    receiver.handleRead = () => {
      sizes[receiver.events] = (sizes[receiver.events] ?? 0) + 1;
      receiver.datagrams.push(receiver.recvFrom());
    };
    await loopUntil(map, () => receiver.datagrams.length === 100);
    assertEquals(receiver.words, numbers(100));
    assertEquals(Math.max(...sizes.filter(Boolean)), 16);
    assertLess(receiver.events, 20);
  },
);

testEpoll(
  "DatagramDispatcher over epollNetwork can take all that waits in one handleRead()",
  async () => {
    await using map = epollMap();
    const receiver = new Counter(map);
    await fill(receiver, 50);
    let reads = 0;
    receiver.handleRead = () => {
      reads++;
      try {
        for (;;) receiver.datagrams.push(receiver.recvFrom());
      } catch (error) {
        assertInstanceOf(error, Deno.errors.WouldBlock);
      }
    };
    await loopUntil(map, () => receiver.datagrams.length === 50);
    assertEquals([receiver.words, reads], [numbers(50), 1]);
  },
);

testEpoll(
  "DatagramDispatcher over epollNetwork waits for the promise of a handleRead() before the next",
  async () => {
    await using map = epollMap();
    const receiver = new Counter(map);
    await fill(receiver, 10);
    let running = 0;
    receiver.handleRead = async () => {
      assertEquals(++running, 1);
      receiver.datagrams.push(receiver.recvFrom());
      await Promise.resolve();
      running--;
    };
    await loopUntil(map, () => receiver.datagrams.length === 10);
    assertEquals([receiver.words, receiver.errors], [numbers(10), []]);
  },
);

testEpoll(
  "DatagramDispatcher over epollNetwork asks readable() before each datagram",
  async () => {
    await using map = epollMap();
    const receiver = new Counter(map);
    await fill(receiver, 10);
    let mayRead = 3;
    receiver.readable = () => mayRead > 0;
    receiver.handleRead = () => {
      mayRead--;
      receiver.datagrams.push(receiver.recvFrom());
    };
    const neighbour = new Echo(map);
    const client = new Client(map);
    for (let i = 1; i <= 5; i++) {
      client.sendTo("ham", neighbour.addr!);
      await loopUntil(map, () => client.datagrams.length === i);
    }
    assertEquals(receiver.words, numbers(3));
    mayRead = 7;
    await loopUntil(map, () => receiver.datagrams.length === 10);
    assertEquals(receiver.words, numbers(10));
  },
);

for (
  const [what, leave] of [
    ["close()", (it: DatagramDispatcher) => it.close()],
    ["delChannel()", (it: DatagramDispatcher) => it.delChannel()],
    ["an error", () => {
      throw new Error("spam");
    }],
  ] as const
) {
  testEpoll(
    `DatagramDispatcher over epollNetwork gets no datagram after ${what} in handleRead()`,
    async () => {
      await using map = epollMap();
      const receiver = new Counter(map);
      await fill(receiver, 10);
      receiver.handleRead = () => {
        receiver.datagrams.push(receiver.recvFrom());
        if (receiver.datagrams.length === 3) leave(receiver);
      };
      await loopToEnd(map);
      assertEquals(receiver.words, numbers(3));
      receiver.close();
    },
  );
}

testEpoll(
  "DatagramDispatcher over epollNetwork that moves to another map gets the rest there",
  async () => {
    await using map = epollMap();
    await using other = epollMap();
    const receiver = new Counter(map);
    await fill(receiver, 10);
    receiver.handleRead = () => {
      receiver.datagrams.push(receiver.recvFrom());
      if (receiver.datagrams.length === 3) receiver.addChannel(other);
    };
    await loopToEnd(map);
    assertEquals(receiver.words, numbers(3));
    await loopUntil(other, () => receiver.datagrams.length === 10);
    assertEquals(receiver.words, numbers(10));
  },
);

testEpoll(
  "DatagramDispatcher over epollNetwork that is flooded leaves others their turns",
  async () => {
    await using map = epollMap();
    const flooded = new Recorder(map);
    flooded.createSocket();
    flooded.bind(LOOPBACK);
    let floods = 0;
    flooded.handleRead = () => {
      floods++;
      const { data, addr } = flooded.recvFrom();
      // Two come for each one that goes, so that there is always another.
      for (let i = 0; i < 2; i++) flooded.sendTo(data, addr);
    };
    flooded.sendTo("flood", flooded.addr!);
    await loopUntil(map, () => floods > 200);
    const server = new Echo(map);
    const client = new Client(map);
    const before = floods;
    for (let i = 1; i <= 20; i++) {
      client.sendTo("spam", server.addr!);
      await loopUntil(map, () => client.datagrams.length === i);
    }
    // Each loopUntil() takes a few passes, and so does each way of a datagram.
    assertLessOrEqual(floods - before, 20 * 20 * 16);
    flooded.abort();
  },
);

// The socket by itself

testEpoll(
  "A socket of epollNetwork for UDP receives and sends by promises, without a loop",
  async () => {
    const [one, other] = [openSocket(), openSocket()];
    const target = new Uint8Array(3);
    const receiving = other.receive(target);
    assertEquals(await one.send(bytes("spam"), other.addr), 4);
    const [data, addr] = await receiving;
    assertEquals([text(data), addr], ["spa", one.addr]); // The rest is cut off.
    assertEquals(data.buffer, target.buffer);
    const { port } = one.addr as Deno.NetAddr;
    await other.send(bytes("e"), { ...LOOPBACK, transport: "udp", port });
    assertEquals(text((await one.receive(target))[0]), "e");
    const pending = one.receive(target);
    one.close();
    await assertRejects(() => pending, Deno.errors.Interrupted);
    await assertRejects(() => one.receive(target), Deno.errors.BadResource);
    await assertRejects(
      () => one.send(bytes("spam"), other.addr),
      Deno.errors.BadResource,
    );
    assertThrows(() => one.close(), Deno.errors.BadResource);
    other.close();
  },
);

testEpoll(
  "DatagramDispatcher takes over a socket of epollNetwork, and ends with it",
  async () => {
    await using map = epollMap();
    const socket = openSocket();
    const dispatcher = new Recorder(map, socket);
    dispatcher.sendTo("spam", socket.addr as Address);
    await loopUntil(map, () => dispatcher.reads === 1);
    socket.close(); // Another hand than the dispatcher's.
    await loopToEnd(map);
    assertEquals([dispatcher.errors.length, dispatcher.closes], [1, 1]);
    assertMatch(
      `${dispatcher.errors[0]}`,
      /Cannot receive any more: The socket is closed/,
    );
  },
);

testEpoll(
  "DatagramDispatcher over epollNetwork without a handleRead() of its own ends with its socket",
  async () => {
    await using map = epollMap();
    const socket = openSocket();
    let closes = 0;
    const dispatcher = new DatagramDispatcher(socket, { map });
    dispatcher.handleClose = () => void closes++;
    await fill(dispatcher, 3);
    const other = new Client(map);
    other.sendTo("spam", other.addr!);
    await loopUntil(map, () => other.datagrams.length === 1);
    other.close();
    socket.close();
    await loopToEnd(map);
    assertEquals(closes, 1);
  },
);

testEpoll(
  "fileno() and the options take the socket of a DatagramDispatcher",
  async () => {
    await using map = epollMap();
    const dispatcher = new Echo(map);
    const { socket } = dispatcher;
    const fd = fileno(socket);
    assert(Deno.readLinkSync(`/proc/self/fd/${fd}`).startsWith("socket:"));
    assertEquals(getOption(socket, "SO_TYPE"), C.SOCK_DGRAM);
    setOption(socket, "SO_RCVBUF", 50_000);
    assertEquals(getOption(socket, "SO_RCVBUF"), 100_000); // Linux doubles it.
    dispatcher.close();
    assertThrows(() => fileno(socket), TypeError, "got a closed one");
    const own = openSocket();
    assertEquals(getOption(own, "SO_BROADCAST"), 0);
    own.close();
  },
);

// Sockets of other programs

testEpoll(
  "datagramsFromFd() makes a UDP socket of a descriptor, and closes it",
  async () => {
    await using map = epollMap();
    const fd = foreignSocket();
    const server = new Recorder(map, epollNetwork.datagramsFromFd(fd));
    server.handleRead = () => {
      const { data, addr } = server.recvFrom();
      server.sendTo(data, addr);
    };
    const client = new Client(map);
    client.sendTo("spam", server.addr!);
    await loopUntil(map, () => client.datagrams.length === 1);
    assertEquals(client.datagrams[0]!.addr, server.addr as Deno.NetAddr);
    server.close();
    assertThrows(() => epollNetwork.datagramsFromFd(fd), TypeError, "none");
  },
);

testEpoll(
  "datagramsFromFd() of a connected socket goes on when its peer refuses",
  async () => {
    await using map = epollMap();
    const fd = foreignSocket();
    const gone = freeAddress();
    const address = new Uint8Array(16);
    address.set([C.AF_INET, 0, gone.port >> 8, gone.port & 255, 127, 0, 0, 1]);
    assertEquals(libc().connect(fd, address, address.length), 0);
    const client = new Recorder(map, epollNetwork.datagramsFromFd(fd));
    client.sendTo("spam", gone);
    await loopUntil(map, () => client.errors.length === 1);
    const [error] = client.errors as DatagramError[];
    assertInstanceOf(error!.cause, Deno.errors.ConnectionRefused);
    const peer = new Echo(map, gone);
    client.sendTo("spam", gone);
    await loopUntil(map, () => client.reads === 1);
    assertEquals(client.received, [`${peer.port}: spam`]);
  },
);

testEpoll(
  "fromFd() and datagramsFromFd() each name the other for its sockets",
  () => {
    const udp = foreignSocket();
    const tcp = libc().socket(C.AF_INET, C.SOCK_STREAM, 0);
    assertThrows(
      () => epollNetwork.fromFd(udp),
      TypeError,
      `fd must be an open stream socket, got ${udp}, which is a UDP socket: ` +
        "call datagramsFromFd()",
    );
    assertThrows(
      () => epollNetwork.datagramsFromFd(tcp),
      TypeError,
      `fd must be an open UDP socket, got ${tcp}, which is a stream socket: ` +
        "call fromFd()",
    );
    assertThrows(
      () => epollNetwork.datagramsFromFd(999_999),
      TypeError,
      "which is none",
    );
    assertThrows(() => epollNetwork.datagramsFromFd(-1), RangeError, "fd");
    for (const fd of [udp, tcp]) assertEquals(libc().close(fd), 0);
  },
);

/** What a service manager does: the socket is number 3, and the rest is said. */
const MANAGER = `
import os, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 0))
os.dup2(s.fileno(), 3)
os.set_inheritable(3, True)
os.environ["LISTEN_PID"] = str(os.getpid())
os.environ["LISTEN_FDS"] = "1"
os.execv(sys.argv[1], sys.argv[1:])
`;

Deno.test({
  name: `datagramsFromFd() takes the UDP socket of a service manager${
    HAS_PYTHON ? "" : " (skipped: no python3)"
  }`,
  ignore: !HAS_PYTHON,
  fn: async () => {
    await using map = epollMap();
    const program = "tools/test_programs/inherited_datagrams.ts";
    const deno = [Deno.execPath(), "run", "-A", "--no-check", program];
    await using server = new Child("python3", ["-c", MANAGER, ...deno]);
    const port = Number((await server.until("port")).split(" ")[1]);
    const client = new Client(map);
    client.sendTo("spam", { port });
    await loopUntil(map, () => client.datagrams.length === 1);
    assertEquals(text(client.datagrams[0]!.data), "spam");
    await server.endWell();
  },
});

const PYTHON_CLIENT = `
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(20)
for data in [b"spam", b"", bytes(range(256)) * 32, bytes(65507)]:
    s.sendto(data, ("127.0.0.1", int(sys.argv[1])))
    answer, addr = s.recvfrom(65536)
    assert answer == data and addr[1] == int(sys.argv[1])
print("done")
`;

Deno.test({
  name: `DatagramDispatcher over epollNetwork answers a Python socket${
    HAS_PYTHON ? "" : " (skipped: no python3)"
  }`,
  ignore: !HAS_PYTHON,
  fn: async () => {
    await using map = epollMap();
    const server = new Echo(map);
    const args = ["-c", PYTHON_CLIENT, `${server.port}`];
    const client = runCommand("python3", args).finally(() => server.close());
    await loopToEnd(map, 2 * PATIENCE);
    assertEquals(await client, { code: 0, out: "done\n", err: "" });
  },
});
