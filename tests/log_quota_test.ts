/** An event that a peer can repeat costs a bounded number of log lines. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  Dispatcher,
  DispatcherWithSend,
  loop,
  poll,
  SocketMap,
} from "../mod.ts";
import { FakeChannel, passes } from "./fakes.ts";
import { pass, provoke, SITES } from "./log_sites.ts";
import { setUp } from "./setups.ts";
import { captureConsole, TestMap } from "./support.ts";

/** Starts a loop, which goes on until the answer is called. */
function start(map: SocketMap): () => Promise<void> {
  const keeper = new Dispatcher(new FakeChannel(), { map });
  const looping = loop({ map });
  return () => {
    keeper.close();
    return looping;
  };
}

/** Has the default handleError() log that often. */
function fail(map: SocketMap, times: number): void {
  for (let i = 0; i < times; i++) {
    new Dispatcher(null, { map }).handleError(new Error("spam"));
  }
}

for (const site of SITES) {
  Deno.test(`SocketMap logs ${site.name} 20 times in 10 s, and then how often else`, async () => {
    const { clock, log, map } = setUp();
    const end = start(map);
    const lines = () => log.lines.filter((line) => line.includes(site.line));
    const provokeAll = async () => {
      for (let i = 0; i < 50; i++) {
        provoke(site, map, (it) => it.ignoreLogTypes.clear());
      }
      await pass(clock, site);
    };
    await provokeAll();
    assertEquals(lines().length, 20);
    await clock.advance(10_000);
    assertEquals(lines().length, 21);
    assertMatch(lines()[20]!, /^\w+: left out 30 more like this/);
    // And so it goes on.
    await provokeAll();
    assertEquals(lines().length, 41);
    await end();
    assertEquals(lines().length, 42);
    assertEquals(map.errors, []);
  });
}

Deno.test("SocketMap counts the lines of each class and kind for themselves", async () => {
  const { log, map } = setUp();
  class Server extends Dispatcher {}
  class Client extends Dispatcher {}
  for (const Class of [Server, Client]) {
    for (let i = 0; i < 30; i++) {
      const dispatcher = new Class(null, { map });
      dispatcher.ignoreLogTypes.clear();
      dispatcher.handleRead();
      dispatcher.handleWrite();
      dispatcher.handleError(new Error("spam"));
    }
  }
  const count = (part: string) =>
    log.lines.filter((line) => line.includes(part)).length;
  assertEquals(count("unhandled read event"), 40);
  assertEquals(count("unhandled write event"), 40);
  assertEquals(count("<Server> (Error: spam"), 20);
  assertEquals(count("<Client> (Error: spam"), 20);
  await poll(0, map);
});

Deno.test("Dispatcher.log() and logInfo() write all that a program says", () => {
  const { log, map } = setUp();
  const dispatcher = new Dispatcher(null, { map });
  for (let i = 0; i < 100; i++) {
    dispatcher.log("spam");
    dispatcher.logInfo("spam", "error");
  }
  assertEquals(log.lines.length, 200);
});

Deno.test("Dispatcher whose log types are ignored takes no line from the others", () => {
  const { log, map } = setUp();
  for (let i = 0; i < 100; i++) new Dispatcher(null, { map }).handleRead();
  const heard = new Dispatcher(null, { map });
  heard.ignoreLogTypes.clear();
  heard.handleRead();
  assertEquals(log.lines, ["warn: unhandled read event"]);
});

Deno.test("Dispatcher.logInfo() of a class of its own gets a bounded number of lines, too", async () => {
  const { clock, map } = setUp();
  const lines: string[] = [];
  class Noting extends Dispatcher {
    override logInfo(message: string, type = "info"): void {
      lines.push(`${type}: ${message}`);
    }
  }
  const end = start(map);
  const dispatcher = new Noting(null, { map });
  for (let i = 0; i < 22; i++) dispatcher.handleRead();
  assertEquals(lines.length, 20);
  await clock.advance(10_000);
  assertEquals(
    lines[20],
    "warning: left out 2 more like this: unhandled read event",
  );
  await end();
});

Deno.test("SocketMap tells how many bytes were lost with the lines that it left out", async () => {
  const { clock, log, map } = setUp();
  const end = start(map);
  for (let i = 1; i <= 30; i++) {
    const channel = new FakeChannel();
    channel.take = () => Promise.reject(new Error("spam"));
    const sender = new DispatcherWithSend(channel, { map });
    sender.send(new Uint8Array(i));
    sender.close();
  }
  await clock.advance(10_000);
  assertEquals(log.lines.length, 21);
  // 21 + 22 + … + 30
  assertMatch(
    log.lines[20]!,
    /left out 10 more like this, with 255 bytes in all: <DispatcherWithSend closed> was closed and lost 21 accepted bytes \(Error: spam\)$/,
  );
  await end();
});

Deno.test("loop() tells what was left out when it ends, once in 10 s", async () => {
  const { clock, log, map } = setUp();
  fail(map, 25);
  await loop({ map });
  assertEquals(log.lines.length, 21);
  assertMatch(log.lines[20]!, /^error: left out 5 more like this: /);
  assertEquals(clock.armed, 0, "nothing keeps the loop going");
  fail(map, 5);
  await loop({ map });
  assertEquals(log.lines.length, 21);
  // The others are told with the next line, as no loop has run since.
  await clock.advance(10_000);
  fail(map, 1);
  assertEquals(log.lines.length, 23);
  assertMatch(log.lines[21]!, /^error: left out 5 more like this: /);
  assertMatch(log.lines[22]!, /^error: uncaught exception/);
});

Deno.test("SocketMap without an onError() of its own logs 20 errors of timers, and how many else", async () => {
  const { clock, log } = setUp();
  const map = new SocketMap({ clock, logger: log });
  const end = start(map);
  const timer = map.callEvery(10, () => {
    throw new Error("spam");
  });
  await clock.advance(1_000);
  timer.cancel();
  await clock.advance(10_000);
  assertEquals(log.lines.length, 21);
  assertMatch(
    log.lines[20]!,
    /^error: left out 80 more like this: uncaught exception in the loop \(Error: spam/,
  );
  await end();
});

Deno.test("SocketMap.onError() gets each error, and costs few lines if it throws each time", async () => {
  using output = captureConsole();
  let calls = 0;
  const map = new TestMap();
  map.onError = () => {
    throw new Error(`eggs ${++calls}`);
  };
  for (let i = 0; i < 100; i++) {
    map.callLater(0, () => {
      throw new Error("spam");
    });
  }
  const keeper = new Dispatcher(new FakeChannel(), { map });
  await passes(map, 1);
  assertEquals(calls, 100);
  assertEquals(output.err.length, 20);
  assertMatch(
    output.err[0]!,
    /^uncaught exception in the loop \(Error: spam .*\), and telling it failed \(Error: eggs 1 /,
  );
  keeper.close();
  await loop({ map });
  assertEquals(output.err.length, 21);
  assert(output.err[20]!.startsWith("left out 80 more like this: uncaught"));
});

Deno.test("Dispatcher does not make the text of a line that is left out", () => {
  const { log, map } = setUp();
  let texts = 0;
  class Costly extends Dispatcher {
    override toString(): string {
      texts++;
      return "<Costly>";
    }
  }
  const costly = new Costly(null, { map });
  for (let i = 0; i < 1_000; i++) costly.handleError(new Error("spam"));
  assertEquals(log.lines.length, 20);
  assertEquals(texts, 21, "those that are written, and a sample");
});
