/**
 * Attempts to connect, without a thread.
 *
 * @module
 */

import type { NetworkConnectOptions } from "../core/network.ts";
import {
  AddressReader,
  type SystemAddress,
  toAddr,
  unixAddress,
} from "./address.ts";
import { StreamChannel } from "./channel.ts";
import type { Descriptor, Engine, Watched } from "./engine.ts";
import { C, ERRNO } from "./layout.ts";
import {
  type Option,
  OTHER_OPTIONS,
  readOption,
  settingsOf,
  writeOption,
} from "./option_table.ts";
import { resolve } from "./resolve.ts";
import { systemError } from "./system_error.ts";

/**
 * How long a client waits before it asks again a Unix listener whose backlog is
 * full, in ms. The system tells nobody when there is room. A shorter time asks
 * more often in vain, a longer one connects later. The value is a choice.
 */
const RETRY_AFTER = 10;

/**
 * Connects to the first address of a host that takes the connection.
 *
 * @throws {Error} That of the last address, or the signal's reason.
 */
export function connect(
  engine: Engine,
  address: Deno.NetAddr | Deno.UnixAddr,
  options: NetworkConnectOptions,
): Promise<StreamChannel> {
  return engine.untilSettled(connectToFirst(engine, address, options));
}

async function connectToFirst(
  engine: Engine,
  address: Deno.NetAddr | Deno.UnixAddr,
  options: NetworkConnectOptions,
): Promise<StreamChannel> {
  const { signal } = options;
  signal.throwIfAborted();
  if ("path" in address) {
    return await connectUnix(engine, unixAddress(address.path), signal);
  }
  const settings = settingsOf(options);
  const addresses = await resolve(engine.libc, address, signal);
  let reason: unknown;
  for (const candidate of addresses) {
    signal.throwIfAborted();
    try {
      return await new Attempt(engine, candidate, signal, settings).run();
    } catch (error) {
      reason = error;
    }
  }
  signal.throwIfAborted();
  throw reason ?? new Error(`${address.hostname} has no address`);
}

async function connectUnix(
  engine: Engine,
  address: SystemAddress,
  signal: AbortSignal,
): Promise<StreamChannel> {
  for (;;) {
    try {
      return await new Attempt(engine, address, signal, []).run();
    } catch (error) {
      if (!(error instanceof Deno.errors.WouldBlock)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_AFTER));
    signal.throwIfAborted();
  }
}

/** One attempt to connect to one address. */
class Attempt implements Watched {
  readonly #engine: Engine;
  readonly #address: SystemAddress;
  readonly #signal: AbortSignal;
  readonly #settings: readonly Option[];
  #events = 0;
  #onEvents: () => void = () => {};

  /** @param settings The options to switch on. */
  constructor(
    engine: Engine,
    address: SystemAddress,
    signal: AbortSignal,
    settings: readonly Option[],
  ) {
    this.#engine = engine;
    this.#address = address;
    this.#signal = signal;
    this.#settings = settings;
  }

  onEvents(events: number): void {
    this.#events |= events;
    this.#onEvents();
  }

  async run(): Promise<StreamChannel> {
    const engine = this.#engine;
    const { libc } = engine;
    const fd = this.#open();
    const errno = this.#start(fd);
    if (errno !== 0 && errno !== ERRNO.EINPROGRESS) {
      libc.close(fd);
      throw systemError(libc, errno);
    }
    // Before connect(), the socket would have events that mean nothing.
    const descriptor = engine.addOwn(fd, this);
    try {
      if (errno !== 0) await this.#untilDecided(descriptor);
      return this.#channel(descriptor);
    } catch (error) {
      engine.close(descriptor);
      throw error;
    }
  }

  #open(): number {
    const { libc } = this.#engine;
    const type = C.SOCK_STREAM | C.SOCK_NONBLOCK | C.SOCK_CLOEXEC;
    const fd = libc.socket(this.#address.family, type, 0);
    if (fd < 0) throw systemError(libc, libc.errno());
    try {
      for (const option of this.#settings) writeOption(libc, fd, option, [1]);
    } catch (error) {
      libc.close(fd);
      throw error;
    }
    return fd;
  }

  /** Asks the system to connect. Returns the number of its error, or 0. */
  #start(fd: number): number {
    const { libc } = this.#engine;
    const { bytes } = this.#address;
    if (libc.connect(fd, bytes, bytes.length) === 0) return 0;
    const errno = libc.errno();
    // An interrupted connect goes on by itself.
    return errno === ERRNO.EINTR ? ERRNO.EINPROGRESS : errno;
  }

  /** Waits until the attempt has succeeded or failed. */
  async #untilDecided(descriptor: Descriptor): Promise<void> {
    const engine = this.#engine;
    const signal = this.#signal;
    const decided = C.EPOLLOUT | C.EPOLLERR | C.EPOLLHUP;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#onEvents = () => {
      if ((this.#events & decided) !== 0) resolve();
    };
    const onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort);
    engine.hold();
    try {
      await promise;
    } finally {
      engine.release();
      signal.removeEventListener("abort", onAbort);
    }
    const { libc } = engine;
    const option = OTHER_OPTIONS.SO_ERROR;
    const errno = readOption(libc, descriptor.fd, option, 1)[0]!;
    if (errno !== 0) throw systemError(libc, errno);
  }

  #channel(descriptor: Descriptor): StreamChannel {
    const reader = new AddressReader(this.#engine.libc);
    const { family, bytes } = this.#address;
    const remoteAddr = toAddr(this.#engine.libc, bytes);
    const localAddr = reader.localAddress(descriptor.fd);
    return new StreamChannel(
      this.#engine,
      descriptor,
      { remoteAddr, localAddr },
      { events: this.#events, isCareful: family === C.AF_UNIX },
    );
  }
}
