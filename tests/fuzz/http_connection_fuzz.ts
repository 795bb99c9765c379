/** The web server's conversations, from the first byte to the last. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Answer, answerTo as decide } from "../../examples/http_answer.ts";
import {
  HttpConnection,
  type OpenFile,
} from "../../examples/http_connection.ts";
import { HttpError, type HttpRequest } from "../../examples/http_request.ts";
import { StaticFiles } from "../../examples/static_files.ts";
import type { Channel, SocketMap } from "../../mod.ts";
import { LogLines, pattern } from "../fakes.ts";
import { TestMap } from "../support.ts";
import { FOLDER_OF_LINES, requests, target, TRICKS } from "./http_inputs.ts";
import { requestsIn } from "./http_reference.ts";
import {
  type Binary,
  changed,
  examplesOf,
  split,
  splitsOf,
  toBinary,
} from "./inputs.ts";
import { answerTo } from "./peer.ts";
import { fuzz } from "./property.ts";

const SECRET = "for nobody's eyes";

const folder = Deno.makeTempDirSync();
addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
const root = makeRoot(`${folder}/root`);
const files = new StaticFiles(root);

/** A root with files to give, and others beside it and in it that are secret. */
function makeRoot(root: string): string {
  for (const name of ["", "sub", ".hidden", ".well-known"]) {
    Deno.mkdirSync(`${root}/${name}`);
    Deno.writeTextFileSync(`${root}/${name}/index.html`, `<p>${name}`);
  }
  Deno.writeTextFileSync(`${root}/a.txt`, "0123456789");
  Deno.utimeSync(`${root}/a.txt`, 0, 0); // so that its tag is "a-0"
  Deno.writeTextFileSync(`${root}/sub/a.txt`, "b");
  Deno.writeTextFileSync(`${root}/empty`, "");
  Deno.writeTextFileSync(`${root}/grün & blau`, "bunt");
  Deno.writeFileSync(`${root}/big.bin`, pattern(70_000));
  for (const path of ["x", "root/.hidden/index.html", "root/.secret"]) {
    Deno.writeTextFileSync(`${folder}/${path}`, SECRET);
  }
  if (Deno.build.os !== "windows") {
    Deno.mkdirSync(`${root}/${FOLDER_OF_LINES}`);
    Deno.symlinkSync("../x", `${root}/out`);
    Deno.symlinkSync("loop", `${root}/loop`);
  }
  return root;
}

/** Refuses to let an error pass. */
class Connection extends HttpConnection {
  static errors: unknown[] = [];
  override handleError(error: unknown) {
    Connection.errors.push(error);
    return super.handleError(error);
  }
}

function serve(channel: Channel, map: SocketMap, logger: LogLines) {
  new Connection(channel, { map, files, logger, patience: 60_000 });
}

/** What a client is answered, the time apart. */
async function converse(pieces: Binary[]): Promise<Binary> {
  Connection.errors = [];
  const logger = new LogLines();
  const map = new TestMap({ logger });
  const answer = await answerTo(
    pieces,
    map,
    (channel) => serve(channel, map, logger),
  );
  map.check();
  assertEquals(Connection.errors, []);
  for (const line of logger.lines) assertMatch(line, /^[^\p{C}]*$/u);
  return answer.replace(/^Date: .* GMT(?=\r$)/gm, "Date: now");
}

/** What an answer must be. */
interface Expected {
  status: number;
  headers: Record<string, string | number>;
  body: Binary;
  closes: boolean;
}

/** All of a file. */
async function contentOf({ file }: OpenFile): Promise<Binary> {
  const buffer = new Uint8Array(100_000);
  let length = 0;
  for (let got: number | null = 0; got !== null; length += got ?? 0) {
    got = await file.read(buffer.subarray(length));
  }
  return toBinary(buffer.subarray(0, length));
}

/** Works out an answer without a connection. */
async function expected(request: HttpRequest): Promise<Expected> {
  const closes = !request.keepAlive;
  const isHead = request.method === "HEAD";
  try {
    if (request.method !== "GET" && !isHead) {
      const isKnown = /^(?:CONNECT|DELETE|OPTIONS|PATCH|POST|PUT|TRACE)$/
        .test(request.method);
      throw new HttpError(isKnown ? 405 : 501);
    }
    using open = await files.open(request.target);
    const { status, headers, start, end }: Answer = decide(request, open);
    const body = isHead ? "" : (await contentOf(open)).slice(start, end);
    return { status, headers, body, closes };
  } catch (error) {
    if (!(error instanceof HttpError)) throw error;
    return { ...refusal(error), ...isHead && { body: "" }, closes };
  }
}

function refusal({ message, status, headers }: HttpError): Expected {
  const body = `${message}\n`;
  return {
    status,
    headers: { ...headers, "Content-Length": body.length },
    body,
    closes: true,
  };
}

/** Checks one answer and returns what follows it. */
function checkAnswer(answers: Binary, expected: Expected): Binary {
  const { status, headers, body, closes } = expected;
  const end = answers.indexOf("\r\n\r\n") + 4;
  assert(end > 4, "There is no answer");
  const [first = "", ...lines] = answers.slice(0, end - 4).split("\r\n");
  assertMatch(first, /^HTTP\/1\.1 \d{3} [A-Z][A-Za-z ]+$/);
  assertEquals(Number(first.slice(9, 12)), status);
  const fields = new Map(lines.map((line) => {
    assertMatch(line, /^[A-Z][A-Za-z-]*: [!-~](?:[ -~]*[!-~])?$/);
    const colon = line.indexOf(":");
    return [line.slice(0, colon), line.slice(colon + 2)];
  }));
  assertEquals(fields.size, lines.length);
  for (const [name, value] of Object.entries(headers)) {
    assertEquals(fields.get(name), `${value}`, name);
  }
  assertEquals(fields.get("Date"), "now");
  assertEquals(fields.get("Connection") === "close", closes);
  assertEquals(answers.slice(end, end + body.length), body);
  return answers.slice(end + body.length);
}

fuzz({
  name: "HttpConnection answers each request in turn, however it is split",
  cost: 15,
  budget: 5_000,
  input: split(requests),
  examples: examplesOf(TRICKS),
  async check(split) {
    const [first, ...others] = splitsOf(split);
    let answers = await converse(first ?? []);
    for (const pieces of others) assertEquals(await converse(pieces), answers);
    assert(!answers.includes(SECRET));
    const { requests, error } = requestsIn(split.input);
    let isOver = false;
    for (const request of requests) {
      if (isOver) break;
      answers = checkAnswer(answers, await expected(request));
      isOver = !request.keepAlive;
    }
    if (error && !isOver) answers = checkAnswer(answers, refusal(error));
    assertEquals(answers, "");
  },
});

fuzz({
  name: "StaticFiles.open() gives away no file from elsewhere",
  cost: 6,
  input: changed(target, 3),
  examples: ["/out", "/loop", "/..%2fx", "/%2e%2e/x", "/.hidden/", "/.secret"],
  async check(target) {
    try {
      using open = await files.open(target);
      const content = await contentOf(open);
      assert(!content.includes(SECRET));
      assertEquals(content.length, open.size);
    } catch (error) {
      if (!(error instanceof HttpError)) throw error;
      assert([301, 400, 404].includes(error.status), `${error.status}`);
    }
  },
});
