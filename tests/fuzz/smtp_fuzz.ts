/** The grammar of SMTP, and where a message ends. */

import {
  assert,
  assertEquals,
  assertLessOrEqual,
  assertMatch,
} from "@std/assert";
import fc from "fast-check";
import {
  DataLines,
  parseClient,
  parseCommand,
  parseRecipient,
  parseSender,
  Refusal,
  traceHeaders,
} from "../../examples/smtp.ts";
import {
  type Binary,
  changed,
  split,
  splitsOf,
  toBinary,
  toBytes,
} from "./inputs.ts";
import { fuzz } from "./property.ts";
import { argument, command, message, stuffed } from "./smtp_inputs.ts";

/** What a parser returns, or `null` if it refuses with a proper reply. */
function outcome<T>(parse: () => T): T | null {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    assertMatch(error.message, /^5\d\d [ -~]{3,}$/);
    return null;
  }
}

fuzz({
  name: "parseCommand() takes a line apart or refuses it",
  input: changed(command, 2),
  check(line) {
    const parts = outcome(() => parseCommand(line));
    if (parts === null) return;
    const [verb, argument] = parts;
    assertMatch(verb, /^[A-Z]+$/);
    assertMatch(argument, /^[ -~]*$/);
    assertMatch(line, /^[ -~]*$/);
    const spoken = line.trimEnd();
    assertEquals(spoken.slice(0, verb.length).toUpperCase(), verb);
    assertEquals(spoken.slice(verb.length).trimStart(), argument);
  },
});

/** No name in an envelope may break out of its header. */
function checkPath(path: string): void {
  assertMatch(path, /^[ -~]*$/);
  assertLessOrEqual(path.length, 64 + 1 + 255);
  const unquoted = path.replace(/"(?:[^"\\]|\\.)*"/g, "");
  assert(!/[<> "]/.test(unquoted), path);
}

fuzz({
  name: "The parsers of SMTP's arguments return clean names or refuse",
  input: fc.record({
    argument: changed(argument, 2),
    isExtended: fc.boolean(),
  }),
  examples: [
    ...["TO:<a@[x\r\nX: y]>", 'TO:<"\r\nX: y"@b>', "TO:<a@b\r\nX: y>"],
    ...["FROM:<a@b>\r\nX: y", "[x\r\nX: y]", "x\r\nX: y"],
  ].map((argument) => ({ argument, isExtended: true })),
  check({ argument, isExtended }) {
    const options = { maxSize: 1_000, isExtended };
    const sender = outcome(() => parseSender(argument, options));
    const recipient = outcome(() => parseRecipient(argument));
    const client = outcome(() => parseClient(argument));
    if (sender !== null) checkPath(sender);
    if (recipient !== null) checkPath(recipient);
    assert(recipient !== "");
    if (client !== null) assertMatch(client, /^[\w.:[\]-]{1,255}$/);
    const headers = traceHeaders({
      id: "1",
      client: client ?? "x",
      address: "::1",
      isExtended,
      sender: sender ?? "",
      recipients: [recipient ?? "a@b", "c@d"],
      date: new Date(0),
    });
    const lines = headers.split("\r\n");
    assertEquals(lines.length, 7);
    for (const line of lines) assertMatch(line, /^[\t -~]{0,998}$/);
  },
});

/**
 * What `DataLines` gives of a message that comes in pieces, and what it leaves;
 * `null` if the message has no end. `AsyncChat` finds CR LF however it is split,
 * so that pieces are of lines.
 */
function receive(pieces: Binary[]): { message: Binary; rest: Binary } | null {
  const lines = new DataLines();
  let message = "";
  let held = "";
  const add = (piece: Binary) => {
    if (piece !== "") message += toBinary(lines.add(toBytes(piece)));
  };
  for (const [at, piece] of pieces.entries()) {
    held += piece;
    for (let end = held.indexOf("\r\n"); end >= 0; end = held.indexOf("\r\n")) {
      add(held.slice(0, end));
      held = held.slice(end + 2);
      if (lines.end()) {
        return { message, rest: held + pieces.slice(at + 1).join("") };
      }
      message += "\r\n";
    }
    const plain = held.endsWith("\r") ? held.length - 1 : held.length;
    add(held.slice(0, plain));
    held = held.slice(plain);
  }
  return null;
}

/** The same, found in the whole. */
function receiveWhole(input: Binary) {
  const end = `\r\n${input}`.indexOf("\r\n.\r\n");
  if (end < 0) return null;
  const lines = input.slice(0, end).split("\r\n");
  const message = lines.map((line) => line.replace(/^\./, "")).join("\r\n");
  return { message, rest: input.slice(end + 3) };
}

fuzz({
  name: "DataLines undoes dot-stuffing, however the message is split",
  cost: 6,
  input: split(message),
  check({ input, splitting }) {
    const sent = stuffed(input);
    for (const pieces of splitsOf({ input: `${sent}QUIT`, splitting })) {
      assertEquals(receive(pieces), { message: input, rest: "QUIT" });
    }
  },
});

fuzz({
  name: "DataLines ends a message at CR LF . CR LF and nowhere else",
  cost: 6,
  input: split(changed(message.map((text) => `${stuffed(text)}.\r\nQUIT`))),
  check(split) {
    const expected = receiveWhole(split.input);
    for (const pieces of splitsOf(split)) {
      assertEquals(receive(pieces), expected);
    }
  },
});
