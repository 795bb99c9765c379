/** Programs and connections for tests of the simulated network. */

import {
  type Channel,
  Dispatcher,
  type DispatcherOptions,
  DispatcherWithSend,
  type SocketMap,
  type SocketOptions,
} from "../mod.ts";
import type { SimHost, SimNetwork } from "../testing/mod.ts";

export const PORT = 7;
/** Where the server of these tests listens, for its clients. */
export const SERVER = { hostname: "server", port: PORT };

export function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

export function text(data: Uint8Array): string {
  return new TextDecoder().decode(data);
}

export class EchoHandler extends DispatcherWithSend {
  override handleRead(): void {
    this.send(this.recv());
  }
}

/** Does all in its constructor, as programs written for real sockets do. */
export class EchoServer extends Dispatcher {
  constructor(options: { map?: SocketMap } = {}) {
    super(null, options);
    this.createSocket();
    this.bind({ port: PORT });
    this.listen();
  }
  override handleAccepted(conn: Channel): void {
    new EchoHandler(conn);
  }
}

/** Writes down what happens to it. */
export class Client extends DispatcherWithSend {
  readonly events: string[] = [];
  answer = "";

  constructor(options: DispatcherOptions = {}, socket: SocketOptions = {}) {
    super(null, options);
    this.createSocket(socket);
    this.connect(SERVER);
  }
  override handleConnect(): void {
    this.events.push("connect");
  }
  override handleRead(): void {
    this.answer += text(this.recv());
  }
  override handleError(error: unknown): void {
    this.events.push(`error ${(error as Error).name}`);
    this.handleClose();
  }
  override handleClose(): void {
    const { closeReason } = this;
    this.events.push(closeReason ? `close ${closeReason.name}` : "close");
    this.close();
  }
  override handleTimeout(kind: string): void {
    this.events.push(`timeout ${kind}`);
    this.close();
  }
}

/** A client on a host of its own. */
export function clientOn(
  host: SimHost,
  options: DispatcherOptions = {},
  socket: SocketOptions = {},
): Client {
  return host.run(() => new Client(options, socket));
}

/** The two ends of a connection. */
export interface Ends {
  client: Required<Pick<Channel, "closeWrite">> & Channel;
  server: Required<Pick<Channel, "closeWrite">> & Channel;
}

/** Connects two hosts, without dispatchers. */
export async function connectEnds(sim: SimNetwork): Promise<Ends> {
  const { network } = sim.host("server").map;
  const address = { transport: "tcp", hostname: "server", port: PORT } as const;
  const acceptor = network.listen(address, { backlog: 8, reusePort: false });
  const accepted = acceptor.accept();
  const { signal } = new AbortController();
  const connected = sim.host("client").map.network.connect(address, { signal });
  const ends = await during(sim, Promise.all([connected, accepted]));
  acceptor.close();
  return { client: ends[0], server: ends[1] } as Ends;
}

/** Runs the simulation until a promise settles. */
export async function during<T>(
  sim: SimNetwork,
  promise: Promise<T>,
  limit: number = 60_000,
): Promise<T> {
  let isSettled = false;
  const settle = () => isSettled = true;
  promise.then(settle, settle);
  await sim.run({ until: () => isSettled, limit });
  return await promise;
}

/** Whether a promise is settled when nothing more happens by itself. */
export async function isPending(promise: Promise<unknown>): Promise<boolean> {
  let isSettled = false;
  const settle = () => isSettled = true;
  promise.then(settle, settle);
  await new Promise((resolve) => setImmediate(resolve));
  return !isSettled;
}

/** Writes all of it. */
export async function writeAll(to: Channel, data: Uint8Array): Promise<void> {
  for (let at = 0; at < data.length;) at += await to.write(data.subarray(at));
}

/** Reads to the end: what came at once, read by read. */
export async function readAll(
  from: Channel,
  size: number = 4_096,
): Promise<Uint8Array[]> {
  const parts: Uint8Array[] = [];
  for (;;) {
    const target = new Uint8Array(size);
    const length = await from.read(target);
    if (length === null) return parts;
    parts.push(target.subarray(0, length));
  }
}

/** Joins parts. */
export function join(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(
    parts.reduce((sum, { length }) => sum + length, 0),
  );
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
