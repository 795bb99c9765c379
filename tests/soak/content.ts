/**
 * What the connections carry: bytes that tell their place, so that loss,
 * duplication, reordering and cross-talk are all seen, and what checks them.
 */

import { Buffer } from "node:buffer";
import { randomFrom } from "../fakes.ts";
import { mix, RandomChoices } from "./random.ts";
import { order } from "./order.ts";

/** After so many bytes a stream begins again. */
const LENGTH = 4_194_301;
/** What a conversation may look for; they come more often than by chance. */
const LINE_ENDS = ["\n", "\r\n", "\r\r\n", "\n\r\n", "\r\n\r\n"];
const LONGEST_LINE = 8_000;

/** The bytes of all streams, twice, so that every stretch lies in one piece. */
const table = drawTable();

function drawTable(): Uint8Array {
  const table = new Uint8Array(2 * LENGTH);
  const randomBytes = randomFrom(order.seed);
  for (let at = 0; at < LENGTH; at++) table[at] = randomBytes() * 256;
  const random = new RandomChoices(mix(order.seed, 1));
  for (let at = 0; at < LENGTH - 8; at += random.log(1, LONGEST_LINE)) {
    for (const letter of random.one(LINE_ENDS)) {
      table[at++] = letter.charCodeAt(0);
    }
  }
  return table.copyWithin(LENGTH, 0, LENGTH);
}

/** What is sent in one direction of one connection, and checks that it arrives. */
export class Content {
  readonly size: number;
  /** How many bytes have arrived, all of them right. */
  at = 0;
  readonly #offset: number;

  constructor(key: number, size: number) {
    this.size = size;
    this.#offset = mix(key, size) % LENGTH;
    // What looks like the beginning of a line end is held back for ever if
    // nothing follows.
    while (size > 0 && [10, 13].includes(this.slice(size - 1, 1)[0]!)) {
      this.#offset = (this.#offset + 1) % LENGTH;
    }
  }

  get isComplete(): boolean {
    return this.at === this.size;
  }

  /** A stretch of it: a view, for whoever does not change it. */
  slice(at: number, length: number): Uint8Array {
    const start = (this.#offset + at) % LENGTH;
    return table.subarray(start, start + length);
  }

  /** Looks at what has arrived at `at`; tells what is wrong, or nothing. */
  check(data: Uint8Array, at: number): string | null {
    const right = this.slice(at, data.length);
    if (at + data.length <= this.size && Buffer.compare(data, right) === 0) {
      return null;
    }
    const wrong = data.findIndex((byte, i) => byte !== right[i]);
    const sample = data.subarray(wrong, wrong + 24);
    const found = Buffer.from(table.buffer).indexOf(sample) - this.#offset;
    return `byte ${at + wrong} of ${this.size} is wrong: ` +
      `${Deno.inspect(sample)} is byte ${found % LENGTH} or of another stream`;
  }
}
