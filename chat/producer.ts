/**
 * What {@linkcode AsyncChat.pushWithProducer} takes: sources of bytes that are
 * asked for more only as the peer takes what they gave.
 *
 * @module
 */

import { checkBytes, checkInteger } from "../core/arguments.ts";
import { isPromise, quietly, toPromise } from "../core/thenable.ts";

/** A source of bytes, as in Python's `asynchat`. */
export interface Producer {
  /** The next bytes, or a promise of them; none when it has no more. */
  more(): Uint8Array | string | Promise<Uint8Array | string>;
}

/** Everything that can be pushed as a source of bytes. */
export type ProducerLike =
  | Uint8Array
  | string
  | Producer
  | Iterable<Uint8Array | string>
  | AsyncIterable<Uint8Array | string>
  | ReadableStream<Uint8Array>;

/**
 * Gives out bytes piece by piece.
 *
 * @example
 * ```ts
 * import { SimpleProducer } from "@asyncore/asyncore";
 * import { assertEquals } from "@std/assert";
 *
 * const producer = new SimpleProducer(new Uint8Array(700));
 * assertEquals(producer.more().length, 512);
 * assertEquals(producer.more().length, 188);
 * assertEquals(producer.more().length, 0);
 * ```
 */
export class SimpleProducer implements Producer {
  #data: Uint8Array;
  readonly #bufferSize: number;

  /**
   * Makes a producer of bytes that are there already.
   *
   * @param data What to give out; the caller may change it afterwards.
   * @param bufferSize The most bytes of a piece.
   * @throws {TypeError} If an argument has the wrong type.
   * @throws {RangeError} If `bufferSize` is not a positive integer.
   */
  constructor(data: Uint8Array, bufferSize: number = 512) {
    checkBytes("data", data);
    this.#data = new Uint8Array(data);
    this.#bufferSize = checkInteger("bufferSize", bufferSize, 1);
  }

  /** The next piece; empty when there are no more. */
  more(): Uint8Array {
    const piece = this.#data.subarray(0, this.#bufferSize);
    this.#data = this.#data.subarray(piece.length);
    return piece;
  }
}

/** A source of any kind, asked for one piece after the other. */
export interface Source {
  /** The next piece; `null` when there is none. */
  pull(): Piece | Promise<Piece>;
  /** Releases what the source holds: it is not asked again. Never throws. */
  cancel(): void;
}

/** What an iterator or the reader of a stream gives. */
interface Step {
  done?: boolean;
  value?: Piece;
}

/** What a source gives when it is asked. */
export type Piece = Uint8Array | string | null;

/**
 * Makes a {@linkcode Source} from any kind of producer.
 *
 * @throws {TypeError} If it is none, or a stream that is locked.
 */
export function sourceOf(producer: unknown): Source {
  if (producer instanceof ReadableStream) return streamSource(producer);
  const source = producer as
    | Partial<
      & Producer
      & Iterable<Piece>
      & AsyncIterable<Piece>
    >
    | null;
  if (typeof source?.more === "function") {
    return {
      pull: () => after(source.more!(), pieceOrEnd),
      cancel: () => {},
    };
  }
  if (typeof source?.[Symbol.asyncIterator] === "function") {
    return iteratorSource(source[Symbol.asyncIterator]!());
  }
  if (typeof source?.[Symbol.iterator] === "function") {
    return iteratorSource(source[Symbol.iterator]!());
  }
  throw new TypeError(
    "producer must have a more() method, or be iterable, async iterable or a ReadableStream",
  );
}

function iteratorSource(
  iterator: Iterator<Piece> | AsyncIterator<Piece>,
): Source {
  return {
    pull: () => after(iterator.next(), pieceOf),
    cancel: () => {
      try {
        const result = iterator.return?.();
        quietly(() => result);
      } catch {
        // A generator that closes its own chat is running: when it is not.
        queueMicrotask(() => quietly(() => iterator.return?.()));
      }
    },
  };
}

/** A stream's async iterator cannot be stopped while it waits; its reader can. */
function streamSource(stream: ReadableStream<Piece>): Source {
  const reader = stream.getReader();
  return {
    pull: () => after(reader.read(), pieceOf),
    cancel: () => quietly(() => reader.cancel()),
  };
}

/** Calls `goOn` with a value: at once, or when its promise settles. */
function after<T>(
  given: T | PromiseLike<T>,
  goOn: (given: T) => Piece,
): Piece | Promise<Piece> {
  return isPromise(given)
    ? toPromise(given as PromiseLike<T>).then(goOn)
    : goOn(given as T);
}

/** A producer that has no more gives nothing. */
function pieceOrEnd(piece: Piece | undefined): Piece {
  return piece === null || piece === undefined || piece.length === 0
    ? null
    : piece;
}

function pieceOf({ done, value }: Step): Piece {
  return done ? null : value as Piece;
}
