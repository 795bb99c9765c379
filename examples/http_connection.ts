/**
 * One client of the HTTP server: a conversation of requests and answers, one
 * after the other, on a connection that stays open.
 *
 * @module
 */

import {
  AsyncChat,
  type Channel,
  type Logger,
  type SocketMap,
  type Timer,
} from "@asyncore/asyncore";
import { answerTo, encodeHead, type FileFacts } from "./http_answer.ts";
import {
  type Headers,
  HttpError,
  type HttpRequest,
  LONGEST_LINE,
  RequestParser,
} from "./http_request.ts";
import { addressText } from "./logging.ts";
import { quote } from "./quote.ts";

/** The number of bytes to take at a time: all may be requests that wait. */
const IN_BUFFER = 4_096;
/** The number of bytes of a file to read at a time. */
const PIECE = 32_768;
/**
 * A client may take so many times the patience for a part of an answer. The
 * system takes bytes in steps of up to megabytes, and only these show that the
 * client reads: a slow line must not look like a dead one.
 */
const SLOWNESS = 12;

const UNSUPPORTED = /^(CONNECT|DELETE|OPTIONS|PATCH|POST|PUT|TRACE)$/;

/** Where files come from. */
export interface FileSource {
  /**
   * Opens the file that a request's target names.
   *
   * @throws {HttpError} If there is no such file, or it cannot be sent.
   */
  open(target: string): Promise<OpenFile>;
}

/** A file that is open, and what is known of it. */
export interface OpenFile extends FileFacts, Disposable {
  file: Pick<Deno.FsFile, "read" | "seek">;
}

/** Options of an {@linkcode HttpConnection}. */
export interface HttpOptions {
  map: SocketMap;
  files: FileSource;
  logger: Logger;
  /** The ms that a client may be silent, and may take for a request. */
  patience: number;
}

/** Reads requests, and answers them in order. */
export class HttpConnection extends AsyncChat {
  override readonly logger: Logger;
  readonly #files: FileSource;
  readonly #parser = new RequestParser();
  readonly #decoder = new TextDecoder("latin1");
  /** A part of a request has arrived, and not all of it. */
  #inRequest = false;
  /** The number of requests whose answers are not yet complete. */
  #waiting = 0;
  /** Nothing that the client still says is looked at. */
  #isOver = false;

  readonly #silence: Timer;

  constructor(conn: Channel, options: HttpOptions) {
    const idleTimeout = SLOWNESS * options.patience;
    super(conn, { map: options.map, idleTimeout });
    this.logger = options.logger;
    this.#files = options.files;
    this.#silence = this.callLater(options.patience, () => this.#onSilence());
    this.acInBufferSize = IN_BUFFER;
    this.maxLength = LONGEST_LINE;
    this.setTerminator(this.#parser.terminator);
  }

  /** The next requests must wait until the last one is answered. */
  override readable() {
    return this.#waiting === 0 && !this.#isOver;
  }

  override collectIncomingData(data: Uint8Array) {
    if (this.#isOver) return;
    this.#begin();
    if (this.#parser.wantsLine) super.collectIncomingData(data);
  }

  override foundTerminator() {
    if (this.#isOver) return;
    this.#begin();
    const line = this.takeData();
    try {
      const request = this.#parser.take(this.#decoder.decode(line));
      this.setTerminator(this.#parser.terminator);
      if (request) this.#onRequest(request);
    } catch (error) {
      if (!(error instanceof HttpError)) throw error;
      this.#refuse(error);
    }
  }

  override handleOverflow() {
    this.#refuse(this.#parser.overflow());
  }

  /** It has taken nothing of its answer. */
  override handleTimeout() {
    this.abort();
  }

  /** Lets the client have the answers that it waits for, and closes. */
  override handleShutdown() {
    if (this.#waiting === 0 && this.bufferedAmount === 0) this.close();
    else this.#end();
  }

  /** A request must be complete in time, however its bytes trickle in. */
  #begin() {
    if (this.#inRequest) return;
    this.#inRequest = true;
    this.#silence.reset();
  }

  #onRequest(request: HttpRequest) {
    this.#inRequest = false;
    this.#waiting++;
    // The producer does nothing before its turn, so that the answers come in
    // the order of the requests, and only one file is open.
    this.pushWithProducer(this.#answer(request));
    if (!request.keepAlive) this.#end();
  }

  async *#answer(request: HttpRequest) {
    try {
      checkMethod(request.method);
      using open = await this.#files.open(request.target);
      const { status, headers, start, end } = answerTo(request, open);
      const head = this.#head(request, status, headers);
      if (request.method === "HEAD") yield head;
      else {
        yield* piecesOf(open.file, start, end, head);
      }
    } catch (error) {
      if (!(error instanceof HttpError)) throw error;
      yield this.#refusal(error, request);
    } finally {
      this.#waiting--;
      this.#silence.reset();
      this.map.wake(); // readable() has another answer now
    }
  }

  /** The beginning of an answer. */
  #head(request: HttpRequest | null, status: number, headers: Headers) {
    const { method, target, isOld, keepAlive } = request ?? {};
    const asked = request
      ? `${quote(method!)} ${quote(target!)}`
      : "bad request";
    this.logger.debug(`${addressText(this.addr)} ${asked} -> ${status}`);
    const all: Headers = { "Date": new Date().toUTCString(), ...headers };
    if (!keepAlive) all["Connection"] = "close";
    else if (isOld) all["Connection"] = "keep-alive";
    return encodeHead(status, all);
  }

  /** An answer that is nothing but a status. */
  #refusal(error: HttpError, request: HttpRequest | null): Uint8Array {
    const body = new TextEncoder().encode(`${error.message}\n`);
    const head = this.#head(request, error.status, {
      ...error.headers,
      "Content-Type": "text/plain; charset=utf-8",
      "Content-Length": body.length,
    });
    return request?.method === "HEAD" ? head : concat(head, body);
  }

  /** Says what is wrong: where the next request would begin, nobody knows. */
  #refuse(error: HttpError) {
    this.push(this.#refusal(error, null));
    this.#end();
  }

  #end() {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#silence.reset();
    this.setTerminator(null);
    this.closeWhenDone();
  }

  #onSilence() {
    if (this.#waiting > 0 || this.bufferedAmount > 0) this.#silence.reset();
    else if (this.#inRequest) this.#refuse(new HttpError(408));
    else this.close();
  }
}

/** @throws {HttpError} If files cannot be asked for in this way. */
function checkMethod(method: string) {
  if (method === "GET" || method === "HEAD") return;
  if (!UNSUPPORTED.test(method)) throw new HttpError(501);
  throw new HttpError(405, { "Allow": "GET, HEAD" });
}

/** The head and the bytes of a file from `start` to `end`. */
async function* piecesOf(
  file: OpenFile["file"],
  start: number,
  end: number,
  head: Uint8Array,
): AsyncGenerator<Uint8Array> {
  if (start > 0) await file.seek(start, Deno.SeekMode.Start);
  // The head goes out together with the beginning of the file.
  const buffer = new Uint8Array(head.length + Math.min(end - start, PIECE));
  buffer.set(head);
  let filled = head.length;
  let left = end - start;
  while (left > 0) {
    const room = buffer.subarray(filled, filled + left);
    const length = await file.read(room);
    if (length === null) throw new Error("The file shrank while it was sent");
    left -= length;
    yield buffer.subarray(0, filled + length);
    filled = 0;
  }
  if (filled > 0) yield head;
}

function concat(first: Uint8Array, second: Uint8Array): Uint8Array {
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}
