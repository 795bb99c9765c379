/**
 * The web server under clients that keep their connections, send requests ahead
 * and are cut off: each answer is whole and belongs to its request; in the end
 * each client has all its answers, and no file is left open.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  type FileSource,
  HttpConnection,
  type OpenFile,
} from "../../../examples/http_connection.ts";
import { HttpError } from "../../../examples/http_request.ts";
import { AsyncChat } from "../../../mod.ts";
import type { SimHost, SimNetwork } from "../../../testing/mod.ts";
import {
  addHost,
  endWell,
  findDifference,
  HostRun,
  Listener,
  pattern,
  pick,
  pickOne,
  sleep,
  strictLogger,
  testScenario,
} from "./scenario.ts";

const PORT = 80;
/** How many ms a client may be silent. */
const PATIENCE = 10_000;
/** How long a client waits before it tries again, in ms. */
const PAUSE = 500;

type Contents = Record<string, Uint8Array>;

/** Files in memory; the disk takes its time. */
class MemoryFiles implements FileSource {
  /** How many are open. */
  opened = 0;
  readonly #sim: SimNetwork;
  readonly #host: SimHost;
  readonly #contents: Contents;

  constructor(sim: SimNetwork, host: SimHost, contents: Contents) {
    this.#sim = sim;
    this.#host = host;
    this.#contents = contents;
  }

  async open(target: string): Promise<OpenFile> {
    await this.#work();
    const content = this.#contents[target.slice(1)];
    if (content === undefined) throw new HttpError(404);
    this.opened++;
    let at = 0;
    const read = async (buffer: Uint8Array) => {
      await this.#work();
      const most = pick(this.#sim, 1, buffer.length);
      const piece = content.subarray(at, at + most);
      buffer.set(piece);
      at += piece.length;
      return piece.length || null;
    };
    const seek = (offset: number | bigint) =>
      Promise.resolve(at = +`${offset}`);
    return {
      file: { read, seek },
      size: content.length,
      changed: 0,
      type: "application/octet-stream",
      [Symbol.dispose]: () => void this.opened--,
    };
  }

  async #work(): Promise<void> {
    if (this.#sim.random() < 0.2) await sleep(this.#host, 30);
  }
}

/** A request, and what must be answered. */
interface Question {
  text: string;
  status: number;
  /** What `Content-Length` says; `null` if nothing. */
  length: number | null;
  /** The body, if it is known. */
  body: Uint8Array | null;
  isAnswered: boolean;
}

const NOTHING = new Uint8Array(0);

function makeQuestion(sim: SimNetwork, contents: Contents): Question {
  const name = pickOne(sim, Object.keys(contents));
  const content = contents[name]!;
  const { length } = content;
  const ask = (method: string, path: string, headers = "", body = "") =>
    `${method} /${path} HTTP/1.1\r\nHost: server\r\n${headers}\r\n${body}`;
  const isAnswered = false;
  const kind = pick(sim, 0, 6);
  if (kind === 0) {
    const text = ask("GET", "none");
    return { text, status: 404, length: 14, body: null, isAnswered };
  }
  if (kind === 1) {
    const text = ask("HEAD", name);
    return { text, status: 200, length, body: NOTHING, isAnswered };
  }
  if (kind === 2) {
    const text = ask("GET", name, "If-None-Match: *\r\n");
    return { text, status: 304, length: null, body: NOTHING, isAnswered };
  }
  if (kind === 3) {
    const body = "GET /".repeat(pick(sim, 0, 200));
    const text = ask("POST", name, `Content-Length: ${body.length}\r\n`, body);
    return { text, status: 405, length: 23, body: null, isAnswered };
  }
  if (kind === 4) {
    const first = pick(sim, 0, Math.floor(length * 1.2));
    const last = first + pick(sim, 0, length);
    const body = content.slice(first, last + 1);
    const text = ask("GET", name, `Range: bytes=${first}-${last}\r\n`);
    return first < length
      ? { text, status: 206, length: body.length, body, isAnswered }
      : { text, status: 416, length: 26, body: null, isAnswered };
  }
  const text = ask("GET", name);
  return { text, status: 200, length, body: content, isAnswered };
}

/** Asks, a few questions at a time, and checks the answers. */
class Browser extends AsyncChat {
  readonly #browsing: Browsing;
  readonly #server: HostRun;
  /** What was asked on this connection and is not answered, in order. */
  #asked: Question[] = [];
  #head: string | null = null;
  isOver = false;

  constructor(browsing: Browsing, host: SimHost, server: HostRun) {
    super(null, { map: host.map, idleTimeout: 30_000, maxLength: 90_000 });
    this.#browsing = browsing;
    this.#server = server;
    this.createSocket({ connectTimeout: 10_000 });
    this.connect({ hostname: "server", port: PORT });
    this.setTerminator("\r\n\r\n");
    this.ask();
  }

  ask() {
    const { sim, questions } = this.#browsing;
    const left = questions.filter(({ isAnswered }) => !isAnswered);
    this.#asked = left.slice(0, pick(sim, 1, 4));
    for (const { text } of this.#asked) this.push(text);
    if (left.length === 0) this.leave();
    else if (this.#browsing.isVandal && sim.random() < 0.3) {
      this.callLater(pick(sim, 0, 200), () => {
        this.abort();
        this.leave();
      });
    }
  }

  leave() {
    this.isOver = true;
    this.close();
    this.#browsing.goOn(this.map);
  }

  override foundTerminator() {
    assert(!this.isOver);
    const data = this.takeData();
    if (this.#head !== null) this.#onAnswer(data);
    else this.#onHead(String.fromCharCode(...data));
  }

  #onHead(head: string) {
    const question = this.#asked[0];
    assert(question, `an answer that nobody asked for: ${head}`);
    assertMatch(
      head,
      /^HTTP\/1\.1 \d{3} [A-Z][A-Za-z ]+(\r\n[\w-]+: [^\r\n]+)+$/,
    );
    // The network took longer for a part of the request than the server waits.
    if (/^HTTP\/1\.1 408 [^]*^Connection: close$/m.test(head)) {
      return this.leave();
    }
    const what = `${question.text}\n${head}`;
    assertEquals(Number(head.slice(9, 12)), question.status, what);
    const length = /^Content-Length: (\d+)$/m.exec(head)?.[1] ?? null;
    assertEquals(length && Number(length), question.length, what);
    if (question.status === 206) this.#checkRange(question, head);
    const size = question.body?.length ?? question.length!;
    this.#head = head;
    if (size > 0) this.setTerminator(size);
    else this.#onAnswer(NOTHING);
  }

  #checkRange({ text, body }: Question, head: string) {
    const first = Number(/bytes=(\d+)/.exec(text)![1]);
    const [, from, to] = /^Content-Range: bytes (\d+)-(\d+)\/\d+$/m
      .exec(head)!;
    const last = first + body!.length - 1;
    assertEquals([Number(from), Number(to)], [first, last]);
  }

  #onAnswer(body: Uint8Array) {
    const question = this.#asked.shift()!;
    if (question.body) {
      assertEquals(findDifference(body, question.body), -1, question.text);
    }
    question.isAnswered = true;
    this.#head = null;
    this.setTerminator("\r\n\r\n");
    if (this.#asked.length > 0) return;
    const { sim } = this.#browsing;
    const pause = sim.random() < 0.1 ? PATIENCE + 500 : pick(sim, 0, 300);
    this.callLater(pause, () => this.ask());
  }

  override handleClose() {
    const isInAnswer = this.#head !== null ||
      this.takeData().length > 0;
    if (this.closeReason === null && this.#server.isAlive) {
      assert(!isInAnswer, `an answer breaks off: ${this.#head}`);
    }
    this.leave();
  }
}

/** One client's questions. */
class Browsing {
  readonly sim: SimNetwork;
  readonly questions: Question[];
  /** Breaks off in the middle of answers. */
  readonly isVandal: boolean;
  readonly #host: SimHost;
  readonly #server: SimHost;

  constructor(sim: SimNetwork, name: string, server: SimHost, all: Contents) {
    this.sim = sim;
    this.isVandal = sim.random() < 0.2;
    const count = pick(sim, 1, 8);
    this.questions = Array.from(
      { length: count },
      () => makeQuestion(sim, all),
    );
    this.#server = server;
    this.#host = addHost(sim, name, (host) => this.begin(host));
  }

  get isDone(): boolean {
    return this.questions.every(({ isAnswered }) => isAnswered);
  }

  begin(host = this.#host) {
    if (!this.isDone) new Browser(this, host, new HostRun(this.#server));
  }

  goOn(map: SimHost["map"]) {
    map.callLater(PAUSE, () => this.begin());
  }
}

testScenario("http_server answers each request, whole", async (sim) => {
  const contents = {
    "small": pattern(sim, pick(sim, 1, 500)),
    "large": pattern(sim, pick(sim, 10_000, 90_000)),
    "empty": NOTHING,
  };
  let files!: MemoryFiles;
  const server = addHost(sim, "server", (host) => {
    const { map } = host;
    const logger = strictLogger(sim, "server");
    files = new MemoryFiles(sim, host, contents);
    new Listener(PORT, (conn) => {
      new HttpConnection(conn, { map, files, logger, patience: PATIENCE });
    });
  });
  const clients = ["ann", "bob"].map((name) =>
    new Browsing(sim, name, server, contents)
  );
  await sim.run({ limit: 20_000 });
  sim.calm();
  const areDone = () => clients.every(({ isDone }) => isDone);
  await sim.run({ until: areDone, limit: 120_000 });
  await endWell(sim);
  assertEquals(files.opened, 0, "a file was left open");
});
