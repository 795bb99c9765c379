/** Programs and connections for tests of the simulated network. */

import {
  type Channel,
  Dispatcher,
  type DispatcherOptions,
  DispatcherWithSend,
  type SocketOptions,
} from "../mod.ts";
import {
  type SimHost,
  SimNetwork,
  type SimNetworkOptions,
} from "../testing/mod.ts";
import { text } from "./support.ts";

export const PORT = 7;
/** Where the server of these tests listens, for its clients. */
export const SERVER = { hostname: "server", port: PORT };

/** Listens, and makes something of each connection. */
export class Server extends Dispatcher {
  readonly #serve: (conn: Channel) => unknown;

  constructor(
    serve: (conn: Channel) => unknown,
    options: DispatcherOptions = {},
    socket: SocketOptions = {},
  ) {
    super(null, options);
    this.#serve = serve;
    this.createSocket(socket);
    this.bind({ port: PORT });
    this.listen();
  }
  override async handleAccepted(conn: Channel): Promise<void> {
    await this.#serve(conn);
  }
}

export class EchoHandler extends DispatcherWithSend {
  override handleRead(): void {
    this.send(this.recv());
  }
}

export class EchoServer extends Server {
  constructor(options: DispatcherOptions = {}, socket: SocketOptions = {}) {
    super((conn) => new EchoHandler(conn), options, socket);
  }
}

/** A network with an echo server on the host `server`. */
export function echoNetwork(options: SimNetworkOptions = {}): SimNetwork {
  const sim = new SimNetwork(options);
  sim.host("server", () => new EchoServer());
  return sim;
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
  override handleConnect(): void | Promise<void> {
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

type End = Required<Pick<Channel, "closeWrite">> & Channel;

/** Connects two hosts, without dispatchers. */
export async function connectEnds(
  sim: SimNetwork,
): Promise<{ client: End; server: End }> {
  const { network } = sim.host("server").map;
  const address = { transport: "tcp", ...SERVER } as const;
  const acceptor = network.listen(address, { backlog: 8, reusePort: false });
  const { signal } = new AbortController();
  const connected = sim.host("client").map.network.connect(address, { signal });
  const ends = Promise.all([connected, acceptor.accept()]);
  const [client, server] = await during(sim, ends) as End[];
  acceptor.close();
  return { client: client!, server: server! };
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
  const turn = Symbol();
  const next = new Promise((resolve) => setImmediate(resolve, turn));
  return await Promise.race([promise.catch(() => {}), next]) === turn;
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
