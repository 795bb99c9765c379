/** Maps whose clock, network and log the test controls, and the dispatchers opened in them. */

import {
  type Acceptor,
  type Address,
  type Channel,
  Dispatcher,
  type DispatcherOptions,
  type SocketMap,
  type SocketOptions,
} from "../mod.ts";
import { MockClock } from "../testing/mod.ts";
import { FakeChannel, FakeNetwork, LogLines, quietMap } from "./fakes.ts";
import { rawConnect, ScopedMap, type TestMap } from "./support.ts";

/** A map on a clock and a network of the test's, and the lines of its log. */
export function setUp() {
  const clock = new MockClock();
  const logger = new LogLines();
  const network = new FakeNetwork();
  const map = quietMap({ clock, logger, network });
  return { clock, lines: logger.lines, network, map };
}

/** A map that keeps its log to itself, and is emptied when the test ends. */
export function scopedMap(): ScopedMap {
  return new ScopedMap({ logger: new LogLines() });
}

/** As many fake channels as asked for. */
export function channels(count: number): FakeChannel[] {
  return Array.from({ length: count }, () => new FakeChannel());
}

/** A channel whose peer takes nothing. */
export function stuckChannel(): FakeChannel {
  return Object.assign(new FakeChannel(), {
    take: () => new Promise(() => {}),
  });
}

/** A channel whose peer takes nothing until the test says so. */
export function gatedChannel(): { channel: FakeChannel; open: () => void } {
  const channel = new FakeChannel();
  const gate = Promise.withResolvers<void>();
  channel.take = (data) => gate.promise.then(() => data.length);
  return { channel, open: gate.resolve };
}

/** A channel whose peer does not end its side when it has read the end of ours. */
export function openChannel(): FakeChannel {
  return Object.assign(new FakeChannel(), { staysOpen: true });
}

/** A dispatcher over a channel whose other end the test is. */
export function over<T extends Dispatcher, O = DispatcherOptions>(
  Class: new (map: TestMap, channel: FakeChannel, options: O) => T,
  options: O = {} as O,
  channel: FakeChannel = new FakeChannel(),
) {
  const scene = setUp();
  const handler = new Class(scene.map, channel, options);
  return { ...scene, channel, handler };
}

const LOOPBACK: Address = { hostname: "127.0.0.1", port: 0 };

/** Has a dispatcher connect. */
export function connecting<T extends Dispatcher>(
  client: T,
  address: Address | Deno.Addr | null = { port: 7 },
  options: SocketOptions = {},
): T {
  client.createSocket(options);
  client.connect(address as Address);
  return client;
}

/** Has a dispatcher listen. */
export function listening<T extends Dispatcher>(
  server: T,
  options: SocketOptions = {},
  address: Address = LOOPBACK,
): T {
  server.createSocket(options);
  server.bind(address);
  server.listen();
  return server;
}

/** Keeps the connections that it accepts. */
export class Keeper extends Dispatcher {
  readonly accepted: Channel[] = [];

  constructor(map: SocketMap, acceptor: Acceptor | null = null) {
    super(acceptor, { map });
  }
  override handleAccepted(conn: Channel): void | Promise<void> {
    this.accepted.push(conn);
  }
}

/** A listener that takes nobody, and whose queue is full. */
export async function fullListener(): Promise<
  Disposable & { addr: Deno.Addr }
> {
  const here = { hostname: "127.0.0.1", port: 0 };
  const listener = Deno.listen({ ...here, tcpBacklog: 1 });
  const { addr } = listener;
  const waiting = await Promise.all([1, 2].map(() => rawConnect(addr)));
  const close = () => [...waiting, listener].forEach((one) => one.close());
  return { addr, [Symbol.dispose]: close };
}

/** One array of bytes out of several. */
export async function joined(parts: Uint8Array[]): Promise<Uint8Array> {
  return new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer());
}

/** Reads a connection to its end. */
export async function readAll(conn: Channel): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  const buffer = new Uint8Array(64 * 1024);
  for (let length; (length = await conn.read(buffer)) !== null;) {
    parts.push(buffer.slice(0, length));
  }
  return await joined(parts);
}
