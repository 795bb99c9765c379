/**
 * An echo server with this library, of the kind that the first argument names.
 * "epoll" as a second argument puts it on the second engine. With a certificate and
 * its key (two paths) it speaks TLS.
 *
 * @module
 */

import {
  type Channel,
  Dispatcher,
  DispatcherWithSend,
  loop,
  socketMap,
  type SocketOptions,
} from "../../mod.ts";
import { epollNetwork } from "../../epoll/mod.ts";
import { answerMarks, BACKLOG } from "./control.mjs";

/** Answers through the buffer: what most programs do. */
class Buffered extends DispatcherWithSend {
  override handleRead(): void {
    this.send(this.recv());
  }
}

const buffer = new Uint8Array(128 * 1024);

/** The same without an allocation for each message. */
class Into extends DispatcherWithSend {
  override handleRead(): void {
    const length = this.recvInto(buffer);
    this.send(buffer.subarray(0, length));
  }
}

/** Overrides both predicates, as a program that comes from Python does. */
class Classic extends Dispatcher {
  #rest: Uint8Array | null = null;

  override readable(): boolean {
    return this.#rest === null;
  }
  override writable(): boolean {
    return this.#rest !== null;
  }
  override handleRead(): void {
    const data = this.recv();
    if (data.length > 0) this.#rest = data;
  }
  override handleWrite(): void {
    const rest = this.#rest!;
    const sent = this.send(rest);
    this.#rest = sent === rest.length ? null : rest.subarray(sent);
  }
}

/** Overrides `writable()` alone, and keeps what it has not sent. */
class WritableAlone extends Dispatcher {
  #rest: Uint8Array[] = [];

  override writable(): boolean {
    return this.#rest.length > 0;
  }
  override handleRead(): void {
    const data = this.recv();
    if (data.length > 0) this.#rest.push(data);
  }
  override handleWrite(): void {
    const first = this.#rest[0]!;
    const sent = this.send(first);
    if (sent === first.length) this.#rest.shift();
    else this.#rest[0] = first.subarray(sent);
  }
}

const KINDS: Record<string, new (conn: Channel) => Dispatcher> = {
  buffered: Buffered,
  into: Into,
  classic: Classic,
  writable: WritableAlone,
};

class Server extends Dispatcher {
  readonly #Kind: new (conn: Channel) => Dispatcher;

  constructor(Kind: new (conn: Channel) => Dispatcher, options: SocketOptions) {
    super();
    this.#Kind = Kind;
    this.createSocket(options);
    this.bind({ hostname: "127.0.0.1", port: 0 });
    this.listen();
    answerMarks((this.addr as Deno.NetAddr).port);
  }
  override handleAccepted(conn: Channel): void {
    new this.#Kind(conn);
  }
}

const [kind = "", ...rest] = Deno.args;
const isOnEpoll = rest[0] === "epoll";
if (isOnEpoll) socketMap.network = epollNetwork;
const Kind = KINDS[kind];
if (!Kind) throw new TypeError(`The kind must be one of ${Object.keys(KINDS)}`);
const [cert, key] = rest.slice(isOnEpoll ? 1 : 0).map((path) =>
  Deno.readTextFileSync(path)
);
new Server(Kind, {
  backlog: BACKLOG,
  ...(cert && key ? { transport: "tls", tls: { cert, key } } : {}),
});
await loop();
