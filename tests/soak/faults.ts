/** Draws what goes wrong, and arranges the rest of the plan for it. */

import type { Dice } from "./dice.ts";
import type {
  ErrorPlace,
  Fault,
  FaultKind,
  Kind,
  Plan,
  SidePlan,
} from "./plan.ts";

const MIB = 1024 * 1024;
/** The most bytes of a stream: seldom, and else. */
const LARGEST = 4 * MIB;
const LARGE = MIB;

const NO_FAULT = "none";
const FAULTS: Record<FaultKind | typeof NO_FAULT, number> = {
  none: 45,
  hookError: 19,
  closePending: 8,
  reset: 7,
  abort: 5,
  closeAll: 4,
  idle: 3,
  lifetime: 2,
  shutdown: 2,
  refused: 2,
  turnedAway: 1.5,
  badHandshake: 1.5,
};

/** The places of errors that each kind has. */
const PLACES: Record<Kind, ErrorPlace[]> = {
  predicates: [
    ...["handleConnect", "handleRead", "handleWrite", "handleEnd"] as const,
    ...["handleClose", "readable", "writable", "timer"] as const,
  ],
  buffered: [
    ...["handleConnect", "handleRead", "handleDrain", "handleEnd"] as const,
    ...["handleClose", "timer"] as const,
  ],
  chat: [
    ...["handleConnect", "collectIncomingData", "foundTerminator"] as const,
    ...["handleDrain", "handleEnd", "handleClose", "timer"] as const,
  ],
  producers: [
    ...["handleConnect", "collectIncomingData", "foundTerminator"] as const,
    ...["handleEnd", "handleClose", "producer", "timer"] as const,
  ],
  streams: ["handleClose", "timer"],
  raw: [],
};

/** Draws what goes wrong, if anything does. */
export function drawFault(plan: Plan, dice: Dice): void {
  const kind = dice.weighted(FAULTS);
  if (kind === NO_FAULT) return;
  plan.fault = {
    kind,
    by: "client",
    at: 0,
    hearsAll: false,
    outside: dice.chance(0.5),
    ms: 0,
    resumes: dice.chance(0.5),
    place: "handleRead",
    call: dice.log(1, 8),
    how: dice.one(["throws", "rejects"]),
    then: dice.weighted({ closes: 4, survives: 4, fails: 2, exits: 2 }),
  };
  PREPARE[kind](plan, plan.fault, dice);
}

/** Draws how long a stream is. */
export function drawSize(dice: Dice, least: number): number {
  return dice.log(least, dice.chance(0.05) ? LARGEST : LARGE);
}

/** The number, or a larger one. */
export function atLeast(least: number, number: number): number {
  return Math.max(Math.ceil(least), number);
}

/** Those that the library makes. */
const OWN: Kind[] = ["predicates", "buffered", "chat", "producers", "streams"];
/** Those whose reading does not depend on what they send. */
const STEADY: Kind[] = ["raw", "predicates", "buffered"];

function total({ server, client }: Plan): number {
  return server.size + client.size;
}

/** Chooses who does it, and has that side made by the library. */
function chooseOwn(plan: Plan, fault: Fault, dice: Dice): void {
  fault.by = dice.one(["server", "client"]);
  if (fault.by === "client" && plan.client.kind === "raw") {
    plan.client.kind = dice.one(OWN);
  }
}

/** Nobody ends but by the fault. */
function makeOpenEnded({ server, client }: Plan): void {
  server.ending = client.ending = "waits";
  server.startsLast = client.allowHalfOpen = false;
}

/** Sends what it has without a rest, and reads on: such a peer is to get all. */
function makeSteady(side: SidePlan, dice: Dice): void {
  if (!STEADY.includes(side.kind)) side.kind = dice.one(STEADY);
  side.pause = side.asyncEvery = side.splits = 0;
  side.rests = false;
  side.movesAt = -1;
}

function prepareReset(plan: Plan, fault: Fault, dice: Dice): void {
  plan.client.kind = "raw";
  fault.at = dice.int(0, total(plan) - 1);
  fault.ms = dice.int(0, 30);
}

function prepareAbort(plan: Plan, fault: Fault, dice: Dice): void {
  chooseOwn(plan, fault, dice);
  fault.at = dice.int(0, total(plan) - 1);
}

function prepareIdle(plan: Plan, fault: Fault, dice: Dice): void {
  const { server, client } = plan;
  if (client.kind !== "predicates") client.kind = "raw";
  server.idleTimeout = dice.int(200, 600);
  server.lifetime = Infinity;
  server.pause = 0;
  fault.ms = dice.int(0, 800);
  // Something must be left to send, or all may be over before.
  client.size = atLeast(16, client.size);
  client.piece = Math.min(client.piece, Math.ceil(client.size / 8));
  fault.at = dice.int(0, client.size >> 1);
  makeOpenEnded(plan);
}

function prepareLifetime(plan: Plan, _fault: Fault, dice: Dice): void {
  const { server, client } = plan;
  client.kind = dice.one(STEADY);
  Object.assign(client, { size: MIB, piece: 64, pause: 20, pauseEvery: 1 });
  client.drips = true;
  client.asyncEvery = server.splits = 0;
  server.lifetime = dice.int(200, 1_000);
  makeOpenEnded(plan);
}

function prepareClosePending(plan: Plan, fault: Fault, dice: Dice): void {
  chooseOwn(plan, fault, dice);
  const { server, client } = plan;
  const [closer, reader] = fault.by === "server"
    ? [server, client]
    : [client, server];
  closer.size = drawSize(dice, 1_000);
  makeSteady(reader, dice);
  if (reader === server && reader.kind === "raw") reader.kind = "buffered";
  makeOpenEnded(plan);
  if (dice.chance(0.5)) reader.readPause = dice.int(1, 50);
  fault.hearsAll = dice.chance(0.5);
  // All of it may be in the hands of the kernel, too.
  const least = dice.chance(0.3) ? Math.min(closer.size, total(plan) - 1) : 0;
  fault.at = fault.hearsAll
    ? dice.int(0, closer.size - 1)
    : dice.int(least, total(plan) - 1);
  if (fault.by === "server" && dice.chance(0.15)) makeInsistent(plan, fault);
}

function prepareHookError(plan: Plan, fault: Fault, dice: Dice): void {
  chooseOwn(plan, fault, dice);
  fault.place = dice.one(PLACES[plan[fault.by].kind]);
  const isSync = ["readable", "writable", "producer", "timer"];
  if (isSync.includes(fault.place)) fault.how = "throws";
  if (fault.place === "timer") fault.ms = dice.int(0, 50);
  const isOnce = ["handleConnect", "handleEnd", "handleClose", "timer"];
  if (isOnce.includes(fault.place)) fault.call = 1;
  if (fault.place === "producer") fault.then = "survives";
}

function prepareRefused(plan: Plan, _fault: Fault, dice: Dice): void {
  plan.client.kind = dice.one(["predicates", "buffered", "chat"]);
  if (plan.transport === "tls") plan.transport = "tcp";
}

function prepareTurnedAway(plan: Plan, _fault: Fault, dice: Dice): void {
  plan.transport = "tcp";
  plan.client.kind = dice.one(["raw", "predicates", "buffered", "chat"]);
}

function prepareBadHandshake(plan: Plan): void {
  plan.transport = "tls";
  plan.client.kind = "raw";
}

/** A client that sends more than there is room for, and reads after that. */
function makeInsistent(plan: Plan, fault: Fault): void {
  plan.transport = "unix"; // Its kernel has the least room.
  const { server, client } = plan;
  const amount = { size: MIB, piece: MIB, highWaterMark: MIB };
  Object.assign(server, amount);
  Object.assign(client, amount, { kind: "raw", readsLast: true });
  fault.hearsAll = false;
  fault.at = 1;
}

function prepareDistrict(plan: Plan, fault: Fault, dice: Dice): void {
  const { server, client } = plan;
  fault.by = "server";
  fault.ms = dice.int(20, 600);
  makeSteady(client, dice);
  makeOpenEnded(plan);
  client.size = dice.chance(0.5) ? 0 : dice.log(1, client.size + 1);
  server.movesAt = -1;
}

/** What a fault needs, so that it can come, and that much is known of its outcome. */
const PREPARE: Record<
  FaultKind,
  (plan: Plan, fault: Fault, dice: Dice) => void
> = {
  reset: prepareReset,
  abort: prepareAbort,
  idle: prepareIdle,
  lifetime: prepareLifetime,
  closePending: prepareClosePending,
  closeAll: prepareDistrict,
  shutdown: prepareDistrict,
  hookError: prepareHookError,
  refused: prepareRefused,
  turnedAway: prepareTurnedAway,
  badHandshake: prepareBadHandshake,
};
