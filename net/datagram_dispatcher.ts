/**
 * UDP as an object with hooks: {@linkcode DatagramDispatcher}. What a
 * dispatcher does with a stream of bytes, its {@linkcode DatagramChannel} does
 * with datagrams: one that was received is a token of one byte, and those to be
 * sent are stretches of the bytes that were accepted.
 *
 * @module
 */

import {
  checkBytes,
  checkInteger,
  checkMethods,
  checkOptions,
  checkText,
  showValue,
} from "../core/arguments.ts";
import { lookUp } from "../core/blocking_threads.ts";
import { type Acceptor, asChannel, type Channel } from "../core/channel.ts";
import { isDisconnect, isUnsupported } from "../core/errors.ts";
import { type Clock, systemClock } from "../core/clock.ts";
import {
  Dispatcher,
  type DispatcherOptions,
  endpointOf,
  logLimited,
  refuseTls,
} from "../dispatcher.ts";
import type { Endpoint } from "../core/connection.ts";
import { describeError, textOf } from "../core/log.ts";
import {
  type Address,
  explain,
  formatAddress,
  parseAddress,
} from "../core/address.ts";
import type { SocketOptions } from "../core/network.ts";
import { Queue } from "../core/queue.ts";
import { denoNetwork } from "./deno_network.ts";

/** What a {@linkcode DatagramDispatcher} wraps: a `Deno.DatagramConn` for UDP fits. */
export interface DatagramSocket {
  /**
   * Waits for the next datagram.
   *
   * @param target Where its bytes go; what does not fit is cut off.
   * @returns The bytes, and who sent them.
   */
  receive(target: Uint8Array): Promise<[Uint8Array, Deno.Addr]>;
  /** Sends one datagram, and gives its length. */
  send(data: Uint8Array, addr: Deno.Addr): Promise<number>;
  /** Releases the socket. A pending operation must settle. */
  close(): void;
  /** The address that datagrams can be sent to. */
  readonly addr: Deno.Addr;
}

/** What {@linkcode DatagramDispatcher.recvFrom} gives. */
export interface Datagram {
  /** The content, perhaps empty. It is the caller's own. */
  data: Uint8Array;
  /** Who sent it: `sendTo(answer, addr)` answers. */
  addr: Deno.NetAddr;
}

/**
 * A datagram could not be sent; `cause` is what the system said. It comes to
 * `handleError()`, and leaves the dispatcher as it was.
 */
export class DatagramError extends Error {
  /** The name of this class of errors: `"DatagramError"`. */
  override name = "DatagramError";
  /** Where the datagram was to go; `null` where the system does not tell. */
  readonly addr: Deno.NetAddr | null;

  /**
   * Makes the error of one datagram.
   *
   * @param message What failed.
   * @param addr Where the datagram was to go.
   * @param cause What the system said.
   */
  constructor(message: string, addr: Deno.NetAddr | null, cause: unknown) {
    super(`${message}: ${messageOf(cause)}`, { cause });
    this.addr = addr;
  }
}

/** More than any UDP datagram holds. */
const LONGEST = 64 * 1024;
/** Stands for a datagram without bytes, which still has to be sent in its turn. */
const FILLER = new Uint8Array(1);
/** Where the token of a received datagram goes. */
const TOKEN = new Uint8Array(1);
/** How many bytes may be on their way. */
const ROOM = 64 * 1024;
/** After this many refusals in a row, each further one is waited for … */
const MOST_REFUSALS = 64;
/** … this long, in ms: a socket that always refuses must not take all time. */
const REFUSAL_PAUSE = 10;

/** A datagram that was accepted and has yet to go. */
interface Outgoing {
  length: number;
  addr: Deno.NetAddr;
}

/** Makes datagrams look like a stream of bytes. */
class DatagramChannel implements Channel {
  /** Those accepted, in order; their bytes come to `write()`. */
  readonly outgoing: Queue<Outgoing> = new Queue();
  /** Gets the failure of each that was lost. */
  onLoss: (error: DatagramError) => void = () => {};
  /** The clock of the map. */
  clock: () => Clock = () => systemClock;

  readonly #socket: DatagramSocket;
  readonly #buffer = new Uint8Array(LONGEST);
  #received: Datagram | null = null;
  #closed = false;
  #endPause = () => {};

  constructor(socket: DatagramSocket) {
    this.#socket = socket;
  }

  /** Receives one datagram and keeps it; the byte that it reports is a token. */
  async read(): Promise<number> {
    for (let refusals = 1;; refusals++) {
      try {
        this.#received = ownDatagram(await this.#socket.receive(this.#buffer));
        return 1;
      } catch (error) {
        if (this.#closed) throw error;
        if (!isRefusal(error)) throw endOf(error);
        this.#lose("Cannot send a datagram", null, error);
      }
      await this.#pause(refusals);
    }
  }

  /** Others get their turn, however many refusals follow one another. */
  #pause(refusals: number): Promise<void> {
    const clock = this.clock();
    return new Promise((resolve) => {
      if (refusals < MOST_REFUSALS) clock.setImmediate(resolve);
      else {
        const id = clock.setTimeout(resolve, REFUSAL_PAUSE);
        this.#endPause = () => {
          clock.clearTimeout(id);
          resolve();
        };
      }
    });
  }

  /** The datagram that the token stands for. */
  take(): Datagram {
    const received = this.#received!;
    this.#received = null;
    return received;
  }

  /** Sends the first of `data`'s datagrams. A failure ends only this one. */
  async write(data: Uint8Array): Promise<number> {
    const { length, addr } = this.outgoing.first!;
    try {
      const datagram = data.subarray(0, length);
      const send = () => this.#socket.send(datagram, addr);
      await lookUp(addr.hostname, send);
    } catch (error) {
      const to = formatAddress(addr);
      this.#lose(`Cannot send ${length} bytes to ${to}`, addr, error);
    }
    this.outgoing.shift();
    return Math.max(length, FILLER.length);
  }

  #lose(message: string, addr: Deno.NetAddr | null, cause: unknown): void {
    if (this.#closed) return; // abort() has dropped it.
    this.onLoss(new DatagramError(message, addr, cause));
  }

  /** A receive in flight then fails, and with that the port is free. */
  close(): void {
    this.#closed = true;
    this.#endPause();
    return this.#socket.close(); // It may be async, against its type.
  }
}

/**
 * What `receive()` gave, as the caller's own: the bytes of a Node `Buffer`
 * would stay shared in its `slice()`.
 *
 * @throws {TypeError} If it is no datagram.
 */
function ownDatagram(received: unknown): Datagram {
  if (!Array.isArray(received)) {
    throw new TypeError(
      `receive() must give [data, addr], got ${showValue(received)}`,
    );
  }
  const [data, addr] = received as [Uint8Array, unknown];
  checkBytes("The data of receive()", data);
  const { hostname, port } = (addr ?? {}) as Partial<Deno.NetAddr>;
  return {
    data: new Uint8Array(data),
    addr: {
      transport: "udp",
      hostname: checkText("The hostname of receive()", hostname),
      port: checkInteger("The port of receive()", port, 0, 65_535),
    },
  };
}

/** Windows tells the receiver that a datagram sent before found nobody. */
function isRefusal(error: unknown): boolean {
  return error instanceof Deno.errors.ConnectionReset ||
    error instanceof Deno.errors.ConnectionRefused;
}

/**
 * The error of a socket that cannot receive any more. A disconnect is news of a
 * peer elsewhere, and here is none: somebody closed the socket. A channel that
 * cannot be read at all is no failure elsewhere, but this one would be deaf.
 */
function endOf(cause: unknown): unknown {
  const isPlain = cause instanceof Error && !isUnsupported(cause);
  if (isPlain && !isDisconnect(cause)) return cause;
  const message = `Cannot receive any more: ${messageOf(cause)}`;
  return new Error(message, { cause });
}

function messageOf(cause: unknown): string {
  try {
    if (cause instanceof Error) return `${cause.message}`;
  } catch {
    // A message that is no text: the description has to do.
  }
  return describeError(cause);
}

/**
 * A UDP socket as a dispatcher, for IPv4 and IPv6. There is no connection:
 * `bind()` opens the socket, each `handleRead()` can take one datagram with
 * {@linkcode DatagramDispatcher.recvFrom}, and
 * {@linkcode DatagramDispatcher.sendTo} sends one to any address. Everything
 * else is as with every dispatcher.
 *
 * A datagram that cannot be sent (too long, no route, refused) is a
 * {@linkcode DatagramError} for `handleError()`. By default it is logged and
 * the socket goes on: a stranger could close it otherwise, with a forged sender
 * that nobody can answer. After `close()` it is only logged. However often that
 * happens, the log gets a bounded number of lines: see {@linkcode Logger}. As
 * ever with UDP, no error is no proof of arrival.
 *
 * Deno's datagrams are unstable: run with `--unstable-net`, or put
 * `"unstable": ["net"]` into `deno.json`. Unix datagrams are left out, as Deno
 * refuses to send one while it waits for another.
 *
 * @example A server that answers in capitals, and its client
 * ```ts ignore
 * // Needs --unstable-net.
 * import { DatagramDispatcher, loop } from "@asyncore/asyncore";
 * import { assertEquals } from "@std/assert";
 *
 * class Shouter extends DatagramDispatcher {
 *   override handleRead() {
 *     const { data, addr } = this.recvFrom();
 *     const text = new TextDecoder().decode(data);
 *     this.sendTo(new TextEncoder().encode(text.toUpperCase()), addr);
 *     this.close(); // one datagram is enough; the answer still goes out
 *   }
 * }
 *
 * class Client extends DatagramDispatcher {
 *   answer = "";
 *   override handleRead() {
 *     this.answer = new TextDecoder().decode(this.recvFrom().data);
 *     this.close();
 *   }
 * }
 *
 * const server = new Shouter();
 * server.createSocket();
 * server.bind({ hostname: "127.0.0.1", port: 0 });
 * const client = new Client();
 * client.createSocket();
 * client.bind({ hostname: "127.0.0.1", port: 0 });
 * client.sendTo(new TextEncoder().encode("spam"), server.addr!);
 * await loop();
 * assertEquals(client.answer, "SPAM");
 * ```
 */
export class DatagramDispatcher extends Dispatcher {
  #channel: DatagramChannel | null = null;
  #reuseAddress = false;
  /** Failures that wait for their turn in the loop. */
  readonly #untold: Queue<DatagramError> = new Queue();

  /**
   * Makes a dispatcher; with a socket it joins the map at once.
   *
   * @param socket A UDP socket that is open already, such as one that has
   * joined a multicast group: closing the dispatcher closes it. Or nothing:
   * `createSocket()` and `bind()` open one.
   * @param options The map, and how long to linger.
   * @throws {TypeError} If the socket lacks a method or an option is wrong.
   * @throws {RangeError} If `linger` is NaN or negative.
   */
  constructor(
    socket: DatagramSocket | null = null,
    options?: DispatcherOptions,
  ) {
    super(null, options);
    if (socket !== null) this.setSocket(socket);
  }

  /** Always `false`: datagrams need no connection. `addr` tells what is bound. */
  override get connected(): boolean {
    return false;
  }

  /**
   * Makes a socket and joins the map; {@linkcode DatagramDispatcher.bind} opens
   * it. After `close()`, a dispatcher can make another one.
   *
   * @param options None: the address decides between IPv4 and IPv6.
   * @throws {TypeError} If there are options.
   * @throws {Error} If there is a socket already.
   */
  override createSocket(options: SocketOptions = {}): void {
    checkOptions(options, ": createSocket() needs none for datagrams");
    const [option] = Object.keys(options);
    if (option !== undefined) {
      throw new TypeError(
        `Cannot create a socket: "${option}" is no option of a datagram socket`,
      );
    }
    super.createSocket();
    this.#reuseAddress = false;
  }

  /**
   * Takes over a UDP socket that is open already, and joins the map.
   *
   * @param socket What to wrap, such as a `Deno.DatagramConn`; the dispatcher
   * will close it.
   * @throws {TypeError} If it lacks a method, as a connection or a listener does.
   * @throws {Error} If there is a socket already.
   */
  override setSocket(socket: DatagramSocket | Channel | Acceptor): void {
    checkMethods("socket", socket, ["receive", "send", "close"]);
    const opened = socket as DatagramSocket;
    const { addr } = opened; // A getter may throw: before anything joins.
    const channel = new DatagramChannel(opened);
    super.setSocket(channel);
    this.#opened(endpointOf(this)!, channel, addr);
  }

  /**
   * Lets the next `bind()` share an address with other sockets, as receivers of
   * multicast do. Call it before {@linkcode DatagramDispatcher.bind}.
   */
  override setReuseAddr(): void {
    this.#reuseAddress = true;
  }

  /**
   * Opens the socket. The real port is known right after:
   * `bind({ hostname, port: 0 })` puts it into `addr`.
   *
   * @param address A host and a port: host by default `0.0.0.0`, port 0 for any
   * free one.
   * @throws {TypeError} If the address is none of UDP.
   * @throws {RangeError} If the port is out of range.
   * @throws {Deno.errors.NotSupported} If Deno runs without `--unstable-net`, or
   * the map has a network of its own, as in a simulation.
   * @throws {Deno.errors.AddrInUse} If somebody has the address already.
   * @throws {Deno.errors.NotCapable} If the permission to listen is missing.
   * @throws {Error} If there is no socket, or it is bound already.
   */
  override bind(address: Address): void {
    const endpoint = endpointOf(this);
    if (endpoint === null || endpoint.closed) {
      throw new Error(
        `Cannot bind: ${this} has no socket: call createSocket() first`,
      );
    }
    if (endpoint.phase !== "created") {
      throw new Error(`Cannot bind: ${this} is bound already`);
    }
    endpoint.attempt(() => {
      const parsed = checkAddress("bind", address);
      if (this.map.network !== denoNetwork) {
        throw new Deno.errors.NotSupported(
          `Cannot bind: ${this} is a datagram socket, and the network of its ` +
            "map, a simulated one perhaps, has none: give it to setSocket()",
        );
      }
      const socket = openSocket(parsed, this.#reuseAddress);
      const channel = new DatagramChannel(socket);
      endpoint.adopt(asChannel("channel", channel));
      this.#opened(endpoint, channel, socket.addr);
    });
    endpoint.opened();
  }

  #opened(
    endpoint: Endpoint,
    channel: DatagramChannel,
    addr: Deno.Addr | null | undefined,
  ): void {
    this.#channel = channel;
    endpoint.addr = addr ?? null;
    channel.clock = () => endpoint.reactor.clock;
    channel.onLoss = (error) => this.#lost(endpoint, error);
    endpoint.onEnd = () => this.#logLosses();
  }

  /**
   * Takes the datagram that was received: one in each `handleRead()`.
   *
   * @returns Its bytes, the caller's own, and who sent it.
   * @throws {Deno.errors.WouldBlock} If none waits.
   * @throws {Error} If the dispatcher is not bound, or receiving has failed.
   */
  recvFrom(): Datagram {
    this.#bound("receive");
    try {
      if (super.recvInto(TOKEN) > 0) return this.#channel!.take();
    } catch (error) {
      if (!(error instanceof Deno.errors.WouldBlock)) throw error;
    }
    throw new Deno.errors.WouldBlock(
      `Cannot receive: no datagram waits for ${textOf(this)}: ` +
        "call recvFrom() once in each handleRead()",
    );
  }

  /**
   * Accepts a datagram to be sent. It goes out by itself, in order, also after
   * `close()`; the caller may change `data` afterwards.
   *
   * @param data The content. How much fits is up to the system: 65,507 bytes
   * over IPv4 at most, and about 1,200 to pass unharmed everywhere.
   * @param address A host (by default `127.0.0.1`) and a port, such as `addr`
   * of a received one. A name is looked up each time, while those behind wait.
   * @returns How many bytes were accepted: all, or 0 for "not now" when earlier
   * ones (64 KiB or more) are still on their way, or the dispatcher is closed.
   * A datagram without bytes counts as one byte; if it is not accepted for want
   * of room, `handleError()` gets a {@linkcode DatagramError}.
   * @throws {TypeError} If `data` is not a `Uint8Array`, or the address none of
   * UDP.
   * @throws {RangeError} If the port is out of range.
   * @throws {Error} If the dispatcher is not bound.
   */
  sendTo(data: Uint8Array, address: Address): number {
    checkBytes("data", data);
    const addr = checkAddress("send", address);
    const endpoint = this.#bound("send");
    const { length } = data;
    if (endpoint.outbound.pending >= ROOM && !endpoint.closed) {
      if (length === 0) this.#refuseEmpty(endpoint, addr);
      return 0;
    }
    if (endpoint.buffer(length > 0 ? data : FILLER) === 0) return 0;
    this.#channel!.outgoing.push({ length, addr });
    endpoint.reactor.sendSoon(endpoint);
    return length;
  }

  /** That 0 bytes were accepted tells nothing of a datagram that has none. */
  #refuseEmpty(endpoint: Endpoint, addr: Deno.NetAddr): void {
    const message = `Cannot send 0 bytes to ${formatAddress(addr)}`;
    const { pending } = endpoint.outbound;
    const cause = new Error(`${pending} bytes wait to be sent before them`);
    this.#lost(endpoint, new DatagramError(message, addr, cause));
  }

  /** The endpoint, once it is bound. */
  #bound(action: string): Endpoint {
    const endpoint = endpointOf(this);
    if (endpoint !== null && this.#channel !== null) {
      if (endpoint.phase !== "created") return endpoint;
    }
    throw new Error(
      `Cannot ${action}: ${this} is not bound: call bind() first`,
    );
  }

  /** Tells `handleError()`, in the loop; where no event may come, the log. */
  #lost(endpoint: Endpoint, error: DatagramError): void {
    if (endpoint.closed || !endpoint.joined) {
      this.#logLoss(error);
      return;
    }
    this.#untold.push(error);
    this.#tellSoon(endpoint);
  }

  /** Not by a timer, which would cost each pass a turn of the runtime. */
  #tellSoon(endpoint: Endpoint): void {
    endpoint.notifyAt(Infinity, () => this.#tellLosses(endpoint));
  }

  #tellLosses(endpoint: Endpoint): void {
    try {
      while (this.#untold.length > 0 && endpoint.joined && !endpoint.held) {
        endpoint.hooks.fail(this.#untold.shift());
      }
    } finally { // An ExitNow may have come, or a promise.
      if (this.#untold.length > 0) this.#tellSoon(endpoint);
    }
  }

  /** What had no turn in the loop before the end of the socket. */
  #logLosses(): void {
    while (this.#untold.length > 0) this.#logLoss(this.#untold.shift()!);
  }

  #logLoss(error: DatagramError): void {
    logLimited(this, {
      type: "error",
      kind: "lost a datagram",
      text: (self) => `${self} lost a datagram (${describeError(error)})`,
    });
  }

  /**
   * A hook or a predicate threw, or an operation failed. By default the error
   * is logged; unless it is a {@linkcode DatagramError}, the dispatcher is
   * closed.
   *
   * @param error What was thrown.
   */
  override handleError(error: unknown): void | Promise<void> {
    if (!(error instanceof DatagramError)) return super.handleError(error);
    this.#logLoss(error);
  }

  // What only a connection can do

  /**
   * Not for datagrams.
   *
   * @throws {Error} Always: {@linkcode DatagramDispatcher.sendTo} names the
   * address each time.
   */
  override connect(): never {
    throw this.#misused("connect", "sendTo() takes the address each time");
  }

  /**
   * Not for datagrams.
   *
   * @throws {Error} Always: {@linkcode DatagramDispatcher.bind} is enough.
   */
  override listen(): never {
    throw this.#misused("listen", "bind() is enough");
  }

  /**
   * Not for datagrams.
   *
   * @throws {Error} Always: call {@linkcode DatagramDispatcher.recvFrom}.
   */
  override recv(): never {
    throw this.#misused("receive", "call recvFrom()");
  }

  /**
   * Not for datagrams.
   *
   * @throws {Error} Always: call {@linkcode DatagramDispatcher.recvFrom}.
   */
  override recvInto(): never {
    throw this.#misused("receive", "call recvFrom()");
  }

  /**
   * Not for datagrams.
   *
   * @throws {Error} Always: call {@linkcode DatagramDispatcher.sendTo}.
   */
  override send(): never {
    throw this.#misused("send", "call sendTo()");
  }

  /**
   * Not for datagrams.
   *
   * @throws {Error} Always: there is no stream that could end.
   */
  override shutdownWrite(): never {
    throw this.#misused("shut down writing", "there is no stream to end");
  }

  /**
   * Not for datagrams.
   *
   * @throws {Error} Always, as a rejection: TLS needs a connection.
   */
  override startTls(): Promise<never> {
    return refuseTls(this, this.#misused("start TLS", "it needs a connection"));
  }

  #misused(action: string, advice: string): Error {
    return new Error(
      `Cannot ${action}: ${textOf(this)} is a datagram socket: ${advice}`,
    );
  }
}

/** Binds a UDP socket, or says what is in the way. */
function openSocket(addr: Deno.NetAddr, reuseAddress: boolean): DatagramSocket {
  if (typeof Deno.listenDatagram !== "function") {
    throw new Deno.errors.NotSupported(
      "Cannot bind: this Deno runs without datagrams: start it with " +
        '--unstable-net, or put "unstable": ["net"] into deno.json',
    );
  }
  const { hostname, port } = addr;
  try {
    return Deno.listenDatagram({
      transport: "udp",
      hostname,
      port,
      reuseAddress,
    });
  } catch (error) {
    explain(error, "bind", addr);
    throw error;
  }
}

/** Turns what a caller gave into a whole address of its own. */
function checkAddress(action: "bind" | "send", address: unknown): Deno.NetAddr {
  return parseAddress(address, { action, transport: "udp" }) as Deno.NetAddr;
}
