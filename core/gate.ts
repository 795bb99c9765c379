/**
 * The gate: a class that overrides `send()`, `writable()` or `handleWrite()` has a say
 * in what its library buffers for it. Such bytes wait in a {@linkcode Gate}, and go out
 * through `send()`, piece by piece, while `writable()` answers `true`, as in Python.
 * An own `handleWrite()` sends all of them but the first piece. Classes that override
 * none of these have no gate.
 *
 * @module
 */

import { isCount, showValue } from "./arguments.ts";
import { Queue } from "./queue.ts";
import { SEND_THROUGH } from "./symbols.ts";
import { quietly } from "./thenable.ts";

/**
 * A piece has at most this many bytes, as in Python. Larger pieces need fewer
 * calls; after a smaller one, `writable()` is asked again sooner. 64 KiB fill the
 * room of a connection.
 */
export const PIECE: number = 64 * 1024;
/**
 * If a `send()` takes nothing although there is room, or throws, or if an
 * `initiateSend()` does nothing, it is called again after this time, in ms. Python
 * calls it again at once, and does nothing else meanwhile. A shorter time takes more
 * processor time, a longer one sends more slowly. The value is a choice.
 */
export const RETRY_AFTER = 10;

/** What a class overrides, and what the bytes that it buffers have to pass. */
export type GateKind = "none" | "send" | "writable";

/** A dispatcher, as its gate needs it. */
export interface GateKeeper {
  /** Sends the beginning of `data`, and returns how many bytes were taken. */
  [SEND_THROUGH](data: Uint8Array): number;
}

/** A connection, as its gate needs it. */
export interface GatedConnection {
  readonly pollable: GateKeeper;
  readonly joined: boolean;
  /** It sends on in its next write event. */
  readonly awaitsEvent: boolean;
  /** Accepted bytes can still be sent. */
  readonly isSending: boolean;
  /** Few bytes are on their way, so `send()` of the library accepts more. */
  readonly hasRoom: boolean;
  /** Whether `writable()` lets the next piece pass. */
  mayPass(): boolean;
  /** Calls {@linkcode Gate.pass} in the next turn of the dispatcher. */
  wake(): void;
  startTimer(delay: number, callback: () => void): unknown;
  /** Nothing waits at the gate any more. */
  passed(): void;
  /** Accepted bytes can be sent as this side closes. */
  readonly mayFlush: boolean;
  /** No override runs any more: closes, if one of them has called `close()`. */
  settled(): void;
}

/** The states of a gate. */
type GateState =
  /** It waits for its turn. */
  | "open"
  /** `writable()` or `send()` runs: what is buffered meanwhile waits behind it. */
  | "passing"
  /** The same, as this side closes: `send()` of the library accepts all of it. */
  | "flushing"
  /** `send()` took nothing although there is room, or `writable()` threw: again later. */
  | "refused"
  /** `send()` threw, and nobody knows how much it took: again later. */
  | "failed";

/** The buffered bytes that have yet to pass `send()`. */
export class Gate {
  /** How many bytes wait. */
  bytes = 0;
  state: GateState = "open";
  readonly #connection: GatedConnection;
  readonly #pieces = new Queue<Uint8Array>();
  /** The rest of a piece of which a part was sent. */
  #rest: Uint8Array | null = null;
  #whenPassed: PromiseWithResolvers<void> | null = null;
  /** A timer will wake the dispatcher. */
  #isWaking = false;

  constructor(connection: GatedConnection) {
    this.#connection = connection;
  }

  /** An override of `writable()` or `send()` runs. */
  get isBusy(): boolean {
    return this.state === "passing" || this.state === "flushing";
  }

  /** It waits before it calls `send()` again. */
  get isRetrying(): boolean {
    return this.state === "refused" || this.state === "failed";
  }

  /** Puts a copy of `data` at the end. */
  push(data: Uint8Array): void {
    if (data.length === 0) return;
    this.#pieces.push(new Uint8Array(data));
    this.bytes += data.length;
  }

  /**
   * Sends piece after piece, as far as `writable()` and the room allow. Out of its
   * map, a dispatcher gets no event, so then it is one piece. A class that overrides
   * the hook of its write events sends one piece outside of them, too.
   *
   * @throws What `writable()` and `send()` throw. The piece stays.
   */
  pass(): void {
    if (this.state !== "open" || this.bytes === 0) return;
    const connection = this.#connection;
    this.state = "passing";
    try {
      while (connection.isSending && connection.mayPass() && this.#canSend) {
        if (this.#send() === 0) {
          if (connection.hasRoom && this.bytes > 0) this.state = "refused";
          break;
        }
        if (!connection.joined || connection.awaitsEvent) {
          connection.wake(); // When it has joined a map again, or for the event.
          break;
        }
      }
    } catch (error) {
      if (this.isBusy) this.state = "refused";
      throw error;
    } finally {
      this.#settle();
      connection.settled();
    }
  }

  /** `writable()` and `send()` may have closed the connection or dropped the bytes. */
  get #canSend(): boolean {
    return this.bytes > 0 && this.#connection.isSending;
  }

  /** Sends a piece, and returns how many bytes of it `send()` took. */
  #send(): number {
    const piece = this.#rest ?? this.#pieces.shift()!;
    this.#rest = piece; // If send() throws, it is still the first.
    let taken: number;
    try {
      taken = this.#connection.pollable[SEND_THROUGH](piece);
    } catch (error) {
      this.state = "failed";
      throw error;
    }
    if (this.#rest === piece) { // It may have been dropped.
      this.bytes -= taken;
      this.#rest = taken < piece.length ? piece.subarray(taken) : null;
    }
    return taken;
  }

  /** Wakes the dispatcher in a while: its class has held bytes back. */
  wakeLater(): void {
    if (this.#isWaking || !this.#connection.isSending) return;
    this.#isWaking = true;
    this.#connection.startTimer(RETRY_AFTER, () => {
      this.#isWaking = false;
      if (this.isRetrying) this.state = "open";
      this.#connection.wake();
    });
  }

  /**
   * Sends all that waits, without a look at the room and at `writable()`: this side
   * closes, or gives the connection up.
   *
   * @returns Whether `send()` took all of it.
   * @throws What `send()` throws.
   */
  flush(): boolean {
    if (this.isBusy) return this.bytes === 0;
    this.state = "flushing";
    try {
      while (
        this.bytes > 0 && this.#connection.mayFlush && this.#send() > 0
      );
    } finally {
      this.#settle();
    }
    return this.bytes === 0;
  }

  #settle(): void {
    if (this.isBusy) this.state = "open";
    else this.wakeLater();
    if (this.bytes === 0) this.#passed();
  }

  /** Drops all that waits. */
  clear(): void {
    this.#pieces.takeAll();
    this.#rest = null;
    this.bytes = 0;
    this.#passed();
  }

  #passed(): void {
    this.#connection.passed();
    this.#whenPassed?.resolve();
    this.#whenPassed = null;
  }

  /** Resolves when nothing waits. */
  whenPassed(): Promise<void> {
    if (this.bytes === 0) return Promise.resolve();
    return (this.#whenPassed ??= Promise.withResolvers<void>()).promise;
  }
}

/**
 * Sends the beginning of `data` through an overridden `send()`.
 *
 * @param size How many bytes are a piece.
 * @returns How many bytes it took.
 * @throws {TypeError} If it returns no such number.
 */
export function sendPiece(
  dispatcher: { send(data: Uint8Array): number },
  data: Uint8Array,
  size: number = PIECE,
): number {
  const piece = data.subarray(0, size);
  const taken = dispatcher.send(piece);
  if (isCount(taken, piece.length)) return taken;
  quietly(() => taken); // An async send() may reject, too.
  throw new TypeError(
    `send() must return how many bytes it took, from 0 to ${piece.length}, ` +
      `got ${showValue(taken)}`,
  );
}
