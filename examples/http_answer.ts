/**
 * Decides about the conditions and ranges of a request for a file (RFC 9110,
 * sections 13 and 14), from the headers alone.
 *
 * @module
 */

import { parseDate } from "./http_date.ts";
import {
  type Headers,
  HttpError,
  type HttpRequest,
  listOf,
  statusText,
} from "./http_request.ts";

/** Facts about a file, known before it is read. */
export interface FileFacts {
  size: number;
  /** When it was changed last, in ms since 1970. */
  changed: number;
  /** The media type. */
  type: string;
}

/** An answer without its body: of the file, the bytes from `start` to `end`. */
export interface Answer {
  status: number;
  headers: Headers;
  start: number;
  end: number;
}

/**
 * Decides how to answer a request for a file.
 *
 * @param now The time of the answer, in ms since 1970.
 * @throws {HttpError} 412 or 416, if a condition or the range does not fit.
 */
export function answerTo(
  { method, headers }: HttpRequest,
  { size, changed, type }: FileFacts,
  now: number = Date.now(),
): Answer {
  const tag = `"${size.toString(36)}-${Math.floor(changed).toString(36)}"`;
  // A wrong clock may have left a date of the future.
  const date = new Date(Math.min(changed, now)).toUTCString();
  const about: Headers = { "ETag": tag, "Last-Modified": date };
  const facts: Version = { tag, changed, now };
  if (!isAsExpected(headers, facts)) throw new HttpError(412);
  if (isKnown(headers, facts)) {
    return { status: 304, headers: about, start: 0, end: 0 };
  }
  about["Accept-Ranges"] = "bytes";
  about["Content-Type"] = type;

  const range = method === "GET" && isSame(headers, facts)
    ? parseRange(headers.get("range"), size)
    : null;
  const [start, end] = range ?? [0, size];
  about["Content-Length"] = end - start;
  if (range === null) return { status: 200, headers: about, start, end };
  about["Content-Range"] = `bytes ${start}-${end - 1}/${size}`;
  return { status: 206, headers: about, start, end };
}

/** The name of this version of the file, for conditions. */
interface Version {
  tag: string;
  changed: number;
  now: number;
}

/** `If-Match`, or else `If-Unmodified-Since`. */
function isAsExpected(headers: Map<string, string>, version: Version): boolean {
  const { tag } = version;
  const tags = headers.get("if-match");
  if (tags !== undefined) return tags === "*" || listOf(tags).includes(tag);
  const age = secondsSince(headers.get("if-unmodified-since"), version);
  return !(age > 0);
}

/** `If-None-Match`, or else `If-Modified-Since`. */
function isKnown(headers: Map<string, string>, version: Version): boolean {
  const { tag } = version;
  const tags = headers.get("if-none-match");
  if (tags !== undefined) {
    const weak = `w/${tag}`;
    return tags === "*" ||
      listOf(tags).some((known) => known === tag || known === weak);
  }
  return secondsSince(headers.get("if-modified-since"), version) <= 0;
}

/** `If-Range`. */
function isSame(headers: Map<string, string>, version: Version): boolean {
  const text = headers.get("if-range");
  return text === undefined || text === version.tag ||
    secondsSince(text, version) === 0;
}

/** The time from a date to the change of the file; NaN without a date. */
function secondsSince(text = "", { changed, now }: Version): number {
  return seconds(changed) - seconds(parseDate(text, now));
}

function seconds(time: number): number {
  return Math.floor(time / 1_000);
}

/**
 * The bytes of a single range, the end excluded. Several ranges, or a text that
 * is no range, count as none: the answer is the whole file.
 *
 * @throws {HttpError} 416, if the file has no such bytes.
 */
export function parseRange(
  text: string | undefined,
  size: number,
): [number, number] | null {
  const match = /^bytes=(\d*)-(\d*)$/i.exec(text ?? "");
  if (match === null) return null;
  const [, first = "", last = ""] = match;
  if (first === "" && last === "") return null;
  if (first === "") {
    const length = Math.min(Number(last), size);
    if (Number(last) > 0) return size > 0 ? [size - length, size] : null;
  } else {
    if (last !== "" && Number(last) < Number(first)) return null;
    const end = last === "" ? size : Math.min(Number(last) + 1, size);
    if (Number(first) < size) return [Number(first), end];
  }
  throw new HttpError(416, { "Content-Range": `bytes */${size}` });
}

const encoder = new TextEncoder();

/** The status line and the headers as they are sent. */
export function encodeHead(status: number, headers: Headers): Uint8Array {
  const lines = [`HTTP/1.1 ${statusText(status)}`];
  for (const name in headers) lines.push(`${name}: ${headers[name]}`);
  return encoder.encode(`${lines.join("\r\n")}\r\n\r\n`);
}
