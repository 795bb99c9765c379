/**
 * A web server in a few lines, so that the HTTP client has something to
 * download: dispatchers like all others, in the same loop as the client.
 *
 * @module
 */

import {
  type Channel,
  Dispatcher,
  DispatcherWithSend,
} from "@asyncore/asyncore";

/** The answers by their paths: 19,324 and 29,283 bytes, headers included. */
const pages = new Map([
  ["/short", page("Nobody expects the asynchronous inquisition.", 19_324)],
  ["/long", page("And now for something completely concurrent.", 29_283)],
]);

/** The size of a piece, where pages are sent in pieces. */
const PIECE = 2_048;
/** The most characters that a request may have. */
const LONGEST_REQUEST = 8_192;

/** Listens on a free port, and closes when it has had a client for each page. */
export class PageServer extends Dispatcher {
  readonly #interval: number;
  #clients = 0;

  /**
   * Starts to listen.
   *
   * @param interval The ms between two pieces of a page; at 0, it sends a page
   * whole.
   */
  constructor(interval = 0) {
    super();
    this.#interval = interval;
    this.createSocket();
    this.bind({ hostname: "127.0.0.1", port: 0 });
    this.listen();
  }

  /** Where the pages are. */
  get urls(): URL[] {
    const { hostname, port } = this.addr!;
    const base = `http://${hostname}:${port}`;
    return Array.from(pages.keys(), (path) => new URL(path, base));
  }

  override handleAccepted(conn: Channel) {
    new PageHandler(conn, this.#interval);
    if (++this.#clients === pages.size) this.close();
  }
}

/** Answers one request. */
class PageHandler extends DispatcherWithSend {
  readonly #interval: number;
  readonly #decoder = new TextDecoder();
  #request = "";

  constructor(conn: Channel, interval: number) {
    super(conn);
    this.#interval = interval;
  }

  override readable() {
    return !this.#request.includes("\r\n\r\n");
  }

  override handleRead() {
    this.#request += this.#decoder.decode(this.recv(), { stream: true });
    if (this.#request.length > LONGEST_REQUEST) this.abort();
    else if (!this.readable()) this.#answer();
  }

  #answer() {
    const [, path = ""] = this.#request.split(" ");
    const answer = new TextEncoder().encode(
      pages.get(path) ?? head("404 Not Found", 0),
    );
    if (this.#interval > 0) this.#trickle(answer);
    else {
      this.send(answer);
      this.close(); // the answer still goes out
    }
  }

  #trickle(answer: Uint8Array) {
    let sent = 0;
    this.callEvery(this.#interval, () => {
      sent += this.send(answer.subarray(sent, sent + PIECE));
      if (sent === answer.length) this.close();
    });
  }
}

function head(status: string, length: number): string {
  return [
    `HTTP/1.0 ${status}`,
    "Content-Type: text/plain",
    `Content-Length: ${length}`,
    "\r\n",
  ].join("\r\n");
}

/** A line, repeated until the answer, headers included, has its size. */
function page(line: string, size: number): string {
  const length = size - head("200 OK", size).length;
  const body = `${line}\n`.repeat(length / line.length + 1).slice(0, length);
  return head("200 OK", length) + body;
}
