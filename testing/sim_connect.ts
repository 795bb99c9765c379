/**
 * How connections come about in a simulation: names, listeners, the exchange
 * of packets that makes a connection, and what may become of it.
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
import type { Plan } from "./agenda.ts";
import { type Kind, kindOf } from "./faults.ts";
import { SimAcceptor } from "./sim_acceptor.ts";
import { SimChannel } from "./sim_channel.ts";
import type { Life, Wire } from "./sim_wire.ts";

/** How long the packets of an unanswered connect wait for an answer, in ms. */
const SYN_WAITS = [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000];
/** When what a listener could not take is offered to it again, in ms, and how often. */
const OFFER_AGAIN = 1_000;
const MOST_OFFERS = 6;
/** By how much an accept may be late, in ms. */
const LATEST_ACCEPT = 1_000;
/** How long it takes to learn that there is no such name, in ms. */
const LOOKUP = 1;
const REFUSE = kindOf("refuse");
const BLACKHOLE = kindOf("blackhole");
const LOOKUP_FAILURE = kindOf("lookup");
const ACCEPT_DELAY = kindOf("acceptDelay");
const LATE = kindOf("late");
/** Names by which a host means itself, as many as it has. */
const LOCAL_NAMES: readonly string[] = [
  ...["localhost", "127.0.0.1", "::1", "0.0.0.0", "::"],
];

/** A life that can listen. */
export interface Station extends Life {
  /** By port or path. */
  readonly listeners: Map<string, SimAcceptor>;
  /** A port that nobody uses. */
  nextPort(): number;
}

/** What makes connections possible. */
export interface Exchange extends Wire {
  /** The life that a host of this name or address has now. */
  find(name: string): Station | undefined;
  /** A number for the next connection. */
  nextConnection(): number;
}

/** The network as one life of a host sees it. */
export function networkOf(exchange: Exchange, life: Station): Network {
  return {
    connect: (address, options) =>
      new Connecting(exchange, life, address, options).promise,
    listen: (address, options) => listen(exchange, life, address, options),
    startTls: () => {
      throw new Error(
        "Cannot start TLS: a simulation has only connections that are TLS " +
          'from the beginning: use transport "tls", or test STARTTLS on ' +
          "real sockets",
      );
    },
  };
}

/** Under which key somebody listens on an address. */
function keyOf(address: Deno.Addr): string {
  if (address.transport === "tcp") return `${address.port}`;
  if (address.transport === "unix" && address.path) return address.path;
  throw new TypeError(`A simulation has no ${address.transport} sockets`);
}

function listen(
  exchange: Exchange,
  life: Station,
  address: Deno.Addr,
  { backlog, tls }: NetworkListenOptions,
): SimAcceptor {
  const { listeners } = life;
  let addr = address;
  if (addr.transport === "tcp") {
    const { port, hostname } = addr;
    addr = {
      transport: "tcp",
      hostname: LOCAL_NAMES.includes(hostname) ? life.hostname : hostname,
      port: port === 0 ? life.nextPort() : port,
    };
  }
  const key = keyOf(addr);
  if (listeners.has(key)) {
    throw new Deno.errors.AddrInUse("Address already in use");
  }
  const acceptor = new SimAcceptor(addr, {
    backlog,
    isTls: tls !== undefined,
    onClose: () => listeners.delete(key),
  });
  listeners.set(key, acceptor);
  exchange.note(`${life.name} listens on ${formatAddress(addr)}`);
  return acceptor;
}

/** One attempt to connect. */
class Connecting {
  readonly promise: Promise<Channel>;
  readonly #exchange: Exchange;
  readonly #life: Station;
  readonly #address: Deno.Addr;
  readonly #options: NetworkConnectOptions;
  readonly #id: number;
  #resolve!: (channel: Channel) => void;
  #reject!: (error: unknown) => void;
  #state: "trying" | "connected" | "failed" = "trying";
  #tries = 0;
  #packets = 0;
  #next: Plan | null = null;
  /** What fate has in store; `null` before it was asked. */
  #isSwallowed: boolean | null = null;
  #willRefuse: boolean | null = null;
  #ours: SimChannel | null = null;
  #theirs: SimChannel | null = null;
  #acceptor: SimAcceptor | null = null;

  constructor(
    exchange: Exchange,
    life: Station,
    address: Deno.Addr,
    options: NetworkConnectOptions,
  ) {
    this.#exchange = exchange;
    this.#life = life;
    this.#address = address;
    this.#options = options;
    this.#id = exchange.nextConnection();
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    const { signal } = options;
    signal.addEventListener("abort", () => this.#fail(signal.reason), {
      once: true,
    });
    exchange.note(
      `${life.name} #${this.#id} connects to ${formatAddress(address)}`,
    );
    if (this.#isFound()) this.#knock();
  }

  #fail(error: unknown): void {
    if (this.#state !== "trying") return;
    this.#state = "failed";
    this.#ours?.drop();
    this.#theirs?.drop();
    if (this.#next) this.#next.run = null;
    if (this.#life.isAlive) this.#reject(error);
  }

  /** Whether a fault of this kind happens to this attempt. */
  #strikes(kind: Kind, chance: number): boolean {
    const where = `#${this.#id}`;
    return this.#exchange.fate.strikes(kind, chance, where, this.#id);
  }

  #isFound(): boolean {
    const target = this.#target();
    const { lookup } = this.#exchange.fate.faults;
    if (target && !this.#strikes(LOOKUP_FAILURE, lookup)) return true;
    const message = target
      ? "Temporary failure in name resolution"
      : "Name or service not known";
    const error = new Error(`failed to lookup address: ${message}`);
    this.#exchange.after(LOOKUP, () => this.#fail(error));
    return false;
  }

  #target(): Station | undefined {
    const address = this.#address;
    const isOwn = address.transport !== "tcp" ||
      LOCAL_NAMES.includes(address.hostname);
    return isOwn ? this.#life : this.#exchange.find(address.hostname);
  }

  /** Sends a packet that takes this way, and does `then` if it arrives. */
  #send(from: Life, to: Life, then: () => void): void {
    const exchange = this.#exchange;
    const key = -2 * this.#id - 1;
    const delay = exchange.delay(from, to, 0, key, ++this.#packets);
    exchange.after(delay, () => {
      if (!exchange.isCut(from, to)) then();
    });
  }

  /** Sends the first packet, again and again until there is an answer. */
  #knock(): void {
    if (this.#state !== "trying" || !this.#life.isAlive) return;
    const wait = SYN_WAITS[this.#tries++];
    if (wait === undefined) {
      this.#fail(new Deno.errors.TimedOut("Connection timed out"));
      return;
    }
    const target = this.#target()!;
    this.#send(this.#life, target, () => this.#arrive());
    this.#next = this.#exchange.after(wait, () => this.#knock());
  }

  /** The packet is there. */
  #arrive(): void {
    if (this.#state === "connected") return;
    const exchange = this.#exchange;
    const { blackhole } = exchange.fate.faults;
    this.#isSwallowed ??= this.#strikes(BLACKHOLE, blackhole);
    if (this.#isSwallowed) return;
    if (this.#theirs?.life.hasSystem) {
      this.#answer(this.#theirs.life, () => this.#connected());
      return;
    }
    const target = this.#target()!;
    const acceptor = target.listeners.get(keyOf(this.#address));
    if (acceptor === undefined || this.#isRefused()) {
      this.#answer(target, () => {
        exchange.note(`${this.#life.name} #${this.#id} is refused`);
        this.#fail(new Deno.errors.ConnectionRefused("Connection refused"));
      });
    } else if (acceptor.isFull) {
      exchange.note(`${target.name} #${this.#id} finds the backlog full`);
    } else {
      this.#makeEnds(target, acceptor);
      this.#answer(target, () => this.#connected());
    }
  }

  #isRefused(): boolean {
    const { refuse } = this.#exchange.fate.faults;
    return this.#willRefuse ??= this.#strikes(REFUSE, refuse);
  }

  /** Answers; if that gets lost, the next packet is answered again. */
  #answer(from: Life, then: () => void): void {
    this.#send(from, this.#life, () => {
      if (this.#state === "trying" && this.#life.isAlive) then();
    });
  }

  #makeEnds(target: Station, acceptor: SimAcceptor): void {
    const exchange = this.#exchange;
    const id = this.#id;
    const life = this.#life;
    const there = acceptor.addr;
    const here: Deno.Addr = there.transport === "tcp"
      ? { transport: "tcp", hostname: life.hostname, port: life.nextPort() }
      : { transport: "unix", path: "" };
    const ours = new SimChannel(exchange, id, {
      life,
      isClient: true,
      localAddr: here,
      remoteAddr: there,
      isTls: this.#options.tls !== undefined,
    });
    const theirs = new SimChannel(exchange, id, {
      life: target,
      isClient: false,
      localAddr: there,
      remoteAddr: here,
      isTls: acceptor.isTls,
    });
    SimChannel.connect(exchange, id, ours, theirs);
    this.#ours = ours;
    this.#theirs = theirs;
    this.#acceptor = acceptor;
  }

  #connected(): void {
    const exchange = this.#exchange;
    this.#state = "connected";
    this.#next!.run = null;
    exchange.note(`${this.#life.name} #${this.#id} is connected`);
    this.#resolve(this.#ours!);
    const { fate } = exchange;
    const late = this.#strikes(ACCEPT_DELAY, fate.faults.acceptDelay)
      ? fate.between(0, LATEST_ACCEPT, LATE, this.#id)
      : 0;
    this.#offer(late);
  }

  /** Sends the last packet of the exchange: now the listener may have it. */
  #offer(late: number, tries: number = 1): void {
    const exchange = this.#exchange;
    const [life, theirs, acceptor] = [
      this.#life,
      this.#theirs!,
      this.#acceptor!,
    ];
    const there = theirs.life;
    const key = -2 * this.#id - 2;
    const delay = exchange.delay(life, there, 0, key, tries);
    exchange.after(delay + late, () => {
      if (!there.isAlive) return;
      if (acceptor.isClosed) theirs.reset();
      else if (!exchange.isCut(life, there) && !acceptor.isFull) {
        exchange.note(`${there.name} #${this.#id} may be accepted`);
        acceptor.push(theirs);
      } else if (life.hasSystem && tries < MOST_OFFERS) {
        this.#offer(OFFER_AGAIN, tries + 1);
      } else theirs.drop();
    });
  }
}
