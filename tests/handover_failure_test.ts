/** A hook that fails behind `new Handler(this.socket)`, as its constructor throws. */

import { assert, assertEquals, assertFalse } from "@std/assert";
import {
  type Acceptor,
  AsyncChat,
  type Channel,
  Dispatcher,
  type SocketMap,
} from "../mod.ts";
import { FakeChannel, loopToEnd, Recorder, rest } from "./fakes.ts";
import { type Acts, connected, connecting, listening } from "./setups.ts";
import { loopUntil, type TestMap, text, turn } from "./support.ts";

/** A handler whose constructor throws when it has the connection. */
class Failing extends Dispatcher {
  constructor(socket: Channel | Acceptor | null, map: SocketMap) {
    super(socket, { map });
    throw new Error("no room");
  }
}

/** The hooks in which a connection is handed on, each to a handler that fails. */
const HOOKS: [name: string, acts: Acts][] = [
  ["handleRead()", {
    handleRead() {
      new Failing(this.socket, this.map);
    },
  }],
  ["handleRead() after an await", {
    async handleRead() {
      await turn();
      new Failing(this.socket, this.map);
    },
  }],
  ["handleRead() by detach()", {
    handleRead() {
      new Failing(this.detach(), this.map);
    },
  }],
  ["handleRead() by way of another handler", {
    handleRead() {
      const second = new Recorder(this.map as TestMap, this.socket);
      new Failing(second.socket, this.map);
    },
  }],
];
for (const [name, acts] of HOOKS) {
  Deno.test(`new Handler(this.socket) that throws in ${name} gives the connection back, with the error`, async () => {
    const { handler, channel, map } = connected(acts);
    channel.push("spam");
    await loopToEnd(map);
    assertEquals(handler.trace, ["handleRead", "handleError", "handleClose"]);
    assertEquals(String(handler.errors), "Error: no room");
    assertEquals(map.errors, []);
    assert(channel.closed);
  });
}

Deno.test("new Handler(this.socket) that throws in handleConnect() gives the connection back", async () => {
  const { client, network, map } = connecting({
    handleConnect() {
      new Failing(this.socket, this.map);
    },
  });
  const channel = new FakeChannel();
  network.succeed(channel);
  await loopToEnd(map);
  assertEquals(client.trace, ["handleConnect", "handleError", "handleClose"]);
  assert(channel.closed);
});

Deno.test("new Handler(this.socket) that throws in handleClose() gives the connection back, and closes it", async () => {
  const { handler, channel, map } = connected({
    handleClose() {
      new Failing(this.socket, this.map);
    },
  });
  channel.push(null);
  await loopToEnd(map);
  assertEquals(handler.trace, ["handleRead", "handleClose", "handleError"]);
  assert(channel.closed);
});

Deno.test("new Handler(this.socket) that throws in handleError() closes the connection", async () => {
  const { channel, map } = connected({
    handleRead() {
      throw new Error("first");
    },
    handleError() {
      new Failing(this.socket, this.map);
    },
  });
  channel.push("spam");
  await rest(map);
  assertEquals([channel.closed, map.size], [true, 0]);
  assertEquals(map.errors.splice(0).map(String), ["Error: no room"]);
});

Deno.test("a dispatcher that has a connection back reads, sends and waits as before", async () => {
  const { handler, channel, clock, map } = connected({
    handleRead() {
      this.received += text(this.recv(1));
      if (this.received.length > 1) return;
      this.send("one, ");
      new Failing(this.socket, this.map);
    },
    handleError() {
      this.send("two");
      this.callLater(10, () => this.trace.push("timer"));
    },
  }, { idleTimeout: 50 });
  channel.push("spam");
  await rest(map);
  assertEquals([handler.received, channel.sent], ["spam", "one, two"]);
  assert(handler.connected);
  assertEquals(map.size, 1);
  await clock.advance(10);
  await rest(map);
  assertEquals(handler.trace.at(-1), "timer");
  await clock.advance(50);
  await loopToEnd(map);
  assertEquals(handler.trace.at(-1), "handleClose");
  assert(channel.closed);
});

Deno.test("a handler keeps the connection if the hook before fails later than its first turn", async () => {
  let second!: Recorder;
  const late = Promise.withResolvers<void>();
  const { handler, channel, map } = connected({
    handleRead() {
      second = new Recorder(this.map as TestMap, this.socket as Channel);
      return late.promise;
    },
  });
  channel.push("spam");
  await loopUntil(map, () => second?.received === "spam");
  late.reject(new Error("late"));
  await rest(map);
  assertEquals(map.errors.splice(0).map(String), ["Error: late"]);
  assertEquals(handler.trace, ["handleRead"]);
  channel.push(", eggs");
  await rest(map);
  assertEquals(second.received, "spam, eggs");
  second.abort();
});

Deno.test("a handler keeps the connection if the dispatcher before has a new socket", async () => {
  let second!: Recorder;
  const { handler, channel, map } = connected({
    handleRead() {
      second = new Recorder(this.map as TestMap, this.socket as Channel);
      this.createSocket();
      throw new Error("late");
    },
  });
  channel.push("spam");
  await rest(map);
  assertEquals(map.errors.splice(0).map(String), ["Error: late"]);
  assertEquals(second.received, "spam");
  second.abort();
  handler.abort();
});

Deno.test("new Handler(this.socket) that throws and cannot give the connection back is aborted", async () => {
  class Greeting extends AsyncChat {
    constructor(channel: Channel, map: SocketMap) {
      super(channel, { map });
      this.pushWithProducer({ more: () => new Promise<never>(() => {}) });
      throw new Error("no room");
    }
  }
  const { handler, channel, map } = connected({
    handleRead() {
      new Greeting(this.detach(), this.map);
    },
  });
  channel.push("spam");
  await rest(map);
  assert(channel.closed);
  assertEquals(map.errors.splice(0).map(String), ["Error: no room"]);
  assertEquals([handler.trace, map.size], [["handleRead"], 0]);
});

Deno.test("new Server(this.socket) that throws gives the listener back, with the error", async () => {
  const { acceptor, server, map } = listening({
    handleAccepted() {
      new Failing(this.socket, this.map);
    },
    handleError() {},
  });
  acceptor.push(new FakeChannel(), new FakeChannel());
  await rest(map);
  assertEquals(server.errors.map(String), ["Error: no room", "Error: no room"]);
  assert(server.accepting);
  assertFalse(acceptor.closed);
  assertEquals(map.size, 1);
  server.close();
  await loopToEnd(map);
  assert(acceptor.closed);
});
