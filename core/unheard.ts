/**
 * The input of a class without `handleRead()`. Nobody takes it, but only a read
 * tells of the peer's end. So the library reads on behind the waiting bytes, and in
 * the end drops them.
 *
 * @module
 */

import type { Reader } from "./source.ts";
import type { HeapTimer } from "./timers.ts";

/**
 * When no more input has room, it waits for this time, in ms, before it is dropped.
 * After a longer time, the peer's end is found later. In a shorter one, a handler
 * that is to take the connection over may come too late. The value is a choice.
 */
const LONGEST_UNHEARD = 5_000;

/** A connection, as far as this module needs it. */
interface Deaf {
  readonly source: Reader | null;
  readonly joined: boolean;
  readonly held: boolean;
  /** The last read event took no bytes. */
  readonly tookNothing: boolean;
  startTimer(delay: number, callback: () => void): HeapTimer;
}

/** The input of one connection for which there is no more room. */
export class Unheard {
  readonly #connection: Deaf;
  #timer: HeapTimer | null = null;

  constructor(connection: Deaf) {
    this.#connection = connection;
  }

  /** Drops the input: after some time, if it is the first. */
  drop(): void {
    const connection = this.#connection;
    if (connection.source!.discarded > 0) this.#dropNow();
    else {
      this.#timer ??= connection.startTimer(LONGEST_UNHEARD, () => {
        this.#timer = null;
        const { source, joined, held, tookNothing } = connection;
        const isUntaken = tookNothing && source !== null && source.taken === 0;
        if (isUntaken && joined && !held) this.#dropNow();
      });
    }
  }

  #dropNow(): void {
    const source = this.#connection.source!;
    source.discard();
    source.watch();
  }
}
