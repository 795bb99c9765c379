/**
 * The guarantees that each client of a register or a map may expect of its session:
 * {@linkcode checkSessions}.
 *
 * @module
 */

import { canonical } from "./canonical.ts";
import type { History, Operation } from "./history.ts";

/** A promise to each client, which says nothing about the others. */
export type SessionGuarantee =
  | "read your writes"
  | "monotonic reads"
  | "monotonic writes"
  | "writes follow reads";

/** A read that breaks a guarantee. */
export interface SessionViolation {
  /** Which guarantee. */
  readonly guarantee: SessionGuarantee;
  /** The read of a value that was older than it may be. */
  readonly read: Operation;
  /** The client's own write or read before, of a newer value. */
  readonly before: Operation;
}

/**
 * Looks for reads that break what the session of a client promises: its own
 * writes are seen, what was seen does not vanish, and all others see writes of
 * one client in order, and after what that client had read. Operations are those
 * of `registerModel()` and `mapModel()`, without `cas`. Values that were written
 * twice, and values that nobody wrote, are left aside: use values of one write.
 *
 * This is far cheaper than {@linkcode checkHistory}, and finds less: a write is
 * known to be older only by its client, by what its client had read, or if it had
 * returned before the other was called.
 *
 * @param history What to check.
 * @returns The reads that break a guarantee, in order.
 *
 * @example A client that does not see its own write
 * ```ts
 * import { checkSessions, History } from "@asyncore/asyncore/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const history = new History();
 * history.call("x", "write", 1).returns();
 * history.call("x", "write", 2).returns();
 * history.call("x", "read").returns(1);
 * const [violation] = checkSessions(history);
 * assertEquals(violation?.guarantee, "read your writes");
 * ```
 */
export function checkSessions(history: History): SessionViolation[] {
  const done = history.operations.filter(({ returned }) => returned < Infinity);
  const sources = new Sources(history.operations);
  return done.filter(isRead).flatMap((read) => {
    const found = violationOf(read, done, sources);
    return found === null ? [] : [found];
  });
}

function isWrite({ name }: Operation): boolean {
  return name === "write" || name === "put";
}

function isRead({ name }: Operation): boolean {
  return name === "read" || name === "get";
}

/** The key that an operation is about; a register has none. */
function keyOf({ name, args }: Operation): string {
  return name === "put" || name === "get" ? canonical(args[0]) : "";
}

/** Before all writes there was nothing. */
const NOTHING = Symbol("nothing");
type Source = Operation | typeof NOTHING;

/** Which write each read has seen. */
class Sources {
  /** By key and value; `null` if that was written twice. */
  readonly #writes = new Map<string, Operation | null>();
  /** The writes that each client has seen before a write, by the write. */
  readonly #seenBefore = new Map<Operation, Set<Operation>>();

  constructor(operations: readonly Operation[]) {
    for (const write of operations.filter(isWrite)) {
      const name = `${keyOf(write)} ${canonical(write.args.at(-1))}`;
      this.#writes.set(name, this.#writes.has(name) ? null : write);
    }
    for (const write of operations.filter(isWrite)) {
      const seen = operations.filter((read) =>
        isRead(read) && isBefore(read, write)
      ).map((read) => this.of(read));
      const writes = seen.filter((source) =>
        source !== null && source !== NOTHING
      );
      this.#seenBefore.set(write, new Set(writes as Operation[]));
    }
  }

  /** The write that a read has seen; `null` if that is not known. */
  of(read: Operation): Source | null {
    const value = read.result;
    const write = this.#writes.get(`${keyOf(read)} ${canonical(value)}`);
    if (write !== undefined) return write;
    return value === undefined || value === null ? NOTHING : null;
  }

  /** By which guarantee `older` came before `newer`; `null` if it is not known. */
  order(older: Source, newer: Source): SessionGuarantee | null {
    if (older === newer || newer === NOTHING) return null;
    if (older === NOTHING) return "monotonic reads";
    const { client, called } = newer;
    if (older.client === client) {
      return older.called < called ? "monotonic writes" : null;
    }
    const isSeen = this.#seenBefore.get(newer)!.has(older);
    return isSeen ? "writes follow reads" : null;
  }
}

/** Whether one client made both calls on one key, one after the other. */
function isBefore(first: Operation, second: Operation): boolean {
  return first.client === second.client && first.returned < second.called &&
    keyOf(first) === keyOf(second);
}

function violationOf(
  read: Operation,
  done: readonly Operation[],
  sources: Sources,
): SessionViolation | null {
  const source = sources.of(read);
  if (source === null) return null;
  for (const before of done) {
    if (!isBefore(before, read)) continue;
    const newer = isWrite(before) ? before : sources.of(before);
    const order = newer === null ? null : sources.order(source, newer);
    if (order === null) continue;
    const guarantee = isWrite(before) ? "read your writes" : order;
    return { guarantee, read, before };
  }
  return null;
}
