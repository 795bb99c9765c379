/**
 * Listeners of the engine.
 *
 * @module
 */

import { ACCEPT_NEXT, type AcceptsNext } from "../core/accepting.ts";
import type { Acceptor } from "../core/channel.ts";
import type { Poller } from "../core/poller.ts";
import { AddressReader } from "./address.ts";
import { StreamChannel } from "./channel.ts";
import type { Descriptor, Engine, Watched } from "./engine.ts";
import { C, ERRNO } from "./layout.ts";
import type { Libc } from "./libc.ts";
import { systemError } from "./system_error.ts";

/**
 * Errors of a client that came and went, rather than of the listener: accept(2)
 * passes on what the network says. EPERM is the answer of a firewall.
 */
const GONE: ReadonlySet<number> = new Set([
  ...[ERRNO.EPERM, ERRNO.ENONET, ERRNO.EPROTO, ERRNO.ENOPROTOOPT],
  ...[ERRNO.EOPNOTSUPP, ERRNO.ENETDOWN, ERRNO.ENETUNREACH, ERRNO.EHOSTDOWN],
  ERRNO.EHOSTUNREACH,
]);

/** Somebody waits for a connection. */
interface Waiting {
  accepted(channel: StreamChannel): void;
  failed(error: unknown): void;
  /** The engine looks for events though no loop runs. */
  isHeld: boolean;
}

/** A listener over TCP or a Unix socket. */
export class StreamAcceptor
  implements Acceptor, AcceptsNext, Watched, Disposable {
  readonly addr: Deno.Addr;
  readonly #engine: Engine;
  readonly #descriptor: Descriptor;
  readonly #onClose: () => void;
  readonly #reader: AddressReader;
  /** Clients may wait: the system has said so, or was not asked yet. */
  #mayAccept = true;
  #waiting: Waiting[] = [];

  /**
   * Takes over a descriptor that listens, unless that throws.
   *
   * @param onClose Runs when it is closed.
   */
  constructor(engine: Engine, fd: number, onClose: () => void = () => {}) {
    this.#engine = engine;
    this.#reader = new AddressReader(engine.libc);
    this.#onClose = onClose;
    this.addr = this.#reader.localAddress(fd);
    this.#descriptor = engine.add(fd, this);
  }

  /** The number of the descriptor; -1 when it is closed. */
  get fd(): number {
    return this.#descriptor.fd;
  }

  get libc(): Libc {
    return this.#engine.libc;
  }

  get poller(): Poller {
    return this.#engine;
  }

  onEvents(): void {
    this.#mayAccept = true;
    this.#serve();
  }

  accept(): Promise<StreamChannel> {
    const engine = this.#engine;
    const accepting = new Promise<StreamChannel>((accepted, failed) => {
      if (this.#descriptor.fd >= 0) engine.hold();
      this.#wait({ accepted, failed, isHeld: true });
    });
    return engine.untilSettled(accepting);
  }

  [ACCEPT_NEXT](
    accepted: (channel: StreamChannel) => void,
    failed: (error: unknown) => void,
  ): void {
    this.#wait({ accepted, failed, isHeld: false });
  }

  #wait(waiting: Waiting): void {
    if (this.#descriptor.fd < 0) {
      waiting.failed(closed());
      return;
    }
    this.#waiting.push(waiting);
    if (this.#waiting.length === 1) this.#serve();
  }

  /** Gives a connection to those who wait, as long as there are clients. */
  #serve(): void {
    while (this.#mayAccept && this.#waiting.length > 0) {
      let channel: StreamChannel | null = null;
      let failure: { error: unknown } | null = null;
      try {
        channel = this.#accept();
      } catch (error) {
        failure = { error };
      }
      if (channel === null && failure === null) return;
      const waiting = this.#next();
      if (failure !== null) waiting.failed(failure.error);
      else waiting.accepted(channel!);
    }
  }

  #next(): Waiting {
    const waiting = this.#waiting.shift()!;
    if (waiting.isHeld) this.#engine.release();
    return waiting;
  }

  /**
   * Takes a connection, or `null` if no client waits.
   *
   * @throws {Error} If the system refuses.
   */
  #accept(): StreamChannel | null {
    const { libc } = this.#engine;
    const flags = C.SOCK_NONBLOCK | C.SOCK_CLOEXEC;
    for (;;) {
      const fd = libc.accept4(this.#descriptor.fd, null, null, flags);
      if (fd >= 0) return this.#channel(fd);
      const errno = libc.errno();
      if (errno === ERRNO.EINTR) continue;
      if (GONE.has(errno)) throw clientGone();
      if (errno !== ERRNO.EAGAIN) throw systemError(libc, errno);
      this.#mayAccept = false;
      return null;
    }
  }

  #channel(fd: number): StreamChannel {
    const remoteAddr = this.#remoteAddress(fd);
    const isUnix = remoteAddr.transport === "unix";
    const descriptor = this.#engine.addOwn(fd, this);
    try {
      const localAddr = this.#isWildcard
        ? this.#reader.localAddress(fd)
        : this.addr;
      const ends = { remoteAddr, localAddr };
      const state = { isCareful: isUnix };
      return new StreamChannel(this.#engine, descriptor, ends, state);
    } catch (error) {
      this.#engine.close(descriptor);
      throw error;
    }
  }

  /** The address of a client; it has none any more if it has reset. */
  #remoteAddress(fd: number): Deno.Addr {
    try {
      return this.#reader.remoteAddress(fd);
    } catch {
      this.#engine.libc.close(fd);
      throw clientGone();
    }
  }

  /** Its connections have addresses of their own on this side. */
  get #isWildcard(): boolean {
    const { addr } = this;
    return "hostname" in addr && /^[0:.]*$/.test(addr.hostname);
  }

  /**
   * Stops listening. Its address is free when this returns.
   *
   * @throws {Deno.errors.BadResource} If it is closed already.
   */
  close(): void {
    if (this.#descriptor.fd < 0) throw closed();
    this.#engine.close(this.#descriptor);
    this.#onClose();
    while (this.#waiting.length > 0) this.#next().failed(closed());
  }

  [Symbol.dispose](): void {
    if (this.#descriptor.fd >= 0) this.close();
  }
}

function clientGone(): Error {
  return new Deno.errors.ConnectionAborted("The client has gone");
}

function closed(): Error {
  return new Deno.errors.BadResource("Listener has been closed");
}
