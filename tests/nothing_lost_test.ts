import {
  assert,
  assertEquals,
  assertFalse,
  assertGreater,
  assertInstanceOf,
  assertLess,
} from "@std/assert";
import { Dispatcher, DispatcherWithSend, loop, poll } from "../mod.ts";
import {
  FakeChannel,
  loopToEnd,
  newSeed,
  passes,
  pattern,
  quietMap,
  randomFrom,
  Recorder,
  rest,
  watch,
} from "./fakes.ts";
import {
  connecting,
  gatedChannel,
  joined,
  openChannel,
  over,
  readAll,
  setUp,
} from "./scenes.ts";
import {
  bytes,
  connectedPair,
  loopUntil,
  PATIENCE,
  StrictDispatcher,
  text,
  turns,
} from "./support.ts";

/** Compares megabytes without printing them. */
function assertSameBytes(actual: Uint8Array, expected: Uint8Array): void {
  assertEquals(actual.length, expected.length);
  const at = actual.findIndex((byte, i) => byte !== expected[i]);
  assertEquals(at, -1, `differs at ${at}`);
}

// Closing with bytes on their way

for (const Sender of [Dispatcher, DispatcherWithSend]) {
  Deno.test(`${Sender.name}.close() after an 8 MiB send() reaches a reader that starts late`, async () => {
    const map = quietMap();
    const [conn, peer] = await connectedPair();
    const payload = pattern(8 * 1024 * 1024);
    const handler = new Sender(conn, { map });
    assertEquals(handler.send(payload), payload.length);
    handler.close();
    assertEquals(map.size, 0);
    assert(handler.closing);
    const reading = (async () => {
      await new Promise((resolve) => setTimeout(resolve, 300));
      const received = await readAll(peer);
      peer.close();
      return received;
    })();
    await loopToEnd(map);
    assertSameBytes(await reading, payload);
  });

  Deno.test(`${Sender.name}.close() lets out what was accepted, then closes; loop() ends after it`, async () => {
    const { clock, map } = setUp();
    const { channel, open } = gatedChannel();
    const handler = new Sender(channel, { map });
    handler.send(bytes("spam"));
    handler.send(bytes("eggs"));
    handler.close();
    assertEquals(map.size, 0);
    assert(handler.closing);
    assertFalse(handler.connected);
    const done = watch(loop({ map }));
    await clock.advance(1_000);
    assertFalse(done.settled);
    assertFalse(channel.closed);
    open();
    await turns();
    assert(done.settled);
    assertEquals(channel.sent, "spameggs");
    assert(channel.closed);
    assertFalse(handler.closing);
    assertEquals(clock.armed, 0);
  });

  Deno.test(`${Sender.name}.send() leaves the caller free to change the bytes`, async () => {
    const map = quietMap();
    const { channel, open } = gatedChannel();
    const handler = new Sender(channel, { map });
    const data = bytes("spam");
    for (const word of ["spam", "eggs", "rice"]) {
      data.set(bytes(word));
      handler.send(data);
    }
    const large = pattern(40_000);
    const copy = large.slice();
    handler.send(large);
    large.fill(0);
    data.fill(0);
    handler.close();
    open();
    await loopToEnd(map);
    const expected = await joined([bytes("spameggsrice"), copy]);
    assertSameBytes(await joined(channel.writes), expected);
  });

  Deno.test(`${Sender.name}.send() gathers small sends while a write is in flight`, async () => {
    const map = quietMap();
    const { channel, open } = gatedChannel();
    const handler = new Sender(channel, { map });
    for (let i = 0; i < 100; i++) handler.send(bytes("spam"));
    open();
    await turns();
    assertEquals(channel.sent, "spam".repeat(100));
    assert(channel.writeCalls <= 2, `${channel.writeCalls} writes`);
    handler.close();
  });

  Deno.test(`${Sender.name}.send() goes on after a partial write`, async () => {
    const seed = newSeed();
    const random = randomFrom(seed);
    const map = quietMap();
    const channel = new FakeChannel();
    channel.take = async (data) => {
      if (random() < 0.5) await turns();
      return 1 + Math.floor(random() * data.length);
    };
    const handler = new Sender(channel, { map });
    let expected = "";
    for (let i = 0; i < 200; i++) {
      const word = `<${i}>`.repeat(1 + Math.floor(random() * 50));
      if (handler.send(bytes(word)) > 0) expected += word;
      if (random() < 0.3) await poll(0, map);
    }
    handler.close();
    await loopToEnd(map);
    assertEquals(channel.sent === expected, true, `seed ${seed}`);
  });

  Deno.test(`${Sender.name} to which a channel takes no bytes gets an error, and no spin`, async () => {
    const map = quietMap();
    const channel = new FakeChannel();
    channel.take = () => 0;
    const errors: unknown[] = [];
    const handler = new Sender(channel, { map });
    handler.handleError = (error) => {
      errors.push(error);
      handler.close();
    };
    handler.send(bytes("spam"));
    await passes(map, 5);
    assertEquals(channel.writeCalls, 1);
    assertEquals(errors.length, 1);
    assertInstanceOf(errors[0], Deno.errors.WriteZero);
    assert(channel.closed);
  });
}

/** A dispatcher whose peer takes nothing, and that has something to send. */
function makeStuck() {
  const { channel, open } = gatedChannel();
  const scene = over(Recorder, {}, channel);
  scene.handler.send(bytes("spam"));
  return { ...scene, open };
}

Deno.test("Dispatcher.close() gives up on a real peer that never reads", async () => {
  const map = quietMap();
  const [ours, theirs] = await connectedPair();
  const [others, far] = await connectedPair();
  const patient = new Recorder(map, others, { linger: 10 * PATIENCE });
  const handler = new Recorder(map, ours, { linger: 50 });
  const started = performance.now();
  for (const one of [patient, handler]) {
    one.send(new Uint8Array(32 * 1024 * 1024));
    one.close();
  }
  await loopUntil(map, () => !handler.closing);
  assertGreater(performance.now() - started, 45);
  assert(patient.closing, "for as long as its own linger time says");
  patient.abort();
  far.close();
  await loopToEnd(map);
  assertEquals(handler.trace, []);
  theirs.close();
});

for (const when of ["", ", also after close()"]) {
  Deno.test(`Dispatcher.abort() drops what was not sent${when}`, async () => {
    const { map, channel, handler, clock } = makeStuck();
    const done = watch(loop({ map }));
    if (when) handler.close();
    await turns();
    assertFalse(done.settled);
    handler.abort();
    assert(channel.closed);
    assertEquals(map.size, 0);
    await turns();
    assert(done.settled);
    assertFalse(handler.closing);
    assertEquals(channel.sent, "");
    assertEquals(clock.armed, 0);
  });
}

Deno.test("loop({ signal }) returns although bytes are on their way, and loop() waits for them", async () => {
  const { map, channel, handler, open } = makeStuck();
  handler.close();
  const controller = new AbortController();
  const first = watch(loop({ map, signal: controller.signal }));
  await turns();
  controller.abort();
  await turns();
  assert(first.settled);
  const second = watch(loop({ map }));
  await turns();
  assertFalse(second.settled);
  open();
  await turns();
  assert(second.settled);
  assertEquals(channel.sent, "spam");
});

Deno.test("Dispatcher.close() outside its map still sends", async () => {
  const { map, channel, handler, open } = makeStuck();
  handler.delChannel();
  handler.close();
  const done = watch(loop({ map }));
  open();
  await turns();
  assertEquals(channel.sent, "spam");
  assert(channel.closed);
  assert(done.settled);
});

Deno.test("Dispatcher.close() is a no-op the second time", async () => {
  const { map, channel, handler, open } = makeStuck();
  handler.close();
  handler.close();
  open();
  await loopToEnd(map);
  handler.close();
  handler[Symbol.dispose]();
  handler.abort();
  assertEquals(channel.sent, "spam");
  new Dispatcher(null, { map }).close();
  assertEquals(map.size, 0);
});

Deno.test("Dispatcher.close() and the end of a using block leave a dispatcher that is over", () => {
  for (const end of ["close", Symbol.dispose] as const) {
    const { channel, handler, map } = over(Recorder);
    handler[end]();
    const { connected, accepting, connecting, closing } = handler;
    assert(!connected && !accepting && !connecting && !closing);
    assertEquals(handler.socket, null);
    assertEquals(handler.send(bytes("spam")), 0);
    assertEquals(handler.recv().length, 0);
    assert(channel.closed);
    assertEquals(map.size, 0);
  }
});

// Closing while connecting

function unexpected(): never {
  throw new Error("not expected");
}

/** A client that has accepted bytes, and is closed while it connects. */
async function closeWhileConnecting() {
  const scene = setUp();
  const client = new DispatcherWithSend(null, { map: scene.map });
  client.handleConnect = client.handleError = client.handleClose = unexpected;
  connecting(client);
  assertEquals(client.send(bytes("spam")), 4);
  client.close();
  const done = watch(loop({ map: scene.map }));
  await turns();
  return { ...scene, client, done };
}

Deno.test("DispatcherWithSend.close() while connecting sends what was accepted", async () => {
  const { network, map, client, done } = await closeWhileConnecting();
  assert(client.closing);
  assertFalse(done.settled);
  assertFalse(network.signals[0]!.aborted);
  const channel = new FakeChannel();
  network.succeed(channel);
  await turns();
  assertEquals(channel.sent, "spam");
  assert(channel.closed);
  assert(done.settled);
  map.check();
});

Deno.test("DispatcherWithSend.close() while connecting aborts after the linger time", async () => {
  const { network, clock, map, done } = await closeWhileConnecting();
  await clock.advance(4_999);
  assertFalse(network.signals[0]!.aborted);
  await clock.advance(1);
  assert(network.signals[0]!.aborted);
  await turns();
  assert(done.settled);
  map.check();
});

Deno.test("DispatcherWithSend.close() sends although the finished connect was not dispatched", async () => {
  const { map, network } = setUp();
  const client = connecting(new DispatcherWithSend(null, { map }));
  client.send(bytes("spam"));
  const channel = new FakeChannel();
  network.succeed(channel);
  await turns();
  client.close();
  await loopToEnd(map);
  assertEquals(channel.sent, "spam");
  assert(channel.closed);
});

// No hook after close()

const READY = {
  bytes: "spam",
  "the end": null,
  "a reset": new Deno.errors.ConnectionReset("x"),
  "an error": new Error(),
};

for (const [what, ready] of Object.entries(READY)) {
  Deno.test(`Dispatcher gets no hook after close(), though ${what} was ready`, async () => {
    const { clock, map, channel, handler } = over(StrictDispatcher);
    const other = new Recorder(map, new FakeChannel());
    await passes(map, 1);
    handler.handleWrite = unexpected;
    handler.callLater(0, unexpected);
    handler.send(bytes("spam"));
    channel.push(ready);
    await turns();
    handler.close();
    await passes(map, 5);
    await clock.advance(10_000);
    map.check();
    other.close();
  });
}

Deno.test("handleClose() runs once, whichever way the connection ends twice", async () => {
  const { clock, map, channel, handler } = over(Recorder);
  channel.take = () => Promise.reject(new Deno.errors.BrokenPipe("spam"));
  let closes = 0;
  handler.handleClose = () => {
    closes++;
    handler.recv();
    assert(handler.connected, "it is this hook that closes");
    handler.close();
    handler.recv();
  };
  handler.send(bytes("spam"));
  channel.push(null);
  watch(loop({ map }));
  await clock.advance(1_000);
  assertEquals([closes, map.size, map.errors], [1, 0, []]);
});

// What the peer has yet to receive

/** Reads only while it wants to. */
class Moody extends Recorder {
  wants = true;
  override readable(): boolean {
    return this.wants;
  }
}

Deno.test("Dispatcher.close() ends the writing direction and reads what nobody wants", async () => {
  const { clock, map, channel, handler } = over(Moody, {}, openChannel());
  handler.wants = false;
  handler.send(bytes("answer"));
  await turns();
  channel.push("unread");
  const done = watch(loop({ map }));
  handler.close();
  assert(handler.closing);
  await turns();
  assert(channel.writeEnded);
  assertEquals(channel.unread, 0);
  assertFalse(channel.closed);
  for (const more of ["more", "and more"]) {
    await clock.advance(4_900);
    assertFalse(channel.closed, "a peer that talks gets time to stop");
    channel.push(more);
    await turns();
    assertEquals(channel.unread, 0);
  }
  assertFalse(done.settled);
  channel.push(null);
  await turns();
  assert(channel.closed);
  assert(done.settled);
  assertEquals(handler.trace, []);
  assertEquals(clock.armed, 0);
});

Deno.test("Dispatcher.close() waits for nothing when the peer has ended its side", async () => {
  const { map, channel, handler } = over(Recorder);
  handler.send(bytes("answer"));
  channel.push(null);
  await turns();
  await passes(map, 1);
  handler.close();
  assert(channel.closed);
  assertFalse(handler.closing);
});

// Sending

Deno.test("Dispatcher.send() takes nothing while 64 KiB are on their way", async () => {
  const { channel, open } = gatedChannel();
  const { handler, map } = over(Recorder, {}, channel);
  const data = new Uint8Array(64 * 1024);
  let writes = 0;
  handler.handleWrite = () => void writes++;
  assertEquals(handler.send(data), data.length);
  assertEquals(handler.send(data), 0);
  watch(loop({ map }));
  await turns();
  assertEquals(writes, 0);
  open();
  await turns();
  assertEquals(writes, 1);
  assertEquals(handler.send(data), data.length);
  await turns();
  assertEquals(channel.writes.length, 2);
});

// Receiving

Deno.test("recv() gives bytes that later reads leave alone", async () => {
  const random = randomFrom(newSeed());
  const { map, channel, handler } = over(Recorder);
  const kept: Uint8Array[] = [];
  handler.handleRead = () => {
    const size = 1 + Math.floor(random() * 3_000);
    kept.push(random() < 0.7 ? handler.recv() : handler.recv(size));
  };
  const edges = [1_024, 2_048, 8_192, 65_536].flatMap((n) => [n - 1, n, n + 1]);
  const sizes = [1, 2, 40_000, ...edges];
  const sent = Array.from({ length: 200 }, (_, i) => {
    const size = sizes[Math.floor(random() * sizes.length)]!;
    return pattern(size).map((byte) => byte ^ i);
  });
  channel.push(...sent, null);
  await loopToEnd(map);
  assertSameBytes(await joined(kept), await joined(sent));
});

Deno.test("recv() gives bytes that the caller may change", async () => {
  const { map, channel, handler } = over(Recorder);
  const kept: string[] = [];
  handler.handleRead = () => {
    const data = handler.recv(4);
    kept.push(text(data));
    data.fill(0);
    new Uint8Array(data.buffer).fill(0);
  };
  channel.push("spameggsrice");
  await rest(map);
  assertEquals(kept, ["spam", "eggs", "rice"]);
  handler.close();
});

Deno.test("recv(size) that leaves bytes brings another handleRead(), without a read", async () => {
  const { map, channel, handler } = over(Recorder);
  const kept: string[] = [];
  handler.handleRead = () => void kept.push(text(handler.recv(3)));
  channel.push("0123456789");
  await passes(map, 4);
  assertEquals(kept, ["012", "345", "678", "9"]);
  await passes(map, 3);
  assertEquals(kept.length, 4);
  assertEquals(channel.reads, 2);
  handler.close();
});

Deno.test("recvInto() fills the target and leaves the rest for another handleRead()", async () => {
  const { map, channel, handler } = over(Recorder);
  const kept: string[] = [];
  const target = new Uint8Array(4);
  handler.handleRead = () => {
    const length = handler.recvInto(target);
    kept.push(text(target.subarray(0, length)));
  };
  channel.push("0123456789", "xy", null);
  await rest(map);
  assertEquals(kept, ["0123", "4567", "89", "xy", ""]);
  assertEquals(handler.trace, ["handleClose"]);
});

Deno.test("recv() twice in one handleRead() says that nothing waits", async () => {
  const { map, channel, handler } = over(Recorder);
  handler.handleRead = () => {
    handler.recv();
    handler.recv();
  };
  channel.push("spam");
  await passes(map, 3);
  assertInstanceOf(handler.errors[0], Deno.errors.WouldBlock);
});

Deno.test("Dispatcher that is not readable() holds at most one buffer", async () => {
  const { map, channel, handler } = over(Moody);
  handler.wants = false;
  channel.push("a", "b", "c", "d");
  await passes(map, 5);
  assertEquals(channel.reads, 0);
  handler.wants = true;
  await passes(map, 1);
  assertEquals(handler.received, "a");
  await passes(map, 1);
  handler.wants = false;
  await passes(map, 5);
  const { received } = handler;
  assert(channel.reads - received.length <= 1, "more than one read ahead");
  assertEquals(handler.received, received);
  handler.wants = true;
  await passes(map, 5);
  assertEquals(handler.received, "abcd");
});

Deno.test("Dispatcher delivers later what arrived while it was not readable()", async () => {
  const { map, channel, handler } = over(Moody);
  await passes(map, 1); // A read is in flight.
  handler.wants = false;
  channel.push("spam", null);
  await passes(map, 5);
  assertEquals(handler.trace, []);
  assertEquals(channel.reads, 1);
  handler.wants = true;
  await passes(map, 4);
  assertEquals(handler.received, "spam");
  assertEquals(handler.trace, ["handleRead", "handleRead", "handleClose"]);
});

Deno.test("Dispatcher that is not readable() closes the window of a real peer", async () => {
  const map = quietMap();
  const [ours, theirs] = await connectedPair();
  const payload = pattern(16 * 1024 * 1024);
  const kept: Uint8Array[] = [];
  const handler = new Moody(map, ours);
  handler.handleRead = () => void kept.push(handler.recv());
  handler.wants = false;
  let written = 0;
  const writing = (async () => {
    while (written < payload.length) {
      written += await theirs.write(payload.subarray(written));
    }
    theirs.close();
  })();
  for (let before = -1; before !== written;) {
    before = written;
    await poll(50, map);
  }
  assertLess(written, payload.length, "the peer could send everything");
  assertEquals(kept, []);
  handler.wants = true;
  await Promise.all([writing, loopToEnd(map)]);
  assertSameBytes(await joined(kept), payload);
});

// A connection that broke

/** A loop over a dispatcher whose connection breaks as it writes. */
async function breakWhileSending() {
  const scene = over(Moody);
  const gone = new Deno.errors.BrokenPipe("spam");
  scene.channel.take = () => Promise.reject(gone);
  watch(loop({ map: scene.map }));
  await turns();
  return scene;
}

Deno.test("Dispatcher delivers the last bytes of a broken connection before handleClose()", async () => {
  const { clock, map, channel, handler } = await breakWhileSending();
  handler.send(bytes("spam"));
  await clock.advance(10);
  assertEquals(handler.trace, []);
  channel.push("last ");
  await turns();
  channel.push("words", null);
  await clock.advance(1_000);
  assertEquals(handler.received, "last words");
  assertEquals(handler.trace.at(-1), "handleClose");
  assertEquals(handler.count("handleClose"), 1);
  assertEquals(map.size, 0);
});

Deno.test("Dispatcher reads a connection that broke before the loop has looked at it", async () => {
  const map = quietMap();
  const pass = poll(0, map);
  const channel = new FakeChannel();
  channel.take = () => Promise.reject(new Deno.errors.BrokenPipe("spam"));
  channel.push("eggs", null);
  const handler = new Moody(map, channel);
  handler.send(bytes("spam"));
  await pass;
  await loopToEnd(map);
  assertEquals(handler.received, "eggs");
  assertEquals(handler.count("handleClose"), 1);
});

Deno.test("Dispatcher delivers last bytes that come as the wait for them ends", async () => {
  const { clock, map, channel, handler } = await breakWhileSending();
  handler.send(bytes("spam"));
  await turns();
  // This thread was busy: it sees the timer first, and the read a turn later.
  clock.skip(300);
  map.wake();
  setImmediate(() => channel.push("late", null));
  await turns();
  assertEquals(handler.received, "late");
  assertEquals(handler.count("handleClose"), 1);
  assertEquals(map.size, 0);
});

Deno.test("Dispatcher delivers bytes that it held when the connection broke", async () => {
  const { clock, map, channel, handler } = await breakWhileSending();
  handler.wants = false;
  channel.push("held");
  await clock.advance(10);
  handler.send(bytes("spam"));
  await turns();
  handler.wants = true;
  map.wake();
  await clock.advance(1_000);
  assertEquals(handler.received, "held");
  assertEquals(handler.trace, ["handleRead", "handleClose"]);
});

Deno.test("Dispatcher delivers the last bytes of a connection that broke while a hook was pending", async () => {
  const { clock, map, channel, handler } = await breakWhileSending();
  const hook = Promise.withResolvers<void>();
  const { handleRead } = handler;
  handler.handleRead = () => {
    handler.handleRead = handleRead;
    handler.recv();
    return hook.promise;
  };
  channel.push("first");
  await turns();
  channel.push("last words"); // and nobody reads meanwhile
  handler.send(bytes("spam"));
  await turns();
  hook.resolve();
  await clock.advance(1_000);
  assertEquals(handler.received, "last words");
  assertEquals(handler.trace, ["handleRead", "handleClose"]);
  assertEquals(map.size, 0);
});

Deno.test("Dispatcher of a broken and silent connection gets handleClose() soon", async () => {
  const { clock, map, handler } = await breakWhileSending();
  handler.send(bytes("spam"));
  await clock.advance(1_000);
  assertEquals(handler.trace, ["handleClose"]);
  assertEquals(map.size, 0);
});

Deno.test("Dispatcher delivers what a real peer sent before it went away", async () => {
  const map = quietMap();
  const [ours, theirs] = await connectedPair();
  await theirs.write(bytes("good bye"));
  theirs.close();
  const handler = new Recorder(map, ours);
  handler.handleWrite = () => void handler.send(new Uint8Array(1024));
  await loopToEnd(map);
  assertEquals(handler.received, "good bye");
  assertEquals(handler.count("handleClose"), 1);
  assertEquals(handler.errors, []);
});

Deno.test("Dispatcher that echoes at full speed loses and reorders nothing", async () => {
  const random = randomFrom(newSeed());
  const map = quietMap();
  const [ours, theirs] = await connectedPair();
  const payload = pattern(3 * 1024 * 1024);
  const copier = new DispatcherWithSend(ours, { map });
  copier.handleRead = () => {
    copier.send(copier.recv(1 + Math.floor(random() * 100_000)));
  };
  const reading = readAll(theirs);
  const talk = async () => {
    for (let at = 0; at < payload.length;) {
      const end = at + 1 + Math.floor(random() * 50_000);
      at += await theirs.write(payload.subarray(at, end));
    }
    await theirs.closeWrite();
  };
  await Promise.all([talk(), loopToEnd(map)]);
  assertSameBytes(await reading, payload);
  theirs.close();
});

Deno.test("a reader held back by what it sends has the last bytes before a failed write is told", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const gate = Promise.withResolvers<never>();
  channel.take = () => gate.promise;
  const trace: string[] = [];
  const full = new DispatcherWithSend(channel, { map, highWaterMark: 4 });
  full.writable = () => true; // So its predicates are asked.
  full.handleRead = () => void trace.push(text(full.recv()));
  full.handleClose = () => {
    trace.push("handleClose");
    full.close();
  };
  full.send(bytes("spam"));
  await passes(map, 3);
  channel.push("eggs", null);
  gate.reject(new Deno.errors.BrokenPipe("its peer has closed"));
  await loopToEnd(map);
  assertEquals(trace, ["eggs", "handleClose"]);
});
