/**
 * The HTTP server's parts that need no socket: what is a request, what is
 * answered to it, and which file it names.
 */

import { assert, assertEquals, assertLess, assertThrows } from "@std/assert";
import { answerTo, parseRange } from "../examples/http_answer.ts";
import { parseDate } from "../examples/http_date.ts";
import {
  HttpError,
  type HttpRequest,
  LONGEST_LINE,
  RequestParser,
} from "../examples/http_request.ts";
import { pathOf, typeOf } from "../examples/static_files.ts";
import { cpuTime } from "./support.ts";

/** The requests in `input`, and the status that ends them if one does. */
function parse(input: string): { requests: HttpRequest[]; status?: number } {
  const parser = new RequestParser();
  const requests: HttpRequest[] = [];
  try {
    for (let at = 0; at < input.length;) {
      const { terminator } = parser;
      assert(terminator === "\n" || Number(terminator) > 0);
      let end = input.indexOf("\n", at);
      if (typeof terminator === "number") end = at + terminator;
      else if ((end < 0 ? input.length : end) - at > LONGEST_LINE) {
        throw parser.overflow();
      }
      if (end < 0 || end > input.length) break;
      const isLine = parser.wantsLine;
      const request = parser.take(isLine ? input.slice(at, end) : "");
      if (request) requests.push(request);
      at = end + (isLine ? 1 : 0);
    }
  } catch (error) {
    if (!(error instanceof HttpError)) throw error;
    return { requests, status: error.status };
  }
  return { requests };
}

const HOST = "Host: h\r\n";

/** A request with these headers, and a second one that must not be touched. */
function withHeaders(headers: string, body = ""): string {
  return `POST / HTTP/1.1\r\n${HOST}${headers}\r\n${body}GET /next HTTP/1.1\r\n${HOST}\r\n`;
}

Deno.test("RequestParser takes requests apart, one after the other", () => {
  const { requests, status } = parse(
    "GET /a?b HTTP/1.1\r\nHOST:\t h:80 \r\nX: 1\r\nx:2\r\n\r\n" +
      "\r\nHEAD http://h/ HTTP/1.0\r\n\r\n",
  );
  assertEquals(status, undefined);
  const [first, second] = requests;
  assertEquals(first, {
    method: "GET",
    target: "/a?b",
    headers: new Map([["host", "h:80"], ["x", "1, 2"]]),
    isOld: false,
    keepAlive: true,
  });
  assertEquals(second, {
    method: "HEAD",
    target: "http://h/",
    headers: new Map(),
    isOld: true,
    keepAlive: false,
  });
});

Deno.test("RequestParser knows whether the connection stays open", () => {
  const keepAlive = (version: string, header: string) =>
    parse(`GET / HTTP/${version}\r\n${HOST}${header}\r\n\r\n`)
      .requests[0]!.keepAlive;
  for (const version of ["1.1", "1.9"]) {
    assertEquals(keepAlive(version, "X: y"), true);
    assertEquals(keepAlive(version, "Connection: spam, CLOSE"), false);
  }
  assertEquals(keepAlive("1.0", "X: y"), false);
  assertEquals(keepAlive("1.0", "Connection: Keep-Alive"), true);
  assertEquals(keepAlive("1.0", "Connection: keep-alive, close"), false);
});

const GET = "GET / HTTP/1.1\r\n";

/** Requests that are refused, by the status and the name of a test. */
const BAD_REQUESTS: Record<number, Record<string, string>> = {
  400: {
    "a bare line feed": "GET / HTTP/1.1\nHost: h\n\n",
    "a bare carriage return": `${GET}X: a\rb\r\n${HOST}\r\n`,
    "no version": "GET /\r\n",
    "two blanks": "GET  / HTTP/1.1\r\n",
    "a blank at the end": "GET / HTTP/1.1 \r\n",
    "a blank in the target": "GET /a b HTTP/1.1\r\n",
    "a letter beyond ASCII in the target": "GET /\xe9 HTTP/1.1\r\n",
    "a method that is none": "G(T / HTTP/1.1\r\n",
    "a version in small letters": "GET / http/1.1\r\n",
    "no host": `${GET}\r\n`,
    "two hosts": `${GET}${HOST}${HOST}\r\n`,
    "a host with a blank": `${GET}Host: a b\r\n\r\n`,
    "a host with a path": `${GET}Host: a/b\r\n\r\n`,
    "a blank before the colon": `${GET}Host : h\r\n\r\n`,
    "a header without a name": `${GET}: h\r\n\r\n`,
    "a header without a colon": `${GET}spam\r\n\r\n`,
    "a folded header": `${GET}X: a\r\n b\r\n${HOST}\r\n`,
    "a blank before the first header": `${GET} ${HOST}\r\n`,
    "a zero byte": `${GET}X: \0\r\n${HOST}\r\n`,
    "two lengths": withHeaders("Content-Length: 5\r\nContent-Length: 6\r\n"),
    "a length twice": withHeaders("Content-Length: 5\r\nContent-Length: 5\r\n"),
    "a list of lengths": withHeaders("Content-Length: 5, 5\r\n"),
    "a length with a sign": withHeaders("Content-Length: +5\r\n"),
    "a negative length": withHeaders("Content-Length: -5\r\n"),
    "a hexadecimal length": withHeaders("Content-Length: 0x5\r\n"),
    "an empty length": withHeaders("Content-Length:\r\n"),
    "a length behind a hard blank": withHeaders("Content-Length: \xa05\r\n"),
    "a length and a coding": withHeaders(
      "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
      "0\r\n\r\n",
    ),
    "a coding of HTTP/1.0":
      "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
  },
  413: {
    "a large body": withHeaders("Content-Length: 65537\r\n"),
    "an enormous body": withHeaders(`Content-Length: ${"9".repeat(400)}\r\n`),
  },
  414: { "a long target": `GET /${"a".repeat(LONGEST_LINE)}` },
  417: { "an unknown expectation": withHeaders("Expect: spam\r\n") },
  431: {
    "a long header": `${GET}X: ${"a".repeat(LONGEST_LINE)}`,
    "many headers": `${GET}${"X: y\r\n".repeat(10_000)}`,
    "many empty lines": "\r\n".repeat(100_000),
  },
  505: {
    "HTTP/2": "PRI * HTTP/2.0\r\n",
    "HTTP/0.9": "GET / HTTP/0.9\r\n",
  },
};

for (const [status, inputs] of Object.entries(BAD_REQUESTS)) {
  for (const [name, input] of Object.entries(inputs)) {
    Deno.test(`RequestParser refuses ${name}: ${status}`, () => {
      assertEquals(parse(input), { requests: [], status: Number(status) });
    });
  }
}

Deno.test("RequestParser refuses codings that it does not know, or that end nowhere", () => {
  const unknown = ["gzip, chunked", "gzip;level=1 ,\tdeflate,CHUNKED"];
  unknown.push("gzip\r\nTransfer-Encoding: chunked");
  const endless = ["gzip", "identity", "", "xchunked", "chunked, gzip"];
  endless.push("chunked, chunked", "gzip, chunked, chunked", "chunked;a=b");
  endless.push("chunked\r\nTransfer-Encoding: gzip", '"chunked"', "chunked,");
  endless.push("chunked\r\nTransfer-Encoding: chunked", "\xa0chunked");
  for (const coding of [...unknown, ...endless, "chunked\x0b"]) {
    const input = withHeaders(`Transfer-Encoding: ${coding}\r\n`, "0\r\n\r\n");
    const status = unknown.includes(coding) ? 501 : 400;
    assertEquals(parse(input), { requests: [], status }, coding);
  }
});

const CHUNKED = "Transfer-Encoding: Chunked\r\n";

/** The targets of the requests that come after a body. */
function targetsAfter(headers: string, body: string) {
  const { requests, status } = parse(withHeaders(headers, body));
  return status ?? requests.map(({ target }) => target);
}

Deno.test("RequestParser skips a body of known length", () => {
  const body = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
  const length = `Content-Length: ${body.length}\r\n`;
  assertEquals(targetsAfter(length, body), ["/", "/next"]);
  assertEquals(targetsAfter("Content-Length: 0\r\n", ""), ["/", "/next"]);
});

Deno.test("RequestParser skips a body in chunks", () => {
  for (
    const body of [
      "0\r\n\r\n",
      '5\r\nspam\n\r\n000A;x="y"\r\n0123456789\r\n0\r\n\r\n',
      "1;a\r\na\r\n1;a=b\r\na\r\n1;a;b=c;d\r\na\r\n0;a\r\n\r\n",
      '1;a="b;c"\r\na\r\n1;a="\\"\\\\";b\r\na\r\n1;a=""\r\na\r\n0\r\n\r\n',
      "1 ; a = b\r\na\r\n1\t;\ta \t;b\r\na\r\n0\r\n\r\n",
      "1\r\na\r\n0\r\nX: trailer\r\nY: z\r\n\r\n",
    ]
  ) assertEquals(targetsAfter(CHUNKED, body), ["/", "/next"]);
});

Deno.test("RequestParser refuses chunks that are not clear", () => {
  const unclear = ["\r\n", "-1\r\n", "0x1\r\n", " 1\r\na\r\n", "1 \r\na\r\n"];
  unclear.push("g\r\n", "1\na\r\n", "1\r\nab\r\n0\r\n\r\n", "1\r\na\n");
  unclear.push(`1;${"x".repeat(1_000)}\r\n`, "1".repeat(LONGEST_LINE + 1));
  for (const body of [...unclear, "0\r\nX : y\r\n"]) {
    assertEquals(targetsAfter(CHUNKED, body), 400, body.slice(0, 40));
  }
  const large = ["10001\r\n", `${"f".repeat(200)}\r\n`];
  large.push("1\r\na\r\n".repeat(70_000), `0\r\n${"X: y\r\n".repeat(10_000)}`);
  for (const body of large) {
    assertEquals(targetsAfter(CHUNKED, body), 413, body.slice(0, 40));
  }
});

Deno.test("RequestParser refuses extensions of chunks that are not clear", () => {
  const bad = '; ;[x ;;a ;a; ;=b ;"a" ,a ;a= ;a=;b ;a=[ ;a=b=c ;a=" ;a="b'
    .split(" ");
  bad.push("; ", ";a b", " a", ';a="b\\"', ';a="b"c', ";a ", ";a=b ");
  for (const extension of [...bad, ";\xe9", ";a=\xe9"]) {
    const body = `5${extension}\r\nhello\r\n0\r\n\r\n`;
    assertEquals(targetsAfter(CHUNKED, body), 400, body);
    const last = `5\r\nhello\r\n0${extension}\r\n\r\n`;
    assertEquals(targetsAfter(CHUNKED, last), 400, last);
  }
});

Deno.test("RequestParser does not wait for a body that the client holds back", () => {
  const { requests } = parse(
    withHeaders("Content-Length: 5\r\nExpect: 100-Continue\r\n"),
  );
  assertEquals(requests[0]!.keepAlive, false);
});

Deno.test("RequestParser takes time in proportion to its input", () => {
  const costOf = (length: number): number => {
    const line = `X: a${" ".repeat(length)}b${"\t".repeat(length / 80)}\r\n`;
    const rounds = 2_400_000 / length;
    const start = cpuTime();
    for (let round = 0; round < rounds; round++) {
      parse(`GET / HTTP/1.1\r\n${line.repeat(3)}${HOST}\r\n`);
    }
    return cpuTime() - start;
  };
  costOf(80);
  const short = Math.min(costOf(80), costOf(80));
  const long = Math.min(costOf(8_000), costOf(8_000));
  assertLess(
    long,
    10 * short + 100,
    "a quadratic cost would be 100 times as high",
  );
});

Deno.test("parseRange() finds a single range", () => {
  const cases: [string | undefined, number, [number, number] | null | 416][] = [
    [undefined, 10, null],
    ["bytes=0-0", 10, [0, 1]],
    ["BYTES=2-5", 10, [2, 6]],
    ["bytes=5-", 10, [5, 10]],
    ["bytes=5-99", 10, [5, 10]],
    ["bytes=-3", 10, [7, 10]],
    ["bytes=-99", 10, [0, 10]],
    [`bytes=0-${"9".repeat(400)}`, 10, [0, 10]],
    ["bytes=10-", 10, 416],
    [`bytes=${"9".repeat(400)}-`, 10, 416],
    ["bytes=-0", 10, 416],
    ["bytes=0-", 0, 416],
    ["bytes=-5", 0, null],
    ["bytes=5-2", 10, null],
    ["bytes=-", 10, null],
    ["bytes=1-2,4-5", 10, null],
    ["bytes= 1-2", 10, null],
    ["lines=1-2", 10, null],
    ["bytes=0x1-2", 10, null],
  ];
  for (const [text, size, expected] of cases) {
    if (expected !== 416) assertEquals(parseRange(text, size), expected, text);
    else assertThrows(() => parseRange(text, size), HttpError, "416");
  }
});

const FACTS = {
  size: 10,
  changed: Date.UTC(2024, 1, 29, 12, 0, 0, 500),
  type: "text/css",
};
const DATE = "Thu, 29 Feb 2024 12:00:00 GMT";
const EARLIER = "Thu, 29 Feb 2024 11:59:59 GMT";

/** The answer to a request with these headers. */
function answer(headers: Record<string, string>, method = "GET", now?: number) {
  const map = new Map(Object.entries(headers));
  const request = { method, target: "/", headers: map };
  return answerTo({ ...request, isOld: false, keepAlive: true }, FACTS, now);
}

/** The status of the answer, and how many bytes come. */
function outcome(...args: Parameters<typeof answer>): number[] {
  try {
    const { status, start, end } = answer(...args);
    return [status, end - start];
  } catch (error) {
    assert(error instanceof HttpError);
    return [error.status];
  }
}

Deno.test("answerTo() weighs conditions in the order of RFC 9110", () => {
  const tag = answer({}).headers["ETag"] as string;
  const other = '"other"';
  const cases: [Record<string, string>, number[]][] = [
    [{}, [200, 10]],
    [{ "if-none-match": tag }, [304, 0]],
    [{ "if-none-match": `W/${tag}` }, [304, 0]],
    [{ "if-none-match": `${other}, ${tag}` }, [304, 0]],
    [{ "if-none-match": "*" }, [304, 0]],
    [{ "if-none-match": other }, [200, 10]],
    [{ "if-none-match": other, "if-modified-since": DATE }, [200, 10]],
    [{ "if-modified-since": DATE }, [304, 0]],
    [{ "if-modified-since": EARLIER }, [200, 10]],
    [{ "if-modified-since": "yesterday" }, [200, 10]],
    [{ "if-match": tag }, [200, 10]],
    [{ "if-match": "*" }, [200, 10]],
    [{ "if-match": other }, [412]],
    [{ "if-match": `W/${tag}` }, [412]],
    [{ "if-match": other, "if-none-match": tag }, [412]],
    [{ "if-unmodified-since": DATE }, [200, 10]],
    [{ "if-unmodified-since": EARLIER }, [412]],
    [{ "if-unmodified-since": "Invalid Date" }, [200, 10]],
    [{ "if-unmodified-since": "Thursday, 29-Feb-24 12:00:00 GMT" }, [200, 10]],
    [{ "if-unmodified-since": "Thu Feb 29 11:59:59 2024" }, [412]],
    [{ "if-modified-since": "Thursday, 29-Feb-24 12:00:00 GMT" }, [304, 0]],
    [{ "if-modified-since": "Thursday, 29-Feb-24 11:59:59 GMT" }, [200, 10]],
    [{ "if-modified-since": "Thu Feb 29 12:00:00 2024" }, [304, 0]],
    [{ "if-modified-since": `${DATE}, ${DATE}` }, [200, 10]],
    [{ "range": "bytes=1-2" }, [206, 2]],
    [{ "range": "bytes=1-2", "if-none-match": tag }, [304, 0]],
    [{ "range": "bytes=1-2", "if-range": tag }, [206, 2]],
    [{ "range": "bytes=1-2", "if-range": DATE }, [206, 2]],
    [{ "range": "bytes=1-2", "if-range": `W/${tag}` }, [200, 10]],
    [{ "range": "bytes=1-2", "if-range": EARLIER }, [200, 10]],
    [
      { "range": "bytes=1-2", "if-range": "Thu Feb 29 12:00:00 2024" },
      [206, 2],
    ],
    [{ "range": "bytes=10-", "if-range": other }, [200, 10]],
    [{ "range": "bytes=10-" }, [416]],
  ];
  for (const [headers, expected] of cases) {
    assertEquals(outcome(headers), expected, JSON.stringify(headers));
  }
  assertEquals(outcome({ "range": "bytes=1-2" }, "HEAD"), [200, 10]);
});

Deno.test("answerTo() names no time later than its own", () => {
  const lastModified = (now: number) =>
    answer({}, "GET", now).headers["Last-Modified"];
  assertEquals(lastModified(FACTS.changed + 1_000), DATE);
  assertEquals(lastModified(FACTS.changed), DATE);
  assertEquals(lastModified(FACTS.changed - 1_000), EARLIER);
});

Deno.test("parseDate() reads the three forms of HTTP, and nothing else", () => {
  const now = Date.UTC(2026, 5, 15, 12);
  const at = (...time: [number, number, number, ...number[]]) =>
    Date.UTC(...time);
  const dates: Record<string, number> = {
    "Sun, 06 Nov 1994 08:49:37 GMT": at(1994, 10, 6, 8, 49, 37),
    "Sunday, 06-Nov-94 08:49:37 GMT": at(1994, 10, 6, 8, 49, 37),
    "Sun Nov  6 08:49:37 1994": at(1994, 10, 6, 8, 49, 37),
    "Wed Nov 16 08:49:37 1994": at(1994, 10, 16, 8, 49, 37),
    "Thu, 29 Feb 2024 00:00:00 GMT": at(2024, 1, 29),
    "Sat, 31 Dec 2016 23:59:60 GMT": at(2016, 11, 31, 23, 59, 59),
    "Saturday, 31-Dec-16 23:59:60 GMT": at(2016, 11, 31, 23, 59, 59),
    "Tuesday, 01-Jan-00 00:00:00 GMT": NaN, // it was a Saturday
    "Saturday, 01-Jan-00 00:00:00 GMT": at(2000, 0, 1),
    // At most fifty years from now
    "Monday, 15-Jun-76 12:00:00 GMT": at(2076, 5, 15, 12),
    "Tuesday, 15-Jun-76 12:00:01 GMT": at(1976, 5, 15, 12, 0, 1),
    "Saturday, 01-Jan-77 00:00:00 GMT": at(1977, 0, 1),
    "Sun Nov 06 08:49:37 1994": at(1994, 10, 6, 8, 49, 37),
  };
  const none = `
    Invalid Date
    0
    1994
    1994-11-06T08:49:37Z
    Mon, 06 Nov 1994 08:49:37 GMT
    Fri, 30 Feb 2024 00:00:00 GMT
    Sun, 06 Nov 1994 24:00:00 GMT
    Sun, 06 Nov 1994 08:60:37 GMT
    Sun, 06 Nov 1994 08:49:61 GMT
    Sun, 6 Nov 1994 08:49:37 GMT
    sun, 06 nov 1994 08:49:37 gmt
    Sun, 06 Nov 1994 08:49:37 UTC
    Sun, 06 Nov 1994 08:49:37 +0000
    Sun, 06 Nov 0094 08:49:37 GMT
    Sun, 06-Nov-94 08:49:37 GMT
    Sunday, 6-Nov-94 08:49:37 GMT
    Sunday, 06-Nov-1994 08:49:37 GMT
    Sunday, 06-Nov-94 08:49:37
    Sun Nov 6 08:49:37 1994
    Sun Nov  6 08:49:37 94
    Sun Nov  6 08:49:37 1994 GMT`;
  for (const text of none.split(/\n */)) dates[text] = NaN; // also of ""
  for (const [text, time] of Object.entries(dates)) {
    assertEquals(parseDate(text, now), time, text);
  }
});

Deno.test("pathOf() finds the path that a target names", () => {
  const cases: Record<string, string | number> = {
    "/": "",
    "/?a/../b": "",
    "/a/b.txt": "a/b.txt",
    "/a/": "a/",
    "/a%20b%C3%A9": "a bé",
    "/a?b#c": "a",
    "/a:b": Deno.build.os === "windows" ? 404 : "a:b",
    "http://h:80/a": "a",
    "HTTPS://h": "",
    "http://h?x": "",
    "/%252e%252e/a": "%2e%2e/a",
  };
  const bad = String.raw`* a h:443 http:///a /% /%zz /%ff /%c0%ae%c0%ae/ /a#b`;
  for (const target of bad.split(" ")) cases[target] = 400;
  const missing = String.raw`
    //h/a /a//b /.. /a/../b http://h/../a /%2e%2E/a /.%2e /./a /.git/config
    /a%2fb /..%2fa /..%5ca /a%5Cb /a\..\b /a%00`.trim();
  for (const target of missing.split(/\s+/)) cases[target] = 404;
  for (const [target, expected] of Object.entries(cases)) {
    let found: string | number;
    try {
      found = pathOf(target);
    } catch (error) {
      assert(error instanceof HttpError);
      found = error.status;
    }
    assertEquals(found, expected, target);
  }
});

Deno.test("typeOf() goes by the last extension", () => {
  assertEquals(typeOf("a/b.HTML"), "text/html; charset=utf-8");
  assertEquals(typeOf("a.html.png"), "image/png");
  assertEquals(typeOf("a.html/b"), "application/octet-stream");
  assertEquals(typeOf("constructor"), "application/octet-stream");
  assertEquals(typeOf("a.constructor"), "application/octet-stream");
});
