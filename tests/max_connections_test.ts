/** A connection gives its place back to `maxConnections` however it ends. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  AsyncChat,
  type Channel,
  Dispatcher,
  DispatcherWithSend,
  loop,
} from "../mod.ts";
import { onClose } from "../core/channel_end.ts";
import { FakeChannel, FakeNetwork, passes, quietMap } from "./fakes.ts";
import { channels, joined, Keeper, listening, scopedMap } from "./scenes.ts";
import {
  bytes,
  families,
  type Family,
  loopUntil,
  rawConnect,
  type TestMap,
  turns,
} from "./support.ts";
import { type Conn, TRANSPORTS } from "./transports.ts";

const TCP = families[0]!;

type Use = (conn: Conn, map: TestMap) => unknown;

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
    const options = { ...family.options, maxConnections: 1 };
    listening(this, options, family.address());
  }
  override async handleAccepted(conn: Channel): Promise<void> {
    this.served++;
    try {
      await this.#use(conn as Conn, this.map as TestMap);
    } catch {
      // Some uses are cut off on purpose.
    }
  }
}

for (const transport of TRANSPORTS) {
  for (const [name, use] of USES) {
    Deno.test({
      name:
        `maxConnections counts no connection over ${transport.name} that ended by ${name}`,
      ignore: transport.ignore,
      fn: async () => {
        await using map = scopedMap();
        const server = new Narrow(map, transport, use);
        // Each client is gone before the next comes.
        for (let i = 1; i <= 3; i++) {
          let ended = false;
          const client = (async () => {
            using conn = await transport.call(server.addr);
            try {
              await conn.write(bytes("x"));
              await conn.closeWrite();
              await conn.read(new Uint8Array(9));
            } catch {
              // The server may have closed it already.
            }
            ended = true;
          })();
          await loopUntil(map, () => ended && server.served === i);
          await client;
        }
      },
    });
  }
}

Deno.test("maxConnections leaves the streams of a connection whole", async () => {
  await using map = scopedMap();
  const server = new Narrow(map, TCP, ({ readable, writable }) => {
    return readable.pipeTo(writable);
  });
  const sent = Array.from(
    { length: 16 },
    () => crypto.getRandomValues(new Uint8Array(65_536)),
  );
  const conn = await rawConnect(server.addr);
  const writer = conn.writable.getWriter();
  const writing = Promise.all(sent.map((part) => writer.write(part)))
    .then(() => conn.closeWrite());
  let received: Uint8Array | null = null;
  new Response(conn.readable).bytes().then((all) => received = all);
  await loopUntil(map, () => received !== null);
  await writing;
  assertEquals(received!, await joined(sent));
});

Deno.test("maxConnections lets a program read a connection's stream into its own buffer", async () => {
  await using map = scopedMap();
  let read = "";
  const server = new Narrow(map, TCP, async (conn) => {
    assert(conn.readable === conn.readable && conn.writable === conn.writable);
    const reader = conn.readable.getReader({ mode: "byob" });
    const { value } = await reader.read(new Uint8Array(2));
    read = new TextDecoder().decode(value);
    await reader.cancel();
  });
  using conn = await rawConnect(server.addr);
  await conn.write(bytes("spam"));
  await loopUntil(map, () => read !== "");
  assertEquals(read, "sp");
});

// On fakes

for (const isRefused of [false, true]) {
  const how = isRefused ? "is refused" : "stands";
  Deno.test(`maxConnections counts a connection until the end of its TLS, which ${how}`, async () => {
    const handshake = () =>
      isRefused ? Promise.reject(new Error("bad")) : Promise.resolve();
    const secure = Object.assign(new FakeChannel(), { handshake });
    const network = Object.assign(new FakeNetwork(), {
      startTls: () => Promise.resolve(secure),
    });
    const map = quietMap({ network });
    const server = listening(new Keeper(map), { maxConnections: 1 });
    network.acceptor.push(...channels(3));
    await passes(map, 4);
    const [plain] = server.accepted as [FakeChannel];
    const client = new DispatcherWithSend(plain, { map });
    client.handleRead = () => {
      client.recv();
      client.startTls({ hostname: "localhost" }).catch(() => {});
    };
    plain.push("go");
    await passes(map, 4);
    await turns();
    assertEquals(server.accepted.length, isRefused ? 2 : 1);
    client.close();
    await passes(map, 4);
    assertEquals(server.accepted.length, 2);
    if (!plain.closed) plain.close();
    await passes(map, 4);
    assertEquals(server.accepted.length, 2, "it is counted once");
    server.close();
    await loop({ map });
  });
}

Deno.test("onClose() tells everybody who has asked, once", () => {
  const channel = new FakeChannel();
  const told: number[] = [];
  onClose(channel, () => told.push(1));
  onClose(channel, () => told.push(2));
  assert(!("readable" in channel) && !(Symbol.dispose in channel));
  channel.close();
  assertThrows(() => channel.close(), Deno.errors.BadResource);
  assertEquals(told, [1, 2]);
});
