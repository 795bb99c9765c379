/** A network's channels are checked like a user's. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  type Acceptor,
  type Channel,
  DatagramDispatcher,
  Dispatcher,
  loop,
  type Network,
} from "../mod.ts";
import { FakeSocket } from "./datagrams.ts";
import { FakeAcceptor, FakeChannel, quietMap, Recorder } from "./fakes.ts";
import { type Any, listening, recorder } from "./setups.ts";
import { captureRejections, turns } from "./support.ts";

const SPAM = new Error("spam");

function spam(): never {
  throw SPAM;
}

/** A map with a network that does as it is told. */
function mapOf(wrong: Partial<Record<keyof Network, () => Any>>) {
  return quietMap({ network: { connect: spam, listen: spam, ...wrong } });
}

/** A fake that can be closed, with a part of it replaced or missing. */
function broken(part: Record<string, unknown>): FakeChannel {
  return Object.defineProperties(
    new FakeChannel(),
    Object.getOwnPropertyDescriptors(part),
  );
}

/** What is no channel, and a part of what is said about it. */
const NO_CHANNELS: [name: string, make: () => Any, said: string][] = [
  ["nothing", () => undefined, "must be an object, got undefined"],
  ["null", () => null, "must be an object, got null"],
  ["a number", () => 7, "must be an object, got 7"],
  ["one without read()", () => ({ close() {} }), "has no read() method"],
  ["one without write()", () => broken({ write: 5 }), "has no write() method"],
  [
    "one without close()",
    () => ({ read: spam, write: spam }),
    "has no close()",
  ],
  ["one with chunkSize 0", () => broken({ chunkSize: 0 }), "chunkSize"],
  ["one with chunkSize NaN", () => broken({ chunkSize: NaN }), "chunkSize"],
  [
    "one with chunkSize 2^31",
    () => broken({ chunkSize: 2 ** 31 }),
    "chunkSize",
  ],
  ["one whose handshake is none", () => broken({ handshake: 5 }), "handshake"],
  ["one whose closeWrite is none", () => {
    return broken({ closeWrite: "no" });
  }, "closeWrite must be a function"],
  ["one whose address is text", () => {
    return broken({ remoteAddr: "127.0.0.1:7" });
  }, "remoteAddr must be a Deno.Addr"],
  ["one whose address throws", () => {
    return Object.defineProperty(broken({}), "remoteAddr", { get: spam });
  }, "spam"],
];

/** Expects one error that says `said`, and the end. */
function assertFailed(victim: Recorder, said: string): void {
  const trace = victim.trace.filter((hook) => hook !== "handleRead");
  assertEquals(trace, ["handleError", "handleClose"]);
  assertEquals(victim.errors.length, 1);
  const [error] = victim.errors;
  assert(String(error).includes(said), String(error));
  assertEquals(victim.map.size, 0);
}

/** Begins to connect over a network of which one method gives what it must not. */
function connectTo(connect: () => Any): Recorder {
  const client = new Recorder(mapOf({ connect }));
  client.createSocket();
  client.connect({ port: 7 });
  return client;
}

/** Where a network gives a channel: who is told, and what else is closed. */
const PLACES: Record<
  string,
  (give: () => Any) => { victim: Recorder; wrapped?: { closed: boolean } }
> = {
  "connect() fails where the network gives": (give) => {
    return { victim: connectTo(give) };
  },
  "startTls() fails where the network gives": (startTls) => {
    const wrapped = new FakeChannel();
    const victim = recorder(mapOf({ startTls }), wrapped, {
      handleRead() {
        this.recv();
        this.startTls({ hostname: "localhost" }).catch(() => {});
      },
    });
    wrapped.push("220 go\r\n");
    return { victim, wrapped };
  },
  "accept() ends its listener where it gives": (give) => {
    const wrapped = new FakeAcceptor();
    wrapped.otherwise = give;
    return { victim: new Recorder(quietMap(), wrapped), wrapped };
  },
};

for (const [name, make, said] of NO_CHANNELS) {
  for (const [place, begin] of Object.entries(PLACES)) {
    Deno.test(`${place} ${name}`, async () => {
      for (const isLate of [false, true]) {
        const value = make();
        const give = () => isLate ? Promise.resolve(value) : value;
        const { victim, wrapped = { closed: true } } = begin(give);
        await loop({ map: victim.map });
        assertFailed(victim, said);
        assert(wrapped.closed);
        if (value instanceof FakeChannel) assert(value.closed);
      }
    });
  }

  Deno.test(`close() during connect() and accept() puts up with ${name}`, async () => {
    const connected = Promise.withResolvers<Any>();
    const client = connectTo(() => connected.promise);
    const accepted = Promise.withResolvers<Any>();
    const { map, acceptor, server } = listening();
    acceptor.otherwise = () => accepted.promise;
    await loop({ map, count: 2, timeout: 0 });
    server.close();
    client.close();
    connected.resolve(make());
    accepted.resolve(make());
    await turns();
    await loop({ map });
    await loop({ map: client.map });
    assertEquals([server.trace, client.trace], [[], []]);
    map.check();
  });
}

const NO_ACCEPTORS: [name: string, make: () => Any, said: string][] = [
  ["nothing", () => undefined, "must be an object, got undefined"],
  ["a promise", () => Promise.resolve(new FakeAcceptor()), "has no accept()"],
  ["a channel", () => new FakeChannel(), "has no accept() method"],
  ["one whose address is text", () => {
    return Object.assign(new FakeAcceptor(), { addr: "127.0.0.1:7" });
  }, "addr must be a Deno.Addr"],
];

for (const [name, make, said] of NO_ACCEPTORS) {
  Deno.test(`bind() throws where the network gives ${name}`, () => {
    const value = make();
    const map = mapOf({ listen: () => value });
    const server = new Dispatcher(null, { map });
    server.createSocket();
    assertThrows(() => server.bind({ port: 7 }), TypeError, said);
    assertEquals(map.size, 0);
    if (value && "closed" in value) assert(value.closed);
    server.close();
  });
}

for (
  const [name, make, said] of [
    ["nothing", () => undefined, "must be an object, got undefined"],
    ["a channel", () => new FakeChannel(), "has no receive() method"],
  ] as const
) {
  Deno.test(`bind() of a DatagramDispatcher throws where the network gives ${name}`, () => {
    const value = make();
    const map = mapOf({ listenDatagram: () => value });
    const dispatcher = new DatagramDispatcher(null, { map });
    dispatcher.createSocket();
    assertThrows(
      () => dispatcher.bind({ port: 7 }),
      TypeError,
      `Cannot bind 0.0.0.0:7: The network's datagram socket ${said}`,
    );
    if (value !== undefined) assert(value.closed);
    dispatcher.close();
  });
}

Deno.test("bind() of a DatagramDispatcher throws where the network has no UDP", () => {
  const map = mapOf({});
  const dispatcher = new DatagramDispatcher(null, { map });
  dispatcher.createSocket();
  assertThrows(
    () => dispatcher.bind({ port: 7 }),
    Deno.errors.NotSupported,
    "the network of its map has none: give it to setSocket()",
  );
  dispatcher.close();
});

Deno.test("bind() of a DatagramDispatcher opens what the network of its map gives", async () => {
  const opened: unknown[] = [];
  const socket = new FakeSocket();
  const map = mapOf({
    listenDatagram: (...args: unknown[]) => {
      opened.push(args);
      return socket;
    },
  });
  const dispatcher = new DatagramDispatcher(null, { map });
  dispatcher.createSocket();
  dispatcher.setReuseAddr();
  dispatcher.bind({ hostname: "192.0.2.1", port: 7 });
  const address = { transport: "udp", hostname: "192.0.2.1", port: 7 };
  assertEquals(opened, [[address, { reuseAddress: true }]]);
  dispatcher.sendTo("spam", { port: 9 });
  dispatcher.close();
  await loop({ map });
  assertEquals([socket.sent, socket.closed], [["9: spam"], true]);
});

/** Ways to call back against the rules of promises. */
const NO_PROMISES: [name: string, give: () => Any][] = [
  ["throws at once", spam],
  ["gives a promise that throws", () => ({ then: spam })],
  ["gives a promise that rejects twice", () => ({
    then(_: Any, reject: (error: Error) => void) {
      reject(SPAM);
      reject(new Error("again"));
    },
  })],
  ["gives a promise that rejects and throws", () => ({
    then(_: Any, reject: (error: Error) => void) {
      reject(SPAM);
      throw new Error("again");
    },
  })],
];

for (const [name, give] of NO_PROMISES) {
  Deno.test(`accept() or connect() that ${name} is one error`, async () => {
    const { map, acceptor, server } = listening();
    acceptor.otherwise = give;
    await loop({ map });
    assertFailed(server, "spam");
    const client = connectTo(give);
    await loop({ map: client.map });
    assertFailed(client, "spam");
  });
}

const FAILING_CLOSES = { throws: spam, rejects: () => Promise.reject(SPAM) };

for (const [how, close] of Object.entries(FAILING_CLOSES)) {
  Deno.test(`close() of a connection that comes too late may fail: it ${how}`, async () => {
    using rejections = captureRejections();
    const connected = Promise.withResolvers<Channel>();
    const client = connectTo(() => connected.promise);
    client.close();
    connected.resolve(broken({ close }));
    await turns();
    await loop({ map: client.map });
    assertEquals([client.trace, rejections.reasons], [[], []]);
  });

  Deno.test(`handleAccepted() by default survives a connection whose close() ${how}`, async () => {
    using rejections = captureRejections();
    const { map, acceptor, server } = listening({
      handleAccepted(conn) {
        const { handleAccepted } = Dispatcher.prototype;
        return handleAccepted.call(this, conn, acceptor.addr);
      },
    });
    acceptor.push(broken({ close }), new FakeChannel());
    const looping = loop({ map });
    await turns();
    assertEquals(server.trace, ["handleAccepted", "handleAccepted"]);
    assert(server.accepting);
    server.close();
    await looping;
    map.check();
    assertEquals(rejections.reasons, []);
  });
}

Deno.test("accept() may give a connection at once", async () => {
  const clients: unknown[] = [new FakeChannel()];
  const waiting = Promise.withResolvers<Channel>();
  const acceptor: Acceptor = {
    accept: () => (clients.pop() ?? waiting.promise) as Promise<Channel>,
    close: () => waiting.reject(new Deno.errors.BadResource("closed")),
    addr: { transport: "tcp", hostname: "127.0.0.1", port: 7 },
  };
  const map = quietMap();
  const server = recorder(map, acceptor, {
    handleAccepted() {
      this.close();
    },
  });
  await loop({ map });
  assertEquals(server.trace, ["handleAccepted"]);
});

Deno.test("maxConnections gives up a connection whose end cannot be seen", async () => {
  const acceptor = new FakeAcceptor();
  const map = mapOf({ listen: () => acceptor });
  const server = recorder(map, null, { handleError() {} });
  server.createSocket({ maxConnections: 3 });
  server.bind({ port: 7 });
  server.listen();
  let isClosed = false;
  const frozen: Channel = Object.freeze({
    read: () => new Promise<null>(() => {}),
    write: () => Promise.resolve(1),
    close: () => void (isClosed = true),
  });
  acceptor.push(frozen, new FakeChannel());
  const looping = loop({ map });
  await turns();
  assert(isClosed);
  assertEquals(server.errors.length, 1, "told once");
  assertEquals(server.count("handleAccepted"), 1, "the next one is taken");
  server.close();
  await looping;
  map.check();
});
