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
import type { Channel } from "../core/channel.ts";
import { type Clock, systemClock } from "../core/clock.ts";
import { isDisconnect, isUnsupported } from "../core/errors.ts";
import { describeError } from "../core/log.ts";
import { Queue } from "../core/queue.ts";

/** What a {@linkcode DatagramDispatcher} wraps: a `Deno.DatagramConn` for UDP fits. */
export interface DatagramSocket {
  /**
   * Waits for the next datagram.
   *
   * @param target Where its bytes go; what does not fit is cut off.
   * @returns The bytes, and who sent them.
   */
  receive(target: Uint8Array): Promise<[Uint8Array, Deno.Addr]>;
  /** Sends one datagram, and gives its length. */
  send(data: Uint8Array, addr: Deno.Addr): Promise<number>;
  /** Releases the socket. A pending operation must settle. */
  close(): void;
  /** The address that datagrams can be sent to. */
  readonly addr: Deno.Addr;
}

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
const MOST_REFUSALS = 64;
/** In ms: a socket that always refuses brings at most 100 errors a second. */
const REFUSAL_PAUSE = 10;

/** A datagram that was accepted and has yet to go. */
interface Outgoing {
  length: number;
  addr: Deno.NetAddr;
}

/** Makes datagrams look like a stream of bytes. */
export class DatagramChannel implements Channel {
  /** The accepted datagrams, in order; their bytes come to `write()`. */
  readonly outgoing: Queue<Outgoing> = new Queue();
  /** Gets the error of each lost datagram. */
  onLoss: (error: DatagramError) => void = () => {};
  /** The clock of the map. */
  clock: () => Clock = () => systemClock;

  readonly #socket: DatagramSocket;
  readonly #buffer = new Uint8Array(LONGEST);
  #received: Datagram | null = null;
  #closed = false;
  #endPause = () => {};

  constructor(socket: DatagramSocket) {
    this.#socket = socket;
  }

  /** The address that the socket is bound to. */
  get localAddr(): Deno.Addr {
    return this.#socket.addr;
  }

  /** Receives one datagram and keeps it; the byte that it reports is a token. */
  async read(): Promise<number> {
    for (let refusals = 1;; refusals++) {
      try {
        this.#received = ownDatagram(await this.#socket.receive(this.#buffer));
        return 1;
      } catch (error) {
        if (this.#closed) throw error;
        if (!isRefusal(error)) throw endOf(error);
        this.#lose("Cannot send a datagram", null, error);
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

  /** The datagram that the token stands for. */
  take(): Datagram {
    const received = this.#received!;
    this.#received = null;
    return received;
  }

  /** Sends the first datagram in `data`. A failure costs only this datagram. */
  async write(data: Uint8Array): Promise<number> {
    const { length, addr } = this.outgoing.first!;
    try {
      const datagram = data.subarray(0, length);
      const send = () => this.#socket.send(datagram, addr);
      await lookUp(addr.hostname, send);
    } catch (error) {
      const to = formatAddress(addr);
      this.#lose(`Cannot send ${length} bytes to ${to}`, addr, error);
    }
    this.outgoing.shift();
    return Math.max(length, FILLER.length);
  }

  #lose(message: string, addr: Deno.NetAddr | null, cause: unknown): void {
    if (this.#closed) return; // abort() has dropped the datagram.
    this.onLoss(new DatagramError(message, addr, cause));
  }

  /** Fails the receive in flight, and thereby frees the port. */
  close(): void {
    this.#closed = true;
    this.#endPause();
    return this.#socket.close(); // It may be async, against its type.
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

/** Whether an earlier datagram found nobody: Windows tells the receiver so. */
function isRefusal(error: unknown): boolean {
  return error instanceof Deno.errors.ConnectionReset ||
    error instanceof Deno.errors.ConnectionRefused;
}

/**
 * The error of a socket that cannot receive any more. Two kinds of error are no
 * failure of a stream, and are made one here: a disconnect, as a datagram socket
 * has no peer, and "unsupported", as the socket would stay deaf.
 */
function endOf(cause: unknown): unknown {
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

/** Binds a UDP socket, or says what is in the way. */
export function openDatagramSocket(
  addr: Deno.NetAddr,
  reuseAddress: boolean,
): DatagramSocket {
  if (typeof Deno.listenDatagram !== "function") {
    throw new Deno.errors.NotSupported(
      "Cannot bind: this Deno runs without datagrams: start it with " +
        '--unstable-net, or put "unstable": ["net"] into deno.json',
    );
  }
  const { hostname, port } = addr;
  try {
    return Deno.listenDatagram({
      transport: "udp",
      hostname,
      port,
      reuseAddress,
    });
  } catch (error) {
    explain(error, "bind", addr);
    throw error;
  }
}
