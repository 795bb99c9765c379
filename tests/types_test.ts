/**
 * What a port may write without a cast. The compiler is the judge: each test here
 * fails when this file no longer compiles.
 */

import { assertEquals } from "@std/assert";
import {
  type Address,
  AsyncChat,
  type AsyncChatOptions,
  type Channel,
  type ChannelStreams,
  type ConnectOptions,
  Dispatcher,
  type DispatcherOptions,
  DispatcherWithSend,
  type DispatcherWithSendOptions,
  type LoopOptions,
  type ShutdownOptions,
  type SocketAddress,
  type SocketMap,
  type SocketMapOptions,
  type SocketOptions,
  type StartTlsOptions,
  type TlsOptions,
  type ToStreamsOptions,
} from "../mod.ts";
import type { OptionNames } from "../core/option_names.ts";
import type {
  CheckChannelOptions,
  CrashOptions,
  Faults,
  MemoryPairOptions,
  MockClockOptions,
  PartitionOptions,
  RunOptions,
  ShrinkOptions,
  SimNetworkOptions,
  SimulateOptions,
} from "../testing/mod.ts";
import { FakeChannel, quietMap } from "./fakes.ts";

Deno.test("addr gives port and hostname without a cast, and a path by its transport", () => {
  using server = new Dispatcher(null, { map: quietMap() });
  server.createSocket();
  server.bind({ hostname: "127.0.0.1", port: 0 });

  const port: number = server.addr!.port;
  const host: string = server.localAddr!.hostname;

  const describe = (addr: SocketAddress | null): string | number | undefined =>
    addr?.transport === "unix" ? addr.path : addr?.port;
  const plain: Deno.Addr | null = server.addr;
  assertEquals([describe(server.addr), host], [port, "127.0.0.1"]);
  assertEquals(plain, { transport: "tcp", hostname: "127.0.0.1", port });
});

Deno.test("handleAccepted() may name the connection and the address that it gets", () => {
  class Tcp extends Dispatcher {
    override handleAccepted(conn: Deno.TcpConn, addr: Deno.NetAddr) {
      conn.setNoDelay(addr.port > 0);
    }
  }
  class Tls extends Dispatcher {
    override async handleAccepted(conn: Deno.TlsConn, addr: Deno.NetAddr) {
      await conn.handshake();
      this.log(addr.hostname);
    }
  }
  class Unix extends Dispatcher {
    override handleAccepted(conn: Deno.UnixConn, addr: Deno.UnixAddr) {
      this.log(`${conn.remoteAddr.path} ${addr.path}`);
    }
  }
  class Any extends Dispatcher {
    override handleAccepted(conn: Channel, addr: SocketAddress) {
      this.log(`${conn.remoteAddr?.transport} ${addr.port}`);
    }
  }
  assertEquals([Tcp, Tls, Unix, Any].map((type) => type.length), [0, 0, 0, 0]);
});

Deno.test("A hook may return what send() returns, or a promise of it", () => {
  const data = new Uint8Array(3);
  class Plain extends Dispatcher {
    override handleConnect() {
      return this.send(data);
    }
    override handleRead() {
      return this.recv();
    }
    override async handleWrite() {
      await Promise.resolve();
      return this.send(data);
    }
    override handleClose(): void | Promise<void> {
      return super.handleClose();
    }
  }
  class Buffered extends DispatcherWithSend {
    override handleRead() {
      return this.send(data);
    }
    override handleDrain = () => this.send(data);
  }
  class Chat extends AsyncChat {
    override collectIncomingData(piece: Uint8Array) {
      return this.push(piece);
    }
    override foundTerminator = () => this.push("found");
  }
  const map = quietMap();
  const made = [Plain, Buffered, Chat].map((type) =>
    new type(new FakeChannel(), { map })
  );
  made[0]!.callLater(1, () => made.length);
  assertEquals(made.map((dispatcher) => dispatcher.connected), [
    true,
    true,
    true,
  ]);
  for (const dispatcher of made) dispatcher.abort();
});

Deno.test("debug may be a field of any type", () => {
  class Flag extends Dispatcher {
    override debug = true;
  }
  class Level extends DispatcherWithSend {
    override debug = 2;
  }
  class Maybe extends AsyncChat {
    override debug: boolean | undefined = undefined;
  }
  const map = quietMap();
  const values = [Flag, Level, Maybe].map((type) =>
    new type(null, { map }).debug
  );
  assertEquals(values, [true, 2, undefined]);
  const plain = new Dispatcher(null, { map });
  plain.debug = 1; // As in Python.
  assertEquals(plain.debug, 1);
});

/** Whether each option may be `undefined`, also by `exactOptionalPropertyTypes`. */
type TakesUndefined<T> = Record<keyof T, undefined> extends T ? true : false;

Deno.test("An option may be undefined", () => {
  class Ported extends Dispatcher {
    constructor(socket: Channel | null = null, map?: SocketMap) {
      super(socket, { map });
    }
  }
  const map = quietMap();
  assertEquals(new Ported(null, map).map, map);
  const everyOption: [
    TakesUndefined<DispatcherOptions>,
    TakesUndefined<DispatcherWithSendOptions>,
    TakesUndefined<AsyncChatOptions>,
    TakesUndefined<SocketOptions>,
    TakesUndefined<TlsOptions>,
    TakesUndefined<ConnectOptions>,
    TakesUndefined<StartTlsOptions>,
    TakesUndefined<LoopOptions>,
    TakesUndefined<ShutdownOptions>,
    TakesUndefined<SocketMapOptions>,
    TakesUndefined<ToStreamsOptions>,
    TakesUndefined<ChannelStreams>,
    TakesUndefined<MemoryPairOptions>,
    TakesUndefined<MockClockOptions>,
    TakesUndefined<CheckChannelOptions>,
    TakesUndefined<SimNetworkOptions>,
    TakesUndefined<Faults>,
    TakesUndefined<RunOptions>,
    TakesUndefined<PartitionOptions>,
    TakesUndefined<CrashOptions>,
    TakesUndefined<SimulateOptions>,
    TakesUndefined<ShrinkOptions>,
  ] = [
    ...[true, true, true, true, true, true, true] as const,
    ...[true, true, true, true, true, true, true] as const,
    ...[true, true, true, true, true, true, true, true] as const,
  ];
  const address: Address = { hostname: undefined, port: 80 };
  assertEquals([everyOption.length, address.port], [22, 80]);
});

Deno.test("OptionNames has each option of an interface, and no other", () => {
  interface Options {
    size?: number | undefined;
    name?: string | undefined;
  }
  const all: OptionNames<Options> = { size: true, name: true };
  // @ts-expect-error An option is missing.
  const few: OptionNames<Options> = { size: true };
  // @ts-expect-error There is no such option.
  const many: OptionNames<Options> = { size: true, name: true, colour: true };
  assertEquals([all, few, many].map((it) => Object.keys(it).length), [2, 1, 3]);
});
