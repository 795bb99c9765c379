/** What is a request, which file it names, and which part of it it wants. */

import { assert, assertEquals, assertFalse, assertMatch } from "@std/assert";
import fc from "fast-check";
import { answerTo, parseRange } from "../../examples/http_answer.ts";
import {
  HttpError,
  type HttpRequest,
  LONGEST_LINE,
  RequestParser,
  statusText,
} from "../../examples/http_request.ts";
import { pathOf } from "../../examples/static_files.ts";
import { ENDLESS, range, requests, target, TRICKS } from "./http_inputs.ts";
import { requestsIn } from "./http_reference.ts";
import { type Binary, changed, endless, noise, soup } from "./inputs.ts";
import { fuzz } from "./property.ts";

/** What a function returns, or the status of its refusal. */
function outcome<T>(run: () => T): T | HttpError {
  try {
    return run();
  } catch (error) {
    if (!(error instanceof HttpError)) throw error;
    checkRefusal(error);
    return error;
  }
}

function checkRefusal({ status }: HttpError): void {
  assertFalse(statusText(status).includes("Unknown"), `${status}`);
}

/** What others may rely on who are given a request. */
function checkRequest({ method, target, headers, isOld }: HttpRequest): void {
  assertMatch(method, /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/);
  assertMatch(target, /^[!-~]+$/);
  for (const [name, value] of headers) {
    assertMatch(name, /^[!#$%&'*+.^_`|~0-9a-z-]+$/);
    assertMatch(value, /^[\t -~\x80-\xff]*$/);
  }
  assert(isOld || headers.has("host"));
  assertFalse(
    headers.has("content-length") && headers.has("transfer-encoding"),
  );
}

/** The request as its headers alone would be sent. */
function written({ method, target, headers, isOld }: HttpRequest): Binary {
  const lines = [`${method} ${target} HTTP/1.${isOld ? 0 : 1}`];
  for (const [name, value] of headers) lines.push(`${name}: ${value}`);
  return `${lines.join("\r\n")}\r\n\r\n`;
}

/** The request without what announces a body, and blanks where lists end. */
function withoutBody(request: HttpRequest): HttpRequest {
  const headers = new Map<string, string>();
  for (const [name, value] of request.headers) {
    if (/^(?:content-length|transfer-encoding|expect)$/.test(name)) continue;
    // Of a header that came twice, one may have been empty.
    headers.set(name, value.replace(/^[ \t]+|[ \t]+$/g, ""));
  }
  return { ...request, headers };
}

/** Headers that came twice are one, which may be too long for a line. */
function isTooLong(head: Binary): boolean {
  return head.length > 32_000 ||
    head.split("\n").some((line) => line.length > LONGEST_LINE);
}

fuzz({
  name: "RequestParser reads clear requests and refuses all else",
  input: requests,
  examples: [...TRICKS],
  check(input) {
    const { requests, error } = requestsIn(input);
    if (error) checkRefusal(error);
    for (const request of requests) {
      checkRequest(request);
      // Whoever is given it as it was read here reads the same.
      const alone = withoutBody(request);
      if (isTooLong(written(alone))) continue;
      const { requests: again } = requestsIn(written(alone));
      // Who expects an answer before the body is not listened to any more.
      if (request.headers.has("expect")) alone.keepAlive = again[0]!.keepAlive;
      assertEquals(again, [alone]);
    }
  },
});

/** A request that is right, and what is to be read of it. */
interface Sent {
  request: HttpRequest;
  body: Binary;
  chunks: number[] | null;
}

const token = fc.string({
  unit: fc.constantFrom(..."abcXYZ019!#$%&'*+.^_`|~-"),
  minLength: 1,
  maxLength: 12,
});
const value = fc.string({
  unit: fc.constantFrom(...'abcXYZ019:;,="()/ \t\x80\xff'),
  maxLength: 20,
}).map((text) => text.replace(/^[ \t]+|[ \t]+$/g, ""));

const sent: fc.Arbitrary<Sent> = fc.record({
  method: token,
  target: fc.string({
    unit: fc.constantFrom(..."/abc%2e.?#:*~!"),
    minLength: 1,
    maxLength: 20,
  }),
  // An own name, which is neither one of those that matter nor another one's.
  values: fc.array(value, { maxLength: 4 }),
  names: fc.array(token, { minLength: 4, maxLength: 4 }),
  body: fc.oneof(noise(50), fc.constantFrom("GET / HTTP/1.1\r\n\r\n")),
  chunks: fc.option(
    fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 4 }),
  ),
}).map(({ method, target, values, names, body, chunks }) => {
  const own = values.map((value, at): [string, string] => [
    `${names[at]}-${at}`.toLowerCase(),
    value,
  ]);
  const length: [string, string] = chunks === null
    ? ["content-length", `${body.length}`]
    : ["transfer-encoding", "chunked"];
  const headers = new Map<string, string>([["host", "h"], ...own, length]);
  const isOld = false;
  return {
    request: { method, target, headers, isOld, keepAlive: true },
    body,
    chunks,
  };
});

function sentBytes({ request, body, chunks }: Sent): Binary {
  const head = written(request);
  if (chunks === null) return head + body;
  let text = head;
  for (let at = 0, turn = 0; at < body.length; turn++) {
    const chunk = body.slice(at, at + chunks[turn % chunks.length]!);
    text += `${chunk.length.toString(16)}\r\n${chunk}\r\n`;
    at += chunk.length;
  }
  return `${text}0\r\n\r\n`;
}

fuzz({
  name: "RequestParser reads what was sent, and nothing out of its bodies",
  input: fc.array(sent, { maxLength: 4 }),
  check(all) {
    const { requests, error } = requestsIn(all.map(sentBytes).join(""));
    assertEquals(error, null);
    assertEquals(requests, all.map(({ request }) => request));
  },
});

fuzz({
  name: "RequestParser takes any lines, whatever comes between them",
  input: fc.array(
    fc.oneof(
      noise(30),
      requests.map((text) => text.slice(0, text.indexOf("\n"))),
      soup(["\r", "0", "5", "f", ";", "Host: h", "X:", "Content-Length: 9"], 4),
      fc.constantFrom(
        ...["GET / HTTP/1.1\r", "Host: h\r", "\r"],
        ...["Transfer-Encoding: chunked\r", "0\r", "f\r"],
      ),
    ),
    { maxLength: 40 },
  ),
  check(lines) {
    const parser = new RequestParser();
    for (const line of lines) {
      const request = outcome(() => parser.take(line));
      outcome(() => parser.overflow());
      if (request instanceof HttpError) return;
      if (request !== null) checkRequest(request);
      const { terminator, wantsLine } = parser;
      assertEquals(terminator === "\n", wantsLine);
      if (terminator !== "\n") assert(Number(terminator) > 0);
    }
  },
});

fuzz({
  name: "RequestParser gives up a request that has no end",
  cost: 100,
  input: endless(ENDLESS),
  examples: [...ENDLESS],
  check({ start, unit }) {
    const { requests, error } = requestsIn(
      start + unit.repeat(300_000 / unit.length),
    );
    // Those that have an end have it soon, as requestsIn() checks.
    assert(error !== null || requests.length > 1_000);
  },
});

/** The bytes of a range, each of them looked at by itself. */
function positions(text: Binary, size: number): number[] | null {
  const match = /^bytes=(\d*)-(\d*)$/i.exec(text);
  if (match === null || match[0] === "bytes=-") return null;
  const [, first = "", last = ""] = match;
  const all = Array.from({ length: size }, (_, at) => at);
  if (first === "" && last === "") return null;
  if (first === "") return all.filter((at) => at >= size - Number(last));
  if (last !== "" && Number(last) < Number(first)) return null;
  const end = last === "" ? Infinity : Number(last);
  return all.filter((at) => at >= Number(first) && at <= end);
}

fuzz({
  name: "parseRange() stays within the file",
  input: fc.record({ text: changed(range, 1), size: fc.nat(40) }),
  check({ text, size }) {
    const expected = positions(text, size);
    const found = outcome(() => parseRange(text, size));
    if (found instanceof HttpError) {
      assertEquals(found.status, 416);
      assertEquals(found.headers, { "Content-Range": `bytes */${size}` });
      assertEquals(expected, []);
    } else if (found === null) {
      // Of an empty file, the last bytes are all there are.
      assert(expected === null || (size === 0 && /=-0*[1-9]/.test(text)));
    } else {
      const [start, end] = found;
      assert(0 <= start && start < end && end <= size, `${found}`);
      assertEquals([start, end - 1], [expected?.at(0), expected?.at(-1)]);
    }
  },
});

const CONDITIONAL = [
  ...["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"],
  ...["if-range", "range"],
];

fuzz({
  name: "answerTo() promises what the file has, whatever the conditions",
  input: fc.record({
    input: requests,
    size: fc.oneof(fc.constant(10), fc.nat(40)),
    changed: fc.oneof(fc.constantFrom(0, 0.5, 999), fc.nat()),
  }),
  check({ input, size, changed }) {
    for (const request of requestsIn(input).requests) {
      const facts = { size, changed, type: "text/plain" };
      const answer = outcome(() => answerTo(request, facts));
      if (answer instanceof HttpError) {
        assert([412, 416].includes(answer.status));
        assert(CONDITIONAL.some((name) => request.headers.has(name)));
        continue;
      }
      const { status, headers, start, end } = answer;
      assert(0 <= start && start <= end && end <= size);
      for (const [name, value] of Object.entries(headers)) {
        assertMatch(`${name}: ${value}`, /^[A-Za-z-]+: [ -~]+$/);
      }
      assertEquals("Content-Range" in headers, status === 206);
      if (status === 304) assertEquals([start, end], [0, 0]);
      else assertEquals(headers["Content-Length"], end - start);
      if (status === 200) assertEquals([start, end], [0, size]);
      if (status === 206) assertEquals(request.method, "GET");
      assert([200, 206, 304].includes(status));
    }
  },
});

/** A name with its bytes in hexadecimal decoded once, or `null`. */
function decodedOnce(name: string): string | null {
  const data: number[] = [];
  for (let at = 0; at < name.length; at++) {
    const char = name[at]!;
    if (char !== "%") {
      data.push(...new TextEncoder().encode(char));
      continue;
    }
    const digits = name.slice(at + 1, at + 3);
    if (!/^[0-9A-Fa-f]{2}$/.test(digits)) return null;
    data.push(parseInt(digits, 16));
    at += 2;
  }
  try {
    const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    return decoder.decode(new Uint8Array(data));
  } catch {
    return null;
  }
}

fuzz({
  name: "pathOf() names no file but one below the root",
  input: fc.oneof(target, changed(target, 3), noise(30)),
  check(target) {
    const path = outcome(() => pathOf(target));
    if (path instanceof HttpError) {
      assert([400, 404].includes(path.status));
      return;
    }
    const names = path.split("/");
    for (const [at, name] of names.entries()) {
      assert(name !== "" || at === names.length - 1, path);
      assert(!name.startsWith(".") || name === ".well-known", path);
      assertFalse(/[\0\\]/.test(name), path);
    }
    // What stands in the target, once decoded, and nothing else.
    const local = target.replace(/\?.*$/s, "").replace(
      /^https?:\/\/[^/]*/i,
      "",
    );
    const spelled = local.replace(/^\//, "").split("/").map(decodedOnce);
    assertEquals(names, spelled);
  },
});

fuzz({
  name: "pathOf() names every file whose name is clean",
  input: fc.array(
    fc.string({ unit: "grapheme", minLength: 1, maxLength: 8 })
      .filter((name) => !/^\.|[\0/\\]/.test(name)),
    { minLength: 1, maxLength: 4 },
  ),
  check(names) {
    const isWindowsName = (name: string) => !/["*/:<>?\\|~]|[ .]$/.test(name);
    if (Deno.build.os === "windows" && !names.every(isWindowsName)) return;
    const target = `/${names.map(encodeURIComponent).join("/")}`;
    assertEquals(pathOf(target), names.join("/"));
    // Hexadecimal all through is the same name.
    const all = names.map((name) =>
      Array.from(
        new TextEncoder().encode(name),
        (byte) => `%${byte.toString(16).padStart(2, "0")}`,
      ).join("")
    );
    assertEquals(pathOf(`/${all.join("/")}`), names.join("/"));
  },
});
