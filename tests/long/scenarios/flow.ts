/** Bytes on their way from a sender to a receiver, which checks them. */

import { assertEquals } from "@std/assert";
import { findDifference, type HostRun } from "./scenario.ts";

/** One direction of a transfer. */
export class Flow {
  readonly data: Uint8Array;
  /** How much the sender has handed over. */
  accepted = 0;
  received = 0;
  sender: HostRun | null = null;
  /** The receiver was told that this is all. */
  hasEnded = false;

  constructor(data: Uint8Array) {
    this.data = data;
  }

  get isReceived(): boolean {
    return this.received === this.data.length;
  }

  receive(piece: Uint8Array): void {
    const { length } = piece;
    const expected = this.data.subarray(this.received, this.received + length);
    assertEquals(findDifference(piece, expected), -1);
    this.received += length;
  }

  /** What was told to be all must be, unless the sender crashed. */
  check(): void {
    if (!this.hasEnded || !this.sender?.isAlive) return;
    assertEquals(this.received, this.data.length, "bytes are missing");
  }
}
