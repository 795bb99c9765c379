/**
 * One direction of a simulated connection. It keeps what TCP promises (no loss,
 * no doubling, no reordering) and nothing else: pieces of any size, a window
 * that fills, stalls, retransmissions, resets.
 *
 * @module
 */

import { type Kind, kindOf } from "./faults.ts";
import type { Life, Wire } from "./sim_wire.ts";
import type { Bytes } from "./slab.ts";

/** How many bytes may be under way and unread. */
const WINDOW = 64 * 1024;
/** How long the first retransmission waits, and the longest, in ms. */
const FIRST_RETRY = 200;
const LONGEST_RETRY = 120_000;
/** How long a peer may be out of reach before the connection is given up, in ms. */
const PATIENCE = 900_000;
/** Into how many pieces a write is cut at most. */
const MOST_PIECES = 4;

const SPLIT = kindOf("split");
const STALL = kindOf("stall");
const RESET = kindOf("reset");
const PIECES = kindOf("pieces");
const PIECE = kindOf("piece");
const STALL_TIME = kindOf("stallTime");

/** What travels; a `"hello"` is a TLS handshake's. */
export type Piece = Bytes | "end" | "reset" | "hello";

/** What a pipe needs of the connection's two ends. */
export interface PipeEnd {
  readonly life: Life;
  readonly isClient: boolean;
  /** A write waits for room. */
  readonly isBlocked: boolean;
  /** Something has arrived; {@linkcode PipeEnd.wake} follows. */
  receive(piece: Piece): void;
  /** All that has arrived at this moment is there. */
  wake(): void;
  /** There may be room again. */
  resume(): void;
  /** The connection is broken. */
  fail(error: Error): void;
}

/** A piece and when it arrives. */
interface Shipment {
  piece: Piece;
  arrival: number;
}

function sizeOf(piece: Piece): number {
  return typeof piece === "string" ? 0 : piece.end - piece.start;
}

/** Carries bytes from one end to the other. */
export class Pipe {
  readonly #wire: Wire;
  readonly #name: string;
  /** Tells the pipe from all others in questions to fate. */
  readonly key: number;
  readonly #from: PipeEnd;
  readonly #to: PipeEnd;
  /** Bytes under way, or arrived and unread. */
  #used = 0;
  readonly #underWay: Shipment[] = [];
  #lastArrival = -1;
  #sent = 0;
  /** How long the retransmission that is waited for waits; 0 if there is none. */
  #retry = 0;
  #retriesSince = 0;
  /** A reset was sent: nothing else comes after it, also if it gets lost. */
  #isReset = false;
  /** The news that there is room are under way. */
  #isOpening = false;

  constructor(wire: Wire, id: number, from: PipeEnd, to: PipeEnd) {
    this.#wire = wire;
    this.#name = `#${id} ${from.life.name}>${to.life.name}`;
    this.key = 2 * id + (from.isClient ? 0 : 1);
    this.#from = from;
    this.#to = to;
  }

  /** How many bytes may be written now. */
  get room(): number {
    return WINDOW - this.#used;
  }

  /** Sends bytes, perhaps in pieces. */
  write(data: Uint8Array): void {
    const { fate, slab } = this.#wire;
    const { split } = fate.faults;
    const nth = this.#sent + 1;
    const { buffer, start, end } = slab.copy(data);
    let at = start;
    if (data.length > 1 && this.#strikes(SPLIT, split, nth)) {
      const pieces = fate.upTo(MOST_PIECES - 1, PIECES, this.key, nth);
      for (let i = 0; i < pieces && at < end - 1; i++) {
        const most = end - at - 1;
        const size = fate.upTo(most, PIECE, this.key, this.#sent + 1);
        this.send({ buffer, start: at, end: at + size });
        at += size;
      }
    }
    this.send({ buffer, start: at, end });
  }

  #strikes(kind: Kind, chance: number, nth: number): boolean {
    return this.#wire.fate.strikes(kind, chance, this.#name, this.key, nth);
  }

  send(piece: Piece): void {
    if (this.#isReset && piece !== "reset") return;
    const wire = this.#wire;
    const { reset, stall, stallTime } = wire.fate.faults;
    const bytes = sizeOf(piece);
    const nth = ++this.#sent;
    this.#used += bytes;
    const from = this.#from;
    let delay = wire.delay(from.life, this.#to.life, bytes, this.key, nth);
    if (this.#strikes(STALL, stall, nth)) {
      delay += wire.fate.between(0, stallTime, STALL_TIME, this.key, nth);
    }
    if (piece !== "reset" && this.#strikes(RESET, reset, nth)) {
      piece = "reset";
      wire.after(delay, () => {
        from.receive("reset");
        from.wake();
      });
    }
    this.#isReset ||= piece === "reset";
    const arrival = Math.max(this.#lastArrival, wire.now + delay);
    this.#underWay.push({ piece, arrival });
    // What arrives together is taken together, and may be read as one.
    if (arrival === this.#lastArrival) return;
    this.#lastArrival = arrival;
    wire.after(arrival - wire.now, this.#onArrival);
  }

  readonly #onArrival = (): void => {
    if (this.#retry === 0) this.#deliver();
  };

  #deliver(): void {
    const wire = this.#wire;
    const { life } = this.#from;
    const isLost = wire.isCut(life, this.#to.life);
    const underWay = this.#underWay;
    while (underWay.length > 0 && underWay[0]!.arrival <= wire.now) {
      const { piece } = underWay[0]!;
      // A reset is sent once, and who lost power sends nothing again.
      if (isLost && piece !== "reset" && life.hasSystem) {
        this.#retryLater();
        break;
      }
      underWay.shift();
      if (isLost && piece !== "reset") {
        // What is behind it would leave a gap.
        underWay.length = 0;
        this.#isReset = true;
      }
      if (isLost) continue;
      if (typeof piece === "string") wire.note(`${this.#name} ${piece}`);
      else wire.note(this.#name, sizeOf(piece));
      this.#to.receive(piece);
    }
    if (!isLost) this.#to.wake();
  }

  #retryLater(): void {
    const wire = this.#wire;
    if (this.#retry === 0) this.#retriesSince = wire.now;
    if (wire.now - this.#retriesSince > PATIENCE) {
      wire.note(`${this.#name} given up`);
      this.#retry = this.#underWay.length = 0;
      this.#from.fail(new Deno.errors.TimedOut("Connection timed out"));
      return;
    }
    this.#retry = Math.min(2 * this.#retry || FIRST_RETRY, LONGEST_RETRY);
    wire.after(this.#retry, () => {
      // What was lost is lost for good if nobody can send it again.
      if (!this.#from.life.hasSystem) {
        this.#retry = this.#underWay.length = 0;
      } else if (wire.isCut(this.#from.life, this.#to.life)) this.#retryLater();
      else {
        this.#retry = 0;
        this.#deliver();
      }
    });
  }

  /** The other end has read so many bytes: there is room for more. */
  release(bytes: number): void {
    this.#used -= bytes;
    if (!this.#from.isBlocked || this.#isOpening) return;
    this.#isOpening = true;
    const wire = this.#wire;
    const [from, to] = [this.#from.life, this.#to.life];
    const nth = ++this.#sent;
    const open = (): void => {
      // The news of it may get lost, and is sent again.
      if (wire.isCut(to, from)) wire.after(FIRST_RETRY, open);
      else {
        this.#isOpening = false;
        this.#from.resume();
      }
    };
    wire.after(wire.delay(to, from, 0, this.key, nth), open);
  }
}
