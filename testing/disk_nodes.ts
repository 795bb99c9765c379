/**
 * The files and folders of a simulated disk, as programs see them and as they
 * are on the disk: {@linkcode FileNode} and {@linkcode FolderNode}.
 *
 * @module
 */

import type { DiskJournal, SyncTarget } from "./disk_journal.ts";
import { GrowingBytes } from "./growing_bytes.ts";

/**
 * The size that a disk writes as a whole, in bytes: a page of Linux, and a sector of most
 * disks. A longer write can be torn.
 */
const PAGE = 4_096;

/** A file: its data, which are apart from its names. */
export class FileNode implements SyncTarget {
  /** Its newest name. */
  path: string;
  /** As programs read it. */
  readonly content: GrowingBytes = new GrowingBytes();
  readonly #stored = new GrowingBytes();
  readonly #journal: DiskJournal;

  constructor(journal: DiskJournal, path: string) {
    this.#journal = journal;
    this.path = path;
  }

  /** Writes at `start`, where zeros fill what lies before. */
  write(start: number, data: Uint8Array): void {
    this.content.write(start, data);
    for (let at = 0; at < data.length;) {
      const position = start + at;
      const page = Math.floor(position / PAGE);
      const bytes = data.slice(at, (page + 1) * PAGE - start);
      this.#journal.add([this], `page ${page}`, () => {
        this.#stored.write(position, bytes);
      });
      at += bytes.length;
    }
  }

  truncate(length: number): void {
    this.content.resize(length);
    this.#journal.add([this], "length", () => this.#stored.resize(length));
  }

  /** The length comes to the disk without the bytes: those are zeros. */
  storeLength(): void {
    const { length } = this.content;
    if (length > this.#stored.length) this.#stored.resize(length);
  }

  /** Forgets what is not on the disk. */
  restore(): void {
    this.content.resize(0);
    this.content.write(0, this.#stored.bytes);
  }
}

/** A folder: the names of files and folders. */
export class FolderNode implements SyncTarget {
  path: string;
  /** As programs see it. */
  entries: Map<string, DiskNode> = new Map();
  readonly #stored = new Map<string, DiskNode>();
  readonly #journal: DiskJournal;

  constructor(journal: DiskJournal, path: string) {
    this.#journal = journal;
    this.path = path;
  }

  /** Gives a node a name, perhaps one that another node had. */
  link(name: string, node: DiskNode): void {
    this.entries.set(name, node);
    this.#journal.add([this], `name ${name}`, () => {
      this.#stored.set(name, node);
    });
  }

  unlink(name: string): void {
    this.entries.delete(name);
    this.#journal.add([this], `name ${name}`, () => {
      this.#stored.delete(name);
    });
  }

  /** Moves a node to a name in a folder: on the disk, too, it is all or nothing. */
  move(name: string, folder: FolderNode, newName: string): void {
    const node = this.entries.get(name)!;
    this.entries.delete(name);
    folder.entries.set(newName, node);
    this.#journal.add([folder, this], `name ${newName}`, () => {
      if (this.#stored.get(name) === node) this.#stored.delete(name);
      folder.#stored.set(newName, node);
    });
  }

  /** Forgets what is not on the disk, in all that is below. */
  restore(restored: Set<DiskNode> = new Set()): void {
    if (restored.has(this)) return;
    restored.add(this);
    this.entries = new Map(this.#stored);
    for (const node of this.entries.values()) {
      if (node instanceof FileNode) node.restore();
      else node.restore(restored);
    }
  }
}

/** A file or a folder. */
export type DiskNode = FileNode | FolderNode;
