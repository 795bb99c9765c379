/**
 * The end of a program that serves: {@linkcode Shutdown}.
 *
 * @module
 */

import type { Entry, Reactor } from "./reactor.ts";

/** What became of the dispatchers of a map. */
export interface ShutdownResult {
  /** How many listeners were closed. */
  listeners: number;
  /**
   * How many connections ended with all that they had to send, as far as can be
   * told: a peer that was quiet to the end may have left it unread.
   */
  closed: number;
  /**
   * How many were open at the deadline, or lost bytes that they had accepted, as
   * a warning says: their peers reset the connection, took nothing any more, or
   * went on talking instead of ending their side.
   */
  aborted: number;
}

/** One shutdown of one map. */
export class Shutdown {
  readonly #reactor: Reactor;
  /** The connections that were there, or came since. */
  readonly #connections: Set<Entry>;
  /** Those of them that were aborted, or lost accepted bytes. */
  readonly #aborted = new Set<Entry>();
  #listeners = 0;
  #isLate = false;
  #stopWaiting = () => {};

  constructor(reactor: Reactor) {
    this.#reactor = reactor;
    this.#connections = new Set(closingOf(reactor));
  }

  /**
   * Tells all, and waits for their ends.
   *
   * @param deadline In milliseconds from now.
   */
  async run(deadline: number): Promise<ShutdownResult> {
    const reactor = this.#reactor;
    const { clock } = reactor;
    const tell = (entry: Entry) => this.#tell(entry);
    reactor.onEnter.add(tell);
    const timer = deadline === Infinity
      ? null
      : clock.setTimeout(() => this.#onDeadline(), deadline);
    try {
      const members = [...reactor.members.values()];
      for (const entry of members) {
        if (!isListener(entry)) this.#connections.add(entry);
      }
      members.filter(isListener).forEach(tell);
      members.forEach(tell);
      while (!reactor.idle && !this.#isLate) await this.#pass();
      this.#abortRest();
      await reactor.released();
      return this.#result();
    } finally {
      if (timer !== null) clock.clearTimeout(timer);
      reactor.onEnter.delete(tell);
    }
  }

  #tell(entry: Entry): void {
    if (!entry.joined) return; // Another's hook has closed it, say.
    if (isListener(entry)) {
      this.#listeners++;
      this.#reactor.outside(() => {
        if (!this.#reactor.follow(entry.pollable.close())) entry.closeAnyway();
      });
      entry.close();
    } else {
      this.#connections.add(entry);
      this.#reactor.outside(() => entry.shutdown());
    }
  }

  #onDeadline(): void {
    this.#isLate = true;
    this.#reactor.wake();
    this.#stopWaiting();
  }

  /** Makes a pass, or waits until somebody else makes none any more. */
  #pass(): Promise<void> {
    const reactor = this.#reactor;
    if (!reactor.isRunning) return reactor.passAsGuest(Infinity, true);
    return new Promise((resolve) => {
      this.#stopWaiting = resolve;
      reactor.whenFree(resolve);
    });
  }

  #abortRest(): void {
    const reactor = this.#reactor;
    const reason = new Error("the deadline of shutdown() was over");
    for (const entry of [...reactor.members.values()]) {
      this.#connections.add(entry);
      this.#aborted.add(entry);
      entry.abort(reason);
    }
    for (const entry of [...reactor.lingering]) entry.abort(reason);
  }

  #result(): ShutdownResult {
    // A connection that lost something did not end well, however it ended.
    for (const entry of this.#connections) {
      if (entry.hasLost) this.#aborted.add(entry);
    }
    const { size: aborted } = this.#aborted;
    const closed = this.#connections.size - aborted;
    return { listeners: this.#listeners, closed, aborted };
  }
}

/** The closed connections that still have bytes to send. */
function closingOf(reactor: Reactor): Entry[] {
  return [...reactor.lingering].filter(({ closing }) => closing);
}

function isListener({ listens }: Entry): boolean {
  return listens;
}
