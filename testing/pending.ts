/**
 * An operation of a channel that waits: {@linkcode Pending}.
 *
 * @module
 */

/** A read or a write that has not settled. */
export interface Pending<Result> {
  /** Where a read puts its bytes, or what a write sends. */
  readonly bytes: Uint8Array;
  resolve: (result: Result) => void;
  reject: (error: Error) => void;
}

/** Settles with how many bytes came, or `null` at the end. */
export type PendingRead = Pending<number | null>;

/** Settles with how many bytes were taken. */
export type PendingWrite = Pending<number>;
