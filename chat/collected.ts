/**
 * What a conversation has collected and not yet taken: {@linkcode Collected}.
 *
 * @module
 */

// A byte order mark is a letter like any other: a program that takes its text in
// parts must find it again wherever it stands.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const NO_BYTES = new Uint8Array(0);

/** The least room for a message that arrives in pieces, lest each of them copies. */
const LEAST_ROOM = 64;

/**
 * Bytes in the order in which they came. They are copies: the buffers that were
 * read into, which are larger, can be collected as garbage.
 */
export class Collected {
  /** The bytes, and room for more behind them. */
  #bytes: Uint8Array<ArrayBuffer> = NO_BYTES;
  #length = 0;
  /** So many bytes can be taken: fewer than all while an overflow is told. */
  #limit = Infinity;
  /** How many bytes go when the overflow was told, unless some of them are taken. */
  #excess = 0;
  /** The terminator has arrived, and no byte since. */
  isComplete = false;
  /** A complete message was not taken before the next one came. */
  wasForgotten = false;

  /** How many bytes there are. */
  get length(): number {
    return this.#length;
  }

  /** Adds a copy of bytes. */
  add(data: Uint8Array): void {
    const start = this.#length;
    this.wasForgotten ||= this.isComplete && start > 0;
    this.isComplete = false;
    this.#length += data.length;
    if (start === 0) {
      this.#bytes = new Uint8Array(data);
      return;
    }
    if (this.#length > this.#bytes.length) this.#grow(start);
    this.#bytes.set(data, start);
  }

  /** Makes twice the room: a byte is copied twice at most, on average. */
  #grow(used: number): void {
    const { length } = this.#bytes;
    const room = Math.max(this.#length, 2 * length, LEAST_ROOM);
    const bytes = new Uint8Array(room);
    bytes.set(this.#bytes.subarray(0, used));
    this.#bytes = bytes;
  }

  /** Takes all bytes, as an array whose buffer has nothing else in it. */
  takeData(): Uint8Array<ArrayBuffer> {
    const count = this.#takeable;
    const bytes = this.#bytes;
    const isExact = count > 0 && bytes.buffer.byteLength === count;
    const data = isExact ? bytes : bytes.slice(0, count);
    this.#take(count);
    return data;
  }

  /** Takes the text; if more bytes may follow, an incomplete letter stays. */
  takeText(isEnd: boolean): string {
    const bytes = this.#bytes.subarray(0, this.#takeable);
    const count = bytes.length - (isEnd ? 0 : incompleteAtEnd(bytes));
    const text = decoder.decode(bytes.subarray(0, count));
    this.#take(count);
    return text;
  }

  get #takeable(): number {
    return Math.min(this.#length, this.#limit);
  }

  #take(count: number): void {
    if (count === 0) return;
    this.#drop(count);
    this.#limit -= count;
    this.#excess = 0;
    this.wasForgotten = false;
  }

  #drop(count: number): void {
    const bytes = this.#bytes;
    const end = this.#length;
    this.#length -= count;
    if (this.#length === 0) this.#bytes = NO_BYTES;
    // A few bytes must not keep a large buffer alive.
    else if (2 * this.#length < bytes.buffer.byteLength) {
      this.#bytes = bytes.slice(count, end);
    } else this.#bytes = bytes.subarray(count);
  }

  /** The first `count` bytes are too many: until the end, only they are taken. */
  beginOverflow(count: number): void {
    this.#limit = this.#excess = Math.min(count, this.#length);
  }

  /** Drops them, unless they were taken. */
  endOverflow(): void {
    if (this.#excess > 0) this.#drop(this.#excess);
    this.#excess = 0;
    this.#limit = Infinity;
  }
}

/** How many bytes at the end of UTF-8 are the beginning of a letter. */
function incompleteAtEnd(bytes: Uint8Array): number {
  const most = Math.min(3, bytes.length);
  for (let count = 1; count <= most; count++) {
    const byte = bytes[bytes.length - count]!;
    if (byte >= 0xc0) return count < lengthOfLetter(byte) ? count : 0;
    if (byte < 0x80) return 0;
  }
  return 0;
}

/** How many bytes a letter has that begins with `byte`, from 0xC0 on. */
function lengthOfLetter(byte: number): number {
  if (byte < 0xe0) return 2;
  if (byte < 0xf0) return 3;
  return byte < 0xf5 ? 4 : 1;
}
