/**
 * Python's `asyncore` and `asynchat`, rebuilt for Deno: sockets and files are
 * objects with hooks, and the program owns the loop that drives them.
 *
 * Derive a class from {@linkcode Dispatcher}, override the hooks that you need
 * (`handleConnect`, `handleRead`, `handleWrite`, `handleAccepted`,
 * `handleClose`, `handleError`), and call {@linkcode loop}. Python's names keep
 * their meaning, in camelCase. Times are in milliseconds, bytes are `Uint8Array`.
 *
 * {@linkcode DispatcherWithSend} buffers what you send; on a `Dispatcher`,
 * `send()` returns 0 while 64 KiB are on their way.
 *
 * @example An echo server
 * ```ts no-assert
 * import * as asyncore from "@asyncore/asyncore";
 *
 * class EchoHandler extends asyncore.DispatcherWithSend {
 *   override handleRead() {
 *     this.send(this.recv());
 *   }
 * }
 *
 * class EchoServer extends asyncore.Dispatcher {
 *   override handleAccepted(conn: asyncore.Channel) {
 *     new EchoHandler(conn);
 *   }
 * }
 *
 * const server = new EchoServer();
 * server.createSocket();
 * server.bind({ hostname: "127.0.0.1", port: 0 });
 * server.listen();
 * await asyncore.loop({ timeout: 10, count: 3 }); // without these, for ever
 * server.close();
 * ```
 *
 * @module
 */

import "./core/runtime.ts";
import "./net/deno_network.ts";
export { AsyncChat, type AsyncChatOptions } from "./chat/async_chat.ts";
export type { Acceptor, Channel } from "./core/channel.ts";
export type { DatagramSocket } from "./core/datagram_socket.ts";
export { type Datagram, DatagramError } from "./net/datagram_channel.ts";
export { DatagramDispatcher } from "./net/datagram_dispatcher.ts";
export {
  Dispatcher,
  type DispatcherOptions,
  DispatcherWithSend,
  type DispatcherWithSendOptions,
} from "./dispatcher.ts";
export type { Accepted, DispatcherHooks } from "./core/dispatcher_hooks.ts";
export type {
  ConnectionOptions,
  StartTlsOptions,
} from "./core/dispatcher_options.ts";
export type { TimeoutKind } from "./core/limits.ts";
export {
  FileDispatcher,
  type FileLike,
  FileWrapper,
} from "./file_dispatcher.ts";
export { compactTraceback, type Logger } from "./core/log.ts";
export {
  type Clock,
  closeAll,
  ExitNow,
  loop,
  type LoopOptions,
  poll,
  type Pollable,
  shutdown,
  type ShutdownOptions,
  type ShutdownResult,
  SocketMap,
  socketMap,
  type SocketMapOptions,
  type Timer,
} from "./loop.ts";
export {
  type Producer,
  type ProducerLike,
  SimpleProducer,
} from "./chat/producer.ts";
export type {
  Address,
  SocketAddress,
  Transport,
  UnixSocketAddress,
  VsockSocketAddress,
} from "./core/address.ts";
export type { HookResult } from "./core/entry.ts";
export type {
  ConnectOptions,
  Network,
  NetworkConnectionOptions,
  NetworkConnectOptions,
  NetworkDatagramOptions,
  NetworkListenOptions,
  SocketOptions,
} from "./core/network.ts";
export type { TlsOptions } from "./core/tls_options.ts";
export { channelFrom, type ChannelStreams } from "./net/channel_from.ts";
export {
  type StreamPair,
  toStreams,
  type ToStreamsOptions,
} from "./net/to_streams.ts";
