/**
 * Reads or copies a file, in the way that the first argument names. Answers
 * each line `SOURCE`, or `SOURCE TARGET` as JSON array, with the bytes, the ms
 * and the processor time (µs) that it took.
 *
 * @module
 */

import { FileDispatcher, FileWrapper, loop, SocketMap } from "../../mod.ts";
import { answerLines, processorTime } from "./control.mjs";

const PIECE = 256 * 1024;

type Copy = (
  source: Deno.FsFile,
  target: Deno.FsFile | null,
) => Promise<number>;

/** A loop of reads and writes over anything that has them. */
async function readLoop(
  source: { read(into: Uint8Array): Promise<number | null>; close(): void },
  target: Deno.FsFile | null,
): Promise<number> {
  const buffer = new Uint8Array(PIECE);
  let total = 0;
  for (let length; (length = await source.read(buffer)) !== null;) {
    total += length;
    if (!target) continue;
    for (let at = 0; at < length;) {
      at += await target.write(buffer.subarray(at, length));
    }
  }
  source.close();
  target?.close();
  return total;
}

/** Writes what the reader gives it. */
class Writer extends FileDispatcher {
  rest: Uint8Array | null = null;

  override readable(): boolean {
    return false;
  }
  override writable(): boolean {
    return this.rest !== null;
  }
  override handleWrite(): void {
    const rest = this.rest!;
    const sent = this.send(rest);
    this.rest = sent === rest.length ? null : rest.subarray(sent);
  }
}

class Reader extends FileDispatcher {
  total = 0;
  readonly #writer: Writer | null;

  constructor(file: Deno.FsFile, map: SocketMap, writer: Writer | null) {
    super(file, { map });
    this.#writer = writer;
  }
  override readable(): boolean {
    return this.#writer === null || this.#writer.rest === null;
  }
  override writable(): boolean {
    return false;
  }
  override handleRead(): void {
    const data = this.recv();
    this.total += data.length;
    if (this.#writer && data.length > 0) this.#writer.rest = data;
  }
  override handleClose(): void {
    this.close();
    this.#writer?.close();
  }
}

const COPIES: Record<string, Copy> = {
  raw: readLoop,
  wrapper: (source, target) => readLoop(new FileWrapper(source), target),
  dispatcher: async (source, target) => {
    const map = new SocketMap();
    const writer = target && new Writer(target, { map });
    const reader = new Reader(source, map, writer);
    await loop({ map });
    return reader.total;
  },
};

const copy = COPIES[Deno.args[0] ?? ""];
if (!copy) throw new TypeError(`The way must be one of ${Object.keys(COPIES)}`);

answerLines(async (line) => {
  const [source, target] = JSON.parse(line) as [string, string | null];
  const from = await Deno.open(source);
  const to = target ? await Deno.create(target) : null;
  const cpu = processorTime();
  const start = performance.now();
  const bytes = await copy(from, to);
  const ms = performance.now() - start;
  return { bytes, ms, cpu: processorTime() - cpu };
});
