/**
 * What is to happen on a connection, all of it drawn from the seed and the
 * connection's number before it begins.
 */

import { mix, RandomChoices } from "./random.ts";

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
  const random = new RandomChoices(mix(seed, number));
  const server = drawSide(random, "server");
  const client = drawSide(random, "client");
  const transport = random.weighted({ tcp: 5, unix: 3, tls: 2 });
  const fault = drawFault(random);
  const plan = { number, transport, server, client, fault };
  const silent = random.weighted({ nobody: 3, server: 1, client: 1 });
  if (silent !== "nobody") plan[silent].size = 0;
  drawEnding(plan, random);
  prepare(plan, random);
  fault.at = random.int(0, server.size + client.size - 1);
  makeBrief(plan);
  // A TLS client must have heard something before it closes: Deno resets the
  // connection if the server's session tickets come after that.
  if (plan.transport === "tls") server.size ||= 1;
  return plan;
}

function drawFault(random: RandomChoices) {
  return {
    kind: random.weighted(FAULTS),
    by: "client" as SideName,
    /** When so many bytes have been sent and received by that side. */
    at: 0,
    /** Outside of a hook. */
    outside: random.chance(0.5),
    /** How long, in ms: what that is depends on the kind. */
    ms: random.int(0, 50),
    /** Where an error comes from, and at which call. */
    place: "",
    call: random.log(1, 8),
    rejects: random.chance(0.5),
    /** What follows an error: what `handleError()` does, or ExitNow. */
    then: random.weighted({ closes: 4, survives: 4, fails: 2, exits: 2 }),
  };
}

function drawSide(random: RandomChoices, name: SideName) {
  const isServer = name === "server";
  const longest = random.chance(0.4) ? random.int(600_000, 900_000) : Infinity;
  return {
    kind: random.weighted(isServer ? SERVER_KINDS : CLIENT_KINDS) as Kind,
    /** How many bytes it sends, in pieces of at most so many … */
    size: random.log(1, random.chance(0.05) ? 4 * MIB : MIB),
    piece: random.log(1, 256 * 1024),
    /** … with a pause, in ms, after some of them, or after all. */
    pause: random.chance(0.5) ? random.int(1, 40) : 0,
    drips: false,
    /** The most bytes it takes at a time. */
    readSize: random.log(1, 128 * 1024),
    /** It does not read for so many ms, now and then. */
    readPause: random.chance(0.3) ? random.int(1, 30) : 0,
    /** Each so many calls of a hook, one is async. 0: none is. */
    asyncEvery: random.chance(0.3) ? random.int(1, 20) : 0,
    /** Begins to send when the peer has ended. For a server. */
    startsLast: false,
    /** Ends its writing; closes when all is sent and received; or neither. */
    ending: "waits" as "halves" | "closes" | "waits",
    /** Changes what it has sent or received, as it may. */
    scribbles: random.chance(0.3),
    /** Its channel takes and gives at most so many bytes. 0: as they come. */
    splits: isServer && random.chance(0.25) ? random.log(1, 16 * 1024) : 0,
    /** Moves to another map in the middle. For a server. */
    moves: isServer && random.chance(0.1),
    allowHalfOpen: random.chance(0.3),
    idleTimeout: longest,
    lifetime: longest,
    highWaterMark: random.log(256, 256 * 1024),
    maxLength: random.log(16, 64 * 1024),
    /** Of the choices that are made on the way. */
    seed: random.int(0, 2 ** 32 - 1),
  };
}

/** Either both end their writing, or one closes when it has heard the other. */
function drawEnding({ server, client }: Plan, random: RandomChoices): void {
  const who = random.one(["both", "server", "client"]);
  if (who === "server") server.ending = "closes";
  else if (who === "client") client.ending = "closes";
  else {
    server.ending = client.ending = "halves";
    server.allowHalfOpen = client.allowHalfOpen = true;
    server.startsLast = random.chance(0.2);
  }
}

/** Nobody ends but by the fault. */
function makeOpenEnded({ server, client }: Plan): void {
  server.ending = client.ending = "waits";
  server.startsLast = client.allowHalfOpen = false;
}

/** Sends what it has without a rest, and reads on: such a peer is to get all. */
function makeSteady(
  side: SidePlan,
  kinds: readonly Kind[],
  random: RandomChoices,
): void {
  if (!kinds.includes(side.kind)) side.kind = random.one(kinds);
  side.pause =
    side.readPause =
    side.asyncEvery =
    side.splits =
      0;
  side.moves = false;
}

/** Chooses who does it, and has that side made by the library. */
function chooseOwn({ fault, client }: Plan, random: RandomChoices): void {
  fault.by = random.one(["server", "client"]);
  if (fault.by === "server" || client.kind !== "raw") return;
  client.kind = random.weighted(SERVER_KINDS);
}

/** What a fault needs, so that it can come, and its outcome is known. */
function prepare(plan: Plan, random: RandomChoices): void {
  const { server, client, fault } = plan;
  switch (fault.kind) {
    case "reset":
      client.kind = "raw";
      break;
    case "abort":
      chooseOwn(plan, random);
      break;
    case "hookError":
      chooseOwn(plan, random);
      prepareHookError(plan, random);
      break;
    case "close": {
      chooseOwn(plan, random);
      makeOpenEnded(plan);
      const isByServer = fault.by === "server";
      const kinds = isByServer ? STEADY : STEADY.slice(1);
      makeSteady(isByServer ? client : server, kinds, random);
      plan[fault.by].size = random.log(1_000, MIB);
      break;
    }
    case "closeAll":
    case "shutdown":
      fault.by = "server";
      fault.ms *= 10;
      makeOpenEnded(plan);
      makeSteady(client, STEADY, random);
      server.moves = false;
      break;
    case "idle":
      client.kind = "raw";
      server.idleTimeout = random.int(200, 600);
      server.lifetime = Infinity;
      server.pause = 0;
      makeOpenEnded(plan);
      break;
    case "lifetime":
      client.kind = random.one(STEADY);
      Object.assign(client, { size: MIB, piece: 64, pause: 20, drips: true });
      client.asyncEvery = server.splits = 0;
      server.lifetime = random.int(200, 1_000);
      makeOpenEnded(plan);
      break;
    case "refused":
      client.kind = random.one(["predicates", "buffered", "chat"]);
      if (plan.transport === "tls") plan.transport = "tcp";
      break;
    case "turnedAway":
      client.kind = random.one(["raw", "predicates", "buffered", "chat"]);
      plan.transport = "tcp";
      break;
    case "badHandshake":
      client.kind = "raw";
      plan.transport = "tls";
  }
}

function prepareHookError(
  { fault, ...plan }: Plan,
  random: RandomChoices,
): void {
  const { place } = Object.assign(fault, {
    place: random.one([...PLACES[plan[fault.by].kind], ...EVERYWHERE]),
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
