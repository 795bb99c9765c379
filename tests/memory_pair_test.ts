import { Buffer } from "node:buffer";
import {
  assert,
  assertEquals,
  assertGreater,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { type Channel, DispatcherWithSend, toStreams } from "../mod.ts";
import {
  checkChannel,
  memoryPair,
  type MemoryPairOptions,
} from "../testing/mod.ts";
import { loopToEnd, quietMap, Recorder, watch } from "./fakes.ts";
import { bytes, loopUntil, text, turn } from "./support.ts";

const { BadResource, BrokenPipe, Busy } = Deno.errors;

/** One read, as text; `null` at the end. */
async function read(channel: Channel, size = 100): Promise<string | null> {
  const target = new Uint8Array(size);
  const count = await channel.read(target);
  return count === null ? null : text(target.subarray(0, count));
}

for (
  const options of [
    { piece: 1_000 },
    { capacity: 20, piece: 7 },
    { capacity: 777, piece: 100 },
  ]
) {
  Deno.test(`memoryPair(${JSON.stringify(options)}) passes checkChannel()`, async () => {
    const names = await checkChannel(() => memoryPair(options));
    assertGreater(names.length, 45);
  });
}

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

Deno.test("memoryPair() copies what is written, a Buffer too", async () => {
  const [ours, theirs] = memoryPair();
  const data = Buffer.from("spam");
  await ours.write(data);
  data.fill(0);
  assertEquals(await read(theirs), "spam");
});

Deno.test("memoryPair() refuses a second read or write while one is pending", async () => {
  const [ours, theirs] = memoryPair({ capacity: 1 });
  await ours.write(bytes("x"));
  const writing = ours.write(bytes("y"));
  const reading = read(ours);
  const again = () => ours.write(bytes("z"));
  await assertRejects(again, Busy, "Cannot write: another write is pending");
  await assertRejects(() => read(ours), Busy, "another read is pending");
  await theirs.write(bytes("spam"));
  assertEquals(await reading, "s");
  assertEquals(await read(theirs), "x");
  assertEquals(await writing, 1);
});

Deno.test("memoryPair() says why an operation fails after an end", async () => {
  const [ours, theirs] = memoryPair();
  const write = () => ours.write(bytes("x"));
  await ours.closeWrite!();
  await assertRejects(write, BrokenPipe, "Cannot write: the writing direction");
  ours.close();
  ours.close();
  await assertRejects(
    write,
    BadResource,
    "Cannot write: the channel is closed",
  );
  await assertRejects(() => read(ours), BadResource, "Cannot read: the chan");
  await assertRejects(() => ours.closeWrite!(), BadResource, "Cannot end");
  const answer = () => theirs.write(bytes("x"));
  await assertRejects(answer, BrokenPipe, "Broken pipe");
});

const WRONG: [options: unknown, typeof TypeError, message: string][] = [
  [null, TypeError, "options must be an object like { name: value }, got null"],
  [{ capacity: 0 }, RangeError, "capacity must be an int"],
  [{ capacity: 1.5 }, RangeError, "got 1.5"],
  [{ piece: "1" }, TypeError, "piece must be a number"],
];

for (const [options, Class, message] of WRONG) {
  Deno.test(`memoryPair() refuses what is no option: ${message}`, () => {
    assertThrows(
      () => memoryPair(options as MemoryPairOptions),
      Class,
      message,
    );
  });
}

Deno.test("memoryPair() reads and writes nothing but bytes", async () => {
  const [ours] = memoryPair();
  const text = "spam" as unknown as Uint8Array;
  await assertRejects(() => ours.write(text), TypeError, "data must be");
  await assertRejects(() => ours.read(text), TypeError, "target must be");
});

// With dispatchers at both ends

Deno.test("memoryPair() makes one peer's abort() the other's end", async () => {
  const map = quietMap();
  const [one, two] = memoryPair().map((channel) => new Recorder(map, channel));
  await loopUntil(map, () => one!.connected && two!.connected);
  one!.abort();
  await loopToEnd(map);
  assertEquals(two!.trace, ["handleRead", "handleClose"]);
});

Deno.test("memoryPair() serves toStreams() at both ends", async () => {
  const map = quietMap();
  const [one, two] = memoryPair({ capacity: 10 })
    .map((channel) => toStreams(new DispatcherWithSend(channel, { map })));
  const echoing = two!.readable.pipeTo(two!.writable);
  const source = new Blob(["spam, eggs, sausage and spam"]).stream();
  const sending = source.pipeTo(one!.writable);
  const answer = new Response(one!.readable).text();
  await loopToEnd(map);
  await Promise.all([echoing, sending]);
  assertEquals(await answer, "spam, eggs, sausage and spam");
});
