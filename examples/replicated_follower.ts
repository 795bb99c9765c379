/**
 * The members and clients that connect to the primary of a replicated log.
 *
 * @module
 */

import type { Address } from "@asyncore/asyncore";
import { quote } from "./quote.ts";
import { type Disk, Records } from "./replicated_disk.ts";
import { Link } from "./replicated_link.ts";

/** Keeps a copy of the primary's records; after an absence it catches up. */
export class Follower extends Link {
  readonly records: Records;
  readonly #name: string;

  constructor(name: string, primary: Address, disk: Disk) {
    super(primary);
    this.#name = name;
    this.records = new Records(disk);
    this.records.onStored = () => {
      if (this.connected) this.#tell();
    };
  }

  override handleConnect() {
    super.handleConnect();
    this.say(`follow ${this.#name} ${this.records.list.length}`);
    this.#tell();
  }

  #tell() {
    this.say(`stored ${this.records.stored}`);
  }

  override handleLine(line: string) {
    if (line === "pong") return;
    const [, number, record] = /^record (\d+) (.+)$/.exec(line) ?? [];
    if (Number(number) !== this.records.list.length + 1) {
      throw new Error(`Not the next record: ${line}`);
    }
    this.records.append(record!);
  }
}

/** A command without an answer so far. */
interface Question {
  line: string;
  resolve: (records: string[]) => void;
}

/** Asks the primary, and on its next connection again if need be. */
export class LogClient extends Link {
  readonly #questions: Question[] = [];
  #records: string[] = [];

  /**
   * Adds a record. Done when it is acknowledged, however long that takes.
   *
   * @param text One line.
   * @param key One word that no other record has: sent again, it adds nothing.
   * @throws {TypeError} If the text or the key is something else, or too long.
   */
  async append(text: string, key: string = crypto.randomUUID()) {
    if (!/^\S{1,100}$/.test(key) || !/^.{1,1000}$/.test(text)) {
      throw new TypeError(
        "A record has a word of up to 100 characters as its key and a line of " +
          `up to 1,000 as its text, got ${quote(key)} and ${quote(text)}`,
      );
    }
    await this.#ask(`append ${key} ${text}`);
  }

  /** All records with their keys, in order. */
  read(): Promise<string[]> {
    return this.#ask("read");
  }

  #ask(line: string): Promise<string[]> {
    if (this.connected) this.say(line);
    return new Promise((resolve) => this.#questions.push({ line, resolve }));
  }

  override handleConnect() {
    super.handleConnect();
    this.#records = [];
    for (const { line } of this.#questions) this.say(line);
  }

  override handleLine(line: string) {
    const [, record] = /^record \d+ (.+)$/.exec(line) ?? [];
    if (record) this.#records.push(record);
    else if (/^(ok \d+|end)$/.test(line)) {
      this.#questions.shift()?.resolve(this.#records);
      this.#records = [];
    } else if (line !== "pong") throw new Error(`Not an answer: ${line}`);
  }
}
