/**
 * What the connections carry: bytes that tell their place, so that loss,
 * duplication, reordering and cross-talk are all seen, and what checks them.
 */

import { Buffer } from "node:buffer";
import { randomFrom } from "../fakes.ts";
import { Dice, mix } from "./dice.ts";

/** After so many bytes a stream begins again. */
const LENGTH = 4_194_301;
/** What a conversation may look for; they come more often than by chance. */
const LINE_ENDS = ["\n", "\r\n", "\r\r\n", "\n\r\n", "\r\n\r\n"];
const LONGEST_LINE = 8_000;
/** So many wrong bytes are looked for elsewhere, to say what happened. */
const SAMPLE = 24;

/** The bytes of all streams, twice, so that every stretch lies in one piece. */
const table = new Uint8Array(2 * LENGTH);

/** Draws the bytes. */
export function fillTable(seed: number): void {
  const random = randomFrom(seed);
  for (let at = 0; at < LENGTH; at++) table[at] = random() * 256;
  const dice = new Dice(mix(seed, 1));
  for (let at = 0; at < LENGTH - 8; at += dice.log(1, LONGEST_LINE)) {
    for (const letter of dice.one(LINE_ENDS)) {
      table[at++] = letter.charCodeAt(0);
    }
  }
  table.copyWithin(LENGTH, 0, LENGTH);
}

function isLineEnd(byte: number | undefined): boolean {
  return byte === 10 || byte === 13;
}

/** What is sent in one direction of one connection. */
export class Content {
  readonly size: number;
  readonly #offset: number;

  constructor(key: number, size: number) {
    this.size = size;
    let offset = mix(key, size) % LENGTH;
    // What looks like the beginning of a line end is held back for ever if
    // nothing follows.
    while (size > 0 && isLineEnd(table[(offset + size - 1) % LENGTH])) {
      offset = (offset + 1) % LENGTH;
    }
    this.#offset = offset;
  }

  /** A stretch of it: a view, for whoever does not change it. */
  slice(at: number, length: number): Uint8Array {
    const start = (this.#offset + at) % LENGTH;
    return table.subarray(start, start + length);
  }

  /** Where in this content the bytes at `index` of the table come, if they do. */
  placeOf(index: number): number | null {
    const at = (index - this.#offset + LENGTH) % LENGTH;
    return at < this.size ? at : null;
  }
}

/** Checks what arrives, byte by byte. */
export class Checker {
  /** How many bytes have arrived, all of them right. */
  at = 0;
  readonly content: Content;

  constructor(content: Content) {
    this.content = content;
  }

  get isComplete(): boolean {
    return this.at === this.content.size;
  }

  /** Looks at what comes next; tells what is wrong, or nothing. */
  take(data: Uint8Array): string | null {
    const { at, content } = this;
    const { length } = data;
    if (at + length > content.size) {
      return `${at + length} bytes arrived of a stream of ${content.size}`;
    }
    const right = content.slice(at, length);
    if (Buffer.compare(data, right) !== 0) {
      const wrong = data.findIndex((byte, i) => byte !== right[i]);
      return explain(content, at + wrong, data.subarray(wrong));
    }
    this.at += length;
    return null;
  }
}

/** Says where wrong bytes belong. */
function explain(content: Content, at: number, data: Uint8Array): string {
  const sample = data.subarray(0, SAMPLE);
  const wrong = `byte ${at} of ${content.size} is wrong`;
  const index = Buffer.from(table.buffer).indexOf(sample);
  if (index < 0 || sample.length < 4) {
    return `${wrong}: ${Deno.inspect(sample)} is to be found nowhere near`;
  }
  const place = content.placeOf(index % LENGTH);
  if (place === null) return `${wrong}: it belongs to another stream`;
  return place > at
    ? `${wrong}: it is byte ${place}, so ${place - at} are missing`
    : `${wrong}: it is byte ${place}, which has been there`;
}
