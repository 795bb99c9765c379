/** What mail clients say, and what they might. */

import fc from "fast-check";
import {
  type Binary,
  changed,
  type Endless,
  hostile,
  mixed,
  noise,
  soup,
} from "./inputs.ts";

const PATHS: readonly Binary[] = [
  ...["<a@b>", "<>", "<ann@example.org>", "<@x.org,@y.org:a@b>"],
  ...['<"a b>\\"c"@d>', "<a@[127.0.0.1]>", "<postmaster>", "<a>", "<a@b"],
  "<a@b>x",
];

const GRAMMAR: readonly Binary[] = [
  ..."<>@.-\"\\ =:,[]\0\x7f\x80\xff\n\r\t%'",
  ...["FROM:", "TO:", "a", "1", "SIZE=", "BODY=8BITMIME", "MAIL"],
];

/** Pieces that regular expressions could be tried on again and again. */
const UNITS: readonly Binary[] = [
  ...'a.-"\\@,<>:= ',
  ...["a.", "a-", "-a", "@a,", '""', "\\\\", '\\"', "a@a", " a=b"],
];

/** The same over and over, between a beginning and an end. */
const monotonous: fc.Arbitrary<Binary> = fc.tuple(
  soup([...UNITS, "<"], 3),
  fc.constantFrom(...UNITS),
  fc.integer({ min: 1, max: 600 }),
  soup([...UNITS, ">"], 3),
).map(([start, unit, times, end]) => start + unit.repeat(times) + end);

const path: fc.Arbitrary<Binary> = mixed(
  [5, fc.constantFrom(...PATHS)],
  [2, changed(fc.constantFrom(...PATHS), 2)],
  [1, soup(GRAMMAR, 10).map((text) => `<${text}>`)],
);

const parameters: fc.Arbitrary<Binary> = soup([
  ...[" ", " SIZE=1000", " size=0", " SIZE=99999999999999999999", " BODY=7BIT"],
  ...[" BODY=8bitmime", " SMTPUTF8", " =", " A=B"],
], 2);

/** What may stand behind a verb, or be given to a parser. */
export const argument: fc.Arbitrary<Binary> = fc.oneof(
  fc.tuple(fc.constantFrom("FROM:", "TO:", "from:", "X:", ""), path, parameters)
    .map((parts) => parts.join("")),
  soup(GRAMMAR),
  noise(40),
  fc.tuple(fc.constantFrom("FROM:", "TO:", "FROM:<", "TO:<", ""), monotonous)
    .map((parts) => parts.join("")),
);

const VERBS: readonly Binary[] = [
  ...["AUTH", "DATA", "EHLO", "EXPN", "HELO", "HELP", "MAIL", "NOOP", "RCPT"],
  ...["RSET", "STARTTLS", "VRFY", "data", "mAiL", "GET", "Post", ""],
];

/** Lines around the longest that a command may be, and much longer ones. */
const longLine: fc.Arbitrary<Binary> = fc.tuple(
  fc.constantFrom("NOOP ", "x", "EHLO ", "\r", ".", "GET /"),
  fc.oneof(fc.integer({ min: 540, max: 560 }), fc.constantFrom(1_500, 70_000)),
).map(([start, length]) => start.padEnd(length, "x"));

/** A line that stands where a command is expected, without its end. */
export const command: fc.Arbitrary<Binary> = mixed(
  [
    8,
    fc.constantFrom(
      ...["EHLO client.example", "HELO me", "MAIL FROM:<a@b>", "RCPT TO:<c@d>"],
      ...["DATA", "RSET", "NOOP", "VRFY x"],
    ),
  ],
  [
    4,
    fc.tuple(
      fc.constantFrom(...VERBS),
      fc.constantFrom(" ", "", "  "),
      argument,
    ).map((parts) => parts.join("")),
  ],
  [1, longLine],
  [1, noise(20)],
  [1, fc.constant("QUIT")],
);

/** A message: lines that end with CR LF, and all the trouble there is in them. */
export const message: fc.Arbitrary<Binary> = soup([
  ...[".", "..", "a", " ", "\t", "\r\n", "\r\n.", "\r\n.\r\n", "\r", "\n"],
  ...["\n.\n", "\r.\r", "\0", "\xff", "Subject: spam\r\n\r\n"],
  "x".repeat(1_000),
], 20).map((text) => text === "" ? "" : `${text}\r\n`);

/** A message as it is sent: a line that begins with a dot gets one more. */
export function stuffed(message: Binary): Binary {
  const lines = message.split("\r\n").map((line) =>
    line.startsWith(".") ? `.${line}` : line
  );
  return `${lines.join("\r\n")}.\r\n`;
}

/** Who sends a message, to whom, and the message; not always all of it. */
const transaction: fc.Arbitrary<Binary> = fc.tuple(
  fc.constantFrom("EHLO client.example\r\n", "HELO me\r\n", ""),
  fc.constantFrom("MAIL FROM:<a@b>\r\n", "MAIL FROM:<>\r\n"),
  soup(["RCPT TO:<c@d>\r\n", "RCPT TO:<postmaster>\r\n"], 3),
  message,
).map(([greeting, sender, recipients, message]) =>
  `${greeting}${sender}${recipients}DATA\r\n${stuffed(message)}`
);

const polite: fc.Arbitrary<Binary> = fc.array(
  fc.oneof(transaction, command.map((line) => `${line}\r\n`)),
  { maxLength: 6 },
).map((parts) => parts.join(""));

/** What a client says from the first byte to the last. */
export const conversation: fc.Arbitrary<Binary> = hostile(
  fc.oneof(
    polite,
    polite.map((text) => `EHLO client.example\r\n${text}`),
    fc.tuple(transaction, polite).map((parts) => parts.join("")),
  ),
);

const MAIL: Binary = "HELO me\r\nMAIL FROM:<a@b>\r\n";
const DATA: Binary = `${MAIL}RCPT TO:<c@d>\r\nDATA\r\n`;

/** What servers have been tricked with: ends of a message that are none. */
export const TRICKS: readonly Binary[] = [
  ...["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r"],
  ...["\r\n\0.\r\n", "\r\n.\0\r\n"],
].map((end) => `${DATA}x${end}MAIL FROM:<e@f>\r\nDATA\r\n.\r\nQUIT\r\n`);

/** What clients may say without an end. */
export const ENDLESS: readonly Endless[] = [
  { start: "", unit: "x" },
  { start: "", unit: "\r" },
  { start: "", unit: "\r\n" },
  { start: "", unit: "NOOP\r\n" },
  { start: "NOOP ", unit: " " },
  { start: "MAIL FROM:<", unit: "a" },
  { start: MAIL, unit: "RCPT TO:<c@d>\r\n" },
  { start: DATA, unit: "x" },
  { start: DATA, unit: "\r" },
  { start: DATA, unit: "\r\n" },
  { start: DATA, unit: ".." },
  { start: DATA, unit: "\n.\n" },
];
