/**
 * The trial of a dispatcher on fakes in which one hook fails in a given way. What
 * is called from then on is written down, and two neighbours must be served.
 */

import { assert, assertEquals } from "@std/assert";
import { REACTOR } from "../core/symbols.ts";
import { type Dispatcher, ExitNow, loop } from "../mod.ts";
import {
  Echo,
  FakeChannel,
  FakeNetwork,
  LogLines,
  quietMap,
  watch,
} from "./fakes.ts";
import { MockClock } from "../testing/mock_clock.ts";
import { captureRejections, type TestMap, turns } from "./support.ts";

const SPAM = new Error("spam");
const EGGS = new Error("eggs");
const EXIT = new ExitNow();

/** How a hook fails, and what its `handleError()` does then. */
interface Way {
  isAsync?: boolean;
  /** Runs in the place of the hook, whose work is given. */
  fail(work: () => unknown, later: Promise<void>): unknown;
  handleError?(): unknown;
}

export function raise(error: Error): never {
  throw error;
}

const throws: Way = { fail: () => raise(SPAM) };
const rejects: Way = { isAsync: true, fail: () => Promise.reject(SPAM) };

/** Does its work, and rejects when all others have had their turn. */
const rejectsLate = (error: Error): Way => ({
  isAsync: true,
  fail: async (work, later) => {
    await work();
    await later;
    throw error;
  },
});

/** The ways to fail, by the words of the expected calls. */
export const WAYS: Record<string, Way[]> = {
  "throws": [throws],
  "rejects": [rejects],
  "fails": [throws, rejects],
  "works and fails": [
    { fail: (work) => [work(), raise(SPAM)] },
    rejectsLate(SPAM),
  ],
  "exits": [{ fail: () => raise(EXIT) }],
  "works and exits": [rejectsLate(EXIT)],
  "is ignored": [
    { ...throws, handleError: () => {} },
    { ...rejects, handleError: () => {} },
  ],
  "fails twice": [
    { ...throws, handleError: () => raise(EGGS) },
    { ...throws, handleError: () => Promise.reject(EGGS) },
  ],
};

/** Written down when they are called. */
const NOTED = [
  ...["handleConnect", "handleEnd", "handleDrain", "handleTimeout"],
  ...["handleShutdown", "handleOverflow", "handleAccepted", "handleClose"],
  ...["close", "collectIncomingData", "foundTerminator"],
];
/** Written down elsewhere, or too often to be written down. */
const QUIET = /^(?:readable|writable|logInfo|logger|handleError|.*Event)$/;

/** A call with an error: what the test has thrown has a name. */
export function withError(call: string, error: unknown): string {
  const names = new Map([[SPAM, "spam"], [EGGS, "eggs"], [EXIT, "exit"]]);
  return `${call}(${names.get(error as Error) ?? ""})`;
}

/** One dispatcher, and a hook of it that fails. */
export class Trial {
  readonly clock = new MockClock();
  readonly network = new FakeNetwork();
  readonly channel = new FakeChannel();
  readonly map: TestMap;
  /** What the neighbours are to get. */
  neighboursHear = "hello";
  subject!: Dispatcher;

  readonly #hook: string;
  readonly #way: Way;
  readonly #later = Promise.withResolvers<void>();
  #state: "before" | "due" | "over" = "before";
  readonly #trace: string[] = [];
  #loop = watch(Promise.resolve());

  constructor(hook: string, way: Way) {
    this.#hook = hook;
    this.#way = way;
    const { clock, network } = this;
    const logger = new LogLines();
    for (const level of ["info", "warn", "error"] as const) {
      logger[level] = () => this.call("logger", () => {}) as void;
    }
    this.map = quietMap({ clock, network, logger });
    this.map.onError = (error) => this.note(withError("onError", error));
  }

  /** Writes down what is called since the hook has failed. */
  note(call: string): void {
    if (this.#state === "over") this.#trace.push(call);
  }

  /** Runs `work` as a hook, or has the hook fail if it is due. */
  call(hook: string, work: () => unknown): unknown {
    if (!QUIET.test(hook)) this.note(hook);
    if (this.#state !== "due" || hook !== this.#hook) return work();
    this.#state = "over";
    return this.#way.fail(work, this.#later.promise);
  }

  /** Puts itself in front of the hooks of the dispatcher that this is about. */
  spyOn<D extends Dispatcher>(
    subject: D,
    overrides: Record<string, () => unknown> = {},
  ): D {
    this.subject = subject;
    const methods = subject as unknown as Record<
      string,
      ((...args: unknown[]) => unknown) | undefined
    >;
    const handleError = this.#way.handleError ??
      subject.handleError.bind(subject);
    const names = [...NOTED, ...Object.keys(overrides), this.#hook];
    for (const name of new Set(names)) {
      const method = overrides[name] ?? methods[name]?.bind(subject);
      if (method === undefined) continue; // The test calls it.
      methods[name] = (...args) => this.call(name, () => method(...args));
    }
    methods.handleError = (error) => {
      this.note(withError("handleError", error));
      return this.call("handleError", () => handleError(error));
    };
    return subject;
  }

  /** The calls since the hook has failed; behind `;` those of a later event. */
  async run(
    open: (trial: Trial) => unknown,
    happens: (trial: Trial) => unknown,
  ): Promise<string> {
    using rejections = captureRejections();
    const neighbours = [new FakeChannel(), new FakeChannel()];
    this.#addNeighbour(neighbours[0]!);
    this.#enterLoop();
    open(this);
    await turns();
    this.#addNeighbour(neighbours[1]!);
    await turns();
    this.#state = "due";
    neighbours[0]!.push("hello");
    this.#noteThrown(() => happens(this));
    neighbours[1]!.push("hello");
    await turns();
    this.#later.resolve();
    await turns();
    if (this.#loop.settled) this.#enterLoop(); // An ExitNow may be left.
    await turns();
    if (this.channel.sent) this.note(`sent(${this.channel.sent})`);
    this.note(";");
    this.channel.push("more\n");
    this.network.acceptor.push(this.client());
    await turns();
    assertEquals(this.#state, "over", `${this.#hook} was not called`);
    const calls = this.#trace.join(" ").replace(/ ?;$/, "");
    for (const { sent } of neighbours) assertEquals(sent, this.neighboursHear);
    await this.#end(neighbours);
    assertEquals(rejections.reasons, [], "nobody handled a rejection");
    return calls;
  }

  /** A client for the listener to accept. */
  client(): FakeChannel {
    const client = new FakeChannel();
    client.close = () => this.note("client.close");
    return client;
  }

  #addNeighbour(channel: FakeChannel): void {
    new Echo(channel, { map: this.map }).handleShutdown = () => {};
  }

  /** Loops, and again after an ExitNow. */
  #enterLoop(): void {
    const looping = loop({ map: this.map }).catch((error) => {
      if (error !== EXIT) throw error;
      this.note("loop");
      this.#enterLoop();
    });
    this.#loop = watch(looping);
  }

  #noteThrown(run: () => unknown): void {
    const note = (error: unknown) => this.note(withError("caller", error));
    try {
      Promise.resolve(run()).catch(note);
    } catch (error) {
      note(error);
    }
  }

  /** Everybody goes, and nothing is left. */
  async #end(neighbours: FakeChannel[]): Promise<void> {
    const { channel, clock, map } = this;
    this.subject.abort();
    for (const neighbour of neighbours) neighbour.push(null);
    await turns();
    await clock.advance(60_000);
    await turns();
    assert(this.#loop.settled, "the loop does not end");
    assertEquals(this.#loop.error, undefined);
    assertEquals(map.size + map.lingering, 0);
    assertEquals(clock.armed, 0, "a timeout is armed");
    assertEquals(map[REACTOR].timers.nextDue, Infinity, "a timer is left");
    assert(channel.closed || channel.reads === 0, "the channel is open");
  }
}
