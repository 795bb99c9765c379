/**
 * How connections are made in a simulation: names, listeners, and the three-way
 * handshake with its losses.
 *
 * @module
 */

import { formatAddress } from "../core/address.ts";
import type { Channel } from "../core/channel.ts";
import type {
  Network,
  NetworkConnectOptions,
  NetworkListenOptions,
} from "../core/network.ts";
import type { ScheduledEvent } from "./event_queue.ts";
import { type DrawKind, drawKind } from "./fault_plan.ts";
import { SimAcceptor } from "./sim_acceptor.ts";
import {
  checkOwn,
  checkPath,
  isLocal,
  notFound,
  resolve,
} from "./sim_address.ts";
import { SimChannel } from "./sim_channel.ts";
import type { PortLease, SimPorts } from "./sim_ports.ts";
import type { Process, Wire } from "./simulation.ts";

/** How long each SYN waits for its answer, in ms: seven tries, as on Linux. */
const SYN_TIMEOUTS = [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000];
/** While the backlog is full, the last ACK is sent again after so many ms. */
const ACK_RETRY = 1_000;
/** After so many ACKs the connection is dropped, as on Linux (`tcp_synack_retries`). */
const MAX_ACKS = 6;
/** How late an accept may be, in ms: a server that is busy for a second. */
const MAX_ACCEPT_DELAY = 1_000;
/** How long it takes to learn that a name is not found, in ms. */
const LOOKUP_TIME = 1;
const REFUSE = drawKind("refuse");
const BLACKHOLE = drawKind("blackhole");
const LOOKUP_FAILURE = drawKind("lookup");
const ACCEPT_DELAY = drawKind("acceptDelay");
const LATE = drawKind("late");

/** A process with what its kernel keeps for it: listeners and ports. */
export interface NetStack extends Process {
  /** By port or path. */
  readonly listeners: Map<string, SimAcceptor>;
  /** The ports of its host. */
  readonly ports: SimPorts;
}

/** The network between all hosts. */
export interface Fabric extends Wire {
  /** The longest packet between two hosts, in bytes. */
  readonly mtu: number;
  /** The process on the host of this name or address. */
  find(name: string): NetStack | undefined;
  /** The number of the next connection. */
  nextConnection(): number;
}

/** The network as one process of a host sees it. */
export function networkOf(fabric: Fabric, process: NetStack): Network {
  return {
    connect: (address, options) =>
      new Handshake(fabric, process, address, options).promise,
    listen: (address, options) => listen(fabric, process, address, options),
    startTls: () => {
      throw new Error(
        "Cannot start TLS: a simulation has only connections that are TLS " +
          'from the beginning: use transport "tls", or test STARTTLS on ' +
          "real sockets",
      );
    },
  };
}

/** The key of an address among the listeners of a process. */
function keyOf(address: Deno.Addr): string {
  if (address.transport === "tcp") return `${address.port}`;
  if (address.transport === "unix" && address.path) return address.path;
  throw new TypeError(`A simulation has no ${address.transport} sockets`);
}

function listen(
  fabric: Fabric,
  process: NetStack,
  address: Deno.Addr,
  { backlog, tls }: NetworkListenOptions,
): SimAcceptor {
  const { listeners, ports } = process;
  const isBusy = (port: number) =>
    listeners.has(`${port}`) || ports.isLeased(port, fabric.now);
  let addr = address;
  if (addr.transport === "tcp") {
    const { port, hostname } = addr;
    checkOwn(hostname, process, fabric);
    addr = {
      transport: "tcp",
      hostname: isLocal(hostname) ? process.hostname : hostname,
      port: port || ports.takeFree(isBusy),
    };
  } else if (addr.transport === "unix") checkPath(addr.path);
  const key = keyOf(addr);
  if (addr.transport === "tcp" ? isBusy(addr.port) : listeners.has(key)) {
    throw new Deno.errors.AddrInUse("Address already in use");
  }
  const acceptor = new SimAcceptor(addr, {
    backlog,
    isTls: tls !== undefined,
    onClose: () => listeners.delete(key),
  });
  listeners.set(key, acceptor);
  fabric.note(`${process.name} listens on ${formatAddress(addr)}`);
  return acceptor;
}

/** An attempt to connect: SYN, SYN-ACK or RST, ACK. */
class Handshake {
  readonly promise: Promise<Channel>;
  readonly #fabric: Fabric;
  readonly #process: NetStack;
  readonly #address: Deno.Addr;
  readonly #options: NetworkConnectOptions;
  readonly #id: number;
  #resolve!: (channel: Channel) => void;
  #reject!: (error: unknown) => void;
  #state: "trying" | "connected" | "failed" = "trying";
  #syns = 0;
  #packets = 0;
  #nextSyn: ScheduledEvent | null = null;
  /** Drawn when the first SYN arrives, for all tries; `null` before. */
  #isBlackholed: boolean | null = null;
  #willRefuse: boolean | null = null;
  #ours: SimChannel | null = null;
  #theirs: SimChannel | null = null;
  #acceptor: SimAcceptor | null = null;
  /** The port of this side, over TCP. */
  #lease: PortLease | null = null;

  constructor(
    fabric: Fabric,
    process: NetStack,
    address: Deno.Addr,
    options: NetworkConnectOptions,
  ) {
    this.#fabric = fabric;
    this.#process = process;
    this.#address = address;
    this.#options = options;
    this.#id = fabric.nextConnection();
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    const { signal } = options;
    signal.addEventListener("abort", () => this.#fail(signal.reason), {
      once: true,
    });
    fabric.note(
      `${process.name} #${this.#id} connects to ${formatAddress(address)}`,
    );
    if (this.#isFound() && this.#hasPort()) this.#sendSyn();
  }

  /** Takes a port for this side; fails if none is left. */
  #hasPort(): boolean {
    const address = this.#address;
    if (address.transport !== "tcp") return true;
    const { listeners, ports } = this.#process;
    const remote = `${
      this.#target()?.name ?? address.hostname
    }:${address.port}`;
    const isListening = (port: number) => listeners.has(`${port}`);
    try {
      this.#lease = ports.lease(remote, this.#fabric.now, isListening);
      return true;
    } catch (error) {
      this.#fail(error);
      return false;
    }
  }

  #fail(error: unknown): void {
    if (this.#state !== "trying") return;
    this.#state = "failed";
    this.#ours?.drop();
    this.#theirs?.drop();
    this.#nextSyn?.cancel();
    if (this.#lease) this.#lease.until = 0;
    if (this.#process.isAlive) this.#reject(error);
  }

  /** Whether a fault of this kind happens to this connection. */
  #injects(kind: DrawKind, chance: number): boolean {
    const where = `#${this.#id}`;
    return this.#fabric.faultPlan.injects(kind, chance, where, this.#id);
  }

  #isFound(): boolean {
    const isKnown = this.#target() !== undefined;
    const { lookup } = this.#fabric.faultPlan.faults;
    if (isKnown && !this.#injects(LOOKUP_FAILURE, lookup)) return true;
    const error = isKnown
      ? notFound("Temporary failure in name resolution")
      : notFound();
    this.#fabric.after(LOOKUP_TIME, () => this.#fail(error));
    return false;
  }

  /** Who has the address: `null` for nobody, `undefined` for a name of nobody. */
  #target(): NetStack | null | undefined {
    const address = this.#address;
    if (address.transport !== "tcp") return this.#process;
    return resolve(address.hostname, this.#process, this.#fabric);
  }

  /** Sends a packet; `then` runs if it arrives. */
  #send(from: Process, to: Process, then: () => void): void {
    const fabric = this.#fabric;
    const key = -2 * this.#id - 1;
    const delay = fabric.delay(from, to, 0, key, ++this.#packets);
    fabric.after(delay, () => {
      if (!fabric.isUnreachable(from, to)) then();
    });
  }

  /** Sends the SYN, again and again until there is an answer. */
  #sendSyn(): void {
    if (this.#state !== "trying" || !this.#process.isAlive) return;
    const wait = SYN_TIMEOUTS[this.#syns++];
    if (wait === undefined) {
      this.#fail(new Deno.errors.TimedOut("Connection timed out"));
      return;
    }
    const target = this.#target();
    if (target) this.#send(this.#process, target, () => this.#onSyn());
    this.#nextSyn = this.#fabric.after(wait, () => this.#sendSyn());
  }

  /** A SYN has arrived. */
  #onSyn(): void {
    if (this.#state === "connected") return;
    const fabric = this.#fabric;
    const { blackhole } = fabric.faultPlan.faults;
    this.#isBlackholed ??= this.#injects(BLACKHOLE, blackhole);
    if (this.#isBlackholed) return;
    if (this.#theirs?.process.hasKernel) {
      this.#reply(this.#theirs.process, () => this.#connected());
      return;
    }
    const target = this.#target()!;
    const acceptor = target.listeners.get(keyOf(this.#address));
    if (acceptor === undefined || this.#isRefused()) {
      this.#reply(target, () => {
        fabric.note(`${this.#process.name} #${this.#id} is refused`);
        this.#fail(this.#refusal());
      });
    } else if (acceptor.isFull) {
      fabric.note(`${target.name} #${this.#id} finds the backlog full`);
    } else {
      this.#makeEnds(target, acceptor);
      this.#reply(target, () => this.#connected());
    }
  }

  /** Nobody listens; a Unix socket has no path then. */
  #refusal(): Error {
    const { transport } = this.#address;
    return transport === "unix" && this.#willRefuse === null
      ? new Deno.errors.NotFound("No such file or directory")
      : new Deno.errors.ConnectionRefused("Connection refused");
  }

  #isRefused(): boolean {
    const { refuse } = this.#fabric.faultPlan.faults;
    return this.#willRefuse ??= this.#injects(REFUSE, refuse);
  }

  /** Answers a SYN; if that gets lost, the next SYN is answered again. */
  #reply(from: Process, then: () => void): void {
    this.#send(from, this.#process, () => {
      if (this.#state === "trying" && this.#process.isAlive) then();
    });
  }

  #makeEnds(target: NetStack, acceptor: SimAcceptor): void {
    const fabric = this.#fabric;
    const id = this.#id;
    const process = this.#process;
    const there = acceptor.addr;
    const here: Deno.Addr = there.transport === "tcp"
      ? {
        transport: "tcp",
        hostname: process.hostname,
        port: this.#lease!.port,
      }
      : { transport: "unix", path: "" };
    const ours = new SimChannel(fabric, id, {
      process,
      lease: this.#lease,
      isClient: true,
      localAddr: here,
      remoteAddr: there,
      isTls: this.#options.tls !== undefined,
    });
    const theirs = new SimChannel(fabric, id, {
      process: target,
      lease: null,
      isClient: false,
      localAddr: there,
      remoteAddr: here,
      isTls: acceptor.isTls,
    });
    SimChannel.connect(fabric, id, ours, theirs);
    this.#ours = ours;
    this.#theirs = theirs;
    this.#acceptor = acceptor;
  }

  #connected(): void {
    const fabric = this.#fabric;
    this.#state = "connected";
    this.#nextSyn!.cancel();
    fabric.note(`${this.#process.name} #${this.#id} is connected`);
    this.#resolve(this.#ours!);
    const { faultPlan } = fabric;
    const late = this.#injects(ACCEPT_DELAY, faultPlan.faults.acceptDelay)
      ? faultPlan.between(0, MAX_ACCEPT_DELAY, LATE, this.#id)
      : 0;
    this.#sendAck(late);
  }

  /** Sends the ACK, `late` ms late: now the listener may accept the connection. */
  #sendAck(late: number, nth: number = 1): void {
    const fabric = this.#fabric;
    const process = this.#process;
    const theirs = this.#theirs!;
    const acceptor = this.#acceptor!;
    const there = theirs.process;
    const key = -2 * this.#id - 2;
    const delay = fabric.delay(process, there, 0, key, nth);
    fabric.after(delay + late, () => {
      if (!there.isAlive) return;
      if (acceptor.isClosed) theirs.reset();
      else if (!fabric.isUnreachable(process, there) && !acceptor.isFull) {
        fabric.note(`${there.name} #${this.#id} may be accepted`);
        acceptor.push(theirs);
      } else if (process.hasKernel && nth < MAX_ACKS) {
        this.#sendAck(ACK_RETRY, nth + 1);
      } else theirs.drop();
    });
  }
}
