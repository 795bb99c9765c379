/** A connection with its two sides, and whether it went as it should. */

import type { Counts } from "./hook_watch.ts";
import { describePlan, type Plan } from "./plan.ts";
import { wasPunctualSince } from "./pace.ts";
import { isPlanned } from "./planned.ts";
import { Side } from "./side.ts";

/**
 * How many times a connection is looked at before it counts as stuck: not a
 * time, as a busy machine takes longer for everything.
 */
const MOST_LOOKS = 1_200;
/** … and before its client counts as gone without having been seen. */
const NOTICE = 300;

/** So many bytes lie in the peer's kernel as soon as they are written. */
const ARRIVES_AT_ONCE = 16 * 1024;

/** What is promised of the bytes that one side sent. */
type Promised =
  /** All of them arrive. */
  | "all"
  /** Those that were accepted before the close arrive. */
  | "accepted"
  /** What arrives is the beginning. */
  | "beginning";

/** Two sides and their plan. */
export class Connection {
  readonly id: number;
  readonly plan: Plan;
  readonly server: Side;
  readonly client: Side;
  /** How many bytes had to arrive. */
  promised = 0;
  #looks = 0;
  #looksWithoutClient = 0;

  constructor(id: number, plan: Plan, counts: Counts, running: Int32Array) {
    this.id = id;
    this.plan = plan;
    const common = { counts, running, describe: () => `${this}` };
    this.server = new Side(id, "server", plan, common);
    this.client = new Side(id, "client", plan, common);
    this.client.givenUp = this.server.timedOut.promise;
  }

  /** The server's side has been made. */
  get isServed(): boolean {
    return this.server.party !== null;
  }

  /** How many bytes both sides send. */
  get size(): number {
    return this.server.plan.size + this.client.plan.size;
  }

  /** What was to go wrong has done so. */
  get fired(): boolean {
    return this.server.fired || this.client.fired;
  }

  /** Nothing of it is left; complains when it takes too long. */
  isGone(): boolean {
    if (++this.#looks === MOST_LOOKS) this.client.complain("it does not end");
    if (!this.client.party!.isGone) return false;
    if (this.isServed) return this.server.party!.isGone;
    // A client that is gone at once may never be seen.
    if (this.isNeverServed) return true;
    return this.fired && ++this.#looksWithoutClient > NOTICE;
  }

  /** Its client is gone, and its server may still come. */
  get mayComeLate(): boolean {
    return !this.isServed && !this.isNeverServed;
  }

  /** What goes wrong keeps it from having a server. */
  get isNeverServed(): boolean {
    const kind = this.plan.fault?.kind;
    return kind === "refused" || kind === "turnedAway" ||
      kind === "badHandshake";
  }

  /** Complains of what went otherwise than it should. */
  judge(): void {
    const { server, client, plan } = this;
    if (this.isNeverServed) return this.#judgeUnserved();
    for (const [from, to] of [[client, server], [server, client]] as const) {
      this.promised += judgeDirection(from, to, this.#promisedOf(from));
    }
    if (this.isServed) judgeClose(server);
    if (plan.client.kind !== "raw") judgeClose(client);
    if (client.connects !== 1 && (this.isServed || client.connects > 1)) {
      client.complain(`has been connected ${client.connects} times`);
    }
    const isClean = this.#promisedOf(client) === "all" &&
      this.#promisedOf(server) === "all";
    if (isClean) { for (const side of [server, client]) judgeClean(side); }
    this.#judgeTimeout();
  }

  /** What is promised of the bytes that `side` sent. */
  #promisedOf(side: Side): Promised {
    const { fault } = this.plan;
    if (fault === null || !this.fired) return "all";
    const isCulprit = fault.by === side.name;
    switch (fault.kind) {
      case "closePending":
      case "closeAll":
      case "shutdown":
        if (isCulprit && (this.#hearsOut(side) || this.#isThere(side))) {
          return "accepted";
        }
        return fault.hearsAll ? "all" : "beginning";
      case "idle":
        return !isCulprit && fault.resumes && this.#heardAllThatWasSaid
          ? "accepted"
          : "beginning";
      case "hookError":
        if (fault.then === "survives" || fault.then === "exits") return "all";
        if (fault.place === "handleClose" || fault.place === "timer") {
          return "all";
        }
        return "beginning";
      default:
        return "beginning";
    }
  }

  /**
   * Nothing comes any more, or what comes is taken. The kernel throws away what
   * the peer has not yet taken when that sends to a socket that is closed.
   */
  #hearsOut({ input, closedAt, isTaking }: Side): boolean {
    if (input.isComplete) return true;
    const isHeard = isTaking || this.plan.client.readsLast;
    return isHeard && wasPunctualSince(closedAt);
  }

  /**
   * What the side sent had reached the peer's kernel when it closed, and there
   * is time to read it: the library does not wait long at a broken connection.
   */
  #isThere(side: Side): boolean {
    return this.plan.transport !== "tls" && side.accepted <= ARRIVES_AT_ONCE &&
      Deno.build.os === "linux" && wasPunctualSince(side.closedAt);
  }

  /** Nothing was on its way to the server when that gave up. */
  get #heardAllThatWasSaid(): boolean {
    return this.server.input.at === this.client.accepted;
  }

  #judgeUnserved(): void {
    const { client, plan } = this;
    if (client.input.at > 0) client.complain("received from nobody");
    if (this.isServed) client.complain("was served");
    if (plan.client.kind !== "raw") judgeClose(client);
    if (plan.fault?.kind !== "refused") return;
    if (client.connects > 0) client.complain("handleConnect() ran");
    if (client.failures.length === 1) return;
    client.complain(`handleError() ran ${client.failures.length} times`);
  }

  #judgeTimeout(): void {
    const { server, plan } = this;
    const kind = plan.fault?.kind;
    const isTimed = kind === "idle" || kind === "lifetime";
    if (!isTimed || !this.isServed) {
      if (server.timeouts.length === 0) return;
      return server.complain(`handleTimeout("${server.timeouts}") ran`);
    }
    const reason = server.party!.closeReason;
    if (`${server.timeouts}` !== kind) {
      server.complain(`handleTimeout() ran with "${server.timeouts}"`);
    } else if (!(reason instanceof Deno.errors.TimedOut)) {
      server.complain(`the closeReason is ${Deno.inspect(reason)}`);
    }
  }

  /** The plan and how far it has come. */
  toString(): string {
    const sides = [this.client, this.server].map(describeSide).join("\n");
    return `connection ${this.id}: ${describePlan(this.plan)}\n${sides}`;
  }
}

function describeSide(side: Side): string {
  const { name, plan, accepted, offered, input, closes, party } = side;
  const state = party === null ? "not there" : party.isGone ? "gone" : "there";
  const reasons = [party?.closeReason, ...side.failures].filter(Boolean);
  const failures = reasons.map((error) => `; ${error}`).join("");
  return `  ${name} (${plan.kind}), ${state}: ` +
    `${accepted} of ${plan.size} bytes accepted (${offered} offered), ` +
    `${input.at} of ${input.content.size} received, ` +
    `handleClose() ran ${closes} times, ` +
    `closed itself: ${side.closedItself}${failures}`;
}

/** Complains of what is missing; returns how much had to arrive. */
function judgeDirection(from: Side, to: Side, promised: Promised): number {
  const { at, content } = to.input;
  if (at > from.offered) {
    to.complain(`received ${at} bytes of ${from.offered} that were sent`);
  }
  if (promised === "all" && at < content.size) {
    to.complain(`received ${at} bytes of ${content.size}`);
  }
  if (promised === "accepted" && at < from.accepted) {
    to.complain(
      `received ${at} bytes of ${from.accepted} accepted before close()`,
    );
  }
  if (promised === "beginning") return 0;
  return promised === "all" ? content.size : from.accepted;
}

/** `handleClose()` runs once, unless the side closes by itself. */
function judgeClose(side: Side): void {
  const { closes, closedItself, fault, fired } = side;
  const isHard = fired && fault?.then === "fails" && fault.kind === "hookError";
  const right = closedItself ? 0 : 1;
  if (closes === right || (isHard && closes === 0)) return;
  side.complain(`handleClose() ran ${closes} times, not ${right}`);
}

/** Nobody hears of an error where nothing has failed. */
function judgeClean(side: Side): void {
  const failures = side.failures.filter((error) => !isPlanned(error));
  const reason = side.party?.closeReason ?? null;
  if (reason !== null) failures.push(reason);
  if (failures.length === 0) return;
  side.complain(`has failed without a reason: ${Deno.inspect(failures[0])}`);
}
