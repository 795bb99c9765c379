/** Options of sockets of the second engine. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { type Channel, Dispatcher } from "../mod.ts";
import {
  epollNetwork,
  fileno,
  getLinger,
  getOption,
  peerCredentials,
  setLinger,
  setOption,
  type SocketOption,
} from "../epoll/mod.ts";
import { OPTIONS } from "../epoll/option_table.ts";
import { testEpoll } from "./epoll_faults.ts";
import { Recorder } from "./fakes.ts";
import { connecting, Keeper, listening } from "./scenes.ts";
import {
  connectedPair,
  families,
  isMissing,
  loopUntil,
  ScopedMap,
} from "./support.ts";

const never = new AbortController().signal;

async function connectedOver(at: Deno.Addr) {
  const listener = epollNetwork.listen(at, { backlog: 1, reusePort: false });
  const [client, server] = await Promise.all([
    epollNetwork.connect(listener.addr, { signal: never }),
    listener.accept(),
  ]);
  return { listener, client, server };
}

const TCP = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;

testEpoll(
  "setOption() sets what getOption() reads, by the names of C",
  async () => {
    const { listener, client, server } = await connectedOver(TCP);
    const values: Partial<Record<SocketOption, number>> = {
      IP_TOS: 16,
      SO_KEEPALIVE: 1,
      SO_PRIORITY: 3,
      TCP_KEEPCNT: 4,
      TCP_KEEPIDLE: 15,
      TCP_KEEPINTVL: 5,
      TCP_NODELAY: 1,
      TCP_QUICKACK: 1,
      TCP_USER_TIMEOUT: 5_000,
    };
    for (const [name, value] of Object.entries(values)) {
      setOption(client, name as SocketOption, value);
      assertEquals(getOption(client, name as SocketOption), value, name);
    }
    setOption(client, "SO_RCVBUF", 50_000);
    assertEquals(getOption(client, "SO_RCVBUF"), 100_000); // Linux doubles it.
    assertEquals(getOption(listener, "SO_ACCEPTCONN"), 1);
    assertEquals(getOption(client, "SO_TYPE"), 1);
    for (const socket of [client, server, listener]) socket.close();
  },
);

testEpoll(
  "getOption() knows each option of its table, over TCP or IPv6",
  async () => {
    const { listener, client, server } = await connectedOver(TCP);
    const unknown: string[] = [];
    for (const name of Object.keys(OPTIONS) as SocketOption[]) {
      try {
        getOption(client, name);
      } catch {
        unknown.push(name);
      }
    }
    // They are of IPv6, and this is a socket of IPv4.
    assert(unknown.every((name) => name.startsWith("IPV6_")), unknown.join());
    for (const socket of [client, server, listener]) socket.close();
  },
);

testEpoll("setOption() and getOption() know the options of IPv6", async () => {
  if (isMissing(families[1]!)) return;
  const { listener, client, server } = await connectedOver({
    ...TCP,
    hostname: "::1",
  });
  for (const [name, value] of [["IPV6_TCLASS", 16], ["IPV6_UNICAST_HOPS", 7]]) {
    setOption(client, name as SocketOption, value as number);
    assertEquals(getOption(client, name as SocketOption), value);
  }
  const dualStack = [0, 1];
  assert(dualStack.includes(getOption(client, "IPV6_V6ONLY")));
  for (const socket of [client, server, listener]) socket.close();
});

for (const noDelay of [true, false]) {
  for (const keepAlive of [true, false]) {
    testEpoll(
      `noDelay ${noDelay} and keepAlive ${keepAlive} hold for clients and accepted connections`,
      async () => {
        await using map = new ScopedMap({ network: epollNetwork });
        const options = { noDelay, keepAlive };
        const server = listening(new Keeper(map), options);
        const client = connecting(new Recorder(map), server.addr, options);
        await loopUntil(
          map,
          () => client.connected && server.accepted.length === 1,
        );
        for (const socket of [client.socket, server.accepted[0]!]) {
          assertEquals(getOption(socket, "TCP_NODELAY") !== 0, noDelay);
          assertEquals(getOption(socket, "SO_KEEPALIVE") !== 0, keepAlive);
        }
        server.accepted[0]!.close();
      },
    );
  }
}

testEpoll("setLinger() of 0 s makes close() reset the connection", async () => {
  const { listener, client, server } = await connectedOver(TCP);
  assertEquals(getLinger(client), null);
  setLinger(client, 5);
  assertEquals(getLinger(client), 5);
  setLinger(client, null);
  assertEquals(getLinger(client), null);
  setLinger(client, 0);
  client.close();
  const error = await server.read(new Uint8Array(1))
    .then(() => null, (error) => error);
  assert(error instanceof Deno.errors.ConnectionReset);
  server.close();
  listener.close();
});

testEpoll(
  "peerCredentials() names the process at the other end of a Unix socket",
  async () => {
    const path = `\0asyncore-test-${crypto.randomUUID()}`;
    const at = { transport: "unix", path } as const;
    const { listener, client, server } = await connectedOver(at);
    const expected = { pid: Deno.pid, uid: Deno.uid()!, gid: Deno.gid()! };
    assertEquals(peerCredentials(client), expected);
    assertEquals(peerCredentials(server), expected);
    for (const socket of [client, server, listener]) socket.close();
  },
);

testEpoll("peerCredentials() gives no user over TCP", async () => {
  const { listener, client, server } = await connectedOver(TCP);
  for (const socket of [client, server, listener]) {
    assertThrows(
      () => peerCredentials(socket),
      Deno.errors.NotSupported,
      "only Unix sockets",
    );
    socket.close();
  }
});

testEpoll("setOption() of a listener counts for what it accepts", async () => {
  const listener = epollNetwork.listen(TCP, { backlog: 1, reusePort: false });
  setOption(listener, "TCP_KEEPIDLE", 20);
  const [client, server] = await Promise.all([
    epollNetwork.connect(listener.addr, { signal: never }),
    listener.accept(),
  ]);
  assertEquals(getOption(server, "TCP_KEEPIDLE"), 20);
  for (const socket of [client, server, listener]) socket.close();
});

testEpoll("an option that the system refuses is named", async () => {
  const { listener, client, server } = await connectedOver(TCP);
  const refused: [() => unknown, string, string][] = [
    [
      () => setOption(client, "TCP_KEEPIDLE", -1),
      "Cannot set TCP_KEEPIDLE to -1: Invalid argument",
      "EINVAL",
    ],
    [
      () => getOption(client, "IPV6_V6ONLY"),
      "Cannot get IPV6_V6ONLY: Operation not supported",
      "EOPNOTSUPP",
    ],
  ];
  for (const [call, message, code] of refused) {
    const error = assertThrows(call, Error, message);
    assertEquals((error as Error & { code: string }).code, code);
  }
  for (const socket of [client, server, listener]) socket.close();
});

testEpoll(
  "fileno() and the options take a dispatcher's socket, and no other object",
  async () => {
    await using map = new ScopedMap({ network: epollNetwork });
    const server = new Dispatcher(null, { map });
    server.createSocket();
    server.bind({ hostname: "127.0.0.1", port: 0 });
    server.listen();
    const { socket } = server;
    const fd = fileno(socket);
    assert(Deno.readLinkSync(`/proc/self/fd/${fd}`).startsWith("socket:"));
    setOption(socket, "SO_KEEPALIVE", 1);
    assertThrows(
      () => setOption(socket, "SO_NONSENSE" as SocketOption, 1),
      TypeError,
      'such as "SO_RCVBUF", got "SO_NONSENSE"',
    );
    assertThrows(
      () => setOption(socket, "TCP_KEEPIDEL" as SocketOption, 1),
      TypeError,
      'did you mean "TCP_KEEPIDLE"?',
    );
    assertThrows(
      () => fileno(server as unknown as Channel),
      TypeError,
      "give its socket",
    );
    const instead = {
      SO_ERROR: "closeReason",
      SO_LINGER: "setLinger()",
      SO_PEERCRED: "peerCredentials()",
    };
    for (const [name, call] of Object.entries(instead)) {
      const option = name as SocketOption;
      assertThrows(() => setOption(socket, option, 1), TypeError, call);
      assertThrows(() => getOption(socket, option), TypeError, call);
    }
    for (const value of [2 ** 31, 0.5, NaN]) {
      assertThrows(() => setOption(socket, "SO_KEEPALIVE", value), RangeError);
    }
    server.close();
    assertThrows(() => fileno(socket), TypeError, "got a closed one");
    assertThrows(() => fileno(server.socket), TypeError, "after bind()");
    const [conn, peer] = await connectedPair();
    assertThrows(
      () => getOption(conn, "SO_KEEPALIVE"),
      TypeError,
      "set the network of the SocketMap",
    );
    conn.close();
    peer.close();
  },
);
