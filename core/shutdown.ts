/**
 * How a server ends in good order: {@linkcode Shutdown}.
 *
 * @module
 */

import type { Entry } from "./entry.ts";
import type { Reactor } from "./reactor.ts";

/** How the dispatchers of a map have ended. */
export interface ShutdownResult {
  /** How many listeners were closed. */
  listeners: number;
  /**
   * How many connections have ended and sent all their bytes, as far as this side
   * can know: a peer that was silent to the end may have left bytes unread. On
   * `epollNetwork`, its system has acknowledged them over TCP.
   */
  closed: number;
  /**
   * How many connections were open at the deadline, or lost accepted bytes. Bytes
   * are lost when the peer resets the connection, takes no more bytes, or goes on
   * sending instead of ending its side. On `epollNetwork`, bytes that the peer had
   * not acknowledged over TCP count as lost. A warning tells of them.
   */
  aborted: number;
}

/** One shutdown of one map. */
export class Shutdown {
  readonly #reactor: Reactor;
  /** The connections that were in the map, or have joined it since. */
  readonly #connections: Set<Entry>;
  /** The connections that were aborted, or lost accepted bytes. */
  readonly #aborted = new Set<Entry>();
  #listeners = 0;
  #isLate = false;
  #stopWaiting = () => {};

  constructor(reactor: Reactor) {
    this.#reactor = reactor;
    this.#connections = new Set(closingOf(reactor));
  }

  /**
   * Tells every dispatcher, and waits until all have ended.
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
      while (!reactor.isIdle && !this.#isLate) await this.#pass();
      this.#abortRest();
      await reactor.lingering.released();
      return this.#result();
    } finally {
      if (timer !== null) clock.clearTimeout(timer);
      reactor.onEnter.delete(tell);
      if (!reactor.isRunning) await reactor.pollers.settled();
    }
  }

  #tell(entry: Entry): void {
    if (!entry.joined) return; // The hook of another one may have closed it.
    if (isListener(entry)) {
      // It was told before it became a listener, and has chosen to be one.
      if (entry.isShutDown) return;
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

  /** Makes a pass. If a loop runs, waits until that has ended. */
  #pass(): Promise<void> {
    const reactor = this.#reactor;
    if (!reactor.isRunning) return reactor.passForShutdown(Infinity, true);
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
    for (const entry of [...reactor.lingering.entries]) entry.abort(reason);
  }

  #result(): ShutdownResult {
    const connections = new Set([...this.#connections].map(latest));
    // A connection that lost bytes counts as aborted, even if it closed normally.
    for (const entry of connections) {
      if (entry.hasLost) this.#aborted.add(entry);
    }
    const { size: aborted } = this.#aborted;
    const closed = connections.size - aborted;
    return { listeners: this.#listeners, closed, aborted };
  }
}

/** The closed connections that linger for their accepted bytes. */
function closingOf(reactor: Reactor): Entry[] {
  return [...reactor.lingering.entries].filter(({ lingers }) => lingers);
}

function isListener({ listens }: Entry): boolean {
  return listens;
}

/** What an entry has become: a socket that was created may have connected since. */
function latest(entry: Entry): Entry {
  return entry.successor === null ? entry : latest(entry.successor);
}
