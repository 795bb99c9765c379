import {
  assert,
  assertEquals,
  assertFalse,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import {
  AsyncChat,
  type Channel,
  channelFrom,
  DispatcherWithSend,
  type StartTlsOptions,
} from "../mod.ts";
import { certificates, hasCommand, testTls } from "./certificates.ts";
import {
  FakeChannel,
  FakeNetwork,
  LogLines,
  loopToEnd,
  passes,
  quietMap,
} from "./fakes.ts";
import { Child } from "./peers.ts";
import { toText } from "@std/streams";
import {
  bytes,
  captureRejections,
  connectedPair,
  loopUntil,
  ScopedMap,
  type TestMap,
  text,
  turns,
} from "./support.ts";

const hasPython = hasCommand("python3", "-c", "import ssl");

/** Says READY, waits for STARTTLS, says GO, and then echoes over TLS. */
const PEER = `
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
conn, _ = listener.accept()
assert conn.recv(100) == b"STARTTLS\\n"
conn.sendall(b"GO\\n")
try:
    conn = context.wrap_socket(conn, server_side=True)
    while data := conn.recv(65536):
        print("secure", data.decode(), flush=True)
        conn.sendall(data.upper())
except OSError as error:
    print("failed", error, flush=True)
`;

const quiet = () => new ScopedMap({ logger: new LogLines() });

/** Asks for TLS, and writes down what happens. */
class Client extends DispatcherWithSend {
  readonly trace: string[] = [];
  readonly errors: unknown[] = [];
  received = "";
  /** What to do when the peer says that it is ready for TLS. */
  upgrade: () => void | Promise<void> = () => {};

  constructor(map: TestMap, channel: Channel | null = null) {
    super(channel, { map });
  }
  override handleConnect(): void {
    this.send(bytes("STARTTLS\n"));
  }
  override handleRead(): void | Promise<void> {
    const data = text(this.recv());
    if (data === "GO\n") return this.upgrade();
    this.received += data;
  }
  override handleError(error: unknown): void {
    this.trace.push("handleError");
    this.errors.push(error);
    this.handleClose();
  }
  override handleClose(): void {
    this.trace.push("handleClose");
    this.close();
  }
}

/** The Python peer, and the port that it listens on. */
async function startPeer() {
  const directory = await Deno.makeTempDir();
  const { good } = certificates();
  await Deno.writeTextFile(`${directory}/cert`, good.cert);
  await Deno.writeTextFile(`${directory}/key`, good.key);
  const args = ["-c", PEER, `${directory}/cert`, `${directory}/key`];
  const child = new Child("python3", args);
  const port = Number(await child.until(""));
  await Deno.remove(directory, { recursive: true }); // It was loaded.
  return { child, port };
}

/** Connects to the peer, and returns the client when `done()` says so. */
async function converse(
  upgrade: (client: Client) => void | Promise<void>,
  done: (client: Client) => boolean,
): Promise<{ client: Client; line: string }> {
  await using map = quiet();
  const { child, port } = await startPeer();
  await using _peer = child;
  const client = new Client(map);
  client.upgrade = () => upgrade(client);
  client.createSocket();
  client.connect({ hostname: "127.0.0.1", port });
  await loopUntil(map, () => done(client));
  client.close();
  await loopToEnd(map);
  return { client, line: await child.until("") };
}

const trusted = (): StartTlsOptions => ({ caCerts: [certificates().ca] });
const ignore = { ignore: !hasPython };

testTls("startTls() in an async hook secures the connection", async () => {
  const { client, line } = await converse(async (client) => {
    await client.startTls(trusted());
    client.send(bytes("spam"));
  }, ({ received }) => received === "SPAM");
  assertEquals(line, "secure spam");
  assertEquals(client.trace, []);
}, ignore);

testTls(
  "startTls() that is not awaited sends what follows encrypted",
  async () => {
    const { client, line } = await converse((client) => {
      client.startTls(trusted());
      client.send(bytes("at once"));
    }, ({ received }) => received === "AT ONCE");
    assertEquals(line, "secure at once");
    assertEquals(client.trace, []);
  },
  ignore,
);

testTls("startTls() checks the name that it is given", async () => {
  const { client, line } = await converse(
    (client) => client.startTls({ ...trusted(), hostname: "elsewhere.test" }),
    ({ trace }) => trace.includes("handleClose"),
  );
  assertEquals(client.trace, ["handleError", "handleClose"]);
  assertStringIncludes(String(client.errors[0]), "not valid for name");
  assertStringIncludes(line, "failed");
}, ignore);

testTls("startTls() that fails unawaited is told once, too", async () => {
  const { client } = await converse((client) => {
    client.startTls({}).catch(() => {});
    client.send(bytes("secret"));
  }, ({ trace }) => trace.includes("handleClose"));
  assertEquals(client.trace, ["handleError", "handleClose"]);
  assertStringIncludes(String(client.errors[0]), "UnknownIssuer");
}, ignore);

/** Says GO to a client over loopback, and returns both ends. */
async function pair(map: TestMap): Promise<[Client, Deno.Conn]> {
  const [conn, peer] = await connectedPair();
  const client = new Client(map, conn);
  await peer.write(bytes("GO\n"));
  return [client, peer];
}

/** Expects a refusal for this reason. */
function assertRefused(client: Client, reason: string): Promise<Error> {
  return assertRejects(() => client.startTls(), Error, reason);
}

/** Has both ends say something in plain text. */
async function assertUsable(map: TestMap, client: Client, peer: Deno.Conn) {
  client.send(bytes("plain"));
  const buffer = new Uint8Array(100);
  const length = await peer.read(buffer);
  assertEquals(text(buffer.subarray(0, length!)), "plain");
  await peer.write(bytes("too"));
  await loopUntil(map, () => client.received.endsWith("too"));
  assertEquals(client.trace, []);
  peer.close();
}

Deno.test("startTls() outside of a hook is refused: a read is in flight", async () => {
  await using map = quiet();
  const [client, peer] = await pair(map);
  let told = false;
  client.upgrade = () => void (told = true);
  await loopUntil(map, () => told);
  await loopUntil(map, () => true);
  await turns();
  const { message } = await assertRefused(client, "a read is in flight");
  assertStringIncludes(message, "Cannot start TLS");
  await assertUsable(map, client, peer);
});

Deno.test("startTls() ends the connection while unencrypted bytes wait: they may be anybody's", async () => {
  await using map = quiet();
  const [client, peer] = await pair(map);
  let refused: Promise<unknown> | null = null;
  const read = client.handleRead;
  client.handleRead = () => {
    client.handleRead = read;
    client.recv(1);
    refused = assertRefused(client, "unencrypted bytes wait to be read");
    client.send(bytes("secret"));
  };
  await loopUntil(map, () => client.trace.length === 2);
  await refused;
  assertEquals(client.trace, ["handleError", "handleClose"]);
  assertEquals(client.received, "");
  using _peer = peer;
  assertEquals(await toText(peer.readable), "");
});

Deno.test("startTls() is refused while bytes are being sent", async () => {
  await using map = quiet();
  const [client, peer] = await pair(map);
  let refused: Promise<unknown> | null = null;
  client.upgrade = () => {
    client.send(bytes("x"));
    refused = assertRefused(client, "unencrypted bytes are being sent");
  };
  await loopUntil(map, () => refused !== null);
  await refused;
  assertEquals(await peer.read(new Uint8Array(1)), 1);
  await assertUsable(map, client, peer);
});

Deno.test("startTls() of what is not connected is refused", async () => {
  const map = quietMap();
  const client = new Client(map);
  await assertRefused(client, "call connect() first");
  client.createSocket();
  await assertRefused(client, "call connect() first");
  client.close();
});

Deno.test("startTls() after close() is refused", async () => {
  const client = new Client(quietMap(), new FakeChannel());
  client.close();
  await assertRefused(client, "Cannot start TLS");
});

Deno.test("startTls() is refused while an earlier one is under way", async () => {
  await using map = quiet();
  const [client, peer] = await pair(map);
  const errors: unknown[] = [];
  client.upgrade = () => {
    client.startTls().catch(() => {});
    client.startTls().catch((error) => errors.push(error));
  };
  await loopUntil(map, () => errors.length > 0);
  assertStringIncludes(String(errors[0]), "Cannot start TLS");
  peer.close();
});

const WRONG_OPTIONS = [
  { hostname: 5 },
  { cert: "x" },
  { cert: "x", key: "y" }, // Deno would not show it.
  { caCerts: "x" },
  { unsafelyDisableHostnameVerification: "no" },
  null,
];

for (const options of WRONG_OPTIONS) {
  Deno.test(`startTls(${Deno.inspect(options)}) leaves the plain connection`, async () => {
    await using map = quiet();
    const [client, peer] = await pair(map);
    let error: unknown;
    client.upgrade = async () => {
      const wrong = options as unknown as StartTlsOptions;
      error = await client.startTls(wrong).catch((error) => error);
    };
    await loopUntil(map, () => error !== undefined);
    assertInstanceOf(error, TypeError);
    await assertUsable(map, client, peer);
  });
}

testTls("close() during startTls() runs no hook", async () => {
  await using map = quiet();
  const [client, peer] = await pair(map);
  let begun = false;
  let done = false;
  client.upgrade = () => {
    begun = true;
    client.startTls(trusted()).catch(() => {}).finally(() => done = true);
  };
  await loopUntil(map, () => map.size === 1 && client.received === "");
  await loopUntil(map, () => begun);
  client.close();
  peer.close();
  await loopUntil(map, () => done);
  assertEquals(client.trace, []);
  assert(!client.connected);
});

Deno.test("close() during startTls() ends the connection behind the handshake, if something was sent", async () => {
  const network = new FakeNetwork();
  const secured = Promise.withResolvers<Channel>();
  Object.assign(network, { startTls: () => secured.promise });
  const map = quietMap({ network });
  const [plain, secret] = [new FakeChannel(), new FakeChannel()];
  const client = new Client(map, plain);
  client.send(bytes("STARTTLS\n"));
  await turns();
  client.startTls({ hostname: "localhost" });
  client.close();
  await turns();
  assertFalse(plain.closed, "its peer may not have read all of it");
  secured.resolve(secret);
  await loopToEnd(map);
  assert(secret.writeEnded);
  assert(secret.closed);
});

Deno.test("startTls() over what is no TCP connection is refused, and leaves it usable", async () => {
  await using map = quiet();
  const wires = [new TransformStream(), new TransformStream()] as const;
  const ours = { readable: wires[0].readable, writable: wires[1].writable };
  const theirs = wires[0].writable.getWriter();
  const client = new Client(map, channelFrom(ours));
  let refused: Promise<unknown> | null = null;
  client.upgrade = () => {
    const options = { hostname: "localhost" };
    const reason = "over a TCP connection only";
    refused = assertRejects(() => client.startTls(options), Error, reason);
  };
  theirs.write(bytes("GO\n"));
  await loopUntil(map, () => refused !== null);
  await refused;
  client.send(bytes("plain"));
  const { value } = await wires[1].readable.getReader().read();
  assertEquals(text(value), "plain");
  theirs.write(bytes("too"));
  await loopUntil(map, () => client.received === "too");
});

// Refusals that nobody awaits

/** A dispatcher over a fake channel, whose hook does what a test says. */
function fakeClient(options: { startTls?: boolean } = {}) {
  const network = new FakeNetwork();
  if (options.startTls !== false) {
    Object.assign(network, { startTls: () => new Promise(() => {}) });
  }
  const logger = new LogLines();
  const map = quietMap({ logger, network });
  const channel = new FakeChannel();
  const client = new Client(map);
  return { channel, client, logger, map };
}

type FakeClient = ReturnType<typeof fakeClient>;

/** Calls startTls() where it is refused; `await` is forgotten each time. */
const REFUSALS: Record<string, (scene: FakeClient) => void | Promise<void>> = {
  "call connect() first": ({ client }) => void client.startTls(),
  "it is not connected": ({ client }) => {
    client.createSocket();
    client.connect({ port: 7 });
    client.startTls();
  },
  "it speaks TLS already": ({ client, channel }) => {
    client.setSocket(
      Object.assign(channel, { handshake: () => Promise.resolve() }),
    );
    client.startTls({ hostname: "localhost" });
  },
  "its writing direction has ended": ({ client, channel }) => {
    client.setSocket(channel);
    client.shutdownWrite();
    client.startTls({ hostname: "localhost" });
  },
  "a read is in flight": async ({ client, channel, map }) => {
    client.setSocket(channel);
    await passes(map, 2);
    client.startTls({ hostname: "localhost" });
  },
  "unencrypted bytes are being sent": ({ client, channel }) => {
    channel.take = () => new Promise(() => {});
    client.setSocket(channel);
    client.send(bytes("spam"));
    client.startTls({ hostname: "localhost" });
  },
  "hostname must be a non-empty string": ({ client, channel }) => {
    client.setSocket(channel);
    client.startTls({ hostname: 5 as unknown as string });
  },
  "options must be an object": ({ client, channel }) => {
    client.setSocket(channel);
    client.startTls(null as unknown as StartTlsOptions);
  },
};

for (const [reason, refuse] of Object.entries(REFUSALS)) {
  Deno.test(`startTls() that nobody awaits is told in a warning: ${reason}`, async () => {
    using rejections = captureRejections();
    const scene = fakeClient();
    await refuse(scene);
    await turns();
    assertEquals(rejections.reasons, []);
    assertEquals(scene.logger.lines.length, 1);
    const [line] = scene.logger.lines;
    assertStringIncludes(
      line!,
      "was refused startTls(), and goes on as it was",
    );
    assertStringIncludes(line!, reason);
    assertEquals(scene.client.trace, []);
    scene.client.abort();
    await turns();
    scene.map.check();
  });
}

Deno.test("startTls() that nobody awaits is told in a warning: its network has no startTls()", async () => {
  using rejections = captureRejections();
  const { client, channel, logger } = fakeClient({ startTls: false });
  client.setSocket(channel);
  client.startTls({ hostname: "localhost" });
  await turns();
  assertEquals(rejections.reasons, []);
  assertStringIncludes(logger.lines.join(), "its network has no startTls()");
  client.abort();
});

/** Refusals that end the connection, and are told by the hooks. */
const ENDINGS: Record<string, StartTlsOptions> = {
  "unencrypted bytes wait to be read": { hostname: "localhost" },
  "hostname must not be empty": { hostname: "" },
};

for (const [reason, options] of Object.entries(ENDINGS)) {
  Deno.test(`startTls() that nobody awaits ends the connection: ${reason}`, async () => {
    using rejections = captureRejections();
    const { channel, client, logger, map } = fakeClient();
    client.setSocket(channel);
    client.handleRead = () => {
      client.recv(reason.startsWith("unencrypted") ? 3 : 100);
      client.startTls(options);
    };
    channel.push("GO\nInjected");
    await loopToEnd(map);
    await turns();
    assertEquals(rejections.reasons, []);
    assertEquals(client.trace, ["handleError", "handleClose"]);
    assertStringIncludes(String(client.errors[0]), reason);
    assertEquals(logger.lines, []);
    assert(channel.closed);
  });
}

Deno.test("startTls() that an async hook awaits in vain is told by handleError() alone", async () => {
  const { channel, client, logger, map } = fakeClient({ startTls: false });
  client.setSocket(channel);
  client.upgrade = () => client.startTls({ hostname: "localhost" });
  channel.push("GO\n");
  await loopToEnd(map);
  assertEquals(client.trace, ["handleError", "handleClose"]);
  assertEquals(logger.lines, []);
});

Deno.test("startTls() before the first pass keeps the loop from reading meanwhile", async () => {
  const { channel, client, map } = fakeClient();
  client.setSocket(channel);
  client.startTls({ hostname: "localhost" });
  await passes(map, 3);
  assertEquals(channel.reads, 0, "a read would take the server's hello");
  client.abort();
});

Deno.test("startTls() after a move in the same hook finds no read in flight", async () => {
  const { channel, client, logger, map } = fakeClient();
  const other = quietMap({ logger, network: map.network });
  client.setSocket(channel);
  const gate = Promise.withResolvers<void>();
  client.upgrade = async () => {
    client.addChannel(other);
    await gate.promise;
    void client.startTls({ hostname: "localhost" });
  };
  channel.push("GO\n");
  await passes(map, 2);
  await passes(other, 2);
  gate.resolve();
  await turns();
  assertEquals(client.errors, []);
  assertEquals(logger.lines, []);
  client.abort();
});

// A mail server that is not ours

/** Debian's package python3-aiosmtpd brings one for its own Python. */
const smtpPython = ["/usr/bin/python3", "python3"].find((name) =>
  hasCommand(name, "-c", "import aiosmtpd")
);

const SMTP_SERVER = `
import asyncio, ssl, sys
from aiosmtpd.smtp import SMTP
class Handler:
    async def handle_DATA(self, server, session, envelope):
        how = "secure" if session.ssl else "plain"
        print(how, envelope.content.decode().strip(), flush=True)
        return "250 stored"
async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1], sys.argv[2])
    make = lambda: SMTP(Handler(), tls_context=context, require_starttls=True)
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
`;

/** Sends a mail by STARTTLS: says the next line at each answer. */
class Mailer extends AsyncChat {
  readonly replies: string[] = [];
  #line = "";
  #lines = [
    ...["EHLO me", "STARTTLS", "EHLO me", "MAIL FROM:<a@example.org>"],
    ...["RCPT TO:<b@example.org>", "DATA", "spam\r\n.", "QUIT"],
  ];

  constructor(map: TestMap) {
    super(null, { map });
    this.setTerminator("\r\n");
  }
  override collectIncomingData(data: Uint8Array): void {
    this.#line += text(data);
  }
  override async foundTerminator(): Promise<void> {
    const line = this.#line;
    this.#line = "";
    if (line[3] === "-") return; // An answer of several lines goes on.
    this.replies.push(line.slice(0, 3));
    if (this.replies.length === 3) await this.startTls(trusted());
    const next = this.#lines.shift();
    if (next !== undefined) this.push(`${next}\r\n`);
  }
  override handleError(error: unknown): void {
    throw error;
  }
}

testTls(
  "startTls() sends a mail to a server that takes none unencrypted (skipped where there is no aiosmtpd)",
  async () => {
    await using map = quiet();
    const directory = await Deno.makeTempDir();
    const files = [`${directory}/cert`, `${directory}/key`] as const;
    const { good } = certificates();
    await Deno.writeTextFile(files[0], good.cert);
    await Deno.writeTextFile(files[1], good.key);
    await using server = new Child(smtpPython!, ["-c", SMTP_SERVER, ...files]);
    const port = Number(await server.until(""));
    await Deno.remove(directory, { recursive: true }); // It was loaded.
    const mailer = new Mailer(map);
    mailer.createSocket();
    mailer.connect({ hostname: "127.0.0.1", port });
    await loopToEnd(map);
    assertEquals(await server.until(""), "secure spam");
    assertEquals(
      mailer.replies,
      ["220", "250", "220", "250", "250", "250", "354", "250", "221"],
    );
  },
  { ignore: smtpPython === undefined },
);
