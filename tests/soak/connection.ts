/** A connection with its two sides, and whether it went as it should. */

import { isPlanned } from "./order.ts";
import type { Plan } from "./plan.ts";
import { Side } from "./side.ts";

/**
 * How many times a connection is looked at before it counts as stuck: not a
 * time, as a busy machine takes longer for everything.
 */
const MOST_LOOKS = 1_500;
/** What goes wrong with these keeps them from having a server. */
const UNSERVED = ["refused", "turnedAway", "badHandshake"];

/** Two sides and their plan. */
export class Connection {
  readonly id: number;
  readonly plan: Plan;
  readonly server: Side;
  readonly client: Side;
  readonly isServed: boolean;
  /** How many bytes had to arrive. */
  promised = 0;
  #looks = 0;

  constructor(id: number, plan: Plan) {
    this.id = id;
    this.plan = plan;
    this.isServed = !UNSERVED.includes(plan.fault.kind);
    const where = () => `${this}`;
    this.server = new Side(id, "server", plan, where);
    this.client = new Side(id, "client", plan, where);
    this.server.peer = this.client;
    this.client.peer = this.server;
    this.client.fired = !this.isServed;
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
    const isServerGone = this.server.party?.isGone ?? !this.isServed;
    return isServerGone && this.client.party!.isGone;
  }

  /** Complains of what went otherwise than it should. */
  judge(): void {
    const { server, client, plan } = this;
    if (!this.isServed) return this.#judgeUnserved();
    const isClean = this.#isAllPromised;
    for (const [from, to] of [[client, server], [server, client]] as const) {
      const least = isClean ? to.input.size : this.#promisedOf(from);
      const { at } = to.input;
      if (at < least || at > from.offered) {
        to.complain(
          `received ${at} bytes: ${least} to ${from.offered} were due`,
        );
      }
      this.promised += least;
    }
    const sides = plan.client.kind === "raw" ? [server] : [server, client];
    for (const side of sides) judgeClose(side);
    if (client.connects !== 1) {
      client.complain(`handleConnect() ran ${client.connects} times`);
    }
    if (isClean) { for (const side of [server, client]) judgeClean(side); }
    this.#judgeTimeout();
  }

  /** Nothing went wrong, or nothing that costs the connection. */
  get #isAllPromised(): boolean {
    const { kind, then, place } = this.plan.fault;
    if (kind === "none" || !this.fired) return true;
    if (kind !== "hookError") return false;
    return ["survives", "exits"].includes(then) || place === "handleClose";
  }

  /** How many of the bytes that `side` sent must arrive though all went wrong. */
  #promisedOf(side: Side): number {
    const { kind, by } = this.plan.fault;
    const isClosed = ["close", "closeAll", "shutdown"].includes(kind);
    return isClosed && by === side.name ? side.accepted : 0;
  }

  #judgeUnserved(): void {
    const { client, server, plan } = this;
    if (server.party) client.complain("was served");
    if (client.input.at > 0) client.complain("received from nobody");
    if (plan.client.kind !== "raw") judgeClose(client);
    if (plan.fault.kind !== "refused") return;
    const { connects, failures } = client;
    if (connects === 0 && failures.length === 1) return;
    client.complain(`connected ${connects} times, failed ${failures.length}`);
  }

  #judgeTimeout(): void {
    const { server, plan: { fault: { kind } } } = this;
    const expected = kind === "idle" || kind === "lifetime" ? kind : "";
    if (`${server.timeouts}` !== expected) {
      server.complain(`handleTimeout() ran with "${server.timeouts}"`);
    }
    const reason = server.party!.closeReason;
    if (expected && !(reason instanceof Deno.errors.TimedOut)) {
      server.complain(`the closeReason is ${reason}`);
    }
  }

  /** The plan and how far it has come. */
  toString(): string {
    const options = { breakLength: Infinity, compact: true, depth: 3 };
    const plan = Deno.inspect(this.plan, options);
    return `connection ${this.id}: ${plan}\n${this.client}\n${this.server}`;
  }
}

/** `handleClose()` runs once, unless the side closes by itself. */
function judgeClose(side: Side): void {
  const { closes, closedItself, fault, fired } = side;
  const isHard = fired && fault?.kind === "hookError" && fault.then === "fails";
  const right = closedItself ? 0 : 1;
  if (closes === right || (isHard && closes === 0)) return;
  side.complain(`handleClose() ran ${closes} times, not ${right}`);
}

/** No error is heard of where nothing has failed. */
function judgeClean(side: Side): void {
  const errors = [...side.failures, side.party!.closeReason]
    .filter((error) => error && !isPlanned(error));
  if (errors.length > 0) side.complain(`failed without a reason: ${errors}`);
}
