import {
  assert,
  assertEquals,
  assertFalse,
  assertGreater,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { Dispatcher, ExitNow, poll } from "../mod.ts";
import {
  FakeAcceptor,
  FakeChannel,
  FakeNetwork,
  loopToEnd,
  passes,
  Recorder,
  rest,
} from "./fakes.ts";
import { type Any, connected, connecting, recorder, setUp } from "./setups.ts";
import {
  bytes,
  loopUntil,
  PATIENCE,
  ScopedMap,
  type TestMap,
  text,
} from "./support.ts";

// ExitNow

/** What an event calls, from the layer that the loop sees to the hooks. */
const ON_LISTENER = [
  "readable",
  "handleReadEvent",
  "handleAccept",
  "handleAccepted",
];
const ON_CLIENT = [
  ...["writable", "handleConnectEvent", "handleConnect"],
  ...["handleWriteEvent", "handleWrite", "handleRead", "handleClose"],
];

/** The ways to make passes until one of them throws. */
const DRIVES = {
  loop: loopToEnd,
  async poll(map: TestMap) {
    const deadline = performance.now() + PATIENCE;
    while (performance.now() < deadline) await poll(0, map);
  },
};

/** A recorder that leaves the loop once, in one of its parts. */
function leavesIn(part: string, map: TestMap, exit: ExitNow): Recorder {
  let exits = 1;
  return recorder(map, null, {
    [part](this: Recorder, ...args: Any[]) {
      if (exits-- > 0) throw exit;
      return (Recorder.prototype as Any)[part].apply(this, args);
    },
  });
}

for (const [name, drive] of Object.entries(DRIVES)) {
  for (const part of ON_LISTENER) {
    Deno.test(`${name}() passes on an ExitNow from ${part}() of a listener, which goes on`, async () => {
      await using map = new ScopedMap();
      const exit = new ExitNow("enough");
      const server = leavesIn(part, map, exit);
      const acceptor = new FakeAcceptor();
      acceptor.push(new FakeChannel());
      server.setSocket(acceptor);
      assertStrictEquals(await assertRejects(() => drive(map)), exit);
      assertEquals([...map], [server]);
      server.trace.length = 0;
      acceptor.push(new FakeChannel());
      await loopUntil(map, () => server.count("handleAccepted") > 0);
      assertEquals(server.errors, []);
    });
  }

  for (const part of ON_CLIENT) {
    Deno.test(`${name}() passes on an ExitNow from ${part}() of a client, which goes on`, async () => {
      const network = new FakeNetwork();
      await using map = new ScopedMap({ network });
      const exit = new ExitNow("enough");
      const client = leavesIn(part, map, exit);
      client.createSocket();
      client.connect({ port: 7 });
      const channel = new FakeChannel();
      channel.push("spam", null);
      network.succeed(channel);
      assertStrictEquals(await assertRejects(() => drive(map)), exit);
      // It leaves the loop and changes nothing else: handleClose() is the end.
      assertEquals([...map], part === "handleClose" ? [] : [client]);
      await loopUntil(map, () => map.size === 0);
      assertEquals(client.received, "spam");
      assertEquals(client.count("handleClose"), 1);
      assertEquals(client.errors, []);
    });
  }
}

Deno.test("loop() passes on an ExitNow from handleError()", async () => {
  const exit = new ExitNow("enough");
  const { map, channel, handler } = connected({
    handleRead() {
      this.recv();
      throw new Error("spam");
    },
    handleError() {
      throw exit;
    },
  });
  channel.push("spam");
  assertStrictEquals(await assertRejects(() => loopToEnd(map)), exit);
  assertEquals([...map], [handler]);
  assertFalse(channel.closed);
});

Deno.test("loop() accepts an ExitNow from a subclass of it", async () => {
  const { map } = connected();
  class Quit extends ExitNow {}
  map.callLater(0, () => {
    throw new Quit("bye");
  });
  await assertRejects(() => loopToEnd(map), Quit, "bye");
});

Deno.test("Dispatcher is connected also when handleConnect() threw and handleError() forgave it", async () => {
  const { map, network, client } = connecting({
    handleConnect() {
      throw new Error("spam");
    },
    handleError() {},
  });
  const channel = new FakeChannel();
  network.succeed(channel);
  await passes(map, 3);
  assert(client.connected);
  assertEquals(client.trace, ["handleConnect", "handleError"]);
  client.send(bytes("spam"));
  await rest(map);
  assertEquals(channel.sent, "spam");
});

// What the others get

Deno.test("poll() gives the events that an ExitNow cut off in the next pass", async () => {
  const events = ["a reads", "b reads", "a writes", "b writes"];
  for (const from of events) {
    const { map } = setUp();
    const trace: string[] = [];
    for (const name of ["a", "b"]) {
      const visit = (what: string) => {
        trace.push(`${name} ${what}`);
        if (`${name} ${what}` === from) throw new ExitNow("enough");
      };
      const channel = new FakeChannel();
      recorder(map, channel, {
        writable: () => !trace.includes(`${name} writes`),
        handleRead() {
          assertEquals(this.recv().length, 4);
          visit("reads");
        },
        handleWrite: () => visit("writes"),
      });
      channel.push("spam");
    }
    await assertRejects(() => poll(0, map), ExitNow);
    assertEquals(trace.at(-1), from, "nothing runs after it");
    await poll(0, map);
    await poll(0, map);
    assertEquals(trace.toSorted(), events.toSorted(), "each comes once");
  }
});

Deno.test("poll() gives the others their events after an ExitNow from a predicate", async () => {
  let exits = 1;
  const { map } = connected({
    readable() {
      if (exits-- > 0) throw new ExitNow("enough");
      return true;
    },
  });
  const channel = new FakeChannel();
  const reader = recorder(map, channel);
  channel.push("spam");
  await assertRejects(() => poll(0, map), ExitNow);
  assertEquals(reader.received, "");
  await poll(0, map);
  assertEquals(reader.received, "spam");
});

Deno.test("poll() gives the others their events in the same pass after any other error", async () => {
  const { map, channel, handler } = connected({
    handleRead() {
      throw new Error("spam");
    },
  });
  const other = new FakeChannel();
  const reader = recorder(map, other);
  channel.push("spam");
  other.push("spam");
  await poll(0, map);
  assertEquals(handler.errors.length, 1);
  assertEquals(reader.received, "spam");
});

// Which event calls which hook

Deno.test("Dispatcher gets only the events that happened", async () => {
  let wanted = false;
  const { map, channel, handler } = connected({
    writable: () => wanted,
    handleWrite: () => void (wanted = false),
    handleAccept() {},
    handleExpt() {},
  });
  const events = () =>
    handler.trace.splice(0).filter((entry) => entry !== "writable");
  await passes(map, 3);
  assertEquals(events(), []);
  channel.push("spam");
  await passes(map, 3);
  assertEquals(events(), ["handleRead"]);
  wanted = true;
  await passes(map, 3);
  assertEquals(events(), ["handleWrite"]);
  channel.push(null);
  await passes(map, 3);
  assertEquals(events(), ["handleRead", "handleClose"]);
  assertEquals(map.size, 0);
});

// Classes that do not read

/** It has no handleRead(). */
class Deaf extends Dispatcher {
  closes = 0;
  unread = "";
  override handleClose(): void {
    this.closes++;
    try {
      this.unread = text(this.recv());
    } catch {
      // Nothing is left.
    }
  }
}

/** The same, but the loop asks it in each pass. */
class AskedDeaf extends Deaf {
  override readable(): boolean {
    return true;
  }
}

Deno.test("recv() outside a hook makes a class without handleRead() read on", async () => {
  for (const Class of [Deaf, AskedDeaf]) {
    const { map } = setUp();
    const channel = new FakeChannel();
    const handler = new Class(channel, { map });
    const buffer = new Uint8Array(8);
    for (const word of ["spam", "eggs", "rice", "more"]) {
      channel.push(word);
      await passes(map, 3);
      assertEquals(handler.recv(1), bytes(word.slice(0, 1)));
      assertEquals(handler.recvInto(buffer), 3);
      await passes(map, 2);
    }
  }
});

for (const cause of [null, new Deno.errors.ConnectionReset("spam")]) {
  for (const Class of [Deaf, AskedDeaf]) {
    const end = cause === null ? "the end" : "a reset";
    Deno.test(`handleClose() tells a class without handleRead() of ${end}: ${Class.name}`, async () => {
      const { map } = setUp();
      const channel = new FakeChannel();
      const handler = new Class(channel, { map });
      await passes(map, 2);
      channel.push(cause);
      await passes(map, 4);
      assertEquals(handler.closes, 1);
      assert(channel.closed);
      assertStrictEquals(handler.closeReason, cause);
    });
  }
}

Deno.test("handleClose() tells a class without handleRead() of the end behind bytes", async () => {
  await using map = new ScopedMap();
  const channel = new FakeChannel();
  const handler = new Deaf(channel, { map });
  channel.push("spam", "eggs", null);
  await rest(map);
  assertEquals(handler.closes, 1);
  assertEquals(handler.unread, "spameggs", "recv() still gives them");
  assert(channel.closed);
});

Deno.test("handleClose() tells a class without handleRead() of the end behind many bytes", async () => {
  const { map, clock } = setUp();
  const channel = new FakeChannel();
  const handler = new Deaf(channel, { map });
  for (let i = 0; i < 1_000; i++) channel.push("x".repeat(1_000));
  channel.push(null);
  await rest(map);
  await clock.advance(4_999);
  await rest(map);
  const { unread } = channel; // The peer waits for somebody who takes the bytes.
  assertGreater(unread, 900);
  await clock.advance(1);
  await loopUntil(map, () => handler.closes > 0);
  assert(handler.unread.length <= 65_536);
});

Deno.test("recv() within five seconds keeps all that waits for a class without handleRead()", async () => {
  const { map, clock } = setUp();
  const channel = new FakeChannel();
  const handler = new Dispatcher(channel, { map });
  channel.push("x".repeat(200_000));
  await rest(map);
  await clock.advance(3_000);
  let received = handler.recv(1).length;
  await rest(map);
  await clock.advance(60_000);
  await rest(map);
  for (; received < 200_000; await rest(map)) {
    received += handler.recv().length;
  }
  handler.abort();
});

Deno.test("handleClose() waits for bytes that a class without handleRead() takes elsewhere", async () => {
  await using map = new ScopedMap();
  const channel = new FakeChannel();
  const handler = new Deaf(channel, { map });
  channel.push("spam", "eggs", null);
  await passes(map, 1);
  assertEquals(handler.recv(2), bytes("sp"));
  await rest(map);
  assertEquals(handler.closes, 0);
  assertEquals(text(handler.recv()), "ameggs");
  await loopUntil(map, () => handler.closes > 0);
  assertEquals(handler.unread, "");
});
