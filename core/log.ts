/**
 * Lines of a log: the {@linkcode Logger} that a program may bring, errors in one
 * line, and text from a peer made harmless.
 *
 * @module
 */

import { isExhaustion } from "./errors.ts";

/**
 * Anything with these four methods: `console`, a logger of `@std/log`, or your
 * own.
 *
 * All lines of a program are written. The library's own lines are limited, as a
 * peer can cause them again and again: of one kind, such as uncaught exceptions
 * of one class, a map writes 20 lines within 10 s. After that time, or when the
 * loop ends, a line tells how many were left out, how many bytes were lost with
 * them, and shows one of them.
 *
 * A method may throw, or give a promise that rejects. When the library logs by
 * itself, `SocketMap.onError` gets that error, and the dispatcher goes on.
 */
export interface Logger {
  /** Details that help to debug. */
  debug(message: string): unknown;
  /** The course of things. */
  info(message: string): unknown;
  /** Something unexpected that costs nobody a connection. */
  warn(message: string): unknown;
  /** Something that failed. */
  error(message: string): unknown;
}

/** The most characters of foreign text that a log line gets. */
const LONGEST_TEXT = 500;
/** The most bytes that a log line shows of some data. */
const MOST_BYTES = 100;
/** The most characters of a traceback; the calls nearest to the error count. */
const LONGEST_TRACEBACK = 2_000;
/** The most characters of a line. */
const LONGEST_LINE = 4_000;

/**
 * Makes text that came from a peer fit for a log: harmful characters and
 * backslashes become escapes, and the text is cut after `limit` characters.
 */
export function printable(text: string, limit: number = LONGEST_TEXT): string {
  return escapeHarmful(cut(text, limit).replaceAll("\\", "\\\\"));
}

/** Bytes as a log shows them: quoted, escaped, cut. */
export function preview(data: Uint8Array): string {
  const text = String.fromCharCode(...data.subarray(0, MOST_BYTES));
  const more = data.length > MOST_BYTES ? ` … (${data.length} bytes)` : "";
  return `"${printable(text)}"${more}`;
}

/**
 * Makes a whole message fit for a log: one line of bounded length. Backslashes
 * stay, as parts of the message may be escaped already.
 */
export function logLine(message: unknown): string {
  return escapeHarmful(cut(`${message}`, LONGEST_LINE));
}

/**
 * Escapes characters that could draw on a terminal, begin a line or turn the
 * writing around: control characters (C0, DEL, C1), line and paragraph
 * separators, bidirectional controls.
 */
function escapeHarmful(text: string): string {
  // A constant would be compiled at the start of each program, which takes long.
  return text.replace(/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu, escape);
}

function cut(text: string, limit: number): string {
  return text.length > limit ? `${text.slice(0, limit)}…` : text;
}

const SHORT_ESCAPES: Record<string, string> = {
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
};

function escape(char: string): string {
  const code = char.charCodeAt(0).toString(16);
  return SHORT_ESCAPES[char] ??
    (code.length > 2
      ? `\\u${code.padStart(4, "0")}`
      : `\\x${code.padStart(2, "0")}`);
}

/** An error, or whatever else was thrown, as `Name: message`. */
export function describeError(error: unknown): string {
  try {
    if (!(error instanceof Error)) {
      return printable(`${typeof error}: ${String(error)}`);
    }
    const name = printable(String(error.name));
    return error.message ? `${name}: ${printable(`${error.message}`)}` : name;
  } catch {
    return typeof error; // An object whose text form throws.
  }
}

/** The name of an object's class. */
export function nameOf(object: object): string {
  return object.constructor.name || "Dispatcher";
}

/** The text form of a dispatcher, even where an override of it throws. */
export function textOf(dispatcher: object): string {
  try {
    return `${dispatcher}`;
  } catch {
    return `<${nameOf(dispatcher)}: toString() failed>`;
  }
}

/** One line of a V8 stack: `at name (place:line:column)`, the name optional. */
const FRAME =
  /^\s*at (?:async )?(?:(?<name>.*?) \()?(?<file>.*?):(?<row>\d+):\d+\)?$/;

/**
 * The stack of an error in one line: `[file|function|line] …`, from the
 * outermost call to the one that threw, as Python's `asyncore` writes it.
 *
 * @param error The error. Anything without a stack gives `""`.
 * @returns The line, without line breaks.
 *
 * @example Log a failure in one line
 * ```ts
 * import { compactTraceback } from "@asyncore/asyncore";
 *
 * try {
 *   throw new Error("spam");
 * } catch (error) {
 *   console.log(compactTraceback(error)); // [/home/me/program.ts|<anonymous>|4]
 * }
 * ```
 */
export function compactTraceback(error: unknown): string {
  if (!(error instanceof Error)) return "";
  const { message, stack } = error;
  if (typeof message !== "string" || typeof stack !== "string") return "";
  // A line of the message may look like a call.
  const at = stack.indexOf(message);
  const isHead = !stack.slice(0, at).includes("\n");
  const calls = isHead ? stack.slice(at + message.length) : stack;
  let line = "";
  for (const call of calls.split("\n")) {
    const { name, file, row } = FRAME.exec(call)?.groups ?? {};
    if (file === undefined) continue;
    const path = file.replace(/^file:\/\//, "");
    const frame = printable(`[${path}|${name ?? "<anonymous>"}|${row}]`);
    if (line.length + frame.length > LONGEST_TRACEBACK) return `… ${line}`;
    line = line === "" ? frame : `${frame} ${line}`;
  }
  return line;
}

/**
 * How many listeners have run out of descriptors. Deno opens source maps to make
 * a stack, and aborts the process when it cannot: so there is no traceback then.
 */
export const exhaustion = { listeners: 0 };

function canTrace(error: unknown): boolean {
  return exhaustion.listeners === 0 && !isExhaustion(error);
}

/** An error as the log shows it: `(Name: message [file|function|line] …)`. */
export function errorLine(error: unknown): string {
  let traceback = "";
  try {
    if (canTrace(error)) traceback = compactTraceback(error);
  } catch {
    // A getter of the error threw: the description has to do.
  }
  return `(${describeError(error)}${traceback && ` ${traceback}`})`;
}

/**
 * The line about an error that no dispatcher handles. `second` is the error that
 * came of telling the program, if one did.
 */
export function uncaughtLine(error: unknown, second: unknown = error): string {
  const line = `uncaught exception in the loop ${errorLine(error)}`;
  return second === error
    ? line
    : `${line}, and telling it failed ${errorLine(second)}`;
}
