/**
 * The values on a simulated disk, by name: {@linkcode DiskValues}.
 *
 * @module
 */

import type { DiskJournal, SyncTarget } from "./disk_journal.ts";

/** Values as programs read them, and as they are on the disk. */
export class DiskValues implements SyncTarget {
  readonly path = "";
  /** As programs read them. */
  current: Map<string, unknown> = new Map();
  readonly #stored = new Map<string, unknown>();
  readonly #journal: DiskJournal;

  constructor(journal: DiskJournal) {
    this.#journal = journal;
  }

  /** Sets a value; `undefined` removes it. */
  set(name: string, value: unknown): void {
    setOrDelete(this.current, name, value);
    this.#journal.add([this], name, () => {
      setOrDelete(this.#stored, name, value);
    });
  }

  /** Forgets what is not on the disk. */
  restore(): void {
    this.current = new Map(this.#stored);
  }
}

function setOrDelete(
  values: Map<string, unknown>,
  name: string,
  value: unknown,
): void {
  if (value === undefined) values.delete(name);
  else values.set(name, value);
}
