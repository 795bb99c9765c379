/**
 * Reads a file in chunks of 256 bytes, to its end: a file as a dispatcher.
 *
 *     deno run --allow-read examples/file_reader.ts [PATH]
 *     deno task example file_reader [PATH]    (where JSR cannot be reached)
 *
 * Without a path it reads itself. The path `-` is standard input, and a pipe
 * that trickles is read as it trickles:
 *
 *     (echo a; sleep 1; echo b) | deno task example file_reader -
 *
 * @module
 */

import { FileDispatcher, type FileLike, loop } from "@asyncore/asyncore";
import { runCommand } from "./command_line.ts";
import { createLogger, quote, Quoter, reasonOf } from "./logging.ts";

const USAGE = `\
Usage: file_reader.ts [PATH] [--help]

Reads a file in chunks of 256 bytes, to its end.

  PATH  the file, or - for standard input; by default the example itself`;

const CHUNK = 256;

/** Reads a file to its end, and counts. */
class FileReader extends FileDispatcher {
  override readonly logger = createLogger("FileReader");
  bytesRead = 0;
  chunks = 0;
  failure: string | null = null;
  readonly #text = new Quoter();

  override handleRead() {
    const data = this.recv(CHUNK); // at the end, this calls handleClose()
    if (data.length === 0) return;
    this.bytesRead += data.length;
    this.chunks++;
    this.logger.debug(`handleRead() -> ${this.#text.quote(data)}`);
  }

  override handleClose() {
    this.logger.debug("handleClose()");
    this.close();
  }

  override handleError(error: unknown) {
    this.failure = reasonOf(error);
    this.logger.debug(`handleError() -> ${this.failure}`);
    this.handleClose();
  }
}

async function open(path: string | undefined): Promise<FileLike> {
  if (path === "-") return Deno.stdin;
  return await Deno.open(path ?? new URL(import.meta.url));
}

async function main(path: string | undefined): Promise<number> {
  let file: FileLike;
  try {
    file = await open(path);
  } catch (error) {
    console.error(reasonOf(error)); // it names the path
    return 1;
  }
  const reader = new FileReader(file);
  await loop();
  if (reader.failure !== null) {
    const name = quote(path ?? import.meta.url, Infinity);
    console.error(`Cannot read ${name}: ${reader.failure}`);
    return 1;
  }
  console.log(`${reader.bytesRead} bytes in ${reader.chunks} chunks`);
  return 0;
}

if (import.meta.main) {
  await runCommand(
    { help: USAGE, operands: ["PATH"], isOptional: true },
    (_, [path]) => main(path),
  );
}
