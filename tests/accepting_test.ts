import {
  assert,
  assertEquals,
  assertFalse,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { TextLineStream, toText } from "@std/streams";
import { type Channel, Dispatcher, loop } from "../mod.ts";
import {
  codedError,
  Echo,
  FakeAcceptor,
  FakeChannel,
  LogLines,
  passes,
  quietMap,
  Recorder,
  watch,
} from "./fakes.ts";
import { MockClock, turns } from "./mock_clock.ts";
import { bytes, rawConnect, type TestMap, text } from "./support.ts";

// Connections that wait in the listener

/** Overrides nothing but handleAccepted(), and keeps what it gets. */
class Listener extends Dispatcher {
  readonly accepted: Channel[] = [];
  override handleAccepted(conn: Channel): void {
    this.accepted.push(conn);
  }
}

/** The same, but at times it wants no more. */
class FullListener extends Listener {
  isFull = false;
  override readable(): boolean {
    return !this.isFull;
  }
}

/** Brings a client, and gives the listener time to notice. */
async function knock(map: TestMap, acceptor: FakeAcceptor): Promise<Channel> {
  const client = new FakeChannel();
  acceptor.push(client);
  await passes(map, 3);
  return client;
}

/** How a listener turns clients away for a while. */
const PAUSES: [string, (listener: FullListener, isFull: boolean) => void][] = [
  ["is not readable()", (listener, isFull) => void (listener.isFull = isFull)],
  ["is outside its map", (listener, isFull) => {
    if (isFull) listener.delChannel();
    else listener.addChannel();
  }],
];

for (const [how, setFull] of PAUSES) {
  Deno.test(`Dispatcher that ${how} gets later whom it had accepted meanwhile, and more`, async () => {
    const map = quietMap();
    const acceptor = new FakeAcceptor();
    const listener = new FullListener(acceptor, { map });
    new Echo(new FakeChannel(), { map }); // keeps the loop going
    await passes(map, 2);
    const clients = [await knock(map, acceptor)];
    assertEquals(listener.accepted, clients);
    setFull(listener, true);
    clients.push(await knock(map, acceptor));
    assertEquals(listener.accepted.length, 1);
    setFull(listener, false);
    await passes(map, 2);
    assertEquals(listener.accepted, clients);
    clients.push(await knock(map, acceptor));
    assertEquals(listener.accepted, clients);
    map.check();
  });
}

Deno.test("Dispatcher.delChannel() and addChannel() keep a listener that asks nothing going", async () => {
  const map = quietMap();
  const acceptor = new FakeAcceptor();
  const listener = new Listener(acceptor, { map });
  new Echo(new FakeChannel(), { map });
  await passes(map, 2);
  const clients = [await knock(map, acceptor)];
  listener.delChannel();
  clients.push(await knock(map, acceptor));
  listener.addChannel();
  await passes(map, 2);
  clients.push(await knock(map, acceptor));
  assertEquals(listener.accepted, clients);
});

Deno.test("handleAccepted() may return its handler, which is no promise", async () => {
  const map = quietMap();
  const acceptor = new FakeAcceptor();
  class Server extends Recorder {
    override handleAccepted(conn: Channel): void {
      return new Echo(conn, { map }) as unknown as void;
    }
  }
  const server = new Server(map, acceptor);
  const client = new FakeChannel();
  client.push("spam");
  acceptor.push(client);
  await passes(map, 4);
  assertEquals(server.errors, []);
  assertEquals(client.sent, "spam");
  assertFalse(client.closed);
});

// Out of descriptors

Deno.test("Dispatcher.addChannel() takes a pause of accepting along", async () => {
  const clock = new MockClock();
  const [before, after] = [quietMap({ clock }), quietMap({ clock })];
  const acceptor = new FakeAcceptor();
  const listener = new Listener(acceptor, { map: before });
  acceptor.push(codedError("EMFILE"));
  await passes(before, 3);
  assertEquals(acceptor.accepts, 1);
  listener.addChannel(after);
  watch(loop({ map: after }));
  await clock.advance(49);
  assertEquals(acceptor.accepts, 1);
  await clock.advance(1);
  assertEquals(acceptor.accepts, 2);
  acceptor.push(new FakeChannel());
  await turns();
  assertEquals(listener.accepted.length, 1);
});

/** Fails in each event, with an error that knows whether its stack was read. */
class Failing extends Dispatcher {
  static stacksRead = 0;

  override handleRead(): void {
    const error = new Error(text(this.recv()));
    const get = () => {
      Failing.stacksRead++;
      return `${error}\n    at work (file:///work.ts:7:9)`;
    };
    throw Object.defineProperty(error, "stack", { get });
  }
  override handleClose(): void {} // goes on
}

/** What is logged about a failure while the listeners are as they are. */
async function failOnce(map: TestMap, logger: LogLines): Promise<string> {
  Failing.stacksRead = 0;
  const channel = new FakeChannel();
  new Failing(channel, { map });
  channel.push("spam");
  logger.lines.length = 0;
  await turns();
  const lines = logger.lines.filter((line) => line.startsWith("error"));
  assertEquals(lines.length, 1);
  return lines[0]!;
}

for (const end of ["recovers", "closes"]) {
  Deno.test(`Dispatcher.handleError() reads no stack until a listener without descriptors ${end}`, async () => {
    const clock = new MockClock();
    const logger = new LogLines();
    const map = quietMap({ clock, logger });
    const acceptor = new FakeAcceptor();
    const listener = new Listener(acceptor, { map });
    new Echo(new FakeChannel(), { map }); // keeps the loop going
    watch(loop({ map }));
    acceptor.push(codedError("EMFILE"), codedError("EMFILE"));
    await clock.advance(60); // the second error, in the longer pause
    assertMatch(await failOnce(map, logger), /\(Error: spam\)$/);
    assertEquals(Failing.stacksRead, 0);
    if (end === "closes") listener.close();
    else acceptor.push(new FakeChannel());
    await clock.advance(100);
    const line = await failOnce(map, logger);
    assertMatch(line, /\(Error: spam \[\/work\.ts\|work\|7\]\)$/);
  });
}

Deno.test("Dispatcher.handleError() reads no stack of an error that says descriptors ran out", () => {
  const logger = new LogLines();
  const handler = new Dispatcher();
  handler.logger = logger;
  handler.handleError(codedError("EMFILE"));
  assertMatch(logger.lines[0]!, /\(Error: os error: EMFILE\)$/);
});

/** A child process that may open 64 files, and what it prints. */
function startCrowdedServer() {
  const program = `${import.meta.dirname}/crowded_server.ts`;
  const run = `ulimit -n 64 && exec "${Deno.execPath()}" run -A "${program}"`;
  const child = new Deno.Command("sh", {
    args: ["-c", run],
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const err = toText(child.stderr);
  const lines = child.stdout
    .pipeThrough(new TextDecoderStream())
    .pipeThrough(new TextLineStream())
    .getReader();
  const kill = () => {
    try {
      child.kill("SIGKILL");
    } catch {
      // It has ended by itself.
    }
  };
  const deadline = setTimeout(kill, 10_000);
  return {
    /** Reads what it prints, until there is `what`. */
    async readUntil(what: string): Promise<string> {
      for (;;) {
        const { value } = await lines.read();
        if (value === undefined) throw new Error(`It ended: ${await err}`);
        if (value.includes(what)) return value;
      }
    },
    async [Symbol.asyncDispose](): Promise<void> {
      kill();
      await child.status;
      await err;
      while (!(await lines.read()).done);
      clearTimeout(deadline);
    },
  };
}

/** Sends `question`, and reads one answer; empty at the end. */
async function ask(conn: Deno.Conn, question: string): Promise<string> {
  await conn.write(bytes(question));
  const buffer = new Uint8Array(64);
  const length = await conn.read(buffer).catch(() => 0);
  return text(buffer.subarray(0, length ?? 0));
}

Deno.test({
  name:
    "Dispatcher on a real server without descriptors survives a hook that throws, and goes on",
  ignore: Deno.build.os !== "linux",
  async fn() {
    await using server = startCrowdedServer();
    const port = Number((await server.readUntil("port")).split(" ")[1]);
    const addr = { transport: "tcp", hostname: "127.0.0.1", port } as const;
    using steady = await rawConnect(addr);
    using failing = await rawConnect(addr);
    assertEquals(await ask(failing, "hello"), "hello");
    assertEquals(await ask(steady, "fill"), "filled");
    using late = await rawConnect(addr);
    await server.readUntil("accepting paused");
    const ended = ask(failing, "throw");
    assertStringIncludes(await server.readUntil("uncaught"), "Error: told to");
    assertEquals(await ended, "");
    assertEquals(await ask(steady, "still there?"), "still there?");
    assertEquals(await ask(steady, "free"), "freed");
    await server.readUntil("accepting resumed");
    assertEquals(await ask(late, "at last"), "at last");
    using another = await rawConnect(addr);
    assert(await ask(another, "me too"));
  },
});
