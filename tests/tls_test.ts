import {
  assert,
  assertEquals,
  assertGreater,
  assertInstanceOf,
  assertMatch,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  type Address,
  type Channel,
  DispatcherWithSend,
  loop,
  type SocketMap,
  type SocketOptions,
  type TlsOptions,
} from "../mod.ts";
import { certificates } from "./certificates.ts";
import { startPython } from "./peers.ts";
import {
  FakeChannel,
  loopToEnd,
  passes,
  pattern,
  quietMap,
  Recorder,
  watch,
} from "./fakes.ts";
import { connecting, joined, listening, scopedMap, setUp } from "./scenes.ts";
import {
  bytes,
  canRun,
  families,
  type Family,
  isMissing,
  loopUntil,
  rawConnect,
  type TestMap,
  text,
  turns,
} from "./support.ts";

const { ca, good, stranger, expired } = certificates();
const HERE = { hostname: "127.0.0.1", port: 0 };
/** Trusts the tests' authority. */
const TRUSTING: SocketOptions = { transport: "tls", tls: { caCerts: [ca] } };
const FAILED = ["handleError", "handleClose"];

/** A TLS client. */
function client(
  map: TestMap,
  address: Address | Deno.Addr,
  { tls, ...options }: SocketOptions = {},
): Recorder {
  return connecting(new Recorder(map), address, {
    ...TRUSTING,
    ...options,
    tls: { ...TRUSTING.tls, ...tls },
  });
}

/** Sends back what comes over each connection that it accepts. */
class EchoServer extends Recorder {
  constructor(
    map: TestMap,
    { tls, ...options }: SocketOptions = {},
    address: Address = HERE,
  ) {
    super(map);
    const secure = { transport: "tls", tls: { ...good, ...tls } } as const;
    listening(this, { ...options, ...secure }, address);
  }
  override handleAccepted(conn: Channel): void {
    this.note("handleAccepted");
    const echo = new DispatcherWithSend(conn, { map: this.map });
    echo.handleRead = () => void echo.send(echo.recv());
  }
  /** Its address under the name that its certificate is for. */
  get named(): Address {
    const { port } = this.addr as Deno.NetAddr;
    return { hostname: "localhost", port };
  }
}

for (const family of families.slice(0, 2)) {
  const name = `TLS carries 1 MiB there and back (${family.name})`;
  Deno.test({ name, ignore: isMissing(family), fn: () => carryOver(family) });
}

async function carryOver(family: Family): Promise<void> {
  await using map = scopedMap();
  const server = new EchoServer(map, {}, family.address());
  const data = pattern(1024 * 1024);
  const back: Uint8Array[] = [];
  let missing = data.length;
  const sender = new DispatcherWithSend(null, { map });
  sender.handleConnect = () => void sender.send(data);
  sender.handleRead = () => {
    back.push(sender.recv());
    missing -= back.at(-1)!.length;
  };
  connecting(sender, server.addr, TRUSTING);
  await loopUntil(map, () => missing <= 0);
  const all = await joined(back);
  assertEquals(all.length, data.length);
  assert(all.every((byte, index) => byte === data[index]));
}

// Handshakes

/** A fake connection whose handshake is the test's. */
class HandshakeChannel extends FakeChannel {
  readonly #handshake = Promise.withResolvers<void>();
  handshakes = 0;

  handshake(): Promise<void> {
    this.handshakes++;
    return this.#handshake.promise;
  }
  async succeed(): Promise<void> {
    this.#handshake.resolve();
    await turns();
  }
  fail(error: Error): void {
    this.#handshake.reject(error);
  }
  override close(): void {
    super.close();
    this.fail(new Deno.errors.Interrupted("closed"));
  }
}

/** A client at its handshake. */
async function shakingClient() {
  const scene = setUp();
  const channel = new HandshakeChannel();
  const dispatcher = connecting(new Recorder(scene.map));
  scene.network.succeed(channel);
  await passes(scene.map, 3);
  assertEquals(channel.handshakes, 1);
  return { ...scene, channel, dispatcher };
}

/** A server one of whose clients is at its handshake. */
async function shakingServer() {
  const scene = setUp();
  const channel = new HandshakeChannel();
  const server = listening(new Recorder(scene.map));
  scene.network.acceptor.push(channel);
  await passes(scene.map, 3);
  return { ...scene, channel, server };
}

Deno.test("handleConnect() waits for the channel's handshake", async () => {
  const { map, channel, dispatcher } = await shakingClient();
  assertEquals(dispatcher.trace, []);
  assert(dispatcher.connecting);
  await channel.succeed();
  await passes(map, 2);
  assertEquals(dispatcher.trace, ["handleConnect"]);
  dispatcher.abort();
  await turns();
});

Deno.test("handleAccepted() waits for the channel's handshake", async () => {
  const { map, channel, server } = await shakingServer();
  assertEquals(server.trace, []);
  await channel.succeed();
  await passes(map, 2);
  assertEquals(server.trace, ["handleAccepted"]);
  server.close();
});

Deno.test("handshakeTimeout ends a client's silence after 10 s by default", async () => {
  const { map, channel, clock, server } = await shakingServer();
  await clock.advance(9_999);
  await passes(map, 2);
  assert(!channel.closed);
  await clock.advance(1);
  await passes(map, 2);
  await turns();
  assert(channel.closed);
  assertEquals(server.clientsGone, 1);
  assertEquals(server.trace, []);
  assertEquals(clock.armed, 0);
  server.close();
});

Deno.test("handshakeTimeout ends a server's silence with TimedOut after 10 s by default", async () => {
  const { map, channel, clock, dispatcher } = await shakingClient();
  await clock.advance(9_999);
  await passes(map, 2);
  assertEquals(dispatcher.trace, []);
  await clock.advance(1);
  await passes(map, 2);
  await turns();
  await passes(map, 2);
  assertEquals(dispatcher.trace, FAILED);
  const [error] = dispatcher.errors;
  assertInstanceOf(error, Deno.errors.TimedOut);
  assertStringIncludes(error.message, "No TLS handshake within 10000 ms");
  assert(channel.closed);
});

Deno.test("handshakeTimeout ends the silence of a real server", async () => {
  await using map = scopedMap();
  using listener = Deno.listen(HERE);
  const dispatcher = client(map, listener.addr, { handshakeTimeout: 50 });
  using _silent = await listener.accept();
  await loopToEnd(map);
  assertEquals(dispatcher.trace, FAILED);
  assertInstanceOf(dispatcher.errors[0], Deno.errors.TimedOut);
});

Deno.test("A handshake that throws at once is an error like any other", async () => {
  const { map, network } = setUp();
  const dispatcher = connecting(new Recorder(map));
  const channel = Object.assign(new FakeChannel(), {
    handshake(): Promise<void> {
      throw new Error("spam");
    },
  });
  network.succeed(channel);
  await loopToEnd(map);
  assertEquals(dispatcher.trace, FAILED);
  assert(channel.closed);
});

for (const method of ["close", "abort"] as const) {
  Deno.test(`${method}() during a client's handshake closes its channel`, async () => {
    const { channel, clock, dispatcher } = await shakingClient();
    dispatcher[method]();
    await turns();
    assert(channel.closed);
    assertEquals(dispatcher.trace, []);
    assertEquals(clock.armed, 0);
  });
}

Deno.test("close() during a client's handshake gives up after the linger time", async () => {
  const { clock, map, network } = setUp();
  const channel = new HandshakeChannel();
  const options = { map, linger: 300 };
  const dispatcher = connecting(new DispatcherWithSend(null, options));
  network.succeed(channel);
  dispatcher.send(bytes("spam"));
  await passes(map, 3);
  dispatcher.close();
  await clock.advance(300);
  assert(!dispatcher.closing);
  assert(channel.closed);
});

Deno.test("close() of a listener closes those at their handshake", async () => {
  const { channel, clock, server } = await shakingServer();
  server.close();
  await turns();
  assert(channel.closed);
  assertEquals(server.trace, []);
  assertEquals(clock.armed, 0);
});

Deno.test("close() during a real handshake leaves nothing behind", async () => {
  await using map = scopedMap();
  using listener = Deno.listen(HERE);
  const dispatcher = client(map, listener.addr);
  using peer = await listener.accept();
  await passes(map, 5);
  dispatcher.close();
  await loopToEnd(map);
  assertEquals(dispatcher.trace, []);
  assertEquals(map.size, 0);
  // The handshake has begun, and nobody waits for its end.
  assertGreater(await peer.read(new Uint8Array(4096)) ?? 0, 0);
});

Deno.test("Silent and garbage-sending clients do not hold up the others", async () => {
  await using map = scopedMap();
  const server = new EchoServer(map, { handshakeTimeout: 2_000 });
  using _silent = await rawConnect(server.addr);
  using garbage = await rawConnect(server.addr);
  await garbage.write(bytes("GET / HTTP/1.0\r\n\r\n"));
  const dispatcher = client(map, server.named);
  await loopUntil(map, () => dispatcher.connected);
  await loopUntil(map, () => server.clientsGone === 2);
  assertEquals(server.trace, ["handleAccepted"]);
  // Deno keeps a silent descriptor until its peer ends; listening goes on.
  const second = client(map, server.named);
  await loopUntil(map, () => second.connected);
});

Deno.test("Silent clients beyond 256 cost the others no more than a second", async () => {
  const { map, network, clock } = setUp();
  const server = listening(new Recorder(map));
  const channels = Array.from({ length: 300 }, () => new HandshakeChannel());
  network.acceptor.push(...channels);
  const looping = watch(loop({ map }));
  await turns();
  const started = () => channels.filter((c) => c.handshakes > 0).length;
  assertEquals(started(), 257);
  await clock.advance(500);
  channels[0]!.fail(new Error("garbage"));
  await turns();
  assertEquals(started(), 258, "one has made room by itself");
  assertEquals(server.clientsGone, 1);
  await clock.advance(499);
  assertEquals(started(), 258);
  await clock.advance(1);
  await turns();
  assertEquals(started(), 300, "each of the rest has pushed out the oldest");
  assertEquals(server.clientsGone, 300 - 256);
  assert(channels.slice(1, 44).every(({ closed }) => closed));
  assert(channels.slice(44).every(({ closed }) => !closed));
  server.close();
  await turns();
  assert(channels.every(({ closed }) => closed));
  assert(looping.settled);
});

// Certificates and protocols

const REFUSALS: [what: string, server: SocketOptions, TlsOptions, RegExp][] = [
  [
    "an unknown issuer",
    {},
    { caCerts: [] },
    /Cannot connect to localhost:.*UnknownIssuer/,
  ],
  [
    "a certificate for another host",
    { tls: stranger },
    {},
    /not valid for name/,
  ],
  ["an expired certificate", { tls: expired }, {}, /expired/i],
  [
    "no protocol in common by ALPN",
    { tls: { alpnProtocols: ["two"] } },
    { alpnProtocols: ["one"] },
    /NoApplicationProtocol/,
  ],
];

for (const [what, options, tls, reason] of REFUSALS) {
  Deno.test(`connect() over TLS refuses ${what}, in handleError() and handleClose() once`, async () => {
    await using map = scopedMap();
    const server = new EchoServer(map, options);
    const dispatcher = client(map, server.named, { tls });
    await loopUntil(map, () => dispatcher.count("handleClose") === 1);
    await loopUntil(map, () => server.clientsGone === 1);
    await passes(map, 3);
    assertEquals(dispatcher.trace, FAILED);
    assertEquals(server.trace, []);
    assertMatch(String(dispatcher.errors[0]), reason);
  });
}

Deno.test("connect() over TLS to a server that talks no TLS fails at once", async () => {
  await using map = scopedMap();
  using listener = Deno.listen(HERE);
  const dispatcher = client(map, listener.addr);
  using plain = await listener.accept();
  await plain.write(bytes("220 no TLS here\r\n"));
  await loopToEnd(map);
  assertEquals(dispatcher.trace, FAILED);
});

Deno.test("unsafelyDisableHostnameVerification takes any host's certificate", async () => {
  await using map = scopedMap();
  const server = new EchoServer(map, { tls: stranger });
  const tls = { unsafelyDisableHostnameVerification: true };
  const dispatcher = client(map, server.named, { tls });
  await loopUntil(map, () => dispatcher.count("handleConnect") === 1);
});

Deno.test("alpnProtocols has client and server agree on a protocol", async () => {
  await using map = scopedMap();
  const server = new EchoServer(map, {
    tls: { alpnProtocols: ["two", "one"] },
  });
  const tls = { alpnProtocols: ["one"] };
  const dispatcher = client(map, server.named, { tls });
  await loopUntil(map, () => dispatcher.connected);
  const conn = dispatcher.socket as unknown as Deno.TlsConn;
  assertEquals((await conn.handshake()).alpnProtocol, "one");
});

/** Asks its client for a certificate, and says what it got. */
const DEMANDING_SERVER = `
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
context.load_verify_locations(sys.argv[3])
context.verify_mode = ssl.CERT_REQUIRED
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
conn = context.wrap_socket(listener.accept()[0], server_side=True)
print(conn.getpeercert()["subjectAltName"], flush=True)
`;

Deno.test({
  name: "tls.cert of a client is shown to a server that asks for it",
  ignore: !canRun("python3", "-c", "import ssl"),
  fn: async () => {
    await using map = scopedMap();
    const pems = [good.cert, good.key, ca];
    const { child, port } = await startPython(DEMANDING_SERVER, pems);
    await using server = child;
    const address = { hostname: "localhost", port };
    const dispatcher = client(map, address, { tls: stranger });
    await loopUntil(map, () => dispatcher.connected);
    const seen = server.until("");
    await loopToEnd(map);
    assertStringIncludes(await seen, "elsewhere.test");
  },
});

for (const wrong of [{ cert: "x" }, { key: "x" }]) {
  Deno.test(`tls of a client with ${Deno.inspect(wrong)}, which is no PEM, ends in handleError()`, async () => {
    await using map = scopedMap();
    using listener = Deno.listen(HERE);
    const tls = { ...stranger, ...wrong };
    const dispatcher = client(map, listener.addr, { tls });
    await loopToEnd(map);
    assertEquals(dispatcher.trace, FAILED);
  });
}

// Bytes around the handshake

/** A client that has something to send from the beginning. */
function early(map: SocketMap, address: Address | Deno.Addr) {
  const handler = new DispatcherWithSend(null, { map });
  const dispatcher = connecting(handler, address, TRUSTING);
  dispatcher.send(bytes("first,"));
  return dispatcher;
}

Deno.test("send() before the handshake arrives after it", async () => {
  await using map = scopedMap();
  const dispatcher = early(map, new EchoServer(map).named);
  let answer = "";
  dispatcher.handleConnect = () => void dispatcher.send(bytes("second"));
  dispatcher.handleRead = () => void (answer += text(dispatcher.recv()));
  await loopUntil(map, () => answer.length >= 12);
  assertEquals(answer, "first,second");
});

Deno.test("close() right after send() lets the bytes out after the handshake", async () => {
  await using map = scopedMap();
  using listener = Deno.listenTls({ ...HERE, ...good });
  early(map, listener.addr).close();
  const received = listener.accept()
    .then((conn) => new Response(conn.readable).text());
  await loopToEnd(map);
  assertEquals(await received, "first,");
});

// Options

const PEM = { cert: "cert", key: "key" };

const BAD_OPTIONS: [unknown, typeof TypeError | typeof RangeError, string][] = [
  [{ tls: {} }, TypeError, 'tls is for transport "tls"'],
  [{ transport: "tcp", tls: PEM }, TypeError, 'tls is for transport "tls"'],
  [{ transport: "unix", tls: {} }, TypeError, 'tls is for transport "tls"'],
  [{ transport: "tls", tls: { cert: "x" } }, TypeError, "tls.key is missing"],
  [{ transport: "tls", tls: { key: "x" } }, TypeError, "tls.cert is missing"],
  [{ transport: "tls", tls: { cert: 1, key: "x" } }, TypeError, "tls.cert"],
  [{ transport: "tls", tls: { cert: "x", key: [] } }, TypeError, "tls.key"],
  [{ transport: "tls", tls: { caCerts: "x" } }, TypeError, "tls.caCerts"],
  [{ transport: "tls", tls: { caCerts: [1] } }, TypeError, "tls.caCerts"],
  [{ transport: "tls", tls: { alpnProtocols: [null] } }, TypeError, "tls.alpn"],
  [
    { transport: "tls", tls: { unsafelyDisableHostnameVerification: "no" } },
    TypeError,
    "unsafelyDisableHostnameVerification",
  ],
  [{ transport: "tls", tls: null }, TypeError, "tls must not be null"],
  [{ transport: "tls", tls: "x" }, TypeError, "got"],
  [{ transport: "quic" }, TypeError, "transport must be"],
  [{ transport: "TLS" }, TypeError, "transport must be"],
  [{ transport: null }, TypeError, "transport must not be null"],
  [{ handshakeTimeout: -1 }, RangeError, "handshakeTimeout"],
  [{ handshakeTimeout: NaN }, RangeError, "handshakeTimeout"],
  [{ handshakeTimeout: "1" }, TypeError, "handshakeTimeout"],
  [{ connectTimeout: -1 }, RangeError, "connectTimeout"],
  [{ connectTimeout: "1" }, TypeError, "connectTimeout"],
];

for (const [options, type, message] of BAD_OPTIONS) {
  Deno.test(`createSocket(${Deno.inspect(options)}) is refused`, () => {
    const map = quietMap();
    const dispatcher = new Recorder(map);
    const create = () => dispatcher.createSocket(options as SocketOptions);
    assertThrows(create, type, message);
    assertEquals(map.size, 0);
    assertEquals(dispatcher.socket, null);
    dispatcher.createSocket(); // It was not half made.
    dispatcher.close();
  });
}

const NO_SERVER: [TlsOptions, string][] = [
  [{}, "needs tls.cert and tls.key to listen"],
  [{ ...PEM, caCerts: ["z"] }, "a server asks for no certificate"],
  [
    { ...PEM, unsafelyDisableHostnameVerification: true },
    "a server asks for no certificate",
  ],
  [PEM, "Cannot listen on 127.0.0.1:0"], // It is no PEM.
];

for (const [tls, message] of NO_SERVER) {
  Deno.test(`bind() with tls ${Deno.inspect(tls)} is refused, and binds nothing`, () => {
    const map = quietMap();
    const dispatcher = new Recorder(map);
    dispatcher.createSocket({ transport: "tls", tls });
    assertThrows(() => dispatcher.bind(HERE), Error, message);
    assertEquals(dispatcher.socket, null);
    assertEquals(dispatcher.addr, null);
    dispatcher.close();
    assertEquals(map.size, 0);
  });
}
