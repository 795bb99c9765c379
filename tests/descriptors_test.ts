/** A real server whose descriptors run out, and come back. */

import {
  assert,
  assertEquals,
  assertGreater,
  assertLess,
  assertLessOrEqual,
  assertStringIncludes,
} from "@std/assert";
import { Child } from "./peers.ts";
import { bytes, PATIENCE, text, until } from "./support.ts";

/** How many descriptors the server may have, those of the runtime among them. */
const LIMIT = 64;
/** For so many ms it is to be out of descriptors: tries are counted by the second. */
const A_WHILE = 1_500;

/** A connection that asks, and gets one answer at a time. */
class Client implements Disposable {
  readonly #conn: Deno.Conn;

  constructor(conn: Deno.Conn) {
    this.#conn = conn;
  }
  /** The answer; empty at the end. */
  async ask(question: string): Promise<string> {
    await this.#conn.write(bytes(question));
    const buffer = new Uint8Array(64);
    const length = await this.#conn.read(buffer).catch(() => 0);
    // The server waits for this end, too.
    if (!length) await this.#conn.closeWrite().catch(() => {});
    return text(buffer.subarray(0, length ?? 0));
  }
  async askNumber(question: string): Promise<number> {
    const answer = await this.ask(question);
    assert(/^\d+$/.test(answer), `${question}: ${answer}`);
    return Number(answer);
  }
  [Symbol.dispose](): void {
    this.#conn.close();
  }
}

/** The server in a process of its own, and one client from its first minute. */
class CrowdedServer implements AsyncDisposable {
  readonly child: Child;
  #steady: Client | null = null;
  #port = 0;
  #descriptors = 0;

  constructor() {
    const program =
      `${import.meta.dirname}/../tools/test_programs/crowded_server.ts`;
    const run = `"${Deno.execPath()}" run --quiet -A "${program}"`;
    this.child = new Child("sh", ["-c", `ulimit -n ${LIMIT} && exec ${run}`]);
  }

  static async start(): Promise<CrowdedServer> {
    await using stack = new AsyncDisposableStack();
    const server = stack.use(new CrowdedServer());
    const line = await server.child.until("port ");
    server.#port = Number(line.slice("port ".length));
    server.#steady = await server.connect();
    server.#descriptors = await server.steady.askNumber("descriptors");
    stack.move();
    return server;
  }

  get steady(): Client {
    return this.#steady!;
  }

  async connect(): Promise<Client> {
    const addr = { hostname: "127.0.0.1", port: this.#port };
    return new Client(await Deno.connect(addr));
  }

  /** Has it serve those it has, while it tries again and again to accept. */
  async serveForAWhile(clients: Client[]): Promise<void> {
    const end = performance.now() + A_WHILE;
    const tries = await this.steady.askNumber("tries") + 2;
    while (
      performance.now() < end || await this.steady.askNumber("tries") < tries
    ) {
      assertEquals(await this.steady.ask("and you?"), "and you?");
      for (const [i, client] of clients.entries()) {
        assertEquals(await client.ask(`${i}?`), `${i}?`);
      }
    }
  }

  /** Ends it; looks at what it has done, and at what it holds. */
  async check(): Promise<void> {
    const { steady, child } = this;
    assertGreater(await steady.askNumber("tries"), 0);
    assertLessOrEqual(await steady.askNumber("tries a second"), 20);
    // It may not have seen the end of all clients yet.
    const deadline = performance.now() + PATIENCE;
    let descriptors: number;
    do descriptors = await steady.askNumber("descriptors"); while (
      descriptors !== this.#descriptors && performance.now() < deadline
    );
    assertEquals(descriptors, this.#descriptors);
    assertEquals(await steady.ask("quit"), "");
    const { code, out, err } = await child.end();
    assertEquals({ code, err }, { code: 0, err: "" });
    const warnings = out.split("\n").filter((line) => /accepting/.test(line));
    assertEquals(warnings.length, 2, out);
    assertStringIncludes(warnings[0]!, "accepting paused");
    assertStringIncludes(warnings[1]!, "accepting resumed");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#steady?.[Symbol.dispose]();
    await this.child[Symbol.asyncDispose]();
  }
}

function test(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, ignore: Deno.build.os !== "linux", fn });
}

test("Dispatcher with more clients than descriptors serves those it has, and then the others", async () => {
  await using server = await CrowdedServer.start();
  const served: Client[] = [];
  let answers = 0;
  let isOver = false;
  const arrive = async (i: number) => {
    const client = await server.connect();
    assertEquals(await client.ask(`client ${i}`), `client ${i}`);
    answers++;
    if (isOver) client[Symbol.dispose]();
    else served.push(client);
  };
  const arrivals = Array.from({ length: 2 * LIMIT }, (_, i) => arrive(i));
  const all = Promise.all(arrivals);
  all.catch(() => {}); // Awaited below.
  await server.child.until("accepting paused");
  await server.serveForAWhile(served);
  await until(() => answers > LIMIT / 4, "the answers to the first");
  assertLess(answers, LIMIT);
  isOver = true;
  for (const client of served) client[Symbol.dispose]();
  await server.child.until("accepting resumed");
  await all;
  await server.check();
});

test("Dispatcher without descriptors survives a hook that throws, and goes on", async () => {
  await using server = await CrowdedServer.start();
  const { child, steady } = server;
  {
    using failing = await server.connect();
    assertEquals(await failing.ask("hello"), "hello");
    assertEquals(await steady.ask("fill"), "filled");
    using late = await server.connect();
    using last = await server.connect();
    await child.until("accepting paused");
    const ended = failing.ask("throw");
    assertStringIncludes(await child.until("uncaught"), "Error: told to");
    assertEquals(await ended, "");
    // That has left a descriptor for one of the two.
    assertEquals(await steady.ask("fill"), "filled");
    await server.serveForAWhile([]);
    assertEquals(await steady.ask("free"), "freed");
    await child.until("accepting resumed");
    assertEquals(await late.ask("at last"), "at last");
    assertEquals(await last.ask("me too"), "me too");
  }
  await server.check();
});
