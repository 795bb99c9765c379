/** What web clients ask for, and what they might. */

import fc from "fast-check";
import {
  type Binary,
  type Endless,
  hostile,
  mixed,
  noise,
  soup,
  utf8,
} from "./inputs.ts";

/** Characters in hexadecimal, and that again, so many times. */
function encoded(text: Binary, times: number, which: RegExp): Binary {
  for (; times > 0; times--) {
    text = text.replace(
      which,
      (char) => `%${char.charCodeAt(0).toString(16).padStart(2, "0")}`,
    );
  }
  return text;
}

const SPECIAL = /[^A-Za-z0-9]/g;
const ANY = /[^]/g;

/** The name of a folder that would be a header of its own. */
export const FOLDER_OF_LINES: Binary = "x\r\nSet-Cookie: y";

/** Names there are, names there should not be, and parts of names. */
const NAMES: readonly Binary[] = [
  ...["a.txt", "sub", "index.html", "empty", "big.bin", ".well-known"],
  ...[".hidden", "out", "loop"],
  utf8("grün & blau"),
  FOLDER_OF_LINES,
  ...["..", ".", "...", "", "..\\..\\x", "../../x", "/", "\\", "\0", "\xff"],
  "\xc0\xae\xc0\xae", // an overlong ..
  "C:",
];

const name: fc.Arbitrary<Binary> = mixed(
  [
    6,
    fc.tuple(
      fc.constantFrom(...NAMES),
      fc.constantFrom(0, 1, 1, 1, 2, 3),
      fc.constantFrom(SPECIAL, SPECIAL, ANY),
    ).map((parts) => encoded(...parts)),
  ],
  [1, soup(["%", "2", "e", "E", "f", "5c", "%2", "00", "."], 8)],
  [1, noise(4).map((text) => encoded(text, 1, SPECIAL))],
);

const path: fc.Arbitrary<Binary> = mixed(
  [2, fc.constantFrom("/", "/a.txt", "/sub/", "/sub", "/big.bin")],
  [
    3,
    fc.array(name, { maxLength: 4 })
      .map((names) => `/${names.join("/")}`),
  ],
);

/** What stands between the method and the version. */
export const target: fc.Arbitrary<Binary> = mixed(
  [4, path],
  [
    2,
    fc.tuple(
      fc.constantFrom("http://h", "https://h:80", "HTTP://", "//", ""),
      path,
      fc.constantFrom("", "?a=../b", "#a", "/", "?"),
    ).map((parts) => parts.join("")),
  ],
  [1, fc.oneof(path, fc.constantFrom("*", "", "h:80", "x"))],
);

/** What a `Range` may say. */
export const range: fc.Arbitrary<Binary> = mixed(
  [
    4,
    fc.tuple(
      fc.option(fc.nat(30), { nil: "" }),
      fc.option(fc.nat(30), { nil: "" }),
    ).map(([first, last]) => `bytes=${first}-${last}`),
  ],
  [
    1,
    fc.constantFrom(
      "bytes=0-0",
      "bytes=-0",
      "bytes=0-9007199254740993",
      "bytes=9007199254740993-",
      `bytes=-${"9".repeat(400)}`,
      `bytes=${"9".repeat(400)}-${"9".repeat(400)}`,
      `bytes=${"0".repeat(400)}-`,
      "bytes=0-1,3-4",
      "BYTES=1-2",
      "bytes =1-2",
      "lines=1-2",
    ),
  ],
  [1, soup(["bytes", "=", "-", "1", "0", ",", " "], 8)],
);

const DATES: readonly Binary[] = [
  ...["Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"],
  ...["Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "never"],
  "",
];

/** What an `If-Match` and its like may say; the first is what the file has. */
const tags: fc.Arbitrary<Binary> = fc.constantFrom(
  ...["*", '"a-0"', 'W/"a-0"', '"x", "a-0" , W/"y"', ",,", "a-0"],
);

/** One header without its CR LF, of those that matter. */
const header: fc.Arbitrary<Binary> = mixed(
  [3, range.map((value) => `Range: ${value}`)],
  [
    3,
    fc.tuple(
      fc.constantFrom("If-Match", "If-None-Match", "If-Range"),
      fc.oneof(tags, fc.constantFrom(...DATES)),
    ).map((parts) => parts.join(": ")),
  ],
  [
    3,
    fc.tuple(
      fc.constantFrom("If-Modified-Since", "If-Unmodified-Since", "If-Range"),
      fc.constantFrom(...DATES),
    ).map((parts) => parts.join(": ")),
  ],
  [
    4,
    fc.constantFrom(
      ...["Connection: close", "Connection: keep-alive"],
      ...["connection: x,Keep-Alive", "Expect: 100-continue", "X: y", "x:"],
      "X-Long: ".padEnd(5_000, "x"),
    ),
  ],
  [
    1,
    fc.constantFrom(
      "Expect: x",
      "X : y",
      " folded",
      "Host: again",
      "X-Long: ".padEnd(8_191, "x"),
      "X-Long: ".padEnd(8_192, "x"),
    ),
  ],
);

/** A body, and the headers that say how long it is. */
const BODY: Binary = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
const body: fc.Arbitrary<[headers: Binary, body: Binary]> = mixed(
  [4, fc.constant<[Binary, Binary]>(["", ""])],
  [
    1,
    fc.oneof(noise(60), fc.constant(BODY)).map(
      (text): [Binary, Binary] => [`Content-Length: ${text.length}\r\n`, text],
    ),
  ],
  [
    1,
    fc.array(
      fc.oneof(noise(20), fc.constant(BODY)).filter((text) => text !== ""),
      { maxLength: 3 },
    ).map((chunks): [Binary, Binary] => {
      const parts = chunks.map((chunk) =>
        `${chunk.length.toString(16)};x ; y="\\";"\r\n${chunk}\r\n`
      );
      return [
        "Transfer-Encoding: chunked\r\n",
        `${parts.join("")}0\r\nX: y\r\n\r\n`,
      ];
    }),
  ],
);

/** How long a body is, said in ways that contradict one another. */
const UNCLEAR: readonly Binary[] = [
  "Content-Length: 5\r\nContent-Length: 5\r\n",
  "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
  "Transfer-Encoding: chunked, identity\r\n",
  "Transfer-Encoding: gzip, chunked\r\n",
  "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
  ...["Transfer-Encoding:\x0bchunked\r\n", "Content-Length: +5\r\n"],
  "Content-Length: 99999\r\n",
  `Content-Length: ${"0".repeat(300)}5\r\n`,
];

const request: fc.Arbitrary<Binary> = fc.record({
  method: fc.constantFrom("GET", "GET", "GET", "HEAD", "POST", "get", "X"),
  target,
  version: mixed(
    [9, fc.constantFrom("1.1", "1.1", "1.0", "1.9")],
    [1, fc.constantFrom("2.0", "0.9", "1.10", "1")],
  ),
  host: mixed(
    [9, fc.constant("Host: h\r\n")],
    [1, fc.constantFrom("host:\r\n", "")],
  ),
  headers: fc.array(header, { maxLength: 3 }),
  unclear: mixed(
    [15, fc.constant("")],
    [1, fc.constantFrom(...UNCLEAR)],
  ),
  body,
}).map(({ method, target, version, host, headers, unclear, body }) => {
  const lines = headers.map((header) => `${header}\r\n`).join("");
  return `${method} ${target} HTTP/${version}\r\n${host}${lines}${unclear}${
    body[0]
  }\r\n${body[1]}`;
});

/** What a client says from the first byte to the last. */
export const requests: fc.Arbitrary<Binary> = hostile(
  fc.array(
    mixed(
      [8, request],
      [1, fc.constant("\r\n")],
      [
        4,
        fc.constantFrom(
          "GET /a.txt HTTP/1.1\r\nHost: h\r\n\r\n",
          "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        ),
      ],
    ),
    { minLength: 1, maxLength: 4 },
  ).map((parts) => parts.join("")),
);

const GET: Binary = "GET / HTTP/1.1\r\nHost: h\r\n";

const CHUNKED: Binary = `${GET}Transfer-Encoding: chunked\r\n\r\n`;

/** What servers have been tricked with. */
export const TRICKS: readonly Binary[] = [
  `GET /${encoded(FOLDER_OF_LINES, 1, SPECIAL)} HTTP/1.1\r\nHost: h\r\n\r\n`,
  `GET /%252e%252e/x HTTP/1.1\r\nHost: h\r\n\r\n`,
  `GET /..%5c..%5cx HTTP/1.1\r\nHost: h\r\n\r\n`,
  `${GET}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${GET}\r\n`,
  `${GET}Transfer-Encoding: chunked\r\n\r\n0\n\r\n${GET}\r\n`,
  `${GET}Content-Length: 0\r\nContent-Length: 44\r\n\r\n${GET}\r\n`,
  `${GET}Content-Length : 44\r\n\r\n${GET}\r\n`,
  `${GET}X: y\n\n${GET}\r\n`,
  `${CHUNKED}5;\r\nhello\r\n0\r\n\r\n${GET}\r\n`,
  `${CHUNKED}5;a="\r\nhello\r\n0\r\n\r\n${GET}\r\n`,
];

/** What clients may say without an end. */
export const ENDLESS: readonly Endless[] = [
  { start: "", unit: "\r\n" },
  { start: "", unit: `${GET}\r\n` },
  { start: "GET /", unit: "x" },
  { start: GET, unit: "x" },
  { start: GET, unit: "X: y\r\n" },
  { start: `${GET}X: `, unit: " " },
  { start: `${GET}Content-Length: 65536\r\n\r\n`, unit: "x" },
  { start: CHUNKED, unit: "0" },
  { start: CHUNKED, unit: "1;" },
  { start: CHUNKED, unit: "1\r\na\r\n" },
  { start: CHUNKED, unit: `fff\r\n${"x".repeat(0xfff)}\r\n` },
  { start: `${CHUNKED}0\r\n`, unit: "X: y\r\n" },
  { start: `${CHUNKED}0\r\n`, unit: "x" },
];
