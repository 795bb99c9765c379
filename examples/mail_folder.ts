/**
 * Puts messages into a folder, each in a file of its own, which is there whole
 * or not at all. Several servers may share a folder.
 *
 * @module
 */

import type { IncomingMail, MailStore } from "./smtp_session.ts";

/** So many bytes are gathered before they are written. */
const CHUNK = 64 * 1024;

/** The name of a message that is not complete. */
const PART = /^\d{17}-.+\.part$/;

/** Keeps messages in a folder. */
export class MailFolder implements MailStore {
  readonly #path: string;
  readonly #incomplete = new Set<MessageFile>();

  constructor(path: string) {
    this.#path = path;
  }

  /**
   * Makes the folder, and removes the messages that nobody will complete: those
   * of servers that have crashed. A server that runs holds a lock on each of its
   * own. If its lock comes a moment too late, the client gets a 451, and sends
   * the message again.
   */
  async open(): Promise<void> {
    await Deno.mkdir(this.#path, { recursive: true });
    for await (const { name, isFile } of Deno.readDir(this.#path)) {
      if (!isFile || !PART.test(name)) continue;
      const part = `${this.#path}/${name}`;
      try {
        using file = await Deno.open(part, { read: true, write: true });
        if (await file.tryLock(true)) await Deno.remove(part);
      } catch (error) {
        // Its server has completed it in the meantime.
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      }
    }
  }

  create(): MessageFile {
    const file = new MessageFile(this.#path, () => {
      this.#incomplete.delete(file);
    });
    this.#incomplete.add(file);
    return file;
  }

  /** Discards the messages whose connections were cut at the end. */
  async close(): Promise<void> {
    const files = [...this.#incomplete];
    await Promise.all(files.map((file) => file.discard()));
  }
}

/**
 * A message on its way into a folder: as `ID.part` until it is complete, then
 * as `ID.eml`. {@linkcode save} reports the errors of the disk.
 */
export class MessageFile implements IncomingMail {
  /** Says when the message came, and is never given twice. */
  readonly id: string = `${
    new Date().toISOString().replace(/\D/g, "")
  }-${crypto.randomUUID()}`;
  /** Where it will be. */
  readonly path: string;
  readonly #folder: string;
  readonly #part: string;
  readonly #onEnd: () => void;
  #file: Deno.FsFile | null = null;
  readonly #chunk = new Uint8Array(CHUNK);
  #length = 0;
  #failure: unknown = null;
  #isLinked = false;
  /** Settles when all that was begun is done. */
  #done: Promise<void> = Promise.resolve();

  /**
   * Nothing happens to the disk before there is something to write.
   *
   * @param onEnd Runs when the message is there, or nothing of it.
   */
  constructor(folder: string, onEnd: () => void = () => {}) {
    this.#folder = folder;
    this.#onEnd = onEnd;
    this.path = `${folder}/${this.id}.eml`;
    this.#part = `${folder}/${this.id}.part`;
  }

  /** Adds bytes. Nothing may be added while the promise, if there is one, is pending. */
  add(data: Uint8Array): void | Promise<void> {
    if (this.#failure !== null) return;
    if (this.#length + data.length <= CHUNK) this.#gather(data);
    else {
      return this.#next(async () => {
        await this.#flush();
        if (data.length <= CHUNK) this.#gather(data);
        else await this.#write(data);
      });
    }
  }

  /**
   * Makes the file appear. When this is done, it outlives a power failure.
   *
   * @throws The error of the disk; then nothing is left of the file.
   */
  async save(): Promise<void> {
    await this.#next(async () => {
      await this.#flush();
      await this.#file!.sync();
      await Deno.link(this.#part, this.path); // unlike a rename, overwrites nothing
      this.#isLinked = true;
      await Deno.remove(this.#part);
      await syncFolder(this.#folder);
      this.#close();
    });
    if (this.#failure === null) return this.#onEnd();
    await this.discard();
    throw this.#failure;
  }

  /** Leaves nothing of a message that will not be complete. */
  async discard(): Promise<void> {
    this.#failure ??= new Error("The message was discarded");
    await this.#done;
    this.#close();
    const paths = this.#isLinked ? [this.#part, this.path] : [this.#part];
    for (const path of paths) await Deno.remove(path).catch(() => {}); // not there
    this.#onEnd();
  }

  /** Does one thing after the other, and nothing more after a failure. */
  #next(work: () => Promise<void>): Promise<void> {
    this.#done = this.#done.then(async () => {
      if (this.#failure !== null) return;
      try {
        await work();
      } catch (error) {
        this.#failure ??= error;
      }
    });
    return this.#done;
  }

  #gather(data: Uint8Array): void {
    this.#chunk.set(data, this.#length);
    this.#length += data.length;
  }

  async #flush(): Promise<void> {
    await this.#write(this.#chunk.subarray(0, this.#length));
    this.#length = 0;
  }

  async #write(data: Uint8Array): Promise<void> {
    if (this.#file === null) {
      this.#file = await Deno.open(this.#part, {
        write: true,
        createNew: true,
      });
      await this.#file.lock(true);
    }
    while (data.length > 0) data = data.subarray(await this.#file.write(data));
  }

  #close(): void {
    this.#file?.close();
    this.#file = null;
  }
}

/** Makes a name in a folder as durable as the file; Windows has no such call. */
async function syncFolder(path: string): Promise<void> {
  if (Deno.build.os === "windows") return;
  using folder = await Deno.open(path);
  await folder.sync();
}
