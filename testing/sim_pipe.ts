/**
 * One direction of a simulated connection. It keeps what TCP promises (no loss,
 * no doubling, no reordering) and nothing else: segments of any size, a window
 * that fills, stalls, retransmissions, resets.
 *
 * @module
 */

import { type DrawKind, drawKind } from "./fault_plan.ts";
import { Loss, type MessageRoute, Packet, type Segment } from "./packet.ts";
import type { Process, Wire } from "./simulation.ts";

/** How many bytes may be in flight or unread: the TCP window without scaling. */
const WINDOW = 64 * 1024;
/** The first and the longest retransmission timeout, in ms, as Linux has them. */
const MIN_RTO = 200;
const MAX_RTO = 120_000;
/**
 * How long a peer may be unreachable before the connection is given up, in ms:
 * a quarter of an hour, as by default on Linux (`tcp_retries2`).
 */
const GIVE_UP_AFTER = 900_000;
/** Into how many segments a write is split at most: few, as each is an event. */
const MAX_SEGMENTS = 4;

const SPLIT = drawKind("split");
const STALL = drawKind("stall");
const RESET = drawKind("reset");
const PIECES = drawKind("pieces");
const PIECE = drawKind("piece");
const STALL_TIME = drawKind("stallTime");

/** An end of the connection, as far as its pipes need it. */
export interface PipeEnd {
  readonly process: Process;
  readonly isClient: boolean;
  /** A write waits for the window to open. */
  readonly isBlocked: boolean;
  /** Something has arrived; {@linkcode PipeEnd.wake} follows. */
  receive(segment: Segment): void;
  /** All that arrives at this moment has been received. */
  wake(): void;
  /** The window may be open again. */
  resume(): void;
  /** The connection is broken. */
  fail(error: Error): void;
}

function sizeOf(segment: Segment): number {
  return typeof segment === "string" ? 0 : segment.end - segment.start;
}

/** Carries bytes from one end to the other. */
export class Pipe {
  readonly #wire: Wire;
  readonly #name: string;
  readonly #route: MessageRoute;
  /** Keeps its random numbers apart from those of other pipes. */
  readonly key: number;
  readonly #from: PipeEnd;
  readonly #to: PipeEnd;
  /** Bytes in flight, or arrived and unread. */
  #used = 0;
  readonly #inFlight: Packet[] = [];
  #lastArrival = -1;
  #sent = 0;
  /** The retransmission timeout that runs; 0 if there is none. */
  #rto = 0;
  #unreachableSince = 0;
  /** A reset was sent: nothing comes after it, even if it gets lost. */
  #isReset = false;
  /** A window update is in flight. */
  #isUpdating = false;

  constructor(wire: Wire, id: number, from: PipeEnd, to: PipeEnd) {
    this.#wire = wire;
    const [sender, receiver] = [from.process.name, to.process.name];
    this.#name = `#${id} ${sender}>${receiver}`;
    this.#route = { connection: id, from: sender, to: receiver };
    this.key = 2 * id + (from.isClient ? 0 : 1);
    this.#from = from;
    this.#to = to;
  }

  /** How many more bytes may be written now. */
  get window(): number {
    return WINDOW - this.#used;
  }

  /** Sends bytes, perhaps in segments. */
  write(data: Uint8Array): void {
    const { faultPlan, slab } = this.#wire;
    const { split } = faultPlan.faults;
    const nth = this.#sent + 1;
    const { buffer, start, end } = slab.copy(data);
    let at = start;
    if (data.length > 1 && this.#injects(SPLIT, split, nth)) {
      const segments = faultPlan.upTo(MAX_SEGMENTS - 1, PIECES, this.key, nth);
      for (let i = 0; i < segments && at < end - 1; i++) {
        const most = end - at - 1;
        const size = faultPlan.upTo(most, PIECE, this.key, this.#sent + 1);
        this.send({ buffer, start: at, end: at + size });
        at += size;
      }
    }
    this.send({ buffer, start: at, end });
  }

  #injects(kind: DrawKind, chance: number, nth: number): boolean {
    return this.#wire.faultPlan.injects(
      kind,
      chance,
      this.#name,
      this.key,
      nth,
    );
  }

  send(segment: Segment): void {
    if (this.#isReset && segment !== "reset") return;
    const wire = this.#wire;
    const { reset, stall, stallTime } = wire.faultPlan.faults;
    const bytes = sizeOf(segment);
    const nth = ++this.#sent;
    this.#used += bytes;
    const from = this.#from;
    let delay = wire.delay(
      from.process,
      this.#to.process,
      bytes,
      this.key,
      nth,
    );
    const isLate = this.#injects(STALL, stall, nth);
    if (isLate) {
      delay += wire.faultPlan.between(0, stallTime, STALL_TIME, this.key, nth);
    }
    if (segment !== "reset" && this.#injects(RESET, reset, nth)) {
      segment = "reset";
      wire.after(delay, () => {
        from.receive("reset");
        from.wake();
      });
    }
    this.#isReset ||= segment === "reset";
    const arrival = Math.max(this.#lastArrival, wire.now + delay);
    const { now, decode } = wire;
    this.#inFlight.push(
      new Packet(this.#route, segment, now, arrival, isLate, decode),
    );
    // Segments that arrive together are taken together, and may be read as one.
    if (arrival === this.#lastArrival) return;
    this.#lastArrival = arrival;
    wire.after(arrival - wire.now, this.#onArrival);
  }

  readonly #onArrival = (): void => {
    if (this.#rto === 0) this.#deliver();
  };

  #deliver(): void {
    const wire = this.#wire;
    const { process } = this.#from;
    const isLost = wire.isUnreachable(process, this.#to.process);
    const inFlight = this.#inFlight;
    while (inFlight.length > 0 && inFlight[0]!.arrival <= wire.now) {
      const packet = inFlight[0]!;
      const { segment } = packet;
      // A reset is sent once, and a host that lost power retransmits nothing.
      if (isLost && segment !== "reset" && process.hasKernel) {
        this.#retransmitLater();
        break;
      }
      inFlight.shift();
      if (isLost) this.#lose(packet);
      if (isLost && segment !== "reset") {
        // The segments behind it would leave a gap.
        inFlight.length = 0;
        this.#isReset = true;
      }
      if (isLost) continue;
      packet.arrive();
      wire.note(packet);
      this.#to.receive(segment);
    }
    if (!isLost) this.#to.wake();
  }

  #lose(packet: Packet): void {
    packet.losses++;
    this.#wire.note(new Loss(packet));
  }

  #retransmitLater(): void {
    const wire = this.#wire;
    this.#lose(this.#inFlight[0]!);
    if (this.#rto === 0) this.#unreachableSince = wire.now;
    if (wire.now - this.#unreachableSince > GIVE_UP_AFTER) {
      wire.note(`${this.#name} given up`);
      this.#rto = this.#inFlight.length = 0;
      this.#from.fail(new Deno.errors.TimedOut("Connection timed out"));
      return;
    }
    this.#rto = Math.min(2 * this.#rto || MIN_RTO, MAX_RTO);
    wire.after(this.#rto, () => {
      // Without its kernel nobody can retransmit.
      if (!this.#from.process.hasKernel) {
        this.#rto = this.#inFlight.length = 0;
      } else if (wire.isUnreachable(this.#from.process, this.#to.process)) {
        this.#retransmitLater();
      } else {
        this.#rto = 0;
        this.#deliver();
      }
    });
  }

  /** The other end has read so many bytes: the window opens. */
  release(bytes: number): void {
    this.#used -= bytes;
    if (!this.#from.isBlocked || this.#isUpdating) return;
    this.#isUpdating = true;
    const wire = this.#wire;
    const [from, to] = [this.#from.process, this.#to.process];
    const nth = ++this.#sent;
    const open = (): void => {
      // The update may get lost, and is sent again.
      if (wire.isUnreachable(to, from)) wire.after(MIN_RTO, open);
      else {
        this.#isUpdating = false;
        this.#from.resume();
      }
    };
    wire.after(wire.delay(to, from, 0, this.key, nth), open);
  }
}
