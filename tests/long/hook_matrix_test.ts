/** Whatever a hook throws, at any point of a connection's life, harms nobody else. */

import net from "node:net";
import {
  assert,
  assertEquals,
  assertFalse,
  assertGreater,
  assertInstanceOf,
  assertLess,
  assertStringIncludes,
} from "@std/assert";
import {
  AsyncChat,
  type Channel,
  channelFrom,
  closeAll,
  DatagramDispatcher,
  type DatagramSocket,
  Dispatcher,
  DispatcherWithSend,
  FileDispatcher,
  loop,
  shutdown,
  SocketMap,
  toStreams,
} from "../../mod.ts";
import {
  codedError,
  Echo,
  FakeChannel,
  LogLines,
  passes,
  quietMap,
  Recorder,
  watch,
} from "../fakes.ts";
import {
  ALL_FAILURES,
  EXITS,
  type Failure,
  FEW_FAILURES,
  type Handling,
  type Kind,
  Life,
  MORE_FAILURES,
  type Plan,
  Saboteur,
  type Story,
  type Victim,
} from "../hook_matrix.ts";
import { MockClock } from "../../testing/mock_clock.ts";
import {
  bytes,
  captureConsole,
  connectedPair,
  DENO_CAN,
  rawConnect,
  text,
  turn,
  turns,
  until,
} from "../support.ts";

// What happens to a connection

const MUCH = "x".repeat(100_000);

/** What every story of a connection that stands begins with. */
const STANDS: Story["stages"] = { "just connected": (life) => life.adopt() };

const writing = (life: Life) => {
  life.holdBack();
  life.kind.say(life, MUCH);
};

const CLIENT: Story = {
  name: "a client",
  stages: {
    "connecting": (life) => {
      life.dispatcher.createSocket();
      life.dispatcher.connect({ port: 7 });
      life.kind.onConnecting?.(life);
    },
    "just connected": (life) => {
      life.channels.push(life.channel);
      life.network.succeed(life.kind.connection(life));
    },
    "first read": (life) => life.hear(),
    "later read": (life) => life.hear(),
    "writing": writing,
    "draining": (life) => life.letGo(),
    "the peer's end": ({ channel }) => channel.push(null),
  },
};

const REFUSED: Story = {
  name: "a refused client",
  stages: {
    "connecting": CLIENT.stages["connecting"]!,
    "refused": ({ network }) =>
      network.fail(new Deno.errors.ConnectionRefused("refused")),
  },
};

const UNANSWERED: Story = {
  name: "a client that nobody answers",
  stages: {
    "connecting": ({ dispatcher }) => {
      dispatcher.createSocket({ connectTimeout: 1_000 });
      dispatcher.connect({ port: 7 });
    },
    "no answer": (life) => life.advance(1_000),
  },
};

const RESET: Story = {
  name: "a connection that is reset",
  stages: {
    ...STANDS,
    "first read": (life) => life.hear(),
    "the peer's reset": ({ channel }) =>
      channel.push(new Deno.errors.ConnectionReset("reset")),
  },
};

const UNREADABLE: Story = {
  name: "a connection that cannot be read",
  stages: {
    ...STANDS,
    "first read": (life) => life.hear(),
    "a failing read": ({ channel }) => channel.push(new Error("broken")),
  },
};

const BROKEN: Story = {
  name: "a broken pipe",
  isTimed: true,
  stages: {
    ...STANDS,
    "a broken pipe": (life) => {
      const error = new Deno.errors.BrokenPipe("broken");
      life.channel.take = () => Promise.reject(error);
      life.kind.say(life, "spam");
    },
    "the last words": async (life) => {
      life.hear();
      await life.advance(250);
    },
  },
};

const UNWRITABLE: Story = {
  name: "a connection that cannot be written",
  stages: {
    ...STANDS,
    "a failing write": (life) => {
      life.channel.take = () => Promise.reject(new Error("full"));
      life.kind.say(life, "spam");
    },
    "the peer's end": ({ channel }) => channel.push(null),
  },
};

const HALF_CLOSED: Story = {
  name: "a connection that ends with its peer",
  options: { allowHalfOpen: true },
  stages: {
    ...STANDS,
    "first read": (life) => life.hear(),
    "the peer's end": ({ channel }) => channel.push(null),
  },
};

const HALF_OPEN: Story = {
  name: "a half-open connection",
  options: { allowHalfOpen: true },
  staysOpen: true,
  stages: {
    ...HALF_CLOSED.stages,
    "half-open": writing,
    "draining while half-open": (life) => life.letGo(),
    "our end": ({ dispatcher }) => dispatcher.shutdownWrite(),
  },
};

const LINGERING: Story = {
  name: "a connection that lingers",
  stages: {
    ...STANDS,
    "writing": writing,
    "closing": ({ dispatcher }) => dispatcher.close(),
    "lingering": (life) => life.advance(1_000),
    "given up": (life) => life.advance(5_000),
  },
};

const IDLE: Story = {
  name: "a silent connection",
  isTimed: true,
  options: { idleTimeout: 1_000 },
  stages: {
    ...STANDS,
    "silence": (life) => life.advance(1_000),
    "more silence": (life) => life.advance(1_000),
  },
};

const OLD: Story = {
  name: "a connection whose lifetime ends",
  options: { lifetime: 1_000 },
  stages: { ...STANDS, "old age": (life) => life.advance(1_000) },
};

const SHUT_DOWN: Story = {
  name: "a connection that is shut down",
  stages: {
    ...STANDS,
    "writing": writing,
    "shutdown": ({ map }) => watch(shutdown({ map, deadline: 1_000 })),
    "draining at shutdown": (life) => life.letGo(),
  },
};

const ALL_CLOSED: Story = {
  name: "a connection that closeAll() closes",
  stages: {
    ...STANDS,
    "first read": (life) => life.hear(),
    "closeAll()": ({ map }) => closeAll(map),
  },
};

const TIMED: Story = {
  name: "a connection with timers",
  stages: {
    "just connected": (life) => {
      life.adopt();
      const { dispatcher } = life;
      const run = (hook: string) => () =>
        life.saboteur.enter(hook, () => {}) as void;
      dispatcher.callLater(10, run("callLater()"));
      dispatcher.callEvery(20, run("callEvery()"));
    },
    "ten ms": (life) => life.advance(10),
    "twenty ms": (life) => life.advance(10),
    "forty ms": (life) => life.advance(20),
    "the peer's end": ({ channel }) => channel.push(null),
  },
};

/** More is on its way to the peer than it takes, so it is not listened to. */
const ACCEPTED: Story = {
  name: "a connection that was accepted",
  stages: {
    "just accepted": ({ map, network, dispatcher, channel, channels }) => {
      channels.push(channel);
      const listener = new Dispatcher(network.acceptor, { map });
      listener.handleAccepted = (conn) => {
        dispatcher.setSocket(conn);
        listener.close();
      };
      network.acceptor.push(channel);
    },
    "first read": (life) => life.hear(),
    "writing": writing,
    "a read that waits": (life) => life.hear(),
    "draining": (life) => life.letGo(),
    "the peer's end": ({ channel }) => channel.push(null),
  },
};

const CONNECTIONS = [
  ...[RESET, UNREADABLE, BROKEN, UNWRITABLE, HALF_CLOSED, HALF_OPEN],
  ...[LINGERING, IDLE, OLD, SHUT_DOWN, ALL_CLOSED, TIMED],
];
const SOCKETS = [CLIENT, REFUSED, UNANSWERED, ...CONNECTIONS];

// What it happens to

const HOOKS = [
  ...["readable", "writable", "handleConnect", "handleConnectEvent"],
  ...["handleRead", "handleReadEvent", "handleWrite", "handleWriteEvent"],
  ...["handleEnd", "handleClose", "handleTimeout", "handleShutdown"],
  ...[
    "handleError",
    "close",
    "logInfo",
    "logger",
    "callLater()",
    "callEvery()",
  ],
];

/** All of these but some. */
function hooksWithout(...names: string[]): string[] {
  return HOOKS.filter((hook) => !names.includes(hook));
}

/** What most kinds have in common. */
const base = {
  hooks: HOOKS,
  message: "spam",
  stories: SOCKETS,
  connection: ({ channel }: Life): Channel => channel,
  adopt(life: Life): void {
    life.dispatcher.setSocket(life.kind.connection(life));
  },
  say({ dispatcher }: Life, what: string): void {
    dispatcher.send(bytes(what));
  },
};

const optionsOf = ({ map, story }: Victim) => ({ map, ...story.options });

const PLAIN: Kind = {
  ...base,
  name: "Dispatcher",
  make: (life) =>
    new class extends Dispatcher {
      override handleRead(): void {
        life.received += text(this.recv());
      }
      override handleEnd(): void | Promise<void> {
        if (!life.story.staysOpen) return super.handleEnd();
      }
    }(null, optionsOf(life)),
};

const ASKED: Kind = {
  ...base,
  name: "Dispatcher with predicates",
  stories: [CLIENT, RESET, UNREADABLE, UNWRITABLE, HALF_OPEN, SHUT_DOWN],
  hooks: hooksWithout("handleTimeout", "callLater()", "callEvery()"),
  make: (life) =>
    new class extends Dispatcher {
      override readable(): boolean {
        return true;
      }
      override writable(): boolean {
        return !this.connected;
      }
      override handleRead(): void {
        life.received += text(this.recv());
      }
      override handleEnd(): void | Promise<void> {
        if (!life.story.staysOpen) return super.handleEnd();
      }
    }(null, optionsOf(life)),
};

const BUFFERED: Kind = {
  ...base,
  name: "DispatcherWithSend",
  hooks: [
    ...hooksWithout("handleTimeout", "callLater()", "callEvery()"),
    "handleDrain",
  ],
  stories: [CLIENT, ACCEPTED, UNWRITABLE, HALF_OPEN, LINGERING, SHUT_DOWN],
  make: (life) =>
    new class extends DispatcherWithSend {
      override handleRead(): void {
        life.received += text(this.recv());
      }
      override handleEnd(): void | Promise<void> {
        if (!life.story.staysOpen) return super.handleEnd();
      }
    }(null, optionsOf(life)),
};

// Conversations

const OVERFLOW: Story = {
  name: "a conversation that overflows",
  options: { maxLength: 8 },
  stages: {
    ...STANDS,
    "first read": (life) => life.hear(),
    "too much": (life) => life.hear("x".repeat(12)),
  },
};

const MANY: Story = {
  name: "a conversation of many messages at once",
  stages: {
    ...STANDS,
    "many at once": (life) => life.hear("a\nb\nc\n"),
    "half a message": (life) => life.hear("sp"),
    "the other half": (life) => life.hear("am\n"),
    "the peer's end": ({ channel }) => channel.push(null),
  },
};

/** Gives three pieces, and asks the life before each. */
function producer({ saboteur }: Life, isAsync: boolean) {
  const pieces = ["one ", "two ", "three "];
  const next = () => pieces.shift() ?? "";
  const more = () => saboteur.enter("more()", next) as string;
  return { more: isAsync ? async () => await more() : more };
}

const PRODUCING: Story = {
  name: "a conversation with producers",
  lastWords: "what follows",
  stages: {
    ...STANDS,
    "a producer": (life) => {
      const chat = life.dispatcher as AsyncChat;
      chat.pushWithProducer(producer(life, false));
      chat.push("and what follows ");
    },
    "an async producer": (life) => {
      const chat = life.dispatcher as AsyncChat;
      chat.pushWithProducer(producer(life, true));
      chat.push("and what follows");
    },
    "the peer's end": ({ channel }) => channel.push(null),
  },
};

const CLOSED_WHEN_DONE: Story = {
  name: "a conversation that closes when done",
  stages: {
    ...STANDS,
    "writing": writing,
    "closing when done": ({ dispatcher }) =>
      (dispatcher as AsyncChat).closeWhenDone(),
    "draining": (life) => life.letGo(),
  },
};

const CHAT: Kind = {
  ...base,
  name: "AsyncChat",
  hooks: [
    ...hooksWithout("callLater()", "callEvery()"),
    ...["handleDrain", "handleOverflow", "collectIncomingData"],
    ...["foundTerminator", "more()"],
  ],
  message: "spam\n",
  stories: [
    ...[CLIENT, REFUSED, ACCEPTED, RESET, UNWRITABLE, HALF_OPEN, LINGERING],
    ...[OLD, SHUT_DOWN, OVERFLOW, MANY, PRODUCING, CLOSED_WHEN_DONE],
  ],
  make: (life) => {
    const chat = new class extends AsyncChat {
      override collectIncomingData(data: Uint8Array): void {
        life.received += text(data);
      }
      override foundTerminator(): void {
        life.received += ";";
      }
      override handleEnd(): void | Promise<void> {
        if (!life.story.staysOpen) return super.handleEnd();
      }
    }(null, optionsOf(life));
    chat.setTerminator("\n");
    return chat;
  },
  say: ({ dispatcher }, what) => (dispatcher as AsyncChat).push(what),
};

// Listeners

const LISTENS: Story["stages"] = {
  "listening": ({ dispatcher, network: { acceptor }, channels }) => {
    channels.push(acceptor);
    const accept = acceptor.accept.bind(acceptor);
    acceptor.accept = async () => {
      const channel = await accept() as FakeChannel;
      channels.push(channel);
      return channel;
    };
    dispatcher.createSocket();
    dispatcher.bind({ port: 0 });
    dispatcher.listen();
  },
};

/** Clients come. */
function arrive({ network }: Life, count: number): void {
  for (let i = 0; i < count; i++) network.acceptor.push(new FakeChannel());
}

const UNACCEPTING: Story = {
  name: "a listener that fails",
  stages: {
    ...LISTENS,
    "first accept": (life) => arrive(life, 1),
    "later accepts": (life) => arrive(life, 3),
    "a failing accept": ({ network }) =>
      network.acceptor.push(new Error("broken")),
  },
};

const EXHAUSTED: Story = {
  name: "a listener without descriptors",
  stages: {
    ...LISTENS,
    "no descriptors": ({ network }) =>
      network.acceptor.push(codedError("EMFILE")),
    "descriptors again": async (life) => {
      arrive(life, 1);
      await life.advance(50);
    },
    "closing": ({ dispatcher }) => dispatcher.close(),
  },
};

const LISTENER_SHUT_DOWN: Story = {
  name: "a listener that is shut down",
  stages: {
    ...LISTENS,
    "first accept": (life) => arrive(life, 1),
    "shutdown": ({ map }) => watch(shutdown({ map, deadline: 1_000 })),
  },
};

const LISTENER_CLOSED: Story = {
  name: "a listener that closeAll() closes",
  stages: { ...LISTENS, "closeAll()": ({ map }) => closeAll(map) },
};

const LISTENER: Kind = {
  ...base,
  name: "Dispatcher that listens",
  hooks: [
    ...["readable", "writable", "handleAccept", "handleAccepted"],
    ...["handleReadEvent", "handleClose", "handleError", "close"],
    ...["logInfo", "logger"],
  ],
  stories: [UNACCEPTING, EXHAUSTED, LISTENER_SHUT_DOWN, LISTENER_CLOSED],
  make: ({ map }) => new Dispatcher(null, { map }),
};

// Files, datagrams, streams

const FILE: Kind = {
  ...base,
  name: "FileDispatcher",
  hooks: hooksWithout(
    ...["handleConnect", "handleConnectEvent", "callLater()", "callEvery()"],
  ),
  stories: [
    ...[UNREADABLE, UNWRITABLE, HALF_CLOSED, LINGERING],
    ...[IDLE, SHUT_DOWN, ALL_CLOSED],
  ],
  make: (life) =>
    new class extends FileDispatcher {
      override handleRead(): void {
        life.received += text(this.recv());
      }
    }(life.channel, optionsOf(life)),
  adopt: () => {}, // It has been opened.
};

const PEER: Deno.NetAddr = { transport: "udp", hostname: "127.0.0.1", port: 7 };

/** Datagrams to and from the test, by way of a channel. */
function socketOf(channel: FakeChannel): DatagramSocket {
  return {
    addr: PEER,
    async receive(target) {
      const length = await channel.read(target);
      if (length === null) throw new Error("nothing comes any more");
      return [target.subarray(0, length), PEER];
    },
    send: (data) => channel.write(data),
    close: () => channel.close(),
  };
}

const DATAGRAM: Kind = {
  ...base,
  name: "DatagramDispatcher",
  hooks: hooksWithout(
    ...["handleConnect", "handleConnectEvent", "handleEnd"],
    ...["callLater()", "callEvery()"],
  ),
  stories: [
    ...[UNREADABLE, UNWRITABLE, LINGERING],
    ...[IDLE, SHUT_DOWN, ALL_CLOSED],
  ],
  make: (life) =>
    new class extends DatagramDispatcher {
      override handleRead(): void {
        try {
          life.received += text(this.recvFrom().data);
        } catch (error) {
          // It comes at the end, when that was told and nothing closed.
          if (!(error instanceof Deno.errors.WouldBlock)) throw error;
        }
      }
    }(null, optionsOf(life)),
  adopt: ({ dispatcher, channel }) =>
    (dispatcher as DatagramDispatcher).setSocket(socketOf(channel)),
  say: ({ dispatcher }, what) =>
    void (dispatcher as DatagramDispatcher).sendTo(bytes(what), PEER),
};

/** Streams whose other end is a channel of the test. */
function streamsOf(channel: FakeChannel) {
  const readable = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const target = new Uint8Array(1_000);
      try {
        const length = await channel.read(target);
        if (length !== null) controller.enqueue(target.subarray(0, length));
        else controller.close();
      } catch (error) {
        controller.error(error);
      }
    },
  }, { highWaterMark: 0 });
  const writable = new WritableStream<Uint8Array>({
    write: async (data) => void await channel.write(data),
  });
  return { readable, writable };
}

const OVER_STREAMS: Kind = {
  ...PLAIN,
  name: "Dispatcher over channelFrom()",
  hooks: hooksWithout(
    ...["handleTimeout", "handleShutdown", "callLater()", "callEvery()"],
  ),
  connection: ({ channel }) => {
    const over = channelFrom(streamsOf(channel));
    const close = over.close.bind(over);
    over.close = () => {
      close();
      channel.close();
    };
    return over;
  },
  stories: [CLIENT, UNREADABLE, UNWRITABLE, HALF_OPEN, LINGERING],
};

const WRITERS = new WeakMap<Life, WritableStreamDefaultWriter<Uint8Array>>();

/** Reads one of a dispatcher's streams to its end, and then ends the other. */
async function readStreams(life: Life): Promise<void> {
  const { readable, writable } = toStreams(life.dispatcher);
  const writer = writable.getWriter();
  WRITERS.set(life, writer);
  const reading = (async () => {
    for await (const chunk of readable) life.received += text(chunk);
    await writer.close();
  })();
  const tell = (error: unknown) => void life.saboteur.note(error, "streams");
  await Promise.allSettled([reading.catch(tell), writer.closed.catch(tell)]);
}

const STREAMED: Kind = {
  ...base,
  name: "Dispatcher with toStreams()",
  sink: "streams",
  hooks: hooksWithout(
    ...["readable", "handleRead", "handleReadEvent", "handleEnd"],
    "handleError",
  ),
  stories: [
    ...[CLIENT, RESET, UNREADABLE, BROKEN, UNWRITABLE, HALF_CLOSED],
    ...[LINGERING, IDLE, OLD, SHUT_DOWN, ALL_CLOSED, TIMED],
  ],
  make: (life) => new Dispatcher(null, optionsOf(life)),
  adopt: (life) => {
    base.adopt(life);
    void readStreams(life);
  },
  onConnecting: (life) => void readStreams(life),
  say: (life, what) => {
    WRITERS.get(life)!.write(bytes(what)).catch((error) => {
      life.saboteur.note(error, "streams");
    });
  },
};

const KINDS = [
  ...[PLAIN, ASKED, BUFFERED, CHAT, LISTENER],
  ...[FILE, DATAGRAM, OVER_STREAMS, STREAMED],
];

// The matrix

/** Hears of the promises that nobody handles. */
class Rejections implements Disposable {
  readonly reasons: unknown[] = [];

  constructor() {
    addEventListener("unhandledrejection", this.#hear);
  }
  readonly #hear = (event: PromiseRejectionEvent): void => {
    event.preventDefault();
    this.reasons.push(event.reason);
  };
  check(): void {
    assertEquals(this.reasons, [], "nobody handled a rejection");
  }
  [Symbol.dispose](): void {
    removeEventListener("unhandledrejection", this.#hear);
  }
}

/** Failures, and the `handleError()` that they are tried against. */
type Trials = [Handling, readonly Failure[]][];

/** What is tried where nothing but the hooks is in question. */
const FAILURES: Trials = [
  ["as by default", ALL_FAILURES],
  ["does nothing", MORE_FAILURES],
  ["throws", FEW_FAILURES],
  ["rejects", FEW_FAILURES],
  ["throws, and so does onError()", FEW_FAILURES],
];
/** What is tried with the other kinds. */
const FEWER: Trials = [
  ["as by default", MORE_FAILURES],
  ["does nothing", MORE_FAILURES],
  ["throws", FEW_FAILURES],
];
/** What is tried at a stage that another story of this kind has had. */
const AGAIN: Trials = [
  ["as by default", FEW_FAILURES],
  ["does nothing", FEW_FAILURES],
];

/** What has no promise to give. */
const SYNC = new Set(["readable", "writable", "logInfo"]);

/** It does not fail. */
function isCalm(handling: Handling): boolean {
  return handling === "as by default" || handling === "does nothing";
}

/** Lives without failure, which are the same for many plans. */
const quietLives = new Map<string, Life>();

/** A life in which everything is as planned, but the failure. */
async function liveQuietly(kind: Kind, story: Story, plan: Plan) {
  const { hook, handling } = plan;
  const reaction: Handling = isCalm(handling) ? handling : "throws";
  const spied = /^(readable|writable|handle(Read|Write))/.exec(hook)?.input;
  const key = [kind.name, story.name, reaction, spied].join();
  let life = quietLives.get(key);
  if (life) return life;
  const stage = "no stage of this name";
  life = new Life(kind, story, { ...plan, stage, handling: reaction });
  await life.run();
  life.check();
  const last = Object.values(life.seen).at(-1)!;
  assertFalse(last.isOpen, `${kind.name}, ${story.name}, ends by itself`);
  quietLives.set(key, life);
  return life;
}

/** The stages of a story in which a hook is called. */
function stagesOf({ story, saboteur }: Life, hook: string): string[] {
  const calls = saboteur.calls.filter((call) => call.hook === hook);
  const called = new Set(calls.map((call) => call.stage));
  return Object.keys(story.stages).filter((stage) => called.has(stage));
}

/** What a test of the matrix has seen. */
interface Tally {
  cases: number;
  /** The stages in which the hook was called. */
  stages: Set<string>;
  /** How often `onError()` threw. */
  bacon: number;
}

/** Has one hook of one kind fail at each stage of each story. */
async function failEverywhere(
  kind: Kind,
  hook: string,
  trials: Trials,
  again: Trials,
): Promise<Tally> {
  const tally: Tally = { cases: 0, stages: new Set(), bacon: 0 };
  using rejections = new Rejections();
  for (const story of kind.stories) {
    const known = new Set(tally.stages);
    for (const [handling, failures] of trials) {
      if (kind.sink && handling !== "as by default") continue; // It has none.
      if (hook === "handleError" && !isCalm(handling)) continue;
      const base: Plan = { hook, stage: "", failure: failures[0]!, handling };
      const quiet = await liveQuietly(kind, story, base);
      for (const stage of stagesOf(quiet, hook)) {
        tally.stages.add(stage);
        const rest = again.find(([other]) => other === handling)?.[1] ?? [];
        for (const failure of known.has(stage) ? rest : failures) {
          if (failure.isAsync && SYNC.has(hook)) continue;
          const plan = { hook, stage, failure, handling };
          tally.cases++;
          tally.bacon += await failOnce(kind, story, plan, quiet, rejections);
        }
      }
    }
  }
  return tally;
}

/** One case of the matrix; how often its `onError()` threw. */
async function failOnce(
  kind: Kind,
  story: Story,
  plan: Plan,
  quiet: Life,
  rejections: Rejections,
): Promise<number> {
  const { hook, stage, failure, handling } = plan;
  const life = new Life(kind, story, plan);
  try {
    await life.run();
    // An ExitNow leaves the connection to the hook that threw it.
    if (hook === "handleAccepted") life.closeUnclaimed();
    life.check();
    life.compare(quiet);
    rejections.check();
  } catch (cause) {
    const { message } = cause as Error;
    throw new Error(
      `${kind.name}, ${story.name}, ${stage}: ${hook} ${failure.name}, ` +
        `handleError() ${handling}: ${message}`,
      { cause },
    );
  }
  return life.saboteur.baconThrown;
}

/** How a hook is called in the name of a test. */
function nameOf(hook: string): string {
  return /\)$|^logger$/.test(hook) ? hook : `${hook}()`;
}

for (const kind of KINDS) {
  for (const hook of kind.hooks) {
    Deno.test(`${kind.name} whose ${nameOf(hook)} fails, at any stage and in any way, harms nobody`, async () => {
      using output = captureConsole();
      const trials = kind === PLAIN || kind === LISTENER ? FAILURES : FEWER;
      const tally = await failEverywhere(kind, hook, trials, AGAIN);
      assertGreater(tally.cases, 0);
      const bacon = output.err.filter((line) => line.includes("Error: bacon"));
      assertEquals(bacon.length, tally.bacon, "onError() threw, and was told");
      assertEquals(output.err.length, tally.bacon, output.err[0]);
      assertEquals(output.out, []);
    });
  }

  Deno.test(`ExitNow from any hook of a ${kind.name}, at any stage, leaves a loop that can be entered again`, async () => {
    const exits: Trials = [["as by default", EXITS]];
    const again: Trials = [["as by default", EXITS.slice(-1)]];
    for (const hook of kind.hooks) {
      const { cases } = await failEverywhere(kind, hook, exits, again);
      assertGreater(cases, 0, hook);
    }
  });
}

/** What is not planned yet. */
const PLAN: Plan = {
  hook: "",
  stage: "",
  failure: FEW_FAILURES[0]!,
  handling: "as by default",
};

/** At which stages a hook is called at least, and so made to fail. */
const STAGES: [Kind, Record<string, string[]>][] = [
  [PLAIN, {
    readable: ["connecting", "just connected", "first read", "draining"],
    writable: ["connecting", "just connected", "half-open", "silence"],
    handleConnect: ["just connected"],
    handleConnectEvent: ["just connected"],
    handleRead: [
      ...["first read", "later read", "the peer's end", "the peer's reset"],
      ...["a failing read", "the last words"],
    ],
    handleReadEvent: ["first read", "later read", "the peer's end"],
    handleWrite: ["just connected", "draining", "draining while half-open"],
    handleWriteEvent: ["just connected", "draining"],
    handleEnd: ["the peer's end"],
    handleClose: [
      ...["refused", "no answer", "the peer's end", "the peer's reset"],
      ...["a failing read", "a failing write", "the last words", "our end"],
      ...["silence", "old age", "shutdown"],
    ],
    handleTimeout: ["silence", "old age"],
    handleShutdown: ["shutdown"],
    handleError: ["refused", "no answer", "a failing read", "a failing write"],
    close: ["the peer's end", "closing", "shutdown", "closeAll()"],
    logInfo: ["just connected", "the peer's end", "given up"],
    logger: ["refused", "a failing read", "given up"],
    "callLater()": ["ten ms"],
    "callEvery()": ["twenty ms", "forty ms"],
  }],
  [BUFFERED, { handleDrain: ["draining", "draining while half-open"] }],
  [CHAT, {
    handleClose: ["draining at shutdown", "too much", "draining"],
    handleDrain: ["draining", "draining while half-open"],
    handleOverflow: ["too much"],
    collectIncomingData: ["first read", "many at once", "half a message"],
    foundTerminator: ["first read", "many at once", "the other half"],
    "more()": ["a producer", "an async producer"],
  }],
  [LISTENER, {
    readable: ["listening", "first accept", "later accepts"],
    writable: ["listening"],
    handleAccept: ["first accept", "later accepts", "descriptors again"],
    handleAccepted: ["first accept", "later accepts", "descriptors again"],
    handleReadEvent: ["first accept", "later accepts"],
    handleClose: ["a failing accept"],
    handleError: ["a failing accept"],
    close: ["a failing accept", "closing", "shutdown", "closeAll()"],
    logger: ["a failing accept", "no descriptors", "descriptors again"],
  }],
];

Deno.test("Hooks are called at each stage at which they are made to fail", async () => {
  for (const [kind, hooks] of STAGES) {
    for (const [hook, stages] of Object.entries(hooks)) {
      const plan: Plan = { ...PLAN, hook };
      const called = new Set<string>();
      for (const story of kind.stories) {
        const quiet = await liveQuietly(kind, story, plan);
        for (const stage of stagesOf(quiet, hook)) called.add(stage);
      }
      const missing = stages.filter((stage) => !called.has(stage));
      assertEquals(missing, [], `${kind.name} ${hook}`);
    }
  }
});

Deno.test("Rejections hears of a promise that nobody handles", async () => {
  using rejections = new Rejections();
  const reason = new Error("spam");
  void Promise.reject(reason);
  await turns();
  assertEquals(rejections.reasons, [reason]);
});

// Over real sockets

/** What happens to a dispatcher on a real socket. */
interface Scene {
  /** How it comes to its failure. */
  name: string;
  hook: string;
  kind: Kind;
  staysOpen?: boolean;
  options?: Record<string, unknown>;
  /** Whether `handleError()` has something else to handle first. */
  isBroken?: boolean;
  /** What it wraps; by default a connection that stands. */
  wraps?: (real: Real) => Promise<Channel>;
  /** Opens it; by default it takes over what it wraps. */
  open?: (real: Real) => unknown;
  /** Has the hook called. */
  provoke?: (real: Real) => unknown;
}

/** A real socket whose dispatcher fails, and what holds its other end. */
class Real implements Victim {
  readonly map = quietMap();
  readonly story: Scene;
  readonly saboteur: Saboteur;
  received = "";
  channel!: Channel;
  dispatcher!: Dispatcher;
  /** The other end of the connection. */
  peer!: Deno.Conn;
  /** What the test has to close. */
  readonly ends: { close(): void }[] = [];

  constructor(scene: Scene, plan: Plan) {
    this.story = scene;
    this.saboteur = new Saboteur(plan);
  }

  async open(): Promise<void> {
    const { kind, wraps = isConnected, open } = this.story;
    this.channel = await wraps(this);
    this.dispatcher = kind.make(this);
    this.saboteur.spyOn(this.dispatcher, kind.hooks);
    if (open === undefined) this.dispatcher.setSocket(this.channel);
    else await open(this);
  }
}

async function isConnected(real: Real): Promise<Channel> {
  const [ours, theirs] = await connectedPair();
  real.peer = theirs;
  real.ends.push(theirs);
  return ours;
}

/** Nothing: it opens something itself. */
const NO_CHANNEL = () => Promise.resolve(new FakeChannel());

const LOOPBACK = { hostname: "127.0.0.1", port: 0 };

async function connects({ dispatcher, ends }: Real): Promise<void> {
  const listener = Deno.listen(LOOPBACK);
  ends.push(listener);
  dispatcher.createSocket();
  dispatcher.connect(listener.addr as Deno.NetAddr);
  ends.push(await listener.accept());
}

function isRefused({ dispatcher }: Real): void {
  const listener = Deno.listen(LOOPBACK);
  const { port } = listener.addr;
  listener.close();
  dispatcher.createSocket();
  dispatcher.connect({ ...LOOPBACK, port });
}

async function listens({ dispatcher, ends }: Real): Promise<void> {
  dispatcher.createSocket();
  dispatcher.bind(LOOPBACK);
  dispatcher.listen();
  ends.push(await rawConnect(dispatcher.addr));
}

async function isReset({ dispatcher, ends }: Real): Promise<void> {
  const listener = Deno.listen(LOOPBACK);
  const socket = net.connect(listener.addr.port, LOOPBACK.hostname);
  socket.on("error", () => {});
  dispatcher.setSocket(await listener.accept());
  listener.close();
  ends.push({ close: () => socket.destroy() });
  socket.resetAndDestroy();
}

/** A file with something in it. */
async function isFile({ ends }: Real): Promise<Channel> {
  const path = await Deno.makeTempFile();
  await Deno.writeTextFile(path, "spam");
  ends.push({ close: () => Deno.removeSync(path) });
  return await Deno.open(path);
}

/** Sends more than the sockets hold; then the peer takes it. */
async function drains({ dispatcher, peer }: Real): Promise<void> {
  const much = new Uint8Array(4 * 1024 * 1024);
  (dispatcher as DispatcherWithSend).send(much);
  await turns();
  void readToEnd(peer);
}

/** Reads until the other side is gone. */
async function readToEnd(conn: Deno.Conn): Promise<void> {
  const buffer = new Uint8Array(64 * 1024);
  try {
    while (await conn.read(buffer) !== null);
  } catch {
    // Reset, or closed at the end of the test.
  }
}

const says = (what: string) => ({ peer }: Real) => peer.write(bytes(what));
const ends = ({ peer }: Real) => peer.closeWrite();
const shutsDown = ({ map }: Real) => watch(shutdown({ map, deadline: 100 }));
const OPEN = { wraps: NO_CHANNEL, kind: PLAIN };
const HEARS = { name: "is spoken to", provoke: says("spam\n") };
const ENDS = { name: "comes to its end", provoke: ends };
const FILES = { name: "reads a file", kind: FILE, wraps: isFile, open() {} };
const CLIENTS = { name: "has a client", kind: LISTENER, open: listens };
const HALF = { allowHalfOpen: true };

const SCENES: Scene[] = [
  ...["readable", "writable", "handleWrite", "handleWriteEvent"].map((hook) => (
    { name: "stands", hook, kind: PLAIN }
  )),
  { ...HEARS, hook: "handleRead", kind: PLAIN },
  { ...HEARS, hook: "handleReadEvent", kind: BUFFERED },
  { ...HEARS, hook: "collectIncomingData", kind: CHAT },
  { ...HEARS, hook: "foundTerminator", kind: CHAT },
  { ...HEARS, hook: "handleOverflow", kind: CHAT, options: { maxLength: 2 } },
  { ...OPEN, name: "connects", hook: "handleConnect", open: connects },
  { ...OPEN, name: "connects", hook: "handleConnectEvent", open: connects },
  {
    ...{ ...OPEN, name: "is refused", hook: "handleClose", open: isRefused },
    isBroken: true,
  },
  { ...OPEN, name: "is reset", hook: "handleClose", open: isReset },
  { ...ENDS, hook: "handleClose", kind: PLAIN },
  { ...ENDS, hook: "close", kind: PLAIN },
  { ...ENDS, hook: "handleEnd", kind: PLAIN, options: HALF },
  {
    ...{ name: "is idle", hook: "handleTimeout", kind: PLAIN },
    options: { idleTimeout: 20 },
  },
  {
    ...{ name: "is shut down", hook: "handleShutdown", kind: BUFFERED },
    provoke: shutsDown,
  },
  {
    ...{ name: "sends much", hook: "handleDrain", kind: BUFFERED },
    provoke: drains,
  },
  {
    ...{ ...OPEN, name: "is refused", hook: "handleError", open: isRefused },
    isBroken: true,
  },
  { ...CLIENTS, hook: "handleAccept", wraps: NO_CHANNEL },
  { ...CLIENTS, hook: "handleAccepted", wraps: NO_CHANNEL },
  { ...FILES, hook: "handleRead" },
  { ...FILES, hook: "handleClose" },
];

/** Echoes, and stays at a shutdown. */
class RealNeighbour extends Echo {
  override handleShutdown(): void {}
}

/** What is said to a neighbour comes back whole. */
async function exchange(conn: Deno.Conn, what: string): Promise<void> {
  await conn.write(bytes(what));
  const buffer = new Uint8Array(64);
  const length = await conn.read(buffer);
  assertEquals(text(buffer.subarray(0, length ?? 0)), what);
}

/** One failure on a real socket, next to a neighbour on another one. */
async function failReally(scene: Scene, plan: Plan): Promise<void> {
  using rejections = new Rejections();
  const real = new Real(scene, plan);
  const { map, saboteur } = real;
  const [ours, theirs] = await connectedPair();
  new RealNeighbour(ours, { map });
  const done = watch(loop({ map }));
  await exchange(theirs, "before");
  await real.open();
  await scene.provoke?.(real);
  if (plan.failure.isLate) {
    await until(() => saboteur.gate !== null, "the failure");
    saboteur.gate!.resolve();
  }
  const { arrived, due } = saboteur;
  await until(() => due.length > 0 && arrived.length > 0, "its arrival");
  await exchange(theirs, "after");
  if (plan.handling !== "does nothing" || /close/i.test(scene.hook)) {
    await until(() => saboteur.isClosed, "the end of who failed");
  } else real.dispatcher.abort();
  for (const end of real.ends) end.close();
  theirs.close();
  await until(() => done.settled, "the end of the loop");
  assertEquals(done.error, undefined);
  saboteur.check();
  assertEquals(map.size + map.lingering, 0);
  rejections.check();
}

for (const scene of SCENES) {
  const { name, hook, kind, isBroken } = scene;
  const ignore = scene.open === isReset && !DENO_CAN.reset;
  Deno.test(
    `${kind.name} whose ${
      nameOf(hook)
    } fails harms nobody on a real socket: it ${name}`,
    { ignore },
    async () => {
      for (const [handling] of FAILURES.slice(0, 4)) {
        if (isBroken && !isCalm(handling)) continue;
        for (const failure of FEW_FAILURES) {
          if (failure.isAsync && SYNC.has(hook)) continue;
          try {
            await failReally(scene, { ...PLAN, hook, failure, handling });
          } catch (cause) {
            const where = `${failure.name}, handleError() ${handling}`;
            const { message } = cause as Error;
            throw new Error(`${where}: ${message}`, { cause });
          }
        }
      }
    },
  );
}

// What is not a hook of a dispatcher, or no answer of a predicate

Deno.test("SocketMap.onError() that rejects is told on the console, and harms nobody", async () => {
  using rejections = new Rejections();
  using output = captureConsole();
  const map = quietMap();
  map.onError = () => Promise.reject(new Error("eggs"));
  const channel = new FakeChannel();
  const echo = new Echo(channel, { map });
  map.callLater(0, () => {
    throw new Error("spam");
  });
  channel.push("still there");
  await passes(map, 3);
  await turns();
  assertEquals(channel.sent, "still there");
  assertEquals(output.err.length, 1);
  assertStringIncludes(output.err[0]!, "(Error: eggs");
  rejections.check();
  echo.abort();
});

for (const fails of ["throws", "rejects"]) {
  Deno.test(`Logger that ${fails} when it is told what onError() got leaves it to the console`, async () => {
    using rejections = new Rejections();
    using output = captureConsole();
    const logger = new LogLines();
    logger.error = () => {
      if (fails === "rejects") {
        return Promise.reject(new Error("eggs")) as never;
      }
      throw new Error("eggs");
    };
    const map = new SocketMap({ logger });
    map.callLater(0, () => {
      throw new Error("spam");
    });
    const echo = new Echo(new FakeChannel(), { map });
    await loop({ map, count: 3, timeout: 0 });
    await turns();
    assertEquals(output.err.length, 1);
    assertStringIncludes(output.err[0]!, "(Error: eggs");
    rejections.check();
    echo.abort();
  });
}

for (const predicate of ["readable", "writable"] as const) {
  Deno.test(`${predicate}() that gives a promise is an error, and harms nobody`, async () => {
    using rejections = new Rejections();
    const map = quietMap();
    for (const isKept of [true, false]) {
      const recorder = new Recorder(map);
      recorder[predicate] = () =>
        (isKept ? Promise.resolve(true) : Promise.reject(new Error())) as never;
      recorder.setSocket(new FakeChannel());
      const channel = new FakeChannel();
      const echo = new Echo(channel, { map });
      channel.push("still there");
      await passes(map, 3);
      await turns();
      assertEquals(channel.sent, "still there");
      assertEquals(recorder.errors.length, 1);
      assertInstanceOf(recorder.errors[0], TypeError);
      assertStringIncludes(recorder.errors[0].message, `${predicate}()`);
      assertFalse(recorder.connected);
      echo.abort();
    }
    rejections.check();
  });
}

// Hooks that never come to rest

/** After so many calls without a turn of the runtime, there will be none. */
const WITHOUT_END = 10_000;

Deno.test("handleRead() that is async and takes nothing leaves the others their turns", async () => {
  const map = quietMap();
  let calls = 0;
  class Hesitant extends Dispatcher {
    override async handleRead(): Promise<void> {
      if (++calls === WITHOUT_END) this.abort();
      // However many promises it waits for, none of them is a turn.
      for (let i = 0; i < 10; i++) await null;
    }
  }
  const channel = new FakeChannel();
  const hesitant = new Hesitant(channel, { map });
  const done = watch(loop({ map }));
  await turns();
  channel.push("spam");
  while (calls === 0) await turn();
  await turn();
  assertLess(calls, WITHOUT_END);
  hesitant.abort();
  await turns();
  assert(done.settled);
});

Deno.test("Dispatcher over a stream that always has something leaves the others their turns", async () => {
  const map = quietMap();
  let pulls = 0;
  const readable = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (++pulls < WITHOUT_END) controller.enqueue(bytes("spam"));
      else controller.close();
    },
  }, { highWaterMark: 0 });
  const reader = new Recorder(map, channelFrom({ readable }));
  const done = watch(loop({ map }));
  while (pulls === 0) await turn();
  await turn();
  assertLess(pulls, WITHOUT_END);
  reader.abort();
  await turns();
  assert(done.settled);
});

Deno.test("loop() notices what happens while its clock sets the timeout", async () => {
  class BusyClock extends MockClock {
    onSet = () => {};
    override setTimeout(callback: () => void, delay: number): number {
      this.onSet();
      return super.setTimeout(callback, delay);
    }
  }
  const clock = new BusyClock();
  const map = quietMap({ clock });
  const channel = new FakeChannel();
  const recorder = new Recorder(map, channel);
  let passes = 0;
  recorder.readable = () => ++passes > 0;
  clock.onSet = () => {
    clock.onSet = () => {};
    map.wake();
  };
  const done = watch(loop({ map }));
  await turns();
  assertGreater(passes, 1, "wake() ends the wait that is just beginning");
  recorder.abort();
  await turns();
  assert(done.settled);
});
