/**
 * The TCP proxy as a person would run it, between plain connections of this
 * process and, with TLS, for curl; what needs a program is left out by name
 * where that is missing.
 *
 * `PROXY_BYTES` sets how many bytes the large transfer carries (256 MiB without
 * it), and with `PROXY_FIGURES` it says how fast that was and what it took.
 */

import {
  assert,
  assertEquals,
  assertLess,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import net from "node:net";
import { certificates } from "./certificates.ts";
import { pattern } from "./fakes.ts";
import {
  Child,
  Folder,
  pass,
  runCommand,
  testLinux,
  testUnix,
  testWith,
} from "./peers.ts";
import { bytes, text } from "./support.ts";

const MEGABYTE = 1024 * 1024;
const LARGE = Number(Deno.env.get("PROXY_BYTES") ?? 256 * MEGABYTE);
/** A write that takes longer than this, in ms, waits for a reader. */
const STALLED = 500;
/** More than the kernel's buffers hold on the way through the proxy. */
const KERNEL = 64 * MEGABYTE;
const hostname = "127.0.0.1";

/** A proxy's process, and the listener of this process that is its target. */
class Proxied extends AsyncDisposableStack {
  readonly listener: Deno.TcpListener = Deno.listen({ hostname, port: 0 });
  child!: Child;

  static async start(scheme = ""): Promise<Proxied> {
    const proxied = new Proxied();
    proxied.defer(() => closeQuietly(proxied.listener));
    const to = target(proxied.listener.addr.port, scheme);
    proxied.child = proxied.use(await serveProxy(`${hostname}:0`, to));
    return proxied;
  }

  /** A client and its connection at the target, in this order or the other. */
  async pair(first = "client"): Promise<[Deno.TcpConn, Deno.TcpConn]> {
    const ends = await Promise.all([this.connect(), this.accept()]);
    return first === "client" ? ends : [ends[1], ends[0]];
  }

  async connect(): Promise<Deno.TcpConn> {
    const { port } = this.child;
    return this.adopt(await Deno.connect({ hostname, port }), closeQuietly);
  }

  async accept(): Promise<Deno.TcpConn> {
    return this.adopt(await this.listener.accept(), closeQuietly);
  }
}

function target(port: number, scheme = ""): string {
  return `${scheme}${hostname}:${port}`;
}

const PERMISSIONS = ["--allow-net", "--allow-read"];

function serveProxy(...args: string[]): Promise<Child> {
  return Child.serve(PERMISSIONS, "tcp_proxy", ...args);
}

function closeQuietly(conn: { close(): void }): void {
  try {
    conn.close();
  } catch {
    // The test has closed it.
  }
}

async function say(conn: Deno.Conn, data: Uint8Array): Promise<void> {
  for (let rest = data; rest.length > 0;) {
    rest = rest.subarray(await conn.write(rest));
  }
}

/** All that comes until the end. */
async function hear(conn: Deno.Conn): Promise<string> {
  return text(new Uint8Array(await new Response(conn.readable).arrayBuffer()));
}

/** Reads one piece; `null` at the end, and when the connection broke. */
async function hearSome(conn: Deno.Conn, size = 1024): Promise<string | null> {
  const piece = new Uint8Array(size);
  const length = await conn.read(piece).catch(() => null);
  return length === null ? null : text(piece.subarray(0, length));
}

/** Bytes that repeat too seldom for a lost or doubled piece to go unseen. */
const noise = pattern(1_000_003);

/** Sends `size` bytes of noise, and ends. */
async function sendNoise(conn: Deno.TcpConn, size: number): Promise<void> {
  for (let sent = 0; sent < size;) {
    const from = sent % noise.length;
    const to = Math.min(noise.length, from + size - sent);
    sent += await conn.write(noise.subarray(from, to));
  }
  await conn.closeWrite();
}

/** Compares noise until its end; how much it was. */
async function checkNoise(
  conn: Deno.TcpConn,
  onProgress = (_total: number) => {},
): Promise<number> {
  const expected = Buffer.from(noise.buffer);
  const piece = Buffer.alloc(256 * 1024);
  let total = 0;
  for (;;) {
    const from = total % noise.length;
    const most = Math.min(piece.length, noise.length - from);
    const length = await conn.read(piece.subarray(0, most));
    if (length === null) return total;
    const part = expected.subarray(from, from + length);
    if (!part.equals(piece.subarray(0, length))) {
      throw new Error(`Harmed between bytes ${total} and ${total + length}`);
    }
    total += length;
    onProgress(total);
  }
}

/** Writes until nothing is taken any more; how much was, and the last write. */
async function fill(conn: Deno.TcpConn) {
  for (let sent = 0; sent < KERNEL;) {
    const last = conn.write(noise.subarray(sent % noise.length));
    let id: ReturnType<typeof setTimeout> | undefined;
    const stall = new Promise<null>((resolve) => {
      id = setTimeout(() => resolve(null), STALLED);
    });
    const length = await Promise.race([last, stall]);
    clearTimeout(id);
    if (length === null) return { sent, last };
    sent += length;
  }
  throw new Error("Nothing stopped the writer");
}

testLinux(
  `tcp_proxy carries ${LARGE / MEGABYTE} MiB unharmed in little memory`,
  async () => {
    await using proxied = await Proxied.start();
    const [client, server] = await proxied.pair();
    // What the first bytes cost is the price of the program, not of the data.
    await say(client, bytes("spam"));
    assertEquals(await hearSome(server), "spam");
    const before = proxied.child.memory;
    const start = performance.now();
    let peak = 0;
    let next = 0;
    const checking = checkNoise(server, (total) => {
      if (total < next) return;
      next += 4 * MEGABYTE;
      peak = Math.max(peak, proxied.child.memory);
    });
    const [total] = await Promise.all([checking, sendNoise(client, LARGE)]);
    assertEquals(total, LARGE);
    const seconds = (performance.now() - start) / 1_000;
    const grown = (Math.max(peak, proxied.child.memory) - before) / MEGABYTE;
    if (Deno.env.has("PROXY_FIGURES")) {
      const rate = LARGE / MEGABYTE / seconds;
      console.log(`${rate.toFixed()} MiB/s, grew ${grown.toFixed(1)} MiB`);
    }
    assertLess(grown, 32);
  },
);

for (const stalled of ["target", "client"]) {
  Deno.test(`tcp_proxy stops the writer to a ${stalled} that does not read, until it does`, async () => {
    await using proxied = await Proxied.start();
    const [reader, writer] = await proxied.pair(stalled);
    const { sent, last } = await fill(writer);
    const reading = checkNoise(reader);
    const total = sent + await last;
    await writer.closeWrite();
    assertEquals(await reading, total);
  });
}

Deno.test("tcp_proxy keeps few bytes for a target that is not yet connected", async () => {
  // A target that never answers the handshake.
  await using proxied = await Proxied.start("tls://");
  const [client, server] = await proxied.pair();
  const { last } = await fill(client);
  server.close();
  await last.catch(() => {});
  assertEquals(await hearSome(client), null);
  await proxied.child.until("target of");
});

Deno.test("tcp_proxy hands over the bytes that came before the target was connected", async () => {
  await using proxied = await Proxied.start();
  const client = await proxied.connect();
  await say(client, bytes("early"));
  await client.closeWrite();
  const server = await proxied.accept();
  assertEquals(await hear(server), "early");
});

for (const first of ["client", "target"]) {
  Deno.test(`tcp_proxy lets the other side go on after the ${first}'s end`, async () => {
    await using proxied = await Proxied.start();
    const [one, other] = await proxied.pair(first);
    await say(one, bytes("question"));
    await one.closeWrite();
    assertEquals(await hearSome(other), "question");
    assertEquals(await hearSome(other), null);
    await say(other, bytes("answer"));
    await other.closeWrite();
    assertEquals(await hear(one), "answer");
  });
}

/** Interrupts a proxy that has lost one connection, and said why in one line. */
async function assertOneLoss(child: Child, loss: RegExp): Promise<void> {
  child.kill("SIGINT");
  const [, line, ...rest] = (await child.endWell()).split("\n");
  assertMatch(line!, loss);
  assertEquals(rest, ["tcp_proxy: SIGINT: closing"]);
}

testUnix("tcp_proxy tells the target of a client's reset", async () => {
  await using proxied = await Proxied.start();
  const client = net.connect(proxied.child.port, hostname);
  const [server] = await Promise.all([
    proxied.accept(),
    once(client, "connect"),
  ]);
  client.resetAndDestroy();
  assertEquals(await hearSome(server), null);
  await assertOneLoss(proxied.child, /client 127\.0\.0\.1:\d+: .*reset/i);
});

testUnix("tcp_proxy tells the client of a target's reset", async () => {
  const server = net.createServer((conn) => conn.resetAndDestroy());
  await once(server.listen(0, hostname), "listening");
  const { port } = server.address() as net.AddressInfo;
  await using child = await serveProxy(`${hostname}:0`, target(port));
  using client = await Deno.connect({ hostname, port: child.port });
  assertEquals(await hearSome(client), null);
  await assertOneLoss(child, /target of 127\.0\.0\.1:\d+: .*reset/i);
  await once(server.close(), "close");
});

for (const gone of ["client", "target"]) {
  testUnix(`tcp_proxy stops the sender to a ${gone} that left`, async () => {
    await using proxied = await Proxied.start();
    const [goner, other] = await proxied.pair(gone);
    goner.close();
    assertEquals(await hearSome(other), null);
    await assertRejects(() => sendNoise(other, KERNEL));
    await assertOneLoss(proxied.child, /127\.0\.0\.1:\d+: .*(pipe|reset)/i);
  });
}

testUnix("tcp_proxy tells its client that the target refuses", async () => {
  await using proxied = await Proxied.start();
  const { port } = proxied.listener.addr;
  proxied.listener.close();
  const client = await proxied.connect();
  assertEquals(await hearSome(client), null);
  await proxied.child.until("refused");
  const loss = new RegExp(`Cannot connect to ${hostname}:${port}: `);
  await assertOneLoss(proxied.child, loss);
});

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  testUnix(`tcp_proxy lets its clients finish after ${signal}`, async () => {
    await using proxied = await Proxied.start();
    const [client, server] = await proxied.pair();
    proxied.child.kill(signal);
    await proxied.child.until(`${signal}: closing`);
    await say(client, bytes("spam"));
    assertEquals(await hearSome(server), "spam");
    await Promise.all([client.closeWrite(), server.closeWrite()]);
    await proxied.child.endWell();
  });
}

testUnix("tcp_proxy takes signals a few ms apart as one", async () => {
  await using proxied = await Proxied.start();
  const [client, server] = await proxied.pair();
  const { child } = proxied;
  for (const signal of ["SIGTERM", "SIGINT", "SIGTERM"] as const) {
    child.kill(signal);
    await pass(2);
  }
  await child.until(": closing");
  await say(client, bytes("spam"));
  assertEquals(await hearSome(server), "spam");
  await Promise.all([client.closeWrite(), server.closeWrite()]);
  const out = await child.endWell();
  assertEquals(out.match(/closing|cut/g), ["closing"]);
});

/** A certificate for this machine, in files that go with the test. */
class CertificateFiles extends Folder {
  readonly cert = this.write("cert.pem", certificates().good.cert);
  readonly key = this.write("key.pem", certificates().good.key);
  readonly ca = this.write("ca.pem", certificates().ca);
  /** The options of a proxy whose clients speak TLS. */
  readonly identity = ["--cert", this.cert, "--key", this.key];
  /** The options of a proxy whose target speaks TLS. */
  readonly trust = ["--ca", this.ca];
}

Deno.test("tcp_proxy names the file that it cannot use", async () => {
  using files = new CertificateFiles();
  const { cert, key, ca } = files;
  const label = (what: string) =>
    `-----BEGIN ${what}-----\nspam\n-----END ${what}-----\n`;
  const bad = files.write("bad", label("CERTIFICATE") + label("PRIVATE KEY"));
  const missing = `${files.path}/missing.pem`;
  const none = "There is no certificate in PEM in";
  const cases: [string[], string][] = [
    [["--cert", missing, "--key", key], `Cannot read "${missing}": `],
    [["--cert", cert, "--key", missing], `Cannot read "${missing}": `],
    [["--cert", bad, "--key", key], `${none} "${bad}"`],
    [["--cert", key, "--key", key], `${none} "${key}"`],
    [
      ["--cert", cert, "--key", bad],
      `There is no private key in PEM in "${bad}"`,
    ],
    [
      ["--cert", ca, "--key", key],
      `The key in "${key}" is not that of "${ca}"`,
    ],
    [[...files.identity, "--ca", bad], `${none} "${bad}"`],
  ];
  await Promise.all(cases.map(async ([options, part]) => {
    const places = [`tls://${hostname}:0`, "tls://localhost:9"];
    const args = [...options, ...places];
    await using child = await Child.start(PERMISSIONS, "tcp_proxy", ...args);
    const { code, out, err } = await child.end();
    assertEquals({ code, out }, { code: 1, out: "" });
    assertStringIncludes(err, part);
    assertMatch(err, /^.+\n$/);
    assertEquals(err.split(part.split('"')[1]!).length, 2, "it is named once");
  }));
});

/** Downloads 4 MB by curl through a proxy, and sends them back. */
async function testCurl(front: string, back: string): Promise<void> {
  using files = new CertificateFiles();
  await using server = Deno.serve({
    ...(back && certificates().good),
    ...{ hostname, port: 0, onListen: () => {} },
  }, async (request) => {
    const sent = new Uint8Array(await request.arrayBuffer());
    return new Response(request.method === "GET" ? noise.slice() : sent);
  });
  const to = target(server.addr.port, back);
  const options = [...front && files.identity, ...back && files.trust];
  const from = `${front}${hostname}:0`;
  await using child = await serveProxy(...options, from, to);
  const url = `${front ? "https" : "http"}://${hostname}:${child.port}/`;
  const copy = `${files.path}/copy`;
  for (const upload of [[], ["--data-binary", `@${copy}`]]) {
    const own = ["-sS", "--cacert", files.ca, "-o", `${copy}.new`];
    const { code, err } = await runCommand("curl", [...own, ...upload, url]);
    assertEquals({ code, err }, { code: 0, err: "" });
    assert(Buffer.from(noise).equals(Deno.readFileSync(`${copy}.new`)));
    Deno.renameSync(`${copy}.new`, copy);
  }
}

/** Listens by TLS, and answers the first client when it has heard its end. */
async function answerAfterEnd(listener: Deno.TlsListener): Promise<string> {
  using conn = await listener.accept();
  const question = await hearSome(conn);
  assertEquals(await hearSome(conn), null);
  await say(conn, bytes("answer"));
  await conn.closeWrite();
  return question!;
}

Deno.test("tcp_proxy lets a TLS target answer after a TLS client's end", async () => {
  using files = new CertificateFiles();
  const { ca, good } = certificates();
  using listener = Deno.listenTls({ hostname, port: 0, ...good });
  const answering = answerAfterEnd(listener);
  const to = target((listener.addr as Deno.NetAddr).port, "tls://");
  const options = [...files.identity, ...files.trust, `tls://${hostname}:0`];
  await using child = await serveProxy(...options, to);
  const { port } = child;
  using client = await Deno.connectTls({ hostname, port, caCerts: [ca] });
  await say(client, bytes("question"));
  await client.closeWrite();
  assertEquals(await hearSome(client), "answer");
  assertEquals(await hearSome(client), null);
  assertEquals(await answering, "question");
  child.kill("SIGKILL");
  const { out } = await child.end();
  assertStringIncludes(out, `listening on tls://${hostname}:${port}`);
});

for (const front of ["", "tls://"]) {
  for (const back of ["", "tls://"]) {
    const [from, to] = [front, back].map((scheme) => scheme ? "TLS" : "plain");
    const name = `tcp_proxy carries curl from ${from} to ${to}`;
    testWith("curl", name, () => testCurl(front, back));
  }
}
