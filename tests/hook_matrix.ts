/**
 * What the matrix of failing hooks is made of: how a hook fails, what
 * `handleError()` makes of it, and a life on fakes in which one hook fails at
 * one stage while two neighbours are served. A life writes down where each
 * failure was to arrive, and where it did.
 */

import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import {
  type Channel,
  type Dispatcher,
  ExitNow,
  loop,
  shutdown,
  type SocketMap,
} from "../mod.ts";
import { ENTRY, REACTOR } from "../core/symbols.ts";
import { exhaustion } from "../core/log.ts";
import {
  Echo,
  FakeChannel,
  FakeNetwork,
  LogLines,
  quietMap,
  watch,
  type Watched,
} from "./fakes.ts";
import { MockClock } from "../testing/mock_clock.ts";
import { type TestMap, turn } from "./support.ts";

// How a hook fails

/** One way to fail. */
export interface Failure {
  name: string;
  /** What is thrown. */
  make: () => unknown;
  /** It rejects a promise. */
  isAsync: boolean;
  /** The hook does its work first. */
  works: boolean;
  /** The promise is pending while the next stage comes and goes. */
  isLate: boolean;
  /** It fails each time from then on, not once. */
  repeats: boolean;
}

function failure(
  name: string,
  make: () => unknown,
  manner: Partial<Omit<Failure, "name" | "make">> = {},
): Failure {
  const { isAsync = false, works = false } = manner;
  const { isLate = false, repeats = false } = manner;
  return { name, make, isAsync, works, isLate, repeats };
}

const spam = () => new Error("spam");
const LATE = { isAsync: true, works: true, isLate: true };

/** Throws an error, or rejects with one: at once, or a stage later. */
export const FEW_FAILURES: readonly Failure[] = [
  failure("throws an Error", spam),
  failure("rejects at once", spam, { isAsync: true }),
  failure("works, then rejects a stage later", spam, LATE),
];

/** Fails after its work, or again and again. */
export const MORE_FAILURES: readonly Failure[] = [
  ...FEW_FAILURES,
  failure("works, then throws", spam, { works: true }),
  failure("throws each time", spam, { repeats: true }),
  failure("rejects each time", spam, { isAsync: true, repeats: true }),
];

/** Fails with what is no error, too. */
export const ALL_FAILURES: readonly Failure[] = [
  ...MORE_FAILURES,
  failure("throws undefined", () => undefined),
  failure("throws null", () => null),
  failure("throws a string", () => "spam"),
  failure("rejects with undefined", () => undefined, { isAsync: true }),
];

const exit = () => new ExitNow("enough");

/** The ways to leave the loop. */
export const EXITS: readonly Failure[] = [
  failure("throws ExitNow", exit),
  failure("works, then throws ExitNow", exit, { works: true }),
  failure("rejects with ExitNow", exit, { isAsync: true }),
  failure("works, then rejects with ExitNow a stage later", exit, LATE),
];

/** What `handleError()` does with what a hook threw. */
export type Handling =
  | "as by default"
  | "throws"
  | "rejects"
  | "does nothing"
  | "throws, and so does onError()";

/** Where a failure may arrive. */
export type Sink = "handleError" | "onError" | "caller" | "loop" | "streams";

/** Where, how and against what. */
export interface Plan {
  hook: string;
  stage: string;
  failure: Failure;
  handling: Handling;
}

// Who makes it fail

/**
 * Hooks whose being overridden changes what the loop asks and gives, so nobody
 * spies on them who does not make them fail.
 */
const INTRUSIVE = new Set([
  ...["readable", "writable", "handleRead", "handleReadEvent"],
  ...["handleWrite", "handleWriteEvent"],
]);
/** Not hooks: they may be called when it is over, and the map is told of theirs. */
const LOGS = new Set(["logInfo", "logger"]);
/** Nothing that a dispatcher is answerable for: the map is told. */
const TIMERS = new Set(["callLater()", "callEvery()"]);
/** What they are for is not done if they fail before they do it. */
const ENDINGS = new Set([
  ...["handleEnd", "handleTimeout", "handleShutdown", "handleOverflow"],
]);
/** What they are given is lost if they fail before they take it. */
const TAKERS = new Set(["collectIncomingData", "foundTerminator"]);

/** An ExitNow that leaves these leaves the connection as it is. */
const INSIDE = new Set(["handleError", "handleClose", "close"]);

/** Where a hook is called from. */
interface Place {
  hook: string;
  stage: string;
  /** The hooks that are just being called, the outermost first. */
  frames: string[];
  /** The story itself calls it. */
  isPlayed: boolean;
}

/** It is `handleError()` that fails; not so what its `handleClose()` throws. */
function isInError({ frames }: Place): boolean {
  return frames.lastIndexOf("handleError") > frames.lastIndexOf("handleClose");
}

/** A hook that was called. */
interface Call {
  hook: string;
  stage: string;
  isClosed: boolean;
}

/** How many turns of the runtime a stage takes. */
const TURNS = 4;
/** More calls of hooks than any life has: whoever makes them never stops. */
const RUNAWAY = 5_000;

/** Makes one hook of one dispatcher fail, and sees what becomes of it. */
export class Saboteur {
  readonly plan: Plan | null;
  readonly calls: Call[] = [];
  /** What was thrown. */
  readonly failed: unknown[] = [];
  /** Where it was to arrive, and where it did. */
  readonly due: Sink[] = [];
  readonly arrived: Sink[] = [];
  /** What `handleError()` throws. */
  readonly eggs: Error = new Error("eggs");
  /** How often it did. */
  eggsThrown = 0;
  /** How often `onError()` threw. */
  baconThrown = 0;
  /** What else came to `onError()`. */
  readonly reported: unknown[] = [];
  stage = "";
  /** A stage is just being played. */
  isPlaying = false;
  /** Where it failed first. */
  place: Place | null = null;
  /** A hook that ends the connection did not come to it. */
  isUndone = false;
  /** Settles when a hook that fails late is to fail. */
  gate: PromiseWithResolvers<void> | null = null;

  readonly #frames: string[] = [];
  readonly #sink: Sink;
  readonly #toldByStreams = new Set<unknown>();
  #dispatcher: Dispatcher | null = null;
  #hasBegun = false;
  #spied: string[] = [];

  /** `sink` is where what a hook throws arrives as a rule. */
  constructor(plan: Plan | null, sink: Sink = "handleError") {
    this.plan = plan;
    this.#sink = sink;
  }

  /** Whether the dispatcher's socket is over. */
  get isClosed(): boolean {
    return this.#dispatcher !== null &&
      (this.#dispatcher[ENTRY]?.closed ?? false);
  }

  /** Puts itself in front of these hooks, of `handleError()` and `onError()`. */
  spyOn(dispatcher: Dispatcher, hooks: readonly string[]): void {
    this.#dispatcher = dispatcher;
    this.#spied = [...hooks];
    const methods = dispatcher as unknown as Record<
      string,
      (...args: unknown[]) => unknown
    >;
    for (const hook of hooks) {
      if (hook === "handleError") continue;
      if (INTRUSIVE.has(hook) && hook !== this.plan?.hook) continue;
      const original = methods[hook];
      if (typeof original !== "function") continue; // The story calls it.
      const call = (args: unknown[]) => original.apply(dispatcher, args);
      this.#replace(hook, (...args) => this.enter(hook, () => call(args)));
    }
    const handle = dispatcher.handleError.bind(dispatcher);
    this.#replace("handleError", (error) => this.#handle(error, handle));
    dispatcher.map.onError = (error) => this.#onError(error);
  }

  #replace(hook: string, value: (...args: unknown[]) => unknown): void {
    const descriptor = { value, configurable: true, writable: true };
    Object.defineProperty(this.#dispatcher!, hook, descriptor);
  }

  /** Spies on what a map logs. */
  spyOnLogger(logger: LogLines): LogLines {
    for (const level of ["debug", "info", "warn", "error"] as const) {
      const log = logger[level];
      logger[level] = (message) =>
        this.enter("logger", () => log.call(logger, message)) as void;
    }
    return logger;
  }

  /** Runs a hook, or fails in its place. */
  enter(hook: string, work: () => unknown): unknown {
    this.#noteCall(hook);
    this.#frames.push(hook);
    try {
      return this.#isDue(hook) ? this.#fail(hook, work) : work();
    } finally {
      this.#frames.pop();
    }
  }

  #noteCall(hook: string): void {
    const { stage, isClosed } = this;
    this.calls.push({ hook, stage, isClosed });
    // Whoever never stops would keep the test from failing.
    if (this.calls.length === RUNAWAY) this.#dispatcher!.abort();
  }

  #isDue(hook: string): boolean {
    const { plan } = this;
    if (plan === null || plan.hook !== hook) return false;
    if (this.#hasBegun) return plan.failure.repeats;
    return this.#hasBegun = plan.stage === this.stage;
  }

  #fail(hook: string, work: () => unknown): unknown {
    const { failure } = this.plan!;
    const { stage, isPlaying: isPlayed } = this;
    const place = { hook, stage, isPlayed, frames: [...this.#frames] };
    if (failure.isAsync) return this.#reject(place, work);
    try {
      if (failure.works) work();
    } finally {
      // deno-lint-ignore no-unsafe-finally
      throw this.#raise(place);
    }
  }

  async #reject(place: Place, work: () => unknown): Promise<never> {
    const { failure } = this.plan!;
    if (failure.isLate) this.gate = Promise.withResolvers();
    try {
      if (failure.works) await work();
      await this.gate?.promise;
    } finally {
      // deno-lint-ignore no-unsafe-finally
      throw this.#raise(place);
    }
  }

  /** What is thrown. Where it is to arrive is clear at this moment. */
  #raise(place: Place): unknown {
    const { failure } = this.plan!;
    const value = failure.make();
    this.failed.push(value);
    this.place ??= place;
    // What a promise tells comes behind what happens at the same time.
    if (failure.isAsync) queueMicrotask(() => this.#expect(place, value));
    else this.#expect(place, value);
    return value;
  }

  #expect(place: Place, value: unknown): void {
    const sink = this.#sinkOf(place, value);
    if (sink !== null) this.due.push(sink);
    const { works, isAsync } = this.plan!.failure;
    const { hook, frames } = place;
    const through = isAsync || LOGS.has(hook)
      ? [hook]
      : frames.slice(frames.lastIndexOf("handleClose") + 1);
    const isDone = works && ENDINGS.has(hook);
    this.isUndone ||= !isDone && through.some((hook) => ENDINGS.has(hook));
  }

  /** Where it is to arrive; nobody cares for the source of a closed chat. */
  #sinkOf(place: Place, value: unknown): Sink | null {
    const { hook, frames, stage } = place;
    const [outermost] = frames;
    const { isAsync } = this.plan!.failure;
    const isClosing = hook === "close" && frames.at(-2) !== "handleClose";
    if (isClosing && place.isPlayed && outermost === hook) {
      if (stage === "closing") return "caller";
      if (stage === "closeAll()" && !isAsync) return "caller";
    }
    if (this.isClosed && hook === "more()") return null;
    if (value instanceof ExitNow) return "loop";
    if (this.isClosed || TIMERS.has(hook)) return "onError";
    if (hook === "handleError" || LOGS.has(hook)) return "onError";
    if (isAsync) return this.#sink;
    if (isClosing) return "onError"; // It is followed by a hard one.
    return isInError(place) ? "onError" : this.#sink;
  }

  /** Writes down where an error has arrived, if it is one of these failures. */
  note(error: unknown, sink: Sink): boolean {
    if (!this.failed.includes(error)) return false;
    // Each end of the streams tells of it.
    const isNews = sink !== "streams" || !this.#toldByStreams.has(error);
    if (sink === "streams") this.#toldByStreams.add(error);
    if (isNews) this.arrived.push(sink);
    return true;
  }

  #handle(error: unknown, handle: (error: unknown) => unknown): unknown {
    this.note(error, "handleError");
    return this.enter("handleError", () => {
      const { handling = "as by default" } = this.plan ?? {};
      if (handling === "as by default") return handle(error);
      if (handling === "does nothing") return;
      this.eggsThrown++;
      if (handling === "rejects") return Promise.reject(this.eggs);
      throw this.eggs;
    });
  }

  #onError(error: unknown): void {
    if (!this.note(error, "onError")) this.reported.push(error);
    if (this.plan?.handling !== "throws, and so does onError()") return;
    this.baconThrown++;
    throw new Error("bacon");
  }

  /** Checks where everything arrived, and that no hook came out of turn. */
  check(): void {
    assert(this.calls.length < RUNAWAY, "the hooks are called without end");
    // Streams that have failed already cannot tell: then it is onError().
    const told = (sinks: Sink[]) =>
      sinks.map((sink) => sink === "onError" ? this.#lastResort : sink).sort();
    assertEquals(told(this.arrived), told(this.due), "where it arrived");
    const eggs = this.reported.filter((error) => error === this.eggs);
    assertEquals(this.reported, eggs, "what else was reported");
    assertEquals(eggs.length, this.eggsThrown, "failures of handleError()");
    const isHook = ({ hook }: Call) => !LOGS.has(hook) && hook !== "close";
    const late = this.calls.filter((call) => call.isClosed && isHook(call));
    assertEquals(late, [], "hooks that ran after close()");
    if (!this.#spied.includes("handleClose")) return;
    const closes = this.calls.filter(({ hook }) => hook === "handleClose");
    assert(closes.length <= 1, "handleClose() ran twice");
  }

  get #lastResort(): Sink {
    return this.#sink === "streams" ? "streams" : "onError";
  }

  /**
   * Whether the dispatcher is to be open after it, where `isOpen` tells whether
   * one is to which nothing happens.
   */
  leavesOpen(isOpen: boolean): boolean {
    const { failure, handling, hook } = this.plan!;
    const { stage } = this.place!;
    const [sink] = this.due;
    const isLeft = isOpen || this.isUndone;
    if (sink === "loop") return isLeft;
    if (sink === "caller") return stage === "closing" && !failure.works;
    const isNoHook = TIMERS.has(hook) || LOGS.has(hook);
    if (sink === "onError") return isNoHook && isOpen;
    return handling === "does nothing" && isLeft;
  }

  /** Whether one that stays open receives and sends as if nothing had been. */
  get losesNothing(): boolean {
    const { hook, failure } = this.plan!;
    const isTaken = !TAKERS.has(hook) || failure.works;
    return isTaken && hook !== "more()" && !this.isUndone;
  }

  /** How often a hook, or any hook, was called in a stage. */
  callsIn(stage: string, hook?: string): number {
    const isIn = (call: Call) => call.stage === stage;
    const isOf = (call: Call) => hook === undefined || call.hook === hook;
    return this.calls.filter((call) => isIn(call) && isOf(call)).length;
  }

  /** It goes on failing, or an ExitNow keeps the end from coming now. */
  get isUncertain(): boolean {
    const { repeats } = this.plan!.failure;
    const isCut = this.place!.frames.some((hook) => INSIDE.has(hook));
    return repeats || (this.due[0] === "loop" && isCut);
  }

  /** Whether it fails in what is to end, which then does not end as ever. */
  get isAboutTheEnd(): boolean {
    const { hook } = this.plan!;
    return ENDINGS.has(hook) || hook === "close";
  }
}

// A life

/** A kind of dispatcher. */
export interface Kind {
  name: string;
  /** The hooks to fail in. */
  hooks: readonly string[];
  /** What its peer says to it. */
  message: string;
  /** The stories that it can live. */
  stories: readonly Story[];
  /** Makes the dispatcher, without a socket where that is possible. */
  make(life: Victim): Dispatcher;
  /** What connects it with the channel of the life. */
  connection(life: Life): Channel;
  /** Gives it that. */
  adopt(life: Life): void;
  /** It has begun to connect. */
  onConnecting?(life: Life): void;
  /** Has it send something. */
  say(life: Life, text: string): void;
  /** Where what its hooks throw arrives, if that is not `handleError()`. */
  sink?: Sink;
}

/** What a dispatcher is made for. */
export interface Victim {
  readonly map: SocketMap;
  readonly story: Pick<Story, "staysOpen" | "options">;
  /** What it reads and writes. */
  readonly channel: Channel;
  received: string;
}

/** What happens to a dispatcher, one thing after the other. */
export interface Story {
  name: string;
  /** What follows the peer's end is up to the story. */
  staysOpen?: boolean;
  /** What is sent last, whatever fails before. */
  lastWords?: string;
  /** What happens in it depends on how long a hook took. */
  isTimed?: boolean;
  options?: Record<string, unknown>;
  stages: Record<string, (life: Life) => unknown>;
}

/** What is to be seen of a stage that is over. */
interface Seen {
  calls: number;
  isOpen: boolean;
}

/** Is served, next to whoever fails. */
class Neighbour extends Echo {
  readonly channel: FakeChannel;
  expected = "";
  failures = 0;

  constructor(map: TestMap) {
    const channel = new FakeChannel();
    super(channel, { map });
    this.channel = channel;
  }
  override handleError(error: unknown): void | Promise<void> {
    this.failures++;
    return super.handleError(error);
  }
  /** Stays, to be seen to be served. */
  override handleShutdown(): void {}
}

/** One that is asked in each pass. */
class AskedNeighbour extends Neighbour {
  override readable(): boolean {
    return true;
  }
}

/** Turns of the runtime: enough for whatever a stage brings. */
async function someTurns(): Promise<void> {
  for (let i = 0; i < TURNS; i++) await turn();
}

/** One life of a dispatcher on fakes, with the failure that is planned. */
export class Life implements Victim {
  readonly clock = new MockClock();
  readonly network = new FakeNetwork();
  readonly channel = new FakeChannel();
  readonly map: TestMap;
  readonly kind: Kind;
  readonly story: Story;
  readonly saboteur: Saboteur;
  dispatcher!: Dispatcher;
  /** All channels that the dispatcher was given. */
  readonly channels: { readonly closed: boolean; close(): void }[] = [];
  received = "";
  /** Lets go what the channel holds back. */
  letGo: () => void = () => {};

  readonly seen: Record<string, Seen> = {};
  /** Where the first failure had settled, and whether that left it open. */
  after: { stage: string; isOpen: boolean } | null = null;

  readonly #neighbours: Neighbour[] = [];
  #loop!: Watched;

  constructor(kind: Kind, story: Story, plan: Plan | null) {
    const { clock, network } = this;
    this.kind = kind;
    this.story = story;
    this.saboteur = new Saboteur(plan, kind.sink);
    const logger = this.saboteur.spyOnLogger(new LogLines());
    this.map = quietMap({ clock, network, logger });
  }

  /** Lives it from the first stage to the last. */
  async run(): Promise<void> {
    const { kind, story, saboteur } = this;
    this.#neighbours.push(new Neighbour(this.map));
    this.#begin();
    await this.#settle();
    this.dispatcher = kind.make(this);
    saboteur.spyOn(this.dispatcher, kind.hooks);
    for (const [stage, happens] of Object.entries(story.stages)) {
      saboteur.stage = stage;
      const hadGate = saboteur.gate !== null;
      await this.#play(happens);
      await this.#serve();
      if (hadGate) await this.#openGate();
      const calls = saboteur.callsIn(stage);
      this.seen[stage] = { calls, isOpen: !saboteur.isClosed };
    }
    await this.#openGate();
    await this.#end();
  }

  #begin(): void {
    this.#loop = watch(loop({ map: this.map }));
  }

  /** Plays a stage: what comes out of it is the caller's. */
  async #play(happens: (life: Life) => unknown): Promise<void> {
    const { saboteur } = this;
    const fail = (error: unknown) => {
      if (!saboteur.note(error, "caller")) throw error;
    };
    // All of it comes in one pass: the neighbours before and behind.
    this.#tell(0);
    saboteur.isPlaying = true;
    let result: unknown;
    try {
      result = happens(this);
    } catch (error) {
      fail(error);
    }
    saboteur.isPlaying = false;
    if (this.#neighbours.length === 1) {
      this.#neighbours.push(new AskedNeighbour(this.map));
    }
    this.#tell(1);
    if (!(result instanceof Promise)) return;
    const played = result.catch(fail);
    if (saboteur.stage !== "closing") await played; // That one may be late.
  }

  /** Says something to a neighbour. */
  #tell(index: number): void {
    const { stage } = this.saboteur;
    if (stage === "closeAll()") return; // It closes the neighbours, too.
    const neighbour = this.#neighbours[index]!;
    neighbour.expected += `${stage};`;
    neighbour.channel.push(`${stage};`);
  }

  /** Each neighbour is heard and answered now, whatever happens next to it. */
  async #serve(): Promise<void> {
    const { stage, failed } = this.saboteur;
    await this.#settle();
    for (const { channel, expected, failures } of this.#neighbours) {
      assertEquals(channel.sent, expected, "a neighbour was not served");
      assertEquals(failures, 0, "a neighbour was harmed");
    }
    if (failed.length === 0) return;
    this.after ??= { stage, isOpen: !this.saboteur.isClosed };
  }

  /** Enters a loop again that an ExitNow has left. */
  async #goOn(): Promise<void> {
    while (this.#loop.error instanceof ExitNow) {
      assertStrictEquals(this.#loop.error, this.saboteur.failed.at(-1));
      this.saboteur.arrived.push("loop");
      this.#begin();
      await someTurns();
    }
  }

  /** Lets the loop do what it can. */
  async #settle(): Promise<void> {
    await someTurns();
    await this.#goOn();
  }

  async #openGate(): Promise<void> {
    const { gate } = this.saboteur;
    if (gate === null) return;
    this.saboteur.gate = null;
    this.#tell(0);
    gate.resolve();
    this.#tell(1);
    await this.#serve();
  }

  /** The end of all: whoever is still there is told to go. */
  async #end(): Promise<void> {
    const { map, saboteur } = this;
    saboteur.stage = "the end of all";
    for (const { channel } of this.#neighbours) channel.push(null);
    await this.#settle();
    if (map.size > 0) {
      const ending = watch(shutdown({ map, deadline: 1_000 }));
      await this.advance(1_000);
      await this.#goOn();
      assert(ending.settled, "shutdown() does not end");
      assertEquals(ending.error, undefined);
    }
    if (map.lingering > 0) await this.advance(20_000);
    assert(this.#loop.settled, "the loop does not end");
    assertEquals(this.#loop.error, undefined);
    this.#begin(); // An ExitNow that came when all was over comes from here.
    await this.#settle();
    assert(this.#loop.settled, "the map cannot be looped again");
  }

  // What a story can do

  /** The channel takes nothing until {@linkcode letGo}. */
  holdBack(): void {
    const gate = Promise.withResolvers<void>();
    this.letGo = () => gate.resolve();
    this.channel.take = (data) => gate.promise.then(() => data.length);
  }

  /** Lets time pass, with a loop that goes on. */
  async advance(ms: number): Promise<void> {
    await this.#settle();
    await this.clock.advance(ms);
  }

  /** The peer says something. */
  hear(text: string = this.kind.message): void {
    this.channel.push(text);
  }

  /** The dispatcher gets a connection that is there already. */
  adopt(): void {
    this.channels.push(this.channel);
    this.kind.adopt(this);
  }

  /** Closes what a `handleAccepted()` got that an ExitNow kept from its work. */
  closeUnclaimed(): void {
    const { failure } = this.saboteur.plan!;
    if (!(failure.make() instanceof ExitNow)) return;
    for (const channel of this.channels) if (!channel.closed) channel.close();
  }

  // What it comes to

  /** Checks what holds whatever failed. */
  check(): void {
    this.saboteur.check();
    assertEquals(this.map.size, 0);
    assertEquals(this.map.lingering, 0);
    assert(this.channels.every((channel) => channel.closed), "a channel leaks");
    assertEquals(this.clock.armed, 0, "a timeout is armed");
    const { timers } = this.map[REACTOR];
    assertEquals(timers.nextDue, Infinity, "a timer is left");
    assertEquals(exhaustion.listeners, 0);
  }

  /** Checks that it ended or went on as it should, by a life without failure. */
  compare(quiet: Life): void {
    const { after, saboteur } = this;
    assert(after !== null, "nothing failed");
    const isWait = saboteur.plan!.failure.isLate && this.story.isTimed;
    if (saboteur.isUncertain || isWait) return;
    const { stage, isOpen } = after;
    const isToBeOpen = saboteur.leavesOpen(quiet.seen[stage]!.isOpen);
    assertEquals(isOpen, isToBeOpen, `whether it is open after: ${stage}`);
    if (!isOpen || saboteur.isAboutTheEnd) return;
    this.#compareTaken(quiet);
    const stages = Object.keys(quiet.seen);
    for (const stage of stages.slice(stages.indexOf(after.stage) + 1)) {
      const isCalled = (life: Life) => life.seen[stage]!.calls > 0;
      assert(isCalled(this) || !isCalled(quiet), `it is deaf in: ${stage}`);
    }
    const { lastWords = "" } = this.story;
    assert(this.channel.sent.endsWith(lastWords), "what was to be sent last");
    if (!saboteur.losesNothing) return;
    assertEquals(this.received, quiet.received, "what it received");
    assertEquals(this.channel.sent, quiet.channel.sent, "what it sent");
  }

  /** What had arrived with the piece that failed is handed out, and at once. */
  #compareTaken(quiet: Life): void {
    const { hook, stage, failure } = this.saboteur.plan!;
    if (!TAKERS.has(hook) || failure.isLate) return;
    const count = (life: Life) => life.saboteur.callsIn(stage, hook);
    assertEquals(count(this), count(quiet), `what it is given in: ${stage}`);
  }
}
