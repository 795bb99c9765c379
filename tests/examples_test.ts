/**
 * Runs each example as a person would, and compares what it prints. What
 * differs from run to run is evened out first: ports, the sizes of single
 * reads, and how often the loop asks a predicate.
 */

import {
  assert,
  assertEquals,
  assertGreater,
  assertLess,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { HttpClient } from "../examples/http_client.ts";
import { createLogger } from "../examples/logging.ts";
import { loop } from "../mod.ts";
import {
  Caller,
  Child,
  Folder,
  type Result,
  testUnix,
  testWith,
} from "./peers.ts";
import { bytes, families, isMissing } from "./support.ts";

const root = `${import.meta.dirname}/..`;

/** Runs an example to its end. */
async function run(name: string, ...args: string[]): Promise<Result> {
  await using child = await Child.start(
    ["--allow-net", "--allow-read"],
    name,
    ...args,
  );
  return await child.end();
}

/** Runs an example that has nothing to complain of; returns what it prints. */
async function outputOf(name: string, ...args: string[]): Promise<string> {
  const { code, out, err } = await run(name, ...args);
  assertEquals({ code, err }, { code: 0, err: "" });
  return out;
}

/** Runs `deno task example` with these arguments. */
async function runTask(...args: string[]): Promise<Result> {
  const task = ["task", "--quiet", "example", ...args];
  await using child = new Child(Deno.execPath(), task);
  return await child.end();
}

/** Checks that an example refuses a call in one line, which ends with its usage. */
function assertRefusal(result: Result, complaint: string, name: string): void {
  assertEquals({ ...result, err: "" }, { code: 2, out: "", err: "" });
  assertStringIncludes(result.err, `${complaint}. Usage: ${name}.ts `);
  assertMatch(result.err, /^.+ \[--help\]\n$/);
}

function withoutPorts(output: string): string {
  return output.replace(/127\.0\.0\.1:\d+/g, "HOST");
}

/** The lines of the logger `name`: its hooks, with all reads in one. */
function story(output: string, name: string): string[] {
  const prefix = `${name}: `;
  const lines: string[] = [];
  let received = 0;
  for (const line of withoutPorts(output).split("\n")) {
    if (!line.startsWith(prefix)) continue;
    const message = line.slice(prefix.length);
    const read = /^handleRead\(\) -> (\d+) bytes/.exec(message);
    if (/^(read|writ)able\(\)/.test(message)) continue;
    if (read === null) lines.push(message);
    else if (received === 0) lines.push("handleRead()");
    received += Number(read?.[1] ?? 0);
  }
  return lines.map((line) =>
    line === "handleRead()" ? `${line} -> ${received} bytes` : line
  );
}

/** The two pages of 19,324 and 29,283 bytes, headers included. */
const PAGES = [
  { path: "/short", size: 19_324 },
  { path: "/long", size: 29_283 },
];
const PAGES_REPORT = PAGES.map(({ path, size }) =>
  `http://HOST${path} got ${size} bytes`
);

function assertDownloadsTwoPages(out: string): void {
  for (const { path, size } of PAGES) {
    const name = `http://HOST${path}`;
    assertEquals(story(out, name), [
      "connecting to HOST",
      "handleConnect()",
      `handleWrite() -> "GET ${path} HTTP/1.0\\r\\nHost: HOST\\r\\n\\r\\n"`,
      `handleRead() -> ${size} bytes`,
      "handleClose()",
    ]);
    for (const predicate of ["readable() -> true", "writable() -> true"]) {
      assertStringIncludes(withoutPorts(out), `${name}: ${predicate}\n`);
    }
  }
}

Deno.test("http_client downloads two pages at once from a server of its own", async () => {
  await using demo = new Child(Deno.execPath(), ["task", "--quiet", "demo"]);
  const { code, out } = await demo.end();
  assertEquals(code, 0);
  assertDownloadsTwoPages(out);
  assertEquals(story(out, "main"), ["LOOP STARTING", "LOOP DONE"]);
  const last = withoutPorts(out).split("\n").slice(-3);
  assertEquals(last, ["main: LOOP DONE", ...PAGES_REPORT]);
});

/** Listens, and lets `handle` have the first connection. */
function listenOnce(
  handle: (caller: Caller) => Promise<void>,
  hostname = "127.0.0.1",
) {
  const listener = Deno.listen({ hostname, port: 0 });
  const host = hostname.includes(":") ? `[${hostname}]` : hostname;
  const served = listener.accept().then(async (conn) => {
    using caller = new Caller(conn);
    await handle(caller);
  });
  const dispose = async () => {
    listener.close();
    await served.catch(() => {}); // when nobody came
  };
  const url = `http://${host}:${listener.addr.port}`;
  return { url, [Symbol.asyncDispose]: dispose };
}

/** Reads a request, remembers its first line, and answers. */
function answering(answer: string, requests: string[] = []) {
  return async (caller: Caller) => {
    requests.push((await caller.until("\r\n\r\n")).split("\r\n")[0]!);
    await caller.say(answer);
  };
}

for (const family of families.filter(({ name }) => name !== "Unix")) {
  Deno.test({
    name:
      `http_client downloads a URL with a port and a query (${family.name})`,
    ignore: isMissing(family),
    async fn() {
      const { hostname } = family.address() as Deno.NetAddr;
      const requests: string[] = [];
      const answer = "HTTP/1.0 200 OK\r\n\r\nspam";
      await using server = listenOnce(answering(answer, requests), hostname);
      const url = `${server.url}/menu?main=spam&side=eggs%20and%20spam`;
      const out = await outputOf("http_client", url);
      const { host, pathname, search } = new URL(url);
      assertEquals(requests, [`GET ${pathname}${search} HTTP/1.0`]);
      assertStringIncludes(out, `${url}: connecting to ${host}\n`);
      assertEquals(out.split("\n").at(-1), `${url} got ${answer.length} bytes`);
    },
  });
}

Deno.test("http_client refuses a bad URL before it opens anything", async () => {
  let connections = 0;
  const count = () => Promise.resolve(void connections++);
  await using server = listenOnce(count);
  const complaints = {
    "spam": '"spam" is not a URL',
    "": '"" is not a URL',
    "http://h:65536/": '"http://h:65536/" is not a URL',
    "\x1b[2J\n\u202e": '"\\u001b[2J\\n\\u{202e}" is not a URL',
    "https://h/": "https://h/: only http:// URLs are supported",
    "http://h:0/": "http://h:0/: there is no port 0",
    "http://me:secret@h/": "http://h: a user name is not supported",
  };
  const checks = Object.entries(complaints).map(async ([bad, complaint]) => {
    const result = await run("http_client", server.url, bad);
    assertRefusal(result, complaint, "http_client");
  });
  await Promise.all(checks);
  assertEquals(connections, 0);
});

/** A port that nobody listens on. */
function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

Deno.test("http_client names the downloads that failed and finishes the others", async () => {
  const headers = "HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\n";
  await using whole = listenOnce(answering(`${headers}spam,spam`));
  await using truncated = listenOnce(answering(`${headers}spam`));
  await using headless = listenOnce(answering("HTTP/1.0 200 OK\r\n"));
  // Closing a connection with a request that was not read resets it.
  await using reset = listenOnce(async () => {});
  const refused = `http://127.0.0.1:${freePort()}`;
  // Longer than a name may be, so that nobody has to ask a name server.
  const unknown = `http://${"spam".repeat(16)}.invalid`;

  const urls = [reset, whole, truncated, headless].map(({ url }) => url);
  const result = await run("http_client", ...urls, refused, unknown);
  assertEquals(result.code, 1);
  const size = headers.length + 9;
  const [last] = result.out.split("\n").slice(-1);
  assertEquals(last, `${whole.url}/ got ${size} bytes`);
  const complaints = result.err.trimEnd().split("\n");
  assertEquals(complaints.slice(0, 3), [
    `${reset.url}/: connection closed without an answer`,
    `${truncated.url}/: connection closed after ${size - 5} of ${size} bytes`,
    `${headless.url}/: connection closed before the end of the headers`,
  ]);
  const [refusal = "", ignorance = "", ...rest] = complaints.slice(3);
  assertStringIncludes(refusal, `${refused}/: `);
  assertStringIncludes(refusal, "refused");
  assertStringIncludes(ignorance, `${unknown}/: `);
  assertEquals(rest, []);
});

Deno.test("HttpClient takes an answer for whole only when its headers are clear", async () => {
  const ok = "HTTP/1.1 200 OK\r\n";
  const answers: Record<string, string | null> = {
    [`${ok}\r\nspam`]: null,
    [`${ok}Content-Length: 4\r\n\r\nspam`]: null,
    [`${ok}content-length:4 \r\nContent-Length: 4, 4\r\n\r\nspam`]: null,
    [`${ok}Transfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n`]: null,
    "HTTP/1.0 404 \r\n\r\n": null,
    "HTTP/1.0 404\r\n\r\n": null,
    "220 localhost ESMTP\r\n\r\n": "no answer of HTTP",
    "HTTP/2 200 OK\r\n\r\n": "no answer of HTTP",
    "HTTP/1.0 20 OK\r\n\r\n": "no answer of HTTP",
    [`${ok}Content-Length: -4\r\n\r\nspam`]: 'unclear length "-4"',
    [`${ok}Content-Length:\r\n\r\nspam`]: 'unclear length ""',
    [`${ok}Content-Length: 4\r\nContent-Length: 5\r\n\r\nspam`]:
      'unclear length "4, 5"',
  };
  for (const [answer, failure] of Object.entries(answers)) {
    await using server = listenOnce(answering(answer));
    const logger = createLogger("client", "INFO");
    const client = new HttpClient(new URL(server.url), { logger });
    await loop();
    assertEquals(client.failure, failure, answer);
  }
});

Deno.test("HttpClient gives up on a server that says nothing", async () => {
  await using server = listenOnce(async (caller) => void await caller.rest());
  const logger = createLogger("client", "INFO");
  const options = { logger, patience: 50 };
  const client = new HttpClient(new URL(server.url), options);
  await loop();
  assertEquals(client.failure, "no answer for 0.05 s");
});

Deno.test("loop_integration makes single steps, then 60 a second, while pages arrive", async () => {
  const out = await outputOf("loop_integration");
  assertDownloadsTwoPages(out);

  const counters = story(out, "main");
  assertGreater(counters.length, 3);
  const expected = counters.map((_, index) => `loop_counter=${index + 1}`);
  assertEquals(counters, expected);

  const [summary, ...reports] = withoutPorts(out).split("\n").slice(-5);
  const shape = /^(.+) steps a second for (.+) s, while 2 downloads finished$/;
  assertMatch(summary!, shape);
  const [, rate, seconds] = shape.exec(summary!)!.map(Number);
  assertGreater(rate!, 0);
  assertLess(rate!, 60 * 5, "it waits between its steps");
  assertGreater(seconds!, 0.5, "there is something to see");
  assertEquals(reports, [...PAGES_REPORT, ...PAGES_REPORT]);
  assert(!out.includes("\r") && !out.includes("\x1b"), "no animation here");
});

Deno.test("http_get prints the answer of a server", async () => {
  const requests: string[] = [];
  const answer = `HTTP/1.0 200 OK\r\n\r\n${"spam\n".repeat(100_000)}`;
  await using server = listenOnce(answering(answer, requests));
  const out = await outputOf("http_get", `${server.url}/menu?main=spam`);
  assertEquals(`${out}\n`, answer.replaceAll("\r", ""));
  assertEquals(requests, ["GET /menu?main=spam HTTP/1.0"]);
});

Deno.test("http_get exits with 1 when it gets no page", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  for (
    const [url, complaint] of [
      [`http://127.0.0.1:${port}/`, "ConnectionRefused"],
      [`https://127.0.0.1:${port}/`, 'Not http: "https:"'],
    ]
  ) {
    const { code, out, err } = await run("http_get", url!);
    assertEquals(code, 1);
    assertStringIncludes(out + err, complaint!);
  }
});

testUnix("echo echoes to its clients until Ctrl-C", async () => {
  await using server = await Child.serve(["--allow-net"], "echo", "0");
  using first = await Caller.connect(server.port);
  using second = await Caller.connect(server.port);
  for (const word of ["spam", "eggs"]) {
    await first.say(`1 ${word}`);
    await second.say(`2 ${word}`);
    assertEquals(await second.until(word), `2 ${word}`);
    assertEquals(await first.until(word), `1 ${word}`);
  }
  server.kill("SIGINT");
  assertEquals([await first.rest(), await second.rest()], ["", ""]);
  assertEquals(
    (await server.endWell()).replace(/\d{4,}/g, "PORT").split("\n"),
    [
      "Listening on 127.0.0.1:PORT",
      "A client comes from port PORT",
      "A client comes from port PORT",
      "All clients are gone",
    ],
  );
});

Deno.test("echo_server tells the story of a server, its handler and a client", async () => {
  const out = await outputOf("echo_server");
  assertEquals(story(out, "EchoServer"), [
    "listening on HOST",
    "handleAccepted() -> HOST",
    "handleClose()",
  ]);
  const isSend = (line: string) => line.startsWith("handleWrite()");
  const sends = (lines: string[]) =>
    lines.filter(isSend).map((line) => Number(/\d+/.exec(line)![0]));
  const others = (lines: string[]) => lines.filter((line) => !isSend(line));

  const client = story(out, "EchoClient");
  assertEquals(sends(client), [512, 737 - 512]);
  assertEquals(others(client), [
    "connecting to HOST",
    "handleConnect()",
    "handleRead() -> 737 bytes",
    "handleClose()",
    "RECEIVED COPY OF MESSAGE",
  ]);
  const handler = story(out, "EchoHandler");
  assertEquals(sends(handler).reduce((sum, sent) => sum + sent), 737);
  assert(sends(handler).every((sent) => sent <= 256));
  assertEquals(others(handler), ["handleRead() -> 737 bytes", "handleClose()"]);
  for (const answer of [true, false]) {
    assertStringIncludes(out, `EchoHandler: writable() -> ${answer}\n`);
  }
  assert(out.endsWith("\nEchoClient: RECEIVED COPY OF MESSAGE"));
});

function serveEcho(): Promise<Child> {
  return Child.serve(["--allow-net"], "echo_server", "--serve");
}

testUnix(
  "echo_server --serve ends when each client has had its echo",
  async () => {
    await using server = await serveEcho();
    using first = await Caller.connect(server.port);
    using second = await Caller.connect(server.port);
    await first.say("\x1b[2J");
    await first.until("\x1b[2J");
    const long = "It's only resting. ".repeat(500);
    await first.say(long);
    await second.say(long);
    server.kill("SIGINT");
    await server.until("main: SIGINT: closing");
    assertEquals([await first.rest(), await second.rest()], [long, long]);
    const out = await server.endWell();
    assertEquals(out.match(/SIGINT|listening/g), ["listening", "SIGINT"]);
    assertStringIncludes(out, '"\\u001b[2J"');
    assert(!out.includes("\x1b"), "what a client says is escaped");
  },
);

Deno.test("echo_server --serve shows a letter that comes in two halves", async () => {
  await using server = await serveEcho();
  using client = await Caller.connect(server.port);
  const [first = 0, second = 0] = bytes("é");
  await client.say(Uint8Array.of(first));
  await server.until('handleWrite() -> 1 bytes ""');
  await client.say(Uint8Array.of(second));
  await server.until('handleRead() -> 1 bytes "é"');
  await server.until('handleWrite() -> 1 bytes "é"');
});

Deno.test("echo_server --serve sends all back to a client that stops sending", async () => {
  await using server = await serveEcho();
  using client = await Caller.connect(server.port);
  const long = "Pining for the fjords. ".repeat(2_000);
  const sending = client.say(long).then(() => client.closeWrite());
  assertEquals(await client.rest(), long);
  await sending;
});

testWith("nc", "echo_server --serve is good for nc", async () => {
  await using server = await serveEcho();
  await using client = new Child("nc", ["127.0.0.1", `${server.port}`]);
  await client.write("spam\n");
  assertEquals(await client.until("spam"), "spam");
});

Deno.test("file_reader reads itself in chunks of 256 bytes", async () => {
  const out = await outputOf("file_reader");
  const { size } = await Deno.stat(`${root}/examples/file_reader.ts`);
  const expected = Array<number>(Math.floor(size / 256)).fill(256);
  if (size % 256 > 0) expected.push(size % 256);
  const reads = out.matchAll(/^FileReader: handleRead\(\) -> (\d+) bytes/gm);
  assertEquals(Array.from(reads, ([, length]) => Number(length)), expected);
  assertEquals(out.split("\n").slice(-2), [
    "FileReader: handleClose()",
    `${size} bytes in ${expected.length} chunks`,
  ]);
});

Deno.test("file_reader reads any file and escapes its text", async () => {
  using folder = new Folder();
  assertEquals(
    await outputOf("file_reader", folder.write("empty")),
    "FileReader: handleClose()\n0 bytes in 0 chunks",
  );
  const path = folder.write("odd", "\x1b[2J\x9b\u2028\u202ecafé");
  assertStringIncludes(
    await outputOf("file_reader", path),
    'handleRead() -> 17 bytes "\\u001b[2J\\u{9b}\\u{2028}\\u{202e}café"\n',
  );
});

Deno.test("file_reader shows the bytes of a pipe as soon as they come", async () => {
  await using reader = await Child.start(["--allow-read"], "file_reader", "-");
  await reader.write("a\n");
  await reader.until('handleRead() -> 2 bytes "a\\n"');
  await reader.write("b\n");
  await reader.until('handleRead() -> 2 bytes "b\\n"');
  const out = await reader.endWell();
  assertEquals(out.split("\n").at(-1), "4 bytes in 2 chunks");
});

Deno.test("file_reader names a file that it cannot read, once", async () => {
  const paths = { "no/such\nfile": "no/such\\nfile", "": "" };
  for (const [path, shown] of Object.entries(paths)) {
    const { code, out, err } = await run("file_reader", path);
    assertEquals({ code, out }, { code: 1, out: "" });
    const [name, reason, ...rest] = err.split(": ");
    assertEquals(name, `Cannot read "${shown}"`);
    assertMatch(reason!, /^.+\n$/);
    assertEquals(rest, []);
  }
  const { code, err } = await run("file_reader", root); // a folder
  assertEquals(code, 1);
  assertEquals(err.split(root).length, 2);
});

/** Sources of the examples by their names. */
const SOURCES = new Map(
  Array.from(Deno.readDirSync(`${root}/examples`), ({ name }) => [
    name,
    Deno.readTextFileSync(`${root}/examples/${name}`),
  ]),
);

Deno.test("examples decode the pieces of a text with one decoder", () => {
  const fresh = /new TextDecoder\([^)]*\)\s*\.decode\(/;
  const names = [...SOURCES].filter(([, source]) => fresh.test(source))
    .map(([name]) => name);
  assertEquals(names, ["replicated_disk.ts"], "that one decodes a whole file");
});

Deno.test("echo and http_get are read in a minute", () => {
  for (const name of ["echo.ts", "http_get.ts"]) {
    const lines = SOURCES.get(name)!.split("\n");
    assertLess(lines.length - 1, 31);
    assertMatch(
      lines[1]!,
      new RegExp(`deno run --allow-net examples/${name} `),
    );
  }
});

const EXAMPLES = [...SOURCES]
  .filter(([, source]) => source.includes("import.meta.main"))
  .map(([name]) => name.slice(0, -".ts".length));

Deno.test("each example prints its usage when it is asked for help", async () => {
  assertGreater(EXAMPLES.length, 9);
  for (const name of EXAMPLES) {
    const [usage = "", blank, ...rest] = (await outputOf(name, "--help"))
      .split("\n");
    assertEquals(blank, "");
    assertGreater(rest.length, 0, "it says what it does");
    assert(usage.startsWith(`Usage: ${name}.ts `), usage);
    assert(usage.endsWith(" [--help]"), usage);
    // Wherever it stands, and whatever else is asked for.
    const { code, out } = await run(name, "a", "--spam", "-h");
    assertEquals([code, out.split("\n")[0]], [0, usage]);
  }
});

/** Calls that an example refuses, and what it says of them. */
const WRONG_CALLS: Record<string, string> = {
  "chat_server --port": "--port needs a value",
  "chat_server --port=": 'PORT must be from 0 to 65535, got ""',
  "chat_server --port -1": 'PORT must be from 0 to 65535, got "-1"',
  "chat_server --port 65536": 'PORT must be from 0 to 65535, got "65536"',
  "chat_server --port 1e3": 'PORT must be from 0 to 65535, got "1e3"',
  "chat_server -p 0": 'Unknown option "-p"',
  "chat_server -- --port": 'Unexpected argument "--port"',
  "echo_server 8080": 'PORT needs --serve, got "8080" alone',
  "echo_server 1.5 --serve": 'PORT must be from 0 to 65535, got "1.5"',
  "echo_server --serve 1 spam": 'Unexpected argument "spam"',
  "echo_server --serve=8080": '--serve takes no value, got "8080"',
  "file_reader a b": 'Unexpected argument "b"',
  "http_server --quiet --port 0": "ROOT is missing",
  "http_server . --port 0 --port=0": "--port is given twice",
  "http_server --quiet . --quiet": "--quiet is given twice",
  "http_server --port=65536 .": 'PORT must be from 0 to 65535, got "65536"',
  "smtp_server --port 0": "FOLDER is missing",
  "smtp_server a b": 'Unexpected argument "b"',
  "smtp_server a --port 65536": 'PORT must be from 0 to 65535, got "65536"',
  "tcp_proxy": "LISTEN is missing",
  "tcp_proxy --ca=a tls://h:0": "TARGET is missing",
  "tcp_proxy h:0 a:1 b:1": 'Unexpected argument "b:1"',
  "tcp_proxy 127.0.0.1 a:1": 'HOST:PORT, got "127.0.0.1"',
  "tcp_proxy 127.0.0.1:0 a:65536": 'HOST:PORT, got "a:65536"',
  "tcp_proxy 127.0.0.1:0 a:0": 'Nobody can be reached at port 0: "a:0"',
  "tcp_proxy tls://h:0 a:1": '"tls://h:0" needs --cert and --key',
  "tcp_proxy tls://h:0 a:1 --cert=a": "and --key is missing",
  "tcp_proxy tls://h:0 a:1 --key=a": "and --cert is missing",
  "tcp_proxy h:0 a:1 --cert=a --key=a":
    '--cert needs a tls:// LISTEN, got "h:0"',
  "tcp_proxy h:0 a:1 --key=a": '--key needs a tls:// LISTEN, got "h:0"',
  "tcp_proxy h:0 a:1 --ca=a": '--ca needs a tls:// TARGET, got "a:1"',
};

for (const [call, complaint] of Object.entries(WRONG_CALLS)) {
  Deno.test(`a wrong call is refused: ${call}`, async () => {
    const [name = "", ...args] = call.split(" ");
    assertRefusal(await run(name, ...args), complaint, name);
  });
}

/** Calls that fail; PORT is one that is taken, FILE no directory. */
const FAILURES: Record<string, RegExp> = {
  "chat_server --port PORT": /^Cannot listen on 127\.0\.0\.1:\d+: [^:]+\n$/,
  "echo_server --serve PORT": /^Cannot listen on 127\.0\.0\.1:\d+: [^:]+\n$/,
  "http_server . --port PORT": /^Cannot serve ".": .+\n$/,
  "http_server no/such/folder": /^Cannot serve "no\/such\/folder": .+\n$/,
  "http_server FILE": /^Cannot serve "FILE": It is not a directory\n$/,
  "smtp_server FOLDER --port PORT":
    /^Cannot listen on 127\.0\.0\.1:\d+: [^:]+\n$/,
  "smtp_server FILE": /^Cannot keep mail in "FILE": .+\n$/,
};

for (const [call, complaint] of Object.entries(FAILURES)) {
  Deno.test(`a call that fails says why in a line: ${call}`, async () => {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    using folder = new Folder();
    const file = folder.write("file");
    const [name = "", ...args] = call.replace("PORT", `${listener.addr.port}`)
      .replace("FILE", file).replace("FOLDER", folder.path).split(" ");
    await using child = await Child.start(
      [...folder.permissions, "--allow-read"],
      name,
      ...args,
    );
    const { code, out, err } = await child.end();
    assertEquals({ code, out }, { code: 1, out: "" });
    assertMatch(err.replace(file, "FILE"), complaint);
  });
}

Deno.test("deno task example passes --help on, and has its own", async () => {
  const { out, code } = await runTask("--help");
  assertEquals(code, 0);
  assertMatch(out, /^Usage: deno task example NAME .* echo_server, /);
  const { out: passed } = await runTask("chat_server", "--help");
  assertMatch(passed, /^Usage: chat_server\.ts /);
});

Deno.test("deno task example gives an example the permissions that it opens with", async () => {
  const { code, err } = await runTask("http_server", "no/such/folder");
  assertEquals(code, 1);
  assertMatch(err, /no such file|cannot find/i);
  await using server = listenOnce(answering("spam"));
  const { out } = await runTask("http_get", server.url);
  assertEquals(out, "spam");
});

/** Servers with their arguments; a folder of the test's own is FOLDER. */
const SERVERS: Record<string, string[]> = {
  chat_server: [],
  echo_server: ["--serve"],
  http_server: ["FOLDER"],
  replicated_log: ["primary", "0", "FOLDER/records"],
  smtp_server: ["FOLDER"],
  tcp_proxy: ["127.0.0.1:0", "127.0.0.1:9"],
};

for (const [name, args] of Object.entries(SERVERS)) {
  testUnix(`${name} tells its address and obeys SIGTERM`, async () => {
    using folder = new Folder();
    const given = args.map((arg) => arg.replace("FOLDER", folder.path));
    await using server = await Child.serve(
      folder.permissions,
      name,
      ...given,
    );
    const { port } = server;
    server.kill("SIGTERM");
    const out = await server.endWell();
    assertEquals(out.split(`${port}`).length, 2, out);
    assertMatch(out, /: SIGTERM: closing$/);
    await assertRejects(() => Deno.connect({ port }));
  });
}
