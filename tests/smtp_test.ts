/**
 * The grammar of SMTP and the folder for messages, which the mail server is
 * made of.
 */

import {
  assertEquals,
  assertLess,
  assertMatch,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { MessageFile } from "../examples/mail_folder.ts";
import {
  DataLines,
  parseClient,
  parseCommand,
  parseRecipient,
  parseSender,
  Refusal,
  traceHeaders,
} from "../examples/smtp.ts";
import { Folder } from "./peers.ts";
import { bytes, cpuTime, text } from "./support.ts";

/** The result of a parser, or the reply of its refusal. */
function outcome<T>(parse: () => T): T | string {
  try {
    return parse();
  } catch (error) {
    if (error instanceof Refusal) return error.message;
    throw error;
  }
}

Deno.test("parseCommand() takes a line apart", () => {
  assertEquals(parseCommand("NOOP"), ["NOOP", ""]);
  assertEquals(parseCommand("mail FROM:<a@b> X"), ["MAIL", "FROM:<a@b> X"]);
  assertEquals(parseCommand("quit  "), ["QUIT", ""]);
  assertEquals(parseCommand("EHLO   x y"), ["EHLO", "x y"]);
});

Deno.test("parseCommand() refuses lines that are no command", () => {
  const bad = ["", " ", " NOOP", "NO-OP", "NOOP\0", "NOOP\nQUIT", "NOOP\rQUIT"];
  for (const line of [...bad, "NOOP \x80", "NOOP \x7f", "\xff", "4 2"]) {
    assertThrows(() => parseCommand(line), Refusal, "500 ");
  }
});

Deno.test("parseClient() accepts names and addresses, and nothing else", () => {
  const good = ["localhost", "mail.example.org", "my_pc", "[127.0.0.1]"];
  for (const name of [...good, "[IPv6:::1]"]) {
    assertEquals(parseClient(name), name);
  }
  const bad = ["", "two words", "a(b)", "[", "[]", "<x>", "x".repeat(256)];
  for (const name of bad) {
    assertThrows(() => parseClient(name), Refusal, "501 ");
  }
});

const OPTIONS = { maxSize: 1_000, isExtended: true };

Deno.test("parseSender() finds the mailbox in each form of a path", () => {
  const cases = {
    "FROM:<>": "",
    "FROM:<a@b>": "a@b",
    "from:<a.b+c@mail.example.org>": "a.b+c@mail.example.org",
    "FROM:<a@[127.0.0.1]>": "a@[127.0.0.1]",
    "FROM:<@x.org,@y.org:a@b>": "a@b",
    'FROM:<"a b>\\"c"@d>': '"a b>\\"c"@d',
    "FROM:<a@b> SIZE=1000": "a@b",
    "FROM:<a@b> size=0 BODY=8bitmime": "a@b",
    "FROM:<a@b>  BODY=7BIT ": "a@b",
  };
  for (const [argument, path] of Object.entries(cases)) {
    assertEquals(outcome(() => parseSender(argument, OPTIONS)), path, argument);
  }
});

function codeOf(argument: string): number {
  return Number(outcome(() => parseSender(argument, OPTIONS)).slice(0, 3));
}

Deno.test("parseSender() refuses wrong syntax, unknown parameters and too much", () => {
  const paths = ["", "a@b", " <a@b>", "<a>", "<@b>", "<a@>", "<a@b", "<a@b>>"];
  paths.push("<a..b@c>", "<a b@c>", "<a@-b>", "<a@b.>", "<a@b@c>", '<"a@b>');
  paths.push(`<${"a".repeat(65)}@b>`, `<a@${"b".repeat(256)}>`);
  for (const path of paths) assertEquals(codeOf(`FROM:${path}`), 501, path);
  for (const argument of ["", "FROM <a@b>", "TO:<a@b>", "FROM:<a@b>SIZE=1"]) {
    assertEquals(codeOf(argument), 501, argument);
  }
  const parameters: Record<number, string[]> = {
    501: ["SIZE=", "SIZE", "SIZE=-1", "SIZE=1e3", "SIZE==1", "BODY=9BIT", "=1"],
    552: ["SIZE=1001", `SIZE=${"9".repeat(20)}`],
    555: ["SMTPUTF8", "AUTH=<>", "toString=1"],
  };
  for (const [code, list] of Object.entries(parameters)) {
    for (const parameter of list) {
      const argument = `FROM:<a@b> ${parameter}`;
      assertEquals(codeOf(argument), Number(code), parameter);
    }
  }
  assertEquals(codeOf("FROM:<a@b> SIZE=1 SIZE=1"), 501);
  // A client that said HELO knows of no parameters.
  const plain = { ...OPTIONS, isExtended: false };
  assertThrows(() => parseSender("FROM:<a@b> SIZE=1", plain), Refusal, "555 ");
});

Deno.test("parseRecipient() accepts mailboxes and the postmaster", () => {
  assertEquals(parseRecipient("TO:<a@b>"), "a@b");
  assertEquals(parseRecipient("to:<PostMaster>"), "PostMaster");
  for (const bad of ["TO:<>", "TO:<a>", "FROM:<a@b>", "TO:<a@b> =", "TO:"]) {
    assertThrows(() => parseRecipient(bad), Refusal, "501 ");
  }
  assertThrows(() => parseRecipient("TO:<a@b> NOTIFY=NEVER"), Refusal, "555 ");
});

Deno.test("parseSender() and parseClient() take time in proportion to the line", () => {
  const units = ["<", ">", "@", "a", ".", "-", '"', "\\", " ", ":", "[", "]"];
  units.push("a.", "a-", "@a,", "\\\\", '""', "a@a", "-a");
  const costOf = (length: number): number => {
    const start = cpuTime();
    for (const long of units.map((unit) => unit.repeat(length))) {
      const paths = [long, `@${long}`, `"${long}`, `@a,@${long}`, `a@${long}`];
      for (const path of paths) {
        outcome(() => parseSender(`FROM:<${path}`, OPTIONS));
        outcome(() => parseSender(`FROM:<${path}>`, OPTIONS));
        outcome(() => parseClient(path));
      }
    }
    return cpuTime() - start;
  };
  costOf(600); // As long as a command may be.
  const short = Math.max(1, costOf(100), costOf(100));
  const long = Math.min(costOf(10_000), costOf(10_000));
  assertLess(long, 500 * short, "a quadratic cost is 10,000 times as high");
});

/** The message that `DataLines` makes of lines that come in pieces. */
function receive(stuffed: string, cut: (line: string) => string[]): string {
  const lines = new DataLines();
  let message = "";
  for (const line of stuffed.split("\r\n")) {
    for (const piece of cut(line)) message += text(lines.add(bytes(piece)));
    if (lines.end()) return message;
    message += "\r\n";
  }
  throw new Error(`No end: ${JSON.stringify(stuffed)}`);
}

function stuff(message: string): string {
  return `${message.replace(/(^|\r\n)\./g, "$1..")}.\r\n`;
}

Deno.test("DataLines undoes dot-stuffing, however lines are cut", () => {
  const message = ".\r\n..\r\n.a\r\nb.\r\n\r\n \r\n...\r\n\n.\n\r.\r\nend\r\n";
  for (let at = 0; at < 8; at++) {
    const cut = (line: string) => [line.slice(0, at), line.slice(at)];
    assertEquals(receive(stuff(message), cut), message);
  }
  assertEquals(receive(".\r\n", (line) => [line]), "");
});

Deno.test("traceHeaders() names the sender, the recipients and the client", () => {
  const headers = traceHeaders({
    id: "42",
    client: "mail.example.org",
    address: "127.0.0.1",
    isExtended: true,
    sender: "",
    recipients: ["a@b", "c@d"],
    date: new Date(0),
  });
  assertEquals(headers.split("\r\n"), [
    "Return-Path: <>",
    "Delivered-To: <a@b>",
    "Delivered-To: <c@d>",
    "Received: from mail.example.org ([127.0.0.1])",
    "\tby localhost with ESMTP id 42;",
    "\tThu, 01 Jan 1970 00:00:00 +0000",
    "",
  ]);
});

Deno.test("MessageFile shows its name only when the message is complete", async () => {
  using folder = new Folder();
  const file = new MessageFile(folder.path);
  const piece = bytes("0123456789".repeat(3_333));
  for (let n = 0; n < 10; n++) await file.add(piece);
  assertEquals(folder.names, [`${file.id}.part`]);
  await file.save();
  assertEquals(folder.names, [`${file.id}.eml`]);
  assertEquals(await Deno.readTextFile(file.path), text(piece).repeat(10));
  assertMatch(file.id, /^\d{17}-[0-9a-f-]{36}$/);
});

Deno.test("MessageFile leaves nothing of a message that is discarded", async () => {
  using folder = new Folder();
  const file = new MessageFile(folder.path);
  const pending = file.add(new Uint8Array(100_000));
  const discarded = file.discard(); // while the disk is at work
  file.add(new Uint8Array(100_000));
  await Promise.all([pending, discarded]);
  assertEquals(folder.names, []);
  await assertRejects(() => file.save(), Error, "discarded");
  assertEquals(folder.names, []);
  await new MessageFile(folder.path).discard();
});

Deno.test("MessageFile overwrites nothing", async () => {
  using folder = new Folder();
  const file = new MessageFile(folder.path);
  await Deno.writeTextFile(file.path, "precious");
  file.add(bytes("spam"));
  await assertRejects(() => file.save(), Deno.errors.AlreadyExists);
  assertEquals(await Deno.readTextFile(file.path), "precious");
  assertEquals(folder.names, [`${file.id}.eml`]);
});

Deno.test("MessageFile.save() rejects with the error of the disk", async () => {
  const file = new MessageFile("/no/such/folder");
  await file.add(new Uint8Array(100_000));
  await file.add(new Uint8Array(100_000));
  await assertRejects(() => file.save(), Deno.errors.NotFound);
});
