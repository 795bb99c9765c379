/**
 * Channels that misbehave in each way, at each point of a connection's life:
 * nothing goes unhandled, the neighbour is served, the loop ends, and the
 * dispatcher is told where it can be.
 */

import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import {
  type Channel,
  Dispatcher,
  loop,
  type Network,
  shutdown,
} from "../mod.ts";
import { MockClock } from "../testing/mock_clock.ts";
import {
  Echo,
  FakeAcceptor,
  FakeChannel,
  LogLines,
  quietMap,
  Recorder,
  watch,
} from "./fakes.ts";
import {
  type Any,
  assertServed,
  FAILURES,
  FALSE_PROMISE,
  HANGS,
  type Instead,
  ODDITIES,
  rest,
  SHY,
  SPAM,
} from "./misbehaviours.ts";
import { bytes, captureRejections, type TestMap, turns } from "./support.ts";

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
  map: TestMap;
  clock: MockClock;
  log: LogLines;
  channel: BadChannel;
  victim: Recorder;
}

/** What the library is at when the channel begins to misbehave. */
interface Point {
  name: string;
  play(scene: Scene): Promise<void>;
  /** Whose failures `handleError()` is told. */
  tells: Operation[];
  /** What could not be sent is warned of. */
  warns?: boolean;
}

const POINTS: Point[] = [
  {
    name: "while it is open",
    async play({ channel, victim }) {
      channel.push("ham"); // The read in flight still does well.
      await turns();
      channel.push("ham");
      await turns();
      victim.send(bytes("eggs"));
      await turns();
      await turns(); // What fails later has waited as long.
    },
    tells: ["read", "write"],
  },
  {
    name: "while it is sending",
    async play({ channel, victim, clock }) {
      channel.isBad = false;
      channel.take = () => turns().then(() => 1);
      victim.send(bytes("eggs"));
      channel.isBad = true;
      await rest(clock);
    },
    tells: ["write"],
  },
  {
    name: "in shutdownWrite()",
    async play({ victim, clock }) {
      victim.send(bytes("eggs"));
      victim.shutdownWrite();
      await rest(clock);
    },
    tells: ["write", "closeWrite"],
  },
  {
    name: "after close()",
    async play({ channel, victim, clock }) {
      channel.staysOpen = true;
      victim.send(bytes("eggs"));
      victim.close();
      await turns();
      channel.push("ham");
      await rest(clock);
    },
    tells: [],
    warns: true,
  },
  {
    name: "after close() that finds a reader",
    async play({ channel, victim, clock }) {
      channel.isBad = false;
      victim.send(bytes("eggs"));
      await turns();
      channel.isBad = true;
      victim.close();
      await rest(clock);
    },
    tells: [],
  },
  {
    name: "in abort()",
    async play({ victim, clock }) {
      victim.send(bytes("eggs"));
      victim.abort();
      await rest(clock);
    },
    tells: [],
  },
  {
    name: "in shutdown()",
    async play({ map, victim, clock }) {
      victim.send(bytes("eggs"));
      const other = new Dispatcher(new FakeChannel(), { map });
      const ending = watch(shutdown({ map, deadline: 30_000 }));
      await rest(clock);
      assert(ending.settled, "shutdown() has not ended");
      assertEquals(ending.error, undefined);
      assert(!other.connected);
    },
    tells: [],
  },
];

/** A life with a channel that misbehaves from one point on. */
async function live(point: Point, operation: Operation, way: Way) {
  using rejections = captureRejections();
  const clock = new MockClock();
  const log = new LogLines();
  const map = quietMap({ clock, logger: log });
  const channel = new BadChannel(operation, way.instead);
  const victim = new Recorder(map, channel);
  const neighbour = new FakeChannel();
  const echo = new Echo(neighbour, { map });
  const ending = watch(loop({ map }));
  await turns();
  channel.isBad = true;
  await point.play({ map, clock, log, channel, victim });
  const told = [...victim.errors];
  if (echo.connected) await assertServed(neighbour);
  victim.close();
  echo.close();
  await rest(clock);
  assert(ending.settled, "the loop has not ended");
  assertEquals(ending.error, undefined);
  assertEquals([map.size, map.lingering, clock.armed], [0, 0, 0]);
  assertEquals(rejections.reasons, []);
  assertEquals(map.errors, [], "onError() was told");
  if (operation !== "close") assert(channel.closed, "it is left open");
  return { told, trace: victim.trace, log };
}

for (const point of POINTS) {
  for (const operation of ["read", "write", "closeWrite", "close"] as const) {
    Deno.test(`Channel whose ${operation}() misbehaves ${point.name} costs its own dispatcher`, async () => {
      for (const way of waysOf(operation)) {
        try {
          const { told, trace, log } = await live(point, operation, way);
          const isTold = way.fails && point.tells.includes(operation);
          assertEquals(told.length, isTold ? 1 : 0, "told");
          for (const error of told) assertInstanceOf(error, Error);
          if (isTold) assertEquals(trace.at(-1), "handleClose");
          if (operation === "write" && way.fails && point.warns) {
            const lost = log.lines.filter((line) => line.includes("lost 4"));
            assertEquals(lost.length, 1, "what is lost is warned of");
          }
        } catch (error) {
          throw new Error(`${operation}() ${way.name}`, { cause: error });
        }
      }
    });
  }
}

// The handshake

/** A network that hands over `channel`, by `connect()` or `startTls()`. */
function networkOf(channel: Channel): Network {
  const listen = () => {
    throw new Error("not expected");
  };
  const give = () => Promise.resolve(channel);
  return { connect: give, listen, startTls: give };
}

/** Begins TLS with the first line that it hears, and awaits nothing. */
class TlsClient extends Recorder {
  override handleRead(): void {
    super.handleRead();
    if (this.received === "go") this.startTls({ hostname: "localhost" });
  }
}

/** Where a channel shakes hands, and whether `handleError()` hears of it. */
const HANDSHAKES: Record<
  string,
  { isTold: boolean; begin(map: TestMap, channel: Channel): Recorder }
> = {
  "connect()": {
    isTold: true,
    begin(map) {
      const client = new Recorder(map);
      client.createSocket();
      client.connect({ port: 7 });
      return client;
    },
  },
  "accept()": {
    isTold: false,
    begin(map, channel) {
      const acceptor = new FakeAcceptor();
      acceptor.push(channel);
      return new Recorder(map, acceptor);
    },
  },
  "startTls()": {
    isTold: true,
    begin(map) {
      const plain = new FakeChannel();
      plain.push("go");
      return new TlsClient(map, plain);
    },
  },
};

/** How a handshake ends that is not waited for. */
const GIVE_UPS: Record<string, (victim: Dispatcher) => void> = {
  "close()": (victim) => victim.close(),
  "abort()": (victim) => victim.abort(),
  "shutdown()": ({ map }) => void shutdown({ map }),
};

/** A channel at its handshake, which misbehaves. */
async function shakeHands(
  { begin }: typeof HANDSHAKES[string],
  { instead }: Way,
  giveUp: (victim: Dispatcher) => void = () => {},
) {
  using rejections = captureRejections();
  const clock = new MockClock();
  const channel = new BadChannel("handshake", instead);
  channel.isBad = true;
  const map = quietMap({ clock, network: networkOf(channel) });
  const neighbour = new FakeChannel();
  const echo = new Echo(neighbour, { map });
  const victim = begin(map, channel);
  const ending = watch(loop({ map }));
  await turns();
  giveUp(victim);
  await rest(clock);
  const { errors, connected } = victim;
  const told = [...errors];
  if (echo.connected) await assertServed(neighbour);
  victim.close();
  echo.close();
  await rest(clock);
  assert(ending.settled, "the loop has not ended");
  assertEquals(ending.error, undefined);
  assertEquals([map.size, map.lingering, clock.armed], [0, 0, 0]);
  assertEquals(rejections.reasons, []);
  assertEquals(map.errors, [], "onError() was told");
  return { told, connected, channel, victim };
}

for (const [name, place] of Object.entries(HANDSHAKES)) {
  Deno.test(`Channel whose handshake() misbehaves at ${name} costs its own dispatcher`, async () => {
    for (const way of waysOf("handshake")) {
      try {
        const { told, channel, victim } = await shakeHands(place, way);
        const isOver = way.fails || way.hangs;
        assertEquals(told.length, isOver && place.isTold ? 1 : 0, "told");
        for (const error of told) assertInstanceOf(error, Error);
        assert(channel.closed, "it is left open");
        if (name === "accept()") assertEquals(victim.clientsGone > 0, isOver);
      } catch (error) {
        throw new Error(`handshake() ${way.name}`, { cause: error });
      }
    }
  });

  for (const [end, giveUp] of Object.entries(GIVE_UPS)) {
    Deno.test(`Channel whose handshake() misbehaves at ${name} is closed by ${end}`, async () => {
      for (const way of waysOf("handshake")) {
        try {
          const { channel } = await shakeHands(place, way, giveUp);
          assert(channel.closed, "it is left open");
        } catch (error) {
          throw new Error(`handshake() ${way.name}`, { cause: error });
        }
      }
    });
  }
}

for (const operation of ["read", "write", "close"] as const) {
  Deno.test(`Channel whose ${operation}() misbehaves after startTls() costs its own dispatcher`, async () => {
    for (const way of waysOf(operation)) {
      using rejections = captureRejections();
      const clock = new MockClock();
      const secured = new BadChannel(operation, way.instead);
      secured.isBad = true;
      const map = quietMap({ clock, network: networkOf(secured) });
      const plain = new FakeChannel();
      plain.push("go");
      const victim = new TlsClient(map, plain);
      const ending = watch(loop({ map }));
      await rest(clock);
      secured.push("ham");
      victim.send(bytes("eggs"));
      await rest(clock);
      const isTold = way.fails && operation !== "close";
      assertEquals(victim.errors.length, isTold ? 1 : 0, way.name);
      victim.close();
      await rest(clock);
      assert(ending.settled, way.name);
      assertEquals(rejections.reasons, [], way.name);
      assertEquals(map.errors, [], way.name);
    }
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
  for (const point of POINTS) {
    Deno.test(`Channel whose ${name} throws later is as good as any other ${point.name}`, async () => {
      using rejections = captureRejections();
      const clock = new MockClock();
      const log = new LogLines();
      const map = quietMap({ clock, logger: log });
      const channel = new BadChannel("read", (well) => well());
      let isAsked = false;
      Object.defineProperty(channel, name, {
        get() {
          if (isAsked) throw SPAM;
          return value();
        },
      });
      const victim = new Recorder(map, channel);
      const ending = watch(loop({ map }));
      await turns();
      isAsked = name !== "closeWrite"; // That one is looked up to be called.
      await point.play({ map, clock, log, channel, victim });
      victim.close();
      await rest(clock);
      assert(ending.settled, "the loop has not ended");
      assertEquals([ending.error, victim.errors], [undefined, []]);
      assertEquals([map.size, map.lingering, clock.armed], [0, 0, 0]);
      assertEquals([rejections.reasons, map.errors], [[], []]);
      assert(channel.closed);
    });
  }
}

Deno.test("Channel that asks its dispatcher to close in each operation is closed once", async () => {
  for (const operation of ["read", "write", "closeWrite", "close"] as const) {
    using rejections = captureRejections();
    const clock = new MockClock();
    const map = quietMap({ clock });
    const victim = new Recorder(map);
    const channel = new BadChannel(operation, (well) => {
      victim.close();
      victim.abort();
      return well();
    });
    victim.setSocket(channel);
    const ending = watch(loop({ map }));
    await turns();
    channel.isBad = true;
    channel.push("ham");
    await turns();
    if (victim.connected) victim.send(bytes("eggs"));
    if (victim.connected) victim.shutdownWrite();
    victim.close();
    await rest(clock);
    assert(ending.settled, operation);
    assertEquals([rejections.reasons, map.errors], [[], []], operation);
    assert(channel.closed, operation);
  }
});
