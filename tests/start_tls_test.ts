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
  DispatcherWithSend,
  type Network,
  type StartTlsOptions,
} from "../mod.ts";
import { setDefaultNetwork } from "../loop.ts";
import { denoNetwork } from "../net/deno_network.ts";
import { memoryPair } from "../testing/mod.ts";
import { certificates } from "./certificates.ts";
import { startPython } from "./peers.ts";
import { FakeChannel, loopToEnd, passes, quietMap } from "./fakes.ts";
import { connecting, scopedMap, setUp, stuckChannel } from "./scenes.ts";
import {
  bytes,
  canRun,
  captureRejections,
  connectedPair,
  loopUntil,
  type TestMap,
  text,
  turns,
} from "./support.ts";

// Deno starts TLS over its own connections only.
setDefaultNetwork(denoNetwork);

const { ca, good } = certificates();
const TRUSTED: StartTlsOptions = { caCerts: [ca] };
const FAILED = ["handleError", "handleClose"];

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

/** Runs a test with the Python peer, if there is Python. */
function test(name: string, fn: () => Promise<void>): void {
  const ignore = !canRun("python3", "-c", "import ssl");
  Deno.test({ name, ignore, fn });
}

/** Connects to the peer, and returns the client when `done()` says so. */
async function converse(
  upgrade: (client: Client) => void | Promise<void>,
  done: (client: Client) => boolean,
): Promise<{ client: Client; line: string }> {
  await using map = scopedMap();
  const { child, port } = await startPython(PEER, [good.cert, good.key]);
  await using _peer = child;
  const client = new Client(map);
  client.upgrade = () => upgrade(client);
  connecting(client, { hostname: "127.0.0.1", port });
  await loopUntil(map, () => done(client));
  client.close();
  await loopToEnd(map);
  return { client, line: await child.until("") };
}

const isOver = ({ trace }: Client) => trace.includes("handleClose");

test("startTls() in an async hook secures the connection", async () => {
  const { client, line } = await converse(async (client) => {
    await client.startTls(TRUSTED);
    client.send(bytes("spam"));
  }, ({ received }) => received === "SPAM");
  assertEquals(line, "secure spam");
  assertEquals(client.trace, []);
});

test("startTls() that is not awaited sends what follows encrypted", async () => {
  const { client, line } = await converse((client) => {
    client.startTls(TRUSTED);
    client.send(bytes("at once"));
  }, ({ received }) => received === "AT ONCE");
  assertEquals(line, "secure at once");
  assertEquals(client.trace, []);
});

test("startTls() checks the name that it is given", async () => {
  const { client, line } = await converse(
    (client) => client.startTls({ ...TRUSTED, hostname: "elsewhere.test" }),
    isOver,
  );
  assertEquals(client.trace, FAILED);
  assertStringIncludes(String(client.errors[0]), "not valid for name");
  assertStringIncludes(line, "failed");
});

test("startTls() that fails unawaited is told once, too", async () => {
  const { client } = await converse((client) => {
    client.startTls({}).catch(() => {});
    client.send(bytes("secret"));
  }, isOver);
  assertEquals(client.trace, FAILED);
  assertStringIncludes(String(client.errors[0]), "UnknownIssuer");
});

// Refusals

/** Has both ends say something in plain text. */
async function assertUsable(map: TestMap, client: Client, peer: Channel) {
  client.send(bytes("plain"));
  const buffer = new Uint8Array(100);
  const length = await peer.read(buffer);
  assertEquals(text(buffer.subarray(0, length!)), "plain");
  await peer.write(bytes("too"));
  await loopUntil(map, () => client.received.endsWith("too"));
  assertEquals(client.trace, []);
  peer.close();
}

const WRONG_OPTIONS = [
  { hostname: 5 },
  { cert: "x" },
  { cert: "x", key: "y" }, // Deno would not show it.
  { caCerts: "x" },
  { unsafelyDisableHostnameVerification: "no" },
  null,
] as unknown[] as StartTlsOptions[];

for (const options of WRONG_OPTIONS) {
  Deno.test(`startTls(${Deno.inspect(options)}) leaves the plain connection`, async () => {
    await using map = scopedMap();
    const [conn, peer] = await connectedPair();
    const client = new Client(map, conn);
    let error: unknown;
    client.upgrade = async () => {
      error = await client.startTls(options).catch((error) => error);
    };
    await peer.write(bytes("GO\n"));
    await loopUntil(map, () => error !== undefined);
    assertInstanceOf(error, TypeError);
    await assertUsable(map, client, peer);
  });
}

Deno.test("startTls() over what is no TCP connection is refused, and leaves it usable", async () => {
  await using map = scopedMap();
  const [ours, peer] = memoryPair();
  const client = new Client(map, ours);
  let refused: Promise<unknown> | null = null;
  client.upgrade = () => {
    const start = () => client.startTls({ hostname: "localhost" });
    refused = assertRejects(start, Error, "over a TCP connection only");
  };
  await peer.write(bytes("GO\n"));
  await loopUntil(map, () => refused !== null);
  await refused;
  await assertUsable(map, client, peer);
});

/** A client without a socket, whose network secures what it gives to `secure()`. */
function fakeClient() {
  const scene = setUp();
  const { promise, resolve: secure } = Promise.withResolvers<Channel>();
  const network: Network = scene.network;
  network.startTls = () => promise;
  const client = new Client(scene.map);
  return { ...scene, network, secure, channel: new FakeChannel(), client };
}

type Scene = ReturnType<typeof fakeClient>;

/** Where startTls() is refused, and what it is given. */
const REFUSALS: [
  reason: string,
  prepare: (scene: Scene) => void | Promise<void>,
  options?: unknown,
][] = [
  ["call connect() first", () => {}],
  ["it is not connected", ({ client }) => void connecting(client)],
  ["it is not connected", ({ client, channel }) => {
    client.setSocket(channel);
    client.close();
  }],
  ["it speaks TLS already", ({ client, channel }) => {
    const handshake = () => Promise.resolve();
    client.setSocket(Object.assign(channel, { handshake }));
  }],
  ["its writing direction has ended", ({ client, channel }) => {
    client.setSocket(channel);
    client.shutdownWrite();
  }],
  ["a read is in flight", async ({ client, channel, map }) => {
    client.setSocket(channel);
    await passes(map, 2);
  }],
  ["unencrypted bytes are being sent", ({ client }) => {
    client.setSocket(stuckChannel());
    client.send(bytes("spam"));
  }],
  ["its network has no startTls()", ({ client, channel, network }) => {
    delete network.startTls;
    client.setSocket(channel);
  }],
  ["hostname must be a non-empty string", ({ client, channel }) => {
    client.setSocket(channel);
  }, { hostname: 5 }],
  ["options must be an object", ({ client, channel }) => {
    client.setSocket(channel);
  }, null],
];

for (
  const [reason, prepare, given = { hostname: "localhost" }] of REFUSALS
) {
  Deno.test(`startTls() that is refused rejects, and is told in a warning: ${reason}`, async () => {
    using rejections = captureRejections();
    const scene = fakeClient();
    const { client, lines } = scene;
    const options = given as StartTlsOptions;
    await prepare(scene);
    client.startTls(options);
    await turns();
    assertEquals(rejections.reasons, []);
    assertEquals(lines.length, 1);
    const told = "was refused startTls(), and goes on as it was";
    assertStringIncludes(lines[0]!, told);
    assertStringIncludes(lines[0]!, reason);
    await assertRejects(() => client.startTls(options), Error, reason);
    assertEquals(client.trace, []);
    client.abort();
    await turns();
    scene.map.check();
  });
}

/** Refusals that end the connection, and are told by the hooks. */
const ENDINGS: [reason: string, size: number, hostname: string][] = [
  ["unencrypted bytes wait to be read", 3, "localhost"],
  ["hostname must not be empty", 100, ""],
];

for (const [reason, size, hostname] of ENDINGS) {
  Deno.test(`startTls() that nobody awaits ends the connection: ${reason}`, async () => {
    using rejections = captureRejections();
    const { channel, client, lines, map } = fakeClient();
    client.setSocket(channel);
    client.handleRead = () => {
      client.recv(size);
      client.startTls({ hostname });
      client.send(bytes("secret"));
    };
    channel.push("GO\nInjected");
    await loopToEnd(map);
    await turns();
    assertEquals(rejections.reasons, []);
    assertEquals(client.trace, FAILED);
    assertStringIncludes(String(client.errors[0]), reason);
    assertEquals(lines, []);
    assert(channel.closed);
    assertEquals(channel.sent, "");
  });
}

Deno.test("startTls() that an async hook awaits in vain is told by handleError() alone", async () => {
  const { channel, client, lines, map, network } = fakeClient();
  delete network.startTls;
  client.setSocket(channel);
  client.upgrade = () => client.startTls({ hostname: "localhost" });
  channel.push("GO\n");
  await loopToEnd(map);
  assertEquals(client.trace, FAILED);
  assertEquals(lines, []);
});

// While it is under way

Deno.test("startTls() is refused while an earlier one is under way", async () => {
  const { channel, client } = fakeClient();
  const start = () => client.startTls({ hostname: "localhost" });
  client.setSocket(channel);
  start().catch(() => {});
  await assertRejects(start, Error, "another handshake is under way");
  client.abort();
});

Deno.test("close() during startTls() runs no hook, and closes what comes of it", async () => {
  const { channel, client, map, secure } = fakeClient();
  client.setSocket(channel);
  client.startTls({ hostname: "localhost" }).catch(() => {});
  client.close();
  const secured = new FakeChannel();
  secure(secured);
  await loopToEnd(map);
  assert(secured.closed);
  assertEquals(client.trace, []);
});

Deno.test("close() during startTls() ends the connection behind the handshake, if something was sent", async () => {
  const { channel, client, map, secure } = fakeClient();
  client.setSocket(channel);
  client.send(bytes("STARTTLS\n"));
  await turns();
  client.startTls({ hostname: "localhost" });
  client.close();
  await turns();
  assertFalse(channel.closed, "its peer may not have read all of it");
  const secured = new FakeChannel();
  secure(secured);
  await loopToEnd(map);
  assert(secured.writeEnded);
  assert(secured.closed);
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
  const { channel, client, lines, map } = fakeClient();
  const { logger, network } = map;
  const other = quietMap({ logger: logger!, network });
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
  assertEquals(lines, []);
  client.abort();
});

// A mail server that is not ours

/** Debian's package python3-aiosmtpd brings one for its own Python. */
const smtpPython = ["/usr/bin/python3", "python3"].find((name) =>
  canRun(name, "-c", "import aiosmtpd")
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
  #lines = [
    ...["EHLO me", "STARTTLS", "EHLO me", "MAIL FROM:<a@example.org>"],
    ...["RCPT TO:<b@example.org>", "DATA", "spam\r\n.", "QUIT"],
  ];

  constructor(map: TestMap) {
    super(null, { map });
    this.setTerminator("\r\n");
  }
  override async foundTerminator(): Promise<void> {
    const line = this.takeText();
    if (line[3] === "-") return; // An answer of several lines goes on.
    this.replies.push(line.slice(0, 3));
    if (this.replies.length === 3) await this.startTls(TRUSTED);
    const next = this.#lines.shift();
    if (next !== undefined) this.push(`${next}\r\n`);
  }
  override handleError(error: unknown): void {
    throw error;
  }
}

Deno.test({
  name:
    "startTls() sends a mail to a server that takes none unencrypted (skipped where there is no aiosmtpd)",
  ignore: smtpPython === undefined,
  fn: async () => {
    await using map = scopedMap();
    const pems = [good.cert, good.key];
    const { child, port } = await startPython(SMTP_SERVER, pems, smtpPython);
    await using server = child;
    const address = { hostname: "127.0.0.1", port };
    const mailer = connecting(new Mailer(map), address);
    await loopToEnd(map);
    assertEquals(await server.until(""), "secure spam");
    assertEquals(
      mailer.replies,
      ["220", "250", "220", "250", "250", "250", "354", "250", "221"],
    );
  },
});
