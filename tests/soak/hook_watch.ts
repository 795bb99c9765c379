/**
 * Stands between the hooks of a dispatcher and what they do: some take their
 * time, one of them throws, and none may run when it should not.
 */

import type { ErrorPlace } from "./plan.ts";
import { isPlanned, PlannedError, PlannedExit } from "./planned.ts";
import type { Side } from "./side.ts";
import { wait } from "./wait.ts";

/** How long an async hook takes at most, in ms … */
const LONGEST_HOOK = 12;
/** … and how many of one side take any time. */
const MOST_SLOW_HOOKS = 40;

/** The hooks that hand out what has arrived. */
const INPUT: ReadonlySet<ErrorPlace> = new Set([
  "collectIncomingData",
  "foundTerminator",
]);

/** What has happened in all. */
export interface Counts {
  hookErrors: number;
  received: number;
}

/** Watches the hooks of one side. */
export class HookWatch {
  readonly #side: Side;
  readonly #counts: Counts;
  readonly #running: Int32Array;
  #calls = 0;
  #slowHooks = 0;
  #errorCalls = 0;
  /** The async hook that waits. */
  #waiting: string | null = null;

  constructor(side: Side, counts: Counts, running: Int32Array) {
    this.#side = side;
    this.#counts = counts;
    this.#running = running;
  }

  /**
   * Runs a hook's work, at once or after a while, with the error that is due.
   * `early` ones come before the work, which is then left for another event.
   */
  run(
    place: ErrorPlace,
    work: () => void,
    { early = false } = {},
  ): void | Promise<void> {
    this.#running[0] = this.#side.id;
    if (this.#side.isOver) this.#side.complain(`${place}() ran after close()`);
    if (this.#side.isDeaf && INPUT.has(place)) {
      this.#side.complain(`${place}() ran after closeWhenDone()`);
    }
    if (this.#waiting !== null && place !== "handleClose") {
      this.#side.complain(
        `${place}() ran while the promise of ${this.#waiting}() was pending`,
      );
    }
    const error = this.errorAt(place);
    const rejects = error !== null && this.#side.fault!.how === "rejects";
    if (rejects || this.#isSlow()) {
      return this.#runSlowly(place, work, error, early);
    }
    if (error !== null && early) throw error;
    work();
    if (error !== null) throw error;
  }

  async #runSlowly(
    place: ErrorPlace,
    work: () => void,
    error: Error | null,
    early: boolean,
  ): Promise<void> {
    const { isOver } = this.#side;
    this.#waiting = place;
    await wait(this.#side.dice.int(0, LONGEST_HOOK));
    this.#waiting = null;
    if (error !== null && early) throw error;
    if (this.#side.isOver === isOver) work();
    if (error !== null) throw error;
  }

  #isSlow(): boolean {
    const { asyncEvery } = this.#side.plan;
    if (asyncEvery === 0 || ++this.#calls % asyncEvery > 0) return false;
    return ++this.#slowHooks <= MOST_SLOW_HOOKS;
  }

  /** The error that is due at this call, if one is. */
  errorAt(place: ErrorPlace): Error | null {
    const { fault } = this.#side;
    if (fault?.kind !== "hookError" || fault.place !== place) return null;
    if (++this.#errorCalls !== fault.call) return null;
    this.#side.fired = true;
    this.#counts.hookErrors++;
    const message = `planned for connection ${this.#side.id}`;
    return fault.then === "exits"
      ? new PlannedExit(message)
      : new PlannedError(message);
  }

  /** What `handleError()` does; `otherwise` is its default. */
  onError(
    error: unknown,
    otherwise: () => void | Promise<void>,
  ): void | Promise<void> {
    if (!isPlanned(error)) {
      this.#side.failures.push(error);
      return otherwise();
    }
    const { then, how } = this.#side.fault!;
    if (then === "survives") return;
    if (then !== "fails") return otherwise();
    this.#counts.hookErrors++;
    const second = new PlannedError("of handleError() itself");
    if (how === "rejects") return Promise.reject(second);
    throw second;
  }
}
