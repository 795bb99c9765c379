/**
 * Helpers of the tests of datagrams: a socket whose peers are the test, and a
 * dispatcher that writes down what comes.
 */

import {
  type Address,
  type Datagram,
  DatagramDispatcher,
  type DatagramSocket,
} from "../mod.ts";
import { LogLines } from "./fakes.ts";
import { bytes, ScopedMap, type TestMap, text } from "./support.ts";

export const PEER: Deno.NetAddr = {
  transport: "udp",
  hostname: "192.0.2.1",
  port: 7,
};

/** An address that nobody answers from. */
export function peer(port: number): Deno.NetAddr {
  return { ...PEER, port };
}

type Received = [Uint8Array, Deno.Addr];

/** A socket whose peers are the test. */
export class FakeSocket implements DatagramSocket {
  readonly addr: Deno.Addr = { ...PEER, hostname: "127.0.0.1", port: 53 };
  /** What was sent, as `port: text`. */
  readonly sent: string[] = [];
  /** How many times `receive()` was called. */
  receives = 0;
  closed = false;
  /** Decides over a send: settles when it is done, or fails. */
  onSend: (data: Uint8Array, addr: Deno.NetAddr) => Promise<void> | void =
    () => {};

  readonly #incoming: (Received | Error)[] = [];
  #pending: PromiseWithResolvers<Received> | null = null;
  #target: Uint8Array | null = null;
  readonly #broken = Promise.withResolvers<never>();

  constructor() {
    this.#broken.promise.catch(() => {});
  }

  /** A datagram arrives, or receiving fails. */
  push(item: string | Uint8Array | Error, port = PEER.port): void {
    const data = typeof item === "string" ? bytes(item) : item;
    this.#incoming.push(data instanceof Error ? data : [data, peer(port)]);
    this.#deliver();
  }

  receive(target: Uint8Array): Promise<Received> {
    this.receives++;
    this.#target = target;
    this.#pending = Promise.withResolvers();
    const { promise } = this.#pending;
    this.#deliver();
    return promise;
  }

  #deliver(): void {
    if (this.#pending === null || this.#incoming.length === 0) return;
    const { resolve, reject } = this.#pending;
    this.#pending = null;
    const item = this.#incoming.shift()!;
    if (item instanceof Error) return reject(item);
    const [data, addr] = item;
    this.#target!.set(data);
    resolve([this.#target!.subarray(0, data.length), addr]);
  }

  async send(data: Uint8Array, addr: Deno.Addr): Promise<number> {
    const { port } = addr as Deno.NetAddr;
    await Promise.race([
      this.onSend(data, addr as Deno.NetAddr),
      this.#broken.promise,
    ]);
    this.sent.push(`${port}: ${text(data)}`);
    return data.length;
  }

  close(): void {
    this.closed = true;
    this.breakDown(new Deno.errors.Interrupted("operation canceled"));
  }

  /** What a socket does that is closed by another hand. */
  breakDown(error: Error): void {
    this.#pending?.reject(error);
    this.#pending = null;
    this.#broken.reject(error);
  }
}

/** Writes down what comes, and does what the default does. */
export class Recorder extends DatagramDispatcher {
  readonly received: string[] = [];
  readonly errors: unknown[] = [];
  reads = 0;
  closes = 0;

  constructor(map: TestMap, socket: DatagramSocket | null = null) {
    super(socket, { map });
  }
  override handleRead(): void | Promise<void> {
    this.reads++;
    this.keep(this.recvFrom());
  }
  protected keep({ data, addr }: Datagram): void {
    this.received.push(`${addr.port}: ${text(data)}`);
  }
  override handleError(error: unknown): void | Promise<void> {
    this.errors.push(error);
    return super.handleError(error);
  }
  override handleClose(): void {
    this.closes++;
    this.close();
  }
}

/** Any free port. */
export const LOOPBACK = { hostname: "127.0.0.1", port: 0 };

/** Sends back what it receives. */
export class Echo extends Recorder {
  constructor(map: TestMap, address: Address = LOOPBACK) {
    super(map);
    this.createSocket();
    this.bind(address);
  }
  get port(): number {
    return (this.addr as Deno.NetAddr).port;
  }
  override handleRead(): void {
    const { data, addr } = this.recvFrom();
    this.sendTo(data, addr);
  }
}

/** Keeps what it receives. */
export class Client extends Echo {
  readonly datagrams: Datagram[] = [];

  override handleRead(): void {
    this.datagrams.push(this.recvFrom());
  }
}

/** A map, a fake socket and who has it; nothing of the log reaches the console. */
export function setUp<T extends Recorder = Recorder>(
  Kind: new (map: TestMap, socket: DatagramSocket) => T =
    Recorder as unknown as new (map: TestMap, socket: DatagramSocket) => T,
) {
  const log = new LogLines();
  const map = new ScopedMap({ logger: log });
  const socket = new FakeSocket();
  return { log, map, socket, dispatcher: new Kind(map, socket) };
}

/** A gate that sends wait at until it opens. */
export function gate(socket: FakeSocket): () => void {
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.onSend = () => promise;
  return resolve;
}
