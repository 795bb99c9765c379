/** A new socket becomes a connection or a listener, and keeps what it had. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  type Channel,
  Dispatcher,
  DispatcherWithSend,
  poll,
  shutdown,
  toStreams,
} from "../mod.ts";
import { ENTRY } from "../core/symbols.ts";
import type { Socket } from "../core/socket.ts";
import { MockClock } from "../testing/mock_clock.ts";
import {
  FakeAcceptor,
  FakeChannel,
  FakeNetwork,
  passes,
  quietMap,
} from "./fakes.ts";
import { bytes, text, turns } from "./support.ts";

const PLACE = { hostname: "127.0.0.1", port: 7 };

/** A network that connects to one channel at once. */
function networkTo(channel: Channel) {
  return {
    connect: () => Promise.resolve(channel),
    listen: () => new FakeAcceptor(),
  };
}

Deno.test("shutdown() counts a socket once that connects in handleShutdown()", async () => {
  const channel = new FakeChannel();
  const map = quietMap({ network: networkTo(channel) });
  const client = new DispatcherWithSend(null, { map });
  client.handleShutdown = () => client.connect(PLACE);
  client.handleConnect = () => {
    client.send(bytes("bye"));
    client.close();
  };
  client.createSocket();
  await poll(0, map);
  const ended = await shutdown({ map });
  assertEquals(ended, { listeners: 0, closed: 1, aborted: 0 });
  assertEquals(channel.sent, "bye");
});

Deno.test("shutdown() tells a socket once that listens in handleShutdown()", async () => {
  const clock = new MockClock();
  const map = quietMap({ clock, network: new FakeNetwork() });
  const server = new Dispatcher(null, { map });
  let told = 0;
  server.handleShutdown = () => {
    told++;
    server.bind(PLACE);
    server.listen();
  };
  server.createSocket();
  await poll(0, map);
  const ending = shutdown({ map, deadline: 100 });
  await turns();
  assert(server.accepting);
  await clock.advance(100);
  assertEquals(await ending, { listeners: 0, closed: 0, aborted: 1 });
  assertEquals(told, 1);
});

Deno.test("shutdown() gives its deadline as the closeReason of sockets without a connection", async () => {
  const clock = new MockClock();
  const map = quietMap({ clock, network: new FakeNetwork() });
  const sockets = [
    new Dispatcher(null, { map }),
    new Dispatcher(null, { map }),
  ];
  for (const socket of sockets) {
    socket.handleShutdown = () => {};
    socket.createSocket();
  }
  sockets[1]!.bind(PLACE);
  const ending = shutdown({ map, deadline: 100 });
  await turns();
  await clock.advance(100);
  await ending;
  for (const { closeReason } of sockets) {
    assertEquals(closeReason?.message, "the deadline of shutdown() was over");
  }
});

Deno.test("shutdown() counts a connection as aborted that lost bytes and moved away", async () => {
  const map = quietMap();
  const other = quietMap();
  const channel = new FakeChannel();
  const failing = Promise.withResolvers<number>();
  channel.take = () => failing.promise;
  const sender = new Dispatcher(channel, { map });
  sender.handleShutdown = sender.handleError = () => {};
  await passes(map, 1);
  sender.send(bytes("spam"));
  const ending = shutdown({ map });
  await turns();
  failing.reject(new Error("disk full"));
  await turns();
  sender.addChannel(other);
  assertEquals((await ending).aborted, 1);
  sender.abort();
});

Deno.test("connect() whose network closes the dispatcher at once leaves nothing", async () => {
  const channel = new FakeChannel();
  let client: Dispatcher | null = null;
  const network = {
    ...networkTo(channel),
    connect: () => {
      client!.close();
      return Promise.resolve(channel);
    },
  };
  const map = quietMap({ network });
  client = new Dispatcher(null, { map });
  client.createSocket();
  client.connect(PLACE);
  await passes(map, 3);
  assertEquals([client.connecting, map.size, map.lingering], [false, 0, 0]);
  assert(channel.closed);
});

Deno.test("connect() is under way when its network looks at the dispatcher", () => {
  const seen: unknown[] = [];
  let client: Dispatcher | null = null;
  const network = {
    ...networkTo(new FakeChannel()),
    connect: () => {
      seen.push(client!.connecting, `${client}`);
      return new Promise<Channel>(() => {});
    },
  };
  client = new Dispatcher(null, { map: quietMap({ network }) });
  client.createSocket();
  client.connect(PLACE);
  client.abort();
  assertEquals(seen, [true, "<Dispatcher connecting 127.0.0.1:7>"]);
});

Deno.test("bind() closes a listener whose address cannot be read, and can be tried again", () => {
  let looks = 0;
  const acceptor = new FakeAcceptor();
  Object.defineProperty(acceptor, "addr", {
    get() {
      if (++looks === 2) throw new Error("spam");
      return { transport: "tcp", ...PLACE };
    },
  });
  const network = { ...networkTo(new FakeChannel()), listen: () => acceptor };
  const map = quietMap({ network });
  const server = new Dispatcher(null, { map });
  server.createSocket();
  assertThrows(() => server.bind(PLACE), Error, "spam");
  assertEquals([acceptor.closed, map.size], [true, 0]);
  server.bind(PLACE);
  assertEquals(map.size, 1);
  server.close();
});

Deno.test("A client that reconnects in a timer keeps no socket before the last", async () => {
  const clock = new MockClock();
  const refused = new Deno.errors.ConnectionRefused("nobody listens");
  const network = {
    ...networkTo(new FakeChannel()),
    connect: () => Promise.reject(refused),
  };
  const map = quietMap({ clock, network });
  const client = new Dispatcher(null, { map });
  let attempts = 0;
  client.handleError = () => {};
  client.handleClose = () => {
    client.close();
    client.createSocket();
    map.callLater(1, () => client.connect(PLACE));
    attempts++;
  };
  client.createSocket();
  client.connect(PLACE);
  while (attempts < 10) {
    await passes(map, 2);
    await clock.advance(1);
  }
  let kept = 0;
  let socket: Socket | null = client[ENTRY];
  while ((socket = socket!.former) !== null) kept++;
  assert(kept <= 1, `${kept} former sockets`);
  client.abort();
});

Deno.test("Dispatcher whose lifetime ends in handleConnect() is still connecting", async () => {
  const clock = new MockClock();
  const map = quietMap({ clock, network: networkTo(new FakeChannel()) });
  const client = new Dispatcher(null, { map, lifetime: 50 });
  const hook = Promise.withResolvers<void>();
  client.handleConnect = () => hook.promise;
  client.createSocket();
  client.connect(PLACE);
  await passes(map, 3);
  await clock.advance(60);
  await passes(map, 2);
  assertEquals([client.connecting, client.connected], [true, false]);
  client.abort();
  hook.resolve();
});

Deno.test("toStreams() gives what had arrived before it was called", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const client = new Dispatcher(channel, { map });
  await passes(map, 2);
  channel.push("220 hello");
  await passes(map, 3);
  const reader = toStreams(client).readable.getReader();
  const reading = reader.read();
  await passes(map, 3);
  assertEquals(text((await reading).value!), "220 hello");
  client.abort();
  await reader.closed.catch(() => {});
});

Deno.test("Dispatcher hears again when a readable() of its own is taken back", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const dispatcher = new Dispatcher(channel, { map });
  let heard = "";
  dispatcher.handleRead = () => void (heard += text(dispatcher.recv()));
  dispatcher.readable = () => false;
  await passes(map, 2);
  channel.push("a");
  await passes(map, 2);
  Reflect.deleteProperty(dispatcher, "readable");
  dispatcher.delChannel();
  dispatcher.addChannel();
  for (const letter of "bcd") {
    await passes(map, 3);
    channel.push(letter);
  }
  await passes(map, 3);
  assertEquals(heard, "abcd");
  dispatcher.abort();
});

Deno.test("send() accepts two chunks of a channel with small ones", async () => {
  const map = quietMap();
  const channel = Object.assign(new FakeChannel(), {
    chunkSize: 4,
    take: () => new Promise<number>(() => {}),
  });
  const sender = new Dispatcher(channel, { map });
  await passes(map, 1);
  const accepted = Array.from({ length: 4 }, () => sender.send(bytes("0123")));
  assertEquals(accepted, [4, 4, 0, 0]);
  sender.abort();
});

Deno.test("handleDrain() does not run on a connection that broke", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const failing = Promise.withResolvers<number>();
  channel.take = () => failing.promise;
  const sender = new DispatcherWithSend(channel, { map, highWaterMark: 10 });
  let drains = 0;
  sender.handleDrain = () => void drains++;
  await passes(map, 1);
  sender.send(bytes("0123456789"));
  failing.reject(new Deno.errors.BrokenPipe("gone"));
  await turns();
  assertEquals(sender.send(bytes("more")), 0);
  await passes(map, 3);
  assertEquals(drains, 0);
  sender.abort();
});
