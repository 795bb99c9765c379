/** A call or a constructor that throws leaves nothing behind. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  type Address,
  AsyncChat,
  type AsyncChatOptions,
  DatagramDispatcher,
  type DatagramSocket,
  Dispatcher,
  DispatcherWithSend,
  FileDispatcher,
  loop,
} from "../mod.ts";
import { FakeAcceptor, FakeChannel, quietMap } from "./fakes.ts";
import { connecting, setUp } from "./scenes.ts";
import type { TestMap } from "./support.ts";

const LOCAL = "127.0.0.1";

/** Opens its socket in its constructor, as most servers do. */
class Server extends Dispatcher {
  constructor(map: TestMap, port: number, backlog?: number) {
    super(null, { map });
    this.createSocket();
    this.bind({ hostname: LOCAL, port });
    this.listen(backlog);
  }
}

class Client extends Dispatcher {
  constructor(map: TestMap, address: Address) {
    super(null, { map });
    connecting(this, address);
  }
}

class Receiver extends DatagramDispatcher {
  constructor(map: TestMap, port: number) {
    super(null, { map });
    this.createSocket();
    this.bind({ hostname: LOCAL, port });
  }
}

/** A dispatcher of a fake network that has a socket, and is not bound. */
function unbound() {
  const { map } = setUp();
  const server = new Dispatcher(null, { map });
  server.createSocket();
  return { map, server };
}

const FAILURES: [string, (map: TestMap, taken: number) => unknown][] = [
  ["bind() of a port in use", (map, taken) => new Server(map, taken)],
  ["bind() of a wrong port", (map) => new Server(map, -1)],
  ["listen() with a wrong backlog", (map) => new Server(map, 0, -1)],
  ["connect() to a wrong port", (map) => new Client(map, { port: 0 })],
  ["bind() of a wrong UDP port", (map) => new Receiver(map, -1)],
];

for (const [name, construct] of FAILURES) {
  Deno.test(`A constructor that fails in ${name} keeps no loop going`, async () => {
    const map = quietMap();
    using listener = Deno.listen({ hostname: LOCAL, port: 0 });
    assertThrows(() => construct(map, listener.addr.port));
    assertEquals(map.size, 0);
    await loop({ map });
    map.check();
  });
}

Deno.test("listen() that throws gives the address back", () => {
  const map = quietMap();
  const server = new Dispatcher(null, { map });
  server.createSocket();
  server.bind({ hostname: LOCAL, port: 0 });
  const { port } = server.addr as Deno.NetAddr;
  assertThrows(() => server.listen(-1), RangeError);
  assertEquals(server.addr, null);
  Deno.listen({ hostname: LOCAL, port }).close();
});

Deno.test("bind() that succeeds after a failed one is back in the map", () => {
  const { map, server } = unbound();
  assertThrows(() => server.bind({ port: -1 }));
  assertEquals([...map], []);
  server.bind({ port: 7 });
  assertEquals([...map], [server]);
  server.listen();
  assert(server.accepting);
  server.close();
});

Deno.test("bind() leaves a dispatcher out of the map that left it by itself", () => {
  const { map, server } = unbound();
  server.delChannel();
  assertThrows(() => server.bind({ port: -1 }));
  server.bind({ port: 7 });
  assertEquals([...map], []);
  server.abort();
});

Deno.test("addChannel() keeps a loop going while a timer tries to bind again", async () => {
  const map = quietMap();
  const taken = Deno.listen({ hostname: LOCAL, port: 0 });
  const server = new Dispatcher(null, { map });
  server.createSocket();
  const open = () => {
    try {
      server.bind(taken.addr as Deno.NetAddr);
      server.close();
    } catch {
      server.addChannel();
      server.callLater(1, open);
    }
  };
  open();
  map.callLater(20, () => taken.close());
  await loop({ map });
  assertEquals(server.addr, taken.addr);
});

Deno.test("bind() and connect() that are refused leave what is open as it was", () => {
  const { map, server } = unbound();
  server.bind({ port: 7 });
  assertThrows(() => server.bind({ port: 8 }), Error, "is bound already");
  assertThrows(() => server.connect({ port: 8 }), Error, "is bound already");
  assertEquals([...map], [server]);
  server.listen();
  assertThrows(() => server.listen(), Error, "is listening already");
  assert(server.accepting);
  server.close();
});

// Constructors

type Constructor = new (
  channel: never,
  options: AsyncChatOptions,
) => Dispatcher;

const COMMON: AsyncChatOptions[] = [
  { linger: -1 },
  { allowHalfOpen: "yes" as unknown as boolean },
  { idleTimeout: 0 },
  { lifetime: NaN },
];
const CLASSES: [Constructor, AsyncChatOptions[]][] = [
  [Dispatcher, COMMON],
  [FileDispatcher, COMMON],
  [DispatcherWithSend, [...COMMON, { highWaterMark: 0.5 }]],
  [AsyncChat, [...COMMON, { highWaterMark: 0 }, { maxLength: 0 }]],
];

for (const [Class, wrong] of CLASSES) {
  for (const options of wrong) {
    const shown = Deno.inspect(options);
    Deno.test(`new ${Class.name}() leaves nothing in the map after ${shown}`, async () => {
      const map = quietMap();
      const channel = new FakeChannel();
      const acceptor = new FakeAcceptor();
      for (const given of [channel, acceptor]) {
        assertThrows(() => new Class(given as never, { ...options, map }));
        assertEquals(map.size, 0);
      }
      await loop({ map });
      assertEquals([channel.reads, acceptor.accepts], [0, 0]);
      assertEquals([channel.closed, acceptor.closed], [false, false]);
    });
  }
}

Deno.test("new DatagramDispatcher() leaves nothing in the map when it throws", () => {
  const map = quietMap();
  const socket: DatagramSocket = {
    receive: () => new Promise(() => {}),
    send: () => Promise.resolve(0),
    close: () => {},
    get addr(): Deno.Addr {
      throw new Error("no address");
    },
  };
  assertThrows(() => new DatagramDispatcher(socket, { map }), Error, "no addr");
  for (const options of COMMON) {
    assertThrows(() => new DatagramDispatcher(socket, { ...options, map }));
  }
  assertEquals(map.size, 0);
});

Deno.test("setSocket() of a channel that cannot tell its address leaves nothing", () => {
  const map = quietMap();
  const dispatcher = new Dispatcher(null, { map });
  const channel = Object.defineProperty(new FakeChannel(), "remoteAddr", {
    get: () => {
      throw new Error("no address");
    },
  });
  assertThrows(() => dispatcher.setSocket(channel), Error, "no address");
  assertEquals([map.size, dispatcher.connected], [0, false]);
  dispatcher.setSocket(new FakeChannel());
  dispatcher.close();
});
