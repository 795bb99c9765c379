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
import { Caller, Child, hasCommand, pass, runCommand } from "./peers.ts";
import { bytes } from "./support.ts";

const isWindows = Deno.build.os === "windows";
const LIMIT = 10 * 1024 * 1024;
const GREETING = "220 localhost ESMTP\r\n";
const ENVELOPE = "MAIL FROM:<ann@example.org>\r\nRCPT TO:<bob@example.org>\r\n";

/** A running server with a folder of its own. */
class Server implements AsyncDisposable {
  readonly child: Child;
  readonly port: number;
  readonly folder: string;

  private constructor(child: Child, port: number, folder: string) {
    this.child = child;
    this.port = port;
    this.folder = folder;
  }

  static async start(): Promise<Server> {
    return await Server.in(await Deno.makeTempDir());
  }

  static async in(folder: string): Promise<Server> {
    const permissions = [
      "--allow-net=127.0.0.1",
      `--allow-read=${folder}`,
      `--allow-write=${folder}`,
    ];
    const child = await Child.start(permissions, "smtp_server", folder);
    const line = await child.until("listening on 127.0.0.1:");
    return new Server(child, Number(line.split(":").at(-1)), folder);
  }

  /** A connection that has said EHLO, or nothing yet. */
  async caller(greets = true): Promise<Caller> {
    const caller = await Caller.connect(this.port);
    assertEquals(await caller.until("\r\n"), GREETING);
    if (!greets) return caller;
    await caller.say("EHLO client.example\r\n");
    await caller.until("250 8BITMIME\r\n");
    return caller;
  }

  get names(): string[] {
    const entries = Deno.readDirSync(this.folder);
    return Array.from(entries, ({ name }) => name).sort();
  }

  /** The messages, by age, each as its headers of this server and the rest. */
  messages(): { trace: string; message: string }[] {
    return this.names.map((name) => {
      assertMatch(name, /^\d{17}-[0-9a-f-]{36}\.eml$/);
      const data = Deno.readFileSync(`${this.folder}/${name}`);
      const text = new TextDecoder().decode(data);
      const end = /\r\n\tby .*\r\n\t.*\r\n/.exec(text)!;
      const at = end.index + end[0].length;
      return { trace: text.slice(0, at), message: text.slice(at) };
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.child[Symbol.asyncDispose]();
    await Deno.remove(this.folder, { recursive: true }).catch(() => {});
  }
}

/** Begins a message, and sends so much of it that there is a file. */
async function beginMessage(server: Server, caller: Caller): Promise<void> {
  const before = server.names.length;
  await caller.say(`${ENVELOPE}DATA\r\n`);
  await caller.until("of its own\r\n");
  while (server.names.length === before) await caller.say("x".repeat(100_000));
}

/** Says each line and checks how the answer begins. */
async function converse(caller: Caller, story: [string, string][]) {
  for (const [line, answer] of story) {
    await caller.say(`${line}\r\n`);
    const given = await caller.until("\r\n");
    assertEquals(given.slice(0, answer.length), answer, line.slice(0, 100));
  }
}

const python = ["python3", "python"].find((name) => hasCommand(name, "-V"));

/** Runs a scenario of the Python client. */
async function smtplib(port: number, scenario: string): Promise<unknown> {
  const script = `${import.meta.dirname}/python/smtp_client.py`;
  const result = await runCommand(python!, [script, `${port}`, scenario]);
  assertEquals({ code: result.code, err: result.err }, { code: 0, err: "" });
  return JSON.parse(result.out);
}

const withPython = { ignore: python === undefined };

Deno.test({
  ...withPython,
  name:
    "smtp_server stores what smtplib sends (skipped where there is no Python)",
  async fn() {
    await using server = await Server.start();
    assertEquals(await smtplib(server.port, "several"), {
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
  },
});

Deno.test({
  ...withPython,
  name:
    "smtp_server refuses what is too large, from smtplib, and goes on (skipped where there is no Python)",
  async fn() {
    await using server = await Server.start();
    const { help, ...answers } = await smtplib(server.port, "refused") as {
      help: string;
    };
    assertEquals(answers, {
      mail: 552,
      data: 552,
      small: {},
      verify: 252,
      expn: 502,
      noop: 250,
      starttls: false,
    });
    assertStringIncludes(help, "5321");
    assertEquals(server.messages().map(({ message }) => message), [
      "Subject: small\r\n\r\n",
    ]);
  },
});

Deno.test({
  ...withPython,
  name:
    "smtp_server answers commands that smtplib pipelines (skipped where there is no Python)",
  async fn() {
    await using server = await Server.start();
    assertEquals(
      await smtplib(server.port, "pipelined"),
      [250, 250, 501, 250, 354, 250, 250, 250],
    );
    const { trace } = server.messages()[0]!;
    assertStringIncludes(trace, "Delivered-To: <bob@");
    assertStringIncludes(trace, "Delivered-To: <eve@");
  },
});

Deno.test({
  ...withPython,
  name:
    "smtp_server has ten smtplib clients at once (skipped where there is no Python)",
  async fn() {
    await using server = await Server.start();
    await Promise.all(
      Array.from({ length: 10 }, () => smtplib(server.port, "several")),
    );
    assertEquals(server.messages().length, 30);
  },
});

/** Whether `curl` is here and speaks SMTP. */
function hasCurl(): boolean {
  if (!hasCommand("curl", "--version")) return false;
  const { stdout } = new Deno.Command("curl", { args: ["--version"] })
    .outputSync();
  return new TextDecoder().decode(stdout).includes(" smtp ");
}

Deno.test({
  name: "smtp_server stores what curl sends (skipped where there is no curl)",
  ignore: !hasCurl(),
  async fn() {
    await using server = await Server.start();
    const curl = async (content: string, ...args: string[]) => {
      const path = await Deno.makeTempFile();
      try {
        await Deno.writeTextFile(path, content);
        const url = `smtp://127.0.0.1:${server.port}/client.example`;
        return await runCommand("curl", ["-sS", url, "-T", path, ...args]);
      } finally {
        await Deno.remove(path);
      }
    };
    const envelope = ["--mail-from", "ann@example.org"];
    for (const name of ["bob", "eve"]) {
      envelope.push("--mail-rcpt", `${name}@example.org`);
    }
    const done = { code: 0, out: "", err: "" };
    const dots = "Subject: dots\r\n\r\n.\r\n..a\r\n.\r\nend\r\n";
    assertEquals(await curl(dots, ...envelope), done);
    // As a file of Unix is; `--crlf` would send it as SMTP wants it.
    const unix = "Subject: unix\n\n.\nend\n";
    assertEquals(await curl(unix, ...envelope), done);
    const large = await curl("x".repeat(LIMIT + 1), ...envelope);
    assert(large.code !== 0);
    assertStringIncludes(large.err, "552");

    const [first, second, ...rest] = server.messages();
    assertEquals(rest, []);
    assertMatch(
      first!.trace,
      /^Return-Path: <ann@example.org>\r\nDelivered-To: <bob@example.org>\r\nDelivered-To: <eve@example.org>\r\nReceived: from client.example /,
    );
    assertEquals(first!.message, dots);
    assertEquals(second!.message, `${unix}\r\n`);
  },
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

Deno.test("smtp_server takes everything byte by byte, or all in one packet", async () => {
  const body = "Subject: x\r\n\r\n..\r\n..a\r\nb\r\n.\r\n";
  const session = `EHLO c\r\n${ENVELOPE}DATA\r\n${body}${ENVELOPE}DATA\r\n` +
    `${body}QUIT\r\n`;
  await using server = await Server.start();
  using whole = await server.caller(false);
  using single = await server.caller(false);
  await whole.say(session);
  for (const byte of bytes(session)) await single.say(Uint8Array.of(byte));
  const withoutIds = (text: string) => text.replace(/as \S+/g, "as ID");
  const answers = withoutIds(await whole.rest());
  assertEquals(withoutIds(await single.rest()), answers);
  const codes = answers.split("\r\n").map((line) => line.slice(0, 4)).join("");
  const one = "250 250 354 250 ";
  assertEquals(codes, `250-250-250-250 ${one}${one}221 `);
  const messages = server.messages().map(({ message }) => message);
  assertEquals(messages, Array(4).fill("Subject: x\r\n\r\n.\r\n.a\r\nb\r\n"));
});

Deno.test("smtp_server ends a message at CR LF dot CR LF alone", async () => {
  await using server = await Server.start();
  using caller = await server.caller();
  const smuggled = "MAIL FROM:<root@example.org>\r\n";
  const ends = ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r.\r\n"];
  ends.push("\r\n.\0\r\n", "\r\n. \r\n", "\n\n.\r\n", "\r\n\x00.\r\n");
  const messages: string[] = [];
  for (const end of ends) {
    await converse(caller, [
      ["MAIL FROM:<ann@example.org>", "250"],
      ["RCPT TO:<bob@example.org>", "250"],
      ["DATA", "354"],
    ]);
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

Deno.test("smtp_server bounds commands, recipients and errors", async () => {
  await using server = await Server.start();
  using caller = await server.caller();
  await converse(caller, [
    [`NOOP ${"x".repeat(553 - 5)}`, "250"],
    [`NOOP ${"x".repeat(554 - 5)}`, "500 The line is too long"],
    [`NOOP ${"x".repeat(200_000)}`, "500 The line is too long"],
    ["MAIL FROM:<ann@example.org>", "250"],
    ...Array.from(
      { length: 100 },
      (_, i): [string, string] => [`RCPT TO:<bob-${i}@example.org>`, "250"],
    ),
    ["RCPT TO:<one@too.many>", "452"],
    ["DATA", "354"],
    [".", "250"],
    ...Array.from({ length: 17 }, (): [string, string] => ["SPAM", "500"]),
    ["SPAM", "500"],
  ]);
  assertEquals(await caller.rest(), "421 Too many errors\r\n");
  const { trace } = server.messages()[0]!;
  assertEquals(trace.match(/^Delivered-To: <bob-/gm)?.length, 100);
});

Deno.test("smtp_server takes a message of 10 MiB, and not a byte more", async () => {
  await using server = await Server.start();
  using caller = await server.caller();
  const line = `${"x".repeat(1022)}\r\n`;
  const largest = line.repeat(LIMIT / line.length);
  await converse(caller, [
    [`MAIL FROM:<a@b> SIZE=${LIMIT + 1}`, "552"],
    [`MAIL FROM:<a@b> SIZE=${LIMIT}`, "250"],
    ["RCPT TO:<c@d>", "250"],
    ["DATA", "354"],
    [`${largest}.`, "250"],
    ["MAIL FROM:<a@b>", "250"],
    ["RCPT TO:<c@d>", "250"],
    ["DATA", "354"],
    [`x${largest}.`, "552"],
    ["MAIL FROM:<a@b>", "250"],
    ["RCPT TO:<c@d>", "250"],
    ["DATA", "354"],
    [`${"y".repeat(LIMIT - 2)}\r\n.`, "250"], // a single line
  ]);
  const lengths = server.messages().map(({ message }) => message.length);
  assertEquals(lengths, [LIMIT, LIMIT]);
});

/** How many MB of memory a process has, where the system tells. */
function residentMemory(pid: number): number {
  const status = Deno.readTextFileSync(`/proc/${pid}/status`);
  return Number(/VmRSS:\s*(\d+)/.exec(status)![1]) / 1024;
}

Deno.test({
  name: "smtp_server keeps no message in memory",
  ignore: Deno.build.os !== "linux",
  async fn() {
    await using server = await Server.start();
    const before = residentMemory(server.child.pid);
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
    assertLess(residentMemory(server.child.pid) - before, 128);
    await Promise.all(callers.map(async (caller) => {
      await caller.say("\r\n.\r\n");
      await caller.until("250 Stored");
    }));
    assertEquals(server.messages().length, 20);
  },
});

Deno.test("smtp_server says OK when the file is there, and not before", async () => {
  await using server = await Server.start();
  using caller = await server.caller();
  await caller.say(`${ENVELOPE}DATA\r\n`);
  await caller.until("of its own\r\n");
  await caller.say("x".repeat(200_000));
  while (server.names.length === 0) await caller.say("x".repeat(10_000));
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
  await Deno.remove(server.folder);
  const story: [string, string][] = [
    ["MAIL FROM:<a@b>", "250"],
    ["RCPT TO:<c@d>", "250"],
    ["DATA", "354"],
  ];
  await converse(caller, [...story, [`${"x".repeat(200_000)}\r\n.`, "451"]]);
  await Deno.mkdir(server.folder);
  await converse(caller, [...story, ["Subject: now\r\n.", "250"]]);
  assertEquals(server.messages().length, 1);
});

Deno.test("smtp_server does not ask who reads no answers", async () => {
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
    assertLess(residentMemory(server.child.pid), 200);
  }
  caller[Symbol.dispose]();
  await saying;
});

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.test({
    name: `smtp_server takes the message on its way after ${signal}`,
    ignore: isWindows, // signals cannot be sent there
    async fn() {
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
      const { code, err } = await server.child.end();
      assertEquals({ code, err }, { code: 0, err: "" });
      assertEquals(server.messages().length, 1);
    },
  });
}

Deno.test({
  name: "smtp_server keeps no part of a message after a second signal",
  ignore: isWindows, // signals cannot be sent there
  async fn() {
    await using server = await Server.start();
    using amid = await server.caller();
    await beginMessage(server, amid);
    server.child.kill("SIGTERM");
    await server.child.until("SIGTERM: closing");
    await pass(ECHO + 50); // else it would be the same one
    server.child.kill("SIGINT");
    const { code, out, err } = await server.child.end();
    assertEquals({ code, err }, { code: 0, err: "" });
    assertStringIncludes(out, "1 connection was cut");
    assertEquals(server.names, []);
  },
});

Deno.test("smtp_server clears what a crash has left, and nothing else", async () => {
  const folder = await Deno.makeTempDir();
  let part = "";
  {
    await using crashed = await Server.in(folder);
    using amid = await crashed.caller();
    await beginMessage(crashed, amid);
    [part = ""] = crashed.names;
    crashed.child.kill("SIGKILL");
    await crashed.child.end();
    assertEquals(crashed.names, [part]);
    assertMatch(part, /\.part$/);
    // The folder goes with the server that is disposed of.
    await Deno.rename(folder, `${folder}-kept`);
  }
  await Deno.rename(`${folder}-kept`, folder);
  const others = ["20200101000000000-a.eml", "film.part", "notes"];
  for (const name of others) await Deno.writeTextFile(`${folder}/${name}`, "");
  await Deno.mkdir(`${folder}/20200101000000000-b.part`);
  await using server = await Server.in(folder);
  assertEquals(server.names, [...others, "20200101000000000-b.part"].sort());
});

Deno.test("smtp_server leaves the messages of another one in its folder alone", async () => {
  await using first = await Server.start();
  using amid = await first.caller();
  await beginMessage(first, amid);
  await Deno.writeTextFile(`${first.folder}/20200101000000000-a.part`, "");
  await using second = await Server.in(first.folder);
  assertEquals(second.names.length, 1);
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

Deno.test("smtp_server logs what it stored and what it refused", async () => {
  await using server = await Server.start();
  using caller = await server.caller();
  await caller.say("\x1b[2J\r\n");
  await caller.until("500");
  await caller.say(`${ENVELOPE}DATA\r\n\r\n.\r\nQUIT\r\n`);
  await caller.rest();
  server.child.kill(isWindows ? "SIGKILL" : "SIGINT");
  const { out } = await server.child.end();
  const [refused, stored] = out.split("\n").slice(1);
  assertEquals(
    refused,
    'SmtpSession: 127.0.0.1 "\\u001b[2J" -> 500 Syntax error',
  );
  assertMatch(
    stored!,
    /^SmtpSession: \S+\.eml: 2 bytes from <ann@example\.org> for 1$/,
  );
});

Deno.test("smtp_server refuses wrong arguments and a port that is taken", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const folder = await Deno.makeTempDir();
  const run = async (...args: string[]) => {
    const permissions = ["--allow-net", "--allow-read", "--allow-write"];
    await using child = await Child.start(permissions, "smtp_server", ...args);
    return await child.end();
  };
  const wrong: [string[], string][] = [
    [[], "FOLDER is missing"],
    [["--spam"], 'Unknown option "--spam"'],
    [["--port"], "--port needs a value"],
    [["--port", "0"], "FOLDER is missing"],
    [["a", "b"], 'Unexpected argument "b"'],
    [
      [folder, "--port", "65536"],
      'PORT must be from 0 to 65535, got "65536"',
    ],
  ];
  for (const [args, complaint] of wrong) {
    const err =
      `${complaint}. Usage: smtp_server.ts FOLDER [--port PORT] [--help]\n`;
    assertEquals(await run(...args), { code: 2, out: "", err });
  }
  const taken = await run("--port", `${port}`, folder);
  assertEquals(taken.code, 1);
  assertMatch(
    taken.err,
    new RegExp(`^Cannot listen on 127.0.0.1:${port}: [^:]+\n$`),
  );
  const file = `${folder}/file`;
  await Deno.writeTextFile(file, "");
  const { code, err: reason } = await run(file);
  assertEquals(code, 1);
  assertMatch(reason, /^Cannot keep mail in ".*": .+\n$/);
  await Deno.remove(folder, { recursive: true });
});
