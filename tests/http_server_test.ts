/**
 * The HTTP server's conversations, over plain connections in this process, so
 * that a file left open or a timer left running fails the test.
 */

import {
  assert,
  assertEquals,
  assertLess,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { HttpConnection } from "../examples/http_connection.ts";
import { HttpServer } from "../examples/http_server.ts";
import { loop } from "../mod.ts";
import { LogLines } from "./fakes.ts";
import { Caller, Folder, runCommand, testLinux, testUnix } from "./peers.ts";
import { TestMap, turn, until } from "./support.ts";

const isLinux = Deno.build.os === "linux";
/** Larger than what the kernel takes for a client that does not read. */
const LARGE = 64 * 1024 * 1024;

/** A server that runs for one test, with a root of its own. */
class Site extends Folder implements AsyncDisposable {
  readonly map = new TestMap();
  readonly logger = new LogLines();
  readonly root = `${this.path}/root`;
  readonly server: HttpServer;
  readonly running: Promise<void>;

  constructor(files: Record<string, string> = {}, patience = 10_000) {
    super();
    Deno.mkdirSync(this.root);
    for (const [path, content] of Object.entries(files)) {
      const folder = path.replace(/[^/]*$/, "");
      Deno.mkdirSync(`${this.root}/${folder}`, { recursive: true });
      if (!path.endsWith("/")) this.write(`root/${path}`, content);
    }
    const { root, map, logger } = this;
    this.server = new HttpServer({ root, map, logger, patience });
    this.running = loop({ map });
  }

  connect(): Promise<Caller> {
    return Caller.connect((this.server.addr as Deno.NetAddr).port);
  }

  /** A client that has asked for a large file, and reads no more of it. */
  async download(input = get("/large")): Promise<Caller> {
    // A file full of zeros takes no room on the disk.
    Deno.truncateSync(this.write("root/large"), LARGE);
    const client = await this.connect();
    await client.say(input);
    await client.until("\r\n\r\n");
    return client;
  }

  /** All that comes for an input, up to the end of the connection. */
  async ask(input: string): Promise<string> {
    using client = await this.connect();
    await client.say(input);
    return await client.rest();
  }

  /** Checks that one answer has these lines at its head, and this body. */
  async expect(input: string, lines: string[], body: string): Promise<void> {
    const [head = "", ...rest] = (await this.ask(input)).split("\r\n\r\n");
    for (const line of lines) {
      assertStringIncludes(`${head}\r\n`, `${line}\r\n`);
    }
    assertEquals(rest.join("\r\n\r\n"), body);
  }

  /** The status for a target. */
  async status(target: string): Promise<number> {
    const answer = await this.ask(last("GET", target));
    return Number(answer.split(" ")[1]);
  }

  get connections(): HttpConnection[] {
    return [...this.map].filter((one) => one instanceof HttpConnection);
  }

  /** The files below the root that this process holds open. */
  get openFiles(): number {
    return [...Deno.readDirSync("/proc/self/fd")].filter(({ name }) => {
      try {
        return Deno.readLinkSync(`/proc/self/fd/${name}`).startsWith(this.root);
      } catch {
        return false; // It was the one that lists them.
      }
    }).length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const member of [...this.map]) member.abort();
    await this.running;
    if (isLinux) await until(() => this.openFiles === 0, "the server");
    this[Symbol.dispose]();
    this.map.check();
  }
}

/** A request after which others may come. */
function get(target: string, headers = "", method = "GET"): string {
  return `${method} ${target} HTTP/1.1\r\nHost: h\r\n${headers}\r\n`;
}

/** The last request of a connection. */
function last(method: string, target: string, headers = ""): string {
  return get(target, `${headers}Connection: close\r\n`, method);
}

/** The statuses of all answers whose bodies hold no status line. */
function statuses(answers: string): number[] {
  return [...answers.matchAll(/HTTP\/1\.1 (\d+) /g)].map(([, text]) =>
    Number(text)
  );
}

Deno.test("HttpServer answers with the headers that a cache needs", async () => {
  await using site = new Site({ "a.html": "spam" });
  Deno.utimeSync(`${site.root}/a.html`, 0, 1_700_000_000);
  const lines = [
    "Last-Modified: Tue, 14 Nov 2023 22:13:20 GMT",
    "Content-Type: text/html; charset=utf-8",
    "Content-Length: 4",
    "Accept-Ranges: bytes",
    "Connection: close",
  ];
  const request = last("GET", "/a.html");
  await site.expect(request, ["HTTP/1.1 200 OK", ...lines], "spam");
  const answer = await site.ask(request);
  assertMatch(answer, /\nDate: \w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT\r\n/);
  assertMatch(answer, /\nETag: "[^"]+"\r\n/);
});

Deno.test("HttpServer sends no body with HEAD, whatever the status", async () => {
  await using site = new Site({ "a": "spam" });
  await site.expect(last("HEAD", "/a"), ["Content-Length: 4"], "");
  await site.expect(last("HEAD", "/b"), ["HTTP/1.1 404 Not Found"], "");
});

Deno.test("HttpServer sends parts of a file, and nothing of one that is known", async () => {
  await using site = new Site({ "a": "0123456789" });
  const ask = (header: string) => last("GET", "/a", `${header}\r\n`);
  const part = ["HTTP/1.1 206 Partial Content", "Content-Range: bytes 2-4/10"];
  await site.expect(ask("Range: bytes=2-4"), part, "234");
  const none = [
    "HTTP/1.1 416 Range Not Satisfiable",
    "Content-Range: bytes */10",
  ];
  await site.expect(
    ask("Range: bytes=10-"),
    none,
    "416 Range Not Satisfiable\n",
  );
  const tag = /ETag: (.*)\r/.exec(await site.ask(ask("X: y")))![1];
  const known = ["HTTP/1.1 304 Not Modified"];
  await site.expect(ask(`If-None-Match: ${tag}`), known, "");
});

Deno.test("HttpServer serves index.html for a directory, behind a slash", async () => {
  const files = { "index.html": "a", "sub/index.html": "b", "c/": "" };
  await using site = new Site(files);
  await site.expect(last("GET", "/"), [], "a");
  await site.expect(last("GET", "/sub/?x"), [], "b");
  const moved = ["HTTP/1.1 301 Moved Permanently", "Location: /sub/?x/y"];
  await site.expect(last("GET", "/sub?x/y"), moved, "301 Moved Permanently\n");
  assertEquals(await site.status("/c/"), 404);
  assertEquals(await site.status("/index.html/"), 404);
  assertEquals(await site.status(`/${"x".repeat(300)}`), 404);
});

testUnix("HttpServer follows links, but not out of the root", async () => {
  await using site = new Site({ "a": "spam", "sub/index.html": "eggs" });
  site.write("secret", "secret");
  Deno.mkdirSync(`${site.path}/root2`); // begins like the root's name
  site.write("root2/secret", "secret");
  const links = {
    inside: "a",
    folder: "sub",
    relative: "../secret",
    absolute: `${site.path}/secret`,
    twin: "../root2",
    up: "..",
    loop: "loop",
    dangling: "nowhere",
  };
  for (const [name, target] of Object.entries(links)) {
    Deno.symlinkSync(target, `${site.root}/${name}`);
  }
  assertEquals(await site.status("/inside"), 200);
  assertEquals(await site.status("/folder"), 301);
  assertEquals(await site.status("/folder/"), 200);
  assertEquals(await site.status("/up/root/a"), 200); // It leads back in.
  const outside = "/relative /absolute /twin /twin/ /twin/secret /up /up/ " +
    "/up/secret /loop /dangling";
  for (const target of outside.split(" ")) {
    assertEquals(await site.status(target), 404, target);
  }
});

testUnix("HttpServer does not wait for a pipe in the root", async () => {
  await using site = new Site();
  const path = `${site.root}/pipe`;
  assertEquals((await runCommand("mkfifo", [path])).code, 0);
  assertEquals(await site.status("/pipe"), 404);
});

Deno.test("HttpServer goes on after a refusal, and takes a body for no request", async () => {
  await using site = new Site({ "a": "spam" });
  const smuggled = get("/a");
  const length = `Content-Length: ${smuggled.length}\r\n`;
  const answers = await site.ask(
    get("/none") + get("/a", "Range: bytes=9-\r\n") + get("/%") +
      get("/", length, "POST") + smuggled + get("/", "", "SPAM") +
      get("/", "Transfer-Encoding: chunked\r\n", "PUT") +
      `${smuggled.length.toString(16)}\r\n${smuggled}\r\n0\r\n\r\n` +
      last("GET", "/a"),
  );
  assertEquals(statuses(answers), [404, 416, 400, 405, 501, 405, 200]);
  assertEquals(answers.match(/\r\nAllow: GET, HEAD\r\n/g)?.length, 2);
});

Deno.test("HttpServer answers the requests before nonsense, and ends", async () => {
  await using site = new Site({ "a": "spam" });
  const both = "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n";
  const cases: [string, number][] = [
    ["spam\r\n", 400],
    [get("/a", both, "POST"), 400],
    ["GET / HTTP/1.1\r\n\r\n", 400],
    ["GET / HTTP/3.0\r\n", 505],
    [`GET /${"x".repeat(8_500)} HTTP/1.1\r\nHost: h\r\n\r\n`, 414],
    [`GET /${"x".repeat(20_000)} HTTP/1.1\r\nHost: h\r\n\r\n`, 414],
    [get("/a", `X: ${"y".repeat(20_000)}\r\n`), 431],
    [get("/", "Content-Length: 1000000\r\n", "POST"), 413],
    [get("/", "Expect: 100-continue\r\nContent-Length: 9\r\n", "PUT"), 405],
  ];
  for (const [nonsense, status] of cases) {
    const answers = await site.ask(get("/a") + nonsense + get("/a"));
    assertEquals(statuses(answers), [200, status], nonsense.slice(0, 60));
    assertStringIncludes(answers, "\r\nConnection: close\r\n");
  }
  assert(!site.logger.lines.some((line) => line.includes("uncaught")));
});

Deno.test("HttpServer lets HTTP/1.0 decide whether the connection stays", async () => {
  await using site = new Site({ "a": "spam" });
  const old = (headers = "") => `GET /a HTTP/1.0\r\n${headers}\r\n`;
  const answers = await site.ask(old("Connection: keep-alive\r\n") + old());
  assertEquals(statuses(answers), [200, 200]);
  const [first = "", second = ""] = answers.split("spam");
  assertStringIncludes(first, "\r\nConnection: keep-alive\r\n");
  assertStringIncludes(second, "\r\nConnection: close\r\n");
});

Deno.test("HttpServer answers a client that has ended its side", async () => {
  await using site = new Site({ "a": "spam" });
  using client = await site.connect();
  await client.say(get("/a") + get("/a"));
  await client.closeWrite();
  assertEquals(statuses(await client.rest()), [200, 200]);
});

Deno.test("HttpServer takes no more requests while a client does not read", async () => {
  await using site = new Site();
  using client = await site.download();
  const [connection] = site.connections;
  await until(() => connection!.bufferedAmount > 0, "the server");
  let reads = 0;
  connection!.handleRead = () => void reads++;
  client.say(get("/large").repeat(100_000)).catch(() => {}); // Too much.
  for (let passes = 0; passes < 100; passes++) await turn();
  assertEquals(reads, 0);
  assertLess(connection!.bufferedAmount, 200_000);
  // Deno holds a second descriptor of the file while it reads.
  if (isLinux) await until(() => site.openFiles === 1, "the server");
  assertEquals(site.logger.lines.length, 1);
});

testLinux("HttpServer closes the file when its client leaves", async () => {
  await using site = new Site();
  const client = await site.download(get("/large").repeat(3));
  await until(() => site.openFiles === 1, "the server");
  client[Symbol.dispose]();
  await until(
    () => site.openFiles === 0 && site.connections.length === 0,
    "the server",
  );
});

Deno.test("HttpServer ends the connection when a file shrinks meanwhile", async () => {
  await using site = new Site();
  using client = await site.download(get("/large") + get("/large"));
  Deno.truncateSync(`${site.root}/large`, 100);
  const rest = await client.rest();
  assertLess(rest.length, LARGE);
  assertStringIncludes(
    site.logger.lines.at(-1)!,
    "The file shrank while it was sent",
  );
});

Deno.test("HttpServer sends the promised part of a file that grows", async () => {
  await using site = new Site();
  using client = await site.download(get("/large") + last("HEAD", "/large"));
  Deno.truncateSync(`${site.root}/large`, LARGE + 1);
  const rest = await client.rest();
  assertEquals(rest.indexOf("HTTP/1.1"), LARGE);
  assertStringIncludes(rest, `Content-Length: ${LARGE + 1}\r\n`);
});

Deno.test("HttpServer gives up on clients that say nothing, or not enough", async () => {
  // All at once: it is long enough to say something on a busy machine.
  await using site = new Site({ "a": "spam" }, 2_000);
  const cases: [string, number[]][] = [
    ["", []],
    [get("/a"), [200]],
    ["GET / HT", [408]],
    [get("/a") + "\r\n", [200, 408]],
    [get("/a", "Content-Length: 10\r\n") + "1234", [408]],
  ];
  await Promise.all(cases.map(async ([input, expected]) => {
    assertEquals(statuses(await site.ask(input)), expected, input);
  }));
});

Deno.test("HttpServer gives up on a request that trickles in", async () => {
  await using site = new Site({}, 100);
  using client = await site.connect();
  let isOver = false;
  const answer = client.rest().finally(() => isOver = true);
  await client.say("GET / HTTP/1.1\r\n");
  while (!isOver) {
    await client.say("X: y\r\n").catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assertEquals(statuses(await answer), [408]);
});

Deno.test("HttpServer gives up on a client that does not take its answer", async () => {
  await using site = new Site({}, 150);
  using client = await site.download();
  await until(() => site.connections.length === 0, "the server");
  assertLess((await client.rest()).length, LARGE);
});

Deno.test("HttpServer escapes the text of clients in its log", async () => {
  await using site = new Site();
  await site.ask(last("GET", "/%1b%5b2J?\x7e"));
  await site.ask("GET /\x1b[2J HTTP/1.1\r\n\r\n");
  const lines = site.logger.lines.join("\n");
  assertMatch(lines, /^debug: \S+ "GET" "\/%1b%5b2J\?~" -> 404\n/);
  assertMatch(lines, /\ndebug: \S+ bad request -> 400$/);
});
