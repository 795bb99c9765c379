/**
 * Sockets as objects with hooks: {@linkcode Dispatcher}, and
 * {@linkcode DispatcherWithSend}, which buffers what it sends.
 *
 * @module
 */

import {
  checkBoolean,
  checkBytes,
  checkInteger,
  checkMilliseconds,
  checkOptions,
  checkText,
  showValue,
} from "./core/arguments.ts";
import {
  type Acceptor,
  asAcceptor,
  asChannel,
  type Channel,
  received,
} from "./core/channel.ts";
import {
  Endpoint,
  type EndpointOptions,
  type Owner,
  type Role,
} from "./core/connection.ts";
import {
  type Accepted,
  DispatcherHooks,
  type TimeLimits,
} from "./core/dispatcher_hooks.ts";
import { warnOfForgottenClose, watchClose } from "./core/forgotten_close.ts";
import type { Hook } from "./core/hooks.ts";
import { interestOf, ownMethods } from "./core/interest.ts";
import { nameOf, preview } from "./core/log.ts";
import {
  checkMap,
  checkMapOptions,
  defaultMap,
  SocketMap,
  startTimer,
  type Timer,
} from "./loop.ts";
import {
  type Address,
  checkTls,
  explain,
  parseAddress,
  type SocketOptions,
  type TlsOptions,
} from "./core/network.ts";
import { warn } from "./core/own_lines.ts";
import { refuseTls } from "./core/refused_tls.ts";
import { CONNECTION, ENTRY, LIMITS, MAP, REACTOR } from "./core/symbols.ts";
import { TimerGroup } from "./core/timers.ts";

export { type Accepted, DispatcherHooks } from "./core/dispatcher_hooks.ts";
export { compactTraceback } from "./core/log.ts";
export type { TimeoutKind } from "./core/limits.ts";

/** Options of a {@linkcode Dispatcher}. */
export interface DispatcherOptions {
  /**
   * The map that the dispatcher joins when it has a socket.
   *
   * @default {socketMap}
   */
  map?: SocketMap;
  /**
   * How long, in milliseconds, a closed connection waits for a peer that neither
   * takes, sends nor ends anything. What was accepted goes out, the writing
   * direction ends, and what the peer still sends is read and dropped until that
   * ends its side, too: a TCP connection that is closed with unread bytes is
   * reset, and its peer loses what it has not yet read, megabytes perhaps. A
   * peer that goes on talking and takes nothing is cut after six times as long.
   * What is lost is said in a warning.
   *
   * A connection that has sent nothing waits for nothing, and a Unix socket or a
   * file only until all is written. At 0, `close()` drops what was not sent.
   *
   * @default {5_000}
   */
  linger?: number;
  /**
   * Whether writing goes on when the peer has ended its side. Then `recv()` at
   * the end of the stream runs {@linkcode Dispatcher.handleEnd} instead of
   * `handleClose()`, which follows when both sides have ended.
   *
   * @default {false}
   */
  allowHalfOpen?: boolean;
  /**
   * Which side of the conversation this one is, for classes that buffer what
   * they send ({@linkcode DispatcherWithSend}, {@linkcode AsyncChat}). A
   * `"server"` is not read while {@linkcode
   * DispatcherWithSendOptions.highWaterMark} bytes wait to be sent: a peer that
   * asks and never takes the answers costs no more memory than that. A
   * `"client"` is always read: one that sends many requests before it takes the
   * answers would wait for ever for a server that does the same.
   *
   * A connection that was not read for five seconds for that reason, while its
   * peer took nothing, is warned of once.
   *
   * @default {`"client"` for what `connect()` makes; else `"server"`: for what
   * a listener accepted, in a wrapper or not, and for channels from elsewhere}
   */
  role?: "server" | "client";
  /**
   * How long, in milliseconds, a connection may stand without anything being
   * read or written, before {@linkcode Dispatcher.handleTimeout} runs. The time
   * in which a hook's promise is pending, or the dispatcher is in no map, does
   * not count. A move to a map with another clock starts it anew.
   *
   * @default {Infinity}
   */
  idleTimeout?: number;
  /**
   * How long, in milliseconds, a connection may last in all, before
   * {@linkcode Dispatcher.handleTimeout} runs: against a peer that sends or
   * takes a byte now and then. It is the one limit that waits for nobody: while
   * a hook's promise is pending, or the dispatcher is in no map, the connection
   * is ended at its time, and `handleTimeout()` and `handleClose()` follow when
   * they may. When it is over, a closed connection lingers for at most one more
   * {@linkcode DispatcherOptions.linger}.
   *
   * @default {Infinity}
   */
  lifetime?: number;
}

/** Options of {@linkcode Dispatcher.startTls}. */
export interface StartTlsOptions extends Omit<TlsOptions, "cert" | "key"> {
  /**
   * The name that the peer's certificate must be for.
   *
   * @default {the host that `connect()` was given}
   */
  hostname?: string;
}

/** Options of a {@linkcode DispatcherWithSend}. */
export interface DispatcherWithSendOptions extends DispatcherOptions {
  /**
   * How many bytes that were accepted and wait to be sent are many.
   *
   * @default {65_536}
   */
  highWaterMark?: number;
}

const DEFAULT_BACKLOG = 511;
/** In ms; at 0, which elsewhere means "never", nothing could ever be read. */
const SHORTEST_TIMEOUT = 1;

/**
 * A socket as an object with hooks. Derive a class, override the hooks you
 * care for, and let {@linkcode loop} drive it. The hooks, the predicates and the
 * log are documented with {@linkcode DispatcherHooks}.
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
  static readonly #owner: Owner = {
    interest: (of) => interestOf(of as Dispatcher),
    warn: (of, message, about) => warn(of as Dispatcher, message, about),
    handleEnd: (of) => (of as Dispatcher).handleEnd(),
    handleTimeout: (of, kind) => (of as Dispatcher).handleTimeout(kind),
    handleShutdown: (of) => (of as Dispatcher).handleShutdown(),
    watchClose: (of) => watchClose(of as Dispatcher),
    closeForgotten: (of) => warnOfForgottenClose(of as Dispatcher),
  };

  readonly #life: Life;
  #map: SocketMap;
  #endpoint: Endpoint | null = null;
  /** The socket before, while the hook in which it was closed goes on. */
  #former: Endpoint | null = null;
  #options: NamedOptions = NO_OPTIONS;
  /** Those that were started before there was a socket to end with. */
  #timers: TimerGroup | null = null;

  /**
   * Makes a dispatcher; with a channel it joins the map at once.
   *
   * @param channel A connection (then {@linkcode Dispatcher.connected} is
   * true), a listener (then {@linkcode Dispatcher.accepting} is true), or
   * nothing: {@linkcode Dispatcher.createSocket} makes one later.
   * @param options The map, and how long things may take.
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
    this.#life = lifeOf(options);
    if (channel !== null) this.setSocket(channel);
  }

  // State

  /** What is wrapped; `null` before it is there and after `close()`. */
  get socket(): Channel | Acceptor | null {
    const endpoint = this.#endpoint;
    if (endpoint === null || endpoint.closed) return null;
    return endpoint.channel ?? endpoint.acceptor;
  }

  /**
   * The error that ended the connection, such as a
   * `Deno.errors.ConnectionReset`; `null` while it stands, and when the peer
   * ended it in good order. Python does not tell.
   */
  get closeReason(): Error | null {
    return this.#endpoint?.closeReason ?? null;
  }

  /** The map that the dispatcher belongs to. */
  get map(): SocketMap {
    return this.#map;
  }

  /** How many clients were gone again before this listener could accept them. */
  get clientsGone(): number {
    return this.#endpoint?.accepting?.clientsGone ?? 0;
  }

  // Sockets

  /**
   * Makes a socket and joins the map, as in Python; {@linkcode Dispatcher.bind}
   * or {@linkcode Dispatcher.connect} says what it becomes. After `close()`, a
   * dispatcher can make another one.
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
   * Takes over a connection or a listener that is there already, and joins
   * the map.
   *
   * @param channel What to wrap; the dispatcher will close it.
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
   * makes that safe. Here for programs that come from Python.
   */
  setReuseAddr(): void {}

  /**
   * Opens the listener. The real port is known right after:
   * `bind({ hostname, port: 0 })` puts it into {@linkcode Dispatcher.addr}.
   * Deno binds and listens in one step, so clients that come before
   * {@linkcode Dispatcher.listen} wait in the backlog.
   *
   * If this throws, the socket is as `createSocket()` made it, but out of the
   * map, since nobody may hold a dispatcher whose constructor has thrown. It is
   * back when another attempt succeeds, or by {@linkcode Dispatcher.addChannel}.
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
   * @throws {Deno.errors.NotSupported} If `reusePort` cannot be had here.
   * @throws {Error} If there is no socket, or it is bound or connected.
   */
  bind(address: Address): void {
    const endpoint = this.#open("bind");
    if (endpoint.phase !== "created") {
      throw new Error(`Cannot bind: ${this} is ${endpoint.phase} already`);
    }
    endpoint.attempt(() => {
      const { transport = "tcp" } = this.#options;
      const parsed = parseAddress(address, { action: "bind", transport });
      refuseOptions(
        ["connectTimeout"],
        this.#options,
        "is for clients, and this socket is to listen",
      );
      endpoint.bind(this.#listenOn(parsed));
    });
  }

  #listenOn(address: Deno.Addr): Acceptor {
    const tls = this.#tls();
    if (tls && !tls.cert) {
      throw new TypeError(
        `Cannot bind: ${nameOf(this)} needs tls.cert and tls.key to listen`,
      );
    }
    if (tls?.caCerts || tls?.unsafelyDisableHostnameVerification) {
      throw new TypeError(
        "Cannot bind: tls.caCerts and tls.unsafelyDisableHostnameVerification " +
          "are for clients: a server asks for no certificate",
      );
    }
    const { backlog = DEFAULT_BACKLOG, reusePort = false } = this.#options;
    const { network } = this.#map;
    try {
      const acceptor = network.listen(address, { backlog, reusePort, tls });
      return received(asAcceptor, "The network's listener", acceptor);
    } catch (error) {
      explain(error, "listen on", address);
      throw error;
    }
  }

  /**
   * Starts to take connections: each is a `handleAccept()`. If this throws
   * before the dispatcher listens, what was bound is given back, as in
   * {@linkcode Dispatcher.bind}.
   *
   * @param backlog Accepted for compatibility with Python. The length of the
   * queue is {@linkcode SocketOptions.backlog}.
   * @throws {TypeError | RangeError} If `backlog` is not a number of 0 or more.
   * @throws {Error} If the dispatcher is not bound, or listens already.
   */
  listen(backlog: number = DEFAULT_BACKLOG): void {
    const endpoint = this.#open("listen");
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
    const endpoint = this.#open("connect");
    if (endpoint.phase !== "created") {
      throw new Error(
        `Cannot connect: ${this} is ${endpoint.phase} already`,
      );
    }
    endpoint.attempt(() => {
      const { transport = "tcp" } = this.#options;
      const parsed = parseAddress(address, { action: "connect", transport });
      refuseOptions(
        ["backlog", "reusePort", "maxConnections"],
        this.#options,
        "is for listeners, and this socket is to connect",
      );
      if ("hostname" in parsed) {
        this.#options = { ...this.#options, hostname: parsed.hostname };
      }
      endpoint.connect(parsed, this.#map.network, this.#tls());
    });
  }

  /**
   * Takes the connection that waits.
   *
   * @returns The connection and its address, or `null` if none waits.
   * @throws {Error} If the dispatcher does not listen.
   */
  override accept(): Accepted | null {
    const endpoint = this.#endpoint;
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
   * @param size The most bytes to take. What is left brings another
   * `handleRead()`.
   * @returns The bytes, the caller's own: nothing will overwrite them.
   * @throws {TypeError | RangeError} If `size` is not a positive integer.
   * @throws {Deno.errors.WouldBlock} If nothing has arrived.
   * @throws {Error} If there is no connection, or reading it has failed; or if
   * earlier bytes were dropped: a class without `handleRead()` that leaves 64 KiB
   * waiting is taken for one that never receives.
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
   * earlier bytes were dropped: a class without `handleRead()` that leaves 64 KiB
   * waiting is taken for one that never receives.
   */
  recvInto(target: Uint8Array): number {
    checkBytes("target", target);
    checkInteger("target.length", target.length, 1);
    return this[CONNECTION]("receive").receiveInto(target);
  }

  /**
   * Accepts bytes to be sent. What is accepted goes out by itself, also after
   * {@linkcode Dispatcher.close}; the caller may change `data` afterwards.
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
   * Ends the writing direction when all that was accepted has gone out: the
   * peer reads the end of the stream, and can still send. Nothing can be sent
   * afterwards.
   *
   * @throws {Error} If there was no `connect()` and no connection.
   */
  override shutdownWrite(): void {
    this[CONNECTION]("shut down writing").shutdownWrite();
  }

  /**
   * Turns the plain TCP connection of a client into a TLS one, as STARTTLS does
   * in SMTP and IMAP. No event comes until the handshake is done; what is sent
   * meanwhile goes out encrypted. If the handshake fails, the connection is
   * over: `handleError()`, then `handleClose()`.
   *
   * @param options The name to check, and what to secure the connection with.
   * @returns A promise of the end of the handshake: await it in an async hook.
   * @throws {TypeError} If an option has the wrong type.
   * @throws {Error} If it is not connected, or something unencrypted is under
   * way: a read (so call it inside of `handleRead()` or `handleConnect()`), or
   * bytes not sent. The plain connection goes on. Bytes that wait unread behind
   * the server's answer are an attack: then the connection is over. So it is
   * where the name is empty or one that TLS refuses, such as `[::1]`.
   */
  startTls(options: StartTlsOptions = {}): Promise<void> {
    try {
      checkTls(options);
      if ((options as TlsOptions).cert !== undefined) {
        throw new TypeError(
          'Cannot start TLS with a certificate: Deno shows one only on a socket of transport "tls"',
        );
      }
      const { hostname = this.#peerName, ...tls } = options;
      const endpoint = this[CONNECTION]("start TLS");
      if (!endpoint.closed && hostname === "") {
        // Deno would check the name "localhost" instead.
        const message = "Cannot start TLS: hostname must not be empty";
        return endpoint.refuseTls(new TypeError(message));
      }
      if (!endpoint.closed) checkText("hostname", hostname);
      return endpoint.startTls(this.#map.network, hostname, tls);
    } catch (error) {
      return refuseTls(this, error);
    }
  }

  /**
   * Leaves the map now. Bytes that {@linkcode Dispatcher.send} accepted still
   * go out, see {@linkcode DispatcherOptions.linger}, and `loop()` does not end
   * before. No hook runs afterwards. A second call does nothing.
   *
   * A listener's address is free when `loop()`, `poll()` or `shutdown()` has
   * returned, and in a later timer: Deno takes a turn of its own to give it back.
   *
   * An override calls `super.close()`, and may be async. Where one forgets to,
   * the loop closes the connection and says so once for each class.
   */
  override close(): void {
    this.#endpoint?.close();
    this.#timers?.end();
  }

  /**
   * Closes at once, and drops what was not sent, without a warning. What the peer
   * has not yet read may be lost, too. After {@linkcode Dispatcher.close} it cuts
   * the lingering short.
   */
  override abort(): void {
    this.#endpoint?.abort();
    this.#timers?.end();
  }

  /** Closes: `using client = new Client()`. */
  [Symbol.dispose](): void {
    const endpoint = this.#endpoint;
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
    const endpoint = this.#open("add a channel");
    this.#map = map;
    endpoint.join(map[REACTOR]);
  }

  /**
   * Leaves the map without closing: no event comes until
   * {@linkcode Dispatcher.addChannel}, which brings what has happened meanwhile.
   * What was accepted still goes out, timers run, and the
   * {@linkcode DispatcherOptions.lifetime} counts.
   *
   * @param map Another map than that of the dispatcher changes nothing.
   * @throws {TypeError} If it is no `SocketMap`.
   */
  delChannel(map: SocketMap = this.#map): void {
    checkMap(map);
    if (map !== this.#map) return;
    const endpoint = this.#endpoint;
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
    return startTimer(this.#map, delay, callback, false, this.#ownTimers);
  }

  get #ownTimers(): TimerGroup {
    return this.#endpoint?.timers ?? (this.#timers ??= new TimerGroup());
  }

  /**
   * {@linkcode SocketMap.callEvery}, cancelled when the dispatcher closes.
   *
   * @param interval In milliseconds.
   * @throws {TypeError | RangeError} If an argument is wrong.
   */
  callEvery(interval: number, callback: () => void | Promise<void>): Timer {
    return startTimer(this.#map, interval, callback, true, this.#ownTimers);
  }

  /** The open endpoint, or an error that says what is missing. */
  #open(action: string): Endpoint {
    const endpoint = this.#endpoint;
    if (endpoint && !endpoint.closed) return endpoint;
    throw new Error(
      `Cannot ${action}: ${
        nameOf(this)
      } has no socket: call createSocket() first`,
    );
  }

  /**
   * The socket's present life.
   *
   * @internal
   */
  override get [ENTRY](): Endpoint | null {
    return this.#endpoint;
  }

  /**
   * How long a connection may last.
   *
   * @internal
   */
  override get [LIMITS](): TimeLimits {
    return this.#life;
  }

  /**
   * The map, which an override of `map` cannot hide.
   *
   * @internal
   */
  override get [MAP](): SocketMap {
    return this.#map;
  }

  /**
   * The same, if it has a peer, will have one or had one.
   *
   * @internal
   * @throws {Error} If it has none.
   */
  [CONNECTION](action: string): Endpoint {
    const endpoint = this.#endpoint;
    const phase = endpoint?.phase;
    const former = this.#former;
    if (former !== null) {
      // A hook in whose midst handleClose() made a new socket, as recv() may run
      // it, goes on talking to its own peer.
      const { isBusy, isCloseDone } = former.hooks;
      if (!isBusy) this.#former = null;
      else if (isCloseDone || phase === "created") return former;
    }
    if (phase === "connected" || phase === "connecting" || phase === "closed") {
      return endpoint!;
    }
    const advice = phase === undefined || phase === "created"
      ? "call connect() first"
      : `it is ${phase}`;
    throw new Error(
      `Cannot ${action}: ${nameOf(this)} is not connected: ${advice}`,
    );
  }

  /** The host that was asked for, or the address of one that came. */
  get #peerName(): string {
    const { addr } = this;
    const { hostname } = this.#options;
    return hostname || (addr && "hostname" in addr ? addr.hostname : "");
  }

  /** What to secure the socket with, if it is to be TLS. */
  #tls(): TlsOptions | undefined {
    const { transport, tls = {} } = this.#options;
    return transport === "tls" ? tls : undefined;
  }

  #create(action: string, options: SocketOptions = NO_OPTIONS): Endpoint {
    if (this.#endpoint && !this.#endpoint.closed) {
      throw new Error(
        `Cannot ${action}: ${this} has one already: call close() first`,
      );
    }
    const timers = this.#timers?.ended ? null : this.#timers;
    this.#timers = null;
    this.#options = options;
    const endpoint = new Endpoint(
      this,
      Dispatcher.#owner,
      this.#map[REACTOR],
      timers,
      endpointOptions(this.#life, options),
    );
    // No two hooks at a time, also where they belong to different sockets.
    if (this.#endpoint?.hooks.isBusy) this.#former = this.#endpoint;
    if (this.#former?.hooks.isBusy) this.#former.hooks.precede(endpoint.hooks);
    else this.#former = null;
    this.#endpoint = endpoint;
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
   * How many buffered bytes are many: a sender should stop at this number and
   * wait for {@linkcode DispatcherWithSend.handleDrain}. In bytes. A new number
   * holds at once, for what is buffered already too.
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
   * Starts to send what is buffered; `send()` calls it. In a pass in which
   * several dispatchers have their turns, that waits for their hooks.
   */
  initiateSend(): void {
    const endpoint = this[ENTRY];
    endpoint?.reactor.sendSoon(endpoint);
  }

  /**
   * Whether to read: a {@linkcode DispatcherOptions.role} of `"server"` does
   * not while as many bytes as {@linkcode DispatcherWithSend.highWaterMark} wait
   * to be sent. Override it to decide otherwise.
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
   * `highWaterMark` or more to half of it or less: go on sending.
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

/** What every connection of a dispatcher begins with. */
type Life = Required<Omit<DispatcherOptions, "map" | "role">> & {
  role: Role | undefined;
};

/** What a socket was made with, and the host that it is to be connected to. */
interface NamedOptions extends SocketOptions {
  hostname?: string;
}

const NO_OPTIONS: NamedOptions = {};
/** Most dispatchers have no options, and share these. */
const DEFAULT_LIFE: Life = {
  linger: 5_000,
  allowHalfOpen: false,
  role: undefined,
  idleTimeout: Infinity,
  lifetime: Infinity,
};
const DEFAULTS: EndpointOptions = {
  ...DEFAULT_LIFE,
  connectTimeout: Infinity,
  handshakeTimeout: 10_000,
  maxConnections: Infinity,
};

function endpointOptions(life: Life, options: SocketOptions): EndpointOptions {
  if (life === DEFAULT_LIFE && options === NO_OPTIONS) return DEFAULTS;
  const { connectTimeout = DEFAULTS.connectTimeout } = options;
  const { handshakeTimeout = DEFAULTS.handshakeTimeout } = options;
  const { maxConnections = DEFAULTS.maxConnections } = options;
  return { ...life, connectTimeout, handshakeTimeout, maxConnections };
}

/** Checks the options that every connection of a dispatcher begins with. */
function lifeOf(options: DispatcherOptions): Life {
  const { linger = DEFAULT_LIFE.linger } = options;
  const { allowHalfOpen = DEFAULT_LIFE.allowHalfOpen } = options;
  const { role, idleTimeout = Infinity, lifetime = Infinity } = options;
  const isDefault = linger === DEFAULT_LIFE.linger && allowHalfOpen === false &&
    role === undefined && idleTimeout === Infinity && lifetime === Infinity;
  if (isDefault) return DEFAULT_LIFE;
  checkMilliseconds("linger", linger);
  checkBoolean("allowHalfOpen", allowHalfOpen);
  checkMilliseconds("idleTimeout", idleTimeout, { min: SHORTEST_TIMEOUT });
  checkMilliseconds("lifetime", lifetime, { min: SHORTEST_TIMEOUT });
  if (role !== undefined && role !== "server" && role !== "client") {
    throw new TypeError(
      `role must be "server" or "client", got ${showValue(role)}`,
    );
  }
  return { linger, allowHalfOpen, role, idleTimeout, lifetime };
}

const TRANSPORTS: readonly unknown[] = ["tcp", "tls", "unix", "vsock"];

/** What somebody wants who comes from Python, or gives the transport alone. */
function hintFor(options: unknown): string {
  if (typeof options === "number") {
    return ": the family and the type of a socket, as Python has them, are not " +
      'needed: createSocket() is for TCP, createSocket({ transport: "unix" }) ' +
      "for Unix sockets, and a DatagramDispatcher for UDP";
  }
  if (!TRANSPORTS.includes(options)) return "";
  return `: createSocket({ transport: ${showValue(options)} })`;
}

function checkSocketOptions(options: SocketOptions): void {
  checkOptions(options, hintFor(options));
  const { transport = "tcp", tls, backlog = DEFAULT_BACKLOG } = options;
  if (!TRANSPORTS.includes(transport)) {
    throw new TypeError(
      `transport must be "tcp", "tls", "unix" or "vsock", got ${
        showValue(transport)
      }`,
    );
  }
  if (tls !== undefined) {
    checkTls(tls);
    if (transport !== "tls") {
      throw new TypeError(`tls is for transport "tls", got "${transport}"`);
    }
  }
  checkInteger("backlog", backlog, 1, 0x7fffffff);
  checkInteger("maxConnections", options.maxConnections ?? Infinity, 1);
  const { reusePort = false } = options;
  const { connectTimeout = Infinity, handshakeTimeout = Infinity } = options;
  checkBoolean("reusePort", reusePort);
  if (transport === "unix" || transport === "vsock") {
    refuseOptions(
      ["backlog", "reusePort"],
      options,
      `has no effect on transport "${transport}"`,
    );
  }
  checkMilliseconds("connectTimeout", connectTimeout);
  checkMilliseconds("handshakeTimeout", handshakeTimeout);
}

/** Refuses options that would be ignored: somebody relies on them. */
function refuseOptions(
  names: readonly (keyof SocketOptions)[],
  options: SocketOptions,
  reason: string,
): void {
  const isGiven = (name: keyof SocketOptions) =>
    options[name] !== undefined && options[name] !== false;
  const name = names.find(isGiven);
  if (name !== undefined) {
    throw new TypeError(`${name} ${reason}: leave it out`);
  }
}

/** Python's `dispatcher(map=…)` has no socket; here, that comes first. */
function refuseOptionsFirst(channel: unknown): void {
  const isPlain = typeof channel === "object" && channel !== null &&
    Object.getPrototypeOf(channel) === Object.prototype;
  const methods = ["read", "write", "close", "accept"];
  const isOptions = channel instanceof SocketMap ||
    isPlain && !methods.some((name) => name in channel);
  if (!isOptions) return;
  throw new TypeError(
    `channel must be a channel, a listener or null, got ${
      showValue(channel)
    }: ` +
      "options come second, as in new Dispatcher(null, { map })",
  );
}

function isAcceptor(channel: Channel | Acceptor): channel is Acceptor {
  return typeof (channel as Acceptor | null)?.accept === "function";
}
