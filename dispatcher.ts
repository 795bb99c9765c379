/**
 * Sockets as objects with hooks: {@linkcode Dispatcher}, and
 * {@linkcode DispatcherWithSend}, which buffers what it sends.
 *
 * @module
 */

import type { Address } from "./core/address.ts";
import { checkBytes, checkInteger } from "./core/arguments.ts";
import {
  type Acceptor,
  asAcceptor,
  asChannel,
  type Channel,
  isAcceptor,
} from "./core/channel.ts";
import type { Endpoint } from "./core/connection.ts";
import {
  type Accepted,
  DispatcherHooks,
  type TimeLimits,
} from "./core/dispatcher_hooks.ts";
import {
  type ConnectionOptions,
  lifeOf,
  refuseOptionsFirst,
  type StartTlsOptions,
} from "./core/dispatcher_options.ts";
import type { Hook } from "./core/hooks.ts";
import { ownMethods } from "./core/interest.ts";
import { nameOf, preview } from "./core/log.ts";
import type { SocketOptions } from "./core/network.ts";
import {
  checkBind,
  checkConnect,
  checkSocketOptions,
  DEFAULT_BACKLOG,
  listenOn,
  type NamedOptions,
  NO_OPTIONS,
  tlsOf,
} from "./core/socket_options.ts";
import { SocketSlot } from "./core/socket_slot.ts";
import { requestTls } from "./core/tls_request.ts";
import { CONNECTION, ENTRY, LIMITS, MAP, REACTOR } from "./core/symbols.ts";
import {
  checkMap,
  checkMapOptions,
  defaultMap,
  type SocketMap,
  startTimer,
  type Timer,
} from "./loop.ts";

/** Options of a {@linkcode Dispatcher}. */
export interface DispatcherOptions extends ConnectionOptions {
  /**
   * The map that the dispatcher joins when it has a socket.
   *
   * @default {socketMap}
   */
  map?: SocketMap;
}

/** Options of a {@linkcode DispatcherWithSend}. */
export interface DispatcherWithSendOptions extends DispatcherOptions {
  /**
   * A sender should stop when so many bytes wait to be sent.
   *
   * @default {65_536}
   */
  highWaterMark?: number;
}

/**
 * A socket as an object with hooks. Derive a class, override the hooks you
 * care for, and let {@linkcode loop} drive it. The hooks, the predicates, the
 * log and the state are documented with {@linkcode DispatcherHooks}.
 *
 * @example An echo server and its client, in one loop
 * ```ts
 * import {
 *   type Channel,
 *   Dispatcher,
 *   DispatcherWithSend,
 *   loop,
 * } from "@asyncore/asyncore";
 * import { assertEquals } from "@std/assert";
 *
 * class EchoHandler extends DispatcherWithSend {
 *   override handleRead() {
 *     this.send(this.recv());
 *   }
 * }
 *
 * class EchoServer extends Dispatcher {
 *   constructor() {
 *     super();
 *     this.createSocket();
 *     this.bind({ hostname: "127.0.0.1", port: 0 });
 *     this.listen();
 *   }
 *   override handleAccepted(conn: Channel) {
 *     new EchoHandler(conn);
 *     this.close(); // one client is enough
 *   }
 * }
 *
 * class Client extends Dispatcher {
 *   answer = "";
 *   readonly #decoder = new TextDecoder();
 *   override handleConnect() {
 *     this.send(new TextEncoder().encode("spam"));
 *   }
 *   override handleRead() {
 *     // A letter may come in two pieces.
 *     this.answer += this.#decoder.decode(this.recv(), { stream: true });
 *     if (this.answer === "spam") this.close();
 *   }
 * }
 *
 * const server = new EchoServer();
 * const client = new Client();
 * client.createSocket();
 * client.connect(server.addr!);
 * await loop();
 * assertEquals(client.answer, "spam");
 * ```
 */
export class Dispatcher extends DispatcherHooks implements Disposable {
  readonly #slot: SocketSlot;
  #map: SocketMap;
  #options: NamedOptions = NO_OPTIONS;

  /**
   * Makes a dispatcher; with a channel it joins the map at once.
   *
   * @param channel A connection (then {@linkcode Dispatcher.connected} is
   * true), a listener (then {@linkcode Dispatcher.accepting} is true), or
   * nothing: {@linkcode Dispatcher.createSocket} makes one later.
   * @param options The map, and how the connection behaves.
   * @throws {TypeError} If the channel lacks a method or an option is wrong.
   * @throws {RangeError} If a time is NaN or negative, or a timeout 0.
   */
  constructor(
    channel: Channel | Acceptor | null = null,
    options: DispatcherOptions = {},
  ) {
    super();
    checkMapOptions(options);
    const { map = defaultMap() } = options;
    checkMap(map);
    this.#map = map;
    this.#slot = new SocketSlot(this, lifeOf(options));
    if (channel !== null) this.setSocket(channel);
  }

  // State

  /** The map that the dispatcher belongs to. */
  get map(): SocketMap {
    return this.#map;
  }

  // Sockets

  /**
   * Makes a socket and joins the map, as in Python. {@linkcode Dispatcher.bind}
   * makes a listener of it, {@linkcode Dispatcher.connect} a connection. After
   * `close()`, a dispatcher can make another one.
   *
   * @param options Transport, TLS, backlog, port sharing, timeouts.
   * @throws {TypeError} If the transport is unknown, or an option has the wrong
   * type or no effect on this transport.
   * @throws {RangeError} If a number is out of range.
   * @throws {Error} If there is a socket already.
   */
  createSocket(options: SocketOptions = {}): void {
    checkSocketOptions(options);
    this.#create("create a socket", options);
    this.addChannel();
  }

  /**
   * Takes over a connection or a listener, and joins the map.
   *
   * @param channel The connection or the listener. The dispatcher will close it.
   * @throws {TypeError} If it lacks a method.
   * @throws {RangeError} If its `chunkSize` is out of range.
   * @throws {Error} If there is a socket already.
   */
  setSocket(channel: Channel | Acceptor): void {
    refuseOptionsFirst(channel);
    if (isAcceptor(channel)) {
      asAcceptor("channel", channel);
      const endpoint = this.#create("set a socket");
      endpoint.bind(channel);
      endpoint.listen();
    } else {
      const checked = asChannel("channel", channel);
      this.#create("set a socket").adopt(checked);
    }
    this.addChannel();
  }

  /**
   * Does nothing: Deno lets a listener reuse an address wherever the system
   * makes that safe. Programs that come from Python call it.
   */
  setReuseAddr(): void {}

  /**
   * Opens the listener. The real port is known at once: after
   * `bind({ hostname, port: 0 })` it is in {@linkcode Dispatcher.addr}.
   * Deno binds and listens in one step, so clients that come before
   * {@linkcode Dispatcher.listen} wait in the backlog.
   *
   * If this throws, the socket is as `createSocket()` made it, but out of the
   * map: nobody may hold a dispatcher whose constructor has thrown. It joins
   * again when another attempt succeeds, or by {@linkcode Dispatcher.addChannel}.
   *
   * @param address A host and a port (host by default `0.0.0.0`, port 0 for
   * any free one), or the path of a Unix socket.
   * @throws {TypeError} If the address does not fit the transport, or
   * `createSocket()` got an option for clients.
   * @throws {RangeError} If the port is out of range.
   * @throws {Deno.errors.AddrInUse} If somebody listens there already, or the
   * path names a file: a program that has crashed leaves its socket there, and
   * the next one has to remove it.
   * @throws {Deno.errors.NotCapable} If the permission to listen is missing.
   * @throws {Deno.errors.NotSupported} If this Deno has no `reusePort`.
   * @throws {Error} If there is no socket, or it is bound or connected.
   */
  bind(address: Address): void {
    const endpoint = this.#slot.unused("bind");
    endpoint.attempt(() => {
      const checked = checkBind(address, this.#options, nameOf(this));
      endpoint.bind(listenOn(checked, this.#options, this.#map.network));
    });
  }

  /**
   * Starts to take connections: each is a `handleAccept()`. If this throws
   * before the dispatcher listens, the address is free again, as in
   * {@linkcode Dispatcher.bind}.
   *
   * @param backlog Accepted for compatibility with Python. The length of the
   * queue is {@linkcode SocketOptions.backlog}.
   * @throws {TypeError | RangeError} If `backlog` is not a number of 0 or more.
   * @throws {Error} If the dispatcher is not bound, or listens already.
   */
  listen(backlog: number = DEFAULT_BACKLOG): void {
    const endpoint = this.#slot.open("listen");
    endpoint.attempt(() => {
      checkInteger("backlog", backlog, 0);
      if (endpoint.phase !== "bound") {
        const state = endpoint.phase === "created"
          ? "is not bound: call bind() first"
          : `is ${endpoint.phase} already`;
        throw new Error(`Cannot listen: ${nameOf(this)} ${state}`);
      }
      endpoint.listen();
    });
  }

  /**
   * Starts to connect and returns at once. The outcome is an event:
   * `handleConnect()`, or `handleError()` with the reason and then
   * `handleClose()`. If this throws, the dispatcher is out of the map, as in
   * {@linkcode Dispatcher.bind}.
   *
   * @param address A host (by default `127.0.0.1`) and a port, or the path of
   * a Unix socket; the `addr` of a listening dispatcher will do.
   * @throws {TypeError} If the address does not fit the transport, or
   * `createSocket()` got an option for listeners.
   * @throws {RangeError} If the port is out of range.
   * @throws {Error} If there is no socket, or it is in use.
   */
  connect(address: Address): void {
    const endpoint = this.#slot.unused("connect");
    endpoint.attempt(() => {
      const checked = checkConnect(address, this.#options);
      if ("hostname" in checked) {
        this.#options = { ...this.#options, hostname: checked.hostname };
      }
      endpoint.connect(checked, this.#map.network, tlsOf(this.#options));
    });
  }

  /**
   * Takes the connection that waits.
   *
   * @returns The connection and its address, or `null` if none waits.
   * @throws {Error} If the dispatcher does not listen.
   */
  override accept(): Accepted | null {
    const endpoint = this[ENTRY];
    if (endpoint?.closed) return null;
    if (endpoint?.phase !== "listening") {
      throw new Error(
        `Cannot accept: ${nameOf(this)} is not listening: call listen() first`,
      );
    }
    const checked = endpoint.accept();
    if (checked === null) return null;
    return { conn: checked.channel, addr: checked.addr ?? endpoint.addr! };
  }

  /**
   * Takes bytes that were received. At the end of the stream it runs
   * `handleClose()` and returns no bytes, as in Python.
   *
   * @param size The most bytes to take. Bytes that are left bring another
   * `handleRead()`.
   * @returns The bytes, the caller's own: nothing will overwrite them.
   * @throws {TypeError | RangeError} If `size` is not a positive integer.
   * @throws {Deno.errors.WouldBlock} If nothing has arrived.
   * @throws {Error} If there is no connection, or reading it has failed; or if
   * earlier bytes were dropped: when a class without `handleRead()` leaves 64 KiB
   * waiting, the loop concludes that it never receives.
   */
  recv(size: number = Infinity): Uint8Array {
    checkInteger("size", size, 1);
    return this[CONNECTION]("receive").receive(size);
  }

  /**
   * {@linkcode Dispatcher.recv} without an allocation.
   *
   * @param target Where the bytes go.
   * @returns How many bytes were written to `target`; 0 at the end of the
   * stream, when `handleClose()` has run.
   * @throws {TypeError} If `target` is not a `Uint8Array`.
   * @throws {RangeError} If `target` is empty.
   * @throws {Deno.errors.WouldBlock} If nothing has arrived.
   * @throws {Error} If there is no connection, or reading it has failed; or if
   * earlier bytes were dropped: when a class without `handleRead()` leaves 64 KiB
   * waiting, the loop concludes that it never receives.
   */
  recvInto(target: Uint8Array): number {
    checkBytes("target", target);
    checkInteger("target.length", target.length, 1);
    return this[CONNECTION]("receive").receiveInto(target);
  }

  /**
   * Accepts bytes to be sent. Accepted bytes go out by themselves, also after
   * {@linkcode Dispatcher.close}. The caller may change `data` afterwards.
   *
   * @param data The bytes.
   * @returns How many bytes were accepted: all, or 0 for "not now" when
   * earlier ones (64 KiB or more, or two {@linkcode Channel.chunkSize}s where
   * the channel has one) are still on their way, the connection is
   * being made, or it is over.
   * @throws {TypeError} If `data` is not a `Uint8Array`.
   * @throws {Error} If there was no `connect()` and no connection.
   */
  send(data: Uint8Array): number {
    checkBytes("data", data);
    return this[CONNECTION]("send").send(data);
  }

  /**
   * Ends the writing direction when all accepted bytes have gone out: the peer
   * reads the end of the stream, and can still send. This side can send nothing
   * afterwards.
   *
   * @throws {Error} If there was no `connect()` and no connection.
   */
  override shutdownWrite(): void {
    this[CONNECTION]("shut down writing").shutdownWrite();
  }

  /**
   * Turns the plain TCP connection of a client into a TLS one, as STARTTLS does
   * in SMTP and IMAP. No event comes until the handshake is done; bytes that are
   * sent meanwhile go out encrypted. If the handshake fails, the connection is
   * over: `handleError()`, then `handleClose()`.
   *
   * @param options The name to check, certificate authorities and the like.
   * @returns A promise of the end of the handshake: await it in an async hook.
   * @throws {TypeError} If an option has the wrong type.
   * @throws {Error} If it is not connected, or something unencrypted is under
   * way: a read (so call it inside of `handleRead()` or `handleConnect()`), or
   * bytes not sent. The plain connection goes on. But the connection is over
   * when bytes wait unread behind the server's answer, which is an attack, and
   * when the name is empty or TLS refuses it, such as `[::1]`.
   */
  startTls(options: StartTlsOptions = {}): Promise<void> {
    return requestTls(this, options, this.#options.hostname);
  }

  /**
   * Leaves the map now. Bytes that {@linkcode Dispatcher.send} accepted still
   * go out (see {@linkcode DispatcherOptions.linger}), and `loop()` waits for
   * that. No hook runs afterwards. A second call does nothing.
   *
   * A listener's address is free when `loop()`, `poll()` or `shutdown()` has
   * returned, and in a later timer: Deno takes a turn of its own to give it back.
   *
   * An override calls `super.close()`, and may be async. If it forgets to, the
   * loop closes the connection, and warns once for each class.
   */
  override close(): void {
    this.#slot.close();
  }

  /**
   * Closes at once, and drops unsent bytes without a warning. Bytes that the peer
   * has not yet read may be lost, too. After {@linkcode Dispatcher.close} it cuts
   * the lingering short.
   */
  override abort(): void {
    this.#slot.abort();
  }

  /** Closes: `using client = new Client()`. */
  [Symbol.dispose](): void {
    const endpoint = this[ENTRY];
    const isAsync = this.#map[REACTOR].follow(this.close());
    if (!isAsync) endpoint?.closeAnyway();
  }

  /**
   * Joins a map. A dispatcher is in one map at a time, so it leaves the other.
   * Its timers come along.
   *
   * @param map The map; by default that of the constructor.
   * @throws {TypeError} If it is no `SocketMap`.
   * @throws {Error} If there is no socket.
   */
  addChannel(map: SocketMap = this.#map): void {
    checkMap(map);
    const endpoint = this.#slot.open("add a channel");
    this.#map = map;
    endpoint.join(map[REACTOR]);
  }

  /**
   * Leaves the map without closing. No event comes until
   * {@linkcode Dispatcher.addChannel}, which brings those of the meantime.
   * Accepted bytes still go out, timers run, and the
   * {@linkcode DispatcherOptions.lifetime} counts.
   *
   * @param map Another map than that of the dispatcher changes nothing.
   * @throws {TypeError} If it is no `SocketMap`.
   */
  delChannel(map: SocketMap = this.#map): void {
    checkMap(map);
    if (map !== this.#map) return;
    const endpoint = this[ENTRY];
    if (endpoint) endpoint.reactor.leave(endpoint);
  }

  // Timers

  /**
   * {@linkcode SocketMap.callLater}, cancelled when the dispatcher closes. A
   * timer of a closed dispatcher never runs.
   *
   * @param delay In milliseconds.
   * @throws {TypeError | RangeError} If an argument is wrong.
   */
  callLater(delay: number, callback: () => void | Promise<void>): Timer {
    return startTimer(this.#map, delay, callback, false, this.#slot.timers);
  }

  /**
   * {@linkcode SocketMap.callEvery}, cancelled when the dispatcher closes.
   *
   * @param interval In milliseconds.
   * @throws {TypeError | RangeError} If an argument is wrong.
   */
  callEvery(interval: number, callback: () => void | Promise<void>): Timer {
    return startTimer(this.#map, interval, callback, true, this.#slot.timers);
  }

  /** @ignore */
  override get [ENTRY](): Endpoint | null {
    return this.#slot.socket;
  }

  /** @ignore */
  override get [MAP](): SocketMap {
    return this.#map;
  }

  /** @ignore */
  override get [LIMITS](): TimeLimits {
    return this.#slot.life;
  }

  /** @ignore */
  [CONNECTION](action: string): Endpoint {
    return this.#slot.connection(action);
  }

  #create(action: string, options: SocketOptions = NO_OPTIONS): Endpoint {
    const endpoint = this.#slot.begin(action, options);
    this.#options = options;
    return endpoint;
  }
}

/**
 * A dispatcher whose {@linkcode DispatcherWithSend.send} takes everything and
 * sends it when it can.
 *
 * @example Send at once, before the connection stands
 * ```ts
 * import { DispatcherWithSend, loop } from "@asyncore/asyncore";
 * import { assertEquals } from "@std/assert";
 *
 * const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * const client = new DispatcherWithSend();
 * client.createSocket();
 * client.connect(listener.addr as Deno.NetAddr);
 * client.send(new TextEncoder().encode("spam"));
 * client.close(); // the bytes still go out
 * const [conn] = await Promise.all([listener.accept(), loop()]);
 *
 * const buffer = new Uint8Array(16);
 * assertEquals(await conn.read(buffer), 4);
 * conn.close();
 * listener.close();
 * ```
 */
export class DispatcherWithSend extends Dispatcher {
  #highWaterMark: number;

  /**
   * Makes a dispatcher; with a channel it joins the map at once.
   *
   * @param channel As for {@linkcode Dispatcher}.
   * @param options As for {@linkcode Dispatcher}, and the high water mark.
   * @throws {TypeError} If the channel lacks a method or an option is wrong.
   * @throws {RangeError} If a number is out of range.
   */
  constructor(
    channel: Channel | Acceptor | null = null,
    options: DispatcherWithSendOptions = {},
  ) {
    const highWaterMark = markOf(options);
    super(channel, options);
    this.#highWaterMark = highWaterMark;
  }

  /** Bytes that were accepted and have not yet left for the peer. */
  get bufferedAmount(): number {
    return this[ENTRY]?.outbound.pending ?? 0;
  }

  /**
   * A sender should stop when so many bytes are buffered, and wait for
   * {@linkcode DispatcherWithSend.handleDrain}. A new number holds at once, also
   * for bytes that are buffered already.
   *
   * @default {65_536}
   */
  get highWaterMark(): number {
    return this.#highWaterMark;
  }
  set highWaterMark(bytes: number) {
    this.#highWaterMark = checkInteger("highWaterMark", bytes, 1);
    const endpoint = this[ENTRY];
    if (endpoint === null) return;
    endpoint.lookAgain();
    if (this.bufferedAmount >= bytes || endpoint.awaitsDrain) {
      endpoint.notifyAt(bytes / 2, DRAIN);
    }
  }

  /**
   * Accepts all of `data`, while connecting too. The caller may change `data`
   * afterwards.
   *
   * @param data The bytes.
   * @returns How many bytes were accepted: all, or 0 when the connection is
   * over.
   * @throws {TypeError} If `data` is not a `Uint8Array`.
   * @throws {Error} If there was no `connect()` and no connection.
   */
  override send(data: Uint8Array): number {
    checkBytes("data", data);
    const endpoint = this[CONNECTION]("send");
    if (this.debug) {
      endpoint.reactor.follow(this.logInfo(`sending ${preview(data)}`));
    }
    const accepted = endpoint.buffer(data);
    if (this.bufferedAmount >= this.#highWaterMark) {
      endpoint.notifyAt(this.#highWaterMark / 2, DRAIN);
    }
    this.initiateSend();
    return accepted;
  }

  /**
   * Starts to send the buffered bytes; `send()` calls it. In a pass in which
   * several dispatchers have their turns, the bytes go out after their hooks.
   */
  initiateSend(): void {
    const endpoint = this[ENTRY];
    endpoint?.reactor.sendSoon(endpoint);
  }

  /**
   * Whether to read. A connection whose {@linkcode DispatcherOptions.role} is
   * `"server"` is not read while {@linkcode DispatcherWithSend.highWaterMark}
   * bytes or more wait to be sent. Override it to decide otherwise.
   */
  override readable(): boolean {
    const isFull = this.bufferedAmount >= this.#highWaterMark;
    return this[ENTRY]?.mayRead(isFull) ?? true;
  }

  /** Whether there is something to send, or a connection to wait for. */
  override writable(): boolean {
    return !this.connected || this.bufferedAmount > 0;
  }

  /** Goes on sending. */
  override handleWrite(): void | Promise<void> {
    this.initiateSend();
  }

  /**
   * {@linkcode DispatcherWithSend.bufferedAmount} has fallen from
   * `highWaterMark` or more to half of it or less: the sender may go on.
   */
  handleDrain(): void | Promise<void> {}
}

const DRAIN: Hook = (pollable) =>
  (pollable as DispatcherWithSend).handleDrain();

/** Checks the high water mark among the options. */
export function markOf(options: DispatcherWithSendOptions): number {
  checkMapOptions(options);
  const { highWaterMark = 64 * 1024 } = options;
  return checkInteger("highWaterMark", highWaterMark, 1);
}

ownMethods.set(Dispatcher.prototype.close, "plain");
for (const name of ["readable", "writable", "handleWrite"] as const) {
  ownMethods.set(DispatcherWithSend.prototype[name], "self-driven");
}
