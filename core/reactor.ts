/**
 * The engine of a map: it registers the dispatchers, and makes the passes. A pass
 * asks, waits and dispatches. It costs as much as its ready entries, and as the
 * predicates that classes override, which each pass asks.
 *
 * No promise is raced: each pending operation has one callback, which puts its
 * entry on the ready list and ends the wait of the pass.
 *
 * @module
 */

import { checkedClock } from "./checked_clock.ts";
import type { Clock } from "./clock.ts";
import type { Entry, Pollable } from "./entry.ts";
import { Turns } from "./fairness.ts";
import { ClosedSockets } from "./closed_sockets.ts";
import { LogQuota } from "./log_quota.ts";
import { Pollers } from "./poller.ts";
import { PredicateCache } from "./predicates.ts";
import { isPromise, toPromise } from "./thenable.ts";
import { type HeapTimer, TimerHeap } from "./timers.ts";
import { Wait } from "./waiting.ts";

/**
 * An error that leaves the loop. Throw it from a hook, a predicate or a timer:
 * it reaches the caller of `loop()` or `poll()`. The dispatchers stay as they
 * are, so the program can enter the loop again.
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
 * One wait in so many is followed by a turn of the runtime. If promises alone end
 * the waits, nothing else would let the timers and sockets of the process run. A
 * larger number makes them wait longer; a smaller one costs more turns, of 2 µs
 * each. The value is a choice.
 */
const WAITS_PER_TURN = 32;

/** Runs the passes of one map. */
export class Reactor {
  /** The map's clock, in the wrapper that checks it. */
  readonly clock: Clock;
  /** The map's clock as the program gave it. Other maps may have the same one. */
  readonly givenClock: Clock;
  readonly timers: TimerHeap;
  /** The registered dispatchers, in the order in which they were added. */
  readonly members: Map<Pollable, Entry> = new Map();
  /** Gets the errors that no dispatcher can handle. */
  readonly report: (error: unknown) => void;
  /** Limits the lines that the library logs by itself. */
  readonly logQuota: LogQuota;
  /**
   * Grows with each event. A dispatcher whose `handleWrite()` sent nothing is
   * called again when it has grown.
   */
  tick = 0;
  /** The closed sockets that linger. */
  readonly lingering: ClosedSockets;
  /** Each of these functions gets every entry in its first pass. */
  readonly onEnter: Set<(entry: Entry) => void> = new Set();
  /** The entries whose predicates each pass asks. */
  readonly predicates: PredicateCache = new PredicateCache();
  /** The entries that have a turn. */
  readonly turns: Turns = new Turns(this);

  /** The engines, besides Deno, that bring events to its entries. */
  readonly pollers: Pollers = new Pollers();

  /** The entries that wait for their first pass. */
  readonly #fresh = new Set<Entry>();
  readonly #wait: Wait;
  /** The caller that makes the passes. `shutdown()` makes way for `loop()`. */
  #driver: "nobody" | "shutdown" | "caller" = "nobody";
  /** The callbacks that run when no caller makes passes. */
  #whenFree: (() => void)[] = [];
  /** Tells a waiting caller that the pass of `shutdown()` is over. */
  #giveWay: (() => void) | null = null;
  /** The next pass must not wait. */
  #isAwake = false;
  /** The pass does not wait when the map is idle. */
  #endsIdle = false;
  /** How many waits there were so far. */
  #waits = 0;
  /** The last pass has waited, so the runtime has just run. */
  #hadTurn = false;
  /** The error that the running or the next pass throws. */
  #exit: { error: unknown } | null = null;

  constructor(clock: Clock, report: (error: unknown) => void) {
    this.givenClock = clock;
    this.clock = checkedClock(clock, (error) => this.#clockFailed(error));
    this.report = report;
    this.timers = new TimerHeap(
      () => this.clock.now(),
      () => this.#wait.end(),
    );
    this.#wait = new Wait(this.clock, this.timers);
    this.lingering = new ClosedSockets(this.clock, () => {
      if (this.#endsIdle && this.isIdle) this.#wait.end();
    });
    this.logQuota = new LogQuota(this.timers, (run) => this.outside(run));
  }

  /** No dispatcher is registered, and no closed one lingers. */
  get isIdle(): boolean {
    return this.members.size === 0 && this.lingering.entries.size === 0;
  }

  // Registration

  join(entry: Entry): void {
    entry.joined = true;
    this.members.set(entry.pollable, entry);
    // It may have left and come back before its first pass: put it to the end.
    this.#fresh.delete(entry);
    this.#fresh.add(entry);
    this.notice();
  }

  leave(entry: Entry): void {
    if (!entry.joined) return;
    entry.joined = false;
    this.members.delete(entry.pollable);
    this.predicates.remove(entry);
    if (this.members.size === 0) this.turns.forgetReaders();
    this.notice();
  }

  /** Puts `next` in the place of a registered entry. */
  replace(entry: Entry, next: Entry): void {
    entry.joined = false;
    this.predicates.remove(entry);
    this.#fresh.delete(entry);
    next.joined = true;
    this.members.set(next.pollable, next);
    this.#fresh.add(next);
    this.notice();
  }

  /** Removes from all lists an entry that moves to another map, `next`. */
  forget(entry: Entry, next: Reactor): void {
    this.#fresh.delete(entry);
    this.turns.forget(entry);
    entry.place = -1;
    this.lingering.move(entry, next.lingering);
  }

  /** Gives `entry` its turn to read in this pass or the next. */
  queue(entry: Entry): void {
    if (!entry.queued) {
      entry.queued = true;
      this.turns.ready.push(entry);
    }
    this.#wait.end();
  }

  /** Gives `entry` its turn to write in this pass or the next. */
  queueWrite(entry: Entry): void {
    if (!entry.writeQueued) {
      entry.writeQueued = true;
      this.turns.writers.push(entry);
    }
    this.#wait.end();
  }

  /** Ends the current wait, if any, so that the next pass asks the predicates. */
  notice(): void {
    this.tick++;
    this.#wait.end();
  }

  /** Ends the current wait, or keeps the next pass from waiting. */
  wake(): void {
    this.#isAwake = true;
    this.notice();
  }

  /** A closed socket waits for the system to release it. */
  hold(entry: Entry, hasAddress: boolean): void {
    this.lingering.hold(entry, hasAddress);
    // The next pass waits for it, but the present wait may be long.
    if (this.#wait.isOn) this.follow(this.lingering.releaseAll());
  }

  // Errors

  /** Makes the running or the next pass throw `error`. */
  #exitWith(error: unknown): void {
    this.#exit ??= { error };
    this.wake();
  }

  /** A pass throws the error of its clock. If none runs, `report` gets it. */
  #clockFailed(error: unknown): void {
    if (this.isRunning) this.#exitWith(error);
    else this.outside(() => this.report(error));
  }

  /**
   * Runs a function whose errors must not reach the caller. Reports them; a pass
   * throws an ExitNow.
   */
  outside(run: () => void): void {
    try {
      run();
    } catch (error) {
      if (error instanceof ExitNow) this.#exitWith(error);
      else this.outside(() => this.report(error));
    }
  }

  /**
   * Reports the rejection of a promise that nobody awaits.
   *
   * @returns Whether `result` is a promise.
   */
  follow(result: unknown): boolean {
    if (!isPromise(result)) return false;
    toPromise(result).then(undefined, (error) =>
      this.outside(() => {
        throw error;
      }));
    return true;
  }

  /** Throws the error that came outside of a pass, if any. */
  throwExit(): void {
    if (this.#exit === null) return;
    const { error } = this.#exit;
    this.#exit = null;
    throw error;
  }

  // The caller of the passes

  /** A caller makes the passes. */
  get isRunning(): boolean {
    return this.#driver !== "nobody";
  }

  /**
   * Reserves the map for one caller of `loop()` or `poll()`. If a pass of a
   * `shutdown()` is under way, waits for its end.
   *
   * @throws {Error} If another caller has the map.
   */
  start(): void | Promise<void> {
    if (this.#driver === "caller") {
      throw new Error(
        "Cannot start a loop: this map is being looped already. A hook runs " +
          "inside the loop and should return; elsewhere, await the other " +
          "loop, or use another map",
      );
    }
    const isShuttingDown = this.#driver === "shutdown";
    this.#driver = "caller";
    this.#hadTurn = false;
    this.tick++;
    if (!isShuttingDown) {
      this.pollers.start();
      return;
    }
    this.wake();
    return new Promise((resolve) => this.#giveWay = resolve);
  }

  /** Gives the map back. */
  stop(): void {
    this.#driver = "nobody";
    this.#endsIdle = false;
    this.#wait.disarm();
    this.pollers.stop();
    if (this.isIdle) this.logQuota.flush();
    for (const resolve of this.#whenFree.splice(0)) resolve();
  }

  /** Makes a pass for `shutdown()`. If a caller waits, gives it the map. */
  async passForShutdown(timeout: number, endsIdle: boolean): Promise<void> {
    this.#driver = "shutdown";
    this.pollers.start();
    try {
      await this.pass(timeout, endsIdle);
    } finally {
      if (this.#giveWay === null) this.stop();
      else this.#giveWay();
      this.#giveWay = null;
    }
  }

  /** Calls `then` when no caller makes passes any more. */
  whenFree(then: () => void): void {
    this.#whenFree.push(then);
  }

  // The pass

  /**
   * Makes a pass, as {@linkcode Reactor.passes} does.
   *
   * @param endsIdle Whether it ends without a wait when the map is idle.
   */
  pass(timeout: number, endsIdle: boolean): Promise<void> {
    let isDone = false;
    return this.passes(timeout, endsIdle, () => !isDone && (isDone = true));
  }

  /**
   * Makes passes as long as `goesOn()` says so. Each asks, waits for at most
   * `timeout` ms, and dispatches. It is one function, since each promise between a
   * wait and the hooks costs a message some 0.3 µs.
   *
   * @param endsIdle Whether they end without a wait when the map is idle.
   */
  async passes(
    timeout: number,
    endsIdle: boolean,
    goesOn: () => boolean,
  ): Promise<void> {
    while (goesOn()) {
      this.#ask(timeout);
      if (endsIdle && this.isIdle) return;
      this.#endsIdle = endsIdle;
      await this.#untilReady(timeout);
      this.#isAwake = false;
      if (this.#exit !== null) this.throwExit();
      if (this.timers.size > 0) {
        const started = this.timers.added;
        // A callback may take an address again that was closed before.
        while (this.#runTimers(started)) await this.lingering.released();
      }
      this.turns.dispatch(timeout);
      if (this.#exit !== null) this.throwExit();
      // The async hook that has brought or closed an entry may be about to go on:
      // to bring another one, or to fail.
      if (this.#fresh.size > 0 || this.isIdle) await null;
    }
  }

  /** Waits for at most `timeout` ms until there is something to do. */
  #untilReady(timeout: number): Promise<void> | void {
    const work = this.#hasWork;
    const hadTurn = this.#hadTurn;
    this.#hadTurn = false;
    // After a wait, do not yield to the runtime: it has just run.
    if (work && hadTurn) return;
    if (work || this.#isAwake || timeout === 0) return this.turn();
    if (this.lingering.releasing.size > 0) {
      const isInterrupted = () => this.#hasWork || this.#isAwake;
      return this.lingering.released(isInterrupted)
        .then(() => this.#untilReady(timeout));
    }
    if (this.#endsIdle && this.isIdle) return;
    this.#hadTurn = true;
    const waiting = this.#wait.start(this.turns.longestWait(timeout));
    // Promises alone may end each wait: see WAITS_PER_TURN.
    const isTurnDue = ++this.#waits % WAITS_PER_TURN === 0;
    return isTurnDue ? waiting.then(() => this.turn()) : waiting;
  }

  get #hasWork(): boolean {
    const { ready, writers } = this.turns;
    return ready.length + writers.length + this.#fresh.size > 0;
  }

  #ask(timeout: number): void {
    if (this.#fresh.size > 0) this.#enter();
    this.turns.gathers = true;
    try {
      this.predicates.ask();
    } finally {
      this.turns.startAll(timeout);
    }
  }

  #enter(): void {
    // An entry that joins meanwhile waits for the next pass: this one must end.
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

  /** It is still here: a hook may have made it leave, or leave and come back. */
  #isEntering(entry: Entry): boolean {
    return this.#has(entry) && !this.#fresh.has(entry);
  }

  /** It is in this map. Lists may hold entries that have left or moved. */
  #has(entry: Entry): boolean {
    return entry.joined && entry.reactor === this;
  }

  /** Yields to the runtime for one turn, in which sockets and timers run. */
  turn(): Promise<void> {
    return this.#wait.turn();
  }

  /**
   * Runs the timers that are due and among the first `started`. A timer that a
   * callback starts is not, so it waits for the next pass, even at 0 ms.
   *
   * @returns Whether due timers have to wait until closed addresses are free.
   */
  #runTimers(started: number): boolean {
    const now = this.clock.now();
    for (;;) {
      const isHeld = this.lingering.addressesHeld.size > 0;
      if (isHeld && this.timers.nextDue <= now) return true;
      const timer = this.timers.takeDue(now, started);
      if (timer === null) return false;
      if (!timer.busy || !timer.repeats) this.#runTimer(timer);
    }
  }

  #runTimer(timer: HeapTimer): void {
    this.tick++;
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
}
