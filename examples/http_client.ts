/**
 * Downloads web pages, all at once, in one loop: an `HttpClient` dispatcher for
 * each URL, whose hooks say when they are called.
 *
 *     deno run --allow-net examples/http_client.ts [URL…]
 *     deno task example http_client [URL…]    (where JSR cannot be reached)
 *
 * Without a URL it downloads two pages from a server of its own, which runs in
 * the same loop.
 *
 * @module
 */

import { Dispatcher, loop, type Timer } from "@asyncore/asyncore";
import type { Logger } from "@std/log";
import { runCommand, UsageError } from "./command_line.ts";
import { createLogger, reasonOf } from "./logging.ts";
import { quote } from "./quote.ts";
import { PageServer } from "./page_server.ts";

const USAGE = `\
Usage: http_client.ts [URL…] [--help]

Downloads web pages, all at once, and tells how.

  URL  what to download, http:// only; by default two pages of a server that
       runs in the same loop`;

/** The number of bytes to take at a time. */
const CHUNK = 8_192;
/** The headers must lie within so many characters of the answer. */
const HEAD = 16_384;

/** Options of an {@linkcode HttpClient}. */
export interface HttpClientOptions {
  /** Gets the log; by default a logger with the URL's name. */
  logger?: Logger;
  /** The server may be silent for so many ms: 10,000 by default. */
  patience?: number;
}

/** Downloads one page. */
export class HttpClient extends Dispatcher {
  override readonly logger: Logger;
  readonly url: URL;
  /** How many bytes of the answer, headers included, have arrived. */
  bytesReceived = 0;
  /** The download is over, for better or worse. */
  done = false;
  /** Why it failed, if it did. */
  failure: string | null = null;

  #request: Uint8Array;
  #head = "";
  readonly #decoder = new TextDecoder("latin1"); // a byte is a letter
  readonly #silence: Timer;

  constructor(url: URL, options: HttpClientOptions = {}) {
    super();
    this.url = url;
    this.logger = options.logger ?? createLogger(url.href);
    const { patience = 10_000 } = options;
    this.#silence = this.callLater(patience, () => {
      this.handleError(new Error(`no answer for ${patience / 1_000} s`));
    });
    this.#request = new TextEncoder().encode(
      `GET ${url.pathname}${url.search} HTTP/1.0\r\nHost: ${url.host}\r\n\r\n`,
    );

    const port = Number(url.port || 80);
    this.logger.debug(`connecting to ${url.hostname}:${port}`);
    this.createSocket();
    this.connect({ hostname: url.hostname.replace(/[[\]]/g, ""), port });
  }

  override readable() {
    this.logger.debug("readable() -> true");
    return true;
  }

  override writable() {
    const isWritable = this.#request.length > 0;
    this.logger.debug(`writable() -> ${isWritable}`);
    return isWritable;
  }

  override handleConnect() {
    this.logger.debug("handleConnect()");
  }

  override handleWrite() {
    const sent = this.send(this.#request);
    const said = this.#decoder.decode(this.#request.subarray(0, sent));
    this.logger.debug(`handleWrite() -> ${JSON.stringify(said)}`);
    this.#request = this.#request.subarray(sent);
  }

  override handleRead() {
    const data = this.recv(CHUNK); // at the end, this calls handleClose()
    this.logger.debug(`handleRead() -> ${data.length} bytes`);
    this.bytesReceived += data.length;
    if (this.#head.length < HEAD) {
      this.#head += this.#decoder.decode(data);
    }
    this.#silence.reset();
  }

  override handleClose() {
    this.logger.debug("handleClose()");
    // A connection that broke ends like any other, but for its reason.
    if (this.closeReason) this.failure ??= reasonOf(this.closeReason);
    this.failure ??= this.#whatIsMissing();
    this.done = true;
    this.close();
  }

  override handleError(error: unknown) {
    this.failure = reasonOf(error);
    this.logger.debug(`handleError() -> ${this.failure}`);
    this.handleClose();
  }

  /** Why this is not the whole answer. */
  #whatIsMissing(): string | null {
    if (this.bytesReceived === 0) return "connection closed without an answer";
    const end = this.#head.indexOf("\r\n\r\n") + 4;
    if (end < 4) return "connection closed before the end of the headers";
    const headers = this.#head.slice(0, end);
    if (!/^HTTP\/1\.\d \d{3}[ \r]/.test(headers)) return "no answer of HTTP";
    const lengths = lengthsIn(headers);
    const [length = "0", ...others] = lengths;
    if (others.length > 0 || !/^\d+$/.test(length)) {
      return `unclear length ${quote(lengths.join(", "))}`;
    }
    const expected = end + Number(length);
    if (this.bytesReceived >= expected) return null;
    return `connection closed after ${this.bytesReceived} of ${expected} bytes`;
  }
}

/** The lengths that the headers give; none where chunks or the end tell. */
function lengthsIn(headers: string): string[] {
  if (/^transfer-encoding:/im.test(headers)) return [];
  const all = Array.from(
    headers.matchAll(/^content-length:(.*)$/gim),
    ([, value]) => value!.split(","),
  );
  return [...new Set(all.flat().map((value) => value.trim()))];
}

/**
 * Turns an argument into a URL that the client can download.
 *
 * @throws {UsageError} If it is none.
 */
function parseUrl(arg: string): URL {
  const url = URL.parse(arg);
  if (url === null) {
    throw new UsageError(`${quote(arg, Infinity)} is not a URL`);
  }
  if (url.protocol !== "http:") {
    throw new UsageError(`${url.href}: only http:// URLs are supported`);
  }
  if (url.username || url.password) {
    throw new UsageError(`http://${url.host}: a user name is not supported`);
  }
  if (url.port === "0") throw new UsageError(`${url.href}: there is no port 0`);
  return url;
}

/** Says on the terminal how a download went, and returns whether it did. */
export function report({ url, bytesReceived, failure }: HttpClient): boolean {
  if (failure === null) console.log(`${url} got ${bytesReceived} bytes`);
  else console.error(`${url}: ${failure}`);
  return failure === null;
}

async function main(args: string[]): Promise<number> {
  let urls = args.map(parseUrl);
  if (urls.length === 0) urls = new PageServer().urls;
  const logger = createLogger("main");
  const clients = urls.map((url) => new HttpClient(url));
  logger.debug("LOOP STARTING");
  await loop();
  logger.debug("LOOP DONE");
  return clients.map(report).every(Boolean) ? 0 : 1;
}

if (import.meta.main) {
  await runCommand(
    { help: USAGE, operands: ["URL…"], isOptional: true },
    (_, urls) => main(urls),
  );
}
