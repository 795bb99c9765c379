/** `noDelay` and `keepAlive`: what the system is told of which connection. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { Dispatcher, type Network, type SocketOptions } from "../mod.ts";
import { denoNetwork } from "../net/deno_network.ts";
import { certificates } from "./certificates.ts";
import {
  FakeAcceptor,
  FakeChannel,
  LogLines,
  loopToEnd,
  quietMap,
  Recorder,
} from "./fakes.ts";
import { connecting, Keeper, listening, scopedMap } from "./scenes.ts";
import {
  connectedPair,
  families,
  isMissing,
  loopUntil,
  rawConnect,
  ScopedMap,
} from "./support.ts";

const { ca, good } = certificates();

/** Records what Deno's connections are told, and by `fails` refuses it. */
class Settings implements Disposable {
  readonly #proto: Deno.TcpConn;
  readonly #original: Pick<Deno.TcpConn, "setNoDelay" | "setKeepAlive">;
  /** By the port of the connection's own side. */
  readonly told = new Map<number, string[]>();

  constructor(conn: Deno.Conn, fails = false) {
    const proto = this.#proto = Object.getPrototypeOf(conn);
    const { setNoDelay, setKeepAlive } = proto;
    this.#original = { setNoDelay, setKeepAlive };
    const note = (conn: Deno.TcpConn, what: string) => {
      const { port } = conn.localAddr;
      this.told.set(port, [...this.told.get(port) ?? [], what]);
      if (fails) throw new Deno.errors.BadResource("The peer has reset it");
    };
    proto.setNoDelay = function (this: Deno.TcpConn, on: boolean) {
      note(this, `noDelay ${on}`);
      setNoDelay.call(this, on);
    };
    proto.setKeepAlive = function (this: Deno.TcpConn, on: boolean) {
      note(this, `keepAlive ${on}`);
      setKeepAlive.call(this, on);
    };
  }

  of(addr: Deno.Addr | null): string[] {
    return this.told.get((addr as Deno.NetAddr).port) ?? [];
  }

  [Symbol.dispose](): void {
    Object.assign(this.#proto, this.#original);
  }
}

/** A map over Deno's own connections, whatever the default is. */
function denoMap(): ScopedMap {
  return new ScopedMap({ logger: new LogLines(), network: denoNetwork });
}

/** Watches the settings of all connections from now on. */
async function watchSettings(fails = false): Promise<Settings> {
  const pair = await connectedPair();
  for (const conn of pair) conn.close();
  return new Settings(pair[0], fails);
}

const CASES: [SocketOptions, string[]][] = [
  [{}, ["noDelay true"]],
  [{ noDelay: undefined, keepAlive: undefined }, ["noDelay true"]],
  [{ noDelay: true, keepAlive: false }, ["noDelay true"]],
  [{ noDelay: false }, []],
  [{ noDelay: false, keepAlive: true }, ["keepAlive true"]],
  [{ keepAlive: true }, ["noDelay true", "keepAlive true"]],
];

for (const [options, told] of CASES) {
  for (const family of families.filter(({ name }) => name !== "Unix")) {
    Deno.test({
      name: `A client and a listener with ${
        Deno.inspect(options)
      } tell the system ${
        told.join(" and ") || "nothing"
      } once for each connection (${family.name})`,
      ignore: isMissing(family),
      async fn() {
        await using map = denoMap();
        using settings = await watchSettings();
        const server = listening(new Keeper(map), options, family.address());
        const client = connecting(new Recorder(map), server.addr, options);
        await loopUntil(
          map,
          () => client.connected && server.accepted.length === 1,
        );
        assertEquals(settings.of(client.localAddr), told);
        assertEquals(settings.of(server.addr), told);
        server.accepted[0]!.close();
      },
    });
  }
}

Deno.test("A TLS client tells the system its settings before the handshake", async () => {
  await using map = scopedMap();
  using settings = await watchSettings();
  using listener = Deno.listenTls({ hostname: "127.0.0.1", port: 0, ...good });
  const accepting = listener.accept();
  const client = connecting(new Recorder(map), listener.addr, {
    transport: "tls",
    tls: { caCerts: [ca] },
    keepAlive: true,
  });
  await loopUntil(map, () => settings.told.size === 1);
  assertEquals(client.trace, []);
  assertEquals([...settings.told.values()], [[
    "noDelay true",
    "keepAlive true",
  ]]);
  using conn = await accepting;
  await Promise.all([
    conn.handshake(),
    loopUntil(map, () => client.connected),
  ]);
  assertEquals(settings.told.size, 1);
});

Deno.test("A connection whose settings the system refuses goes on", async () => {
  await using map = denoMap();
  using settings = await watchSettings(true);
  const server = listening(new Keeper(map), { keepAlive: true });
  const client = connecting(new Recorder(map), server.addr);
  await loopUntil(map, () => client.connected && server.accepted.length === 1);
  assertEquals(settings.of(client.localAddr), ["noDelay true"]);
  assertEquals(client.errors, []);
  server.accepted[0]!.close();
});

Deno.test("A connection that a program brings keeps its settings", async () => {
  await using map = scopedMap();
  using settings = await watchSettings();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [ours, theirs] = await Promise.all([
    rawConnect(listener.addr),
    listener.accept(),
  ]);
  using _theirs = theirs;
  new Dispatcher(ours, { map });
  assertEquals(settings.told.size, 0);
});

Deno.test("A network is told noDelay and keepAlive", async () => {
  const told: unknown[] = [];
  const network: Network = {
    connect: (_address, { noDelay, keepAlive }) => {
      told.push({ noDelay, keepAlive });
      return Promise.resolve(new FakeChannel());
    },
    listen: (_address, { noDelay, keepAlive }) => {
      told.push({ noDelay, keepAlive });
      return new FakeAcceptor();
    },
  };
  const map = quietMap({ network });
  const client = connecting(new Recorder(map), { port: 7 }, { noDelay: false });
  const server = listening(new Recorder(map), { keepAlive: true });
  await loopUntil(map, () => client.connected);
  assertEquals(told, [
    { noDelay: false, keepAlive: false },
    { noDelay: true, keepAlive: true },
  ]);
  for (const dispatcher of [client, server]) dispatcher.abort();
  await loopToEnd(map);
});

for (const transport of ["unix", "vsock"] as const) {
  Deno.test(`createSocket() refuses noDelay and keepAlive for transport "${transport}"`, () => {
    const dispatcher = new Dispatcher(null, { map: quietMap() });
    for (
      const option of [
        { noDelay: true },
        { noDelay: false },
        { keepAlive: true },
      ]
    ) {
      assertThrows(
        () => dispatcher.createSocket({ transport, ...option }),
        TypeError,
        `${Object.keys(option)} has no effect on transport "${transport}"`,
      );
    }
    dispatcher.createSocket({ transport, noDelay: undefined });
    dispatcher.close();
  });
}

Deno.test("A TLS listener, and a TLS client with a certificate, refuse the settings that Deno cannot make", () => {
  const dispatcher = new Dispatcher(null, { map: quietMap() });
  for (const option of [{ noDelay: true }, { keepAlive: true }]) {
    const refused = `${
      Object.keys(option)
    } cannot be set on a .*: leave it out`;
    for (const method of ["bind", "connect"] as const) {
      dispatcher.createSocket({ transport: "tls", tls: good, ...option });
      const { message } = assertThrows(
        () => dispatcher[method]({ port: 7 }),
        TypeError,
      );
      assert(new RegExp(refused).test(message), message);
      dispatcher.close();
    }
  }
  const off = { noDelay: false, keepAlive: false };
  dispatcher.createSocket({ transport: "tls", tls: good, ...off });
  dispatcher.bind({ hostname: "127.0.0.1", port: 0 });
  dispatcher.abort();
});
