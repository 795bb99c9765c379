/** Datagram sockets that misbehave, and senders that cannot be answered. */

import { Buffer } from "node:buffer";
import process from "node:process";
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
  DatagramDispatcher,
  DatagramError,
  type DatagramSocket,
  loop,
  toStreams,
} from "../mod.ts";
import { reactorOf } from "../loop.ts";
import { MockClock } from "../testing/mock_clock.ts";
import { FakeSocket, gate, PEER, peer, Recorder, setUp } from "./datagrams.ts";
import {
  Echo,
  FakeChannel,
  LogLines,
  loopToEnd,
  passes,
  quietMap,
} from "./fakes.ts";
import {
  bytes,
  captureRejections,
  loopUntil,
  ScopedMap,
  text,
  turn,
  turns,
  until as waitUntil,
} from "./support.ts";

/** Waits for what a loop that runs meanwhile brings. */
function until(done: () => boolean): Promise<void> {
  return waitUntil(done, `${done}`);
}

/** Says something to a neighbour, who has to answer. */
async function assertServed(map: ScopedMap, neighbour: FakeChannel) {
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
    await using _ = map;
    const neighbour = new FakeChannel();
    const echo = new Echo(neighbour, { map });
    socket.receive = receive;
    await loopUntil(map, () => map.size === 1);
    assertEquals(dispatcher.errors.length, 1);
    assertInstanceOf(dispatcher.errors[0], Error);
    assertEquals([dispatcher.closes, socket.closed], [1, true]);
    await assertServed(map, neighbour);
    echo.abort();
    assertEquals(rejections.reasons, []);
  });
}

Deno.test("DatagramDispatcher takes what its socket's receive() gives without a promise", async () => {
  const { map, socket, dispatcher } = setUp();
  await using _ = map;
  socket.receive = () => [bytes("spam"), PEER] as never;
  await loopUntil(map, () => dispatcher.reads >= 3);
  assertEquals(dispatcher.received[2], "7: spam");
  dispatcher.close();
});

Deno.test("DatagramDispatcher.recvFrom() owns what a socket gives as a Node Buffer", async () => {
  const shared = Buffer.alloc(4);
  const sender = { ...PEER };
  class Keeper extends Recorder {
    readonly kept: ReturnType<DatagramDispatcher["recvFrom"]>[] = [];
    override handleRead(): void {
      this.kept.push(this.recvFrom());
      if (this.kept.length === 2) this.close();
    }
  }
  const { map, socket, dispatcher } = setUp(Keeper as never);
  await using _ = map;
  const { kept } = dispatcher as Keeper;
  const texts = ["spam", "eggs"];
  socket.receive = async () => {
    await turn();
    shared.write(texts.shift() ?? "????");
    sender.port++;
    return [shared, sender];
  };
  await loopToEnd(map);
  assertEquals(kept.map(({ data }) => text(data)), ["spam", "eggs"]);
  assertEquals(kept.map(({ addr }) => addr.port), [8, 9]);
});

Deno.test("DatagramDispatcher.sendTo() copies a Node Buffer", async () => {
  const { map, socket, dispatcher } = setUp();
  await using _ = map;
  const open = gate(socket);
  const data = Buffer.from("spam");
  dispatcher.sendTo(data, PEER);
  dispatcher.sendTo(data.subarray(1), PEER);
  data.fill("x");
  open();
  await loopUntil(map, () => socket.sent.length === 2);
  assertEquals(socket.sent, ["7: spam", "7: pam"]);
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

Deno.test("DatagramDispatcher whose socket refuses for ever leaves the others their turns", async () => {
  const clock = new MockClock();
  const log = new LogLines();
  const map = quietMap({ logger: log, clock });
  const socket = new RefusingSocket();
  const dispatcher = new Recorder(map, socket);
  const neighbour = new FakeChannel();
  const echo = new Echo(neighbour, { map });
  const looping = loop({ map });
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
  dispatcher.close();
  echo.abort();
  await looping;
});

Deno.test("DatagramDispatcher.close() ends the pause after refusals", async () => {
  const clock = new MockClock();
  const map = quietMap({ clock });
  const socket = new RefusingSocket();
  const dispatcher = new Recorder(map, socket);
  const looping = loop({ map });
  await until(() => socket.receives === 64);
  dispatcher.close();
  await looping;
  // The one more finds the socket closed.
  await until(() => socket.receives === 65);
  await turns();
  assertEquals([socket.receives, clock.armed], [65, 0]);
});

// Sending

const BAD_SENDS: Record<string, DatagramSocket["send"]> = {
  "throws": () => {
    throw new Error("spam");
  },
  "rejects": () => Promise.reject(new Error("spam")),
  "rejects with nothing": () => Promise.reject(),
  "rejects with an error whose message is no text": () =>
    Promise.reject(Object.assign(new Error(), { message: Symbol("spam") })),
};

for (const [what, send] of Object.entries(BAD_SENDS)) {
  Deno.test(`DatagramDispatcher whose socket's send() ${what} loses that datagram, and says so`, async () => {
    using rejections = captureRejections();
    const { map, socket, dispatcher, log } = setUp();
    await using _ = map;
    const well = socket.send.bind(socket);
    socket.send = (data, addr) =>
      text(data) === "lost" ? send(data, addr) : well(data, addr);
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
    dispatcher.close();
    assertEquals(rejections.reasons, []);
  });
}

Deno.test("DatagramDispatcher does not ask what its socket's send() gives", async () => {
  const { map, socket, dispatcher } = setUp();
  await using _ = map;
  const sent: string[] = [];
  const answers = [undefined, NaN, -1, "spam", null];
  socket.send = (data) => {
    sent.push(text(data));
    return answers[sent.length % answers.length] as never;
  };
  const words = ["a", "b", "c", "d", "e", "f"];
  for (const word of words) dispatcher.sendTo(bytes(word), PEER);
  await loopUntil(map, () => sent.length === words.length);
  assertEquals(sent, words);
  assertEquals(dispatcher.errors, []);
});

Deno.test("DatagramDispatcher.close() logs a loss that handleError() had no turn for", async () => {
  for (const end of ["close", "abort"] as const) {
    const { map, socket, dispatcher, log } = setUp();
    await using _ = map;
    socket.onSend = () => Promise.reject(new Error("no route"));
    dispatcher.sendTo(bytes("spam"), PEER);
    for (let i = 0; i < 5; i++) await turn(); // It has failed, and no pass came.
    dispatcher[end]();
    await loopToEnd(map);
    assertEquals(dispatcher.errors, [], end);
    assertEquals(log.lines.length, 1, end);
    assertMatch(log.lines[0]!, /^error: <Recorder .*lost a datagram.*no route/);
  }
});

Deno.test("DatagramDispatcher that closes while a hook is pending logs what it lost meanwhile", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  class Slow extends Recorder {
    override async handleRead() {
      this.sendTo(this.recvFrom().data, PEER);
      this.reads++;
      await promise;
      this.close();
    }
  }
  const { map, socket, dispatcher, log } = setUp(Slow);
  await using _ = map;
  socket.onSend = () => Promise.reject(new Error("no route"));
  socket.push("spam");
  await loopUntil(map, () => dispatcher.reads === 1);
  await passes(map, 3);
  resolve();
  await loopToEnd(map);
  assertEquals(dispatcher.errors, []);
  assertEquals(log.lines.length, 1);
  assertStringIncludes(log.lines[0]!, "lost a datagram");
});

Deno.test("DatagramDispatcher tells of a loss in the map that it has moved to", async () => {
  const { map, socket, dispatcher } = setUp();
  await using _ = map;
  await using other = new ScopedMap({ logger: new LogLines() });
  socket.onSend = () => Promise.reject(new Error("no route"));
  dispatcher.sendTo(bytes("spam"), PEER);
  for (let i = 0; i < 5; i++) await turn();
  dispatcher.addChannel(other);
  await loopUntil(other, () => dispatcher.errors.length === 1);
});

Deno.test("DatagramDispatcher.sendTo() does not queue datagrams without bytes without end", async () => {
  const { map, socket, dispatcher, log } = setUp();
  await using _ = map;
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

/** The processor's time, in µs, to queue `count` datagrams and to send them. */
async function costOf(count: number): Promise<number> {
  const { map, socket, dispatcher } = setUp();
  await using _ = map;
  let sent = 0;
  socket.send = () => Promise.resolve(++sent);
  const before = process.cpuUsage();
  for (let i = 0; i < count; i++) dispatcher.sendTo(bytes("x"), PEER);
  dispatcher.close();
  await loopToEnd(map);
  assertEquals(sent, count);
  const { user, system } = process.cpuUsage(before);
  return user + system;
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
  const clock = new MockClock();
  const log = new LogLines();
  const map = quietMap({ logger: log, clock });
  class Server extends Recorder {
    override handleRead(): void {
      const { data, addr } = this.recvFrom();
      this.reads++;
      this.sendTo(data, addr);
    }
  }
  const socket = new FakeSocket();
  socket.onSend = (_, { port }) => {
    if (port === 0) throw new TypeError("Invalid argument (os error 22)");
  };
  const server = new Server(map, socket);
  const neighbour = new FakeChannel();
  const echo = new Echo(neighbour, { map });
  for (let i = 0; i < 2_000; i++) {
    socket.push("forged", 0);
    if (i % 100 === 0) neighbour.push("x");
  }
  socket.push("honest", 7);
  const looping = loop({ map });
  await until(() => neighbour.sent.length === 20);
  assertLess(server.reads, 1_000, "its neighbour does not wait for all");
  await until(() => server.errors.length === 2_000);
  await until(() => socket.sent.length === 1);
  assertEquals(socket.sent, ["7: honest"]);
  assertEquals(log.lines.length, 20);
  // A timer for each would keep the passes from looking at other sockets.
  assertEquals(reactorOf(map).timers.added, 1, "the one of the log");
  await clock.advance(10_000);
  assertEquals(log.lines.length, 21);
  assertMatch(
    log.lines[20]!,
    /^error: left out 1980 more like this: <Server 127.0.0.1:53> lost a datagram \(DatagramError: Cannot send 6 bytes to 192.0.2.1:0: Invalid/,
  );
  server.close();
  echo.abort();
  await looping;
});

Deno.test("DatagramDispatcher that is closed logs few of its losses, and how many those were", async () => {
  const { map, socket, dispatcher, log } = setUp();
  await using _ = map;
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

for (
  const [what, close] of [
    ["throws", () => {
      throw new Error("spam");
    }],
    ["rejects", () => Promise.reject(new Error("spam"))],
    ["gives a thenable that rejects", () => ({
      then: (_: unknown, reject: (reason: unknown) => void) => reject("spam"),
    })],
    ["gives a thenable that throws", () => ({
      then() {
        throw new Error("spam");
      },
    })],
  ] as [string, () => void][]
) {
  Deno.test(`DatagramDispatcher whose socket's close() ${what} is closed, and nobody else`, async () => {
    using rejections = captureRejections();
    for (const end of ["close", "abort"] as const) {
      const { map, socket, dispatcher } = setUp();
      await using _ = map;
      const neighbour = new FakeChannel();
      const echo = new Echo(neighbour, { map });
      socket.close = () => {
        socket.breakDown(new Deno.errors.Interrupted("operation canceled"));
        return close();
      };
      await passes(map, 2);
      dispatcher.sendTo(bytes("spam"), PEER);
      dispatcher[end]();
      await loopUntil(map, () => map.lingering === 0);
      assertEquals([map.size, dispatcher.socket], [1, null]);
      await assertServed(map, neighbour);
      echo.abort();
    }
    await turns();
    assertEquals(rejections.reasons, []);
  });
}

Deno.test("DatagramDispatcher leaves nothing in the map when its socket has no address to tell", () => {
  const map = new ScopedMap();
  const socket = Object.defineProperty(new FakeSocket(), "addr", {
    get: () => {
      throw new Error("spam");
    },
  });
  assertThrows(() => new Recorder(map, socket), Error, "spam");
  assertEquals(map.size, 0);
});

Deno.test("toStreams() refuses a DatagramDispatcher", async () => {
  const { map, socket } = setUp();
  await using _ = map;
  const dispatcher = new DatagramDispatcher(new FakeSocket(), { map });
  assertThrows(
    () => toStreams(dispatcher),
    TypeError,
    "Cannot make streams: <DatagramDispatcher 127.0.0.1:53> has no connection",
  );
  assertEquals(socket.closed, false);
});
