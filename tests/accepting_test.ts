import { assert, assertEquals, assertFalse, assertMatch } from "@std/assert";
import { type AcceptEvents, Accepting } from "../core/accepting.ts";
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
import { MockClock } from "../testing/mock_clock.ts";
import { type TestMap, text, turns } from "./support.ts";

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

Deno.test("Dispatcher takes as many newcomers in a pass as there are others with something to do", async () => {
  const map = quietMap();
  const acceptor = new FakeAcceptor();
  const listener = new Listener(acceptor, { map });
  const busy = Array.from({ length: 20 }, () => new FakeChannel());
  for (const channel of busy) new Echo(channel, { map });
  await passes(map, 2);
  acceptor.push(...Array.from({ length: 90 }, () => new FakeChannel()));
  await turns();
  assertEquals(acceptor.accepts, 64, "no more are taken ahead");
  const news: number[] = [];
  for (let i = 0; i < 4; i++) {
    for (const channel of busy) if (i < 2) channel.push("spam");
    await turns();
    const before = listener.accepted.length;
    await passes(map, 1);
    news.push(listener.accepted.length - before);
  }
  // With nobody else about, a pass is a pass: one at a time.
  assertEquals(news, [21, 21, 1, 1]);
});

Deno.test("Dispatcher whose handleAccepted() is async takes one of a crowd at a time", async () => {
  const map = quietMap();
  const acceptor = new FakeAcceptor();
  const gates: PromiseWithResolvers<void>[] = [];
  class Slow extends Dispatcher {
    override handleAccepted(): Promise<void> {
      const gate = Promise.withResolvers<void>();
      gates.push(gate);
      return gate.promise;
    }
  }
  new Slow(acceptor, { map });
  const busy = new FakeChannel();
  busy.push("spam");
  new Echo(busy, { map });
  acceptor.push(new FakeChannel(), new FakeChannel(), new FakeChannel());
  await turns();
  for (const count of [1, 2, 3]) {
    await passes(map, 5);
    assertEquals(gates.length, count);
    gates.at(-1)!.resolve();
  }
});

Deno.test("Dispatcher that closes in handleAccepted() turns away the rest of a crowd", async () => {
  const map = quietMap();
  const acceptor = new FakeAcceptor();
  class Picky extends Dispatcher {
    taken = 0;
    override handleAccepted(): void {
      this.taken++;
      this.close();
    }
  }
  const listener = new Picky(acceptor, { map });
  const clients = Array.from({ length: 5 }, () => new FakeChannel());
  const busy = new FakeChannel();
  new Echo(busy, { map });
  await passes(map, 1);
  acceptor.push(...clients);
  busy.push("spam", null);
  await turns();
  await loop({ map });
  assertEquals(listener.taken, 1);
  assertEquals(clients.filter(({ closed }) => closed).length, 4);
});

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

// The end of a listener

/** An acceptor that does not end its accept when it is closed, but later. */
class SlowAcceptor extends FakeAcceptor {
  override close(): void {
    this.closed = true;
  }
}

/** What a listener tells nobody. */
const unheard: AcceptEvents = {
  ...{ ready() {}, wanted: () => true, exhausted() {}, full() {} },
  ...{ now: () => 0, startTimer: () => ({ cancel() {} }) },
  secure: async ({ channel }) => void await channel.handshake!(),
};

Deno.test("Accepting.whenClosed() waits for the accept that is in flight", async () => {
  const acceptor = new SlowAcceptor();
  const accepting = new Accepting(acceptor, Infinity, unheard);
  assertEquals(accepting.whenClosed(), null, "nothing is in flight");
  accepting.arm();
  accepting.close();
  const closed = accepting.whenClosed();
  assert(closed !== null);
  const watched = watch(closed);
  await turns();
  assertFalse(watched.settled);
  acceptor.push(new Deno.errors.BadResource("closed"));
  await closed;
  assertEquals(accepting.whenClosed(), null);
});

Deno.test("Accepting.whenClosed() waits for handshakes, too", async () => {
  const acceptor = new FakeAcceptor();
  const accepting = new Accepting(acceptor, Infinity, unheard);
  const handshake = Promise.withResolvers<void>();
  const client = new FakeChannel();
  acceptor.push(Object.assign(client, { handshake: () => handshake.promise }));
  accepting.arm();
  await turns();
  accepting.close();
  await turns();
  const closed = accepting.whenClosed();
  assert(closed !== null);
  handshake.reject(new Deno.errors.BadResource("closed"));
  await closed;
  assert(client.closed);
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
