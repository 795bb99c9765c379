/**
 * How a connection tells its dispatcher that a write has failed: after the peer's
 * last bytes, which often say why.
 *
 * @module
 */

import { isDisconnect } from "./errors.ts";
import type { Hooks } from "./hooks.ts";
import type { Reactor } from "./reactor.ts";
import type { Source } from "./source.ts";
import type { Entry } from "./entry.ts";
import type { HeapTimer } from "./timers.ts";
import type { Writer } from "./writer.ts";

/**
 * How long a broken connection waits for the peer's last bytes, in ms. They have
 * arrived already, so it waits for this process and not for the network. A longer
 * time tells of the failure later if no bytes come; a shorter one loses bytes on a
 * busy machine, where the read took up to some tens of ms. The value is a choice.
 */
const LAST_BYTES = 250;

/** A connection whose write has failed. */
interface FailedConnection extends Entry {
  readonly reactor: Reactor;
  readonly hooks: Hooks;
  readonly writer: Writer;
  readonly source: Source | null;
  /** Its bytes go to streams: they come before a failed write. */
  readonly hasStreams: boolean;
  /** Its `readable()` wants to read. */
  readonly wantsRead: boolean;
  /** The last read event took no bytes. */
  readonly tookNothing: boolean;
  startTimer(delay: number, callback: () => void): HeapTimer;
}

/** Tells of the failed write of one connection. */
export class WriteFailure {
  /** A hook has been told. */
  isTold = false;
  readonly #connection: FailedConnection;
  #lastBytes: HeapTimer | null = null;

  constructor(connection: FailedConnection) {
    this.#connection = connection;
  }

  /** Whether to tell of it now: the peer's last bytes come first. */
  get isDue(): boolean {
    const connection = this.#connection;
    const { source, writer, wantsRead } = connection;
    if (this.isTold || source === null) return false;
    if (writer.isDetached) return true; // A failed handshake: trust no bytes.
    if (connection.hasStreams && !wantsRead && !source.ended) return false;
    return !(source.available > 0 && wantsRead && !connection.tookNothing);
  }

  /** Tells of it, or waits on for the peer's last bytes. */
  tell(): void {
    const { writer, source, wantsRead, reactor, hooks } = this.#connection;
    const { error, isDetached } = writer;
    // A disconnect during a handshake is an error of the handshake.
    const isBroken = isDisconnect(error) && !isDetached;
    // While a hook's promise was pending, no read was started.
    if (isBroken && wantsRead) source!.watch();
    if (isBroken && source!.isWatching && this.#awaitsLastBytes()) return;
    this.isTold = true;
    reactor.tick++;
    const isKnown = hooks.lastFailure === error;
    if (isBroken || isKnown) hooks.closeInAnyCase();
    else if (isDetached) hooks.closeWithError(error);
    else hooks.fail(error);
  }

  /** Whether to wait on for the bytes that the peer sent before it broke. */
  #awaitsLastBytes(): boolean {
    if (this.#lastBytes?.index === -1) return false;
    const connection = this.#connection;
    const { clock } = connection.reactor;
    // If this thread was late, the bytes that have come are read in two turns.
    const soon = () =>
      clock.setImmediate(() => connection.reactor.queue(connection));
    this.#lastBytes ??= connection.startTimer(
      LAST_BYTES,
      () => clock.setImmediate(soon),
    );
    return true;
  }

  /** Bytes, the end or an error have arrived. */
  onReadable(): void {
    this.#lastBytes?.cancel();
    this.#lastBytes = null;
  }
}
