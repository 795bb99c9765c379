/** The mail server's conversations, from the first byte to the files. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { SmtpSession } from "../../examples/smtp_session.ts";
import { socketMap } from "../../mod.ts";
import { LogLines } from "../fakes.ts";
import {
  type Binary,
  examplesOf,
  split,
  splitsOf,
  toBinary,
} from "./inputs.ts";
import { answerTo, WatchedFolder } from "./peer.ts";
import { fuzz } from "./property.ts";
import { conversation, message, stuffed, TRICKS } from "./smtp_inputs.ts";

const LONGEST_COMMAND = 553;
const MOST_ERRORS = 20;
const HTTP =
  /^(?:CONNECT|DELETE|GET|HEAD|OPTIONS|PATCH|POST|PUT|TRACE)(?:[^\w-]|$)/i;

const folder = Deno.makeTempDirSync();
const store = new WatchedFolder(folder);
addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));

/** A session that keeps its log to itself, and what goes wrong. */
class Session extends SmtpSession {
  static errors: unknown[] = [];
  static log = new LogLines();
  override readonly logger = Session.log as unknown as SmtpSession["logger"];
  override handleError(error: unknown) {
    Session.errors.push(error);
    return super.handleError(error);
  }
}

/** What a conversation led to. */
interface Outcome {
  replies: Binary[];
  /** The messages that were stored, without the headers of this server. */
  messages: Binary[];
}

/** The headers of this server, which name no two messages the same. */
const TRACE =
  /^Return-Path: <[ -~]*>\r\n(?:Delivered-To: <[ -~]+>\r\n)+Received: from [ -~]+ \(\[127\.0\.0\.1\]\)\r\n\tby localhost with E?SMTP id ([\w-]+);\r\n\t[ -~]+ \+0000\r\n/;

async function converse(pieces: Binary[]): Promise<Outcome> {
  Session.errors = [];
  Session.log.lines.length = 0;
  socketMap.onError = (error) => void Session.errors.push(error);
  const answer = await answerTo(
    pieces,
    socketMap,
    (channel) => new Session(channel, "127.0.0.1", store),
  );
  assertEquals(Session.errors, []);
  for (const line of Session.log.lines) assertMatch(line, /^[^\p{C}]*$/u);
  const ids: string[] = [];
  const replies = repliesIn(answer).map((reply) =>
    reply.replace(/(?<=^250 Stored as ).*/, (id) => {
      ids.push(id);
      return "ID";
    })
  );
  return { replies, messages: await takeMessages(ids) };
}

/** Replies as they are, those of several lines in one. */
function repliesIn(answer: Binary): Binary[] {
  assert(answer.endsWith("\r\n"));
  const replies: Binary[] = [];
  let reply = "";
  for (const line of answer.slice(0, -2).split("\r\n")) {
    assertMatch(line, /^[2345]\d\d[ -][ -~]+$/);
    reply += line;
    if (line[3] === "-") continue;
    replies.push(reply);
    reply = "";
  }
  assertEquals(reply, "");
  return replies;
}

/** Reads the messages with these names, which are all there are. */
async function takeMessages(ids: string[]): Promise<Binary[]> {
  const names = await store.names();
  assertEquals(names.sort(), ids.map((id) => `${id}.eml`).sort());
  return ids.map((id) => {
    const path = `${folder}/${id}.eml`;
    const whole = toBinary(Deno.readFileSync(path));
    Deno.removeSync(path);
    const [trace, named] = TRACE.exec(whole) ?? [];
    assert(trace !== undefined, whole);
    assertEquals(named, id);
    return whole.slice(trace.length);
  });
}

/**
 * Reads the input together with the replies to it: each line has one, up to the
 * end or the first line of HTTP, and what follows a 354 is a message. Returns
 * the messages.
 */
function follow(input: Binary, replies: Binary[]): Binary[] {
  const messages: Binary[] = [];
  const left = [...replies];
  let errors = 0;
  let at = 0;
  assertMatch(left.shift() ?? "", /^220 /);
  for (;;) {
    const end = input.indexOf("\r\n", at);
    if (end < 0) break;
    const line = input.slice(at, end);
    at = end + 2;
    const reply = left.shift() ?? "";
    assertMatch(reply, /^\d{3}[ -]/, "A line got no reply");
    assertEquals(reply === "421 This is no web server", HTTP.test(line));
    if (HTTP.test(line)) break;
    const isTooLong = line.length > LONGEST_COMMAND;
    assertEquals(reply === "500 The line is too long", isTooLong);
    if (reply.startsWith("5") && ++errors === MOST_ERRORS) {
      assertEquals(left.shift(), "421 Too many errors");
      break;
    }
    if (reply.startsWith("221")) break;
    if (!reply.startsWith("354")) continue;
    const size = `\r\n${input.slice(at)}`.indexOf("\r\n.\r\n");
    if (size < 0) break;
    assertEquals(left.shift(), "250 Stored as ID");
    messages.push(unstuffed(input.slice(at, at + size)));
    at += size + 3;
  }
  assertEquals(left, []);
  return messages;
}

/** A message as it is to be stored. */
function unstuffed(data: Binary): Binary {
  const lines = data.split("\r\n").map((line) => line.replace(/^\./, ""));
  const message = lines.join("\r\n");
  // It must not go on with the last of this server's headers.
  return /^[ \t]/.test(message) ? `\r\n${message}` : message;
}

fuzz({
  name: "SmtpSession answers each line and stores each message, however split",
  cost: 80,
  budget: 5_000,
  input: split(conversation),
  examples: examplesOf(TRICKS),
  async check(split) {
    const outcomes: Outcome[] = [];
    for (const pieces of splitsOf(split)) outcomes.push(await converse(pieces));
    const [first, ...others] = outcomes;
    for (const other of others) assertEquals(other, first);
    const { replies, messages } = first!;
    assertEquals(messages, follow(split.input, replies));
  },
});

fuzz({
  name: "SmtpSession stores a message as it was, however it is split",
  cost: 200,
  budget: 5_000,
  input: split(message),
  async check({ input, splitting }) {
    const envelope = "HELO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n";
    const whole = `${envelope}${stuffed(input)}QUIT\r\n`;
    const stored = /^[ \t]/.test(input) ? `\r\n${input}` : input;
    for (const pieces of splitsOf({ input: whole, splitting })) {
      const { replies, messages } = await converse(pieces);
      assertEquals(messages, [stored]);
      assertMatch(replies.at(-1)!, /^221 /);
    }
  },
});
