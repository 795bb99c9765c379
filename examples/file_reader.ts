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
 * Such a read holds one of Deno's threads; in a map on `epollNetwork` (`../epoll`)
 * it would hold none.
 *
 * @module
 */

import { FileDispatcher, loop } from "@asyncore/asyncore";
import { runCommand } from "./command_line.ts";
import { createLogger, pathTrouble, Quoter, reasonOf } from "./logging.ts";

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
  failure: unknown = null;
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
    this.failure = error;
    this.logger.debug(`handleError() -> ${reasonOf(error)}`);
    this.handleClose();
  }
}

/** Reads a file to its end. */
async function read(path: string): Promise<FileReader> {
  const file = path === "-" ? Deno.stdin : await Deno.open(path);
  const reader = new FileReader(file);
  await loop();
  if (reader.failure !== null) throw reader.failure;
  return reader;
}

async function main(path: string): Promise<number> {
  try {
    const { bytesRead, chunks } = await read(path);
    console.log(`${bytesRead} bytes in ${chunks} chunks`);
    return 0;
  } catch (error) {
    console.error(`Cannot read ${pathTrouble(path, error)}`);
    return 1;
  }
}

if (import.meta.main) {
  await runCommand(
    { help: USAGE, operands: ["PATH"], isOptional: true },
    (_, [path = import.meta.filename!]) => main(path),
  );
}
