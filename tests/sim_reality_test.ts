/**
 * The same scenes on the system's network and in a simulation. Each is a script
 * over loopback that writes down what happens: both must write the same.
 */

import { assertEquals, assertThrows } from "@std/assert";
import {
  type Acceptor,
  type Channel,
  type DatagramSocket,
  Dispatcher,
  type Network,
  SocketMap,
} from "../mod.ts";
import { epollNetwork } from "../epoll/mod.ts";
import { denoNetwork } from "../net/deno_network.ts";
import { SimNetwork } from "../testing/mod.ts";
import { during } from "./sim_programs.ts";
import { bytes, text } from "./support.ts";

const LOCAL = "127.0.0.1";
const { signal } = new AbortController();
/** Other systems have other rules for ports. */
const isLinux = Deno.build.os === "linux";

/** What a scene works with. */
class Scene {
  readonly network: Network;
  readonly map: SocketMap;
  readonly folder: string;
  /** What has happened. */
  readonly seen: string[] = [];
  readonly #open: { close(): void }[] = [];

  constructor(map: SocketMap, folder: string) {
    this.map = map;
    this.network = map.network;
    this.folder = folder;
  }

  /** Writes down what an action gives, or the name of its error. */
  async see(name: string, action: () => unknown): Promise<void> {
    let result: unknown;
    try {
      result = await action();
    } catch (error) {
      result = (error as Error).name;
      const { code } = error as { code?: string };
      if (result === "Error" && code) result = code;
    }
    this.seen.push(`${name}: ${result}`);
  }

  listen(hostname = LOCAL, port = 0, backlog = 8): Acceptor {
    const address = { transport: "tcp", hostname, port } as const;
    return this.#keep(
      this.network.listen(address, { backlog, reusePort: false }),
    );
  }
  listenUnix(path: string): Acceptor {
    const options = { backlog: 8, reusePort: false };
    return this.#keep(
      this.network.listen({ transport: "unix", path }, options),
    );
  }
  async connect(to: Acceptor | Deno.Addr): Promise<Channel> {
    const address = "accept" in to ? to.addr as Deno.Addr : to;
    return this.#keep(await this.network.connect(address, { signal }));
  }
  async pair(listener = this.listen()): Promise<[Channel, Channel]> {
    const client = await this.connect(listener);
    return [client, this.#keep(await listener.accept())];
  }
  bindUdp(hostname = LOCAL, port = 0, reuseAddress = false): DatagramSocket {
    const address = { transport: "udp", hostname, port } as const;
    return this.#keep(this.network.listenDatagram!(address, { reuseAddress }));
  }

  #keep<T extends { close(): void }>(resource: T): T {
    this.#open.push(resource);
    return resource;
  }

  close(): void {
    for (const resource of this.#open) {
      try {
        resource.close();
      } catch {
        // The scene has closed it.
      }
    }
  }
}

const portOf = ({ addr }: { addr?: unknown }) => (addr as Deno.NetAddr).port;
const localPort = ({ localAddr }: Channel) => (localAddr as Deno.NetAddr).port;
const udp = (port: number, hostname = LOCAL) =>
  ({ transport: "udp", hostname, port }) as const;

async function read(channel: Channel, size = 100): Promise<string | null> {
  const target = new Uint8Array(size);
  const length = await channel.read(target);
  return length === null ? null : text(target.subarray(0, length));
}

async function ended(channel: Channel): Promise<string> {
  await channel.closeWrite!();
  return "ended";
}

/** Receives a datagram. */
async function receive(socket: DatagramSocket): Promise<string> {
  const [data] = await socket.receive(new Uint8Array(9));
  return text(data);
}

/** Opens a listener or a socket, and closes it again. */
function tryOut(open: () => { close(): void }): () => string {
  return () => {
    open().close();
    return "bound";
  };
}

/** Whether a host has them or not. */
const ADDRESSES = [
  ...["127.0.0.1", "127.0.0.2", "0.0.0.0", "localhost", "LOCALhost"],
  ...["::", "::1", "[::1]", "::ffff:127.0.0.1", "::FFFF:192.0.2.77"],
  ...["192.0.2.77", "2001:db8::1", "no-such-host.invalid", "999.1.1.1"],
];

/** Plays a scene. */
type Play = (scene: Scene) => Promise<void>;

const SCENES = new Map<string, Play>();
const play = (name: string, scene: Play) => void SCENES.set(name, scene);
/** Deno's own network has them with --unstable-net alone. */
const DATAGRAM_SCENES = new Map<string, Play>();
const playDatagrams = (name: string, scene: Play) =>
  void DATAGRAM_SCENES.set(name, scene);

play("a listener binds its own addresses alone", async (scene) => {
  for (const hostname of ADDRESSES) {
    await scene.see(hostname, tryOut(() => scene.listen(hostname)));
  }
});

play("a Unix listener has its path alone", async (scene) => {
  const path = `${scene.folder}/s`;
  const listener = scene.listenUnix(path);
  await scene.see("second", () => scene.listenUnix(path));
  listener.close();
  await scene.see("after close()", tryOut(() => scene.listenUnix(path)));
  const nobody = `${scene.folder}/nobody`;
  await scene.see(
    "nobody's",
    () => scene.connect({ transport: "unix", path: nobody }),
  );
  const long = `${scene.folder}/${"x".repeat(108)}`;
  await scene.see("too long", () => scene.listenUnix(long));
});

play("a port has one listener", async (scene) => {
  const port = portOf(scene.listen());
  await scene.see("same", () => scene.listen(LOCAL, port));
  await scene.see("any address", () => scene.listen("0.0.0.0", port));
});

play(
  "a connection is not in the way of its listener's successor",
  async (scene) => {
    const listener = scene.listen();
    const port = portOf(listener);
    const [client, server] = await scene.pair(listener);
    listener.close();
    const listen = tryOut(() => scene.listen(LOCAL, port));
    await scene.see("connected", listen);
    server.close();
    await read(client);
    await scene.see("closing", listen);
    client.close();
    await scene.see("in TIME_WAIT", listen);
  },
);

play("a client's port is busy, also in TIME_WAIT", async (scene) => {
  const listener = scene.listen();
  const [client, server] = await scene.pair(listener);
  const port = localPort(client);
  const listen = tryOut(() => scene.listen(LOCAL, port));
  await scene.see("connected", listen);
  client.close();
  await scene.see("has ended", listen);
  await read(server);
  server.close();
  await scene.pair(listener); // By now the last segments are there.
  await scene.see("in TIME_WAIT", listen);
});

play(
  "a client's port is free when the server has ended first",
  async (scene) => {
    const listener = scene.listen();
    const [client, server] = await scene.pair(listener);
    const port = localPort(client);
    server.close();
    await read(client);
    client.close();
    await scene.pair(listener);
    await scene.see("closed", tryOut(() => scene.listen(LOCAL, port)));
  },
);

play("a client's port is free after a reset", async (scene) => {
  const listener = scene.listen();
  const [client, server] = await scene.pair(listener);
  const port = localPort(client);
  await client.write(bytes("spam"));
  await scene.pair(listener); // By now the bytes are there.
  server.close();
  await read(client).catch(() => {});
  await scene.see("port", tryOut(() => scene.listen(LOCAL, port)));
});

play("one more connection waits than the backlog says", async (scene) => {
  const listener = scene.listen(LOCAL, 0, 1);
  let connected = 0;
  const connect = () => scene.connect(listener).then(() => connected++);
  for (let i = 0; i < 2; i++) await connect();
  const others = [3, 4, 5].map(connect);
  listener.close();
  const results = await Promise.allSettled(others);
  const failed = results.flatMap((result) =>
    result.status === "rejected" ? [(result.reason as Error).name] : []
  );
  await scene.see("connected", () => connected);
  await scene.see("others", () => failed);
});

play("nobody listens", async (scene) => {
  const listener = scene.listen();
  listener.close();
  await scene.see("connect", () => scene.connect(listener));
  await scene.see("accept", () => listener.accept());
  await scene.see("close", () => listener.close());
});

play("a name of nobody is not found", async (scene) => {
  const hostname = "no-such-host.invalid";
  await scene.see("connect", async () => {
    const address = { transport: "tcp", hostname, port: 7 } as const;
    const error = await scene.connect(address).catch((error) => error);
    return /failed to lookup address information/.test(`${error}`);
  });
});

play("a connection ends one way, then the other", async (scene) => {
  const [client, server] = await scene.pair();
  await client.write(bytes("spam"));
  await client.closeWrite!();
  await scene.see("write after its end", () => client.write(bytes("x")));
  await scene.see("read", () => read(server));
  await scene.see("end", () => read(server));
  await scene.see("end again", () => read(server));
  await scene.see("answer", () => server.write(bytes("eggs")));
  server.close();
  await scene.see("read", () => read(client));
  await scene.see("end", () => read(client));
  await scene.see("end twice", () => ended(client));
});

play("bytes that nobody has read make a close a reset", async (scene) => {
  const listener = scene.listen();
  const [client, server] = await scene.pair(listener);
  await client.write(bytes("spam"));
  await scene.pair(listener); // By now the bytes are there.
  server.close();
  await scene.see("read", () => read(client));
  await scene.see("write", () => client.write(bytes("x")));
  await scene.see("end", () => ended(client));
  await scene.see("read again", () => read(client));
});

play("a peer that has closed answers bytes with a reset", async (scene) => {
  const [client, server] = await scene.pair();
  server.close();
  await scene.see("read", () => read(client));
  await scene.see("write", async () => {
    for (;;) await client.write(bytes("spam"));
  });
  await scene.see("read again", () => read(client));
});

play("a closed channel does nothing more", async (scene) => {
  const [client] = await scene.pair();
  const reading = read(client);
  client.close();
  await scene.see("pending read", () => reading);
  await scene.see("read", () => read(client));
  await scene.see("write", () => client.write(bytes("spam")));
  await scene.see("end", () => ended(client));
  await scene.see("close", () => client.close());
});

play("a listener that closes resets who waits", async (scene) => {
  const listener = scene.listen();
  const client = await scene.connect(listener);
  listener.close();
  await scene.see("read", () => read(client));
});

play("a dispatcher without input would block", async (scene) => {
  const { map } = scene;
  const [client] = await scene.pair();
  const dispatcher = new Dispatcher(client, { map });
  await scene.see("recv()", () => dispatcher.recv(1));
  await scene.see("send()", () => dispatcher.send(bytes("spam")));
  dispatcher.abort();
  await scene.see("recv() after abort()", () => dispatcher.recv(1));
});

playDatagrams("a UDP socket binds its own addresses alone", async (scene) => {
  for (const hostname of ADDRESSES) {
    await scene.see(hostname, tryOut(() => scene.bindUdp(hostname)));
  }
});

playDatagrams(
  "a UDP port has one socket, or several that share it",
  async (scene) => {
    const socket = scene.bindUdp();
    const port = portOf(socket);
    await scene.see("same", () => scene.bindUdp(LOCAL, port));
    await scene.see("shares it alone", () => scene.bindUdp(LOCAL, port, true));
    await scene.see("TCP", tryOut(() => scene.listen(LOCAL, port)));
    socket.close();
    await scene.see("after close()", tryOut(() => scene.bindUdp(LOCAL, port)));
    const first = scene.bindUdp(LOCAL, port, true);
    const second = scene.bindUdp(LOCAL, port, true);
    await scene.bindUdp().send(bytes("spam"), udp(port));
    const received = [first, second].map((socket, i) =>
      receive(socket).then(() => i, () => "closed")
    );
    await scene.see("receives", () => Promise.race(received));
  },
);

playDatagrams("a datagram that cannot be sent is an error", async (scene) => {
  const socket = scene.bindUdp();
  const port = portOf(scene.bindUdp());
  const send = (name: string, length: number, to: Deno.NetAddr) =>
    scene.see(name, () => socket.send(new Uint8Array(length), to));
  await send("longest", 65_507, udp(port));
  await send("too long", 65_508, udp(port));
  await send("port 0", 1, udp(0));
  await send("IPv6", 1, udp(port, "::1"));
  await send("nobody", 1, udp(port, "no-such-host.invalid"));
  await send("capitals", 1, udp(port, "LOCALHOST"));
});

playDatagrams("a datagram that does not fit is cut off", async (scene) => {
  const [a, b] = [scene.bindUdp(), scene.bindUdp()];
  for (const data of ["spam and eggs", "", "spam"]) {
    await scene.see("send", () => a.send(bytes(data), b.addr));
  }
  for (let i = 0; i < 3; i++) {
    await scene.see("receive", async () => {
      const [data, addr] = await b.receive(new Uint8Array(6));
      return `${text(data)}, from its sender: ${
        portOf({ addr }) === portOf(a)
      }`;
    });
  }
});

playDatagrams("nobody tells of a datagram to a closed port", async (scene) => {
  const [a, b, closed] = [scene.bindUdp(), scene.bindUdp(), scene.bindUdp()];
  closed.close();
  for (let i = 0; i < 2; i++) {
    await scene.see("send", () => a.send(bytes("x"), closed.addr));
  }
  await b.send(bytes("spam"), a.addr);
  await scene.see("receive", () => receive(a));
});

playDatagrams("a full receive buffer drops what comes", async (scene) => {
  const [a, b, c] = [scene.bindUdp(), scene.bindUdp(), scene.bindUdp()];
  for (let i = 0; i < 1_000; i++) await a.send(bytes("spam"), b.addr);
  await a.send(bytes("spam"), c.addr);
  await c.receive(new Uint8Array(9)); // By now, the others are there.
  // A system may give room only when a good part of the buffer is free.
  for (let i = 0; i < 150; i++) await receive(b);
  await a.send(bytes("last"), b.addr);
  let kept = 150;
  for (; await receive(b) !== "last"; kept++);
  await scene.see("keeps 200 to 300", () => kept >= 200 && kept <= 300);
});

playDatagrams("a closed UDP socket does nothing more", async (scene) => {
  const socket = scene.bindUdp();
  const receiving = receive(socket);
  socket.close();
  await scene.see("pending receive", () => receiving);
  await scene.see("receive", () => receive(socket));
  await scene.see("send", () => socket.send(bytes("x"), socket.addr));
  await scene.see("close", () => socket.close());
});

/**
 * Scenes that Deno's network plays in its own way: it ends a connection before
 * it closes it, so the peer reads the end before a reset comes.
 */
const NOT_ON_DENO: readonly string[] = [
  "bytes that nobody has read make a close a reset",
];

/** What a scene sees on the system's network. */
async function inReality(
  network: Network,
  play: Play,
): Promise<string[]> {
  const folder = await Deno.makeTempDir();
  const scene = new Scene(new SocketMap({ network }), folder);
  try {
    await play(scene);
  } finally {
    scene.close();
    await Deno.remove(folder, { recursive: true });
  }
  return scene.seen;
}

/** What it sees in a simulation. */
async function inSimulation(
  play: Play,
): Promise<string[]> {
  const sim = new SimNetwork();
  const scene = new Scene(sim.host("host").map, "/run");
  try {
    await during(sim, play(scene), 600_000);
  } finally {
    scene.close();
    sim.end();
  }
  return scene.seen;
}

for (const [name, play] of [...SCENES, ...DATAGRAM_SCENES]) {
  const isOfDatagrams = DATAGRAM_SCENES.has(name);
  Deno.test({
    name: `On Deno's network and in a simulation, ${name}`,
    ignore: !isLinux || NOT_ON_DENO.includes(name) ||
      isOfDatagrams && !("listenDatagram" in Deno),
    fn: async () =>
      assertEquals(
        await inSimulation(play),
        await inReality(denoNetwork, play),
      ),
  });
  Deno.test({
    name: `On epollNetwork and in a simulation, ${name}`,
    ignore: !epollNetwork.available,
    fn: async () =>
      assertEquals(
        await inSimulation(play),
        await inReality(epollNetwork, play),
      ),
  });
}

/** The rows of the table in docs/testing.md, and the scenes that hold them. */
const ROWS: Record<string, RegExp> = {
  "addresses to bind": /its own addresses alone/,
  "names": /a name of nobody|own addresses alone/,
  "busy ports": /port has one|successor|client's port/,
  "backlog": /backlog/,
  "ends, half-closes and resets": /ends one way|reset|does nothing more/,
  "UDP sockets": /UDP port|cannot be sent|cut off|receive buffer|UDP socket/,
  "UDP to a closed port": /closed port/,
  "Unix sockets": /Unix listener/,
};

Deno.test("docs/testing.md says as Linux of what scenes hold, and of nothing else", async () => {
  const page = new URL("../docs/testing.md", import.meta.url);
  const lines = (await Deno.readTextFile(page)).split("\n");
  const rows = lines.flatMap((line) =>
    /^\| ([^|]*?) +\| as Linux/.exec(line)?.[1] ?? []
  );
  assertEquals(rows, Object.keys(ROWS));
  const names = [...SCENES.keys(), ...DATAGRAM_SCENES.keys()];
  const held = (row: RegExp) => names.some((name) => row.test(name));
  assertEquals(Object.values(ROWS).filter((row) => !held(row)), []);
});

Deno.test("A simulated network refuses what docs/testing.md says is not simulated", () => {
  const { network } = new SimNetwork().host("host").map;
  const options = { backlog: 8, reusePort: true };
  const vsock = { transport: "vsock", cid: 1, port: 7 } as const;
  assertThrows(() => network.listen(vsock, options), TypeError, "no vsock");
  const address = { transport: "tcp", hostname: LOCAL, port: 7 } as const;
  network.listen(address, options);
  assertThrows(() => network.listen(address, options), Deno.errors.AddrInUse);
});
