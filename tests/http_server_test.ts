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
import { loop, shutdown } from "../mod.ts";
import { Caller } from "./peers.ts";
import { PATIENCE, TestMap, turn, until as waitUntil } from "./support.ts";

const isWindows = Deno.build.os === "windows";
const isLinux = Deno.build.os === "linux";
/** Larger than what the kernel takes for a client that does not read. */
const LARGE = 64 * 1024 * 1024;

/** A server that runs for one test, with a root of its own. */
class Site implements AsyncDisposable {
  readonly map = new TestMap();
  readonly log: string[] = [];
  readonly folder = Deno.makeTempDirSync();
  readonly server: HttpServer;
  readonly running: Promise<void>;

  constructor(files: Record<string, string> = {}, patience = 10_000) {
    Deno.mkdirSync(this.root);
    for (const [path, content] of Object.entries(files)) {
      const folder = path.replace(/[^/]*$/, "");
      Deno.mkdirSync(`${this.root}/${folder}`, { recursive: true });
      if (!path.endsWith("/")) this.write(path, content);
    }
    const write = (line: string) => void this.log.push(line);
    const logger = { debug: write, info: write, warn: write, error: write };
    this.server = new HttpServer({
      root: this.root,
      map: this.map,
      logger,
      patience,
    });
    this.running = loop({ map: this.map });
  }

  get root(): string {
    return `${this.folder}/root`;
  }

  write(path: string, content: string): void {
    Deno.writeTextFileSync(`${this.root}/${path}`, content);
  }

  /** A file full of zeros that takes no room on the disk. */
  writeLarge(path: string): void {
    this.write(path, "");
    Deno.truncateSync(`${this.root}/${path}`, LARGE);
  }

  connect(): Promise<Caller> {
    const { port } = this.server.addr as Deno.NetAddr;
    return Caller.connect(port);
  }

  /** All that comes for an input, up to the end of the connection. */
  async ask(input: string): Promise<string> {
    using client = await this.connect();
    await client.say(input);
    return await client.rest();
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
    if (isLinux) await until(() => this.openFiles === 0);
    Deno.removeSync(this.folder, { recursive: true });
    this.map.check();
  }
}

/** Waits until `done()` is true. */
function until(done: () => boolean): Promise<void> {
  return waitUntil(done, `${done}`);
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

/** The body of a single answer. */
function bodyOf(answer: string): string {
  return answer.slice(answer.indexOf("\r\n\r\n") + 4);
}

Deno.test("HttpServer answers with the headers that a cache needs", async () => {
  await using site = new Site({ "a.html": "spam" });
  Deno.utimeSync(`${site.root}/a.html`, 0, 1_700_000_000);
  const answer = await site.ask(last("GET", "/a.html"));
  const lines = answer.split("\r\n");
  assertEquals(lines[0], "HTTP/1.1 200 OK");
  assertMatch(
    answer,
    /\r\nDate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n/,
  );
  assertMatch(answer, /\r\nETag: "[^"]+"\r\n/);
  assert(lines.includes("Last-Modified: Tue, 14 Nov 2023 22:13:20 GMT"));
  assert(lines.includes("Content-Type: text/html; charset=utf-8"));
  assert(lines.includes("Content-Length: 4"));
  assert(lines.includes("Accept-Ranges: bytes"));
  assert(lines.includes("Connection: close"));
  assertEquals(lines.at(-1), "spam");
});

Deno.test("HttpServer sends no body with HEAD, whatever the status", async () => {
  await using site = new Site({ "a": "spam" });
  const answer = await site.ask(last("HEAD", "/a"));
  assertStringIncludes(answer, "Content-Length: 4\r\n");
  assertEquals(bodyOf(answer), "");
  const missing = await site.ask(last("HEAD", "/b"));
  assertStringIncludes(missing, "HTTP/1.1 404 Not Found\r\n");
  assertEquals(bodyOf(missing), "");
});

Deno.test("HttpServer sends parts of a file, and nothing of one that is known", async () => {
  await using site = new Site({ "a": "0123456789" });
  const part = await site.ask(last("GET", "/a", "Range: bytes=2-4\r\n"));
  assertStringIncludes(part, "HTTP/1.1 206 Partial Content\r\n");
  assertStringIncludes(part, "Content-Range: bytes 2-4/10\r\n");
  assertEquals(bodyOf(part), "234");
  const none = await site.ask(last("GET", "/a", "Range: bytes=10-\r\n"));
  assertStringIncludes(none, "HTTP/1.1 416 ");
  assertStringIncludes(none, "Content-Range: bytes */10\r\n");
  const tag = /ETag: (.*)\r/.exec(part)![1];
  const known = await site.ask(last("GET", "/a", `If-None-Match: ${tag}\r\n`));
  assertStringIncludes(known, "HTTP/1.1 304 Not Modified\r\n");
  assertEquals(bodyOf(known), "");
});

Deno.test("HttpServer serves index.html for a directory, behind a slash", async () => {
  await using site = new Site({
    "index.html": "a",
    "sub/index.html": "b",
    "c/": "",
  });
  assertEquals(bodyOf(await site.ask(last("GET", "/"))), "a");
  assertEquals(bodyOf(await site.ask(last("GET", "/sub/?x"))), "b");
  const moved = await site.ask(last("GET", "/sub?x/y"));
  assertStringIncludes(moved, "HTTP/1.1 301 ");
  assertStringIncludes(moved, "\r\nLocation: /sub/?x/y\r\n");
  assertEquals(await site.status("/c/"), 404);
  assertEquals(await site.status("/index.html/"), 404);
  assertEquals(await site.status(`/${"x".repeat(300)}`), 404);
});

Deno.test({
  name: "HttpServer follows links, but not out of the root",
  ignore: isWindows,
  async fn() {
    await using site = new Site({ "a": "spam", "sub/index.html": "eggs" });
    const link = (target: string, name: string) =>
      Deno.symlinkSync(target, `${site.root}/${name}`);
    Deno.writeTextFileSync(`${site.folder}/secret`, "secret");
    // A name that merely begins like the root's.
    Deno.mkdirSync(`${site.folder}/root2`);
    Deno.writeTextFileSync(`${site.folder}/root2/secret`, "secret");
    link("a", "inside");
    link("sub", "folder");
    link("../secret", "relative");
    link(`${site.folder}/secret`, "absolute");
    link("../root2", "twin");
    link("..", "up");
    link("loop", "loop");
    link("nowhere", "dangling");
    assertEquals(await site.status("/inside"), 200);
    assertEquals(await site.status("/folder"), 301);
    assertEquals(await site.status("/folder/"), 200);
    for (
      const target of [
        ...["/relative", "/absolute", "/twin", "/twin/", "/twin/secret"],
        ...["/up", "/up/", "/up/secret", "/up/root/a", "/loop", "/dangling"],
      ]
    ) {
      const expected = target === "/up/root/a" ? 200 : 404; // It leads back in.
      assertEquals(await site.status(target), expected, target);
    }
  },
});

Deno.test({
  name: "HttpServer does not wait for a pipe in the root",
  ignore: isWindows,
  async fn() {
    await using site = new Site();
    const path = `${site.root}/pipe`;
    const { success } = await new Deno.Command("mkfifo", { args: [path] })
      .output();
    assert(success);
    assertEquals(await site.status("/pipe"), 404);
  },
});

Deno.test("HttpServer answers many pipelined requests in their order", async () => {
  const files = Object.fromEntries(
    Array.from(
      { length: 10 },
      (_, i) => [`${i}`, `<${i}>`.repeat(1 + 5_000 * (i % 2))],
    ),
  );
  await using site = new Site(files);
  using client = await site.connect();
  const count = 1_000;
  const targets = Array.from({ length: count }, (_, i) => `/${(i * 7) % 10}`);
  const requests = targets.map((target) => get(target)).join("");
  const said = client.say(requests + last("GET", "/none"));
  const answers = await client.rest();
  await said;
  let at = 0;
  for (const target of targets) {
    at = answers.indexOf("\r\n\r\n", at) + 4;
    const body = files[target.slice(1)]!;
    assertEquals(answers.slice(at, at + body.length), body);
    at += body.length;
  }
  assertStringIncludes(answers.slice(at), "HTTP/1.1 404 ");
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

Deno.test("HttpServer answers what came before nonsense, and ends", async () => {
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
  assertEquals(site.log.filter((line) => line.includes("uncaught")), []);
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

Deno.test("HttpServer answers one client while another is silent", async () => {
  await using site = new Site({ "a": "spam" }, 60_000);
  using silent = await site.connect();
  using client = await site.connect();
  for (let count = 0; count < 3; count++) {
    await client.say(get("/a"));
    await client.until("spam");
  }
  await silent.say(last("GET", "/a"));
  assertEquals(statuses(await silent.rest()), [200]);
});

Deno.test("HttpServer understands a request however it is split", async () => {
  await using site = new Site({ "a": "spam" });
  const body = "Transfer-Encoding: chunked\r\n";
  const input = `${get("/a", body)}4\r\nspam\r\n0\r\n\r\n${last("GET", "/a")}`;
  for (let at = 1; at < input.length; at += 3) {
    using client = await site.connect();
    await client.say(input.slice(0, at));
    await turn();
    await client.say(input.slice(at));
    assertEquals(statuses(await client.rest()), [200, 200], `at ${at}`);
  }
});

Deno.test("HttpServer takes no more requests while a client does not read", async () => {
  await using site = new Site();
  site.writeLarge("large");
  using client = await site.connect();
  await client.say(get("/large"));
  await client.until("\r\n\r\n");
  const [connection] = site.connections;
  await until(() => connection!.bufferedAmount > 0);
  let reads = 0;
  connection!.handleRead = () => void reads++;
  client.say(get("/large").repeat(100_000)).catch(() => {}); // Too much.
  for (let passes = 0; passes < 100; passes++) await turn();
  assertEquals(reads, 0);
  assertLess(connection!.bufferedAmount, 200_000);
  // Deno holds a second descriptor of the file while it reads.
  if (isLinux) await until(() => site.openFiles === 1);
  assertEquals(site.log.length, 1);
});

Deno.test({
  name: "HttpServer closes the file when its client leaves",
  ignore: !isLinux,
  async fn() {
    await using site = new Site();
    site.writeLarge("large");
    const client = await site.connect();
    await client.say(get("/large").repeat(3));
    await client.until("\r\n\r\n");
    await until(() => site.openFiles === 1);
    client[Symbol.dispose]();
    await until(() => site.openFiles === 0 && site.connections.length === 0);
  },
});

Deno.test("HttpServer ends the connection when a file shrinks meanwhile", async () => {
  await using site = new Site();
  site.writeLarge("large");
  using client = await site.connect();
  await client.say(get("/large") + get("/large"));
  await client.until(`Content-Length: ${LARGE}\r\n`);
  Deno.truncateSync(`${site.root}/large`, 100);
  const rest = await client.rest();
  assertLess(rest.length, LARGE);
  assertStringIncludes(site.log.at(-1)!, "The file shrank while it was sent");
});

Deno.test("HttpServer sends of a file that grows what it promised", async () => {
  await using site = new Site();
  site.writeLarge("large");
  using client = await site.connect();
  await client.say(get("/large") + last("HEAD", "/large"));
  await client.until("\r\n\r\n");
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
  site.writeLarge("large");
  using client = await site.connect();
  await client.say(get("/large"));
  await client.until("\r\n\r\n");
  await until(() => site.connections.length === 0);
  assertLess((await client.rest()).length, LARGE);
});

Deno.test("HttpServer lets each client have what it waits for at a shutdown", async () => {
  await using site = new Site();
  site.writeLarge("large");
  using idle = await site.connect();
  using busy = await site.connect();
  await busy.say(get("/large"));
  await busy.until("\r\n\r\n");
  await until(() => site.connections.length === 2);
  const ended = shutdown({ map: site.map, deadline: PATIENCE });
  assertEquals(await idle.rest(), "");
  assertEquals((await busy.rest()).length, LARGE);
  assertEquals(await ended, { listeners: 1, closed: 2, aborted: 0 });
  await site.running;
});

Deno.test("HttpServer waits for nobody beyond the deadline of a shutdown", async () => {
  await using site = new Site();
  site.writeLarge("large");
  using client = await site.connect();
  await client.say(get("/large"));
  await client.until("\r\n\r\n");
  const ended = await shutdown({ map: site.map, deadline: 20 });
  assertEquals(ended, { listeners: 1, closed: 0, aborted: 1 });
  assertLess((await client.rest()).length, LARGE);
});

Deno.test("HttpServer shows nothing of what a client sends as it is", async () => {
  await using site = new Site();
  await site.ask(last("GET", "/%1b%5b2J?\x7e"));
  await site.ask("GET /\x1b[2J HTTP/1.1\r\n\r\n");
  assertEquals(site.log.map((line) => line.replace(/^127.0.0.1:\d+ /, "")), [
    '"GET" "/%1b%5b2J?~" -> 404',
    "bad request -> 400",
  ]);
});
