/**
 * One side of a connection: what it has sent and received, and when it does
 * what its plan says. Its hooks run under its eyes: some take their time, one
 * throws, and none may run when it should not.
 */

import type { SocketMap } from "../../mod.ts";
import { Content } from "./content.ts";
import { mix, RandomChoices, wait } from "./random.ts";
import { complain, isPlanned, PlannedError, PlannedExit } from "./order.ts";
import type { Fault, Plan, SideName, SidePlan } from "./plan.ts";

/** How long all pauses of one side may take together, in ms. */
const MOST_PAUSES = 1_500;
/** How long an async hook takes at most, in ms, and how many take any time. */
const LONGEST_HOOK = 12;
const MOST_SLOW_HOOKS = 40;
const SCRIBBLE = 0xee;
/** The faults that one side does when it has come so far. */
const ACTIONS = ["reset", "abort", "idle", "close"];
/** The hooks that hand out what has arrived. */
const INPUT = ["collectIncomingData", "foundTerminator"];

/** What is counted in all. */
export const counts = { hookErrors: 0, received: 0 };

/** What a side can be told to do, however it is made. */
export interface Party {
  /** Ends the writing direction: all is sent. */
  endWriting(): void;
  /** Closes: all is sent and received. */
  finish(): void;
  /** Does what its fault says. */
  act(fault: Fault): void;
  /** Joins another map. */
  move(map: SocketMap): void;
  /** Nothing of it is left. */
  readonly isGone: boolean;
  /** Why the connection ended, if the library says so. */
  readonly closeReason: Error | null;
}

/** One side of a connection. */
export class Side {
  readonly name: SideName;
  readonly plan: SidePlan;
  /** What it does wrong. */
  readonly fault: Fault | null;
  readonly random: RandomChoices;
  /** What it sends, and what it receives. */
  readonly output: Content;
  readonly input: Content;
  peer!: Side;
  party: Party | null = null;
  /** The map that it may move to. */
  otherMap: SocketMap | null = null;

  /** Bytes that were handed out to be sent, and those accepted for certain. */
  offered = 0;
  accepted = 0;
  connects = 0;
  closes = 0;
  readonly timeouts: string[] = [];
  readonly timedOut: PromiseWithResolvers<void> = Promise.withResolvers();
  /** Errors that nobody planned: they may follow from a fault. */
  readonly failures: unknown[] = [];
  /** It is closed: no hook may run. */
  isOver = false;
  /** … by itself, rather than by `handleClose()`. */
  closedItself = false;
  /** What is to go wrong on this side has done so. */
  fired = false;
  /** How often it has stopped reading for a while. */
  stalls = 0;
  begun = false;
  peerEnded = false;
  isResting = false;
  /** It sends nothing more, and does not end by itself … */
  isStalled = false;
  /** … and is to hear nothing more. */
  isDeaf = false;

  readonly #where: () => string;
  readonly #number: number;
  #toldSent = false;
  #hasMoved = false;
  #paused = 0;
  #kept: { at: number; data: Uint8Array } | null = null;
  #calls = 0;
  #errorCalls = 0;
  /** The async hook that waits. */
  #waiting: string | null = null;

  constructor(id: number, name: SideName, plan: Plan, where: () => string) {
    const mine = name === "server" ? 1 : 0;
    const peer = name === "server" ? plan.client : plan.server;
    this.name = name;
    this.plan = plan[name];
    this.fault = plan.fault.by === name ? plan.fault : null;
    this.random = new RandomChoices(mix(this.plan.seed, id));
    this.output = new Content(2 * id + mine, this.plan.size);
    this.input = new Content(2 * id + 1 - mine, peer.size);
    this.#where = where;
    this.#number = plan.number;
  }

  /** Says what is wrong. */
  complain(text: string): never {
    complain(`the ${this.name}: ${text}\n${this.#where()}`, this.#number);
  }

  // Sending

  /** Starts to send what there is. */
  begin(): void {
    this.begun = true;
    this.lookAtEnd();
  }

  get hasMore(): boolean {
    return this.offered < this.plan.size && !this.isOver;
  }
  /** There is something to send, and it is time to. */
  get mayOffer(): boolean {
    return this.hasMore && this.begun && !this.isResting && !this.isStalled;
  }

  /** The next piece, which counts as handed out. */
  offer(): Uint8Array {
    const { random, plan, offered } = this;
    const least = random.chance(0.1) ? 1 : Math.ceil(plan.piece / 2);
    const length = Math.min(plan.size - offered, random.log(least, plan.piece));
    this.offered += length;
    return this.output.slice(offered, length);
  }

  /** All that was handed out was accepted. */
  accept(): void {
    this.accepted = this.offered;
    this.onProgress();
    if (this.accepted === this.plan.size) this.lookAtEnd();
  }

  /** Sends the next piece by `send`; tells whether it was taken. */
  sendBy(send: (data: Uint8Array) => number): boolean {
    const piece = this.offer();
    const data = this.plan.scribbles ? piece.slice() : piece;
    const length = send(data);
    if (length !== 0 && length !== data.length) {
      this.complain(`send() took ${length} bytes of ${data.length}`);
    }
    if (data !== piece) data.fill(SCRIBBLE);
    if (length === 0) this.offered -= piece.length;
    this.accept();
    return length > 0;
  }

  /** How long to pause now, in ms: to ask counts as pausing. */
  takePause(): number {
    const { pause, drips } = this.plan;
    if (!this.hasMore || !(drips || this.random.chance(0.4))) return 0;
    this.#paused += pause;
    return this.#paused < MOST_PAUSES || drips ? pause : 0;
  }

  // Receiving

  /** Looks at what has arrived. */
  take(data: Uint8Array): void {
    if (this.isOver) this.complain("received after it was closed");
    const { input, plan } = this;
    const kept = this.#kept;
    const changed = kept && input.check(kept.data, kept.at);
    if (changed) this.complain(`what was received has changed: ${changed}`);
    const wrong = input.check(data, input.at);
    if (wrong) this.complain(wrong);
    this.#kept = plan.scribbles || data.length > 4_096
      ? null
      : { at: input.at, data };
    input.at += data.length;
    counts.received += data.length;
    if (plan.scribbles) data.fill(SCRIBBLE);
    this.onProgress();
    if (input.isComplete) this.lookAtEnd();
  }

  /** How long to read nothing, in ms. */
  takeReadPause(): number {
    if (this.stalls > 20 || this.random.chance(0.5)) return 0;
    if (this.plan.readPause > 0) this.stalls++;
    return this.plan.readPause;
  }

  /** The peer's end of the stream, while ours goes on. */
  onPeerEnd(): void {
    this.peerEnded = true;
    if (this.plan.startsLast) this.begin();
    else this.lookAtEnd();
  }

  // What follows

  /** Does what is due when all is sent, or received. */
  lookAtEnd(): void {
    const { party, plan, begun, isOver, isStalled } = this;
    if (!party || isOver || isStalled || !begun || this.#toldSent) return;
    if (this.accepted < plan.size) return;
    const isHalf = plan.ending === "halves" || this.peerEnded;
    if (!isHalf && !(plan.ending === "closes" && this.input.isComplete)) return;
    this.#toldSent = true;
    if (isHalf) party.endWriting();
    else party.finish();
  }

  /** Bytes have gone or come. */
  onProgress(): void {
    const { fault, plan, party } = this;
    const progress = this.accepted + this.input.at;
    if (this.isOver || !party) return;
    if (plan.moves && !this.#hasMoved && progress > plan.size / 2) {
      this.#hasMoved = true;
      party.move(this.otherMap!);
    }
    // Nothing goes wrong until the other side is there.
    if (!fault || this.fired || !this.peer.party) return;
    if (!ACTIONS.includes(fault.kind) || progress < fault.at) return;
    this.fired = true;
    if (fault.kind === "idle") this.stalls++;
    if (!fault.outside) party.act(fault);
    else setTimeout(() => this.isOver || party.act(fault), 0);
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
    this.closedItself = this.closes === 0;
  }

  // Hooks

  /**
   * Runs a hook's work, at once or after a while, with the error that is due.
   * `early` ones come before the work, which is then left for another event.
   */
  hook(
    place: string,
    work: () => void,
    early = false,
  ): void | Promise<void> {
    if (this.isOver) this.complain(`${place}() ran after close()`);
    if (this.isDeaf && INPUT.includes(place)) {
      this.complain(`${place}() ran after closeWhenDone()`);
    }
    if (this.#waiting !== null && place !== "handleClose") {
      this.complain(`${place}() ran while ${this.#waiting}() was pending`);
    }
    const error = this.errorAt(place);
    const act = () => {
      if (error && early) throw error;
      work();
      if (error) throw error;
    };
    if (!(error && this.fault!.rejects) && !this.#isSlow()) return act();
    this.#waiting = place;
    const { isOver } = this;
    return wait(this.random.int(0, LONGEST_HOOK)).then(() => {
      this.#waiting = null;
      if (this.isOver === isOver) act();
      else if (error) throw error;
    });
  }

  #isSlow(): boolean {
    const { asyncEvery } = this.plan;
    if (asyncEvery === 0 || ++this.#calls % asyncEvery > 0) return false;
    return this.#calls / asyncEvery <= MOST_SLOW_HOOKS;
  }

  /** The error that is due at this call, if one is. */
  errorAt(place: string): Error | null {
    const { fault } = this;
    if (fault?.kind !== "hookError" || fault.place !== place) return null;
    if (!this.peer.party || ++this.#errorCalls !== fault.call) return null;
    this.fired = true;
    counts.hookErrors++;
    const Kind = fault.then === "exits" ? PlannedExit : PlannedError;
    return new Kind(`planned for connection ${this.#number}`);
  }

  /** What `handleError()` does; `otherwise` is its default. */
  onError(
    error: unknown,
    otherwise: () => void | Promise<void>,
  ): void | Promise<void> {
    if (!isPlanned(error)) {
      this.failures.push(error);
      return otherwise();
    }
    const { then, rejects } = this.fault!;
    if (then === "survives") return;
    if (then !== "fails") return otherwise();
    counts.hookErrors++;
    const second = new PlannedError("of handleError() itself");
    if (rejects) return Promise.reject(second);
    throw second;
  }

  /** How far it has come. */
  toString(): string {
    const { name, plan, party, input, closes, accepted, offered } = this;
    const there = party?.isGone ? "gone" : "there";
    const state = party ? there : "not there";
    const reasons = [party?.closeReason, ...this.failures].filter(Boolean);
    return `  ${name} (${plan.kind}), ${state}: ` +
      `${accepted} of ${plan.size} bytes accepted (${offered} offered), ` +
      `${input.at} of ${input.size} received, handleClose() ran ${closes} ` +
      `times, closed itself: ${this.closedItself}; ${reasons.join("; ")}`;
  }
}
