/**
 * Crowds of clients that reset their connections at a bad moment, half of them
 * over TLS: what becomes of the others, and what stays behind.
 */

import {
  assert,
  assertEquals,
  assertFalse,
  assertGreater,
  assertGreaterOrEqual,
} from "@std/assert";
import { isDisconnect } from "../../core/errors.ts";
import {
  AsyncChat,
  type Channel,
  type Dispatcher,
  DispatcherWithSend,
} from "../../mod.ts";
import { certificates } from "../certificates.ts";
import { LogLines, pattern, watch } from "../fakes.ts";
import { Child } from "../peers.ts";
import {
  bytes,
  canRun,
  captureRejections,
  families,
  type Family,
  loopUntil,
  PATIENCE,
  rawConnect,
  ScopedMap,
  type TestMap,
  TestServer,
} from "../support.ts";

const python = ["python3", "/usr/bin/python3"].find((name) =>
  canRun(name, "-c", "import ssl")
);

/** How many clients reset in each test, half of them over TLS. */
const CLIENTS = 300;
/** How many connections a listener takes ahead. */
const CROWD = 64;
const HALF = CLIENTS / 2;
/** More than the kernel takes for a peer that does not read. */
const A_LOT = new Uint8Array(1 << 20);
const SOME = new Uint8Array(64 * 1024);
/** What an honest client sends and wants back, again and again. */
const PIECE = pattern(16 * 1024);
const PIECES = 64;

/** What became of a connection on the server's side. */
class ServedConnection {
  readonly isSecure: boolean;
  /** What its client asked for, by the first letter. */
  request = "";
  received = 0;
  closes = 0;
  readonly errors: unknown[] = [];
  closeReason: Error | null = null;
  /** Something was read while many bytes waited to be sent. */
  readWhileFull = false;
  hasProducer = false;
  /** The producer was asked to stop. */
  released = false;

  constructor(isSecure: boolean) {
    this.isSecure = isSecure;
  }

  /** Notes how it ends. */
  watch(handler: Dispatcher): void {
    const { handleClose, handleError } = handler;
    handler.handleClose = () => {
      this.closes++;
      this.closeReason = handler.closeReason;
      return handleClose.call(handler);
    };
    handler.handleError = (error) => {
      this.errors.push(error);
      return handleError.call(handler, error);
    };
  }
}

/** What a client asks for. */
interface Talker {
  life: ServedConnection;
  bufferedAmount: number;
  highWaterMark: number;
  give(data: Uint8Array): void;
  giveEndlessly(): void;
  close(): void;
}

function begin(talker: Talker, request: string): void {
  talker.life.request = request;
  if (request === "D") talker.giveEndlessly();
  else if (request === "A") talker.give(SOME.subarray(0, 16 * 1024));
  else if (request === "F" || request === "L") talker.give(A_LOT);
  if (request === "L") talker.close();
}

function goOn(talker: Talker, data: Uint8Array): void {
  const { life } = talker;
  life.readWhileFull ||= talker.bufferedAmount >= talker.highWaterMark;
  if (life.request === "E") talker.give(data);
  else if (life.request === "U" && life.received === 0) {
    talker.give(bytes("."));
  }
  life.received += data.length;
}

class SendHandler extends DispatcherWithSend implements Talker {
  readonly life: ServedConnection;
  #isEndless = false;

  constructor(conn: Channel, map: TestMap, life: ServedConnection) {
    super(conn, { map });
    this.life = life;
    life.watch(this);
  }
  give(data: Uint8Array): void {
    this.send(data);
  }
  giveEndlessly(): void {
    this.#isEndless = true;
    this.send(SOME);
  }
  override handleDrain(): void {
    if (this.#isEndless) this.send(SOME);
  }
  override handleRead(): void {
    let data = this.recv();
    if (this.life.request === "" && data.length > 0) {
      begin(this, String.fromCharCode(data[0]!));
      data = data.subarray(1);
    }
    if (data.length > 0) goOn(this, data);
  }
}

/** Bytes without end, until it is told to stop. */
function* endless(life: ServedConnection): Generator<Uint8Array> {
  try {
    for (;;) yield SOME;
  } finally {
    life.released = true;
  }
}

class ChatHandler extends AsyncChat implements Talker {
  readonly life: ServedConnection;
  #request = "";

  constructor(conn: Channel, map: TestMap, life: ServedConnection) {
    super(conn, { map });
    this.life = life;
    life.watch(this);
    this.setTerminator(1);
  }
  give(data: Uint8Array): void {
    this.push(data);
  }
  giveEndlessly(): void {
    this.life.hasProducer = true;
    this.pushWithProducer(endless(this.life));
  }
  override collectIncomingData(data: Uint8Array): void {
    if (this.life.request !== "") goOn(this, data);
    else this.#request = String.fromCharCode(data[0]!);
  }
  override foundTerminator(): void {
    this.setTerminator(null);
    begin(this, this.#request);
  }
}

type Handler = typeof SendHandler | typeof ChatHandler;

/** What each descriptor of this process stands for. */
function descriptors(): string[] {
  const folder = "/proc/self/fd";
  return [...Deno.readDirSync(folder)].flatMap(({ name }) => {
    try {
      return [Deno.readLinkSync(`${folder}/${name}`)];
    } catch {
      return []; // The descriptor of the folder itself.
    }
  });
}

/** The descriptors that were not there before. */
function descriptorsSince(before: string[]): string[] {
  const left = [...before];
  return descriptors().filter((target) => {
    const at = left.indexOf(target);
    if (at >= 0) left.splice(at, 1);
    return at < 0;
  });
}

/** A plain server and one that talks TLS, in one map. */
class Bed implements AsyncDisposable {
  readonly logger = new LogLines();
  readonly map = new ScopedMap({ logger: this.logger });
  readonly lives: ServedConnection[] = [];
  readonly plain: TestServer;
  readonly secure: TestServer;
  readonly rejections = captureRejections();
  #whenAccepted = Promise.withResolvers<void>();

  constructor(Handler: Handler) {
    const listen = (family: Family, isSecure: boolean) =>
      new TestServer(this.map, (conn) => {
        const life = new ServedConnection(isSecure);
        this.lives.push(life);
        new Handler(conn, this.map, life);
        this.#tell();
      }, family);
    const family = families[0]!;
    const options = { transport: "tls", tls: certificates().good } as const;
    this.plain = listen(family, false);
    this.secure = listen({ ...family, options }, true);
  }

  /** The lives of the clients that made this request. */
  livesOf(request: string): ServedConnection[] {
    return this.lives.filter((life) => life.request === request);
  }

  /** No connection is left, open or lingering. */
  get isQuiet(): boolean {
    return this.map.size === 2 && this.map.lingering === 0;
  }

  /** Goes on with the honest clients. */
  #tell(): void {
    this.#whenAccepted.resolve();
    this.#whenAccepted = Promise.withResolvers();
  }

  /** Starts both halves of the clients; settles when all have reset. */
  async reset(when: string): Promise<void> {
    const program = `${import.meta.dirname}/../python/resetting_clients.py`;
    const ca = await Deno.makeTempFile();
    await Deno.writeTextFile(ca, certificates().ca);
    const run = async ({ addr }: TestServer, ...more: string[]) => {
      const { hostname, port } = addr as Deno.NetAddr;
      const args = [program, `${HALF}`, hostname, `${port}`, when, ...more];
      await using child = new Child(python!, args);
      const { code, out, err } = await child.end();
      assertEquals({ code, out, err }, { code: 0, out: "done", err: "" });
    };
    const halves = [run(this.plain), run(this.secure, ca)];
    await Promise.allSettled(halves);
    await Deno.remove(ca);
    await Promise.all(halves);
  }

  /** The same, with passes and honest clients meanwhile. */
  async resetWhileServing(when: string): Promise<void> {
    let isOver = false;
    const resets = this.reset(when).finally(() => {
      isOver = true;
      this.#tell();
    });
    const wait = () => isOver ? null : this.#whenAccepted.promise;
    await this.loopDuring(Promise.all([resets, this.serveHonestly(wait)]));
  }

  /** An honest client of each server; each has a piece back when `wait()` lets it. */
  async serveHonestly(wait: () => Promise<void> | null): Promise<void> {
    const { hostname, port } = this.secure.addr as Deno.NetAddr;
    const caCerts = [certificates().ca];
    await Promise.all([
      rawConnect(this.plain.addr).then((conn) => converse(conn, wait)),
      Deno.connectTls({ hostname, port, caCerts })
        .then((conn) => converse(conn, wait)),
    ]);
  }

  /** The same, with passes meanwhile, as fast as it goes. */
  async serve(): Promise<void> {
    let left = PIECES;
    const wait = () => left-- > 0 ? Promise.resolve() : null;
    await this.loopDuring(this.serveHonestly(wait));
    await loopUntil(this.map, () => this.isQuiet);
  }

  /** Makes passes until `work` is done. */
  async loopDuring(work: Promise<unknown>): Promise<void> {
    const told = watch(work);
    await loopUntil(this.map, () => told.settled, 2 * PATIENCE);
    await work;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.rejections[Symbol.dispose]();
    await this.map[Symbol.asyncDispose]();
  }
}

/** Sends pieces and takes them back, until there is nothing more to wait for. */
async function converse(
  conn: Deno.Conn,
  wait: () => Promise<void> | null,
): Promise<void> {
  using _conn = conn;
  await writeAll(conn, bytes("E"));
  const buffer = new Uint8Array(PIECE.length);
  for (let next; (next = wait()) !== null;) {
    await next;
    await writeAll(conn, PIECE);
    for (let at = 0; at < PIECE.length;) {
      const length = await conn.read(buffer.subarray(at));
      assert(length !== null, "The end came too early");
      at += length;
    }
    assertEquals(buffer, PIECE);
  }
}

async function writeAll(conn: Deno.Conn, data: Uint8Array): Promise<void> {
  while (data.length > 0) data = data.subarray(await conn.write(data));
}

/** Repeats a test for both classes, and looks at what it leaves behind. */
function testResets(what: string, test: (bed: Bed) => Promise<void>): void {
  for (const Handler of [SendHandler, ChatHandler]) {
    const { name } = Object.getPrototypeOf(Handler);
    Deno.test({
      name:
        `${name} outlives ${CLIENTS} clients that reset ${what}, and serves the others`,
      ignore: Deno.build.os !== "linux" || !python,
      async fn() {
        await using bed = new Bed(Handler);
        await bed.serve();
        const before = descriptors();
        await test(bed);
        await loopUntil(bed.map, () => bed.isQuiet);
        await bed.serve();
        await loopUntil(bed.map, () => !descriptorsSince(before).length);
        assertEquals(bed.rejections.reasons, []);
        for (const { errors } of bed.lives) assertEquals(errors, []);
        assert(bed.plain.accepting && bed.secure.accepting);
      },
    });
  }
}

/** All who made this request were told of the end once, and why. */
function assertEnded(bed: Bed, request: string): ServedConnection[] {
  const lives = bed.livesOf(request);
  assertEquals(lives.filter(({ isSecure }) => isSecure).length, HALF);
  assertEquals(lives.length, CLIENTS);
  for (const { closes, closeReason } of lives) {
    assertEquals(closes, 1);
    assert(isDisconnect(closeReason), `${closeReason}`);
  }
  return lives;
}

testResets("before they are accepted", async (bed) => {
  const before = bed.lives.length;
  await bed.reset("greeted"); // No pass is made, so they wait in the backlog.
  const { plain, secure } = bed;
  const gone = () => plain.clientsGone + secure.clientsGone;
  const accepted = () => bed.lives.length - before;
  await loopUntil(bed.map, () => gone() + accepted() === CLIENTS);
  // Each listener takes a crowd ahead, and some may come before their reset.
  for (const { clientsGone } of [plain, secure]) {
    assertGreaterOrEqual(clientsGone, HALF - CROWD);
  }
});

testResets("in the midst of their handshake", async (bed) => {
  await bed.resetWhileServing("answered");
  await loopUntil(bed.map, () => bed.secure.clientsGone === HALF);
  assertEquals(bed.plain.clientsGone, 0);
});

testResets("in the midst of what they are sent", async (bed) => {
  await bed.resetWhileServing("download");
  await loopUntil(bed.map, () => bed.isQuiet);
  for (const life of assertEnded(bed, "D")) {
    assertEquals(life.released, life.hasProducer);
  }
});

testResets("in the midst of what they send", async (bed) => {
  await bed.resetWhileServing("upload");
  await loopUntil(bed.map, () => bed.isQuiet);
  for (const life of assertEnded(bed, "U")) assertGreater(life.received, 0);
});

testResets("with an answer unread", async (bed) => {
  await bed.resetWhileServing("unread");
  await loopUntil(bed.map, () => bed.isQuiet);
  assertEnded(bed, "A");
});

testResets("with bytes unread at both sides", async (bed) => {
  await bed.resetWhileServing("full");
  await loopUntil(bed.map, () => bed.isQuiet);
  // They are read at last, when there is no more answer to be sent.
  for (const life of assertEnded(bed, "F")) assertFalse(life.readWhileFull);
});

testResets("when it has closed and still sends to them", async (bed) => {
  await bed.resetWhileServing("closed");
  await loopUntil(bed.map, () => bed.isQuiet);
  const lives = bed.livesOf("L");
  assertEquals(lives.length, CLIENTS);
  for (const { closes } of lives) assertEquals(closes, 0);
  const lost = /was closed and lost \d+ accepted bytes/;
  // The first of them are said, the others counted: none fills the log.
  assertEquals(bed.logger.lines.filter((l) => lost.test(l)).length, 20);
});
