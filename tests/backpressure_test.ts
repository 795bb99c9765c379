/** Who asks and never takes the answers must not cost more than its share. */

import { assertEquals, assertLess, assertThrows } from "@std/assert";
import {
  AsyncChat,
  type Channel,
  Dispatcher,
  DispatcherWithSend,
  type DispatcherWithSendOptions,
  loop,
} from "../mod.ts";
import { Talker, Valve } from "./chats.ts";
import {
  FakeAcceptor,
  FakeChannel,
  LogLines,
  quietMap,
  watch,
} from "./fakes.ts";
import {
  loopUntil,
  rawConnect,
  ScopedMap,
  type TestMap,
  TestServer,
  turn,
  turns,
  until,
} from "./support.ts";

const MARK = 64 * 1024;
/** What one read brings at most. */
const LARGEST_READ = 128 * 1024;

/** Sends back what it reads, as it comes. */
class Echo extends DispatcherWithSend {
  most = 0;
  received = 0;

  constructor(
    map: TestMap,
    channel: Channel,
    options: DispatcherWithSendOptions = {},
  ) {
    super(channel, { ...options, map });
  }
  override handleRead(): void {
    const data = this.recv();
    this.received += data.length;
    this.send(data);
    this.most = Math.max(this.most, this.bufferedAmount);
  }
}

/** Answers a short line with a long one. */
class Amplifier extends Talker {
  most = 0;

  override foundTerminator(): void {
    this.push("x".repeat(10_000));
    this.taken += "|";
    this.most = Math.max(this.most, this.bufferedAmount);
  }
}

/** Has a listener take a connection, as only those are held back. */
async function accepted<T extends Dispatcher>(
  make: (map: TestMap, conn: Channel) => T,
) {
  const map = quietMap();
  const channel = new FakeChannel();
  const acceptor = new FakeAcceptor();
  let handler: T | undefined;
  class Server extends Dispatcher {
    override handleAccepted(conn: Channel): void {
      handler = make(map, conn);
    }
  }
  const server = new Server(acceptor, { map });
  acceptor.push(channel);
  await loopUntil(map, () => handler !== undefined);
  server.close();
  const looping = watch(loop({ map }));
  return { map, channel, handler: handler!, looping };
}

Deno.test("DispatcherWithSend is not read while its client takes nothing, and goes on when it does", async () => {
  const { channel, handler, looping } = await accepted((map, conn) =>
    new Echo(map, conn)
  );
  const valve = new Valve(channel);
  for (let i = 0; i < 200; i++) channel.push(new Uint8Array(64 * 1024));
  await turns();
  assertLess(handler.bufferedAmount, 2 * MARK);
  const { reads } = channel;
  await turns();
  assertEquals(channel.reads, reads);
  valve.open();
  channel.push(null);
  await until(() => looping.settled, "the end of the loop");
  assertEquals(channel.sent.length, 200 * 64 * 1024);
  assertLess(handler.most, 2 * MARK);
});

Deno.test("DispatcherWithSend obeys a highWaterMark of its options", async () => {
  const { channel, handler } = await accepted((map, conn) =>
    new Echo(map, conn, { highWaterMark: 100 })
  );
  assertEquals(handler.highWaterMark, 100);
  new Valve(channel);
  for (let i = 0; i < 100; i++) channel.push("x".repeat(10));
  await turns();
  assertEquals(handler.bufferedAmount, 100);
  handler.abort();
});

Deno.test("DispatcherWithSend that says itself when to read is asked, and nobody else", async () => {
  class Greedy extends Echo {
    override readable(): boolean {
      return true;
    }
  }
  const { channel, handler } = await accepted((map, conn) =>
    new Greedy(map, conn)
  );
  new Valve(channel);
  for (let i = 0; i < 20; i++) channel.push(new Uint8Array(64 * 1024));
  await turns();
  assertEquals(handler.bufferedAmount, 20 * 64 * 1024);
  handler.abort();
});

Deno.test("DispatcherWithSend of this side's making reads on: two ends that wait would wait for ever", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const valve = new Valve(channel);
  const handler = new Echo(map, channel);
  const looping = watch(loop({ map }));
  for (let i = 0; i < 20; i++) channel.push(new Uint8Array(64 * 1024));
  channel.push(null);
  await turns();
  assertEquals(handler.received, 20 * 64 * 1024);
  valve.open();
  await until(() => looping.settled, "the end of the loop");
});

Deno.test("a client's last bytes come although it was held back, and then its end", async () => {
  const { channel, handler, looping } = await accepted((map, conn) =>
    new Echo(map, conn, { highWaterMark: 1 })
  );
  const valve = new Valve(channel);
  channel.push("one", "two", "three", null);
  await turns();
  assertEquals(handler.received, 3);
  valve.open();
  await until(() => looping.settled, "the end of the loop");
  assertEquals(channel.sent, "onetwothree");
});

Deno.test("a client that breaks while it is held back is told at once", async () => {
  const { channel, looping } = await accepted((map, conn) =>
    new Echo(map, conn, { highWaterMark: 1 })
  );
  let fail = (_: Error) => {};
  channel.take = () => new Promise((_, reject) => fail = reject);
  channel.push("one", "two");
  await turns();
  fail(new Deno.errors.BrokenPipe("gone"));
  await turns();
  channel.push(null);
  await until(() => looping.settled, "the end of the loop");
});

Deno.test("AsyncChat hands out no more lines while its client takes no answers", async () => {
  const { channel, handler, looping } = await accepted((map, conn) =>
    new Amplifier(map, conn)
  );
  const valve = new Valve(channel);
  handler.setTerminator("\n");
  // One packet of many lines would otherwise cost 10,000 bytes for each.
  channel.push("\n".repeat(5_000));
  await turns();
  assertLess(handler.most, MARK + 10_001);
  assertEquals(handler.taken.length, 7);
  valve.open();
  await until(() => handler.taken.length === 5_000, "all lines");
  assertLess(handler.most, MARK + 10_001);
  channel.push(null);
  await until(() => looping.settled, "the end of the loop");
  assertEquals(channel.sent.length, 5_000 * 10_000);
});

Deno.test("AsyncChat goes on with its lines when an unfinished producer was in the way", async () => {
  const piece = Promise.withResolvers<string>();
  class Mixed extends Amplifier {
    override foundTerminator(): void {
      if (this.taken === "") {
        let pulls = 0;
        this.pushWithProducer({
          more: () => pulls++ === 0 ? piece.promise : "",
        });
      }
      super.foundTerminator();
    }
  }
  const { channel, handler } = await accepted((map, conn) =>
    new Mixed(map, conn)
  );
  handler.setTerminator("\n");
  channel.push("\n".repeat(50));
  await until(() => handler.taken.length === 7, "the first lines");
  for (let i = 0; i < 20; i++) await turn();
  assertEquals(handler.taken.length, 7, "the rest waits for the producer");
  piece.resolve("first ");
  await until(() => handler.taken.length === 50, "the other lines");
  await turns();
  assertEquals(channel.sent, "first " + "x".repeat(50 * 10_000));
  handler.abort();
});

Deno.test("AsyncChat.discardBuffers() makes room for what a client says", async () => {
  const { channel, handler } = await accepted((map, conn) =>
    new Amplifier(map, conn, { highWaterMark: 15_000 })
  );
  handler.setTerminator("\n");
  new Valve(channel);
  for (let line = 0; line < 3; line++) {
    channel.push("\n");
    await turns();
  }
  assertEquals(handler.taken, "||", "one answer on its way, one behind it");
  handler.discardBuffers();
  await turns();
  assertEquals(handler.taken, "|||");
  handler.abort();
});

for (const Class of [Echo, Amplifier]) {
  Deno.test(`${Class.name} on a real socket costs no memory beyond the mark for a client that never reads`, async () => {
    await using map = new ScopedMap({ logger: new LogLines() });
    let handler: Echo | Amplifier | undefined;
    const server = new TestServer(map, (conn) => {
      handler = new Class(map, conn);
      if (handler instanceof AsyncChat) handler.setTerminator("\n");
    });
    using peer = await rawConnect(server.addr);
    // It is through when the kernel's buffers are full both ways.
    const data = new TextEncoder().encode("a line\n".repeat(10_000));
    let sent = 0;
    let isStuck = false;
    const flood = (async () => {
      for (;;) {
        const late = setInterval(() => {
          isStuck = sent > MARK && (handler?.bufferedAmount ?? 0) >= MARK;
        }, 300);
        await peer.write(data).then((length) => sent += length, () => {});
        clearInterval(late);
        if (isStuck) return;
      }
    })();
    await loopUntil(map, () => isStuck);
    assertLess(handler!.most, MARK + LARGEST_READ);
    assertLess(handler!.bufferedAmount, MARK + LARGEST_READ);
    handler!.abort();
    await flood;
  });
}

Deno.test("AsyncChat takes its limits as options, and refuses wrong ones", () => {
  const map = quietMap();
  const chat = new AsyncChat(null, { map, maxLength: 5, highWaterMark: 7 });
  assertEquals([chat.maxLength, chat.highWaterMark], [5, 7]);
  for (const name of ["maxLength", "highWaterMark"]) {
    for (const wrong of [0, -1, 0.5, NaN]) {
      const make = () => new AsyncChat(null, { map, [name]: wrong });
      assertThrows(make, RangeError, `${name} must be an integer 1 or more`);
    }
  }
});
