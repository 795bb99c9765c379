/**
 * UDP as an object with hooks: {@linkcode DatagramDispatcher}.
 *
 * @module
 */

import { type Address, formatAddress, parseAddress } from "../core/address.ts";
import { toBytes } from "../core/arguments.ts";
import { type Acceptor, asChannel, type Channel } from "../core/channel.ts";
import { Connection } from "../core/connection.ts";
import {
  asDatagramSocket,
  type DatagramSocket,
} from "../core/datagram_socket.ts";
import type { HookResult } from "../core/entry.ts";
import { libraryMethods } from "../core/interest.ts";
import { describeError, textOf } from "../core/log.ts";
import type { SocketOptions } from "../core/network.ts";
import { DISPATCHER_OPTIONS } from "../core/dispatcher_options.ts";
import { checkOptions, nameOptions } from "../core/option_names.ts";
import { Queue } from "../core/queue.ts";
import { logLimited } from "../core/own_lines.ts";
import type { GateKind } from "../core/gate.ts";
import {
  CONNECTION,
  CURRENT,
  GATE,
  HAND_OVER,
  OPEN,
  SOCKET,
  WAKE,
} from "../core/symbols.ts";
import { isPromise } from "../core/thenable.ts";
import type { Socket } from "../core/socket.ts";
import { Dispatcher, type DispatcherOptions } from "../dispatcher.ts";
import {
  type Datagram,
  DatagramChannel,
  DatagramError,
  FILLER,
  openDatagramSocket,
} from "./datagram_channel.ts";

/** Where the token of a received datagram goes. */
const TOKEN = new Uint8Array(1);
/**
 * `sendTo()` accepts while fewer bytes than this are on their way. More would
 * hold more memory for each socket; less than the 65,507 bytes of the longest
 * datagram would leave the socket idle between two of them.
 */
const ROOM = 64 * 1024;
/**
 * Most datagrams of one read event. A larger number saves turns of the runtime; a
 * smaller one lets other sockets have their turns sooner. The value is a choice:
 * with 64, a datagram cost a sixth less processor time.
 */
const MOST_READS = 16;

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
 * `"unstable": ["net"]` into `deno.json`. On a map whose network is `epollNetwork`
 * (see `@asyncore/asyncore/epoll`), no flag is needed. Unix datagrams are left
 * out, as Deno refuses to send one while it waits for another.
 *
 * @example A server that answers in capitals, and its client
 * ```ts ignore
 * // Needs --unstable-net, or a map with epollNetwork.
 * import { DatagramDispatcher, loop } from "@asyncore/asyncore";
 * import { assertEquals } from "@std/assert";
 *
 * class Shouter extends DatagramDispatcher {
 *   override handleRead() {
 *     const { data, addr } = this.recvFrom();
 *     const text = new TextDecoder().decode(data);
 *     this.sendTo(text.toUpperCase(), addr);
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
 * client.sendTo("spam", server.addr!);
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
    checkOptions(options, {}, ": createSocket() needs none for datagrams");
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
    const opened = asDatagramSocket("socket", socket);
    const { addr } = opened; // A getter may throw: before anything joins.
    const channel = new DatagramChannel(opened);
    super.setSocket(channel);
    this.#opened(this[CURRENT]!, channel, addr);
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
   * @throws {Deno.errors.NotSupported} If Deno runs without `--unstable-net`, and
   * the map has its network; or if the map has a network without UDP.
   * @throws {Deno.errors.AddrInUse} If somebody has the address already.
   * @throws {Deno.errors.NotCapable} If the permission to listen is missing.
   * @throws {Error} If there is no socket, or it is bound already.
   */
  override bind(address: Address): void {
    if (this[CURRENT]?.closed === false) {
      throw new Error(`Cannot bind: ${this} is bound already`);
    }
    this[OPEN]("bind", (socket) => {
      const parsed = checkAddress("bind", address);
      const opened = openDatagramSocket(this.map.network, parsed, {
        reuseAddress: this.#reuseAddress,
        name: `${this}`,
      });
      const channel = new DatagramChannel(opened);
      const connection = new Connection(socket, socket)
        .adopt(asChannel("channel", channel));
      this.#opened(connection, channel, opened.addr);
      return connection;
    });
  }

  #opened(
    connection: Connection,
    channel: DatagramChannel,
    addr: Deno.Addr | null | undefined,
  ): void {
    this.#channel = channel;
    connection.addr = addr ?? null;
    channel.clock = () => connection.reactor.clock;
    channel.onLoss = (error) => this.#lost(connection, error);
    connection.whenEnded(() => this.#logLosses());
  }

  /**
   * Gives the datagrams that wait to `handleRead()`, one by one: each pass takes a
   * turn of the runtime. Over Deno's network, only one waits at a time.
   */
  override handleReadEvent(): HookResult {
    const connection = this[CURRENT];
    if (connection === null) return this.handleRead();
    const { reactor, source } = connection;
    for (let left = MOST_READS;; left--) {
      const { taken } = source!;
      const result = this.handleRead();
      const goesOn = left > 1 && !isPromise(result) && source!.taken > taken &&
        connection.joined && connection.reactor === reactor &&
        connection.interest?.asksReadable === false && source!.available > 0;
      if (!goesOn) return result;
    }
  }

  /**
   * Takes the datagram that was received: one in each `handleRead()`.
   *
   * @returns Its bytes, the caller's own, and who sent it.
   * @throws {Deno.errors.WouldBlock} If none waits.
   * @throws {Error} If the dispatcher is not bound, or receiving has failed.
   */
  recvFrom(): Datagram {
    const connection = this.#bound("receive");
    try {
      if (connection.receiveInto(TOKEN) > 0) return this.#channel!.take();
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
   * @param data The content: bytes, or text as UTF-8. How much fits is up to the system: 65,507 bytes
   * over IPv4 at most, and about 1,200 to pass unharmed everywhere.
   * @param address A host (by default `127.0.0.1`) and a port, such as `addr`
   * of a received one. A name is looked up each time, while those behind wait.
   * @returns How many bytes were accepted: all, or 0 for "not now" when earlier
   * ones (64 KiB or more) are still on their way, or the dispatcher is closed.
   * A datagram without bytes counts as one byte; if it is not accepted for want
   * of room, `handleError()` gets a {@linkcode DatagramError}.
   * @throws {TypeError} If `data` is neither bytes nor text, or the address none
   * of UDP.
   * @throws {RangeError} If the port is out of range.
   * @throws {Error} If the dispatcher is not bound.
   */
  sendTo(data: Uint8Array | string, address: Address): number {
    const bytes = toBytes("data", data);
    const addr = checkAddress("send", address);
    const connection = this.#bound("send");
    const { length } = bytes;
    if (connection.writer.pending >= ROOM && !connection.closed) {
      if (length === 0) this.#refuseEmpty(connection, addr);
      return 0;
    }
    if (connection.buffer(length > 0 ? bytes : FILLER) === 0) return 0;
    this.#channel!.outgoing.push({ length, addr });
    connection.sendSoon();
    return length;
  }

  /** A returned 0 would not tell that an empty datagram was refused. */
  #refuseEmpty(connection: Connection, addr: Deno.NetAddr): void {
    const message = `Cannot send 0 bytes to ${formatAddress(addr)}`;
    const { pending } = connection.writer;
    const cause = new Error(`${pending} bytes wait to be sent before them`);
    this.#lost(connection, new DatagramError(message, addr, cause));
  }

  /** The connection, once it is bound. */
  #bound(action: string): Connection {
    const connection = this[CURRENT];
    if (connection !== null) return connection;
    throw new Error(
      `Cannot ${action}: ${this} is not bound: call bind() first`,
    );
  }

  /** Tells `handleError()`, in the loop; the log, where no event may come. */
  #lost(connection: Connection, error: DatagramError): void {
    if (connection.closed || !connection.joined) {
      this.#logLoss(error);
      return;
    }
    this.#untold.push(error);
    connection.wake(); // A timer would cost each pass a turn of the runtime.
  }

  /**
   * Tells of the failures that wait.
   *
   * @ignore
   */
  override [WAKE](): void {
    const connection = this[CURRENT]!;
    const { hooks } = connection;
    try {
      while (
        this.#untold.length > 0 && connection.joined && !connection.held
      ) hooks.fail(this.#untold.shift());
    } finally { // An ExitNow may have come, or a promise.
      if (this.#untold.length > 0) connection.wake();
    }
  }

  /** Logs the failures that had no turn in the loop before the socket ended. */
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
  override handleError(error: unknown): HookResult {
    if (!(error instanceof DatagramError)) return super.handleError(error);
    this.#logLoss(error);
  }

  /**
   * Datagrams have no gate: each goes out whole, by {@linkcode sendTo}.
   *
   * @ignore
   */
  override [GATE](): GateKind {
    return "none";
  }

  /**
   * The open socket.
   *
   * @ignore
   * @throws {Error} If there is none, or datagrams have no such action.
   */
  override [SOCKET](action: string): Socket {
    this.#refuse(action);
    return super[SOCKET](action);
  }

  /**
   * The connection of other dispatchers.
   *
   * @ignore
   * @throws {Error} If datagrams have no such action.
   */
  override [CONNECTION](action: string): Connection {
    this.#refuse(action);
    return super[CONNECTION](action);
  }

  /**
   * @ignore
   * @throws {Error} A dispatcher of another class knows nothing of datagrams.
   */
  override [HAND_OVER](): null {
    this.#refuse("hand over");
    return null;
  }

  /** Refuses what only a connection can do. */
  #refuse(action: string): void {
    const advice = INSTEAD_OF.get(action);
    if (advice === undefined) return;
    throw new Error(
      `Cannot ${action}: ${textOf(this)} is a datagram socket: ${advice}`,
    );
  }
}

const SENDERS = "its datagrams have senders, which a channel does not tell";
/** What to do instead of an action that datagrams do not have. */
const INSTEAD_OF: ReadonlyMap<string, string> = new Map([
  ["detach", SENDERS],
  ["hand over", SENDERS],
  ["connect", "sendTo() takes the address each time"],
  ["listen", "bind() is enough"],
  ["receive", "call recvFrom()"],
  ["send", "call sendTo()"],
  ["shut down writing", "there is no stream to end"],
  ["start TLS", "it needs a connection"],
]);

/** Checks an address, and returns a complete copy. */
function checkAddress(action: "bind" | "send", address: unknown): Deno.NetAddr {
  return parseAddress(address, { action, transport: "udp" }) as Deno.NetAddr;
}

// It calls handleRead(), so it is no override of a user's class.
libraryMethods.set(DatagramDispatcher.prototype.handleReadEvent, "plain");

nameOptions<DispatcherOptions>(DatagramDispatcher, DISPATCHER_OPTIONS);
