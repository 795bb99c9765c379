/** Datagram sockets that misbehave, and senders that cannot be answered. */

import { Buffer } from "node:buffer";
import {
  assertEquals,
  assertInstanceOf,
  assertLess,
  assertLessOrEqual,
  assertMatch,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  type Datagram,
  DatagramDispatcher,
  DatagramError,
  type DatagramSocket,
  Dispatcher,
  loop,
  toStreams,
} from "../mod.ts";
import { REACTOR } from "../core/symbols.ts";
import { MockClock } from "../testing/mock_clock.ts";
import { FakeSocket, gate, PEER, peer, Recorder, setUp } from "./datagrams.ts";
import {
  Echo,
  FakeChannel,
  LogLines,
  loopToEnd,
  passes,
  quietMap,
  rest,
} from "./fakes.ts";
import {
  bytes,
  captureRejections,
  cpuTime,
  loopUntil,
  type TestMap,
  text,
  turn,
  turns,
  until as waitUntil,
} from "./support.ts";
import { FAILURES } from "./misbehaviours.ts";

/** Waits for what a loop that runs meanwhile brings. */
function until(done: () => boolean): Promise<void> {
  return waitUntil(done, `${done}`);
}

/** Says something to a neighbour, who has to answer. */
async function assertServed(map: TestMap, neighbour: FakeChannel) {
  const before = neighbour.sent.length;
  neighbour.push("spam");
  await loopUntil(map, () => neighbour.sent.length > before);
}

// Receiving

const BAD_RECEIVES: Record<string, DatagramSocket["receive"]> = {
  "throws": () => {
    throw new Error("spam");
  },
  "gives no promise": () => undefined as never,
  "resolves with nothing": () => Promise.resolve(undefined as never),
  "resolves with an object": () => Promise.resolve({ length: 2 } as never),
  "resolves with text": () => Promise.resolve(["spam", PEER] as never),
  "resolves without an address": () => Promise.resolve([bytes("x")] as never),
  "resolves with null for an address": () =>
    Promise.resolve([bytes("x"), null] as never),
  "resolves with the address of a Unix socket": () =>
    Promise.resolve([bytes("x"), { transport: "unixpacket", path: "/x" }]),
  "resolves with a port out of range": () =>
    Promise.resolve([bytes("x"), peer(70_000)]),
  "rejects": () => Promise.reject(new Error("spam")),
  "rejects with nothing": () => Promise.reject(),
  "rejects with what is a disconnect elsewhere": () =>
    Promise.reject(new Deno.errors.NotConnected("spam")),
  "rejects with what means no such direction elsewhere": () =>
    Promise.reject(new Deno.errors.NotSupported("spam")),
};

for (const [what, receive] of Object.entries(BAD_RECEIVES)) {
  Deno.test(`DatagramDispatcher whose socket's receive() ${what} is closed, and nobody else`, async () => {
    using rejections = captureRejections();
    const { map, socket, dispatcher } = setUp();
    const neighbour = new FakeChannel();
    new Echo(neighbour, { map });
    socket.receive = receive;
    await loopUntil(map, () => map.size === 1);
    assertEquals(dispatcher.errors.length, 1);
    assertInstanceOf(dispatcher.errors[0], Error);
    assertEquals([dispatcher.closes, socket.closed], [1, true]);
    await assertServed(map, neighbour);
    assertEquals(rejections.reasons, []);
  });
}

Deno.test("DatagramDispatcher takes what its socket's receive() gives without a promise", async () => {
  const { map, socket, dispatcher } = setUp();
  socket.receive = () => [bytes("spam"), PEER] as never;
  await loopUntil(map, () => dispatcher.reads >= 3);
  assertEquals(dispatcher.received[2], "7: spam");
});

Deno.test("DatagramDispatcher.recvFrom() owns what a socket gives as a Node Buffer", async () => {
  const { map, socket, dispatcher } = setUp();
  const kept: Datagram[] = [];
  dispatcher.handleRead = () => {
    if (kept.push(dispatcher.recvFrom()) === 2) dispatcher.close();
  };
  const shared = Buffer.alloc(4);
  const sender = { ...PEER };
  const words = ["spam", "eggs"];
  socket.receive = async () => {
    await turn();
    shared.write(words.shift() ?? "????");
    sender.port++;
    return [shared, sender];
  };
  await loopToEnd(map);
  assertEquals(kept.map(({ data }) => text(data)), ["spam", "eggs"]);
  assertEquals(kept.map(({ addr }) => addr.port), [8, 9]);
});

/** Refuses each receive as long as it is broken. */
class RefusingSocket extends FakeSocket {
  isBroken = true;
  override receive(target: Uint8Array): ReturnType<FakeSocket["receive"]> {
    const received = super.receive(target);
    if (this.isBroken) this.push(new Deno.errors.ConnectionRefused("spam"));
    return received;
  }
}

/** A dispatcher beside a neighbour in a loop, on a clock of its own. */
function run<T extends FakeSocket>(socket: T) {
  const clock = new MockClock();
  const log = new LogLines();
  const map = quietMap({ logger: log, clock });
  const dispatcher = new Recorder(map, socket);
  const neighbour = new FakeChannel();
  const echo = new Echo(neighbour, { map });
  const looping = loop({ map });
  const end = () => {
    dispatcher.close();
    echo.abort();
    return looping;
  };
  return { clock, log, map, socket, dispatcher, neighbour, end };
}

Deno.test("DatagramDispatcher whose socket refuses for ever leaves the others their turns", async () => {
  const { clock, log, socket, dispatcher, neighbour, end } = run(
    new RefusingSocket(),
  );
  // Once it has refused often enough, it is asked only as time goes by.
  await until(() => socket.receives === 64);
  neighbour.push("spam");
  await until(() => neighbour.sent === "spam");
  await turns();
  assertEquals(socket.receives, 64);
  await clock.advance(1_000);
  assertEquals(socket.receives, 164);
  await until(() => dispatcher.errors.length === 164);
  assertEquals(log.lines.length, 20);
  // It hears as soon as there is something to hear.
  socket.isBroken = false;
  await clock.advance(10);
  socket.push("eggs");
  await until(() => dispatcher.reads === 1);
  assertEquals(dispatcher.received, ["7: eggs"]);
  await end();
});

Deno.test("DatagramDispatcher.close() ends the pause after refusals", async () => {
  const { clock, socket, end } = run(new RefusingSocket());
  await until(() => socket.receives === 64);
  await end();
  // The one more finds the socket closed.
  await until(() => socket.receives === 65);
  await turns();
  assertEquals([socket.receives, clock.armed], [65, 0]);
});

// Sending

for (const [what, fail] of Object.entries(FAILURES)) {
  Deno.test(`DatagramDispatcher whose socket's send() ${what} loses that datagram, and says so`, async () => {
    using rejections = captureRejections();
    const { map, socket, dispatcher, log } = setUp();
    const well = socket.send.bind(socket);
    socket.send = (data, addr) =>
      text(data) === "lost"
        ? fail(() => 0, Promise.resolve())
        : well(data, addr);
    for (const data of ["spam", "lost", "eggs", "lost", "ham"]) {
      dispatcher.sendTo(bytes(data), PEER);
    }
    await loopUntil(map, () => dispatcher.errors.length === 2);
    for (const error of dispatcher.errors) {
      assertInstanceOf(error, DatagramError);
      assertStringIncludes(error.message, "Cannot send 4 bytes to 192.0.2.1:7");
    }
    await loopUntil(map, () => socket.sent.length === 3);
    assertEquals(log.lines.length, 2);
    assertEquals(rejections.reasons, []);
  });
}

Deno.test("DatagramDispatcher does not ask what its socket's send() gives", async () => {
  const { map, socket, dispatcher } = setUp();
  const answers = [undefined, NaN, -1, "spam", null];
  const sent: string[] = [];
  socket.send = (data) => answers[sent.push(text(data))] as never;
  const words = ["a", "b", "c", "d", "e"];
  for (const word of words) dispatcher.sendTo(bytes(word), PEER);
  await loopUntil(map, () => sent.length === words.length);
  assertEquals([sent, dispatcher.errors], [words, []]);
});

for (const end of ["close", "abort"] as const) {
  Deno.test(`DatagramDispatcher.${end}() logs a loss that handleError() had no turn for`, async () => {
    const { map, socket, dispatcher, log } = setUp();
    socket.onSend = () => Promise.reject(new Error("no route"));
    dispatcher.sendTo(bytes("spam"), PEER);
    await turns(); // It has failed, and no pass came.
    dispatcher[end]();
    await loopToEnd(map);
    assertEquals([dispatcher.errors, log.lines.length], [[], 1]);
    assertMatch(log.lines[0]!, /^error: <Recorder .*lost a datagram.*no route/);
  });
}

Deno.test("DatagramDispatcher that closes while a hook is pending logs what it lost meanwhile", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const { map, socket, dispatcher, log } = setUp();
  dispatcher.handleRead = async () => {
    dispatcher.sendTo(dispatcher.recvFrom().data, PEER);
    await promise;
    dispatcher.close();
  };
  socket.onSend = () => Promise.reject(new Error("no route"));
  socket.push("spam");
  await rest(map);
  resolve();
  await loopToEnd(map);
  assertEquals([dispatcher.errors, log.lines.length], [[], 1]);
  assertStringIncludes(log.lines[0]!, "lost a datagram");
});

Deno.test("DatagramDispatcher tells of a loss in the map that it has moved to", async () => {
  const { socket, dispatcher } = setUp();
  const other = quietMap();
  socket.onSend = () => Promise.reject(new Error("no route"));
  dispatcher.sendTo(bytes("spam"), PEER);
  await turns();
  dispatcher.addChannel(other);
  await loopUntil(other, () => dispatcher.errors.length === 1);
});

Deno.test("DatagramDispatcher.sendTo() does not queue datagrams without bytes without end", async () => {
  const { map, socket, dispatcher, log } = setUp();
  const open = gate(socket);
  for (let i = 0; i < 70_000; i++) dispatcher.sendTo(bytes(""), PEER);
  await loopUntil(map, () => dispatcher.errors.length > 0);
  await passes(map);
  assertEquals(dispatcher.errors.length, 70_000 - 65_536);
  assertMatch(
    (dispatcher.errors[0] as Error).message,
    /^Cannot send 0 bytes to 192.0.2.1:7: 65536 bytes wait to be sent/,
  );
  assertLessOrEqual(log.lines.length, 20);
  open();
  dispatcher.close();
  await loopToEnd(map);
  assertEquals(socket.sent.length, 65_536);
});

/** The processor's time, in ms, to queue `count` datagrams and to send them. */
async function costOf(count: number): Promise<number> {
  const { map, socket, dispatcher } = setUp();
  let sent = 0;
  socket.send = () => Promise.resolve(++sent);
  const before = cpuTime();
  for (let i = 0; i < count; i++) dispatcher.sendTo(bytes("x"), PEER);
  dispatcher.close();
  await loopToEnd(map);
  assertEquals(sent, count);
  return cpuTime() - before;
}

/** The same for `count` datagrams, of which `size` are queued at a time. */
async function costInParts(count: number, size: number): Promise<number> {
  let cost = 0;
  for (let done = 0; done < count; done += size) cost += await costOf(size);
  return cost;
}

Deno.test("DatagramDispatcher sends each of 65,536 queued datagrams as fast as each of 4,096", async () => {
  await costInParts(65_536, 4_096);
  let [apart, together] = [Infinity, Infinity];
  for (let i = 0; i < 3; i++) {
    apart = Math.min(apart, await costInParts(65_536, 4_096));
    together = Math.min(together, await costInParts(65_536, 65_536));
  }
  // With a queue that is shifted at its front it is some forty times as much.
  assertLess(together, 8 * apart);
});

// Floods

Deno.test("DatagramDispatcher whose senders cannot be answered serves its neighbours, in few lines", async () => {
  const { clock, log, map, socket, dispatcher, neighbour, end } = run(
    new FakeSocket(),
  );
  dispatcher.handleRead = () => {
    const { data, addr } = dispatcher.recvFrom();
    dispatcher.reads++;
    dispatcher.sendTo(data, addr);
  };
  socket.onSend = (_, { port }) => {
    if (port === 0) throw new TypeError("Invalid argument (os error 22)");
  };
  for (let i = 0; i < 2_000; i++) {
    socket.push("forged", 0);
    if (i % 100 === 0) neighbour.push("x");
  }
  socket.push("honest", 7);
  await until(() => neighbour.sent.length === 20);
  assertLess(dispatcher.reads, 1_000, "its neighbour does not wait for all");
  await until(() => dispatcher.errors.length === 2_000);
  await until(() => socket.sent.length === 1);
  assertEquals(socket.sent, ["7: honest"]);
  assertEquals(log.lines.length, 20);
  // A timer for each would keep the passes from looking at other sockets.
  assertEquals(map[REACTOR].timers.added, 1, "the one of the log");
  await clock.advance(10_000);
  assertEquals(log.lines.length, 21);
  assertMatch(
    log.lines[20]!,
    /^error: left out 1980 more like this: <Recorder 127.0.0.1:53> lost a datagram \(DatagramError: Cannot send 6 bytes to 192.0.2.1:0: Invalid/,
  );
  await end();
});

Deno.test("DatagramDispatcher that is closed logs few of its losses, and how many those were", async () => {
  const { map, socket, dispatcher, log } = setUp();
  socket.onSend = () => Promise.reject(new Error("no route"));
  for (let i = 0; i < 200; i++) dispatcher.sendTo(bytes("spam"), PEER);
  dispatcher.close();
  await loopToEnd(map);
  assertEquals(dispatcher.errors, []);
  assertEquals(log.lines.length, 21);
  assertMatch(
    log.lines[20]!,
    /^error: left out 180 more like this: <Recorder .*no route/,
  );
});

// Closing

for (const [what, fail] of Object.entries(FAILURES)) {
  for (const end of ["close", "abort"] as const) {
    Deno.test(`DatagramDispatcher.${end}() of a socket whose close() ${what} closes that, and nobody else`, async () => {
      using rejections = captureRejections();
      const { map, socket, dispatcher } = setUp();
      const neighbour = new FakeChannel();
      new Echo(neighbour, { map });
      socket.close = () => {
        socket.breakDown(new Deno.errors.Interrupted("operation canceled"));
        return fail(() => {}, Promise.resolve());
      };
      await passes(map, 2);
      dispatcher.sendTo(bytes("spam"), PEER);
      dispatcher[end]();
      await loopUntil(map, () => map.lingering === 0);
      assertEquals([map.size, dispatcher.socket], [1, null]);
      await assertServed(map, neighbour);
      await turns();
      assertEquals(rejections.reasons, []);
    });
  }
}

Deno.test("toStreams() refuses a DatagramDispatcher", () => {
  const socket = new FakeSocket();
  assertThrows(
    () => toStreams(new DatagramDispatcher(socket, { map: quietMap() })),
    TypeError,
    "Cannot make streams: <DatagramDispatcher 127.0.0.1:53> has no connection",
  );
  assertEquals(socket.closed, false);
});

Deno.test("new Dispatcher(socket) refuses the socket of a DatagramDispatcher, and changes nothing", () => {
  const socket = new FakeSocket();
  const map = quietMap();
  const datagrams = new DatagramDispatcher(socket, { map });
  assertThrows(
    () => new Dispatcher(datagrams.socket, { map }),
    Error,
    "Cannot hand over: <DatagramDispatcher 127.0.0.1:53> is a datagram socket",
  );
  assertEquals([[...map], socket.closed], [[datagrams], false]);
  datagrams.abort();
});

Deno.test("DatagramDispatcher leaves nothing in the map when its socket has no address to tell", () => {
  const map = quietMap();
  const get = () => {
    throw new Error("spam");
  };
  const socket = Object.defineProperty(new FakeSocket(), "addr", { get });
  assertThrows(() => new Recorder(map, socket), Error, "spam");
  assertEquals(map.size, 0);
});
