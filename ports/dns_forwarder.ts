/**
 * Forwards DNS queries over UDP to a server on this machine, keeps the answers,
 * and says SERVFAIL if none comes within TIMEOUT seconds.
 *
 *     deno run --quiet --unstable-net --allow-net ports/dns_forwarder.ts SERVER_PORT TIMEOUT
 *
 * With `socketMap.network = epollNetwork`, it needs `--allow-ffi` in the place of
 * the flag.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { DatagramDispatcher, loop } from "@asyncore/asyncore";

/** Where a message has its question, behind a header of fixed length. */
const HEADER_LENGTH = 12;
const QR = 0x8000;
const SERVFAIL = 2;

/** A question that waits for its answer. */
class Query {
  id: number;
  question: Buffer;
  addr: Deno.NetAddr;
  deadline: number;

  constructor(
    id: number,
    question: Buffer,
    addr: Deno.NetAddr,
    deadline: number,
  ) {
    this.id = id;
    this.question = question;
    this.addr = addr;
    this.deadline = deadline;
  }
}

/** The socket to the server: each query goes out under a number of its own. */
class Upstream extends DatagramDispatcher {
  override ignoreLogTypes = new Set<string>();
  front: Front;
  server: { hostname: string; port: number };
  queries = new Map<number, Query>();
  lastId = 0;

  constructor(front: Front, serverPort: number) {
    super();
    this.front = front;
    this.server = { hostname: "127.0.0.1", port: serverPort };
    this.createSocket();
    this.bind({ hostname: "127.0.0.1", port: 0 });
  }

  override writable(): boolean {
    return false;
  }

  ask(data: Buffer, query: Query): void {
    this.lastId = (this.lastId + 1) % 65536;
    this.queries.set(this.lastId, query);
    const id = Buffer.alloc(2);
    id.writeUInt16BE(this.lastId);
    this.sendTo(Buffer.concat([id, data.subarray(2)]), this.server);
  }

  override handleRead(): void {
    const { data: bytes, addr } = this.recvFrom();
    const data = Buffer.from(bytes);
    const isServer = addr.hostname === this.server.hostname &&
      addr.port === this.server.port;
    if (data.length < HEADER_LENGTH || !isServer) {
      this.logInfo("answer dropped", "warning");
      return;
    }
    const id = data.readUInt16BE(0);
    const query = this.queries.get(id);
    if (query === undefined) {
      this.logInfo(`nobody asked for answer ${id}`, "warning");
      return;
    }
    this.queries.delete(id);
    this.front.answer(data, query);
  }

  expire(): void {
    const now = performance.now();
    for (const [id, query] of this.queries) {
      if (query.deadline < now) {
        this.queries.delete(id);
        this.front.refuse(query);
      }
    }
  }
}

/** The socket that clients ask. */
class Front extends DatagramDispatcher {
  override ignoreLogTypes = new Set<string>();
  timeout: number;
  answers = new Map<string, Buffer>();
  upstream: Upstream;

  constructor(serverPort: number, timeout: number) {
    super();
    this.timeout = timeout;
    this.upstream = new Upstream(this, serverPort);
    this.createSocket();
    this.setReuseAddr();
    this.bind({ hostname: "127.0.0.1", port: 0 });
    console.log(`listening on ${this.addr!.port}`);
  }

  override writable(): boolean {
    return false;
  }

  override handleRead(): void {
    const { data: bytes, addr } = this.recvFrom();
    const data = Buffer.from(bytes);
    if (!data.subarray(HEADER_LENGTH).includes(0)) {
      this.logInfo(`query of ${data.length} bytes dropped`, "warning");
      return;
    }
    const [id, flags] = [data.readUInt16BE(0), data.readUInt16BE(2)];
    if (flags & QR) {
      this.logInfo("answer from a client dropped", "warning");
      return;
    }
    const question = data.subarray(HEADER_LENGTH);
    const kept = this.answers.get(question.toString("latin1"));
    if (kept !== undefined) {
      this.logInfo(`${this.nameOf(question)}: kept`);
      this.reply(id, kept, addr);
      return;
    }
    this.logInfo(`${this.nameOf(question)}: asked`);
    const deadline = performance.now() + this.timeout * 1000;
    this.upstream.ask(data, new Query(id, question, addr, deadline));
  }

  nameOf(question: Buffer): string {
    const labels: string[] = [];
    let at = 0;
    while (at < question.length && question[at]! > 0) {
      const length = question[at]!;
      labels.push(question.toString("latin1", at + 1, at + 1 + length));
      at += 1 + length;
    }
    return labels.join(".");
  }

  answer(data: Buffer, query: Query): void {
    this.answers.set(query.question.toString("latin1"), data);
    this.reply(query.id, data, query.addr);
  }

  refuse(query: Query): void {
    this.logInfo(`${this.nameOf(query.question)}: no answer`, "error");
    const header = Buffer.alloc(HEADER_LENGTH);
    header.writeUInt16BE(query.id, 0);
    header.writeUInt16BE(QR | SERVFAIL, 2);
    header.writeUInt16BE(1, 4);
    const end = query.question.indexOf(0) + 5;
    const question = query.question.subarray(0, end);
    this.sendTo(Buffer.concat([header, question]), query.addr);
  }

  reply(id: number, data: Buffer, addr: Deno.NetAddr): void {
    const start = Buffer.alloc(2);
    start.writeUInt16BE(id);
    this.sendTo(Buffer.concat([start, data.subarray(2)]), addr);
  }
}

const [serverPort, timeout] = Deno.args.map(Number);
const front = new Front(serverPort!, timeout!);
while (true) {
  await loop({ timeout: 100, count: 1 });
  front.upstream.expire();
}
