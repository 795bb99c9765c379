/**
 * The turns of a pass: which entries have one, and how turns are shared out when
 * many connections are busy at once.
 *
 * @module
 */

import type { Entry } from "./entry.ts";

/**
 * How turns are shared out when many connections are busy at once.
 *
 * Deno runs 128 reads and writes before it asks the system again which sockets
 * are ready, and it serves first the sockets that became ready last. A pass that
 * started as many operations as it can would serve the same connections again
 * and again, while others wait for seconds. With these values, of 512 busy
 * connections the least and the most served differ by a factor of 2.5 instead
 * of 40, at the same cost (`deno run -A bench/fairness.ts`).
 */
const FAIRNESS = {
  /**
   * A pass with this many turns is crowded: it may have used up Deno's 128
   * operations. A larger value lets smaller crowds be unfair; a smaller one puts
   * off reads that could start at once. The value is a choice below 128.
   */
  crowdedFrom: 96,
  /**
   * Read budget after a crowded pass: this many connections are read again at
   * once, and the others after the next wait. A larger budget brings the
   * unfairness back; a smaller one costs more waits for the same reads. Measured
   * with `bench/fairness.ts` on a busy machine: of 512 connections, the worst
   * waited for all 3 s of the run with 128, and for 0.7 s with 32; with 8, 130 connections got a third of
   * the answers that the loop by hand gave.
   */
  readBudget: 32,
  /**
   * Longest wait of a pass while connections are beyond the read budget, in ms. A
   * longer wait delays them more if no other connection has news; a shorter one
   * gives the others less time to have news. The value is a choice, not measured.
   */
  longestWait: 1,
  /**
   * Flush batch: so many answers wait for each other before they go out together.
   * A larger batch makes fewer switches between hooks and calls to the system; a
   * smaller one sends the first answers sooner. Measured with 300 active
   * connections: a message cost about 8 % more processor time with 8, and with
   * 1,000.
   */
  flushBatch: 64,
};

/** The turns of one map: read events, write events, and the reads and writes to start. */
export class Turns {
  /** The ready list: entries with a read, an accept or another event. */
  ready: Entry[] = [];
  /** Entries that get a write event. */
  writers: Entry[] = [];
  /** How many entries were on the ready list when the dispatch began. */
  readyCount = 0;
  /** Reads and writes start only when all hooks or predicates have run. */
  gathers = false;
  readonly #reactor: object;
  /** How many turns, to read or to write, the last dispatch had. */
  #count = 0;
  #senders: Entry[] = [];
  #readers: Entry[] = [];

  constructor(reactor: object) {
    this.#reactor = reactor;
  }

  /** Some entries are beyond the read budget, and are read after the next wait. */
  get hasReaders(): boolean {
    return this.#readers.length > 0;
  }

  /** Starts to send for `entry`: at once, or together with the others of the pass. */
  sendSoon(entry: Entry): void {
    if (!this.gathers) entry.startSending();
    else if (this.#senders.at(-1) !== entry) {
      if (this.#senders.length === FAIRNESS.flushBatch) this.#startSenders();
      this.#senders.push(entry);
    }
  }

  /**
   * Starts to read for `entry`: at once, or together with the others of the pass.
   *
   * @param isImmediate That starts nothing in the system, so it need not wait.
   */
  readSoon(entry: Entry, isImmediate: boolean = false): void {
    if (!this.gathers || isImmediate) entry.startReading();
    else if (!entry.readQueued) {
      entry.readQueued = true;
      this.#readers.push(entry);
    }
  }

  /** Empties the list of entries to read: the map is empty. */
  forgetReaders(): void {
    this.#takeReaders(Infinity);
  }

  /** Removes from all lists an entry that moves to another map. */
  forget(entry: Entry): void {
    const isOther = (other: Entry) => other !== entry;
    this.ready = this.ready.filter(isOther);
    this.writers = this.writers.filter(isOther);
    this.#readers = this.#readers.filter(isOther);
    entry.queued = entry.writeQueued = entry.readQueued = false;
  }

  /** Runs the hooks that are due, and then starts the reads and writes. */
  dispatch(timeout: number): void {
    this.readyCount = this.ready.length;
    this.#count = this.readyCount + this.writers.length;
    // If only one entry has a turn, its answer need not wait.
    this.gathers = this.#count > 1;
    try {
      if (this.readyCount > 0) this.#give(false);
      // An entry that connected just now has joined the writers of this pass.
      if (this.writers.length > 0) this.#give(true);
    } finally {
      this.startAll(timeout);
    }
  }

  /** Gives the entries of one list their turns. */
  #give(isWriting: boolean): void {
    const entries = isWriting ? this.writers : this.ready;
    if (isWriting) this.writers = [];
    else this.ready = [];
    let at = 0;
    try {
      while (at < entries.length) {
        const entry = entries[at++]!;
        if (entry.reactor !== this.#reactor) continue;
        if (isWriting) entry.writeQueued = false;
        else entry.queued = false;
        if (!entry.joined) continue;
        if (isWriting) entry.write();
        else entry.read();
      }
    } finally { // After an ExitNow, the others have their turn in the next pass.
      const left = isWriting ? this.writers : this.ready;
      while (at < entries.length) left.push(entries[at++]!);
    }
  }

  /**
   * Starts the gathered reads and writes. A call to the system drives the
   * program's data out of the processor's caches, so all hooks run first, and then
   * come the calls.
   */
  startAll(timeout: number): void {
    this.gathers = false;
    if (this.#senders.length > 0) this.#startSenders();
    if (this.#readers.length === 0) return;
    // A pass that does not wait reads everything that is there.
    const isCrowded = timeout > 0 && this.#count >= FAIRNESS.crowdedFrom;
    const readers = this.#takeReaders(
      isCrowded ? FAIRNESS.readBudget : Infinity,
    );
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

  /** Takes the first entries off the list of entries to read. */
  #takeReaders(most: number): Entry[] {
    const taken = this.#readers.splice(0, most);
    for (const entry of taken) entry.readQueued = false;
    return taken;
  }

  /** How long a pass may wait, in ms: not long while entries are beyond the budget. */
  longestWait(timeout: number): number {
    return this.hasReaders ? Math.min(timeout, FAIRNESS.longestWait) : timeout;
  }
}
