/** A peer that says what it is told to, and the end of what it hears. */

import { loop, type SocketMap } from "../../mod.ts";
import { FakeChannel } from "../fakes.ts";
import { turn } from "../support.ts";
import { type Binary, toBinary, toBytes } from "./inputs.ts";

/** How many turns it may take to remove what is left of a message. */
const TURNS = 10_000;
/** How many ms a conversation may take, with much to spare. */
const LIMIT = 20_000;

/** A channel that names its peer, as a socket does. */
export class PeerChannel extends FakeChannel {
  readonly remoteAddr: Deno.Addr = {
    transport: "tcp",
    hostname: "127.0.0.1",
    port: 7,
  };
}

/** Who talks in pieces takes no more bytes at a time. */
const TAKEN = 777;

/** What a server answers to a peer that says this piece by piece, and ends. */
export async function answerTo(
  pieces: Binary[],
  map: SocketMap,
  serve: (channel: PeerChannel) => unknown,
): Promise<Binary> {
  const channel = new PeerChannel();
  if (pieces.length > 1) channel.take = ({ length }) => Math.min(length, TAKEN);
  serve(channel);
  channel.push(...pieces.map(toBytes), null);
  await runToEnd(map);
  if (!channel.closed) throw new Error("The connection was not closed");
  return channel.writes.map(toBinary).join("");
}

/**
 * Loops until the map is empty.
 *
 * @throws If that takes too long.
 */
export async function runToEnd(map: SocketMap): Promise<void> {
  const controller = new AbortController();
  const { signal } = controller;
  const id = setTimeout(() => controller.abort(), LIMIT);
  await loop({ map, signal });
  clearTimeout(id);
  if (!signal.aborted) return;
  for (const member of [...map]) member.abort();
  throw new Error(`The conversation goes on after ${LIMIT} ms`);
}

/**
 * Waits until a folder holds no message that is not complete.
 *
 * @returns The names of those that are.
 * @throws If one stays; it is removed.
 */
export async function untilComplete(folder: string): Promise<string[]> {
  let parts: string[] = [];
  for (let turns = 0; turns < TURNS; turns++) {
    const names = Array.from(Deno.readDirSync(folder), ({ name }) => name);
    parts = names.filter((name) => name.endsWith(".part"));
    if (parts.length === 0) return names;
    await turn();
  }
  for (const name of parts) Deno.removeSync(`${folder}/${name}`);
  throw new Error(`The folder still holds ${parts.join(", ")}`);
}
