/** Helpers of the tests of files: files that go with the test, and a reader. */

import { FileDispatcher, type FileLike } from "../mod.ts";
import { runCommand } from "./peers.ts";
import { bytes, DENO_CAN, type TestMap, text } from "./support.ts";

export const onWindows: boolean = Deno.build.os === "windows";
/** Whether this machine and this Deno have FIFOs. */
export const hasFifos: boolean = !onWindows && DENO_CAN.openFifos;

/** A directory that goes away with the test. */
export class Scratch implements Disposable {
  readonly path: string = Deno.makeTempDirSync();

  /** A new file with that content. */
  file(content: string | Uint8Array = ""): string {
    const path = `${this.path}/file`;
    const data = typeof content === "string" ? bytes(content) : content;
    Deno.writeFileSync(path, data);
    return path;
  }

  /** Both ends of a new FIFO. */
  async fifo(): Promise<[input: Deno.FsFile, output: Deno.FsFile]> {
    const path = `${this.path}/fifo`;
    await runCommand("mkfifo", [path]);
    // Either open waits for the other.
    return await Promise.all([
      Deno.open(path, { read: true }),
      Deno.open(path, { write: true }),
    ]);
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}

/** Reads a file in chunks, and writes down how it went. */
export class Reader extends FileDispatcher {
  readonly chunks: Uint8Array[] = [];
  readonly errors: unknown[] = [];
  closes = 0;
  readonly #size: number;

  constructor(map: TestMap, file: FileLike, size = 65_536) {
    super(file, { map });
    this.#size = size;
  }

  get text(): string {
    return this.chunks.map(text).join("");
  }
  /** The length of each chunk. */
  get lengths(): number[] {
    return this.chunks.map(({ length }) => length);
  }

  override handleRead(): void {
    const chunk = this.recv(this.#size);
    if (chunk.length > 0) this.chunks.push(chunk);
  }
  override handleClose(): void {
    this.closes++;
    this.close();
  }
  override handleError(error: unknown): void {
    this.errors.push(error);
    this.close();
  }
}
