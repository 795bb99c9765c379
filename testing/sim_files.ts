/**
 * The files on the disk of a simulated host: {@linkcode SimFiles}.
 *
 * @module
 */

import { checkText } from "../core/arguments.ts";
import { checkOptions, type OptionNames } from "../core/option_names.ts";
import { type DiskNode, FileNode, FolderNode } from "./disk_nodes.ts";
import type { DiskStore } from "./disk_store.ts";
import {
  infoOf,
  SimFile,
  type SimFileInfo,
  type SimFileMode,
} from "./sim_file.ts";
import { systemError } from "./system_error.ts";

/** Options of {@linkcode SimFiles.open}, as those of `Deno.open()`. */
export interface SimOpenOptions {
  /**
   * Whether to read.
   *
   * @default {true, if no other option is given}
   */
  read?: boolean | undefined;
  /**
   * Whether to write.
   *
   * @default {false}
   */
  write?: boolean | undefined;
  /**
   * Whether to write at the end of the file only.
   *
   * @default {false}
   */
  append?: boolean | undefined;
  /**
   * Whether to empty the file.
   *
   * @default {false}
   */
  truncate?: boolean | undefined;
  /**
   * Whether to make the file if there is none.
   *
   * @default {false}
   */
  create?: boolean | undefined;
  /**
   * Whether to make the file, and fail if there is one.
   *
   * @default {false}
   */
  createNew?: boolean | undefined;
}

const OPEN_OPTIONS: OptionNames<SimOpenOptions> = {
  read: true,
  write: true,
  append: true,
  truncate: true,
  create: true,
  createNew: true,
};

/** Options of {@linkcode SimFiles.mkdir} and {@linkcode SimFiles.remove}. */
export interface SimFolderOptions {
  /**
   * Whether to make the folders above, too, or to remove what is in the folder.
   *
   * @default {false}
   */
  recursive?: boolean | undefined;
}

const FOLDER_OPTIONS: OptionNames<SimFolderOptions> = { recursive: true };

/** A place in a folder, at the end of a path. */
interface Place {
  readonly folder: FolderNode;
  /** Empty if the path ends with the folder itself, as `/` and `a/..` do. */
  readonly name: string;
  readonly node: DiskNode | undefined;
}

/**
 * The files on the disk of a simulated host. The functions are those of `Deno`,
 * and fail as those do on Linux; an operation takes a moment of simulated time,
 * but for those that end in `Sync`. There is no current folder, and there are no
 * symbolic links, permissions and times.
 *
 * Data and names are apart, as in POSIX: `sync()` of a file makes its bytes safe,
 * `sync()` of the folder its name. A power failure takes what is not safe, but
 * for what {@linkcode DiskFaults.syncTorn} and the like keep of it: a long write
 * is torn between pages of 4,096 bytes, and a rename is all or nothing.
 *
 * @example Replace a file, so that a power failure leaves the old or the new one
 * ```ts
 * import { type SimHost, SimNetwork } from "@asyncore/asyncore/testing";
 * import { assert } from "@std/assert";
 *
 * const text = new TextEncoder();
 *
 * async function replace({ disk: { files } }: SimHost, content: string) {
 *   const options = { write: true, create: true, truncate: true };
 *   using file = await files.open("config.part", options);
 *   await file.write(text.encode(content));
 *   await file.sync(); // without it: the name of the new file, and no bytes
 *   await files.rename("config.part", "config");
 *   using folder = await files.open("/");
 *   await folder.sync(); // without it: perhaps the old file
 * }
 *
 * const sim = new SimNetwork({ faults: "harsh" });
 * const host = sim.host("server", async (host) => {
 *   await replace(host, "spam");
 *   host.map.callLater(0, () => replace(host, "eggs"));
 * });
 * await sim.run({ limit: 30 });
 * host.crash();
 * host.restart(() => {});
 * const found = host.disk.files.readTextFileSync("config");
 * assert(["spam", "eggs"].includes(found));
 * ```
 */
export class SimFiles {
  readonly #store: DiskStore;
  readonly #isAlive: () => boolean;

  /**
   * Made by its disk.
   *
   * @param store The disk of the machine.
   * @param isAlive Whether the program still runs.
   */
  constructor(store: DiskStore, isAlive: () => boolean) {
    this.#store = store;
    this.#isAlive = isAlive;
  }

  /**
   * Opens a file, or a folder for its `sync()`.
   *
   * @param path Its path. There is no current folder: `log` is `/log`.
   * @param options For what.
   * @returns The file.
   * @throws {Deno.errors.NotFound} If it is not there.
   * @throws {Deno.errors.AlreadyExists} If it is there, with `createNew`.
   * @throws {Deno.errors.IsADirectory} If a folder is to be written.
   * @throws {Error} If the disk is full: `code` is `"ENOSPC"`.
   * @throws {TypeError} If an option is wrong.
   */
  open(path: string, options: SimOpenOptions = {}): Promise<SimFile> {
    return this.#later(() => this.openSync(path, options));
  }

  /**
   * Opens a file at once. See {@linkcode SimFiles.open}.
   *
   * @param path Its path.
   * @param options For what.
   * @returns The file.
   */
  openSync(path: string, options: SimOpenOptions = {}): SimFile {
    checkOptions(options, OPEN_OPTIONS);
    const { append = false, truncate = false, create = false } = options;
    const { createNew = false, write = append } = options;
    const mode = { read: options.read ?? !write, write, append };
    checkMode(mode, create || createNew, truncate);
    const call = `open '${path}'`;
    const { folder, name, node } = this.#find(path, call);
    if (node && createNew) throw systemError("EEXIST", call);
    if (node instanceof FolderNode && write) throw systemError("EISDIR", call);
    const file = node ??
      this.#create(folder, name, path, create || createNew, call);
    file.path = fullPath(path);
    if (file instanceof FileNode && truncate) {
      if (this.#isAlive()) file.truncate(0);
    }
    return new SimFile(this.#store, file, file.path, mode, this.#isAlive);
  }

  /**
   * Makes a folder. It is safe when the folder above it is synced.
   *
   * @param path Its path.
   * @param options Whether to make the folders above, too.
   * @throws {Deno.errors.AlreadyExists} If there is something of that name.
   * @throws {Error} If the disk is full: `code` is `"ENOSPC"`.
   */
  mkdir(path: string, options: SimFolderOptions = {}): Promise<void> {
    return this.#later(() => this.mkdirSync(path, options));
  }

  /**
   * Does so at once. See {@linkcode SimFiles.mkdir}.
   *
   * @param path Its path.
   * @param options Whether to make the folders above, too.
   */
  mkdirSync(path: string, options: SimFolderOptions = {}): void {
    checkOptions(options, FOLDER_OPTIONS);
    const { recursive = false } = options;
    const call = `mkdir '${path}'`;
    if (recursive) this.#makeAbove(path, call);
    const { folder, name, node } = this.#find(path, call);
    if (recursive && node instanceof FolderNode) return;
    if (node) throw systemError("EEXIST", call);
    this.#makeFolder(folder, name, fullPath(path));
  }

  /**
   * Removes a file or a folder. A file that is open can still be used.
   *
   * @param path Its path.
   * @param options Whether to remove what is in the folder, too.
   * @throws {Deno.errors.NotFound} If it is not there.
   * @throws {Error} If the folder is not empty: `code` is `"ENOTEMPTY"`.
   */
  remove(path: string, options: SimFolderOptions = {}): Promise<void> {
    return this.#later(() => this.removeSync(path, options));
  }

  /**
   * Does so at once. See {@linkcode SimFiles.remove}.
   *
   * @param path Its path.
   * @param options Whether to remove what is in the folder, too.
   */
  removeSync(path: string, options: SimFolderOptions = {}): void {
    checkOptions(options, FOLDER_OPTIONS);
    const { recursive = false } = options;
    const call = `remove '${path}'`;
    const { folder, name, node } = this.#find(path, call);
    if (!node) throw systemError("ENOENT", call);
    if (name === "") throw systemError("EINVAL", call);
    if (node instanceof FolderNode && node.entries.size > 0) {
      if (!recursive) throw systemError("ENOTEMPTY", call);
      if (this.#isAlive()) empty(node);
    }
    if (this.#isAlive()) folder.unlink(name);
  }

  /**
   * Gives a file or a folder another name, which a file of that name loses. A
   * power failure leaves the old state or the new one, and the old one may come
   * back until the folder is synced.
   *
   * @param path Its path.
   * @param newPath The path that it gets.
   * @throws {Deno.errors.NotFound} If it is not there.
   * @throws {Deno.errors.IsADirectory} If a file is to replace a folder.
   * @throws {Error} If a folder is to replace one that is not empty: `code` is
   * `"ENOTEMPTY"`.
   */
  rename(path: string, newPath: string): Promise<void> {
    return this.#later(() => this.renameSync(path, newPath));
  }

  /**
   * Does so at once. See {@linkcode SimFiles.rename}.
   *
   * @param path Its path.
   * @param newPath The path that it gets.
   */
  renameSync(path: string, newPath: string): void {
    const call = `rename '${path}' -> '${newPath}'`;
    const from = this.#find(path, call);
    const to = this.#find(newPath, call);
    const { node } = from;
    if (!node) throw systemError("ENOENT", call);
    if (from.name === "" || to.name === "") throw systemError("EINVAL", call);
    checkMove(from.folder, node, to, call);
    const isFile = node instanceof FileNode;
    if (isFile && newPath.endsWith("/")) throw systemError("ENOTDIR", call);
    if (to.node === node || !this.#isAlive()) return;
    from.folder.move(from.name, to.folder, to.name);
    node.path = fullPath(newPath);
  }

  /**
   * Gives a file a second name.
   *
   * @param path Its path.
   * @param newPath The second path.
   * @throws {Deno.errors.NotFound} If it is not there.
   * @throws {Deno.errors.AlreadyExists} If there is something of the second name.
   */
  link(path: string, newPath: string): Promise<void> {
    return this.#later(() => this.linkSync(path, newPath));
  }

  /**
   * Does so at once. See {@linkcode SimFiles.link}.
   *
   * @param path Its path.
   * @param newPath The second path.
   */
  linkSync(path: string, newPath: string): void {
    const call = `link '${path}' -> '${newPath}'`;
    const { node } = this.#find(path, call);
    if (!node) throw systemError("ENOENT", call);
    const to = this.#find(newPath, call);
    if (to.node) throw systemError("EEXIST", call);
    if (node instanceof FolderNode) throw systemError("EPERM", call);
    if (!this.#isAlive()) return;
    this.#store.takeSpace(fullPath(newPath));
    to.folder.link(to.name, node);
    node.path = fullPath(newPath);
  }

  /**
   * Tells what is there.
   *
   * @param path Its path.
   * @returns What it is, and its size.
   * @throws {Deno.errors.NotFound} If it is not there.
   */
  stat(path: string): Promise<SimFileInfo> {
    return this.#later(() => this.statSync(path));
  }

  /**
   * Does so at once. See {@linkcode SimFiles.stat}.
   *
   * @param path Its path.
   * @returns What it is, and its size.
   */
  statSync(path: string): SimFileInfo {
    const call = `stat '${path}'`;
    const { node } = this.#find(path, call);
    if (!node) throw systemError("ENOENT", call);
    return infoOf(node);
  }

  /**
   * Lists a folder, by name.
   *
   * @param path Its path.
   * @returns Its entries.
   * @throws {Deno.errors.NotFound} If it is not there.
   * @throws {Deno.errors.NotADirectory} If it is a file.
   */
  async *readDir(path: string): AsyncIterableIterator<Deno.DirEntry> {
    yield* await this.#later(() => this.readDirSync(path));
  }

  /**
   * Does so at once. See {@linkcode SimFiles.readDir}.
   *
   * @param path Its path.
   * @returns Its entries.
   */
  readDirSync(path: string): IterableIterator<Deno.DirEntry> {
    const call = `readdir '${path}'`;
    const { node } = this.#find(path, call);
    if (!node) throw systemError("ENOENT", call);
    if (node instanceof FileNode) throw systemError("ENOTDIR", call);
    const names = [...node.entries.keys()].sort();
    return names.map((name) => {
      const { size: _, ...kind } = infoOf(node.entries.get(name)!);
      return { name, ...kind };
    }).values();
  }

  /**
   * Reads a whole file.
   *
   * @param path Its path.
   * @returns Its bytes.
   * @throws {Deno.errors.NotFound} If it is not there.
   */
  async readFile(path: string): Promise<Uint8Array<ArrayBuffer>> {
    const file = await this.open(path);
    try {
      const { size } = await file.stat();
      const bytes = new Uint8Array(Math.max(1, size)); // so that folders fail
      return bytes.subarray(0, await file.read(bytes) ?? 0);
    } finally {
      file.close();
    }
  }

  /**
   * Does so at once. See {@linkcode SimFiles.readFile}.
   *
   * @param path Its path.
   * @returns Its bytes.
   */
  readFileSync(path: string): Uint8Array<ArrayBuffer> {
    const file = this.openSync(path);
    try {
      const bytes = new Uint8Array(Math.max(1, file.statSync().size));
      return bytes.subarray(0, file.readSync(bytes) ?? 0);
    } finally {
      file.close();
    }
  }

  /**
   * Reads a whole file as UTF-8.
   *
   * @param path Its path.
   * @returns Its text.
   * @throws {Deno.errors.NotFound} If it is not there.
   */
  async readTextFile(path: string): Promise<string> {
    return new TextDecoder().decode(await this.readFile(path));
  }

  /**
   * Does so at once. See {@linkcode SimFiles.readTextFile}.
   *
   * @param path Its path.
   * @returns Its text.
   */
  readTextFileSync(path: string): string {
    return new TextDecoder().decode(this.readFileSync(path));
  }

  /**
   * Writes a whole file; by default, makes or empties it first. A crash may come
   * between the two, and nothing of it is safe before its `sync()`.
   *
   * @param path Its path.
   * @param data Its bytes.
   * @param options Whether to append, or to fail if it is there.
   * @throws {Error} If the disk is full: `code` is `"ENOSPC"`.
   */
  async writeFile(
    path: string,
    data: Uint8Array,
    options: SimWriteOptions = {},
  ): Promise<void> {
    const file = await this.open(path, writeMode(options));
    try {
      let rest = data;
      while (rest.length > 0) rest = rest.subarray(await file.write(rest));
    } finally {
      file.close();
    }
  }

  /**
   * Does so at once. See {@linkcode SimFiles.writeFile}.
   *
   * @param path Its path.
   * @param data Its bytes.
   * @param options Whether to append, or to fail if it is there.
   */
  writeFileSync(
    path: string,
    data: Uint8Array,
    options: SimWriteOptions = {},
  ): void {
    const file = this.openSync(path, writeMode(options));
    try {
      let rest = data;
      while (rest.length > 0) rest = rest.subarray(file.writeSync(rest));
    } finally {
      file.close();
    }
  }

  /**
   * Writes a whole file as UTF-8. See {@linkcode SimFiles.writeFile}.
   *
   * @param path Its path.
   * @param text Its text.
   * @param options Whether to append, or to fail if it is there.
   */
  writeTextFile(
    path: string,
    text: string,
    options: SimWriteOptions = {},
  ): Promise<void> {
    return this.writeFile(path, new TextEncoder().encode(text), options);
  }

  /**
   * Does so at once. See {@linkcode SimFiles.writeFile}.
   *
   * @param path Its path.
   * @param text Its text.
   * @param options Whether to append, or to fail if it is there.
   */
  writeTextFileSync(
    path: string,
    text: string,
    options: SimWriteOptions = {},
  ): void {
    this.writeFileSync(path, new TextEncoder().encode(text), options);
  }

  #later<T>(work: () => T): Promise<T> {
    return this.#store.later(this.#isAlive, work);
  }

  #create(
    folder: FolderNode,
    name: string,
    path: string,
    mayCreate: boolean,
    call: string,
  ): FileNode {
    if (!mayCreate || path.endsWith("/")) {
      throw systemError(mayCreate ? "EISDIR" : "ENOENT", call);
    }
    const file = new FileNode(this.#store.journal, fullPath(path));
    if (!this.#isAlive()) return file;
    this.#store.takeSpace(file.path);
    folder.link(name, file);
    return file;
  }

  /** Makes the folders above a path that are not there. */
  #makeAbove(path: string, call: string): void {
    const above = path.replace(/\/*[^/]*\/*$/, "");
    if (above === "") return;
    this.#makeAbove(above, call);
    const { folder, name, node } = this.#find(above, call);
    if (!node) this.#makeFolder(folder, name, fullPath(above));
  }

  #makeFolder(folder: FolderNode, name: string, path: string): void {
    if (!this.#isAlive()) return;
    this.#store.takeSpace(path);
    folder.link(name, new FolderNode(this.#store.journal, path));
  }

  /**
   * Follows a path.
   *
   * @throws {Deno.errors.NotFound} If a folder on the way is not there.
   * @throws {Deno.errors.NotADirectory} If it is a file.
   */
  #find(path: string, call: string): Place {
    checkText("path", path);
    const { root } = this.#store;
    const way = [root];
    let place: Place = { folder: root, name: "", node: root };
    for (const name of path.split("/")) {
      const { node } = place;
      // What stands before a slash is a folder, or may become one.
      if (node instanceof FileNode) throw systemError("ENOTDIR", call);
      if (name === "") continue;
      if (!node) throw systemError("ENOENT", call);
      if (node !== way.at(-1)) way.push(node);
      if (name === ".." && way.length > 1) way.pop();
      const folder = way.at(-1)!;
      place = name === "." || name === ".."
        ? { folder, name: "", node: folder }
        : { folder, name, node: folder.entries.get(name) };
    }
    return place;
  }
}

/** Options of {@linkcode SimFiles.writeFile}, as those of `Deno.writeFile()`. */
export type SimWriteOptions = Pick<
  SimOpenOptions,
  "append" | "create" | "createNew"
>;

function writeMode(options: SimWriteOptions): SimOpenOptions {
  const { append = false, create = true } = options;
  return { create, truncate: !append, ...options, write: true };
}

function checkMode(
  { read, write, append }: SimFileMode,
  creates: boolean,
  truncate: boolean,
): void {
  if (!read && !write) {
    throw new TypeError("options must have read, write or append");
  }
  if (creates && !write) {
    throw new TypeError("create and createNew need write or append as well");
  }
  if (truncate && (!write || append)) {
    throw new TypeError("truncate needs write, and no append");
  }
}

/** A path from the root, as faults and the trace have it. */
function fullPath(path: string): string {
  const names = path.split("/").filter((name) => name !== "" && name !== ".");
  return `/${names.join("/")}`;
}

/** Removes what is in a folder, one name after the other. */
function empty(folder: FolderNode): void {
  for (const [name, node] of folder.entries) {
    if (node instanceof FolderNode) empty(node);
    folder.unlink(name);
  }
}

/** Whether a folder is another one, or somewhere in it. */
function isIn(folder: DiskNode, above: FolderNode): boolean {
  return folder === above ||
    [...above.entries.values()].some((node) =>
      node instanceof FolderNode && isIn(folder, node)
    );
}

/** Checks, as Linux does, whether a node may have the name of another one. */
function checkMove(
  folder: FolderNode,
  node: DiskNode,
  to: Place,
  call: string,
): void {
  const replaced = to.node;
  if (node instanceof FolderNode && isIn(to.folder, node)) {
    throw systemError("EINVAL", call);
  }
  if (replaced instanceof FileNode) {
    if (node instanceof FolderNode) throw systemError("ENOTDIR", call);
  } else if (replaced && replaced !== node) {
    if (isIn(folder, replaced)) throw systemError("ENOTEMPTY", call);
    if (node instanceof FileNode) throw systemError("EISDIR", call);
    if (replaced.entries.size > 0) throw systemError("ENOTEMPTY", call);
  }
}
