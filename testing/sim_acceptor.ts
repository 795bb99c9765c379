/**
 * A listener of a simulated host.
 *
 * @module
 */

import type { Acceptor, Channel } from "../core/channel.ts";
import type { SimChannel } from "./sim_channel.ts";

/** Options of a {@linkcode SimAcceptor}. */
export interface SimAcceptorOptions {
  /** How many connections may wait. */
  backlog: number;
  isTls: boolean;
  onClose: () => void;
}

/** Listens on one port of a host. */
export class SimAcceptor implements Acceptor {
  readonly addr: Deno.Addr;
  readonly isTls: boolean;
  isClosed = false;
  readonly #backlog: number;
  readonly #onClose: () => void;
  readonly #queue: SimChannel[] = [];
  #pending: PromiseWithResolvers<Channel> | null = null;

  constructor(addr: Deno.Addr, options: SimAcceptorOptions) {
    this.addr = addr;
    this.isTls = options.isTls;
    this.#backlog = options.backlog;
    this.#onClose = options.onClose;
  }

  /** No other connection may wait: as on Linux, one more does than the backlog. */
  get isFull(): boolean {
    return this.#queue.length > this.#backlog;
  }

  push(channel: SimChannel): void {
    this.#queue.push(channel);
    this.#deliver();
  }

  accept(): Promise<Channel> {
    this.#pending = Promise.withResolvers();
    const { promise } = this.#pending;
    if (this.isClosed) this.#refuse();
    else this.#deliver();
    return promise;
  }

  #deliver(): void {
    const pending = this.#pending;
    const channel = pending && this.#queue.shift();
    if (!channel) return;
    this.#pending = null;
    if (channel.isBroken) {
      channel.drop();
      const message = "Transport endpoint is not connected";
      pending.reject(new Deno.errors.NotConnected(message));
    } else pending.resolve(channel);
  }

  #refuse(): void {
    this.#pending?.reject(closed());
    this.#pending = null;
  }

  close(): void {
    if (this.isClosed) throw closed();
    this.isClosed = true;
    this.#onClose();
    for (const channel of this.#queue.splice(0)) channel.reset();
    this.#refuse();
  }
}

function closed(): Error {
  return new Deno.errors.BadResource("Listener has closed");
}
