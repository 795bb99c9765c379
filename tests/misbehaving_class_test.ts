/**
 * Classes that override what the library itself asks, and throw there: they cost
 * their own connection.
 */

import { assert, assertEquals } from "@std/assert";
import {
  AsyncChat,
  closeAll,
  DatagramDispatcher,
  Dispatcher,
  DispatcherWithSend,
  loop,
  shutdown,
} from "../mod.ts";
import { MockClock } from "../testing/mock_clock.ts";
import {
  Echo,
  FakeAcceptor,
  FakeChannel,
  FakeNetwork,
  LogLines,
  quietMap,
  watch,
} from "./fakes.ts";
import {
  type Any,
  assertServed,
  FAILURES,
  ODDITIES,
  rest,
  SPAM,
} from "./misbehaviours.ts";
import { bytes, captureRejections, type TestMap, turns } from "./support.ts";

/** What a class can have a getter for. */
const NAMES = [
  ...["addr", "connected", "accepting", "connecting", "closing", "socket"],
  ...["closeReason", "map", "clientsGone", "bufferedAmount", "highWaterMark"],
  ...["acInBufferSize", "acOutBufferSize", "maxLength"],
  ...["debug", "ignoreLogTypes", "logger", "log", "logInfo", "toString"],
  ...["readable", "writable", "handleConnectEvent", "handleConnect"],
  ...["handleReadEvent", "handleRead", "handleWriteEvent", "handleWrite"],
  ...["handleAccept", "handleAccepted", "handleEnd", "handleDrain"],
  ...["handleTimeout", "handleShutdown", "handleClose", "handleError"],
  ...["collectIncomingData", "foundTerminator", "handleOverflow"],
  ...["close", "abort", "send", "recv", "shutdownWrite", "constructor"],
];

const CLASSES: Record<string, (map: TestMap) => Dispatcher> = {
  Dispatcher: (map) => new Echo(null, { map, idleTimeout: 5_000 }),
  DispatcherWithSend: (map) => {
    class Sender extends DispatcherWithSend {
      override handleRead(): void {
        this.send(this.recv());
      }
    }
    return new Sender(null, { map, idleTimeout: 5_000, highWaterMark: 2 });
  },
  AsyncChat: (map) => {
    class Chat extends AsyncChat {
      override collectIncomingData(data: Uint8Array): void {
        this.push(data);
      }
    }
    return new Chat(null, { map, idleTimeout: 5_000, highWaterMark: 2 });
  },
};

/** Has everything that asks for `name` fail from now on. */
function spoil(dispatcher: Dispatcher, name: string): void {
  const get = () => {
    throw SPAM;
  };
  Object.defineProperty(dispatcher, name, { get, configurable: true });
}

/** What a class is asked in, and what has to come of it. */
const POINTS: Record<
  string,
  (victim: Dispatcher, map: TestMap, clock: MockClock) => unknown
> = {
  "while it is open": async (victim) => {
    await turns();
    if (victim instanceof AsyncChat) {
      victim.pushWithProducer({ more: () => turns().then(() => "") });
    }
  },
  "when it is silent": (_, __, clock) => rest(clock),
  "in closeAll()": (_, map) => closeAll(map, true),
  "in shutdown()": async (_, map, clock) => {
    const ending = watch(shutdown({ map, deadline: 1_000 }));
    await rest(clock);
    assert(ending.settled, "shutdown() has not ended");
    assertEquals(ending.error, undefined);
  },
};

/** A life of a class whose getter `name` throws from early on, or later. */
async function live(
  make: (map: TestMap) => Dispatcher,
  play: typeof POINTS[string],
  name: string,
  isEarly: boolean,
): Promise<void> {
  using rejections = captureRejections();
  const clock = new MockClock();
  const map = quietMap({ clock, logger: new LogLines() });
  const victim = make(map);
  const channel = new FakeChannel();
  victim.setSocket(channel);
  const neighbour = new FakeChannel();
  const echo = new Echo(neighbour, { map });
  if (isEarly) spoil(victim, name);
  const ending = watch(loop({ map }));
  if (!isEarly) spoil(victim, name);
  channel.push("spam");
  try {
    await play(victim, map, clock);
  } catch (error) {
    assertEquals(error, SPAM, "told to the caller");
  }
  channel.push("eggs", null);
  await rest(clock);
  if (map.size > 1) await assertServed(neighbour);
  Dispatcher.prototype.close.call(victim);
  echo.close();
  await rest(clock);
  assert(ending.settled, "the loop has not ended");
  assertEquals(ending.error, undefined);
  assertEquals([map.size, map.lingering], [0, 0]);
  assert(channel.closed, "it is left open");
  for (const error of map.errors) assertEquals(error, SPAM);
  assertEquals(rejections.reasons, []);
}

for (const [className, make] of Object.entries(CLASSES)) {
  for (const [when, play] of Object.entries(POINTS)) {
    Deno.test(`${className} whose getters throw ${when} costs its own connection`, async () => {
      for (const name of NAMES) {
        for (const isEarly of [true, false]) {
          try {
            await live(make, play, name, isEarly);
          } catch (error) {
            throw new Error(`${name}, early: ${isEarly}`, { cause: error });
          }
        }
      }
    });
  }
}

for (const [className, make] of Object.entries(CLASSES)) {
  Deno.test(`${className} whose getters throw while it connects costs its own connection`, async () => {
    for (const name of NAMES) {
      using rejections = captureRejections();
      const clock = new MockClock();
      const network = new FakeNetwork();
      const map = quietMap({ clock, network, logger: new LogLines() });
      const victim = make(map);
      victim.createSocket();
      victim.connect({ port: 7 });
      const neighbour = new FakeChannel();
      const echo = new Echo(neighbour, { map });
      const ending = watch(loop({ map }));
      try {
        await turns();
        spoil(victim, name);
        const channel = new FakeChannel();
        network.succeed(channel);
        channel.push("spam");
        await rest(clock);
        await assertServed(neighbour);
        Dispatcher.prototype.close.call(victim);
        echo.close();
        await rest(clock);
        assert(ending.settled, "the loop has not ended");
        assertEquals([ending.error, map.size], [undefined, 0]);
        assert(channel.closed, "it is left open");
        assertEquals(rejections.reasons, []);
      } catch (error) {
        throw new Error(name, { cause: error });
      }
    }
  });
}

Deno.test("Dispatcher whose getters throw while it listens costs its own listener", async () => {
  for (const name of NAMES) {
    using rejections = captureRejections();
    const clock = new MockClock();
    const map = quietMap({ clock, logger: new LogLines() });
    const acceptor = new FakeAcceptor();
    const server = new Dispatcher(acceptor, { map });
    const neighbour = new FakeChannel();
    const echo = new Echo(neighbour, { map });
    const ending = watch(loop({ map }));
    try {
      spoil(server, name);
      const client = new FakeChannel();
      acceptor.push(client);
      await rest(clock);
      await assertServed(neighbour);
      echo.close();
      const ended = watch(shutdown({ map, deadline: 1_000 }));
      await rest(clock);
      assert(ended.settled && ending.settled, "it has not ended");
      assertEquals([ended.error, ending.error], [undefined, undefined]);
      assert(acceptor.closed && client.closed, "it is left open");
      assertEquals(rejections.reasons, []);
    } catch (error) {
      throw new Error(name, { cause: error });
    }
  }
});

// What hooks give

const HOOKS = [
  ...["handleRead", "handleWrite", "handleConnect", "handleEnd"],
  ...["handleTimeout", "handleShutdown", "handleClose", "handleError", "close"],
] as const;

/** What `handleError()` does with that. */
const HANDLINGS = [
  ...["as by default", "does nothing", "closes", "reconnects"],
  ...["throws", "rejects"],
];

for (const hook of HOOKS) {
  Deno.test(`Dispatcher whose ${hook}() gives a thenable that misbehaves costs its own connection`, async () => {
    for (
      const [name, instead] of Object.entries({ ...FAILURES, ...ODDITIES })
    ) {
      for (const handling of HANDLINGS) {
        using rejections = captureRejections();
        const clock = new MockClock();
        const map = quietMap({ clock, logger: new LogLines() });
        class Victim extends Echo {
          override handleRead(): void {
            if (this.recv().length > 0) this.send(bytes("eggs"));
          }
          override handleError(error: unknown): Any {
            if (handling === "throws") throw error;
            if (handling === "rejects") return Promise.reject(error);
            if (handling === "does nothing") return;
            if (handling === "as by default") return super.handleError(error);
            const closing = this.close();
            if (handling === "reconnects" && sockets.length < 3) {
              if (!this.socket) this.setSocket(open());
            }
            return closing;
          }
          override handleClose(): void {
            return this.close();
          }
        }
        const options = { map, idleTimeout: 5_000, allowHalfOpen: true };
        const victim = new Victim(null, options);
        const well = (victim[hook] as Any).bind(victim);
        (victim as Any)[hook] = (...args: Any[]) => {
          // What is not taken brings another event at once, as in Python.
          if (hook === "handleRead") well();
          return instead(() => well(...args), Promise.resolve());
        };
        const sockets: FakeChannel[] = [];
        const open = () => {
          const channel = new FakeChannel();
          channel.push("spam", null);
          sockets.push(channel);
          return channel;
        };
        victim.setSocket(open());
        const neighbour = new FakeChannel();
        const echo = new Echo(neighbour, { map });
        const ending = watch(loop({ map }));
        await rest(clock);
        await assertServed(neighbour);
        const ended = watch(shutdown({ map, deadline: 1_000 }));
        await rest(clock);
        echo.close();
        const what = `${name}, handleError() ${handling}`;
        assert(ended.settled && ending.settled, what);
        assertEquals([ended.error, ending.error], [undefined, undefined], what);
        assertEquals([map.size, map.lingering], [0, 0], what);
        assert(sockets.every(({ closed }) => closed), what);
        assertEquals(rejections.reasons, [], what);
      }
    }
  });
}

Deno.test("Dispatcher whose close() misbehaves after an async handleClose() is closed nevertheless", async () => {
  for (const [name, instead] of Object.entries({ ...FAILURES, ...ODDITIES })) {
    using rejections = captureRejections();
    const clock = new MockClock();
    const map = quietMap({ clock, logger: new LogLines() });
    class Victim extends Dispatcher {
      override handleRead(): void {
        this.recv();
      }
      override async handleClose(): Promise<void> {
        await turns();
      }
      override close(): Any {
        return instead(() => super.close(), Promise.resolve());
      }
    }
    const channel = new FakeChannel();
    new Victim(channel, { map });
    const neighbour = new FakeChannel();
    const echo = new Echo(neighbour, { map });
    const ending = watch(loop({ map }));
    channel.push(null);
    await rest(clock);
    assert(channel.closed, name);
    await assertServed(neighbour);
    echo.close();
    await rest(clock);
    assert(ending.settled, name);
    assertEquals([ending.error, rejections.reasons], [undefined, []], name);
  }
});

Deno.test("AsyncChat whose readable() throws while a hook is pending is told after it", async () => {
  using rejections = captureRejections();
  const clock = new MockClock();
  const map = quietMap({ clock, logger: new LogLines() });
  const gate = Promise.withResolvers<void>();
  const errors: unknown[] = [];
  let lines = 0;
  class Chat extends AsyncChat {
    override collectIncomingData(): void {}
    override foundTerminator(): void | Promise<void> {
      this.pushWithProducer(["answer"]);
      // So many producers in a row: the next pass goes on with them.
      if (++lines === 256) return gate.promise;
    }
    override readable(): boolean {
      if (lines >= 256) throw SPAM;
      return true;
    }
    override handleError(error: unknown): void {
      errors.push(error);
      this.close();
    }
  }
  const channel = new FakeChannel();
  channel.take = () => new Promise<number>(() => {});
  const chat = new Chat(channel, { map });
  chat.acOutBufferSize = 1_000_000;
  chat.highWaterMark = 2;
  chat.setTerminator("\n");
  const ending = watch(loop({ map }));
  channel.push("spam\n".repeat(200), "spam\n".repeat(200));
  await turns();
  assertEquals([lines, errors, map.errors], [256, [], []]);
  gate.resolve();
  await rest(clock);
  assertEquals(errors, [SPAM]);
  assert(channel.closed && ending.settled);
  assertEquals([map.errors, rejections.reasons], [[], []]);
});

Deno.test("using a Dispatcher whose close() rejects tells onError()", async () => {
  using rejections = captureRejections();
  const map = quietMap();
  class Victim extends Dispatcher {
    override close(): Any {
      super.close();
      return Promise.reject(SPAM);
    }
  }
  {
    using _ = new Victim(new FakeChannel(), { map });
  }
  await turns();
  assertEquals(map.errors, [SPAM]);
  assertEquals(rejections.reasons, []);
});

Deno.test("DispatcherWithSend.debug survives a logInfo() that rejects", async () => {
  using rejections = captureRejections();
  const map = quietMap();
  class Victim extends DispatcherWithSend {
    override debug = true;
    override logInfo(): Any {
      return Promise.reject(SPAM);
    }
  }
  const channel = new FakeChannel();
  const victim = new Victim(channel, { map });
  victim.send(bytes("spam"));
  await turns();
  assertEquals(map.errors, [SPAM]);
  assertEquals(channel.sent, "spam");
  assertEquals(rejections.reasons, []);
  victim.abort();
});

Deno.test("startTls() that is refused and not awaited ends no process, whatever the class", async () => {
  using rejections = captureRejections();
  const log = new LogLines();
  const map = quietMap({ logger: log });
  const chat = new AsyncChat(new FakeChannel(), { map });
  chat.pushWithProducer({ more: () => new Promise<string>(() => {}) });
  chat.startTls({ hostname: "localhost" });
  chat.abort();
  chat.startTls({ hostname: "localhost" });
  new DatagramDispatcher(null, { map }).startTls();
  new Dispatcher(null, { map }).startTls();
  await turns();
  assertEquals(rejections.reasons, []);
  const warnings = log.lines.filter((line) =>
    line.includes("was refused startTls()")
  );
  assertEquals(warnings.length, 4);
});
