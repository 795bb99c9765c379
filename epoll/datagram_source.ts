/**
 * The source over a UDP socket: each datagram is one byte to be read, and a stretch
 * of the bytes that are written.
 *
 * @module
 */

import { formatAddress } from "../core/address.ts";
import { lookUp } from "../core/blocking_threads.ts";
import type { Poller } from "../core/poller.ts";
import { failureOf } from "../core/errors.ts";
import type { ReadListener, Source, WriteListener } from "../core/source.ts";
import {
  type Datagram,
  type DatagramChannel,
  endOf,
  isRefusal,
  MOST_REFUSALS,
  REFUSAL_PAUSE,
} from "../net/datagram_channel.ts";
import type { SystemAddress } from "./address.ts";
import type { Engine } from "./engine.ts";

/** The bytes of `take()`: nobody looks at them. */
const TOKEN = new Uint8Array(1);

/** A UDP socket that never waits. */
export interface ReadySocket {
  readonly engine: Engine;
  /** Gets the events. */
  listener: SocketListener | null;
  /** Something may have arrived: the system has said so, or was not asked yet. */
  readonly mayReceive: boolean;
  /**
   * Takes a datagram; `null` if none waits.
   *
   * @throws {Error} If the system has an error: perhaps that of a datagram that
   * was sent before.
   */
  receiveNow(): Datagram | null;
  /**
   * The receiver of the datagram whose error the system has told; `null` if it does
   * not know, as without the option `IP_RECVERR`.
   */
  takeLostAddr(): Deno.NetAddr | null;
  /** The system's address of a receiver; `null` if a name has to be looked up. */
  receiver(addr: Deno.NetAddr): SystemAddress | null;
  /**
   * Looks up the address of a receiver.
   *
   * @throws {Error} If it has none.
   */
  lookUp(addr: Deno.NetAddr): Promise<SystemAddress>;
  /**
   * Sends a datagram.
   *
   * @returns Whether there was room for it.
   * @throws {Error} If the system refuses.
   */
  sendNow(data: Uint8Array, address: SystemAddress): boolean;
}

/** The listener of a socket. */
export interface SocketListener {
  onReceivable(): void;
  onSendable(): void;
  /** The socket is closed: `error` says so. */
  onClosed(error: Error): void;
}

/** The result of a lookup. */
type Found = { address: SystemAddress } | { error: unknown };

/** Both directions of a UDP socket. */
export class DatagramSource implements Source, SocketListener {
  taken = 0;
  discarded = 0;
  isWatching = false;
  reason: Error | null = null;
  readonly unsupported = false;
  isClosing = false;
  /** Only sending goes on without a loop, and that holds the engine by itself. */
  inBackground = false;
  /** The system holds nothing of a socket that is closed. */
  readonly isBusy = false;

  readonly #socket: ReadySocket;
  readonly #channel: DatagramChannel;
  #listener: ReadListener;
  /** A datagram waits in the channel. */
  #hasDatagram = false;
  #hasEnded = false;
  #error: Error | null = null;
  /** How many errors in a row receiving has brought. */
  #refusals = 0;
  /** Ends the pause after refusals, if there is one. */
  #endPause: (() => void) | null = null;
  /** A write that waits for room, or for a lookup. */
  #writer: WriteListener | null = null;
  /** The engine looks for events though no loop runs. */
  #isHeld = false;
  /** The lookup for the first datagram, if that goes to a name. */
  #lookup: "none" | "pending" | Found = "none";

  constructor(
    socket: ReadySocket,
    channel: DatagramChannel,
    listener: ReadListener,
  ) {
    this.#socket = socket;
    this.#channel = channel;
    this.#listener = listener;
    socket.listener = this;
  }

  get poller(): Poller {
    return this.#socket.engine;
  }

  moveTo(listener: ReadListener): void {
    this.#listener = listener;
  }

  onReceivable(): void {
    this.tell();
  }

  onClosed(error: Error): void {
    this.#end(endOf(error));
    this.#endPause?.();
    this.tell();
    this.onSendable(); // What waits to be sent is lost.
  }

  /** Tells the listener, if it wants to know. */
  tell(): void {
    if (!this.isWatching || !this.isReadable) return;
    this.isWatching = false;
    this.#listener.onReadable();
  }

  // Receiving

  get #mayReceive(): boolean {
    return this.#socket.mayReceive && this.#endPause === null;
  }

  get isReadable(): boolean {
    return this.#hasDatagram || this.#hasEnded || this.#mayReceive;
  }

  get available(): number {
    this.#receive();
    return this.#hasDatagram ? 1 : 0;
  }

  get ended(): boolean {
    this.#receive();
    return this.#hasEnded;
  }

  /** Takes the next datagram, if one has arrived. */
  #receive(): void {
    while (!this.#hasDatagram && !this.#hasEnded && this.#mayReceive) {
      try {
        const datagram = this.#socket.receiveNow();
        if (datagram === null) return;
        this.#channel.received = datagram;
        this.#hasDatagram = true;
        this.#refusals = 0;
      } catch (error) {
        if (isRefusal(error)) this.#refuse(error);
        else this.#end(endOf(error));
      }
    }
  }

  /** An earlier datagram is lost. */
  #refuse(error: unknown): void {
    this.#loseEarlier(error);
    if (++this.#refusals >= MOST_REFUSALS) this.#pause();
  }

  #loseEarlier(error: unknown): void {
    const addr = this.#socket.takeLostAddr();
    const to = addr === null ? "" : ` to ${formatAddress(addr)}`;
    this.#channel.lose(`Cannot send a datagram${to}`, addr, error);
  }

  /** Lets other work run between refusals. */
  #pause(): void {
    const clock = this.#channel.clock();
    const id = clock.setTimeout(() => this.#endPause?.(), REFUSAL_PAUSE);
    this.#endPause = () => {
      clock.clearTimeout(id);
      this.#endPause = null;
      this.tell();
    };
  }

  #end(error: unknown): void {
    this.#hasEnded = true;
    if (this.isClosing) return;
    this.reason = this.#error = failureOf("receive()", error);
  }

  watch(): void {
    if (this.isWatching || this.#hasEnded || this.#hasDatagram) return;
    this.isWatching = true;
    // The caller expects no call back before this one has returned.
    if (this.#mayReceive) this.#socket.engine.tellSoon(this);
  }

  watchBehind(): boolean {
    this.isWatching = true; // Only a close can end it.
    return true;
  }

  take(): Uint8Array {
    return TOKEN.slice(0, this.takeInto(TOKEN));
  }

  takeInto(_target: Uint8Array): number {
    const count = this.available;
    this.#hasDatagram = false;
    this.taken += count;
    return count;
  }

  discard(): void {
    if (this.#hasDatagram) this.discarded++;
    this.#hasDatagram = false;
  }

  takeError(): Error | null {
    const error = this.#error;
    this.#error = null;
    return error;
  }

  // Sending

  /** Sends the datagrams that lie in the first `size` bytes of `data`. */
  write(data: Uint8Array, size: number, listener: WriteListener): number {
    const { outgoing } = this.#channel;
    let sent = 0;
    while (sent < size) {
      const { length, addr } = outgoing.first!;
      const datagram = data.subarray(sent, sent + length);
      if (!this.#sendOrLose(datagram, addr)) break;
      outgoing.shift();
      sent += Math.max(length, 1);
    }
    if (sent === 0) this.#writer = listener;
    return sent;
  }

  /**
   * Sends the first datagram. A failure costs only this one.
   *
   * @returns Whether it is done with: if not, `onSendable()` follows.
   */
  #sendOrLose(data: Uint8Array, addr: Deno.NetAddr): boolean {
    try {
      const address = this.#socket.receiver(addr) ?? this.#lookedUp(addr);
      if (address === null) return false;
      if (this.#send(data, address)) return true;
      this.#hold(true);
      return false;
    } catch (error) {
      this.#channel.loseOutgoing(error);
      return true;
    }
  }

  #send(data: Uint8Array, address: SystemAddress): boolean {
    try {
      return this.#socket.sendNow(data, address);
    } catch (error) {
      // No peer has refused this one yet: it was an earlier one.
      if (!(error instanceof Deno.errors.ConnectionRefused)) throw error;
      this.#loseEarlier(error);
      return this.#socket.sendNow(data, address);
    }
  }

  /**
   * The address that a name has, once it was looked up for this datagram.
   *
   * @throws {Error} If it has none.
   */
  #lookedUp(addr: Deno.NetAddr): SystemAddress | null {
    const lookup = this.#lookup;
    if (lookup === "pending") return null;
    if (lookup === "none") {
      this.#lookup = "pending";
      const goOn = (found: Found) => {
        this.#lookup = found;
        this.onSendable();
      };
      lookUp(addr.hostname, () => this.#socket.lookUp(addr))
        .then((address) => goOn({ address }), (error) => goOn({ error }));
      return null;
    }
    this.#lookup = "none";
    if ("error" in lookup) throw lookup.error;
    return lookup.address;
  }

  /** Makes the engine look for events, or no longer. */
  #hold(isHeld: boolean): void {
    if (isHeld === this.#isHeld) return;
    this.#isHeld = isHeld;
    if (isHeld) this.#socket.engine.hold();
    else this.#socket.engine.release();
  }

  onSendable(): void {
    const writer = this.#writer;
    this.#writer = null;
    // There is none if a second try found room before this event came.
    writer?.onWritable(0);
    if (this.#writer === null) this.#hold(false);
  }

  closeWrite(): Promise<void> {
    return Promise.resolve(); // There is no stream to end.
  }
}
