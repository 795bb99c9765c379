/**
 * The member of a replicated log that clients and followers talk to.
 *
 * @module
 */

import { type Channel, Dispatcher } from "@asyncore/asyncore";
import { isHttp } from "./browsers.ts";
import { type Disk, Records } from "./replicated_disk.ts";
import { LineChat } from "./replicated_link.ts";

const COMMANDS =
  /^(?:append (?<key>\S+) (?<text>.+)|follow (?<name>\S+) (?<count>\d+)|stored (?<stored>\d+)|(?<word>ping|read))$/;
/**
 * After so many ms without a word, or so many bytes of a line, it is over. A
 * client that has ended its side still gets its answers.
 */
const OPTIONS = { idleTimeout: 60_000, maxLength: 4_096, allowHalfOpen: true };

/** Work for the moment when so many records are committed. */
interface Wish {
  count: number;
  action: () => void;
}

/**
 * Puts records in order, and gives them to the followers. A record is committed
 * when a majority of the members has stored it: then its client gets the answer.
 */
export class Primary extends Dispatcher {
  readonly records: Records;
  readonly #followers = new Map<string, Session | null>();
  #wishes: Wish[] = [];
  /** By its key, which record it is: one that is sent twice is there once. */
  readonly #numbers = new Map<string, number>();

  constructor(port: number, disk: Disk, followers: readonly string[]) {
    super();
    for (const name of followers) this.#followers.set(name, null);
    this.createSocket();
    this.bind({ hostname: "127.0.0.1", port });
    this.listen();
    this.records = new Records(disk);
    this.records.onStored = () => this.advance();
    for (const [i, record] of this.records.list.entries()) {
      this.#numbers.set(record.split(" ", 1)[0]!, i + 1);
    }
  }

  override handleAccepted(conn: Channel) {
    new Session(conn, this);
  }

  /** Adds a record, unless it is there; returns its number, from 1 on. */
  append(key: string, text: string): number {
    const known = this.#numbers.get(key);
    if (known !== undefined) return known;
    const number = this.records.list.length + 1;
    this.#numbers.set(key, number);
    this.records.append(`${key} ${text}`);
    return number;
  }

  /**
   * One connection of each follower counts. Should it be an old one whose bytes
   * came late, the follower notices that the new one is closed, and comes back.
   */
  admit(name: string, session: Session) {
    const former = this.#followers.get(name);
    if (former === undefined) throw new Error(`Nobody is called ${name}`);
    this.#followers.set(name, session);
    if (former !== session) former?.abort();
  }

  /** Runs `action` when so many records are committed. */
  whenCommitted(count: number, action: () => void) {
    this.#wishes.push({ count, action });
    this.advance();
  }

  /** The number of records on a majority of the disks, with this one's. */
  countCommitted(): number {
    const counts = [this.records.stored];
    for (const follower of this.#followers.values()) {
      counts.push(follower?.stored ?? 0);
    }
    return counts.sort((a, b) => b - a)[counts.length >> 1]!;
  }

  /** Tells all whom it concerns that a disk has more. */
  advance() {
    for (const follower of this.#followers.values()) follower?.feed();
    const committed = this.countCommitted();
    const isDue = ({ count }: Wish) => count <= committed;
    const due = this.#wishes.filter(isDue);
    this.#wishes = this.#wishes.filter((wish) => !isDue(wish));
    for (const { action } of due) action();
  }
}

/** A connection from a client or a follower. */
export class Session extends LineChat {
  /** So many records the follower has stored. */
  stored = 0;
  readonly #primary: Primary;
  /** So many records the follower has been sent; a client is sent none. */
  #sent = Infinity;
  /** The work before the last answer: no later answer may overtake it. */
  #count = 0;
  /** So many answers wait. */
  #waiting = 0;
  #hasEnded = false;

  constructor(conn: Channel, primary: Primary) {
    super(conn, OPTIONS);
    this.#primary = primary;
    this.setTerminator("\n");
  }

  override handleLine(line: string) {
    if (isHttp(line)) return this.close();
    const { key, text, name, count, stored, word } = COMMANDS.exec(line)
      ?.groups ?? {};
    const { list } = this.#primary.records;
    if (key && text) {
      const number = this.#primary.append(key, text);
      this.#answer(number, () => this.say(`ok ${number}`));
    } else if (word === "read") {
      const all = list.length; // all acknowledged records are among them
      this.#answer(all, () => this.pushWithProducer(linesOf(list, all)));
    } else if (name) this.#follow(name, Number(count));
    else if (stored && this.#sent < Infinity) {
      this.stored = Number(stored);
      this.#primary.advance();
    } else this.say(word === "ping" ? "pong" : "? append KEY TEXT, or read");
  }

  #answer(count: number, action: () => void) {
    this.#count = Math.max(this.#count, count);
    this.#waiting++;
    this.#primary.whenCommitted(this.#count, () => {
      this.#waiting--;
      action();
      this.#closeIfDone();
    });
  }

  /** A client still gets its answers; a follower has gone. */
  override handleEnd() {
    if (this.#sent < Infinity) return this.close();
    this.#hasEnded = true;
    this.#closeIfDone();
  }

  #closeIfDone() {
    if (this.#hasEnded && this.#waiting === 0) this.closeWhenDone();
  }

  #follow(name: string, count: number) {
    const { length } = this.#primary.records.list;
    if (count > length) {
      throw new Error(`${name} has ${count} records, the primary ${length}`);
    }
    this.logInfo(`${name} follows from ${count} on`);
    this.#sent = count;
    this.#primary.admit(name, this);
    this.feed();
  }

  /**
   * Sends the follower records that are safe here, so that no disk is ahead of
   * the primary's, and more of them when the follower has stored some.
   */
  feed() {
    const { list, stored } = this.#primary.records;
    while (this.#sent < stored && this.bufferedAmount < this.highWaterMark) {
      this.say(`record ${this.#sent + 1} ${list[this.#sent++]}`);
    }
  }

  override handleShutdown() {
    this.close();
  }
}

function* linesOf(list: readonly string[], count: number) {
  for (let i = 0; i < count; i++) yield `record ${i + 1} ${list[i]}\n`;
  yield "end\n";
}
