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
  shutdown,
} from "../mod.ts";
import { WAKE } from "../core/symbols.ts";
import { Echo, FakeAcceptor, FakeChannel, FakeNetwork } from "./fakes.ts";
import {
  type Any,
  assertServed,
  FAILURES,
  type Instead,
  ODDITIES,
  SPAM,
  Trial,
  tryEach,
} from "./misbehaviours.ts";
import { bytes, type TestMap, turns } from "./support.ts";

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

class Sender extends DispatcherWithSend {
  override handleRead(): void {
    this.send(this.recv());
  }
}
class Chat extends AsyncChat {
  override collectIncomingData(data: Uint8Array): void {
    this.push(data);
  }
}
const LIMITS = { idleTimeout: 5_000, highWaterMark: 2 };

const CLASSES: Record<string, (map: TestMap) => Dispatcher> = {
  Dispatcher: (map) => new Echo(null, { map, idleTimeout: 5_000 }),
  DispatcherWithSend: (map) => new Sender(null, { map, ...LIMITS }),
  AsyncChat: (map) => new Chat(null, { map, ...LIMITS }),
};

/** Has everything that asks for `name` fail from now on. */
function spoil(dispatcher: Dispatcher, name: string): void {
  const get = () => {
    throw SPAM;
  };
  Object.defineProperty(dispatcher, name, { get, configurable: true });
}

/** What a class is asked in, and what has to come of it. */
const POINTS: Record<string, (victim: Dispatcher, trial: Trial) => unknown> = {
  "while it is open": async (victim) => {
    await turns();
    if (victim instanceof AsyncChat) {
      victim.pushWithProducer({ more: () => turns().then(() => "") });
    }
  },
  "when it is silent": (_, trial) => trial.rest(),
  "in closeAll()": (_, { map }) => closeAll(map, true),
  "in shutdown()": (_, trial) => trial.shutDown(),
};

/** A life of a class whose getter `name` throws from early on, or later. */
async function live(
  make: (map: TestMap) => Dispatcher,
  play: typeof POINTS[string],
  name: string,
  isEarly: boolean,
): Promise<void> {
  using trial = new Trial();
  const victim = make(trial.map);
  const channel = new FakeChannel();
  victim.setSocket(channel);
  if (isEarly) spoil(victim, name);
  const beginning = trial.begin();
  if (!isEarly) spoil(victim, name);
  channel.push("spam");
  try {
    await play(victim, trial);
  } catch (error) {
    assertEquals(error, SPAM, "told to the caller");
  }
  await beginning;
  channel.push("eggs", null);
  await trial.rest();
  await trial.end(victim);
  assert(channel.closed, "it is left open");
  for (const error of trial.map.errors) assertEquals(error, SPAM);
}

for (const [className, make] of Object.entries(CLASSES)) {
  for (const [when, play] of Object.entries(POINTS)) {
    Deno.test(`${className} whose getters throw ${when} costs its own connection`, async () => {
      await tryEach(NAMES, async (name) => {
        await live(make, play, name, true);
        await live(make, play, name, false);
      });
    });
  }

  Deno.test(`${className} whose getters throw while it connects costs its own connection`, async () => {
    await tryEach(NAMES, async (name) => {
      const network = new FakeNetwork();
      using trial = new Trial({ network });
      const victim = make(trial.map);
      victim.createSocket();
      victim.connect({ port: 7 });
      await trial.begin();
      spoil(victim, name);
      const channel = new FakeChannel();
      network.succeed(channel);
      channel.push("spam");
      await trial.rest();
      await trial.end(victim);
      assert(channel.closed, "it is left open");
    });
  });
}

Deno.test("Dispatcher whose getters throw while it listens costs its own listener", async () => {
  await tryEach(NAMES, async (name) => {
    using trial = new Trial();
    const acceptor = new FakeAcceptor();
    const server = new Dispatcher(acceptor, { map: trial.map });
    const beginning = trial.begin();
    spoil(server, name);
    const client = new FakeChannel();
    acceptor.push(client);
    await beginning;
    await trial.rest();
    await assertServed(trial.neighbour);
    trial.echo.close();
    await trial.shutDown();
    await trial.end();
    assert(acceptor.closed && client.closed, "it is left open");
  });
});

// What hooks give

const HOOKS = [
  ...["handleRead", "handleWrite", "handleConnect", "handleEnd"],
  ...["handleTimeout", "handleShutdown", "handleClose", "handleError", "close"],
] as const;

/** What `handleError()` does with that. */
const HANDLINGS = [
  ...["acts as by default", "does nothing", "closes", "reconnects"],
  ...["throws", "rejects"],
];

/** What they give. */
const BAD = Object.entries({ ...FAILURES, ...ODDITIES });

type Hook = typeof HOOKS[number];

/** A connection one hook of which gives something instead of its promise. */
class Victim extends Echo {
  readonly channels: FakeChannel[] = [];
  readonly #handling: string;

  constructor(map: TestMap, hook: Hook, instead: Instead, handling: string) {
    super(null, { map, idleTimeout: 5_000, allowHalfOpen: true });
    this.#handling = handling;
    const well = (this[hook] as Any).bind(this);
    (this as Any)[hook] = (...args: Any[]) => {
      // What is not taken brings another event at once, as in Python.
      if (hook === "handleRead") well();
      return instead(() => well(...args), Promise.resolve());
    };
    this.open();
  }
  open(): void {
    const channel = new FakeChannel();
    channel.push("spam", null);
    this.channels.push(channel);
    this.setSocket(channel);
  }
  override handleRead(): void {
    if (this.recv().length > 0) this.send(bytes("eggs"));
  }
  override handleError(error: unknown): Any {
    if (this.#handling === "throws") throw error;
    if (this.#handling === "rejects") return Promise.reject(error);
    if (this.#handling === "does nothing") return;
    if (this.#handling === "acts as by default") {
      return super.handleError(error);
    }
    const closing = this.close();
    if (this.#handling === "reconnects" && this.channels.length < 3) {
      if (!this.socket) this.open();
    }
    return closing;
  }
  override handleClose(): void {
    return this.close();
  }
}

for (const hook of HOOKS) {
  for (const handling of HANDLINGS) {
    Deno.test(`Dispatcher whose ${hook}() gives a thenable that misbehaves, with a handleError() that ${handling}, costs its own connection`, async () => {
      await tryEach(BAD, async ([, instead]) => {
        using trial = new Trial();
        const victim = new Victim(trial.map, hook, instead, handling);
        await trial.begin();
        await trial.rest();
        await assertServed(trial.neighbour);
        await trial.shutDown();
        await trial.end();
        assert(victim.channels.every(({ closed }) => closed));
      });
    });
  }
}

Deno.test("Dispatcher whose close() misbehaves after an async handleClose() is closed nevertheless", async () => {
  await tryEach(BAD, async ([, instead]) => {
    using trial = new Trial();
    class Late extends Dispatcher {
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
    new Late(channel, { map: trial.map });
    await trial.begin();
    channel.push(null);
    await trial.rest();
    assert(channel.closed);
    await trial.end();
  });
});

Deno.test("AsyncChat whose readable() throws while a hook is pending is told after it", async () => {
  using trial = new Trial();
  const { map } = trial;
  const gate = Promise.withResolvers<void>();
  const errors: unknown[] = [];
  let lines = 0;
  class Producing extends AsyncChat {
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
  const chat = new Producing(channel, { map });
  chat.acOutBufferSize = 1_000_000;
  chat.highWaterMark = 2;
  chat.setTerminator("\n");
  await trial.begin();
  channel.push("spam\n".repeat(200), "spam\n".repeat(200));
  await turns();
  assertEquals([lines, errors, map.errors], [256, [], []]);
  gate.resolve();
  await trial.rest();
  assertEquals(errors, [SPAM]);
  assert(channel.closed);
  await trial.end();
  assertEquals(map.errors, []);
});

Deno.test("using a Dispatcher whose close() rejects tells onError()", async () => {
  using trial = new Trial();
  const { map } = trial;
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
  assertEquals(trial.rejections.reasons, []);
});

Deno.test("DispatcherWithSend.debug survives a logInfo() that rejects", async () => {
  using trial = new Trial();
  const { map } = trial;
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
  assertEquals(trial.rejections.reasons, []);
  victim.abort();
});

Deno.test("initiateSend() that rejects tells onError(), whoever calls it", async () => {
  using trial = new Trial();
  const { map } = trial;
  const rejecting = (): Any => Promise.reject(SPAM);
  const sender = new Sender(new FakeChannel(), { map });
  const chat = new Chat(new FakeChannel(), { map });
  for (const victim of [sender, chat]) victim.initiateSend = rejecting;
  sender.send("spam");
  chat.push("spam");
  sender.handleWrite();
  chat.handleWrite();
  await turns();
  assertEquals(map.errors.splice(0), [SPAM, SPAM, SPAM, SPAM]);
  assertEquals(trial.rejections.reasons, []);
  sender.abort();
  chat.abort();
});

Deno.test("initiateSend() that rejects when the gate opens tells onError()", async () => {
  using trial = new Trial();
  const { map } = trial;
  class Gated extends Sender {
    override writable(): boolean {
      return false;
    }
  }
  const sender = new Gated(new FakeChannel(), { map });
  sender.send("spam");
  sender.initiateSend = (): Any => Promise.reject(SPAM);
  sender[WAKE]();
  await turns();
  assertEquals(map.errors.splice(0), [SPAM]);
  assertEquals(trial.rejections.reasons, []);
  sender.abort();
});

Deno.test("handleEnd() of a class whose shutdownWrite() rejects tells handleError()", async () => {
  using trial = new Trial();
  const { map } = trial;
  const errors: unknown[] = [];
  class Victim extends Echo {
    override shutdownWrite(): Any {
      return Promise.reject(SPAM);
    }
    override handleError(error: unknown): void {
      errors.push(error);
      this.close();
    }
  }
  const channel = new FakeChannel();
  new Victim(channel, { map, allowHalfOpen: true });
  await trial.begin();
  channel.push(null);
  await trial.rest();
  assertEquals([errors, trial.rejections.reasons], [[SPAM], []]);
  await trial.end();
});

Deno.test("handleShutdown() of a chat whose closeWhenDone() rejects tells handleError()", async () => {
  using trial = new Trial();
  const { map } = trial;
  const errors: unknown[] = [];
  class Victim extends Chat {
    override closeWhenDone(): Any {
      return Promise.reject(SPAM);
    }
    override handleError(error: unknown): void {
      errors.push(error);
      this.close();
    }
  }
  new Victim(new FakeChannel(), { map });
  await shutdown({ map });
  assertEquals([errors, trial.rejections.reasons], [[SPAM], []]);
});

Deno.test("startTls() that is refused and not awaited ends no process, whatever the class", async () => {
  using trial = new Trial();
  const { map, log } = trial;
  const chat = new AsyncChat(new FakeChannel(), { map });
  chat.pushWithProducer({ more: () => new Promise<string>(() => {}) });
  chat.startTls({ hostname: "localhost" });
  chat.abort();
  chat.startTls({ hostname: "localhost" });
  new DatagramDispatcher(null, { map }).startTls();
  new Dispatcher(null, { map }).startTls();
  await turns();
  assertEquals(trial.rejections.reasons, []);
  const warnings = log.lines.filter((line) =>
    line.includes("was refused startTls()")
  );
  assertEquals(warnings.length, 4);
});
