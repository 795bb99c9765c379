/**
 * The engine of a map: who is registered, who is ready, and the pass that asks,
 * waits and dispatches. What a pass costs follows the ready entries, apart from
 * the predicates that a class overrides, which are asked each time.
 *
 * No promise is raced: each pending operation has one callback, which puts its
 * entry on the ready list and resumes the one promise that the pass waits on.
 *
 * @module
 */

import { checkedClock } from "./checked_clock.ts";
import type { Clock } from "./clock.ts";
import { LogQuota } from "./log_quota.ts";
import { type Asked, PredicateList } from "./predicates.ts";
import { isPromise, toPromise } from "./thenable.ts";
import { type HeapTimer, TimerHeap } from "./timers.ts";

/**
 * Thrown from a hook, a predicate or a timer, it leaves the loop and reaches
 * the caller of `loop()` or `poll()`. The other dispatchers stay as they are,
 * so the loop can be entered again.
 *
 * @example Leave the loop from a hook
 * ```ts
 * import { Dispatcher, ExitNow, loop } from "@asyncore/asyncore";
 * import { assertRejects } from "@std/assert";
 *
 * using server = new Dispatcher();
 * server.createSocket();
 * server.bind({ hostname: "127.0.0.1", port: 0 });
 * server.listen();
 * server.callLater(1, () => {
 *   throw new ExitNow("enough");
 * });
 * await assertRejects(() => loop(), ExitNow, "enough");
 * ```
 */
export class ExitNow extends Error {
  /** The name of this class of errors: `"ExitNow"`. */
  override name = "ExitNow";
}

/**
 * What a {@linkcode SocketMap} holds: the part of a dispatcher that the loop
 * calls. Every `Dispatcher` is one.
 */
export interface Pollable {
  /** Whether the connection stands. */
  readonly connected: boolean;
  /** Whether it takes connections. */
  readonly accepting: boolean;
  /** Whether a connection is being made. */
  readonly connecting: boolean;
  /** Whether it is closed, and has yet to send, or to hear its peer's end. */
  readonly closing: boolean;
  /** The peer's address, or the one listened on. */
  readonly addr: Deno.Addr | null;
  /** Whether it wants to read (or accept). */
  readable(): boolean;
  /** Whether it wants to write. */
  writable(): boolean;
  /** Something can be read or accepted. */
  handleReadEvent(): void | Promise<void>;
  /** Something can be written. */
  handleWriteEvent(): void | Promise<void>;
  /** The connection stands. */
  handleConnectEvent(): void | Promise<void>;
  /** The connection is over. */
  handleClose(): void | Promise<void>;
  /** A hook or a predicate threw, or an operation failed. */
  handleError(error: unknown): void | Promise<void>;
  /** Logs a hit. */
  log(message: string): void;
  /** Logs what happens. */
  logInfo(message: string, type?: string): void;
  /** Leaves the map; what was accepted still goes out. */
  close(): void;
  /** Leaves the map, dropping what was not sent. */
  abort(): void;
}

/** What the engine knows of a dispatcher. */
export interface Entry extends Asked {
  /** The dispatcher. */
  readonly pollable: Pollable;
  /** The engine it is registered with. */
  readonly reactor: Reactor;
  /** Registered, so events may be dispatched to it. */
  joined: boolean;
  /** Its predicates are asked in each pass. */
  asks: boolean;
  /** On the ready list. */
  queued: boolean;
  /** On the list of those to be given a write event. */
  writeQueued: boolean;
  /** On the list of those to be read again. */
  readQueued: boolean;
  /** The first pass after joining has come. */
  enter(): void;
  /** Dispatches a connect, a read or an accept. */
  read(): void;
  /** Dispatches a write. */
  write(): void;
  /** Starts to send what was accepted. */
  startSending(): void;
  /** Starts to read or accept. */
  startReading(): void;
  /** Tells the dispatcher that the program ends. */
  shutdown(): void;
  /** Closes the dispatcher without asking it; what was accepted still goes out. */
  close(): void;
  /** The same, where an override of the dispatcher's `close()` has not. */
  closeAnyway(): void;
  /** Closes the dispatcher without asking it, and drops what was not sent. */
  abort(reason?: Error): void;
  /** An operation of the closed dispatcher is in flight after many turns. */
  stillHeld(): void;
  /** It takes connections. */
  readonly listens: boolean;
  /** Closed, with accepted bytes still on their way. */
  readonly closing: boolean;
  /** Something that was accepted did not reach the peer, as far as one can tell. */
  readonly hasLost: boolean;
}

/** How many answers may wait for one another before they go out. */
const MOST_TOGETHER = 64;
/**
 * When a pass had so many turns to give, others may have been cut off: Deno lets
 * 128 reads and writes through before it looks at the sockets again, and then
 * those whose news is fresh come first.
 */
const MANY = 96;
/** How many are read again after such a pass, and how many when all were asked. */
const FEW = 32;
/** How long those others are waited for, in ms. */
const WAIT_FOR_OTHERS = 1;
/** How many waits in a row may do without a turn of the runtime. */
const WAITS_PER_TURN = 32;
/**
 * How many turns the operations of what was closed get to settle: Deno ends
 * them in the first or second.
 */
const RELEASE_TURNS = 16;
/** How long passes may follow one another without a wait, in ms. */
const LONGEST_BUSY = 10;

/** Runs the passes of one map. */
export class Reactor {
  /** The map's clock, as it may be used. */
  readonly clock: Clock;
  /** The same, as it was given: other maps may have it, too. */
  readonly givenClock: Clock;
  readonly timers: TimerHeap;
  /** The registered dispatchers, in the order in which they were added. */
  readonly members = new Map<Pollable, Entry>();
  /** Gets the errors that no dispatcher can handle. */
  readonly report: (error: unknown) => void;
  /** Bounds what the library logs by itself. */
  readonly logQuota: LogQuota;
  /** Changes whenever something happened that an idle dispatcher may care for. */
  activity = 0;
  /** What is closed and still has bytes to send, or an operation in flight. */
  readonly lingering = new Set<Entry>();
  /** Those of them that only wait for the system to let go. */
  readonly releasing = new Set<Entry>();
  /** Those of these that have an address which somebody may want to take. */
  readonly addressesHeld = new Set<Entry>();
  /** These are looked after while a pass waits. */
  #isLettingGo = false;
  /** Each of them gets every dispatcher in its first pass. */
  readonly onEnter = new Set<(entry: Entry) => void>();

  /** How many have a turn to read in the pass that is under way. */
  crowd = 0;

  /** Those whose predicates are asked. */
  readonly predicates = new PredicateList();

  /** Those that wait for their first pass. */
  readonly #fresh = new Set<Entry>();
  #ready: Entry[] = [];
  #writers: Entry[] = [];
  /** What is asked of the system waits until all hooks or predicates have run. */
  #gathers = false;
  /** How many turns, to read or to write, the last pass had to give. */
  #turns = 0;
  #senders: Entry[] = [];
  #readers: Entry[] = [];

  /** Who runs the passes; a guest makes way for whoever comes. */
  #driver: "nobody" | "guest" | "owner" = "nobody";
  /** Those who wait until nobody does. */
  #whenFree: (() => void)[] = [];
  /** Tells who came that the guest's pass is over. */
  #guestGone: (() => void) | null = null;
  #awake = false;
  /** The pass that is under way does not wait when nobody is left. */
  #endsIdle = false;
  /** How many passes have waited so far. */
  #waits = 0;
  /** The pass before has waited: as a rule the runtime has just had its turn. */
  #hadTurn = false;
  /** When the first turn after the last wait came, if it has. */
  #busySince: number | null = null;
  /** What the running or the next pass is to throw. */
  #exit: { error: unknown } | null = null;
  #resume: (() => void) | null = null;
  #deadline = 0;
  #timerId: unknown = undefined;
  #timerDue = NaN;

  constructor(clock: Clock, report: (error: unknown) => void) {
    this.givenClock = clock;
    this.clock = checkedClock(clock, (error) => this.#clockFailed(error));
    this.report = report;
    this.timers = new TimerHeap(
      () => this.clock.now(),
      () => this.#resumeWait(),
    );
    this.logQuota = new LogQuota(this.timers, (run) => this.outside(run));
  }

  /** Nobody is registered, and closed connections have sent what they had. */
  get idle(): boolean {
    return this.members.size === 0 && this.lingering.size === 0;
  }

  join(entry: Entry): void {
    entry.joined = true;
    this.members.set(entry.pollable, entry);
    // It may have left and come back before its first pass: to the end.
    this.#fresh.delete(entry);
    this.#fresh.add(entry);
    this.activity++;
    this.#resumeWait();
  }

  leave(entry: Entry): void {
    if (!entry.joined) return;
    entry.joined = false;
    this.members.delete(entry.pollable);
    this.predicates.remove(entry);
    if (this.members.size === 0) this.#takeReaders(Infinity);
    this.activity++;
    this.#resumeWait();
  }

  /** Drops what the lists hold of an entry that moves to another map, `next`. */
  forget(entry: Entry, next: Reactor): void {
    const isOther = (other: Entry) => other !== entry;
    this.#fresh.delete(entry);
    this.#ready = this.#ready.filter(isOther);
    this.#writers = this.#writers.filter(isOther);
    this.#readers = this.#readers.filter(isOther);
    entry.queued = entry.writeQueued = entry.readQueued = false;
    entry.place = -1;
    // Its end may have begun, by a lifetime, before its dispatcher hears of it.
    if (this.lingering.delete(entry)) next.lingering.add(entry);
    if (this.releasing.delete(entry)) next.releasing.add(entry);
    this.freed();
  }

  /** Gives `entry` its turn to read in this pass or the next. */
  queue(entry: Entry): void {
    if (!entry.queued) {
      entry.queued = true;
      this.#ready.push(entry);
    }
    this.#resumeWait();
  }

  /** Gives `entry` its turn to write in this pass or the next. */
  queueWrite(entry: Entry): void {
    if (!entry.writeQueued) {
      entry.writeQueued = true;
      this.#writers.push(entry);
    }
    this.#resumeWait();
  }

  /** Has `entry` start to send: with the others, if there may be some. */
  sendSoon(entry: Entry): void {
    if (!this.#gathers) entry.startSending();
    else if (this.#senders.at(-1) !== entry) {
      if (this.#senders.length === MOST_TOGETHER) this.#startSenders();
      this.#senders.push(entry);
    }
  }

  /** Has `entry` start to read: with the others, if there may be some. */
  readSoon(entry: Entry): void {
    if (!this.#gathers) entry.startReading();
    else if (!entry.readQueued) {
      entry.readQueued = true;
      this.#readers.push(entry);
    }
  }

  /** Has the predicates asked again: ends the current wait, if there is one. */
  notice(): void {
    this.activity++;
    this.#resumeWait();
  }

  /** Ends the current wait, or keeps the next pass from waiting. */
  wake(): void {
    this.#awake = true;
    this.notice();
  }

  /** Something closed is closed for the system, too. */
  freed(): void {
    if (this.#endsIdle && this.idle) this.#resumeWait();
  }

  /** The system has yet to let go of what `entry` has closed. */
  hold(entry: Entry): void {
    this.releasing.add(entry);
    // The next pass looks after it, but that may be long in coming.
    if (this.#resume !== null && !this.#isLettingGo) this.follow(this.#letGo());
  }

  async #letGo(): Promise<void> {
    this.#isLettingGo = true;
    while (this.releasing.size > 0) await this.released();
    this.#isLettingGo = false;
  }

  /**
   * Waits until what was closed so far is closed for the system, too, or
   * something else is to be done.
   */
  async released(isInterrupted = () => false): Promise<void> {
    const entries = [...this.releasing];
    const isHeld = (entry: Entry) => this.releasing.has(entry);
    for (let left = RELEASE_TURNS; left > 0 && entries.some(isHeld); left--) {
      await new Promise<void>((resolve) => this.clock.setImmediate(resolve));
      if (isInterrupted()) return;
    }
    for (const entry of entries.filter(isHeld)) {
      this.releasing.delete(entry);
      this.addressesHeld.delete(entry);
      entry.stillHeld();
    }
  }

  /** Makes the running or the next pass throw `error`. */
  #exitWith(error: unknown): void {
    this.#exit ??= { error };
    this.wake();
  }

  /** Without its time a pass is no good; where none runs, others can be told. */
  #clockFailed(error: unknown): void {
    if (this.isRunning) this.#exitWith(error);
    else this.outside(() => this.report(error));
  }

  /** Runs what no caller waits for: an ExitNow waits for a pass that can throw it. */
  outside(run: () => void): void {
    try {
      run();
    } catch (error) {
      if (error instanceof ExitNow) this.#exitWith(error);
      else this.outside(() => this.report(error));
    }
  }

  /**
   * Reports the rejection of what user's code gave, if that is a promise: nobody
   * awaits it.
   *
   * @returns Whether it is one.
   */
  follow(result: unknown): boolean {
    if (!isPromise(result)) return false;
    toPromise(result).then(undefined, (error) =>
      this.outside(() => {
        throw error;
      }));
    return true;
  }

  /** Somebody runs the passes. */
  get isRunning(): boolean {
    return this.#driver !== "nobody";
  }

  /**
   * Takes the map for one caller of `loop()` or `poll()`, after the pass of a
   * guest if one is under way.
   *
   * @throws {Error} If another caller has it.
   */
  start(): void | Promise<void> {
    if (this.#driver === "owner") {
      throw new Error(
        "Cannot start a loop: this map is being looped already. A hook runs " +
          "inside the loop and should return; elsewhere, await the other " +
          "loop, or use another map",
      );
    }
    const isGuest = this.#driver === "guest";
    this.#driver = "owner";
    this.#hadTurn = false;
    this.activity++;
    if (!isGuest) return;
    this.wake();
    return new Promise((resolve) => this.#guestGone = resolve);
  }

  /** Gives the map back. */
  stop(): void {
    this.#driver = "nobody";
    this.#endsIdle = false;
    this.#disarm();
    if (this.idle) this.logQuota.flush();
    for (const resolve of this.#whenFree.splice(0)) resolve();
  }

  /** Makes a pass where nobody else does, and makes way for whoever comes. */
  async passAsGuest(timeout: number, endsIdle: boolean): Promise<void> {
    this.#driver = "guest";
    try {
      await this.pass(timeout, endsIdle);
    } finally {
      if (this.#guestGone === null) this.stop();
      else this.#guestGone();
      this.#guestGone = null;
    }
  }

  /** Calls `then` when nobody runs the passes any more. */
  whenFree(then: () => void): void {
    this.#whenFree.push(then);
  }

  /**
   * Asks, waits for at most `timeout` ms, dispatches.
   *
   * @param endsIdle Whether it does not wait when nobody is left to wait for.
   */
  async pass(timeout: number, endsIdle: boolean): Promise<void> {
    this.#ask(timeout);
    if (endsIdle && this.idle) return;
    this.#endsIdle = endsIdle;
    await this.#untilReady(timeout);
    this.#awake = false;
    this.throwExit();
    const started = this.timers.added;
    // A timer may take again what was closed before.
    while (this.#runTimers(started)) await this.released();
    this.#dispatch(timeout);
    this.throwExit();
  }

  /** Waits for at most `timeout` ms until there is something to do. */
  #untilReady(timeout: number): Promise<void> | void {
    const work = this.#hasWork;
    const hadTurn = this.#hadTurn;
    this.#hadTurn = false;
    // What came of a wait is gone on with at once: the answer to what was read.
    if (work && hadTurn) return;
    if (work || this.#awake || timeout === 0) return this.turn();
    if (this.releasing.size > 0) {
      const isInterrupted = () => this.#hasWork || this.#awake;
      return this.released(isInterrupted).then(() => this.#untilReady(timeout));
    }
    if (this.#endsIdle && this.idle) return;
    this.#hadTurn = true;
    const isHeldBack = this.#readers.length > 0;
    const waiting = this.#wait(
      isHeldBack ? Math.min(timeout, WAIT_FOR_OTHERS) : timeout,
    );
    // What it waits for may come by promises alone, again and again.
    const isTurnDue = ++this.#waits % WAITS_PER_TURN === 0;
    return isTurnDue ? waiting.then(() => this.turn()) : waiting;
  }

  get #hasWork(): boolean {
    const { size: newcomers } = this.#fresh;
    return this.#ready.length + this.#writers.length + newcomers > 0;
  }

  /** Throws what came outside a pass and is to leave the loop, if anything did. */
  throwExit(): void {
    if (this.#exit === null) return;
    const { error } = this.#exit;
    this.#exit = null;
    throw error;
  }

  #ask(timeout: number): void {
    if (this.#fresh.size > 0) this.#enter();
    this.#gathers = true;
    try {
      this.predicates.ask();
    } finally {
      this.#startAll(timeout);
    }
  }

  #enter(): void {
    // Who joins meanwhile has the next pass, or this one might never end.
    let left = this.#fresh.size;
    for (const entry of this.#fresh) {
      if (left-- === 0) return;
      this.#fresh.delete(entry);
      if (!this.#has(entry)) continue;
      for (const tell of this.onEnter) tell(entry);
      if (!this.#isEntering(entry)) continue;
      entry.enter();
      if (entry.asks && this.#isEntering(entry)) this.predicates.add(entry);
    }
  }

  /** What ran meanwhile may have had it leave, or come back as a newcomer. */
  #isEntering(entry: Entry): boolean {
    return this.#has(entry) && !this.#fresh.has(entry);
  }

  /** Lists may still hold those that closed, left or moved to another map. */
  #has(entry: Entry): boolean {
    return entry.joined && entry.reactor === this;
  }

  /** One turn of the runtime: other sockets, timers and promises get theirs. */
  turn(): Promise<void> {
    const now = this.clock.now();
    const isOverdue = now - (this.#busySince ??= now) >= LONGEST_BUSY;
    if (isOverdue) this.#busySince = null;
    return new Promise((resolve) =>
      this.clock.setImmediate(resolve, isOverdue)
    );
  }

  #wait(timeout: number): Promise<void> {
    const now = this.clock.now();
    this.#deadline = Math.min(now + timeout, this.timers.nextDue);
    if (this.#deadline <= now) return this.turn();
    // A clock may run other things meanwhile: none of them goes unnoticed.
    const waiting = new Promise<void>((resolve) => this.#resume = resolve);
    this.#arm(now);
    return waiting;
  }

  #resumeWait(): void {
    const resume = this.#resume;
    if (resume === null) return;
    this.#resume = null;
    this.#busySince = null;
    resume();
  }

  /** Setting and clearing a timeout costs more than a pass: one serves many. */
  #arm(now: number): void {
    if (this.#timerDue <= this.#deadline) return;
    this.#disarm();
    this.#timerDue = this.#deadline;
    const delay = this.#deadline - now;
    this.#timerId = this.clock.setTimeout(this.#onTimeout, delay);
  }

  #disarm(): void {
    if (this.#timerId !== undefined) this.clock.clearTimeout(this.#timerId);
    this.#timerId = undefined;
    this.#timerDue = NaN;
  }

  readonly #onTimeout = (): void => {
    // Deno before 2.7.3 can run one that was cleared, while another is set.
    this.#disarm();
    if (this.#resume === null) return;
    const now = this.clock.now();
    if (now >= this.#deadline) this.#resumeWait();
    else this.#arm(now);
  };

  /**
   * Runs the timers that are due. One that a callback starts waits for the next
   * pass, even at 0 ms: it is none of the first `started`.
   *
   * @returns Whether some are left until the addresses that were closed are free.
   */
  #runTimers(started: number): boolean {
    if (this.timers.nextDue === Infinity) return false;
    const now = this.clock.now();
    for (;;) {
      if (this.addressesHeld.size > 0 && this.timers.nextDue <= now) {
        return true;
      }
      const timer = this.timers.takeDue(now, started);
      if (timer === null) return false;
      if (!timer.busy || !timer.repeats) this.#runTimer(timer);
    }
  }

  #runTimer(timer: HeapTimer): void {
    this.activity++;
    try {
      const result = timer.callback();
      if (!isPromise(result)) return;
      timer.busy = true;
      toPromise(result).then(() => {
        timer.busy = false;
        this.notice();
      }, (error) => {
        timer.busy = false;
        this.outside(() => {
          throw error;
        });
      });
    } catch (error) {
      if (error instanceof ExitNow) throw error;
      this.report(error);
    }
  }

  #dispatch(timeout: number): void {
    this.crowd = this.#ready.length;
    this.#turns = this.crowd + this.#writers.length;
    // Who is alone has its answer on its way at once.
    this.#gathers = this.#turns > 1;
    try {
      this.#giveTurns();
    } finally {
      this.#startAll(timeout);
    }
  }

  /**
   * Each call to the system throws what the processor has cached of the program
   * out: so first all hooks run, and then come the calls.
   */
  #startAll(timeout: number): void {
    this.#gathers = false;
    if (this.#senders.length > 0) this.#startSenders();
    if (this.#readers.length === 0) return;
    // A pass that must not wait is to take all that is there.
    const isCrowded = timeout > 0 && this.#turns >= MANY;
    const readers = this.#takeReaders(isCrowded ? FEW : Infinity);
    let at = 0;
    try {
      while (at < readers.length) readers[at++]!.startReading();
    } finally { // An ExitNow must not leave the others deaf.
      for (const entry of readers.slice(at)) {
        entry.readQueued = true;
        this.#readers.push(entry);
      }
    }
  }

  #startSenders(): void {
    const senders = this.#senders;
    this.#senders = [];
    for (const entry of senders) entry.startSending();
  }

  /** Takes those off the list who came first. */
  #takeReaders(most: number): Entry[] {
    const taken = this.#readers.splice(0, most);
    for (const entry of taken) entry.readQueued = false;
    return taken;
  }

  #giveTurns(): void {
    if (this.#ready.length > 0) {
      const entries = this.#ready;
      this.#ready = [];
      visitAll(entries, () => this.#ready, (entry) => {
        if (entry.reactor !== this) return;
        entry.queued = false;
        if (entry.joined) entry.read();
      });
    }
    // Who connected just now has joined the writers of this same pass.
    if (this.#writers.length > 0) {
      const entries = this.#writers;
      this.#writers = [];
      visitAll(entries, () => this.#writers, (entry) => {
        if (entry.reactor !== this) return;
        entry.writeQueued = false;
        if (entry.joined) entry.write();
      });
    }
  }
}

/** Visits all; those that an ExitNow cuts off have their turn in the next pass. */
function visitAll(
  entries: Entry[],
  next: () => Entry[],
  visit: (entry: Entry) => void,
): void {
  let at = 0;
  try {
    while (at < entries.length) visit(entries[at++]!);
  } finally {
    // The list of the next pass is another one when a visited entry has moved.
    while (at < entries.length) next().push(entries[at++]!);
  }
}
