/**
 * One side of a connection: what it has sent and received, and when it does
 * what its plan says.
 */

import { complain } from "./messages.ts";
import { Checker, Content } from "./content.ts";
import { Dice, mix } from "./dice.ts";
import { type Counts, HookWatch } from "./hook_watch.ts";
import type { Fault, Kind, Plan, SideName, SidePlan } from "./plan.ts";

/** How long all pauses of one side may take together, in ms. */
const MOST_PAUSES = 1_500;
const SCRIBBLE = 0xee;

/** What a side can be told to do, however it is made. */
export interface Party {
  /** Ends the writing direction: all is sent. */
  endWriting(): void;
  /** Closes: all is sent and received. */
  finish(): void;
  /** Does what its fault says. */
  act(fault: Fault): void;
  /** Joins another map. */
  move(): void;
  /** Nothing of it is left. */
  readonly isGone: boolean;
  /** Why the connection ended, if the library says so. */
  readonly closeReason: Error | null;
}

/** One side of a connection. */
export class Side {
  readonly id: number;
  readonly name: SideName;
  readonly plan: SidePlan;
  readonly fault: Fault | null;
  readonly dice: Dice;
  /** Stands between its hooks and what they do. */
  readonly hooks: HookWatch;
  /** What it sends. */
  readonly content: Content;
  /** What it receives. */
  readonly input: Checker;
  party: Party | null = null;
  /** Settles when the peer has given up waiting for this side. */
  givenUp: Promise<void> = Promise.resolve();

  /** Bytes that were handed out to be sent … */
  offered = 0;
  /** … and those that were accepted for certain. */
  accepted = 0;
  connects = 0;
  closes = 0;
  timeouts: string[] = [];
  /** Settles with the first of them. */
  readonly timedOut: PromiseWithResolvers<void> = Promise.withResolvers();
  /** Errors that nobody planned: they may follow from a fault. */
  failures: unknown[] = [];
  /** It closed or aborted by itself, rather than by `handleClose()`. */
  closedItself = false;
  /** It is closed: no hook may run. */
  isOver = false;
  closedAt = Infinity;
  /** It takes something in a read event, or did so when it closed. */
  isTaking = false;
  /** What is to go wrong on this side has done so. */
  fired = false;
  /** How often it has stopped reading for a while. */
  stalls = 0;
  /** It sends nothing more, and does not end by itself … */
  isStalled = false;
  /** … and reads nothing for a while … */
  isHeld = false;
  /** … or says no more, and is to hear nothing more. */
  isDeaf = false;
  begun = false;
  peerEnded = false;

  readonly #counts: Counts;
  readonly #describe: () => string;
  readonly #number: number;
  #toldSent = false;
  #hasMoved = false;
  #pieces = 0;
  #rests = false;
  #paused = 0;
  #kept: { at: number; data: Uint8Array } | null = null;

  constructor(
    id: number,
    name: SideName,
    plan: Plan,
    { counts, running, describe }: {
      counts: Counts;
      running: Int32Array;
      describe: () => string;
    },
  ) {
    const { fault } = plan;
    const peer = name === "server" ? plan.client : plan.server;
    this.id = id;
    this.name = name;
    this.plan = plan[name];
    this.fault = fault?.by === name ? fault : null;
    this.dice = new Dice(mix(this.plan.seed, id));
    const [mine, theirs] = name === "server" ? [1, 0] : [0, 1];
    this.content = new Content(2 * id + mine, this.plan.size);
    this.input = new Checker(new Content(2 * id + theirs, peer.size));
    this.#counts = counts;
    this.hooks = new HookWatch(this, counts, running);
    this.#describe = describe;
    this.#number = plan.number;
  }

  /** Says what is wrong. */
  complain(text: string): void {
    complain(`the ${this.name}: ${text}`, this.#describe(), this.#number);
  }

  /** It has sent all, and ended its writing while it could still hear. */
  get hasEndedWriting(): boolean {
    const { ending, size } = this.plan;
    return ending === "halves" && this.begun && this.accepted === size;
  }

  // Sending

  /** Starts to send what there is. */
  begin(): void {
    this.begun = true;
    this.lookAtEnd();
  }

  /** There is something to send, and it is time to. */
  get mayOffer(): boolean {
    return this.hasMore && this.begun && !this.#rests && !this.isStalled;
  }
  get hasMore(): boolean {
    return this.offered < this.plan.size && !this.isOver;
  }

  /** The next piece, which counts as handed out. */
  offer(): Uint8Array {
    const left = this.plan.size - this.offered;
    const { dice, plan } = this;
    const least = dice.chance(0.1) ? 1 : Math.ceil(plan.piece / 2);
    const length = Math.min(left, dice.log(least, plan.piece));
    const piece = this.content.slice(this.offered, length);
    this.offered += length;
    this.#pieces++;
    return piece;
  }

  /** So many of the bytes that were handed out last were accepted. */
  accept(length: number, of: number): void {
    this.offered -= of - length;
    this.accepted = this.offered;
    this.onProgress();
    if (this.accepted === this.plan.size) this.lookAtEnd();
  }

  /** Sends the next piece by `send`; returns how much of it was taken. */
  sendBy(send: (data: Uint8Array) => number): number {
    const piece = this.offer();
    const data = this.plan.scribbles ? piece.slice() : piece;
    const length = send(data);
    if (length !== 0 && length !== data.length) {
      this.complain(`send() took ${length} bytes of ${data.length}`);
    }
    if (data !== piece) data.fill(SCRIBBLE);
    this.accept(length, piece.length);
    return length;
  }

  /** How long to pause now, in ms: to ask counts as pausing. */
  takePause(): number {
    const { pause, pauseEvery, drips } = this.plan;
    if (pause === 0 || this.#pieces % pauseEvery > 0) return 0;
    this.#paused += pause;
    return this.#paused < MOST_PAUSES || drips ? pause : 0;
  }

  /** Pauses if it is time to, and then goes on. */
  rest(later: (delay: number, then: () => void) => void, goOn: () => void) {
    if (this.#rests || !this.hasMore) return;
    const pause = this.takePause();
    if (pause === 0) return;
    this.#rests = true;
    later(pause, () => {
      this.#rests = false;
      goOn();
    });
  }

  // Receiving

  /** Looks at what has arrived. */
  take(data: Uint8Array): void {
    const kept = this.#kept;
    if (kept !== null) {
      const { at } = this.input;
      this.input.at = kept.at;
      const wrong = this.input.take(kept.data);
      if (wrong) this.complain(`what was received has changed since: ${wrong}`);
      this.input.at = at;
    }
    const wrong = this.input.take(data);
    if (wrong) this.complain(wrong);
    if (this.isOver) this.complain("received after it was closed");
    this.#counts.received += data.length;
    const { scribbles } = this.plan;
    this.#kept = scribbles || data.length > 4_096
      ? null
      : { at: this.input.at - data.length, data };
    if (scribbles) data.fill(SCRIBBLE);
    this.isTaking = READS.has(this.plan.kind);
    this.onProgress();
    if (this.input.isComplete) this.lookAtEnd();
    if (!this.isOver) this.isTaking = false;
  }

  /** The peer's end of the stream, while ours goes on. */
  onPeerEnd(): void {
    this.peerEnded = true;
    this.lookAtEnd();
  }

  // What follows

  /** Does what is due when all is sent, or received. */
  lookAtEnd(): void {
    const { party, plan } = this;
    if (!party || this.isOver || this.isStalled || !this.begun) return;
    if (this.accepted < plan.size) return;
    const { ending } = plan;
    if (!this.#toldSent && (ending === "halves" || this.peerEnded)) {
      this.#toldSent = true;
      party.endWriting();
    } else if (ending === "closes" && this.input.isComplete) {
      if (this.#toldSent) return;
      this.#toldSent = true;
      party.finish();
    }
  }

  /** Bytes have gone or come. */
  onProgress(): void {
    const { fault, plan, party } = this;
    const progress = this.accepted + this.input.at;
    if (plan.movesAt >= 0 && progress >= plan.movesAt && !this.#hasMoved) {
      this.#hasMoved = true;
      if (!this.isOver) party?.move();
    }
    if (fault === null || this.fired || this.isOver || party === null) return;
    if (!ACTIONS.has(fault.kind)) return;
    const isDue = fault.hearsAll
      ? this.input.isComplete && this.accepted >= fault.at
      : progress >= fault.at;
    if (isDue) this.#fire(fault, party);
  }

  #fire(fault: Fault, party: Party): void {
    this.fired = true;
    if (fault.kind === "idle") {
      this.stalls++;
      this.isStalled = this.isHeld = true;
    }
    if (fault.outside) {
      setTimeout(() => this.isOver || party.act(fault), 0);
    } else party.act(fault);
  }

  /** The connection was silent for too long, or has lasted too long. */
  onTimeout(kind: string): void {
    this.timeouts.push(kind);
    this.fired = true;
    this.timedOut.resolve();
  }

  /** The socket is being closed by a call of `close()` or `abort()`. */
  onClose(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.closedAt = performance.now();
    if (this.closes === 0) this.closedItself = true;
  }
}

/** Those who take what arrives in a read event, and nowhere else. */
const READS: ReadonlySet<Kind> = new Set<Kind>(["predicates", "buffered"]);

/** The kinds of faults that one side does when it has come so far. */
const ACTIONS: ReadonlySet<string> = new Set([
  "reset",
  "abort",
  "idle",
  "closePending",
]);
