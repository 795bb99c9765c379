/** A connection gives its place back to `maxConnections` however it ends. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  type Acceptor,
  AsyncChat,
  type Channel,
  Dispatcher,
  DispatcherWithSend,
  loop,
} from "../mod.ts";
import { certificates, testTls } from "./certificates.ts";
import {
  FakeAcceptor,
  FakeChannel,
  LogLines,
  passes,
  quietMap,
} from "./fakes.ts";
import {
  bytes,
  type Family,
  loopUntil,
  rawConnect,
  ScopedMap,
  testFamilies,
  type TestMap,
  turns,
} from "./support.ts";
import { onClose } from "../core/watch_close.ts";

/** A map that keeps its log to itself. */
function openMap(): ScopedMap {
  return new ScopedMap({ logger: new LogLines() });
}

type Use = (conn: Deno.Conn, map: TestMap) => unknown;

/** Ways to use and to end a connection whose client has sent a byte. */
const USES: [name: string, use: Use][] = [
  ["close()", (conn) => conn.close()],
  ["Symbol.dispose", (conn) => conn[Symbol.dispose]()],
  ["readable, read to its end", async ({ readable }) => {
    await new Response(readable).bytes();
  }],
  ["readable.cancel()", ({ readable }) => readable.cancel()],
  ["writable.close()", ({ writable }) => writable.close()],
  ["writable.abort()", ({ writable }) => writable.abort()],
  ["pipeTo() from one stream to the other", ({ readable, writable }) => {
    return readable.pipeTo(writable);
  }],
  ["a pipeTo() that is aborted", ({ readable, writable }) => {
    return readable.pipeTo(writable, { signal: AbortSignal.abort() });
  }],
  ["a loop over its stream that is left", async ({ readable }) => {
    for await (const _ of readable) break;
  }],
  ["a dispatcher's close()", (conn, map) => {
    new Dispatcher(conn, { map }).close();
  }],
  ["a dispatcher's abort()", (conn, map) => {
    new DispatcherWithSend(conn, { map }).abort();
  }],
  ["an AsyncChat", (conn, map) => new AsyncChat(conn, { map }).closeWhenDone()],
];

/** A listener with room for one, whose connections are used in some way. */
class Narrow extends Dispatcher {
  served = 0;
  #use: Use;

  constructor(map: TestMap, family: Family, use: Use) {
    super(null, { map });
    this.#use = use;
    this.createSocket({ ...family.options, maxConnections: 1 });
    this.bind(family.address());
    this.listen();
  }
  override async handleAccepted(conn: Channel): Promise<void> {
    this.served++;
    try {
      await this.#use(conn as Deno.Conn, this.map as TestMap);
    } catch {
      // Some uses are cut off on purpose.
    }
  }
}

/** Has three clients served, one after the other, each gone before the next. */
async function serveThree(
  family: Family,
  use: Use,
  connect: (addr: Deno.Addr | null) => Promise<Deno.Conn>,
): Promise<void> {
  await using map = openMap();
  const server = new Narrow(map, family, use);
  for (let i = 1; i <= 3; i++) {
    let ended = false;
    const client = (async () => {
      using conn = await connect(server.addr);
      await conn.write(bytes("x"));
      await conn.closeWrite();
      await conn.read(new Uint8Array(9)).catch(() => {});
      ended = true;
    })();
    await loopUntil(map, () => ended && server.served === i, 20_000);
    await client;
  }
}

for (const [name, use] of USES) {
  testFamilies(
    `maxConnections counts no connection that ended by ${name}`,
    (family) => serveThree(family, use, rawConnect),
  );

  testTls(
    `maxConnections counts no TLS connection that ended by ${name}`,
    () => {
      const { ca, good } = certificates();
      const family: Family = {
        name: "TLS",
        options: { transport: "tls", tls: good },
        address: () => ({ hostname: "127.0.0.1", port: 0 }),
      };
      return serveThree(family, use, async (addr) => {
        const { port } = addr as Deno.NetAddr;
        const options = { hostname: "localhost", port, caCerts: [ca] };
        const conn = await Deno.connectTls(options);
        await conn.handshake();
        return conn;
      });
    },
  );
}

Deno.test("maxConnections leaves the streams of a connection whole", async () => {
  await using map = openMap();
  const family: Family = {
    name: "TCP",
    options: {},
    address: () => ({ hostname: "127.0.0.1", port: 0 }),
  };
  const server = new Narrow(map, family, ({ readable, writable }) => {
    return readable.pipeTo(writable);
  });
  const sent = crypto.getRandomValues(new Uint8Array(65_536));
  let received: Uint8Array | null = null;
  const client = (async () => {
    const conn = await rawConnect(server.addr);
    const echo = new Response(conn.readable).bytes();
    const writing = (async () => {
      const { writable } = conn;
      const writer = writable.getWriter();
      for (let i = 0; i < 16; i++) await writer.write(sent);
      await conn.closeWrite();
    })();
    received = await echo;
    await writing;
  })();
  await loopUntil(map, () => received !== null, 20_000);
  await client;
  assertEquals(received!.length, 16 * sent.length);
  for (let i = 0; i < 16; i++) {
    const part = received!.subarray(i * sent.length, (i + 1) * sent.length);
    assertEquals(part, sent);
  }
});

Deno.test("maxConnections lets a program read a connection's stream into its own buffer", async () => {
  await using map = openMap();
  let read = "";
  const family: Family = {
    name: "TCP",
    options: {},
    address: () => ({ hostname: "127.0.0.1", port: 0 }),
  };
  const server = new Narrow(map, family, async (conn) => {
    assert(conn.readable === conn.readable && conn.writable === conn.writable);
    const reader = conn.readable.getReader({ mode: "byob" });
    const { value } = await reader.read(new Uint8Array(2));
    read = new TextDecoder().decode(value);
    await reader.cancel();
  });
  const conn = await rawConnect(server.addr);
  await conn.write(bytes("spam"));
  await loopUntil(map, () => read !== "", 20_000);
  assertEquals(read, "sp");
  conn.close();
});

// On fakes

/** A listener with room for one over what the test gives it. */
function narrow(startTls?: () => Promise<Channel>) {
  const acceptor = new FakeAcceptor();
  const map = quietMap({
    network: {
      connect: () => Promise.reject(new Error("not expected")),
      listen: (): Acceptor => acceptor,
      ...(startTls && { startTls }),
    },
  });
  const clients: Channel[] = [];
  class Server extends Dispatcher {
    override handleAccepted(conn: Channel): void {
      clients.push(conn);
    }
  }
  const server = new Server(null, { map });
  server.createSocket({ maxConnections: 1 });
  server.bind({ port: 7 });
  server.listen();
  return { map, acceptor, clients, server };
}

for (const isRefused of [false, true]) {
  const how = isRefused ? "is refused" : "stands";
  Deno.test(`maxConnections counts a connection until the end of its TLS, which ${how}`, async () => {
    const secure = Object.assign(new FakeChannel(), {
      handshake: () =>
        isRefused ? Promise.reject(new Error("bad")) : Promise.resolve(),
    });
    const { map, acceptor, clients, server } = narrow(() =>
      Promise.resolve(secure)
    );
    class Client extends DispatcherWithSend {
      override handleRead(): void {
        this.recv();
        this.startTls({ hostname: "localhost" }).catch(() => {});
      }
    }
    acceptor.push(new FakeChannel(), new FakeChannel(), new FakeChannel());
    await passes(map, 4);
    const plain = clients[0] as FakeChannel;
    const client = new Client(plain, { map });
    plain.push("go");
    await passes(map, 4);
    await turns();
    assertEquals(clients.length, isRefused ? 2 : 1);
    client.close();
    await passes(map, 4);
    assertEquals(clients.length, 2);
    if (!plain.closed) plain.close();
    await passes(map, 4);
    assertEquals(clients.length, 2, "it is counted once");
    server.close();
    await loop({ map });
  });
}

Deno.test("onClose() tells everybody who has asked, once", () => {
  const channel = new FakeChannel();
  const told: number[] = [];
  onClose(channel, () => told.push(1));
  onClose(channel, () => told.push(2));
  assertEquals(["readable" in channel, Symbol.dispose in channel], [
    false,
    false,
  ]);
  channel.close();
  assertThrows(() => channel.close(), Deno.errors.BadResource);
  assertEquals(told, [1, 2]);
});
