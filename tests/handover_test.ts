/** `new Handler(this.socket)`: one dispatcher hands its connection on to another. */

import {
  assert,
  assertEquals,
  assertFalse,
  assertMatch,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  AsyncChat,
  type Channel,
  Dispatcher,
  DispatcherWithSend,
  shutdown,
  toStreams,
} from "../mod.ts";
import { Talker } from "./chats.ts";
import {
  codedError,
  FakeChannel,
  LogLines,
  loopToEnd,
  passes,
  Recorder,
  rest,
} from "./fakes.ts";
import { gatedChannel, stuckChannel } from "./scenes.ts";
import {
  type Acts,
  connected,
  connecting,
  listening,
  recorder,
  setUp,
} from "./setups.ts";
import {
  bytes,
  connectedPair,
  loopUntil,
  ScopedMap,
  type TestMap,
  text,
  turn,
} from "./support.ts";

/** The channel of a dispatcher that has one. */
const channelOf = ({ socket }: Dispatcher) => socket as Channel;

/** A connection in a map, and a function that hands it on to a recorder. */
function handing(channel: FakeChannel = new FakeChannel()) {
  const scene = setUp();
  const trace: string[] = [];
  const begin = (channel: Channel, label: string) =>
    new Recorder(scene.map, channel, { label, trace });
  return { ...scene, channel, trace, begin };
}

// What goes over

Deno.test("new Handler(this.socket) reads what the other one has not taken, and what follows", async () => {
  let second!: Recorder;
  const { channel, map } = connected({
    handleRead() {
      assertEquals(text(this.recv(1)), "s");
      second = new Recorder(map, channelOf(this));
    },
  });
  channel.push("spam");
  await rest(map);
  channel.push(", eggs");
  await rest(map);
  assertEquals(second.received, "pam, eggs");
  second.close();
});

Deno.test("new Handler(this.socket) sends behind the bytes that the other one has sent", async () => {
  const channel = new FakeChannel();
  channel.take = ({ length }) => Math.min(length, 2);
  const { map, begin } = handing(channel);
  const first = begin(channel, "first");
  first.send("one, two, ");
  const second = begin(channelOf(first), "second");
  second.send("three");
  second.close();
  await loopToEnd(map);
  assertEquals(channel.sent, "one, two, three");
});

Deno.test("new Handler(this.socket) that is closed sends the bytes of the other one first", async () => {
  const { channel, open } = gatedChannel();
  const { map, begin } = handing(channel);
  const first = begin(channel, "first");
  first.send("one, two");
  begin(channelOf(first), "second").close();
  await rest(map);
  assertFalse(channel.closed);
  open();
  await loopToEnd(map);
  assertEquals([channel.sent, channel.closed], ["one, two", true]);
});

Deno.test("new Handler(this.socket) gets the end that has arrived already", async () => {
  let second!: Recorder;
  const { channel, map } = connected({
    async handleRead() {
      this.recv(1);
      await turn(); // The end arrives meanwhile.
      second = new Recorder(map, channelOf(this));
    },
  });
  channel.push("spam", null);
  await loopToEnd(map);
  assertEquals(second.received, "pam");
  assertEquals(second.trace, ["handleRead", "handleRead", "handleClose"]);
});

Deno.test("new Handler(this.socket) gets the end that the other one was told of", async () => {
  const { map, trace, channel, begin } = handing();
  const first = recorder(map, channel, {
    handleClose: () => void begin(channelOf(first), "second"),
  });
  channel.push(null);
  await loopToEnd(map);
  assertEquals(trace, ["second.handleRead", "second.handleClose"]);
  assert(channel.closed);
});

Deno.test("new Handler(this.socket) gets the error that has ended reading", async () => {
  const { map, trace, channel, begin } = handing();
  const first = recorder(map, channel, { readable: () => false });
  await passes(map);
  channel.push("spam", new Error("torn"));
  await rest(map);
  const second = begin(channelOf(first), "second");
  await loopToEnd(map);
  assertEquals(second.received, "spam");
  assertEquals((second.errors[0] as Error).message, "torn");
  assertEquals(trace.at(-1), "second.handleClose");
});

Deno.test("new Handler(this.socket) gets the failure of a write of the other one", async () => {
  const { map, channel, begin } = handing();
  const cut = Promise.withResolvers<number>();
  channel.take = () => cut.promise;
  const first = begin(channel, "first");
  first.send("spam");
  cut.reject(new Error("torn"));
  await turn();
  const second = begin(channelOf(first), "second");
  await loopToEnd(map);
  assertEquals((second.errors[0] as Error).message, "torn");
  assertEquals(first.trace, ["second.handleError", "second.handleClose"]);
});

Deno.test("new Handler(this.socket) knows that the other one has ended the writing direction", async () => {
  const { channel, open } = gatedChannel();
  channel.staysOpen = true;
  const { map, begin } = handing(channel);
  const first = begin(channel, "first");
  first.send("bye");
  first.shutdownWrite();
  const second = begin(channelOf(first), "second");
  const message = "has ended its writing direction";
  assertThrows(() => second.send("more"), Error, message);
  open();
  await rest(map);
  assertEquals([channel.sent, channel.writeEnded], ["bye", true]);
  channel.push("answer", null);
  await loopToEnd(map);
  assertEquals(second.received, "answer");
});

Deno.test("new Handler(this.socket) gets what a class without handleRead() has left for some seconds", async () => {
  const { map, clock, channel, begin } = handing();
  const deaf = new Dispatcher(channel, { map });
  channel.push("x".repeat(200_000), null);
  await rest(map);
  await clock.advance(4_999);
  const second = begin(channelOf(deaf), "second");
  await loopToEnd(map);
  assertEquals(second.received.length, 200_000);
  assertEquals(second.errors, []);
});

Deno.test("new Handler(this.socket) says that bytes were dropped before", async () => {
  const { map, clock, channel, begin } = handing();
  const deaf = new Dispatcher(channel, { map });
  channel.push(new Uint8Array(100_000));
  await rest(map);
  await clock.advance(5_000);
  await rest(map);
  channel.push("spam");
  const second = begin(channelOf(deaf), "second");
  await rest(map);
  assertMatch(String(second.errors[0]), /\d+ earlier bytes were dropped/);
  await loopToEnd(map);
});

Deno.test("new Handler(this.socket) that has no handleRead() drops what it was given, and says so", async () => {
  const { map, clock, channel, begin } = handing();
  const chat = new Talker(map, channel);
  chat.setTerminator("\n");
  chat.act.found = () => void new Dispatcher(channelOf(chat), { map });
  channel.push("one\ntwo\n");
  await rest(map);
  channel.push(new Uint8Array(100_000));
  await rest(map);
  await clock.advance(5_000);
  await rest(map);
  channel.push("spam");
  const [deaf] = map;
  const third = begin(channelOf(deaf as Dispatcher), "third");
  await rest(map);
  assertMatch(String(third.errors[0]), /65540 earlier bytes were dropped/);
  await loopToEnd(map);
});

// Where it is handed on

Deno.test("new Handler(this.socket) in handleConnect() is connected, and a client", async () => {
  let second!: DispatcherWithSend;
  const { client, network, map } = connecting({
    handleConnect() {
      second = new DispatcherWithSend(channelOf(this), { map });
      assert(second.connected);
    },
  });
  const channel = stuckChannel();
  network.succeed(channel);
  await rest(map);
  assertFalse(client.connected || client.connecting);
  assertEquals(client.trace, ["handleConnect"]);
  // A client reads on while much waits to be sent.
  second.send(new Uint8Array(1_000_000));
  assert(second.readable());
  assertEquals(second.addr, client.addr);
  second.abort();
  await loopToEnd(map);
});

Deno.test("new Handler(conn) in handleAccepted() takes it from the handler before", async () => {
  const trace: string[] = [];
  const { acceptor, map } = listening({
    handleAccepted(conn) {
      for (const label of ["first", "second", "third"]) {
        new Recorder(map, conn, { label, trace });
      }
    },
  });
  const client = new FakeChannel();
  acceptor.push(client);
  client.push("spam");
  await rest(map);
  assertEquals(trace, ["third.handleRead"]);
  assertEquals(map.size, 2);
  for (const one of [...map]) one.abort();
  await loopToEnd(map);
});

Deno.test("new Handler(this.socket) after the await of an async hook gets what came meanwhile", async () => {
  const { map, channel, trace, begin } = handing();
  let second!: Recorder;
  const arrived = Promise.withResolvers<void>();
  const first = recorder(map, channel, {
    async handleRead() {
      this.recv(1);
      await arrived.promise;
      second = begin(channelOf(this), "second");
      await turn();
      this.send("nobody hears this"); // Nor is it an error.
    },
  });
  channel.push("spam");
  await rest(map);
  channel.push(", eggs");
  arrived.resolve();
  await rest(map);
  assertEquals(second.received, "pam, eggs");
  assertEquals([first.trace, channel.sent], [["handleRead"], ""]);
  assert(trace.every((entry) => entry === "second.handleRead"));
  second.abort();
});

Deno.test("new Handler(this.socket) before the await of an async hook need not wait for it", async () => {
  const { map, channel, begin } = handing();
  let second!: Recorder;
  const never = Promise.withResolvers<void>();
  recorder(map, channel, {
    handleRead() {
      second = begin(channelOf(this), "second");
      return never.promise;
    },
  });
  channel.push("spam");
  await loopUntil(map, () => second?.received === "spam");
  second.abort();
  never.resolve();
});

Deno.test("new Handler(this.socket) in a timer and outside of the loop works as in a hook", async () => {
  const { map, clock, channel, begin } = handing();
  const first = begin(channel, "first");
  let second!: Recorder;
  first.callLater(10, () => second = begin(channelOf(first), "second"));
  await clock.advance(10);
  await rest(map);
  const third = begin(channelOf(second), "third");
  channel.push("spam");
  await rest(map);
  assertEquals([second.received, third.received], ["", "spam"]);
  third.abort();
});

Deno.test("new Handler(this.socket) takes a connection to another map", async () => {
  const { map, channel, begin } = handing();
  const other = setUp();
  const first = begin(channel, "first");
  await rest(map);
  const second = new Recorder(other.map, channelOf(first));
  assertEquals([map.size, other.map.size], [0, 1]);
  channel.push("spam");
  await rest(other.map);
  assertEquals(second.received, "spam");
  second.abort();
});

Deno.test("setSocket() gives a connection back to the dispatcher that had it before", async () => {
  const { map, channel, begin } = handing();
  const first = begin(channel, "first");
  const second = begin(channelOf(first), "second");
  first.setSocket(channelOf(second));
  channel.push("spam");
  await rest(map);
  assertEquals([first.received, second.received], ["spam", ""]);
  assert(first.connected);
  first.abort();
});

Deno.test("setSocket() gives a connection back in the hook that has handed it on", async () => {
  let isFirst = true;
  const { handler, channel, map } = connected({
    handleRead() {
      this.received += text(this.recv(2));
      if (!isFirst) return;
      isFirst = false;
      const second = new Recorder(map, channelOf(this));
      this.setSocket(channelOf(second));
    },
  });
  channel.push("spam");
  await rest(map);
  assertEquals(handler.received, "spam");
  handler.abort();
});

// The dispatcher that has handed its connection on

Deno.test("a dispatcher that has handed its connection on gets no further event, and says so", async () => {
  const { map, clock, trace, channel, begin } = handing();
  Object.assign(channel, {
    remoteAddr: { transport: "tcp", hostname: "10.0.0.1", port: 5 },
    localAddr: { transport: "tcp", hostname: "10.0.0.2", port: 6 },
  });
  const first = begin(channel, "first");
  const { addr, localAddr } = first;
  first.callLater(1, () => trace.push("timer"));
  const second = begin(channelOf(first), "second");

  assertEquals(String(first), "<Recorder handed over 10.0.0.1:5>");
  assertEquals([first.addr, first.localAddr], [addr, localAddr]);
  assertEquals([second.addr, second.localAddr], [addr, localAddr]);
  assertEquals([first.socket, first.closeReason], [null, null]);
  assertFalse(first.connected || first.closing);
  assertEquals([first.send("x"), first.recv().length], [0, 0]);
  first.close();
  first.abort();
  assertThrows(() => first.detach(), Error, "handed over");

  await clock.advance(1);
  channel.push("spam", null);
  await loopToEnd(map);
  assertEquals(
    new Set(trace),
    new Set(["second.handleRead", "second.handleClose"]),
  );
  assertEquals(channel.sent, "");
});

Deno.test("idleTimeout and lifetime of a connection that is handed on are those of the new handler", async () => {
  const { map, clock, channel, trace } = handing();
  const times = { idleTimeout: 10, lifetime: 50 };
  const first = new Recorder(map, channel, { trace, label: "first", ...times });
  await clock.advance(5);
  const options = { trace, label: "second", idleTimeout: 20 };
  new Recorder(map, channelOf(first), options);
  await clock.advance(19);
  await passes(map);
  assertEquals(trace, []);
  await clock.advance(1);
  await loopToEnd(map);
  assertEquals(trace, ["second.handleClose"]);
});

Deno.test("shutdown() counts a connection that is handed on once", async () => {
  const { map, channel } = connected({
    handleShutdown() {
      new Recorder(map, channelOf(this));
    },
  });
  const { closed, aborted } = await shutdown({ map });
  assertEquals({ closed, aborted }, { closed: 1, aborted: 0 });
  assert(channel.closed);
});

Deno.test("maxConnections counts a connection that was handed on until it is closed", async () => {
  const scene = setUp();
  const taken: Dispatcher[] = [];
  const server = recorder(scene.map, null, {
    handleAccepted(conn) {
      const first = new Recorder(scene.map, conn);
      taken.push(new Recorder(scene.map, channelOf(first)));
    },
  });
  server.createSocket({ maxConnections: 1 });
  server.bind({ port: 0 });
  server.listen();
  scene.network.acceptor.push(new FakeChannel(), new FakeChannel());
  await rest(scene.map);
  assertEquals(taken.length, 1);
  taken[0]!.close();
  await rest(scene.map);
  assertEquals(taken.length, 2);
  taken[1]!.close();
  server.close();
  await loopToEnd(scene.map);
});

// Chats, and classes that override send() or writable()

const POINTS: [
  name: string,
  input: string,
  act: "collect" | "found",
  second: string,
][] = [
  ["foundTerminator()", "one\r\ntwo\r\nthree", "found", "two\r\nthree"],
  ["collectIncomingData()", "one\r\ntwo\r\n", "collect", "\r\ntwo\r\n"],
  [
    "collectIncomingData() before a part of a terminator",
    "one\r",
    "collect",
    "\r",
  ],
];
for (const [name, input, act, rests] of POINTS) {
  Deno.test(`new Handler(this.socket) in ${name} gets all that was not collected`, async () => {
    const { map, channel, begin } = handing();
    const chat = new Talker(map, channel);
    chat.setTerminator("\r\n");
    let second!: Recorder;
    chat.act[act] = () => void (second = begin(channelOf(chat), "second"));
    channel.push(input);
    await rest(map);
    channel.push("!");
    await rest(map);
    assertEquals(second.received, `${rests}!`);
    assertEquals(chat.taken, act === "found" ? "one|" : "one");
    second.abort();
  });
}

Deno.test("new Handler(this.socket) gets what a chat has read and not handed out", async () => {
  const { map, channel } = handing();
  const { promise, resolve } = Promise.withResolvers<void>();
  const chat = new Talker(map, channel);
  chat.setTerminator(2);
  chat.act.found = () => promise;
  channel.push("spam, eggs");
  await rest(map);
  // Chat after chat: each takes two bytes, and leaves the others to the next.
  const second = new Talker(map, channelOf(chat));
  second.setTerminator(4);
  second.acInBufferSize = 5; // It leaves bytes to the next chat in two places.
  let third!: Talker;
  second.act.found = () => {
    third = new Talker(map, channelOf(second));
    third.setTerminator(null);
  };
  await rest(map);
  assertEquals([chat.taken, second.taken, third.taken], [
    "sp|",
    "am, |",
    "eggs",
  ]);
  resolve();
  third.abort();
  await rest(map);
  assertEquals(chat.errors, []);
});

Deno.test("takeData() of a chat that has handed its connection on gives what it had collected", async () => {
  const { map, channel, begin } = handing();
  class Header extends AsyncChat {
    override foundTerminator() {
      begin(channelOf(this), "second");
    }
  }
  const chat = new Header(channel, { map });
  chat.setTerminator("\n");
  channel.push("header\nbody");
  await rest(map);
  assertEquals(chat.takeText(), "header");
  for (const one of map) one.abort();
});

Deno.test("new Handler(this.socket) has what waits pass the send() of the other one first", async () => {
  const { map, channel, begin } = handing();
  const seen: string[] = [];
  class Held extends AsyncChat {
    isOpen = false;
    override writable() {
      return this.isOpen && super.writable();
    }
    override send(data: Uint8Array) {
      seen.push(text(data));
      return super.send(data.subarray(0, 4));
    }
  }
  const held = new Held(channel, { map });
  held.push("spam, eggs, ");
  await rest(map);
  assertEquals(channel.sent, "");
  const second = begin(channelOf(held), "second");
  second.send("ham");
  await rest(map);
  assertEquals(channel.sent, "spam, eggs, ham");
  assertEquals(seen, ["spam, eggs, ", ", eggs, ", "gs, "]);
  second.abort();
});

Deno.test("new Handler(this.socket) is an error where a hook has transferred the bytes behind its own", async () => {
  const { map, channel } = handing();
  const chat = new Talker(map, channel);
  chat.setTerminator("\n");
  chat.collectIncomingData = (data) => {
    structuredClone(null, { transfer: [data.buffer as ArrayBuffer] });
    assertThrows(
      () => chat.detach(),
      TypeError,
      "transfer data.slice() instead",
    );
  };
  channel.push("header\nbody");
  await rest(map);
  assertEquals(map.size, 1);
  chat.abort();
});

// What cannot be handed on

/** Cases, each of which gives a dispatcher whose connection stays with it. */
const OBSTACLES: [what: string, make: () => Dispatcher][] = [
  ["it is closed", () => {
    const { map, begin } = handing();
    const first = begin(stuckChannel(), "first");
    first.send("spam");
    first.close();
    void map;
    return first;
  }],
  ["it is not connected yet", () => connecting().client],
  ["a producer is unfinished", () => {
    const { map, channel } = handing();
    const chat = new Talker(map, channel);
    chat.pushWithProducer({ more: () => new Promise<never>(() => {}) });
    return chat;
  }],
  ["send() holds back 4 bytes", () => {
    const { map, channel } = handing();
    const chat = new Talker(map, channel);
    chat.send = () => 0;
    chat.push("spam");
    return chat;
  }],
  ["its streams are in use", () => {
    const { map, channel } = handing();
    const dispatcher = new Dispatcher(channel, { map });
    const { readable, writable } = toStreams(dispatcher);
    void readable.cancel();
    void writable;
    return dispatcher;
  }],
];
for (const [what, make] of OBSTACLES) {
  Deno.test(`detach() refuses with "${what}", and changes nothing`, () => {
    const dispatcher = make();
    const [before, size] = [String(dispatcher), dispatcher.map.size];
    assertThrows(() => dispatcher.detach(), Error, what);
    assertEquals([String(dispatcher), dispatcher.map.size], [before, size]);
    dispatcher.abort();
  });
}

Deno.test("detach() refuses where send(), which it calls, closes the connection", () => {
  const { map, channel } = handing();
  const chat = new Talker(map, channel);
  chat.send = (data) => {
    chat.send = () => data.length;
    chat.abort();
    return data.length;
  };
  chat.writable = () => false;
  chat.push("spam");
  assertThrows(() => chat.detach(), Error, "it is closed");
  assertMatch(String(chat), /closed/);
});

/** Ways in which a connection ends before its channel is handed on. */
const ENDS: [what: string, end: (first: Recorder) => void][] = [
  ["close()", (first) => first.close()],
  ["close() while it sends", (first) => {
    first.send("spam");
    first.close();
  }],
  ["abort()", (first) => first.abort()],
];
for (const [what, end] of ENDS) {
  Deno.test(`new Handler(socket) refuses the socket of a connection after ${what}`, async () => {
    const { map, channel, begin } = handing();
    const first = begin(channel, "first");
    const socket = channelOf(first);
    end(first);
    const take = () => new AsyncChat(socket, { map });
    assertThrows(take, Error, "<Recorder closed>: it is closed");
    await loopToEnd(map);
    assertThrows(take, Error, "<Recorder closed>: it is closed");
    assertEquals(map.size, 0);
  });
}

Deno.test("new Handler(socket) refuses the socket of a connection whose lifetime is over", async () => {
  const { map, clock, channel } = handing();
  const first = new Recorder(map, channel, { lifetime: 10 });
  const socket = channelOf(first);
  await clock.advance(10);
  await loopToEnd(map);
  const take = () => new AsyncChat(socket, { map });
  assertThrows(take, Error, "<Recorder closed>: it is closed");
});

Deno.test("new Server(socket) refuses the socket of a closed listener", async () => {
  const { acceptor, server, map } = listening();
  server.close();
  const take = () => new Dispatcher(acceptor, { map });
  assertThrows(take, Error, "Cannot hand over the listener of <Recorder ");
  await loopToEnd(map);
});

Deno.test("setSocket() of a connection that cannot be given up keeps the timers", async () => {
  const { map, channel, clock, trace } = handing();
  const chat = new Talker(map, channel);
  chat.pushWithProducer({ more: () => new Promise<never>(() => {}) });
  const second = new Recorder(map);
  second.callLater(1, () => trace.push("timer"));
  assertThrows(() => second.setSocket(channelOf(chat)), Error, "a producer");
  second.close();
  await clock.advance(1);
  chat.abort();
  await loopToEnd(map);
  assertEquals(trace, []);
});

Deno.test("new Handler(this.socket) during a handshake is an error, and the handshake goes on", async () => {
  const { map, channel, begin, network } = handing();
  const secure = Promise.withResolvers<Channel>();
  Object.assign(network, { startTls: () => secure.promise });
  const { promise, resolve } = Promise.withResolvers<void>();
  const first = recorder(map, channel, {
    async handleRead() {
      if (this.received === "") {
        this.received += text(this.recv());
        const upgrade = this.startTls({ hostname: "localhost" });
        assertThrows(
          () => begin(channelOf(this), "second"),
          Error,
          "a handshake is under way",
        );
        await upgrade;
        resolve();
      } else this.received += text(this.recv());
    },
  });
  channel.push("GO");
  await rest(map);
  const tls = new FakeChannel();
  tls.push("spam");
  secure.resolve(tls);
  await promise;
  const second = begin(channelOf(first), "second");
  await rest(map);
  assertEquals(second.received, "spam");
  second.abort();
});

Deno.test("startTls() of a handler that took a client over checks the name of its host", async () => {
  const { client, network, map } = connecting();
  client.close();
  const names: string[] = [];
  Object.assign(network, {
    startTls: (_: Channel, name: string) => {
      names.push(name);
      return new Promise(() => {});
    },
  });
  const first = recorder(map, null, {
    handleConnect() {
      const second = new Recorder(map, channelOf(this));
      second.startTls().catch(() => {});
      second.abort();
    },
  });
  first.createSocket();
  first.connect({ hostname: "mail.example", port: 25 });
  const remoteAddr: Deno.NetAddr = {
    transport: "tcp",
    hostname: "10.0.0.1",
    port: 25,
  };
  network.succeed(Object.assign(new FakeChannel(), { remoteAddr }));
  await loopToEnd(map);
  assertEquals(names, ["mail.example"]);
});

Deno.test("a constructor that throws leaves the connection where it was", async () => {
  const { map, channel, begin } = handing();
  const first = begin(channel, "first");
  const options = { idleTimeout: -1, map };
  assertThrows(() => new Dispatcher(channelOf(first), options), RangeError);
  channel.push("spam");
  await rest(map);
  assertEquals(first.received, "spam");
  first.abort();
});

// Streams, and listeners

Deno.test("toStreams() of a handler that took a connection over begins with what was read ahead", async () => {
  const [ours, peer] = await connectedPair();
  const { map } = setUp();
  const chat = new Talker(map, ours);
  chat.setTerminator("\n");
  let body!: Promise<string>;
  chat.act.found = () => {
    const streams = toStreams(new Dispatcher(channelOf(chat), { map }));
    body = new Response(streams.readable).text();
    streams.writable.close();
  };
  await peer.write(bytes("header\nbody, "));
  await loopUntil(map, () => body !== undefined);
  await peer.write(bytes("more"));
  peer.close();
  await loopToEnd(map);
  assertEquals(await body, "body, more");
});

Deno.test("new Server(this.socket) takes a listener over with the clients that wait", async () => {
  let second!: Recorder;
  const { acceptor, server, map } = listening({
    handleAccepted: () => void (second = recorder(map, acceptor)),
  });
  await passes(map);
  acceptor.push(new FakeChannel(), new FakeChannel(), new FakeChannel());
  await rest(map);
  assertEquals(server.trace, ["handleAccepted"]);
  assertEquals(second.trace, ["handleAccepted", "handleAccepted"]);
  assertMatch(String(server), /^<Recorder handed over /);
  assertMatch(String(second), /^<Recorder listening /);
  server.close();
  assertFalse(acceptor.closed);
  second.close();
  await loopToEnd(map);
  assert(acceptor.closed);
});

Deno.test("new Server(this.socket) resumes accepting after a pause that began before", async () => {
  const { acceptor, clock, map } = listening();
  acceptor.push(codedError("EMFILE"));
  await rest(map);
  const other = new ScopedMap({ clock, logger: new LogLines() });
  const second = recorder(other, acceptor);
  acceptor.push(new FakeChannel());
  await rest(other);
  assertEquals(second.count("handleAccepted"), 0);
  await clock.advance(50);
  await rest(other);
  assertEquals(second.count("handleAccepted"), 1);
  second.close();
  await loopToEnd(other);
});

Deno.test("new Server(this.socket) still cuts off a client at its handshake", async () => {
  const { acceptor, clock, map } = listening();
  const silent = new FakeChannel();
  Object.assign(silent, { handshake: () => new Promise(() => {}) });
  acceptor.push(silent);
  await rest(map);
  const second = recorder(map, acceptor);
  await clock.advance(60_000);
  await rest(map);
  assert(silent.closed);
  assertEquals(second.clientsGone, 1);
  second.close();
  await loopToEnd(map);
});

Deno.test("new Server(this.socket) keeps maxConnections, and what was said about it", async () => {
  const { network, map } = setUp();
  const [taken, lines] = [[] as Channel[], [] as string[]];
  const acts: Acts = {
    handleAccepted: (conn) => void taken.push(conn),
    logInfo: (line) => void lines.push(line),
  };
  const first = recorder(map, null, acts);
  first.createSocket({ maxConnections: 1 });
  first.bind({ port: 0 });
  first.listen();
  const knock = async (map: TestMap) => {
    network.acceptor.push(new FakeChannel());
    await rest(map);
  };
  await knock(map);
  taken[0]!.close();
  await rest(map);
  assertEquals(lines.length, 2, lines.join()); // It is reached, and it is not.

  const other = setUp();
  await other.clock.advance(1_000_000);
  const second = recorder(other.map, network.acceptor, acts);
  await knock(other.map);
  await knock(other.map);
  assertEquals([taken.length, lines.length], [2, 2]);
  await other.clock.advance(10_000);
  await rest(other.map);
  assertStringIncludes(lines[2]!, "maxConnections, 1, reached");
  second.close();
  await loopToEnd(other.map);
});
