/**
 * What is to happen on a connection, all of it drawn from the seed and the
 * connection's number before it begins.
 */

import { Dice, mix } from "./dice.ts";

export type SideName = "server" | "client";
export type Transport = "tcp" | "unix" | "tls";
/** How a side is made: by which class of the library, or without it. */
export type Kind = keyof typeof CLIENT_KINDS;
export type FaultKind = keyof typeof FAULTS;

const SERVER_KINDS = {
  predicates: 3,
  buffered: 3,
  chat: 3,
  producers: 2,
  streams: 2,
};
const CLIENT_KINDS = { raw: 5, ...SERVER_KINDS };
/** Those whose reading does not depend on what they send. */
const STEADY = ["raw", "predicates", "buffered"] as const;

/** What goes wrong, and how often in a hundred connections. */
const FAULTS = {
  none: 45,
  /** A hook, a predicate, a producer or a timer throws. */
  hookError: 19,
  /** A side calls `close()` with bytes pending. */
  close: 8,
  /** A client closes with bytes unread: the kernel sends a reset. */
  reset: 7,
  /** A side calls `abort()`. */
  abort: 5,
  /** The server's map is emptied by `closeAll()`, or by `shutdown()`. */
  closeAll: 4,
  shutdown: 2,
  /** A client falls silent, for longer than `idleTimeout`. */
  idle: 3,
  /** A client drips, for longer than `lifetime`. */
  lifetime: 2,
  /** Nobody listens. */
  refused: 2,
  /** The listener's `handleAccepted()` throws. */
  turnedAway: 1.5,
  /** What is said to a TLS server is no handshake. */
  badHandshake: 1.5,
};
export const FAULT_KINDS = Object.keys(FAULTS).slice(1) as FaultKind[];

/** Where an error of our own may come from. */
const PLACES = {
  predicates: [
    "handleRead",
    "handleWrite",
    "handleEnd",
    "readable",
    "writable",
  ],
  buffered: ["handleRead", "handleDrain", "handleEnd"],
  chat: ["collectIncomingData", "foundTerminator", "handleDrain", "handleEnd"],
  producers: ["collectIncomingData", "foundTerminator", "producer"],
  streams: [],
  raw: [],
} satisfies Record<Kind, string[]>;
const EVERYWHERE = ["handleClose", "timer"];
/** These cannot reject. */
const SYNC = ["readable", "writable", "producer", "timer"];
/** These come once. */
const ONCE = ["handleEnd", "handleClose", "timer"];

/** Something that goes wrong, who does it and when. */
export type Fault = ReturnType<typeof drawFault>;
/** What one side does. */
export type SidePlan = ReturnType<typeof drawSide>;

/** What is to happen on a connection. */
export interface Plan {
  number: number;
  transport: Transport;
  server: SidePlan;
  client: SidePlan;
  fault: Fault;
}

const MIB = 1024 * 1024;
/** The most steps in which a stream goes: more would only take long. */
const MOST_STEPS = 100;

/** Draws what is to happen on the connection of this number. */
export function drawPlan(seed: number, number: number): Plan {
  const dice = new Dice(mix(seed, number));
  const server = drawSide(dice, "server");
  const client = drawSide(dice, "client");
  const transport = dice.weighted({ tcp: 5, unix: 3, tls: 2 });
  const fault = drawFault(dice);
  const plan = { number, transport, server, client, fault };
  const silent = dice.weighted({ nobody: 3, server: 1, client: 1 });
  if (silent !== "nobody") plan[silent].size = 0;
  drawEnding(plan, dice);
  prepare(plan, dice);
  fault.at = dice.int(0, server.size + client.size - 1);
  makeBrief(plan);
  // A TLS client must have heard something before it closes: Deno resets the
  // connection if the server's session tickets come after that.
  if (plan.transport === "tls") server.size ||= 1;
  return plan;
}

function drawFault(dice: Dice) {
  return {
    kind: dice.weighted(FAULTS),
    by: "client" as SideName,
    /** When so many bytes have been sent and received by that side. */
    at: 0,
    /** Outside of a hook. */
    outside: dice.chance(0.5),
    /** How long, in ms: what that is depends on the kind. */
    ms: dice.int(0, 50),
    /** Where an error comes from, and at which call. */
    place: "",
    call: dice.log(1, 8),
    rejects: dice.chance(0.5),
    /** What follows an error: what `handleError()` does, or ExitNow. */
    then: dice.weighted({ closes: 4, survives: 4, fails: 2, exits: 2 }),
  };
}

function drawSide(dice: Dice, name: SideName) {
  const isServer = name === "server";
  const longest = dice.chance(0.4) ? dice.int(600_000, 900_000) : Infinity;
  return {
    kind: dice.weighted(isServer ? SERVER_KINDS : CLIENT_KINDS) as Kind,
    /** How many bytes it sends, in pieces of at most so many … */
    size: dice.log(1, dice.chance(0.05) ? 4 * MIB : MIB),
    piece: dice.log(1, 256 * 1024),
    /** … with a pause, in ms, after some of them, or after all. */
    pause: dice.chance(0.5) ? dice.int(1, 40) : 0,
    drips: false,
    /** The most bytes it takes at a time. */
    readSize: dice.log(1, 128 * 1024),
    /** It does not read for so many ms, now and then. */
    readPause: dice.chance(0.3) ? dice.int(1, 30) : 0,
    /** Each so many calls of a hook, one is async. 0: none is. */
    asyncEvery: dice.chance(0.3) ? dice.int(1, 20) : 0,
    /** Begins to send when the peer has ended. For a server. */
    startsLast: false,
    /** Ends its writing; closes when all is sent and received; or neither. */
    ending: "waits" as "halves" | "closes" | "waits",
    /** Changes what it has sent or received, as it may. */
    scribbles: dice.chance(0.3),
    /** Its channel takes and gives at most so many bytes. 0: as they come. */
    splits: isServer && dice.chance(0.25) ? dice.log(1, 16 * 1024) : 0,
    /** Moves to another map in the middle. For a server. */
    moves: isServer && dice.chance(0.1),
    allowHalfOpen: dice.chance(0.3),
    idleTimeout: longest,
    lifetime: longest,
    highWaterMark: dice.log(256, 256 * 1024),
    maxLength: dice.log(16, 64 * 1024),
    /** Of the choices that are made on the way. */
    seed: dice.int(0, 2 ** 32 - 1),
  };
}

/** Either both end their writing, or one closes when it has heard the other. */
function drawEnding({ server, client }: Plan, dice: Dice): void {
  const who = dice.one(["both", "server", "client"]);
  if (who === "server") server.ending = "closes";
  else if (who === "client") client.ending = "closes";
  else {
    server.ending = client.ending = "halves";
    server.allowHalfOpen = client.allowHalfOpen = true;
    server.startsLast = dice.chance(0.2);
  }
}

/** Nobody ends but by the fault. */
function makeOpenEnded({ server, client }: Plan): void {
  server.ending = client.ending = "waits";
  server.startsLast = client.allowHalfOpen = false;
}

/** Sends what it has without a rest, and reads on: such a peer is to get all. */
function makeSteady(side: SidePlan, kinds: readonly Kind[], dice: Dice): void {
  if (!kinds.includes(side.kind)) side.kind = dice.one(kinds);
  side.pause =
    side.readPause =
    side.asyncEvery =
    side.splits =
      0;
  side.moves = false;
}

/** Chooses who does it, and has that side made by the library. */
function chooseOwn({ fault, client }: Plan, dice: Dice): void {
  fault.by = dice.one(["server", "client"]);
  if (fault.by === "server" || client.kind !== "raw") return;
  client.kind = dice.weighted(SERVER_KINDS);
}

/** What a fault needs, so that it can come, and its outcome is known. */
function prepare(plan: Plan, dice: Dice): void {
  const { server, client, fault } = plan;
  switch (fault.kind) {
    case "reset":
      client.kind = "raw";
      break;
    case "abort":
      chooseOwn(plan, dice);
      break;
    case "hookError":
      chooseOwn(plan, dice);
      prepareHookError(plan, dice);
      break;
    case "close": {
      chooseOwn(plan, dice);
      makeOpenEnded(plan);
      const isByServer = fault.by === "server";
      const kinds = isByServer ? STEADY : STEADY.slice(1);
      makeSteady(isByServer ? client : server, kinds, dice);
      plan[fault.by].size = dice.log(1_000, MIB);
      break;
    }
    case "closeAll":
    case "shutdown":
      fault.by = "server";
      fault.ms *= 10;
      makeOpenEnded(plan);
      makeSteady(client, STEADY, dice);
      server.moves = false;
      break;
    case "idle":
      client.kind = "raw";
      server.idleTimeout = dice.int(200, 600);
      server.lifetime = Infinity;
      server.pause = 0;
      makeOpenEnded(plan);
      break;
    case "lifetime":
      client.kind = dice.one(STEADY);
      Object.assign(client, { size: MIB, piece: 64, pause: 20, drips: true });
      client.asyncEvery = server.splits = 0;
      server.lifetime = dice.int(200, 1_000);
      makeOpenEnded(plan);
      break;
    case "refused":
      client.kind = dice.one(["predicates", "buffered", "chat"]);
      if (plan.transport === "tls") plan.transport = "tcp";
      break;
    case "turnedAway":
      client.kind = dice.one(["raw", "predicates", "buffered", "chat"]);
      plan.transport = "tcp";
      break;
    case "badHandshake":
      client.kind = "raw";
      plan.transport = "tls";
  }
}

function prepareHookError({ fault, ...plan }: Plan, dice: Dice): void {
  const { place } = Object.assign(fault, {
    place: dice.one([...PLACES[plan[fault.by].kind], ...EVERYWHERE]),
  });
  if (SYNC.includes(place)) fault.rejects = false;
  if (ONCE.includes(place)) fault.call = 1;
  if (place === "producer") fault.then = "survives";
}

/** No side is to take for ever in small steps. */
function makeBrief({ server, client }: Plan): void {
  const atLeast = (least: number, number: number) =>
    Math.max(Math.ceil(least / MOST_STEPS), number);
  for (const [side, peer] of [[server, client], [client, server]] as const) {
    if (!side.drips) side.piece = atLeast(side.size, side.piece);
    side.readSize = atLeast(peer.size, side.readSize);
    side.highWaterMark = atLeast(side.size, side.highWaterMark);
    if (side.splits) side.splits = atLeast(side.size + peer.size, side.splits);
  }
}
