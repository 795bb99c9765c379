/**
 * Channels that misbehave in each way, at each point of a connection's life:
 * nothing goes unhandled, the neighbour is served, the loop ends, and the
 * dispatcher is told where it can be.
 */

import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { type Channel, Dispatcher, type Network, shutdown } from "../mod.ts";
import { FakeAcceptor, FakeChannel, passes, Recorder } from "./fakes.ts";
import {
  type Any,
  FAILURES,
  FALSE_PROMISE,
  HANGS,
  type Instead,
  ODDITIES,
  SHY,
  SPAM,
  Trial,
  tryEach,
} from "./misbehaviours.ts";
import { connected, recorder, setUp } from "./setups.ts";
import { bytes, type TestMap, text, turns } from "./support.ts";

/** Answers that are no number of bytes. */
const NONSENSE: Record<string, Instead> = {
  "gives nothing": () => undefined,
  "gives a number": () => 7,
  "gives an object": () => ({}),
  ...Object.fromEntries(
    [NaN, -1, 1e9, 0.5, "text", undefined, Symbol("spam"), 10n, {}, SHY].map(
      (value, i) => [
        `resolves with nonsense ${i}`,
        () => Promise.resolve(value),
      ],
    ),
  ),
};

/** Where an operation's answer is a number, or a promise of anything. */
const COUNTS = new Set(["read", "write"]);
type Operation = "read" | "write" | "closeWrite" | "close" | "handshake";

/** How an operation may misbehave. */
interface Way {
  name: string;
  instead: Instead;
  fails: boolean;
  hangs: boolean;
}

function waysOf(operation: Operation): Way[] {
  const ways = (kind: Record<string, Instead>, fails = false, hangs = false) =>
    Object.entries(kind).map(([name, instead]) => {
      return { name, instead, fails, hangs };
    });
  return [
    ...ways(FAILURES, true),
    ...operation === "handshake" ? [] : ways(FALSE_PROMISE, true),
    ...ways(NONSENSE, COUNTS.has(operation)),
    ...ways(HANGS, false, true),
    ...ways(ODDITIES),
  ];
}

/** A channel of which one operation misbehaves, once `isBad`. */
class BadChannel extends FakeChannel {
  isBad = false;
  readonly #end = Promise.withResolvers<void>();

  constructor(operation: Operation, instead: Instead) {
    super();
    const self = this as Any;
    const well = (self[operation] ?? (() => Promise.resolve())).bind(this);
    self[operation] = (...args: Any[]) =>
      this.isBad
        ? instead(() => well(...args), this.#end.promise)
        : well(...args);
  }

  override close(): void {
    this.#end.resolve();
    super.close();
  }
}

/** A connection beside a neighbour, in a loop. */
interface Scene {
  trial: Trial;
  channel: BadChannel;
  victim: Recorder;
}

/** What the library is at when the channel begins to misbehave. */
interface Point {
  play(scene: Scene): void | Promise<void>;
  /** Whose failures `handleError()` is told. */
  tells?: Operation[];
}

const EGGS = bytes("eggs");

const POINTS: Record<string, Point> = {
  "while it is open": {
    async play({ channel, victim }) {
      channel.push("ham"); // The read in flight still does well.
      await turns();
      channel.push("ham");
      await turns();
      victim.send(EGGS);
    },
    tells: ["read", "write"],
  },
  "while it is sending": {
    play({ channel, victim }) {
      channel.isBad = false;
      channel.take = () => turns().then(() => 1);
      victim.send(EGGS);
      channel.isBad = true;
    },
    tells: ["write"],
  },
  "in shutdownWrite()": {
    play({ victim }) {
      victim.send(EGGS);
      victim.shutdownWrite();
    },
    tells: ["write", "closeWrite"],
  },
  "after close()": {
    async play({ channel, victim }) {
      channel.staysOpen = true;
      victim.send(EGGS);
      victim.close();
      await turns();
      channel.push("ham");
    },
  },
  "after close() that finds a reader": {
    async play({ channel, victim }) {
      channel.isBad = false;
      victim.send(EGGS);
      await turns();
      channel.isBad = true;
      victim.close();
    },
  },
  "in abort()": {
    play({ victim }) {
      victim.send(EGGS);
      victim.abort();
    },
  },
  "in shutdown()": {
    play({ victim, trial }) {
      victim.send(EGGS);
      return trial.shutDown();
    },
  },
};

for (const [when, { play, tells = [] }] of Object.entries(POINTS)) {
  for (const operation of ["read", "write", "closeWrite", "close"] as const) {
    Deno.test(`Channel whose ${operation}() misbehaves ${when} costs its own dispatcher`, async () => {
      await tryEach(waysOf(operation), async ({ instead, fails }) => {
        using trial = new Trial();
        const channel = new BadChannel(operation, instead);
        const victim = new Recorder(trial.map, channel);
        await trial.begin();
        channel.isBad = true;
        await play({ trial, channel, victim });
        await trial.rest();
        const told = [...victim.errors];
        await trial.end(victim);
        assertEquals(trial.clock.armed, 0);
        assertEquals(trial.map.errors, [], "onError() was told");
        if (operation !== "close") assert(channel.closed, "it is left open");
        const isTold = fails && tells.includes(operation);
        assertEquals(told.length, isTold ? 1 : 0, "told");
        for (const error of told) assertInstanceOf(error, Error);
        if (isTold) assertEquals(victim.trace.at(-1), "handleClose");
        if (operation === "write" && fails && when === "after close()") {
          const { lines } = trial.log;
          const lost = lines.filter((line) => line.includes("lost 4"));
          assertEquals(lost.length, 1, "what is lost is warned of");
        }
      });
    });
  }
}

// Counts that are wrong

for (
  const [operation, kind] of [
    ["read", RangeError],
    ["write", Deno.errors.WriteZero],
  ] as const
) {
  Deno.test(`Channel.${operation}() that gives an impossible count brings one error that shows it, and no spin`, async () => {
    await tryEach([NaN, -1, 1e9], async (count) => {
      let calls = 0;
      const channel = Object.assign(new FakeChannel(), {
        [operation]: () => Promise.resolve(++calls < 50 ? count : null),
      });
      const { map } = setUp();
      const handler = new Recorder(map, channel);
      handler.send(bytes("spam"));
      await passes(map, 5);
      assertEquals([calls, handler.errors.length], [1, 1]);
      const [error] = handler.errors;
      assertInstanceOf(error, kind);
      assert(error.message.includes(`${count}`));
      assertEquals(handler.closeReason, error);
      assertEquals([channel.closed, map.errors], [true, []]);
    });
  });
}

Deno.test("Channel.write() that takes more than it was given is found out though more was gathered", async () => {
  const { map, channel, handler } = connected();
  const gate = Promise.withResolvers<number>();
  channel.write = () => gate.promise;
  handler.send(bytes("spam"));
  handler.send(bytes("eggs")); // in the same buffer, not yet given
  gate.resolve(6);
  await passes(map, 3);
  assertInstanceOf(handler.errors[0], Deno.errors.WriteZero);
});

Deno.test("Channel.read() that says too much is told to a class that does not read", async () => {
  const { map } = setUp();
  const errors: unknown[] = [];
  const channel = new FakeChannel();
  channel.read = () => Promise.resolve(1e9);
  const deaf = new Dispatcher(channel, { map });
  deaf.handleError = (error) => void errors.push(error);
  await passes(map, 5);
  assertEquals(errors.length, 1);
  assertInstanceOf(errors[0], RangeError);
  assert(channel.closed);
});

// The handshake

/** A network that hands over `channel`, by `connect()` or `startTls()`. */
function networkOf(channel: Channel): Network {
  const give = () => Promise.resolve(channel);
  return { connect: give, listen: () => new FakeAcceptor(), startTls: give };
}

/** Begins TLS with the first line that it hears, and awaits nothing. */
function beginTls(map: TestMap): Recorder {
  const plain = new FakeChannel();
  plain.push("go");
  return recorder(map, plain, {
    handleRead() {
      if (text(this.recv()) !== "go") return;
      this.startTls({ hostname: "localhost" });
    },
  });
}

/** Where a channel shakes hands. */
const HANDSHAKES: Record<
  string,
  (map: TestMap, channel: Channel) => Recorder
> = {
  "connect()": (map) => {
    const client = new Recorder(map);
    client.createSocket();
    client.connect({ port: 7 });
    return client;
  },
  "accept()": (map, channel) => {
    const acceptor = new FakeAcceptor();
    acceptor.push(channel);
    return new Recorder(map, acceptor);
  },
  "startTls()": beginTls,
};

/** How a handshake ends that is not waited for. */
const GIVE_UPS: Record<string, (victim: Dispatcher) => void> = {
  "close()": (victim) => victim.close(),
  "abort()": (victim) => victim.abort(),
  "shutdown()": ({ map }) => void shutdown({ map }),
};

/** A channel at its handshake, which misbehaves. */
async function shakeHands(
  begin: typeof HANDSHAKES[string],
  { instead }: Way,
  giveUp: (victim: Dispatcher) => void = () => {},
) {
  const channel = new BadChannel("handshake", instead);
  channel.isBad = true;
  using trial = new Trial({ network: networkOf(channel) });
  const victim = begin(trial.map, channel);
  await trial.begin();
  giveUp(victim);
  await trial.rest();
  const told = [...victim.errors];
  await trial.end(victim);
  assertEquals(trial.clock.armed, 0);
  assertEquals(trial.map.errors, [], "onError() was told");
  assert(channel.closed, "it is left open");
  return { told, victim };
}

for (const [name, begin] of Object.entries(HANDSHAKES)) {
  Deno.test(`Channel whose handshake() misbehaves at ${name} costs its own dispatcher`, async () => {
    await tryEach(waysOf("handshake"), async (way) => {
      const { told, victim } = await shakeHands(begin, way);
      const isOver = way.fails || way.hangs;
      const isAccepted = name === "accept()";
      assertEquals(told.length, isOver && !isAccepted ? 1 : 0, "told");
      for (const error of told) assertInstanceOf(error, Error);
      if (isAccepted) assertEquals(victim.clientsGone > 0, isOver);
    });
  });

  for (const [end, giveUp] of Object.entries(GIVE_UPS)) {
    Deno.test(`Channel whose handshake() misbehaves at ${name} is closed by ${end}`, async () => {
      await tryEach(waysOf("handshake"), async (way) => {
        await shakeHands(begin, way, giveUp);
      });
    });
  }
}

for (const operation of ["read", "write", "close"] as const) {
  Deno.test(`Channel whose ${operation}() misbehaves after startTls() costs its own dispatcher`, async () => {
    await tryEach(waysOf(operation), async (way) => {
      const secured = new BadChannel(operation, way.instead);
      secured.isBad = true;
      using trial = new Trial({ network: networkOf(secured) });
      const victim = beginTls(trial.map);
      await trial.begin();
      await trial.rest();
      secured.push("ham");
      victim.send(EGGS);
      await trial.rest();
      const isTold = way.fails && operation !== "close";
      assertEquals(victim.errors.length, isTold ? 1 : 0);
      await trial.end(victim);
      assertEquals(trial.map.errors, []);
    });
  });
}

// What a channel says of itself

const GETTERS: Record<string, () => unknown> = {
  remoteAddr: () => ({ transport: "tcp", hostname: "127.0.0.1", port: 7 }),
  chunkSize: () => 10,
  closeWrite: () => FakeChannel.prototype.closeWrite,
  handshake: () => undefined,
};

for (const [name, value] of Object.entries(GETTERS)) {
  for (const [when, { play }] of Object.entries(POINTS)) {
    Deno.test(`Channel whose ${name} throws later is as good as any other ${when}`, async () => {
      using trial = new Trial();
      const channel = new BadChannel("read", (well) => well());
      let isAsked = false;
      Object.defineProperty(channel, name, {
        get() {
          if (isAsked) throw SPAM;
          return value();
        },
      });
      const victim = new Recorder(trial.map, channel);
      await trial.begin();
      isAsked = name !== "closeWrite"; // That one is looked up to be called.
      await play({ trial, channel, victim });
      await trial.end(victim);
      assertEquals([victim.errors, trial.map.errors], [[], []]);
      assertEquals(trial.clock.armed, 0);
      assert(channel.closed);
    });
  }
}

Deno.test("Channel whose chunkSize throws later is given as much as any other", () => {
  const chunkSize = 64 * 1024;
  let isAsked = false;
  const channel = Object.defineProperty(new FakeChannel(), "chunkSize", {
    get() {
      if (isAsked) throw SPAM;
      isAsked = true;
      return chunkSize;
    },
  });
  const dispatcher = new Dispatcher(channel);
  const send = () => dispatcher.send(new Uint8Array(chunkSize));
  assertEquals([send(), send(), send()], [chunkSize, chunkSize, 0]);
  dispatcher.abort();
});

Deno.test("Channel that asks its dispatcher to close in each operation is closed once", async () => {
  const operations = ["read", "write", "closeWrite", "close"] as const;
  await tryEach(operations, async (operation) => {
    using trial = new Trial();
    const victim = new Recorder(trial.map);
    const channel = new BadChannel(operation, (well) => {
      victim.close();
      victim.abort();
      return well();
    });
    victim.setSocket(channel);
    await trial.begin();
    channel.isBad = true;
    channel.push("ham");
    await turns();
    if (victim.connected) victim.send(EGGS);
    if (victim.connected) victim.shutdownWrite();
    await trial.end(victim);
    assertEquals(trial.map.errors, []);
    assert(channel.closed);
  });
});
