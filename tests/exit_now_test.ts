/** An ExitNow leaves the loop; what it leaves behind must not spoil the next one. */

import { assert, assertEquals, assertFalse, assertRejects } from "@std/assert";
import { Dispatcher, ExitNow, loop, poll } from "../mod.ts";
import {
  Echo,
  FakeAcceptor,
  FakeChannel,
  FakeNetwork,
  loopToEnd,
  quietMap,
  Recorder,
} from "./fakes.ts";
import { channels, connecting } from "./scenes.ts";
import { bytes, type TestMap, turns } from "./support.ts";

/** Leaves the loop from the hook that a test says, once. */
class Leaver extends Recorder {
  leaveIn = "";

  protected override note(hook: string): void {
    super.note(hook);
    if (hook !== this.leaveIn) return;
    this.leaveIn = "";
    throw new ExitNow(hook);
  }
}

/** The same, with a predicate to be asked. */
class AskedLeaver extends Leaver {
  override readable(): boolean {
    return !this.connected;
  }
}

/** What ends a dispatcher, and which hooks hear of it. */
const ENDS: [
  string,
  string[],
  (leaver: Leaver, network: FakeNetwork) => void,
][] = [
  [
    "a refused connect",
    ["handleError", "handleClose"],
    (leaver, network) => {
      connecting(leaver);
      network.fail(new Deno.errors.ConnectionRefused("spam"));
    },
  ],
  ["a listener that fails", ["handleError", "handleClose"], (leaver) => {
    const acceptor = new FakeAcceptor();
    acceptor.push(new Error("spam"));
    leaver.setSocket(acceptor);
  }],
  ["a broken connection", ["handleClose"], (leaver) => {
    const channel = new FakeChannel();
    channel.take = () => Promise.reject(new Deno.errors.BrokenPipe("spam"));
    leaver.setSocket(channel);
    leaver.send(bytes("x"));
  }],
];

for (const Class of [Leaver, AskedLeaver]) {
  for (const [end, hooks, start] of ENDS) {
    for (const hook of hooks) {
      Deno.test(`ExitNow from ${hook}() after ${end} leaves nobody behind: ${Class.name}`, async () => {
        const network = new FakeNetwork();
        const map = quietMap({ network });
        const leaver = new Class(map);
        leaver.leaveIn = hook;
        start(leaver, network);
        const { socket } = leaver;
        await assertRejects(() => loopToEnd(map), ExitNow, hook);
        await loopToEnd(map, 1_000);
        assertEquals(map.size, 0);
        assertEquals(leaver.trace, hooks, "each once");
        assertFalse(leaver.connecting || leaver.accepting || leaver.connected);
        if (socket instanceof FakeChannel) assert(socket.closed);
      });
    }
  }
}

Deno.test("ExitNow from onError() leaves no open dispatcher", async () => {
  const map = quietMap();
  map.onError = () => {
    throw new ExitNow("enough");
  };
  const channel = new FakeChannel();
  const hopeless = new Dispatcher(channel, { map });
  hopeless.handleRead = hopeless.handleError = () => {
    throw new Error("spam");
  };
  channel.push("x");
  await assertRejects(() => loopToEnd(map), ExitNow, "enough");
  assertEquals(map.size, 0);
  assert(channel.closed);
});

/** Closes itself in a hook whose promise is the test's. */
function closeIn(map: TestMap, settle: () => Promise<void>): void {
  const channel = new FakeChannel();
  const leaver = new Dispatcher(channel, { map });
  leaver.handleRead = () => {
    leaver.close();
    return settle();
  };
  channel.push("x");
}

Deno.test("ExitNow of an async hook that has closed the last dispatcher comes from that loop()", async () => {
  const map = quietMap();
  closeIn(map, () => Promise.reject(new ExitNow("at once")));
  await assertRejects(() => loopToEnd(map), ExitNow, "at once");
  await loopToEnd(map); // once
  map.check();
});

for (const isAlone of [false, true]) {
  const who = isAlone ? "though nobody is left" : "which leaves the others";
  Deno.test(`ExitNow of a hook whose loop() has returned comes from the next one, ${who}`, async () => {
    const map = quietMap();
    const gate = Promise.withResolvers<void>();
    closeIn(map, () => gate.promise);
    await loopToEnd(map);
    gate.reject(new ExitNow("late"));
    await turns();
    const others = isAlone ? [] : [new Dispatcher(new FakeChannel(), { map })];
    await assertRejects(() => loop({ map }), ExitNow, "late");
    assert(others.every(({ connected }) => connected));
    await poll(0, map);
    map.check();
  });
}

Deno.test("ExitNow in a pass in which another has moved leaves nobody unheard", async () => {
  const [map, other] = [quietMap(), quietMap()];
  const read = (act: (reader: Recorder) => void) => {
    const channel = new FakeChannel();
    channel.push("spam", null);
    const reader = new Recorder(map, channel);
    const { handleRead } = reader;
    reader.handleRead = () => {
      handleRead.call(reader);
      if (reader.count("handleRead") === 1) act(reader);
    };
    return reader;
  };
  read((mover) => mover.addChannel(other));
  read(() => {
    throw new ExitNow("spam");
  });
  const third = read(() => {});
  await assertRejects(() => loopToEnd(map), ExitNow, "spam");
  assertEquals(third.received, "");
  await loopToEnd(map);
  await loopToEnd(other);
  assertEquals(third.received, "spam");
});

Deno.test("ExitNow from handleAccepted() leaves its connection to whoever took it", async () => {
  for (const isAsync of [false, true]) {
    const map = quietMap();
    const acceptor = new FakeAcceptor();
    const server = new Dispatcher(acceptor, { map });
    server.handleAccepted = (conn) => {
      new Echo(conn, { map });
      server.close();
      if (isAsync) return Promise.reject(new ExitNow("served"));
      throw new ExitNow("served");
    };
    const client = new FakeChannel();
    acceptor.push(client);
    await assertRejects(() => loopToEnd(map), ExitNow, "served");
    assertFalse(client.closed);
    client.push("spam", null);
    await loopToEnd(map);
    assertEquals(client.sent, "spam");
  }
});

Deno.test("ExitNow from handleAccepted() leaves the other clients of a crowd", async () => {
  const map = quietMap();
  const acceptor = new FakeAcceptor();
  let taken = 0;
  const server = new Dispatcher(acceptor, { map });
  server.handleAccepted = () => {
    if (++taken === 3) server.close();
    throw new ExitNow("served");
  };
  const clients = channels(3);
  acceptor.push(...clients);
  for (let i = 0; i < 3; i++) {
    await assertRejects(() => loopToEnd(map), ExitNow, "served");
  }
  await loopToEnd(map);
  assertEquals(taken, 3);
  assert(clients.every(({ closed }) => !closed));
});
