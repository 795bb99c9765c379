/**
 * Sockets as objects with hooks: {@linkcode Dispatcher}, and
 * {@linkcode DispatcherWithSend}, which buffers the bytes that it sends.
 *
 * @module
 */

import type { Address } from "./core/address.ts";
import { checkBytes, checkInteger, toBytes } from "./core/arguments.ts";
import { type Acceptor, type Channel, received } from "./core/channel.ts";
import { HighWaterMark } from "./core/backpressure.ts";
import { Connection } from "./core/connection.ts";
import { type Accepted, DispatcherHooks } from "./core/dispatcher_hooks.ts";
import {
  type ConnectionOptions,
  type ConnectionSettings,
  connectionSettings,
  DISPATCHER_OPTIONS,
  socketSettings,
  type StartTlsOptions,
  WITH_SEND_OPTIONS,
} from "./core/dispatcher_options.ts";
import type { HookResult } from "./core/entry.ts";
import { type GateKind, PIECE } from "./core/gate.ts";
import { DetachedChannel } from "./core/handover.ts";
import { libraryMethods } from "./core/interest.ts";
import { Listener } from "./core/listener.ts";
import { nameOf, preview } from "./core/log.ts";
import type { ConnectOptions, SocketOptions } from "./core/network.ts";
import {
  checkBind,
  checkConnect,
  checkSocketOptions,
  type ConnectTarget,
  DEFAULT_BACKLOG,
  listenOn,
  NO_OPTIONS,
} from "./core/socket_options.ts";
import { Socket, type SocketParts } from "./core/socket.ts";
import {
  acceptFrom,
  adopterOf,
  boundListener,
  checkClosed,
  closeSocket,
  connectionOf,
  failedSocket,
  openSocket,
} from "./core/socket_access.ts";
import { nameOptions, optionNamesOf } from "./core/option_names.ts";
import { requestTls } from "./core/start_tls.ts";
import {
  CONNECTION,
  CURRENT,
  ENTRY,
  GATE,
  MAP,
  OPEN,
  REACTOR,
  SEND_THROUGH,
  SOCKET,
  WAKE,
} from "./core/symbols.ts";
import { TimerGroup } from "./core/timers.ts";
import {
  checkMapOptions,
  mapOf,
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
  map?: SocketMap | null | undefined;
}

/** Options of a {@linkcode DispatcherWithSend}. */
export interface DispatcherWithSendOptions extends DispatcherOptions {
  /**
   * A sender should pause when so many bytes wait to be sent.
   *
   * @default {65_536}
   */
  highWaterMark?: number | undefined;
}

/**
 * A socket as an object with hooks. Derive a class, override the hooks that you
 * need, and let {@linkcode loop} drive it. {@linkcode DispatcherHooks} documents
 * the hooks, the predicates, the log and the state.
 *
 * @example A client of an echo server, in one loop with it
 * ```ts
 * import * as asyncore from "@asyncore/asyncore";
 * import { assertEquals } from "@std/assert";
 *
 * class Echo extends asyncore.DispatcherWithSend {
 *   override handleRead() {
 *     this.send(this.recv());
 *   }
 *   override handleAccepted(conn: asyncore.Channel) {
 *     new Echo(conn);
 *     this.close(); // one client is enough
 *   }
 * }
 * class Client extends asyncore.Dispatcher {
 *   answer = "";
 *   override handleConnect() {
 *     this.send("spam");
 *   }
 *   override handleRead() {
 *     this.answer = new TextDecoder().decode(this.recv());
 *     this.close();
 *   }
 * }
 * const server = new Echo();
 * server.createSocket();
 * server.bind({ hostname: "127.0.0.1", port: 0 });
 * server.listen();
 * const client = new Client();
 * client.createSocket();
 * client.connect(server.addr!);
 * await asyncore.loop();
 * assertEquals(client.answer, "spam");
 * ```
 */
export class Dispatcher extends DispatcherHooks implements Disposable {
  readonly #settings: ConnectionSettings;
  #map: SocketMap;
  #entry: Socket | null = null;
  #options: SocketOptions = NO_OPTIONS;
  /** The timers that were started while there was no socket. */
  #timers: TimerGroup | null = null;

  /**
   * Makes a dispatcher; with a channel it joins the map at once.
   *
   * @param channel A connection, which then is `connected`, a listener, which then
   * is `accepting`, or nothing: `createSocket()` makes one later.
   * @param options The map, and how the connection behaves.
   * @throws {TypeError} If the channel lacks a method or an option is wrong.
   * @throws {RangeError} If a time is NaN or negative, or a timeout 0.
   * @throws {Error} As {@linkcode Dispatcher.setSocket}.
   */
  constructor(
    channel: Channel | Acceptor | null = null,
    options: DispatcherOptions = {},
  ) {
    super();
    checkMapOptions(options, optionNamesOf(this));
    this.#map = mapOf(options.map);
    this.#settings = connectionSettings(options);
    if (channel !== null) this.setSocket(channel);
  }

  /** The map that the dispatcher belongs to. */
  get map(): SocketMap {
    return this.#map;
  }

  /**
   * Makes a socket and joins the map, as in Python. {@linkcode Dispatcher.bind}
   * makes it a listener, {@linkcode Dispatcher.connect} a connection. After
   * `close()`, a dispatcher can make another socket.
   *
   * @param options Transport, TLS, backlog, port sharing, noDelay, timeouts.
   * @throws {TypeError} If the transport or the name of an option is unknown, or an
   * option has the wrong type or no effect on this transport.
   * @throws {RangeError} If a number is out of range.
   * @throws {Error} If there is a socket already.
   */
  createSocket(options: SocketOptions = {}): void {
    checkSocketOptions(options);
    this.#begin("create a socket", options, (parts) => new Socket(parts));
  }

  /**
   * Takes over a connection or a listener, and joins the map. If another dispatcher
   * has it, that one leaves its map, and gets no further event: as in Python,
   * `new Handler(this.socket)` hands a connection on. Bytes and an end that have
   * arrived go over, and accepted bytes, which go out first.
   *
   * @param channel The connection or the listener. The dispatcher will close it.
   * @throws {TypeError} If it lacks a method.
   * @throws {RangeError} If its `chunkSize` is out of range.
   * @throws {Error} If there is a socket already, or if the other dispatcher cannot
   * give the connection up, as in {@linkcode Dispatcher.detach}.
   */
  setSocket(channel: Channel | Acceptor): void {
    this.#begin("set a socket", NO_OPTIONS, adopterOf(channel));
  }

  /**
   * Gives the connection up, for code without dispatchers or for another dispatcher.
   * This dispatcher leaves the map, and gets no further event.
   *
   * @returns A channel that reads what has arrived first. Accepted bytes go out
   * before what is written to it, also after its `close()`. Close it at the end.
   * @throws {Error} If it is not connected, at a handshake or has its streams; while
   * a producer is unfinished, or an overridden `send()` takes nothing.
   *
   * @example
   * ```ts
   * import { Dispatcher, poll } from "@asyncore/asyncore";
   * import { memoryPair } from "@asyncore/asyncore/testing";
   * import { assertEquals } from "@std/assert";
   *
   * const [ours, theirs] = memoryPair();
   * const first = new Dispatcher(ours);
   * await theirs.write(new Uint8Array([1, 2, 3]));
   * await poll(1_000);
   * first.recv(1);
   * const channel = first.detach();
   * const rest = new Uint8Array(9);
   * assertEquals(await channel.read(rest), 2);
   * channel.close();
   * ```
   */
  detach(): Channel {
    return new DetachedChannel(this[CONNECTION]("detach").handOver());
  }

  /** Does nothing: Deno reuses an address wherever the system makes that safe. */
  setReuseAddr(): void {}

  /**
   * Opens the listener. The real port is known at once: after
   * `bind({ hostname, port: 0 })` it is in {@linkcode Dispatcher.addr}.
   * Deno binds and listens in one step, so clients that come before
   * {@linkcode Dispatcher.listen} wait in the backlog.
   *
   * If this throws, the socket is as `createSocket()` made it, but out of the
   * map: a constructor that throws must not keep a loop going. It joins again
   * when another attempt succeeds, or by {@linkcode Dispatcher.addChannel}.
   *
   * @param address A host and a port (host by default `0.0.0.0`, port 0 for
   * any free one), or the path of a Unix socket.
   * @throws {TypeError} If the address does not fit the transport, or
   * `createSocket()` got an option for clients.
   * @throws {RangeError} If the port is out of range.
   * @throws {Deno.errors.AddrInUse} If a listener has the address already, or the
   * path names a file: a program that crashes leaves its own behind.
   * @throws {Deno.errors.NotCapable} If the permission to listen is missing.
   * @throws {Deno.errors.NotSupported} If this Deno has no `reusePort`.
   * @throws {Error} If there is no socket, or it is bound or connected.
   */
  bind(address: Address): void {
    this[OPEN]("bind", (socket) => {
      const checked = checkBind(address, this.#options, nameOf(this));
      const acceptor = listenOn(checked, this.#options, this.#map.network);
      const make = () => new Listener(socket, socket, acceptor);
      return received(make, "", acceptor); // Closes it if that fails.
    });
  }

  /**
   * Starts to take connections; `handleAccept()` runs for each. If this throws
   * before it listens, the address is free, and the dispatcher out of the map.
   *
   * @param backlog Has no effect; Python has it. The length of the queue is
   * {@linkcode SocketOptions.backlog}.
   * @throws {TypeError | RangeError} If `backlog` is not a number of 0 or more.
   * @throws {Error} If the dispatcher is not bound, or listens already.
   */
  listen(backlog: number = DEFAULT_BACKLOG): void {
    const entry = this[SOCKET]("listen");
    this.#attempt(() => {
      checkInteger("backlog", backlog, 0);
      boundListener(this, entry).listen();
    });
  }

  /**
   * Starts to connect. Then `handleConnect()` runs, or `handleError()` with the
   * reason, and after it `handleClose()`. If this throws, the dispatcher is out of
   * the map, as in {@linkcode Dispatcher.bind}.
   *
   * @param address A host (by default `127.0.0.1`) and a port, or the path of
   * a Unix socket; the `addr` of a listening dispatcher will do.
   * @param options A signal that ends connecting.
   * @throws {TypeError} If the address does not fit the transport, an option is
   * wrong, or `createSocket()` got one for listeners.
   * @throws {RangeError} If the port is out of range.
   * @throws {Error} If there is no socket, or it is in use.
   */
  connect(address: Address, options: ConnectOptions = {}): void {
    let target!: ConnectTarget;
    this[OPEN]("connect", (socket) => {
      target = checkConnect(address, this.#options, options);
      return new Connection(socket, socket);
    }).connect(this.#map.network, target);
  }

  /**
   * Takes the next waiting connection.
   *
   * @returns The connection and its address, or `null` if none waits.
   * @throws {Error} If the dispatcher does not listen.
   */
  override accept(): Accepted | null {
    return acceptFrom(this, this.#entry);
  }

  /**
   * Takes received bytes. At the end of the stream it runs `handleClose()` and
   * returns no bytes, as in Python.
   *
   * @param size The most bytes to take. If bytes are left, `handleRead()` runs
   * again.
   * @returns The bytes. They belong to the caller: nothing will overwrite them.
   * @throws {TypeError | RangeError} If `size` is not a positive integer.
   * @throws {Deno.errors.WouldBlock} If no bytes have arrived.
   * @throws {Error} If there is no connection, if reading has failed, or if earlier
   * bytes were dropped. The loop drops them if 64 KiB have waited for 5 s and the
   * class has no `handleRead()`.
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
   * @throws {Deno.errors.WouldBlock} If no bytes have arrived.
   * @throws {Error} As in {@linkcode Dispatcher.recv}.
   */
  recvInto(target: Uint8Array): number {
    checkBytes("target", target);
    checkInteger("target.length", target.length, 1);
    return this[CONNECTION]("receive").receiveInto(target);
  }

  /**
   * Accepts all of the bytes, or none: look at the result, and keep `data` if
   * it is 0. Accepted bytes go out by themselves, even after
   * {@linkcode Dispatcher.close}. The caller may change `data` afterwards.
   *
   * @param data Bytes, or text as UTF-8.
   * @returns How many bytes were accepted. It is 0 before the connection is
   * established, after it is over, and while 64 KiB are on their way (or twice the
   * {@linkcode Channel.chunkSize} of the channel, if it has one).
   * @throws {TypeError} If `data` is neither bytes nor text.
   * @throws {Error} If there was no `connect()` and no connection.
   */
  override send(data: Uint8Array | string): number {
    const bytes = data instanceof Uint8Array ? data : toBytes("data", data);
    return this[CONNECTION]("send").send(bytes);
  }

  /**
   * Ends the writing direction when all accepted bytes have gone out. The peer
   * then reads the end of the stream, and can still send. This side can send no
   * more bytes.
   *
   * @throws {Error} If there was no `connect()` and no connection.
   */
  override shutdownWrite(): void {
    this[CONNECTION]("shut down writing").shutdownWrite();
  }

  /**
   * Turns the plain TCP connection of a client into a TLS connection, as STARTTLS
   * does in SMTP and IMAP. No event comes until the handshake is done; bytes that
   * are sent meanwhile go out encrypted. If the handshake fails, `handleError()`
   * and `handleClose()` run.
   *
   * @param options The name to check, certificate authorities and the like.
   * @returns A promise that settles with the handshake: await it in an async hook.
   * @throws {TypeError} If an option has the wrong type.
   * @throws {Error} If it is not connected, or if unencrypted bytes are under way:
   * a read (so call it inside of `handleRead()` or `handleConnect()`), or unsent
   * bytes. The plain connection then goes on. The connection is over if bytes wait
   * unread behind the server's answer, which is an attack, if the name is empty or
   * TLS refuses it, such as `[::1]`, or if its network has no TLS: `epollNetwork`.
   */
  startTls(options: StartTlsOptions = {}): Promise<void> {
    return requestTls(this, options);
  }

  /**
   * Leaves the map at once. Accepted bytes still go out (see
   * {@linkcode DispatcherOptions.linger}), and `loop()` waits for that. No hook
   * runs afterwards. A second call does nothing.
   *
   * Deno needs a turn to give a listener's address back. The address is free when
   * `loop()`, `poll()` or `shutdown()` has returned, and when a later timer runs.
   *
   * An override must call `super.close()`, and may be async. If it does not call
   * it, the loop closes the connection, and warns once for each class.
   */
  override close(): void {
    this.#timers?.end();
    closeSocket(this, this.#entry);
  }

  /**
   * Closes at once, and drops unsent bytes without a warning. Bytes that the peer
   * has not yet read may be lost, too. After {@linkcode Dispatcher.close}, it ends
   * the lingering.
   */
  override abort(): void {
    this.#entry?.abort();
    this.#timers?.end();
  }

  /** Closes the dispatcher: `using client = new Client()`. */
  [Symbol.dispose](): void {
    const entry = this.#entry;
    if (!this.#map[REACTOR].follow(this.close())) entry?.closeAnyway();
  }

  /**
   * Joins a map, with its timers. A dispatcher is in one map at a time, so it
   * leaves the other one.
   *
   * @param map The map; by default, and for `null`, the dispatcher's own.
   * @throws {TypeError} If it is no `SocketMap`.
   * @throws {Error} If there is no socket.
   */
  addChannel(map: SocketMap | null = this.#map): void {
    const joined = mapOf(map ?? this.#map);
    const entry = this[SOCKET]("add a channel");
    this.#map = joined;
    entry.join(joined[REACTOR]);
  }

  /**
   * Leaves the map without closing. The events of the time until
   * {@linkcode Dispatcher.addChannel} come after it. Accepted bytes still go out,
   * timers run, and the {@linkcode DispatcherOptions.lifetime} counts. As in
   * Python, {@linkcode Dispatcher.close} calls an override of this first.
   *
   * @param map If it is not the dispatcher's map, the call does nothing.
   * @throws {TypeError} If it is no `SocketMap`.
   */
  delChannel(map: SocketMap | null = this.#map): void {
    if (mapOf(map ?? this.#map) !== this.#map) return;
    this.#entry?.reactor.leave(this.#entry);
  }

  /**
   * {@linkcode SocketMap.callLater}, cancelled when the dispatcher closes.
   *
   * @param delay In milliseconds.
   * @throws {TypeError | RangeError} If an argument is wrong.
   */
  callLater(delay: number, callback: () => unknown): Timer {
    return startTimer(this.#map, delay, callback, false, this.#ownTimers);
  }

  get #ownTimers(): TimerGroup {
    return this.#entry?.timers ?? (this.#timers ??= new TimerGroup());
  }

  /**
   * {@linkcode SocketMap.callEvery}, cancelled when the dispatcher closes.
   *
   * @param interval In milliseconds.
   * @throws {TypeError | RangeError} If an argument is wrong.
   */
  callEvery(interval: number, callback: () => unknown): Timer {
    return startTimer(this.#map, interval, callback, true, this.#ownTimers);
  }

  /** @ignore */
  override get [ENTRY](): Socket | null {
    return this.#entry;
  }

  /** @ignore */
  override get [MAP](): SocketMap {
    return this.#map;
  }

  /** @ignore */
  override [GATE](): GateKind { // For the bytes of its streams.
    if (this.writable !== Dispatcher.prototype.writable) return "writable";
    return this.send === Dispatcher.prototype.send ? "none" : "send";
  }

  /** @ignore */
  get [CURRENT](): Connection | null {
    return this.#entry instanceof Connection ? this.#entry : null;
  }

  /** @ignore */
  [CONNECTION](action: string): Connection {
    const entry = this.#entry; // The usual case, without a call:
    if (entry instanceof Connection && entry.former === null) return entry;
    return connectionOf(this, entry, action);
  }

  /** @ignore */
  [SOCKET](action: string): Socket {
    return openSocket(this, this.#entry, action);
  }

  /** @ignore */
  [OPEN]<T extends Socket>(
    action: "bind" | "connect",
    make: (socket: Socket) => T,
  ): T {
    const socket = this[SOCKET](action);
    if (socket.phase !== "created") {
      throw new Error(`Cannot ${action}: ${this} is ${socket.phase} already`);
    }
    return this.#attempt(() => this.#entry = socket.become(make(socket)));
  }

  /** Opens the socket. If that fails, the socket is as it was when it was created. */
  #attempt<T>(open: () => T): T {
    try {
      return open();
    } catch (error) {
      this.#entry = failedSocket(this.#entry!);
      throw error;
    }
  }

  /** Makes a new socket, and joins the map. */
  #begin(
    action: string,
    options: SocketOptions,
    make: (parts: SocketParts) => Socket,
  ): void {
    checkClosed(this, this.#entry, action);
    const entry = make({
      pollable: this,
      reactor: this.#map[REACTOR],
      options: socketSettings(this.#settings, options),
      timers: this.#timers?.ended ? null : this.#timers,
    });
    this.#timers = null;
    this.#options = options;
    if (this.#entry !== null) entry.succeed(this.#entry);
    this.#entry = entry;
    this.addChannel();
  }
}

/**
 * A dispatcher whose {@linkcode DispatcherWithSend.send} accepts all bytes at any
 * time, and sends them when the peer takes them.
 */
export class DispatcherWithSend extends Dispatcher {
  readonly #mark: HighWaterMark;

  /**
   * Makes a dispatcher; with a channel it joins the map at once.
   *
   * @param channel As for {@linkcode Dispatcher}.
   * @param options As for {@linkcode Dispatcher}, and the mark.
   * @throws {TypeError} If the channel lacks a method or an option is wrong.
   * @throws {RangeError} If a number is out of range.
   * @throws {Error} As {@linkcode Dispatcher.setSocket}.
   */
  constructor(
    channel: Channel | Acceptor | null = null,
    options: DispatcherWithSendOptions = {},
  ) {
    const mark = new HighWaterMark(options?.highWaterMark);
    super(channel, options);
    this.#mark = mark;
  }

  /** How many accepted bytes wait to be sent. */
  get bufferedAmount(): number {
    return this[CURRENT]?.pending ?? 0;
  }

  /**
   * A sender should pause when so many bytes are buffered, and wait for
   * {@linkcode DispatcherWithSend.handleDrain}. A new number holds at once, even
   * for bytes that are buffered already.
   *
   * @default {65_536}
   */
  get highWaterMark(): number {
    return this.#mark.bytes;
  }
  set highWaterMark(bytes: number) {
    this.#mark.bytes = bytes;
    const connection = this[CURRENT];
    connection?.lookAgain();
    if (this.bufferedAmount >= bytes || connection?.awaitsWake) {
      this.#watch(connection!);
    }
  }

  /**
   * Accepts all of `data`, even while connecting. The caller may change `data`
   * afterwards. An override sees the bytes now, not when they go out, as in Python.
   *
   * @param data Bytes, or text as UTF-8.
   * @returns How many bytes were accepted: all, or 0 when the connection is
   * over.
   * @throws {TypeError} If `data` is neither bytes nor text.
   * @throws {Error} If there was no `connect()` and no connection.
   * @throws What an overridden `writable()` throws. The bytes wait.
   */
  override send(data: Uint8Array | string): number {
    const bytes = toBytes("data", data);
    const connection = this[CONNECTION]("send");
    if (this.debug) {
      connection.reactor.follow(this.logInfo(`sending ${preview(bytes)}`));
    }
    const accepted = connection.buffer(bytes);
    if (connection.pending >= this.#mark.bytes) this.#watch(connection);
    connection.reactor.follow(this.initiateSend());
    return accepted;
  }

  /** The mark is reached: handleDrain() runs when half of it or less is left. */
  #watch(connection: Connection): void {
    this.#mark.note(connection, Infinity);
    connection.wakeBelow(this.#mark.low);
  }

  /** @ignore */
  override [GATE](): GateKind {
    const isPlain = this.writable === DispatcherWithSend.prototype.writable;
    return isPlain ? "none" : "writable";
  }

  /** @ignore */
  override [SEND_THROUGH](data: Uint8Array): number {
    return this[CURRENT]!.send(data.subarray(0, PIECE)); // An override has seen it.
  }

  /** @ignore */
  override [WAKE](): HookResult {
    const connection = this[CURRENT]!;
    if (connection.sendsOnWake) connection.reactor.follow(this.initiateSend());
    const isDrained = this.#mark.takeDrain(connection, connection.pending);
    if (isDrained) return this.handleDrain();
    if (this.#mark.isReachedBy(connection)) this.#watch(connection);
  }

  /**
   * Starts to send the buffered bytes. `send()` calls it. If several dispatchers
   * have a turn in this pass, the bytes go out after all their hooks. If the class
   * overrides {@linkcode DispatcherWithSend.writable}, the bytes go out in pieces of
   * at most 64 KiB, and before each piece `writable()` is asked.
   *
   * @throws What an overridden `writable()` throws.
   */
  initiateSend(): void {
    this[CURRENT]?.sendSoon();
  }

  /**
   * Whether to read. If its {@linkcode DispatcherOptions.role} is `"server"`, a
   * connection does not read while {@linkcode DispatcherWithSend.highWaterMark}
   * bytes or more wait to be sent. Override it to decide otherwise.
   */
  override readable(): boolean {
    const isFull = this.bufferedAmount >= this.#mark.bytes;
    return this[CURRENT]?.mayRead(isFull) ?? true;
  }

  /**
   * Whether bytes wait to be sent, or the connection is not yet established. While
   * an override answers `false`, nothing that is buffered goes out. After
   * {@linkcode Dispatcher.close}, all of it goes out without a question.
   */
  override writable(): boolean {
    return !this.connected || this.bufferedAmount > 0;
  }

  /** Goes on sending. */
  override handleWrite(): HookResult {
    this[MAP][REACTOR].follow(this.initiateSend());
  }

  /**
   * Runs when {@linkcode DispatcherWithSend.bufferedAmount} has fallen from
   * `highWaterMark` or more to half of it or less: the sender may go on.
   */
  handleDrain(): HookResult {}
}

nameOptions<DispatcherOptions>(Dispatcher, DISPATCHER_OPTIONS);
nameOptions<DispatcherWithSendOptions>(DispatcherWithSend, WITH_SEND_OPTIONS);
libraryMethods.set(Dispatcher.prototype.close, "plain");
libraryMethods.set(Dispatcher.prototype.delChannel, "plain");
for (const name of ["readable", "writable", "handleWrite"] as const) {
  libraryMethods.set(DispatcherWithSend.prototype[name], "buffering");
}
