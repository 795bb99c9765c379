/**
 * The writes that a simulated disk was given and does not hold yet:
 * {@linkcode DiskJournal}.
 *
 * @module
 */

/** The things that one `sync()` makes safe together: the values, a file, or a folder. */
export interface SyncTarget {
  /** Names it in the trace and in faults: the path; empty for the values. */
  readonly path: string;
}

/** One write, which a power failure takes or leaves as a whole. */
export class Change {
  /** How many changes of the disk there were before. */
  readonly position: number;
  /** Two folders if it moves a file from one to the other. */
  readonly targets: readonly SyncTarget[];
  /**
   * Its target: a value, a page, a name in a folder. A disk may write the
   * parts of a target in any order, but each part as it was at some moment.
   */
  readonly part: string;
  /** Puts it on the disk. */
  readonly store: () => void;

  constructor(
    position: number,
    targets: readonly SyncTarget[],
    part: string,
    store: () => void,
  ) {
    this.position = position;
    this.targets = targets;
    this.part = part;
    this.store = store;
  }
}

/** The changes that are not safe yet, in the order in which they were made. */
export class DiskJournal {
  #changes: Change[] = [];
  #end = 0;

  /** How many changes there were ever. */
  get end(): number {
    return this.#end;
  }

  add(targets: readonly SyncTarget[], part: string, store: () => void): void {
    this.#changes.push(new Change(this.#end++, targets, part, store));
  }

  /** All changes. */
  all(): readonly Change[] {
    return this.#changes;
  }

  /**
   * The changes before `end` that a `sync()` of `target` makes safe. With a file
   * that was moved, they are those of both folders until then: the disk must not
   * forget the file's first name later than it learns the second.
   */
  of(target: SyncTarget, end: number): Change[] {
    const targets = new Set([target]);
    const changes: Change[] = [];
    for (let i = this.#changes.length - 1; i >= 0; i--) {
      const change = this.#changes[i]!;
      if (change.position >= end) continue;
      if (!change.targets.some((one) => targets.has(one))) continue;
      for (const one of change.targets) targets.add(one);
      changes.push(change);
    }
    return changes.reverse();
  }

  /** Takes out some changes, after some of them are stored, in order. */
  settle(taken: Iterable<Change>, stored: Iterable<Change>): void {
    const isTaken = new Set(taken);
    const isStored = new Set(stored);
    for (const change of this.#changes) {
      if (isStored.has(change)) change.store();
    }
    this.#changes = this.#changes.filter((change) => !isTaken.has(change));
  }
}
