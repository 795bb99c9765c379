/**
 * The mail server, with Python's `smtplib`, `curl` and plain connections as
 * its clients.
 */

import {
  assert,
  assertEquals,
  assertLess,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { ECHO } from "../examples/signals.ts";
import {
  Caller,
  Child,
  Folder,
  pass,
  runCommand,
  testLinux,
  testUnix,
  testWith,
} from "./peers.ts";

const MEGABYTE = 1024 * 1024;
const LIMIT = 10 * MEGABYTE;
type Story = [line: string, answer: string][];
const BEGIN: Story = [
  ["MAIL FROM:<ann@example.org>", "250"],
  ["RCPT TO:<bob@example.org>", "250"],
  ["DATA", "354"],
];
const ENVELOPE = "MAIL FROM:<ann@example.org>\r\nRCPT TO:<bob@example.org>\r\n";

/** A running server with a folder of its own. */
class Server extends Folder implements AsyncDisposable {
  child!: Child;

  static async start(): Promise<Server> {
    const server = new Server();
    server.child = await serve(server);
    return server;
  }

  /** A connection that has said EHLO, or nothing yet. */
  async caller(greets = true): Promise<Caller> {
    const caller = await Caller.connect(this.child.port);
    assertEquals(await caller.until("\r\n"), "220 localhost ESMTP\r\n");
    if (!greets) return caller;
    await caller.say("EHLO client.example\r\n");
    await caller.until("250 8BITMIME\r\n");
    return caller;
  }

  /** The messages, by age, each as its headers of this server and the rest. */
  messages(): { trace: string; message: string }[] {
    return this.names.map((name) => {
      assertMatch(name, /^\d{17}-[0-9a-f-]{36}\.eml$/);
      const text = Deno.readTextFileSync(`${this.path}/${name}`);
      const end = /\r\n\tby .*\r\n\t.*\r\n/.exec(text)!;
      const at = end.index + end[0].length;
      return { trace: text.slice(0, at), message: text.slice(at) };
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.child[Symbol.asyncDispose]();
    this[Symbol.dispose]();
  }
}

/** Starts a server that keeps its mail in a folder. */
function serve({ permissions, path }: Folder): Promise<Child> {
  return Child.serve(permissions, "smtp_server", path);
}

/** Begins a message, and sends so much of it that there is a file. */
async function beginMessage(server: Server, caller: Caller): Promise<void> {
  const before = server.names.length;
  await caller.say(`${ENVELOPE}DATA\r\n`);
  await caller.until("of its own\r\n");
  while (server.names.length === before) await caller.say("x".repeat(100_000));
}

/** Says each line and checks how the answer begins. */
async function converse(caller: Caller, story: Story) {
  for (const [line, answer] of story) {
    await caller.say(`${line}\r\n`);
    const given = await caller.until("\r\n");
    assertEquals(given.slice(0, answer.length), answer, line.slice(0, 100));
  }
}

/** Runs a scenario of the Python client. */
async function smtplib({ child }: Server, scenario: string): Promise<unknown> {
  const script = `${import.meta.dirname}/python/smtp_client.py`;
  const args = [script, `${child.port}`, scenario];
  const { code, out, err } = await runCommand("python3", args);
  assertEquals({ code, err }, { code: 0, err: "" });
  return JSON.parse(out);
}

testWith("python3", "smtp_server stores the mail of smtplib", async () => {
  await using server = await Server.start();
  assertEquals(await smtplib(server, "several"), {
    refused: [{}, {}, {}],
    features: { pipelining: "", size: `${LIMIT}`, "8bitmime": "" },
  });
  const [text, dots, eight, ...rest] = server.messages();
  assertEquals(rest, []);
  assertMatch(
    text!.trace,
    /^Return-Path: <ann@example.org>\r\nDelivered-To: <bob@example.org>\r\nDelivered-To: <eve@example.org>\r\nReceived: from client.example \(\[127\.0\.0\.1\]\)\r\n\tby localhost with ESMTP id \S+;\r\n\t\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000\r\n$/,
  );
  assertStringIncludes(text!.message, "Subject: spam\r\n");
  assert(
    text!.message.endsWith("\r\n\r\n" + "Spam, eggs and spam.\r\n".repeat(3)),
  );
  const body = ".\r\n..\r\n.a\r\n...b\r\n \r\n.\r\nend\r\n";
  assertEquals(dots!.message, `Subject: dots\r\n\r\n${body}`);
  assertEquals(eight!.message, "Subject: acht\r\n\r\nSpäm € 🦜\r\n");
});

testWith("python3", "smtp_server refuses smtplib too large mail", async () => {
  await using server = await Server.start();
  const refused = { mail: 552, data: 552, expn: 502, starttls: false };
  const taken = { small: {}, verify: 252, noop: 250 };
  const help = "See RFC 5321";
  assertEquals(await smtplib(server, "refused"), {
    ...refused,
    ...taken,
    help,
  });
  assertEquals(server.messages().map(({ message }) => message), [
    "Subject: small\r\n\r\n",
  ]);
});

testWith("curl", "smtp_server stores the mail of curl", async () => {
  await using server = await Server.start();
  using folder = new Folder();
  const curl = (content: string) => {
    const url = `smtp://127.0.0.1:${server.child.port}/client.example`;
    const from = ["--mail-from", "ann@example.org"];
    const to = ["--mail-rcpt", "bob@example.org"];
    const file = ["-T", folder.write("message", content)];
    return runCommand("curl", ["-sS", url, ...from, ...to, ...file]);
  };
  const done = { code: 0, out: "", err: "" };
  const dots = "Subject: dots\r\n\r\n.\r\n..a\r\n.\r\nend\r\n";
  assertEquals(await curl(dots), done);
  // As a file of Unix is; `--crlf` would send it as SMTP wants it.
  const unix = "Subject: unix\n\n.\nend\n";
  assertEquals(await curl(unix), done);
  const large = await curl("x".repeat(LIMIT + 1));
  assert(large.code !== 0);
  assertStringIncludes(large.err, "552");

  const [first, second, ...rest] = server.messages();
  assertEquals(rest, []);
  const to =
    /^Return-Path: <ann@\S+\r\nDelivered-To: <bob@\S+\r\n.* client.example /;
  assertMatch(first!.trace, to);
  assertEquals(first!.message, dots);
  assertEquals(second!.message, `${unix}\r\n`);
});

Deno.test("smtp_server answers each command, good and bad", async () => {
  await using server = await Server.start();
  using caller = await server.caller(false);
  await converse(caller, [
    ["MAIL FROM:<a@b>", "503"],
    ["EHLO", "501"],
    ["HELO two words", "501"],
    ["HELO client.example", "250 localhost\r\n"],
    ["RCPT TO:<a@b>", "503"],
    ["DATA", "503"],
    ["MAIL FROM:<a@b> SIZE=1", "555"],
    ["MAIL FROM: <a@b>", "501"],
    ["MAIL FROM:<a@b>", "250"],
    ["MAIL FROM:<a@b>", "503"],
    ["DATA", "503"],
    ["RCPT TO:<>", "501"],
    ["RCPT TO:<Postmaster>", "250"],
    ["DATA now", "501"],
    ["RSET", "250"],
    ["DATA", "503"],
    ["NOOP whatever", "250"],
    ["VRFY ann", "252"],
    ["SPAM", "500"],
    ["STARTTLS", "502"],
    ["", "500"],
    ["NOOP\nQUIT", "500"],
  ]);
  await converse(caller, [["HELP", "214"], ["quit", "221"]]);
  assertEquals(await caller.rest(), "");
  const { trace } = await sendFromHelo(server);
  assertStringIncludes(trace, "Return-Path: <>\r\n");
  assertStringIncludes(trace, " with SMTP id ");
});

/** A message in the old way, from nobody: what servers send to tell of errors. */
async function sendFromHelo(server: Server) {
  using caller = await server.caller(false);
  await converse(caller, [
    ["HELO [127.0.0.1]", "250"],
    ["MAIL FROM:<>", "250"],
    ["RCPT TO:<ann@example.org>", "250"],
    ["DATA", "354"],
    ["Subject: returned\r\n\r\n.", "250"],
  ]);
  return server.messages()[0]!;
}

Deno.test("smtp_server ends a message at CR LF dot CR LF alone", async () => {
  await using server = await Server.start();
  using caller = await server.caller();
  const smuggled = "MAIL FROM:<root@example.org>\r\n";
  const ends = ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r.\r\n"];
  ends.push("\r\n.\0\r\n", "\r\n. \r\n", "\n\n.\r\n", "\r\n\x00.\r\n");
  const messages: string[] = [];
  for (const end of ends) {
    await converse(caller, BEGIN);
    await caller.say(`a${end}${smuggled}.\r\n`);
    assertMatch(await caller.until("\r\n"), /^250 Stored/);
    // A dot after CR LF that does not end the message was stuffing.
    const meant = end.startsWith("\r\n.") ? end.replace(".", "") : end;
    messages.push(`a${meant}${smuggled}`);
  }
  await converse(caller, [["NOOP", "250"]]);
  assertEquals(server.messages().map(({ message }) => message), messages);
});

Deno.test("smtp_server takes an empty message, and headers that begin with a space", async () => {
  await using server = await Server.start();
  using caller = await server.caller();
  for (const message of ["", " by evil.example\r\n"]) {
    await caller.say(`${ENVELOPE}DATA\r\n${message}.\r\n`);
    await caller.until("250 Stored");
  }
  // The space would have made it part of the header above.
  assertEquals(server.messages().map(({ message }) => message), [
    "",
    "\r\n by evil.example\r\n",
  ]);
});

function repeated(count: number, line: Story[0]): Story {
  return Array(count).fill(line);
}

Deno.test("smtp_server bounds commands, recipients and errors", async () => {
  await using server = await Server.start();
  using caller = await server.caller();
  await converse(caller, [
    [`NOOP ${"x".repeat(553 - 5)}`, "250"],
    [`NOOP ${"x".repeat(554 - 5)}`, "500 The line is too long"],
    [`NOOP ${"x".repeat(200_000)}`, "500 The line is too long"],
    ["MAIL FROM:<ann@example.org>", "250"],
    ...repeated(100, ["RCPT TO:<bob@example.org>", "250"]),
    ["RCPT TO:<one@too.many>", "452"],
    ["DATA", "354"],
    [".", "250"],
    ...repeated(18, ["SPAM", "500"]),
  ]);
  assertEquals(await caller.rest(), "421 Too many errors\r\n");
  const { trace } = server.messages()[0]!;
  assertEquals(trace.match(/^Delivered-To: <bob@/gm)?.length, 100);
});

Deno.test("smtp_server takes a message of 10 MiB, and not a byte more", async () => {
  await using server = await Server.start();
  using caller = await server.caller();
  const line = `${"x".repeat(1022)}\r\n`;
  const largest = line.repeat(LIMIT / line.length);
  await converse(caller, [
    [`MAIL FROM:<a@b> SIZE=${LIMIT + 1}`, "552"],
    [`MAIL FROM:<a@b> SIZE=${LIMIT}`, "250"],
    ...BEGIN.slice(1),
    [`${largest}.`, "250"],
    ...BEGIN,
    [`x${largest}.`, "552"],
    ...BEGIN,
    [`${"y".repeat(LIMIT - 2)}\r\n.`, "250"], // a single line
  ]);
  const lengths = server.messages().map(({ message }) => message.length);
  assertEquals(lengths, [LIMIT, LIMIT]);
});

testLinux("smtp_server keeps no message in memory", async () => {
  await using server = await Server.start();
  const before = server.child.memory;
  using all = new DisposableStack();
  const nearly = "x".repeat(LIMIT - 100);
  const callers = await Promise.all(
    Array.from({ length: 20 }, async () => {
      const caller = all.use(await server.caller());
      await caller.say(`${ENVELOPE}DATA\r\n`);
      await caller.until("of its own\r\n");
      await caller.say(nearly);
      return caller;
    }),
  );
  // 200 MB are on the disk, or in the kernel. What was read is garbage.
  assertLess(server.child.memory - before, 128 * MEGABYTE);
  await Promise.all(callers.map(async (caller) => {
    await caller.say("\r\n.\r\n");
    await caller.until("250 Stored");
  }));
  assertEquals(server.messages().length, 20);
});

Deno.test("smtp_server says OK when the file is there, and not before", async () => {
  await using server = await Server.start();
  using caller = await server.caller();
  await beginMessage(server, caller);
  assert(server.names.every((name) => name.endsWith(".part")));
  await caller.say("\r\n.\r\n");
  const [id] = (await caller.until("\r\n")).split(" ").slice(-1);
  assertEquals(server.names, [`${id!.trim()}.eml`]);
});

Deno.test("smtp_server leaves nothing of a message whose client has gone", async () => {
  await using server = await Server.start();
  const caller = await server.caller();
  await beginMessage(server, caller);
  caller[Symbol.dispose]();
  await server.child.until("127.0.0.1 left amid a message");
  // Its folder is empty when all that was begun has ended.
  server.child.kill("SIGINT");
  await server.child.end();
  assertEquals(server.names, []);
});

Deno.test("smtp_server refuses a message that the disk does not take", async () => {
  await using server = await Server.start();
  using caller = await server.caller();
  await Deno.remove(server.path);
  await converse(caller, [...BEGIN, [`${"x".repeat(200_000)}\r\n.`, "451"]]);
  await Deno.mkdir(server.path);
  await converse(caller, [...BEGIN, ["Subject: now\r\n.", "250"]]);
  assertEquals(server.messages().length, 1);
});

Deno.test("smtp_server does not read a client that reads no answers", async () => {
  await using server = await Server.start();
  using caller = await server.caller();
  const flood = "NOOP\r\n".repeat(100_000);
  let isSaid = false;
  // 60 MB of commands are not taken in while 80 MB of answers wait.
  const saying = caller.say(flood.repeat(100)).then(
    () => isSaid = true,
    () => {},
  );
  using other = await server.caller();
  await converse(other, [["NOOP", "250"], ["QUIT", "221"]]);
  assert(!isSaid, "others are served meanwhile");
  if (Deno.build.os === "linux") {
    assertLess(server.child.memory, 200 * MEGABYTE);
  }
  caller[Symbol.dispose]();
  await saying;
});

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  testUnix(`smtp_server takes mail on its way after ${signal}`, async () => {
    await using server = await Server.start();
    using idle = await server.caller();
    using amid = await server.caller();
    using never = await server.caller();
    await beginMessage(server, amid);
    await beginMessage(server, never);
    server.child.kill(signal);
    await server.child.until(`${signal}: closing`);
    assertEquals(await idle.rest(), "421 The server is closing\r\n");
    await amid.say(`\r\n.\r\n${ENVELOPE}`);
    assertMatch(
      await amid.rest(),
      /^250 Stored as \S+\r\n421 The server is closing\r\n$/,
    );
    // Nobody waits for ever: what is not complete is not kept.
    assertEquals(await never.rest(), "421 The server is closing\r\n");
    await server.child.endWell();
    assertEquals(server.messages().length, 1);
  });
}

testUnix("smtp_server keeps no part after a second signal", async () => {
  await using server = await Server.start();
  using amid = await server.caller();
  await beginMessage(server, amid);
  server.child.kill("SIGTERM");
  await server.child.until("SIGTERM: closing");
  await pass(ECHO + 50); // else it would be the same one
  server.child.kill("SIGINT");
  assertMatch(await server.child.endWell(), /1 connection was cut/);
  assertEquals(server.names, []);
});

Deno.test("smtp_server clears the parts that a crash has left, and nothing else", async () => {
  await using server = await Server.start();
  using amid = await server.caller();
  await beginMessage(server, amid);
  server.child.kill("SIGKILL");
  await server.child.end();
  assertMatch(server.names.join(), /^[^,]+\.part$/);
  const others = ["20200101000000000-a.eml", "film.part", "notes"];
  for (const name of others) server.write(name);
  Deno.mkdirSync(`${server.path}/20200101000000000-b.part`);
  await using _next = await serve(server);
  assertEquals(server.names, [...others, "20200101000000000-b.part"].sort());
});

Deno.test("smtp_server leaves the messages of another one in its folder alone", async () => {
  await using first = await Server.start();
  using amid = await first.caller();
  await beginMessage(first, amid);
  first.write("20200101000000000-a.part");
  await using _second = await serve(first);
  assertEquals(first.names.length, 1);
  await amid.say("\r\n.\r\n");
  await amid.until("250 Stored");
  assertEquals(first.messages().length, 1);
});

Deno.test("smtp_server hangs up on a web browser, and stores nothing", async () => {
  await using server = await Server.start();
  const mail = `HELO x\r\n${ENVELOPE}DATA\r\nspam\r\n.\r\nQUIT\r\n`;
  const hangUp = "421 This is no web server\r\n";
  const verbs = "CONNECT DELETE GET HEAD OPTIONS PATCH POST PUT TRACE get Post";
  for (const verb of verbs.split(" ")) {
    using browser = await server.caller(false);
    await browser.say(`${verb} / HTTP/1.1\r\nHost: x\r\n\r\n${mail}`);
    assertEquals(await browser.rest(), hangUp, verb);
  }
  const lines = ["GET", "GET\t/", `POST /${"x".repeat(2_000)} HTTP/1.1`];
  for (const line of [...lines, "PUT /caf\xe9 HTTP/1.1"]) {
    using browser = await server.caller(false);
    await browser.say(`${line}\r\n${mail}`);
    assertEquals(await browser.rest(), hangUp, line.slice(0, 40));
  }
  // However late it comes
  using late = await server.caller();
  await late.say(`${ENVELOPE}post / HTTP/1.1\r\nDATA\r\nspam\r\n.\r\n`);
  assertEquals(await late.rest(), `250 OK\r\n250 OK\r\n${hangUp}`);
  assertEquals(server.names, []);
});

Deno.test("smtp_server takes a message about HTTP", async () => {
  await using server = await Server.start();
  using caller = await server.caller();
  const message = "GET / HTTP/1.1\r\nPOST\r\n";
  await caller.say(`${ENVELOPE}DATA\r\n${message}.\r\nGETTING\r\n`);
  await caller.until("250 Stored");
  await caller.until("500 Unknown command\r\n");
  assertEquals(server.messages()[0]!.message, message);
});

Deno.test("smtp_server logs stored messages and refusals", async () => {
  await using server = await Server.start();
  using caller = await server.caller();
  await caller.say("\x1b[2J\r\n");
  await caller.until("500");
  await caller.say(`${ENVELOPE}DATA\r\n\r\n.\r\nQUIT\r\n`);
  await caller.rest();
  server.child.kill(Deno.build.os === "windows" ? "SIGKILL" : "SIGINT");
  const { out } = await server.child.end();
  const [, refused, stored] = out.split("\n");
  assertMatch(refused!, /^SmtpSession: 127.0.0.1 "\\u001b\[2J" -> 500 Syntax/);
  assertMatch(stored!, /^SmtpSession: \S+\.eml: 2 bytes from <ann@\S+ for 1$/);
});
