/**
 * An open file or folder on a simulated disk: {@linkcode SimFile}.
 *
 * @module
 */

import { checkBytes, checkInteger, showValue } from "../core/arguments.ts";
import { corruptBytes } from "./corrupt.ts";
import { type DiskNode, FileNode } from "./disk_nodes.ts";
import type { DiskStore } from "./disk_store.ts";
import { systemError } from "./system_error.ts";

/** What `stat()` tells of a file or folder. */
export interface SimFileInfo {
  /** Whether it is a file. */
  readonly isFile: boolean;
  /** Whether it is a folder. */
  readonly isDirectory: boolean;
  /** Never: there are no symbolic links. */
  readonly isSymlink: boolean;
  /** How many bytes the file has; 0 for a folder. */
  readonly size: number;
}

/** What a file was opened for. */
export interface SimFileMode {
  /** For reading. */
  readonly read: boolean;
  /** For writing. */
  readonly write: boolean;
  /** For writing at its end only. */
  readonly append: boolean;
}

/** What the file system says of a file or folder. */
export function infoOf(node: DiskNode): SimFileInfo {
  const isFile = node instanceof FileNode;
  const size = isFile ? node.content.length : 0;
  return { isFile, isDirectory: !isFile, isSymlink: false, size };
}

/**
 * An open file or folder of a {@linkcode SimFiles}, which behaves as a
 * `Deno.FsFile` does, and with which `FileDispatcher` works.
 *
 * @example Read a simulated file by a dispatcher
 * ```ts
 * import { FileDispatcher } from "@asyncore/asyncore";
 * import { SimNetwork } from "@asyncore/asyncore/testing";
 *
 * class Reader extends FileDispatcher {
 *   text = "";
 *   readonly #decoder = new TextDecoder();
 *   override handleRead() {
 *     this.text += this.#decoder.decode(this.recv(), { stream: true });
 *   }
 * }
 *
 * const sim = new SimNetwork();
 * const host = sim.host("server");
 * const { files } = host.disk;
 * files.writeTextFileSync("breakfast", "spam");
 * const reader = host.run(() => new Reader(files.openSync("breakfast")));
 * await sim.run({ until: () => reader.text === "spam" });
 * ```
 */
export class SimFile implements Disposable {
  readonly #store: DiskStore;
  readonly #node: DiskNode;
  readonly #path: string;
  readonly #mode: SimFileMode;
  readonly #isAlive: () => boolean;
  #position = 0;
  #isClosed = false;

  /**
   * Made by {@linkcode SimFiles.open}.
   *
   * @param store The disk.
   * @param node The file or folder on it.
   * @param path By which name it was opened.
   * @param mode For what.
   * @param isAlive Whether the program still runs.
   */
  constructor(
    store: DiskStore,
    node: DiskNode,
    path: string,
    mode: SimFileMode,
    isAlive: () => boolean,
  ) {
    this.#store = store;
    this.#node = node;
    this.#path = path;
    this.#mode = mode;
    this.#isAlive = isAlive;
  }

  /**
   * Reads from where the last operation ended. See {@linkcode Faults.diskCorrupt}.
   *
   * @param target Where the bytes go.
   * @returns How many bytes, or `null` at the end of the file.
   * @throws {Error} If the file is not open for reading: `code` is `"EBADF"`.
   * @throws {Deno.errors.IsADirectory} If it is a folder.
   * @throws {Deno.errors.BadResource} If it is closed.
   */
  read(target: Uint8Array): Promise<number | null> {
    return this.#later(() => this.readSync(target));
  }

  /**
   * Reads at once. See {@linkcode SimFile.read}.
   *
   * @param target Where the bytes go.
   * @returns How many bytes, or `null` at the end of the file.
   */
  readSync(target: Uint8Array): number | null {
    checkBytes("target", target);
    this.#checkOpen();
    if (target.length === 0) return 0; // As Deno does, whatever it is open for.
    if (!this.#mode.read) throw systemError("EBADF");
    const file = this.#file();
    const bytes = file.content.bytes.subarray(
      this.#position,
      this.#position + target.length,
    );
    if (bytes.length === 0) return null;
    target.set(bytes);
    this.#position += bytes.length;
    if (this.#isAlive()) {
      const corruption = this.#store.drawCorruption(this.#path);
      const read = target.subarray(0, bytes.length);
      if (corruption !== null) corruptBytes(read, corruption);
    }
    return bytes.length;
  }

  /**
   * Writes where the last operation ended, or at the end of a file that was opened
   * to append. Before `sync()` nothing of it is safe.
   *
   * @param data The bytes.
   * @returns How many bytes; fewer than there are if the disk becomes full.
   * @throws {Error} If the disk is full (`code` is `"ENOSPC"`), or the file is
   * not open for writing (`"EBADF"`).
   * @throws {Deno.errors.BadResource} If it is closed.
   */
  write(data: Uint8Array): Promise<number> {
    return this.#later(() => this.writeSync(data));
  }

  /**
   * Writes at once. See {@linkcode SimFile.write}.
   *
   * @param data The bytes.
   * @returns How many bytes.
   */
  writeSync(data: Uint8Array): number {
    checkBytes("data", data);
    this.#checkOpen();
    if (!this.#mode.write) throw systemError("EBADF");
    const file = this.#file();
    if (data.length === 0 || !this.#isAlive()) return data.length;
    const { length } = file.content;
    const start = this.#mode.append ? length : this.#position;
    // For what is inside of the file there is space already.
    const kept = Math.min(data.length, Math.max(0, length - start));
    const added = data.length - kept;
    let taken = data.length;
    try {
      if (added > 0) taken = kept + this.#store.takeSpace(this.#path, added);
    } catch (error) {
      if (kept === 0) throw error;
      taken = kept;
    }
    file.write(start, data.subarray(0, taken));
    this.#position = start + taken;
    return taken;
  }

  /**
   * Moves the position of the next operation.
   *
   * @param offset How far, in bytes.
   * @param whence From where: as `Deno.SeekMode`.
   * @returns The new position.
   * @throws {TypeError} If it were negative.
   */
  seek(offset: number | bigint, whence: Deno.SeekMode): Promise<number> {
    return this.#later(() => this.seekSync(offset, whence));
  }

  /**
   * Moves the position at once. See {@linkcode SimFile.seek}.
   *
   * @param offset How far, in bytes.
   * @param whence From where.
   * @returns The new position.
   */
  seekSync(offset: number | bigint, whence: Deno.SeekMode): number {
    this.#checkOpen();
    const base = whence === Deno.SeekMode.Start
      ? 0
      : whence === Deno.SeekMode.Current
      ? this.#position
      : infoOf(this.#node).size;
    const position = base + Number(offset);
    if (!(position >= 0)) throw systemError("EINVAL");
    return this.#position = position;
  }

  /**
   * Cuts the file, or adds zeros. The position stays.
   *
   * @param length How long it is then, in bytes.
   * @throws {TypeError} If the file is not open for writing.
   * @throws {Error} If the disk is full: `code` is `"ENOSPC"`.
   */
  truncate(length: number = 0): Promise<void> {
    return this.#later(() => this.truncateSync(length));
  }

  /**
   * Cuts the file at once. See {@linkcode SimFile.truncate}.
   *
   * @param length How long it is then, in bytes.
   */
  truncateSync(length: number = 0): void {
    checkInteger("length", length, 0);
    this.#checkOpen();
    const node = this.#node;
    if (!this.#mode.write || !(node instanceof FileNode)) {
      throw systemError("EINVAL");
    }
    if (!this.#isAlive()) return;
    if (length > node.content.length) this.#store.takeSpace(this.#path);
    node.truncate(length);
  }

  /**
   * Makes safe what was written to the file; or, of a folder, which names it has.
   * It takes some simulated milliseconds: see {@linkcode DiskFaults} for how it
   * fails. A new file is safe when its folder is, too.
   *
   * @throws {Error} If it fails: `code` is `"EIO"`. Nobody knows then what is
   * safe, and a later `sync()` does not write it again.
   * @throws {Deno.errors.BadResource} If it is closed.
   */
  async sync(): Promise<void> {
    this.#checkOpen();
    await this.#store.sync(this.#node, this.#isAlive);
  }

  /** The same as {@linkcode SimFile.sync}. */
  syncData(): Promise<void> {
    return this.sync();
  }

  /**
   * Tells what it is, and its size.
   *
   * @returns What it is.
   */
  stat(): Promise<SimFileInfo> {
    return this.#later(() => this.statSync());
  }

  /**
   * Tells at once what it is, and its size.
   *
   * @returns What it is.
   */
  statSync(): SimFileInfo {
    this.#checkOpen();
    return infoOf(this.#node);
  }

  /**
   * Closes it, which makes nothing safe.
   *
   * @throws {Deno.errors.BadResource} If it is closed already.
   */
  close(): void {
    this.#checkOpen();
    this.#isClosed = true;
  }

  /** Closes it, unless it is closed already. */
  [Symbol.dispose](): void {
    this.#isClosed = true;
  }

  #later<T>(work: () => T): Promise<T> {
    return this.#store.later(this.#isAlive, work);
  }

  #checkOpen(): void {
    if (!this.#isClosed) return;
    throw new Deno.errors.BadResource(`${showValue(this.#path)} is closed`);
  }

  #file(): FileNode {
    if (this.#node instanceof FileNode) return this.#node;
    throw systemError("EISDIR");
  }
}
