import { Buffer } from "node:buffer";
import {
  assert,
  assertEquals,
  assertGreater,
  assertLessOrEqual,
  assertRejects,
  assertThrows,
} from "@std/assert";
import {
  AsyncChat,
  type Channel,
  DispatcherWithSend,
  toStreams,
} from "../mod.ts";
import { memoryPair, type MemoryPairOptions } from "../testing/memory_pair.ts";
import { checkChannel } from "../testing/check_channel.ts";
import { loopToEnd, pattern, quietMap, Recorder, watch } from "./fakes.ts";
import { bytes, loopUntil, text, turn } from "./support.ts";

/** One read, as text; `null` at the end. */
async function read(channel: Channel, size = 100): Promise<string | null> {
  const target = new Uint8Array(size);
  const count = await channel.read(target);
  return count === null ? null : text(target.subarray(0, count));
}

Deno.test("memoryPair() carries what is written, each way", async () => {
  const [ours, theirs] = memoryPair();
  assertEquals(await ours.write(bytes("spam")), 4);
  assertEquals(await theirs.write(bytes("eggs")), 4);
  assertEquals(await theirs.write(bytes(" and spam")), 9);
  assertEquals(await read(theirs), "spam");
  assertEquals(await read(ours, 3), "egg");
  assertEquals(await read(ours), "s and spam");
});

Deno.test("memoryPair({ capacity }) takes part of a write, then lets writes wait", async () => {
  const [ours, theirs] = memoryPair({ capacity: 5 });
  assertEquals(await ours.write(bytes("spam and eggs")), 5);
  const waiting = ours.write(bytes("x"));
  const watched = watch(waiting);
  await turn();
  assert(!watched.settled);
  assertEquals(await theirs.write(bytes("other way")), 5);
  assertEquals(await read(theirs, 2), "sp");
  assertEquals(await waiting, 1);
  assertEquals(await read(theirs), "am x");
});

Deno.test("memoryPair({ piece }) moves so many bytes at a time", async () => {
  const [ours, theirs] = memoryPair({ piece: 3 });
  assertEquals(await ours.write(bytes("spam")), 3);
  assertEquals(await ours.write(bytes("m")), 1);
  assertEquals(await read(theirs), "spa");
  assertEquals(await read(theirs), "m");
});

const VARIANTS: MemoryPairOptions[] = [
  { piece: 1_000 },
  { capacity: 20, piece: 7 },
  { capacity: 777, piece: 100 },
];
for (const options of VARIANTS) {
  const name = JSON.stringify(options);
  Deno.test(`memoryPair(${name}) passes checkChannel()`, async () => {
    const names = await checkChannel(() => memoryPair(options));
    assertGreater(names.length, 45);
  });
}

Deno.test("memoryPair() copies what is written, a Buffer too", async () => {
  const [ours, theirs] = memoryPair();
  const data = Buffer.from("spam");
  await ours.write(data);
  data.fill(0);
  assertEquals(await read(theirs), "spam");
});

Deno.test("memoryPair() gives the rest and the end when the peer has closed", async () => {
  const [ours, theirs] = memoryPair();
  await ours.write(bytes("spam"));
  ours.close();
  assertEquals(await read(theirs), "spam");
  assertEquals(await read(theirs), null);
  assertEquals(await read(theirs), null);
  await assertRejects(
    () => theirs.write(bytes("x")),
    Deno.errors.BrokenPipe,
    "Broken pipe",
  );
});

Deno.test("memoryPair() ends one direction by closeWrite()", async () => {
  const [ours, theirs] = memoryPair();
  await ours.write(bytes("spam"));
  await ours.closeWrite!();
  await ours.closeWrite!();
  await assertRejects(
    () => ours.write(bytes("x")),
    Deno.errors.BrokenPipe,
    "Cannot write: the writing direction has ended",
  );
  assertEquals(await read(theirs), "spam");
  assertEquals(await read(theirs), null);
  await theirs.write(bytes("eggs"));
  assertEquals(await read(ours), "eggs");
});

Deno.test("memoryPair() settles what is pending at close()", async () => {
  const [ours, theirs] = memoryPair({ capacity: 1 });
  await ours.write(bytes("x"));
  const operations = [ours.read(new Uint8Array(1)), ours.write(bytes("x"))];
  ours.close();
  ours.close();
  for (const operation of operations) {
    await assertRejects(() => operation, Deno.errors.Interrupted);
  }
  assertEquals(await read(theirs), "x");
  assertEquals(await read(theirs), null);
});

Deno.test("memoryPair() refuses what it is asked after close()", async () => {
  const [ours] = memoryPair();
  ours.close();
  const { BadResource } = Deno.errors;
  await assertRejects(() => read(ours), BadResource, "Cannot read: the chan");
  await assertRejects(
    () => ours.write(bytes("x")),
    BadResource,
    "Cannot write: the channel is closed",
  );
  await assertRejects(() => ours.closeWrite!(), BadResource, "Cannot end");
});

Deno.test("memoryPair() refuses a second read or write while one is pending", async () => {
  const [ours, theirs] = memoryPair({ capacity: 1 });
  await ours.write(bytes("x"));
  const writing = ours.write(bytes("y"));
  const reading = read(ours);
  const { Busy } = Deno.errors;
  await assertRejects(
    () => ours.write(bytes("z")),
    Busy,
    "Cannot write: another write is pending",
  );
  await assertRejects(() => read(ours), Busy, "another read is pending");
  await theirs.write(bytes("spam"));
  assertEquals(await reading, "s");
  assertEquals(await read(theirs), "x");
  assertEquals(await writing, 1);
});

Deno.test("memoryPair() says what is wrong with its arguments", async () => {
  const wrong = (options: unknown) => () =>
    memoryPair(options as MemoryPairOptions);
  assertThrows(
    wrong(null),
    TypeError,
    "options must be an object like { name: value }, got null",
  );
  assertThrows(wrong({ capacity: 0 }), RangeError, "capacity must be an int");
  assertThrows(wrong({ capacity: 1.5 }), RangeError, "got 1.5");
  assertThrows(wrong({ piece: "1" }), TypeError, "piece must be a number");
  const [ours] = memoryPair();
  const text = "spam" as unknown as Uint8Array;
  await assertRejects(() => ours.write(text), TypeError, "data must be");
  await assertRejects(() => ours.read(text), TypeError, "target must be");
});

// With dispatchers at both ends

Deno.test("memoryPair() connects two dispatchers in one loop", async () => {
  const map = quietMap();
  const [ours, theirs] = memoryPair();
  class Server extends AsyncChat {
    #line = "";
    override collectIncomingData(data: Uint8Array): void {
      this.#line += text(data);
    }
    override foundTerminator(): void {
      this.send(bytes(`${this.#line.toUpperCase()}\n`));
      this.#line = "";
    }
  }
  const server = new Server(theirs, { map });
  server.setTerminator("\n");
  const client = new Recorder(map, ours);
  client.send(bytes("spam\neg"));
  client.send(bytes("gs\n"));
  await loopUntil(map, () => client.received === "SPAM\nEGGS\n");
  server.closeWhenDone();
  await loopToEnd(map);
  assertEquals(client.trace.at(-1), "handleClose");
  assertEquals(client.errors, []);
  assertEquals(map.size, 0);
});

Deno.test("memoryPair() brings backpressure to the dispatchers, and loses nothing", async () => {
  const map = quietMap();
  const [ours, theirs] = memoryPair({ capacity: 1_000, piece: 300 });
  const data = pattern(300_000);
  const received = new Uint8Array(data.length);
  let at = 0;
  let isPaused = true;
  class Sink extends DispatcherWithSend {
    override readable(): boolean {
      return !isPaused;
    }
    override handleRead(): void {
      const piece = this.recv();
      received.set(piece, at);
      at += piece.length;
    }
  }
  const sender = new DispatcherWithSend(ours, { map });
  new Sink(theirs, { map });
  sender.send(data);
  for (let i = 0; i < 50; i++) await turn();
  await loopUntil(map, () => sender.bufferedAmount < data.length);
  // What the channel holds, and one read that runs ahead.
  assertGreater(sender.bufferedAmount, data.length - 2 * 1_000);
  isPaused = false;
  sender.close();
  await loopToEnd(map);
  assertEquals(at, data.length);
  assertEquals(received, data);
});

Deno.test("memoryPair() makes one peer's abort() the other's end", async () => {
  const map = quietMap();
  const [ours, theirs] = memoryPair();
  const one = new Recorder(map, ours);
  const two = new Recorder(map, theirs);
  await loopUntil(map, () => one.connected && two.connected);
  one.abort();
  await loopToEnd(map);
  assertEquals(two.trace, ["handleRead", "handleClose"]);
  assertLessOrEqual(map.size, 0);
});

Deno.test("memoryPair() serves toStreams() at both ends", async () => {
  const map = quietMap();
  const [ours, theirs] = memoryPair({ capacity: 10 });
  const one = toStreams(new DispatcherWithSend(ours, { map }));
  const two = toStreams(new DispatcherWithSend(theirs, { map }));
  const echoing = two.readable.pipeTo(two.writable);
  const source = new Blob(["spam, eggs, sausage and spam"]).stream();
  const sending = source.pipeTo(one.writable);
  const answer = new Response(one.readable).text();
  await loopToEnd(map);
  await Promise.all([echoing, sending]);
  assertEquals(await answer, "spam, eggs, sausage and spam");
});
