/**
 * UDP in a simulation: sockets, and datagrams on their way. They keep what UDP
 * promises, which is nothing: each arrives once, twice or never, early or late.
 *
 * @module
 */

import type { DatagramSocket } from "../core/datagram_socket.ts";
import type { NetworkDatagramOptions } from "../core/network.ts";
import { type DrawKind, drawKind } from "./fault_plan.ts";
import { hashText } from "./rng.ts";
import {
  checkOwn,
  isIpAddress,
  isLocal,
  notFound,
  resolve,
} from "./sim_address.ts";
import type { Fabric, NetStack } from "./sim_connect.ts";
import type { Arrived, DatagramPort } from "./sim_ports.ts";
import { type Bytes, copyInto } from "./slab.ts";

/** The longest datagram over IPv4: 65,535 bytes with its two headers. */
const LONGEST = 65_507;
/** The bytes of an IPv4 and a UDP header: a packet holds that much less. */
const HEADERS = 28;
/** What a socket keeps for its program, in bytes, as on Linux (`rmem_default`). */
const RECEIVE_BUFFER = 212_992;
/**
 * What the kernel counts for a datagram beside its content, and for its content
 * at least: measured on Linux 6.18, where 256 datagrams of one byte fit.
 */
const OVERHEAD = 768;
const LEAST_CONTENT = 64;

const LOOKUP_FAILURE = drawKind("lookup");
const LOSS = drawKind("datagramLoss");
const FRAGMENT_LOSS = drawKind("fragmentLoss");
const DUPLICATE = drawKind("datagramDuplicate");
const REORDER = drawKind("datagramReorder");
const TRUNCATE = drawKind("datagramTruncate");
const PORT_UNREACHABLE = drawKind("portUnreachable");
/** How late a datagram is that others pass. */
const LATENESS = drawKind("lateness of a datagram");
/** What is left of a datagram that is cut short. */
const REST = drawKind("rest of a datagram");
/** These keep the delays of packets apart. */
const COPY = hashText("copy of a datagram");
const ANSWER = hashText("port unreachable");

/** The way from a socket to a port of a host. */
interface Way {
  /** As faults and the trace name it: `client:32768>server:53`. */
  readonly name: string;
  readonly key: number;
  /** Nothing that was sent later arrives before, unless a fault makes it. */
  lastArrival: number;
}

/** A datagram on its way. */
interface Sent {
  readonly way: Way;
  /** Which one on its way. */
  readonly nth: number;
  readonly bytes: Bytes;
  readonly from: SimDatagramSocket;
  readonly port: number;
}

type Received = [Uint8Array, Deno.Addr];

interface PendingReceive {
  readonly target: Uint8Array;
  resolve(received: Received): void;
  reject(error: Error): void;
}

/** Opens a UDP socket on an address of the process's host. */
export function listenDatagram(
  fabric: Fabric,
  process: NetStack,
  { hostname, port }: Deno.NetAddr,
  { reuseAddress }: NetworkDatagramOptions,
): DatagramSocket {
  checkOwn(hostname, process, fabric);
  const { ports } = process;
  const addr: Deno.NetAddr = {
    transport: "udp",
    hostname: isLocal(hostname) ? process.hostname : hostname,
    port: port ||
      ports.takeFree((port) => ports.socketOf(port) !== undefined),
  };
  const isIpv6 = hostname.includes(":");
  const isShared = reuseAddress;
  const options = { addr, isIpv6, isShared };
  return new SimDatagramSocket(fabric, process, options);
}

/** A UDP socket, as Deno's. */
export class SimDatagramSocket implements DatagramSocket, DatagramPort {
  readonly addr: Deno.NetAddr;
  readonly isShared: boolean;
  readonly #isIpv6: boolean;
  readonly #fabric: Fabric;
  readonly #process: NetStack;
  readonly #ways = new Map<string, Way>();
  readonly #queue: Arrived[] = [];
  /** What the queue holds, as the kernel counts it. */
  #buffered = 0;
  #receiving: PendingReceive | null = null;
  /** A port was unreachable, and the program does not know yet. */
  #refusal: Error | null = null;
  #closed = false;

  constructor(
    fabric: Fabric,
    process: NetStack,
    { addr, isIpv6, isShared }: {
      addr: Deno.NetAddr;
      isIpv6: boolean;
      isShared: boolean;
    },
  ) {
    this.#fabric = fabric;
    this.#process = process;
    this.addr = addr;
    this.#isIpv6 = isIpv6;
    this.isShared = isShared;
    process.ports.addSocket(addr.port, this);
    process.channels.add(this);
    fabric.note(`${process.name} binds UDP port ${addr.port}`);
  }

  // Sending

  send(data: Uint8Array, addr: Deno.Addr): Promise<number> {
    // A program that is gone hears of nothing; it must hold no lookup either.
    if (!this.#process.isAlive) return Promise.resolve(data.length);
    const { hostname, port } = addr as Deno.NetAddr;
    try {
      this.#check(data.length, hostname, port);
      this.#send(data, this.#wayTo(hostname, port), hostname, port);
    } catch (error) {
      return Promise.reject(error);
    }
    return Promise.resolve(data.length);
  }

  /** Throws what the system says of a datagram that it does not send. */
  #check(length: number, hostname: string, port: number): void {
    if (this.#closed) throw closed();
    if (resolve(hostname, this.#process, this.#fabric) === undefined) {
      throw notFound();
    }
    if (hostname.includes(":") && !this.#isIpv6) {
      const message = "Address family not supported by protocol";
      throw Object.assign(new Error(message), { code: "EAFNOSUPPORT" });
    }
    if (port === 0) throw new TypeError("Invalid argument");
    if (length > LONGEST) {
      const message = "Message too long";
      throw Object.assign(new Error(message), { code: "EMSGSIZE" });
    }
  }

  #wayTo(hostname: string, port: number): Way {
    const { name } = this.#process;
    const target = resolve(hostname, this.#process, this.#fabric);
    const to = `${target?.name ?? hostname}:${port}`;
    let way = this.#ways.get(to);
    if (way === undefined) {
      const whole = `${name}:${this.addr.port}>${to}`;
      way = { name: whole, key: hashText(whole), lastArrival: 0 };
      this.#ways.set(to, way);
    }
    return way;
  }

  #send(data: Uint8Array, way: Way, hostname: string, port: number): void {
    const fabric = this.#fabric;
    const { faults } = fabric.faultPlan;
    const nth = this.#process.ports.nextDatagram(way.name);
    const isFound = isIpAddress(hostname) || isLocal(hostname) ||
      !this.#injects(LOOKUP_FAILURE, faults.lookup, way, nth);
    if (!isFound) throw notFound("Temporary failure in name resolution");
    const target = resolve(hostname, this.#process, fabric);
    if (!target) {
      fabric.note(`${way.name} is nobody's`);
      return;
    }
    const bytes = fabric.slab.copy(data);
    const sent: Sent = { way, nth, bytes, from: this, port };
    // Inside of a host nothing gets lost, doubled or late.
    if (target.number === this.#process.number) {
      this.#carry(sent, target, way.key);
      return;
    }
    if (!this.#isLost(sent, data.length)) this.#carry(sent, target, way.key);
    if (this.#injects(DUPLICATE, faults.datagramDuplicate, way, nth)) {
      this.#carry(sent, target, way.key ^ COPY);
    }
  }

  #injects(kind: DrawKind, chance: number, way: Way, nth: number): boolean {
    const { faultPlan } = this.#fabric;
    return faultPlan.injects(kind, chance, way.name, way.key, nth);
  }

  /** A datagram that is longer than a packet is lost if one of its fragments is. */
  #isLost({ way, nth }: Sent, length: number): boolean {
    const { faultPlan, mtu } = this.#fabric;
    const { datagramLoss, fragmentLoss } = faultPlan.faults;
    if (this.#injects(LOSS, datagramLoss, way, nth)) return true;
    const fragments = Math.ceil(length / (mtu - HEADERS));
    if (fragments <= 1) return false;
    if (this.#injects(FRAGMENT_LOSS, fragmentLoss, way, nth)) return true;
    if (datagramLoss === 0) return false;
    for (let i = 2; i <= fragments; i++) {
      const where = `${way.name} fragment ${i}`;
      const key = hashText(where);
      if (faultPlan.injects(LOSS, datagramLoss, where, key, nth)) return true;
    }
    return false;
  }

  /** Lets a datagram travel; `key` is the one of its delays. */
  #carry(sent: Sent, target: NetStack, key: number): void {
    const fabric = this.#fabric;
    const { faultPlan } = fabric;
    const { datagramReorder, stallTime } = faultPlan.faults;
    const { way, nth, bytes } = sent;
    const process = this.#process;
    const length = bytes.end - bytes.start;
    const delay = fabric.delay(process, target, length, key, nth);
    let arrival = fabric.now + delay;
    const isOfThisHost = target.number === process.number;
    const isCopy = key !== way.key;
    if (
      !isOfThisHost && !isCopy &&
      this.#injects(REORDER, datagramReorder, way, nth)
    ) {
      // A short and a long time are as likely: few pass it, or many.
      const draw = faultPlan.rng.at(LATENESS.number, way.key, nth);
      arrival += Math.max(1, stallTime) ** draw;
    } else {
      arrival = Math.max(arrival, way.lastArrival);
      // A copy that is left out makes no other datagram arrive sooner.
      if (!isCopy) way.lastArrival = arrival;
    }
    fabric.after(
      arrival - fabric.now,
      () => this.#arrive(sent, fabric.find(target.name)!),
    );
  }

  // Arriving

  #arrive(sent: Sent, target: NetStack): void {
    const fabric = this.#fabric;
    const { way, nth, bytes, port } = sent;
    if (fabric.isUnreachable(this.#process, target)) {
      fabric.note(`${way.name} lost`);
      return;
    }
    const socket = target.ports.socketOf(port);
    if (socket === undefined) {
      fabric.note(`${way.name} finds no socket`);
      this.#answer(sent, target);
      return;
    }
    const { datagramTruncate } = fabric.faultPlan.faults;
    const length = bytes.end - bytes.start;
    const isCut = length > 0 && target.number !== this.#process.number &&
      this.#injects(TRUNCATE, datagramTruncate, way, nth);
    const rest = isCut
      ? fabric.faultPlan.upTo(length, REST, way.key, nth) - 1
      : length;
    const { hostname } = this.#process;
    socket.push({
      bytes: { ...bytes, end: bytes.start + rest },
      addr: { transport: "udp", hostname, port: this.addr.port },
    }, way.name);
  }

  /** The host says that nobody has the port (ICMP), as far as that arrives. */
  #answer({ way, nth, from }: Sent, target: NetStack): void {
    const fabric = this.#fabric;
    const { portUnreachable } = fabric.faultPlan.faults;
    if (!this.#injects(PORT_UNREACHABLE, portUnreachable, way, nth)) return;
    const process = this.#process;
    const delay = fabric.delay(target, process, 0, way.key ^ ANSWER, nth);
    fabric.after(delay, () => {
      if (!fabric.isUnreachable(target, process)) from.#refuse();
    });
  }

  #refuse(): void {
    if (this.#closed) return;
    this.#refusal = new Deno.errors.ConnectionRefused("Connection refused");
    this.wake();
  }

  /** Keeps a datagram for the program, if there is room. */
  push(arrived: Arrived, way: string): void {
    const { start, end } = arrived.bytes;
    const size = sizeOf(arrived);
    if (this.#buffered + size > RECEIVE_BUFFER) {
      this.#fabric.note(`${way} finds the buffer full`);
      return;
    }
    this.#fabric.note(`${way} ${end - start} bytes`);
    this.#buffered += size;
    this.#queue.push(arrived);
    this.wake();
  }

  // Receiving

  receive(target: Uint8Array): Promise<Received> {
    return new Promise((resolve, reject) => {
      if (!this.#process.isAlive) return; // Its program is gone.
      if (this.#closed) reject(closed());
      else {
        this.#receiving = { target, resolve, reject };
        this.wake();
      }
    });
  }

  /** Gives the program what it waits for, if that is there. */
  wake(): void {
    const receiving = this.#receiving;
    if (receiving === null || !this.#process.isAlive) return;
    const refusal = this.#refusal;
    if (refusal !== null) {
      this.#refusal = this.#receiving = null;
      receiving.reject(refusal);
      return;
    }
    const arrived = this.#queue.shift();
    if (arrived === undefined) return;
    this.#receiving = null;
    this.#buffered -= sizeOf(arrived);
    const { target } = receiving;
    const { buffer, start, end } = arrived.bytes;
    // What does not fit is cut off.
    const length = Math.min(end - start, target.length);
    copyInto(target, 0, buffer, start, start + length);
    receiving.resolve([target.subarray(0, length), arrived.addr]);
  }

  // The end

  close(): void {
    this.exit();
  }

  /** Closes it as its process ends: a dispatcher may have replaced `close()`. */
  exit(): void {
    if (this.#closed) throw closed();
    this.#closed = true;
    const process = this.#process;
    process.channels.delete(this);
    if (!process.isAlive) return;
    process.ports.removeSocket(this.addr.port, this);
    const receiving = this.#receiving;
    this.#receiving = null;
    receiving?.reject(new Deno.errors.Interrupted("operation canceled"));
  }
}

function sizeOf({ bytes }: Arrived): number {
  return OVERHEAD + Math.max(LEAST_CONTENT, bytes.end - bytes.start);
}

function closed(): Error {
  return new Deno.errors.BadResource("Socket has been closed");
}
