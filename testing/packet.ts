/**
 * What travels on a simulated connection, as the trace tells of it:
 * {@linkcode Packet}.
 *
 * @module
 */

import type { Bytes } from "./slab.ts";

/** A unit that travels: bytes, FIN, RST, or the hello of a TLS handshake. */
export type Segment = Bytes | "end" | "reset" | "hello";

/** The direction of a connection that a message travels in. */
export interface MessageRoute {
  /** The number of the connection: the trace writes it as `#3`. */
  readonly connection: number;
  /** The name of the host that sends. */
  readonly from: string;
  /** The name of the host that receives. */
  readonly to: string;
}

/** Tells in a few words what bytes mean. */
export type Decode = (data: Uint8Array, route: MessageRoute) => string;

/** A longer text of a decoder is cut: the trace has a line for each packet. */
const LONGEST_TEXT = 200;

/** A segment on its way, and in the trace when it has arrived. */
export class Packet {
  readonly route: MessageRoute;
  /** When it was sent, in simulated ms. */
  readonly sent: number;
  /** When it arrives, unless it is lost on its way. */
  readonly arrival: number;
  /** How many bytes it carries. */
  readonly bytes: number;
  /** A fault has made it late. */
  readonly isLate: boolean;
  /** How often it was lost and sent again. */
  losses = 0;
  /** Without bytes: which kind of segment it is. */
  readonly #mark: "" | "end" | "reset" | "hello";
  #data: Bytes | null;
  readonly #decode: Decode | null;

  constructor(
    route: MessageRoute,
    segment: Segment,
    sent: number,
    arrival: number,
    isLate: boolean,
    decode: Decode | null,
  ) {
    this.route = route;
    this.sent = sent;
    this.arrival = arrival;
    this.isLate = isLate;
    this.#decode = decode;
    this.#mark = typeof segment === "string" ? segment : "";
    this.#data = typeof segment === "string" ? null : segment;
    this.bytes = this.#data ? this.#data.end - this.#data.start : 0;
  }

  get segment(): Segment {
    return this.#mark || this.#data!;
  }
  get isReset(): boolean {
    return this.#mark === "reset";
  }

  /** It has arrived. Without a decoder nobody asks for its bytes any more. */
  arrive(): void {
    if (this.#decode === null) this.#data = null;
  }

  /** What it carries: by the decoder, or how many bytes. */
  get content(): string {
    if (this.#mark) return this.#mark;
    const size = `${this.bytes} bytes`;
    if (this.#decode === null || this.#data === null) return size;
    const { buffer, start, end } = this.#data;
    const text = decoded(this.#decode, buffer.slice(start, end), this.route);
    return `${size}: ${text}`;
  }

  toString(): string {
    const { connection, from, to } = this.route;
    return `#${connection} ${from}>${to} ${this.content}`;
  }
}

/** The text of a decoder, on one line. A decoder that fails loses no trace. */
function decoded(
  decode: Decode,
  data: Uint8Array,
  route: MessageRoute,
): string {
  let text: string;
  try {
    text = String(decode(data, route));
  } catch (error) {
    text = `decode() failed: ${error}`;
  }
  const line = text.replaceAll(/[\s\p{C}]+/gu, " ").trim();
  return line.length > LONGEST_TEXT ? `${line.slice(0, LONGEST_TEXT)}…` : line;
}

/** A packet did not arrive; unless its host is gone, it is sent again. */
export class Loss {
  readonly packet: Packet;

  constructor(packet: Packet) {
    this.packet = packet;
  }

  toString(): string {
    return `${this.packet} lost`;
  }
}
