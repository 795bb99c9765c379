/**
 * Reads requests of HTTP/1.0 and HTTP/1.1 (RFC 9112) from the pieces between
 * terminators. There is no socket in here, so that a test can feed it anything.
 *
 * @module
 */

/** The most bytes of one line; {@linkcode RequestParser.overflow} says so. */
export const LONGEST_LINE = 8_192;
/** The most bytes of a request line and its headers. */
const LONGEST_HEAD = 32_768;
/** The most bytes of a body, which nothing in here wants, but must be skipped. */
const LONGEST_BODY = 65_536;
/** The most characters of a chunk's size with its extensions. */
const LONGEST_CHUNK_LINE = 256;

const REASONS = new Map([
  [200, "OK"],
  [206, "Partial Content"],
  [301, "Moved Permanently"],
  [304, "Not Modified"],
  [400, "Bad Request"],
  [403, "Forbidden"],
  [404, "Not Found"],
  [405, "Method Not Allowed"],
  [408, "Request Timeout"],
  [412, "Precondition Failed"],
  [413, "Content Too Large"],
  [414, "URI Too Long"],
  [416, "Range Not Satisfiable"],
  [417, "Expectation Failed"],
  [431, "Request Header Fields Too Large"],
  [500, "Internal Server Error"],
  [501, "Not Implemented"],
  [505, "HTTP Version Not Supported"],
]);

/** A status with its words: `404 Not Found`. */
export function statusText(status: number): string {
  return `${status} ${REASONS.get(status) ?? "Unknown"}`;
}

/** The parts of headers, names in any case. */
export type Headers = Record<string, string | number>;

/** A request that is answered with a status and nothing more. */
export class HttpError extends Error {
  readonly status: number;
  readonly headers: Headers;

  constructor(status: number, headers: Headers = {}) {
    super(statusText(status));
    this.status = status;
    this.headers = headers;
  }
}

/** A request of a client. */
export interface HttpRequest {
  method: string;
  target: string;
  /** By their names in lower case; a header that came twice has a comma. */
  headers: Map<string, string>;
  /** It came as HTTP/1.0. */
  isOld: boolean;
  /** Whether another request may follow on the connection. */
  keepAlive: boolean;
}

const NAME = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
const TOKEN = new RegExp(`^${NAME}$`);
const REQUEST_LINE = /^([^ ]+) ([\x21-\x7e]+) HTTP\/(\d)\.(\d)$/;
const HOST = /^[!$&'()*+,.;=_~0-9A-Za-z%:[\]-]*$/;
const EXTENSION =
  `[ \\t]*;[ \\t]*${NAME}(?:[ \\t]*=[ \\t]*(?:${NAME}|"(?:[^"\\\\]|\\\\.)*"))?`;
/** The size of a chunk, and extensions, which mean nothing here. */
const CHUNK_LINE = new RegExp(`^([0-9A-Fa-f]+)(?:${EXTENSION})*$`);
// deno-lint-ignore no-control-regex
const CONTROL = /[\x00-\x08\x0a-\x1f\x7f]/;

/** Headers that say where a message ends, or whom it is for: only one is clear. */
const SINGLE = new Set(["content-length", "host"]);

/** The kinds of parts. */
type State =
  | "start"
  | "header"
  | "body"
  | "size" // of a chunk
  | "chunk"
  | "chunk end"
  | "trailer";

/**
 * Takes requests apart. Feed it the input before each
 * {@linkcode RequestParser.terminator}, which changes from part to part.
 */
export class RequestParser {
  /** The end of the next part: a line feed, or a number of bytes to skip. */
  terminator: string | number = "\n";

  #state: State = "start";
  #request: HttpRequest | null = null;
  #headLength = 0;
  #bodyLength = 0;

  /** Whether the next part is a line, and not bytes to skip. */
  get wantsLine(): boolean {
    return this.terminator === "\n";
  }

  /**
   * Takes the next part: a line without its line feed, or as many bytes as were
   * asked for, whose text does not matter.
   *
   * @returns The request that it completes, if it does.
   * @throws {HttpError} If the part is wrong: then nobody can say where the
   * next request begins, and the connection must end.
   */
  take(part: string): HttpRequest | null {
    if (this.#state === "body") return this.#finish();
    if (this.#state === "chunk") return this.#expect("chunk end");
    if (!part.endsWith("\r")) throw new HttpError(400);
    const line = part.slice(0, -1);
    if (CONTROL.test(line)) throw new HttpError(400);
    this.#headLength += line.length + 2;
    const inHead = this.#state === "start" || this.#state === "header";
    if (this.#headLength > LONGEST_HEAD) {
      throw new HttpError(inHead ? 431 : 413);
    }
    return this.#takeLine(line);
  }

  /** The error of a line that exceeds {@linkcode LONGEST_LINE} bytes. */
  overflow(): HttpError {
    if (this.#state === "start") return new HttpError(414);
    return new HttpError(this.#state === "size" ? 400 : 431);
  }

  #takeLine(line: string): HttpRequest | null {
    switch (this.#state) {
      case "start":
        // Some clients end a body with an empty line too many.
        if (line !== "") this.#request = parseRequestLine(line);
        return this.#expect(line === "" ? "start" : "header");
      case "header":
        if (line === "") return this.#endHead(this.#request!);
        addHeader(this.#request!.headers, line);
        return null;
      case "size":
        return this.#takeChunkSize(line);
      case "chunk end":
        if (line !== "") throw new HttpError(400);
        return this.#expect("size");
      default: // a trailer, which nobody needs
        if (line === "") return this.#finish();
        addHeader(new Map(), line);
        return null;
    }
  }

  /** All headers are here: is a body to follow? */
  #endHead(request: HttpRequest): HttpRequest | null {
    checkHost(request);
    request.keepAlive = staysOpen(request);
    const length = bodyLength(request);
    const expected = request.isOld ? undefined : request.headers.get("expect");
    if (expected !== undefined) {
      if (expected.toLowerCase() !== "100-continue") throw new HttpError(417);
      if (length !== 0) {
        // The answer is known without the body, so the client need not send it.
        request.keepAlive = false;
        return this.#finish();
      }
    }
    if (length === "chunked") return this.#expect("size");
    return length === 0 ? this.#finish() : this.#skip(length, "body");
  }

  #takeChunkSize(line: string): null {
    if (line.length > LONGEST_CHUNK_LINE) throw new HttpError(400);
    const digits = CHUNK_LINE.exec(line)?.[1];
    if (digits === undefined) throw new HttpError(400);
    const size = parseInt(digits, 16);
    return size === 0 ? this.#expect("trailer") : this.#skip(size, "chunk");
  }

  #skip(length: number, state: State): null {
    this.#bodyLength += length;
    if (this.#bodyLength > LONGEST_BODY) throw new HttpError(413);
    this.terminator = length;
    this.#state = state;
    return null;
  }

  /** A line comes next. */
  #expect(state: State): null {
    this.terminator = "\n";
    this.#state = state;
    return null;
  }

  #finish(): HttpRequest {
    const request = this.#request!;
    this.#request = null;
    this.#headLength = this.#bodyLength = 0;
    this.#expect("start");
    return request;
  }
}

function parseRequestLine(line: string): HttpRequest {
  const [, method = "", target = "", major, minor] = REQUEST_LINE.exec(line) ??
    [];
  if (!TOKEN.test(method)) throw new HttpError(400);
  if (major !== "1") throw new HttpError(505);
  const isOld = minor === "0";
  return { method, target, headers: new Map(), isOld, keepAlive: !isOld };
}

/** Adds a header, which neither goes on in a second line nor hides its name. */
function addHeader(headers: Map<string, string>, line: string): void {
  const colon = line.indexOf(":");
  const name = line.slice(0, Math.max(colon, 0)).toLowerCase();
  if (!TOKEN.test(name)) throw new HttpError(400);
  const value = trim(line.slice(colon + 1));
  const before = headers.get(name);
  if (before !== undefined && SINGLE.has(name)) throw new HttpError(400);
  headers.set(name, before === undefined ? value : `${before}, ${value}`);
}

/** Without blanks at both ends. A regular expression takes quadratic time. */
function trim(text: string): string {
  let start = 0;
  let end = text.length;
  const isBlank = (at: number) => text[at] === " " || text[at] === "\t";
  while (start < end && isBlank(start)) start++;
  while (end > start && isBlank(end - 1)) end--;
  return text.slice(start, end);
}

function checkHost({ headers, isOld }: HttpRequest): void {
  const host = headers.get("host");
  if (host === undefined && isOld) return;
  if (host === undefined || !HOST.test(host)) throw new HttpError(400);
}

function staysOpen({ headers, isOld }: HttpRequest): boolean {
  const options = listOf(headers.get("connection"));
  if (options.includes("close")) return false;
  return !isOld || options.includes("keep-alive");
}

/** The elements of a header that is a list, in lower case. */
export function listOf(value: string | undefined): string[] {
  return value?.toLowerCase().split(",").map(trim) ?? [];
}

/**
 * The number of bytes behind the headers. Where two headers contradict each
 * other, a proxy between here and the client may believe the other one, and an
 * attacker could smuggle a request past it.
 */
function bodyLength({ headers, isOld }: HttpRequest): number | "chunked" {
  const length = headers.get("content-length");
  const codings = listOf(headers.get("transfer-encoding"));
  if (codings.length > 0) {
    if (length !== undefined || isOld) throw new HttpError(400);
    // Chunks alone tell where a body ends, so they come last, and once.
    if (codings.indexOf("chunked") !== codings.length - 1) {
      throw new HttpError(400);
    }
    if (codings.length > 1) throw new HttpError(501);
    return "chunked";
  }
  if (length === undefined) return 0;
  if (!/^\d+$/.test(length)) throw new HttpError(400);
  return Number(length);
}
