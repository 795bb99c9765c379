/**
 * The gate: a class that overrides `send()` or `writable()` has a say in what its
 * library buffers for it. Such bytes wait in a {@linkcode Gate}, and go out through
 * `send()`, piece by piece, while `writable()` answers `true`, as in Python.
 * Classes that override neither have no gate.
 *
 * @module
 */

import { isCount, showValue } from "./arguments.ts";
import { Queue } from "./queue.ts";
import { type GATE, SEND_THROUGH } from "./symbols.ts";

/**
 * A piece has at most this many bytes, as in Python. Larger pieces need fewer
 * calls; after a smaller one, `writable()` is asked again sooner. 64 KiB fill the
 * room of a connection.
 */
export const PIECE: number = 64 * 1024;

/** What a class overrides, and what the bytes that it buffers have to pass. */
export type GateKind = "none" | "send" | "writable";

/** A dispatcher, as its gate needs it. */
export interface GateKeeper {
  /** What its bytes have to pass; `"writable"` also means `send()`. */
  [GATE](): GateKind;
  /** Sends the beginning of `data`, and returns how many bytes were taken. */
  [SEND_THROUGH](data: Uint8Array): number;
}

/** The buffered bytes that have yet to pass `send()`. */
export class Gate {
  /** How many bytes wait. */
  bytes = 0;
  /** A piece is being sent: what `send()` buffers meanwhile waits behind it. */
  isBusy = false;
  /** This side closes: `send()` accepts all of it. */
  isLast = false;
  readonly #pieces = new Queue<Uint8Array>();
  /** The rest of a piece of which a part was sent. */
  #rest: Uint8Array | null = null;

  /** Puts a copy of `data` at the end. */
  push(data: Uint8Array): void {
    if (data.length === 0) return;
    this.#pieces.push(new Uint8Array(data));
    this.bytes += data.length;
  }

  /**
   * Sends a piece.
   *
   * @returns How many bytes `send()` took.
   * @throws {TypeError} If `send()` returns no such number.
   * @throws What `send()` throws. The piece stays.
   */
  send(keeper: GateKeeper): number {
    const piece = this.#rest ?? this.#pieces.shift()!;
    const { length } = piece;
    this.#rest = piece; // If send() throws, it is still the first.
    const taken = keeper[SEND_THROUGH](piece);
    if (!isCount(taken, length)) {
      throw new TypeError(
        `send() must return how many bytes it took, from 0 to ${length}, got ${
          showValue(taken)
        }`,
      );
    }
    if (this.#rest === piece) { // It may have been discarded.
      this.bytes -= taken;
      this.#rest = taken < length ? piece.subarray(taken) : null;
    }
    return taken;
  }

  /** Drops all that waits. */
  clear(): void {
    this.#pieces.takeAll();
    this.#rest = null;
    this.bytes = 0;
  }
}
