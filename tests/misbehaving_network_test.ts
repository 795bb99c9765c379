/** What a network hands over is checked as what a user hands over. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  type Acceptor,
  type Channel,
  Dispatcher,
  loop,
  type Network,
} from "../mod.ts";
import { FakeAcceptor, FakeChannel, quietMap, Recorder } from "./fakes.ts";
import { captureRejections, turns } from "./support.ts";

// deno-lint-ignore no-explicit-any
type Any = any;

function spam(): never {
  throw new Error("spam");
}

/** A network that does as it is told. */
function networkOf(wrong: Partial<Record<keyof Network, () => Any>>): Network {
  const missing = () => {
    throw new Error("not expected");
  };
  return { connect: missing, listen: missing, ...wrong };
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
  ["an object that can only close", () => {
    return { closed: false, close: () => {} };
  }, "has no read() method"],
  ["one without write()", () => broken({ write: 5 }), "has no write() method"],
  ["one without close()", () => {
    return { read: () => {}, write: () => {} };
  }, "has no close() method"],
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
  ["one whose address throws", () =>
    broken({
      get remoteAddr() {
        throw new Error("no address");
      },
    }), "no address"],
];

/** Expects one error that says `said`, and the end. */
function assertFailed(recorder: Recorder, said: string): void {
  assertEquals(recorder.trace, ["handleError", "handleClose"]);
  const [error] = recorder.errors;
  assert(String(error).includes(said), String(error));
}

for (const [name, make, said] of NO_CHANNELS) {
  Deno.test(`connect() fails where the network gives ${name}`, async () => {
    for (const isLate of [false, true]) {
      const value = make();
      const connect = () => isLate ? Promise.resolve(value) : value;
      const map = quietMap({ network: networkOf({ connect }) });
      const client = new Recorder(map);
      client.createSocket();
      client.connect({ port: 7 });
      await loop({ map });
      assertFailed(client, said);
      if (value instanceof FakeChannel) assert(value.closed);
      map.check();
    }
  });

  Deno.test(`accept() that gives ${name} ends its listener`, async () => {
    for (const isLate of [false, true]) {
      const value = make();
      const acceptor = new FakeAcceptor();
      acceptor.otherwise = () => isLate ? Promise.resolve(value) : value;
      const map = quietMap();
      const server = new Recorder(map, acceptor);
      await loop({ map });
      assertFailed(server, said);
      assert(acceptor.closed);
      if (value instanceof FakeChannel) assert(value.closed);
      map.check();
    }
  });

  Deno.test(`startTls() fails where the network gives ${name}`, async () => {
    for (const isLate of [false, true]) {
      const value = make();
      const startTls = () => isLate ? Promise.resolve(value) : value;
      const map = quietMap({ network: networkOf({ startTls }) });
      const channel = new FakeChannel();
      class Client extends Recorder {
        override handleRead(): void {
          this.recv();
          this.startTls({ hostname: "localhost" }).catch(() => {});
        }
      }
      const client = new Client(map, channel);
      channel.push("220 go\r\n");
      await loop({ map });
      assertFailed(client, said);
      assert(channel.closed);
      if (value instanceof FakeChannel) assert(value.closed);
      map.check();
    }
  });

  Deno.test(`close() during connect() and accept() puts up with ${name}`, async () => {
    const acceptor = new FakeAcceptor();
    const connected = Promise.withResolvers<Any>();
    const accepted = Promise.withResolvers<Any>();
    acceptor.otherwise = () => accepted.promise;
    const network = networkOf({ connect: () => connected.promise });
    const map = quietMap({ network });
    const server = new Dispatcher(acceptor, { map });
    const client = new Dispatcher(null, { map });
    client.createSocket();
    client.connect({ port: 7 });
    await loop({ map, count: 2, timeout: 0 });
    server.close();
    client.close();
    connected.resolve(make());
    accepted.resolve(make());
    await turns();
    await loop({ map });
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
    const network = networkOf({ listen: () => value });
    const map = quietMap({ network });
    const server = new Dispatcher(null, { map });
    server.createSocket();
    assertThrows(() => server.bind({ port: 7 }), TypeError, said);
    assertEquals(map.size, 0);
    if (value && "closed" in value) assert(value.closed);
    server.close();
  });
}

/** Ways to call back against the rules of promises. */
const NO_PROMISES: [name: string, then: Any][] = [
  ["throws", () => {
    throw new Error("spam");
  }],
  ["rejects twice", (_: Any, reject: (error: Error) => void) => {
    reject(new Error("spam"));
    reject(new Error("again"));
  }],
  ["rejects and throws", (_: Any, reject: (error: Error) => void) => {
    reject(new Error("spam"));
    throw new Error("again");
  }],
];

for (const [name, then] of NO_PROMISES) {
  Deno.test(`accept() whose promise ${name} is one error`, async () => {
    const acceptor = new FakeAcceptor();
    acceptor.otherwise = () => ({ then }) as unknown as Promise<Channel>;
    const map = quietMap();
    const server = new Recorder(map, acceptor);
    await loop({ map });
    assertFailed(server, "spam");
    map.check();
  });
}

for (
  const [how, close] of Object.entries({
    throws: () => {
      throw new Error("spam");
    },
    rejects: () => Promise.reject(new Error("spam")),
  })
) {
  Deno.test(`close() of a connection that comes too late may fail: it ${how}`, async () => {
    const connected = Promise.withResolvers<Channel>();
    const network = networkOf({ connect: () => connected.promise });
    const map = quietMap({ network });
    const client = new Dispatcher(null, { map });
    client.createSocket();
    client.connect({ port: 7 });
    client.close();
    connected.resolve(broken({ close }));
    await turns();
    await loop({ map });
    map.check();
  });
}

Deno.test("accept() that throws at once is an error of its listener", async () => {
  const acceptor = new FakeAcceptor();
  acceptor.otherwise = () => {
    throw new Error("spam");
  };
  const map = quietMap();
  const server = new Recorder(map, acceptor);
  await loop({ map });
  assertFailed(server, "spam");
  map.check();
});

Deno.test("accept() may give a connection at once", async () => {
  const clients: unknown[] = [new FakeChannel()];
  const waiting = Promise.withResolvers<Channel>();
  const acceptor: Acceptor = {
    accept: () => (clients.pop() ?? waiting.promise) as Promise<Channel>,
    close: () => waiting.reject(new Deno.errors.BadResource("closed")),
    addr: { transport: "tcp", hostname: "127.0.0.1", port: 7 },
  };
  const map = quietMap();
  class Server extends Recorder {
    override handleAccepted(): void {
      this.note("handleAccepted");
      this.close();
    }
  }
  const server = new Server(map, acceptor);
  await loop({ map });
  assertEquals(server.trace, ["handleAccepted"]);
});

Deno.test("handleAccepted() by default survives a connection whose close() fails", async () => {
  using rejections = captureRejections();
  for (const close of [spam, () => Promise.reject(new Error("spam"))]) {
    const acceptor = new FakeAcceptor();
    const map = quietMap();
    class Server extends Dispatcher {
      readonly errors: unknown[] = [];
      override handleError(error: unknown): void {
        this.errors.push(error);
      }
    }
    const server = new Server(acceptor, { map });
    acceptor.push(broken({ close }), new FakeChannel());
    const looping = loop({ map });
    await turns();
    assertEquals([server.errors, server.accepting], [[], true]);
    server.close();
    await looping;
    map.check();
  }
  assertEquals(rejections.reasons, []);
});

Deno.test("maxConnections gives up a connection whose end cannot be seen", async () => {
  const acceptor = new FakeAcceptor();
  const map = quietMap({ network: networkOf({ listen: () => acceptor }) });
  class Server extends Recorder {
    override handleError(error: unknown): void {
      this.errors.push(error);
    }
  }
  const server = new Server(map);
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
  assertEquals(server.trace, ["handleAccepted"], "the next one is taken");
  server.close();
  await looping;
  map.check();
});
