import {
  assert,
  assertEquals,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import {
  AsyncChat,
  Dispatcher,
  DispatcherWithSend,
  ExitNow,
  loop,
  toStreams,
} from "../mod.ts";
import { memoryPair, recordHooks } from "../testing/mod.ts";
import {
  FakeAcceptor,
  FakeChannel,
  LogLines,
  loopToEnd,
  passes,
  quietMap,
  Recorder,
} from "./fakes.ts";
import { bytes, loopUntil, type TestMap } from "./support.ts";

type Class<T> = new (channel: FakeChannel, options: { map: TestMap }) => T;

/** A dispatcher of a class whose hooks are recorded. */
function recorded<T extends Dispatcher>(Class: Class<T>) {
  const map = quietMap();
  const channel = new FakeChannel();
  const dispatcher = new Class(channel, { map });
  return { map, channel, dispatcher, record: recordHooks(dispatcher) };
}

/** Lets a dispatcher read some pieces, one after the other. */
async function readPieces(
  { map, channel }: { map: TestMap; channel: FakeChannel },
  ...pieces: string[]
): Promise<void> {
  for (const piece of pieces) {
    channel.push(piece);
    await passes(map, 3);
  }
}

class Reader extends Dispatcher {
  override handleRead(): void {
    this.recv();
  }
}
class Lines extends AsyncChat {
  override collectIncomingData(): void {}
  override foundTerminator(): void {}
}

Deno.test("recordHooks() writes down the hooks in order, with their arguments", async () => {
  class Failing extends Lines {
    override foundTerminator(): void {
      throw new TypeError("spam");
    }
  }
  const { map, channel, dispatcher, record } = recorded(Failing);
  dispatcher.setTerminator("\n");
  channel.push("one\n");
  await loopToEnd(map);
  assertEquals(record.calls, [
    "handleRead()",
    'collectIncomingData("one")',
    "foundTerminator()",
    "handleError(TypeError: spam)",
    "handleClose()",
  ]);
  assertEquals(record.count("handleRead"), 1);
  assertEquals(record.count("handleExpt"), 0);
});

Deno.test("recordHooks() shows connections, addresses, kinds and bytes in a few characters", async () => {
  const map = quietMap();
  const acceptor = new FakeAcceptor();
  const server = new Recorder(map, acceptor);
  using record = recordHooks(server);
  const remoteAddr = { transport: "tcp", hostname: "::1", port: 9 } as const;
  acceptor.push(Object.assign(new FakeChannel(), { remoteAddr }));
  await loopUntil(map, () => record.calls.length >= 2);
  assertEquals(record.calls.slice(0, 2), [
    "handleAccept()",
    "handleAccepted(FakeChannel, [::1]:9)",
  ]);
  server.handleTimeout("idle");
  assert(record.calls.includes("handleTimeout(idle)"));
  const { dispatcher, record: more } = recorded<AsyncChat>(Lines);
  dispatcher.collectIncomingData(bytes("\n".repeat(100)));
  assert(more.calls[0]!.startsWith('collectIncomingData("\\n\\n'));
  assert(more.calls[0]!.length < 200, more.calls[0]);
});

Deno.test("recordHooks() passes on `this`, arguments and results", () => {
  const result = Promise.resolve();
  class Adder extends Dispatcher {
    readonly #secret = 7;
    handleSum(...numbers: number[]): number {
      return numbers.reduce((a, b) => a + b, this.#secret);
    }
    override handleRead(): Promise<void> {
      return result;
    }
  }
  const { dispatcher, record } = recorded(Adder);
  assertEquals(dispatcher.handleSum(1, 2), 10);
  assertStrictEquals(dispatcher.handleRead(), result);
  assertEquals(record.calls, ["handleSum(1, 2)", "handleRead()"]);
});

Deno.test("recordHooks() lets an async hook hold its dispatcher, and its failure arrive", async () => {
  const gate = Promise.withResolvers<void>();
  class Slow extends Dispatcher {
    override async handleRead(): Promise<void> {
      this.recv();
      await gate.promise;
      throw new RangeError("late");
    }
  }
  const { map, channel, record } = recorded(Slow);
  await readPieces({ map, channel }, "a", "b");
  assertEquals(record.calls, ["handleRead()"], "it is held");
  gate.resolve();
  await loopToEnd(map);
  assertEquals(record.calls.slice(1), [
    "handleError(RangeError: late)",
    "handleClose()",
  ]);
});

Deno.test("recordHooks() lets an ExitNow leave the loop", async () => {
  class Leaver extends Dispatcher {
    override handleRead(): void {
      throw new ExitNow("enough");
    }
  }
  const { map, channel, dispatcher, record } = recorded(Leaver);
  channel.push("x");
  await assertRejects(() => loop({ map }), ExitNow, "enough");
  assertEquals(record.calls, ["handleRead()"]);
  dispatcher.abort();
});

Deno.test("recordHooks() does not count what a hook calls by super", async () => {
  class Polite extends Dispatcher {
    override handleClose(): void {
      super.handleClose();
    }
  }
  const { map, channel, record } = recorded(Polite);
  channel.push(null);
  await loopToEnd(map);
  assertEquals(record.count("handleClose"), 1);
});

// What the loop makes of a class

class Buffered extends DispatcherWithSend {
  override handleRead(): void {
    this.send(this.recv());
  }
}
class Classic extends Reader {
  override readable(): boolean {
    return true;
  }
  override handleWrite(): void {}
}
class Writer extends Dispatcher {
  override handleWrite(): void {}
}
class Deaf extends Dispatcher {}

/** What the loop asks, reads, sends and logs in some passes. */
async function behaviour(Class: Class<Dispatcher>, isRecorded: boolean) {
  const logger = new LogLines();
  const map = quietMap({ logger });
  const channel = new FakeChannel();
  const dispatcher = new Class(channel, { map });
  const asked: string[] = [];
  for (const name of ["readable", "writable"] as const) {
    const predicate = dispatcher[name];
    Object.defineProperty(dispatcher, name, {
      configurable: true,
      get: () => {
        asked.push(name);
        return predicate;
      },
    });
  }
  using _record = isRecorded ? recordHooks(dispatcher) : null;
  await readPieces({ map, channel }, "a", "b", "c");
  dispatcher.abort();
  return { asked, reads: channel.reads, sent: channel.sent, log: logger.lines };
}

for (const Class of [Reader, Buffered, Lines, Classic, Writer, Deaf]) {
  Deno.test(`recordHooks() does not change what the loop asks and does: ${Class.name}`, async () => {
    const plain = await behaviour(Class, false);
    assertEquals(await behaviour(Class, true), plain);
  });
}

for (const isFirst of [true, false]) {
  Deno.test(`recordHooks() ${isFirst ? "before" : "after"} toStreams() leaves the streams as they are`, async () => {
    const map = quietMap();
    const [ours, theirs] = memoryPair();
    const dispatcher = new DispatcherWithSend(ours, { map });
    const record = isFirst && recordHooks(dispatcher);
    const { readable, writable } = toStreams(dispatcher);
    using more = record || recordHooks(dispatcher);
    const reading = new Response(readable).text();
    await theirs.write(bytes("spam"));
    theirs.close();
    const closing = writable.close();
    await loopToEnd(map);
    await closing;
    assertEquals(await reading, "spam");
    assertEquals(more.calls.includes("handleRead()"), !isFirst);
  });
}

// The end of a recording

Deno.test("recordHooks() leaves no trace when it is disposed of", () => {
  const dispatcher = new Reader(new FakeChannel(), { map: quietMap() });
  const own = () => {};
  dispatcher.handleExpt = own;
  const before = Reflect.ownKeys(dispatcher);
  {
    using record = recordHooks(dispatcher);
    dispatcher.handleExpt();
    assertEquals(record.calls, ["handleExpt()"]);
    assertEquals(Object.keys(dispatcher).includes("handleClose"), false);
  }
  assertEquals(Reflect.ownKeys(dispatcher), before);
  assertStrictEquals(dispatcher.handleExpt, own);
  assertStrictEquals(dispatcher.handleRead, Reader.prototype.handleRead);
});

Deno.test("recordHooks() can record twice, and end in any order", async () => {
  const first = recorded(Reader);
  const second = recordHooks(first.dispatcher);
  await readPieces(first, "a");
  first.record[Symbol.dispose]();
  await readPieces(first, "b");
  second[Symbol.dispose]();
  await readPieces(first, "c");
  assertEquals(first.record.calls, ["handleRead()"]);
  assertEquals(second.calls, ["handleRead()", "handleRead()"]);
});

Deno.test("recordHooks() leaves a hook alone that was put in its place", async () => {
  const reader = recorded(Reader);
  let reads = 0;
  reader.dispatcher.handleRead = () => {
    reads++;
    reader.dispatcher.recv();
  };
  reader.record[Symbol.dispose]();
  await readPieces(reader, "a");
  assertEquals([reads, reader.record.calls], [1, []]);
});

Deno.test("recordHooks() records hooks that are fields, and calls no accessor", async () => {
  class Fields extends Dispatcher {
    override handleRead = (): void => void this.recv();
    get handleNothing(): () => void {
      throw new Error("must not be asked");
    }
  }
  const fields = recorded(Fields);
  await readPieces(fields, "a");
  assertEquals(fields.record.calls, ["handleRead()"]);
});

for (const value of [null, undefined, "spam", 7, {}]) {
  Deno.test(`recordHooks() says what is wrong with ${Deno.inspect(value)}`, () => {
    assertThrows(
      () => recordHooks(value as unknown as Dispatcher),
      TypeError,
      value instanceof Object
        ? "dispatcher has no handleRead() method"
        : "dispatcher must be an object",
    );
  });
}

Deno.test("HookRecord.count() says what is wrong with a hook that does not exist", () => {
  const { record } = recorded(Reader);
  assertThrows(
    () => record.count("handleRaed"),
    TypeError,
    'has no hook "handleRaed", only handle',
  );
  assertThrows(() => record.count("handleReadEvent"), TypeError);
});
