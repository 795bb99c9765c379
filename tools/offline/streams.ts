/**
 * Stand-in for the parts of `@std/streams` that this repo uses.
 *
 * @module
 */

/** Reads a stream to its end as UTF-8 text. */
export async function toText(
  stream: ReadableStream<string> | ReadableStream<Uint8Array>,
): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream as ReadableStream<string | Uint8Array>) {
    text += typeof chunk === "string"
      ? chunk
      : decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/** Options of {@linkcode TextLineStream}. */
export interface TextLineStreamOptions {
  /**
   * Whether a lone `\r` ends a line too.
   *
   * @default {false}
   */
  allowCR?: boolean;
}

/** Splits text into lines, which end with `\n` or `\r\n`. */
export class TextLineStream extends TransformStream<string, string> {
  /** A stream of lines without their ends. */
  constructor(options: TextLineStreamOptions = {}) {
    // At the end of a chunk a `\r` may be the first half of a `\r\n`.
    const lineEnd = options.allowCR ? /\r\n|\n|\r(?!$)/ : /\r?\n/;
    let rest = "";
    super({
      transform(chunk, controller) {
        const lines = (rest + chunk).split(lineEnd);
        rest = lines.pop() ?? "";
        for (const line of lines) controller.enqueue(line);
      },
      flush(controller) {
        if (options.allowCR && rest.endsWith("\r")) rest = rest.slice(0, -1);
        if (rest) controller.enqueue(rest);
      },
    });
  }
}

/** Splits bytes at each delimiter, which is dropped. */
export class DelimiterStream extends TransformStream<Uint8Array, Uint8Array> {
  /** A stream of what lies between the delimiters, and of what comes last. */
  constructor(delimiter: Uint8Array) {
    let rest = new Uint8Array(0);
    super({
      transform(chunk, controller) {
        const data = new Uint8Array(rest.length + chunk.length);
        data.set(rest);
        data.set(chunk, rest.length);
        // A delimiter may have begun at the end of the rest.
        let from = Math.max(0, rest.length - delimiter.length + 1);
        let start = 0;
        for (;;) {
          const at = indexOf(data, delimiter, from);
          if (at < 0) break;
          controller.enqueue(data.subarray(start, at));
          start = from = at + delimiter.length;
        }
        rest = data.slice(start);
      },
      flush(controller) {
        controller.enqueue(rest);
      },
    });
  }
}

/** Where `delimiter` lies in `data`, at `from` or later; -1 for nowhere. */
function indexOf(data: Uint8Array, delimiter: Uint8Array, from: number) {
  for (;;) {
    const at = data.indexOf(delimiter[0]!, from);
    if (at < 0 || at + delimiter.length > data.length) return -1;
    if (delimiter.every((byte, i) => data[at + i] === byte)) return at;
    from = at + 1;
  }
}
