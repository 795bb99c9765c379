import { assertEquals, assertFalse, assertMatch } from "@std/assert";
import { type Channel, Dispatcher, loop } from "../mod.ts";
import {
  codedError,
  Echo,
  FakeAcceptor,
  FakeChannel,
  passes,
  quietMap,
  Recorder,
  watch,
} from "./fakes.ts";
import { channels, Keeper, setUp } from "./scenes.ts";
import { type TestMap, text, turns } from "./support.ts";

/** At times it wants no more. */
class FullListener extends Keeper {
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
  const listener = new Keeper(map, acceptor);
  const busy = channels(20);
  for (const channel of busy) new Echo(channel, { map });
  await passes(map, 2);
  acceptor.push(...channels(90));
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
  new Dispatcher(acceptor, { map }).handleAccepted = () => {
    gates.push(Promise.withResolvers());
    return gates.at(-1)!.promise;
  };
  const busy = new FakeChannel();
  busy.push("spam");
  new Echo(busy, { map });
  acceptor.push(...channels(3));
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
  let taken = 0;
  const listener = new Dispatcher(acceptor, { map });
  listener.handleAccepted = () => {
    taken++;
    listener.close();
  };
  const clients = channels(5);
  const busy = new FakeChannel();
  new Echo(busy, { map });
  await passes(map, 1);
  acceptor.push(...clients);
  busy.push("spam", null);
  await turns();
  await loop({ map });
  assertEquals(taken, 1);
  assertEquals(clients.filter(({ closed }) => closed).length, 4);
});

/** How a listener turns clients away for a while. */
const PAUSES: [
  how: string,
  Class: typeof Keeper,
  setFull: (listener: Keeper, isFull: boolean) => void,
][] = [
  ["is not readable()", FullListener, (listener, isFull) => {
    (listener as FullListener).isFull = isFull;
  }],
  ["is outside its map", Keeper, leaveMap],
  ["has a readable() and is outside its map", FullListener, leaveMap],
];

function leaveMap(listener: Keeper, isFull: boolean): void {
  if (isFull) listener.delChannel();
  else listener.addChannel();
}

for (const [how, Class, setFull] of PAUSES) {
  Deno.test(`Dispatcher that ${how} gets later whom it had accepted meanwhile, and more`, async () => {
    const map = quietMap();
    const acceptor = new FakeAcceptor();
    const listener = new Class(map, acceptor);
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
  const { clock, map: before } = setUp();
  const after = quietMap({ clock });
  const acceptor = new FakeAcceptor();
  const listener = new Keeper(before, acceptor);
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

/** What is logged about an error in a hook, and how often its stack was read. */
async function failOnce(map: TestMap, log: string[]) {
  let stacksRead = 0;
  const channel = new FakeChannel();
  const failing = new Dispatcher(channel, { map });
  failing.handleRead = () => {
    const error = new Error(text(failing.recv()));
    const get = () => {
      stacksRead++;
      return `${error}\n    at work (file:///work.ts:7:9)`;
    };
    throw Object.defineProperty(error, "stack", { get });
  };
  failing.handleClose = () => {}; // goes on
  channel.push("spam");
  log.length = 0;
  await turns();
  const [line, ...more] = log.filter((line) => line.startsWith("error"));
  assertEquals(more, []);
  return { line: line!, stacksRead };
}

for (const end of ["recovers", "closes"]) {
  Deno.test(`Dispatcher.handleError() reads no stack until a listener without descriptors ${end}`, async () => {
    const { clock, lines, map } = setUp();
    const acceptor = new FakeAcceptor();
    const listener = new Keeper(map, acceptor);
    new Echo(new FakeChannel(), { map }); // keeps the loop going
    watch(loop({ map }));
    acceptor.push(codedError("EMFILE"), codedError("EMFILE"));
    await clock.advance(60); // the second error, in the longer pause
    const { line, stacksRead } = await failOnce(map, lines);
    assertMatch(line, /\(Error: spam\)$/);
    assertEquals(stacksRead, 0);
    if (end === "closes") listener.close();
    else acceptor.push(new FakeChannel());
    await clock.advance(100);
    const later = await failOnce(map, lines);
    assertMatch(later.line, /\(Error: spam \[\/work\.ts\|work\|7\]\)$/);
  });
}

Deno.test("Dispatcher.handleError() reads no stack of an error that says descriptors ran out", () => {
  const { lines, map } = setUp();
  const handler = new Dispatcher(null, { map });
  handler.handleError(codedError("EMFILE"));
  assertMatch(lines[0]!, /\(Error: os error: EMFILE\)$/);
});
