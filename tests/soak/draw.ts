/**
 * Draws what is to happen on a connection, all of it from the seed and the
 * connection's number, before it begins.
 */

import { Dice, mix } from "./dice.ts";
import { atLeast, drawFault, drawSize } from "./faults.ts";
import type { Kind, Plan, SideName, SidePlan } from "./plan.ts";

/** The most steps in which a stream goes: more would only take long. */
const MOST_PIECES = 100;
const MOST_SPLITS = 250;

const SERVER_KINDS = {
  predicates: 3,
  buffered: 3,
  chat: 3,
  producers: 2,
  streams: 2,
};
const CLIENT_KINDS = { raw: 5, ...SERVER_KINDS };
/** Draws what is to happen on the connection of this number. */
export function drawPlan(seed: number, number: number): Plan {
  const dice = new Dice(mix(seed, number));
  const transport = dice.weighted({ tcp: 5, unix: 3, tls: 2 });
  const both = dice.weighted({ both: 3, toServer: 1, toClient: 1 });
  const toServer = both === "toClient" ? 0 : drawSize(dice, 1);
  const toClient = both === "toServer" ? 0 : drawSize(dice, 1);
  const plan: Plan = {
    number,
    transport,
    server: drawSide(dice, "server", toClient, toServer),
    client: drawSide(dice, "client", toServer, toClient),
    fault: null,
  };
  drawEnding(plan, dice);
  drawFault(plan, dice);
  makeBrief(plan);
  // A TLS client must have heard something before it closes: Deno resets the
  // connection if the server's session tickets come after that.
  if (plan.transport === "tls") plan.server.size ||= 1;
  return plan;
}

/** No side is to take for ever in small steps. */
function makeBrief({ server, client }: Plan): void {
  for (const [side, peer] of [[server, client], [client, server]] as const) {
    if (!side.drips) side.piece = atLeast(side.size / MOST_PIECES, side.piece);
    side.readSize = atLeast(peer.size / MOST_PIECES, side.readSize);
    side.highWaterMark = atLeast(side.size / MOST_PIECES, side.highWaterMark);
    if (side.splits === 0) continue;
    side.splits = atLeast((side.size + peer.size) / MOST_SPLITS, side.splits);
  }
}

function drawSide(
  dice: Dice,
  name: SideName,
  size: number,
  toCome: number,
): SidePlan {
  const kind: Kind = dice.weighted<Kind>(
    name === "server" ? { ...SERVER_KINDS, raw: 0 } : CLIENT_KINDS,
  );
  const pause = dice.chance(0.5) ? dice.int(1, 40) : 0;
  const isLimited = dice.chance(0.4);
  return {
    kind,
    size,
    piece: dice.log(1, 256 * 1024),
    pause,
    pauseEvery: dice.int(1, 4),
    drips: false,
    readSize: dice.log(1, 128 * 1024),
    rests: dice.chance(0.7),
    readPause: dice.chance(0.3) ? dice.int(1, 50) : 0,
    readsLast: false,
    asyncEvery: dice.chance(0.3) ? dice.int(1, 20) : 0,
    startsLast: false,
    ending: "waits",
    scribbles: dice.chance(0.3),
    splits: name === "server" && dice.chance(0.25) ? dice.log(1, 16 * 1024) : 0,
    movesAt: name === "server" && dice.chance(0.1)
      ? dice.int(0, size + toCome)
      : -1,
    allowHalfOpen: dice.chance(0.3),
    idleTimeout: isLimited ? dice.int(600_000, 900_000) : Infinity,
    lifetime: isLimited ? dice.int(600_000, 900_000) : Infinity,
    highWaterMark: dice.log(256, 256 * 1024),
    maxLength: dice.log(16, 64 * 1024),
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
