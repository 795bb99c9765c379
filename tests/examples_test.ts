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
import { Child, type Result } from "./peers.ts";
import { bytes, families, isMissing, text } from "./support.ts";

const root = `${import.meta.dirname}/..`;
const isWindows = Deno.build.os === "windows";

/** Starts an example; the file reader may read, the others use the net. */
function start(name: string, ...args: string[]): Promise<Child> {
  const permission = name === "file_reader" ? "--allow-read" : "--allow-net";
  return Child.start([permission], name, ...args);
}

/** Runs an example to its end. */
async function run(name: string, ...args: string[]): Promise<Result> {
  await using child = await start(name, ...args);
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

/** What the logger `name` said: its hooks, with all reads in one. */
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

/** What a client that gets `size` bytes says. */
function downloadStory(path: string, size: number): string[] {
  return [
    "connecting to HOST",
    "handleConnect()",
    `handleWrite() -> "GET ${path} HTTP/1.0\\r\\nHost: HOST\\r\\n\\r\\n"`,
    `handleRead() -> ${size} bytes`,
    "handleClose()",
  ];
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
    assertEquals(story(out, name), downloadStory(path, size));
    for (const predicate of ["readable() -> true", "writable() -> true"]) {
      assertStringIncludes(withoutPorts(out), `${name}: ${predicate}\n`);
    }
  }
}

Deno.test("http_client downloads two pages at once from a server of its own", async () => {
  const { code, out, err } = await run("http_client");
  assertEquals({ code, err }, { code: 0, err: "" });
  assertDownloadsTwoPages(out);
  assertEquals(story(out, "main"), ["LOOP STARTING", "LOOP DONE"]);
  assertEquals(withoutPorts(out).split("\n").slice(-3), [
    "main: LOOP DONE",
    ...PAGES_REPORT,
  ]);
});

Deno.test("deno task demo tells the story of http_client without arguments", async () => {
  await using demo = new Child(Deno.execPath(), ["task", "--quiet", "demo"]);
  const { code, out } = await demo.end();
  assertEquals(code, 0);
  assertDownloadsTwoPages(out);
  assertEquals(withoutPorts(out).split("\n").slice(-2), PAGES_REPORT);
});

/** Listens, and lets `handle` have the first connection. */
function listenOnce(
  handle: (conn: Deno.Conn) => Promise<void>,
  hostname = "127.0.0.1",
) {
  const listener = Deno.listen({ hostname, port: 0 });
  const { port } = listener.addr;
  const host = hostname.includes(":") ? `[${hostname}]` : hostname;
  const served = listener.accept().then(async (conn) => {
    await handle(conn);
    conn.close();
  });
  const dispose = async () => {
    listener.close();
    await served.catch(() => {}); // when nobody came
  };
  return { url: `http://${host}:${port}`, [Symbol.asyncDispose]: dispose };
}

/** Reads a request, remembers its first line, and answers. */
function answering(answer: string, requests: string[] = []) {
  return async (conn: Deno.Conn) => {
    const buffer = new Uint8Array(4_096);
    let request = "";
    while (!request.includes("\r\n\r\n")) {
      const length = await conn.read(buffer);
      if (length === null) return;
      request += text(buffer.subarray(0, length));
    }
    requests.push(request.split("\r\n")[0]!);
    await conn.write(bytes(answer));
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
      const { code, out, err } = await run("http_client", url);
      assertEquals({ code, err }, { code: 0, err: "" });
      assertEquals(requests, [
        `GET ${new URL(url).pathname}${new URL(url).search} HTTP/1.0`,
      ]);
      assertStringIncludes(out, `${url}: connecting to ${new URL(url).host}\n`);
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
    "http://[::1": '"http://[::1" is not a URL',
    "http://h:65536/": '"http://h:65536/" is not a URL',
    "\x1b[2J\n\u202e": '"\\u001b[2J\\n\\u{202e}" is not a URL',
    "https://h/": "https://h/: only http:// URLs are supported",
    "file:///h": "file:///h: only http:// URLs are supported",
    "http://h:0/": "http://h:0/: there is no port 0",
    "http://me:secret@h/": "http://h: a user name is not supported",
  };
  await Promise.all(
    Object.entries(complaints).map(async ([bad, complaint]) =>
      assertRefusal(
        await run("http_client", server.url, bad),
        complaint,
        "http_client",
      )
    ),
  );
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
  assertEquals(
    result.out.split("\n").at(-1),
    `${whole.url}/ got ${headers.length + 9} bytes`,
  );
  const complaints = result.err.trimEnd().split("\n");
  assertEquals(complaints.slice(0, 3), [
    `${reset.url}/: connection closed without an answer`,
    `${truncated.url}/: connection closed after ${headers.length + 4} of ${
      headers.length + 9
    } bytes`,
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
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const url = new URL(`http://127.0.0.1:${listener.addr.port}`);
  const logger = createLogger(url.href, "INFO");
  const client = new HttpClient(url, { logger, patience: 50 });
  const silent = listener.accept().then((conn) =>
    new Response(conn.readable).text()
  );
  await loop();
  await silent;
  assertEquals(client.failure, "no answer for 0.05 s");
});

Deno.test("loop_integration makes single steps, then 60 a second, while pages arrive", async () => {
  const { code, out, err } = await run("loop_integration");
  assertEquals({ code, err }, { code: 0, err: "" });
  assertDownloadsTwoPages(out);

  const counters = story(out, "main");
  assertGreater(counters.length, 3);
  assertEquals(
    counters,
    counters.map((_, index) => `loop_counter=${index + 1}`),
  );

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

Deno.test("echo_server tells the story of a server, its handler and a client", async () => {
  const { code, out, err } = await run("echo_server");
  assertEquals({ code, err }, { code: 0, err: "" });
  assertEquals(story(out, "EchoServer"), [
    "listening on HOST",
    "handleAccepted() -> HOST",
    "handleClose()",
  ]);
  const sends = (lines: string[]) =>
    lines.filter((line) => line.startsWith("handleWrite()"))
      .map((line) => Number(/\d+/.exec(line)![0]));
  const others = (lines: string[]) =>
    lines.filter((line) => !line.startsWith("handleWrite()"));

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
  assertEquals(others(handler), [
    "handleRead() -> 737 bytes",
    "handleClose()",
  ]);
  for (const answer of [true, false]) {
    assertStringIncludes(out, `EchoHandler: writable() -> ${answer}\n`);
  }
  assert(out.endsWith("\nEchoClient: RECEIVED COPY OF MESSAGE"));
});

/** Starts the server and connects to it. */
async function startServing(): Promise<{ server: Child; port: number }> {
  const server = await start("echo_server", "--serve");
  const line = await server.until("listening on 127.0.0.1:");
  return { server, port: Number(line.split(":").at(-1)) };
}

/** Reads until as many bytes have come, or the end. */
async function readText(conn: Deno.Conn, size = Infinity): Promise<string> {
  const buffer = new Uint8Array(4_096);
  const decoder = new TextDecoder();
  let received = "";
  while (received.length < size) {
    const length = await conn.read(buffer);
    if (length === null) break;
    received += decoder.decode(buffer.subarray(0, length), { stream: true });
  }
  return received;
}

Deno.test({
  name: "echo_server --serve has two clients at once and ends gracefully",
  ignore: isWindows, // SIGINT cannot be sent there
  async fn() {
    const { server, port } = await startServing();
    await using _ = server;
    using first = await Deno.connect({ hostname: "127.0.0.1", port });
    using second = await Deno.connect({ hostname: "127.0.0.1", port });
    for (const word of ["spam", "eggs", "\x1b[2J"]) {
      await first.write(bytes(`1 ${word}`));
      await second.write(bytes(`2 ${word}`));
      assertEquals(await readText(second, 2 + word.length), `2 ${word}`);
      assertEquals(await readText(first, 2 + word.length), `1 ${word}`);
    }

    const long = "It's only resting. ".repeat(500);
    await first.write(bytes(long));
    await second.write(bytes(long));
    server.kill("SIGINT");
    await server.until("main: SIGINT: closing");
    assertEquals(await readText(first), long);
    assertEquals(await readText(second), long);
    await Promise.all([first.closeWrite(), second.closeWrite()]);

    const { code, out, err } = await server.end();
    assertEquals({ code, err }, { code: 0, err: "" });
    assertEquals(out.match(/SIGINT|listening/g), ["listening", "SIGINT"]);
    assertStringIncludes(out, '"1 \\u001b[2J"');
    assert(!out.includes("\x1b"), "what a client says is escaped");
  },
});

Deno.test("echo_server --serve shows a letter that comes in two halves", async () => {
  const { server, port } = await startServing();
  await using _ = server;
  using conn = await Deno.connect({ hostname: "127.0.0.1", port });
  const [first = 0, second = 0] = bytes("é");
  await conn.write(Uint8Array.of(first));
  await server.until('handleWrite() -> 1 bytes ""');
  await conn.write(Uint8Array.of(second));
  await server.until('handleRead() -> 1 bytes "é"');
  await server.until('handleWrite() -> 1 bytes "é"');
});

Deno.test("echo_server --serve sends all back to a client that stops sending", async () => {
  const { server, port } = await startServing();
  await using _ = server;
  using conn = await Deno.connect({ hostname: "127.0.0.1", port });
  const long = "Pining for the fjords. ".repeat(2_000);
  const sending = conn.write(bytes(long)).then(() => conn.closeWrite());
  assertEquals(await readText(conn), long);
  await sending;
});

/** Whether this machine has `nc`, in any of its variants. */
function hasNetcat(): boolean {
  try {
    const { stderr, stdout } = new Deno.Command("nc", { args: ["-h"] })
      .outputSync();
    return stderr.length + stdout.length > 0;
  } catch {
    return false;
  }
}

Deno.test({
  name: "echo_server --serve is good for nc (skipped where there is none)",
  ignore: !hasNetcat(),
  async fn() {
    const { server, port } = await startServing();
    await using _ = server;
    await using client = new Child("nc", ["127.0.0.1", `${port}`]);
    await client.write("spam\n");
    assertEquals(await client.until("spam"), "spam");
  },
});

Deno.test("echo_server refuses wrong arguments", async () => {
  const cases: [string[], string][] = [
    [["--spam"], 'Unknown option "--spam"'],
    [["8080"], 'PORT needs --serve, got "8080" alone'],
    [["--serve", "8080", "spam"], 'Unexpected argument "spam"'],
    [["--serve=8080"], '--serve takes no value, got "8080"'],
    [["--serve", "-1"], 'Unknown option "-1"'],
    ...["spam", "", "1.5", "65536", "1e3"].map((port): [string[], string] => [
      [port, "--serve"],
      `PORT must be from 0 to 65535, got "${port}"`,
    ]),
  ];
  await Promise.all(
    cases.map(async ([args, complaint]) =>
      assertRefusal(
        await run("echo_server", ...args),
        complaint,
        "echo_server",
      )
    ),
  );
});

Deno.test("echo_server says that its port is taken", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const { code, out, err } = await run("echo_server", "--serve", `${port}`);
  assertEquals({ code, out }, { code: 1, out: "" });
  assertMatch(err, new RegExp(`^Cannot listen on 127.0.0.1:${port}: [^:]+\n$`));
});

/** The lengths of the chunks that were logged. */
function chunkLengths(output: string): number[] {
  return Array.from(
    output.matchAll(/^FileReader: handleRead\(\) -> (\d+) bytes/gm),
    ([, length]) => Number(length),
  );
}

Deno.test("file_reader reads itself in chunks of 256 bytes", async () => {
  const { code, out, err } = await run("file_reader");
  assertEquals({ code, err }, { code: 0, err: "" });
  const { size } = await Deno.stat(`${root}/examples/file_reader.ts`);
  const lengths = Array<number>(Math.floor(size / 256)).fill(256);
  if (size % 256 > 0) lengths.push(size % 256);
  assertEquals(chunkLengths(out), lengths);
  assertEquals(out.split("\n").slice(-2), [
    "FileReader: handleClose()",
    `${size} bytes in ${lengths.length} chunks`,
  ]);
});

Deno.test("file_reader reads any file and escapes what it shows", async () => {
  const path = await Deno.makeTempFile();
  try {
    const empty = await run("file_reader", path);
    assertEquals(empty, {
      code: 0,
      out: "FileReader: handleClose()\n0 bytes in 0 chunks",
      err: "",
    });
    await Deno.writeTextFile(path, "\x1b[2J\x9b\u2028\u202ecafé");
    const { out } = await run("file_reader", path);
    assertStringIncludes(
      out,
      'handleRead() -> 17 bytes "\\u001b[2J\\u{9b}\\u{2028}\\u{202e}café"\n',
    );
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("file_reader shows what a pipe brings as soon as it comes", async () => {
  await using reader = await start("file_reader", "-");
  await reader.write("a\n");
  await reader.until('handleRead() -> 2 bytes "a\\n"');
  await reader.write("b\n");
  await reader.until('handleRead() -> 2 bytes "b\\n"');
  const { code, out, err } = await reader.end();
  assertEquals({ code, err }, { code: 0, err: "" });
  assertEquals(out.split("\n").at(-1), "4 bytes in 2 chunks");
});

Deno.test("file_reader names what it cannot read", async () => {
  for (const [path, shown] of [["no/such\nfile", "no/such\\nfile"], ["", ""]]) {
    const { code, out, err } = await run("file_reader", path!);
    assertEquals({ code, out }, { code: 1, out: "" });
    const [name, reason, ...rest] = err.split(": ");
    assertEquals(name, `Cannot read "${shown}"`);
    assertMatch(reason!, /^.+\n$/);
    assertEquals(rest, [], "the path is named once");
  }
  const folder = await run("file_reader", root);
  assertEquals(folder.code, 1);
  assertMatch(folder.err, /^.+\n$/);
  assertStringIncludes(folder.err, root);
  const second = await run("file_reader", "a", "b\n");
  assertRefusal(second, 'Unexpected argument "b\\n"', "file_reader");
  const option = await run("file_reader", "--spam");
  assertRefusal(option, 'Unknown option "--spam"', "file_reader");
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

const EXAMPLES = [...SOURCES]
  .filter(([, source]) => source.includes("import.meta.main"))
  .map(([name]) => name.slice(0, -".ts".length));

/** How each example is called, as its usage says. */
async function usageOf(name: string): Promise<string> {
  const { code, out, err } = await run(name, "--help");
  assertEquals({ code, err }, { code: 0, err: "" });
  const [usage = "", blank, ...rest] = out.split("\n");
  assertEquals(blank, "");
  assertGreater(rest.length, 0, "it says what it does");
  return usage;
}

Deno.test("each example prints its usage when it is asked for help", async () => {
  assertGreater(EXAMPLES.length, 9);
  for (const name of EXAMPLES) {
    const usage = await usageOf(name);
    assert(usage.startsWith(`Usage: ${name}.ts `), usage);
    assert(usage.endsWith(" [--help]"), usage);
    // Wherever it stands, and whatever else is asked for.
    const { code, out } = await run(name, "a", "--spam", "-h");
    assertEquals([code, out.split("\n")[0]], [0, usage]);
  }
});

Deno.test("each example refuses an option that it does not know", async () => {
  for (const name of EXAMPLES) {
    const result = await run(name, "--spam=1");
    assertRefusal(result, 'Unknown option "--spam"', name);
  }
});

Deno.test("deno task example passes --help on, and has its own", async () => {
  for (
    const [args, usage] of [
      [["--help"], /^Usage: deno task example NAME /],
      [["chat_server", "--help"], /^Usage: chat_server\.ts /],
    ] as const
  ) {
    const task = ["task", "--quiet", "example", ...args];
    await using child = new Child(Deno.execPath(), task);
    const { code, out } = await child.end();
    assertEquals(code, 0);
    assertMatch(out, usage);
  }
});

Deno.test("deno task example gives an example the permissions that it opens with", async () => {
  const args = ["task", "--quiet", "example", "http_server", "no/such/folder"];
  await using task = new Child(Deno.execPath(), args);
  const { code, err } = await task.end();
  assertEquals(code, 1);
  assertMatch(err, /no such file|cannot find/i);
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
  Deno.test({
    name: `${name} says its address once, and ends with SIGTERM`,
    ignore: isWindows, // there is no SIGTERM
    async fn() {
      const folder = await Deno.makeTempDir();
      try {
        await using server = await Child.start(
          ["--allow-net", `--allow-read=${folder}`, `--allow-write=${folder}`],
          name,
          ...args.map((arg) => arg.replace("FOLDER", folder)),
        );
        const line = await server.until("127.0.0.1:");
        const port = /127\.0\.0\.1:(\d+)/.exec(line)![1]!;
        server.kill("SIGTERM");
        const { code, out, err } = await server.end();
        assertEquals({ code, err }, { code: 0, err: "" });
        assertEquals(out.split(port).length, 2, out);
        assertMatch(out, /: SIGTERM: closing$/);
        await assertRejects(() => Deno.connect({ port: Number(port) }));
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    },
  });
}
