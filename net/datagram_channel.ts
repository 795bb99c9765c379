/**
 * A UDP socket as a channel: {@linkcode DatagramChannel}. A dispatcher deals
 * with a stream of bytes; here a received datagram is a token of one byte, and
 * a datagram to be sent is a stretch of the accepted bytes.
 *
 * @module
 */

import { explain, formatAddress } from "../core/address.ts";
import {
  checkBytes,
  checkInteger,
  checkText,
  showValue,
} from "../core/arguments.ts";
import { lookUp } from "../core/blocking_threads.ts";
import { type Channel, received } from "../core/channel.ts";
import { type Clock, systemClock } from "../core/clock.ts";
import {
  asDatagramSocket,
  type DatagramSocket,
} from "../core/datagram_socket.ts";
import { isDisconnect, isUnsupported } from "../core/errors.ts";
import { describeError } from "../core/log.ts";
import type { Network } from "../core/network.ts";
import { Queue } from "../core/queue.ts";
import { type ReadListener, SOURCE, type Source } from "../core/source.ts";

/** What {@linkcode DatagramDispatcher.recvFrom} gives. */
export interface Datagram {
  /** The content, perhaps empty. It is the caller's own. */
  data: Uint8Array;
  /** Who sent it: `sendTo(answer, addr)` answers. */
  addr: Deno.NetAddr;
}

/**
 * A datagram could not be sent; `cause` is what the system said. It comes to
 * `handleError()`, and leaves the dispatcher as it was.
 */
export class DatagramError extends Error {
  /** The name of this class of errors: `"DatagramError"`. */
  override name = "DatagramError";
  /** Where the datagram was to go; `null` where the system does not tell. */
  readonly addr: Deno.NetAddr | null;

  /**
   * Makes the error of one datagram.
   *
   * @param message What failed.
   * @param addr Where the datagram was to go.
   * @param cause What the system said.
   */
  constructor(message: string, addr: Deno.NetAddr | null, cause: unknown) {
    super(`${message}: ${messageOf(cause)}`, { cause });
    this.addr = addr;
  }
}

/** More than any UDP datagram holds. */
const LONGEST = 64 * 1024;
/** The byte that stands for a datagram without bytes, until its turn comes. */
export const FILLER = new Uint8Array(1);
/**
 * After this many refusals in a row, the channel pauses after each further one.
 * A smaller number delays the datagrams behind a few refusals; a larger one
 * lets a socket that always refuses take more of the first moments.
 */
export const MOST_REFUSALS = 64;
/** In ms: a socket that always refuses brings at most 100 errors a second. */
export const REFUSAL_PAUSE = 10;

/** A datagram that was accepted and has yet to go. */
export interface Outgoing {
  length: number;
  addr: Deno.NetAddr;
}

/** The name of the method by which a socket brings a source of its datagrams. */
export const DATAGRAM_SOURCE: unique symbol = Symbol("datagram source");

/** A socket that says what it can receive and send now. */
export interface SourceSocket extends DatagramSocket {
  /** Makes the one source of a channel over it. */
  [DATAGRAM_SOURCE](channel: DatagramChannel, listener: ReadListener): Source;
}

/** Makes datagrams look like a stream of bytes. */
export class DatagramChannel implements Channel {
  /** The accepted datagrams, in order; their bytes come to `write()`. */
  readonly outgoing: Queue<Outgoing> = new Queue();
  /** Gets the error of each lost datagram. */
  onLoss: (error: DatagramError) => void = () => {};
  /** The clock of the map. */
  clock: () => Clock = () => systemClock;

  /** The socket that it was made of. */
  readonly socket: DatagramSocket;
  /** The datagram that the token stands for. */
  received: Datagram | null = null;

  /** Made with the first read: a source of the socket's own needs none. */
  #buffer: Uint8Array | null = null;
  #closed = false;
  #endPause = () => {};

  constructor(socket: DatagramSocket) {
    this.socket = socket;
  }

  /** The source that the socket brings, if it brings one. */
  [SOURCE](listener: ReadListener): Source | null {
    const socket = this.socket as Partial<SourceSocket>;
    return socket[DATAGRAM_SOURCE]?.(this, listener) ?? null;
  }

  /** The address that the socket is bound to. */
  get localAddr(): Deno.Addr {
    return this.socket.addr;
  }

  /** Receives one datagram and keeps it; the byte that it reports is a token. */
  async read(): Promise<number> {
    const buffer = this.#buffer ??= new Uint8Array(LONGEST);
    for (let refusals = 1;; refusals++) {
      try {
        this.received = ownDatagram(await this.socket.receive(buffer));
        return 1;
      } catch (error) {
        if (this.#closed) throw error;
        if (!isRefusal(error)) throw endOf(error);
        this.lose("Cannot send a datagram", null, error);
      }
      await this.#pause(refusals);
    }
  }

  /** Lets other work run between refusals. */
  #pause(refusals: number): Promise<void> {
    const clock = this.clock();
    return new Promise((resolve) => {
      if (refusals < MOST_REFUSALS) clock.setImmediate(resolve);
      else {
        const id = clock.setTimeout(resolve, REFUSAL_PAUSE);
        this.#endPause = () => {
          clock.clearTimeout(id);
          resolve();
        };
      }
    });
  }

  /** Takes the datagram that the token stands for. */
  take(): Datagram {
    const received = this.received!;
    this.received = null;
    return received;
  }

  /** Sends the first datagram in `data`. A failure costs only this datagram. */
  async write(data: Uint8Array): Promise<number> {
    const { length, addr } = this.outgoing.first!;
    try {
      const datagram = data.subarray(0, length);
      const send = () => this.socket.send(datagram, addr);
      await lookUp(addr.hostname, send);
    } catch (error) {
      this.loseOutgoing(error);
    }
    this.outgoing.shift();
    return Math.max(length, FILLER.length);
  }

  /** Tells that the first datagram to be sent is lost. */
  loseOutgoing(cause: unknown): void {
    const { length, addr } = this.outgoing.first!;
    const to = formatAddress(addr);
    this.lose(`Cannot send ${length} bytes to ${to}`, addr, cause);
  }

  /** Tells that a datagram is lost. */
  lose(message: string, addr: Deno.NetAddr | null, cause: unknown): void {
    if (this.#closed) return; // abort() has dropped the datagram.
    this.onLoss(new DatagramError(message, addr, cause));
  }

  /** Fails the receive in flight, and thereby frees the port. */
  close(): void {
    this.#closed = true;
    this.#endPause();
    return this.socket.close(); // It may be async, against its type.
  }
}

/**
 * Copies what `receive()` gave. `slice()` would not do: that of a Node `Buffer`
 * shares its bytes.
 *
 * @throws {TypeError} If it is no datagram.
 */
function ownDatagram(received: unknown): Datagram {
  if (!Array.isArray(received)) {
    throw new TypeError(
      `receive() must give [data, addr], got ${showValue(received)}`,
    );
  }
  const [data, addr] = received as [Uint8Array, unknown];
  checkBytes("The data of receive()", data);
  const { hostname, port } = (addr ?? {}) as Partial<Deno.NetAddr>;
  return {
    data: new Uint8Array(data),
    addr: {
      transport: "udp",
      hostname: checkText("The hostname of receive()", hostname),
      port: checkInteger("The port of receive()", port, 0, 65_535),
    },
  };
}

/**
 * Whether an earlier datagram was lost on its way: Windows tells the receiver so,
 * and Linux with the option `IP_RECVERR`.
 */
export function isRefusal(error: unknown): boolean {
  return error instanceof Deno.errors.ConnectionReset ||
    error instanceof Deno.errors.ConnectionRefused ||
    LOSSES.has((error as { code?: unknown } | null | undefined)?.code);
}

/** The errors that Linux makes of the answers of routers (ICMP). */
const LOSSES: ReadonlySet<unknown> = new Set([
  ...["EACCES", "EHOSTDOWN", "EHOSTUNREACH", "EMSGSIZE", "ENETUNREACH"],
  ...["ENONET", "ENOPROTOOPT", "EOPNOTSUPP", "EPROTO"],
]);

/**
 * The error of a socket that cannot receive any more. Two kinds of error are no
 * failure of a stream, and are made one here: a disconnect, as a datagram socket
 * has no peer, and "unsupported", as the socket would stay deaf.
 */
export function endOf(cause: unknown): unknown {
  const isPlain = cause instanceof Error && !isUnsupported(cause);
  if (isPlain && !isDisconnect(cause)) return cause;
  const message = `Cannot receive any more: ${messageOf(cause)}`;
  return new Error(message, { cause });
}

function messageOf(cause: unknown): string {
  try {
    if (cause instanceof Error) return `${cause.message}`;
  } catch {
    // A message that is no text: the description has to do.
  }
  return describeError(cause);
}

/**
 * Opens a UDP socket of a network.
 *
 * @param name Of the dispatcher, for the message.
 * @throws {Deno.errors.NotSupported} If the network has none.
 * @throws {Error} If the network throws: the address is in use, for example.
 */
export function openDatagramSocket(
  network: Network,
  addr: Deno.NetAddr,
  { reuseAddress, name }: { reuseAddress: boolean; name: string },
): DatagramSocket {
  if (network.listenDatagram === undefined) {
    throw new Deno.errors.NotSupported(
      `Cannot bind: ${name} is a datagram socket, and the network of its ` +
        "map has none: give it to setSocket()",
    );
  }
  try {
    const socket = network.listenDatagram(addr, { reuseAddress });
    return received(asDatagramSocket, "The network's datagram socket", socket);
  } catch (error) {
    // That error says by itself what is missing.
    if (!isUnsupported(error)) explain(error, "bind", addr);
    throw error;
  }
}
