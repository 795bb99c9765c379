import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import {
  AsyncChat,
  type Channel,
  Dispatcher,
  DispatcherWithSend,
  ExitNow,
  loop,
  toStreams,
} from "../mod.ts";
import { memoryPair } from "../testing/memory_pair.ts";
import { recordHooks } from "../testing/record_hooks.ts";
import {
  FakeAcceptor,
  FakeChannel,
  LogLines,
  loopToEnd,
  passes,
  quietMap,
} from "./fakes.ts";
import { bytes, loopUntil, text, turn } from "./support.ts";

/** Takes all that arrives. */
class Reader extends Dispatcher {
  received = "";
  override handleRead(): void {
    this.received += text(this.recv());
  }
}

Deno.test("recordHooks() writes down the hooks in order, with their arguments", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  class Lines extends AsyncChat {
    override collectIncomingData(): void {}
    override foundTerminator(): void {
      throw new TypeError("spam");
    }
  }
  const lines = new Lines(channel, { map });
  lines.setTerminator("\n");
  using record = recordHooks(lines);
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
  class Server extends Dispatcher {
    override handleAccepted(conn: Channel): void {
      conn.close();
    }
  }
  const server = new Server(acceptor, { map });
  using record = recordHooks(server);
  const remoteAddr = { transport: "tcp", hostname: "::1", port: 9 } as const;
  acceptor.push(Object.assign(new FakeChannel(), { remoteAddr }));
  await loopUntil(map, () => record.calls.length >= 2);
  assertEquals(record.calls.slice(0, 2), [
    "handleAccept()",
    "handleAccepted(FakeChannel, [::1]:9)",
  ]);
  server.handleTimeout("idle");
  assertEquals(record.calls[2], "handleTimeout(idle)");
  server.abort();

  const chat = new AsyncChat(new FakeChannel(), { map });
  using more = recordHooks(chat);
  assertThrows(() => chat.collectIncomingData(bytes("\n".repeat(100))));
  assert(more.calls[0]!.startsWith('collectIncomingData("\\n\\n'));
  assert(more.calls[0]!.length < 200, more.calls[0]);
  chat.abort();
});

Deno.test("recordHooks() passes on `this`, arguments and results", () => {
  const map = quietMap();
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
  const adder = new Adder(new FakeChannel(), { map });
  using record = recordHooks(adder);
  assertEquals(adder.handleSum(1, 2), 10);
  assertStrictEquals(adder.handleRead(), result);
  assertEquals(record.calls, ["handleSum(1, 2)", "handleRead()"]);
  adder.abort();
});

Deno.test("recordHooks() lets an async hook hold its dispatcher, and its failure arrive", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const gate = Promise.withResolvers<void>();
  class Slow extends Dispatcher {
    override async handleRead(): Promise<void> {
      this.recv();
      await gate.promise;
      throw new RangeError("late");
    }
  }
  using record = recordHooks(new Slow(channel, { map }));
  channel.push("a", "b");
  for (let i = 0; i < 5; i++) await passes(map);
  assertEquals(record.calls, ["handleRead()"], "it is held");
  gate.resolve();
  await loopToEnd(map);
  assertEquals(record.calls, [
    "handleRead()",
    "handleError(RangeError: late)",
    "handleClose()",
  ]);
});

Deno.test("recordHooks() lets an ExitNow leave the loop", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  class Leaver extends Dispatcher {
    override handleRead(): void {
      throw new ExitNow("enough");
    }
  }
  const leaver = new Leaver(channel, { map });
  using record = recordHooks(leaver);
  channel.push("x");
  await assertRejects(() => loop({ map }), ExitNow, "enough");
  assertEquals(record.calls, ["handleRead()"]);
  leaver.abort();
});

Deno.test("recordHooks() does not count what a hook calls by super", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  class Polite extends Dispatcher {
    override handleClose(): void {
      super.handleClose();
    }
  }
  using record = recordHooks(new Polite(channel, { map }));
  channel.push(null);
  await loopToEnd(map);
  assertEquals(record.count("handleClose"), 1);
});

// What the loop makes of a class

/** How often the predicates are asked in some passes, recorded or not. */
async function questions(
  Class: typeof Dispatcher,
  isRecorded: boolean,
): Promise<string[]> {
  const map = quietMap();
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
  using record = isRecorded ? recordHooks(dispatcher) : null;
  channel.push("a");
  await passes(map, 5);
  channel.push("b");
  await passes(map, 5);
  const calls = record?.calls ?? [];
  assertEquals(isRecorded, calls.length > 0, calls.join());
  dispatcher.abort();
  return asked;
}

class Buffered extends DispatcherWithSend {
  override handleRead(): void {
    this.send(this.recv());
  }
}
class Lines extends AsyncChat {
  override collectIncomingData(): void {}
  override foundTerminator(): void {}
}
class Classic extends Dispatcher {
  override readable(): boolean {
    return true;
  }
  override handleRead(): void {
    this.recv();
  }
  override handleWrite(): void {}
}
class Writer extends Dispatcher {
  override handleWrite(): void {}
}
const CLASSES = [Reader, Buffered, Lines, Classic, Writer];

for (const Class of CLASSES) {
  Deno.test(`recordHooks() does not change what the loop asks of a ${Class.name}`, async () => {
    const plain = await questions(Class as typeof Dispatcher, false);
    const recorded = await questions(Class as typeof Dispatcher, true);
    assertEquals(recorded, plain);
  });
}

Deno.test("recordHooks() gives no write events to a class that cares for none", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  using record = recordHooks(new Buffered(channel, { map }));
  for (const piece of ["a", "b", "c"]) {
    channel.push(piece);
    await passes(map, 3);
  }
  assertEquals(channel.sent, "abc");
  assertEquals(record.count("handleWrite"), 0);
  assertEquals(record.calls, Array(3).fill("handleRead()"));
});

Deno.test("recordHooks() keeps a class that does not read from reading", async () => {
  class Deaf extends Dispatcher {}
  /** How often the channel is read, and what is logged. */
  const live = async (isRecorded: boolean) => {
    const logger = new LogLines();
    const map = quietMap({ logger });
    const channel = new FakeChannel();
    const deaf = new Deaf(channel, { map });
    using _record = isRecorded ? recordHooks(deaf) : null;
    channel.push("a", "b", "c");
    await passes(map, 5);
    deaf.abort();
    return [channel.reads, logger.lines];
  };
  assertEquals(await live(true), await live(false));
});

Deno.test("recordHooks() leaves a dispatcher free for toStreams()", async () => {
  const map = quietMap();
  const [ours, theirs] = memoryPair();
  const dispatcher = new DispatcherWithSend(ours, { map });
  const record = recordHooks(dispatcher);
  const { readable, writable } = toStreams(dispatcher);
  const reading = new Response(readable).text();
  const closing = writable.close();
  await theirs.write(bytes("spam"));
  theirs.close();
  await loopToEnd(map);
  await closing;
  assertEquals(await reading, "spam");
  record[Symbol.dispose]();
  assertEquals(Object.hasOwn(dispatcher, "handleRead"), false);
});

Deno.test("recordHooks() sees the hooks that toStreams() has put in", async () => {
  const map = quietMap();
  const [ours, theirs] = memoryPair();
  const dispatcher = new DispatcherWithSend(ours, { map });
  const { readable, writable } = toStreams(dispatcher);
  using record = recordHooks(dispatcher);
  const reading = new Response(readable).text();
  await theirs.write(bytes("spam"));
  theirs.close();
  const closing = writable.close();
  await loopToEnd(map);
  await closing;
  assertEquals(await reading, "spam");
  assert(record.calls.includes("handleRead()"), record.calls.join());
});

// The end of a recording

Deno.test("recordHooks() leaves no trace when it is disposed of", () => {
  const map = quietMap();
  const reader = new Reader(new FakeChannel(), { map });
  const own = () => {};
  reader.handleExpt = own;
  const before = Reflect.ownKeys(reader);
  {
    using record = recordHooks(reader);
    reader.handleExpt();
    assertEquals(record.calls, ["handleExpt()"]);
    assertEquals(Object.keys(reader).includes("handleClose"), false);
  }
  assertEquals(Reflect.ownKeys(reader), before);
  assertStrictEquals(reader.handleExpt, own);
  assertStrictEquals(reader.handleRead, Reader.prototype.handleRead);
  reader.abort();
});

Deno.test("recordHooks() can record twice, and end in any order", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const reader = new Reader(channel, { map });
  const first = recordHooks(reader);
  const second = recordHooks(reader);
  channel.push("a");
  await passes(map, 3);
  first[Symbol.dispose]();
  channel.push("b");
  await passes(map, 3);
  second[Symbol.dispose]();
  channel.push("c");
  await passes(map, 3);
  assertEquals(first.calls, ["handleRead()"]);
  assertEquals(second.calls, ["handleRead()", "handleRead()"]);
  assertEquals(reader.received, "abc");
  reader.abort();
});

Deno.test("recordHooks() leaves a hook alone that was put in its place", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const reader = new Reader(channel, { map });
  const record = recordHooks(reader);
  let reads = 0;
  reader.handleRead = () => {
    reads++;
    reader.recv();
  };
  record[Symbol.dispose]();
  channel.push("a");
  await passes(map, 3);
  assertEquals(reads, 1);
  assertEquals(record.calls, []);
  reader.abort();
});

Deno.test("recordHooks() records hooks that are fields, and calls no accessor", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  class Fields extends Dispatcher {
    override handleRead = (): void => void this.recv();
    get handleNothing(): () => void {
      throw new Error("must not be asked");
    }
  }
  const fields = new Fields(channel, { map });
  using record = recordHooks(fields);
  channel.push("a");
  await passes(map, 3);
  assertEquals(record.calls, ["handleRead()"]);
  fields.abort();
});

Deno.test("recordHooks() says what is wrong", async () => {
  for (const value of [null, undefined, "spam", 7]) {
    assertThrows(
      () => recordHooks(value as unknown as Dispatcher),
      TypeError,
      "dispatcher must be an object",
    );
  }
  assertThrows(
    () => recordHooks({} as Dispatcher),
    TypeError,
    "dispatcher has no handleRead() method",
  );
  const map = quietMap();
  const reader = new Reader(new FakeChannel(), { map });
  using record = recordHooks(reader);
  const error = assertThrows(() => record.count("handleRaed"), TypeError);
  assertInstanceOf(error, TypeError);
  assert(error.message.includes('has no hook "handleRaed", only handle'));
  assertThrows(() => record.count("handleReadEvent"), TypeError);
  reader.abort();
  await turn();
});
