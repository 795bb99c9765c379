/** `detach()`: a connection goes on without a dispatcher. */

import {
  assert,
  assertEquals,
  assertFalse,
  assertRejects,
  assertThrows,
} from "@std/assert";
import {
  AsyncChat,
  type Channel,
  Dispatcher,
  DispatcherWithSend,
  loop,
  toStreams,
} from "../mod.ts";
import { memoryPair } from "../testing/mod.ts";
import { Talker } from "./chats.ts";
import {
  FakeChannel,
  loopToEnd,
  pattern,
  quietMap,
  Recorder,
  rest,
  watch,
} from "./fakes.ts";
import { gatedChannel, readAll, setUp, stuckChannel } from "./scenes.ts";
import { connected, listening } from "./setups.ts";
import { bytes, loopUntil, text, turn, turns } from "./support.ts";
import { TRANSPORTS } from "./transports.ts";

/** A channel that a dispatcher has given up, and what is under it. */
function detached<T extends FakeChannel>(
  channel: T = new FakeChannel() as T,
  before: (dispatcher: DispatcherWithSend) => void = () => {},
) {
  const { map } = setUp();
  const dispatcher = new DispatcherWithSend(channel, { map });
  before(dispatcher);
  const own = dispatcher.detach();
  return { map, channel, dispatcher, own };
}

/** The next bytes of a channel as text; `null` at its end. */
async function read(channel: Channel, size = 100): Promise<string | null> {
  const target = new Uint8Array(size);
  const length = await channel.read(target);
  return length === null ? null : text(target.subarray(0, length));
}

Deno.test("detach() gives a channel that reads what has arrived first", async () => {
  let own!: Channel;
  const { channel, map } = connected({
    handleRead() {
      this.recv(1);
      own = this.detach();
    },
  });
  channel.push("spam");
  await rest(map);
  assertEquals(map.size, 0);
  assertEquals(await read(own, 2), "pa");
  assertEquals(await read(own), "m");
  const next = read(own);
  channel.push("eggs", null);
  assertEquals([await next, await read(own), await read(own)], [
    "eggs",
    null,
    null,
  ]);
  own.close();
  await loopToEnd(map);
  assert(channel.closed);
});

Deno.test("detach() leaves to the channel what a chat has not collected", async () => {
  const { map } = setUp();
  const channel = new FakeChannel();
  const chat = new Talker(map, channel);
  chat.setTerminator("\n");
  let own!: Channel;
  chat.act.found = () => void (own = chat.detach());
  channel.push("header\nbody\nmore");
  await rest(map);
  assertEquals([chat.taken, await read(own)], ["header|", "body\nmore"]);
  own.close();
});

Deno.test("a detached channel writes behind what was accepted before, and write by write", async () => {
  const { channel: gated, open } = gatedChannel();
  const { own, channel } = detached(gated, (it) => void it.send("one, "));
  const writes = watch(Promise.all([
    own.write(bytes("two, ")),
    own.write(bytes("three")),
  ]));
  await turns();
  assertFalse(writes.settled);
  open();
  await turns();
  assert(writes.settled);
  assertEquals(channel.sent, "one, two, three");
  assertEquals(await own.write(new Uint8Array(0)), 0);
  own.close();
});

Deno.test("a detached channel ends its writing direction behind what was accepted", async () => {
  const { channel: gated, open } = gatedChannel();
  const { own, channel } = detached(gated, (it) => void it.send("bye"));
  const ended = own.closeWrite!();
  assertFalse(channel.writeEnded);
  open();
  await ended;
  assertEquals([channel.sent, channel.writeEnded], ["bye", true]);
  await assertRejects(() => own.write(bytes("x")), Deno.errors.BrokenPipe);
  assertEquals(await read(own), null);
  own.close();
});

Deno.test("close() of a detached channel sends what was accepted, and the loop waits for that", async () => {
  const { channel: gated, open } = gatedChannel();
  const { own, channel, map } = detached(gated, (it) => void it.send("bye"));
  own.close();
  own.close();
  assertFalse(channel.closed);
  assertEquals(map.lingering, 1);
  const ended = watch(loopToEnd(map));
  await turns();
  assertFalse(ended.settled);
  open();
  await turns();
  assert(ended.settled);
  assertEquals([channel.sent, channel.closed], ["bye", true]);
});

Deno.test("close() of a detached channel ends its pending read, and frees it at once", async () => {
  const { own, channel, map } = detached();
  const pending = read(own);
  own.close();
  await assertRejects(() => pending, Deno.errors.BadResource, "closed");
  assert(channel.closed);
  await turns();
  assertEquals(map.lingering, 0);
  await assertRejects(() => read(own), Deno.errors.BadResource);
  await assertRejects(() => own.write(bytes("x")), Deno.errors.BadResource);
  await assertRejects(() => own.closeWrite!(), Deno.errors.BadResource);
});

Deno.test("a detached channel has the addresses and the chunkSize of the other one", () => {
  const addr: Deno.NetAddr = {
    transport: "tcp",
    hostname: "10.0.0.1",
    port: 5,
  };
  const channel = Object.assign(new FakeChannel(), {
    remoteAddr: addr,
    localAddr: { ...addr, port: 6 },
    chunkSize: 7,
    closeWrite: undefined as unknown as () => Promise<void>,
  });
  const { own } = detached(channel);
  const { remoteAddr, localAddr, chunkSize, closeWrite } = own;
  assertEquals(remoteAddr, addr);
  assertEquals(localAddr, { ...addr, port: 6 });
  assertEquals([chunkSize, closeWrite], [7, undefined]);
  own.close();
});

Deno.test("a detached channel has one read at a time", async () => {
  const { own, channel } = detached();
  const first = read(own);
  await assertRejects(() => read(own), Deno.errors.Busy);
  channel.push("spam");
  assertEquals(await first, "spam");
  own.close();
});

Deno.test("a detached channel tells of the errors of the other one, also of former ones", async () => {
  const { own, channel } = detached();
  channel.push("spam", new Deno.errors.ConnectionReset("gone"));
  assertEquals(await read(own), "spam");
  await assertRejects(() => read(own), Deno.errors.ConnectionReset, "gone");
  await assertRejects(() => read(own), Deno.errors.ConnectionReset, "gone");
  own.close();

  const torn = Object.assign(new FakeChannel(), {
    take: () => Promise.reject(new Error("torn")),
  });
  const { own: failed } = detached(torn, (it) => void it.send("lost"));
  await turns();
  await assertRejects(() => failed.write(bytes("x")), Error, "torn");
  await assertRejects(() => failed.closeWrite!(), Error, "torn");
  failed.close();
});

Deno.test("a detached channel says that bytes were dropped before", async () => {
  const { map, clock } = setUp();
  const channel = new FakeChannel();
  const deaf = new Dispatcher(channel, { map });
  channel.push(new Uint8Array(100_000));
  await rest(map);
  await clock.advance(5_000);
  await rest(map);
  const own = deaf.detach();
  channel.push("spam");
  await assertRejects(() => read(own), Error, "earlier bytes were dropped");
  own.close();
  await loopToEnd(map);
});

// Back to a dispatcher

Deno.test("new Handler(detached) goes on where the channel was left", async () => {
  const { channel: gated, open } = gatedChannel();
  const { own, channel, map } = detached(gated);
  channel.push("spam");
  assertEquals(await read(own, 1), "s");
  const written = own.write(bytes("one, "));
  const second = new Recorder(map, own);
  second.send("two");
  open();
  assertEquals(await written, 5);
  await rest(map);
  assertEquals([second.received, channel.sent], ["pam", "one, two"]);

  await assertRejects(
    () => read(own),
    Deno.errors.BadResource,
    "taken it over",
  );
  own.close();
  assert(second.connected);
  // Python's `Handler(sock)` works as often as one likes, with the same `sock`.
  const third = new Recorder(map, own);
  assertFalse(second.connected);
  channel.push("eggs");
  await rest(map);
  assertEquals(third.received, "eggs");
  third.abort();
});

Deno.test("new Handler(detached) is an error while the channel is being read", async () => {
  const { own, channel, map } = detached();
  const pending = read(own);
  assertThrows(() => new Recorder(map, own), Error, "a read of it is pending");
  channel.push("spam");
  assertEquals(await pending, "spam");
  new Recorder(map, own).abort();
});

Deno.test("new Handler(detached) knows that the channel has ended its writing direction", async () => {
  const { own, channel, map } = detached();
  channel.staysOpen = true;
  await own.closeWrite!();
  const second = new Recorder(map, own);
  assertThrows(
    () => second.send("x"),
    Error,
    "has ended its writing direction",
  );
  channel.push("answer", null);
  await loopToEnd(map);
  assertEquals(second.received, "answer");
});

Deno.test("new Handler(detached) of a closed channel is an error", async () => {
  const { own, map } = detached();
  own.close();
  assertThrows(() => new Recorder(map, own), Error, "it is closed");
  await loopToEnd(map);
});

// What cannot be detached

Deno.test("detach() without a connection is an error that says why", () => {
  const { map } = setUp();
  const dispatcher = new Dispatcher(null, { map });
  assertThrows(() => dispatcher.detach(), Error, "call connect() first");
  dispatcher.createSocket();
  assertThrows(() => dispatcher.detach(), Error, "call connect() first");
  const { server } = listening();
  assertThrows(() => server.detach(), Error, "it is listening");
  const closed = new Dispatcher(new FakeChannel(), { map });
  closed.close();
  assertThrows(() => closed.detach(), Error, "it is closed");
  const broken = new Dispatcher(stuckChannel(), { map });
  broken.abort();
  assertThrows(() => broken.detach(), Error, "it is closed");
});

Deno.test("detach() after discardBuffers() gives up a connection with a producer", async () => {
  const { map } = setUp();
  const channel = new FakeChannel();
  const chat = new AsyncChat(channel, { map });
  chat.pushWithProducer({ more: () => new Promise<never>(() => {}) });
  assertThrows(() => chat.detach(), Error, "or call discardBuffers()");
  chat.discardBuffers();
  const own = chat.detach();
  await own.write(bytes("spam"));
  assertEquals(channel.sent, "spam");
  own.close();
});

// Real connections

/** Says what it will be, and then is that. */
class Greeter extends AsyncChat {
  readonly detached: Promise<Channel>;
  readonly #resolve: (channel: Channel) => void;

  constructor(channel: Channel, map: ReturnType<typeof quietMap>) {
    super(channel, { map });
    const { promise, resolve } = Promise.withResolvers<Channel>();
    this.detached = promise;
    this.#resolve = resolve;
    this.setTerminator("\n");
  }
  override foundTerminator() {
    this.push("switching\n");
    this.#resolve(this.detach());
  }
}

const MEMORY = {
  name: "memory",
  ignore: false,
  connect: () => Promise.resolve(memoryPair()),
};
for (const { name, ignore, connect } of [...TRANSPORTS, MEMORY]) {
  Deno.test({
    name: `detach() gives code without dispatchers all that follows (${name})`,
    ignore,
    fn: async () => {
      const [ours, peer] = await connect();
      const map = quietMap();
      const greeter = new Greeter(ours, map);
      const data = pattern(200_000);
      const sending = (async () => {
        await peer.write(bytes("upgrade\nspam"));
        for (let at = 0; at < data.length;) {
          at += await peer.write(data.subarray(at));
        }
        await peer.closeWrite!();
      })();
      await loop({ map }); // It ends, as the map is empty.
      const own = await greeter.detached;

      const answer = readAll(peer);
      assertEquals(await read(own, 4), "spam");
      assertEquals(await readAll(own), data);
      await own.write(data);
      own.close();
      await sending;
      const received = await answer;
      assertEquals(text(received.subarray(0, 10)), "switching\n");
      assertEquals(received.subarray(10), data);
      await loopToEnd(map);
      peer.close();
    },
  });
}

Deno.test("toStreams() of a new dispatcher makes streams of a detached channel", async () => {
  const [ours, peer] = memoryPair();
  const map = quietMap();
  const greeter = new Greeter(ours, map);
  await peer.write(bytes("upgrade\nspam"));
  await loop({ map });
  const own = await greeter.detached;
  const { readable, writable } = toStreams(new Dispatcher(own, { map }));
  const looping = loop({ map });
  const received = new Response(readable).text();
  const writer = writable.getWriter();
  await writer.write(bytes("eggs"));
  await writer.close();
  await peer.closeWrite!();
  assertEquals(await received, "spam");
  assertEquals(text(await readAll(peer)), "switching\neggs");
  await looping;
  peer.close();
});

Deno.test("detach() works from outside of the loop, at any time", async () => {
  const [ours, peer] = memoryPair();
  const map = quietMap();
  const keeper = new Dispatcher(ours, { map });
  keeper.handleRead = () => {};
  keeper.readable = () => false;
  await peer.write(bytes("spam"));
  const looping = loop({ map });
  await turn();
  const own = keeper.detach();
  await looping;
  assertEquals(await read(own), "spam");
  own.close();
  await loopUntil(map, () => map.lingering === 0);
  peer.close();
});
