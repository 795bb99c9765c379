/**
 * The loop as a guest in another loop. First, the HTTP client makes one step at
 * a time. Then the use of it: an animation keeps its 60 steps a second, while
 * the client downloads pages that arrive slowly.
 *
 *     deno run --allow-net examples/loop_integration.ts
 *     deno task example loop_integration    (where JSR cannot be reached)
 *
 * @module
 */

import { loop, poll, socketMap } from "@asyncore/asyncore";
import { runCommand } from "./command_line.ts";
import { HttpClient, report } from "./http_client.ts";
import { createLogger } from "./logging.ts";
import { PageServer } from "./page_server.ts";

const USAGE = `\
Usage: loop_integration.ts [--help]

The loop as a guest in another loop: downloads in single steps, then during an
animation of 60 steps a second.`;

const FRAME = 1_000 / 60;

/** Makes one pass of the loop in each turn of its own loop. */
async function stepByStep(): Promise<HttpClient[]> {
  const clients = new PageServer().urls.map((url) => new HttpClient(url));
  const logger = createLogger("main");
  for (let counter = 1; socketMap.size > 0; counter++) {
    logger.debug(`loop_counter=${counter}`);
    await loop({ timeout: 1_000, count: 1 });
  }
  return clients;
}

/** A game: draw, then let the network have the rest of the frame. */
async function sixtyTimesASecond(): Promise<HttpClient[]> {
  const server = new PageServer(100); // a piece of a page each 100 ms
  const clients = server.urls.map((url) =>
    new HttpClient(url, { logger: createLogger(url.href, "INFO") })
  );
  const start = performance.now();
  let steps = 0;
  while (clients.some((client) => !client.done)) {
    draw(steps++, clients);
    const frameEnd = start + steps * FRAME;
    do {
      // Unlike loop(), which ends when nobody is left, poll() sleeps then.
      await poll(Math.max(0, frameEnd - performance.now()));
    } while (performance.now() < frameEnd);
  }
  erase();
  const seconds = (performance.now() - start) / 1_000;
  const finished = clients.filter((client) => client.failure === null);
  console.log(
    `${(steps / seconds).toFixed(1)} steps a second for ${
      seconds.toFixed(2)
    } s, ` +
      `while ${finished.length} downloads finished`,
  );
  return clients;
}

const isTerminal = Deno.stdout.isTerminal();
const [blue, plain] = Deno.noColor ? ["", ""] : ["\x1b[34m", "\x1b[39m"];

/** Draws a ball that flies to and fro, and how far the downloads are. */
function draw(step: number, clients: HttpClient[]) {
  const width = 24;
  const at = width - Math.abs(step % (2 * width) - width);
  const ball = `[${" ".repeat(at)}${blue}●${plain}${" ".repeat(width - at)}]`;
  const downloads = clients.map(({ url, bytesReceived }) =>
    `${url.pathname} ${bytesReceived}`
  );
  show(`\r${ball} ${downloads.join("  ")}`);
}

function erase() {
  show("\r\x1b[K");
}

/** Without a terminal there is nothing to see. */
function show(text: string) {
  if (isTerminal) Deno.stdout.writeSync(new TextEncoder().encode(text));
}

async function main(): Promise<number> {
  const clients = [...await stepByStep(), ...await sixtyTimesASecond()];
  return clients.map(report).every(Boolean) ? 0 : 1;
}

if (import.meta.main) await runCommand({ help: USAGE }, main);
