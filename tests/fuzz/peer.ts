/** A peer that says what it is told to, and the end of what it hears. */

import { MailFolder, type MessageFile } from "../../examples/mail_folder.ts";
import { loop, type SocketMap } from "../../mod.ts";
import { FakeChannel } from "../fakes.ts";
import { type Binary, toBinary, toBytes } from "./inputs.ts";

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

/** A folder for messages, which waits for what is done to its files. */
export class WatchedFolder extends MailFolder {
  readonly #path: string;
  readonly #underWay = new Set<Promise<void>>();

  constructor(path: string) {
    super(path);
    this.#path = path;
  }

  override create(): MessageFile {
    const file = super.create();
    const { save, discard } = file;
    file.save = () => this.#watch(save.call(file));
    file.discard = () => this.#watch(discard.call(file));
    return file;
  }

  /**
   * Waits until nothing is under way.
   *
   * @returns The names of the messages, all of which are complete.
   * @throws If a part of a message stays; it is removed.
   */
  async names(): Promise<string[]> {
    while (this.#underWay.size > 0) await Promise.allSettled(this.#underWay);
    const names = Array.from(Deno.readDirSync(this.#path), ({ name }) => name);
    const parts = names.filter((name) => name.endsWith(".part"));
    for (const name of parts) Deno.removeSync(`${this.#path}/${name}`);
    if (parts.length === 0) return names;
    throw new Error(`The folder still holds ${parts.join(", ")}`);
  }

  #watch(work: Promise<void>): Promise<void> {
    this.#underWay.add(work);
    const done = () => void this.#underWay.delete(work);
    work.then(done, done);
    return work;
  }
}
