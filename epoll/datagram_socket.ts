/**
 * UDP sockets of the engine.
 *
 * @module
 */

import type { ReadListener, Source } from "../core/source.ts";
import {
  type Datagram,
  DATAGRAM_SOURCE,
  type DatagramChannel,
  type SourceSocket,
} from "../net/datagram_channel.ts";
import { AddressReader, type SystemAddress } from "./address.ts";
import { ReceiverWriter, SenderReader } from "./datagram_address.ts";
import {
  DatagramSource,
  type ReadySocket,
  type SocketListener,
} from "./datagram_source.ts";
import type { Descriptor, Engine, Watched } from "./engine.ts";
import { C, ERRNO } from "./layout.ts";
import { lengthOf, type Libc, type Memory } from "./libc.ts";
import { lookUpAddresses } from "./resolve.ts";
import { cancelled, systemError } from "./system_error.ts";

/** Events that concern receiving. */
const READABLE = C.EPOLLIN | C.EPOLLERR | C.EPOLLHUP;

/** A UDP socket. A dispatcher uses its source, another program its promises. */
export class UdpSocket
  implements SourceSocket, ReadySocket, Watched, Disposable {
  readonly addr: Deno.NetAddr;
  readonly engine: Engine;
  mayReceive = true;
  listener: SocketListener | null = null;

  readonly #descriptor: Descriptor;
  readonly #family: number;
  readonly #senders: SenderReader;
  readonly #receivers: ReceiverWriter;
  /** Operations that wait for an event. */
  #waiting: (() => void)[] = [];

  /** Takes over a bound descriptor, unless that throws. */
  constructor(engine: Engine, fd: number) {
    const { libc } = engine;
    this.engine = engine;
    const reader = new AddressReader(libc);
    const { hostname, port } = reader.localAddress(fd) as Deno.NetAddr;
    this.addr = { transport: "udp", hostname, port };
    this.#family = reader.bytes[0]!;
    this.#senders = new SenderReader(libc);
    this.#receivers = new ReceiverWriter(libc);
    this.#descriptor = engine.add(fd, this, C.EPOLLIN);
  }

  /** The number of the descriptor; -1 when it is closed. */
  get fd(): number {
    return this.#descriptor.fd;
  }

  get libc(): Libc {
    return this.engine.libc;
  }

  [DATAGRAM_SOURCE](channel: DatagramChannel, listener: ReadListener): Source {
    return new DatagramSource(this, channel, listener);
  }

  onEvents(events: number): void {
    if ((events & READABLE) !== 0) {
      this.mayReceive = true;
      this.listener?.onReceivable();
    }
    if ((events & C.EPOLLOUT) !== 0) {
      this.#watchRoom(false);
      this.listener?.onSendable();
    }
    this.#wake();
  }

  #wake(): void {
    const waiting = this.#waiting;
    if (waiting.length === 0) return;
    this.#waiting = [];
    for (const goOn of waiting) goOn();
  }

  // Without a wait

  receiveNow(): Datagram | null {
    const { libc } = this;
    // The datagram leaves the buffer of all at once.
    const buffer = this.engine.lendBuffer(NO_OWNER);
    for (;;) {
      const length = this.#receive(buffer, 0);
      if (length >= 0) {
        const data = new Uint8Array(buffer.subarray(0, length));
        return { data, addr: this.#senders.read() };
      }
      const errno = libc.errno();
      if (errno === ERRNO.EINTR) continue;
      if (errno !== ERRNO.EAGAIN) throw systemError(libc, errno);
      this.mayReceive = false;
      return null;
    }
  }

  #receive(buffer: Memory, flags: number): number {
    const { reader } = this.#senders;
    reader.reset();
    return this.libc.recvfrom(
      this.#openFd(),
      buffer,
      buffer.length,
      flags,
      reader.bytes,
      reader.length,
    );
  }

  /** The system keeps the error, and its memory, until it is taken. */
  takeLostAddr(): Deno.NetAddr | null {
    const buffer = this.engine.lendBuffer(NO_OWNER);
    const length = this.#receive(buffer, C.MSG_ERRQUEUE);
    return length < 0 ? null : this.#senders.read();
  }

  receiver(addr: Deno.NetAddr): SystemAddress | null {
    return this.#receivers.write(addr);
  }

  async lookUp(addr: Deno.NetAddr): Promise<SystemAddress> {
    const addresses = await lookUpAddresses(this.libc, addr);
    const isOfFamily = ({ family }: SystemAddress) => family === this.#family;
    return addresses.find(isOfFamily) ?? addresses[0]!;
  }

  sendNow(data: Uint8Array, { bytes }: SystemAddress): boolean {
    const { libc } = this;
    for (;;) {
      const sent = libc.sendto(
        this.#openFd(),
        data as Memory,
        lengthOf(data),
        C.MSG_NOSIGNAL,
        bytes,
        bytes.length,
      );
      if (sent >= 0) return true;
      const errno = libc.errno();
      if (errno === ERRNO.EINTR) continue;
      if (errno !== ERRNO.EAGAIN) throw systemError(libc, errno);
      this.#watchRoom(true);
      return false;
    }
  }

  /**
   * Makes an event tell of room. Otherwise none does: the system would send one
   * with each datagram that has left, whether room was missing or not.
   */
  #watchRoom(isWatched: boolean): void {
    const events = C.EPOLLIN | (isWatched ? C.EPOLLOUT : 0);
    this.engine.change(this.#descriptor, events);
  }

  #openFd(): number {
    const { fd } = this.#descriptor;
    if (fd >= 0) return fd;
    throw closed();
  }

  // With promises

  receive(target: Uint8Array): Promise<[Uint8Array, Deno.Addr]> {
    return this.engine.untilSettled(this.#receiveNext(target));
  }

  async #receiveNext(target: Uint8Array): Promise<[Uint8Array, Deno.Addr]> {
    for (;;) {
      const datagram = this.receiveNow();
      if (datagram !== null) {
        const data = datagram.data.subarray(0, target.length);
        target.set(data);
        return [target.subarray(0, data.length), datagram.addr];
      }
      await this.#untilEvent();
    }
  }

  send(data: Uint8Array, addr: Deno.Addr): Promise<number> {
    return this.engine.untilSettled(this.#send(data, addr as Deno.NetAddr));
  }

  async #send(data: Uint8Array, addr: Deno.NetAddr): Promise<number> {
    // Another operation may use the memory of receiver() during a wait.
    const address = await this.lookUp(addr);
    while (!this.sendNow(data, address)) await this.#untilEvent();
    return data.length;
  }

  async #untilEvent(): Promise<void> {
    this.engine.hold();
    try {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } finally {
      this.engine.release();
    }
    if (this.fd < 0) throw cancelled();
  }

  /**
   * Closes the socket. Its port is free when this returns.
   *
   * @throws {Deno.errors.BadResource} If it is closed already.
   */
  close(): void {
    this.#openFd();
    this.engine.close(this.#descriptor);
    this.mayReceive = false;
    this.listener?.onClosed(closed());
    this.#wake();
  }

  [Symbol.dispose](): void {
    if (this.fd >= 0) this.close();
  }
}

function closed(): Error {
  return new Deno.errors.BadResource("The socket is closed");
}

/** An owner without bytes in the buffer of all. */
const NO_OWNER = { leaveBuffer() {} };
