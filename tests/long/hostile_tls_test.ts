/**
 * Peers that talk no TLS, or none that can be trusted, and somebody in the
 * middle: who is told of it, who is not disturbed, and what is never said in
 * plain text.
 */

import {
  assertEquals,
  assertFalse,
  assertInstanceOf,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { closeQuietly } from "../../core/channel.ts";
import {
  AsyncChat,
  type Channel,
  type Dispatcher,
  DispatcherWithSend,
  type Network,
  type SocketOptions,
} from "../../mod.ts";
import { denoNetwork } from "../../net/deno_network.ts";
import { certificates, type Certified, testTls } from "../certificates.ts";
import { LogLines, Recorder } from "../fakes.ts";
import { Child } from "../peers.ts";
import {
  bytes,
  canRun,
  connectedPair,
  loopUntil,
  rawConnect,
  ScopedMap,
  type TestMap,
  TestServer,
  text,
  turn,
} from "../support.ts";

const LOCAL = { hostname: "127.0.0.1", port: 0 };
/** What nobody but the right peer may hear. */
const SECRET = "the secret word";
/** How long a handshake may take where nothing else ends it, in ms. */
const PATIENCE = 500;
/** The same for a server where honest clients, too, make their handshakes. */
const PATIENCE_WITH_ALL = 1_500;

const quiet = (network?: Network) =>
  new ScopedMap({ logger: new LogLines(), network });
const trusted = () => ({ caCerts: [certificates().ca] });

/** A socket that trusts the tests' authority. */
function secured(options: SocketOptions = {}): SocketOptions {
  return { transport: "tls", tls: trusted(), ...options };
}

// Those who are to be told

// deno-lint-ignore no-explicit-any -- TypeScript asks for it in a mixin.
type DispatcherClass = abstract new (...args: any[]) => Dispatcher;

/** Writes down what happens to it; may be either end of a connection. */
function told<Base extends DispatcherClass>(Base: Base) {
  abstract class Told extends Base {
    readonly trace: string[] = [];
    readonly errors: unknown[] = [];
    received = "";
    /** What is to be done about a line. */
    onLine: (line: string) => void | Promise<void> = () => {};

    override handleConnect() {
      this.trace.push("handleConnect");
    }
    override handleError(error: unknown) {
      this.trace.push("handleError");
      this.errors.push(error);
      return super.handleError(error);
    }
    override handleClose() {
      this.trace.push("handleClose");
      return super.handleClose();
    }
  }
  return Told;
}

class SendPeer extends told(DispatcherWithSend) {
  constructor(map: TestMap, channel: Channel | null = null) {
    super(channel, { map });
  }
  say(words: string): void {
    this.send(bytes(words));
  }
  override handleRead(): void | Promise<void> {
    const line = text(this.recv("GO\n".length));
    this.received += line;
    return this.onLine(line.trimEnd());
  }
}

/** The same as a conversation in lines. */
class ChatPeer extends told(AsyncChat) {
  constructor(map: TestMap, channel: Channel | null = null) {
    super(channel, { map });
    this.setTerminator("\n");
  }
  say(words: string): void {
    this.push(words);
  }
  override collectIncomingData(data: Uint8Array): void {
    this.received += text(data);
  }
  override foundTerminator(): void | Promise<void> {
    this.received += "\n";
    return this.onLine(this.received.trimEnd());
  }
}

type Peer = SendPeer | ChatPeer;
type PeerClass = typeof SendPeer | typeof ChatPeer;

/** The two, by the names of what they are made of. */
const PEERS = [
  ["DispatcherWithSend", SendPeer],
  ["AsyncChat", ChatPeer],
] as const;

interface TlsServerOptions extends SocketOptions {
  Peer?: PeerClass;
}

/** Takes TLS connections, and greets each with the secret. */
class TlsServer extends Recorder {
  readonly peers: Peer[] = [];
  readonly #Peer: PeerClass;

  constructor(
    map: TestMap,
    { Peer = SendPeer, ...options }: TlsServerOptions = {},
  ) {
    super(map);
    this.#Peer = Peer;
    const tls = certificates().good;
    this.createSocket({ transport: "tls", tls, ...options });
    this.bind(LOCAL);
    this.listen();
  }
  override handleAccepted(conn: Channel): void {
    this.note("handleAccepted");
    const peer = new this.#Peer(this.map as TestMap, conn);
    peer.say(`${SECRET}\n`);
    this.peers.push(peer);
  }
}

/** Connects, and says the secret before it is known to whom. */
function connectAndTell(
  Peer: PeerClass,
  map: TestMap,
  addr: Deno.Addr,
  options: SocketOptions = secured(),
): Peer {
  const client = new Peer(map);
  client.createSocket(options);
  client.connect(addr as Deno.NetAddr);
  client.say(`${SECRET}\n`);
  return client;
}

/** An honest connection in the same map, which must not be disturbed. */
class Neighbour {
  readonly #map: TestMap;
  readonly #client: Peer;
  readonly #server: Peer;

  private constructor(map: TestMap, client: Peer, server: Peer) {
    this.#map = map;
    this.#client = client;
    this.#server = server;
  }

  /** Moves in: a client of `server`, or of a server of its own. */
  static async of(map: TestMap, server = new TlsServer(map)) {
    const client = connectAndTell(SendPeer, map, server.addr!);
    const { length } = server.peers;
    await loopUntil(map, () => server.peers.length > length);
    const neighbour = new Neighbour(map, client, server.peers[length]!);
    await neighbour.talk();
    return neighbour;
  }

  /** Has a word each way. */
  async talk(): Promise<void> {
    for (
      const [from, to] of [
        [this.#client, this.#server],
        [this.#server, this.#client],
      ] as const
    ) {
      const words = `how are you, ${crypto.randomUUID()}?\n`;
      from.say(words);
      await loopUntil(this.#map, () => to.received.endsWith(words));
    }
    assertEquals(this.#client.trace, ["handleConnect"]);
    assertEquals(this.#server.trace, []);
  }
}

/** A test for each kind of peer, next to a connection that is not disturbed. */
function testPeers(
  what: string,
  test: (Peer: PeerClass, map: TestMap) => Promise<void>,
  { ignore, network }: { ignore?: boolean; network?: Network } = {},
): void {
  for (const [name, Peer] of PEERS) {
    testTls(`${name}${what}`, async () => {
      await using map = quiet(network);
      const neighbour = await Neighbour.of(map);
      await test(Peer, map);
      await neighbour.talk();
    }, { ignore: ignore ?? false });
  }
}

/** The client is told of an error, and of the end. */
async function assertFails(
  map: TestMap,
  { trace }: Peer,
  ...before: string[]
): Promise<void> {
  await loopUntil(map, () => trace.includes("handleClose"));
  assertEquals(trace, [...before, "handleError", "handleClose"]);
}

/** What went over a wire, as text that shows every byte. */
class Wire {
  #heard = "";

  get heard(): string {
    return this.#heard;
  }
  hear(data: Uint8Array): void {
    for (const byte of data) this.#heard += String.fromCharCode(byte);
  }
}

/** What a server that must not be trusted does when it heard something for the n-th time. */
type Answer = (conn: Deno.TcpConn, time: number) => unknown;

/** Such a server; it hears everything. */
class Impostor extends Wire implements AsyncDisposable {
  readonly #listener = Deno.listen(LOCAL);
  readonly #conns: Deno.TcpConn[] = [];
  readonly #answer: Answer;
  readonly #serving: Promise<void>;
  /** All its clients have left. */
  isAlone = false;

  constructor(answer: Answer) {
    super();
    this.#answer = answer;
    this.#serving = this.#serve();
  }

  get addr(): Deno.Addr {
    return this.#listener.addr;
  }

  closeWrite(): void {
    for (const conn of this.#conns) conn.closeWrite().catch(() => {});
  }

  async #serve(): Promise<void> {
    const conn = await this.#listener.accept();
    this.#conns.push(conn);
    conn.setNoDelay();
    const buffer = new Uint8Array(4096);
    for (let time = 1;; time++) {
      const length = await conn.read(buffer).catch(() => null);
      if (length === null) break;
      this.hear(buffer.subarray(0, length));
      // Its client may be gone, or it has hung up itself.
      await (async () => await this.#answer(conn, time))().catch(() => {});
    }
    this.isAlone = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const conn of this.#conns) closeQuietly(conn);
    await this.#serving.catch(() => {});
  }
}

/** Somebody between a client and its server, who hears what both say. */
class Tap implements AsyncDisposable {
  readonly toServer = new Wire();
  readonly toClient = new Wire();
  readonly #listener = Deno.listen(LOCAL);
  readonly #server: Deno.Addr;
  #ends: [client: Deno.Conn, server: Deno.Conn] | null = null;
  readonly #passing: Promise<unknown>;

  constructor(server: Deno.Addr) {
    this.#server = server;
    this.#passing = this.#pass();
  }

  get addr(): Deno.Addr {
    return this.#listener.addr;
  }

  async #pass(): Promise<void> {
    const client = await this.#listener.accept();
    const server = await rawConnect(this.#server);
    this.#ends = [client, server];
    const pump = async (from: Deno.Conn, to: Deno.Conn, wire: Wire) => {
      const buffer = new Uint8Array(16 * 1024);
      for (let length; (length = await from.read(buffer)) !== null;) {
        const data = buffer.subarray(0, length);
        wire.hear(data);
        await writeAll(to, data);
      }
      await to.closeWrite();
    };
    await Promise.allSettled([
      pump(client, server, this.toServer),
      pump(server, client, this.toClient),
    ]);
  }

  /** Says something of its own. */
  async inject(to: "client" | "server", data: Uint8Array): Promise<void> {
    await writeAll(this.#ends![to === "client" ? 0 : 1], data);
  }

  /** Ends the connection in both directions, which TLS does not do like this. */
  async cut(): Promise<void> {
    for (const end of this.#ends!) await end.closeWrite();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const end of this.#ends ?? []) closeQuietly(end);
    await this.#passing.catch(() => {});
  }
}

async function writeAll(conn: Deno.Conn, data: Uint8Array): Promise<void> {
  while (data.length > 0) data = data.subarray(await conn.write(data));
}

/** A ClientHello as an honest client would say it. */
async function clientHello(): Promise<Uint8Array<ArrayBuffer>> {
  const [ours, theirs] = await connectedPair();
  const client = await Deno.startTls(ours as Deno.TcpConn, {
    hostname: "localhost",
  });
  const failing = client.handshake().catch(() => {});
  const buffer = new Uint8Array(4096);
  const length = await theirs.read(buffer);
  theirs.close();
  await failing;
  client.close();
  return buffer.slice(0, length!);
}

/** Begins like a TLS record, type 22 and version 3.1, of this length. */
function recordOf(length: number, ...content: number[]): Uint8Array {
  return Uint8Array.of(22, 3, 1, length >> 8, length & 255, ...content);
}

const FATAL_ALERT = Uint8Array.of(21, 3, 3, 0, 2, 2, 40);

// A client, and a server that is none

/** When it has heard the client's hello. */
const IMPOSTORS: [what: string, answer: Answer, isSilent?: boolean][] = [
  ["answers in plain text", (conn) => conn.write(bytes("220 welcome\r\n"))],
  ["hangs up", (conn) => conn.close()],
  ["alerts", (conn) => conn.write(FATAL_ALERT)],
  ["sends zeros", (conn) => conn.write(new Uint8Array(1_000))],
  ["sends a record too long", (conn) => conn.write(recordOf(0xffff, 2))],
  ["sends a hello that is none", (conn) => conn.write(recordOf(4, 2, 0, 0, 0))],
  ["is silent", () => {}, true],
  [
    "stops in the midst of a record",
    (conn) => conn.write(recordOf(9, 2)),
    true,
  ],
];

/** All the impostor heard is the beginning of a handshake. */
async function assertHeardNothing(
  map: TestMap,
  impostor: Impostor,
  before = "",
): Promise<void> {
  impostor.closeWrite(); // Deno keeps the descriptor of a silent peer until then.
  await loopUntil(map, () => impostor.isAlone);
  assertMatch(impostor.heard, new RegExp(`^${before}(?:\x16\x03|$)`));
  assertFalse(impostor.heard.includes(SECRET));
}

for (const [what, answer, isSilent] of IMPOSTORS) {
  const options = secured(isSilent ? { handshakeTimeout: PATIENCE } : {});
  testPeers(
    ` tells its secret to no server that ${what}`,
    async (Peer, map) => {
      await using impostor = new Impostor(answer);
      const client = connectAndTell(Peer, map, impostor.addr, options);
      await assertFails(map, client);
      assertEquals(client.received, "");
      await assertHeardNothing(map, impostor);
    },
  );
}

testPeers(
  " that closes at once tells its secret to no server that answers in plain text",
  async (Peer, map) => {
    await using impostor = new Impostor((conn) => conn.write(bytes("220\r\n")));
    const client = connectAndTell(Peer, map, impostor.addr);
    client.close();
    await loopUntil(map, () => map.lingering === 0);
    assertEquals(client.trace, []);
    await assertHeardNothing(map, impostor);
  },
);

testPeers(
  " over TLS tells nothing to a plain server of the library, which ends as well",
  async (Peer, map) => {
    let plain: Peer | undefined;
    const server = new TestServer(map, (conn) => {
      plain = new Peer(map, conn);
      plain.say("220 welcome\n");
    });
    const client = connectAndTell(Peer, map, server.addr!);
    await assertFails(map, client);
    await loopUntil(map, () => plain?.trace.includes("handleClose") === true);
    assertEquals(client.received, "");
    assertEquals(plain!.trace, ["handleClose"]);
    assertFalse(plain!.received.includes(SECRET));
  },
);

// A client, and a certificate that is not good enough

const BAD_CERTIFICATES: [
  what: string,
  of: () => { server: Certified; caCerts: string[] },
  reason: RegExp,
][] = [
  [
    "has expired",
    () => ({ server: certificates().expired, ...trusted() }),
    /expired/i,
  ],
  [
    "is for another host",
    () => ({ server: certificates().stranger, ...trusted() }),
    /not valid for name/,
  ],
  [
    "nobody vouches for",
    () => ({ server: certificates().good, caCerts: [] }),
    /UnknownIssuer/,
  ],
];

for (const [what, of, reason] of BAD_CERTIFICATES) {
  testPeers(
    ` tells its secret to no server whose certificate ${what}`,
    async (Peer, map) => {
      const { server: tls, caCerts } = of();
      const server = new TlsServer(map, { tls });
      await using tap = new Tap(server.addr!);
      const options = secured({ tls: { caCerts } });
      const client = connectAndTell(Peer, map, tap.addr, options);
      await assertFails(map, client);
      await loopUntil(map, () => server.clientsGone === 1);
      assertMatch(String(client.errors[0]), reason);
      assertEquals(client.received, "");
      assertEquals(server.trace, []);
      assertFalse(tap.toServer.heard.includes(SECRET));
      assertFalse(tap.toClient.heard.includes(SECRET));
    },
  );
}

// A server, and clients that are none

testPeers(
  " without TLS is no client of a TLS server, and is told nothing",
  async (Peer, map) => {
    const server = new TlsServer(map);
    const neighbour = await Neighbour.of(map, server);
    await using tap = new Tap(server.addr!);
    const client = connectAndTell(Peer, map, tap.addr, {});
    await loopUntil(map, () => client.trace.includes("handleClose"));
    await loopUntil(map, () => server.clientsGone === 1);
    await neighbour.talk();
    assertEquals(client.trace, ["handleConnect", "handleClose"]);
    assertEquals(server.trace, ["handleAccepted"], "of the neighbour");
    // What was said without TLS can be heard, so the other tests can fail.
    assertStringIncludes(tap.toServer.heard, SECRET);
    assertFalse(tap.toClient.heard.includes(SECRET));
    await Neighbour.of(map, server);
  },
);

/** What a client does that will not get through its handshake. */
type Attack = (conn: Deno.Conn, hello: Uint8Array) => unknown;

const ATTACKS: [what: string, attack: Attack, isEndless?: boolean][] = [
  ["sends zeros", (conn) => writeAll(conn, new Uint8Array(1_000))],
  ["alerts", (conn) => conn.write(FATAL_ALERT)],
  ["sends a record too long", (conn) => conn.write(recordOf(0xffff, 1))],
  ["sends a hello that is none", (conn) => conn.write(recordOf(4, 1, 0, 0, 0))],
  ["leaves without a word", (conn) => conn.closeWrite()],
  ["leaves in the midst of its hello", async (conn, hello) => {
    await writeAll(conn, hello.subarray(0, hello.length / 2));
    await conn.closeWrite();
  }],
  ["leaves after its hello", async (conn, hello) => {
    await writeAll(conn, hello);
    await conn.closeWrite();
  }],
  ["talks plain after its hello", async (conn, hello) => {
    await writeAll(conn, hello);
    await writeAll(conn, bytes("GET / HTTP/1.0\r\n\r\n"));
  }],
  [
    "stops in the midst of its hello",
    (conn, hello) => writeAll(conn, hello.subarray(0, hello.length / 2)),
    true,
  ],
  ["stops after its hello", writeAll, true],
  ["sends its hello byte by byte, and slowly", async (conn, hello) => {
    for (const byte of hello) {
      await conn.write(Uint8Array.of(byte));
      await new Promise((resolve) =>
        setTimeout(resolve, PATIENCE_WITH_ALL / 20)
      );
    }
  }, true],
];

/** Reads to the end, and looks for what must not be there. */
async function assertToldNothing(conn: Deno.Conn): Promise<void> {
  const wire = new Wire();
  const buffer = new Uint8Array(4096);
  for (;;) {
    const length = await conn.read(buffer).catch(() => null);
    if (length === null) break;
    wire.hear(buffer.subarray(0, length));
  }
  assertFalse(wire.heard.includes(SECRET));
}

for (const [what, attack, isEndless] of ATTACKS) {
  testTls(
    `A TLS server accepts nobody who ${what}, and serves the others`,
    async () => {
      await using map = quiet();
      const handshakeTimeout = isEndless ? PATIENCE_WITH_ALL : 60_000;
      const server = new TlsServer(map, { handshakeTimeout });
      const neighbour = await Neighbour.of(map, server);
      const hello = await clientHello();
      using conn = await rawConnect(server.addr);
      // What it still has to say when it is hung up on does not matter.
      const attacking = (async () => await attack(conn, hello))().catch(
        () => {},
      );
      await neighbour.talk();
      await Neighbour.of(map, server);
      await loopUntil(map, () => server.clientsGone === 1);
      await neighbour.talk();
      assertEquals(server.trace, ["handleAccepted", "handleAccepted"]);
      if (!isEndless) await assertToldNothing(conn);
      closeQuietly(conn);
      await attacking;
    },
  );
}

// Somebody in the middle of a connection that stands

/** A client and its peer at the server, with somebody in between. */
async function converse(map: TestMap, Peer: PeerClass) {
  const server = new TlsServer(map, { Peer });
  const tap = new Tap(server.addr!);
  const client = connectAndTell(Peer, map, tap.addr);
  await loopUntil(map, () => client.received === `${SECRET}\n`);
  const [peer] = server.peers as [Peer];
  await loopUntil(map, () => peer.received === `${SECRET}\n`);
  return { tap, ends: { client, server: peer } };
}

/** The end of an attack on one of the two; both have heard no more than before. */
async function assertBothEnd(
  map: TestMap,
  { client, server }: { client: Peer; server: Peer },
): Promise<void> {
  for (const { trace } of [client, server]) {
    await loopUntil(map, () => trace.includes("handleClose"));
  }
  for (const { trace, received } of [client, server]) {
    assertEquals(trace.filter((hook) => hook === "handleClose").length, 1);
    assertEquals(received, `${SECRET}\n`);
  }
}

for (const victim of ["client", "server"] as const) {
  const [first, ...rest] = ["handleConnect", "handleError", "handleClose"];
  testPeers(
    ` hears nothing that somebody puts into its TLS connection, as a ${victim}`,
    async (Peer, map) => {
      const { tap, ends } = await converse(map, Peer);
      await using _tap = tap;
      const forged = bytes("something forged\n");
      const record = [23, 3, 3, 0, forged.length, ...forged];
      await tap.inject(victim, Uint8Array.from(record));
      await assertBothEnd(map, ends);
      const { trace, errors, closeReason } = ends[victim];
      assertEquals(trace, victim === "client" ? [first, ...rest] : rest);
      assertInstanceOf(errors[0], Deno.errors.InvalidData);
      assertInstanceOf(closeReason, Deno.errors.InvalidData);
    },
  );
}

testPeers(
  " can tell a TLS connection that somebody cut from one that ended",
  async (Peer, map) => {
    const { tap, ends } = await converse(map, Peer);
    await using _tap = tap;
    await tap.cut();
    await assertBothEnd(map, ends);
    for (const { errors, closeReason } of Object.values(ends)) {
      assertEquals(errors, []);
      assertInstanceOf(closeReason, Deno.errors.UnexpectedEof);
    }
  },
);

// STARTTLS, and a server that says yes and does no

/** How a client goes on, by a promise that it waits for or not. */
type Way = [how: string, upgrade: (client: Peer) => void | Promise<void>];

const AWAITED: Way = ["is awaited", async (client) => {
  await client.startTls(trusted());
  client.say(SECRET);
}];

const WAYS: Way[] = [AWAITED, ["is not awaited", (client) => {
  client.startTls(trusted()).catch(() => {});
  client.say(SECRET);
}]];

/** Asks for TLS, and tells its secret when it believes to have it. */
function askForTls(
  map: TestMap,
  Peer: PeerClass,
  addr: Deno.Addr,
  upgrade: (client: Peer) => void | Promise<void>,
): Peer {
  const client = new Peer(map);
  client.onLine = (line) => line === "GO" ? upgrade(client) : undefined;
  client.createSocket({ handshakeTimeout: PATIENCE });
  client.connect(addr as Deno.NetAddr);
  client.say("STARTTLS\n");
  return client;
}

const saysGo = (then: Answer): Answer => (conn, time) =>
  time === 1 ? conn.write(bytes("GO\n")) : then(conn, time);

/** What a server does, instead of a handshake, with STARTTLS and behind it. */
const LIES: [what: string, answer: Answer, isRefused?: boolean][] = [
  ["goes on in plain text", saysGo((conn) => conn.write(bytes("250 hello\n")))],
  ["alerts", saysGo((conn) => conn.write(FATAL_ALERT))],
  ["hangs up", saysGo((conn) => conn.close())],
  ["is silent", saysGo(() => {})],
  [
    "says more in the packet of its answer",
    (conn, time) => time === 1 && conn.write(bytes("GO\nINJECTED\n")),
    true, // No handshake is begun.
  ],
  ["says more in a packet behind the one of its answer", async (conn, time) => {
    if (time > 1) return;
    await conn.write(bytes("GO\n"));
    await turn();
    await conn.write(bytes("INJECTED\n"));
  }],
];

for (const [what, answer, isRefused] of LIES) {
  for (const [how, upgrade] of WAYS) {
    testPeers(
      `.startTls() that ${how} tells nothing to a server that ${what}`,
      async (Peer, map) => {
        await using impostor = new Impostor(answer);
        const client = askForTls(map, Peer, impostor.addr, upgrade);
        await assertFails(map, client, "handleConnect");
        assertEquals(client.received, "GO\n");
        await assertHeardNothing(map, impostor, "STARTTLS\n");
        if (isRefused) assertEquals(impostor.heard, "STARTTLS\n");
      },
    );
  }
}

/** The Python server with a certificate, and the port that it listens on. */
async function startPython({ cert, key }: Certified, ...more: string[]) {
  const program = `${import.meta.dirname}/../python/starttls_server.py`;
  const directory = await Deno.makeTempDir();
  await Deno.writeTextFile(`${directory}/cert`, cert);
  await Deno.writeTextFile(`${directory}/key`, key);
  const files = [`${directory}/cert`, `${directory}/key`];
  const child = new Child("python3", [program, ...files, ...more]);
  const port = Number(await child.until(""));
  await Deno.remove(directory, { recursive: true }); // It was loaded.
  const addr = { transport: "tcp", hostname: "127.0.0.1", port } as const;
  return { child, addr };
}

/** Deno starts TLS over its own connections only. */
const overDeno = {
  ignore: !canRun("python3", "-c", "import ssl"),
  network: denoNetwork,
};

testPeers(
  ".startTls() refuses what came unencrypted with the answer, though TLS would follow",
  async (Peer, map) => {
    const { good } = certificates();
    const { child, addr } = await startPython(good, "INJECTED\n");
    await using _child = child;
    const client = askForTls(map, Peer, addr, AWAITED[1]);
    await assertFails(map, client, "handleConnect");
    const { errors, received } = client;
    const obstacle = Peer === ChatPeer ? "collected" : "read";
    const reason = `unencrypted bytes wait to be ${obstacle}`;
    assertStringIncludes(String(errors[0]), reason);
    assertEquals(received, "GO\n");
    assertStringIncludes(await child.until(""), "failed");
  },
  overDeno,
);

for (const [how, upgrade] of WAYS) {
  testPeers(
    `.startTls() that ${how} tells nothing to a server whose certificate has expired`,
    async (Peer, map) => {
      const { child, addr } = await startPython(certificates().expired);
      await using _child = child;
      await using tap = new Tap(addr);
      const client = askForTls(map, Peer, tap.addr, upgrade);
      await assertFails(map, client, "handleConnect");
      const { errors } = client;
      assertMatch(String(errors[0]), /expired/i);
      assertStringIncludes(await child.until(""), "failed");
      assertFalse(tap.toServer.heard.includes(SECRET));
    },
    overDeno,
  );

  testPeers(
    `.startTls() that ${how} tells all to the right server, and nobody else`,
    async (Peer, map) => {
      const { child, addr } = await startPython(certificates().good);
      await using _child = child;
      await using tap = new Tap(addr);
      const client = askForTls(map, Peer, tap.addr, upgrade);
      await loopUntil(map, () => client.received === "GO\nwelcome\n");
      client.close();
      await loopUntil(map, () => map.lingering === 0);
      assertEquals(await child.until(""), `told ${SECRET}`);
      assertFalse(tap.toServer.heard.includes(SECRET));
    },
    overDeno,
  );
}
