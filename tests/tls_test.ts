import {
  assert,
  assertEquals,
  assertGreater,
  assertInstanceOf,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  type Address,
  type Channel,
  type DispatcherOptions,
  DispatcherWithSend,
  loop,
  type SocketOptions,
  type TlsOptions,
} from "../mod.ts";
import {
  certificates,
  type Certified,
  hasCommand,
  testTls,
} from "./certificates.ts";
import {
  FakeAcceptor,
  FakeChannel,
  FakeNetwork,
  LogLines,
  loopToEnd,
  passes,
  pattern,
  quietMap,
  Recorder,
  watch,
} from "./fakes.ts";
import { MockClock } from "../testing/mock_clock.ts";
import { Child } from "./peers.ts";
import {
  bytes,
  families,
  isMissing,
  loopUntil,
  rawConnect,
  ScopedMap,
  type TestMap,
  text,
  turns,
} from "./support.ts";

const [IPV4, IPV6] = families;

const quiet = () => new ScopedMap({ logger: new LogLines() });

/** A TLS client that trusts the tests' authority. */
function client(map: TestMap, options: SocketOptions = {}): Recorder {
  const dispatcher = new Recorder(map);
  const tls = { caCerts: [certificates().ca], ...options.tls };
  dispatcher.createSocket({ ...options, transport: "tls", tls });
  return dispatcher;
}

/** Sends back what comes over each connection that it accepts. */
class EchoServer extends Recorder {
  readonly accepted: EchoConnection[] = [];

  constructor(map: TestMap, socket: SocketOptions, address: Address) {
    super(map);
    this.createSocket({ ...socket, transport: "tls" });
    this.bind(address);
    this.listen();
  }
  override handleAccepted(conn: Channel): void {
    this.note("handleAccepted");
    this.accepted.push(new EchoConnection(conn, { map: this.map }));
  }
}

class EchoConnection extends DispatcherWithSend {
  override handleRead(): void {
    this.send(this.recv());
  }
  override handleClose(): void {
    this.close();
  }
}

/** A server with `certified`, which is the good certificate by default. */
function listen(
  map: TestMap,
  certified: Certified = certificates().good,
  { tls, ...options }: SocketOptions = {},
): EchoServer {
  const address = { hostname: "127.0.0.1", port: 0 };
  return new EchoServer(
    map,
    { ...options, tls: { ...certified, ...tls } },
    address,
  );
}

/** The address of a server under the name that its certificate is for. */
function named(server: Recorder, hostname = "localhost"): Address {
  return { hostname, port: (server.addr as Deno.NetAddr).port };
}

/** A fake connection whose handshake is the test's. */
class HandshakeChannel extends FakeChannel {
  readonly #handshake = Promise.withResolvers<void>();
  handshakes = 0;

  handshake(): Promise<void> {
    this.handshakes++;
    return this.#handshake.promise;
  }
  succeed(): void {
    this.#handshake.resolve();
  }
  fail(error: Error): void {
    this.#handshake.reject(error);
  }
  override close(): void {
    super.close();
    this.fail(new Deno.errors.Interrupted("closed"));
  }
}

/** A map on whose network every connection has a handshake of the test's. */
function faked() {
  const network = new FakeNetwork();
  const clock = new MockClock();
  const map = quietMap({ network, clock });
  const channel = new HandshakeChannel();
  return { network, clock, map, channel };
}

/** Collects `wanted` bytes that it has sent. */
class Sender extends DispatcherWithSend {
  readonly #data: Uint8Array;
  readonly back: Uint8Array[] = [];
  received = 0;

  constructor(data: Uint8Array, options: DispatcherOptions) {
    super(null, options);
    this.#data = data;
  }
  override handleConnect(): void {
    this.send(this.#data);
  }
  override handleRead(): void {
    const data = this.recv();
    this.back.push(data);
    this.received += data.length;
    if (this.received === this.#data.length) this.close();
  }
}

for (const family of [IPV4!, IPV6!]) {
  testTls(`TLS carries 1 MiB there and back (${family.name})`, async () => {
    await using map = new ScopedMap();
    const { good, ca } = certificates();
    const server = new EchoServer(map, { tls: good }, family.address());
    const data = pattern(1024 * 1024);
    const sender = new Sender(data, { map });
    sender.createSocket({ transport: "tls", tls: { caCerts: [ca] } });
    sender.connect(server.addr as Deno.NetAddr);
    await loopUntil(map, () => sender.received >= data.length);
    const back = new Uint8Array(
      await new Blob(sender.back as BlobPart[])
        .arrayBuffer(),
    );
    assert(back.every((byte, index) => byte === data[index]));
    assertEquals(back.length, data.length);
  }, { ignore: isMissing(family) });
}

testTls(
  "handleConnect() and handleAccepted() run after the handshake",
  async () => {
    await using map = quiet();
    const server = listen(map);
    const raw = await rawConnect(server.addr);
    const dispatcher = client(map);
    dispatcher.connect(named(server));
    await loopUntil(map, () => dispatcher.count("handleConnect") === 1);
    await loopUntil(map, () => server.count("handleAccepted") === 1);
    assert(dispatcher.connected);
    // The silent connection, which came first, has no handler.
    assertEquals(server.accepted.length, 1);
    raw.close();
  },
);

Deno.test("handleConnect() waits for the channel's handshake", async () => {
  const { map, network, channel } = faked();
  const dispatcher = new Recorder(map);
  dispatcher.createSocket({ transport: "tls" });
  dispatcher.connect({ port: 7 });
  network.succeed(channel);
  await passes(map, 3);
  assertEquals(channel.handshakes, 1);
  assertEquals(dispatcher.trace, []);
  assert(dispatcher.connecting);
  channel.succeed();
  await turns();
  await passes(map, 2);
  assertEquals(dispatcher.trace, ["handleConnect"]);
  dispatcher.abort();
  await turns();
});

Deno.test("handleAccepted() waits for the channel's handshake", async () => {
  const { map, network, channel } = faked();
  const server = new Recorder(map);
  server.createSocket();
  server.bind({ port: 0 });
  server.listen();
  network.acceptor.push(channel);
  await passes(map, 3);
  assertEquals(server.trace, []);
  channel.succeed();
  await turns();
  await passes(map, 2);
  assertEquals(server.trace, ["handleAccepted"]);
  server.close();
});

/** Connects to a server that must not be trusted, and returns the reason. */
async function refused(
  certified: Certified,
  hostname: string,
  tls: TlsOptions,
): Promise<Error> {
  await using map = quiet();
  const server = listen(map, certified);
  const dispatcher = client(map, { tls });
  dispatcher.connect(named(server, hostname));
  await loopUntil(map, () => dispatcher.count("handleClose") === 1);
  await loopUntil(map, () => server.clientsGone === 1);
  await passes(map, 3);
  assertEquals(dispatcher.trace, ["handleError", "handleClose"]);
  assertEquals(server.trace, []);
  const [error] = dispatcher.errors;
  assertInstanceOf(error, Error);
  return error;
}

testTls(
  "an unknown issuer ends in handleError() and handleClose() once",
  async () => {
    const { message } = await refused(certificates().good, "localhost", {
      caCerts: [],
    });
    assertStringIncludes(message, "UnknownIssuer");
    assertStringIncludes(message, "Cannot connect to localhost:");
  },
);

testTls("a certificate for another host is refused", async () => {
  const { message } = await refused(certificates().stranger, "localhost", {});
  assertStringIncludes(message, "not valid for name");
});

testTls("an expired certificate is refused", async () => {
  const { message } = await refused(certificates().expired, "localhost", {});
  assertStringIncludes(message.toLowerCase(), "expired");
});

testTls(
  "unsafelyDisableHostnameVerification takes any host's certificate",
  async () => {
    await using map = quiet();
    const server = listen(map, certificates().stranger);
    const tls = { unsafelyDisableHostnameVerification: true };
    const dispatcher = client(map, { tls });
    dispatcher.connect(named(server));
    await loopUntil(map, () => dispatcher.count("handleConnect") === 1);
  },
);

testTls(
  "silent and garbage-sending peers do not hold up the others",
  async () => {
    await using map = quiet();
    const server = listen(map, certificates().good, {
      handshakeTimeout: 2_000,
    });
    const silent = await rawConnect(server.addr);
    const garbage = await rawConnect(server.addr);
    await garbage.write(bytes("GET / HTTP/1.0\r\n\r\n"));
    const dispatcher = client(map);
    dispatcher.connect(named(server));
    await loopUntil(map, () => dispatcher.connected);
    await loopUntil(map, () => server.clientsGone === 2);
    assertEquals(server.count("handleAccepted"), 1);
    assertEquals(server.count("handleError"), 0);
    // Deno keeps a silent descriptor until its peer ends; listening goes on.
    const second = client(map);
    second.connect(named(server));
    await loopUntil(map, () => second.connected);
    silent.close();
    garbage.close();
  },
);

Deno.test("a handshake that is never answered ends after 10 s by default", async () => {
  const { map, network, channel, clock } = faked();
  const server = new Recorder(map);
  server.createSocket();
  server.bind({ port: 0 });
  server.listen();
  network.acceptor.push(channel);
  await passes(map, 3);
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

Deno.test("a client gives a silent server up with TimedOut after 10 s", async () => {
  const { map, network, channel, clock } = faked();
  const dispatcher = new Recorder(map);
  dispatcher.createSocket({ transport: "tls" });
  dispatcher.connect({ port: 7 });
  network.succeed(channel);
  await passes(map, 3);
  await clock.advance(9_999);
  await passes(map, 2);
  assertEquals(dispatcher.trace, []);
  await clock.advance(1);
  await passes(map, 2);
  await turns();
  await passes(map, 2);
  assertEquals(dispatcher.trace, ["handleError", "handleClose"]);
  assertInstanceOf(dispatcher.errors[0], Deno.errors.TimedOut);
  assertStringIncludes(
    (dispatcher.errors[0] as Error).message,
    "No TLS handshake within 10000 ms",
  );
  assert(channel.closed);
});

testTls(
  "a client gives a silent server up within handshakeTimeout",
  async () => {
    await using map = quiet();
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const dispatcher = client(map, { handshakeTimeout: 50 });
    dispatcher.connect(listener.addr);
    using _silent = await listener.accept();
    await loopToEnd(map);
    assertEquals(dispatcher.trace, ["handleError", "handleClose"]);
    assertInstanceOf(dispatcher.errors[0], Deno.errors.TimedOut);
  },
);

testTls("a client whose server talks no TLS fails at once", async () => {
  await using map = quiet();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const dispatcher = client(map);
  dispatcher.connect(listener.addr);
  using plain = await listener.accept();
  await plain.write(bytes("220 no TLS here\r\n"));
  await loopToEnd(map);
  assertEquals(dispatcher.trace, ["handleError", "handleClose"]);
});

testTls("client and server agree on a protocol by ALPN", async () => {
  await using map = quiet();
  const { good } = certificates();
  const server = listen(map, good, { tls: { alpnProtocols: ["two", "one"] } });
  const dispatcher = client(map, { tls: { alpnProtocols: ["one"] } });
  dispatcher.connect(named(server));
  await loopUntil(map, () => dispatcher.connected);
  const conn = dispatcher.socket as unknown as Deno.TlsConn;
  assertEquals((await conn.handshake()).alpnProtocol, "one");
});

testTls(
  "no protocol in common by ALPN ends in handleError() once",
  async () => {
    await using map = quiet();
    const { good } = certificates();
    const server = listen(map, good, { tls: { alpnProtocols: ["two"] } });
    const dispatcher = client(map, { tls: { alpnProtocols: ["one"] } });
    dispatcher.connect(named(server));
    await loopUntil(map, () => dispatcher.count("handleClose") === 1);
    assertEquals(dispatcher.trace, ["handleError", "handleClose"]);
    await loopUntil(map, () => server.clientsGone === 1);
  },
);

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

testTls(
  "a client shows its certificate to a server that asks for it",
  async () => {
    await using map = quiet();
    const { good, ca, stranger } = certificates();
    const directory = await Deno.makeTempDir();
    const files = ["cert", "key", "ca"].map((name) => `${directory}/${name}`);
    for (const [i, pem] of [good.cert, good.key, ca].entries()) {
      await Deno.writeTextFile(files[i]!, pem);
    }
    const args = ["-c", DEMANDING_SERVER, ...files];
    await using server = new Child("python3", args);
    const port = Number(await server.until(""));
    await Deno.remove(directory, { recursive: true }); // It was loaded.
    const dispatcher = client(map, { tls: stranger });
    dispatcher.connect({ hostname: "localhost", port });
    await loopUntil(map, () => dispatcher.connected);
    const seen = server.until("");
    await loopToEnd(map);
    assertStringIncludes(await seen, "elsewhere.test");
  },
  { ignore: !hasCommand("python3", "-c", "import ssl") },
);

Deno.test("a server that is told whom to trust is refused: it asks nobody", () => {
  const map = quietMap();
  const server = new Recorder(map);
  const tls = { cert: "x", key: "y" };
  for (
    const wrong of [
      { caCerts: ["z"] },
      { unsafelyDisableHostnameVerification: true },
    ]
  ) {
    server.createSocket({ transport: "tls", tls: { ...tls, ...wrong } });
    const bind = () => server.bind({ port: 0 });
    assertThrows(bind, TypeError, "a server asks for no certificate");
    server.close();
  }
});

for (
  const [what, tls] of [["certificate", { cert: "x" }], ["key", {
    key: "x",
  }]] as const
) {
  testTls(
    `a client's ${what} that is no PEM ends in handleError()`,
    async () => {
      await using map = quiet();
      using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      const { stranger } = certificates();
      const dispatcher = client(map, { tls: { ...stranger, ...tls } });
      dispatcher.connect(listener.addr);
      await loopToEnd(map);
      assertEquals(dispatcher.trace, ["handleError", "handleClose"]);
    },
  );
}

testTls(
  "bytes that were accepted before the handshake arrive after it",
  async () => {
    await using map = new ScopedMap();
    const server = listen(map);
    const dispatcher = new DispatcherWithSend(null, { map });
    const tls = { caCerts: [certificates().ca] };
    dispatcher.createSocket({ transport: "tls", tls });
    dispatcher.connect(named(server));
    let answer = "";
    dispatcher.handleConnect = () => void dispatcher.send(bytes("second"));
    dispatcher.handleRead = () => void (answer += text(dispatcher.recv()));
    assertEquals(dispatcher.send(bytes("first,")), 6);
    await loopUntil(map, () => answer.length >= 12);
    assertEquals(answer, "first,second");
  },
);

testTls(
  "close() right after send() lets the bytes out after the handshake",
  async () => {
    await using map = new ScopedMap();
    const { good, ca } = certificates();
    using listener = Deno.listenTls({
      hostname: "127.0.0.1",
      port: 0,
      ...good,
    });
    const dispatcher = new DispatcherWithSend(null, { map });
    dispatcher.createSocket({ transport: "tls", tls: { caCerts: [ca] } });
    dispatcher.connect(listener.addr as Deno.NetAddr);
    dispatcher.send(bytes("spam"));
    dispatcher.close();
    const received = listener.accept().then((conn) =>
      new Response(conn.readable).text()
    );
    await loopToEnd(map);
    assertEquals(await received, "spam");
  },
);

for (const method of ["close", "abort"] as const) {
  Deno.test(`${method}() during a client's handshake closes its channel`, async () => {
    const { map, network, channel, clock } = faked();
    const dispatcher = new Recorder(map);
    dispatcher.createSocket({ transport: "tls" });
    dispatcher.connect({ port: 7 });
    network.succeed(channel);
    await passes(map, 3);
    assertEquals(channel.handshakes, 1);
    dispatcher[method]();
    await turns();
    assert(channel.closed);
    assertEquals(dispatcher.trace, []);
    assertEquals(clock.armed, 0);
  });
}

Deno.test("close() during a client's handshake gives up after the linger time", async () => {
  const { map, network, channel, clock } = faked();
  const dispatcher = new DispatcherWithSend(null, { map, linger: 300 });
  dispatcher.createSocket({ transport: "tls" });
  dispatcher.connect({ port: 7 });
  network.succeed(channel);
  dispatcher.send(bytes("spam"));
  await passes(map, 3);
  dispatcher.close();
  await clock.advance(300);
  assert(!dispatcher.closing);
  assert(channel.closed);
});

Deno.test("close() of a listener closes those at their handshake", async () => {
  const { map, network, channel, clock } = faked();
  const server = new Recorder(map);
  server.createSocket();
  server.bind({ port: 0 });
  server.listen();
  network.acceptor.push(channel);
  await passes(map, 3);
  server.close();
  await turns();
  assert(channel.closed);
  assertEquals(server.trace, []);
  assertEquals(clock.armed, 0);
});

testTls("close() during a real handshake leaves nothing behind", async () => {
  await using map = quiet();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const dispatcher = client(map);
  dispatcher.connect(listener.addr);
  using peer = await listener.accept();
  await passes(map, 5);
  dispatcher.close();
  await loopToEnd(map);
  assertEquals(dispatcher.trace, []);
  assertEquals(map.size, 0);
  // The handshake has begun, and nobody waits for its end.
  assertGreater(await peer.read(new Uint8Array(4096)) ?? 0, 0);
});

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
  [{ transport: "tls", tls: null }, TypeError, "got null"],
  [{ transport: "tls", tls: "x" }, TypeError, "got"],
  [{ transport: "quic" }, TypeError, "transport must be"],
  [{ transport: "TLS" }, TypeError, "transport must be"],
  [{ transport: null }, TypeError, "transport must be"],
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

Deno.test("bind() of a TLS socket needs a certificate", () => {
  const map = quietMap();
  const dispatcher = new Recorder(map);
  dispatcher.createSocket({ transport: "tls" });
  const bind = () => dispatcher.bind({ hostname: "127.0.0.1", port: 0 });
  assertThrows(bind, TypeError, "needs tls.cert and tls.key to listen");
  assertEquals(dispatcher.socket, null);
  assertEquals(dispatcher.addr, null);
  dispatcher.close();
  assertEquals(map.size, 0);
});

Deno.test("bind() with a certificate that is no PEM throws and binds nothing", () => {
  const map = quietMap();
  const dispatcher = new Recorder(map);
  dispatcher.createSocket({ transport: "tls", tls: PEM });
  assertThrows(
    () => dispatcher.bind({ hostname: "127.0.0.1", port: 0 }),
    Error,
    "Cannot listen on 127.0.0.1:0",
  );
  assertEquals(dispatcher.socket, null);
  assertEquals(dispatcher.accepting, false);
  dispatcher.close();
});

Deno.test("a handshake that throws at once is an error like any other", async () => {
  const { map, network } = faked();
  const dispatcher = new Recorder(map);
  const channel = Object.assign(new FakeChannel(), {
    handshake(): Promise<void> {
      throw new Error("spam");
    },
  });
  dispatcher.createSocket({ transport: "tls" });
  dispatcher.connect({ port: 7 });
  network.succeed(channel);
  await loopToEnd(map);
  assertEquals(dispatcher.trace, ["handleError", "handleClose"]);
  assert(channel.closed);
});

Deno.test("Silent clients beyond 256 cost the others no more than a second", async () => {
  const { map, network, clock } = faked();
  const server = new Recorder(map);
  server.createSocket();
  server.bind({ port: 0 });
  server.listen();
  const channels = Array.from({ length: 300 }, () => new HandshakeChannel());
  network.acceptor.push(...channels);
  assertInstanceOf(network.acceptor, FakeAcceptor);
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
